package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"roster/domain"
)

// appends stands where Store.Append is and lets a test say what happens.
type appends struct {
	mu      sync.Mutex
	commits []Commit
	answer  func(n int) error // called without the lock
}

func (a *appends) Append(_ context.Context, commits ...*Commit) error {
	a.mu.Lock()
	commit := commits[0]
	commit.Hash = Hash{byte(len(a.commits) + 1)}
	a.commits = append(a.commits, *commit)
	n := len(a.commits)
	commit.Position = uint64(100 * n)
	a.mu.Unlock()
	if a.answer != nil {
		return a.answer(n)
	}
	return nil
}

const mostFacts = 16

// journalOf keeps facts that are ids of sessions; its clock is wound back by a
// second with each commit.
func journalOf(store *appends) *Journal[string] {
	now := sampleTime
	return NewJournal(JournalConfig[string]{
		Append: store.Append, Prefix: "test", Size: func(string) int { return maxJournalBytes / mostFacts }, Logger: slog.New(slog.DiscardHandler),
		Commit: func(facts []string) *Commit {
			now = now.Add(-time.Second)
			commit := &Commit{At: now, Actor: domain.Roster}
			for _, fact := range facts {
				commit.Events = append(commit.Events, Recorded{
					ID: domain.EventID(NewID(domain.PrefixEvent)), Event: domain.SessionStarted{Session: domain.SessionID(fact)},
				})
			}
			return commit
		},
	})
}

func TestJournalCommitsTogetherWhatComesTogether(t *testing.T) {
	first, release := make(chan struct{}), make(chan struct{})
	store := &appends{answer: func(n int) error {
		if n == 1 {
			close(first)
			<-release
		}
		return nil
	}}
	journal := journalOf(store)
	defer journal.Close()
	const more = mostFacts + 5
	var callers sync.WaitGroup
	positions := make([]uint64, more+1)
	record := func(n int) {
		callers.Go(func() {
			commit, err := journal.Record(t.Context(), fmt.Sprint(n))
			if err != nil {
				t.Error(err)
				return
			}
			positions[n] = commit.Position
		})
	}
	record(0)
	<-first // nobody else is there, so it is not waited for anybody
	for n := range more {
		record(n + 1)
	}
	for queued := 0; queued < more; { // until all are in line
		journal.mu.Lock()
		queued = len(journal.queue)
		journal.mu.Unlock()
	}
	close(release)
	callers.Wait()
	seen := map[string]uint64{}
	for i, want := range []int{1, mostFacts, more - mostFacts} {
		commit := store.commits[i]
		if len(commit.Events) != want || commit.Version != uint64(i+1) || commit.Stream != store.commits[0].Stream || commit.Stream.Kind != KindActivity {
			t.Errorf("commit %d: %d events, version %d of %v", i, len(commit.Events), commit.Version, commit.Stream)
		}
		if i > 0 && (commit.Previous != store.commits[i-1].Hash || commit.At.Before(store.commits[i-1].At)) {
			t.Errorf("commit %d does not follow on the one before", i)
		}
		for _, event := range commit.Events {
			seen[string(event.Event.(domain.SessionStarted).Session)] = uint64(100 * (i + 1))
		}
	}
	if len(store.commits) != 3 || len(seen) != more+1 {
		t.Errorf("%d commits with %d facts", len(store.commits), len(seen))
	}
	for n, position := range positions {
		if position == 0 || position != seen[fmt.Sprint(n)] {
			t.Errorf("fact %d is said to be at %d and is at %d", n, position, seen[fmt.Sprint(n)])
		}
	}
}

func TestJournalTriesTheSameCommitAgain(t *testing.T) {
	store := &appends{answer: func(n int) error {
		if n < journalAttempts {
			return ErrUnsettled
		}
		return nil
	}}
	journal := journalOf(store)
	defer journal.Close()
	if _, err := journal.Record(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	for _, commit := range store.commits {
		if commit.ID() != store.commits[0].ID() || commit.Version != 1 {
			t.Errorf("another commit: %+v", commit)
		}
	}
	if len(store.commits) != journalAttempts {
		t.Errorf("%d attempts", len(store.commits))
	}
}

func TestJournalBeginsAnewAfterAFailure(t *testing.T) {
	broken := true
	store := &appends{answer: func(int) error {
		if broken {
			return ErrConflict
		}
		return nil
	}}
	journal := journalOf(store)
	if _, err := journal.Record(t.Context(), "1"); !errors.Is(err, ErrConflict) {
		t.Errorf("got %v", err)
	}
	broken = false
	if _, err := journal.Record(t.Context(), "1"); err != nil {
		t.Error(err)
	}
	if len(store.commits) != 2 || store.commits[0].Stream == store.commits[1].Stream || store.commits[1].Version != 1 {
		t.Errorf("got %+v", store.commits)
	}
	journal.Close()
	if _, err := journal.Record(t.Context(), "2"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What comes while a journal rests goes together once it has rested.
func TestJournalRestsAfterEveryCommit(t *testing.T) {
	store := &appends{}
	journal := journalOf(store)
	resting, over := make(chan struct{}), make(chan struct{})
	journal.config.Rest = func(ctx context.Context) {
		resting <- struct{}{}
		select {
		case <-over:
		case <-ctx.Done():
		}
	}
	if _, err := journal.Record(t.Context(), "first"); err != nil { // which waits for nothing
		t.Fatal(err)
	}
	<-resting
	const more = 3
	var callers sync.WaitGroup
	for n := range more {
		callers.Go(func() {
			if _, err := journal.Record(t.Context(), fmt.Sprint(n)); err != nil {
				t.Error(err)
			}
		})
	}
	for queued := 0; queued < more; { // and none of them is appended
		journal.mu.Lock()
		queued = len(journal.queue)
		journal.mu.Unlock()
	}
	over <- struct{}{}
	callers.Wait()
	if len(store.commits) != 2 || len(store.commits[1].Events) != more {
		t.Errorf("got %+v", store.commits)
	}
	<-resting
	journal.Close() // doesn't wait for the end of it
}
