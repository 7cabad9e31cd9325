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
	member, ok := t.members[user]
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
	return []Event{RoleChanged{User: user, From: member.Role, To: role.Key}}, nil
}

// SetOverrides replaces the permissions granted to and revoked from a member.
// Nobody grants a permission that they lack, or lifts its revocation; taking
// one away, or leaving one granted that somebody else gave, needs none.
func (t *Team) SetOverrides(by Actor, user UserID, to Overrides, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionSetOverrides, now)
	if err != nil {
		return nil, err
	}
	member, ok := t.members[user]
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
	if !granted.Minus(member.Granted).Within(who.held) {
		return nil, ErrRankTooLow.on("#/granted")
	}
	if !member.Revoked.Minus(revoked).Within(who.held) {
		return nil, ErrRankTooLow.on("#/revoked")
	}
	if granted == member.Granted && revoked == member.Revoked {
		return nil, nil
	}
	return []Event{PermissionsChanged{
		User:   user,
		Before: t.Overrides(member),
		After:  Overrides{Granted: t.catalog.Names(granted), Revoked: t.catalog.Names(revoked)},
	}}, nil
}

// Overrides are a member's overrides as names.
func (t *Team) Overrides(member *Member) Overrides {
	return Overrides{Granted: t.catalog.Names(member.Granted), Revoked: t.catalog.Names(member.Revoked)}
}

// SetSites replaces a member's roles on sites, as one change.
func (t *Team) SetSites(by Actor, user UserID, to []SiteGrant, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionGrantSites, now)
	if err != nil {
		return nil, err
	}
	member, ok := t.members[user]
	if !ok {
		return nil, ErrNotFound
	}
	if err := t.touchable(&who, member, t.catalog.Rules.ChangeRoleReach); err != nil {
		return nil, err
	}
	grants, err := t.siteGrants(who, to, member.Sites, t.catalog.Rules.AssignReach)
	if err != nil {
		return nil, err
	}
	before := member.grants()
	if slices.Equal(before, grants) {
		return nil, nil
	}
	return []Event{SitesChanged{User: user, Before: before, After: grants}}, nil
}

// siteGrants checks roles on sites that somebody wants to give to one who has
// had some, and puts them into the order of the team's sites. To leave a role
// as it was takes no authority over it.
func (t *Team) siteGrants(who authority, grants []SiteGrant, had []MemberSite, reach Reach) ([]SiteGrant, error) {
	if len(grants) == 0 {
		return []SiteGrant{}, nil
	}
	if !t.catalog.Rules.Sites {
		return nil, invalid("#/sites", "This team's role catalog has no sites.")
	}
	wanted := make(map[SiteID]RoleKey, len(grants))
	for _, grant := range grants {
		if _, ok := t.Site(grant.Site); !ok {
			return nil, invalid("#/sites", "names a site that this team doesn't have")
		}
		if _, twice := wanted[grant.Site]; twice {
			return nil, invalid("#/sites", "names a site twice")
		}
		if slices.ContainsFunc(had, func(old MemberSite) bool { return old.SiteGrant == grant }) {
			wanted[grant.Site] = grant.Role
			continue
		}
		role, err := t.assignableOn(who, grant, reach, "#/sites")
		if err != nil {
			return nil, err
		}
		wanted[grant.Site] = role.Key
	}
	ordered := make([]SiteGrant, 0, len(wanted))
	for _, site := range t.sites {
		if role, ok := wanted[site.ID]; ok {
			ordered = append(ordered, SiteGrant{Site: site.ID, Role: role})
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
	member, ok := t.members[user]
	switch {
	case !ok:
		return nil, ErrNotFound
	case by == ByUser(user):
		return nil, ErrCannotRemoveSelf
	}
	if err := t.touchable(&who, member, t.catalog.Rules.RemoveReach); err != nil {
		return nil, err
	}
	return []Event{MemberRemoved{User: user, Role: member.Role}}, nil
}

// Leave ends one's own membership, where the catalog allows it. The owner
// can't leave.
func (t *Team) Leave(user UserID) ([]Event, error) {
	member, ok := t.members[user]
	switch {
	case !ok || !t.Live():
		return nil, ErrNotFound
	case user == t.owner:
		return nil, ErrOwnerRequired
	case !t.catalog.Rules.Leaving:
		return nil, ErrLeavingNotAllowed
	}
	return []Event{MemberLeft{User: user, Role: member.Role}}, nil
}
