package api

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// tokenOf is the secret part of an invitation's link.
func tokenOf(r *reply) string {
	r.t.Helper()
	link := r.text("url")
	return link[strings.LastIndex(link, "/")+1:]
}

// TestACompanyFromSignUpToAuditLog is the main job of catalog distribu over
// HTTP.
func TestACompanyFromSignUpToAuditLog(t *testing.T) {
	w := newWorld(t, options{})
	email := newEmail()
	signedUp := w.call("POST", "/v1/users", map[string]any{"email": email, "name": "Ada", "password": password, "team_name": "Ada & Co"}).is(201)
	owner := account{id: signedUp.text("user", "id"), email: email, token: signedUp.text("session", "token"), team: signedUp.text("team", "id")}
	team := "/v1/teams/" + owner.team
	if signedUp.text("team", "name") != "Ada & Co" || signedUp.text("team", "role") != "OWNER" || signedUp.text("user", "email") != email ||
		signedUp.at("user", "email_verified") != false {
		t.Errorf("signing up answers %s", signedUp.raw)
	}
	w.call("POST", "/v1/users", map[string]any{"email": strings.ToUpper(email), "name": "Eve", "password": password}).is(409, "address_taken")

	company := w.call("GET", team, nil, owner.auth()).is(200)
	if company.text("plan") != "starter" || company.at("seats", "limit") != 10.0 || company.at("seats", "members") != 1.0 || company.at("seats", "pending") != 0.0 {
		t.Errorf("the company is %s", company.raw)
	}
	roles := w.call("GET", team+"/roles", nil, owner.auth()).is(200)
	for i, want := range []string{"OWNER false", "ADMIN true", "MEMBER true"} {
		if got := fmt.Sprint(roles.at("data", i, "key"), " ", roles.at("data", i, "assignable")); got != want {
			t.Errorf("role %d: %s, want %s", i, got, want)
		}
	}

	// Path 1: new to the service.
	invited := w.call("POST", team+"/invitations", map[string]any{"email": "grace@example.com", "name": "Grace", "role": "ADMIN"}, owner.auth()).is(201)
	if invited.text("status") != "pending" || invited.text("delivery", "status") != "queued" || invited.text("invited_by", "id") != owner.id {
		t.Errorf("the invitation is %s", invited.raw)
	}
	w.call("POST", team+"/invitations", map[string]any{"email": "GRACE@example.com ", "role": "MEMBER"}, owner.auth()).is(409, "already_invited")
	w.call("POST", team+"/invitations", map[string]any{"email": newEmail(), "role": "OWNER"}, owner.auth()).is(403, "role_not_assignable")
	for range 3 { // mail scanners open links
		preview := w.call("GET", "/v1/invitations/"+tokenOf(invited), nil).is(200)
		if preview.text("next") != "sign_up" || preview.text("team", "name") != "Ada & Co" || preview.text("email") != "grace@example.com" ||
			preview.text("role") != "ADMIN" || preview.text("role_name") == "" {
			t.Errorf("the preview is %s", preview.raw)
		}
	}
	accept := func(token string, body any, changes ...with) *reply {
		return w.call("POST", "/v1/invitations/"+token+"/accept", body, changes...)
	}
	accept(tokenOf(invited), map[string]any{"name": "Grace", "password": password, "email": "eve@example.com"}).is(422, "invalid_field")
	accept(tokenOf(invited), map[string]any{"name": "Grace", "password": password, "role": "OWNER"}).is(422, "invalid_field")
	joined := accept(tokenOf(invited), map[string]any{"name": "Grace Hopper", "password": password}).is(200)
	admin := account{id: joined.text("user", "id"), email: "grace@example.com", token: joined.text("session", "token"), team: owner.team}
	if joined.text("team", "role") != "ADMIN" || joined.at("user", "email_verified") != true || !strings.Contains(joined.header.Get("Set-Cookie"), "roster_session=") {
		t.Errorf("accepting answers %s", joined.raw)
	}
	accept(tokenOf(invited), map[string]any{"name": "Grace", "password": password}).is(410, "invitation_used")
	w.call("GET", "/v1/invitations/"+tokenOf(invited), nil).is(410, "invitation_used")

	// Path 2: an account of that address; path 3: signed in as another.
	guest := w.signUp()
	second := w.call("POST", team+"/invitations", map[string]any{"email": guest.email, "role": "MEMBER"}, admin.auth()).is(201)
	next := func(token string, changes ...with) string {
		return w.call("GET", "/v1/invitations/"+token, nil, changes...).is(200).text("next")
	}
	if next(tokenOf(second)) != "sign_in" || next(tokenOf(second), guest.auth()) != "accept" || next(tokenOf(second), owner.auth()) != "wrong_account" {
		t.Error("a preview leads astray")
	}
	accept(tokenOf(second), map[string]any{}, owner.auth()).is(403, "wrong_account")
	accept(tokenOf(second), map[string]any{"name": "X", "password": password}).is(401, "sign_in_required")
	accept(tokenOf(second), nil, guest.auth()).is(200)
	me := w.call("GET", "/v1/me", nil, guest.auth()).is(200)
	if teams, _ := me.at("teams").([]any); len(teams) != 2 || me.text("active_team_id") != guest.team {
		t.Errorf("me is %s", me.raw)
	}
	w.call("PUT", "/v1/me/active-team", map[string]any{"team_id": owner.team}, guest.auth()).is(200)
	w.call("PUT", "/v1/me/active-team", map[string]any{"team_id": owner.team}, w.signUp().auth()).is(404)
	in := w.call("POST", "/v1/sessions", map[string]any{"email": guest.email, "password": password}).is(201)
	if in.text("active_team_id") != owner.team || in.text("user", "id") != guest.id || in.text("expires_at") == "" {
		t.Errorf("signing in answers %s", in.raw)
	}

	// The members, as each of them may act on the others.
	members := w.call("GET", team+"/members", nil, admin.auth()).is(200)
	for i, want := range []string{"Ada OWNER []", "Grace Hopper ADMIN []", "A Person MEMBER [edit_expiry remove]"} {
		if got := fmt.Sprint(members.at("data", i, "name"), " ", members.at("data", i, "role"), " ", members.at("data", i, "actions")); got != want {
			t.Errorf("member %d: %s, want %s", i, got, want)
		}
	}
	if found := w.call("GET", team+"/members?query=HOPPER", nil, owner.auth()).is(200); found.text("data", 0, "user_id") != admin.id || len(found.at("data").([]any)) != 1 {
		t.Errorf("searching finds %s", found.raw)
	}

	// Decline, cancel, resend, expiry.
	third := w.call("POST", team+"/invitations", map[string]any{"email": newEmail(), "role": "MEMBER"}, owner.auth()).is(201)
	again := w.call("POST", team+"/invitations/"+third.text("id")+"/resend", nil, owner.auth()).is(200)
	w.call("GET", "/v1/invitations/"+tokenOf(third), nil).is(404, "not_found")
	w.call("POST", "/v1/invitations/"+tokenOf(again)+"/decline", nil).is(204)
	w.call("GET", "/v1/invitations/"+tokenOf(again), nil).is(410, "invitation_declined")
	fourth := w.call("POST", team+"/invitations", map[string]any{"email": newEmail(), "role": "MEMBER"}, owner.auth()).is(201)
	w.call("DELETE", team+"/invitations/"+fourth.text("id"), nil, owner.auth()).is(204)
	accept(tokenOf(fourth), map[string]any{"name": "X", "password": password}).is(410, "invitation_cancelled")

	// The plan's limit: three members and seven invitations.
	for range 7 {
		w.call("POST", team+"/invitations", map[string]any{"email": newEmail(), "role": "MEMBER"}, owner.auth()).is(201)
	}
	full := w.call("POST", team+"/invitations", map[string]any{"email": newEmail(), "role": "MEMBER"}, owner.auth()).is(409, "seat_limit_reached")
	if full.text("plan") != "starter" || full.at("limit") != 10.0 || full.at("members") != 3.0 || full.at("pending") != 7.0 || full.text("upgrade_url") == "" {
		t.Errorf("at the limit: %s", full.raw)
	}
	w.call("PUT", team+"/plan", map[string]any{"plan": "growth"}, owner.auth()).is(403)
	w.call("PUT", team+"/plan", map[string]any{"plan": "growth"}, bearer(w.operator)).is(200)
	w.call("PUT", team+"/plan", map[string]any{"plan": "nonsense"}, bearer(w.operator)).is(422, "invalid_field")
	last := w.call("POST", team+"/invitations", map[string]any{"email": newEmail(), "role": "MEMBER"}, owner.auth()).is(201)

	// Roles, removal, leaving, ownership.
	w.call("PUT", team+"/members/"+guest.id+"/role", map[string]any{"role": "ADMIN"}, admin.auth()).is(403)
	if changed := w.call("PUT", team+"/members/"+guest.id+"/role", map[string]any{"role": "ADMIN"}, owner.auth()).is(200); changed.text("role") != "ADMIN" {
		t.Errorf("changing a role answers %s", changed.raw)
	}
	w.call("DELETE", team+"/members/"+guest.id, nil, admin.auth()).is(403, "rank_too_low")
	w.call("DELETE", team+"/members/"+owner.id, nil, admin.auth()).is(409, "owner_is_permanent")
	w.call("DELETE", team+"/members/"+admin.id, nil, admin.auth()).is(409, "cannot_remove_self")
	w.call("POST", team+"/ownership-transfers", map[string]any{"user_id": admin.id, "password": password}, owner.auth()).is(403)
	key := w.call("POST", team+"/api-keys", map[string]any{"name": "CI", "role": "MEMBER"}, guest.auth()).is(201)
	w.call("GET", team, nil, bearer(key.text("secret"))).is(200)
	w.call("GET", "/v1/me", nil, bearer(key.text("secret"))).is(403, "user_required")
	removed := w.call("DELETE", team+"/members/"+guest.id, nil, owner.auth()).is(204)
	if got := removed.header.Get("Roster-Surviving-Keys"); got != key.text("id") {
		t.Errorf("surviving keys: %q", got)
	}
	w.call("GET", team, nil, guest.auth()).is(404, "not_found")
	if me := w.call("GET", "/v1/me", nil, guest.auth()).is(200); len(me.at("teams").([]any)) != 1 || me.text("active_team_id") != guest.team {
		t.Errorf("who was removed still lists the team: %s", me.raw)
	}
	w.call("GET", team, nil, bearer(key.text("secret"))).is(200)
	w.call("DELETE", team+"/api-keys/"+key.text("id"), nil, owner.auth()).is(204)
	w.call("GET", team, nil, bearer(key.text("secret"))).is(401, "unauthenticated")
	w.call("PUT", team+"/owner", map[string]any{"user_id": admin.id}, owner.auth()).is(403)
	if moved := w.call("PUT", team+"/owner", map[string]any{"user_id": admin.id}, bearer(w.operator)).is(200); moved.text("owner_id") != admin.id {
		t.Errorf("moving the ownership answers %s", moved.raw)
	}

	// Expiry needs nobody to sweep.
	w.clock.forward(8 * 24 * time.Hour)
	owner.token = w.call("POST", "/v1/sessions", map[string]any{"email": owner.email, "password": password}).is(201).text("token")
	w.call("GET", "/v1/invitations/"+tokenOf(last), nil).is(410, "invitation_expired")
	if company := w.call("GET", team, nil, owner.auth()).is(200); company.at("seats", "pending") != 0.0 {
		t.Errorf("expired invitations take seats: %s", company.raw)
	}
	w.wantAudit(owner)
}

// wantAudit checks the log of TestACompanyFromSignUpToAuditLog in its three
// forms.
func (w *world) wantAudit(owner account) {
	w.Helper()
	log := "/v1/teams/" + owner.team + "/audit-events"
	all := w.call("GET", log+"?limit=200", nil, owner.auth()).is(200)
	items, _ := all.at("data").([]any)
	var actions []string
	for i := range items {
		actions = append(actions, all.text("data", i, "action"))
	}
	for _, want := range []string{
		"team.created", "member.invited", "member.joined", "invitation.resent", "invitation.declined", "invitation.cancelled",
		"plan.changed", "role.changed", "api_key.created", "member.removed", "api_key.revoked", "ownership.transferred",
	} {
		if !strings.Contains(strings.Join(actions, " "), want) {
			w.Errorf("no %s in %v", want, actions)
		}
	}
	changed := w.call("GET", log+"?action=role.changed,plan.changed&actor="+owner.id, nil, owner.auth()).is(200)
	if len(changed.at("data").([]any)) != 1 || changed.text("data", 0, "actor", "ip") != "127.0.0.1" ||
		changed.text("data", 0, "actor", "user_agent") == "" || changed.text("data", 0, "actor", "name") != "Ada" ||
		changed.at("data", 0, "before", "role") != "MEMBER" || changed.at("data", 0, "after", "role") != "ADMIN" {
		w.Errorf("the change of a role is %s", changed.raw)
	}
	first, last := time.Now().UTC().Format(time.DateOnly), w.clock.now().Format(time.DateOnly)
	if r := w.call("GET", log+"?limit=200&from="+first+"&to="+last, nil, owner.auth()).is(200); len(r.at("data").([]any)) != len(items) {
		w.Errorf("these days have %d of %d entries", len(r.at("data").([]any)), len(items))
	}
	if r := w.call("GET", log+"?to=2020-01-01", nil, owner.auth()).is(200); len(r.at("data").([]any)) != 0 {
		w.Error("there are entries of before")
	}

	export := w.call("GET", log+"/export?format=csv", nil, owner.auth()).is(200)
	rows, err := csv.NewReader(strings.NewReader(string(export.raw))).ReadAll()
	if err != nil || len(rows) != len(items)+1 || rows[0][0] != "id" {
		w.Fatalf("CSV of %d rows, %d entries: %v", len(rows), len(items), err)
	}
	lines := w.call("GET", log+"/export?format=jsonl", nil, owner.auth()).is(200)
	decoder := json.NewDecoder(strings.NewReader(string(lines.raw)))
	for i := range items {
		var entry map[string]any
		if err := decoder.Decode(&entry); err != nil || entry["id"] != all.text("data", i, "id") || rows[i+1][0] != entry["id"] {
			w.Fatalf("line %d is %v: %v", i, entry["id"], err)
		}
	}
	if decoder.More() {
		w.Error("the export has more than the list")
	}
}

func TestExportsAreHarmlessInASpreadsheet(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	r := w.call("POST", "/v1/users", map[string]any{"email": newEmail(), "name": "=HYPERLINK(\"http://evil.example\")", "password": password}).is(201)
	owner := account{token: r.text("session", "token"), team: r.text("team", "id")}
	w.call("PATCH", "/v1/teams/"+owner.team, map[string]any{"name": "@SUM(1,2)"}, owner.auth(), header("User-Agent", "+cmd|calc")).is(200)
	export := w.call("GET", "/v1/teams/"+owner.team+"/audit-events/export", nil, owner.auth()).is(200)
	if got := export.header.Get("Content-Disposition"); got != `attachment; filename="audit-`+owner.team+`.csv"` {
		t.Errorf("Content-Disposition: %s", got)
	}
	rows, err := csv.NewReader(strings.NewReader(string(export.raw))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for i, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("column %s has %s", rows[0][i], cell)
			}
		}
	}
	if !strings.Contains(string(export.raw), "'=HYPERLINK") || !strings.Contains(string(export.raw), "'+cmd|calc") {
		t.Error("the names are not there")
	}
}

func TestChecksAnswerWithTheReason(t *testing.T) {
	w := newWorld(t, options{})
	owner, stranger := w.signUp(), w.signUp()
	member := w.join(owner, "MEMBER")
	ask := func(by with, subject, team, resource, action string) *reply {
		return w.call("POST", "/access/v1/evaluation", map[string]any{
			"subject":  map[string]any{"type": "user", "id": subject, "properties": map[string]any{"anything": 1}},
			"action":   map[string]any{"name": action},
			"resource": map[string]any{"type": resource, "id": "1", "properties": map[string]any{"team": team, "more": true}},
			"context":  map[string]any{"time": "now"},
		}, by)
	}
	catalog := sources(t, "distribu")[0].Catalog
	invite := catalog.Actions[4] // domain.ActionInvite
	resource, action, _ := strings.Cut(string(invite), ":")
	for _, test := range []struct {
		by      account
		subject string
		want    bool
		reason  string
	}{
		{owner, owner.id, true, "role"},
		{owner, member.id, false, "not_in_role"},
		{member, member.id, false, "not_in_role"},
		{owner, stranger.id, false, "not_a_member"},
		{stranger, stranger.id, false, "not_a_member"},
		{stranger, owner.id, false, "not_a_member"},
	} {
		r := ask(test.by.auth(), test.subject, owner.team, resource, action).is(200)
		if r.at("decision") != test.want || r.text("context", "reason") != test.reason {
			t.Errorf("%s: want %v %s", r.raw, test.want, test.reason)
		}
		if test.want && (r.text("context", "event") == "" || r.text("context", "role") != "OWNER") {
			t.Errorf("an allowed check doesn't say why: %s", r.raw)
		}
	}
	ask(owner.auth(), owner.id, owner.team, "nonsense", "nonsense").is(200)
	nowhere := ask(owner.auth(), owner.id, "team_"+strings.Repeat("0", 26), resource, action).is(200)
	foreign := ask(stranger.auth(), stranger.id, owner.team, resource, action).is(200)
	if string(nowhere.raw) != string(foreign.raw) {
		t.Error("a check tells another team from none")
	}
	ask(bearer("nonsense"), owner.id, owner.team, resource, action).is(401, "unauthenticated")
	for body, code := range map[string]string{
		"":                      "malformed_body",
		"{":                     "malformed_body",
		`[]`:                    "malformed_body",
		`{"subject":"x"}`:       "invalid_field",
		`{}`:                    "invalid_field",
		`{"subject":{"id":""}}`: "invalid_field",
	} {
		wantProblem(t, w.call("POST", "/access/v1/evaluation", body, owner.auth()).is(400, code))
	}
	w.call("POST", "/access/v1/evaluation", strings.Repeat("x", maxBody+1), owner.auth()).is(413, "body_too_large")
	w.call("POST", "/access/v1/evaluation", `{}`, owner.auth(), header("Content-Type", "text/plain")).is(400, "unsupported_media_type")
}

func TestSessions(t *testing.T) {
	w := newWorld(t, options{})
	one := w.signUp()
	two := w.call("POST", "/v1/sessions", map[string]any{"email": one.email, "password": password}).is(201)
	second := account{id: one.id, token: two.text("token")}
	list := w.call("GET", "/v1/sessions", nil, second.auth()).is(200)
	sessions, _ := list.at("data").([]any)
	if len(sessions) != 2 {
		t.Fatalf("sessions: %s", list.raw)
	}
	w.call("DELETE", "/v1/sessions/"+two.text("id"), nil, w.signUp().auth()).is(404)
	w.call("PUT", "/v1/me/password", map[string]any{"current_password": "not it at all", "new_password": "another long pass phrase"}, one.auth()).is(403, "wrong_password")
	w.call("PUT", "/v1/me/password", map[string]any{"current_password": password, "new_password": "another long pass phrase"}, one.auth()).is(204)
	w.call("GET", "/v1/me", nil, second.auth()).is(401, "unauthenticated")
	w.call("GET", "/v1/me", nil, one.auth()).is(200)
	w.call("POST", "/v1/sessions", map[string]any{"email": one.email, "password": password}).is(401, "invalid_credentials")
	if me := w.call("PATCH", "/v1/me", map[string]any{"name": "Renamed"}, one.auth()).is(200); me.text("user", "name") != "Renamed" {
		t.Errorf("renaming answers %s", me.raw)
	}

	unknown := w.call("POST", "/v1/sessions", map[string]any{"email": newEmail(), "password": password}).is(401, "invalid_credentials")
	wrong := w.call("POST", "/v1/sessions", map[string]any{"email": w.signUp().email, "password": "not the password"}).is(401, "invalid_credentials")
	if string(requestIDs.ReplaceAll(unknown.raw, nil)) != string(requestIDs.ReplaceAll(wrong.raw, nil)) {
		t.Error("an unknown address is told from a wrong password")
	}
	throttled := false
	for range 12 {
		r := w.call("POST", "/v1/sessions", map[string]any{"email": "victim@example.com", "password": "not the password"})
		if r.status == 429 {
			throttled = true
			if r.header.Get("Retry-After") == "" {
				t.Error("a 429 without Retry-After")
			}
			wantProblem(t, r)
		}
	}
	if !throttled {
		t.Error("guessing isn't slowed down")
	}
}
