package subscribers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"roster/domain"
)

// ResetRequest is a request to reset a password, as it was recorded.
type ResetRequest struct {
	User      domain.UserID
	Position  uint64
	ExpiresAt time.Time
}

// ResetFacts is the account whose password is to be reset.
type ResetFacts struct {
	Email  string // empty for somebody who was erased
	Name   string
	Labels domain.Labels
	Token  string // the secret part of the link
}

// reset sends the link that resets a password.
func (m *Mailer) reset(id string, of ResetRequest) errand {
	return errand{
		kind: "reset", id: id, turns: m.otherTurns, finish: m.unrecorded,
		write: func(ctx context.Context) (Message, error) {
			facts, err := m.config.Directory.Reset(ctx, of)
			if errors.Is(err, ErrNotPending) {
				return Message{}, errNothingToSend
			}
			if err != nil {
				return Message{}, fmt.Errorf("looking it up: %w", err)
			}
			now := m.config.Clock.Now()
			if facts.Email == "" || !now.Before(of.ExpiresAt) {
				return Message{}, errNothingToSend
			}
			letter := ResetLetter{Labels: facts.Labels, Name: facts.Name, Link: m.link("/reset/", facts.Token), ExpiresAt: of.ExpiresAt}
			return letter.Message(facts.Email, now)
		},
	}
}

// ResetLetter is what the message with the link that resets a password says.
// The name is written by the person and may be anything.
type ResetLetter struct {
	Labels    domain.Labels
	Name      string
	Link      string
	ExpiresAt time.Time
}

var resetTemplate = newLetterTemplate("reset")

// Message writes the letter; now is the moment from which the minutes until it
// expires are counted.
func (l *ResetLetter) Message(to string, now time.Time) (Message, error) {
	return resetTemplate.write(l.view(to, now))
}

func (l *ResetLetter) view(to string, now time.Time) *letterView {
	subject := "Reset your password on " + nameInSubject(l.Labels.Product)
	view := newLetterView(l.Labels.Product, subject, to, l.Link, "Choose a new password", l.ExpiresAt, now)
	view.add("Name", nameInText(l.Name))
	return view
}
