package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"roster/domain"
	"roster/projections"
)

type MemberPath struct {
	TeamPath
	User domain.UserID `path:"user" maxLength:"64" doc:"Of the member."`
}

// memberSiteView is a member's role on one site.
type memberSiteView struct {
	SiteID domain.SiteID  `json:"site_id"`
	Name   string         `json:"name"`
	Role   domain.RoleKey `json:"role"`
	EndingView
}

// EndingView is when something ends by itself.
type EndingView struct {
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"When it ends by itself; absent for never."`
}

func ending(at time.Time) EndingView { return EndingView{optional(at)} }

// memberView is a member as the caller sees them.
type memberView struct {
	UserID        domain.UserID    `json:"user_id"`
	Email         string           `json:"email"`
	Name          string           `json:"name"`
	EmailVerified bool             `json:"email_verified"`
	Role          domain.RoleKey   `json:"role"`
	Sites         []memberSiteView `json:"sites"`
	Overrides     overridesView    `json:"overrides"`
	JoinedAt      time.Time        `json:"joined_at"`
	LastSignInAt  *time.Time       `json:"last_sign_in_at" doc:"Null for one who never signed in."`
	TwoFactor     *bool            `json:"two_factor,omitempty" doc:"Whether they have a second factor; shown to those who may manage the team's security, of members as they are now."`
	ExpiresAt     *time.Time       `json:"expires_at" doc:"When the membership ends by itself; null for never."`
	Actions       []string         `json:"actions" doc:"What the caller may do to this member: change_role, edit_permissions, edit_sites, edit_expiry, remove."`

	Grantable []domain.Permission `json:"grantable,omitempty" doc:"In the answer about one member whose permissions the caller may edit: the permissions that the caller has to give."`
}

// overridesView is the whole set of a member's overrides.
type overridesView struct {
	Granted []domain.Permission `json:"granted" maxItems:"256" doc:"Permissions beyond the role."`
	Revoked []domain.Permission `json:"revoked" maxItems:"256" doc:"Permissions of the role that are taken away."`

	Expirations map[domain.Permission]time.Time `json:"expirations,omitempty" doc:"When some of them end by themselves."`
}

func viewOverrides(o domain.Overrides) overridesView {
	return overridesView{Granted: listOf(o.Granted), Revoked: listOf(o.Revoked), Expirations: o.Expirations}
}

type listMembersInput struct {
	TeamPath
	PageQuery
	MomentQuery
	Query string `query:"query" maxLength:"200" doc:"A part of the name or of the address, in any case."`
}

type getMemberInput struct {
	MemberPath
	MomentQuery
}

type roleInput struct {
	MemberPath
	Body struct {
		Role domain.RoleKey `json:"role" minLength:"1" maxLength:"40" doc:"A key of the team's role catalog."`
	}
}

type overridesInput struct {
	MemberPath
	Body OverridesBody
}

// OverridesBody is the whole set of a member's overrides, as a caller gives it.
type OverridesBody struct {
	Granted     []permissionText     `json:"granted" maxItems:"256"`
	Revoked     []permissionText     `json:"revoked" maxItems:"256"`
	ExpiresAt   *time.Time           `json:"expires_at,omitempty" nullable:"true" maxLength:"64" doc:"When all of them end by themselves, but for those in expirations."`
	Expirations map[string]time.Time `json:"expirations,omitempty" maxProperties:"256" doc:"When single ones do, by the permission."`
}

func (b *OverridesBody) overrides() domain.Overrides {
	o := domain.Overrides{
		Granted: permissions(b.Granted), Revoked: permissions(b.Revoked), Expirations: make(map[domain.Permission]time.Time),
	}
	if b.ExpiresAt != nil {
		for _, permission := range slices.Concat(o.Granted, o.Revoked) {
			o.Expirations[permission] = endOf(b.ExpiresAt)
		}
	}
	for permission, at := range b.Expirations {
		o.Expirations[domain.Permission(permission)] = endOf(&at)
	}
	return o
}

// pointing makes a refusal of the ends point at the one field that was given.
func (b *OverridesBody) pointing(err error) error {
	if refusal, ok := errors.AsType[*domain.Error](err); ok && refusal.Field == "#/expirations" && len(b.Expirations) == 0 {
		moved := *refusal
		moved.Field = "#/expires_at"
		return &moved
	}
	return err
}

type expiryInput struct {
	MemberPath
	Body struct {
		ExpiresAt *time.Time `json:"expires_at" maxLength:"64" doc:"When the membership is to end by itself; null for never."`
	}
}

// endOf is an end as a caller gives it; zero for none. The zero time, as text,
// is a time in the past like any other.
func endOf(at *time.Time) time.Time {
	switch {
	case at == nil:
		return time.Time{}
	case at.IsZero():
		return time.Unix(0, 0).UTC()
	}
	return *at
}

// siteGrantBody is a role on a site, as a caller gives it.
type siteGrantBody struct {
	SiteID    domain.SiteID  `json:"site_id" minLength:"1" maxLength:"64"`
	Role      domain.RoleKey `json:"role" minLength:"1" maxLength:"40"`
	ExpiresAt *time.Time     `json:"expires_at,omitempty" nullable:"true" maxLength:"64" doc:"When it ends by itself."`
}

type grantsInput struct {
	MemberPath
	Body struct {
		Sites []siteGrantBody `json:"sites" maxItems:"1000"`
	}
}

func (s *Server) memberOperations() {
	answers(s, operation{
		id: "list-members", method: http.MethodGet, path: "/v1/teams/{team}/members", tag: tagMembers,
		summary: "List members", about: "In the order of joining.", access: authenticated, reads: readsModel,
	}, s.listMembers)
	answers(s, operation{
		id: "get-member", method: http.MethodGet, path: "/v1/teams/{team}/members/{user}", tag: tagMembers,
		summary: "One member", access: authenticated, reads: readsModel,
	}, s.getMember)
	answers(s, operation{
		id: "change-role", method: http.MethodPut, path: "/v1/teams/{team}/members/{user}/role", tag: tagMembers,
		summary: "Change a member's role",
		about:   "It takes effect with the member's next request. Overrides belong to the member and stay as they are, in force.",
		access:  authenticated,
	}, s.changeRole)
	answers(s, operation{
		id: "set-permissions", method: http.MethodPut, path: "/v1/teams/{team}/members/{user}/permissions", tag: tagMembers,
		summary: "Replace a member's permission overrides",
		about: "The whole set, as one change. Revoked beats granted, and granted beats the role. A later change of the role leaves overrides " +
			"as they are; the end of the membership ends them. Nobody grants a permission that they lack, or lifts its revocation.",
		access: authenticated,
	}, s.setPermissions)
	answers(s, operation{
		id: "set-sites", method: http.MethodPut, path: "/v1/teams/{team}/members/{user}/sites", tag: tagMembers,
		summary: "Replace a member's roles on sites", about: "The whole set, as one change.", access: authenticated,
	}, s.setSites)
	answers(s, operation{
		id: "set-expiry", method: http.MethodPut, path: "/v1/teams/{team}/members/{user}/expiry", tag: tagMembers,
		summary: "Say when a membership ends by itself",
		about: "From that instant on the person is no member, and their seat is free. It takes the permission to remove the member, and " +
			"to put the end off also what inviting somebody with their role takes. Nobody gives access that lasts longer than their own.",
		access: authenticated,
	}, s.setExpiry)
	acts(s, operation{
		id: "remove-member", method: http.MethodDelete, path: "/v1/teams/{team}/members/{user}", tag: tagMembers,
		summary: "Remove a member",
		about: "The account and other memberships stay. API keys that the member made belong to the team and keep working; " +
			"`Roster-Surviving-Keys` lists them.",
		access: authenticated,
	}, s.removeMember)
	acts(s, operation{
		id: "leave-team", method: http.MethodPost, path: "/v1/teams/{team}/leave", tag: tagMembers,
		summary: "Leave a team", about: "Where the team's role catalog allows it.", access: signedIn, oneFactor: true,
	}, s.leave)
}

// memberLook is what a caller sees of the members of a team now.
type memberLook struct {
	team    *domain.Team
	at      time.Time
	actions func(*domain.Member) []string
	factors bool // whether they have a second factor
}

func lookAtMembers(t *domain.Team, x *exchange, at time.Time) memberLook {
	return memberLook{
		team: t, at: at, actions: t.MemberActions(x.caller.Actor, at), factors: may(t, x.caller, domain.ActionManageSecurity, at) == nil,
	}
}

// view puts together what the read model has of a member and what the team
// decides about them now; false for one who has gone since.
func (l *memberLook) view(m *projections.Member) (memberView, bool) {
	member, ok := l.team.Member(m.User, l.at)
	if !ok {
		return memberView{}, false
	}
	view := memberView{
		UserID: m.User, Email: m.Email, Name: m.Name, EmailVerified: m.EmailVerified, Role: m.Role,
		Sites:     make([]memberSiteView, len(m.Sites)),
		Overrides: viewOverrides(m.Overrides),
		JoinedAt:  m.JoinedAt, LastSignInAt: optional(m.LastSignInAt), ExpiresAt: optional(m.ExpiresAt),
		Actions: l.actions(member),
	}
	if l.factors {
		view.TwoFactor = &m.TwoFactor
	}
	for i, site := range m.Sites {
		view.Sites[i] = memberSiteView{site.Site, site.Name, site.Role, ending(site.ExpiresAt)}
	}
	return view, true
}

// optional is nil for a time that never was.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	out := t // so that nothing is allocated for a zero time
	return &out
}

// listOf is an empty list for a nil one, which JSON would show as null.
func listOf[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// permitted refuses unless the caller may do an action in the team, before
// anything is read for them.
func (s *Server) permitted(ctx context.Context, x *exchange, team domain.TeamID, action domain.Action) error {
	_, err := s.commands.ViewTeam(ctx, x.caller, team, func(t *domain.Team, at time.Time) error {
		return may(t, x.caller, action, at)
	})
	return err
}

func (s *Server) listMembers(ctx context.Context, x *exchange, in *listMembersInput) (list[memberView], error) {
	var none list[memberView]
	if err := s.permitted(ctx, x, in.Team, domain.ActionViewMembers); err != nil {
		return none, err
	}
	if moment, past, err := in.moment(s.commands.Now()); past || err != nil {
		if err != nil {
			return none, err
		}
		return s.membersThen(ctx, x, in, moment)
	}
	bound := binding("members", string(in.Team), in.Query)
	after, err := openPageToken[projections.MemberKey](s, in.PageToken, bound)
	if err != nil {
		return none, err
	}
	members, next, err := s.projections.Members(ctx, in.Team, projections.MembersFilter{
		Query: in.Query, Now: s.commands.Now(), Limit: in.Limit, After: after,
	})
	if err != nil {
		return none, err
	}
	views := make([]memberView, 0, len(members))
	_, err = s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, at time.Time) error {
		look := lookAtMembers(t, x, at)
		for i := range members {
			if view, ok := look.view(&members[i]); ok {
				views = append(views, view)
			}
		}
		return nil
	})
	if err != nil {
		return none, err
	}
	token, err := pageToken(s, next, bound)
	return newList(views, token), err
}

func (s *Server) getMember(ctx context.Context, x *exchange, in *getMemberInput) (memberView, error) {
	if err := s.permitted(ctx, x, in.Team, domain.ActionViewMembers); err != nil {
		return memberView{}, err
	}
	if moment, past, err := in.moment(s.commands.Now()); past || err != nil {
		if err != nil {
			return memberView{}, err
		}
		return s.memberThen(ctx, x, in, moment)
	}
	return s.member(ctx, x, in.Team, in.User)
}

// member reads one member.
func (s *Server) member(ctx context.Context, x *exchange, team domain.TeamID, user domain.UserID) (view memberView, err error) {
	found, err := s.projections.Member(ctx, team, user, s.commands.Now())
	if err != nil {
		return memberView{}, err
	}
	_, err = s.commands.ViewTeam(ctx, x.caller, team, func(t *domain.Team, at time.Time) error {
		var ok bool
		look := lookAtMembers(t, x, at)
		if view, ok = look.view(&found); !ok {
			return domain.ErrNotFound
		}
		if slices.Contains(view.Actions, "edit_permissions") {
			view.Grantable = t.Grantable(x.caller.Actor, at)
		}
		return nil
	})
	return view, err
}

// changed answers a change to a member with the member as they are now.
func (s *Server) changed(ctx context.Context, x *exchange, in MemberPath, position uint64) (memberView, error) {
	if err := waitAtMost(ctx, ownWriteWait, position, s.projections.Wait); err != nil {
		return memberView{}, behindOr(err)
	}
	return s.member(ctx, x, in.Team, in.User)
}

func (s *Server) changeRole(ctx context.Context, x *exchange, in *roleInput) (memberView, error) {
	done, err := s.commands.ChangeRole(ctx, x.caller, in.Team, in.User, in.Body.Role)
	if err != nil {
		return memberView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.changed(ctx, x, in.MemberPath, done.Position)
}

// permissionText is a permission as a caller gives it.
type permissionText string

// Schema describes it: two names of at most 40 characters.
func (permissionText) Schema(huma.Registry) *huma.Schema {
	longest := 81
	s := &huma.Schema{Type: huma.TypeString, MaxLength: &longest, Examples: []any{"orders:update"}}
	s.PrecomputeMessages()
	return s
}

func permissions(given []permissionText) []domain.Permission {
	out := make([]domain.Permission, len(given))
	for i, permission := range given {
		out[i] = domain.Permission(permission)
	}
	return out
}

func (s *Server) setPermissions(ctx context.Context, x *exchange, in *overridesInput) (memberView, error) {
	done, err := s.commands.SetOverrides(ctx, x.caller, in.Team, in.User, in.Body.overrides())
	if err != nil {
		return memberView{}, in.Body.pointing(err)
	}
	s.wrote(x, x.caller.User, done)
	return s.changed(ctx, x, in.MemberPath, done.Position)
}

func grants(given []siteGrantBody) []domain.SiteGrant {
	out := make([]domain.SiteGrant, len(given))
	for i, grant := range given {
		out[i] = domain.SiteGrant{Site: grant.SiteID, Role: grant.Role, ExpiresAt: endOf(grant.ExpiresAt)}
	}
	return out
}

func (s *Server) setSites(ctx context.Context, x *exchange, in *grantsInput) (memberView, error) {
	done, err := s.commands.SetSites(ctx, x.caller, in.Team, in.User, grants(in.Body.Sites))
	if err != nil {
		return memberView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.changed(ctx, x, in.MemberPath, done.Position)
}

func (s *Server) setExpiry(ctx context.Context, x *exchange, in *expiryInput) (memberView, error) {
	done, err := s.commands.SetExpiry(ctx, x.caller, in.Team, in.User, endOf(in.Body.ExpiresAt))
	if err != nil {
		return memberView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.changed(ctx, x, in.MemberPath, done.Position)
}

func (s *Server) removeMember(ctx context.Context, x *exchange, in *MemberPath) error {
	done, err := s.commands.RemoveMember(ctx, x.caller, in.Team, in.User)
	if err != nil {
		return err
	}
	s.wrote(x, x.caller.User, done)
	var surviving []string
	_, err = s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, at time.Time) error {
		for _, key := range t.APIKeys() {
			if key.CreatedBy == domain.ByUser(in.User) && key.Active(at) {
				surviving = append(surviving, string(key.ID))
			}
		}
		return nil
	})
	if err == nil && len(surviving) > 0 {
		slices.Sort(surviving)
		x.Header().Set("Roster-Surviving-Keys", strings.Join(surviving, ", "))
	}
	return nil // removed, whatever became of the question about keys
}

func (s *Server) leave(ctx context.Context, x *exchange, in *TeamPath) error {
	done, err := s.commands.Leave(ctx, x.caller, in.Team)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}
