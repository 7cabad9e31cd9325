package api

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"roster/domain"
)

// Limits of open streams. Each takes a connection and about 40 KB.
const (
	maxStreams         = 4_000 // of this process
	maxStreamsOfReader = 64    // of one user, API key or the operator: the processes of a host share one key

	// streamBeat is how often a stream says how far it is: twice as often as is
	// promised.
	streamBeat = 500 * time.Millisecond
	// streamPatience is how long a reader may take to accept a piece.
	streamPatience = 10 * time.Second
	// streamLife is how long a stream lasts at most. A reader that measures by
	// its own clock what the stream says of time begins anew with each, and
	// readers spread over the nodes again.
	streamLife = 15 * time.Minute
)

// Reasons for the end of a stream, beside the codes of problems.
const (
	reasonGone     = "gone" // of the reader, who isn't told
	reasonRenew    = "renew"
	reasonShutdown = "shutdown"
)

const codeTooManyStreams = "too_many_streams"

// openStreams are the streams that this process serves.
type openStreams struct {
	most, mostOfReader   int
	beat, patience, life time.Duration

	ended *prometheus.CounterVec

	mu      sync.Mutex
	open    int
	of      map[domain.Actor]int
	closed  bool
	closing chan struct{} // closed when the server stops
}

func newOpenStreams(registry *prometheus.Registry) *openStreams {
	o := &openStreams{
		most: maxStreams, mostOfReader: maxStreamsOfReader, beat: streamBeat, patience: streamPatience, life: streamLife,
		of: map[domain.Actor]int{}, closing: make(chan struct{}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "roster_change_streams_ended_total", Help: "Streams of changes that ended, by the reason.",
		}, []string{"reason"}),
	}
	registry.MustRegister(o.ended, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "roster_change_streams_open", Help: "Streams of changes that are open.",
	}, func() float64 {
		o.mu.Lock()
		defer o.mu.Unlock()
		return float64(o.open)
	}))
	return o
}

// enter makes room for a stream, or refuses.
func (o *openStreams) enter(reader domain.Actor) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed || o.open >= o.most:
		return newProblem(http.StatusServiceUnavailable, codeTooManyStreams, "This server has as many open streams as it can serve.").
			retryAfter(5 * time.Second)
	case o.of[reader] >= o.mostOfReader:
		return newProblem(http.StatusTooManyRequests, codeTooManyStreams, "You have as many open streams as one may have. End one first.").
			retryAfter(5 * time.Second)
	}
	o.open++
	o.of[reader]++
	return nil
}

func (o *openStreams) leave(reader domain.Actor, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open--
	if o.of[reader]--; o.of[reader] == 0 {
		delete(o.of, reader)
	}
	o.ended.WithLabelValues(reason).Inc()
}

// close ends all streams and lets none begin.
func (o *openStreams) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		close(o.closing)
	}
}
