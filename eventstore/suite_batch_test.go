package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

func claim(address, user Stream) []*Commit {
	a, u := renamed(address, nil, ""), renamed(user, nil, "")
	a.Events[0].Event = domain.AddressClaimed{User: domain.UserID(user.ID)}
	u.Events[0].Event = domain.UserRegistered{Address: domain.AddressID(address.ID), DataKey: "k1.7"}
	return []*Commit{a, u}
}

func newClaim() (address, user Stream) {
	return Stream{Kind: KindEmail, ID: NewID("a")}, Stream{Kind: KindUser, ID: NewID(domain.PrefixUser)}
}

func count(t *testing.T, s *Store, stream Stream) int {
	t.Helper()
	commits, err := s.Load(testContext(t), stream, 0)
	if err != nil {
		t.Fatal(err)
	}
	return len(commits)
}

func testBatch(t *testing.T, s *Store) {
	ctx := testContext(t)
	address, user := newClaim()
	batch := claim(address, user)
	if err := s.Append(ctx, batch...); err != nil {
		t.Fatal(err)
	}
	if batch[1].Position != batch[0].Position+1 {
		t.Errorf("the batch is at %d and %d", batch[0].Position, batch[1].Position)
	}
	for _, c := range batch {
		got, err := s.Load(ctx, c.Stream, 0)
		if diff := cmp.Diff([]Commit{*c}, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	again := []*Commit{{}, {}}
	*again[0], *again[1] = *batch[0], *batch[1]
	if err := s.Append(ctx, again...); err != nil || again[1].Position != batch[1].Position {
		t.Errorf("the same batch again: %v, position %d", err, again[1].Position)
	}

	otherAddress, otherUser := newClaim()
	if err := s.Append(ctx, claim(address, otherUser)...); !errors.Is(err, ErrConflict) {
		t.Errorf("conflict on the first: %v", err)
	}
	if err := s.Append(ctx, claim(otherAddress, user)...); !errors.Is(err, ErrConflict) {
		t.Errorf("conflict on the second: %v", err)
	}
	if n := count(t, s, otherUser) + count(t, s, otherAddress); n != 0 {
		t.Errorf("%d commits of refused batches were stored", n)
	}
	next := renamed(user, batch[1], "next")
	if err := s.Append(ctx, next); err != nil {
		t.Errorf("after the batches: %v", err)
	}
}

// chained are commits of one stream that follow one another and, but for the
// first, don't know the hash of the one before.
func chained(stream Stream, previous *Commit, n int) []*Commit {
	commits := make([]*Commit, n)
	for i := range commits {
		commits[i] = renamed(stream, previous, fmt.Sprint("name ", i))
		if i > 0 {
			commits[i].Previous = Hash{}
		}
		previous = commits[i]
	}
	return commits
}

func testChained(t *testing.T, s *Store) {
	ctx := testContext(t)
	stream, other := newStream(), newStream()
	first := extend(t, s, stream, nil, 1)
	commits := append(chained(stream, first, 5), chained(other, nil, 3)...)
	if err := s.Append(ctx, commits...); err != nil {
		t.Fatal(err)
	}
	checkStored(t, s, commits[4:5])
	checkStored(t, s, commits[7:])
	for _, of := range []Stream{stream, other} {
		stored, err := s.Load(ctx, of, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range stored {
			if i > 0 && (stored[i].Previous != stored[i-1].Hash || stored[i].Position <= stored[i-1].Position) {
				t.Errorf("version %d doesn't follow the one before", stored[i].Version)
			}
		}
	}

	// A rival has the third of the versions to come: none of them is stored.
	last := commits[4]
	late := chained(stream, last, 4)
	taken := extend(t, s, stream, last, 3)
	if err := s.Append(ctx, late...); !errors.Is(err, ErrConflict) {
		t.Errorf("with versions that are taken: %v", err)
	}
	if n := count(t, s, stream); uint64(n) != taken.Version {
		t.Errorf("%d versions instead of %d", n, taken.Version)
	}
}

func testOneBatchWins(t *testing.T, s *Store) {
	const rivals = 16
	address, _ := newClaim()
	users := make([]Stream, rivals)
	errs := make([]error, rivals)
	var group sync.WaitGroup
	for i := range rivals {
		_, users[i] = newClaim()
		group.Go(func() { errs[i] = s.Append(testContext(t), claim(address, users[i])...) })
	}
	group.Wait()
	won, stored := 0, 0
	for i, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
		n := count(t, s, users[i])
		stored += n
		if (err == nil) != (n == 1) {
			t.Errorf("user %d: %v, but %d commits", i, err, n)
		}
	}
	if won != 1 || stored != 1 || count(t, s, address) != 1 {
		t.Errorf("%d batches won, %d users were stored", won, stored)
	}
}

func testLostAck(t *testing.T, s *Store, f *faults) {
	stream := newStream()
	last := extend(t, s, stream, nil, 1)
	f.loseAck(func() {})
	last = extend(t, s, stream, last, 1)
	f.loseAck(func() {})
	batch := claim(newClaim())
	if err := s.Append(testContext(t), batch...); err != nil {
		t.Fatal(err)
	}
	last = extend(t, s, stream, last, 1)
	got := followed(t, s, last.Position-5, 5)
	for i, want := range []uint64{1, 2, 1, 1, 3} {
		if got[i].Version != want || (i == 2) != (got[i].ID() == batch[0].ID()) {
			t.Errorf("commit %d is version %d of %s", i, got[i].Version, got[i].Stream.ID)
		}
	}
	if n := count(t, s, stream); n != 3 {
		t.Errorf("%d commits", n)
	}
	if !f.struck() {
		t.Error("no acknowledgement was lost")
	}
}

func testLostMessage(t *testing.T, s *Store, f *faults) {
	stream := newStream()
	f.loseMessage("HPUB ev.")
	last := extend(t, s, stream, nil, 1)
	f.loseMessage("Nats-Batch-Commit")
	batch := claim(newClaim())
	if err := s.Append(testContext(t), batch...); err != nil {
		t.Fatal(err)
	}
	if batch[0].Position != last.Position+1 || batch[1].Position != last.Position+2 {
		t.Errorf("positions %d, %d, %d", last.Position, batch[0].Position, batch[1].Position)
	}
	if !f.struck() {
		t.Error("no message was lost")
	}
}

// testMuteAck loses acknowledgements on connections that stay: only the time
// tells.
func testMuteAck(t *testing.T, s *Store, f *faults) {
	patient := s.config.AckTimeout
	s.config.AckTimeout = 100 * time.Millisecond
	defer func() { s.config.AckTimeout = patient }()

	lost := f.muteAck()
	stream := newStream()
	last := extend(t, s, stream, nil, 1)
	await(t, lost)
	lost = f.muteAck()
	batch := claim(newClaim())
	if err := s.Append(testContext(t), batch...); err != nil {
		t.Fatal(err)
	}
	if batch[1].Position != last.Position+2 || count(t, s, stream) != 1 || count(t, s, batch[1].Stream) != 1 {
		t.Errorf("positions %d, %d", last.Position, batch[1].Position)
	}
	await(t, lost)

	// Nothing is sent when the time has run out before.
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	late := renamed(stream, last, "late")
	if err := s.Append(ctx, late); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnsettled) {
		t.Errorf("%v", err)
	}
	if n := count(t, s, stream); n != 1 {
		t.Errorf("%d commits", n)
	}
}

// testUnsettled lets the time run out while the acknowledgement is lost, and
// has the caller try again.
func testUnsettled(t *testing.T, s *Store, f *faults) {
	stream := newStream()
	ctx, cancel := context.WithCancel(testContext(t))
	f.loseAck(cancel)
	c := renamed(stream, nil, "once")
	if err := s.Append(ctx, c); !errors.Is(err, ErrUnsettled) || !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	rival := renamed(stream, nil, "rival")
	if err := s.Append(testContext(t), rival); !errors.Is(err, ErrConflict) {
		t.Errorf("rival: %v", err)
	}
	if err := s.Append(testContext(t), c); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(testContext(t), stream, 0)
	if diff := cmp.Diff([]Commit{*c}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}

	batch := claim(newClaim())
	ctx, cancel = context.WithCancel(testContext(t))
	f.loseAck(cancel)
	if err := s.Append(ctx, batch...); !errors.Is(err, ErrUnsettled) {
		t.Fatalf("%v", err)
	}
	if err := s.Append(testContext(t), batch...); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, batch[0].Stream) + count(t, s, batch[1].Stream); n != 2 {
		t.Errorf("%d commits", n)
	}
}
