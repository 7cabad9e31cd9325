package eventstore

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// LoadMasterKey reads the master key from a file: 32 bytes as base64 or
// hexadecimal text. Nobody but its owner may be able to read the file.
//
// With create a new key is made when there is no such file. Without this file
// personal data is lost for good, so it belongs into a backup, apart from the
// data.
func LoadMasterKey(path string, create bool) ([32]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := createMasterKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return [32]byte{}, fmt.Errorf("eventstore: a master key can't be made at %s: %w; the folder must exist and be writable", path, err)
		}
		file, err = os.Open(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return [32]byte{}, fmt.Errorf("eventstore: there is no master key at %s; "+
			"give the file that holds it, or make one with: (umask 077; head -c 32 /dev/urandom | base64 > %s)", path, path)
	case err != nil:
		return [32]byte{}, fmt.Errorf("eventstore: the master key can't be read: %w", err)
	}
	defer file.Close()
	key, err := readMasterKey(file)
	if err != nil {
		return [32]byte{}, fmt.Errorf("eventstore: the master key %s: %w", path, err)
	}
	return key, nil
}

// maxMasterKeyText is generous: 64 digits and a line break are the most.
const maxMasterKeyText = 256

func readMasterKey(file *os.File) (key [32]byte, err error) {
	info, err := file.Stat()
	switch {
	case err != nil:
		return key, err
	case !info.Mode().IsRegular():
		return key, errors.New("is not a file")
	case info.Mode().Perm()&0o077 != 0:
		return key, fmt.Errorf("others may read or change it (mode %04o); make it private with: chmod 600 %s", info.Mode().Perm(), file.Name())
	}
	text, err := io.ReadAll(io.LimitReader(file, maxMasterKeyText+1))
	if err != nil {
		return key, err
	}
	text = bytes.TrimSpace(text)
	decoded, err := hex.DecodeString(string(text))
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if err != nil {
			decoded, err = encoding.DecodeString(string(text))
		}
	}
	switch {
	case err != nil || len(text) > maxMasterKeyText:
		return key, errors.New("is neither base64 nor hexadecimal text") // the decoders' errors tell of the content
	case len(decoded) != len(key):
		return key, fmt.Errorf("has %d bytes and must have %d", len(decoded), len(key))
	case bytes.Equal(decoded, make([]byte, len(key))):
		return key, errors.New("is all zeros")
	}
	return [32]byte(decoded), nil
}

// createMasterKey makes a key that is on the disk, under its name and whole,
// before anything is written with it. fs.ErrExist when another was faster.
func createMasterKey(path string) (err error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(folder, ".master-key-*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temporary.Name())) }()
	var key [32]byte
	rand.Read(key[:])
	_, err = fmt.Fprintln(temporary, base64.StdEncoding.EncodeToString(key[:]))
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, never replaces a key that is in use.
	if err := os.Link(temporary.Name(), path); err != nil {
		return err
	}
	directory, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
