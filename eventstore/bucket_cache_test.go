package eventstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"
)

func newTestCache(t testing.TB, b *Bucket, capacity int) *CachedBucket {
	t.Helper()
	c, err := b.Cached(t.Context(), capacity)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestBucketCacheHitCostsNoNetwork(t *testing.T) {
	conn, js := startTestServer(t)
	c := newTestCache(t, newTestBucket(t, js, BucketConfig{}), 10)
	revision := must[uint64](t)(c.Put(t.Context(), "a", []byte("1"), 0))
	wantValue(t, c, "a", "1", revision)
	c.Close() // or its own requests are counted
	c.values.turn(true)
	wantValue(t, c, "a", "1", revision)
	before := sent(conn)
	for range 100 {
		wantValue(t, c, "a", "1", revision)
	}
	if n := sent(conn) - before; n != 0 {
		t.Errorf("100 hits sent %d messages", n)
	}
}

func TestBucketCacheSeesItsOwnWritesAtOnce(t *testing.T) {
	_, js := startTestServer(t)
	c := newTestCache(t, newTestBucket(t, js, BucketConfig{}), 10)
	ctx := t.Context()
	for i := range 50 {
		key := fmt.Sprint("k", i%3)
		revision := must[uint64](t)(c.Put(ctx, key, []byte("1"), 0))
		wantValue(t, c, key, "1", revision)
		revision = must[uint64](t)(c.Update(ctx, key, []byte("2"), revision, 0))
		wantValue(t, c, key, "2", revision)
		must[uint64](t)(c.Delete(ctx, key, revision))
		wantNone(t, c, key)
		revision = must[uint64](t)(c.Create(ctx, key, []byte("3"), 0))
		wantValue(t, c, key, "3", revision)
	}
}

func TestBucketCacheSeesWritesOfOthersOnceReached(t *testing.T) {
	server := newTestServer(t)
	_, js := server.connect()
	_, js2 := server.connect()
	b := newTestBucket(t, js, BucketConfig{})
	c := newTestCache(t, newTestBucket(t, js2, BucketConfig{}), 10)
	ctx := t.Context()
	for i := range 200 {
		key := fmt.Sprint("k", i%3)
		revision := must[uint64](t)(b.Put(ctx, key, []byte("1"), 0))
		if err := c.Reached(ctx, revision); err != nil {
			t.Fatal(err)
		}
		wantValue(t, c, key, "1", revision)
		if i%2 == 0 {
			revision = must[uint64](t)(b.Delete(ctx, key, 0))
			if err := c.Reached(ctx, revision); err != nil {
				t.Fatal(err)
			}
			wantNone(t, c, key)
		}
	}
}

// A value that was read before its revocation, and arrives after it, is not
// kept.
func TestBucketCacheNeverKeepsARevokedValue(t *testing.T) {
	server := newTestServer(t)
	_, js := server.connect()
	_, js2 := server.connect()
	b := newTestBucket(t, js, BucketConfig{})
	c := newTestCache(t, newTestBucket(t, js2, BucketConfig{}), 10)
	ctx := t.Context()
	revision := must[uint64](t)(b.Put(ctx, "a", []byte("session"), 0))
	if err := c.Reached(ctx, revision); err != nil {
		t.Fatal(err)
	}

	read, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		_, err := c.values.get(ctx, "a", func(ctx context.Context) (Entry, uint64, error) {
			entry, err := c.Bucket.Get(ctx, "a")
			close(read)
			<-goOn
			return entry, entry.Revision, err
		})
		done <- err
	}()
	<-read
	revoked := must[uint64](t)(b.Delete(ctx, "a", 0))
	if err := c.Reached(ctx, revoked); err != nil {
		t.Fatal(err)
	}
	wantNone(t, c, "a") // even while the other read is under way
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantNone(t, c, "a")
}

// While the watch is broken every Get asks the leader; afterwards the cache
// knows nothing that it knew before.
func TestBucketCacheIsNotTrustedWhileTheWatchIsBroken(t *testing.T) {
	server := newTestServer(t)
	_, js := server.connect()
	proxy := newTestProxy(t, server.ns.Addr().String())
	_, watch := connectTo(t, proxy.url())
	b := newTestBucket(t, js, BucketConfig{})
	c := &CachedBucket{Bucket: b, values: newLoadCache[Entry](10), now: time.Now}
	turned := make(chan bool, 10)
	if err := c.watch(t.Context(), watch, func(live bool) {
		c.values.turn(live)
		turned <- live
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx := t.Context()
	old := must[uint64](t)(b.Put(ctx, "a", []byte("old"), 0))
	if err := c.Reached(ctx, old); err != nil {
		t.Fatal(err)
	}
	wantValue(t, c, "a", "old", old)

	if !<-turned {
		t.Fatal("the watch never was whole")
	}
	proxy.setCut(true)
	proxy.disconnect()
	if <-turned {
		t.Fatal("the watch became whole twice")
	}
	for i := range 10 {
		revision := must[uint64](t)(b.Put(ctx, "a", fmt.Append(nil, i), 0))
		wantValue(t, c, "a", fmt.Sprint(i), revision)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := c.Reached(short, old); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a broken watch says that it has reached what it had: %v", err)
	}

	last := must[uint64](t)(b.Put(ctx, "a", []byte("new"), 0))
	proxy.setCut(false)
	if err := c.Reached(ctx, last); err != nil {
		t.Fatal(err)
	}
	wantValue(t, c, "a", "new", last)
	if _, ok := c.values.peek("a"); !ok {
		t.Error("nothing is kept after the watch was mended")
	}
}

// A watch that the server ends, as on the loss of a node, begins anew.
func TestBucketCacheSurvivesTheLossOfItsConsumer(t *testing.T) {
	server := newTestServer(t)
	_, js := server.connect()
	b := newTestBucket(t, js, BucketConfig{})
	c := newTestCache(t, b, 10)
	ctx := t.Context()
	revision := must[uint64](t)(c.Put(ctx, "a", []byte("1"), 0))
	for range 3 {
		stream := must[jetstream.Stream](t)(js.Stream(ctx, b.stream))
		for name := range stream.ConsumerNames(ctx).Name() {
			if err := stream.DeleteConsumer(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		wantValue(t, c, "a", "1", revision)
		revision = must[uint64](t)(b.Put(ctx, "a", []byte("1"), 0))
		if err := c.Reached(ctx, revision); err != nil {
			t.Fatal(err)
		}
		wantValue(t, c, "a", "1", revision)
	}
}

func TestBucketCacheGoesByTheClockToo(t *testing.T) {
	_, js := startTestServer(t)
	b := newTestBucket(t, js, BucketConfig{})
	c := newTestCache(t, b, 10)
	ctx := t.Context()
	revision := must[uint64](t)(c.Put(ctx, "a", []byte("1"), time.Hour))
	if err := c.Reached(ctx, revision); err != nil { // or the news of it keeps the value out
		t.Fatal(err)
	}
	entry := must[Entry](t)(c.Get(ctx, "a"))
	c.now = func() time.Time { return entry.ExpiresAt }
	must[Entry](t)(c.Get(ctx, "a")) // the server has it still
	if _, ok := c.values.peek("a"); ok {
		t.Error("an expired value is kept")
	}
}

func TestBucketCacheIsBounded(t *testing.T) {
	c := newLoadCache[int](3)
	c.turn(true)
	fetch := func(v int) func(context.Context) (int, uint64, error) {
		return func(context.Context) (int, uint64, error) { return v, uint64(v), nil }
	}
	for i := 1; i <= 100; i++ {
		if got := must[int](t)(c.get(t.Context(), fmt.Sprint(i), fetch(i))); got != i {
			t.Fatalf("got %d, want %d", got, i)
		}
		c.peek("1") // in use all the time
		if len(c.entries) > 3 {
			t.Fatalf("%d entries", len(c.entries))
		}
		checkRing(t, c)
	}
	if _, ok := c.peek("1"); !ok {
		t.Error("what is in use all the time was thrown out")
	}
	failed := errors.New("failed")
	if _, err := c.get(t.Context(), "x", func(context.Context) (int, uint64, error) { return 0, 0, failed }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	if _, ok := c.peek("x"); ok || len(c.loads) != 0 {
		t.Error("a failure was kept")
	}
}

func TestBucketCacheLoadsOnceForManyAtATime(t *testing.T) {
	c := newLoadCache[int](3)
	c.turn(true)
	calls, goOn := make(chan int, 100), make(chan struct{})
	results := make(chan error, 20)
	get := func(ctx context.Context) {
		_, err := c.get(ctx, "k", func(context.Context) (int, uint64, error) {
			calls <- 1
			<-goOn
			return 1, 1, nil
		})
		results <- err
	}
	impatient, cancel := context.WithCancel(t.Context())
	go get(impatient)
	<-calls
	for range 10 {
		go get(t.Context())
	}
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(goOn)
	for range 10 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := len(calls); n != 0 {
		t.Errorf("%d more loads for the same key", n)
	}
}

// Whatever the order in which writes, the news of them, reads and their ends
// come: a get that begins after the news of a revision gives that revision or
// a later one, and the cache holds no more than it may.
func TestBucketCacheModel(t *testing.T) {
	type news struct {
		key      string
		revision uint64
	}
	type reading struct {
		key   string
		load  *load[uint64]
		value uint64
		read  bool
		floor uint64 // the most that anybody who waits had heard of when beginning
	}
	rapid.Check(t, func(r *rapid.T) {
		c := newLoadCache[uint64](2)
		keys := rapid.SampledFrom([]string{"a", "b", "c"})
		stored := map[string]uint64{} // revisions, as the leader has them
		heard := map[string]uint64{}  // as the watch has told
		var revision uint64
		var pending []news
		var readings []*reading
		live := false
		actions := []func(){
			func() { // a write
				revision++
				key := keys.Draw(r, "written")
				stored[key] = revision
				if live {
					pending = append(pending, news{key, revision})
				}
			},
			func() { // the news of one
				if len(pending) > 0 {
					c.drop(pending[0].key, pending[0].revision)
					heard[pending[0].key] = pending[0].revision
					pending = pending[1:]
				}
			},
			func() { // a get begins
				key := keys.Draw(r, "got")
				value, l, mine := c.begin(key)
				switch {
				case l == nil:
					if value < heard[key] {
						r.Fatalf("%s: revision %d from memory, had heard of %d", key, value, heard[key])
					}
				case mine:
					readings = append(readings, &reading{key: key, load: l, floor: heard[key]})
				default:
					i := slices.IndexFunc(readings, func(other *reading) bool { return other.load == l })
					readings[i].floor = max(readings[i].floor, heard[key])
				}
			},
			func() { // one of them is read by the leader
				if i := slices.IndexFunc(readings, func(one *reading) bool { return !one.read }); i >= 0 {
					readings[i].value, readings[i].read = stored[readings[i].key], true
				}
			},
			func() { // the answer arrives
				if len(readings) == 0 {
					return
				}
				i := rapid.IntRange(0, len(readings)-1).Draw(r, "answered")
				if one := readings[i]; one.read {
					readings = slices.Delete(readings, i, i+1)
					c.end(one.key, one.load, one.value, one.value, nil)
					if one.load.value < one.floor {
						r.Fatalf("%s: read revision %d, had heard of %d", one.key, one.load.value, one.floor)
					}
				}
			},
		}
		turn := func() { // the watch breaks, or is mended
			live, pending = !live, nil
			c.turn(live)
			if live {
				heard = maps.Clone(stored) // the end of the stream counts as reached
			}
		}
		turn()
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, 8*len(actions)), 50, 300).Draw(r, "steps") {
			if step == 8*len(actions) {
				turn()
			} else {
				actions[step%len(actions)]()
			}
			if len(c.entries) > 2 || !live && len(c.entries) > 0 {
				r.Fatalf("%d entries, live %v", len(c.entries), live)
			}
			checkRing(r, c)
		}
	})
}

func checkRing[V any](t interface{ Fatalf(string, ...any) }, c *loadCache[V]) {
	if len(c.entries) != len(c.ring) {
		t.Fatalf("%d entries, ring of %d", len(c.entries), len(c.ring))
	}
	for i, entry := range c.ring {
		if entry.place != i || c.entries[entry.key] != entry {
			t.Fatalf("place %d of the ring has %q, which stands at %d", i, entry.key, entry.place)
		}
	}
}

func BenchmarkBucketCacheHit(b *testing.B) {
	_, js := startTestServer(b)
	c := newTestCache(b, newTestBucket(b, js, BucketConfig{}), 1000)
	must[uint64](b)(c.Put(b.Context(), "user_01h455vb4pex5vsknk084sn02q.AAAA", make([]byte, 200), time.Hour))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(b.Context(), "user_01h455vb4pex5vsknk084sn02q.AAAA"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBucketGet(b *testing.B) {
	_, js := startTestServer(b)
	bucket := newTestBucket(b, js, BucketConfig{})
	must[uint64](b)(bucket.Put(b.Context(), "k", make([]byte, 200), time.Hour))
	for b.Loop() {
		if _, err := bucket.Get(b.Context(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBucketPut(b *testing.B) {
	_, js := startTestServer(b)
	bucket := newTestBucket(b, js, BucketConfig{})
	for b.Loop() {
		if _, err := bucket.Put(b.Context(), "k", make([]byte, 200), time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
