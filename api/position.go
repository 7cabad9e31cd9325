package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"roster/commands"
	"roster/domain"
)

const (
	// maxWait bounds how long a read waits for the position that it asked for.
	maxWait = 5 * time.Second
	// ownWriteWait bounds how long a read waits, unasked, for what this node
	// itself has last seen of the team or user. Read models are milliseconds
	// behind, so reaching it means that one is stuck; then an old answer is
	// better than none.
	ownWriteWait = 2 * time.Second
)

// parsePosition reads Roster-At-Least; zero when it isn't given.
func parsePosition(r *http.Request) (uint64, error) {
	value := r.Header.Get("Roster-At-Least")
	if value == "" {
		return 0, nil
	}
	position, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault).
			in("header", "Roster-At-Least", "must be a position: a whole number, as Roster-Position gave it")
	}
	return position, nil
}

// parseIfMatch reads If-Match as the version that it names; zero when it isn't
// given or is *, which any existing thing matches.
func parseIfMatch(r *http.Request) (uint64, error) {
	value := strings.TrimSpace(r.Header.Get("If-Match"))
	if value == "" || value == "*" {
		return 0, nil
	}
	if len(value) > 2 && value[0] == '"' && value[len(value)-1] == '"' {
		if version, err := strconv.ParseUint(value[1:len(value)-1], 10, 64); err == nil && version > 0 {
			return version, nil
		}
	}
	return 0, newProblem(http.StatusUnprocessableEntity, codeIfMatch, "If-Match must be one ETag, as an answer gave it.").
		in("header", "If-Match", `must be one ETag, such as "7"`)
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// stands answers with where an aggregate stands: the position of its last
// event in the stream, and its version.
func (x *exchange) stands(done commands.Done) {
	header := x.Header()
	if done.Position > 0 {
		header["Roster-Position"] = []string{strconv.FormatUint(done.Position, 10)}
	}
	if done.Version > 0 {
		header["Etag"] = []string{etag(done.Version)}
	}
}

// wrote is stands for a write; it also remembers the position, so that the
// next read of whoever wrote it sees it.
func (s *Server) wrote(x *exchange, user domain.UserID, done commands.Done) {
	x.stands(done)
	// An API key has no user, but is somebody who reads what it wrote too.
	if who := cmp.Or(string(user), x.caller.Actor.ID); who != "" && done.Position > 0 {
		s.written.Set(who, done.Position)
	}
}

// Positions written are remembered longer than a read model may be behind
// while all is well, and for as many people as write in that time.
const (
	writtenFor = time.Minute
	writtenBy  = 20_000
)

func newWritten() *otter.Cache[string, uint64] {
	return otter.Must(&otter.Options[string, uint64]{
		MaximumSize:      writtenBy,
		ExpiryCalculator: otter.ExpiryWriting[string, uint64](writtenFor),
	})
}

// freshState waits until the aggregates in memory have seen the position that
// the request asks for.
func (s *Server) freshState(ctx context.Context, r *http.Request) error {
	atLeast, err := parsePosition(r)
	if err != nil || atLeast == 0 {
		return err
	}
	return behindOr(waitAtMost(ctx, maxWait, atLeast, s.commands.Wait))
}

// freshModel waits until the read models have seen the position that the
// request asks for, and what this node has last seen of the team and the user;
// it says in the answer how far they have come.
func (s *Server) freshModel(ctx context.Context, x *exchange, r *http.Request, team domain.TeamID) error {
	atLeast, err := parsePosition(r)
	if err != nil {
		return err
	}
	if atLeast > 0 {
		if err := behindOr(waitAtMost(ctx, maxWait, atLeast, s.projections.Wait)); err != nil {
			return err
		}
	}
	var own uint64
	if team != "" {
		own = s.commands.TeamPosition(team)
	}
	if who := x.caller.Actor.ID; who != "" {
		position, _ := s.written.GetIfPresent(who)
		own = max(own, position)
	}
	if x.caller.User != "" {
		own = max(own, s.commands.UserPosition(x.caller.User))
	}
	if own > s.projections.Position() {
		if err := waitAtMost(ctx, ownWriteWait, own, s.projections.Wait); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	x.Header()["Roster-Position"] = []string{strconv.FormatUint(s.projections.Position(), 10)}
	return nil
}

func waitAtMost(ctx context.Context, most time.Duration, position uint64, wait func(context.Context, uint64) error) error {
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return wait(bounded, position)
}

// behindOr turns a wait that ran out into an answer.
func behindOr(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return newProblem(http.StatusServiceUnavailable, codeReadModelBehind,
		"What is read here hasn't reached the position that Roster-At-Least asks for. Try again.").retryAfter(time.Second)
}
