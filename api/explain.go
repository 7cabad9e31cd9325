package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"roster/commands"
	"roster/domain"
	"roster/projections"
)

type explainInput struct {
	TeamPath
	MomentQuery
	User       domain.UserID     `query:"user" required:"true" minLength:"1" maxLength:"64" doc:"Who."`
	Permission domain.Permission `query:"permission" required:"true" minLength:"3" maxLength:"81" doc:"What." example:"orders:update"`
	Site       domain.SiteID     `query:"site" maxLength:"64" doc:"Where; needed for what belongs to a site."`
}

// explanation is a decision with the events behind it.
type explanation struct {
	User       personView        `json:"user"`
	Permission domain.Permission `json:"permission"`
	SiteID     domain.SiteID     `json:"site_id,omitempty"`
	AsOf       time.Time         `json:"as_of"`
	Position   uint64            `json:"position" doc:"Of the team's last event by then."`
	Allowed    bool              `json:"allowed"`
	Reason     domain.Reason     `json:"reason" doc:"As in an evaluation."`
	Role       domain.RoleKey    `json:"role,omitempty" doc:"The role that was decisive."`
	Until      *time.Time        `json:"until" doc:"When the answer ends by time alone: by the end of a membership, a role on a site or an override. Null when it doesn't."`
	Text       string            `json:"text" doc:"The same in a sentence."`
	Catalog    catalogThenView   `json:"catalog"`
	Steps      []stepView        `json:"steps" doc:"The events behind it, the oldest first."`
}

// catalogThenView is the version of the role catalog that the answer goes by.
type catalogThenView struct {
	Name     string         `json:"name"`
	Version  int            `json:"version"`
	EventID  domain.EventID `json:"event_id" doc:"Which put it in force."`
	Position uint64         `json:"position"`
	At       time.Time      `json:"at"`
}

type stepView struct {
	EventID  domain.EventID  `json:"event_id"`
	Position uint64          `json:"position"`
	At       time.Time       `json:"at"`
	Action   string          `json:"action" doc:"As in the audit log."`
	Actor    personView      `json:"actor"`
	Before   json.RawMessage `json:"before"`
	After    json.RawMessage `json:"after"`
	Decisive bool            `json:"decisive" doc:"Whether this event gave, or took away, what the answer rests on."`
}

type diffInput struct {
	TeamPath
	From string `query:"from" required:"true" minLength:"1" maxLength:"40" doc:"A time, a day, or a position."`
	To   string `query:"to" maxLength:"40" doc:"The same; now when it isn't given."`
}

// diffView is what differs between two moments.
type diffView struct {
	From    momentView       `json:"from"`
	To      momentView       `json:"to"`
	Changes []differenceView `json:"changes"`
}

type momentView struct {
	At       time.Time `json:"at"`
	Position uint64    `json:"position" doc:"Of the team's last event by then."`
}

type differenceView struct {
	Kind   string      `json:"kind" enum:"team,role,member,invitation,site,api_key"`
	ID     string      `json:"id"`
	Name   string      `json:"name" doc:"Of a member or invitation, or what else it is called."`
	Change string      `json:"change" enum:"added,removed,changed"`
	Fields []fieldView `json:"fields"`
	Event  *eventView  `json:"event" doc:"The last one behind it; null for what came about by time or by a new version of the role catalog."`
}

type fieldView struct {
	Field string `json:"field"`
	From  any    `json:"from" doc:"Null where there was nothing."`
	To    any    `json:"to" doc:"Null where there is nothing."`
}

func (s *Server) explainOperations() {
	answers(s, operation{
		id: "explain-access", method: http.MethodGet, path: "/v1/teams/{team}/explain", tag: tagAccess,
		summary: "Could this person do this then, and why?",
		about: "With `as_of` or `at` about the past, judged by the role catalog of that time, else about now. " +
			"The steps are the events that the answer rests on: how the person came in, and what gave the role, the sites and the overrides. " +
			"Everybody in the team may ask about themselves, and about others who may list members.",
		access: authenticated, reads: readsState,
	}, s.explain)
	answers(s, operation{
		id: "compare-moments", method: http.MethodGet, path: "/v1/teams/{team}/diff", tag: tagTeams,
		summary: "What changed between two moments",
		about:   "The net difference of members, pending invitations, sites, API keys, roles and the team itself; what came and went in between is in the audit log.",
		access:  authenticated, reads: readsState,
	}, s.compareMoments)
}

func (s *Server) explain(ctx context.Context, x *exchange, in *explainInput) (explanation, error) {
	if domain.ByUser(in.User) != x.caller.Actor {
		if err := s.permitted(ctx, x, in.Team, domain.ActionViewMembers); err != nil {
			return explanation{}, err
		}
	}
	moment, _, err := in.moment(s.commands.Now())
	if err != nil {
		return explanation{}, err
	}
	then, err := s.past(ctx, x, in.Team, moment, in.pointer())
	if err != nil {
		return explanation{}, err
	}
	who, err := s.personThen(ctx, then, domain.ByUser(in.User))
	if err != nil {
		return explanation{}, err
	}
	decision := then.Team.Can(domain.ByUser(in.User), in.Permission, in.Site, then.At)
	catalog := then.Team.Catalog()
	out := explanation{
		User: who, Permission: in.Permission, SiteID: in.Site, AsOf: then.At, Position: then.Position,
		Allowed: decision.Allowed, Reason: decision.Reason, Role: decision.Role, Until: optional(decision.Until),
		Text: reasonText(then.Team, in.Permission, decision),
		Catalog: catalogThenView{
			Name: catalog.Name, Version: catalog.Version,
			EventID: then.Catalog.ID, Position: then.Catalog.Position, At: then.Catalog.At,
		},
		Steps: []stepView{},
	}
	for _, step := range domain.Story(then.History(), in.User, in.Site) {
		view, err := s.viewStep(ctx, then, step)
		if err != nil {
			return explanation{}, err
		}
		view.Decisive = step.Meta.ID == decision.Given.Event
		out.Steps = append(out.Steps, view)
	}
	return out, nil
}

func (s *Server) viewStep(ctx context.Context, past *commands.Past, step domain.Step) (stepView, error) {
	said, _ := projections.Describe(step.Event, past.Team.ID())
	actor, err := s.personThen(ctx, past, step.Meta.Actor)
	return stepView{
		EventID: step.Meta.ID, Position: step.Meta.Position, At: step.Meta.At,
		Action: said.Action, Actor: actor, Before: said.Before, After: said.After,
	}, err
}

// reasonText says a decision in a sentence.
func reasonText(t *domain.Team, permission domain.Permission, d domain.Decision) string {
	role := string(d.Role)
	if found, ok := t.Role(d.Role); ok {
		role = found.Name
	}
	switch d.Reason {
	case domain.ReasonRole:
		return fmt.Sprintf("The role %s has %s.", role, permission)
	case domain.ReasonSiteGrant:
		return fmt.Sprintf("The role %s on this site has %s.", role, permission)
	case domain.ReasonOverride:
		return fmt.Sprintf("%s was granted to this member beyond the role %s.", permission, role)
	case domain.ReasonRevoked:
		return fmt.Sprintf("%s was revoked from this member, whatever the role %s has.", permission, role)
	case domain.ReasonNotInRole:
		return fmt.Sprintf("The role %s doesn't have %s.", role, permission)
	case domain.ReasonNoSiteGrant:
		return "This member has no role on this site."
	case domain.ReasonSiteMissing:
		return fmt.Sprintf("%s belongs to a site, and none was named.", permission)
	case domain.ReasonUnknownSite:
		return "The team has no such site."
	case domain.ReasonUnknown:
		return fmt.Sprintf("The role catalog doesn't have %s.", permission)
	case domain.ReasonNotMember:
		return "This person is not a member of the team."
	}
	return string(d.Reason)
}

// parseMomentOrPosition reads a moment given either way.
func (s *Server) parseMomentOrPosition(name, text string) (commands.Moment, error) {
	if position, err := strconv.ParseUint(text, 10, 64); err == nil && position > 0 {
		return commands.Moment{Position: position}, nil
	}
	if text == "" {
		return commands.Moment{}, nil
	}
	at, err := parseInstant(name, text, s.commands.Now())
	return commands.Moment{At: at}, err
}

func (s *Server) compareMoments(ctx context.Context, x *exchange, in *diffInput) (diffView, error) {
	if err := s.permitted(ctx, x, in.Team, domain.ActionReadAudit); err != nil {
		return diffView{}, err
	}
	var moments [2]*commands.Past
	for i, given := range [...]struct{ name, text string }{{"from", in.From}, {"to", in.To}} {
		moment, err := s.parseMomentOrPosition(given.name, given.text)
		if err != nil {
			return diffView{}, err
		}
		if moments[i], err = s.past(ctx, x, in.Team, moment, given.name); err != nil {
			return diffView{}, err
		}
	}
	from, to := moments[0], moments[1]
	if to.Version < from.Version || to.At.Before(from.At) {
		return diffView{}, newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault).in("query", "to", "lies before from")
	}
	events := lastTouched(to, from.Position)
	out := diffView{
		From: momentView{At: from.At, Position: from.Position}, To: momentView{At: to.At, Position: to.Position},
		Changes: []differenceView{},
	}
	for _, difference := range domain.Compare(from.Team, to.Team, from.At, to.At) {
		view := differenceView{Kind: difference.Kind, ID: difference.ID, Change: difference.Change, Fields: []fieldView{}}
		side := to
		if difference.Change == "removed" {
			side = from
		}
		var err error
		if view.Name, err = s.nameThen(ctx, side, difference.Kind, difference.ID); err != nil {
			return diffView{}, err
		}
		for _, field := range difference.Fields {
			view.Fields = append(view.Fields, fieldView{Field: field.Field, From: fieldValue(field.From), To: fieldValue(field.To)})
		}
		if last, ok := events.behind(difference); ok {
			if view.Event, err = s.viewEvent(ctx, to, last); err != nil {
				return diffView{}, err
			}
		}
		out.Changes = append(out.Changes, view)
	}
	return out, nil
}

// fieldValue is a value as it is written into JSON.
func fieldValue(value any) any {
	switch value := value.(type) {
	case []domain.SiteGrant:
		return viewGrants(value)
	case []domain.Permission:
		return listOf(value)
	}
	return value
}

// nameThen is what something was called.
func (s *Server) nameThen(ctx context.Context, past *commands.Past, kind, id string) (string, error) {
	t := past.Team
	switch kind {
	case "member":
		person, err := s.commands.AccountThen(ctx, domain.UserID(id), past)
		return person.Name, err
	case "invitation":
		if invitation, ok := t.Invitation(domain.InvitationID(id)); ok {
			email, _, err := s.commands.InviteeThen(ctx, invitation)
			return email, err
		}
	case "team":
		return t.Name(), nil
	case "role":
		if role, ok := t.Role(domain.RoleKey(id)); ok {
			return role.Name, nil
		}
	case "site":
		if site, ok := t.Site(domain.SiteID(id)); ok {
			return site.Name, nil
		}
	case "api_key":
		if key, ok := t.APIKey(domain.APIKeyID(id)); ok {
			return key.Name, nil
		}
	}
	return "", nil
}
