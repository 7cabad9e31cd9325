package dashboard_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// The slider shows the team as it was: somebody who was removed since is there,
// and what has changed since is told, each with its entry.
func TestTheTeamThen(t *testing.T) {
	h := busy(t)
	b := h.browse().signIn(h.ada).open("/dashboard/audit").press("The account then").
		sees("As it is now", "Grace Murray", "late@example.com").seesNot("Brewster Hopper").looks("past-now")

	b.open("/dashboard/audit/past?as_of="+url.QueryEscape(h.gone)).
		sees("As of", "Brewster Hopper", "Changed since then", "Removed", "Added", "Shop", "late@example.com").looks("past")
	members := eval[string](b, `document.querySelector("#then .table").innerText`)
	if !strings.Contains(members, "Brewster Hopper") || !strings.Contains(members, "Operator") || strings.Contains(members, "Manager") {
		t.Errorf("the members then are %s", members)
	}
	// A change leads to its entry.
	href := eval[string](b, `[...document.querySelectorAll(".differences li")].find(l => l.innerText.includes("Brewster Hopper")).querySelector("a").getAttribute("href")`)
	b.open(href).sees("Ada Lovelace removed Brewster Hopper", "Before", "Read-only").press("The account right after this").sees("As of").seesNot("member.removed")
	if strings.Contains(eval[string](b, `document.querySelector("#then .table").innerText`), "Hopper") {
		t.Error("right after the removal they are still there")
	}
	b.press("Earlier change").sees("As of", "Brewster Hopper")

	// Moving the slider shows another moment at once and keeps it in the address.
	b.open("/dashboard/audit/past")
	b.run(`(() => { const r = document.querySelector("[data-place]"); r.value = 0; r.dispatchEvent(new Event("input", {bubbles: true})); })()`)
	b.sees("As of", "Changed since then").until("until the address has the moment", `location.search.startsWith("?as_of=")`)
	if text := eval[string](b, `document.querySelector("#then").innerText`); !strings.Contains(text, "Ada Lovelace") {
		t.Errorf("at the beginning there is %s", text)
	}
	b.run(`(() => { const r = document.querySelector("[data-place]"); r.value = 1000; r.dispatchEvent(new Event("input", {bubbles: true})); })()`)
	b.sees("As it is now").until("until the address is that of now", `location.search === ""`)
	// A link to another moment takes the slider along.
	b.press("Earlier change").sees("As of").until("until the slider has moved", `document.querySelector("[data-place]").value !== "1000"`)
	b.open("/dashboard/audit/past?as_of=yesterday").sees("not a time")
	b.open("/dashboard/audit/past?as_of=2001-01-01").sees("As of", "Ada Lovelace")
}

// explains waits for an answer.
func (b *tab) explains(verdict, reason string) *tab {
	b.t.Helper()
	b.until(fmt.Sprintf("for %s, %s", verdict, reason), fmt.Sprintf(`(e => e && e.querySelector(".verdict-word").innerText.trim() === %q && e.innerText.replace(/\s+/g, " ").includes(%q))(document.querySelector(".verdict"))`, verdict, reason))
	return b
}

// Allowed by role, by a grant on a site and by an override, and denied: each
// with the events that it rests on.
func TestWhyCanThey(t *testing.T) {
	h := busy(t)
	b := h.browse().signIn(h.ada).open("/dashboard/team/members/" + h.grace.id + "/why?permission=orders:confirm&site=" + h.north)
	b.explains("Allowed", "The role Manager on North has “Orders: confirm”.").sees("How it came about", "This decides", "Holds until somebody changes it").looks("why-allowed")
	b.choose("Store", h.south).explains("Not allowed", "doesn’t have “Orders: confirm”").looks("why-denied")
	b.choose("Permission", "billing:update").explains("Not allowed", "The role Manager doesn’t have “Billing: update”.")
	b.choose("Permission", "account:read").explains("Allowed", "The role Manager has “Account: read”.")
	b.open("/dashboard/team/members/"+h.ada.id+"/why?permission=billing:update").explains("Allowed", "The role Owner has “Billing: update”.").sees("Ada Lovelace created the account")
	b.open("/dashboard/team/members/"+h.hopper.id+"/why?permission=reports:read&site="+h.north).explains("Not allowed", "This person is not a member.").sees("Ada Lovelace removed")
	b.open("/dashboard/team/members/"+h.evil.id+"/why?permission=orders:read&site="+h.south).explains("Not allowed", "This member has no role on").looks("why-hostile")
	// The past is judged by what was given then.
	b.open("/dashboard/team/members/"+h.grace.id+"/why?permission=products:update&site="+h.north+"&as_of="+url.QueryEscape(h.gone)).
		explains("Not allowed", "The role Operator on North doesn’t have “Products: update”.").sees("couldn’t")
	b.open("/dashboard/team/members/" + h.grace.id + "/why?permission=orders:read&as_of=2001-01-01T00:00:00Z").sees("didn’t exist then")
	b.open("/dashboard/team/members/"+h.grace.id+"/why?permission=nothing:here").explains("Not allowed", "doesn't have nothing:here")

	// Everybody may ask about themselves, without the log.
	g := h.browse().enter(h.grace, "/dashboard/team/members/"+h.grace.id+"/why?permission=orders:confirm&site="+h.north)
	g.explains("Allowed", "The role Manager on North").sees("How it came about")
	if eval[int](g, `document.querySelectorAll(".timeline a").length`) != 0 {
		t.Error("links lead to entries that the reader may not see")
	}
}

// In a catalog without sites, with overrides.
func TestWhyByOverride(t *testing.T) {
	s := serve(t, "tenants")
	ada := s.signUp("Ada Lovelace")
	grace := s.join(ada, "Grace Murray", "member", nil)
	s.call("PUT", "/v1/teams/"+ada.team+"/members/"+grace.id+"/permissions", ada.token, map[string]any{"granted": []string{"reports:read"}, "revoked": []string{"trades:create"}})
	why := "/dashboard/team/members/" + grace.id + "/why?permission="
	b := s.browse().signIn(ada).open(why+"reports:read").explains("Allowed", "“Reports: read” was granted to this member beyond the role Member.").
		sees("Ada Lovelace changed Grace Murray’s permissions: granted reports:read; revoked trades:create", "This decides").looks("why-override")
	b.open(why+"trades:create").explains("Not allowed", "“Trades: create” was revoked from this member, whatever the role Member has.")
	b.open(why+"trades:read_own").explains("Allowed", "The role Member has “Trades: read own”.")
	if strings.Contains(b.text(), "Store") {
		t.Error("a site is asked for where there are none")
	}
	b.press("Audit log").press("The tenant then").sees("As it is now", "2 overrides")
}
