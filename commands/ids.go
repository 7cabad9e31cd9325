package commands

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"roster/domain"
	"roster/eventstore"
)

// newID makes an id. Within an attempt that carries an idempotency key, the
// same label always gives the same id, so that a repetition finds what the
// first try wrote.
func newID(ctx context.Context, prefix, label string) string {
	attempt := attemptOf(ctx)
	if attempt == nil {
		return eventstore.NewID(prefix)
	}
	digest := attempt.derive("id", label)
	var uuid [16]byte
	copy(uuid[:], digest[:])
	var millis [8]byte
	binary.BigEndian.PutUint64(millis[:], uint64(attempt.started.UnixMilli()))
	copy(uuid[:6], millis[2:])
	uuid[6] = uuid[6]&0x0f | 0x70 // version 7
	uuid[8] = uuid[8]&0x3f | 0x80 // the variant of RFC 9562
	return domain.FormatID(prefix, uuid)
}

// newEventID makes the id of the event at an index of the commit that an
// attempt makes to a stream.
func newEventID(ctx context.Context, stream eventstore.Stream, index int) domain.EventID {
	if attemptOf(ctx) == nil {
		return domain.EventID(eventstore.NewID(domain.PrefixEvent))
	}
	return domain.EventID(newID(ctx, domain.PrefixEvent, fmt.Sprintf("%s/%s/%d", stream.Kind, stream.ID, index)))
}

// newSecret makes 256 bits for a credential, as 43 characters. Like an id, it
// is the same when an attempt is repeated.
func newSecret(ctx context.Context, label string) string {
	secret := newSecretBytes(ctx, label)
	return base64.RawURLEncoding.EncodeToString(secret[:])
}

// newSecretBytes is newSecret before it is written as text.
func newSecretBytes(ctx context.Context, label string) (secret [32]byte) {
	if attempt := attemptOf(ctx); attempt != nil {
		secret = attempt.derive("secret", label)
	} else {
		_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	}
	return secret
}
