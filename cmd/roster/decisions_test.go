package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// store is a dzbuild account with two stores and somebody of every pattern that
// the product's page names.
type store struct {
	*server
	team
	sites map[string]string // ids by the letters of the tables
	who   map[string]*client
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := startServer(t, "--catalog=dzbuild")
	owner, team := s.signUp("owner@example.com", "")
	s.operator().put(team.path("/plan"), map[string]any{"plan": "enterprise"}).is(200)
	return &store{server: s, team: team, sites: map[string]string{"-": ""}, who: map[string]*client{"owner": owner}}
}

func (s *store) addSite(letter string) {
	s.t.Helper()
	s.sites[letter] = s.owner.post(s.path("/sites"), map[string]any{"name": "Brand " + letter}).is(201).text("id")
}

// invited brings somebody in by an invitation that names the stores and the
// role on each.
func (s *store) invited(name, role string, grants map[string]string) {
	s.t.Helper()
	sites := []map[string]any{}
	for letter, role := range grants {
		sites = append(sites, map[string]any{"site_id": s.sites[letter], "role": role})
	}
	email := fmt.Sprintf("member%d@example.com", len(s.who))
	invitation := s.owner.post(s.path("/invitations"), map[string]any{"email": email, "role": role, "sites": sites}).is(201)
	joined := s.anonymous().post("/v1/invitations/"+tokenOf(invitation.text("url"))+"/accept", map[string]any{"name": name, "password": passphrase}).is(200)
	s.who[name] = &client{server: s.server, token: joined.text("session.token"), id: joined.text("user.id"), email: email}
}

// table asks for every cell of a table in one batch and compares. The first
// line names the people. Of each other line the first word is a resource with
// its actions, and each further one says for one of the people where all of
// those are allowed: on A, on B, - without a site named; a dot is nowhere. It
// gives the permissions that the table has.
func (s *store) table(places string, text string) (permissions []string) {
	s.t.Helper()
	type cell struct {
		who, permission, place string
		want                   bool
	}
	var cells []cell
	var items []map[string]any
	lines := strings.Split(strings.TrimSpace(text), "\n")
	people := strings.Split(lines[0], "|")[1:]
	for _, line := range lines[1:] {
		columns := strings.Split(line, "|")
		resource, actions, _ := strings.Cut(strings.TrimSpace(columns[0]), ":")
		if len(columns) != len(people)+1 {
			s.t.Fatalf("%d columns: %s", len(columns), line)
		}
		for action := range strings.SplitSeq(actions, ",") {
			permissions = append(permissions, resource+":"+action)
			for i, person := range people {
				person = strings.TrimSpace(person)
				for place := range strings.SplitSeq(places, "") {
					cells = append(cells, cell{person, resource + ":" + action, place, strings.Contains(columns[i+1], place)})
					properties := map[string]any{"team": s.id}
					if place != "-" {
						properties["site"] = s.sites[place]
					}
					items = append(items, map[string]any{
						"subject":  map[string]any{"type": "user", "id": s.who[person].id},
						"action":   map[string]any{"name": action},
						"resource": map[string]any{"type": resource, "properties": properties},
					})
				}
			}
		}
	}
	for len(items) > 0 {
		n := min(len(items), 1000)
		a := s.server.operator().post("/access/v1/evaluations", map[string]any{"evaluations": items[:n]}).is(200)
		for i, answered := range a.list("evaluations") {
			if got := answered.(map[string]any); got["decision"] != cells[i].want {
				s.t.Errorf("%s, %s on %s: %v", cells[i].who, cells[i].permission, cells[i].place, got)
			}
		}
		items, cells = items[n:], cells[n:]
	}
	return permissions
}

// TestDZBuildDecisions has every permission of the catalog, for everybody, on
// every store, as the pages of the product have it: an Owner does everything,
// an Admin everything except billing and the transfer of ownership (nor can the
// account be deleted, which would end both), a Manager works on products, orders
// and customers, an Operator on orders alone, and Read-only reads everything.
// What belongs to no store comes from the role in the account, what belongs to
// one from the role there, and whoever has none there has nothing.
func TestDZBuildDecisions(t *testing.T) {
	s := newStore(t)
	s.addSite("A")
	s.addSite("B")
	s.invited("admin", "admin", nil)
	s.invited("one operator across all stores", "operator", map[string]string{"A": "operator", "B": "operator"})
	s.invited("manager on A, nothing on B", "manager", map[string]string{"A": "manager"})
	s.invited("read-only everywhere", "read_only", map[string]string{"A": "read_only", "B": "read_only"})
	s.invited("manager on A, operator on B", "read_only", map[string]string{"A": "manager", "B": "operator"})
	s.invited("admin of nothing but B", "operator", map[string]string{"B": "admin"})
	s.invited("manager of nothing", "manager", nil)
	before := `
                                                |owner|admin|one operator across all stores|manager on A, nothing on B|read-only everywhere|manager on A, operator on B|admin of nothing but B|manager of nothing
account:read                                    | AB- | AB- | AB- | AB- | AB- | AB- | AB- | AB-
account:update                                  | AB- | AB- | .   | .   | .   | .   | .   | .
account:delete                                  | AB- | .   | .   | .   | .   | .   | .   | .
stores:manage                                   | AB- | AB- | .   | .   | .   | .   | .   | .
team:read                                       | AB- | AB- | .   | .   | AB- | AB- | .   | .
team:invite,change_role,remove                  | AB- | AB- | .   | .   | .   | .   | .   | .
ownership:transfer                              | AB- | .   | .   | .   | .   | .   | .   | .
billing:read,update                             | AB- | .   | .   | .   | .   | .   | .   | .
api_keys:manage                                 | AB- | AB- | .   | .   | .   | .   | .   | .
webhooks:manage                                 | AB- | AB- | .   | .   | .   | .   | .   | .
audit:read,record                               | AB- | AB- | .   | .   | .   | .   | .   | .
dashboards:read                                 | AB- | AB- | .   | .   | AB  | .   | B   | .
products:read                                   | AB- | AB- | .   | A   | AB  | A   | B   | .
products:create,update,delete                   | AB- | AB- | .   | A   | .   | A   | B   | .
orders:read                                     | AB- | AB- | AB  | A   | AB  | AB  | B   | .
orders:create,update,delete                     | AB- | AB- | .   | A   | .   | A   | B   | .
orders:confirm,ship,deliver                     | AB- | AB- | AB  | A   | .   | AB  | B   | .
customers:read                                  | AB- | AB- | .   | A   | AB  | A   | B   | .
customers:create,update,delete                  | AB- | AB- | .   | A   | .   | A   | B   | .
settings:read                                   | AB- | AB- | .   | .   | AB  | .   | B   | .
settings:update                                 | AB- | AB- | .   | .   | .   | .   | B   | .
shipping_rates:read                             | AB- | AB- | .   | .   | AB  | .   | B   | .
shipping_rates:create,update,delete             | AB- | AB- | .   | .   | .   | .   | B   | .
payment_methods:read                            | AB- | AB- | .   | .   | AB  | .   | B   | .
payment_methods:create,update,delete            | AB- | AB- | .   | .   | .   | .   | B   | .
reports:read                                    | AB- | AB- | .   | .   | AB  | .   | B   | .
`
	permissions := s.table("AB-", before)
	var all []string
	for _, permission := range s.owner.get(s.path("/roles")).is(200).list("data.0.permissions") {
		all = append(all, permission.(string))
	}
	slices.Sort(permissions)
	slices.Sort(all)
	if !slices.Equal(permissions, all) {
		t.Errorf("the table has %v, the catalog %v", permissions, all)
	}

	t.Run("each can be found", func(t *testing.T) {
		for _, test := range []struct{ name, permission, found string }{
			{"owner", "orders:update", "AB"}, {"admin", "settings:update", "AB"},
			{"one operator across all stores", "orders:confirm", "AB"}, {"one operator across all stores", "orders:update", ""},
			{"manager on A, nothing on B", "orders:update", "A"}, {"read-only everywhere", "reports:read", "AB"},
			{"manager on A, operator on B", "orders:update", "A"}, {"manager on A, operator on B", "orders:ship", "AB"},
			{"admin of nothing but B", "settings:update", "B"}, {"manager of nothing", "orders:read", ""},
		} {
			resource, action, _ := strings.Cut(test.permission, ":")
			a := s.server.operator().post("/access/v1/search/resource", map[string]any{
				"subject": map[string]any{"type": "user", "id": s.who[test.name].id}, "action": map[string]any{"name": action},
				"resource": map[string]any{"type": resource, "properties": map[string]any{"team": s.id}},
			}).is(200)
			want := []string{}
			for letter := range strings.SplitSeq(test.found, "") {
				want = append(want, s.sites[letter])
			}
			if got := a.pluck("results", "id"); !slices.Equal(got, want) {
				t.Errorf("%s, %s: %s", test.name, test.permission, a.body)
			}
		}
	})

	t.Run("a member's own checks show only granted sites", func(*testing.T) {
		c := s.who["manager on A, nothing on B"]
		ask := func(site string) *answer {
			return c.post("/access/v1/evaluation", map[string]any{
				"subject": map[string]any{"type": "user", "id": c.id}, "action": map[string]any{"name": "read"},
				"resource": map[string]any{"type": "orders", "properties": map[string]any{"team": s.id, "site": site}},
			}).is(200)
		}
		ask(s.sites["A"]).same("decision", true).same("context.role", "manager").same("context.reason", "site_grant")
		ask(s.sites["B"]).same("decision", false).same("context.reason", "no_site_grant")
	})

	t.Run("removing a site removes its grants", func(t *testing.T) {
		s.owner.delete(s.path("/sites/" + s.sites["A"])).is(204)
		s.owner.get(s.path("/members/"+s.who["manager on A, nothing on B"].id)).is(200).same("sites", []any{})
		if got := s.owner.get(s.path("/members/"+s.who["read-only everywhere"].id)).is(200).pluck("sites", "site_id"); !slices.Equal(got, []string{s.sites["B"]}) {
			t.Errorf("there are still %v", got)
		}
		s.table("AB-", `
                                                |owner|admin|one operator across all stores|manager on A, nothing on B|read-only everywhere|manager on A, operator on B|admin of nothing but B|manager of nothing
orders:read                                     | B-  | B-  | B   | .   | B   | B   | B   | .
orders:update                                   | B-  | B-  | .   | .   | .   | .   | B   | .
orders:ship                                     | B-  | B-  | B   | .   | .   | B   | B   | .
products:update                                 | B-  | B-  | .   | .   | .   | .   | B   | .
reports:read                                    | B-  | B-  | .   | .   | B   | .   | B   | .
`)
		s.addSite("A") // of the same name, and another store
		s.table("AB-", `
                                                |owner|admin|one operator across all stores|manager on A, nothing on B|read-only everywhere|manager on A, operator on B|admin of nothing but B|manager of nothing
orders:read                                     | AB- | AB- | B   | .   | B   | B   | B   | .
orders:update                                   | AB- | AB- | .   | .   | .   | .   | B   | .
`)
	})
}

// An account without stores is one store: what somebody may do there comes
// from their role in the account.
func TestDZBuildDecisionsWithoutSites(t *testing.T) {
	s := newStore(t)
	for _, role := range []string{"admin", "manager", "operator", "read_only"} {
		s.invited(role, role, nil)
	}
	s.table("-", `
                                                |owner|admin|manager|operator|read_only
account:read                                    | - | - | - | - | -
billing:read,update                             | - | . | . | . | .
ownership:transfer                              | - | . | . | . | .
team:read                                       | - | - | . | . | -
team:invite,change_role,remove                  | - | - | . | . | .
audit:read,record                               | - | - | . | . | .
dashboards:read                                 | - | - | . | . | -
products:read                                   | - | - | - | . | -
products:create,update,delete                   | - | - | - | . | .
orders:read                                     | - | - | - | - | -
orders:create,update,delete                     | - | - | - | . | .
orders:confirm,ship,deliver                     | - | - | - | - | .
customers:read                                  | - | - | - | . | -
customers:create,update,delete                  | - | - | - | . | .
settings:read                                   | - | - | . | . | -
settings:update                                 | - | - | . | . | .
shipping_rates:read                             | - | - | . | . | -
shipping_rates:create,update,delete             | - | - | . | . | .
payment_methods:read                            | - | - | . | . | -
payment_methods:create,update,delete            | - | - | . | . | .
reports:read                                    | - | - | . | . | -
`)
	// With the first store a grant is needed, from one moment to the next.
	s.addSite("A")
	s.table("A-", `
                                                |owner|admin|manager|operator|read_only
account:read                                    | A- | A- | A- | A- | A-
orders:read                                     | A- | A- | .  | .  | .
reports:read                                    | A- | A- | .  | .  | .
`)
}
