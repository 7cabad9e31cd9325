package projections

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	var p progress
	p.advance(3)
	if err := p.wait(t.Context(), 3); err != nil {
		t.Error(err)
	}
	results := make(chan error)
	for _, position := range []uint64{7, 5, 6, 5} {
		go func() { results <- p.wait(t.Context(), position) }()
	}
	given, cancel := context.WithCancel(t.Context())
	go func() { results <- p.wait(given, 5) }()
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who gave up: %v", err)
	}
	p.advance(2) // never back
	if p.at() != 3 {
		t.Errorf("went back to %d", p.at())
	}
	for _, step := range []struct{ to, woken uint64 }{{5, 2}, {6, 1}, {9, 1}} {
		p.advance(step.to)
		for range step.woken {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	}
	if len(p.waiting) != 0 {
		t.Errorf("%d still wait", len(p.waiting))
	}
}

// A rest ends when somebody waits for more, whether before it began or after.
func TestRestEndsWhenSomebodyWaits(t *testing.T) {
	var p progress
	rested, waited := make(chan struct{}), make(chan error)
	go func() {
		p.rest(t.Context(), time.Hour)
		close(rested)
	}()
	go func() { waited <- p.wait(t.Context(), 1) }()
	<-rested
	p.rest(t.Context(), time.Hour) // returns at once: somebody still waits
	p.advance(1)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	p.rest(t.Context(), time.Microsecond) // nobody waits
	ended, end := context.WithCancel(t.Context())
	end()
	p.rest(ended, time.Hour)
	if p.resting != nil {
		t.Error("the rest that was broken off has left its mark")
	}
}
