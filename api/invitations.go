package api

import (
	"context"
	"net/http"
	"time"

	"roster/commands"
	"roster/domain"
	"roster/projections"
)

// personView is who did something.
type personView struct {
	Type  domain.ActorType `json:"type" enum:"user,api_key,system"`
	ID    string           `json:"id"`
	Name  string           `json:"name,omitempty"`
	Email string           `json:"email,omitempty"`
}

type siteGrantView struct {
	SiteID domain.SiteID  `json:"site_id"`
	Role   domain.RoleKey `json:"role"`
	EndingView
}

func viewGrants(grants []domain.SiteGrant) []siteGrantView {
	views := make([]siteGrantView, len(grants))
	for i, grant := range grants {
		views[i] = siteGrantView{grant.Site, grant.Role, ending(grant.ExpiresAt)}
	}
	return views
}

// deliveryView is how the message with the present link fared.
type deliveryView struct {
	Status domain.DeliveryStatus `json:"status" enum:"queued,sent,failed"`
	Detail string                `json:"detail" doc:"What went wrong; empty while nothing has."`
	At     *time.Time            `json:"at,omitempty"`
}

// invitationView is an invitation as those who may invite see it.
type invitationView struct {
	ID        domain.InvitationID     `json:"id"`
	Email     string                  `json:"email"`
	Name      string                  `json:"name"`
	Role      domain.RoleKey          `json:"role"`
	Sites     []siteGrantView         `json:"sites"`
	Status    domain.InvitationStatus `json:"status" enum:"pending,accepted,declined,cancelled,expired"`
	CreatedAt time.Time               `json:"created_at"`
	ExpiresAt time.Time               `json:"expires_at"`
	InvitedBy personView              `json:"invited_by"`

	AccessExpiresAt *time.Time `json:"access_expires_at" doc:"When the membership that it leads to ends by itself; null for never."`

	URL      string        `json:"url,omitempty" doc:"The link, while the invitation is pending: to hand over when the message didn't arrive."`
	Delivery *deliveryView `json:"delivery,omitempty" doc:"How the message fared; absent when the past was asked for."`
}

func viewInvited(i commands.Invitation) invitationView {
	return invitationView{
		ID: i.ID, Email: i.Email, Name: i.Name, Role: i.Role, Sites: viewGrants(i.Sites), Status: i.Status,
		CreatedAt: i.CreatedAt, ExpiresAt: i.ExpiresAt, AccessExpiresAt: optional(i.AccessExpiresAt), URL: i.URL,
		InvitedBy: personView{Type: i.InvitedBy.Type, ID: i.InvitedBy.ID},
		Delivery:  &deliveryView{Status: domain.DeliveryQueued},
	}
}

func (s *Server) viewInvitation(i *projections.Invitation) invitationView {
	view := invitationView{
		ID: i.ID, Email: i.Email, Name: i.Name, Role: i.Role, Sites: viewGrants(i.Sites), Status: i.Status,
		CreatedAt: i.InvitedAt, ExpiresAt: i.ExpiresAt, AccessExpiresAt: optional(i.AccessExpiresAt),
		InvitedBy: personView{Type: i.InvitedBy.Type, ID: i.InvitedBy.ID, Name: i.InvitedBy.Name, Email: i.InvitedBy.Email},
		Delivery:  &deliveryView{Status: i.Delivery.Status, Detail: i.Delivery.Detail, At: optional(i.Delivery.At)},
	}
	if i.Status == domain.StatusPending {
		view.URL = s.commands.InvitationURL(i.Team, i.ID, i.Link)
	}
	return view
}

// inviteBody is who is invited, and as what.
type inviteBody struct {
	Email string          `json:"email" minLength:"1" maxLength:"320" example:"grace@example.com"`
	Name  string          `json:"name,omitempty" maxLength:"400"`
	Role  domain.RoleKey  `json:"role" minLength:"1" maxLength:"40" doc:"A key of the team's role catalog."`
	Sites []siteGrantBody `json:"sites,omitempty" maxItems:"1000"`

	AccessExpiresAt *time.Time `json:"access_expires_at,omitempty" nullable:"true" maxLength:"64" doc:"When the membership is to end by itself. The invitation never lasts longer."`
}

func (b *inviteBody) request() commands.InviteRequest {
	return commands.InviteRequest{Email: b.Email, Name: b.Name, Role: b.Role, Sites: grants(b.Sites), AccessExpiresAt: endOf(b.AccessExpiresAt)}
}

type inviteInput struct {
	TeamPath
	Body inviteBody
}

type bulkInput struct {
	TeamPath
	Body struct {
		Invitations []inviteBody `json:"invitations" minItems:"1" maxItems:"200"`
	}
}

// bulkResult answers for one of several invitations.
type bulkResult struct {
	Status     int             `json:"status" doc:"As it would have been for this one alone."`
	Invitation *invitationView `json:"invitation,omitempty"`
	Error      *Problem        `json:"error,omitempty"`
}

type listInvitationsInput struct {
	TeamPath
	PageQuery
	MomentQuery
	Status string `query:"status" enum:"pending,accepted,declined,cancelled,expired,all" default:"pending"`
}

type InvitationPath struct {
	TeamPath
	ID domain.InvitationID `path:"id" maxLength:"64" doc:"Of the invitation."`
}

type TokenPath struct {
	Token string `path:"token" maxLength:"200" doc:"From the link."`
}

// previewView is what the holder of a link sees.
type previewView struct {
	Team      teamNameView   `json:"team"`
	Email     string         `json:"email"`
	Name      string         `json:"name"`
	Role      domain.RoleKey `json:"role"`
	RoleName  string         `json:"role_name"`
	RoleAbout string         `json:"role_description"`
	Sites     []previewSite  `json:"sites" doc:"That come with it, and the role on each."`
	Labels    labelsView     `json:"labels"`
	ExpiresAt time.Time      `json:"expires_at"`

	AccessExpiresAt *time.Time `json:"access_expires_at" doc:"When the membership is to end by itself; null for never."`

	Next string `json:"next" enum:"sign_up,sign_in,accept,wrong_account" doc:"What to do next."`
}

type previewSite struct {
	SiteID   domain.SiteID  `json:"site_id"`
	Name     string         `json:"name"`
	Role     domain.RoleKey `json:"role"`
	RoleName string         `json:"role_name"`
}

type teamNameView struct {
	ID   domain.TeamID `json:"id"`
	Name string        `json:"name"`
}

type acceptInput struct {
	TokenPath
	Body *struct {
		Name     string `json:"name,omitempty" maxLength:"400"`
		Password string `json:"password,omitempty" maxLength:"1000"`
	} `doc:"Of somebody new; empty for one who is signed in."`
}

type acceptedView struct {
	Team    TeamRoleView `json:"team"`
	User    userView     `json:"user"`
	Session *TokenView   `json:"session,omitempty" doc:"Of somebody new."`
}

func (s *Server) invitationOperations() {
	answers(s, operation{
		id: "invite", method: http.MethodPost, path: "/v1/teams/{team}/invitations", tag: tagInvitations,
		summary: "Invite somebody",
		about:   "It takes a seat until it is accepted, declined, cancelled or expired. Refusals: `seat_limit_reached`, `already_member`, `already_invited`, `role_not_assignable`, `rank_too_low`.",
		status:  http.StatusCreated, access: authenticated,
	}, s.invite)
	answers(s, operation{
		id: "invite-many", method: http.MethodPost, path: "/v1/teams/{team}/invitations/bulk", tag: tagInvitations,
		summary: "Invite several people", about: "One result each, in the order given; one that is refused doesn't hold up the rest.",
		access: authenticated,
	}, s.inviteMany)
	answers(s, operation{
		id: "list-invitations", method: http.MethodGet, path: "/v1/teams/{team}/invitations", tag: tagInvitations,
		summary: "List invitations", about: "Newest first; the pending ones unless another status is asked for.",
		access: authenticated, reads: readsModel,
	}, s.listInvitations)
	acts(s, operation{
		id: "cancel-invitation", method: http.MethodDelete, path: "/v1/teams/{team}/invitations/{id}", tag: tagInvitations,
		summary: "Cancel an invitation", about: "Its link is dead and its seat is free at once.",
		access: authenticated, errors: []int{http.StatusGone},
	}, s.cancelInvitation)
	answers(s, operation{
		id: "resend-invitation", method: http.MethodPost, path: "/v1/teams/{team}/invitations/{id}/resend", tag: tagInvitations,
		summary: "Send an invitation again", about: "With a new link and a new expiry; the old link is dead.",
		access: authenticated, errors: []int{http.StatusGone},
	}, s.resendInvitation)
	answers(s, operation{
		id: "preview-invitation", method: http.MethodGet, path: "/v1/invitations/{token}", tag: tagInvitations,
		summary: "What a link invites to", about: "It changes nothing, however often it is opened.",
		access: maybeSignedIn, reads: readsState, errors: []int{http.StatusGone},
	}, s.previewInvitation)
	answers(s, operation{
		id: "accept-invitation", method: http.MethodPost, path: "/v1/invitations/{token}/accept", tag: tagInvitations,
		summary: "Accept an invitation",
		about:   "Somebody new gives a name and a password and is signed in; a user who is signed in gives nothing. Only the address that was invited can accept: `wrong_account`.",
		access:  maybeSignedIn, errors: []int{http.StatusGone, http.StatusTooManyRequests},
	}, s.acceptInvitation)
	acts(s, operation{
		id: "decline-invitation", method: http.MethodPost, path: "/v1/invitations/{token}/decline", tag: tagInvitations,
		summary: "Decline an invitation", access: maybeSignedIn, errors: []int{http.StatusGone},
	}, s.declineInvitation)
}

func (s *Server) invite(ctx context.Context, x *exchange, in *inviteInput) (invitationView, error) {
	invitation, done, err := s.commands.Invite(ctx, x.caller, in.Team, in.Body.request())
	if err != nil {
		return invitationView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return viewInvited(invitation), nil
}

func (s *Server) inviteMany(ctx context.Context, x *exchange, in *bulkInput) (list[bulkResult], error) {
	requests := make([]commands.InviteRequest, len(in.Body.Invitations))
	for i := range in.Body.Invitations {
		requests[i] = in.Body.Invitations[i].request()
	}
	invited, done := s.commands.InviteAll(ctx, x.caller, in.Team, requests)
	results := make([]bulkResult, len(invited))
	for i, one := range invited {
		if one.Err != nil {
			p := x.refuse(one.Err)
			if p.Status >= http.StatusInternalServerError {
				// What became of it isn't known, so the whole must be repeatable.
				return list[bulkResult]{}, one.Err
			}
			results[i] = bulkResult{Status: p.Status, Error: p}
			continue
		}
		view := viewInvited(one.Invitation)
		results[i] = bulkResult{Status: http.StatusCreated, Invitation: &view}
	}
	s.wrote(x, x.caller.User, done)
	return newList(results, ""), nil
}

func (s *Server) listInvitations(ctx context.Context, x *exchange, in *listInvitationsInput) (list[invitationView], error) {
	var none list[invitationView]
	if err := s.permitted(ctx, x, in.Team, domain.ActionInvite); err != nil {
		return none, err
	}
	if moment, past, err := in.moment(s.commands.Now()); past || err != nil {
		if err != nil {
			return none, err
		}
		return s.invitationsThen(ctx, x, in, moment)
	}
	bound := binding("invitations", string(in.Team), in.Status)
	after, err := openPageToken[projections.InvitationKey](s, in.PageToken, bound)
	if err != nil {
		return none, err
	}
	filter := projections.InvitationsFilter{Now: s.commands.Now(), Limit: in.Limit, After: after}
	if in.Status != "all" {
		filter.Status = domain.InvitationStatus(in.Status)
	}
	invitations, next, err := s.projections.Invitations(ctx, in.Team, filter)
	if err != nil {
		return none, err
	}
	views := make([]invitationView, len(invitations))
	for i := range invitations {
		views[i] = s.viewInvitation(&invitations[i])
	}
	token, err := pageToken(s, next, bound)
	return newList(views, token), err
}

func (s *Server) cancelInvitation(ctx context.Context, x *exchange, in *InvitationPath) error {
	done, err := s.commands.Cancel(ctx, x.caller, in.Team, in.ID)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}

func (s *Server) resendInvitation(ctx context.Context, x *exchange, in *InvitationPath) (invitationView, error) {
	invitation, done, err := s.commands.Resend(ctx, x.caller, in.Team, in.ID)
	if err != nil {
		return invitationView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return viewInvited(invitation), nil
}

func (s *Server) previewInvitation(ctx context.Context, x *exchange, in *TokenPath) (previewView, error) {
	preview, _, err := s.commands.PreviewInvitation(ctx, x.caller, in.Token)
	if err != nil {
		return previewView{}, err
	}
	view := previewView{
		Team:  teamNameView{ID: preview.Team, Name: preview.TeamName},
		Email: preview.Email, Name: preview.Name, Role: preview.Role, RoleName: preview.RoleName, RoleAbout: preview.RoleAbout,
		Sites: make([]previewSite, len(preview.Sites)), Labels: viewLabels(preview.Labels),
		ExpiresAt: preview.ExpiresAt, AccessExpiresAt: optional(preview.AccessExpiresAt), Next: preview.Next,
	}
	for i, site := range preview.Sites {
		view.Sites[i] = previewSite{SiteID: site.ID, Name: site.Name, Role: site.Role, RoleName: site.RoleName}
	}
	return view, nil
}

func (s *Server) acceptInvitation(ctx context.Context, x *exchange, in *acceptInput) (acceptedView, error) {
	var given commands.Acceptance
	if in.Body != nil {
		given = commands.Acceptance{Name: in.Body.Name, Password: in.Body.Password}
	}
	accepted, done, err := s.commands.AcceptInvitation(ctx, x.caller, in.Token, given)
	if err != nil {
		return acceptedView{}, err
	}
	s.wrote(x, accepted.User.ID, done)
	view := acceptedView{Team: viewTeamRole(accepted.Team), User: viewUser(accepted.User)}
	if session := accepted.Session; session != nil {
		s.signInCookie(x, session.Token, session.ExpiresAt)
		token := viewToken(*session)
		view.Session = &token
	}
	return view, nil
}

func (s *Server) declineInvitation(ctx context.Context, x *exchange, in *TokenPath) error {
	done, err := s.commands.DeclineInvitation(ctx, x.caller, in.Token)
	if err == nil {
		x.stands(done)
	}
	return err
}
