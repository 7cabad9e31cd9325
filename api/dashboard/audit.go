package dashboard

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"
)

// auditRoutes are the audit log, and what it tells of the past.
func (d *Dashboard) auditRoutes(router chi.Router) {
	router.Get("/dashboard/audit", d.inTeam(auditPage))
	router.Get("/dashboard/audit/past", d.inTeam(pastPage))
	router.Get("/dashboard/audit/{position}", d.inTeam(entryPage))
	router.Post("/dashboard/audit/{position}/undo", d.inTeam(undoEntry))
	router.Get("/dashboard/team/members/{user}/why", d.inTeam(whyPage))
	d.reviewRoutes(router)
	if d.config.Mailbox {
		d.mailboxRoutes(router)
	}
}

// logPage is what the page of the audit log shows.
type logPage struct {
	filter  logFilter
	form    *Form
	tell    *teller
	entries Page[logEntry]
	who     []optionGroup
	actions []optionGroup
	many    bool // more members than the filter offers at once
}

func auditPage(v *visit) error {
	filter := readLogFilter(v.r.URL.Query())
	htmx := v.r.Header.Get("HX-Request") != ""
	if clean := filter.path(); clean != "/dashboard/audit?"+v.r.URL.Query().Encode() && v.r.URL.RawQuery != "" {
		if !htmx { // a form was sent: its empty fields needn't stay in the address bar
			return v.to(clean)
		}
		v.w.Header().Set("HX-Push-Url", clean)
	}
	shown := logPage{filter: filter, form: v.form()}
	status := http.StatusOK
	if err := v.get(v.teamPath("/audit-events?"+filter.asked().Encode()), &shown.entries); err != nil {
		problem, ok := errors.AsType[*Problem](err)
		if !ok || problem.Status != http.StatusUnprocessableEntity {
			return err
		}
		shown.form.Problem, status = problem, problem.Status
	}
	var err error
	if shown.tell, err = v.teller(shown.entries.Data...); err != nil {
		return err
	}
	if shown.who, shown.many, err = v.people(filter, shown.entries.Data); err != nil {
		return err
	}
	shown.actions = v.actionChoices(filter, shown.entries.Data)
	return v.show(status, auditView(v, &shown))
}

// teller makes sentences in the team's words. Entries name what isn't there any
// more.
func (v *visit) teller(entries ...logEntry) (*teller, error) {
	t := &teller{roles: map[string]string{}, sites: map[string]string{}}
	t.labels.team, t.labels.site, t.labels.sites = v.catalog.Labels.Team, v.catalog.Labels.Site, v.catalog.Labels.Sites
	for i := range entries {
		e := &entries[i]
		before, after := e.values()
		name := cmp.Or(after.text("name"), before.text("name"), e.Target.Name)
		switch {
		case !e.own() || name == "":
		case e.Target.Type == "site":
			t.sites[e.Target.ID] = cmp.Or(t.sites[e.Target.ID], name)
		case e.Target.Type == "role":
			t.roles[e.Target.ID] = cmp.Or(t.roles[e.Target.ID], name)
		}
	}
	roles, err := v.roles()
	if err != nil {
		return nil, err
	}
	for _, role := range roles {
		t.roles[role.Key] = role.Name
	}
	sites, err := v.sites()
	for _, site := range sites {
		t.sites[site.ID] = site.Name
	}
	return t, err
}

// filterOption is an option of a filter.
type filterOption struct{ value, name string }

type optionGroup struct {
	name    string
	choices []filterOption
}

// people are those whose entries can be looked for: members, former ones, API
// keys and the system. many tells that there are more members.
func (v *visit) people(filter logFilter, entries []logEntry) (groups []optionGroup, many bool, err error) {
	seen := map[string]bool{}
	group := func(name string, choices []filterOption) {
		choices = slices.DeleteFunc(choices, func(c filterOption) bool {
			again := seen[c.value]
			seen[c.value] = true
			return again
		})
		if len(choices) > 0 {
			groups = append(groups, optionGroup{name, choices})
		}
	}
	if v.team.may("view_members") {
		var members Page[Member]
		query := url.Values{"limit": {"200"}, "query": {filter.Find}}
		if err := v.get(v.teamPath("/members?"+query.Encode()), &members); err != nil {
			return nil, false, err
		}
		var choices []filterOption
		for _, member := range members.Data {
			choices = append(choices, filterOption{member.UserID, cmp.Or(member.Name, member.Email, erased)})
		}
		slices.SortStableFunc(choices, func(a, b filterOption) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
		group("Members", choices)
		many = members.Page.NextToken != "" || filter.Find != ""
	}
	var gone Page[logEntry]
	if err := v.get(v.teamPath("/audit-events?limit=200&action=member.removed,member.left,member.expired"), &gone); err != nil {
		return nil, false, err
	}
	var former []filterOption
	for _, entry := range gone.Data {
		former = append(former, filterOption{entry.Target.ID, cmp.Or(entry.Target.Name, erased)})
	}
	group("Former members", former)
	if v.team.may("manage_api_keys") {
		keys, err := v.keys()
		if err != nil {
			return nil, false, err
		}
		var choices []filterOption
		for _, key := range keys {
			choices = append(choices, filterOption{key.ID, key.Name})
		}
		group("API keys", choices)
	}
	group("Others", []filterOption{{"operator", "The operator"}, {"roster", "The system"}})
	if filter.Member != "" && !seen[filter.Member] {
		name := filter.Member
		for _, e := range entries {
			switch filter.Member {
			case e.Actor.ID:
				name = e.Actor.called()
			case e.Target.ID:
				name = cmp.Or(e.Target.Name, name)
			}
		}
		groups = append([]optionGroup{{"Chosen", []filterOption{{filter.Member, name}}}}, groups...)
	}
	return groups, many, nil
}

// actionChoices are the actions by kind: those of Roster that the team can have,
// and those of the host product that are to be seen.
func (v *visit) actionChoices(filter logFilter, entries []logEntry) (groups []optionGroup) {
	known := map[string]bool{"": true}
	for _, g := range actionGroups {
		if g.name == "{Sites}" && !v.catalog.Rules.Sites {
			continue
		}
		all := filterOption{strings.Join(g.actions, ","), "All of " + v.labelled(g.name)}
		group := optionGroup{v.labelled(g.name), []filterOption{all}}
		known[all.value] = true
		for _, action := range g.actions {
			if action == "plan.changed" && len(v.catalog.Plans) == 0 || strings.HasPrefix(action, "sites.") && !v.catalog.Rules.Sites {
				continue
			}
			known[action] = true
			group.choices = append(group.choices, filterOption{action, v.labelled(actionNames[action])})
		}
		groups = append(groups, group)
	}
	var others []filterOption
	other := func(action string) {
		if !known[action] {
			known[action] = true
			others = append(others, filterOption{action, cmp.Or(v.labelled(actionNames[action]), action)})
		}
	}
	for i := range entries {
		other(entries[i].Action)
	}
	other(filter.Action)
	if len(others) > 0 {
		groups = append(groups, optionGroup{v.catalog.Labels.Product, others})
	}
	return groups
}

// labelled puts the team's own words in.
func (v *visit) labelled(text string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	labels := v.catalog.Labels
	return strings.NewReplacer("{Team}", capital(labels.Team), "{Site}", capital(labels.Site), "{Sites}", capital(labels.Sites)).Replace(text)
}

// changePage is what the page of one change shows.
type changePage struct {
	tell    *teller
	entry   logEntry
	others  []logEntry // of the same change
	more    bool
	form    *Form
	changes []change
}

func entryPage(v *visit) error {
	shown, err := v.change()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, entryView(v, shown))
}

// change reads what was recorded at a position.
func (v *visit) change() (*changePage, error) {
	var found Page[logEntry]
	if err := v.get(v.at("audit-events", v.part("position"))+"?limit=50", &found); err != nil {
		if problem, ok := errors.AsType[*Problem](err); ok && problem.Status == http.StatusUnprocessableEntity {
			problem.Status, problem.Detail = http.StatusNotFound, "There is no such entry."
		}
		return nil, err
	}
	tell, err := v.teller(found.Data...)
	if err != nil {
		return nil, err
	}
	event := v.r.FormValue("event")
	i := max(0, slices.IndexFunc(found.Data, func(e logEntry) bool { return e.ID == event }))
	shown := &changePage{tell: tell, entry: found.Data[i], more: found.Page.NextToken != "", form: v.form()}
	shown.others = slices.Delete(found.Data, i, i+1)
	shown.changes = tell.changes(&shown.entry)
	return shown, nil
}

// auditTabs are the views of the past that the reader may see.
func (v *visit) auditTabs() (tabs []filterOption) {
	if v.team.may("read_audit") {
		tabs = append(tabs, filterOption{"/dashboard/audit", "Log"}, filterOption{"/dashboard/audit/past", "The " + v.catalog.Labels.Team + " then"})
	}
	return append(tabs, filterOption{"/dashboard/audit/reviews", "Access reviews"})
}

// teamThen is the page of the team as it was right after an entry; empty for
// entries that aren't about the team itself.
func (v *visit) teamThen(e *logEntry) string {
	for _, g := range actionGroups {
		if g.name != "Sign-in" && e.Action != "team.deleted" && slices.Contains(g.actions, e.Action) {
			return pastPath(e.At)
		}
	}
	return ""
}

func (e *logEntry) undoPath() string {
	return "/dashboard/audit/" + strconv.FormatUint(e.Position, 10) + "/undo"
}

// targetName is what the filter's target is called, if an entry tells.
func (p *logPage) targetName() string {
	for i := range p.entries.Data {
		if e := &p.entries.Data[i]; e.Target.ID == p.filter.Target && e.Target.Name != "" {
			return e.Target.Name
		}
	}
	return p.filter.Target
}

// days are those that the filter lets through, in words.
func (f logFilter) days() string {
	zone := cmp.Or(f.Zone, "UTC")
	from, to := f.day(f.From), f.day(f.To)
	switch {
	case from == to:
		return from + ", " + zone
	case to == "":
		return "Since " + from + ", " + zone
	case from == "":
		return "Until " + to + ", " + zone
	}
	return from + " to " + to + ", " + zone
}

// undoable are the actions that can be turned back, if nothing has changed
// since; see undo of the interface.
var undoable = map[string]string{
	"team.renamed": "The old name comes back.", "member.invited": "The invitation is cancelled and its link stops working.",
	"role.changed": "The old role comes back.", "permissions.changed": "The old permissions come back.", "sites.changed": "The old access comes back.",
	"ownership.transfer_requested": "The transfer is cancelled.", "site.added": "It is removed, with everybody’s access to it.",
	"site.renamed": "The old name comes back.", "role.defined": "The role is deleted.", "role.edited": "The role means again what it meant before.",
	"api_key.created": "The key is revoked and stops working.",
}

func undoEntry(v *visit) error {
	form := v.filled()
	shown, err := v.change()
	if err != nil {
		return err
	}
	_, err = v.send(http.MethodPost, v.teamPath("/undo"), map[string]any{"event_id": form.Get("event")}, nil)
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component {
			shown.form = form
			return entryView(v, shown)
		})
	}
	return v.done("/dashboard/audit", "Turned back. The log has both: what was done, and that it was undone.")
}
