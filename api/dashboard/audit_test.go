package dashboard_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// history is an account with stores in which a lot has happened.
type history struct {
	*site
	ada, grace, hopper, evil person
	north, south             string
	key                      string // secret of an API key
	gone                     string // when Hopper was still there, and Grace an operator
}

func (s *site) now(who person) string {
	log := s.call("GET", "/v1/teams/"+who.team+"/audit-events?limit=1", who.token, nil)
	return log["data"].([]any)[0].(map[string]any)["at"].(string)
}

// busy brings about what the pages are to show.
func busy(t *testing.T) *history {
	s := serve(t, "dzbuild")
	h := &history{site: s, ada: s.signUp("Ada Lovelace")}
	team := "/v1/teams/" + h.ada.team
	s.plan(h.ada.team, "enterprise")
	h.north = field(s.call("POST", team+"/sites", h.ada.token, map[string]any{"name": "North"}), "id")
	h.south = field(s.call("POST", team+"/sites", h.ada.token, map[string]any{"name": hostile(60)}), "id")
	on := func(site, role string) map[string]any { return map[string]any{"site_id": site, "role": role} }
	h.grace = s.join(h.ada, "Grace Murray", "operator", map[string]any{"sites": []any{on(h.north, "operator")}})
	h.hopper = s.join(h.ada, "Brewster Hopper", "read_only", nil)
	h.evil = s.join(h.ada, hostile(200), "read_only", nil)
	h.gone = s.now(h.ada)
	s.call("PUT", team+"/members/"+h.grace.id+"/role", h.ada.token, map[string]any{"role": "manager"})
	s.call("PUT", team+"/members/"+h.grace.id+"/sites", h.ada.token, map[string]any{"sites": []any{on(h.north, "manager"), on(h.south, "read_only")}})
	s.call("DELETE", team+"/members/"+h.hopper.id, h.ada.token, nil)
	s.call("POST", team+"/invitations", h.ada.token, map[string]any{"email": "late@example.com", "role": "manager", "sites": []any{on(h.north, "manager")}})
	h.key = field(s.call("POST", team+"/api-keys", h.ada.token, map[string]any{"name": "Shop", "role": "admin"}), "secret")
	s.call("POST", team+"/audit-events", h.key, map[string]any{
		"action": "shop.order.shipped", "target": map[string]any{"type": "order", "id": "1042", "name": hostile(200)},
		"detail": map[string]any{"parcel": "RR 123", "note": hostile(200)}, "on_behalf_of": h.grace.id,
	})
	return h
}

// enter signs somebody in on the way to a page.
func (b *tab) enter(who person, path string) *tab {
	b.t.Helper()
	return b.open("/signin?next="+url.QueryEscape(path)).fill("E-mail", who.email).fill("Password", password).press("Sign in")
}

// rows are the sentences that the log shows.
func (b *tab) rows() []string {
	return eval[[]string](b, `[...document.querySelectorAll("#log .sentence")].map(e => e.innerText.replace(/\s+/g, " "))`)
}

// wantRows waits until the log shows so many rows and each holds the text.
func (b *tab) wantRows(n int, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("for %d rows with %s", n, text), fmt.Sprintf(`(rows => rows.length === %d && rows.every(r => r.innerText.includes(%q)))([...document.querySelectorAll("#log tbody tr")])`, n, text))
}

func TestAuditLog(t *testing.T) {
	h := busy(t)
	b := h.browse().signIn(h.ada)
	b.press("Audit log").sees(
		"Ada Lovelace changed Grace Murray’s role from Operator to Manager", "Ada Lovelace added the store North",
		"Ada Lovelace removed Brewster Hopper, who was Read-only", "Ada Lovelace invited late@example.com as Manager, with Manager on North",
		"Ada Lovelace created the API key Shop as Admin", "Grace Murray by Shop: shop.order.shipped · Order", "127.0.0.1",
	).looks("audit")
	if rows := b.rows(); len(rows) < 15 || !strings.HasPrefix(rows[0], "Ada Lovelace signed in") {
		t.Errorf("the rows are not the newest first: %q", rows)
	}

	// A filter acts at once and lives in the address bar.
	b.choose("Action", "role.changed").wantRows(1, "role from Operator to Manager")
	if at := b.at(); at != "/dashboard/audit?action=role.changed" {
		t.Errorf("the address bar has %s", at)
	}
	b.choose("Member", h.grace.id).wantRows(1, "Grace")
	b.run(`(s => { s.selectedIndex = 0; s.dispatchEvent(new Event("change", {bubbles: true})); })(document.getElementById("f-action"))`)
	b.until("until all of Grace's are there", `document.querySelectorAll("#log tbody tr").length > 4`)
	b.choose("Their part", "actor").seesNot("changed Grace").sees("Grace Murray joined as Operator").seesNot("Grace Murray by Shop")
	if at := b.at(); at != "/dashboard/audit?as=actor&member="+h.grace.id {
		t.Errorf("the address bar has %s", at)
	}
	b.choose("Member", h.hopper.id).choose("Their part", "target").sees("removed Brewster Hopper").looks("audit-filtered")
	b.press("Clear filters").sees("Everything that happened")

	// An entry opens to before and after, over the page and as a page.
	b.press("Ada Lovelace changed Grace Murray’s stores").sees("Before", "After", "North Manager", "North Operator", "Turn it back").looks("audit-entry")
	b.press("As it was recorded").sees("sites.changed", "evt_").press("Close")
	path := eval[string](b, `[...document.querySelectorAll("#log a.row-link")].find(a => a.innerText.includes("shop.order.shipped")).getAttribute("href")`)
	b.open(path).sees("RR 123", "For", "Grace Murray", "Go-http-client").looks("audit-entry-host")

	// What was done can be turned back, once.
	b.open("/dashboard/audit?action=role.changed").press("Ada Lovelace changed Grace Murray’s role").press("Turn it back").sees("The old role comes back").press("Turn it back").
		sees("Ada Lovelace changed Grace Murray’s role from Manager to Operator")
	b.open("/dashboard/audit?action=role.changed&to=2020-01-01").sees("Nothing matches").looks("audit-no-match")
	b.open("/dashboard/audit?from=soon").sees("Some fields are not valid", "Must be a time")
}

// Every filter of the interface works from the address bar, in any combination.
func TestAuditFiltersFromTheAddressBar(t *testing.T) {
	h := busy(t)
	b := h.browse().signIn(h.ada)
	today := h.now(h.ada)[:10]
	for _, c := range []struct {
		query string
		want  []string
		not   []string
	}{
		{"member=" + h.hopper.id, []string{"Brewster Hopper joined", "removed Brewster Hopper"}, []string{"role from"}},
		{"actor=" + h.grace.id, []string{"Grace Murray joined"}, []string{"role from"}},
		{"target=" + h.grace.id, []string{"role from", "Grace Murray joined"}, []string{"added the store"}},
		{"actor=" + h.ada.id + "&target=" + h.grace.id, []string{"role from"}, []string{"Grace Murray joined"}},
		{"action=site.added", []string{"added the store North"}, []string{"joined"}},
		{"action=site.added,member.joined&from=" + today + "&to=" + today, []string{"added the store North", "joined"}, []string{"role from"}},
		{"action=shop.order.shipped", []string{"shop.order.shipped"}, []string{"joined"}},
		{"member=" + h.grace.id + "&action=role.changed&from=" + today + "&tz=Europe/Zurich", []string{"role from"}, []string{"joined", "stores:"}},
		{"to=" + url.QueryEscape(h.gone), []string{"joined", "added the store"}, []string{"role from", "removed"}},
		{"from=" + today + "&to=2019-01-01", []string{"Nothing matches"}, nil},
	} {
		b.open("/dashboard/audit?" + c.query).sees(c.want...)
		rows := strings.Join(b.rows(), "\n")
		for _, text := range c.not {
			if strings.Contains(rows, text) {
				t.Errorf("%s shows %s:\n%s", c.query, text, rows)
			}
		}
		// The controls show what is filtered.
		if _, member, ok := strings.Cut(c.query, "member="); ok {
			member, _, _ = strings.Cut(member, "&")
			if got := eval[string](b, `document.getElementById("f-member").value`); got != member {
				t.Errorf("%s shows the member %s", c.query, got)
			}
		}
	}
}

// jar is somebody's cookies without a browser.
func (s *site) jar(who person) *http.Request {
	s.t.Helper()
	form := url.Values{"email": {who.email}, "password": {password}}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.PostForm(s.url+"/signin", form)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, cookie := range response.Cookies() {
		request.AddCookie(cookie)
	}
	return request
}

// The export links give what the filters let through, in both formats, and
// pages of it are reached by "Older".
func TestAuditExportAndPages(t *testing.T) {
	h := busy(t)
	team := "/v1/teams/" + h.ada.team
	for i := range 60 {
		h.call("POST", team+"/audit-events", h.key, map[string]any{"action": "shop.order.packed", "target": map[string]any{"type": "order", "id": fmt.Sprint(i)}})
	}
	b := h.browse().signIn(h.ada).open("/dashboard/audit?action=shop.order.packed").wantsOlder()
	b.press("Older").wantRows(10, "shop.order.packed")
	b.press("Newest").wantRows(50, "shop.order.packed")

	b.open("/dashboard/audit?action=role.changed,site.added&member=" + h.grace.id)
	download := func(name string) string {
		b.press("Export")
		href := eval[string](b, fmt.Sprintf(`[...document.querySelectorAll("#export a[download]")].find(a => a.innerText.startsWith(%q)).getAttribute("href")`, name))
		request := h.jar(h.ada)
		target, err := request.URL.Parse(h.url + href)
		if err != nil {
			t.Fatal(err)
		}
		request.URL = target
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Disposition"), "attachment") {
			t.Fatalf("%s: %d %v %s", href, response.StatusCode, err, text)
		}
		b.press("Export")
		return string(text)
	}
	rows, err := csv.NewReader(strings.NewReader(download("CSV"))).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][3] != "role.changed" {
		t.Errorf("the CSV has %q, %v", rows, err)
	}
	lines := strings.Split(strings.TrimSpace(download("JSON")), "\n")
	var entry struct{ Action string }
	if err := json.Unmarshal([]byte(lines[0]), &entry); err != nil || len(lines) != 1 || entry.Action != "role.changed" {
		t.Errorf("the JSON Lines are %q, %v", lines, err)
	}
}

func (b *tab) wantsOlder() *tab {
	b.t.Helper()
	b.wantRows(50, "shop.order.packed")
	return b
}

// Whoever may not read the log has no link to it, and gets no page of it.
func TestAuditIsForThoseWhoMayReadIt(t *testing.T) {
	h := busy(t)
	b := h.browse().enter(h.grace, "/dashboard/team/members/"+h.grace.id+"/why").sees("Why can Grace Murray?")
	if strings.Contains(eval[string](b, `document.querySelector("nav").innerText`), "Audit log") {
		t.Error("the side bar leads to the log")
	}
	for _, path := range []string{"/dashboard/audit", "/dashboard/audit/1", "/dashboard/audit/past?as_of=" + h.gone} {
		b.open(path).sees("Not permitted")
	}
	b.open("/dashboard/audit").looks("audit-refused")
	a := h.browse().signIn(h.ada)
	for _, path := range []string{"/dashboard/audit/1", "/dashboard/audit/99999999", "/dashboard/audit/none"} {
		a.open(path).sees("Not found")
	}
}

// The pages do all that they do without a script too.
func TestAuditWithoutScript(t *testing.T) {
	h := busy(t)
	b := h.browse().signIn(h.ada).noScripts().open("/dashboard/audit")
	b.run(`document.getElementById("f-action").value = "role.changed"; document.getElementById("f-member").value = ` + fmt.Sprintf("%q", h.grace.id))
	b.press("Apply").wantRows(1, "Grace Murray’s role")
	if at := b.at(); at != "/dashboard/audit?action=role.changed&member="+h.grace.id {
		t.Errorf("the address bar has %s", at)
	}
	b.press("Ada Lovelace changed Grace Murray’s role").sees("Before", "After", "All entries").press("Turn it back").press("Turn it back").sees("Ada Lovelace changed Grace Murray’s role from Manager to Operator")

	b.open("/dashboard/audit/past")
	b.run(`document.getElementById("f-as_of").value = "2001-01-01T00:00:00"`)
	b.press("Show").sees("As of", "Ada Lovelace", "Changed since then").seesNot("Now Grace")
	b.run(`document.querySelector("[data-place]").value = 1000`)
	b.press("Show").sees("As it is now", "Grace Murray")

	b.open("/dashboard/team/members/" + h.grace.id + "/why")
	b.run(`document.getElementById("f-permission").value = "orders:confirm"`)
	b.press("Ask").explains("Allowed", "The role Manager on North has “Orders: confirm”.").sees("How it came about")
	b.open("/dashboard/audit/reviews").press("Start a review").fill("Name", "Autumn").press("Start").sees("Autumn", "0 of 3 decided")
}
