package domain_test

import (
	"testing"

	"pgregory.net/rapid"

	"roster/domain"
)

// everyDecision asks all that can be asked of a team, for those who are around.
func (m *machine) everyDecision() (all []domain.Decision) {
	actors := make([]domain.Actor, 0, len(folk)+len(m.keys))
	for _, user := range folk {
		actors = append(actors, as(user))
	}
	for _, key := range m.keys {
		actors = append(actors, domain.ByAPIKey(key))
	}
	sites := append([]domain.SiteID{""}, m.sites[:min(len(m.sites), 3)]...)
	for _, by := range actors {
		for _, permission := range m.catalog.Permissions() {
			for _, site := range sites {
				all = append(all, m.team.Can(by, permission, site, m.now))
			}
		}
	}
	return all
}

// apply folds an event, and checks that it changes no decision unless it says
// so.
func (m *machine) apply(t *rapid.T, event domain.Event, meta domain.Meta) {
	if domain.Decisive(event) {
		m.team.Apply(event, meta)
		return
	}
	before := m.everyDecision()
	m.team.Apply(event, meta)
	for i, after := range m.everyDecision() {
		if after != before[i] {
			t.Fatalf("%T%+v isn't decisive, but %+v became %+v", event, event, before[i], after)
		}
	}
}

func TestWhatGivesOrTakesIsDecisive(t *testing.T) {
	for _, event := range (evs{
		domain.TeamCreated{}, domain.TeamDeleted{}, domain.PlanChanged{}, domain.MemberJoined{}, domain.RoleChanged{},
		domain.PermissionsChanged{}, domain.SitesChanged{}, domain.MemberRemoved{}, domain.MemberLeft{},
		domain.OwnershipTransferred{}, domain.SiteAdded{}, domain.SiteRemoved{}, domain.APIKeyCreated{}, domain.APIKeyRevoked{},
		domain.CatalogPublished{}, nil,
	}) {
		if !domain.Decisive(event) {
			t.Errorf("%T isn't", event)
		}
	}
}
