package api

import (
	"context"
	"net/http"
	"time"

	"roster/domain"
)

type siteView struct {
	ID        domain.SiteID `json:"id"`
	Name      string        `json:"name"`
	CreatedAt time.Time     `json:"created_at"`
	Members   *int          `json:"members,omitempty" doc:"How many members have a role on it; absent for one who may not list members, and in answers to changes."`
}

func viewSite(site *domain.Site) siteView {
	return siteView{ID: site.ID, Name: site.Name, CreatedAt: site.AddedAt}
}

type SitePath struct {
	TeamPath
	Site domain.SiteID `path:"site" maxLength:"64" doc:"Of the site."`
}

type siteBody struct {
	Name string `json:"name" minLength:"1" maxLength:"400"`
}

type addSiteInput struct {
	TeamPath
	Body siteBody
}

type renameSiteInput struct {
	SitePath
	Body siteBody
}

func (s *Server) siteOperations() {
	answers(s, operation{
		id: "list-sites", method: http.MethodGet, path: "/v1/teams/{team}/sites", tag: tagSites,
		summary: "List sites", about: "Those that the caller reaches: all of them with a role that reaches every site, else those granted.",
		access: authenticated, reads: readsState,
	}, s.listSites)
	answers(s, operation{
		id: "add-site", method: http.MethodPost, path: "/v1/teams/{team}/sites", tag: tagSites,
		summary: "Add a site", status: http.StatusCreated, access: authenticated,
	}, s.addSite)
	answers(s, operation{
		id: "rename-site", method: http.MethodPatch, path: "/v1/teams/{team}/sites/{site}", tag: tagSites,
		summary: "Rename a site", access: authenticated,
	}, s.renameSite)
	acts(s, operation{
		id: "remove-site", method: http.MethodDelete, path: "/v1/teams/{team}/sites/{site}", tag: tagSites,
		summary: "Remove a site and every grant on it", access: authenticated,
	}, s.removeSite)
}

func (s *Server) listSites(ctx context.Context, x *exchange, in *TeamPath) (list[siteView], error) {
	var views []siteView
	done, err := s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, now time.Time) error {
		counts := may(t, x.caller, domain.ActionViewMembers, now) == nil
		onSite := map[domain.SiteID]int{}
		if counts {
			for _, member := range t.Members(0, now) {
				for _, grant := range member.Sites {
					onSite[grant.Site]++
				}
			}
		}
		for _, site := range t.Sites() {
			if reaches(t, x, site.ID, now) {
				view := viewSite(site)
				if members := onSite[site.ID]; counts {
					view.Members = &members
				}
				views = append(views, view)
			}
		}
		return nil
	})
	if err != nil {
		return list[siteView]{}, err
	}
	x.stands(done)
	return newList(views, ""), nil
}

// reaches tells whether the caller may know of a site. Keys and the operator
// belong to the team as a whole.
func reaches(t *domain.Team, x *exchange, site domain.SiteID, now time.Time) bool {
	member, ok := t.Member(x.caller.User, now)
	if !ok {
		return true
	}
	if role, ok := t.Role(member.Role); ok && role.AllSites {
		return true
	}
	for _, grant := range member.Sites {
		if grant.Site == site {
			return true
		}
	}
	return false
}

func (s *Server) addSite(ctx context.Context, x *exchange, in *addSiteInput) (siteView, error) {
	site, done, err := s.commands.AddSite(ctx, x.caller, in.Team, in.Body.Name)
	if err != nil {
		return siteView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return viewSite(&site), nil
}

func (s *Server) renameSite(ctx context.Context, x *exchange, in *renameSiteInput) (view siteView, err error) {
	done, err := s.commands.RenameSite(ctx, x.caller, in.Team, in.Site, in.Body.Name)
	if err != nil {
		return siteView{}, err
	}
	s.wrote(x, x.caller.User, done)
	_, err = s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, _ time.Time) error {
		site, ok := t.Site(in.Site)
		if !ok {
			return domain.ErrNotFound
		}
		view = viewSite(site)
		return nil
	})
	return view, err
}

func (s *Server) removeSite(ctx context.Context, x *exchange, in *SitePath) error {
	done, err := s.commands.RemoveSite(ctx, x.caller, in.Team, in.Site)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}
