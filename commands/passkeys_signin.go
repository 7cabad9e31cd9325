package commands

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"roster/domain"
)

// ChallengePasskey gives the options, in JSON, by which a passkey answers a
// challenge in place of a code.
func (s *Service) ChallengePasskey(ctx context.Context, token string) (json.RawMessage, error) {
	key := challengeKey(token)
	_, user, err := s.asked(ctx, key, "")
	if err != nil {
		return nil, err
	}
	if s.relying == nil {
		return nil, errNoPasskeys
	}
	owner, err := s.passkeyUser(ctx, user)
	if err != nil {
		return nil, err
	}
	if len(owner.credentials) == 0 {
		return nil, errNoPasskey
	}
	options, session, err := s.relying.BeginLogin(owner)
	if err != nil {
		return nil, errors.New("commands: a passkey can't answer this challenge") // the library's words may hold its data
	}
	// Which passkeys may answer is known of the account; a copy may be long.
	session.AllowedCredentialIDs = nil
	err = s.changeChallenge(ctx, key, "", func(c *challenge) error {
		c.Passkey = session
		return nil
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(options)
}

// SignInSecondPasskey completes a sign-in by a passkey as the second factor,
// with what the browser answered to the options of ChallengePasskey.
func (s *Service) SignInSecondPasskey(ctx context.Context, by Caller, token string, answer []byte) (SignedIn, Done, error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return SignedIn{}, Done{}, errNotThatCredential
	}
	return s.answer(ctx, by, token, func(ctx context.Context, by Caller, asked *challenge, user *domain.User, _ string) error {
		if asked.Passkey == nil || s.relying == nil {
			return errWrongFactor
		}
		owner, err := s.passkeyUser(ctx, user)
		if err != nil {
			return err
		}
		if _, err := s.relying.ValidateLogin(owner, *asked.Passkey, parsed); err != nil {
			return errWrongFactor
		}
		return s.usePasskey(ctx, by, owner, parsed)
	})
}

// usePasskey takes an answer whose signature is right for a sign-in, unless the
// passkey is gone or its counter stands where it stood before.
func (s *Service) usePasskey(ctx context.Context, by Caller, owner *passkeyUser, parsed *protocol.ParsedCredentialAssertionData) error {
	id, ok := owner.id(parsed.RawID)
	if !ok {
		return errWrongFactor
	}
	count := parsed.Response.AuthenticatorData.Counter
	out, err := do(ctx, s, s.users, string(by.User), unpinned(by), func(u *domain.User, _ time.Time) (decision, error) {
		return decided(u.UsePasskey(id, count))
	})
	if errors.Is(err, domain.ErrInvalidCredentials) {
		return errWrongFactor
	}
	if err == nil && out.commit != nil {
		if _, refused := out.commit.Events[0].Event.(domain.PasskeyRefused); refused {
			return errWrongFactor
		}
	}
	return err
}

// PasskeySignIn is a sign-in by a passkey alone that was begun.
type PasskeySignIn struct {
	Token     string
	Options   json.RawMessage
	ExpiresAt time.Time
}

// passkeyTicket is what is in the token of one. Anybody may begin one, so nothing
// is stored: the token itself holds it, so that only this server can read it.
type passkeyTicket struct {
	Session   webauthn.SessionData `json:"session"`
	ExpiresAt time.Time            `json:"expires_at"`
}

const passkeyPurpose = "passkey sign-in"

// StartPasskeySignIn begins a sign-in by a passkey alone. The authenticator knows
// whose it is, and has to verify that they are there: so it is two factors.
func (s *Service) StartPasskeySignIn() (PasskeySignIn, error) {
	if s.relying == nil {
		return PasskeySignIn{}, errNoPasskeys
	}
	options, session, err := s.relying.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return PasskeySignIn{}, fmt.Errorf("commands: beginning a sign-in by a passkey: %w", err)
	}
	out := PasskeySignIn{ExpiresAt: s.Now().Add(ceremonyLife)}
	if out.Options, err = json.Marshal(options); err != nil {
		return PasskeySignIn{}, err
	}
	plain, err := json.Marshal(passkeyTicket{Session: *session, ExpiresAt: out.ExpiresAt})
	if err != nil {
		return PasskeySignIn{}, err
	}
	out.Token = base64.RawURLEncoding.EncodeToString(s.vault.SealOpaque(passkeyPurpose, plain, ""))
	return out, nil
}

func (s *Service) readPasskeyTicket(token string) (passkeyTicket, bool) {
	var ticket passkeyTicket
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return ticket, false
	}
	plain, err := s.vault.OpenOpaque(passkeyPurpose, sealed, "")
	if err != nil || json.Unmarshal(plain, &ticket) != nil {
		return ticket, false
	}
	return ticket, s.Now().Before(ticket.ExpiresAt)
}

// SignInPasskey completes a sign-in by a passkey alone, with what the browser
// answered.
func (s *Service) SignInPasskey(ctx context.Context, by Caller, token string, answer []byte) (SignedIn, Done, error) {
	refused := func(err error) (SignedIn, Done, error) { return SignedIn{}, Done{}, err }
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return refused(errNotThatCredential)
	}
	ticket, ok := s.readPasskeyTicket(token)
	if !ok || s.relying == nil {
		return refused(errChallengeEnded)
	}
	if err := s.throttle.checkNetwork(ctx, by.IP); err != nil {
		return refused(err)
	}
	by, user, err := s.provePasskey(ctx, by, ticket, token, parsed)
	if errors.Is(err, domain.ErrInvalidCredentials) {
		if err := s.throttle.failedNetwork(ctx, by.IP); err != nil {
			return refused(err)
		}
	}
	if err != nil {
		return refused(err)
	}
	if err := s.throttle.proven(ctx, user.Address(), by.IP); err != nil {
		return refused(err)
	}
	return s.signedIn(ctx, by, user, twoFactors)
}

// provePasskey finds the user whose passkey has answered, and uses the ticket up.
func (s *Service) provePasskey(
	ctx context.Context, by Caller, ticket passkeyTicket, token string, parsed *protocol.ParsedCredentialAssertionData,
) (Caller, *domain.User, error) {
	handle := parsed.Response.UserHandle
	if len(handle) != 16 {
		return by, nil, errWrongFactor
	}
	id := domain.UserID(domain.FormatID(domain.PrefixUser, [16]byte(handle)))
	user := *domain.NewUser(id)
	if err := s.users.view(ctx, string(id), func(u *domain.User, _, _ uint64) { user = *u }); err != nil {
		return by, nil, err
	}
	owner, err := s.passkeyUser(ctx, &user)
	if err != nil {
		return by, nil, err
	}
	named := func(_, _ []byte) (webauthn.User, error) { return owner, nil }
	if _, _, err := s.relying.ValidatePasskeyLogin(named, ticket.Session, parsed); err != nil {
		return by, nil, errWrongFactor
	}
	by = by.as(id)
	by.DataKey = user.DataKey()
	switch ok, err := s.useOnce(ctx, "passkey-signin."+hashSecret(token), string(s.sessions.name(ctx, id).ID), ceremonyLife); {
	case err != nil:
		return by, nil, err
	case !ok:
		return by, nil, errChallengeEnded
	}
	return by, &user, s.usePasskey(ctx, by, owner, parsed)
}
