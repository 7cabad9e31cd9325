package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"roster/domain"
)

// testDenied tries, with what a Roster process may do, to change the past.
func testDenied(t *testing.T, s *Store) {
	ctx := testContext(t)
	stream := newStream()
	c := extend(t, s, stream, nil, 1)

	forbidden := make(chan error, 10)
	conn, err := s.connect("attacker")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { forbidden <- err })
	for _, call := range []struct{ subject, body string }{
		{"STREAM.DELETE.EVENTS", ""},
		{"STREAM.PURGE.EVENTS", ""},
		{"STREAM.PURGE.EVENTS", `{"filter":"` + stream.subject(1) + `"}`},
		{"STREAM.UPDATE.EVENTS", `{"name":"EVENTS","subjects":["ev.>"],"max_age":1}`},
		{"STREAM.MSG.DELETE.EVENTS", fmt.Sprintf(`{"seq":%d}`, c.Position)},
		{"STREAM.DELETE.KEYS", ""},
		{"STREAM.PURGE.KEYS", ""},
	} {
		if err := conn.PublishRequest("$JS.API."+call.subject, conn.NewInbox(), []byte(call.body)); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-forbidden:
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), call.subject) {
				t.Errorf("%s: %v", call.subject, err)
			}
		case <-ctx.Done():
			t.Fatalf("%s %s was allowed", call.subject, call.body)
		}
	}
	testNotOverwritten(t, conn, c)

	got, err := s.Load(ctx, stream, 0)
	if diff := cmp.Diff([]Commit{*c}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// testNotOverwritten publishes to the subject of a stored commit in every way
// that might replace it.
func testNotOverwritten(t *testing.T, conn *nats.Conn, c *Commit) {
	t.Helper()
	for _, header := range []nats.Header{
		nil,
		{"Nats-Expected-Last-Subject-Sequence": {fmt.Sprint(c.Position)}},
		{"Nats-Rollup": {"sub"}},
		{"Nats-Rollup": {"all"}},
		{"Nats-TTL": {"1s"}},
		{"Nats-Marker-Reason": {"Purge"}},
	} {
		msg := &nats.Msg{Subject: c.Stream.subject(c.Version), Header: header, Data: []byte("forged")}
		answer, err := conn.RequestMsgWithContext(testContext(t), msg)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(answer.Data), `"error"`) {
			t.Errorf("with header %v: %s", header, answer.Data)
		}
	}
}

func testRefusedCommits(t *testing.T, s *Store) {
	stream := newStream()
	for name, spoil := range map[string]func(*Commit){
		"no events":          func(c *Commit) { c.Events = nil },
		"too many events":    func(c *Commit) { c.Events = make([]Recorded, MaxCommitEvents+1) },
		"no version":         func(c *Commit) { c.Version = 0 },
		"no previous hash":   func(c *Commit) { c.Version = 2 },
		"a previous hash":    func(c *Commit) { c.Previous = Hash{1} },
		"no time":            func(c *Commit) { c.At = c.At.AddDate(-2100, 0, 0) },
		"no actor":           func(c *Commit) { c.Actor = domain.Actor{} },
		"unknown kind":       func(c *Commit) { c.Stream.Kind = "teams" },
		"wildcard":           func(c *Commit) { c.Stream.ID = "*" },
		"two tokens":         func(c *Commit) { c.Stream.ID = "a.b" },
		"no stream id":       func(c *Commit) { c.Stream.ID = "" },
		"long stream id":     func(c *Commit) { c.Stream.ID = strings.Repeat("a", maxStreamID+1) },
		"header in request":  func(c *Commit) { c.RequestID = "a\r\nNats-Rollup: all" },
		"quote in actor":     func(c *Commit) { c.Actor.ID = `a"b` },
		"plain text origin":  func(c *Commit) { c.Origin = "10.0.0.1, Mozilla/5.0 (X11)" },
		"long request":       func(c *Commit) { c.RequestID = strings.Repeat("a", maxShortText+1) },
		"malformed cause":    func(c *Commit) { c.Causation = "evt_1" },
		"malformed event id": func(c *Commit) { c.Events[0].ID = "evt_1" },
		"no event":           func(c *Commit) { c.Events[0].Event = nil },
		"pointer to event":   func(c *Commit) { c.Events[0].Event = &domain.TeamDeleted{} },
		"too large": func(c *Commit) {
			c.Events[0].Event = domain.TeamRenamed{To: strings.Repeat("a", MaxCommitBytes)}
		},
	} {
		c := renamed(stream, nil, "x")
		spoil(c)
		if err := s.Append(testContext(t), c); err == nil || errors.Is(err, ErrUnsettled) || errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	one := renamed(stream, nil, "x")
	two := renamed(stream, one, "y")
	three := renamed(stream, two, "z")
	for name, commits := range map[string][]*Commit{
		"no commit": {}, "one version twice": {one, renamed(stream, nil, "y")}, "a gap": {one, three}, "backwards": {two, one},
		"scattered": {one, renamed(newStream(), nil, "x"), two}, "too many": make([]*Commit, MaxAppend+1),
	} {
		if err := s.Append(testContext(t), commits...); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if n := count(t, s, stream); n != 0 {
		t.Errorf("%d commits", n)
	}
	largest := renamed(stream, nil, strings.Repeat("a", MaxCommitBytes-1000))
	if err := s.Append(testContext(t), largest); err != nil {
		t.Error(err)
	}
	if _, err := s.Load(testContext(t), Stream{Kind: KindTeam, ID: ">"}, 0); err == nil {
		t.Error("a wildcard was loaded")
	}
	if _, err := s.CatchUp(testContext(t), Stream{Kind: KindTeam, ID: ">"}, 0); err == nil {
		t.Error("a wildcard was loaded")
	}
}

// testUnreadable stores what no commit is, as a stranger on the same server
// might.
func testUnreadable(t *testing.T, s *Store) {
	ctx := testContext(t)
	stream := newStream()
	if _, err := s.write.Request(stream.subject(1), []byte(`{}`), testTimeout); err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func(context.Context, Stream, uint64) ([]Commit, error){"Load": s.Load, "CatchUp": s.CatchUp} {
		if _, err := load(ctx, stream, 0); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	end, err := s.LastPosition(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Follow(ctx, end-1, func(context.Context, []Commit) error { return nil })
	if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), stream.ID) {
		t.Errorf("Follow: %v", err)
	}
	if err := s.Append(ctx, renamed(stream, nil, "x")); !errors.Is(err, ErrConflict) {
		t.Errorf("Append: %v", err)
	}
}
