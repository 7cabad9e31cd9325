package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client calls one Roster with one credential. Its methods may be called
// concurrently.
type Client struct {
	base     string // without a slash at the end
	token    string
	http     *http.Client
	timeout  time.Duration // of one attempt
	attempts int
}

// Option changes how a Client works.
type Option func(*Client)

// WithHTTPClient makes the calls through another HTTP client, of which a copy
// is used that follows no redirects.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithTimeout bounds each attempt at a call; 10 seconds without it.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithAttempts is how often a call is made at most when the server can't be
// reached or isn't able to answer; 3 without it. Nothing is done twice by that.
func WithAttempts(n int) Option { return func(c *Client) { c.attempts = n } }

const (
	// Roster itself gives up after 5 seconds when it can't see what a read is to
	// see, and says so.
	usualTimeout  = 10 * time.Second
	usualAttempts = 3

	// connections that are kept for the next call. The standard library's two
	// would make most of a busy host's checks open one of their own.
	connections = 64

	maxHeader = 64 << 10
)

// New makes a client of the Roster at a base URL ("https://teams.example.com").
// The token is an API key, a session token or the operator token.
func New(baseURL, token string, options ...Option) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "" ||
		base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("client: the base URL must be of the form https://teams.example.com")
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("client: the token must be visible ASCII characters")
	}
	c := &Client{base: strings.TrimRight(base.String(), "/"), token: token, timeout: usualTimeout, attempts: usualAttempts}
	for _, option := range options {
		option(c)
	}
	if c.timeout <= 0 || c.attempts < 1 {
		return nil, errors.New("client: a timeout and a number of attempts must be more than nothing")
	}
	if c.http == nil {
		transport := &http.Transport{}
		if usual, ok := http.DefaultTransport.(*http.Transport); ok {
			transport = usual.Clone()
		}
		transport.MaxIdleConnsPerHost = connections
		transport.MaxResponseHeaderBytes = maxHeader
		c.http = &http.Client{Transport: transport}
	}
	// A redirect would take the request, and perhaps the token, elsewhere.
	own := *c.http
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &own
	return c, nil
}

// call is one request. It changes nothing, or has a key under which Roster does
// it once: so it may be made again.
type call struct {
	method, path string
	query        url.Values
	body         []byte
	most         int64  // bytes of an answer
	key          string // Idempotency-Key of a write
	reads        bool   // changes nothing, and may ask for Roster-At-Least
}

// answer is what came back.
type answer struct {
	header http.Header
	body   []byte
	sent   time.Time // when the attempt began that it answers
}

// position is that of the header, or 0.
func (a *answer) position() uint64 {
	n, _ := strconv.ParseUint(a.header.Get("Roster-Position"), 10, 64)
	return n
}

// Pauses between attempts: the first, and the longest that is waited for.
const (
	firstPause = 50 * time.Millisecond
	longPause  = 5 * time.Second
)

// do makes a call, again when it may go better then, and decodes the answer.
func (c *Client) do(ctx context.Context, what call, into any) (*answer, error) {
	for attempt, pause := 1, firstPause; ; attempt, pause = attempt+1, 2*pause {
		got, err := c.once(ctx, what)
		if err == nil && into != nil {
			if err := json.Unmarshal(got.body, into); err != nil {
				return nil, fmt.Errorf("client: the answer to %s %s is not what was expected: %w", what.method, what.path, err)
			}
		}
		if err == nil || attempt >= c.attempts || !passing(err) {
			return got, err
		}
		wait := between(pause)
		if refusal, ok := errors.AsType[*Error](err); ok {
			wait = max(wait, refusal.RetryAfter)
		}
		if wait > longPause || !sleep(ctx, wait) {
			return nil, err
		}
	}
}

// between gives a time between half of the pause and all of it, so that many
// clients don't come back at the same moment.
func between(pause time.Duration) time.Duration { return pause/2 + rand.N(pause/2+1) }

// sleep waits; false when the context ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errTooLarge means that an answer has more bytes than any that Roster gives.
var errTooLarge = errors.New("the answer is too large")

// once makes one attempt.
func (c *Client) once(ctx context.Context, what call) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := c.request(ctx, what)
	if err != nil {
		return nil, err
	}
	sent := time.Now()
	response, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, refused(response)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, what.most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("client: %s %s: reading the answer: %w", what.method, what.path, err)
	case int64(len(body)) > what.most:
		return nil, fmt.Errorf("client: %s %s: %w", what.method, what.path, errTooLarge)
	}
	got := &answer{header: response.Header, body: body, sent: sent}
	if asked := atLeast(ctx); what.reads && asked > 0 && got.position() < asked {
		return nil, fmt.Errorf("client: %s %s: the answer is of position %d, asked for was %d", what.method, what.path, got.position(), asked)
	}
	return got, nil
}

func (c *Client) request(ctx context.Context, what call) (*http.Request, error) {
	target := c.base + what.path
	if len(what.query) > 0 {
		target += "?" + what.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, what.method, target, bytes.NewReader(what.body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	header := r.Header
	header.Set("Authorization", "Bearer "+c.token)
	if what.body != nil {
		header.Set("Content-Type", "application/json")
	}
	if what.key != "" {
		header.Set("Idempotency-Key", what.key)
	}
	if asked := atLeast(ctx); what.reads && asked > 0 {
		header.Set("Roster-At-Least", strconv.FormatUint(asked, 10))
	}
	return r, nil
}

// hasType tells whether an answer is of a media type.
func hasType(response *http.Response, want string) bool {
	media, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return err == nil && media == want
}

// teamPath is a path below a team. Ids are letters, digits and underscores;
// anything else would be another path.
func teamPath(team, rest string) (string, error) {
	if team == "" || len(team) > 64 {
		return "", errors.New("client: this is not the id of a team")
	}
	for i := range len(team) {
		switch b := team[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '_':
		default:
			return "", errors.New("client: this is not the id of a team")
		}
	}
	return "/v1/teams/" + team + rest, nil
}

type atLeastKey struct{}

// AtLeast makes the reads and checks of a context see everything up to a
// position, such as one that a write gave: they wait for it, on whatever node,
// and a [Cache] doesn't answer from before it.
func AtLeast(ctx context.Context, position uint64) context.Context {
	if position <= atLeast(ctx) {
		return ctx
	}
	return context.WithValue(ctx, atLeastKey{}, position)
}

func atLeast(ctx context.Context) uint64 {
	position, _ := ctx.Value(atLeastKey{}).(uint64)
	return position
}
