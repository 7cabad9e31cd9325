package dashboard

import (
	"net/http"
	"net/url"

	"github.com/go-chi/chi/v5"
)

// teamRoutes are the members and invitations of a team.
func (d *Dashboard) teamRoutes(router chi.Router) {
	router.Get("/dashboard/team", d.inTeam(teamPage))
}

func teamPage(v *visit) error {
	query := url.Values{"limit": {"50"}}
	if text := v.r.FormValue("query"); text != "" {
		query.Set("query", text)
	}
	var members Page[Member]
	if err := v.get(v.teamPath("/members?"+query.Encode()), &members); err != nil {
		return err
	}
	var roles Page[Role]
	if err := v.get(v.teamPath("/roles"), &roles); err != nil {
		return err
	}
	return v.show(http.StatusOK, teamView(v, members, roles.Data))
}
