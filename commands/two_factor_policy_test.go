package commands

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"roster/domain"
)

func everyone(graceDays int) domain.TwoFactorPolicy {
	return domain.TwoFactorPolicy{Required: domain.RequiredOfEveryone, GraceDays: graceDays}
}

func require(t testing.TB, s *Service, by Caller, team domain.TeamID, policy domain.TwoFactorPolicy) {
	t.Helper()
	if done, err := s.SetTwoFactorPolicy(t.Context(), by, team, policy); err != nil || done.Position == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
}

// refusedIn tells whether a member can do nothing in a team for want of a second
// factor.
func refusedIn(t testing.TB, s *Service, by Caller, team domain.TeamID) bool {
	t.Helper()
	_, err := s.ViewTeam(t.Context(), by, team, func(*domain.Team, time.Time) error { return nil })
	if err != nil && !errors.Is(err, domain.ErrTwoFactorRequired) {
		t.Fatal(err)
	}
	var decision domain.Decision
	if _, failed := s.ViewOwnTeam(t.Context(), by, team, func(team *domain.Team, now time.Time) (err error) {
		decision, err = s.Can(t.Context(), team, by.Actor, "team:read", "", now)
		return err
	}); failed != nil {
		t.Fatal(failed)
	}
	if refused := err != nil; decision.Allowed == refused || refused != (decision.Reason == domain.ReasonTwoFactor) {
		t.Errorf("looking at the team: %v; the decision: %+v", err, decision)
	}
	return err != nil
}

func TestAPolicyIsEnforcedAfterItsGraceOnEveryNode(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	a, b := twoNodes(t, withClock(clock), withCatalogs(builtin(t, "default", "tenants")...))
	owner := protect(t, a, clock, "owner@example.com")
	team := teamOf(t, a, owner.Caller, "default")
	ada := member(t, a, owner.Caller, team, "ada@example.com", "admin")
	nodes := []*Service{a, b}
	want := func(when string, who Caller, refused bool) {
		t.Helper()
		for i, s := range nodes {
			if got := refusedIn(t, s, who, team); got != refused {
				t.Errorf("%s, node %d: refused %t", when, i, got)
			}
		}
	}
	want("without a policy", ada, false)
	require(t, a, owner.Caller, team, everyone(7))
	clock.forward(7*24*time.Hour - time.Microsecond)
	want("in the time of grace", ada, false)
	clock.forward(time.Microsecond)
	want("after it", ada, true)
	want("with a second factor", owner.Caller, false)

	// It takes effect and ends at once, on every node.
	enable(t, b, ada)
	want("once there is an app", ada, false)
	if _, err := a.DisableTwoFactor(t.Context(), ada, passphrase); err != nil {
		t.Fatal(err)
	}
	want("once there is none", ada, true)
	require(t, b, owner.Caller, team, domain.TwoFactorPolicy{Required: domain.RequiredOfRoles, Roles: []domain.RoleKey{"owner", "viewer"}})
	want("once it is required of others", ada, false)
	require(t, a, owner.Caller, team, domain.TwoFactorPolicy{Required: domain.RequiredOfRoles, Roles: []domain.RoleKey{"admin"}})
	want("once it is required of their role, without grace", ada, true)
	require(t, a, owner.Caller, team, domain.TwoFactorPolicy{Required: domain.RequiredOfNobody})
	want("once it is required of nobody", ada, false)

	// One who joins later has their own time of grace.
	require(t, a, owner.Caller, team, everyone(3))
	clock.forward(5 * 24 * time.Hour)
	late := member(t, b, owner.Caller, team, "late@example.com", "viewer")
	want("just joined", late, false)
	clock.forward(3 * 24 * time.Hour)
	want("three days later", late, true)
}

func TestWithoutTheSecondFactorThereIsNothingToDoButLeave(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock), withCatalogs(builtin(t, "default")...))
	owner := protect(t, s, clock, "owner@example.com")
	team := teamOf(t, s, owner.Caller, "")
	ada := member(t, s, owner.Caller, team, "ada@example.com", "admin")
	other := member(t, s, owner.Caller, team, "other@example.com", "viewer")
	site, _, err := s.AddSite(t.Context(), ada, team, "North")
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := s.CreateAPIKey(t.Context(), ada, team, APIKeyRequest{Name: "k", Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	invitation, _ := invite(t, s, ada, team, "guest@example.com", "viewer")
	transfer, _, err := s.RequestTransfer(t.Context(), owner.Caller, team, ada.User, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	require(t, s, owner.Caller, team, everyone(0))

	ctx := t.Context()
	just := func(_ any, err error) error { return err }
	before := end(t, s.store)
	for what, run := range map[string]func(by Caller) error{
		"rename":   func(by Caller) error { return just(s.RenameTeam(ctx, by, team, "Other")) },
		"delete":   func(by Caller) error { return just(s.DeleteTeam(ctx, by, team)) },
		"role":     func(by Caller) error { return just(s.ChangeRole(ctx, by, team, other.User, "member")) },
		"override": func(by Caller) error { return just(s.SetOverrides(ctx, by, team, other.User, domain.Overrides{})) },
		"grants":   func(by Caller) error { return just(s.SetSites(ctx, by, team, other.User, nil)) },
		"remove":   func(by Caller) error { return just(s.RemoveMember(ctx, by, team, other.User)) },
		"add site": func(by Caller) error { _, _, err := s.AddSite(ctx, by, team, "South"); return err },
		"site":     func(by Caller) error { return just(s.RenameSite(ctx, by, team, site.ID, "West")) },
		"no site":  func(by Caller) error { return just(s.RemoveSite(ctx, by, team, site.ID)) },
		"new key": func(by Caller) error {
			_, _, err := s.CreateAPIKey(ctx, by, team, APIKeyRequest{Name: "k", Role: "viewer"})
			return err
		},
		"key": func(by Caller) error { return just(s.RevokeAPIKey(ctx, by, team, key.ID)) },
		"invite": func(by Caller) error {
			_, _, err := s.Invite(ctx, by, team, InviteRequest{Email: "x@example.com", Role: "viewer"})
			return err
		},
		"resend": func(by Caller) error { _, _, err := s.Resend(ctx, by, team, invitation.ID); return err },
		"cancel": func(by Caller) error { return just(s.Cancel(ctx, by, team, invitation.ID)) },
		"confirm": func(by Caller) error {
			_, _, err := s.ConfirmTransfer(ctx, by, s.TransferToken(team, transfer.ID))
			return err
		},
		"transfer": func(by Caller) error {
			_, _, err := s.RequestTransfer(ctx, by, team, other.User, passphrase)
			return err
		},
		"no transfer": func(by Caller) error { return just(s.CancelTransfer(ctx, by, team, transfer.ID)) },
		"policy":      func(by Caller) error { return just(s.SetTwoFactorPolicy(ctx, by, team, everyone(30))) },
		"policy of nobody": func(by Caller) error {
			return just(s.SetTwoFactorPolicy(ctx, by, team, domain.TwoFactorPolicy{Required: domain.RequiredOfNobody}))
		},
		"plan": func(by Caller) error { return just(s.SetPlan(ctx, by, team, "business")) },
	} {
		err := run(ada)
		var refused *domain.Error
		if !errors.As(err, &refused) || refused.Code != "two_factor_required" || refused.Kind != domain.Forbidden ||
			refused.Facts["enroll_url"] != "https://roster.test/dashboard/account" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := end(t, s.store); after != before {
		t.Errorf("refusals left %d events", after-before)
	}
	// A stranger still learns nothing.
	wantCode(t, just(s.RenameTeam(ctx, accountOn(t, s, "eve@example.com"), team, "Other")), "not_found")
	// Keys aren't people.
	if by, err := s.Authenticate(ctx, key.Secret); err != nil || just(s.RenameTeam(ctx, by, team, "By a key")) != nil {
		t.Errorf("by a key: %v", err)
	}
	// One's own account is one's own.
	if _, err := s.ChooseTeam(ctx, ada, team); err != nil {
		t.Errorf("choosing the team: %v", err)
	}
	if _, _, err := s.RenameMe(ctx, ada, "Ada"); err != nil {
		t.Errorf("another name: %v", err)
	}
	if _, err := s.Leave(ctx, other, team); err != nil {
		t.Errorf("leaving: %v", err)
	}
	enable(t, s, ada)
	if _, err := s.RenameTeam(ctx, ada, team, "At last"); err != nil {
		t.Errorf("with a second factor: %v", err)
	}
}

func TestNobodyRequiresOfOthersWhatTheyDontHave(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	_, err := s.SetTwoFactorPolicy(t.Context(), owner, team, everyone(30))
	wantCode(t, err, "two_factor_required")
	enable(t, s, owner)
	require(t, s, owner, team, everyone(30))
}

// BenchmarkCan is what joining the policy with the account adds to a decision.
func BenchmarkCan(b *testing.B) {
	clock := newHandClock()
	s := service(b, withClock(clock), withCatalogs(builtin(b, "default")...))
	owner := protect(b, s, clock, "owner@example.com")
	team := teamOf(b, s, owner.Caller, "")
	for _, policy := range []domain.TwoFactorPolicy{{Required: domain.RequiredOfNobody}, everyone(0)} {
		if _, err := s.SetTwoFactorPolicy(b.Context(), owner.Caller, team, policy); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("required=%s", policy.Required), func(b *testing.B) {
			lookAt(b, s, team, func(t *domain.Team) {
				b.ReportAllocs()
				for b.Loop() {
					if d, err := s.Can(b.Context(), t, owner.Actor, "team:update", "", clock.now()); err != nil || !d.Allowed {
						b.Fatal(d, err)
					}
				}
			})
		})
	}
}

func TestADecisionOfAMemberInMemoryAllocatesNothing(t *testing.T) {
	clock := newHandClock()
	s := service(t, withClock(clock), withCatalogs(builtin(t, "default")...))
	owner := protect(t, s, clock, "owner@example.com")
	team := teamOf(t, s, owner.Caller, "")
	require(t, s, owner.Caller, team, everyone(0))
	lookAt(t, s, team, func(team *domain.Team) {
		ctx, now := t.Context(), clock.now()
		if n := testing.AllocsPerRun(10_000, func() {
			if d, err := s.Can(ctx, team, owner.Actor, "team:update", "", now); err != nil || !d.Allowed {
				t.Errorf("%+v, %v", d, err)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
