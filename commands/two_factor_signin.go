package commands

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

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
	out := Challenge{Token: challengePrefix + newSecret(ctx, "challenge"), Methods: methodsOf(user)}
	err := changeRecord(ctx, s.factors, challengeKey(out.Token), func(c *challenge, now time.Time) (time.Duration, error) {
		if c.User == "" { // else an earlier try of the attempt has made it
			*c = challenge{User: user.ID(), Credentials: user.CredentialsSet(), ExpiresAt: now.Add(challengeLife)}
		}
		out.ExpiresAt = c.ExpiresAt
		return c.life(now), nil
	})
	return out, err
}

func methodsOf(user *domain.User) (methods []string) {
	if user.TOTP() != "" {
		methods = append(methods, MethodApp)
	}
	if user.RecoveryCodesLeft() > 0 {
		methods = append(methods, MethodRecoveryCode)
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
	return s.answer(ctx, by, token, func(ctx context.Context, by Caller, user *domain.User, session string) error {
		return s.proveCode(ctx, by, user, given, session)
	})
}

// answer completes a sign-in when prove finds that the second factor is right.
// session is the one that will be started, for prove to note what it takes.
func (s *Service) answer(
	ctx context.Context, by Caller, token string, prove func(ctx context.Context, by Caller, user *domain.User, session string) error,
) (SignedIn, Done, error) {
	key := challengeKey(token)
	asked, err := readRecord[challenge](ctx, s.factors, key)
	if err != nil {
		return SignedIn{}, Done{}, err
	}
	session := string(s.sessions.name(ctx, asked.User).ID)
	if err := asked.open(s.Now(), session); err != nil {
		return SignedIn{}, Done{}, err
	}
	user := *domain.NewUser("")
	if err := s.users.view(ctx, string(asked.User), func(u *domain.User, _, _ uint64) { user = *u }); err != nil {
		return SignedIn{}, Done{}, err
	}
	if user.CredentialsSet() != asked.Credentials {
		return SignedIn{}, Done{}, errChallengeEnded
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
		err = prove(ctx, by, &user, session)
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
	return s.signedIn(ctx, by, &user, twoFactors)
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
