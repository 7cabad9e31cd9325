package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Error is a refusal by Roster.
type Error struct {
	Status    int    // of HTTP
	Code      string // a stable name to match on; empty when something between refused
	Detail    string // a sentence for a person
	RequestID string // what Roster's log knows the request by
	Fields    []FieldError

	RetryAfter time.Duration // how long Roster asks to wait; 0 when it doesn't
}

// FieldError is a field of the request at fault.
type FieldError struct {
	Pointer string `json:"pointer"` // JSON pointer, such as #/email
	Detail  string `json:"detail"`
}

func (e *Error) Error() string {
	text := "roster: " + strconv.Itoa(e.Status)
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	for _, field := range e.Fields {
		text += "; " + field.Pointer + " " + field.Detail
	}
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

// Code is the code of a refusal; empty for any other error.
func Code(err error) string {
	if refusal, ok := errors.AsType[*Error](err); ok {
		return refusal.Code
	}
	return ""
}

// What is read of a refusal; Roster's own are far below.
const (
	maxProblem = 64 << 10
	maxText    = 1_000
	maxFields  = 50
)

// refused reads an answer that is no success.
func refused(response *http.Response) error {
	e := &Error{Status: response.StatusCode}
	if seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 16); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	if !hasType(response, "application/problem+json") {
		return e
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err != nil {
		return fmt.Errorf("client: reading a refusal: %w", err)
	}
	var problem struct {
		Code      string       `json:"code"`
		Detail    string       `json:"detail"`
		RequestID string       `json:"request_id"`
		Errors    []FieldError `json:"errors"`
	}
	if json.Unmarshal(body, &problem) != nil {
		return e // the status says enough
	}
	e.Code, e.Detail, e.RequestID = plain(problem.Code), plain(problem.Detail), plain(problem.RequestID)
	e.Fields = plainFields(problem.Errors)
	return e
}

func plainFields(given []FieldError) (fields []FieldError) {
	for _, field := range given[:min(len(given), maxFields)] {
		fields = append(fields, FieldError{plain(field.Pointer), plain(field.Detail)})
	}
	return fields
}

// plain makes text fit for a line of a log.
func plain(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// passing tells whether what went wrong may go well the next time.
func passing(err error) bool {
	if refusal, ok := errors.AsType[*Error](err); ok {
		switch refusal.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return refusal.Code == "request_in_flight"
	}
	return !errors.Is(err, errTooLarge) && !errors.Is(err, context.Canceled)
}
