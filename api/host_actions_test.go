package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// keyOf makes an API key of the account's team.
func (w *world) keyOf(owner account, role string) (id string, auth with) {
	w.Helper()
	r := w.call("POST", "/v1/teams/"+owner.team+"/api-keys", map[string]any{"name": "shop", "role": role}, owner.auth()).is(201)
	return r.text("id"), bearer(r.text("secret"))
}

// TestHostProductRecordsItsOwnActions is the host's part of the audit log over
// HTTP: one action, many, and what the log and its exports show of them.
func TestHostProductRecordsItsOwnActions(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	owner := w.signUp()
	w.call("PUT", "/v1/teams/"+owner.team+"/plan", map[string]any{"plan": "enterprise"}, bearer(w.operator)).is(200)
	operator := w.join(owner, "operator")
	keyID, key := w.keyOf(owner, "admin")
	log := "/v1/teams/" + owner.team + "/audit-events"
	team := w.call("GET", "/v1/teams/"+owner.team, nil, owner.auth()).is(200)

	order := map[string]any{
		"action": "order.shipped", "target": map[string]any{"type": "order", "id": "A-42", "name": " Order of <Ada> "},
		"detail": map[string]any{"total": 12.5, "items": []any{"pen"}}, "on_behalf_of": operator.id, "occurred_at": "2026-01-02T03:04:05.678901234+01:00",
	}
	recorded := w.call("POST", log, order, key).is(201)
	if recorded.text("action") != "order.shipped" || recorded.text("actor", "id") != keyID || recorded.text("actor", "type") != "api_key" ||
		recorded.text("target", "name") != "Order of <Ada>" || recorded.text("on_behalf_of") != operator.id || recorded.at("detail", "total") != 12.5 ||
		recorded.text("occurred_at") != "2026-01-02T02:04:05.678901Z" || recorded.text("request_id") != recorded.header.Get("X-Request-Id") ||
		recorded.at("position") != float64(recorded.position()) || recorded.header.Get("ETag") != team.header.Get("ETag") {
		t.Errorf("recording answers %v %s", recorded.header, recorded.raw)
	}
	// Whoever wrote it reads it at once, the key as well as a user.
	shown := w.call("GET", log+"?target=A-42", nil, key).is(200)
	if shown.text("data", 0, "id") != recorded.text("id") || shown.text("data", 0, "at") != recorded.text("at") ||
		shown.text("data", 0, "actor", "name") != "shop" || shown.text("data", 0, "actor", "ip") != "127.0.0.1" ||
		shown.text("data", 0, "on_behalf_of", "email") != operator.email || shown.text("data", 0, "target", "name") != "Order of <Ada>" ||
		shown.text("data", 0, "occurred_at") != "2026-01-02T02:04:05.678901Z" || shown.at("data", 0, "before") != nil {
		t.Errorf("the log has %s", shown.raw)
	}
	var entry struct {
		Data []struct{ Detail json.RawMessage }
	}
	if err := json.Unmarshal(shown.raw, &entry); err != nil || string(entry.Data[0].Detail) != `{"items":["pen"],"total":12.5}` {
		t.Errorf("the detail is %s, %v", entry.Data[0].Detail, err)
	}
	own := w.call("POST", log, map[string]any{"action": "page.edited", "target": map[string]any{"type": "page", "id": "home"}}, owner.auth()).is(201)
	if got := w.call("GET", log+"?action=page.edited", nil, owner.auth()).is(200); got.text("data", 0, "id") != own.text("id") ||
		got.at("data", 0, "on_behalf_of") != nil || got.at("data", 0, "detail") != nil || got.at("data", 0, "occurred_at") != nil {
		t.Errorf("the log has %s", got.raw)
	}
	if created := w.call("GET", log+"?action=team.created", nil, owner.auth()).is(200); created.at("data", 0, "detail") != nil {
		t.Errorf("an entry of Roster's has %s", created.raw)
	}

	// Many at once.
	var events []any
	for i := range 1000 {
		events = append(events, map[string]any{
			"action": "stock.counted", "target": map[string]any{"type": "product", "id": fmt.Sprint(i), "name": fmt.Sprint("Product ", i)},
			"detail": map[string]any{"n": i}, "on_behalf_of": operator.id,
		})
	}
	all := w.call("POST", log+"/batch", map[string]any{"events": events}, key).is(201)
	last := w.call("GET", log+"?action=stock.counted&limit=200", nil, bearer(owner.token), header("Roster-At-Least", all.header.Get("Roster-Position"))).is(200)
	for i := range 200 {
		if all.text("data", 999-i, "id") != last.text("data", i, "id") || last.text("data", i, "target", "id") != fmt.Sprint(999-i) {
			t.Fatalf("entry %d from the end is %s", i, last.text("data", i, "id"))
		}
	}

	// By the member: what was done on their behalf, by them, and to them.
	w.call("PUT", "/v1/teams/"+owner.team+"/members/"+operator.id+"/role", map[string]any{"role": "manager"}, owner.auth()).is(200)
	var actions []string
	mine := w.call("GET", log+"?limit=200&action=order.shipped,role.changed,member.joined,session.started&member="+operator.id, nil, owner.auth()).is(200)
	for i := range mine.at("data").([]any) {
		actions = append(actions, mine.text("data", i, "action"))
	}
	if want := []string{"role.changed", "order.shipped", "session.started", "member.joined"}; !slices.Equal(actions, want) {
		t.Errorf("by the member: %v, want %v", actions, want)
	}
	if by := w.call("GET", log+"?member="+operator.id+"&target=7&action=stock.counted", nil, owner.auth()).is(200); len(by.at("data").([]any)) != 1 {
		t.Errorf("by member and target: %s", by.raw)
	}
	page := w.call("GET", log+"?limit=1&member="+operator.id, nil, owner.auth()).is(200).at("page", "next_token").(string)
	w.call("GET", log+"?limit=1&page_token="+page, nil, owner.auth()).is(422, "invalid_page_token")
	w.call("GET", log+"?action="+strings.Repeat("a.b,", 33), nil, owner.auth()).is(422, "invalid_field")

	rows, err := csv.NewReader(bytes.NewReader(w.call("GET", log+"/export?format=csv&target=A-42", nil, owner.auth()).is(200).raw)).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	if diff := strings.Join(rows[1][16:], "|"); diff != operator.id+"|A Member|"+operator.email+`|{"items":["pen"],"total":12.5}|2026-01-02T02:04:05.678901Z` {
		t.Errorf("in CSV: %s", diff)
	}
	line := w.call("GET", log+"/export?format=jsonl&target=A-42", nil, owner.auth()).is(200)
	if line.text("on_behalf_of", "id") != operator.id || line.at("detail", "total") != 12.5 {
		t.Errorf("in JSON Lines: %s", line.raw)
	}
}

func TestHostActionsThatAreRefused(t *testing.T) {
	w := newWorld(t, options{})
	owner, stranger := w.signUp(), w.signUp()
	member := w.join(owner, "MEMBER")
	_, key := w.keyOf(owner, "ADMIN")
	_, weak := w.keyOf(owner, "MEMBER")
	log := "/v1/teams/" + owner.team + "/audit-events"
	body := func(change func(map[string]any)) map[string]any {
		b := map[string]any{"action": "order.shipped", "target": map[string]any{"type": "order", "id": "1"}}
		change(b)
		return b
	}
	good := body(func(map[string]any) {})
	before := w.position()
	w.call("POST", log, good, stranger.auth()).is(404, "not_found")
	w.call("POST", log, good, member.auth()).is(403, "not_permitted")
	w.call("POST", log, good, weak).is(403, "not_permitted")
	w.call("POST", log+"/batch", map[string]any{"events": []any{good}}, member.auth()).is(403, "not_permitted")
	w.call("POST", log, good).is(401)
	for _, c := range []struct {
		name, pointer string
		change        func(map[string]any)
	}{
		{"no action", "#/action", func(b map[string]any) { delete(b, "action") }},
		{"Roster's action", "#/action", func(b map[string]any) { b["action"] = "member.removed" }},
		{"like Roster's", "#/action", func(b map[string]any) { b["action"] = "two_factor.lost" }},
		{"in capitals", "#/action", func(b map[string]any) { b["action"] = "Order.Shipped" }},
		{"no target", "#/target", func(b map[string]any) { delete(b, "target") }},
		{"no id of the target", "#/target/id", func(b map[string]any) { b["target"] = map[string]any{"type": "order"} }},
		{"another type of target", "#/target/type", func(b map[string]any) { b["target"] = map[string]any{"type": "Order!", "id": "1"} }},
		{"a detail that is a list", "#/detail", func(b map[string]any) { b["detail"] = []any{1} }},
		{"a long detail", "#/detail", func(b map[string]any) { b["detail"] = map[string]any{"a": strings.Repeat("x", 5000)} }},
		{"in the future", "#/occurred_at", func(b map[string]any) { b["occurred_at"] = time.Now().Add(time.Hour).Format(time.RFC3339) }},
		{"no time", "#/occurred_at", func(b map[string]any) { b["occurred_at"] = "yesterday" }},
		{"on behalf of a stranger", "#/on_behalf_of", func(b map[string]any) { b["on_behalf_of"] = stranger.id }},
		{"the actor", "#/actor", func(b map[string]any) { b["actor"] = map[string]any{"type": "user", "id": member.id} }},
		{"an IP address", "#/ip", func(b map[string]any) { b["ip"] = "192.0.2.1" }},
		{"before", "#/before", func(b map[string]any) { b["before"] = map[string]any{} }},
	} {
		bad := body(c.change)
		for path, sent := range map[string]any{log: bad, log + "/batch": map[string]any{"events": []any{good, bad}}} {
			pointer := c.pointer
			if path != log {
				pointer = "#/events/1" + pointer[1:]
			}
			if r := w.call("POST", path, sent, key).is(422, "invalid_field"); !strings.Contains(string(r.raw), `"`+pointer+`"`) {
				t.Errorf("%s: %s", c.name, r.raw)
			}
		}
	}
	w.call("POST", log, body(func(b map[string]any) { b["on_behalf_of"] = member.id }), owner.auth()).is(422, "invalid_field")
	w.call("POST", log, `{"action":"order.shipped","target":{"type":"order","id":"1"},"detail":{"a":1,"a":2}}`, key).is(422, "invalid_field")
	w.call("POST", log+"/batch", map[string]any{"events": []any{}}, key).is(422, "invalid_field")
	w.call("POST", log+"/batch", map[string]any{"events": slices.Repeat([]any{good}, 1001)}, key).is(422, "invalid_field")
	w.call("POST", log, good, key, header("If-Match", `"999"`)).is(412, "version_conflict")

	// A body is bounded, announced or not: that of many actions at 1 MiB.
	large := func(path string, size int, announced bool) *reply {
		text := `{"events":[` + strings.Repeat(" ", size)
		return w.call("POST", path, text, key, func(r *http.Request) {
			if !announced {
				r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader(text))
			}
		})
	}
	for _, announced := range []bool{true, false} {
		large(log, maxBody, announced).is(413, "body_too_large")
		large(log+"/batch", maxBody, announced).is(422, "malformed_body")
		if r := large(log+"/batch", maxRecorded, announced).is(413, "body_too_large"); !strings.Contains(r.text("detail"), "1048576") {
			t.Errorf("it says %s", r.raw)
		}
	}
	if after := w.position(); after != before {
		t.Errorf("refusals left %d events", after-before)
	}
}

// A repetition under an idempotency key records nothing twice.
func TestHostActionsOnce(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	log := "/v1/teams/" + owner.team + "/audit-events"
	one := map[string]any{"action": "order.shipped", "target": map[string]any{"type": "order", "id": "1"}}
	for path, body := range map[string]any{log: one, log + "/batch": map[string]any{"events": []any{one, one}}} {
		first := w.call("POST", path, body, owner.auth(), header("Idempotency-Key", "k"+path)).is(201)
		before := w.position()
		again := w.call("POST", path, body, owner.auth(), header("Idempotency-Key", "k"+path)).is(201)
		if !bytes.Equal(first.raw, again.raw) || first.header.Get("Roster-Position") != again.header.Get("Roster-Position") || w.position() != before {
			t.Errorf("%s: again %s", path, again.raw)
		}
	}
	if r := w.call("GET", log+"?action=order.shipped", nil, owner.auth()).is(200); len(r.at("data").([]any)) != 3 {
		t.Errorf("the log has %s", r.raw)
	}
}

// An export ends with the connection of whoever asked for it, long before the
// log does.
func TestAnExportEndsWithItsReader(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	log := "/v1/teams/" + owner.team + "/audit-events"
	events := make([]any, 1000)
	for i := range events {
		events[i] = map[string]any{
			"action": "order.shipped", "target": map[string]any{"type": "order", "id": fmt.Sprint(i)}, "detail": map[string]any{"text": strings.Repeat("x", 800)},
		}
	}
	const times = 15 // more than the buffers of a connection hold
	for range times {
		w.call("POST", log+"/batch", map[string]any{"events": events}, owner.auth()).is(201)
	}
	for _, format := range []string{"csv", "jsonl"} {
		r, err := http.NewRequest(http.MethodGet, w.http.URL+log+"/export?format="+format, nil)
		if err != nil {
			t.Fatal(err)
		}
		owner.auth()(r)
		r.Header.Set("X-Request-Id", "export-"+format)
		answer, err := w.http.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(answer.Body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		answer.Body.Close() // which closes the connection, as there is more
	}
	w.http.Close() // waits for what is being answered
	seen := 0
	for line := range strings.Lines(w.log.String()) {
		var entry struct {
			ID    string `json:"request_id"`
			Bytes int    `json:"bytes"`
			Error string `json:"error"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && strings.HasPrefix(entry.ID, "export-") {
			seen++
			if entry.Bytes < 1000 || entry.Bytes > times*1000*1000/2 || entry.Error == "" {
				t.Errorf("%s: %s", entry.ID, line)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d exports have ended", seen)
	}
}
