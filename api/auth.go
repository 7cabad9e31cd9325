package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"roster/commands"
)

// access says who may call an operation at all. What they may do in a team is
// decided below, by commands.
type access int

const (
	anyone        access = iota // credentials are not even looked at
	maybeSignedIn               // works without a credential, and differently with one
	signedIn                    // a user with a session
	authenticated               // a user, an API key or the operator
)

// maxCredential bounds a credential; the longest real one, an API key, has 99
// characters.
const maxCredential = 512

// credential is what a request presents. A request that presents something in
// the header is never taken by its cookie instead: the caller meant the
// header.
type credential struct {
	token      string
	fromCookie bool
	malformed  bool
}

func (s *Server) credential(r *http.Request) credential {
	if values := r.Header["Authorization"]; len(values) > 0 {
		scheme, token, _ := strings.Cut(values[0], " ")
		token = strings.TrimSpace(token)
		if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxCredential {
			return credential{malformed: true}
		}
		return credential{token: token}
	}
	if _, ok := r.Header["Cookie"]; !ok {
		return credential{}
	}
	cookie, err := r.Cookie(s.cookieName)
	if err != nil || cookie.Value == "" {
		return credential{}
	}
	return credential{token: cookie.Value, fromCookie: true, malformed: len(cookie.Value) > maxCredential}
}

// scope names whose idempotency keys these are: those of one credential, or
// those of everybody without one.
func (c credential) scope() string {
	if c.token == "" {
		return "anonymous"
	}
	hash := sha256.Sum256([]byte(c.token))
	return hex.EncodeToString(hash[:])
}

// caller authenticates a request as far as the operation asks for it, and says
// where it comes from.
func (s *Server) caller(ctx context.Context, x *exchange, r *http.Request, who access, presented credential) (commands.Caller, error) {
	caller, err := s.identify(ctx, x, who, presented)
	if err != nil {
		return caller, err
	}
	if x.ip.IsValid() {
		caller.IP = x.ip.String()
	}
	caller.UserAgent = userAgent(r)
	caller.RequestID = x.id
	return caller, nil
}

// identify authenticates a request as far as the operation asks for it.
func (s *Server) identify(ctx context.Context, x *exchange, who access, presented credential) (commands.Caller, error) {
	var caller commands.Caller
	// A node that is cut off from the others doesn't know what was revoked.
	if err := s.commands.AwaitServing(ctx); err != nil {
		return caller, err
	}
	if who != anyone && (presented.token != "" || presented.malformed) {
		err := error(commands.ErrUnauthenticated)
		if !presented.malformed {
			caller, err = s.commands.Authenticate(ctx, presented.token)
		}
		switch {
		case err == nil:
		case who == maybeSignedIn && presented.fromCookie && asProblem(err).Status == http.StatusUnauthorized:
			// The browser of somebody whose session has ended is a stranger's.
			caller = commands.Caller{}
		default:
			return caller, err
		}
	}
	x.actor = caller.Actor.ID
	switch {
	case who >= signedIn && caller.Actor.ID == "":
		return caller, commands.ErrUnauthenticated
	case who == signedIn && caller.User == "":
		return caller, newProblem(http.StatusForbidden, "user_required", "Only a signed-in user can do this, not an API key.")
	}
	return caller, nil
}

// maxUserAgent bounds what is recorded of a User-Agent header, which browsers
// keep below 300 characters.
const maxUserAgent = 300

func userAgent(r *http.Request) string {
	agent := r.Header.Get("User-Agent")
	if len(agent) > maxUserAgent {
		agent = agent[:maxUserAgent]
	}
	return strings.ToValidUTF8(agent, "")
}

// signInCookie hands the session to a browser.
func (s *Server) signInCookie(x *exchange, token string, expires time.Time) {
	s.setCookie(x, &http.Cookie{Value: token, Expires: expires})
}

// signOutCookie takes it away again.
func (s *Server) signOutCookie(x *exchange) { s.setCookie(x, &http.Cookie{MaxAge: -1}) }

func (s *Server) setCookie(x *exchange, cookie *http.Cookie) {
	cookie.Name = s.cookieName
	cookie.Path = "/"
	cookie.HttpOnly = true
	cookie.Secure = s.secure
	// Lax, so that a link in a message finds its reader signed in.
	cookie.SameSite = http.SameSiteLaxMode
	x.Header().Set("Set-Cookie", cookie.String())
}
