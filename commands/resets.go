package commands

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// RequestPasswordReset has a link sent to an address that resets the password
// of its account. The answer is the same for an address without an account,
// also in the time it takes: all that depends on the address is done after it.
// *Throttled refuses a network that asks too often. An account that has been
// sent enough already gets nothing, and nobody is told.
//
// What a crash takes away here is asked for again by whoever waits for the
// message, so nothing is written before the answer.
func (s *Service) RequestPasswordReset(ctx context.Context, by Caller, email string) error {
	if err := s.throttle.allowReset(ctx, by.IP); err != nil {
		return err
	}
	by.Actor = domain.Visitor // whatever the credential: this is for who has none
	const failed = "a password reset that was asked for could not be recorded"
	started := s.background.start(withoutAttempt(ctx), s.logger.With("request_id", by.RequestID), failed,
		func(ctx context.Context) error { return s.recordReset(ctx, by, email) })
	if !started {
		return unavailable(errors.New("too much goes on in the background"))
	}
	return nil
}

// recordReset records that somebody asked for a reset, if the address has an
// account. The record is what makes the mailer send the message.
func (s *Service) recordReset(ctx context.Context, by Caller, email string) error {
	address, user, err := s.find(ctx, email)
	if err != nil || !user.Exists() {
		return err
	}
	err = s.throttle.allowResetMessage(ctx, address, by.IP)
	if throttled := (*Throttled)(nil); errors.As(err, &throttled) {
		return nil
	}
	if err != nil {
		return err
	}
	by.DataKey = user.DataKey() // it is about this person where the request came from
	now := s.Now()
	stream := eventstore.Stream{Kind: eventstore.KindActivity, ID: eventstore.NewID(domain.PrefixReset)}
	commit, err := s.commit(ctx, by, stream, 0, eventstore.Hash{}, now,
		[]domain.Event{domain.PasswordResetRequested{User: user.ID(), ExpiresAt: now.Add(domain.ResetLifetime)}})
	if err != nil {
		return err
	}
	return s.store.Append(ctx, commit)
}

// ResetPassword gives a user a new password, for whoever holds the link that
// was sent to their address, and ends all their sessions. The link works once:
// it dies with the password that it was made for.
func (s *Service) ResetPassword(ctx context.Context, by Caller, token, next string) (Done, error) {
	ticket, ok := readResetToken(token)
	if !ok {
		return Done{}, domain.ErrNotFound
	}
	stream := s.users.stream(string(ticket.user))
	earlier, err := s.earlier(ctx, stream)
	if err == nil && earlier == nil { // else the link has done its work
		// A link that doesn't work must not cost a password hash.
		err = s.users.ask(ctx, stream.ID, func(u *domain.User, _, _ uint64) error {
			_, err := s.resetPassword(u, ticket, "", s.Now())
			return err
		})
	}
	if err != nil {
		return Done{}, err
	}
	var user domain.User
	if err := s.users.view(ctx, stream.ID, func(u *domain.User, _, _ uint64) { user = *u }); err != nil {
		return Done{}, err
	}
	if err := s.passwords.check("#/new_password", next); err != nil {
		return Done{}, err
	}
	hash, err := s.passwords.hash(ctx, next)
	if err != nil {
		return Done{}, err
	}
	sealed, err := s.vault.Seal(ctx, user.DataKey(), stream.ID+"/password", hash)
	if err != nil {
		return Done{}, unavailable(err)
	}
	by = by.as(user.ID())
	by.DataKey = user.DataKey()

	ctx, cancel := finishing(ctx)
	defer cancel()
	out, err := do(ctx, s, s.users, stream.ID, by, func(u *domain.User, now time.Time) (decision, error) {
		return decided(s.resetPassword(u, ticket, sealed, now))
	})
	if refused := (*domain.Error)(nil); errors.As(err, &refused) {
		return Done{}, err
	}
	// Also when it isn't known whether the password has changed: the holder of
	// the link wants nobody else to be signed in.
	last, ending := s.endSessions(ctx, by, user.ID(), "")
	if err = errors.Join(err, ending); err != nil {
		return Done{}, err
	}
	if err := s.throttle.proven(ctx, user.Address(), by.IP); err != nil {
		// They may have to wait before they sign in; the reset stands.
		s.logger.WarnContext(ctx, "a network could not be made known to an account", "request_id", by.RequestID, "error", err)
	}
	return Done{max(out.Position, last), out.Version}, nil
}

// CheckReset tells the holder of a link until when it resets a password, or why
// it doesn't.
func (s *Service) CheckReset(ctx context.Context, token string) (time.Time, error) {
	ticket, ok := readResetToken(token)
	if !ok {
		return time.Time{}, domain.ErrNotFound
	}
	err := s.users.ask(ctx, string(ticket.user), func(u *domain.User, _, _ uint64) error {
		_, err := s.resetPassword(u, ticket, "", s.Now())
		return err
	})
	return ticket.expiresAt, err
}

// resetPassword decides whether the ticket still resets the password.
func (s *Service) resetPassword(u *domain.User, ticket resetTicket, hash domain.Sealed, now time.Time) ([]domain.Event, error) {
	// What was changed about the token anywhere, down to a bit that decoding
	// passes over, makes it another.
	if !u.Exists() || !sameText(ticket.token, s.resetToken(u, ticket.expiresAt)) {
		return nil, domain.ErrNotFound
	}
	return u.ResetPassword(hash, ticket.expiresAt, now)
}

// resetToken is the secret part of the link that resets a password. It isn't
// stored anywhere: it names the user and the end of its life, and proves itself
// by a keyed hash over both and the password that the user has now, as stored.
// So the first change of the password makes it worthless.
func (s *Service) resetToken(u *domain.User, expiresAt time.Time) string {
	uuid, err := domain.ParseID(domain.PrefixUser, string(u.ID()))
	if err != nil {
		return ""
	}
	token := make([]byte, 0, resetTokenBytes)
	token = append(token, uuid[:]...)
	token = binary.BigEndian.AppendUint64(token, uint64(expiresAt.UnixMicro()))
	mac := s.vault.MAC("password reset link", token[:16], token[16:24], []byte(u.PasswordHash()))
	return base64.RawURLEncoding.EncodeToString(append(token, mac[:]...))
}

const resetTokenBytes = 16 + 8 + 32

// resetTicket is what the token of a reset says. It proves nothing yet.
type resetTicket struct {
	token     string
	user      domain.UserID
	expiresAt time.Time
}

func readResetToken(token string) (resetTicket, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != resetTokenBytes {
		return resetTicket{}, false
	}
	return resetTicket{
		token:     token,
		user:      domain.UserID(domain.FormatID(domain.PrefixUser, [16]byte(raw[:16]))),
		expiresAt: time.UnixMicro(int64(binary.BigEndian.Uint64(raw[16:24]))).UTC(),
	}, true
}
