package api

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// codeIn is what an authenticator app shows after some time.
func (w *world) codeIn(secret string, after time.Duration) string {
	w.Helper()
	code, err := totp.GenerateCode(secret, w.clock.now().Add(after))
	if err != nil {
		w.Fatal(err)
	}
	return code
}

// protect sets up an authenticator app, and lets a minute pass so that the code
// which that took isn't in the way.
func (w *world) protect(a account) (secret string, recovery []string) {
	w.Helper()
	secret = w.call("POST", "/v1/me/two-factor", map[string]any{}, a.auth()).is(200).text("secret")
	confirmed := w.call("POST", "/v1/me/two-factor/confirm", map[string]any{"code": w.codeIn(secret, 0)}, a.auth()).is(200)
	for i := range 10 {
		recovery = append(recovery, confirmed.text("recovery_codes", i))
	}
	w.clock.forward(time.Minute)
	return secret, recovery
}

func (w *world) signIn(a account) *reply {
	return w.call("POST", "/v1/sessions", map[string]any{"email": a.email, "password": password})
}

func (w *world) complete(challenge, code string, changes ...with) *reply {
	return w.call("POST", "/v1/sessions/two-factor", map[string]any{"challenge": challenge, "code": code}, changes...)
}

// actionsOf are the actions in a team's audit log by one actor, the latest
// first.
func (w *world) actionsOf(reader account, actor string) (actions []string) {
	w.Helper()
	list := w.call("GET", "/v1/teams/"+reader.team+"/audit-events?actor="+actor, nil, reader.auth(), header("Roster-At-Least", fmt.Sprint(w.position()))).is(200)
	entries, _ := list.at("data").([]any)
	for i := range entries {
		actions = append(actions, list.text("data", i, "action"))
	}
	return actions
}

func TestTwoFactorSignIn(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	ada := w.join(owner, "ADMIN")
	if me := w.call("GET", "/v1/me", nil, ada.auth()).is(200); me.at("two_factor", "enabled") != false || me.at("two_factor", "recovery_codes_left") != 0.0 {
		t.Errorf("me is %s", me.raw)
	}
	begun := w.call("POST", "/v1/me/two-factor", nil, ada.auth()).is(200)
	secret := begun.text("secret")
	if !strings.HasPrefix(begun.text("otpauth_url"), "otpauth://totp/Distribu:") || !strings.Contains(begun.text("otpauth_url"), "secret="+secret) {
		t.Errorf("begun: %s", begun.raw)
	}
	w.call("POST", "/v1/me/two-factor", map[string]any{"secret": "mine"}, ada.auth()).is(422, "invalid_field")
	wantProblem(t, w.call("POST", "/v1/me/two-factor/confirm", map[string]any{"code": "000000"}, ada.auth()).is(403, "wrong_code"))
	secret, recovery := w.protect(ada)
	w.call("POST", "/v1/me/two-factor", map[string]any{}, ada.auth()).is(409, "two_factor_on")
	if me := w.call("GET", "/v1/me", nil, ada.auth()).is(200); me.at("two_factor", "enabled") != true || me.at("two_factor", "totp") != true ||
		me.at("two_factor", "recovery_codes_left") != 10.0 {
		t.Errorf("me is %s", me.raw)
	}

	half := w.signIn(ada).is(200)
	if half.at("two_factor_required") != true || fmt.Sprint(half.at("methods")) != "[totp recovery_code]" || half.text("expires_at") == "" ||
		half.header.Get("Set-Cookie") != "" || half.at("token") != nil || half.at("user") != nil || half.header.Get("Roster-Position") != "" {
		t.Errorf("half way: %s, %v", half.raw, half.header)
	}
	challenge := half.text("challenge")
	w.signIn(owner).is(201) // others are asked for nothing
	wrong := w.complete(challenge, "000000").is(401, "invalid_credentials")
	if wrong.header.Get("Set-Cookie") != "" {
		t.Error("a wrong code gets a cookie")
	}
	wantProblem(t, wrong)
	whole := w.complete(challenge, w.codeIn(secret, 0)).is(201)
	signedIn := account{id: ada.id, token: whole.text("token")}
	if whole.text("user", "id") != ada.id || whole.text("active_team_id") != owner.team || whole.text("expires_at") == "" ||
		!strings.Contains(whole.header.Get("Set-Cookie"), whole.text("token")) || whole.position() == 0 {
		t.Errorf("signed in: %s", whole.raw)
	}
	w.call("GET", "/v1/me", nil, signedIn.auth()).is(200)
	w.complete(challenge, w.codeIn(secret, 30*time.Second)).is(401, "challenge_ended")
	w.complete(w.signIn(ada).is(200).text("challenge"), recovery[0]).is(201)
	w.complete(w.signIn(ada).is(200).text("challenge"), recovery[0]).is(401, "invalid_credentials")

	renewed := w.call("POST", "/v1/me/two-factor/recovery-codes", map[string]any{"password": password}, ada.auth()).is(200)
	w.call("POST", "/v1/me/two-factor/recovery-codes", map[string]any{"password": "not the password"}, ada.auth()).is(403, "wrong_password")
	w.complete(w.signIn(ada).is(200).text("challenge"), recovery[1]).is(401, "invalid_credentials")
	w.complete(w.signIn(ada).is(200).text("challenge"), renewed.text("recovery_codes", 9)).is(201)

	w.call("DELETE", "/v1/me/two-factor", nil, ada.auth()).is(422)
	w.call("DELETE", "/v1/me/two-factor", map[string]any{"password": "not the password"}, ada.auth()).is(403, "wrong_password")
	w.call("DELETE", "/v1/me/two-factor", map[string]any{"password": password}, ada.auth()).is(204)
	w.call("DELETE", "/v1/me/two-factor", map[string]any{"password": password}, ada.auth()).is(409, "two_factor_off")
	w.call("GET", "/v1/me", nil, signedIn.auth()).is(401, "unauthenticated")
	w.signIn(ada).is(201)

	var got []string
	for _, action := range w.actionsOf(owner, ada.id) {
		if strings.HasPrefix(action, "two_factor.") {
			got = append(got, strings.TrimPrefix(action, "two_factor."))
		}
	}
	if want := "[disabled recovery_code_used recovery_codes_renewed recovery_code_used enabled]"; fmt.Sprint(got) != want {
		t.Errorf("the log has %v, want %s", got, want)
	}
	for what, text := range map[string]string{"the secret": secret, "a recovery code": recovery[2], "a challenge": challenge} {
		log := w.call("GET", "/v1/teams/"+owner.team+"/audit-events/export?format=jsonl", nil, owner.auth()).is(200)
		if strings.Contains(string(log.raw)+w.log.String(), text) {
			t.Errorf("%s is in a log", what)
		}
	}
}

// A challenge is nothing but a challenge: as a session it gets 401 everywhere.
func TestHalfAuthenticatedIsNotAuthenticated(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	ada := w.signUp()
	w.protect(ada)
	challenge := w.signIn(ada).is(200).text("challenge")
	d := w.describe()
	checked := 0
	d.each(func(method, path string, o *describedOperation) {
		if len(o.Security) == 0 || slices.ContainsFunc(o.Security, func(s map[string][]string) bool { return len(s) == 0 }) {
			return // takes no credential, or can do without
		}
		checked++
		path = w.anyPath(path, ada)
		var body any
		if s := d.body(t, o); s != nil {
			body = d.sample(t, s, "", nil)
		}
		for name, as := range map[string]with{"bearer": bearer(challenge), "cookie": header("Cookie", w.server.cookieName+"="+challenge)} {
			if r := w.call(method, path, body, as); r.status != 401 {
				t.Errorf("%s %s with a challenge as %s answers %d: %s", method, path, name, r.status, r.raw)
			}
		}
	})
	if checked < 35 {
		t.Errorf("only %d operations take a credential", checked)
	}
}

// anyPath fills in a described path with ids that can be.
func (w *world) anyPath(path string, a account) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		switch part {
		case "{team}":
			parts[i] = a.team
		case "{user}":
			parts[i] = a.id
		case "{site}":
			parts[i] = "site_" + strings.Repeat("0", 26)
		case "{id}":
			parts[i] = idAfter[parts[i-1]] + "_" + strings.Repeat("0", 26)
		case "{role}":
			parts[i] = "viewer"
		case "{position}":
			parts[i] = "1"
		case "{token}":
			parts[i] = strings.Repeat("A", 86)
		}
	}
	return strings.Join(parts, "/")
}

func TestASignInByTwoFactorsIsRepeatable(t *testing.T) {
	w := newWorld(t, options{})
	ada := w.signUp()
	secret, _ := w.protect(ada)
	key := header("Idempotency-Key", "the-same")
	half := w.call("POST", "/v1/sessions", map[string]any{"email": ada.email, "password": password}, key).is(200)
	again := w.call("POST", "/v1/sessions", map[string]any{"email": ada.email, "password": password}, key).is(200)
	if half.text("challenge") != again.text("challenge") {
		t.Error("the repetition has another challenge")
	}
	code := w.codeIn(secret, 0)
	key = header("Idempotency-Key", "another")
	first, second := w.complete(half.text("challenge"), code, key).is(201), w.complete(half.text("challenge"), code, key).is(201)
	if string(first.raw) != string(second.raw) {
		t.Error("the repetition has another session")
	}
}

func TestGuessingCodesIsSlowedDown(t *testing.T) {
	w := newWorld(t, options{})
	ada := w.signUp()
	w.protect(ada)
	throttled := false
	for range 12 {
		r := w.complete(w.signIn(ada).is(200).text("challenge"), "000000")
		if throttled = r.status == 429; throttled {
			if r.header.Get("Retry-After") == "" {
				t.Error("a 429 without Retry-After")
			}
			break
		}
		r.is(401, "invalid_credentials")
	}
	if !throttled {
		t.Error("guessing isn't slowed down, though the password was right before each")
	}
}

// TestQRCode decodes nothing, but it checks that the image is a QR code of the
// right size, in one path that says of each module whether it is dark.
func TestQRCode(t *testing.T) {
	image, err := qrImage("otpauth://totp/Product%20with%20a%20name:somebody.with.a.long.address@example.com?secret=ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
	if err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(strings.NewReader(image))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(image, "style") || strings.Contains(image, "script") {
		t.Error("a strict policy forbids what is in the image")
	}
	var size int
	_, box, _ := strings.Cut(image, "viewBox=")
	if _, err := fmt.Sscanf(box, `"0 0 %d`, &size); err != nil || (size-8-17)%4 != 0 {
		t.Fatalf("%d modules, %v", size-8, err)
	}
	dark := make([][]bool, size)
	for y := range dark {
		dark[y] = make([]bool, size)
	}
	runs := regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`).FindAllStringSubmatch(image, -1)
	for _, run := range runs {
		var x, y, n, back int
		if _, err := fmt.Sscan(strings.Join(run[1:], " "), &x, &y, &n, &back); err != nil || n != back {
			t.Fatal(run, err)
		}
		for i := range n {
			dark[y][x+i] = true
		}
	}
	// Each finder, seven modules wide, is ring, gap and core.
	for _, corner := range [][2]int{{4, 4}, {size - 11, 4}, {4, size - 11}} {
		for dy := range 7 {
			for dx := range 7 {
				ring := dx == 0 || dx == 6 || dy == 0 || dy == 6
				core := dx >= 2 && dx <= 4 && dy >= 2 && dy <= 4
				if dark[corner[1]+dy][corner[0]+dx] != (ring || core) {
					t.Fatalf("no finder at %v", corner)
				}
			}
		}
	}
	for i := range size {
		if dark[i][3] || dark[3][i] || dark[i][size-4] || dark[size-4][i] {
			t.Error("the margin isn't empty")
		}
	}
	if _, err := qrImage(strings.Repeat("x", 3000)); err == nil || strings.Contains(err.Error(), "xx") {
		t.Errorf("what doesn't fit: %v", err)
	}
}

func (w *world) setPlan(team, plan string) {
	w.Helper()
	w.call("PUT", "/v1/teams/"+team+"/plan", map[string]any{"plan": plan}, bearer(w.operator)).is(200)
}

// Two-factor sign-in "can be required of everyone, or of given roles, on the
// plans that allow it".
func TestTwoFactorPolicyOfAnAccount(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	owner := w.signUp()
	policy := "/v1/teams/" + owner.team + "/two-factor-policy"
	put := func(a account, body map[string]any) *reply { return w.call("PUT", policy, body, a.auth()) }
	everyone := map[string]any{"required": "everyone", "grace_days": 7}
	if r := w.call("GET", policy, nil, owner.auth()).is(200); r.text("required") != "nobody" || r.at("available") != false || r.at("ends_at") != nil ||
		fmt.Sprint(r.at("roles")) != "[]" {
		t.Errorf("a new account has %s", r.raw)
	}
	refused := put(owner, everyone).is(409, "two_factor_not_available")
	if refused.text("plan") != "free" || refused.text("upgrade_url") != "/dashboard/subscribe" {
		t.Errorf("on the first plan: %s", refused.raw)
	}
	w.setPlan(owner.team, "unlimited")
	if r := put(owner, everyone).is(403, "two_factor_required"); r.at("errors") != nil {
		t.Errorf("%s", r.raw)
	}
	w.protect(owner)
	admin, manager, reader := w.join(owner, "admin"), w.join(owner, "manager"), w.join(owner, "read_only")
	put(manager, everyone).is(403, "not_permitted")
	put(admin, everyone).is(403, "two_factor_required")
	w.call("GET", policy, nil, manager.auth()).is(200)
	for pointer, body := range map[string]map[string]any{
		"#/required": {"required": "some"}, "#/grace_days": {"required": "everyone", "grace_days": 31}, "#/roles": {"required": "roles"},
		"#/roles ": {"required": "everyone", "roles": []string{"admin"}}, "#/roles  ": {"required": "roles", "roles": []string{"boss"}},
	} {
		if r := put(owner, body).is(422, "invalid_field"); r.text("errors", 0, "pointer") != strings.TrimSpace(pointer) {
			t.Errorf("%v: %s", body, r.raw)
		}
	}

	// Of given roles.
	set := put(owner, map[string]any{"required": "roles", "roles": []string{"admin", "owner"}, "grace_days": 2}).is(200)
	began := w.clock.now()
	if set.text("required") != "roles" || fmt.Sprint(set.at("roles")) != "[owner admin]" || set.at("grace_days") != 2.0 || set.at("available") != true ||
		set.at("suspended") != false || set.position() == 0 {
		t.Errorf("set to %s", set.raw)
	}
	duty := func(a account, at int) (required, met bool, deadline any) {
		t.Helper()
		me := w.call("GET", "/v1/me", nil, a.auth()).is(200)
		return me.at("teams", at, "two_factor", "required").(bool), me.at("teams", at, "two_factor", "met").(bool), me.at("teams", at, "two_factor", "deadline")
	}
	required, met, deadline := duty(admin, 0)
	due, err := time.Parse(time.RFC3339Nano, fmt.Sprint(deadline))
	if !required || met || err != nil || due.Before(began.Add(2*24*time.Hour-time.Minute)) || due.After(began.Add(2*24*time.Hour)) ||
		set.text("ends_at") != fmt.Sprint(deadline) {
		t.Errorf("an admin: %t %t %v", required, met, deadline)
	}
	if required, met, deadline := duty(reader, 0); required || !met || deadline != nil {
		t.Errorf("a reader: %t %t %v", required, met, deadline)
	}
	if required, met, _ := duty(owner, 0); !required || !met {
		t.Errorf("the owner: %t %t", required, met)
	}
	w.call("GET", "/v1/teams/"+owner.team, nil, admin.auth()).is(200) // in the time of grace

	// Sessions live a day when they aren't used.
	for range 4 {
		w.clock.forward(12*time.Hour + time.Second)
		for _, a := range []account{owner, admin, manager, reader} {
			w.call("GET", "/v1/me", nil, a.auth()).is(200)
		}
	}
	r := w.call("GET", "/v1/teams/"+owner.team, nil, admin.auth()).is(403, "two_factor_required")
	if r.text("enroll_url") != w.server.link("/dashboard/account") || r.text("detail") == "" {
		t.Errorf("refused with %s", r.raw)
	}
	wantProblem(t, r)
	for _, a := range []account{owner, manager, reader} {
		w.call("GET", "/v1/teams/"+owner.team, nil, a.auth()).is(200)
	}

	// Decisions: about oneself, and about others.
	decide := func(by, about account) *reply {
		return w.call("POST", "/access/v1/evaluation", map[string]any{
			"subject": map[string]any{"type": "user", "id": about.id}, "action": map[string]any{"name": "read"},
			"resource": map[string]any{"type": "account", "properties": map[string]any{"team": owner.team}},
		}, by.auth())
	}
	for _, by := range []account{owner, admin} {
		if d := decide(by, admin).is(200); d.at("decision") != false || d.text("context", "reason") != "two_factor_required" || d.text("context", "event") == "" {
			t.Errorf("about the admin: %s", d.raw)
		}
	}
	if d := decide(owner, manager).is(200); d.at("decision") != true {
		t.Errorf("about a manager: %s", d.raw)
	}
	decide(admin, manager).is(403, "two_factor_required")

	// The way out: enrol, and everything is as before.
	w.protect(admin)
	w.call("GET", "/v1/teams/"+owner.team, nil, admin.auth()).is(200)
	if d := decide(owner, admin).is(200); d.at("decision") != true {
		t.Errorf("with a second factor: %s", d.raw)
	}
	put(admin, map[string]any{"required": "everyone"}).is(200)
	w.call("GET", "/v1/teams/"+owner.team, nil, reader.auth()).is(403, "two_factor_required")

	// A plan that doesn't allow it suspends the policy, and one that does brings
	// it back with its time of grace.
	put(owner, map[string]any{"required": "everyone", "grace_days": 1}).is(200)
	w.setPlan(owner.team, "pro")
	if r := w.call("GET", policy, nil, reader.auth()).is(200); r.text("required") != "everyone" || r.at("suspended") != true || r.at("available") != false || r.at("ends_at") != nil {
		t.Errorf("on a plan below: %s", r.raw)
	}
	put(owner, map[string]any{"required": "everyone", "grace_days": 2}).is(409, "two_factor_not_available")
	w.setPlan(owner.team, "enterprise")
	if r := w.call("GET", policy, nil, reader.auth()).is(200); r.at("suspended") != false || r.at("ends_at") == nil {
		t.Errorf("back on a plan above: %s", r.raw)
	}
	put(owner, map[string]any{"required": "nobody"}).is(200)
	if d := decide(reader, reader).is(200); d.at("decision") != true {
		t.Errorf("required of nobody: %s", d.raw)
	}

	entries := w.call("GET", "/v1/teams/"+owner.team+"/audit-events?action=two_factor_policy.changed", nil, owner.auth()).is(200)
	if list, _ := entries.at("data").([]any); len(list) != 4 || entries.text("data", 3, "before", "required") != "nobody" ||
		fmt.Sprint(entries.at("data", 3, "after")) != "map[grace_days:2 required:roles roles:[owner admin]]" || entries.text("data", 2, "actor", "id") != admin.id {
		t.Errorf("the log has %s", entries.raw)
	}
}

// A member who doesn't meet the policy is refused by every operation of the
// team but leaving it. A new operation is covered by being described.
func TestEveryOperationOfATeamAsksForTheSecondFactor(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	w.protect(owner)
	ada := w.join(owner, "admin")
	key := w.call("POST", "/v1/teams/"+owner.team+"/api-keys", map[string]any{"name": "Key", "role": "admin"}, ada.auth()).is(201).text("secret")
	w.call("PUT", "/v1/teams/"+owner.team+"/two-factor-policy", map[string]any{"required": "everyone"}, owner.auth()).is(200)
	d := w.describe()
	checked, before := 0, w.position()
	d.each(func(method, path string, o *describedOperation) {
		if !strings.Contains(path, "{team}") || o.OperationID == "leave-team" {
			return
		}
		checked++
		var body any
		if s := d.body(t, o); s != nil {
			body = d.sample(t, s, "", map[string]string{"email": newEmail()})
		}
		r := w.call(method, w.anyPath(path, ada), body, ada.auth())
		if r.status != 403 || r.at("code") != "two_factor_required" || r.at("enroll_url") == nil {
			t.Errorf("%s %s answers %d: %s", method, path, r.status, r.raw)
		}
	})
	if checked < 25 || w.position() != before {
		t.Errorf("%d operations left %d events", checked, w.position()-before)
	}
	w.call("GET", "/v1/teams/"+owner.team+"/members", nil, bearer(key)).is(200) // keys aren't people
	w.call("PUT", "/v1/me/active-team", map[string]any{"team_id": owner.team}, ada.auth()).is(200)
	if me := w.call("GET", "/v1/me", nil, ada.auth()).is(200); me.at("teams", 0, "two_factor", "met") != false || me.text("teams", 0, "role") != "admin" {
		t.Errorf("me is %s", me.raw)
	}
	w.call("POST", "/v1/teams/"+owner.team+"/leave", nil, ada.auth()).is(204)
	w.call("GET", "/v1/teams/"+owner.team, nil, ada.auth()).is(404)
}
