package subscribers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// Outcome is what became of one message.
type Outcome struct {
	Delivery  domain.InvitationDelivery
	Causation domain.EventID // the event that the message was about
	RequestID string         // of the request that led to that event
}

// Recorder appends outcomes to the event stream, many in one commit when many
// come at once: the first waits for nobody, and those that arrive until a few
// milliseconds after its append are the next commit. So however fast mail is
// sent, it costs the event store some 200 commits a second, and leaves the
// rest to commands.
//
// Every process writes to an activity stream of its own, begun anew with each
// start, so that no two of them ever contend for a version.
type Recorder struct {
	append func(context.Context, ...*eventstore.Commit) error
	clock  Clock
	logger *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	queue  []*recording
	active bool // a goroutine is appending

	// Of the stream; only the appending goroutine uses them.
	stream   eventstore.Stream
	version  uint64
	previous eventstore.Hash
}

type recording struct {
	outcome Outcome
	done    chan error // buffered
}

const (
	// maxOutcomes in one commit. 256 of them are about 60 KiB, far below what
	// a commit may have, and 50,000 a second more than the mail of any server
	// amounts to.
	maxOutcomes = 256

	// recordPause follows every commit. Nobody notices it in the status of a
	// message.
	recordPause = 5 * time.Millisecond

	appendAttempts = 3
	appendTimeout  = 10 * time.Second
)

// NewRecorder makes a recorder that appends to the store.
func NewRecorder(store *eventstore.Store, clock Clock, logger *slog.Logger) *Recorder {
	return newRecorder(store.Append, clock, logger)
}

func newRecorder(append func(context.Context, ...*eventstore.Commit) error, clock Clock, logger *slog.Logger) *Recorder {
	if logger == nil {
		logger = slog.Default()
	}
	r := &Recorder{append: append, clock: clock.orReal(), logger: logger}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.begin()
	return r
}

// begin starts a new stream.
func (r *Recorder) begin() {
	r.stream = eventstore.Stream{Kind: eventstore.KindActivity, ID: eventstore.NewID("mail")}
	r.version, r.previous = 0, eventstore.Hash{}
}

// Close gives up what is still to be recorded and waits until nothing is being
// written any more. Whoever calls Record should have ended before.
func (r *Recorder) Close() {
	r.cancel()
	r.work.Wait()
}

// Record returns when the outcome is durable. After an error it may or may not
// be; recording it once more does no harm.
func (r *Recorder) Record(ctx context.Context, outcome Outcome) error {
	entry := &recording{outcome: outcome, done: make(chan error, 1)}
	r.mu.Lock()
	if err := r.ctx.Err(); err != nil {
		r.mu.Unlock()
		return err
	}
	r.queue = append(r.queue, entry)
	if !r.active {
		r.active = true
		r.work.Go(r.drain)
	}
	r.mu.Unlock()
	select {
	case err := <-entry.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain appends until there is nothing left to append.
func (r *Recorder) drain() {
	for {
		r.mu.Lock()
		batch := r.queue[:min(len(r.queue), maxOutcomes)]
		r.queue = r.queue[len(batch):]
		r.active = len(batch) > 0
		r.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		err := r.commit(batch)
		for _, entry := range batch {
			entry.done <- err
		}
		_ = r.clock.wait(r.ctx, recordPause) // shorter when the recorder is closed
	}
}

// commit appends one batch. A failed append is tried again with the very same
// commit, which the store recognises if it has it after all. When that doesn't
// help either, the stream is left as it is and a new one begun.
func (r *Recorder) commit(batch []*recording) (err error) {
	first := batch[0].outcome
	commit := &eventstore.Commit{
		Stream: r.stream, Version: r.version + 1, Previous: r.previous,
		At: r.clock.Now(), Actor: domain.Roster, Causation: first.Causation, RequestID: first.RequestID,
	}
	for _, entry := range batch {
		// A commit has one cause. In a batch of several the events name the
		// invitation and the link that they are about.
		if entry.outcome.Causation != commit.Causation {
			commit.Causation = ""
		}
		if entry.outcome.RequestID != commit.RequestID {
			commit.RequestID = ""
		}
		commit.Events = append(commit.Events, eventstore.Recorded{
			ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)), Event: entry.outcome.Delivery,
		})
	}
	for attempt := 1; attempt <= appendAttempts; attempt++ {
		ctx, cancel := context.WithTimeout(r.ctx, appendTimeout)
		err = r.append(ctx, commit)
		cancel()
		if err == nil {
			r.version, r.previous = commit.Version, commit.Hash
			return nil
		}
		if r.ctx.Err() != nil || errors.Is(err, eventstore.ErrConflict) {
			break
		}
		r.logger.Warn("recording what became of messages failed", "attempt", attempt, "error", err)
	}
	r.begin()
	return fmt.Errorf("recording what became of %d messages: %w", len(batch), err)
}
