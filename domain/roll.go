package domain

import (
	"cmp"
	"iter"
	"slices"
)

// roll lists the members in the order of their joining, so that a long list of
// them can be gone through piece by piece. Each has a place that never changes
// and is never given again.
type roll struct {
	entries []rollEntry // in order of place
	left    int         // entries of those who have left
	last    int         // the place that was given last
}

type rollEntry struct {
	place  int
	member *Member // nil for one who has left
}

func (r *roll) find(place int) (index int, found bool) {
	return slices.BinarySearchFunc(r.entries, place, func(e rollEntry, place int) int { return cmp.Compare(e.place, place) })
}

func (r *roll) add(member *Member) {
	r.last++
	member.place = r.last
	r.entries = append(r.entries, rollEntry{r.last, member})
}

// remove takes a member off the list. Their entry goes once half of all have
// left, so that a removal costs next to nothing in a team of any size.
func (r *roll) remove(member *Member) {
	index, found := r.find(member.place)
	if !found {
		return
	}
	r.entries[index].member = nil
	if r.left++; r.left*2 > len(r.entries) {
		r.entries = slices.DeleteFunc(r.entries, func(e rollEntry) bool { return e.member == nil })
		r.left = 0
	}
}

// after gives the members beyond a place, with their places.
func (r *roll) after(place int) iter.Seq2[int, *Member] {
	return func(yield func(int, *Member) bool) {
		first, _ := r.find(place + 1)
		for _, entry := range r.entries[first:] {
			if entry.member != nil && !yield(entry.place, entry.member) {
				return
			}
		}
	}
}
