package eventstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func newTestBucket(t testing.TB, js jetstream.JetStream, config BucketConfig) *Bucket {
	t.Helper()
	if config.Name == "" {
		config.Name = "TEST"
	}
	b, err := openBucket(t.Context(), js, config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantValue(t testing.TB, b interface {
	Get(context.Context, string) (Entry, error)
}, key, value string, revision uint64) {
	t.Helper()
	entry, err := b.Get(t.Context(), key)
	if err != nil || string(entry.Value) != value || entry.Revision != revision {
		t.Errorf("%s is %q at %d, %v; want %q at %d", key, entry.Value, entry.Revision, err, value, revision)
	}
}

func wantNone(t testing.TB, b interface {
	Get(context.Context, string) (Entry, error)
}, key string) {
	t.Helper()
	if entry, err := b.Get(t.Context(), key); !errors.Is(err, ErrNoKey) {
		t.Errorf("%s is %q at %d, %v; want none", key, entry.Value, entry.Revision, err)
	}
}

func TestBucket(t *testing.T) {
	_, js := startTestServer(t)
	b := newTestBucket(t, js, BucketConfig{})
	ctx := t.Context()

	wantNone(t, b, "a")
	one := must[uint64](t)(b.Create(ctx, "a", []byte("1"), 0))
	wantValue(t, b, "a", "1", one)
	if _, err := b.Create(ctx, "a", []byte("x"), 0); !errors.Is(err, ErrExists) {
		t.Errorf("creating what exists: %v", err)
	}
	two := must[uint64](t)(b.Update(ctx, "a", []byte("2"), one, 0))
	if _, err := b.Update(ctx, "a", []byte("x"), one, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("updating what was updated: %v", err)
	}
	if _, err := b.Update(ctx, "none", []byte("x"), one, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("updating what isn't there: %v", err)
	}
	wantValue(t, b, "a", "2", two)
	three := must[uint64](t)(b.Put(ctx, "a", []byte("3"), 0))
	if _, err := b.Delete(ctx, "a", two); !errors.Is(err, ErrConflict) {
		t.Errorf("deleting an old revision: %v", err)
	}
	wantValue(t, b, "a", "3", three)
	four := must[uint64](t)(b.Delete(ctx, "a", three))
	wantNone(t, b, "a")
	if last := must[uint64](t)(b.Last(ctx)); last != four || four <= three || three <= two || two <= one {
		t.Errorf("revisions %d %d %d %d, last %d", one, two, three, four, last)
	}
	five := must[uint64](t)(b.Create(ctx, "a", []byte("5"), 0))
	wantValue(t, b, "a", "5", five)
	must[uint64](t)(b.Delete(ctx, "a", 0))
	must[uint64](t)(b.Delete(ctx, "a", 0))
	wantNone(t, b, "a")

	empty := must[uint64](t)(b.Put(ctx, "e", nil, 0))
	wantValue(t, b, "e", "", empty)
}

// The leader answers reads: the stream has no direct gets, and nats.go's own
// client agrees about what is in the bucket.
func TestBucketIsOfNATS(t *testing.T) {
	_, js := startTestServer(t)
	b := newTestBucket(t, js, BucketConfig{Name: "SESSIONS"})
	ctx := t.Context()
	if stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_SESSIONS")); stream.CachedInfo().Config.AllowDirect {
		t.Error("any replica may answer")
	}
	kv := must[jetstream.KeyValue](t)(js.KeyValue(ctx, "SESSIONS"))
	must[uint64](t)(b.Put(ctx, "a.b", []byte("1"), 0))
	if entry := must[jetstream.KeyValueEntry](t)(kv.Get(ctx, "a.b")); string(entry.Value()) != "1" {
		t.Errorf("nats.go reads %q", entry.Value())
	}
	must[uint64](t)(b.Delete(ctx, "a.b", 0))
	if _, err := kv.Get(ctx, "a.b"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("nats.go reads a deleted key: %v", err)
	}
	revision := must[uint64](t)(kv.Create(ctx, "a.b", []byte("2")))
	wantValue(t, b, "a.b", "2", revision)
	if err := kv.Purge(ctx, "a.b"); err != nil {
		t.Fatal(err)
	}
	wantNone(t, b, "a.b")
}

func TestBucketBounds(t *testing.T) {
	_, js := startTestServer(t)
	b := newTestBucket(t, js, BucketConfig{MaxValue: 100, MaxBytes: 10_000})
	ctx := t.Context()
	revision := must[uint64](t)(b.Put(ctx, "a", bytes.Repeat([]byte("x"), 100), 0))
	for name, err := range map[string]error{
		"create": second(b.Create(ctx, "b", make([]byte, 101), 0)),
		"put":    second(b.Put(ctx, "a", make([]byte, 101), 0)),
		"update": second(b.Update(ctx, "a", make([]byte, 101), revision, 0)),
	} {
		if err == nil || !strings.Contains(err.Error(), "takes 100") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var full error
	for i := 0; full == nil && i < 1000; i++ {
		_, full = b.Put(ctx, fmt.Sprint("k", i), make([]byte, 100), 0)
	}
	if full == nil || !strings.Contains(full.Error(), "maximum bytes") {
		t.Errorf("a full bucket: %v", full)
	}
	for _, key := range []string{"", ".", "a.", ".a", "a..b", "a b", "a*", ">", "a\r\n", "ü", strings.Repeat("a", maxKey+1)} {
		for name, err := range map[string]error{
			"get":    second(b.Get(ctx, key)),
			"create": second(b.Create(ctx, key, nil, 0)),
			"delete": second(b.Delete(ctx, key, 0)),
		} {
			if !errors.Is(err, errKey) {
				t.Errorf("%s of %q: %v", name, key, err)
			}
		}
	}
	if _, err := openBucket(ctx, js, BucketConfig{Name: "a.b"}); err == nil {
		t.Error("opened a bucket with a dot in its name")
	}
}

func second[T any](_ T, err error) error { return err }

func TestBucketRacersHaveOneWinner(t *testing.T) {
	server := newTestServer(t)
	_, js := server.connect()
	b := newTestBucket(t, js, BucketConfig{})
	ctx := t.Context()
	race := func(what string, lost error, attempt func(i int) error) {
		t.Helper()
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				switch err := attempt(i); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, lost):
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%s: %d of 32 won", what, won.Load())
		}
	}
	for range 5 {
		race("create", ErrExists, func(i int) error { return second(b.Create(ctx, "k", fmt.Append(nil, i), 0)) })
		revision := must[Entry](t)(b.Get(ctx, "k")).Revision
		race("update", ErrConflict, func(i int) error { return second(b.Update(ctx, "k", fmt.Append(nil, i), revision, 0)) })
		revision = must[Entry](t)(b.Get(ctx, "k")).Revision
		race("delete", ErrConflict, func(int) error { return second(b.Delete(ctx, "k", revision)) })
	}
}

func TestBucketScan(t *testing.T) {
	_, js := startTestServer(t)
	b := newTestBucket(t, js, BucketConfig{})
	ctx := t.Context()
	for _, key := range []string{"u1.a", "u2.a", "u1.b", "u1.c", "u1.b.x", "u1"} {
		must[uint64](t)(b.Put(ctx, key, []byte(key), 0))
	}
	must[uint64](t)(b.Delete(ctx, "u1.c", 0))
	must[uint64](t)(b.Put(ctx, "u1.a", []byte("again"), 0))
	scan := func(filter string) (found []string) {
		t.Helper()
		if err := b.Scan(ctx, filter, func(key string, entry Entry) error {
			found = append(found, key+"="+string(entry.Value))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	for filter, want := range map[string][]string{
		"u1.*": {"u1.b=u1.b", "u1.a=again"},
		"u1.>": {"u1.b=u1.b", "u1.b.x=u1.b.x", "u1.a=again"},
		"u3.*": nil,
		"u2.a": {"u2.a=u2.a"},
	} {
		if diff := cmp.Diff(want, scan(filter)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", filter, diff)
		}
	}
	enough := errors.New("enough")
	if err := b.Scan(ctx, ">", func(string, Entry) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	if err := b.Scan(ctx, "", nil); err == nil {
		t.Error("scanned without a filter")
	}
}

func TestBucketValuesExpire(t *testing.T) {
	_, js := startTestServer(t)
	ctx := t.Context()
	b := newTestBucket(t, js, BucketConfig{TTL: time.Hour})
	watch := must[*CachedBucket](t)(b.Cached(ctx, 10))
	t.Cleanup(watch.Close)

	long := must[uint64](t)(b.Create(ctx, "long", []byte("x"), 0))
	most := must[uint64](t)(b.Create(ctx, "most", []byte("x"), 24*time.Hour))
	short := must[uint64](t)(b.Create(ctx, "short", []byte("x"), 300*time.Millisecond))
	for key, life := range map[string]time.Duration{"long": time.Hour, "most": time.Hour, "short": time.Second} {
		entry := must[Entry](t)(b.Get(ctx, key))
		if got := entry.ExpiresAt.Sub(entry.At); got != life {
			t.Errorf("%s lives for %s, want %s", key, got, life)
		}
	}
	must[Entry](t)(watch.Get(ctx, "short"))

	// The server writes a marker when it has removed the value.
	if err := watch.Reached(ctx, max(long, most, short)+1); err != nil {
		t.Fatal(err)
	}
	wantNone(t, b, "short")
	wantNone(t, watch, "short")
	revision := must[uint64](t)(b.Create(ctx, "short", []byte("again"), 0))
	wantValue(t, b, "short", "again", revision)
	wantValue(t, b, "long", "x", long)
}

func TestBucketKeepsWhatItHasWhenReopened(t *testing.T) {
	_, js := startTestServer(t)
	ctx := t.Context()
	revision := must[uint64](t)(newTestBucket(t, js, BucketConfig{}).Put(ctx, "a", []byte("1"), 0))
	for _, config := range []BucketConfig{{}, {TTL: time.Hour}, {TTL: time.Minute, MaxValue: 10}, {MaxBytes: 1 << 20}} {
		b := newTestBucket(t, js, config)
		wantValue(t, b, "a", "1", revision)
		stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_TEST"))
		if got := stream.CachedInfo().Config.MaxAge; got != config.TTL {
			t.Errorf("the life of values is %s, want %s", got, config.TTL)
		}
	}
}

func TestBucketSaysWhenNATSIsGone(t *testing.T) {
	server := newTestServer(t)
	proxy := newTestProxy(t, server.ns.Addr().String())
	_, js := connectTo(t, proxy.url())
	b := newTestBucket(t, js, BucketConfig{})
	proxy.setCut(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.Put(ctx, "a", nil, 0); !errors.Is(err, ErrUnsettled) {
		t.Errorf("put: %v", err)
	}
	if _, err := b.Get(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNoKey) {
		t.Errorf("get: %v", err)
	}
}

func sent(conn *nats.Conn) uint64 { return conn.Stats().OutMsgs }
