package eventstore

import (
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// StreamName is the stream that holds the events, for who consumes it.
const StreamName = streamName

// JetStream is for durable consumers of the stream, and for streams beside it.
// Nothing may be published to the events but by Append.
func (s *Store) JetStream() jetstream.JetStream { return s.js }

// Replicas is how many copies a stream beside the events should have.
func (s *Store) Replicas() int { return s.config.Replicas }

// NewMessage makes a message of what a consumer was given: its subject, its
// place in the stream, its header and its payload. It fails for a subject that
// no commit is ever stored at.
func NewMessage(subject string, position uint64, header nats.Header, payload []byte) (Message, error) {
	return newMessage(subject, position, header, payload)
}

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
