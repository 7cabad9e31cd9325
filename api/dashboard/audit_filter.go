package dashboard

import (
	"cmp"
	"net/url"
	"time"
	_ "time/tzdata" // days are those of the reader, wherever the program runs
)

// logFilter is which entries of the audit log are wanted, as the address bar has
// it. Member, actor, target, action, from and to are those of the interface.
type logFilter struct {
	Member string // who did it or to whom it was done, by As
	As     string // "actor" or "target"; either when empty
	Actor  string
	Target string
	Action string
	From   string // a day in the zone, or a time
	To     string
	Zone   string // of the reader, such as Europe/Zurich; UTC when empty
	Find   string // narrows the members that the filter offers
	Page   string // token of a page
}

func readLogFilter(query url.Values) logFilter {
	f := logFilter{
		Member: query.Get("member"), As: query.Get("as"), Actor: query.Get("actor"), Target: query.Get("target"),
		Action: query.Get("action"), From: query.Get("from"), To: query.Get("to"), Zone: query.Get("tz"),
		Find: query.Get("find"), Page: query.Get("page_token"),
	}
	if f.Member == "" && f.As == "" && f.Actor != "" { // as a link of the interface's own kind has it
		f.Member, f.As, f.Actor = f.Actor, "actor", ""
	}
	if f.From == "" && f.To == "" {
		f.Zone = "" // says nothing
	}
	if f.Member == "" {
		f.As = ""
	}
	return f
}

// query is the filter for the address bar, without what isn't set.
func (f logFilter) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"member": f.Member, "as": f.As, "actor": f.Actor, "target": f.Target, "action": f.Action,
		"from": f.From, "to": f.To, "tz": f.Zone, "find": f.Find, "page_token": f.Page,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// path is the page with the filter.
func (f logFilter) path() string {
	if query := f.query().Encode(); query != "" {
		return "/dashboard/audit?" + query
	}
	return "/dashboard/audit"
}

// older is the page that follows.
func (f logFilter) older(token string) string {
	f.Page = token
	return f.path()
}

func (f logFilter) newest() string { return f.older("") }

// set tells whether anything is filtered.
func (f logFilter) set() bool {
	return f.Member != "" || f.Actor != "" || f.Target != "" || f.Action != "" || f.From != "" || f.To != ""
}

// asked is the query for the interface.
func (f logFilter) asked() url.Values {
	actor, target, member := f.Actor, f.Target, f.Member
	switch f.As {
	case "actor":
		actor, member = cmp.Or(actor, member), ""
	case "target":
		target, member = cmp.Or(target, member), ""
	}
	query := url.Values{}
	for name, value := range map[string]string{
		"member": member, "actor": actor, "target": target, "action": f.Action,
		"from": f.moment(f.From, false), "to": f.moment(f.To, true), "page_token": f.Page,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// moment is the first or the last moment of a day of the reader's. What isn't a
// day is left to the interface to read, or to refuse.
func (f logFilter) moment(text string, last bool) string {
	zone, err := time.LoadLocation(f.Zone)
	if err != nil || f.Zone == "Local" {
		zone = time.UTC
	}
	day, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		return text
	}
	if last {
		day = day.AddDate(0, 0, 1).Add(-time.Microsecond)
	}
	return day.UTC().Format(time.RFC3339Nano)
}

// day is the day that a field shows for a time or a day.
func (f logFilter) day(text string) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	zone, err := time.LoadLocation(f.Zone)
	if err != nil {
		zone = time.UTC
	}
	return at.In(zone).Format(time.DateOnly)
}

// export is the file of all that the filter lets through.
func (f logFilter) export(team, format string) string {
	query := f.asked()
	query.Del("page_token")
	query.Set("format", format)
	return "/v1/teams/" + team + "/audit-events/export?" + query.Encode()
}

// actionGroup is the actions of one kind, as the filter lists them.
type actionGroup struct {
	name    string
	actions []string
}

// actionGroups have every action of Roster's.
var actionGroups = []actionGroup{
	{"Members", []string{
		"member.joined", "member.removed", "member.left", "member.expired", "role.changed", "permissions.changed", "permissions.expired",
		"sites.changed", "sites.expired", "expiry.changed",
	}},
	{"Invitations", []string{"member.invited", "invitation.resent", "invitation.cancelled", "invitation.declined", "invitation.expired"}},
	{"Ownership", []string{"ownership.transfer_requested", "ownership.transfer_cancelled", "ownership.transferred"}},
	{"{Team}", []string{"team.created", "team.renamed", "team.deleted", "plan.changed", "two_factor_policy.changed"}},
	{"{Sites}", []string{"site.added", "site.renamed", "site.removed"}},
	{"Roles", []string{"role.defined", "role.edited", "role.deleted"}},
	{"Keys and webhooks", []string{"api_key.created", "api_key.revoked", "webhook.created", "webhook.changed", "webhook.deleted"}},
	{"Access reviews", []string{"access_review.opened", "access_review.kept", "access_review.removed", "access_review.closed"}},
	{"Sign-in", []string{
		"session.started", "session.ended", "two_factor.enabled", "two_factor.disabled", "two_factor.recovery_code_used",
		"two_factor.recovery_codes_renewed", "passkey.added", "passkey.removed", "passkey.refused",
	}},
}

// actionNames are the actions in words.
var actionNames = map[string]string{
	"team.created": "{Team} created", "team.renamed": "{Team} renamed", "team.deleted": "{Team} deleted", "plan.changed": "Plan changed",
	"member.invited": "Invited", "invitation.resent": "New link sent", "invitation.cancelled": "Cancelled",
	"invitation.declined": "Declined", "invitation.expired": "Expired",
	"member.joined": "Joined", "member.removed": "Removed", "member.left": "Left", "member.expired": "Membership ended",
	"role.changed": "Role changed", "permissions.changed": "Permissions changed", "permissions.expired": "Permissions ended",
	"sites.changed": "{Sites} changed", "sites.expired": "{Sites} ended", "expiry.changed": "Last day changed",
	"ownership.transfer_requested": "Transfer requested", "ownership.transfer_cancelled": "Transfer cancelled", "ownership.transferred": "Ownership transferred",
	"access_review.opened": "Review opened", "access_review.kept": "Access kept", "access_review.removed": "Access ended", "access_review.closed": "Review closed",
	"site.added": "{Site} added", "site.renamed": "{Site} renamed", "site.removed": "{Site} removed",
	"role.defined": "Role defined", "role.edited": "Role changed", "role.deleted": "Role deleted",
	"api_key.created": "API key created", "api_key.revoked": "API key revoked",
	"webhook.created": "Webhook added", "webhook.changed": "Webhook changed", "webhook.deleted": "Webhook deleted",
	"session.started": "Signed in", "session.ended": "Signed out",
	"two_factor.enabled": "Two-factor turned on", "two_factor.disabled": "Two-factor turned off",
	"two_factor.recovery_code_used": "Recovery code used", "two_factor.recovery_codes_renewed": "New recovery codes",
	"two_factor_policy.changed": "Two-factor policy changed",
	"passkey.added":             "Passkey added", "passkey.removed": "Passkey removed", "passkey.refused": "Passkey refused",
}
