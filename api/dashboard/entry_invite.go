package dashboard

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// Invited is an invitation as the holder of its link sees it.
type Invited struct {
	Team struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"team"`
	Email     string `json:"email"`
	Name      string `json:"name"`
	RoleName  string `json:"role_name"`
	RoleAbout string `json:"role_description"`
	Sites     []struct {
		Name     string `json:"name"`
		RoleName string `json:"role_name"`
	} `json:"sites"`
	Labels    Labels    `json:"labels"`
	ExpiresAt time.Time `json:"expires_at"`
	Next      string    `json:"next"`
}

// invited finds out who reads and what the link that they opened invites to.
// Opening it changes nothing.
func (v *visit) invited() (*Invited, error) {
	if err := v.identify(); err != nil {
		return nil, err
	}
	invitation := new(Invited)
	if err := v.get("/v1/invitations/"+v.token(), invitation); err != nil {
		return nil, err
	}
	if tenant := v.r.URL.Query().Get("tenant"); tenant != "" && tenant != invitation.Team.ID {
		return nil, &Problem{Status: http.StatusNotFound, Code: "not_found"} // it was put together from two links
	}
	return invitation, nil
}

func invitePage(v *visit) error {
	invitation, err := v.invited()
	if err != nil {
		return v.invitationRefused(err)
	}
	form := v.form()
	form.Set("name", invitation.Name)
	return v.show(http.StatusOK, invitationView(v, form, invitation))
}

// acceptInvitation joins the team: as who is signed in, or by a new account.
func acceptInvitation(v *visit) error {
	invitation, err := v.invited()
	if err != nil {
		return v.invitationRefused(err)
	}
	form, body := v.filled(), map[string]any{}
	if v.me == nil {
		body["name"], body["password"] = form.Get("name"), form.Get("password")
	}
	_, err = v.send(http.MethodPost, "/v1/invitations/"+v.token()+"/accept", body, nil)
	problem, _ := errors.AsType[*Problem](err)
	switch {
	case problem != nil && problem.Code == "already_member":
		return v.arrive(invitation.Team.ID, "You are a member of "+isolated(invitation.Team.Name)+" already.")
	case problem != nil && dead(problem):
		return v.invitationRefused(err)
	case err != nil:
		return v.again(err, form, func(form *Form) templ.Component { return invitationView(v, form, invitation) })
	}
	return v.arrive(invitation.Team.ID, "You have joined "+isolated(invitation.Team.Name)+".")
}

// arrive makes a team the active one and leads to it.
func (v *visit) arrive(team, note string) error {
	// Somebody new was given a session just now, by which to go on.
	for _, line := range v.w.Header().Values("Set-Cookie") {
		pair, _, _ := strings.Cut(line, ";")
		v.r.Header.Set("Cookie", pair)
	}
	if _, err := v.send(http.MethodPut, "/v1/me/active-team", map[string]any{"team_id": team}, nil); err != nil {
		return err
	}
	return v.done("/dashboard", note)
}

func declinePage(v *visit) error {
	invitation, err := v.invited()
	if err != nil {
		return v.invitationRefused(err)
	}
	return v.show(http.StatusOK, declineForm(v, v.form(), invitation))
}

func declineInvitation(v *visit) error {
	invitation, err := v.invited()
	if err != nil {
		return v.invitationRefused(err)
	}
	_, err = v.send(http.MethodPost, "/v1/invitations/"+v.token()+"/decline", nil, nil)
	problem, _ := errors.AsType[*Problem](err)
	switch {
	case problem != nil && dead(problem):
		return v.invitationRefused(err)
	case err != nil:
		return v.again(err, v.filled(), func(form *Form) templ.Component { return declineForm(v, form, invitation) })
	}
	return v.show(http.StatusOK, declined(v, invitation))
}

// dead tells whether a link leads nowhere any more.
func dead(problem *Problem) bool {
	return problem.Status == http.StatusGone || problem.Status == http.StatusNotFound
}

// invitationRefused says why an invitation can't be accepted and what to do.
func (v *visit) invitationRefused(err error) error {
	problem, ok := errors.AsType[*Problem](err)
	if !ok || !dead(problem) && problem.Code != "seat_limit_reached" {
		return err
	}
	return v.show(problem.Status, deadLink(v, invitationFate(problem.Code)))
}

// fate is what became of a link, and what to do about it.
type fate struct{ title, what, next string }

func invitationFate(code string) fate {
	const ask = "Ask whoever invited you to send it again: it takes them one click."
	switch code {
	case "invitation_expired":
		return fate{"This invitation has expired", "Invitations work for a limited time, and this one's is over.", ask}
	case "invitation_used":
		return fate{"This invitation was used", "Each works once.", "If it was you who accepted it, sign in and go on. If not, tell whoever invited you."}
	case "invitation_cancelled":
		return fate{"This invitation was cancelled", "Whoever invited you has taken it back.", "Ask them whether that was meant. They can invite you again."}
	case "invitation_declined":
		return fate{"This invitation was declined", "Nothing came of it.", "If you have changed your mind, ask whoever invited you for a new one."}
	case "seat_limit_reached":
		return fate{"There is no room just now", "The plan has no seat left for you.", "Tell whoever invited you. As soon as there is a seat, this link works."}
	}
	return fate{"We don't know this invitation", "The link may not have been copied whole. If it was sent to you again since, only the newest link works.", ask}
}
