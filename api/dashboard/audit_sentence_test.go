package dashboard

import (
	"encoding/json"
	"strings"
	"testing"

	"roster/domain"
)

// spelt is a sentence as text, with what people have named in brackets.
func spelt(sentence []word) string {
	var text strings.Builder
	for _, w := range sentence {
		if w.name {
			text.WriteString("[" + w.text + "]")
		} else {
			text.WriteString(w.text)
		}
	}
	return text.String()
}

func entryOf(action, actor, target, before, after string) *logEntry {
	e := &logEntry{
		Action: action, Actor: logActor{Type: "user", ID: "user_" + actor, Name: actor}, Target: logTarget{Type: "member", ID: "user_" + target, Name: target},
		Before: json.RawMessage(before), After: json.RawMessage(after),
	}
	switch kind, _, _ := strings.Cut(action, "."); {
	case kind == "invitation" || action == "member.invited":
		e.Target = logTarget{"invitation", "inv_1", target}
	case action != "role.changed" && (kind == "team" || kind == "site" || kind == "role" || kind == "api_key" || kind == "webhook" || kind == "session" || kind == "passkey"):
		e.Target = logTarget{kind, kind + "_1", target}
	}
	return e
}

func newTeller() *teller {
	t := &teller{
		roles: map[string]string{"admin": "Admin", "member": "Member", "night": "Night shift"},
		sites: map[string]string{"site_n": "North", "site_s": "South"},
	}
	t.labels.team, t.labels.site, t.labels.sites = "account", "store", "stores"
	return t
}

// Every action has a sentence, and the sentence says what the action changed.
func TestEveryActionHasASentence(t *testing.T) {
	cases := []struct{ action, actor, target, before, after, want string }{
		{"team.created", "Ada", "", `null`, `{"name":"Acme","owner":"user_Ada"}`, "[Ada] created the account [Acme]"},
		{"team.renamed", "Ada", "", `{"name":"Acme"}`, `{"name":"Apex"}`, "[Ada] renamed the account from [Acme] to [Apex]"},
		{"team.deleted", "Ada", "", `null`, `null`, "[Ada] deleted the account"},
		{"plan.changed", "Ada", "", `{"plan":"free"}`, `{"plan":"pro"}`, "[Ada] changed the plan from Free to Pro"},
		{"member.invited", "Ada", "grace@example.com", `null`, `{"role":"member","sites":[{"site_id":"site_n","role":"admin"}]}`,
			"[Ada] invited [grace@example.com] as [Member], with [Admin] on [North]"},
		{"invitation.resent", "Ada", "grace@example.com", `null`, `{}`, "[Ada] sent [grace@example.com] a new invitation link"},
		{"invitation.cancelled", "Ada", "grace@example.com", `{}`, `{}`, "[Ada] cancelled the invitation for [grace@example.com]"},
		{"invitation.declined", "Ada", "grace@example.com", `{}`, `{}`, "[grace@example.com] declined the invitation"},
		{"invitation.expired", "Ada", "grace@example.com", `{}`, `{}`, "The invitation for [grace@example.com] expired"},
		{"member.joined", "Grace", "Grace", `null`, `{"role":"member"}`, "[Grace] joined as [Member]"},
		{"role.changed", "Ada", "Grace", `{"role":"member"}`, `{"role":"admin"}`, "[Ada] changed [Grace]’s role from [Member] to [Admin]"},
		{"permissions.changed", "Ada", "Grace", `{"granted":["a:x"],"revoked":["b:y"]}`, `{"granted":["c:z"],"revoked":["b:y"]}`,
			"[Ada] changed [Grace]’s permissions: granted c:z; back to the role for a:x"},
		{"sites.changed", "Ada", "Grace", `{"sites":[{"site_id":"site_s","role":"member"}]}`, `{"sites":[{"site_id":"site_n","role":"night"}]}`,
			"[Ada] changed [Grace]’s stores: [North] as [Night shift], [South] no more"},
		{"member.removed", "Ada", "Grace", `{"role":"member"}`, `null`, "[Ada] removed [Grace], who was [Member]"},
		{"member.left", "Grace", "Grace", `{"role":"member"}`, `null`, "[Grace] left, who was [Member]"},
		{"ownership.transfer_requested", "Ada", "Grace", `null`, `{}`, "[Ada] asked [Grace] to take over the ownership"},
		{"ownership.transfer_cancelled", "Ada", "", `null`, `null`, "[Ada] cancelled the transfer of the ownership"},
		{"ownership.transferred", "Grace", "Grace", `{}`, `{}`, "[Grace] took over the ownership"},
		{"access_review.opened", "Ada", "", `null`, `{"name":"Q1","members":4}`, "[Ada] opened the access review [Q1]"},
		{"access_review.kept", "Ada", "Grace", `null`, `{}`, "[Ada] reviewed [Grace]’s access and kept it"},
		{"access_review.removed", "Ada", "Grace", `null`, `{}`, "[Ada] reviewed [Grace]’s access and ended it"},
		{"access_review.closed", "Ada", "", `null`, `{"kept":3,"removed":1,"left":0,"undecided":2}`,
			"[Ada] closed the access review: 3 kept, 1 removed, 0 left, 2 undecided"},
		{"site.added", "Ada", "", `null`, `{"name":"North"}`, "[Ada] added the store [North]"},
		{"site.renamed", "Ada", "", `{"name":"North"}`, `{"name":"Nord"}`, "[Ada] renamed the store [North] to [Nord]"},
		{"site.removed", "Ada", "", `{"name":"North"}`, `null`, "[Ada] removed the store [North]"},
		{"api_key.created", "Ada", "", `null`, `{"name":"Deploy","role":"member"}`, "[Ada] created the API key [Deploy] as [Member]"},
		{"api_key.revoked", "Ada", "", `{"name":"Deploy"}`, `null`, "[Ada] revoked the API key [Deploy]"},
		{"webhook.created", "Ada", "https://h.example", `null`, `{}`, "[Ada] added a webhook [https://h.example]"},
		{"webhook.changed", "Ada", "https://h.example", `{}`, `{}`, "[Ada] changed a webhook [https://h.example]"},
		{"webhook.deleted", "Ada", "https://h.example", `{}`, `null`, "[Ada] deleted a webhook [https://h.example]"},
		{"role.defined", "Ada", "", `null`, `{"name":"Night shift"}`, "[Ada] defined the role [Night shift]"},
		{"role.edited", "Ada", "", `{"name":"Night"}`, `{"name":"Night shift"}`, "[Ada] changed what the role [Night shift] means"},
		{"role.deleted", "Ada", "", `{"name":"Night shift"}`, `{"replacement":"member"}`, "[Ada] deleted the role [Night shift] and put [Member] in its place"},
		{"two_factor.enabled", "Grace", "Grace", `null`, `null`, "[Grace] turned on two-factor sign-in"},
		{"two_factor.disabled", "Ada", "Grace", `null`, `null`, "[Ada] turned off two-factor sign-in for [Grace]"},
		{"two_factor.recovery_code_used", "Grace", "Grace", `null`, `{"left":7}`, "[Grace] used a recovery code; 7 left"},
		{"two_factor.recovery_codes_renewed", "Grace", "Grace", `null`, `null`, "[Grace] made new recovery codes"},
		{"two_factor_policy.changed", "Ada", "", `{}`, `{"required":"roles","roles":["admin","member"]}`, "[Ada] required two-factor sign-in of [Admin], [Member]"},
		{"passkey.added", "Grace", "", `null`, `null`, "[Grace] added a passkey"},
		{"passkey.removed", "Grace", "", `null`, `null`, "[Grace] removed a passkey"},
		{"passkey.refused", "Grace", "", `{"count":4}`, `{"count":3}`, "A passkey was refused at a sign-in: it may have been copied"},
		{"session.started", "Grace", "", `null`, `null`, "[Grace] signed in"},
		{"session.ended", "Grace", "", `null`, `null`, "[Grace] signed out"},

		{"expiry.changed", "Ada", "Grace", `{"expires_at":null}`, `{"expires_at":"2026-03-01T12:00:00Z"}`,
			"[Ada] limited [Grace]’s membership until 1 Mar 2026, 12:00 UTC"},
		{"member.expired", "Ada", "Grace", `{"role":"member"}`, `null`, "[Grace]’s membership as [Member] ended on its last day"},
		{"sites.expired", "Ada", "Grace", `{"sites":[{"site_id":"site_n","role":"member"}]}`, `null`, "[Grace]’s access ended on its last day: [Member] on [North]"},
		{"permissions.expired", "Ada", "Grace", `{"granted":["a:x"],"revoked":[]}`, `null`, "Some of [Grace]’s permissions ended on their last day: a:x"},
	}
	told := map[string]bool{}
	for _, c := range cases {
		told[c.action] = true
		if got := spelt(newTeller().tell(entryOf(c.action, c.actor, c.target, c.before, c.after))); got != c.want {
			t.Errorf("%s says\n%s, and not\n%s", c.action, got, c.want)
		}
	}
	grouped := map[string]bool{}
	for _, group := range actionGroups {
		for _, action := range group.actions {
			grouped[action] = true
		}
	}
	for _, action := range domain.AuditActions {
		if sayings[action] == "" || !told[action] {
			t.Errorf("%s has no sentence, or this test doesn't look at it", action)
		}
		if !grouped[action] || actionNames[action] == "" {
			t.Errorf("%s can't be filtered by", action)
		}
	}
	for action := range sayings {
		if !told[action] {
			t.Errorf("this test doesn't look at the sentence of %s", action)
		}
	}
}

// Whatever an entry lacks, its sentence is one.
func TestSentencesOfEntriesThatLackSomething(t *testing.T) {
	for action := range sayings {
		for _, content := range []string{``, `null`, `{}`, `[]`, `{"sites":[1,{}],"role":7,"name":["x"],"granted":"x","expires_at":"soon","roles":{}}`} {
			e := &logEntry{Action: action, Actor: logActor{Type: "user", ID: "user_1"}, Before: json.RawMessage(content), After: json.RawMessage(content)}
			got := spelt(newTeller().tell(e))
			if strings.ContainsAny(got, "{}") || strings.Contains(got, "  ") || strings.TrimSpace(got) == "" {
				t.Errorf("%s with %s says %q", action, content, got)
			}
			newTeller().changes(e)
		}
	}
}

func TestSentencesOfOthers(t *testing.T) {
	host := &logEntry{Action: "shop.order.shipped", Actor: logActor{Type: "api_key", ID: "key_1", Name: "Shop"}, Target: logTarget{"order", "1042", ""}}
	if got, want := spelt(newTeller().tell(host)), "[Shop]: [shop.order.shipped] · Order [1042]"; got != want {
		t.Errorf("%s, and not %s", got, want)
	}
	host.OnBehalfOf, host.Target.Name = &logActor{Type: "user", ID: "user_1", Name: "Ada"}, "Order of Grace"
	if got, want := spelt(newTeller().tell(host)), "[Ada] by [Shop]: [shop.order.shipped] · Order [Order of Grace]"; got != want {
		t.Errorf("%s, and not %s", got, want)
	}
	own := entryOf("permissions.changed", "Ada", "Ada", `{}`, `{"granted":["a:1","a:2","a:3","a:4","a:5"]}`)
	if got, want := spelt(newTeller().tell(own)), "[Ada] changed their own permissions: granted a:1, a:2, a:3 and 2 more"; got != want {
		t.Errorf("%s, and not %s", got, want)
	}
	gone := entryOf("role.changed", "", "", `{"role":"old"}`, `{"role":"admin"}`)
	gone.Actor.ID = "user_2"
	if got, want := spelt(newTeller().tell(gone)), "[An erased person] changed [An erased person]’s role from [old] to [Admin]"; got != want {
		t.Errorf("%s, and not %s", got, want)
	}
}

func TestAgentsInWords(t *testing.T) {
	for agent, want := range map[string]string{
		"": "Not told", "  ": "Not told", "curl/8.5.0": "curl 8.5.0", "Go-http-client/1.1": "Go-http-client 1.1",
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0":                                                                 "Firefox on Linux",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15":                  "Safari on macOS",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36 Edg/126.0":                  "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0 Mobile/15E148 Safari/604.1": "Chrome on iPhone",
	} {
		if got := agentInWords(agent); got != want {
			t.Errorf("%q is %q, and not %q", agent, got, want)
		}
	}
}

func TestDaysOfAFilterAreTheReaders(t *testing.T) {
	for _, c := range []struct {
		zone, day string
		last      bool
		want      string
	}{
		{"", "2026-03-01", false, "2026-03-01T00:00:00Z"},
		{"", "2026-03-01", true, "2026-03-01T23:59:59.999999Z"},
		{"Europe/Zurich", "2026-03-29", false, "2026-03-28T23:00:00Z"},
		{"Europe/Zurich", "2026-03-29", true, "2026-03-29T21:59:59.999999Z"}, // the clocks went forward
		{"America/New_York", "2026-01-01", false, "2026-01-01T05:00:00Z"},
		{"Nowhere/Atlantis", "2026-01-01", false, "2026-01-01T00:00:00Z"},
		{"../../etc/passwd", "2026-01-01", false, "2026-01-01T00:00:00Z"},
		{"Europe/Zurich", "2026-01-01T10:00:00Z", true, "2026-01-01T10:00:00Z"},
		{"", "soon", false, "soon"},
	} {
		if got := (logFilter{Zone: c.zone}).moment(c.day, c.last); got != c.want {
			t.Errorf("%s in %q is %s, and not %s", c.day, c.zone, got, c.want)
		}
	}
}

// What a name would turn around stays as it is read.
func TestNamesTurnNothingAround(t *testing.T) {
	if got, want := straight("Put on \u202eevil\u2066 by Ada"), "Put on evil by Ada"; got != want {
		t.Errorf("%q, and not %q", got, want)
	}
	if got, want := indented(json.RawMessage("{\"a\":\"\u202e<b>\"}")), "{\n  \"a\": \"\\u202e<b>\"\n}"; got != want {
		t.Errorf("%q, and not %q", got, want)
	}
}
