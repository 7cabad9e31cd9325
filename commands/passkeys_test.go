package commands

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"roster/commands/authenticatortest"
	"roster/domain"
	"roster/eventstore"
)

type device = authenticatortest.Authenticator

// newDevice is an authenticator whose browser shows the pages of these tests.
func newDevice() *device { return &device{Origin: "https://roster.test"} }

// addPasskey makes a passkey on a device.
func addPasskey(t testing.TB, s *Service, by Caller, d *device) (Passkey, []string) {
	t.Helper()
	passkey, codes, done, err := s.ConfirmPasskey(t.Context(), by, "A phone", created(t, s, by, d))
	if err != nil || done.Position == 0 {
		t.Fatal(err)
	}
	return passkey, codes
}

// created begins to add a passkey and gives the answer of the device.
func created(t testing.TB, s *Service, by Caller, d *device) []byte {
	t.Helper()
	options, err := s.StartPasskey(t.Context(), by, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return must(d.Create(options))
}

// answered is what a device answers to a challenge.
func answered(t testing.TB, s *Service, c Challenge, d *device) []byte {
	t.Helper()
	options, err := s.ChallengePasskey(t.Context(), c.Token)
	if err != nil {
		t.Fatal(err)
	}
	return must(d.Get(options))
}

// byPasskeyAlone begins a sign-in by a passkey alone and gives the token and the
// answer of the device.
func byPasskeyAlone(t testing.TB, s *Service, d *device) (token string, answer []byte) {
	t.Helper()
	begun, err := s.StartPasskeySignIn()
	if err != nil {
		t.Fatal(err)
	}
	return begun.Token, must(d.Get(begun.Options))
}

func signInAlone(t testing.TB, s *Service, d *device) (SignedIn, error) {
	t.Helper()
	token, answer := byPasskeyAlone(t, s, d)
	in, _, err := s.SignInPasskey(t.Context(), from(home), token, answer)
	return in, err
}

func TestPasskeyFromAddingToSignIn(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	by, _ := signedIn(t, s, accountOn(t, s, "ada@example.com"))
	d := newDevice()

	options, err := s.StartPasskey(t.Context(), by, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	var shown struct {
		PublicKey struct {
			RP         struct{ ID, Name string }
			User       struct{ ID, Name, DisplayName string }
			Challenge  string
			Attest     string                                         `json:"attestation"`
			Authorized struct{ ResidentKey, UserVerification string } `json:"authenticatorSelection"`
		}
	}
	if err := json.Unmarshal(options, &shown); err != nil {
		t.Fatal(err)
	}
	uuid, _ := domain.ParseID(domain.PrefixUser, string(by.User))
	key := shown.PublicKey
	if key.RP.ID != "roster.test" || key.RP.Name != "Distribu" || key.User.Name != "ada@example.com" || key.User.DisplayName != "Name of ada@example.com" ||
		key.User.ID != base64.RawURLEncoding.EncodeToString(uuid[:]) || len(key.Challenge) < 43 || key.Attest != "none" ||
		key.Authorized.ResidentKey != "preferred" || key.Authorized.UserVerification != "preferred" {
		t.Errorf("the options are %s", options)
	}
	wantSignedInBy(t, s, "ada@example.com") // nothing has changed yet

	answer := must(d.Create(options))
	_, _, _, err = s.ConfirmPasskey(t.Context(), by, " \n", answer)
	wantField(t, err, "#/name")
	passkey, codes, done, err := s.ConfirmPasskey(t.Context(), by, " A phone ", answer)
	if err != nil || len(codes) != 10 || done.Position == 0 || passkey.Name != "A phone" || !domain.ValidID(domain.PrefixPasskey, string(passkey.ID)) {
		t.Fatalf("%+v, %d codes, %v", passkey, len(codes), err)
	}
	_, _, _, err = s.ConfirmPasskey(t.Context(), by, "Again", answer)
	wantCode(t, err, "passkey_not_started")
	if list, _, err := s.Passkeys(t.Context(), by); err != nil || len(list) != 1 || list[0] != passkey {
		t.Errorf("listed: %+v, %v", list, err)
	}
	if me, _, err := s.Me(t.Context(), by); err != nil || me.TwoFactor != (TwoFactor{On: true, Passkeys: 1, RecoveryCodesLeft: 10}) {
		t.Errorf("%+v, %v", me.TwoFactor, err)
	}

	// As the second factor.
	challenge := challenged(t, s, home, "ada@example.com")
	if diff := cmp.Diff([]string{"recovery_code", "passkey"}, challenge.Methods); diff != "" {
		t.Error(diff)
	}
	in, _, err := s.SignInSecondPasskey(t.Context(), from(home), challenge.Token, answered(t, s, challenge, d))
	wantSignedIn(t, s, in, err, by.User)
	// A recovery code does as well.
	in, err = second(s, challenged(t, s, home, "ada@example.com"), codes[0])
	wantSignedIn(t, s, in, err, by.User)
	// Alone.
	in, err = signInAlone(t, s, d)
	wantSignedIn(t, s, in, err, by.User)

	// A second one comes without recovery codes, and not on the same device.
	options, err = s.StartPasskey(t.Context(), by, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(options); !errors.Is(err, authenticatortest.ErrNone) {
		t.Errorf("the device has a passkey already, and is asked for another: %v", err)
	}
	other := newDevice()
	if _, codes := addPasskey(t, s, by, other); codes != nil {
		t.Errorf("%d recovery codes came with the second passkey", len(codes))
	}
	in, err = signInAlone(t, s, other)
	wantSignedIn(t, s, in, err, by.User)

	// Without the last factor the password alone signs in, and other sessions end.
	list, _, err := s.Passkeys(t.Context(), by)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	_, err = s.RemovePasskey(t.Context(), by, list[0].ID, "not the passphrase")
	wantCode(t, err, "wrong_password")
	_, err = s.RemovePasskey(t.Context(), by, "pky_00000000000000000000000000", passphrase)
	wantCode(t, err, "not_found")
	for _, passkey := range list {
		if _, err := s.RemovePasskey(t.Context(), by, passkey.ID, passphrase); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Authenticate(t.Context(), in.Session.Token); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("another session: %v", err)
	}
	wantSignedInBy(t, s, "ada@example.com")
	_, err = signInAlone(t, s, d)
	wantCode(t, err, "invalid_credentials")
	if me, _, err := s.Me(t.Context(), by); err != nil || me.TwoFactor != (TwoFactor{}) {
		t.Errorf("%+v, %v", me.TwoFactor, err)
	}
}

// Both factors side by side: removing one leaves the other and the codes.
func TestPasskeyBesideAnApp(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ada := protect(t, s, clock, "ada@example.com")
	d := newDevice()
	if _, codes := addPasskey(t, s, ada.Caller, d); codes != nil {
		t.Error("an account with an app got other recovery codes")
	}
	if diff := cmp.Diff([]string{"totp", "recovery_code", "passkey"}, challenged(t, s, home, ada.email).Methods); diff != "" {
		t.Error(diff)
	}
	if _, err := s.DisableTwoFactor(t.Context(), ada.Caller, passphrase); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"recovery_code", "passkey"}, challenged(t, s, home, ada.email).Methods); diff != "" {
		t.Error(diff)
	}
	_, err := second(s, challenged(t, s, home, ada.email), codeAt(t, ada.secret, s.Now()))
	wantCode(t, err, "invalid_credentials")
	in, err := second(s, challenged(t, s, home, ada.email), ada.codes[0])
	wantSignedIn(t, s, in, err, ada.User)
}

func TestPasskeysAreBounded(t *testing.T) {
	t.Parallel()
	s := service(t)
	by := accountOn(t, s, "ada@example.com")
	last := newDevice()
	for i := range domain.MaxPasskeys {
		last = newDevice()
		if i == domain.MaxPasskeys-1 {
			// Many at the same moment don't add more than there may be.
			answer := created(t, s, by, last)
			ended := atOnce(t, 10, func(int) error {
				_, _, _, err := s.ConfirmPasskey(context.Background(), by, "Phone", answer)
				return err
			})
			if ended["ok"] != 1 {
				t.Errorf("one answer, ten times: %v", ended)
			}
			continue
		}
		addPasskey(t, s, by, last)
	}
	_, err := s.StartPasskey(t.Context(), by, passphrase)
	wantCode(t, err, "limit_reached")
	in, err := signInAlone(t, s, last)
	wantSignedIn(t, s, in, err, by.User)
	challenge := challenged(t, s, home, "ada@example.com")
	in, _, err = s.SignInSecondPasskey(t.Context(), from(home), challenge.Token, answered(t, s, challenge, last))
	wantSignedIn(t, s, in, err, by.User)
}

func TestPasskeysBelongToTheBaseURL(t *testing.T) {
	t.Parallel()
	for base, want := range map[string][]string{
		"https://teams.example.com":      {"teams.example.com", "https://teams.example.com"},
		"https://teams.example.com:8443": {"teams.example.com", "https://teams.example.com:8443"},
		"http://localhost:8080":          {"localhost", "http://localhost:8080"},
		"http://127.0.0.1:4711":          {"localhost", "http://127.0.0.1:4711", "http://localhost:4711"},
		"http://[::1]:4711":              {"localhost", "http://[::1]:4711", "http://localhost:4711"},
		"http://192.0.2.7:8080":          nil,
		"https://[2001:db8::1]":          nil,
		"":                               nil,
	} {
		relying := newRelyingParty(base)
		if relying == nil || want == nil {
			if relying != nil || want != nil {
				t.Errorf("%s: %+v", base, relying)
			}
			continue
		}
		if diff := cmp.Diff(want, append([]string{relying.Config.RPID}, relying.Config.RPOrigins...)); diff != "" {
			t.Errorf("%s: %s", base, diff)
		}
	}
	s := service(t, func(c *Config) { c.BaseURL = "http://192.0.2.7:8080" })
	_, err := s.StartPasskey(t.Context(), accountOn(t, s, "ada@example.com"), passphrase)
	wantCode(t, err, "passkeys_not_available")
	_, err = s.StartPasskeySignIn()
	wantCode(t, err, "passkeys_not_available")
}

func TestAPasskeyMeetsATeamsPolicy(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock), withCatalogs(builtin(t, "default")...))
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "")
	d := newDevice()
	passkey, _ := addPasskey(t, s, owner, d)
	require(t, s, owner, team, everyone(0))
	if refusedIn(t, s, owner, team) {
		t.Error("a passkey is no second factor")
	}
	if _, err := s.RemovePasskey(t.Context(), owner, passkey.ID, passphrase); err != nil {
		t.Fatal(err)
	}
	if !refusedIn(t, s, owner, team) {
		t.Error("without the passkey there is a second factor")
	}
}

func TestPasskeysAreForUsers(t *testing.T) {
	t.Parallel()
	s := service(t)
	for code, by := range map[string]Caller{"unauthenticated": {}, "not_permitted": {Actor: domain.ByAPIKey("key_1"), Team: "team_1"}} {
		_, err := s.StartPasskey(t.Context(), by, passphrase)
		wantCode(t, err, code)
		_, _, _, err = s.ConfirmPasskey(t.Context(), by, "Phone", nil)
		wantCode(t, err, code)
		_, _, err = s.Passkeys(t.Context(), by)
		wantCode(t, err, code)
		_, err = s.RemovePasskey(t.Context(), by, "pky_1", passphrase)
		wantCode(t, err, code)
	}
	accountOn(t, s, "ada@example.com")
	_, err := s.ChallengePasskey(t.Context(), "rc_nothing")
	wantCode(t, err, "challenge_ended")
	clock := newHandClock()
	s = service(t, withClock(clock))
	ada := protect(t, s, clock, "ada@example.com")
	_, err = s.ChallengePasskey(t.Context(), challenged(t, s, home, ada.email).Token)
	wantCode(t, err, "no_passkey")
}

// What is kept of a passkey says nothing without its user's key.
func TestAnErasedUsersPasskeysAreUnreadable(t *testing.T) {
	t.Parallel()
	s := service(t)
	by := accountOn(t, s, "ada@example.com")
	d := newDevice()
	answer := created(t, s, by, d)
	if _, _, _, err := s.ConfirmPasskey(t.Context(), by, "A planted name", answer); err != nil {
		t.Fatal(err)
	}
	var whole struct {
		ID       string
		Response struct{ AttestationObject string }
	}
	if err := json.Unmarshal(answer, &whole); err != nil {
		t.Fatal(err)
	}
	id := must(base64.RawURLEncoding.DecodeString(whole.ID))
	object := must(base64.RawURLEncoding.DecodeString(whole.Response.AttestationObject))
	secrets := planted{"the id": whole.ID, "the raw id": string(id), "the public key": string(object[len(object)-32:]), "the name": "A planted name"}
	for _, commit := range history(t, s.store) {
		secrets.in(t, "a commit of "+string(commit.Stream.Kind), must(json.Marshal(commit)))
	}
	if err := s.factors.bucket.Scan(t.Context(), ">", func(key string, entry eventstore.Entry) error {
		secrets.in(t, "the bucket", append([]byte(key), entry.Value...))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.vault.Erase(t.Context(), by.DataKey); err != nil {
		t.Fatal(err)
	}
	_, err := signInAlone(t, s, d)
	wantCode(t, err, "invalid_credentials")
}

func TestPasskeysSurviveDeath(t *testing.T) {
	t.Parallel()
	t.Run("adding one", func(t *testing.T) {
		t.Parallel()
		store, _ := storeIn(t, t.TempDir())
		s := serviceOn(t, store)
		before := end(t, store)
		rounds := dieEverywhere(t, store, func(round int) command {
			by := accountOn(t, s, fmt.Sprintf("p%d@example.com", round))
			answer := created(t, s, by, newDevice())
			return func(ctx context.Context, s *Service) (any, error) {
				passkey, codes, done, err := s.ConfirmPasskey(ctx, by, "Phone", answer)
				return []any{passkey, codes, done}, err
			}
		})
		wantTally(t, store, before, map[string]int{
			"domain.AddressClaimed": rounds, "domain.UserRegistered": rounds, "domain.PasskeyAdded": rounds,
		})
	})
	for what, alone := range map[string]bool{"signing in": false, "signing in by it alone": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			store, _ := storeIn(t, t.TempDir())
			s := serviceOn(t, store)
			before := end(t, store)
			rounds := dieEverywhere(t, store, func(round int) command {
				ip := fmt.Sprintf("192.0.2.%d", round)
				by := accountOn(t, s, fmt.Sprintf("s%d@example.com", round))
				d := newDevice()
				d.Counts = true
				addPasskey(t, s, by, d)
				var token string
				var answer []byte
				if alone {
					token, answer = byPasskeyAlone(t, s, d)
				} else {
					challenge := challengeOf(t, s, by)
					token, answer = challenge.Token, answered(t, s, challenge, d)
				}
				return func(ctx context.Context, s *Service) (any, error) {
					run := s.SignInSecondPasskey
					if alone {
						run = s.SignInPasskey
					}
					in, done, err := run(ctx, from(ip), token, bytes.Clone(answer))
					if err == nil {
						wantSignedIn(t, s, in, err, by.User)
					}
					return []any{in, done}, err
				}
			})
			wantTally(t, store, before, map[string]int{
				"domain.AddressClaimed": rounds, "domain.UserRegistered": rounds, "domain.PasskeyAdded": rounds,
				"domain.PasskeyUsed": rounds, "domain.SessionStarted": rounds,
			})
		})
	}
}
