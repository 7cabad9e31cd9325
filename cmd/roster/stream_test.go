package main

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
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
}
