package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// follower is told what a stream of changes says, in its order and by one
// goroutine.
type follower interface {
	// position is up to where the follower has heard; 0 when it hasn't begun.
	position() uint64
	// begin says that everything from before a position is to be forgotten.
	begin(position uint64)
	// changed says that what is decided in a team, or about a person, may be
	// different from a position on. Only one of the two is given.
	changed(team, user string, position uint64)
	// complete says that everything up to a position has been told, and that
	// this was so at a moment of this process's clock; false when that is too
	// long ago to be of use.
	complete(position uint64, moment time.Time) bool
	// interrupted says that nothing is told just now, and why.
	interrupted(err error)
}

// feed follows one stream of changes as long as it is wanted, whatever happens
// to connections and servers.
type feed struct {
	client *Client
	path   string
	now    func() time.Time
	to     follower
}

// Pauses before another attempt at a stream: they double from the first to the
// longest, and begin anew when a stream has worked.
const (
	firstReconnect   = 100 * time.Millisecond
	longestReconnect = 10 * time.Second

	// silence is how long a stream may say nothing: five times what is promised.
	silence = 5 * time.Second

	// maxLine bounds a line of a stream; Roster's have about 200 bytes.
	maxLine = 64 << 10
)

// run ends with ctx.
func (f *feed) run(ctx context.Context) {
	pause := firstReconnect
	for {
		worked, err := f.follow(ctx)
		if ctx.Err() != nil {
			err = errClosed
		}
		f.to.interrupted(err)
		if worked {
			pause = firstReconnect
		}
		wait := between(pause)
		if refusal, ok := errors.AsType[*Error](err); ok {
			wait = max(wait, min(refusal.RetryAfter, longestReconnect))
		}
		if !sleep(ctx, wait) {
			return
		}
		pause = min(2*pause, longestReconnect)
	}
}

var (
	errClosed = errors.New("client: closed")
	errBehind = errors.New("client: what the stream of changes says arrives too late")
)

// follow opens the stream once and tells what it says until it ends. worked
// tells whether it was of any use.
func (f *feed) follow(ctx context.Context) (worked bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(silence, func() { cancel(errors.New("client: the stream of changes has gone silent")) })
	defer watchdog.Stop()

	r, err := f.client.request(ctx, call{method: http.MethodGet, path: f.path})
	if err != nil {
		return false, err
	}
	r.Header.Set("Accept", "text/event-stream")
	begun := f.to.position()
	if begun > 0 {
		r.Header.Set("Last-Event-ID", strconv.FormatUint(begun, 10))
	}
	stream := &reading{to: f.to, sent: f.now(), now: f.now, begun: begun > 0}
	response, err := f.client.http.Do(r)
	if err != nil {
		return false, whyEnded(ctx, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, refused(response)
	}
	if !hasType(response, "text/event-stream") {
		return false, errors.New("client: the answer is no stream of events")
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		watchdog.Reset(silence)
		if err := stream.line(lines.Text()); err != nil {
			return stream.worked, err
		}
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return stream.worked, whyEnded(ctx, err)
}

// whyEnded prefers the reason why a context was ended to what that led to.
func whyEnded(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("client: the stream of changes: %w", err)
}

// reading is one stream that is being read, line by line.
type reading struct {
	to     follower
	now    func() time.Time
	sent   time.Time // when the request was, by this process's clock
	begun  bool      // the follower knows where it stands
	worked bool

	event string
	data  string
}

func (s *reading) line(line string) error {
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch {
	case line == "":
		event, data := s.event, s.data
		s.event, s.data = "", ""
		return s.told(event, data)
	case field == "event":
		s.event = value
	case field == "data":
		if s.data != "" {
			return errors.New("client: an event of several lines is none of Roster's")
		}
		s.data = value
	}
	return nil // id, retry, comments: nothing that isn't in the data as well
}

// told acts on one event. Names that it doesn't know are those of a newer
// server, which says by a reset what can't be passed over.
func (s *reading) told(event, data string) error {
	var e struct {
		Position uint64 `json:"position"`
		OpenMS   int64  `json:"open_ms"`
		Team     string `json:"team"`
		User     string `json:"user"`
		Reason   string `json:"reason"`
		// Without it, nothing is known to be as before.
		Decisions *bool `json:"decisions"`
	}
	switch event {
	case "change", "position", "reset", "end":
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("client: an event of the stream: %w", err)
		}
	}
	switch event {
	case "change":
		if (e.Team == "") == (e.User == "") {
			return errors.New("client: a change is neither of a team nor of a person")
		}
		indecisive := e.Decisions != nil && !*e.Decisions
		if s.begun && !indecisive { // what came before it begins is in no answer that is kept
			s.to.changed(e.Team, e.User, e.Position)
		}
	case "reset":
		s.to.begin(e.Position)
		s.begun = true
	case "position":
		if !s.begun {
			s.to.begin(e.Position)
			s.begun = true
		}
		// Either it was held up on its way, or the clocks of the two ends have
		// drifted apart: in both cases another stream is better than this one.
		if !s.to.complete(e.Position, s.moment(e.OpenMS)) {
			return errBehind
		}
		s.worked = true
	case "end":
		return fmt.Errorf("client: the server has ended the stream: %s", plain(e.Reason))
	}
	return nil
}

// moment is that of a message which the server made so many milliseconds after
// the request arrived, by this process's clock: at that time or later the
// message was made. It is never in the future, whatever the server says.
func (s *reading) moment(openMS int64) time.Time {
	now := s.now()
	openMS = max(0, min(openMS, int64(24*time.Hour/time.Millisecond)))
	if made := s.sent.Add(time.Duration(openMS) * time.Millisecond); made.Before(now) {
		return made
	}
	return now
}
