package eventstore

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// readPlain reads an event in its plain form or not at all.
func readPlain(event reflect.Type, data []byte) (any, bool) {
	into := reflect.New(event).Elem()
	ok := plainFormOf(event).read(data, into)
	return into.Interface(), ok
}

// What is written most has to be read the short way, or that is for nothing.
func TestPlainFormReads(t *testing.T) {
	for _, event := range []domain.Event{
		domain.TeamDeleted{}, domain.TeamRenamed{From: "Acme", To: "Acme 2 (new)"},
		domain.MemberInvited{Invitation: sampleInvitation, Address: sampleAddress, Email: "kb.1~ZW1haWw", Role: "ADMIN", ExpiresAt: sampleTime},
		domain.MemberJoined{User: sampleUser, Invitation: sampleInvitation, Role: "ADMIN"},
		samples["role_changed.v1"], samples["user_registered.v1"], samples["session_started.v1"],
		samples["session_ended.v1"], samples["invitation_delivery.v1"], samples["passkey_used.v1"],
	} {
		_, data, err := kinds.encode(event)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := readPlain(reflect.TypeOf(event), data)
		if diff := cmp.Diff(any(event), got); !ok || diff != "" {
			t.Errorf("%s: read: %v; (-want +got):\n%s", data, ok, diff)
		}
	}
}

// everyPlain has a field of each type that events have.
type everyPlain struct {
	Text   domain.UserID     `json:"text"`
	Number int               `json:"number,omitempty"`
	Count  uint32            `json:"count"`
	Set    bool              `json:"set,omitempty"`
	At     time.Time         `json:"at,omitzero"`
	List   []domain.Sealed   `json:"list,omitempty"`
	Object domain.Overrides  `json:"object,omitzero"`
	Due    *time.Time        `json:"due,omitempty"`
	Own    json64            `json:"own,omitempty"`
	Map    map[string]string `json:"map,omitempty"`
}

// json64 is a text with a JSON of its own.
type json64 string

func (j *json64) UnmarshalText(text []byte) error {
	*j = json64("own " + string(text))
	return nil
}

var plainSeeds = []string{
	`{"text":"a b","number":12,"count":0,"set":true,"at":"2026-03-01T09:00:00.5Z"}`,
	`{"text":"","count":999999999,"set":false,"at":"2026-03-01T09:00:00+01:00"}`,
	`{}`, `{"count":7}`,
}

var otherSeeds = []string{
	`{"text":"a\"b"}`, `{"text":"é"}`, `{"text":"a","text":"b"}`, `{"TEXT":"a"}`, `{"text":null}`, `{"text":1}`,
	`{"count":1,"text":"a"}`, `{"text":"a" }`, `{ "text":"a"}`, `{"text":"a",}`, `{,"text":"a"}`, `{"text":"a"}}`, `{"text":"a`, `{"text":`,
	`{"number":-1}`, `{"number":01}`, `{"number":1.5}`, `{"number":1e3}`, `{"count":4294967296}`, `{"number":}`,
	`{"at":"2026-03-01"}`, `{"at":""}`, `{"at":null}`, `{"set":tru}`, `{"set":1}`,
	`{"list":["a"]}`, `{"object":{}}`, `{"due":"2026-03-01T09:00:00Z"}`, `{"own":"a"}`, `{"other":"a"}`, `[]`, `null`, ``,
}

// FuzzPlainForm checks that whatever is read the short way is what the JSON
// decoder makes of it.
func FuzzPlainForm(f *testing.F) {
	for _, seed := range slices.Concat(plainSeeds, otherSeeds) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := readPlain(reflect.TypeFor[everyPlain](), data)
		if !ok {
			return
		}
		var want everyPlain
		if err := unmarshal(data, &want); err != nil {
			t.Fatalf("%s was read as %+v, but isn't right: %v", data, got, err)
		}
		if diff := cmp.Diff(any(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", data, diff)
		}
	})
}

func TestPlainFormGivesUp(t *testing.T) {
	for _, seed := range plainSeeds {
		if _, ok := readPlain(reflect.TypeFor[everyPlain](), []byte(seed)); !ok {
			t.Errorf("%s wasn't read", seed)
		}
	}
	for _, seed := range otherSeeds {
		if got, ok := readPlain(reflect.TypeFor[everyPlain](), []byte(seed)); ok {
			t.Errorf("%s was read as %+v", seed, got)
		}
	}
}
