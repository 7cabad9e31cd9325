package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"roster/domain"
	"roster/domain/catalogs"
	"roster/eventstore"
)

const (
	passphrase    = "a heron stands in the reeds"
	operatorToken = "operator-token-of-these-tests"
)

// passphraseHash is computed once: each hash costs some tens of milliseconds.
var passphraseHash = sync.OnceValues(func() (string, error) {
	return newPasswords().hash(context.Background(), passphrase)
})

// builtin gives role catalogs that come with Roster.
func builtin(t testing.TB, names ...string) []CatalogSource {
	t.Helper()
	var sources []CatalogSource
	for _, name := range names {
		catalog, source, err := catalogs.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, CatalogSource{catalog, source})
	}
	return sources
}

// serviceOn makes a Service as one process has it. Without options it is alone
// on its store, with the clock of the machine and the catalogs distribu,
// tenants and default.
func serviceOn(t testing.TB, store *eventstore.Store, options ...func(*Config)) *Service {
	t.Helper()
	config := Config{
		Store: store, BaseURL: "https://roster.test", OperatorToken: operatorToken,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, option := range options {
		option(&config)
	}
	if config.Catalogs == nil {
		config.Catalogs = builtin(t, "distribu", "tenants", "default")
	}
	s, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func withClock(clock *handClock) func(*Config) { return func(c *Config) { c.Now = clock.now } }

func withCatalogs(sources ...CatalogSource) func(*Config) {
	return func(c *Config) { c.Catalogs = sources }
}

// service is a Service on a store of its own.
func service(t testing.TB, options ...func(*Config)) *Service {
	t.Helper()
	store, _ := storeIn(t, t.TempDir())
	return serviceOn(t, store, options...)
}

// follow lets the service follow the event stream until the test ends.
func follow(t testing.TB, s *Service) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Follow(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("following ended with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal("the event stream can't be followed")
	}
}

// twoNodes are two services on one store that know each other. Their leases
// never run out, since their clock stands still.
func twoNodes(t testing.TB, options ...func(*Config)) (a, b *Service) {
	t.Helper()
	store, _ := storeIn(t, t.TempDir())
	return nodeOn(t, store, options...), nodeOn(t, store, options...)
}

func nodeOn(t testing.TB, store *eventstore.Store, options ...func(*Config)) *Service {
	t.Helper()
	nodes := standingNodes(store)
	s := serviceOn(t, store, append(options, func(c *Config) { c.Nodes = nodes })...)
	follow(t, s)
	if err := nodes.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), natsTimeout)
		defer cancel()
		if err := nodes.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func standingNodes(store *eventstore.Store) *eventstore.Nodes {
	now := time.Now()
	return store.Nodes(eventstore.NodesConfig{
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:    func() time.Time { return now },
		Ticker: func(time.Duration) (<-chan time.Time, func()) { return nil, func() {} },
	})
}

// accountOn opens an account, whose password is passphrase, without the cost of
// hashing one.
func accountOn(t testing.TB, s *Service, email string) Caller {
	t.Helper()
	hash, err := passphraseHash()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	p := person{id: newUser()}
	if p.dataKey, err = s.vault.NewKey(ctx); err != nil {
		t.Fatal(err)
	}
	seal := func(field, plain string) domain.Sealed {
		sealed, err := s.vault.Seal(ctx, p.dataKey, string(p.id)+"/"+field, plain)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	p.registered = domain.UserRegistered{
		Address: s.vault.Address(email), DataKey: p.dataKey,
		Email: seal("email", email), Name: seal("name", "Name of "+email), PasswordHash: seal("password", hash),
	}
	by := p.asCaller(Caller{IP: home, UserAgent: "a test"})
	commits, err := s.registration(ctx, by, p, s.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.Append(ctx, commits...); err != nil {
		t.Fatal(err)
	}
	return by
}

// signedIn gives a user a session.
func signedIn(t testing.TB, s *Service, by Caller) (Caller, string) {
	t.Helper()
	session, err := s.startSession(t.Context(), by, twoFactors)
	if err != nil {
		t.Fatal(err)
	}
	by.Session = session.ID
	return by, session.Token
}

// teamOf makes a team.
func teamOf(t testing.TB, s *Service, owner Caller, catalog string) domain.TeamID {
	t.Helper()
	team, _, err := s.CreateTeam(t.Context(), owner, "Heron & Sons", catalog)
	if err != nil {
		t.Fatal(err)
	}
	return team.ID
}

// invite gives an invitation and its token.
func invite(t testing.TB, s *Service, by Caller, team domain.TeamID, email string, role domain.RoleKey) (Invitation, string) {
	t.Helper()
	invitation, _, err := s.Invite(t.Context(), by, team, InviteRequest{Email: email, Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return invitation, tokenOf(invitation)
}

func tokenOf(i Invitation) string { return i.URL[strings.LastIndexByte(i.URL, '/')+1:] }

// member makes somebody a member of a team.
func member(t testing.TB, s *Service, owner Caller, team domain.TeamID, email string, role domain.RoleKey) Caller {
	t.Helper()
	by := accountOn(t, s, email)
	_, token := invite(t, s, owner, team, email, role)
	if _, _, err := s.AcceptInvitation(t.Context(), by, token, Acceptance{}); err != nil {
		t.Fatal(err)
	}
	return by
}

// lookAt runs look with a team as a service has it.
func lookAt(t testing.TB, s *Service, id domain.TeamID, look func(*domain.Team)) {
	t.Helper()
	if err := s.teams.view(t.Context(), string(id), func(team *domain.Team, _, _ uint64) { look(team) }); err != nil {
		t.Fatal(err)
	}
}

func versionOf(t testing.TB, s *Service, id domain.TeamID) uint64 {
	t.Helper()
	commits, err := s.store.Load(t.Context(), s.teams.stream(string(id)), 0)
	if err != nil {
		t.Fatal(err)
	}
	return uint64(len(commits))
}

// history reads the whole event stream, and checks that nothing is missing,
// that every hash is right and that no event id was given twice.
func history(t testing.TB, store *eventstore.Store) []eventstore.Commit {
	t.Helper()
	end, err := store.LastPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var (
		all    []eventstore.Commit
		chain  eventstore.Chain
		ids    = map[domain.EventID]uint64{}
		atEnd  = errors.New("at the end")
		ending = func() error {
			if chain.Position() >= end {
				return atEnd
			}
			return nil
		}
	)
	if end == 0 {
		return nil
	}
	err = store.FollowRaw(t.Context(), 0, func(_ context.Context, messages []eventstore.Message) error {
		for i := range messages {
			for _, fault := range chain.Add(&messages[i]) {
				t.Error(fault)
			}
			commit, err := messages[i].Decode()
			if err != nil {
				return err
			}
			for _, recorded := range commit.Events {
				if before, twice := ids[recorded.ID]; twice {
					t.Errorf("event %s is at positions %d and %d", recorded.ID, before, commit.Position)
				}
				ids[recorded.ID] = commit.Position
			}
			all = append(all, commit)
		}
		return ending()
	})
	if !errors.Is(err, atEnd) {
		t.Fatal(err)
	}
	return all
}

// wantCode checks that an error is a refusal with a code.
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func wantField(t testing.TB, err error, pointer string) {
	t.Helper()
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Kind != domain.Invalid || refusal.Field != pointer {
		t.Errorf("got %v, want a refusal at %s", err, pointer)
	}
}

// atOnce runs something so many times at the same moment and counts how it
// ended: "ok" or the code of the refusal.
func atOnce(t testing.TB, n int, run func(i int) error) map[string]int {
	t.Helper()
	var (
		begin = make(chan struct{})
		done  sync.WaitGroup
		mu    sync.Mutex
		ended = map[string]int{}
	)
	for i := range n {
		done.Go(func() {
			<-begin
			err := run(i)
			how := "ok"
			var refusal *domain.Error
			switch {
			case errors.As(err, &refusal):
				how = refusal.Code
			case err != nil:
				how = fmt.Sprint(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ended[how]++
		})
	}
	close(begin)
	done.Wait()
	return ended
}
