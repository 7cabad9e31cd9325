package commands

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"roster/domain"
	"roster/domain/catalogs"
	"roster/eventstore"
)

var anyVersion = regexp.MustCompile(`\nversion: \d+\n`)

// edited is the default catalog under the name mine, with changes to its text:
// pairs of old and new.
func edited(t testing.TB, version int, changes ...string) CatalogSource {
	t.Helper()
	source, ok := catalogs.Builtin("default")
	if !ok {
		t.Fatal("there is no default catalog")
	}
	text := strings.Replace(string(source), "\nname: default\n", "\nname: mine\n", 1)
	text = anyVersion.ReplaceAllString(text, fmt.Sprintf("\nversion: %d\n", version))
	for i := 0; i < len(changes); i += 2 {
		if strings.Count(text, changes[i]) != 1 {
			t.Fatalf("%q isn't there once", changes[i])
		}
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	catalog, err := catalogs.Parse("mine.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return CatalogSource{catalog, []byte(text)}
}

// noInviting takes the right to invite from the role admin.
var noInviting = []string{
	`except: ["billing:*", "roles:define", "ownership:transfer", "team:delete"]`,
	`except: ["billing:*", "roles:define", "ownership:transfer", "team:delete", "members:invite"]`,
}

func published(t *testing.T, store *eventstore.Store) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, commit := range history(t, store) {
		for _, recorded := range commit.Events {
			if event, ok := recorded.Event.(domain.CatalogPublished); ok {
				counts[fmt.Sprint(event.Name, " ", event.Version)]++
			}
		}
	}
	return counts
}

func TestAVersionOfACatalogHasOneContent(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	serviceOn(t, store, withCatalogs(edited(t, 3)))
	before := end(t, store)
	_, err := New(t.Context(), Config{Store: store, Catalogs: []CatalogSource{edited(t, 3, noInviting...)}})
	if err == nil {
		t.Fatal("two contents of one version")
	}
	for _, word := range []string{"catalog mine", "version 3", "another content", "raise its version to 4"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q doesn't say %q", err, word)
		}
	}
	if after := end(t, store); after != before {
		t.Errorf("%d commits were appended", after-before)
	}
	if _, err := New(t.Context(), Config{Store: store}); err == nil {
		t.Error("it starts without a catalog")
	}
	// The same again changes nothing.
	serviceOn(t, store, withCatalogs(edited(t, 3)))
	if after := end(t, store); after != before {
		t.Errorf("%d commits were appended", after-before)
	}
}

func TestServicesThatStartAtOnceRecordACatalogOnce(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	services := make([]*Service, 8)
	ended := atOnce(t, len(services), func(i int) (err error) {
		sources := append(builtin(t, "tenants", "distribu"), edited(t, 1+i%2))
		services[i], err = New(t.Context(), Config{Store: store, Catalogs: sources})
		return err
	})
	for _, s := range services {
		if s != nil {
			s.Close()
		}
	}
	if ended["ok"] != len(services) {
		t.Error(ended)
	}
	counts := published(t, store)
	delete(counts, "mine 1") // unless version 2 was first
	if len(counts) != 3 || counts["mine 2"] != 1 || counts["tenants 2"] != 1 || counts["distribu 2"] != 1 {
		t.Errorf("published %v", counts)
	}
}

// A node that starts with a higher version changes what the roles mean on all
// of them, also in teams that are in memory.
func TestAHigherVersionTakesEffectEverywhere(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	ctx := t.Context()
	a := nodeOn(t, store, withCatalogs(edited(t, 1)))
	owner := accountOn(t, a, "owner@example.com")
	team := teamOf(t, a, owner, "mine")
	if _, err := a.SetPlan(ctx, Caller{Actor: domain.Operator}, team, "business"); err != nil {
		t.Fatal(err)
	}
	admin := member(t, a, owner, team, "admin@example.com", "admin")
	key, _, err := a.CreateAPIKey(ctx, owner, team, APIKeyRequest{Name: "k", Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	byKey, err := a.Authenticate(ctx, key.Secret)
	if err != nil {
		t.Fatal(err)
	}
	round := 0
	inviting := func(s *Service, by Caller) error {
		round++
		_, _, err := s.Invite(ctx, by, team, InviteRequest{Email: fmt.Sprintf("i%d@example.com", round), Role: "member"})
		return err
	}
	for _, by := range []Caller{owner, admin, byKey} {
		if err := inviting(a, by); err != nil {
			t.Error(err)
		}
	}
	// An invitation that an admin has sent under the old rules stands.
	guest := accountOn(t, a, "guest@example.com")
	_, token := invite(t, a, admin, team, "guest@example.com", "member")

	b := nodeOn(t, store, withCatalogs(edited(t, 2, noInviting...)))
	if err := a.Wait(ctx, end(t, store)); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Service{"old": a, "new": b} {
		if err := inviting(s, owner); err != nil {
			t.Errorf("the owner on the %s node: %v", name, err)
		}
		for _, by := range []Caller{admin, byKey} {
			if err := inviting(s, by); !errors.Is(err, domain.ErrNotPermitted) {
				t.Errorf("%s on the %s node: %v", by.Actor.Type, name, err)
			}
			if allowed, err := can(s, by, team, domain.ActionInvite); allowed || err != nil {
				t.Errorf("%s on the %s node: %v, %v", by.Actor.Type, name, allowed, err)
			}
		}
	}
	if _, _, err := a.AcceptInvitation(ctx, guest, token, Acceptance{}); err != nil {
		t.Error(err)
	}
	// The old version, started again, gives way to what is in force.
	again := serviceOn(t, store, withCatalogs(edited(t, 1)))
	if err := inviting(again, admin); !errors.Is(err, domain.ErrNotPermitted) {
		t.Errorf("with the old file: %v", err)
	}
	if counts := published(t, store); counts["mine 1"] != 1 || counts["mine 2"] != 1 {
		t.Errorf("published %v", counts)
	}
}

func TestARecordedCatalogStays(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store, withCatalogs(edited(t, 1)))
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "mine")
	admin := member(t, s, owner, team, "admin@example.com", "admin")

	s = serviceOn(t, store, withCatalogs(builtin(t, "distribu")...))
	if _, _, err := s.Invite(t.Context(), admin, team, InviteRequest{Email: "x@example.com", Role: "viewer"}); err != nil {
		t.Error(err)
	}
	if role, err := s.teamRole(t.Context(), team, admin.User); err != nil || role.Catalog != "mine" || role.Role != "admin" {
		t.Errorf("the admin is %+v, %v", role, err)
	}
	// What a team gets that names none is what this service was started with.
	if other, _, err := s.CreateTeam(t.Context(), owner, "Other", ""); err != nil || other.Catalog != "distribu" {
		t.Errorf("made %+v, %v", other, err)
	}
	_, _, err := s.CreateTeam(t.Context(), owner, "Other", "no such catalog")
	wantField(t, err, "#/catalog")
}

// Nobody is judged by the rules before those that this program can't read.
func TestACatalogThatCantBeReadStopsTheNode(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store)
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() { ended <- s.Follow(t.Context(), func() { close(ready) }) }()
	<-ready
	commit, err := s.commit(t.Context(), Caller{Actor: domain.Roster}, eventstore.Stream{Kind: eventstore.KindCatalog, ID: "newer"},
		0, eventstore.Hash{}, time.Now().UTC().Truncate(time.Microsecond),
		[]domain.Event{domain.CatalogPublished{Name: "newer", Version: 1, Source: "name: newer\nversion: 1\nfeature_of_tomorrow: true\n"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Append(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "recorded catalog newer, version 1") {
		t.Errorf("following ended with %v", err)
	}
	if _, err := New(t.Context(), Config{Store: store, Catalogs: builtin(t, "distribu")}); err == nil {
		t.Error("it starts all the same")
	}
}
