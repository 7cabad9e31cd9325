package commands

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"roster/domain"
	"roster/eventstore"
)

// A challenge is what somebody gets for the right password of an account with a
// second factor. It is not a session: nothing but the second half of the
// sign-in takes it, once, within its life and a few tries. Like a session's, its
// token isn't kept, but a hash.
const (
	challengePrefix = "rc_"
	challengeLife   = 5 * time.Minute
	challengeTries  = 5
)

// Second factors by the names that clients know them by.
const (
	MethodApp          = "totp"
	MethodRecoveryCode = "recovery_code"
	MethodPasskey      = "passkey"
)

// Challenge asks for the second factor.
type Challenge struct {
	Token     string
	Methods   []string // by which it can be answered
	ExpiresAt time.Time
}

// challenge is what is kept of one.
type challenge struct {
	User        domain.UserID `json:"user"`
	Credentials uint64        `json:"credentials"` // void when the account's are others
	ExpiresAt   time.Time     `json:"expires_at"`
	Tries       int           `json:"tries,omitempty"`
	UsedBy      string        `json:"used_by,omitempty"` // the session that it became

	Passkey *webauthn.SessionData `json:"passkey,omitempty"` // what a passkey has to answer
}

var (
	errChallengeEnded = &domain.Error{
		Kind: domain.Unauthenticated, Code: "challenge_ended",
		Detail: "This sign-in has taken too long, has failed too often or is done. Begin again.",
	}
	// errWrongFactor has the code of a wrong password, which it is like.
	errWrongFactor = &domain.Error{
		Kind: domain.Unauthenticated, Code: domain.ErrInvalidCredentials.Code,
		Detail: "The code is wrong, or it was used before.",
	}
)

// challenge asks for the second factor of a user whose password was right.
func (s *Service) challenge(ctx context.Context, user *domain.User) (Challenge, error) {
	out := Challenge{Token: challengePrefix + newSecret(ctx, "challenge"), Methods: s.methodsOf(user)}
	err := changeRecord(ctx, s.factors, challengeKey(out.Token), func(c *challenge, now time.Time) (time.Duration, error) {
		if c.User == "" { // else an earlier try of the attempt has made it
			*c = challenge{User: user.ID(), Credentials: user.CredentialsSet(), ExpiresAt: now.Add(challengeLife)}
		}
		out.ExpiresAt = c.ExpiresAt
		return c.life(now), nil
	})
	return out, err
}

func (s *Service) methodsOf(user *domain.User) (methods []string) {
	if user.TOTP() != "" {
		methods = append(methods, MethodApp)
	}
	if user.RecoveryCodesLeft() > 0 {
		methods = append(methods, MethodRecoveryCode)
	}
	if s.relying != nil && len(user.Passkeys()) > 0 {
		methods = append(methods, MethodPasskey)
	}
	return methods
}

func challengeKey(token string) string {
	hash := sha256.Sum256([]byte(token))
	return "challenge." + hex.EncodeToString(hash[:])
}

// life is how long the bucket has to keep the record. What is in there too long
// does no harm: open decides.
func (c *challenge) life(now time.Time) time.Duration { return max(time.Second, c.ExpiresAt.Sub(now)) }

// open refuses a challenge that can't be answered, or not by this session.
func (c *challenge) open(now time.Time, session string) error {
	if c.User == "" || !now.Before(c.ExpiresAt) || c.UsedBy != "" && c.UsedBy != session {
		return errChallengeEnded
	}
	return nil
}

// SignInTwoFactor completes a sign-in by a code of the authenticator app or a
// recovery code. Wrong codes count like wrong passwords, apart from those.
func (s *Service) SignInTwoFactor(ctx context.Context, by Caller, token, given string) (SignedIn, Done, error) {
	return s.answer(ctx, by, token, func(ctx context.Context, by Caller, _ *challenge, user *domain.User, session string) error {
		return s.proveCode(ctx, by, user, given, session)
	})
}

// asked finds a challenge that this session can answer, and its user.
func (s *Service) asked(ctx context.Context, key, session string) (*challenge, *domain.User, error) {
	asked, err := readRecord[challenge](ctx, s.factors, key)
	if err != nil {
		return nil, nil, err
	}
	if err := asked.open(s.Now(), session); err != nil {
		return nil, nil, err
	}
	var user domain.User
	if err := s.users.view(ctx, string(asked.User), func(u *domain.User, _, _ uint64) { user = *u }); err != nil {
		return nil, nil, err
	}
	if user.CredentialsSet() != asked.Credentials {
		return nil, nil, errChallengeEnded
	}
	return &asked, &user, nil
}

// prover finds whether the second factor is right, and uses it up. session is
// the one that will be started, for it to note what it takes.
type prover func(ctx context.Context, by Caller, asked *challenge, user *domain.User, session string) error

// answer completes a sign-in when prove finds that the second factor is right.
func (s *Service) answer(ctx context.Context, by Caller, token string, prove prover) (SignedIn, Done, error) {
	key := challengeKey(token)
	session := string(s.sessions.name(ctx, "").ID)
	asked, user, err := s.asked(ctx, key, session)
	if err != nil {
		return SignedIn{}, Done{}, err
	}
	by = by.as(user.ID())
	by.DataKey = user.DataKey()

	attempt, err := s.throttle.begin(ctx, theCode, user.Address(), by.IP)
	if err != nil {
		return SignedIn{}, Done{}, err
	}
	// A try is counted before the code is looked at, as in throttle.
	err = s.changeChallenge(ctx, key, session, func(c *challenge) error {
		if c.Tries++; c.Tries > challengeTries {
			return errChallengeEnded
		}
		return nil
	})
	if err == nil {
		err = prove(ctx, by, asked, user, session)
	}
	if err == nil {
		err = s.changeChallenge(ctx, key, session, func(c *challenge) error {
			c.UsedBy = session
			return nil
		})
	}
	if err != nil {
		return SignedIn{}, Done{}, err
	}
	if err := errors.Join(attempt.succeeded(ctx), s.throttle.proven(ctx, user.Address(), by.IP)); err != nil {
		return SignedIn{}, Done{}, err
	}
	return s.signedIn(ctx, by, user, twoFactors)
}

// changeChallenge changes a challenge that can still be answered.
func (s *Service) changeChallenge(ctx context.Context, key, session string, change func(*challenge) error) error {
	return changeRecord(ctx, s.factors, key, func(c *challenge, now time.Time) (time.Duration, error) {
		if err := c.open(now, session); err != nil {
			return 0, err
		}
		return c.life(now), change(c)
	})
}

// proveCode checks a code of the authenticator app or a recovery code, and uses
// it up.
func (s *Service) proveCode(ctx context.Context, by Caller, user *domain.User, given, session string) error {
	digits, ok := appCode(given)
	if !ok {
		code := normalRecoveryCode.Replace(strings.ToLower(given))
		hash := s.recoveryHash(user.ID(), code)
		_, err := do(ctx, s, s.users, string(user.ID()), unpinned(by), func(u *domain.User, _ time.Time) (decision, error) {
			return decided(u.UseRecoveryCode(hash))
		})
		if errors.Is(err, domain.ErrInvalidCredentials) {
			err = errWrongFactor
		}
		return err
	}
	if user.TOTP() == "" {
		return errWrongFactor
	}
	secret, err := s.vault.Open(ctx, user.TOTP(), secretPlace(user.ID()))
	if errors.Is(err, eventstore.ErrErased) {
		return errWrongFactor
	}
	if err != nil {
		return unavailable(err)
	}
	step, ok, err := matchingStep(secret, digits, s.Now())
	if err != nil {
		return err
	}
	if ok {
		err = s.useStep(ctx, user.ID(), step, session)
	}
	if !ok || errors.Is(err, errWrongCode) {
		return errWrongFactor
	}
	return err
}
