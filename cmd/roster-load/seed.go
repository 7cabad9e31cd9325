package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// The large team's history: every member was invited and joined, and then 100
// admins changed roles. Most of that is written many events to a commit, to be
// quick; the newest entries, which the pages are taken from, are commits of
// their own as those of a server are.
const (
	admins      = 100
	singles     = 20_000
	bulk        = 500
	seedWriters = 64

	auditorAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	auditorIP    = "203.0.113.7"
)

// seeder writes the history of the large team.
type seeder struct {
	store  *eventstore.Store
	team   eventstore.Stream
	owner  person
	people []person
	head   eventstore.Commit // of the team
}

// person is a member and the key that seals their data.
type person struct {
	id      domain.UserID
	address domain.AddressID
	key     string
}

// seed stops the server, writes the history of a large team straight into its
// event store, and starts it again. It reports how fast the read models caught
// up.
func (b *bench) seed(ctx context.Context, t *target) error {
	if err := t.server.stop(); err != nil {
		return err
	}
	owner := t.accounts[0]
	t.large = largeTeam{team: owner.teams[0], token: owner.token}
	logger := slog.New(slog.DiscardHandler)
	store, err := eventstore.Open(ctx, eventstore.Config{DataDir: filepath.Join(b.temp, "data"), Logger: logger})
	if err != nil {
		return err
	}
	first, err := store.LastPosition(ctx)
	s := &seeder{store: store, team: eventstore.Stream{Kind: eventstore.KindTeam, ID: t.large.team}, people: make([]person, b.members)}
	if err == nil {
		err = s.write(ctx, b, domain.UserID(owner.user), &t.large)
	}
	last := s.head.Position
	if err := errors.Join(err, store.Close(ctx)); err != nil {
		return err
	}
	if t.server, err = b.serveRoster(ctx, filepath.Join(b.temp, "data")); err != nil {
		return err
	}
	b.report.note("start on a data folder of %d commits: listening after %v", last, t.server.took.Round(time.Millisecond))
	began := time.Now()
	if err := t.catchUp(ctx, last); err != nil {
		return err
	}
	took := time.Since(began)
	events := b.audit + 2*b.members
	b.report.note("read models catching up: %d events in %d commits took %v, %.0f events/s",
		events, last-first, took.Round(time.Millisecond), float64(events)/took.Seconds())
	return nil
}

func (s *seeder) write(ctx context.Context, b *bench, owner domain.UserID, large *largeTeam) error {
	if err := s.begin(ctx, owner); err != nil {
		return err
	}
	b.progress("seeding %d users", len(s.people))
	if err := s.register(ctx); err != nil {
		return err
	}
	b.progress("seeding their invitations, and %d changes of roles", b.audit-2*len(s.people))
	if err := s.join(ctx); err != nil {
		return err
	}
	changes := b.audit - 2*len(s.people)
	for done := 0; done < changes; {
		n := min(bulk, changes-singles-done)
		if n <= 0 {
			n = 1
		}
		if err := s.changeRoles(ctx, done, n); err != nil {
			return err
		}
		done += n
		switch left := changes - done; {
		case large.from.IsZero() && left < singles:
			large.from = s.head.At
		case large.to.IsZero() && left < singles/4:
			large.to = s.head.At
		}
	}
	for _, admin := range s.people[:admins] {
		large.actors = append(large.actors, string(admin.id))
	}
	return nil
}

// begin reads what the server has written of the team and its owner.
func (s *seeder) begin(ctx context.Context, owner domain.UserID) error {
	user, err := s.store.Load(ctx, eventstore.Stream{Kind: eventstore.KindUser, ID: string(owner)}, 0)
	if err != nil {
		return err
	}
	team, err := s.store.Load(ctx, s.team, 0)
	if err != nil {
		return err
	}
	if len(user) == 0 || len(team) == 0 {
		return fmt.Errorf("the event store has nothing of team %s or its owner", s.team.ID)
	}
	registered := user[0].Events[0].Event.(domain.UserRegistered)
	s.owner = person{id: owner, address: registered.Address, key: registered.DataKey}
	s.head = team[len(team)-1]
	return nil
}

// register writes the accounts, each a claim on an address and a user.
func (s *seeder) register(ctx context.Context) error {
	var next atomic.Int64
	errs := make([]error, seedWriters)
	var group sync.WaitGroup
	for writer := range seedWriters {
		group.Go(func() {
			for i := int(next.Add(1) - 1); i < len(s.people) && errs[writer] == nil; i = int(next.Add(1) - 1) {
				s.people[i], errs[writer] = s.newPerson(ctx, i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s *seeder) newPerson(ctx context.Context, i int) (person, error) {
	vault := s.store.Vault()
	email := fmt.Sprintf("member-%d@example.com", i)
	key, err := vault.NewKey(ctx)
	if err != nil {
		return person{}, err
	}
	p := person{id: domain.UserID(eventstore.NewID(domain.PrefixUser)), address: vault.Address(email), key: key}
	registered := domain.UserRegistered{Address: p.address, DataKey: key}
	for _, field := range [...]struct {
		sealed       *domain.Sealed
		label, plain string
	}{
		{&registered.Email, "email", email},
		{&registered.Name, "name", fmt.Sprintf("Member %d", i)},
		{&registered.PasswordHash, "password", "$argon2id$v=19$m=47104,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"},
	} {
		if *field.sealed, err = vault.Seal(ctx, key, string(p.id)+"/"+field.label, field.plain); err != nil {
			return person{}, err
		}
	}
	claim := eventstore.Stream{Kind: eventstore.KindEmail, ID: string(p.address)}
	if _, err := s.append(ctx, claim, eventstore.Commit{}, p, domain.AddressClaimed{User: p.id}); err != nil {
		return person{}, err
	}
	_, err = s.append(ctx, eventstore.Stream{Kind: eventstore.KindUser, ID: string(p.id)}, eventstore.Commit{}, p, registered)
	return p, err
}

// append writes a commit after another of the same stream.
func (s *seeder) append(ctx context.Context, stream eventstore.Stream, head eventstore.Commit, by person, events ...domain.Event) (eventstore.Commit, error) {
	commit := eventstore.Commit{
		Stream: stream, Version: head.Version + 1, Previous: head.Hash, At: time.Now().UTC(),
		Actor: domain.ByUser(by.id), RequestID: eventstore.NewID("req"), Events: make([]eventstore.Recorded, len(events)),
	}
	for i, event := range events {
		commit.Events[i] = eventstore.Recorded{ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)), Event: event}
	}
	var err error
	commit.Origin, err = s.store.Vault().Seal(ctx, by.key, string(commit.ID())+"/origin",
		fmt.Sprintf(`{"ip":%q,"user_agent":%q}`, auditorIP, auditorAgent))
	if err == nil {
		err = s.store.Append(ctx, &commit)
	}
	return commit, err
}

func (s *seeder) change(ctx context.Context, by person, events []domain.Event) (err error) {
	s.head, err = s.append(ctx, s.team, s.head, by, events...)
	return err
}

// join lets the owner invite everybody, and everybody accept.
func (s *seeder) join(ctx context.Context) error {
	vault := s.store.Vault()
	expires := time.Now().Add(7 * 24 * time.Hour).UTC().Truncate(time.Microsecond)
	for from := 0; from < len(s.people); from += bulk {
		some := s.people[from:min(from+bulk, len(s.people))]
		invited, joined := make([]domain.Event, len(some)), make([]domain.Event, len(some))
		for i, p := range some {
			id := domain.InvitationID(eventstore.NewID(domain.PrefixInvitation))
			key, err := vault.NewKey(ctx)
			if err != nil {
				return err
			}
			email, err := vault.Seal(ctx, key, string(id)+"/email", fmt.Sprintf("member-%d@example.com", from+i))
			if err != nil {
				return err
			}
			role := seedRole(from+i, 0)
			invited[i] = domain.MemberInvited{Invitation: id, Address: p.address, Email: email, Role: role, ExpiresAt: expires}
			joined[i] = domain.MemberJoined{User: p.id, Invitation: id, Role: role}
		}
		if err := s.change(ctx, s.owner, invited); err != nil {
			return err
		}
		if err := s.change(ctx, some[0], joined); err != nil {
			return err
		}
	}
	return nil
}

// seedRole is the role of a member after so many changes.
func seedRole(member, changes int) domain.RoleKey {
	switch {
	case member < admins:
		return "admin"
	case changes%2 == 0:
		return "member"
	}
	return "viewer"
}

// changeRoles makes n changes, all by one admin, beginning with the given one.
// The members who aren't admins have theirs changed in turn.
func (s *seeder) changeRoles(ctx context.Context, first, n int) error {
	others := len(s.people) - admins
	events := make([]domain.Event, n)
	for i := range events {
		member, round := admins+(first+i)%others, (first+i)/others
		events[i] = domain.RoleChanged{User: s.people[member].id, From: seedRole(member, round), To: seedRole(member, round+1)}
	}
	by := first % admins
	if n == bulk {
		by = first / bulk % admins
	}
	return s.change(ctx, s.people[by], events)
}
