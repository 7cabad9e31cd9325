package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"roster/domain"
)

// evaluation is the question of OpenID AuthZEN 1.0: may this subject do that
// to this resource? Fields that it doesn't name are accepted and ignored, as
// that specification asks.
type evaluation struct {
	_        struct{}           `json:"-" additionalProperties:"true"`
	Subject  evaluationSubject  `json:"subject"`
	Action   evaluationAction   `json:"action"`
	Resource evaluationResource `json:"resource"`
}

type evaluationSubject struct {
	_    struct{}         `json:"-" additionalProperties:"true"`
	Type domain.ActorType `json:"type" enum:"user,api_key"`
	ID   string           `json:"id" maxLength:"64"`
}

type evaluationAction struct {
	_    struct{} `json:"-" additionalProperties:"true"`
	Name string   `json:"name" maxLength:"40" example:"update"`
}

type evaluationResource struct {
	_          struct{}             `json:"-" additionalProperties:"true"`
	Type       string               `json:"type" maxLength:"40" example:"orders"`
	ID         string               `json:"id,omitempty" maxLength:"200"`
	Properties evaluationProperties `json:"properties"`
}

type evaluationProperties struct {
	_    struct{}      `json:"-" additionalProperties:"true"`
	Team domain.TeamID `json:"team" maxLength:"64"`
	Site domain.SiteID `json:"site,omitempty" maxLength:"64"`
}

// verdict is the answer.
type verdict struct {
	Decision bool           `json:"decision"`
	Context  verdictContext `json:"context"`
}

// verdictContext says why.
type verdictContext struct {
	Reason   domain.Reason  `json:"reason" doc:"Such as role, site_grant, override_granted, override_revoked, not_in_role, not_a_member, two_factor_required."`
	Role     domain.RoleKey `json:"role,omitempty" doc:"The role that was decisive."`
	Site     domain.SiteID  `json:"site,omitempty"`
	Event    domain.EventID `json:"event,omitempty" doc:"The event that gave it."`
	Position uint64         `json:"position,omitempty" doc:"Of that event."`
	At       string         `json:"at,omitempty" format:"date-time" doc:"When it did."`
}

func (s *Server) accessOperations() {
	o := operation{
		id: "evaluate-access", method: http.MethodPost, path: "/access/v1/evaluation", tag: tagAccess,
		summary: "May this subject do that?",
		about: "The answer to a denial is 200 with `decision: false` and the reason; a team that doesn't exist denies like one that the caller is not in. " +
			"Whoever is in the team may ask about themselves, and about others who may list members.",
		access: authenticated, reads: readsState,
	}
	s.describeEvaluation(&o)
	// Not through huma: products ask this on every request of theirs, so it
	// reads its body once and validates by hand.
	s.router.Post(o.path, s.evaluate)
}

// describeEvaluation adds the operation to the description by hand.
func (s *Server) describeEvaluation(o *operation) {
	described := s.describe(o)
	described.Middlewares = nil
	registry := s.api.OpenAPI().Components.Schemas
	schemaOf := func(v any) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{"application/json": {Schema: registry.Schema(reflect.TypeOf(v), true, "")}}
	}
	described.RequestBody = &huma.RequestBody{Required: true, Content: schemaOf(evaluation{})}
	described.Responses["200"].Content = schemaOf(verdict{})
	problem := registry.Schema(reflect.TypeFor[Problem](), true, "")
	for _, status := range described.Errors {
		described.Responses[statusLabel(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
		}
	}
	s.api.OpenAPI().AddOperation(&described)
}

func (s *Server) evaluate(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(r.Context())
	decided, err := s.decide(x, r)
	if err != nil {
		writeProblem(w, r, x.refuse(err))
		return
	}
	x.Header()["Content-Type"] = headerJSON
	_ = jsonFormat.Marshal(x, &decided)
}

var headerJSON = []string{"application/json"}

func (s *Server) decide(x *exchange, r *http.Request) (verdict, error) {
	ctx := r.Context()
	caller, err := s.caller(ctx, x, r, authenticated, s.credential(r))
	if err != nil {
		return verdict{}, err
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return verdict{}, humaProblem(http.StatusUnsupportedMediaType, "", nil)
	}
	if err := s.freshState(ctx, r); err != nil {
		return verdict{}, err
	}
	body, err := readBody(r)
	if err != nil {
		return verdict{}, err
	}
	var question evaluation
	if err := json.Unmarshal(body, &question); err != nil {
		return verdict{}, newProblem(http.StatusUnprocessableEntity, codeMalformedBody, "The body is not a question of the form that AuthZEN gives.")
	}
	if p := question.incomplete(); p != nil {
		return verdict{}, p
	}

	subject := domain.Actor{Type: question.Subject.Type, ID: question.Subject.ID}
	permission := domain.Permission(question.Resource.Type + ":" + question.Action.Name)
	decision := domain.Decision{Reason: domain.ReasonNotMember}
	_, err = s.commands.ViewOwnTeam(ctx, caller, question.Resource.Properties.Team, func(t *domain.Team, at time.Time) (err error) {
		if subject != caller.Actor {
			if err := s.commands.Admit(ctx, caller, t, at); err != nil {
				return err
			}
			if err := may(t, caller, domain.ActionViewMembers, at); err != nil {
				return err
			}
		}
		decision, err = s.commands.Can(ctx, t, subject, permission, question.Resource.Properties.Site, at)
		return err
	})
	if err != nil && asProblem(err).Status != http.StatusNotFound {
		return verdict{}, err
	}
	out := verdict{Decision: decision.Allowed, Context: verdictContext{
		Reason: decision.Reason, Role: decision.Role, Site: decision.Site,
		Event: decision.Given.Event, Position: decision.Given.Position,
	}}
	if !decision.Given.At.IsZero() {
		out.Context.At = decision.Given.At.Format(time.RFC3339Nano)
	}
	return out, nil
}

func (e *evaluation) incomplete() *Problem {
	var p *Problem
	for _, field := range [...]struct{ pointer, value string }{
		{"#/subject/type", string(e.Subject.Type)},
		{"#/subject/id", e.Subject.ID},
		{"#/action/name", e.Action.Name},
		{"#/resource/type", e.Resource.Type},
		{"#/resource/properties/team", string(e.Resource.Properties.Team)},
	} {
		if field.value != "" {
			continue
		}
		if p == nil {
			p = newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault)
		}
		p.at(field.pointer, "is required")
	}
	return p
}
