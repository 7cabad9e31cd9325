package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"roster/eventstore"
)

// records are small JSON objects in a bucket that all nodes change.
type records struct {
	bucket *eventstore.Bucket
	now    func() time.Time

	// Changes of one record queue here instead of racing at the bucket.
	seed  maphash.Seed
	turns [256]chan struct{}
}

func newRecords(bucket *eventstore.Bucket, now func() time.Time) *records {
	b := &records{bucket: bucket, now: now, seed: maphash.MakeSeed()}
	for i := range b.turns {
		b.turns[i] = make(chan struct{}, 1)
	}
	return b
}

// maxRecordRaces is how often a record may change under somebody who changes
// it. Only other nodes do that.
const maxRecordRaces = 100

// readRecord gives the record of a key; the zero record when there is none.
func readRecord[R any](ctx context.Context, b *records, key string) (R, error) {
	record, _, err := loadRecord[R](ctx, b, key)
	return record, err
}

// loadRecord is readRecord, with the revision of the record; 0 when there is none.
func loadRecord[R any](ctx context.Context, b *records, key string) (record R, revision uint64, err error) {
	entry, err := b.bucket.Get(ctx, key)
	if errors.Is(err, eventstore.ErrNoKey) {
		return record, 0, nil
	}
	if err != nil {
		return record, 0, unavailable(err)
	}
	if err := json.Unmarshal(entry.Value, &record); err != nil {
		return record, 0, unavailable(fmt.Errorf("a record of a bucket is damaged: %w", err))
	}
	return record, entry.Revision, nil
}

// changeRecord reads a record, alters it and writes it if nobody else did meanwhile;
// else it starts again. alter tells how long the record is to be kept; its
// errors end the change without a write.
func changeRecord[R any](ctx context.Context, b *records, key string, alter func(*R, time.Time) (time.Duration, error)) error {
	turn := b.turns[maphash.String(b.seed, key)%uint64(len(b.turns))]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	for range maxRecordRaces {
		record, revision, err := loadRecord[R](ctx, b, key)
		if err != nil {
			return err
		}
		life, err := alter(&record, b.now())
		if err != nil {
			return err
		}
		value, err := json.Marshal(record)
		if err != nil {
			return err
		}
		if revision == 0 {
			_, err = b.bucket.Create(ctx, key, value, life)
		} else {
			_, err = b.bucket.Update(ctx, key, value, revision, life)
		}
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, eventstore.ErrConflict) && !errors.Is(err, eventstore.ErrExists):
			return unavailable(err)
		}
	}
	return unavailable(errors.New("a record of a bucket changes too often"))
}
