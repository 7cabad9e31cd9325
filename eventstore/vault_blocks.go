package eventstore

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	keysStream = "KEYS"
	keysPrefix = "keys."

	// checkSubject holds a value that only the right master key gives. It is
	// shorter than every block id.
	checkSubject = keysPrefix + "check"

	// blockSize is how many data keys share a message, and thereby one write
	// to disk. The last index has two digits.
	blockSize = 64

	// blockIDBytes are random, so that blocks of any number of nodes never
	// meet. A message for each new block is stored only if there is none.
	blockIDBytes = 12

	blockFormat  = 1                        // first byte of the payload
	wrappedSize  = 12 + dataKeySize + 16    // nonce, key, tag
	blockEntry   = 1 + wrappedSize          // index first
	blockMaxSize = 1 + blockSize*blockEntry // 3,905 bytes
	dataKeySize  = 32                       // AES-256
	blockIDSize  = (blockIDBytes*8 + 5) / 6 // as base64
	refillFirst  = 50 * time.Millisecond    // pause after a failure,
	refillMost   = 2 * time.Second          // and after many
	refillGiveUp = 5 * time.Second          // for one block
)

// keysConfig is the stream of the data keys.
//
// A subject may hold more than one message, though only the last one counts:
// with a limit of one, storing a changed block would make the server drop the
// old message by itself, which leaves its bytes on the disk and nothing to
// overwrite them by. Nothing but Erase removes a message.
func keysConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              keysStream,
		Description:       "Data keys of people, wrapped by the master key. Without it nobody reads personal data.",
		Subjects:          []string{keysPrefix + ">"},
		Storage:           jetstream.FileStorage,
		Replicas:          max(replicas, 1),
		Discard:           jetstream.DiscardNew,
		DenyPurge:         true,
		AllowDirect:       true,
		MaxMsgsPerSubject: -1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxConsumers:      -1,
		MaxMsgSize:        blockMaxSize + 1024, // headers count
	}
}

// block is up to 64 data keys. Those that aren't there have been erased.
type block struct {
	here uint64 // a bit for each key
	keys [blockSize][dataKeySize]byte
}

// splitKey takes the id of a data key apart: "<block id>.<index>". Whether the
// first part can be a block's id is checked before NATS is asked for it; a block
// in memory has one.
func splitKey(key string) (id string, index int, err error) {
	id, digits, ok := strings.Cut(key, ".")
	index, err = strconv.Atoi(digits)
	if !ok || err != nil || len(id) != blockIDSize || index < 0 || index >= blockSize || strconv.Itoa(index) != digits {
		return "", 0, ErrUnknownKey
	}
	return id, index, nil
}

// checkBlockID refuses what is no block's id, and might be a wildcard.
func checkBlockID(id string) error {
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return ErrUnknownKey
		}
	}
	return nil
}

func keyID(id string, index int) string { return id + "." + strconv.Itoa(index) }

// cipher gives the cipher of a data key, whose block comes from memory or from
// the leader of KEYS. It never asks a replica that may lag behind: that one
// could miss a block that exists as well as give one whose keys have been
// erased since.
func (v *Vault) cipher(ctx context.Context, key string) (cipher.AEAD, error) {
	id, index, err := splitKey(key)
	if err != nil {
		return nil, err
	}
	b, ok := v.blocks.peek(id)
	if !ok {
		if b, err = v.loadBlock(ctx, id); err != nil {
			return nil, err
		}
	}
	if b.here&(1<<index) == 0 {
		return nil, ErrErased
	}
	return v.ciphers.of(key, b, index)
}

// forget drops a block that was stored anew at a position: without keys that it
// had before.
func (v *Vault) forget(id string, position uint64) {
	if v.blocks.drop(id, position) {
		v.ciphers.clear()
	}
}

// turn empties what is in memory, and says whether anything may be kept from
// now on.
func (v *Vault) turn(keeping bool) {
	v.blocks.turn(keeping)
	v.ciphers.clear()
}

func (v *Vault) loadBlock(ctx context.Context, id string) (*block, error) {
	return v.blocks.get(ctx, id, func(ctx context.Context) (*block, uint64, error) {
		message, err := v.askForBlock(ctx, id)
		if err != nil {
			return nil, 0, err
		}
		b, err := v.unwrap(id, message.Data)
		return b, message.Sequence, err
	})
}

func (v *Vault) askForBlock(ctx context.Context, id string) (leaderMessage, error) {
	if err := checkBlockID(id); err != nil {
		return leaderMessage{}, err
	}
	message, err := askForMessage(ctx, v.js, keysStream, leaderQuestion{LastOf: keysPrefix + id})
	if errors.Is(err, errNoMessage) {
		return message, fmt.Errorf("%w: block %s isn't in the stream %s", ErrUnknownKey, id, keysStream)
	}
	if err != nil {
		return message, fmt.Errorf("eventstore: reading data keys: %w", err)
	}
	return message, nil
}

// wrap gives the payload of a block.
func (v *Vault) wrap(id string, b *block) ([]byte, error) {
	wrapping := v.keys.derive("wrap", id)
	aead, err := newGCM(&wrapping)
	if err != nil {
		return nil, err
	}
	payload := make([]byte, 1, blockMaxSize)
	payload[0] = blockFormat
	for i := range blockSize {
		if b.here&(1<<i) == 0 {
			continue
		}
		payload = append(payload, byte(i))
		at := len(payload)
		payload = payload[:at+sealNonce]
		rand.Read(payload[at:])
		payload = aead.Seal(payload, payload[at:], b.keys[i][:], []byte(keyID(id, i)))
	}
	return payload, nil
}

func (v *Vault) unwrap(id string, payload []byte) (*block, error) {
	wrapping := v.keys.derive("wrap", id)
	aead, err := newGCM(&wrapping)
	if err != nil {
		return nil, err
	}
	b := &block{}
	err = eachWrapped(payload, func(index int, entry []byte) error {
		wrapped := entry[1:]
		_, err := aead.Open(b.keys[index][:0], wrapped[:sealNonce], wrapped[sealNonce:], []byte(keyID(id, index)))
		b.here |= 1 << index
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("eventstore: block %s of data keys can't be unwrapped: %w: %w", id, ErrTampered, err)
	}
	return b, nil
}

var errBlockFormat = errors.New("malformed block")

// eachWrapped hands each entry of a payload, index byte and wrapped key, to fn.
func eachWrapped(payload []byte, fn func(index int, entry []byte) error) error {
	if len(payload) == 0 || payload[0] != blockFormat || (len(payload)-1)%blockEntry != 0 || len(payload) > blockMaxSize {
		return errBlockFormat
	}
	last := -1
	for entry := range slices.Chunk(payload[1:], blockEntry) {
		index := int(entry[0])
		if index <= last || index >= blockSize {
			return errBlockFormat
		}
		last = index
		if err := fn(index, entry); err != nil {
			return err
		}
	}
	return nil
}

// refill makes blocks whenever there is room in the pool.
func (v *Vault) refill(ctx context.Context) {
	defer close(v.stopped)
	pause := refillFirst
	for {
		id, err := v.newBlock(ctx)
		if err != nil {
			v.refills.Store(&err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
				pause = min(2*pause, refillMost)
				continue
			}
		}
		v.refills.Store(nil)
		pause = refillFirst
		for i := range blockSize {
			select {
			case v.pool <- keyID(id, i):
			case <-ctx.Done():
				return
			}
		}
	}
}

// newBlock stores a block of new keys. If it isn't known whether it was
// stored, its keys are never used.
func (v *Vault) newBlock(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, refillGiveUp)
	defer cancel()
	var random [blockIDBytes]byte
	rand.Read(random[:])
	id := base64.RawURLEncoding.EncodeToString(random[:])
	b := &block{here: 1<<blockSize - 1}
	for i := range b.keys {
		rand.Read(b.keys[i][:])
	}
	payload, err := v.wrap(id, b)
	if err != nil {
		return "", err
	}
	position, err := v.storeBlock(ctx, id, payload, 0)
	if err != nil {
		return "", fmt.Errorf("eventstore: storing new data keys: %w", err)
	}
	v.blocks.put(id, b, position)
	return id, nil
}

func (v *Vault) storeBlock(ctx context.Context, id string, payload []byte, previous uint64) (uint64, error) {
	message := &nats.Msg{Subject: keysPrefix + id, Header: nats.Header{}, Data: payload}
	expect(message, previous)
	return store(ctx, v.js, message)
}

// Erase destroys data keys, for good: their ids are never given again, and
// what was sealed under them can't be opened any more. It gives the position
// of KEYS that other nodes have to reach (Nodes.Barrier with mark KEYS) before
// none of them opens it either.
//
// The blocks are stored without the keys, then the server overwrites the old
// messages. Only when Erase returns without an error is all of that done;
// otherwise it has to be called again, which is harmless.
//
// The server overwrites the files of the stream. What else may hold the
// wrapped key, which the master key still opens, is beyond its reach: backups;
// what file systems and disks keep of files that were replaced; a replica that
// was down at the time; the raft log of a replicated stream until the server
// compacts it (three minutes in a test); and files that the server encrypts
// itself, where it only marks the message as deleted.
func (v *Vault) Erase(ctx context.Context, keys ...string) (uint64, error) {
	blocks := map[string]uint64{}
	for _, key := range keys {
		id, index, err := splitKey(key)
		if err != nil {
			return 0, err
		}
		blocks[id] |= 1 << index
	}
	var last uint64
	for _, id := range slices.Sorted(maps.Keys(blocks)) {
		position, err := v.eraseFrom(ctx, id, blocks[id])
		if err != nil {
			return 0, fmt.Errorf("eventstore: erasing data keys: %w", err)
		}
		last = max(last, position)
	}
	return last, nil
}

func (v *Vault) eraseFrom(ctx context.Context, id string, erased uint64) (uint64, error) {
	for {
		message, err := v.askForBlock(ctx, id)
		if err != nil {
			return 0, err
		}
		payload := make([]byte, 1, len(message.Data))
		payload[0] = blockFormat
		err = eachWrapped(message.Data, func(index int, entry []byte) error {
			if erased&(1<<index) == 0 {
				payload = append(payload, entry...)
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("block %s: %w", id, err)
		}
		position := message.Sequence
		if len(payload) < len(message.Data) {
			position, err = v.storeBlock(ctx, id, payload, message.Sequence)
			if ctx.Err() == nil && (errors.Is(err, ErrConflict) || errors.Is(err, ErrUnsettled)) {
				continue // another erasure came first, or this one did arrive
			}
			if err != nil {
				return 0, err
			}
		}
		v.forget(id, position)
		return position, v.overwrite(ctx, keysPrefix+id, position)
	}
}

// overwrite removes the messages on a subject before a position.
func (v *Vault) overwrite(ctx context.Context, subject string, before uint64) error {
	stream, err := v.js.Stream(ctx, keysStream)
	if err != nil {
		return err
	}
	var tried uint64
	for {
		old, err := askForMessage(ctx, v.js, keysStream, leaderQuestion{Sequence: 1, NextOf: subject})
		if err != nil {
			return err
		}
		if old.Sequence >= before {
			return nil
		}
		err = stream.SecureDeleteMsg(ctx, old.Sequence)
		if err != nil && (old.Sequence == tried || ctx.Err() != nil) {
			return fmt.Errorf("overwriting position %d of %s: %w", old.Sequence, keysStream, err)
		}
		tried = old.Sequence // an error may mean that another erasure was faster
	}
}

// checkMaster compares the master key with what was stored when the first
// process opened the vault.
func (v *Vault) checkMaster(ctx context.Context) error {
	want := v.keys.derive("check", "")
	last, err := lastPosition(ctx, v.js, keysStream)
	if err != nil {
		return err
	}
	if last == 0 {
		message := &nats.Msg{Subject: checkSubject, Header: nats.Header{}, Data: want[:]}
		expect(message, 0)
		// Whoever was first, and whatever became of this: the next step tells.
		if _, err := store(ctx, v.js, message); err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrUnsettled) {
			return fmt.Errorf("eventstore: storing the check value of the master key: %w", err)
		}
	}
	stored, err := askForMessage(ctx, v.js, keysStream, leaderQuestion{LastOf: checkSubject})
	switch {
	case errors.Is(err, errNoMessage):
		return fmt.Errorf("eventstore: the stream %s has data keys but no check value; it is damaged, restore it from a backup", keysStream)
	case err != nil:
		return fmt.Errorf("eventstore: reading the check value of the master key: %w", err)
	case subtle.ConstantTimeCompare(stored.Data, want[:]) != 1:
		return fmt.Errorf("%w: personal data could neither be read nor written; "+
			"give the key file that was used when this data was first written (--data's master.key, or the file that ROSTER_MASTER_KEY_FILE named)", ErrMasterKey)
	}
	return nil
}
