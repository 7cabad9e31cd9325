package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roster/commands"
	"roster/domain/catalogs"
	"roster/eventstore"
	"roster/projections"
)

// world is a whole server of real parts: event store, commands, read models
// and the HTTP interface, in one process.
type world struct {
	testing.TB
	store    *eventstore.Store
	service  *commands.Service
	models   *projections.Projections
	server   *Server
	http     *httptest.Server
	log      *syncBuffer
	mailbox  *mailbox
	operator string
	clock    *clock
}

// options are how a world differs from the usual one.
type options struct {
	catalog string
	baseURL string
	proxies []netip.Prefix
	quiet   bool // log errors only, for benchmarks
}

// clock is the time by which a world decides; it moves with the real one and
// can be put forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Now().Add(time.Duration(c.ahead.Load())).UTC().Truncate(time.Microsecond)
}

func (c *clock) forward(by time.Duration) { c.ahead.Add(int64(by)) }

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// mailbox is a Mailbox of the messages that a test puts into it.
type mailbox struct {
	mu    sync.Mutex
	mails []Mail
}

func (m *mailbox) List(limit int) ([]MailSummary, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []MailSummary{}
	for _, mail := range m.mails {
		list = append(list, mail.MailSummary)
	}
	return list[:min(limit, len(list))], nil
}

func (m *mailbox) Get(id string) (Mail, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mail := range m.mails {
		if mail.ID == id {
			return mail, nil
		}
	}
	return Mail{}, ErrNoMail
}

func newWorld(t testing.TB, o options) *world {
	t.Helper()
	if o.catalog == "" {
		o.catalog = "distribu"
	}
	w := &world{TB: t, log: &syncBuffer{}, mailbox: &mailbox{}, operator: strings.Repeat("operator-", 5), clock: &clock{}}
	level := slog.LevelDebug
	if o.quiet {
		level = slog.LevelError
	}
	logger := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: level}))
	ctx, end := context.WithCancel(context.Background())
	dir := t.TempDir()

	var err error
	if w.store, err = eventstore.Open(ctx, eventstore.Config{DataDir: dir, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	database, err := projections.Open(ctx, projections.Config{Path: filepath.Join(dir, "read.sqlite"), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if w.models, err = projections.New(ctx, database, w.store.Vault(), logger); err != nil {
		t.Fatal(err)
	}
	w.http = httptest.NewUnstartedServer(nil)
	baseURL := "http://" + w.http.Listener.Addr().String()
	if o.baseURL != "" {
		baseURL = o.baseURL
	}
	w.service, err = commands.New(ctx, commands.Config{
		Store: w.store, Catalogs: sources(t, o.catalog), BaseURL: baseURL, OperatorToken: w.operator,
		Now: w.clock.now, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	ready := make(chan struct{})
	run := func(what string, do func(context.Context) error) {
		tasks.Go(func() {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s ended: %v", what, err)
			}
		})
	}
	run("following", func(ctx context.Context) error { return w.service.Follow(ctx, func() { close(ready) }) })
	run("projecting", func(ctx context.Context) error { return w.models.Run(ctx, w.store) })
	<-ready

	base, err := url.Parse(baseURL)
	if err != nil {
		t.Fatal(err)
	}
	w.server = New(Config{
		Commands: w.service, Projections: w.models, BaseURL: base, Store: w.store, Mailbox: w.mailbox,
		TrustedProxies: o.proxies, Version: "test", Logger: logger,
	})
	w.server.streams.beat = 10 * time.Millisecond
	w.http.Config = w.server.HTTPServer()
	w.http.Start()
	t.Cleanup(func() {
		w.server.streams.close()
		w.http.Close()
		end()
		tasks.Wait()
		w.service.Close()
		if err := errors.Join(database.Close(), w.store.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return w
}

// sources are the role catalogs, the named one first.
func sources(t testing.TB, first string) (sources []commands.CatalogSource) {
	t.Helper()
	names := []string{first}
	for _, name := range catalogs.Names() {
		if name != first {
			names = append(names, name)
		}
	}
	for _, name := range names {
		catalog, source, err := catalogs.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, commands.CatalogSource{Catalog: catalog, Source: source})
	}
	return sources
}

// reply is an answer with its body read.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

// with changes a request before it is sent.
type with func(*http.Request)

func bearer(token string) with {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func header(name, value string) with {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// call sends a request. A body that is no string is sent as JSON.
func (w *world) call(method, path string, body any, changes ...with) *reply {
	w.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			w.Fatal(err)
		}
		content = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, w.http.URL+path, content)
	if err != nil {
		w.Fatal(err)
	}
	if content != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, change := range changes {
		change(r)
	}
	client := *w.http.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.Do(r)
	if err != nil {
		w.Fatalf("%s %s: %v", method, path, err)
	}
	defer answer.Body.Close()
	out := &reply{t: w.TB, status: answer.StatusCode, header: answer.Header}
	if out.raw, err = io.ReadAll(answer.Body); err != nil {
		w.Fatal(err)
	}
	_ = json.Unmarshal(out.raw, &out.body) // some answers are no JSON
	return out
}

// is checks the status and, if given, the code of a problem.
func (r *reply) is(status int, code ...string) *reply {
	r.t.Helper()
	got, _ := r.body["code"].(string)
	if r.status != status || len(code) > 0 && got != code[0] {
		r.t.Fatalf("answered %d %s\n%s\nwant %d %v", r.status, got, r.raw, status, code)
	}
	return r
}

// at finds a value by keys and indexes.
func (r *reply) at(path ...any) any {
	r.t.Helper()
	var value any = r.body
	for _, step := range path {
		switch key := step.(type) {
		case string:
			object, _ := value.(map[string]any)
			value = object[key]
		case int:
			items, _ := value.([]any)
			if key >= len(items) {
				r.t.Fatalf("no %v in %s", path, r.raw)
			}
			value = items[key]
		}
	}
	return value
}

func (r *reply) text(path ...any) string {
	r.t.Helper()
	text, ok := r.at(path...).(string)
	if !ok {
		r.t.Fatalf("no text at %v in %s", path, r.raw)
	}
	return text
}

func (r *reply) position() uint64 {
	r.t.Helper()
	position, err := strconv.ParseUint(r.header.Get("Roster-Position"), 10, 64)
	if err != nil {
		r.t.Fatalf("Roster-Position: %v", err)
	}
	return position
}

const password = "correct horse battery staple"

// account is somebody who has signed up.
type account struct {
	id, email, token, team string
}

func (a account) auth() with { return bearer(a.token) }

var emails atomic.Int64

func newEmail() string { return fmt.Sprintf("person%d@example.com", emails.Add(1)) }

// signUp opens an account with a team of its own.
func (w *world) signUp() account {
	w.Helper()
	email := newEmail()
	r := w.call("POST", "/v1/users", map[string]any{"email": email, "name": "A Person", "password": password}).is(201)
	return account{id: r.text("user", "id"), email: email, token: r.text("session", "token"), team: r.text("team", "id")}
}

// join makes a new account a member of a team, by an invitation.
func (w *world) join(owner account, role string) account {
	w.Helper()
	email := newEmail()
	r := w.call("POST", "/v1/teams/"+owner.team+"/invitations", map[string]any{"email": email, "role": role}, owner.auth()).is(201)
	token := r.text("url")[strings.LastIndex(r.text("url"), "/")+1:]
	joined := w.call("POST", "/v1/invitations/"+token+"/accept", map[string]any{"name": "A Member", "password": password}).is(200)
	return account{id: joined.text("user", "id"), email: email, token: joined.text("session", "token"), team: owner.team}
}

// position is that of the last event.
func (w *world) position() uint64 {
	w.Helper()
	position, err := w.store.LastPosition(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	return position
}
