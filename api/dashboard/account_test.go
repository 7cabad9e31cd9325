package dashboard_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"
)

// serveByName starts a server that is reached by a name, as passkeys need it.
func serveByName(t testing.TB, catalog string) *site {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	url := fmt.Sprintf("http://localhost:%d", port)
	s := serve(t, catalog, fmt.Sprintf("--listen=127.0.0.1:%d", port), "--base-url="+url)
	s.url = url
	return s
}

// authenticator gives a tab a device that makes and uses passkeys by itself.
func (b *tab) authenticator() {
	b.t.Helper()
	b.do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return chromedp.Void{}, err
		}
		_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: "ctap2", Transport: "internal", HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}})
		return chromedp.Void{}, err
	})
}

func TestNamePasswordAndSessions(t *testing.T) {
	s := serve(t, "distribu")
	ada := s.signUp("Ada Lovelace") // a session of Go's client
	b := s.browse().signIn(ada)
	b.press("Your account").press("Account").sees("Where you are signed in", "Chrome on Linux", "This one", "Go-http-client", "127.0.0.1", "Password only").looks("account")

	b.press("Change name").sees("Change your name").fill("Name", " ").press("Save").sees("See below").looks("account-name-refused")
	b.press("Cancel").seesNot("Change your name")
	b.press("Change name").fill("Name", hostile(200)).press("Save").sees("Your name is changed", "<script>alert(1)</script>").looks("account-hostile")

	const next = "an entirely new pass phrase"
	b.press("Change password").fill("Current password", "not it at all").fill("New password", next).press("Change password")
	b.until("to see a refusal", `document.querySelector("dialog[open] [role=alert]")`)
	b.looks("account-password-refused")
	b.fill("Current password", password).fill("New password", next).press("Change password")
	b.sees("signed out everywhere else", "This one").seesNot("Go-http-client")

	// Sessions of others, one and all.
	s.call("POST", "/v1/sessions", "", map[string]any{"email": ada.email, "password": next})
	other := s.browse().open("/signin").fill("E-mail", ada.email).fill("Password", next).press("Sign in").sees("Active members")
	b.open("/dashboard/account").press("Sign out Go-http-client").sees("That device is signed out").seesNot("Go-http-client")
	b.press("Sign out everywhere else").sees("You are signed out everywhere else").seesNot("Sign out everywhere else")
	// The page that is open there leads on by itself, and so does every other.
	other.sees("Sign in to D").open("/dashboard/account").sees("Sign in to D")
}

func TestAccountOfSomebodyInNoTeam(t *testing.T) {
	s := serve(t, "distribu")
	ada := s.signUp("Ada")
	grace := s.join(ada, "Grace", "MEMBER", nil)
	s.call("DELETE", "/v1/teams/"+ada.team+"/members/"+grace.id, ada.token, nil)
	b := s.browse().open("/signin").fill("E-mail", grace.email).fill("Password", password).press("Sign in").sees("You are in no company")
	b.press("Your account").press("Account").sees("Profile", "Where you are signed in").looks("account-alone")
	b.press("Change name").sees("Change your name").looks("account-alone-name")
	b.fill("Name", "Grace Hopper").press("Save").sees("Your name is changed", "Grace Hopper")
}

// code is what an authenticator app shows, some steps of half a minute from now.
func code(t testing.TB, secret string, steps int) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, time.Now().Add(time.Duration(steps)*30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestAuthenticatorAppAndRecoveryCodes(t *testing.T) {
	s := serve(t, "dzbuild")
	ada := s.signUp("Ada Lovelace")
	b := s.browse().signIn(ada).open("/dashboard/account").press("Set up app").sees("Set up an authenticator app", "Scan the code").looks("account-authenticator")
	if drawn := eval[bool](b, `document.querySelector(".qr img").naturalWidth > 0`); !drawn {
		t.Error("there is no QR code")
	}
	secret := eval[string](b, `document.getElementById("secret").innerText.replaceAll(" ", "")`)
	b.fill("Code that the app shows", "000000").press("Turn on").sees("The code is wrong").looks("account-authenticator-refused")
	if again := eval[string](b, `document.getElementById("secret").innerText.replaceAll(" ", "")`); again != secret {
		t.Errorf("the secret is %q after %q", again, secret)
	}
	b.fill("Code that the app shows", code(t, secret, 0)).press("Turn on").sees("Keep your recovery codes", "Download").looks("account-codes")
	codes := eval[[]string](b, `[...document.querySelectorAll(".codes code")].map(e => e.innerText)`)
	if len(codes) != 10 {
		t.Fatalf("there are %d recovery codes", len(codes))
	}
	kept := eval[string](b, `decodeURIComponent(document.querySelector("a[download]").href)`)
	copied := eval[string](b, `document.querySelector("[data-copy]").dataset.copy`)
	for _, text := range []string{kept, copied} {
		if !strings.Contains(text, codes[0]+"\n") || !strings.Contains(text, codes[9]) || !strings.Contains(text, ada.email) {
			t.Errorf("what is kept is %q", text)
		}
	}
	b.press("I have kept them").sees("Two factors", "10 codes left of 10").looks("account-two-factor")

	// By a code of the app; what is asked isn't in the address.
	in := s.browse().open("/dashboard/account").fill("E-mail", ada.email).fill("Password", password).press("Sign in").sees("Second factor").looks("two-factor")
	if at := in.at(); at != "/signin/two-factor?next=%2Fdashboard%2Faccount" {
		t.Errorf("the second factor is asked for at %s", at)
	}
	if seen := eval[string](in, `document.cookie`); seen != "" {
		t.Errorf("scripts see %q", seen)
	}
	in.fill("Code", "000000").press("Sign in").sees("The code is wrong").looks("two-factor-refused")
	in.fill("Code", code(t, secret, 1)).press("Sign in").sees("Where you are signed in")
	// By a recovery code.
	in = s.browse().open("/signin").fill("E-mail", ada.email).fill("Password", password).press("Sign in")
	in.sees("Second factor").fill("Code", codes[0]).press("Sign in").sees("Active members").open("/dashboard/account").sees("9 codes left of 10")
	// A challenge that is over, or was never made.
	in = s.browse().open("/signin/two-factor").sees("Sign in to D")
	in.run(`document.cookie = "roster_challenge=rc_none.totp; path=/signin"`)
	in.open("/signin/two-factor").fill("Code", "123456").press("Sign in").sees("Begin again", "Sign in to D").looks("two-factor-over")
	in.open("/signin/two-factor").sees("Sign in to D")

	b.open("/dashboard/account").press("New codes").fill("Your password", "not the password").press("Get new codes")
	b.until("to see a refusal", `document.querySelector("[role=alert]")`)
	b.looks("account-codes-refused")
	b.fill("Your password", password).press("Get new codes").sees("Those of before work no more", "Keep your recovery codes")
	b.press("I have kept them").until("for the page under the dialog", `!document.querySelector("dialog[open]")`)
	b.sees("10 codes left of 10").press("Turn off").sees("the password alone signs you in").looks("account-authenticator-off")
	b.fill("Your password", "not the password").press("Turn off")
	b.until("to see a refusal", `document.querySelector("dialog[open] [role=alert]")`)
	b.fill("Your password", password).press("Turn off").sees("The authenticator app is removed", "Password only")
}

func TestSecondFactorThatATeamRequires(t *testing.T) {
	s := serve(t, "dzbuild")
	ada := s.signUp("Ada")
	s.plan(ada.team, "enterprise")
	grace := s.join(ada, "Grace", "admin", nil)
	s.call("PATCH", "/v1/teams/"+ada.team, ada.token, map[string]any{"name": hostile(100)})
	secret := field(s.call("POST", "/v1/me/two-factor", ada.token, map[string]any{}), "secret")
	s.call("POST", "/v1/me/two-factor/confirm", ada.token, map[string]any{"code": code(t, secret, 0)})
	require := func(days int) {
		s.call("PUT", "/v1/teams/"+ada.team+"/two-factor-policy", ada.token, map[string]any{"required": "everyone", "grace_days": days})
	}
	require(3)
	b := s.browse().signIn(grace).open("/dashboard/account").sees("requires a second factor of you from").looks("account-asked")
	s.call("PUT", "/v1/teams/"+ada.team+"/two-factor-policy", ada.token, map[string]any{"required": "nobody"})
	// The open page leads on by itself, and so does every other.
	require(0)
	b.sees("Second factor required").open("/dashboard/team").sees("Second factor required").looks("second-factor-missing")
	b.press("Set up a second factor").sees("requires a second factor of you.", "Where you are signed in").looks("account-asked-now")
	b.press("Set up app").sees("Scan the code").looks("account-authenticator-alone")
	secret = eval[string](b, `document.getElementById("secret").innerText.replaceAll(" ", "")`)
	b.fill("Code that the app shows", code(t, secret, 0)).press("Turn on").press("I have kept them").sees("Two factors")
	b.open("/dashboard/team").sees("Active members")
}

func TestPasskeys(t *testing.T) {
	s := serveByName(t, "distribu")
	ada := s.signUp("Ada Lovelace")
	b := s.browse()
	b.authenticator()
	b.signIn(ada).open("/dashboard/account").sees("None yet").press("Add passkey").sees("Your browser then asks").looks("account-passkey")
	b.fill("Name", hostile(200)).fill("Your password", "not the password").press("Add passkey").sees("password is wrong")
	b.fill("Your password", password).press("Add passkey").sees("Your passkey is added", "Keep your recovery codes").looks("account-passkey-codes")
	b.press("I have kept them").sees("Two factors", "<script>alert(1)</script>").looks("account-passkeys")
	// The device has one already.
	b.press("Add passkey").fill("Your password", password).press("Add passkey").sees("This device has a passkey")

	// As the second factor.
	b.press("Cancel").press("Your account").press("Sign out").fill("E-mail", ada.email).fill("Password", password).press("Sign in")
	b.sees("Second factor", "Recovery code").looks("two-factor-passkey")
	b.press("Use a passkey").sees("Active members")
	// Alone.
	b.press("Your account").press("Sign out").sees("Sign in with a passkey").looks("signin-passkey")
	b.open("/signin?next=/dashboard/account").press("Sign in with a passkey").sees("Where you are signed in")

	b.press("Remove").sees("It is your last second factor").looks("account-passkey-remove")
	b.fill("Your password", password).press("Remove passkey").sees("The passkey is removed", "Password only", "None yet")
	// What the device has is nobody's now.
	b.press("Your account").press("Sign out").press("Sign in with a passkey").sees("This passkey wasn't accepted").looks("signin-passkey-refused")
}

func TestPasskeysAreOfferedOnlyWhereTheyWork(t *testing.T) {
	s := serve(t, "distribu") // reached by a number
	ada := s.signUp("Ada")
	b := s.browse().open("/signin").sees("Sign in").seesNot("passkey")
	b.signIn(ada).open("/dashboard/account").press("Add passkey").sees("Passkeys can't be used here").looks("account-no-passkeys")
}

// TestAccountWithoutJavaScript changes things by links and forms alone.
func TestAccountWithoutJavaScript(t *testing.T) {
	s := serve(t, "distribu")
	ada := s.signUp("Ada")
	b := s.browse().noScripts().signIn(ada)
	b.open("/dashboard/account/name").sees("Change your name").fill("Name", "Ada Lovelace").press("Save").sees("Your name is changed", "Ada Lovelace")

	// What scripts would be needed to see in that tab, plain requests see.
	visitor := s.visitor()
	s.post(visitor, "/signin", url.Values{"email": {ada.email}, "password": {password}})
	status, text := s.post(visitor, "/dashboard/account/authenticator", url.Values{})
	secret := regexp.MustCompile(`name="secret" value="([^"]+)"`).FindStringSubmatch(text)
	qr := regexp.MustCompile(`name="qr" value="([^"]+)"`).FindStringSubmatch(text)
	if status != 200 || secret == nil || qr == nil {
		t.Fatalf("setting up answers %d: %s", status, text)
	}
	form := url.Values{"secret": {secret[1]}, "qr": {qr[1]}, "code": {"12"}}
	if status, text = s.post(visitor, "/dashboard/account/authenticator/confirm", form); status != 403 || !strings.Contains(text, secret[1]) {
		t.Errorf("a wrong code answers %d: %s", status, text)
	}
	form.Set("code", code(t, secret[1], 0))
	if status, text = s.post(visitor, "/dashboard/account/authenticator/confirm", form); status != 200 || !strings.Contains(text, "Keep your recovery codes") {
		t.Errorf("the right code answers %d: %s", status, text)
	}
	s.post(visitor, "/signout", url.Values{})
	if status, text = s.post(visitor, "/signin", url.Values{"email": {ada.email}, "password": {password}}); status != 200 || !strings.Contains(text, "Second factor") {
		t.Errorf("signing in answers %d: %s", status, text)
	}
	if status, text = s.post(visitor, "/signin/two-factor", url.Values{"code": {code(t, secret[1], 1)}}); status != 200 || !strings.Contains(text, "Active members") {
		t.Errorf("the second factor answers %d: %s", status, text)
	}
	for _, path := range []string{"/dashboard/account/authenticator", "/dashboard/account/authenticator/confirm", "/dashboard/account/passkeys"} {
		s.read(visitor, path) // a reload of what a form led to is no dead end
	}
}
