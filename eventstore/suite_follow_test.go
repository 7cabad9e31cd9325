package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var errEnough = errors.New("enough")

// followed gives the n commits after a position.
func followed(t *testing.T, s *Store, after uint64, n int) (got []Commit) {
	t.Helper()
	err := s.Follow(testContext(t), after, func(_ context.Context, commits []Commit) error {
		if got = append(got, commits...); len(got) >= n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	return got
}

func testFollow(t *testing.T, s *Store) {
	ctx := testContext(t)
	start, err := s.LastPosition(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream := newStream()
	last := extendFast(t, s, stream, 2*MostFollowed)
	largest := 0
	next := start + 1
	err = s.FollowRaw(ctx, start, func(_ context.Context, messages []Message) error {
		largest = max(largest, len(messages))
		for _, m := range messages {
			if m.Position != next || m.Stream != stream || m.Version != next-start || !m.HasKind("team_renamed") || m.HasKind("team") {
				t.Fatalf("position %d is version %d of %v", m.Position, m.Version, m.Stream)
			}
			next++
		}
		if next > start+2*MostFollowed {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if largest > MostFollowed {
		t.Errorf("%d messages at once", largest)
	}

	ended, cancel := context.WithCancel(ctx)
	end, err := s.LastPosition(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// At the end nothing comes until something is appended.
	ready := make(chan struct{})
	done := make(chan error, 1)
	got := make(chan Commit, 1)
	go func() {
		done <- s.Follow(ended, end-1, func(_ context.Context, commits []Commit) error {
			for _, c := range commits {
				if c.Position == end {
					close(ready)
				} else {
					got <- c
				}
			}
			return nil
		})
	}()
	await(t, ready)
	last = extend(t, s, stream, &Commit{Version: last.Version, Hash: last.Hash}, 1)
	if diff := cmp.Diff(*last, await(t, got)); diff != "" {
		t.Error(diff)
	}
	cancel()
	if err := await(t, done); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if err := s.Follow(ctx, end+100, nil); !errors.Is(err, ErrMissing) {
		t.Errorf("a position of the future: %v", err)
	}
}

// testFollowSurvives cuts the followers' connections and takes their consumers
// away while commits are appended.
func testFollowSurvives(t *testing.T, s *Store, b backend) {
	const cuts, each = 4, 40
	ctx := testContext(t)
	start, err := s.LastPosition(ctx)
	if err != nil {
		t.Fatal(err)
	}
	end := start + cuts*each
	var reached [2]atomic.Uint64
	progress := make(chan struct{}, 1)
	note := func(follower int, position uint64) error {
		if expected := reached[follower].Load() + 1; position != expected {
			return fmt.Errorf("position %d came instead of %d", position, expected)
		}
		reached[follower].Store(position)
		select {
		case progress <- struct{}{}:
		default:
		}
		if position == end {
			return errEnough
		}
		return nil
	}
	reached[0].Store(start)
	reached[1].Store(start)
	errs := make(chan error, 2)
	go func() {
		errs <- s.Follow(ctx, start, func(_ context.Context, commits []Commit) (err error) {
			for i := 0; err == nil && i < len(commits); i++ {
				err = note(0, commits[i].Position)
			}
			return err
		})
	}()
	go func() {
		errs <- s.FollowRaw(ctx, start, func(_ context.Context, messages []Message) (err error) {
			for i := 0; err == nil && i < len(messages); i++ {
				err = note(1, messages[i].Position)
			}
			return err
		})
	}()

	stream := newStream()
	var last *Commit
	for cut := range cuts {
		last = extend(t, s, stream, last, each/2)
		// Both have something, so that there is something to cut.
		for min(reached[0].Load(), reached[1].Load()) <= start+uint64(cut*each) {
			select {
			case <-progress:
			case err := <-errs:
				t.Fatal(err)
			}
		}
		if cut%2 == 0 {
			cutFollowers(t, b)
		} else {
			dropConsumers(t, s)
		}
		last = extend(t, s, stream, last, each/2)
	}
	for range 2 {
		if err := await(t, errs); !errors.Is(err, errEnough) {
			t.Error(err)
		}
	}
}

// cutFollowers ends the connections of followers at the server.
func cutFollowers(t *testing.T, b backend) {
	t.Helper()
	cut := 0
	for _, ns := range b.servers {
		connections, err := ns.Connz(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range connections.Conns {
			if strings.Contains(c.Name, "follower") && ns.DisconnectClientByID(c.Cid) == nil {
				cut++
			}
		}
	}
	if cut != 2 {
		t.Errorf("%d connections were cut", cut)
	}
}

// dropConsumers deletes the consumers of the followers.
func dropConsumers(t *testing.T, s *Store) {
	t.Helper()
	stream, err := s.js.Stream(testContext(t), StreamName)
	if err != nil {
		t.Fatal(err)
	}
	names := stream.ConsumerNames(testContext(t))
	for name := range names.Name() {
		if err := stream.DeleteConsumer(testContext(t), name); err != nil {
			t.Log(err) // of an earlier connection, and just gone by itself
		}
	}
	if names.Err() != nil {
		t.Error(names.Err())
	}
}
