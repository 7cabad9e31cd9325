package projections

import (
	"context"
	"encoding/json"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// Opener opens sealed personal data; *eventstore.Vault is one. It answers with
// an error that is [eventstore.ErrErased] once the person's key is gone.
type Opener interface {
	Open(ctx context.Context, sealed domain.Sealed, context string) (string, error)
}

// Source is the ordered stream of commits; *eventstore.Store is one.
type Source interface {
	// Follow hands every commit from position after+1 on to handle, in order,
	// and returns only when ctx ends, when it can't read on, or with the error
	// of handle.
	Follow(ctx context.Context, after uint64, handle func(context.Context, []eventstore.Commit) error) error

	// FollowRaw is Follow with messages that are not decoded yet and may be
	// unreadable; positions that are missing are left out.
	FollowRaw(ctx context.Context, after uint64, handle func(context.Context, []eventstore.Message) error) error

	LastPosition(ctx context.Context) (uint64, error)
}

// Member is a user in a team.
type Member struct {
	User          domain.UserID
	Email         string // empty once erased
	Name          string // empty once erased
	EmailVerified bool
	Role          domain.RoleKey
	Sites         []MemberSite     // in the order in which they were granted
	Overrides     domain.Overrides // never nil slices
	JoinedAt      time.Time
	LastSignInAt  time.Time // zero: never signed in
	TwoFactor     bool      // the account has a second factor
	ExpiresAt     time.Time // when the membership ends by itself; zero: never
}

// MemberSite is a member's role on one site.
type MemberSite struct {
	Site      domain.SiteID
	Name      string
	Role      domain.RoleKey
	ExpiresAt time.Time // when it ends by itself; zero: never
}

// MembersFilter says which members of a team are wanted. They come in the
// order in which they joined.
type MembersFilter struct {
	Query string    // part of the name or of the e-mail address, in any case; empty for all
	Now   time.Time // which decides what has ended by itself
	Limit int       // of a page; see PageLimit
	After MemberKey
}

// MemberKey is where a page of members ends; its zero value is the beginning.
type MemberKey struct {
	Position uint64 // of the commit by which the member joined
	User     domain.UserID
}

// Membership is a team as one of its members sees it in a list of teams.
type Membership struct {
	Team     domain.TeamID
	Name     string
	Catalog  string
	Plan     string // empty in a catalog without plans
	Role     domain.RoleKey
	JoinedAt time.Time

	ExpiresAt time.Time // when the membership ends by itself; zero: never
}

// Invitation is an invitation to a team, whatever became of it.
type Invitation struct {
	ID        domain.InvitationID
	Team      domain.TeamID
	Email     string // empty once erased
	Name      string // empty when none was given, or once erased
	Role      domain.RoleKey
	Sites     []domain.SiteGrant
	Status    domain.InvitationStatus // expired as soon as its time has come, recorded or not
	Link      int                     // version of the link that is alive
	InvitedBy Person
	InvitedAt time.Time
	ExpiresAt time.Time
	EndedAt   time.Time // when it was accepted, declined, cancelled or recorded as expired; zero before
	// AccessExpiresAt is when the membership that it leads to ends; zero: never.
	AccessExpiresAt time.Time
	Delivery        Delivery
}

// Person is who did something, as far as it can be told.
type Person struct {
	Type  domain.ActorType
	ID    string
	Name  string // of the user or of the API key; empty once erased
	Email string // of a user; empty once erased
}

// Delivery is how the message with an invitation's present link fared.
type Delivery struct {
	Status domain.DeliveryStatus
	Detail string    // what went wrong, without the address
	At     time.Time // of the outcome; zero while queued
}

// InvitationsFilter says which invitations of a team are wanted. They come
// newest first.
type InvitationsFilter struct {
	Status domain.InvitationStatus // empty for every status
	Now    time.Time               // which decides what has expired
	Limit  int
	After  InvitationKey
}

// InvitationKey is where a page of invitations ends; its zero value is the
// beginning.
type InvitationKey struct {
	Position   uint64 // of the commit that invited
	Invitation domain.InvitationID
}

// DueInvitation is an invitation whose time has come and whose end is not
// recorded yet.
type DueInvitation struct {
	Team       domain.TeamID
	Invitation domain.InvitationID
}

// DueMember is a member of whose access something has ended by itself that is
// not recorded yet.
type DueMember struct {
	Team domain.TeamID
	User domain.UserID
}

// AuditEntry is one event in the log of a team. All of it comes from the event
// and from what was known at its position.
type AuditEntry struct {
	ID        domain.EventID
	Position  uint64
	Index     int // within the commit at Position
	At        time.Time
	Action    string
	Actor     AuditActor
	Target    AuditTarget
	Before    json.RawMessage // a JSON object; nil when there is nothing to say
	After     json.RawMessage
	RequestID string

	// Of what a host product did, as far as it said.
	OnBehalfOf AuditPerson
	Detail     json.RawMessage // a JSON object; nil for none, and once it is erased
	OccurredAt time.Time       // zero: when it was recorded
}

// AuditPerson is a user for whom a host product acted; the zero value is
// nobody. Name and Email are those at the time of the event, empty for somebody
// who had left the team by then.
type AuditPerson struct {
	ID    domain.UserID
	Name  string
	Email string
}

// AuditActor is who did it and from where. Name and Email are those at the
// time of the event; all of it but the id is empty once the person is erased.
type AuditActor struct {
	Type      domain.ActorType
	ID        string
	Name      string
	Email     string
	IP        string
	UserAgent string
}

// AuditTarget is what it was done to.
type AuditTarget struct {
	Type string // team, member, invitation, site, api_key, ownership_transfer, session, or the host product's own
	ID   string
	Name string // at the time of the event
}

// AuditFilter says which entries of a team's log are wanted, in any
// combination. They come newest first.
type AuditFilter struct {
	Member  string    // id of a user who did it, or on whose behalf or to whom it was done
	Actor   string    // id of a user or an API key, "operator" or "roster"
	Actions []string  // any of them, at most MaxActions
	Target  string    // id
	From    time.Time // the earliest time wanted; zero for any
	To      time.Time // the latest time wanted; zero for any
	Limit   int
	After   AuditKey
}

// AuditKey is where a page of the log ends; its zero value is the beginning.
type AuditKey struct {
	Position uint64
	Index    int
}

// PageLimit is the most entries that one page may have. A filter with a higher
// limit, or with none, gets this many.
const PageLimit = 200

// State is how projecting goes, for readiness and metrics.
type State struct {
	// Position up to which every read model is filled.
	Position uint64
	// Projecting tells whether this node fills the tables; with PostgreSQL one
	// node does and the others stand by.
	Projecting bool
	// Failure is nil while all is well.
	Failure *Failure
}

// Failure is why projecting has stopped. It is tried again every few seconds,
// so it goes away by itself when its cause does.
type Failure struct {
	Model    string // the read model that can't go on; empty when all of them can't
	Position uint64 // of the commit that can't be applied; 0 when it isn't about one
	Text     string // without personal data
	Since    time.Time
}

// Report is what came of comparing a read model with one made anew.
type Report struct {
	Model       string
	Position    uint64 // at which the two were compared
	Rows        int64  // of all tables of the model, as made anew
	Differences int64  // rows that are missing, too many or different in the live tables
	Samples     []Difference
	Duration    time.Duration
}

// Difference names one row that differs, by its key and without its content.
type Difference struct {
	Table   string
	Key     string // the columns of the key and their values: ids and positions
	What    string // "missing", "surplus" or "different"
	Columns []string
}

// Verification is what Verify found.
type Verification struct {
	Reports []Report
	Commits uint64   // whose versions and hashes were checked
	Broken  []string // gaps in versions and breaks in hash chains, at most maxBroken of them
}

// Sound tells whether everything was as it should be.
func (v *Verification) Sound() bool {
	for i := range v.Reports {
		if v.Reports[i].Differences > 0 {
			return false
		}
	}
	return len(v.Broken) == 0
}

// Progress is called now and then during long work with how many positions of
// how many are done.
type Progress func(done, total uint64)
