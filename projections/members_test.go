package projections

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

func TestMembersShowWhatEventsSay(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	bob := w.register("Bob", "bob@example.com")
	team := w.team(ann, "Acme")
	founded := w.now
	stream := teamStream(team)
	w.join(team, ann, bob)
	joined := w.now
	east, west := domain.SiteID(eventstore.NewID(domain.PrefixSite)), domain.SiteID(eventstore.NewID(domain.PrefixSite))
	w.commit(stream, by{}, domain.SiteAdded{Site: east, Name: "East"}, domain.SiteAdded{Site: west, Name: "West"})
	w.commit(stream, by{}, domain.SiteRenamed{Site: east, From: "East", To: "Orient"})
	w.commit(stream, by{}, domain.SitesChanged{User: bob, After: []domain.SiteGrant{{Site: west, Role: "ADMIN"}, {Site: east, Role: "MEMBER"}}})
	w.commit(stream, by{}, domain.RoleChanged{User: bob, From: "MEMBER", To: "ADMIN"})
	overrides := domain.Overrides{Granted: []domain.Permission{"billing:read"}, Revoked: []domain.Permission{"team:invite", "team:remove"}}
	w.commit(stream, by{}, domain.PermissionsChanged{User: bob, After: overrides})
	w.signIn(bob)
	signedIn := w.now
	w.rename(bob, "Robert")
	w.commit(userStream(bob), by{actor: domain.ByUser(bob)}, domain.EmailVerified{})
	full := w.last
	w.commit(stream, by{}, domain.SiteRemoved{Site: west, Name: "West"})
	withoutWest := w.last
	w.commit(stream, by{}, domain.OwnershipTransferred{From: ann, To: bob, FromRole: "ADMIN", ToRole: "ADMIN"})
	transferred := w.last
	w.commit(stream, by{}, domain.MemberRemoved{User: ann, Role: "ADMIN"})
	removed := w.last
	w.join(team, bob, ann)
	rejoined := w.now
	all := w.commits()

	none := domain.Overrides{Granted: []domain.Permission{}, Revoked: []domain.Permission{}}
	annRow := Member{User: ann, Email: "ann@example.com", Name: "Ann", Role: "OWNER", Sites: []MemberSite{}, Overrides: none, JoinedAt: founded}
	bobRow := Member{
		User: bob, Email: "bob@example.com", Name: "Robert", EmailVerified: true, Role: "ADMIN",
		Sites:     []MemberSite{{Site: west, Name: "West", Role: "ADMIN"}, {Site: east, Name: "Orient", Role: "MEMBER"}},
		Overrides: overrides, JoinedAt: joined, LastSignInAt: signedIn,
	}
	bobWithoutWest := bobRow
	bobWithoutWest.Sites = bobRow.Sites[1:]
	annAdmin, bobOwner := annRow, bobRow
	annAdmin.Role = "ADMIN"
	bobOwner.Role, bobOwner.Sites, bobOwner.Overrides = "OWNER", []MemberSite{}, none
	annAgain := annRow
	annAgain.Role, annAgain.JoinedAt = "MEMBER", rejoined

	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		run, err := p.newRun(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		at := uint64(0)
		for _, step := range []struct {
			what  string
			until uint64
			want  []Member
		}{
			{"everything", full, []Member{annRow, bobRow}},
			{"a site removed", withoutWest, []Member{annRow, bobWithoutWest}},
			{"ownership transferred", transferred, []Member{annAdmin, bobOwner}},
			{"the old owner removed", removed, []Member{bobOwner}},
			{"the old owner back as member", w.last, []Member{bobOwner, annAgain}},
		} {
			if err := run.handle(testContext(t), all[at:step.until]); err != nil {
				t.Fatal(err)
			}
			at = step.until
			got, next, err := p.Members(testContext(t), team, MembersFilter{})
			if err != nil || next != (MemberKey{}) {
				t.Fatal(err, next)
			}
			same(t, step.what, step.want, got)
		}
		got, err := p.Member(testContext(t), team, bob, w.now)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "one member", bobOwner, got)
		some, err := p.SomeMembers(testContext(t), team, []domain.UserID{"user_nobody", bob}, w.now)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "some members", map[domain.UserID]Member{bob: got}, some)
		if _, err := p.Member(testContext(t), team, "user_nobody", w.now); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("an unknown member: %v", err)
		}
	})
}

func TestTeamsOfAUser(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com")
	first := w.team(ann, "First")
	firstAt := w.now
	second := w.team(bob, "Second")
	w.join(second, bob, ann)
	secondAt := w.now
	gone := w.team(ann, "Gone")
	w.join(gone, ann, bob)
	left := w.team(bob, "Left")
	w.join(left, bob, ann)
	w.commit(teamStream(left), by{}, domain.MemberLeft{User: ann, Role: "MEMBER"})
	w.commit(teamStream(gone), by{}, domain.TeamDeleted{})
	w.commit(teamStream(second), by{}, domain.TeamRenamed{From: "Second", To: "Two"}, domain.PlanChanged{From: "starter", To: "growth"})
	// Neither a new name nor a sign-in brings a deleted team back.
	w.rename(bob, "Robert")
	w.signIn(bob)

	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		got, err := p.TeamsOf(testContext(t), ann, w.now)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "teams", []Membership{
			{Team: first, Name: "First", Catalog: "distribu", Plan: "starter", Role: "OWNER", JoinedAt: firstAt},
			{Team: second, Name: "Two", Catalog: "distribu", Plan: "growth", Role: "MEMBER", JoinedAt: secondAt},
		}, got)
		members, _, err := p.Members(testContext(t), gone, MembersFilter{})
		if err != nil || len(members) != 0 {
			t.Errorf("members of a deleted team: %v, %v", members, err)
		}
		if got, err = p.TeamsOf(testContext(t), "user_nobody", w.now); err != nil || len(got) != 0 {
			t.Errorf("teams of nobody: %v, %v", got, err)
		}
	})
}

func TestMembersQuery(t *testing.T) {
	w := newWorld(t)
	people := []struct{ name, email string }{
		{"Ann Lee", "ann@example.com"}, {"Zoë Öztürk", "zoe@example.org"}, {"100%", "percent@example.com"},
		{"under_score", "u@example.com"}, {`back\slash`, "b@example.com"}, {"nul\x00byte", "n@example.com"},
	}
	owner := w.register("Owner", "owner@nowhere.test")
	team := w.team(owner, "Acme")
	for _, person := range people {
		w.join(team, owner, w.register(person.name, person.email))
	}
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		for query, want := range map[string][]string{
			"ann": {"Ann Lee"}, "LEE": {"Ann Lee"}, "öZTÜRK": {"Zoë Öztürk"}, "EXAMPLE.ORG": {"Zoë Öztürk"},
			"%": {"100%"}, "_": {"under_score"}, `\`: {`back\slash`}, "r_s": {"under_score"}, "100\\%": nil,
			"nobody": nil, "'; DROP TABLE members; --": nil, "\x00": {"nul\uFFFDbyte"}, "\xff": {"nul\uFFFDbyte"},
			"lee\nann": {"Ann Lee"},
		} {
			members, _, err := p.Members(testContext(t), team, MembersFilter{Query: query})
			if err != nil {
				t.Errorf("query %q: %v", query, err)
				continue
			}
			var got []string
			for _, member := range members {
				got = append(got, member.Name)
			}
			same(t, fmt.Sprintf("query %q", query), want, got)
		}
	})
}

// Pages are cut by the position of joining, so members who come or go while
// somebody turns pages make nobody else appear twice or not at all.
func TestMembersPagesUnderInserts(t *testing.T) {
	w := newWorld(t)
	owner := w.register("Owner", "owner@example.com")
	team := w.team(owner, "Acme")
	users := []domain.UserID{owner}
	for i := range 20 {
		user := w.register(fmt.Sprintf("User %d", i), fmt.Sprintf("user%d@example.com", i))
		w.join(team, owner, user)
		users = append(users, user)
	}
	before := w.last
	late := w.register("Late", "late@example.com")
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, before)
		for limit := 1; limit <= 8; limit += 3 {
			var got []domain.UserID
			filter := MembersFilter{Limit: limit}
			for page := 0; ; page++ {
				members, next, err := p.Members(testContext(t), team, filter)
				if err != nil {
					t.Fatal(err)
				}
				if len(members) > limit {
					t.Fatalf("a page of %d members, with a limit of %d", len(members), limit)
				}
				for _, member := range members {
					got = append(got, member.User)
				}
				if next == (MemberKey{}) {
					break
				}
				filter.After = next
				if page == 2 { // somebody joins and leaves again
					w.join(team, owner, late)
					w.commit(teamStream(team), by{}, domain.MemberRemoved{User: late, Role: "MEMBER"})
					wait(t, p, w.last)
				}
			}
			same(t, fmt.Sprintf("pages of %d", limit), users, got)
		}
	})
}

func TestErasedPeopleHaveNoName(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com")
	team := w.team(ann, "Acme")
	w.join(team, ann, bob)
	w.signIn(bob)
	if _, err := w.store.Vault().Erase(testContext(t), w.keys[bob]); err != nil {
		t.Fatal(err)
	}
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		member, err := p.Member(testContext(t), team, bob, w.now)
		if err != nil || member.Name != "" || member.Email != "" || member.LastSignInAt.IsZero() {
			t.Errorf("an erased member is %+v, %v", member, err)
		}
		entries, _, err := p.Audit(testContext(t), team, AuditFilter{Actor: string(bob)})
		if err != nil || len(entries) != 2 {
			t.Fatal(entries, err)
		}
		for _, entry := range entries {
			if a := entry.Actor; a.ID != string(bob) || a.Name+a.Email+a.IP+a.UserAgent != "" {
				t.Errorf("an erased actor is %+v", a)
			}
		}
	})
}

func TestTimesAreMicroseconds(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 7008000, time.UTC)
	if got := timeOf(micros(at)); !got.Equal(at) {
		t.Errorf("got %v", got)
	}
	if !timeOf(micros(time.Time{})).IsZero() {
		t.Error("no time became a time")
	}
}

// A team may be deleted, and a member of it renamed, in one batch that finds
// nothing in memory.
func TestDeletedTeamIsNotReadBack(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	team := w.team(ann, "Acme")
	before := w.last
	w.commit(teamStream(team), by{}, domain.TeamDeleted{})
	w.rename(ann, "Anna")
	all := w.commits()
	onBoth(t, func(t *testing.T, backend backend) {
		whole, cold := openDatabase(t, backend.config(t)), openDatabase(t, backend.config(t))
		if err := newRun(t, newProjections(t, whole, w.store.Vault())).handle(testContext(t), all); err != nil {
			t.Fatal(err)
		}
		for _, part := range [][]eventstore.Commit{all[:before], all[before:]} {
			if err := newRun(t, newProjections(t, cold, w.store.Vault())).handle(testContext(t), part); err != nil {
				t.Fatal(err)
			}
		}
		same(t, "rows", dump(t, whole), dump(t, cold))
	})
}
