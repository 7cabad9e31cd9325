package commands

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
)

func look(s *Service, by Caller, team domain.TeamID) error {
	_, err := s.ViewTeam(context.Background(), by, team, func(*domain.Team, time.Time) error { return nil })
	return err
}

// can asks whether somebody may do an action of Roster's.
func can(s *Service, by Caller, team domain.TeamID, action domain.Action) (allowed bool, err error) {
	_, err = s.ViewTeam(context.Background(), by, team, func(t *domain.Team, now time.Time) error {
		allowed = t.May(by.Actor, action, now).Allowed
		return nil
	})
	return allowed, err
}

// What one node has done, another must not refuse, even if it hasn't heard of
// it yet: here b never hears of anything.
func TestAGrantIsNeverRefusedByANodeThatIsBehind(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	a := serviceOn(t, store)
	b := serviceOn(t, store, func(c *Config) { c.Nodes = standingNodes(store) })
	ctx := t.Context()
	owner := accountOn(t, a, "owner@example.com")
	team := teamOf(t, a, owner, "distribu")

	// b knows the team as it was; what then happens on a must work there.
	behind := func(what string, then func(s *Service) error) {
		t.Helper()
		if err := then(b); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	lookAt(t, b, team, func(*domain.Team) {})
	joiner := accountOn(t, a, "joiner@example.com")
	_, token := invite(t, a, owner, team, "joiner@example.com", "ADMIN")
	behind("a link", func(s *Service) error {
		preview, _, err := s.PreviewInvitation(ctx, joiner, token)
		if err == nil && preview.Next != NextAccept {
			err = errors.New(preview.Next)
		}
		return err
	})
	lookAt(t, b, team, func(*domain.Team) {})
	_, other := invite(t, a, owner, team, "other@example.com", "MEMBER")
	behind("accepting with a new account", func(s *Service) error {
		_, _, err := s.AcceptInvitation(ctx, Caller{IP: home}, other, Acceptance{Name: "O", Password: passphrase})
		return err
	})
	if _, _, err := a.AcceptInvitation(ctx, joiner, token, Acceptance{}); err != nil {
		t.Fatal(err)
	}
	behind("looking at a team after joining it", func(s *Service) error { return look(s, joiner, team) })

	third := accountOn(t, a, "third@example.com")
	_, token = invite(t, a, owner, team, "third@example.com", "MEMBER")
	behind("accepting", func(s *Service) error {
		_, _, err := s.AcceptInvitation(ctx, third, token, Acceptance{})
		return err
	})

	key, _, err := a.CreateAPIKey(ctx, owner, team, APIKeyRequest{Name: "one", Role: "ADMIN"})
	if err != nil {
		t.Fatal(err)
	}
	behind("a key", func(s *Service) error {
		by, err := s.Authenticate(ctx, key.Secret)
		if err == nil {
			err = look(s, by, team)
		}
		return err
	})

	if _, err := a.ChangeRole(ctx, owner, team, third.User, "ADMIN"); err != nil {
		t.Fatal(err)
	}
	behind("acting with a new role", func(s *Service) error {
		_, _, err := s.Invite(ctx, third, team, InviteRequest{Email: "fourth@example.com", Role: "MEMBER"})
		return err
	})

	// 6 of 10 seats are taken. a takes the rest and gives one back.
	for i := range 5 {
		invite(t, a, owner, team, fmt.Sprintf("seat%d@example.com", i), "MEMBER")
	}
	lookAt(t, b, team, func(*domain.Team) {})
	_, _, err = b.Invite(ctx, owner, team, InviteRequest{Email: "late@example.com", Role: "MEMBER"})
	wantCode(t, err, "seat_limit_reached")
	last, token := Invitation{}, ""
	lookAt(t, a, team, func(state *domain.Team) {
		if seats := state.Seats(a.Now()); seats.Used() != 10 {
			t.Fatalf("the seats are %+v", seats)
		}
	})
	if _, err := a.RemoveMember(ctx, owner, team, third.User); err != nil {
		t.Fatal(err)
	}
	behind("the last seat", func(s *Service) error {
		var err error
		last, _, err = s.Invite(ctx, owner, team, InviteRequest{Email: "third@example.com", Role: "MEMBER"})
		return err
	})
	resent, _, err := a.Resend(ctx, owner, team, last.ID)
	if err != nil {
		t.Fatal(err)
	}
	token = tokenOf(resent)
	behind("a link that was sent again", func(s *Service) error {
		_, _, err := s.AcceptInvitation(ctx, third, token, Acceptance{})
		return err
	})
}

// When a revocation is acknowledged, the other node refuses at once.
func TestARevocationIsSeenByTheOtherNode(t *testing.T) {
	t.Parallel()
	one, two := twoNodes(t, withCatalogs(builtin(t, "default")...))
	ctx := t.Context()
	owner := accountOn(t, one, "owner@example.com")
	team := teamOf(t, one, owner, "")
	if _, err := one.SetPlan(ctx, Caller{Actor: domain.Operator}, team, "business"); err != nil {
		t.Fatal(err)
	}
	for round := range 4 {
		a, b := one, two
		if round%2 == 1 {
			a, b = two, one
		}
		email := fmt.Sprintf("m%d@example.com", round)
		by := member(t, a, owner, team, email, "admin")
		refused := func(what string, err error, code string) {
			t.Helper()
			var refusal *domain.Error
			if !errors.As(err, &refusal) || refusal.Code != code {
				t.Errorf("round %d: %s: %v, not %s", round, what, err, code)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}

		key, _, err := a.CreateAPIKey(ctx, by, team, APIKeyRequest{Name: "k", Role: "member"})
		must(err)
		_, err = b.Authenticate(ctx, key.Secret)
		must(err)
		_, err = a.RevokeAPIKey(ctx, by, team, key.ID)
		must(err)
		_, err = b.Authenticate(ctx, key.Secret)
		refused("a revoked key", err, "unauthenticated")

		invitation, token := invite(t, a, owner, team, "guest"+email, "member")
		_, _, err = b.PreviewInvitation(ctx, Caller{}, token)
		must(err)
		_, _, err = a.Resend(ctx, owner, team, invitation.ID)
		must(err)
		_, _, err = b.PreviewInvitation(ctx, Caller{}, token)
		refused("an old link", err, "not_found")

		allowed, err := can(b, by, team, domain.ActionInvite)
		must(err)
		if !allowed {
			t.Error("an admin may not invite")
		}
		_, err = a.SetOverrides(ctx, owner, team, by.User, domain.Overrides{Revoked: []domain.Permission{"members:invite"}})
		must(err)
		if allowed, err := can(b, by, team, domain.ActionInvite); allowed || err != nil {
			t.Errorf("round %d: a revoked permission: %v, %v", round, allowed, err)
		}
		_, err = a.ChangeRole(ctx, owner, team, by.User, "viewer")
		must(err)
		if allowed, err := can(b, by, team, domain.ActionManageAPIKeys); allowed || err != nil {
			t.Errorf("round %d: a lower role: %v, %v", round, allowed, err)
		}
		_, err = a.RemoveMember(ctx, owner, team, by.User)
		must(err)
		refused("a removed member", look(b, by, team), "not_found")

		by, session := signedIn(t, a, by)
		_, other := signedIn(t, b, by)
		for _, token := range []string{session, other} {
			_, err = b.Authenticate(ctx, token)
			must(err)
		}
		_, err = a.ChangePassword(ctx, by, passphrase, "another heron in the reeds")
		must(err)
		_, err = b.Authenticate(ctx, other)
		refused("another session after a change of the password", err, "unauthenticated")
		_, err = b.Authenticate(ctx, session)
		must(err)
		_, err = a.SignOut(ctx, by)
		must(err)
		_, err = b.Authenticate(ctx, session)
		refused("a session that has ended", err, "unauthenticated")
	}
	sameEverywhere(t, team, one, two)
}

// Thirty-two people work on one team through two nodes. Whatever gets through
// is one version each; the plan is never exceeded, not even for a moment.
func TestManyCommandsOnOneTeam(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	nodes := []*Service{a, b}
	owner := accountOn(t, a, "owner@example.com")
	team := teamOf(t, a, owner, "distribu")
	plain := member(t, a, owner, team, "plain@example.com", "MEMBER")
	ctx := t.Context()
	before := versionOf(t, a, team)

	var written atomic.Int64
	wrote := func(_ Done, err error) error {
		if err == nil {
			written.Add(1)
		}
		return err
	}
	const workers, turns = 32, 6
	ended := atOnce(t, workers, func(i int) error {
		s, other := nodes[i%2], nodes[(i+1)%2]
		guest := accountOn(t, s, fmt.Sprintf("guest%d@example.com", i))
		for turn := range turns {
			invitation, done, err := s.Invite(ctx, owner, team, InviteRequest{Email: fmt.Sprintf("guest%d@example.com", i), Role: "MEMBER"})
			var refusal *domain.Error
			switch {
			case errors.As(err, &refusal) && refusal.Code == "seat_limit_reached":
				continue
			case err != nil:
				return err
			}
			_ = wrote(done, nil)
			switch (i + turn) % 3 {
			case 0:
				err = wrote(other.Cancel(ctx, owner, team, invitation.ID))
			case 1:
				err = wrote(other.DeclineInvitation(ctx, guest, tokenOf(invitation)))
			default:
				_, done, err := other.AcceptInvitation(ctx, guest, tokenOf(invitation), Acceptance{})
				if wrote(done, err) != nil {
					return err
				}
				if err := look(s, guest, team); err != nil {
					return fmt.Errorf("after joining: %w", err)
				}
				err = wrote(s.RemoveMember(ctx, owner, team, guest.User))
				if err != nil {
					return err
				}
				err = look(other, guest, team)
				if !errors.Is(err, domain.ErrNotFound) {
					return fmt.Errorf("after the removal: %w", err)
				}
				continue
			}
			if err != nil {
				return err
			}
			role := []domain.RoleKey{"MEMBER", "ADMIN"}[turn%2]
			version := versionOf(t, s, team)
			done, err = s.ChangeRole(ctx, owner, team, plain.User, role)
			if err != nil || done.Version < version {
				return fmt.Errorf("a role: %v after version %d: %w", done, version, err)
			}
		}
		return nil
	})
	if ended["ok"] != workers {
		t.Errorf("ended with %v", ended)
	}
	sameEverywhere(t, team, a, b, serviceOn(t, a.store))

	// The log, judged from the beginning.
	state := domain.NewTeam(team, a.catalogs)
	var last time.Time
	roles := 0
	for _, commit := range history(t, a.store) {
		if commit.Stream != a.teams.stream(string(team)) {
			continue
		}
		for i, recorded := range commit.Events {
			if _, ok := recorded.Event.(domain.RoleChanged); ok {
				roles++
			}
			state.Apply(recorded.Event, commit.Meta(i))
		}
		if seats := state.Seats(commit.At); seats.Used() > seats.Limit {
			t.Errorf("version %d leaves %+v", commit.Version, seats)
		}
		if commit.At.Before(last) {
			t.Errorf("version %d is from %v, after %v", commit.Version, commit.At, last)
		}
		last = commit.At
	}
	if now := versionOf(t, a, team); now != before+uint64(written.Load())+uint64(roles) {
		t.Errorf("%d versions came of %d acknowledged commands and %d changes of a role", now-before, written.Load(), roles)
	}
}

// The clock of one node is an hour ahead. A team's history doesn't go back and
// forth all the same.
func TestClocksThatDisagree(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	early, late := newHandClock(), newHandClock()
	late.forward(time.Hour)
	a, b := nodeOn(t, store, withClock(late)), nodeOn(t, store, withClock(early))
	owner := accountOn(t, b, "owner@example.com")
	team := teamOf(t, b, owner, "tenants")
	for i := range 6 {
		s := []*Service{a, b}[i%2]
		early.forward(time.Minute)
		if _, err := s.RenameTeam(t.Context(), owner, team, fmt.Sprint("Team ", i)); err != nil {
			t.Fatal(err)
		}
	}
	commits, err := store.Load(t.Context(), eventstore.Stream{Kind: eventstore.KindTeam, ID: string(team)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	start := newHandClock().now()
	var times []time.Duration
	for _, commit := range commits {
		times = append(times, commit.At.Sub(start))
	}
	want := []time.Duration{0, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour}
	if diff := cmp.Diff(want, times); diff != "" {
		t.Error(diff)
	}
}
