package domain

import "time"

// Event is something that happened. Each kind is one struct below; the event
// store keeps the table of the names under which they are written. An event
// holds personal data only as [Sealed] text and never a token, a password or
// a key.
type Event interface{ isEvent() }

// Kind of an actor.
type ActorType string

const (
	ActorUser   ActorType = "user"
	ActorAPIKey ActorType = "api_key"
	ActorSystem ActorType = "system"
)

// Actor is who did it: a user, an API key of a team, or the system, which is
// Roster itself or its operator.
type Actor struct {
	Type ActorType `json:"type"`
	ID   string    `json:"id"`
}

// The faces of the system.
var (
	Operator = Actor{Type: ActorSystem, ID: "operator"} // a person at the operator's command line
	Roster   = Actor{Type: ActorSystem, ID: "roster"}   // done by itself, such as recording an expiry
	Invitee  = Actor{Type: ActorSystem, ID: "invitee"}  // the holder of an invitation's link, without an account
	Visitor  = Actor{Type: ActorSystem, ID: "visitor"}  // somebody who has shown nothing at all
)

// ByUser is the user as actor.
func ByUser(id UserID) Actor { return Actor{Type: ActorUser, ID: string(id)} }

// ByAPIKey is the API key as actor.
func ByAPIKey(id APIKeyID) Actor { return Actor{Type: ActorAPIKey, ID: string(id)} }

// Meta is what a fold is told of an event beside its content.
type Meta struct {
	ID       EventID
	Position uint64 // of its commit in the event store
	At       time.Time
	Actor    Actor
}

// SiteGrant is a role on one site, which may end by itself.
type SiteGrant struct {
	Site      SiteID    `json:"site"`
	Role      RoleKey   `json:"role"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Events of a team.
type (
	TeamCreated struct {
		Name           string  `json:"name"`
		Catalog        string  `json:"catalog"`
		CatalogVersion int     `json:"catalog_version"`
		Plan           string  `json:"plan,omitempty"`
		Owner          UserID  `json:"owner"`
		OwnerRole      RoleKey `json:"owner_role"`
		// OwnerAddress is why the owner can't be invited to their own team.
		OwnerAddress AddressID `json:"owner_address"`
	}
	TeamRenamed struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	TeamDeleted struct{}
	PlanChanged struct {
		From string `json:"from"`
		To   string `json:"to"`
	}

	MemberInvited struct {
		Invitation InvitationID `json:"invitation"`
		Address    AddressID    `json:"address"`
		Email      Sealed       `json:"email"`
		Name       Sealed       `json:"name,omitempty"`
		Role       RoleKey      `json:"role"`
		Sites      []SiteGrant  `json:"sites,omitempty"`
		ExpiresAt  time.Time    `json:"expires_at"`
		// AccessExpiresAt is when the membership that it leads to ends.
		AccessExpiresAt time.Time `json:"access_expires_at,omitzero"`
	}
	InvitationResent struct {
		Invitation InvitationID `json:"invitation"`
		Link       int          `json:"link"` // the version of the link; lower ones are dead
		ExpiresAt  time.Time    `json:"expires_at"`
	}
	InvitationCancelled struct {
		Invitation InvitationID `json:"invitation"`
	}
	InvitationDeclined struct {
		Invitation InvitationID `json:"invitation"`
	}
	// InvitationExpired is for the record; that an invitation has expired is
	// decided by its time.
	InvitationExpired struct {
		Invitation InvitationID `json:"invitation"`
	}
	MemberJoined struct {
		User       UserID       `json:"user"`
		Invitation InvitationID `json:"invitation"`
		Role       RoleKey      `json:"role"`
		Sites      []SiteGrant  `json:"sites,omitempty"`
		ExpiresAt  time.Time    `json:"expires_at,omitzero"` // when the membership ends by itself
	}

	RoleChanged struct {
		User UserID  `json:"user"`
		From RoleKey `json:"from"`
		To   RoleKey `json:"to"`
	}
	PermissionsChanged struct {
		User   UserID    `json:"user"`
		Before Overrides `json:"before"`
		After  Overrides `json:"after"`
	}
	SitesChanged struct {
		User   UserID      `json:"user"`
		Before []SiteGrant `json:"before"`
		After  []SiteGrant `json:"after"`
	}
	MemberRemoved struct {
		User UserID  `json:"user"`
		Role RoleKey `json:"role"`
	}
	MemberLeft struct {
		User UserID  `json:"user"`
		Role RoleKey `json:"role"`
	}

	// ExpiryChanged says when a membership ends by itself; no time is never.
	ExpiryChanged struct {
		User   UserID    `json:"user"`
		Before time.Time `json:"before,omitzero"`
		After  time.Time `json:"after,omitzero"`
	}
	// MemberExpired, SitesExpired and PermissionsExpired are for the record;
	// that access has ended is decided by its time.
	MemberExpired struct {
		User      UserID    `json:"user"`
		Role      RoleKey   `json:"role"`
		ExpiredAt time.Time `json:"expired_at"`
	}
	SitesExpired struct {
		User  UserID      `json:"user"`
		Sites []SiteGrant `json:"sites"` // those that ended
	}
	PermissionsExpired struct {
		User      UserID    `json:"user"`
		Overrides Overrides `json:"overrides"` // those that ended
	}

	OwnershipTransferRequested struct {
		Transfer  TransferID `json:"transfer"`
		To        UserID     `json:"to"`
		ExpiresAt time.Time  `json:"expires_at"`
	}
	OwnershipTransferCancelled struct {
		Transfer TransferID `json:"transfer"`
	}
	// OwnershipTransferred makes the new owner and turns the old one into
	// something else in one event, so that no state has two owners or none.
	// Transfer is empty when the operator moved the ownership.
	OwnershipTransferred struct {
		Transfer TransferID `json:"transfer,omitempty"`
		From     UserID     `json:"from"`
		To       UserID     `json:"to"`
		FromRole RoleKey    `json:"from_role"` // what the old owner is now
		ToRole   RoleKey    `json:"to_role"`   // what the new owner was before
		// ToExpiresAt is when the new owner's membership would have ended: an
		// owner's doesn't.
		ToExpiresAt time.Time `json:"to_expires_at,omitzero"`
	}

	AccessReviewOpened struct {
		Review  ReviewID   `json:"review"`
		Name    string     `json:"name,omitempty"`
		Due     *time.Time `json:"due,omitempty"`
		Members int        `json:"members"` // to be decided on
	}
	// AccessReviewDecided comes with MemberRemoved when that is the decision.
	// Note is sealed under the reviewer's key.
	AccessReviewDecided struct {
		Review   ReviewID       `json:"review"`
		User     UserID         `json:"user"`
		Decision ReviewDecision `json:"decision"`
		Note     Sealed         `json:"note,omitempty"`
	}
	// AccessReviewClosed says how many members came to what.
	AccessReviewClosed struct {
		Review    ReviewID `json:"review"`
		Kept      int      `json:"kept"`
		Removed   int      `json:"removed"`
		Left      int      `json:"left"` // the team, before anything was decided
		Undecided int      `json:"undecided"`
	}

	RoleDefined struct {
		Role RoleDefinition `json:"role"`
	}
	// RoleEdited acts at once on everybody who has the role.
	RoleEdited struct {
		Before RoleDefinition `json:"before"`
		After  RoleDefinition `json:"after"`
	}
	// RoleDeleted comes with an event for each member who had the role. The
	// invitations and API keys that had it are listed here, and get the
	// replacement by it.
	RoleDeleted struct {
		Role        RoleDefinition `json:"role"`
		Replacement RoleKey        `json:"replacement,omitempty"`
		Invitations []InvitationID `json:"invitations,omitempty"`
		APIKeys     []APIKeyID     `json:"api_keys,omitempty"`
	}

	SiteAdded struct {
		Site SiteID `json:"site"`
		Name string `json:"name"`
	}
	SiteRenamed struct {
		Site SiteID `json:"site"`
		From string `json:"from"`
		To   string `json:"to"`
	}
	// SiteRemoved ends every grant on the site.
	SiteRemoved struct {
		Site SiteID `json:"site"`
		Name string `json:"name"`
	}

	// APIKeyCreated holds the SHA-256 of the secret, in hexadecimal.
	APIKeyCreated struct {
		Key        APIKeyID   `json:"key"`
		Name       string     `json:"name"`
		Role       RoleKey    `json:"role"`
		Prefix     string     `json:"prefix"`
		SecretHash string     `json:"secret_hash"`
		DataKey    string     `json:"data_key"` // seals where the key is used from
		ExpiresAt  *time.Time `json:"expires_at,omitempty"`
		// Passing is true of a key made by one whose own access ends by itself. The
		// end of a key is that of a credential and binds nothing that the key does;
		// but this one gives nothing that lasts longer than itself.
		Passing bool `json:"passing,omitzero"`
	}
	APIKeyRevoked struct {
		Key  APIKeyID `json:"key"`
		Name string   `json:"name"`
	}

	TwoFactorPolicyChanged struct {
		Before TwoFactorPolicy `json:"before"`
		After  TwoFactorPolicy `json:"after"`
	}
)

// Overrides are permissions granted to or revoked from one member on top of
// the role.
type Overrides struct {
	Granted []Permission `json:"granted"`
	Revoked []Permission `json:"revoked"`

	// Expirations are when some of them end by themselves; nil when none does.
	Expirations map[Permission]time.Time `json:"expirations,omitzero"`
}

// Events of a user.
type (
	// UserRegistered opens an account. PasswordHash is the sealed argon2id
	// string. Verified is true when the address was proven by an invitation.
	UserRegistered struct {
		Address      AddressID `json:"address"`
		Email        Sealed    `json:"email"`
		Name         Sealed    `json:"name"`
		PasswordHash Sealed    `json:"password_hash"`
		DataKey      string    `json:"data_key"`
		Verified     bool      `json:"verified,omitempty"`
	}
	EmailVerified struct{}
	UserRenamed   struct {
		Name Sealed `json:"name"`
	}
	PasswordChanged struct {
		PasswordHash Sealed `json:"password_hash"`
	}
	ActiveTeamChanged struct {
		Team TeamID `json:"team"`
	}

	// TwoFactorEnabled makes an authenticator app the second factor. Secret is
	// what its codes are computed from.
	TwoFactorEnabled struct {
		Secret        Sealed         `json:"secret"`
		RecoveryCodes []RecoveryHash `json:"recovery_codes"`
	}
	TwoFactorDisabled struct{}
	// PasskeyAdded is a key pair that signs in, of which the person keeps the
	// private half. Credential is the public half with its id, sealed because
	// they lead from one account to its person's device. Count is the
	// authenticator's counter. RecoveryCodes come with an account's first second
	// factor.
	PasskeyAdded struct {
		Passkey       PasskeyID      `json:"passkey"`
		Name          Sealed         `json:"name"`
		Credential    Sealed         `json:"credential"`
		Count         uint32         `json:"count"`
		RecoveryCodes []RecoveryHash `json:"recovery_codes,omitempty"`
	}
	PasskeyRemoved struct {
		Passkey PasskeyID `json:"passkey"`
	}
	// PasskeyUsed is a sign-in by a passkey whose authenticator counts. Most
	// don't, and their sign-ins leave none.
	PasskeyUsed struct {
		Passkey PasskeyID `json:"passkey"`
		Count   uint32    `json:"count"`
	}
	// PasskeyRefused is a sign-in that was right but for its counter, which had
	// been reached before: there may be a copy of the private key.
	PasskeyRefused struct {
		Passkey PasskeyID `json:"passkey"`
		Count   uint32    `json:"count"`
		Last    uint32    `json:"last"`
	}
	RecoveryCodesRenewed struct {
		RecoveryCodes []RecoveryHash `json:"recovery_codes"`
	}
	RecoveryCodeUsed struct {
		RecoveryCode RecoveryHash `json:"recovery_code"`
		Left         int          `json:"left"`
	}
)

// AddressClaimed gives an address to a user. It is written together with
// UserRegistered and is why two accounts can't share one address.
type AddressClaimed struct {
	User UserID `json:"user"`
}

// Events of activity: facts that no rule depends on, kept apart from the
// aggregates so that they never burden them.
type (
	SessionStarted struct {
		User    UserID    `json:"user"`
		Session SessionID `json:"session"`
	}
	SessionEnded struct {
		User    UserID    `json:"user"`
		Session SessionID `json:"session"`
	}
	// PasswordResetRequested is why a message with a link is sent to the user,
	// whoever asked for it. The link's secret isn't stored anywhere.
	PasswordResetRequested struct {
		User      UserID    `json:"user"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	// InvitationDelivery is the outcome of one message for one link of an
	// invitation. Detail says what went wrong, without the address.
	InvitationDelivery struct {
		Team       TeamID         `json:"team"`
		Invitation InvitationID   `json:"invitation"`
		Link       int            `json:"link"`
		Status     DeliveryStatus `json:"status"`
		Detail     string         `json:"detail,omitempty"`
	}
	// HostActionRecorded is something that the host product did in a team and
	// that stands in the team's audit log. Content is a HostActionContent as
	// JSON, sealed for the place "<event id>/content". Several that come at once
	// share a commit; then By says of each what a commit says of its cause.
	HostActionRecorded struct {
		Team       TeamID     `json:"team"`
		Action     string     `json:"action"`
		TargetType string     `json:"target_type"`
		TargetID   string     `json:"target_id"`
		Content    Sealed     `json:"content,omitempty"`
		OnBehalfOf UserID     `json:"on_behalf_of,omitempty"`
		OccurredAt time.Time  `json:"occurred_at,omitzero"`
		By         *HostActor `json:"by,omitempty"`
	}
)

// HostActor is who recorded an action of the host product, in which request
// and from where, sealed for the place "<event id>/origin".
type HostActor struct {
	Actor   Actor  `json:"actor"`
	Origin  Sealed `json:"origin,omitempty"`
	Request string `json:"request,omitempty"`
}

// DeliveryStatus is how far a message has come.
type DeliveryStatus string

const (
	DeliveryQueued DeliveryStatus = "queued"
	DeliverySent   DeliveryStatus = "sent"
	DeliveryFailed DeliveryStatus = "failed"
)

// CatalogPublished records a version of a role catalog, so that the past is
// judged by the rules of its time. Source is the file.
type CatalogPublished struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Source  string `json:"source"`
}

func (TeamCreated) isEvent()                {}
func (TeamRenamed) isEvent()                {}
func (TeamDeleted) isEvent()                {}
func (PlanChanged) isEvent()                {}
func (MemberInvited) isEvent()              {}
func (InvitationResent) isEvent()           {}
func (InvitationCancelled) isEvent()        {}
func (InvitationDeclined) isEvent()         {}
func (InvitationExpired) isEvent()          {}
func (MemberJoined) isEvent()               {}
func (RoleChanged) isEvent()                {}
func (PermissionsChanged) isEvent()         {}
func (SitesChanged) isEvent()               {}
func (MemberRemoved) isEvent()              {}
func (MemberLeft) isEvent()                 {}
func (ExpiryChanged) isEvent()              {}
func (MemberExpired) isEvent()              {}
func (SitesExpired) isEvent()               {}
func (PermissionsExpired) isEvent()         {}
func (OwnershipTransferRequested) isEvent() {}
func (OwnershipTransferCancelled) isEvent() {}
func (OwnershipTransferred) isEvent()       {}
func (AccessReviewOpened) isEvent()         {}
func (AccessReviewDecided) isEvent()        {}
func (AccessReviewClosed) isEvent()         {}
func (RoleDefined) isEvent()                {}
func (RoleEdited) isEvent()                 {}
func (RoleDeleted) isEvent()                {}
func (SiteAdded) isEvent()                  {}
func (SiteRenamed) isEvent()                {}
func (SiteRemoved) isEvent()                {}
func (APIKeyCreated) isEvent()              {}
func (APIKeyRevoked) isEvent()              {}
func (TwoFactorPolicyChanged) isEvent()     {}
func (UserRegistered) isEvent()             {}
func (EmailVerified) isEvent()              {}
func (UserRenamed) isEvent()                {}
func (PasswordChanged) isEvent()            {}
func (ActiveTeamChanged) isEvent()          {}
func (TwoFactorEnabled) isEvent()           {}
func (TwoFactorDisabled) isEvent()          {}
func (PasskeyAdded) isEvent()               {}
func (PasskeyRemoved) isEvent()             {}
func (PasskeyUsed) isEvent()                {}
func (PasskeyRefused) isEvent()             {}
func (RecoveryCodesRenewed) isEvent()       {}
func (RecoveryCodeUsed) isEvent()           {}
func (AddressClaimed) isEvent()             {}
func (SessionStarted) isEvent()             {}
func (SessionEnded) isEvent()               {}
func (PasswordResetRequested) isEvent()     {}
func (InvitationDelivery) isEvent()         {}
func (HostActionRecorded) isEvent()         {}
func (CatalogPublished) isEvent()           {}
