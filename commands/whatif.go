package commands

import (
	"context"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// WhatIf tells whose permissions a command would change, and by what, without
// carrying it out. What the command would refuse is refused.
func (s *Service) WhatIf(
	ctx context.Context, by Caller, team domain.TeamID,
	decide func(t *domain.Team, now time.Time) ([]domain.Event, error),
) ([]domain.Effect, *Past, error) {
	now, err := s.TeamAt(ctx, by, team, Moment{})
	if err != nil {
		return nil, nil, err
	}
	after := now.fold(team)
	events, err := decide(after, now.At)
	if err != nil {
		return nil, nil, err
	}
	for _, event := range events {
		after.Apply(event, domain.Meta{At: now.At, Actor: by.Actor})
	}
	return domain.Effects(now.Team, after, now.At), now, nil
}

// Undo turns an event of a team's past back, by a new command that has it as
// its cause. It gives the events that this made.
func (s *Service) Undo(ctx context.Context, by Caller, team domain.TeamID, id domain.EventID) ([]domain.Event, Done, error) {
	seen, err := s.ViewTeam(ctx, by, team, func(*domain.Team, time.Time) error { return nil })
	if err != nil {
		return nil, Done{}, err
	}
	commits, err := s.timelines.get(ctx, team, seen.Version)
	if err != nil {
		return nil, Done{}, err
	}
	event := eventIn(commits, id)
	if event == nil {
		return nil, Done{}, domain.ErrNotFound
	}
	by.Causation = id
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Undo(by.Actor, event, now)
	})
	if err != nil || out.commit == nil {
		return nil, out.Done, err
	}
	made := make([]domain.Event, len(out.commit.Events))
	for i, recorded := range out.commit.Events {
		made[i] = recorded.Event
	}
	return made, out.Done, nil
}

// eventIn finds an event by its id; nil when it isn't there.
func eventIn(commits []eventstore.Commit, id domain.EventID) domain.Event {
	for i := range commits {
		for _, recorded := range commits[i].Events {
			if recorded.ID == id {
				return recorded.Event
			}
		}
	}
	return nil
}
