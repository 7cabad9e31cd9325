package eventstore

import (
	"bytes"
	"errors"
	"testing"
)

func TestVaultMACIsUnambiguous(t *testing.T) {
	v := &Vault{keys: keyring{master: testMaster}}
	sums := map[[32]byte]string{}
	for name, sum := range map[string][32]byte{
		"ab c":            v.MAC("link", []byte("ab"), []byte("c")),
		"a bc":            v.MAC("link", []byte("a"), []byte("bc")),
		"abc":             v.MAC("link", []byte("abc")),
		"abc empty":       v.MAC("link", []byte("abc"), nil),
		"empty abc":       v.MAC("link", nil, []byte("abc")),
		"nothing":         v.MAC("link"),
		"empty":           v.MAC("link", nil),
		"another purpose": v.MAC("cursor", []byte("abc")),
		"another master":  (&Vault{}).MAC("link", []byte("abc")),
	} {
		if twin, taken := sums[sum]; taken {
			t.Errorf("%q and %q have the same MAC", name, twin)
		}
		sums[sum] = name
	}
	if v.MAC("link", []byte("abc")) != (&Vault{keys: keyring{master: testMaster}}).MAC("link", []byte("abc")) {
		t.Error("the same parts give different MACs")
	}
}

func TestVaultOpaque(t *testing.T) {
	v := &Vault{keys: keyring{master: testMaster}}
	sealed := v.SealOpaque("cursor", []byte("after 5"), "members of team 1")
	if got, err := v.OpenOpaque("cursor", sealed, "members of team 1"); err != nil || string(got) != "after 5" {
		t.Fatalf("%q, %v", got, err)
	}
	if bytes.Equal(sealed, v.SealOpaque("cursor", []byte("after 5"), "members of team 1")) {
		t.Error("the same text sealed twice gives the same bytes")
	}
	refused := func(name, purpose string, sealed []byte, aad string) {
		t.Helper()
		if _, err := v.OpenOpaque(purpose, sealed, aad); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused("another purpose", "answer", sealed, "members of team 1")
	refused("other data bound", "cursor", sealed, "members of team 2")
	refused("nothing", "cursor", nil, "")
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		refused("changed", "cursor", changed, "members of team 1")
		refused("cut", "cursor", sealed[:i], "members of team 1")
	}
}
