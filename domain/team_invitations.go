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

	AccessExpiresAt time.Time // when the membership is to end; zero for never
}

// Invite asks an address to join. It takes a seat until it is accepted,
// declined, cancelled or expired. It never lasts longer than the access that it
// gives.
func (t *Team) Invite(by Actor, want NewInvitation, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionInvite, now)
	if err != nil {
		return nil, err
	}
	role, err := t.assignable(who, want.Role, t.catalog.Rules.InviteReach, "#/role")
	if err != nil {
		return nil, err
	}
	if err := validEnd("#/access_expires_at", want.AccessExpiresAt, now); err != nil {
		return nil, err
	}
	if err := t.lasts(by, want.AccessExpiresAt, now, "#/access_expires_at", func(who authority) error {
		_, err := t.assignable(who, want.Role, t.catalog.Rules.InviteReach, "")
		return err
	}); err != nil {
		return nil, err
	}
	sites, err := t.siteGrants(by, who, want.Sites, &Member{ExpiresAt: want.AccessExpiresAt}, t.catalog.Rules.InviteReach, now)
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
		Role: role.Key, Sites: sites, AccessExpiresAt: want.AccessExpiresAt,
		ExpiresAt: sooner(now.Add(t.catalog.Rules.InvitationLifetime), want.AccessExpiresAt),
	}}, nil
}

// invitable refuses an address that is in the team already, or has a pending
// invitation other than the one excepted.
func (t *Team) invitable(address AddressID, except InvitationID, now time.Time) error {
	if user, ok := t.memberBy[address]; ok {
		if _, member := t.member(user, now); member {
			return ErrAlreadyMember
		}
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
	if ended(invitation.AccessExpiresAt, now) {
		return nil, ErrInvitationExpired.saying("The access that it would give has ended. Invite this person anew.")
	}
	if err := t.resendable(by, who, invitation, now); err != nil {
		return nil, err
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
		Invitation: id, Link: invitation.Link + 1,
		ExpiresAt: sooner(now.Add(t.catalog.Rules.InvitationLifetime), invitation.AccessExpiresAt),
	}}, nil
}

// resendable refuses unless the actor may give the roles that an invitation
// hands out once more.
func (t *Team) resendable(by Actor, who authority, invitation *Invitation, now time.Time) error {
	reach := t.catalog.Rules.InviteReach
	gives := func(who authority) error {
		_, err := t.assignable(who, invitation.Role, reach, "")
		return err
	}
	if err := gives(who); err != nil {
		return err
	}
	if err := t.lasts(by, invitation.AccessExpiresAt, now, "", gives); err != nil {
		return err
	}
	for _, grant := range current(invitation.Sites, now) {
		if _, ok := t.Site(grant.Site); !ok { // removed since, so nobody gets a role on it
			continue
		}
		gives := func(who authority) error {
			_, err := t.assignableOn(who, grant, reach, "")
			return err
		}
		if err := gives(who); err != nil {
			return err
		}
		if err := t.lasts(by, sooner(grant.ExpiresAt, invitation.AccessExpiresAt), now, "", gives); err != nil {
			return err
		}
	}
	return nil
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
// the invitation carries. The address must be the one it was sent to. Somebody
// whose membership has ended by itself may come back; that end is on record
// before.
func (t *Team) Accept(id InvitationID, user UserID, address AddressID, now time.Time) ([]Event, error) {
	invitation, err := t.Acceptable(id, address, now)
	if err != nil {
		return nil, err
	}
	if _, member := t.member(user, now); member {
		return nil, ErrAlreadyMember
	}
	return t.afterExpiry(user, now, MemberJoined{
		User: user, Invitation: id, Role: invitation.Role, Sites: current(invitation.Sites, now), ExpiresAt: invitation.AccessExpiresAt,
	}), nil
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
