package eventstore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestVaultMasterKeyForms(t *testing.T) {
	want := [32]byte(bytes.Repeat([]byte{0xfb, 0xef}, 16))
	for name, text := range map[string]string{
		"base64":     base64.StdEncoding.EncodeToString(want[:]),
		"unpadded":   base64.RawStdEncoding.EncodeToString(want[:]),
		"url":        base64.URLEncoding.EncodeToString(want[:]),
		"raw url":    base64.RawURLEncoding.EncodeToString(want[:]),
		"hex":        hex.EncodeToString(want[:]),
		"upper hex":  strings.ToUpper(hex.EncodeToString(want[:])),
		"line break": "\n " + base64.StdEncoding.EncodeToString(want[:]) + "\r\n",
	} {
		path := filepath.Join(t.TempDir(), "master.key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := LoadMasterKey(path, false); err != nil || got != want {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestVaultMasterKeyErrors(t *testing.T) {
	const good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	for name, c := range map[string]struct {
		text, says string
		mode       os.FileMode
	}{
		"empty":         {"", "has 0 bytes", 0o600},
		"short":         {"zzzz", "has 3 bytes and must have 32", 0o600},
		"long":          {good[:43] + good, "neither base64 nor hexadecimal", 0o600},
		"long hex":      {strings.Repeat("ab", 33), "has 33 bytes", 0o600},
		"not text":      {"\x00\x01 secret", "neither base64 nor hexadecimal", 0o600},
		"endless":       {strings.Repeat("ab", 10_000), "neither base64 nor hexadecimal", 0o600},
		"zeros":         {strings.Repeat("00", 32), "all zeros", 0o600},
		"for the group": {good, "chmod 600", 0o640},
		"for all":       {good, "chmod 600", 0o604},
	} {
		path := filepath.Join(t.TempDir(), "master.key")
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadMasterKey(path, true)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), good)) {
			t.Errorf("%s: the error tells of the content: %v", name, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "master.key")
	if _, err := LoadMasterKey(missing, false); err == nil || !strings.Contains(err.Error(), "there is no master key at "+missing) {
		t.Errorf("missing: %v", err)
	}
	if _, err := LoadMasterKey(t.TempDir(), true); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("a folder: %v", err)
	}
	under := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(under, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMasterKey(filepath.Join(under, "master.key"), true); err == nil {
		t.Error("made a key in what is no folder")
	}
}

func TestVaultMasterKeyIsMadeOnce(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(folder, "master.key")
	var mu sync.Mutex
	keys := map[[32]byte]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			key, err := LoadMasterKey(path, true)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			keys[key] = true
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(keys) != 1 || keys[[32]byte{}] {
		t.Errorf("%d keys were given", len(keys))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
