package subscribers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"roster/domain"
	"roster/eventstore"
)

// flow is a mailer over a real event store, vault and mail server.
type flow struct {
	store    *eventstore.Store
	smtp     *mailServer
	team     *team
	recorder *Recorder
	mailer   *Mailer

	mu     sync.Mutex
	sealed map[domain.InvitationID]InvitationFacts

	deliveries chan eventstore.Commit // of the activity streams, as they appear
}

func newFlow(t *testing.T, store *eventstore.Store, server *mailServer) *flow {
	t.Helper()
	f := &flow{
		store: store, smtp: server, team: newTeam(store),
		recorder: NewRecorder(store, Clock{}, quiet), sealed: map[domain.InvitationID]InvitationFacts{},
		deliveries: make(chan eventstore.Commit, 10_000),
	}
	t.Cleanup(f.recorder.Close)
	f.mailer = f.newMailer(t, f.recorder.Record)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = store.Follow(ctx, 0, func(_ context.Context, commits []eventstore.Commit) error {
			for _, commit := range commits {
				if commit.Stream.Kind == eventstore.KindActivity {
					f.deliveries <- commit
				}
			}
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return f
}

func (f *flow) newMailer(t *testing.T, record func(context.Context, Outcome) error) *Mailer {
	t.Helper()
	mailer, err := NewMailer(MailerConfig{
		Sender: newSMTP(t, "smtp://"+f.smtp.address), Directory: f, Vault: f.store.Vault(),
		Token: func(_ domain.TeamID, invitation domain.InvitationID, link int) string {
			return fmt.Sprintf("%s.%d", invitation, link)
		},
		TransferToken: func(domain.TeamID, domain.TransferID) string { return "" },
		BaseURL:       "https://teams.test", Record: record, Logger: quiet, Clock: Clock{After: noWait},
	})
	if err != nil {
		t.Fatal(err)
	}
	return mailer
}

func noWait(time.Duration) <-chan time.Time {
	ready := make(chan time.Time, 1)
	ready <- time.Now()
	return ready
}

func (f *flow) Invitation(_ context.Context, of InvitationLink) (InvitationFacts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	facts, ok := f.sealed[of.Invitation]
	if !ok {
		return InvitationFacts{}, ErrNotPending
	}
	return facts, nil
}

func (f *flow) Reset(context.Context, ResetRequest) (ResetFacts, error) {
	return ResetFacts{}, ErrNotPending
}

func (f *flow) Transfer(context.Context, TransferRequest) (TransferFacts, error) {
	return TransferFacts{}, ErrNotPending
}

// invite seals an address under a key of its own and appends the event.
func (f *flow) invite(t *testing.T, email string) (invitation domain.InvitationID, key string, commit eventstore.Commit) {
	t.Helper()
	ctx := within(t)
	key, err := f.store.Vault().NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	invitation = domain.InvitationID(eventstore.NewID(domain.PrefixInvitation))
	sealed, err := f.store.Vault().Seal(ctx, key, string(invitation)+"/email", email)
	if err != nil {
		t.Fatal(err)
	}
	expires := time.Now().Add(7 * 24 * time.Hour).UTC()
	f.mu.Lock()
	f.sealed[invitation] = InvitationFacts{Email: sealed, Team: "Acme", Role: "Admin", Inviter: "Ada", Labels: labels, ExpiresAt: expires}
	f.mu.Unlock()
	commit = f.team.append(t, domain.MemberInvited{Invitation: invitation, Address: f.store.Vault().Address(email), Email: sealed, Role: "ADMIN", ExpiresAt: expires})
	return invitation, key, commit
}

// outcomes collects n of them by invitation.
func (f *flow) outcomes(t *testing.T, n int) map[domain.InvitationID]domain.InvitationDelivery {
	t.Helper()
	got := map[domain.InvitationID]domain.InvitationDelivery{}
	for len(got) < n {
		commit := receive(t, f.deliveries, "outcomes")
		for _, event := range commit.Events {
			delivery := event.Event.(domain.InvitationDelivery)
			got[delivery.Invitation] = delivery
		}
	}
	return got
}

func TestInvitationIsMailedAndTheOutcomeRecorded(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	f := newFlow(t, store, startMailServer(t, &mailServer{}, nil, false))
	invitation, _, commit := f.invite(t, "grace@example.com")
	run(t, store, Config{}, f.mailer.Subscription())
	receive(t, f.smtp.arrived, "the message")
	got := f.smtp.messages()[0]
	message := got.parse(t)
	if got.to != "grace@example.com" || message.MessageID != string(commit.Events[0].ID)+"@teams.test" ||
		!strings.Contains(message.Text, "https://teams.test/invite/"+string(invitation)+".1\n") {
		t.Errorf("got %+v", message)
	}
	recorded := receive(t, f.deliveries, "the outcome")
	want := domain.InvitationDelivery{Team: domain.TeamID(f.team.stream.ID), Invitation: invitation, Link: 1, Status: domain.DeliverySent}
	if diff := cmp.Diff(domain.Event(want), recorded.Events[0].Event); diff != "" {
		t.Error(diff)
	}
	if recorded.Causation != commit.Events[0].ID || recorded.RequestID != "req_1" || recorded.Actor != domain.Roster || !strings.HasPrefix(recorded.Stream.ID, "mail_") {
		t.Errorf("got %+v", recorded)
	}
	settled(t, store, MailerName, commit.Position)
	for _, secret := range []string{"grace@example.com"} {
		raw, err := store.JetStream().Stream(within(t), eventstore.StreamName)
		if err != nil {
			t.Fatal(err)
		}
		for position := uint64(1); position <= recorded.Position; position++ {
			stored, err := raw.GetMsg(within(t), position)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(stored.Data), secret) {
				t.Errorf("position %d holds %s", position, secret)
			}
		}
	}
}

func TestErasedPersonIsNotMailed(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	f := newFlow(t, store, startMailServer(t, &mailServer{}, nil, false))
	_, key, _ := f.invite(t, "erased@example.com")
	if _, err := store.Vault().Erase(within(t), key); err != nil {
		t.Fatal(err)
	}
	other, _, last := f.invite(t, "grace@example.com")
	router, _ := run(t, store, Config{}, f.mailer.Subscription())
	if got := f.outcomes(t, 1); got[other].Status != domain.DeliverySent {
		t.Errorf("got %+v", got)
	}
	settled(t, store, MailerName, last.Position)
	if got := f.smtp.messages(); len(got) != 1 || got[0].to != "grace@example.com" {
		t.Errorf("got %+v", got)
	}
	if entries, err := router.Poisoned(within(t), 1); err != nil || len(entries) != 0 {
		t.Errorf("got %+v, %v", entries, err)
	}
}

func TestMailGoesOnAfterARestart(t *testing.T) {
	const all = 12
	folder := t.TempDir()
	store, closeStore := openStore(t, folder)
	inside, release := make(chan struct{}, all), make(chan struct{})
	server := startMailServer(t, &mailServer{deliver: func() {
		inside <- struct{}{}
		<-release
	}}, nil, false)
	f := newFlow(t, store, server)
	for n := range all / 2 {
		f.invite(t, fmt.Sprintf("p%d@example.com", n))
	}
	subscription := f.mailer.Subscription()
	stopping := make(chan (<-chan struct{}), all)
	subscription.Handle = func(ctx context.Context, commit eventstore.Commit) error {
		stopping <- ctx.Done()
		return f.mailer.handle(ctx, commit)
	}
	_, stop := run(t, store, Config{ackWait: time.Second}, subscription)
	for range smtpAtOnce {
		receive(t, inside, "messages on their way")
	}
	// Told to stop with four on their way and two waiting: the four arrive
	// and are recorded.
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	receive(t, receive(t, stopping, "a handler"), "its end")
	close(release)
	receive(t, stopped, "the router to stop")
	f.outcomes(t, smtpAtOnce)
	before := len(server.messages())
	if before != smtpAtOnce {
		t.Errorf("%d messages before the restart", before)
	}
	f.recorder.Close()
	// What is invited while no mailer runs is mailed later.
	for n := all / 2; n < all; n++ {
		f.invite(t, fmt.Sprintf("p%d@example.com", n))
	}
	sealed := f.sealed
	closeStore()

	store, _ = openStore(t, folder)
	again := newFlow(t, store, server)
	again.sealed = sealed
	run(t, store, Config{ackWait: time.Second}, again.mailer.Subscription())
	if got := again.outcomes(t, all); len(got) != all {
		t.Errorf("%d outcomes", len(got))
	}
	// Nobody is left out. The server may have ended before it took in the last
	// acknowledgements, so one of the four may come twice, as the same message.
	ids := map[string]string{}
	for _, message := range server.messages() {
		id := message.parse(t).MessageID
		if other, twice := ids[message.to]; twice && other != id {
			t.Errorf("two messages to %s: %s and %s", message.to, other, id)
		}
		ids[message.to] = id
	}
	if len(ids) != all {
		t.Errorf("sent to %v", ids)
	}
}

func TestMessageThatIsSentTwiceHasOneID(t *testing.T) {
	folder := t.TempDir()
	store, closeStore := openStore(t, folder)
	server := startMailServer(t, &mailServer{}, nil, false)
	f := newFlow(t, store, server)
	invitation, _, commit := f.invite(t, "grace@example.com")
	// The process ends between the message and its outcome.
	ctx, cancel := context.WithCancel(t.Context())
	lost := f.newMailer(t, func(context.Context, Outcome) error {
		cancel()
		return errors.New("the process ended")
	})
	if err := lost.handle(ctx, commit); err == nil {
		t.Fatal("handled without an outcome")
	}
	sealed := f.sealed
	closeStore()

	store, _ = openStore(t, folder)
	again := newFlow(t, store, server)
	again.sealed = sealed
	run(t, store, Config{}, again.mailer.Subscription())
	if got := again.outcomes(t, 1); got[invitation].Status != domain.DeliverySent {
		t.Errorf("got %+v", got)
	}
	messages := server.messages()
	if len(messages) != 2 {
		t.Fatalf("%d messages", len(messages))
	}
	if first, second := messages[0].parse(t).MessageID, messages[1].parse(t).MessageID; first != second || first != string(commit.Events[0].ID)+"@teams.test" {
		t.Errorf("ids %q and %q", first, second)
	}
}

func TestSlowMailServerDelaysNobodyElse(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	inside, release := make(chan struct{}, 100), make(chan struct{})
	server := startMailServer(t, &mailServer{deliver: func() {
		inside <- struct{}{}
		<-release
	}}, nil, false)
	f := newFlow(t, store, server)
	const all = 30
	others := make(chan eventstore.Commit, all)
	run(t, store, Config{}, f.mailer.Subscription(), Subscription{Name: "other", Events: []string{"member_invited"},
		Handle: func(_ context.Context, commit eventstore.Commit) error {
			others <- commit
			return nil
		}})
	var last eventstore.Commit
	for n := range all { // and commands are not delayed
		_, _, last = f.invite(t, fmt.Sprintf("p%d@example.com", n))
	}
	for range all {
		receive(t, others, "the other subscription")
	}
	settled(t, store, "other", last.Position)
	receive(t, inside, "a message on its way")
	if n := len(server.messages()); n != 0 {
		t.Errorf("%d messages got through", n)
	}
	close(release)
	if got := f.outcomes(t, all); len(got) != all {
		t.Errorf("%d outcomes", len(got))
	}
	settled(t, store, MailerName, last.Position)
}

// busyMailbox notes how many messages are sent to it at once.
type busyMailbox struct {
	*Mailbox
	now, most atomic.Int32
}

func (b *busyMailbox) Send(ctx context.Context, message Message) error {
	b.most.Store(max(b.most.Load(), b.now.Add(1)))
	defer b.now.Add(-1)
	return b.Mailbox.Send(ctx, message)
}

func TestMailerSendsToTheMailboxOneByOne(t *testing.T) {
	const bulk = 100
	m := newMailerTest(t, "smtp://mail.test", plainVault{})
	box := &busyMailbox{Mailbox: openMailbox(t, t.TempDir())}
	config := m.mailer.config
	config.Sender = box
	mailer, err := NewMailer(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := mailer.handle(t.Context(), invited(bulk)); err != nil {
		t.Fatal(err)
	}
	if sent := len(subjects(t, box.Mailbox)); sent != bulk || len(m.outcomes) != bulk || box.most.Load() != 1 {
		t.Errorf("%d messages, %d outcomes, %d at once", sent, len(m.outcomes), box.most.Load())
	}
}

// cpuTime is what this process has used of the processors, the embedded event
// store included.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// sameFacts says the same of every invitation.
type sameFacts struct {
	*directory
	facts InvitationFacts
}

func (s sameFacts) Invitation(context.Context, InvitationLink) (InvitationFacts, error) {
	return s.facts, nil
}

// BenchmarkMailer is what an invitation costs from its commit to the
// acknowledged event, with the dev mailbox.
func BenchmarkMailer(b *testing.B) {
	store, err := eventstore.Open(b.Context(), eventstore.Config{DataDir: b.TempDir(), Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close(context.Background())
	box, err := OpenMailbox(b.TempDir(), "no-reply@teams.test")
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close()
	recorder := NewRecorder(store, Clock{}, quiet)
	defer recorder.Close()
	recorded := make(chan struct{}, 1000)
	facts := someFacts()
	facts.ExpiresAt = time.Now().Add(time.Hour)
	mailer, err := NewMailer(MailerConfig{
		Sender: box, Directory: sameFacts{facts: facts}, Vault: plainVault{}, BaseURL: "https://teams.test", Logger: quiet,
		Token:         func(domain.TeamID, domain.InvitationID, int) string { return "token" },
		TransferToken: func(domain.TeamID, domain.TransferID) string { return "token" },
		Record: func(ctx context.Context, outcome Outcome) error {
			err := recorder.Record(ctx, outcome)
			recorded <- struct{}{}
			return err
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	router, err := New(b.Context(), store, Config{Logger: quiet}, mailer.Subscription())
	if err != nil {
		b.Fatal(err)
	}
	var appends errgroup.Group
	appends.SetLimit(64)
	for range b.N {
		appends.Go(func() error {
			commit := invited(1)
			commit.Version = 1
			return store.Append(b.Context(), &commit)
		})
	}
	if err := appends.Wait(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	used := cpuTime()
	go func() { ended <- router.Run(ctx) }()
	for range b.N {
		<-recorded
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((cpuTime()-used).Nanoseconds())/float64(b.N), "cpu-ns/op")
	last, err := store.LastPosition(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(last-uint64(b.N))/float64(b.N), "appends/op")
}
