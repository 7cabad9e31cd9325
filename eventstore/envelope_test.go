package eventstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

func sampleCommit() *Commit {
	return &Commit{
		Stream: Stream{Kind: KindTeam, ID: string(sampleTeam)}, Version: 2, Position: 7,
		At: sampleTime, Actor: domain.ByUser(sampleUser), Origin: "kb.3~b3JpZ2lu", RequestID: "req-42",
		Causation: sampleEvent, Previous: Hash{0xff, 1, 2, 31: 3},
		Events: []Recorded{
			{ID: sampleEvent, Event: samples["member_joined.v1"]},
			{ID: sampleNext, Event: samples["team_renamed.v1"]},
		},
	}
}

// TestGoldenCommit pins the envelope, the headers and the hash.
func TestGoldenCommit(t *testing.T) {
	want := sampleCommit()
	r, err := kinds.encodeCommit(want)
	if err != nil {
		t.Fatal(err)
	}
	want.Hash = r.hash
	type file struct {
		Subject string              `json:"subject"`
		Header  map[string][]string `json:"header"`
		Payload string              `json:"payload"`
	}
	text := golden(t, "commit.schema"+schema+".json", func() []byte {
		text, err := json.MarshalIndent(file{r.subject, r.header, string(r.payload)}, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		return append(text, '\n')
	})
	var stored file
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stored, file{r.subject, r.header, string(r.payload)}); diff != "" {
		t.Error(diff)
	}
	m, err := newMessage(stored.Subject, want.Position, stored.Header, []byte(stored.Payload))
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Decode()
	if diff := cmp.Diff(*want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if m.ID() != want.ID() || !m.HasKind("team_renamed") {
		t.Errorf("the message is %s", m.ID())
	}
}

// TestDecodeRefuses damages a stored commit in ways that keep its hash right,
// as a writer with a mistake would.
func TestDecodeRefuses(t *testing.T) {
	r, err := kinds.encodeCommit(sampleCommit())
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) func(*Message) {
		return func(m *Message) {
			if !bytes.Contains(m.payload, []byte(old)) {
				t.Fatalf("the payload has no %s", old)
			}
			m.payload = bytes.Replace(m.payload, []byte(old), []byte(new), 1)
		}
	}
	header := func(name, value string) func(*Message) {
		return func(m *Message) { m.header[name] = []string{value} }
	}
	for name, damage := range map[string]func(*Message){
		"unknown kind":     replace(`"member_joined.v1"`, `"member_joined.v9"`),
		"unknown field":    replace(`"data":{"user"`, `"data":{"usr"`),
		"additional field": replace(`"data":{"user"`, `"data":{"x":1,"user"`),
		"wrong type":       replace(`"role":"ADMIN"`, `"role":1`),
		"null event":       replace(`"data":{"from":"Acme","to":"Acme \"2\"\n"}`, `"data":null`),
		"text event":       replace(`"data":{"from":"Acme","to":"Acme \"2\"\n"}`, `"data":"{}"`),
		"broken event":     replace(`"data":{"user"`, `"data":{{"user"`),
		"unclosed event":   replace(`\"2\"\n"}`, `\"2\"\n`),
		"unclosed text":    replace(`\"2\"\n"}}]}`, `\"2\"\n\`),
		"no events": func(m *Message) {
			before, _, _ := bytes.Cut(m.payload, []byte(`{"id":"evt`))
			m.payload = append(bytes.Clone(before), "]}"...)
		},
		"no list of events":  replace(`"events":[`, `"events":{`),
		"more after the end": func(m *Message) { m.payload = append(m.payload, ' ') },
		"cut off":            func(m *Message) { m.payload = m.payload[:len(m.payload)-1] },
		"empty":              func(m *Message) { m.payload = nil },
		"white space":        replace(`,"actor"`, `, "actor"`),
		"empty optional":     replace(`"req-42"`, `""`),
		"malformed previous": replace(`"previous":"_w`, `"previous":"*w`),
		"short previous":     replace(`"previous":"_w`, `"previous":"_`),
		"no previous": func(m *Message) {
			m.payload = append([]byte(`{`), m.payload[len(`{"previous":"",`)+hashTextLength:]...)
		},
		"unknown actor":          replace(`"type":"user"`, `"type":"root"`),
		"malformed event id":     replace(string(sampleNext), "evt_x"),
		"time of another zone":   func(m *Message) { m.header[headerTime] = []string{"2026-03-04T05:06:07.890120+00:00"} },
		"another time":           header(headerTime, "2026-03-04T05:06:07.890121Z"),
		"another type":           header(headerTypes, "member_joined.v1,team_deleted.v1"),
		"one type more":          header(headerTypes, "member_joined.v1,team_renamed.v1,team_deleted.v1"),
		"one type less":          header(headerTypes, "member_joined.v1"),
		"another id":             header(headerCommit, string(sampleNext)),
		"another request":        header(headerRequest, "req-43"),
		"another cause":          header(headerCausation, string(sampleNext)),
		"unknown schema":         header(headerSchema, "2"),
		"another stream's place": func(m *Message) { m.Stream.Kind = "teams" },
	} {
		message, err := newMessage(r.subject, 7, map[string][]string{}, bytes.Clone(r.payload))
		if err != nil {
			t.Fatal(err)
		}
		for key, values := range r.header {
			message.header[key] = values
		}
		if _, err := message.Decode(); err != nil {
			t.Fatal(err)
		}
		damage(&message)
		message.header[headerHash] = []string{hashOf(message.subject, message.payload).String()}
		commit, err := message.Decode()
		if !errors.Is(err, ErrUnreadable) || commit.Events != nil {
			t.Errorf("%s: %v, %+v", name, err, commit)
		}
	}
}

func TestSubjects(t *testing.T) {
	stream := Stream{Kind: KindTeam, ID: "team_x"}
	for version, subject := range map[uint64]string{
		1: "ev.team.team_x.0000000001", 1234567890: "ev.team.team_x.1234567890", maxVersion: "ev.team.team_x.9999999999",
	} {
		if got := stream.subject(version); got != subject {
			t.Errorf("version %d is at %s", version, got)
		}
		got, at, err := parseSubject(subject)
		if err != nil || got != stream || at != version {
			t.Errorf("%s: %v %d %v", subject, got, at, err)
		}
	}
	for _, subject := range []string{
		"", "ev", "ev.", "ev.team", "ev.team.x", "ev.team.x.1", "ev.team.x.0000000000", "ev.team.x.00000000001", "ev.team..0000000001",
		"ev.team.x.+000000001", "ev.team.x.000000000a", "ev.team.x.y.0000000001", "ev.teams.x.0000000001", "kv.team.x.0000000001",
		"ev.team.x*.0000000001", "ev.team.x.-000000001", "ev.team.x.0_00000001",
	} {
		if stream, version, err := parseSubject(subject); err == nil {
			t.Errorf("%q is version %d of %v", subject, version, stream)
		}
	}
}

func TestDeliveredAs(t *testing.T) {
	for reply, want := range map[string][2]uint64{
		"$JS.ACK.EVENTS.c.1.22.33.1700000000.44":            {22, 33},
		"$JS.ACK.hub.HASH.EVENTS.c.1.22.33.1700000000.44":   {22, 33},
		"$JS.ACK._.HASH.EVENTS.c.1.22.33.1700000000.44.tok": {22, 33},
	} {
		position, delivery, ok := deliveredAs(reply)
		if !ok || position != want[0] || delivery != want[1] {
			t.Errorf("%s: %d %d %v", reply, position, delivery, ok)
		}
	}
	for _, reply := range []string{"", "$JS.ACK.", "_INBOX.x", "$JS.ACK.EVENTS.c.1.x.33.1700000000.44"} {
		if _, _, ok := deliveredAs(reply); ok {
			t.Errorf("%q was read", reply)
		}
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	before := ""
	for range 10_000 {
		id := NewID(domain.PrefixEvent)
		if !domain.ValidID(domain.PrefixEvent, id) || seen[id] {
			t.Fatal(id)
		}
		if id < before {
			t.Fatalf("%s came after %s", id, before)
		}
		seen[id], before = true, id
	}
}

// FuzzDecode feeds the decoder payloads whose hash and headers are right. It
// may refuse them; what it accepts must mean something, and the same after
// being written and read again.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.v*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files", err)
	}
	commit := sampleCommit()
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		event, _, err := kinds.decode([]byte(name), data)
		if err != nil {
			f.Fatal(err)
		}
		commit.Events[1].Event = event
		r, err := kinds.encodeCommit(commit)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(r.payload, "member_joined.v1,"+name, r.header[headerTime][0])
	}
	f.Fuzz(func(t *testing.T, payload []byte, types, at string) {
		read := func(payload []byte, header map[string][]string) (Commit, error) {
			m, err := newMessage(commit.Stream.subject(2), 7, header, payload)
			if err != nil {
				t.Fatal(err)
			}
			return m.Decode()
		}
		hash := hashOf(commit.Stream.subject(2), payload)
		got, err := read(payload, map[string][]string{
			headerSchema: {schema}, headerHash: {hash.String()}, headerTypes: {types}, headerTime: {at},
			headerCommit: {string(commit.ID())}, headerRequest: {commit.RequestID}, headerCausation: {string(commit.Causation)},
		})
		if err != nil {
			if !errors.Is(err, ErrUnreadable) {
				t.Fatal(err)
			}
			return
		}
		if len(got.Events) == 0 {
			t.Fatal("a commit without events")
		}
		for _, recorded := range got.Events {
			if recorded.Event == nil {
				t.Fatal("an empty event")
			}
		}
		r, err := kinds.encodeCommit(&got)
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		again, err := read(r.payload, r.header)
		if err != nil {
			t.Fatal(err)
		}
		got.Hash, again.Hash = Hash{}, Hash{}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
