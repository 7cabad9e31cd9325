package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors that callers of a bucket tell apart, beside ErrConflict and
// ErrUnsettled.
var (
	ErrNoKey  = errors.New("eventstore: the bucket has no such key")
	ErrExists = errors.New("eventstore: the bucket has this key already")
)

// BucketConfig describes a bucket.
type BucketConfig struct {
	Name string // letters, digits, - and _

	// TTL is how long a value stays after it was written. 0: until deleted.
	TTL time.Duration

	MaxValue int   // bytes of one value; 0: 64 KiB
	MaxBytes int64 // of the whole bucket, which then refuses writes; 0: no limit
	Replicas int   // 0: 1
}

const (
	defaultMaxValue = 64 << 10

	// maxKey is a length in bytes. The server takes a little more.
	maxKey = 256

	// markerTTL is how long the marker of a deleted or expired key stays, for
	// those who watch. Whoever was away for longer starts afresh.
	markerTTL = 15 * time.Minute
)

// Headers of NATS' own key-value buckets.
const (
	headerOperation = "KV-Operation"
	headerReason    = "Nats-Marker-Reason"
	headerTTL       = "Nats-TTL"
)

// Entry is a value of a bucket. The bytes may be shared and must not be
// changed.
type Entry struct {
	Value     []byte
	Revision  uint64    // of this write: its place among all writes of the bucket
	At        time.Time // of this write, by the server's clock
	ExpiresAt time.Time // zero: never
}

// Bucket is a NATS key-value bucket. The nats command line can read it.
//
// Every read is answered by the leader of the bucket's stream: the stream is
// made without direct gets, which nats.go's own buckets use and which any
// replica answers, late ones included. So a Get that starts after a write was
// acknowledged, on whichever node, sees that write.
//
// A write that gives ErrUnsettled may or may not be there: read before
// trying again.
type Bucket struct {
	js       jetstream.JetStream
	stream   string
	prefix   string // of the subject of a key
	name     string
	ttl      time.Duration
	maxValue int
}

func openBucket(ctx context.Context, js jetstream.JetStream, config BucketConfig) (*Bucket, error) {
	if config.Name == "" || strings.Trim(config.Name, "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return nil, fmt.Errorf("eventstore: %q can't be the name of a bucket; use letters, digits, - and _", config.Name)
	}
	b := &Bucket{
		js: js, name: config.Name, ttl: config.TTL,
		stream: "KV_" + config.Name, prefix: "$KV." + config.Name + ".",
		maxValue: config.MaxValue,
	}
	if b.maxValue == 0 {
		b.maxValue = defaultMaxValue
	}
	want := jetstream.StreamConfig{
		Name:              b.stream,
		Subjects:          []string{b.prefix + ">"},
		Storage:           jetstream.FileStorage,
		Replicas:          max(config.Replicas, 1),
		MaxMsgsPerSubject: 1,
		MaxAge:            config.TTL,
		MaxBytes:          -1,
		MaxMsgSize:        int32(b.maxValue + 1024), // headers count
		MaxMsgs:           -1,
		MaxConsumers:      -1,
		Discard:           jetstream.DiscardNew,
		DenyDelete:        true,
		AllowDirect:       false, // see Bucket

		// Values may have a life of their own, and who watches is told of
		// what has expired. Markers need roll-ups.
		AllowMsgTTL:            true,
		AllowRollup:            true,
		SubjectDeleteMarkerTTL: markerTTL,
	}
	if config.MaxBytes > 0 {
		want.MaxBytes = config.MaxBytes
	}
	if err := ensure(ctx, js, want, true); err != nil {
		return nil, err
	}
	return b, nil
}

// Get gives the value of a key; ErrNoKey when it has none, or none any more.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	if err := checkKey(key); err != nil {
		return Entry{}, err
	}
	entry, gone, err := b.last(ctx, key)
	switch {
	case err != nil:
		return Entry{}, b.failed("reading", err)
	case gone:
		return Entry{}, ErrNoKey
	}
	return entry, nil
}

// last gives what the leader has on the subject of a key. gone means that
// there is no value; the entry's revision is then that of the marker that
// stands in its place, or 0.
func (b *Bucket) last(ctx context.Context, key string) (entry Entry, gone bool, err error) {
	message, err := askForMessage(ctx, b.js, b.stream, leaderQuestion{LastOf: b.prefix + key})
	if errors.Is(err, errNoMessage) {
		return Entry{}, true, nil
	}
	if err != nil {
		return Entry{}, false, err
	}
	return b.entry(&message)
}

func (b *Bucket) entry(message *leaderMessage) (entry Entry, gone bool, err error) {
	header, err := message.header()
	if err != nil {
		return Entry{}, false, fmt.Errorf("the header of revision %d is malformed: %w", message.Sequence, err)
	}
	entry = Entry{Value: message.Data, Revision: message.Sequence, At: message.Time}
	ttl := b.ttl
	if own, err := strconv.Atoi(header.Get(headerTTL)); err == nil && (ttl == 0 || time.Duration(own)*time.Second < ttl) {
		ttl = time.Duration(own) * time.Second
	}
	if ttl > 0 {
		entry.ExpiresAt = entry.At.Add(ttl)
	}
	return entry, header.Get(headerOperation) != "" || header.Get(headerReason) != "", nil
}

// Create writes a key that has no value; ErrExists when it has one. ttl is
// how long the value stays, in whole seconds rounded up; 0 means as long as
// the bucket keeps it, which is also the most.
func (b *Bucket) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error) {
	// Most keys were never there. A deleted one has left a marker, whose
	// revision is then what to expect; it changes only when somebody else
	// creates or deletes the key at this moment.
	var marker uint64
	pause := firstPause
	for range 10 {
		revision, err := b.write(ctx, key, value, ttl, &marker)
		if !errors.Is(err, ErrConflict) {
			return revision, err
		}
		entry, gone, err := b.last(ctx, key)
		switch {
		case err != nil:
			return 0, b.failed("reading", err)
		case !gone:
			return 0, ErrExists
		}
		if entry.Revision == marker {
			// A cluster refuses while a rival's write is on its way, which can't
			// be read yet.
			if err := wait(ctx, pause); err != nil {
				return 0, b.failed("creating", err)
			}
			pause = min(2*pause, longPause)
		}
		marker = entry.Revision
	}
	return 0, ErrConflict
}

// Put writes whatever was there before.
func (b *Bucket) Put(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error) {
	return b.write(ctx, key, value, ttl, nil)
}

// Update writes if revision is still the latest of the key; ErrConflict when
// it isn't. It gives the value a new life.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	return b.write(ctx, key, value, ttl, &revision)
}

func (b *Bucket) write(ctx context.Context, key string, value []byte, ttl time.Duration, expected *uint64) (uint64, error) {
	if len(value) > b.maxValue {
		return 0, fmt.Errorf("eventstore: a value of %d bytes is too long for the bucket %s, which takes %d", len(value), b.name, b.maxValue)
	}
	return b.publish(ctx, key, nats.Header{}, value, ttl, expected)
}

// Delete removes a key and gives the revision of its removal, which the
// caches of other nodes have to reach (Nodes.Barrier). A revision other than
// 0 must be the latest of the key; ErrConflict when it isn't. Deleting what
// isn't there is no error.
func (b *Bucket) Delete(ctx context.Context, key string, revision uint64) (uint64, error) {
	var expected *uint64
	if revision != 0 {
		expected = &revision
	}
	return b.publish(ctx, key, nats.Header{headerOperation: {"DEL"}}, nil, markerTTL, expected)
}

func (b *Bucket) publish(ctx context.Context, key string, header nats.Header, value []byte, ttl time.Duration, expected *uint64) (uint64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	message := &nats.Msg{Subject: b.prefix + key, Header: header, Data: value}
	if ttl > 0 {
		header.Set(headerTTL, strconv.FormatInt(int64((ttl+time.Second-1)/time.Second), 10))
	}
	if expected != nil {
		expect(message, *expected)
	}
	revision, err := store(ctx, b.js, message)
	if err != nil {
		return 0, b.failed("writing to", err)
	}
	return revision, nil
}

func (b *Bucket) failed(doing string, err error) error {
	return fmt.Errorf("eventstore: %s the bucket %s: %w", doing, b.name, err)
}

// Scan hands every key that matches a filter to fn, in the order of their
// last write, until fn gives an error, which it returns. The filter is a NATS
// subject: * stands for one part between dots, > at the end for any number.
// Each key is one question to the leader, so that what was written before
// isn't missed: it is meant for a person's few sessions, not for thousands.
func (b *Bucket) Scan(ctx context.Context, filter string, fn func(key string, entry Entry) error) error {
	if filter == "" || strings.ContainsAny(filter, " \t\r\n") {
		return fmt.Errorf("eventstore: %q is no filter of keys", filter)
	}
	for next := uint64(1); ; {
		message, err := askForMessage(ctx, b.js, b.stream, leaderQuestion{Sequence: next, NextOf: b.prefix + filter})
		if errors.Is(err, errNoMessage) {
			return nil
		}
		if err != nil {
			return b.failed("reading", err)
		}
		entry, gone, err := b.entry(&message)
		if err != nil {
			return b.failed("reading", err)
		}
		if !gone {
			if err := fn(strings.TrimPrefix(message.Subject, b.prefix), entry); err != nil {
				return err
			}
		}
		next = message.Sequence + 1
	}
}

// Last is the latest revision of the bucket, asked of the leader.
func (b *Bucket) Last(ctx context.Context) (uint64, error) {
	return lastPosition(ctx, b.js, b.stream)
}

// checkKey keeps what callers made out of their data from being read as
// several keys, or as none.
func checkKey(key string) error {
	if key == "" || len(key) > maxKey || key[0] == '.' || key[len(key)-1] == '.' || strings.Contains(key, "..") {
		return errKey
	}
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '=', c == '/', c == '.':
		default:
			return errKey
		}
	}
	return nil
}

// errKey doesn't repeat the key: it may be made of a token.
var errKey = fmt.Errorf("eventstore: a key of a bucket has 1 to %d of the characters a-z A-Z 0-9 - _ = / and dots between them", maxKey)
