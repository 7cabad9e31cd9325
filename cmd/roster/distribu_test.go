package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// company is a distribu company with somebody in each role.
type company struct {
	team
	*server
	owner, admin, member *client
}

func newCompany(t *testing.T) company {
	s := startServer(t, "--catalog=distribu")
	owner, team := s.signUp("olga@example.com", "")
	return company{
		team: team, server: s, owner: owner,
		admin: team.join("ada@example.com", "ADMIN"), member: team.join("max@example.com", "MEMBER"),
	}
}

// TestDistribu walks the catalog's section of the product description, a line
// a test.
func TestDistribu(t *testing.T) {
	tests := map[string]func(t *testing.T, c company){
		"roles are OWNER, ADMIN and MEMBER, from the highest to the lowest": func(t *testing.T, c company) {
			roles := c.member.get(c.path("/roles")).is(200)
			if got := roles.pluck("data", "key"); !slices.Equal(got, []string{"OWNER", "ADMIN", "MEMBER"}) {
				t.Error(got)
			}
		},
		"OWNER and ADMIN invite, as ADMIN or MEMBER": func(_ *testing.T, c company) {
			for i, by := range []*client{c.owner, c.admin} {
				for j, role := range []string{"ADMIN", "MEMBER"} {
					email := string(rune('a'+i)) + string(rune('a'+j)) + "@example.com"
					by.post(c.path("/invitations"), map[string]any{"email": email, "role": role}).is(201).
						same("role", role).same("status", "pending").same("email", email)
				}
			}
		},
		"nobody invites as OWNER": func(_ *testing.T, c company) {
			c.owner.post(c.path("/invitations"), map[string]any{"email": "x@example.com", "role": "OWNER"}).refuses(403, "role_not_assignable")
		},
		"a MEMBER does not invite": func(_ *testing.T, c company) {
			c.member.post(c.path("/invitations"), map[string]any{"email": "x@example.com", "role": "MEMBER"}).refuses(403, "not_permitted")
		},
		"the link expires in 7 days": func(t *testing.T, c company) {
			a := c.owner.post(c.path("/invitations"), map[string]any{"email": "x@example.com", "role": "MEMBER"}).is(201)
			expires, err := time.Parse(time.RFC3339, a.text("expires_at"))
			if left := time.Until(expires); err != nil || left > 7*24*time.Hour || left < 7*24*time.Hour-time.Minute {
				t.Error(expires, err)
			}
		},
		"links are unique": func(t *testing.T, c company) {
			_, first := c.invite(c.owner, "x@example.com", "MEMBER")
			_, second := c.invite(c.owner, "y@example.com", "MEMBER")
			if first == second {
				t.Error("two invitations have one link")
			}
		},
		"the invitation's URL is shown to those who may invite and to nobody else": func(t *testing.T, c company) {
			_, token := c.invite(c.owner, "x@example.com", "MEMBER")
			shown := c.admin.get(c.path("/invitations")).is(200)
			if !strings.HasSuffix(shown.text("data.0.url"), "/invite/"+token) {
				t.Errorf("%s", shown.body)
			}
			c.member.get(c.path("/invitations")).refuses(403, "not_permitted")
		},
		"somebody new signs up with the address that was invited": func(t *testing.T, c company) {
			_, token := c.invite(c.owner, "new@example.com", "MEMBER")
			c.anonymous().get("/v1/invitations/"+token).is(200).
				same("next", "sign_up").same("email", "new@example.com").same("role", "MEMBER").same("team.id", c.id)
			joined := c.anonymous().post("/v1/invitations/"+token+"/accept", map[string]any{"name": "Nina", "password": passphrase}).is(200)
			joined.same("user.email", "new@example.com").same("user.email_verified", true).same("team.role", "MEMBER")
			me := (&client{server: c.server, token: joined.text("session.token")}).get("/v1/me").is(200)
			if got := me.pluck("teams", "id"); !slices.Equal(got, []string{c.id}) {
				t.Errorf("one who signs up by an invitation joins that company only, not %v", got)
			}
		},
		"an existing account accepts with one click": func(_ *testing.T, c company) {
			other, _ := c.signUp("other@example.com", "")
			_, token := c.invite(c.owner, "Other@Example.com", "ADMIN")
			c.anonymous().get("/v1/invitations/"+token).is(200).same("next", "sign_in")
			c.anonymous().post("/v1/invitations/"+token+"/accept", map[string]any{"name": "X", "password": passphrase}).refuses(401, "sign_in_required")
			other.get("/v1/invitations/"+token).is(200).same("next", "accept")
			other.post("/v1/invitations/"+token+"/accept", map[string]any{}).is(200).same("team.role", "ADMIN").same("session", nil)
			other.get("/v1/teams/" + c.id).is(200)
		},
		"signed in as another address: wrong account": func(_ *testing.T, c company) {
			_, token := c.invite(c.owner, "x@example.com", "MEMBER")
			stranger, _ := c.signUp("stranger@example.com", "")
			stranger.get("/v1/invitations/"+token).is(200).same("next", "wrong_account")
			stranger.post("/v1/invitations/"+token+"/accept", map[string]any{}).refuses(403, "wrong_account")
		},
		"opening the link consumes nothing": func(_ *testing.T, c company) {
			_, token := c.invite(c.owner, "x@example.com", "MEMBER")
			for range 3 {
				c.anonymous().get("/v1/invitations/" + token).is(200)
			}
			c.anonymous().post("/v1/invitations/"+token+"/accept", map[string]any{"name": "X", "password": passphrase}).is(200)
		},
		"the plan caps owner, members and pending invitations, and offers both ways out": func(_ *testing.T, c company) {
			c.owner.get(c.path("")).is(200).same("plan", "starter").same("seats", map[string]any{"limit": 10, "members": 3, "pending": 0})
			for i := range 7 {
				c.invite(c.owner, string(rune('a'+i))+"@example.com", "MEMBER")
			}
			refused := c.owner.post(c.path("/invitations"), map[string]any{"email": "z@example.com", "role": "MEMBER"})
			refused.refuses(409, "seat_limit_reached").same("plan", "starter").same("limit", 10).same("members", 3).same("pending", 7)
			if !strings.Contains(refused.text("detail"), "Cancel") || !strings.HasSuffix(refused.text("upgrade_url"), "/dashboard/subscribe") {
				refused.t.Errorf("the refusal doesn't offer both ways out: %s", refused.body)
			}
			id := c.owner.get(c.path("/invitations")).is(200).text("data.0.id")
			c.owner.delete(c.path("/invitations/" + id)).is(204)
			c.invite(c.owner, "z@example.com", "MEMBER")
			c.owner.post(c.path("/invitations"), map[string]any{"email": "y@example.com", "role": "MEMBER"}).refuses(409, "seat_limit_reached")
			c.operator().put(c.path("/plan"), map[string]any{"plan": "growth"}).is(200)
			c.invite(c.owner, "y@example.com", "MEMBER")
		},
		"a declined invitation frees its seat at once": func(_ *testing.T, c company) {
			_, token := c.invite(c.owner, "x@example.com", "MEMBER")
			c.anonymous().post("/v1/invitations/"+token+"/decline", nil).is(204)
			c.owner.get(c.path("")).is(200).same("seats.pending", 0)
			c.anonymous().get("/v1/invitations/"+token).refuses(410, "invitation_declined")
		},
		"only OWNER changes roles, to ADMIN or MEMBER": func(_ *testing.T, c company) {
			role := c.path("/members/" + c.member.id + "/role")
			c.owner.put(role, map[string]any{"role": "ADMIN"}).is(200)
			c.owner.put(role, map[string]any{"role": "MEMBER"}).is(200)
			c.owner.put(role, map[string]any{"role": "OWNER"}).refuses(403, "role_not_assignable")
			c.admin.put(role, map[string]any{"role": "ADMIN"}).refuses(403, "not_permitted")
			c.member.put(role, map[string]any{"role": "ADMIN"}).refuses(403, "not_permitted")
		},
		"the OWNER's role is permanent": func(_ *testing.T, c company) {
			c.owner.put(c.path("/members/"+c.owner.id+"/role"), map[string]any{"role": "ADMIN"}).refuses(409, "owner_is_permanent")
			c.admin.delete(c.path("/members/"+c.owner.id)).refuses(409, "owner_is_permanent")
		},
		"OWNER and ADMIN remove members, an ADMIN no ADMIN, nobody themselves": func(_ *testing.T, c company) {
			second := c.join("second@example.com", "ADMIN")
			c.member.delete(c.path("/members/"+c.admin.id)).refuses(403, "not_permitted")
			c.admin.delete(c.path("/members/"+second.id)).refuses(403, "rank_too_low")
			c.admin.delete(c.path("/members/"+c.admin.id)).refuses(409, "cannot_remove_self")
			c.owner.delete(c.path("/members/"+c.owner.id)).refuses(409, "cannot_remove_self")
			c.admin.delete(c.path("/members/" + c.member.id)).is(204)
			c.owner.delete(c.path("/members/" + second.id)).is(204)
			c.owner.delete(c.path("/members/"+second.id)).refuses(404, "not_found")
		},
		"a removed member loses access at once and can be invited again": func(_ *testing.T, c company) {
			c.member.get(c.path("")).is(200)
			c.owner.delete(c.path("/members/" + c.member.id)).is(204)
			c.member.get(c.path("")).refuses(404, "not_found")
			c.member.get("/v1/me").is(200).same("teams", []any{})
			_, token := c.invite(c.owner, c.member.email, "MEMBER")
			c.member.post("/v1/invitations/"+token+"/accept", map[string]any{}).is(200)
			c.member.get(c.path("")).is(200)
		},
		"members can't leave by themselves": func(_ *testing.T, c company) {
			c.member.post(c.path("/leave"), nil).refuses(409, "leaving_not_allowed")
			c.owner.post(c.path("/leave"), nil).refuses(409, "owner_required")
		},
		"ownership moves only through the operator's command line": func(t *testing.T, c company) {
			c.owner.post(c.path("/ownership-transfers"), map[string]any{"user_id": c.admin.id, "password": passphrase}).refuses(403, "operator_only")
			c.owner.put(c.path("/owner"), map[string]any{"user_id": c.admin.id}).refuses(403, "operator_only")
			_, errs, code := runCommand(t, "team", "transfer-owner", "--server="+c.url, "--operator-token="+operatorToken, c.id, c.admin.id)
			if code != 0 {
				t.Fatal(errs)
			}
			c.admin.get(c.path("/members/"+c.admin.id)).is(200).same("role", "OWNER")
			c.admin.get(c.path("/members/"+c.owner.id)).is(200).same("role", "ADMIN")
			c.owner.put(c.path("/members/"+c.member.id+"/role"), map[string]any{"role": "ADMIN"}).refuses(403, "not_permitted")
		},
		"API keys keep working when their creator is removed": func(_ *testing.T, c company) {
			made := c.admin.post(c.path("/api-keys"), map[string]any{"name": "CI", "role": "MEMBER"}).is(201)
			key := &client{server: c.server, token: made.text("secret")}
			key.get(c.path("/members")).is(200)
			c.owner.delete(c.path("/members/" + c.admin.id)).is(204)
			key.get(c.path("/members")).is(200)
			c.owner.get(c.path("/api-keys")).is(200).same("data.0.id", made.text("id")).same("data.0.secret", nil)
			c.owner.delete(c.path("/api-keys/" + made.text("id"))).is(204)
			key.get(c.path("/members")).refuses(401, "unauthenticated")
		},
		"an API key can do what its role can and no more": func(_ *testing.T, c company) {
			c.admin.post(c.path("/api-keys"), map[string]any{"name": "CI", "role": "OWNER"}).refuses(403, "role_not_assignable")
			c.member.post(c.path("/api-keys"), map[string]any{"name": "CI", "role": "MEMBER"}).refuses(403, "not_permitted")
			made := c.admin.post(c.path("/api-keys"), map[string]any{"name": "CI", "role": "MEMBER"}).is(201)
			key := &client{server: c.server, token: made.text("secret")}
			key.post(c.path("/invitations"), map[string]any{"email": "x@example.com", "role": "MEMBER"}).refuses(403, "not_permitted")
			_, other := c.signUp("elsewhere@example.com", "")
			key.get(other.path("")).refuses(404, "not_found")
			key.get("/v1/me").refuses(403, "user_required")
		},
		"signing up creates a company whose owner you are": func(_ *testing.T, c company) {
			founder, team := c.signUp("founder@example.com", "")
			founder.get("/v1/me").is(200).same("teams.0.id", team.id).same("teams.0.role", "OWNER")
			founder.get(team.path("")).is(200).same("catalog", "distribu").same("plan", "starter")
		},
		"plans are starter 10, growth 50, scale 500, and only the operator sets them": func(_ *testing.T, c company) {
			for plan, limit := range map[string]int{"growth": 50, "scale": 500, "starter": 10} {
				c.operator().put(c.path("/plan"), map[string]any{"plan": plan}).is(200)
				c.owner.get(c.path("")).is(200).same("plan", plan).same("seats.limit", limit)
			}
			c.operator().put(c.path("/plan"), map[string]any{"plan": "platinum"}).refuses(422, "invalid_field")
			c.owner.put(c.path("/plan"), map[string]any{"plan": "scale"}).refuses(403, "operator_only")
		},
		"signing out ends the session": func(_ *testing.T, c company) {
			c.member.delete("/v1/sessions/current").is(204)
			c.member.get("/v1/me").refuses(401, "unauthenticated")
		},
		"every significant action is in the audit log with actor, time and IP address": func(t *testing.T, c company) {
			c.owner.with("User-Agent", "Browser/1").put(c.path("/members/"+c.member.id+"/role"), map[string]any{"role": "ADMIN"}).is(200)
			c.owner.delete(c.path("/members/" + c.member.id)).is(204)
			log := c.admin.get(c.path("/audit-events")).is(200)
			var team []string // session.started of each sign-up aside
			for _, action := range log.pluck("data", "action") {
				if !strings.HasPrefix(action, "session.") {
					team = append(team, action)
				}
			}
			want := []string{
				"member.removed", "role.changed", "member.joined", "member.invited", "member.joined", "member.invited", "team.created",
			}
			if !slices.Equal(team, want) {
				t.Fatalf("got %v\nwant %v", team, want)
			}
			changed := c.admin.get(c.path("/audit-events?action=role.changed")).is(200)
			changed.same("data.0.actor.id", c.owner.id).same("data.0.actor.email", "olga@example.com").
				same("data.0.actor.ip", "127.0.0.1").same("data.0.actor.user_agent", "Browser/1").
				same("data.0.before.role", "MEMBER").same("data.0.after.role", "ADMIN").same("data.0.target.id", c.member.id)
			if changed.text("data.0.at") == "" || changed.text("data.0.id") == "" {
				t.Errorf("%s", changed.body)
			}
			c.member.get(c.path("/audit-events")).is(404)
		},
		"nothing edits or deletes the audit log": func(_ *testing.T, c company) {
			id := c.owner.get(c.path("/audit-events")).is(200).text("data.0.id")
			for _, method := range []string{http.MethodDelete, http.MethodPut, http.MethodPatch} {
				c.owner.call(method, c.path("/audit-events/"+id), nil).refuses(405, "method_not_allowed")
				c.owner.call(method, c.path("/audit-events"), nil).refuses(405, "method_not_allowed")
			}
		},
		"the company can be deleted by its OWNER alone": func(_ *testing.T, c company) {
			_, token := c.invite(c.owner, "x@example.com", "MEMBER")
			c.admin.delete(c.path("")).refuses(403, "not_permitted")
			c.owner.delete(c.path("")).is(204)
			c.owner.get(c.path("")).refuses(404, "not_found")
			c.anonymous().get("/v1/invitations/"+token).refuses(404, "not_found")
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newCompany(t))
		})
	}
}

// TestRulesOfEveryCatalog are the rules that hold whatever the catalog says,
// as far as they show over HTTP and not above.
func TestRulesOfEveryCatalog(t *testing.T) {
	for _, catalog := range []string{"default", "distribu", "dzbuild", "tenants"} {
		t.Run(catalog, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, "--catalog="+catalog)
			owner, team := s.signUp("olga@example.com", "")
			if catalog == "dzbuild" {
				owner.post(team.path("/invitations"), map[string]any{"email": "x@example.com", "role": "admin"}).refuses(409, "seat_limit_reached").same("limit", 0)
				s.operator().put(team.path("/plan"), map[string]any{"plan": "enterprise"}).is(200)
			}
			admin := map[string]string{"distribu": "ADMIN"}[catalog]
			if admin == "" {
				admin = "admin"
			}

			id, token := team.invite(owner, "ada@example.com", admin)
			owner.post(team.path("/invitations"), map[string]any{"email": "ADA@example.com", "role": admin}).refuses(409, "already_invited")
			resent := owner.post(team.path("/invitations/"+id+"/resend"), nil).is(200)
			s.anonymous().get("/v1/invitations/"+token).refuses(404, "not_found") // the old link is dead
			fresh := tokenOf(resent.text("url"))
			accepted := s.anonymous().post("/v1/invitations/"+fresh+"/accept", map[string]any{"name": "Ada", "password": passphrase}).is(200)
			s.anonymous().post("/v1/invitations/"+fresh+"/accept", map[string]any{"name": "Ada", "password": passphrase}).refuses(410, "invitation_used")
			owner.post(team.path("/invitations"), map[string]any{"email": "ada@example.com", "role": admin}).refuses(409, "already_member")
			ada := &client{server: s, token: accepted.text("session.token"), id: accepted.text("user.id")}
			ada.get(team.path("/members/"+ada.id)).is(200).same("role", admin)

			// A team of others answers as one that isn't there.
			_, other := s.signUp("eve@example.com", "")
			missing := strings.Replace(team.id, team.id[len(team.id)-4:], "zzzz", 1)
			foreign := ada.get(other.path("/members")).is(404)
			absent := ada.get("/v1/teams/" + missing + "/members").is(404)
			if foreign.text("detail") != absent.text("detail") || foreign.text("code") != absent.text("code") {
				t.Errorf("a foreign team answers %s, an absent one %s", foreign.body, absent.body)
			}

			// A role change acts on the next request.
			lowest := owner.get(team.path("/roles")).is(200).pluck("data", "key")
			owner.put(team.path("/members/"+ada.id+"/role"), map[string]any{"role": lowest[len(lowest)-1]}).is(200)
			ada.post(team.path("/invitations"), map[string]any{"email": "y@example.com", "role": lowest[len(lowest)-1]}).refuses(403, "not_permitted")

			// History stays when a member goes.
			owner.delete(team.path("/members/" + ada.id)).is(204)
			if got := owner.get(team.path("/audit-events?action=member.joined&target=" + ada.id)).is(200).list("data"); len(got) != 1 {
				t.Errorf("the audit log has %d entries of a removed member's joining", len(got))
			}
		})
	}
}
