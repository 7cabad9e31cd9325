package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A server that stands still for a while is charged with every command that
// came due meanwhile, though a single worker could not send them.
func TestOpenLoopCountsCommandsThatCouldNotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, stall = 100, time.Second
		r, calls := newRecorder(), 0
		err := openLoop(t.Context(), rate, 1, 10*time.Second, func(_ context.Context, _ int, late time.Duration) error {
			begin := time.Now()
			if calls++; calls == 1 {
				<-time.After(stall)
			}
			r.record(time.Since(begin) + late)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := merged([]*recorder{r}, 10*time.Second)
		if calls != 1000 || got.Requests != 1000 || got.PerSecond != rate {
			t.Errorf("%d calls, %d recorded, %v/s; want 1000 at 100/s", calls, got.Requests, got.PerSecond)
		}
		// 100 commands came due within the second: their latencies fall from 1 s
		// to nothing, so one in a hundred of all took 0.9 s or more.
		if got.P50 > 1 || got.P99 < 0.89e6 || got.P99 > 0.92e6 || got.Max < 0.99e6 {
			t.Errorf("median %v, p99 %v, longest %v µs; want 0, 900,000 and 1,000,000", got.P50, got.P99, got.Max)
		}
	})
}

// Workers that sleep until the next step is due are not late.
func TestOpenLoopKeepsToItsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var dues []time.Duration
		err := openLoop(t.Context(), 4, 1, time.Second, func(_ context.Context, _ int, late time.Duration) error {
			if late != 0 {
				t.Errorf("late by %v", late)
			}
			dues = append(dues, time.Since(start))
			return nil
		})
		if err != nil || len(dues) != 4 || dues[3] != 750*time.Millisecond {
			t.Errorf("steps at %v (%v); want one every 250 ms", dues, err)
		}
	})
}

func TestClosedLoopLeavesOutTheWarmUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, err := closedLoop(t.Context(), 2, time.Second, 4*time.Second, func(int) (step, error) {
			return func(context.Context) error { <-time.After(100 * time.Millisecond); return nil }, nil
		})
		// The step that ends just as the warm-up does counts; the one that ends
		// with the measurement doesn't.
		if err != nil || got.Requests != 80 || got.PerSecond != 20 || got.Errors != 0 {
			t.Errorf("%+v (%v); want 80 requests at 20/s", got, err)
		}
	})
}

func TestClosedLoopCountsRefusalsAndEndsWithOtherErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := 0
		got, err := closedLoop(t.Context(), 1, 0, time.Second, func(int) (step, error) {
			return func(context.Context) error {
				<-time.After(100 * time.Millisecond)
				if turn++; turn%2 == 0 {
					return &refused{status: 409}
				}
				return nil
			}, nil
		})
		var refusal *refused
		if got.Errors != 5 || got.Requests != 5 || !errors.As(err, &refusal) || got.failed("x", err) == nil {
			t.Errorf("%+v (%v); want 5 refusals, and the first of them as the error", got, err)
		}
		broken := errors.New("broken")
		if _, err := closedLoop(t.Context(), 8, 0, time.Hour, func(int) (step, error) {
			return func(context.Context) error { <-time.After(time.Millisecond); return broken }, nil
		}); !errors.Is(err, broken) {
			t.Errorf("error %v; want the one of the step", err)
		}
	})
}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		of, to *figures
		want   float64
	}{
		{&figures{PerSecond: 300}, &figures{PerSecond: 100}, 3},
		{&figures{PerSecond: 300}, &figures{}, 0},
		{&figures{PerSecond: 300}, nil, 0},
		{nil, &figures{PerSecond: 100}, 0},
	} {
		if got := ratio(c.of, c.to); got != c.want {
			t.Errorf("ratio of %v to %v is %v, want %v", c.of, c.to, got, c.want)
		}
	}
}
