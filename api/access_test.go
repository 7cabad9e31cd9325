package api

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

// shop is a team of the dzbuild catalog with two sites and somebody of every
// kind.
type shop struct {
	*world
	owner, admin, manager, operator, reader, stranger account

	here, there string // sites: the manager and the operator have a role here, the reader everywhere
	key         string // an API key of role admin
	keyID       string
}

func newShop(t testing.TB) *shop {
	t.Helper()
	w := newWorld(t, options{catalog: "dzbuild", quiet: true})
	s := &shop{world: w, owner: w.signUp(), stranger: w.signUp()}
	w.call("PUT", "/v1/teams/"+s.owner.team+"/plan", map[string]any{"plan": "enterprise"}, bearer(w.operator)).is(200)
	for name, id := range map[string]*string{"Here": &s.here, "There": &s.there} {
		*id = w.call("POST", s.path("/sites"), map[string]any{"name": name}, s.owner.auth()).is(201).text("id")
	}
	s.admin = w.join(s.owner, "admin")
	s.manager = s.joinOn("manager", s.here)
	s.operator = s.joinOn("operator", s.here)
	s.reader = s.joinOn("read_only", s.here, s.there)
	made := w.call("POST", s.path("/api-keys"), map[string]any{"name": "Key", "role": "admin"}, s.owner.auth()).is(201)
	s.key, s.keyID = made.text("secret"), made.text("id")
	return s
}

func (s *shop) path(rest string) string { return "/v1/teams/" + s.owner.team + rest }

// joinOn makes somebody a member with one role on some sites.
func (s *shop) joinOn(role string, sites ...string) account {
	s.Helper()
	member := s.join(s.owner, role)
	grants := []map[string]any{}
	for _, site := range sites {
		grants = append(grants, map[string]any{"site_id": site, "role": role})
	}
	s.call("PUT", s.path("/members/"+member.id+"/sites"), map[string]any{"sites": grants}, s.owner.auth()).is(200)
	return member
}

// object is JSON as a test writes it.
type object = map[string]any

func user(id string) object     { return object{"type": "user", "id": id} }
func action(name string) object { return object{"name": name} }

// in is a resource somewhere in the team; site may be empty.
func (s *shop) in(kind, site string) object {
	properties := object{"team": s.owner.team}
	if site != "" {
		properties["site"] = site
	}
	return object{"type": kind, "id": "42", "properties": properties}
}

func (s *shop) ask(by with, question any, changes ...with) *reply {
	s.Helper()
	return s.call("POST", evaluationPath, question, append(changes, by)...)
}

func TestEvaluationTakesWhatAuthZENAllows(t *testing.T) {
	s := newShop(t)
	question := func(change func(q object)) object {
		q := object{"subject": user(s.manager.id), "action": action("update"), "resource": s.in("orders", s.here)}
		change(q)
		return q
	}
	part := func(q object, name string) object { return q[name].(object) }
	for name, body := range map[string]any{
		"nothing more": question(func(object) {}),
		"properties of everything": question(func(q object) {
			part(q, "subject")["properties"] = object{"department": "Sales", "team": 5}
			part(q, "action")["properties"] = object{"method": "PUT"}
			part(part(q, "resource"), "properties")["status"] = []any{"open", nil, 1.5e3, object{"deep": true}}
		}),
		"a context":      question(func(q object) { q["context"] = object{"time": "1985-10-26T01:22-07:00", "name": 1} }),
		"unknown fields": question(func(q object) { q["foo"], q["page"], q["evaluations"] = "bar", 7, object{} }),
		"unknown fields within": question(func(q object) {
			part(q, "subject")["more"], part(q, "action")["id"], part(q, "resource")["name"] = object{}, 1, []any{}
		}),
		"null for what is optional": question(func(q object) { q["context"], part(q, "subject")["properties"] = nil, nil }),
		"no id beside the team":     question(func(q object) { delete(part(q, "resource"), "id") }),
		"the site as the id": question(func(q object) {
			part(q, "resource")["id"] = s.here
			delete(part(part(q, "resource"), "properties"), "site")
		}),
		"any order and space": fmt.Sprintf("\n{\t\"resource\" : {\"properties\":{\"site\":%q,\"team\" :%q}, \"id\":\"\" ,\"type\":\"orders\"},\r\n \"action\":{ \"name\":\"update\" },\"subject\":{\"id\":%q,\"type\":\"user\"} } ",
			s.here, s.owner.team, s.manager.id),
		"escapes": fmt.Sprintf(`{"\u0073ubject":{"type":"us\u0065r","id":%q},"action":{"name":"\u0075pdate"},"resource":{"type":"orders","properties":{"team":%q,"s\u0069te":%q,"x":"\"}{[\\"}}}`,
			s.manager.id, s.owner.team, s.here),
	} {
		t.Run(name, func(t *testing.T) {
			r := s.ask(s.owner.auth(), body).is(200)
			if r.at("decision") != true || r.text("context", "reason") != "site_grant" || r.text("context", "site") != s.here {
				t.Errorf("answered %s", r.raw)
			}
			if got := r.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type: %s", got)
			}
		})
	}
	for _, contentType := range []string{"application/json; charset=utf-8", "Application/JSON"} {
		s.ask(s.owner.auth(), question(func(object) {}), header("Content-Type", contentType)).is(200)
	}
}

func TestEvaluationRefusesWith400(t *testing.T) {
	s := newShop(t)
	const planted = "planted-secret-value"
	subject, act := fmt.Sprintf(`{"type":"user","id":%q}`, s.owner.id), `{"name":"update"}`
	resource := fmt.Sprintf(`{"type":"orders","id":"1","properties":{"team":%q}}`, s.owner.team)
	ask := func(subject, act, resource string) string {
		return fmt.Sprintf(`{"subject":%s,"action":%s,"resource":%s}`, subject, act, resource)
	}
	for _, test := range []struct {
		name, body, code string
		pointers         []string
	}{
		{"empty", ``, "malformed_body", nil},
		{"not JSON", `{"subject":` + planted, "malformed_body", nil},
		{"trailing text", ask(subject, act, resource) + planted, "malformed_body", nil},
		{"a list", `["` + planted + `"]`, "malformed_body", nil},
		{"null", `null`, "malformed_body", nil},
		{"too deep", strings.Repeat("[", 20_000), "malformed_body", nil},
		{"nothing", `{}`, "invalid_field", []string{"#/subject", "#/action", "#/resource"}},
		{"null for everything", ask("null", "null", "null"), "invalid_field", []string{"#/subject", "#/action", "#/resource"}},
		{"names in other case", `{"Subject":` + subject + `,"Action":` + act + `,"Resource":` + resource + `}`, "invalid_field", []string{"#/subject", "#/action", "#/resource"}},
		{"empty objects", ask("{}", "{}", "{}"), "invalid_field", []string{"#/subject/type", "#/subject/id", "#/action/name", "#/resource/type", "#/resource/id"}},
		{"text for an object", ask(`"`+planted+`"`, act, resource), "invalid_field", []string{"#/subject"}},
		{"a number for text", ask(subject, `{"name":123}`, resource), "invalid_field", []string{"#/action/name"}},
		{"a number for an id", ask(`{"type":"user","id":5}`, act, resource), "invalid_field", []string{"#/subject/id"}},
		{"empty text", ask(`{"type":"","id":""}`, act, resource), "invalid_field", []string{"#/subject/type", "#/subject/id"}},
		{"text for properties", ask(subject, `{"name":"update","properties":"x"}`, `{"type":"orders","id":"1","properties":[]}`), "invalid_field", []string{"#/action/properties", "#/resource/properties"}},
		{"a number for the team", ask(subject, act, `{"type":"orders","id":"1","properties":{"team":1,"site":2}}`), "invalid_field", []string{"#/resource/properties/team", "#/resource/properties/site"}},
		{"text for the context", `{"context":"x",` + ask(subject, act, resource)[1:], "invalid_field", []string{"#/context"}},
		{"no team", ask(subject, act, `{"type":"orders","id":"1"}`), "invalid_field", []string{"#/resource/properties/team"}},
		{"neither team nor id", ask(subject, act, `{"type":"orders"}`), "invalid_field", []string{"#/resource/id"}},
		{"a subject twice", `{"subject":` + subject + `,` + ask(subject, act, resource)[1:], "invalid_field", []string{"#/subject"}},
		{"an id twice", ask(`{"type":"user","id":"x","id":"y"}`, act, resource), "invalid_field", []string{"#/subject/id"}},
		{"a team twice", ask(subject, act, fmt.Sprintf(`{"type":"orders","properties":{"team":"x","team":%q}}`, s.owner.team)), "invalid_field", []string{"#/resource/properties/team"}},
		{"a long name", ask(subject, `{"name":"`+strings.Repeat("n", maxQuestionText+1)+`"}`, resource), "invalid_field", []string{"#/action/name"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := s.ask(s.owner.auth(), test.body).is(400, test.code)
			wantProblem(t, r)
			list, _ := r.at("errors").([]any)
			var got []string
			for i := range list {
				got = append(got, r.text("errors", i, "pointer"))
			}
			if strings.Join(got, " ") != strings.Join(test.pointers, " ") {
				t.Errorf("points at %v, not at %v", got, test.pointers)
			}
			if strings.Contains(string(r.raw), planted) {
				t.Errorf("the answer has the value: %s", r.raw)
			}
		})
	}
	good := ask(subject, act, resource)
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "application/problem+json"} {
		s.ask(s.owner.auth(), good, header("Content-Type", contentType)).is(400, "unsupported_media_type")
	}
	s.ask(s.owner.auth(), good, header("Roster-At-Least", planted)).is(400, "invalid_field")
	s.ask(bearer("nonsense"), good).is(401, "unauthenticated")
	s.call("POST", evaluationPath, good).is(401, "unauthenticated")
	s.ask(s.owner.auth(), strings.Repeat(" ", maxBody+1)).is(413, "body_too_large")
}

// The answer to a denial is no error, and says why.
func TestEvaluationSaysWhyAndUntilWhen(t *testing.T) {
	s := newShop(t)
	ends := s.clock.now().Add(time.Hour)
	brief := s.call("POST", s.path("/api-keys"), object{"name": "Brief", "role": "manager", "expires_at": ends}, s.owner.auth()).is(201).text("id")
	granted := s.call("GET", s.path("/audit-events?action=sites.changed&target="+s.manager.id), nil, s.owner.auth()).is(200)
	key := func(id string) object { return object{"type": "api_key", "id": id} }
	for _, test := range []struct {
		name              string
		subject, resource object
		action            string
		decision          bool
		reason            string
		context           []string // what else there is
	}{
		{"by the role", user(s.owner.id), s.in("billing", ""), "read", true, "role", []string{"role", "event", "position", "at"}},
		{"by a grant", user(s.manager.id), s.in("orders", s.here), "update", true, "site_grant", []string{"role", "site", "event", "position", "at"}},
		{"not in the role", user(s.manager.id), s.in("settings", s.here), "update", false, "not_in_role", []string{"role", "site", "event", "position", "at"}},
		{"no grant", user(s.manager.id), s.in("orders", s.there), "update", false, "no_site_grant", []string{"site"}},
		{"no site named", user(s.manager.id), s.in("orders", ""), "update", false, "site_required", nil},
		{"no such site", user(s.manager.id), s.in("orders", "\"<site>"), "update", false, "unknown_site", []string{"site"}},
		{"no such permission", user(s.owner.id), s.in("orders", ""), "devour", false, "unknown_permission", nil},
		{"not a member", user(s.stranger.id), s.in("orders", s.here), "update", false, "not_a_member", nil},
		{"nobody at all", user("nobody@example.com"), s.in("orders", s.here), "update", false, "not_a_member", nil},
		{"of no known kind", object{"type": "robot", "id": s.owner.id}, s.in("orders", s.here), "update", false, "not_a_member", nil},
		{"the system", object{"type": "system", "id": "operator"}, s.in("orders", s.here), "update", false, "not_a_member", nil},
		{"a key", key(s.keyID), s.in("orders", s.here), "update", true, "api_key_role", []string{"role", "event", "position", "at"}},
		{"a key that ends", key(brief), s.in("orders", s.here), "update", true, "api_key_role", []string{"role", "event", "position", "at", "until"}},
		{"a key that ends and may not", key(brief), s.in("settings", s.here), "update", false, "not_in_role", []string{"role", "event", "position", "at"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := s.ask(s.owner.auth(), object{"subject": test.subject, "action": action(test.action), "resource": test.resource}).is(200)
			context, _ := r.at("context").(object)
			if r.at("decision") != test.decision || context["reason"] != test.reason || len(context) != 1+len(test.context) {
				t.Fatalf("answered %s; want %v, %s, %v", r.raw, test.decision, test.reason, test.context)
			}
			for _, name := range test.context {
				if _, ok := context[name]; !ok {
					t.Errorf("no %s: %s", name, r.raw)
				}
			}
			switch test.name {
			case "by a grant":
				if context["event"] != granted.text("data", 0, "id") || context["position"] != granted.at("data", 0, "position") {
					t.Errorf("it was given by %s, not by %s", r.raw, granted.raw)
				}
			case "a key that ends":
				if until, err := time.Parse(time.RFC3339Nano, r.text("context", "until")); err != nil || !until.Equal(ends) {
					t.Errorf("until %v (%v), not %v", until, err, ends)
				}
			case "no such site":
				if context["site"] != "\"<site>" {
					t.Errorf("%s", r.raw)
				}
			}
		})
	}
	s.clock.forward(time.Hour)
	r := s.ask(s.owner.auth(), object{"subject": key(brief), "action": action("update"), "resource": s.in("orders", s.here)}).is(200)
	if r.at("decision") != false || r.text("context", "reason") != "api_key_ended" {
		t.Errorf("after its end: %s", r.raw)
	}
}

// Everybody may ask about themselves, about others only who may list members,
// and the operator about every team.
func TestWhoMayAsk(t *testing.T) {
	s := newShop(t)
	about := func(id string) object {
		return object{"subject": user(id), "action": action("read"), "resource": s.in("orders", s.here)}
	}
	aboutKey := object{"subject": object{"type": "api_key", "id": s.keyID}, "action": action("read"), "resource": s.in("orders", s.here)}
	weak := s.call("POST", s.path("/api-keys"), object{"name": "Weak", "role": "operator"}, s.owner.auth()).is(201)
	weakKey := object{"subject": object{"type": "api_key", "id": weak.text("id")}, "action": action("read"), "resource": s.in("orders", s.here)}

	for name, by := range map[string]with{
		"owner": s.owner.auth(), "admin": s.admin.auth(), "reader": s.reader.auth(), // who has team:read
		"key": bearer(s.key), "operator": bearer(s.world.operator),
	} {
		for _, question := range []any{about(s.owner.id), about(s.operator.id), aboutKey} {
			if r := s.ask(by, question).is(200); r.at("decision") != true {
				t.Errorf("%s is told %s", name, r.raw)
			}
		}
	}
	for name, by := range map[string]account{"manager": s.manager, "operator": s.operator} {
		if r := s.ask(by.auth(), about(by.id)).is(200); r.at("decision") != true {
			t.Errorf("%s about themselves: %s", name, r.raw)
		}
		s.ask(by.auth(), about(s.reader.id)).is(403, "not_permitted")
		s.ask(by.auth(), aboutKey).is(403, "not_permitted")
	}
	if r := s.ask(bearer(weak.text("secret")), weakKey).is(200); r.at("decision") != true {
		t.Errorf("a key about itself: %s", r.raw)
	}
	s.ask(bearer(weak.text("secret")), about(s.reader.id)).is(403, "not_permitted")

	// A key needs to name no team. Somebody who could be in several must.
	bare := object{"subject": user(s.owner.id), "action": action("read"), "resource": object{"type": "orders", "id": "1"}}
	if r := s.ask(bearer(s.key), bare).is(200); r.at("decision") != true {
		t.Errorf("a key's own team: %s", r.raw)
	}
	s.ask(bearer(s.world.operator), bare).is(400, "invalid_field")
	byID := object{"subject": user(s.owner.id), "action": action("read"), "resource": object{"type": "orders", "id": s.owner.team}}
	if r := s.ask(bearer(s.world.operator), byID).is(200); r.at("decision") != true {
		t.Errorf("a team by its id: %s", r.raw)
	}

	// Another team is to be told from none by nobody but the operator.
	nowhere := strings.ReplaceAll(s.owner.team, s.owner.team[len(s.owner.team)-6:], "000000")
	foreignKey := s.call("POST", "/v1/teams/"+s.stranger.team+"/api-keys", object{"name": "Key", "role": "admin"}, s.stranger.auth()).is(201).text("secret")
	for _, by := range []with{s.stranger.auth(), bearer(foreignKey)} {
		answers := map[string]string{}
		for _, team := range []string{s.owner.team, nowhere, "nonsense"} {
			for path, question := range map[string]object{
				evaluationPath:          {"subject": user(s.owner.id), "action": action("read")},
				evaluationsPath:         {"subject": user(s.owner.id), "evaluations": []any{object{"action": action("read")}, object{"action": action("x")}}},
				searchPath + "subject":  {"subject": object{"type": "user"}, "action": action("read")},
				searchPath + "resource": {"subject": user(s.owner.id), "action": action("read")},
				searchPath + "action":   {"subject": user(s.owner.id)},
			} {
				question["resource"] = object{"type": "orders", "properties": object{"team": team, "site": s.here}}
				r := s.call("POST", path, question, by).is(200)
				headers := maps.Clone(r.header)
				delete(headers, "X-Request-Id")
				delete(headers, "Date")
				got := fmt.Sprint(headers, string(r.raw))
				if before, seen := answers[path]; seen && before != got {
					t.Errorf("%s tells one team from another:\n%s\n%s", path, before, got)
				}
				answers[path] = got
			}
		}
	}
}

func TestRequestIDsComeBackAsTheyWereSent(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	paths := map[string]string{configurationPath: "GET", evaluationPath: "POST", evaluationsPath: "POST"}
	for _, kind := range []string{"subject", "resource", "action"} {
		paths[searchPath+kind] = "POST"
	}
	for path, method := range paths {
		for _, id := range []string{"bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "any text: /?=é" + strings.Repeat("+", 300)} {
			for _, auth := range []with{owner.auth(), bearer("nonsense")} {
				if got := w.call(method, path, nil, auth, header("X-Request-Id", id)).header["X-Request-Id"]; len(got) != 1 || got[0] != id {
					t.Errorf("%s: %q came back as %q", path, id, got)
				}
			}
		}
		if w.call(method, path, nil, owner.auth()).header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", path)
		}
	}
	// The log has no text of strangers.
	if strings.Contains(w.log.String(), "any text") {
		t.Error("the log has it")
	}
	if got := w.call("GET", "/v1/me", nil, owner.auth(), header("X-Request-Id", "any text")).header.Get("X-Request-Id"); got == "any text" {
		t.Error("elsewhere too")
	}
}

func TestConfigurationNamesTheBaseURL(t *testing.T) {
	w := newWorld(t, options{baseURL: "https://roster.example.com"})
	r := w.call("GET", configurationPath, nil, header("Host", "evil.example.com")).is(200)
	const base = "https://roster.example.com"
	for name, want := range map[string]string{
		"policy_decision_point":       base,
		"access_evaluation_endpoint":  base + "/access/v1/evaluation",
		"access_evaluations_endpoint": base + "/access/v1/evaluations",
		"search_subject_endpoint":     base + "/access/v1/search/subject",
		"search_resource_endpoint":    base + "/access/v1/search/resource",
		"search_action_endpoint":      base + "/access/v1/search/action",
	} {
		if got := r.text(name); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
	if len(r.body) != 6 || r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "public, max-age=3600" {
		t.Errorf("%v %s", r.header, r.raw)
	}
	w.call("GET", configurationPath, nil, func(r *http.Request) { r.Method = http.MethodPost }).is(405)
}
