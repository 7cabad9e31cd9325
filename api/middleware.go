package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// Limits of one request. maxBody holds a bulk invitation of a few hundred
// people, and few operations take more; requestTimeout is longer than anything but an export takes, and
// shorter than a person waits.
const (
	maxBody        = 64 << 10
	requestTimeout = 30 * time.Second
	slowRequest    = time.Second // from here on a request is worth a line in the log
)

// handler is the way of a request: through the middleware, in the order in
// which it stands here, to its route.
func (s *Server) handler() http.Handler {
	s.router.Use(
		s.recoverPanics,   // a panic is a 500, told to the log alone
		s.securityHeaders, // on every answer
		s.refuseForeign,   // writes from other origins' pages
		s.limitBody,
		middleware.GetHead, // HEAD asks what GET would answer
	)
	observed := http.HandlerFunc(s.observe) // request id, client address, log and metrics of whatever happens below
	if len(s.config.TrustedProxies) == 0 {
		return observed
	}
	prefixes := make([]string, len(s.config.TrustedProxies))
	for i, prefix := range s.config.TrustedProxies {
		prefixes[i] = prefix.String()
	}
	return middleware.ClientIPFromXFF(prefixes...)(observed)
}

// routeContexts are what the router keeps of a request. It would make its own
// otherwise, and with it another copy of the request.
var routeContexts = sync.Pool{New: func() any { return chi.NewRouteContext() }}

// observe makes the exchange, and when it is over tells the log and the
// metrics. The log never holds a path, a query, an address or a credential:
// paths hold tokens, so the route's pattern stands for them.
func (s *Server) observe(w http.ResponseWriter, r *http.Request) {
	route, _ := routeContexts.Get().(*chi.Context)
	route.Reset()
	route.Routes = s.router
	defer routeContexts.Put(route)

	x := &exchange{ResponseWriter: w, start: time.Now()}
	given := ""
	if values := r.Header["X-Request-Id"]; len(values) > 0 {
		given = values[0]
	}
	if x.id = given; !saneRequestID(given) {
		x.id = newRequestID()
	}
	x.requestID[0] = x.id
	if given != "" && isAccess(r.URL.Path) {
		// AuthZEN has any text come back as it was sent. What the log knows the
		// request by stands in the problem then.
		x.requestID[0] = given
	}
	w.Header()["X-Request-Id"] = x.requestID[:]
	x.ip = s.clientAddress(r)
	x.context = exchangeContext{Context: r.Context(), x: x, route: route}
	r = r.WithContext(&x.context) //nolint:contextcheck // it is r's context, with the exchange

	// In a defer, so that it also sees a request that was aborted.
	defer s.finish(x, r)
	s.router.ServeHTTP(x, r)
}

func (s *Server) clientAddress(r *http.Request) netip.Addr {
	if len(s.config.TrustedProxies) > 0 {
		if ip := middleware.GetClientIPAddr(r.Context()); ip.IsValid() {
			return ip
		}
		// A proxy that names no client: better its own address than none, for
		// the throttle's sake.
	}
	return socketAddress(r)
}

func (s *Server) finish(x *exchange, r *http.Request) {
	took := time.Since(x.start)
	if x.status == 0 {
		x.status = http.StatusOK // a handler that wrote nothing
	}
	route := routePattern(r)
	if !x.streamed {
		s.metrics.observe(route, r.Method, x.status, took)
	}

	level := slog.LevelDebug
	switch {
	case x.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case took >= slowRequest && !x.streamed:
		level = slog.LevelWarn
	case x.status >= http.StatusBadRequest:
		level = slog.LevelInfo
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs,
		slog.String("request_id", x.id),
		slog.String("method", knownMethod(r.Method)),
		slog.String("route", route),
		slog.Int("status", x.status),
		slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.Int64("bytes", x.bytes),
	)
	if x.actor != "" {
		attrs = append(attrs, slog.String("actor", x.actor))
	}
	if x.failure != nil {
		attrs = append(attrs, slog.String("error", x.failure.Error()))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// noRoute stands for every path that leads nowhere.
const noRoute = "none"

// routePattern is the pattern that the request matched ("/v1/teams/{team}").
func routePattern(r *http.Request) string {
	if routed := chi.RouteContext(r.Context()); routed != nil {
		if pattern := routed.RoutePattern(); pattern != "" && pattern != "/*" {
			return pattern
		}
	}
	return noRoute
}

// knownMethod keeps methods that a caller made up out of metrics and log.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { //nolint:contextcheck // what is logged outlives the request, and nothing else does
			reason := recover()
			if reason == nil {
				return
			}
			x := exchangeOf(r.Context())
			if err, ok := reason.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(reason) // the way to cut a connection off; net/http stays silent about it
			}
			x.failure = fmt.Errorf("panic: %v", reason)
			s.log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelError, "a handler panicked",
				slog.String("request_id", x.id), slog.String("route", routePattern(r)),
				slog.String("reason", fmt.Sprint(reason)), slog.String("stack", string(debug.Stack())))
			if x.status != 0 {
				panic(http.ErrAbortHandler) // half an answer is out: cut it off, so that it isn't taken for whole
			}
			writeProblem(w, r, internalError())
		}()
		next.ServeHTTP(w, r)
	})
}

// Values of headers that every answer has. They are shared and never changed.
var (
	headerNoSniff   = []string{"nosniff"}
	headerNoContent = []string{"default-src 'none'; frame-ancestors 'none'"}
	headerNoRefer   = []string{"no-referrer"}
	headerNoStore   = []string{"no-store"}
	headerSameSite  = []string{"same-origin"}
	headerHTTPSOnly = []string{"max-age=63072000"}
)

// securityHeaders sets what suits the JSON answers: nothing may be loaded,
// framed or kept. Pages set a wider policy of their own.
func (s *Server) securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header["X-Content-Type-Options"] = headerNoSniff
		header["Content-Security-Policy"] = headerNoContent
		header["Referrer-Policy"] = headerNoRefer
		header["Cache-Control"] = headerNoStore
		header["Cross-Origin-Resource-Policy"] = headerSameSite
		if s.secure {
			header["Strict-Transport-Security"] = headerHTTPSOnly
		}
		next.ServeHTTP(w, r)
	})
}

// refuseForeign refuses writes that a browser says come from another origin's
// page, whatever credential they carry. Clients that are no browsers send no
// such header and pass.
func (s *Server) refuseForeign(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.crossOrigin.Check(r) != nil {
			writeProblem(w, r, newProblem(http.StatusForbidden, codeCrossOrigin,
				"A page of another origin can't do this."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limitBody refuses a body that announces itself as too large before reading
// it, cuts off one that doesn't, and waits for neither for ever.
func (s *Server) limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		x.maxBody = maxBody
		if r.ContentLength > maxBody || r.ContentLength < 0 {
			for suffix, limit := range s.largeBodies {
				if strings.HasSuffix(r.URL.Path, suffix) {
					x.maxBody = limit
				}
			}
		}
		if r.ContentLength > x.maxBody {
			writeProblem(w, r, bodyTooLarge(x.maxBody))
			return
		}
		if r.ContentLength < 0 {
			r.Body = http.MaxBytesReader(w, r.Body, x.maxBody)
		}
		if r.ContentLength != 0 {
			// Not every connection has deadlines; where there are none, as in a
			// test without a connection, none is needed.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTimeout))
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) { writeProblem(w, r, notFound()) }

func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	p := newProblem(http.StatusMethodNotAllowed, codeMethod, "This path doesn't answer to this method; Allow says to which it does.")
	if routed := chi.RouteContext(r.Context()); routed != nil {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if s.router.Match(chi.NewRouteContext(), method, r.URL.Path) {
				allowed = append(allowed, method)
			}
		}
		p = p.header("Allow", strings.Join(allowed, ", "))
	}
	writeProblem(w, r, p)
}
