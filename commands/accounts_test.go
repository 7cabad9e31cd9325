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

// turnstile makes every hash of a service wait for the test, which counts and
// holds them: enter lets one begin, leave lets it end.
type turnstile chan struct{}

func newTurnstile(s *Service) turnstile {
	s.passwords.slots = make(chan struct{})
	return s.passwords.slots
}

func (c turnstile) enter(t *testing.T) {
	t.Helper()
	select {
	case <-c:
	case <-t.Context().Done():
		t.Fatal("nothing is hashed")
	}
}

func (c turnstile) leave() { c <- struct{}{} }

// hashes runs something to its end and counts the hashes that it makes.
func (c turnstile) hashes(run func() error) (count int, err error) {
	done := make(chan error, 1)
	go func() { done <- run() }()
	for {
		select {
		case <-c:
			c.leave()
			count++
		case err := <-done:
			return count, err
		}
	}
}

// Whether an address has an account can't be told from a sign-in: not by the
// answer, not by the work it takes, and not by when it is slowed down.
func TestSignInTellsNothingOfTheAddress(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	accountOn(t, s, "anna@example.com")
	turns := newTurnstile(s)
	signIn := func(email, password string) (int, error) {
		return turns.hashes(func() error {
			_, _, err := s.SignIn(t.Context(), Caller{IP: home}, email, password)
			return err
		})
	}
	if count, err := signIn(" Anna@Example.com", passphrase); count != 1 || err != nil {
		t.Errorf("the right password: %d hashes, %v", count, err)
	}
	for _, wrong := range [][2]string{
		{"anna@example.com", "a wrong passphrase"}, {"nobody@example.com", "a wrong passphrase"}, {"nobody@example.com", passphrase},
		{"no address at all", passphrase}, {"", ""}, {"anna@example.com", ""}, {"ANNA@example.com", strings.Repeat("x", maxPasswordBytes+1)},
		{"someone@example.com", strings.Repeat("x", maxPasswordBytes+1)}, {"anna@example.com\x00", passphrase}, {"\xff", "\xff"},
	} {
		// The same value, so that nothing that is made of it can differ.
		if count, err := signIn(wrong[0], wrong[1]); count != 1 || err != error(domain.ErrInvalidCredentials) { //nolint:errorlint // see above
			t.Errorf("%.20q and %.20q: %d hashes, %v", wrong[0], wrong[1], count, err)
		}
	}
	// From a network that neither account knows.
	var waits [2]time.Duration
	for i, email := range []string{"anna@example.com", "nobody@example.com"} {
		for range 6 {
			var throttled *Throttled
			count, err := turns.hashes(func() error {
				_, _, err := s.SignIn(t.Context(), Caller{IP: []string{away, "203.0.113.5"}[i]}, email, "a wrong passphrase")
				return err
			})
			if errors.As(err, &throttled) {
				waits[i] = throttled.RetryAfter
				if count != 0 {
					t.Errorf("%d hashes for one who has to wait", count)
				}
			}
		}
	}
	if waits[0] != waits[1] || waits[0] == 0 {
		t.Errorf("they have to wait %v", waits)
	}
}

func TestAChangedPasswordEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	s := service(t)
	ctx := t.Context()
	account := accountOn(t, s, "anna@example.com")
	stranger, strangers := signedIn(t, s, accountOn(t, s, "bertil@example.com"))
	by, own := signedIn(t, s, account)
	_, other := signedIn(t, s, account)
	const next = "an entirely different passphrase"

	done, err := s.ChangePassword(ctx, by, passphrase, next)
	if err != nil || done.Position != end(t, s.store) {
		t.Errorf("answered with %v of %d, %v", done, end(t, s.store), err)
	}
	if _, err := s.Authenticate(ctx, other); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("another session: %v", err)
	}
	for _, token := range []string{own, strangers} {
		if _, err := s.Authenticate(ctx, token); err != nil {
			t.Errorf("a session that stays: %v", err)
		}
	}
	if _, _, err := s.SignIn(ctx, account, "anna@example.com", passphrase); !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Errorf("the old password: %v", err)
	}
	if _, _, err := s.SignIn(ctx, account, "anna@example.com", next); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if list, err := s.Sessions(ctx, stranger); err != nil || len(list) != 1 || !list[0].Current {
		t.Errorf("the stranger's sessions: %v, %v", list, err)
	}
}

// Whoever hangs up while the password is changed leaves no other session
// behind: either nothing has changed, or they have ended.
func TestHangingUpOnAChangeOfThePassword(t *testing.T) {
	t.Parallel()
	s := service(t)
	for round := 1; ; round++ {
		if round > maxRounds {
			t.Fatal("never through")
		}
		by, _ := signedIn(t, s, accountOn(t, s, fmt.Sprintf("u%d@example.com", round)))
		_, other := signedIn(t, s, by)
		ctx, die := dyingAfter(t.Context(), round)
		_, err := s.ChangePassword(ctx, by, passphrase, "an entirely different passphrase")
		die()
		commits, loading := s.store.Load(t.Context(), s.users.stream(string(by.User)), 0)
		if loading != nil {
			t.Fatal(loading)
		}
		_, living := s.Authenticate(t.Context(), other)
		if changed := len(commits) > 1; changed != (err == nil) || changed != errors.Is(living, ErrUnauthenticated) {
			t.Errorf("round %d: changed %v, answered %v, the other session %v", round, changed, err, living)
		}
		if err == nil {
			return
		}
	}
}

// A sign-in that has checked the old password when it is changed gets no
// session, whichever node it is on.
func TestAChangedPasswordEndsASignInUnderWay(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	by, _ := signedIn(t, a, accountOn(t, a, "anna@example.com"))
	turns := newTurnstile(b)
	ended := make(chan error, 1)
	go func() {
		_, _, err := b.SignIn(t.Context(), Caller{IP: home}, "anna@example.com", passphrase)
		ended <- err
	}()
	turns.enter(t)
	if _, err := a.ChangePassword(t.Context(), by, passphrase, "an entirely different passphrase"); err != nil {
		t.Fatal(err)
	}
	turns.leave()
	if err := <-ended; !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Errorf("the sign-in ended with %v", err)
	}
	if list, err := a.Sessions(t.Context(), by); err != nil || len(list) != 1 || list[0].ID != by.Session {
		t.Errorf("the sessions are %v, %v", list, err)
	}
}

// A session may be found and ended in the moment before its start is recorded.
func TestASessionEndedBeforeItsStartIsRecorded(t *testing.T) {
	t.Parallel()
	s := service(t)
	by := accountOn(t, s, "anna@example.com")
	ctx, _ := begun(t, s, "anna", "key", "body")
	id := s.sessions.name(ctx, by.User).ID
	if _, err := s.recordEnd(t.Context(), by, by.User, id); err != nil {
		t.Fatal(err)
	}
	if _, err := s.startSession(ctx, by, passwordAlone); !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Errorf("it starts with %v", err)
	}
}

// Who knows the password at the same moment as its owner doesn't outlive the
// owner's change of it.
func TestOnlyOneOfManyChangesThePassword(t *testing.T) {
	t.Parallel()
	s := service(t)
	account := accountOn(t, s, "anna@example.com")
	ended := atOnce(t, 4, func(i int) error {
		_, err := s.ChangePassword(t.Context(), account, passphrase, "a different passphrase "+string(rune('a'+i)))
		return err
	})
	if diff := cmp.Diff(map[string]int{"ok": 1, "wrong_password": 3}, ended); diff != "" {
		t.Error(diff)
	}
}

func TestASessionEndsOnce(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	by, _ := signedIn(t, a, accountOn(t, a, "anna@example.com"))
	before := end(t, a.store)
	ended := atOnce(t, 8, func(i int) error {
		_, err := []*Service{a, b}[i%2].SignOut(t.Context(), by)
		return err
	})
	if ended["ok"] == 0 || ended["ok"]+ended["not_found"] != 8 {
		t.Error(ended)
	}
	// Those that have all found it are as good as one.
	ended = atOnce(t, 8, func(i int) error {
		_, err := []*Service{a, b}[i%2].recordEnd(t.Context(), by, by.User, by.Session)
		return err
	})
	if ended["ok"] != 8 {
		t.Error(ended)
	}
	wantTally(t, a.store, before, map[string]int{"domain.SessionEnded": 1})
}

func TestATakenAddressCountsAgainstTheNetwork(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ctx := t.Context()
	owner := accountOn(t, s, "anna@example.com")
	team := teamOf(t, s, owner, "distribu")
	_, token := invite(t, s, owner, team, "guest@example.com", "MEMBER")
	register := func(ip, email string) error {
		_, _, err := s.Register(ctx, Caller{IP: ip}, Registration{Email: email, Name: "N", Password: passphrase})
		return err
	}
	for range networkAllowance.free - 2 {
		if err := s.throttle.failedNetwork(ctx, home); err != nil {
			t.Fatal(err)
		}
	}
	for _, same := range []string{"anna@example.com", " ANNA@EXAMPLE.COM\t"} {
		wantCode(t, register(home, same), "address_taken")
	}
	before := end(t, s.store)
	turns := newTurnstile(s)
	for what, run := range map[string]func() error{
		"a taken address": func() error { return register(home, "anna@example.com") },
		"a free address":  func() error { return register(home, "free@example.com") },
		"an invitation": func() error {
			_, _, err := s.AcceptInvitation(ctx, Caller{IP: home}, token, Acceptance{Name: "N", Password: passphrase})
			return err
		},
	} {
		var throttled *Throttled
		if count, err := turns.hashes(run); !errors.As(err, &throttled) || count != 0 {
			t.Errorf("%s from there: %d hashes, %v", what, count, err)
		}
	}
	if after := end(t, s.store); after != before {
		t.Errorf("%d commits were appended", after-before)
	}
	if count, err := turns.hashes(func() error { return register(away, "free@example.com") }); err != nil || count != 1 {
		t.Errorf("from elsewhere: %v", err)
	}
}

func TestSpellingsOfOneAddressAreOne(t *testing.T) {
	t.Parallel()
	s := service(t)
	ctx := t.Context()
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	spellings := []string{"José@Example.com", " josé@example.com", "JOSÉ@EXAMPLE.COM\r\n", "jose\u0301@example.com", "JOSE\u0301@eXample.com\u00a0"}
	for i, spelling := range spellings {
		invitation, _, err := s.Invite(ctx, owner, team, InviteRequest{Email: spelling, Role: "member"})
		if i > 0 {
			wantCode(t, err, "already_invited")
		} else if err != nil || invitation.Email != "josé@example.com" {
			t.Errorf("invited as %q, %v", invitation.Email, err)
		}
	}
	ended := atOnce(t, len(spellings), func(i int) error {
		_, _, err := s.Register(ctx, Caller{IP: home}, Registration{Email: spellings[i], Name: "José", Password: passphrase})
		return err
	})
	if diff := cmp.Diff(map[string]int{"ok": 1, "address_taken": len(spellings) - 1}, ended); diff != "" {
		t.Error(diff)
	}
	in, _, err := s.SignIn(ctx, Caller{IP: home}, spellings[4], passphrase)
	if err != nil || in.User.Email != "josé@example.com" {
		t.Errorf("signed in as %+v, %v", in.User, err)
	}
	for _, other := range []string{"jose@example.com", "josé@example.com.", "josé@exаmple.com"} {
		var refusal *domain.Error
		if _, _, err := s.Invite(ctx, owner, team, InviteRequest{Email: other, Role: "member"}); errors.As(err, &refusal) && refusal.Code == "already_invited" {
			t.Errorf("%s is taken for another", other)
		}
	}
}

func TestNamesThatNobodyMayHave(t *testing.T) {
	t.Parallel()
	s := service(t)
	ctx := t.Context()
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "default")
	_, token := invite(t, s, owner, team, "guest@example.com", "member")
	site, _, err := s.AddSite(ctx, owner, team, "Site")
	if err != nil {
		t.Fatal(err)
	}
	before := end(t, s.store)
	register := func(r Registration) error {
		_, _, err := s.Register(ctx, Caller{IP: home}, r)
		return err
	}
	good := Registration{Email: "new@example.com", Name: "N", Password: passphrase}
	with := func(change func(*Registration)) error {
		r := good
		change(&r)
		return register(r)
	}
	for _, name := range []string{"a\nb", "a\r\nBcc: x@example.com", "a\tb", "a\x00b", "a\x1b[2Jb", "a\x7fb", "a\u0085b", "a\u2028b", "a\xffb",
		"a\u202eb", "\u2066a\u2069", "a\u200f", "\u200ea", "a\u202ab", "a\u2067b", strings.Repeat("é", domain.MaxNameRunes+1)} {
		wantField(t, with(func(r *Registration) { r.Name = name }), "#/name")
		_, _, err := s.AcceptInvitation(ctx, Caller{IP: home}, token, Acceptance{Name: name, Password: passphrase})
		wantField(t, err, "#/name")
		_, _, err = s.RenameMe(ctx, owner, name)
		wantField(t, err, "#/name")
		_, _, err = s.Invite(ctx, owner, team, InviteRequest{Email: "x@example.com", Name: name, Role: "member"})
		wantField(t, err, "#/name")
		_, _, err = s.CreateTeam(ctx, owner, name, "")
		wantField(t, err, "#/name")
		_, err = s.RenameTeam(ctx, owner, team, name)
		wantField(t, err, "#/name")
		_, _, err = s.AddSite(ctx, owner, team, name)
		wantField(t, err, "#/name")
		_, err = s.RenameSite(ctx, owner, team, site.ID, name)
		wantField(t, err, "#/name")
		_, _, err = s.CreateAPIKey(ctx, owner, team, APIKeyRequest{Name: name, Role: "member"})
		wantField(t, err, "#/name")
		if strings.Contains(err.Error(), name) {
			t.Errorf("%v repeats it", err)
		}
	}
	wantField(t, with(func(r *Registration) { r.TeamName = "a\nb" }), "#/team_name")
	wantField(t, with(func(r *Registration) { r.Name = " " }), "#/name")
	wantField(t, with(func(r *Registration) { r.Email = "new@example.com\nBcc: x@example.com" }), "#/email")
	wantField(t, with(func(r *Registration) { r.Email = "N <new@example.com>" }), "#/email")
	wantField(t, with(func(r *Registration) { r.Password = "too short" }), "#/password")
	wantField(t, with(func(r *Registration) { r.Catalog = "none" }), "#/catalog")
	_, err = s.ChangePassword(ctx, owner, passphrase, "too short")
	wantField(t, err, "#/new_password")
	if after := end(t, s.store); after != before {
		t.Errorf("%d commits were appended", after-before)
	}
	if err := register(good); err != nil {
		t.Error(err)
	}
}

func TestTheActiveTeamIsRememberedAcrossSignIns(t *testing.T) {
	t.Parallel()
	s := service(t)
	ctx := context.WithoutCancel(t.Context())
	registered, done, err := s.Register(ctx, Caller{IP: home}, Registration{Email: "anna@example.com", Name: "Anna", Password: passphrase, Catalog: "tenants"})
	if err != nil || done.Position != end(t, s.store) {
		t.Fatal(done, err)
	}
	by, err := s.Authenticate(ctx, registered.Session.Token)
	if err != nil {
		t.Fatal(err)
	}
	second := teamOf(t, s, by, "tenants")
	foreign := teamOf(t, s, accountOn(t, s, "bertil@example.com"), "tenants")
	if _, err := s.ChooseTeam(ctx, by, foreign); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("somebody else's team: %v", err)
	}
	if _, err := s.ChooseTeam(ctx, by, second); err != nil {
		t.Fatal(err)
	}
	in, _, err := s.SignIn(ctx, Caller{IP: home}, "anna@example.com", passphrase)
	if err != nil || in.ActiveTeam != second || in.Session.Token == registered.Session.Token {
		t.Errorf("signed in with %+v, %v", in, err)
	}
}
