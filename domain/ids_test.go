package domain_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"roster/domain"
)

func uuid(t *testing.T, text string) (out [16]byte) {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != len(out) {
		t.Fatalf("%q is no UUID", text)
	}
	return [16]byte(b)
}

// TestTypeIDVectors are those of the TypeID specification, version 0.3.
func TestTypeIDVectors(t *testing.T) {
	for _, v := range []struct{ prefix, uuid, id string }{
		{"user", "00000000-0000-0000-0000-000000000000", "user_00000000000000000000000000"},
		{"user", "00000000-0000-0000-0000-000000000001", "user_00000000000000000000000001"},
		{"user", "00000000-0000-0000-0000-00000000000a", "user_0000000000000000000000000a"},
		{"user", "00000000-0000-0000-0000-000000000010", "user_0000000000000000000000000g"},
		{"user", "00000000-0000-0000-0000-000000000020", "user_00000000000000000000000010"},
		{"user", "ffffffff-ffff-ffff-ffff-ffffffffffff", "user_7zzzzzzzzzzzzzzzzzzzzzzzzz"},
		{"prefix", "0110c853-1d09-52d8-d73e-1194e95b5f19", "prefix_0123456789abcdefghjkmnpqrs"},
		{"prefix", "01890a5d-ac96-774b-bcce-b302099a8057", "prefix_01h455vb4pex5vsknk084sn02q"},
	} {
		want := uuid(t, v.uuid)
		if got := domain.FormatID(v.prefix, want); got != v.id {
			t.Errorf("%s is %s, want %s", v.uuid, got, v.id)
		}
		if got, err := domain.ParseID(v.prefix, v.id); err != nil || got != want {
			t.Errorf("%s is %x, %v; want %s", v.id, got, err, v.uuid)
		}
		if !domain.ValidID(v.prefix, v.id) {
			t.Errorf("%s isn't valid", v.id)
		}
	}
}

func TestMalformedIDs(t *testing.T) {
	for name, id := range map[string]string{
		"empty":                  "",
		"prefix only":            "user",
		"no suffix":              "user_",
		"another prefix":         "team_01h455vb4pex5vsknk084sn02q",
		"a longer prefix":        "users_01h455vb4pex5vsknk084sn02q",
		"no prefix":              "01h455vb4pex5vsknk084sn02q",
		"prefix in capitals":     "USER_01h455vb4pex5vsknk084sn02q",
		"too short":              "user_01h455vb4pex5vsknk084sn02",
		"too long":               "user_01h455vb4pex5vsknk084sn02qq",
		"more than 128 bits":     "user_8zzzzzzzzzzzzzzzzzzzzzzzzz",
		"far more":               "user_zzzzzzzzzzzzzzzzzzzzzzzzzz",
		"capitals":               "user_01H455VB4PEX5VSKNK084SN02Q",
		"the letter i":           "user_0iiiiiiiiiiiiiiiiiiiiiiiii",
		"the letter l":           "user_01h455vb4pex5vsknk084sn02l",
		"the letter o":           "user_01h455vb4pex5vsknk084sn02o",
		"the letter u":           "user_01h455vb4pex5vsknk084sn02u",
		"a hyphen":               "user_01h455vb4pex5vsknk084sn0-q",
		"a space before":         " user_01h455vb4pex5vsknk084sn02q",
		"a line break after":     "user_01h455vb4pex5vsknk084sn02q\n",
		"a line break within":    "user_01h455vb4pex5vsknk084sn02\n",
		"a first character < 0":  "user_/1h455vb4pex5vsknk084sn02q",
		"an accented letter":     "user_01h455vb4pex5vsknk084sné2",
		"a zero byte":            "user_01h455vb4pex5vsknk084sn02\x00",
		"a UUID":                 "user_01890a5d-ac96-774b-bcce-b302099a8057",
		"a second underscore":    "user__01h455vb4pex5vsknk084sn02q",
		"a subject of the store": "user_*",
	} {
		if got, err := domain.ParseID(domain.PrefixUser, id); err == nil {
			t.Errorf("%s: %q is %x", name, id, got)
		}
		if domain.ValidID(domain.PrefixUser, id) {
			t.Errorf("%s: %q is valid", name, id)
		}
	}
}

func TestIDsRoundTripAndSortAsTheirUUIDs(t *testing.T) {
	some := rapid.Custom(func(t *rapid.T) [16]byte {
		return [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := some.Draw(t, "a"), some.Draw(t, "b")
		idA, idB := domain.FormatID(domain.PrefixTeam, a), domain.FormatID(domain.PrefixTeam, b)
		if got, err := domain.ParseID(domain.PrefixTeam, idA); err != nil || got != a {
			t.Fatalf("%x became %s and then %x, %v", a, idA, got, err)
		}
		if bytes.Compare(a[:], b[:]) != strings.Compare(idA, idB) {
			t.Fatalf("%x and %x sort unlike %s and %s", a, b, idA, idB)
		}
	})
	last := ""
	for at := range 300 { // one after the other, in milliseconds
		id := domain.FormatID(domain.PrefixEvent, [16]byte{1, 0x89, 0x0a, 0x5d, byte(at >> 8), byte(at), 0x70})
		if id <= last {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
	}
}

// FuzzParseID demands that whatever is accepted is what FormatID writes: an id
// has one spelling.
func FuzzParseID(f *testing.F) {
	for _, seed := range []string{
		"user_01h455vb4pex5vsknk084sn02q", "user_7zzzzzzzzzzzzzzzzzzzzzzzzz", "user_8zzzzzzzzzzzzzzzzzzzzzzzzz", "user_", "", "user_01H455VB4PEX5VSKNK084SN02Q",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		uuid, err := domain.ParseID(domain.PrefixUser, id)
		if (err == nil) != domain.ValidID(domain.PrefixUser, id) {
			t.Fatalf("ParseID and ValidID disagree about %q", id)
		}
		if err == nil && domain.FormatID(domain.PrefixUser, uuid) != id {
			t.Fatalf("%q is accepted, and written as %s", id, domain.FormatID(domain.PrefixUser, uuid))
		}
	})
}
