package commands

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// background is work that goes on after its request was answered: a bounded
// amount, which ends before the service does. The zero value is ready.
type background struct {
	mu     sync.Mutex
	count  int
	closed bool
	work   sync.WaitGroup
}

const (
	// maxBackground is how much work may be going on at once. Each is a few
	// round trips to the event store, so this many means that it hardly
	// answers, and then more would not help.
	maxBackground = 256

	// backgroundTimeout bounds one piece of work. It is also how long closing
	// may take.
	backgroundTimeout = 15 * time.Second
)

// start does the work and returns at once; false when there is too much of it
// already, or none is begun any more. The context given to the work has the
// values of ctx and not its end. What goes wrong is for the log.
func (b *background) start(ctx context.Context, logger *slog.Logger, what string, work func(context.Context) error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.count == maxBackground {
		return false
	}
	b.count++
	b.work.Go(func() {
		defer func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.count--
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backgroundTimeout)
		defer cancel()
		if err := guarded(ctx, work); err != nil {
			logger.ErrorContext(ctx, what, "error", err)
		}
	})
	return true
}

// guarded turns a panic into an error: there is no request that it could end.
func guarded(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
		}
	}()
	return work(ctx)
}

// close begins nothing more and waits for what is going on.
func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.work.Wait()
}
