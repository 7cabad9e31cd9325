package subscribers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
	"golang.org/x/sync/errgroup"

	"roster/domain"
	"roster/eventstore"
)

// MailerName is the name of the mailer's subscription.
const MailerName = "mailer"

// ErrNotPending is a Directory's answer for an invitation that no message
// should be sent for.
var ErrNotPending = errors.New("subscribers: the invitation is no longer pending under this link")

// Directory looks up what the message of an invitation says.
type Directory interface {
	// Invitation describes the invitation by a state of the team that is not
	// older than the given version. It answers [ErrNotPending] when the
	// invitation is not pending any more, its link is not the one that works,
	// or the team is gone.
	Invitation(ctx context.Context, of InvitationLink) (InvitationFacts, error)
}

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

// Opener opens sealed personal data; [eventstore.Vault] does. It answers
// [eventstore.ErrErased] for a person who has been erased.
type Opener interface {
	Open(ctx context.Context, sealed domain.Sealed, context string) (string, error)
}

// MailerConfig is what a [Mailer] works with. Clock and Logger may be left
// out.
type MailerConfig struct {
	Sender    Sender
	Directory Directory
	Vault     Opener

	// Token gives the secret part of a link.
	Token func(domain.TeamID, domain.InvitationID, int) string

	// BaseURL is where Roster is reached from outside, such as
	// https://teams.example.com. Links are made of it and of nothing that
	// came with a request.
	BaseURL string

	// Record makes an outcome durable; [Recorder.Record] does.
	Record func(context.Context, Outcome) error

	Clock  Clock
	Logger *slog.Logger
}

// Mailer sends the message of every invitation and of every new link, and
// records what became of it.
//
// A message that the mail server puts off is tried again for about half a
// minute, then recorded as failed: the invitation's page shows that, with the
// link to copy, and offers to send it again. The event is acknowledged once
// the outcome is durable. After a crash in between the message is sent twice,
// with the same Message-ID.
type Mailer struct {
	config  MailerConfig
	mailID  string // what follows the @ of a Message-ID
	sending chan struct{}
}

const (
	// mailConcurrency is how many messages are on their way at once. Mail
	// servers begin to refuse above about ten connections from one sender.
	mailConcurrency = 4

	// sendGrace is how long a message on its way may take to arrive when the
	// process is told to stop.
	sendGrace = 5 * time.Second

	// patience is how long a message is tried for.
	patience = 30 * time.Second
)

// sendDelays are the waits between attempts, before jitter: 30 seconds in all.
var sendDelays = []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

// NewMailer checks the configuration.
func NewMailer(config MailerConfig) (*Mailer, error) {
	base, err := url.Parse(config.BaseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, fmt.Errorf("mailer: the base URL %q is not of the form https://teams.example.com", config.BaseURL)
	}
	if config.Sender == nil || config.Directory == nil || config.Vault == nil || config.Token == nil || config.Record == nil {
		return nil, errors.New("mailer: Sender, Directory, Vault, Token and Record are all needed")
	}
	config.BaseURL = strings.TrimRight(config.BaseURL, "/")
	config.Clock = config.Clock.orReal()
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	_, mailID, _ := strings.Cut(DefaultFrom(config.BaseURL), "@")
	return &Mailer{config: config, mailID: mailID, sending: make(chan struct{}, mailConcurrency)}, nil
}

// Subscription is the mailer's part in a [Router].
func (m *Mailer) Subscription() Subscription {
	return Subscription{
		Name:   MailerName,
		Events: []string{"member_invited", "invitation_resent"},
		Handle: m.handle,
	}
}

// handle sends the messages of one commit: one, or many after a bulk
// invitation.
func (m *Mailer) handle(ctx context.Context, commit eventstore.Commit) error {
	var group errgroup.Group
	for i := range commit.Events {
		of := InvitationLink{Team: domain.TeamID(commit.Stream.ID), Version: commit.Version}
		switch event := commit.Events[i].Event.(type) {
		case domain.MemberInvited:
			of.Invitation, of.Link = event.Invitation, 1
		case domain.InvitationResent:
			of.Invitation, of.Link = event.Invitation, event.Link
		default:
			continue
		}
		group.Go(func() (err error) {
			// The router's own guard sees only its own goroutine.
			defer func() {
				if panicked := recover(); panicked != nil {
					err = fmt.Errorf("mailer: invitation %s: panic: %v\n%s", of.Invitation, panicked, debug.Stack())
				}
			}()
			if err := m.deliver(ctx, of, commit.Events[i].ID, commit.RequestID); err != nil {
				return fmt.Errorf("mailer: invitation %s: %w", of.Invitation, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// deliver sends one message and records the outcome. Every attempt looks
// everything up again, so that nothing is sent for an invitation that was
// cancelled or a person who was erased while waiting.
func (m *Mailer) deliver(ctx context.Context, of InvitationLink, event domain.EventID, requestID string) error {
	outcome := Outcome{
		Delivery:  domain.InvitationDelivery{Team: of.Team, Invitation: of.Invitation, Link: of.Link, Status: domain.DeliverySent},
		Causation: event, RequestID: requestID,
	}
	var started time.Time // of the first attempt: waiting for a turn is not failing
	for attempt := 0; ; attempt++ {
		if err := m.turn(ctx); err != nil {
			return err
		}
		if attempt == 0 {
			started = m.config.Clock.Now()
		}
		failure, err := m.attempt(ctx, of, event)
		if errors.Is(err, errNothingToSend) {
			return nil
		}
		if err != nil {
			return err
		}
		if failure == nil {
			break
		}
		m.report(failure, of, event, attempt)
		delay := time.Duration(0)
		if attempt < len(sendDelays) {
			delay = jitter(sendDelays[attempt])
		}
		waited := m.config.Clock.Now().Sub(started)
		if failure.Permanent || delay == 0 || waited+delay > patience+patience/5 {
			outcome.Delivery.Status, outcome.Delivery.Detail = domain.DeliveryFailed, failure.Detail
			break
		}
		if err := m.config.Clock.wait(ctx, delay); err != nil {
			return err
		}
	}
	return m.record(ctx, outcome)
}

var errNothingToSend = errors.New("nothing to send")

// message writes the message, or answers errNothingToSend.
func (m *Mailer) message(ctx context.Context, of InvitationLink, event domain.EventID) (Message, error) {
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
		Link:      m.config.BaseURL + "/invite/" + url.PathEscape(m.config.Token(of.Team, of.Invitation, of.Link)),
		ExpiresAt: facts.ExpiresAt,
	}
	if facts.Name != "" {
		letter.Invitee, err = m.config.Vault.Open(ctx, facts.Name, string(of.Invitation)+"/name")
		if err != nil && !errors.Is(err, eventstore.ErrErased) {
			return Message{}, fmt.Errorf("opening the name: %w", err)
		}
	}
	return letter.Message(string(event)+"@"+m.mailID, to, now)
}

// turn waits until fewer than mailConcurrency messages are on their way.
func (m *Mailer) turn(ctx context.Context) error {
	select {
	case m.sending <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if ctx.Err() != nil { // both at once
		<-m.sending
	}
	return ctx.Err()
}

// attempt writes and sends the message once, and ends the turn. Once it is on
// its way it is not broken off at once when ctx ends, since the server may have
// it already.
func (m *Mailer) attempt(ctx context.Context, of InvitationLink, event domain.EventID) (*DeliveryError, error) {
	defer func() { <-m.sending }()
	message, err := m.message(ctx, of, event)
	if err != nil {
		return nil, err
	}
	lasting, cancel := outlive(ctx, sendGrace)
	defer cancel()
	err = m.config.Sender.Send(lasting, message)
	var failure *DeliveryError
	if errors.As(err, &failure) {
		return failure, nil
	}
	return nil, err
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

// report logs a failed attempt. What the server wrote about the recipient may
// hold the address, so that is left out; what went wrong before any recipient
// was named is for the operator to read.
func (m *Mailer) report(failure *DeliveryError, of InvitationLink, event domain.EventID, attempt int) {
	attributes := []any{"invitation", of.Invitation, "event", event, "attempt", attempt + 1,
		"permanent", failure.Permanent, "detail", failure.Detail}
	var aboutMessage *mail.SendError
	if failure.Cause != nil && !errors.As(failure.Cause, &aboutMessage) {
		attributes = append(attributes, "cause", failure.Cause)
	}
	m.config.Logger.Warn("a message was not delivered", attributes...)
}
