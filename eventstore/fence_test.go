package eventstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// testClock stands still until it is advanced.
type testClock struct {
	mu      sync.Mutex
	now     time.Time
	tickers []*testTicker
}

type testTicker struct {
	every time.Duration
	next  time.Time
	c     chan time.Time
}

func newTestClock() *testClock {
	return &testClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Ticker(every time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &testTicker{every: every, next: c.now.Add(every), c: make(chan time.Time, 1)}
	c.tickers = append(c.tickers, t)
	return t.c, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.tickers = slices.DeleteFunc(c.tickers, func(other *testTicker) bool { return other == t })
	}
}

func (c *testClock) advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
	for _, t := range c.tickers {
		if !c.now.Before(t.next) {
			t.next = c.now.Add(t.every)
			select {
			case t.c <- c.now:
			default:
			}
		}
	}
}

// testFollower is a follower that the test moves.
type testFollower struct {
	mu      sync.Mutex
	end     uint64 // of the stream
	reached uint64
	asked   chan uint64 // by whoever waits for more than is reached
	moved   chan struct{}
}

func newTestFollower(end, reached uint64) *testFollower {
	return &testFollower{end: end, reached: reached, asked: make(chan uint64, 100), moved: make(chan struct{})}
}

func (f *testFollower) wait(ctx context.Context, position uint64) error {
	for first := true; ; first = false {
		f.mu.Lock()
		reached, moved := f.reached, f.moved
		f.mu.Unlock()
		if reached >= position {
			return nil
		}
		if first {
			f.asked <- position
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *testFollower) last(context.Context) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end, nil
}

func (f *testFollower) move(end, reached uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end, f.reached = end, reached
	close(f.moved)
	f.moved = make(chan struct{})
}

// wantAsked returns when somebody waits for a position.
func (f *testFollower) wantAsked(t testing.TB, want uint64) {
	t.Helper()
	ctx := testContext(t)
	for {
		select {
		case got := <-f.asked:
			if got == want {
				return
			}
			t.Logf("waited for %d", got)
		case <-ctx.Done():
			t.Fatalf("nobody waits for %d", want)
		}
	}
}

// testNode is a node with one follower, EVENTS.
type testNode struct {
	*Nodes
	follower *testFollower
	proxy    *testProxy
	conn     *nats.Conn
}

func newTestNode(t testing.TB, server *testServer, clock *testClock, end, reached uint64) *testNode {
	t.Helper()
	node := &testNode{follower: newTestFollower(end, reached), proxy: newTestProxy(t, server.ns.Addr().String())}
	var js jetstream.JetStream
	node.conn, js = connectTo(t, node.proxy.url())
	config := NodesConfig{Logger: quiet()}
	if clock != nil {
		config.Now, config.Ticker = clock.Now, clock.Ticker
	}
	node.Nodes = NewNodes(js, config)
	node.Register("EVENTS", node.follower.wait, node.follower.last)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := node.Close(ctx); err != nil && node.conn.IsConnected() && !node.proxy.isCut() {
			t.Error(err)
		}
	})
	return node
}

func (n *testNode) join(t testing.TB) *testNode {
	t.Helper()
	if err := n.Join(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return n
}

// await returns when the condition, which is called with the lock held, is true.
func (n *testNode) await(t testing.TB, condition func() bool) {
	t.Helper()
	ctx := testContext(t)
	for {
		n.mu.Lock()
		ok, changed := condition(), n.changed
		n.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("waited in vain")
		}
	}
}

// step lets half a second pass, in which the nodes renew their leases and
// hear of one another's.
func step(t testing.TB, clock *testClock, nodes ...*testNode) {
	t.Helper()
	clock.advance(usualTiming.renew)
	for _, node := range nodes {
		node.await(t, func() bool {
			lease := node.lease.Load()
			return lease != nil && lease.Equal(clock.Now().Add(usualTiming.serve))
		})
		for _, other := range nodes {
			other.mu.Lock()
			id := other.id
			other.mu.Unlock()
			node.await(t, func() bool {
				return other == node || node.peers[id] != nil && node.peers[id].heard.Equal(clock.Now())
			})
		}
	}
}

func barrier(n *testNode, marks Marks) chan error {
	done := make(chan error, 1)
	go func() { done <- n.Barrier(context.Background(), marks) }()
	return done
}

func wantPending(t testing.TB, done chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("the barrier is over already: %v", err)
	default:
	}
}

func wantDone(t testing.TB, done chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-testContext(t).Done():
		t.Fatal("the barrier never ends")
	}
}

func TestNodesNilIsAlone(t *testing.T) {
	var n *Nodes
	n.Register("EVENTS", nil, nil)
	for _, err := range []error{n.Join(t.Context()), n.Barrier(t.Context(), Marks{"EVENTS": 1}), n.Close(t.Context())} {
		if err != nil {
			t.Error(err)
		}
	}
	if !n.Serving() || n.Peers() != 0 {
		t.Error("a process that is alone doesn't serve, or has peers")
	}
}

func TestNodesOneServesAndWaitsForNobody(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	node := newTestNode(t, server, clock, 7, 7)
	if node.Serving() || !errors.Is(node.Barrier(t.Context(), Marks{"EVENTS": 9}), ErrNotServing) {
		t.Error("serves before it has joined")
	}
	node.join(t)
	if !node.Serving() || node.Peers() != 0 {
		t.Error("doesn't serve, or has peers")
	}
	before := sent(node.conn)
	for range 100 {
		if err := node.Barrier(t.Context(), Marks{"EVENTS": 9}); err != nil {
			t.Fatal(err)
		}
	}
	if n := sent(node.conn) - before; n > 1 { // the watch may have asked for more
		t.Errorf("100 barriers sent %d messages", n)
	}
	for range 20 {
		step(t, clock, node)
		if !node.Serving() {
			t.Fatal("the lease ran out")
		}
	}
	if err := node.Close(t.Context()); err != nil || node.Serving() {
		t.Errorf("after leaving: %v, serving %v", err, node.Serving())
	}
}

func TestNodesBarrierWaitsForALaggingFollower(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	b := newTestNode(t, server, clock, 5, 5).join(t)
	c := newTestNode(t, server, clock, 5, 6).join(t)
	if a.Peers() != 2 || b.Peers() != 2 || c.Peers() != 2 {
		t.Fatalf("peers: %d, %d, %d", a.Peers(), b.Peers(), c.Peers())
	}
	wantDone(t, barrier(a, Marks{"EVENTS": 5}))
	done := barrier(a, Marks{"EVENTS": 6})
	b.follower.wantAsked(t, 6)
	step(t, clock, a, b, c)
	wantPending(t, done)
	b.follower.move(6, 6)
	wantDone(t, done)
	if !b.Serving() {
		t.Error("a node that was a little late stopped serving")
	}
}

func TestNodesBarrierOfAnUnknownNameFails(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	newTestNode(t, server, clock, 5, 5).join(t)
	err := a.Barrier(t.Context(), Marks{"SESSIONS": 1})
	if err == nil || !strings.Contains(err.Error(), "SESSIONS") {
		t.Errorf("%v", err)
	}
}

func TestNodesBarrierEndsWithItsContext(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	b := newTestNode(t, server, clock, 5, 5).join(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Barrier(ctx, Marks{"EVENTS": 6}) }()
	b.follower.wantAsked(t, 6)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "has not confirmed") {
		t.Errorf("%v", err)
	}
}

// A follower that is stuck takes its own node out of service, not the others'
// revocations.
func TestNodesStuckFollowerStopsItsNode(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	b := newTestNode(t, server, clock, 5, 5).join(t)
	b.follower.move(6, 5)
	done := barrier(a, Marks{"EVENTS": 6})
	b.follower.wantAsked(t, 6)
	for range int(usualTiming.lag/usualTiming.renew) - 1 {
		step(t, clock, a, b)
	}
	wantPending(t, done)
	if !b.Serving() {
		t.Error("stopped serving too early")
	}
	clock.advance(usualTiming.renew)
	wantDone(t, done)
	if b.Serving() {
		t.Error("serves though its follower hasn't reached what was confirmed")
	}
	wantDone(t, barrier(a, Marks{"EVENTS": 7})) // nor does it delay the next one
	if b.Serving() {
		t.Error("serves though its follower hasn't reached what was confirmed")
	}
	b.follower.move(6, 6)
	// It had promised 7 while catching up.
	b.follower.wantAsked(t, 7)
	if b.Serving() {
		t.Error("serves before it has reached what it promised")
	}
	b.follower.move(7, 7)
	step(t, clock, a, b)
	b.await(t, func() bool { return b.phase == caughtUp })
	if !b.Serving() || a.Peers() != 1 {
		t.Error("doesn't serve again")
	}
}

// A peer that is silent is waited for until its lease is over for certain,
// and stops serving before that.
func TestNodesSilentPeerIsWaitedOut(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	b := newTestNode(t, server, clock, 5, 5).join(t)
	step(t, clock, a, b)
	b.proxy.setCut(true)
	b.mu.Lock()
	old := b.id
	b.mu.Unlock()

	done := barrier(a, Marks{"EVENTS": 6})
	for passed := usualTiming.renew; passed < usualTiming.lease; passed += usualTiming.renew {
		step(t, clock, a)
		wantPending(t, done)
		if want := passed < usualTiming.serve; b.Serving() != want {
			t.Errorf("%s after its last renewal the cut off node serves: %v", passed, b.Serving())
		}
	}
	step(t, clock, a)
	wantDone(t, done)
	if a.Peers() != 0 || !a.Serving() {
		t.Errorf("%d peers, serving %v", a.Peers(), a.Serving())
	}

	// Back in touch, it learns that it was fenced, and joins again.
	b.follower.move(6, 5)
	b.proxy.setCut(false)
	b.proxy.disconnect()
	b.follower.wantAsked(t, 6)
	b.mu.Lock()
	if b.id == old {
		t.Error("a fenced node has kept its id")
	}
	b.mu.Unlock()
	if b.Serving() || a.Peers() != 1 {
		t.Errorf("serving %v; the other has %d peers", b.Serving(), a.Peers())
	}
	wantDone(t, barrier(a, Marks{"EVENTS": 6})) // not delayed by who isn't serving yet
	b.follower.move(6, 6)
	b.await(t, func() bool { return b.phase == caughtUp })
	if !b.Serving() {
		t.Error("doesn't serve again")
	}
	wantDone(t, barrier(a, Marks{"EVENTS": 6}))
}

func TestNodesLeaveAtOnce(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	b := newTestNode(t, server, clock, 5, 5).join(t)
	done := barrier(a, Marks{"EVENTS": 6})
	b.follower.wantAsked(t, 6)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantDone(t, done) // the clock stands still
	a.await(t, func() bool { return len(a.peers) == 0 })
	if err := b.Barrier(t.Context(), nil); !errors.Is(err, ErrNotServing) {
		t.Errorf("a barrier of a node that has left: %v", err)
	}
}

func TestNodesServeOnlyWhenCaughtUp(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	b := newTestNode(t, server, clock, 5, 2)
	joined := make(chan error, 1)
	go func() { joined <- b.Join(t.Context()) }()
	b.follower.wantAsked(t, 5)
	if b.Serving() {
		t.Error("serves before it has caught up")
	}
	a.await(t, func() bool { return len(a.peers) == 1 })
	wantDone(t, barrier(a, Marks{"EVENTS": 6})) // at once, though it will take a while
	b.follower.move(6, 5)
	b.follower.wantAsked(t, 6)
	if b.Serving() {
		t.Error("serves before it has reached what it promised")
	}
	b.follower.move(6, 6)
	wantDone(t, joined)
	if !b.Serving() {
		t.Error("doesn't serve")
	}
}

// While a node waits for its peers to have heard of it, it hasn't asked for
// the ends of the streams yet. So a barrier that began before they had heard
// can't be missed.
func TestNodesJoinAsksForTheEndsLast(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	step(t, clock, a)
	a.proxy.setCut(true) // it won't hear of anybody

	b := newTestNode(t, server, clock, 5, 5)
	asked := make(chan struct{})
	b.Register("EVENTS", b.follower.wait, func(ctx context.Context) (uint64, error) {
		close(asked)
		return b.follower.last(ctx)
	})
	joined := make(chan error, 1)
	go func() { joined <- b.Join(t.Context()) }()
	b.await(t, func() bool { return b.revision != 0 && len(b.peers) == 1 })
	for a.Serving() {
		select {
		case <-asked:
			t.Fatal("the ends were asked for while a node served that hadn't heard")
		default:
		}
		step(t, clock, b)
	}
	for b.Peers() > 0 { // until the other is fenced
		step(t, clock, b)
	}
	<-asked
	wantDone(t, joined)
}

func TestNodesJoinManyAtATime(t *testing.T) {
	server := newTestServer(t)
	var nodes []*testNode
	joined := make(chan error, 8)
	for range 8 {
		node := newTestNode(t, server, nil, 5, 5)
		nodes = append(nodes, node)
		go func() { joined <- node.Join(t.Context()) }()
	}
	for range nodes {
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
	}
	for i, node := range nodes {
		if node.Peers() != len(nodes)-1 || !node.Serving() {
			t.Errorf("node %d has %d peers, serving %v", i, node.Peers(), node.Serving())
		}
	}
}

func TestNodesJoinEndsWithItsContext(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	b := newTestNode(t, server, clock, 5, 2)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-b.follower.asked
		cancel()
	}()
	if err := b.Join(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	a.await(t, func() bool { return len(a.peers) == 0 })
}

// The acknowledgement of a renewal was lost: the node finds its renewal in
// NODES and keeps its lease.
func TestNodesSettleALostAcknowledgement(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	_, js := server.connect()
	a.mu.Lock()
	id := a.id
	a.mu.Unlock()
	must[*jetstream.PubAck](t)(js.Publish(t.Context(), nodesPrefix+id, []byte(stateAlive)))
	for range 6 {
		step(t, clock, a)
		if !a.Serving() {
			t.Fatal("stopped serving")
		}
	}
	if a.id != id {
		t.Error("joined again")
	}
}

func TestNodesFencedNodeStopsAtOnce(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	_, js := server.connect()
	a.follower.move(6, 5)
	a.mu.Lock()
	id := a.id
	a.mu.Unlock()
	must[*jetstream.PubAck](t)(js.Publish(t.Context(), nodesPrefix+id, []byte(stateFenced)))
	a.follower.wantAsked(t, 6)
	if a.Serving() {
		t.Error("a fenced node serves")
	}
	a.follower.move(6, 6)
	a.await(t, func() bool { return a.phase == caughtUp })
	if a.id == id || !a.Serving() {
		t.Errorf("same id: %v, serving %v", a.id == id, a.Serving())
	}
}

// A machine that was suspended comes back with a monotonic clock that knows
// nothing of it.
func TestNodesLeaseGoesByBothClocks(t *testing.T) {
	n := NewNodes(nil, NodesConfig{})
	n.serving.Store(true)
	start := time.Now()
	until := start.Add(usualTiming.serve)
	n.lease.Store(&until)
	for name, c := range map[string]struct {
		now  time.Time
		want bool
	}{
		"at once":          {start, true},
		"just before":      {start.Add(usualTiming.serve - 1), true},
		"at the end":       {start.Add(usualTiming.serve), false},
		"wall clock ahead": {start.Round(0).Add(time.Hour), false},
	} {
		n.now = func() time.Time { return c.now }
		if n.Serving() != c.want {
			t.Errorf("%s: serving %v", name, n.Serving())
		}
	}
}

// The promise itself, under load: four nodes that come, go and are cut off,
// followers that pause, and revocations one after the other. Whoever starts a
// request on a serving node after a revocation was acknowledged must find
// that the node has seen it.
func TestNodesNeverServeTheStale(t *testing.T) {
	server := newTestServer(t)
	_, js := server.connect()
	events := newTestBucket(t, js, BucketConfig{Name: "EVENTS"})
	ctx, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup

	type process struct {
		node  *testNode
		tail  *tail
		pause sync.Mutex
	}
	start := func() *process {
		p := &process{node: newTestNode(t, server, nil, 0, 0)}
		p.node.timing = nodeTiming{renew: 50 * time.Millisecond, serve: 200 * time.Millisecond, lease: 300 * time.Millisecond, lag: 200 * time.Millisecond}
		tail, err := startTail(t.Context(), p.node.js, tailConfig{stream: events.stream, message: func(string, uint64, []byte) {
			p.pause.Lock()
			defer p.pause.Unlock()
		}})
		if err != nil {
			t.Fatal(err)
		}
		p.tail = tail
		p.node.Register("EVENTS", tail.wait, events.Last)
		return p
	}
	var acknowledged atomicMax
	check := func(p *process) {
		position := acknowledged.load()
		if !p.node.Serving() {
			return
		}
		p.tail.mu.Lock()
		reached := p.tail.reached
		p.tail.mu.Unlock()
		if reached < position {
			t.Errorf("a node serves at %d after %d was acknowledged", reached, position)
			end()
		}
	}
	var processes []*process
	for range 4 {
		p := start()
		p.node.join(t)
		processes = append(processes, p)
		wg.Go(func() {
			for ctx.Err() == nil {
				check(p)
			}
		})
	}
	// One whose follower pauses, one that is cut off, one that leaves.
	wg.Go(func() {
		for ctx.Err() == nil {
			processes[1].pause.Lock()
			check(processes[1])
			processes[1].pause.Unlock()
		}
	})
	wg.Go(func() {
		for cut := true; ctx.Err() == nil; cut = !cut {
			processes[2].node.proxy.setCut(cut)
			if !cut {
				processes[2].node.proxy.disconnect()
			}
			select {
			case <-ctx.Done():
			case <-time.After(400 * time.Millisecond): // now fenced, now not
			}
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			p := start()
			if p.node.Join(ctx) == nil {
				check(p)
				if err := p.node.Close(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
				}
			}
			p.tail.close()
		}
	})
	writers := processes[:2]
	var revoking sync.WaitGroup
	for i, p := range writers {
		revoking.Go(func() {
			for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; {
				position, err := events.Put(ctx, fmt.Sprint("k", i), nil, 0)
				if err != nil {
					t.Error(err)
					return
				}
				err = p.node.Barrier(ctx, Marks{"EVENTS": position})
				if err == nil {
					err = p.tail.wait(ctx, position) // its own follower is its own business
				}
				if err == nil {
					acknowledged.raise(position)
				} else if !errors.Is(err, ErrNotServing) {
					t.Error(err)
				}
			}
		})
	}
	revoking.Wait()
	end()
	wg.Wait()
	for _, p := range processes {
		p.tail.close()
	}
	if acknowledged.load() < 10 {
		t.Errorf("only %d revocations were acknowledged", acknowledged.load())
	}
}

// atomicMax is a number that only grows.
type atomicMax struct {
	mu    sync.Mutex
	value uint64
}

func (m *atomicMax) load() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.value
}

func (m *atomicMax) raise(value uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.value = max(m.value, value)
}

func BenchmarkNodesServing(b *testing.B) {
	node := newTestNode(b, newTestServer(b), nil, 5, 5).join(b)
	b.ReportAllocs()
	for b.Loop() {
		if !node.Serving() {
			b.Fatal("not serving")
		}
	}
}

func BenchmarkNodesBarrierAlone(b *testing.B) {
	node := newTestNode(b, newTestServer(b), nil, 5, 5).join(b)
	marks := Marks{"EVENTS": 5}
	b.ReportAllocs()
	for b.Loop() {
		if err := node.Barrier(b.Context(), marks); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNodesBarrierTwoPeers(b *testing.B) {
	server := newTestServer(b)
	node := newTestNode(b, server, nil, 5, 5).join(b)
	newTestNode(b, server, nil, 5, 5).join(b)
	newTestNode(b, server, nil, 5, 5).join(b)
	marks := Marks{"EVENTS": 5}
	b.ReportAllocs()
	for b.Loop() {
		if err := node.Barrier(b.Context(), marks); err != nil {
			b.Fatal(err)
		}
	}
}
