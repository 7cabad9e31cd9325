package domain

import (
	"slices"
	"time"
)

// A membership, a role on a site and an override may end by themselves, at an
// instant. From then on they are no more, whether or not that was recorded:
// every question is asked with a time, and answered by what stands then. The
// zero time stands for no end.

// maxAccessYears is how far off an end may lie. Who means longer means for good.
const maxAccessYears = 10

// ended tells whether something has ended by now.
func ended(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// sooner is the earlier of two ends.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// outlives tells whether the first of two ends is the later one.
func outlives(a, b time.Time) bool { return !b.IsZero() && (a.IsZero() || a.After(b)) }

// validEnd checks an end that somebody wants; pointer names the input.
func validEnd(pointer string, at, now time.Time) error {
	switch {
	case at.IsZero():
	case !now.Before(at):
		return invalid(pointer, "must lie in the future")
	case at.After(now.AddDate(maxAccessYears, 0, 0)):
		return invalid(pointer, "must lie within the next 10 years")
	}
	return nil
}

// overrideEnd is when an override of one permission ends.
type overrideEnd struct {
	permission int // its index in the catalog
	at         time.Time
}

func (e overrideEnd) equal(other overrideEnd) bool {
	return e.permission == other.permission && e.at.Equal(other.at)
}

// member finds a member as they are at a moment: whose membership has ended is
// none, and has none of the roles on sites and overrides that have ended. The
// result must not be changed.
func (t *Team) member(user UserID, now time.Time) (*Member, bool) {
	member, ok := t.members[user]
	if !ok || ended(member.ExpiresAt, now) {
		return nil, false
	}
	return member.at(now), true
}

// at is the member without what has ended by now. It is a copy only between an
// end and the record of it.
func (m *Member) at(now time.Time) *Member {
	if !ended(m.soonest, now) {
		return m
	}
	view := *m
	view.Sites = slices.DeleteFunc(slices.Clone(m.Sites), func(grant MemberSite) bool { return ended(grant.ExpiresAt, now) })
	view.ends = nil
	for _, end := range m.ends {
		if ended(end.at, now) {
			view.Granted.Remove(end.permission)
			view.Revoked.Remove(end.permission)
		} else {
			view.ends = append(view.ends, end)
		}
	}
	view.reckon()
	return &view
}

// reckon finds the soonest end.
func (m *Member) reckon() {
	m.soonest = time.Time{}
	for i := range m.Sites {
		m.soonest = sooner(m.soonest, m.Sites[i].ExpiresAt)
	}
	for _, end := range m.ends {
		m.soonest = sooner(m.soonest, end.at)
	}
}

// overrideEnd is when the override of a permission ends.
func (m *Member) overrideEnd(permission int) time.Time {
	for _, end := range m.ends {
		if end.permission == permission {
			return end.at
		}
	}
	return time.Time{}
}

// setOverrides folds a member's overrides, but for those of permissions that
// the catalog doesn't have.
func (t *Team) setOverrides(member *Member, to Overrides) {
	member.Granted, _ = t.catalog.Set(to.Granted)
	member.Revoked, _ = t.catalog.Set(to.Revoked)
	member.ends = t.overrideEnds(member.Granted.Union(member.Revoked), to.Expirations)
	member.reckon()
}

// overrideEnds are the ends of some overrides, in the catalog's order.
func (t *Team) overrideEnds(of PermissionSet, expirations map[Permission]time.Time) (ends []overrideEnd) {
	if len(expirations) == 0 {
		return nil
	}
	for index := range of.All() {
		if at := expirations[t.catalog.permissions[index]]; !at.IsZero() {
			ends = append(ends, overrideEnd{index, at})
		}
	}
	return ends
}

// setExpiry folds when a membership ends.
func (t *Team) setExpiry(member *Member, at time.Time) {
	if !member.ExpiresAt.IsZero() {
		t.memberEnds.remove(member.ExpiresAt, member.User)
	}
	if member.ExpiresAt = at; !at.IsZero() {
		t.memberEnds.add(at, member.User)
	}
}

// memberCount is how many members there are at a moment.
func (t *Team) memberCount(now time.Time) int { return len(t.members) - len(t.memberEnds.passed(now)) }

// SetExpiry says when a membership ends by itself; never with the zero time. An
// earlier end is a removal that comes later, so it takes what removing takes. A
// later one, or none, takes as well what inviting somebody with their role
// would. The owner's membership never ends.
func (t *Team) SetExpiry(by Actor, user UserID, to, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionRemoveMember, now)
	if err != nil {
		return nil, err
	}
	member, ok := t.member(user, now)
	if !ok {
		return nil, ErrNotFound
	}
	if err := t.mayEnd(by, &who, member); err != nil {
		return nil, err
	}
	if to.Equal(member.ExpiresAt) {
		return nil, nil
	}
	if err := validEnd("#/expires_at", to, now); err != nil {
		return nil, err
	}
	if outlives(to, member.ExpiresAt) {
		inviter, err := t.permitted(by, ActionInvite, now)
		if err != nil {
			return nil, err
		}
		gives := func(who authority) error {
			_, err := t.assignable(who, member.Role, t.catalog.Rules.InviteReach, "#/expires_at")
			return err
		}
		if err := gives(inviter); err != nil {
			return nil, err
		}
		if err := t.lasts(by, to, now, "#/expires_at", gives); err != nil {
			return nil, err
		}
	}
	return []Event{ExpiryChanged{User: user, Before: member.ExpiresAt, After: to}}, nil
}

// mayEnd refuses unless the actor may set an end to a membership.
func (t *Team) mayEnd(by Actor, who *authority, member *Member) error {
	if by == ByUser(member.User) && member.User != t.owner {
		return ErrCannotRemoveSelf.saying("Nobody decides when their own membership ends.")
	}
	return t.touchable(who, member, t.catalog.Rules.RemoveReach)
}

// lasts refuses what would last longer than the authority of the one who gives
// it. gives is asked with what they have just before the end. Only who gives is
// bound: by what right they may give can end sooner.
func (t *Team) lasts(by Actor, end, now time.Time, pointer string, gives func(authority) error) error {
	if !t.passing(by, now) {
		return nil
	}
	if end.IsZero() {
		end = farOff
	}
	if who, ok := t.authority(by, end.Add(-1)); !ok || gives(who) != nil {
		return errOutlasts.on(pointer)
	}
	return nil
}

var errOutlasts = ErrRankTooLow.saying("This would last longer than your own access. Give it an end no later than that.")

// farOff is later than every end.
var farOff = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// passing tells whether anything that the actor holds ends by itself. An API
// key's end is that of a credential, as is a session's: what it does is bound
// only if it was made by one whose own access ends, who would otherwise outlast
// themselves by it.
func (t *Team) passing(by Actor, now time.Time) bool {
	who, _ := t.holder(by, now)
	switch {
	case who.member != nil:
		return !who.member.ExpiresAt.IsZero() || !who.member.soonest.IsZero()
	case who.key != nil:
		return who.key.passing
	}
	return false
}

// raises tells whether one role has something that another lacks.
func (t *Team) raises(from RoleKey, to *Role) bool {
	old := t.roleOrNobody(from)
	return to.Level > old.Level || to.AllSites && !old.AllSites || !to.Permissions.Within(old.Permissions)
}

// ExpireMember records what of a member's access has ended by now: roles on
// sites, overrides, and the membership itself. It answers with nothing when all
// of that is recorded already, or none has.
func (t *Team) ExpireMember(user UserID, now time.Time) (events []Event) {
	member, ok := t.members[user]
	if !ok || !t.Live() {
		return nil
	}
	gone := ended(member.ExpiresAt, now)
	if gone {
		now = member.ExpiresAt // what would have ended after it has ended with it
	}
	var sites []SiteGrant
	for _, grant := range member.Sites {
		if ended(grant.ExpiresAt, now) {
			sites = append(sites, grant.SiteGrant)
		}
	}
	if len(sites) > 0 {
		events = append(events, SitesExpired{User: user, Sites: sites})
	}
	if overrides := t.endedOverrides(member, now); len(overrides.Expirations) > 0 {
		events = append(events, PermissionsExpired{User: user, Overrides: overrides})
	}
	if gone {
		events = append(events, MemberExpired{User: user, Role: member.Role, ExpiredAt: member.ExpiresAt})
	}
	return events
}

func (t *Team) endedOverrides(member *Member, now time.Time) Overrides {
	past := Member{}
	for _, end := range member.ends {
		if !ended(end.at, now) {
			continue
		}
		past.ends = append(past.ends, end)
		if member.Granted.Has(end.permission) {
			past.Granted.Add(end.permission)
		} else {
			past.Revoked.Add(end.permission)
		}
	}
	return t.Overrides(&past)
}

// afterExpiry are the events of a command about a member, after those that
// record what of their access had ended: the command may leave no trace of it.
func (t *Team) afterExpiry(user UserID, now time.Time, events ...Event) []Event {
	return append(t.ExpireMember(user, now), events...)
}

func (t *Team) applySitesExpired(e SitesExpired) {
	if member, ok := t.members[e.User]; ok {
		member.Sites = slices.DeleteFunc(member.Sites, func(grant MemberSite) bool {
			return slices.ContainsFunc(e.Sites, grant.equal)
		})
		member.reckon()
	}
}

func (t *Team) applyPermissionsExpired(e PermissionsExpired) {
	member, ok := t.members[e.User]
	if !ok {
		return
	}
	member.ends = slices.DeleteFunc(member.ends, func(end overrideEnd) bool {
		if at := e.Overrides.Expirations[t.catalog.permissions[end.permission]]; !end.at.Equal(at) {
			return false
		}
		member.Granted.Remove(end.permission)
		member.Revoked.Remove(end.permission)
		return true
	})
	member.reckon()
}

// current are the grants that haven't ended by now.
func current(grants []SiteGrant, now time.Time) []SiteGrant {
	past := func(grant SiteGrant) bool { return ended(grant.ExpiresAt, now) }
	if !slices.ContainsFunc(grants, past) {
		return grants
	}
	return slices.DeleteFunc(slices.Clone(grants), past)
}

// Ended tells whether the grant has ended by now.
func (g SiteGrant) Ended(now time.Time) bool { return ended(g.ExpiresAt, now) }

// At is the overrides without those that have ended by now.
func (o Overrides) At(now time.Time) Overrides {
	past := func(permission Permission) bool { return ended(o.Expirations[permission], now) }
	if !slices.ContainsFunc(o.Granted, past) && !slices.ContainsFunc(o.Revoked, past) {
		return o
	}
	at := Overrides{Granted: slices.DeleteFunc(slices.Clone(o.Granted), past), Revoked: slices.DeleteFunc(slices.Clone(o.Revoked), past)}
	for permission, end := range o.Expirations {
		if ended(end, now) {
			continue
		}
		if at.Expirations == nil {
			at.Expirations = map[Permission]time.Time{}
		}
		at.Expirations[permission] = end
	}
	return at
}

func (g SiteGrant) equal(other SiteGrant) bool {
	return g.Site == other.Site && g.Role == other.Role && g.ExpiresAt.Equal(other.ExpiresAt)
}

func sameGrants(a, b []SiteGrant) bool { return slices.EqualFunc(a, b, SiteGrant.equal) }
