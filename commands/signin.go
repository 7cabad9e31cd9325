package commands

import (
	"cmp"
	"context"
	"errors"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// SignedIn is a user with a new session; or, where the account has a second
// factor, the challenge to show it, and nothing else.
type SignedIn struct {
	User       Account
	ActiveTeam domain.TeamID
	Session    NewSession
	Challenge  *Challenge
}

// SignIn checks an address and a password and starts a session, or asks for the
// second factor. The answer and the time it takes are the same for an unknown
// address and a wrong password; repeated failures are answered with *Throttled.
func (s *Service) SignIn(ctx context.Context, by Caller, email, password string) (SignedIn, Done, error) {
	address, user, err := s.find(ctx, email)
	if err != nil {
		return SignedIn{}, Done{}, err
	}
	attempt, err := s.proves(ctx, by, address, user, password)
	if err != nil {
		return SignedIn{}, Done{}, err
	}
	by = by.as(user.ID())
	by.DataKey = user.DataKey()
	if user.HasSecondFactor() {
		if err := attempt.passed(ctx); err != nil {
			return SignedIn{}, Done{}, err
		}
		asked, err := s.challenge(ctx, user)
		return SignedIn{Challenge: &asked}, Done{}, err
	}
	if err := attempt.succeeded(ctx); err != nil {
		return SignedIn{}, Done{}, err
	}
	return s.signedIn(ctx, by, user, passwordAlone)
}

// signedIn starts the session of a user who has proven themselves by what the
// account had when they began.
func (s *Service) signedIn(ctx context.Context, by Caller, user *domain.User, shown proof) (SignedIn, Done, error) {
	session, err := s.startSession(ctx, by, shown)
	if err != nil {
		return SignedIn{}, Done{}, err
	}
	// A change of the password ends all sessions. This one may have started
	// just after that, on the strength of the old password; or just after a
	// second factor was set up, without it.
	changed := false
	if err := s.users.view(ctx, string(user.ID()), func(u *domain.User, _, _ uint64) {
		changed = u.CredentialsSet() != user.CredentialsSet()
	}); err != nil {
		return SignedIn{}, Done{}, err
	}
	if changed {
		if _, err := s.EndSession(ctx, by, session.ID); err != nil {
			return SignedIn{}, Done{}, err
		}
		return SignedIn{}, Done{}, domain.ErrInvalidCredentials
	}
	me, _, err := s.me(ctx, user.ID())
	return SignedIn{User: me.User, ActiveTeam: me.ActiveTeam, Session: session}, session.done, err
}

// find gives the account of an address, or one that doesn't exist. A
// malformed address is one that nobody has.
func (s *Service) find(ctx context.Context, email string) (domain.AddressID, *domain.User, error) {
	if normal, err := eventstore.NormaliseAddress(email); err == nil {
		email = normal
	}
	address := s.vault.Address(email)
	nobody := domain.NewUser("")
	id, err := s.owner(ctx, address)
	if err != nil || id == "" {
		return address, nobody, err
	}
	user := *nobody
	err = s.users.view(ctx, string(id), func(u *domain.User, _, _ uint64) { user = *u })
	return address, &user, err
}

// proves checks a password against an account, slowed down by failures. The
// attempt counts as one until the caller says what it was.
func (s *Service) proves(
	ctx context.Context, by Caller, address domain.AddressID, user *domain.User, password string,
) (*signInAttempt, error) {
	attempt, err := s.throttle.begin(ctx, thePassword, address, by.IP)
	if err != nil {
		return nil, err
	}
	hash := ""
	if user.Exists() {
		if hash, err = s.open(ctx, user.PasswordHash(), string(user.ID())+"/password"); err != nil {
			return nil, err
		}
	}
	ok, err := s.passwords.verify(ctx, hash, password)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, domain.ErrInvalidCredentials
	}
	return attempt, nil
}

// reauthenticate asks a signed-in user for the password again, before
// something that a borrowed session must not do. It gives the hash that the
// password was checked against.
func (s *Service) reauthenticate(ctx context.Context, by Caller, pointer, password string) (domain.Sealed, error) {
	var user domain.User
	if err := s.users.view(ctx, string(by.User), func(u *domain.User, _, _ uint64) { user = *u }); err != nil {
		return "", err
	}
	attempt, err := s.proves(ctx, by, user.Address(), &user, password)
	switch {
	case err == nil:
		err = attempt.succeeded(ctx)
	case errors.Is(err, domain.ErrInvalidCredentials):
		err = wrongPassword(pointer)
	}
	return user.PasswordHash(), err
}

func wrongPassword(pointer string) error {
	return &domain.Error{Kind: domain.Forbidden, Code: "wrong_password", Field: pointer, Detail: "The present password is wrong."}
}

// proof is what somebody has shown of themselves who gets a session.
type proof int

const (
	passwordAlone proof = iota // the present one, or one that was chosen just now
	twoFactors
)

// startSession makes a session of the caller and records that it started. Every
// way to sign in ends here; none gets past an account's second factor.
func (s *Service) startSession(ctx context.Context, by Caller, shown proof) (NewSession, error) {
	started, err := s.earlier(ctx, sessionStream(s.sessions.name(ctx, by.User).ID))
	if err != nil {
		return NewSession{}, err
	}
	if started != nil { // it may have ended since, so it isn't made again
		return s.sessions.started(ctx, by.User, started)
	}
	// The data key is the one that the account has, which in a repeated
	// attempt isn't the one that was made for it this time.
	protected := false
	if err := s.users.view(ctx, string(by.User), func(u *domain.User, _, _ uint64) {
		by.DataKey, protected = u.DataKey(), u.HasSecondFactor()
	}); err != nil {
		return NewSession{}, err
	}
	if protected && shown != twoFactors {
		return NewSession{}, domain.ErrInvalidCredentials
	}
	session, err := s.sessions.start(ctx, by.User, by.DataKey, by.IP, by.UserAgent)
	if err != nil {
		return NewSession{}, err
	}
	commit, err := s.commit(ctx, by, sessionStream(session.ID), 0, eventstore.Hash{}, s.Now(),
		[]domain.Event{domain.SessionStarted{User: by.User, Session: session.ID}})
	if err != nil {
		return NewSession{}, err
	}
	err = s.store.Append(ctx, commit)
	if errors.Is(err, eventstore.ErrConflict) {
		// Another try of this attempt has recorded it; or a change of the
		// password has ended it already.
		if started, err = s.ours(ctx, sessionStream(session.ID)); started != nil {
			return s.sessions.started(ctx, by.User, started)
		}
		return NewSession{}, cmp.Or(err, error(domain.ErrInvalidCredentials))
	}
	if err != nil {
		return NewSession{}, unavailable(err)
	}
	session.done = Done{commit.Position, commit.Version}
	for _, id := range session.displaced {
		if _, err := s.recordEnd(ctx, by, by.User, id); err != nil {
			return NewSession{}, err
		}
	}
	return session, nil
}

// sessionStream is where a session's start and end are recorded: a stream of
// its own, so that signing in never waits for another sign-in.
func sessionStream(id domain.SessionID) eventstore.Stream {
	return eventstore.Stream{Kind: eventstore.KindActivity, ID: string(id)}
}

// SignOut ends the caller's session.
func (s *Service) SignOut(ctx context.Context, by Caller) (Done, error) {
	if err := by.userOnly(); err != nil {
		return Done{}, err
	}
	return s.EndSession(ctx, by, by.Session)
}

// EndSession ends one of the caller's own sessions, at once and on every node.
func (s *Service) EndSession(ctx context.Context, by Caller, id domain.SessionID) (Done, error) {
	if err := by.userOnly(); err != nil {
		return Done{}, err
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	revision, err := s.sessions.end(ctx, by.User, id)
	if err != nil {
		return Done{}, err
	}
	err = s.barrier(ctx, marks{sessionsMark: revision})
	done, recording := s.recordEnd(ctx, by, by.User, id)
	return done, errors.Join(err, recording)
}

// EndOtherSessions ends all of the caller's own sessions but the one that asks.
func (s *Service) EndOtherSessions(ctx context.Context, by Caller) (Done, error) {
	if err := by.userOnly(); err != nil {
		return Done{}, err
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	last, err := s.endSessions(ctx, by, by.User, by.Session)
	return Done{Position: last}, err
}

// finishing is the context of what belongs together, so that nobody breaks it
// off by hanging up: a new password and the end of the sessions, say, or the
// end of a session and the record of it.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
}

const finishTimeout = 20 * time.Second

// endSessions ends the sessions of a user except one, and gives the position
// of the last record of that.
func (s *Service) endSessions(ctx context.Context, by Caller, user domain.UserID, except domain.SessionID) (last uint64, err error) {
	ended, revision, err := s.sessions.endAll(ctx, user, except)
	if err == nil && len(ended) > 0 {
		err = s.barrier(ctx, marks{sessionsMark: revision})
	}
	// They have ended, whatever else went wrong.
	for _, id := range ended {
		done, recording := s.recordEnd(ctx, by, user, id)
		if recording != nil {
			return last, errors.Join(err, recording)
		}
		last = done.Position
	}
	return last, err
}

// recordEnd records that a session has ended, once however many end it at the
// same time.
func (s *Service) recordEnd(ctx context.Context, by Caller, user domain.UserID, id domain.SessionID) (Done, error) {
	ctx = withoutAttempt(ctx) // the attempt's own id is that of the start
	for {
		commits, err := s.store.Load(ctx, sessionStream(id), 0)
		if err != nil {
			return Done{}, unavailable(err)
		}
		var head eventstore.Commit
		if len(commits) > 0 {
			head = commits[len(commits)-1]
			if _, ended := head.Events[0].Event.(domain.SessionEnded); ended {
				return Done{head.Position, head.Version}, nil
			}
		}
		commit, err := s.commit(ctx, by, sessionStream(id), head.Version, head.Hash, later(s.Now(), head.At),
			[]domain.Event{domain.SessionEnded{User: user, Session: id}})
		if err != nil {
			return Done{}, err
		}
		switch err := s.store.Append(ctx, commit); {
		case err == nil:
			return Done{commit.Position, commit.Version}, nil
		case !errors.Is(err, eventstore.ErrConflict):
			return Done{}, unavailable(err)
		}
	}
}

// Sessions lists the caller's own sessions.
func (s *Service) Sessions(ctx context.Context, by Caller) ([]Session, error) {
	if err := by.userOnly(); err != nil {
		return nil, err
	}
	list, err := s.sessions.list(ctx, by.User)
	for i := range list {
		list[i].Current = list[i].ID == by.Session
	}
	return list, err
}
