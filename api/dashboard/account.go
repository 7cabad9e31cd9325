package dashboard

import "github.com/go-chi/chi/v5"

// accountRoutes are the reader's own account.
func (d *Dashboard) accountRoutes(router chi.Router) {
}
