package commands

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roster/domain"
	"roster/eventstore"
)

// The past is judged by the role catalog that was in force then.
func TestPastIsJudgedByItsCatalog(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	clock := newHandClock()
	before := serviceOn(t, store, withCatalogs(edited(t, 1)), withClock(clock))
	owner := accountOn(t, before, "owner@example.com")
	team := teamOf(t, before, owner, "mine")
	admin := member(t, before, owner, team, "admin@example.com", "admin")
	then := Moment{Position: end(t, store)}
	thenAt := Moment{At: clock.now()}
	clock.forward(time.Hour)

	after := serviceOn(t, store, withCatalogs(edited(t, 2, noInviting...)), withClock(clock))
	canInvite := func(moment Moment) (bool, *Past) {
		past, err := after.TeamAt(t.Context(), owner, team, moment)
		if err != nil {
			t.Fatal(err)
		}
		return past.Team.Can(admin.Actor, "members:invite", "", past.At).Allowed, past
	}
	for _, moment := range []Moment{then, thenAt} {
		if allowed, past := canInvite(moment); !allowed || past.Team.Catalog().Version != 1 {
			t.Errorf("at %+v: %v by version %d", moment, allowed, past.Team.Catalog().Version)
		}
	}
	allowed, past := canInvite(Moment{At: clock.now()})
	if allowed || past.Team.Catalog().Version != 2 || past.Catalog.Position <= then.Position {
		t.Errorf("now: %v by version %d, in force since position %d", allowed, past.Team.Catalog().Version, past.Catalog.Position)
	}
}

func TestMomentsThatThereIsNothingOf(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	owner := accountOn(t, s, "owner@example.com")
	stranger := accountOn(t, s, "stranger@example.com")
	before := Moment{Position: end(t, s.store)}
	beforeAt := Moment{At: clock.now()}
	clock.forward(time.Second)
	team := teamOf(t, s, owner, "distribu")
	for name, c := range map[string]struct {
		by     Caller
		moment Moment
		kind   domain.Kind
	}{
		"a position before the team":   {owner, before, domain.NotFound},
		"a time before the team":       {owner, beforeAt, domain.NotFound},
		"a position that isn't yet":    {owner, Moment{Position: end(t, s.store) + 1}, domain.Invalid},
		"a time to come":               {owner, Moment{At: clock.now().Add(time.Microsecond)}, domain.Invalid},
		"somebody who isn't in it":     {stranger, Moment{At: clock.now()}, domain.NotFound},
		"somebody who isn't signed in": {Caller{}, Moment{At: clock.now()}, domain.Unauthenticated},
	} {
		var refusal *domain.Error
		if _, err := s.TeamAt(t.Context(), c.by, team, c.moment); !errors.As(err, &refusal) || refusal.Kind != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A team as of any position, and as of any time, is the fold of the events up
// to there, whatever happened.
func TestPastIsAFoldOfThePrefix(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	s.timelines.long = 5 // so that histories are kept, dropped and read in every way
	people := make([]Caller, 6)
	for i := range people {
		people[i] = accountOn(t, s, string(rune('a'+i))+"@example.com")
	}
	roles := []domain.RoleKey{"admin", "manager", "member", "viewer"}
	rapid.Check(t, func(r *rapid.T) {
		owner := people[0]
		team := teamOf(t, s, owner, "default")
		var sites []domain.SiteID
		invited := map[int]string{}
		for range rapid.IntRange(1, 30).Draw(r, "commands") {
			who := rapid.IntRange(1, len(people)-1).Draw(r, "who")
			user, role := people[who].User, rapid.SampledFrom(roles).Draw(r, "role")
			// Refusals are welcome: they leave nothing.
			switch rapid.IntRange(0, 11).Draw(r, "command") {
			case 0:
				email := string(rune('a'+who)) + "@example.com"
				if invitation, _, err := s.Invite(t.Context(), owner, team, InviteRequest{Email: email, Role: role}); err == nil {
					invited[who] = tokenOf(invitation)
				}
			case 1:
				_, _, _ = s.AcceptInvitation(t.Context(), people[who], invited[who], Acceptance{})
			case 2:
				_, _ = s.ChangeRole(t.Context(), owner, team, user, role)
			case 3:
				_, _ = s.SetOverrides(t.Context(), owner, team, user, domain.Overrides{Granted: []domain.Permission{"billing:read"}})
			case 4:
				if site, _, err := s.AddSite(t.Context(), owner, team, rapid.StringMatching(`[a-z]{8}`).Draw(r, "site")); err == nil {
					sites = append(sites, site.ID)
				}
			case 5:
				if len(sites) > 0 {
					grant := domain.SiteGrant{Site: rapid.SampledFrom(sites).Draw(r, "on"), Role: role}
					_, _ = s.SetSites(t.Context(), owner, team, user, []domain.SiteGrant{grant})
				}
			case 6:
				_, _ = s.RemoveMember(t.Context(), owner, team, user)
			case 7:
				if len(sites) > 0 {
					_, _ = s.RemoveSite(t.Context(), owner, team, rapid.SampledFrom(sites).Draw(r, "off"))
				}
			case 8:
				clock.forward(time.Duration(rapid.IntRange(1, 200).Draw(r, "hours")) * time.Hour)
			case 9: // a question in between
				if _, err := s.TeamAt(t.Context(), owner, team, Moment{}); err != nil {
					t.Fatal(err)
				}
			case 10:
				s.timelines.teams.InvalidateAll()
			case 11:
				s.teams.forget()
			}
		}
		commits, err := s.store.Load(t.Context(), eventstore.Stream{Kind: eventstore.KindTeam, ID: string(team)}, 0)
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(1, len(commits)).Draw(r, "prefix")
		last := commits[n-1]
		prefix := domain.NewTeam(team, s.catalogs)
		for _, commit := range commits[:n] {
			for i, recorded := range commit.Events {
				prefix.Apply(recorded.Event, commit.Meta(i))
			}
		}
		moments := []Moment{{Position: last.Position}}
		if n == len(commits) || commits[n].At.After(last.At) {
			moments = append(moments, Moment{At: last.At})
		}
		for _, moment := range moments {
			past, err := s.TeamAt(t.Context(), owner, team, moment)
			if err != nil {
				t.Fatal(err)
			}
			if past.Version != last.Version || past.Position != last.Position || !past.At.Equal(last.At) {
				t.Fatalf("%+v is version %d at %d, %s", moment, past.Version, past.Position, past.At)
			}
			if differences := domain.Compare(prefix, past.Team, last.At, past.At); len(differences) > 0 {
				t.Fatalf("%+v: %+v", moment, differences)
			}
			for _, person := range people {
				for _, permission := range []domain.Permission{"billing:read", "members:invite", "orders:update"} {
					for _, site := range append([]domain.SiteID{""}, sites...) {
						want, got := prefix.Can(person.Actor, permission, site, last.At), past.Team.Can(person.Actor, permission, site, past.At)
						if got != want {
							t.Fatalf("%s on %q: %+v, want %+v", permission, site, got, want)
						}
					}
				}
			}
		}
	})
}

// A long history of a team in use is there before anybody asks about it, however
// the team came into memory.
func TestLongHistoriesAreKept(t *testing.T) {
	t.Parallel()
	s := service(t)
	s.timelines.long = 8
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "default")
	rename := func(times int) (version uint64) {
		for range times {
			done, err := s.RenameTeam(t.Context(), owner, team, eventstore.NewID("name"))
			if err != nil {
				t.Fatal(err)
			}
			version = done.Version
		}
		return version
	}
	kept := func(want uint64, when string) {
		t.Helper()
		s.background.work.Wait()
		var have []eventstore.Commit
		if known, ok := s.timelines.teams.GetIfPresent(team); ok {
			have = known.commits
		}
		if uint64(len(have)) != want {
			t.Fatalf("%s: %d commits are kept, want %d", when, len(have), want)
		}
		for i, commit := range have {
			if commit.Version != uint64(i+1) || commit.Stream.ID != string(team) {
				t.Fatalf("%s: commit %d is version %d of %s", when, i, commit.Version, commit.Stream.ID)
			}
		}
	}
	rename(6)
	kept(0, "a short history")
	kept(rename(1), "one that has become long")
	kept(rename(3), "one that goes on")

	s.timelines.teams.InvalidateAll()
	end := rename(1)
	kept(0, "one that was dropped for others")
	s.teams.forget()
	if _, err := s.TeamAt(t.Context(), owner, team, Moment{}); err != nil {
		t.Fatal(err)
	}
	kept(end, "one of a team that was asked about")

	s.timelines.teams.InvalidateAll()
	s.teams.forget()
	if _, err := s.ViewTeam(t.Context(), owner, team, func(*domain.Team, time.Time) error { return nil }); err != nil {
		t.Fatal(err)
	}
	kept(end, "one of a team that was read for something else")

	// What is heard of again, or after a gap, neither doubles nor tears it.
	all, err := s.store.Load(t.Context(), eventstore.Stream{Kind: eventstore.KindTeam, ID: string(team)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.timelines.teams.InvalidateAll()
	s.timelines.follow(string(team), all[:8])
	s.timelines.follow(string(team), all[9:])
	kept(8, "after a gap")
	s.timelines.follow(string(team), all[5:10])
	kept(10, "overlapping")
	s.timelines.follow(string(team), all[:9])
	kept(10, "all known")
}

// BenchmarkTeamAt asks about a moment in the middle of 10,000 events of one
// team: when nothing of it is in memory, when the history alone has been dropped
// for others, and when the team is in use.
func BenchmarkTeamAt(b *testing.B) {
	s := service(b)
	owner := accountOn(b, s, "owner@example.com")
	team := teamOf(b, s, owner, "tenants")
	one := member(b, s, owner, team, "one@example.com", "viewer")
	const events = 10_000
	for i := range events {
		role := []domain.RoleKey{"member", "viewer"}[i%2]
		if _, err := s.ChangeRole(b.Context(), owner, team, one.User, role); err != nil {
			b.Fatal(err)
		}
	}
	moment := Moment{Position: end(b, s.store) - events/2}
	ask := func(b *testing.B) {
		if _, err := s.TeamAt(b.Context(), owner, team, moment); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("in use", func(b *testing.B) {
		for b.Loop() {
			ask(b)
		}
	})
	b.Run("nothing in memory", func(b *testing.B) {
		for b.Loop() {
			s.teams.forget()
			s.timelines.teams.InvalidateAll()
			ask(b)
		}
	})
	b.Run("history dropped", func(b *testing.B) {
		for b.Loop() {
			s.timelines.teams.InvalidateAll()
			ask(b)
		}
	})
}
