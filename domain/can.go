package domain

import "time"

// Reason is why a decision came out as it did. It is part of the HTTP
// interface.
type Reason string

const (
	// Allowed because of …
	ReasonRole        Reason = "role"             // the role in the team
	ReasonSiteGrant   Reason = "site_grant"       // the role on the site
	ReasonOverride    Reason = "override_granted" // a permission granted to this member
	ReasonAPIKeyRole  Reason = "api_key_role"     // the role of the key
	ReasonRevoked     Reason = "override_revoked" // denied: a permission revoked from this member
	ReasonNotInRole   Reason = "not_in_role"      // denied: the role doesn't have it
	ReasonNoSiteGrant Reason = "no_site_grant"    // denied: no role on this site
	ReasonSiteMissing Reason = "site_required"    // denied: it belongs to a site and none was named
	ReasonUnknownSite Reason = "unknown_site"     // denied: the team has no such site
	ReasonUnknown     Reason = "unknown_permission"
	ReasonNotMember   Reason = "not_a_member" // denied: also for a team that doesn't exist
	ReasonKeyEnded    Reason = "api_key_ended"
)

// Decision is whether an actor may do something, and why: by which role, on
// which site, and which event gave it.
type Decision struct {
	Allowed bool
	Reason  Reason
	Role    RoleKey
	Site    SiteID
	Given   Given
}

// Can decides whether the actor has the permission, on the site when one is
// named. A permission of a resource that belongs to a site comes from the
// grant on that site, unless the role reaches every site or the team has no
// sites; every other permission comes from the role in the team. A revoked
// permission beats a granted one, and that beats the role. What isn't allowed
// is denied.
//
// It allocates nothing.
func (t *Team) Can(by Actor, permission Permission, site SiteID, now time.Time) Decision {
	if !t.Live() {
		return Decision{Reason: ReasonNotMember}
	}
	index, ok := t.catalog.index[permission]
	if !ok {
		return Decision{Reason: ReasonUnknown}
	}
	return t.can(by, index, site, now)
}

func (t *Team) can(by Actor, index int, site SiteID, now time.Time) Decision {
	if site != "" {
		if _, ok := t.Site(site); !ok {
			return Decision{Reason: ReasonUnknownSite, Site: site}
		}
	}
	switch by.Type {
	case ActorUser:
		if member, ok := t.members[UserID(by.ID)]; ok {
			return t.memberCan(member, index, site)
		}
	case ActorAPIKey:
		if key, ok := t.keys[APIKeyID(by.ID)]; ok {
			return t.keyCan(key, index, now)
		}
	}
	return Decision{Reason: ReasonNotMember}
}

func (t *Team) memberCan(member *Member, index int, site SiteID) Decision {
	source := Decision{Reason: ReasonRole, Role: member.Role, Given: member.RoleGiven}
	role, ok := t.Role(member.Role)
	if t.catalog.scoped.Has(index) && len(t.sites) > 0 && !(ok && role.AllSites) {
		if site == "" {
			return Decision{Reason: ReasonSiteMissing}
		}
		grant, granted := member.site(site)
		if !granted {
			return Decision{Reason: ReasonNoSiteGrant, Site: site}
		}
		source = Decision{Reason: ReasonSiteGrant, Role: grant.Role, Site: site, Given: grant.Given}
		role, ok = t.Role(grant.Role)
	}
	switch {
	case member.Revoked.Has(index):
		return Decision{Reason: ReasonRevoked, Role: source.Role, Site: source.Site, Given: member.OverridesGiven}
	case member.Granted.Has(index):
		return Decision{Allowed: true, Reason: ReasonOverride, Role: source.Role, Site: source.Site, Given: member.OverridesGiven}
	case ok && role.Permissions.Has(index):
		source.Allowed = true
		return source
	}
	source.Reason = ReasonNotInRole
	return source
}

// keyCan decides for an API key. A key belongs to the team, not to a person,
// so its role covers every site.
func (t *Team) keyCan(key *APIKey, index int, now time.Time) Decision {
	decision := Decision{Role: key.Role, Given: key.given}
	role, ok := t.Role(key.Role)
	switch {
	case !key.Active(now):
		decision.Reason = ReasonKeyEnded
	case ok && role.Permissions.Has(index):
		decision.Allowed, decision.Reason = true, ReasonAPIKeyRole
	default:
		decision.Reason = ReasonNotInRole
	}
	return decision
}

func (m *Member) site(id SiteID) (MemberSite, bool) {
	for _, grant := range m.Sites {
		if grant.Site == id {
			return grant, true
		}
	}
	return MemberSite{}, false
}

// May decides whether the actor may do one of Roster's own actions in the
// team.
func (t *Team) May(by Actor, action Action, now time.Time) Decision {
	if !t.Live() {
		return Decision{Reason: ReasonNotMember}
	}
	return t.can(by, t.catalog.actionIndex[action], "", now)
}

// authority is how far an actor reaches: their role and what they hold.
type authority struct {
	role *Role
	held PermissionSet
}

// permitted refuses unless the actor may do the action; it answers with their
// authority. Whoever isn't in the team learns nothing of it.
func (t *Team) permitted(by Actor, action Action, now time.Time) (authority, error) {
	who, ok := t.authority(by, now)
	if !ok {
		return who, ErrNotFound
	}
	if !t.can(by, t.catalog.actionIndex[action], "", now).Allowed {
		return who, ErrNotPermitted
	}
	return who, nil
}

// nobody is the authority of a role that the catalog no longer defines.
var nobody = &Role{}

func (t *Team) authority(by Actor, now time.Time) (authority, bool) {
	if !t.Live() {
		return authority{}, false
	}
	var key RoleKey
	var granted, revoked PermissionSet
	switch by.Type {
	case ActorUser:
		member, ok := t.members[UserID(by.ID)]
		if !ok {
			return authority{}, false
		}
		key, granted, revoked = member.Role, member.Granted, member.Revoked
	case ActorAPIKey:
		apiKey, ok := t.keys[APIKeyID(by.ID)]
		if !ok || !apiKey.Active(now) {
			return authority{}, false
		}
		key = apiKey.Role
	default:
		return authority{}, false
	}
	role, ok := t.Role(key)
	if !ok {
		role = nobody
	}
	return authority{role: role, held: role.Permissions.Union(granted).Minus(revoked)}, true
}

// assignable finds a role that this authority may give within a reach.
// pointer names the input.
func (t *Team) assignable(who authority, key RoleKey, reach Reach, pointer string) (*Role, error) {
	role, ok := t.Role(key)
	switch {
	case !ok:
		return nil, invalid(pointer, "This team's role catalog has no role of that name.")
	case role.Owner:
		return nil, ErrRoleNotAssignable.on(pointer)
	case !reach.covers(who.role.Level, role.Level):
		return nil, ErrRankTooLow.on(pointer)
	}
	return role, nil
}

// Assignable tells whether the actor may give the role to somebody, by
// inviting or by changing a role.
func (t *Team) Assignable(by Actor, role *Role, now time.Time) bool {
	gives := func(action Action, reach Reach) bool {
		who, err := t.permitted(by, action, now)
		if err != nil {
			return false
		}
		_, err = t.assignable(who, role.Key, reach, "")
		return err == nil
	}
	return gives(ActionInvite, t.catalog.Rules.InviteReach) || gives(ActionChangeRole, t.catalog.Rules.AssignReach)
}

// MemberActions lists what the actor may do to a member, as names that a page
// can show. It asks the decisions themselves, so it can't promise what they
// refuse.
func (t *Team) MemberActions(by Actor, member *Member, now time.Time) []string {
	actions := []string{}
	if t.touchable(by, member, ActionChangeRole, t.catalog.Rules.ChangeRoleReach, now) == nil {
		actions = append(actions, "change_role")
	}
	if t.catalog.Rules.Overrides && t.touchable(by, member, ActionSetOverrides, t.catalog.Rules.OverrideReach, now) == nil {
		actions = append(actions, "edit_permissions")
	}
	if t.catalog.Rules.Sites && t.touchable(by, member, ActionGrantSites, t.catalog.Rules.ChangeRoleReach, now) == nil {
		actions = append(actions, "edit_sites")
	}
	if _, err := t.Remove(by, member.User, now); err == nil {
		actions = append(actions, "remove")
	}
	return actions
}

// touchable refuses unless the actor may do the action and the member is in
// reach. The owner never is.
func (t *Team) touchable(by Actor, member *Member, action Action, reach Reach, now time.Time) error {
	who, err := t.permitted(by, action, now)
	if err != nil {
		return err
	}
	if member.User == t.owner {
		return ErrOwnerIsPermanent
	}
	level := 0
	if role, ok := t.Role(member.Role); ok {
		level = role.Level
	}
	if !reach.covers(who.role.Level, level) {
		return ErrRankTooLow
	}
	return nil
}
