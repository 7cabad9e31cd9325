package domain

import (
	"slices"
	"strings"
	"time"
)

// deadlines holds when each of many things ends, in order of time, so that
// counting those still open costs a binary search even in a team with 100,000
// of them. Nearly always a new deadline is the latest and goes to the end.
type deadlines[ID ~string] []deadline[ID]

type deadline[ID ~string] struct {
	at time.Time
	id ID
}

func (d deadline[ID]) compare(other deadline[ID]) int {
	if order := d.at.Compare(other.at); order != 0 {
		return order
	}
	return strings.Compare(string(d.id), string(other.id))
}

func (d *deadlines[ID]) add(at time.Time, id ID) {
	entry := deadline[ID]{at, id}
	index, _ := slices.BinarySearchFunc(*d, entry, deadline[ID].compare)
	*d = slices.Insert(*d, index, entry)
}

func (d *deadlines[ID]) remove(at time.Time, id ID) {
	index, found := slices.BinarySearchFunc(*d, deadline[ID]{at, id}, deadline[ID].compare)
	if found {
		*d = slices.Delete(*d, index, index+1)
	}
}

// passed are the deadlines that are reached by now.
func (d deadlines[ID]) passed(now time.Time) deadlines[ID] {
	index, _ := slices.BinarySearchFunc(d, now, func(entry deadline[ID], now time.Time) int {
		if entry.at.After(now) {
			return 1
		}
		return -1
	})
	return d[:index]
}

// open counts the deadlines that lie after now.
func (d deadlines[ID]) open(now time.Time) int { return len(d) - len(d.passed(now)) }
