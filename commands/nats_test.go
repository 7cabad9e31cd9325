package commands

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"roster/eventstore"
)

// natsTimeout bounds everything that these tests wait for.
const natsTimeout = time.Minute

// storeIn opens an event store with its own NATS server in a folder. Closing
// it is safe to do before the end of the test.
func storeIn(t testing.TB, dir string) (store *eventstore.Store, closeStore func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), natsTimeout)
	defer cancel()
	store, err := eventstore.Open(ctx, eventstore.Config{DataDir: dir, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	closeStore = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), natsTimeout)
		defer cancel()
		if err := store.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(closeStore)
	return store, closeStore
}

func bucketOf(t testing.TB, store *eventstore.Store, config eventstore.BucketConfig) *eventstore.Bucket {
	t.Helper()
	bucket, err := store.Bucket(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

// handClock is a clock that moves only when it is told to.
type handClock struct {
	mu sync.Mutex
	at time.Time
}

func newHandClock() *handClock {
	return &handClock{at: time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)}
}

func (c *handClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *handClock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
