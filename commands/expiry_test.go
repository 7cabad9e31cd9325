package commands

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"roster/domain"
)

// A membership that has ended is none, on every way in, with nothing on record.
func TestAMembershipEndsWithoutASweeper(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clock := newHandClock()
	s := service(t, withClock(clock))
	owner := accountOn(t, s, "olga@example.com")
	team := teamOf(t, s, owner, "default")
	ann := member(t, s, owner, team, "ann@example.com", "admin")
	end := clock.now().Add(time.Hour)
	if _, err := s.SetExpiry(ctx, owner, team, ann.User, end.In(time.FixedZone("", 3600)).Add(time.Nanosecond)); err != nil {
		t.Fatal(err)
	}
	tries := map[string]func() error{
		"looking":  func() error { return look(s, ann, team) },
		"renaming": func() error { _, err := s.RenameTeam(ctx, ann, team, "Renamed by Ann"); return err },
		"choosing": func() error { _, err := s.ChooseTeam(ctx, ann, team); return err },
		"the past": func() error { _, err := s.TeamAt(ctx, ann, team, Moment{}); return err },
		"inviting": func() error {
			_, _, err := s.Invite(ctx, ann, team, InviteRequest{Email: "x@example.com", Role: "viewer", AccessExpiresAt: clock.now().Add(time.Second)})
			return err
		},
		"leaving": func() error { _, err := s.Leave(ctx, ann, team); return err },
	}
	clock.forward(time.Hour - time.Microsecond)
	if err := tries["looking"](); err != nil {
		t.Errorf("just before the end: %v", err)
	}
	clock.forward(time.Microsecond)
	before := versionOf(t, s, team)
	for what, try := range tries {
		if err := try(); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s at the end: %v", what, err)
		}
	}
	if after := versionOf(t, s, team); after != before {
		t.Errorf("%d events came of it", after-before)
	}
	// A node that starts anew says the same.
	if err := look(serviceOn(t, s.store, withClock(clock)), ann, team); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("after a restart: %v", err)
	}
	// It is recorded once, however often that is asked for.
	ended := atOnce(t, 8, func(int) error { return s.ExpireMember(ctx, team, ann.User) })
	if after := versionOf(t, s, team); ended["ok"] != 8 || after != before+1 {
		t.Errorf("recorded in %d commits: %v", after-before, ended)
	}
	all := history(t, s.store)
	if last := all[len(all)-1]; last.Actor != domain.Roster || last.Events[0].Event != domain.Event(domain.MemberExpired{User: ann.User, Role: "admin", ExpiredAt: end}) {
		t.Errorf("the record is %+v", last)
	}
}

// Ends that come while seats are given out free one seat each, and no more.
func TestInvitingRacesWithExpiry(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clock := newHandClock()
	a, b := twoNodes(t, withClock(clock))
	owner := accountOn(t, a, "olga@example.com")
	team := teamOf(t, a, owner, "default") // five seats
	var members []Caller
	for i := range 4 {
		members = append(members, member(t, a, owner, team, fmt.Sprintf("m%d@example.com", i), "member"))
	}
	end := clock.now().Add(time.Hour)
	for _, m := range members[:2] {
		if _, err := a.SetExpiry(ctx, owner, team, m.User, end); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := b.Invite(ctx, owner, team, InviteRequest{Email: "early@example.com", Role: "member"}); err == nil {
		t.Fatal("a seat too many")
	}
	clock.forward(time.Hour)
	ended := atOnce(t, 24, func(i int) error {
		s := []*Service{a, b}[i%2]
		if i%3 == 0 {
			return s.ExpireMember(ctx, team, members[i%2].User)
		}
		_, _, err := s.Invite(ctx, owner, team, InviteRequest{Email: fmt.Sprintf("new%d@example.com", i), Role: "member"})
		return err
	})
	if ended["ok"] != 8+2 || ended["seat_limit_reached"] != 14 {
		t.Errorf("it came to %v", ended)
	}
	expired, invited := 0, 0
	for _, commit := range history(t, a.store) {
		for _, recorded := range commit.Events {
			switch recorded.Event.(type) {
			case domain.MemberExpired:
				expired++
			case domain.MemberInvited:
				invited++
			}
		}
	}
	if expired != 2 || invited != 4+2 {
		t.Errorf("%d ends and %d invitations are on record", expired, invited)
	}
}

// A new end is on every node when it is acknowledged.
func TestAnEndIsKnownToEveryNode(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	a, b := twoNodes(t, withClock(clock))
	owner := accountOn(t, a, "olga@example.com")
	team := teamOf(t, a, owner, "default")
	ann := member(t, a, owner, team, "ann@example.com", "admin")
	if err := look(b, ann, team); err != nil {
		t.Fatal(err)
	}
	if _, err := a.SetExpiry(t.Context(), owner, team, ann.User, clock.now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	clock.forward(time.Second)
	if err := look(b, ann, team); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("the other node: %v", err)
	}
}

// Who comes back has the end of the last time on record before.
func TestComingBackAfterTheEnd(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clock := newHandClock()
	s := service(t, withClock(clock))
	owner := accountOn(t, s, "olga@example.com")
	team := teamOf(t, s, owner, "default")
	ann := member(t, s, owner, team, "ann@example.com", "admin")
	if _, err := s.SetExpiry(ctx, owner, team, ann.User, clock.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	clock.forward(time.Hour)
	end := clock.now().Add(24 * time.Hour)
	invitation, _, err := s.Invite(ctx, owner, team, InviteRequest{Email: "ann@example.com", Role: "viewer", AccessExpiresAt: end})
	if err != nil || !invitation.AccessExpiresAt.Equal(end) || !invitation.ExpiresAt.Equal(end) {
		t.Fatal(invitation, err)
	}
	accepted, _, err := s.AcceptInvitation(ctx, ann, tokenOf(invitation), Acceptance{})
	if err != nil || accepted.Team.Role != "viewer" {
		t.Fatal(accepted, err)
	}
	lookAt(t, s, team, func(state *domain.Team) {
		if m, ok := state.Member(ann.User, clock.now()); !ok || !m.ExpiresAt.Equal(end) || state.Seats(clock.now()).Members != 2 {
			t.Errorf("back as %+v", m)
		}
		if _, ok := state.Member(ann.User, end); ok {
			t.Error("still there at the end")
		}
	})
	var kinds []string
	for _, commit := range history(t, s.store) {
		if len(commit.Events) == 2 {
			kinds = append(kinds, fmt.Sprintf("%T %T", commit.Events[0].Event, commit.Events[1].Event))
		}
	}
	if fmt.Sprint(kinds) != "[domain.MemberExpired domain.MemberJoined]" {
		t.Errorf("commits of two events: %v", kinds)
	}
}
