package domain_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"roster/domain"
)

// Effects say exactly what checks say: for any two states, a permission is
// among what somebody gains or loses if and only if a check answers otherwise.
func TestEffectsAgreeWithChecks(t *testing.T) {
	people := []user{owner, "ann", "bob", "cay"}
	sites := []domain.SiteID{"north", "south"}
	roles := []role{"admin", "manager", "member", "viewer", "own"}
	catalog := builtins["default"]
	rapid.Check(t, func(r *rapid.T) {
		events := given(created("default"), plan("business"), defined("own", 10, "orders:read", "billing:read", "team:read"))
		events = given(events, site(sites[:rapid.IntRange(0, 2).Draw(r, "sites")]...))
		for _, u := range people[1:] {
			events = given(events, joined(u, rapid.SampledFrom(roles).Draw(r, "role")))
		}
		events = given(events, key("k", rapid.SampledFrom(roles).Draw(r, "key")))
		more := func(events evs, n int) evs {
			for range n {
				u := rapid.SampledFrom(people[1:]).Draw(r, "who")
				given1 := rapid.SampledFrom(roles).Draw(r, "as")
				switch rapid.IntRange(0, 5).Draw(r, "event") {
				case 0:
					events = given(events, evs{domain.RoleChanged{User: u, To: given1}})
				case 1:
					events = given(events, evs{domain.SitesChanged{User: u, After: grants("north", string(given1))}})
				case 2:
					events = given(events, overridden(u, "orders:delete billing:read", "orders:read"))
				case 3:
					events = given(events, removed(u, given1))
				case 4:
					events = given(events, evs{domain.RoleEdited{After: custom("own", 10, "orders:delete", "members:read")}})
				case 5:
					events = given(events, evs{domain.SiteRemoved{Site: "south"}})
				}
			}
			return events
		}
		events = more(events, rapid.IntRange(0, 5).Draw(r, "before"))
		before := fold(events)
		after := fold(more(events, rapid.IntRange(0, 3).Draw(r, "after")))

		type cell struct {
			by         domain.Actor
			site       domain.SiteID
			permission domain.Permission
		}
		want, got := map[cell]bool{}, map[cell]bool{} // true for gained
		actors := []domain.Actor{asKey("k")}
		for _, u := range people {
			actors = append(actors, as(u))
		}
		scoped := map[domain.Permission]bool{}
		for _, resource := range catalog.Resources() {
			for _, action := range resource.Actions {
				scoped[domain.Permission(resource.Key+":"+action)] = resource.Site
			}
		}
		for _, by := range actors {
			for _, where := range append([]domain.SiteID{""}, sites...) {
				for _, permission := range catalog.Permissions() {
					// On a site count the permissions of what belongs to sites, and
					// elsewhere the others, and all of them in a team without sites.
					_, exists := before.Site(where)
					if where != "" && (!scoped[permission] || !exists) || where == "" && scoped[permission] && len(before.Sites()) > 0 {
						continue
					}
					if len(before.Sites()) > 0 != (len(after.Sites()) > 0) && scoped[permission] {
						continue // the last site is gone: what belonged to it is the team's
					}
					was, is := allowed(before, by, permission, where), allowed(after, by, permission, where)
					if was != is {
						want[cell{by, where, permission}] = is
					}
				}
			}
		}
		for _, effect := range domain.Effects(before, after, now) {
			for i, permissions := range [][]domain.Permission{effect.Lost, effect.Gained} {
				for _, permission := range permissions {
					if len(before.Sites()) > 0 != (len(after.Sites()) > 0) && scoped[permission] {
						continue
					}
					got[cell{effect.Actor, effect.Site, permission}] = i == 1
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			r.Fatal(diff)
		}
	})
}
