package commands

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
)

func held[S folder](h *hot[S]) int {
	n := 0
	for range h.entries.All() {
		n++
	}
	return n
}

func TestGuessedIDsAreNotKept(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store, func(c *Config) { c.Nodes = standingNodes(store) })
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "distribu")
	lookAt(t, s, team, func(*domain.Team) {})
	if _, _, err := s.Me(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	teams, users := held(s.teams), held(s.users)

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{t.Context(), gone} {
		for range 20 {
			guess := domain.TeamID(eventstore.NewID(domain.PrefixTeam))
			key := domain.APIKeyID(eventstore.NewID(domain.PrefixAPIKey))
			invitation := domain.InvitationID(eventstore.NewID(domain.PrefixInvitation))
			nobody := Caller{Actor: domain.ByUser(newUser())}
			nobody.User = domain.UserID(nobody.Actor.ID)

			for what, err := range map[string]error{
				"a look": func() error {
					_, err := s.ViewTeam(ctx, owner, guess, func(*domain.Team, time.Time) error { return nil })
					return err
				}(),
				"a command": func() error { _, err := s.RenameTeam(ctx, owner, guess, "x"); return err }(),
				"a key":     func() error { _, err := s.Authenticate(ctx, apiKeyToken(guess, key, newSecret(ctx, ""))); return err }(),
				"a link": func() error {
					_, _, err := s.PreviewInvitation(ctx, Caller{}, s.InvitationToken(guess, invitation, 1))
					return err
				}(),
				"a user": func() error { _, _, err := s.Me(ctx, nobody); return err }(),
			} {
				if err == nil {
					t.Errorf("%s succeeds", what)
				}
			}
		}
	}
	if held(s.teams) != teams || held(s.users) != users {
		t.Errorf("%d teams and %d users are kept, not %d and %d", held(s.teams), held(s.users), teams, users)
	}
}

// What is dropped from memory while a command is at work on it is made anew by
// whoever looks; the command must reach that one too before it is acknowledged.
func TestACommandOnADroppedTeamIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "distribu")
	key, _, err := s.CreateAPIKey(t.Context(), owner, team, APIKeyRequest{Name: "one", Role: "MEMBER"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = do(t.Context(), s, s.teams, string(team), owner, func(state *domain.Team, now time.Time) (decision, error) {
		s.teams.forget()
		if _, err := s.Authenticate(t.Context(), key.Secret); err != nil {
			return decision{}, err
		}
		return decided(state.RevokeAPIKey(owner.Actor, key.ID, now))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), key.Secret); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("a revoked key: %v", err)
	}
}

// What came between the start of a service and the moment from which it
// follows isn't missed.
func TestFollowingMissesNothingBefore(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	a, b := serviceOn(t, store), serviceOn(t, store)
	owner := accountOn(t, a, "owner@example.com")
	team := teamOf(t, a, owner, "distribu")
	lookAt(t, b, team, func(*domain.Team) {})
	if _, _, err := b.Me(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	if _, err := a.RenameTeam(t.Context(), owner, team, "Renamed"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.RenameMe(t.Context(), owner, "Renamed"); err != nil {
		t.Fatal(err)
	}
	follow(t, b)
	lookAt(t, b, team, func(team *domain.Team) {
		if team.Name() != "Renamed" {
			t.Errorf("the team is called %q", team.Name())
		}
	})
	if me, _, err := b.Me(t.Context(), owner); err != nil || me.User.Name != "Renamed" {
		t.Errorf("the user is called %q, %v", me.User.Name, err)
	}
}

func TestARefusedCommandAppendsNothing(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ctx := t.Context()
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "distribu")
	admin := member(t, s, owner, team, "admin@example.com", "ADMIN")
	plain := member(t, s, owner, team, "plain@example.com", "MEMBER")
	stranger := accountOn(t, s, "stranger@example.com")
	pending, token := invite(t, s, owner, team, "pending@example.com", "MEMBER")
	_, used := invite(t, s, owner, team, "stranger@example.com", "MEMBER")
	if _, err := s.DeclineInvitation(ctx, stranger, used); err != nil {
		t.Fatal(err)
	}
	pinned := owner
	pinned.IfMatch = 1
	operator := Caller{Actor: domain.Operator}
	before := end(t, s.store)

	role := func(by Caller, user domain.UserID, role domain.RoleKey) error {
		_, err := s.ChangeRole(ctx, by, team, user, role)
		return err
	}
	inviting := func(by Caller, email string, role domain.RoleKey) error {
		_, _, err := s.Invite(ctx, by, team, InviteRequest{Email: email, Role: role})
		return err
	}
	accepting := func(by Caller, token string, given Acceptance) error {
		_, _, err := s.AcceptInvitation(ctx, by, token, given)
		return err
	}
	just := func(_ Done, err error) error { return err }
	for _, refused := range []struct {
		code string
		err  error
	}{
		{"not_found", role(stranger, plain.User, "ADMIN")},
		{"not_permitted", role(plain, admin.User, "MEMBER")},
		{"owner_is_permanent", role(owner, owner.User, "MEMBER")},
		{"role_not_assignable", role(owner, plain.User, "OWNER")},
		{"version_conflict", role(pinned, plain.User, "ADMIN")},
		{"unauthenticated", role(Caller{}, plain.User, "ADMIN")},
		{"not_permitted", inviting(plain, "x@example.com", "MEMBER")},
		{"already_invited", inviting(owner, " Pending@Example.com ", "MEMBER")},
		{"already_member", inviting(owner, "PLAIN@example.com", "MEMBER")},
		{"invalid_field", inviting(owner, "no address", "MEMBER")},
		{"role_not_assignable", inviting(admin, "x@example.com", "OWNER")},
		{"wrong_account", accepting(stranger, token, Acceptance{})},
		{"invitation_declined", accepting(stranger, used, Acceptance{})},
		{"invalid_field", accepting(Caller{IP: home}, token, Acceptance{Name: "N", Password: "short"})},
		{"invalid_field", accepting(Caller{IP: home}, token, Acceptance{Name: "", Password: passphrase})},
		{"not_permitted", accepting(operator, token, Acceptance{})},
		{"wrong_account", just(s.DeclineInvitation(ctx, stranger, token))},
		{"not_permitted", just(s.DeclineInvitation(ctx, operator, token))},
		{"cannot_remove_self", just(s.RemoveMember(ctx, admin, team, admin.User))},
		{"leaving_not_allowed", just(s.Leave(ctx, plain, team))},
		{"operator_only", just(s.SetPlan(ctx, owner, team, "growth"))},
		{"operator_only", just(s.OperatorTransfer(ctx, owner, team, admin.User))},
		{"invalid_field", just(s.SetPlan(ctx, operator, team, "no such plan"))},
		{"not_found", just(s.Cancel(ctx, owner, team, "inv_00000000000000000000000000"))},
		{"not_permitted", just(s.Cancel(ctx, plain, team, pending.ID))},
		{"not_found", just(s.RevokeAPIKey(ctx, owner, team, "key_00000000000000000000000000"))},
		{"not_found", just(s.DeleteTeam(ctx, stranger, team))},
		{"not_found", just(s.RenameTeam(ctx, owner, "team_../../x", "x"))},
		{"wrong_password", just(s.ChangePassword(ctx, owner, "not the passphrase", "another passphrase"))},
		{"invalid_field", just(s.ChangePassword(ctx, owner, passphrase, "short"))},
	} {
		wantCode(t, refused.err, refused.code)
	}
	// Nothing to do is no event either.
	if err := role(owner, plain.User, "MEMBER"); err != nil {
		t.Error(err)
	}
	if err := s.ExpireInvitation(ctx, team, pending.ID); err != nil {
		t.Error(err)
	}
	if after := end(t, s.store); after != before {
		t.Errorf("%d commits were appended", after-before)
	}
}

// A command whose caller hangs up leaves in memory what is in the store,
// whether or not it got through.
func TestAnAbortedCommandLeavesTheStateRight(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	for round := 1; ; round++ {
		if round > maxRounds {
			t.Fatal("never through")
		}
		ctx, die := dyingAfter(t.Context(), round)
		_, _, err := s.Invite(ctx, owner, team, InviteRequest{Email: fmt.Sprintf("i%d@example.com", round), Role: "member"})
		die()
		// Whatever became of it, the next command meets it.
		if _, err := s.RenameTeam(t.Context(), owner, team, fmt.Sprint("Team ", round)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		sameEverywhere(t, team, s, serviceOn(t, s.store))
		if err == nil {
			return
		}
	}
}

// sameEverywhere checks that services have the same state of a team.
func sameEverywhere(t *testing.T, id domain.TeamID, services ...*Service) {
	t.Helper()
	type state struct {
		Version, Position uint64
		Hash              eventstore.Hash
		Name              string
		Seats             domain.Seats
	}
	var states []state
	for _, s := range services {
		var is state
		if err := s.teams.view(t.Context(), string(id), func(team *domain.Team, version, position uint64) {
			is = state{Version: version, Position: position, Name: team.Name(), Seats: team.Seats(s.Now())}
		}); err != nil {
			t.Fatal(err)
		}
		e, _ := s.teams.entries.GetIfPresent(string(id))
		e.mu.RLock()
		is.Hash = e.hash
		e.mu.RUnlock()
		states = append(states, is)
	}
	for _, other := range states[1:] {
		if diff := cmp.Diff(states[0], other); diff != "" {
			t.Errorf("the states differ:\n%s", diff)
		}
	}
}

func TestIfMatch(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	a := serviceOn(t, store)
	owner := accountOn(t, a, "owner@example.com")
	team := teamOf(t, a, owner, "tenants")
	// b has heard of nothing since.
	b := serviceOn(t, store, func(c *Config) { c.Nodes = standingNodes(store) })
	lookAt(t, b, team, func(*domain.Team) {})
	if _, err := a.RenameTeam(t.Context(), owner, team, "Renamed"); err != nil {
		t.Fatal(err)
	}
	now := versionOf(t, a, team)

	rename := func(s *Service, version uint64, name string) (Done, error) {
		by := owner
		by.IfMatch = version
		return s.RenameTeam(t.Context(), by, team, name)
	}
	for _, stale := range []uint64{1, now - 1, now + 1, 1 << 60} {
		_, err := rename(b, stale, "Stale")
		wantCode(t, err, "version_conflict")
		_, err = rename(b, stale, "Renamed") // which would change nothing
		wantCode(t, err, "version_conflict")
	}
	done, err := rename(b, now, "Right")
	if err != nil || done.Version != now+1 {
		t.Errorf("with the right version: %v, %v", done, err)
	}
	// a is behind by one now.
	if done, err = rename(a, now+1, "Right as well"); err != nil || done.Version != now+2 {
		t.Errorf("with a version not heard of yet: %v, %v", done, err)
	}
	_, err = rename(b, now+1, "Late")
	wantCode(t, err, "version_conflict")

	// The version is that of the team, not of the account that is changed with it.
	invitation, token := invite(t, a, owner, team, "late@example.com", "member")
	late := accountOn(t, a, "late@example.com")
	late.IfMatch = versionOf(t, a, team)
	if _, _, err := a.AcceptInvitation(t.Context(), late, token, Acceptance{}); err != nil {
		t.Errorf("accepting %s: %v", invitation.ID, err)
	}

	// Several commands in one request are one's own doing, the rest isn't.
	by := owner
	by.IfMatch = versionOf(t, a, team)
	many := []InviteRequest{{Email: "1@example.com", Role: "member"}, {Email: "1@example.com", Role: "member"}, {Email: "2@example.com", Role: "member"}}
	results, _ := a.InviteAll(t.Context(), by, team, many)
	if results[0].Err != nil || results[2].Err != nil {
		t.Errorf("inviting with the right version: %v", results)
	}
	wantCode(t, results[1].Err, "already_invited")
	results, _ = a.InviteAll(t.Context(), by, team, []InviteRequest{{Email: "3@example.com", Role: "member"}})
	wantCode(t, results[0].Err, "version_conflict")

	// Of many who saw the same version, one gets through.
	now = versionOf(t, a, team)
	ended := atOnce(t, 16, func(i int) error {
		by := owner
		by.IfMatch = now
		_, err := []*Service{a, b}[i%2].RenameTeam(t.Context(), by, team, fmt.Sprint("Rival ", i))
		return err
	})
	if diff := cmp.Diff(map[string]int{"ok": 1, "version_conflict": 15}, ended); diff != "" {
		t.Error(diff)
	}
}
