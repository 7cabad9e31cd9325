package commands

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"time"

	"roster/domain"
)

// Caller is who makes a request, as the credential alone says, and from where.
// The zero Caller is anonymous.
type Caller struct {
	Actor   domain.Actor
	User    domain.UserID    // of a session
	Team    domain.TeamID    // of an API key: the one team that it acts in
	Session domain.SessionID // of a user
	DataKey string           // seals where the actor works from

	IP, UserAgent string
	RequestID     string
	Causation     domain.EventID // of what a subscriber does: the event that it follows from

	// IfMatch is the version that the caller expects the aggregate to have; 0
	// expects nothing.
	IfMatch uint64
}

// Anonymous tells whether the caller has shown no credential.
func (c Caller) Anonymous() bool { return c.Actor == domain.Actor{} }

// as makes a user the actor of what they do without a credential as yet.
func (c Caller) as(user domain.UserID) Caller {
	c.Actor, c.User = domain.ByUser(user), user
	return c
}

// userOnly refuses callers that aren't a signed-in user.
func (c Caller) userOnly() error {
	switch {
	case c.Anonymous():
		return ErrUnauthenticated
	case c.User == "":
		return domain.ErrNotPermitted
	}
	return nil
}

// apiKeyPrefix begins every API key, so that leaked ones can be found by
// scanners of source code.
const apiKeyPrefix = "rk_"

// Authenticate finds who a token belongs to: a session, an API key or the
// operator. It costs no network round trip for what is in use.
func (s *Service) Authenticate(ctx context.Context, token string) (Caller, error) {
	switch {
	case strings.HasPrefix(token, sessionPrefix):
		session, err := s.sessions.find(ctx, token)
		if err != nil {
			return Caller{}, err
		}
		return Caller{
			Actor: domain.ByUser(session.User), User: session.User, Session: session.ID, DataKey: session.DataKey,
		}, nil
	case strings.HasPrefix(token, apiKeyPrefix):
		return s.authenticateKey(ctx, token)
	case s.operatorToken != "" && sameText(token, s.operatorToken):
		return Caller{Actor: domain.Operator, DataKey: s.operatorKey}, nil
	}
	return Caller{}, ErrUnauthenticated
}

// Remains tells whether a credential that was good when a long answer began
// still is: nil, or the error that Authenticate would give. Unlike a request,
// an answer that goes on doesn't keep a session from ending for want of use.
func (s *Service) Remains(ctx context.Context, token string) error {
	if !strings.HasPrefix(token, sessionPrefix) {
		_, err := s.Authenticate(ctx, token)
		return err
	}
	_, _, err := s.sessions.look(ctx, token)
	return err
}

// sameText compares secrets in constant time, whatever their lengths.
func sameText(x, y string) bool {
	xs, ys := sha256.Sum256([]byte(x)), sha256.Sum256([]byte(y))
	return subtle.ConstantTimeCompare(xs[:], ys[:]) == 1
}

const idSuffix = 26 // characters of an id after its prefix

// An API key names its team and itself, so that it is found without a table:
// rk_<team><key>_<secret>.
func apiKeyToken(team domain.TeamID, key domain.APIKeyID, secret string) string {
	return apiKeyPrefix + string(team[len(team)-idSuffix:]) + string(key[len(key)-idSuffix:]) + "_" + secret
}

func (s *Service) authenticateKey(ctx context.Context, token string) (Caller, error) {
	rest := token[len(apiKeyPrefix):]
	if len(rest) != 2*idSuffix+1+43 || rest[2*idSuffix] != '_' {
		return Caller{}, ErrUnauthenticated
	}
	team := domain.TeamID(domain.PrefixTeam + "_" + rest[:idSuffix])
	id := domain.APIKeyID(domain.PrefixAPIKey + "_" + rest[idSuffix:2*idSuffix])
	if !domain.ValidID(domain.PrefixTeam, string(team)) || !domain.ValidID(domain.PrefixAPIKey, string(id)) {
		return Caller{}, ErrUnauthenticated
	}
	var caller Caller
	hash := hashSecret(token)
	err := s.teams.ask(ctx, string(team), func(t *domain.Team, _, _ uint64) error {
		key, found := t.APIKey(id)
		if !found {
			return ErrUnauthenticated // unless it was made on another node just now
		}
		// What is wrong with a key stays wrong, so nobody else is asked.
		if t.Live() && key.Active(s.Now()) && sameText(key.SecretHash, hash) {
			caller = Caller{Actor: domain.ByAPIKey(id), Team: team, DataKey: key.DataKey}
		}
		return nil
	})
	if err == nil && caller.Anonymous() {
		err = ErrUnauthenticated
	}
	return caller, err
}

// hashSecret is the form in which a credential is kept.
func hashSecret(secret string) string {
	digest := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(digest[:])
}

// ViewTeam lets a member, a key of the team or the operator look at the team
// as it is now. look runs under a lock, and perhaps twice: it must not keep the
// team and must not wait for anything. It answers with the team's version and the position of
// its last commit. A member who lacks the second factor that the team requires
// is refused.
func (s *Service) ViewTeam(
	ctx context.Context, by Caller, id domain.TeamID, look func(t *domain.Team, now time.Time) error,
) (Done, error) {
	return s.ViewOwnTeam(ctx, by, id, func(t *domain.Team, now time.Time) error {
		if err := s.Admit(ctx, by, t, now); err != nil {
			return err
		}
		return look(t, now)
	})
}

// ViewOwnTeam is ViewTeam for what a member may see without the second factor:
// that they are in the team, and what it asks of them.
func (s *Service) ViewOwnTeam(
	ctx context.Context, by Caller, id domain.TeamID, look func(t *domain.Team, now time.Time) error,
) (Done, error) {
	if by.Anonymous() {
		return Done{}, ErrUnauthenticated
	}
	if !domain.ValidID(domain.PrefixTeam, string(id)) {
		return Done{}, domain.ErrNotFound
	}
	var done Done
	err := s.teams.ask(ctx, string(id), func(t *domain.Team, version, position uint64) error {
		now := s.Now()
		if !t.Live() || !inTeam(t, by, now) {
			return domain.ErrNotFound
		}
		done = Done{Position: position, Version: version}
		return look(t, now)
	})
	return done, err
}

// inTeam tells whether the caller may know that the team exists.
func inTeam(t *domain.Team, by Caller, now time.Time) bool {
	switch by.Actor.Type {
	case domain.ActorUser:
		_, ok := t.Member(by.User, now)
		return ok
	case domain.ActorAPIKey:
		_, ok := t.APIKey(domain.APIKeyID(by.Actor.ID))
		return ok
	}
	return by.Actor == domain.Operator
}

// TeamPosition is the position of the team's last commit that this node knows
// of, for reads that must see it; 0 when the team isn't in memory.
func (s *Service) TeamPosition(id domain.TeamID) uint64 { return s.teams.position(string(id)) }

// UserPosition is the same for a user.
func (s *Service) UserPosition(id domain.UserID) uint64 { return s.users.position(string(id)) }
