package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"roster/domain"
)

// emptyInput is the body of a request that says everything by being made.
type emptyInput struct {
	Body *struct{}
}

// ceremonyView is what a browser is to make or use a passkey by.
type ceremonyView struct {
	Options json.RawMessage `json:"options" doc:"For navigator.credentials, as WebAuthn writes it in JSON: options.publicKey goes through parseCreationOptionsFromJSON or parseRequestOptionsFromJSON."`
}

// credentialBody is what the browser answered.
type credentialBody = json.RawMessage

type confirmPasskeyInput struct {
	Body struct {
		Name       string         `json:"name" minLength:"1" maxLength:"400" example:"Work laptop"`
		Credential credentialBody `json:"credential" doc:"What navigator.credentials.create answered, as its toJSON gives it."`
	}
}

type passkeyView struct {
	ID        domain.PasskeyID `json:"id"`
	Name      string           `json:"name"`
	CreatedAt time.Time        `json:"created_at"`
}

type addedPasskeyView struct {
	passkeyView
	RecoveryCodes []string `json:"recovery_codes,omitempty" doc:"With the account's first second factor. Each signs in once in its place; they are told this once."`
}

type PasskeyPath struct {
	ID domain.PasskeyID `path:"id" maxLength:"64" doc:"Of the passkey."`
}

type removePasskeyInput struct {
	PasskeyPath
	passwordInput
}

type challengeInput struct {
	Body struct {
		Challenge string `json:"challenge" minLength:"1" maxLength:"100"`
	}
}

type passkeySignInView struct {
	Challenge string          `json:"challenge" doc:"To be sent with the browser's answer. It is no credential for anything else."`
	Options   json.RawMessage `json:"options" doc:"For navigator.credentials.get: options.publicKey goes through parseRequestOptionsFromJSON."`
	ExpiresAt time.Time       `json:"expires_at"`
}

type passkeySignInInput struct {
	Body struct {
		Challenge  string         `json:"challenge" minLength:"1" maxLength:"1000"`
		Credential credentialBody `json:"credential" doc:"What navigator.credentials.get answered, as its toJSON gives it."`
	}
}

func (s *Server) passkeyOperations() {
	answers(s, operation{
		id: "start-passkey", method: http.MethodPost, path: "/v1/me/passkeys", tag: tagTwoFactor,
		summary: "Begin to add a passkey",
		about: "Answers with the options for the browser. Nothing changes until its answer is confirmed, within five minutes. " +
			"A wrong password counts as a failed sign-in. " +
			"Passkeys belong to the domain of the server's base URL; where that is an IP address there are none: `passkeys_not_available`.",
		access: signedIn, errors: []int{http.StatusTooManyRequests},
	}, s.startPasskey)
	answers(s, operation{
		id: "confirm-passkey", method: http.MethodPost, path: "/v1/me/passkeys/confirm", tag: tagTwoFactor,
		summary: "Add a passkey",
		about:   "From then on the password alone doesn't sign in.",
		status:  http.StatusCreated, access: signedIn,
	}, s.confirmPasskey)
	answers(s, operation{
		id: "list-passkeys", method: http.MethodGet, path: "/v1/me/passkeys", tag: tagTwoFactor,
		summary: "List one's own passkeys", access: signedIn, reads: readsState,
	}, s.listPasskeys)
	acts(s, operation{
		id: "remove-passkey", method: http.MethodDelete, path: "/v1/me/passkeys/{id}", tag: tagTwoFactor,
		summary: "Remove a passkey",
		about:   "Ends the other sessions. A wrong password counts as a failed sign-in.",
		access:  signedIn, errors: []int{http.StatusTooManyRequests},
	}, s.removePasskey)
	answers(s, operation{
		id: "challenge-passkey", method: http.MethodPost, path: "/v1/sessions/two-factor/passkey", tag: tagSessions,
		summary: "Answer a challenge by a passkey",
		about:   "Gives the options for the browser, whose answer completes the sign-in at `/v1/sessions/two-factor`.",
		access:  anyone, errors: []int{http.StatusUnauthorized},
	}, s.challengePasskey)
	answers(s, operation{
		id: "start-passkey-sign-in", method: http.MethodPost, path: "/v1/sessions/passkey", tag: tagSessions,
		summary: "Begin to sign in by a passkey alone",
		about:   "Without an address or a password: the passkey says whose it is, and the authenticator verifies that they are there.",
		access:  anyone,
	}, s.startPasskeySignIn)
	answers(s, operation{
		id: "sign-in-passkey", method: http.MethodPost, path: "/v1/sessions/passkey/confirm", tag: tagSessions,
		summary: "Sign in by a passkey alone",
		about: "A challenge works once, for five minutes. An authenticator that counts its signatures must have counted on, else there may be a copy of it: " +
			"that is refused, and recorded as `passkey.refused`.",
		status: http.StatusCreated, access: anyone,
		errors: []int{http.StatusUnauthorized, http.StatusTooManyRequests},
	}, s.signInPasskey)
}

func (s *Server) startPasskey(ctx context.Context, x *exchange, in *passwordInput) (ceremonyView, error) {
	options, err := s.commands.StartPasskey(ctx, x.caller, in.Body.Password)
	return ceremonyView{Options: options}, err
}

func (s *Server) confirmPasskey(ctx context.Context, x *exchange, in *confirmPasskeyInput) (addedPasskeyView, error) {
	passkey, codes, done, err := s.commands.ConfirmPasskey(ctx, x.caller, in.Body.Name, in.Body.Credential)
	if err != nil {
		return addedPasskeyView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return addedPasskeyView{passkeyView{passkey.ID, passkey.Name, passkey.AddedAt}, codes}, nil
}

func (s *Server) listPasskeys(ctx context.Context, x *exchange, _ *struct{}) (list[passkeyView], error) {
	passkeys, done, err := s.commands.Passkeys(ctx, x.caller)
	if err != nil {
		return list[passkeyView]{}, err
	}
	views := make([]passkeyView, len(passkeys))
	for i, passkey := range passkeys {
		views[i] = passkeyView{passkey.ID, passkey.Name, passkey.AddedAt}
	}
	x.stands(done)
	return newList(views, ""), nil
}

func (s *Server) removePasskey(ctx context.Context, x *exchange, in *removePasskeyInput) error {
	done, err := s.commands.RemovePasskey(ctx, x.caller, in.ID, in.Body.Password)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}

func (s *Server) challengePasskey(ctx context.Context, _ *exchange, in *challengeInput) (ceremonyView, error) {
	options, err := s.commands.ChallengePasskey(ctx, in.Body.Challenge)
	return ceremonyView{Options: options}, err
}

func (s *Server) startPasskeySignIn(context.Context, *exchange, *emptyInput) (passkeySignInView, error) {
	begun, err := s.commands.StartPasskeySignIn()
	return passkeySignInView{Challenge: begun.Token, Options: begun.Options, ExpiresAt: begun.ExpiresAt}, err
}

func (s *Server) signInPasskey(ctx context.Context, x *exchange, in *passkeySignInInput) (signedInView, error) {
	signed, done, err := s.commands.SignInPasskey(ctx, x.caller, in.Body.Challenge, in.Body.Credential)
	if err != nil {
		return signedInView{}, err
	}
	return s.signedIn(ctx, x, signed, done)
}
