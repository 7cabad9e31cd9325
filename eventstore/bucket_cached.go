package eventstore

import (
	"context"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// CachedBucket is a bucket whose Get answers from memory where it can, for
// what is looked up with every request.
//
// It watches the bucket and forgets a value when it hears of a change, and
// everything when the watch breaks; until the watch is whole again every Get
// asks the leader. What it writes itself it forgets before the write returns.
// So a Get that starts after Reached(revision) has returned sees that revision
// or a later one; without having waited it may see what was true a moment ago.
type CachedBucket struct {
	*Bucket
	values *loadCache[Entry]
	tail   *tail
	now    func() time.Time
}

// Cached gives the bucket a cache of up to capacity values. ctx bounds the
// start of the watch only; Close ends it.
func (b *Bucket) Cached(ctx context.Context, capacity int) (*CachedBucket, error) {
	c := &CachedBucket{Bucket: b, values: newLoadCache[Entry](capacity), now: time.Now}
	if err := c.watch(ctx, b.js, c.values.turn); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *CachedBucket) watch(ctx context.Context, js jetstream.JetStream, changed func(live bool)) (err error) {
	c.tail, err = startTail(ctx, js, tailConfig{
		stream:      c.stream,
		headersOnly: true,
		changed:     changed,
		message: func(subject string, revision uint64, _ []byte) {
			c.values.drop(subject[len(c.prefix):], revision)
		},
	})
	return err
}

// Close ends the watch. From then on every Get asks the leader.
func (c *CachedBucket) Close() { c.tail.close() }

// Reached returns when the cache has seen the revision.
func (c *CachedBucket) Reached(ctx context.Context, revision uint64) error {
	return c.tail.wait(ctx, revision)
}

// Get gives the value of a key, from memory where it is known; ErrNoKey.
func (c *CachedBucket) Get(ctx context.Context, key string) (Entry, error) {
	entry, ok := c.values.peek(key)
	if !ok {
		return c.load(ctx, key)
	}
	if !entry.ExpiresAt.IsZero() && !c.now().Before(entry.ExpiresAt) {
		// The server may not have come round to it yet, or says so in a
		// moment; it has the last word.
		c.values.drop(key, entry.Revision+1)
		return c.Bucket.Get(ctx, key)
	}
	return entry, nil
}

func (c *CachedBucket) load(ctx context.Context, key string) (Entry, error) {
	return c.values.get(ctx, key, func(ctx context.Context) (Entry, uint64, error) {
		entry, err := c.Bucket.Get(ctx, key)
		return entry, entry.Revision, err
	})
}

// Create, Put, Update and Delete are those of Bucket.
func (c *CachedBucket) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error) {
	revision, err := c.Bucket.Create(ctx, key, value, ttl)
	return c.wrote(key, revision, err)
}

// Put: see Create.
func (c *CachedBucket) Put(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error) {
	revision, err := c.Bucket.Put(ctx, key, value, ttl)
	return c.wrote(key, revision, err)
}

// Update: see Create.
func (c *CachedBucket) Update(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	revision, err := c.Bucket.Update(ctx, key, value, revision, ttl)
	return c.wrote(key, revision, err)
}

// Delete: see Create.
func (c *CachedBucket) Delete(ctx context.Context, key string, revision uint64) (uint64, error) {
	revision, err := c.Bucket.Delete(ctx, key, revision)
	return c.wrote(key, revision, err)
}

// wrote forgets what a write has replaced, or may have replaced.
func (c *CachedBucket) wrote(key string, revision uint64, err error) (uint64, error) {
	if err != nil {
		c.values.drop(key, math.MaxUint64)
		return 0, err
	}
	c.values.drop(key, revision)
	return revision, nil
}
