package domain_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

func TestUser(t *testing.T) {
	registered := domain.UserRegistered{
		Address: address("ann"), Email: "sealed-email", Name: "sealed-name", PasswordHash: "sealed-hash", DataKey: "block.7",
	}
	fold := func(events ...domain.Event) *domain.User {
		u := domain.NewUser("ann")
		for i, event := range events {
			u.Apply(event, meta(i+1, as("ann"), t0))
		}
		return u
	}
	verified := func(u *domain.User) ([]domain.Event, error) { return u.VerifyEmail(), nil }
	renamed := func(u *domain.User) ([]domain.Event, error) { return u.Rename("sealed-other") }
	password := func(u *domain.User) ([]domain.Event, error) { return u.ChangePassword("sealed-new") }
	reset := func(at time.Time) func(*domain.User) ([]domain.Event, error) {
		return func(u *domain.User) ([]domain.Event, error) { return u.ResetPassword("sealed-new", t0, at) }
	}
	codes, others := []domain.RecoveryHash{"c1", "c2"}, []domain.RecoveryHash{"c3"}
	app := domain.TwoFactorEnabled{Secret: "sealed-secret", RecoveryCodes: codes}
	enabled := func(u *domain.User) ([]domain.Event, error) { return u.EnableTwoFactor("sealed-secret", codes) }
	disabled := func(u *domain.User) ([]domain.Event, error) { return u.DisableTwoFactor() }
	renewed := func(u *domain.User) ([]domain.Event, error) { return u.RenewRecoveryCodes(others) }
	used := func(code domain.RecoveryHash) func(*domain.User) ([]domain.Event, error) {
		return func(u *domain.User) ([]domain.Event, error) { return u.UseRecoveryCode(code) }
	}
	phone := domain.PasskeyAdded{Passkey: "phone", Name: "sealed-n", Credential: "sealed-c", Count: 7}
	firstPhone := phone
	firstPhone.RecoveryCodes = codes
	added := func(u *domain.User) ([]domain.Event, error) {
		return u.AddPasskey(domain.NewPasskey{ID: "phone", Name: "sealed-n", Credential: "sealed-c", Count: 7}, codes)
	}
	removed := func(u *domain.User) ([]domain.Event, error) { return u.RemovePasskey("phone") }
	signed := func(count uint32) func(*domain.User) ([]domain.Event, error) {
		return func(u *domain.User) ([]domain.Event, error) { return u.UsePasskey("phone", count) }
	}
	var twenty evs
	for i := range domain.MaxPasskeys {
		twenty = append(twenty, domain.PasskeyAdded{Passkey: domain.PasskeyID(fmt.Sprint(i))})
	}
	chosen := func(u *domain.User) ([]domain.Event, error) { return u.ChooseTeam("team-2") }
	for _, c := range []struct {
		name  string
		given evs
		when  func(*domain.User) ([]domain.Event, error)
		then  evs
		err   error
	}{
		{"verifies the address", evs{registered}, verified, evs{domain.EmailVerified{}}, nil},
		{"once", evs{registered, domain.EmailVerified{}}, verified, nil, nil},
		{"not when an invitation has proven it", evs{domain.UserRegistered{DataKey: "k", Verified: true}}, verified, nil, nil},
		{"not without an account", nil, verified, nil, nil},
		{"takes another name", evs{registered}, renamed, evs{domain.UserRenamed{Name: "sealed-other"}}, nil},
		{"not without an account", nil, renamed, nil, domain.ErrNotFound},
		{"changes the password", evs{registered}, password, evs{domain.PasswordChanged{PasswordHash: "sealed-new"}}, nil},
		{"not without an account", nil, password, nil, domain.ErrNotFound},
		{"resets the password, which proves the address", evs{registered}, reset(t0.Add(-time.Microsecond)), evs{
			domain.PasswordChanged{PasswordHash: "sealed-new"}, domain.EmailVerified{},
		}, nil},
		{"unless it is proven", evs{registered, domain.EmailVerified{}}, reset(t0.Add(-time.Microsecond)), evs{
			domain.PasswordChanged{PasswordHash: "sealed-new"},
		}, nil},
		{"not from the end of the link on", evs{registered}, reset(t0), nil, domain.ErrResetExpired},
		{"not without an account", nil, reset(t0.Add(-time.Microsecond)), nil, domain.ErrNotFound},
		{"chooses a team", evs{registered}, chosen, evs{domain.ActiveTeamChanged{Team: "team-2"}}, nil},
		{"which is remembered", evs{registered, domain.ActiveTeamChanged{Team: "team-2"}}, chosen, nil, nil},
		{"not without an account", nil, chosen, nil, domain.ErrNotFound},

		{"sets up an authenticator app", evs{registered}, enabled, evs{app}, nil},
		{"one at a time", evs{registered, app}, enabled, nil, domain.ErrTwoFactorOn},
		{"again after it was removed", evs{registered, app, domain.TwoFactorDisabled{}}, enabled, evs{app}, nil},
		{"not without an account", nil, enabled, nil, domain.ErrNotFound},
		{"removes the app", evs{registered, app}, disabled, evs{domain.TwoFactorDisabled{}}, nil},
		{"once", evs{registered, app, domain.TwoFactorDisabled{}}, disabled, nil, domain.ErrTwoFactorOff},
		{"not without one", evs{registered}, disabled, nil, domain.ErrTwoFactorOff},
		{"not without an account", nil, disabled, nil, domain.ErrNotFound},
		{"signs in with a recovery code", evs{registered, app}, used("c2"), evs{domain.RecoveryCodeUsed{RecoveryCode: "c2", Left: 1}}, nil},
		{"which works once", evs{registered, app, domain.RecoveryCodeUsed{RecoveryCode: "c2", Left: 1}}, used("c2"), nil, domain.ErrInvalidCredentials},
		{"as each of them", evs{registered, app, domain.RecoveryCodeUsed{RecoveryCode: "c2", Left: 1}}, used("c1"), evs{domain.RecoveryCodeUsed{RecoveryCode: "c1"}}, nil},
		{"not with another", evs{registered, app}, used("c9"), nil, domain.ErrInvalidCredentials},
		{"not with one from before the app was removed", evs{registered, app, domain.TwoFactorDisabled{}}, used("c1"), nil, domain.ErrInvalidCredentials},
		{"not with one that was replaced", evs{registered, app, domain.RecoveryCodesRenewed{RecoveryCodes: others}}, used("c1"), nil, domain.ErrInvalidCredentials},
		{"but with one of the new", evs{registered, app, domain.RecoveryCodesRenewed{RecoveryCodes: others}}, used("c3"), evs{domain.RecoveryCodeUsed{RecoveryCode: "c3"}}, nil},
		{"not without an account", nil, used("c1"), nil, domain.ErrInvalidCredentials},
		{"adds a passkey, with recovery codes as it is the first second factor", evs{registered}, added, evs{firstPhone}, nil},
		{"without them beside an app", evs{registered, app}, added, evs{phone}, nil},
		{"and beside another passkey", evs{registered, domain.PasskeyAdded{Passkey: "key"}}, added, evs{phone}, nil},
		{"up to twenty", given(evs{registered}, twenty[1:]), added, evs{phone}, nil},
		{"not one more", given(evs{registered}, twenty), added, nil, domain.ErrPasskeyLimit},
		{"but one in place of another", given(evs{registered}, twenty, evs{domain.PasskeyRemoved{Passkey: "3"}}), added, evs{phone}, nil},
		{"not without an account", nil, added, nil, domain.ErrNotFound},
		{"removes a passkey", evs{registered, phone}, removed, evs{domain.PasskeyRemoved{Passkey: "phone"}}, nil},
		{"once", evs{registered, phone, domain.PasskeyRemoved{Passkey: "phone"}}, removed, nil, domain.ErrNotFound},
		{"not one that there isn't", evs{registered}, removed, nil, domain.ErrNotFound},
		{"signs in with a passkey that counts", evs{registered, phone}, signed(8), evs{domain.PasskeyUsed{Passkey: "phone", Count: 8}}, nil},
		{"however far it has counted", evs{registered, phone}, signed(4_000_000_000), evs{domain.PasskeyUsed{Passkey: "phone", Count: 4_000_000_000}}, nil},
		{"not twice at one count", evs{registered, phone, domain.PasskeyUsed{Passkey: "phone", Count: 8}}, signed(8), evs{domain.PasskeyRefused{Passkey: "phone", Count: 8, Last: 8}}, nil},
		{"not at one from before", evs{registered, phone}, signed(6), evs{domain.PasskeyRefused{Passkey: "phone", Count: 6, Last: 7}}, nil},
		{"not when it has stopped counting", evs{registered, phone}, signed(0), evs{domain.PasskeyRefused{Passkey: "phone", Last: 7}}, nil},
		{"a refusal changes nothing", evs{registered, phone, domain.PasskeyRefused{Passkey: "phone", Count: 6, Last: 7}}, signed(8), evs{domain.PasskeyUsed{Passkey: "phone", Count: 8}}, nil},
		{"any time with one that doesn't count", evs{registered, domain.PasskeyAdded{Passkey: "phone"}}, signed(0), nil, nil},
		{"which may begin to", evs{registered, domain.PasskeyAdded{Passkey: "phone"}}, signed(1), evs{domain.PasskeyUsed{Passkey: "phone", Count: 1}}, nil},
		{"not with one that was removed", evs{registered, phone, domain.PasskeyRemoved{Passkey: "phone"}}, signed(8), nil, domain.ErrInvalidCredentials},
		{"keeps the recovery codes with a passkey when the app goes", evs{registered, app, phone, domain.TwoFactorDisabled{}}, used("c1"),
			evs{domain.RecoveryCodeUsed{RecoveryCode: "c1", Left: 1}}, nil},
		{"and with the app when the passkey goes", evs{registered, firstPhone, app, domain.PasskeyRemoved{Passkey: "phone"}}, used("c1"),
			evs{domain.RecoveryCodeUsed{RecoveryCode: "c1", Left: 1}}, nil},
		{"loses them with the last of both", evs{registered, firstPhone, domain.PasskeyRemoved{Passkey: "phone"}}, used("c1"), nil, domain.ErrInvalidCredentials},
		{"gets new recovery codes with a passkey alone", evs{registered, firstPhone}, renewed, evs{domain.RecoveryCodesRenewed{RecoveryCodes: others}}, nil},
		{"has no app to remove with a passkey alone", evs{registered, firstPhone}, disabled, nil, domain.ErrTwoFactorOff},
		{"gets new recovery codes", evs{registered, app}, renewed, evs{domain.RecoveryCodesRenewed{RecoveryCodes: others}}, nil},
		{"not without a second factor", evs{registered}, renewed, nil, domain.ErrTwoFactorOff},
		{"not without an account", nil, renewed, nil, domain.ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, err := c.when(fold(c.given...))
			if !errors.Is(err, c.err) {
				t.Errorf("got the error %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.then, events); diff != "" {
				t.Error(diff)
			}
		})
	}

	u := fold(registered, domain.EmailVerified{}, domain.UserRenamed{Name: "n2"}, domain.PasswordChanged{PasswordHash: "h2"},
		domain.ActiveTeamChanged{Team: "team-2"}, domain.TeamDeleted{}) // the last is of another stream
	type shown struct {
		ID                 user
		Address            domain.AddressID
		Email, Name, Hash  domain.Sealed
		Key                string
		Verified, IsThere  bool
		Team               domain.TeamID
		RegisteredAtTheDay bool
		PasswordSet        uint64
	}
	want := shown{"ann", address("ann"), "sealed-email", "n2", "h2", "block.7", true, true, "team-2", true, 4}
	got := shown{
		u.ID(), u.Address(), u.Email(), u.Name(), u.PasswordHash(), u.DataKey(), u.Verified(), u.Exists(), u.ActiveTeam(), u.RegisteredAt().Equal(t0),
		u.PasswordSet(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if u.HasSecondFactor() || u.CredentialsSet() != 4 {
		t.Errorf("without an app: %t, set at %d", u.HasSecondFactor(), u.CredentialsSet())
	}
	// A copy of a user isn't changed by what happens later.
	u.Apply(app, meta(5, as("ann"), t0))
	before := *u
	u.Apply(domain.RecoveryCodeUsed{RecoveryCode: "c1", Left: 1}, meta(6, as("ann"), t0))
	if !before.HasSecondFactor() || before.TOTP() != "sealed-secret" || before.RecoveryCodesLeft() != 2 || before.CredentialsSet() != 5 {
		t.Errorf("the copy has %d codes", before.RecoveryCodesLeft())
	}
	if u.RecoveryCodesLeft() != 1 || u.CredentialsSet() != 5 {
		t.Errorf("%d codes are left, credentials set at %d", u.RecoveryCodesLeft(), u.CredentialsSet())
	}
	u.Apply(domain.TwoFactorDisabled{}, meta(7, as("ann"), t0))
	if u.HasSecondFactor() || u.RecoveryCodesLeft() != 0 || u.CredentialsSet() != 7 {
		t.Errorf("after the app was removed: %d codes, set at %d", u.RecoveryCodesLeft(), u.CredentialsSet())
	}
	// Nor is one by what happens to passkeys.
	u.Apply(firstPhone, meta(8, as("ann"), t0))
	u.Apply(domain.PasskeyAdded{Passkey: "key"}, meta(9, as("ann"), now))
	before = *u
	u.Apply(domain.PasskeyUsed{Passkey: "phone", Count: 9}, meta(10, as("ann"), t0))
	u.Apply(domain.PasskeyRemoved{Passkey: "phone"}, meta(11, as("ann"), t0))
	u.Apply(domain.PasskeyAdded{Passkey: "other"}, meta(12, as("ann"), t0))
	wantKeys := []domain.Passkey{
		{ID: "phone", Name: "sealed-n", Credential: "sealed-c", Count: 7, AddedAt: t0}, {ID: "key", AddedAt: now},
	}
	if diff := cmp.Diff(wantKeys, before.Passkeys()); diff != "" || before.CredentialsSet() != 9 || !before.HasSecondFactor() {
		t.Errorf("the copy: %s, set at %d", diff, before.CredentialsSet())
	}
	if keys := u.Passkeys(); len(keys) != 2 || keys[0].ID != "key" || keys[1].ID != "other" || u.CredentialsSet() != 12 {
		t.Errorf("%+v, set at %d", keys, u.CredentialsSet())
	}
	if domain.NewUser("bob").Exists() {
		t.Error("an account exists before its first event")
	}
}
