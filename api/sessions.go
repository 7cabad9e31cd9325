package api

import (
	"context"
	"net/http"
	"time"

	"roster/domain"
)

type signInInput struct {
	Body struct {
		Email    string `json:"email" minLength:"1" maxLength:"320"`
		Password string `json:"password" minLength:"1" maxLength:"1000"`
	}
}

type signInAnswer struct {
	TokenView
	User         userView      `json:"user"`
	ActiveTeamID domain.TeamID `json:"active_team_id" doc:"The team that the user looked at last; empty for a user without teams."`
}

type sessionView struct {
	ID         domain.SessionID `json:"id"`
	CreatedAt  time.Time        `json:"created_at"`
	LastSeenAt time.Time        `json:"last_seen_at"`
	ExpiresAt  time.Time        `json:"expires_at"`
	IP         string           `json:"ip"`
	UserAgent  string           `json:"user_agent"`
	Current    bool             `json:"current" doc:"The one that asks."`
}

type SessionPath struct {
	ID domain.SessionID `path:"id" maxLength:"64" doc:"Of the session."`
}

func (s *Server) sessionOperations() {
	answers(s, operation{
		id: "sign-in", method: http.MethodPost, path: "/v1/sessions", tag: tagSessions,
		summary: "Sign in",
		about:   "The answer to an unknown address is the same as to a wrong password: `invalid_credentials`. Repeated failures are slowed down with 429.",
		status:  http.StatusCreated, access: anyone,
		errors: []int{http.StatusUnauthorized, http.StatusTooManyRequests},
	}, s.signIn)
	answers(s, operation{
		id: "list-sessions", method: http.MethodGet, path: "/v1/sessions", tag: tagSessions,
		summary: "List one's own sessions", access: signedIn, reads: readsState,
	}, s.listSessions)
	acts(s, operation{
		id: "sign-out", method: http.MethodDelete, path: "/v1/sessions/current", tag: tagSessions,
		summary: "Sign out", about: "The session ends at once, on every node.", access: signedIn,
	}, s.signOut)
	acts(s, operation{
		id: "end-session", method: http.MethodDelete, path: "/v1/sessions/{id}", tag: tagSessions,
		summary: "End one of one's own sessions", access: signedIn,
	}, s.endSession)
}

func (s *Server) signIn(ctx context.Context, x *exchange, in *signInInput) (signInAnswer, error) {
	signed, done, err := s.commands.SignIn(ctx, x.caller, in.Body.Email, in.Body.Password)
	if err != nil {
		return signInAnswer{}, err
	}
	_, active, err := s.teamsOf(ctx, signed.User.ID, signed.ActiveTeam)
	if err != nil {
		return signInAnswer{}, err
	}
	s.wrote(x, signed.User.ID, done)
	s.signInCookie(x, signed.Session.Token, signed.Session.ExpiresAt)
	return signInAnswer{TokenView: viewToken(signed.Session), User: viewUser(signed.User), ActiveTeamID: active}, nil
}

func (s *Server) listSessions(ctx context.Context, x *exchange, _ *struct{}) (list[sessionView], error) {
	sessions, err := s.commands.Sessions(ctx, x.caller)
	if err != nil {
		return list[sessionView]{}, err
	}
	views := make([]sessionView, len(sessions))
	for i, session := range sessions {
		views[i] = sessionView{
			ID: session.ID, CreatedAt: session.CreatedAt, LastSeenAt: session.LastSeenAt, ExpiresAt: session.ExpiresAt,
			IP: session.IP, UserAgent: session.UserAgent, Current: session.Current,
		}
	}
	return newList(views, ""), nil
}

func (s *Server) signOut(ctx context.Context, x *exchange, _ *struct{}) error {
	done, err := s.commands.SignOut(ctx, x.caller)
	if err != nil {
		return err
	}
	s.wrote(x, x.caller.User, done)
	s.signOutCookie(x)
	return nil
}

func (s *Server) endSession(ctx context.Context, x *exchange, in *SessionPath) error {
	done, err := s.commands.EndSession(ctx, x.caller, in.ID)
	if err != nil {
		return err
	}
	s.wrote(x, x.caller.User, done)
	if in.ID == x.caller.Session {
		s.signOutCookie(x)
	}
	return nil
}
