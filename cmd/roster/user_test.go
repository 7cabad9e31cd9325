package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

func TestResetTwoFactorCommand(t *testing.T) {
	s := startServer(t)
	ada, team := s.signUp("ada@example.com", "")
	at := []string{"--server=" + s.url, "--operator-token=" + operatorToken}
	reset := func(user string, more ...string) (out, errs string, code int) {
		return runCommand(t, append(append([]string{"user", "reset-two-factor", user}, at...), more...)...)
	}
	for user, says := range map[string]string{"ada@example.com": "two_factor_off", "nobody@example.com": "not_found"} {
		if out, errs, code := reset(user); code != 1 || out != "" || !strings.Contains(errs, says) {
			t.Errorf("%s: ended with %d: %s%s", user, code, out, errs)
		}
	}
	for _, by := range []string{"ada@example.com", ada.id} {
		in, _ := ada.signIn()
		secret := in.post("/v1/me/two-factor", nil).is(200).text("secret")
		code, err := totp.GenerateCode(secret, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		confirmed := in.post("/v1/me/two-factor/confirm", map[string]any{"code": code})
		if confirmed.status == 403 { // this step's code was used in the round before
			if code, err = totp.GenerateCode(secret, time.Now().Add(30*time.Second)); err != nil {
				t.Fatal(err)
			}
			confirmed = in.post("/v1/me/two-factor/confirm", map[string]any{"code": code})
		}
		confirmed.is(200)
		s.anonymous().post("/v1/sessions", map[string]any{"email": ada.email, "password": passphrase}).is(200).same("two_factor_required", true)

		out, errs, status := reset(by, "--json")
		var said struct{ User struct{ ID, Email string } }
		if err := json.Unmarshal([]byte(out), &said); err != nil || status != 0 || said.User.ID != ada.id || said.User.Email != ada.email {
			t.Fatalf("ended with %d: %s%s", status, out, errs)
		}
		in.get("/v1/me").refuses(401, "unauthenticated")
	}
	again, _ := ada.signIn()
	again.get(team.path("/audit-events?action=two_factor.disabled")).is(200).
		same("data.1.actor.id", "operator").same("data.0.target.id", ada.id).same("data.2", nil)
}
