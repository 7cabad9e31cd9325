package api

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"

	"roster/api/dashboard"
	"roster/commands"
	"roster/projections"
)

// Config is what a Server is made from.
type Config struct {
	Commands    *commands.Service
	Projections *projections.Projections
	BaseURL     *url.URL // what links begin with; https makes cookies Secure

	// Store tells how far the event store has come, for readiness.
	Store EventStore
	// Mailbox shows the messages that were not sent anywhere; nil for none.
	Mailbox Mailbox
	// Brand is how the pages look.
	Brand dashboard.Brand
	// BillingURL is where the host product changes plans; nil where its
	// operator does.
	BillingURL *url.URL
	// TrustedProxies are those whose X-Forwarded-For is believed; none by
	// default, and then the client is whoever opened the connection.
	TrustedProxies []netip.Prefix
	Version        string       // of the program, for the API description
	Logger         *slog.Logger // slog.Default when nil
}

// Server is the HTTP interface.
type Server struct {
	config      Config
	commands    *commands.Service
	projections *projections.Projections
	log         *slog.Logger
	secure      bool // the base URL is https
	cookieName  string
	crossOrigin *http.CrossOriginProtection
	metrics     *metrics
	streams     *openStreams
	written     *otter.Cache[string, uint64] // the last position that each actor wrote here
	largeBodies map[string]int64             // by the end of the path: of operations that take more than maxBody
	router      *chi.Mux
	way         http.Handler // of every request, to the router
	api         huma.API
}

// New makes the server; it serves nothing yet.
func New(config Config) *Server {
	s := &Server{
		config:      config,
		commands:    config.Commands,
		projections: config.Projections,
		log:         config.Logger,
		secure:      config.BaseURL.Scheme == "https",
		cookieName:  "roster_session",
		crossOrigin: http.NewCrossOriginProtection(),
		metrics:     newMetrics(),
		written:     newWritten(),
		largeBodies: map[string]int64{},
		router:      chi.NewMux(),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.secure {
		// The prefix makes browsers refuse the cookie unless it is Secure, for
		// this host alone and for every path.
		s.cookieName = "__Host-roster_session"
	}
	// Behind a proxy that rewrites Host, the pages' own origin would look
	// foreign otherwise. A base URL is an origin, so this can't fail.
	_ = s.crossOrigin.AddTrustedOrigin(config.BaseURL.Scheme + "://" + config.BaseURL.Host)

	s.streams = newOpenStreams(s.metrics.registry)
	s.way = s.handler()
	s.router.NotFound(s.notFound)
	s.router.MethodNotAllowed(s.methodNotAllowed)
	s.api = newAPI(s)
	s.operations()
	s.healthRoutes()
	s.docsRoutes()
	dashboard.New(dashboard.Config{
		API: s, Brand: config.Brand, BillingURL: config.BillingURL, Secure: s.secure, Mailbox: config.Mailbox != nil,
	}).Routes(s.router)
	if config.Mailbox != nil {
		s.mailboxRoutes()
	}
	return s
}

// operations registers every operation, area by area.
func (s *Server) operations() {
	s.userOperations()
	s.sessionOperations()
	s.resetOperations()
	s.meOperations()
	s.twoFactorOperations()
	s.passkeyOperations()
	s.teamOperations()
	s.memberOperations()
	s.roleOperations()
	s.catalogOperations()
	s.siteOperations()
	s.invitationOperations()
	s.ownershipOperations()
	s.keyOperations()
	s.auditOperations()
	s.hostActionOperations()
	s.accessOperations()
	s.explainOperations()
	s.whatIfOperations()
	s.changeOperations()
	s.reviewOperations()
}

// ServeHTTP makes a Server an http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.way.ServeHTTP(w, r) }

// HTTPServer is a server for this handler with the time limits that it is
// meant for. There is no limit on reading a whole request here, because
// net/http would end a long answer by it; limitBody sets one for the body.
func (s *Server) HTTPServer() *http.Server {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      2 * requestTimeout, // exports and streams move it forward as they go
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(s.streams.close) // or they would hold it up
	return server
}

// Metrics is where the other parts of the process add what they count.
func (s *Server) Metrics() prometheus.Registerer { return s.metrics.registry }

const requestIDAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// newRequestID makes an id for a request that came without one: 80 random
// bits, enough to find it again in a log. It is no secret.
func newRequestID() string {
	id := [20]byte{'r', 'e', 'q', '_'}
	bits := uint64(0)
	for i := 4; i < len(id); i++ {
		if i%8 == 4 {
			bits = rand.Uint64()
		}
		id[i] = requestIDAlphabet[bits%32]
		bits /= 32
	}
	return string(id[:])
}

// link is an absolute URL below the base URL.
func (s *Server) link(path string) string {
	return strings.TrimSuffix(s.config.BaseURL.String(), "/") + path
}
