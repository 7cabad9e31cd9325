package eventstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"roster/domain"
)

// A commit is stored as one message. Its payload is JSON in one fixed layout,
// without white space and with the fields in this order, the optional ones
// left out when empty:
//
//	{"previous":"…","at":"…","actor":{"type":"…","id":"…"},"origin":"…","request":"…",
//	 "causation":"…","events":[{"id":"…","type":"…","data":{…}}, …]}
//
// The payload and the subject are all there is to a commit, and the hash
// covers both. The headers repeat some of it so that a reader can choose
// without parsing; reading a commit compares them.
const (
	headerSchema    = "Roster-Schema"
	headerHash      = "Roster-Hash"
	headerCommit    = "Roster-Commit"
	headerTypes     = "Roster-Types" // separated by commas, in the order of the events
	headerTime      = "Roster-Time"
	headerRequest   = "Roster-Request"   // left out when empty
	headerCausation = "Roster-Causation" // left out when empty

	// headerExpect makes the server refuse a message whose subject is taken.
	headerExpect = "Nats-Expected-Last-Subject-Sequence"

	schema     = "1"
	hashPrefix = "roster commit " + schema + "\n"

	// timeLayout is RFC 3339 with exactly six digits, so that equal times are
	// equal texts.
	timeLayout = "2006-01-02T15:04:05.000000Z07:00"
)

// ErrUnreadable means that a stored commit can't be read: its bytes are not
// those that were written, or a newer version wrote them.
var ErrUnreadable = errors.New("eventstore: stored commit can't be read")

// record is a commit in the form in which it is stored.
type record struct {
	commit  *Commit
	subject string
	header  nats.Header
	payload []byte
	hash    Hash
}

// hashOf is the hash of the commit stored as payload at subject. The payload
// names the hash of the commit before.
func hashOf(subject string, payload []byte) Hash {
	buf := make([]byte, 0, 2048) // stays on the stack; longer payloads are hashed in parts
	buf = append(buf, hashPrefix...)
	buf = append(buf, subject...)
	buf = append(buf, '\n')
	if len(buf)+len(payload) <= cap(buf) {
		return sha256.Sum256(append(buf, payload...))
	}
	h := sha256.New()
	h.Write(buf)
	h.Write(payload)
	var sum Hash
	h.Sum(sum[:0])
	return sum
}

var hashEncoding = base64.RawURLEncoding.Strict()

const hashTextLength = 43

// parseHash reads what Hash.String wrote, and nothing else.
func parseHash[T string | []byte](text T) (hash Hash, err error) {
	if len(text) != hashTextLength {
		return hash, errors.New("malformed hash")
	}
	var in [hashTextLength]byte
	copy(in[:], text)
	if n, err := hashEncoding.Decode(hash[:], in[:]); err != nil || n != len(hash) {
		return Hash{}, errors.New("malformed hash")
	}
	return hash, nil
}

// encodeCommit checks the commit, rounds its time down to what is stored and
// gives its stored form.
func (c *codec) encodeCommit(commit *Commit) (*record, error) {
	commit.At = commit.At.UTC().Truncate(time.Microsecond)
	if err := commit.check(); err != nil {
		return nil, err
	}
	at := commit.At.Format(timeLayout)

	buf := make([]byte, 0, 384+192*len(commit.Events))
	buf = append(buf, '{')
	if commit.Version > 1 {
		buf = append(buf, `"previous":"`...)
		buf = hashEncoding.AppendEncode(buf, commit.Previous[:])
		buf = append(buf, `",`...)
	}
	buf = appendText(buf, `"at":"`, at)
	buf = appendText(buf, `,"actor":{"type":"`, string(commit.Actor.Type))
	buf = appendText(buf, `,"id":"`, commit.Actor.ID)
	buf = append(buf, '}')
	if commit.Origin != "" {
		buf = appendText(buf, `,"origin":"`, string(commit.Origin))
	}
	if commit.RequestID != "" {
		buf = appendText(buf, `,"request":"`, commit.RequestID)
	}
	if commit.Causation != "" {
		buf = appendText(buf, `,"causation":"`, string(commit.Causation))
	}
	buf = append(buf, `,"events":[`...)
	types := make([]byte, 0, 128)
	for i := range commit.Events {
		event := &commit.Events[i]
		name, data, err := c.encode(event.Event)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			buf = append(buf, ',')
			types = append(types, ',')
		}
		types = append(types, name...)
		buf = appendText(buf, `{"id":"`, string(event.ID))
		buf = appendText(buf, `,"type":"`, name)
		buf = append(buf, `,"data":`...)
		buf = append(buf, data...)
		buf = append(buf, '}')
	}
	buf = append(buf, `]}`...)
	if len(buf) > MaxCommitBytes {
		return nil, fmt.Errorf("eventstore: the commit has %d bytes, more than the %d that one may have", len(buf), MaxCommitBytes)
	}

	r := &record{commit: commit, subject: commit.Stream.subject(commit.Version), payload: buf}
	r.hash = hashOf(r.subject, buf)

	// One backing array for the values: a header is a map of slices.
	values := [8]string{schema, r.hash.String(), string(commit.ID()), string(types), at, "0", commit.RequestID, string(commit.Causation)}
	one := func(i int) []string { return values[i : i+1 : i+1] }
	r.header = nats.Header{
		headerSchema: one(0),
		headerHash:   one(1),
		headerCommit: one(2),
		headerTypes:  one(3),
		headerTime:   one(4),
		headerExpect: one(5),
	}
	if commit.RequestID != "" {
		r.header[headerRequest] = one(6)
	}
	if commit.Causation != "" {
		r.header[headerCausation] = one(7)
	}
	return r, nil
}

// appendText writes a text and its closing quote. Nothing is escaped: check
// lets only plain text pass.
func appendText(buf []byte, before, text string) []byte {
	buf = append(buf, before...)
	buf = append(buf, text...)
	return append(buf, '"')
}

// plain tells whether the text is visible ASCII that JSON and headers hold as
// it is.
func plain(text string) bool {
	for i := range len(text) {
		if !plainByte[text[i]] {
			return false
		}
	}
	return true
}

var plainByte = func() (table [256]bool) {
	for c := '!'; c <= '~'; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// decodeCommit reads a stored commit and checks everything about it that can
// be known from the message alone. Errors wrap ErrUnreadable.
func (c *codec) decodeCommit(m *Message) (Commit, error) {
	commit := Commit{Stream: m.Stream, Version: m.Version, Position: m.Position}
	if err := c.decodeInto(&commit, m); err != nil {
		return Commit{}, fmt.Errorf("%w: position %d, version %d of %s %s: %w",
			ErrUnreadable, m.Position, m.Version, m.Stream.Kind, m.Stream.ID, err)
	}
	return commit, nil
}

func (c *codec) decodeInto(commit *Commit, m *Message) error {
	if found := m.get(headerSchema); found != schema {
		return fmt.Errorf("unknown schema %q: it was written by another version of this program", found)
	}
	hash, err := parseHash(m.get(headerHash))
	if err != nil {
		return err
	}
	if hashOf(m.subject, m.payload) != hash {
		return errWrongHash
	}
	commit.Hash = hash
	if err := c.parsePayload(commit, m); err != nil {
		return err
	}
	switch {
	case m.get(headerCommit) != string(commit.ID()):
		err = headerDiffers(headerCommit)
	case m.get(headerRequest) != commit.RequestID:
		err = headerDiffers(headerRequest)
	case m.get(headerCausation) != string(commit.Causation):
		err = headerDiffers(headerCausation)
	default:
		err = commit.check()
	}
	return err
}

var errWrongHash = errors.New("its bytes don't have the hash that they were stored with")

func headerDiffers(name string) error {
	return fmt.Errorf("its header %s differs from its payload", name)
}

// scanner reads the fixed layout of the payload. After the first thing that is
// not as expected it is bad and stays so.
type scanner struct {
	rest []byte
	bad  bool
}

// skip passes over exactly this text.
func (s *scanner) skip(text string) {
	if !s.accept(text) {
		s.bad = true
	}
}

// accept passes over the text if it comes next.
func (s *scanner) accept(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

// text gives what stands before the next quote.
func (s *scanner) text() []byte {
	for i, c := range s.rest {
		if plainByte[c] {
			continue
		}
		if c == '"' {
			text := s.rest[:i]
			s.rest = s.rest[i+1:]
			return text
		}
		break
	}
	s.bad = true
	return nil
}

// optional gives the text of a field that is left out when empty; known is what
// it is likely to be.
func (s *scanner) optional(name, known string) string {
	if !s.accept(name) {
		return ""
	}
	text := s.text()
	s.bad = s.bad || len(text) == 0
	return stringOf(text, known)
}

// stringOf is string(text), without an allocation when that is what is known.
func stringOf(text []byte, known string) string {
	if string(text) == known {
		return known
	}
	return string(text)
}

// object gives the JSON object that comes next. It finds the end; whether all
// inside is well-formed is for the JSON decoder to say.
func (s *scanner) object() []byte {
	if len(s.rest) == 0 || s.rest[0] != '{' {
		s.bad = true
		return nil
	}
	depth := 0
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '"':
			end := endOfString(s.rest[i+1:])
			if end < 0 {
				s.bad = true
				return nil
			}
			i += 1 + end
		case '{':
			depth++
		case '}':
			depth--
		}
		if depth == 0 {
			object := s.rest[:i+1]
			s.rest = s.rest[i+1:]
			return object
		}
	}
	s.bad = true
	return nil
}

// endOfString finds the quote that ends a JSON string.
func endOfString(text []byte) int {
	for from := 0; ; {
		quote := bytes.IndexByte(text[from:], '"')
		if quote < 0 {
			return -1
		}
		quote += from
		escapes := 0
		for escapes < quote && text[quote-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return quote
		}
		from = quote + 1
	}
}

var errMalformedPayload = errors.New("malformed payload")

func (c *codec) parsePayload(commit *Commit, m *Message) error {
	s := scanner{rest: m.payload}
	s.skip(`{`)
	if s.accept(`"previous":"`) {
		previous, err := parseHash(s.text())
		if err != nil {
			return err
		}
		commit.Previous = previous
		s.skip(`,`)
	}
	s.skip(`"at":"`)
	text := m.get(headerTime)
	if string(s.text()) != text {
		return headerDiffers(headerTime)
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || len(text) != len("2006-01-02T15:04:05.000000Z") || at.Location() != time.UTC {
		return errMalformedPayload
	}
	commit.At = at
	s.skip(`,"actor":{"type":"`)
	commit.Actor.Type = actorType(s.text())
	s.skip(`,"id":"`)
	commit.Actor.ID = string(s.text())
	s.skip(`}`)
	commit.Origin = domain.Sealed(s.optional(`,"origin":"`, ""))
	commit.RequestID = s.optional(`,"request":"`, m.get(headerRequest))
	commit.Causation = domain.EventID(s.optional(`,"causation":"`, m.get(headerCausation)))
	s.skip(`,"events":[`)

	types, first := m.get(headerTypes), m.get(headerCommit)
	commit.Events = make([]Recorded, 0, min(1+strings.Count(types, ","), MaxCommitEvents))
	for !s.bad {
		s.skip(`{"id":"`)
		id := s.text()
		s.skip(`,"type":"`)
		name := s.text()
		s.skip(`,"data":`)
		data := s.object()
		s.skip(`}`)
		if s.bad {
			break
		}
		event, row, err := c.decode(name, data)
		if err != nil {
			return err
		}
		var listed string
		if listed, types, _ = strings.Cut(types, ","); listed != row.name {
			return headerDiffers(headerTypes)
		}
		commit.Events = append(commit.Events, Recorded{ID: domain.EventID(stringOf(id, first)), Event: event})
		if !s.accept(`,`) {
			break
		}
	}
	s.skip(`]}`)
	if s.bad || len(s.rest) > 0 {
		return errMalformedPayload
	}
	if types != "" {
		return headerDiffers(headerTypes)
	}
	return nil
}

// actorType saves an allocation for the types there are; check refuses others.
func actorType(text []byte) domain.ActorType {
	switch domain.ActorType(text) {
	case domain.ActorUser:
		return domain.ActorUser
	case domain.ActorAPIKey:
		return domain.ActorAPIKey
	case domain.ActorSystem:
		return domain.ActorSystem
	}
	return domain.ActorType(text)
}
