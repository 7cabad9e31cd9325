package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"roster/domain"
)

// TestStore is what every event store must do, on the server inside the
// process and on a cluster of three with every stream on all of them.
func TestStore(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel() // with the cluster: much of it is waiting
		suite(t, backend{name: "embedded", config: embeddedConfig(t)})
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := startCluster(t)
		suite(t, backend{name: "cluster", config: c.config("suite"), servers: c.servers})
		t.Run("elections", func(t *testing.T) { testElections(t, c) })
		t.Run("never stale", func(t *testing.T) { testNeverStale(t, c) })
		t.Run("operator is bound too", func(t *testing.T) { testOperatorIsBound(t, c) })
		t.Run("fewer replicas than asked", func(t *testing.T) { testFewerReplicas(t, c) })
	})
}

func suite(t *testing.T, b backend) {
	f := &faults{}
	b.config.AckTimeout = testTimeout // a slow machine must not look like a lost acknowledgement
	s := openStore(t, b.config, f.option(b.config))
	if s.embedded != nil {
		b.servers = append(b.servers, s.embedded.server)
	}
	t.Run("round trip", func(t *testing.T) { testRoundTrip(t, s) })
	t.Run("one of 32 writers wins", func(t *testing.T) { testOneWins(t, s) })
	t.Run("20 racing writers leave no gap", func(t *testing.T) { testRacingWriters(t, s) })
	t.Run("linearizable", func(t *testing.T) { testLinearizable(t, s) })
	t.Run("batch is all or nothing", func(t *testing.T) { testBatch(t, s) })
	t.Run("versions in one batch", func(t *testing.T) { testChained(t, s) })
	t.Run("one of 16 batches wins", func(t *testing.T) { testOneBatchWins(t, s) })
	t.Run("lost acknowledgement", func(t *testing.T) { testLostAck(t, s, f) })
	t.Run("mute acknowledgement", func(t *testing.T) { testMuteAck(t, s, f) })
	t.Run("lost message", func(t *testing.T) { testLostMessage(t, s, f) })
	t.Run("lost acknowledgement and no time", func(t *testing.T) { testUnsettled(t, s, f) })
	t.Run("more versions than one page", func(t *testing.T) { testLongStream(t, s) })
	t.Run("follow", func(t *testing.T) { testFollow(t, s) })
	t.Run("follow survives", func(t *testing.T) { testFollowSurvives(t, s, b) })
	t.Run("vault and buckets", func(t *testing.T) { testBeside(t, s) })
	t.Run("chain", func(t *testing.T) { testChain(t, s) })
	t.Run("nothing is taken away", func(t *testing.T) { testDenied(t, s) })
	t.Run("refused commits", func(t *testing.T) { testRefusedCommits(t, s) })
	t.Run("unreadable commit", func(t *testing.T) { testUnreadable(t, s) }) // last: it stops every follower
}

func testRoundTrip(t *testing.T, s *Store) {
	ctx := testContext(t)
	start, err := s.LastPosition(ctx)
	if err != nil {
		t.Fatal(err)
	}
	team, other := newStream(), Stream{Kind: KindUser, ID: NewID(domain.PrefixUser)}
	first := &Commit{
		Stream: team, Version: 1, At: testTime, Actor: domain.Operator,
		Events: []Recorded{
			{ID: newEventID(), Event: domain.TeamCreated{Name: "Ünïcode \"quoted\" <b>\n", Catalog: "c", CatalogVersion: 2, Owner: "user_x", OwnerRole: "OWNER"}},
			{ID: newEventID(), Event: domain.TeamDeleted{}},
		},
	}
	wanted := []*Commit{first}
	for _, next := range []func() *Commit{
		func() *Commit { return renamed(other, nil, "a") },
		func() *Commit {
			c := renamed(team, first, "b")
			c.Causation = first.ID()
			return c
		},
		func() *Commit { return renamed(other, wanted[1], "c") },
	} {
		if err := s.Append(ctx, wanted[len(wanted)-1]); err != nil {
			t.Fatal(err)
		}
		wanted = append(wanted, next())
	}
	if err := s.Append(ctx, wanted[3]); err != nil {
		t.Fatal(err)
	}
	for i, c := range wanted {
		if c.Position != start+uint64(i)+1 || c.Hash == (Hash{}) {
			t.Errorf("commit %d has position %d and hash %v", i, c.Position, c.Hash)
		}
	}
	if last, err := s.LastPosition(ctx); err != nil || last != wanted[3].Position {
		t.Errorf("the last position is %d, %v", last, err)
	}

	equal := func(what string, got []Commit, err error, want ...*Commit) {
		t.Helper()
		var flat []Commit
		for _, c := range want {
			flat = append(flat, *c)
		}
		if diff := cmp.Diff(flat, got); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", what, err, diff)
		}
	}
	for name, load := range map[string]func(context.Context, Stream, uint64) ([]Commit, error){"Load": s.Load, "CatchUp": s.CatchUp} {
		got, err := load(ctx, team, 0)
		equal(name+" from 0", got, err, wanted[0], wanted[2])
		got, err = load(ctx, team, 1)
		equal(name+" from 1", got, err, wanted[2])
		got, err = load(ctx, team, 2)
		equal(name+" from the end", got, err)
		got, err = load(ctx, newStream(), 0)
		equal(name+" of nothing", got, err)
	}
	got := followed(t, s, start, 4)
	equal("Follow", got, nil, wanted...)
	if meta := got[2].Meta(0); meta.ID != wanted[2].Events[0].ID || meta.Position != got[2].Position || meta.At != testTime || meta.Actor != wanted[2].Actor {
		t.Errorf("Meta is %+v", meta)
	}
}

func testOneWins(t *testing.T, s *Store) {
	const writers, versions = 32, 5
	stream := newStream()
	var last *Commit
	for version := range uint64(versions) {
		commits := make([]*Commit, writers)
		errs := make([]error, writers)
		start := make(chan struct{})
		var group sync.WaitGroup
		for i := range writers {
			commits[i] = renamed(stream, last, fmt.Sprint("writer ", i))
			group.Go(func() {
				<-start
				errs[i] = s.Append(testContext(t), commits[i])
			})
		}
		close(start)
		group.Wait()
		won := -1
		for i, err := range errs {
			switch {
			case err == nil && won >= 0:
				t.Fatalf("version %d was given to writers %d and %d", version+1, won, i)
			case err == nil:
				won = i
			case !errors.Is(err, ErrConflict):
				t.Fatalf("writer %d: %v", i, err)
			}
		}
		if won < 0 {
			t.Fatalf("nobody got version %d", version+1)
		}
		last = commits[won]
		got, err := s.CatchUp(testContext(t), stream, version)
		if diff := cmp.Diff([]Commit{*last}, got); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	}
}

// testRacingWriters lets writers load, append and try again as commands do.
func testRacingWriters(t *testing.T, s *Store) {
	const writers, each = 20, 5
	stream := newStream()
	var group sync.WaitGroup
	var mu sync.Mutex
	mine := map[domain.EventID]uint64{}
	for range writers {
		group.Go(func() {
			var known []Commit
			for done := 0; done < each; {
				news, err := s.Load(testContext(t), stream, uint64(len(known)))
				if err != nil {
					t.Error(err)
					return
				}
				known = append(known, news...)
				var last *Commit
				if len(known) > 0 {
					last = &known[len(known)-1]
				}
				c := renamed(stream, last, "mine")
				switch err := s.Append(testContext(t), c); {
				case err == nil:
					known = append(known, *c)
					done++
					mu.Lock()
					mine[c.ID()] = c.Version
					mu.Unlock()
				case !errors.Is(err, ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	got, err := s.Load(testContext(t), stream, 0)
	if err != nil {
		t.Fatal(err)
	}
	checkAll(t, got, mine)
}

// checkAll wants every acknowledged commit exactly once and the versions
// without a gap, each following the one before.
func checkAll(t *testing.T, got []Commit, acknowledged map[domain.EventID]uint64) {
	t.Helper()
	var previous Hash
	for i, c := range got {
		if c.Version != uint64(i)+1 || c.Previous != previous {
			t.Fatalf("commit %d has version %d and follows %v", i, c.Version, c.Previous)
		}
		previous = c.Hash
		if version, ok := acknowledged[c.ID()]; !ok || version != c.Version {
			t.Errorf("version %d holds %s, acknowledged was version %d", c.Version, c.ID(), version)
		}
	}
	if len(got) != len(acknowledged) {
		t.Errorf("there are %d commits, acknowledged were %d", len(got), len(acknowledged))
	}
}

func testLongStream(t *testing.T, s *Store) {
	const versions = 2*pageSize + 50
	ctx := testContext(t)
	stream := newStream()
	last := extendFast(t, s, stream, versions)
	for _, after := range []uint64{0, 1, pageSize, versions - 3} {
		got, err := s.Load(ctx, stream, after)
		if err != nil || uint64(len(got)) != versions-after {
			t.Fatalf("%d commits after %d: %v", len(got), after, err)
		}
		for i, c := range got {
			if c.Version != after+uint64(i)+1 {
				t.Fatalf("commit %d after %d has version %d", i, after, c.Version)
			}
		}
		if got[len(got)-1].Hash != last.Hash {
			t.Error("the last commit is another")
		}
	}
	if got, err := s.CatchUp(ctx, stream, versions-2); err != nil || len(got) != 2 {
		t.Errorf("%d commits, %v", len(got), err)
	}
}

// testBeside uses what lies beside the events, through the store.
func testBeside(t *testing.T, s *Store) {
	ctx := testContext(t)
	key, err := s.Vault().NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Vault().Seal(ctx, key, "user_x/name", "Ada")
	if err != nil {
		t.Fatal(err)
	}
	c := renamed(newStream(), nil, "x")
	c.Origin = sealed
	if err := s.Append(ctx, c); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(ctx, c.Stream, 0)
	if err != nil {
		t.Fatal(err)
	}
	if name, err := s.Vault().Open(ctx, got[0].Origin, "user_x/name"); err != nil || name != "Ada" {
		t.Errorf("opened as %q, %v", name, err)
	}
	bucket, err := s.Bucket(ctx, BucketConfig{Name: "BESIDE"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(ctx, "key", []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	if entry, err := bucket.Get(ctx, "key"); err != nil || string(entry.Value) != "value" {
		t.Errorf("got %q, %v", entry.Value, err)
	}
}
