package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// Registration is what somebody gives to open an account.
type Registration struct {
	Email    string
	Name     string
	Password string
	TeamName string // of the team that the new user will own; empty for the catalog's own
	Catalog  string // of that team; empty for the standard one
}

// Account is a user as people see it. Email and Name are empty once erased.
type Account struct {
	ID       domain.UserID
	Email    string
	Name     string
	Verified bool
}

// TeamRole is a team and what the user is in it.
type TeamRole struct {
	ID      domain.TeamID
	Name    string
	Role    domain.RoleKey
	Catalog string
	Plan    string
}

// Registered is a new user, signed in, with their team.
type Registered struct {
	User    Account
	Team    TeamRole
	Session NewSession
}

// Register opens an account and a team whose owner it is, all or nothing.
func (s *Service) Register(ctx context.Context, by Caller, r Registration) (Registered, Done, error) {
	stream := s.teams.stream(newID(ctx, domain.PrefixTeam, "team"))
	team, err := s.earlier(ctx, stream)
	if err == nil && team == nil {
		team, err = s.openAccount(ctx, by, r, stream)
	}
	if err != nil {
		return Registered{}, Done{}, err
	}
	created := team.Events[0].Event.(domain.TeamCreated)
	session, err := s.startSession(ctx, by.as(created.Owner), passwordAlone)
	if err != nil {
		return Registered{}, Done{}, err
	}
	me, _, err := s.me(ctx, created.Owner)
	return Registered{User: me.User, Team: createdTeam(team), Session: session}, Done{session.done.Position, team.Version}, err
}

// openAccount appends an account and its team, and gives the commit of the
// team.
func (s *Service) openAccount(ctx context.Context, by Caller, r Registration, stream eventstore.Stream) (*eventstore.Commit, error) {
	catalog, err := s.catalogs.choose(r.Catalog)
	if err != nil {
		return nil, err
	}
	person, err := s.newPerson(ctx, by, r.Email, r.Name, r.Password)
	if err != nil {
		return nil, err
	}
	by = person.asCaller(by)
	now := s.Now()

	events, err := domain.NewTeam(domain.TeamID(stream.ID), s.catalogs).Create(person.id, person.registered.Address, r.TeamName, catalog)
	if err != nil {
		return nil, renamed(err, "#/name", "#/team_name")
	}
	commits, err := s.registration(ctx, by, person, now)
	if err != nil {
		return nil, err
	}
	team, err := s.commit(ctx, by, stream, 0, eventstore.Hash{}, now, events)
	if err != nil {
		return nil, err
	}
	err = s.store.Append(ctx, append(commits, team)...)
	switch {
	case err == nil:
		return team, nil
	case !errors.Is(err, eventstore.ErrConflict):
		return nil, unavailable(err)
	}
	if team, err = s.ours(ctx, stream); team != nil || err != nil {
		return team, err
	}
	return nil, s.addressTaken(ctx, by)
}

// createdTeam is a new team as its owner has it.
func createdTeam(commit *eventstore.Commit) TeamRole {
	created := commit.Events[0].Event.(domain.TeamCreated)
	return TeamRole{
		ID: domain.TeamID(commit.Stream.ID), Name: created.Name, Role: created.OwnerRole,
		Catalog: created.Catalog, Plan: created.Plan,
	}
}

// person is somebody who is about to get an account.
type person struct {
	id         domain.UserID
	dataKey    string
	registered domain.UserRegistered
}

// asCaller makes the new user the actor of their own registration.
func (p person) asCaller(by Caller) Caller {
	by = by.as(p.id)
	by.DataKey = p.dataKey
	return by
}

// newPerson checks and seals what somebody gave to open an account.
func (s *Service) newPerson(ctx context.Context, by Caller, email, name, password string) (person, error) {
	email, err := eventstore.NormaliseAddress(email)
	if err != nil {
		return person{}, invalidField("#/email", "must be an e-mail address")
	}
	if name, err = domain.CleanPersonName("#/name", name); err != nil {
		return person{}, err
	}
	if err := s.passwords.check("#/password", password); err != nil {
		return person{}, err
	}
	if err := s.throttle.checkNetwork(ctx, by.IP); err != nil {
		return person{}, err
	}
	hash, err := s.passwords.hash(ctx, password)
	if err != nil {
		return person{}, err
	}
	dataKey, err := s.vault.NewKey(ctx)
	if err != nil {
		return person{}, unavailable(err)
	}
	p := person{id: domain.UserID(newID(ctx, domain.PrefixUser, "user")), dataKey: dataKey}
	p.registered = domain.UserRegistered{Address: s.vault.Address(email), DataKey: dataKey}
	for _, field := range []struct {
		sealed *domain.Sealed
		label  string
		plain  string
	}{
		{&p.registered.Email, "email", email},
		{&p.registered.Name, "name", name},
		{&p.registered.PasswordHash, "password", hash},
	} {
		if *field.sealed, err = s.vault.Seal(ctx, dataKey, string(p.id)+"/"+field.label, field.plain); err != nil {
			return person{}, unavailable(err)
		}
	}
	return p, nil
}

// registration is the pair of commits that open an account: the claim on the
// address and the account itself. They are only ever written together.
func (s *Service) registration(ctx context.Context, by Caller, p person, now time.Time) ([]*eventstore.Commit, error) {
	claim, err := s.commit(ctx, by, eventstore.Stream{Kind: eventstore.KindEmail, ID: string(p.registered.Address)},
		0, eventstore.Hash{}, now, []domain.Event{domain.AddressClaimed{User: p.id}})
	if err != nil {
		return nil, err
	}
	user, err := s.commit(ctx, by, s.users.stream(string(p.id)), 0, eventstore.Hash{}, now, []domain.Event{p.registered})
	if err != nil {
		return nil, err
	}
	return []*eventstore.Commit{claim, user}, nil
}

// addressTaken is the refusal of a second account for an address. Signing up
// signs in at once, so it can't hide that an address is taken; trying many
// from one network is slowed down instead.
func (s *Service) addressTaken(ctx context.Context, by Caller) error {
	if err := s.throttle.failedNetwork(ctx, by.IP); err != nil {
		return err
	}
	return domain.ErrAddressTaken
}

// owner finds the user who has an address; empty when nobody has.
func (s *Service) owner(ctx context.Context, address domain.AddressID) (domain.UserID, error) {
	commits, err := s.store.Load(ctx, eventstore.Stream{Kind: eventstore.KindEmail, ID: string(address)}, 0)
	if err != nil {
		return "", unavailable(err)
	}
	var user domain.UserID
	for i := range commits {
		for _, recorded := range commits[i].Events {
			if claimed, ok := recorded.Event.(domain.AddressClaimed); ok {
				user = claimed.User
			}
		}
	}
	return user, nil
}

// Me is the caller's own account.
type Me struct {
	User       Account
	ActiveTeam domain.TeamID // the one looked at last; may be one that was left since
	TwoFactor  TwoFactor
}

// Me gives the caller's own account.
func (s *Service) Me(ctx context.Context, by Caller) (Me, Done, error) {
	if err := by.userOnly(); err != nil {
		return Me{}, Done{}, err
	}
	return s.me(ctx, by.User)
}

func (s *Service) me(ctx context.Context, id domain.UserID) (Me, Done, error) {
	var user domain.User
	var done Done
	err := s.users.view(ctx, string(id), func(u *domain.User, version, position uint64) {
		user, done = *u, Done{Position: position, Version: version}
	})
	if err != nil {
		return Me{}, done, err
	}
	if !user.Exists() {
		return Me{}, done, domain.ErrNotFound
	}
	account, err := s.account(ctx, &user)
	return Me{User: account, ActiveTeam: user.ActiveTeam(), TwoFactor: twoFactorOf(&user)}, done, err
}

// account opens the sealed parts of a user.
func (s *Service) account(ctx context.Context, user *domain.User) (Account, error) {
	email, err := s.open(ctx, user.Email(), string(user.ID())+"/email")
	if err != nil {
		return Account{}, err
	}
	name, err := s.open(ctx, user.Name(), string(user.ID())+"/name")
	return Account{ID: user.ID(), Email: email, Name: name, Verified: user.Verified()}, err
}

// open reads sealed text; what has been erased reads as nothing.
func (s *Service) open(ctx context.Context, sealed domain.Sealed, label string) (string, error) {
	if sealed == "" {
		return "", nil
	}
	plain, err := s.vault.Open(ctx, sealed, label)
	if errors.Is(err, eventstore.ErrErased) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("commands: opening %s: %w", label, err)
	}
	return plain, nil
}

// RenameMe changes the caller's name.
func (s *Service) RenameMe(ctx context.Context, by Caller, name string) (Account, Done, error) {
	if err := by.userOnly(); err != nil {
		return Account{}, Done{}, err
	}
	name, err := domain.CleanPersonName("#/name", name)
	if err != nil {
		return Account{}, Done{}, err
	}
	sealed, err := s.vault.Seal(ctx, by.DataKey, string(by.User)+"/name", name)
	if err != nil {
		return Account{}, Done{}, unavailable(err)
	}
	out, err := do(ctx, s, s.users, string(by.User), by, func(u *domain.User, _ time.Time) (decision, error) {
		return decided(u.Rename(sealed))
	})
	if err != nil {
		return Account{}, Done{}, err
	}
	me, _, err := s.me(ctx, by.User)
	return me.User, out.Done, err
}

// ChangePassword replaces the caller's password and ends their other
// sessions. A wrong present password counts as a failed sign-in.
func (s *Service) ChangePassword(ctx context.Context, by Caller, current, next string) (Done, error) {
	if err := by.userOnly(); err != nil {
		return Done{}, err
	}
	earlier, err := s.earlier(ctx, s.users.stream(string(by.User)))
	if err != nil {
		return Done{}, err
	}
	var proven domain.Sealed
	if earlier == nil { // else the password that was the present one is no more
		if proven, err = s.reauthenticate(ctx, by, "#/current_password", current); err != nil {
			return Done{}, err
		}
	}
	if err := s.passwords.check("#/new_password", next); err != nil {
		return Done{}, err
	}
	hash, err := s.passwords.hash(ctx, next)
	if err != nil {
		return Done{}, err
	}
	sealed, err := s.vault.Seal(ctx, by.DataKey, string(by.User)+"/password", hash)
	if err != nil {
		return Done{}, unavailable(err)
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	out, err := do(ctx, s, s.users, string(by.User), by, func(u *domain.User, _ time.Time) (decision, error) {
		if u.PasswordHash() != proven { // somebody else was faster
			return decision{}, wrongPassword("#/current_password")
		}
		return decided(u.ChangePassword(sealed))
	})
	if refused := (*domain.Error)(nil); errors.As(err, &refused) {
		return Done{}, err
	}
	last, ending := s.endSessions(ctx, by, by.User, by.Session)
	return Done{max(out.Position, last), out.Version}, errors.Join(err, ending)
}

// ChooseTeam remembers which of their teams the caller looks at.
func (s *Service) ChooseTeam(ctx context.Context, by Caller, team domain.TeamID) (Done, error) {
	if err := by.userOnly(); err != nil {
		return Done{}, err
	}
	if _, err := s.ViewOwnTeam(ctx, by, team, func(*domain.Team, time.Time) error { return nil }); err != nil {
		return Done{}, err
	}
	out, err := do(ctx, s, s.users, string(by.User), by, func(u *domain.User, _ time.Time) (decision, error) {
		return decided(u.ChooseTeam(team))
	})
	return out.Done, err
}

// decided puts the answer of a domain decision into the form that do takes.
func decided(events []domain.Event, err error) (decision, error) {
	return decision{events: events}, err
}

func invalidField(pointer, detail string) *domain.Error {
	return &domain.Error{Kind: domain.Invalid, Code: "invalid_field", Field: pointer, Detail: detail}
}

// renamed points a refusal at the field under which this request has it.
func renamed(err error, from, to string) error {
	var refusal *domain.Error
	if errors.As(err, &refusal) && refusal.Field == from {
		out := *refusal
		out.Field = to
		return &out
	}
	return err
}
