package api

import (
	"encoding/json"
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
		`{"evaluations":[],"evaluations":null,"options":null,"page":{"limit":1e3}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var q question
		b, page := batch{}, wanted{}
		err := q.members([]byte(body), func(w *walk, name string) {
			if name == "page" {
				page.read(w, name)
			} else {
				b.read(w, name)
			}
		})
		members := map[string]json.RawMessage{}
		if reference := json.Unmarshal([]byte(body), &members); (reference == nil && strings.TrimSpace(body) != "null") != (err == nil) {
			t.Fatalf("by hand: %v; else: %v", err, reference)
		}
		if err != nil {
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
			var q question
			if err := q.members(body, skipped); err != nil {
				b.Fatal(err)
			}
		}
	})
	hundred := fmt.Appendf(nil, `{"evaluations":[%s%s]}`, body, strings.Repeat(","+string(body), 99))
	b.Run("hundred", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var q question
			var all batch
			if err := q.members(hundred, all.read); err != nil {
				b.Fatal(err)
			}
			if _, err := all.questions(&q); err != nil {
				b.Fatal(err)
			}
		}
	})
}
