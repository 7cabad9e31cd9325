package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"roster/commands/authenticatortest"
)

// device is an authenticator whose browser shows this server's pages, by the
// name that browsers take for a server on a loopback address.
func (w *world) device() *authenticatortest.Authenticator {
	return &authenticatortest.Authenticator{Origin: strings.Replace(w.server.link(""), "127.0.0.1", "localhost", 1)}
}

// options are what an answer has for the browser.
func (r *reply) options() []byte {
	r.t.Helper()
	options, err := json.Marshal(r.at("options"))
	if err != nil {
		r.t.Fatal(err)
	}
	return options
}

func (w *world) sign(answer []byte, err error) json.RawMessage {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
	return answer
}

func TestPasskeys(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	ada := w.join(owner, "ADMIN")
	d := w.device()

	// A borrowed session adds none.
	w.call("POST", "/v1/me/passkeys", map[string]any{}, ada.auth()).is(422, "invalid_field")
	refused := w.call("POST", "/v1/me/passkeys", map[string]any{"password": "not the password"}, ada.auth()).is(403, "wrong_password")
	if refused.text("errors", 0, "pointer") != "#/password" {
		t.Errorf("%s", refused.raw)
	}
	add := w.call("POST", "/v1/me/passkeys", map[string]any{"password": password}, ada.auth()).is(200)
	if add.text("options", "publicKey", "rp", "id") != "localhost" || add.text("options", "publicKey", "user", "name") != ada.email {
		t.Errorf("the options are %s", add.raw)
	}
	credential := w.sign(d.Create(add.options()))
	w.call("POST", "/v1/me/passkeys/confirm", map[string]any{"name": "Phone", "credential": map[string]any{"id": "x"}}, ada.auth()).is(422, "invalid_field")
	w.call("POST", "/v1/me/passkeys/confirm", map[string]any{"name": "Phone"}, ada.auth()).is(422, "invalid_field")
	w.call("POST", "/v1/me/passkeys/confirm", map[string]any{"name": "Phone", "credential": credential}, owner.auth()).is(409, "passkey_not_started")
	added := w.call("POST", "/v1/me/passkeys/confirm", map[string]any{"name": "Phone", "credential": credential}, ada.auth()).is(201)
	if codes, _ := added.at("recovery_codes").([]any); len(codes) != 10 || added.text("name") != "Phone" || added.text("created_at") == "" || added.position() == 0 {
		t.Errorf("added: %s", added.raw)
	}
	list := w.call("GET", "/v1/me/passkeys", nil, ada.auth()).is(200)
	if keys, _ := list.at("data").([]any); len(keys) != 1 || list.text("data", 0, "id") != added.text("id") || list.text("data", 0, "name") != "Phone" {
		t.Errorf("listed: %s", list.raw)
	}
	if me := w.call("GET", "/v1/me", nil, ada.auth()).is(200); me.at("two_factor", "enabled") != true || me.at("two_factor", "totp") != false ||
		me.at("two_factor", "passkeys") != 1.0 {
		t.Errorf("me is %s", me.raw)
	}

	// Beside the password.
	half := w.signIn(ada).is(200)
	if fmt.Sprint(half.at("methods")) != "[recovery_code passkey]" {
		t.Errorf("half way: %s", half.raw)
	}
	challenge := half.text("challenge")
	w.call("POST", "/v1/sessions/two-factor/passkey", map[string]any{"challenge": "rc_none"}).is(401, "challenge_ended")
	use := w.call("POST", "/v1/sessions/two-factor/passkey", map[string]any{"challenge": challenge}).is(200)
	answer := w.sign(d.Get(use.options()))
	for _, body := range []map[string]any{
		{"challenge": challenge}, {"challenge": challenge, "code": "123456", "credential": answer}, {"challenge": challenge, "credential": nil},
		{"challenge": challenge, "credential": "text"}, {"challenge": challenge, "credential": map[string]any{}},
	} {
		w.call("POST", "/v1/sessions/two-factor", body).is(422, "invalid_field")
	}
	in := w.call("POST", "/v1/sessions/two-factor", map[string]any{"challenge": challenge, "credential": answer}).is(201)
	if in.text("user", "id") != ada.id || !strings.Contains(in.header.Get("Set-Cookie"), in.text("token")) {
		t.Errorf("signed in: %s", in.raw)
	}
	w.call("POST", "/v1/sessions/two-factor", map[string]any{"challenge": challenge, "credential": answer}).is(401, "challenge_ended")

	// Alone.
	begun := w.call("POST", "/v1/sessions/passkey", map[string]any{}).is(200)
	if begun.text("expires_at") == "" || begun.text("options", "publicKey", "userVerification") != "required" || begun.at("options", "publicKey", "allowCredentials") != nil {
		t.Errorf("begun: %s", begun.raw)
	}
	w.call("GET", "/v1/me", nil, bearer(begun.text("challenge"))).is(401, "unauthenticated")
	answer = w.sign(d.Get(begun.options()))
	alone := func(challenge string, credential any) *reply {
		return w.call("POST", "/v1/sessions/passkey/confirm", map[string]any{"challenge": challenge, "credential": credential})
	}
	alone("nothing", answer).is(401, "challenge_ended")
	alone(begun.text("challenge"), w.sign(d.Get(use.options()))).is(401, "invalid_credentials")
	in = alone(begun.text("challenge"), answer).is(201)
	if in.text("user", "id") != ada.id || in.text("active_team_id") != owner.team || !strings.Contains(in.header.Get("Set-Cookie"), in.text("token")) {
		t.Errorf("signed in: %s", in.raw)
	}
	signedIn := account{id: ada.id, token: in.text("token")}
	alone(begun.text("challenge"), answer).is(401, "challenge_ended")

	path := "/v1/me/passkeys/" + added.text("id")
	w.call("DELETE", path, map[string]any{"password": "not the password"}, ada.auth()).is(403, "wrong_password")
	w.call("DELETE", path, map[string]any{"password": password}, owner.auth()).is(404)
	w.call("DELETE", path, map[string]any{"password": password}, ada.auth()).is(204)
	w.call("DELETE", path, map[string]any{"password": password}, ada.auth()).is(404)
	w.call("GET", "/v1/me", nil, signedIn.auth()).is(401, "unauthenticated")
	w.signIn(ada).is(201)

	actions := strings.Join(w.actionsOf(owner, ada.id), " ")
	for _, action := range []string{"passkey.added", "passkey.removed"} {
		if strings.Count(actions, action) != 1 {
			t.Errorf("the log has %s", actions)
		}
	}
}

// Where a request says that it goes to doesn't matter: passkeys belong to the
// base URL.
func TestAForgedHostReachesNoPasskey(t *testing.T) {
	w := newWorld(t, options{baseURL: "https://teams.example.com"})
	ada := w.signUp()
	forged := []with{ada.auth(), header("X-Forwarded-Host", "evil.example"), header("Forwarded", "host=evil.example"), header("Origin", "https://teams.example.com")}
	add := w.call("POST", "/v1/me/passkeys", map[string]any{"password": password}, forged...).is(200)
	if add.text("options", "publicKey", "rp", "id") != "teams.example.com" || strings.Contains(string(add.raw), "evil") {
		t.Errorf("the options are %s", add.raw)
	}
	evil := &authenticatortest.Authenticator{Origin: "https://evil.example"}
	w.call("POST", "/v1/me/passkeys/confirm", map[string]any{"name": "Phone", "credential": w.sign(evil.Create(add.options()))}, forged...).is(422, "invalid_field")
	right := &authenticatortest.Authenticator{Origin: "https://teams.example.com"}
	w.call("POST", "/v1/me/passkeys/confirm", map[string]any{"name": "Phone", "credential": w.sign(right.Create(add.options()))}, forged...).is(201)
	begun := w.call("POST", "/v1/sessions/passkey", map[string]any{}, forged[1:]...).is(200)
	if begun.text("options", "publicKey", "rpId") != "teams.example.com" {
		t.Errorf("the options are %s", begun.raw)
	}
}
