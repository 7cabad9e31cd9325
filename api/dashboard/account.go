package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"
)

// accountRoutes are the reader's own account.
func (d *Dashboard) accountRoutes(router chi.Router) {
	router.Get("/dashboard/account", d.onAccount(accountPage))
	router.Get("/dashboard/account/name", d.onAccount(namePage))
	router.Post("/dashboard/account/name", d.onAccount(rename))
	router.Get("/dashboard/account/password", d.onAccount(passwordPage))
	router.Post("/dashboard/account/password", d.onAccount(changePassword))

	router.Get("/dashboard/account/authenticator", d.signedIn(backToAccount))
	router.Post("/dashboard/account/authenticator", d.onAccount(startAuthenticator))
	router.Get("/dashboard/account/authenticator/confirm", d.signedIn(backToAccount))
	router.Post("/dashboard/account/authenticator/confirm", d.onAccount(confirmAuthenticator))
	router.Get("/dashboard/account/authenticator/remove", d.onAccount(removeAuthenticatorPage))
	router.Post("/dashboard/account/authenticator/remove", d.onAccount(removeAuthenticator))
	router.Get("/dashboard/account/recovery-codes", d.onAccount(renewCodesPage))
	router.Post("/dashboard/account/recovery-codes", d.onAccount(renewCodes))

	router.Get("/dashboard/account/passkeys", d.signedIn(backToAccount))
	router.Post("/dashboard/account/passkeys", d.onAccount(addPasskey))
	router.Get("/dashboard/account/passkeys/new", d.onAccount(newPasskeyPage))
	router.Get("/dashboard/account/passkeys/{id}/remove", d.onAccount(removePasskeyPage))
	router.Post("/dashboard/account/passkeys/{id}/remove", d.onAccount(removePasskey))

	router.Post("/dashboard/account/sessions/end", d.onAccount(endOtherSessions))
	router.Post("/dashboard/account/sessions/{id}/end", d.onAccount(endSession))
}

// onAccount is for pages about the reader's own account, which somebody has in
// no team as well, and without the second factor that their team requires.
func (d *Dashboard) onAccount(show page) http.HandlerFunc {
	return d.signedIn(func(v *visit) error {
		if v.me.ActiveTeamID != "" && !v.me.active().TwoFactor.shutOut(v.now) {
			if err := v.enterTeam(); err != nil {
				return err
			}
		}
		return show(v)
	})
}

func backToAccount(v *visit) error { return v.to("/dashboard/account") }

// Account is the reader's own account.
type Account struct {
	Passkeys []Passkey
	Sessions []Session
}

// Passkey is one of the reader's passkeys.
type Passkey struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// Session is where the reader is signed in.
type Session struct {
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	IP         string    `json:"ip"`
	UserAgent  string    `json:"user_agent"`
	Current    bool      `json:"current"`
}

func accountPage(v *visit) error {
	var passkeys Page[Passkey]
	if err := v.get("/v1/me/passkeys", &passkeys); err != nil {
		return err
	}
	var sessions Page[Session]
	if err := v.get("/v1/sessions", &sessions); err != nil {
		return err
	}
	return v.show(http.StatusOK, accountView(v, Account{passkeys.Data, sessions.Data}))
}

// asked are the reader's teams that require a second factor which is missing.
func (v *visit) asked() (teams []Membership) {
	for _, team := range v.me.Teams {
		if team.TwoFactor.Required && !team.TwoFactor.Met {
			teams = append(teams, team)
		}
	}
	return teams
}

// opens is how a link opens a card: over the page where there is a dialog, and
// as a page of its own elsewhere.
func (v *visit) opens(path string) templ.Attributes {
	if v.team == nil {
		return templ.Attributes{"href": path}
	}
	return inSheet(path)
}

func namePage(v *visit) error {
	form := v.form()
	form.Set("name", v.me.User.Name)
	return v.show(http.StatusOK, nameForm(v, form))
}

func rename(v *visit) error {
	form := v.filled()
	if _, err := v.send(http.MethodPatch, "/v1/me", map[string]any{"name": form.Get("name")}, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return nameForm(v, form) })
	}
	return v.done("/dashboard/account", "Your name is changed.")
}

func passwordPage(v *visit) error { return v.show(http.StatusOK, passwordForm(v, v.form())) }

func changePassword(v *visit) error {
	form := v.filled()
	_, err := v.send(http.MethodPut, "/v1/me/password", map[string]any{
		"current_password": form.Get("current_password"), "new_password": form.Get("new_password"),
	}, nil)
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return passwordForm(v, form) })
	}
	return v.done("/dashboard/account", "Your password is changed, and you are signed out everywhere else.")
}

func endSession(v *visit) error {
	_, err := v.send(http.MethodDelete, "/v1/sessions/"+url.PathEscape(v.part("id")), nil, nil)
	if problem, ok := errors.AsType[*Problem](err); err != nil && (!ok || problem.Status != http.StatusNotFound) {
		return err
	}
	return v.done("/dashboard/account", "That device is signed out.") // if not now, then before
}

func endOtherSessions(v *visit) error {
	if _, err := v.send(http.MethodDelete, "/v1/sessions", nil, nil); err != nil {
		return err
	}
	return v.done("/dashboard/account", "You are signed out everywhere else.")
}
