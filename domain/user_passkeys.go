package domain

import (
	"slices"
	"time"
)

// MaxPasskeys is how many passkeys one account has at most: more than a person
// has devices, and few enough to be looked through at every sign-in.
const MaxPasskeys = 20

// Passkey is a key pair that signs in. Credential is what is known of it, sealed.
type Passkey struct {
	ID         PasskeyID
	Name       Sealed
	Credential Sealed
	Count      uint32 // of the authenticator, when it was used last; 0 for one that doesn't count
	AddedAt    time.Time
}

// Passkeys lists the passkeys in the order of their adding. The slice must not
// be changed.
func (u *User) Passkeys() []Passkey { return u.passkeys }

// NewPasskey is what a passkey is made of.
type NewPasskey struct {
	ID         PasskeyID
	Name       Sealed
	Credential Sealed
	Count      uint32
}

// MayAddPasskey refuses one passkey too many.
func (u *User) MayAddPasskey() error {
	switch {
	case !u.Exists():
		return ErrNotFound
	case len(u.passkeys) >= MaxPasskeys:
		return ErrPasskeyLimit.with(map[string]any{"limit": MaxPasskeys})
	}
	return nil
}

// AddPasskey adds a passkey. The caller has checked that the person has its
// private half. The recovery codes are taken when this is the account's first
// second factor.
func (u *User) AddPasskey(passkey NewPasskey, codes []RecoveryHash) ([]Event, error) {
	if err := u.MayAddPasskey(); err != nil {
		return nil, err
	}
	if u.HasSecondFactor() {
		codes = nil
	}
	return []Event{PasskeyAdded{
		Passkey: passkey.ID, Name: passkey.Name, Credential: passkey.Credential, Count: passkey.Count, RecoveryCodes: codes,
	}}, nil
}

// RemovePasskey takes a passkey away. The caller has checked the password.
func (u *User) RemovePasskey(id PasskeyID) ([]Event, error) {
	if _, ok := u.passkey(id); !ok {
		return nil, ErrNotFound
	}
	return []Event{PasskeyRemoved{Passkey: id}}, nil
}

// UsePasskey takes a sign-in by a passkey whose signature the caller has checked.
// Where the authenticator counts, each count signs in once: one that isn't above
// the last is answered with PasskeyRefused, which refuses the sign-in and is
// recorded.
func (u *User) UsePasskey(id PasskeyID, count uint32) ([]Event, error) {
	passkey, ok := u.passkey(id)
	switch {
	case !ok:
		return nil, ErrInvalidCredentials
	case count == 0 && passkey.Count == 0:
		return nil, nil
	case count <= passkey.Count:
		return []Event{PasskeyRefused{Passkey: id, Count: count, Last: passkey.Count}}, nil
	}
	return []Event{PasskeyUsed{Passkey: id, Count: count}}, nil
}

func (u *User) passkey(id PasskeyID) (Passkey, bool) {
	for _, passkey := range u.passkeys {
		if passkey.ID == id {
			return passkey, true
		}
	}
	return Passkey{}, false
}

// Copies of the user share the list of passkeys, so folding makes new ones.

func (u *User) addPasskey(e PasskeyAdded, meta Meta) {
	u.passkeys = append(slices.Clip(u.passkeys), Passkey{
		ID: e.Passkey, Name: e.Name, Credential: e.Credential, Count: e.Count, AddedAt: meta.At,
	})
	if e.RecoveryCodes != nil {
		u.recoveryCodes = e.RecoveryCodes
	}
	u.credentialsSet = meta.Position
}

func (u *User) dropPasskey(id PasskeyID) {
	u.passkeys = slices.DeleteFunc(slices.Clone(u.passkeys), func(other Passkey) bool { return other.ID == id })
	u.dropCodesWithoutFactor()
}

func (u *User) countPasskey(id PasskeyID, count uint32) {
	u.passkeys = slices.Clone(u.passkeys)
	for i := range u.passkeys {
		if u.passkeys[i].ID == id {
			u.passkeys[i].Count = count
		}
	}
}
