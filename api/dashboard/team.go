package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
)

// teamRoutes are the members and invitations of a team.
func (d *Dashboard) teamRoutes(router chi.Router) {
	router.Get("/dashboard/team", d.inTeam(teamPage))
	router.Get("/dashboard/settings/team", d.inTeam(teamPage))

	router.Post("/dashboard/team/invitations", d.inTeam(invite))
	router.Get("/dashboard/team/invitations/{id}", d.inTeam(invitationPage))
	router.Post("/dashboard/team/invitations/{id}/resend", d.inTeam(resendInvitation))
	router.Get("/dashboard/team/invitations/{id}/cancel", d.inTeam(cancelInvitationPage))
	router.Post("/dashboard/team/invitations/{id}/cancel", d.inTeam(cancelInvitation))

	router.Get("/dashboard/team/members/{user}", d.inTeam(memberPage))
	router.Get("/dashboard/team/members/{user}/expiry", d.inTeam(memberExpiryPage))
	router.Post("/dashboard/team/members/{user}/expiry", d.inTeam(setMemberExpiry))
	router.Get("/dashboard/team/members/{user}/role", d.inTeam(memberRolePage))
	router.Post("/dashboard/team/members/{user}/role", d.inTeam(changeMemberRole))
	router.Get("/dashboard/team/members/{user}/sites", d.inTeam(memberSitesPage))
	router.Post("/dashboard/team/members/{user}/sites", d.inTeam(setMemberSites))
	router.Get("/dashboard/team/members/{user}/permissions", d.inTeam(memberPermissionsPage))
	router.Post("/dashboard/team/members/{user}/permissions", d.inTeam(setMemberPermissions))
	router.Get("/dashboard/team/members/{user}/overrides", d.inTeam(memberOverridesPage))
	router.Get("/dashboard/team/members/{user}/remove", d.inTeam(memberRemovePage))
	router.Post("/dashboard/team/members/{user}/remove", d.inTeam(removeMember))
}

// teamPagePath is where the team is shown; /dashboard/settings/team shows the
// same.
const teamPagePath = "/dashboard/team"

// membersOnPage is how many members a page shows. Each brings a menu of the
// roles along, and a page is to stay light.
const membersOnPage = 25

// teamData is what the team page shows.
type teamData struct {
	roles       roleBook
	sites       []Site
	members     Page[Member]
	invitations Page[teamInvitation]
	invite      *inviteForm

	query string
	token string   // of this page of members
	trail []string // of the pages before it; the first one's is empty
}

// teamInvitation is a pending invitation.
type teamInvitation struct {
	ID        string       `json:"id"`
	Email     string       `json:"email"`
	Name      string       `json:"name"`
	Role      string       `json:"role"`
	Sites     []MemberSite `json:"sites"`
	CreatedAt time.Time    `json:"created_at"`
	ExpiresAt time.Time    `json:"expires_at"`
	InvitedBy struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"invited_by"`
	URL      string `json:"url"`
	Delivery struct {
		Status string `json:"status"`
		Detail string `json:"detail"`
	} `json:"delivery"`
}

// inviter is who invited, in a word.
func (i *teamInvitation) inviter() string {
	switch {
	case i.InvitedBy.Name != "":
		return i.InvitedBy.Name
	case i.InvitedBy.Type == "api_key":
		return "An API key"
	case i.InvitedBy.Type == "system":
		return "The operator"
	}
	return "A former user"
}

func teamPage(v *visit) error {
	if !v.team.may("view_members") {
		return ownMembershipPage(v)
	}
	data, err := v.teamData(v.newInvite())
	if err != nil {
		return err
	}
	if v.r.Header.Get("HX-Source") == "form#search" {
		v.w.Header().Set("HX-Replace-Url", v.r.URL.Path+data.address(data.token, data.trail))
	}
	return v.show(http.StatusOK, teamView(v, data))
}

// teamData reads what the team page shows.
func (v *visit) teamData(form *inviteForm) (*teamData, error) {
	data := &teamData{invite: form, query: strings.TrimSpace(v.r.FormValue("query")), token: v.r.FormValue("page_token")}
	if trail := v.r.FormValue("trail"); data.token != "" {
		data.trail = strings.Split(trail, ".")
	}
	query := url.Values{"limit": {fmt.Sprint(membersOnPage)}}
	if data.query != "" {
		query.Set("query", data.query)
	}
	if data.token != "" {
		query.Set("page_token", data.token)
	}
	if err := v.get(v.teamPath("/members?"+query.Encode()), &data.members); err != nil {
		return nil, err
	}
	var err error
	if data.roles, err = v.roles(); err != nil {
		return nil, err
	}
	if data.sites, err = v.sites(); err != nil {
		return nil, err
	}
	if v.team.may("invite") {
		err = v.get(v.teamPath("/invitations?"+v.invitationsQuery()), &data.invitations)
	}
	return data, err
}

func (v *visit) invitationsQuery() string {
	query := url.Values{"limit": {fmt.Sprint(membersOnPage)}}
	if token := v.r.FormValue("invitations"); token != "" {
		query.Set("page_token", token)
	}
	return query.Encode()
}

// maxTrail bounds how far back one can page in an address.
const maxTrail = 20

// address is the query of a page of members.
func (d *teamData) address(token string, trail []string) string {
	query := url.Values{}
	if d.query != "" {
		query.Set("query", d.query)
	}
	if token != "" {
		query.Set("page_token", token)
		query.Set("trail", strings.Join(trail[max(0, len(trail)-maxTrail):], "."))
	}
	if len(query) == 0 {
		return ""
	}
	return "?" + query.Encode()
}

// next and previous are the pages beside this one; empty at the ends.
func (d *teamData) next() string {
	if d.members.Page.NextToken == "" {
		return ""
	}
	return teamPagePath + d.address(d.members.Page.NextToken, append(slices.Clone(d.trail), d.token))
}

func (d *teamData) previous() string {
	if d.token == "" {
		return ""
	}
	last := len(d.trail) - 1
	return teamPagePath + d.address(d.trail[last], d.trail[:last])
}

// here is the page of the list that somebody comes back to after a change.
func (d *teamData) here() string { return teamPagePath + d.address(d.token, d.trail) }

// siteName is what a site is called; one that the reader doesn't reach has no
// name for them.
func (d *teamData) siteName(v *visit, id string) string {
	for _, site := range d.sites {
		if site.ID == id {
			return site.Name
		}
	}
	return "Another " + v.catalog.Labels.Site
}

// backToTeam is where a change leads: the list that it was made from, or the team.
func (v *visit) backToTeam() string {
	back, err := url.Parse(v.r.FormValue("back"))
	if err != nil || back.IsAbs() || back.Host != "" ||
		back.Path != teamPagePath && !strings.HasPrefix(back.Path, teamPagePath+"/members/") {
		return teamPagePath
	}
	return back.RequestURI()
}

// ownMembershipPage is the team of somebody who may not see the others in it.
func ownMembershipPage(v *visit) error {
	roles, err := v.roles()
	if err != nil {
		return err
	}
	sites, err := v.sites()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, ownMembershipView(v, roles.find(v.team.Role), sites))
}

// seatCount is how full the team is, for the meter.
type seatCount struct {
	used, limit int
	plan, text  string
	full        bool
}

// seatCount counts what the plan counts; false where nothing is capped.
func (v *visit) seatCount() (s seatCount, capped bool) {
	taken := v.team.Seats
	if taken.Limit == nil {
		return s, false
	}
	s = seatCount{used: taken.Members + taken.Pending, limit: *taken.Limit, plan: v.planName(v.team.Plan)}
	s.full = s.used >= s.limit
	s.text = fmt.Sprintf("%s, %d pending", count(taken.Members, "member", "members"), taken.Pending)
	if !v.catalog.Rules.OwnerTakesSeat {
		s.text += "; the owner takes no seat"
	}
	return s, true
}

// othersSeated tells whether anybody but the owner takes a seat.
func (v *visit) othersSeated() bool {
	return v.team.Seats.Members > 1 || v.team.Seats.Members == 1 && !v.catalog.Rules.OwnerTakesSeat
}

// teamUpgradePath is where a bigger plan is to be had.
func (v *visit) teamUpgradePath() string {
	if v.catalog.Rules.UpgradeURL != "" {
		return v.catalog.Rules.UpgradeURL
	}
	return "/dashboard/subscribe"
}

// shown and most are for the meter: a plan without seats is full.
func (s seatCount) shown() string { return fmt.Sprint(max(min(s.used, s.limit), 1-min(s.limit, 1))) }
func (s seatCount) most() string  { return fmt.Sprint(max(s.limit, 1)) }

func (s seatCount) fraction() string { return fmt.Sprintf("%d of %d", s.used, s.limit) }

// path is of the invitation's card, or of what is done to it.
func (i *teamInvitation) path(rest string) string {
	return teamPagePath + "/invitations/" + i.ID + rest
}

// shownGrants is how many roles on sites a row of a list shows.
const shownGrants = 3

// named gives the names of the sites of an invitation, which has their ids.
func (d *teamData) named(v *visit, grants []MemberSite) []MemberSite {
	out := slices.Clone(grants)
	for i := range out {
		out[i].Name = d.siteName(v, out[i].SiteID)
	}
	return out
}

// everySite says that a role covers all sites, or that there are none.
func (v *visit) everySite(some bool) string {
	if some {
		return "Every " + v.catalog.Labels.Site
	}
	return "No " + v.catalog.Labels.Sites + " yet: the role covers everything"
}
