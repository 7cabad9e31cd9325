package dashboard

import (
	"net/http"
	"time"

	"github.com/a-h/templ"
)

// Site is a part of the business to which access is granted separately.
type Site struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	Members   *int      `json:"members"`
}

// sites are those of the team that the reader reaches; none in a catalog without
// sites.
func (v *visit) sites() ([]Site, error) {
	if !v.catalog.Rules.Sites {
		return nil, nil
	}
	var sites Page[Site]
	err := v.get(v.teamPath("/sites"), &sites)
	return sites.Data, err
}

// divided is sites for the pages that a catalog without sites doesn't have.
func (v *visit) divided() ([]Site, error) {
	if !v.catalog.Rules.Sites {
		return nil, absent("This " + v.catalog.Labels.Team + " isn't divided any further.")
	}
	return v.sites()
}

// site is the one that the page's path names.
func (v *visit) site() (*Site, error) {
	sites, err := v.divided()
	if err != nil {
		return nil, err
	}
	for i := range sites {
		if sites[i].ID == v.part("site") {
			return &sites[i], nil
		}
	}
	return nil, absent("There is no such " + v.catalog.Labels.Site + ".")
}

func sitesPage(v *visit) error {
	sites, err := v.divided()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, sitesView(v, sites))
}

// maySites refuses unless the reader may change the sites.
func (v *visit) maySites() error {
	if !v.team.may("manage_sites") {
		return denied("Your role doesn't let you change " + v.catalog.Labels.Sites + ".")
	}
	return nil
}

func newSitePage(v *visit) error {
	if err := v.maySites(); err != nil {
		return err
	}
	sites, err := v.divided()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, siteView(v, nil, len(sites) == 0, v.form()))
}

func addSite(v *visit) error {
	form := v.filled()
	if _, err := v.send(http.MethodPost, v.teamPath("/sites"), map[string]any{"name": form.Get("name")}, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return siteView(v, nil, false, form) })
	}
	return v.done("/dashboard/settings/sites", "The "+v.catalog.Labels.Site+" was added.")
}

func renameSitePage(v *visit) error {
	if err := v.maySites(); err != nil {
		return err
	}
	site, err := v.site()
	if err != nil {
		return err
	}
	form := v.form()
	form.Set("name", site.Name)
	return v.show(http.StatusOK, siteView(v, site, false, form))
}

func renameSite(v *visit) error {
	form := v.filled()
	site, err := v.site()
	if err != nil {
		return err
	}
	if _, err := v.send(http.MethodPatch, v.at("sites", site.ID), map[string]any{"name": form.Get("name")}, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return siteView(v, site, false, form) })
	}
	return v.done("/dashboard/settings/sites", "The "+v.catalog.Labels.Site+" was renamed.")
}

func removeSitePage(v *visit) error {
	if err := v.maySites(); err != nil {
		return err
	}
	site, err := v.site()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, removeSiteView(v, site, v.form()))
}

func removeSite(v *visit) error {
	form := v.filled()
	site, err := v.site()
	if err != nil {
		return err
	}
	if _, err := v.send(http.MethodDelete, v.at("sites", site.ID), nil, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return removeSiteView(v, site, form) })
	}
	return v.done("/dashboard/settings/sites", "The "+v.catalog.Labels.Site+" was removed.")
}
