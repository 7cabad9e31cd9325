package domain

import "slices"

// RecoveryHash is what is kept of a recovery code: a keyed hash of the code and
// its user, in hexadecimal, so that a code is worth nothing to anybody else.
type RecoveryHash string

// RecoveryCodes is how many recovery codes one has at a time.
const RecoveryCodes = 10

// TOTP is the sealed secret of the authenticator app; empty without one.
func (u *User) TOTP() Sealed { return u.totp }

// HasSecondFactor tells whether the password alone doesn't sign in.
func (u *User) HasSecondFactor() bool { return u.totp != "" || len(u.passkeys) > 0 }

// RecoveryCodesLeft is how many recovery codes haven't been used.
func (u *User) RecoveryCodesLeft() int { return len(u.recoveryCodes) }

// CredentialsSet is the position of the last change to what this person signs
// in with. A sign-in that began before it is void.
func (u *User) CredentialsSet() uint64 { return u.credentialsSet }

// MayEnableTwoFactor refuses a second authenticator app.
func (u *User) MayEnableTwoFactor() error {
	switch {
	case !u.Exists():
		return ErrNotFound
	case u.totp != "":
		return ErrTwoFactorOn
	}
	return nil
}

// EnableTwoFactor makes the codes of an authenticator app the second factor.
// The caller has checked that the app gives the right ones. The recovery codes
// take the place of any there were.
func (u *User) EnableTwoFactor(secret Sealed, codes []RecoveryHash) ([]Event, error) {
	if err := u.MayEnableTwoFactor(); err != nil {
		return nil, err
	}
	return []Event{TwoFactorEnabled{Secret: secret, RecoveryCodes: codes}}, nil
}

// DisableTwoFactor takes the authenticator app away. Passkeys stay, and with them
// the recovery codes. The caller has checked the password.
func (u *User) DisableTwoFactor() ([]Event, error) {
	switch {
	case !u.Exists():
		return nil, ErrNotFound
	case u.totp == "":
		return nil, ErrTwoFactorOff
	}
	return []Event{TwoFactorDisabled{}}, nil
}

// ResetTwoFactor takes the authenticator app, every passkey and the recovery
// codes away from somebody who has lost them all. Only the operator may, who has
// made sure of the person in some other way.
func (u *User) ResetTwoFactor(by Actor) ([]Event, error) {
	switch {
	case by != Operator:
		return nil, ErrOperatorAlone
	case !u.Exists():
		return nil, ErrNotFound
	case !u.HasSecondFactor():
		return nil, ErrTwoFactorOff.saying("This account has no second factor, so there is nothing to take away.")
	}
	events := []Event{TwoFactorDisabled{}} // also of one with passkeys alone: it says that two-factor sign-in is off
	for _, passkey := range u.passkeys {
		events = append(events, PasskeyRemoved{Passkey: passkey.ID})
	}
	return events, nil
}

// RenewRecoveryCodes replaces the recovery codes, used or not. The caller has
// checked the password.
func (u *User) RenewRecoveryCodes(codes []RecoveryHash) ([]Event, error) {
	switch {
	case !u.Exists():
		return nil, ErrNotFound
	case !u.HasSecondFactor():
		return nil, ErrTwoFactorOff
	}
	return []Event{RecoveryCodesRenewed{RecoveryCodes: codes}}, nil
}

// UseRecoveryCode takes a recovery code for the second factor, once.
func (u *User) UseRecoveryCode(code RecoveryHash) ([]Event, error) {
	if !u.HasSecondFactor() || !slices.Contains(u.recoveryCodes, code) {
		return nil, ErrInvalidCredentials
	}
	return []Event{RecoveryCodeUsed{RecoveryCode: code, Left: len(u.recoveryCodes) - 1}}, nil
}

// dropUsed forgets a recovery code.
func (u *User) dropUsed(code RecoveryHash) {
	u.recoveryCodes = slices.DeleteFunc(slices.Clone(u.recoveryCodes), func(other RecoveryHash) bool { return other == code })
}

// dropCodesWithoutFactor forgets the recovery codes of an account that has
// nothing left to recover.
func (u *User) dropCodesWithoutFactor() {
	if !u.HasSecondFactor() {
		u.recoveryCodes = nil
	}
}
