package eventstore

import "fmt"

// Fault is something wrong with a stored commit, or with what should be there.
type Fault struct {
	Position uint64
	Stream   Stream
	Version  uint64
	Problem  string
}

func (f Fault) String() string {
	return fmt.Sprintf("position %d, version %d of %s %s: %s", f.Position, f.Version, f.Stream.Kind, f.Stream.ID, f.Problem)
}

// Chain verifies the log from its beginning: that no position and no version
// is missing, that every commit has the bytes that it was stored with, and
// that it names the hash of the one before it. Feed it every message in order
// of position. Its zero value is ready. It remembers one hash a stream, about
// 150 bytes each.
type Chain struct {
	position uint64
	heads    map[Stream]head
}

type head struct {
	version uint64
	hash    Hash
}

// Add takes the next message and gives what is wrong with it; nil when nothing
// is. After a fault it goes on from what the message itself claims, so that one
// fault is not reported for every later commit of the stream too.
func (c *Chain) Add(m *Message) []Fault {
	if c.heads == nil {
		c.heads = map[Stream]head{}
	}
	var faults []Fault
	fault := func(format string, args ...any) {
		faults = append(faults, Fault{Position: m.Position, Stream: m.Stream, Version: m.Version, Problem: fmt.Sprintf(format, args...)})
	}
	if m.Position != c.position+1 {
		fault("positions %d to %d are missing before it", c.position+1, m.Position-1)
	}
	c.position = m.Position

	before := c.heads[m.Stream]
	claimed, err := parseHash(m.get(headerHash))
	if err != nil {
		fault("its header has no hash")
	} else if actual := hashOf(m.subject, m.payload); actual != claimed {
		fault("its bytes don't have the hash that they were stored with")
	} else if commit, err := m.Decode(); err != nil {
		fault("it can't be read: %v", err)
	} else if m.Version == before.version+1 && commit.Previous != before.hash {
		fault("it follows a commit with hash %v, but the one before it has %v", commit.Previous, before.hash)
	}
	if m.Version != before.version+1 {
		fault("versions %d to %d are missing before it", before.version+1, m.Version-1)
	}
	c.heads[m.Stream] = head{version: m.Version, hash: claimed}
	return faults
}

// Position is that of the last message added.
func (c *Chain) Position() uint64 { return c.position }
