package dashboard

import (
	"net/http"
	"strings"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"
)

// entryRoutes are the pages of people who aren't signed in: signing up and in,
// invitations, a forgotten password, and the confirmation of an ownership.
func (d *Dashboard) entryRoutes(router chi.Router) {
	router.Get("/signup", d.open(signUpPage))
	router.Post("/signup", d.open(signUp))

	router.Get("/signin", d.open(signInPage))
	router.Post("/signin", d.open(signIn))
	router.Post("/signin/passkey", d.open(signInByPasskey))
	router.Get("/signin/two-factor", d.open(twoFactorPage))
	router.Post("/signin/two-factor", d.open(twoFactor))
	router.Post("/signin/two-factor/passkey", d.open(twoFactorOptions))
	router.Post("/signout", d.open(signOut))

	router.Get("/forgot", d.open(forgotPage))
	router.Post("/forgot", d.open(forgot))
	router.Get("/reset/{token}", d.open(resetPage))
	router.Post("/reset/{token}", d.open(reset))

	router.Get("/invite/{token}", d.open(invitePage))
	router.Post("/invite/{token}", d.open(acceptInvitation))
	router.Get("/invite/{token}/decline", d.open(declinePage))
	router.Post("/invite/{token}/decline", d.open(declineInvitation))

	router.Get("/ownership/{token}", d.open(ownershipPage))
	router.Post("/ownership/{token}", d.open(confirmOwnership))
}

// signUpPage is also where the links of some hosts' invitations lead.
func signUpPage(v *visit) error {
	if v.r.FormValue("invite") != "" {
		return invitePage(v)
	}
	if err := v.identify(); err != nil {
		return err
	}
	if v.me != nil {
		return v.to("/dashboard")
	}
	standard, err := v.standardCatalog()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, signUpForm(v, v.form(), standard.Labels))
}

func signUp(v *visit) error {
	form := v.filled()
	_, err := v.send(http.MethodPost, "/v1/users", map[string]any{
		"name": form.Get("name"), "email": form.Get("email"), "password": form.Get("password"), "team_name": strings.TrimSpace(form.Get("team_name")),
	}, nil)
	if err != nil {
		standard, unknown := v.standardCatalog()
		if unknown != nil {
			return unknown
		}
		return v.again(err, form, func(form *Form) templ.Component { return signUpForm(v, form, standard.Labels) })
	}
	return v.to("/dashboard")
}
