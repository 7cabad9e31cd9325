package domain_test

import (
	"encoding/json"
	"errors"
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
