package domain

import (
	"slices"
	"time"
)

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
	ReasonTwoFactor   Reason = "two_factor_required" // denied: a member without the second factor that the team requires
)

// Decision is whether an actor may do something, and why: by which role, on
// which site, and which event gave it.
type Decision struct {
	Allowed bool
	Reason  Reason
	Role    RoleKey
	Site    SiteID
	Given   Given

	// Until is when the answer ends by time alone, whatever else happens: by the
	// end of a membership, a role on a site, an override or a key. Zero when it
	// doesn't.
	Until time.Time
}

// Can decides whether the actor has the permission, on the site when one is
// named. A permission of a resource that belongs to a site comes from the
// grant on that site, unless the role reaches every site or the team has no
// sites; every other permission comes from the role in the team. A revoked
// permission beats a granted one, and that beats the role. What isn't allowed
// is denied.
//
// It allocates nothing, but for somebody of whose roles on sites and overrides
// one has ended and that isn't recorded yet.
func (t *Team) Can(by Actor, permission Permission, site SiteID, now time.Time) Decision {
	index, ok := t.catalog.index[permission]
	if !ok {
		index = unknownPermission
	}
	return t.can(by, index, site, now)
}

// unknownPermission stands for a permission that the catalog doesn't have.
const unknownPermission = -1

// holder is what an actor holds a role by: a membership at a moment, or an API
// key, ended ones included. Only one of the two is set.
type holder struct {
	member *Member
	key    *APIKey
}

func (t *Team) holder(by Actor, now time.Time) (who holder, ok bool) {
	switch by.Type {
	case ActorUser:
		who.member, ok = t.member(UserID(by.ID), now)
	case ActorAPIKey:
		who.key, ok = t.keys[APIKeyID(by.ID)]
	case ActorSystem: // holds no role
	}
	return who, ok
}

func (t *Team) can(by Actor, index int, site SiteID, now time.Time) Decision {
	// Who asks comes first, so that somebody outside can't find out which teams
	// and sites there are.
	who, ok := t.holder(by, now)
	switch {
	case !ok || !t.Live():
		return Decision{Reason: ReasonNotMember}
	case who.key != nil && !who.key.Active(now):
		return Decision{Reason: ReasonKeyEnded, Role: who.key.Role, Given: who.key.given}
	case index == unknownPermission:
		return Decision{Reason: ReasonUnknown}
	}
	if site != "" {
		if _, ok := t.Site(site); !ok {
			return Decision{Reason: ReasonUnknownSite, Site: site}
		}
	}
	if who.key != nil {
		return t.keyCan(who.key, index)
	}
	return t.memberCan(who.member, index, site)
}

// memberCan decides for a member as they are now.
func (t *Team) memberCan(member *Member, index int, site SiteID) Decision {
	source := Decision{Reason: ReasonRole, Role: member.Role, Given: member.RoleGiven, Until: member.ExpiresAt}
	role, ok := t.Role(member.Role)
	if t.catalog.scoped.Has(index) && len(t.sites) > 0 && (!ok || !role.AllSites) {
		if site == "" {
			return Decision{Reason: ReasonSiteMissing}
		}
		grant, granted := member.site(site)
		if !granted {
			return Decision{Reason: ReasonNoSiteGrant, Site: site}
		}
		source = Decision{
			Reason: ReasonSiteGrant, Role: grant.Role, Site: site, Given: grant.Given, Until: sooner(member.ExpiresAt, grant.ExpiresAt),
		}
		role, ok = t.Role(grant.Role)
	}
	inRole := ok && role.Permissions.Has(index)
	switch {
	case member.Revoked.Has(index):
		denied := Decision{Reason: ReasonRevoked, Role: source.Role, Site: source.Site, Given: member.OverridesGiven}
		if inRole {
			denied.Until = member.overrideEnd(index)
		}
		return denied
	case member.Granted.Has(index):
		if !inRole {
			source.Until = sooner(source.Until, member.overrideEnd(index))
		}
		source.Allowed, source.Reason, source.Given = true, ReasonOverride, member.OverridesGiven
		return source
	case inRole:
		source.Allowed = true
		return source
	}
	source.Reason, source.Until = ReasonNotInRole, time.Time{}
	return source
}

// keyCan decides for an API key that hasn't ended. A key belongs to the team,
// not to a person, so its role covers every site.
func (t *Team) keyCan(key *APIKey, index int) Decision {
	decision := Decision{Reason: ReasonNotInRole, Role: key.Role, Given: key.given}
	if role, ok := t.Role(key.Role); ok && role.Permissions.Has(index) {
		decision.Allowed, decision.Reason = true, ReasonAPIKeyRole
		if key.ExpiresAt != nil {
			decision.Until = *key.ExpiresAt
		}
	}
	return decision
}

func (m *Member) site(id SiteID) (MemberSite, bool) {
	for i := range m.Sites { // there may be a thousand, which aren't copied to be compared
		if m.Sites[i].Site == id {
			return m.Sites[i], true
		}
	}
	return MemberSite{}, false
}

// May decides whether the actor may do one of Roster's own actions in the
// team.
func (t *Team) May(by Actor, action Action, now time.Time) Decision {
	return t.can(by, t.catalog.actionIndex[action], "", now)
}

// authority is how far an actor reaches: their role, what they hold, and
// their roles on sites.
type authority struct {
	role *Role
	// held are the permissions held throughout the team. One of a resource
	// that belongs to a site is among them only when it is held on every site.
	held      PermissionSet
	everySite bool // the role reaches every site
	sites     []MemberSite
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
	who, ok := t.holder(by, now)
	switch {
	case !ok || !t.Live():
		return authority{}, false
	case who.key != nil:
		if !who.key.Active(now) {
			return authority{}, false
		}
		role := t.roleOrNobody(who.key.Role)
		return authority{role: role, held: role.Permissions, everySite: true}, true
	}
	member, role := who.member, t.roleOrNobody(who.member.Role)
	everySite := role.AllSites || len(t.sites) == 0
	held := role.Permissions.Union(member.Granted)
	if !everySite {
		held = held.Minus(t.catalog.scoped).Union(t.onEverySite(member))
	}
	return authority{role: role, held: held.Minus(member.Revoked), everySite: everySite, sites: member.Sites}, true
}

func (t *Team) roleOrNobody(key RoleKey) *Role {
	if role, ok := t.Role(key); ok {
		return role
	}
	return nobody
}

// onEverySite are the permissions of resources that belong to a site which a
// member has on each of the team's sites.
func (t *Team) onEverySite(member *Member) PermissionSet {
	if len(member.Sites) < len(t.sites) {
		return PermissionSet{}
	}
	everywhere := t.catalog.scoped
	for _, grant := range member.Sites {
		here := t.roleOrNobody(grant.Role).Permissions.Union(member.Granted)
		everywhere = everywhere.Minus(everywhere.Minus(here))
	}
	return everywhere
}

// levelOn is the level of the actor's role on a site; 0 without one.
func (t *Team) levelOn(who authority, site SiteID) int {
	if who.everySite {
		return who.role.Level
	}
	for _, grant := range who.sites {
		if grant.Site == site {
			return t.roleOrNobody(grant.Role).Level
		}
	}
	return 0
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
	case role.Own && !role.Permissions.Within(who.held):
		// A level says what a role of the catalog has, but not one of the team's
		// own: nobody gives what they don't have.
		return nil, ErrRankTooLow.on(pointer)
	}
	return role, nil
}

// AssignableFor lists the ways in which the actor may give a role to somebody:
// "invite", "change_role" and, on a site, "grant_sites". It asks the decisions'
// own rules, like MemberActions.
func (t *Team) AssignableFor(by Actor, role *Role, now time.Time) []string {
	ways := []string{}
	for _, way := range [...]struct {
		name   string
		action Action
		reach  Reach
		exists bool
	}{
		{"invite", ActionInvite, t.catalog.Rules.InviteReach, true},
		{"change_role", ActionChangeRole, t.catalog.Rules.AssignReach, true},
		{"grant_sites", ActionGrantSites, t.catalog.Rules.AssignReach, t.catalog.Rules.Sites},
	} {
		who, err := t.permitted(by, way.action, now)
		if err != nil || !way.exists {
			continue
		}
		if _, err := t.assignable(who, role.Key, way.reach, ""); err == nil {
			ways = append(ways, way.name)
		}
	}
	return ways
}

// Assignable tells whether the actor may give the role to somebody, by
// inviting or by changing a role.
func (t *Team) Assignable(by Actor, role *Role, now time.Time) bool {
	return Assigned(t.AssignableFor(by, role, now))
}

// Assigned tells whether one of these ways makes the role that of a membership.
func Assigned(ways []string) bool {
	return slices.Contains(ways, "invite") || slices.Contains(ways, "change_role")
}

// Grantable lists the permissions that the actor may grant to others: those
// that they hold themselves.
func (t *Team) Grantable(by Actor, now time.Time) []Permission {
	who, err := t.permitted(by, ActionSetOverrides, now)
	if err != nil || !t.catalog.Rules.Overrides {
		return []Permission{}
	}
	return t.catalog.Names(who.held)
}

// What an actor may do to a member, as names that a page can show.
var memberActionNames = [...]string{"change_role", "edit_permissions", "edit_sites", "edit_expiry", "remove"}

// memberActionLists are all lists of these, by the set of bits.
var memberActionLists = func() (lists [1 << len(memberActionNames)][]string) {
	for set := range lists {
		lists[set] = []string{}
		for i, name := range memberActionNames {
			if set&(1<<i) != 0 {
				lists[set] = append(lists[set], name)
			}
		}
	}
	return lists
}()

// MemberActions gives a function that lists what the actor may do to a member.
// What is the same for every member is decided once, so that a page of members
// costs little more than one. The lists must not be changed.
//
// It asks what the decisions ask, so it can't promise what they refuse. The
// members are those of that moment.
func (t *Team) MemberActions(by Actor, now time.Time) func(*Member) []string {
	rules := &t.catalog.Rules
	powers := [...]struct {
		action  Action
		reach   Reach
		offered bool // by the catalog
		who     authority
	}{
		{ActionChangeRole, rules.ChangeRoleReach, true, authority{}},
		{ActionSetOverrides, rules.OverrideReach, rules.Overrides, authority{}},
		{ActionGrantSites, rules.ChangeRoleReach, rules.Sites, authority{}},
		{ActionRemoveMember, rules.RemoveReach, true, authority{}}, // for an end of the membership by itself
		{ActionRemoveMember, rules.RemoveReach, true, authority{}},
	}
	for i := range powers {
		power := &powers[i]
		var err error
		power.who, err = t.permitted(by, power.action, now)
		power.offered = power.offered && err == nil
	}
	return func(member *Member) []string {
		set := 0
		for i := range powers {
			power := &powers[i]
			if power.offered && t.touchable(&power.who, member, power.reach) == nil {
				set |= 1 << i
			}
		}
		if by == ByUser(member.User) {
			set &^= 0b11 << (len(powers) - 2) // nobody ends their own membership, now or later
		}
		return memberActionLists[set]
	}
}

// touchable refuses unless the member is in the reach of somebody who is
// permitted to act. The owner never is.
func (t *Team) touchable(who *authority, member *Member, reach Reach) error {
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
