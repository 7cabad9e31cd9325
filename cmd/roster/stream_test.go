package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	rosterclient "roster/api/client"
)

// stream is an open stream of changes.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
}

// watch opens a stream of changes, which ends with the test at the latest.
func (c *client) watch(path string) *stream {
	c.server.t.Helper()
	request, err := http.NewRequestWithContext(c.server.t.Context(), http.MethodGet, c.server.url+path, nil)
	if err != nil {
		c.server.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		c.server.t.Fatal(err)
	}
	c.server.t.Cleanup(func() { answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		c.server.t.Fatalf("%s answers %d", path, answer.StatusCode)
	}
	return &stream{c.server.t, bufio.NewScanner(answer.Body)}
}

// until gives the data of the events of a name, up to the first that holds the
// text.
func (s *stream) until(event, text string) (all []string) {
	s.t.Helper()
	for name := ""; s.lines.Scan(); {
		switch field, value, _ := strings.Cut(s.lines.Text(), ": "); field {
		case "event":
			name = value
		case "data":
			if name == event {
				all = append(all, value)
			}
			if name == event && strings.Contains(value, text) {
				return all
			}
			if name == "end" {
				s.t.Fatalf("the stream ended with %s before %s with %s", value, event, text)
			}
		}
	}
	s.t.Fatalf("the stream ended before %s with %s", event, text)
	return nil
}

// wantEnd checks that nothing but the end comes any more.
func (s *stream) wantEnd(reason string) {
	s.t.Helper()
	var rest []string
	for s.lines.Scan() {
		if text := s.lines.Text(); text != "" && !strings.Contains(text, "position") && !strings.HasPrefix(text, "id: ") {
			rest = append(rest, text)
		}
	}
	if got := strings.Join(rest, "\n"); got != "event: end\ndata: {\"reason\":\""+reason+"\"}" {
		s.t.Errorf("at the end came\n%s", got)
	}
}

// What one node takes from a reader ends the stream on the other, before
// anything that happened later is told.
func TestTwoNodesAndOpenStreams(t *testing.T) {
	a, b := startPair(t, startNATS(t), "--catalog=default")
	owner, team := a.signUp("olga@example.com", "")
	rename := func(name string) string {
		return owner.call("PATCH", team.path(""), map[string]any{"name": name}).is(200).position()
	}
	for i := range 4 {
		member := team.join(fmt.Sprintf("m%d@example.com", i), "member")
		other := a.anonymous().post("/v1/sessions", map[string]any{"email": member.email, "password": passphrase}).is(201)
		second := &client{server: b, token: other.text("token")}
		streams := []*stream{member.on(b).watch(team.path("/changes")), second.watch(team.path("/changes"))}
		seen := `"position":` + rename("Seen by all") + ","
		for _, s := range streams {
			s.until("change", seen)
		}
		second.on(a).delete("/v1/sessions/current").is(204)
		streams[1].wantEnd("unauthenticated")
		owner.delete(team.path("/members/" + member.id)).is(204)
		rename("Seen by nobody")
		streams[0].wantEnd("not_found")
	}
	t.Run("a client's cache on one node, changes on the other", func(t *testing.T) { cacheOnAnotherNode(t, a, b) })
}

// Roles change on one node while a cache that follows the other is asked. It
// never answers from before the position that it is asked for, nor from before
// what it has heard.
func cacheOnAnotherNode(t *testing.T, a, b *server) {
	owner, team := a.signUp("otto@example.com", "")
	member := team.join("mia@example.com", "admin")
	c, err := rosterclient.New(b.url, operatorToken)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := rosterclient.NewCache(c, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	if err := cache.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	q := rosterclient.Question{Team: team.id, Subject: member.id, Permission: "members:invite"}
	for i := range 40 {
		role := []string{"member", "admin"}[i%2]
		position, err := strconv.ParseUint(owner.put(team.path("/members/"+member.id+"/role"), map[string]any{"role": role}).is(200).position(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		for _, ctx := range []context.Context{rosterclient.AtLeast(t.Context(), position), t.Context()} {
			d, err := cache.Check(ctx, q)
			if err != nil || d.Allowed != (role == "admin") {
				t.Fatalf("as %s: %+v, %v", role, d, err)
			}
			if err := cache.Reached(t.Context(), position); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := cache.Check(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if stats := cache.Stats(); stats.Hits < 40 {
		t.Errorf("%+v", stats)
	}
}
