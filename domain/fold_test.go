package domain_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roster/domain"
)

// anyEvent is any event of a team with any content, from few ids, so that
// events meet whether or not a command could have caused them. Only the catalog
// of a team is always the same.
func anyEvent(t *rapid.T, catalog string) domain.Event {
	u := func() user { return pick(t, "user", []user{owner, "ann", "bob", ""}) }
	i := func() domain.InvitationID { return pick(t, "invitation", []domain.InvitationID{"inv-1", "inv-2", ""}) }
	s := func() domain.SiteID { return pick(t, "site", []domain.SiteID{"north", "south", ""}) }
	k := func() domain.APIKeyID { return pick(t, "key", []domain.APIKeyID{"key-1", "key-2"}) }
	r := func() role { return pick(t, "role", []role{"owner", "OWNER", "admin", "member", "nonsense", ""}) }
	at := func() time.Time { return t0.Add(time.Duration(dice.Draw(t, "at")%4) * day) }
	g := func() []grant { return []grant{{Site: s(), Role: r(), ExpiresAt: at()}, {Site: s(), Role: r()}} }
	p := func() domain.Overrides {
		return domain.Overrides{Granted: []domain.Permission{"orders:read", "no:such"}, Revoked: []domain.Permission{"team:read"},
			Expirations: map[domain.Permission]time.Time{"orders:read": at(), "no:such": at()}}
	}
	trf := func() domain.TransferID { return pick(t, "transfer", []domain.TransferID{"trf-1", "trf-2", ""}) }
	reviews := []domain.ReviewID{"rev-1", "rev-2", ""}
	events := []func() domain.Event{
		func() domain.Event {
			return domain.TeamCreated{Name: "Team", Catalog: catalog, Plan: pick(t, "plan", []string{"free", "starter", ""}),
				Owner: u(), OwnerRole: r(), OwnerAddress: address(u())}
		},
		func() domain.Event { return domain.TeamRenamed{To: "Other"} },
		func() domain.Event { return domain.PlanChanged{To: "pro"} },
		func() domain.Event {
			return domain.MemberInvited{Invitation: i(), Address: address(u()), Role: r(), Sites: g(), ExpiresAt: at()}
		},
		func() domain.Event { return domain.InvitationResent{Invitation: i(), Link: 2, ExpiresAt: at()} },
		func() domain.Event { return domain.InvitationCancelled{Invitation: i()} },
		func() domain.Event { return domain.InvitationDeclined{Invitation: i()} },
		func() domain.Event { return domain.InvitationExpired{Invitation: i()} },
		func() domain.Event {
			return domain.MemberJoined{User: u(), Invitation: i(), Role: r(), Sites: g(), ExpiresAt: at()}
		},
		func() domain.Event { return domain.RoleChanged{User: u(), To: r()} },
		func() domain.Event { return domain.PermissionsChanged{User: u(), After: p()} },
		func() domain.Event { return domain.SitesChanged{User: u(), After: g()} },
		func() domain.Event { return domain.MemberRemoved{User: u()} },
		func() domain.Event { return domain.MemberLeft{User: u()} },
		func() domain.Event { return domain.ExpiryChanged{User: u(), After: at()} },
		func() domain.Event { return domain.MemberExpired{User: u(), ExpiredAt: at()} },
		func() domain.Event { return domain.SitesExpired{User: u(), Sites: g()} },
		func() domain.Event { return domain.PermissionsExpired{User: u(), Overrides: p()} },
		func() domain.Event {
			return domain.OwnershipTransferRequested{Transfer: trf(), To: u(), ExpiresAt: at()}
		},
		func() domain.Event { return domain.OwnershipTransferCancelled{Transfer: trf()} },
		func() domain.Event {
			return domain.OwnershipTransferred{Transfer: trf(), From: u(), To: u(), FromRole: r()}
		},
		func() domain.Event { return domain.AccessReviewOpened{Review: pick(t, "review", reviews)} },
		func() domain.Event {
			return domain.AccessReviewDecided{Review: pick(t, "review", reviews), User: u(), Decision: pick(t, "decision", []domain.ReviewDecision{"kept", "removed", ""})}
		},
		func() domain.Event { return domain.AccessReviewClosed{Review: pick(t, "review", reviews)} },
		func() domain.Event { return domain.SiteAdded{Site: s(), Name: "Site"} },
		func() domain.Event { return domain.SiteRenamed{Site: s(), To: "Other"} },
		func() domain.Event { return domain.SiteRemoved{Site: s()} },
		func() domain.Event { return domain.APIKeyCreated{Key: k(), Role: r()} },
		func() domain.Event { return domain.APIKeyRevoked{Key: k()} },
		func() domain.Event {
			required := pick(t, "required", []domain.RequiredOf{domain.RequiredOfEveryone, domain.RequiredOfRoles, domain.RequiredOfNobody, ""})
			return domain.TwoFactorPolicyChanged{After: domain.TwoFactorPolicy{Required: required, Roles: []role{r(), r()}}}
		},
		func() domain.Event { return domain.UserRegistered{} }, // of another stream
		func() domain.Event { return domain.TeamDeleted{} },
		func() domain.Event { return nil },
	}
	return pick(t, "event", events)()
}

func TestFoldingNeverFailsWhateverHappened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := domain.NewTeam(team, builtins)
		catalog := pick(t, "catalog", append(catalogNames, "gone"))
		for n := range 40 {
			by := pick(t, "by", []domain.Actor{as(owner), as("ann"), asKey("key-1"), domain.Operator, {}})
			state.Apply(anyEvent(t, catalog), meta(n, by, t0))
			if n%10 > 0 {
				continue
			}
			// Whatever has come of it can be asked and told anything.
			seats := state.Seats(now)
			if seats.Pending < 0 || seats.Pending > 2*n+2 {
				t.Fatalf("%d are pending", seats.Pending)
			}
			for name, do := range everyCommand(by, "tenants") {
				if events, err := do(state, now); err != nil && events != nil {
					t.Fatalf("%s: %v with %v", name, events, err)
				}
			}
			for action := range domain.ActionNames {
				if d := state.May(by, domain.Action(action), now); d.Reason == "" {
					t.Fatalf("no reason: %+v", d)
				}
			}
			state.Can(by, "orders:read", "north", now)
			for place, one := range state.UnderReview(1, now) {
				if place < 2 {
					t.Fatalf("%+v at place %d", one, place)
				}
			}
			if m, ok := state.Member("ann", now); ok {
				state.MemberActions(by, now)(m)
				state.Overrides(m)
				state.TwoFactorDeadline("ann", now)
			}
			for _, r := range builtins["tenants"].Roles {
				state.Assignable(by, r, now)
			}
		}
	})
}

// Whatever happens to a clone, the team that it was made of is as it was.
func TestACloneGoesItsOwnWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state, same := domain.NewTeam(team, builtins), domain.NewTeam(team, builtins)
		catalog := pick(t, "catalog", catalogNames)
		var clone *domain.Team
		for n := range 60 {
			event, m := anyEvent(t, catalog), meta(n, as(owner), t0)
			if n < 30 {
				state.Apply(event, m)
				same.Apply(event, m)
				continue
			}
			if n == 30 {
				clone = state.Clone()
				if !reflect.DeepEqual(clone, state) {
					t.Fatal("the clone is another")
				}
			}
			clone.Apply(event, m)
			if !reflect.DeepEqual(state, same) {
				t.Fatalf("%T%+v of the clone changed the team", event, event)
			}
		}
	})
}

func TestATeamWhoseCatalogIsMissingAllowsNothing(t *testing.T) {
	events := given(evs{domain.TeamCreated{Name: "Team", Catalog: "gone", Owner: owner, OwnerRole: "owner"}}, joined("ann", "admin"),
		overridden("ann", "orders:read", ""), key("k", "admin"))
	state := fold(events)
	for _, by := range []domain.Actor{as(owner), as("ann"), asKey("k")} {
		for name, do := range everyCommand(by, "tenants") {
			if caused, err := do(state, now); err == nil || caused != nil {
				t.Errorf("%s: %v", name, caused)
			}
		}
		if allowed(state, by, "orders:read") || state.May(by, domain.ActionViewTeam, now).Allowed {
			t.Errorf("%v may do something", by)
		}
	}
	if got := state.Seats(now); got.Limit != domain.NoLimit {
		t.Errorf("seats: %+v", got)
	}
}

// TestPendingAtAnyMoment holds the ordered deadlines against counting.
func TestPendingAtAnyMoment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := fold(given(created("tenants")))
		expires := map[domain.InvitationID]time.Time{}
		at := func() time.Time { return t0.Add(time.Duration(dice.Draw(t, "at")%12) * time.Hour) }
		for n := range 60 {
			id := domain.InvitationID(fmt.Sprintf("inv-%d", dice.Draw(t, "invitation")%20))
			_, pending := expires[id]
			_, known := state.Invitation(id)
			switch m := meta(n, as(owner), t0); {
			case !known:
				expires[id] = at()
				state.Apply(domain.MemberInvited{Invitation: id, Address: domain.AddressID(id), ExpiresAt: expires[id]}, m)
			case dice.Draw(t, "resend")%2 == 0:
				expires[id] = at()
				state.Apply(domain.InvitationResent{Invitation: id, Link: n, ExpiresAt: expires[id]}, m)
			case pending:
				delete(expires, id)
				state.Apply(pick(t, "end", evs{
					domain.InvitationCancelled{Invitation: id}, domain.InvitationDeclined{Invitation: id}, domain.InvitationExpired{Invitation: id},
				}), m)
			}
			for hour := range 13 {
				for _, moment := range []time.Time{t0.Add(time.Duration(hour) * time.Hour), t0.Add(time.Duration(hour)*time.Hour - 1)} {
					want := 0
					for _, deadline := range expires {
						if moment.Before(deadline) {
							want++
						}
					}
					if got := state.Seats(moment).Pending; got != want {
						t.Fatalf("%d are pending at %v, want %d", got, moment, want)
					}
				}
			}
		}
	})
}

func TestSitesInTheOrderOfTheirMaking(t *testing.T) {
	state := fold(given(created("default"), site("north", "south", "west"), evs{domain.SiteRemoved{Site: "south"}, domain.SiteRenamed{Site: "west", To: "West"}}))
	var names []string
	for _, s := range state.Sites() {
		names = append(names, s.Name)
	}
	if !slices.Equal(names, []string{"north", "West"}) {
		t.Errorf("the sites are %v", names)
	}
}

// TestWhatATeamShows is the plain questions.
func TestWhatATeamShows(t *testing.T) {
	state := fold(given(created("default"), plan("team"), joined("ann", "member"), key("k", "admin"), key("gone", "admin"),
		evs{domain.APIKeyRevoked{Key: "gone"}}, invited("eve", "viewer")))
	if state.ID() != team || state.Name() != "Team" || state.PlanKey() != "team" || state.Owner() != owner || !state.CreatedAt().Equal(t0) || !state.Live() {
		t.Errorf("%s %q %s %s %v", state.ID(), state.Name(), state.PlanKey(), state.Owner(), state.CreatedAt())
	}
	if ann, ok := state.Member("ann", now); !ok || ann.Address != address("ann") || !ann.JoinedAt.Equal(t0) || ann.RoleGiven.Event != "evt-4" {
		t.Errorf("%+v", ann)
	}
	if eve, ok := state.Invitation("inv-eve"); !ok || eve.InvitedBy != as(owner) || eve.Link != 1 || !eve.InvitedAt.Equal(t0) ||
		eve.StatusAt(now) != domain.StatusPending || eve.StatusAt(t0.Add(7*day)) != domain.StatusExpired {
		t.Errorf("%+v", eve)
	}
	if ann, ok := state.Invitation("inv-ann"); !ok || ann.StatusAt(t0.Add(7*day)) != domain.StatusAccepted {
		t.Errorf("%+v", ann)
	}
	if keys := state.APIKeys(); len(keys) != 1 || keys[0].ID != "k" || keys[0].CreatedBy != as(owner) {
		t.Errorf("%+v", keys)
	}
	if gone, ok := state.APIKey("gone"); !ok || gone.Active(now) {
		t.Errorf("a revoked key is kept, and inactive: %+v", gone)
	}
	if none := domain.NewTeam(team, builtins); none.Live() || none.Transfer() != nil {
		t.Error("a team before its first event is live")
	}
}
