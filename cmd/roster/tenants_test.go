package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// tenant is a team of the catalog tenants with somebody in each role.
type tenant struct {
	team
	*server
	owner, admin, manager, member, viewer *client
}

func newTenant(t *testing.T) tenant {
	s := startServer(t, "--catalog=tenants")
	owner, team := s.signUp("olga@example.com", "")
	return tenant{
		team: team, server: s, owner: owner,
		admin: team.join("ada@example.com", "admin"), manager: team.join("mark@example.com", "manager"),
		member: team.join("mia@example.com", "member"), viewer: team.join("vera@example.com", "viewer"),
	}
}

// signIn is the same person with a new session, and what the sign-in answered.
func (c *client) signIn() (*client, *answer) {
	c.server.t.Helper()
	a := c.server.anonymous().post("/v1/sessions", map[string]any{"email": c.email, "password": passphrase}).is(201)
	return &client{server: c.server, token: a.text("token"), id: c.id, email: c.email}, a
}

// may asks the access API as the owner.
func (t tenant) may(who *client, permission string) bool {
	t.t.Helper()
	resource, action, _ := strings.Cut(permission, ":")
	return t.owner.post("/access/v1/evaluation", map[string]any{
		"subject": map[string]any{"type": "user", "id": who.id}, "action": map[string]any{"name": action},
		"resource": map[string]any{"type": resource, "properties": map[string]any{"team": t.id}},
	}).is(200).at("decision") == true
}

func (t tenant) role(of *client, to string) (path string, body map[string]any) {
	return t.path("/members/" + of.id + "/role"), map[string]any{"role": to}
}

func (t tenant) invitation(email, role string) (path string, body map[string]any) {
	return t.path("/invitations"), map[string]any{"email": email, "role": role}
}

// TestTenants walks the catalog's section of the product description, a line a
// test. The permissions summary and the matrix of overrides are tables in
// api/tenants_test.go.
func TestTenants(t *testing.T) {
	tests := map[string]func(t *testing.T, c tenant){
		"no plans: nothing caps the members, and there is none to set": func(_ *testing.T, c tenant) {
			c.owner.get(c.path("")).is(200).same("plan", "").same("seats", map[string]any{"limit": nil, "members": 5, "pending": 0})
			for i := range 60 {
				c.invite(c.owner, fmt.Sprintf("p%d@example.com", i), "viewer")
			}
			c.operator().put(c.path("/plan"), map[string]any{"plan": "pro"}).refuses(422, "invalid_field")
		},
		"roles are Owner 5, Admin 4, Manager 3, Member 2, Viewer 1": func(t *testing.T, c tenant) {
			roles := c.viewer.get(c.path("/roles")).is(200)
			for field, want := range map[string]string{
				"key": "[owner admin manager member viewer]", "name": "[Owner Admin Manager Member Viewer]", "level": "[5 4 3 2 1]",
			} {
				if got := fmt.Sprint(roles.pluck("data", field)); got != want {
					t.Errorf("%s: %s", field, got)
				}
			}
		},
		"a one-sentence description of each role is shown where a role is picked": func(t *testing.T, c tenant) {
			for _, text := range c.admin.get(c.path("/roles")).is(200).pluck("data", "description") {
				if len(text) < 20 || !strings.HasSuffix(text, ".") || strings.Contains(text, ". ") {
					t.Errorf("%q is not one sentence", text)
				}
			}
		},
		"roles that the caller may give are marked": func(t *testing.T, c tenant) {
			for _, row := range []struct {
				by   *client
				want string // owner admin manager member viewer
			}{
				{c.owner, "[false true true true true]"},
				{c.admin, "[false true true true true]"}, // an admin may invite an admin
				{c.manager, "[false false false false false]"},
				{c.member, "[false false false false false]"},
				{c.viewer, "[false false false false false]"},
			} {
				if got := fmt.Sprint(row.by.get(c.path("/roles")).is(200).pluck("data", "assignable")); got != row.want {
					t.Errorf("%s: %s, want %s", row.by.email, got, row.want)
				}
			}
		},
		"own and all are different permissions": func(t *testing.T, c tenant) {
			for _, row := range []struct {
				who      *client
				own, all bool
			}{{c.manager, true, true}, {c.member, true, false}, {c.viewer, true, true}} {
				if c.may(row.who, "trades:read_own") != row.own || c.may(row.who, "trades:read") != row.all {
					t.Errorf("%s: own or all is wrong", row.who.email)
				}
			}
		},
		"a default tenant for every new user": func(_ *testing.T, c tenant) {
			made := c.anonymous().post("/v1/users", map[string]any{"email": "new@example.com", "name": "New", "password": passphrase}).is(201)
			made.same("team.role", "owner").same("team.name", "My tenant")
			me := (&client{server: c.server, token: made.text("session.token")}).get("/v1/me").is(200)
			me.same("active_team_id", made.text("team.id")).same("teams.0.catalog", "tenants").same("teams.1", nil)
		},
		"a default tenant also for one who signs up by an invitation": func(t *testing.T, c tenant) {
			me := c.member.get("/v1/me").is(200)
			roles := me.pluck("teams", "role")
			slices.Sort(roles)
			if !slices.Equal(roles, []string{"member", "owner"}) {
				t.Fatalf("%s", me.body)
			}
			for i := range 2 {
				id := me.text(fmt.Sprintf("teams.%d.id", i))
				c.member.get("/v1/teams/" + id).is(200)
				if id != c.id { // theirs, and nobody else's
					c.member.get("/v1/teams/"+id).same("name", "My tenant").same("seats.members", 1)
					c.owner.get("/v1/teams/"+id).refuses(404, "not_found")
				}
			}
		},
		"one who is removed everywhere still has the default tenant": func(_ *testing.T, c tenant) {
			c.owner.delete(c.path("/members/" + c.member.id)).is(204)
			me := c.member.get("/v1/me").is(200).same("teams.0.role", "owner").same("teams.1", nil)
			me.same("active_team_id", me.text("teams.0.id"))
		},
		"a user can have further tenants, personal and business": func(t *testing.T, c tenant) {
			second := c.member.post("/v1/teams", map[string]any{"name": "Business"}).is(201).same("role", "owner").same("catalog", "tenants")
			me := c.member.get("/v1/me").is(200)
			if got := me.pluck("teams", "id"); len(got) != 3 || !slices.Contains(got, second.text("id")) {
				t.Errorf("%s", me.body)
			}
		},
		"the switcher lists all tenants and marks the active one": func(t *testing.T, c tenant) {
			me := c.member.get("/v1/me").is(200)
			for _, id := range me.pluck("teams", "id") {
				chosen := c.member.put("/v1/me/active-team", map[string]any{"team_id": id}).is(200).same("active_team_id", id)
				if got := chosen.pluck("teams", "id"); !slices.Equal(got, me.pluck("teams", "id")) {
					t.Errorf("switching changed the list to %v", got)
				}
				c.member.get("/v1/me").is(200).same("active_team_id", id)
			}
		},
		"nobody switches to a tenant that they aren't in": func(_ *testing.T, c tenant) {
			_, other := c.signUp("other@example.com", "")
			before := c.member.get("/v1/me").is(200).text("active_team_id")
			c.member.put("/v1/me/active-team", map[string]any{"team_id": other.id}).refuses(404, "not_found")
			c.member.get("/v1/me").is(200).same("active_team_id", before)
		},
		"the active tenant is remembered across sign-ins": func(_ *testing.T, c tenant) {
			ids := c.member.get("/v1/me").is(200).pluck("teams", "id")
			for _, id := range append(ids, ids...) {
				c.member.put("/v1/me/active-team", map[string]any{"team_id": id}).is(200)
				again, answered := c.member.signIn()
				answered.same("active_team_id", id)
				again.get("/v1/me").is(200).same("active_team_id", id)
				again.delete("/v1/sessions/current").is(204)
			}
		},
		"who is removed from the active tenant finds another one active": func(t *testing.T, c tenant) {
			c.member.put("/v1/me/active-team", map[string]any{"team_id": c.id}).is(200)
			c.owner.delete(c.path("/members/" + c.member.id)).is(204)
			_, answered := c.member.signIn()
			if got := answered.text("active_team_id"); got == c.id || got == "" {
				t.Errorf("the active team is %q", got)
			}
		},
		"all data follows the tenant: members, roles and log of each are its own": func(t *testing.T, c tenant) {
			own := c.member.post("/v1/teams", map[string]any{"name": "Business"}).is(201)
			other := team{id: own.text("id"), owner: c.member}
			if got := c.member.get(other.path("/members")).is(200).pluck("data", "user_id"); !slices.Equal(got, []string{c.member.id}) {
				t.Errorf("the members are %v", got)
			}
			c.member.get(other.path("/audit-events")).is(200)
			c.member.get(c.path("/audit-events")).refuses(403, "not_permitted") // a member there, an owner here
			c.owner.get(other.path("")).refuses(404, "not_found")
		},
		"an invitation has an e-mail address, an optional name and a role": func(_ *testing.T, c tenant) {
			c.admin.post(c.path("/invitations"), map[string]any{"email": "eve@example.com", "name": "Eve", "role": "member"}).is(201).
				same("email", "eve@example.com").same("name", "Eve").same("role", "member").same("status", "pending")
			c.admin.post(c.invitation("nameless@example.com", "viewer")).is(201).same("name", "")
			c.admin.post(c.path("/invitations"), map[string]any{"email": "x@example.com"}).is(422)
			c.admin.post(c.path("/invitations"), map[string]any{"role": "viewer"}).is(422)
		},
		"the pending invites show e-mail, name, role and expiry": func(t *testing.T, c tenant) {
			made := c.admin.post(c.path("/invitations"), map[string]any{"email": "eve@example.com", "name": "Eve", "role": "member"}).is(201)
			list := c.owner.get(c.path("/invitations")).is(200).same("data.1", nil)
			list.same("data.0.email", "eve@example.com").same("data.0.name", "Eve").same("data.0.role", "member").same("data.0.expires_at", made.text("expires_at"))
			expires, err := time.Parse(time.RFC3339, made.text("expires_at"))
			if left := time.Until(expires); err != nil || left > 7*24*time.Hour || left < 7*24*time.Hour-time.Minute {
				t.Error(expires, err)
			}
		},
		"an invitation that was accepted is pending no more": func(_ *testing.T, c tenant) {
			c.join("eve@example.com", "viewer")
			c.owner.get(c.path("/invitations")).is(200).same("data", []any{})
		},
		"the active members show name, e-mail, role, joined and actions": func(t *testing.T, c tenant) {
			list := c.owner.get(c.path("/members")).is(200)
			for field, want := range map[string]string{
				"name": "[olga ada mark mia vera]", "role": "[owner admin manager member viewer]",
				"email": "[olga@example.com ada@example.com mark@example.com mia@example.com vera@example.com]",
				"actions": "[[] [change_role edit_permissions edit_expiry remove] [change_role edit_permissions edit_expiry remove] " +
					"[change_role edit_permissions edit_expiry remove] [change_role edit_permissions edit_expiry remove]]",
			} {
				if got := fmt.Sprint(list.pluck("data", field)); got != want {
					t.Errorf("%s: %s", field, got)
				}
			}
			for _, text := range list.pluck("data", "joined_at") {
				if _, err := time.Parse(time.RFC3339, text); err != nil {
					t.Error(err)
				}
			}
		},
		"the actions shown to an admin and to a manager are those that they have": func(t *testing.T, c tenant) {
			second := c.join("alf@example.com", "admin")
			shown := c.admin.get(c.path("/members")).is(200)
			want := "[[] [] [change_role edit_permissions edit_expiry remove] [change_role edit_permissions edit_expiry remove] [change_role edit_permissions edit_expiry remove] [edit_expiry remove]]"
			if got := fmt.Sprint(shown.pluck("data", "actions")); got != want || shown.text("data.5.user_id") != second.id {
				t.Errorf("an admin: %s", got)
			}
			if got := fmt.Sprint(c.manager.get(c.path("/members")).is(200).pluck("data", "actions")); got != "[[] [] [] [] [] []]" {
				t.Errorf("a manager: %s", got)
			}
		},
		"the token of /signup?invite=TOKEN&tenant=ID is that of the invitation and leads to this tenant": func(_ *testing.T, c tenant) {
			_, token := c.invite(c.owner, "eve@example.com", "manager")
			c.anonymous().get("/v1/invitations/"+token).is(200).
				same("next", "sign_up").same("email", "eve@example.com").same("team.id", c.id).same("role", "manager").same("role_name", "Manager")
		},
		"who already has an account accepts, and finds the tenant in the switcher": func(t *testing.T, c tenant) {
			guest, _ := c.signUp("guest@example.com", "")
			_, token := c.invite(c.owner, guest.email, "member")
			guest.get("/v1/invitations/"+token).is(200).same("next", "accept")
			guest.post("/v1/invitations/"+token+"/accept", map[string]any{}).is(200).same("team.id", c.id).same("team.role", "member")
			if got := guest.get("/v1/me").is(200).pluck("teams", "id"); len(got) != 2 || !slices.Contains(got, c.id) {
				t.Errorf("the teams are %v", got)
			}
		},
		"who is new signs up with the address of the invitation and joins with its role": func(_ *testing.T, c tenant) {
			_, token := c.invite(c.owner, "eve@example.com", "manager")
			c.anonymous().post("/v1/invitations/"+token+"/accept", map[string]any{"name": "Eve", "password": passphrase}).is(200).
				same("user.email", "eve@example.com").same("team.id", c.id).same("team.role", "manager")
		},
		"overrides are saved as one change": func(_ *testing.T, c tenant) {
			path := c.path("/members/" + c.member.id + "/permissions")
			saved := c.owner.put(path, map[string]any{"granted": []string{"reports:read", "settings:read"}, "revoked": []string{"wallet:create"}}).is(200)
			saved.same("overrides", map[string]any{"granted": []string{"settings:read", "reports:read"}, "revoked": []string{"wallet:create"}})
			log := c.owner.with("Roster-At-Least", saved.position()).get(c.path("/audit-events?action=permissions.changed")).is(200).same("data.1", nil)
			log.same("data.0.before", map[string]any{"granted": []any{}, "revoked": []any{}})
			log.same("data.0.after", map[string]any{"granted": []string{"settings:read", "reports:read"}, "revoked": []string{"wallet:create"}})
		},
		"an override gives a Member the reports": func(t *testing.T, c tenant) {
			if c.may(c.member, "reports:read") {
				t.Error("before")
			}
			c.admin.put(c.path("/members/"+c.member.id+"/permissions"), map[string]any{"granted": []string{"reports:read"}, "revoked": []any{}}).is(200)
			if !c.may(c.member, "reports:read") {
				t.Error("after")
			}
		},
		"an override keeps a Manager from settings": func(t *testing.T, c tenant) {
			c.admin.put(c.path("/members/"+c.manager.id+"/permissions"), map[string]any{"granted": []any{}, "revoked": []string{"settings:read", "settings:update"}}).is(200)
			if c.may(c.manager, "settings:read") || c.may(c.manager, "settings:update") {
				t.Error("it doesn't")
			}
		},
		"owners change roles of members below their level, to roles below it": func(_ *testing.T, c tenant) {
			for _, who := range []*client{c.admin, c.manager, c.member, c.viewer} {
				for _, to := range []string{"viewer", "member", "manager", "admin"} {
					path, body := c.role(who, to)
					c.owner.put(path, body).is(200).same("role", to)
				}
			}
			c.owner.put(c.role(c.admin, "owner")).refuses(403, "role_not_assignable")
			c.owner.put(c.role(c.owner, "admin")).refuses(409, "owner_is_permanent")
		},
		"admins change roles of members below their level, to roles below it": func(_ *testing.T, c tenant) {
			second := c.join("alf@example.com", "admin")
			for _, to := range []string{"manager", "member", "viewer"} {
				c.admin.put(c.role(c.member, to)).is(200).same("role", to)
			}
			c.admin.put(c.role(c.member, "admin")).refuses(403, "rank_too_low")
			c.admin.put(c.role(second, "viewer")).refuses(403, "rank_too_low")
			c.admin.put(c.role(c.admin, "viewer")).refuses(403, "rank_too_low")
			c.admin.put(c.role(c.owner, "viewer")).refuses(409, "owner_is_permanent")
		},
		"managers, members and viewers change nobody's role": func(_ *testing.T, c tenant) {
			for _, by := range []*client{c.manager, c.member, c.viewer} {
				c.owner.get(c.path("/members/"+c.viewer.id)).is(200).same("role", "viewer")
				by.put(c.role(c.viewer, "member")).refuses(403, "not_permitted")
			}
		},
		"a role change takes effect at once": func(_ *testing.T, c tenant) {
			c.manager.post(c.invitation("x@example.com", "viewer")).refuses(403, "not_permitted")
			c.owner.put(c.role(c.manager, "admin")).is(200)
			c.manager.post(c.invitation("x@example.com", "viewer")).is(201)
			c.owner.put(c.role(c.manager, "viewer")).is(200)
			c.manager.post(c.invitation("y@example.com", "viewer")).refuses(403, "not_permitted")
		},
		"what a role means is for the owner alone to edit": func(_ *testing.T, c tenant) {
			body := map[string]any{"name": "Desk", "level": 2, "permissions": []string{"trades:read"}}
			for _, by := range []*client{c.admin, c.manager, c.member, c.viewer} {
				by.post(c.path("/roles"), body).refuses(403, "not_permitted")
			}
			c.owner.post(c.path("/roles"), body).is(201).same("key", "desk").same("custom", true)
			c.admin.call("PATCH", c.path("/roles/desk"), map[string]any{"level": 1}).refuses(403, "not_permitted")
			c.owner.call("PATCH", c.path("/roles/desk"), map[string]any{"level": 1}).is(200).same("level", 1)
			c.admin.put(c.role(c.member, "desk")).is(200) // to assign it is another thing
			c.admin.delete(c.path("/roles/desk?replacement=viewer")).refuses(403, "not_permitted")
			c.owner.delete(c.path("/roles/desk?replacement=viewer")).is(204)
			c.owner.get(c.path("/members/"+c.member.id)).is(200).same("role", "viewer")
		},
		"owners and admins invite up to their own level, an admin also an admin": func(_ *testing.T, c tenant) {
			for i, by := range []*client{c.owner, c.admin} {
				for _, role := range []string{"admin", "manager", "member", "viewer"} {
					by.post(c.invitation(fmt.Sprintf("%s%d@example.com", role, i), role)).is(201).same("role", role)
				}
				by.post(c.invitation("x@example.com", "owner")).refuses(403, "role_not_assignable")
			}
		},
		"managers, members and viewers invite nobody": func(_ *testing.T, c tenant) {
			for _, by := range []*client{c.manager, c.member, c.viewer} {
				by.post(c.invitation("x@example.com", "viewer")).refuses(403, "not_permitted")
			}
		},
		"nobody invites above their own level, whatever an override allows": func(_ *testing.T, c tenant) {
			c.owner.put(c.path("/members/"+c.member.id+"/permissions"), map[string]any{"granted": []string{"team:create"}, "revoked": []any{}}).is(200)
			c.member.post(c.invitation("x@example.com", "manager")).refuses(403, "rank_too_low")
			c.member.post(c.invitation("x@example.com", "member")).is(201)
		},
		"owners and admins remove members, also an admin an admin, nobody the owner": func(_ *testing.T, c tenant) {
			second := c.join("alf@example.com", "admin")
			for _, by := range []*client{c.manager, c.member, c.viewer} {
				by.delete(c.path("/members/"+c.viewer.id)).refuses(403, "not_permitted")
			}
			c.admin.delete(c.path("/members/"+c.owner.id)).refuses(409, "owner_is_permanent")
			c.admin.delete(c.path("/members/"+c.admin.id)).refuses(409, "cannot_remove_self")
			c.admin.delete(c.path("/members/" + second.id)).is(204)
			c.admin.delete(c.path("/members/" + c.viewer.id)).is(204)
			c.owner.delete(c.path("/members/" + c.admin.id)).is(204)
		},
		"removing someone takes this tenant's data from them at once": func(_ *testing.T, c tenant) {
			c.member.get(c.path("")).is(200)
			c.owner.delete(c.path("/members/" + c.member.id)).is(204)
			c.member.get(c.path("")).refuses(404, "not_found")
			c.member.get(c.path("/members")).refuses(404, "not_found")
		},
		"removing someone touches neither account nor other memberships": func(_ *testing.T, c tenant) {
			guest, home := c.signUp("guest@example.com", "")
			_, token := c.invite(c.owner, guest.email, "member")
			guest.post("/v1/invitations/"+token+"/accept", map[string]any{}).is(200)
			c.owner.delete(c.path("/members/" + guest.id)).is(204)
			guest.get(home.path("")).is(200).same("seats.members", 1)
			again, answered := guest.signIn()
			answered.same("active_team_id", home.id).same("user.name", "guest")
			again.get("/v1/me").is(200).same("teams.0.id", home.id).same("teams.0.role", "owner").same("teams.1", nil)
		},
		"who was removed can be invited again, and the history stays": func(t *testing.T, c tenant) {
			c.owner.delete(c.path("/members/" + c.member.id)).is(204)
			_, token := c.invite(c.owner, c.member.email, "viewer")
			c.member.post("/v1/invitations/"+token+"/accept", map[string]any{}).is(200).same("team.role", "viewer")
			c.member.get(c.path("")).is(200)
			var actions []string
			for _, action := range c.owner.get(c.path("/audit-events?target="+c.member.id)).is(200).pluck("data", "action") {
				if strings.HasPrefix(action, "member.") {
					actions = append(actions, action)
				}
			}
			if !slices.Equal(actions, []string{"member.joined", "member.removed", "member.joined"}) {
				t.Errorf("the log has %v", actions)
			}
		},
		"members may leave, and come back by an invitation; the owner can't leave": func(_ *testing.T, c tenant) {
			c.viewer.post(c.path("/leave"), nil).is(204)
			c.viewer.get(c.path("")).refuses(404, "not_found")
			_, token := c.invite(c.owner, c.viewer.email, "viewer")
			c.viewer.post("/v1/invitations/"+token+"/accept", map[string]any{}).is(200)
			c.owner.post(c.path("/leave"), nil).refuses(409, "owner_required")
		},
		"only the owner deletes the tenant": func(_ *testing.T, c tenant) {
			for _, by := range []*client{c.admin, c.manager, c.member, c.viewer} {
				by.delete(c.path("")).refuses(403, "not_permitted")
			}
			c.owner.delete(c.path("")).is(204)
			c.admin.get(c.path("")).refuses(404, "not_found")
		},
		"an admin manages settings and integrations, a manager doesn't": func(_ *testing.T, c tenant) {
			rename := map[string]any{"name": "Renamed"}
			c.admin.call("PATCH", c.path(""), rename).is(200)
			c.manager.call("PATCH", c.path(""), rename).refuses(403, "not_permitted")
			key := map[string]any{"name": "CI", "role": "viewer"}
			c.admin.post(c.path("/api-keys"), key).is(201)
			c.manager.post(c.path("/api-keys"), key).refuses(403, "not_permitted")
		},
		"an admin can't change the owner": func(_ *testing.T, c tenant) {
			body := map[string]any{"user_id": c.manager.id, "password": passphrase}
			c.admin.post(c.path("/ownership-transfers"), body).refuses(403, "not_permitted")
			c.owner.post(c.path("/ownership-transfers"), body).is(201).same("status", "pending")
		},
		"there are no sites": func(_ *testing.T, c tenant) {
			c.owner.post(c.path("/sites"), map[string]any{"name": "North"}).refuses(403, "not_permitted")
			c.owner.get(c.path("/sites")).is(200).same("data", []any{})
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newTenant(t))
		})
	}
}
