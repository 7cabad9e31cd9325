package eventstore

import (
	"context"
	"errors"
	"sync"
)

// group lets appends that come at the same time share one sync of the disk.
//
// A server that syncs every message does so one message after the other,
// except for an atomic batch: that is synced as a whole, for the price of some
// five to ten messages. So when more appends are on their way than the server
// can be busy with, the others gather and go as a batch. Nobody waits longer
// for that: they would have queued at the server.
//
// A batch is stored as a whole or not at all. When one commit of it can't be,
// each of them is appended alone, which tells whose fault it was. On several
// replicas there is nothing to gain: there, the server itself syncs what has
// gathered.
type group struct {
	store *Store

	mu      sync.Mutex
	queue   []*queued
	alone   int // appends on their way alone
	batches int // on their way
}

// queued is an append that waits for its turn.
type queued struct {
	record *record
	turn   chan turn // buffered
}

// turn tells a queued append that it was stored, or that it is its turn to be
// stored alone.
type turn struct {
	position  uint64 // 0: alone
	uncertain bool   // a message of it may be on its way already
}

const (
	// mostAlone are on their way alone before others queue, and as many make a
	// batch worth its price. Up to here, the server is as fast without.
	mostAlone     = 16
	smallestBatch = 16

	// largestBatch stays below the 1,000 messages that a server takes, and
	// takes a few milliseconds.
	largestBatch = 256

	// mostBatches: while the answers to one are handed out, the next is stored.
	mostBatches = 1
)

// append stores one record, and gives its position.
func (g *group) append(ctx context.Context, r *record) (uint64, error) {
	g.mu.Lock()
	if len(g.queue) == 0 && g.batches == 0 && g.alone < mostAlone || ctx.Err() != nil {
		g.alone++
		g.mu.Unlock()
		return g.store1(ctx, r, false)
	}
	q := &queued{record: r, turn: make(chan turn, 1)}
	g.queue = append(g.queue, q)
	g.advance()
	g.mu.Unlock()

	// A turn comes in bounded time whatever happens, so this doesn't look at
	// ctx, which would have to find out how far the others have got.
	t := <-q.turn
	if t.position > 0 {
		return t.position, nil
	}
	return g.store1(ctx, r, t.uncertain)
}

// store1 stores a record alone.
func (g *group) store1(ctx context.Context, r *record, uncertain bool) (uint64, error) {
	defer func() {
		g.mu.Lock()
		g.alone--
		g.advance()
		g.mu.Unlock()
	}()
	return g.store.store(ctx, []*record{r}, uncertain)
}

// advance gives turns to those who can have one. The caller holds the lock.
func (g *group) advance() {
	for len(g.queue) > 0 {
		switch {
		case len(g.queue) >= smallestBatch && g.batches < mostBatches:
			g.batches++
			go g.batch(g.take(largestBatch))
		case g.batches == 0 && g.alone < mostAlone:
			g.alone++
			g.take(1)[0].turn <- turn{}
		default:
			return
		}
	}
}

// take takes the first ones out of the queue. The caller holds the lock.
func (g *group) take(most int) []*queued {
	n := min(most, len(g.queue))
	taken := append([]*queued(nil), g.queue[:n]...)
	rest := copy(g.queue, g.queue[n:])
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	return taken
}

func (g *group) batch(members []*queued) {
	records := make([]*record, len(members))
	for i, member := range members {
		records[i] = member.record
	}
	last, err := g.store.send(g.store.closing, records)

	g.mu.Lock()
	defer g.mu.Unlock()
	g.batches--
	var refused *apiError
	t := turn{uncertain: err != nil && !errors.As(err, &refused) && !errors.Is(err, errNotSent)}
	for i, member := range members {
		if err == nil {
			t.position = last - uint64(len(members)-1-i)
		} else {
			g.alone++
		}
		member.turn <- t
	}
	if err != nil {
		g.store.log.Debug("a batch of appends is stored one by one", "commits", len(members), "reason", err)
	}
	g.advance()
}
