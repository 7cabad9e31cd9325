package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roster/api/client"
	"roster/commands"
	"roster/domain/catalogs"
)

// long is a staleness that no test waits for.
const long = time.Hour

func TestACacheAnswersFromMemoryUntilTheTeamChanges(t *testing.T) {
	w := newWorld(t)
	owner, other := w.signUp(), w.signUp()
	member := w.join(owner, "manager")
	cache := w.cache(w.client(""), long)
	update := client.Question{Team: owner.team, Subject: member.id, Permission: "orders:update"}
	elsewhere := client.Question{Team: other.team, Subject: other.id, Permission: "orders:update"}

	w.wants(cache, update, true, false)
	w.wants(cache, elsewhere, true, false)
	first := w.check(cache, update)
	if diff := first.AsOf < first.Position || first.Position == 0 || first.Reason != "role" || first.Role != "manager" || first.Event == ""; diff {
		t.Errorf("the decision is %+v", first)
	}
	w.wants(cache, update, true, true)
	w.reached(cache, w.must("PATCH", "/v1/teams/"+owner.team, owner.token, map[string]any{"name": "New"}).position)
	w.wants(cache, update, true, true) // a name decides nothing

	position := w.role(owner, member, "read_only")
	w.reached(cache, position)
	w.wants(cache, update, false, false)
	w.wants(cache, update, false, true)
	w.wants(cache, elsewhere, true, true)

	position = w.must("DELETE", "/v1/teams/"+owner.team+"/members/"+member.id, owner.token, nil).position
	w.reached(cache, position)
	if d := w.check(cache, update); d.Allowed || d.Reason != "not_a_member" {
		t.Errorf("who was removed: %+v", d)
	}
	if held := cache.Stats().Held; held != 2 {
		t.Errorf("%d decisions are held", held)
	}
}

// A node that is behind what the cache has heard must not answer from before.
func TestACacheAsksForAnswersAsNewAsWhatItHasHeard(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	var asked atomic.Value
	cache := w.cache(w.client("", through(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/access/v1/evaluation" {
			asked.Store(r.Header.Get("Roster-At-Least"))
		}
		return next.RoundTrip(r)
	})), long)
	q := client.Question{Team: owner.team, Subject: owner.id, Permission: "orders:update"}
	position := w.key(owner)
	w.reached(cache, position)
	w.check(cache, q)
	if got := asked.Load(); got != fmt.Sprint(position) {
		t.Errorf("asked for at least %v, heard of %d", got, position)
	}
}

// An answer that was given before a change and arrives after it is used for
// the question that it was given to, which was asked before, and never again.
func TestAnAnswerThatAChangeHasOvertakenIsNotKept(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	member := w.join(owner, "manager")
	hold, given := make(chan struct{}), make(chan struct{}, 1)
	cache := w.cache(w.client("", through(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err == nil && r.URL.Path == "/access/v1/evaluation" {
			given <- struct{}{}
			<-hold
		}
		return response, err
	})), long)
	q := client.Question{Team: owner.team, Subject: member.id, Permission: "orders:update"}
	w.reached(cache, w.role(owner, member, "admin"))

	var late sync.WaitGroup
	late.Go(func() {
		if d := w.check(cache, q); !d.Allowed {
			t.Errorf("asked before the change: %+v", d)
		}
	})
	<-given
	w.reached(cache, w.role(owner, member, "read_only"))
	close(hold)
	late.Wait()
	w.wants(cache, q, false, false)
	w.wants(cache, q, false, true)
}

func TestReadYourWritesThroughACache(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	member := w.join(owner, "manager")
	cache := w.cache(w.client(""), long)
	q := client.Question{Team: owner.team, Subject: member.id, Permission: "orders:update"}
	for i := range 40 {
		role := []string{"read_only", "manager"}[i%2]
		w.check(cache, q)
		position := w.role(owner, member, role)
		// Not waiting for the cache to hear of it.
		d, err := cache.Check(client.AtLeast(t.Context(), position), q)
		if err != nil || d.Allowed != (role == "manager") || d.AsOf < position {
			t.Fatalf("after %s at %d: %+v, %v", role, position, d, err)
		}
	}
	// Once it has heard of everything up to there, it can answer by itself.
	w.reached(cache, w.must("PATCH", "/v1/teams/"+owner.team, owner.token, map[string]any{"name": "New"}).position)
	w.check(cache, q)
	other := w.signUp()
	position := w.must("PATCH", "/v1/teams/"+other.team, other.token, map[string]any{"name": "New"}).position
	w.reached(cache, position)
	before := cache.Stats().Hits
	if _, err := cache.Check(client.AtLeast(t.Context(), position), q); err != nil || cache.Stats().Hits == before {
		t.Errorf("%v, %+v", err, cache.Stats())
	}
	// Not with what isn't there yet: that it asks the server for.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cache.Check(client.AtLeast(gone, position), q); err != nil {
		t.Error(err)
	}
	if d, err := cache.Check(client.AtLeast(gone, position+100), q); err == nil {
		t.Errorf("from the future: %+v", d)
	}
}

// frozen is a body that gives nothing while it is frozen.
type frozen struct {
	io.ReadCloser
	ctx context.Context
	ice *atomic.Pointer[chan struct{}]
}

func (f frozen) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if thaw := f.ice.Load(); thaw != nil {
		select {
		case <-*thaw:
		case <-f.ctx.Done():
		}
	}
	return n, err
}

// freezer can hold the stream of changes back.
func freezer() (client.Option, *atomic.Pointer[chan struct{}]) {
	var ice atomic.Pointer[chan struct{}]
	return through(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err == nil && strings.HasSuffix(r.URL.Path, "/changes") {
			response.Body = frozen{response.Body, r.Context(), &ice}
		}
		return response, err
	}), &ice
}

// A cache that hears nothing answers from memory for as long as its owner
// allows, and no longer.
func TestACacheThatHearsNothingGoesOutOfUse(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	member := w.join(owner, "manager")
	freezing, ice := freezer()
	clock := &clock{}
	cache := w.cache(w.client("", freezing), time.Minute, client.WithClock(clock.now))
	q := client.Question{Team: owner.team, Subject: member.id, Permission: "orders:update"}
	w.wants(cache, q, true, false)
	w.wants(cache, q, true, true)

	thaw := make(chan struct{})
	ice.Store(&thaw)
	// What was sent before may still be on its way; the change isn't.
	w.role(owner, member, "read_only")
	clock.forward(50 * time.Second)
	w.wants(cache, q, true, true) // stale, as allowed
	clock.forward(10 * time.Second)
	w.wants(cache, q, false, false)
	w.wants(cache, q, false, false)

	// The stream goes on, but what it says was said long ago by this clock: so
	// another is opened, and then all is well.
	ice.Store(nil)
	close(thaw)
	for cache.Stats().Hits < 3 {
		if d := w.check(cache, q); d.Allowed {
			t.Fatalf("%+v", d)
		}
	}
}

// However late a message arrives, it never counts as newer than it is.
func TestWhatTheStreamSaysIsAsOldAsItIs(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	freezing, ice := freezer()
	clock := &clock{}
	cache := w.cache(w.client("", freezing), time.Minute, client.WithClock(clock.now))
	q := client.Question{Team: owner.team, Subject: owner.id, Permission: "orders:update"}
	w.check(cache, q)
	thaw := make(chan struct{})
	ice.Store(&thaw)
	clock.forward(2 * time.Minute)
	w.must("PATCH", "/v1/teams/"+owner.team, owner.token, map[string]any{"name": "New"})
	var interrupted error
	close(thaw) // and what comes is two minutes old
	for interrupted == nil {
		w.wants(cache, q, true, false)
		interrupted = cache.Stats().Err
	}
	if !strings.Contains(interrupted.Error(), "too late") {
		t.Errorf("interrupted by %v", interrupted)
	}
}

func TestACacheWhoseStreamIsCutAsksTheServer(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	member := w.join(owner, "manager")
	var (
		cut   atomic.Bool
		mu    sync.Mutex
		conns []io.Closer
	)
	cache := w.cache(w.client("", through(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		stream := strings.HasSuffix(r.URL.Path, "/changes")
		if stream && cut.Load() {
			return nil, errors.New("no connection")
		}
		response, err := next.RoundTrip(r)
		if err == nil && stream {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, response.Body)
		}
		return response, err
	})), long)
	q := client.Question{Team: owner.team, Subject: member.id, Permission: "orders:update"}
	unasked := client.Question{Team: owner.team, Subject: member.id, Permission: "orders:ship"}
	other := w.signUp()
	elsewhere := client.Question{Team: other.team, Subject: other.id, Permission: "orders:update"}
	w.wants(cache, q, true, false)
	w.wants(cache, q, true, true)
	w.wants(cache, unasked, true, false) // not while the stream is cut
	w.wants(cache, elsewhere, true, false)
	w.reached(cache, w.key(other))
	w.wants(cache, elsewhere, true, false)

	cut.Store(true)
	mu.Lock()
	_ = conns[0].Close()
	mu.Unlock()
	for cache.Stats().Err == nil {
		runtime.Gosched() // the reader notices
	}
	w.wants(cache, q, true, false)
	position := w.role(owner, member, "read_only")
	w.wants(cache, q, false, false)

	// It goes on where it was, and what it held is good if nothing changed it.
	cut.Store(false)
	w.reached(cache, position)
	w.wants(cache, q, false, true)
	w.wants(cache, unasked, false, false)
	w.wants(cache, elsewhere, true, true)
}

func TestANewRoleCatalogEmptiesACache(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	member := w.join(owner, "operator")
	cache := w.cache(w.client(""), long)
	q := client.Question{Team: owner.team, Subject: member.id, Permission: "orders:ship"}
	w.wants(cache, q, true, false)
	source, ok := catalogs.Builtin("dzbuild")
	if !ok || bytes.Count(source, []byte("\n      - orders:ship\n")) != 1 {
		t.Fatal("the catalog isn't what this test takes it for")
	}
	text := bytes.Replace(source, []byte("\n      - orders:ship\n"), []byte("\n"), 1)
	text = bytes.Replace(text, []byte("\nversion: "), []byte("\nversion: 10"), 1)
	catalog, err := catalogs.Parse("dzbuild", text)
	if err != nil {
		t.Fatal(err)
	}
	other, err := commands.New(t.Context(), commands.Config{Store: w.store, Catalogs: []commands.CatalogSource{{Catalog: catalog, Source: text}}})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	end, err := w.store.LastPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.reached(cache, end)
	if held := cache.Stats().Held; held != 0 {
		t.Errorf("%d decisions are held", held)
	}
	w.wants(cache, q, false, false)
	w.wants(cache, q, false, true)
}

func TestACacheOfOneTeam(t *testing.T) {
	w := newWorld(t)
	owner, other := w.signUp(), w.signUp()
	made := w.must("POST", "/v1/teams/"+owner.team+"/api-keys", owner.token, map[string]any{"name": "Host", "role": "admin"})
	cache := w.cache(w.client(made.text("secret")), long, client.ForTeam(owner.team))
	q := client.Question{Team: owner.team, Subject: owner.id, Permission: "orders:update"}
	w.wants(cache, q, true, false)
	w.wants(cache, q, true, true)
	foreign := client.Question{Team: other.team, Subject: other.id, Permission: "orders:update"}
	for range 2 { // the key isn't in that team, and hears nothing of it
		w.wants(cache, foreign, false, false)
	}
	w.must("DELETE", "/v1/teams/"+owner.team+"/api-keys/"+made.text("id"), owner.token, nil)
	for { // until the stream ends
		if _, err := cache.Check(t.Context(), q); err != nil {
			if client.Code(err) != "unauthenticated" {
				t.Error(err)
			}
			break
		}
	}
	for _, refused := range []struct {
		token, code string
		options     []client.CacheOption
	}{
		{made.text("secret"), "unauthenticated", []client.CacheOption{client.ForTeam(owner.team)}},
		{owner.token, "not_found", []client.CacheOption{client.ForTeam(other.team)}},
		{owner.token, "not_permitted", nil},
	} {
		cache, err := client.NewCache(w.client(refused.token), long, refused.options...)
		if err != nil {
			t.Fatal(err)
		}
		if err := cache.Ready(t.Context()); client.Code(err) != refused.code {
			t.Errorf("got %v, want %s", err, refused.code)
		}
		cache.Close()
	}
}

func TestAClosedCacheLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	cache := w.cache(w.client(""), long)
	q := client.Question{Team: owner.team, Subject: owner.id, Permission: "orders:update"}
	w.check(cache, q)
	w.wants(cache, q, true, true)
	cache.Close()
	w.wants(cache, q, true, false)
	if err := cache.Ready(t.Context()); err == nil {
		t.Error("it is ready")
	}
	cache.Close() // once more does no harm
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if bytes.Contains(stacks, []byte("client.(*feed)")) {
		t.Errorf("a goroutine is left:\n%s", stacks)
	}
}

// While roles change under many who ask, nobody ever gets an answer from
// before what the cache had heard of.
func TestNoAnswerIsOlderThanWhatTheCacheHasHeard(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	members := []account{w.join(owner, "manager"), w.join(owner, "manager"), w.join(owner, "manager")}
	cache := w.cache(w.client(""), long)

	// flips of a member's role: begun is raised before one, and done after the
	// cache has heard of it. Odd ones take the permission.
	type state struct{ begun, done atomic.Int64 }
	states := make([]state, len(members))
	var wrong, asked atomic.Int64
	rounds := make(chan struct{}) // one for each time that everybody has asked
	stop := make(chan struct{})
	var work sync.WaitGroup
	const askers = 8
	for i := range askers {
		work.Go(func() {
			for n := 0; ; n++ {
				at := (i + n) % len(members)
				done := states[at].done.Load()
				d, err := cache.Check(t.Context(), client.Question{Team: owner.team, Subject: members[at].id, Permission: "orders:update"})
				begun := states[at].begun.Load()
				asked.Add(1)
				switch {
				case err != nil:
					t.Error(err)
					return
				case done == begun && d.Allowed != (done%2 == 0):
					wrong.Add(1)
				}
				if n%50 == 0 {
					select {
					case rounds <- struct{}{}:
					case <-stop:
						return
					}
				}
			}
		})
	}
	for flip := range 60 {
		at := flip % len(members)
		n := states[at].begun.Add(1)
		position := w.role(owner, members[at], map[bool]string{true: "manager", false: "read_only"}[n%2 == 0])
		w.reached(cache, position)
		states[at].done.Store(n)
		for range 2 * askers { // let them ask while nothing happens
			<-rounds
		}
	}
	close(stop)
	work.Wait()
	stats := cache.Stats()
	if wrong.Load() > 0 || stats.Hits == 0 || stats.Misses == 0 {
		t.Errorf("%d of %d answers were older than what the cache had heard; %+v", wrong.Load(), asked.Load(), stats)
	}
}
