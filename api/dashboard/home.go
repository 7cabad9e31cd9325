package dashboard

import (
	"net/http"

	"github.com/go-chi/chi/v5"
)

// homeRoutes are the way in, and from one team to another.
func (d *Dashboard) homeRoutes(router chi.Router) {
	router.Get("/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/dashboard", http.StatusFound) })
	router.Get("/dashboard", d.signedIn(home))
	router.Post("/dashboard/switch", d.signedIn(switchTeam))
}

// home leads to the first page that there is something on for the reader.
func home(v *visit) error {
	if ended := v.r.FormValue("ended"); ended != "" {
		for _, membership := range v.me.Teams {
			if membership.ID == ended {
				return v.to("/dashboard/team")
			}
		}
		return v.show(http.StatusOK, membershipEnded(v))
	}
	if v.me.ActiveTeamID == "" {
		return v.show(http.StatusOK, noTeam(v, v.form()))
	}
	return v.to("/dashboard/team")
}

// switchTeam makes another team the active one.
func switchTeam(v *visit) error {
	_, err := v.send(http.MethodPut, "/v1/me/active-team", map[string]any{"team_id": v.r.PostFormValue("team_id")}, nil)
	if err != nil {
		return err
	}
	return v.to("/dashboard/team")
}
