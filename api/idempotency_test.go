package api

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"

	"roster/domain"
)

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	path := "/v1/teams/" + owner.team + "/invitations"
	invite := func(email, key string, changes ...with) *reply {
		changes = append(changes, header("Idempotency-Key", key))
		return w.call("POST", path, map[string]any{"email": email, "role": "MEMBER"}, changes...)
	}

	email := newEmail()
	first := invite(email, "k1", owner.auth()).is(201)
	after := w.position()
	again := invite(email, "k1", owner.auth()).is(201)
	if string(again.raw) != string(first.raw) {
		t.Errorf("the second answer is\n%s, the first was\n%s", again.raw, first.raw)
	}
	for _, name := range []string{"Roster-Position", "Etag", "Content-Type"} {
		if again.header.Get(name) != first.header.Get(name) || first.header.Get(name) == "" {
			t.Errorf("%s: %q then %q", name, first.header.Get(name), again.header.Get(name))
		}
	}
	if w.position() != after {
		t.Error("the repetition left events")
	}

	wantProblem(t, invite(newEmail(), "k1", owner.auth()).is(422, "idempotency_key_reused"))
	w.call("PATCH", "/v1/teams/"+owner.team, map[string]any{"name": "X"}, owner.auth(), header("Idempotency-Key", "k1")).is(422, "idempotency_key_reused")
	other := w.signUp()
	w.call("POST", "/v1/teams/"+other.team+"/invitations", map[string]any{"email": email, "role": "MEMBER"}, other.auth(), header("Idempotency-Key", "k1")).is(201)

	// A refusal is an answer too, and stays the answer.
	refused := invite(email, "k2", owner.auth()).is(409, "already_invited")
	w.call("DELETE", path+"/"+first.text("id"), nil, owner.auth()).is(204)
	if again := invite(email, "k2", owner.auth()).is(409, "already_invited"); string(again.raw) != string(refused.raw) {
		t.Errorf("the refusal changed from\n%s to\n%s", refused.raw, again.raw)
	}
	invite(email, "k3", owner.auth()).is(201)

	// Also when the request itself has shut the caller out.
	gone := w.signUp()
	for range 2 {
		w.call("DELETE", "/v1/teams/"+gone.team, nil, gone.auth(), header("Idempotency-Key", "once")).is(204)
	}
	w.call("DELETE", "/v1/teams/"+gone.team, nil, gone.auth(), header("Idempotency-Key", "twice")).is(404)

	// What is about the try and not about the request may be tried again.
	invite(email, "k4", bearer("nonsense")).is(401)
	invite(email, "k4", bearer("nonsense")).is(401)
}

func TestIdempotencyKeyWithoutACredential(t *testing.T) {
	w := newWorld(t, options{})
	body := map[string]any{"email": newEmail(), "name": "A", "password": password}
	first := w.call("POST", "/v1/users", body, header("Idempotency-Key", "sign-up")).is(201)
	again := w.call("POST", "/v1/users", body, header("Idempotency-Key", "sign-up")).is(201)
	if string(first.raw) != string(again.raw) || first.header.Get("Set-Cookie") != again.header.Get("Set-Cookie") || again.header.Get("Set-Cookie") == "" {
		t.Error("the second answer differs from the first")
	}
	w.call("GET", "/v1/me", nil, bearer(again.text("session", "token"))).is(200)
	body["name"] = "B"
	w.call("POST", "/v1/users", body, header("Idempotency-Key", "sign-up")).is(422, "idempotency_key_reused")

	// A wrong password is no lasting answer.
	signIn := map[string]any{"email": body["email"], "password": "not the password"}
	w.call("POST", "/v1/sessions", signIn, header("Idempotency-Key", "in")).is(401, "invalid_credentials")
	signIn["password"] = password
	w.call("POST", "/v1/sessions", signIn, header("Idempotency-Key", "in")).is(201)
}

func TestIdempotencyKeyInParallel(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	email := newEmail()
	before := w.position()
	var mu sync.Mutex
	statuses := map[string]int{}
	bodies := map[string]bool{}
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			r := w.call("POST", "/v1/teams/"+owner.team+"/invitations", map[string]any{"email": email, "role": "MEMBER"},
				owner.auth(), header("Idempotency-Key", "parallel"))
			mu.Lock()
			defer mu.Unlock()
			code, _ := r.body["code"].(string)
			statuses[fmt.Sprint(r.status, code)]++
			if r.status == 201 {
				bodies[string(r.raw)] = true
			}
		})
	}
	all.Wait()
	if len(bodies) != 1 || statuses["201"]+statuses["409request_in_flight"] != 32 {
		t.Errorf("%v, %d different answers", statuses, len(bodies))
	}
	if w.position() != before+1 {
		t.Errorf("%d events", w.position()-before)
	}
}

func TestBulkInvitationsAreRepeatable(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	var people []map[string]any
	for i := range 12 { // the plan has 10 seats, the owner included
		people = append(people, map[string]any{"email": newEmail(), "role": []string{"MEMBER", "OWNER"}[i/11]})
	}
	people[1] = people[0]
	bulk := func() *reply {
		return w.call("POST", "/v1/teams/"+owner.team+"/invitations/bulk", map[string]any{"invitations": people}, owner.auth(), header("Idempotency-Key", "bulk")).is(200)
	}
	first := bulk()
	var outcomes []string
	for i := range people {
		if first.at("data", i, "status") == 201.0 {
			outcomes = append(outcomes, "ok")
			continue
		}
		outcomes = append(outcomes, first.text("data", i, "error", "code"))
	}
	want := "ok already_invited ok ok ok ok ok ok ok ok seat_limit_reached role_not_assignable"
	if got := strings.Join(outcomes, " "); got != want {
		t.Errorf("outcomes %s\nwant     %s", got, want)
	}
	after := w.position()
	if again := bulk(); string(again.raw) != string(first.raw) || w.position() != after {
		t.Error("the repetition differs")
	}
}

// A try that deleted the team and died before it answered has shut its caller
// out; whoever repeats it is answered all the same.
func TestRepetitionAfterADeathThatShutTheCallerOut(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	path := "/v1/teams/" + owner.team
	token := credential{token: owner.token}
	fingerprint := sha256.Sum256([]byte("DELETE\x00" + path + "\x00\x00"))
	ctx, attempt, _, err := w.service.Begin(t.Context(), token.scope(), "delete", fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	caller, err := w.service.Authenticate(ctx, owner.token)
	if err != nil {
		t.Fatal(err)
	}
	done, err := w.service.DeleteTeam(ctx, caller, domain.TeamID(owner.team))
	if err != nil {
		t.Fatal(err)
	}
	if err := attempt.Release(t.Context()); err != nil {
		t.Fatal(err)
	}

	r := w.call("DELETE", path, nil, owner.auth(), header("Idempotency-Key", "delete")).is(204)
	if want := fmt.Sprint(done.Position); r.header.Get("Roster-Position") != want {
		t.Errorf("at position %s, but it was done at %s", r.header.Get("Roster-Position"), want)
	}
	// For somebody who never was in it, there is no such team.
	stranger := w.signUp()
	token = credential{token: stranger.token}
	_, attempt, _, err = w.service.Begin(t.Context(), token.scope(), "delete", fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	if err := attempt.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.call("DELETE", path, nil, stranger.auth(), header("Idempotency-Key", "delete")).is(404)
}
