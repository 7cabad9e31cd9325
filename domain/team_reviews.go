package domain

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Review is an access review: somebody goes through the members as they were
// when it was opened, and says of each whether they stay.
type Review struct {
	ID     ReviewID
	Name   string     // may be empty
	Due    *time.Time // for people; nothing happens then
	Opened Given
	Closed Given // zero while it is open

	Members   int // when it was opened
	Kept      int
	Removed   int
	Left      int // left, or were removed otherwise, before anything was decided
	lastPlace int // in the roll, when it was opened: who came later isn't reviewed

	// What was decided and who went is kept of the last review alone; that of an
	// earlier one is what the team was when that was closed.
	decisions map[UserID]Verdict
	departed  []departure
}

// Undecided is how many members nothing was decided of.
func (r *Review) Undecided() int { return r.Members - r.Kept - r.Removed - r.Left }

// Open tells whether it still goes on.
func (r *Review) Open() bool { return r.Closed.At.IsZero() }

// ReviewDecision is what comes of one member in a review.
type ReviewDecision string

const (
	DecisionKept    ReviewDecision = "kept"
	DecisionRemoved ReviewDecision = "removed"
)

// Verdict is a decision and who made it. Given is by the reviewer.
type Verdict struct {
	Decision ReviewDecision
	Note     Sealed
	Given    Given
}

// Kept is the last time that a review kept a member.
type Kept struct {
	Review ReviewID
	Given  Given
}

// departure is a member who was under review and isn't in the team any more.
type departure struct {
	user  UserID
	place int
	at    time.Time
}

// MaxNoteRunes of a note on a decision.
const MaxNoteRunes = 500

// CleanNote checks a note on a decision; pointer names the input.
func CleanNote(pointer, note string) (string, error) { return cleanName(pointer, note, MaxNoteRunes) }

// Reviews lists the access reviews in the order of their opening. They must not
// be changed.
func (t *Team) Reviews() []*Review { return t.reviews }

// Review finds an access review. It must not be changed.
func (t *Team) Review(id ReviewID) (*Review, bool) {
	// The one that is looked for is nearly always the last.
	for _, review := range slices.Backward(t.reviews) {
		if review.ID == id {
			return review, true
		}
	}
	return nil, false
}

// openReview is the review that goes on; nil when none does.
func (t *Team) openReview() *Review {
	if review := t.lastReview(); review != nil && review.Open() {
		return review
	}
	return nil
}

func (t *Team) lastReview() *Review {
	if len(t.reviews) == 0 {
		return nil
	}
	return t.reviews[len(t.reviews)-1]
}

// OpenReview begins a review of the members as they are now. One goes on at a
// time. It takes the permission to remove members, as do its decisions.
func (t *Team) OpenReview(by Actor, id ReviewID, name string, due *time.Time, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionRemoveMember, now); err != nil {
		return nil, err
	}
	if name != "" {
		var err error
		if name, err = cleanName("#/name", name, MaxNameRunes); err != nil {
			return nil, err
		}
	}
	if due != nil && !now.Before(*due) {
		return nil, invalid("#/due", "lies in the past")
	}
	if t.openReview() != nil {
		return nil, ErrReviewOpen
	}
	return []Event{AccessReviewOpened{Review: id, Name: name, Due: due, Members: t.memberCount(now)}}, nil
}

// DecideReview says of one member whether they stay. "removed" removes them at
// once, by the rules of [Team.Remove]; so the owner can only be kept. Nobody
// decides on themselves, nor by an API key of their own making. A decision can
// be changed while the review is open and the member is there.
func (t *Team) DecideReview(by Actor, id ReviewID, user UserID, decision ReviewDecision, note Sealed, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionRemoveMember, now); err != nil {
		return nil, err
	}
	review, ok := t.Review(id)
	if !ok {
		return nil, ErrNotFound
	}
	before := review.decisions[user]
	member, ok := t.member(user, now)
	switch {
	case !review.Open():
		return nil, ErrReviewClosed
	case !ok && before.Decision == DecisionRemoved && decision == DecisionRemoved:
		return nil, nil // done
	case !ok:
		return nil, ErrNotFound
	case member.place > review.lastPlace:
		return nil, ErrNotReviewed
	case t.isOrMadeBy(by, user, now):
		return nil, ErrReviewsSelf
	}
	decided := AccessReviewDecided{Review: id, User: user, Decision: decision, Note: note}
	switch decision {
	case DecisionKept:
		if before.Decision == decision && before.Given.By == by && before.Note == "" && note == "" {
			return nil, nil
		}
		return []Event{decided}, nil
	case DecisionRemoved:
		removal, err := t.Remove(by, user, now)
		if err != nil {
			return nil, err
		}
		return append([]Event{decided}, removal...), nil
	}
	return nil, invalid("#/decision", "must be kept or removed")
}

// isOrMadeBy tells whether the actor is the user, or an API key that the user
// made.
func (t *Team) isOrMadeBy(by Actor, user UserID, now time.Time) bool {
	who, _ := t.holder(by, now)
	return by == ByUser(user) || who.key != nil && who.key.CreatedBy == ByUser(user)
}

// CloseReview ends a review. Members of whom nothing was decided stay, and are
// on record as undecided.
func (t *Team) CloseReview(by Actor, id ReviewID, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionRemoveMember, now); err != nil {
		return nil, err
	}
	review, ok := t.Review(id)
	switch {
	case !ok:
		return nil, ErrNotFound
	case !review.Open():
		return nil, nil
	}
	standing := t.Standing(review, now)
	return []Event{AccessReviewClosed{
		Review: id, Kept: standing.Kept, Removed: standing.Removed, Left: standing.Left, Undecided: standing.Undecided(),
	}}, nil
}

// Standing is a review as it is at a moment: members whose access has ended by
// then have left, whether or not that was recorded.
func (t *Team) Standing(review *Review, now time.Time) Review {
	standing := *review
	if !review.Open() {
		return standing
	}
	for _, end := range t.memberEnds.passed(now) {
		if member := t.members[end.id]; review.lost(member) && review.decisions[end.id].Decision == "" {
			standing.Left++
		}
	}
	return standing
}

// lost tells whether one whose membership has ended by itself was under review.
func (r *Review) lost(member *Member) bool {
	return member.place <= r.lastPlace && member.ExpiresAt.After(r.Opened.At)
}

// Reviewed is one person in a review.
type Reviewed struct {
	User    UserID
	Role    RoleKey   // empty for one who isn't in the team any more
	Left    time.Time // when they went; zero for a member
	Verdict Verdict   // zero while nothing is decided

	// Joined is true for one who joined after the review was opened, and so
	// isn't part of it.
	Joined bool
}

// UnderReview goes through the people of the last review, with places as
// [Team.Members] has them: those who were members when it was opened, also if
// they have left since, and then those who joined later. Of a review that is
// closed, it is to be asked of the team as it was then, and by that time.
func (t *Team) UnderReview(after int, now time.Time) iter.Seq2[int, Reviewed] {
	return func(yield func(int, Reviewed) bool) {
		review := t.lastReview()
		if review == nil {
			return
		}
		gone := slices.SortedFunc(slices.Values(review.departed), func(a, b departure) int { return cmp.Compare(a.place, b.place) })
		first, found := slices.BinarySearchFunc(gone, after, func(d departure, place int) int { return cmp.Compare(d.place, place) })
		if found {
			first++
		}
		gone = gone[first:]
		goneBefore := func(place int) bool {
			for ; len(gone) > 0 && gone[0].place < place; gone = gone[1:] {
				d := gone[0]
				if !yield(d.place, review.gone(d)) {
					return false
				}
			}
			return true
		}
		for place, member := range t.roll.after(after) {
			if !goneBefore(place) {
				return
			}
			one := review.of(member)
			if ended(member.ExpiresAt, now) {
				if !review.lost(member) {
					continue
				}
				one = review.gone(departure{member.User, place, member.ExpiresAt})
			}
			if !yield(place, one) {
				return
			}
		}
		goneBefore(review.lastPlace + 1)
	}
}

// Reviewed finds one person in the last review.
func (t *Team) Reviewed(user UserID, now time.Time) (Reviewed, bool) {
	review := t.lastReview()
	if review == nil {
		return Reviewed{}, false
	}
	if member, ok := t.members[user]; ok && member.place <= review.lastPlace {
		if !ended(member.ExpiresAt, now) {
			return review.of(member), true
		}
		return review.gone(departure{user, member.place, member.ExpiresAt}), review.lost(member)
	}
	for _, d := range review.departed {
		if d.user == user {
			return review.gone(d), true
		}
	}
	return Reviewed{}, false
}

// of is what came of a member.
func (r *Review) of(member *Member) Reviewed {
	one := Reviewed{User: member.User, Role: member.Role, Joined: member.place > r.lastPlace}
	if !one.Joined {
		one.Verdict = r.decisions[member.User]
	}
	return one
}

// gone is what came of one who has left since.
func (r *Review) gone(d departure) Reviewed {
	return Reviewed{User: d.user, Left: d.at, Verdict: r.decisions[d.user]}
}

func (t *Team) applyReviewOpened(e AccessReviewOpened, given Given) {
	if last := t.lastReview(); last != nil {
		last.decisions, last.departed = nil, nil
	}
	t.reviews = append(t.reviews, &Review{
		ID: e.Review, Name: e.Name, Due: e.Due, Opened: given,
		Members: t.memberCount(given.At), lastPlace: t.roll.last, decisions: map[UserID]Verdict{},
	})
}

func (t *Team) applyReviewDecided(e AccessReviewDecided, given Given) {
	review := t.openReview()
	if review == nil || review.ID != e.Review {
		return
	}
	if review.decisions[e.User].Decision == DecisionKept { // till now
		review.Kept--
	}
	member, ok := t.members[e.User]
	switch {
	case e.Decision == DecisionRemoved:
		review.Removed++
	case ok:
		review.Kept++
		member.Kept = &Kept{Review: e.Review, Given: given}
	}
	review.decisions[e.User] = Verdict{Decision: e.Decision, Note: e.Note, Given: given}
}

func (t *Team) applyReviewClosed(e AccessReviewClosed, given Given) {
	if review := t.openReview(); review != nil && review.ID == e.Review {
		review.Closed = given
		review.Left = e.Left // some may not have been on record
	}
}

// departs notes that a member who is under review has left the team.
func (t *Team) departs(member *Member, at time.Time) {
	review := t.openReview()
	if review == nil || member.place > review.lastPlace || !at.After(review.Opened.At) && ended(member.ExpiresAt, at) {
		return
	}
	review.departed = append(review.departed, departure{user: member.User, place: member.place, at: at})
	if review.decisions[member.User].Decision == "" {
		review.Left++
	}
}
