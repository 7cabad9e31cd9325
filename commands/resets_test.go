package commands

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

const nextPassphrase = "two herons stand in the reeds"

// from is somebody without a credential on a network.
func from(ip string) Caller { return Caller{IP: ip, UserAgent: "a test", RequestID: "req_reset"} }

// askReset asks for a reset and waits until everything that follows is done.
func askReset(t testing.TB, s *Service, by Caller, email string) {
	t.Helper()
	if err := s.RequestPasswordReset(t.Context(), by, email); err != nil {
		t.Fatal(err)
	}
	s.background.work.Wait()
}

// resetsOf are the commits that ask for resets, in order.
func resetsOf(t testing.TB, s *Service) (found []eventstore.Commit) {
	t.Helper()
	for _, commit := range history(t, s.store) {
		if _, ok := commit.Events[0].Event.(domain.PasswordResetRequested); ok {
			found = append(found, commit)
		}
	}
	return found
}

// resetFacts are what the message says about the last reset that was asked for.
func resetFacts(t testing.TB, s *Service) ResetFacts {
	t.Helper()
	resets := resetsOf(t, s)
	if len(resets) == 0 {
		t.Fatal("no reset was asked for")
	}
	last := resets[len(resets)-1]
	asked := last.Events[0].Event.(domain.PasswordResetRequested)
	facts, err := s.ResetFacts(t.Context(), asked.User, last.Position, asked.ExpiresAt)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// resetToken asks for a reset and gives the token of the link.
func resetToken(t testing.TB, s *Service, email string) string {
	t.Helper()
	askReset(t, s, from(home), email)
	facts := resetFacts(t, s)
	if !facts.Stands || facts.Token == "" {
		t.Fatalf("got %+v", facts)
	}
	return facts.Token
}

// wantPassword signs in as ada.
func wantPassword(t testing.TB, s *Service, password string, right bool) {
	t.Helper()
	_, _, err := s.SignIn(t.Context(), from(home), "ada@example.com", password)
	if right && err != nil {
		t.Errorf("the right password: %v", err)
	}
	if !right && !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Errorf("the wrong password: %v", err)
	}
}

func TestResetFromRequestToSignIn(t *testing.T) {
	s := service(t)
	follow(t, s)
	ada := accountOn(t, s, "ada@example.com")
	_, first := signedIn(t, s, ada)
	_, second := signedIn(t, s, ada)
	other, others := signedIn(t, s, accountOn(t, s, "grace@example.com"))

	before := s.Now()
	token := resetToken(t, s, " Ada@Example.com ")
	asked := resetsOf(t, s)[0]
	event := asked.Events[0].Event.(domain.PasswordResetRequested)
	if event.User != ada.User || event.ExpiresAt.Before(before.Add(10*time.Minute)) || event.ExpiresAt.After(s.Now().Add(10*time.Minute)) {
		t.Errorf("asked for %+v at %v", event, before)
	}
	if asked.Stream.Kind != eventstore.KindActivity || !domain.ValidID(domain.PrefixReset, asked.Stream.ID) ||
		asked.Actor != domain.Visitor || asked.RequestID != "req_reset" || eventstore.DataKeyOf(asked.Origin) != ada.DataKey {
		t.Errorf("asked by %+v", asked)
	}
	if facts := resetFacts(t, s); facts.Email != "ada@example.com" || facts.Name != "Name of ada@example.com" || facts.Labels.Product != "Distribu" {
		t.Errorf("the message says %+v", facts)
	}

	// A password that is refused doesn't use the link up.
	_, err := s.ResetPassword(t.Context(), from(home), token, "short")
	wantField(t, err, "#/new_password")
	done, err := s.ResetPassword(t.Context(), from(home), token, nextPassphrase)
	if err != nil || done.Position == 0 || done.Version != 2 {
		t.Fatalf("got %+v, %v", done, err)
	}
	for _, token := range []string{first, second} {
		if _, err := s.Authenticate(t.Context(), token); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("a session of before: %v", err)
		}
	}
	if caller, err := s.Authenticate(t.Context(), others); err != nil || caller.Session != other.Session {
		t.Errorf("the session of another user: %+v, %v", caller, err)
	}
	wantPassword(t, s, passphrase, false)
	wantPassword(t, s, nextPassphrase, true)
	if me, _, err := s.me(t.Context(), ada.User); err != nil || !me.User.Verified {
		t.Errorf("who reads mail at the address has proven it: %+v, %v", me, err)
	}
	commits := history(t, s.store)
	for _, commit := range commits {
		if commit.Stream == s.users.stream(string(ada.User)) && commit.Version == 2 {
			if commit.Actor != domain.ByUser(ada.User) || len(commit.Events) != 2 {
				t.Errorf("recorded as %+v", commit)
			}
		}
	}
	if ended := tally(t, s.store, asked.Position)["domain.SessionEnded"]; ended != 2 {
		t.Errorf("%d sessions are recorded as ended", ended)
	}
	if last := commits[len(commits)-2]; last.Position != done.Position { // before the sign-in
		t.Errorf("the answer's position is %d, not %d", done.Position, last.Position)
	}
}

func TestResetOfNobody(t *testing.T) {
	s := service(t)
	accountOn(t, s, "ada@example.com")
	before, err := s.store.LastPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, email := range []string{"grace@example.com", "ada@example.org", "not an address", "", "ada@example.com\r\nBcc: eve@example.com", strings.Repeat("a", 10_000)} {
		askReset(t, s, from(home), email)
	}
	if after, err := s.store.LastPosition(t.Context()); err != nil || after != before {
		t.Errorf("it left %d events, %v", after-before, err)
	}
}

func TestResetTokenThatWasTamperedWith(t *testing.T) {
	s := service(t)
	follow(t, s)
	accountOn(t, s, "ada@example.com")
	grace := accountOn(t, s, "grace@example.com")
	token := resetToken(t, s, "ada@example.com")
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != resetTokenBytes {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	tampered := map[string]string{
		"nothing": "", "half": token[:len(token)/2], "one short": token[:len(token)-1], "one long": token + "A",
		"padded": token + "=", "line break": token + "\n", "line break inside": token[:9] + "\n" + token[9:], "not base64": strings.Repeat("!", len(token)),
		"zeros": base64.RawURLEncoding.EncodeToString(make([]byte, resetTokenBytes)),
	}
	for bit := range 8 * len(raw) {
		flipped := []byte(string(raw))
		flipped[bit/8] ^= 1 << (bit % 8)
		tampered[fmt.Sprint("bit ", bit)] = base64.RawURLEncoding.EncodeToString(flipped)
	}
	// The last character holds two bits that stand for nothing.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	for bits := 1; bits < 4; bits++ {
		tampered[fmt.Sprint("spare bits ", bits)] = token[:len(token)-1] + alphabet[last^bits:last^bits+1]
	}
	uuid, err := domain.ParseID(domain.PrefixUser, string(grace.User))
	if err != nil {
		t.Fatal(err)
	}
	tampered["another user"] = base64.RawURLEncoding.EncodeToString(append(uuid[:], raw[16:]...))
	before, err := s.store.LastPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, other := range tampered {
		if _, err := s.ResetPassword(t.Context(), from(home), other, nextPassphrase); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after, err := s.store.LastPosition(t.Context()); err != nil || after != before {
		t.Errorf("they left %d events, %v", after-before, err)
	}
	if _, err := s.ResetPassword(t.Context(), from(home), token, nextPassphrase); err != nil {
		t.Errorf("the token itself: %v", err)
	}
}

func TestResetTokenEnds(t *testing.T) {
	clock := newHandClock()
	s := service(t, withClock(clock))
	follow(t, s)
	ada := accountOn(t, s, "ada@example.com")
	reset := func(token, password string) error {
		_, err := s.ResetPassword(t.Context(), from(home), token, password)
		return err
	}

	late := resetToken(t, s, "ada@example.com")
	clock.forward(10*time.Minute - time.Microsecond)
	onTime := resetFacts(t, s)
	clock.forward(time.Microsecond)
	wantCode(t, reset(late, nextPassphrase), "reset_expired")
	if facts := resetFacts(t, s); !onTime.Stands || facts.Stands || facts.Token != "" {
		t.Errorf("a message about an expired link: %+v", facts)
	}

	// Two links are out. One is used, so both are dead.
	one, two := resetToken(t, s, "ada@example.com"), ""
	clock.forward(time.Second)
	if two = resetToken(t, s, "ada@example.com"); one == two {
		t.Error("two requests have one link")
	}
	if err := reset(one, nextPassphrase); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{one, two} {
		wantCode(t, reset(token, "three herons stand in the reeds"), "not_found")
		clock.forward(10 * time.Minute)
		wantCode(t, reset(token, "three herons stand in the reeds"), "not_found")
	}

	// A change of the password with the present one kills a link as well, even
	// one whose message hasn't been written yet.
	clock.forward(time.Hour)
	three := resetToken(t, s, "ada@example.com")
	if _, err := s.ChangePassword(t.Context(), ada, nextPassphrase, "four herons stand in the reeds"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, reset(three, "five herons stand in the reeds"), "not_found")
	if facts := resetFacts(t, s); facts.Stands || facts.Token != "" {
		t.Errorf("a message about a dead link: %+v", facts)
	}
	wantPassword(t, s, "four herons stand in the reeds", true)
}

func TestHundredUsesOfOneReset(t *testing.T) {
	a, b := twoNodes(t)
	accountOn(t, a, "ada@example.com")
	token := resetToken(t, a, "ada@example.com")
	before, err := a.store.LastPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	password := func(i int) string { return fmt.Sprintf("%d herons stand in the reeds", i) }
	won := make([]bool, 100)
	got := atOnce(t, len(won), func(i int) error {
		_, err := []*Service{a, b}[i%2].ResetPassword(t.Context(), from(home), token, password(i))
		won[i] = err == nil
		return err
	})
	if want := map[string]int{"ok": 1, "not_found": 99}; !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if changes := tally(t, a.store, before); changes["domain.PasswordChanged"] != 1 || changes["domain.EmailVerified"] != 1 {
		t.Errorf("recorded %v", changes)
	}
	for i := range won {
		if won[i] {
			wantPassword(t, b, password(i), true)
		}
	}
}

func TestStrangersCannotFloodAMailbox(t *testing.T) {
	clock := newHandClock()
	s := service(t, withClock(clock))
	accountOn(t, s, "ada@example.com")
	accountOn(t, s, "grace@example.com")
	messages := func(want int) {
		t.Helper()
		if got := len(resetsOf(t, s)); got != want {
			t.Errorf("%d messages so far, want %d", got, want)
		}
	}
	for i := range 12 {
		askReset(t, s, from(fmt.Sprintf("198.51.100.%d", i)), "ada@example.com")
	}
	messages(3)
	askReset(t, s, from("198.51.100.1"), "grace@example.com")
	messages(4)
	clock.forward(30*time.Minute - time.Microsecond)
	askReset(t, s, from("198.51.100.1"), "ada@example.com")
	messages(4)
	clock.forward(time.Microsecond)
	for range 3 {
		askReset(t, s, from("198.51.100.1"), "ada@example.com")
	}
	messages(5)

	// From where she signs in, strangers have used up nothing.
	wantPassword(t, s, passphrase, true)
	for range 5 {
		askReset(t, s, from(home), "ada@example.com")
	}
	messages(8)
	clock.forward(24 * time.Hour)
	for range 5 {
		askReset(t, s, from("198.51.100.2"), "ada@example.com")
	}
	messages(11)
}

func TestNetworkThatAsksForManyResets(t *testing.T) {
	clock := newHandClock()
	s := service(t, withClock(clock))
	accountOn(t, s, "ada@example.com")
	stranger := from("2001:db8:1:2::7")
	for i := range 20 {
		stranger.IP = fmt.Sprintf("2001:db8:1:2::%x", i+1)
		askReset(t, s, stranger, fmt.Sprintf("nobody%d@example.com", i))
	}
	for i, email := range []string{"ada@example.com", "nobody@example.com"} {
		var throttled *Throttled
		err := s.RequestPasswordReset(t.Context(), stranger, email)
		if !errors.As(err, &throttled) || throttled.RetryAfter != time.Second {
			t.Errorf("%d: got %v", i, err)
		}
	}
	askReset(t, s, from(home), "ada@example.com") // others may
	if len(resetsOf(t, s)) != 1 {
		t.Error("another network was refused")
	}
	// It is no failed sign-in.
	if _, _, err := s.SignIn(t.Context(), stranger, "ada@example.com", passphrase); err != nil {
		t.Error(err)
	}
	clock.forward(24 * time.Hour)
	askReset(t, s, stranger, "ada@example.com")
	if len(resetsOf(t, s)) != 2 {
		t.Error("it is refused for good")
	}
}

func TestAnswerToAResetDoesNotWaitForTheAccount(t *testing.T) {
	s := service(t)
	ada := accountOn(t, s, "ada@example.com")
	entry := s.users.entry(string(ada.User))
	entry.mu.Lock() // nobody gets to see the account
	for _, email := range []string{"ada@example.com", "nobody@example.com"} {
		if err := s.RequestPasswordReset(t.Context(), from(home), email); err != nil {
			t.Fatal(err)
		}
	}
	if len(resetsOf(t, s)) != 0 {
		t.Error("it was recorded already")
	}
	// Closing waits for what was accepted.
	closed := make(chan struct{})
	go func() { defer close(closed); s.background.close() }()
	entry.mu.Unlock()
	<-closed
	if len(resetsOf(t, s)) != 1 {
		t.Error("what was accepted got lost")
	}
	if err := s.RequestPasswordReset(t.Context(), from(home), "ada@example.com"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after closing: %v", err)
	}
}

func TestBackgroundIsBoundedAndSurvivesPanics(t *testing.T) {
	var b background
	log := &strings.Builder{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	release := make(chan struct{})
	for i := range maxBackground {
		if !b.start(t.Context(), logger, "work", func(context.Context) error { <-release; return nil }) {
			t.Fatalf("only %d at once", i)
		}
	}
	if b.start(t.Context(), logger, "work", func(context.Context) error { return nil }) {
		t.Error("there is no bound")
	}
	close(release)
	b.work.Wait()
	ended, end := context.WithCancel(t.Context())
	end()
	b.start(ended, logger, "this failed", func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); ctx.Err() != nil || !bounded {
			t.Error("the work ends with its request, or never")
		}
		panic("a heron")
	})
	b.close()
	if !strings.Contains(log.String(), "this failed") || !strings.Contains(log.String(), "panic: a heron") {
		t.Errorf("logged %s", log)
	}
}

func TestResetLetsInAfterFailedSignIns(t *testing.T) {
	s := service(t, withClock(newHandClock()))
	follow(t, s)
	accountOn(t, s, "ada@example.com")
	for range 5 {
		wantPassword(t, s, "a password that she has forgotten", false)
	}
	var throttled *Throttled
	if _, _, err := s.SignIn(t.Context(), from(home), "ada@example.com", passphrase); !errors.As(err, &throttled) {
		t.Fatalf("got %v", err)
	}
	if _, err := s.ResetPassword(t.Context(), from(home), resetToken(t, s, "ada@example.com"), nextPassphrase); err != nil {
		t.Fatal(err)
	}
	wantPassword(t, s, nextPassphrase, true)
}

func TestResetThatIsRepeated(t *testing.T) {
	store, _ := storeIn(t, t.TempDir())
	asker := serviceOn(t, store)
	follow(t, asker)
	rounds := dieEverywhere(t, store, func(round int) command {
		email := fmt.Sprintf("ada%d@example.com", round)
		accountOn(t, asker, email)
		token := resetToken(t, asker, email)
		return func(ctx context.Context, s *Service) (any, error) {
			return s.ResetPassword(ctx, from(fmt.Sprintf("192.0.2.%d", round)), token, nextPassphrase)
		}
	})
	changes := tally(t, store, 0)
	if rounds < 3 || changes["domain.PasswordChanged"] != rounds || changes["domain.EmailVerified"] != rounds {
		t.Errorf("%d rounds recorded %v", rounds, changes)
	}
}
