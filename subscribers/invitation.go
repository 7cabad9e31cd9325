package subscribers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// InvitationLink names one link of one invitation.
type InvitationLink struct {
	Team       domain.TeamID
	Version    uint64 // of the team when the link was made
	Invitation domain.InvitationID
	Link       int
}

// InvitationFacts is an invitation with the names around it.
type InvitationFacts struct {
	Email     domain.Sealed
	Name      domain.Sealed // empty when none was given
	Team      string
	Role      string
	Inviter   string // empty when it was not a person, or one who has been erased
	Sites     []SiteRole
	Labels    domain.Labels
	ExpiresAt time.Time

	// Sent is true when the message of this link is known to have been sent
	// already. It only spares the recipient a second copy after a restart, so
	// it need not be up to date.
	Sent bool
}

// SiteRole is a role on one site, by their names.
type SiteRole struct {
	Site string
	Role string
}

// invitation sends one link of an invitation and records what became of it.
func (m *Mailer) invitation(of InvitationLink) errand {
	return errand{
		kind: "invitation", id: string(of.Invitation), turns: m.invitationTurns,
		write: func(ctx context.Context) (Message, error) { return m.writeInvitation(ctx, of) },
		finish: func(ctx context.Context, e errand, failure *DeliveryError) error {
			outcome := Outcome{
				Delivery:  domain.InvitationDelivery{Team: of.Team, Invitation: of.Invitation, Link: of.Link, Status: domain.DeliverySent},
				Causation: e.event, RequestID: e.requestID,
			}
			if failure != nil {
				outcome.Delivery.Status, outcome.Delivery.Detail = domain.DeliveryFailed, failure.Detail
			}
			return m.record(ctx, outcome)
		},
	}
}

func (m *Mailer) writeInvitation(ctx context.Context, of InvitationLink) (Message, error) {
	facts, err := m.config.Directory.Invitation(ctx, of)
	if errors.Is(err, ErrNotPending) {
		return Message{}, errNothingToSend
	}
	if err != nil {
		return Message{}, fmt.Errorf("looking it up: %w", err)
	}
	now := m.config.Clock.Now()
	if facts.Sent || !now.Before(facts.ExpiresAt) {
		return Message{}, errNothingToSend
	}
	to, err := m.config.Vault.Open(ctx, facts.Email, string(of.Invitation)+"/email")
	if errors.Is(err, eventstore.ErrErased) || err == nil && to == "" {
		return Message{}, errNothingToSend
	}
	if err != nil {
		return Message{}, fmt.Errorf("opening the address: %w", err)
	}
	letter := InvitationLetter{
		Labels: facts.Labels, Inviter: facts.Inviter, Team: facts.Team, Role: facts.Role, Sites: facts.Sites,
		Link:      m.link("/invite/", m.config.Token(of.Team, of.Invitation, of.Link)),
		ExpiresAt: facts.ExpiresAt,
	}
	if facts.Name != "" {
		letter.Invitee, err = m.config.Vault.Open(ctx, facts.Name, string(of.Invitation)+"/name")
		if err != nil && !errors.Is(err, eventstore.ErrErased) {
			return Message{}, fmt.Errorf("opening the name: %w", err)
		}
	}
	return letter.Message(to, now)
}

// record makes the outcome durable. It does not give up while the process
// runs: to give up would be to send the message again.
func (m *Mailer) record(ctx context.Context, outcome Outcome) error {
	lasting, cancel := outlive(ctx, sendGrace)
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := m.config.Record(lasting, outcome)
		if err == nil {
			return nil
		}
		m.config.Logger.Error("what became of a message can't be recorded yet",
			"invitation", outcome.Delivery.Invitation, "event", outcome.Causation, "error", err)
		if m.config.Clock.wait(ctx, jitter(sendDelays[min(attempt, len(sendDelays)-1)])) != nil {
			return err
		}
	}
}

// InvitationLetter is what the message of an invitation says. Names are
// written by people and may be anything.
type InvitationLetter struct {
	Labels    domain.Labels
	Inviter   string // empty when it was not a person, or one who has been erased
	Invitee   string // empty when the inviter gave no name
	Team      string
	Role      string
	Sites     []SiteRole
	Link      string
	ExpiresAt time.Time
}

const maxSitesShown = 20

var invitationTemplate = newLetterTemplate("invitation")

// Message writes the letter; now is the moment from which the days until it
// expires are counted.
func (l *InvitationLetter) Message(to string, now time.Time) (Message, error) {
	return invitationTemplate.write(l.view(to, now))
}

func (l *InvitationLetter) view(to string, now time.Time) *letterView {
	view := newLetterView(l.Labels.Product, l.subject(), to, l.Link, "Accept the invitation", l.ExpiresAt, now)
	view.add("TeamLabel", nameInText(l.Labels.Team))
	view.add("SitesLabel", nameInText(l.Labels.Sites))
	view.add("Inviter", nameInText(l.Inviter))
	view.add("Invitee", nameInText(l.Invitee))
	view.add("Team", nameInText(l.Team))
	view.add("Role", nameInText(l.Role))
	shown := l.Sites[:min(len(l.Sites), maxSitesShown)]
	view.addSites(shown, len(l.Sites)-len(shown))
	return view
}

func (l *InvitationLetter) subject() string {
	team, product := nameInSubject(l.Team), nameInSubject(l.Labels.Product)
	if inviter := nameInSubject(l.Inviter); inviter != "" {
		return fmt.Sprintf("%s invited you to %s on %s", inviter, team, product)
	}
	return fmt.Sprintf("You are invited to %s on %s", team, product)
}
