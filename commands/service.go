package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"roster/domain"
	"roster/eventstore"
)

// Config is what a Service needs. Store, Nodes and Catalogs are required.
type Config struct {
	Store    *eventstore.Store
	Nodes    *eventstore.Nodes
	Catalogs []CatalogSource // to be published; the first is what a new team gets unless it names another

	BaseURL       string // where people reach the pages, without a slash at the end
	OperatorToken string // empty: there is no operator

	Now    func() time.Time // nil: the clock, in UTC and whole microseconds
	Logger *slog.Logger     // nil: slog.Default()
}

// Sizes of what is kept in memory. A small team takes about 3 KB and a user
// 1 KB; a team of 100,000 members about 40 MB.
const (
	hotTeams = 20_000
	hotUsers = 20_000
)

// Service is every use case. Its methods may be called concurrently.
type Service struct {
	store     *eventstore.Store
	nodes     *eventstore.Nodes
	vault     *eventstore.Vault
	catalogs  *registry
	teams     *hot[*domain.Team]
	users     *hot[*domain.User]
	timelines *timelines

	passwords *passwords
	throttle  *throttle
	sessions  *sessions
	answers   *eventstore.Bucket
	factors   *records           // see factorsBucket
	relying   *webauthn.WebAuthn // nil where there can't be passkeys

	hostActions *hostActions
	background  background

	baseURL       string
	operatorToken string
	instance      string // of this process
	operatorKey   string // the data key that seals where the operator works from
	clock         func() time.Time
	logger        *slog.Logger
	tail          tail
	changes       *Changes
	acknowledged  atomic.Uint64 // the position of the last revocation that was acknowledged here
}

// New makes the service and publishes its role catalogs.
func New(ctx context.Context, config Config) (*Service, error) {
	s := &Service{
		store: config.Store, nodes: config.Nodes, vault: config.Store.Vault(),
		passwords: newPasswords(), instance: eventstore.NewID("node"), baseURL: config.BaseURL, operatorToken: config.OperatorToken,
		relying: newRelyingParty(config.BaseURL),
		clock:   config.Now, logger: config.Logger, changes: newChanges(changesKept),
	}
	if s.clock == nil {
		s.clock = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	s.tail.moved = make(chan struct{})
	s.hostActions = newHostActions(s.store, s.logger)
	s.teams = newHot(s.store, s.nodes != nil, eventstore.KindTeam, hotTeams, func(id string) *domain.Team {
		return domain.NewTeam(domain.TeamID(id), s.catalogs)
	})
	s.teams.clone = (*domain.Team).Clone
	s.users = newHot(s.store, s.nodes != nil, eventstore.KindUser, hotUsers, func(id string) *domain.User {
		return domain.NewUser(domain.UserID(id))
	})
	s.timelines = newTimelines(s.store, func(team domain.TeamID, version uint64) {
		s.background.start(context.Background(), s.logger, "reading a history ahead", func(ctx context.Context) error {
			_, err := s.timelines.get(ctx, team, version)
			return err
		})
	})
	s.teams.folded = s.timelines.follow
	if err := s.openBuckets(ctx); err != nil {
		return nil, err
	}
	if err := s.publish(ctx, config.Catalogs); err != nil {
		return nil, err
	}
	s.register()
	var err error
	if s.operatorKey, err = s.vault.NewKey(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Now is the time by which commands are decided.
func (s *Service) Now() time.Time { return s.clock() }

// servingWait is how long a request waits for a node that is out of touch with
// the others to be in touch again: about as long as NATS takes to elect a new
// leader.
const servingWait = 5 * time.Second

// AwaitServing returns once this node may answer requests, at once nearly
// always, or with ErrUnavailable: a node that has lost touch with the others
// can't know what was revoked.
func (s *Service) AwaitServing(ctx context.Context) error {
	if s.nodes.Serving() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, servingWait)
	defer cancel()
	if err := s.nodes.AwaitServing(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// Serving tells whether this node may answer requests now.
func (s *Service) Serving() bool { return s.nodes.Serving() }

// SealOpaque seals what a client is to hand back unread, such as a page token.
func (s *Service) SealOpaque(purpose string, plaintext []byte, boundTo string) []byte {
	return s.vault.SealOpaque(purpose, plaintext, boundTo)
}

// OpenOpaque opens it again; it fails for anything else.
func (s *Service) OpenOpaque(purpose string, sealed []byte, boundTo string) ([]byte, error) {
	return s.vault.OpenOpaque(purpose, sealed, boundTo)
}

// Errors that aren't refusals by a rule of the domain.
var (
	// ErrUnavailable means that the event store can't be reached or hasn't
	// answered in time. Whether the command was done is not known; repeating
	// it with the same idempotency key settles that.
	ErrUnavailable = errors.New("commands: the event store is not available")

	// ErrVersionConflict means that the aggregate isn't at the version that
	// the caller expects.
	ErrVersionConflict = &domain.Error{
		Kind: domain.Conflict, Code: "version_conflict",
		Detail: "It has changed since you read it. Read it again and decide anew.",
	}

	// ErrUnauthenticated means that there is no valid credential.
	ErrUnauthenticated = &domain.Error{
		Kind: domain.Unauthenticated, Code: "unauthenticated", Detail: "Sign in, or send a valid token.",
	}
)

func unavailable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Done says where a write ended up: the position of its last event, and the
// version of the aggregate that it changed.
type Done struct{ Position, Version uint64 }

// origin is where a request came from, as it is sealed into its commit.
type origin struct {
	IP        string `json:"ip,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

// commit puts events into the form in which they are stored.
func (s *Service) commit(
	ctx context.Context, by Caller, stream eventstore.Stream, version uint64, hash eventstore.Hash,
	now time.Time, events []domain.Event,
) (*eventstore.Commit, error) {
	commit := &eventstore.Commit{
		Stream: stream, Version: version + 1, Previous: hash, At: now,
		Actor: by.Actor, RequestID: by.RequestID, Causation: by.Causation,
		Events: make([]eventstore.Recorded, len(events)),
	}
	for i, event := range events {
		commit.Events[i] = eventstore.Recorded{
			ID:    newEventID(ctx, stream, i),
			Event: event,
		}
	}
	if by.DataKey != "" && by.IP != "" {
		plain, err := json.Marshal(origin{IP: by.IP, UserAgent: clip(by.UserAgent, maxUserAgent)})
		if err != nil {
			return nil, err
		}
		if commit.Origin, err = s.vault.Seal(ctx, by.DataKey, string(commit.ID())+"/origin", string(plain)); err != nil {
			return nil, unavailable(err)
		}
	}
	return commit, nil
}

// settle makes sure of "at once": a command that took something from somebody
// is not acknowledged before every node knows.
func (s *Service) settle(ctx context.Context, commit *eventstore.Commit) error {
	for i := range commit.Events {
		if revokes(commit.Events[i].Event) {
			return s.barrier(ctx, marks{eventsMark: commit.Position})
		}
	}
	return nil
}

// revokes tells whether somebody may be able to do less after an event.
func revokes(event domain.Event) bool {
	switch event.(type) {
	case domain.RoleChanged, domain.PermissionsChanged, domain.SitesChanged, domain.MemberRemoved, domain.MemberLeft,
		domain.ExpiryChanged, // the new end may be an earlier one
		domain.OwnershipTransferred, domain.RoleEdited, domain.RoleDeleted, domain.SiteRemoved, domain.APIKeyRevoked, domain.TeamDeleted,
		domain.InvitationCancelled, domain.InvitationResent, domain.InvitationDeclined,
		domain.PasswordChanged, domain.CatalogPublished,
		// Without a second factor one may do less in a team, and with one the
		// password alone signs in no more. A plan may bring a policy back.
		domain.TwoFactorEnabled, domain.TwoFactorDisabled, domain.PasskeyAdded, domain.PasskeyRemoved,
		domain.TwoFactorPolicyChanged, domain.PlanChanged:
		return true
	}
	return false
}

type marks = eventstore.Marks

// Names under which nodes tell each other how far they have followed.
const (
	eventsMark   = "EVENTS"
	sessionsMark = "SESSIONS"
)

func (s *Service) barrier(ctx context.Context, marks marks) error {
	s.acknowledges(marks[eventsMark])
	if err := s.nodes.Barrier(ctx, marks); err != nil {
		return unavailable(err)
	}
	return nil
}

// tail is how far this node has followed the event stream.
type tail struct {
	mu       sync.Mutex
	position uint64
	moved    chan struct{} // closed and replaced whenever position grows
}

func (t *tail) advance(position uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if position > t.position {
		t.position = position
		close(t.moved)
		t.moved = make(chan struct{})
	}
}

// Wait returns once this node's aggregates take account of everything up to
// the position.
func (s *Service) Wait(ctx context.Context, position uint64) error {
	for {
		s.tail.mu.Lock()
		reached, moved := s.tail.position >= position, s.tail.moved
		s.tail.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
