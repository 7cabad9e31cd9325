package eventstore

import (
	"github.com/google/uuid"

	"roster/domain"
)

// NewID makes an id that was never given before: a UUIDv7, so that ids sort
// by the time of their making, from crypto/rand.
func NewID(prefix string) string {
	id, err := uuid.NewV7()
	if err != nil {
		panic(err) // crypto/rand never fails on a working system
	}
	return domain.FormatID(prefix, id)
}
