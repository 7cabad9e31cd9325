package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"roster/domain"
)

// TestVaultBucketNodesOnCluster runs what the three rely on with every stream
// on three servers, each process connected to another one of them.
func TestVaultBucketNodesOnCluster(t *testing.T) {
	c := startCluster(t)
	var all []jetstream.JetStream
	for i := range c.servers {
		_, js := connectTo(t, c.url("service-suite", i))
		all = append(all, js)
	}
	t.Run("vault", func(t *testing.T) { testClusterVault(t, all) })
	t.Run("bucket", func(t *testing.T) { testClusterBucket(t, all) })
	t.Run("nodes", func(t *testing.T) { testClusterNodes(t, all) })
	t.Run("loss of a leader", func(t *testing.T) { testClusterLeaderLost(t, c, all) })
	t.Run("minority", func(t *testing.T) { testClusterMinority(t, c) }) // last: it leaves one server
}

func openVaults(t *testing.T, all []jetstream.JetStream) (vaults []*Vault) {
	t.Helper()
	for _, js := range all {
		v := must[*Vault](t)(openVault(testContext(t), js, 3, testMaster))
		t.Cleanup(v.Close)
		vaults = append(vaults, v)
	}
	return vaults
}

func testClusterVault(t *testing.T, all []jetstream.JetStream) {
	ctx := testContext(t)
	vaults := openVaults(t, all)
	// A block is found by the others at once, whichever replica is near.
	var keys []string
	var sealed []domain.Sealed
	for i := range 3 * blockSize {
		key := must[string](t)(vaults[i%3].NewKey(ctx))
		keys = append(keys, key)
		sealed = append(sealed, must[domain.Sealed](t)(vaults[i%3].Seal(ctx, key, "p", "x")))
		if got := must[string](t)(vaults[(i+1)%3].Open(ctx, sealed[i], "p")); got != "x" {
			t.Fatalf("read %q", got)
		}
	}
	// All erase at a time, from blocks that they share.
	positions := make([]uint64, 24)
	var wg sync.WaitGroup
	for i := range positions {
		wg.Go(func() {
			var err error
			if positions[i], err = vaults[i/3%3].Erase(ctx, keys[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range keys {
		for _, v := range vaults {
			if i < len(positions) {
				if err := v.Reached(ctx, positions[i]); err != nil {
					t.Fatal(err)
				}
			}
			_, err := v.Open(ctx, sealed[i], "p")
			if gone := i < len(positions); gone && !errors.Is(err, ErrErased) || !gone && err != nil {
				t.Errorf("key %d: %v", i, err)
			}
		}
	}
}

func testClusterBucket(t *testing.T, all []jetstream.JetStream) {
	ctx := testContext(t)
	var buckets []*Bucket
	var caches []*CachedBucket
	for _, js := range all {
		b := must[*Bucket](t)(openBucket(ctx, js, BucketConfig{Name: "CLUSTER", Replicas: 3}))
		buckets = append(buckets, b)
		c := must[*CachedBucket](t)(b.Cached(ctx, 10))
		t.Cleanup(c.Close)
		caches = append(caches, c)
	}
	for i := range 100 {
		key := fmt.Sprint("k", i%5)
		revision := must[uint64](t)(buckets[i%3].Put(ctx, key, fmt.Append(nil, i), 0))
		wantValue(t, buckets[(i+1)%3], key, fmt.Sprint(i), revision)
		if err := caches[(i+2)%3].Reached(ctx, revision); err != nil {
			t.Fatal(err)
		}
		wantValue(t, caches[(i+2)%3], key, fmt.Sprint(i), revision)
	}
	oneWins := func(what string, lost error, attempt func(b *Bucket, i int) error) {
		t.Helper()
		var mu sync.Mutex
		won := 0
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				err := attempt(buckets[i%3], i)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !errors.Is(err, lost) {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Errorf("%s: %d of 32 won", what, won)
		}
	}
	for range 3 {
		oneWins("create", ErrExists, func(b *Bucket, i int) error { return second(b.Create(ctx, "race", fmt.Append(nil, i), 0)) })
		revision := must[Entry](t)(buckets[0].Get(ctx, "race")).Revision
		oneWins("update", ErrConflict, func(b *Bucket, i int) error {
			return second(b.Update(ctx, "race", fmt.Append(nil, i), revision, 0))
		})
		revision = must[Entry](t)(buckets[0].Get(ctx, "race")).Revision
		oneWins("delete", ErrConflict, func(b *Bucket, _ int) error { return second(b.Delete(ctx, "race", revision)) })
	}
}

func clusterNode(t *testing.T, js jetstream.JetStream, clock *testClock, log *slog.Logger) *testNode {
	t.Helper()
	config := NodesConfig{Replicas: 3, Logger: log}
	if clock != nil {
		config.Now, config.Ticker = clock.Now, clock.Ticker
	}
	node := &testNode{follower: newTestFollower(5, 5), conn: js.Conn(), Nodes: NewNodes(js, config)}
	node.Register("EVENTS", node.follower.wait, node.follower.last)
	return node
}

func testClusterNodes(t *testing.T, all []jetstream.JetStream) {
	ctx := testContext(t)
	var nodes []*testNode
	for _, js := range all {
		nodes = append(nodes, clusterNode(t, js, nil, quiet()).join(t))
	}
	for i, node := range nodes {
		if !node.Serving() || node.Peers() != 2 {
			t.Errorf("node %d: serving %v, %d peers", i, node.Serving(), node.Peers())
		}
	}
	done := barrier(nodes[0], Marks{"EVENTS": 6})
	nodes[1].follower.wantAsked(t, 6)
	nodes[1].follower.move(6, 6)
	nodes[2].follower.wantAsked(t, 6)
	nodes[2].follower.move(6, 6)
	wantDone(t, done)
	for _, node := range nodes {
		if err := node.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

func testClusterLeaderLost(t *testing.T, c *cluster, all []jetstream.JetStream) {
	ctx := testContext(t)
	vaults := openVaults(t, all)
	bucket := must[*Bucket](t)(openBucket(ctx, all[1], BucketConfig{Name: "CLUSTER", Replicas: 3}))
	cache := must[*CachedBucket](t)(bucket.Cached(ctx, 10))
	t.Cleanup(cache.Close)
	key := must[string](t)(vaults[0].NewKey(ctx))
	sealed := must[domain.Sealed](t)(vaults[0].Seal(ctx, key, "p", "x"))
	before := must[uint64](t)(bucket.Put(ctx, "a", []byte("1"), 0))

	info := must[jetstream.Stream](t)(all[1].Stream(ctx, keysStream)).CachedInfo()
	for i, ns := range c.servers {
		if ns.Name() == info.Cluster.Leader {
			ns.Shutdown()
			ns.WaitForShutdown()
			c.servers = append(append([]*server.Server(nil), c.servers[:i]...), c.servers[i+1:]...)
			break
		}
	}
	if len(c.servers) != 2 {
		t.Fatalf("no server is the leader, %q", info.Cluster.Leader)
	}

	wantValue(t, bucket, "a", "1", before)
	var after uint64
	for {
		var err error
		if after, err = bucket.Put(ctx, "a", []byte("2"), 0); err == nil {
			break
		}
		if !errors.Is(err, ErrUnsettled) && !errors.Is(err, jetstream.ErrNoStreamResponse) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if err := cache.Reached(ctx, after); err != nil {
		t.Fatal(err)
	}
	wantValue(t, cache, "a", "2", after)
	position := must[uint64](t)(vaults[1].Erase(ctx, key))
	for i, v := range vaults {
		if err := v.Reached(ctx, position); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Open(ctx, sealed, "p"); !errors.Is(err, ErrErased) {
			t.Errorf("process %d: %v", i, err)
		}
		for range 3 * blockSize { // more than are in the pool
			must[string](t)(v.NewKey(ctx))
		}
	}
}

// A node that is left with a minority of the servers is not acknowledged,
// though the server that it is connected to is up, and stops serving.
func testClusterMinority(t *testing.T, c *cluster) {
	clock := newTestClock()
	refused := make(chan string, 100)
	_, js := connectTo(t, c.url("service-suite", 0))
	node := clusterNode(t, js, clock, slog.New(warnings(refused))).join(t)
	step(t, clock, node)
	gone := c.servers[1]
	if js.Conn().ConnectedServerName() == gone.Name() {
		gone = c.servers[0]
	}
	gone.Shutdown()
	gone.WaitForShutdown()
	clock.advance(usualTiming.renew)
	for passed := usualTiming.renew; passed < usualTiming.serve; passed += usualTiming.renew {
		select {
		case text := <-refused:
			if !strings.Contains(text, "not renewed") {
				t.Error(text)
			}
		case <-testContext(t).Done():
			t.Fatal("the node doesn't miss anything")
		}
		clock.advance(usualTiming.renew)
	}
	if node.Serving() {
		t.Error("serves on the word of a minority")
	}
	ctx, cancel := context.WithTimeout(context.Background(), renewAttempt)
	defer cancel()
	if err := node.Close(ctx); err == nil {
		t.Error("left with the agreement of a minority")
	}
}

// warnings is a log handler that passes on what is worth a warning.
type warnings chan string

func (w warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (w warnings) WithAttrs([]slog.Attr) slog.Handler               { return w }
func (w warnings) WithGroup(string) slog.Handler                    { return w }
func (w warnings) Handle(_ context.Context, record slog.Record) error {
	w <- record.Message
	return nil
}
