package projections

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// simulation makes a stream in which everything happens that can happen, in an
// order that obeys the rules.
type simulation struct {
	*world
	random *rand.Rand
	users  []domain.UserID
	teams  []*simulatedTeam
}

type simulatedTeam struct {
	id          domain.TeamID
	name, plan  string
	owner       domain.UserID
	members     map[domain.UserID]domain.RoleKey
	order       []domain.UserID // members, so that the choice depends on the seed alone
	pending     []domain.InvitationID
	links       map[domain.InvitationID]int
	sites       []domain.SiteID
	siteNames   map[domain.SiteID]string
	sitesOf     map[domain.UserID][]domain.SiteGrant
	overridesOf map[domain.UserID]domain.Overrides
}

func simulate(t testing.TB, seed uint64, steps int) *simulation {
	s := &simulation{world: newWorld(t), random: rand.New(rand.NewPCG(seed, 1))}
	for range 3 {
		s.user()
	}
	s.newTeam()
	for range steps {
		s.step()
	}
	return s
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// names are what people and teams may be called.
var names = []string{
	"Ann Lee", "Zoë Öztürk", "李小龍", `Robert'); DROP TABLE members;--`, "<script>alert(1)</script>",
	"a\x00b", "=1+1", "\u202Eevil", "100%", "under_score", `back\slash`, "two\nlines", "e\u0301", "\xff\xfe",
}

func (s *simulation) user() {
	n := len(s.users)
	s.users = append(s.users, s.register(pick(s.random, names), fmt.Sprintf("user%d@example.com", n)))
}

func (s *simulation) newTeam() {
	owner := pick(s.random, s.users)
	t := &simulatedTeam{
		name: pick(s.random, names), plan: "starter", owner: owner,
		members: map[domain.UserID]domain.RoleKey{owner: "OWNER"}, order: []domain.UserID{owner},
		links: map[domain.InvitationID]int{}, siteNames: map[domain.SiteID]string{},
		sitesOf: map[domain.UserID][]domain.SiteGrant{}, overridesOf: map[domain.UserID]domain.Overrides{},
	}
	t.id = s.team(owner, t.name)
	s.teams = append(s.teams, t)
}

func (s *simulation) step() {
	if len(s.teams) == 0 {
		s.newTeam()
	}
	t := pick(s.random, s.teams)
	stream := teamStream(t.id)
	actor := by{actor: domain.ByUser(pick(s.random, t.order)), ip: "198.51.100.1", agent: "test", request: fmt.Sprintf("req-%d", s.last)}
	var others []domain.UserID
	for _, user := range t.order {
		if user != t.owner {
			others = append(others, user)
		}
	}
	switch s.random.IntN(29) {
	case 0:
		s.user()
	case 1:
		s.rename(pick(s.random, s.users), pick(s.random, names))
	case 2, 3:
		s.signIn(pick(s.random, s.users))
	case 4:
		user := pick(s.random, s.users)
		s.commit(activityStream(user), by{actor: domain.ByUser(user)}, domain.SessionEnded{User: user, Session: "ses_1"})
	case 5:
		s.newTeam()
	case 6:
		name := pick(s.random, names)
		s.commit(stream, actor, domain.TeamRenamed{From: t.name, To: name}, domain.PlanChanged{From: t.plan, To: "growth"})
		t.name, t.plan = name, "growth"
	case 7:
		if s.random.IntN(4) == 0 {
			s.commit(stream, actor, domain.TeamDeleted{})
			s.teams = slices.DeleteFunc(s.teams, func(other *simulatedTeam) bool { return other == t })
		}
	case 8, 9, 10:
		id := s.invite(t.id, t.owner, pick(s.random, []string{"", "Guest"}), fmt.Sprintf("guest%d@example.com", s.last))
		t.pending, t.links[id] = append(t.pending, id), 1
	case 11:
		if len(t.pending) > 0 {
			id := pick(s.random, t.pending)
			t.links[id]++
			s.commit(stream, actor, domain.InvitationResent{Invitation: id, Link: t.links[id], ExpiresAt: s.now.Add(time.Hour)})
		}
	case 12:
		if len(t.pending) > 0 {
			id := pick(s.random, t.pending)
			t.pending = slices.DeleteFunc(t.pending, func(other domain.InvitationID) bool { return other == id })
			s.commit(stream, actor, pick(s.random, []domain.Event{
				domain.InvitationCancelled{Invitation: id}, domain.InvitationDeclined{Invitation: id}, domain.InvitationExpired{Invitation: id},
			}))
		}
	case 13, 14, 15:
		user := pick(s.random, s.users)
		if len(t.pending) > 0 && t.members[user] == "" {
			id := pick(s.random, t.pending)
			t.pending = slices.DeleteFunc(t.pending, func(other domain.InvitationID) bool { return other == id })
			t.members[user], t.order = "MEMBER", append(t.order, user)
			s.commit(stream, by{actor: domain.ByUser(user)}, domain.MemberJoined{User: user, Invitation: id, Role: "MEMBER", ExpiresAt: s.end()})
		}
	case 16:
		if len(others) > 0 {
			user := pick(s.random, others)
			s.commit(stream, actor, domain.RoleChanged{User: user, From: t.members[user], To: "ADMIN"})
			t.members[user] = "ADMIN"
		}
	case 17:
		if len(others) > 0 {
			user := pick(s.random, others)
			after := domain.Overrides{Granted: []domain.Permission{"team:invite"}, Revoked: []domain.Permission{}}
			if end := s.end(); !end.IsZero() {
				after.Expirations = map[domain.Permission]time.Time{"team:invite": end}
			}
			s.commit(stream, actor, domain.PermissionsChanged{User: user, Before: t.overridesOf[user], After: after})
			t.overridesOf[user] = after
		}
	case 18:
		if len(others) > 0 && len(t.sites) > 0 {
			user := pick(s.random, others)
			after := []domain.SiteGrant{{Site: pick(s.random, t.sites), Role: "MEMBER", ExpiresAt: s.end()}}
			s.commit(stream, actor, domain.SitesChanged{User: user, Before: t.sitesOf[user], After: after})
			t.sitesOf[user] = after
		}
	case 19:
		if len(others) > 0 {
			user := pick(s.random, others)
			role := t.members[user]
			delete(t.members, user)
			t.order = slices.DeleteFunc(t.order, func(other domain.UserID) bool { return other == user })
			s.commit(stream, actor, pick(s.random, []domain.Event{
				domain.MemberRemoved{User: user, Role: role}, domain.MemberLeft{User: user, Role: role},
				domain.MemberExpired{User: user, Role: role, ExpiredAt: s.now},
			}))
		}
	case 20:
		if len(others) > 0 {
			user := pick(s.random, others)
			transfer := domain.TransferID(eventstore.NewID(domain.PrefixTransfer))
			s.commit(stream, actor, domain.OwnershipTransferRequested{Transfer: transfer, To: user, ExpiresAt: s.now.Add(time.Hour)})
			if s.random.IntN(2) == 0 {
				s.commit(stream, actor, domain.OwnershipTransferCancelled{Transfer: transfer})
				return
			}
			s.commit(stream, by{actor: domain.ByUser(user)}, domain.OwnershipTransferred{
				Transfer: transfer, From: t.owner, To: user, FromRole: "ADMIN", ToRole: t.members[user],
			})
			t.members[t.owner], t.members[user], t.owner = "ADMIN", "OWNER", user
		}
	case 21:
		switch {
		case len(t.sites) == 0 || s.random.IntN(2) == 0:
			site := domain.SiteID(eventstore.NewID(domain.PrefixSite))
			t.siteNames[site] = pick(s.random, names)
			t.sites = append(t.sites, site)
			s.commit(stream, actor, domain.SiteAdded{Site: site, Name: t.siteNames[site]})
		case s.random.IntN(2) == 0:
			site, name := pick(s.random, t.sites), pick(s.random, names)
			s.commit(stream, actor, domain.SiteRenamed{Site: site, From: t.siteNames[site], To: name})
			t.siteNames[site] = name
		default:
			site := pick(s.random, t.sites)
			t.sites = slices.DeleteFunc(t.sites, func(other domain.SiteID) bool { return other == site })
			s.commit(stream, actor, domain.SiteRemoved{Site: site, Name: t.siteNames[site]})
		}
	case 22:
		key := domain.APIKeyID(eventstore.NewID(domain.PrefixAPIKey))
		s.commit(stream, actor, domain.APIKeyCreated{Key: key, Name: pick(s.random, names), Role: "MEMBER", Prefix: "rk_1", SecretHash: "00"})
		s.commit(stream, by{actor: domain.ByAPIKey(key)}, domain.PlanChanged{From: t.plan, To: t.plan})
		s.commit(stream, actor, domain.APIKeyRevoked{Key: key, Name: "key"})
	case 23:
		for id, link := range t.links {
			if len(t.links) == 1 || s.random.IntN(2) == 0 {
				s.commit(eventstore.Stream{Kind: eventstore.KindActivity, ID: string(id)}, by{},
					domain.InvitationDelivery{Team: t.id, Invitation: id, Link: link, Status: domain.DeliveryFailed, Detail: "no such mailbox"})
				break
			}
		}
	case 24:
		user := pick(s.random, s.users)
		s.commit(userStream(user), by{actor: domain.ByUser(user)}, pick(s.random, []domain.Event{
			domain.TwoFactorEnabled{Secret: "s"}, domain.TwoFactorDisabled{}, domain.RecoveryCodeUsed{RecoveryCode: "00", Left: 3},
		}))
		s.commit(stream, actor, domain.TwoFactorPolicyChanged{After: domain.TwoFactorPolicy{Required: domain.RequiredOfEveryone}})
	case 25:
		s.hostActions(t, actor)
	case 26:
		if len(others) > 0 {
			s.commit(stream, actor, domain.ExpiryChanged{User: pick(s.random, others), After: s.end()})
		}
	case 27:
		if len(others) > 0 {
			user := pick(s.random, others)
			s.commit(stream, actor, domain.SitesExpired{User: user, Sites: t.sitesOf[user]})
			t.sitesOf[user] = nil
		}
	case 28:
		if len(others) > 0 {
			user := pick(s.random, others)
			s.commit(stream, actor, domain.PermissionsExpired{User: user, Overrides: t.overridesOf[user]})
			t.overridesOf[user] = domain.Overrides{}
		}
	}
}

// end is when something ends by itself; mostly it doesn't.
func (s *simulation) end() time.Time {
	if s.random.IntN(3) > 0 {
		return time.Time{}
	}
	return s.now.Add(time.Duration(s.random.IntN(100)) * time.Minute)
}

// hostActions records one action of the host product, or several by several
// actors in one commit.
func (s *simulation) hostActions(t *simulatedTeam, actor by) {
	stream := eventstore.Stream{Kind: eventstore.KindActivity, ID: eventstore.NewID("host")}
	action := func() domain.HostActionRecorded {
		return domain.HostActionRecorded{
			Team: t.id, Action: pick(s.random, []string{"order.shipped", "page.edited"}),
			TargetType: pick(s.random, []string{"order", "member"}), TargetID: string(pick(s.random, s.users)),
		}
	}
	c := s.prepare(stream, actor, action())
	if s.random.IntN(2) == 0 {
		key := domain.APIKeyID(eventstore.NewID(domain.PrefixAPIKey))
		s.commit(teamStream(t.id), actor, domain.APIKeyCreated{Key: key, Name: "host", Role: "ADMIN", Prefix: "rk_1", SecretHash: "00"})
		c.Actor, c.Origin, c.RequestID = domain.Roster, "", ""
		for i := range 3 {
			c.Events = append(c.Events[:i], eventstore.Recorded{ID: domain.EventID(eventstore.NewID(domain.PrefixEvent))})
			event := action()
			event.Content = s.seal(s.newKey(), string(c.Events[i].ID)+"/content", `{"name":"order of user1@example.com","detail":{"from":"198.51.100.1"}}`)
			event.OnBehalfOf, event.OccurredAt = pick(s.random, s.users), s.now.Add(-time.Hour)
			event.By = &domain.HostActor{
				Actor: domain.ByAPIKey(key), Request: fmt.Sprintf("host-%d", i),
				Origin: s.seal(s.newKey(), string(c.Events[i].ID)+"/origin", `{"ip":"198.51.100.1","user_agent":"Mozilla/5.0"}`),
			}
			c.Events[i].Event = event
		}
	}
	s.fatal(s.store.Append(testContext(s.t), c))
	s.last = c.Position
}
