package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"roster/domain"
	"roster/projections"
)

// auditView is one entry of the audit log.
type auditView struct {
	ID        domain.EventID  `json:"id"`
	Position  uint64          `json:"position"`
	At        time.Time       `json:"at"`
	Action    string          `json:"action" example:"member.invited"`
	Actor     auditActorView  `json:"actor"`
	Target    auditTargetView `json:"target"`
	Before    json.RawMessage `json:"before" doc:"What it was; null when there is nothing to say."`
	After     json.RawMessage `json:"after" doc:"What it became; null when there is nothing to say."`
	RequestID string          `json:"request_id"`

	OnBehalfOf *auditPersonView `json:"on_behalf_of" doc:"For whom the host product acted, in an action of its own; null otherwise."`
	Detail     json.RawMessage  `json:"detail" doc:"What the host product said of an action of its own; null for nothing, and once it is erased."`
	OccurredAt *time.Time       `json:"occurred_at" doc:"When the host product says that it happened; null when it didn't say."`
}

// auditActorView is who did it and from where. All but the id is empty once a
// person is erased.
type auditActorView struct {
	Type      domain.ActorType `json:"type" enum:"user,api_key,system"`
	ID        string           `json:"id"`
	Name      string           `json:"name"`
	Email     string           `json:"email"`
	IP        string           `json:"ip"`
	UserAgent string           `json:"user_agent"`
}

// auditPersonView is a member as they were called then.
type auditPersonView struct {
	ID    domain.UserID `json:"id"`
	Name  string        `json:"name"`
	Email string        `json:"email"`
}

type auditTargetView struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

func viewEntry(e *projections.AuditEntry) auditView {
	view := auditView{
		ID: e.ID, Position: e.Position, At: e.At, Action: e.Action,
		Actor:  auditActorView(e.Actor),
		Target: auditTargetView(e.Target),
		Before: e.Before, After: e.After, RequestID: e.RequestID,
		Detail: e.Detail, OccurredAt: optional(e.OccurredAt),
	}
	if e.OnBehalfOf.ID != "" {
		view.OnBehalfOf = &auditPersonView{e.OnBehalfOf.ID, e.OnBehalfOf.Name, e.OnBehalfOf.Email}
	}
	return view
}

// AuditFilter is which entries are wanted, in any combination.
type AuditFilter struct {
	Member string `query:"member" maxLength:"64" doc:"Id of a user who did it, or on whose behalf or to whom it was done."`
	Actor  string `query:"actor" maxLength:"64" doc:"Id of the user or API key; or operator, or roster."`
	Action string `query:"action" maxLength:"1000" doc:"One action, or several with commas, at most 32." example:"member.invited,member.joined"`
	Target string `query:"target" maxLength:"200" doc:"Id of what it was done to."`
	From   string `query:"from" maxLength:"40" doc:"The earliest time, or day in UTC." example:"2026-01-31T12:00:00Z"`
	To     string `query:"to" maxLength:"40" doc:"The latest time, or day in UTC; that day included." example:"2026-02-28"`
}

type listAuditInput struct {
	TeamPath
	PageQuery
	AuditFilter
}

type commitAuditInput struct {
	TeamPath
	PageQuery
	Position uint64 `path:"position" minimum:"1" maximum:"140000000000000" doc:"As an entry, an event or Roster-Position gave it." example:"4711"`
}

type exportAuditInput struct {
	TeamPath
	AuditFilter
	Format string `query:"format" enum:"csv,jsonl" default:"csv"`
}

func (s *Server) auditOperations() {
	answers(s, operation{
		id: "list-audit-events", method: http.MethodGet, path: "/v1/teams/{team}/audit-events", tag: tagAudit,
		summary: "List the audit log", about: "Newest first.", access: authenticated, reads: readsModel,
	}, s.listAudit)
	answers(s, operation{
		id: "get-audit-events", method: http.MethodGet, path: "/v1/teams/{team}/audit-events/{position}", tag: tagAudit,
		summary: "The entries of one change",
		about:   "What was recorded at a position, which is one entry for most changes and several where one brought about others. Newest first.",
		access:  authenticated, reads: readsModel,
	}, s.auditOfCommit)
	streams(s, operation{
		id: "export-audit-events", method: http.MethodGet, path: "/v1/teams/{team}/audit-events/export", tag: tagAudit,
		summary: "Export the audit log",
		about: "As CSV or JSON Lines, newest first, whatever its size. An export that can't be finished is cut off: its connection ends without the end of the body. " +
			"In CSV, a cell that a spreadsheet would take for a formula begins with an apostrophe.",
		access: authenticated, reads: readsModel, unbounded: true,
		content: []string{"text/csv", "application/jsonl"},
	}, s.exportAudit)
}

// filter reads the query; the lists of it are empty for no filter.
func (f *AuditFilter) filter() (projections.AuditFilter, error) {
	filter := projections.AuditFilter{Member: f.Member, Actor: f.Actor, Target: f.Target}
	for action := range strings.SplitSeq(f.Action, ",") {
		if action = strings.TrimSpace(action); action != "" {
			filter.Actions = append(filter.Actions, action)
		}
	}
	if len(filter.Actions) > projections.MaxActions {
		return filter, newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault).
			in("query", "action", fmt.Sprintf("must name at most %d actions", projections.MaxActions))
	}
	var err error
	if filter.From, err = parseMoment("from", f.From, false); err != nil {
		return filter, err
	}
	filter.To, err = parseMoment("to", f.To, true)
	return filter, err
}

// parseMoment reads a time, or a day as its first or last moment.
func parseMoment(name, text string, end bool) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if moment, err := time.Parse(time.RFC3339, text); err == nil {
		return moment.UTC(), nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		if end {
			return day.AddDate(0, 0, 1).Add(-time.Microsecond), nil
		}
		return day, nil
	}
	return time.Time{}, newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault).
		in("query", name, "must be a time such as 2026-01-31T12:00:00Z, or a day such as 2026-01-31")
}

// auditPage is a list[auditView] whose entries were written as they were read:
// a page of the log is the longest answer there is, and holding its entries
// once more takes as long as writing them.
type auditPage struct{ *jsonBuffer }

// Schema makes it a list[auditView] in the description.
func (auditPage) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[list[auditView]](), true, "")
}

func (s *Server) listAudit(ctx context.Context, x *exchange, in *listAuditInput) (page auditPage, err error) {
	if err := s.permitted(ctx, x, in.Team, domain.ActionReadAudit); err != nil {
		return page, err
	}
	filter, err := in.filter()
	if err != nil {
		return page, err
	}
	bound := binding("audit", string(in.Team), in.Member, in.Actor, in.Action, in.Target, in.From, in.To)
	if filter.After, err = openPageToken[projections.AuditKey](s, in.PageToken, bound); err != nil {
		return page, err
	}
	filter.Limit = in.Limit
	page = auditPage{newJSONBuffer()}
	defer func() {
		if err != nil {
			page.done()
		}
	}()
	var view auditView
	separator := `{"data":[`
	next, err := s.projections.AuditEach(ctx, in.Team, filter, func(entry *projections.AuditEntry) error {
		view = viewEntry(entry)
		page.json = appendEntry(append(page.json, separator...), &view)
		separator = ","
		return nil
	})
	if err != nil {
		return page, err
	}
	if separator != "," {
		page.json = append(page.json, separator...)
	}
	token, err := pageToken(s, next, bound)
	page.json = appendPage(append(page.json, ']'), token)
	return page, err
}

// auditOfCommit reads the log from the end of the commit on, until its entries
// are over.
func (s *Server) auditOfCommit(ctx context.Context, x *exchange, in *commitAuditInput) (list[auditView], error) {
	var none list[auditView]
	if err := s.permitted(ctx, x, in.Team, domain.ActionReadAudit); err != nil {
		return none, err
	}
	bound := binding("audit of commit", string(in.Team), etag(in.Position))
	after, err := openPageToken[projections.AuditKey](s, in.PageToken, bound)
	if err != nil {
		return none, err
	}
	if after == (projections.AuditKey{}) {
		after.Position = in.Position + 1
	}
	entries, next, err := s.projections.Audit(ctx, in.Team, projections.AuditFilter{After: after, Limit: in.Limit})
	if err != nil {
		return none, err
	}
	views := []auditView{}
	for i := range entries {
		if entries[i].Position != in.Position {
			next = projections.AuditKey{} // what follows is older
			break
		}
		views = append(views, viewEntry(&entries[i]))
	}
	if len(views) == 0 {
		return none, domain.ErrNotFound
	}
	token, err := pageToken(s, next, bound)
	return newList(views, token), err
}
