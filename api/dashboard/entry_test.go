package dashboard_test

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// mailed waits for the newest message to an address that has a link to one of
// the pages, other than those known before, and gives the path that it leads to.
func (s *site) mailed(to, page string, before ...string) string {
	s.t.Helper()
	link := regexp.MustCompile(`href="https?://[^/"]+(` + page + `[^"]+)"`)
	deadline, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		var box struct {
			Data []struct{ To, HTML string }
		}
		if err := json.Unmarshal([]byte(s.read(http.DefaultClient, "/dev/mailbox.json")), &box); err != nil {
			s.t.Fatal(err)
		}
		for _, mail := range box.Data { // newest first
			found := link.FindStringSubmatch(mail.HTML)
			if found == nil || !strings.Contains(mail.To, to) {
				continue
			}
			if path := html.UnescapeString(found[1]); !slices.Contains(before, path) {
				return path
			}
		}
		select {
		case <-deadline:
			s.t.Fatalf("no message to %s leads to %s", to, page)
		case <-tick.C:
		}
	}
}

// invite gives the path of the link that is mailed.
func (s *site) invite(inviter person, email, role string, extra map[string]any) string {
	s.t.Helper()
	body := map[string]any{"email": email, "role": role}
	for key, value := range extra {
		body[key] = value
	}
	s.call("POST", "/v1/teams/"+inviter.team+"/invitations", inviter.token, body)
	return s.mailed(email, "/invite/")
}

func TestSigningUpInAndOut(t *testing.T) {
	s := serve(t, "distribu")
	email := newEmail()
	b := s.browse().open("/").sees("Sign in to D", "Open an account").press("Open an account")
	b.sees("a company of your own", "Company name (optional)").looks("signup")
	b.fill("Your name", "Ada Lovelace").fill("E-mail", email).fill("Password", "passwordpassword").press("Open account")
	b.sees("See below").looks("signup-refused")
	b.fill("Password", password).fill("Company name", "Engines & Sons").press("Open account").sees("Engines & Sons", "Active members", email)
	b.open("/signup").sees("Active members") // who is in needs no account
	b.press("Your account").press("Sign out").sees("Sign in to D")
	if at := b.at(); at != "/signin" {
		t.Errorf("signing out leads to %s", at)
	}

	b.open("/signup").fill("Your name", "Ada Again").fill("E-mail", email).fill("Password", password).press("Open account")
	b.sees("can't be used for a new account").looks("signup-taken").press("Reset the password").sees("Forgotten your password?")

	b.open("/dashboard/account").sees("Sign in to D") // and from there back to where one was going
	b.fill("E-mail", email).fill("Password", "not the password").press("Sign in").sees("wrong").looks("signin-wrong")
	b.fill("Password", password).press("Sign in").sees("Where you are signed in")
	b.open("/signin?next=//evil.example/").sees("Active members")
}

func TestSignUpNeedsNoTeamName(t *testing.T) {
	s := serve(t, "tenants")
	b := s.browse().open("/signup").sees("a tenant of your own")
	b.fill("Your name", hostile(200)).fill("E-mail", newEmail()).fill("Password", password).press("Open account").sees("Active members", "<script>alert(1)</script>")
}

func TestForgottenPassword(t *testing.T) {
	s := serve(t, "distribu")
	ada := s.signUp("Ada")
	b := s.browse().open("/signin").press("Forgotten?").sees("Forgotten your password?").looks("forgot")
	b.fill("E-mail", "nobody@example.com").press("Send link").sees("Look into your mailbox", "If nobody@example.com has an account here").looks("forgot-sent")
	b.press("Send another link").fill("E-mail", ada.email).press("Send link").sees("Look into your mailbox", "If "+ada.email+" has an account here")

	link := s.mailed(ada.email, "/reset/")
	b.open(link).sees("Choose a new password").looks("reset")
	b.fill("New password", "passwordpassword").press("Change password").sees("See below").looks("reset-refused")
	b.fill("New password", "an entirely new pass phrase").press("Change password").sees("Your password is changed", "Sign in to D")
	b.fill("E-mail", ada.email).fill("Password", password).press("Sign in").sees("wrong")
	b.fill("Password", "an entirely new pass phrase").press("Sign in").sees("Active members")

	b.open(link).sees("This link works no more").looks("reset-dead").press("Send a new link").sees("Forgotten your password?")
	b.open("/reset/nothing-of-the-kind").sees("This link works no more")
}

func TestInvitationOfSomebodyNew(t *testing.T) {
	s := serve(t, "distribu")
	ada := s.signUp("Ada")
	s.call("PATCH", "/v1/teams/"+ada.team, ada.token, map[string]any{"name": "Engines"})
	email := newEmail()
	link := s.invite(ada, email, "ADMIN", map[string]any{"name": "Grace"})

	b := s.browse().open(link).sees("You are invited to join Engines", "Admin", "in 7 days", "Open account and join").looks("invitation-new")
	if fixed := eval[bool](b, `document.getElementById("f-email").readOnly && document.getElementById("f-email").value === "`+email+`"`); !fixed {
		t.Error("the address isn't there, or not fixed")
	}
	b.open(link).sees("Open account and join") // looking doesn't use it up
	b.fill("Password", "passwordpassword").press("Open account and join").sees("See below").looks("invitation-refused")
	b.fill("Your name", "Grace Hopper").fill("Password", password).press("Open account and join")
	b.sees("You have joined", "Active members", "Grace Hopper")

	b.open(link).sees("This invitation was used").looks("invitation-used").press("Go to the dashboard").sees("Active members")
}

func TestInvitationOfSomebodyKnown(t *testing.T) {
	s := serve(t, "distribu")
	ada, grace, eve := s.signUp("Ada"), s.signUp("Grace Hopper"), s.signUp("Eve")
	s.call("PATCH", "/v1/teams/"+ada.team, ada.token, map[string]any{"name": hostile(100)})
	link := s.invite(ada, grace.email, "MEMBER", nil)

	// Signed in as somebody else.
	b := s.browse().signIn(eve).open(link).sees("Wrong account", "This invitation is for "+grace.email, "You are signed in as "+eve.email).looks("invitation-wrong-account")
	b.press("Sign out and go on").sees("You have an account with this address").looks("invitation-sign-in")
	// Signed out, with an account.
	b.press("Sign in to accept").sees("Sign in to D")
	if filled := eval[string](b, `document.getElementById("f-email").value`); filled != grace.email || strings.Contains(b.at(), "example.com") {
		t.Errorf("the sign-in has %q, at %s", filled, b.at())
	}
	b.fill("Password", password).press("Sign in").sees("Accept invitation").looks("invitation-known")
	// One click.
	b.press("Accept invitation").sees("You have joined", "<script>alert(1)</script>", "Grace Hopper", "Ada").looks("invitation-accepted")
}

func TestDecliningAnInvitation(t *testing.T) {
	s := serve(t, "distribu")
	ada := s.signUp("Ada")
	link := s.invite(ada, newEmail(), "MEMBER", nil)
	b := s.browse().open(link).press("Decline").sees("Decline the invitation to").looks("invitation-decline")
	b.press("Back").sees("Open account and join").press("Decline").press("Decline invitation").sees("You didn't join").looks("invitation-declined-now")
	b.open(link).sees("This invitation was declined").looks("invitation-declined")
}

func TestInvitationsThatHaveEnded(t *testing.T) {
	s := serve(t, "distribu")
	ada := s.signUp("Ada")
	link := s.invite(ada, newEmail(), "MEMBER", nil)
	pending := s.call("GET", "/v1/teams/"+ada.team+"/invitations", ada.token, nil)["data"].([]any)
	id := field(pending[0].(map[string]any), "id")
	b := s.browse().open(link).sees("Open account and join")
	s.call("DELETE", "/v1/teams/"+ada.team+"/invitations/"+id, ada.token, nil)
	// It is cancelled while somebody fills in the form.
	b.fill("Your name", "Late").fill("Password", password).press("Open account and join").sees("This invitation was cancelled").looks("invitation-cancelled")
	b.open(link).sees("This invitation was cancelled")

	b.open("/invite/nothing-of-the-kind").sees("We don't know this invitation").looks("invitation-unknown")
	b.signIn(ada).open("/invite/nothing/decline").sees("We don't know this invitation", "Go to the dashboard")
}

// A link of the form that some hosts use.
func TestInvitationBySignUpLink(t *testing.T) {
	s := serve(t, "tenants")
	ada := s.signUp("Ada")
	s.call("PATCH", "/v1/teams/"+ada.team, ada.token, map[string]any{"name": "Trading"})
	link := s.invite(ada, newEmail(), "viewer", nil)
	token := strings.TrimPrefix(link, "/invite/")
	b := s.browse().open("/signup?invite=" + token + "&tenant=" + s.signUp("Other").team).sees("We don't know this invitation")
	b.open("/signup?invite="+token+"&tenant="+ada.team).sees("You are invited to join Trading", "Viewer").looks("invitation-by-signup")
	b.fill("Your name", "Vera").fill("Password", password).press("Open account and join").sees("You have joined", "Active members", "Vera", "Ada")
	b.run(`document.querySelector(".switch").click()`)
	b.sees("Your tenants", "My tenant") // and has one of their own
}

func TestInvitationWithSites(t *testing.T) {
	s := serve(t, "dzbuild")
	ada := s.signUp("Ada")
	s.plan(ada.team, "enterprise")
	var sites []any
	for _, name := range []string{"North", hostile(200)} {
		site := s.call("POST", "/v1/teams/"+ada.team+"/sites", ada.token, map[string]any{"name": name})
		sites = append(sites, map[string]any{"site_id": site["id"], "role": "manager"})
	}
	link := s.invite(ada, newEmail(), "operator", map[string]any{"sites": sites})
	s.browse().open(link).sees("Operator", "Stores", "North Manager", "<script>alert(1)</script>").looks("invitation-sites")
}

func TestOwnershipTransfer(t *testing.T) {
	s := serve(t, "dzbuild")
	olga := s.signUp("Olga")
	s.plan(olga.team, "enterprise")
	max := s.join(olga, hostile(200), "manager", nil)
	s.call("PATCH", "/v1/teams/"+olga.team, olga.token, map[string]any{"name": "Build"})
	ask := func() string {
		return field(s.call("POST", "/v1/teams/"+olga.team+"/ownership-transfers", olga.token, map[string]any{"user_id": max.id, "password": password}), "id")
	}

	id := ask()
	link := s.mailed(max.email, "/ownership/")
	b := s.browse().open(link).sees("Take over the ownership of Build", "Olga becomes Admin", "deleting the account", "in 3 days").looks("ownership-sign-in")
	s.call("DELETE", "/v1/teams/"+olga.team+"/ownership-transfers/"+id, olga.token, nil)
	b.open(link).sees("This transfer is over", "has been cancelled").looks("ownership-cancelled")

	cancelled := link
	ask()
	link = s.mailed(max.email, "/ownership/", cancelled)
	b.open(cancelled).sees("We don't know this link").looks("ownership-unknown")
	b.open(link).press("Sign in to confirm").fill("E-mail", olga.email).fill("Password", password).press("Sign in")
	b.sees("Wrong account", "Only "+max.email+" can confirm this").looks("ownership-wrong-account")
	b.press("Sign out and go on").press("Sign in to confirm").fill("E-mail", max.email).fill("Password", password).press("Sign in")
	b.sees("Become the owner").looks("ownership").press("Become the owner").sees("You are the owner of", "Active members")
	b.open(link).sees("This transfer is over", "has been confirmed already").looks("ownership-confirmed")
}

// TestEntryWithoutJavaScript goes the ways in by forms and links alone.
func TestEntryWithoutJavaScript(t *testing.T) {
	s := serve(t, "distribu")
	ada := s.signUp("Ada")
	email := newEmail()
	link := s.invite(ada, email, "MEMBER", nil)
	visitor := s.visitor()
	once := regexp.MustCompile(`name="once" value="([^"]+)"`)
	post := func(path string, form url.Values, status int, said ...string) {
		t.Helper()
		if found := once.FindStringSubmatch(s.read(visitor, path)); found != nil {
			form.Set("once", found[1])
		}
		code, text := s.post(visitor, path, form)
		if code != status {
			t.Fatalf("%s answered %d\n%s", path, code, text)
		}
		for _, words := range said {
			if !strings.Contains(text, words) {
				t.Errorf("%s doesn't say %s:\n%s", path, words, text)
			}
		}
	}
	post(link, url.Values{"name": {"Grace"}, "password": {"short"}}, 422, `value="Grace"`, "At least 12", email)
	post(link, url.Values{"name": {"Grace"}, "password": {password}}, 200, "You have joined", "Active members")
	code, _ := s.post(visitor, "/signout", url.Values{})
	if code != 200 {
		t.Errorf("signing out answers %d", code)
	}
	post("/signin?next=/dashboard/account", url.Values{"email": {email}, "password": {"wrong wrong wrong"}}, 401, "wrong", email)
	post("/signin", url.Values{"email": {email}, "password": {password}, "next": {"/dashboard/account"}}, 200, "Where you are signed in")
	if header := s.head(visitor, link); header.Get("Referrer-Policy") != "no-referrer" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page of an invitation has %v", header)
	}
}

// post sends a form as a browser without JavaScript does, and follows where it
// leads.
func (s *site) post(client *http.Client, path string, form url.Values) (status int, text string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, html.UnescapeString(string(content))
}

// head are the headers of a page.
func (s *site) head(client *http.Client, path string) http.Header {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodHead, s.url+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	response.Body.Close()
	return response.Header
}
