package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"roster/commands"
	"roster/domain"
)

// Codes that the interface itself answers with; the others are those of
// [domain.Error]. Codes are never renamed.
const (
	codeInternal        = "internal_error"
	codeNotFound        = "not_found"
	codeMethod          = "method_not_allowed"
	codeUnauthenticated = "unauthenticated"
	codeCrossOrigin     = "cross_origin_refused"
	codeBodyTooLarge    = "body_too_large"
	codeMediaType       = "unsupported_media_type"
	codeMalformedBody   = "malformed_body"
	codeInvalidField    = "invalid_field"
	codePageToken       = "invalid_page_token"
	codeIfMatch         = "invalid_if_match"
	codeVersionConflict = "version_conflict"
	codeReadModelBehind = "read_model_behind"
	codeTooManyAttempts = "too_many_attempts"
	codeTimeout         = "timeout"
	codeUnavailable     = "unavailable"
)

// Problem is an answer of the form of RFC 9457. It never holds a rejected
// value nor an internal message: what a caller may know is in Code, Detail
// and the facts; what an operator needs is in the log under the request id.
type Problem struct {
	_         struct{}       `json:"-" additionalProperties:"true"`
	Type      string         `json:"type" maxLength:"200" doc:"Always about:blank; the code says which problem it is."`
	Title     string         `json:"title" maxLength:"100" doc:"The status in words."`
	Status    int            `json:"status" doc:"The HTTP status."`
	Detail    string         `json:"detail" maxLength:"1000" doc:"A sentence for a person."`
	Code      string         `json:"code" maxLength:"100" doc:"A stable name to match on." example:"seat_limit_reached"`
	RequestID string         `json:"request_id" maxLength:"128" doc:"What to quote when asking for help."`
	Errors    []FieldProblem `json:"errors,omitempty" maxItems:"1000" nullable:"false" doc:"The fields at fault."`

	facts   map[string]any // further members, such as plan and limit
	headers http.Header
}

// FieldProblem is one field of the request at fault.
type FieldProblem struct {
	Pointer string `json:"pointer" maxLength:"400" doc:"JSON pointer to the field, or # and the name of the parameter." example:"#/email"`
	Detail  string `json:"detail" maxLength:"400" doc:"What is wrong with it."`
	In      string `json:"in,omitempty" enum:"query,header" doc:"Where the parameter is, when it isn't in the body."`
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus makes a Problem a huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders makes a Problem a huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType makes a Problem a huma.ContentTypeFilter.
func (*Problem) ContentType(string) string { return "application/problem+json" }

// MarshalJSON puts the facts beside the members of RFC 9457.
func (p *Problem) MarshalJSON() ([]byte, error) {
	type plain Problem // without this method
	base, err := json.Marshal((*plain)(p))
	if err != nil || len(p.facts) == 0 {
		return base, err
	}
	out := bytes.NewBuffer(base[:len(base)-1])
	for _, name := range slices.Sorted(maps.Keys(p.facts)) {
		fact, err := json.Marshal(p.facts[name])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, ",%q:%s", name, fact)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func newProblem(status int, code, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: statusText(status), Status: status, Code: code, Detail: detail}
}

func statusText(status int) string {
	if status == statusClientGone {
		return "Client Closed Request"
	}
	return http.StatusText(status)
}

// at adds a field at fault. The pointer is that of a body's field.
func (p *Problem) at(pointer, detail string) {
	p.Errors = append(p.Errors, FieldProblem{Pointer: pointer, Detail: detail})
}

// in is like at, for a parameter of the query or a header.
func (p *Problem) in(place, name, detail string) *Problem {
	p.Errors = append(p.Errors, FieldProblem{Pointer: "#/" + name, Detail: detail, In: place})
	return p
}

func (p *Problem) header(name, value string) *Problem {
	if p.headers == nil {
		p.headers = http.Header{}
	}
	p.headers.Set(name, value)
	return p
}

// retryAfter tells the caller when to try again, in whole seconds, at least one.
func (p *Problem) retryAfter(wait time.Duration) *Problem {
	seconds := max(1, int((wait+time.Second-1)/time.Second))
	return p.header("Retry-After", strconv.Itoa(seconds))
}

// fieldsAtFault is the detail of every problem whose errors say the rest.
const fieldsAtFault = "Some fields are not valid; errors says which."

// isJSON tells whether a content type is JSON; one that isn't given is taken
// for it.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "" || media == "application/json" || strings.HasSuffix(media, "+json")
}

// statusClientGone stands for a caller who hung up; nobody sees it but the log.
const statusClientGone = 499

func notFound() *Problem {
	return newProblem(http.StatusNotFound, codeNotFound, domain.ErrNotFound.Detail)
}

func internalError() *Problem {
	return newProblem(http.StatusInternalServerError, codeInternal, "Something went wrong on our side. Quote the request id when asking for help.")
}

func timedOut() *Problem {
	return newProblem(http.StatusServiceUnavailable, codeTimeout,
		"This took too long. It may or may not have happened: repeat it with the same Idempotency-Key to find out.").
		retryAfter(time.Second)
}

var kindStatus = map[domain.Kind]int{
	domain.Forbidden:       http.StatusForbidden,
	domain.NotFound:        http.StatusNotFound,
	domain.Conflict:        http.StatusConflict,
	domain.Invalid:         http.StatusUnprocessableEntity,
	domain.Gone:            http.StatusGone,
	domain.Unauthenticated: http.StatusUnauthorized,
}

// asProblem turns any error into an answer. What is no refusal becomes a bare
// 500; the caller logs it.
func asProblem(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if refusal, ok := errors.AsType[*domain.Error](err); ok {
		return refused(refusal)
	}
	if throttled, ok := errors.AsType[*commands.Throttled](err); ok {
		return newProblem(http.StatusTooManyRequests, codeTooManyAttempts, "Too many attempts. Wait before the next one.").
			retryAfter(throttled.RetryAfter)
	}
	switch {
	case errors.Is(err, commands.ErrUnavailable) && !errors.Is(err, context.Canceled):
		return newProblem(http.StatusServiceUnavailable, codeUnavailable,
			"The event store can't be reached just now. Whether this happened is not known: repeat it with the same Idempotency-Key to find out.").
			retryAfter(time.Second)
	case errors.Is(err, context.Canceled):
		return newProblem(statusClientGone, "client_gone", "The caller hung up.")
	case errors.Is(err, context.DeadlineExceeded):
		return timedOut()
	}
	return internalError()
}

func refused(refusal *domain.Error) *Problem {
	status := kindStatus[refusal.Kind]
	switch {
	case refusal.Code == codeVersionConflict:
		status = http.StatusPreconditionFailed
	case status == 0:
		return internalError()
	}
	p := newProblem(status, refusal.Code, refusal.Detail)
	p.facts = refusal.Facts
	if refusal.Kind == domain.Invalid && refusal.Field != "" {
		p.Detail = fieldsAtFault // the sentence belongs to the field
	}
	if refusal.Field != "" {
		p.at("#/"+strings.TrimLeft(refusal.Field, "#/"), refusal.Detail)
	}
	if status == http.StatusUnauthorized {
		p = p.header("WWW-Authenticate", "Bearer")
	}
	return p
}

// humaErrors replaces huma's own errors, which carry the rejected value, by
// Problems, and its texts by plainer ones. These are variables of that
// package, so it happens once for the process.
var humaErrors = sync.OnceFunc(func() {
	// Otherwise {"EMAIL": …} would pass the check and fill the field.
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		p := humaProblem(status, message, errs)
		if ctx != nil {
			if x := exchangeOf(ctx.Context()); x != nil {
				if p.Status == http.StatusRequestEntityTooLarge {
					p = bodyTooLarge(x.maxBody)
				}
				p.RequestID = x.id
				if p.Status >= http.StatusInternalServerError {
					x.failure = errors.Join(append(errs, errors.New(message))...)
				}
			}
		}
		return p
	}
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return humaProblem(status, message, errs)
	}
	validation.MsgUnexpectedProperty = "is not a field of this request"
	validation.MsgExpectedRFC3339DateTime = "must be a time such as 2026-01-31T12:00:00Z"
	validation.MsgExpectedBoolean = "must be true or false"
	validation.MsgExpectedNumber = "must be a number"
	validation.MsgExpectedInteger = "must be a whole number"
	validation.MsgExpectedString = "must be text"
	validation.MsgExpectedArray = "must be a list"
	validation.MsgExpectedObject = "must be an object"
	validation.MsgExpectedOneOf = `must be one of "%s"`
	validation.MsgExpectedMinimumNumber = "must be at least %v"
	validation.MsgExpectedMaximumNumber = "must be at most %v"
	validation.MsgExpectedMinLength = "must have at least %d characters"
	validation.MsgExpectedMaxLength = "must have at most %d characters"
	validation.MsgExpectedBePattern = "must be %s"
	validation.MsgExpectedMatchPattern = "must match %s"
	validation.MsgExpectedMinItems = "must have at least %d items"
	validation.MsgExpectedMaxItems = "must have at most %d items"
	validation.MsgExpectedRequiredProperty = requiredPrefix + "%s"
})

// requiredPrefix begins the text by which humaProblem knows a missing field,
// whose name huma puts into the text and not into the place.
const requiredPrefix = "is required: "

// cantReadBody is how huma says that a body ended before its announced length.
const cantReadBody = "cannot read request body"

// humaProblem answers for what huma itself refuses.
func humaProblem(status int, message string, errs []error) *Problem {
	switch status {
	case http.StatusRequestEntityTooLarge:
		return bodyTooLarge(maxBody)
	case http.StatusUnsupportedMediaType:
		return newProblem(status, codeMediaType, "Send the body as application/json.")
	case http.StatusRequestTimeout:
		return newProblem(status, codeTimeout, "The body didn't arrive in time.")
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return invalid(errs)
	}
	if status != 0 && status < http.StatusInternalServerError {
		return newProblem(status, strings.ReplaceAll(strings.ToLower(statusText(status)), " ", "_"), statusText(status))
	}
	for _, err := range errs {
		// A body that ended before its announced length, or was cut off.
		if message == cantReadBody {
			if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
				return bodyTooLarge(tooLarge.Limit)
			}
			return newProblem(http.StatusUnprocessableEntity, codeMalformedBody, "The body ended too early.")
		}
	}
	return internalError()
}

func bodyTooLarge(limit int64) *Problem {
	return newProblem(http.StatusRequestEntityTooLarge, codeBodyTooLarge, fmt.Sprintf("The body of this request has at most %d bytes.", limit))
}

// maxFieldErrors bounds how many fields one answer names.
const maxFieldErrors = 50

func invalid(errs []error) *Problem {
	p := newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault)
	if len(errs) == 0 {
		p.Code, p.Detail = codeMalformedBody, "A JSON object is required as the body."
		return p
	}
	for _, err := range errs {
		detail, ok := errors.AsType[*huma.ErrorDetail](err)
		if !ok {
			continue
		}
		if _, isText := detail.Value.(string); isText && detail.Location == "body" && !knownText(detail.Message) {
			// What encoding/json says quotes the body, so it stays here.
			p.Code, p.Detail = codeMalformedBody, "The body is not valid JSON."
			p.Errors = nil
			return p
		}
		if len(p.Errors) < maxFieldErrors {
			p.Errors = append(p.Errors, fieldProblem(detail))
		}
	}
	// huma looks unknown fields up in a map, so their order is random.
	slices.SortStableFunc(p.Errors, func(a, b FieldProblem) int { return cmp.Compare(a.Pointer, b.Pointer) })
	return p
}

// knownText tells a text of the list in humaErrors from one that a parser made.
func knownText(message string) bool {
	return strings.HasPrefix(message, "must ") || strings.HasPrefix(message, "is ")
}

func fieldProblem(detail *huma.ErrorDetail) FieldProblem {
	place, path, _ := strings.Cut(detail.Location, ".")
	message := detail.Message
	if missing, ok := strings.CutPrefix(message, requiredPrefix); ok {
		path = strings.TrimPrefix(path+"."+missing, ".")
		message = "is required"
	}
	switch {
	case knownText(message):
	case strings.HasPrefix(message, "required "):
		message = "is required"
	default: // a parser's own words may quote the value
		message = "is not valid"
	}
	out := FieldProblem{Pointer: pointer(path), Detail: message}
	if place == "query" || place == "header" {
		out.In = place
	}
	return out
}

// maxPointer bounds a pointer, which may name a field that the caller made up.
const maxPointer = 200

// pointer turns huma's "sites[0].role" into the JSON pointer "#/sites/0/role".
func pointer(path string) string {
	if path == "" {
		return "#"
	}
	path = strings.NewReplacer("~", "~0", "/", "~1").Replace(path)
	path = strings.NewReplacer(".", "/", "[", "/", "]", "").Replace(path)
	if len(path) > maxPointer {
		path = strings.ToValidUTF8(path[:maxPointer], "") + "…"
	}
	return "#/" + path
}

// writeProblem answers with a problem outside of huma.
func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	if x := exchangeOf(r.Context()); x != nil {
		p.RequestID = x.id
	}
	header := w.Header()
	for name, values := range p.headers {
		header[name] = values
	}
	header.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	if r.Method == http.MethodHead {
		return
	}
	body, err := json.Marshal(p)
	if err != nil {
		return // facts are plain values; nothing better can be sent now
	}
	_, _ = w.Write(append(body, '\n'))
}
