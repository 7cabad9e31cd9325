package api

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

const newPassword = "a new horse for the battery"

// resetToken waits for the request to reset a password that is recorded after a
// position, and gives the token of the link that is mailed for it.
func (w *world) resetToken(after uint64) (token string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found := errors.New("found")
	err := w.store.Follow(ctx, after, func(ctx context.Context, commits []eventstore.Commit) error {
		for i := range commits {
			asked, ok := commits[i].Events[0].Event.(domain.PasswordResetRequested)
			if !ok {
				continue
			}
			facts, err := w.service.ResetFacts(ctx, asked.User, commits[i].Position, asked.ExpiresAt)
			if err != nil {
				return err
			}
			token = facts.Token
			return found
		}
		return nil
	})
	if !errors.Is(err, found) || token == "" {
		w.Fatalf("no request to reset a password: %v", err)
	}
	return token
}

func (w *world) askReset(email string, changes ...with) *reply {
	w.Helper()
	return w.call("POST", "/v1/password-resets", map[string]any{"email": email}, changes...)
}

func (w *world) reset(token, password string, changes ...with) *reply {
	w.Helper()
	return w.call("PUT", "/v1/password-resets/"+token, map[string]any{"new_password": password}, changes...)
}

func TestAskingForAResetTellsNothing(t *testing.T) {
	w := newWorld(t, options{})
	someone := w.signUp()
	known := w.askReset(someone.email).is(202)
	if known.text("status") != "accepted" {
		t.Errorf("answered %s", known.raw)
	}
	header := func(r *reply) http.Header {
		h := r.header.Clone()
		h.Del("Date")
		h.Del("X-Request-Id")
		return h
	}
	before := w.position()
	for what, r := range map[string]*reply{
		"nobody":          w.askReset("nobody@example.com"),
		"no address":      w.askReset("nobody"),
		"a header":        w.askReset("nobody@example.com\r\nBcc: eve@example.com"),
		"a bad token":     w.askReset(someone.email, bearer("rs_of_nobody")),
		"a good token":    w.askReset("nobody@example.com", someone.auth()),
		"another network": w.askReset(strings.ToUpper(someone.email)),
		"too many":        w.askReset(someone.email),
	} {
		if r.status != 202 || !bytes.Equal(r.raw, known.raw) || !maps.EqualFunc(header(r), header(known), slices.Equal) {
			t.Errorf("%s: answers %d %s %v, the known address %s %v", what, r.status, r.raw, header(r), known.raw, header(known))
		}
	}
	w.resetToken(before) // of the later ones
	w.call("POST", "/v1/password-resets", `{}`).is(422, "invalid_field")
	w.call("POST", "/v1/password-resets", map[string]any{"email": strings.Repeat("a", 321)}).is(422, "invalid_field")

	if log := w.log.String(); strings.Contains(log, someone.email) || strings.Contains(log, "nobody@example.com") {
		t.Error("an address is in the log")
	}
}

func TestResettingAPassword(t *testing.T) {
	w := newWorld(t, options{})
	someone := w.signUp()
	before := w.position()
	w.askReset(someone.email).is(202)
	token := w.resetToken(before)

	r := w.reset(token, "short")
	r.is(422, "invalid_field")
	wantProblem(t, r)
	if r.text("errors", 0, "pointer") != "#/new_password" {
		t.Errorf("answered %s", r.raw)
	}
	w.reset(token, strings.Repeat("a", 12)).is(422, "password_too_common")
	w.reset(token[1:], newPassword).is(404, "not_found")
	w.reset(token+"A", newPassword).is(404, "not_found")
	w.reset(strings.Repeat("A", len(token)), newPassword).is(404, "not_found")
	w.call("GET", "/v1/password-resets/"+token, nil).is(200) // opening it doesn't use it up

	done := w.reset(token, newPassword, header("Idempotency-Key", "one")).is(204)
	if len(done.raw) != 0 || done.position() <= before {
		t.Errorf("answered %s at %d", done.raw, done.position())
	}
	w.reset(token, newPassword, header("Idempotency-Key", "one")).is(204) // the same answer again
	w.reset(token, newPassword).is(404, "not_found")
	w.call("GET", "/v1/me", nil, someone.auth()).is(401, "unauthenticated")
	signIn := func(password string) *reply {
		return w.call("POST", "/v1/sessions", map[string]any{"email": someone.email, "password": password})
	}
	signIn(password).is(401, "invalid_credentials")
	in := signIn(newPassword).is(201)
	if in.at("user", "email_verified") != true {
		t.Errorf("signed in as %s", in.raw)
	}

	before = w.position()
	w.askReset(someone.email).is(202)
	late := w.resetToken(before)
	w.clock.forward(domain.ResetLifetime)
	wantProblem(t, w.reset(late, newPassword).is(410, "reset_expired"))
	w.call("GET", "/v1/me", nil, bearer(in.text("token"))).is(200)
	if log := w.log.String(); strings.Contains(log, token) || strings.Contains(log, late) || strings.Contains(log, newPassword) {
		t.Error("a secret is in the log")
	}
}

func TestRepeatedRequestForAResetIsOne(t *testing.T) {
	w := newWorld(t, options{})
	someone := w.signUp()
	before := w.position()
	for range 3 {
		w.askReset(someone.email, header("Idempotency-Key", "mine")).is(202)
	}
	w.resetToken(before)
	w.service.Close() // waits for all that was accepted
	if after := w.position(); after != before+1 {
		t.Errorf("%d events", after-before)
	}
}

func TestNetworkThatAsksForManyResetsIsSlowedDown(t *testing.T) {
	w := newWorld(t, options{})
	someone := w.signUp()
	for range 20 {
		w.askReset("nobody@example.com").is(202)
	}
	// Each further one has to wait twice as long: until the wait is longer than
	// this test can take.
	for wait := time.Second; wait < 2*time.Minute; wait *= 2 {
		w.clock.forward(wait)
		w.askReset("nobody@example.com").is(202)
	}
	for _, email := range []string{someone.email, "nobody@example.com"} {
		r := w.askReset(email).is(429, "too_many_attempts")
		wantProblem(t, r)
		if wait, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || wait < 30 || wait > 128 {
			t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
		}
	}
	w.clock.forward(time.Hour)
	w.askReset(someone.email).is(202)
}
