package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func (r *reply) keys() (keys []string) {
	for i := range r.at("data").([]any) {
		keys = append(keys, r.text("data", i, "key"))
	}
	return keys
}

// A role of a team's own, from its definition to its deletion.
func TestOwnRoles(t *testing.T) {
	w := newWorld(t, options{catalog: "tenants"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	admin, vera := w.join(owner, "admin"), w.join(owner, "viewer")
	may := func(who account, resource, action string) bool {
		r := w.call("POST", "/access/v1/evaluation", map[string]any{
			"subject": map[string]any{"type": "user", "id": who.id}, "action": map[string]any{"name": action},
			"resource": map[string]any{"type": resource, "properties": map[string]any{"team": owner.team}},
		}, owner.auth()).is(200)
		return r.at("decision") == true
	}
	desk := map[string]any{"name": "Trade desk", "description": "Trades for others.", "level": 2, "permissions": []string{"trades:create", "trades:read", "team:read"}}

	wantProblem(t, w.call("POST", team+"/roles", desk, admin.auth()).is(403, "not_permitted"))
	wantProblem(t, w.call("POST", team+"/roles", map[string]any{"name": "Trade desk", "level": 9, "permissions": []string{}}, owner.auth()).is(403, "rank_too_low"))
	wantProblem(t, w.call("POST", team+"/roles", map[string]any{"name": "Trade desk", "level": 2, "permissions": []string{"no:such"}}, owner.auth()).is(422))
	wantProblem(t, w.call("POST", team+"/roles", map[string]any{"name": "Trade desk", "level": 2, "permissions": []string{}, "own": true}, owner.auth()).is(422))
	r := w.call("POST", team+"/roles", desk, owner.auth(), header("Idempotency-Key", "desk")).is(201)
	if r.text("key") != "trade_desk" || r.at("custom") != true || r.at("assignable") != true || r.at("level") != 2.0 || r.header.Get("Etag") == "" {
		t.Errorf("%s", r.raw)
	}
	if again := w.call("POST", team+"/roles", desk, owner.auth(), header("Idempotency-Key", "desk")).is(201); string(again.raw) != string(r.raw) {
		t.Error("the repetition differs")
	}
	w.call("POST", team+"/roles", desk, owner.auth()).is(409, "name_taken")
	want := []string{"owner", "admin", "manager", "member", "trade_desk", "viewer"}
	if got := w.call("GET", team+"/roles", nil, vera.auth()).is(200).keys(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	defined := w.position()

	w.call("PUT", team+"/members/"+vera.id+"/role", map[string]any{"role": "trade_desk"}, owner.auth()).is(200)
	if !may(vera, "trades", "create") || may(vera, "wallet", "read") {
		t.Error("the role isn't what it says")
	}
	w.call("PATCH", team+"/roles/trade_desk", map[string]any{"permissions": []string{"wallet:read"}}, admin.auth()).is(403)
	edited := w.call("PATCH", team+"/roles/trade_desk", map[string]any{"permissions": []string{"wallet:read"}}, owner.auth()).is(200)
	if edited.text("name") != "Trade desk" || edited.text("description") != "Trades for others." {
		t.Errorf("more was changed than was asked for: %s", edited.raw)
	}
	if may(vera, "trades", "create") || !may(vera, "wallet", "read") {
		t.Error("the edit doesn't act at once")
	}
	w.call("PATCH", team+"/roles/viewer", map[string]any{"level": 1}, owner.auth()).is(409, "role_is_fixed")
	w.call("PATCH", team+"/roles/none", map[string]any{"level": 1}, owner.auth()).is(404)

	invited := w.call("POST", team+"/invitations", map[string]any{"email": "desk@example.com", "role": "trade_desk"}, owner.auth()).is(201)
	refused := w.call("DELETE", team+"/roles/trade_desk", nil, owner.auth()).is(409, "role_in_use")
	if refused.at("holders") != 2.0 || refused.text("members", 0) != vera.id || refused.text("invitations", 0) != invited.text("id") {
		t.Errorf("%s", refused.raw)
	}
	wantProblem(t, w.call("DELETE", team+"/roles/trade_desk?replacement=none", nil, owner.auth()).is(422))
	w.call("DELETE", team+"/roles/trade_desk?replacement=viewer", nil, owner.auth()).is(204)
	if got := w.call("GET", team+"/members/"+vera.id, nil, owner.auth()).is(200).text("role"); got != "viewer" {
		t.Errorf("vera is %s", got)
	}
	if got := w.call("GET", team+"/invitations", nil, owner.auth()).is(200).text("data", 0, "role"); got != "viewer" {
		t.Errorf("the invitation is for a %s", got)
	}
	if got := w.call("GET", team+"/roles", nil, owner.auth()).is(200).keys(); slices.Contains(got, "trade_desk") {
		t.Errorf("%v", got)
	}
	// The past keeps it, and the audit log tells all of it.
	if got := w.call("GET", fmt.Sprintf("%s/roles?at=%d", team, defined), nil, owner.auth()).is(200).keys(); !slices.Equal(got, want) {
		t.Errorf("then %v, want %v", got, want)
	}
	log := w.call("GET", team+"/audit-events?action=role.defined,role.edited,role.deleted", nil, owner.auth()).is(200)
	var actions []string
	for i := range log.at("data").([]any) {
		actions = append(actions, log.text("data", i, "action"))
	}
	if !slices.Equal(actions, []string{"role.deleted", "role.edited", "role.defined"}) {
		t.Errorf("%s", log.raw)
	}
}

// What the caller may give and how is told with each role, and the permissions
// they may grant with a member whom they may change.
func TestWhatMayBeGiven(t *testing.T) {
	w := newWorld(t, options{catalog: "tenants"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	admin, manager := w.join(owner, "admin"), w.join(owner, "manager")
	ways := func(who account) (all []string) {
		r := w.call("GET", team+"/roles", nil, who.auth()).is(200)
		for i := range r.at("data").([]any) {
			all = append(all, fmt.Sprintf("%v %v %v", r.at("data", i, "key"), r.at("data", i, "assignable"), r.at("data", i, "assignable_for")))
		}
		return all
	}
	// An admin may invite an admin, and makes nobody one who is there.
	want := []string{"owner false []", "admin true [invite]", "manager true [invite change_role]", "member true [invite change_role]", "viewer true [invite change_role]"}
	if got := ways(admin); !slices.Equal(got, want) {
		t.Errorf("an admin gives %v, want %v", got, want)
	}
	if got := ways(manager); slices.ContainsFunc(got, func(role string) bool { return !strings.HasSuffix(role, "false []") }) {
		t.Errorf("a manager gives %v", got)
	}

	path := team + "/members/" + manager.id
	w.call("PUT", team+"/members/"+admin.id+"/permissions", map[string]any{"granted": []string{}, "revoked": []string{"wallet:delete"}}, owner.auth()).is(200)
	grantable := fmt.Sprint(w.call("GET", path, nil, admin.auth()).is(200).at("grantable"))
	if !strings.Contains(grantable, "wallet:update") || strings.Contains(grantable, "wallet:delete") || strings.Contains(grantable, "roles:define") {
		t.Errorf("an admin may grant %s", grantable)
	}
	for _, r := range []*reply{w.call("GET", path, nil, manager.auth()).is(200), w.call("GET", team+"/members", nil, admin.auth()).is(200)} {
		if strings.Contains(string(r.raw), "grantable") {
			t.Errorf("%s", r.raw)
		}
	}

	w = newWorld(t, options{catalog: "dzbuild"})
	owner = w.signUp()
	r := w.call("GET", "/v1/teams/"+owner.team+"/roles", nil, owner.auth()).is(200)
	for i, want := range []string{"owner true []", "admin true [invite change_role grant_sites]", "manager false [invite change_role grant_sites]"} {
		if got := fmt.Sprintf("%v %v %v", r.at("data", i, "key"), r.at("data", i, "all_sites"), r.at("data", i, "assignable_for")); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
