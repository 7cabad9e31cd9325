package dashboard

import "github.com/go-chi/chi/v5"

// auditRoutes are the audit log, and what it tells of the past.
func (d *Dashboard) auditRoutes(router chi.Router) {
}
