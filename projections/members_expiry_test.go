package projections

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// What has ended isn't there from that instant on, whether or not it is on
// record; and what isn't on record is due.
func TestAccessEndsByItself(t *testing.T) {
	w := newWorld(t)
	ann, bob, cay := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com"), w.register("Cay", "cay@example.com")
	team := w.team(ann, "Acme")
	stream := teamStream(team)
	w.join(team, ann, bob)
	w.join(team, ann, cay)
	east, west := domain.SiteID(eventstore.NewID(domain.PrefixSite)), domain.SiteID(eventstore.NewID(domain.PrefixSite))
	w.commit(stream, by{}, domain.SiteAdded{Site: east, Name: "East"}, domain.SiteAdded{Site: west, Name: "West"})

	start0 := epoch.Add(time.Hour)
	first, second, third := start0.Add(time.Hour), start0.Add(2*time.Hour), start0.Add(3*time.Hour)
	grants := []domain.SiteGrant{{Site: east, Role: "MEMBER", ExpiresAt: first}, {Site: west, Role: "ADMIN", ExpiresAt: third}}
	overrides := domain.Overrides{
		Granted: []domain.Permission{"billing:read", "team:invite"}, Revoked: []domain.Permission{"team:remove"},
		Expirations: map[domain.Permission]time.Time{"team:invite": second, "team:remove": third},
	}
	w.commit(stream, by{}, domain.ExpiryChanged{User: bob, After: second})
	w.commit(stream, by{}, domain.SitesChanged{User: cay, After: grants}, domain.PermissionsChanged{User: cay, After: overrides})
	given := w.last
	expiredSites := domain.SitesExpired{User: cay, Sites: grants[:1]}
	expiredOverrides := domain.PermissionsExpired{User: cay, Overrides: domain.Overrides{
		Granted: []domain.Permission{"team:invite"}, Revoked: []domain.Permission{}, Expirations: map[domain.Permission]time.Time{"team:invite": second},
	}}
	expired := w.commit(stream, by{}, domain.MemberExpired{User: bob, Role: "MEMBER", ExpiredAt: second})
	w.commit(stream, by{}, expiredSites, expiredOverrides)
	recorded := w.last
	w.commit(stream, by{}, domain.SiteRemoved{Site: west, Name: "West"})
	removed := w.last
	w.commit(stream, by{}, domain.OwnershipTransferred{From: ann, To: cay, FromRole: "ADMIN", ToRole: "MEMBER"})
	all := w.commits()

	type view struct {
		Members   []domain.UserID
		Sites     []domain.SiteID // of Cay
		Overrides domain.Overrides
		BobsTeams int
	}
	both, alone := []domain.UserID{ann, bob, cay}, []domain.UserID{ann, cay}
	at := func(o domain.Overrides, now time.Time) domain.Overrides {
		o = o.At(now)
		if o.Revoked == nil {
			o.Revoked = []domain.Permission{}
		}
		return o
	}
	onBoth(t, func(t *testing.T, backend backend) {
		ctx := testContext(t)
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		run, err := p.newRun(ctx)
		if err != nil {
			t.Fatal(err)
		}
		look := func(now time.Time) view {
			t.Helper()
			var v view
			members, _, err := p.Members(ctx, team, MembersFilter{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			found, _, err := p.Members(ctx, team, MembersFilter{Now: now, Query: "example.com"})
			if err != nil {
				t.Fatal(err)
			}
			same(t, "those that a query finds", members, found)
			some, err := p.SomeMembers(ctx, team, both, now)
			if err != nil || len(some) != len(members) {
				t.Errorf("%d of some, %d of all, %v", len(some), len(members), err)
			}
			for _, m := range members {
				v.Members = append(v.Members, m.User)
				one, err := p.Member(ctx, team, m.User, now)
				if err != nil {
					t.Fatal(err)
				}
				same(t, "one of all, of some and alone", []Member{m, m}, []Member{some[m.User], one})
				if m.User == cay {
					v.Overrides = m.Overrides
					for _, site := range m.Sites {
						v.Sites = append(v.Sites, site.Site)
					}
				}
			}
			teams, err := p.TeamsOf(ctx, bob, now)
			if err != nil {
				t.Fatal(err)
			}
			if v.BobsTeams = len(teams); v.BobsTeams == 1 && !teams[0].ExpiresAt.Equal(second) {
				t.Errorf("Bob's membership ends at %v", teams[0].ExpiresAt)
			}
			if _, err := p.Member(ctx, team, bob, now); errors.Is(err, domain.ErrNotFound) != (v.BobsTeams == 0) {
				t.Errorf("Bob alone: %v", err)
			}
			return v
		}
		due := func(now time.Time, want ...domain.UserID) {
			t.Helper()
			list, err := p.DueMembers(ctx, now, 10)
			if err != nil {
				t.Fatal(err)
			}
			var users []domain.UserID
			for _, one := range list {
				users = append(users, one.User)
			}
			same(t, "due at "+now.String(), want, users)
		}

		if err := run.handle(ctx, all[:given]); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			now  time.Time
			want view
			due  []domain.UserID
		}{
			{first.Add(-time.Microsecond), view{both, []domain.SiteID{east, west}, overrides, 1}, nil},
			{first, view{both, []domain.SiteID{west}, overrides, 1}, []domain.UserID{cay}},
			{second.Add(-time.Microsecond), view{both, []domain.SiteID{west}, overrides, 1}, []domain.UserID{cay}},
			{second, view{alone, []domain.SiteID{west}, at(overrides, second), 0}, []domain.UserID{cay, bob}},
			{third, view{alone, nil, at(overrides, third), 0}, []domain.UserID{cay, bob}},
		} {
			same(t, "at "+c.now.String(), c.want, look(c.now))
			due(c.now, c.due...)
		}
		if list, err := p.DueMembers(ctx, third, 1); err != nil || len(list) != 1 {
			t.Errorf("one that is due: %v, %v", list, err)
		}

		// On record it is no longer due, and looks the same.
		if err := run.handle(ctx, all[given:recorded]); err != nil {
			t.Fatal(err)
		}
		same(t, "on record", view{alone, []domain.SiteID{west}, at(overrides, second), 0}, look(second))
		due(second)
		due(third, cay)

		// The grants of a site that is gone are nobody's.
		if err := run.handle(ctx, all[recorded:removed]); err != nil {
			t.Fatal(err)
		}
		due(third.Add(-time.Microsecond))
		due(third, cay) // of the override
		if err := run.handle(ctx, all[removed:]); err != nil {
			t.Fatal(err)
		}
		due(third)

		entries, _, err := p.Audit(ctx, team, AuditFilter{Actions: []string{"member.expired", "sites.expired", "permissions.expired", "expiry.changed"}})
		if err != nil || len(entries) != 4 {
			t.Fatal(entries, err)
		}
		same(t, "the end of a membership", AuditEntry{
			ID: expired.ID(), Position: expired.Position, At: expired.At, Action: "member.expired", Actor: AuditActor{Type: domain.ActorSystem, ID: "roster", Name: "Roster"},
			Target: AuditTarget{Type: "member", ID: string(bob), Name: "Bob"}, Before: entries[2].Before,
		}, entries[2])
		for i, want := range []string{
			`{"expirations":{"team:invite":"2026-03-01T12:00:00Z"},"granted":["team:invite"],"revoked":[]}`,
			`{"sites":[{"expires_at":"2026-03-01T11:00:00Z","role":"MEMBER","site_id":"` + string(east) + `"}]}`,
			`{"expires_at":"2026-03-01T12:00:00Z","role":"MEMBER"}`,
			`{"expires_at":null}`,
		} {
			sameJSON(t, entries[i].Action, want, entries[i].Before)
		}
		sameJSON(t, "the end that was set", `{"expires_at":"2026-03-01T12:00:00Z"}`, entries[3].After)
	})
}

func sameJSON(t *testing.T, what, want string, got json.RawMessage) {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal([]byte(want), &a), json.Unmarshal(got, &b)); err != nil {
		t.Fatal(what, err)
	}
	same(t, what, a, b)
}

// Whoever's command puts it on record, nobody did what ended by itself.
func TestWhatEndsByItselfIsNobodysDoing(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com")
	team := w.team(ann, "Acme")
	w.join(team, ann, bob)
	asBob := by{actor: domain.ByUser(bob), ip: "198.51.100.7", agent: "test", request: "req-1"}
	invitation := w.invite(team, ann, "Bob", "bob@example.com")
	w.commit(teamStream(team), asBob,
		domain.MemberExpired{User: bob, Role: "MEMBER", ExpiredAt: w.now},
		domain.MemberJoined{User: bob, Invitation: invitation, Role: "MEMBER"})
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		entries, _, err := p.Audit(testContext(t), team, AuditFilter{Limit: 2})
		if err != nil || len(entries) != 2 {
			t.Fatal(entries, err)
		}
		joined, ended := entries[0], entries[1]
		if joined.Action != "member.joined" || joined.Actor.ID != string(bob) || joined.Actor.IP != asBob.ip {
			t.Errorf("joined: %+v", joined)
		}
		if ended.Action != "member.expired" || ended.Actor != (AuditActor{Type: domain.ActorSystem, ID: "roster", Name: "Roster"}) {
			t.Errorf("ended: %+v", ended)
		}
		members, _, err := p.Members(testContext(t), team, MembersFilter{Now: w.now})
		if err != nil || len(members) != 2 || members[1].User != bob {
			t.Errorf("the members are %+v, %v", members, err)
		}
	})
}
