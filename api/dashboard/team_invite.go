package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// inviteForm is the form to invite with and, after it was sent, what became of
// each address.
type inviteForm struct {
	*Form
	results []inviteResult
}

// inviteResult is what became of one address.
type inviteResult struct {
	email string
	text  string
	good  bool
	full  bool // there was no seat
}

// full tells whether somebody couldn't be invited for want of a seat.
func (f *inviteForm) full() bool {
	return f.Problem != nil && f.Problem.Code == "seat_limit_reached" ||
		slices.ContainsFunc(f.results, func(r inviteResult) bool { return r.full })
}

// sent tells whether the form shows the answer to something.
func (f *inviteForm) sent() bool { return f.Problem != nil || len(f.results) > 0 }

// rows is how high the field of addresses is.
func (f *inviteForm) rows() int { return min(max(3, strings.Count(f.Get("email"), "\n")+1), 10) }

func (v *visit) newInvite() *inviteForm { return inviteFormOf(v.form()) }

func inviteFormOf(form *Form) *inviteForm {
	form.Area = "invite-"
	return &inviteForm{Form: form}
}

// Limits of the interface on one request.
const (
	maxInvited      = 200
	maxAddressRunes = 320
	maxNameRunes    = 400
)

// addressee is somebody to invite.
type addressee struct{ email, name string }

// line is how an addressee is written in the form.
func (a addressee) line() string {
	if a.name == "" {
		return a.email
	}
	return a.name + " <" + a.email + ">"
}

// addressees reads addresses as people paste them: one a line or with commas or
// semicolons between, each alone or as Name <address>. One named twice counts
// once.
func addressees(text string) (found []addressee) {
	quoted := false
	pieces := strings.FieldsFunc(text, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == '\n' || r == '\r' || !quoted && (r == ',' || r == ';')
	})
	for _, piece := range pieces {
		one := addressee{email: strings.TrimSpace(piece)}
		if start := strings.LastIndexByte(piece, '<'); start >= 0 && strings.HasSuffix(one.email, ">") {
			inner := piece[start+1:]
			one = addressee{
				email: strings.TrimSpace(inner[:strings.LastIndexByte(inner, '>')]),
				name:  strings.TrimSpace(strings.Trim(strings.TrimSpace(piece[:start]), `"`)),
			}
		}
		known := func(other addressee) bool { return strings.EqualFold(other.email, one.email) }
		if one.email != "" && !slices.ContainsFunc(found, known) {
			found = append(found, one)
		}
	}
	return found
}

// siteGrant is a role on a site, as the interface takes it.
type siteGrant struct {
	SiteID    string     `json:"site_id"`
	Role      string     `json:"role"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// invitationBody is one invitation, as the interface takes it.
type invitationBody struct {
	Email string      `json:"email"`
	Name  string      `json:"name,omitempty"`
	Role  string      `json:"role"`
	Sites []siteGrant `json:"sites,omitempty"`

	AccessExpiresAt *time.Time `json:"access_expires_at,omitempty"`
}

// invite asks everybody named in the form to join.
func invite(v *visit) error {
	form := inviteFormOf(v.filled())
	people := addressees(form.Get("email"))
	roles, err := v.roles()
	if err != nil {
		return err
	}
	sites, err := v.sites()
	if err != nil {
		return err
	}
	switch {
	case len(people) > maxInvited:
		return v.inviteAgain(form, &Problem{
			Status: http.StatusUnprocessableEntity,
			Detail: fmt.Sprintf("These are %d addresses. At most %d can be invited at once.", len(people), maxInvited),
		})
	case len(people) == 0:
		people = []addressee{{}} // which the interface refuses in its own words
	case len(people) == 1 && people[0].name == "":
		people[0].name = strings.TrimSpace(form.Get("name"))
	}
	var grants []siteGrant
	if !roles.find(form.Get("role")).AllSites {
		grants = chosenGrants(form.Form, sites)
	}
	end, err := momentIn(form.Get("access_expires_at"))
	if err != nil {
		return v.inviteAgain(form, faulty("access_expires_at", err.Error()))
	}
	bodies := make([]invitationBody, len(people))
	for i, one := range people {
		bodies[i] = invitationBody{Email: one.email, Name: one.name, Role: form.Get("role"), Sites: grants, AccessExpiresAt: end}
	}
	if len(bodies) == 1 {
		if _, err := v.send(http.MethodPost, v.teamPath("/invitations"), bodies[0], nil); err != nil {
			return v.inviteAgain(form, err)
		}
		return v.done(teamPagePath, "The invitation to "+isolated(people[0].email)+" is on its way.")
	}
	return v.inviteMany(form, people, bodies)
}

// chosenGrants are the roles on sites that were chosen in a form: one for every
// site, or one of its own.
func chosenGrants(form *Form, sites []Site) (grants []siteGrant) {
	for _, site := range sites {
		role := form.Get("site_" + site.ID)
		if role == "" {
			role = form.Get("site_every")
		}
		if role != "" {
			grants = append(grants, siteGrant{SiteID: site.ID, Role: role})
		}
	}
	return grants
}

// inviteMany invites several; the form keeps those that were refused.
func (v *visit) inviteMany(form *inviteForm, people []addressee, bodies []invitationBody) error {
	form.results = make([]inviteResult, len(people))
	places := []int{} // of those that are sent, among people
	sent := []invitationBody{}
	for i, one := range people {
		form.results[i].email = one.email
		if utf8.RuneCountInString(one.email) > maxAddressRunes || utf8.RuneCountInString(one.name) > maxNameRunes {
			form.results[i].text = "Too long to be an address"
			continue
		}
		places, sent = append(places, i), append(sent, bodies[i])
	}
	status := http.StatusUnprocessableEntity
	if len(sent) > 0 {
		var answer Page[struct {
			Status int      `json:"status"`
			Error  *Problem `json:"error"`
		}]
		if _, err := v.send(http.MethodPost, v.teamPath("/invitations/bulk"), map[string]any{"invitations": sent}, &answer); err != nil {
			form.results = nil
			return v.inviteAgain(form, err)
		}
		for i, result := range answer.Data {
			shown := &form.results[places[i]]
			if shown.good = result.Error == nil; shown.good {
				status = http.StatusOK
				shown.text = "Invited"
				continue
			}
			shown.text = inviteRefusal(result.Error)
			shown.full = result.Error.Code == "seat_limit_reached"
		}
	}
	var left []string
	for i, result := range form.results {
		if !result.good {
			left = append(left, people[i].line())
		}
	}
	if len(left) == 0 {
		return v.done(teamPagePath, fmt.Sprintf("%d invitations are on their way.", len(people)))
	}
	form.Set("email", strings.Join(left, "\n"))
	form.Once = newOnce()
	return v.showInvite(form, status)
}

// inviteRefusal says shortly why one of several wasn't invited.
func inviteRefusal(problem *Problem) string {
	switch problem.Code {
	case "already_member":
		return "Already a member"
	case "already_invited":
		return "Already invited"
	case "seat_limit_reached":
		return "No seat left"
	}
	if len(problem.Errors) > 0 {
		return capital(problem.Errors[0].Detail)
	}
	return problem.Detail
}

// inviteAgain shows the form with what is wrong with it.
func (v *visit) inviteAgain(form *inviteForm, err error) error {
	problem, ok := errors.AsType[*Problem](err)
	if !ok || problem.Status == http.StatusUnauthorized || problem.Status >= http.StatusInternalServerError {
		return err
	}
	if len(problem.Errors) > 0 {
		problem.Detail = "Nobody was invited. Look at what is marked below."
	}
	if problem.Code == "seat_limit_reached" {
		problem.Detail = "The plan has no seat left." // the ways out follow, as links
	}
	form.Problem, form.Once = problem, newOnce()
	return v.showInvite(form, problem.Status)
}

func (v *visit) showInvite(form *inviteForm, status int) error {
	if err := v.get(v.teamPath(""), v.team); err != nil { // the seats have changed
		return err
	}
	data, err := v.teamData(form)
	if err != nil {
		return err
	}
	return v.show(status, teamView(v, data))
}

// invitation finds the pending invitation that the address names.
func (v *visit) invitation() (*teamInvitation, error) {
	for token := ""; ; {
		var found Page[teamInvitation]
		if err := v.get(v.teamPath("/invitations?limit=200&page_token="+token), &found); err != nil {
			return nil, err
		}
		for i := range found.Data {
			if found.Data[i].ID == v.part("id") {
				return &found.Data[i], nil
			}
		}
		if token = found.Page.NextToken; token == "" {
			return nil, &Problem{
				Status: http.StatusNotFound, Code: "not_found",
				Detail: "There is no such invitation. It may have been accepted or cancelled in the meantime.",
			}
		}
	}
}

func invitationPage(v *visit) error {
	invitation, err := v.invitation()
	if err != nil {
		return err
	}
	roles, err := v.roles()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, pendingView(v, v.form(), invitation, roles))
}

func cancelInvitationPage(v *visit) error {
	invitation, err := v.invitation()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, cancelView(v, v.form(), invitation))
}

func invitationPath(v *visit) string { return v.at("invitations", v.part("id")) }

func cancelInvitation(v *visit) error {
	if _, err := v.send(http.MethodDelete, invitationPath(v), nil, nil); err != nil {
		return err
	}
	return v.done(teamPagePath, "The invitation was cancelled. Its link no longer works.")
}

func resendInvitation(v *visit) error {
	if _, err := v.send(http.MethodPost, invitationPath(v)+"/resend", nil, nil); err != nil {
		return err
	}
	return v.done(teamPagePath, "A new link is on its way; the old one no longer works.")
}

// summary says how many of several were invited.
func (f *inviteForm) summary() string {
	invited := 0
	for _, result := range f.results {
		if result.good {
			invited++
		}
	}
	if invited == 0 {
		return "Nobody was invited."
	}
	return fmt.Sprintf("%d of %d invited. The others are still in the form.", invited, len(f.results))
}

// chosenRole is the role that a form has or, before there is one, the lowest
// that can be chosen.
func chosenRole(form *Form, choices []roleChoice) string {
	if form.Has("role") {
		return form.Get("role")
	}
	for _, choice := range slices.Backward(choices) {
		if choice.Reason == "" {
			return choice.Key
		}
	}
	return ""
}

// noneOf is what the choice of no role on a site is called: where there are
// several, one role may be chosen for all of them.
func noneOf(sites int) string {
	if sites > 1 {
		return "As above, or no access"
	}
	return "No access"
}
