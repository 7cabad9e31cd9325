package domain

import "time"

// NewInvitation is what is asked for when somebody is invited.
type NewInvitation struct {
	ID      InvitationID
	Address AddressID
	Email   Sealed
	Name    Sealed // optional
	Role    RoleKey
	Sites   []SiteGrant
}

// Invite asks an address to join. It takes a seat until it is accepted,
// declined, cancelled or expired.
func (t *Team) Invite(by Actor, want NewInvitation, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionInvite, now)
	if err != nil {
		return nil, err
	}
	role, err := t.assignable(who, want.Role, t.catalog.Rules.InviteReach, "#/role")
	if err != nil {
		return nil, err
	}
	sites, err := t.siteGrants(who, want.Sites, nil, t.catalog.Rules.InviteReach)
	if err != nil {
		return nil, err
	}
	if err := t.invitable(want.Address, "", now); err != nil {
		return nil, err
	}
	if err := t.room(now, 1); err != nil {
		return nil, err
	}
	return []Event{MemberInvited{
		Invitation: want.ID, Address: want.Address, Email: want.Email, Name: want.Name,
		Role: role.Key, Sites: sites, ExpiresAt: now.Add(t.catalog.Rules.InvitationLifetime),
	}}, nil
}

// invitable refuses an address that is in the team already, or has a pending
// invitation other than the one excepted.
func (t *Team) invitable(address AddressID, except InvitationID, now time.Time) error {
	if _, member := t.memberBy[address]; member {
		return ErrAlreadyMember
	}
	if id, ok := t.pendingBy[address]; ok && id != except && t.invitations[id].StatusAt(now) == StatusPending {
		return ErrAlreadyInvited
	}
	return nil
}

// open finds an invitation and refuses unless its status at this moment is
// one of those given; the refusal says how it ended.
func (t *Team) open(id InvitationID, now time.Time, allowed ...InvitationStatus) (*Invitation, error) {
	invitation, ok := t.invitations[id]
	if !ok || !t.Live() {
		return nil, ErrNotFound
	}
	status := invitation.StatusAt(now)
	for _, one := range allowed {
		if status == one {
			return invitation, nil
		}
	}
	return nil, endings[status]
}

var endings = map[InvitationStatus]error{
	StatusAccepted:  ErrInvitationUsed,
	StatusDeclined:  ErrInvitationDeclined,
	StatusCancelled: ErrInvitationCancelled,
	StatusExpired:   ErrInvitationExpired,
}

// Resend makes a new link with a new deadline and kills the old one. An
// expired invitation may be sent again; it takes a seat again.
func (t *Team) Resend(by Actor, id InvitationID, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionInvite, now)
	if err != nil {
		return nil, err
	}
	invitation, err := t.open(id, now, StatusPending, StatusExpired)
	if err != nil {
		return nil, err
	}
	// It hands out the roles once more, so it takes the same authority.
	if _, err := t.assignable(who, invitation.Role, t.catalog.Rules.InviteReach, ""); err != nil {
		return nil, err
	}
	for _, grant := range invitation.Sites {
		if _, ok := t.Site(grant.Site); !ok { // removed since, so nobody gets a role on it
			continue
		}
		if _, err := t.assignableOn(who, grant, t.catalog.Rules.InviteReach, ""); err != nil {
			return nil, err
		}
	}
	if err := t.invitable(invitation.Address, id, now); err != nil {
		return nil, err
	}
	more := 0
	if invitation.StatusAt(now) == StatusExpired {
		more = 1
	}
	if err := t.room(now, more); err != nil {
		return nil, err
	}
	return []Event{InvitationResent{
		Invitation: id, Link: invitation.Link + 1, ExpiresAt: now.Add(t.catalog.Rules.InvitationLifetime),
	}}, nil
}

// Cancel withdraws a pending invitation and frees its seat.
func (t *Team) Cancel(by Actor, id InvitationID, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionInvite, now); err != nil {
		return nil, err
	}
	if _, err := t.open(id, now, StatusPending); err != nil {
		return nil, err
	}
	return []Event{InvitationCancelled{Invitation: id}}, nil
}

// Decline refuses an invitation. Whoever holds the link may.
func (t *Team) Decline(id InvitationID, now time.Time) ([]Event, error) {
	if _, err := t.open(id, now, StatusPending); err != nil {
		return nil, err
	}
	return []Event{InvitationDeclined{Invitation: id}}, nil
}

// Expire records that an invitation has passed its deadline. It answers with
// nothing when that is recorded already, or isn't so.
func (t *Team) Expire(id InvitationID, now time.Time) []Event {
	invitation, ok := t.invitations[id]
	if !ok || !t.Live() || invitation.Status != StatusPending || invitation.StatusAt(now) != StatusExpired {
		return nil
	}
	return []Event{InvitationExpired{Invitation: id}}
}

// Accept makes the invited person a member, with the role and the sites that
// the invitation carries. The address must be the one it was sent to.
func (t *Team) Accept(id InvitationID, user UserID, address AddressID, now time.Time) ([]Event, error) {
	invitation, err := t.Acceptable(id, address, now)
	if err != nil {
		return nil, err
	}
	if _, member := t.members[user]; member {
		return nil, ErrAlreadyMember
	}
	return []Event{MemberJoined{User: user, Invitation: id, Role: invitation.Role, Sites: invitation.Sites}}, nil
}

// Acceptable finds an invitation that somebody with this address may accept.
func (t *Team) Acceptable(id InvitationID, address AddressID, now time.Time) (*Invitation, error) {
	invitation, err := t.open(id, now, StatusPending)
	if err != nil {
		return nil, err
	}
	if invitation.Address != address {
		return nil, ErrWrongAccount
	}
	// The seat was taken when it was sent, so only a downgrade since then can
	// leave no room.
	if err := t.room(now, 0); err != nil {
		return nil, err
	}
	return invitation, nil
}
