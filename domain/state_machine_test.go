package domain_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roster/domain"
)

// machine is a team, its history, and what is needed to think up commands.
type machine struct {
	catalog *domain.Catalog
	team    *domain.Team
	history []happened
	written []string // the events as they were when they happened
	now     time.Time

	ids         int                   // made so far
	open        []domain.InvitationID // without an end, expired ones included
	invitations []domain.InvitationID
	keys        []domain.APIKeyID
	sites       []domain.SiteID
	transfers   []domain.TransferID
	reviews     []domain.ReviewID
}

// The folk are few, so that they meet.
var folk = []user{owner, "ann", "bob", "cid", "dan", "eve", "fay", "gil", "hal"}

func newMachine(t *rapid.T, catalog string) *machine {
	m := &machine{
		catalog: builtins[catalog], team: domain.NewTeam(team, builtins), now: t0,
		invitations: []domain.InvitationID{"inv-none"}, keys: []domain.APIKeyID{"key-none"},
		sites: []domain.SiteID{"site-none"}, transfers: []domain.TransferID{"trf-none"},
		reviews: []domain.ReviewID{"rev-none"},
	}
	events, err := m.team.Create(owner, address(owner), "Team", m.catalog)
	m.record(t, as(owner), events, err)
	return m
}

// record checks what a command came to and folds it.
func (m *machine) record(t *rapid.T, by domain.Actor, events evs, err error) {
	if err != nil {
		var refusal *domain.Error
		if events != nil || !errors.As(err, &refusal) {
			t.Fatalf("%v came with %v", err, events)
		}
	}
	if !reflect.DeepEqual(m.team, m.refold(len(m.history))) {
		t.Fatalf("a command changed the state: %v, %v", events, err)
	}
	for _, event := range events {
		if len(m.history) > 0 {
			if wrong := look(m.history, m.now).wrong(event, by); wrong != "" {
				t.Fatalf("%T%+v by %v was not permitted: %s", event, event, by, wrong)
			}
		}
		m.history = append(m.history, happened{event, by, m.now})
		m.written = append(m.written, written(event))
		m.apply(t, event, meta(len(m.history), by, m.now))
		m.remember(event)
		m.invariants(t, event)
	}
}

// remember takes down what later commands may be about.
func (m *machine) remember(event domain.Event) {
	end := func(id domain.InvitationID) {
		m.open = slices.DeleteFunc(m.open, func(other domain.InvitationID) bool { return other == id })
	}
	switch e := event.(type) {
	case domain.MemberInvited:
		m.invitations, m.open = append(m.invitations, e.Invitation), append(m.open, e.Invitation)
	case domain.MemberJoined:
		end(e.Invitation)
	case domain.InvitationDeclined:
		end(e.Invitation)
	case domain.InvitationCancelled:
		end(e.Invitation)
	case domain.SiteAdded:
		m.sites = append(m.sites, e.Site)
	case domain.APIKeyCreated:
		m.keys = append(m.keys, e.Key)
	case domain.OwnershipTransferRequested:
		m.transfers = append(m.transfers, e.Transfer)
	case domain.AccessReviewOpened:
		m.reviews = append(m.reviews, e.Review)
	}
}

func written(event domain.Event) string {
	text, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// refold makes the team of the first n events.
func (m *machine) refold(n int) *domain.Team {
	fresh := domain.NewTeam(team, builtins)
	m.foldOn(fresh, 0, n)
	return fresh
}

func (m *machine) foldOn(state *domain.Team, from, to int) {
	for i, h := range m.history[from:to] {
		state.Apply(h.event, meta(from+i+1, h.by, h.at))
	}
}

// invariants are those of the aggregate, after an event.
func (m *machine) invariants(t *rapid.T, event domain.Event) {
	p := look(m.history, m.now)
	// One owner, always: also when the team has ended.
	owners := 0
	for _, u := range folk {
		member, ok := m.team.Member(u, m.now)
		r, naive := p.roles[u]
		if ok != naive || ok && member.Role != r {
			t.Fatalf("%s is %+v, want %s", u, member, r)
		}
		if ok && r == ownerKey(m.catalog.Name) {
			owners++
		}
	}
	if owners != 1 || m.team.Owner() != p.owner || p.roles[p.owner] != ownerKey(m.catalog.Name) {
		t.Fatalf("there are %d owners; %s is", owners, m.team.Owner())
	}
	switch event.(type) {
	case domain.MemberInvited, domain.InvitationResent, domain.MemberJoined:
		if seats := m.team.Seats(m.now); seats.Limit != domain.NoLimit && seats.Used() > seats.Limit || !p.room(0) {
			t.Fatalf("%T left %+v", event, seats)
		}
	}
	// At most one end of an invitation. An expiry is one of its link: it can be
	// sent again.
	ends, expiries := map[domain.InvitationID]int{}, map[string]int{}
	for _, h := range m.history {
		switch e := h.event.(type) {
		case domain.MemberJoined:
			ends[e.Invitation]++
		case domain.InvitationDeclined:
			ends[e.Invitation]++
		case domain.InvitationCancelled:
			ends[e.Invitation]++
		case domain.InvitationResent:
			if ends[e.Invitation] > 0 {
				t.Fatalf("%s was sent again after its end", e.Invitation)
			}
			expiries[string(e.Invitation)] = 0
		case domain.InvitationExpired:
			expiries[string(e.Invitation)]++
			if ends[e.Invitation] > 0 || expiries[string(e.Invitation)] > 1 {
				t.Fatalf("%s expired after its end", e.Invitation)
			}
		}
	}
	for id, n := range ends {
		if n > 1 {
			t.Fatalf("%s ended %d times", id, n)
		}
	}
}

// step thinks up a command, gives it and records what comes of it.
type step func(t *rapid.T, m *machine, by domain.Actor) (evs, error)

// dice is evenly spread from 0 to 1023. The library's own integers are mostly
// small, which would leave most of the commands out.
var dice = rapid.Custom(func(t *rapid.T) (n int) {
	for range 10 {
		n <<= 1
		if rapid.Bool().Draw(t, "") {
			n++
		}
	}
	return n
})

func pick[T any](t *rapid.T, name string, from []T) T { return from[dice.Draw(t, name)%len(from)] }

func (m *machine) someRole(t *rapid.T) role {
	if dice.Draw(t, "any role")%8 == 0 {
		return m.catalog.OwnerRole().Key
	}
	return pick(t, "role", m.catalog.Roles[1:]).Key
}

func (m *machine) someInvitation(t *rapid.T) domain.InvitationID {
	if len(m.open) > 0 && dice.Draw(t, "any invitation")%4 > 0 {
		return pick(t, "open invitation", m.open)
	}
	return pick(t, "invitation", m.invitations)
}

// someSite is nearly always one that there is.
func (m *machine) someSite(t *rapid.T) domain.SiteID {
	if sites := m.team.Sites(); len(sites) > 0 && dice.Draw(t, "any site")%16 > 0 {
		return pick(t, "site", sites).ID
	}
	return pick(t, "site", m.sites)
}

func (m *machine) someGrants(t *rapid.T) (some []grant) {
	if len(m.team.Sites()) == 0 && dice.Draw(t, "any site")%16 > 0 {
		return nil
	}
	for range dice.Draw(t, "sites") % 3 {
		some = append(some, grant{Site: m.someSite(t), Role: m.someRole(t), ExpiresAt: m.someEnd(t)})
	}
	return some
}

// someReview is nearly always the last one.
func (m *machine) someReview(t *rapid.T) domain.ReviewID {
	if dice.Draw(t, "any review")%8 > 0 {
		return m.reviews[len(m.reviews)-1]
	}
	return pick(t, "review", m.reviews)
}

func (m *machine) somePermissions(t *rapid.T, name string) []domain.Permission {
	return rapid.SliceOfN(rapid.SampledFrom(m.catalog.Permissions()), 0, 5).Draw(t, name)
}

// fresh makes an id that wasn't there before.
func fresh[T ~string](m *machine, prefix string) T {
	m.ids++
	return T(fmt.Sprintf("%s-%d", prefix, m.ids))
}

// steps are commands by an actor's authority.
var steps = map[string]step{
	"invite": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		u := pick(t, "whom", folk)
		return m.team.Invite(by, domain.NewInvitation{
			ID: fresh[domain.InvitationID](m, "inv"), Address: address(u), Email: email(u), Role: m.someRole(t), Sites: m.someGrants(t),
			AccessExpiresAt: m.someEnd(t),
		}, m.now)
	},
	"resend": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.Resend(by, m.someInvitation(t), m.now)
	},
	"cancel": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.Cancel(by, m.someInvitation(t), m.now)
	},
	"change role": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.ChangeRole(by, pick(t, "whom", folk), m.someRole(t), m.now)
	},
	"set overrides": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		want := domain.Overrides{Granted: m.somePermissions(t, "granted"), Revoked: m.somePermissions(t, "revoked")}
		for _, permission := range append(want.Granted, want.Revoked...) {
			if end := m.someEnd(t); !end.IsZero() {
				if want.Expirations == nil {
					want.Expirations = map[domain.Permission]time.Time{}
				}
				want.Expirations[permission] = end
			}
		}
		return m.team.SetOverrides(by, pick(t, "whom", folk), want, m.now)
	},
	"set sites": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.SetSites(by, pick(t, "whom", folk), m.someGrants(t), m.now)
	},
	"set expiry": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.SetExpiry(by, pick(t, "whom", folk), m.someEnd(t), m.now)
	},
	"remove": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.Remove(by, pick(t, "whom", folk), m.now)
	},
	"rename": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.Rename(by, pick(t, "name", []string{"Team", "Other", " ", "a\nb"}), m.now)
	},
	"add site": func(_ *rapid.T, m *machine, by domain.Actor) (evs, error) {
		id := fresh[domain.SiteID](m, "site")
		return m.team.AddSite(by, id, string(id), m.now)
	},
	"rename site": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.RenameSite(by, m.someSite(t), pick(t, "name", []string{"North", "South"}), m.now)
	},
	"remove site": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.RemoveSite(by, m.someSite(t), m.now)
	},
	"create key": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		want := domain.NewAPIKey{ID: fresh[domain.APIKeyID](m, "key"), Name: "Key", Role: m.someRole(t)}
		if rapid.Bool().Draw(t, "expires") {
			at := m.now.Add(time.Duration(rapid.IntRange(-1, 5).Draw(t, "days")) * day)
			want.ExpiresAt = &at
		}
		return m.team.CreateAPIKey(by, want, m.now)
	},
	"revoke key": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.RevokeAPIKey(by, pick(t, "key", m.keys), m.now)
	},
	"request transfer": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.RequestTransfer(by, fresh[domain.TransferID](m, "trf"), pick(t, "whom", folk), m.now)
	},
	"cancel transfer": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.CancelTransfer(by, pick(t, "transfer", m.transfers), m.now)
	},
	"open review": func(_ *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.OpenReview(by, fresh[domain.ReviewID](m, "rev"), "", nil, m.now)
	},
	"decide": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		decision := pick(t, "decision", []domain.ReviewDecision{domain.DecisionKept, domain.DecisionKept, domain.DecisionRemoved})
		return m.team.DecideReview(by, m.someReview(t), pick(t, "whom", folk), decision, "", m.now)
	},
	"close review": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.CloseReview(by, m.someReview(t), m.now)
	},
	"set plan": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		plans := []string{"none"}
		for _, plan := range m.catalog.Plans {
			plans = append(plans, plan.Key)
		}
		return m.team.SetPlan(by, pick(t, "plan", plans), m.now)
	},
	"operator's transfer": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.OperatorTransfer(by, pick(t, "whom", folk), m.now)
	},
	"require two-factor": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		var some []role
		for range dice.Draw(t, "roles") % 3 {
			some = append(some, m.someRole(t))
		}
		policy := pick(t, "policy", []domain.TwoFactorPolicy{ofNobody, everyone(0), everyone(3), ofRoles(2, some...), ofRoles(0, some...)})
		return m.team.SetTwoFactorPolicy(by, policy, true, m.now)
	},
	"delete": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		if dice.Draw(t, "really") > 100 { // else there is little left to try
			return nil, nil
		}
		return m.team.Delete(by, m.now)
	},
}

func (m *machine) actor(t *rapid.T) domain.Actor {
	switch n := dice.Draw(t, "actor") % 10; {
	case n < 5:
		return as(m.team.Owner()) // whose commands get furthest
	case n < 8:
		return as(pick(t, "user", folk))
	case n < 9:
		return asKey(string(pick(t, "key", m.keys)))
	}
	return pick(t, "system", []domain.Actor{domain.Operator, domain.Operator, domain.Roster, domain.Invitee})
}

// own are the commands that somebody gives in their own name.
func (m *machine) own() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"accept": func(t *rapid.T) {
			id, u := m.someInvitation(t), pick(t, "user", folk)
			if i, ok := m.team.Invitation(id); ok && rapid.Bool().Draw(t, "theirs") {
				u = folk[slices.IndexFunc(folk, func(u user) bool { return address(u) == i.Address })]
			}
			events, err := m.team.Accept(id, u, address(u), m.now)
			m.record(t, as(u), events, err)
		},
		"decline": func(t *rapid.T) {
			events, err := m.team.Decline(m.someInvitation(t), m.now)
			m.record(t, domain.Invitee, events, err)
		},
		"leave": func(t *rapid.T) {
			u := pick(t, "user", folk)
			events, err := m.team.Leave(u, m.now)
			m.record(t, as(u), events, err)
		},
		"confirm transfer": func(t *rapid.T) {
			u := pick(t, "user", folk)
			if transfer := m.team.Transfer(); transfer != nil && dice.Draw(t, "chosen")%2 == 0 {
				u = transfer.To
			}
			events, err := m.team.ConfirmTransfer(m.transfers[len(m.transfers)-1], u, m.now)
			m.record(t, as(u), events, err)
		},
		"expire": func(t *rapid.T) {
			m.record(t, domain.Roster, m.team.Expire(m.someInvitation(t), m.now), nil)
		},
		"lapse": func(t *rapid.T) {
			u := pick(t, "user", folk)
			if past := look(m.history, m.now).unrecorded; dice.Draw(t, "due")%4 > 0 {
				for _, other := range folk {
					if past.ends[other] != (time.Time{}) || len(past.grants[other]) > 0 || len(past.overrides[other].Expirations) > 0 {
						u = other
					}
				}
			}
			m.record(t, domain.Roster, m.team.ExpireMember(u, m.now), nil)
		},
		"time passes": func(t *rapid.T) {
			m.now = m.now.Add(pick(t, "time", []time.Duration{time.Microsecond, time.Hour, day, 3 * day, 7 * day}))
		},
	}
}

// questions compares answers with the naive ones, and changes nothing.
func (m *machine) questions(t *rapid.T) {
	p := look(m.history, m.now)
	by := m.actor(t)
	where := domain.SiteID("")
	if rapid.Bool().Draw(t, "on a site") {
		where = m.someSite(t)
	}
	for _, permission := range append(m.somePermissions(t, "permissions"), "no:such") {
		got := m.team.Can(by, permission, where, m.now)
		if got.Allowed != p.can(by, permission, where) || got.Reason == "" {
			t.Fatalf("%v has %s on %q: %+v", by, permission, where, got)
		}
		m.until(t, got, by, permission, where)
	}
	for _, r := range m.catalog.Roles {
		want := p.can(by, p.mayInvite, "") && p.gives(by, r.Key, "<=", "") || p.can(by, p.mayChange, "") && p.gives(by, r.Key, p.assign, "")
		if got := m.team.Assignable(by, r, m.now); got != want {
			t.Fatalf("%v may give %s: %t", by, r.Key, got)
		}
	}
	// Pending at any moment, deadlines and their neighbours included.
	moments := []time.Time{m.now, m.now.Add(time.Duration(rapid.Int64Range(0, int64(15*day)).Draw(t, "later")))}
	for _, i := range p.invitations {
		moments = append(moments, i.expires, i.expires.Add(-1), i.expires.Add(1))
	}
	for _, end := range p.ends {
		moments = append(moments, end, end.Add(-1))
	}
	for _, at := range moments {
		seats, then := m.team.Seats(at), look(m.history, at)
		if want := then.pendingCount(); seats.Pending != want {
			t.Fatalf("%d are pending at %v, want %d", seats.Pending, at, want)
		}
		if want := then.used(); seats.Used() != want {
			t.Fatalf("%d seats are taken at %v, want %d", seats.Used(), at, want)
		}
	}
}

// sequence is how many commands one team is given.
const sequence = 130

// repertoire is what is chosen from, some things more often.
var repertoire = []string{
	"expire", "accept", "invite", "resend", "confirm transfer", "change role", "remove", "accept", "decline", "cancel",
	"set overrides", "set sites", "request transfer", "operator's transfer", "revoke key", "create key", "invite", "leave", "time passes", "expire",
	"time passes", "set plan", "require two-factor", "cancel transfer", "rename", "add site", "rename site", "remove site", "invite", "accept", "delete",
	"open review", "decide", "decide", "close review", "set expiry", "set expiry", "lapse", "lapse", "time passes", "expire", "decide", "open review", "invite", "set overrides",
}

// populate gives the team members, sites and a plan to begin with.
func (m *machine) populate(t *rapid.T) {
	if plans := m.catalog.Plans; len(plans) > 0 {
		events, err := m.team.SetPlan(domain.Operator, pick(t, "plan", plans).Key, m.now)
		m.record(t, domain.Operator, events, err)
	}
	for range rapid.IntRange(0, 2).Draw(t, "sites") {
		events, err := steps["add site"](t, m, as(owner))
		m.record(t, as(owner), events, err)
	}
	for _, u := range folk[1:4] {
		id := fresh[domain.InvitationID](m, "inv")
		events, err := m.team.Invite(as(owner), domain.NewInvitation{
			ID: id, Address: address(u), Email: email(u), Role: m.someRole(t), Sites: m.someGrants(t), AccessExpiresAt: m.someEnd(t),
		}, m.now)
		m.record(t, as(owner), events, err)
		events, err = m.team.Accept(id, u, address(u), m.now)
		m.record(t, as(u), events, err)
	}
}

func TestTeamKeepsItsInvariants(t *testing.T) {
	for _, catalog := range catalogNames {
		t.Run(catalog, func(t *testing.T) {
			sequences, accepted := 0, map[reflect.Type]int{}
			rapid.Check(t, func(t *rapid.T) {
				m := newMachine(t, catalog)
				m.populate(t)
				own := m.own()
				for range sequence {
					name := pick(t, "command", repertoire)
					if act, ok := own[name]; ok {
						act(t)
					} else {
						by := m.actor(t)
						if (name == "set plan" || name == "operator's transfer") && dice.Draw(t, "operator")%2 == 0 {
							by = domain.Operator
						}
						events, err := steps[name](t, m, by)
						m.record(t, by, events, err)
					}
					m.questions(t)
				}

				for _, u := range folk {
					got, required := m.team.TwoFactorDeadline(u, m.now)
					want, naive := deadline(m.history, u, m.now)
					if required != naive || required && !got.Equal(want) {
						t.Fatalf("%s needs a second factor from %v, %t; want %v, %t", u, got, required, want, naive)
					}
				}

				// Any prefix folded, with questions in between, plus the rest equals
				// the whole; and what was written is as it was.
				cut := rapid.IntRange(0, len(m.history)).Draw(t, "cut")
				resumed := m.refold(cut)
				for name, do := range everyCommand(as(owner), catalog) {
					if events, err := do(resumed, m.now); err != nil && events != nil {
						t.Fatalf("%s: %v with %v", name, events, err)
					}
				}
				clone := resumed.Clone()
				m.foldOn(clone, cut, len(m.history))
				if !reflect.DeepEqual(clone, m.team) || !reflect.DeepEqual(resumed, m.refold(cut)) {
					t.Fatalf("cloned after %d of %d events, it or its clone has become another", cut, len(m.history))
				}
				m.foldOn(resumed, cut, len(m.history))
				if !reflect.DeepEqual(resumed, m.team) {
					t.Fatalf("folded in two parts, cut after %d of %d, it is another", cut, len(m.history))
				}
				for i, h := range m.history {
					if written(h.event) != m.written[i] {
						t.Fatalf("event %d has become %s from %s", i+1, written(h.event), m.written[i])
					}
					accepted[reflect.TypeOf(h.event)]++
				}
				sequences++
			})
			// The generated commands get somewhere: if they didn't, the checks above
			// would prove little.
			for _, event := range []domain.Event{
				domain.MemberInvited{}, domain.InvitationResent{}, domain.InvitationCancelled{}, domain.InvitationDeclined{},
				domain.InvitationExpired{}, domain.MemberJoined{}, domain.ExpiryChanged{}, domain.MemberExpired{}, domain.RoleChanged{}, domain.MemberRemoved{},
				domain.AccessReviewOpened{}, domain.AccessReviewDecided{}, domain.AccessReviewClosed{},
				domain.OwnershipTransferred{}, domain.APIKeyCreated{}, domain.APIKeyRevoked{}, domain.TeamDeleted{}, domain.TeamRenamed{},
			} {
				if accepted[reflect.TypeOf(event)] < sequences/20 {
					t.Errorf("%d sequences had %d %T", sequences, accepted[reflect.TypeOf(event)], event)
				}
			}
			t.Logf("%d sequences: %v", sequences, accepted)
		})
	}
}
