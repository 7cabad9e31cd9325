package commands

import (
	"context"
	"time"

	"roster/domain"
)

// OpenReview begins an access review of a team's members as they are now.
func (s *Service) OpenReview(ctx context.Context, by Caller, team domain.TeamID, name string, due *time.Time) (domain.ReviewID, Done, error) {
	id := domain.ReviewID(newID(ctx, domain.PrefixReview, "review"))
	if due != nil {
		utc := due.UTC().Truncate(time.Microsecond)
		due = &utc
	}
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.OpenReview(by.Actor, id, name, due, now)
	})
	if err != nil {
		return "", Done{}, err
	}
	return out.commit.Events[0].Event.(domain.AccessReviewOpened).Review, out.Done, nil
}

// DecideReview says of one member whether they stay; "removed" removes them in
// the same commit. The note is sealed under the key of whoever decides.
func (s *Service) DecideReview(
	ctx context.Context, by Caller, team domain.TeamID, id domain.ReviewID, user domain.UserID, decision domain.ReviewDecision, note string,
) (Done, error) {
	if by.Anonymous() {
		return Done{}, ErrUnauthenticated
	}
	var sealed domain.Sealed
	if note != "" {
		note, err := domain.CleanNote("#/note", note)
		if err != nil {
			return Done{}, err
		}
		if sealed, err = s.vault.Seal(ctx, by.DataKey, notePlace(id, user), note); err != nil {
			return Done{}, unavailable(err)
		}
	}
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.DecideReview(by.Actor, id, user, decision, sealed, now)
	})
	return out.Done, err
}

// CloseReview ends an access review.
func (s *Service) CloseReview(ctx context.Context, by Caller, team domain.TeamID, id domain.ReviewID) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.CloseReview(by.Actor, id, now)
	})
	return out.Done, err
}

// Note opens the note on a decision; nothing of a reviewer who has been erased.
func (s *Service) Note(ctx context.Context, id domain.ReviewID, user domain.UserID, verdict domain.Verdict) (string, error) {
	return s.open(ctx, verdict.Note, notePlace(id, user))
}

// notePlace is where a note is sealed for.
func notePlace(id domain.ReviewID, user domain.UserID) string {
	return string(id) + "/" + string(user) + "/note"
}
