package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// description is /openapi.json as far as these tests read it.
type openAPI struct {
	OpenAPI string
	Tags    []struct{ Name string }
	Paths   map[string]map[string]*describedOperation

	Components struct {
		Schemas         map[string]*schema
		SecuritySchemes map[string]any
	}
}

type describedOperation struct {
	OperationID string
	Summary     string
	Tags        []string
	Security    []map[string][]string
	Parameters  []struct {
		Name, In string
		Required bool
		Schema   *schema
	}
	RequestBody *struct {
		Content map[string]struct{ Schema *schema }
	}
	Responses map[string]struct {
		Description string
		Content     map[string]struct{ Schema *schema }
		Headers     map[string]any
	}
}

type schema struct {
	Ref                  string `json:"$ref"`
	Type                 any
	Format               string
	Enum                 []any
	Properties           map[string]*schema
	Required             []string
	AdditionalProperties any
	Items                *schema
	MaxLength, MaxItems  *int
	MaxProperties        *int
	MinLength            int
}

func (w *world) describe() *openAPI {
	w.Helper()
	var out openAPI
	if err := json.Unmarshal(w.call("GET", "/openapi.json", nil).is(200).raw, &out); err != nil {
		w.Fatal(err)
	}
	return &out
}

func (d *openAPI) resolve(t testing.TB, s *schema) *schema {
	t.Helper()
	for s.Ref != "" {
		name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/")
		if !ok || d.Components.Schemas[name] == nil {
			t.Fatalf("%s leads nowhere", s.Ref)
		}
		s = d.Components.Schemas[name]
	}
	return s
}

// each calls do for every operation.
func (d *openAPI) each(do func(method, path string, o *describedOperation)) {
	for path, methods := range d.Paths {
		for method, o := range methods {
			do(strings.ToUpper(method), path, o)
		}
	}
}

func (d *openAPI) body(t testing.TB, o *describedOperation) *schema {
	t.Helper()
	if o.RequestBody == nil {
		return nil
	}
	if len(o.RequestBody.Content) != 1 || o.RequestBody.Content["application/json"].Schema == nil {
		t.Fatalf("%s takes a body that is no JSON", o.OperationID)
	}
	return o.RequestBody.Content["application/json"].Schema
}

var placeholder = regexp.MustCompile(`\{([a-z]+)\}`)

func TestTheDescriptionIsComplete(t *testing.T) {
	w := newWorld(t, options{})
	d := w.describe()
	if !strings.HasPrefix(d.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s", d.OpenAPI)
	}
	ids := map[string]bool{}
	d.each(func(method, path string, o *describedOperation) {
		name := method + " " + path
		if o.OperationID == "" || ids[o.OperationID] {
			t.Errorf("%s: operationId %q is missing or not the only one", name, o.OperationID)
		}
		ids[o.OperationID] = true
		if o.Summary == "" || len(o.Tags) != 1 || !slices.ContainsFunc(d.Tags, func(tag struct{ Name string }) bool { return tag.Name == o.Tags[0] }) {
			t.Errorf("%s: summary %q, tags %v", name, o.Summary, o.Tags)
		}
		if o.Security == nil {
			t.Errorf("%s doesn't say which credential it takes", name)
		}
		for _, requirement := range o.Security {
			for scheme := range requirement {
				if d.Components.SecuritySchemes[scheme] == nil {
					t.Errorf("%s: no scheme %s", name, scheme)
				}
			}
		}
		var parameters []string
		for _, p := range o.Parameters {
			if p.In == "path" {
				parameters = append(parameters, p.Name)
			}
			if s := d.resolve(t, p.Schema); s.Type == "string" && s.MaxLength == nil && s.Enum == nil {
				t.Errorf("%s: parameter %s has no bound", name, p.Name)
			}
		}
		var wanted []string
		for _, match := range placeholder.FindAllStringSubmatch(path, -1) {
			wanted = append(wanted, match[1])
		}
		slices.Sort(parameters)
		slices.Sort(wanted)
		if !slices.Equal(parameters, wanted) {
			t.Errorf("%s describes path parameters %v", name, parameters)
		}
		good := 0
		for status, answer := range o.Responses {
			if strings.HasPrefix(status, "2") {
				good++
				if len(answer.Content) == 0 && status != "204" {
					t.Errorf("%s: no content for %s", name, status)
				}
				continue
			}
			if answer.Content["application/problem+json"].Schema.Ref != "#/components/schemas/Problem" {
				t.Errorf("%s: %s is no problem", name, status)
			}
		}
		malformed := "422"
		if strings.HasPrefix(path, accessPath) {
			malformed = "400" // as AuthZEN has it
		}
		if good != 1 && (o.OperationID != "sign-in" || good != 2) || len(o.Responses[malformed].Content) == 0 {
			t.Errorf("%s: answers %d good statuses", name, good)
		}
		if body := d.body(t, o); body != nil {
			d.wantBounded(t, name, body, strings.HasPrefix(path, accessPath))
		}
	})
	if len(ids) < 40 {
		t.Errorf("only %d operations", len(ids))
	}
}

// wantBounded checks that nothing of a body is without a limit, and that
// unknown fields are refused.
func (d *openAPI) wantBounded(t *testing.T, at string, s *schema, open bool) {
	t.Helper()
	s = d.resolve(t, s)
	kind := fmt.Sprint(s.Type)
	switch {
	case strings.Contains(kind, "string"):
		if s.MaxLength == nil && s.Enum == nil && s.Format != "date-time" {
			t.Errorf("%s: text without maxLength", at)
		}
	case strings.Contains(kind, "array"):
		if s.MaxItems == nil {
			t.Errorf("%s: list without maxItems", at)
		}
		d.wantBounded(t, at+"[]", s.Items, open)
	case strings.Contains(kind, "object") && len(s.Properties) == 0 && s.MaxProperties != nil:
		// By names that the caller chooses, so many of them at most.
		if of, ok := s.AdditionalProperties.(map[string]any); !ok || of["format"] != "date-time" {
			t.Errorf("%s: additionalProperties is %v", at, s.AdditionalProperties)
		}
	case strings.Contains(kind, "object"):
		// The detail of a host's own action is the host's; its size is bounded.
		if s.AdditionalProperties != (open || strings.HasSuffix(at, ".detail")) {
			t.Errorf("%s: additionalProperties is %v", at, s.AdditionalProperties)
		}
		for name, property := range s.Properties {
			d.wantBounded(t, at+"."+name, property, open)
		}
	}
}

// sample makes a body that a schema accepts. values are what to use for the
// fields of a name.
func (d *openAPI) sample(t testing.TB, s *schema, name string, values map[string]string) any {
	t.Helper()
	s = d.resolve(t, s)
	kind := fmt.Sprint(s.Type)
	switch {
	case values[name] != "":
		return values[name]
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Format == "date-time":
		return "2099-01-01T00:00:00Z"
	case strings.Contains(kind, "string"):
		return strings.Repeat("sample", 1+s.MinLength/6)
	case strings.Contains(kind, "array"):
		return []any{d.sample(t, s.Items, strings.TrimSuffix(name, "s"), values)}
	case strings.Contains(kind, "integer"), strings.Contains(kind, "number"):
		return 1
	case strings.Contains(kind, "boolean"):
		return true
	}
	out := map[string]any{}
	for property, of := range s.Properties {
		out[property] = d.sample(t, of, property, values)
	}
	return out
}

var requestIDs = regexp.MustCompile(`"request_id":"[^"]*"`)

// TestNoOperationReachesIntoAnotherTeam replays the whole description: every
// operation that names a team, and every one that names something of a team,
// with everything that another team has. A new operation is covered by being
// described.
func TestNoOperationReachesIntoAnotherTeam(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	mine, theirs := w.signUp(), w.signUp()
	member := w.join(theirs, "member")
	their := func(path string, body any) *reply {
		return w.call("POST", "/v1/teams/"+theirs.team+path, body, theirs.auth()).is(201)
	}
	site := their("/sites", map[string]any{"name": "Site"}).text("id")
	values := map[string]string{
		"role": "member", "site_id": site, "user_id": member.id, "password": password, "current_password": password,
		"new_password": password, "permission": "team:read", "granted": "", "plan": "pro", "catalog": "default", "team_id": theirs.team,
	}
	invitation := their("/invitations", map[string]any{"email": newEmail(), "role": "member"})
	foreign := map[string]string{
		"team": theirs.team, "user": member.id, "site": site, "position": fmt.Sprint(invitation.position()),
		"role":                their("/roles", map[string]any{"name": "Their own", "level": 1, "permissions": []string{"team:read"}}).text("key"),
		"invitations":         invitation.text("id"),
		"api-keys":            their("/api-keys", map[string]any{"name": "Key", "role": "member"}).text("id"),
		"access-reviews":      their("/access-reviews", map[string]any{}).text("id"),
		"ownership-transfers": their("/ownership-transfers", map[string]any{"user_id": member.id, "password": password}).text("id"),
	}
	key := w.call("POST", "/v1/teams/"+mine.team+"/api-keys", map[string]any{"name": "Key", "role": "admin"}, mine.auth()).is(201).text("secret")

	fill := func(path, team string) string {
		parts := strings.Split(path, "/")
		for i, part := range parts {
			switch name := strings.Trim(part, "{}"); name {
			case part:
			case "team":
				parts[i] = team
			case "id":
				parts[i] = foreign[parts[i-1]]
			default:
				parts[i] = foreign[name]
			}
			if parts[i] == "" && i > 0 {
				t.Fatalf("%s: nothing to put in for %s; teach this test", path, part)
			}
		}
		return strings.Join(parts, "/")
	}

	d := w.describe()
	checked := 0
	d.each(func(method, path string, o *describedOperation) {
		if !strings.Contains(path, "{team}") {
			return
		}
		checked++
		send := func(team string, body any, auth with) *reply { return w.call(method, fill(path, team), body, auth) }
		var body any
		if s := d.body(t, o); s != nil {
			values["email"] = newEmail()
			body = d.sample(t, s, "", values)
		}
		before := w.position()
		nowhere := strings.ReplaceAll(theirs.team, theirs.team[len(theirs.team)-6:], "000000")
		for _, by := range []struct {
			who  string
			auth with
		}{{"a member of another team", mine.auth()}, {"a key of another team", bearer(key)}} {
			got := send(theirs.team, body, by.auth)
			absent := send(nowhere, body, by.auth)
			if got.status == 403 && absent.status == 403 && got.text("code") == "user_required" {
				continue // refused for what it is, whatever the team
			}
			if got.status != 404 {
				t.Errorf("%s %s by %s answers %d: %s", method, path, by.who, got.status, got.raw)
				continue
			}
			if a, b := requestIDs.ReplaceAll(got.raw, nil), requestIDs.ReplaceAll(absent.raw, nil); !bytes.Equal(a, b) {
				t.Errorf("%s %s by %s tells another team from none:\n%s\n%s", method, path, by.who, a, b)
			}
			for name := range got.header {
				if name != "X-Request-Id" && name != "Date" && got.header.Get(name) != absent.header.Get(name) {
					t.Errorf("%s %s: header %s is %q, of no team %q", method, path, name, got.header.Get(name), absent.header.Get(name))
				}
			}
			// Nor does a broken request, nor one without a body.
			if body != nil {
				send(theirs.team, `{"broken`, by.auth).is(404, "not_found")
				send(theirs.team, nil, by.auth).is(404, "not_found")
			}
		}
		// One's own team with something of theirs.
		if strings.Count(path, "{") > 1 {
			if r := send(mine.team, body, mine.auth()); r.status != 404 {
				t.Errorf("%s %s of one's own team with something of another answers %d: %s", method, path, r.status, r.raw)
			}
		}
		if after := w.position(); after != before {
			t.Errorf("%s %s left %d events", method, path, after-before)
		}
		// Without a credential there is nothing to tell at all.
		w.call(method, fill(path, theirs.team), body).is(401, "unauthenticated")
	})
	if checked < 25 {
		t.Errorf("only %d operations name a team", checked)
	}
}

// TestPrivilegedFieldsAreRefusedEverywhere sends what only the server decides
// with every body that is described.
func TestPrivilegedFieldsAreRefusedEverywhere(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	d := w.describe()
	d.each(func(method, path string, o *describedOperation) {
		s := d.body(t, o)
		if s == nil || strings.HasPrefix(path, accessPath) || strings.Contains(path, "{token}") {
			return
		}
		target := w.anyPath(path, owner)
		for _, field := range []string{"actor", "owner", "is_admin", "created_at", "id", "email_verified", "status", "actions"} {
			if d.resolve(t, s).Properties[field] != nil {
				continue
			}
			body, _ := d.sample(t, s, "", map[string]string{"email": newEmail()}).(map[string]any)
			body[field] = true
			before := w.position()
			r := w.call(method, target, body, owner.auth()).is(422, "invalid_field")
			if !strings.Contains(string(r.raw), `"#/`+field+`"`) || w.position() != before {
				t.Errorf("%s %s takes %s: %s", method, path, field, r.raw)
			}
		}
	})
}
