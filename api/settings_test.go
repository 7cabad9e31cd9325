package api

import (
	"testing"
	"time"
)

// What anybody may know before they are in a team: the words and plans of a new
// one.
func TestStandardCatalog(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	r := w.call("GET", "/v1/catalog", nil).is(200)
	if r.text("name") != "dzbuild" || r.text("labels", "team") != "account" || r.text("plans", 1, "key") != "pro" {
		t.Errorf("%s", r.raw)
	}
}

// A transfer that waits is seen by the owner, who may cancel it, and by the one
// who was chosen, and by nobody else.
func TestPendingTransferIsListed(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	transfers := "/v1/teams/" + owner.team + "/ownership-transfers"
	ann, bob := w.join(owner, "admin"), w.join(owner, "admin")
	pending := func(by account) []any { return w.call("GET", transfers, nil, by.auth()).is(200).at("data").([]any) }
	if all := pending(owner); len(all) != 0 {
		t.Errorf("before any: %v", all)
	}
	asked := w.call("POST", transfers, map[string]any{"user_id": ann.id, "password": password}, owner.auth()).is(201)
	for _, by := range []account{owner, ann} {
		all := pending(by)
		if len(all) != 1 || all[0].(map[string]any)["id"] != asked.text("id") || all[0].(map[string]any)["user_id"] != ann.id {
			t.Errorf("%v", all)
		}
	}
	wantProblem(t, w.call("GET", transfers, nil, bob.auth()).is(403, "not_permitted"))
	w.clock.forward(72 * time.Hour)
	again := w.call("POST", "/v1/sessions", map[string]any{"email": owner.email, "password": password}).is(201)
	if all := w.call("GET", transfers, nil, bearer(again.text("token"))).is(200).at("data").([]any); len(all) != 0 {
		t.Errorf("once expired: %v", all)
	}
}

// The list of sites says how many members have a role on each, to those who may
// list members; the list of keys says who made them.
func TestSitesAndKeysAreDescribed(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "enterprise"}, bearer(w.operator)).is(200)
	north := w.call("POST", team+"/sites", map[string]any{"name": "North"}, owner.auth()).is(201).text("id")
	w.call("POST", team+"/sites", map[string]any{"name": "South"}, owner.auth()).is(201)
	operator := w.join(owner, "operator")
	w.call("PUT", team+"/members/"+operator.id+"/sites", map[string]any{"sites": []any{map[string]any{"site_id": north, "role": "operator"}}}, owner.auth()).is(200)
	sites := w.call("GET", team+"/sites", nil, owner.auth()).is(200)
	if sites.at("data", 0, "members") != 1.0 || sites.at("data", 1, "members") != 0.0 {
		t.Errorf("%s", sites.raw)
	}
	own := w.call("GET", team+"/sites", nil, operator.auth()).is(200)
	if _, told := own.at("data", 0).(map[string]any)["members"]; told || len(own.at("data").([]any)) != 1 {
		t.Errorf("an operator, who can't list members, is told %s", own.raw)
	}

	w.call("POST", team+"/api-keys", map[string]any{"name": "Import", "role": "operator"}, owner.auth()).is(201)
	by := w.call("GET", team+"/api-keys", nil, owner.auth()).is(200).at("data", 0, "created_by").(map[string]any)
	if by["id"] != owner.id || by["name"] != w.call("GET", "/v1/me", nil, owner.auth()).text("user", "name") || by["email"] != nil {
		t.Errorf("created by %v", by)
	}
}
