package api

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/go-chi/chi/v5"

	"roster/commands"
)

// exchange is one request and its answer: what the middleware knows of it, and
// the writer that everything is answered through. There is one for each
// request, so that one allocation carries all of it.
type exchange struct {
	http.ResponseWriter
	context exchangeContext

	id      string     // request id
	ip      netip.Addr // of the client; invalid when unknown
	start   time.Time
	status  int
	bytes   int64
	actor   string // id of whoever was authenticated, for the log
	failure error  // what went wrong inside, for the log alone

	caller commands.Caller // set by gate and by ask

	// What the headers of the answer hold that differ from one to the next.
	requestID, position, length [1]string

	maxBody int64 // bytes that the body may have

	// streamed marks an answer that lasts as long as its reader likes.
	streamed bool

	// held, when set, keeps the answer back; see onlyOnce.
	held *bytes.Buffer
}

// WriteHeader notes the status.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 || x.status < 200 {
		x.status = status
	}
	if x.held == nil {
		x.ResponseWriter.WriteHeader(status)
	}
}

func (x *exchange) Write(body []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if x.held != nil {
		return x.held.Write(body)
	}
	n, err := x.ResponseWriter.Write(body)
	x.bytes += int64(n)
	return n, err
}

// WriteString spares a copy of what is embedded.
func (x *exchange) WriteString(text string) (int, error) {
	if x.held != nil {
		return x.Write([]byte(text))
	}
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := io.WriteString(x.ResponseWriter, text)
	x.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

type exchangeKey struct{}

// exchangeContext is the context of a request with its exchange and what the
// router keeps of it: one wrapper around the connection's instead of two.
type exchangeContext struct {
	context.Context
	x     *exchange
	route *chi.Context
}

func (c *exchangeContext) Value(key any) any {
	switch key {
	case exchangeKey{}:
		return c.x
	case chi.RouteCtxKey:
		return c.route
	}
	return c.Context.Value(key)
}

// exchangeOf gives the exchange that a request's context belongs to; nil
// outside of a request.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// maxRequestID bounds a request id that the caller chose: it is written into
// events and logs.
const maxRequestID = 64

// saneRequestID tells whether a caller's request id may be used as it is.
func saneRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// socketAddress is the address of whoever opened the connection. A mapped IPv6
// address is the IPv4 address that it stands for.
func socketAddress(r *http.Request) netip.Addr {
	if port, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return port.Addr().Unmap().WithZone("")
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, _ := netip.ParseAddr(host)
	return addr.Unmap().WithZone("")
}
