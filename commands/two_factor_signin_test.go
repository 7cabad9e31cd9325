package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

func TestAChallengeIsNoSession(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ada := protect(t, s, clock, "ada@example.com")
	challenge := challenged(t, s, home, ada.email)
	for _, token := range []string{challenge.Token, "rs_" + challenge.Token[3:], "rs_" + string(ada.User[5:]) + "_" + challenge.Token[3:], "rk_" + challenge.Token[3:]} {
		if by, err := s.Authenticate(t.Context(), token); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%d characters of it sign in as %+v: %v", len(token), by, err)
		}
	}
	if len(challenge.Token) != len("rc_")+43 {
		t.Errorf("a challenge of %d characters, want 256 bits", len(challenge.Token))
	}
	for _, wrong := range []string{"", "rc_", challenge.Token[:len(challenge.Token)-1], challenge.Token + "A", "rc_" + strings.Repeat("A", 43)} {
		_, _, err := s.SignInTwoFactor(t.Context(), from(home), wrong, codeAt(t, ada.secret, s.Now()))
		wantCode(t, err, "challenge_ended")
	}
}

func TestAChallengeEnds(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	end := func(what string, during func(p *protected, c Challenge)) {
		t.Helper()
		p := protect(t, s, clock, strings.ReplaceAll(what, " ", ".")+"@example.com")
		challenge := challenged(t, s, home, p.email)
		during(&p, challenge)
		if _, err := second(s, challenge, codeAt(t, p.secret, s.Now())); !errors.Is(err, errChallengeEnded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	end("after five minutes", func(*protected, Challenge) { clock.forward(challengeLife) })
	end("after five tries", func(p *protected, c Challenge) {
		for range challengeTries {
			_, err := second(s, c, "000000")
			wantCode(t, err, "invalid_credentials")
		}
		wrongsForgiven(t, s, *p)
	})
	end("with another password", func(p *protected, _ Challenge) {
		if _, err := s.ChangePassword(t.Context(), p.Caller, passphrase, nextPassphrase); err != nil {
			t.Fatal(err)
		}
	})
	end("with another app", func(p *protected, _ Challenge) {
		if _, err := s.DisableTwoFactor(t.Context(), p.Caller, passphrase); err != nil {
			t.Fatal(err)
		}
		p.secret, _ = enable(t, s, p.Caller)
		clock.forward(time.Minute)
	})
	end("without the app", func(p *protected, _ Challenge) {
		if _, err := s.DisableTwoFactor(t.Context(), p.Caller, passphrase); err != nil {
			t.Fatal(err)
		}
	})

	// Not yet.
	p := protect(t, s, clock, "in.time@example.com")
	challenge := challenged(t, s, home, p.email)
	for range challengeTries - 1 {
		_, err := second(s, challenge, "000000")
		wantCode(t, err, "invalid_credentials")
	}
	clock.forward(challengeLife - time.Microsecond)
	in, err := second(s, challenge, codeAt(t, p.secret, s.Now()))
	wantSignedIn(t, s, in, err, p.User)
}

// 100 parallel uses of one code, on two nodes and by one challenge or by many,
// are one success.
func TestOneOfManyParallelUsesOfACodeSucceeds(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	a, b := twoNodes(t, withClock(clock))
	nodes := []*Service{a, b}
	ada := protect(t, a, clock, "ada@example.com")
	started := func() int { return tally(t, a.store, 0)["domain.SessionStarted"] }

	challenge := challenged(t, a, home, ada.email)
	for what, code := range map[string]string{"app": codeAt(t, ada.secret, a.Now()), "recovery": ada.codes[0]} {
		before := started()
		ended := atOnce(t, 100, func(i int) error {
			_, err := second(nodes[i%2], challenge, code)
			if throttled := (*Throttled)(nil); errors.As(err, &throttled) {
				return errors.New("throttled")
			}
			return err
		})
		if ended["ok"] != 1 || ended["invalid_credentials"]+ended["challenge_ended"]+ended["throttled"] != 99 || started() != before+1 {
			t.Errorf("%s: %v, %d sessions", what, ended, started()-before)
		}
		wrongsForgiven(t, a, ada)
		challenge = challenged(t, a, home, ada.email)
	}

	// Each with a challenge of its own, past the throttle.
	clock.forward(time.Minute)
	var user domain.User
	if err := a.users.view(t.Context(), string(ada.User), func(u *domain.User, _, _ uint64) { user = *u }); err != nil {
		t.Fatal(err)
	}
	for what, code := range map[string]string{"app": codeAt(t, ada.secret, a.Now()), "recovery": ada.codes[1]} {
		ended := atOnce(t, 100, func(i int) error {
			return nodes[i%2].proveCode(context.Background(), ada.Caller, &user, code, fmt.Sprint("session ", i))
		})
		if diff := cmp.Diff(map[string]int{"ok": 1, "invalid_credentials": 99}, ended); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	if used := tally(t, a.store, 0)["domain.RecoveryCodeUsed"]; used != 2 {
		t.Errorf("%d recovery codes were used", used)
	}
}

// Of many who confirm with one code at the same moment one succeeds, and the
// recovery codes that it was told are those that work.
func TestOneOfManyParallelConfirmationsSucceeds(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	a, b := twoNodes(t, withClock(clock))
	by := accountOn(t, a, "ada@example.com")
	enrolment, err := a.EnrolTwoFactor(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan []string, 100)
	ended := atOnce(t, 100, func(i int) error {
		codes, _, err := []*Service{a, b}[i%2].ConfirmTwoFactor(context.Background(), by, codeAt(t, enrolment.Secret, a.Now()))
		if err == nil {
			told <- codes
		}
		return err
	})
	if ended["ok"] != 1 {
		t.Fatal(ended)
	}
	in, err := second(b, challenged(t, b, home, "ada@example.com"), (<-told)[9])
	wantSignedIn(t, a, in, err, by.User)
}

// Wrong codes count, whatever else succeeds in between, on every node and after
// a restart.
func TestWrongCodesAreSlowedDown(t *testing.T) {
	t.Parallel()
	dir, clock := t.TempDir(), newHandClock()
	store, closeStore := storeIn(t, dir)
	a, b := serviceOn(t, store, withClock(clock)), serviceOn(t, store, withClock(clock))
	ada := protect(t, a, clock, "ada@example.com")
	guess := func(s *Service, ip, code string) error {
		t.Helper()
		// The right password before each, which forgives nothing.
		_, _, err := s.SignInTwoFactor(t.Context(), from(ip), challenged(t, s, ip, ada.email).Token, code)
		return err
	}
	for i := range codeAllowance.free {
		if err := guess([]*Service{a, b}[i%2], fmt.Sprintf("198.51.100.%d", i), "000000"); !errors.Is(err, domain.ErrInvalidCredentials) {
			t.Fatalf("guess %d: %v", i+1, err)
		}
	}
	right := codeAt(t, ada.secret, clock.now())
	for _, s := range []*Service{a, b} {
		if wait := refusedFor(t, guess(s, away, right)); wait != time.Second {
			t.Errorf("after %d wrong codes the next waits %v", codeAllowance.free, wait)
		}
	}
	a.Close()
	b.Close()
	closeStore()
	store, _ = storeIn(t, dir)
	s := serviceOn(t, store, withClock(clock))
	if wait := refusedFor(t, guess(s, away, right)); wait != time.Second {
		t.Errorf("after a restart the next waits %v", wait)
	}
	clock.forward(time.Second)
	if err := guess(s, away, "000000"); !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Fatal(err)
	}
	if wait := refusedFor(t, guess(s, away, right)); wait != 2*time.Second {
		t.Errorf("one wrong code later the next waits %v", wait)
	}
	clock.forward(2 * time.Second)
	if err := guess(s, away, codeAt(t, ada.secret, clock.now())); err != nil {
		t.Fatal(err)
	}
	// From a network where both factors were right, wrong ones elsewhere don't
	// matter.
	for i := range 3 {
		if err := guess(s, fmt.Sprintf("198.51.100.%d", 100+i), "000000"); err == nil {
			t.Fatal("a wrong code signs in")
		}
	}
	clock.forward(30 * time.Second)
	if err := guess(s, away, codeAt(t, ada.secret, clock.now())); err != nil {
		t.Errorf("from a network that is known: %v", err)
	}
}

// Who has the password and no code gains nothing by it: their network doesn't
// become known.
func TestThePasswordAloneMakesNoNetworkKnown(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ada := protect(t, s, clock, "ada@example.com")
	var address domain.AddressID
	if err := s.users.view(t.Context(), string(ada.User), func(u *domain.User, _, _ uint64) { address = u.Address() }); err != nil {
		t.Fatal(err)
	}
	known := func(kind secretKind, ip string) bool {
		t.Helper()
		account, pair := s.throttle.accountKeys(address, ip)
		record, err := readRecord[accountRecord](t.Context(), s.throttle.records, kind.prefix+account)
		if err != nil {
			t.Fatal(err)
		}
		_, known := record.counter(pair, clock.now())
		if record.Strangers.Failures != 0 {
			t.Errorf("%d failures are left", record.Strangers.Failures)
		}
		return known
	}
	challenge := challenged(t, s, away, ada.email)
	if known(thePassword, away) || known(theCode, away) {
		t.Error("the network is known after the password alone")
	}
	if _, _, err := s.SignInTwoFactor(t.Context(), from(away), challenge.Token, codeAt(t, ada.secret, clock.now())); err != nil {
		t.Fatal(err)
	}
	if !known(thePassword, away) || !known(theCode, away) {
		t.Error("the network isn't known after both")
	}
}

// Nothing that starts a session gets past the second factor.
func TestNoSessionWithoutTheSecondFactor(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	follow(t, s)
	ada := protect(t, s, clock, "ada@example.com")
	if _, err := s.startSession(t.Context(), ada.Caller, passwordAlone); !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Errorf("a session by the password alone: %v", err)
	}
	// A reset of the password starts none, and leaves the second factor.
	token := resetToken(t, s, ada.email)
	if _, err := s.ResetPassword(t.Context(), from(home), token, nextPassphrase); err != nil {
		t.Fatal(err)
	}
	in, _, err := s.SignIn(t.Context(), from(home), ada.email, nextPassphrase)
	if err != nil || in.Challenge == nil || in.Session.Token != "" {
		t.Fatalf("after a reset: %+v, %v", in, err)
	}
	// Nor does an invitation, which asks for a session of the account.
	owner := accountOn(t, s, "owner@example.com")
	_, link := invite(t, s, owner, teamOf(t, s, owner, "tenants"), ada.email, "member")
	_, _, err = s.AcceptInvitation(t.Context(), from(home), link, Acceptance{Name: "Ada", Password: nextPassphrase})
	wantCode(t, err, "sign_in_required")
	if n := tally(t, s.store, 0)["domain.SessionStarted"]; n != 0 {
		t.Errorf("%d sessions were started", n)
	}
}

// Whoever repeats the request that opened an account, after the account got a
// second factor, must show that factor.
func TestARepeatedRegistrationDoesNotGetPastTheSecondFactor(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store)
	register := func(ctx context.Context, s *Service) (Registered, error) {
		registered, _, err := s.Register(ctx, Caller{IP: home}, Registration{Email: "ada@example.com", Name: "Ada", Password: passphrase})
		return registered, err
	}
	// The first try dies between the account and the session.
	ctx, _ := begun(t, s, "scope", "key", "body")
	if _, err := s.openAccount(ctx, Caller{IP: home}, Registration{Email: "ada@example.com", Name: "Ada", Password: passphrase},
		s.teams.stream(newID(ctx, domain.PrefixTeam, "team"))); err != nil {
		t.Fatal(err)
	}
	in, _, err := s.SignIn(t.Context(), from(home), "ada@example.com", passphrase)
	if err != nil {
		t.Fatal(err)
	}
	by, err := s.Authenticate(t.Context(), in.Session.Token)
	if err != nil {
		t.Fatal(err)
	}
	enable(t, s, by)
	heir := serviceOn(t, store)
	again, _ := begun(t, heir, "scope", "key", "body")
	if _, err := register(again, heir); !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Errorf("the repetition: %v", err)
	}
}

// A sign-in by the password alone that overlaps with setting up a second factor
// leaves no session.
func TestASignInThatOverlapsWithEnablingEnds(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	by := accountOn(t, s, "ada@example.com")
	var before domain.User
	if err := s.users.view(t.Context(), string(by.User), func(u *domain.User, _, _ uint64) { before = *u }); err != nil {
		t.Fatal(err)
	}
	enable(t, s, by)
	// The sign-in read the account before, and gets to its session only now: by
	// two factors, so that only the comparison with before can stop it.
	for _, shown := range []proof{passwordAlone, twoFactors} {
		if in, _, err := s.signedIn(t.Context(), by, &before, shown); !errors.Is(err, domain.ErrInvalidCredentials) {
			t.Errorf("a session: %+v, %v", in, err)
		}
	}
	if list, err := s.sessions.list(t.Context(), by.User); err != nil || len(list) != 0 {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}
