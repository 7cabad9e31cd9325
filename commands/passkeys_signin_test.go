package commands

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// altered is an answer with something of its response changed.
func altered(t testing.TB, answer []byte, change func(response map[string]any)) []byte {
	t.Helper()
	var whole map[string]any
	if err := json.Unmarshal(answer, &whole); err != nil {
		t.Fatal(err)
	}
	response, _ := whole["response"].(map[string]any)
	change(response)
	return must(json.Marshal(whole))
}

// otherFirst is a token with another first character than it has.
func otherFirst(token string) string {
	if token[0] == 'A' {
		return "B" + token[1:]
	}
	return "A" + token[1:]
}

// flipped changes one bit of a field in base64.
func flipped(field string) func(map[string]any) {
	return func(response map[string]any) {
		raw := must(base64.RawURLEncoding.DecodeString(response[field].(string)))
		raw[len(raw)-1] ^= 1
		response[field] = base64.RawURLEncoding.EncodeToString(raw)
	}
}

// wrongAnswers are answers that no ceremony takes, by what is wrong with them.
func wrongAnswers(t testing.TB, d *device, use func() []byte) map[string][]byte {
	t.Helper()
	turned := func(turn func(*device)) []byte {
		was := *d
		turn(d)
		answer := use()
		d.Origin, d.RPID, d.NotPresent, d.NotVerifying = was.Origin, was.RPID, was.NotPresent, was.NotVerifying
		return answer
	}
	return map[string][]byte{
		"another origin":      turned(func(d *device) { d.Origin = "https://roster.test.evil.example" }),
		"an insecure origin":  turned(func(d *device) { d.Origin = "http://roster.test" }),
		"another port":        turned(func(d *device) { d.Origin = "https://roster.test:8443" }),
		"a subdomain":         turned(func(d *device) { d.Origin = "https://x.roster.test" }),
		"another site":        turned(func(d *device) { d.RPID = "evil.example" }),
		"nobody there":        turned(func(d *device) { d.NotPresent = true }),
		"an altered client":   altered(t, use(), flipped("clientDataJSON")),
		"nothing":             {},
		"an empty object":     []byte("{}"),
		"a list":              []byte("[]"),
		"something else":      []byte(`{"id":"AAAA","rawId":"AAAA","type":"public-key","response":{}}`),
		"more than an answer": append(use(), "{}"...),
	}
}

func TestWrongAnswersAddNoPasskey(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ada, eve := accountOn(t, s, "ada@example.com"), accountOn(t, s, "eve@example.com")
	d := newDevice()
	options, err := s.StartPasskey(t.Context(), ada, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	answers := wrongAnswers(t, d, func() []byte { return must(d.Create(options)) })
	answers["an altered key"] = altered(t, must(d.Create(options)), func(response map[string]any) {
		raw := must(base64.RawURLEncoding.DecodeString(response["attestationObject"].(string)))
		raw[45] ^= 1 // in the hash of the site
		response["attestationObject"] = base64.RawURLEncoding.EncodeToString(raw)
	})
	answers["an answer to other options"] = created(t, s, eve, newDevice())
	answers["more than a passkey"] = altered(t, must(d.Create(options)), func(response map[string]any) {
		response["transports"] = []string{strings.Repeat("x", maxCredential)}
	})
	before := end(t, s.store)
	for what, answer := range answers {
		_, _, _, err := s.ConfirmPasskey(t.Context(), ada, "Phone", answer)
		var refused *domain.Error
		if !errors.As(err, &refused) || refused.Field != "#/credential" || refused.Kind != domain.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	right := must(d.Create(options))
	_, _, _, err = s.ConfirmPasskey(t.Context(), accountOn(t, s, "grace@example.com"), "Phone", right)
	wantCode(t, err, "passkey_not_started")
	clock.forward(ceremonyLife)
	_, _, _, err = s.ConfirmPasskey(t.Context(), ada, "Phone", right)
	wantCode(t, err, "passkey_not_started")
	if n := tally(t, s.store, before)["domain.PasskeyAdded"]; n != 0 {
		t.Errorf("%d passkeys were added", n)
	}
}

func TestWrongAnswersDontSignIn(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ada := protected{Caller: accountOn(t, s, "ada@example.com"), email: "ada@example.com"}
	eve := accountOn(t, s, "eve@example.com")
	d, evil := newDevice(), newDevice()
	addPasskey(t, s, ada.Caller, d)
	addPasskey(t, s, eve, evil)
	started := func() int { return tally(t, s.store, 0)["domain.SessionStarted"] }
	invalid := func(err error) bool {
		var refused *domain.Error
		return errors.As(err, &refused) && (refused.Code == "invalid_credentials" || refused.Field == "#/credential")
	}
	more := func(use func() []byte) map[string][]byte {
		answers := wrongAnswers(t, d, use)
		answers["an altered signature"] = altered(t, use(), flipped("signature"))
		answers["altered data"] = altered(t, use(), flipped("authenticatorData"))
		answers["another user's name"] = altered(t, use(), flipped("userHandle"))
		return answers
	}

	// As the second factor.
	challenge := challenged(t, s, home, ada.email)
	for what, answer := range more(func() []byte { return answered(t, s, challenge, d) }) {
		wrongsForgiven(t, s, ada)
		challenge := challengeOf(t, s, ada.Caller)
		answered(t, s, challenge, d)
		if _, _, err := s.SignInSecondPasskey(t.Context(), from(home), challenge.Token, answer); !invalid(err) {
			t.Errorf("second, %s: %v", what, err)
		}
	}
	wrongsForgiven(t, s, ada)
	unasked := challenged(t, s, home, ada.email)
	if _, _, err := s.SignInSecondPasskey(t.Context(), from(home), unasked.Token, answered(t, s, challenge, d)); !invalid(err) {
		t.Errorf("a challenge that no passkey was asked about: %v", err)
	}
	answered(t, s, unasked, d)
	if _, _, err := s.SignInSecondPasskey(t.Context(), from(home), unasked.Token, answered(t, s, challenged(t, s, home, "eve@example.com"), evil)); !invalid(err) {
		t.Errorf("another user's passkey: %v", err)
	}

	// Alone.
	begin := func() (string, json.RawMessage) {
		begun, err := s.StartPasskeySignIn()
		if err != nil {
			t.Fatal(err)
		}
		return begun.Token, begun.Options
	}
	token, options := begin()
	answers := more(func() []byte { return must(d.Get(options)) })
	d.NotVerifying = true
	answers["a user who wasn't verified"] = must(d.Get(options))
	d.NotVerifying, d.WithoutHandle = false, true
	answers["nobody's name"] = must(d.Get(options))
	d.WithoutHandle = false
	_, others := begin()
	answers["an answer to other options"] = must(d.Get(others))
	answers["the passkey of another for one's name"] = altered(t, must(d.Get(options)), func(response map[string]any) {
		var whole struct{ Response map[string]any }
		if err := json.Unmarshal(must(evil.Get(options)), &whole); err != nil {
			t.Fatal(err)
		}
		response["userHandle"] = whole.Response["userHandle"]
	})
	for what, answer := range answers {
		wrongsForgiven(t, s, ada)
		if _, _, err := s.SignInPasskey(t.Context(), from(home), token, answer); !invalid(err) {
			t.Errorf("alone, %s: %v", what, err)
		}
	}
	right := must(d.Get(options))
	for what, wrong := range map[string]string{
		"none": "", "another kind": challenge.Token, "cut off": token[:len(token)-1], "altered": otherFirst(token), "longer": token + "AAAA",
	} {
		_, _, err := s.SignInPasskey(t.Context(), from(home), wrong, right)
		if !errors.Is(err, errChallengeEnded) {
			t.Errorf("a token that is %s: %v", what, err)
		}
	}
	if n := started(); n != 0 {
		t.Fatalf("%d sessions were started", n)
	}
	// It was good all along, until its end.
	late, lateOptions := begin()
	in, _, err := s.SignInPasskey(t.Context(), from(home), token, right)
	wantSignedIn(t, s, in, err, ada.User)
	_, _, err = s.SignInPasskey(t.Context(), from(home), token, right)
	wantCode(t, err, "challenge_ended")
	clock.forward(ceremonyLife)
	_, _, err = s.SignInPasskey(t.Context(), from(home), late, must(d.Get(lateOptions)))
	wantCode(t, err, "challenge_ended")
}

// A user whom the authenticator didn't verify is one factor: enough beside a
// password and not alone.
func TestAPasskeyBesideThePasswordNeedsNoVerification(t *testing.T) {
	t.Parallel()
	s := service(t)
	by := accountOn(t, s, "ada@example.com")
	d := newDevice()
	d.NotVerifying = true
	addPasskey(t, s, by, d)
	challenge := challenged(t, s, home, "ada@example.com")
	in, _, err := s.SignInSecondPasskey(t.Context(), from(home), challenge.Token, answered(t, s, challenge, d))
	wantSignedIn(t, s, in, err, by.User)
	_, err = signInAlone(t, s, d)
	wantCode(t, err, "invalid_credentials")
}

// Where the authenticator counts, a copy of it is found out, and that is
// recorded.
func TestACounterThatStandsStillIsRefused(t *testing.T) {
	t.Parallel()
	s := service(t)
	ada := protected{Caller: accountOn(t, s, "ada@example.com"), email: "ada@example.com"}
	d := newDevice()
	d.Counts = true
	d.Count = 40
	passkey, _ := addPasskey(t, s, ada.Caller, d)
	copied := *d
	in, err := signInAlone(t, s, d)
	wantSignedIn(t, s, in, err, ada.User)
	d.Count += 10
	in, err = signInAlone(t, s, d)
	wantSignedIn(t, s, in, err, ada.User)

	_, err = signInAlone(t, s, &copied)
	wantCode(t, err, "invalid_credentials")
	challenge := challenged(t, s, home, ada.email)
	_, _, err = s.SignInSecondPasskey(t.Context(), from(home), challenge.Token, answered(t, s, challenge, &copied))
	wantCode(t, err, "invalid_credentials")
	copied.Counts, copied.Count = false, 0 // it has stopped counting
	_, err = signInAlone(t, s, &copied)
	wantCode(t, err, "invalid_credentials")
	var refused []domain.Event
	for _, commit := range history(t, s.store) {
		if event, ok := commit.Events[0].Event.(domain.PasskeyRefused); ok {
			refused = append(refused, event)
		}
	}
	want := []domain.Event{
		domain.PasskeyRefused{Passkey: passkey.ID, Count: 41, Last: 52}, domain.PasskeyRefused{Passkey: passkey.ID, Count: 42, Last: 52},
		domain.PasskeyRefused{Passkey: passkey.ID, Count: 0, Last: 52},
	}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Error(diff)
	}
	wrongsForgiven(t, s, ada)
	in, err = signInAlone(t, s, d)
	wantSignedIn(t, s, in, err, ada.User)
}

// 100 parallel uses of one answer are one session.
func TestOneOfManyParallelUsesOfAPasskeySucceeds(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	nodes := []*Service{a, b}
	ada := protected{Caller: accountOn(t, a, "ada@example.com"), email: "ada@example.com"}
	for what, counts := range map[string]bool{"counting": true, "not counting": false} {
		d := newDevice()
		d.Counts = counts
		addPasskey(t, a, ada.Caller, d)
		wrongsForgiven(t, a, ada)
		token, answer := byPasskeyAlone(t, a, d)
		challenge := challenged(t, a, home, ada.email)
		options := must(a.ChallengePasskey(t.Context(), challenge.Token))
		beside := must(d.Get(options))
		for kind, sign := range map[string]func(s *Service) error{
			"alone": func(s *Service) error {
				_, _, err := s.SignInPasskey(context.Background(), from(home), token, answer)
				return err
			},
			"beside the password": func(s *Service) error {
				_, _, err := s.SignInSecondPasskey(context.Background(), from(home), challenge.Token, beside)
				return err
			},
		} {
			if counts && kind == "alone" {
				token, answer = byPasskeyAlone(t, a, d) // whichever order the two come in
			} else if counts {
				beside = must(d.Get(options))
			}
			before := tally(t, a.store, 0)["domain.SessionStarted"]
			ended := atOnce(t, 100, func(i int) error {
				err := sign(nodes[i%2])
				if throttled := (*Throttled)(nil); errors.As(err, &throttled) {
					return errors.New("throttled")
				}
				return err
			})
			if after := tally(t, a.store, 0)["domain.SessionStarted"]; ended["ok"] != 1 || after != before+1 ||
				ended["ok"]+ended["invalid_credentials"]+ended["challenge_ended"]+ended["throttled"] != 100 {
				t.Errorf("%s, %s: %v, %d sessions", what, kind, ended, after-before)
			}
			wrongsForgiven(t, a, ada)
		}
	}
}

func TestWrongPasskeysSlowTheNetworkDown(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	by := accountOn(t, s, "ada@example.com")
	d := newDevice()
	addPasskey(t, s, by, d)
	token, answer := byPasskeyAlone(t, s, d)
	wrong := altered(t, answer, flipped("signature"))
	for i := range networkAllowance.free {
		if _, _, err := s.SignInPasskey(t.Context(), from(away), token, wrong); !errors.Is(err, domain.ErrInvalidCredentials) {
			t.Fatalf("wrong answer %d: %v", i+1, err)
		}
	}
	if _, _, err := s.SignInPasskey(t.Context(), from(away), token, answer); refusedFor(t, err) != time.Second {
		t.Errorf("after %d wrong answers: %v", networkAllowance.free, err)
	}
	in, _, err := s.SignInPasskey(t.Context(), from(home), token, answer)
	wantSignedIn(t, s, in, err, by.User)
}
