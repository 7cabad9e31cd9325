package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The tables of the page "Team & Tenant Management", as they stand there. None
// of what follows is computed from the role catalog.

// permissionsSummary is the page's table of that name, with the permissions
// that a row means. "own" and "all" are different permissions; "Change roles" is
// to say what a role means.
const permissionsSummary = `
	                        owner admin manager member viewer
	Create offers         | yes   yes   yes     yes    no     | trade_offers:create
	Place trades          | yes   yes   yes     yes    no     | trades:create
	View own trades       | yes   yes   yes     yes    yes    | trades:read_own
	View all tenant trades| yes   yes   yes     no     yes    | trades:read
	Manage team members   | yes   yes   no      no     no     | team:create team:update team:delete
	Change roles          | yes   no    no      no     no     | roles:define
	Chat in trades        | yes   yes   yes     yes    no     | chat:write
	Manage settings       | yes   yes   no      no     no     | settings:update
	Manage integrations   | yes   yes   no      no     no     | integrations:create integrations:update integrations:delete
	Delete tenant         | yes   no    no      no     no     | tenant:delete
`

// overrideMatrix is the dialog "Edit Member Permissions": R, C, U and D stand
// for Read, Create, Update and Delete. The column "dialog" says which of them
// the page lists, the others which of these the descriptions of the roles give.
const overrideMatrix = `
	             dialog admin manager member viewer
	tenant       R.UD   R.U.  R...    R...   R...
	integrations RCUD   RCUD  ....    ....   ....
	trade_offers RCUD   RCUD  RCUD    .C..   R...
	trades       RCUD   RCUD  RCUD    .C..   R...
	wallet       RCUD   RCUD  RC..    RC..   ....
	team         RCUD   RCUD  R...    R...   R...
	settings     R.U.   R.U.  R...    ....   R...
	reports      R...   R...  R...    ....   R...
`

// cell is one of the 32 of the matrix.
type cell struct {
	permission string
	offered    bool            // the page lists the action for the resource
	inherited  map[string]bool // by role
}

func matrixCells() (roles []string, cells []cell) {
	lines := strings.Split(strings.TrimSpace(overrideMatrix), "\n")
	roles = strings.Fields(lines[0])[1:]
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		for i, action := range []string{"read", "create", "update", "delete"} {
			c := cell{permission: fields[0] + ":" + action, offered: fields[1][i] != '.', inherited: map[string]bool{}}
			for j, role := range roles {
				c.inherited[role] = fields[2+j][i] != '.'
			}
			cells = append(cells, c)
		}
	}
	return roles, cells
}

// tenant is a team of the catalog tenants with somebody in each role.
type tenant struct {
	*world
	path  string
	owner account
	in    map[string]account // by role
}

func newTenant(t *testing.T) tenant {
	w := newWorld(t, options{catalog: "tenants"})
	owner := w.signUp()
	out := tenant{world: w, path: "/v1/teams/" + owner.team, owner: owner, in: map[string]account{"owner": owner}}
	for _, role := range []string{"admin", "manager", "member", "viewer"} {
		out.in[role] = w.join(owner, role)
	}
	return out
}

// decide asks about a member and these permissions in one request. A decision
// reads as in "yes role" and "no override_revoked".
func (t tenant) decide(who account, permissions ...string) []string {
	t.Helper()
	items := make([]any, len(permissions))
	for i, permission := range permissions {
		resource, action, _ := strings.Cut(permission, ":")
		items[i] = map[string]any{
			"action":   map[string]any{"name": action},
			"resource": map[string]any{"type": resource, "properties": map[string]any{"team": t.owner.team}},
		}
	}
	r := t.call("POST", "/access/v1/evaluations", map[string]any{
		"subject": map[string]any{"type": "user", "id": who.id}, "evaluations": items,
	}, t.owner.auth()).is(200)
	decisions := make([]string, len(permissions))
	for i := range permissions {
		word := "no "
		if r.at("evaluations", i, "decision") == true {
			word = "yes "
		}
		decisions[i] = word + r.text("evaluations", i, "context", "reason")
	}
	return decisions
}

func (t tenant) override(who account, granted, revoked []string) *reply {
	t.Helper()
	return t.call("PUT", t.path+"/members/"+who.id+"/permissions",
		map[string]any{"granted": append([]string{}, granted...), "revoked": append([]string{}, revoked...)}, t.owner.auth())
}

func TestTenantsPermissionsSummaryOverHTTP(t *testing.T) {
	c := newTenant(t)
	listed := c.call("GET", c.path+"/roles", nil, c.owner.auth()).is(200)
	lines := strings.Split(strings.TrimSpace(permissionsSummary), "\n")
	roles := strings.Fields(lines[0])
	if got := listed.keys(); !slices.Equal(got, roles) || len(lines) != 1+10 {
		t.Fatalf("the roles are %v, the table has %d rows", got, len(lines)-1)
	}
	for _, line := range lines[1:] {
		row := strings.Split(line, "|")
		for i, want := range strings.Fields(row[1]) {
			permissions := strings.Fields(row[2])
			for j, got := range c.decide(c.in[roles[i]], permissions...) {
				expected := map[string]string{"yes": "yes role", "no": "no not_in_role"}[want]
				if got != expected {
					t.Errorf("%s, %s: %s is %q, want %q", strings.TrimSpace(row[0]), roles[i], permissions[j], got, expected)
				}
				shown := slices.Contains(listed.at("data", i, "permissions").([]any), any(permissions[j]))
				if shown != (want == "yes") {
					t.Errorf("%s: the list of roles shows %s of %s: %t", strings.TrimSpace(row[0]), permissions[j], roles[i], shown)
				}
			}
		}
	}
	// "No (read-only)" is not nothing.
	if got := c.decide(c.in["viewer"], "chat:read"); got[0] != "yes role" {
		t.Errorf("a viewer reads chats: %s", got)
	}
}

// Each cell is inherited, granted or revoked, which changes this cell and no
// other.
func TestTenantsOverrideMatrixOverHTTP(t *testing.T) {
	c := newTenant(t)
	roles, cells := matrixCells()
	if len(roles) != 4 || len(cells) != 8*4 {
		t.Fatalf("%d roles, %d cells", len(roles), len(cells))
	}
	permissions := make([]string, len(cells))
	for i, cell := range cells {
		permissions[i] = cell.permission
	}
	for _, role := range roles {
		who := c.in[role]
		inherited := make([]string, len(cells))
		for i, cell := range cells {
			switch {
			case !cell.offered:
				inherited[i] = "no unknown_permission"
			case cell.inherited[role]:
				inherited[i] = "yes role"
			default:
				inherited[i] = "no not_in_role"
			}
		}
		shows := func(state string, changed int, want string) {
			t.Helper()
			expected := slices.Clone(inherited)
			if want != "" {
				expected[changed] = want
			}
			for i, got := range c.decide(who, permissions...) {
				if got != expected[i] {
					t.Errorf("%s with %s %s: %s is %q, want %q", role, cells[changed].permission, state, permissions[i], got, expected[i])
				}
			}
		}
		shows("inherited", 0, "")
		for i, cell := range cells {
			one := []string{cell.permission}
			if !cell.offered {
				wantProblem(t, c.override(who, one, nil).is(422, "invalid_field"))
				wantProblem(t, c.override(who, nil, one).is(422, "invalid_field"))
				continue
			}
			r := c.override(who, one, nil).is(200)
			if got := fmt.Sprint(r.at("overrides")); got != fmt.Sprintf("map[granted:%v revoked:[]]", one) {
				t.Errorf("%s: %s", cell.permission, got)
			}
			shows("granted", i, "yes override_granted")
			r = c.override(who, nil, one).is(200)
			if got := fmt.Sprint(r.at("overrides")); got != fmt.Sprintf("map[granted:[] revoked:%v]", one) {
				t.Errorf("%s: %s", cell.permission, got)
			}
			shows("revoked", i, "no override_revoked")
		}
		c.override(who, nil, nil).is(200)
		shows("inherited again", 0, "")
	}
}

// The whole matrix is saved as one change: one event, one entry in the audit
// log, and nothing of it when a cell can't be saved.
func TestTenantsOverridesAreOneChange(t *testing.T) {
	c := newTenant(t)
	mia := c.in["member"]
	version := func() string { return c.call("GET", c.path, nil, c.owner.auth()).is(200).header.Get("ETag") }
	before := version()
	for name, body := range map[string][2][]string{
		"of a cell that there isn't":     {{"reports:read", "reports:delete"}, {"trades:create"}},
		"of a cell in both":              {{"reports:read", "trades:create"}, {"trades:create"}},
		"of a resource that there isn't": {{"reports:read"}, {"stores:read"}},
	} {
		wantProblem(t, c.override(mia, body[0], body[1]).is(422, "invalid_field"))
		if got := version(); got != before {
			t.Errorf("%s: something was saved", name)
		}
	}
	granted, revoked := []string{"integrations:read", "settings:read", "reports:read"}, []string{"trades:create", "wallet:create"}
	r := c.override(mia, granted, revoked).is(200)
	entries := c.call("GET", c.path+"/audit-events?action=permissions.changed&target="+mia.id, nil, c.owner.auth(),
		header("Roster-At-Least", r.header.Get("Roster-Position"))).is(200)
	if len(entries.at("data").([]any)) != 1 {
		t.Errorf("%s", entries.raw)
	}
	want := "map[granted:[integrations:read settings:read reports:read] revoked:[trades:create wallet:create]]" // in the order of the dialog
	if got := fmt.Sprint(entries.at("data", 0, "after")); got != want {
		t.Errorf("after: %s", got)
	}
	want = "[yes override_granted yes override_granted yes override_granted no override_revoked no override_revoked yes role]"
	if got := fmt.Sprint(c.decide(mia, append(append(granted, revoked...), "chat:write")...)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// The same again changes nothing, and is no entry.
	after := version()
	c.override(mia, granted, revoked).is(200)
	if version() != after {
		t.Error("saving the same is a change")
	}
}

// Revoked beats granted, and granted beats the role, whoever wants it otherwise.
func TestOverridePrecedenceOverHTTP(t *testing.T) {
	c := newTenant(t)
	mark := c.in["manager"]
	for _, step := range []struct {
		granted, revoked string
		want             string // of trades:delete, which a manager has, and reports:read, which they have too
	}{
		{"", "", "[yes role yes role]"},
		{"trades:delete", "", "[yes override_granted yes role]"},
		{"", "trades:delete", "[no override_revoked yes role]"},
		{"reports:read", "trades:delete", "[no override_revoked yes override_granted]"},
		{"", "", "[yes role yes role]"},
	} {
		c.override(mark, strings.Fields(step.granted), strings.Fields(step.revoked)).is(200)
		if got := fmt.Sprint(c.decide(mark, "trades:delete", "reports:read")); got != step.want {
			t.Errorf("granted %q, revoked %q: %s, want %s", step.granted, step.revoked, got, step.want)
		}
	}
	// Nobody has to remember which wins: one permission can't be both at once.
	r := c.override(mark, []string{"trades:delete"}, []string{"trades:delete"}).is(422, "invalid_field")
	if r.text("errors", 0, "pointer") != "#/revoked" {
		t.Errorf("%s", r.raw)
	}
	// Nobody grants what they don't have, or gives back what was taken from them.
	ada := c.in["admin"]
	path := c.path + "/members/" + mark.id + "/permissions"
	r = c.call("PUT", path, map[string]any{"granted": []string{"tenant:delete"}, "revoked": []string{}}, ada.auth()).is(403, "rank_too_low")
	if r.text("errors", 0, "pointer") != "#/granted" {
		t.Errorf("%s", r.raw)
	}
	c.override(ada, nil, []string{"wallet:update"}).is(200)
	c.call("PUT", path, map[string]any{"granted": []string{"wallet:update"}, "revoked": []string{}}, ada.auth()).is(403, "rank_too_low")
	c.override(mark, nil, []string{"wallet:update"}).is(200)
	r = c.call("PUT", path, map[string]any{"granted": []string{}, "revoked": []string{}}, ada.auth()).is(403, "rank_too_low")
	if r.text("errors", 0, "pointer") != "#/revoked" {
		t.Errorf("%s", r.raw)
	}
	// An override acts on Roster's own actions as on the host product's.
	c.call("GET", c.path+"/audit-events", nil, mark.auth()).is(403, "not_permitted")
	c.override(mark, []string{"audit:read"}, []string{"team:read"}).is(200)
	c.call("GET", c.path+"/audit-events", nil, mark.auth()).is(200)
	c.call("GET", c.path+"/members", nil, mark.auth()).is(403, "not_permitted")
}

// Overrides belong to the member and not to the role: a later change of the role
// leaves them as they are, in sight and in force. They end with the membership.
func TestOverridesOutliveARoleChange(t *testing.T) {
	c := newTenant(t)
	mia := c.in["member"]
	member := c.path + "/members/" + mia.id
	c.override(mia, []string{"reports:read"}, []string{"trades:create"}).is(200)
	for _, step := range []struct{ role, want string }{
		// reports:read, trades:create, trades:read, trade_offers:create
		{"member", "[yes override_granted no override_revoked no not_in_role yes role]"},
		{"viewer", "[yes override_granted no override_revoked yes role no not_in_role]"},
		{"manager", "[yes override_granted no override_revoked yes role yes role]"},
		{"member", "[yes override_granted no override_revoked no not_in_role yes role]"},
	} {
		r := c.call("PUT", member+"/role", map[string]any{"role": step.role}, c.owner.auth()).is(200)
		if got := fmt.Sprint(r.at("overrides")); got != "map[granted:[reports:read] revoked:[trades:create]]" {
			t.Errorf("as %s: %s", step.role, got)
		}
		if got := fmt.Sprint(c.decide(mia, "reports:read", "trades:create", "trades:read", "trade_offers:create")); got != step.want {
			t.Errorf("as %s: %s, want %s", step.role, got, step.want)
		}
	}
	// What a role change would do is shown with them in force: as a manager she
	// gains nothing of what is revoked.
	r := c.call("POST", c.path+"/what-if", map[string]any{"change_role": map[string]any{"user_id": mia.id, "role": "manager"}}, c.owner.auth()).is(200)
	if gained := fmt.Sprint(r.at("effects", 0, "gained")); strings.Contains(gained, "trades:create") || !strings.Contains(gained, "trades:update") {
		t.Errorf("%s", r.raw)
	}
	// And said where somebody asks why.
	r = c.call("GET", c.path+"/explain?permission=trades:create&user="+mia.id, nil, c.owner.auth()).is(200)
	if r.text("reason") != "override_revoked" || !strings.Contains(r.text("text"), "revoked from this member") {
		t.Errorf("%s", r.raw)
	}
	c.call("DELETE", member, nil, c.owner.auth()).is(204)
	invited := c.call("POST", c.path+"/invitations", map[string]any{"email": mia.email, "role": "member"}, c.owner.auth()).is(201)
	token := invited.text("url")[strings.LastIndex(invited.text("url"), "/")+1:]
	c.call("POST", "/v1/invitations/"+token+"/accept", map[string]any{}, mia.auth()).is(200)
	if got := fmt.Sprint(c.decide(mia, "reports:read", "trades:create")); got != "[no not_in_role yes role]" {
		t.Errorf("after coming back: %s", got)
	}
}
