package api

import (
	"context"
	"net/http"
	"time"
)

type requestResetInput struct {
	Body struct {
		Email string `json:"email" minLength:"1" maxLength:"320"`
	}
}

type requestedResetView struct {
	Status string `json:"status" enum:"accepted" doc:"Says nothing about whether the address has an account."`
}

type resetLinkView struct {
	ExpiresAt time.Time `json:"expires_at"`
}

type resetInput struct {
	TokenPath
	Body struct {
		NewPassword string `json:"new_password" minLength:"12" maxLength:"1000" doc:"At least 12 characters, and none of the commonest ones."`
	}
}

func (s *Server) resetOperations() {
	answers(s, operation{
		id: "request-password-reset", method: http.MethodPost, path: "/v1/password-resets", tag: tagAccounts,
		summary: "Have a link sent that resets a password",
		about: "The answer is the same for an address without an account. The link works once, for 10 minutes. " +
			"An account gets a few messages an hour; requests beyond that are accepted and nothing is sent.",
		status: http.StatusAccepted, access: anyone, errors: []int{http.StatusTooManyRequests},
	}, s.requestReset)
	answers(s, operation{
		id: "check-password-reset", method: http.MethodGet, path: "/v1/password-resets/{token}", tag: tagAccounts,
		summary: "Whether a link that was sent still resets a password",
		about:   "It changes nothing. Refuses as using the link would.",
		access:  anyone, reads: readsState, errors: []int{http.StatusGone},
	}, s.checkReset)
	acts(s, operation{
		id: "reset-password", method: http.MethodPut, path: "/v1/password-resets/{token}", tag: tagAccounts,
		summary: "Choose a new password with the link that was sent",
		about: "Ends all of the user's sessions and proves the address. Refuses with `reset_expired` after 10 minutes, and with " +
			"`not_found` once the link was used or the password was changed. A refused password doesn't use the link up.",
		access: anyone, errors: []int{http.StatusGone},
	}, s.resetPassword)
}

func (s *Server) requestReset(ctx context.Context, x *exchange, in *requestResetInput) (requestedResetView, error) {
	if err := s.commands.RequestPasswordReset(ctx, x.caller, in.Body.Email); err != nil {
		return requestedResetView{}, err
	}
	return requestedResetView{Status: "accepted"}, nil
}

func (s *Server) checkReset(ctx context.Context, _ *exchange, in *TokenPath) (resetLinkView, error) {
	expiresAt, err := s.commands.CheckReset(ctx, in.Token)
	return resetLinkView{ExpiresAt: expiresAt}, err
}

func (s *Server) resetPassword(ctx context.Context, x *exchange, in *resetInput) error {
	done, err := s.commands.ResetPassword(ctx, x.caller, in.Token, in.Body.NewPassword)
	if err == nil {
		x.stands(done)
	}
	return err
}
