package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/api/client"
)

func TestCheck(t *testing.T) {
	w := newWorld(t)
	owner, other := w.signUp(), w.signUp()
	member := w.join(owner, "operator")
	key := w.must("POST", "/v1/teams/"+owner.team+"/api-keys", owner.token, map[string]any{"name": "Host", "role": "admin"})
	for _, by := range []*client.Client{w.client(""), w.client(owner.token), w.client(key.text("secret"))} {
		for _, test := range []struct {
			subject, permission string
			allowed             bool
			reason              string
		}{
			{owner.id, "orders:update", true, "role"},
			{member.id, "orders:ship", true, "role"},
			{member.id, "orders:update", false, "not_in_role"},
			{other.id, "orders:update", false, "not_a_member"},
			{key.text("id"), "orders:update", true, "api_key_role"},
			{owner.id, "no:such", false, "unknown_permission"},
		} {
			d := w.check(by, client.Question{Team: owner.team, Subject: test.subject, Permission: test.permission})
			if d.Allowed != test.allowed || d.Reason != test.reason || d.AsOf == 0 {
				t.Errorf("%s of %s: %+v", test.permission, test.subject, d)
			}
		}
	}
	c := w.client(member.token)
	if _, err := c.Check(t.Context(), client.Question{Team: owner.team, Subject: owner.id, Permission: "orders:ship"}); client.Code(err) != "not_permitted" {
		t.Errorf("asking about somebody else: %v", err)
	}
	for _, bad := range []string{"", "orders", ":update", "orders:"} {
		if _, err := c.Check(t.Context(), client.Question{Team: owner.team, Subject: member.id, Permission: bad}); err == nil || client.Code(err) != "" {
			t.Errorf("%q: %v", bad, err)
		}
	}
	_, err := c.Check(t.Context(), client.Question{Team: owner.team, Permission: "orders:ship"})
	var refusal *client.Error
	if !errors.As(err, &refusal) || refusal.Code != "invalid_field" || refusal.RequestID == "" ||
		!slices.Equal(refusal.Fields, []client.FieldError{{Pointer: "#/subject/id", Detail: "is required"}}) {
		t.Errorf("no subject: %#v", err)
	}
	if text := err.Error(); !strings.Contains(text, " invalid_field: ") || !strings.Contains(text, "#/subject/id is required") {
		t.Error(text)
	}
}

// The form of a batch is that of OpenID AuthZEN 1.0.
func TestTheFormOfABatch(t *testing.T) {
	var sizes []int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Evaluations []json.RawMessage `json:"evaluations"`
			Options     json.RawMessage   `json:"options"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/access/v1/evaluations" {
			t.Errorf("%s: %v", r.URL.Path, err)
			return
		}
		const first = `{"subject":{"type":"user","id":"user_0"},"action":{"name":"update"},` +
			`"resource":{"type":"orders","properties":{"team":"team_1","site":"site_1"}}}`
		if len(sizes) == 0 && string(body.Evaluations[0]) != first || string(body.Options) != `{"evaluations_semantic":"execute_all"}` {
			t.Errorf("asked %s with %s", body.Evaluations[0], body.Options)
		}
		sizes = append(sizes, len(body.Evaluations))
		w.Header().Set("Roster-Position", "12")
		answers := strings.Repeat(`,{"decision":true,"context":{"reason":"role"}}`, len(body.Evaluations)-1)
		fmt.Fprintf(w, `{"evaluations":[{"decision":true,"context":{"error":{"status":404,"code":"not_found","message":"gone","errors":[{"pointer":"#/x","detail":"y"}]}}}%s]}`, answers)
	}))
	defer server.Close()
	c, err := client.New(server.URL, "token")
	if err != nil {
		t.Fatal(err)
	}
	questions := make([]client.Question, 2500)
	for i := range questions {
		questions[i] = client.Question{Team: "team_1", Subject: fmt.Sprint("user_", i), Permission: "orders:update", Site: "site_1"}
	}
	decisions, err := c.CheckAll(t.Context(), questions)
	if err != nil || len(decisions) != len(questions) || !slices.Equal(sizes, []int{1000, 1000, 500}) {
		t.Fatalf("%d decisions in %v, %v", len(decisions), sizes, err)
	}
	if d := decisions[0]; d.Allowed || d.Err == nil || d.Err.Status != 404 || d.Err.Detail != "gone" || d.Err.Code != "not_found" || len(d.Err.Fields) != 1 {
		t.Errorf("what couldn't be decided: %+v", d)
	}
	if d := decisions[1]; !d.Allowed || d.AsOf != 12 || d.Err != nil {
		t.Errorf("what could: %+v", d)
	}
	if none, err := c.CheckAll(t.Context(), nil); len(none) != 0 || err != nil || len(sizes) != 3 {
		t.Errorf("no questions: %v, %v", none, err)
	}
}

func TestMembersAndAuditComePageByPage(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	want := []string{owner.id}
	var position uint64
	for _, role := range []string{"admin", "manager", "operator", "read_only"} {
		member := w.join(owner, role)
		want = append(want, member.id)
		position = w.must("PATCH", "/v1/me", member.token, map[string]any{"name": "Named " + role}).position
	}
	c := w.client(owner.token)
	ctx := client.AtLeast(t.Context(), position)
	for _, size := range []int{0, 1, 2, 200} {
		members := c.Members(ctx, owner.team, client.MembersQuery{PageSize: size})
		for range 2 { // an iterator begins anew
			var got []string
			for member, err := range members {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, member.UserID)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pages of %d: %s", size, diff)
			}
		}
	}
	for member, err := range c.Members(ctx, owner.team, client.MembersQuery{Text: "named admin"}) {
		if err != nil || member.Name != "Named admin" || member.Role != "admin" || member.JoinedAt.IsZero() || member.LastSignInAt == nil {
			t.Errorf("%+v, %v", member, err)
		}
	}
	var actions []string
	for event, err := range c.Audit(ctx, owner.team, client.AuditFilter{Actions: []string{"member.joined", "member.invited"}, PageSize: 3}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.ID == "" || event.Position == 0 || event.Target.ID == "" || event.Actor.ID == "" {
			t.Errorf("%+v", event)
		}
		if actions = append(actions, event.Action); len(actions) == 5 {
			break
		}
	}
	if !slices.Equal(actions, []string{"member.joined", "member.invited", "member.joined", "member.invited", "member.joined"}) {
		t.Errorf("%v", actions)
	}
	for _, filter := range []client.AuditFilter{{To: time.Now().Add(-time.Hour)}, {From: time.Now().Add(time.Hour)}, {Actor: "roster"}, {Target: "nobody"}} {
		for event, err := range c.Audit(ctx, owner.team, filter) {
			t.Errorf("%+v gives %+v, %v", filter, event, err)
		}
	}
	for _, bad := range []string{"", "team_1/../team_2", "team_1?x", strings.Repeat("x", 65), "team_01m815f9xgek7b321mpt7ge80d"} {
		failed := false
		for member, err := range c.Members(ctx, bad, client.MembersQuery{}) {
			failed = err != nil
			if err == nil {
				t.Errorf("%q has %+v", bad, member)
			}
		}
		if !failed {
			t.Errorf("%q is a team", bad)
		}
	}
}

// flaky answers the first requests with a status, or with 0 loses the answers
// to them.
func flaky(failures int64, status int, header http.Header) (client.Option, *atomic.Int64) {
	var tried atomic.Int64
	return through(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err != nil || tried.Add(1) > failures {
			return response, err
		}
		if status == 0 {
			return nil, errors.Join(response.Body.Close(), errors.New("the answer was lost"))
		}
		response.StatusCode, response.Header = status, header
		return response, nil
	}), &tried
}

func TestReadsAreTriedAgain(t *testing.T) {
	w := newWorld(t)
	owner := w.signUp()
	for _, test := range []struct {
		name     string
		failures int64
		status   int
		header   http.Header
		tried    int64
		ok       bool
	}{
		{"lost answers", 2, 0, nil, 3, true},
		{"too many", 3, 0, nil, 3, false},
		{"unavailable", 1, 503, http.Header{"Retry-After": {"0"}}, 2, true},
		{"bad gateway", 1, 502, nil, 2, true},
		{"asked to wait for too long", 1, 503, http.Header{"Retry-After": {"3600"}}, 1, false},
		{"a refusal", 1, 403, nil, 1, false},
		{"a fault", 1, 500, nil, 1, false},
		{"elsewhere", 1, 302, http.Header{"Location": {"http://evil.example"}}, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			option, tried := flaky(test.failures, test.status, test.header)
			d, err := w.client("", option).Check(t.Context(), client.Question{Team: owner.team, Subject: owner.id, Permission: "orders:update"})
			if (err == nil) != test.ok || d.Allowed != test.ok || tried.Load() != test.tried {
				t.Errorf("%v, %v after %d", d, err, tried.Load())
			}
		})
	}
	option, tried := flaky(100, 0, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.client("", option, client.WithAttempts(1000)).Check(ctx, client.Question{Team: owner.team, Subject: owner.id, Permission: "orders:update"}); err == nil || tried.Load() > 2 {
		t.Errorf("%v after %d", err, tried.Load())
	}
}

// What is recorded is sent under one key however often it is sent, so that it
// is written once.
func TestRecordsAreSentUnderOneKey(t *testing.T) {
	type request struct{ path, key, body string }
	var got []request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) > 1<<20 {
			t.Errorf("%d bytes, %v", len(body), err)
		}
		got = append(got, request{r.URL.Path, r.Header.Get("Idempotency-Key"), string(body)})
		if len(got) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Roster-Position", fmt.Sprint(len(got)))
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	c, err := client.New(server.URL, "token")
	if err != nil {
		t.Fatal(err)
	}
	record := client.AuditRecord{Action: "order.refunded", Target: client.AuditTarget{Type: "order", ID: "1", Name: "Order 1"}, Detail: map[string]any{"amount": 12}}
	position, err := c.RecordAudit(t.Context(), "team_1", record)
	const body = `{"action":"order.refunded","target":{"type":"order","id":"1","name":"Order 1"},"detail":{"amount":12}}`
	if err != nil || position != 2 || len(got) != 2 || got[0] != got[1] || got[0].path != "/v1/teams/team_1/audit-events" || got[0].body != body || len(got[0].key) < 20 {
		t.Errorf("%d, %v, %+v", position, err, got)
	}

	got = got[:1]
	record.Detail = map[string]any{"text": strings.Repeat("x", 1000)}
	records := slices.Repeat([]client.AuditRecord{record}, 2500)
	position, err = c.RecordAudit(t.Context(), "team_1", records...)
	if err != nil || position != uint64(len(got)) {
		t.Errorf("%d, %v", position, err)
	}
	count, keys := 0, map[string]bool{}
	for _, r := range got[1:] {
		var batch struct{ Events []client.AuditRecord }
		if err := json.Unmarshal([]byte(r.body), &batch); err != nil || r.path != "/v1/teams/team_1/audit-events/batch" {
			t.Errorf("%s: %v", r.path, err)
		}
		count += len(batch.Events)
		keys[r.key] = true
	}
	if count != 2500 || len(keys) != 3 || len(keys) != len(got)-1 || keys[got[0].key] {
		t.Errorf("%d records in %d requests with %d keys", count, len(got)-1, len(keys))
	}
	if position, err := c.RecordAudit(t.Context(), "team_1"); position != 0 || err != nil {
		t.Errorf("nothing: %d, %v", position, err)
	}
}

func TestWhatAClientIsMadeFrom(t *testing.T) {
	for _, base := range []string{"", "teams.example.com", "ftp://teams.example.com", "https://", "https://user@teams.example.com", "https://teams.example.com?x", "https://teams.example.com#x", "https://\x00"} {
		if _, err := client.New(base, "token"); err == nil {
			t.Errorf("%q is a base URL", base)
		}
	}
	for _, token := range []string{"", "a b", "a\r\nX-Evil: 1", "é"} {
		if _, err := client.New("https://teams.example.com", token); err == nil || strings.Contains(err.Error(), "Evil") {
			t.Errorf("%q is a token: %v", token, err)
		}
	}
	for _, option := range []client.Option{client.WithTimeout(0), client.WithAttempts(0)} {
		if _, err := client.New("https://teams.example.com", "token", option); err == nil {
			t.Error("nothing is enough")
		}
	}
	c, err := client.New("https://teams.example.com/", "token")
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range []client.CacheOption{client.ForTeam("team_1/x"), client.WithCapacity(0)} {
		if _, err := client.NewCache(c, time.Second, option); err == nil {
			t.Error("a cache of nothing")
		}
	}
	if _, err := client.NewCache(c, 0); err == nil {
		t.Error("a cache without staleness")
	}
}
