package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// ErrNotServing means that this process can't be sure to know what the others
// have acknowledged. It must answer no request until it can.
var ErrNotServing = errors.New("eventstore: this node is out of touch with the others")

// Marks are positions that followers must have reached, by their names: the
// position of an event in EVENTS, a revision of a bucket, a position of KEYS.
type Marks map[string]uint64

// Nodes are this process and its peers: all processes that serve the same
// data. They make one promise: when Barrier has returned, no node answers a
// request that starts from then on without having seen the marks, whatever
// had failed. A revocation is acknowledged after its barrier.
//
// It rests on three things.
//
//   - A node may answer requests only under a lease. It renews it every half
//     second by a message of its own in the stream NODES, each one expecting
//     the one before it, and may go on for two seconds after it has sent the
//     last one that was acknowledged. The stream is replicated as the events
//     are, so a node that is cut off with a minority of the servers isn't
//     acknowledged, and stops.
//   - Barrier asks every peer it has heard of to confirm the marks, until it
//     does, or until it has been silent for three seconds and was fenced: its
//     place in NODES was taken by a message that expects the last renewal to
//     be the last. That succeeds only if no renewal was stored in between,
//     and after it none is ever acknowledged; by then the lease was over for
//     a second. A fenced node has to join again.
//   - A joining node is announced in NODES first, has every peer confirm that
//     it has heard of that, then asks the leaders where the streams end, and
//     serves when its followers are there. A barrier that hasn't heard of the
//     node therefore began before that question was asked, with its marks
//     stored already, so the answer includes them. Of two nodes that join at
//     a time one is first in NODES, and the other finds it there.
//
// A node whose follower doesn't reach a mark within two seconds stops serving
// by itself and confirms, since it reads the ends again before it goes on. So
// one that is slow or stuck delays the others for no longer than that.
//
// A nil *Nodes is a process that is alone, as one with a server inside it
// always is: it serves, and its barriers cost nothing.
type Nodes struct {
	js        jetstream.JetStream
	log       *slog.Logger
	now       func() time.Time
	ticker    func(time.Duration) (<-chan time.Time, func())
	timing    nodeTiming
	replicas  int
	followers map[string]nodeFollower

	lease   atomic.Pointer[time.Time] // until when requests may be answered; nil: not at all
	serving atomic.Bool               // caught up, and not fenced as far as known
	tail    *tail                     // of NODES
	rejoin  chan struct{}             // has one when there is something to make good
	life    context.Context           // from Join to Close
	stop    context.CancelFunc
	stopped sync.WaitGroup

	mu        sync.Mutex
	id        string             // of this membership; "" before, after and between
	revision  uint64             // in NODES of the last renewal that is known; 0: not announced
	known     bool               // to every peer
	requests  *nats.Subscription // of peers
	phase     phase
	abort     context.CancelFunc // of the joining under way
	targets   Marks              // promised to peers while catching up
	answering map[*confirmation]struct{}
	peers     map[string]*peer
	changed   chan struct{} // closed and replaced when any of this changes
}

// nodeFollower is something in this process that follows a stream.
type nodeFollower struct {
	wait func(context.Context, uint64) error
	end  func(context.Context) (uint64, error)
}

// phase is how far a node is on its way to serving.
type phase int

const (
	outside    phase = iota // the ends of the streams are still to be asked for
	catchingUp              // asked for and not reached yet
	confirming              // reached; what was promised meanwhile may not be
	caughtUp
)

// peer is another node that may be answering requests.
type peer struct {
	id       string
	revision uint64        // of its last renewal heard of
	heard    time.Time     // when that was
	gone     chan struct{} // closed when it has left or was fenced
}

// NodesConfig is what may be chosen; its zero value works.
type NodesConfig struct {
	Replicas int          // of the stream NODES, as many as EVENTS has; 0: 1
	Logger   *slog.Logger // nil: slog.Default()

	// Now and Ticker are the clock; nil means that of the time package.
	Now    func() time.Time
	Ticker func(every time.Duration) (ticks <-chan time.Time, stop func())
}

// nodeTiming is what the promise rests on: a node stops serving well before
// anybody takes its lease for over.
type nodeTiming struct {
	renew time.Duration // between two renewals, and two looks at the leases of peers
	serve time.Duration // for how long after the last acknowledged renewal was sent
	lease time.Duration // over so long after the last renewal was heard of
	lag   time.Duration // allowed to a follower for reaching a mark
}

var usualTiming = nodeTiming{
	renew: 500 * time.Millisecond,
	serve: 2 * time.Second,
	lease: 3 * time.Second,
	lag:   2 * time.Second,
}

const (
	renewAttempt = time.Second // for one message to NODES
	askAttempt   = time.Second // for one request to a peer, which may be lost
	askPause     = 50 * time.Millisecond
	joinPause    = 200 * time.Millisecond
)

// NewNodes prepares a node. Register its followers, then Join.
func NewNodes(js jetstream.JetStream, config NodesConfig) *Nodes {
	n := &Nodes{
		js: js, log: config.Logger, now: config.Now, ticker: config.Ticker,
		timing: usualTiming, replicas: config.Replicas,
		followers: map[string]nodeFollower{},
		rejoin:    make(chan struct{}, 1),
		answering: map[*confirmation]struct{}{},
		peers:     map[string]*peer{},
		changed:   make(chan struct{}),
	}
	if n.log == nil {
		n.log = slog.Default()
	}
	if n.now == nil {
		n.now = time.Now
	}
	if n.ticker == nil {
		n.ticker = func(every time.Duration) (<-chan time.Time, func()) {
			ticker := time.NewTicker(every)
			return ticker.C, ticker.Stop
		}
	}
	return n
}

// Register names a follower, whose marks a barrier may then carry: wait
// returns when it has reached a position, end gives the last position there
// is, asked of the leader. All nodes have followers of the same names. It is
// called before Join.
func (n *Nodes) Register(name string, wait func(ctx context.Context, position uint64) error, end func(context.Context) (uint64, error)) {
	if n != nil {
		n.followers[name] = nodeFollower{wait: wait, end: end}
	}
}

// Serving tells whether requests may be answered now. It is asked at the
// start of each.
func (n *Nodes) Serving() bool {
	if n == nil {
		return true
	}
	until := n.lease.Load()
	if until == nil || !n.serving.Load() {
		return false
	}
	now := n.now()
	// A machine that was suspended finds its monotonic clock where it was;
	// one whose clock was set back finds its wall clock wrong. The earlier
	// end counts.
	return now.Before(*until) && now.Round(0).Before(until.Round(0))
}

// AwaitServing returns once requests may be answered, or with ErrNotServing
// when ctx ends before. While a NATS server is replaced, a lease may run out
// for a moment.
func (n *Nodes) AwaitServing(ctx context.Context) error {
	for !n.Serving() {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		if n.Serving() { // just before changed was taken
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ErrNotServing
		}
	}
	return nil
}

// Peers is how many other nodes may be answering requests.
func (n *Nodes) Peers() int {
	if n == nil {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.peers)
}

// Barrier returns when every peer has reached the marks, doesn't serve until
// it has, or is gone. The marks must be stored already. This process's own
// followers aren't waited for: what it wrote it knows.
//
// With an error, which is ErrNotServing or says that ctx has ended, what the
// marks stand for is stored and will be seen everywhere in a moment, but may
// not be everywhere yet: it must not be acknowledged as if it were.
func (n *Nodes) Barrier(ctx context.Context, marks Marks) error {
	if n == nil {
		return nil
	}
	peers := n.currentPeers()
	// After the list was taken: whoever could join without this node having
	// heard of it has seen it fenced, and this node's lease over.
	if !n.Serving() {
		return ErrNotServing
	}
	return n.askAll(ctx, peers, marks)
}

func (n *Nodes) currentPeers() []*peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.peers) == 0 {
		return nil
	}
	peers := make([]*peer, 0, len(n.peers))
	for _, p := range n.peers {
		peers = append(peers, p)
	}
	return peers
}

func (n *Nodes) askAll(ctx context.Context, peers []*peer, marks Marks) error {
	if len(peers) == 0 {
		return nil
	}
	question, err := json.Marshal(marks)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range peers {
		group.Go(func() error { return n.ask(ctx, p, question) })
	}
	return group.Wait()
}

// confirmed is the answer of a peer that has seen the marks. Any other is the
// reason why it never will.
const confirmed = "+"

func requestSubject(id string) string { return "roster.node." + id }

// ask puts the question to one peer until it is confirmed or the peer is gone.
func (n *Nodes) ask(ctx context.Context, p *peer, question []byte) error {
	for {
		answer, err := n.askOnce(ctx, p, question)
		switch {
		case err == nil && answer == confirmed:
			return nil
		case err == nil:
			return fmt.Errorf("eventstore: node %s can't confirm: %s", p.id, answer)
		}
		select {
		case <-p.gone:
			return nil
		case <-n.life.Done():
			return ErrNotServing
		case <-ctx.Done():
			return fmt.Errorf("eventstore: node %s has not confirmed %s: %w", p.id, question, errors.Join(ctx.Err(), err))
		case <-time.After(askPause):
		}
	}
}

func (n *Nodes) askOnce(ctx context.Context, p *peer, question []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askAttempt)
	defer cancel()
	go func() {
		select {
		case <-p.gone:
			cancel()
		case <-n.life.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	answer, err := n.js.Conn().RequestWithContext(ctx, requestSubject(p.id), question)
	if err != nil {
		return "", err
	}
	return string(answer.Data), nil
}

// confirmation is a question of a peer that is being waited for.
type confirmation struct {
	since  time.Time
	cancel context.CancelFunc
}

// answer is called for each question of a peer.
func (n *Nodes) answer(question *nats.Msg) {
	var marks Marks
	if err := json.Unmarshal(question.Data, &marks); err != nil {
		n.log.Error("malformed question of a node", "err", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life.Err() != nil {
		return // Close waits for those that began before
	}
	n.stopped.Go(func() {
		// Without an answer the peer asks again.
		if text, ok := n.confirm(n.life, marks); ok {
			if err := question.Respond([]byte(text)); err != nil {
				n.log.Warn("a confirmation was not sent", "err", err)
			}
		}
	})
}

// confirm waits until this node has reached the marks or doesn't serve before
// it has.
func (n *Nodes) confirm(ctx context.Context, marks Marks) (answer string, ok bool) {
	if position, announced := marks[nodesStream]; announced {
		marks = maps.Clone(marks)
		delete(marks, nodesStream)
		if err := n.tail.wait(ctx, position); err != nil {
			return "", false
		}
	}
	for name := range marks {
		if _, known := n.followers[name]; !known {
			return "it follows nothing named " + name, true
		}
	}
	ctx, c, wait := n.promise(ctx, marks)
	if !wait {
		return confirmed, true
	}
	defer n.settled(c)
	for name, position := range marks {
		if err := n.followers[name].wait(ctx, position); err != nil {
			// Out of patience with the follower, this node stopped serving
			// first; otherwise it is closing, or something is broken.
			return confirmed, !n.serving.Load() && errors.Is(context.Cause(ctx), errLagging)
		}
	}
	return confirmed, true
}

// promise decides whether marks have to be waited for. They don't while this
// node has yet to catch up with them before it serves.
func (n *Nodes) promise(ctx context.Context, marks Marks) (_ context.Context, c *confirmation, wait bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case len(marks) == 0 || n.phase == outside:
		return ctx, nil, false
	case n.phase == catchingUp:
		for name, position := range marks {
			n.targets[name] = max(n.targets[name], position)
		}
		return ctx, nil, false
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c = &confirmation{since: n.now(), cancel: func() { cancel(errLagging) }}
	n.answering[c] = struct{}{}
	return ctx, c, true
}

func (n *Nodes) settled(c *confirmation) {
	n.mu.Lock()
	delete(n.answering, c)
	n.mu.Unlock()
	c.cancel()
}
