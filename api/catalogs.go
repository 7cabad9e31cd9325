package api

import (
	"context"
	"net/http"
	"time"

	"roster/domain"
)

// catalogView is the role catalog that a team follows: the words for its pages,
// what there is to permit, and which rules hold.
type catalogView struct {
	Name      string         `json:"name"`
	Version   int            `json:"version"`
	Labels    labelsView     `json:"labels"`
	Rules     rulesView      `json:"rules"`
	Resources []resourceView `json:"resources" doc:"In the order of the catalog's file."`
	Plans     []planView     `json:"plans" doc:"From the smallest; empty in a catalog without plans."`
}

type labelsView struct {
	Product string `json:"product"`
	Team    string `json:"team" doc:"What a team is called." example:"company"`
	Teams   string `json:"teams"`
	Site    string `json:"site" doc:"What a site is called; empty in a catalog without sites." example:"store"`
	Sites   string `json:"sites"`
}

type rulesView struct {
	Sites             bool           `json:"sites" doc:"Members have roles on sites."`
	Overrides         bool           `json:"overrides" doc:"Members may have permissions granted and revoked."`
	CustomRoles       bool           `json:"custom_roles" doc:"A team may define roles of its own."`
	Leaving           bool           `json:"leaving" doc:"Members may leave by themselves."`
	OwnerTakesSeat    bool           `json:"owner_takes_seat"`
	TransferBy        string         `json:"transfer_by" enum:"owner,operator" doc:"Who moves the ownership."`
	PreviousOwnerRole domain.RoleKey `json:"previous_owner_role" doc:"What a transfer of the ownership makes of the old owner."`
	UpgradeURL        string         `json:"upgrade_url" doc:"Where a plan is changed; empty in a catalog without plans."`
}

type resourceView struct {
	Key     string   `json:"key"`
	Name    string   `json:"name"`
	Site    bool     `json:"site" doc:"It belongs to a site, so that access to it comes from the grant on that site."`
	Actions []string `json:"actions" doc:"Each makes one permission, resource:action."`
}

type planView struct {
	Key       string `json:"key"`
	Name      string `json:"name"`
	Seats     *int   `json:"seats" doc:"Most members and pending invitations. Null for no limit."`
	TwoFactor bool   `json:"two_factor" doc:"A team may require two-factor sign-in."`
}

func (s *Server) catalogOperations() {
	answers(s, operation{
		id: "get-catalog", method: http.MethodGet, path: "/v1/teams/{team}/catalog", tag: tagRoles,
		summary: "The role catalog of a team", about: "The words, resources, plans and rules that the team goes by. Its roles are at `roles`.",
		access: authenticated, reads: readsState,
	}, s.getCatalog)
	answers(s, operation{
		id: "get-standard-catalog", method: http.MethodGet, path: "/v1/catalog", tag: tagRoles,
		summary: "The role catalog of a new team", about: "Of one that is made without naming another.",
		access: anyone, reads: readsState,
	}, s.getStandardCatalog)
}

func (s *Server) getStandardCatalog(context.Context, *exchange, *struct{}) (catalogView, error) {
	return viewCatalog(s.commands.StandardCatalog()), nil
}

func (s *Server) getCatalog(ctx context.Context, x *exchange, in *TeamPath) (view catalogView, err error) {
	_, err = s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, _ time.Time) error {
		view = viewCatalog(t.Catalog())
		return nil
	})
	return view, err
}

func viewLabels(l domain.Labels) labelsView {
	return labelsView{Product: l.Product, Team: l.Team, Teams: l.Teams, Site: l.Site, Sites: l.Sites}
}

func viewCatalog(c *domain.Catalog) catalogView {
	view := catalogView{
		Name: c.Name, Version: c.Version,
		Labels: viewLabels(c.Labels),
		Rules: rulesView{
			Sites: c.Rules.Sites, Overrides: c.Rules.Overrides, CustomRoles: c.Rules.CustomRoles, Leaving: c.Rules.Leaving,
			OwnerTakesSeat: c.Rules.OwnerTakesSeat, TransferBy: string(c.Rules.TransferBy),
			PreviousOwnerRole: c.Rules.PreviousOwnerRole, UpgradeURL: c.Rules.UpgradeURL,
		},
		Resources: []resourceView{}, Plans: []planView{},
	}
	for _, resource := range c.Resources() {
		view.Resources = append(view.Resources, resourceView{Key: resource.Key, Name: resource.Name, Site: resource.Site, Actions: resource.Actions})
	}
	for _, plan := range c.Plans {
		shown := planView{Key: plan.Key, Name: plan.Name, TwoFactor: plan.TwoFactor}
		if plan.Seats != domain.NoLimit {
			shown.Seats = &plan.Seats
		}
		view.Plans = append(view.Plans, shown)
	}
	return view
}
