package domain

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// RoleDefinition is what a team's own role means, as an event states it.
type RoleDefinition struct {
	Key         RoleKey      `json:"key"`
	Name        string       `json:"name"`
	Description string       `json:"description,omitempty"`
	Level       int          `json:"level"`
	Permissions []Permission `json:"permissions"`
}

const (
	// MaxCustomRoles of one team. The largest role lists of products that let
	// teams define their own have a few dozen.
	MaxCustomRoles = 50

	MaxRoleKeyRunes         = 40
	MaxRoleDescriptionRunes = 300

	// maxReassigned is how many members a deletion moves to the replacement:
	// it is one commit, which has room for 1,000 events.
	maxReassigned = 450
)

// DefineRole adds a role of the team's own, made of the catalog's permissions.
// It ranks below the one who defines it and has nothing that they lack. An
// empty key is made of the name.
func (t *Team) DefineRole(by Actor, want RoleDefinition, now time.Time) ([]Event, error) {
	who, err := t.definer(by, now)
	if err != nil {
		return nil, err
	}
	if want.Key == "" {
		want.Key = roleKeyOf(want.Name)
	}
	if !validRoleKey(want.Key) {
		return nil, invalid("#/key", "must be 1 to 40 lower-case letters, digits and _, beginning with a letter")
	}
	if _, taken := t.Role(want.Key); taken {
		return nil, ErrNameTaken.on("#/key")
	}
	if len(t.roles) >= MaxCustomRoles {
		return nil, ErrTeamLimit.with(map[string]any{"limit": MaxCustomRoles})
	}
	want, err = t.definition(who, nil, want)
	if err != nil {
		return nil, err
	}
	return []Event{RoleDefined{Role: want}}, nil
}

// EditRole changes what a role of the team's own means, at once for everybody
// who has it. Its key stays. What it has already may stay even if the editor
// lacks it; what is added may not.
func (t *Team) EditRole(by Actor, key RoleKey, want RoleDefinition, now time.Time) ([]Event, error) {
	who, err := t.definer(by, now)
	if err != nil {
		return nil, err
	}
	role, err := t.ownRole(who, key)
	if err != nil {
		return nil, err
	}
	want.Key = role.Key
	want, err = t.definition(who, role, want)
	if err != nil {
		return nil, err
	}
	if set, _ := t.catalog.Set(want.Permissions); !set.Within(role.Permissions) {
		// Whoever has the role gets them for as long as they have it.
		added := set.Minus(role.Permissions)
		if err := t.lasts(by, time.Time{}, now, "#/permissions", func(who authority) error {
			if !added.Within(who.held) {
				return ErrRankTooLow
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	before := t.Definition(role)
	if want.equal(before) {
		return nil, nil
	}
	return []Event{RoleEdited{Before: before, After: want}}, nil
}

// DeleteRole removes a role of the team's own. One that is in use is refused,
// with the names of its holders, unless a replacement is named, which all of
// them get in the same commit.
func (t *Team) DeleteRole(by Actor, key, replacement RoleKey, now time.Time) ([]Event, error) {
	who, err := t.definer(by, now)
	if err != nil {
		return nil, err
	}
	role, err := t.ownRole(who, key)
	if err != nil {
		return nil, err
	}
	holders := t.holders(role.Key, now)
	if replacement == "" {
		if holders.none() {
			return []Event{RoleDeleted{Role: t.Definition(role)}}, nil
		}
		return nil, ErrRoleInUse.with(holders.details())
	}
	next, err := t.assignable(who, replacement, t.catalog.Rules.AssignReach, "#/replacement")
	switch {
	case err != nil:
		return nil, err
	case next == role:
		return nil, invalid("#/replacement", "must be another role")
	case t.raises(role.Key, next):
		err = t.lasts(by, time.Time{}, now, "#/replacement", func(who authority) error {
			_, err := t.assignable(who, replacement, t.catalog.Rules.AssignReach, "")
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(holders.members) > maxReassigned {
		return nil, ErrRoleInUse.saying("Too many members have this role to move them all at once. Give most of them another role first.").with(holders.details())
	}
	var events []Event
	for _, user := range holders.members {
		member := t.members[user] // with what has ended: that is for another event to say
		if member.Role == role.Key {
			events = append(events, RoleChanged{User: user, From: role.Key, To: next.Key})
		}
		if before := member.grants(); slices.ContainsFunc(before, func(g SiteGrant) bool { return g.Role == role.Key }) {
			after := slices.Clone(before)
			for i := range after {
				if after[i].Role == role.Key {
					after[i].Role = next.Key
				}
			}
			events = append(events, SitesChanged{User: user, Before: before, After: after})
		}
	}
	return append(events, RoleDeleted{
		Role: t.Definition(role), Replacement: next.Key, Invitations: holders.invitations, APIKeys: holders.keys,
	}), nil
}

// definer refuses unless the actor may define roles here.
func (t *Team) definer(by Actor, now time.Time) (authority, error) {
	who, err := t.permitted(by, ActionDefineRoles, now)
	if err == nil && !t.catalog.Rules.CustomRoles {
		err = ErrNotPermitted.saying("This team's role catalog has no roles of a team's own.")
	}
	return who, err
}

// ownRole finds a role of the team's own that is in reach of the actor.
func (t *Team) ownRole(who authority, key RoleKey) (*Role, error) {
	index := slices.IndexFunc(t.roles, func(role *Role) bool { return strings.EqualFold(string(role.Key), string(key)) })
	if index < 0 {
		if _, ok := t.catalog.Role(key); ok {
			return nil, ErrRoleIsFixed
		}
		return nil, ErrNotFound
	}
	if role := t.roles[index]; ReachBelow.covers(who.role.Level, role.Level) {
		return role, nil
	}
	return nil, ErrRankTooLow
}

// definition checks what a role is to mean. before is what it means now; nil
// for a new one.
func (t *Team) definition(who authority, before *Role, want RoleDefinition) (RoleDefinition, error) {
	var err error
	if want.Name, err = cleanName("#/name", want.Name, MaxNameRunes); err != nil {
		return want, err
	}
	for _, role := range t.Roles() {
		if role.Key != want.Key && strings.EqualFold(role.Name, want.Name) {
			return want, ErrNameTaken.on("#/name")
		}
	}
	if want.Description = strings.TrimSpace(want.Description); want.Description != "" {
		if want.Description, err = cleanName("#/description", want.Description, MaxRoleDescriptionRunes); err != nil {
			return want, err
		}
	}
	if want.Level < 1 {
		return want, invalid("#/level", "must be at least 1")
	}
	if !ReachBelow.covers(who.role.Level, want.Level) {
		return want, ErrRankTooLow.on("#/level")
	}
	set, unknown := t.catalog.Set(want.Permissions)
	if len(unknown) > 0 {
		return want, invalid("#/permissions", "names a permission that this team's role catalog doesn't have")
	}
	added := set
	if before != nil {
		added = set.Minus(before.Permissions)
	}
	if !added.Within(who.held) {
		return want, ErrRankTooLow.on("#/permissions")
	}
	want.Permissions = t.catalog.Names(set)
	return want, nil
}

// roleHolders are who has a role: by membership or on a site, by an invitation
// that is pending, or as an API key that works.
type roleHolders struct {
	members     []UserID
	invitations []InvitationID
	keys        []APIKeyID
}

func (t *Team) holders(key RoleKey, now time.Time) (holders roleHolders) {
	for _, member := range t.Members(0, now) {
		onSite := func(grant MemberSite) bool { return grant.Role == key }
		if member.Role == key || slices.ContainsFunc(member.Sites, onSite) {
			holders.members = append(holders.members, member.User)
		}
	}
	for id, invitation := range t.invitations {
		onSite := func(grant SiteGrant) bool { return grant.Role == key }
		if invitation.StatusAt(now) == StatusPending && (invitation.Role == key || slices.ContainsFunc(invitation.Sites, onSite)) {
			holders.invitations = append(holders.invitations, id)
		}
	}
	for id, apiKey := range t.keys {
		if apiKey.Role == key && apiKey.Active(now) {
			holders.keys = append(holders.keys, id)
		}
	}
	slices.Sort(holders.invitations)
	slices.Sort(holders.keys)
	return holders
}

func (h roleHolders) none() bool { return len(h.members)+len(h.invitations)+len(h.keys) == 0 }

// details names holders, the first hundred of each sort.
func (h roleHolders) details() map[string]any {
	return map[string]any{
		"holders":     len(h.members) + len(h.invitations) + len(h.keys),
		"members":     firstOf(h.members),
		"invitations": firstOf(h.invitations),
		"api_keys":    firstOf(h.keys),
	}
}

func firstOf[T any](all []T) []T { return append([]T{}, all[:min(len(all), 100)]...) }

// Definition is what a role means, as an event states it.
func (t *Team) Definition(role *Role) RoleDefinition {
	return RoleDefinition{
		Key: role.Key, Name: role.Name, Description: role.Description, Level: role.Level,
		Permissions: t.catalog.Names(role.Permissions),
	}
}

// Roles are the roles that there are in this team, the catalog's and its own,
// from the highest level to the lowest.
func (t *Team) Roles() []*Role {
	if len(t.roles) == 0 {
		return t.catalog.Roles
	}
	all := slices.Concat(t.catalog.Roles, t.roles)
	slices.SortStableFunc(all, func(a, b *Role) int { return cmp.Compare(b.Level, a.Level) })
	return all
}

// Role finds what a role means in this team; upper and lower case are the same.
// Where the catalog has come to define a role of the same key, that one counts.
func (t *Team) Role(key RoleKey) (*Role, bool) {
	if role, ok := t.catalog.Role(key); ok {
		return role, true
	}
	for _, role := range t.roles {
		if role.Key == key || strings.EqualFold(string(role.Key), string(key)) {
			return role, true
		}
	}
	return nil, false
}

// setRole folds what a role of the team's own means from now on.
func (t *Team) setRole(definition RoleDefinition, given Given) {
	set, _ := t.catalog.Set(definition.Permissions)
	role := &Role{
		Key: definition.Key, Name: definition.Name, Description: definition.Description, Level: definition.Level,
		Permissions: set, Own: true, Given: given,
	}
	t.unsetRole(definition.Key)
	t.roles = append(t.roles, role)
}

func (t *Team) unsetRole(key RoleKey) {
	t.roles = slices.DeleteFunc(t.roles, func(role *Role) bool { return role.Key == key })
}

// replaceRole folds the deletion of a role for those that no event of their own
// tells about.
func (t *Team) replaceRole(e RoleDeleted) {
	t.unsetRole(e.Role.Key)
	for _, id := range e.Invitations {
		invitation, ok := t.invitations[id]
		if !ok {
			continue
		}
		if invitation.Role == e.Role.Key {
			invitation.Role = e.Replacement
		}
		sites := slices.Clone(invitation.Sites) // the event's own slice stays as it is
		for i := range sites {
			if sites[i].Role == e.Role.Key {
				sites[i].Role = e.Replacement
			}
		}
		invitation.Sites = sites
	}
	for _, id := range e.APIKeys {
		if key, ok := t.keys[id]; ok {
			key.Role = e.Replacement
		}
	}
}

// roleKeyOf makes a key of a name: "Night shift" becomes night_shift.
func roleKeyOf(name string) RoleKey {
	key := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r == ' ', r == '-', r == '_':
			return '_'
		}
		return -1
	}, strings.TrimSpace(name))
	key = strings.TrimLeft(key, "_0123456789")
	return RoleKey(key[:min(len(key), MaxRoleKeyRunes)])
}

func validRoleKey(key RoleKey) bool {
	for i := range len(key) {
		switch c := key[i]; {
		case c >= 'a' && c <= 'z':
		case i > 0 && (c >= '0' && c <= '9' || c == '_'):
		default:
			return false
		}
	}
	return key != "" && len(key) <= MaxRoleKeyRunes
}
