package commands

import (
	"testing"

	"roster/domain"
)

// A note can be read by others until the one who wrote it is erased.
func TestNotesAreTheReviewers(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	admin := member(t, s, owner, team, "admin@example.com", "admin")
	vera := member(t, s, owner, team, "vera@example.com", "viewer")
	review, _, err := s.OpenReview(t.Context(), owner, team, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.DecideReview(t.Context(), admin, team, review, vera.User, domain.DecisionKept, "until June"); err != nil {
		t.Fatal(err)
	}
	note := func() string {
		t.Helper()
		past, err := s.TeamAt(t.Context(), owner, team, Moment{})
		if err != nil {
			t.Fatal(err)
		}
		one, _ := past.Team.Reviewed(vera.User, past.At)
		note, err := s.Note(t.Context(), review, vera.User, one.Verdict)
		if err != nil {
			t.Fatal(err)
		}
		return note
	}
	if got := note(); got != "until June" {
		t.Errorf("the note is %q", got)
	}
	if _, err := s.vault.Erase(t.Context(), vera.DataKey); err != nil {
		t.Fatal(err)
	}
	if got := note(); got != "until June" {
		t.Errorf("without the member, the note is %q", got)
	}
	if _, err := s.vault.Erase(t.Context(), admin.DataKey); err != nil {
		t.Fatal(err)
	}
	if got := note(); got != "" {
		t.Errorf("without the reviewer, the note is %q", got)
	}
	if _, err := s.DecideReview(t.Context(), owner, team, review, vera.User, domain.DecisionKept, "two\nlines"); err == nil {
		t.Error("a note of two lines is taken")
	}
}
