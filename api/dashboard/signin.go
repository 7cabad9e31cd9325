package dashboard

import (
	"net/http"
	"net/url"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"
)

// entryRoutes are the pages of people who aren't signed in: signing up and in,
// invitations, a forgotten password, and the confirmation of an ownership.
func (d *Dashboard) entryRoutes(router chi.Router) {
	router.Get("/signin", d.open(signInPage))
	router.Post("/signin", d.open(signIn))
	router.Post("/signout", d.open(signOut))
}

func signInPage(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	if v.me != nil {
		return v.to(v.next())
	}
	form := v.form()
	form.Set("email", v.r.FormValue("email"))
	return v.show(http.StatusOK, signInForm(v, form))
}

// signedInAnswer is what a sign-in answers: a session, whose cookie the visit
// has passed on, or a challenge for the second factor.
type signedInAnswer struct {
	TwoFactorRequired bool     `json:"two_factor_required"`
	Challenge         string   `json:"challenge"`
	Methods           []string `json:"methods"`
}

func signIn(v *visit) error {
	form := v.filled()
	var answer signedInAnswer
	_, err := v.send(http.MethodPost, "/v1/sessions", map[string]any{"email": form.Get("email"), "password": form.Get("password")}, &answer)
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return signInForm(v, form) })
	}
	if answer.TwoFactorRequired {
		return v.to("/signin/two-factor?next=" + url.QueryEscape(v.next()))
	}
	return v.to(v.next())
}

// signOut ends the session; one that has ended already is fine too.
func signOut(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	if v.me != nil {
		if _, err := v.send(http.MethodDelete, "/v1/sessions/current", nil, nil); err != nil {
			return err
		}
	}
	return v.to("/signin")
}
