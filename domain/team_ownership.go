package domain

import "time"

// RequestTransfer asks a member to take over the ownership. Nothing changes
// until they confirm. The caller has been asked for their password again.
func (t *Team) RequestTransfer(by Actor, id TransferID, to UserID, now time.Time) ([]Event, error) {
	if _, member := t.authority(by, now); member && t.catalog.Rules.TransferBy != TransferByOwner {
		return nil, ErrOperatorOnly
	}
	if _, err := t.permitted(by, ActionTransferOwnership, now); err != nil {
		return nil, err
	}
	// Whatever the catalog says of the permission, ownership is the owner's to
	// give.
	if by != ByUser(t.owner) {
		return nil, ErrNotPermitted
	}
	if _, ok := t.member(to, now); !ok {
		return nil, invalid("#/user_id", "must be a member of the team")
	}
	if to == t.owner {
		return nil, invalid("#/user_id", "is the owner already")
	}
	if t.transferOpen(now) {
		return nil, ErrTransferPending
	}
	return []Event{OwnershipTransferRequested{Transfer: id, To: to, ExpiresAt: now.Add(t.catalog.Rules.TransferLifetime)}}, nil
}

// OpenTransfer is the ownership transfer that waits for its confirmation.
func (t *Team) OpenTransfer(now time.Time) (*Transfer, bool) { return t.transfer, t.transferOpen(now) }

// transferOpen tells whether a transfer can still be confirmed: it ends with the
// membership of the one who was chosen.
func (t *Team) transferOpen(now time.Time) bool {
	if t.transfer == nil || t.transfer.Ended || !now.Before(t.transfer.ExpiresAt) {
		return false
	}
	_, member := t.member(t.transfer.To, now)
	return member
}

// CancelTransfer withdraws a pending transfer.
func (t *Team) CancelTransfer(by Actor, id TransferID, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionTransferOwnership, now); err != nil {
		return nil, err
	}
	if t.transfer == nil || t.transfer.ID != id {
		return nil, ErrNotFound
	}
	if !t.transferOpen(now) {
		return nil, ErrTransferEnded
	}
	return []Event{OwnershipTransferCancelled{Transfer: id}}, nil
}

// ConfirmTransfer moves the ownership to the member who was chosen and who
// confirms it.
func (t *Team) ConfirmTransfer(id TransferID, user UserID, now time.Time) ([]Event, error) {
	transfer, err := t.Confirmable(id, now)
	if transfer != nil && transfer.To != user {
		return nil, ErrWrongAccount.saying("Another member was chosen. Sign in as that member.")
	}
	if err != nil {
		return nil, err
	}
	return t.transferTo(user, id, now)
}

// Confirmable finds a transfer. When it can't be confirmed any more it comes
// with the refusal that says why.
func (t *Team) Confirmable(id TransferID, now time.Time) (*Transfer, error) {
	switch {
	case !t.Live() || t.transfer == nil || t.transfer.ID != id:
		return nil, ErrNotFound
	case t.transfer.Confirmed:
		return t.transfer, ErrTransferEnded.saying("The ownership transfer has been confirmed already.")
	case t.transfer.Ended:
		return t.transfer, ErrTransferEnded.saying("The ownership transfer has been cancelled.")
	case !now.Before(t.transfer.ExpiresAt):
		return t.transfer, ErrTransferExpired
	case !t.transferOpen(now): // the chosen member's membership has ended by itself
		return t.transfer, ErrTransferEnded
	}
	return t.transfer, nil
}

// OperatorTransfer moves the ownership at once, for the operator who has
// checked outside of Roster that it is right.
func (t *Team) OperatorTransfer(by Actor, to UserID, now time.Time) ([]Event, error) {
	if err := t.operator(by, now); err != nil || to == t.owner {
		return nil, err
	}
	return t.transferTo(to, "", now)
}

func (t *Team) transferTo(to UserID, id TransferID, now time.Time) ([]Event, error) {
	member, ok := t.member(to, now)
	if !ok {
		return nil, invalid("#/user_id", "must be a member of the team")
	}
	return t.afterExpiry(to, now, OwnershipTransferred{
		Transfer: id, From: t.owner, To: to,
		FromRole: t.catalog.Rules.PreviousOwnerRole, ToRole: member.Role, ToExpiresAt: member.ExpiresAt,
	}), nil
}
