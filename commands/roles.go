package commands

import (
	"context"
	"time"

	"roster/domain"
)

// RoleChanges are what is to be changed of a role; nil leaves it as it is.
type RoleChanges struct {
	Name, Description *string
	Level             *int
	Permissions       *[]domain.Permission
}

// DefineRole adds a role of a team's own.
func (s *Service) DefineRole(ctx context.Context, by Caller, team domain.TeamID, want domain.RoleDefinition) (domain.RoleDefinition, Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.DefineRole(by.Actor, want, now)
	})
	if err != nil {
		return domain.RoleDefinition{}, Done{}, err
	}
	return out.commit.Events[0].Event.(domain.RoleDefined).Role, out.Done, nil
}

// EditRole changes what a role of a team's own means.
func (s *Service) EditRole(ctx context.Context, by Caller, team domain.TeamID, key domain.RoleKey, changes RoleChanges) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.EditRole(by.Actor, key, changes.To(t, key), now)
	})
	return out.Done, err
}

// To is what the role would mean. Of a role that there isn't, nothing is known;
// the decision refuses it.
func (c RoleChanges) To(t *domain.Team, key domain.RoleKey) domain.RoleDefinition {
	var want domain.RoleDefinition
	if role, ok := t.Role(key); ok {
		want = t.Definition(role)
	}
	if c.Name != nil {
		want.Name = *c.Name
	}
	if c.Description != nil {
		want.Description = *c.Description
	}
	if c.Level != nil {
		want.Level = *c.Level
	}
	if c.Permissions != nil {
		want.Permissions = *c.Permissions
	}
	return want
}

// DeleteRole removes a role of a team's own. Whoever has it gets the
// replacement; without one, a role that is in use is refused.
func (s *Service) DeleteRole(ctx context.Context, by Caller, team domain.TeamID, key, replacement domain.RoleKey) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.DeleteRole(by.Actor, key, replacement, now)
	})
	return out.Done, err
}
