package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the longest latency that is told apart from longer ones.
const longest = 2 * time.Minute

// figures are what one measurement gave. Latencies are in microseconds.
type figures struct {
	Requests  int64   `json:"requests"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Max       float64 `json:"max_us"`
	Errors    int64   `json:"errors"`

	// CPU is the processor time of the server's process for one request. Unlike
	// the rest it doesn't suffer from what else runs on the machine.
	CPU float64 `json:"cpu_us,omitempty"`

	all int64 // requests, with those that don't count
}

// recorder collects the latencies of one worker.
type recorder struct {
	latencies *hdrhistogram.Histogram // in nanoseconds
	all       int64                   // steps, with those of the warm-up
	errors    int64
	first     error
}

func newRecorder() *recorder {
	return &recorder{latencies: hdrhistogram.New(1, int64(longest), 3)}
}

func (r *recorder) record(latency time.Duration) {
	_ = r.latencies.RecordValue(int64(min(max(latency, 1), longest))) // within its range
}

func (r *recorder) fail(err error) {
	if r.errors++; r.first == nil {
		r.first = err
	}
}

// merged puts the workers' latencies together.
func merged(recorders []*recorder, length time.Duration) (figures, error) {
	all, first := newRecorder(), error(nil)
	for _, r := range recorders {
		all.latencies.Merge(r.latencies)
		all.errors += r.errors
		all.all += r.all
		if first == nil {
			first = r.first
		}
	}
	quantile := func(q float64) float64 { return float64(all.latencies.ValueAtQuantile(q)) / 1e3 }
	return figures{
		Requests: all.latencies.TotalCount(), PerSecond: float64(all.latencies.TotalCount()) / length.Seconds(),
		P50: quantile(50), P99: quantile(99), Max: float64(all.latencies.Max()) / 1e3, Errors: all.errors, all: all.all,
	}, first
}

// step is one request or a few that belong together.
type step func(ctx context.Context) error

// closedLoop lets each worker do one step after another, and counts those that
// end within length after the warm-up. A refusal is counted, and the worker
// goes on; any other error ends everything.
func closedLoop(ctx context.Context, workers int, warmUp, length time.Duration, prepare func(worker int) (step, error)) (figures, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	steps := make([]step, workers)
	for i := range steps {
		var err error
		if steps[i], err = prepare(i); err != nil {
			return figures{}, err
		}
	}
	recorders := make([]*recorder, workers)
	from := time.Now().Add(warmUp)
	to := from.Add(length)
	var group sync.WaitGroup
	for i, next := range steps {
		r := newRecorder()
		recorders[i] = r
		group.Go(func() {
			for begin := time.Now(); begin.Before(to) && ctx.Err() == nil; {
				err := next(ctx)
				end := time.Now()
				r.all++
				var refusal *refused
				switch {
				case errors.As(err, &refusal):
					r.fail(err)
				case err != nil:
					cancel(err)
					return
				case !end.Before(from) && end.Before(to):
					r.record(end.Sub(begin))
				}
				begin = end
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return figures{}, err
	}
	return merged(recorders, length)
}

// schedule says when each of a series of steps is due, whatever becomes of the
// others: the load of a world that doesn't wait for the server.
type schedule struct {
	start    time.Time
	interval time.Duration
	taken    atomic.Int64
}

func (s *schedule) take() time.Time {
	return s.start.Add(time.Duration(s.taken.Add(1)-1) * s.interval)
}

// openLoop begins rate steps a second for length, each when it is due. When
// all workers are held up, a step begins late, and late says by how much: to be
// added to its latency, since its caller has waited for that long. (A step
// that only begins late because the timer of this program went off late isn't
// late: nothing kept the server from answering it.)
func openLoop(ctx context.Context, rate, workers int, length time.Duration, do func(ctx context.Context, worker int, late time.Duration) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	plan := &schedule{start: time.Now(), interval: time.Second / time.Duration(rate)}
	end := plan.start.Add(length)
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for due := plan.take(); due.Before(end); due = plan.take() {
				late := time.Since(due)
				if late < 0 {
					select {
					case <-time.After(-late):
					case <-ctx.Done():
						return
					}
					late = 0
				}
				if err := do(ctx, worker, late); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// ratio of two rates; 0 when there is nothing to compare with.
func ratio(of, to *figures) float64 {
	if of == nil || to == nil || to.PerSecond == 0 {
		return 0
	}
	return of.PerSecond / to.PerSecond
}

func (f figures) failed(scenario string, first error) error {
	if f.Errors == 0 {
		return first
	}
	return fmt.Errorf("%s: %d requests failed; the first: %w", scenario, f.Errors, first)
}
