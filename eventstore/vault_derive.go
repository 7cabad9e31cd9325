package eventstore

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"roster/domain"
)

// keyring derives keys from the master key, one for each purpose, so that
// what one purpose reveals is worth nothing to another. Those for MACs and
// opaque data are remembered: their purposes are constants of the program.
type keyring struct {
	master [32]byte
	macs   sync.Map // purpose → *sync.Pool of hash.Hash
	opaque sync.Map // purpose → cipher.AEAD
}

// derive gives the key for a use and a detail of it. The use has no slash.
func (k *keyring) derive(use, detail string) [32]byte {
	key, err := hkdf.Key(sha256.New, k.master[:], nil, "roster/v1/"+use+"/"+detail, 32)
	if err != nil {
		panic(err) // only for more than 8,160 bytes
	}
	return [32]byte(key)
}

// mac gives the keyed hashes of a purpose, ready to be used. A used one is
// put back: keying it costs more than hashing.
func (k *keyring) mac(purpose string) *sync.Pool {
	if pool, ok := k.macs.Load(purpose); ok {
		return pool.(*sync.Pool)
	}
	key := k.derive("mac", purpose)
	pool, _ := k.macs.LoadOrStore(purpose, &sync.Pool{New: func() any { return &keyedHash{Hash: hmac.New(sha256.New, key[:])} }})
	return pool.(*sync.Pool)
}

// opaqueAEAD gives the cipher of a purpose.
func (k *keyring) opaqueAEAD(purpose string) cipher.AEAD {
	if aead, ok := k.opaque.Load(purpose); ok {
		return aead.(cipher.AEAD)
	}
	key := k.derive("opaque", purpose)
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // only for keys of another length
	}
	k.opaque.Store(purpose, aead)
	return aead
}

type keyedHash struct {
	hash.Hash
	length [8]byte
	sum    [32]byte
}

// MAC gives a keyed hash (HMAC-SHA256) of parts, under a key of its own for
// each purpose. Each part is hashed with its length, so ("ab", "c") and ("a",
// "bc") differ. A purpose is a constant of the program, never data.
func (v *Vault) MAC(purpose string, parts ...[]byte) [32]byte {
	pool := v.keys.mac(purpose)
	h := pool.Get().(*keyedHash)
	defer pool.Put(h)
	h.Reset()
	for _, part := range parts {
		binary.BigEndian.PutUint64(h.length[:], uint64(len(part)))
		h.Write(h.length[:])
		h.Write(part)
	}
	h.Sum(h.sum[:0])
	return h.sum
}

// Address stands for an e-mail address. All spellings that NormaliseAddress
// makes one have the same; what it refuses has one too, which is no address's.
func (v *Vault) Address(email string) domain.AddressID {
	var sum [32]byte
	if address, err := NormaliseAddress(email); err == nil {
		sum = v.MAC("address", []byte(address))
	} else {
		sum = v.MAC("no address", []byte(email))
	}
	return domain.AddressID(hex.EncodeToString(sum[:]))
}

// SealOpaque encrypts data that a client or a store keeps without reading it,
// such as a page token, under a key of its own for each purpose and bound to
// aad. There may be any number of such texts: XChaCha20-Poly1305 has nonces
// long enough to be random for ever, unlike AES-GCM.
func (v *Vault) SealOpaque(purpose string, plaintext []byte, aad string) []byte {
	aead := v.keys.opaqueAEAD(purpose)
	out := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plaintext)+chacha20poly1305.Overhead)
	rand.Read(out)
	return aead.Seal(out, out, plaintext, []byte(aad))
}

// OpenOpaque gives back what SealOpaque has sealed; ErrTampered when it wasn't
// sealed for this purpose and aad.
func (v *Vault) OpenOpaque(purpose string, sealed []byte, aad string) ([]byte, error) {
	if len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, ErrTampered
	}
	nonce, text := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	plaintext, err := v.keys.opaqueAEAD(purpose).Open(nil, nonce, text, []byte(aad))
	if err != nil {
		return nil, ErrTampered
	}
	return plaintext, nil
}
