package subscribers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"roster/eventstore"
)

// stream is the event stream as a watermill Subscriber: a durable pull
// consumer of one name, shared by every node that runs a subscription of that
// name. It asks the server for no more than it has room for, passes on the
// commits that hold one of the wanted events and acknowledges each after it
// was handled, and the others at once.
//
// Choosing happens here and not on the server, where it would cost as much as
// reading everything.
type stream struct {
	js      jetstream.JetStream
	name    string   // of the consumer
	events  []string // kinds of events that are wanted
	ackWait time.Duration
	logger  *slog.Logger

	room chan struct{} // holds one element for each message in hand

	// working ends with Close and with the context of Subscribe: handlers start
	// nothing new.
	working context.Context
	stop    context.CancelFunc
	inHand  sync.WaitGroup // the fetching goroutine and every message
	idle    chan struct{}  // closed by Close, when nothing is in hand any more
	closing sync.Once
	alive   sync.WaitGroup // the goroutine that keeps messages alive

	mu      sync.Mutex
	unacked map[jetstream.Msg]struct{} // messages in hand, to be kept from being delivered again
}

const (
	// ackWait is how long the server waits for a sign of life of a message
	// before it gives it to another node: how long the work of a node that
	// crashed lies around. It also counts after a restart of the server,
	// which doesn't remember what was given back.
	ackWait = 10 * time.Second

	// maxAckPending bounds what all nodes together have in hand.
	maxAckPending = 4 * defaultInFlight

	// fetchPause follows a failed fetch: the server is away or just electing
	// a leader.
	fetchPause = time.Second
)

// newStream makes sure of the consumer.
func newStream(ctx context.Context, js jetstream.JetStream, subscription Subscription, ackWait time.Duration, logger *slog.Logger) (*stream, error) {
	s := &stream{
		js: js, name: subscription.Name, events: subscription.Events, ackWait: ackWait, logger: logger,
		room:    make(chan struct{}, subscription.InFlight),
		idle:    make(chan struct{}),
		unacked: map[jetstream.Msg]struct{}{},
	}
	s.working, s.stop = context.WithCancel(context.Background())
	_, err := s.consumer(ctx)
	return s, err
}

func (s *stream) consumer(ctx context.Context) (jetstream.Consumer, error) {
	consumer, err := s.js.CreateOrUpdateConsumer(ctx, eventstore.StreamName, jetstream.ConsumerConfig{
		Durable:       s.name,
		Description:   "Roster's subscription " + s.name,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       s.ackWait,
		MaxDeliver:    -1, // the poison queue ends it, not the server
		MaxAckPending: maxAckPending,
	})
	if err != nil {
		return nil, fmt.Errorf("subscribers: making the consumer %s: %w", s.name, err)
	}
	return consumer, nil
}

// Subscribe begins to deliver. It is called once, by the watermill router.
func (s *stream) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	consumer, err := s.consumer(ctx)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, s.stop)
	out := make(chan *message.Message)
	s.inHand.Go(func() {
		defer close(out)
		s.deliver(s.working, consumer, out)
	})
	s.alive.Go(s.keepAlive)
	return out, nil
}

// Close stops delivering and waits until everything in hand is acknowledged or
// given back.
func (s *stream) Close() error {
	s.stop()
	s.inHand.Wait()
	s.closing.Do(func() { close(s.idle) })
	s.alive.Wait()
	return nil
}

// deliver fetches until ctx ends. Failures are the server being away; they
// pass.
func (s *stream) deliver(ctx context.Context, consumer jetstream.Consumer, out chan<- *message.Message) {
	for ctx.Err() == nil {
		err := s.fetch(ctx, consumer, out)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.logger.Warn("reading the event stream failed; it is tried again", "subscription", s.name, "error", err)
		if (Clock{}).orReal().wait(ctx, fetchPause) != nil {
			return
		}
		// It may have been deleted, or gone with a server's disk.
		if again, err := s.consumer(ctx); err == nil {
			consumer = again
		}
	}
}

// fetch asks for as many messages as there is room for, and passes them on as
// they come. The server ends it after half a minute if they don't.
func (s *stream) fetch(ctx context.Context, consumer jetstream.Consumer, out chan<- *message.Message) error {
	reserved := s.reserve(ctx)
	defer func() {
		for range reserved {
			<-s.room
		}
	}()
	if reserved == 0 {
		return nil
	}
	batch, err := consumer.Fetch(reserved, jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	for raw := range batch.Messages() {
		if ctx.Err() != nil {
			s.settle(raw.Nak(), raw) // for another node, or after the restart
			continue
		}
		stored, wanted, err := s.read(raw)
		if err == nil && !wanted {
			s.settle(raw.Ack(), raw)
			continue
		}
		reserved-- // the message has the place now
		s.hold(raw)
		msg := message.NewMessage(string(stored.ID()), raw.Data())
		//nolint:contextcheck // what is in hand ends with Close, not with the fetching
		msg.SetContext(context.WithValue(s.working, deliveryKey{}, &delivery{stored: stored, err: err, raw: raw, from: s}))
		out <- msg // the router always takes it
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// reserve waits for room for one message and takes whatever more there is. It
// gives 0 when ctx ends.
func (s *stream) reserve(ctx context.Context) (places int) {
	select {
	case s.room <- struct{}{}:
		places = 1
	case <-ctx.Done():
		return 0
	}
	for {
		select {
		case s.room <- struct{}{}:
			places++
		default:
			return places
		}
	}
}

// read tells by the header whether the commit holds a wanted event. What can't
// even be read that far is for the handler to fail on.
func (s *stream) read(raw jetstream.Msg) (stored eventstore.Message, wanted bool, err error) {
	metadata, err := raw.Metadata()
	if err != nil {
		return stored, false, fmt.Errorf("subscribers: a message without a place in the stream: %w", err)
	}
	stored, err = eventstore.NewMessage(raw.Subject(), metadata.Sequence.Stream, raw.Headers(), raw.Data())
	if err != nil {
		stored.Position = metadata.Sequence.Stream
		return stored, false, err
	}
	for _, kind := range s.events {
		if stored.HasKind(kind) {
			return stored, true, nil
		}
	}
	return stored, false, nil
}

// hold keeps a message from being delivered again until it is released.
func (s *stream) hold(raw jetstream.Msg) {
	s.inHand.Add(1)
	s.mu.Lock()
	s.unacked[raw] = struct{}{}
	s.mu.Unlock()
}

// release acknowledges a message that was handled or put aside, and gives any
// other back.
func (s *stream) release(raw jetstream.Msg, done bool) {
	defer s.inHand.Done()
	var err error
	switch {
	case done:
		err = raw.Ack()
	case s.working.Err() != nil:
		err = raw.Nak()
	default:
		// Neither handled nor put into the poison queue: the server that keeps
		// both is in trouble.
		err = raw.NakWithDelay(s.ackWait)
	}
	s.mu.Lock()
	delete(s.unacked, raw)
	s.mu.Unlock()
	<-s.room
	s.settle(err, raw)
}

// releasing is the middleware around everything that is done with a message.
// It doesn't leave that to watermill's acknowledgement, for which a goroutine
// would have to wait beside every message.
func releasing(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) (produced []*message.Message, err error) {
		d, done := deliveryOf(msg), false
		defer func() { d.from.release(d.raw, done) }() // also after a panic
		produced, err = next(msg)
		done = err == nil
		return produced, err
	}
}

// settle logs an acknowledgement that didn't get out. The message comes again.
func (s *stream) settle(err error, raw jetstream.Msg) {
	if err != nil {
		s.logger.Warn("a message can't be acknowledged and will be delivered again",
			"subscription", s.name, "subject", raw.Subject(), "error", err)
	}
}

// keepAlive tells the server, often enough, that the messages in hand are
// being worked on.
func (s *stream) keepAlive() {
	ticker := time.NewTicker(s.ackWait / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.idle:
			return
		}
		s.mu.Lock()
		for raw := range s.unacked {
			if err := raw.InProgress(); err != nil {
				break // disconnected; the next tick tries again
			}
		}
		s.mu.Unlock()
	}
}

// delivery is what a handler finds in the context of a watermill message.
type delivery struct {
	stored eventstore.Message
	err    error             // why it can't be read
	commit eventstore.Commit // set once it is decoded

	raw  jetstream.Msg
	from *stream
}

type deliveryKey struct{}

func deliveryOf(msg *message.Message) *delivery {
	d, _ := msg.Context().Value(deliveryKey{}).(*delivery)
	return d
}
