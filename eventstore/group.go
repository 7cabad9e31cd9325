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
	waiting int // records in the queue
	alone   int // appends on their way alone
	batches int // on their way
}

// queued is an append that waits for its turn.
type queued struct {
	records []*record
	turn    chan turn // buffered
}

// turn tells a queued append that it was stored, or that it is its turn to be
// stored alone.
type turn struct {
	position  uint64 // of its last record; 0: alone
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

// append stores the records of one append, and gives the position of the last.
func (g *group) append(ctx context.Context, records []*record) (uint64, error) {
	g.mu.Lock()
	if len(g.queue) == 0 && g.batches == 0 && g.alone < mostAlone || ctx.Err() != nil {
		g.alone++
		g.mu.Unlock()
		return g.storeAlone(ctx, records, false)
	}
	q := &queued{records: records, turn: make(chan turn, 1)}
	g.queue = append(g.queue, q)
	g.waiting += len(records)
	g.advance()
	g.mu.Unlock()

	// A turn comes in bounded time whatever happens, so this doesn't look at
	// ctx, which would have to find out how far the others have got.
	t := <-q.turn
	if t.position > 0 {
		return t.position, nil
	}
	return g.storeAlone(ctx, records, t.uncertain)
}

// storeAlone stores the records of one append, without others.
func (g *group) storeAlone(ctx context.Context, records []*record, uncertain bool) (uint64, error) {
	defer func() {
		g.mu.Lock()
		g.alone--
		g.advance()
		g.mu.Unlock()
	}()
	return g.store.store(ctx, records, uncertain)
}

// advance gives turns to those who can have one. The caller holds the lock.
func (g *group) advance() {
	for len(g.queue) > 0 {
		switch {
		case g.waiting >= smallestBatch && g.batches < mostBatches:
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

// take takes the first ones out of the queue: as many as have so many records
// together, and one at least. The caller holds the lock.
func (g *group) take(most int) []*queued {
	n, records := 0, 0
	for n < len(g.queue) && (n == 0 || records+len(g.queue[n].records) <= most) {
		records += len(g.queue[n].records)
		n++
	}
	taken := append([]*queued(nil), g.queue[:n]...)
	rest := copy(g.queue, g.queue[n:])
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	g.waiting -= records
	return taken
}

func (g *group) batch(members []*queued) {
	var records []*record
	for _, member := range members {
		records = append(records, member.records...)
	}
	last, err := g.store.send(g.store.closing, records)

	g.mu.Lock()
	defer g.mu.Unlock()
	g.batches--
	var refused *apiError
	t := turn{uncertain: err != nil && !errors.As(err, &refused) && !errors.Is(err, errNotSent)}
	position := last - uint64(len(records))
	for _, member := range members {
		if err == nil {
			// The messages of a batch lie one behind the other.
			position += uint64(len(member.records))
			t.position = position
		} else {
			g.alone++
		}
		member.turn <- t
	}
	if err != nil {
		g.store.log.Debug("a batch of appends is stored one by one", "commits", len(records), "reason", err)
	}
	g.advance()
}
