package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// replies sends requests and hands each answer to whoever asked. All of them
// share one subscription, so that asking costs the server nothing but the
// request. Unlike the requests of nats.go, one may have many answers.
type replies struct {
	conn  *nats.Conn
	inbox string // without the number of the request

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]*asked
	lost    chan struct{} // closed when the connection is lost
}

// errNotSent means that a message certainly didn't leave this process.
var errNotSent = errors.New("not sent")

// asked is a request whose answers are awaited.
type asked struct {
	replies *replies
	number  uint64
	answers chan *nats.Msg
	lost    <-chan struct{}
}

func newReplies(conn *nats.Conn) (*replies, error) {
	r := &replies{conn: conn, inbox: conn.NewInbox() + ".", waiting: map[uint64]*asked{}, lost: make(chan struct{})}
	conn.SetDisconnectErrHandler(r.disconnected)
	sub, err := conn.Subscribe(r.inbox+"*", r.deliver)
	if err != nil {
		return nil, err
	}
	// Answers are bounded by what was asked; to drop one would be to lose it.
	return r, sub.SetPendingLimits(-1, -1)
}

// disconnected tells everybody who waits that their answer won't come.
func (r *replies) disconnected(*nats.Conn, error) {
	r.mu.Lock()
	close(r.lost)
	r.lost = make(chan struct{})
	r.mu.Unlock()
}

func (r *replies) deliver(answer *nats.Msg) {
	number, err := strconv.ParseUint(strings.TrimPrefix(answer.Subject, r.inbox), 36, 64)
	if err != nil {
		return
	}
	r.mu.Lock()
	request := r.waiting[number]
	r.mu.Unlock()
	if request == nil {
		return // nobody waits any more
	}
	select {
	case request.answers <- answer:
	default: // more than were asked for
	}
}

// ask sends the message with a reply address of its own. At most this many
// answers are kept. The caller must call done.
func (r *replies) ask(msg *nats.Msg, answers int) (*asked, error) {
	request := &asked{replies: r, answers: make(chan *nats.Msg, answers)}
	r.mu.Lock()
	r.last++
	request.number = r.last
	r.waiting[request.number] = request
	request.lost = r.lost
	r.mu.Unlock()

	msg.Reply = r.inbox + strconv.FormatUint(request.number, 36)
	if err := r.conn.PublishMsg(msg); err != nil {
		request.done()
		return nil, fmt.Errorf("%w: %w", errNotSent, err)
	}
	return request, nil
}

// errNoAnswer means that an answer took longer than one may take.
var errNoAnswer = errors.New("no answer in time")

// next waits for an answer until late comes. Nobody listening at the subject
// is an error.
func (a *asked) next(ctx context.Context, late <-chan time.Time) (*nats.Msg, error) {
	select {
	case answer := <-a.answers:
		if len(answer.Data) == 0 && status(answer) == "503" {
			return nil, nats.ErrNoResponders
		}
		return answer, nil
	case <-late:
		return nil, errNoAnswer
	case <-a.lost:
		return nil, nats.ErrDisconnected
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *asked) done() {
	a.replies.mu.Lock()
	delete(a.replies.waiting, a.number)
	a.replies.mu.Unlock()
}

// one asks for a single answer and waits this long for it at most. A timer of
// its own costs less than another context, and every append needs one.
func (r *replies) one(ctx context.Context, msg *nats.Msg, within time.Duration) (*nats.Msg, error) {
	request, err := r.ask(msg, 1)
	if err != nil {
		return nil, err
	}
	defer request.done()
	timer := time.NewTimer(within)
	defer timer.Stop()
	return request.next(ctx, timer.C)
}

// status is what the server says in place of a message: "404", "503", …; ""
// when it is a message.
func status(msg *nats.Msg) string {
	if values := msg.Header["Status"]; len(values) > 0 {
		return values[0]
	}
	return ""
}
