package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// FuzzQuestion reads any body by hand and with encoding/json: both find the
// same, or nothing, and neither fails otherwise.
func FuzzQuestion(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `{}`, `[]`, `null`, `"x"`, `{"subject":{}}`, `{"subject":null,"action":[],"resource":"x"}`,
		`{"subject":{"type":"user","id":"u"},"action":{"name":"update"},"resource":{"type":"orders","id":"1","properties":{"team":"t","site":"s"}}}`,
		" {\n\"subject\" :\t{ \"type\" : \"us\\u0065r\" , \"id\":\"\\\"\\\\\" } ,\"x\":[1,-2.5e+3,true,false,null,{\"a\":[[],{}]}],\"context\":{\"\":1} }\r\n",
		`{"sub\u006aect":{"type":"\ud800","id":"é\u0000"},"resource":{"properties":{"team":1,"site":{}},"properties":{}}}`,
		`{"evaluations":[{},{"subject":{"id":"]}"}}, 1 ,"\\"],"options":{"evaluations_semantic":"execute_all"},"page":{"token":"x","limit":3}}`,
		`{"a":-0,"b":0.5E-7,"c":10e+3,"d":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":tru}`, `{"a":nulll}`,
		`{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"\u123g"}`, `{"a":trve}`, `{"a";1}`, "{\"a\":\"\x1f\"}", `{"a":"`, `{"a"`, `{"a":`, `{"a":1,}`, `{,}`, `{"a" 1}`, `{"a":[1,]}`, `{"a":[1 2]}`, `{} {}`, "{}\x00", `{"a":]}`,
		`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`,
		`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
		`{"a":[` + strings.Repeat("[1],[],{},", maxDepth) + `{}]}`,
		`{"evaluations":[],"evaluations":null,"options":null,"page":{"limit":1e3}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var q question
		b, page := batch{}, wanted{}
		w := walk{text: body}
		w.members(func(name string) {
			switch {
			case q.member(&w, name):
			case name == "page":
				page.read(&w, name)
			default:
				b.read(&w, name)
			}
		})
		members := map[string]json.RawMessage{}
		reference := json.Unmarshal([]byte(body), &members)
		if strings.TrimSpace(body) == "null" || deep(body) {
			reference = errors.New("valid, and no question")
		}
		if err := w.finish(); (err == nil) != (reference == nil) {
			t.Fatalf("by hand: %v; else: %v", err, reference)
		}
		if reference != nil {
			return
		}
		for name, e := range map[string]struct {
			got  entity
			kind string
		}{"subject": {q.subject, "type"}, "action": {q.action, "name"}, "resource": {q.resource, "type"}} {
			if e.got.twice != 0 {
				continue // one of them was read, and the other by the reference
			}
			part := map[string]json.RawMessage{}
			_ = json.Unmarshal(members[name], &part) // what is no object has no members
			properties := map[string]json.RawMessage{}
			_ = json.Unmarshal(part["properties"], &properties)
			for _, text := range [][2]string{
				{e.got.kind, textOf(part[e.kind])}, {e.got.id, textOf(part["id"])},
				{e.got.team, textOf(properties["team"])}, {e.got.site, textOf(properties["site"])},
			} {
				if utf8.ValidString(text[0]) && text[0] != text[1] {
					t.Errorf("%s has %q by hand, else %q", name, text[0], text[1])
				}
			}
		}
		if questions, err := b.questions(&q); err == nil {
			var list []json.RawMessage
			_ = json.Unmarshal([]byte(b.list), &list)
			if len(questions) != len(list) {
				t.Errorf("%d questions by hand, else %d", len(questions), len(list))
			}
		}
	})
}

// deep tells whether values stand deeper within one another than a walk goes.
func deep(body string) bool {
	depth, deepest := 0, 0
	decoder := json.NewDecoder(strings.NewReader(body))
	for {
		token, err := decoder.Token()
		if err != nil {
			return deepest > maxDepth
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// textOf is a JSON text; empty for anything else.
func textOf(raw json.RawMessage) (text string) {
	_ = json.Unmarshal(raw, &text)
	return text
}

func TestDecisionsAreWrittenAsTheyAreDescribed(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 120_000_000, time.UTC)
	for _, test := range []struct {
		decision domain.Decision
		want     decisionContext
	}{
		{domain.Decision{Reason: domain.ReasonNotMember}, decisionContext{Reason: "not_a_member"}},
		{
			domain.Decision{Allowed: true, Reason: domain.ReasonSiteGrant, Role: "manager", Site: "site_1",
				Given: domain.Given{Event: "evt_1", Position: 7, At: at}, Until: at.In(time.FixedZone("", 3600)).Add(time.Hour)},
			decisionContext{Reason: "site_grant", Role: "manager", Site: "site_1", Event: "evt_1", Position: 7,
				At: "2026-01-31T12:00:00.12Z", Until: "2026-01-31T13:00:00.12Z"},
		},
		{domain.Decision{Reason: domain.ReasonUnknownSite, Site: "\"\\\n\x00<é\xff>"}, decisionContext{Reason: "unknown_site", Site: "\"\\\n\x00<é\ufffd>"}},
	} {
		var got evaluationAnswer
		text := appendDecision(nil, &test.decision)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(evaluationAnswer{Decision: test.decision.Allowed, Context: test.want}, got); diff != "" {
			t.Error(diff)
		}
	}
}

// BenchmarkQuestion is reading one question, or a hundred.
func BenchmarkQuestion(b *testing.B) {
	body := []byte(`{"subject":{"type":"user","id":"user_01jh8x3w4zf2vr9q6d1e7c5b3a"},"action":{"name":"update"},"resource":{"type":"orders","id":"42","properties":{"team":"team_01jh8x3w4zf2vr9q6d1e7c5b3a","site":"site_01jh8x3w4zf2vr9q6d1e7c5b3a"}}}`)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w := walk{text: string(body)}
			var q question
			q.read(&w)
			if err := w.finish(); err != nil {
				b.Fatal(err)
			}
		}
	})
	hundred := fmt.Appendf(nil, `{"evaluations":[%s%s]}`, body, strings.Repeat(","+string(body), 99))
	b.Run("hundred", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w := walk{text: string(hundred)}
			var all batch
			w.members(func(name string) { all.read(&w, name) })
			if _, err := all.questions(&question{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
