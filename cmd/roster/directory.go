package main

import (
	"context"
	"time"

	"roster/commands"
	"roster/projections"
	"roster/subscribers"
)

// directory lets the subscribers look things up in the aggregates, which they
// don't know.
type directory struct{ service *commands.Service }

// Invitation describes one link of an invitation for the message about it.
func (d directory) Invitation(ctx context.Context, of subscribers.InvitationLink) (subscribers.InvitationFacts, error) {
	facts, err := d.service.InvitationFacts(ctx, of.Team, of.Version, of.Invitation, of.Link)
	if err != nil {
		return subscribers.InvitationFacts{}, err
	}
	if !facts.Stands {
		return subscribers.InvitationFacts{}, subscribers.ErrNotPending
	}
	described := subscribers.InvitationFacts{
		Email: facts.Email, Name: facts.Name, Team: facts.TeamName, Role: facts.RoleName, Inviter: facts.Inviter,
		Labels: facts.Labels, ExpiresAt: facts.ExpiresAt,
	}
	for _, site := range facts.Sites {
		described.Sites = append(described.Sites, subscribers.SiteRole(site))
	}
	return described, nil
}

// Reset describes the account whose password is to be reset.
func (d directory) Reset(ctx context.Context, of subscribers.ResetRequest) (subscribers.ResetFacts, error) {
	facts, err := d.service.ResetFacts(ctx, of.User, of.Position, of.ExpiresAt)
	if err != nil {
		return subscribers.ResetFacts{}, err
	}
	if !facts.Stands {
		return subscribers.ResetFacts{}, subscribers.ErrNotPending
	}
	return subscribers.ResetFacts{Email: facts.Email, Name: facts.Name, Labels: facts.Labels, Token: facts.Token}, nil
}

// Transfer describes an ownership transfer for the member who was chosen.
func (d directory) Transfer(ctx context.Context, of subscribers.TransferRequest) (subscribers.TransferFacts, error) {
	facts, err := d.service.TransferFacts(ctx, of.Team, of.Version, of.Transfer)
	if err != nil {
		return subscribers.TransferFacts{}, err
	}
	if !facts.Stands {
		return subscribers.TransferFacts{}, subscribers.ErrNotPending
	}
	return subscribers.TransferFacts{
		Email: facts.Email, Name: facts.Name, Owner: facts.Owner, Team: facts.TeamName,
		OwnerRole: facts.OwnerRole, NextRole: facts.PreviousOwnerRole, Labels: facts.Labels, ExpiresAt: facts.ExpiresAt,
	}, nil
}

// dueInvitations lists invitations whose expiry is to be recorded.
func dueInvitations(models *projections.Projections) func(context.Context, time.Time, int) ([]subscribers.DueInvitation, error) {
	return func(ctx context.Context, now time.Time, limit int) ([]subscribers.DueInvitation, error) {
		found, err := models.DueInvitations(ctx, now, limit)
		due := make([]subscribers.DueInvitation, len(found))
		for i, one := range found {
			due[i] = subscribers.DueInvitation(one)
		}
		return due, err
	}
}

// dueMembers lists members of whose access an end is to be recorded.
func dueMembers(models *projections.Projections) func(context.Context, time.Time, int) ([]subscribers.DueMember, error) {
	return func(ctx context.Context, now time.Time, limit int) ([]subscribers.DueMember, error) {
		found, err := models.DueMembers(ctx, now, limit)
		due := make([]subscribers.DueMember, len(found))
		for i, one := range found {
			due[i] = subscribers.DueMember(one)
		}
		return due, err
	}
}
