package subscribers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// appends stands where the store's Append is and lets a test say what happens.
type appends struct {
	mu      sync.Mutex
	commits []eventstore.Commit
	answer  func(n int, commit *eventstore.Commit) error // called without the lock
}

func (a *appends) Append(_ context.Context, commits ...*eventstore.Commit) error {
	a.mu.Lock()
	commit := commits[0]
	commit.Hash = eventstore.Hash{byte(len(a.commits) + 1)}
	a.commits = append(a.commits, *commit)
	n := len(a.commits)
	a.mu.Unlock()
	if a.answer != nil {
		return a.answer(n, commit)
	}
	return nil
}

func outcome(n int) Outcome {
	return Outcome{
		Delivery:  domain.InvitationDelivery{Team: "team_1", Invitation: domain.InvitationID(fmt.Sprintf("inv_%d", n)), Link: 1, Status: domain.DeliverySent},
		Causation: domain.EventID(fmt.Sprintf("evt_%d", n)), RequestID: fmt.Sprintf("req_%d", n),
	}
}

var quiet = slog.New(slog.DiscardHandler)

func TestRecorderCommitsTogetherWhatComesTogether(t *testing.T) {
	first, release := make(chan struct{}), make(chan struct{})
	store := &appends{answer: func(n int, _ *eventstore.Commit) error {
		if n == 1 {
			close(first)
			<-release
		}
		return nil
	}}
	recorder := newRecorder(store.Append, Clock{}, quiet)
	defer recorder.Close()
	const more = maxOutcomes + 44
	var callers sync.WaitGroup
	record := func(n int) {
		callers.Go(func() {
			if err := recorder.Record(t.Context(), outcome(n)); err != nil {
				t.Error(err)
			}
		})
	}
	record(0)
	<-first // nobody else is there, so it is not waited for anybody
	for n := range more {
		record(n + 1)
	}
	for queued := 0; queued < more; { // until all are in line
		recorder.mu.Lock()
		queued = len(recorder.queue)
		recorder.mu.Unlock()
	}
	close(release)
	callers.Wait()
	seen := map[domain.InvitationID]bool{}
	for i, want := range []int{1, maxOutcomes, more - maxOutcomes} {
		commit := store.commits[i]
		if len(commit.Events) != want || commit.Version != uint64(i+1) || commit.Stream != store.commits[0].Stream || commit.Actor != domain.Roster {
			t.Errorf("commit %d: %d events, version %d of %v by %v", i, len(commit.Events), commit.Version, commit.Stream, commit.Actor)
		}
		if i > 0 && commit.Previous != store.commits[i-1].Hash {
			t.Errorf("commit %d does not follow on the one before", i)
		}
		if single := want == 1; single != (commit.Causation == "evt_0") || single != (commit.RequestID == "req_0") {
			t.Errorf("commit %d is caused by %q in %q", i, commit.Causation, commit.RequestID)
		}
		for _, event := range commit.Events {
			seen[event.Event.(domain.InvitationDelivery).Invitation] = true
		}
	}
	if len(store.commits) != 3 || len(seen) != more+1 {
		t.Errorf("%d commits with %d outcomes", len(store.commits), len(seen))
	}
}

func TestRecorderPausesAfterEveryCommit(t *testing.T) {
	store := &appends{}
	waits, pause := make(chan time.Duration, 10), make(chan time.Time)
	clock := Clock{After: func(wait time.Duration) <-chan time.Time {
		waits <- wait
		return pause
	}}
	recorder := newRecorder(store.Append, clock, quiet)
	if err := recorder.Record(t.Context(), outcome(0)); err != nil { // which waits for nothing
		t.Fatal(err)
	}
	if wait := receive(t, waits, "the pause"); wait != recordPause {
		t.Errorf("it lasts %s", wait)
	}
	const more = 3
	var callers sync.WaitGroup
	for n := range more {
		callers.Go(func() {
			if err := recorder.Record(t.Context(), outcome(n+1)); err != nil {
				t.Error(err)
			}
		})
	}
	for queued := 0; queued < more; { // and none of them is appended
		recorder.mu.Lock()
		queued = len(recorder.queue)
		recorder.mu.Unlock()
	}
	pause <- time.Time{}
	callers.Wait()
	if len(store.commits) != 2 || len(store.commits[1].Events) != more {
		t.Errorf("got %+v", store.commits)
	}
	receive(t, waits, "the second pause")
	recorder.Close() // does not wait for its end
}

func TestRecorderTriesTheSameCommitAgain(t *testing.T) {
	store := &appends{answer: func(n int, _ *eventstore.Commit) error {
		if n < appendAttempts {
			return eventstore.ErrUnsettled
		}
		return nil
	}}
	recorder := newRecorder(store.Append, Clock{}, quiet)
	defer recorder.Close()
	if err := recorder.Record(t.Context(), outcome(1)); err != nil {
		t.Fatal(err)
	}
	for _, commit := range store.commits {
		if commit.ID() != store.commits[0].ID() || commit.Version != 1 {
			t.Errorf("another commit: %+v", commit)
		}
	}
	if len(store.commits) != appendAttempts {
		t.Errorf("%d attempts", len(store.commits))
	}
}

func TestRecorderBeginsAnewAfterAFailure(t *testing.T) {
	broken := true
	store := &appends{answer: func(int, *eventstore.Commit) error {
		if broken {
			return eventstore.ErrConflict
		}
		return nil
	}}
	recorder := newRecorder(store.Append, Clock{}, quiet)
	if err := recorder.Record(t.Context(), outcome(1)); !errors.Is(err, eventstore.ErrConflict) {
		t.Errorf("got %v", err)
	}
	broken = false
	if err := recorder.Record(t.Context(), outcome(1)); err != nil {
		t.Error(err)
	}
	if len(store.commits) != 2 || store.commits[0].Stream == store.commits[1].Stream || store.commits[1].Version != 1 {
		t.Errorf("got %+v", store.commits)
	}
	recorder.Close()
	if err := recorder.Record(t.Context(), outcome(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
