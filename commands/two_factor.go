package commands

import (
	"context"
	"errors"
	"time"

	"github.com/pquerna/otp/totp"

	"roster/domain"
	"roster/eventstore"
)

// factorsBucket is what passes between the two halves of something: an
// authenticator app until its first code, a passkey until its answer, a sign-in
// until its second factor; and the codes that were used. Each has a shorter life
// of its own.
var factorsBucket = eventstore.BucketConfig{Name: "TWO_FACTOR", TTL: time.Hour, MaxValue: 64 << 10}

// enrolmentLife is how long somebody has to enter the first code of a new
// authenticator app.
const enrolmentLife = 15 * time.Minute

// TwoFactor is how an account's sign-in is protected beyond the password.
type TwoFactor struct {
	On                bool // the password alone doesn't sign in
	App               bool // by an authenticator app
	Passkeys          int
	RecoveryCodesLeft int
}

func twoFactorOf(u *domain.User) TwoFactor {
	return TwoFactor{On: u.HasSecondFactor(), App: u.TOTP() != "", Passkeys: len(u.Passkeys()), RecoveryCodesLeft: u.RecoveryCodesLeft()}
}

// Refusals of setting up a second factor.
var (
	errWrongCode = &domain.Error{
		Kind: domain.Forbidden, Code: "wrong_code", Field: "#/code",
		Detail: "The code is wrong, or it was used before. Each works once, for about a minute.",
	}
	errNotStarted = &domain.Error{
		Kind: domain.Conflict, Code: "two_factor_not_started",
		Detail: "No authenticator app is being set up, or it took too long. Start anew.",
	}
)

// enrolment is an authenticator app whose first code hasn't been entered.
type enrolment struct {
	Secret    domain.Sealed `json:"secret"` // as it will stand in the event
	ExpiresAt time.Time     `json:"expires_at"`
}

// Enrolment is what an authenticator app is set up with. It is told once.
type Enrolment struct {
	Secret string
	URL    string // otpauth://…, for a QR code
}

// EnrolTwoFactor begins to set up an authenticator app. Nothing changes until
// ConfirmTwoFactor is given its first code; who begins again gets another secret.
func (s *Service) EnrolTwoFactor(ctx context.Context, by Caller) (Enrolment, error) {
	if err := by.userOnly(); err != nil {
		return Enrolment{}, err
	}
	if err := s.users.ask(ctx, string(by.User), func(u *domain.User, _, _ uint64) error { return u.MayEnableTwoFactor() }); err != nil {
		return Enrolment{}, err
	}
	me, _, err := s.me(ctx, by.User)
	if err != nil {
		return Enrolment{}, err
	}
	catalog, err := s.catalogs.choose("")
	if err != nil {
		return Enrolment{}, err
	}
	random := newSecretBytes(ctx, "authenticator app")
	key, err := totp.Generate(totp.GenerateOpts{
		Issuer: catalog.Labels.Product, AccountName: me.User.Email, Secret: random[:totpSecret],
		Period: uint(totpPeriod / time.Second), Digits: totpDigits, Algorithm: totpAlgorithm,
	})
	if err != nil {
		return Enrolment{}, errors.New("commands: an authenticator app can't be set up for this account") // the library's words may hold the address
	}
	sealed, err := s.vault.Seal(ctx, by.DataKey, secretPlace(by.User), key.Secret())
	if err != nil {
		return Enrolment{}, unavailable(err)
	}
	err = changeRecord(ctx, s.factors, enrolmentKey(by.User), func(e *enrolment, now time.Time) (time.Duration, error) {
		*e = enrolment{Secret: sealed, ExpiresAt: now.Add(enrolmentLife)}
		return enrolmentLife, nil
	})
	return Enrolment{Secret: key.Secret(), URL: key.URL()}, err
}

func enrolmentKey(user domain.UserID) string { return "enrolment." + string(user) }

// secretPlace is where the secret of an authenticator app is sealed for.
func secretPlace(user domain.UserID) string { return string(user) + "/totp" }

// ConfirmTwoFactor turns two-factor sign-in on, when the code shows that the app
// has the secret. It gives the recovery codes, which are told this once.
func (s *Service) ConfirmTwoFactor(ctx context.Context, by Caller, given string) ([]string, Done, error) {
	if err := by.userOnly(); err != nil {
		return nil, Done{}, err
	}
	earlier, err := s.earlier(ctx, s.users.stream(string(by.User)))
	if err != nil {
		return nil, Done{}, err
	}
	var sealed domain.Sealed
	if earlier == nil { // else the code has done its work
		if sealed, err = s.proveApp(ctx, by, given); err != nil {
			return nil, Done{}, err
		}
	}
	codes, kept := s.newRecoveryCodes(ctx, by.User)
	out, err := do(ctx, s, s.users, string(by.User), by, func(u *domain.User, _ time.Time) (decision, error) {
		return decided(u.EnableTwoFactor(sealed, kept))
	})
	if err != nil {
		return nil, Done{}, err
	}
	if _, err := s.factors.bucket.Delete(ctx, enrolmentKey(by.User), 0); err != nil {
		// It ends by itself, and until then there is an app already.
		s.logger.WarnContext(ctx, "an enrolment that is done could not be forgotten", "request_id", by.RequestID, "error", err)
	}
	return codes, out.Done, nil
}

// proveApp checks the first code of an app that is being set up, and gives its
// sealed secret.
func (s *Service) proveApp(ctx context.Context, by Caller, given string) (domain.Sealed, error) {
	pending, err := readRecord[enrolment](ctx, s.factors, enrolmentKey(by.User))
	if err != nil {
		return "", err
	}
	if pending.Secret == "" || !s.Now().Before(pending.ExpiresAt) {
		return "", errNotStarted
	}
	digits, ok := appCode(given)
	if !ok {
		return "", errWrongCode
	}
	secret, err := s.open(ctx, pending.Secret, secretPlace(by.User))
	if err != nil {
		return "", err
	}
	step, ok, err := matchingStep(secret, digits, s.Now())
	if err != nil {
		return "", err
	}
	if !ok {
		return "", errWrongCode
	}
	return pending.Secret, s.useStep(ctx, by.User, step, string(newEventID(ctx, s.users.stream(string(by.User)), 0)))
}

// DisableTwoFactor removes the authenticator app, for whoever gives the password
// again, and ends the user's other sessions.
func (s *Service) DisableTwoFactor(ctx context.Context, by Caller, password string) (Done, error) {
	return s.removeFactor(ctx, by, password, func(u *domain.User) ([]domain.Event, error) { return u.DisableTwoFactor() })
}

// ResetTwoFactor takes every second factor away from somebody who has lost them
// all, named by id or by address, and ends all their sessions. From then on the
// password alone signs in. Only the operator may.
func (s *Service) ResetTwoFactor(ctx context.Context, by Caller, who string) (Account, Done, error) {
	refused := func(err error) (Account, Done, error) { return Account{}, Done{}, err }
	if by.Actor != domain.Operator { // before anything is told of who there is
		return refused(domain.ErrOperatorAlone)
	}
	user := domain.UserID(who)
	if !domain.ValidID(domain.PrefixUser, who) {
		var err error
		if user, err = s.owner(ctx, s.vault.Address(who)); err != nil {
			return refused(err)
		}
	}
	if user == "" {
		return refused(domain.ErrNotFound)
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	out, err := do(ctx, s, s.users, string(user), by, func(u *domain.User, _ time.Time) (decision, error) {
		return decided(u.ResetTwoFactor(by.Actor))
	})
	if out.commit == nil && !errors.Is(err, ErrUnavailable) { // else it isn't known whether it is done
		return refused(err)
	}
	last, ending := s.endSessions(ctx, by, user, "")
	if err := errors.Join(err, ending); err != nil {
		return refused(err)
	}
	account, err := s.AccountNow(ctx, user)
	return account, Done{max(out.Position, last), out.Version}, err
}

// removeFactor takes something away that the caller signs in with, and ends
// their other sessions.
func (s *Service) removeFactor(
	ctx context.Context, by Caller, password string, decide func(*domain.User) ([]domain.Event, error),
) (Done, error) {
	out, err := s.withPassword(ctx, by, password, decide)
	if out.commit == nil && !errors.Is(err, ErrUnavailable) { // else it isn't known whether it is done
		return Done{}, err
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	last, ending := s.endSessions(ctx, by, by.User, by.Session)
	return Done{max(out.Position, last), out.Version}, errors.Join(err, ending)
}

// RenewRecoveryCodes replaces the recovery codes, for whoever gives the password
// again. The new ones are told this once.
func (s *Service) RenewRecoveryCodes(ctx context.Context, by Caller, password string) ([]string, Done, error) {
	codes, kept := s.newRecoveryCodes(ctx, by.User)
	out, err := s.withPassword(ctx, by, password, func(u *domain.User) ([]domain.Event, error) { return u.RenewRecoveryCodes(kept) })
	if err != nil {
		return nil, Done{}, err
	}
	return codes, out.Done, nil
}

// withPassword changes the caller's own account in a way that a borrowed session
// must not. What would be refused anyway costs no password check.
func (s *Service) withPassword(
	ctx context.Context, by Caller, password string, decide func(*domain.User) ([]domain.Event, error),
) (outcome, error) {
	if err := by.userOnly(); err != nil {
		return outcome{}, err
	}
	id := string(by.User)
	earlier, err := s.earlier(ctx, s.users.stream(id))
	if err != nil {
		return outcome{}, err
	}
	var proven domain.Sealed
	if earlier == nil { // else it is done
		err = s.users.ask(ctx, id, func(u *domain.User, _, _ uint64) error {
			_, err := decide(u)
			return err
		})
		if err != nil {
			return outcome{}, err
		}
		if proven, err = s.reauthenticate(ctx, by, "#/password", password); err != nil {
			return outcome{}, err
		}
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	return do(ctx, s, s.users, id, by, func(u *domain.User, _ time.Time) (decision, error) {
		if u.PasswordHash() != proven { // it was changed meanwhile
			return decision{}, wrongPassword("#/password")
		}
		return decided(decide(u))
	})
}
