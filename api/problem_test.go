package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"roster/commands"
	"roster/domain"
)

func TestPointer(t *testing.T) {
	for path, want := range map[string]string{
		"":                          "#",
		"email":                     "#/email",
		"sites[0].role":             "#/sites/0/role",
		"a/b~c":                     "#/a~1b~0c",
		strings.Repeat("x", 10_000): "#/" + strings.Repeat("x", maxPointer) + "…",
	} {
		if got := pointer(path); got != want {
			t.Errorf("pointer(%.20q) = %.40q, want %.40q", path, got, want)
		}
	}
}

func TestEveryKindOfErrorHasItsStatus(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		code   string
	}{
		{domain.ErrNotPermitted, 403, "not_permitted"},
		{domain.ErrNotFound, 404, "not_found"},
		{domain.ErrSeatLimitReached, 409, "seat_limit_reached"},
		{domain.ErrInvitationExpired, 410, "invitation_expired"},
		{domain.ErrInvalidCredentials, 401, "invalid_credentials"},
		{&domain.Error{Kind: domain.Invalid, Code: "invalid_field", Field: "#/email", Detail: "no"}, 422, "invalid_field"},
		{commands.ErrVersionConflict, 412, "version_conflict"},
		{commands.ErrKeyReused, 422, "idempotency_key_reused"},
		{commands.ErrInFlight, 409, "request_in_flight"},
		{fmt.Errorf("doing it: %w", commands.ErrUnavailable), 503, "unavailable"},
		{fmt.Errorf("doing it: %w", context.DeadlineExceeded), 503, "timeout"},
		{context.Canceled, statusClientGone, "client_gone"},
		{errors.New("secret of the house"), 500, "internal_error"},
		{&domain.Error{Code: "of_no_kind"}, 500, "internal_error"},
	} {
		p := asProblem(test.err)
		if p.Status != test.status || p.Code != test.code {
			t.Errorf("%v answers %d %s, want %d %s", test.err, p.Status, p.Code, test.status, test.code)
		}
		if encoded, _ := json.Marshal(p); strings.Contains(string(encoded), "secret") {
			t.Errorf("%v shows in %s", test.err, encoded)
		}
	}
	if got := asProblem(domain.ErrInvalidCredentials).headers.Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("WWW-Authenticate of a 401 is %q", got)
	}
}

func TestFactsStandBesideTheMembersOfAProblem(t *testing.T) {
	p := asProblem(&domain.Error{
		Kind: domain.Conflict, Code: "seat_limit_reached", Detail: "Full.",
		Facts: map[string]any{"plan": "starter", "limit": 10, "members": 7, "pending": 3, "upgrade_url": "/dashboard/subscribe"},
	})
	p.RequestID = "req_1"
	encoded, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"about:blank","title":"Conflict","status":409,"detail":"Full.","code":"seat_limit_reached","request_id":"req_1",` +
		`"limit":10,"members":7,"pending":3,"plan":"starter","upgrade_url":"/dashboard/subscribe"}`
	if diff := cmp.Diff(want, string(encoded)); diff != "" {
		t.Error(diff)
	}
}

func TestHumaErrorsShowNoValue(t *testing.T) {
	humaErrors()
	const secret = "s3cret-value"
	for _, test := range []struct {
		name   string
		errs   []error
		code   string
		fields []FieldProblem
	}{
		{"too short", []error{&huma.ErrorDetail{Message: "must have at least 12 characters", Location: "body.password", Value: secret}},
			codeInvalidField, []FieldProblem{{Pointer: "#/password", Detail: "must have at least 12 characters"}}},
		{"a parser's text", []error{&huma.ErrorDetail{Message: "mail: missing @ in " + secret, Location: "body.email", Value: secret}},
			codeInvalidField, []FieldProblem{{Pointer: "#/email", Detail: "is not valid"}}},
		{"not JSON", []error{&huma.ErrorDetail{Message: "invalid character 's' in " + secret, Location: "body", Value: secret}},
			codeMalformedBody, nil},
		{"missing", []error{&huma.ErrorDetail{Message: requiredPrefix + "role", Location: "body.sites[1]", Value: map[string]any{"x": secret}}},
			codeInvalidField, []FieldProblem{{Pointer: "#/sites/1/role", Detail: "is required"}}},
		{"query", []error{&huma.ErrorDetail{Message: "invalid integer", Location: "query.limit", Value: secret}},
			codeInvalidField, []FieldProblem{{Pointer: "#/limit", Detail: "is not valid", In: "query"}}},
		{"no body", nil, codeMalformedBody, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := humaProblem(http.StatusUnprocessableEntity, "validation failed", test.errs)
			if p.Code != test.code {
				t.Errorf("code %s, want %s", p.Code, test.code)
			}
			if diff := cmp.Diff(test.fields, p.Errors); diff != "" {
				t.Error(diff)
			}
			if encoded, _ := json.Marshal(p); strings.Contains(string(encoded), secret) {
				t.Errorf("the value shows in %s", encoded)
			}
		})
	}
}

func TestRequestIDsFromCallersAreTakenOnlyWhenSane(t *testing.T) {
	for id, want := range map[string]bool{
		"":                      false,
		"abc-DEF_0.9":           true,
		strings.Repeat("a", 64): true,
		strings.Repeat("a", 65): false,
		"with space":            false,
		"line\nbreak":           false,
		"<script>":              false,
		"ü":                     false,
	} {
		if got := saneRequestID(id); got != want {
			t.Errorf("saneRequestID(%q) = %v", id, got)
		}
	}
}

func TestCellsThatASpreadsheetWouldRunAreDefused(t *testing.T) {
	for cell, want := range map[string]string{
		"":                "",
		"plain":           "plain",
		"=1+1":            "'=1+1",
		"+49":             "'+49",
		"-2":              "'-2",
		"@SUM(A1)":        "'@SUM(A1)",
		"\tx":             "'\tx",
		"\rx":             "'\rx",
		"a=b":             "a=b",
		`{"name":"=1+1"}`: `{"name":"=1+1"}`,
	} {
		if got := harmless(cell); got != want {
			t.Errorf("harmless(%q) = %q, want %q", cell, got, want)
		}
	}
}
