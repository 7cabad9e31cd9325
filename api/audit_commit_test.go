package api

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// One change that brings about others is read as a whole, page by page, and
// nothing of its neighbours with it.
func TestEntriesOfOneChange(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner, stranger := w.signUp(), w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "business"}, bearer(w.operator)).is(200)
	w.call("POST", team+"/roles", map[string]any{"name": "Night", "level": 2, "permissions": []string{"audit:read"}}, owner.auth()).is(201)
	for range 3 {
		w.join(owner, "night")
	}
	w.call("DELETE", team+"/roles/night?replacement=viewer", nil, owner.auth()).is(204)
	position := w.position()
	w.call("PATCH", team, map[string]any{"name": "Later"}, owner.auth()).is(200)

	path := fmt.Sprintf("%s/audit-events/%d", team, position)
	whole := w.call("GET", path, nil, owner.auth()).is(200)
	var actions []string
	for i := range whole.at("data").([]any) {
		actions = append(actions, whole.text("data", i, "action"))
	}
	if len(actions) != 4 || whole.text("page", "next_token") != "" {
		t.Fatalf("the change has %v and then %q", actions, whole.text("page", "next_token"))
	}
	var paged []string
	for next := "?limit=3"; next != "?"; {
		r := w.call("GET", path+next, nil, owner.auth()).is(200)
		for i := range r.at("data").([]any) {
			paged = append(paged, r.text("data", i, "action"))
		}
		if next = "?"; r.text("page", "next_token") != "" {
			next = "?limit=3&page_token=" + r.text("page", "next_token")
		}
	}
	if diff := cmp.Diff(actions, paged); diff != "" {
		t.Error(diff)
	}

	w.call("GET", team+"/audit-events/1", nil, owner.auth()).is(404, "not_found")
	w.call("GET", fmt.Sprintf("%s/audit-events/%d", team, position+100), nil, owner.auth()).is(404, "not_found")
	wantProblem(t, w.call("GET", team+"/audit-events/soon", nil, owner.auth()).is(422))
	wantProblem(t, w.call("GET", path, nil, stranger.auth()).is(404, "not_found"))
}
