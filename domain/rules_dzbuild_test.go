package domain_test

import (
	"errors"
	"strings"
	"testing"

	"roster/domain"
)

// The page "Team & permissions" of DZBuild, line by line.

// account has olga (owner), ada and alf (admin), max (manager), otto (operator)
// and rita (read_only), on the largest plan.
func account() evs {
	return given(created("dzbuild"), plan("enterprise"), joined("ada", "admin"), joined("alf", "admin"),
		joined("max", "manager"), joined("otto", "operator"), joined("rita", "read_only"))
}

// capable holds a table against what the people of an account may do; each
// line is permissions and who has them, by the first letters of their roles:
// Owner, Admin, Manager, oPerator, Read-only.
func capable(t *testing.T, state *domain.Team, where domain.SiteID, table string) {
	t.Helper()
	for line := range strings.Lines(table) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		for _, permission := range words[:len(words)-1] {
			got := ""
			for i, u := range []user{owner, "ada", "max", "otto", "rita"} {
				if allowed(state, as(u), domain.Permission(permission), where) {
					got += "OAMPR"[i : i+1]
				} else {
					got += "-"
				}
			}
			if want := words[len(words)-1]; got != want {
				t.Errorf("%s on %q: %s, want %s", permission, where, got, want)
			}
		}
	}
}

const ofTheAccount = `
	billing:read billing:update ownership:transfer             O----
	team:invite team:change_role team:remove                   OA---
	account:read                                               OAMPR
`

func TestDZBuildCapabilities(t *testing.T) {
	// An account without sites is one store: the team role covers it.
	state := fold(account())
	capable(t, state, "", ofTheAccount+`
	products:read customers:read                               OAM-R
	products:create products:update products:delete            OAM--
	customers:update orders:update orders:create               OAM--
	orders:read                                                OAMPR
	orders:confirm orders:ship orders:deliver                  OAMP-
	settings:update shipping_rates:update payment_methods:update OA---
	settings:read shipping_rates:read payment_methods:read     OA--R
	dashboards:read reports:read                               OA--R
	`)
}

func TestDZBuildAccessToAStoreComesFromTheGrantAlone(t *testing.T) {
	state := fold(given(account(), site("north", "south"), evs{
		domain.SitesChanged{User: "max", After: grants("north", "manager")},                       // no access to south
		domain.SitesChanged{User: "otto", After: grants("north", "operator", "south", "manager")}, // different roles on different stores
		domain.SitesChanged{User: "rita", After: grants("south", "read_only")},
	}))
	capable(t, state, "", ofTheAccount+`
	orders:read products:read reports:read                     OA---
	`)
	capable(t, state, "north", ofTheAccount+`
	products:read                                              OAM--
	products:update orders:create                              OAM--
	orders:confirm orders:read                                 OAMP-
	shipping_rates:update settings:update reports:read         OA---
	`)
	capable(t, state, "south", ofTheAccount+`
	products:read orders:read                                  OA-PR
	products:update orders:create                              OA-P-
	shipping_rates:update settings:update                      OA---
	reports:read shipping_rates:read                           OA--R
	`)
	capable(t, state, "west", "orders:read account:read -----")

	d := state.Can(as("max"), "orders:read", "south", now)
	if d.Allowed || d.Reason != domain.ReasonNoSiteGrant {
		t.Errorf("Brand-specific manager: Manager on Brand A, no access to Brand B: %+v", d)
	}
}

func TestDZBuildStores(t *testing.T) {
	stores := given(account(), site("north", "south"))
	unknown := &domain.Error{Code: "invalid_field"}
	check(t, []scenario{
		{"an invitation names the stores and the role on each", stores, now, invite(as(owner), "eve", "operator", grants("south", "read_only", "north", "manager")...), evs{
			domain.MemberInvited{
				Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Role: "operator",
				Sites: grants("north", "manager", "south", "read_only"), ExpiresAt: now.Add(7 * day),
			},
		}, nil},
		{"and they come with joining", given(stores, invited("eve", "operator", grants("north", "manager")...)), now, accept("eve"), evs{
			domain.MemberJoined{User: "eve", Invitation: "inv-eve", Role: "operator", Sites: grants("north", "manager")},
		}, nil},
		{"a store that there isn't", stores, now, invite(as(owner), "eve", "operator", grants("west", "operator")...), nil, unknown},
		{"a store twice", stores, now, setSites(as(owner), "max", grants("north", "operator", "north", "manager")...), nil, unknown},
		{"a role that there isn't", stores, now, setSites(as(owner), "max", grants("north", "boss")...), nil, unknown},
		{"a manager grants none", stores, now, setSites(as("max"), "otto", grants("north", "operator")...), nil, domain.ErrNotPermitted},
		{"an admin does", stores, now, setSites(as("ada"), "otto", grants("north", "operator")...), evs{
			domain.SitesChanged{User: "otto", Before: []grant{}, After: grants("north", "operator")},
		}, nil},
		{"a store is added", account(), now, addSite(as("ada"), "north"), site("north"), nil},
		{"not by a manager", account(), now, addSite(as("max"), "north"), nil, domain.ErrNotPermitted},
		{"not under a name that is taken", stores, now, addSite(as(owner), "north"), nil, domain.ErrNameTaken},
		{"not renamed to one either", stores, now, renameNorth(as(owner), "south"), nil, domain.ErrNameTaken},
	})
	one := given(stores, evs{domain.SitesChanged{User: "max", After: grants("north", "manager", "south", "manager")}})
	state := play(t, one, removeSite(as(owner), "south"))
	if m, _ := state.Member("max", now); len(m.Sites) != 1 || m.Sites[0].SiteGrant != (grant{Site: "north", Role: "manager"}) {
		t.Errorf("removing a store removes its grants: %+v", m.Sites)
	}
	late := play(t, given(stores, invited("eve", "operator", grants("south", "manager", "north", "manager")...)),
		removeSite(as(owner), "south"), accept("eve"))
	if m, _ := late.Member("eve", now); len(m.Sites) != 1 || m.Sites[0].Site != "north" {
		t.Errorf("also those that an invitation carried: %+v", m.Sites)
	}
	if _, ok := state.Site("south"); ok || len(state.Sites()) != 1 {
		t.Errorf("there are %d stores", len(state.Sites()))
	}
}

func TestDZBuildAdminsHaveEverythingButBillingAndOwnership(t *testing.T) {
	check(t, []scenario{
		{"an admin removes an admin", account(), now, remove(as("ada"), "alf"), removed("alf", "admin"), nil},
		{"an admin makes a manager an admin", account(), now, changeRole(as("ada"), "max", "admin"), changed("max", "manager", "admin"), nil},
		{"an admin makes an admin a manager", account(), now, changeRole(as("ada"), "alf", "manager"), changed("alf", "admin", "manager"), nil},
		{"an admin invites an admin", account(), now, invite(as("ada"), "eve", "admin"), pending("admin", now), nil},
		{"but doesn't touch the owner", account(), now, remove(as("ada"), owner), nil, domain.ErrOwnerIsPermanent},
		{"nor move the ownership", account(), now, requestTransfer(as("ada"), "ada"), nil, domain.ErrNotPermitted},
		{"nor end the account", account(), now, deleteTeam(as("ada")), nil, domain.ErrNotPermitted},
		{"a manager runs no team", account(), now, invite(as("max"), "eve", "read_only"), nil, domain.ErrNotPermitted},
		{"there are no overrides", account(), now, setOverrides(as(owner), "max", "reports:read", ""), nil, domain.ErrNotPermitted},
	})
}

func TestDZBuildOwnershipTransfer(t *testing.T) {
	asked := given(account(), requested("max"))
	request := evs{domain.OwnershipTransferRequested{Transfer: "trf-1", To: "max", ExpiresAt: now.Add(3 * day)}}
	cancelled := given(asked, evs{domain.OwnershipTransferCancelled{Transfer: "trf-1"}})
	deadline := t0.Add(3 * day)
	invalid := &domain.Error{Code: "invalid_field"}
	check(t, []scenario{
		{"the owner picks the new owner", account(), now, requestTransfer(as(owner), "max"), request, nil},
		{"it happens when it is confirmed; the old owner becomes Admin", asked, now, confirmTransfer("max"), evs{
			domain.OwnershipTransferred{Transfer: "trf-1", From: owner, To: "max", FromRole: "admin", ToRole: "manager"},
		}, nil},
		{"nobody else confirms it", asked, now, confirmTransfer("ada"), nil, domain.ErrWrongAccount},
		{"not the owner either", asked, now, confirmTransfer(owner), nil, domain.ErrWrongAccount},
		{"it can be cancelled", asked, now, cancelTransfer(as(owner)), evs{domain.OwnershipTransferCancelled{Transfer: "trf-1"}}, nil},
		{"not by an admin", asked, now, cancelTransfer(as("ada")), nil, domain.ErrNotPermitted},
		{"then it can't be confirmed", cancelled, now, confirmTransfer("max"), nil, domain.ErrTransferEnded},
		{"nor cancelled again", cancelled, now, cancelTransfer(as(owner)), nil, domain.ErrTransferEnded},
		{"but asked for again", cancelled, now, requestTransfer(as(owner), "max"), request, nil},
		{"it expires", asked, deadline, confirmTransfer("max"), nil, domain.ErrTransferExpired},
		{"and can then be asked for again", asked, deadline, requestTransfer(as(owner), "max"), evs{
			domain.OwnershipTransferRequested{Transfer: "trf-1", To: "max", ExpiresAt: deadline.Add(3 * day)},
		}, nil},
		{"and can't be cancelled any more", asked, deadline, cancelTransfer(as(owner)), nil, domain.ErrTransferEnded},
		{"one at a time", asked, now, requestTransfer(as(owner), "ada"), nil, domain.ErrTransferPending},
		{"only to a member", account(), now, requestTransfer(as(owner), "eve"), nil, invalid},
		{"not to the owner", account(), now, requestTransfer(as(owner), owner), nil, invalid},
		{"none was asked for", account(), now, confirmTransfer("max"), nil, domain.ErrNotFound},
		{"none was asked for, so none can be cancelled", account(), now, cancelTransfer(as(owner)), nil, domain.ErrNotFound},
		{"it ends with the chosen one's removal", given(asked, removed("max", "manager"), joined("max", "manager")), now, confirmTransfer("max"), nil, domain.ErrTransferEnded},
		{"it ends when the operator moves the ownership", given(asked, evs{
			domain.OwnershipTransferred{From: owner, To: "ada", FromRole: "admin", ToRole: "admin"},
		}), now, confirmTransfer("max"), nil, domain.ErrTransferEnded},
		{"it happens once", given(asked, evs{
			domain.OwnershipTransferred{Transfer: "trf-1", From: owner, To: "max", FromRole: "admin", ToRole: "manager"},
		}), now, confirmTransfer("max"), nil, domain.ErrTransferEnded},
		{"it ends with the account", given(asked, deleted()), now, confirmTransfer("max"), nil, domain.ErrNotFound},
	})
	state := play(t, given(asked, site("north"), evs{domain.SitesChanged{User: "max", After: grants("north", "read_only")}}), confirmTransfer("max"))
	capable(t, state, "north", `
	billing:update     --M--
	orders:update      OAM--
	team:remove        OAM--
	`)
	if m, _ := state.Member("max", now); m.Role != "owner" || len(m.Sites) != 0 {
		t.Errorf("the new owner is %+v", m)
	}
	if transfer := state.Transfer(); transfer == nil || !transfer.Ended {
		t.Errorf("the transfer is %+v", transfer)
	}
}

func TestDZBuildPlans(t *testing.T) {
	// Not counting the owner; pending invitations counted.
	people := []user{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
	for _, want := range []struct {
		plan  string
		limit int
	}{{"free", 0}, {"pro", 1}, {"unlimited", 3}, {"enterprise", 10}} {
		full := created("dzbuild")
		if want.plan != "free" { // what a new account gets
			full = given(full, plan(want.plan))
		}
		for i, u := range people[:want.limit] {
			if i%2 == 0 {
				full = given(full, invited(u, "operator"))
			} else {
				full = given(full, joined(u, "operator"))
			}
		}
		_, err := invite(as(owner), "eve", "operator")(fold(full), now)
		var refusal *domain.Error
		if !errors.As(err, &refusal) || refusal.Code != "seat_limit_reached" {
			t.Fatalf("%s: %v", want.plan, err)
		}
		if refusal.Facts["plan"] != want.plan || refusal.Facts["limit"] != want.limit || refusal.Facts["upgrade_url"] != "/dashboard/subscribe" {
			t.Errorf("the answer names the plan and the way to upgrade: %v", refusal.Facts)
		}
		if want.limit == 0 {
			continue
		}
		if _, err := invite(as(owner), "eve", "operator")(fold(full[:len(full)-1-(want.limit+1)%2]), now); err != nil {
			t.Errorf("%s has %d seats: %v", want.plan, want.limit, err)
		}
	}
	// A transfer doesn't change how many count.
	state := play(t, given(created("dzbuild"), plan("unlimited"), joined("a", "admin"), joined("b", "admin"), requested("a")), confirmTransfer("a"))
	if got := state.Seats(now); got != (domain.Seats{Limit: 3, Members: 2}) {
		t.Errorf("after a transfer: %+v", got)
	}
	for name, allowed := range map[string]bool{"free": false, "pro": false, "unlimited": true, "enterprise": true} {
		if plan, ok := builtins["dzbuild"].Plan(name); !ok || plan.TwoFactor != allowed {
			t.Errorf("two-factor on %s: %+v", name, plan)
		}
	}
}

func TestDZBuildOneSignInAcrossManyAccounts(t *testing.T) {
	// Membership in one account says nothing about another.
	here, elsewhere := fold(account()), fold(created("dzbuild"))
	if !allowed(here, as("ada"), "orders:read") || allowed(elsewhere, as("ada"), "orders:read") {
		t.Error("accounts are not independent")
	}
}
