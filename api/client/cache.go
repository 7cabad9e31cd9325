package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Cache answers questions from memory while that is safe, and asks the server
// otherwise. Its methods may be called concurrently. Close ends it.
//
// It follows the server's stream of changes and answers from memory only while
// it knows that nothing was missing a moment ago, at most its staleness ago. So
// a permission that was taken away is refused at the latest that long after
// whoever took it away was told that it is done; as a rule it is milliseconds.
// When the stream is cut, or says nothing for too long, every question goes to
// the server.
type Cache struct {
	client    *Client
	team      string // the one whose changes are followed; empty for all
	staleness time.Duration
	capacity  int
	now       func() time.Time

	era   atomic.Pointer[era]       // nil until the stream has begun
	fresh atomic.Pointer[time.Time] // until when what is held may be used; nil: not at all

	hits, misses atomic.Uint64

	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu    sync.Mutex
	err   error         // why the stream isn't followed; nil while it is
	moved chan struct{} // closed and replaced when something was heard
}

// CacheOption changes how a Cache works.
type CacheOption func(*Cache)

// ForTeam follows the changes of one team only, as an API key or a member may.
// Questions about other teams are all asked of the server. Without it the
// client's token must be the operator token.
func ForTeam(id string) CacheOption { return func(c *Cache) { c.team = id } }

// WithCapacity is how many decisions are held at most, at about 500 bytes each;
// 100,000 without it.
func WithCapacity(n int) CacheOption { return func(c *Cache) { c.capacity = n } }

const usualCapacity = 100_000

// NewCache starts a cache. Staleness is how old an answer may be; with less
// than a second, it is in use only a part of the time, since the server says
// twice a second that nothing is missing.
func NewCache(client *Client, staleness time.Duration, options ...CacheOption) (*Cache, error) {
	c := &Cache{
		client: client, staleness: staleness, capacity: usualCapacity, now: time.Now,
		err: errNotYet, moved: make(chan struct{}),
	}
	for _, option := range options {
		option(c)
	}
	if staleness <= 0 || c.capacity < 1 {
		return nil, errors.New("client: a cache needs a staleness and a capacity of more than nothing")
	}
	path := "/v1/changes"
	if c.team != "" {
		var err error
		if path, err = teamPath(c.team, "/changes"); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	f := &feed{client: client, path: path, now: c.now, to: c}
	c.ended.Go(func() { f.run(ctx) })
	return c, nil
}

var errNotYet = errors.New("client: the stream of changes hasn't begun yet")

// Close ends the stream of changes. From then on every question is asked of the
// server.
func (c *Cache) Close() {
	c.cancel()
	c.ended.Wait()
}

// Check decides one question.
func (c *Cache) Check(ctx context.Context, q Question) (Decision, error) {
	if d, ok := c.held(&q, atLeast(ctx)); ok {
		c.hits.Add(1)
		return d, nil
	}
	c.misses.Add(1)
	era := c.eraOf(&q)
	if era == nil {
		return c.client.Check(ctx, q)
	}
	d, err := c.client.Check(AtLeast(ctx, era.since(&q)), q)
	if err == nil && d.keep {
		era.shard(&q).put(&q, &d)
	}
	return d, err
}

// CheckAll decides any number of questions and answers in their order. Those
// that it can't answer from memory go to the server together.
func (c *Cache) CheckAll(ctx context.Context, questions []Question) ([]Decision, error) {
	decisions := make([]Decision, len(questions))
	var (
		open  []Question
		where []int
	)
	least := atLeast(ctx)
	for i := range questions {
		if d, ok := c.held(&questions[i], least); ok {
			decisions[i] = d
			continue
		}
		open, where = append(open, questions[i]), append(where, i)
	}
	c.hits.Add(uint64(len(questions) - len(open)))
	if len(open) == 0 {
		return decisions, nil
	}
	c.misses.Add(uint64(len(open)))
	eras := make([]*era, len(open))
	for i := range open {
		if eras[i] = c.eraOf(&open[i]); eras[i] != nil {
			least = max(least, eras[i].since(&open[i]))
		}
	}
	answers, err := c.client.CheckAll(AtLeast(ctx, least), open)
	if err != nil {
		return nil, err
	}
	for i := range answers {
		decisions[where[i]] = answers[i]
		if eras[i] != nil && answers[i].keep {
			eras[i].shard(&open[i]).put(&open[i], &answers[i])
		}
	}
	return decisions, nil
}

// eraOf is where the answer to a question may be kept; nil for nowhere.
func (c *Cache) eraOf(q *Question) *era {
	if c.team != "" && q.Team != c.team {
		return nil
	}
	return c.era.Load()
}

// held gives the answer to a question from memory, if there is a good one.
func (c *Cache) held(q *Question, least uint64) (Decision, bool) {
	fresh := c.fresh.Load()
	era := c.eraOf(q)
	if fresh == nil || era == nil {
		return Decision{}, false
	}
	// In this order: once everything up to a position was heard, the marks have
	// it, so an answer that they leave standing is as good as one of then.
	heard := era.heard.Load()
	d, ok := era.shard(q).get(q)
	if !ok || d.AsOf < era.since(q) || max(heard, d.AsOf) < least {
		return Decision{}, false
	}
	now := c.now()
	if !before(now, *fresh) || !d.Until.IsZero() && !before(now, d.expires) {
		return Decision{}, false
	}
	return d, true
}

// before tells whether a moment is before another by both clocks of this
// machine: one stands still while it is suspended, the other can be set.
func before(now, then time.Time) bool {
	return now.Before(then) && now.Round(0).Before(then.Round(0))
}

// What the stream says: see follower.

func (c *Cache) position() uint64 {
	if era := c.era.Load(); era != nil {
		return era.heard.Load()
	}
	return 0
}

func (c *Cache) begin(position uint64) {
	c.era.Store(newEra(position, c.capacity))
	c.announce(func() {})
}

func (c *Cache) changed(team, user string, position uint64) {
	era := c.era.Load()
	if team != "" {
		raise(era.team(team), position)
	} else {
		raise(era.person(user), position)
	}
}

func (c *Cache) complete(position uint64, moment time.Time) bool {
	raise(&c.era.Load().heard, position)
	fresh := moment.Add(c.staleness)
	if !before(c.now(), fresh) {
		return false
	}
	c.fresh.Store(&fresh)
	c.announce(func() { c.err = nil })
	return true
}

func (c *Cache) interrupted(err error) {
	c.fresh.Store(nil)
	c.announce(func() { c.err = err })
}

// announce wakes those who wait for something to be heard.
func (c *Cache) announce(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.moved)
	c.moved = make(chan struct{})
}

// Ready returns once the cache follows the stream of changes, or with the
// server's refusal, or when ctx ends. A cache need not be ready to be used.
func (c *Cache) Ready(ctx context.Context) error {
	return c.until(ctx, func() bool { return c.err == nil })
}

// Reached returns once the cache has heard of everything up to a position, or
// like Ready.
func (c *Cache) Reached(ctx context.Context, position uint64) error {
	return c.until(ctx, func() bool { return c.err == nil && c.position() >= position })
}

func (c *Cache) until(ctx context.Context, done func() bool) error {
	for {
		c.mu.Lock()
		reached, err, moved := done(), c.err, c.moved
		c.mu.Unlock()
		if refusal, ok := errors.AsType[*Error](err); ok && !passing(refusal) || errors.Is(err, errClosed) {
			return err
		}
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("%w: %w", ctx.Err(), err)
			}
			return ctx.Err()
		}
	}
}

// CacheStats is how a cache is doing.
type CacheStats struct {
	Hits, Misses uint64 // questions that were answered from memory, and the others
	Held         int    // decisions in memory, those included that are good no more
	Position     uint64 // up to where everything was heard
	Err          error  // why the stream of changes isn't followed now; nil while it is
}

// Stats tells how the cache is doing.
func (c *Cache) Stats() CacheStats {
	stats := CacheStats{Hits: c.hits.Load(), Misses: c.misses.Load(), Position: c.position()}
	if era := c.era.Load(); era != nil {
		for i := range era.shards {
			stats.Held += era.shards[i].len()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stats.Err = c.err
	return stats
}
