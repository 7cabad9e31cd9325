package eventstore

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"roster/domain"
)

// Kind is a kind of stream: what sort of aggregate its commits belong to.
type Kind string

// Every kind of stream there is. The names are part of the stored subjects.
const (
	KindTeam     Kind = "team"
	KindUser     Kind = "user"
	KindEmail    Kind = "email"    // an address and whose it is; the id is an AddressID
	KindActivity Kind = "activity" // facts that no rule depends on
	KindCatalog  Kind = "catalog"  // versions of a role catalog; the id is its name
)

// Stream names the history of one aggregate.
type Stream struct {
	Kind Kind
	ID   string
}

// Recorded is an event with its id, as it stands in a commit.
type Recorded struct {
	ID    domain.EventID
	Event domain.Event
}

// Hash is the SHA-256 of a commit and, through the commit's Previous, of
// everything before it in its stream.
type Hash [32]byte

// String is the hash in the form in which it is stored.
func (h Hash) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// Commit is what is written at once: one or more events of one stream, and
// everything that is known of how they came about. It is one message.
type Commit struct {
	Stream  Stream
	Version uint64 // 1, 2, … without gaps within the stream

	// Position is the commit's place among all commits of all streams; it is
	// set by Append and by reading.
	Position uint64

	At        time.Time // UTC in whole microseconds; Append rounds down to that
	Actor     domain.Actor
	Origin    domain.Sealed  // where it came from, sealed; "" for the system
	RequestID string         // correlation: the request that led to it
	Causation domain.EventID // the event that made a subscriber do this; "" otherwise
	Events    []Recorded     // at least one

	Previous Hash // of Version-1; zero for the first
	Hash     Hash // set by Append and by reading
}

// ID is the id of the commit: that of its first event.
func (c *Commit) ID() domain.EventID { return c.Events[0].ID }

// Meta is what a fold is told of the event at index i.
func (c *Commit) Meta(i int) domain.Meta {
	return domain.Meta{ID: c.Events[i].ID, Position: c.Position, At: c.At, Actor: c.Actor}
}

// Limits of what one commit may hold. They keep a message well below the 1 MiB
// that a NATS server takes by default, headers included.
const (
	MaxCommitBytes  = 512 << 10
	MaxCommitEvents = 1000
	maxStreamID     = 128
	maxShortText    = 256     // a request id, an id of an actor
	maxOrigin       = 8 << 10 // an address and a user agent, sealed
	maxVersion      = 9_999_999_999
)

var errMalformedSubject = errors.New("eventstore: malformed subject")

// StreamName is the stream that holds the events, for who consumes it.
const StreamName = "EVENTS"

const (
	subjectPrefix = "ev."
	versionDigits = 10
)

// subject is where the given version of the stream is stored. Every version
// has a subject of its own, so that "one commit a version" is a rule of the
// message store and not of this program.
func (s Stream) subject(version uint64) string {
	buf := make([]byte, 0, len(subjectPrefix)+len(s.Kind)+1+len(s.ID)+1+versionDigits)
	buf = append(buf, subjectPrefix...)
	buf = append(buf, s.Kind...)
	buf = append(buf, '.')
	buf = append(buf, s.ID...)
	buf = append(buf, '.')
	var digits [versionDigits]byte
	for i := versionDigits - 1; i >= 0; i-- {
		digits[i] = '0' + byte(version%10)
		version /= 10
	}
	return string(append(buf, digits[:]...))
}

// parseSubject is the inverse of Stream.subject.
func parseSubject(subject string) (Stream, uint64, error) {
	rest, ok := strings.CutPrefix(subject, subjectPrefix)
	if !ok {
		return Stream{}, 0, errMalformedSubject
	}
	kind, rest, _ := strings.Cut(rest, ".")
	id, digits, _ := strings.Cut(rest, ".")
	stream := Stream{Kind: Kind(kind), ID: id}
	if len(digits) != versionDigits || digits[0] == '+' || stream.check() != nil {
		return Stream{}, 0, errMalformedSubject
	}
	version, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || version == 0 {
		return Stream{}, 0, errMalformedSubject
	}
	return stream, version, nil
}

// check tells whether the stream can be part of a subject.
func (s Stream) check() error {
	switch s.Kind {
	case KindTeam, KindUser, KindEmail, KindActivity, KindCatalog:
	default:
		return fmt.Errorf("eventstore: unknown kind of stream %q", s.Kind)
	}
	if s.ID == "" || len(s.ID) > maxStreamID {
		return fmt.Errorf("eventstore: the id of a stream must have 1 to %d characters", maxStreamID)
	}
	for i := range len(s.ID) {
		switch c := s.ID[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return fmt.Errorf("eventstore: the id of a stream may hold only letters, digits, _ and -, not %q", c)
		}
	}
	return nil
}

// check tells what keeps the commit from being written.
func (c *Commit) check() error {
	if err := c.Stream.check(); err != nil {
		return err
	}
	switch {
	case c.Version == 0 || c.Version > maxVersion:
		return fmt.Errorf("eventstore: version %d of %s %s is out of range", c.Version, c.Stream.Kind, c.Stream.ID)
	case (c.Version == 1) != (c.Previous == Hash{}):
		return errors.New("eventstore: the first commit of a stream has no previous hash, every later one has")
	case c.At.Year() < 1970 || c.At.Year() > 9999:
		return errors.New("eventstore: a commit needs its time")
	case len(c.Events) == 0 || len(c.Events) > MaxCommitEvents:
		return fmt.Errorf("eventstore: a commit has 1 to %d events", MaxCommitEvents)
	case len(c.RequestID) > maxShortText || len(c.Actor.ID) > maxShortText || len(c.Origin) > maxOrigin:
		return fmt.Errorf("eventstore: ids of requests and actors have at most %d bytes, an origin %d", maxShortText, maxOrigin)
	case !plain(c.RequestID) || !plain(c.Actor.ID) || !plain(string(c.Origin)):
		return errors.New(`eventstore: ids of requests and actors and the origin are visible ASCII without " and \`)
	case c.Causation != "" && !domain.ValidID(domain.PrefixEvent, string(c.Causation)):
		return errors.New("eventstore: the causation is not an event id")
	}
	switch c.Actor.Type {
	case domain.ActorUser, domain.ActorAPIKey, domain.ActorSystem:
	default:
		return fmt.Errorf("eventstore: unknown type of actor %q", c.Actor.Type)
	}
	for i := range c.Events {
		if !domain.ValidID(domain.PrefixEvent, string(c.Events[i].ID)) {
			return fmt.Errorf("eventstore: %q is not an event id", c.Events[i].ID)
		}
	}
	return nil
}
