package subscribers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"roster/domain"
	"roster/eventstore"
)

// resetAsked is a commit that asks for the reset of a password.
func resetAsked(position uint64) eventstore.Commit {
	return eventstore.Commit{
		Stream:  eventstore.Stream{Kind: eventstore.KindActivity, ID: eventstore.NewID(domain.PrefixReset)},
		Version: 1, Position: position, At: letterTime, Actor: domain.Visitor, RequestID: "req_1",
		Events: []eventstore.Recorded{{
			ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)),
			Event: domain.PasswordResetRequested{
				User: domain.UserID(eventstore.NewID(domain.PrefixUser)), ExpiresAt: letterTime.Add(domain.ResetLifetime),
			},
		}},
	}
}

// transferAsked is a commit that asks a member to become the owner.
func transferAsked(version uint64) eventstore.Commit {
	return eventstore.Commit{
		Stream:  eventstore.Stream{Kind: eventstore.KindTeam, ID: eventstore.NewID(domain.PrefixTeam)},
		Version: version, At: letterTime, Actor: domain.Operator, RequestID: "req_1",
		Events: []eventstore.Recorded{{
			ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)),
			Event: domain.OwnershipTransferRequested{
				Transfer: domain.TransferID(eventstore.NewID(domain.PrefixTransfer)), To: "user_1", ExpiresAt: letterTime.Add(3 * 24 * time.Hour),
			},
		}},
	}
}

func someReset(int) (ResetFacts, error) {
	return ResetFacts{Email: "grace@example.com", Name: "Grace Hopper", Labels: labels, Token: "AAAA_bbbb-1"}, nil
}

func someTransfer(int) (TransferFacts, error) {
	return TransferFacts{
		Email: "grace@example.com", Name: "Grace Hopper", Owner: "Ada Lovelace", Team: "Acme", OwnerRole: "Owner", NextRole: "Admin",
		Labels: labels, ExpiresAt: letterTime.Add(3 * 24 * time.Hour),
	}, nil
}

// linkMails are the messages whose outcome isn't recorded.
var linkMails = map[string]func(d *directory, reset ResetFacts, transfer TransferFacts, err error) eventstore.Commit{
	"reset": func(d *directory, facts ResetFacts, _ TransferFacts, err error) eventstore.Commit {
		d.reset = func(int) (ResetFacts, error) { return facts, err }
		return resetAsked(9)
	},
	"transfer": func(d *directory, _ ResetFacts, facts TransferFacts, err error) eventstore.Commit {
		d.transfer = func(int) (TransferFacts, error) { return facts, err }
		return transferAsked(9)
	},
}

// eachLinkMail runs a test with each of them, to be sent unless the test
// changes something.
func eachLinkMail(t *testing.T, server *mailServer, test func(t *testing.T, m *mailerTest, commit eventstore.Commit)) {
	for kind, ask := range linkMails {
		t.Run(kind, func(t *testing.T) {
			own := &mailServer{refuse: server.refuse, deliver: server.deliver}
			m := newMailerTest(t, "smtp://"+startMailServer(t, own, nil, false).address, plainVault{})
			m.server = own
			reset, _ := someReset(1)
			transfer, _ := someTransfer(1)
			test(t, m, ask(m.directory, reset, transfer, nil))
		})
	}
}

func TestMailerSendsAReset(t *testing.T) {
	server := startMailServer(t, &mailServer{}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	m.directory.reset = someReset
	commit := resetAsked(41)
	if err := m.mailer.handle(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	got := server.messages()
	if len(got) != 1 || got[0].to != "grace@example.com" {
		t.Fatalf("got %+v", got)
	}
	message := got[0].parse(t)
	if message.MessageID != string(commit.Events[0].ID)+"@teams.test" || message.Subject != "Reset your password on Distribu" ||
		!strings.Contains(message.Text, "\nhttps://teams.test/reset/AAAA_bbbb-1\n") || !strings.Contains(message.Text, "in 10 minutes") {
		t.Errorf("id %q, subject %q: %s", message.MessageID, message.Subject, message.Text)
	}
	asked := commit.Events[0].Event.(domain.PasswordResetRequested)
	if want := (ResetRequest{User: asked.User, Position: 41, ExpiresAt: asked.ExpiresAt}); len(m.directory.resets) != 1 || m.directory.resets[0] != want {
		t.Errorf("asked for %+v, want %+v", m.directory.resets, want)
	}
	if len(m.outcomes) != 0 || strings.Contains(m.log.String(), "AAAA_bbbb") {
		t.Errorf("recorded %v, logged %s", m.outcomes, m.log)
	}
}

func TestMailerSendsATransfer(t *testing.T) {
	server := startMailServer(t, &mailServer{}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	m.directory.transfer = someTransfer
	commit := transferAsked(7)
	transfer := commit.Events[0].Event.(domain.OwnershipTransferRequested).Transfer
	if err := m.mailer.handle(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	got := server.messages()
	if len(got) != 1 || got[0].to != "grace@example.com" {
		t.Fatalf("got %+v", got)
	}
	message := got[0].parse(t)
	if message.MessageID != string(commit.Events[0].ID)+"@teams.test" || message.Subject != "Ada Lovelace asks you to take over Acme on Distribu" ||
		!strings.Contains(message.Text, fmt.Sprintf("\nhttps://teams.test/ownership/%s.t\n", transfer)) {
		t.Errorf("id %q, subject %q: %s", message.MessageID, message.Subject, message.Text)
	}
	if want := (TransferRequest{Team: domain.TeamID(commit.Stream.ID), Version: 7, Transfer: transfer}); len(m.directory.transfers) != 1 || m.directory.transfers[0] != want {
		t.Errorf("asked for %+v, want %+v", m.directory.transfers, want)
	}
	if len(m.outcomes) != 0 {
		t.Errorf("recorded %v", m.outcomes)
	}
}

func TestMailerSendsNoLinkThatIsOfNoUse(t *testing.T) {
	eachLinkMail(t, &mailServer{}, func(t *testing.T, m *mailerTest, commit eventstore.Commit) {
		send := func(what string) {
			t.Helper()
			if err := m.mailer.handle(t.Context(), commit); err != nil || m.server.tried() != 0 {
				t.Errorf("%s: tried %d times, error %v", what, m.server.tried(), err)
			}
		}
		reset, _ := someReset(1)
		transfer, _ := someTransfer(1)
		ask := func(err error) {
			for _, ask := range linkMails {
				ask(m.directory, reset, transfer, err)
			}
		}
		ask(fmt.Errorf("the team says: %w", ErrNotPending))
		send("that no longer stands")
		reset.Email, transfer.Email = "", ""
		ask(nil)
		send("to somebody who was erased")
		reset, _ = someReset(1)
		transfer, _ = someTransfer(1)
		ask(nil)
		m.clock.pass(3 * 24 * time.Hour)
		send("that has expired")
	})
}

func TestMailerGivesALinkUpOnARefusal(t *testing.T) {
	refusing := &mailServer{refuse: func(_ int, to string) error {
		return refusal(550, smtp.EnhancedCode{5, 1, 1}, "no such user: "+to)
	}}
	eachLinkMail(t, refusing, func(t *testing.T, m *mailerTest, commit eventstore.Commit) {
		if err := m.mailer.handle(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
		log := m.log.String()
		if m.server.tried() != 1 || strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, "given up") || strings.Contains(log, "example.com") {
			t.Errorf("tried %d times, logged %s", m.server.tried(), log)
		}
	})
}

func TestMailerHandsBackALinkThatIsPutOff(t *testing.T) {
	away := &mailServer{refuse: func(int, string) error { return refusal(451, smtp.EnhancedCode{4, 3, 0}, "later") }}
	eachLinkMail(t, away, func(t *testing.T, m *mailerTest, commit eventstore.Commit) {
		err := m.mailer.handle(t.Context(), commit)
		var failure *DeliveryError
		if !errors.As(err, &failure) || failure.Permanent || strings.Contains(err.Error(), "example.com") {
			t.Errorf("got %v", err)
		}
		if m.server.tried() != len(sendDelays)+1 {
			t.Errorf("tried %d times", m.server.tried())
		}
	})
}

func TestResetIsNotHeldUpByInvitations(t *testing.T) {
	inside, release := make(chan struct{}, 100), make(chan struct{})
	var invitations atomic.Bool
	invitations.Store(true)
	server := startMailServer(t, &mailServer{deliver: func() {
		if invitations.Load() {
			inside <- struct{}{}
			<-release
		}
	}}, nil, false)
	m := newMailerTest(t, "smtp://"+server.address, plainVault{})
	m.directory.reset = someReset
	bulk := make(chan error, 1)
	go func() { bulk <- m.mailer.handle(t.Context(), invited(3*smtpAtOnce)) }()
	for range smtpAtOnce {
		receive(t, inside, "invitations on their way")
	}
	invitations.Store(false) // as many as may be are on their way, and stay
	if err := m.mailer.handle(t.Context(), resetAsked(9)); err != nil {
		t.Fatal(err)
	}
	if got := server.messages(); len(got) != 1 || got[0].to != "grace@example.com" || !strings.Contains(got[0].parse(t).Text, "/reset/") {
		t.Errorf("got %+v", got)
	}
	close(release)
	if err := receive(t, bulk, "the invitations"); err != nil {
		t.Fatal(err)
	}
}

// TestLinkThatCannotBeSentEndsInThePoisonQueue has the router try it to the
// end, while the messages after it arrive.
func TestLinkThatCannotBeSentEndsInThePoisonQueue(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	server := startMailServer(t, &mailServer{refuse: func(_ int, to string) error {
		if to == "away@example.com" {
			return refusal(451, smtp.EnhancedCode{4, 3, 0}, "later")
		}
		return nil
	}}, nil, false)
	answers := &directory{}
	mailer, err := NewMailer(MailerConfig{
		Sender: newSMTP(t, "smtp://"+server.address), Directory: answers, Vault: plainVault{}, BaseURL: "https://teams.test",
		Token:         func(domain.TeamID, domain.InvitationID, int) string { return "" },
		TransferToken: func(domain.TeamID, domain.TransferID) string { return "" },
		Record:        func(context.Context, Outcome) error { return errors.New("nothing is to be recorded") },
		Clock:         Clock{Now: func() time.Time { return letterTime }, After: noWait},
		Logger:        quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	first, second := resetAsked(0), resetAsked(0)
	answers.reset = func(int) (ResetFacts, error) {
		facts, _ := someReset(1)
		if answers.resets[len(answers.resets)-1].Position == first.Position {
			facts.Email = "away@example.com"
		}
		return facts, nil
	}
	for _, commit := range []*eventstore.Commit{&first, &second} {
		if err := store.Append(within(t), commit); err != nil {
			t.Fatal(err)
		}
	}
	router, _ := run(t, store, Config{}, mailer.Subscription())
	receive(t, server.arrived, "the message after the one that fails")
	settled(t, store, MailerName, second.Position)
	entries, err := router.Poisoned(within(t), 10)
	if err != nil || len(entries) != 1 || entries[0].Position != first.Position || entries[0].Subscription != MailerName {
		t.Fatalf("got %+v, %v", entries, err)
	}
	if strings.Contains(entries[0].Reason, "example.com") || !strings.Contains(entries[0].Reason, "put the address off") {
		t.Errorf("the reason is %q", entries[0].Reason)
	}
	// Whoever looks after it has it sent again.
	answers.mu.Lock()
	answers.reset = someReset
	answers.mu.Unlock()
	if err := router.Redrive(within(t), entries[0]); err != nil {
		t.Fatal(err)
	}
	if got := server.messages(); len(got) != 2 || got[1].parse(t).MessageID != string(first.Events[0].ID)+"@teams.test" {
		t.Errorf("got %d messages", len(got))
	}
}
