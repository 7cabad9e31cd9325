package commands

import (
	"context"
	"time"

	"roster/domain"
)

// ResetFacts is what the message with the link that resets a password says.
type ResetFacts struct {
	Email, Name string // empty for an erased user
	Labels      domain.Labels
	Token       string // of the link
	Stands      bool   // the link works
}

// ResetFacts gives what the message says that was asked for by the commit at
// the position. A request from before the present password doesn't stand: a
// link that was asked for to replace one password must not replace the next.
func (s *Service) ResetFacts(ctx context.Context, id domain.UserID, position uint64, expiresAt time.Time) (ResetFacts, error) {
	if err := s.Wait(ctx, position); err != nil {
		return ResetFacts{}, err
	}
	var user domain.User
	if err := s.users.view(ctx, string(id), func(u *domain.User, _, _ uint64) { user = *u }); err != nil {
		return ResetFacts{}, err
	}
	if !user.Exists() || user.PasswordSet() > position || !s.Now().Before(expiresAt) {
		return ResetFacts{}, nil
	}
	account, err := s.account(ctx, &user)
	if err != nil {
		return ResetFacts{}, err
	}
	// An account belongs to no team, so it is named by the product's own words.
	catalog, err := s.catalogs.choose("")
	if err != nil {
		return ResetFacts{}, err
	}
	return ResetFacts{
		Email: account.Email, Name: account.Name, Labels: catalog.Labels,
		Token: s.resetToken(&user, expiresAt), Stands: true,
	}, nil
}

// TransferFacts is what the message says that asks a member to become the
// owner.
type TransferFacts struct {
	Email, Name       string // of the member; empty for an erased one
	Owner             string // the name of the present owner; empty for an erased one
	TeamName          string
	OwnerRole         string // the role that the member gets
	PreviousOwnerRole string // the role that the present owner gets
	Labels            domain.Labels
	ExpiresAt         time.Time
	Stands            bool // the transfer can be confirmed
}

// TransferFacts gives what the message about a transfer says, by a state of the
// team that isn't older than the version.
func (s *Service) TransferFacts(ctx context.Context, team domain.TeamID, version uint64, id domain.TransferID) (TransferFacts, error) {
	s.teams.observe(string(team), version)
	var facts TransferFacts
	var owner, to domain.UserID
	err := s.teams.view(ctx, string(team), func(t *domain.Team, _, _ uint64) {
		transfer := t.Transfer()
		if !t.Live() || transfer == nil || transfer.ID != id {
			return
		}
		roleName := func(key domain.RoleKey) string {
			if role, ok := t.Role(key); ok {
				return role.Name
			}
			return string(key)
		}
		owner, to = t.Owner(), transfer.To
		now := s.Now()
		_, there := t.Member(to, now)
		facts = TransferFacts{
			TeamName: t.Name(), OwnerRole: t.Catalog().OwnerRole().Name, PreviousOwnerRole: roleName(t.Catalog().Rules.PreviousOwnerRole),
			Labels: t.Catalog().Labels, ExpiresAt: transfer.ExpiresAt,
			Stands: there && !transfer.Ended && now.Before(transfer.ExpiresAt),
		}
	})
	if err != nil || !facts.Stands {
		return facts, err
	}
	chosen, _, err := s.me(ctx, to)
	if err != nil {
		return facts, err
	}
	present, _, err := s.me(ctx, owner)
	facts.Email, facts.Name, facts.Owner = chosen.User.Email, chosen.User.Name, present.User.Name
	return facts, err
}
