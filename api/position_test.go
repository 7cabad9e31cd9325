package api

import (
	"strconv"
	"testing"
)

func TestWritesSayWhereTheyStandAndReadsWaitForIt(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	for range 20 {
		wrote := w.call("POST", "/v1/teams/"+owner.team+"/api-keys", map[string]any{"name": "k", "role": "MEMBER"}, owner.auth()).is(201)
		if wrote.position() != w.position() {
			t.Fatalf("Roster-Position %d, the event is at %d", wrote.position(), w.position())
		}
		at := strconv.FormatUint(wrote.position(), 10)
		for _, path := range []string{"/audit-events?limit=1", "/members", "", "/api-keys"} {
			read := w.call("GET", "/v1/teams/"+owner.team+path, nil, owner.auth(), header("Roster-At-Least", at)).is(200)
			if path != "" && path != "/api-keys" && read.position() < wrote.position() {
				t.Errorf("GET %s is at %d, asked for %s", path, read.position(), at)
			}
		}
	}
}

func TestWhoWritesSeesItWithoutAsking(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	for i := range 8 {
		email := newEmail()
		invited := w.call("POST", "/v1/teams/"+owner.team+"/invitations", map[string]any{"email": email, "role": "MEMBER"}, owner.auth()).is(201)
		pending := w.call("GET", "/v1/teams/"+owner.team+"/invitations", nil, owner.auth()).is(200)
		if pending.text("data", 0, "id") != invited.text("id") || pending.text("data", 0, "url") != invited.text("url") {
			t.Fatalf("invitation %d isn't listed", i)
		}
		w.call("DELETE", "/v1/teams/"+owner.team+"/invitations/"+invited.text("id"), nil, owner.auth()).is(204)
		log := w.call("GET", "/v1/teams/"+owner.team+"/audit-events", nil, owner.auth()).is(200)
		if log.text("data", 0, "action") != "invitation.cancelled" {
			t.Fatalf("cancellation %d isn't in the log", i)
		}
	}
	// Also what somebody wrote before they had a name here.
	joined := w.join(owner, "MEMBER")
	me := w.call("GET", "/v1/me", nil, joined.auth()).is(200)
	if me.text("teams", 0, "id") != owner.team {
		t.Error("who has just joined doesn't see the team")
	}
}

func TestPositionsThatDoNotExistYet(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	for _, path := range []string{"/members", ""} {
		t.Run("GET team"+path, func(t *testing.T) {
			t.Parallel() // each waits for the full five seconds
			r := w.call("GET", "/v1/teams/"+owner.team+path, nil, owner.auth(), header("Roster-At-Least", "18446744073709551615")).is(503, "read_model_behind")
			wantProblem(t, r)
			if r.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

func TestIfMatch(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	read := w.call("GET", team, nil, owner.auth()).is(200)
	tag := read.header.Get("Etag")
	if tag == "" {
		t.Fatal("no ETag")
	}
	wrote := w.call("PATCH", team, map[string]any{"name": "First"}, owner.auth(), header("If-Match", tag)).is(200)
	before := w.position()
	wantProblem(t, w.call("PATCH", team, map[string]any{"name": "Second"}, owner.auth(), header("If-Match", tag)).is(412, "version_conflict"))
	if w.position() != before {
		t.Error("a stale write left events")
	}
	w.call("PATCH", team, map[string]any{"name": "Second"}, owner.auth(), header("If-Match", wrote.header.Get("Etag"))).is(200)
	w.call("PATCH", team, map[string]any{"name": "Third"}, owner.auth(), header("If-Match", "*")).is(200)
}
