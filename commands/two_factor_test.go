package commands

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pquerna/otp/totp"

	"roster/domain"
	"roster/eventstore"
)

// codeAt is what an authenticator app shows at a time.
func codeAt(t testing.TB, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// protected is an account with an authenticator app.
type protected struct {
	Caller
	email  string
	secret string
	codes  []string
}

// protect sets up an authenticator app, and lets a minute pass so that the code
// which that took isn't in the way.
func protect(t testing.TB, s *Service, clock *handClock, email string) protected {
	t.Helper()
	p := protected{Caller: accountOn(t, s, email), email: email}
	p.secret, p.codes = enable(t, s, p.Caller)
	clock.forward(time.Minute)
	return p
}

func enable(t testing.TB, s *Service, by Caller) (secret string, codes []string) {
	t.Helper()
	enrolment, err := s.EnrolTwoFactor(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	codes, _, err = s.ConfirmTwoFactor(t.Context(), by, codeAt(t, enrolment.Secret, s.Now()))
	if err != nil {
		t.Fatal(err)
	}
	return enrolment.Secret, codes
}

// challenged gives the first half of a sign-in.
func challenged(t testing.TB, s *Service, ip, email string) Challenge {
	t.Helper()
	in, done, err := s.SignIn(t.Context(), from(ip), email, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if in.Challenge == nil || in.Session.Token != "" || in.User.ID != "" || done != (Done{}) {
		t.Fatalf("the password alone gives %+v", in)
	}
	return *in.Challenge
}

// challengeOf is challenged without the cost of checking a password.
func challengeOf(t testing.TB, s *Service, by Caller) Challenge {
	t.Helper()
	var user domain.User
	if err := s.users.view(t.Context(), string(by.User), func(u *domain.User, _, _ uint64) { user = *u }); err != nil {
		t.Fatal(err)
	}
	asked, err := s.challenge(t.Context(), &user)
	if err != nil {
		t.Fatal(err)
	}
	return asked
}

// second is the second half, from home.
func second(s *Service, c Challenge, code string) (SignedIn, error) {
	in, _, err := s.SignInTwoFactor(context.Background(), from(home), c.Token, code)
	return in, err
}

func wantSignedIn(t testing.TB, s *Service, in SignedIn, err error, user domain.UserID) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if by, err := s.Authenticate(t.Context(), in.Session.Token); err != nil || by.User != user || by.Session != in.Session.ID || in.User.ID != user {
		t.Errorf("the session is %+v's, %v", by, err)
	}
}

func TestTwoFactorFromEnrolmentToSignIn(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	by, _ := signedIn(t, s, accountOn(t, s, "ada@example.com"))
	ctx := t.Context()

	_, _, err := s.ConfirmTwoFactor(ctx, by, "123456")
	wantCode(t, err, "two_factor_not_started")
	abandoned, err := s.EnrolTwoFactor(ctx, by)
	if err != nil {
		t.Fatal(err)
	}
	enrolment, err := s.EnrolTwoFactor(ctx, by)
	if err != nil || enrolment.Secret == abandoned.Secret {
		t.Fatalf("begun again: %v", err)
	}
	link, err := url.Parse(enrolment.URL)
	if err != nil || link.Scheme != "otpauth" || link.Host != "totp" || link.Path != "/Distribu:ada@example.com" {
		t.Errorf("the link is %s, %v", enrolment.URL, err)
	}
	want := url.Values{"secret": {enrolment.Secret}, "issuer": {"Distribu"}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	if diff := cmp.Diff(want, link.Query()); diff != "" {
		t.Error(diff)
	}
	if len(enrolment.Secret) != 32 {
		t.Errorf("the secret has %d characters, want the 160 bits of RFC 4226 in base32", len(enrolment.Secret))
	}
	// Nothing has changed yet.
	if me, _, err := s.Me(ctx, by); err != nil || me.TwoFactor != (TwoFactor{}) {
		t.Errorf("before the first code: %+v, %v", me.TwoFactor, err)
	}
	wantSignedInBy(t, s, "ada@example.com")

	for _, wrong := range []string{"", "12345", "1234567", "abcdef", "123456", codeAt(t, abandoned.Secret, s.Now()), codeAt(t, enrolment.Secret, s.Now().Add(-time.Minute))} {
		_, _, err := s.ConfirmTwoFactor(ctx, by, wrong)
		wantCode(t, err, "wrong_code")
	}
	code := codeAt(t, enrolment.Secret, s.Now())
	codes, done, err := s.ConfirmTwoFactor(ctx, by, code[:3]+" "+code[3:])
	if err != nil || len(codes) != 10 || done.Position == 0 {
		t.Fatalf("confirmed: %d codes, %v", len(codes), err)
	}
	_, _, err = s.ConfirmTwoFactor(ctx, by, codeAt(t, enrolment.Secret, s.Now().Add(30*time.Second)))
	wantCode(t, err, "two_factor_not_started")
	_, err = s.EnrolTwoFactor(ctx, by)
	wantCode(t, err, "two_factor_on")
	if me, _, err := s.Me(ctx, by); err != nil || me.TwoFactor != (TwoFactor{On: true, App: true, RecoveryCodesLeft: 10}) {
		t.Errorf("after the first code: %+v, %v", me.TwoFactor, err)
	}
	seen := map[string]bool{}
	for _, code := range codes {
		if seen[code] || len(code) != 19 {
			t.Errorf("a code of %d characters, there before: %t", len(code), seen[code])
		}
		seen[code] = true
	}

	challenge := challenged(t, s, home, "ada@example.com")
	if diff := cmp.Diff([]string{"totp", "recovery_code"}, challenge.Methods); diff != "" || !challenge.ExpiresAt.Equal(s.Now().Add(5*time.Minute)) {
		t.Errorf("%s, until %v", diff, challenge.ExpiresAt)
	}
	// What showed that the app has the secret isn't good for a sign-in as well.
	_, err = second(s, challenge, code)
	wantCode(t, err, "invalid_credentials")
	clock.forward(30 * time.Second)
	in, err := second(s, challenge, codeAt(t, enrolment.Secret, s.Now()))
	wantSignedIn(t, s, in, err, by.User)
	_, err = second(s, challenge, codeAt(t, enrolment.Secret, s.Now().Add(30*time.Second)))
	wantCode(t, err, "challenge_ended")
}

// wantSignedInBy signs in with the password alone.
func wantSignedInBy(t testing.TB, s *Service, email string) {
	t.Helper()
	in, _, err := s.SignIn(t.Context(), from(home), email, passphrase)
	if err != nil || in.Challenge != nil || in.Session.Token == "" {
		t.Errorf("the password alone: %+v, %v", in, err)
	}
}

func TestAnEnrolmentEndsAfterAWhile(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	by := accountOn(t, s, "ada@example.com")
	enrolment, err := s.EnrolTwoFactor(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	clock.forward(enrolmentLife)
	_, _, err = s.ConfirmTwoFactor(t.Context(), by, codeAt(t, enrolment.Secret, s.Now()))
	wantCode(t, err, "two_factor_not_started")
}

// A code works in its step of 30 seconds and in the one before and after, and
// once, whatever the node.
func TestEachCodeWorksOnceAndForThreeSteps(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	a, b := twoNodes(t, withClock(clock))
	ada := protect(t, a, clock, "ada@example.com")
	grace := protect(t, a, clock, "grace@example.com")
	for offset, works := range map[time.Duration]bool{
		-time.Hour: false, -time.Minute: false, -30 * time.Second: true, 0: true, 30 * time.Second: true, time.Minute: false, time.Hour: false,
	} {
		code := codeAt(t, ada.secret, a.Now().Add(offset))
		for i, s := range []*Service{a, b, a} {
			in, err := second(s, challenged(t, s, home, ada.email), code)
			if i == 0 && works {
				wantSignedIn(t, b, in, err, ada.User)
				continue
			}
			if !errors.Is(err, domain.ErrInvalidCredentials) {
				t.Errorf("the code of %v from now, use %d: %v", offset, i+1, err)
			}
		}
		wrongsForgiven(t, a, ada)
	}
	// Nor does the code of one user open the account of another.
	_, err := second(a, challenged(t, a, home, grace.email), codeAt(t, ada.secret, a.Now().Add(30*time.Second)))
	wantCode(t, err, "invalid_credentials")
}

// wrongsForgiven drops the counters of wrong codes, so that a test of something
// else needn't wait.
func wrongsForgiven(t testing.TB, s *Service, p protected) {
	t.Helper()
	var address domain.AddressID
	if err := s.users.view(t.Context(), string(p.User), func(u *domain.User, _, _ uint64) { address = u.Address() }); err != nil {
		t.Fatal(err)
	}
	account, _ := s.throttle.accountKeys(address, home)
	for _, key := range []string{theCode.prefix + account, account, s.throttle.networkKey(home)} {
		if _, err := s.throttle.bucket.Delete(t.Context(), key, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecoveryCodes(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ada, grace := protect(t, s, clock, "ada@example.com"), protect(t, s, clock, "grace@example.com")
	try := func(code string) (SignedIn, error) {
		t.Helper()
		wrongsForgiven(t, s, ada)
		return second(s, challenged(t, s, home, ada.email), code)
	}
	in, err := try(ada.codes[3])
	wantSignedIn(t, s, in, err, ada.User)
	_, err = try(ada.codes[3])
	wantCode(t, err, "invalid_credentials")
	typed := " " + strings.ToUpper(strings.NewReplacer("-", " ", "0", "O", "1", "l").Replace(ada.codes[4])) + " "
	in, err = try(typed)
	wantSignedIn(t, s, in, err, ada.User)
	for what, wrong := range map[string]string{
		"another user's": grace.codes[0], "most of one": ada.codes[0][:18], "more than one": ada.codes[0] + "0", "two": ada.codes[0] + ada.codes[1],
		"a hash": string(s.recoveryHash(ada.User, strings.ReplaceAll(ada.codes[0], "-", ""))), "text": "not a code at all", "marks": "--", "a letter changed": "z" + ada.codes[0][1:],
	} {
		if what == "a letter changed" && ada.codes[0][0] == 'z' {
			wrong = "y" + ada.codes[0][1:]
		}
		if _, err := try(wrong); !errors.Is(err, domain.ErrInvalidCredentials) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if me, _, err := s.Me(t.Context(), ada.Caller); err != nil || me.TwoFactor.RecoveryCodesLeft != 8 {
		t.Errorf("%+v, %v", me.TwoFactor, err)
	}

	_, _, err = s.RenewRecoveryCodes(t.Context(), ada.Caller, "not the passphrase")
	wantCode(t, err, "wrong_password")
	codes, done, err := s.RenewRecoveryCodes(t.Context(), ada.Caller, passphrase)
	if err != nil || len(codes) != 10 || done.Position == 0 {
		t.Fatalf("%d codes, %v", len(codes), err)
	}
	_, err = try(ada.codes[0])
	wantCode(t, err, "invalid_credentials")
	for range 2 { // with the last but one and the last the challenge still says so
		in, err = try(codes[0])
		wantSignedIn(t, s, in, err, ada.User)
		codes = codes[1:]
	}
	_, _, err = s.RenewRecoveryCodes(t.Context(), accountOn(t, s, "eve@example.com"), passphrase)
	wantCode(t, err, "two_factor_off")
}

func TestRemovingTwoFactor(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ada := protect(t, s, clock, "ada@example.com")
	by, mine := signedIn(t, s, ada.Caller)
	_, other := signedIn(t, s, ada.Caller)
	_, err := s.DisableTwoFactor(t.Context(), by, "not the passphrase")
	wantCode(t, err, "wrong_password")
	if _, err := s.Authenticate(t.Context(), other); err != nil {
		t.Errorf("a wrong password ended a session: %v", err)
	}
	done, err := s.DisableTwoFactor(t.Context(), by, passphrase)
	if err != nil || done.Position == 0 {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), mine); err != nil {
		t.Errorf("the session that asked: %v", err)
	}
	if _, err := s.Authenticate(t.Context(), other); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("another session: %v", err)
	}
	if me, _, err := s.Me(t.Context(), by); err != nil || me.TwoFactor != (TwoFactor{}) {
		t.Errorf("%+v, %v", me.TwoFactor, err)
	}
	wantSignedInBy(t, s, ada.email)
	before := end(t, s.store)
	_, err = s.DisableTwoFactor(t.Context(), by, passphrase)
	wantCode(t, err, "two_factor_off")
	if after := end(t, s.store); after != before {
		t.Errorf("a refusal left %d events", after-before)
	}
	// A wrong password here counts like one at signing in.
	enable(t, s, by)
	by.IP = away
	for range accountAllowance.free - 1 { // and the one above
		_, err := s.DisableTwoFactor(t.Context(), by, "not the passphrase")
		wantCode(t, err, "wrong_password")
	}
	if _, err := s.DisableTwoFactor(t.Context(), by, passphrase); refusedFor(t, err) == 0 {
		t.Error("guessing isn't slowed down")
	}
}

func TestTwoFactorIsForUsers(t *testing.T) {
	t.Parallel()
	s := service(t)
	for code, by := range map[string]Caller{"unauthenticated": {}, "not_permitted": {Actor: domain.ByAPIKey("key_1"), Team: "team_1"}} {
		_, err := s.EnrolTwoFactor(t.Context(), by)
		wantCode(t, err, code)
		_, _, err = s.ConfirmTwoFactor(t.Context(), by, "123456")
		wantCode(t, err, code)
		_, err = s.DisableTwoFactor(t.Context(), by, passphrase)
		wantCode(t, err, code)
		_, _, err = s.RenewRecoveryCodes(t.Context(), by, passphrase)
		wantCode(t, err, code)
	}
}

func TestTwoFactorSurvivesDeath(t *testing.T) {
	t.Parallel()
	t.Run("turning it on", func(t *testing.T) {
		t.Parallel()
		store, _ := storeIn(t, t.TempDir())
		s := serviceOn(t, store)
		before := end(t, store)
		rounds := dieEverywhere(t, store, func(round int) command {
			by := accountOn(t, s, fmt.Sprintf("e%d@example.com", round))
			enrolment, err := s.EnrolTwoFactor(t.Context(), by)
			if err != nil {
				t.Fatal(err)
			}
			code := codeAt(t, enrolment.Secret, s.Now())
			return func(ctx context.Context, s *Service) (any, error) {
				codes, done, err := s.ConfirmTwoFactor(ctx, by, code)
				return []any{codes, done}, err
			}
		})
		wantTally(t, store, before, map[string]int{
			"domain.AddressClaimed": rounds, "domain.UserRegistered": rounds, "domain.TwoFactorEnabled": rounds,
		})
	})
	for what, recovery := range map[string]bool{"signing in": false, "signing in by a recovery code": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			store, _ := storeIn(t, t.TempDir())
			s := serviceOn(t, store)
			before := end(t, store)
			rounds := dieEverywhere(t, store, func(round int) command {
				ip := fmt.Sprintf("192.0.2.%d", round)
				by := accountOn(t, s, fmt.Sprintf("s%d@example.com", round))
				secret, codes := enable(t, s, by)
				code := codeAt(t, secret, s.Now().Add(30*time.Second))
				if recovery {
					code = codes[0]
				}
				challenge := challengeOf(t, s, by)
				return func(ctx context.Context, s *Service) (any, error) {
					in, done, err := s.SignInTwoFactor(ctx, from(ip), challenge.Token, code)
					if err == nil {
						wantSignedIn(t, s, in, err, by.User)
					}
					return []any{in, done}, err
				}
			})
			want := map[string]int{
				"domain.AddressClaimed": rounds, "domain.UserRegistered": rounds, "domain.TwoFactorEnabled": rounds, "domain.SessionStarted": rounds,
			}
			if recovery {
				want["domain.RecoveryCodeUsed"] = rounds
			}
			wantTally(t, store, before, want)
		})
	}
}

// What asks for the password is answered again though what it was about is gone.
func TestRepeatedRemovalsAnswerTheSame(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store)
	by, _ := signedIn(t, s, accountOn(t, s, "ada@example.com"))
	enable(t, s, by)
	for _, c := range []struct {
		what string
		run  command
	}{
		{"new codes", func(ctx context.Context, s *Service) (any, error) {
			codes, _, err := s.RenewRecoveryCodes(ctx, by, passphrase)
			return codes, err
		}},
		{"removal", func(ctx context.Context, s *Service) (any, error) {
			done, err := s.DisableTwoFactor(ctx, by, passphrase)
			return done, err
		}},
	} {
		var results []any
		for range 2 {
			ctx, _ := begun(t, serviceOn(t, store), "scope", c.what, c.what)
			result, err := c.run(ctx, serviceOn(t, store))
			if err != nil {
				t.Fatalf("%s, try %d: %v", c.what, len(results)+1, err)
			}
			results = append(results, result)
		}
		if diff := cmp.Diff(results[0], results[1]); diff != "" {
			t.Errorf("%s: %s", c.what, diff)
		}
	}
}

// A secret can't be read without the key of its user.
func TestAnErasedUsersAppIsUnreadable(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ada := protect(t, s, clock, "ada@example.com")
	challenge := challenged(t, s, home, ada.email)
	var sealed domain.Sealed
	if err := s.users.view(t.Context(), string(ada.User), func(u *domain.User, _, _ uint64) { sealed = u.TOTP() }); err != nil {
		t.Fatal(err)
	}
	if eventstore.DataKeyOf(sealed) != ada.DataKey {
		t.Fatal("the secret is sealed under another key than the user's")
	}
	if _, err := s.vault.Erase(t.Context(), ada.DataKey); err != nil {
		t.Fatal(err)
	}
	_, err := second(s, challenge, codeAt(t, ada.secret, s.Now()))
	wantCode(t, err, "invalid_credentials")
}
