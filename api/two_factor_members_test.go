package api

import (
	"fmt"
	"testing"
)

// Who may manage the team's security sees who lacks a second factor, and nobody
// else does.
func TestMembersListShowsWhoHasASecondFactor(t *testing.T) {
	c := newTenant(t)
	c.protect(c.in["manager"])
	key := c.call("POST", c.path+"/api-keys", map[string]any{"name": "CI", "role": "admin"}, c.owner.auth()).is(201).text("secret")
	list := func(by with) (shown string) {
		r := c.call("GET", c.path+"/members", nil, by, header("Roster-At-Least", fmt.Sprint(c.world.position()))).is(200)
		for i := range r.at("data").([]any) {
			shown += fmt.Sprint(r.at("data", i, "two_factor"), " ")
			one := c.call("GET", c.path+"/members/"+r.text("data", i, "user_id"), nil, by).is(200)
			if fmt.Sprint(one.at("two_factor")) != fmt.Sprint(r.at("data", i, "two_factor")) {
				t.Errorf("one member and the list differ: %s", one.raw)
			}
		}
		return shown
	}
	const all, nothing = "false false true false false ", "<nil> <nil> <nil> <nil> <nil> " // owner, admin, manager, member, viewer
	for name, by := range map[string]struct {
		auth with
		want string
	}{
		"the owner": {c.owner.auth(), all}, "an admin": {c.in["admin"].auth(), all}, "the operator": {bearer(c.operator), all},
		"an API key of an admin": {bearer(key), all}, "a manager, of themselves too": {c.in["manager"].auth(), nothing}, "a viewer": {c.in["viewer"].auth(), nothing},
	} {
		if got := list(by.auth); got != by.want {
			t.Errorf("%s sees %s, want %s", name, got, by.want)
		}
	}
	// It goes by the permission, and what was is not told.
	c.override(c.in["viewer"], []string{"settings:update"}, nil).is(200)
	if got := list(c.in["viewer"].auth()); got != all {
		t.Errorf("a viewer who manages security sees %s", got)
	}
	then := c.call("GET", c.path+"/members?at="+fmt.Sprint(c.world.position()), nil, c.owner.auth()).is(200)
	if then.at("data", 0, "two_factor") != nil {
		t.Errorf("%s", then.raw)
	}
	c.call("POST", "/v1/two-factor-resets", map[string]any{"user": c.in["manager"].id}, bearer(c.operator)).is(200)
	if got := list(c.owner.auth()); got != "false false false false false " {
		t.Errorf("after a reset the owner sees %s", got)
	}
}
