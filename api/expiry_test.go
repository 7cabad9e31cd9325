package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// ask asks the access API about a member.
func (w *world) ask(by account, user, resource, action string, properties map[string]any) *reply {
	w.Helper()
	return w.call("POST", "/access/v1/evaluation", map[string]any{
		"subject": map[string]any{"type": "user", "id": user}, "action": map[string]any{"name": action},
		"resource": map[string]any{"type": resource, "properties": properties},
	}, by.auth()).is(200)
}

func TestAMembershipThatEnds(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	bob, cid := w.join(owner, "member"), w.join(owner, "viewer")
	team := "/v1/teams/" + owner.team
	expiry := team + "/members/" + bob.id + "/expiry"
	put := func(by account, at any) *reply {
		return w.call("PUT", expiry, map[string]any{"expires_at": at}, by.auth())
	}

	// What is refused names the field.
	for _, at := range []any{stamp(w.clock.now()), "0001-01-01T00:00:00Z", stamp(w.clock.now().AddDate(10, 0, 1)), "tomorrow", 7} {
		if r := put(owner, at).is(422); !strings.HasSuffix(r.text("errors", 0, "pointer"), "/expires_at") {
			t.Errorf("%v: %s", at, r.raw)
		}
	}
	w.call("PUT", expiry, map[string]any{}, owner.auth()).is(422)
	put(cid, nil).is(403, "not_permitted")
	w.call("PUT", team+"/members/"+owner.id+"/expiry", map[string]any{"expires_at": nil}, owner.auth()).is(409, "owner_is_permanent")
	w.call("PUT", team+"/members/"+bob.id+"/expiry", map[string]any{"expires_at": nil}, w.signUp().auth()).is(404)

	end := w.clock.now().Add(2 * time.Hour)
	if r := put(owner, stamp(end)).is(200); r.text("expires_at") != stamp(end) {
		t.Errorf("the answer is %s", r.raw)
	}
	if r := put(owner, nil).is(200); r.at("expires_at") != nil {
		t.Errorf("lasting again: %s", r.raw)
	}
	put(owner, stamp(end)).is(200)
	if r := w.call("GET", "/v1/me", nil, bob.auth()).is(200); r.text("teams", 0, "expires_at") != stamp(end) {
		t.Errorf("their own teams: %s", r.raw)
	}
	if r := w.ask(owner, bob.id, "team", "read", map[string]any{"team": owner.team}); r.at("decision") != true || r.text("context", "until") != stamp(end) {
		t.Errorf("a decision: %s", r.raw)
	}
	explain := team + "/explain?permission=team:read&user=" + bob.id
	if r := w.call("GET", explain, nil, owner.auth()).is(200); r.text("until") != stamp(end) || r.text("steps", 2, "action") != "expiry.changed" {
		t.Errorf("explained: %s", r.raw)
	}
	if r := w.call("GET", team+"/access-review", nil, owner.auth()).is(200); r.text("data", 1, "expires_at") != stamp(end) ||
		!strings.Contains(r.text("data", 1, "story", 2, "text"), "until "+stamp(end)) {
		t.Errorf("the report: %s", r.raw)
	}
	if csv := w.call("GET", team+"/access-review?format=csv", nil, owner.auth()).is(200); !strings.Contains(string(csv.raw), ","+stamp(end)+",") {
		t.Errorf("the report: %s", csv.raw)
	}

	// At the instant, and nobody sweeps.
	present := w.clock.now()
	w.clock.forward(end.Sub(present) + time.Second)
	w.call("GET", team, nil, bob.auth()).is(404, "not_found")
	w.call("GET", team+"/members/"+bob.id, nil, owner.auth()).is(404)
	put(owner, nil).is(404)
	if r := w.call("GET", team+"/members", nil, owner.auth()).is(200); slices.Contains(r.field("user_id"), bob.id) || len(r.field("user_id")) != 2 {
		t.Errorf("the members: %s", r.raw)
	}
	if r := w.call("GET", team, nil, owner.auth()).is(200); r.at("seats", "members") != 2.0 {
		t.Errorf("the seats: %s", r.raw)
	}
	if r := w.call("GET", "/v1/me", nil, bob.auth()).is(200); strings.Contains(string(r.raw), owner.team) {
		t.Errorf("their own teams: %s", r.raw)
	}
	w.call("PUT", "/v1/me/active-team", map[string]any{"team_id": owner.team}, bob.auth()).is(404)
	if r := w.ask(owner, bob.id, "team", "read", map[string]any{"team": owner.team}); r.at("decision") != false || r.text("context", "reason") != "not_a_member" {
		t.Errorf("a decision: %s", r.raw)
	}
	if r := w.call("POST", "/access/v1/search/subject", map[string]any{
		"subject": map[string]any{"type": "user"}, "action": map[string]any{"name": "read"},
		"resource": map[string]any{"type": "team", "properties": map[string]any{"team": owner.team}},
	}, owner.auth()).is(200); strings.Contains(string(r.raw), bob.id) || !strings.Contains(string(r.raw), cid.id) {
		t.Errorf("who may: %s", r.raw)
	}

	// The past stays as it was, on either side of the instant.
	then := "&as_of=" + stamp(present)
	if r := w.call("GET", explain+then, nil, owner.auth()).is(200); r.at("allowed") != true || r.text("until") != stamp(end) {
		t.Errorf("then: %s", r.raw)
	}
	if r := w.call("GET", explain+"&as_of="+stamp(end), nil, owner.auth()).is(200); r.at("allowed") != false {
		t.Errorf("at the end: %s", r.raw)
	}
	if r := w.call("GET", team+"/members?"+then[1:], nil, owner.auth()).is(200); len(r.field("user_id")) != 3 || r.text("data", 1, "expires_at") != stamp(end) {
		t.Errorf("the members then: %s", r.raw)
	}
	if r := w.call("GET", team+"/members?as_of="+stamp(end), nil, owner.auth()).is(200); len(r.field("user_id")) != 2 {
		t.Errorf("the members at the end: %s", r.raw)
	}
	if r := w.call("GET", team+"/diff?from="+stamp(present), nil, owner.auth()).is(200); r.text("changes", 0, "id") != bob.id || r.text("changes", 0, "change") != "removed" {
		t.Errorf("what changed: %s", r.raw)
	}

	// They can come back, for a while again.
	again := w.clock.now().Add(time.Hour)
	r := w.call("POST", team+"/invitations", map[string]any{"email": bob.email, "role": "viewer", "access_expires_at": stamp(again)}, owner.auth()).is(201)
	if r.text("access_expires_at") != stamp(again) || r.text("expires_at") != stamp(again) {
		t.Errorf("the invitation: %s", r.raw)
	}
	link := "/v1/invitations/" + tokenOf(r)
	if r := w.call("GET", link, nil, bob.auth()).is(200); r.text("access_expires_at") != stamp(again) {
		t.Errorf("the link: %s", r.raw)
	}
	w.call("POST", link+"/accept", map[string]any{}, bob.auth()).is(200)
	if r := w.call("GET", team+"/members/"+bob.id, nil, owner.auth()).is(200); r.text("expires_at") != stamp(again) || r.text("role") != "viewer" {
		t.Errorf("back: %s", r.raw)
	}
	log := w.call("GET", team+"/audit-events?limit=2", nil, owner.auth()).is(200)
	if fmt.Sprint(log.field("action")) != "[member.joined member.expired]" || log.text("data", 1, "actor", "type") != "system" ||
		log.text("data", 1, "before", "expires_at") != stamp(end) || log.text("data", 0, "actor", "id") != bob.id {
		t.Errorf("the log: %s", log.raw)
	}
}

func TestRolesOnSitesAndOverridesThatEnd(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	bob := w.join(owner, "member")
	team := "/v1/teams/" + owner.team
	member := team + "/members/" + bob.id
	site := w.call("POST", team+"/sites", map[string]any{"name": "North"}, owner.auth()).is(201).text("id")
	first, second := w.clock.now().Add(time.Hour), w.clock.now().Add(2*time.Hour)

	for _, c := range []struct {
		path, pointer string
		body          map[string]any
	}{
		{"/sites", "#/sites", map[string]any{"sites": []any{map[string]any{"site_id": site, "role": "member", "expires_at": "2001-01-01T00:00:00Z"}}}},
		{"/permissions", "#/expires_at", map[string]any{"granted": []string{"billing:read"}, "revoked": []string{}, "expires_at": "2001-01-01T00:00:00Z"}},
		{"/permissions", "#/expirations", map[string]any{"granted": []string{"billing:read"}, "revoked": []string{}, "expirations": map[string]any{"billing:read": "2001-01-01T00:00:00Z"}}},
		{"/permissions", "#/expirations", map[string]any{"granted": []string{"billing:read"}, "revoked": []string{}, "expirations": map[string]any{"orders:read": stamp(first)}}},
	} {
		if r := w.call("PUT", member+c.path, c.body, owner.auth()).is(422); r.text("errors", 0, "pointer") != c.pointer {
			t.Errorf("%v: %s", c.body, r.raw)
		}
	}
	r := w.call("PUT", member+"/sites", map[string]any{"sites": []any{map[string]any{"site_id": site, "role": "member", "expires_at": stamp(second)}}}, owner.auth()).is(200)
	if r.text("sites", 0, "expires_at") != stamp(second) {
		t.Errorf("sites: %s", r.raw)
	}
	r = w.call("PUT", member+"/permissions", map[string]any{
		"granted": []string{"billing:read"}, "revoked": []string{"team:read"}, "expires_at": stamp(first), "expirations": map[string]any{"team:read": stamp(second)},
	}, owner.auth()).is(200)
	if r.text("overrides", "expirations", "billing:read") != stamp(first) || r.text("overrides", "expirations", "team:read") != stamp(second) {
		t.Errorf("overrides: %s", r.raw)
	}
	may := func(resource, action, until string) bool {
		t.Helper()
		r := w.ask(owner, bob.id, resource, action, map[string]any{"team": owner.team, "site": site})
		got, _ := r.at("context").(map[string]any)["until"].(string)
		if got != until {
			t.Errorf("%s:%s until %q, want %q", resource, action, got, until)
		}
		return r.at("decision") == true
	}
	if !may("billing", "read", stamp(first)) || may("team", "read", stamp(second)) || !may("orders", "read", stamp(second)) {
		t.Error("before the first end")
	}
	w.clock.forward(time.Hour)
	if may("billing", "read", "") || may("team", "read", stamp(second)) || !may("orders", "read", stamp(second)) {
		t.Error("after the first end")
	}
	r = w.call("GET", member, nil, owner.auth()).is(200)
	if fmt.Sprint(r.at("overrides", "granted")) != "[]" || len(r.at("sites").([]any)) != 1 {
		t.Errorf("after the first end: %s", r.raw)
	}
	w.clock.forward(time.Hour)
	if may("billing", "read", "") || !may("team", "read", "") || may("orders", "read", "") {
		t.Error("after the second end")
	}
	var live, then map[string]any
	r = w.call("GET", member, nil, owner.auth()).is(200)
	if fmt.Sprint(r.at("overrides")) != "map[granted:[] revoked:[]]" || len(r.at("sites").([]any)) != 0 {
		t.Errorf("after the second end: %s", r.raw)
	}
	past := w.call("GET", member+"?as_of="+stamp(w.clock.now()), nil, owner.auth()).is(200)
	if err := json.Unmarshal(r.raw, &live); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(past.raw, &then); err != nil || fmt.Sprint(live["sites"], live["overrides"]) != fmt.Sprint(then["sites"], then["overrides"]) {
		t.Errorf("as of now: %s", past.raw)
	}
	if list := w.call("GET", team+"/sites", nil, bob.auth()).is(200); len(list.field("id")) != 0 {
		t.Errorf("the sites that they reach: %s", list.raw)
	}
	// A change puts the ends on record with it.
	w.call("PUT", member+"/sites", map[string]any{"sites": []any{map[string]any{"site_id": site, "role": "viewer"}}}, owner.auth()).is(200)
	log := w.call("GET", team+"/audit-events?limit=3", nil, owner.auth()).is(200)
	if fmt.Sprint(log.field("action")) != "[sites.changed permissions.expired sites.expired]" {
		t.Errorf("the log: %s", log.raw)
	}
}

// An open stream ends with the membership of its reader, by a timer: nothing
// else wakes it here.
func TestAStreamEndsWithTheMembership(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	w.server.streams.beat = time.Hour
	owner := w.signUp()
	bob := w.join(owner, "admin")
	team := "/v1/teams/" + owner.team
	end := w.clock.now().Add(time.Second)
	w.call("PUT", team+"/members/"+bob.id+"/expiry", map[string]any{"expires_at": stamp(end)}, owner.auth()).is(200)
	stream := w.watch(team+"/changes", bob.auth())
	stream.wantEnd("not_found")
	if now := w.clock.now(); now.Before(end) {
		t.Errorf("it ended %v too soon", end.Sub(now))
	}
	if again := w.try(team+"/changes", bob.auth()); again.answer.StatusCode != http.StatusNotFound {
		t.Errorf("opened again: %d", again.answer.StatusCode)
	}
	// The end moves with the membership, while the stream is open.
	cid := w.join(owner, "admin")
	set := func(at time.Time) {
		w.call("PUT", team+"/members/"+cid.id+"/expiry", map[string]any{"expires_at": stamp(at)}, owner.auth()).is(200)
	}
	set(w.clock.now().Add(time.Hour))
	stream = w.watch(team+"/changes", cid.auth())
	end = w.clock.now().Add(time.Second)
	set(end)
	if before, last := stream.until("end"); len(before) != 1 || last.data["reason"] != "not_found" || w.clock.now().Before(end) {
		t.Errorf("it ended with %v after %v", last, before)
	}
}
