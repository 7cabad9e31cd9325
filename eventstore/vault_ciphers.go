package eventstore

import (
	"crypto/cipher"
	"hash/maphash"
	"sync/atomic"
)

// ciphers remembers ciphers of data keys: making one costs more than what is
// opened with it. It is asked by whoever has the key's block, and so can't give
// what has been erased: a block without a key is another block than the one
// that had it.
type ciphers struct {
	seed  maphash.Seed
	slots [ciphersInMemory]atomic.Pointer[madeCipher]
}

type madeCipher struct {
	block *block
	index int
	aead  cipher.AEAD
}

// ciphersInMemory is how many are remembered at most, some 1.3 KiB each. A page
// of a list needs up to a hundred.
const ciphersInMemory = 4096

func newCiphers() *ciphers { return &ciphers{seed: maphash.MakeSeed()} }

// of gives the cipher of the key at an index of a block.
func (c *ciphers) of(key string, b *block, index int) (cipher.AEAD, error) {
	slot := &c.slots[maphash.String(c.seed, key)%ciphersInMemory]
	if made := slot.Load(); made != nil && made.block == b && made.index == index {
		return made.aead, nil
	}
	aead, err := newGCM(&b.keys[index])
	if err == nil {
		slot.Store(&madeCipher{b, index, aead})
	}
	return aead, err
}

// clear forgets everything, so that what was erased doesn't stay in memory.
func (c *ciphers) clear() {
	for i := range c.slots {
		c.slots[i].Store(nil)
	}
}
