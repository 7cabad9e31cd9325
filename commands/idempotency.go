package commands

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// Attempt is one use of an idempotency key. Its record is written before the
// command runs, and every id and secret that the command makes is derived from
// it; so whoever repeats an attempt that died half-way finds what it wrote
// instead of writing it twice, however long ago that was within the key's
// life.
type Attempt struct {
	service    *Service
	key        string // in the bucket
	revision   uint64
	record     attemptRecord
	started    time.Time
	secret     []byte // known only to who has the client's key
	label      string
	recovering bool
	written    map[eventstore.Stream]*written // what earlier tries may have appended
}

// written is what one stream holds, as far as it was looked at.
type written struct {
	version uint64
	commits map[domain.EventID]*eventstore.Commit
}

// attemptRecord is an attempt as the bucket holds it. The answer is sealed
// under the client's key, since it may hold a credential; the fingerprint is
// keyed, since the request that it stands for may hold a password, which could
// be guessed by a plain hash.
type attemptRecord struct {
	Fingerprint string    `json:"fingerprint"`
	Started     time.Time `json:"started"` // the first try
	Claimed     time.Time `json:"claimed"` // the present one
	Node        string    `json:"node"`    // which runs it
	Answer      string    `json:"answer,omitempty"`
}

// Answer is an HTTP answer as it is given again.
type Answer struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header"`
	Body   []byte            `json:"body"`
}

const (
	// AnswerLifetime is how long an idempotency key is remembered.
	AnswerLifetime = 24 * time.Hour

	// maxAnswerBytes bounds a remembered answer, sealed and encoded: more than
	// the largest answer to a write, that to a full bulk of invitations.
	maxAnswerBytes = 512 << 10

	// attemptLease is how long an attempt whose node is alive may take before
	// it counts as dead: twice what a request may take.
	attemptLease = time.Minute
)

var (
	// ErrKeyReused means that the key was used for another request.
	ErrKeyReused = &domain.Error{
		Kind: domain.Invalid, Code: "idempotency_key_reused",
		Detail: "This Idempotency-Key was used for another request. Use a new one for each request.",
	}
	// ErrInFlight means that the same request is being worked on.
	ErrInFlight = &domain.Error{
		Kind: domain.Conflict, Code: "request_in_flight",
		Detail: "A request with this Idempotency-Key is being worked on. Repeat it in a moment.",
	}
)

type attemptKey struct{}

func attemptOf(ctx context.Context) *Attempt {
	attempt, _ := ctx.Value(attemptKey{}).(*Attempt)
	return attempt
}

// part gives each of several commands in one attempt names of its own.
func part(ctx context.Context, index int) context.Context {
	attempt := attemptOf(ctx)
	if attempt == nil {
		return ctx
	}
	one := *attempt
	one.label += strconv.Itoa(index) + "/"
	return context.WithValue(ctx, attemptKey{}, &one)
}

// derive gives what is the same for every try of this attempt and different
// for the next attempt, so that a key that is used again after its life makes
// no old credential valid again.
func (a *Attempt) derive(purpose, label string) [32]byte {
	var started [8]byte
	binary.BigEndian.PutUint64(started[:], uint64(a.started.UnixMicro()))
	return a.service.vault.MAC("idempotency "+purpose, a.secret, started[:], []byte(a.label+label))
}

// Begin starts the attempt that an idempotency key stands for. scope tells
// callers apart, so that nobody gets the answer of another; fingerprint tells
// requests apart. When the attempt has an answer already, that is returned.
// Otherwise the command is to be run with the context returned, and its answer
// handed to Finish.
func (s *Service) Begin(ctx context.Context, scope, key string, fingerprint [32]byte) (context.Context, *Attempt, *Answer, error) {
	secret := s.vault.MAC("idempotency key", []byte(scope), []byte(key))
	name := sha256.Sum256(secret[:])
	keyed := s.vault.MAC("idempotency fingerprint", secret[:], fingerprint[:])
	now := s.Now()
	attempt := &Attempt{
		service: s, key: hex.EncodeToString(name[:]), secret: secret[:],
		record:  attemptRecord{Fingerprint: hex.EncodeToString(keyed[:]), Started: now, Claimed: now, Node: s.instance},
		written: map[eventstore.Stream]*written{},
	}
	for {
		answer, err := attempt.claim(ctx)
		switch {
		case errors.Is(err, eventstore.ErrExists), errors.Is(err, eventstore.ErrConflict):
			continue // another request was faster: look again
		case err != nil:
			return ctx, nil, nil, err
		case answer != nil:
			return ctx, nil, answer, nil
		}
		attempt.started = attempt.record.Started
		return context.WithValue(ctx, attemptKey{}, attempt), attempt, nil, nil
	}
}

// claim takes the attempt's record, or finds its answer.
func (a *Attempt) claim(ctx context.Context) (*Answer, error) {
	bucket := a.service.answers
	stored, err := bucket.Get(ctx, a.key)
	if errors.Is(err, eventstore.ErrNoKey) {
		return nil, a.write(func(value []byte) (uint64, error) { return bucket.Create(ctx, a.key, value, 0) })
	}
	if err != nil {
		return nil, unavailable(err)
	}
	var record attemptRecord
	if err := json.Unmarshal(stored.Value, &record); err != nil {
		return nil, err
	}
	switch {
	case record.Fingerprint != a.record.Fingerprint:
		return nil, ErrKeyReused
	case record.Answer != "":
		return a.unseal(record.Answer)
	case a.service.mayLive(record.Node) && a.record.Claimed.Sub(record.Claimed) < attemptLease:
		return nil, ErrInFlight
	}
	// Whoever worked on it is gone. Its ids are derived from the time at which
	// it started, so that time is kept.
	a.recovering = true
	a.record.Started = record.Started
	return nil, a.write(func(value []byte) (uint64, error) { return bucket.Update(ctx, a.key, value, stored.Revision, 0) })
}

// mayLive tells whether the process that works on an attempt may still be
// doing so. A process that is alone knows that its predecessors are gone.
func (s *Service) mayLive(instance string) bool {
	return instance == s.instance || (instance != "" && s.nodes.Peers() > 0)
}

func (a *Attempt) write(put func(value []byte) (uint64, error)) error {
	value, err := json.Marshal(a.record)
	if err != nil {
		return err
	}
	a.revision, err = put(value)
	if err != nil && !errors.Is(err, eventstore.ErrExists) && !errors.Is(err, eventstore.ErrConflict) {
		return unavailable(err)
	}
	return err
}

const answerPurpose = "idempotent answer"

// Finish remembers the answer.
func (a *Attempt) Finish(ctx context.Context, answer Answer) error {
	plain, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	sealed := a.service.vault.SealOpaque(answerPurpose, plain, string(a.secret))
	a.record.Answer = base64.RawURLEncoding.EncodeToString(sealed)
	return a.write(func(value []byte) (uint64, error) {
		return a.service.answers.Update(ctx, a.key, value, a.revision, 0)
	})
}

func (a *Attempt) unseal(text string) (*Answer, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	plain, err := a.service.vault.OpenOpaque(answerPurpose, sealed, string(a.secret))
	if err != nil {
		return nil, err
	}
	var answer Answer
	return &answer, json.Unmarshal(plain, &answer)
}

// Release gives up an attempt of which it isn't known what became. Its ids
// are kept, so that whoever repeats it finds what it may have done.
func (a *Attempt) Release(ctx context.Context) error {
	a.record.Node = ""
	return a.write(func(value []byte) (uint64, error) {
		return a.service.answers.Update(ctx, a.key, value, a.revision, 0)
	})
}

// Abandon forgets the attempt: it was refused for a reason that may pass. One
// whose earlier try may have done something is only given up.
func (a *Attempt) Abandon(ctx context.Context) error {
	if a.recovering {
		return a.Release(ctx)
	}
	if _, err := a.service.answers.Delete(ctx, a.key, a.revision); err != nil {
		return unavailable(err)
	}
	return nil
}

// Recovering tells whether the command is a repetition of one that died
// half-way, and may have been carried out.
func Recovering(ctx context.Context) bool {
	attempt := attemptOf(ctx)
	return attempt != nil && attempt.recovering
}

// earlier finds what a previous try of the same attempt appended to a stream;
// nil when there was no such try, or it didn't get so far.
func (s *Service) earlier(ctx context.Context, stream eventstore.Stream) (*eventstore.Commit, error) {
	if !Recovering(ctx) {
		return nil, nil
	}
	return s.ours(ctx, stream)
}

// ours finds what any try of this attempt has appended to a stream: a try that
// was taken for dead may still get through.
func (s *Service) ours(ctx context.Context, stream eventstore.Stream) (*eventstore.Commit, error) {
	attempt := attemptOf(ctx)
	if attempt == nil {
		return nil, nil
	}
	// Several commands of one attempt read a long history only once.
	w := attempt.written[stream]
	if w == nil {
		w = &written{commits: map[domain.EventID]*eventstore.Commit{}}
		attempt.written[stream] = w
	}
	commits, err := s.store.Load(ctx, stream, w.version)
	if err != nil {
		return nil, unavailable(err)
	}
	for i := range commits {
		w.version, w.commits[commits[i].ID()] = commits[i].Version, &commits[i]
	}
	return w.commits[newEventID(ctx, stream, 0)], nil
}

// oursAmong is ours for commits that are at hand.
func oursAmong(ctx context.Context, stream eventstore.Stream, commits []eventstore.Commit) *eventstore.Commit {
	if attemptOf(ctx) == nil || len(commits) == 0 {
		return nil
	}
	wanted := newEventID(ctx, stream, 0)
	for i := range commits {
		if commits[i].ID() == wanted {
			return &commits[i]
		}
	}
	return nil
}

// withoutAttempt is for what finds out by itself whether it was done already.
func withoutAttempt(ctx context.Context) context.Context {
	return context.WithValue(ctx, attemptKey{}, (*Attempt)(nil))
}
