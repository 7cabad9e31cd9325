package subscribers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go/jetstream"

	"roster/eventstore"
)

// Subscription is one reader of the event stream.
type Subscription struct {
	// Name is that of the durable consumer: what was handled under a name is
	// not handled again, also after a restart or on another node. It is never
	// changed.
	Name string

	// Events are the kinds of events that are wanted ("member_invited"). A
	// commit that holds any of them is handed over whole.
	Events []string

	// InFlight is how many commits are handled at once, by each node. 0 means
	// 256.
	InFlight int

	// Handle deals with one commit. It may be called again with the same one,
	// and concurrently. ctx ends when the process is about to stop: nothing
	// new should be begun then, and what returns with an error comes again
	// after the restart. Errors must not hold personal data.
	Handle func(ctx context.Context, commit eventstore.Commit) error
}

const defaultInFlight = 256

// Retry says how often a commit whose handler fails is tried before it goes to
// the poison queue. The zero value means ten times within four minutes, longer
// than anything that repairs itself.
type Retry struct {
	Times int
	First time.Duration // the first pause; each is twice as long as the one before
	Most  time.Duration // the longest pause
}

// Config of a [Router]; the zero value works.
type Config struct {
	Logger *slog.Logger // nil means slog.Default()
	Retry  Retry

	ackWait time.Duration // 0 means ackWait; only tests are in more of a hurry
}

// Router runs subscriptions, each independently of the others.
type Router struct {
	js       jetstream.JetStream
	logger   *slog.Logger
	router   *message.Router
	handlers map[string]func(context.Context, eventstore.Commit) error
	streams  []*stream
}

// closeTimeout is how long handlers may take to finish when the process stops.
// It covers a message on its way and its outcome; see sendGrace.
const closeTimeout = 3 * sendGrace

var subscriptionName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,39}$`)

// New makes sure of the consumers and of the poison queue. Commits from before
// a subscription's first start are handed over too.
func New(ctx context.Context, store *eventstore.Store, config Config, subscriptions ...Subscription) (*Router, error) {
	logger := config.Logger
	if logger == nil {
		logger = slog.Default()
	}
	// What watermill has to say of its own coming and going is of no interest.
	adapter := watermill.NewSlogLoggerWithLevelMapping(logger, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})
	inner, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTimeout}, adapter)
	if err != nil {
		return nil, fmt.Errorf("subscribers: making the router: %w", err)
	}
	r := &Router{
		js: store.JetStream(), logger: logger, router: inner,
		handlers: map[string]func(context.Context, eventstore.Commit) error{},
	}
	if err := r.ensurePoison(ctx, store.Replicas()); err != nil {
		return nil, err
	}
	retry := middleware.Retry{
		MaxRetries:          cmp.Or(config.Retry.Times, 10),
		InitialInterval:     cmp.Or(config.Retry.First, 500*time.Millisecond),
		MaxInterval:         cmp.Or(config.Retry.Most, time.Minute),
		Multiplier:          2,
		RandomizationFactor: 0.2,
		Logger:              adapter,
	}
	// From the outside in: a message is released when nothing more is done with
	// it; what fails for good is put aside; what can't be read is not tried
	// again; what fails is; a panic is a failure.
	inner.AddMiddleware(releasing, r.poison, decode, retry.Middleware, middleware.Recoverer)
	for _, subscription := range subscriptions {
		if !subscriptionName.MatchString(subscription.Name) || r.handlers[subscription.Name] != nil {
			return nil, fmt.Errorf("subscribers: the name %q of a subscription is malformed or taken", subscription.Name)
		}
		if len(subscription.Events) == 0 || subscription.Handle == nil {
			return nil, fmt.Errorf("subscribers: the subscription %s needs events and a handler", subscription.Name)
		}
		subscription.InFlight = cmp.Or(subscription.InFlight, defaultInFlight)
		source, err := newStream(ctx, r.js, subscription, cmp.Or(config.ackWait, ackWait), logger)
		if err != nil {
			return nil, err
		}
		r.handlers[subscription.Name] = subscription.Handle
		r.streams = append(r.streams, source)
		//nolint:contextcheck // ctx is for making it; a message brings its own
		inner.AddConsumerHandler(subscription.Name, subscription.Name, source, func(msg *message.Message) error {
			return subscription.Handle(msg.Context(), deliveryOf(msg).commit)
		})
	}
	return r, nil
}

// decode reads the commit, once for all attempts.
func decode(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		d := deliveryOf(msg)
		if d.err != nil {
			return nil, d.err
		}
		var err error
		if d.commit, err = d.stored.Decode(); err != nil {
			return nil, err
		}
		return next(msg)
	}
}

// Running is closed once every subscription is being delivered to.
func (r *Router) Running() <-chan struct{} { return r.router.Running() }

// Run delivers until ctx ends, then waits for what is in hand.
func (r *Router) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- r.router.Run(context.WithoutCancel(ctx)) }()
	select {
	case <-r.router.Running(): // not to be closed while it starts
	case err := <-ended:
		return fmt.Errorf("subscribers: starting: %w", err)
	}
	select {
	case <-ctx.Done():
	case err := <-ended:
		return fmt.Errorf("subscribers: stopped: %w", err)
	}
	err := r.router.Close()
	if err != nil {
		err = fmt.Errorf("subscribers: handlers are still at work after %s: %w", closeTimeout, err)
	}
	err = errors.Join(err, <-ended)
	if err == nil {
		// The router closes its subscribers only sometimes: it may notice the
		// end of its own context first.
		for _, source := range r.streams {
			_ = source.Close() // never fails
		}
	}
	// The last acknowledgements are on their way only now.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchPause)
	defer cancel()
	if flushing := r.js.Conn().FlushWithContext(flush); flushing != nil && !r.js.Conn().IsConnected() {
		r.logger.Warn("the last acknowledgements didn't get out; some commits will be handled again", "error", flushing)
	}
	return err
}

// stopping tells whether a handler ended because the process does.
func stopping(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, context.Canceled)
}
