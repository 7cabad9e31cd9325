package projections

import (
	"context"
	"errors"
	"testing"
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
