package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"roster/commands"
	"roster/domain"
)

// membershipView is one of the teams that a user is in.
type membershipView struct {
	TeamRoleView
	JoinedAt  time.Time  `json:"joined_at"`
	ExpiresAt *time.Time `json:"expires_at" doc:"When the membership ends by itself; null for never."`
	TwoFactor dutyView   `json:"two_factor"`
}

// dutyView is what a team asks of a member's sign-in.
type dutyView struct {
	Required bool       `json:"required" doc:"The team requires a second factor of this member."`
	Deadline *time.Time `json:"deadline" doc:"From then on, without one they can do nothing in the team but leave. Null where none is required."`
	Met      bool       `json:"met" doc:"Nothing is required, or the account has a second factor."`
}

type meView struct {
	User         userView         `json:"user"`
	TwoFactor    twoFactorView    `json:"two_factor"`
	Teams        []membershipView `json:"teams" doc:"In the order of joining; at most 1,000."`
	ActiveTeamID domain.TeamID    `json:"active_team_id" doc:"Empty for a user without teams."`
}

type renameMeInput struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"400"`
	}
}

type changePasswordInput struct {
	Body struct {
		CurrentPassword string `json:"current_password" minLength:"1" maxLength:"1000"`
		NewPassword     string `json:"new_password" minLength:"12" maxLength:"1000"`
	}
}

type activeTeamInput struct {
	Body struct {
		TeamID domain.TeamID `json:"team_id" minLength:"1" maxLength:"64"`
	}
}

func (s *Server) meOperations() {
	answers(s, operation{
		id: "get-me", method: http.MethodGet, path: "/v1/me", tag: tagAccounts,
		summary: "One's own account and teams", access: signedIn, reads: readsModel,
	}, s.getMe)
	answers(s, operation{
		id: "rename-me", method: http.MethodPatch, path: "/v1/me", tag: tagAccounts,
		summary: "Change one's own name", access: signedIn,
	}, s.renameMe)
	acts(s, operation{
		id: "change-password", method: http.MethodPut, path: "/v1/me/password", tag: tagAccounts,
		summary: "Change one's own password",
		about:   "Ends the other sessions. A wrong present password counts as a failed sign-in.",
		access:  signedIn, errors: []int{http.StatusTooManyRequests},
	}, s.changePassword)
	answers(s, operation{
		id: "choose-team", method: http.MethodPut, path: "/v1/me/active-team", tag: tagAccounts,
		summary: "Choose the team to look at", about: "It is remembered across sign-ins.",
		access: signedIn, errors: []int{http.StatusNotFound},
	}, s.chooseTeam)
}

// teamsOf lists a user's teams, and says which of them is the active one: the
// chosen one as long as they are in it, else the first. The read model says
// which teams there may be, and each team itself whether the user is in it
// now: somebody who was removed must not find it in the list for as long as
// the read model takes.
func (s *Server) teamsOf(ctx context.Context, user domain.UserID, chosen domain.TeamID) ([]membershipView, domain.TeamID, error) {
	memberships, err := s.projections.TeamsOf(ctx, user, s.commands.Now())
	if err != nil {
		return nil, "", err
	}
	self := commands.Caller{Actor: domain.ByUser(user), User: user}
	teams := make([]membershipView, 0, len(memberships))
	var active domain.TeamID
	for _, membership := range memberships {
		view := membershipView{JoinedAt: membership.JoinedAt}
		_, err := s.commands.ViewOwnTeam(ctx, self, membership.Team, func(t *domain.Team, now time.Time) error {
			view.TeamRoleView = TeamRoleView{ID: t.ID(), Name: t.Name(), Catalog: t.Catalog().Name, Plan: t.PlanKey()}
			if member, ok := t.Member(user, now); ok {
				view.Role, view.ExpiresAt = member.Role, optional(member.ExpiresAt)
			}
			deadline, required := t.TwoFactorDeadline(user, now)
			view.TwoFactor = dutyView{Required: required, Deadline: optional(deadline), Met: !required}
			return nil
		})
		switch {
		case errors.Is(err, domain.ErrNotFound):
			continue
		case err != nil:
			return nil, "", err
		}
		teams = append(teams, view)
		if active == "" || view.ID == chosen {
			active = view.ID
		}
	}
	return teams, active, nil
}

func (s *Server) me(ctx context.Context, x *exchange) (meView, error) {
	me, _, err := s.commands.Me(ctx, x.caller)
	if err != nil {
		return meView{}, err
	}
	teams, active, err := s.teamsOf(ctx, x.caller.User, me.ActiveTeam)
	if err != nil {
		return meView{}, err
	}
	for i := range teams {
		teams[i].TwoFactor.Met = teams[i].TwoFactor.Met || me.TwoFactor.On
	}
	return meView{User: viewUser(me.User), TwoFactor: viewTwoFactor(me.TwoFactor), Teams: teams, ActiveTeamID: active}, nil
}

func (s *Server) getMe(ctx context.Context, x *exchange, _ *struct{}) (meView, error) {
	return s.me(ctx, x)
}

func (s *Server) renameMe(ctx context.Context, x *exchange, in *renameMeInput) (meView, error) {
	_, done, err := s.commands.RenameMe(ctx, x.caller, in.Body.Name)
	if err != nil {
		return meView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.me(ctx, x)
}

func (s *Server) changePassword(ctx context.Context, x *exchange, in *changePasswordInput) error {
	done, err := s.commands.ChangePassword(ctx, x.caller, in.Body.CurrentPassword, in.Body.NewPassword)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}

func (s *Server) chooseTeam(ctx context.Context, x *exchange, in *activeTeamInput) (meView, error) {
	done, err := s.commands.ChooseTeam(ctx, x.caller, in.Body.TeamID)
	if err != nil {
		return meView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.me(ctx, x)
}
