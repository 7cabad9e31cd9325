package eventstore

import (
	"testing"

	"roster/domain"
)

func BenchmarkVaultSeal(b *testing.B) {
	_, js := startTestServer(b)
	v := newTestVault(b, js)
	key := must[string](b)(v.NewKey(b.Context()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Seal(b.Context(), key, "inv_01h455vb4pex5vsknk084sn02q/email", "ann.smith@example.com"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVaultOpen(b *testing.B) {
	_, js := startTestServer(b)
	v := newTestVault(b, js)
	key := must[string](b)(v.NewKey(b.Context()))
	sealed := must[domain.Sealed](b)(v.Seal(b.Context(), key, "inv_01h455vb4pex5vsknk084sn02q/email", "ann.smith@example.com"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Open(b.Context(), sealed, "inv_01h455vb4pex5vsknk084sn02q/email"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVaultLoad is Open when the block isn't in memory.
func BenchmarkVaultLoad(b *testing.B) {
	_, js := startTestServer(b)
	v := newTestVault(b, js)
	key := must[string](b)(v.NewKey(b.Context()))
	sealed := must[domain.Sealed](b)(v.Seal(b.Context(), key, "p", "ann.smith@example.com"))
	b.ReportAllocs()
	for b.Loop() {
		v.blocks.turn(true)
		if _, err := v.Open(b.Context(), sealed, "p"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVaultNewKey takes keys as fast as they are made, on the disk.
func BenchmarkVaultNewKey(b *testing.B) {
	_, js := startTestServer(b)
	v := newTestVault(b, js)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.NewKey(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVaultErase(b *testing.B) {
	_, js := startTestServer(b)
	v := newTestVault(b, js)
	for b.Loop() {
		key, err := v.NewKey(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Erase(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVaultMAC(b *testing.B) {
	v := &Vault{keys: keyring{master: testMaster}}
	team, invitation := make([]byte, 16), make([]byte, 16)
	b.ReportAllocs()
	for b.Loop() {
		v.MAC("link", team, invitation)
	}
}

func BenchmarkAddress(b *testing.B) {
	v := &Vault{keys: keyring{master: testMaster}}
	b.ReportAllocs()
	for b.Loop() {
		v.Address("Ann.Smith@Example.com")
	}
}
