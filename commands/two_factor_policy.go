package commands

import (
	"context"
	"time"

	"roster/domain"
)

// A team says of whom it requires a second factor, and an account whether it
// has one. They are different aggregates, so the two are brought together here,
// from what is in memory of both. A command that races with the removal of the
// actor's second factor may still get through.

// lacksFactor tells whether a second factor is required of a member by now
// whose account has none. It is for use under the lock of the team: the user is
// nearly always in memory, and loading one waits for nothing that waits for a
// team.
func (s *Service) lacksFactor(ctx context.Context, t *domain.Team, user domain.UserID, now time.Time) (lacks bool, err error) {
	if user == "" || !t.TwoFactorDue(user, now) {
		return false, nil
	}
	err = s.users.view(ctx, string(user), func(u *domain.User, _, _ uint64) { lacks = !u.HasSecondFactor() })
	return lacks, err
}

// Admit refuses a member who lacks the second factor that the team requires of
// them: they can leave the team, and nothing else. It may be called where
// ViewOwnTeam looks at the team.
func (s *Service) Admit(ctx context.Context, by Caller, t *domain.Team, now time.Time) error {
	lacks, err := s.lacksFactor(ctx, t, by.User, now)
	if err != nil || !lacks {
		return err
	}
	refusal := *domain.ErrTwoFactorRequired
	refusal.Facts = map[string]any{"enroll_url": s.baseURL + enrolPage}
	return &refusal
}

// enrolPage is where people set up their second factor.
const enrolPage = "/dashboard/account"

// Can decides like Team.Can, and denies what is allowed to a member who lacks
// the second factor that the team requires of them. It may be called where
// ViewTeam and ViewOwnTeam look at the team. For who is in memory it waits for
// nothing and allocates nothing.
func (s *Service) Can(
	ctx context.Context, t *domain.Team, by domain.Actor, permission domain.Permission, site domain.SiteID, now time.Time,
) (domain.Decision, error) {
	decision := t.Can(by, permission, site, now)
	if !decision.Allowed || by.Type != domain.ActorUser {
		return decision, nil
	}
	lacks, err := s.lacksFactor(ctx, t, domain.UserID(by.ID), now)
	switch {
	case err != nil:
		return domain.Decision{}, err
	case lacks:
		return t.WithoutSecondFactor(decision), nil
	}
	if end, coming := t.TwoFactorDeadline(domain.UserID(by.ID), now); coming && now.Before(end) && (decision.Until.IsZero() || end.Before(decision.Until)) {
		decision.Until = end // unless they set one up
	}
	return decision, nil
}

// SetTwoFactorPolicy says of whom in a team two-factor sign-in is required.
func (s *Service) SetTwoFactorPolicy(ctx context.Context, by Caller, team domain.TeamID, want domain.TwoFactorPolicy) (Done, error) {
	has := false
	if by.User != "" {
		if err := s.users.view(ctx, string(by.User), func(u *domain.User, _, _ uint64) { has = u.HasSecondFactor() }); err != nil {
			return Done{}, err
		}
	}
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.SetTwoFactorPolicy(by.Actor, want, has, now)
	})
	return out.Done, err
}
