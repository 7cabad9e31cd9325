package domain_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// The page "Team & roles" of Distribu, line by line.

// company has olga (OWNER), ada and alf (ADMIN), max and mia (MEMBER).
func company() evs {
	return given(created("distribu"), joined("ada", "ADMIN"), joined("alf", "ADMIN"), joined("max", "MEMBER"), joined("mia", "MEMBER"))
}

// pending is what inviting eve as this role gives.
func pending(r role, at time.Time) evs {
	return evs{domain.MemberInvited{
		Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Role: r, Sites: []grant{}, ExpiresAt: at.Add(7 * day),
	}}
}

func TestDistribuRoleMatrix(t *testing.T) {
	state := fold(company())
	for _, row := range []struct {
		action               string
		permissions          string
		owner, admin, member bool
	}{
		{"Sign into the dashboard", "dashboard:read", true, true, true},
		{"View inventory, customers, orders", "inventory:read customers:read orders:read", true, true, true},
		{"Create / edit products", "products:create products:update", true, true, true},
		{"Place and manage orders", "orders:create orders:update", true, true, true},
		{"Invite new members", "team:invite", true, true, false},
		{"Remove members", "team:remove", true, true, false},
		{"Change a member's role", "team:change_role", true, false, false},
		{"Create / revoke API keys", "api_keys:create api_keys:revoke", true, true, false},
		{"Configure webhooks", "webhooks:update", true, true, false},
		{"Manage billing & subscription", "billing:read billing:update", true, false, false},
		{"Delete the company", "company:delete", true, false, false},
	} {
		for _, permission := range strings.Fields(row.permissions) {
			p := domain.Permission(permission)
			got := [3]bool{allowed(state, as(owner), p), allowed(state, as("ada"), p), allowed(state, as("max"), p)}
			if want := [3]bool{row.owner, row.admin, row.member}; got != want {
				t.Errorf("%s (%s): %v, want %v", row.action, p, got, want)
			}
		}
	}
}

func TestDistribuInviting(t *testing.T) {
	check(t, []scenario{
		{"OWNER invites as ADMIN", company(), now, invite(as(owner), "eve", "ADMIN"), pending("ADMIN", now), nil},
		{"OWNER invites as MEMBER", company(), now, invite(as(owner), "eve", "MEMBER"), pending("MEMBER", now), nil},
		{"ADMIN invites as ADMIN", company(), now, invite(as("ada"), "eve", "ADMIN"), pending("ADMIN", now), nil},
		{"ADMIN invites as MEMBER", company(), now, invite(as("ada"), "eve", "MEMBER"), pending("MEMBER", now), nil},
		{"MEMBER doesn't invite", company(), now, invite(as("max"), "eve", "MEMBER"), nil, domain.ErrNotPermitted},
		{"nobody invites as OWNER", company(), now, invite(as(owner), "eve", "OWNER"), nil, domain.ErrRoleNotAssignable},
		{"there are no sites", company(), now, invite(as(owner), "eve", "MEMBER", grants("north", "MEMBER")...), nil, &domain.Error{Code: "invalid_field"}},
		{"there is no other role", company(), now, invite(as(owner), "eve", "MANAGER"), nil, &domain.Error{Code: "invalid_field"}},
		{"the link expires in 7 days", given(company(), invited("eve", "MEMBER")), t0.Add(7 * 24 * time.Hour), accept("eve"), nil, domain.ErrInvitationExpired},
	})
}

func TestDistribuAcceptancePaths(t *testing.T) {
	waiting := given(company(), invited("eve", "ADMIN"))
	check(t, []scenario{
		{"new, or an account with the same address: they join with the role you chose", waiting, now, accept("eve"),
			evs{domain.MemberJoined{User: "eve", Invitation: "inv-eve", Role: "ADMIN"}}, nil},
		{"signed in as a different address: wrong account", waiting, now, acceptAs("eve", "max"), nil, domain.ErrWrongAccount},
		{"signed in as a stranger: wrong account", waiting, now, acceptAs("eve", "mallory"), nil, domain.ErrWrongAccount},
	})
	state := fold(waiting)
	if found, err := state.Acceptable("inv-eve", address("eve"), now); err != nil || found.Role != "ADMIN" || found.Email != email("eve") {
		t.Errorf("the link shows %+v, %v", found, err)
	}
	if _, err := state.Acceptable("inv-eve", address("max"), now); !errors.Is(err, domain.ErrWrongAccount) {
		t.Errorf("the link shows somebody else %v", err)
	}
}

func TestDistribuPlans(t *testing.T) {
	state := fold(created("distribu"))
	for _, want := range []struct {
		plan  string
		limit int
	}{{"starter", 10}, {"growth", 50}, {"scale", 500}} { // starter is what a new company gets
		if got := state.Seats(now); got != (domain.Seats{Limit: want.limit, Members: 1}) {
			t.Errorf("%s: %+v; the owner counts", want.plan, got)
		}
		if want.plan == "starter" {
			state = play(t, created("distribu"), setPlan(domain.Operator, "growth"))
		} else {
			state = play(t, created("distribu"), setPlan(domain.Operator, "scale"))
		}
	}
	full := created("distribu")
	for _, u := range []user{"a", "b", "c", "d", "e", "f"} {
		full = given(full, joined(u, "MEMBER"))
	}
	full = given(full, invited("x", "MEMBER"), invited("y", "ADMIN"), invited("z", "MEMBER"))
	_, err := invite(as(owner), "eve", "MEMBER")(fold(full), now)
	var refusal *domain.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v", err)
	}
	facts := map[string]any{"plan": "starter", "limit": 10, "members": 7, "pending": 3, "upgrade_url": "/dashboard/subscribe"}
	if diff := cmp.Diff(facts, refusal.Facts); diff != "" {
		t.Error(diff)
	}
	for _, way := range []string{"Cancel a pending invitation", "upgrade"} {
		if !strings.Contains(refusal.Detail, way) {
			t.Errorf("%q doesn't offer to %s", refusal.Detail, way)
		}
	}
	check(t, []scenario{
		{"one way out: cancel an invitation", given(full, evs{domain.InvitationCancelled{Invitation: "inv-x"}}), now, invite(as(owner), "eve", "MEMBER"), pending("MEMBER", now), nil},
		{"the other way out: upgrade", given(full, plan("growth")), now, invite(as(owner), "eve", "MEMBER"), pending("MEMBER", now), nil},
		{"nobody upgrades but the operator", full, now, setPlan(as(owner), "growth"), nil, domain.ErrOperatorOnly},
		{"there is no such plan", full, now, setPlan(domain.Operator, "enterprise"), nil, &domain.Error{Code: "invalid_field"}},
	})
}

func TestDistribuChangingARole(t *testing.T) {
	check(t, []scenario{
		{"OWNER makes a MEMBER an ADMIN", company(), now, changeRole(as(owner), "max", "ADMIN"), changed("max", "MEMBER", "ADMIN"), nil},
		{"OWNER makes an ADMIN a MEMBER", company(), now, changeRole(as(owner), "ada", "MEMBER"), changed("ada", "ADMIN", "MEMBER"), nil},
		{"only the OWNER: not an ADMIN", company(), now, changeRole(as("ada"), "max", "ADMIN"), nil, domain.ErrNotPermitted},
		{"only the OWNER: not an ADMIN themselves", company(), now, changeRole(as("ada"), "ada", "MEMBER"), nil, domain.ErrNotPermitted},
		{"only the OWNER: not a MEMBER", company(), now, changeRole(as("max"), "max", "ADMIN"), nil, domain.ErrNotPermitted},
		{"the OWNER cannot change their own role", company(), now, changeRole(as(owner), owner, "ADMIN"), nil, domain.ErrOwnerIsPermanent},
		{"the OWNER cannot promote anyone else to OWNER", company(), now, changeRole(as(owner), "ada", "OWNER"), nil, domain.ErrRoleNotAssignable},
		{"nor somebody who isn't there", company(), now, changeRole(as(owner), "eve", "ADMIN"), nil, domain.ErrNotFound},
	})
}

func TestDistribuRemovingAMember(t *testing.T) {
	check(t, []scenario{
		{"OWNER removes an ADMIN", company(), now, remove(as(owner), "ada"), removed("ada", "ADMIN"), nil},
		{"OWNER removes a MEMBER", company(), now, remove(as(owner), "max"), removed("max", "MEMBER"), nil},
		{"ADMIN removes a MEMBER", company(), now, remove(as("ada"), "max"), removed("max", "MEMBER"), nil},
		{"an ADMIN can't remove an ADMIN", company(), now, remove(as("ada"), "alf"), nil, domain.ErrRankTooLow},
		{"an ADMIN can't remove the OWNER", company(), now, remove(as("ada"), owner), nil, domain.ErrOwnerIsPermanent},
		{"an ADMIN can't remove themselves", company(), now, remove(as("ada"), "ada"), nil, domain.ErrCannotRemoveSelf},
		{"the OWNER can't remove themselves", company(), now, remove(as(owner), owner), nil, domain.ErrCannotRemoveSelf},
		{"a MEMBER removes nobody", company(), now, remove(as("max"), "mia"), nil, domain.ErrNotPermitted},
		{"nobody leaves by themselves", company(), now, leave("max"), nil, domain.ErrLeavingNotAllowed},
	})
}

func TestDistribuOwnershipMovesOnlyThroughTheOperator(t *testing.T) {
	moved := evs{domain.OwnershipTransferred{From: owner, To: "max", FromRole: "ADMIN", ToRole: "MEMBER"}}
	check(t, []scenario{
		{"the operator, on the command line", company(), now, operatorTransfer(domain.Operator, "max"), moved, nil},
		{"only to a member", company(), now, operatorTransfer(domain.Operator, "eve"), nil, &domain.Error{Code: "invalid_field"}},
		{"never through the pages: the OWNER can't ask for it", company(), now, requestTransfer(as(owner), "ada"), nil, domain.ErrOperatorOnly},
		{"nor do it", company(), now, operatorTransfer(as(owner), "ada"), nil, domain.ErrOperatorOnly},
		{"nor an ADMIN", company(), now, operatorTransfer(as("ada"), "ada"), nil, domain.ErrOperatorOnly},
		{"nor a part of Roster itself", company(), now, operatorTransfer(domain.Roster, "ada"), nil, domain.ErrNotFound},
	})
}

func TestDistribuAPIKeysBelongToTheCompany(t *testing.T) {
	// They keep working when their creator is removed, or demoted.
	state := play(t, company(), createKey(as("ada"), "k", "ADMIN"), remove(as(owner), "ada"))
	if d := state.Can(asKey("k"), "orders:create", "", now); !d.Allowed || d.Reason != domain.ReasonAPIKeyRole {
		t.Errorf("after its creator's removal the key gets %+v", d)
	}
	if _, err := invite(asKey("k"), "eve", "MEMBER")(state, now); err != nil {
		t.Errorf("the key can't invite: %v", err)
	}
	state = play(t, company(), createKey(as("ada"), "k", "ADMIN"), changeRole(as(owner), "ada", "MEMBER"))
	if !allowed(state, asKey("k"), "webhooks:update") {
		t.Error("the key lost its role with its creator")
	}
	if allowed(state, asKey("k"), "billing:read") || allowed(state, asKey("k"), "team:change_role") {
		t.Error("the key has more than its role")
	}
	state = play(t, company(), createKey(as("ada"), "k", "MEMBER"), revokeKey(as("alf"), "k"))
	if d := state.Can(asKey("k"), "orders:create", "", now); d.Allowed || d.Reason != domain.ReasonKeyEnded {
		t.Errorf("after its revocation the key gets %+v", d)
	}
	check(t, []scenario{
		{"a MEMBER makes none", company(), now, createKey(as("max"), "k", "MEMBER"), nil, domain.ErrNotPermitted},
		{"a MEMBER revokes none", given(company(), key("k", "MEMBER")), now, revokeKey(as("max"), "k"), nil, domain.ErrNotPermitted},
	})
}

func TestDistribuSigningUpCreatesACompanyWhoseOwnerYouAre(t *testing.T) {
	events, err := domain.NewTeam(team, builtins).Create("sam", address("sam"), "", builtins["distribu"])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(evs{domain.TeamCreated{
		Name: "My company", Catalog: "distribu", CatalogVersion: 2, Plan: "starter",
		Owner: "sam", OwnerRole: "OWNER", OwnerAddress: address("sam"),
	}}, events); diff != "" {
		t.Error(diff)
	}
	if builtins["distribu"].Rules.HomeTeamForInvited {
		t.Error("signing up by an invitation joins that company only")
	}
}
