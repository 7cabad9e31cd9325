package dashboard_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// hits presses a key where the focus is.
func (b *tab) hits(key string) *tab {
	b.t.Helper()
	b.do(chromedp.KeyEvent(key))
	return b
}

// active is the team that somebody's pages are about.
func (s *site) active(who person) string {
	s.t.Helper()
	return field(s.call("GET", "/v1/me", who.token, nil), "active_team_id")
}

// switchTo picks a team in the side bar.
func (b *tab) switchTo(from, to string) *tab {
	b.t.Helper()
	b.pressTeam(from, ".switch").pressTeam(to, "#teams button")
	b.until("for the page of "+to, fmt.Sprintf(`document.querySelector(".switch .clip").innerText === %q`, to))
	return b
}

// pressTeam presses what has a team's name beside its picture.
func (b *tab) pressTeam(name, selector string) *tab {
	b.t.Helper()
	target := chromedp.JSPath(fmt.Sprintf(`[...document.querySelectorAll(%q)].find(e => e.querySelector(".clip").innerText === %q)`, selector, name))
	b.do(chromedp.WaitVisible(target), chromedp.Click(target))
	return b
}

// clicks is for what may stand below the edge of a card.
func (b *tab) clicks(selector string) *tab {
	b.t.Helper()
	b.run(fmt.Sprintf(`document.querySelector(%q).click()`, selector))
	return b
}

// enters signs in somebody whose first page doesn't have their name.
func (b *tab) enters(who person) *tab {
	b.t.Helper()
	return b.open("/signin").fill("E-mail", who.email).fill("Password", password).press("Sign in").sees("Settings")
}

func TestSwitchingTenants(t *testing.T) {
	s := serve(t, "tenants")
	ada := s.signUp("Ada Lovelace")
	b := s.browse().signIn(ada)
	home := "My tenant"
	b.pressTeam(home, ".switch").press("New tenant").sees("Name of the tenant").looks("new-team")
	b.fill("Name of the tenant", " ").press("Create tenant").sees("Name of the tenant")
	b.open("/dashboard/new").fill("Name of the tenant", "Trading desk").press("Create tenant").sees("you are its owner", "Trading desk")
	bob := s.signUp("Bob Noyce")
	s.call("PATCH", "/v1/teams/"+bob.team, bob.token, map[string]any{"name": "Bob & partners"})
	invitation := s.call("POST", "/v1/teams/"+bob.team+"/invitations", bob.token, map[string]any{"email": ada.email, "role": "viewer"})
	link := field(invitation, "url")
	s.call("POST", "/v1/invitations/"+link[strings.LastIndexByte(link, '/')+1:]+"/accept", ada.token, map[string]any{})

	// Of the three, the chosen one is kept over a sign-in.
	b.open("/dashboard").switchTo("Trading desk", "Bob & partners")
	b.pressTeam("Bob & partners", ".switch").sees("Your tenants", "Trading desk", home).looks("switcher")
	b.press("Your account").press("Sign out").sees("Sign in to Tenants")
	b.signIn(ada)
	b.until("for the tenant of before", `document.querySelector(".switch .clip").innerText === "Bob & partners"`)

	// Once she has left that one, another is there.
	b.open("/dashboard/settings").press("Leave").sees("come back only by a new invitation").looks("leave").press("Leave").sees("You left.").seesNot("Bob & partners")
	if left := s.active(ada); left == bob.team || left == "" {
		t.Errorf("the active tenant is %q", left)
	}
	// What is sent from a window that shows another tenant than the active one
	// does nothing to either.
	b.open("/dashboard/settings")
	s.call("PUT", "/v1/me/active-team", ada.token, map[string]any{"team_id": ada.team})
	other := s.browse().signIn(ada)
	other.open("/dashboard/settings").until("for the form", `document.querySelector("[name=name]").value === "My tenant"`)
	other.fill("Name", "Meant for the first")
	b.switchTo(home, "Trading desk")
	other.press("Save").sees("Nothing was done")
	for _, team := range s.call("GET", "/v1/me", ada.token, nil)["teams"].([]any) {
		if name := field(team.(map[string]any), "name"); name == "Meant for the first" {
			t.Error("a form was taken for another team")
		}
	}
	b.switchTo("Trading desk", home)

	// And so it is once the active one is deleted.
	b.switchTo(home, "Trading desk")
	b.open("/dashboard/settings").press("Delete").sees("To go on, type its name").looks("delete-team")
	b.fill("Name of the tenant", "Trading").press("Delete for good").sees("Is not the name of this tenant.")
	b.fill("Name of the tenant", "Trading desk").press("Delete for good").sees("It was deleted.", home)
}

func TestNobodyIsLeftWithoutAWay(t *testing.T) {
	s := serve(t, "distribu")
	olga := s.signUp("Olga Owner")
	max := s.join(olga, "Max Member", "MEMBER", nil)
	b := s.browse().signIn(max)
	b.open("/dashboard/settings").sees("Members can't leave by themselves").looks("settings-member")
	s.call("DELETE", "/v1/teams/"+olga.team+"/members/"+max.id, olga.token, nil)
	b.sees("Your access has ended").looks("ended").press("Go on").sees("You are in no company").looks("no-team")
	b.fill("Name of the company", "Max & sons").press("Create company").sees("you are its owner", "Max & sons")
	if s.active(max) == olga.team {
		t.Error("the page is that of the company that he was removed from")
	}
}

func TestDefiningRoles(t *testing.T) {
	s := serve(t, "tenants")
	ada := s.signUp("Ada Lovelace")
	vera := s.join(ada, "Vera Rubin", "viewer", nil)
	ann := s.join(ada, "Ann Admin", "admin", nil)
	b := s.browse().signIn(ada).open("/dashboard/settings/roles").sees("Trade Offers", "Manager").looks("roles")
	b.press("New role").sees("Begin with").press("Viewer").until("the permissions of a viewer", `document.querySelector("dialog [value='chat:read']").checked`)
	b.looks("role-new")
	b.fill("Level", "2").fill("Name", "Manager").press("Define role").sees("Another one has this name already")
	b.fill("Name", "Trade desk").press("Define role").sees("The role was defined", "Trade desk", "Your own").looks("roles-own")

	s.call("PUT", "/v1/teams/"+ada.team+"/members/"+vera.id+"/role", ada.token, map[string]any{"role": "trade_desk"})
	s.call("POST", "/v1/teams/"+ada.team+"/api-keys", ada.token, map[string]any{"name": "Importer", "role": "trade_desk"})
	b.press("Edit Trade desk").sees("Preview").clicks("dialog [value='wallet:read']").clicks("dialog [value='chat:read']")
	b.press("Preview").sees("What this would do", "Vera Rubin", "Importer", "+ Wallet: read", "− Chat in trades: read").looks("role-preview")
	if held := s.held(ada, "trade_desk"); strings.Contains(held, "wallet:read") {
		t.Error("the preview changed the role")
	}
	b.press("Go on editing").sees("Preview").until("the box to be ticked still", `document.querySelector("dialog [value='wallet:read']").checked`)
	b.press("Preview").sees("What this would do").press("Save").sees("The role was changed")
	if held := s.held(ada, "trade_desk"); !strings.Contains(held, "wallet:read") || strings.Contains(held, "chat:read") {
		t.Errorf("the role has %s", held)
	}

	b.press("Delete Trade desk").sees("is in use", "Vera Rubin", "1 API key").looks("role-delete")
	b.choose("They get instead", "member").press("Delete role").sees("The role was deleted").seesNot("Trade desk")
	if role := field(s.call("GET", "/v1/teams/"+ada.team+"/members/"+vera.id, ada.token, nil), "role"); role != "member" {
		t.Errorf("Vera is %s", role)
	}

	// Only the owner defines roles; an admin sees them.
	s.call("PUT", "/v1/me/active-team", ann.token, map[string]any{"team_id": ada.team})
	b = s.browse().signIn(ann).open("/dashboard/settings/roles").sees("What each may do").seesNot("New role")
	b.open("/dashboard/settings/roles/new").sees("Not permitted")
}

// held are the permissions of a role.
func (s *site) held(by person, role string) string {
	s.t.Helper()
	for _, item := range s.call("GET", "/v1/teams/"+by.team+"/roles", by.token, nil)["data"].([]any) {
		if item := item.(map[string]any); item["key"] == role {
			return fmt.Sprint(item["permissions"])
		}
	}
	return ""
}

func TestStores(t *testing.T) {
	s := serve(t, "dzbuild")
	olga := s.signUp("Olga Owner")
	s.plan(olga.team, "enterprise")
	b := s.browse().signIn(olga).open("/dashboard/settings/sites").sees("No stores yet").looks("sites-none")
	b.press("Add store").sees("With the first store").looks("site-new")
	b.fill("Name of the store", "Brand A").press("Add store").sees("The store was added", "Brand A")
	b.press("Add store").fill("Name of the store", "Brand A").press("Add store").sees("Another one has this name already")
	b.fill("Name of the store", "Brand B").press("Add store").sees("Brand B")
	sites := s.call("GET", "/v1/teams/"+olga.team+"/sites", olga.token, nil)["data"].([]any)
	first := sites[0].(map[string]any)["id"].(string)
	max := s.join(olga, "Max Operator", "operator", map[string]any{"sites": []any{map[string]any{"site_id": first, "role": "operator"}}})
	b.open("/dashboard/settings/sites").looks("sites")
	b.press("Rename Brand B").sees("Save").looks("site-rename").fill("Name of the store", "Brand C").press("Save").sees("The store was renamed", "Brand C")

	// One who works on a store sees that alone, and comes here first: they can't
	// look at the team.
	his := s.browse().enters(max).sees("The stores that you reach", "Brand A").seesNot("Brand C")
	his.looks("sites-own").open("/dashboard/settings").sees("Only the owner can hand it over", "Your role doesn't let you").looks("settings-operator")

	b.press("Remove Brand A").sees("1 member loses their role on it").looks("site-remove")
	b.press("Remove store").sees("The store was removed").seesNot("Brand A")
	his.open("/dashboard/settings/sites").sees("You were granted none so far").looks("sites-own-none")
}

func TestRequiringTwoFactorAndHandingOver(t *testing.T) {
	s := serve(t, "dzbuild")
	olga := s.signUp("Olga Owner")
	b := s.browse().signIn(olga).open("/dashboard/settings").sees("The plan Free doesn't include it; Unlimited and Enterprise do.").looks("settings-free")
	b.press("Transfer ownership").sees("Nobody to hand it to yet").looks("transfer-nobody")
	s.plan(olga.team, "unlimited")
	max := s.join(olga, "Max Manager", "manager", nil)
	b.open("/dashboard/settings").press("Change").sees("Required of").looks("two-factor")
	b.tick("Some roles").sees("Manager").looks("two-factor-roles").press("Save").sees("Must name a role.")
	b.tick("Manager").fill("Days to set it up", "10").press("Save").sees("What is required of whom was changed", "Those who are Manager sign in with a second factor").looks("settings")
	b.press("Change").tick("Everyone").press("Save").sees("Set it up for your account")
	s.plan(olga.team, "pro")
	b.open("/dashboard/settings").sees("Not in force").press("Change").tick("Nobody").press("Save").sees("Nobody has to")

	// The owner's password, then the other's link.
	b.press("Transfer ownership").sees("New owner", max.email).looks("transfer")
	b.tick("Max Manager").fill("Your password", "not the password").press("Send the link").sees("password").looks("transfer-refused")
	b.tick("Max Manager").fill("Your password", password).press("Send the link").sees("You stay the owner until they confirm", "Waiting for Max Manager").looks("settings-pending")
	his := s.browse().enters(max)
	if mail := his.open("/dashboard/settings").sees("You were asked to take over").looks("settings-asked"); mail.at() != "/dashboard/settings" {
		t.Error(mail.at())
	}
	link := s.mailed(max.email, "/ownership/")
	b.press("Cancel the transfer").sees("works no more").looks("transfer-cancel").press("Cancel the transfer").sees("The transfer was cancelled").seesNot("Waiting for")
	b.press("Transfer ownership").tick("Max Manager").fill("Your password", password).press("Send the link").sees("Waiting for Max Manager")
	again := s.mailed(max.email, "/ownership/", link)
	s.call("POST", "/v1/ownership-transfers/"+strings.TrimPrefix(again, "/ownership/")+"/confirm", max.token, nil)
	b.seesNot("Waiting for").sees("Only the owner can hand it over")
}

func TestKeys(t *testing.T) {
	s := serve(t, "distribu")
	olga := s.signUp("Olga Owner")
	ada := s.join(olga, "Ada Admin", "ADMIN", nil)
	b := s.browse().signIn(ada).open("/dashboard/settings/api-keys").sees("No API keys yet").looks("keys-none")
	b.press("Create key").sees("Keys can't own a company").fill("Name", "Import").tick("Member").choose("Expires", "date").sees("Last day").looks("key-new")
	b.press("Create key").sees("Must be a date.").looks("key-refused")
	b.choose("Expires", "30").press("Create key").sees("Your new key", "It isn't shown again").looks("key-made")
	secret := eval[string](b, `document.getElementById("secret").value`)
	if role := field(s.call("GET", "/v1/teams/"+olga.team, secret, nil), "role"); role != "MEMBER" {
		t.Errorf("the key acts as %q", role)
	}
	b.press("Done").sees("Import", "by Ada Admin", "in 3").looks("keys")
	if strings.Contains(b.text(), secret) {
		t.Error("the secret is in the list")
	}
	b.press("Revoke Import").sees("refused from its next request on").looks("key-revoke").press("Revoke key").sees("The key was revoked", "No API keys yet")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/teams/"+olga.team, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+secret)
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("the revoked key: %v %v", response, err)
	}
	response.Body.Close()

	max := s.join(olga, "Max Member", "MEMBER", nil)
	s.browse().signIn(max).open("/dashboard/settings/api-keys").sees("Not permitted").looks("keys-denied")
}

func TestPlansByTheOperator(t *testing.T) {
	s := serve(t, "distribu")
	olga := s.signUp("Olga Owner")
	b := s.browse().signIn(olga).open("/dashboard/subscribe").sees("Your plan: Starter", "10 members, with the owner", "You fit, with 9 seats free").looks("plan")
	b.press("Change to Growth").sees("roster team set-plan " + olga.team + " growth").looks("plan-change")
	s.plan(olga.team, "growth")
	b.open("/dashboard/subscribe").sees("Your plan: Growth")
	s.plan(olga.team, "scale")
	b.sees("Your plan: Scale", "1 of 500 seats taken") // by itself
	b.open("/dashboard/settings").sees("Contact support to hand it over").looks("settings-company")
	b.open("/dashboard/settings/ownership").sees("Not permitted", "Contact support")
}

func TestTourOfThePlans(t *testing.T) {
	s := serve(t, "dzbuild", "--billing-url", "https://pay.example.com/change?from=roster")
	olga := s.signUp("Olga Owner")
	b := s.browse().signIn(olga).open("/dashboard/subscribe").sees("The owner only", "Renew Free")
	link := eval[string](b, `document.querySelector("#plan-pro a").href`)
	if want := "https://pay.example.com/change?from=roster&plan=pro&team=" + olga.team; link != want {
		t.Errorf("the button leads to %s, want %s", link, want)
	}
	at := func(selector string) {
		t.Helper()
		b.until("for the mark at "+selector, fmt.Sprintf(`document.querySelector(".tour-at")?.matches(%q)`, selector))
	}
	b.run(`document.querySelector(".tour-start").focus()`)
	b.hits(kb.Enter).sees("Step 1 of 4").looks("tour")
	at("#plan-now")
	b.hits(kb.Enter).sees("Step 2 of 4").looks("tour-2")
	at("#plan-all")
	b.hits(kb.ArrowRight).sees("Step 3 of 4", "It leads to where you pay").looks("tour-3")
	at("#plan-pro .plan-foot")
	b.press("Back").sees("Step 2 of 4")
	b.hits(kb.Escape).seesNot("Step 2 of 4")
	b.until("for the focus to be back", `document.activeElement.matches(".tour-start") && !document.querySelector(".tour-at, .tour")`)
	b.press("▶ How to renew").press("Next").press("Next").press("Next").sees("Step 4 of 4").press("Done").seesNot("Step 4")
	// A change of the team renews the page under the tour.
	b.press("▶ How to renew").sees("Step 1 of 4")
	s.plan(olga.team, "pro")
	b.sees("Your plan: Pro", "Step 1 of 4")
	at("#plan-now")
}

func TestHostileNamesInSettings(t *testing.T) {
	s := serve(t, "default")
	ada := s.signUp("Ada Lovelace")
	s.call("PATCH", "/v1/teams/"+ada.team, ada.token, map[string]any{"name": hostile(90)})
	team := "/v1/teams/" + ada.team
	s.call("PATCH", "/v1/me", ada.token, map[string]any{"name": hostile(90)})
	key := s.call("POST", team+"/api-keys", ada.token, map[string]any{"name": hostile(90), "role": "admin"})
	site := s.call("POST", team+"/sites", ada.token, map[string]any{"name": hostile(90)})
	s.call("POST", team+"/roles", ada.token, map[string]any{"key": "odd", "name": hostile(90), "description": hostile(190), "level": 30, "permissions": []string{"team:read", "orders:read"}})
	bob := s.join(ada, hostile(200), "odd", map[string]any{"sites": []any{map[string]any{"site_id": field(site, "id"), "role": "odd"}}})
	s.call("POST", team+"/ownership-transfers", ada.token, map[string]any{"user_id": bob.id, "password": password})
	b := s.browse().enters(ada)
	for name, page := range map[string]string{
		"settings": "/dashboard/settings", "leave": "/dashboard/settings/delete", "roles": "/dashboard/settings/roles",
		"role-edit": "/dashboard/settings/roles/odd/edit", "role-delete": "/dashboard/settings/roles/odd/delete",
		"sites": "/dashboard/settings/sites", "site-remove": "/dashboard/settings/sites/" + field(site, "id") + "/remove",
		"keys": "/dashboard/settings/api-keys", "key-revoke": "/dashboard/settings/api-keys/" + field(key, "id") + "/revoke",
		"new": "/dashboard/new", "plan": "/dashboard/subscribe",
	} {
		b.open(page).looks("hostile-" + name)
		// The text behind a name still runs from left to right.
		if turned := eval[string](b, `[...document.querySelectorAll("bdi")].map(e => e.nextSibling).filter(n => {
			if (n?.nodeType !== Node.TEXT_NODE || !n.parentElement.checkVisibility()) return false;
			const words = n.textContent.trimStart(), from = n.textContent.length - words.length;
			if (words.length < 3) return false;
			const at = i => { const r = document.createRange(); r.setStart(n, from + i); r.setEnd(n, from + i + 1); return r.getBoundingClientRect(); };
			return at(0).top === at(1).top && at(0).left > at(1).left;
		}).map(n => n.textContent).join("|")`); turned != "" {
			t.Errorf("%s: a name turns %q around", page, turned)
		}
		if eval[bool](b, `!document.body.textContent.includes("<script>alert(1)</script>") || [...document.scripts].some(s => s.textContent.includes("alert"))`) {
			t.Errorf("%s doesn't show the name as it is", page)
		}
	}
	b.open("/dashboard/settings/roles/odd/edit").clicks("[value='orders:update']")
	b.press("Preview").sees("Orders: update").looks("hostile-role-preview")
	// Even such a team can be deleted by typing what can be seen of its name.
	b.open("/dashboard/settings/delete").fill("Name of the team", hostile(90)).press("Delete for good").sees("You are in no team")
}

// Everything works without JavaScript: for a client that does nothing but follow
// links and post forms.
func TestSettingsWithoutScripts(t *testing.T) {
	s := serve(t, "default")
	ada := s.signUp("Ada Lovelace")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	post := func(path string, form url.Values) string {
		t.Helper()
		page := s.read(browser, path)
		if once := regexp.MustCompile(`name="once" value="([^"]+)"`).FindStringSubmatch(page); once != nil {
			form.Set("once", once[1])
		}
		response, err := browser.PostForm(s.url+path, form)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v\n%s", path, response.StatusCode, err, text)
		}
		return string(text)
	}
	says := func(text string, wanted ...string) {
		t.Helper()
		for _, want := range wanted {
			if !strings.Contains(text, want) {
				t.Errorf("lacks %q:\n%s", want, text)
			}
		}
	}
	post("/signin", url.Values{"email": {ada.email}, "password": {password}})
	says(post("/dashboard/settings", url.Values{"name": {"Ferns"}}), "The name was changed.", `value="Ferns"`)
	says(post("/dashboard/settings/sites/new", url.Values{"name": {"North"}}), "The project was added.", "North")
	says(post("/dashboard/settings/roles/new", url.Values{"name": {"Night shift"}, "level": {"30"}, "permissions": {"orders:read", "orders:update"}}), "The role was defined", "Night shift")
	edit := "/dashboard/settings/roles/night_shift/edit"
	change := url.Values{"name": {"Night shift"}, "level": {"30"}, "permissions": {"orders:read"}}
	says(post(edit, change), "What this would do", "Nobody gains or loses anything")
	change.Set("step", "save")
	says(post(edit, change), "The role was changed")
	says(post("/dashboard/settings/roles/night_shift/delete", url.Values{}), "The role was deleted.")
	says(post("/dashboard/settings/api-keys/new", url.Values{"name": {"Import"}, "role": {"viewer"}, "expires": {"never"}}), "Your new key", "It isn't shown again", `value="rk_`)
	says(post("/dashboard/settings/two-factor", url.Values{"required": {"roles"}, "roles": {"viewer"}, "grace_days": {"0"}}), "Those who are Viewer sign in with a second factor.")
	says(s.read(browser, "/dashboard/subscribe"), "<summary class=\"button\">▶ How to renew</summary>", "Compare the plans.")
	says(post("/dashboard/new", url.Values{"name": {"Mosses"}}), "Mosses", "you are its owner")
	says(post("/dashboard/settings/delete", url.Values{"name": {"Mosses"}}), "It was deleted.")

}
