package domain

import (
	"slices"
	"time"
)

// ChangeRole gives a member another role, at once. Nobody becomes or stops
// being the owner this way.
func (t *Team) ChangeRole(by Actor, user UserID, to RoleKey, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionChangeRole, now)
	if err != nil {
		return nil, err
	}
	member, ok := t.member(user, now)
	if !ok {
		return nil, ErrNotFound
	}
	role, err := t.assignable(who, to, t.catalog.Rules.AssignReach, "#/role")
	if user == t.owner {
		return nil, ErrOwnerIsPermanent
	}
	if err != nil {
		return nil, err
	}
	if err := t.touchable(&who, member, t.catalog.Rules.ChangeRoleReach); err != nil {
		return nil, err
	}
	if role.Key == member.Role {
		return nil, nil
	}
	if t.raises(member.Role, role) {
		if err := t.lasts(by, member.ExpiresAt, now, "#/role", func(who authority) error {
			_, err := t.assignable(who, to, t.catalog.Rules.AssignReach, "")
			return err
		}); err != nil {
			return nil, err
		}
	}
	return []Event{RoleChanged{User: user, From: member.Role, To: role.Key}}, nil
}

// SetOverrides replaces the permissions granted to and revoked from a member.
// Nobody grants a permission that they lack, or lifts its revocation; taking
// one away, or leaving one granted that somebody else gave, needs none. To put
// an end off is to grant it again; to bring the end of a revocation forward is
// to lift it.
func (t *Team) SetOverrides(by Actor, user UserID, to Overrides, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionSetOverrides, now)
	if err != nil {
		return nil, err
	}
	member, ok := t.member(user, now)
	switch {
	case !ok:
		return nil, ErrNotFound
	case !t.catalog.Rules.Overrides:
		return nil, ErrNotPermitted.saying("This team's role catalog has no overrides.")
	}
	if err := t.touchable(&who, member, t.catalog.Rules.OverrideReach); err != nil {
		return nil, err
	}
	granted, unknown := t.catalog.Set(to.Granted)
	if len(unknown) > 0 {
		return nil, invalid("#/granted", "names a permission that this team's role catalog doesn't have")
	}
	revoked, unknown := t.catalog.Set(to.Revoked)
	if len(unknown) > 0 {
		return nil, invalid("#/revoked", "names a permission that this team's role catalog doesn't have")
	}
	if granted.Minus(revoked) != granted {
		return nil, invalid("#/revoked", "names a permission that is granted as well")
	}
	want := &Member{Granted: granted, Revoked: revoked, ends: t.overrideEnds(granted.Union(revoked), to.Expirations)}
	if err := t.validEnds(member, want, to, now); err != nil {
		return nil, err
	}
	given, lifted := want.gains(member)
	if !given.Within(who.held) {
		return nil, ErrRankTooLow.on("#/granted")
	}
	if !lifted.Within(who.held) {
		return nil, ErrRankTooLow.on("#/revoked")
	}
	for index := range given.Union(lifted).All() {
		end, pointer := member.ExpiresAt, "#/revoked"
		if given.Has(index) {
			end, pointer = sooner(end, want.overrideEnd(index)), "#/expirations"
		}
		if err := t.lasts(by, end, now, pointer, func(who authority) error {
			if !who.held.Has(index) {
				return ErrRankTooLow
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	if granted == member.Granted && revoked == member.Revoked && slices.EqualFunc(want.ends, member.ends, overrideEnd.equal) {
		return nil, nil
	}
	return t.afterExpiry(user, now, PermissionsChanged{User: user, Before: t.Overrides(member), After: t.Overrides(want)}), nil
}

// validEnds checks the ends of overrides that somebody wants for a member. What
// ends as before may stay so.
func (t *Team) validEnds(member, want *Member, to Overrides, now time.Time) error {
	overridden := want.Granted.Union(want.Revoked)
	for permission := range to.Expirations {
		if index, ok := t.catalog.Index(permission); !ok || !overridden.Has(index) {
			return invalid("#/expirations", "names a permission that is neither granted nor revoked")
		}
	}
	for _, end := range want.ends {
		if member.overrideEnd(end.permission).Equal(end.at) {
			continue
		}
		if err := validEnd("#/expirations", end.at, now); err != nil {
			return err
		}
	}
	return nil
}

// gains are the permissions that are granted to a member who has these
// overrides and weren't, or for a shorter time, with those of before; and those
// whose revocation is lifted, or sooner.
func (m *Member) gains(before *Member) (given, lifted PermissionSet) {
	given, lifted = m.Granted.Minus(before.Granted), before.Revoked.Minus(m.Revoked)
	for index := range m.Granted.Minus(given).All() {
		if outlives(m.overrideEnd(index), before.overrideEnd(index)) {
			given.Add(index)
		}
	}
	for index := range before.Revoked.Minus(lifted).All() {
		if outlives(before.overrideEnd(index), m.overrideEnd(index)) {
			lifted.Add(index)
		}
	}
	return given, lifted
}

// Overrides are a member's overrides as names.
func (t *Team) Overrides(member *Member) Overrides {
	overrides := Overrides{Granted: t.catalog.Names(member.Granted), Revoked: t.catalog.Names(member.Revoked)}
	if len(member.ends) > 0 {
		overrides.Expirations = make(map[Permission]time.Time, len(member.ends))
		for _, end := range member.ends {
			overrides.Expirations[t.catalog.permissions[end.permission]] = end.at
		}
	}
	return overrides
}

// SetSites replaces a member's roles on sites, as one change.
func (t *Team) SetSites(by Actor, user UserID, to []SiteGrant, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionGrantSites, now)
	if err != nil {
		return nil, err
	}
	member, ok := t.member(user, now)
	if !ok {
		return nil, ErrNotFound
	}
	if err := t.touchable(&who, member, t.catalog.Rules.ChangeRoleReach); err != nil {
		return nil, err
	}
	grants, err := t.siteGrants(by, who, to, member, t.catalog.Rules.AssignReach, now)
	if err != nil {
		return nil, err
	}
	before := member.grants()
	if sameGrants(before, grants) {
		return nil, nil
	}
	return t.afterExpiry(user, now, SitesChanged{User: user, Before: before, After: grants}), nil
}

// siteGrants checks roles on sites that somebody wants to give to a member, or
// to one who is to be invited, and puts them into the order of the team's
// sites. To leave a role as it was, or to bring its end forward, takes no
// authority over it.
func (t *Team) siteGrants(by Actor, who authority, grants []SiteGrant, to *Member, reach Reach, now time.Time) ([]SiteGrant, error) {
	if len(grants) == 0 {
		return []SiteGrant{}, nil
	}
	if !t.catalog.Rules.Sites {
		return nil, invalid("#/sites", "This team's role catalog has no sites.")
	}
	wanted := make(map[SiteID]SiteGrant, len(grants))
	for _, grant := range grants {
		if _, ok := t.Site(grant.Site); !ok {
			return nil, invalid("#/sites", "names a site that this team doesn't have")
		}
		if _, twice := wanted[grant.Site]; twice {
			return nil, invalid("#/sites", "names a site twice")
		}
		old, had := to.site(grant.Site)
		if !had || !grant.ExpiresAt.Equal(old.ExpiresAt) {
			if err := validEnd("#/sites", grant.ExpiresAt, now); err != nil {
				return nil, err
			}
		}
		if had && old.Role == grant.Role && !outlives(grant.ExpiresAt, old.ExpiresAt) {
			wanted[grant.Site] = grant
			continue
		}
		role, err := t.assignableOn(who, grant, reach, "#/sites")
		if err != nil {
			return nil, err
		}
		if err := t.lasts(by, sooner(grant.ExpiresAt, to.ExpiresAt), now, "#/sites", func(who authority) error {
			_, err := t.assignableOn(who, grant, reach, "")
			return err
		}); err != nil {
			return nil, err
		}
		grant.Role = role.Key
		wanted[grant.Site] = grant
	}
	ordered := make([]SiteGrant, 0, len(wanted))
	for _, site := range t.sites {
		if grant, ok := wanted[site.ID]; ok {
			ordered = append(ordered, grant)
		}
	}
	return ordered, nil
}

// assignableOn finds a role that this authority may give on one site, which
// takes a role of their own there as well.
func (t *Team) assignableOn(who authority, grant SiteGrant, reach Reach, pointer string) (*Role, error) {
	role, err := t.assignable(who, grant.Role, reach, pointer)
	if err == nil && !reach.covers(t.levelOn(who, grant.Site), role.Level) {
		return nil, ErrRankTooLow.on(pointer)
	}
	return role, err
}

func (m *Member) grants() []SiteGrant {
	grants := make([]SiteGrant, len(m.Sites))
	for i, site := range m.Sites {
		grants[i] = site.SiteGrant
	}
	return grants
}

// Remove ends a membership. The person's account, other memberships and
// history stay, and so do API keys that they made: those are the team's.
func (t *Team) Remove(by Actor, user UserID, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionRemoveMember, now)
	if err != nil {
		return nil, err
	}
	member, ok := t.member(user, now)
	switch {
	case !ok:
		return nil, ErrNotFound
	case by == ByUser(user):
		return nil, ErrCannotRemoveSelf
	}
	if err := t.touchable(&who, member, t.catalog.Rules.RemoveReach); err != nil {
		return nil, err
	}
	return t.afterExpiry(user, now, MemberRemoved{User: user, Role: member.Role}), nil
}

// Leave ends one's own membership, where the catalog allows it. The owner
// can't leave.
func (t *Team) Leave(user UserID, now time.Time) ([]Event, error) {
	member, ok := t.member(user, now)
	switch {
	case !ok || !t.Live():
		return nil, ErrNotFound
	case user == t.owner:
		return nil, ErrOwnerRequired
	case !t.catalog.Rules.Leaving:
		return nil, ErrLeavingNotAllowed
	}
	return t.afterExpiry(user, now, MemberLeft{User: user, Role: member.Role}), nil
}
