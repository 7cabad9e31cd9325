package domain_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// asker is a team in which every reason can be met. Events are numbered from
// 1, so that a decision's event tells which one gave it.
func asker() *domain.Team {
	ends := now.Add(time.Minute)
	return fold(given(created("default"), plan("team"), site("north", "south"), // 1, 2, 3 and 4
		joined("max", "manager"), joined("ada", "admin"), // 6, 8
		evs{
			domain.SitesChanged{User: "max", After: grants("north", "member")}, // 9
			domain.PermissionsChanged{User: "max", After: domain.Overrides{ // 10
				Granted: []domain.Permission{"billing:read", "orders:delete", "team:read", "audit:read"},
				Revoked: []domain.Permission{"settings:read", "audit:read", "orders:create"},
			}},
			domain.APIKeyCreated{Key: "k", Role: "manager"},                                         // 11
			domain.APIKeyCreated{Key: "short", Role: "manager", ExpiresAt: &ends},                   // 12
			domain.APIKeyCreated{Key: "revoked", Role: "manager"},                                   // 13
			domain.APIKeyRevoked{Key: "revoked"},                                                    // 14
			domain.APIKeyCreated{Key: "odd", Role: "nonsense"},                                      // 15
			domain.RoleChanged{User: "ada", From: "admin", To: "nonsense"},                          // 16
			domain.SitesChanged{User: "max", After: grants("north", "member", "south", "nonsense")}, // 17
		}, joined("vera", "viewer"), // 19
	))
}

func TestCanTellsWhy(t *testing.T) {
	state := asker()
	by := func(event int) domain.Given {
		return domain.Given{Event: domain.EventID(fmt.Sprintf("evt-%d", event)), Position: uint64(event), At: t0, By: as(owner)}
	}
	for _, c := range []struct {
		name       string
		by         domain.Actor
		permission domain.Permission
		site       domain.SiteID
		want       domain.Decision
	}{
		{"the role has it", as("max"), "members:read", "", domain.Decision{Allowed: true, Reason: domain.ReasonRole, Role: "manager", Given: by(6)}},
		{"the role has it, also when a site is named", as("max"), "members:read", "north", domain.Decision{Allowed: true, Reason: domain.ReasonRole, Role: "manager", Given: by(6)}},
		{"the role doesn't have it", as("max"), "team:delete", "", domain.Decision{Reason: domain.ReasonNotInRole, Role: "manager", Given: by(6)}},
		{"the role reaches every site", as(owner), "orders:read", "south", domain.Decision{Allowed: true, Reason: domain.ReasonRole, Role: "owner", Given: by(1)}},
		{"the role reaches every site, also when none is named", as(owner), "orders:read", "", domain.Decision{Allowed: true, Reason: domain.ReasonRole, Role: "owner", Given: by(1)}},
		{"the role on the site has it", as("max"), "orders:read", "north", domain.Decision{Allowed: true, Reason: domain.ReasonSiteGrant, Role: "member", Site: "north", Given: by(9)}},
		{"the role on the site doesn't have it, though the team role would", as("max"), "documents:delete", "north", domain.Decision{Reason: domain.ReasonNotInRole, Role: "member", Site: "north", Given: by(9)}},
		{"there is no role on the site", as("vera"), "orders:read", "south", domain.Decision{Reason: domain.ReasonNoSiteGrant, Site: "south"}},
		{"no site was named", as("max"), "orders:read", "", domain.Decision{Reason: domain.ReasonSiteMissing}},
		{"there is no such site", as("max"), "orders:read", "west", domain.Decision{Reason: domain.ReasonUnknownSite, Site: "west"}},
		{"granted beats the role", as("max"), "billing:read", "", domain.Decision{Allowed: true, Reason: domain.ReasonOverride, Role: "manager", Given: by(10)}},
		{"granted beats the role on the site", as("max"), "orders:delete", "north", domain.Decision{Allowed: true, Reason: domain.ReasonOverride, Role: "member", Site: "north", Given: by(10)}},
		{"granted is said though the role has it too", as("max"), "team:read", "", domain.Decision{Allowed: true, Reason: domain.ReasonOverride, Role: "manager", Given: by(10)}},
		{"revoked beats the role", as("max"), "settings:read", "", domain.Decision{Reason: domain.ReasonRevoked, Role: "manager", Given: by(10)}},
		{"revoked beats the role on the site", as("max"), "orders:create", "north", domain.Decision{Reason: domain.ReasonRevoked, Role: "member", Site: "north", Given: by(10)}},
		{"revoked beats granted", as("max"), "audit:read", "", domain.Decision{Reason: domain.ReasonRevoked, Role: "manager", Given: by(10)}},
		{"granted doesn't reach a site without a role on it", as("vera"), "orders:delete", "north", domain.Decision{Reason: domain.ReasonNoSiteGrant, Site: "north"}},
		{"a role that the catalog hasn't, in the team", as("ada"), "members:read", "", domain.Decision{Reason: domain.ReasonNotInRole, Role: "nonsense", Given: by(16)}},
		{"a role that the catalog hasn't, on a site", as("max"), "orders:read", "south", domain.Decision{Reason: domain.ReasonNotInRole, Role: "nonsense", Site: "south", Given: by(17)}},
		{"the role of the key has it", asKey("k"), "settings:read", "", domain.Decision{Allowed: true, Reason: domain.ReasonAPIKeyRole, Role: "manager", Given: by(11)}},
		{"the role of the key covers every site", asKey("k"), "orders:delete", "south", domain.Decision{Allowed: true, Reason: domain.ReasonAPIKeyRole, Role: "manager", Given: by(11)}},
		{"the role of the key doesn't have it", asKey("k"), "billing:read", "", domain.Decision{Reason: domain.ReasonNotInRole, Role: "manager", Given: by(11)}},
		{"a role that the catalog hasn't, of a key", asKey("odd"), "members:read", "", domain.Decision{Reason: domain.ReasonNotInRole, Role: "nonsense", Given: by(15)}},
		{"the key was revoked", asKey("revoked"), "settings:read", "", domain.Decision{Reason: domain.ReasonKeyEnded, Role: "manager", Given: by(13)}},
		{"the key still works", asKey("short"), "settings:read", "", domain.Decision{Allowed: true, Reason: domain.ReasonAPIKeyRole, Role: "manager", Given: by(12), Until: now.Add(time.Minute)}},
		{"the role of a key that will end doesn't have it", asKey("short"), "billing:read", "", domain.Decision{Reason: domain.ReasonNotInRole, Role: "manager", Given: by(12)}},
		{"there is no such permission", as(owner), "team:explode", "", domain.Decision{Reason: domain.ReasonUnknown}},
		{"an ended key learns nothing", asKey("revoked"), "team:explode", "west", domain.Decision{Reason: domain.ReasonKeyEnded, Role: "manager", Given: by(13)}},
		{"not a member", as("mallory"), "members:read", "", domain.Decision{Reason: domain.ReasonNotMember}},
		{"not a key of the team", asKey("other"), "members:read", "", domain.Decision{Reason: domain.ReasonNotMember}},
		{"the operator isn't a member", domain.Operator, "members:read", "", domain.Decision{Reason: domain.ReasonNotMember}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, state.Can(c.by, c.permission, c.site, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if d := state.Can(asKey("short"), "settings:read", "", now.Add(time.Minute)); d.Allowed || d.Reason != domain.ReasonKeyEnded {
		t.Errorf("an expired key gets %+v", d)
	}
	if _, err := invite(asKey("short"), "eve", "viewer")(state, now.Add(time.Minute)); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("an expired key is answered %v", err)
	}
}

func TestCanKeepsTheEventThatGaveAGrant(t *testing.T) {
	// What a change leaves as it was still names the event that gave it.
	state := fold(given(created("default"), site("north", "south"), joined("max", "viewer"), evs{ // 1, 2, 3, 5
		domain.SitesChanged{User: "max", After: grants("north", "member", "south", "member")}, // 6
		domain.SitesChanged{User: "max", After: grants("north", "member", "south", "viewer")}, // 7
	}))
	for where, want := range map[domain.SiteID]domain.EventID{"north": "evt-6", "south": "evt-7"} {
		if got := state.Can(as("max"), "orders:read", where, now).Given.Event; got != want {
			t.Errorf("%s was given by %s, want %s", where, got, want)
		}
	}
	joinedWith := fold(given(created("default"), site("north"), joined("max", "viewer", grants("north", "member")...)))
	if got := joinedWith.Can(as("max"), "orders:read", "north", now).Given.Event; got != "evt-4" {
		t.Errorf("it was given by %s", got)
	}
	moved := fold(given(created("default"), joined("max", "viewer"), evs{domain.OwnershipTransferred{From: owner, To: "max", FromRole: "admin"}}))
	for _, u := range []user{owner, "max"} {
		if got := moved.Can(as(u), "team:read", "", now).Given.Event; got != "evt-4" {
			t.Errorf("the role of %s was given by %s", u, got)
		}
	}
}

func TestCanWithoutSitesTheTeamRoleCovers(t *testing.T) {
	state := fold(given(created("default"), joined("max", "manager")))
	if d := state.Can(as("max"), "orders:delete", "", now); !d.Allowed || d.Reason != domain.ReasonRole {
		t.Errorf("%+v", d)
	}
	state = fold(given(created("default"), joined("max", "manager"), site("north"), evs{domain.SiteRemoved{Site: "north"}}))
	if d := state.Can(as("max"), "orders:delete", "", now); !d.Allowed {
		t.Errorf("after the last site was removed: %+v", d)
	}
}

func TestCanAllocatesNothing(t *testing.T) {
	state := asker()
	for _, by := range []domain.Actor{as(owner), as("max"), as("vera"), asKey("k"), asKey("revoked"), as("mallory"), domain.Operator} {
		for _, permission := range []domain.Permission{"members:read", "orders:read", "billing:read", "settings:read", "no:such"} {
			for _, where := range []domain.SiteID{"", "north", "south", "west"} {
				if n := testing.AllocsPerRun(20, func() { state.Can(by, permission, where, now) }); n != 0 {
					t.Errorf("%v, %s, %q: %v allocations", by, permission, where, n)
				}
			}
		}
		if n := testing.AllocsPerRun(20, func() { state.May(by, domain.ActionInvite, now) }); n != 0 {
			t.Errorf("%v: May makes %v allocations", by, n)
		}
	}
}
