package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors that callers tell apart.
var (
	// ErrConflict means that another commit has the version: load what is
	// new and decide again.
	ErrConflict = errors.New("eventstore: another commit has this version")

	// ErrUnsettled means that time ran out before the fate of an append was
	// known: the commit is stored or it isn't, and it may still arrive. What
	// the process remembers of the stream must be loaded again. To append the
	// very same commit once more is safe and settles it.
	ErrUnsettled = errors.New("eventstore: it is not known whether the commit was stored")

	// ErrInUse means that another process uses the data folder.
	ErrInUse = errors.New("eventstore: the data folder is in use")

	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("eventstore: closed")
)

// Config says where the events are. Either URL or DataDir is required.
type Config struct {
	// URL of a NATS server or, separated by commas, of several of one
	// cluster. They must run with sync_interval: always, or a power cut loses
	// acknowledged commits. Empty means a server inside this process.
	URL string

	// CredentialsFile holds the user credentials for URL, where the server
	// asks for them in this form. See ServicePermissions for what they need.
	CredentialsFile string

	// DataDir is the folder of the server inside this process. It belongs to
	// one process at a time.
	DataDir string

	// Replicas of every stream: 1, or 3 on a cluster of at least three
	// servers. 0 means 1.
	Replicas int

	// MasterKeyFile holds the key that wraps the data keys of people; every
	// process that shares the events needs the same. Empty means master.key in
	// DataDir. With the server inside this process it is made when absent.
	MasterKeyFile string

	// AckTimeout is how long one attempt at an append waits for the
	// acknowledgement before the leader is asked what became of it. 0 means
	// 2 seconds, many times what a healthy cluster takes.
	AckTimeout time.Duration

	Logger *slog.Logger // nil means slog.Default()
}

const (
	defaultAckTimeout = 2 * time.Second

	// appendTimeout bounds an append even when its context doesn't. A leader
	// election takes a few seconds.
	appendTimeout = 30 * time.Second

	// openTimeout bounds the wait for a cluster that is still starting.
	openTimeout = 20 * time.Second

	// readTimeout is how long one question to the server may take.
	readTimeout = 5 * time.Second
)

// Store is the event store. It is safe for concurrent use.
type Store struct {
	config  Config
	log     *slog.Logger
	options []nats.Option // of every connection; beside config only in tests

	embedded *embedded // nil when the server is elsewhere

	// Reads have a connection of their own: behind the appends of sixteen
	// writers an answer takes six times as long. So has each Follow, which
	// may receive all there is.
	write, read *nats.Conn
	acks        *replies // on write
	group       group
	gets        *replies // on read
	js          jetstream.JetStream
	vault       *Vault

	closing context.Context // ends with Close
	end     context.CancelFunc
}

// Open starts the server inside this process or connects to one, and makes
// sure of the stream: it is created when absent, and refused when its settings
// don't give what the store relies on. ctx bounds the opening only.
func Open(ctx context.Context, config Config) (*Store, error) { return open(ctx, config) }

func open(ctx context.Context, config Config, options ...nats.Option) (_ *Store, err error) {
	if config.URL == "" && config.DataDir == "" {
		return nil, errors.New("eventstore: either a data folder or the URL of a NATS server is required")
	}
	if config.MasterKeyFile == "" {
		if config.DataDir == "" {
			return nil, errors.New("eventstore: the file of the master key is required beside the URL of a NATS server")
		}
		config.MasterKeyFile = filepath.Join(config.DataDir, "master.key")
	}
	if config.Replicas == 0 {
		config.Replicas = 1
	}
	if config.AckTimeout == 0 {
		config.AckTimeout = defaultAckTimeout
	}
	s := &Store{config: config, log: config.Logger, options: options}
	s.group.store = s
	if s.log == nil {
		s.log = slog.Default()
	}
	s.closing, s.end = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
			defer cancel()
			err = errors.Join(err, s.Close(stop))
		}
	}()

	if config.URL == "" {
		if s.embedded, err = startServer(config.DataDir, s.log); err != nil {
			return nil, err
		}
	}
	master, err := LoadMasterKey(config.MasterKeyFile, s.embedded != nil)
	if err != nil {
		return nil, err
	}
	if s.write, err = s.connect("writes"); err != nil {
		return nil, err
	}
	if s.acks, err = newReplies(s.write); err != nil {
		return nil, err
	}
	if s.read, err = s.connect("reads"); err != nil {
		return nil, err
	}
	if s.gets, err = newReplies(s.read); err != nil {
		return nil, err
	}
	if s.js, err = jetstream.New(s.read); err != nil {
		return nil, err
	}
	if err := s.ensureStream(ctx); err != nil {
		return nil, err
	}
	if s.vault, err = openVault(ctx, s.js, config.Replicas, master); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the connections and, if it is inside this process, the server.
// Whoever follows gets ErrClosed.
func (s *Store) Close(ctx context.Context) error {
	s.end()
	if s.vault != nil {
		s.vault.Close()
	}
	for _, conn := range []*nats.Conn{s.write, s.read} {
		if conn != nil {
			conn.Close()
		}
	}
	if s.embedded != nil {
		return s.embedded.stop(ctx)
	}
	return nil
}

// streamConfig is the stream that the store relies on.
func streamConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        StreamName,
		Description: "Roster's events: the source of truth. One message is one commit.",
		Subjects:    []string{subjectPrefix + ">"},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Replicas:    replicas,
		Compression: jetstream.S2Compression,

		// One message a subject, and a second one is refused: one commit a
		// version, whoever writes.
		MaxMsgsPerSubject:    1,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,

		// Nothing is ever taken away.
		DenyDelete: true,
		DenyPurge:  true,

		AllowDirect:        true,
		AllowAtomicPublish: true,

		MaxConsumers: -1,
		MaxMsgs:      -1,
		MaxBytes:     -1,
		MaxMsgSize:   -1,
	}
}

// ensureStream creates the stream when it is absent and checks it when it
// isn't. A cluster that has just started takes a few seconds to answer.
func (s *Store) ensureStream(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	want := streamConfig(s.config.Replicas)
	pause := firstPause
	info, err := s.findStream(ctx, want)
	for err != nil && wait(ctx, pause) == nil {
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.Code < 500 {
			break
		}
		if pause >= longPause {
			s.log.Warn("waiting for JetStream", "reason", err)
		}
		pause = min(2*pause, longRenewal)
		info, err = s.findStream(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("eventstore: no stream %s with %d replicas: %w; does the NATS server run JetStream, on that many servers?",
			StreamName, want.Replicas, err)
	}
	if wrong := differences(want, info.Config); len(wrong) > 0 {
		return fmt.Errorf("eventstore: the stream %s exists with settings that could lose or change events: %s; "+
			"correct them with the nats command line, or use another NATS account",
			StreamName, strings.Join(wrong, "; "))
	}
	return nil
}

// findStream makes one attempt to find or create the stream.
func (s *Store) findStream(ctx context.Context, want jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, StreamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = s.js.CreateStream(ctx, want)
		if err == nil || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was first
			stream, err = s.js.Stream(ctx, StreamName)
		}
	}
	if err != nil {
		return nil, err
	}
	return stream.CachedInfo(), nil
}

// differences lists what an existing stream has that the store can't live
// with. More replicas than asked for are fine, and so is everything that only
// says where and under which description the stream is kept.
func differences(want, have jetstream.StreamConfig) []string {
	if have.Replicas > want.Replicas {
		want.Replicas = have.Replicas
	}
	want.Description, want.Metadata, want.Placement = have.Description, have.Metadata, have.Placement
	want.Duplicates = have.Duplicates         // no message has an id for the server
	want.MirrorDirect = have.MirrorDirect     // of copies elsewhere
	want.ConsumerLimits = have.ConsumerLimits // of those who read
	want.MaxConsumers = have.MaxConsumers
	if have.FirstSeq == 1 {
		want.FirstSeq = 1
	}
	var wrong []string
	w, h := reflect.ValueOf(want), reflect.ValueOf(have)
	for i := range w.NumField() {
		if a, b := w.Field(i).Interface(), h.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			wrong = append(wrong, fmt.Sprintf("%s is %v and must be %v", w.Type().Field(i).Name, b, a))
		}
	}
	return wrong
}

// JetStream is for durable consumers of the stream, and for streams beside it.
// Nothing may be published to the events but by Append.
func (s *Store) JetStream() jetstream.JetStream { return s.js }

// Replicas is how many copies a stream beside the events should have.
func (s *Store) Replicas() int { return s.config.Replicas }

// Vault holds the data keys of people.
func (s *Store) Vault() *Vault { return s.vault }

// Bucket opens a bucket beside the events, creating it when absent.
func (s *Store) Bucket(ctx context.Context, config BucketConfig) (*Bucket, error) {
	if config.Replicas == 0 {
		config.Replicas = s.config.Replicas
	}
	return openBucket(ctx, s.js, config)
}

// Nodes is the group of processes that share this store.
func (s *Store) Nodes(config NodesConfig) *Nodes { return NewNodes(s.js, config) }

// LastPosition is the position of the latest commit, as the leader of the
// stream knows it; 0 when there is none.
func (s *Store) LastPosition(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return lastPosition(ctx, s.js, StreamName)
}

// apiError is a refusal by the server.
type apiError struct {
	Code        int    `json:"code"`     // as in HTTP
	ErrorCode   int    `json:"err_code"` // what it is exactly
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("NATS says: %s (%d)", e.Description, e.ErrorCode)
}
