package commands

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"roster/domain"
	"roster/eventstore"
)

// sessionsBucket is where sessions live. Each has a shorter life of its own
// there; see sessionRecord.life.
var sessionsBucket = eventstore.BucketConfig{Name: "SESSIONS", TTL: sessionLifetime, MaxValue: 4 << 10}

// How long a session lasts.
const (
	sessionLifetime = 30 * 24 * time.Hour // whatever happens
	sessionIdle     = 24 * time.Hour      // without being used

	// sessionTouch is how often the use of a session is written down. A
	// session may thus end up to this much earlier than sessionIdle says.
	sessionTouch = 5 * time.Minute

	// touchTimeout and touchPause keep a bucket that doesn't answer from
	// holding up requests: writing down the use of a session can wait.
	touchTimeout = 2 * time.Second
	touchPause   = time.Minute
)

const (
	// maxSessions is how many a user can have: a new one beyond takes the
	// place of the one that was used least recently.
	maxSessions = 100

	// sessionsInMemory is how many are kept decoded, at about 600 bytes each.
	sessionsInMemory = 20_000

	maxUserAgent = 512 // bytes that are kept
)

// A token is rs_<user>_<secret>. The user is there so that a user's sessions
// are found together; it proves nothing. What is stored is a hash of it all,
// so that whoever reads the bucket can't use what is there.
const (
	sessionPrefix = "rs_"
	secretLength  = 43 // 256 bits in base64
	tokenLength   = len(sessionPrefix) + idSuffix + 1 + secretLength
)

// sessions are the signed-in users' credentials.
type sessions struct {
	bucket  *eventstore.CachedBucket
	vault   *eventstore.Vault
	now     func() time.Time
	decoded *otter.Cache[tokenHash, *decodedSession]
}

type tokenHash [sha256.Size]byte

// decodedSession is a session as one revision of the bucket has it.
type decodedSession struct {
	sessionRecord
	key      string // in the bucket
	revision uint64
	touch    atomic.Int64 // when its use is to be written down next, in microseconds since 1970
}

func newSessions(bucket *eventstore.CachedBucket, vault *eventstore.Vault, now func() time.Time) *sessions {
	return &sessions{
		bucket: bucket, vault: vault, now: now,
		decoded: otter.Must(&otter.Options[tokenHash, *decodedSession]{MaximumSize: sessionsInMemory}),
	}
}

// sessionRecord is what the bucket holds of a session.
type sessionRecord struct {
	ID         domain.SessionID `json:"id"`
	User       domain.UserID    `json:"user"`
	CreatedAt  time.Time        `json:"created_at"`
	LastSeenAt time.Time        `json:"last_seen_at"`
	ExpiresAt  time.Time        `json:"expires_at"`
	DataKey    string           `json:"data_key"`
	Origin     domain.Sealed    `json:"origin,omitempty"` // where it was started: an origin, at "<id>/origin"
}

func (r *sessionRecord) live(now time.Time) bool {
	return now.Before(r.ExpiresAt) && now.Sub(r.LastSeenAt) < sessionIdle
}

// life is how long the bucket has to keep the record. What is in there too
// long does no harm: live decides.
func (r *sessionRecord) life(now time.Time) time.Duration {
	return min(sessionIdle+time.Minute, r.ExpiresAt.Sub(now))
}

// NewSession is a session that was just started. The token isn't kept
// anywhere.
type NewSession struct {
	ID        domain.SessionID
	Token     string
	ExpiresAt time.Time

	done Done // of the record that it started

	// displaced are those that it took the place of.
	displaced []domain.SessionID
}

// Session is a session as its user sees it.
type Session struct {
	ID         domain.SessionID
	CreatedAt  time.Time
	LastSeenAt time.Time // to within five minutes
	ExpiresAt  time.Time // at the latest
	IP         string    // where it was started
	UserAgent  string
	Current    bool // it is the one that asks
}

// name gives a session its id and its token, which are always new. Only the
// repetition of an attempt gets those of the session that it made before.
func (s *sessions) name(ctx context.Context, user domain.UserID) NewSession {
	return NewSession{
		ID:    domain.SessionID(newID(ctx, domain.PrefixSession, "session")),
		Token: sessionPrefix + strings.TrimPrefix(string(user), domain.PrefixUser+"_") + "_" + newSecret(ctx, "session"),
	}
}

// start makes a session. When an earlier try of the attempt has made it, it is
// that one.
func (s *sessions) start(ctx context.Context, user domain.UserID, dataKey, ip, userAgent string) (NewSession, error) {
	now := s.now()
	session := s.name(ctx, user)
	id := session.ID
	key, _, ok := sessionKey(session.Token)
	if !ok {
		return NewSession{}, errors.New("commands: a session needs the id of a user")
	}
	displaced, err := s.makeRoom(ctx, user, id)
	if err != nil {
		return NewSession{}, err
	}
	plain, err := json.Marshal(origin{IP: ip, UserAgent: clip(userAgent, maxUserAgent)})
	if err != nil {
		return NewSession{}, err
	}
	sealed, err := s.vault.Seal(ctx, dataKey, string(id)+"/origin", string(plain))
	if err != nil {
		return NewSession{}, unavailable(err)
	}
	record := sessionRecord{
		ID: id, User: user, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(sessionLifetime),
		DataKey: dataKey, Origin: sealed,
	}
	value, err := json.Marshal(&record)
	if err != nil {
		return NewSession{}, err
	}
	_, err = s.bucket.Create(ctx, key, value, record.life(now))
	switch {
	case errors.Is(err, eventstore.ErrExists):
		existing, err := s.fresh(ctx, key)
		if err != nil {
			return NewSession{}, err
		}
		record = existing.sessionRecord
	case err != nil:
		return NewSession{}, unavailable(err)
	}
	session.ExpiresAt, session.displaced = record.ExpiresAt, displaced
	return session, nil
}

// started gives a session that an earlier try of the attempt has started, as it
// did then: it may have ended since.
func (s *sessions) started(ctx context.Context, user domain.UserID, commit *eventstore.Commit) (NewSession, error) {
	session := s.name(ctx, user)
	key, _, _ := sessionKey(session.Token)
	record, err := s.fresh(ctx, key)
	switch {
	case err == nil:
		session.ExpiresAt = record.ExpiresAt
	case errors.Is(err, ErrUnauthenticated):
		session.ExpiresAt = commit.At.Add(sessionLifetime)
	default:
		return NewSession{}, err
	}
	session.done = Done{commit.Position, commit.Version}
	return session, nil
}

// makeRoom ends the sessions of a user that would be too many with one more.
// Several sign-ins at the same moment may leave a few too many.
func (s *sessions) makeRoom(ctx context.Context, user domain.UserID, except domain.SessionID) ([]domain.SessionID, error) {
	all, err := s.ofUser(ctx, user)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(f foundSession) bool { return f.record.ID == except })
	if len(all) < maxSessions {
		return nil, nil
	}
	var ended []domain.SessionID
	for _, session := range all[maxSessions-1:] {
		if _, err := s.bucket.Delete(ctx, session.key, 0); err != nil {
			return nil, unavailable(err)
		}
		ended = append(ended, session.record.ID)
	}
	return ended, nil
}

// clip cuts text to at most so many bytes, at the end of a character.
func clip(text string, bytes int) string {
	if len(text) > bytes {
		text = text[:bytes]
	}
	return strings.ToValidUTF8(text, "")
}

// hashToken is done for every request, so that the copy of what is hashed stays
// on the stack.
func hashToken(token string) tokenHash {
	if len(token) != tokenLength {
		return tokenHash{} // of no token
	}
	var raw [tokenLength]byte
	copy(raw[:], token)
	return sha256.Sum256(raw[:])
}

// sessionKey gives the bucket's key for a token; false for what can't be one.
func sessionKey(token string) (key string, hash tokenHash, ok bool) {
	const userLength = len(domain.PrefixUser) + 1 + idSuffix
	if len(token) != tokenLength || token[:len(sessionPrefix)] != sessionPrefix || token[len(sessionPrefix)+idSuffix] != '_' {
		return "", hash, false
	}
	for i := tokenLength - secretLength; i < tokenLength; i++ {
		switch c := token[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", hash, false
		}
	}
	hash = hashToken(token)
	var buf [userLength + 1 + 2*sha256.Size]byte
	n := copy(buf[:], domain.PrefixUser+"_")
	copy(buf[n:], token[len(sessionPrefix):len(sessionPrefix)+idSuffix])
	buf[userLength] = '.'
	hex.Encode(buf[userLength+1:], hash[:])
	key = string(buf[:])
	return key, hash, domain.ValidID(domain.PrefixUser, key[:userLength])
}

// find gives the session that a token is of; ErrUnauthenticated when there is
// none, or none any more. A session in use costs no network round trip, but
// for one write in five minutes.
func (s *sessions) find(ctx context.Context, token string) (*sessionRecord, error) {
	key, session, err := s.look(ctx, token)
	if err != nil {
		return nil, err
	}
	now := s.now()
	if due := session.touch.Load(); now.UnixMicro() >= due &&
		session.touch.CompareAndSwap(due, now.Add(touchPause).UnixMicro()) {
		return s.used(ctx, key, session, now)
	}
	return &session.sessionRecord, nil
}

// look is find, except that the session doesn't count as used.
func (s *sessions) look(ctx context.Context, token string) (string, *decodedSession, error) {
	hash := hashToken(token)
	session, known := s.decoded.GetIfPresent(hash)
	var key string
	if known {
		key = session.key
	} else if key, _, known = sessionKey(token); !known { // not a token at all
		return "", nil, ErrUnauthenticated
	}
	entry, err := s.bucket.Get(ctx, key)
	if errors.Is(err, eventstore.ErrNoKey) {
		return "", nil, ErrUnauthenticated
	}
	if err != nil {
		return "", nil, unavailable(err)
	}
	if session == nil || session.revision != entry.Revision {
		if session, err = decodeSession(entry); err != nil {
			return "", nil, err
		}
		session.key = key
		s.decoded.Set(hash, session)
	}
	if !session.live(s.now()) {
		return "", nil, ErrUnauthenticated
	}
	return key, session, nil
}

// used writes down that a session was used now. It never makes a session that
// was ended meanwhile come back: the write holds only for the revision that
// was read.
func (s *sessions) used(ctx context.Context, key string, session *decodedSession, now time.Time) (*sessionRecord, error) {
	record := session.sessionRecord
	record.LastSeenAt = now
	value, err := json.Marshal(&record)
	if err != nil {
		return nil, err
	}
	brief, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	_, err = s.bucket.Update(brief, key, value, session.revision, record.life(now))
	if !errors.Is(err, eventstore.ErrConflict) {
		// Any other error doesn't matter to this request, and another one
		// will try again.
		return &record, nil
	}
	// Another node wrote the same, or the session has just ended.
	current, err := s.fresh(ctx, key)
	if err != nil {
		return nil, err
	}
	if !current.live(now) {
		return nil, ErrUnauthenticated
	}
	return &current.sessionRecord, nil
}

// fresh reads a session from the bucket's leader.
func (s *sessions) fresh(ctx context.Context, key string) (*decodedSession, error) {
	entry, err := s.bucket.Bucket.Get(ctx, key)
	if errors.Is(err, eventstore.ErrNoKey) {
		return nil, ErrUnauthenticated
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return decodeSession(entry)
}

func decodeSession(entry eventstore.Entry) (*decodedSession, error) {
	session := &decodedSession{revision: entry.Revision}
	if err := json.Unmarshal(entry.Value, &session.sessionRecord); err != nil {
		return nil, fmt.Errorf("commands: the record of a session is damaged (revision %d): %w", entry.Revision, err)
	}
	session.touch.Store(session.LastSeenAt.Add(sessionTouch).UnixMicro())
	return session, nil
}

type foundSession struct {
	key    string
	record *sessionRecord
}

// ofUser gives a user's live sessions, the one used last first.
func (s *sessions) ofUser(ctx context.Context, user domain.UserID) ([]foundSession, error) {
	if !domain.ValidID(domain.PrefixUser, string(user)) {
		return nil, errors.New("commands: this is not the id of a user")
	}
	now := s.now()
	found := map[string]*sessionRecord{} // one that is used during the scan appears twice
	err := s.bucket.Scan(ctx, string(user)+".*", func(key string, entry eventstore.Entry) error {
		session, err := decodeSession(entry)
		if err != nil {
			return err
		}
		if session.live(now) {
			found[key] = &session.sessionRecord
		}
		return nil
	})
	if err != nil {
		return nil, unavailable(err)
	}
	all := make([]foundSession, 0, len(found))
	for key, record := range found {
		all = append(all, foundSession{key, record})
	}
	slices.SortFunc(all, func(a, b foundSession) int {
		return cmp.Or(b.record.LastSeenAt.Compare(a.record.LastSeenAt), cmp.Compare(b.record.ID, a.record.ID))
	})
	return all, nil
}

// list gives a user's live sessions, the one used last first.
func (s *sessions) list(ctx context.Context, user domain.UserID) ([]Session, error) {
	found, err := s.ofUser(ctx, user)
	if err != nil {
		return nil, err
	}
	list := make([]Session, 0, len(found))
	for _, f := range found {
		from, err := s.origin(ctx, f.record)
		if err != nil {
			return nil, err
		}
		list = append(list, Session{
			ID: f.record.ID, CreatedAt: f.record.CreatedAt, LastSeenAt: f.record.LastSeenAt, ExpiresAt: f.record.ExpiresAt,
			IP: from.IP, UserAgent: from.UserAgent,
		})
	}
	return list, nil
}

// origin is where a session was started; empty once that was erased.
func (s *sessions) origin(ctx context.Context, record *sessionRecord) (origin, error) {
	var from origin
	if record.Origin == "" {
		return from, nil
	}
	plain, err := s.vault.Open(ctx, record.Origin, string(record.ID)+"/origin")
	if errors.Is(err, eventstore.ErrErased) {
		return from, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(plain), &from)
	}
	if err != nil {
		return from, fmt.Errorf("commands: opening where session %s was started: %w", record.ID, err)
	}
	return from, nil
}

// end ends one of a user's sessions; domain.ErrNotFound when it isn't one. Other
// nodes have to reach the revision before they are sure to refuse its token.
func (s *sessions) end(ctx context.Context, user domain.UserID, id domain.SessionID) (revision uint64, err error) {
	all, err := s.ofUser(ctx, user)
	if err != nil {
		return 0, err
	}
	for _, session := range all {
		if session.record.ID == id {
			if revision, err = s.bucket.Delete(ctx, session.key, 0); err != nil {
				return 0, unavailable(err)
			}
			return revision, nil
		}
	}
	return 0, domain.ErrNotFound
}

// endAll ends a user's sessions but for one, which may be empty, and tells
// which; the revision is the last of them. With an error too it tells what was
// ended before.
func (s *sessions) endAll(ctx context.Context, user domain.UserID, except domain.SessionID) (
	ended []domain.SessionID, revision uint64, err error,
) {
	all, err := s.ofUser(ctx, user)
	if err != nil {
		return nil, 0, err
	}
	for _, session := range all {
		if session.record.ID == except {
			continue
		}
		if revision, err = s.bucket.Delete(ctx, session.key, 0); err != nil {
			return ended, 0, unavailable(err)
		}
		ended = append(ended, session.record.ID)
	}
	return ended, revision, nil
}
