package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// EventStore tells how far the event store has come; *eventstore.Store is one.
type EventStore interface {
	LastPosition(ctx context.Context) (uint64, error)
}

// maxReadyLag is how many events the read models may be behind on a node that
// calls itself ready: about two seconds of what one stream takes in.
const maxReadyLag = 20_000

// readyTimeout bounds how long a readiness check may take.
const readyTimeout = 2 * time.Second

// readiness is what /readyz answers.
type readiness struct {
	Ready      bool                `json:"ready"`
	Reasons    []string            `json:"reasons"` // why not
	Position   uint64              `json:"position"`
	Projection projectionReadiness `json:"projection"`
}

type projectionReadiness struct {
	Position   uint64 `json:"position"`
	Lag        uint64 `json:"lag"`
	Projecting bool   `json:"projecting"` // on this node; another one may do it
}

func (s *Server) healthRoutes() {
	s.router.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = headerJSON
		_, _ = w.Write([]byte(`{"status":"ok"}` + "\n"))
	})
	s.router.Get("/readyz", s.readyz)
	s.router.Method(http.MethodGet, "/metrics", s.metrics.handler())
	s.metrics.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "roster_projection_position",
			Help: "The position up to which every read model is filled.",
		}, func() float64 { return float64(s.projections.Position()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "roster_projection_failing",
			Help: "1 while the read models can't go on; see /readyz.",
		}, func() float64 {
			if s.projections.State().Failure != nil {
				return 1
			}
			return 0
		}),
	)
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ready := s.readiness(r.Context())
	w.Header()["Content-Type"] = headerJSON
	if !ready.Ready {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = jsonFormat.Marshal(w, ready)
}

// readiness asks everything that a request needs. The reasons are plain words
// for an operator; they hold no address and no secret.
func (s *Server) readiness(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	out := readiness{Reasons: []string{}}
	not := func(format string, args ...any) { out.Reasons = append(out.Reasons, fmt.Sprintf(format, args...)) }

	if !s.commands.Serving() {
		not("this node has lost touch with the others, so it can't know what was revoked")
	}
	last, err := s.config.Store.LastPosition(ctx)
	if err != nil {
		not("the event store doesn't answer")
	}
	state := s.projections.State()
	out.Position = last
	out.Projection = projectionReadiness{Position: state.Position, Projecting: state.Projecting}
	if last > state.Position {
		out.Projection.Lag = last - state.Position
	}
	if failure := state.Failure; failure != nil {
		not("the read models stopped at position %d since %s: %s", failure.Position, failure.Since.Format(time.RFC3339), failure.Text)
	}
	if out.Projection.Lag > maxReadyLag {
		not("the read models are %d events behind", out.Projection.Lag)
	}
	out.Ready = len(out.Reasons) == 0
	return out
}
