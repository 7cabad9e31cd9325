package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roster/api"
	"roster/api/client"
	"roster/commands"
	"roster/domain/catalogs"
	"roster/eventstore"
	"roster/projections"
)

const (
	operatorToken = "an-operator-token-that-only-tests-use"
	passphrase    = "correct horse battery staple"
)

// roster is a whole server of real parts in this process, reached over HTTP as
// a host reaches it.
type roster struct {
	url     string
	service *commands.Service
	store   *eventstore.Store
	close   func() error
}

// startRoster starts a server whose teams are of the role catalog dzbuild.
func startRoster() (_ *roster, err error) {
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir, err := os.MkdirTemp("", "roster")
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	r := &roster{}
	var (
		tasks sync.WaitGroup
		undo  []func() error // in the order of their making
	)
	r.close = func() error {
		var errs []error
		for i := len(undo) - 1; i >= 0; i-- {
			errs = append(errs, undo[i]())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			end()
			err = errors.Join(err, r.close())
		}
	}()
	undo = append(undo, func() error { return os.RemoveAll(dir) })

	if r.store, err = eventstore.Open(ctx, eventstore.Config{DataDir: dir, Logger: logger}); err != nil {
		return nil, err
	}
	undo = append(undo, func() error { return r.store.Close(context.Background()) })
	database, err := projections.Open(ctx, projections.Config{Path: filepath.Join(dir, "read.sqlite"), Logger: logger})
	if err != nil {
		return nil, err
	}
	undo = append(undo, database.Close)
	models, err := projections.New(ctx, database, r.store.Vault(), logger)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.url = "http://" + listener.Addr().String()
	source, err := catalogSource("dzbuild")
	if err != nil {
		return nil, err
	}
	r.service, err = commands.New(ctx, commands.Config{
		Store: r.store, Catalogs: []commands.CatalogSource{source}, BaseURL: r.url, OperatorToken: operatorToken, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() error {
		end()
		tasks.Wait()
		r.service.Close()
		return nil
	})
	ready := make(chan struct{})
	tasks.Go(func() { _ = r.service.Follow(ctx, func() { close(ready) }) })
	tasks.Go(func() { _ = models.Run(ctx, r.store) })
	<-ready

	base, err := url.Parse(r.url)
	if err != nil {
		return nil, err
	}
	server := api.New(api.Config{
		Commands: r.service, Projections: models, BaseURL: base, Store: r.store, Version: "test", Logger: logger,
	}).HTTPServer()
	tasks.Go(func() { _ = server.Serve(listener) })
	undo = append(undo, func() error {
		// One that was opened in advance and never used would hold up the end.
		http.DefaultClient.CloseIdleConnections()
		return server.Shutdown(context.Background())
	})
	return r, nil
}

func catalogSource(name string) (commands.CatalogSource, error) {
	catalog, source, err := catalogs.Load(name)
	return commands.CatalogSource{Catalog: catalog, Source: source}, err
}

// world is a server for one test.
type world struct {
	testing.TB
	*roster
}

func newWorld(t testing.TB) *world {
	t.Helper()
	r, err := startRoster()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t, r}
}

// client is a client of the server; without a token, the operator's.
func (w *world) client(token string, options ...client.Option) *client.Client {
	w.Helper()
	if token == "" {
		token = operatorToken
	}
	c, err := client.New(w.url, token, append([]client.Option{client.WithHTTPClient(http.DefaultClient)}, options...)...)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// cache is a cache that follows the changes already.
func (w *world) cache(c *client.Client, staleness time.Duration, options ...client.CacheOption) *client.Cache {
	w.Helper()
	cache, err := client.NewCache(c, staleness, options...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(cache.Close)
	if err := cache.Ready(w.Context()); err != nil {
		w.Fatal(err)
	}
	return cache
}

// reply is what the server said to a plain request.
type reply struct {
	position uint64
	body     map[string]any
}

func (r *reply) text(path ...string) string {
	var value any = r.body
	for _, key := range path {
		object, _ := value.(map[string]any)
		value = object[key]
	}
	text, _ := value.(string)
	return text
}

// call makes a plain request, which must succeed.
func (r *roster) call(method, path, token string, body any) (*reply, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(context.Background(), method, r.url+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode > 299 {
		return nil, fmt.Errorf("%s %s answers %d: %s", method, path, response.StatusCode, content)
	}
	out := &reply{}
	out.position, _ = strconv.ParseUint(response.Header.Get("Roster-Position"), 10, 64)
	if len(content) > 0 {
		err = json.Unmarshal(content, &out.body)
	}
	return out, err
}

func (w *world) must(method, path, token string, body any) *reply {
	w.Helper()
	out, err := w.call(method, path, token, body)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// account is somebody with a team.
type account struct{ id, email, token, team string }

var emails atomic.Int64

func newEmail() string { return fmt.Sprintf("person%d@example.com", emails.Add(1)) }

func (r *roster) signUp() (account, error) {
	email := newEmail()
	out, err := r.call("POST", "/v1/users", "", map[string]any{"email": email, "name": "A Person", "password": passphrase})
	if err != nil {
		return account{}, err
	}
	a := account{out.text("user", "id"), email, out.text("session", "token"), out.text("team", "id")}
	_, err = r.call("PUT", "/v1/teams/"+a.team+"/plan", operatorToken, map[string]any{"plan": "enterprise"})
	return a, err
}

// join makes somebody new a member of a team.
func (r *roster) join(owner account, role string) (account, error) {
	email := newEmail()
	invited, err := r.call("POST", "/v1/teams/"+owner.team+"/invitations", owner.token, map[string]any{"email": email, "role": role})
	if err != nil {
		return account{}, err
	}
	link := invited.text("url")
	joined, err := r.call("POST", "/v1/invitations/"+link[strings.LastIndexByte(link, '/')+1:]+"/accept", "",
		map[string]any{"name": "A Member", "password": passphrase})
	if err != nil {
		return account{}, err
	}
	return account{joined.text("user", "id"), email, joined.text("session", "token"), owner.team}, nil
}

func (w *world) signUp() account {
	w.Helper()
	a, err := w.roster.signUp()
	if err != nil {
		w.Fatal(err)
	}
	return a
}

func (w *world) join(owner account, role string) account {
	w.Helper()
	a, err := w.roster.join(owner, role)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// role gives a member another role, and the position of that.
func (w *world) role(owner, member account, role string) uint64 {
	w.Helper()
	return w.must("PUT", "/v1/teams/"+owner.team+"/members/"+member.id+"/role", owner.token, map[string]any{"role": role}).position
}

// key makes an API key of a team, which changes decisions in it, and gives the
// position of that.
func (w *world) key(owner account) uint64 {
	w.Helper()
	return w.must("POST", "/v1/teams/"+owner.team+"/api-keys", owner.token, map[string]any{"name": "Key", "role": "admin"}).position
}

// checker is a Client or a Cache.
type checker interface {
	Check(context.Context, client.Question) (client.Decision, error)
}

func (w *world) check(by checker, q client.Question) client.Decision {
	w.Helper()
	d, err := by.Check(w.Context(), q)
	if err != nil {
		w.Fatal(err)
	}
	return d
}

// wants checks that a question is answered so, and from where.
func (w *world) wants(cache *client.Cache, q client.Question, allowed, fromMemory bool) {
	w.Helper()
	before := cache.Stats()
	d := w.check(cache, q)
	hit := cache.Stats().Hits > before.Hits
	if d.Allowed != allowed || hit != fromMemory {
		w.Errorf("allowed %v (%s), from memory %v; want %v, %v", d.Allowed, d.Reason, hit, allowed, fromMemory)
	}
}

func (w *world) reached(cache *client.Cache, position uint64) {
	w.Helper()
	if err := cache.Reached(w.Context(), position); err != nil {
		w.Fatal(err)
	}
}

// clock is the machine's, and can be put forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time           { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(by time.Duration) { c.ahead.Add(int64(by)) }

// between stands in the way of a client's requests.
type between func(next http.RoundTripper, r *http.Request) (*http.Response, error)

func (b between) RoundTrip(r *http.Request) (*http.Response, error) {
	return b(http.DefaultTransport, r)
}

func through(b between) client.Option { return client.WithHTTPClient(&http.Client{Transport: b}) }
