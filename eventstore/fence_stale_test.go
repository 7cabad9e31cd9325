package eventstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

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

// What is closed leaves no goroutine behind.
func TestVaultBucketNodesEndWhenClosed(t *testing.T) {
	server := newTestServer(t)
	_, js := server.connect()
	ctx := testContext(t)
	v := must[*Vault](t)(openVault(ctx, js, 1, testMaster))
	cache := must[*CachedBucket](t)(newTestBucket(t, js, BucketConfig{}).Cached(ctx, 10))
	a, b := newTestNode(t, server, nil, 5, 5).join(t), newTestNode(t, server, nil, 5, 5).join(t)
	if err := a.Barrier(ctx, Marks{"EVENTS": 5}); err != nil {
		t.Fatal(err)
	}
	stuck := barrier(a, Marks{"EVENTS": 6})
	b.follower.wantAsked(t, 6)
	for _, err := range []error{b.Close(ctx), a.Close(ctx), a.Close(ctx)} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := <-stuck; err != nil && !errors.Is(err, ErrNotServing) {
		t.Error(err) // nil where the leaving of the other was still heard
	}
	v.Close()
	cache.Close()
	v.Close()
	cache.Close()

	stacks := make([]byte, 1<<20)
	for {
		running := string(stacks[:runtime.Stack(stacks, true)])
		left := ""
		for _, part := range []string{"(*Vault)", "(*tail)", "(*Nodes)", "(*loadCache"} {
			if strings.Contains(running, "eventstore."+part) {
				left = part
			}
		}
		if left == "" {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("goroutines of %s are left:\n%s", left, running)
		}
		runtime.Gosched()
	}
}
