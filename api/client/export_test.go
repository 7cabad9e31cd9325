package client

import "time"

// WithClock makes a cache go by another clock.
func WithClock(now func() time.Time) CacheOption { return func(c *Cache) { c.now = now } }
