package client

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// era is what a cache holds and has heard since it began to hear without a gap.
// When there is one, another era begins; answers that are still on their way
// for the old one are lost with it.
//
// An answer is good as long as nothing was heard that changes it: it says up to
// which position it takes account of everything, and the marks say at which
// position its team and its subject changed last. So nothing has to be looked
// for when a change is heard of, and an answer that was given before a change
// and arrives after it is never good.
type era struct {
	seed   maphash.Seed
	from   uint64        // nothing is held from before this position
	heard  atomic.Uint64 // up to where everything was heard
	teams  [4096]atomic.Uint64
	people [1024]atomic.Uint64
	shards [16]shard
}

// Teams share marks, and so do people: when one changes, so do, as far as a
// cache is concerned, about one in as many as there are marks. That is the
// price of a memory that doesn't grow with them.

func newEra(from uint64, capacity int) *era {
	e := &era{seed: maphash.MakeSeed(), from: from}
	e.heard.Store(from)
	for i := range e.shards {
		e.shards[i].capacity = max(1, capacity/len(e.shards))
		e.shards[i].entries = map[Question]*entry{}
	}
	return e
}

func (e *era) team(id string) *atomic.Uint64 {
	return &e.teams[maphash.String(e.seed, id)%uint64(len(e.teams))]
}

func (e *era) person(id string) *atomic.Uint64 {
	return &e.people[maphash.String(e.seed, id)%uint64(len(e.people))]
}

// since is the position from which on an answer must be.
func (e *era) since(q *Question) uint64 {
	return max(e.from, e.team(q.Team).Load(), e.person(q.Subject).Load())
}

func (e *era) shard(q *Question) *shard {
	return &e.shards[maphash.Comparable(e.seed, *q)%uint64(len(e.shards))]
}

func raise(mark *atomic.Uint64, position uint64) {
	for known := mark.Load(); known < position; known = mark.Load() {
		if mark.CompareAndSwap(known, position) {
			return
		}
	}
}

// shard holds a bounded number of decisions. When it is full, the one to go is
// found by the SIEVE algorithm (Zhang and others, NSDI 2024): a hand goes from
// the oldest to the newest and takes the first that was not used since it came
// by last. A hit changes no order, so that readers hardly disturb one another.
type shard struct {
	mu       sync.RWMutex
	entries  map[Question]*entry
	capacity int

	newest, oldest, hand *entry
}

type entry struct {
	question     Question
	decision     Decision
	used         atomic.Bool
	newer, older *entry
}

func (s *shard) get(q *Question) (Decision, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found, ok := s.entries[*q]
	if !ok {
		return Decision{}, false
	}
	if !found.used.Load() {
		found.used.Store(true)
	}
	return found.decision, true
}

// put keeps a decision, unless a newer one is there.
func (s *shard) put(q *Question, d *Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.entries[*q]; ok {
		if found.decision.AsOf <= d.AsOf {
			found.decision = *d
		}
		return
	}
	if len(s.entries) >= s.capacity {
		s.evict()
	}
	added := &entry{question: *q, decision: *d, older: s.newest}
	if s.newest != nil {
		s.newest.newer = added
	} else {
		s.oldest = added
	}
	s.newest = added
	s.entries[*q] = added
}

// evict takes one out. The hand passes each at most once before it finds one.
func (s *shard) evict() {
	at := s.hand
	if at == nil {
		at = s.oldest
	}
	for at.used.Load() {
		at.used.Store(false)
		if at = at.newer; at == nil {
			at = s.oldest
		}
	}
	s.hand = at.newer
	if at.newer != nil {
		at.newer.older = at.older
	} else {
		s.newest = at.older
	}
	if at.older != nil {
		at.older.newer = at.newer
	} else {
		s.oldest = at.newer
	}
	delete(s.entries, at.question)
}

func (s *shard) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.entries)
}
