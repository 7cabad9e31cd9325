package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestBadInput(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	long := strings.Repeat("x", maxBody)
	const planted = "planted-secret-value"

	for _, test := range []struct {
		name         string
		method, path string
		body         any
		change       with
		status       int
		code         string
		pointer      string
	}{
		{name: "unknown field", method: "POST", path: team + "/invitations",
			body: `{"email":"a@example.com","role":"MEMBER","` + planted + `":1}`, status: 422, code: "invalid_field", pointer: "#/" + planted},
		{name: "privileged field", method: "POST", path: "/v1/users",
			body: `{"email":"a@example.com","name":"A","password":"` + password + `","email_verified":true}`, status: 422, code: "invalid_field", pointer: "#/email_verified"},
		{name: "actor in a body", method: "PATCH", path: team, body: `{"name":"New","actor":"` + planted + `"}`, status: 422, code: "invalid_field", pointer: "#/actor"},
		{name: "field in other case", method: "PATCH", path: team, body: `{"Name":"New"}`, status: 422, code: "invalid_field", pointer: "#/Name"},
		{name: "missing field", method: "POST", path: team + "/invitations", body: `{"email":"a@example.com"}`, status: 422, code: "invalid_field", pointer: "#/role"},
		{name: "wrong type", method: "PATCH", path: team, body: `{"name":["` + planted + `"]}`, status: 422, code: "invalid_field", pointer: "#/name"},
		{name: "null for text", method: "PATCH", path: team, body: `{"name":null}`, status: 422, code: "invalid_field", pointer: "#/name"},
		{name: "list for object", method: "PATCH", path: team, body: `["` + planted + `"]`, status: 422, code: "invalid_field", pointer: "#"},
		{name: "text for object", method: "PATCH", path: team, body: `"` + planted + `"`, status: 422, code: "invalid_field", pointer: "#"},
		{name: "not JSON", method: "PATCH", path: team, body: `{"name":` + planted, status: 422, code: "malformed_body"},
		{name: "trailing text", method: "PATCH", path: team, body: `{"name":"A"} ` + planted, status: 422, code: "malformed_body"},
		{name: "empty body", method: "PATCH", path: team, body: ``, status: 422, code: "malformed_body"},
		{name: "no content type but a form's", method: "PATCH", path: team, body: `name=` + planted,
			change: header("Content-Type", "application/x-www-form-urlencoded"), status: 415, code: "unsupported_media_type"},
		{name: "plain text", method: "PATCH", path: team, body: `{"name":"A"}`, change: header("Content-Type", "text/plain"), status: 415, code: "unsupported_media_type"},
		{name: "oversized", method: "PATCH", path: team, body: `{"name":"` + long + `"}`, status: 413, code: "body_too_large"},
		{name: "oversized, not announced", method: "PATCH", path: team, body: `{"name":"` + long + `"}`,
			change: func(r *http.Request) { r.ContentLength, r.Body = -1, io.NopCloser(r.Body) }, status: 413, code: "body_too_large"},
		{name: "oversized with a key", method: "PATCH", path: team, body: `{"name":"` + long + `"}`,
			change: func(r *http.Request) {
				r.ContentLength, r.Body = -1, io.NopCloser(r.Body)
				r.Header.Set("Idempotency-Key", "oversized")
			}, status: 413, code: "body_too_large"},
		{name: "control characters", method: "PATCH", path: team, body: `{"name":"A\u0000B"}`, status: 422, code: "invalid_field", pointer: "#/name"},
		{name: "line break", method: "PATCH", path: team, body: `{"name":"A\r\nBcc: x@example.com"}`, status: 422, code: "invalid_field", pointer: "#/name"},
		{name: "writing turned around", method: "PATCH", path: team, body: `{"name":"A\u202ebcd"}`, status: 422, code: "invalid_field", pointer: "#/name"},
		{name: "name too long", method: "PATCH", path: team, body: map[string]any{"name": strings.Repeat("n", 401)}, status: 422, code: "invalid_field", pointer: "#/name"},
		{name: "not an address", method: "POST", path: team + "/invitations", body: `{"email":"` + planted + `","role":"MEMBER"}`, status: 422, code: "invalid_field", pointer: "#/email"},
		{name: "address with a header", method: "POST", path: team + "/invitations", body: `{"email":"a@example.com\r\nBcc: b@example.com","role":"MEMBER"}`, status: 422, code: "invalid_field", pointer: "#/email"},
		{name: "unknown role", method: "POST", path: team + "/invitations", body: `{"email":"a@example.com","role":"` + planted + `"}`, status: 422, code: "invalid_field", pointer: "#/role"},
		{name: "short password", method: "POST", path: "/v1/users", body: `{"email":"a@example.com","name":"A","password":"` + "planted-sec" + `"}`, status: 422, code: "invalid_field", pointer: "#/password"},
		{name: "unknown catalog", method: "POST", path: "/v1/users", body: `{"email":"a@example.com","name":"A","password":"` + password + `","catalog":"` + planted + `"}`, status: 422, pointer: "#/catalog"},
		{name: "limit that is no number", method: "GET", path: team + "/members?limit=" + planted, status: 422, code: "invalid_field", pointer: "#/limit"},
		{name: "limit zero", method: "GET", path: team + "/members?limit=0", status: 422, code: "invalid_field", pointer: "#/limit"},
		{name: "limit too large", method: "GET", path: team + "/members?limit=201", status: 422, code: "invalid_field", pointer: "#/limit"},
		{name: "unknown query parameter", method: "GET", path: team + "/members?lmit=5", status: 422, code: "invalid_field", pointer: "#/lmit"},
		{name: "page token of nobody", method: "GET", path: team + "/members?page_token=" + planted, status: 422, code: "invalid_page_token", pointer: "#/page_token"},
		{name: "page token too long", method: "GET", path: team + "/members?page_token=" + strings.Repeat("a", 2000), status: 422, code: "invalid_field", pointer: "#/page_token"},
		{name: "status of no kind", method: "GET", path: team + "/invitations?status=" + planted, status: 422, code: "invalid_field", pointer: "#/status"},
		{name: "time of no form", method: "GET", path: team + "/audit-events?from=" + planted, status: 422, code: "invalid_field", pointer: "#/from"},
		{name: "format of no kind", method: "GET", path: team + "/audit-events/export?format=" + planted, status: 422, code: "invalid_field", pointer: "#/format"},
		{name: "position of no form", method: "GET", path: team + "/members", change: header("Roster-At-Least", planted), status: 422, code: "invalid_field", pointer: "#/Roster-At-Least"},
		{name: "negative position", method: "GET", path: team, change: header("Roster-At-Least", "-1"), status: 422, code: "invalid_field", pointer: "#/Roster-At-Least"},
		{name: "If-Match of no form", method: "PATCH", path: team, body: `{"name":"A"}`, change: header("If-Match", planted), status: 422, code: "invalid_if_match", pointer: "#/If-Match"},
		{name: "weak If-Match", method: "PATCH", path: team, body: `{"name":"A"}`, change: header("If-Match", `W/"1"`), status: 422, code: "invalid_if_match", pointer: "#/If-Match"},
		{name: "empty idempotency key", method: "PATCH", path: team, body: `{"name":"A"}`, change: header("Idempotency-Key", ""), status: 422, code: "invalid_field", pointer: "#/Idempotency-Key"},
		{name: "idempotency key too long", method: "PATCH", path: team, body: `{"name":"A"}`, change: header("Idempotency-Key", strings.Repeat("k", 256)), status: 422, code: "invalid_field", pointer: "#/Idempotency-Key"},
		{name: "idempotency key with a space", method: "PATCH", path: team, body: `{"name":"A"}`, change: header("Idempotency-Key", "a b"), status: 422, code: "invalid_field", pointer: "#/Idempotency-Key"},
		{name: "malformed team id", method: "GET", path: "/v1/teams/" + planted, status: 404, code: "not_found"},
		{name: "team id of another kind", method: "GET", path: "/v1/teams/" + owner.id, status: 404, code: "not_found"},
		{name: "malformed user id", method: "GET", path: team + "/members/" + planted, status: 404, code: "not_found"},
		{name: "malformed invitation token", method: "GET", path: "/v1/invitations/" + planted, status: 404, code: "not_found"},
		{name: "long invitation token", method: "GET", path: "/v1/invitations/" + strings.Repeat("a", 5000), status: 404, code: "not_found"},
		{name: "escaped path", method: "GET", path: "/v1/teams/" + "%2e%2e%2f", status: 404, code: "not_found"},
		{name: "no such path", method: "GET", path: "/v1/" + planted, status: 404, code: "not_found"},
		{name: "no such method", method: "PUT", path: team, body: `{}`, status: 405, code: "method_not_allowed"},
		{name: "no credential", method: "GET", path: team, change: header("Authorization", ""), status: 401, code: "unauthenticated"},
		{name: "another scheme", method: "GET", path: team, change: header("Authorization", "Basic "+planted), status: 401, code: "unauthenticated"},
		{name: "a token of nobody", method: "GET", path: team, change: bearer(planted), status: 401, code: "unauthenticated"},
		{name: "a key of nobody", method: "GET", path: team, change: bearer("rk_" + strings.Repeat("0", 52) + "_" + strings.Repeat("a", 43)), status: 401, code: "unauthenticated"},
		{name: "a token too long", method: "GET", path: team, change: bearer(strings.Repeat("a", 600)), status: 401, code: "unauthenticated"},
		{name: "a bad token to a public page", method: "GET", path: "/v1/invitations/" + strings.Repeat("a", 86), change: bearer(planted), status: 401, code: "unauthenticated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := w.position()
			changes := []with{owner.auth()}
			if test.change != nil {
				changes = append(changes, test.change)
			}
			r := w.call(test.method, test.path, test.body, changes...)
			if test.code != "" {
				r.is(test.status, test.code)
			} else {
				r.is(test.status)
			}
			wantProblem(t, r)
			if test.pointer != "" && r.text("errors", 0, "pointer") != test.pointer {
				t.Errorf("points at %s, want %s", r.text("errors", 0, "pointer"), test.pointer)
			}
			// A field's name may come back, its value never.
			if !strings.HasPrefix(test.pointer, "#/"+planted) && strings.Contains(string(r.raw), "planted") {
				t.Errorf("what was sent came back: %s", r.raw)
			}
			if after := w.position(); after != before {
				t.Errorf("it left %d events", after-before)
			}
		})
	}
	if strings.Contains(w.log.String(), "planted") {
		t.Error("what was sent is in the log")
	}
}

// wantProblem checks the form of RFC 9457 with this interface's members.
func wantProblem(t *testing.T, r *reply) {
	t.Helper()
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	for _, name := range []string{"type", "title", "detail", "code", "request_id"} {
		if r.text(name) == "" {
			t.Errorf("no %s in %s", name, r.raw)
		}
	}
	if r.at("status") != float64(r.status) {
		t.Errorf("status %v in the body of a %d", r.at("status"), r.status)
	}
	if r.text("request_id") != r.header.Get("X-Request-Id") {
		t.Errorf("request_id %q, header %q", r.text("request_id"), r.header.Get("X-Request-Id"))
	}
	if r.status == http.StatusUnauthorized && r.header.Get("WWW-Authenticate") == "" {
		t.Error("a 401 without WWW-Authenticate")
	}
}

func TestAnswersCarryTheRequestIDAndTheSecurityHeaders(t *testing.T) {
	w := newWorld(t, options{})
	for _, path := range []string{"/healthz", "/openapi.json", "/v1/me", "/nowhere", "/docs"} {
		r := w.call("GET", path, nil, header("X-Request-Id", "from-the-caller"))
		if got := r.header.Get("X-Request-Id"); got != "from-the-caller" {
			t.Errorf("%s: X-Request-Id %q", path, got)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if policy := r.header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
			t.Errorf("%s: Content-Security-Policy is %q", path, policy)
		}
		if r.header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: HSTS without https", path)
		}
	}
	r := w.call("GET", "/healthz", nil, header("X-Request-Id", "forged\tid"))
	if got := r.header.Get("X-Request-Id"); !strings.HasPrefix(got, "req_") {
		t.Errorf("a request id of no sane form was kept: %q", got)
	}
}

func TestMethodsThatAPathDoesNotKnowAreListed(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	r := w.call("PUT", "/v1/teams/"+owner.team, `{}`, owner.auth()).is(405)
	if got := r.header.Get("Allow"); got != "GET, PATCH, DELETE" {
		t.Errorf("Allow: %s", got)
	}
	if r := w.call("HEAD", "/healthz", nil); r.status != 200 {
		t.Errorf("HEAD answers %d", r.status)
	}
}

func TestForeignPagesCannotWrite(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	cookie := func(r *http.Request) { r.Header.Set("Cookie", "roster_session="+owner.token) }
	rename := func(changes ...with) *reply {
		return w.call("PATCH", "/v1/teams/"+owner.team, `{"name":"New"}`, append(changes, cookie)...)
	}
	before := w.position()
	for _, change := range []with{
		header("Sec-Fetch-Site", "cross-site"),
		header("Sec-Fetch-Site", "same-site"),
		header("Origin", "https://evil.example"),
		header("Origin", "null"),
	} {
		wantProblem(t, rename(change).is(403, "cross_origin_refused"))
	}
	if w.position() != before {
		t.Error("a refused write left events")
	}
	rename().is(200)
	rename(header("Sec-Fetch-Site", "same-origin")).is(200)
	rename(header("Origin", w.http.URL)).is(200)
	w.call("GET", "/v1/me", nil, cookie, header("Sec-Fetch-Site", "cross-site")).is(200)
}

func TestHeadersThatClientsForgeReachNeitherLinksNorAudit(t *testing.T) {
	w := newWorld(t, options{baseURL: "https://teams.example.com"})
	owner := w.signUp()
	forge := func(r *http.Request) {
		r.Host = "evil.example"
		for name, value := range map[string]string{
			"Forwarded": "for=6.6.6.6;host=evil.example;proto=http", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil.example",
			"X-Real-Ip": "6.6.6.6", "True-Client-Ip": "6.6.6.6", "X-Original-Url": "/evil",
		} {
			r.Header.Set(name, value)
		}
	}
	r := w.call("POST", "/v1/teams/"+owner.team+"/invitations", map[string]any{"email": newEmail(), "role": "MEMBER"}, owner.auth(), forge).is(201)
	if !strings.HasPrefix(r.text("url"), "https://teams.example.com/invite/") {
		t.Errorf("the link is %s", r.text("url"))
	}
	log := w.call("GET", "/v1/teams/"+owner.team+"/audit-events", nil, owner.auth()).is(200)
	if got := log.text("data", 0, "actor", "ip"); got != "127.0.0.1" {
		t.Errorf("the audit log says %s", got)
	}
	for _, forged := range []string{"6.6.6.6", "evil.example"} {
		if bytes.Contains(log.raw, []byte(forged)) || bytes.Contains(r.raw, []byte(forged)) || strings.Contains(w.log.String(), forged) {
			t.Errorf("%s got through", forged)
		}
	}
}

func TestTrustedProxiesNameTheClient(t *testing.T) {
	w := newWorld(t, options{proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	owner := w.signUp()
	for chain, want := range map[string]string{
		"203.0.113.7":               "203.0.113.7",
		"6.6.6.6, 203.0.113.7":      "203.0.113.7",
		"203.0.113.8, 127.0.0.2":    "203.0.113.8",
		"2001:db8::1":               "2001:db8::1",
		"::ffff:203.0.113.9":        "203.0.113.9",
		"203.0.113.7, not an addr.": "127.0.0.1",
		"":                          "127.0.0.1",
	} {
		w.call("PATCH", "/v1/teams/"+owner.team, map[string]any{"name": "From " + chain}, owner.auth(), header("X-Forwarded-For", chain)).is(200)
		log := w.call("GET", "/v1/teams/"+owner.team+"/audit-events?limit=1", nil, owner.auth()).is(200)
		if got := log.text("data", 0, "actor", "ip"); got != want {
			t.Errorf("%q gives %s, want %s", chain, got, want)
		}
	}
}

func TestSessionCookie(t *testing.T) {
	for base, want := range map[string]string{
		"":                          "roster_session=*; Path=/; Expires=*; HttpOnly; SameSite=Lax",
		"https://teams.example.com": "__Host-roster_session=*; Path=/; Expires=*; HttpOnly; Secure; SameSite=Lax",
	} {
		w := newWorld(t, options{baseURL: base})
		r := w.call("POST", "/v1/users", map[string]any{"email": newEmail(), "name": "A", "password": password}).is(201)
		parts := strings.Split(r.header.Get("Set-Cookie"), "; ")
		for i, part := range parts {
			if name, _, _ := strings.Cut(part, "="); i == 0 || name == "Expires" {
				parts[i] = name + "=*"
			}
		}
		if got := strings.Join(parts, "; "); got != want {
			t.Errorf("Set-Cookie: %s, want %s", got, want)
		}
		name, _, _ := strings.Cut(want, "=")
		cookie := header("Cookie", name+"="+r.text("session", "token"))
		w.call("GET", "/v1/me", nil, cookie).is(200)
		// What is presented in the header is what was meant.
		w.call("GET", "/v1/me", nil, cookie, bearer("nonsense")).is(401, "unauthenticated")
		out := w.call("DELETE", "/v1/sessions/current", nil, cookie).is(204)
		if got := out.header.Get("Set-Cookie"); !strings.HasPrefix(got, name+"=;") || !strings.Contains(got, "Max-Age=0") {
			t.Errorf("signing out answers Set-Cookie: %s", got)
		}
		w.call("GET", "/v1/me", nil, cookie).is(401, "unauthenticated")
		// A browser whose session has ended may still sign in and open links.
		w.call("POST", "/v1/sessions", map[string]any{"email": r.text("user", "email"), "password": password}, cookie).is(201)
		w.call("GET", "/v1/invitations/"+strings.Repeat("a", 86), nil, cookie).is(404)
	}
}

func TestPanicsAreToldToTheLogAlone(t *testing.T) {
	w := newWorld(t, options{})
	w.server.router.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("inner secret") })
	r := w.call("GET", "/panic", nil).is(500, "internal_error")
	wantProblem(t, r)
	if bytes.Contains(r.raw, []byte("secret")) {
		t.Errorf("the reason came back: %s", r.raw)
	}
	if log := w.log.String(); !strings.Contains(log, "inner secret") || !strings.Contains(log, r.text("request_id")) {
		t.Error("the log doesn't say what happened to which request")
	}
}

func TestLogAndMetricsHoldNoSecretAndNoPersonalData(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	r := w.call("POST", "/v1/teams/"+owner.team+"/invitations", map[string]any{"email": "planted@example.com", "name": "Planted Name", "role": "MEMBER"}, owner.auth()).is(201)
	link := r.text("url")
	token := link[strings.LastIndex(link, "/")+1:]
	w.call("GET", "/v1/invitations/"+token, nil).is(200)
	w.call("GET", "/v1/teams/"+owner.team+"/members?query=planted", nil, owner.auth()).is(200)
	key := w.call("POST", "/v1/teams/"+owner.team+"/api-keys", map[string]any{"name": "planted key", "role": "MEMBER"}, owner.auth()).is(201).text("secret")
	w.call("GET", "/v1/teams/"+owner.team, nil, bearer(key)).is(200)
	metrics := string(w.call("GET", "/metrics", nil).is(200).raw)
	if !strings.Contains(metrics, `roster_http_request_duration_seconds_count{method="GET",route="/v1/invitations/{token}",status="200"} 1`) {
		t.Error("the metrics don't count by the route's pattern")
	}
	for what, text := range map[string]string{"log": w.log.String(), "metrics": metrics} {
		for _, secret := range []string{token, owner.token, key, "planted@example.com", "Planted Name", "query=planted", password, owner.email, "127.0.0.1"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the %s", secret, what)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t, options{})
	w.signUp()
	w.call("GET", "/healthz", nil).is(200)
	if err := w.models.Wait(t.Context(), w.position()); err != nil {
		t.Fatal(err)
	}
	var ready readiness
	if err := json.Unmarshal(w.call("GET", "/readyz", nil).is(200).raw, &ready); err != nil {
		t.Fatal(err)
	}
	if !ready.Ready || ready.Position != w.position() || ready.Projection.Lag != 0 || len(ready.Reasons) != 0 {
		t.Errorf("readiness is %+v", ready)
	}
	if r := w.call("GET", "/", nil); r.status != 302 || r.header.Get("Location") != "/dashboard" {
		t.Errorf("/ answers %d to %s", r.status, r.header.Get("Location"))
	}
}
