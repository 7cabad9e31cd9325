package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"roster/domain"
)

// operator is a connection that may do everything.
func (c *cluster) operator(t *testing.T, account string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(c.url("operator-"+account, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// testElections makes the leader of the stream step down while commits are
// appended and followed: every acknowledged commit is there exactly once.
func testElections(t *testing.T, c *cluster) {
	const writers, elections, between = 8, 3, 60
	s := openStore(t, c.config("suite"))
	// Behind what other tests left.
	start, err := s.LastPosition(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	operator := c.operator(t, "suite")

	patience := testContext(t)
	ctx, stop := context.WithCancel(patience)
	defer stop()
	acknowledged := make(chan struct{})
	streams := make([]Stream, writers)
	mine := make([]map[domain.EventID]uint64, writers)
	var group sync.WaitGroup
	for i := range writers {
		streams[i], mine[i] = newStream(), map[domain.EventID]uint64{}
		group.Go(func() {
			var last *Commit
			for ctx.Err() == nil {
				commit := renamed(streams[i], last, "x")
				if err := s.Append(patience, commit); err != nil {
					t.Errorf("writer %d: %v", i, err)
					return
				}
				last = commit
				mine[i][commit.ID()] = commit.Version
				select {
				case acknowledged <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}
	var followed []Commit
	total := make(chan uint64, 1)
	followers := make(chan error, 1)
	go func() {
		end := ^uint64(0)
		followers <- s.Follow(testContext(t), start, func(_ context.Context, commits []Commit) error {
			followed = append(followed, commits...)
			select {
			case end = <-total:
			default:
			}
			if start+uint64(len(followed)) >= end {
				return errEnough
			}
			return nil
		})
	}()
	for range elections {
		for range between {
			await(t, acknowledged)
		}
		before := leader(t, operator)
		answer, err := operator.RequestWithContext(testContext(t), "$JS.API.STREAM.LEADER.STEPDOWN.EVENTS", nil)
		if err != nil || strings.Contains(string(answer.Data), "error") {
			t.Fatal(err, string(answer.Data))
		}
		for after := before; after == before || after == ""; after = leader(t, operator) {
			select {
			case <-acknowledged:
			default:
			}
		}
	}
	for range between {
		await(t, acknowledged)
	}
	stop()
	group.Wait()

	end, err := s.LastPosition(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	// One more for the follower, who may have all of them already.
	total <- end + 1
	extend(t, s, newStream(), nil, 1)
	if err := await(t, followers); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	for i := range followed {
		if followed[i].Position != start+uint64(i)+1 {
			t.Fatalf("position %d was followed by %d", start+uint64(i), followed[i].Position)
		}
	}
	for i, stream := range streams {
		got, err := s.Load(testContext(t), stream, 0)
		if err != nil {
			t.Fatal(err)
		}
		checkAll(t, got, mine[i])
	}
}

// testNeverStale loads through another server what was just acknowledged.
func testNeverStale(t *testing.T, c *cluster) {
	writer := openStore(t, c.config("suite"))
	var readers []*Store
	for i := range c.servers {
		config := c.config("suite")
		config.URL = strings.Split(c.url("service-suite", i), ",")[0]
		readers = append(readers, openStore(t, config))
	}
	stream := newStream()
	var last *Commit
	const rounds = 40
	stale := 0
	for range rounds {
		last = extend(t, writer, stream, last, 1)
		for _, reader := range readers {
			after := max(last.Version, 3) - 3
			direct, err := reader.loadDirect(testContext(t), stream, after)
			if err != nil {
				t.Fatal(err)
			}
			if after+uint64(len(direct)) < last.Version {
				stale++
			}
			last = extend(t, writer, stream, last, 1)
			got, err := reader.Load(testContext(t), stream, after)
			if err != nil || len(got) == 0 || got[len(got)-1].Version != last.Version {
				t.Fatalf("version %d is not there: %d commits after %d, %v", last.Version, len(got), after, err)
			}
		}
	}
	t.Logf("%d of %d direct reads alone would have been stale", stale, rounds*len(readers))
}

// testOperatorIsBound shows that the stream's own settings protect it from
// somebody who may do everything.
func testOperatorIsBound(t *testing.T, c *cluster) {
	s := openStore(t, c.config("suite"))
	commit := extend(t, s, newStream(), nil, 1)
	operator := c.operator(t, "suite")
	js, err := jetstream.New(operator)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(testContext(t), StreamName)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error) {
		t.Helper()
		var refusal *jetstream.APIError
		if !errors.As(err, &refusal) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("delete", stream.DeleteMsg(testContext(t), commit.Position))
	refused("secure delete", stream.SecureDeleteMsg(testContext(t), commit.Position))
	refused("purge", stream.Purge(testContext(t)))
	refused("purge of one", stream.Purge(testContext(t), jetstream.WithPurgeSubject(commit.Stream.subject(1))))
	for what, loosen := range map[string]func(*jetstream.StreamConfig){
		"deletes":  func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"purges":   func(c *jetstream.StreamConfig) { c.DenyPurge = false },
		"replaces": func(c *jetstream.StreamConfig) { c.AllowRollup = true },
	} {
		config := streamConfig(3)
		loosen(&config)
		_, err := js.UpdateStream(testContext(t), config)
		refused("allowing "+what, err)
	}
	testNotOverwritten(t, operator, commit)
}

func testFewerReplicas(t *testing.T, c *cluster) {
	js, err := jetstream.New(c.operator(t, "mismatch"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(testContext(t), streamConfig(1)); err != nil {
		t.Fatal(err)
	}
	_, err = Open(testContext(t), c.config("mismatch"))
	if err == nil || !strings.Contains(err.Error(), "Replicas is 1 and must be 3") {
		t.Errorf("%v", err)
	}
	config := c.config("mismatch")
	config.Replicas = 1
	openStore(t, config)
}

// leader names the server that leads the stream and since when; "" while there
// is none.
func leader(t *testing.T, conn *nats.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), time.Second)
	defer cancel()
	answer, err := conn.RequestWithContext(ctx, "$JS.API.STREAM.INFO.EVENTS", nil)
	if errors.Is(err, context.DeadlineExceeded) {
		return "" // nobody leads who would answer
	}
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Cluster struct {
			Leader string
			Since  string `json:"leader_since"`
		}
	}
	if err := json.Unmarshal(answer.Data, &info); err != nil {
		t.Fatal(err)
	}
	if info.Cluster.Leader == "" {
		return ""
	}
	return info.Cluster.Leader + " since " + info.Cluster.Since
}
