package eventstore

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
)

// collected gives the n messages after a position.
func collected(t *testing.T, s *Store, after uint64, n int) (got []Message) {
	t.Helper()
	err := s.FollowRaw(testContext(t), after, func(_ context.Context, messages []Message) error {
		if got = append(got, messages...); len(got) >= n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	return got
}

func testChain(t *testing.T, s *Store) {
	start, err := s.LastPosition(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	a, b := newStream(), newStream()
	var lastA, lastB *Commit
	for range 5 {
		lastA = extend(t, s, a, lastA, 1)
		lastB = extend(t, s, b, lastB, 1)
	}
	clean := collected(t, s, start, 10)

	// Position 7 of 10 is version 4 of a.
	const at = 6
	if clean[at].Stream != a || clean[at].Version != 4 {
		t.Fatal("the test is wrong")
	}
	for name, test := range map[string]struct {
		spoil func(messages []Message) []Message
		want  []string // of each fault: its place and the problem
	}{
		"clean": {func(m []Message) []Message { return m }, nil},
		"flipped bit in the payload": {
			func(m []Message) []Message {
				i := bytes.Index(m[at].payload, []byte(`"before"`))
				m[at].payload[i+1] ^= 1
				return m
			},
			[]string{"version 4 of team " + a.ID + ": its bytes don't have the hash"},
		},
		"another hash": {
			func(m []Message) []Message {
				text := []byte(m[at].get(headerHash))
				if text[0] != 'A' {
					text[0] = 'A'
				} else {
					text[0] = 'B'
				}
				m[at].header[headerHash] = []string{string(text)}
				return m
			},
			[]string{
				"version 4 of team " + a.ID + ": its bytes don't have the hash",
				"version 5 of team " + a.ID + ": it follows a commit with hash",
			},
		},
		"no hash": {
			func(m []Message) []Message {
				delete(m[at].header, headerHash)
				return m
			},
			[]string{
				"version 4 of team " + a.ID + ": its header has no hash",
				"version 5 of team " + a.ID + ": it follows a commit with hash",
			},
		},
		"changed header": {
			func(m []Message) []Message {
				m[at].header[headerTypes] = []string{"team_deleted.v1"}
				return m
			},
			[]string{"version 4 of team " + a.ID + ": it can't be read"},
		},
		"another's commit": {
			func(m []Message) []Message {
				m[at].payload, m[at].header = m[at+1].payload, m[at+1].header
				return m
			},
			[]string{
				"version 4 of team " + a.ID + ": its bytes don't have the hash",
				"version 5 of team " + a.ID + ": it follows a commit with hash",
			},
		},
		"rewritten with a hash of its own": {
			func(m []Message) []Message {
				commit, err := m[at].Decode()
				if err != nil {
					t.Fatal(err)
				}
				commit.RequestID = "forged"
				m[at] = stored(t, &commit, m[at].Position)
				return m
			},
			[]string{"version 5 of team " + a.ID + ": it follows a commit with hash"},
		},
		"lost commit": {
			func(m []Message) []Message { return append(m[:at:at], m[at+1:]...) },
			[]string{
				"version 4 of team " + b.ID + ": positions ",
				"version 5 of team " + a.ID + ": versions 4 to 4 are missing",
			},
		},
	} {
		messages := make([]Message, len(clean))
		for i, m := range clean {
			m.header, m.payload = maps.Clone(m.header), bytes.Clone(m.payload)
			messages[i] = m
		}
		chain := Chain{position: start} // both streams begin there
		var got []string
		for _, m := range test.spoil(messages) {
			for _, fault := range chain.Add(&m) {
				got = append(got, fault.String())
			}
		}
		if len(got) != len(test.want) {
			t.Errorf("%s: %q", name, got)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(got[i], want) || !strings.HasPrefix(got[i], "position ") {
				t.Errorf("%s: %q instead of %q", name, got[i], want)
			}
		}
	}
}

// stored is the message that a commit becomes.
func stored(t testing.TB, c *Commit, position uint64) Message {
	t.Helper()
	r, err := kinds.encodeCommit(c)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMessage(r.subject, position, r.header, r.payload)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
