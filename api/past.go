package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"roster/commands"
	"roster/domain"
	"roster/projections"
)

// MomentQuery asks about the past instead of the present.
type MomentQuery struct {
	AsOf string `query:"as_of" maxLength:"40" doc:"How it was at this time, or at the end of this day in UTC, by the role catalog of that time." example:"2026-01-31T12:00:00Z"`
	At   uint64 `query:"at" doc:"The same by a position, as Roster-Position gave it." example:"4711"`
}

// moment reads it; false when the present is asked for.
func (q *MomentQuery) moment(now time.Time) (commands.Moment, bool, error) {
	if q.AsOf != "" && q.At != 0 {
		return commands.Moment{}, false, newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault).
			in("query", "at", "can't be given together with as_of")
	}
	if q.At != 0 {
		return commands.Moment{Position: q.At}, true, nil
	}
	at, err := parseInstant("as_of", q.AsOf, now)
	return commands.Moment{At: at}, q.AsOf != "", err
}

// parseInstant is parseMoment for one that can't lie in the future: of today,
// it is now.
func parseInstant(name, text string, now time.Time) (time.Time, error) {
	at, err := parseMoment(name, text, true)
	if start, ofDay := parseMoment(name, text, false); ofDay == nil && at.After(now) && !start.After(now) {
		return now, nil
	}
	return at, err
}

// binds is what a page token belongs to of it.
func (q *MomentQuery) binds() string { return q.AsOf + "@" + etag(q.At) }

// past gives the team as it was at a moment.
func (s *Server) past(ctx context.Context, x *exchange, team domain.TeamID, moment commands.Moment, pointer string) (*commands.Past, error) {
	past, err := s.commands.TeamAt(ctx, x.caller, team, moment)
	if err != nil {
		p := asProblem(err)
		if p.Status == http.StatusUnprocessableEntity {
			return nil, newProblem(p.Status, p.Code, fieldsAtFault).in("query", pointer, "lies in the future")
		}
		return nil, err
	}
	x.stands(past.Done)
	return past, nil
}

func (q *MomentQuery) pointer() string {
	if q.At != 0 {
		return "at"
	}
	return "as_of"
}

// membersThen lists the members as they were.
func (s *Server) membersThen(ctx context.Context, x *exchange, in *listMembersInput, moment commands.Moment) (list[memberView], error) {
	var none list[memberView]
	bound := binding("members then", string(in.Team), in.Query, in.binds())
	after, err := openPageToken[int](s, in.PageToken, bound)
	if err != nil {
		return none, err
	}
	past, err := s.past(ctx, x, in.Team, moment, in.pointer())
	if err != nil {
		return none, err
	}
	var views []memberView
	last, more := 0, false
	for place, member := range past.Team.Members(after, past.At) {
		person, err := s.commands.AccountThen(ctx, member.User, past)
		if err != nil {
			return none, err
		}
		if !holds(in.Query, person.Name, person.Email) {
			continue
		}
		if more = len(views) == in.Limit; more {
			break
		}
		view, err := s.viewMemberThen(ctx, past, member, person)
		if err != nil {
			return none, err
		}
		views, last = append(views, view), place
	}
	if !more {
		last = 0
	}
	token, err := pageToken(s, last, bound)
	return newList(views, token), err
}

// holds tells whether a text is in any of the others, in any case.
func holds(part string, texts ...string) bool {
	part = strings.ToLower(part)
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(strings.ToLower(text), part) })
}

func (s *Server) memberThen(ctx context.Context, x *exchange, in *getMemberInput, moment commands.Moment) (memberView, error) {
	past, err := s.past(ctx, x, in.Team, moment, in.pointer())
	if err != nil {
		return memberView{}, err
	}
	member, ok := past.Team.Member(in.User, past.At)
	if !ok {
		return memberView{}, domain.ErrNotFound
	}
	person, err := s.commands.AccountThen(ctx, member.User, past)
	if err != nil {
		return memberView{}, err
	}
	return s.viewMemberThen(ctx, past, member, person)
}

func (s *Server) viewMemberThen(ctx context.Context, past *commands.Past, member *domain.Member, person commands.Account) (memberView, error) {
	view := memberOf(past.Team, member, person)
	signIns, _, err := s.projections.Audit(ctx, past.Team.ID(), projections.AuditFilter{
		Actor: string(member.User), Actions: []string{"session.started"}, To: past.At, Limit: 1,
	})
	if len(signIns) > 0 {
		view.LastSignInAt = optional(signIns[0].At)
	}
	return view, err
}

// memberOf is a member as the team has them, which is all but the last sign-in.
func memberOf(t *domain.Team, member *domain.Member, person commands.Account) memberView {
	overrides := t.Overrides(member)
	view := memberView{
		UserID: member.User, Email: person.Email, Name: person.Name, EmailVerified: person.Verified, Role: member.Role,
		Sites:     make([]memberSiteView, 0, len(member.Sites)),
		Overrides: viewOverrides(overrides),
		JoinedAt:  member.JoinedAt, ExpiresAt: optional(member.ExpiresAt), Actions: []string{}, // nobody changes the past
	}
	for _, grant := range member.Sites {
		if site, ok := t.Site(grant.Site); ok {
			view.Sites = append(view.Sites, memberSiteView{grant.Site, site.Name, grant.Role, ending(grant.ExpiresAt)})
		}
	}
	return view
}

// invitationsThen lists the invitations as they were: newest first.
func (s *Server) invitationsThen(ctx context.Context, x *exchange, in *listInvitationsInput, moment commands.Moment) (list[invitationView], error) {
	var none list[invitationView]
	bound := binding("invitations then", string(in.Team), in.Status, in.binds())
	after, err := openPageToken[domain.InvitationID](s, in.PageToken, bound)
	if err != nil {
		return none, err
	}
	past, err := s.past(ctx, x, in.Team, moment, in.pointer())
	if err != nil {
		return none, err
	}
	found := past.Team.Invitations(func(i *domain.Invitation) bool {
		return in.Status == "all" || i.StatusAt(past.At) == domain.InvitationStatus(in.Status)
	})
	slices.SortFunc(found, func(a, b *domain.Invitation) int {
		return cmp.Or(b.InvitedAt.Compare(a.InvitedAt), cmp.Compare(b.ID, a.ID))
	})
	if after != "" {
		found = found[slices.IndexFunc(found, func(i *domain.Invitation) bool { return i.ID == after })+1:]
	}
	var next domain.InvitationID
	if len(found) > in.Limit {
		found = found[:in.Limit]
		next = found[in.Limit-1].ID
	}
	views := make([]invitationView, len(found))
	for i, invitation := range found {
		if views[i], err = s.viewInvitationThen(ctx, past, invitation); err != nil {
			return none, err
		}
	}
	token, err := pageToken(s, next, bound)
	return newList(views, token), err
}

// viewInvitationThen is an invitation without its link, which may have been
// another one, and without what became of its message.
func (s *Server) viewInvitationThen(ctx context.Context, past *commands.Past, i *domain.Invitation) (invitationView, error) {
	email, name, err := s.commands.InviteeThen(ctx, i)
	if err != nil {
		return invitationView{}, err
	}
	inviter, err := s.personThen(ctx, past, i.InvitedBy)
	return invitationView{
		ID: i.ID, Email: email, Name: name, Role: i.Role, Sites: viewGrants(i.Sites), Status: i.StatusAt(past.At),
		CreatedAt: i.InvitedAt, ExpiresAt: i.ExpiresAt, AccessExpiresAt: optional(i.AccessExpiresAt), InvitedBy: inviter,
	}, err
}

// personThen is an actor with the name of that time.
func (s *Server) personThen(ctx context.Context, past *commands.Past, actor domain.Actor) (personView, error) {
	view := personView{Type: actor.Type, ID: actor.ID}
	switch actor.Type {
	case domain.ActorUser:
		person, err := s.commands.AccountThen(ctx, domain.UserID(actor.ID), past)
		view.Name, view.Email = person.Name, person.Email
		return view, err
	case domain.ActorAPIKey:
		if key, ok := past.Team.APIKey(domain.APIKeyID(actor.ID)); ok {
			view.Name = key.Name
		}
	case domain.ActorSystem: // has no name
	}
	return view, nil
}
