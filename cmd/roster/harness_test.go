package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

const (
	operatorToken = "an-operator-token-that-only-tests-use"
	passphrase    = "correct horse battery"
	masterKey     = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
)

// server is a whole Roster in this process, reached over HTTP as anyone would.
type server struct {
	t   *testing.T
	url string
	app *app
}

// startServer runs `roster serve` with these flags, on a free port and with a
// data folder of its own unless the flags say otherwise.
func startServer(t *testing.T, flags ...string) *server {
	t.Helper()
	command := parseServe(t, append([]string{
		"--listen=127.0.0.1:0", "--data=" + filepath.Join(t.TempDir(), "data"), "--operator-token=" + operatorToken,
	}, flags...)...)
	app, err := start(t.Context(), command, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, url: app.url, app: app}
	t.Cleanup(s.stop)
	return s
}

func (s *server) stop() {
	if s.app == nil {
		return
	}
	if err := s.app.stop(context.Background()); err != nil {
		s.t.Errorf("stopping: %v", err)
	}
	s.app = nil
}

// parseServe reads flags as the command line does.
func parseServe(t *testing.T, flags ...string) *serveCommand {
	t.Helper()
	var line commandLine
	parser, err := kong.New(&line)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(append([]string{"serve"}, flags...)); err != nil {
		t.Fatal(err)
	}
	return &line.Serve
}

// runCommand runs `roster` with these arguments to its end.
func runCommand(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &output{stdout: &out, stderr: &errs})
	return out.String(), errs.String(), code
}

// client is somebody who calls the server: with a token, or without one.
type client struct {
	server *server
	token  string
	id     string // of the user
	email  string
	header http.Header
}

func (s *server) anonymous() *client { return &client{server: s} }
func (s *server) operator() *client  { return &client{server: s, token: operatorToken} }

// with is the same caller sending one more header.
func (c *client) with(name, value string) *client {
	out := *c
	out.header = c.header.Clone()
	if out.header == nil {
		out.header = http.Header{}
	}
	out.header.Set(name, value)
	return &out
}

// answer is what the server said.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
}

// try calls the server; only a failure of the connection is an error.
func (c *client) try(method, path string, body any) (*answer, error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, c.server.url+path, content)
	if err != nil {
		return nil, err
	}
	for name, values := range c.header {
		request.Header[name] = values
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	return &answer{t: c.server.t, what: method + " " + path, status: response.StatusCode, header: response.Header, body: read}, nil
}

func (c *client) call(method, path string, body any) *answer {
	c.server.t.Helper()
	a, err := c.try(method, path, body)
	if err != nil {
		c.server.t.Fatal(err)
	}
	return a
}

func (c *client) get(path string) *answer { c.server.t.Helper(); return c.call("GET", path, nil) }
func (c *client) post(path string, body any) *answer {
	c.server.t.Helper()
	return c.call("POST", path, body)
}
func (c *client) put(path string, body any) *answer {
	c.server.t.Helper()
	return c.call("PUT", path, body)
}
func (c *client) delete(path string) *answer { c.server.t.Helper(); return c.call("DELETE", path, nil) }

// is fails the test unless the answer has the status.
func (a *answer) is(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s answered %d, not %d: %s", a.what, a.status, status, a.body)
	}
	return a
}

// refuses fails the test unless the answer is a problem with the status and
// the code.
func (a *answer) refuses(status int, code string) *answer {
	a.t.Helper()
	a.is(status)
	if got := a.text("code"); got != code || a.header.Get("Content-Type") != "application/problem+json" {
		a.t.Fatalf("%s answered %s with code %q, not %q: %s", a.what, a.header.Get("Content-Type"), got, code, a.body)
	}
	return a
}

// at finds a value in the JSON of the answer by a path such as "data.0.email".
func (a *answer) at(path string) any {
	a.t.Helper()
	var value any
	if err := json.Unmarshal(a.body, &value); err != nil {
		a.t.Fatalf("%s: %v: %s", a.what, err, a.body)
	}
	for part := range strings.SplitSeq(path, ".") {
		switch node := value.(type) {
		case map[string]any:
			value = node[part]
		case []any:
			if index, err := strconv.Atoi(part); err == nil && index < len(node) {
				value = node[index]
			} else {
				value = nil
			}
		default:
			value = nil
		}
	}
	return value
}

func (a *answer) text(path string) string {
	a.t.Helper()
	text, _ := a.at(path).(string)
	return text
}

func (a *answer) list(path string) []any {
	a.t.Helper()
	list, _ := a.at(path).([]any)
	return list
}

// position is that of the write's last event.
func (a *answer) position() string { return a.header.Get("Roster-Position") }

// same fails the test unless the value at the path equals want, as JSON.
func (a *answer) same(path string, want any) *answer {
	a.t.Helper()
	encoded, err := json.Marshal(want)
	if err != nil {
		a.t.Fatal(err)
	}
	var normal any
	if err := json.Unmarshal(encoded, &normal); err != nil {
		a.t.Fatal(err)
	}
	if got := a.at(path); !reflect.DeepEqual(got, normal) {
		a.t.Fatalf("%s: %s differs (-want +got):\n%s", a.what, path, cmp.Diff(normal, got))
	}
	return a
}

// pluck lists one field of every item of a list.
func (a *answer) pluck(path, field string) []string {
	a.t.Helper()
	values := []string{}
	for i := range a.list(path) {
		values = append(values, fmt.Sprint(a.at(fmt.Sprintf("%s.%d.%s", path, i, field))))
	}
	return values
}

// team is a team as one of its members reaches it.
type team struct {
	id    string
	owner *client
}

func (t team) path(rest string) string { return "/v1/teams/" + t.id + rest }

// signUp opens an account with a team of the given catalog.
func (s *server) signUp(email, catalog string) (*client, team) {
	s.t.Helper()
	body := map[string]any{"email": email, "name": strings.SplitN(email, "@", 2)[0], "password": passphrase, "team_name": "Team of " + email}
	if catalog != "" {
		body["catalog"] = catalog
	}
	a := s.anonymous().post("/v1/users", body).is(201)
	c := &client{server: s, token: a.text("session.token"), id: a.text("user.id"), email: email}
	return c, team{id: a.text("team.id"), owner: c}
}

// invite sends an invitation and gives its token.
func (t team) invite(by *client, email, role string) (id, token string) {
	by.server.t.Helper()
	a := by.post(t.path("/invitations"), map[string]any{"email": email, "role": role}).is(201)
	return a.text("id"), tokenOf(a.text("url"))
}

func tokenOf(url string) string { return url[strings.LastIndex(url, "/")+1:] }

// join brings somebody new into the team with a role, by invitation.
func (t team) join(email, role string) *client {
	s := t.owner.server
	s.t.Helper()
	_, token := t.invite(t.owner, email, role)
	a := s.anonymous().post("/v1/invitations/"+token+"/accept", map[string]any{"name": strings.SplitN(email, "@", 2)[0], "password": passphrase}).is(200)
	return &client{server: s, token: a.text("session.token"), id: a.text("user.id"), email: email}
}
