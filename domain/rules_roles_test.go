package domain_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// custom is a role of a team's own.
func custom(key string, level int, permissions ...domain.Permission) domain.RoleDefinition {
	return domain.RoleDefinition{Key: role(key), Name: "The " + key, Level: level, Permissions: permissions}
}

func defined(key string, level int, permissions ...domain.Permission) evs {
	return evs{domain.RoleDefined{Role: custom(key, level, permissions...)}}
}

// badField is the refusal of a malformed field.
func badField(pointer string) *domain.Error {
	return &domain.Error{Kind: domain.Invalid, Code: "invalid_field", Field: pointer}
}

func defineRole(by domain.Actor, want domain.RoleDefinition) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.DefineRole(by, want, now) }
}

func editRole(by domain.Actor, key string, want domain.RoleDefinition) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.EditRole(by, role(key), want, now)
	}
}

func deleteRole(by domain.Actor, key, replacement string) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.DeleteRole(by, role(key), role(replacement), now)
	}
}

// A team's own roles, in the catalog of tenants: levels 5 to 1.
func TestRolesOfATeamsOwn(t *testing.T) {
	base := given(created("tenants"), joined("ada", "admin"), joined("mia", "manager"), joined("vera", "viewer"))
	night := custom("night", 2, "trades:read", "trades:create") // in the catalog's order
	edited := custom("night", 3, "trades:read", "reports:read")
	withNight := given(base, evs{domain.RoleDefined{Role: night}})
	check(t, []scenario{
		{"the owner defines one", base, now, defineRole(as(owner), night), evs{domain.RoleDefined{Role: night}}, nil},
		{"a key is made of the name", base, now, defineRole(as(owner), domain.RoleDefinition{Name: "3 Night-shift B", Level: 1}), evs{
			domain.RoleDefined{Role: domain.RoleDefinition{Key: "night_shift_b", Name: "3 Night-shift B", Level: 1, Permissions: []domain.Permission{}}},
		}, nil},
		{"only the owner defines roles", base, now, defineRole(as("ada"), night), nil, domain.ErrNotPermitted},
		{"nor does the operator", base, now, defineRole(domain.Operator, night), nil, domain.ErrNotFound},
		{"not where the catalog has none", given(created("dzbuild"), plan("enterprise")), now, defineRole(as(owner), custom("night", 2)), nil, domain.ErrNotPermitted},
		{"not at the owner's level", base, now, defineRole(as(owner), custom("night", 5)), nil, domain.ErrRankTooLow},
		{"not above it", base, now, defineRole(as(owner), custom("night", 6)), nil, domain.ErrRankTooLow},
		{"not of a permission that there isn't", base, now, defineRole(as(owner), custom("night", 2, "trades:steal")), nil, badField("#/permissions")},
		{"not without a level", base, now, defineRole(as(owner), custom("night", 0)), nil, badField("#/level")},
		{"not without a name", base, now, defineRole(as(owner), domain.RoleDefinition{Key: "night", Level: 1}), nil, badField("#/name")},
		{"not under a malformed key", base, now, defineRole(as(owner), custom("Night!", 1)), nil, badField("#/key")},
		{"not under a key of the catalog", base, now, defineRole(as(owner), custom("viewer", 1)), nil, domain.ErrNameTaken},
		{"not twice", withNight, now, defineRole(as(owner), night), nil, domain.ErrNameTaken},
		{"not under the name of another", withNight, now, defineRole(as(owner), domain.RoleDefinition{Key: "other", Name: "the NIGHT", Level: 1}), nil, domain.ErrNameTaken},

		{"editing", withNight, now, editRole(as(owner), "night", edited), evs{domain.RoleEdited{
			Before: custom("night", 2, "trades:read", "trades:create"), After: custom("night", 3, "trades:read", "reports:read"),
		}}, nil},
		{"editing into the same does nothing", withNight, now, editRole(as(owner), "night", night), nil, nil},
		{"only the owner edits", withNight, now, editRole(as("ada"), "night", edited), nil, domain.ErrNotPermitted},
		{"a role of the catalog is fixed", withNight, now, editRole(as(owner), "viewer", edited), nil, domain.ErrRoleIsFixed},
		{"what there isn't can't be edited", withNight, now, editRole(as(owner), "day", edited), nil, domain.ErrNotFound},

		{"deleting one that nobody has", withNight, now, deleteRole(as(owner), "night", ""), evs{domain.RoleDeleted{Role: custom("night", 2, "trades:read", "trades:create")}}, nil},
		{"a role of the catalog can't be deleted", withNight, now, deleteRole(as(owner), "viewer", "member"), nil, domain.ErrRoleIsFixed},
	})
}

// Nobody grants what they don't have, though a level would allow it.
func TestRolesOfATeamsOwnAreGivenOnlyByThoseWhoHaveAsMuch(t *testing.T) {
	base := given(created("default"), plan("business"), joined("ada", "admin"), joined("vera", "viewer"),
		defined("treasurer", 30, "team:read", "billing:read"), defined("helper", 30, "team:read", "members:read"))
	check(t, []scenario{
		{"an admin has no billing, and can't give it", base, now, changeRole(as("ada"), "vera", "treasurer"), nil, domain.ErrRankTooLow},
		{"nor by inviting", base, now, invite(as("ada"), "eve", "treasurer"), nil, domain.ErrRankTooLow},
		{"nor as a key", base, now, createKey(as("ada"), "k", "treasurer"), nil, domain.ErrRankTooLow},
		{"the owner can", base, now, changeRole(as(owner), "vera", "treasurer"), changed("vera", "viewer", "treasurer"), nil},
		{"an admin gives what an admin has", base, now, changeRole(as("ada"), "vera", "helper"), changed("vera", "viewer", "helper"), nil},
	})
	state := fold(base)
	for key, want := range map[role]bool{"treasurer": false, "helper": true} {
		if role, _ := state.Role(key); state.Assignable(as("ada"), role, now) != want {
			t.Errorf("%s is offered to an admin: %v", key, !want)
		}
	}
}

// Editing a role acts at once on everyone who has it.
func TestEditedRoleActsAtOnce(t *testing.T) {
	base := given(created("default"), plan("business"), site("north"), defined("picker", 30, "team:read", "orders:read"),
		joined("ann", "picker"), joined("bob", "viewer", grants("north", "picker")...), key("k", "picker"))
	can := func(state *domain.Team, by domain.Actor, permission domain.Permission, site ...domain.SiteID) bool {
		t.Helper()
		return allowed(state, by, permission, site...)
	}
	before := fold(base)
	if !can(before, as("bob"), "orders:read", "north") || can(before, as("bob"), "orders:update", "north") || can(before, asKey("k"), "orders:update", "north") {
		t.Error("the role means something else before")
	}
	after := play(t, base, editRole(as(owner), "picker", custom("picker", 30, "team:read", "orders:update", "members:invite")))
	if can(after, as("bob"), "orders:read", "north") || !can(after, as("bob"), "orders:update", "north") ||
		!can(after, asKey("k"), "orders:update", "north") || !can(after, as("ann"), "members:invite") {
		t.Error("the edit didn't act on everyone")
	}
}

// A role in use is deleted only with a replacement, which everybody who had it
// gets in the same commit.
func TestDeletedRoleIsReplaced(t *testing.T) {
	base := given(created("default"), plan("business"), site("north", "south"), defined("picker", 30, "orders:read"), defined("packer", 30, "orders:read"),
		joined("ann", "picker"), joined("bob", "viewer", grants("north", "picker", "south", "viewer")...), joined("cay", "viewer"), key("k", "picker"),
		invited("eve", "viewer", grants("south", "picker")...), invited("fay", "picker"))
	picker := custom("picker", 30, "orders:read")
	check(t, []scenario{
		{"a replacement is needed", base, now, deleteRole(as(owner), "picker", ""), nil, domain.ErrRoleInUse},
		{"another one", base, now, deleteRole(as(owner), "picker", "picker"), nil, badField("#/replacement")},
		{"that there is", base, now, deleteRole(as(owner), "picker", "nothing"), nil, badField("#/replacement")},
		{"and that can be given", base, now, deleteRole(as(owner), "picker", "owner"), nil, domain.ErrRoleNotAssignable},
		{"everybody gets it", base, now, deleteRole(as(owner), "picker", "packer"), evs{
			domain.RoleChanged{User: "ann", From: "picker", To: "packer"},
			domain.SitesChanged{User: "bob", Before: grants("north", "picker", "south", "viewer"), After: grants("north", "packer", "south", "viewer")},
			domain.RoleDeleted{
				Role: picker, Replacement: "packer",
				Invitations: []domain.InvitationID{inv("eve"), inv("fay")}, APIKeys: []domain.APIKeyID{"k"},
			},
		}, nil},
	})
	_, err := fold(base).DeleteRole(as(owner), "picker", "", now)
	var refusal *domain.Error
	if !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	want := map[string]any{
		"holders": 5, "members": []user{"ann", "bob"}, "invitations": []domain.InvitationID{inv("eve"), inv("fay")}, "api_keys": []domain.APIKeyID{"k"},
	}
	if diff := cmp.Diff(want, refusal.Facts); diff != "" {
		t.Error(diff)
	}

	after := play(t, base, deleteRole(as(owner), "picker", "packer"))
	if _, ok := after.Role("picker"); ok {
		t.Error("the role is still there")
	}
	eve, _ := after.Invitation(inv("eve"))
	fay, _ := after.Invitation(inv("fay"))
	k, _ := after.APIKey("k")
	bob, _ := after.Member("bob", now)
	if eve.Sites[0].Role != "packer" || fay.Role != "packer" || k.Role != "packer" || bob.Sites[0].Role != "packer" || bob.Sites[1].Role != "viewer" {
		t.Errorf("eve %v, fay %s, k %s, bob %v", eve.Sites, fay.Role, k.Role, bob.Sites)
	}
	if again := play(t, base, deleteRole(as(owner), "picker", "packer"), defineRole(as(owner), custom("picker", 20))); allowed(again, as("ann"), "orders:read", "north") {
		t.Error("a new role of an old key is still somebody's")
	}
}

func TestNumberOfOwnRolesIsBounded(t *testing.T) {
	base := created("tenants")
	for i := range domain.MaxCustomRoles {
		base = given(base, defined("r"+string(rune('a'+i%26))+string(rune('a'+i/26)), 1))
	}
	check(t, []scenario{{"at the limit", base, now, defineRole(as(owner), custom("more", 1)), nil, domain.ErrTeamLimit}})
}
