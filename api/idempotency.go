package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"time"

	"roster/commands"
)

// maxIdempotencyKey bounds a key; a UUID has 36 characters.
const maxIdempotencyKey = 255

// settleTimeout bounds how long recording an answer may take after the
// request itself is over.
const settleTimeout = 5 * time.Second

// keptHeaders are those that belong to the answer and not to its delivery.
var keptHeaders = []string{"Content-Type", "Roster-Position", "Etag", "Location", "Set-Cookie", "Retry-After"}

// idempotencyKey reads Idempotency-Key; empty when it isn't given.
func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	valid := len(values) == 1 && key != "" && len(key) <= maxIdempotencyKey
	for i := range len(key) {
		valid = valid && key[i] > ' ' && key[i] <= '~'
	}
	if !valid {
		return "", newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault).
			in("header", "Idempotency-Key", "must be 1 to 255 visible ASCII characters")
	}
	return key, nil
}

// onlyOnce runs a write under its idempotency key: the first answer is kept,
// and given again to whoever repeats the request. The answer is held back
// until it is kept, so that whoever got one gets the same again.
func (s *Server) onlyOnce(ctx context.Context, x *exchange, r *http.Request, scope, key string, run func(context.Context)) error {
	// The body is read here because its hash tells a repetition from another
	// request; huma reads it again from memory.
	body, err := readBody(r)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))

	hash := sha256.New()
	for _, part := range []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery} {
		hash.Write([]byte(part))
		hash.Write([]byte{0})
	}
	hash.Write(body)
	ctx, attempt, answer, err := s.commands.Begin(ctx, scope, key, [sha256.Size]byte(hash.Sum(nil)))
	if err != nil {
		return err
	}
	if answer != nil {
		header := x.Header()
		for name, value := range answer.Header {
			header.Set(name, value)
		}
		x.WriteHeader(answer.Status)
		_, _ = x.Write(answer.Body)
		return nil
	}

	settled := false
	x.hold()
	defer func() {
		if !settled { // a panic
			x.discard()
			s.settle(ctx, x, attempt.Release)
		}
	}()
	run(ctx)
	switch {
	case unsettled(x.status):
		s.settle(ctx, x, attempt.Release)
	case refusedEarly(x.status):
		s.settle(ctx, x, attempt.Abandon)
	default:
		s.settle(ctx, x, func(ctx context.Context) error { return attempt.Finish(ctx, x.answer()) })
	}
	settled = true
	x.release()
	return nil
}

// readBody reads a whole body, where huma doesn't.
func readBody(r *http.Request) ([]byte, error) {
	var body bytes.Buffer
	err := readBodyInto(&body, r)
	return body.Bytes(), err
}

// readBodyInto reads a whole body into a buffer that is empty.
func readBodyInto(body *bytes.Buffer, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	_, err := body.ReadFrom(r.Body) // limitBody sees to its length
	if err != nil {
		return humaProblem(http.StatusInternalServerError, cantReadBody, []error{err})
	}
	return nil
}

// unsettled tells whether it isn't known what became of the request. Then its
// repetition goes on where this try ended.
func unsettled(status int) bool {
	return status >= http.StatusInternalServerError || status == statusClientGone
}

// refusedEarly tells whether an answer is not about the request but about this
// try: nothing was done, and with a credential or some patience it may succeed.
func refusedEarly(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests
}

// settle records how an attempt ended, even if the caller has hung up.
func (s *Server) settle(ctx context.Context, x *exchange, record func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := record(ctx); err != nil {
		// The command stands all the same, and a repetition finds what it did.
		s.log.LogAttrs(ctx, slog.LevelError, "an answer could not be kept for its idempotency key",
			slog.String("request_id", x.id), slog.String("error", err.Error()))
	}
}

// hold keeps the answer back until release.
func (x *exchange) hold() { x.held = &bytes.Buffer{} }

// discard forgets a held answer, so that another can be given.
func (x *exchange) discard() {
	x.held, x.status = nil, 0
}

// release sends a held answer.
func (x *exchange) release() {
	body := x.held
	x.held = nil
	if x.status == 0 {
		return
	}
	x.ResponseWriter.WriteHeader(x.status)
	if body.Len() > 0 {
		n, _ := x.ResponseWriter.Write(body.Bytes())
		x.bytes += int64(n)
	}
}

// answer is the held answer as it is kept.
func (x *exchange) answer() commands.Answer {
	kept := map[string]string{}
	for _, name := range keptHeaders {
		if value := x.Header().Get(name); value != "" {
			kept[name] = value
		}
	}
	return commands.Answer{Status: x.status, Header: kept, Body: bytes.Clone(x.held.Bytes())}
}
