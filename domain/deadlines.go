package domain

import (
	"slices"
	"strings"
	"time"
)

// deadlines holds when each pending invitation expires, in order of time, so
// that counting those still open costs a binary search even in a team with
// 100,000 of them. Nearly always a new deadline is the latest and goes to the
// end.
type deadlines []deadline

type deadline struct {
	at         time.Time
	invitation InvitationID
}

func (d deadline) compare(other deadline) int {
	if order := d.at.Compare(other.at); order != 0 {
		return order
	}
	return strings.Compare(string(d.invitation), string(other.invitation))
}

func (d *deadlines) add(at time.Time, invitation InvitationID) {
	entry := deadline{at, invitation}
	index, _ := slices.BinarySearchFunc(*d, entry, deadline.compare)
	*d = slices.Insert(*d, index, entry)
}

func (d *deadlines) remove(at time.Time, invitation InvitationID) {
	index, found := slices.BinarySearchFunc(*d, deadline{at, invitation}, deadline.compare)
	if found {
		*d = slices.Delete(*d, index, index+1)
	}
}

// after counts the deadlines that lie after now: one that is reached has
// passed.
func (d deadlines) after(now time.Time) int {
	index, _ := slices.BinarySearchFunc(d, now, func(entry deadline, now time.Time) int {
		if entry.at.After(now) {
			return 1
		}
		return -1
	})
	return len(d) - index
}
