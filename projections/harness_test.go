package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
	"roster/projections/postgrestest"
)

// testTimeout bounds everything that a test waits for.
const testTimeout = time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// A backend makes databases of one kind.
type backend struct {
	name   string
	config func(t testing.TB) Config // of a new, empty database
}

var backends = []backend{
	{"SQLite", func(t testing.TB) Config {
		return Config{Path: filepath.Join(t.TempDir(), "views.db"), Logger: quiet()}
	}},
	{"PostgreSQL", func(t testing.TB) Config {
		return Config{URL: postgrestest.Start(t), Logger: quiet()}
	}},
}

// onBoth runs a test on both databases.
func onBoth(t *testing.T, test func(t *testing.T, backend backend)) {
	for _, backend := range backends {
		t.Run(backend.name, func(t *testing.T) { test(t, backend) })
	}
}

func openDatabase(t testing.TB, config Config) *Database {
	t.Helper()
	db, err := Open(testContext(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func newProjections(t testing.TB, db *Database, opener Opener) *Projections {
	t.Helper()
	p, err := New(testContext(t), db, opener, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs the projector until the test ends or the function is called.
func start(t testing.TB, p *Projections, source Source) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, source) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func wait(t testing.TB, p *Projections, position uint64) {
	t.Helper()
	if err := p.Wait(testContext(t), position); err != nil {
		t.Fatalf("waiting for position %d: %v; state %+v", position, err, p.State())
	}
}

// world is an event store, and what a test needs to append to it.
type world struct {
	t     testing.TB
	store *eventstore.Store
	heads map[eventstore.Stream]*eventstore.Commit
	now   time.Time
	keys  map[domain.UserID]string // data keys of users
	last  uint64                   // position of the last commit
}

// epoch is when the worlds of tests begin.
var epoch = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	t.Helper()
	store, err := eventstore.Open(testContext(t), eventstore.Config{DataDir: t.TempDir(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := store.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, store: store, heads: map[eventstore.Stream]*eventstore.Commit{}, now: epoch, keys: map[domain.UserID]string{}}
}

// by is what a commit has beside its events.
type by struct {
	actor   domain.Actor
	ip      string
	agent   string
	request string
}

func (w *world) fatal(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// commit appends events to a stream, a second after the commit before.
func (w *world) commit(stream eventstore.Stream, by by, events ...domain.Event) *eventstore.Commit {
	w.t.Helper()
	c := w.prepare(stream, by, events...)
	w.fatal(w.store.Append(testContext(w.t), c))
	w.last = c.Position
	return c
}

func (w *world) prepare(stream eventstore.Stream, by by, events ...domain.Event) *eventstore.Commit {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	c := &eventstore.Commit{Stream: stream, Version: 1, At: w.now, Actor: by.actor, RequestID: by.request}
	if c.Actor == (domain.Actor{}) {
		c.Actor = domain.Roster
	}
	if head := w.heads[stream]; head != nil {
		c.Version, c.Previous = head.Version+1, head.Hash
	}
	w.heads[stream] = c
	for _, event := range events {
		c.Events = append(c.Events, eventstore.Recorded{ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)), Event: event})
	}
	if by.ip != "" {
		origin, err := json.Marshal(map[string]string{"ip": by.ip, "user_agent": by.agent})
		w.fatal(err)
		c.Origin = w.seal(w.keys[domain.UserID(by.actor.ID)], string(c.ID())+"/origin", string(origin))
	}
	return c
}

func (w *world) newKey() string {
	w.t.Helper()
	key, err := w.store.Vault().NewKey(testContext(w.t))
	w.fatal(err)
	return key
}

func (w *world) seal(key, place, text string) domain.Sealed {
	w.t.Helper()
	sealed, err := w.store.Vault().Seal(testContext(w.t), key, place, text)
	w.fatal(err)
	return sealed
}

func teamStream(id domain.TeamID) eventstore.Stream {
	return eventstore.Stream{Kind: eventstore.KindTeam, ID: string(id)}
}

func userStream(id domain.UserID) eventstore.Stream {
	return eventstore.Stream{Kind: eventstore.KindUser, ID: string(id)}
}

func activityStream(id domain.UserID) eventstore.Stream {
	return eventstore.Stream{Kind: eventstore.KindActivity, ID: string(id)}
}

// register makes a user.
func (w *world) register(name, email string) domain.UserID {
	w.t.Helper()
	user := domain.UserID(eventstore.NewID(domain.PrefixUser))
	w.keys[user] = w.newKey()
	w.commit(userStream(user), by{actor: domain.ByUser(user)}, domain.UserRegistered{
		Address: domain.AddressID(fmt.Sprintf("%x", email)), Email: w.seal(w.keys[user], string(user)+"/email", email),
		Name: w.seal(w.keys[user], string(user)+"/name", name), DataKey: w.keys[user],
	})
	return user
}

func (w *world) rename(user domain.UserID, name string) {
	w.t.Helper()
	w.commit(userStream(user), by{actor: domain.ByUser(user)}, domain.UserRenamed{Name: w.seal(w.keys[user], string(user)+"/name", name)})
}

// team makes a team of the catalog distribu.
func (w *world) team(owner domain.UserID, name string) domain.TeamID {
	w.t.Helper()
	team := domain.TeamID(eventstore.NewID(domain.PrefixTeam))
	w.commit(teamStream(team), by{actor: domain.ByUser(owner)}, domain.TeamCreated{
		Name: name, Catalog: "distribu", CatalogVersion: 1, Plan: "starter", Owner: owner, OwnerRole: "OWNER",
	})
	return team
}

// invite invites an address, as MEMBER, for seven days.
func (w *world) invite(team domain.TeamID, inviter domain.UserID, name, email string) domain.InvitationID {
	w.t.Helper()
	id := domain.InvitationID(eventstore.NewID(domain.PrefixInvitation))
	key := w.newKey()
	event := domain.MemberInvited{
		Invitation: id, Address: domain.AddressID(fmt.Sprintf("%x", email)), Email: w.seal(key, string(id)+"/email", email),
		Role: "MEMBER", ExpiresAt: w.now.Add(7 * 24 * time.Hour),
	}
	if name != "" {
		event.Name = w.seal(key, string(id)+"/name", name)
	}
	w.commit(teamStream(team), by{actor: domain.ByUser(inviter)}, event)
	return id
}

// join makes a user a member by an invitation of their own.
func (w *world) join(team domain.TeamID, inviter, user domain.UserID) domain.InvitationID {
	w.t.Helper()
	id := w.invite(team, inviter, "", string(user)+"@example.com")
	w.commit(teamStream(team), by{actor: domain.ByUser(user)}, domain.MemberJoined{User: user, Invitation: id, Role: "MEMBER"})
	return id
}

func (w *world) signIn(user domain.UserID) domain.SessionID {
	w.t.Helper()
	session := domain.SessionID(eventstore.NewID(domain.PrefixSession))
	w.commit(activityStream(user), by{actor: domain.ByUser(user), ip: "203.0.113.7", agent: "Mozilla/5.0"}, domain.SessionStarted{User: user, Session: session})
	return session
}

// commits reads everything back.
func (w *world) commits() []eventstore.Commit {
	w.t.Helper()
	var all []eventstore.Commit
	err := w.store.Follow(testContext(w.t), 0, func(_ context.Context, commits []eventstore.Commit) error {
		all = append(all, commits...)
		if all[len(all)-1].Position >= w.last {
			return errReached
		}
		return nil
	})
	if !errors.Is(err, errReached) {
		w.t.Fatal(err)
	}
	return all
}

// tableRows is the content of every table of some models, in order of the
// keys.
type tableRows map[string][][]any

func dump(t testing.TB, db *Database, names ...string) tableRows {
	t.Helper()
	content := tableRows{}
	for _, m := range models {
		if len(names) > 0 && m.name != names[0] {
			continue
		}
		for _, s := range m.shapes {
			content[s.name] = dumpTable(t, db, s)
		}
	}
	return content
}

func dumpTable(t testing.TB, db *Database, s *shape) [][]any {
	t.Helper()
	rows := [][]any{}
	sql := "SELECT " + commas(s.columnNames()) + " FROM " + s.name + " ORDER BY " + commas(s.keyNames())
	err := db.read(testContext(t), func(q querier) error {
		return q.query(t.Context(), sql, nil, func(r row) error {
			dest := make([]any, len(s.columns))
			for i, column := range s.columns {
				if column.text {
					dest[i] = new(string)
				} else {
					dest[i] = new(int64)
				}
			}
			err := r.scan(dest...)
			for i := range dest {
				switch value := dest[i].(type) {
				case *string:
					dest[i] = *value
				case *int64:
					dest[i] = *value
				}
			}
			rows = append(rows, dest)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func commas(names []string) string {
	text := ""
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}

func same(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff[:min(len(diff), 3000)])
	}
}

func indexIn(text, part string) int { return strings.Index(text, part) }
