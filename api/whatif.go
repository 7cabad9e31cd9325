package api

import (
	"context"
	"net/http"
	"time"

	"roster/commands"
	"roster/domain"
	"roster/projections"
)

// whatIfInput is a change that is asked about: exactly one of these.
type whatIfInput struct {
	TeamPath
	Body struct {
		EditRole *struct {
			Key         domain.RoleKey    `json:"key" minLength:"1" maxLength:"40"`
			Level       *int              `json:"level,omitempty" minimum:"1" maximum:"1000"`
			Permissions *[]permissionText `json:"permissions,omitempty" maxItems:"256"`
		} `json:"edit_role,omitempty" doc:"A role of the team's own would mean this."`
		DeleteRole *struct {
			Key         domain.RoleKey `json:"key" minLength:"1" maxLength:"40"`
			Replacement domain.RoleKey `json:"replacement,omitempty" maxLength:"40"`
		} `json:"delete_role,omitempty"`
		ChangeRole *struct {
			User domain.UserID  `json:"user_id" minLength:"1" maxLength:"64"`
			Role domain.RoleKey `json:"role" minLength:"1" maxLength:"40"`
		} `json:"change_role,omitempty" doc:"A member would get this role."`
		SetPermissions *struct {
			User domain.UserID `json:"user_id" minLength:"1" maxLength:"64"`
			OverridesBody
		} `json:"set_permissions,omitempty" doc:"A member would have these overrides."`
		SetSites *struct {
			User  domain.UserID   `json:"user_id" minLength:"1" maxLength:"64"`
			Sites []siteGrantBody `json:"sites" maxItems:"1000"`
		} `json:"set_sites,omitempty" doc:"A member would have these roles on sites."`
		RemoveMember *struct {
			User domain.UserID `json:"user_id" minLength:"1" maxLength:"64"`
		} `json:"remove_member,omitempty"`
		RemoveSite *struct {
			Site domain.SiteID `json:"site_id" minLength:"1" maxLength:"64"`
		} `json:"remove_site,omitempty"`
	}
}

// maxEffects is how many effects are listed; Total tells all of them.
const maxEffects = 1000

type whatIfView struct {
	Position uint64       `json:"position" doc:"Of the team's last event that this takes account of."`
	Total    int          `json:"total" doc:"How many effects there are; the first 1,000 are listed."`
	Effects  []effectView `json:"effects"`
}

// effectView is what one member or API key would gain and lose.
type effectView struct {
	Who      personView          `json:"who"`
	SiteID   domain.SiteID       `json:"site_id,omitempty" doc:"Where; absent for what belongs to no site."`
	SiteName string              `json:"site_name,omitempty"`
	Gained   []domain.Permission `json:"gained"`
	Lost     []domain.Permission `json:"lost"`
}

type undoInput struct {
	TeamPath
	Body struct {
		EventID domain.EventID `json:"event_id" minLength:"1" maxLength:"64" doc:"From the audit log."`
	}
}

type undoneView struct {
	EventID domain.EventID `json:"event_id" doc:"That was turned back."`
	Actions []string       `json:"actions" doc:"What was done for it, as the audit log calls it; none when it was so already."`
}

func (s *Server) whatIfOperations() {
	answers(s, operation{
		id: "what-if", method: http.MethodPost, path: "/v1/teams/{team}/what-if", tag: tagAccess,
		summary: "Who would gain and lose what by a change",
		about:   "Nothing is changed. What the change itself would refuse is refused here too.",
		access:  authenticated, reads: readsState, errors: []int{http.StatusConflict},
	}, s.whatIf)
	answers(s, operation{
		id: "undo", method: http.MethodPost, path: "/v1/teams/{team}/undo", tag: tagAudit,
		summary: "Turn an event of the audit log back",
		about: "By a new command, judged under today's rules: changes of a role, of overrides, of sites, of names and of roles of the team's own go back to what was before; " +
			"an invitation is cancelled, an ownership transfer withdrawn, a site removed, an API key revoked. Refusals beside those of that command: `changed_since`, `not_undoable`.",
		access: authenticated,
	}, s.undo)
}

// proposal is the command that is asked about.
func (in *whatIfInput) proposal(by domain.Actor) (decide func(*domain.Team, time.Time) ([]domain.Event, error), given int) {
	b := &in.Body
	if c := b.EditRole; c != nil {
		given++
		changes := commands.RoleChanges{Level: c.Level}
		if c.Permissions != nil {
			set := permissions(*c.Permissions)
			changes.Permissions = &set
		}
		decide = func(t *domain.Team, now time.Time) ([]domain.Event, error) {
			return t.EditRole(by, c.Key, changes.To(t, c.Key), now)
		}
	}
	if c := b.DeleteRole; c != nil {
		given++
		decide = func(t *domain.Team, now time.Time) ([]domain.Event, error) {
			return t.DeleteRole(by, c.Key, c.Replacement, now)
		}
	}
	if c := b.ChangeRole; c != nil {
		given++
		decide = func(t *domain.Team, now time.Time) ([]domain.Event, error) {
			return t.ChangeRole(by, c.User, c.Role, now)
		}
	}
	if c := b.SetPermissions; c != nil {
		given++
		decide = func(t *domain.Team, now time.Time) ([]domain.Event, error) {
			return t.SetOverrides(by, c.User, c.overrides(), now)
		}
	}
	if c := b.SetSites; c != nil {
		given++
		decide = func(t *domain.Team, now time.Time) ([]domain.Event, error) {
			return t.SetSites(by, c.User, grants(c.Sites), now)
		}
	}
	if c := b.RemoveMember; c != nil {
		given++
		decide = func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.Remove(by, c.User, now) }
	}
	if c := b.RemoveSite; c != nil {
		given++
		decide = func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.RemoveSite(by, c.Site, now) }
	}
	return decide, given
}

func (s *Server) whatIf(ctx context.Context, x *exchange, in *whatIfInput) (whatIfView, error) {
	decide, given := in.proposal(x.caller.Actor)
	if given != 1 {
		p := newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault)
		p.at("#", "must hold exactly one of edit_role, delete_role, change_role, set_permissions, set_sites, remove_member, remove_site")
		return whatIfView{}, p
	}
	effects, now, err := s.commands.WhatIf(ctx, x.caller, in.Team, decide)
	if err != nil {
		return whatIfView{}, err
	}
	x.stands(now.Done)
	out := whatIfView{Position: now.Position, Total: len(effects), Effects: []effectView{}}
	for _, effect := range effects[:min(len(effects), maxEffects)] {
		who, err := s.personThen(ctx, now, effect.Actor)
		if err != nil {
			return whatIfView{}, err
		}
		view := effectView{Who: who, SiteID: effect.Site, Gained: listOf(effect.Gained), Lost: listOf(effect.Lost)}
		if site, ok := now.Team.Site(effect.Site); ok {
			view.SiteName = site.Name
		}
		out.Effects = append(out.Effects, view)
	}
	return out, nil
}

func (s *Server) undo(ctx context.Context, x *exchange, in *undoInput) (undoneView, error) {
	made, done, err := s.commands.Undo(ctx, x.caller, in.Team, in.Body.EventID)
	if err != nil {
		return undoneView{}, err
	}
	s.wrote(x, x.caller.User, done)
	out := undoneView{EventID: in.Body.EventID, Actions: []string{}}
	for _, event := range made {
		if said, ok := projections.Describe(event, in.Team); ok {
			out.Actions = append(out.Actions, said.Action)
		}
	}
	return out, nil
}
