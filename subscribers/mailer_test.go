package subscribers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
)

// directory answers from a map, after the question was looked at by the test.
type directory struct {
	mu    sync.Mutex
	asked []InvitationLink
	facts func(n int, of InvitationLink) (InvitationFacts, error)

	resets    []ResetRequest
	reset     func(n int) (ResetFacts, error)
	transfers []TransferRequest
	transfer  func(n int) (TransferFacts, error)
}

func (d *directory) Invitation(_ context.Context, of InvitationLink) (InvitationFacts, error) {
	d.mu.Lock()
	d.asked = append(d.asked, of)
	n := len(d.asked)
	d.mu.Unlock()
	if d.facts != nil {
		return d.facts(n, of)
	}
	return someFacts(), nil
}

func (d *directory) Reset(_ context.Context, of ResetRequest) (ResetFacts, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resets = append(d.resets, of)
	return d.reset(len(d.resets))
}

func (d *directory) Transfer(_ context.Context, of TransferRequest) (TransferFacts, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.transfers = append(d.transfers, of)
	return d.transfer(len(d.transfers))
}

func someFacts() InvitationFacts {
	return InvitationFacts{
		Email: domain.Sealed("sealed grace@example.com"), Name: "sealed Grace Hopper",
		Team: "Acme", Role: "Admin", Inviter: "Ada Lovelace", Labels: labels, ExpiresAt: letterTime.Add(7 * 24 * time.Hour),
	}
}

// plainVault opens what only looks sealed.
type plainVault struct{ erased bool }

func (v plainVault) Open(_ context.Context, sealed domain.Sealed, place string) (string, error) {
	if v.erased {
		return "", fmt.Errorf("opening: %w", eventstore.ErrErased)
	}
	invitation, field, _ := strings.Cut(place, "/")
	if !domain.ValidID(domain.PrefixInvitation, invitation) || field != "email" && field != "name" {
		return "", fmt.Errorf("sealed for another place than %q", place)
	}
	return strings.TrimPrefix(string(sealed), "sealed "), nil
}

// testClock stands still, and waiting takes no time. It notes the waits and
// moves on by each.
type testClock struct {
	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
	hook  func(n int)
}

func (c *testClock) clock() Clock {
	return Clock{
		Now: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.now
		},
		After: func(wait time.Duration) <-chan time.Time {
			c.mu.Lock()
			c.waits = append(c.waits, wait)
			c.now = c.now.Add(wait)
			n, now, hook := len(c.waits), c.now, c.hook
			c.mu.Unlock()
			if hook != nil {
				hook(n)
			}
			ready := make(chan time.Time, 1)
			ready <- now
			return ready
		},
	}
}

func (c *testClock) pass(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

// mailerTest is a mailer with a real mail server.
type mailerTest struct {
	mailer    *Mailer
	directory *directory
	clock     *testClock
	log       *bytes.Buffer
	server    *mailServer // where a test has no variable of its own for it

	mu       sync.Mutex
	outcomes []Outcome
	record   func(n int) error
}

func newMailerTest(t *testing.T, smtpURL string, vault Opener) *mailerTest {
	t.Helper()
	m := &mailerTest{directory: &directory{}, clock: &testClock{now: letterTime}, log: &bytes.Buffer{}}
	mailer, err := NewMailer(MailerConfig{
		Sender: newSMTP(t, smtpURL), Directory: m.directory, Vault: vault,
		Token: func(_ domain.TeamID, invitation domain.InvitationID, link int) string {
			return fmt.Sprintf("%s.%d", invitation, link)
		},
		TransferToken: func(_ domain.TeamID, transfer domain.TransferID) string { return string(transfer) + ".t" },
		BaseURL:       "https://teams.test/", Clock: m.clock.clock(), Logger: slog.New(slog.NewTextHandler(m.log, nil)),
		Record: func(_ context.Context, outcome Outcome) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.outcomes = append(m.outcomes, outcome)
			if m.record != nil {
				return m.record(len(m.outcomes))
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.mailer = mailer
	return m
}

// invited is a commit that invites n people.
func invited(n int) eventstore.Commit {
	commit := eventstore.Commit{
		Stream:  eventstore.Stream{Kind: eventstore.KindTeam, ID: eventstore.NewID(domain.PrefixTeam)},
		Version: 7, At: letterTime, Actor: domain.Operator, RequestID: "req_1",
	}
	for range n {
		commit.Events = append(commit.Events, eventstore.Recorded{
			ID:    domain.EventID(eventstore.NewID(domain.PrefixEvent)),
			Event: domain.MemberInvited{Invitation: domain.InvitationID(eventstore.NewID(domain.PrefixInvitation)), Role: "ADMIN", ExpiresAt: letterTime.Add(7 * 24 * time.Hour)},
		})
	}
	return commit
}

func (m *mailerTest) wantOutcome(t *testing.T, commit eventstore.Commit, link int, status domain.DeliveryStatus, detail string) {
	t.Helper()
	var invitation domain.InvitationID
	switch event := commit.Events[0].Event.(type) {
	case domain.MemberInvited:
		invitation = event.Invitation
	case domain.InvitationResent:
		invitation = event.Invitation
	}
	want := []Outcome{{
		Delivery:  domain.InvitationDelivery{Team: domain.TeamID(commit.Stream.ID), Invitation: invitation, Link: link, Status: status, Detail: detail},
		Causation: commit.Events[0].ID, RequestID: "req_1",
	}}
	if diff := cmp.Diff(want, m.outcomes); diff != "" {
		t.Error(diff)
	}
}

func TestMailerSendsAnInvitation(t *testing.T) {
	server := startMailServer(t, &mailServer{}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	commit := invited(1)
	if err := m.mailer.handle(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	invitation := commit.Events[0].Event.(domain.MemberInvited).Invitation
	got := server.messages()
	if len(got) != 1 || got[0].to != "grace@example.com" {
		t.Fatalf("got %+v", got)
	}
	message := got[0].parse(t)
	if message.MessageID != string(commit.Events[0].ID)+"@teams.test" || message.Subject != "Ada Lovelace invited you to Acme on Distribu" {
		t.Errorf("id %q, subject %q", message.MessageID, message.Subject)
	}
	link := fmt.Sprintf("https://teams.test/invite/%s.1", invitation)
	if !strings.Contains(message.Text, "\n"+link+"\n") || !strings.Contains(message.HTML, `href="`+link+`"`) || !strings.Contains(message.Text, "Hello Grace Hopper,") {
		t.Errorf("no link %s in %s", link, message.Text)
	}
	if want := (InvitationLink{Team: domain.TeamID(commit.Stream.ID), Version: 7, Invitation: invitation, Link: 1}); m.directory.asked[0] != want {
		t.Errorf("asked for %+v, want %+v", m.directory.asked[0], want)
	}
	m.wantOutcome(t, commit, 1, domain.DeliverySent, "")
}

func TestMailerSendsANewLink(t *testing.T) {
	server := startMailServer(t, &mailServer{}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	commit := invited(1)
	invitation := commit.Events[0].Event.(domain.MemberInvited).Invitation
	commit.Events[0].Event = domain.InvitationResent{Invitation: invitation, Link: 3, ExpiresAt: letterTime.Add(time.Hour)}
	if err := m.mailer.handle(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	if got := server.messages(); len(got) != 1 || !strings.Contains(got[0].parse(t).Text, string(invitation)+".3") {
		t.Errorf("got %+v", got)
	}
	m.wantOutcome(t, commit, 3, domain.DeliverySent, "")
}

func TestMailerTriesAgainWhatIsPutOff(t *testing.T) {
	server := startMailServer(t, &mailServer{refuse: func(attempt int, _ string) error {
		if attempt <= 2 {
			return refusal(451, smtp.EnhancedCode{4, 7, 1}, "greylisted")
		}
		return nil
	}}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	commit := invited(1)
	if err := m.mailer.handle(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	m.wantOutcome(t, commit, 1, domain.DeliverySent, "")
	if len(m.clock.waits) != 2 || server.tried() != 3 || len(server.messages()) != 1 {
		t.Errorf("waited %v, tried %d times, delivered %d", m.clock.waits, server.tried(), len(server.messages()))
	}
	for i, wait := range m.clock.waits {
		if nominal := sendDelays[i]; wait < nominal*8/10 || wait > nominal*12/10 {
			t.Errorf("wait %d was %s", i, wait)
		}
	}
}

func TestMailerGivesUpAtOnceOnARefusal(t *testing.T) {
	server := startMailServer(t, &mailServer{refuse: func(_ int, to string) error {
		return refusal(550, smtp.EnhancedCode{5, 1, 1}, "no such user: "+to)
	}}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	commit := invited(1)
	if err := m.mailer.handle(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	m.wantOutcome(t, commit, 1, domain.DeliveryFailed, "The mail server refused the address (550 5.1.1).")
	if server.tried() != 1 || len(m.clock.waits) != 0 {
		t.Errorf("tried %d times, waited %v", server.tried(), m.clock.waits)
	}
	if strings.Contains(m.log.String(), "example.com") || !strings.Contains(m.log.String(), "refused the address") {
		t.Errorf("log: %s", m.log)
	}
}

func TestMailerGivesUpOnAServerThatIsAway(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	m := newMailerTest(t, "smtp://"+listener.Addr().String(), plainVault{})
	commit := invited(1)
	if err := m.mailer.handle(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	m.wantOutcome(t, commit, 1, domain.DeliveryFailed, "The mail server can't be reached.")
	var total time.Duration
	for _, wait := range m.clock.waits {
		total += wait
	}
	if len(m.clock.waits) != len(sendDelays) || total < 24*time.Second || total > 36*time.Second {
		t.Errorf("waited %s in %v", total, m.clock.waits)
	}
	if !strings.Contains(m.log.String(), "connection refused") {
		t.Errorf("the operator isn't told why: %s", m.log)
	}
}

func TestMailerCountsSlowAttempts(t *testing.T) {
	server := startMailServer(t, &mailServer{}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	server.refuse = func(int, string) error {
		m.clock.pass(20 * time.Second)
		return refusal(451, smtp.EnhancedCode{4, 3, 0}, "slow")
	}
	commit := invited(1)
	if err := m.mailer.handle(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	m.wantOutcome(t, commit, 1, domain.DeliveryFailed, "The mail server put the address off (451 4.3.0).")
	if server.tried() != 2 {
		t.Errorf("tried %d times", server.tried())
	}
}

func TestMailerSendsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		vault plainVault
		facts func(n int, of InvitationLink) (InvitationFacts, error)
	}{
		"to somebody who was erased": {vault: plainVault{erased: true}},
		"for an invitation that is not pending": {facts: func(int, InvitationLink) (InvitationFacts, error) {
			return InvitationFacts{}, fmt.Errorf("the team says: %w", ErrNotPending)
		}},
		"for one that has expired": {facts: func(int, InvitationLink) (InvitationFacts, error) {
			facts := someFacts()
			facts.ExpiresAt = letterTime
			return facts, nil
		}},
		"that was sent already": {facts: func(int, InvitationLink) (InvitationFacts, error) {
			facts := someFacts()
			facts.Sent = true
			return facts, nil
		}},
		"without an address": {facts: func(int, InvitationLink) (InvitationFacts, error) {
			facts := someFacts()
			facts.Email = ""
			return facts, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server := startMailServer(t, &mailServer{}, nil, false)
			m := newMailerTest(t, "smtp://"+server.address, test.vault)
			m.directory.facts = test.facts
			if err := m.mailer.handle(t.Context(), invited(1)); err != nil {
				t.Fatal(err)
			}
			if len(server.messages()) != 0 || len(m.outcomes) != 0 {
				t.Errorf("sent %v, recorded %v", server.messages(), m.outcomes)
			}
		})
	}
}

func TestMailerLooksAgainBeforeEveryAttempt(t *testing.T) {
	server := startMailServer(t, &mailServer{refuse: func(int, string) error { return refusal(451, smtp.EnhancedCode{4, 3, 0}, "later") }}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	m.directory.facts = func(n int, _ InvitationLink) (InvitationFacts, error) {
		if n > 2 {
			return InvitationFacts{}, ErrNotPending // cancelled in the meantime
		}
		return someFacts(), nil
	}
	if err := m.mailer.handle(t.Context(), invited(1)); err != nil {
		t.Fatal(err)
	}
	if server.tried() != 2 || len(m.outcomes) != 0 {
		t.Errorf("tried %d times, recorded %v", server.tried(), m.outcomes)
	}
}

func TestMailerStopsBetweenAttempts(t *testing.T) {
	server := startMailServer(t, &mailServer{refuse: func(int, string) error { return refusal(451, smtp.EnhancedCode{4, 3, 0}, "later") }}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	ctx, cancel := context.WithCancel(t.Context())
	m.clock.hook = func(int) { cancel() }
	// The wait may be over in the same instant; the next turn sees the end.
	if err := m.mailer.handle(ctx, invited(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(m.outcomes) != 0 || server.tried() != 1 {
		t.Errorf("recorded %v, tried %d times", m.outcomes, server.tried())
	}
}

func TestMailerBeginsNothingWhenItStops(t *testing.T) {
	m := newMailerTest(t, "smtp://mail.test", plainVault{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // it is also its turn each time
		if err := m.mailer.handle(ctx, invited(1)); !errors.Is(err, context.Canceled) || len(m.directory.asked) != 0 {
			t.Fatalf("got %v after %d questions", err, len(m.directory.asked))
		}
	}
}

func TestMailerFinishesWhatIsOnItsWay(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := startMailServer(t, &mailServer{deliver: cancel}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	commit := invited(1)
	if err := m.mailer.handle(ctx, commit); err != nil {
		t.Fatal(err)
	}
	m.wantOutcome(t, commit, 1, domain.DeliverySent, "")
}

func TestMailerSendsABulkFourAtATime(t *testing.T) {
	const bulk = 40
	var mu sync.Mutex
	now, most := 0, 0
	full := make(chan struct{})
	server := startMailServer(t, &mailServer{deliver: func() {
		mu.Lock()
		now++
		if now > most {
			most = now
			if most == smtpAtOnce {
				close(full)
			}
		}
		mu.Unlock()
		<-full // the first ones stay until there are four
		mu.Lock()
		now--
		mu.Unlock()
	}}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	if err := m.mailer.handle(t.Context(), invited(bulk)); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, message := range server.messages() {
		ids[message.parse(t).MessageID] = true
	}
	if len(ids) != bulk || len(m.outcomes) != bulk || most != smtpAtOnce {
		t.Errorf("%d messages, %d outcomes, %d at once", len(ids), len(m.outcomes), most)
	}
}

func TestMailerSendsOnceHoweverOftenRecordingFails(t *testing.T) {
	server := startMailServer(t, &mailServer{}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	m.record = func(n int) error {
		if n < 10 {
			return errors.New("the event store is away")
		}
		return nil
	}
	if err := m.mailer.handle(t.Context(), invited(1)); err != nil {
		t.Fatal(err)
	}
	if len(server.messages()) != 1 || len(m.outcomes) != 10 {
		t.Errorf("%d messages, %d recordings", len(server.messages()), len(m.outcomes))
	}
}

func TestMailerReportsWhatIsWrongWithItself(t *testing.T) {
	server := startMailServer(t, &mailServer{}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	failure := errors.New("the team can't be read")
	for range 2 * smtpAtOnce { // a failure gives its turn back
		m.directory.facts = func(int, InvitationLink) (InvitationFacts, error) { return InvitationFacts{}, failure }
		if err := m.mailer.handle(t.Context(), invited(1)); !errors.Is(err, failure) {
			t.Fatalf("got %v", err)
		}
		m.directory.facts = func(int, InvitationLink) (InvitationFacts, error) { panic("at the directory") }
		if err := m.mailer.handle(t.Context(), invited(2)); err == nil || !strings.Contains(err.Error(), "panic: at the directory") {
			t.Fatalf("got %v", err)
		}
	}
	if len(m.outcomes) != 0 {
		t.Errorf("recorded %v", m.outcomes)
	}
}

func TestMailerConfiguration(t *testing.T) {
	config := MailerConfig{
		Sender: newSMTP(t, "smtp://mail.test"), Directory: &directory{}, Vault: plainVault{},
		Token:         func(domain.TeamID, domain.InvitationID, int) string { return "" },
		TransferToken: func(domain.TeamID, domain.TransferID) string { return "" },
		Record:        func(context.Context, Outcome) error { return nil },
	}
	for _, base := range []string{"", "teams.test", "ftp://teams.test", "https://", "https://teams.test?x=1", "https://u:p@teams.test"} {
		config.BaseURL = base
		if _, err := NewMailer(config); err == nil || !strings.Contains(err.Error(), "base URL") {
			t.Errorf("%q: got %v", base, err)
		}
	}
	config.BaseURL, config.Vault = "https://teams.test", nil
	if _, err := NewMailer(config); err == nil || !strings.Contains(err.Error(), "Vault") {
		t.Errorf("got %v", err)
	}
}
