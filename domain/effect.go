package domain

import (
	"cmp"
	"slices"
	"time"
)

// Effect is what one actor would gain and lose by a change, in the team or on
// one site.
type Effect struct {
	Actor  Actor
	Site   SiteID // empty for what belongs to no site
	Gained []Permission
	Lost   []Permission
}

// Effects lists whose permissions differ between two states of a team, and by
// what: of members and of API keys, in the order of their ids. Both states must
// go by the same version of the role catalog. Both are asked by the same time.
func Effects(before, after *Team, now time.Time) []Effect {
	var effects []Effect
	sites := []SiteID{""}
	for _, site := range before.sites {
		sites = append(sites, site.ID)
	}
	for _, site := range after.sites {
		if _, old := before.Site(site.ID); !old {
			sites = append(sites, site.ID)
		}
	}
	compare := func(actor Actor) {
		for _, site := range sites {
			was, is := before.reach(actor, site, now), after.reach(actor, site, now)
			if was != is {
				effects = append(effects, Effect{
					Actor: actor, Site: site,
					Gained: after.catalog.Names(is.Minus(was)), Lost: after.catalog.Names(was.Minus(is)),
				})
			}
		}
	}
	for _, member := range before.Members(0, now) {
		compare(ByUser(member.User))
	}
	for _, member := range after.Members(0, now) {
		if _, old := before.member(member.User, now); !old {
			compare(ByUser(member.User))
		}
	}
	for id := range before.keys {
		compare(ByAPIKey(id))
	}
	slices.SortStableFunc(effects, func(a, b Effect) int {
		return cmp.Or(cmp.Compare(b.Actor.Type, a.Actor.Type), cmp.Compare(a.Actor.ID, b.Actor.ID))
	})
	return effects
}

// reach is everything that an actor may do on a site or, with none, of what
// belongs to no site. In a team without sites the latter is everything.
func (t *Team) reach(by Actor, site SiteID, now time.Time) (set PermissionSet) {
	who, ok := t.holder(by, now)
	if _, exists := t.Site(site); !ok || !t.Live() || site != "" && !exists {
		return set
	}
	scoped := t.catalog.scoped
	if who.key != nil {
		if !who.key.Active(now) {
			return set
		}
		set = t.roleOrNobody(who.key.Role).Permissions
	} else {
		role := t.roleOrNobody(who.member.Role)
		set = role.Permissions
		if len(t.sites) > 0 && !role.AllSites {
			set = set.Minus(scoped)
			if grant, granted := who.member.site(site); granted {
				set = set.Union(onlyIn(t.roleOrNobody(grant.Role).Permissions, scoped))
				set = set.Union(onlyIn(who.member.Granted, scoped))
			}
			set = set.Union(who.member.Granted.Minus(scoped))
		} else {
			set = set.Union(who.member.Granted)
		}
		set = set.Minus(who.member.Revoked)
	}
	switch {
	case site != "":
		return onlyIn(set, scoped)
	case len(t.sites) > 0:
		return set.Minus(scoped)
	}
	return set
}

// onlyIn gives the permissions of s that are in other too.
func onlyIn(s, other PermissionSet) PermissionSet { return s.Minus(s.Minus(other)) }
