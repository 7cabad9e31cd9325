package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"roster/domain"
)

// hostActionBody is an action of the host product, as the host says it. Lengths
// that are allowed here are those of the domain, which says more precisely what
// is wrong; these only bound what is looked at.
type hostActionBody struct {
	Action     string         `json:"action" minLength:"1" maxLength:"64" doc:"Lower-case parts, as in order.shipped. None that begins like Roster's own." example:"order.shipped"`
	Target     hostTargetBody `json:"target"`
	Detail     jsonObject     `json:"detail,omitempty" doc:"An object of at most 4,096 bytes. Kept sealed."`
	OccurredAt *time.Time     `json:"occurred_at,omitempty" doc:"When it happened, if that isn't now. The log is in the order of recording all the same."`
	OnBehalfOf domain.UserID  `json:"on_behalf_of,omitempty" maxLength:"64" doc:"With an API key: the member, or former one, for whom the host acted."`
}

type hostTargetBody struct {
	Type string `json:"type" minLength:"1" maxLength:"40" example:"order"`
	ID   string `json:"id" minLength:"1" maxLength:"200" doc:"Kept as it is: no personal data." example:"A-1042"`
	Name string `json:"name,omitempty" maxLength:"400" doc:"For people. Kept sealed." example:"Order 1042"`
}

func (b *hostActionBody) action() domain.HostAction {
	action := domain.HostAction{
		Action: b.Action, TargetType: b.Target.Type, TargetID: b.Target.ID, TargetName: b.Target.Name,
		Detail: json.RawMessage(b.Detail), OnBehalfOf: b.OnBehalfOf,
	}
	if b.OccurredAt != nil {
		action.OccurredAt = *b.OccurredAt
	}
	return action
}

// jsonObject is an object of the caller's own making, kept as it was written.
type jsonObject json.RawMessage

func (o jsonObject) MarshalJSON() ([]byte, error)  { return json.RawMessage(o).MarshalJSON() }
func (o *jsonObject) UnmarshalJSON(b []byte) error { return (*json.RawMessage)(o).UnmarshalJSON(b) }

// Schema describes it.
func (jsonObject) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
	s.PrecomputeMessages()
	return s
}

type recordInput struct {
	TeamPath
	Body hostActionBody
}

type recordAllInput struct {
	TeamPath
	Body struct {
		Events []hostActionBody `json:"events" minItems:"1" maxItems:"1000" doc:"In the order in which they are to stand in the log."`
	}
}

// recordedView is an action of the host as it was recorded. The log shows it
// with names, as it shows everything.
type recordedView struct {
	ID         domain.EventID  `json:"id"`
	Position   uint64          `json:"position"`
	At         time.Time       `json:"at"`
	Action     string          `json:"action"`
	Actor      recordedActor   `json:"actor"`
	OnBehalfOf *domain.UserID  `json:"on_behalf_of" doc:"Null for nobody."`
	Target     auditTargetView `json:"target"`
	Detail     json.RawMessage `json:"detail" doc:"Null for none."`
	OccurredAt *time.Time      `json:"occurred_at" doc:"Null when the host didn't say."`
	RequestID  string          `json:"request_id"`
}

type recordedActor struct {
	Type domain.ActorType `json:"type" enum:"user,api_key,system"`
	ID   string           `json:"id"`
}

// recordedRef is where one of many actions was recorded.
type recordedRef struct {
	ID       domain.EventID `json:"id"`
	Position uint64         `json:"position"`
	At       time.Time      `json:"at"`
}

// recordedRefs are in the order in which the actions were given.
type recordedRefs struct {
	Data []recordedRef `json:"data" nullable:"false"`
}

// maxRecorded bounds the body of many actions: 1,000 of a kilobyte each.
const maxRecorded = 1 << 20

func (s *Server) hostActionOperations() {
	answers(s, operation{
		id: "record-audit-event", method: http.MethodPost, path: "/v1/teams/{team}/audit-events", tag: tagAudit,
		summary: "Record an action of your own product",
		about: "The actor is whoever the credential belongs to. Names whose first part is that of one of Roster's actions (`member.`, `role.`, `session.` …) are refused. " +
			"The name of the target and the detail are sealed: under the key of the member that the target is, if it is one, and so erased with them.",
		status: http.StatusCreated, access: authenticated,
	}, s.recordAction)
	answers(s, operation{
		id: "record-audit-events", method: http.MethodPost, path: "/v1/teams/{team}/audit-events/batch", tag: tagAudit,
		summary: "Record up to 1,000 actions at once",
		about:   "All or none. The answer has their ids in the order in which they were given. The body has at most 1 MiB.",
		status:  http.StatusCreated, access: authenticated, body: maxRecorded,
	}, s.recordActions)
}

func (s *Server) recordAction(ctx context.Context, x *exchange, in *recordInput) (recordedView, error) {
	action := in.Body.action()
	recorded, done, err := s.commands.RecordAction(ctx, x.caller, in.Team, action)
	if err != nil {
		return recordedView{}, err
	}
	s.wrote(x, x.caller.User, done)
	view := recordedView{
		ID: recorded.ID, Position: recorded.Position, At: recorded.At, Action: action.Action,
		Actor:  recordedActor{x.caller.Actor.Type, x.caller.Actor.ID},
		Target: auditTargetView{action.TargetType, action.TargetID, strings.TrimSpace(action.TargetName)},
		Detail: action.Detail, OccurredAt: optional(action.OccurredAt.UTC().Truncate(time.Microsecond)), RequestID: x.id,
	}
	if action.OnBehalfOf != "" {
		view.OnBehalfOf = &action.OnBehalfOf
	}
	return view, nil
}

func (s *Server) recordActions(ctx context.Context, x *exchange, in *recordAllInput) (recordedRefs, error) {
	wanted := make([]domain.HostAction, len(in.Body.Events))
	for i := range in.Body.Events {
		wanted[i] = in.Body.Events[i].action()
	}
	recorded, done, err := s.commands.RecordActions(ctx, x.caller, in.Team, wanted)
	if err != nil {
		return recordedRefs{}, err
	}
	s.wrote(x, x.caller.User, done)
	refs := make([]recordedRef, len(recorded))
	for i, r := range recorded {
		refs[i] = recordedRef(r)
	}
	return recordedRefs{refs}, nil
}
