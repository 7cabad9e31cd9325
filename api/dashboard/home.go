package dashboard

import (
	"net/http"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"
)

// homeRoutes are the way in, and from one team to another.
func (d *Dashboard) homeRoutes(router chi.Router) {
	router.Get("/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/dashboard", http.StatusFound) })
	router.Get("/dashboard", d.signedIn(home))
	router.Post("/dashboard/switch", d.signedIn(switchTeam))
	router.Get("/dashboard/new", d.signedIn(newTeamPage))
	router.Post("/dashboard/new", d.signedIn(createTeam))
}

// home leads to the first page that there is something on for the reader.
func home(v *visit) error {
	if ended := v.r.FormValue("ended"); ended != "" {
		for _, membership := range v.me.Teams {
			if membership.ID == ended {
				return v.to("/dashboard")
			}
		}
		return v.show(http.StatusOK, membershipEnded(v))
	}
	if v.me.ActiveTeamID == "" {
		return newTeamPage(v)
	}
	if v.me.active().TwoFactor.shutOut(v.now) {
		return v.show(http.StatusForbidden, secondFactorMissing(v))
	}
	if err := v.enterTeam(); err != nil {
		return err
	}
	return v.to(v.entries()[0].path)
}

// switchTeam makes another team the active one.
func switchTeam(v *visit) error {
	_, err := v.send(http.MethodPut, "/v1/me/active-team", map[string]any{"team_id": v.r.PostFormValue("team_id")}, nil)
	if err != nil {
		return err
	}
	return v.to("/dashboard")
}

// standardCatalog is the role catalog that a new team follows.
func (v *visit) standardCatalog() (catalog *Catalog, err error) {
	catalog = new(Catalog)
	return catalog, v.get("/v1/catalog", catalog)
}

func newTeamPage(v *visit) error {
	show, err := v.newTeamForm()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, show(v.form()))
}

// newTeamForm is the form for another team: within the active one, or alone for
// somebody who has none, or may not go into it.
func (v *visit) newTeamForm() (func(*Form) templ.Component, error) {
	standard, err := v.standardCatalog()
	if err == nil && v.me.ActiveTeamID != "" && !v.me.active().TwoFactor.shutOut(v.now) {
		err = v.enterTeam()
	}
	return func(form *Form) templ.Component { return newTeamView(v, standard.Labels.Team, form) }, err
}

func createTeam(v *visit) error {
	form := v.filled()
	var created Team
	if _, err := v.send(http.MethodPost, "/v1/teams", map[string]any{"name": form.Get("name")}, &created); err != nil {
		show, unknown := v.newTeamForm()
		if unknown != nil {
			return unknown
		}
		return v.again(err, form, show)
	}
	if _, err := v.send(http.MethodPut, "/v1/me/active-team", map[string]any{"team_id": created.ID}, nil); err != nil {
		return err
	}
	return v.done("/dashboard", "It is made, and you are its owner.")
}
