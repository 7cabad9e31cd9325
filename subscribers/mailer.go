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

// ErrNotPending is a Directory's answer for what no message should be sent
// about.
var ErrNotPending = errors.New("subscribers: what the message is about no longer stands")

// Directory looks up what a message says. Each answers [ErrNotPending] when
// what the message would offer can't be done any more.
type Directory interface {
	// Invitation describes the invitation by a state of the team that is not
	// older than the given version. It is not pending when it has ended, its
	// link is not the one that works, or the team is gone.
	Invitation(ctx context.Context, of InvitationLink) (InvitationFacts, error)

	// Reset describes an account whose password is to be reset, by a state
	// that is not older than the request. It is not pending when the password
	// has changed since.
	Reset(ctx context.Context, of ResetRequest) (ResetFacts, error)

	// Transfer describes the transfer by a state of the team that is not older
	// than the given version.
	Transfer(ctx context.Context, of TransferRequest) (TransferFacts, error)
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

	// Token gives the secret part of an invitation's link, TransferToken that
	// of a transfer's.
	Token         func(domain.TeamID, domain.InvitationID, int) string
	TransferToken func(domain.TeamID, domain.TransferID) string

	// BaseURL is where Roster is reached from outside, such as
	// https://teams.example.com. Links are made of it and of nothing that
	// came with a request.
	BaseURL string

	// Record makes the outcome of an invitation durable; [Recorder.Record]
	// does.
	Record func(context.Context, Outcome) error

	Clock  Clock
	Logger *slog.Logger
}

// Mailer sends the messages that follow from events: an invitation and each of
// its new links, the reset of a password, and the transfer of an ownership.
//
// A message that the mail server puts off is tried again for about half a
// minute. What became of an invitation is then recorded: its page shows that,
// with the link to copy, and offers to send it again. The other messages have
// no such page: one that the mail server refuses for good is given up in the
// log, one that it puts off goes back to the [Router], which tries again and in
// the end keeps it in the poison queue. None of them waits for another that
// fails.
//
// The event is acknowledged once the outcome is known and durable. After a
// crash in between the message is sent twice, with the same Message-ID.
type Mailer struct {
	config MailerConfig
	mailID string // what follows the @ of a Message-ID

	// A bulk of invitations must not hold up a link that works for ten
	// minutes, so the others have turns of their own.
	invitationTurns, otherTurns turns
}

// turns bounds how many messages are on their way at once. Those that wait are
// sent by the goroutines that are at work already: on a new one the stack would
// grow to what a message needs, which takes longer than to write the message.
type turns struct {
	working chan struct{} // holds an element for each goroutine
	next    chan func()
}

func newTurns(atOnce int) turns {
	return turns{working: make(chan struct{}, atOnce), next: make(chan func())}
}

const (
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
	if config.Sender == nil || config.Directory == nil || config.Vault == nil || config.Token == nil || config.TransferToken == nil || config.Record == nil {
		return nil, errors.New("mailer: Sender, Directory, Vault, Token, TransferToken and Record are all needed")
	}
	config.BaseURL = strings.TrimRight(config.BaseURL, "/")
	config.Clock = config.Clock.orReal()
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	_, mailID, _ := strings.Cut(DefaultFrom(config.BaseURL), "@")
	atOnce := config.Sender.AtOnce()
	return &Mailer{
		config: config, mailID: mailID,
		invitationTurns: newTurns(atOnce), otherTurns: newTurns(atOnce),
	}, nil
}

// Subscription is the mailer's part in a [Router].
func (m *Mailer) Subscription() Subscription {
	return Subscription{
		Name:   MailerName,
		Events: []string{"member_invited", "invitation_resent", "password_reset_requested", "ownership_transfer_requested"},
		Handle: m.handle,
	}
}

// errand is one message that an event asks for.
type errand struct {
	kind, id  string // what it is about, for the log
	event     domain.EventID
	requestID string
	turns     turns

	// write looks everything up and writes the message, or answers
	// errNothingToSend.
	write func(context.Context) (Message, error)

	// finish makes something of how it ended: failure is nil when the message
	// was sent.
	finish func(ctx context.Context, e errand, failure *DeliveryError) error
}

var errNothingToSend = errors.New("nothing to send")

// errand is what the event at an index of a commit asks for, if anything.
func (m *Mailer) errand(commit *eventstore.Commit, i int) (e errand, wanted bool) {
	team := domain.TeamID(commit.Stream.ID)
	switch event := commit.Events[i].Event.(type) {
	case domain.MemberInvited:
		e = m.invitation(InvitationLink{Team: team, Version: commit.Version, Invitation: event.Invitation, Link: 1})
	case domain.InvitationResent:
		e = m.invitation(InvitationLink{Team: team, Version: commit.Version, Invitation: event.Invitation, Link: event.Link})
	case domain.PasswordResetRequested:
		e = m.reset(commit.Stream.ID, ResetRequest{User: event.User, Position: commit.Position, ExpiresAt: event.ExpiresAt})
	case domain.OwnershipTransferRequested:
		e = m.transfer(TransferRequest{Team: team, Version: commit.Version, Transfer: event.Transfer})
	default:
		return errand{}, false
	}
	e.event, e.requestID = commit.Events[i].ID, commit.RequestID
	return e, true
}

// handle sends the messages of one commit: one, or many after a bulk
// invitation.
func (m *Mailer) handle(ctx context.Context, commit eventstore.Commit) error {
	var errands []errand
	for i := range commit.Events {
		if e, wanted := m.errand(&commit, i); wanted {
			errands = append(errands, e)
		}
	}
	if len(errands) == 1 {
		return m.do(ctx, errands[0])
	}
	var group errgroup.Group
	for _, e := range errands {
		group.Go(func() error { return m.do(ctx, e) })
	}
	return group.Wait()
}

// do runs one errand.
func (m *Mailer) do(ctx context.Context, e errand) error {
	if err := m.run(ctx, e); err != nil {
		return fmt.Errorf("mailer: %s %s: %w", e.kind, e.id, err)
	}
	return nil
}

// recovered is deferred to make an error of a panic. The router's own guard
// sees only its own goroutine.
func recovered(err *error) {
	if panicked := recover(); panicked != nil {
		*err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
	}
}

// run sends one message and finishes with the outcome. Every attempt looks
// everything up again, so that nothing is sent about what was cancelled or to
// a person who was erased while waiting.
func (m *Mailer) run(ctx context.Context, e errand) (err error) {
	defer recovered(&err)
	var started time.Time // of the first attempt: waiting for a turn is not failing
	for attempt := 0; ; attempt++ {
		var failure *DeliveryError
		waiting := e.turns.do(ctx, func() {
			if attempt == 0 {
				started = m.config.Clock.Now()
			}
			failure, err = m.attempt(ctx, e)
		})
		if waiting != nil {
			return waiting
		}
		if errors.Is(err, errNothingToSend) {
			return nil
		}
		if err != nil {
			return err
		}
		if failure == nil {
			return e.finish(ctx, e, nil)
		}
		m.report(failure, e, attempt)
		delay := time.Duration(0)
		if attempt < len(sendDelays) {
			delay = jitter(sendDelays[attempt])
		}
		waited := m.config.Clock.Now().Sub(started)
		if failure.Permanent || delay == 0 || waited+delay > patience+patience/5 {
			return e.finish(ctx, e, failure)
		}
		if err := m.config.Clock.wait(ctx, delay); err != nil {
			return err
		}
	}
}

// do sends when it is one's turn, and returns after that; or without having
// sent, when ctx ends.
func (t turns) do(ctx context.Context, send func()) error {
	sent := make(chan struct{})
	job := func() {
		defer close(sent)
		send()
	}
	select {
	case t.next <- job:
	case t.working <- struct{}{}:
		go t.work(job)
	case <-ctx.Done():
		return ctx.Err()
	}
	<-sent
	return nil
}

// work sends until nobody waits.
func (t turns) work(send func()) {
	for {
		send()
		select {
		case send = <-t.next:
		default:
			<-t.working
			return
		}
	}
}

// attempt writes and sends the message once. Once it is on its way it is not
// broken off at once when ctx ends, since the server may have it already.
func (m *Mailer) attempt(ctx context.Context, e errand) (failure *DeliveryError, err error) {
	defer recovered(&err)
	if err := ctx.Err(); err != nil { // ended while it waited, or just when it was its turn
		return nil, err
	}
	message, err := e.write(ctx)
	if err != nil {
		return nil, err
	}
	message.ID = string(e.event) + "@" + m.mailID
	lasting, cancel := outlive(ctx, sendGrace)
	defer cancel()
	err = m.config.Sender.Send(lasting, message)
	if errors.As(err, &failure) {
		return failure, nil
	}
	return nil, err
}

// link is an absolute URL below the base URL, with a token at its end.
func (m *Mailer) link(page, token string) string {
	return m.config.BaseURL + page + url.PathEscape(token)
}

// unrecorded is the finish of a message whose outcome nobody but the operator
// is told. What may still succeed is an error, for the router to try again.
func (m *Mailer) unrecorded(_ context.Context, e errand, failure *DeliveryError) error {
	switch {
	case failure == nil:
		return nil
	case !failure.Permanent:
		return failure
	}
	m.config.Logger.Error("a message is given up, since sending it again would fail again",
		e.kind, e.id, "event", e.event, "detail", failure.Detail)
	return nil
}

// report logs a failed attempt. What the server wrote about the recipient may
// hold the address, so that is left out; what went wrong before any recipient
// was named is for the operator to read.
func (m *Mailer) report(failure *DeliveryError, e errand, attempt int) {
	attributes := []any{e.kind, e.id, "event", e.event, "attempt", attempt + 1,
		"permanent", failure.Permanent, "detail", failure.Detail}
	var aboutMessage *mail.SendError
	if failure.Cause != nil && !errors.As(failure.Cause, &aboutMessage) {
		attributes = append(attributes, "cause", failure.Cause)
	}
	m.config.Logger.Warn("a message was not delivered", attributes...)
}
