package subscribers

import (
	"context"
	"log/slog"
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

// Recorder records outcomes in the event stream, in a journal of its own. The
// first waits for nobody, and those that arrive until a few milliseconds after
// its append are the next commit. So however fast mail is sent, it costs the
// event store some 200 commits a second, and leaves the rest to commands.
type Recorder struct {
	journal *eventstore.Journal[Outcome]
	clock   Clock
}

// recordPause follows every commit. Nobody notices it in the status of a
// message.
const recordPause = 5 * time.Millisecond

// NewRecorder makes a recorder that appends to the store.
func NewRecorder(store *eventstore.Store, clock Clock, logger *slog.Logger) *Recorder {
	return newRecorder(store.Append, clock, logger)
}

func newRecorder(append func(context.Context, ...*eventstore.Commit) error, clock Clock, logger *slog.Logger) *Recorder {
	if logger == nil {
		logger = slog.Default()
	}
	r := &Recorder{clock: clock.orReal()}
	r.journal = eventstore.NewJournal(eventstore.JournalConfig[Outcome]{
		Append: append, Prefix: "mail", Size: outcomeSize, Commit: r.commit, Logger: logger,
		Rest: func(ctx context.Context) { _ = r.clock.wait(ctx, recordPause) }, // shorter when it is closed
	})
	return r
}

// Close gives up what is still to be recorded and waits until nothing is being
// written any more. Whoever calls Record should have ended before.
func (r *Recorder) Close() { r.journal.Close() }

// Record returns when the outcome is durable. After an error it may or may not
// be; recording it once more does no harm.
func (r *Recorder) Record(ctx context.Context, outcome Outcome) error {
	_, err := r.journal.Record(ctx, outcome)
	return err
}

// outcomeSize is the most that an outcome takes: what an SMTP server said may be
// escaped.
func outcomeSize(o Outcome) int { return 300 + 6*len(o.Delivery.Detail) }

// commit makes the commit of outcomes that are recorded together.
func (r *Recorder) commit(outcomes []Outcome) *eventstore.Commit {
	first := outcomes[0]
	commit := &eventstore.Commit{
		At: r.clock.Now(), Actor: domain.Roster, Causation: first.Causation, RequestID: first.RequestID,
	}
	for _, outcome := range outcomes {
		// A commit has one cause. In one of several the events name the
		// invitation and the link that they are about.
		if outcome.Causation != commit.Causation {
			commit.Causation = ""
		}
		if outcome.RequestID != commit.RequestID {
			commit.RequestID = ""
		}
		commit.Events = append(commit.Events, eventstore.Recorded{
			ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)), Event: outcome.Delivery,
		})
	}
	return commit
}
