package dashboard

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// whyPage answers whether a member may do something, and why.
type whyPageContent struct {
	user       string
	permission string
	site       string
	asOf       string
	sites      []Site
	answer     *explanation
	form       *Form
	tell       *teller
}

// explanation is a decision with the events behind it.
type explanation struct {
	User       logActor   `json:"user"`
	Permission string     `json:"permission"`
	SiteID     string     `json:"site_id"`
	AsOf       time.Time  `json:"as_of"`
	Allowed    bool       `json:"allowed"`
	Reason     string     `json:"reason"`
	Role       string     `json:"role"`
	Until      *time.Time `json:"until"`
	Text       string     `json:"text"`
	Catalog    struct {
		Name    string    `json:"name"`
		Version int       `json:"version"`
		At      time.Time `json:"at"`
	} `json:"catalog"`
	Steps []struct {
		EventID  string          `json:"event_id"`
		Position uint64          `json:"position"`
		At       time.Time       `json:"at"`
		Action   string          `json:"action"`
		Actor    logActor        `json:"actor"`
		Before   json.RawMessage `json:"before"`
		After    json.RawMessage `json:"after"`
		Decisive bool            `json:"decisive"`
	} `json:"steps"`
}

func whyPath(user string) string { return "/dashboard/team/members/" + url.PathEscape(user) + "/why" }

func whyPage(v *visit) error {
	shown := &whyPageContent{
		user: v.part("user"), permission: v.r.FormValue("permission"), site: v.r.FormValue("site"), asOf: v.r.FormValue("as_of"),
		form: v.form(),
	}
	if at, err := fieldMoment(shown.asOf); err == nil { // without a script
		shown.asOf = at.Format(time.RFC3339)
	}
	if shown.permission == "" {
		shown.permission = v.firstPermission()
	}
	var err error
	if shown.tell, err = v.teller(); err != nil {
		return err
	}
	if shown.sites, err = v.sites(); err != nil {
		return err
	}
	if shown.site == "" && len(shown.sites) > 0 && v.ofSite(shown.permission) {
		shown.site = shown.sites[0].ID // one has to be named
	}
	query := url.Values{"user": {shown.user}, "permission": {shown.permission}}
	if shown.site != "" && v.ofSite(shown.permission) {
		query.Set("site", shown.site)
	}
	if shown.asOf != "" {
		query.Set("as_of", shown.asOf)
	}
	answer := &explanation{}
	err = v.get(v.teamPath("/explain?"+query.Encode()), answer)
	if problem, ok := errors.AsType[*Problem](err); ok && (problem.Status == http.StatusUnprocessableEntity || shown.asOf != "" && problem.Status == http.StatusNotFound) {
		if problem.Status == http.StatusNotFound {
			problem.Detail = "The " + v.catalog.Labels.Team + " didn’t exist then."
		}
		shown.form.Problem = problem
		return v.show(problem.Status, whyView(v, shown))
	}
	if err != nil {
		return err
	}
	shown.answer = answer
	return v.show(http.StatusOK, whyView(v, shown))
}

// firstPermission is what is asked about until something is picked.
func (v *visit) firstPermission() string {
	for _, resource := range v.catalog.Resources {
		for _, action := range resource.Actions {
			return resource.Key + ":" + action
		}
	}
	return "team:read"
}

// ofSite tells whether a permission belongs to a site.
func (v *visit) ofSite(permission string) bool {
	key, _, _ := strings.Cut(permission, ":")
	return slices.ContainsFunc(v.catalog.Resources, func(r Resource) bool { return r.Key == key && r.Site })
}

// permissionChoices are the permissions of the catalog by resource.
func (v *visit) permissionChoices(chosen string) (groups []optionGroup) {
	known := false
	for _, resource := range v.catalog.Resources {
		group := optionGroup{name: resource.Name}
		for _, action := range resource.Actions {
			permission := resource.Key + ":" + action
			known = known || permission == chosen
			group.choices = append(group.choices, filterOption{permission, v.permissionName(permission)})
		}
		groups = append(groups, group)
	}
	if !known {
		groups = append(groups, optionGroup{"Not in the catalog", []filterOption{{chosen, chosen}}})
	}
	return groups
}

// siteChoices are the sites by name.
func (p *whyPageContent) siteChoices() (choices []filterOption) {
	for _, site := range p.sites {
		choices = append(choices, filterOption{site.ID, site.Name})
	}
	return choices
}

// asOfField is the moment as its field shows it, in UTC; empty for now.
func (p *whyPageContent) asOfField() string {
	at, err := time.Parse(time.RFC3339, p.asOf)
	if err != nil {
		return ""
	}
	return at.UTC().Format("2006-01-02T15:04:05")
}

// who is what the person is called.
func (p *whyPageContent) who() string {
	if p.answer == nil {
		return "This member"
	}
	return cmp.Or(p.answer.User.Name, p.answer.User.Email, erased)
}

// can is "Ada can" or "Ada could", by the time.
func (p *whyPageContent) can() string {
	switch {
	case p.answer.Allowed && p.asOf == "":
		return "can"
	case p.answer.Allowed:
		return "could"
	case p.asOf == "":
		return "can’t"
	}
	return "couldn’t"
}

// reason is why, in a sentence with the team's own words.
func (v *visit) reason(p *whyPageContent) string {
	labels, role, what := v.catalog.Labels, p.tell.role(p.answer.Role), v.permissionName(p.answer.Permission)
	site := cmp.Or(labels.Site, "site")
	switch p.answer.Reason {
	case "role":
		return "The role " + role + " has “" + what + "”."
	case "site_grant":
		return "The role " + role + " on " + p.tell.place(p.answer.SiteID) + " has “" + what + "”."
	case "override_granted":
		return "“" + what + "” was granted to this member beyond the role " + role + "."
	case "override_revoked":
		return "“" + what + "” was revoked from this member, whatever the role " + role + " has."
	case "not_in_role":
		if p.answer.SiteID != "" {
			role += " on " + p.tell.place(p.answer.SiteID)
		}
		return "The role " + role + " doesn’t have “" + what + "”."
	case "no_site_grant":
		return "This member has no role on " + p.tell.place(p.answer.SiteID) + "."
	case "site_required":
		return "This belongs to a " + site + ", and none was named."
	case "unknown_site":
		return "The " + labels.Team + " has no such " + site + "."
	case "not_a_member":
		if p.asOf != "" {
			return "This person was not a member then."
		}
		return "This person is not a member."
	case "two_factor_required":
		return "The " + labels.Team + " asks for a second factor, and this member has none yet."
	}
	return p.answer.Text
}

// steps are the events behind the answer, as entries of the log.
func (p *whyPageContent) steps() []logEntry {
	entries := make([]logEntry, len(p.answer.Steps))
	for i, step := range p.answer.Steps {
		entries[i] = logEntry{
			ID: step.EventID, Position: step.Position, At: step.At, Action: step.Action, Actor: step.Actor, Before: step.Before, After: step.After,
			Target: logTarget{Type: "member", ID: p.user, Name: p.who()},
		}
		if kind, _, _ := strings.Cut(step.Action, "."); kind == "site" || kind == "team" || kind == "role" && step.Action != "role.changed" {
			entries[i].Target = logTarget{Type: kind}
		}
	}
	return entries
}
