package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"roster/commands"
	"roster/domain"
)

type signInInput struct {
	Body struct {
		Email    string `json:"email" minLength:"1" maxLength:"320"`
		Password string `json:"password" minLength:"1" maxLength:"1000"`
	}
}

// signInAnswer is one of the two: signed in, or asked for the second factor.
type signInAnswer struct {
	signedInView  *signedInView
	challengeView *challengeView
}

// MarshalJSON gives the one there is; the two have a field of one name.
func (a signInAnswer) MarshalJSON() ([]byte, error) {
	if a.challengeView != nil {
		return json.Marshal(a.challengeView)
	}
	return json.Marshal(a.signedInView)
}

func (a signInAnswer) status() int {
	if a.challengeView != nil {
		return http.StatusOK
	}
	return http.StatusCreated
}

type signedInView struct {
	TokenView
	User         userView      `json:"user"`
	ActiveTeamID domain.TeamID `json:"active_team_id" doc:"The team that the user looked at last; empty for a user without teams."`
}

// challengeView asks for the second factor.
type challengeView struct {
	TwoFactorRequired bool      `json:"two_factor_required" doc:"Always true."`
	Challenge         string    `json:"challenge" doc:"To be sent with the second factor. It is no credential for anything else."`
	Methods           []string  `json:"methods" doc:"By which it can be answered: totp, recovery_code, passkey."`
	ExpiresAt         time.Time `json:"expires_at" doc:"It also ends after five wrong codes."`
}

type secondFactorInput struct {
	Body struct {
		Challenge  string         `json:"challenge" minLength:"1" maxLength:"100"`
		Code       string         `json:"code,omitempty" maxLength:"40" doc:"Of the authenticator app, or a recovery code."`
		Credential credentialBody `json:"credential,omitempty" doc:"In place of a code: what the browser answered to the options of /v1/sessions/two-factor/passkey."`
	}
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
		about: "The answer to an unknown address is the same as to a wrong password: `invalid_credentials`. Repeated failures are slowed down with 429. " +
			"Where the account has a second factor, the answer is 200 with a `challenge` for it, and no session.",
		status: http.StatusCreated, access: anyone,
		errors: []int{http.StatusUnauthorized, http.StatusTooManyRequests},
		also:   map[int]any{http.StatusCreated: signedInView{}, http.StatusOK: challengeView{}},
	}, s.signIn)
	answers(s, operation{
		id: "sign-in-two-factor", method: http.MethodPost, path: "/v1/sessions/two-factor", tag: tagSessions,
		summary: "Complete a sign-in with the second factor",
		about: "A challenge works once, for five minutes and five tries; after that, `challenge_ended` says to begin again. " +
			"Each code works once, and wrong ones are slowed down with 429 like wrong passwords.",
		status: http.StatusCreated, access: anyone,
		errors: []int{http.StatusUnauthorized, http.StatusTooManyRequests},
	}, s.signInTwoFactor)
	answers(s, operation{
		id: "list-sessions", method: http.MethodGet, path: "/v1/sessions", tag: tagSessions,
		summary: "List one's own sessions", access: signedIn, reads: readsState,
	}, s.listSessions)
	acts(s, operation{
		id: "sign-out", method: http.MethodDelete, path: "/v1/sessions/current", tag: tagSessions,
		summary: "Sign out", about: "The session ends at once, on every node.", access: signedIn,
	}, s.signOut)
	acts(s, operation{
		id: "end-other-sessions", method: http.MethodDelete, path: "/v1/sessions", tag: tagSessions,
		summary: "End all of one's own sessions but the one that asks", access: signedIn,
	}, s.endOtherSessions)
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
	if asked := signed.Challenge; asked != nil {
		return signInAnswer{challengeView: &challengeView{
			TwoFactorRequired: true, Challenge: asked.Token, Methods: asked.Methods, ExpiresAt: asked.ExpiresAt,
		}}, nil
	}
	view, err := s.signedIn(ctx, x, signed, done)
	return signInAnswer{signedInView: &view}, err
}

func (s *Server) signInTwoFactor(ctx context.Context, x *exchange, in *secondFactorInput) (signedInView, error) {
	if (in.Body.Code == "") == (len(in.Body.Credential) == 0) {
		p := newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault)
		p.at("#/code", "is required, or a credential in its place")
		return signedInView{}, p
	}
	var signed commands.SignedIn
	var done commands.Done
	var err error
	if in.Body.Code != "" {
		signed, done, err = s.commands.SignInTwoFactor(ctx, x.caller, in.Body.Challenge, in.Body.Code)
	} else {
		signed, done, err = s.commands.SignInSecondPasskey(ctx, x.caller, in.Body.Challenge, in.Body.Credential)
	}
	if err != nil {
		return signedInView{}, err
	}
	return s.signedIn(ctx, x, signed, done)
}

// signedIn answers with a new session, and gives it to a browser as well.
func (s *Server) signedIn(ctx context.Context, x *exchange, signed commands.SignedIn, done commands.Done) (signedInView, error) {
	_, active, err := s.teamsOf(ctx, signed.User.ID, signed.ActiveTeam)
	if err != nil {
		return signedInView{}, err
	}
	s.wrote(x, signed.User.ID, done)
	s.signInCookie(x, signed.Session.Token, signed.Session.ExpiresAt)
	return signedInView{TokenView: viewToken(signed.Session), User: viewUser(signed.User), ActiveTeamID: active}, nil
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

func (s *Server) endOtherSessions(ctx context.Context, x *exchange, _ *struct{}) error {
	done, err := s.commands.EndOtherSessions(ctx, x.caller)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
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
