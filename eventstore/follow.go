package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MostFollowed is the most commits that a follower is handed at once.
const MostFollowed = 1000

const (
	// heartbeat is how often the server says that there is nothing new, and
	// silence how long it may say nothing before it is asked anew.
	heartbeat = 500 * time.Millisecond
	silence   = 3 * heartbeat

	longRenewal = time.Second // the longest pause between two attempts
)

// ErrMissing means that the stream has lost positions: the leader doesn't have
// them and nothing ever takes any away, so that a disk has failed or was
// tampered with. Reading on would be to pass over events.
var ErrMissing = errors.New("eventstore: positions are missing")

// Follow hands every commit from position after+1 on to handle, in order and
// exactly once, as long as ctx lasts: first what there is, then what is
// appended. Each call gets what is there without waiting, at most
// [MostFollowed] commits; the slice is reused after the call, its commits may
// be kept. Lost connections, lost consumers and elections are survived and
// logged.
//
// It returns when ctx ends, when handle fails, when a commit can't be read
// ([ErrUnreadable]) or is missing ([ErrMissing]), or when the store is closed
// ([ErrClosed]); never with nil.
func (s *Store) Follow(ctx context.Context, after uint64, handle func(context.Context, []Commit) error) error {
	return follow(ctx, s, after, true, (*Message).Decode, handle)
}

// FollowRaw is Follow with messages that aren't decoded: for those that need
// few of them, or want to look at what Follow refuses. Missing positions are
// left out; [Chain] reports them.
func (s *Store) FollowRaw(ctx context.Context, after uint64, handle func(context.Context, []Message) error) error {
	return follow(ctx, s, after, false, func(m *Message) (Message, error) { return *m, nil }, handle)
}

// following is one run of Follow.
type following[T any] struct {
	store   *Store
	conn    *nats.Conn // its own: it may receive a lot
	js      jetstream.JetStream
	strict  bool
	convert func(*Message) (T, error)
	handle  func(context.Context, []T) error

	next  uint64 // the position to hand on next
	batch []T
	back  chan struct{} // a reconnect: what was sent meanwhile is lost
}

func follow[T any](ctx context.Context, s *Store, after uint64, strict bool,
	convert func(*Message) (T, error), handle func(context.Context, []T) error,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closing, func() { cancel(ErrClosed) })() //nolint:contextcheck // the store's life, beside the caller's

	conn, err := s.connect("follower")
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	f := &following[T]{
		store: s, conn: conn, js: js, strict: strict, convert: convert, handle: handle,
		next: after + 1, batch: make([]T, 0, MostFollowed), back: make(chan struct{}, 1),
	}
	conn.SetReconnectHandler(func(*nats.Conn) {
		select {
		case f.back <- struct{}{}:
		default:
		}
	})
	return f.run(ctx, after)
}

// errRenew means that the consumer is to be made anew, from the position where
// this one went silent or left something out.
var errRenew = errors.New("renewing the consumer")

func (f *following[T]) run(ctx context.Context, after uint64) error {
	pause := firstPause
	for known := false; ; {
		before := f.next
		err := error(nil)
		if !known {
			err = f.checkStart(ctx, after)
			known = err == nil
		}
		if err == nil {
			err = f.receive(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, errRenew):
			return err
		}
		f.store.log.Warn("following the events was interrupted", "position", f.next-1, "reason", err)
		if f.next != before {
			pause = firstPause
		}
		if wait(ctx, pause) != nil {
			return context.Cause(ctx)
		}
		pause = min(2*pause, longRenewal)
	}
}

// checkStart refuses a position that the stream has not reached: whoever asks
// for it has seen commits that are gone.
func (f *following[T]) checkStart(ctx context.Context, after uint64) error {
	last, err := f.store.LastPosition(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errRenew, err)
	}
	if after > last {
		return fmt.Errorf("%w: asked to go on after position %d, but the last is %d", ErrMissing, after, last)
	}
	return nil
}

// receive makes a consumer and hands on what it delivers, until something is
// wrong with it.
func (f *following[T]) receive(ctx context.Context) error {
	select {
	case <-f.back:
	default:
	}
	feed := &feed[T]{convert: f.convert, more: make(chan struct{}, 1)}
	inbox := f.conn.NewInbox()
	sub, err := f.conn.Subscribe(inbox, feed.put)
	if err != nil {
		return fmt.Errorf("%w: %w", errRenew, err)
	}
	// Without a subscriber the server drops the consumer. Where this fails, the
	// connection is gone and the subscription with it.
	defer func() { _ = sub.Unsubscribe() }()
	// The server's flow control is the limit: 32 MiB on the way at most.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("%w: %w", errRenew, err)
	}
	create, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, err = f.js.CreatePushConsumer(create, StreamName, jetstream.ConsumerConfig{
		DeliverSubject: inbox,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    f.next,
		AckPolicy:      jetstream.AckNonePolicy,
		MaxDeliver:     1,
		FlowControl:    true,
		IdleHeartbeat:  heartbeat,
		MemoryStorage:  true,
		Replicas:       1,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errRenew, err)
	}

	timer := time.NewTimer(silence)
	defer timer.Stop()
	var delivered uint64
	var items []delivery[T]
	for {
		items = feed.take(items)
		for i := range items {
			if err := f.accept(ctx, &items[i], &delivered); err != nil {
				// What came before it is good.
				return errors.Join(f.flush(ctx), err)
			}
			if len(f.batch) == MostFollowed {
				if err := f.flush(ctx); err != nil {
					return err
				}
			}
		}
		if err := f.flush(ctx); err != nil {
			return err
		}
		timer.Reset(silence)
		select {
		case <-feed.more:
		case <-timer.C:
			return fmt.Errorf("%w: nothing was heard for %v", errRenew, silence)
		case <-f.back:
			return fmt.Errorf("%w: the connection was lost", errRenew)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// accept takes what was delivered into the batch if it is what must come next.
func (f *following[T]) accept(ctx context.Context, item *delivery[T], delivered *uint64) error {
	if item.flow != "" {
		// Answered in its turn, so that the server waits for a slow reader.
		if err := f.conn.Publish(item.flow, nil); err != nil {
			return fmt.Errorf("%w: %w", errRenew, err)
		}
	}
	if item.position == 0 {
		if item.delivered > *delivered {
			return fmt.Errorf("%w: deliveries %d to %d were lost", errRenew, *delivered+1, item.delivered)
		}
		return nil
	}
	if item.delivered != *delivered+1 {
		return fmt.Errorf("%w: delivery %d came after %d", errRenew, item.delivered, *delivered)
	}
	*delivered = item.delivered

	expected := f.next + uint64(len(f.batch))
	if item.position < expected {
		return fmt.Errorf("%w: position %d came again", errRenew, item.position)
	}
	for ; expected < item.position; expected++ {
		if err := f.fill(ctx, expected); err != nil {
			return err
		}
	}
	if item.err != nil {
		return item.err
	}
	f.batch = append(f.batch, item.value)
	return nil
}

func (f *following[T]) flush(ctx context.Context) error {
	if len(f.batch) == 0 {
		return nil
	}
	if err := f.handle(ctx, f.batch); err != nil {
		return err
	}
	f.next += uint64(len(f.batch))
	clear(f.batch)
	f.batch = f.batch[:0]
	return nil
}

// fill hands on a position that the consumer left out: its server may have
// lost what the leader still has.
func (f *following[T]) fill(ctx context.Context, position uint64) error {
	message, err := f.store.askPosition(ctx, position)
	if errors.Is(err, errNoMessage) {
		if f.strict {
			return fmt.Errorf("%w: position %d", ErrMissing, position)
		}
		return f.pass(ctx, position)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errRenew, err)
	}
	value, err := f.convert(message)
	if err != nil {
		return err
	}
	f.batch = append(f.batch, value)
	return nil
}

// pass goes on behind a position that is missing.
func (f *following[T]) pass(ctx context.Context, position uint64) error {
	if err := f.flush(ctx); err != nil {
		return err
	}
	f.next = position + 1
	return nil
}

// delivery is one thing that the server sent to a consumer: a commit, or, with
// position 0, a word about how far it is.
type delivery[T any] struct {
	position  uint64
	delivered uint64 // how many commits this consumer has sent so far
	value     T
	err       error
	flow      string // where to say that everything up to here was taken
}

// feed holds what was delivered and is not handed on yet. Commits are decoded
// on the way in, so that this goes on while others are handled.
type feed[T any] struct {
	convert func(*Message) (T, error)
	more    chan struct{}

	mu    sync.Mutex
	items []delivery[T]
}

func (f *feed[T]) put(msg *nats.Msg) {
	var item delivery[T]
	if status(msg) != "" {
		item.flow = msg.Reply
		if item.flow == "" {
			item.flow = msg.Header.Get("Nats-Consumer-Stalled")
		}
		item.delivered, _ = strconv.ParseUint(msg.Header.Get("Nats-Last-Consumer"), 10, 64)
	} else {
		item = f.read(msg)
	}
	f.mu.Lock()
	f.items = append(f.items, item)
	f.mu.Unlock()
	select {
	case f.more <- struct{}{}:
	default:
	}
}

func (f *feed[T]) read(msg *nats.Msg) (item delivery[T]) {
	var ok bool
	if item.position, item.delivered, ok = deliveredAs(msg.Reply); !ok {
		item.delivered = ^uint64(0) // not a delivery: makes the follower ask anew
		return item
	}
	message, err := newMessage(msg.Subject, item.position, msg.Header, msg.Data)
	if err != nil {
		item.err = fmt.Errorf("%w: position %d is at subject %q", ErrUnreadable, item.position, msg.Subject)
		return item
	}
	item.value, item.err = f.convert(&message)
	return item
}

// take gives what is there and keeps the emptied slice for what comes.
func (f *feed[T]) take(emptied []delivery[T]) []delivery[T] {
	clear(emptied)
	f.mu.Lock()
	defer f.mu.Unlock()
	items := f.items
	f.items = emptied[:0]
	return items
}
