package domain_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

func TestRule8ChangesTakeEffectAtOnce(t *testing.T) {
	// The very next question, and the very next command, go by the new state.
	base := given(created("default"), plan("business"), site("north"), joined("ann", "admin"),
		joined("bob", "member", grants("north", "member")...), key("k", "admin"))
	type question struct {
		by         domain.Actor
		permission domain.Permission
		site       domain.SiteID
	}
	for _, c := range []struct {
		name          string
		asked         question
		before, after bool
		change        command
	}{
		{"a role change", question{as("ann"), "members:invite", ""}, true, false, changeRole(as(owner), "ann", "member")},
		{"an override that grants", question{as("bob"), "settings:read", ""}, false, true, setOverrides(as("ann"), "bob", "settings:read", "")},
		{"an override that revokes", question{as("bob"), "members:read", ""}, true, false, setOverrides(as("ann"), "bob", "", "members:read")},
		{"a role on a site", question{as("bob"), "orders:delete", "north"}, false, true, setSites(as("ann"), "bob", grants("north", "manager")...)},
		{"the end of a role on a site", question{as("bob"), "orders:read", "north"}, true, false, setSites(as("ann"), "bob")},
		{"the end of a site", question{as("ann"), "orders:read", "north"}, true, false, removeSite(as(owner), "north")},
		{"a removal", question{as("ann"), "team:read", ""}, true, false, remove(as(owner), "ann")},
		{"leaving", question{as("bob"), "team:read", ""}, true, false, leave("bob")},
		{"a revoked key", question{asKey("k"), "team:read", ""}, true, false, revokeKey(as("ann"), "k")},
		{"a transfer, for the new owner", question{as("bob"), "billing:read", ""}, false, true, operatorTransfer(domain.Operator, "bob")},
		{"a transfer, for the old one", question{as(owner), "billing:read", ""}, true, false, operatorTransfer(domain.Operator, "bob")},
		{"the end of the team", question{as(owner), "team:read", ""}, true, false, deleteTeam(as(owner))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := allowed(fold(base), c.asked.by, c.asked.permission, c.asked.site); got != c.before {
				t.Errorf("before: %t", got)
			}
			state := play(t, base, c.change)
			if got := allowed(state, c.asked.by, c.asked.permission, c.asked.site); got != c.after {
				t.Errorf("after: %t", got)
			}
		})
	}

	demoted := given(base, changed("ann", "admin", "viewer"))
	check(t, []scenario{
		{"a demoted admin's next command is refused", demoted, now, invite(as("ann"), "eve", "viewer"), nil, domain.ErrNotPermitted},
		{"a removed admin's next command is refused", given(base, removed("ann", "admin")), now, invite(as("ann"), "eve", "viewer"), nil, domain.ErrNotFound},
		{"a revoked key's next command is refused", given(base, evs{domain.APIKeyRevoked{Key: "k"}}), now, invite(asKey("k"), "eve", "viewer"), nil, domain.ErrNotFound},
	})
}

func TestRule9EveryChangeTellsBeforeAndAfter(t *testing.T) {
	base := given(created("default"), plan("team"), site("north", "south"),
		joined("bob", "member", grants("north", "member")...), overridden("bob", "settings:read", "team:read"), key("k", "admin"))
	perms := func(p ...domain.Permission) []domain.Permission { return append([]domain.Permission{}, p...) }
	check(t, []scenario{
		{"a role", base, now, changeRole(as(owner), "bob", "viewer"), evs{domain.RoleChanged{User: "bob", From: "member", To: "viewer"}}, nil},
		{"overrides", base, now, setOverrides(as(owner), "bob", "billing:read", ""), evs{domain.PermissionsChanged{
			User: "bob", Before: domain.Overrides{Granted: perms("settings:read"), Revoked: perms("team:read")},
			After: domain.Overrides{Granted: perms("billing:read"), Revoked: perms()},
		}}, nil},
		{"sites, in the order of the team's", base, now, setSites(as(owner), "bob", grants("south", "viewer", "north", "viewer")...), evs{domain.SitesChanged{
			User: "bob", Before: grants("north", "member"), After: grants("north", "viewer", "south", "viewer"),
		}}, nil},
		{"a plan", given(base, plan("team")), now, setPlan(domain.Operator, "free"), evs{domain.PlanChanged{From: "team", To: "free"}}, nil},
		{"a name", base, now, rename(as(owner), " Other "), evs{domain.TeamRenamed{From: "Team", To: "Other"}}, nil},
		{"a site's name", base, now, renameNorth(as(owner), "North"), evs{domain.SiteRenamed{Site: "north", From: "north", To: "North"}}, nil},
		{"a removed site", base, now, removeSite(as(owner), "north"), evs{domain.SiteRemoved{Site: "north", Name: "north"}}, nil},
		{"a removed member", base, now, remove(as(owner), "bob"), evs{domain.MemberRemoved{User: "bob", Role: "member"}}, nil},
		{"one who left", base, now, leave("bob"), evs{domain.MemberLeft{User: "bob", Role: "member"}}, nil},
		{"a revoked key", base, now, revokeKey(as(owner), "k"), evs{domain.APIKeyRevoked{Key: "k", Name: "k"}}, nil},
		{"the ownership", base, now, operatorTransfer(domain.Operator, "bob"), evs{domain.OwnershipTransferred{
			From: owner, To: "bob", FromRole: "admin", ToRole: "member",
		}}, nil},
		{"an invitation", base, now, invite(as(owner), "eve", "VIEWER", grants("south", "MEMBER")...), evs{domain.MemberInvited{
			Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Role: "viewer", Sites: grants("south", "member"), ExpiresAt: now.Add(7 * day),
		}}, nil},
	})
}

func TestOwnershipIsTheOwnersToGiveWhateverTheOverrides(t *testing.T) {
	base := given(created("default"), joined("ada", "admin"), joined("bob", "member"), overridden("ada", "ownership:transfer", ""))
	check(t, []scenario{
		{"an override doesn't make it somebody else's", base, now, requestTransfer(as("ada"), "bob"), nil, domain.ErrNotPermitted},
		{"nor for oneself", base, now, requestTransfer(as("ada"), "ada"), nil, domain.ErrNotPermitted},
		{"though with it one may stop a transfer", given(base, requested("bob")), now, cancelTransfer(as("ada")), evs{
			domain.OwnershipTransferCancelled{Transfer: "trf-1"},
		}, nil},
		{"another owner's override goes with the ownership", given(base, evs{
			domain.OwnershipTransferred{From: owner, To: "ada", FromRole: "admin", ToRole: "admin"},
			domain.OwnershipTransferred{From: "ada", To: owner, FromRole: "admin", ToRole: "admin"},
		}), now, requestTransfer(as("ada"), "bob"), nil, domain.ErrNotPermitted},
	})
}

func TestWhatChangesNothingIsNoEvent(t *testing.T) {
	base := given(created("default"), plan("team"), site("north"),
		joined("bob", "member", grants("north", "member")...), overridden("bob", "settings:read", ""), requested("bob"))
	check(t, []scenario{
		{"the role that they have", base, now, changeRole(as(owner), "bob", "MEMBER"), nil, nil},
		{"the overrides that they have", base, now, setOverrides(as(owner), "bob", "settings:read", ""), nil, nil},
		{"the sites that they have", base, now, setSites(as(owner), "bob", grants("north", "member")...), nil, nil},
		{"the plan that there is", base, now, setPlan(domain.Operator, "team"), nil, nil},
		{"the name that there is", base, now, rename(as(owner), "Team"), nil, nil},
		{"the site's name that there is", base, now, renameNorth(as(owner), "north"), nil, nil},
		{"the owner that there is", base, now, operatorTransfer(domain.Operator, owner), nil, nil},
	})
}

func TestRule9ARemovedMembersHistoryStays(t *testing.T) {
	// The events of before are not touched by folding what came after.
	events := given(created("default"), plan("team"), site("north", "south"),
		joined("bob", "member", grants("north", "member", "south", "viewer")...),
		evs{domain.SitesChanged{User: "bob", Before: grants("north", "member"), After: grants("south", "viewer")}},
		overridden("bob", "settings:read", ""), evs{domain.SiteRemoved{Site: "south"}, domain.SiteRenamed{Site: "north", To: "N"}},
		removed("bob", "member"), deleted())
	before, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	fold(events)
	after, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Error(diff)
	}
}
