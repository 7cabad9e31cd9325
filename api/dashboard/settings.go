package dashboard

import "github.com/go-chi/chi/v5"

// settingsRoutes are what is set up once: roles, sites, keys, the plan and the team itself.
func (d *Dashboard) settingsRoutes(router chi.Router) {
}
