package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"roster/commands"
	"roster/domain"
	"roster/projections"
)

// changeView says that something has changed. It is the data of an event named
// change.
type changeView struct {
	Team     domain.TeamID `json:"team,omitempty"`
	User     domain.UserID `json:"user,omitempty"`
	Position uint64        `json:"position"`
	At       time.Time     `json:"at"`
	Actions  *[]string     `json:"actions,omitempty"`
	// Decisions is whether somebody may be allowed more or less than before.
	Decisions bool `json:"decisions"`
}

// positionView is the data of an event named position.
type positionView struct {
	Position uint64 `json:"position"`
	OpenMS   int64  `json:"open_ms"`
}

// resetView is the data of an event named reset.
type resetView struct {
	Position uint64 `json:"position"`
	Reason   string `json:"reason"`
}

// Reasons of a reset.
const (
	resetMissed  = "missed"       // what the reader hasn't seen is no longer at hand
	resetCatalog = "role_catalog" // a role catalog was published
)

// endView is the data of an event named end, the last of a stream.
type endView struct {
	Reason string `json:"reason"`
}

const changesAbout = "Server-sent events (`text/event-stream`) that tell what to read anew. " +
	"`change` has `{team, position, at, actions, decisions}`, the actions being those of the audit log, for readers who may read it, " +
	"and decisions whether somebody may be allowed more or less than before; " +
	"an answer given at that position or later takes account of the change. " +
	"`position` has `{position, open_ms}` and comes after changes and at least every second: everything up to that position was sent, and with it every revocation " +
	"that was acknowledged within the first `open_ms` milliseconds after this request arrived. " +
	"`reset` has `{position, reason}`: forget everything from before that position. " +
	"`end` has `{reason}`; ask again with the `Last-Event-ID`, unless the answer to that says otherwise. " +
	"Without a position to begin after, the stream begins now."

// ChangesQuery is where a stream begins.
type ChangesQuery struct {
	After       string `query:"after" maxLength:"20" doc:"The position to begin after."`
	LastEventID string `header:"Last-Event-ID" maxLength:"20" doc:"The same, as browsers send it to go on with a stream; this one counts."`
}

type teamChangesInput struct {
	TeamPath
	ChangesQuery
}

func (s *Server) changeOperations() {
	feed := operation{
		method: http.MethodGet, tag: tagChanges, access: authenticated, reads: readsState, unbounded: true,
		content: []string{"text/event-stream"}, errors: []int{http.StatusTooManyRequests},
	}
	ofTeam, ofAll := feed, feed
	ofTeam.id, ofTeam.path, ofTeam.summary = "watch-team", "/v1/teams/{team}/changes", "Watch a team"
	ofTeam.about = "For members and API keys who may view the team. The stream ends when they may no longer. " + changesAbout
	streams(s, ofTeam, func(ctx context.Context, x *exchange, in *teamChangesInput) (func(huma.Context), error) {
		if err := s.permitted(ctx, x, in.Team, domain.ActionViewTeam); err != nil {
			return nil, err
		}
		return s.watch(ctx, x, in.Team, &in.ChangesQuery)
	})
	ofAll.id, ofAll.path, ofAll.summary = "watch-all", "/v1/changes", "Watch all teams"
	ofAll.about = "With the operator token only. A `change` with `user` and no `team` may change what is decided about that person in any team. " + changesAbout
	streams(s, ofAll, func(ctx context.Context, x *exchange, in *ChangesQuery) (func(huma.Context), error) {
		if x.caller.Actor != domain.Operator {
			return nil, domain.ErrNotPermitted
		}
		return s.watch(ctx, x, "", in)
	})
}

// after is the position to begin after; false for now.
func (in *ChangesQuery) after() (position uint64, given bool, err error) {
	place, name, text := "query", "after", in.After
	if in.LastEventID != "" {
		place, name, text = "header", "Last-Event-ID", in.LastEventID
	}
	if text == "" {
		return 0, false, nil
	}
	if position, err = strconv.ParseUint(text, 10, 64); err != nil {
		return 0, false, newProblem(http.StatusUnprocessableEntity, codeInvalidField, fieldsAtFault).
			in(place, name, "must be a position: a whole number, as an event of the stream gave it")
	}
	return position, true, nil
}

// aheadWait is how long a stream waits for the position that it is to begin
// after: a node further behind the others doesn't serve.
const aheadWait = 2 * time.Second

// watch opens the stream of a team, or of all.
func (s *Server) watch(ctx context.Context, x *exchange, team domain.TeamID, in *ChangesQuery) (func(huma.Context), error) {
	after, given, err := in.after()
	if err != nil {
		return nil, err
	}
	if given {
		// Another node may have told the reader of it a moment ago. A position
		// that doesn't come is answered with a reset.
		err := waitAtMost(ctx, aheadWait, after, s.commands.Wait)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
	}
	if err := s.streams.enter(x.caller.Actor); err != nil {
		return nil, err
	}
	return func(hctx huma.Context) {
		r, _ := humachi.Unwrap(hctx)
		var watch *commands.Watch
		if given {
			watch = s.commands.Changes().WatchAfter(team, after)
		} else {
			watch = s.commands.Changes().Watch(team)
		}
		reason := reasonGone
		defer func() {
			watch.Close()
			s.streams.leave(x.caller.Actor, reason)
		}()
		x.streamed = true
		x.Header()["Content-Type"] = []string{"text/event-stream"}
		x.Header()["X-Accel-Buffering"] = []string{"no"} // nginx would hold events back
		x.Header()["Roster-Position"] = []string{strconv.FormatUint(s.commands.Position(), 10)}
		x.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return
		}
		stream := &changeStream{
			server: s, x: x, control: http.NewResponseController(x), watch: watch, team: team, token: s.credential(r).token,
		}
		reason = stream.run(ctx)
	}, nil
}

// changeStream is one reader's stream.
type changeStream struct {
	server  *Server
	x       *exchange
	control *http.ResponseController
	watch   *commands.Watch
	team    domain.TeamID // empty for all
	token   string
	until   time.Time // when the right to read ends by itself; zero for not

	out bytes.Buffer // what is to be sent next
}

// maxChangesAtOnce is how many changes are put into one piece, about 150 bytes
// each.
const maxChangesAtOnce = 256

// run sends until there is a reason not to, and tells it.
func (c *changeStream) run(ctx context.Context) (reason string) {
	s := c.server.streams
	beat, life := time.NewTicker(s.beat), time.NewTimer(s.life)
	defer beat.Stop()
	defer life.Stop()
	c.out.WriteString("retry: 1000\n\n")
	ending := time.NewTimer(s.life)
	defer ending.Stop()
	for due := true; ; {
		if err := c.step(ctx, due); err != nil {
			if ctx.Err() != nil || errors.Is(err, errNotSent) {
				return reasonGone
			}
			return c.end(c.x.refuse(err).Code)
		}
		if !c.until.IsZero() {
			ending.Reset(min(c.until.Sub(c.server.commands.Now()), s.life))
		}
		select {
		case <-c.watch.Woken():
			due = false
		case <-beat.C:
			due = true
		case <-ending.C:
			due = false // whoever may read on is asked for in any case
			if err := c.over(ctx); err != nil {
				return c.end(c.x.refuse(err).Code)
			}
		case <-life.C:
			return c.end(reasonRenew)
		case <-s.closing:
			return c.end(reasonShutdown)
		case <-ctx.Done():
			return reasonGone
		}
	}
}

// over refuses a reader whose right to read has ended by itself.
func (c *changeStream) over(ctx context.Context) error {
	_, err := c.mayRead(ctx, nil)
	return err
}

// step sends the changes that there are and how far they go. When there are
// none, it says so only if that is due.
func (c *changeStream) step(ctx context.Context, due bool) error {
	moment, err := c.server.commands.UpToDate(ctx)
	if err != nil {
		return err
	}
	for more := true; more; {
		batch := c.watch.Next(maxChangesAtOnce)
		more = batch.More
		if len(batch.Changes) == 0 && !batch.Lost && !due {
			return nil
		}
		// After the changes were read: a reader who must not see them has lost
		// that right with one of them or before.
		view, err := c.mayRead(ctx, batch.Changes)
		if err != nil {
			return err
		}
		if batch.Lost {
			c.write("reset", batch.Position, resetView{batch.Position, resetMissed})
		}
		for i := range batch.Changes {
			last := i+1 == len(batch.Changes) || batch.Changes[i+1].Position > batch.Changes[i].Position
			c.change(&batch.Changes[i], view, last)
		}
		if !more {
			c.write("position", batch.Position, positionView{batch.Position, moment.Sub(c.x.start).Milliseconds()})
		}
		if err := c.send(); err != nil {
			return err
		}
	}
	return nil
}

// readerView is what the reader may know.
type readerView struct {
	actions bool                   // the actions of changes
	members map[domain.UserID]bool // who of those that changes are about is in the team
}

// mayRead refuses a reader who must not read on.
func (c *changeStream) mayRead(ctx context.Context, changes []commands.Change) (readerView, error) {
	if err := c.server.commands.Remains(ctx, c.token); err != nil {
		return readerView{}, err
	}
	if c.team == "" {
		return readerView{actions: true}, nil
	}
	var view readerView
	c.until = time.Time{}
	_, err := c.server.commands.ViewTeam(ctx, c.x.caller, c.team, func(t *domain.Team, at time.Time) error {
		view = readerView{actions: may(t, c.x.caller, domain.ActionReadAudit, at) == nil, members: map[domain.UserID]bool{}}
		for i := range changes {
			if user := changes[i].User; user != "" {
				_, view.members[user] = t.Member(user, at)
			}
		}
		c.until = t.May(c.x.caller.Actor, domain.ActionViewTeam, at).Until
		return may(t, c.x.caller, domain.ActionViewTeam, at)
	})
	return view, err
}

// change puts one change into the next piece. Only the last of a commit has an
// id: a reader who goes on after it has all of the commit.
func (c *changeStream) change(change *commands.Change, view readerView, last bool) {
	id := change.Position
	if !last {
		id = 0
	}
	if change.Everything() {
		c.write("reset", id, resetView{change.Position, resetCatalog})
		return
	}
	out := changeView{Team: change.Team, User: change.User, Position: change.Position, At: change.At, Decisions: change.Decisive}
	if c.team != "" {
		if change.User != "" && !view.members[change.User] {
			return
		}
		out.Team, out.User = c.team, ""
	}
	if view.actions {
		actions := []string{}
		for _, kind := range change.Kinds {
			if action := projections.AuditAction(kind); action != "" {
				actions = append(actions, action)
			}
		}
		out.Actions = &actions
	}
	c.write("change", id, out)
}

// write puts one event into the next piece.
func (c *changeStream) write(event string, id uint64, data any) {
	if id > 0 {
		c.out.WriteString("id: ")
		c.out.Write(strconv.AppendUint(c.out.AvailableBuffer(), id, 10))
		c.out.WriteByte('\n')
	}
	c.out.WriteString("event: ")
	c.out.WriteString(event)
	c.out.WriteString("\ndata: ")
	encoded, _ := json.Marshal(data) // plain fields
	c.out.Write(encoded)
	c.out.WriteString("\n\n")
}

// errNotSent means that the reader is gone or doesn't accept what is sent.
var errNotSent = errors.New("api: the reader of a stream took nothing")

// send hands a piece to the reader. One who takes too long for it is cut off;
// meanwhile nobody else waits.
func (c *changeStream) send() error {
	if c.out.Len() == 0 {
		return nil
	}
	// Not every connection has deadlines; where there are none, none is needed.
	_ = c.control.SetWriteDeadline(time.Now().Add(c.server.streams.patience))
	_, err := c.x.Write(c.out.Bytes())
	c.out.Reset()
	if err == nil {
		err = c.control.Flush()
	}
	if err != nil {
		return errNotSent
	}
	return nil
}

// end tells the reader why there is no more.
func (c *changeStream) end(reason string) string {
	c.write("end", 0, endView{reason})
	_ = c.send() // a reader who is gone needs no reason
	return reason
}
