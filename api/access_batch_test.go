package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func (s *shop) askAll(by with, body any) *reply {
	s.Helper()
	return s.call("POST", evaluationsPath, body, by)
}

// decisions are those of a batch, with the reason or the code of the error of
// each.
func (r *reply) decisions() (all []string) {
	r.t.Helper()
	list, _ := r.at("evaluations").([]any)
	for i := range list {
		why, _ := r.at("evaluations", i, "context", "reason").(string)
		if why == "" {
			why = fmt.Sprintf("%v %s", r.at("evaluations", i, "context", "error", "status"), r.text("evaluations", i, "context", "error", "code"))
		}
		all = append(all, fmt.Sprintf("%v %s", r.at("evaluations", i, "decision"), why))
	}
	return all
}

func (r *reply) wantDecisions(want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.decisions()); diff != "" {
		r.t.Errorf("-want +got\n%s%s", diff, r.raw)
	}
}

func TestEvaluationsTakeDefaultsWhole(t *testing.T) {
	s := newShop(t)
	orders := s.in("orders", s.here)
	subject, act := user(s.manager.id), action("update")
	for _, test := range []struct {
		name string
		body any
		want []string
	}{
		{"everything in each", object{"evaluations": []any{
			object{"subject": subject, "action": act, "resource": orders},
			object{"subject": user(s.operator.id), "action": act, "resource": orders, "context": object{"time": "now"}},
		}}, []string{"true site_grant", "false not_in_role"}},
		{"defaults", object{"subject": subject, "action": act, "resource": orders, "context": object{}, "evaluations": []any{
			object{},
			object{"action": action("read")},
			object{"resource": s.in("orders", s.there)},
			object{"subject": user(s.owner.id), "resource": s.in("billing", "")},
		}}, []string{"true site_grant", "true site_grant", "false no_site_grant", "true role"}},
		{"null takes the default", object{"subject": subject, "action": act, "resource": orders,
			"evaluations": []any{object{"subject": nil, "resource": nil}}}, []string{"true site_grant"}},
		// What an item has of its own replaces the default: nothing is taken from
		// within the default for it.
		{"whole objects", object{"subject": subject, "action": act, "resource": orders, "evaluations": []any{
			object{"resource": object{"type": "orders", "id": "1"}},
			object{"resource": object{"properties": orders["properties"]}},
			object{"subject": object{"id": s.owner.id}},
		}}, []string{"false 400 invalid_field", "false 400 invalid_field", "false 400 invalid_field"}},
		{"defaults after the list", `{"evaluations":[{},{"action":{"name":"read"}}],` + strings.TrimPrefix(
			fmt.Sprintf(`{"subject":{"type":"user","id":%q},"action":{"name":"update"},"resource":{"type":"orders","id":"1","properties":{"team":%q,"site":%q}}}`,
				s.manager.id, s.owner.team, s.here), "{"), []string{"true site_grant", "true site_grant"}},
		{"a default that isn't needed may be wrong", object{"subject": 5, "action": act, "resource": object{}, "evaluations": []any{
			object{"subject": subject, "resource": orders},
		}}, []string{"true site_grant"}},
		{"errors are of one item", object{"subject": subject, "action": act, "evaluations": []any{
			object{"resource": orders}, object{}, 7, nil, object{"resource": "x"}, object{"resource": orders, "context": 5},
			object{"resource": orders, "action": object{"name": 1}}, object{"resource": orders},
		}}, []string{
			"true site_grant", "false 400 invalid_field", "false 400 invalid_field", "false 400 invalid_field", "false 400 invalid_field",
			"false 400 invalid_field", "false 400 invalid_field", "true site_grant",
		}},
		{"several teams", object{"subject": subject, "action": act, "evaluations": []any{
			object{"resource": s.in("orders", s.there)},
			object{"resource": object{"type": "orders", "properties": object{"team": s.stranger.team}}},
			object{"resource": orders},
			object{"resource": object{"type": "orders", "properties": object{"team": "nonsense"}}},
			object{"subject": user(s.stranger.id), "resource": object{"type": "orders", "properties": object{"team": s.stranger.team}}},
			object{"resource": s.in("orders", "")},
		}}, []string{"false no_site_grant", "false not_a_member", "true site_grant", "false not_a_member", "true role", "false site_required"}},
	} {
		t.Log(test.name)
		s.askAll(bearer(s.world.operator), test.body).is(200).wantDecisions(test.want...)
	}
	r := s.askAll(s.owner.auth(), object{"subject": subject, "action": act, "evaluations": []any{object{"resource": orders}, object{}}}).is(200)
	if r.text("evaluations", 1, "context", "error", "errors", 0, "pointer") != "#/evaluations/1/resource" || r.text("evaluations", 1, "context", "error", "message") == "" {
		t.Errorf("the error doesn't say what: %s", r.raw)
	}
}

// Who may ask about whom holds for each question.
func TestEvaluationsAboutOthers(t *testing.T) {
	s := newShop(t)
	s.askAll(s.manager.auth(), object{"action": action("read"), "resource": s.in("orders", s.here), "evaluations": []any{
		object{"subject": user(s.manager.id)}, object{"subject": user(s.owner.id)}, object{"subject": user(s.manager.id), "action": action("x")},
	}}).is(200).wantDecisions("true site_grant", "false 403 not_permitted", "false unknown_permission")
}

func TestEvaluationsSemantics(t *testing.T) {
	s := newShop(t)
	ask := func(semantic any, actions ...string) *reply {
		items := []any{}
		for _, name := range actions {
			items = append(items, object{"action": action(name)})
		}
		return s.askAll(s.owner.auth(), object{
			"subject": user(s.operator.id), "resource": s.in("orders", s.here),
			"evaluations": items, "options": object{"evaluations_semantic": semantic, "another_option": "value"},
		})
	}
	const yes, no = "true site_grant", "false not_in_role"
	ask("execute_all", "read", "delete", "ship").is(200).wantDecisions(yes, no, yes)
	ask(nil, "read", "delete", "ship").is(200).wantDecisions(yes, no, yes)
	ask("deny_on_first_deny", "read", "delete", "ship").is(200).wantDecisions(yes, no)
	ask("deny_on_first_deny", "read", "ship").is(200).wantDecisions(yes, yes)
	ask("deny_on_first_deny", "read", "", "ship").is(200).wantDecisions(yes, "false 400 invalid_field")
	ask("permit_on_first_permit", "delete", "ship", "read").is(200).wantDecisions(no, yes)
	ask("permit_on_first_permit", "delete", "update").is(200).wantDecisions(no, no)
	ask("permit_on_first_permit", "", "ship", "read").is(200).wantDecisions("false 400 invalid_field", yes)
	for _, semantic := range []any{"", "EXECUTE_ALL", 5, object{}} {
		r := ask(semantic, "read").is(400, "invalid_field")
		if r.text("errors", 0, "pointer") != "#/options/evaluations_semantic" {
			t.Errorf("%v: %s", semantic, r.raw)
		}
	}
}

func TestEvaluationsWithoutAListAreOne(t *testing.T) {
	s := newShop(t)
	for _, list := range []any{nil, []any{}} {
		question := object{"subject": user(s.owner.id), "action": action("read"), "resource": s.in("orders", s.here), "evaluations": list, "options": 5}
		one := s.ask(s.owner.auth(), question).is(200)
		if got := s.askAll(s.owner.auth(), question).is(200); string(got.raw) != string(one.raw) {
			t.Errorf("%s\n%s", got.raw, one.raw)
		}
		delete(question, "resource")
		s.askAll(s.owner.auth(), question).is(400, "invalid_field")
		s.askAll(s.manager.auth(), object{"subject": user(s.owner.id), "action": action("read"), "resource": s.in("orders", s.here)}).is(403, "not_permitted")
	}
}

func TestEvaluationsAreBounded(t *testing.T) {
	s := newShop(t)
	items := make([]any, maxEvaluations)
	for i := range items {
		items[i] = object{
			"subject": user(s.manager.id), "action": action([]string{"update", "read"}[i%2]),
			"resource": s.in("orders", []string{s.here, s.there}[i/2%2]), "context": object{"note": strings.Repeat("x", 500)},
		}
	}
	r := s.askAll(s.owner.auth(), object{"evaluations": items}).is(200)
	got := r.decisions()
	if len(got) != maxEvaluations {
		t.Fatalf("%d decisions", len(got))
	}
	for i, decision := range got {
		if want := []string{"true site_grant", "false no_site_grant"}[i/2%2]; decision != want {
			t.Fatalf("%d: %s, not %s", i, decision, want)
		}
	}
	many := s.askAll(s.owner.auth(), object{"evaluations": append(items, object{})}).is(413, "body_too_large")
	if many.text("errors", 0, "pointer") != "#/evaluations" {
		t.Errorf("%s", many.raw)
	}
	s.askAll(s.owner.auth(), strings.Repeat(" ", maxEvaluationsBody+1)).is(413, "body_too_large")
	for body, pointer := range map[string]string{
		`{"evaluations":{}}`:                    "#/evaluations",
		`{"evaluations":"x"}`:                   "#/evaluations",
		`{"evaluations":[{}],"evaluations":[]}`: "#/evaluations",
		`{"evaluations":[{}],"options":[]}`:     "#/options",
	} {
		if got := s.askAll(s.owner.auth(), body).is(400, "invalid_field").text("errors", 0, "pointer"); got != pointer {
			t.Errorf("%s points at %s", body, got)
		}
	}
	s.askAll(s.owner.auth(), `{"evaluations":[{]}`).is(400, "malformed_body")
	s.askAll(s.owner.auth(), ``).is(400, "malformed_body")
}

// All questions about one team are decided by one state of it: while a site's
// grants are taken and given back, no answer has some of both.
func TestEvaluationsLookAtATeamOnce(t *testing.T) {
	s := newShop(t)
	items := make([]any, maxEvaluations)
	for i := range items {
		// One of the other team between them, so that they have to be put together.
		items[i] = object{}
		if i%100 == 1 {
			items[i] = object{"resource": object{"type": "orders", "properties": object{"team": s.stranger.team}}}
		}
	}
	body := object{"subject": user(s.manager.id), "action": action("read"), "resource": s.in("orders", s.here), "evaluations": items}

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			grants := []object{}
			if n%2 == 1 {
				grants = append(grants, object{"site_id": s.here, "role": "manager"})
			}
			s.call("PUT", s.path("/members/"+s.manager.id+"/sites"), object{"sites": grants}, s.owner.auth())
		}
	}()
	seen := map[string]int{}
	for n := 0; n < 1000 && (seen["true site_grant"] < 5 || seen["false no_site_grant"] < 5); n++ {
		all := map[string]int{}
		for _, decision := range s.askAll(bearer(s.world.operator), body).is(200).decisions() {
			all[decision]++
		}
		delete(all, "false not_a_member")
		if len(all) != 1 {
			t.Errorf("answers by two states: %v", all)
			break
		}
		for decision := range all {
			seen[decision]++
		}
	}
	close(stop)
	<-stopped
	if len(seen) != 2 {
		t.Errorf("only %v was seen", seen)
	}
}

// An answer tells up to where it takes account of everything.
func TestAccessAnswersTellTheirPosition(t *testing.T) {
	s := newShop(t)
	position := s.position()
	question := object{"subject": user(s.owner.id), "action": action("read"), "resource": s.in("orders", s.here)}
	for _, path := range []string{evaluationPath, evaluationsPath, searchPath + "subject", searchPath + "resource", searchPath + "action"} {
		r := s.call("POST", path, question, s.owner.auth(), header("Roster-At-Least", fmt.Sprint(position))).is(200)
		if got := r.position(); got != position {
			t.Errorf("%s: %d, not %d", path, got, position)
		}
	}
}
