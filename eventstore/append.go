package eventstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// Codes of the server's refusals that mean "the subject is taken", or may.
const (
	codeWrongSequence      = 10071 // known to the leader at once
	codeWrongSequenceConst = 10164 // a rival is on its way through the cluster
	codeStoreFailed        = 10077 // the limit of one message a subject, or a failing disk
	codeTooManyBatches     = 10210 // open at the same time
	codeNoMessage          = 10037
	codeStreamNotFound     = 10059
)

// MaxAppend is the most commits of one append, which is what comes together in
// a few milliseconds.
const MaxAppend = 64

const (
	firstPause = 2 * time.Millisecond // before sending again; doubled each time
	longPause  = 250 * time.Millisecond

	// maxRefusals is how often a refusal is believed to be passing though the
	// version is free.
	maxRefusals = 8
)

// Append stores commits, all or none: one, or several. Those of one stream
// follow one another and have consecutive versions, and of these, all but the
// first get their Previous here. It sets Position and Hash of each. When it
// returns nil, they are on disk and stay. [ErrConflict] means that another commit has one of the versions and
// nothing was stored, [ErrUnsettled] that time ran out. Any other error means
// that nothing was stored.
//
// A lost acknowledgement is settled by asking the leader, so appending the
// very same commit twice stores it once and succeeds twice.
func (s *Store) Append(ctx context.Context, commits ...*Commit) error {
	records, err := encodeAll(commits)
	if err != nil {
		return err
	}
	var last uint64
	if s.config.Replicas == 1 {
		last, err = s.group.append(ctx, records)
	} else {
		last, err = s.store(ctx, records, false)
	}
	if err != nil {
		return err
	}
	// The messages of a batch lie one behind the other.
	for i, r := range records {
		r.commit.Hash = r.hash
		r.commit.Position = last - uint64(len(records)-1-i)
	}
	return nil
}

// encodeAll gives the stored form of commits that go together.
func encodeAll(commits []*Commit) ([]*record, error) {
	if len(commits) == 0 || len(commits) > MaxAppend {
		return nil, fmt.Errorf("eventstore: an append takes 1 to %d commits", MaxAppend)
	}
	records := make([]*record, len(commits))
	for i, commit := range commits {
		if i > 0 && commit.Stream == commits[i-1].Stream {
			commit.Previous = records[i-1].hash
			if commit.Version != commits[i-1].Version+1 {
				return nil, errors.New("eventstore: commits of one stream in one append must have consecutive versions")
			}
		} else if slices.ContainsFunc(commits[:i], func(c *Commit) bool { return c.Stream == commit.Stream }) {
			return nil, errors.New("eventstore: commits of one stream in one append must follow one another")
		}
		record, err := kinds.encodeCommit(commit)
		if err != nil {
			return nil, err
		}
		records[i] = record
	}
	return records, nil
}

// store sends the records until their fate is known, and gives the position of
// the last one. Uncertain says that messages of an earlier attempt may still
// be on their way.
func (s *Store) store(ctx context.Context, records []*record, uncertain bool) (uint64, error) {
	pause := firstPause
	refusals := 0
	giveUp := time.Now().Add(appendTimeout)
	for {
		last, err := s.send(ctx, records)
		if err == nil {
			return last, nil
		}
		var refused *apiError
		switch {
		case errors.As(err, &refused):
			refusals++
		case errors.Is(err, nats.ErrMaxPayload):
			return 0, fmt.Errorf("eventstore: the NATS server's max_payload is too small: %w", err)
		case errors.Is(err, errNotSent), errors.Is(err, nats.ErrNoResponders):
			// Received by nobody.
		default:
			uncertain = true
		}

		last, fate, unknown := s.settle(ctx, records)
		switch {
		case unknown != nil:
			// The leader can't be asked just now.
		case fate == fateOurs:
			return last, nil
		case fate == fateConflict:
			return 0, ErrConflict
		case fate == fateAbsent && refused != nil && !refused.passing(refusals):
			if uncertain {
				return 0, fmt.Errorf("%w: %w", ErrUnsettled, refused)
			}
			return 0, fmt.Errorf("eventstore: the commit was refused: %w", refused)
		}
		ended := wait(ctx, pause)
		switch {
		case s.closing.Err() != nil:
			ended = ErrClosed
		case ended == nil && time.Now().After(giveUp):
			ended = context.DeadlineExceeded
		}
		if ended != nil && uncertain {
			return 0, fmt.Errorf("%w: %w", ErrUnsettled, ended)
		}
		if ended != nil {
			return 0, fmt.Errorf("eventstore: the commit was not stored: %w: %w", ended, err)
		}
		pause = min(2*pause, longPause)
	}
}

// passing tells whether it makes sense to send again after this refusal though
// the version is free: the rival that caused it may have failed, the server is
// busy, or the cluster is choosing a leader.
func (e *apiError) passing(times int) bool {
	switch e.ErrorCode {
	case codeWrongSequence, codeWrongSequenceConst, codeTooManyBatches:
		return true
	}
	return e.Code >= 500 && times < maxRefusals
}

// wait returns after the pause or, with an error, when ctx ends.
func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send makes one attempt: it publishes and waits for the acknowledgement.
func (s *Store) send(ctx context.Context, records []*record) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", errNotSent, err)
	}
	last := records[len(records)-1]
	msg := &nats.Msg{Subject: last.subject, Header: last.header, Data: last.payload}
	if len(records) > 1 {
		// An atomic batch: the server keeps the messages aside until the one
		// that commits them. Each attempt is a batch of its own.
		batch := nuid.Next()
		for i, r := range records[:len(records)-1] {
			member := &nats.Msg{Subject: r.subject, Header: batchHeader(r, batch, i+1, false), Data: r.payload}
			if err := s.write.PublishMsg(member); err != nil {
				return 0, fmt.Errorf("%w: %w", errNotSent, err)
			}
		}
		msg.Header = batchHeader(last, batch, len(records), true)
	}

	answer, err := s.acks.one(ctx, msg, s.config.AckTimeout)
	if err != nil {
		return 0, err
	}
	return readAck(answer.Data)
}

// readAck gives the position that the server acknowledges.
func readAck(data []byte) (uint64, error) {
	// What nearly every answer looks like needs no JSON decoder.
	if rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`+StreamName+`","seq":`)); ok {
		rest = bytes.TrimRight(rest, " }")
		if sequence, err := strconv.ParseUint(string(rest), 10, 64); err == nil && sequence > 0 {
			return sequence, nil
		}
	}
	var ack struct {
		Stream   string    `json:"stream"`
		Sequence uint64    `json:"seq"`
		Error    *apiError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("eventstore: malformed acknowledgement: %w", err)
	}
	switch {
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Stream != StreamName || ack.Sequence == 0:
		return 0, fmt.Errorf("eventstore: acknowledged by stream %q instead of %s", ack.Stream, StreamName)
	}
	return ack.Sequence, nil
}

func batchHeader(r *record, batch string, sequence int, commit bool) nats.Header {
	header := nats.Header{
		"Nats-Batch-Id":       {batch},
		"Nats-Batch-Sequence": {strconv.Itoa(sequence)},
	}
	if commit {
		header["Nats-Batch-Commit"] = []string{"1"}
	}
	for name, values := range r.header {
		header[name] = values
	}
	return header
}

// What can have become of an append.
type fate int

const (
	fateAbsent fate = iota
	fateOurs
	fateConflict
)

// settle asks the leader of the stream what became of the records. It never
// asks for a copy: followers lag behind.
func (s *Store) settle(ctx context.Context, records []*record) (last uint64, is fate, err error) {
	ours := 0
	for _, r := range records {
		found, err := s.ask(ctx, r.subject)
		switch {
		case errors.Is(err, errNoMessage):
			continue
		case errors.Is(err, ErrUnreadable):
			return 0, fateConflict, nil // whatever it is, it has the version
		case err != nil:
			return 0, 0, err
		case found.get(headerHash) != r.hash.String():
			return 0, fateConflict, nil
		}
		ours++
		last = found.Position
	}
	switch ours {
	case 0:
		return 0, fateAbsent, nil
	case len(records):
		return last, fateOurs, nil
	}
	// A batch is visible as a whole or not at all, so that some were asked for
	// before it came and some after: the next question tells.
	return 0, 0, errors.New("eventstore: half of a batch was seen")
}
