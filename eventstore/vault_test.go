package eventstore

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"roster/domain"
)

var testMaster = [32]byte{1, 2, 3}

func newTestVault(t testing.TB, js jetstream.JetStream) *Vault {
	t.Helper()
	v, err := openVault(t.Context(), js, 1, testMaster)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestVaultSealsAndOpens(t *testing.T) {
	_, js := startTestServer(t)
	v := newTestVault(t, js)
	ctx := t.Context()
	key := must[string](t)(v.NewKey(ctx))

	for _, text := range []string{"", "a", "ann@example.com", "Ánn\n~.", strings.Repeat("x", 5000)} {
		sealed := must[domain.Sealed](t)(v.Seal(ctx, key, "inv_1/email", text))
		if len(text) > 5 && strings.Contains(string(sealed), text) {
			t.Errorf("%q contains %q", sealed, text)
		}
		if got := must[string](t)(v.Open(ctx, sealed, "inv_1/email")); got != text {
			t.Errorf("opened %q, want %q", got, text)
		}
	}

	once, again := must[domain.Sealed](t)(v.Seal(ctx, key, "p", "same")), must[domain.Sealed](t)(v.Seal(ctx, key, "p", "same"))
	if once == again {
		t.Error("the same text sealed twice gives the same sealed text")
	}
}

func TestVaultRefusesWhatWasChangedOrMoved(t *testing.T) {
	_, js := startTestServer(t)
	v := newTestVault(t, js)
	ctx := t.Context()
	key, other := must[string](t)(v.NewKey(ctx)), must[string](t)(v.NewKey(ctx))
	sealed := string(must[domain.Sealed](t)(v.Seal(ctx, key, "inv_1/email", "ann@example.com")))
	_, ciphertext, _ := strings.Cut(sealed, "~")

	for name, c := range map[string]struct {
		sealed, place string
		want          error
	}{
		"another place":        {sealed, "inv_2/email", ErrTampered},
		"no place":             {sealed, "", ErrTampered},
		"another person's key": {other + "~" + ciphertext, "inv_1/email", ErrTampered},
		"last byte changed":    {sealed[:len(sealed)-2] + "AA", "inv_1/email", ErrTampered},
		"cut short":            {sealed[:len(sealed)-8], "inv_1/email", ErrTampered},
		"cut to nothing":       {key + "~", "inv_1/email", ErrTampered},
		"padded":               {sealed + "=", "inv_1/email", ErrTampered},
		"no key":               {ciphertext, "inv_1/email", ErrTampered},
		"empty key":            {"~" + ciphertext, "inv_1/email", ErrUnknownKey},
		"index spelt oddly":    {strings.Replace(key, ".", ".0", 1) + "~" + ciphertext, "inv_1/email", ErrUnknownKey},
		"index too high":       {key[:17] + "64~" + ciphertext, "inv_1/email", ErrUnknownKey},
		"wildcard for a key":   {strings.Repeat("*", 16) + ".0~" + ciphertext, "inv_1/email", ErrUnknownKey},
		"key never made":       {"AAAAAAAAAAAAAAAA.0~" + ciphertext, "inv_1/email", ErrUnknownKey},
	} {
		_, err := v.Open(ctx, domain.Sealed(c.sealed), c.place)
		if !errors.Is(err, c.want) || errors.Is(err, ErrErased) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), ciphertext) {
			t.Errorf("%s: the error repeats the ciphertext", name)
		}
	}
	if _, err := v.Seal(ctx, "AAAAAAAAAAAAAAAA.0", "p", "x"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("sealing under a key never made: %v", err)
	}
}

// Every byte of sealed text matters, and so does every byte of the place.
func TestVaultNoticesAnyChange(t *testing.T) {
	_, js := startTestServer(t)
	v := newTestVault(t, js)
	ctx := t.Context()
	key := must[string](t)(v.NewKey(ctx))
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.StringN(1, 40, 200).Draw(r, "text")
		place := rapid.StringN(0, 20, 60).Draw(r, "place")
		sealed, err := v.Seal(ctx, key, place, text)
		if err != nil {
			r.Fatal(err)
		}
		changed := []byte(sealed)
		at := rapid.IntRange(0, len(changed)-1).Draw(r, "at")
		changed[at] ^= byte(rapid.IntRange(1, 255).Draw(r, "by"))
		if got, err := v.Open(ctx, domain.Sealed(changed), place); err == nil {
			r.Fatalf("opened %q to %q", changed, got)
		}
		if got, err := v.Open(ctx, sealed, place); err != nil || got != text {
			r.Fatalf("%q: %q, %v", sealed, got, err)
		}
	})
}

func TestVaultKeysAreNewAndDurable(t *testing.T) {
	_, js := startTestServer(t)
	ctx := t.Context()
	v := newTestVault(t, js)
	reader := newTestVault(t, js) // has nothing in memory

	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				key, err := v.NewKey(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[key] {
					t.Errorf("%s was given twice", key)
				}
				seen[key] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for key := range seen {
		sealed := must[domain.Sealed](t)(v.Seal(ctx, key, "p", "x"))
		if got := must[string](t)(reader.Open(ctx, sealed, "p")); got != "x" {
			t.Fatalf("the other process reads %q", got)
		}
	}
	// Beside two of its own making.
	if loaded := len(reader.blocks.entries); loaded > 800/blockSize+1+2 {
		t.Errorf("%d blocks were loaded for 800 keys", loaded)
	}
}

func TestVaultSurvivesRestart(t *testing.T) {
	_, js := startTestServer(t)
	ctx := t.Context()
	first := must[*Vault](t)(openVault(ctx, js, 1, testMaster))
	key := must[string](t)(first.NewKey(ctx))
	sealed := must[domain.Sealed](t)(first.Seal(ctx, key, "p", "x"))
	first.Close()
	if _, err := drained(ctx, first); err == nil {
		t.Error("a closed vault still makes keys")
	}

	second := newTestVault(t, js)
	if got := must[string](t)(second.Open(ctx, sealed, "p")); got != "x" {
		t.Errorf("read %q", got)
	}
	if address := first.Address("a@b.c"); address != second.Address("a@b.c") {
		t.Error("addresses changed")
	}
}

// drained asks for keys until there are none in the pool.
func drained(ctx context.Context, v *Vault) (string, error) {
	for range 2 * blockSize {
		if key, err := v.NewKey(ctx); err != nil {
			return key, err
		}
	}
	return "", nil
}

func TestVaultRefusesAnotherMasterKey(t *testing.T) {
	_, js := startTestServer(t)
	newTestVault(t, js)
	_, err := openVault(t.Context(), js, 1, [32]byte{9})
	if !errors.Is(err, ErrMasterKey) || !strings.Contains(err.Error(), "master.key") {
		t.Errorf("%v", err)
	}
}

func TestVaultOpensOnceForManyAtATime(t *testing.T) {
	server := newTestServer(t)
	errs := make(chan error, 8)
	vaults := make(chan *Vault, 8)
	for range 8 {
		_, js := server.connect()
		go func() {
			v, err := openVault(t.Context(), js, 1, testMaster)
			errs <- err
			vaults <- v
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		(<-vaults).Close()
	}
}

func TestVaultRefusesAStreamThatForgets(t *testing.T) {
	_, js := startTestServer(t)
	config := keysConfig(1)
	config.MaxMsgsPerSubject, config.DenyPurge = 1, false
	must[jetstream.Stream](t)(js.CreateStream(t.Context(), config))
	_, err := openVault(t.Context(), js, 1, testMaster)
	if err == nil || !strings.Contains(err.Error(), "MaxMsgsPerSubject") || !strings.Contains(err.Error(), "DenyPurge") {
		t.Errorf("%v", err)
	}
}

func TestVaultErases(t *testing.T) {
	server := newTestServer(t)
	ctx := t.Context()
	_, js := server.connect()
	_, js2 := server.connect()
	v, other := newTestVault(t, js), newTestVault(t, js2)

	var keys []string
	var sealed []domain.Sealed
	for range 3 * blockSize {
		key := must[string](t)(v.NewKey(ctx))
		keys = append(keys, key)
		sealed = append(sealed, must[domain.Sealed](t)(v.Seal(ctx, key, "p", "x")))
		must[string](t)(other.Open(ctx, sealed[len(sealed)-1], "p"))
	}
	// Two of one block, one of another, one twice.
	erased := []int{3, 5, 100, 3}
	var ids []string
	for _, i := range erased {
		ids = append(ids, keys[i])
	}
	position := must[uint64](t)(v.Erase(ctx, ids...))
	if last := must[uint64](t)(v.Last(ctx)); position == 0 || position > last {
		t.Fatalf("position %d of %d", position, last)
	}
	if err := other.Reached(ctx, position); err != nil {
		t.Fatal(err)
	}
	for name, vault := range map[string]*Vault{"the one that erased": v, "another": other} {
		for i := range vault.ciphers.slots {
			if vault.ciphers.slots[i].Load() != nil {
				t.Fatalf("%s still has a cipher in memory", name)
			}
		}
	}
	fresh := newTestVault(t, js)
	for name, vault := range map[string]*Vault{"the one that erased": v, "another": other, "a new one": fresh} {
		for i := range keys {
			got, err := vault.Open(ctx, sealed[i], "p")
			if gone := slices.Contains(erased, i); gone && !errors.Is(err, ErrErased) || !gone && (err != nil || got != "x") {
				t.Errorf("%s: key %d: %q, %v", name, i, got, err)
			}
		}
		if _, err := vault.Seal(ctx, keys[3], "p", "x"); !errors.Is(err, ErrErased) {
			t.Errorf("%s seals under an erased key: %v", name, err)
		}
	}

	again := must[uint64](t)(v.Erase(ctx, ids...))
	if again != position {
		t.Errorf("erasing again gave position %d, want %d", again, position)
	}
	if _, err := v.Erase(ctx, "AAAAAAAAAAAAAAAA.0"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("erasing what never was: %v", err)
	}
	if position, err := v.Erase(ctx); position != 0 || err != nil {
		t.Errorf("erasing nothing: %d, %v", position, err)
	}
}

// After Erase no file of the stream has the bytes of the wrapped key, and
// those of its neighbours are all there.
func TestVaultEraseLeavesNoByte(t *testing.T) {
	server := newTestServer(t)
	ctx := t.Context()
	_, js := server.connect()
	v := newTestVault(t, js)
	key := must[string](t)(v.NewKey(ctx))
	id, index, err := splitKey(key)
	if err != nil {
		t.Fatal(err)
	}
	message := must[leaderMessage](t)(v.askForBlock(ctx, id))
	wrapped := map[int][]byte{}
	if err := eachWrapped(message.Data, func(i int, entry []byte) error {
		wrapped[i] = entry[1:]
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if found := filesWith(t, server.dir, wrapped[index]); len(found) != 1 {
		t.Fatalf("before: the wrapped key is in %q", found)
	}

	must[uint64](t)(v.Erase(ctx, key))

	if found := filesWith(t, server.dir, wrapped[index]); len(found) != 0 {
		t.Errorf("the wrapped key is still in %q", found)
	}
	if found := filesWith(t, server.dir, wrapped[index][sealNonce:sealNonce+16]); len(found) != 0 {
		t.Errorf("a part of the wrapped key is still in %q", found)
	}
	for i := range wrapped {
		if i != index && len(filesWith(t, server.dir, wrapped[i])) != 1 {
			t.Errorf("key %d of the block isn't on the disk exactly once", i)
		}
	}
}

// A process that dies between storing the new block and overwriting the old
// one leaves the key on the disk; erasing again completes it.
func TestVaultEraseCompletesAnInterruptedOne(t *testing.T) {
	server := newTestServer(t)
	ctx := t.Context()
	_, js := server.connect()
	v := newTestVault(t, js)
	key := must[string](t)(v.NewKey(ctx))
	id, index, _ := splitKey(key)
	message := must[leaderMessage](t)(v.askForBlock(ctx, id))
	entry := message.Data[1+index*blockEntry:][:blockEntry]
	without := slices.Concat(message.Data[:1+index*blockEntry], message.Data[1+(index+1)*blockEntry:])
	position := must[uint64](t)(v.storeBlock(ctx, id, without, message.Sequence))

	if len(filesWith(t, server.dir, entry[1:])) != 1 {
		t.Fatal("the wrapped key isn't on the disk")
	}
	if got := must[uint64](t)(v.Erase(ctx, key)); got != position {
		t.Errorf("position %d, want %d", got, position)
	}
	if found := filesWith(t, server.dir, entry[1:]); len(found) != 0 {
		t.Errorf("the wrapped key is still in %q", found)
	}
}

func TestVaultErasesConcurrently(t *testing.T) {
	server := newTestServer(t)
	ctx := t.Context()
	var vaults []*Vault
	for range 4 {
		_, js := server.connect()
		vaults = append(vaults, newTestVault(t, js))
	}
	var keys []string
	for range blockSize {
		keys = append(keys, must[string](t)(vaults[0].NewKey(ctx)))
	}
	sealed := must[domain.Sealed](t)(vaults[0].Seal(ctx, keys[40], "p", "x"))
	var wg sync.WaitGroup
	for i, key := range keys[:32] {
		wg.Go(func() {
			if _, err := vaults[i%len(vaults)].Erase(ctx, key); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	fresh := newTestVault(t, vaults[0].js)
	for i, key := range keys {
		_, err := fresh.Seal(ctx, key, "p", "x")
		if gone := i < 32; gone && !errors.Is(err, ErrErased) || !gone && err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
	if got := must[string](t)(fresh.Open(ctx, sealed, "p")); got != "x" {
		t.Errorf("read %q", got)
	}
	id, _, _ := splitKey(keys[0])
	last := must[leaderMessage](t)(fresh.askForBlock(ctx, id))
	first := must[leaderMessage](t)(askForMessage(ctx, fresh.js, keysStream, leaderQuestion{Sequence: 1, NextOf: keysPrefix + id}))
	if first.Sequence != last.Sequence {
		t.Errorf("old messages of the block are left: %d before %d", first.Sequence, last.Sequence)
	}
}

// A block that was being read while one of its keys was erased must not stay
// in memory.
func TestVaultDropsWhatWasReadDuringAnErasure(t *testing.T) {
	server := newTestServer(t)
	ctx := t.Context()
	_, js := server.connect()
	_, js2 := server.connect()
	v, other := newTestVault(t, js), newTestVault(t, js2)
	key := must[string](t)(v.NewKey(ctx))
	sealed := must[domain.Sealed](t)(v.Seal(ctx, key, "p", "x"))
	id, _, _ := splitKey(key)

	// other has read the block and not yet kept it when the erasure passes.
	read, goOn, kept := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		_, err := other.blocks.get(ctx, id, func(ctx context.Context) (*block, uint64, error) {
			message, err := other.askForBlock(ctx, id)
			close(read)
			<-goOn
			if err != nil {
				return nil, 0, err
			}
			b, err := other.unwrap(id, message.Data)
			return b, message.Sequence, err
		})
		kept <- err
	}()
	<-read
	position := must[uint64](t)(v.Erase(ctx, key))
	if err := other.Reached(ctx, position); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if err := <-kept; err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(ctx, sealed, "p"); !errors.Is(err, ErrErased) {
		t.Errorf("opened under an erased key: %v", err)
	}
}

func TestVaultSaysWhyThereAreNoKeys(t *testing.T) {
	server := newTestServer(t)
	conn, js := server.connect()
	v := newTestVault(t, js)
	conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var err error
	for err == nil { // what is in the pool is still good
		_, err = v.NewKey(ctx)
	}
	if !strings.Contains(err.Error(), "no new data key") {
		t.Errorf("%v", err)
	}
}

func FuzzVaultBlock(f *testing.F) {
	v := &Vault{keys: keyring{master: testMaster}}
	payload, err := v.wrap("AAAAAAAAAAAAAAAA", &block{here: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Add([]byte{})
	f.Add([]byte{blockFormat})
	f.Fuzz(func(t *testing.T, payload []byte) {
		b, err := v.unwrap("AAAAAAAAAAAAAAAA", payload)
		if err == nil && b.here != 0 && b.here != 5 && b.here != 1 && b.here != 4 {
			t.Errorf("forged keys %b", b.here)
		}
	})
}

// filesWith lists the files below a folder that contain the bytes.
func filesWith(t *testing.T, folder string, part []byte) (found []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, part) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
