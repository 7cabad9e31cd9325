package eventstore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"roster/domain"
)

// Errors that callers of the vault tell apart.
var (
	// ErrErased means that the data key was destroyed on purpose: what was
	// sealed under it can't be read by anyone any more.
	ErrErased = errors.New("eventstore: the data key has been erased")

	// ErrUnknownKey means that there never was such a data key, or that the
	// block that held it is lost. Unlike ErrErased it is always a fault.
	ErrUnknownKey = errors.New("eventstore: there is no such data key")

	// ErrTampered means that a ciphertext was changed, or stands in another
	// place than it was made for.
	ErrTampered = errors.New("eventstore: sealed data was changed or belongs elsewhere")

	// ErrMasterKey means that the master key isn't the one that the stored
	// data keys are wrapped with.
	ErrMasterKey = errors.New("eventstore: this is another master key than the one of the data")
)

// Vault seals personal data and holds the keys for it.
//
// Each person has a data key of their own. Data keys are made in blocks of 64,
// wrapped by the master key, one durable message of the stream KEYS a block,
// written before the first key of the block is handed out: a new person costs
// no write and no waiting, and no key is ever in use that a crash could lose.
//
// To erase a person is to erase the data key, see Erase. Sealed text stays
// where it is, in events and hashes that never change, and nobody can read it.
//
// The vault is safe for concurrent use.
type Vault struct {
	js     jetstream.JetStream
	keys   keyring
	blocks *loadCache[*block] // by block id
	tail   *tail

	ciphers *ciphers // of keys in use

	pool    chan string // ids of keys that nobody has yet
	refills atomic.Pointer[error]
	stop    context.CancelFunc
	stopped chan struct{}
}

const (
	// cachedBlocks is how many blocks are kept unwrapped, 2.2 KB each: the
	// keys of half a million people in some 20 MB, if they are in use.
	cachedBlocks = 8192

	// sealNonce is the length in bytes of the random nonce of AES-GCM. It is
	// safe for 2³² texts under one key; a person gives rise to far fewer.
	sealNonce = 12
)

// openVault makes sure of the stream KEYS and that the master key is the one
// of its data. ctx bounds the opening only; Close ends it.
func openVault(ctx context.Context, js jetstream.JetStream, replicas int, master [32]byte) (*Vault, error) {
	v := &Vault{
		js: js, keys: keyring{master: master},
		blocks: newLoadCache[*block](cachedBlocks), ciphers: newCiphers(),
		pool: make(chan string, blockSize),
	}
	if err := ensure(ctx, js, keysConfig(replicas), false); err != nil {
		return nil, err
	}
	if err := v.checkMaster(ctx); err != nil {
		return nil, err
	}
	var err error
	v.tail, err = startTail(ctx, js, tailConfig{
		stream:      keysStream,
		headersOnly: true,
		changed:     v.turn,
		message: func(subject string, position uint64, _ []byte) {
			v.forget(strings.TrimPrefix(subject, keysPrefix), position)
		},
	})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop, v.stopped = stop, make(chan struct{})
	go v.refill(run)
	return v, nil
}

// Close ends the watch and the making of keys. The vault must not be used any
// more. Keys that were made and not handed out are never used.
func (v *Vault) Close() {
	v.stop()
	<-v.stopped
	v.tail.close()
}

// NewKey gives the id of a data key that was never given before. It is
// durable already. It waits only when keys are asked for faster than they are
// made, about 100,000 a second, or can't be made.
func (v *Vault) NewKey(ctx context.Context) (string, error) {
	select {
	case key := <-v.pool:
		return key, nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	select {
	case key := <-v.pool:
		return key, nil
	case <-v.stopped:
		return "", errors.New("eventstore: no new data key: the vault is closed")
	case <-ctx.Done():
		err := ctx.Err()
		if trouble := v.refills.Load(); trouble != nil {
			err = *trouble
		}
		return "", fmt.Errorf("eventstore: no new data key: %w", err)
	}
}

// Seal encrypts text under a data key. The place says where it will stand and
// must be given again to open it, so that sealed text can't be moved from one
// field or aggregate to another. No text gives no sealed text.
func (v *Vault) Seal(ctx context.Context, key, place, plaintext string) (domain.Sealed, error) {
	if plaintext == "" {
		return "", nil
	}
	aead, err := v.cipher(ctx, key)
	if err != nil {
		return "", err
	}
	raw := make([]byte, sealNonce, sealNonce+len(plaintext)+aead.Overhead())
	rand.Read(raw)
	raw = aead.Seal(raw, raw, []byte(plaintext), sealedFor(key, place))
	text := make([]byte, 0, len(key)+1+base64.RawURLEncoding.EncodedLen(len(raw)))
	text = append(append(text, key...), '~')
	return domain.Sealed(base64.RawURLEncoding.AppendEncode(text, raw)), nil
}

// Open gives back what Seal has sealed for the place. It is ErrErased when the
// key is gone, and ErrTampered when the text was changed or is another place's.
func (v *Vault) Open(ctx context.Context, sealed domain.Sealed, place string) (string, error) {
	if sealed == "" {
		return "", nil
	}
	key, encoded, ok := strings.Cut(string(sealed), "~")
	if !ok {
		return "", ErrTampered
	}
	// A page of a list opens a hundred texts, so what each is worked on in is
	// used again.
	work := openings.Get().(*opening)
	defer work.done()
	work.encoded = append(work.encoded[:0], encoded...)
	var err error
	work.raw, err = strictBase64.AppendDecode(work.raw[:0], work.encoded)
	if err != nil || len(work.raw) < sealNonce {
		return "", ErrTampered
	}
	aead, err := v.cipher(ctx, key)
	if err != nil {
		return "", err
	}
	work.bound = append(append(append(work.bound[:0], key...), '\n'), place...)
	nonce, text := work.raw[:sealNonce], work.raw[sealNonce:]
	plaintext, err := aead.Open(text[:0], nonce, text, work.bound)
	if err != nil {
		return "", ErrTampered
	}
	return string(plaintext), nil
}

var strictBase64 = base64.RawURLEncoding.Strict()

// opening is what a sealed text is opened in.
type opening struct{ encoded, raw, bound []byte }

var openings = sync.Pool{New: func() any { return &opening{} }}

// done puts it back without what it held.
func (o *opening) done() {
	clear(o.raw[:cap(o.raw)])
	if cap(o.raw) <= largestOpening {
		openings.Put(o)
	}
}

// largestOpening keeps a rare long text from holding on to its memory.
const largestOpening = 4 << 10

// Reached returns when this process has heard of everything that happened to
// data keys up to a position of KEYS, such as Erase gives: from then on it
// opens nothing that was sealed under a key erased by then.
func (v *Vault) Reached(ctx context.Context, position uint64) error {
	return v.tail.wait(ctx, position)
}

// Last is the latest position of KEYS, asked of the leader.
func (v *Vault) Last(ctx context.Context) (uint64, error) {
	return lastPosition(ctx, v.js, keysStream)
}

// sealedFor is what a ciphertext is bound to. A key id has no line break, so
// no two pairs give the same bytes.
func sealedFor(key, place string) []byte {
	bound := make([]byte, 0, len(key)+1+len(place))
	return append(append(append(bound, key...), '\n'), place...)
}

func newGCM(key *[32]byte) (cipher.AEAD, error) {
	aesBlock, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(aesBlock)
}

// DataKeyOf tells which data key a text is sealed under; empty for no text.
func DataKeyOf(sealed domain.Sealed) string {
	key, _, _ := strings.Cut(string(sealed), "~")
	return key
}
