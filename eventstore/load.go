package eventstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pageSize is the most subjects that the server answers in one direct get.
	pageSize = 1024

	// firstPage is how many versions are asked for first when some are known:
	// naming 1,024 subjects takes 45 kB.
	firstPage = 32
)

// Load gives the commits of a stream from version after+1 on, in order; none
// when there are none. What it reads comes cheaply, from whichever server is
// near, which may lag behind; so it ends with the leader being asked for the
// version that would be next. It is up to date like [Store.CatchUp].
func (s *Store) Load(ctx context.Context, stream Stream, after uint64) ([]Commit, error) {
	if err := stream.check(); err != nil {
		return nil, err
	}
	commits, err := s.loadDirect(ctx, stream, after)
	if err != nil {
		return nil, err
	}
	return s.catchUp(ctx, stream, after+uint64(len(commits)), commits)
}

// CatchUp gives the same as Load, asking the leader of the stream for one
// version after the other until there is none: right for the one or two
// commits that somebody who was up to date has missed.
func (s *Store) CatchUp(ctx context.Context, stream Stream, after uint64) ([]Commit, error) {
	if err := stream.check(); err != nil {
		return nil, err
	}
	return s.catchUp(ctx, stream, after, nil)
}

func (s *Store) catchUp(ctx context.Context, stream Stream, after uint64, commits []Commit) ([]Commit, error) {
	for {
		after++
		message, err := s.ask(ctx, stream.subject(after))
		if errors.Is(err, errNoMessage) {
			return commits, nil
		}
		if err != nil {
			return nil, fmt.Errorf("eventstore: loading %s %s: %w", stream.Kind, stream.ID, err)
		}
		commit, err := message.Decode()
		if err != nil {
			return nil, err
		}
		commits = append(commits, commit)
	}
}

var errNoMessage = errors.New("no message found")

// ask gets the message at a subject from the leader of the stream.
func (s *Store) ask(ctx context.Context, subject string) (*Message, error) {
	return s.askLeader(ctx, []byte(`{"last_by_subj":"`+subject+`"}`))
}

// askPosition gets the message at a position from the leader of the stream.
func (s *Store) askPosition(ctx context.Context, position uint64) (*Message, error) {
	return s.askLeader(ctx, fmt.Appendf(nil, `{"seq":%d}`, position))
}

// TimeAt is when the commit at a position was made; [ErrMissing] when there is
// none.
func (s *Store) TimeAt(ctx context.Context, position uint64) (time.Time, error) {
	message, err := s.askPosition(ctx, position)
	if errors.Is(err, errNoMessage) {
		return time.Time{}, fmt.Errorf("%w: position %d", ErrMissing, position)
	}
	if err != nil {
		return time.Time{}, err
	}
	commit, err := message.Decode()
	return commit.At, err
}

func (s *Store) askLeader(ctx context.Context, question []byte) (*Message, error) {
	answer, err := s.gets.one(ctx, &nats.Msg{Subject: "$JS.API.STREAM.MSG.GET." + StreamName, Data: question}, readTimeout)
	if err != nil {
		return nil, err
	}
	var stored struct {
		Message *struct {
			Subject  string `json:"subject"`
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &stored); err != nil {
		return nil, fmt.Errorf("malformed answer: %w", err)
	}
	switch {
	case stored.Error != nil && stored.Error.ErrorCode == codeNoMessage:
		return nil, errNoMessage
	case stored.Error != nil:
		return nil, stored.Error
	case stored.Message == nil:
		return nil, errors.New("malformed answer: neither a message nor an error")
	}
	var header nats.Header
	if len(stored.Message.Header) > 0 {
		if header, err = nats.DecodeHeadersMsg(stored.Message.Header); err != nil {
			return nil, fmt.Errorf("%w: position %d: %w", ErrUnreadable, stored.Message.Sequence, err)
		}
	}
	message, err := newMessage(stored.Message.Subject, stored.Message.Sequence, header, stored.Message.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: position %d: %w", ErrUnreadable, stored.Message.Sequence, err)
	}
	return &message, nil
}

// loadDirect reads what the nearest copy of the stream has. It gives versions
// without a gap; what it leaves out at the end, for whatever reason, is for
// the leader to give.
func (s *Store) loadDirect(ctx context.Context, stream Stream, after uint64) ([]Commit, error) {
	var commits []Commit
	size := firstPage
	if after == 0 {
		all := []string{subjectPrefix + string(stream.Kind) + "." + stream.ID + ".*"}
		page, complete, err := s.page(ctx, all)
		if err != nil {
			return nil, err
		}
		if commits = inOrder(page, after); complete {
			return commits, nil
		}
		size = pageSize
	}
	for ; ; size = pageSize {
		next := after + uint64(len(commits)) + 1
		subjects := make([]string, size)
		for i := range subjects {
			subjects[i] = stream.subject(next + uint64(i))
		}
		page, _, err := s.page(ctx, subjects)
		if err != nil {
			return nil, err
		}
		page = inOrder(page, next-1)
		commits = append(commits, page...)
		if len(page) < size {
			return commits, nil
		}
	}
}

// inOrder gives those commits that follow the version without a gap.
func inOrder(page []Commit, after uint64) []Commit {
	slices.SortFunc(page, func(a, b Commit) int { return cmp.Compare(a.Version, b.Version) })
	for i := range page {
		if page[i].Version != after+1+uint64(i) {
			return page[:i]
		}
	}
	return page
}

// page gets the messages at these subjects in one request, in no particular
// order. It is complete unless there are more than the server gives at once or
// the answer breaks off. Only what can't be read is an error.
func (s *Store) page(ctx context.Context, subjects []string) (commits []Commit, complete bool, err error) {
	question, err := json.Marshal(struct {
		Subjects []string `json:"multi_last"`
	}{subjects})
	if err != nil {
		return nil, false, err
	}
	request, err := s.gets.ask(&nats.Msg{Subject: "$JS.API.DIRECT.GET." + StreamName, Data: question}, pageSize+1)
	if err != nil {
		return nil, false, nil
	}
	defer request.done()
	timer := time.NewTimer(readTimeout)
	defer timer.Stop()
	for {
		answer, err := request.next(ctx, timer.C)
		if err != nil {
			return commits, false, nil
		}
		switch status(answer) {
		case "":
		case "204": // the end; anything pending is what didn't fit
			return commits, answer.Header.Get("Nats-Num-Pending") == "0", nil
		case "404":
			return commits, len(commits) == 0, nil
		default: // "413": too many
			return commits, false, nil
		}
		message, err := directMessage(answer)
		if err != nil {
			return nil, false, err
		}
		commit, err := message.Decode()
		if err != nil {
			return nil, false, err
		}
		commits = append(commits, commit)
	}
}

// LoadKind gives every commit of every stream of a kind, stream by stream in
// order of version. It is for kinds of which there are few, such as catalogs.
func (s *Store) LoadKind(ctx context.Context, kind Kind) ([]Commit, error) {
	if err := (Stream{Kind: kind, ID: "any"}).check(); err != nil {
		return nil, err
	}
	page, complete, err := s.page(ctx, []string{subjectPrefix + string(kind) + ".*.*"})
	if err != nil {
		return nil, err
	}
	if !complete {
		return nil, fmt.Errorf("eventstore: loading all of kind %s: the answer broke off, or there are more than %d commits", kind, pageSize)
	}
	heads := map[string]uint64{}
	for i := range page {
		heads[page[i].Stream.ID] = max(heads[page[i].Stream.ID], page[i].Version)
	}
	var commits []Commit
	for _, id := range slices.Sorted(maps.Keys(heads)) {
		stream, err := s.Load(ctx, Stream{Kind: kind, ID: id}, 0)
		if err != nil {
			return nil, err
		}
		commits = append(commits, stream...)
	}
	return commits, nil
}
