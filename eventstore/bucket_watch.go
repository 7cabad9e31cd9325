package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A tail watches the messages of one stream as they are stored, so that what
// a process has in memory can be dropped or changed with them.
//
// It is unbroken from its start to the first doubt: a lost connection, a
// missing heartbeat, a gap. Then it says so at once and starts anew from where
// the stream ends by then, not from where it was; whoever keeps things in
// memory on its word forgets them in between. That costs a few reads and
// leaves nothing to catch up with. (Unlike the ordered consumer of nats.go,
// which resumes by itself and tells nobody.)
type tail struct {
	js     jetstream.JetStream
	config tailConfig
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	live    bool
	reached uint64
	waiting map[*tailWaiter]struct{}
	trouble error // what broke it last
}

type tailConfig struct {
	stream string

	// replay starts with what the stream holds instead of at its end.
	replay bool

	// headersOnly leaves the payloads out.
	headersOnly bool

	// message is called for one message at a time, in their order, before
	// its position counts as reached.
	message func(subject string, position uint64, data []byte)

	// changed is told when the tail becomes unbroken and when it breaks.
	changed func(live bool)
}

type tailWaiter struct {
	position uint64
	done     chan struct{}
}

const (
	// tailHeartbeat is how often the server says that nothing has happened.
	// Missing two breaks the tail.
	tailHeartbeat = time.Second

	// tailAbandoned is when the server forgets a watch that nobody reads.
	tailAbandoned = 30 * time.Second

	tailRetryFirst, tailRetryMost = 20 * time.Millisecond, time.Second
)

// startTail returns when the tail is unbroken.
func startTail(ctx context.Context, js jetstream.JetStream, config tailConfig) (*tail, error) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &tail{js: js, config: config, cancel: cancel, done: make(chan struct{}), waiting: map[*tailWaiter]struct{}{}}
	go t.run(run)
	if err := t.wait(ctx, 0); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// close ends the watch. Who waits is not answered any more.
func (t *tail) close() {
	t.cancel()
	<-t.done
}

// wait returns when the tail is unbroken and has seen the position.
func (t *tail) wait(ctx context.Context, position uint64) error {
	t.mu.Lock()
	if t.live && t.reached >= position {
		t.mu.Unlock()
		return nil
	}
	w := &tailWaiter{position: position, done: make(chan struct{})}
	t.waiting[w] = struct{}{}
	t.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-t.done:
		return fmt.Errorf("eventstore: the watch of %s has ended", t.config.stream)
	case <-ctx.Done():
	}
	t.mu.Lock()
	delete(t.waiting, w)
	err := fmt.Errorf("eventstore: waiting for position %d of %s, at %d: %w", position, t.config.stream, t.reached, ctx.Err())
	if t.trouble != nil {
		err = fmt.Errorf("%w (last trouble: %w)", err, t.trouble)
	}
	t.mu.Unlock()
	return err
}

func (t *tail) advance(position uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reached = max(t.reached, position)
	t.answer()
}

// answer wakes who has waited long enough; mu is held.
func (t *tail) answer() {
	for w := range t.waiting {
		if t.live && t.reached >= w.position {
			close(w.done)
			delete(t.waiting, w)
		}
	}
}

// turn makes the tail unbroken or broken. Whoever keeps things in memory on
// its word is told before anybody who waits is.
func (t *tail) turn(live bool, trouble error) {
	t.mu.Lock()
	was := t.live
	if !live {
		t.live, t.trouble = false, trouble
	}
	t.mu.Unlock()
	if t.config.changed != nil && live != was {
		t.config.changed(live)
	}
	if live {
		t.mu.Lock()
		t.live = true
		t.answer()
		t.mu.Unlock()
	}
}

func (t *tail) run(ctx context.Context) {
	defer close(t.done)
	pause := tailRetryFirst
	for {
		began := time.Now()
		err := t.follow(ctx)
		t.turn(false, err)
		if time.Since(began) > tailRetryMost {
			pause = tailRetryFirst
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, tailRetryMost)
		}
	}
}

var errTailGap = errors.New("messages of the watch were lost")

// follow watches until the first doubt, which is what it returns.
func (t *tail) follow(ctx context.Context) error {
	conn := t.js.Conn()
	ctx, doubt := context.WithCancelCause(ctx)
	defer doubt(nil)
	status := conn.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer conn.RemoveStatusListener(status)
	go func() {
		// The channel is closed by RemoveStatusListener.
		if now, ok := <-status; ok {
			doubt(fmt.Errorf("the connection is %s", now))
		}
	}()

	config := jetstream.ConsumerConfig{
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: tailAbandoned,
		HeadersOnly:       t.config.headersOnly,
		DeliverPolicy:     jetstream.DeliverAllPolicy,
	}
	// Whoever reads from the leader after this sees all up to here, and hears
	// of everything beyond.
	end, err := lastPosition(ctx, t.js, t.config.stream)
	if err != nil {
		return err
	}
	if !t.config.replay {
		config.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
		config.OptStartSeq = end + 1
	}
	consumer, err := t.js.CreateConsumer(ctx, t.config.stream, config)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullHeartbeat(tailHeartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return err
	}
	defer messages.Stop()

	t.mu.Lock()
	if t.reached = 0; !t.config.replay {
		t.reached = end
	}
	t.mu.Unlock()
	t.turn(true, nil)
	for expected := uint64(1); ; expected++ {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		meta, err := message.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != expected {
			return errTailGap
		}
		t.config.message(message.Subject(), meta.Sequence.Stream, message.Data())
		t.advance(meta.Sequence.Stream)
	}
}
