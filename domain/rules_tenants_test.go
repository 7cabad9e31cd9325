package domain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// The page "Team & Tenant Management", line by line.

// tenant has olga (owner), ada and alf (admin), max (manager), mia (member)
// and vera (viewer).
func tenant() evs {
	return given(created("tenants"), joined("ada", "admin"), joined("alf", "admin"),
		joined("max", "manager"), joined("mia", "member"), joined("vera", "viewer"))
}

func TestTenantsLevels(t *testing.T) {
	for key, level := range map[role]int{"owner": 5, "admin": 4, "manager": 3, "member": 2, "viewer": 1} {
		r, ok := builtins["tenants"].Role(key)
		if !ok || r.Level != level || !strings.HasSuffix(r.Description, ".") || strings.Count(r.Description, ". ") > 0 {
			t.Errorf("%s: %+v, want level %d and one sentence", key, r, level)
		}
	}
}

func TestTenantsPermissionsSummary(t *testing.T) {
	state := fold(tenant())
	for _, row := range []struct{ capability, permission, have string }{
		{"Create offers", "trade_offers:create", "OAMm-"},
		{"Place trades", "trades:create", "OAMm-"},
		{"View own trades", "trades:read_own", "OAMmV"},
		{"View all tenant trades", "trades:read", "OAM-V"},
		{"Manage team members", "team:update", "OA---"},
		{"Change roles (what a role means)", "roles:define", "O----"},
		{"Chat in trades", "chat:write", "OAMm-"},
		{"Manage settings", "settings:update", "OA---"},
		{"Manage integrations", "integrations:update", "OA---"},
		{"Delete tenant", "tenant:delete", "O----"},
	} {
		got := ""
		for i, u := range []user{owner, "ada", "max", "mia", "vera"} {
			if allowed(state, as(u), domain.Permission(row.permission)) {
				got += "OAMmV"[i : i+1]
			} else {
				got += "-"
			}
		}
		if got != row.have {
			t.Errorf("%s: %s, want %s", row.capability, got, row.have)
		}
	}
}

func TestTenantsChangingRoles(t *testing.T) {
	// Of members below their own level, to roles below their own level.
	low, no := domain.ErrRankTooLow, domain.ErrNotPermitted
	check(t, []scenario{
		{"owner: an admin to manager", tenant(), now, changeRole(as(owner), "ada", "manager"), changed("ada", "admin", "manager"), nil},
		{"owner: a viewer to admin", tenant(), now, changeRole(as(owner), "vera", "admin"), changed("vera", "viewer", "admin"), nil},
		{"admin: a viewer to manager", tenant(), now, changeRole(as("ada"), "vera", "manager"), changed("vera", "viewer", "manager"), nil},
		{"admin: a manager to viewer", tenant(), now, changeRole(as("ada"), "max", "viewer"), changed("max", "manager", "viewer"), nil},
		{"admin: nobody to their own level", tenant(), now, changeRole(as("ada"), "max", "admin"), nil, low},
		{"admin: nobody of their own level", tenant(), now, changeRole(as("ada"), "alf", "viewer"), nil, low},
		{"admin: not themselves", tenant(), now, changeRole(as("ada"), "ada", "viewer"), nil, low},
		{"manager: nobody", tenant(), now, changeRole(as("max"), "vera", "member"), nil, no},
		{"member: nobody", tenant(), now, changeRole(as("mia"), "vera", "viewer"), nil, no},
		{"viewer: nobody", tenant(), now, changeRole(as("vera"), "vera", "admin"), nil, no},
	})
}

func TestTenantsInvitingAndRemoving(t *testing.T) {
	low, no := domain.ErrRankTooLow, domain.ErrNotPermitted
	check(t, []scenario{
		{"an admin may invite an admin", tenant(), now, invite(as("ada"), "eve", "admin"), pending("admin", now), nil},
		{"nobody invites above their own level", given(tenant(), overridden("mia", "team:create", "")), now, invite(as("mia"), "eve", "manager"), nil, low},
		{"but up to it, with an override", given(tenant(), overridden("mia", "team:create", "")), now, invite(as("mia"), "eve", "member"), pending("member", now), nil},
		{"a manager cannot manage team members", tenant(), now, invite(as("max"), "eve", "viewer"), nil, no},
		{"the name is optional", tenant(), now, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
			return t.Invite(as(owner), domain.NewInvitation{ID: "inv-eve", Address: address("eve"), Email: email("eve"), Name: "sealed-name", Role: "member"}, now)
		}, evs{domain.MemberInvited{
			Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Name: "sealed-name", Role: "member", Sites: []grant{}, ExpiresAt: now.Add(7 * day),
		}}, nil},
		{"owners and admins remove members", tenant(), now, remove(as("ada"), "max"), removed("max", "manager"), nil},
		{"except the owner", tenant(), now, remove(as("ada"), owner), nil, domain.ErrOwnerIsPermanent},
		{"an admin removes an admin", tenant(), now, remove(as("ada"), "alf"), removed("alf", "admin"), nil},
		{"a manager removes nobody", tenant(), now, remove(as("max"), "vera"), nil, no},
		{"they can be invited again", given(tenant(), removed("mia", "member"), invited("mia", "viewer")), now, accept("mia"), evs{
			domain.MemberJoined{User: "mia", Invitation: "inv-mia", Role: "viewer"},
		}, nil},
		{"members may leave", tenant(), now, leave("vera"), evs{domain.MemberLeft{User: "vera", Role: "viewer"}}, nil},
		{"the owner never", tenant(), now, leave(owner), nil, domain.ErrOwnerRequired},
	})
}

func TestTenantsOverrides(t *testing.T) {
	perms := func(p ...domain.Permission) []domain.Permission { return append([]domain.Permission{}, p...) }
	low := domain.ErrRankTooLow
	all := func(by domain.Actor, u user, o domain.Overrides) command {
		return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.SetOverrides(by, u, o, now) }
	}
	check(t, []scenario{
		{"giving a Member the ability to view reports", tenant(), now, setOverrides(as("ada"), "mia", "reports:read", ""), evs{
			domain.PermissionsChanged{User: "mia", Before: noOverrides(), After: domain.Overrides{Granted: perms("reports:read"), Revoked: perms()}},
		}, nil},
		{"granted and revoked are saved as one change", tenant(), now, all(as("ada"), "max", domain.Overrides{
			Granted: perms("integrations:read", "wallet:update"), Revoked: perms("trades:delete", "settings:read"),
		}), evs{domain.PermissionsChanged{User: "max", Before: noOverrides(), After: domain.Overrides{
			Granted: perms("integrations:read", "wallet:update"), Revoked: perms("trades:delete", "settings:read"), // in the catalog's order
		}}}, nil},
		{"of a permission that there isn't", tenant(), now, setOverrides(as(owner), "mia", "reports:write", ""), nil, &domain.Error{Code: "invalid_field"}},
		{"or that isn't there to revoke", tenant(), now, setOverrides(as(owner), "mia", "", "reports:write"), nil, &domain.Error{Code: "invalid_field"}},
		{"an admin grants nothing that admins lack", tenant(), now, setOverrides(as("ada"), "mia", "tenant:delete", ""), nil, low},
		{"the owner does", tenant(), now, setOverrides(as(owner), "mia", "tenant:delete", ""), evs{
			domain.PermissionsChanged{User: "mia", Before: noOverrides(), After: domain.Overrides{Granted: perms("tenant:delete"), Revoked: perms()}},
		}, nil},
		{"of members of their own level", tenant(), now, setOverrides(as("ada"), "alf", "", "trades:read"), nil, low},
		{"of their own", tenant(), now, setOverrides(as("ada"), "ada", "tenant:delete", ""), nil, low},
		{"of the owner", tenant(), now, setOverrides(as("ada"), owner, "", "trades:read"), nil, domain.ErrOwnerIsPermanent},
		{"by a manager", tenant(), now, setOverrides(as("max"), "mia", "reports:read", ""), nil, domain.ErrNotPermitted},
	})
	// Preventing a Manager from what the role allows, and each cell inherited,
	// granted or revoked.
	state := fold(given(tenant(), evs{
		domain.PermissionsChanged{User: "max", After: domain.Overrides{Revoked: perms("trades:delete")}},
		domain.PermissionsChanged{User: "mia", After: domain.Overrides{Granted: perms("reports:read")}},
	}))
	for permission, want := range map[domain.Permission][2]bool{ // max, mia
		"trades:delete": {false, false}, "reports:read": {true, true}, "trades:create": {true, true}, "settings:update": {false, false},
	} {
		if got := [2]bool{allowed(state, as("max"), permission), allowed(state, as("mia"), permission)}; got != want {
			t.Errorf("%s: %v, want %v", permission, got, want)
		}
	}
	// Removing somebody ends the overrides too: they don't come back.
	again := play(t, given(tenant(), overridden("mia", "reports:read", "")), remove(as(owner), "mia"), invite(as(owner), "mia", "member"), accept("mia"))
	if allowed(again, as("mia"), "reports:read") {
		t.Error("an override survived the removal")
	}
}

func TestTenantsHaveNoPlans(t *testing.T) {
	events := created("tenants")
	for i := range 600 {
		events = given(events, joined(user(rune('A'+i)), "viewer"))
	}
	state := fold(events)
	if got := state.Seats(now); got != (domain.Seats{Limit: domain.NoLimit, Members: 601}) {
		t.Errorf("seats: %+v", got)
	}
	check(t, []scenario{
		{"any number of members", events, now, invite(as(owner), "eve", "viewer"), pending("viewer", now), nil},
		{"there is no plan to set", events, now, setPlan(domain.Operator, "pro"), nil, &domain.Error{Code: "invalid_field"}},
	})
	if !builtins["tenants"].Rules.HomeTeamForInvited {
		t.Error("a default tenant for every new user, also one who signs up by an invitation")
	}
}

func TestTenantsAreIndependent(t *testing.T) {
	// Removing someone does not touch their other memberships.
	personal := fold(given(created("tenants"), joined("mia", "admin")))
	business := play(t, tenant(), remove(as(owner), "mia"))
	if allowed(business, as("mia"), "trades:read_own") || !allowed(personal, as("mia"), "trades:read_own") {
		t.Error("tenants are not independent")
	}
}

func TestMemberActionsAreWhatIsAllowed(t *testing.T) {
	for _, row := range []struct {
		catalog string
		base    evs
		by, of  user
		want    []string
	}{
		{"tenants", tenant(), owner, "ada", []string{"change_role", "edit_permissions", "edit_expiry", "remove"}},
		{"tenants", tenant(), "ada", "max", []string{"change_role", "edit_permissions", "edit_expiry", "remove"}},
		{"tenants", tenant(), "ada", "alf", []string{"edit_expiry", "remove"}},
		{"tenants", tenant(), "ada", "ada", []string{}},
		{"tenants", tenant(), "ada", owner, []string{}},
		{"tenants", tenant(), "max", "vera", []string{}},
		{"distribu", company(), owner, "ada", []string{"change_role", "edit_expiry", "remove"}},
		{"distribu", company(), "ada", "max", []string{"edit_expiry", "remove"}},
		{"distribu", company(), "ada", "alf", []string{}},
		{"dzbuild", account(), owner, "ada", []string{"change_role", "edit_sites", "edit_expiry", "remove"}},
		{"dzbuild", account(), "ada", "alf", []string{"change_role", "edit_sites", "edit_expiry", "remove"}},
		{"dzbuild", account(), "rita", "max", []string{}},
	} {
		state := fold(row.base)
		member, _ := state.Member(row.of, now)
		if diff := cmp.Diff(row.want, state.MemberActions(as(row.by), now)(member)); diff != "" {
			t.Errorf("%s: %s to %s: %s", row.catalog, row.by, row.of, diff)
		}
	}
}
