package eventstore

import (
	"context"
	"slices"
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
