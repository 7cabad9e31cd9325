package eventstore

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// crowd makes appends at the same time, which become one batch. It gives what
// became of each.
func crowd(t *testing.T, s *Store, all ...[]*Commit) []error {
	t.Helper()
	if n := len(slices.Concat(all...)); n != smallestBatch {
		t.Fatalf("%d commits make no batch", n)
	}
	occupy := func(n int) {
		s.group.mu.Lock()
		s.group.alone += n
		s.group.mu.Unlock()
	}
	occupy(mostAlone) // so that all of them queue
	defer occupy(-mostAlone)
	ctx := testContext(t)
	errs := make([]error, len(all))
	var appends sync.WaitGroup
	for i, commits := range all {
		appends.Go(func() { errs[i] = s.Append(ctx, commits...) })
	}
	appends.Wait()
	return errs
}

// single makes an append of each commit.
func single(commits []*Commit) [][]*Commit {
	all := make([][]*Commit, len(commits))
	for i := range commits {
		all[i] = commits[i : i+1 : i+1]
	}
	return all
}

// newcomers are first commits of new streams.
func newcomers() []*Commit {
	commits := make([]*Commit, smallestBatch)
	for i := range commits {
		commits[i] = renamed(newStream(), nil, "new")
	}
	return commits
}

// checkStored checks that each commit is there exactly once, where it was said
// to be.
func checkStored(t *testing.T, s *Store, commits []*Commit) {
	t.Helper()
	for _, c := range commits {
		got, err := s.Load(testContext(t), c.Stream, c.Version-1)
		if err != nil || len(got) != 1 {
			t.Fatalf("%d commits, %v", len(got), err)
		}
		if got[0].ID() != c.ID() || got[0].Position != c.Position || got[0].Hash != c.Hash {
			t.Errorf("stored at %d as %s, but it was said to be at %d as %s", got[0].Position, got[0].ID(), c.Position, c.ID())
		}
	}
}

// batched counts the messages that came in batches.
func batched(t *testing.T, s *Store, commits []*Commit) (n int) {
	t.Helper()
	for _, c := range commits {
		message, err := s.ask(testContext(t), c.Stream.subject(c.Version))
		if err != nil {
			t.Fatal(err)
		}
		if message.get("Nats-Batch-Id") != "" {
			n++
		}
	}
	return n
}

func TestGroup(t *testing.T) {
	f := &faults{}
	config := embeddedConfig(t)
	s := openStore(t, config, f.option(config))

	t.Run("appends at the same time are one batch", func(t *testing.T) {
		commits := newcomers()
		for _, err := range crowd(t, s, single(commits)...) {
			if err != nil {
				t.Fatal(err)
			}
		}
		checkStored(t, s, commits)
		if n := batched(t, s, commits); n != len(commits) {
			t.Errorf("%d of %d came in a batch", n, len(commits))
		}
	})

	t.Run("appends of several commits come along", func(t *testing.T) {
		chain, pair, others := chained(newStream(), nil, 5), claim(newClaim()), newcomers()[7:]
		for _, err := range crowd(t, s, append(single(others), chain, pair)...) {
			if err != nil {
				t.Fatal(err)
			}
		}
		checkStored(t, s, append(others, pair...))
		stored, err := s.Load(testContext(t), chain[0].Stream, 0)
		if err != nil || len(stored) != 5 || stored[4].Position != chain[4].Position || stored[4].Hash != chain[4].Hash {
			t.Errorf("%d commits, %v", len(stored), err)
		}
		if n := batched(t, s, append(chain, pair...)); n != 7 {
			t.Errorf("%d of 7 came in a batch", n)
		}
	})

	t.Run("a conflict is that of one", func(t *testing.T) {
		commits := newcomers()
		taken := renamed(commits[5].Stream, nil, "taken")
		if err := s.Append(testContext(t), taken); err != nil {
			t.Fatal(err)
		}
		for i, err := range crowd(t, s, single(commits)...) {
			if (i == 5) != errors.Is(err, ErrConflict) || (i != 5) != (err == nil) {
				t.Errorf("commit %d: %v", i, err)
			}
		}
		commits[5] = taken
		checkStored(t, s, commits)
	})

	t.Run("rivals in one batch", func(t *testing.T) {
		commits := newcomers()
		commits[1] = renamed(commits[0].Stream, nil, "rival")
		errs := crowd(t, s, single(commits)...)
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[0], errs[1]), ErrConflict) {
			t.Errorf("%v, %v", errs[0], errs[1])
		}
		if errs[0] == nil {
			commits[1] = commits[0]
		}
		checkStored(t, s, commits[1:])
	})

	t.Run("the acknowledgement is lost", func(t *testing.T) {
		commits := newcomers()
		f.loseAck(func() {})
		for _, err := range crowd(t, s, single(commits)...) {
			if err != nil {
				t.Error(err)
			}
		}
		checkStored(t, s, commits)
		if !f.struck() {
			t.Error("no acknowledgement was lost")
		}
	})

	t.Run("the acknowledgement never comes", func(t *testing.T) {
		patient := s.config.AckTimeout
		s.config.AckTimeout = 100 * time.Millisecond
		defer func() { s.config.AckTimeout = patient }()
		commits := newcomers()
		lost := f.muteAck()
		for _, err := range crowd(t, s, single(commits)...) {
			if err != nil {
				t.Error(err)
			}
		}
		await(t, lost)
		checkStored(t, s, commits)
	})

	t.Run("the batch is lost", func(t *testing.T) {
		f.loseMessage("Nats-Batch-Commit")
		// A batch that isn't even sent, because the connection still recovers from
		// what came before, is stored one by one as well: then the next is lost.
		for range 20 {
			commits := newcomers()
			for _, err := range crowd(t, s, single(commits)...) {
				if err != nil {
					t.Error(err)
				}
			}
			checkStored(t, s, commits)
			if n := batched(t, s, commits); n != 0 {
				t.Fatalf("%d came in a batch that was lost", n)
			}
			if f.struck() {
				return
			}
		}
		t.Error("no batch was lost")
	})
}
