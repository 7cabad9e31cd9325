package projections

import (
	"context"
	"slices"
	"sync"
	"time"
)

// progress is the position up to which every read model is filled, and those
// who wait for it to come further.
type progress struct {
	mu       sync.Mutex
	position uint64
	waiting  []waiter      // the lowest position first
	resting  chan struct{} // closed to end a rest; nil when nobody rests
}

type waiter struct {
	position uint64
	reached  chan struct{}
}

func (p *progress) at() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position
}

// advance wakes everyone who waits for position or less. It never goes back.
func (p *progress) advance(position uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if position <= p.position {
		return
	}
	p.position = position
	n := 0
	for n < len(p.waiting) && p.waiting[n].position <= position {
		close(p.waiting[n].reached)
		n++
	}
	p.waiting = slices.Delete(p.waiting, 0, n)
}

// rest returns after the pause, or as soon as somebody waits for a position
// that isn't reached.
func (p *progress) rest(ctx context.Context, pause time.Duration) {
	p.mu.Lock()
	if len(p.waiting) > 0 {
		p.mu.Unlock()
		return
	}
	wanted := make(chan struct{})
	p.resting = wanted
	p.mu.Unlock()
	over := time.NewTimer(pause)
	defer over.Stop()
	select {
	case <-wanted:
		return
	case <-over.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resting = nil
}

// wait returns once the position is reached or ctx ends.
func (p *progress) wait(ctx context.Context, position uint64) error {
	p.mu.Lock()
	if position <= p.position {
		p.mu.Unlock()
		return nil
	}
	reached := make(chan struct{})
	at, _ := slices.BinarySearchFunc(p.waiting, position, func(w waiter, position uint64) int {
		if w.position <= position {
			return -1
		}
		return 1
	})
	p.waiting = slices.Insert(p.waiting, at, waiter{position, reached})
	if p.resting != nil {
		close(p.resting)
		p.resting = nil
	}
	p.mu.Unlock()

	select {
	case <-reached:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiter) bool { return w.reached == reached })
	if position <= p.position {
		return nil // it came at the same moment
	}
	return ctx.Err()
}
