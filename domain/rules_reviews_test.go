package domain_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

const (
	kept        = domain.DecisionKept
	takenAway   = domain.DecisionRemoved
	nextReview  = domain.ReviewID("rev-2")
	reviewNote  = domain.Sealed("sealed note")
	otherReview = domain.ReviewID("rev-other")
)

// An access review says of every member whether they stay. Whoever may remove
// members may hold one.
func TestAccessReviews(t *testing.T) {
	base := given(created("tenants"), joined("ada", "admin"), joined("bea", "admin"), joined("max", "manager"), joined("vera", "viewer"), key("k", "admin"))
	base = append(base, domain.APIKeyCreated{Key: "hers", Name: "hers", Role: "admin"})
	open := given(base, opened(5))
	late := given(open, joined("eve", "viewer"))
	closed := given(open, decided("max", kept), evs{domain.AccessReviewClosed{Review: "rev-1", Kept: 1, Undecided: 4}})
	due, past := now.Add(30*day), now
	removal := func(u user, r role) evs { return given(decided(u, takenAway), removed(u, r)) }
	check(t, []scenario{
		{"the owner opens one", base, now, openReview(as(owner), "First quarter", &due), evs{
			domain.AccessReviewOpened{Review: "rev-1", Name: "First quarter", Due: &due, Members: 5},
		}, nil},
		{"so does whoever may remove members", base, now, openReview(as("ada"), "", nil), opened(5), nil},
		{"and a key", base, now, openReview(asKey("k"), "", nil), opened(5), nil},
		{"others don't", base, now, openReview(as("max"), "", nil), nil, domain.ErrNotPermitted},
		{"it isn't due in the past", base, now, openReview(as(owner), "", &past), nil, badField("#/due")},
		{"its name is one line", base, now, openReview(as(owner), "a\nb", nil), nil, badField("#/name")},
		{"one is open at a time", open, now, openReview(as(owner), "", nil), nil, domain.ErrReviewOpen},
		{"after one is closed there may be another", closed, now, openReview(as(owner), "", nil), opened(5), nil},

		{"a member is kept", open, now, decide(as("ada"), "vera", kept), decided("vera", kept), nil},
		{"with a note", open, now, decide(as("ada"), "vera", kept, reviewNote), decided("vera", kept, reviewNote), nil},
		{"a member is removed at once", open, now, decide(as("ada"), "vera", takenAway), removal("vera", "viewer"), nil},
		{"by a key as well", open, now, decide(asKey("k"), "vera", takenAway), removal("vera", "viewer"), nil},
		{"by the rules of removing: an admin removes a manager", open, now, decide(as("ada"), "max", takenAway), removal("max", "manager"), nil},
		{"not without the permission", open, now, decide(as("max"), "vera", kept), nil, domain.ErrNotPermitted},
		{"the owner can be kept", open, now, decide(as("ada"), owner, kept), decided(owner, kept), nil},
		{"the owner can only be kept", open, now, decide(as("ada"), owner, takenAway), nil, domain.ErrOwnerIsPermanent},
		{"nobody keeps themselves", open, now, decide(as("ada"), "ada", kept), nil, domain.ErrReviewsSelf},
		{"nobody removes themselves", open, now, decide(as("ada"), "ada", takenAway), nil, domain.ErrReviewsSelf},
		{"not even the owner", open, now, decide(as(owner), owner, kept), nil, domain.ErrReviewsSelf},
		{"nor by a key that they made", open, now, decide(asKey("hers"), owner, kept), nil, domain.ErrReviewsSelf},
		{"a decision is kept or removed", open, now, decide(as("ada"), "vera", "perhaps"), nil, badField("#/decision")},

		{"who joined later isn't part of it", late, now, decide(as("ada"), "eve", kept), nil, domain.ErrNotReviewed},
		{"nor who left and joined again", given(open, removed("vera", "viewer"), joined("vera", "viewer")), now, decide(as("ada"), "vera", kept), nil, domain.ErrNotReviewed},
		{"who has left can't be decided on", given(open, removed("vera", "viewer")), now, decide(as("ada"), "vera", kept), nil, domain.ErrNotFound},
		{"nor who never was there", open, now, decide(as("ada"), "mallory", kept), nil, domain.ErrNotFound},
		{"a decision can be changed", given(open, decided("vera", kept)), now, decide(as("ada"), "vera", takenAway), removal("vera", "viewer"), nil},
		{"also by its note", given(open, decided("vera", kept)), now, decide(as(owner), "vera", kept, reviewNote), decided("vera", kept, reviewNote), nil},
		{"another reviewer decides for themselves", given(open, decided("vera", kept)), now, decide(as("ada"), "vera", kept), decided("vera", kept), nil},
		{"to keep twice is to keep once", given(open, decided("vera", kept)), now, decide(as(owner), "vera", kept), nil, nil},
		{"to remove twice is to remove once", given(open, removal("vera", "viewer")), now, decide(as("ada"), "vera", takenAway), nil, nil},
		{"a closed one is closed", closed, now, decide(as("ada"), "vera", kept), nil, domain.ErrReviewClosed},
		{"a review that there isn't", base, now, decide(as("ada"), "vera", kept), nil, domain.ErrNotFound},

		{"closing leaves the undecided as they are", given(open, decided("max", kept), removal("vera", "viewer"), removed("bea", "admin"), joined("eve", "viewer")), now,
			closeReview(as("ada")), evs{domain.AccessReviewClosed{Review: "rev-1", Kept: 1, Removed: 1, Left: 1, Undecided: 2}}, nil},
		{"closing twice is closing once", closed, now, closeReview(as("ada")), nil, nil},
		{"not without the permission to remove", open, now, closeReview(as("max")), nil, domain.ErrNotPermitted},
		{"none to close", base, now, closeReview(as("ada")), nil, domain.ErrNotFound},
	})
	// An admin can't remove an admin where the catalog says so.
	peers := given(created("default"), plan("business"), joined("ada", "admin"), joined("bea", "admin"), opened(3))
	check(t, []scenario{
		{"who may not remove somebody can't remove them in a review", peers, now, decide(as("ada"), "bea", takenAway), nil, domain.ErrRankTooLow},
		{"but say that they stay", peers, now, decide(as("ada"), "bea", kept), decided("bea", kept), nil},
	})
}

// reviewLines are the lines of the last review, from after a place on.
func reviewLines(t *domain.Team, after int) string {
	var lines []string
	for place, one := range t.UnderReview(after, now) {
		line := fmt.Sprintf("%d %s %s", place, one.User, one.Verdict.Decision)
		if one.Joined {
			line += "joined"
		}
		if !one.Left.IsZero() {
			line += " left " + one.Left.Sub(now).String()
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// A review shows what came of everybody, also of those who left or joined
// meanwhile, and piece by piece.
func TestWhatAnAccessReviewShows(t *testing.T) {
	base := given(created("tenants"), joined("ann", "viewer"), joined("bob", "viewer"), joined("cay", "viewer"), joined("dan", "viewer"), joined("fay", "viewer"),
		invited("eve", "viewer"), removed("cay", "viewer"))
	state := play(t, base, openReview(as(owner), "", nil),
		decide(as(owner), "ann", kept, reviewNote), decide(as(owner), "dan", takenAway), accept("eve"), leave("bob"), decide(as(owner), "fay", kept), leave("fay"))
	want := "1 olga \n2 ann kept\n3 bob  left 4m0s\n5 dan removed left 2m0s\n6 fay kept left 6m0s\n7 eve joined"
	if diff := cmp.Diff(want, reviewLines(state, 0)); diff != "" {
		t.Error(diff)
	}
	for after, from := range map[int]string{1: "2 ann", 3: "5 dan", 4: "5 dan", 5: "6 fay", 6: "7 eve", 7: ""} {
		if got := reviewLines(state, after); !strings.HasPrefix(got, from) || from == "" && got != "" || !strings.HasSuffix(want, got) {
			t.Errorf("after place %d come\n%s", after, got)
		}
	}
	for first := range state.UnderReview(0, now) { // and one may stop anywhere
		if first != 1 {
			t.Errorf("the first is %d", first)
		}
		break
	}
	for place := range state.UnderReview(2, now) {
		if place == 3 {
			break
		}
	}
	for u, want := range map[user]string{"ann": "kept", "dan": "removed", "bob": "", "eve": "no", "mallory": "no"} {
		one, ok := state.Reviewed(u, now)
		if got := string(one.Verdict.Decision); ok && got != want || ok == (want == "no") || ok && one.User != u {
			t.Errorf("%s came to %q, %t", u, got, ok)
		}
	}
	review, _ := state.Review("rev-1")
	if review.Members != 5 || review.Kept != 2 || review.Removed != 1 || review.Left != 1 || review.Undecided() != 1 || !review.Open() {
		t.Errorf("%+v", review)
	}
	if ann, _ := state.Member("ann", now); ann.Kept == nil || ann.Kept.Review != "rev-1" || ann.Kept.Given.At != now.Add(time.Minute) {
		t.Errorf("ann was kept: %+v", ann.Kept)
	}
	if eve, _ := state.Member("eve", now); eve.Kept != nil {
		t.Errorf("eve was kept: %+v", eve.Kept)
	}

	// Once it is closed, nothing changes it any more.
	closed := play(t, base, openReview(as(owner), "", nil), closeReview(as(owner)), leave("ann"), func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.OpenReview(as(owner), nextReview, "", nil, now)
	})
	first, _ := closed.Review("rev-1")
	if first.Open() || first.Undecided() != 5 || first.Left != 0 || len(closed.Reviews()) != 2 {
		t.Errorf("%+v", first)
	}
	if _, ok := closed.Review(otherReview); ok {
		t.Error("there is a review that nobody opened")
	}
	none := fold(base)
	if _, ok := none.Reviewed("ann", now); ok || reviewLines(none, 0) != "" {
		t.Error("without a review, people are under review")
	}
}
