package subscribers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go/jetstream"

	"roster/eventstore"
)

// The poison queue is a stream that holds a reference to every commit that a
// subscription couldn't handle: one message at poison.<subscription>.<position>.
// The commit itself stays where it is.
const (
	poisonStream = "POISON"
	poisonPrefix = "poison."

	// maxPoisoned bounds the queue. When it is full, commits are given back
	// to be delivered again instead: nothing is lost, and the log says so.
	maxPoisoned = 100_000

	maxPoisonReason = 500
)

// Poisoned is a commit that a subscription couldn't handle.
type Poisoned struct {
	Subscription string    `json:"subscription"`
	Position     uint64    `json:"position"`
	Reason       string    `json:"reason"`
	At           time.Time `json:"at"`
}

func (p Poisoned) subject() string {
	return poisonPrefix + p.Subscription + "." + strconv.FormatUint(p.Position, 10)
}

func (r *Router) ensurePoison(ctx context.Context, replicas int) error {
	_, err := r.js.Stream(ctx, poisonStream)
	if err == nil {
		return nil // however many copies it has been given since
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("subscribers: asking for the poison queue: %w", err)
	}
	_, err = r.js.CreateStream(ctx, jetstream.StreamConfig{
		Name:              poisonStream,
		Description:       "Commits that a subscription of Roster couldn't handle",
		Subjects:          []string{poisonPrefix + ">"},
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1, // the latest reason
		MaxMsgs:           maxPoisoned,
		Discard:           jetstream.DiscardNew,
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return fmt.Errorf("subscribers: making the poison queue: %w", err)
	}
	return nil
}

// poison is the middleware that puts a commit aside when its handler has
// failed for good. A commit that can't be put aside either comes again.
func (r *Router) poison(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		produced, err := next(msg)
		if err == nil || stopping(msg.Context(), err) {
			return produced, err
		}
		entry := Poisoned{
			Subscription: message.HandlerNameFromCtx(msg.Context()),
			Position:     deliveryOf(msg).stored.Position,
			Reason:       reason(err),
			At:           time.Now().UTC(),
		}
		if aside := r.putAside(msg.Context(), entry); aside != nil {
			return nil, errors.Join(err, aside)
		}
		r.logger.Error("a commit can't be handled; it is in the poison queue",
			"subscription", entry.Subscription, "position", entry.Position, "error", err)
		return nil, nil
	}
}

func (r *Router) putAside(ctx context.Context, entry Poisoned) error {
	body, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("subscribers: writing an entry of the poison queue: %w", err)
	}
	if _, err := r.js.Publish(ctx, entry.subject(), body); err != nil {
		return fmt.Errorf("subscribers: putting position %d into the poison queue: %w", entry.Position, err)
	}
	return nil
}

// reason is the error in a line.
func reason(err error) string {
	var panicked middleware.RecoveredPanicError
	text := err.Error()
	if errors.As(err, &panicked) {
		text = fmt.Sprintf("panic: %v", panicked.V) // the log has the stack
	}
	return clip(oneLine(text), maxPoisonReason)
}

// Poisoned lists the poison queue, the oldest entry first.
func (r *Router) Poisoned(ctx context.Context, limit int) ([]Poisoned, error) {
	stream, err := r.js.Stream(ctx, poisonStream)
	if err != nil {
		return nil, fmt.Errorf("subscribers: asking for the poison queue: %w", err)
	}
	var list []Poisoned
	state := stream.CachedInfo().State
	for position := state.FirstSeq; position <= state.LastSeq && len(list) < limit; position++ {
		stored, err := stream.GetMsg(ctx, position, jetstream.WithGetMsgSubject(poisonPrefix+">")) // this one or the next there is
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("subscribers: reading the poison queue: %w", err)
		}
		position = stored.Sequence
		var entry Poisoned
		if err := json.Unmarshal(stored.Data, &entry); err != nil || entry.subject() != stored.Subject {
			return nil, fmt.Errorf("subscribers: message %d of the stream %s is not an entry of the poison queue", position, poisonStream)
		}
		list = append(list, entry)
	}
	return list, nil
}

// Redrive hands a commit of the poison queue to its subscription again, once,
// and takes it out of the queue when that went well. [Router.Run] need not be
// running.
func (r *Router) Redrive(ctx context.Context, entry Poisoned) error {
	handle, ok := r.handlers[entry.Subscription]
	if !ok {
		return fmt.Errorf("subscribers: there is no subscription %q here", entry.Subscription)
	}
	queue, err := r.js.Stream(ctx, poisonStream)
	if err != nil {
		return fmt.Errorf("subscribers: asking for the poison queue: %w", err)
	}
	queued, err := queue.GetLastMsgForSubject(ctx, entry.subject())
	if err != nil {
		return fmt.Errorf("subscribers: position %d of %s in the poison queue: %w", entry.Position, entry.Subscription, err)
	}
	events, err := r.js.Stream(ctx, eventstore.StreamName)
	if err != nil {
		return fmt.Errorf("subscribers: asking for the event stream: %w", err)
	}
	raw, err := events.GetMsg(ctx, entry.Position)
	if err != nil {
		return fmt.Errorf("subscribers: reading position %d: %w", entry.Position, err)
	}
	stored, err := eventstore.NewMessage(raw.Subject, raw.Sequence, raw.Header, raw.Data)
	if err != nil {
		return err
	}
	commit, err := stored.Decode()
	if err != nil {
		return err
	}
	if err := handle(ctx, commit); err != nil {
		return fmt.Errorf("subscribers: handling position %d again: %w", entry.Position, err)
	}
	if err := queue.DeleteMsg(ctx, queued.Sequence); err != nil {
		return fmt.Errorf("subscribers: taking position %d out of the poison queue: %w", entry.Position, err)
	}
	return nil
}
