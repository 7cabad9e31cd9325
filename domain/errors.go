package domain

// Kind is what sort of refusal an error is. The HTTP interface maps each to
// one status.
type Kind int

const (
	// Forbidden: the caller is known and may not do this.
	Forbidden Kind = iota + 1
	// NotFound: there is no such thing in this team, or the caller is not in
	// the team and must not learn whether there is.
	NotFound
	// Conflict: a rule that the present state forbids.
	Conflict
	// Invalid: a field is malformed whatever the state.
	Invalid
	// Gone: it existed and has ended (an invitation that was used).
	Gone
	// Unauthenticated: no valid credential.
	Unauthenticated
)

// Error is a refusal by a rule. Code is a stable name that clients match on;
// Detail is a sentence for a person; Field, when set, is the JSON pointer of
// the input at fault; Facts are the numbers and names that belong to the
// answer (the plan, its limit). It never holds a rejected value or personal
// data.
type Error struct {
	Kind   Kind
	Code   string
	Detail string
	Field  string
	Facts  map[string]any
}

func (e *Error) Error() string { return e.Code + ": " + e.Detail }

// Is makes errors.Is compare refusals by their code, so that a refusal that
// carries facts still matches the sentinel it was made from.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// with gives a copy that carries facts.
func (e *Error) with(facts map[string]any) *Error {
	out := *e
	out.Facts = facts
	return &out
}

// on gives a copy that points at a field of the request.
func (e *Error) on(pointer string) *Error {
	out := *e
	out.Field = pointer
	return &out
}

// saying gives a copy with another sentence.
func (e *Error) saying(detail string) *Error {
	out := *e
	out.Detail = detail
	return &out
}

// invalid is a malformed field.
func invalid(pointer, detail string) *Error {
	return &Error{Kind: Invalid, Code: "invalid_field", Field: pointer, Detail: detail}
}

// The refusals. Codes are part of the HTTP interface and are never renamed.
var (
	ErrNotPermitted = &Error{Kind: Forbidden, Code: "not_permitted", Detail: "Your role in this team doesn't allow this."}
	ErrNotFound     = &Error{Kind: NotFound, Code: "not_found", Detail: "There is no such thing here."}

	ErrRoleNotAssignable = &Error{Kind: Forbidden, Code: "role_not_assignable", Detail: "This role can't be assigned by you or by anyone."}
	ErrRankTooLow        = &Error{Kind: Forbidden, Code: "rank_too_low", Detail: "This is beyond your own role or permissions."}
	ErrOwnerIsPermanent  = &Error{Kind: Conflict, Code: "owner_is_permanent", Detail: "The owner can't be removed and can't have the role changed. Transfer the ownership first."}
	ErrOwnerRequired     = &Error{Kind: Conflict, Code: "owner_required", Detail: "The team would have no owner. Transfer the ownership before you leave."}
	ErrCannotRemoveSelf  = &Error{Kind: Conflict, Code: "cannot_remove_self", Detail: "Nobody removes themselves."}
	ErrLeavingNotAllowed = &Error{Kind: Conflict, Code: "leaving_not_allowed", Detail: "Members of this team can't leave by themselves; ask someone who may remove members."}

	ErrSeatLimitReached = &Error{Kind: Conflict, Code: "seat_limit_reached", Detail: "The plan has no seat left. Cancel a pending invitation, or upgrade the plan."}
	ErrAlreadyMember    = &Error{Kind: Conflict, Code: "already_member", Detail: "This person is a member of the team already."}
	ErrAlreadyInvited   = &Error{Kind: Conflict, Code: "already_invited", Detail: "This address has a pending invitation already."}

	ErrInvitationExpired   = &Error{Kind: Gone, Code: "invitation_expired", Detail: "The invitation has expired. Ask for a new one."}
	ErrInvitationUsed      = &Error{Kind: Gone, Code: "invitation_used", Detail: "The invitation has been used."}
	ErrInvitationCancelled = &Error{Kind: Gone, Code: "invitation_cancelled", Detail: "The invitation has been cancelled."}
	ErrInvitationDeclined  = &Error{Kind: Gone, Code: "invitation_declined", Detail: "The invitation has been declined."}
	ErrWrongAccount        = &Error{Kind: Forbidden, Code: "wrong_account", Detail: "The invitation was sent to another address. Sign out first, then open the link again."}

	ErrTransferPending = &Error{Kind: Conflict, Code: "transfer_pending", Detail: "An ownership transfer is pending already. Cancel it first."}
	ErrTransferExpired = &Error{Kind: Gone, Code: "transfer_expired", Detail: "The ownership transfer has expired. Ask the owner for a new one."}
	ErrTransferEnded   = &Error{Kind: Gone, Code: "transfer_ended", Detail: "The ownership transfer has ended."}
	ErrOperatorOnly    = &Error{Kind: Forbidden, Code: "operator_only", Detail: "In this team this is done by the operator alone."}
	ErrOperatorAlone   = &Error{Kind: Forbidden, Code: "operator_only", Detail: "This is done by the operator alone."}

	ErrReviewOpen   = &Error{Kind: Conflict, Code: "access_review_open", Detail: "An access review is open already. Close it first."}
	ErrReviewClosed = &Error{Kind: Conflict, Code: "access_review_closed", Detail: "This access review is closed."}
	ErrNotReviewed  = &Error{Kind: Conflict, Code: "not_reviewed", Detail: "This person joined after the access review was opened, and isn't part of it."}
	ErrReviewsSelf  = &Error{Kind: Conflict, Code: "cannot_review_self", Detail: "Nobody decides on themselves in an access review."}

	ErrResetExpired = &Error{Kind: Gone, Code: "reset_expired", Detail: "This link has expired. Ask for a new one."}

	ErrTwoFactorOn           = &Error{Kind: Conflict, Code: "two_factor_on", Detail: "An authenticator app is set up already. Remove it first."}
	ErrTwoFactorOff          = &Error{Kind: Conflict, Code: "two_factor_off", Detail: "It isn't set up for your account, so there is nothing to change."}
	ErrTwoFactorRequired     = &Error{Kind: Forbidden, Code: "two_factor_required", Detail: "This team requires two-factor sign-in. Set it up for your account, then try again."}
	ErrTwoFactorNotAvailable = &Error{Kind: Conflict, Code: "two_factor_not_available", Detail: "This team's role catalog has no two-factor requirement."}

	ErrPasskeyLimit = &Error{Kind: Conflict, Code: "limit_reached", Detail: "There are as many passkeys as an account may have. Remove one first."}

	ErrAddressTaken       = &Error{Kind: Conflict, Code: "address_taken", Detail: "This address can't be used for a new account. Sign in, or reset the password."}
	ErrInvalidCredentials = &Error{Kind: Unauthenticated, Code: "invalid_credentials", Detail: "The address or the password is wrong."}
	ErrRoleInUse          = &Error{Kind: Conflict, Code: "role_in_use", Detail: "Somebody has this role. Name another one that they get instead."}
	ErrRoleIsFixed        = &Error{Kind: Conflict, Code: "role_is_fixed", Detail: "This role belongs to the role catalog and can't be changed by a team."}
	ErrChangedSince       = &Error{Kind: Conflict, Code: "changed_since", Detail: "It has been changed again since. Undo the later change first, or change it anew."}
	ErrNotUndoable        = &Error{Kind: Conflict, Code: "not_undoable", Detail: "This can't be turned back. Do what you need instead: invite somebody again, say."}
	ErrNameTaken          = &Error{Kind: Conflict, Code: "name_taken", Detail: "Another one has this name already."}
	ErrTeamLimit          = &Error{Kind: Conflict, Code: "limit_reached", Detail: "The team has as many of these as it may have."}
)
