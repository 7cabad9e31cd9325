package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Question asks whether somebody may do something in a team.
type Question struct {
	Team       string // id of the team
	Subject    string // id of a user or an API key
	Permission string // such as "orders:update"
	Site       string // id of a site, where the permission is of a resource that belongs to one
}

// Decision is the answer to a Question.
type Decision struct {
	Allowed bool
	Reason  string // such as "role", "site_grant", "not_in_role", "not_a_member"
	Role    string // the role that was decisive, if one was
	Site    string // whose grant was decisive, if one was

	// Event gave what was decisive, at a position and a time.
	Event    string
	Position uint64
	At       time.Time

	// AsOf is the position up to which the decision takes account of
	// everything; 0 when the server doesn't say.
	AsOf uint64
	// Until is when the answer may change by time alone, by the server's clock;
	// zero when it doesn't.
	Until time.Time

	// Err says why one question of several couldn't be decided, which is then
	// not allowed; nil as a rule.
	Err *Error

	// expires is Until by the clock of this process, or before; the decision is
	// not to be kept when that can't be told.
	expires time.Time
	keep    bool
}

// The forms of OpenID AuthZEN 1.0.
type (
	evaluation struct {
		Subject  entity   `json:"subject"`
		Action   action   `json:"action"`
		Resource resource `json:"resource"`
	}
	entity struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	}
	action struct {
		Name string `json:"name"`
	}
	resource struct {
		Type       string     `json:"type"`
		Properties properties `json:"properties"`
	}
	properties struct {
		Team string `json:"team"`
		Site string `json:"site,omitempty"`
	}
	evaluations struct {
		Evaluations []evaluation `json:"evaluations"`
		Options     options      `json:"options"`
	}
	options struct {
		Semantic string `json:"evaluations_semantic"`
	}

	verdict struct {
		Decision bool           `json:"decision"`
		Context  verdictContext `json:"context"`
	}
	verdictContext struct {
		Reason   string        `json:"reason"`
		Role     string        `json:"role"`
		Site     string        `json:"site"`
		Event    string        `json:"event"`
		Position uint64        `json:"position"`
		At       time.Time     `json:"at"`
		Until    time.Time     `json:"until"`
		Error    *verdictError `json:"error"`
	}
	verdictError struct {
		Status  int          `json:"status"`
		Code    string       `json:"code"`
		Message string       `json:"message"`
		Errors  []FieldError `json:"errors"`
	}
	verdicts struct {
		Evaluations []verdict `json:"evaluations"`
	}
)

const (
	// batchSize is how many questions go into one request at most.
	batchSize = 1_000
	// Bytes of a decision; Roster's take about 300.
	maxDecision  = 16 << 10
	maxDecisions = 4 << 20
)

// keyPrefix begins the ids of API keys; every other subject is a user.
const keyPrefix = "key_"

func (q *Question) evaluation() (evaluation, error) {
	kind, name, ok := strings.Cut(q.Permission, ":")
	if !ok || kind == "" || name == "" {
		return evaluation{}, fmt.Errorf("client: %q is not a permission such as orders:update", q.Permission)
	}
	subject := entity{"user", q.Subject}
	if strings.HasPrefix(q.Subject, keyPrefix) {
		subject.Type = "api_key"
	}
	return evaluation{subject, action{name}, resource{kind, properties{q.Team, q.Site}}}, nil
}

// Check decides one question. A denial is no error.
func (c *Client) Check(ctx context.Context, q Question) (Decision, error) {
	asked, err := q.evaluation()
	if err != nil {
		return Decision{}, err
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return Decision{}, err
	}
	var v verdict
	got, err := c.do(ctx, call{method: http.MethodPost, path: "/access/v1/evaluation", body: body, most: maxDecision, reads: true}, &v)
	if err != nil {
		return Decision{}, err
	}
	return v.decision(got), nil
}

// CheckAll decides any number of questions, in requests of up to 1,000 each,
// and answers in their order.
func (c *Client) CheckAll(ctx context.Context, questions []Question) ([]Decision, error) {
	decisions := make([]Decision, 0, len(questions))
	for len(questions) > 0 {
		n := min(len(questions), batchSize)
		part, err := c.checkBatch(ctx, questions[:n])
		if err != nil {
			return nil, err
		}
		decisions, questions = append(decisions, part...), questions[n:]
	}
	return decisions, nil
}

func (c *Client) checkBatch(ctx context.Context, questions []Question) ([]Decision, error) {
	asked := evaluations{Evaluations: make([]evaluation, len(questions)), Options: options{"execute_all"}}
	for i := range questions {
		var err error
		if asked.Evaluations[i], err = questions[i].evaluation(); err != nil {
			return nil, fmt.Errorf("question %d: %w", i, err)
		}
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	var given verdicts
	got, err := c.do(ctx, call{method: http.MethodPost, path: "/access/v1/evaluations", body: body, most: maxDecisions, reads: true}, &given)
	if err != nil {
		return nil, err
	}
	if len(given.Evaluations) != len(questions) {
		return nil, fmt.Errorf("client: %d questions got %d answers", len(questions), len(given.Evaluations))
	}
	decisions := make([]Decision, len(questions))
	for i := range decisions {
		decisions[i] = given.Evaluations[i].decision(got)
	}
	return decisions, nil
}

func (v *verdict) decision(got *answer) Decision {
	c := &v.Context
	d := Decision{
		Allowed: v.Decision, Reason: c.Reason, Role: c.Role, Site: c.Site,
		Event: c.Event, Position: c.Position, At: c.At, AsOf: got.position(), Until: c.Until,
	}
	if c.Error != nil {
		d.Allowed = false
		d.Err = &Error{
			Status: c.Error.Status, Code: plain(c.Error.Code), Detail: plain(c.Error.Message),
			RequestID: plain(got.header.Get("X-Request-Id")), Fields: plainFields(c.Error.Errors),
		}
		return d
	}
	d.keep = d.AsOf > 0
	if !d.Until.IsZero() {
		d.expires, d.keep = expires(d.Until, got)
	}
	return d
}

// expires turns a time of the server into one of this process. How long it is
// until then is taken from the server's clock, which Date gives rounded down to
// a second, and counted from when the question was sent; so it is never later
// than it should be, however the clocks differ.
func expires(until time.Time, got *answer) (time.Time, bool) {
	now, err := http.ParseTime(got.header.Get("Date"))
	if err != nil {
		return time.Time{}, false
	}
	left := until.Sub(now) - time.Second
	return got.sent.Add(left), left > 0
}
