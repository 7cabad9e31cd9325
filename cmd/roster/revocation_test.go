package main

import (
	"path/filepath"
	"slices"
	"testing"
)

// What was taken from somebody stays taken: on the next request, after a
// restart, and after the read models were built anew.
func TestRevocationLasts(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	flags := []string{"--data=" + data, "--catalog=distribu"}
	s := startServer(t, flags...)
	owner, team := s.signUp("olga@example.com", "")
	demoted := team.join("demoted@example.com", "ADMIN")
	removed := team.join("removed@example.com", "ADMIN")
	signedOut := team.join("signed-out@example.com", "ADMIN")
	made := owner.post(team.path("/api-keys"), map[string]any{"name": "CI", "role": "ADMIN"}).is(201)
	key := &client{server: s, token: made.text("secret")}
	_, cancelled := team.invite(owner, "cancelled@example.com", "ADMIN")
	pending := owner.get(team.path("/invitations")).is(200).text("data.0.id")
	for _, c := range []*client{demoted, removed, signedOut, key} {
		c.get(team.path("/invitations")).is(200)
	}

	for _, id := range []string{demoted.id, removed.id, signedOut.id} {
		owner.wantAccess(team, "user", id, true)
	}
	owner.wantAccess(team, "api_key", made.text("id"), true)

	owner.put(team.path("/members/"+demoted.id+"/role"), map[string]any{"role": "MEMBER"}).is(200)
	owner.delete(team.path("/members/" + removed.id)).is(204)
	signedOut.delete("/v1/sessions/current").is(204)
	owner.delete(team.path("/api-keys/" + made.text("id"))).is(204)
	owner.delete(team.path("/invitations/" + pending)).is(204)

	denied := func(when string) {
		t.Helper()
		t.Log(when)
		for _, c := range []*client{owner, demoted, removed, signedOut, key} {
			c.server = s
		}
		demoted.get(team.path("/invitations")).refuses(403, "not_permitted")
		demoted.post(team.path("/invitations"), map[string]any{"email": "x@example.com", "role": "MEMBER"}).refuses(403, "not_permitted")
		removed.get(team.path("/members")).refuses(404, "not_found")
		removed.get("/v1/me").is(200).same("teams", []any{})
		signedOut.get(team.path("/members")).refuses(401, "unauthenticated")
		key.get(team.path("/members")).refuses(401, "unauthenticated")
		s.anonymous().get("/v1/invitations/"+cancelled).refuses(410, "invitation_cancelled")
		s.anonymous().post("/v1/invitations/"+cancelled+"/accept", map[string]any{"name": "X", "password": passphrase}).refuses(410, "invitation_cancelled")
		owner.get(team.path("/members/"+demoted.id)).is(200).same("role", "MEMBER")
		for _, id := range []string{demoted.id, removed.id} {
			owner.wantAccess(team, "user", id, false)
		}
		owner.wantAccess(team, "api_key", made.text("id"), false)
		owner.wantAccess(team, "user", signedOut.id, true) // who may come back
	}
	denied("the next request")
	s.stop()
	s = startServer(t, flags...)
	denied("after a restart")
	s.stop()
	if _, errs, code := runCommand(t, "rebuild", "--data="+data); code != 0 {
		t.Fatal(errs)
	}
	s = startServer(t, flags...)
	denied("after a rebuild")
}

// wantAccess asks the access API in each of its ways whether somebody may
// invite.
func (c *client) wantAccess(team team, kind, id string, want bool) {
	c.server.t.Helper()
	subject, action := map[string]any{"type": kind, "id": id}, map[string]any{"name": "invite"}
	resource := map[string]any{"type": "team", "properties": map[string]any{"team": team.id}}
	question := map[string]any{"subject": subject, "action": action, "resource": resource}
	ask := func(path string, question any) *answer {
		c.server.t.Helper()
		return c.post("/access/v1/"+path, question).is(200)
	}
	ask("evaluation", question).same("decision", want)
	ask("evaluations", map[string]any{"evaluations": []any{question, question}}).same("evaluations.1.decision", want)
	for search, found := range map[string]string{"subject": id, "resource": team.id, "action": "invite"} {
		field := "id"
		if search == "action" {
			field = "name"
		}
		a := ask("search/"+search, question)
		if got := slices.Contains(a.pluck("results", field), found); got != want {
			c.server.t.Fatalf("%s %s, searched by %s: %v", kind, id, search, got)
		}
	}
}
