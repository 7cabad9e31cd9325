package subscribers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"roster/domain"
)

// TransferRequest names a transfer of a team's ownership.
type TransferRequest struct {
	Team     domain.TeamID
	Version  uint64 // of the team when it was asked for
	Transfer domain.TransferID
}

// TransferFacts is a transfer with the names around it.
type TransferFacts struct {
	Email     string // of the member who was chosen; empty for one who was erased
	Name      string
	Owner     string // the present one; empty for one who was erased
	Team      string
	OwnerRole string // what the chosen member is to be
	NextRole  string // what the present owner is after that
	Labels    domain.Labels
	ExpiresAt time.Time
}

// transfer asks the member who was chosen to confirm a transfer.
func (m *Mailer) transfer(of TransferRequest) errand {
	return errand{
		kind: "transfer", id: string(of.Transfer), turns: m.otherTurns, finish: m.unrecorded,
		write: func(ctx context.Context) (Message, error) {
			facts, err := m.config.Directory.Transfer(ctx, of)
			if errors.Is(err, ErrNotPending) {
				return Message{}, errNothingToSend
			}
			if err != nil {
				return Message{}, fmt.Errorf("looking it up: %w", err)
			}
			now := m.config.Clock.Now()
			if facts.Email == "" || !now.Before(facts.ExpiresAt) {
				return Message{}, errNothingToSend
			}
			letter := TransferLetter{
				Labels: facts.Labels, Name: facts.Name, Owner: facts.Owner, Team: facts.Team,
				OwnerRole: facts.OwnerRole, NextRole: facts.NextRole,
				Link: m.link("/ownership/", m.config.TransferToken(of.Team, of.Transfer)), ExpiresAt: facts.ExpiresAt,
			}
			return letter.Message(facts.Email, now)
		},
	}
}

// TransferLetter is what the message says that asks a member to become the
// owner. Names are written by people and may be anything.
type TransferLetter struct {
	Labels    domain.Labels
	Name      string // of the member who was chosen
	Owner     string // the present one; empty for one who was erased
	Team      string
	OwnerRole string
	NextRole  string
	Link      string
	ExpiresAt time.Time
}

var transferTemplate = newLetterTemplate("transfer")

// Message writes the letter; now is the moment from which the days until it
// expires are counted.
func (l *TransferLetter) Message(to string, now time.Time) (Message, error) {
	return transferTemplate.write(l.view(to, now))
}

func (l *TransferLetter) view(to string, now time.Time) *letterView {
	view := newLetterView(l.Labels.Product, l.subject(), to, l.Link, "Look at the transfer", l.ExpiresAt, now)
	view.add("TeamLabel", nameInText(l.Labels.Team))
	view.add("Name", nameInText(l.Name))
	view.add("Owner", nameInText(l.Owner))
	view.add("Team", nameInText(l.Team))
	view.add("OwnerRole", nameInText(l.OwnerRole))
	view.add("NextRole", nameInText(l.NextRole))
	return view
}

func (l *TransferLetter) subject() string {
	team, product := nameInSubject(l.Team), nameInSubject(l.Labels.Product)
	if owner := nameInSubject(l.Owner); owner != "" {
		return fmt.Sprintf("%s asks you to take over %s on %s", owner, team, product)
	}
	return fmt.Sprintf("You are asked to take over %s on %s", team, product)
}
