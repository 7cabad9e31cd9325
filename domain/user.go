package domain

import "time"

// User is an account: one person with one sign-in, who can belong to many
// teams. The zero state means that the account doesn't exist yet. It holds
// personal data only as sealed text.
type User struct {
	id           UserID
	address      AddressID
	email        Sealed
	name         Sealed
	passwordHash Sealed
	passwordSet  uint64 // the position at which it was
	dataKey      string
	verified     bool
	activeTeam   TeamID
	registeredAt time.Time
	changedAt    time.Time

	totp           Sealed         // the secret of the authenticator app
	passkeys       []Passkey      // in the order of their adding; never changed in place
	recoveryCodes  []RecoveryHash // that are left; never changed in place
	credentialsSet uint64         // the position at which what signs in was changed last
}

// NewUser is an account before its first event.
func NewUser(id UserID) *User { return &User{id: id} }

func (u *User) ID() UserID              { return u.id }
func (u *User) Exists() bool            { return u.dataKey != "" }
func (u *User) Address() AddressID      { return u.address }
func (u *User) Email() Sealed           { return u.email }
func (u *User) Name() Sealed            { return u.name }
func (u *User) PasswordHash() Sealed    { return u.passwordHash }
func (u *User) Verified() bool          { return u.verified }
func (u *User) RegisteredAt() time.Time { return u.registeredAt }

// ChangedAt is when anything of the account changed last.
func (u *User) ChangedAt() time.Time { return u.changedAt }

// DataKey is the key that seals this person's data.
func (u *User) DataKey() string { return u.dataKey }

// ActiveTeam is the team that this person looked at last; empty when none was
// ever chosen. It may have been left since.
func (u *User) ActiveTeam() TeamID { return u.activeTeam }

// PasswordSet is the position of the commit that gave the present password.
// What was asked for before it, to reset the one before, is void.
func (u *User) PasswordSet() uint64 { return u.passwordSet }

// Rename changes the person's name.
func (u *User) Rename(name Sealed) ([]Event, error) {
	if !u.Exists() {
		return nil, ErrNotFound
	}
	return []Event{UserRenamed{Name: name}}, nil
}

// ChangePassword replaces the password. The caller has checked the present
// one.
func (u *User) ChangePassword(hash Sealed) ([]Event, error) {
	if !u.Exists() {
		return nil, ErrNotFound
	}
	return []Event{PasswordChanged{PasswordHash: hash}}, nil
}

// ResetLifetime is how long the link that resets a password works.
const ResetLifetime = 10 * time.Minute

// ResetPassword replaces the password for the holder of a link that was mailed
// to the address, who has thereby proven it as well. The caller has checked
// that the link belongs to the present password, so that it works once.
func (u *User) ResetPassword(hash Sealed, expiresAt, now time.Time) ([]Event, error) {
	events, err := u.ChangePassword(hash)
	if err != nil {
		return nil, err
	}
	if !now.Before(expiresAt) {
		return nil, ErrResetExpired
	}
	return append(events, u.VerifyEmail()...), nil
}

// VerifyEmail records that the person has shown to receive mail at the
// address.
func (u *User) VerifyEmail() []Event {
	if !u.Exists() || u.verified {
		return nil
	}
	return []Event{EmailVerified{}}
}

// ChooseTeam remembers which team the person looks at. That they are in it is
// for the caller to check.
func (u *User) ChooseTeam(team TeamID) ([]Event, error) {
	if !u.Exists() {
		return nil, ErrNotFound
	}
	if team == u.activeTeam {
		return nil, nil
	}
	return []Event{ActiveTeamChanged{Team: team}}, nil
}

// Apply folds one event into the account. It can't fail.
func (u *User) Apply(event Event, meta Meta) {
	u.changedAt = meta.At
	switch e := event.(type) {
	case UserRegistered:
		u.address, u.email, u.name = e.Address, e.Email, e.Name
		u.passwordHash, u.dataKey, u.verified = e.PasswordHash, e.DataKey, e.Verified
		u.registeredAt, u.passwordSet, u.credentialsSet = meta.At, meta.Position, meta.Position
	case EmailVerified:
		u.verified = true
	case UserRenamed:
		u.name = e.Name
	case PasswordChanged:
		u.passwordHash, u.passwordSet, u.credentialsSet = e.PasswordHash, meta.Position, meta.Position
	case ActiveTeamChanged:
		u.activeTeam = e.Team
	case TwoFactorEnabled:
		u.totp, u.recoveryCodes, u.credentialsSet = e.Secret, e.RecoveryCodes, meta.Position
	case TwoFactorDisabled:
		u.totp, u.credentialsSet = "", meta.Position
		u.dropCodesWithoutFactor()
	case PasskeyAdded:
		u.addPasskey(e, meta)
	case PasskeyRemoved:
		u.dropPasskey(e.Passkey)
		u.credentialsSet = meta.Position
	case PasskeyUsed:
		u.countPasskey(e.Passkey, e.Count)
	case RecoveryCodesRenewed:
		u.recoveryCodes = e.RecoveryCodes
	case RecoveryCodeUsed:
		u.dropUsed(e.RecoveryCode)
	}
}
