package eventstore

import (
	"context"
	"sync"
)

// loadCache keeps up to a number of values in memory and loads those that are
// missing, each once for however many ask at a time.
//
// It is a plain map under a lock, and not one of the cache libraries, for one
// reason: what was loaded may be kept only if nothing was heard of its key
// since the load began, and "check, then keep" must be one step with "drop".
// Otherwise a value that was read just before its revocation gets into the
// cache just after it, and stays.
//
// What has to go when it is full is chosen by the clock algorithm: the first
// that wasn't used since the hand passed it last.
type loadCache[V any] struct {
	mu       sync.Mutex
	keeping  bool // whether anybody says when a value changes
	capacity int
	entries  map[string]*cached[V]
	ring     []*cached[V]
	hand     int
	loads    map[string]*load[V]
}

type cached[V any] struct {
	key      string
	value    V
	revision uint64
	place    int // in the ring
	used     bool
}

type load[V any] struct {
	stale bool // its value is for those who wait already, nobody else
	done  chan struct{}
	value V
	err   error
}

func newLoadCache[V any](capacity int) *loadCache[V] {
	return &loadCache[V]{capacity: max(capacity, 1), entries: map[string]*cached[V]{}, loads: map[string]*load[V]{}}
}

// peek gives what is in memory.
func (c *loadCache[V]) peek(key string) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry := c.entries[key]; entry != nil {
		entry.used = true
		return entry.value, true
	}
	return value, false
}

// get gives what is in memory or else what fetch gives, with its revision.
// fetch must read what is true now, from the leader; it goes on when the
// caller gives up, because others may wait for the same.
func (c *loadCache[V]) get(ctx context.Context, key string, fetch func(context.Context) (V, uint64, error)) (V, error) {
	value, l, mine := c.begin(key)
	if l == nil {
		return value, nil
	}
	if mine {
		go func() {
			value, revision, err := fetch(context.WithoutCancel(ctx))
			c.end(key, l, value, revision, err)
		}()
	}
	select {
	case <-l.done:
		return l.value, l.err
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

// begin gives what is in memory, or the load to wait for; when it is mine the
// caller has to load and then call end.
func (c *loadCache[V]) begin(key string) (value V, l *load[V], mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry := c.entries[key]; entry != nil {
		entry.used = true
		return entry.value, nil, false
	}
	l = c.loads[key]
	if l == nil || l.stale {
		l, mine = &load[V]{stale: !c.keeping, done: make(chan struct{})}, true
		c.loads[key] = l
	}
	return value, l, mine
}

func (c *loadCache[V]) end(key string, l *load[V], value V, revision uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loads[key] == l {
		delete(c.loads, key)
	}
	if err == nil && !l.stale {
		c.keep(key, value, revision)
	}
	l.value, l.err = value, err
	close(l.done)
}

// put keeps a value that nobody but the caller can have changed yet.
func (c *loadCache[V]) put(key string, value V, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keeping {
		c.keep(key, value, revision)
	}
}

// keep stores an entry; mu is held.
func (c *loadCache[V]) keep(key string, value V, revision uint64) {
	if entry := c.entries[key]; entry != nil {
		entry.value, entry.revision = value, revision
		return
	}
	entry := &cached[V]{key: key, value: value, revision: revision}
	if len(c.ring) < c.capacity {
		entry.place = len(c.ring)
		c.ring = append(c.ring, entry)
	} else {
		for c.ring[c.hand].used {
			c.ring[c.hand].used = false
			c.hand = (c.hand + 1) % len(c.ring)
		}
		delete(c.entries, c.ring[c.hand].key)
		entry.place = c.hand
		c.ring[c.hand] = entry
		c.hand = (c.hand + 1) % len(c.ring)
	}
	c.entries[key] = entry
}

// drop forgets the value of a key if it is older than the revision, and keeps
// what is being loaded from being kept. It tells whether there was such a
// value.
func (c *loadCache[V]) drop(key string, revision uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.loads[key]; l != nil {
		l.stale = true
	}
	entry := c.entries[key]
	if entry == nil || entry.revision >= revision {
		return false
	}
	delete(c.entries, key)
	last := len(c.ring) - 1
	moved := c.ring[last]
	c.ring[entry.place], moved.place = moved, entry.place
	c.ring[last] = nil
	c.ring = c.ring[:last]
	if c.hand >= last {
		c.hand = 0
	}
	return true
}

// turn empties the cache, and says whether values may be kept from now on.
func (c *loadCache[V]) turn(keeping bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keeping = keeping
	clear(c.entries)
	clear(c.ring)
	c.ring, c.hand = c.ring[:0], 0
	for _, l := range c.loads {
		l.stale = true
	}
}
