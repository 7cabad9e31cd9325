package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a change would do is told without doing it, and is what it then does.
func TestWhatIf(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	ask := func(by account, question map[string]any) *reply {
		return w.call("POST", team+"/what-if", question, by.auth())
	}
	site := w.call("POST", team+"/sites", map[string]any{"name": "North"}, owner.auth()).is(201).text("id")
	w.call("POST", team+"/roles", map[string]any{"key": "picker", "name": "Picker", "level": 10, "permissions": []string{"team:read", "orders:read"}}, owner.auth()).is(201)
	ann, bob := w.join(owner, "picker"), w.join(owner, "viewer")
	w.call("PUT", team+"/members/"+ann.id+"/sites", map[string]any{"sites": []any{map[string]any{"site_id": site, "role": "picker"}}}, owner.auth()).is(200)
	before := w.position()

	r := ask(owner, map[string]any{"edit_role": map[string]any{"key": "picker", "permissions": []string{"members:read", "orders:read", "orders:update"}}}).is(200)
	want := []any{
		map[string]any{
			"who":    map[string]any{"type": "user", "id": ann.id, "name": "A Member", "email": ann.email},
			"gained": []any{"members:read"}, "lost": []any{"team:read"},
		},
		map[string]any{
			"who":     map[string]any{"type": "user", "id": ann.id, "name": "A Member", "email": ann.email},
			"site_id": site, "site_name": "North", "gained": []any{"orders:update"}, "lost": []any{},
		},
	}
	if diff := cmp.Diff(want, r.at("effects")); diff != "" || r.at("total") != 2.0 {
		t.Error(diff, r.at("total"))
	}
	removal := ask(owner, map[string]any{"remove_member": map[string]any{"user_id": bob.id}}).is(200)
	if diff := cmp.Diff([]any{"team:read", "members:read"}, removal.at("effects", 0, "lost")); diff != "" || removal.at("total") != 1.0 {
		t.Error(diff, string(removal.raw))
	}
	if r := ask(owner, map[string]any{"change_role": map[string]any{"user_id": bob.id, "role": "viewer"}}).is(200); r.at("total") != 0.0 {
		t.Errorf("what is so already has effects: %s", r.raw)
	}

	// What the change would refuse is refused.
	wantProblem(t, ask(bob, map[string]any{"change_role": map[string]any{"user_id": ann.id, "role": "admin"}}).is(403, "not_permitted"))
	wantProblem(t, ask(owner, map[string]any{"delete_role": map[string]any{"key": "picker"}}).is(409, "role_in_use"))
	wantProblem(t, ask(owner, map[string]any{"change_role": map[string]any{"user_id": owner.id, "role": "admin"}}).is(409, "owner_is_permanent"))
	wantProblem(t, ask(owner, map[string]any{}).is(422))
	wantProblem(t, ask(owner, map[string]any{"remove_member": map[string]any{"user_id": ann.id}, "remove_site": map[string]any{"site_id": site}}).is(422))
	ask(w.signUp(), map[string]any{"remove_member": map[string]any{"user_id": ann.id}}).is(404)

	// Nothing has changed but that somebody signed up.
	if log := w.call("GET", team+"/audit-events?limit=1", nil, owner.auth()).is(200); log.at("data", 0, "position").(float64) > float64(before) {
		t.Errorf("%s", log.raw)
	}
}

func TestUndo(t *testing.T) {
	w := newWorld(t, options{catalog: "tenants"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	vera := w.join(owner, "viewer")
	undo := func(by account, event string) *reply {
		return w.call("POST", team+"/undo", map[string]any{"event_id": event}, by.auth())
	}
	latest := func(action string) string {
		return w.call("GET", team+"/audit-events?limit=1&action="+action, nil, owner.auth()).is(200).text("data", 0, "id")
	}
	w.call("PUT", team+"/members/"+vera.id+"/role", map[string]any{"role": "admin"}, owner.auth()).is(200)
	promotion := latest("role.changed")

	wantProblem(t, undo(vera, promotion).is(403, "rank_too_low"))
	undo(w.signUp(), promotion).is(404)
	wantProblem(t, undo(owner, "evt_00000000000000000000000000").is(404))
	r := undo(owner, promotion).is(200)
	if r.text("actions", 0) != "role.changed" || r.header.Get("Roster-Position") == "" {
		t.Errorf("%s", r.raw)
	}
	if got := w.call("GET", team+"/members/"+vera.id, nil, owner.auth()).is(200).text("role"); got != "viewer" {
		t.Errorf("vera is %s", got)
	}
	wantProblem(t, undo(owner, promotion).is(409, "changed_since"))
	// An undoing is undone like anything else.
	undo(owner, latest("role.changed")).is(200)
	if got := w.call("GET", team+"/members/"+vera.id, nil, owner.auth()).is(200).text("role"); got != "admin" {
		t.Errorf("vera is %s", got)
	}
	wantProblem(t, undo(owner, latest("member.joined")).is(409, "not_undoable"))
}
