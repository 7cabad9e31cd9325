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
	dataKey      string
	verified     bool
	activeTeam   TeamID
	registeredAt time.Time
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

// DataKey is the key that seals this person's data.
func (u *User) DataKey() string { return u.dataKey }

// ActiveTeam is the team that this person looked at last; empty when none was
// ever chosen. It may have been left since.
func (u *User) ActiveTeam() TeamID { return u.activeTeam }

// Rename changes the person's name.
func (u *User) Rename(name Sealed) ([]Event, error) {
	if !u.Exists() {
		return nil, ErrNotFound
	}
	return []Event{UserRenamed{Name: name}}, nil
}

// ChangePassword replaces the password. The caller has checked the present
// one, or a reset link.
func (u *User) ChangePassword(hash Sealed) ([]Event, error) {
	if !u.Exists() {
		return nil, ErrNotFound
	}
	return []Event{PasswordChanged{PasswordHash: hash}}, nil
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
	switch e := event.(type) {
	case UserRegistered:
		u.address, u.email, u.name = e.Address, e.Email, e.Name
		u.passwordHash, u.dataKey, u.verified = e.PasswordHash, e.DataKey, e.Verified
		u.registeredAt = meta.At
	case EmailVerified:
		u.verified = true
	case UserRenamed:
		u.name = e.Name
	case PasswordChanged:
		u.passwordHash = e.PasswordHash
	case ActiveTeamChanged:
		u.activeTeam = e.Team
	}
}
