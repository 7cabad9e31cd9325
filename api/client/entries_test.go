package client

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func question(i int) Question {
	return Question{Team: "team_1", Subject: fmt.Sprint("user_", i), Permission: "orders:update"}
}

// count walks a shard from both ends.
func (s *shard) count() (n int, ok bool) {
	for at := s.newest; at != nil; at = at.older {
		n++
		if at.older == nil && at != s.oldest {
			return n, false
		}
	}
	back := 0
	for at := s.oldest; at != nil; at = at.newer {
		back++
	}
	return n, n == back && n == len(s.entries)
}

// A shard never holds more than it may, nor another decision than the latest
// that it was given.
func TestAShardHoldsWhatItWasGivenLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &shard{capacity: rapid.IntRange(1, 8).Draw(t, "capacity"), entries: map[Question]*entry{}}
		latest := map[Question]uint64{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			q := question(rapid.IntRange(0, 12).Draw(t, "question"))
			if rapid.Bool().Draw(t, "put") {
				d := Decision{AsOf: rapid.Uint64Range(1, 50).Draw(t, "as of")}
				if _, held := s.get(&q); held {
					latest[q] = max(latest[q], d.AsOf)
				} else {
					latest[q] = d.AsOf
				}
				s.put(&q, &d)
				if got, ok := s.get(&q); !ok || got.AsOf != latest[q] {
					t.Fatalf("%v, %v right after %d", got, ok, latest[q])
				}
			} else if got, ok := s.get(&q); ok && got.AsOf != latest[q] {
				t.Fatalf("%d, not %d", got.AsOf, latest[q])
			}
			if n, ok := s.count(); !ok || n > s.capacity {
				t.Fatalf("%d entries of %d, in order: %v", n, s.capacity, ok)
			}
		}
	})
}

// Questions that are asked again and again stay when many that are asked once
// come by.
func TestWhatIsUsedStays(t *testing.T) {
	const capacity, used = 100, 50
	s := &shard{capacity: capacity, entries: map[Question]*entry{}}
	for i := range used {
		q := question(i)
		s.put(&q, &Decision{AsOf: 1})
	}
	for i := range 100 * capacity {
		once := question(1000 + i)
		s.put(&once, &Decision{AsOf: 1})
		q := question(i % used)
		if _, ok := s.get(&q); !ok {
			t.Fatalf("%s is gone after %d", q.Subject, i)
		}
	}
}
