package eventstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

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

// A peer whose last renewal has vanished from NODES, because nobody could
// fence it for a minute, must not be waited for for ever.
func TestNodesVanishedPeerIsWaitedOut(t *testing.T) {
	server, clock := newTestServer(t), newTestClock()
	a := newTestNode(t, server, clock, 5, 5).join(t)
	b := newTestNode(t, server, clock, 5, 5).join(t)
	step(t, clock, a, b)
	b.proxy.setCut(true)
	_, js := server.connect()
	b.mu.Lock()
	subject := nodesPrefix + b.id
	b.mu.Unlock()
	stream := must[jetstream.Stream](t)(js.Stream(t.Context(), nodesStream))
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
		t.Fatal(err)
	}
	done := barrier(a, Marks{"EVENTS": 5})
	for passed := time.Duration(0); passed < usualTiming.lease; passed += usualTiming.renew {
		wantPending(t, done)
		step(t, clock, a)
	}
	wantDone(t, done)
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
