package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

func (s *shop) search(kind string, by with, body any) *reply {
	s.Helper()
	return s.call("POST", searchPath+kind, body, by)
}

// results are the ids, or the names, that were found.
func (r *reply) results() []string {
	r.t.Helper()
	list, ok := r.at("results").([]any)
	if !ok {
		r.t.Fatalf("no results: %s", r.raw)
	}
	all := []string{}
	for i := range list {
		name := "id"
		if r.at("results", i, "name") != nil {
			name = "name"
		}
		all = append(all, r.text("results", i, name))
	}
	if r.at("page", "count") != float64(len(all)) {
		r.t.Errorf("count is not %d: %s", len(all), r.raw)
	}
	return all
}

func (r *reply) wantResults(want ...string) {
	r.t.Helper()
	got := r.results()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		r.t.Errorf("-want +got\n%s%s", diff, r.raw)
	}
	if r.text("page", "next_token") != "" {
		r.t.Errorf("there is more: %s", r.raw)
	}
}

func TestSubjectSearch(t *testing.T) {
	s := newShop(t)
	revoked := s.call("POST", s.path("/api-keys"), object{"name": "Revoked", "role": "admin"}, s.owner.auth()).is(201).text("id")
	s.call("DELETE", s.path("/api-keys/"+revoked), nil, s.owner.auth()).is(204)
	gone := s.join(s.owner, "admin")
	s.call("DELETE", s.path("/members/"+gone.id), nil, s.owner.auth()).is(204)
	find := func(kind, name string, resource object) *reply {
		return s.search("subject", s.owner.auth(), object{
			"subject": object{"type": kind, "id": "whoever", "properties": object{}}, "action": action(name), "resource": resource, "context": object{"x": 1},
		}).is(200)
	}
	find("user", "update", s.in("orders", s.here)).wantResults(s.owner.id, s.admin.id, s.manager.id)
	find("user", "update", s.in("orders", s.there)).wantResults(s.owner.id, s.admin.id)
	find("user", "read", s.in("orders", s.here)).wantResults(s.owner.id, s.admin.id, s.manager.id, s.operator.id, s.reader.id)
	find("user", "read", s.in("orders", s.there)).wantResults(s.owner.id, s.admin.id, s.reader.id)
	find("user", "update", s.in("orders", "")).wantResults(s.owner.id, s.admin.id) // on every site
	find("user", "read", s.in("billing", "")).wantResults(s.owner.id)
	find("user", "devour", s.in("orders", s.here)).wantResults()
	find("user", "update", s.in("nonsense", s.here)).wantResults()
	find("user", "update", s.in("orders", "nowhere")).wantResults()
	find("api_key", "update", s.in("orders", s.here)).wantResults(s.keyID)
	find("api_key", "read", s.in("billing", "")).wantResults()
	find("spaceship", "read", s.in("orders", s.here)).wantResults()
	find("system", "read", s.in("orders", s.here)).wantResults()

	r := find("user", "update", s.in("orders", s.there))
	if r.text("results", 0, "type") != "user" || !strings.HasPrefix(string(r.raw), `{"page":`) {
		t.Errorf("%s", r.raw)
	}
	s.search("subject", bearer(s.world.operator), object{"subject": object{"type": "user", "id": 5}, "action": action("read"), "resource": s.in("billing", "")}).
		is(200).wantResults(s.owner.id)
	s.search("subject", bearer(s.key), object{"subject": object{"type": "user"}, "action": action("update"), "resource": object{"type": "orders", "id": s.there}}).
		is(200).wantResults(s.owner.id, s.admin.id)
	s.search("subject", s.manager.auth(), object{"subject": object{"type": "user"}, "action": action("read"), "resource": s.in("orders", s.here)}).is(403, "not_permitted")
}

func TestResourceSearch(t *testing.T) {
	s := newShop(t)
	find := func(subject object, name, kind, site string) *reply {
		resource := s.in(kind, site)
		resource["id"] = []any{"is", "ignored"}
		return s.search("resource", s.owner.auth(), object{"subject": subject, "action": action(name), "resource": resource}).is(200)
	}
	team := s.owner.team
	find(user(s.manager.id), "update", "orders", "").wantResults(s.here)
	find(user(s.manager.id), "update", "orders", s.here).wantResults(s.here)
	find(user(s.manager.id), "update", "orders", s.there).wantResults()
	find(user(s.reader.id), "read", "orders", "").wantResults(s.here, s.there)
	find(user(s.reader.id), "update", "orders", "").wantResults()
	find(user(s.owner.id), "update", "orders", "").wantResults(s.here, s.there)
	find(object{"type": "api_key", "id": s.keyID}, "update", "orders", "").wantResults(s.here, s.there)
	find(user(s.owner.id), "read", "billing", "").wantResults(team)
	find(user(s.manager.id), "read", "billing", "").wantResults()
	find(user(s.owner.id), "read", "billing", "nowhere").wantResults()
	find(user(s.owner.id), "read", "nonsense", "").wantResults()
	find(user(s.owner.id), "devour", "orders", "").wantResults()
	find(user("nobody"), "read", "orders", "").wantResults()
	find(object{"type": "spaceship", "id": "1"}, "read", "orders", "").wantResults()

	// In a team without sites the type is in the team.
	alone := s.signUp()
	s.search("resource", alone.auth(), object{"subject": user(alone.id), "action": action("read"), "resource": object{"type": "orders", "properties": object{"team": alone.team}}}).
		is(200).wantResults(alone.team)

	// What is found is allowed when it is asked for, as it stands and by its id.
	for _, kind := range []string{"orders", "billing"} {
		r := find(user(s.owner.id), "read", kind, "")
		for _, found := range r.body["results"].([]any) {
			question := object{"subject": user(s.owner.id), "action": action("read"), "resource": found}
			if got := s.ask(s.owner.auth(), question).is(200); got.at("decision") != true {
				t.Errorf("%v: %s", found, got.raw)
			}
			question["resource"] = object{"type": found.(object)["type"], "id": found.(object)["id"]}
			if got := s.ask(bearer(s.key), question).is(200); got.at("decision") != true {
				t.Errorf("%v by its id: %s", found, got.raw)
			}
		}
	}

	mine := object{"subject": user(s.manager.id), "action": action("update"), "resource": s.in("orders", "")}
	s.search("resource", s.manager.auth(), mine).is(200).wantResults(s.here)
	mine["subject"] = user(s.owner.id)
	s.search("resource", s.manager.auth(), mine).is(403, "not_permitted")
}

func TestActionSearch(t *testing.T) {
	s := newShop(t)
	find := func(subject object, kind, site string) *reply {
		return s.search("action", s.owner.auth(), object{"subject": subject, "resource": s.in(kind, site), "action": "ignored"}).is(200)
	}
	find(user(s.operator.id), "orders", s.here).wantResults("read", "confirm", "ship", "deliver")
	find(user(s.operator.id), "orders", s.there).wantResults()
	find(user(s.operator.id), "products", s.here).wantResults()
	find(user(s.manager.id), "orders", s.here).wantResults("read", "create", "update", "delete", "confirm", "ship", "deliver")
	find(user(s.reader.id), "settings", s.there).wantResults("read")
	find(user(s.admin.id), "billing", "").wantResults()
	find(user(s.owner.id), "billing", "").wantResults("read", "update")
	find(user(s.owner.id), "nonsense", "").wantResults()
	find(user(s.stranger.id), "orders", s.here).wantResults()
	find(object{"type": "api_key", "id": s.keyID}, "reports", s.here).wantResults("read")
	s.search("action", s.operator.auth(), object{"subject": user(s.operator.id), "resource": s.in("orders", s.here)}).is(200)
	s.search("action", s.operator.auth(), object{"subject": user(s.owner.id), "resource": s.in("orders", s.here)}).is(403, "not_permitted")
}

func TestSearchesRefuseWhatIsMissing(t *testing.T) {
	s := newShop(t)
	subject, kind, act, resource := user(s.owner.id), object{"type": "user"}, action("read"), s.in("orders", s.here)
	for _, test := range []struct {
		search  string
		body    object
		pointer string
	}{
		{"subject", object{"subject": kind, "resource": resource}, "#/action"},
		{"subject", object{"action": act, "resource": resource}, "#/subject"},
		{"subject", object{"subject": object{}, "action": act, "resource": resource}, "#/subject/type"},
		{"subject", object{"subject": kind, "action": act, "resource": object{"type": "orders"}}, "#/resource/id"},
		{"subject", object{"subject": kind, "action": act, "resource": object{"type": "orders", "id": "1"}}, "#/resource/properties/team"},
		{"resource", object{"action": act, "resource": resource}, "#/subject"},
		{"resource", object{"subject": kind, "action": act, "resource": resource}, "#/subject/id"},
		{"resource", object{"subject": subject, "action": act}, "#/resource"},
		{"resource", object{"subject": subject, "resource": resource}, "#/action"},
		{"resource", object{"subject": subject, "action": act, "resource": object{"type": "orders", "id": s.owner.team}}, "#/resource/properties/team"},
		{"action", object{"subject": subject}, "#/resource"},
		{"action", object{"resource": resource}, "#/subject"},
		{"action", object{"subject": subject, "resource": resource, "page": 5}, "#/page"},
		{"action", object{"subject": subject, "resource": resource, "page": object{"limit": -1}}, "#/page/limit"},
		{"action", object{"subject": subject, "resource": resource, "page": object{"limit": "1"}}, "#/page/limit"},
		{"action", object{"subject": subject, "resource": resource, "page": object{"limit": 1.5}}, "#/page/limit"},
		{"action", object{"subject": subject, "resource": resource, "page": object{"token": 1}}, "#/page/token"},
		{"action", object{"subject": subject, "resource": resource, "page": object{"token": "nonsense"}}, "#/page/token"},
	} {
		r := s.search(test.search, s.owner.auth(), test.body).is(400)
		if got := r.text("errors", 0, "pointer"); got != test.pointer {
			t.Errorf("%s %v points at %s, not at %s", test.search, test.body, got, test.pointer)
		}
	}
	s.search("subject", s.owner.auth(), ``).is(400, "malformed_body")
}

func TestSearchesArePaged(t *testing.T) {
	s := newShop(t)
	everybody := []string{s.owner.id, s.admin.id, s.manager.id, s.operator.id, s.reader.id}
	queries := map[string]struct {
		body object
		want []string // in order
	}{
		"subject":  {object{"subject": object{"type": "user"}, "action": action("read"), "resource": s.in("orders", s.here)}, everybody},
		"resource": {object{"subject": user(s.reader.id), "action": action("read"), "resource": s.in("orders", "")}, nil},
		"action": {object{"subject": user(s.manager.id), "resource": s.in("orders", s.here)},
			[]string{"read", "create", "update", "delete", "confirm", "ship", "deliver"}},
	}
	for kind, query := range queries {
		t.Run(kind, func(t *testing.T) {
			whole := s.search(kind, s.owner.auth(), query.body).is(200).results()
			if query.want != nil {
				if diff := cmp.Diff(query.want, whole); diff != "" {
					t.Fatal(diff)
				}
			}
			for limit := 1; limit <= len(whole)+1; limit++ {
				var got []string
				page := object{"limit": limit}
				for pages := 0; ; pages++ {
					query.body["page"] = page
					r := s.search(kind, s.owner.auth(), query.body).is(200)
					list := r.results()
					if len(list) > limit {
						t.Fatalf("%d on a page of %d", len(list), limit)
					}
					got = append(got, list...)
					next := r.text("page", "next_token")
					if next == "" {
						break
					}
					if len(list) < limit {
						t.Fatalf("%d on a page of %d, and more to come", len(list), limit)
					}
					page = object{"token": next} // the limit goes with it
					if pages%2 == 1 {
						page["limit"] = limit
					}
				}
				if diff := cmp.Diff(whole, got); diff != "" {
					t.Errorf("in pages of %d: %s", limit, diff)
				}
			}
			query.body["page"] = object{"limit": 0}
			none := s.search(kind, s.owner.auth(), query.body).is(200)
			query.body["page"] = object{"token": none.text("page", "next_token"), "limit": 100_000}
			if all := s.search(kind, s.owner.auth(), query.body).is(200).results(); len(none.results()) > 0 || !slices.Equal(all, whole) {
				t.Errorf("after a page of none: %v", all)
			}
		})
	}

	// A token is of one search.
	first := queries["subject"].body
	first["page"] = object{"limit": 1}
	token := s.search("subject", s.owner.auth(), first).is(200).text("page", "next_token")
	for name, change := range map[string]object{
		"action":   {"action": action("update")},
		"site":     {"resource": s.in("orders", s.there)},
		"resource": {"resource": s.in("products", s.here)},
		"subject":  {"subject": object{"type": "api_key"}},
	} {
		body := object{"subject": object{"type": "user"}, "action": action("read"), "resource": s.in("orders", s.here), "page": object{"token": token}}
		for member, value := range change {
			body[member] = value
		}
		r := s.search("subject", s.owner.auth(), body).is(400, "invalid_page_token")
		if r.text("errors", 0, "pointer") != "#/page/token" {
			t.Errorf("another %s: %s", name, r.raw)
		}
	}
	body := queries["action"].body
	body["page"] = object{"token": token}
	s.search("action", s.owner.auth(), body).is(400, "invalid_page_token")

	// Whoever left or came between two pages makes no difference to the others.
	first["page"] = object{"limit": 3}
	r := s.search("subject", s.owner.auth(), first).is(200)
	s.call("DELETE", s.path("/members/"+s.admin.id), nil, s.owner.auth()).is(204)
	late := s.joinOn("operator", s.here)
	first["page"] = object{"token": r.text("page", "next_token")}
	s.search("subject", s.owner.auth(), first).is(200).wantResults(s.operator.id, s.reader.id, late.id)
}

// catalogsOf is the role catalogs that a team is folded by.
type catalogsOf map[string]*domain.Catalog

func (c catalogsOf) Catalog(name string) *domain.Catalog { return c[name] }

// A search looks at so many at a time and goes on from there, also past those
// who aren't found.
func TestSearchesLookAtSoManyAtATime(t *testing.T) {
	catalog := sources(t, "dzbuild")[0].Catalog
	team := domain.NewTeam("team", catalogsOf{"dzbuild": catalog})
	team.Apply(domain.TeamCreated{Name: "Large", Catalog: "dzbuild", Owner: "owner", OwnerRole: "owner"}, domain.Meta{})
	for i := range 2*maxLooked + 10 {
		team.Apply(domain.MemberJoined{User: domain.UserID(fmt.Sprint("member-", i)), Role: "operator"}, domain.Meta{})
	}
	team.Apply(domain.MemberJoined{User: "last", Role: "admin"}, domain.Meta{})

	q := question{
		subject: entity{kind: "user"}, action: entity{kind: "update"}, resource: entity{kind: "settings"},
	}
	var pages []int
	var got []string
	for after, more := 0, true; more; {
		page, err := subjectSearch.look(team, &q, after, 10, time.Now(), func(c candidate) (domain.Decision, error) {
			return team.Can(c.subject, c.permission, c.site, time.Now()), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got, pages = append(got, page.ids...), append(pages, len(page.ids))
		after, more = page.last, page.more
	}
	if !slices.Equal(got, []string{"owner", "last"}) || !slices.Equal(pages, []int{1, 0, 1}) {
		t.Errorf("found %v on pages of %v", got, pages)
	}
}
