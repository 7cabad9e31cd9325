package domain

import (
	"slices"
	"time"
)

// Apply folds one event into the team. It can't fail: what happened is not
// judged again.
func (t *Team) Apply(event Event, meta Meta) {
	given := Given{Event: meta.ID, Position: meta.Position, At: meta.At, By: meta.Actor}
	switch e := event.(type) {
	case TeamCreated:
		if t.catalog = t.catalogs.Catalog(e.Catalog); t.catalog == nil {
			t.catalog = noCatalog
		}
		t.name, t.plan, t.owner, t.createdAt = e.Name, e.Plan, e.Owner, meta.At
		t.join(&Member{User: e.Owner, Address: e.OwnerAddress, JoinedAt: meta.At, Role: e.OwnerRole, RoleGiven: given})
	case TeamRenamed:
		t.name = e.To
	case TeamDeleted:
		t.deleted = true
	case PlanChanged:
		t.plan = e.To
		t.coverAll(meta.At)

	case MemberInvited:
		t.invitations[e.Invitation] = &Invitation{
			ID: e.Invitation, Address: e.Address, Email: e.Email, Name: e.Name, Role: e.Role, Sites: e.Sites,
			Link: 1, ExpiresAt: e.ExpiresAt, AccessExpiresAt: e.AccessExpiresAt, InvitedBy: meta.Actor, InvitedAt: meta.At,
		}
		t.pend(t.invitations[e.Invitation])
	case InvitationResent:
		if invitation, ok := t.invitations[e.Invitation]; ok {
			t.end(e.Invitation, StatusPending)
			invitation.Link, invitation.ExpiresAt = e.Link, e.ExpiresAt
			t.pend(invitation)
		}
	case InvitationCancelled:
		t.end(e.Invitation, StatusCancelled)
	case InvitationDeclined:
		t.end(e.Invitation, StatusDeclined)
	case InvitationExpired:
		t.end(e.Invitation, StatusExpired)
	case MemberJoined:
		member := &Member{User: e.User, JoinedAt: meta.At, Role: e.Role, RoleGiven: given}
		for _, grant := range e.Sites {
			if _, ok := t.Site(grant.Site); ok { // it may have been removed since the invitation
				member.Sites = append(member.Sites, MemberSite{grant, given})
			}
		}
		member.reckon()
		if invitation, ok := t.invitations[e.Invitation]; ok {
			member.Address = invitation.Address
			t.end(e.Invitation, StatusAccepted)
		}
		t.join(member)
		t.setExpiry(member, e.ExpiresAt)

	case RoleChanged:
		if member, ok := t.members[e.User]; ok {
			member.Role, member.RoleGiven = e.To, given
			t.cover(member, meta.At)
		}
	case PermissionsChanged:
		if member, ok := t.members[e.User]; ok {
			t.setOverrides(member, e.After)
			member.OverridesGiven = given
		}
	case SitesChanged:
		if member, ok := t.members[e.User]; ok {
			member.Sites = member.regrant(e.After, given)
			member.reckon()
		}
	case ExpiryChanged:
		if member, ok := t.members[e.User]; ok {
			t.setExpiry(member, e.After)
		}
	case MemberExpired:
		t.part(e.User, e.ExpiredAt)
	case SitesExpired:
		t.applySitesExpired(e)
	case PermissionsExpired:
		t.applyPermissionsExpired(e)
	case MemberRemoved:
		t.part(e.User, meta.At)
	case MemberLeft:
		t.part(e.User, meta.At)

	case OwnershipTransferRequested:
		t.transfer = &Transfer{ID: e.Transfer, To: e.To, ExpiresAt: e.ExpiresAt, RequestedAt: meta.At}
	case OwnershipTransferCancelled:
		t.endTransfer()
	case OwnershipTransferred:
		t.endTransfer()
		if e.Transfer != "" && t.transfer != nil && t.transfer.ID == e.Transfer {
			t.transfer.Confirmed = true
		}
		t.owner = e.To
		if old, ok := t.members[e.From]; ok {
			old.Role, old.RoleGiven = e.FromRole, given
			t.cover(old, meta.At)
		}
		if owner, ok := t.members[e.To]; ok {
			// An owner has everything, for good: overrides and grants of before are
			// void.
			owner.Role, owner.RoleGiven = t.catalog.OwnerRole().Key, given
			owner.Granted, owner.Revoked, owner.Sites = PermissionSet{}, PermissionSet{}, nil
			owner.ends, owner.soonest = nil, time.Time{}
			t.setExpiry(owner, time.Time{})
			t.cover(owner, meta.At)
		}

	case AccessReviewOpened:
		t.applyReviewOpened(e, given)
	case AccessReviewDecided:
		t.applyReviewDecided(e, given)
	case AccessReviewClosed:
		t.applyReviewClosed(e, given)

	case RoleDefined:
		t.setRole(e.Role, given)
	case RoleEdited:
		t.setRole(e.After, given)
	case RoleDeleted:
		t.replaceRole(e)

	case SiteAdded:
		site := &Site{ID: e.Site, Name: e.Name, AddedAt: meta.At}
		t.sites, t.siteBy[e.Site] = append(t.sites, site), site
	case SiteRenamed:
		if site, ok := t.Site(e.Site); ok {
			site.Name = e.To
		}
	case SiteRemoved:
		delete(t.siteBy, e.Site)
		t.sites = slices.DeleteFunc(t.sites, func(site *Site) bool { return site.ID == e.Site })
		for _, member := range t.members {
			member.Sites = slices.DeleteFunc(member.Sites, func(grant MemberSite) bool { return grant.Site == e.Site })
			member.reckon()
		}

	case APIKeyCreated:
		t.keys[e.Key] = &APIKey{
			ID: e.Key, Name: e.Name, Role: e.Role, Prefix: e.Prefix, SecretHash: e.SecretHash, DataKey: e.DataKey,
			CreatedAt: meta.At, CreatedBy: meta.Actor, ExpiresAt: e.ExpiresAt, given: given, passing: e.Passing,
		}
	case APIKeyRevoked:
		if key, ok := t.keys[e.Key]; ok {
			key.Revoked = true
		}

	case TwoFactorPolicyChanged:
		t.twoFactor.TwoFactorPolicy, t.twoFactor.given = e.After, given
		t.coverAll(meta.At)
	}
}

func (t *Team) join(member *Member) {
	if before, ok := t.members[member.User]; ok {
		t.setExpiry(before, time.Time{})
		t.roll.remove(before)
	}
	t.members[member.User] = member
	t.roll.add(member)
	t.cover(member, member.JoinedAt)
	if member.Address != "" {
		t.memberBy[member.Address] = member.User
	}
}

// part ends a membership, and with it a transfer to that member.
func (t *Team) part(user UserID, at time.Time) {
	if member, ok := t.members[user]; ok {
		t.departs(member, at)
		t.setExpiry(member, time.Time{})
		delete(t.memberBy, member.Address)
		delete(t.members, user)
		t.roll.remove(member)
		t.former[user] = true
	}
	if t.transfer != nil && t.transfer.To == user {
		t.endTransfer()
	}
}

func (t *Team) endTransfer() {
	if t.transfer != nil {
		t.transfer.Ended = true
	}
}

func (t *Team) pend(invitation *Invitation) {
	invitation.Status = StatusPending
	t.pendingBy[invitation.Address] = invitation.ID
	t.deadlines.add(invitation.ExpiresAt, invitation.ID)
}

// end gives an invitation its status and frees its seat.
func (t *Team) end(id InvitationID, status InvitationStatus) {
	invitation, ok := t.invitations[id]
	if !ok {
		return
	}
	if invitation.Status == StatusPending {
		t.deadlines.remove(invitation.ExpiresAt, id)
		if t.pendingBy[invitation.Address] == id {
			delete(t.pendingBy, invitation.Address)
		}
	}
	invitation.Status = status
}

// regrant gives the grants of after, keeping for each that hasn't changed the
// event that gave it.
func (m *Member) regrant(after []SiteGrant, given Given) []MemberSite {
	sites := make([]MemberSite, 0, len(after))
	for _, grant := range after {
		if old, ok := m.site(grant.Site); ok && old.equal(grant) {
			sites = append(sites, old)
		} else {
			sites = append(sites, MemberSite{grant, given})
		}
	}
	return sites
}
