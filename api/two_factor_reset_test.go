package api

import (
	"fmt"
	"strings"
	"testing"
)

// Whoever has lost every second factor gets in again by the operator alone.
func TestResettingTwoFactor(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	ada := w.join(owner, "ADMIN")
	other := w.join(owner, "MEMBER")
	reset := func(user string, by with) *reply {
		return w.call("POST", "/v1/two-factor-resets", map[string]any{"user": user}, by)
	}
	w.call("POST", "/v1/two-factor-resets", map[string]any{"user": ada.id}).is(401, "unauthenticated")
	for name, by := range map[string]with{"the owner of the team": owner.auth(), "oneself": ada.auth()} {
		for _, user := range []string{ada.id, ada.email, "nobody@example.com"} { // which tells nothing of who there is
			if r := reset(user, by).is(403, "operator_only"); r.wrote() {
				t.Errorf("%s: something was written", name)
			}
		}
	}
	operator := bearer(w.operator)
	reset(ada.id, operator).is(409, "two_factor_off")
	reset("nobody@example.com", operator).is(404, "not_found")
	reset("user_00000000000000000000000000", operator).is(404, "not_found")
	reset("", operator).is(422, "invalid_field")

	// By an address in another spelling, of one with an app and two passkeys.
	_, recovery := w.protect(ada)
	for range 2 {
		add := w.call("POST", "/v1/me/passkeys", map[string]any{"password": password}, ada.auth()).is(200)
		w.call("POST", "/v1/me/passkeys/confirm", map[string]any{"name": "Phone", "credential": w.sign(w.device().Create(add.options()))}, ada.auth()).is(201)
	}
	half := w.signIn(ada).is(200).text("challenge")
	r := reset(" "+strings.ToUpper(ada.email), operator).is(200)
	if r.text("user", "id") != ada.id || r.text("user", "email") != ada.email || r.position() == 0 {
		t.Errorf("%s", r.raw)
	}
	w.call("GET", "/v1/me", nil, ada.auth()).is(401, "unauthenticated") // all sessions have ended
	w.call("GET", "/v1/me", nil, other.auth()).is(200)
	w.complete(half, recovery[0]).is(401) // what was half done is void
	in := w.signIn(ada).is(201)
	me := w.call("GET", "/v1/me", nil, bearer(in.text("token"))).is(200)
	if got := fmt.Sprint(me.at("two_factor")); got != "map[enabled:false passkeys:0 recovery_codes_left:0 totp:false]" {
		t.Errorf("me has %s", got)
	}

	log := w.call("GET", "/v1/teams/"+owner.team+"/audit-events?actor=operator", nil, owner.auth()).is(200)
	actions := map[string]int{}
	for i := range log.at("data").([]any) {
		actions[log.text("data", i, "action")]++
		if log.text("data", i, "actor", "type") != "system" || log.text("data", i, "actor", "ip") != "127.0.0.1" {
			t.Errorf("%s", log.raw)
		}
	}
	// Joining began a session, which has ended.
	if got := fmt.Sprint(actions); got != "map[passkey.removed:2 session.ended:1 two_factor.disabled:1]" {
		t.Errorf("the operator did %s", got)
	}
	log = w.call("GET", "/v1/teams/"+owner.team+"/audit-events?action=two_factor.disabled", nil, owner.auth()).is(200)
	if log.text("data", 0, "target", "id") != ada.id {
		t.Errorf("%s", log.raw)
	}

	// And of one with passkeys alone, by the id; afterwards all can be set up anew.
	token := bearer(in.text("token"))
	add := w.call("POST", "/v1/me/passkeys", map[string]any{"password": password}, token).is(200)
	w.call("POST", "/v1/me/passkeys/confirm", map[string]any{"name": "Phone", "credential": w.sign(w.device().Create(add.options()))}, token).is(201)
	w.signIn(ada).is(200)
	reset(ada.id, operator).is(200)
	again := account{id: ada.id, email: ada.email, token: w.signIn(ada).is(201).text("token")}
	w.protect(again)
	w.signIn(again).is(200)
}

// wrote tells whether an answer claims to have written something.
func (r *reply) wrote() bool { return r.header.Get("Roster-Position") != "" }
