package subscribers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"roster/domain"
	"roster/eventstore"
)

// deadline bounds everything that a test waits for.
const deadline = 30 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(deadline):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func openStore(t *testing.T, folder string) (store *eventstore.Store, closeStore func()) {
	t.Helper()
	store, err := eventstore.Open(within(t), eventstore.Config{DataDir: folder, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	closeStore = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
			defer cancel()
			if err := store.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(closeStore)
	return store, closeStore
}

// team writes commits of one team.
type team struct {
	store    *eventstore.Store
	stream   eventstore.Stream
	version  uint64
	previous eventstore.Hash
}

func newTeam(store *eventstore.Store) *team {
	return &team{store: store, stream: eventstore.Stream{Kind: eventstore.KindTeam, ID: eventstore.NewID(domain.PrefixTeam)}}
}

func (a *team) append(t *testing.T, events ...domain.Event) eventstore.Commit {
	t.Helper()
	commit := &eventstore.Commit{
		Stream: a.stream, Version: a.version + 1, Previous: a.previous, At: time.Now(), Actor: domain.Operator, RequestID: "req_1",
	}
	for _, event := range events {
		commit.Events = append(commit.Events, eventstore.Recorded{ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)), Event: event})
	}
	if err := a.store.Append(within(t), commit); err != nil {
		t.Fatal(err)
	}
	a.version, a.previous = commit.Version, commit.Hash
	return *commit
}

func siteAdded(n int) domain.Event { return domain.SiteAdded{Site: "site_1", Name: fmt.Sprint(n)} }

// run runs a router until stop is called or the test ends.
func run(t *testing.T, store *eventstore.Store, config Config, subscriptions ...Subscription) (router *Router, stop func()) {
	t.Helper()
	config.Logger = quiet
	if config.Retry == (Retry{}) {
		config.Retry = Retry{Times: 2, First: time.Millisecond, Most: time.Millisecond}
	}
	router, err := New(within(t), store, config, subscriptions...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := receive(t, ended, "the router to stop"); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	receive(t, router.Running(), "the router to run")
	return router, stop
}

func consumerInfo(t *testing.T, store *eventstore.Store, name string) *jetstream.ConsumerInfo {
	t.Helper()
	consumer, err := store.JetStream().Consumer(within(t), eventstore.StreamName, name)
	if err != nil {
		t.Fatal(err)
	}
	return consumer.CachedInfo()
}

// settled waits until everything up to the position is acknowledged.
func settled(t *testing.T, store *eventstore.Store, name string, position uint64) {
	t.Helper()
	ctx := within(t)
	for {
		info := consumerInfo(t, store, name)
		if info.AckFloor.Stream >= position && info.NumAckPending == 0 {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("position %d was not acknowledged: %+v", position, info)
		}
	}
}

func TestRouterHandsOverWhatIsWanted(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	team := newTeam(store)
	before := team.append(t, siteAdded(1))
	team.append(t, domain.TeamRenamed{From: "a", To: "b"})
	got := make(chan eventstore.Commit, 10)
	run(t, store, Config{}, Subscription{Name: "sites", Events: []string{"site_added", "site_removed"},
		Handle: func(_ context.Context, commit eventstore.Commit) error {
			got <- commit
			return nil
		}})
	if first := receive(t, got, "what was there before"); first.ID() != before.ID() || first.Position != before.Position || first.Hash != before.Hash {
		t.Errorf("got %+v", first)
	}
	team.append(t, domain.TeamRenamed{From: "b", To: "c"})
	both := team.append(t, domain.TeamRenamed{From: "c", To: "d"}, siteAdded(2))
	if second := receive(t, got, "a commit of two events"); second.ID() != both.ID() || len(second.Events) != 2 || second.Stream != team.stream {
		t.Errorf("got %+v", second)
	}
	settled(t, store, "sites", both.Position)
	if len(got) != 0 {
		t.Errorf("%d more than wanted", len(got))
	}
}

func TestRouterKeepsWhatFailsOutOfTheWay(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	team := newTeam(store)
	failing, panicking := team.append(t, siteAdded(1)), team.append(t, siteAdded(2))
	var healthy atomic.Bool
	var tries atomic.Int32
	got := make(chan uint64, 10)
	router, _ := run(t, store, Config{}, Subscription{Name: "sites", Events: []string{"site_added"},
		Handle: func(_ context.Context, commit eventstore.Commit) error {
			if !healthy.Load() {
				switch commit.Version {
				case 1:
					tries.Add(1)
					return errors.New("can't be\r\ndone")
				case 2:
					panic("at version 2")
				}
			}
			got <- commit.Version
			return nil
		}})

	// Commits that can't even be read: unknown content, and a subject of
	// nobody's.
	ctx := within(t)
	unreadable := team.append(t, domain.TeamRenamed{From: "a", To: "b"})
	header := nats.Header{"Roster-Types": {"site_added.v1"}, "Roster-Schema": {"1"}, "Roster-Hash": {"x"}}
	msg := &nats.Msg{Subject: "ev.team." + team.stream.ID + ".0000000099", Header: header, Data: []byte("{}")}
	ack, err := store.JetStream().PublishMsg(ctx, msg)
	if err != nil {
		t.Fatal(err)
	}
	stray, err := store.JetStream().Publish(ctx, "ev.stray", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	last := team.append(t, siteAdded(3))
	if version := receive(t, got, "the commit after those"); version != last.Version {
		t.Errorf("got version %d", version)
	}
	settled(t, store, "sites", last.Position)
	if n := tries.Load(); n != 3 {
		t.Errorf("%d attempts", n)
	}
	if unreadable.Position+1 != ack.Sequence {
		t.Errorf("position %d, then %d", unreadable.Position, ack.Sequence)
	}

	entries, err := router.Poisoned(ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[uint64]string{}
	for _, entry := range entries {
		if entry.Subscription != "sites" || entry.At.IsZero() {
			t.Errorf("got %+v", entry)
		}
		reasons[entry.Position] = entry.Reason
	}
	for position, want := range map[uint64]string{
		failing.Position: "can't be done", panicking.Position: "panic: at version 2",
		ack.Sequence: "can't be read", stray.Sequence: "malformed subject",
	} {
		if !strings.Contains(reasons[position], want) {
			t.Errorf("position %d: reason %q, want %q", position, reasons[position], want)
		}
	}
	if len(entries) != 4 {
		t.Errorf("got %+v", entries)
	}
	if some, err := router.Poisoned(ctx, 2); err != nil || len(some) != 2 {
		t.Errorf("got %+v, %v", some, err)
	}

	// Driven again it fails again, or it doesn't and is gone from the queue.
	entry := Poisoned{Subscription: "sites", Position: failing.Position}
	if err := router.Redrive(ctx, entry); err == nil || !strings.Contains(err.Error(), "done") {
		t.Errorf("got %v", err)
	}
	if err := router.Redrive(ctx, Poisoned{Subscription: "sites", Position: ack.Sequence}); !errors.Is(err, eventstore.ErrUnreadable) {
		t.Errorf("got %v", err)
	}
	healthy.Store(true)
	if err := router.Redrive(ctx, entry); err != nil {
		t.Error(err)
	}
	if version := receive(t, got, "what was driven again"); version != failing.Version {
		t.Errorf("got version %d", version)
	}
	if err := router.Redrive(ctx, entry); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("got %v", err)
	}
	if err := router.Redrive(ctx, Poisoned{Subscription: "nobody", Position: 1}); err == nil {
		t.Error("there is no such subscription")
	}
	if entries, err := router.Poisoned(ctx, 10); err != nil || len(entries) != 3 {
		t.Errorf("got %+v, %v", entries, err)
	}
}

func TestRouterWithoutPoisonQueueLosesNothing(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	var healthy atomic.Bool
	failed, got := make(chan struct{}, 100), make(chan eventstore.Commit, 10)
	router, _ := run(t, store, Config{ackWait: 300 * time.Millisecond}, Subscription{Name: "sites", Events: []string{"site_added"},
		Handle: func(_ context.Context, commit eventstore.Commit) error {
			if !healthy.Load() {
				failed <- struct{}{}
				return errors.New("can't be done")
			}
			got <- commit
			return nil
		}})
	if err := store.JetStream().DeleteStream(within(t), poisonStream); err != nil {
		t.Fatal(err)
	}
	commit := newTeam(store).append(t, siteAdded(1))
	for range 7 { // three attempts a delivery
		receive(t, failed, "an attempt")
	}
	if info := consumerInfo(t, store, "sites"); info.AckFloor.Stream >= commit.Position {
		t.Errorf("acknowledged: %+v", info)
	}
	healthy.Store(true)
	if again := receive(t, got, "the commit"); again.ID() != commit.ID() {
		t.Errorf("got %+v", again)
	}
	settled(t, store, "sites", commit.Position)
	if _, err := router.Poisoned(within(t), 1); err == nil {
		t.Error("there is no queue to list")
	}
}

func TestRouterAcknowledgesOnlyWhatWasHandled(t *testing.T) {
	folder := t.TempDir()
	store, closeStore := openStore(t, folder)
	team := newTeam(store)
	commit := team.append(t, siteAdded(1))
	begun := make(chan struct{}, 10)
	subscription := Subscription{Name: "sites", Events: []string{"site_added"},
		Handle: func(ctx context.Context, _ eventstore.Commit) error {
			begun <- struct{}{}
			<-ctx.Done() // busy until the process stops
			return ctx.Err()
		}}
	hurry := Config{ackWait: time.Second} // a server that restarts forgets what was given back
	router, stop := run(t, store, hurry, subscription)
	receive(t, begun, "the handler")
	if info := consumerInfo(t, store, "sites"); info.NumAckPending != 1 || info.AckFloor.Stream != 0 {
		t.Errorf("got %+v", info)
	}
	stop()
	if entries, err := router.Poisoned(within(t), 10); err != nil || len(entries) != 0 {
		t.Errorf("stopping is no poison: %+v, %v", entries, err)
	}
	closeStore()

	store, _ = openStore(t, folder)
	got := make(chan eventstore.Commit, 10)
	subscription.Handle = func(_ context.Context, commit eventstore.Commit) error {
		got <- commit
		return nil
	}
	run(t, store, hurry, subscription)
	if again := receive(t, got, "the commit after the restart"); again.ID() != commit.ID() {
		t.Errorf("got %+v", again)
	}
	settled(t, store, "sites", commit.Position)
}

func TestRouterAfterACrash(t *testing.T) {
	folder := t.TempDir()
	store, closeStore := openStore(t, folder)
	commit := newTeam(store).append(t, siteAdded(1))
	begun, release := make(chan struct{}, 10), make(chan struct{})
	subscription := Subscription{Name: "sites", Events: []string{"site_added"},
		Handle: func(context.Context, eventstore.Commit) error {
			begun <- struct{}{}
			<-release
			return nil
		}}
	// The server goes away while the handler is at work, so that whatever it
	// says afterwards is not heard.
	_, stop := run(t, store, Config{ackWait: time.Second}, subscription)
	receive(t, begun, "the handler")
	closeStore()
	close(release)
	stop()

	store, _ = openStore(t, folder)
	got := make(chan eventstore.Commit, 10)
	subscription.Handle = func(_ context.Context, commit eventstore.Commit) error {
		got <- commit
		return nil
	}
	run(t, store, Config{ackWait: time.Second}, subscription)
	if again := receive(t, got, "the commit after the crash"); again.ID() != commit.ID() {
		t.Errorf("got %+v", again)
	}
}

func TestRouterKeepsSlowWorkToItself(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	const hurry = 300 * time.Millisecond
	var calls atomic.Int32
	release, done := make(chan struct{}), make(chan struct{}, 10)
	run(t, store, Config{ackWait: hurry}, Subscription{Name: "sites", Events: []string{"site_added"},
		Handle: func(context.Context, eventstore.Commit) error {
			calls.Add(1)
			<-release
			done <- struct{}{}
			return nil
		}})
	commit := newTeam(store).append(t, siteAdded(1))

	// Another consumer, equally impatient, gives no sign of life: when it has
	// been delivered the commit four times, the first has kept its own for
	// three times as long as the server waits.
	ctx := within(t)
	other, err := store.JetStream().CreateConsumer(ctx, eventstore.StreamName, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, AckWait: hurry})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := other.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for range 4 {
		if _, err := messages.Next(jetstream.NextContext(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	receive(t, done, "the handler")
	settled(t, store, "sites", commit.Position)
	if n := calls.Load(); n != 1 {
		t.Errorf("handled %d times", n)
	}
}

func TestRouterBoundsWhatIsInHand(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	team := newTeam(store)
	const limit, all = 3, 40
	var last eventstore.Commit
	for n := range all {
		last = team.append(t, siteAdded(n))
	}
	var now, most, total atomic.Int32
	full := make(chan struct{})
	run(t, store, Config{}, Subscription{Name: "sites", Events: []string{"site_added"}, InFlight: limit,
		Handle: func(context.Context, eventstore.Commit) error {
			n := now.Add(1)
			defer now.Add(-1)
			if most.Load() < n {
				most.Store(n)
			}
			if total.Add(1) == limit {
				close(full)
			}
			<-full
			return nil
		}})
	settled(t, store, "sites", last.Position)
	if total.Load() != all || most.Load() != limit {
		t.Errorf("%d handled, %d at once", total.Load(), most.Load())
	}
}

func TestRouterSharesWorkBetweenNodes(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	team := newTeam(store)
	const all = 200
	var mu sync.Mutex
	handled := map[uint64]int{}
	nodes := map[int]bool{}
	both := make(chan struct{})
	node := func(n int) Subscription {
		return Subscription{Name: "sites", Events: []string{"site_added"}, InFlight: 8,
			Handle: func(_ context.Context, commit eventstore.Commit) error {
				mu.Lock()
				handled[commit.Version]++
				if nodes[n] = true; len(nodes) == 2 && handled[commit.Version] == 1 {
					select {
					case <-both:
					default:
						close(both)
					}
				}
				mu.Unlock()
				<-both // nobody does it all alone
				return nil
			}}
	}
	run(t, store, Config{}, node(1))
	run(t, store, Config{}, node(2))
	var last eventstore.Commit
	for n := range all {
		last = team.append(t, siteAdded(n))
	}
	settled(t, store, "sites", last.Position)
	for version, times := range handled {
		if times != 1 {
			t.Errorf("version %d was handled %d times", version, times)
		}
	}
	if len(handled) != all {
		t.Errorf("%d handled", len(handled))
	}
}

func TestRouterRefusesWhatMakesNoSense(t *testing.T) {
	store, _ := openStore(t, t.TempDir())
	handle := func(context.Context, eventstore.Commit) error { return nil }
	good := Subscription{Name: "sites", Events: []string{"site_added"}, Handle: handle}
	for name, subscriptions := range map[string][]Subscription{
		"a malformed name": {{Name: "a.b", Events: good.Events, Handle: handle}},
		"a name twice":     {good, good},
		"no events":        {{Name: "sites", Handle: handle}},
		"no handler":       {{Name: "sites", Events: good.Events}},
	} {
		if _, err := New(within(t), store, Config{Logger: quiet}, subscriptions...); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
