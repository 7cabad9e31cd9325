package commands

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/eventstore"
)

func request(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// begun begins an attempt that is expected to have no answer yet.
func begun(t testing.TB, s *Service, scope, key, body string) (context.Context, *Attempt) {
	t.Helper()
	ctx, attempt, answer, err := s.Begin(t.Context(), scope, key, request(body))
	if err != nil || answer != nil {
		t.Fatalf("the first to begin: %v, %v", answer, err)
	}
	return ctx, attempt
}

func TestTheFirstAnswerIsGivenAgain(t *testing.T) {
	t.Parallel()
	s := service(t)
	other := serviceOn(t, s.store)
	_, attempt := begun(t, s, "anna", "key", "body")
	want := Answer{
		Status: 201, Header: map[string]string{"Etag": `"7"`, "Set-Cookie": "a=b; HttpOnly"},
		Body: []byte("{\"token\":\"\\u0000\"}\n\xff\x00"),
	}
	if err := attempt.Finish(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	for _, node := range []*Service{s, other} {
		_, _, got, err := node.Begin(t.Context(), "anna", "key", request("body"))
		if err != nil || got == nil {
			t.Fatal(got, err)
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Error(diff)
		}
		if _, _, got, err := node.Begin(t.Context(), "anna", "key", request("another body")); got != nil || !errors.Is(err, ErrKeyReused) {
			t.Errorf("another request under the key: %v, %v", got, err)
		}
	}
}

func TestALargeAnswerFits(t *testing.T) {
	t.Parallel()
	s := service(t)
	_, attempt := begun(t, s, "anna", "key", "body")
	// A full bulk of invitations with long names and addresses.
	want := Answer{Status: 200, Body: bytes.Repeat([]byte("0123456789abcdef"), 16<<10)}
	if err := attempt.Finish(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	_, _, got, err := s.Begin(t.Context(), "anna", "key", request("body"))
	if err != nil || got == nil || !bytes.Equal(got.Body, want.Body) {
		t.Fatal(got, err)
	}
}

func TestWhatIsInFlightIsRefused(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	_, first := begun(t, s, "anna", "key", "body")
	inFlight := func() {
		t.Helper()
		if _, _, answer, err := s.Begin(t.Context(), "anna", "key", request("body")); answer != nil || !errors.Is(err, ErrInFlight) {
			t.Errorf("while it is in flight: %v, %v", answer, err)
		}
	}
	inFlight()
	if _, _, _, err := s.Begin(t.Context(), "anna", "key", request("another body")); !errors.Is(err, ErrKeyReused) {
		t.Errorf("another request in flight: %v", err)
	}
	clock.forward(attemptLease - time.Microsecond)
	inFlight()

	// It takes longer than any request may: somebody else goes on, and has as
	// much time again.
	clock.forward(time.Microsecond)
	_, second := begun(t, s, "anna", "key", "body")
	inFlight()
	clock.forward(attemptLease - time.Microsecond)
	inFlight()
	if err := second.Finish(t.Context(), Answer{Status: 200}); err != nil {
		t.Fatal(err)
	}
	if err := first.Finish(t.Context(), Answer{Status: 201}); !errors.Is(err, eventstore.ErrConflict) {
		t.Errorf("the slow one answers as well: %v", err)
	}
}

func TestOnlyOneOfManyBegins(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	ended := atOnce(t, 32, func(i int) error {
		_, _, _, err := []*Service{a, b}[i%2].Begin(t.Context(), "anna", "key", request("body"))
		return err
	})
	if diff := cmp.Diff(map[string]int{"ok": 1, ErrInFlight.Code: 31}, ended); diff != "" {
		t.Error(diff)
	}
}

// A node that others know may be alive; one that nobody knows isn't.
func TestWhatALivingNodeWorksOnIsLeftAlone(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	begun(t, a, "anna", "key", "body")
	if _, _, _, err := b.Begin(t.Context(), "anna", "key", request("body")); !errors.Is(err, ErrInFlight) {
		t.Errorf("while another node works on it: %v", err)
	}
	begun(t, serviceOn(t, a.store), "anna", "key", "body")
}

func TestAbandonAndRelease(t *testing.T) {
	t.Parallel()
	s := service(t)
	secrets := func(ctx context.Context) [2]string {
		return [2]string{newID(ctx, "key", "x"), newSecret(ctx, "x")}
	}
	ctx, attempt := begun(t, s, "anna", "key", "body")
	first := secrets(ctx)

	// Nothing was done: the next one starts anew, even with another body.
	if err := attempt.Abandon(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, attempt = begun(t, s, "anna", "key", "another body")
	second := secrets(ctx)
	if second[0] == first[0] || second[1] == first[1] {
		t.Error("an abandoned attempt lives on")
	}

	// It isn't known what was done: the next one goes on with the same names.
	if err := attempt.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, attempt = begun(t, s, "anna", "key", "another body")
	if got := secrets(ctx); got != second {
		t.Error("a released attempt is forgotten")
	}
	// Refused for now, it is still not known what the one before did.
	if err := attempt.Abandon(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, _ = begun(t, s, "anna", "key", "another body")
	if got := secrets(ctx); got != second {
		t.Error("what was released is forgotten by a refusal")
	}
}

// Within an attempt everything has a name of its own, and nothing of it is the
// same as under another key, by another caller or at another time.
func TestNamesOfAnAttempt(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	seen := map[string]string{}
	add := func(who string, ctx context.Context) {
		t.Helper()
		for _, label := range []string{"a", "b"} {
			for _, name := range []string{newID(ctx, "key", label), newSecret(ctx, label)} {
				if before, ok := seen[name]; ok {
					t.Errorf("%s/%s has a name of %s", who, label, before)
				}
				seen[name] = who + "/" + label
			}
		}
	}
	ctx, attempt := begun(t, s, "anna", "key", "body")
	add("one", ctx)
	for i := range 11 {
		add(fmt.Sprint("part ", i), part(ctx, i))
	}
	add("part of a part", part(part(ctx, 1), 1))
	other, _ := begun(t, s, "bertil", "key", "body")
	add("another caller", other)
	other, _ = begun(t, s, "anna", "another key", "body")
	add("another key", other)
	if err := attempt.Abandon(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.forward(AnswerLifetime)
	later, _ := begun(t, s, "anna", "key", "body")
	add("the same key a day later", later)
	add("no attempt", t.Context())
	add("no attempt again", t.Context())
}

func TestKeysOfDifferentScopesDontMeet(t *testing.T) {
	t.Parallel()
	s := service(t)
	_, attempt := begun(t, s, "anna", "key", "body")
	if err := attempt.Finish(t.Context(), Answer{Status: 201, Body: []byte("anna's")}); err != nil {
		t.Fatal(err)
	}
	begun(t, s, "bertil", "key", "body")
	// The border between scope and key can't be moved.
	begun(t, s, "annak", "ey", "body")
	begun(t, s, "", "annakey", "body")
}

// Whoever reads the bucket learns neither an answer nor a request, nor the key
// under which it could be asked for: the request may hold a password, so that a
// plain hash of it could be guessed at leisure.
func TestAnswersAtRestAreUnreadable(t *testing.T) {
	t.Parallel()
	s := service(t)
	_, attempt := begun(t, s, "scope-of-anna", "key-of-anna", "body")
	if err := attempt.Finish(t.Context(), Answer{
		Status: 201, Header: map[string]string{"Set-Cookie": "rs_secret-of-anna"}, Body: []byte("rk_secret-of-anna"),
	}); err != nil {
		t.Fatal(err)
	}
	entry, err := s.answers.Get(t.Context(), attempt.key)
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := request("body")
	for _, secret := range []string{
		"anna", "rs_secret", "rk_secret", "Set-Cookie", fmt.Sprintf("%x", fingerprint), fmt.Sprintf("%x", sha256.Sum256(fingerprint[:])),
	} {
		if stored := attempt.key + string(entry.Value); strings.Contains(stored, secret) {
			t.Errorf("%q is readable in %s", secret, stored)
		}
	}
	// Moved under another key, the answer opens for nobody.
	_, thief := begun(t, s, "thief", "key", "body")
	var record, theirs attemptRecord
	if err := json.Unmarshal(entry.Value, &theirs); err != nil {
		t.Fatal(err)
	}
	record = thief.record
	record.Answer = theirs.Answer
	value, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.answers.Put(t.Context(), thief.key, value, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, answer, err := s.Begin(t.Context(), "thief", "key", request("body")); answer != nil || !errors.Is(err, eventstore.ErrTampered) {
		t.Errorf("a moved answer: %v, %v", answer, err)
	}
}
