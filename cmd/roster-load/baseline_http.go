package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
)

const baselineHTTP = "baseline-http"

// Where the check is in Roster, and where its baselines are.
const (
	evaluationPath  = "/access/v1/evaluation"
	evaluationsPath = "/access/v1/evaluations"
	emptyPath       = "/empty"
	mapPath         = "/map"
	mapsPath        = "/maps"
)

// question and verdict are what AuthZEN says of a check, as far as a map knows.
// Questions are many of them about one subject.
type question struct {
	Subject subject `json:"subject"`
	Action  struct {
		Name string `json:"name"`
	} `json:"action"`
	Resource struct {
		Type       string `json:"type"`
		Properties struct {
			Team string `json:"team"`
		} `json:"properties"`
	} `json:"resource"`
}

type subject struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type questions struct {
	Subject     subject    `json:"subject"`
	Evaluations []question `json:"evaluations"`
}

type verdicts struct {
	Evaluations []verdict `json:"evaluations"`
}

type verdict struct {
	Decision bool `json:"decision"`
	Context  struct {
		Reason string `json:"reason"`
	} `json:"context"`
}

// serveHTTPBaseline is the least that any check over HTTP costs: a handler that
// does nothing, and one that does what a check has to (read the credential and
// the question, look it up, answer) with nothing behind it but maps.
func serveHTTPBaseline(ctx context.Context) error {
	sessions := map[[sha256.Size]byte]string{sha256.Sum256([]byte(mapToken)): mapUser}
	roles := map[string]map[string]string{mapTeam: {mapUser: "owner"}}
	allowed := map[string]map[string]bool{"owner": {"documents:update": true}}

	// read answers a request that it can't: who asks, or what.
	read := func(w http.ResponseWriter, r *http.Request, into any) (caller string, ok bool) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if caller, ok = sessions[sha256.Sum256([]byte(token))]; !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return caller, false
		}
		if json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(into) != nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return caller, false
		}
		return caller, true
	}
	decide := func(caller string, q *question) (v verdict) {
		if _, member := roles[q.Resource.Properties.Team][caller]; member {
			v.Context.Reason = "role"
			v.Decision = allowed[roles[q.Resource.Properties.Team][q.Subject.ID]][q.Resource.Type+":"+q.Action.Name]
		}
		return v
	}
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}

	router := chi.NewMux()
	router.Post(emptyPath, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	router.Post(mapPath, func(w http.ResponseWriter, r *http.Request) {
		var q question
		if caller, ok := read(w, r, &q); ok {
			v := decide(caller, &q)
			answer(w, &v)
		}
	})
	router.Post(mapsPath, func(w http.ResponseWriter, r *http.Request) {
		var q questions
		if caller, ok := read(w, r, &q); ok {
			v := verdicts{Evaluations: make([]verdict, len(q.Evaluations))}
			for i := range q.Evaluations {
				q.Evaluations[i].Subject = q.Subject
				v.Evaluations[i] = decide(caller, &q.Evaluations[i])
			}
			answer(w, &v)
		}
	})
	return serve(ctx, router)
}

// What the maps hold.
const (
	mapToken = "ses_a-token-of-the-length-that-tokens-have-0123456789"
	mapUser  = "user_00000000000000000000000001"
	mapTeam  = "team_00000000000000000000000001"
)

// serve answers requests on a free port until ctx ends.
func serve(ctx context.Context, handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
