package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Journal appends facts that belong to no aggregate, many in one commit when
// many come at once: those that arrive while an append is under way are the
// next commit. So a thousand of them cost the event store a handful of commits,
// and a single one waits for nobody.
//
// Every journal writes to an activity stream of its own, begun anew with each
// start of a process, so that no two of them ever contend for a version.
type Journal[T any] struct {
	config JournalConfig[T]

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	queue  []*journalEntry[T]
	active bool // a goroutine is appending

	// Of the stream; only the appending goroutine uses them.
	stream   Stream
	version  uint64
	previous Hash
	last     time.Time
}

// JournalConfig is what a journal is made from. All but Rest is required.
type JournalConfig[T any] struct {
	Append func(context.Context, ...*Commit) error // [Store.Append], or a test's
	Prefix string                                  // of the ids of its streams
	// Size is how many bytes of a commit a fact takes at most; how many facts
	// share one follows from that.
	Size func(fact T) int
	// Commit makes the commit of some facts, all but its place in the stream.
	Commit func(facts []T) *Commit
	Logger *slog.Logger

	// Rest is waited for after each commit, while facts gather for the next; it
	// returns early when ctx ends. So facts that nobody waits for cost the event
	// store only so many commits a second.
	Rest func(ctx context.Context)
}

type journalEntry[T any] struct {
	fact T
	done chan journalOutcome // buffered
}

type journalOutcome struct {
	commit *Commit
	err    error
}

const (
	// maxJournalBytes leaves room for what a commit has beside its events.
	maxJournalBytes = MaxCommitBytes - 16<<10

	journalAttempts = 3
	journalTimeout  = 10 * time.Second // of each
)

// NewJournal makes a journal; it writes nothing until there is something.
func NewJournal[T any](config JournalConfig[T]) *Journal[T] {
	j := &Journal[T]{config: config}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	j.begin()
	return j
}

// begin starts a new stream.
func (j *Journal[T]) begin() {
	j.stream = Stream{Kind: KindActivity, ID: NewID(j.config.Prefix)}
	j.version, j.previous = 0, Hash{}
}

// Close gives up what is still to be recorded and waits until nothing is being
// written any more. Whoever calls Record should have ended before.
func (j *Journal[T]) Close() {
	j.cancel()
	j.work.Wait()
}

// Record returns the fact's commit once it is durable; others share it, so it
// must not be changed. After an error the fact may or may not be recorded.
func (j *Journal[T]) Record(ctx context.Context, fact T) (*Commit, error) {
	entry := &journalEntry[T]{fact: fact, done: make(chan journalOutcome, 1)}
	j.mu.Lock()
	if err := j.ctx.Err(); err != nil {
		j.mu.Unlock()
		return nil, err
	}
	j.queue = append(j.queue, entry)
	if !j.active {
		j.active = true
		j.work.Go(j.drain)
	}
	j.mu.Unlock()
	select {
	case outcome := <-entry.done:
		return outcome.commit, outcome.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// drain appends until there is nothing left to append.
func (j *Journal[T]) drain() {
	for {
		j.mu.Lock()
		batch := j.queue[:j.fitting()]
		j.queue = j.queue[len(batch):]
		j.active = len(batch) > 0
		j.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		var outcome journalOutcome
		outcome.commit, outcome.err = j.commit(batch)
		for _, entry := range batch {
			entry.done <- outcome
		}
		if j.config.Rest != nil {
			j.config.Rest(j.ctx)
		}
	}
}

// fitting is how many of those in line fit into one commit, at least one if
// there is any. The caller holds the lock.
func (j *Journal[T]) fitting() int {
	size := 0
	for i, entry := range j.queue {
		if size += j.config.Size(entry.fact); i == MaxCommitEvents || i > 0 && size > maxJournalBytes {
			return i
		}
	}
	return len(j.queue)
}

// commit appends one batch. A failed append is tried again with the very same
// commit, which the store recognises if it has it after all. When that doesn't
// help either, the stream is left as it is and a new one begun.
func (j *Journal[T]) commit(batch []*journalEntry[T]) (commit *Commit, err error) {
	facts := make([]T, len(batch))
	for i, entry := range batch {
		facts[i] = entry.fact
	}
	commit = j.config.Commit(facts)
	commit.Stream, commit.Version, commit.Previous = j.stream, j.version+1, j.previous
	if commit.At.Before(j.last) { // the clock was set back
		commit.At = j.last
	}
	for attempt := 1; attempt <= journalAttempts; attempt++ {
		ctx, cancel := context.WithTimeout(j.ctx, journalTimeout)
		err = j.config.Append(ctx, commit)
		cancel()
		if err == nil {
			j.version, j.previous, j.last = commit.Version, commit.Hash, commit.At
			return commit, nil
		}
		if j.ctx.Err() != nil || errors.Is(err, ErrConflict) {
			break
		}
		j.config.Logger.Warn("appending to a journal failed", "journal", j.config.Prefix, "attempt", attempt, "error", err)
	}
	j.begin()
	return nil, fmt.Errorf("eventstore: appending %d facts to journal %s: %w", len(batch), j.config.Prefix, err)
}
