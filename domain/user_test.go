package domain_test

import (
	"errors"
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
	if domain.NewUser("bob").Exists() {
		t.Error("an account exists before its first event")
	}
}
