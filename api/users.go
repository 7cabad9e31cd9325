package api

import (
	"context"
	"net/http"
	"time"

	"roster/commands"
	"roster/domain"
)

// userView is a user as they see themselves.
type userView struct {
	ID            domain.UserID `json:"id" example:"user_01j2x8q5w6e7r8t9y0a1b2c3d4"`
	Email         string        `json:"email"`
	Name          string        `json:"name"`
	EmailVerified bool          `json:"email_verified"`
}

func viewUser(a commands.Account) userView {
	return userView{ID: a.ID, Email: a.Email, Name: a.Name, EmailVerified: a.Verified}
}

// TeamRoleView is a team and what the user is in it.
type TeamRoleView struct {
	ID      domain.TeamID  `json:"id" example:"team_01j2x8q5w6e7r8t9y0a1b2c3d4"`
	Name    string         `json:"name"`
	Role    domain.RoleKey `json:"role" doc:"A key of the team's role catalog."`
	Catalog string         `json:"catalog"`
	Plan    string         `json:"plan" doc:"Empty in a catalog without plans."`
}

func viewTeamRole(t commands.TeamRole) TeamRoleView {
	return TeamRoleView{ID: t.ID, Name: t.Name, Role: t.Role, Catalog: t.Catalog, Plan: t.Plan}
}

// TokenView is a new session. The token is told once.
type TokenView struct {
	ID        domain.SessionID `json:"id"`
	Token     string           `json:"token" doc:"For Authorization: Bearer. It is told once."`
	ExpiresAt time.Time        `json:"expires_at" doc:"The latest end; an unused session ends earlier."`
}

func viewToken(n commands.NewSession) TokenView {
	return TokenView{ID: n.ID, Token: n.Token, ExpiresAt: n.ExpiresAt}
}

type signUpInput struct {
	Body struct {
		Email    string `json:"email" minLength:"1" maxLength:"320" example:"ada@example.com"`
		Name     string `json:"name" minLength:"1" maxLength:"400" example:"Ada Lovelace"`
		Password string `json:"password" minLength:"12" maxLength:"1000" doc:"At least 12 characters, and none of the commonest ones."`
		TeamName string `json:"team_name,omitempty" maxLength:"400" doc:"Of the team that the new user will own; the catalog's own name when empty."`
		Catalog  string `json:"catalog,omitempty" maxLength:"40" doc:"Of that team: any that the server has, built in or given; its standard one when empty."`
	}
}

type signedUp struct {
	User    userView     `json:"user"`
	Team    TeamRoleView `json:"team"`
	Session TokenView    `json:"session"`
}

func (s *Server) userOperations() {
	answers(s, operation{
		id: "sign-up", method: http.MethodPost, path: "/v1/users", tag: tagAccounts,
		summary: "Sign up",
		about:   "Opens an account and a team whose owner the new user is, and signs in. Refuses with `address_taken` when the address has an account.",
		status:  http.StatusCreated, access: anyone, errors: []int{http.StatusTooManyRequests},
	}, s.signUp)
}

func (s *Server) signUp(ctx context.Context, x *exchange, in *signUpInput) (signedUp, error) {
	registered, done, err := s.commands.Register(ctx, x.caller, commands.Registration{
		Email: in.Body.Email, Name: in.Body.Name, Password: in.Body.Password,
		TeamName: in.Body.TeamName, Catalog: in.Body.Catalog,
	})
	if err != nil {
		return signedUp{}, err
	}
	s.wrote(x, registered.User.ID, done)
	s.signInCookie(x, registered.Session.Token, registered.Session.ExpiresAt)
	return signedUp{
		User: viewUser(registered.User), Team: viewTeamRole(registered.Team), Session: viewToken(registered.Session),
	}, nil
}
