package eventstore

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"roster/domain"
)

// Message is a stored commit that is not decoded yet: what a cache needs to
// tell whether a commit concerns it, at a fraction of the price. It is
// immutable and may be kept.
type Message struct {
	Stream   Stream
	Version  uint64
	Position uint64

	subject string
	header  nats.Header
	payload []byte
}

// NewMessage makes a message of what a consumer was given: its subject, its
// place in the stream, its header and its payload. It fails for a subject that
// no commit is ever stored at.
func NewMessage(subject string, position uint64, header nats.Header, payload []byte) (Message, error) {
	return newMessage(subject, position, header, payload)
}

// newMessage makes a message of what the server sent. It fails for a subject
// that no commit is ever stored at.
func newMessage(subject string, position uint64, header nats.Header, payload []byte) (Message, error) {
	stream, version, err := parseSubject(subject)
	if err != nil {
		return Message{}, err
	}
	return Message{
		Stream: stream, Version: version, Position: position,
		subject: subject, header: header, payload: payload,
	}, nil
}

// Decode gives the commit. It checks the hash and every event; errors wrap
// [ErrUnreadable].
func (m *Message) Decode() (Commit, error) { return kinds.decodeCommit(m) }

// ID is the id of the commit, as its header states it.
func (m *Message) ID() domain.EventID { return domain.EventID(m.get(headerCommit)) }

// HasKind tells whether the header lists an event of this kind, in whatever
// version: "member_joined" finds "member_joined.v1".
func (m *Message) HasKind(kind string) bool {
	for listed := range strings.SplitSeq(m.get(headerTypes), ",") {
		if name, _, ok := strings.Cut(listed, ".v"); ok && name == kind {
			return true
		}
	}
	return false
}

// Kinds lists the kinds of its events as the header states them, without
// their versions.
func (m *Message) Kinds() []string {
	kinds := strings.Split(m.get(headerTypes), ",")
	for i, listed := range kinds {
		kinds[i], _, _ = strings.Cut(listed, ".v")
	}
	return kinds
}

// At is when the commit was made, as the header states it.
func (m *Message) At() time.Time {
	at, _ := time.Parse(timeLayout, m.get(headerTime)) // Append wrote it in this form
	return at.UTC()
}

func (m *Message) get(name string) string {
	if values := m.header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// deliveredAs reads the sequences out of the reply subject of a message that
// a consumer delivered: its place in the stream and among the consumer's
// deliveries. The forms are $JS.ACK.<stream>.<consumer>.… and
// $JS.ACK.<domain>.<account>.<stream>.<consumer>.…, both going on with
// <deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>.
func deliveredAs(reply string) (position, delivery uint64, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok {
		return 0, 0, false
	}
	skip := 3 // stream, consumer, deliveries
	if strings.Count(rest, ".") > 6 {
		skip = 5
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	first, rest, _ := strings.Cut(rest, ".")
	second, _, _ := strings.Cut(rest, ".")
	position, err1 := strconv.ParseUint(first, 10, 64)
	delivery, err2 := strconv.ParseUint(second, 10, 64)
	return position, delivery, err1 == nil && err2 == nil
}

// directMessage reads the answer to a direct get, whose place is in headers.
func directMessage(answer *nats.Msg) (Message, error) {
	position, err := strconv.ParseUint(answer.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return Message{}, errMalformedSubject
	}
	return newMessage(answer.Header.Get("Nats-Subject"), position, answer.Header, answer.Data)
}
