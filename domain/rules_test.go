package domain_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// The ten rules that hold for every catalog, in their words.

// lower is a role of each catalog that isn't the owner's and may run the team.
var lower = map[string]role{"default": "admin", "distribu": "ADMIN", "dzbuild": "admin", "tenants": "admin"}

// bottom is the lowest role of each catalog.
var bottom = map[string]role{"default": "viewer", "distribu": "MEMBER", "dzbuild": "read_only", "tenants": "viewer"}

// roomy is the plan with room for everybody in these tests.
var roomy = map[string]string{"default": "business", "distribu": "scale", "dzbuild": "enterprise", "tenants": ""}

func eachCatalog(t *testing.T, f func(t *testing.T, catalog string, base evs)) {
	t.Helper()
	for _, catalog := range catalogNames {
		t.Run(catalog, func(t *testing.T) { f(t, catalog, given(created(catalog), plan(roomy[catalog]))) })
	}
}

// owners are those of these users who have the owner's role.
func owners(t *domain.Team, users ...user) (have []user) {
	for _, u := range users {
		if m, ok := t.Member(u, now); ok && m.Role == t.Catalog().OwnerRole().Key {
			have = append(have, u)
		}
	}
	return have
}

func TestRule1ExactlyOneOwner(t *testing.T) {
	eachCatalog(t, func(t *testing.T, catalog string, base evs) {
		events, err := domain.NewTeam(team, builtins).Create(owner, address(owner), "Team", builtins[catalog])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(created(catalog), events); diff != "" {
			t.Errorf("from its creation: %s", diff)
		}
		base = given(base, joined("ann", lower[catalog]), joined("bob", bottom[catalog]))
		one := func(when string, state *domain.Team, want user) {
			t.Helper()
			if got := owners(state, owner, "ann", "bob"); state.Owner() != want || !cmp.Equal(got, []user{want}) {
				t.Errorf("%s: the owner is %s and %v have the role; want %s", when, state.Owner(), got, want)
			}
		}
		one("before", fold(base), owner)
		moved := play(t, base, operatorTransfer(domain.Operator, "bob"))
		one("after a transfer", moved, "bob")
		if m, _ := moved.Member(owner, now); m.Role != lower[catalog] {
			t.Errorf("the old owner is %s, want %s", m.Role, lower[catalog])
		}
		one("after two", play(t, base, operatorTransfer(domain.Operator, "bob"), operatorTransfer(domain.Operator, "ann")), "ann")
		one("and back", play(t, base, operatorTransfer(domain.Operator, "bob"), operatorTransfer(domain.Operator, owner)), owner)
		one("to its deletion", play(t, base, deleteTeam(as(owner))), owner)
	})
}

func TestRule2NobodyBecomesOwnerByInvitationOrRoleChange(t *testing.T) {
	eachCatalog(t, func(t *testing.T, catalog string, base evs) {
		base = given(base, joined("ann", lower[catalog]), key("boss", lower[catalog]))
		if builtins[catalog].Rules.Sites {
			base = given(base, site("north"))
		}
		for _, name := range []role{ownerKey(catalog), "owner", "OWNER", "Owner"} { // case doesn't matter
			check(t, []scenario{
				{"by the owner's invitation as " + string(name), base, now, invite(as(owner), "eve", name), nil, domain.ErrRoleNotAssignable},
				{"by another's invitation", base, now, invite(as("ann"), "eve", name), nil, domain.ErrRoleNotAssignable},
				{"by a key's invitation", base, now, invite(asKey("boss"), "eve", name), nil, domain.ErrRoleNotAssignable},
				{"by the owner's role change", base, now, changeRole(as(owner), "ann", name), nil, domain.ErrRoleNotAssignable},
				{"as a key", base, now, createKey(as(owner), "new", name), nil, domain.ErrRoleNotAssignable},
			})
			if builtins[catalog].Rules.Sites {
				check(t, []scenario{
					{"on a site, by invitation", base, now, invite(as(owner), "eve", lower[catalog], grants("north", string(name))...), nil, domain.ErrRoleNotAssignable},
					{"on a site, by change", base, now, setSites(as(owner), "ann", grants("north", string(name))...), nil, domain.ErrRoleNotAssignable},
				})
			}
		}
		if state := fold(base); state.Assignable(as(owner), state.Catalog().OwnerRole(), now) {
			t.Error("the owner's role is offered")
		}
	})
}

func TestRule3TheOwnerStaysAndNobodyRemovesThemselves(t *testing.T) {
	eachCatalog(t, func(t *testing.T, catalog string, base evs) {
		base = given(base, joined("ann", lower[catalog]), key("boss", lower[catalog]))
		leaves, refusal := evs(nil), domain.ErrLeavingNotAllowed
		if catalog == "tenants" || catalog == "default" {
			leaves, refusal = evs{domain.MemberLeft{User: "ann", Role: lower[catalog]}}, nil
		}
		check(t, []scenario{
			{"the owner can't be removed", base, now, remove(as("ann"), owner), nil, domain.ErrOwnerIsPermanent},
			{"the owner can't be removed by a key", base, now, remove(asKey("boss"), owner), nil, domain.ErrOwnerIsPermanent},
			{"the owner can't leave", base, now, leave(owner), nil, domain.ErrOwnerRequired},
			{"the owner can't have the role changed", base, now, changeRole(as(owner), owner, bottom[catalog]), nil, domain.ErrOwnerIsPermanent},
			{"the owner doesn't remove themselves", base, now, remove(as(owner), owner), nil, domain.ErrCannotRemoveSelf},
			{"nobody removes themselves", base, now, remove(as("ann"), "ann"), nil, domain.ErrCannotRemoveSelf},
			{"leaving is a command of its own, allowed where the catalog says so", base, now, leave("ann"), leaves, refusal},
		})
	})
}

func TestRule4NobodyGrantsWhatTheyDontHave(t *testing.T) {
	// A manager who was given the running of the team as overrides, and works on
	// one project of two.
	base := given(created("default"), plan("business"), site("north", "south"),
		joined("max", "manager", grants("north", "manager")...), joined("vera", "viewer"), joined("ada", "admin"),
		evs{domain.PermissionsChanged{User: "max", After: domain.Overrides{Granted: []domain.Permission{
			"members:invite", "members:change_role", "members:set_permissions", "members:grant_projects", "api_keys:manage",
		}}}})
	everywhere := given(base, evs{domain.SitesChanged{User: "max", After: grants("north", "manager", "south", "manager")}})
	invitedHigh := given(base, invited("eve", "viewer", grants("north", "admin")...))
	sold := given(base, evs{domain.SitesChanged{User: "vera", After: grants("south", "manager")}})
	narrow := given(base, overridden("vera", "", "billing:read"))
	newKey := evs{domain.APIKeyCreated{Key: "k", Name: "k", Role: "manager"}}
	check(t, []scenario{
		{"a role above their own, by invitation", base, now, invite(as("max"), "eve", "admin"), nil, domain.ErrRankTooLow},
		{"their own role, by invitation", base, now, invite(as("max"), "eve", "manager"), evs{domain.MemberInvited{
			Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Role: "manager", Sites: []grant{}, ExpiresAt: now.Add(7 * day),
		}}, nil},
		{"a role above their own, by role change", base, now, changeRole(as("max"), "vera", "admin"), nil, domain.ErrRankTooLow},
		{"a role above their own, by sending an invitation again", given(base, invited("eve", "admin")), now, resend(as("max"), "eve"), nil, domain.ErrRankTooLow},
		{"a role above their own on a site, by sending an invitation again", invitedHigh, now, resend(as("max"), "eve"), nil, domain.ErrRankTooLow},
		{"what an invitation can't give any more is no obstacle", given(invitedHigh, evs{domain.SiteRemoved{Site: "north"}}), now, resend(as("max"), "eve"), evs{
			domain.InvitationResent{Invitation: "inv-eve", Link: 2, ExpiresAt: now.Add(7 * day)},
		}, nil},
		{"a role above their own on a site", base, now, setSites(as("max"), "vera", grants("north", "admin")...), nil, domain.ErrRankTooLow},
		{"a role on a site where they have none", base, now, setSites(as("max"), "vera", grants("south", "viewer")...), nil, domain.ErrRankTooLow},
		{"a role on a site where they have none, by invitation", base, now, invite(as("max"), "eve", "viewer", grants("south", "viewer")...), nil, domain.ErrRankTooLow},
		{"their own role on a site", base, now, setSites(as("max"), "vera", grants("north", "manager")...), evs{
			domain.SitesChanged{User: "vera", Before: []grant{}, After: grants("north", "manager")},
		}, nil},
		{"what another gave on a site stays", sold, now, setSites(as("max"), "vera", grants("north", "member", "south", "manager")...), evs{
			domain.SitesChanged{User: "vera", Before: grants("south", "manager"), After: grants("north", "member", "south", "manager")},
		}, nil},
		{"what another gave on a site is changed by those who may give it", sold, now, setSites(as("max"), "vera", grants("south", "viewer")...), nil, domain.ErrRankTooLow},

		{"an override for a permission that they lack", base, now, setOverrides(as("max"), "vera", "billing:read", ""), nil, domain.ErrRankTooLow},
		{"an override for a permission that they have", base, now, setOverrides(as("max"), "vera", "settings:read", ""), evs{
			domain.PermissionsChanged{User: "vera", Before: noOverrides(), After: domain.Overrides{Granted: []domain.Permission{"settings:read"}, Revoked: []domain.Permission{}}},
		}, nil},
		{"an override for what they have on one site only", base, now, setOverrides(as("max"), "vera", "orders:delete", ""), nil, domain.ErrRankTooLow},
		{"an override for what they have on every site", everywhere, now, setOverrides(as("max"), "vera", "orders:delete", ""), evs{
			domain.PermissionsChanged{User: "vera", Before: noOverrides(), After: domain.Overrides{Granted: []domain.Permission{"orders:delete"}, Revoked: []domain.Permission{}}},
		}, nil},
		{"an override that was revoked from them", given(everywhere, overridden("max", "members:set_permissions", "orders:delete")), now,
			setOverrides(as("max"), "vera", "orders:delete", ""), nil, domain.ErrRankTooLow},
		{"the end of a revocation of what they lack", narrow, now, setOverrides(as("max"), "vera", "", ""), nil, domain.ErrRankTooLow},
		{"the same by somebody who has it", narrow, now, setOverrides(as(owner), "vera", "", ""), evs{
			domain.PermissionsChanged{User: "vera", Before: domain.Overrides{Granted: []domain.Permission{}, Revoked: []domain.Permission{"billing:read"}}, After: noOverrides()},
		}, nil},
		{"an override that they lack but another gave stays", given(base, overridden("vera", "billing:read", "")), now,
			setOverrides(as("max"), "vera", "billing:read", "reports:read"), evs{domain.PermissionsChanged{
				User: "vera", Before: domain.Overrides{Granted: []domain.Permission{"billing:read"}, Revoked: []domain.Permission{}},
				After: domain.Overrides{Granted: []domain.Permission{"billing:read"}, Revoked: []domain.Permission{"reports:read"}},
			}}, nil},

		{"a key that could do more than themselves", base, now, createKey(as("max"), "k", "admin"), nil, domain.ErrRankTooLow},
		{"a key that would reach sites where they have no role", base, now, createKey(as("max"), "k", "manager"), nil, domain.ErrRankTooLow},
		{"a key that reaches what they reach", everywhere, now, createKey(as("max"), "k", "manager"), newKey, nil},
		{"a key with a permission that was revoked from them", given(everywhere, overridden("max", "api_keys:manage", "orders:delete")), now,
			createKey(as("max"), "k", "manager"), nil, domain.ErrRankTooLow},
	})
}

func noOverrides() domain.Overrides {
	return domain.Overrides{Granted: []domain.Permission{}, Revoked: []domain.Permission{}}
}

func TestRule5MembersPlusPendingNeverExceedThePlan(t *testing.T) {
	// Starter has ten seats: the owner, seven members and an invitation take nine.
	nine := given(created("distribu"), invited("pia", "MEMBER"))
	for _, u := range []user{"a", "b", "c", "d", "e", "f", "g"} {
		nine = given(nine, joined(u, "MEMBER"))
	}
	ten := given(nine, invited("zoe", "MEMBER"))
	expiry := t0.Add(7 * day)
	last := func(at time.Time) evs {
		return evs{domain.MemberInvited{
			Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Role: "MEMBER", Sites: []grant{}, ExpiresAt: at.Add(7 * day),
		}}
	}
	full := domain.ErrSeatLimitReached
	check(t, []scenario{
		{"the last seat", nine, now, invite(as(owner), "eve", "MEMBER"), last(now), nil},
		{"when two invitations race for the last seat, the other is refused", ten, now, invite(as(owner), "eve", "MEMBER"), nil, full},
		{"a declined invitation frees its seat at once", given(ten, evs{domain.InvitationDeclined{Invitation: "inv-zoe"}}), now, invite(as(owner), "eve", "MEMBER"), last(now), nil},
		{"a cancelled invitation frees its seat at once", given(ten, evs{domain.InvitationCancelled{Invitation: "inv-zoe"}}), now, invite(as(owner), "eve", "MEMBER"), last(now), nil},
		{"a removed member frees the seat at once", given(ten, removed("a", "MEMBER")), now, invite(as(owner), "eve", "MEMBER"), last(now), nil},
		{"an invitation holds its seat up to its deadline", ten, expiry.Add(-time.Microsecond), invite(as(owner), "eve", "MEMBER"), nil, full},
		{"an expired invitation frees its seat at once, recorded or not", ten, expiry, invite(as(owner), "eve", "MEMBER"), last(expiry), nil},
		{"an expired invitation that is sent again takes a seat again", given(nine, joined("h", "MEMBER"), joined("i", "MEMBER")), expiry, resend(as(owner), "pia"), nil, full},
		{"a pending invitation that is sent again takes no other seat", ten, now, resend(as(owner), "zoe"), evs{
			domain.InvitationResent{Invitation: "inv-zoe", Link: 2, ExpiresAt: now.Add(7 * day)},
		}, nil},
		{"the last seat is accepted", ten, now, accept("zoe"), evs{domain.MemberJoined{User: "zoe", Invitation: "inv-zoe", Role: "MEMBER"}}, nil},
		{"after a smaller plan, members stay and inviting is blocked", given(ten, plan("growth"), joined("h", "MEMBER"), plan("starter")), now,
			invite(as(owner), "eve", "MEMBER"), nil, full},
		{"and accepting would exceed it", given(ten, plan("growth"), joined("h", "MEMBER"), plan("starter")), now, accept("zoe"), nil, full},
	})
	seats := fold(ten).Seats(now)
	if diff := cmp.Diff(domain.Seats{Limit: 10, Members: 8, Pending: 2}, seats); diff != "" || seats.Used() != 10 {
		t.Errorf("%d used; %s", seats.Used(), diff)
	}
}

func TestRule6OnePendingInvitationPerAddress(t *testing.T) {
	eachCatalog(t, func(t *testing.T, catalog string, base evs) {
		low, week := bottom[catalog], t0.Add(7*day)
		fresh := func(at time.Time) evs {
			return evs{domain.MemberInvited{
				Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Role: low, Sites: []grant{}, ExpiresAt: at.Add(7 * day),
			}}
		}
		again := invite(as(owner), "eve", low)
		second := evs{domain.MemberInvited{Invitation: "inv-2", Address: address("eve"), Role: low, ExpiresAt: t0.Add(14 * day)}}
		check(t, []scenario{
			{"one pending invitation per address", given(base, invited("eve", low)), now, again, nil, domain.ErrAlreadyInvited},
			{"a member can't be invited again", given(base, joined("eve", low)), now, again, nil, domain.ErrAlreadyMember},
			{"the owner can't be invited", base, now, invite(as(owner), owner, low), nil, domain.ErrAlreadyMember},
			{"a removed member can", given(base, joined("eve", low), removed("eve", low)), now, again, fresh(now), nil},
			{"one who left can", given(base, joined("eve", low), evs{domain.MemberLeft{User: "eve", Role: low}}), now, again, fresh(now), nil},
			{"after an invitation has expired", given(base, invited("eve", low)), week, again, fresh(week), nil},
			{"after it was declined", given(base, invited("eve", low), evs{domain.InvitationDeclined{Invitation: "inv-eve"}}), now, again, fresh(now), nil},
			{"after it was cancelled", given(base, invited("eve", low), evs{domain.InvitationCancelled{Invitation: "inv-eve"}}), now, again, fresh(now), nil},
			{"an expired one can't be sent again beside a pending one", given(base, invited("eve", low), second), week, resend(as(owner), "eve"), nil, domain.ErrAlreadyInvited},
			{"an expired one can't be sent again to a member", given(base, invited("eve", low), second, evs{
				domain.MemberJoined{User: "eve", Invitation: "inv-2", Role: low},
			}), week, resend(as(owner), "eve"), nil, domain.ErrAlreadyMember},
			{"a recorded expiry of an old one doesn't free the address", given(base, invited("eve", low), second, evs{
				domain.InvitationExpired{Invitation: "inv-eve"},
			}), week, again, nil, domain.ErrAlreadyInvited},
		})
	})
}

func TestRule7AnInvitationIsAcceptedAtMostOnce(t *testing.T) {
	eachCatalog(t, func(t *testing.T, catalog string, base evs) {
		low, week := bottom[catalog], t0.Add(7*day)
		pending := given(base, invited("eve", low))
		ended := func(e domain.Event) evs { return given(pending, evs{e}) }
		yes := evs{domain.MemberJoined{User: "eve", Invitation: "inv-eve", Role: low}}
		id := inv("eve")
		check(t, []scenario{
			{"it joins with the role that it carried", pending, now, accept("eve"), yes, nil},
			{"up to its deadline", pending, week.Add(-time.Microsecond), accept("eve"), yes, nil},
			{"only before it expires", pending, week, accept("eve"), nil, domain.ErrInvitationExpired},
			{"only by the address that it was sent to", pending, now, acceptAs("eve", "mallory"), nil, domain.ErrWrongAccount},
			{"only while the team exists", given(pending, deleted()), now, accept("eve"), nil, domain.ErrNotFound},
			{"at most once", given(base, joined("eve", low)), now, accept("eve"), nil, domain.ErrInvitationUsed},
			{"not once more after a removal", given(base, joined("eve", low), removed("eve", low)), now, accept("eve"), nil, domain.ErrInvitationUsed},
			{"not after it was declined", ended(domain.InvitationDeclined{Invitation: id}), now, accept("eve"), nil, domain.ErrInvitationDeclined},
			{"not after it was cancelled", ended(domain.InvitationCancelled{Invitation: id}), now, accept("eve"), nil, domain.ErrInvitationCancelled},
			{"not after its expiry was recorded", ended(domain.InvitationExpired{Invitation: id}), now, accept("eve"), nil, domain.ErrInvitationExpired},
			{"not one that there never was", base, now, accept("eve"), nil, domain.ErrNotFound},
			{"not by a member", given(pending, joined("ann", low)), now, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
				return t.Accept(id, "ann", address("eve"), now)
			}, nil, domain.ErrAlreadyMember},
			{"a used one can't be declined", given(base, joined("eve", low)), now, decline("eve"), nil, domain.ErrInvitationUsed},
			{"a declined one can't be cancelled", ended(domain.InvitationDeclined{Invitation: id}), now, cancel(as(owner), "eve"), nil, domain.ErrInvitationDeclined},
			{"an expired one can't be cancelled", pending, week, cancel(as(owner), "eve"), nil, domain.ErrInvitationExpired},
			{"a cancelled one can't be sent again", ended(domain.InvitationCancelled{Invitation: id}), now, resend(as(owner), "eve"), nil, domain.ErrInvitationCancelled},
			{"an expired one can", pending, week, resend(as(owner), "eve"), evs{
				domain.InvitationResent{Invitation: id, Link: 2, ExpiresAt: week.Add(7 * day)},
			}, nil},
			{"an expired one that was sent again is accepted", given(pending, evs{
				domain.InvitationExpired{Invitation: id}, domain.InvitationResent{Invitation: id, Link: 2, ExpiresAt: week.Add(7 * day)},
			}), week, accept("eve"), yes, nil},
			{"declined", pending, now, decline("eve"), evs{domain.InvitationDeclined{Invitation: id}}, nil},
			{"cancelled", pending, now, cancel(as(owner), "eve"), evs{domain.InvitationCancelled{Invitation: id}}, nil},
		})
		state := fold(ended(domain.InvitationResent{Invitation: id, Link: 2, ExpiresAt: week}))
		if invitation, _ := state.Invitation(id); invitation.Link != 2 {
			t.Errorf("the link that works is %d, want 2: the old one is dead", invitation.Link)
		}
		for _, at := range []time.Time{now, week} {
			state := fold(pending)
			first := state.Expire(id, at)
			if at.Equal(now) && first != nil || at.Equal(week) && !cmp.Equal(first, evs{domain.InvitationExpired{Invitation: id}}) {
				t.Errorf("at %v the expiry is recorded as %v", at, first)
			}
			for _, event := range first {
				state.Apply(event, meta(9, domain.Roster, at))
			}
			if again := state.Expire(id, at); again != nil {
				t.Errorf("the expiry is recorded twice: %v", again)
			}
		}
	})
}

func TestRule10AnotherTeamIsAsOneThatDoesNotExist(t *testing.T) {
	eachCatalog(t, func(t *testing.T, catalog string, base evs) {
		base = given(base, joined("ann", lower[catalog]), invited("eve", bottom[catalog]), key("k", lower[catalog]), requested("ann"))
		if builtins[catalog].Rules.Sites {
			base = given(base, site("north"))
		}
		states := map[string]*domain.Team{
			"live": fold(base), "deleted": fold(given(base, deleted())), "never made": domain.NewTeam("team-2", builtins),
		}
		strangers := map[string]domain.Actor{
			"user": as("mallory"), "key": asKey("other"), "nobody": {}, "invitee": domain.Invitee, "roster": domain.Roster,
			"a user named as a key": as("k"), "a key named as a user": asKey("ann"), "a removed one": as("gone"),
		}
		for name, by := range strangers {
			for what, do := range everyCommand(by, catalog) {
				for which, state := range states {
					if events, err := do(state, now); !errors.Is(err, domain.ErrNotFound) || events != nil {
						t.Errorf("%s by a stranger (%s) to a %s team: %v, %v", what, name, which, events, err)
					}
				}
			}
			for _, permission := range []domain.Permission{"team:read", "orders:read", "no:such", ""} {
				for _, where := range []domain.SiteID{"", "north", "nowhere"} {
					for which, state := range states {
						if got := state.Can(by, permission, where, now); got != (domain.Decision{Reason: domain.ReasonNotMember}) {
							t.Errorf("a %s team answers a stranger %+v for %q on %q", which, got, permission, where)
						}
					}
				}
			}
			for which, state := range states {
				for action := range domain.ActionNames {
					if got := state.May(by, domain.Action(action), now); got != (domain.Decision{Reason: domain.ReasonNotMember}) {
						t.Errorf("a %s team answers a stranger %+v for %s", which, got, domain.Action(action))
					}
				}
			}
		}
	})
}

// everyCommand is each command that somebody gives by their authority.
func everyCommand(by domain.Actor, catalog string) map[string]command {
	low := bottom[catalog]
	return map[string]command{
		"invite": invite(by, "zoe", low), "resend": resend(by, "eve"), "cancel": cancel(by, "eve"),
		"change role": changeRole(by, "ann", low), "remove": remove(by, "ann"), "expiry": setExpiry(by, "ann", t0.Add(day)), "overrides": setOverrides(by, "ann", "", ""),
		"sites": setSites(by, "ann"), "rename": rename(by, "Other"), "delete": deleteTeam(by), "plan": setPlan(by, "growth"),
		"add site": addSite(by, "west"), "rename site": renameNorth(by, "West"), "remove site": removeSite(by, "north"),
		"create key": createKey(by, "new", low), "revoke key": revokeKey(by, "k"),
		"request transfer": requestTransfer(by, "ann"), "cancel transfer": cancelTransfer(by), "operator transfer": operatorTransfer(by, "ann"),
		"open review": openReview(by, "", nil), "decide": decide(by, "ann", domain.DecisionKept), "close review": closeReview(by),
		"leave": leave(user(by.ID + "?")), "require two-factor": requireOf(by, everyone(0)),
	}
}
