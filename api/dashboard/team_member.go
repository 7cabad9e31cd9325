package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/a-h/templ"
)

// memberData is what the pages about one member show.
type memberData struct {
	Member
	roles roleBook
	sites []Site // that the reader reaches
	form  *Form
	back  string
}

// may tells whether the reader may do something to the member.
func (m *memberData) may(action string) bool { return slices.Contains(m.Actions, action) }

// path is of the member's page, or of a card of it.
func (m *memberData) path(rest string) string { return memberPathOf(m.UserID, rest) }

func memberPathOf(user, rest string) string { return teamPagePath + "/members/" + user + rest }

// memberCardPath is the address of a card that leads back to where it was opened.
func memberCardPath(user, rest, back string) string {
	path := memberPathOf(user, rest)
	if back != "" && back != teamPagePath {
		path += "?back=" + url.QueryEscape(back)
	}
	return path
}

// leaves tells whether this is the reader, who may leave.
func (v *visit) leaves(user string) bool {
	return v.catalog.Rules.Leaving && user == v.me.User.ID && user != v.team.OwnerID
}

// member reads the member whom the address names.
func (v *visit) member() (*memberData, error) {
	m := &memberData{form: v.form(), back: v.backToTeam()}
	if err := v.get(v.memberPath(""), &m.Member); err != nil {
		return nil, err
	}
	var err error
	if m.roles, err = v.roles(); err != nil {
		return nil, err
	}
	m.sites, err = v.sites()
	return m, err
}

// memberPath is of the interface.
func (v *visit) memberPath(rest string) string {
	return v.at("members", v.part("user")) + rest
}

// memberCard shows a page about a member that takes something the reader may
// do to them.
func memberCard(v *visit, action string, show func(*visit, *memberData) templ.Component) error {
	m, err := v.member()
	if err != nil {
		return err
	}
	if action != "" && !m.may(action) {
		return denied("You may not do this to this member.")
	}
	return v.show(http.StatusOK, show(v, m))
}

// memberAgain shows a form about a member that was refused.
func (v *visit) memberAgain(err error, form *Form, show func(*visit, *memberData) templ.Component) error {
	m, reading := v.member()
	if reading != nil {
		return err
	}
	return v.again(err, form, func(form *Form) templ.Component {
		m.form = form
		return show(v, m)
	})
}

func memberPage(v *visit) error {
	m, err := v.member()
	if err != nil {
		return err
	}
	changed, err := v.overridesChange(m)
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, memberView(v, m, changed))
}

func memberRolePage(v *visit) error { return memberCard(v, "change_role", memberRoleView) }

func changeMemberRole(v *visit) error {
	form := v.filled()
	var changed Member
	_, err := v.send(http.MethodPut, v.memberPath("/role"), map[string]any{"role": form.Get("role")}, &changed)
	if err != nil {
		return v.memberAgain(err, form, memberRoleView)
	}
	roles, err := v.roles()
	if err != nil {
		return err
	}
	return v.done(v.backToTeam(), isolated(changed.Name)+" is "+isolated(roles.name(changed.Role))+" now.")
}

func memberExpiryPage(v *visit) error { return memberCard(v, "edit_expiry", memberExpiryView) }

// setMemberExpiry says when a membership ends by itself; an empty field says never.
func setMemberExpiry(v *visit) error {
	form := v.filled()
	end, err := momentIn(form.Get("expires_at"))
	if err != nil {
		return v.memberAgain(faulty("expires_at", err.Error()), form, memberExpiryView)
	}
	var changed Member
	if _, err := v.send(http.MethodPut, v.memberPath("/expiry"), map[string]any{"expires_at": end}, &changed); err != nil {
		return v.memberAgain(err, form, memberExpiryView)
	}
	said := "The membership of " + isolated(changed.Name) + " doesn't end by itself."
	if changed.ExpiresAt != nil {
		said = "The membership of " + isolated(changed.Name) + " ends " + distance(*changed.ExpiresAt, v.now) + "."
	}
	return v.done(v.backToTeam(), said)
}

func memberSitesPage(v *visit) error { return memberCard(v, "edit_sites", memberSitesView) }

// setMemberSites saves the roles on the sites that the form shows, and leaves those
// on others as they are.
func setMemberSites(v *visit) error {
	form := v.filled()
	m, err := v.member()
	if err != nil {
		return err
	}
	grants := []siteGrant{}
	for _, site := range m.sites {
		if role := form.Get("site_" + site.ID); role != "" {
			grant := siteGrant{SiteID: site.ID, Role: role}
			if i := slices.IndexFunc(m.Sites, func(had MemberSite) bool { return had.SiteID == site.ID && had.Role == role }); i >= 0 {
				grant.ExpiresAt = m.Sites[i].ExpiresAt // what stays ends when it would have
			}
			grants = append(grants, grant)
		}
	}
	for _, site := range m.Sites {
		if !slices.ContainsFunc(m.sites, func(shown Site) bool { return shown.ID == site.SiteID }) {
			grants = append(grants, siteGrant{site.SiteID, site.Role, site.ExpiresAt})
		}
	}
	if _, err := v.send(http.MethodPut, v.memberPath("/sites"), map[string]any{"sites": grants}, nil); err != nil {
		return v.memberAgain(err, form, memberSitesView)
	}
	return v.done(v.backToTeam(), "The "+v.catalog.Labels.Sites+" of "+isolated(m.Name)+" were changed.")
}

// siteRole is the role on a site that a form or, before there is one, the
// member has.
func (m *memberData) siteRole(site string) string {
	if m.form.Problem != nil {
		return m.form.Get("site_" + site)
	}
	for _, grant := range m.Sites {
		if grant.SiteID == site {
			return grant.Role
		}
	}
	return ""
}

// survivingKeys are the API keys that somebody made and that go on working
// without them, as far as the reader may know.
func (v *visit) survivingKeys(user string) ([]Key, error) {
	if !v.team.may("manage_api_keys") {
		return nil, nil
	}
	keys, err := v.keys()
	return slices.DeleteFunc(keys, func(key Key) bool { return !key.Active || key.CreatedBy.ID != user }), err
}

func memberRemovePage(v *visit) error {
	keys, err := v.survivingKeys(v.part("user"))
	if err != nil {
		return err
	}
	return memberCard(v, "remove", func(v *visit, m *memberData) templ.Component { return memberRemoveView(v, m, keys) })
}

func removeMember(v *visit) error {
	form := v.filled()
	m, err := v.member()
	if err != nil {
		return err
	}
	if _, err := v.send(http.MethodDelete, v.memberPath(""), nil, nil); err != nil {
		return v.memberAgain(err, form, func(v *visit, m *memberData) templ.Component { return memberRemoveView(v, m, nil) })
	}
	to := v.backToTeam()
	if parsed, err := url.Parse(to); err != nil || parsed.Path != teamPagePath {
		to = teamPagePath // their own page is gone
	}
	return v.done(to, isolated(m.Name)+" was removed and has no access any more.")
}

// overridesChange is who last changed a member's overrides, for those who may
// read the audit log; nil when nobody has or it isn't known.
func (v *visit) overridesChange(m *memberData) (*overridesChanged, error) {
	if !v.catalog.Rules.Overrides || !v.team.may("read_audit") {
		return nil, nil
	}
	var found Page[overridesChanged]
	query := url.Values{"action": {"permissions.changed"}, "target": {m.UserID}, "limit": {"1"}}
	if err := v.get(v.teamPath("/audit-events?"+query.Encode()), &found); err != nil || len(found.Data) == 0 {
		return nil, err
	}
	return &found.Data[0], nil
}

// overridesChanged is an entry of the audit log about a change of overrides.
type overridesChanged struct {
	At    time.Time `json:"at"`
	Actor struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"actor"`
}

func (c *overridesChanged) by() string {
	switch {
	case c.Actor.Name != "":
		return c.Actor.Name
	case c.Actor.Type == "user":
		return "a former user"
	}
	return "an API key"
}

// roleForm is the form to change a role with; at first it has the present one.
func (m *memberData) roleForm() *Form {
	if !m.form.Has("role") {
		m.form.Set("role", m.Role)
	}
	return m.form
}

// roleFixed says why the reader can't change a member's role.
func (v *visit) roleFixed(m *memberData) string {
	switch {
	case m.UserID == v.team.OwnerID && v.catalog.Rules.TransferBy == "operator":
		return "The owner's role moves only by a transfer of ownership, which support does on request."
	case m.UserID == v.team.OwnerID:
		return "The owner's role moves only by a transfer of ownership."
	case !v.team.may("change_role"):
		return "Your role doesn't let you change roles."
	}
	return "This role isn't below your own level, so you can't change it."
}

func memberOverridesPage(v *visit) error {
	m, err := v.member()
	if err != nil {
		return err
	}
	changed, err := v.overridesChange(m)
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, memberOverridesView(v, m, changed))
}
