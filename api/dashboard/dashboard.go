package dashboard

import (
	"net/http"
	"net/url"

	"github.com/go-chi/chi/v5"
)

// Config is what a Dashboard is made from.
type Config struct {
	// API answers the requests that the pages make.
	API http.Handler
	// Brand is how the host wants the pages to look.
	Brand Brand
	// BillingURL is where the host changes plans; nil where its operator does.
	BillingURL *url.URL
	// Secure says that the pages are reached by https alone.
	Secure bool
	// Mailbox says that there is a dev mailbox to link to.
	Mailbox bool
}

// Dashboard serves the pages.
type Dashboard struct {
	config Config
	api    http.Handler
	assets *assets
}

// New makes the pages; Routes puts them into a router.
func New(config Config) *Dashboard {
	config.Brand = config.Brand.filled()
	return &Dashboard{config: config, api: config.API, assets: newAssets(config.Brand)}
}

// Routes registers every page, area by area.
func (d *Dashboard) Routes(router chi.Router) {
	d.assets.routes(router)
	d.homeRoutes(router)
	d.entryRoutes(router)
	d.accountRoutes(router)
	d.teamRoutes(router)
	d.auditRoutes(router)
	d.settingsRoutes(router)
}
