package domain

import (
	"maps"
	"slices"
	"time"
)

// Undo decides how to turn an event of the team's past back: by a new command,
// judged under today's rules and by what its actor may do now. What somebody
// has changed again since is refused, and so is what can't be turned back:
// somebody who left, say, has to be invited again.
func (t *Team) Undo(by Actor, event Event, now time.Time) ([]Event, error) {
	switch e := event.(type) {
	case TeamRenamed:
		if t.name != e.To {
			return nil, ErrChangedSince
		}
		return t.Rename(by, e.From, now)
	case PlanChanged:
		if t.plan != e.To {
			return nil, ErrChangedSince
		}
		return t.SetPlan(by, e.From, now)

	case MemberInvited:
		return t.Cancel(by, e.Invitation, now)
	case RoleChanged:
		if member, ok := t.member(e.User, now); !ok || member.Role != e.To {
			return nil, ErrChangedSince
		}
		return t.ChangeRole(by, e.User, e.From, now)
	case PermissionsChanged:
		member, ok := t.member(e.User, now)
		if !ok || !t.Overrides(member).equal(t.known(e.After, now)) {
			return nil, ErrChangedSince
		}
		return t.SetOverrides(by, e.User, t.known(e.Before, now), now)
	case ExpiryChanged:
		member, ok := t.member(e.User, now)
		switch {
		case !ok || !member.ExpiresAt.Equal(e.After):
			return nil, ErrChangedSince
		case ended(e.Before, now):
			return nil, ErrNotUndoable.saying("That end has passed. Remove the member instead.")
		}
		return t.SetExpiry(by, e.User, e.Before, now)
	case SitesChanged:
		member, ok := t.member(e.User, now)
		if !ok || !sameGrants(sortedBySite(member.grants()), sortedBySite(current(e.After, now))) {
			return nil, ErrChangedSince
		}
		return t.SetSites(by, e.User, current(e.Before, now), now)
	case OwnershipTransferRequested:
		return t.CancelTransfer(by, e.Transfer, now)

	case SiteAdded:
		return t.RemoveSite(by, e.Site, now)
	case SiteRenamed:
		if site, ok := t.Site(e.Site); !ok || site.Name != e.To {
			return nil, ErrChangedSince
		}
		return t.RenameSite(by, e.Site, e.From, now)
	case RoleDefined:
		return t.DeleteRole(by, e.Role.Key, "", now)
	case RoleEdited:
		role, ok := t.Role(e.After.Key)
		if !ok || !t.Definition(role).equal(e.After) {
			return nil, ErrChangedSince
		}
		return t.EditRole(by, e.Before.Key, e.Before, now)
	case APIKeyCreated:
		return t.RevokeAPIKey(by, e.Key, now)
	}
	if _, inside := t.holder(by, now); !inside || !t.Live() {
		return nil, ErrNotFound
	}
	return nil, ErrNotUndoable
}

// known are overrides without those that have ended by now and permissions that
// the catalog has dropped, in the catalog's order.
func (t *Team) known(o Overrides, now time.Time) Overrides {
	var member Member
	t.setOverrides(&member, o)
	return t.Overrides(member.at(now))
}

func (o Overrides) equal(other Overrides) bool {
	return slices.Equal(o.Granted, other.Granted) && slices.Equal(o.Revoked, other.Revoked) &&
		maps.EqualFunc(o.Expirations, other.Expirations, time.Time.Equal)
}

func (d RoleDefinition) equal(other RoleDefinition) bool {
	return d.Key == other.Key && d.Name == other.Name && d.Description == other.Description && d.Level == other.Level &&
		slices.Equal(d.Permissions, other.Permissions)
}
