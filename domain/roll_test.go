package domain_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"roster/domain"
)

// rollOf gives the members with their places, read in pieces of so many.
func rollOf(state *domain.Team, piece int) (members []user, places []int) {
	after := 0
	for {
		n := 0
		for place, member := range state.Members(after, now) {
			members, places, after = append(members, member.User), append(places, place), place
			if n++; n == piece {
				break
			}
		}
		if n < piece {
			return members, places
		}
	}
}

func TestMembersAreListedInTheOrderOfJoining(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := fold(given(created("tenants")))
		want := []user{owner}
		placeOf := map[user]int{}
		for n := range rapid.IntRange(0, 60).Draw(t, "events") {
			who := user(rapid.StringMatching("[a-h]").Draw(t, "who"))
			at := slices.Index(want, who)
			switch {
			case at < 0:
				state.Apply(domain.MemberJoined{User: who, Role: "member"}, meta(n, as(owner), t0))
				want = append(want, who)
			case rapid.Bool().Draw(t, "removed"):
				state.Apply(domain.MemberRemoved{User: who}, meta(n, as(owner), t0))
				want = slices.Delete(want, at, at+1)
				delete(placeOf, who)
			default: // can't happen, and must not confuse the fold: it counts as joining anew
				state.Apply(domain.MemberJoined{User: who, Role: "viewer"}, meta(n, as(owner), t0))
				want = append(slices.Delete(want, at, at+1), who)
				delete(placeOf, who)
			}
			members, places := rollOf(state, rapid.IntRange(1, 4).Draw(t, "piece"))
			if diff := cmp.Diff(want, members); diff != "" {
				t.Fatal(diff)
			}
			for i, member := range members {
				if before, known := placeOf[member]; known && before != places[i] {
					t.Fatalf("%s had place %d and has %d", member, before, places[i])
				}
				placeOf[member] = places[i]
			}
			if !slices.IsSorted(places) || places[0] != 1 {
				t.Fatalf("places %v", places)
			}
		}
	})
}
