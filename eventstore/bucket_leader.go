package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What must be fresh is asked of the leader of the stream and of nobody else:
// a direct get is answered by whichever replica is near, and that one may not
// have heard yet of the write that matters.

const (
	// leaderPatience bounds a question whose context has no deadline. An
	// election takes a few seconds.
	leaderPatience = 10 * time.Second

	// leaderAttempt is how long one answer is waited for: a leader that has
	// just been cut off never gives it, its successor will.
	leaderAttempt = 2 * time.Second

	// leaderPause is between two attempts.
	leaderPause = 50 * time.Millisecond
)

// errNoLeader is an answer that says to ask again.
var errNoLeader = errors.New("the stream has no leader just now")

// leaderMessage is a message as the leader of its stream has it.
type leaderMessage struct {
	Subject   string    `json:"subject"`
	Sequence  uint64    `json:"seq"`
	RawHeader []byte    `json:"hdrs"`
	Data      []byte    `json:"data"`
	Time      time.Time `json:"time"`
}

func (m *leaderMessage) header() (nats.Header, error) {
	if len(m.RawHeader) == 0 {
		return nats.Header{}, nil
	}
	return nats.DecodeHeadersMsg(m.RawHeader)
}

// leaderQuestion selects a message: the last of a subject, or the first at or
// after a sequence whose subject matches a filter.
type leaderQuestion struct {
	LastOf   string `json:"last_by_subj,omitempty"`
	Sequence uint64 `json:"seq,omitempty"`
	NextOf   string `json:"next_by_subj,omitempty"`
}

// askForMessage gets a message from the leader; errNoMessage when there is none.
func askForMessage(ctx context.Context, js jetstream.JetStream, stream string, question leaderQuestion) (leaderMessage, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return leaderMessage{}, err
	}
	var message leaderMessage
	err = ask(ctx, js, "$JS.API.STREAM.MSG.GET."+stream, body, func(data []byte) error {
		var answer struct {
			Message *leaderMessage `json:"message"`
			Error   *apiError      `json:"error"`
		}
		switch err := json.Unmarshal(data, &answer); {
		case err != nil:
			return fmt.Errorf("malformed answer: %w", err)
		case answer.Error != nil && answer.Error.ErrorCode == codeNoMessage:
			return errNoMessage
		case answer.Error != nil && answer.Error.Code == unavailable:
			return errNoLeader
		case answer.Error != nil:
			return answer.Error
		case answer.Message == nil:
			return errors.New("malformed answer: neither a message nor an error")
		}
		message = *answer.Message
		return nil
	})
	return message, err
}

// unavailable is the class of errors that pass, as in HTTP.
const unavailable = 503

// lastPosition is the sequence of the last message that a stream ever had, as
// its leader knows it; 0 when there was none.
func lastPosition(ctx context.Context, js jetstream.JetStream, stream string) (uint64, error) {
	var last uint64
	err := ask(ctx, js, "$JS.API.STREAM.INFO."+stream, nil, func(data []byte) error {
		var answer struct {
			State struct {
				LastSeq uint64 `json:"last_seq"`
			} `json:"state"`
			Cluster *struct {
				Leader string `json:"leader"`
			} `json:"cluster"`
			Error *apiError `json:"error"`
		}
		switch err := json.Unmarshal(data, &answer); {
		case err != nil:
			return fmt.Errorf("malformed answer: %w", err)
		case answer.Error != nil && answer.Error.Code == unavailable:
			return errNoLeader
		case answer.Error != nil:
			return answer.Error
		case answer.Cluster != nil && answer.Cluster.Leader == "":
			return errNoLeader // while there is none, any replica answers with what it has
		}
		last = answer.State.LastSeq
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("eventstore: asking for the last position of %s: %w", stream, err)
	}
	return last, nil
}

// ask puts a question to the JetStream interface until it is answered by
// something else than errNoLeader, or until ctx ends.
func ask(ctx context.Context, js jetstream.JetStream, subject string, question []byte, read func([]byte) error) error {
	return persist(ctx, func(ctx context.Context) error {
		answer, err := js.Conn().RequestWithContext(ctx, subject, question)
		if err != nil {
			return err
		}
		return read(answer.Data)
	})
}

// persist repeats an attempt while a cluster chooses a leader, or just
// begins, which may leave a question without any answer.
func persist(ctx context.Context, attempt func(context.Context) error) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, leaderPatience)
		defer cancel()
	}
	for {
		try, cancel := context.WithTimeout(ctx, leaderAttempt)
		err := attempt(try)
		cancel()
		var refused *jetstream.APIError
		passing := errors.Is(err, errNoLeader) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) ||
			errors.As(err, &refused) && refused.Code == unavailable
		if !passing {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("NATS gave no answer: %w", errors.Join(err, ctx.Err()))
		case <-time.After(leaderPause):
		}
	}
}

// store publishes a message that a stream must take, and gives its sequence.
// ErrConflict means that an expectation in its header isn't met, ErrUnsettled
// that the acknowledgement never came.
func store(ctx context.Context, js jetstream.JetStream, message *nats.Msg) (uint64, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, leaderPatience)
		defer cancel()
	}
	ack, err := js.PublishMsg(ctx, message)
	var refused *jetstream.APIError
	switch {
	case err == nil:
		return ack.Sequence, nil
	case errors.As(err, &refused) && (refused.ErrorCode == codeWrongSequence || refused.ErrorCode == codeWrongSequenceConst):
		return 0, ErrConflict
	case errors.As(err, &refused), errors.Is(err, jetstream.ErrNoStreamResponse):
		return 0, err
	}
	return 0, fmt.Errorf("%w: %w", ErrUnsettled, err)
}

// expect makes a message be refused unless the last one on its subject has
// the sequence; 0 means that there must be none.
func expect(message *nats.Msg, sequence uint64) {
	message.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(sequence))
}

// ensure makes sure of a stream. What exists is left as it is when it differs
// in nothing that matters; otherwise it is changed where change is allowed
// and refused where not.
func ensure(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, change bool) error {
	var have jetstream.StreamConfig
	err := persist(ctx, func(ctx context.Context) error {
		stream, err := js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			stream, err = js.CreateStream(ctx, want)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				stream, err = js.Stream(ctx, want.Name) // another process was first
			}
		}
		if err == nil {
			have = stream.CachedInfo().Config
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("eventstore: making sure of the stream %s with %d replicas: %w", want.Name, want.Replicas, err)
	}
	wrong := differences(want, have)
	switch {
	case len(wrong) == 0:
		return nil
	case !change:
		return fmt.Errorf("eventstore: the stream %s exists with settings that can't be worked with: %q; "+
			"correct them with the nats command line, or use another NATS account", want.Name, wrong)
	}
	want.Replicas = max(want.Replicas, have.Replicas)
	if _, err := js.UpdateStream(ctx, want); err != nil {
		return fmt.Errorf("eventstore: changing the stream %s (%q): %w", want.Name, wrong, err)
	}
	return nil
}
