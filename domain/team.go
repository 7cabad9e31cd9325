package domain

import (
	"iter"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Team is one tenant: its members with their roles, its invitations, sites,
// API keys and plan. The zero state means that the team doesn't exist yet.
//
// Its methods come in three sorts. Decisions (Invite, ChangeRole, …) answer
// with the events that a command causes, or refuse. Apply folds an event into
// the state. The rest are questions. A Team is not safe for concurrent use.
type Team struct {
	id       TeamID
	catalogs Catalogs
	catalog  *Catalog

	name      string
	plan      string
	owner     UserID
	createdAt time.Time
	deleted   bool

	members     map[UserID]*Member
	memberBy    map[AddressID]UserID
	roll        roll            // of the members, in the order of their joining
	former      map[UserID]bool // whoever was a member once and left or was removed
	invitations map[InvitationID]*Invitation
	pendingBy   map[AddressID]InvitationID
	memberEnds  deadlines[UserID]       // of the memberships that end by themselves
	deadlines   deadlines[InvitationID] // of the invitations that are pending, by time
	sites       []*Site                 // in the order of their making
	siteBy      map[SiteID]*Site
	roles       []*Role // the team's own, beside the catalog's
	keys        map[APIKeyID]*APIKey
	transfer    *Transfer // the last one asked for
	twoFactor   twoFactorRule
	reviews     []*Review // in the order of their opening
}

// Catalogs gives the role catalog of a name as it is in force; nil when there
// is none.
type Catalogs interface{ Catalog(name string) *Catalog }

// Given says which event gave something, so that every permission can name
// its reason.
type Given struct {
	Event    EventID
	Position uint64
	At       time.Time
	By       Actor
}

// Member is a user in a team.
type Member struct {
	User     UserID
	Address  AddressID
	JoinedAt time.Time

	ExpiresAt time.Time // when the membership ends by itself; zero for never

	Role      RoleKey
	RoleGiven Given

	Granted, Revoked PermissionSet
	OverridesGiven   Given

	Sites []MemberSite

	Kept *Kept // by an access review, since they joined; nil when none has

	place       int       // in the roll
	factorSince time.Time // from when on a second factor is required of them; zero when none is

	ends    []overrideEnd // of overrides that end by themselves, in the order of the permissions
	soonest time.Time     // end of a role on a site or an override; zero when none ends
}

// MemberSite is a member's role on one site.
type MemberSite struct {
	SiteGrant
	Given Given
}

// InvitationStatus is how an invitation ended, or that it hasn't. That one
// has expired shows in its time, not here.
type InvitationStatus string

const (
	StatusPending   InvitationStatus = "pending"
	StatusAccepted  InvitationStatus = "accepted"
	StatusDeclined  InvitationStatus = "declined"
	StatusCancelled InvitationStatus = "cancelled"
	StatusExpired   InvitationStatus = "expired"
)

// Invitation asks one address to join with one role.
type Invitation struct {
	ID        InvitationID
	Address   AddressID
	Email     Sealed
	Name      Sealed
	Role      RoleKey
	Sites     []SiteGrant
	Status    InvitationStatus
	Link      int // the version of the link that works
	ExpiresAt time.Time
	// AccessExpiresAt is when the membership that it leads to ends; zero for
	// never. The invitation itself never lasts longer.
	AccessExpiresAt time.Time
	InvitedBy       Actor
	InvitedAt       time.Time
}

// StatusAt is the status at a moment: a pending invitation is expired from
// its deadline on, whether or not that was recorded.
func (i *Invitation) StatusAt(now time.Time) InvitationStatus {
	if i.Status == StatusPending && !now.Before(i.ExpiresAt) {
		return StatusExpired
	}
	return i.Status
}

// Site is a part of the team's business to which access is granted
// separately.
type Site struct {
	ID      SiteID
	Name    string
	AddedAt time.Time
}

// APIKey acts for the team with one role, whoever made it.
type APIKey struct {
	ID         APIKeyID
	Name       string
	Role       RoleKey
	Prefix     string
	SecretHash string
	DataKey    string
	CreatedAt  time.Time
	CreatedBy  Actor
	ExpiresAt  *time.Time
	Revoked    bool
	given      Given
	passing    bool // it gives nothing that lasts longer than itself
}

// Active tells whether the key works at this moment.
func (k *APIKey) Active(now time.Time) bool {
	return !k.Revoked && (k.ExpiresAt == nil || now.Before(*k.ExpiresAt))
}

// Transfer is a request to move the ownership.
type Transfer struct {
	ID          TransferID
	To          UserID
	ExpiresAt   time.Time
	RequestedAt time.Time
	Ended       bool
	Confirmed   bool // and so ended
}

// Limits on what one team holds, so that its state stays loadable.
const (
	MaxSites         = 1_000
	MaxAPIKeys       = 200
	MaxTeamNameRunes = 100
	MaxNameRunes     = 200 // of persons, sites and keys
)

// noCatalog is what a team goes by before its first event, and when its
// catalog is missing: there are no roles, so nobody may do anything.
var noCatalog = &Catalog{owner: nobody}

// NewTeam is a team before its first event.
func NewTeam(id TeamID, catalogs Catalogs) *Team {
	return &Team{
		id: id, catalogs: catalogs, catalog: noCatalog,
		members: map[UserID]*Member{}, memberBy: map[AddressID]UserID{}, former: map[UserID]bool{},
		invitations: map[InvitationID]*Invitation{}, pendingBy: map[AddressID]InvitationID{},
		siteBy: map[SiteID]*Site{}, keys: map[APIKeyID]*APIKey{},
		twoFactor: twoFactorRule{TwoFactorPolicy: TwoFactorPolicy{Required: RequiredOfNobody}},
	}
}

func (t *Team) ID() TeamID           { return t.id }
func (t *Team) Name() string         { return t.name }
func (t *Team) Catalog() *Catalog    { return t.catalog }
func (t *Team) PlanKey() string      { return t.plan }
func (t *Team) Owner() UserID        { return t.owner }
func (t *Team) CreatedAt() time.Time { return t.createdAt }

// Live tells whether the team exists: created and not deleted.
func (t *Team) Live() bool { return t.owner != "" && !t.deleted }

// Member finds a member as they are at a moment: without what has ended by
// then. The result must not be changed.
func (t *Team) Member(user UserID, now time.Time) (*Member, bool) { return t.member(user, now) }

// Members gives the members of a moment in the order of their joining, each
// with a place that stays the same: beginning after the place of one goes on
// where that was left. Places begin with 1. The members must not be changed.
func (t *Team) Members(after int, now time.Time) iter.Seq2[int, *Member] {
	return func(yield func(int, *Member) bool) {
		for place, member := range t.roll.after(after) {
			if !ended(member.ExpiresAt, now) && !yield(place, member.at(now)) {
				return
			}
		}
	}
}

// Knows tells whether a user is or was a member.
func (t *Team) Knows(user UserID) bool {
	_, member := t.members[user]
	return member || t.former[user]
}

// Invitation finds an invitation, ended ones included. The result must not be
// changed.
func (t *Team) Invitation(id InvitationID) (*Invitation, bool) {
	invitation, ok := t.invitations[id]
	return invitation, ok
}

// Invitations lists the invitations, ended ones included, for which wanted is
// true, in no particular order. They must not be changed.
func (t *Team) Invitations(wanted func(*Invitation) bool) (list []*Invitation) {
	for _, invitation := range t.invitations {
		if wanted(invitation) {
			list = append(list, invitation)
		}
	}
	return list
}

// APIKey finds an API key, revoked ones included. The result must not be
// changed.
func (t *Team) APIKey(id APIKeyID) (*APIKey, bool) {
	key, ok := t.keys[id]
	return key, ok
}

// APIKeys lists the keys that aren't revoked, in no particular order.
func (t *Team) APIKeys() []*APIKey {
	var keys []*APIKey
	for _, key := range t.keys {
		if !key.Revoked {
			keys = append(keys, key)
		}
	}
	return keys
}

// Sites lists the sites in the order of their making. The slice must not be
// changed.
func (t *Team) Sites() []*Site { return t.sites }

// Site finds a site.
func (t *Team) Site(id SiteID) (*Site, bool) {
	site, ok := t.siteBy[id]
	return site, ok
}

// Transfer is the last ownership transfer that was asked for, if any.
func (t *Team) Transfer() *Transfer { return t.transfer }

// Seats is how full the team is.
type Seats struct {
	Limit   int // NoLimit where the plan or the catalog sets none
	Members int // that take a seat: the owner only where the catalog counts the owner
	Pending int // invitations that are pending and not expired
}

// Used is how many of the seats are taken.
func (s Seats) Used() int { return s.Members + s.Pending }

// Seats counts the seats at a moment.
func (t *Team) Seats(now time.Time) Seats {
	seats := Seats{Limit: NoLimit, Members: t.memberCount(now), Pending: t.deadlines.open(now)}
	if !t.catalog.Rules.OwnerTakesSeat {
		seats.Members--
	}
	if plan := t.planInForce(); plan != nil {
		seats.Limit = plan.Seats
	}
	return seats
}

// planInForce is the team's plan; nil in a catalog without plans. A plan that
// the catalog has dropped counts as the one that new teams get, since a limit
// must not vanish with its name.
func (t *Team) planInForce() *Plan {
	if plan, ok := t.catalog.Plan(t.plan); ok {
		return plan
	}
	if len(t.catalog.Plans) > 0 {
		return t.catalog.Plans[0]
	}
	return nil
}

// room refuses when giving out this many more seats would exceed the plan.
func (t *Team) room(now time.Time, more int) error {
	seats := t.Seats(now)
	if seats.Limit == NoLimit || seats.Used()+more <= seats.Limit {
		return nil
	}
	return ErrSeatLimitReached.with(map[string]any{
		"plan": t.plan, "limit": seats.Limit, "members": seats.Members, "pending": seats.Pending,
		"upgrade_url": t.catalog.Rules.UpgradeURL,
	})
}

// Create decides the first event of a team. The user becomes its owner. An
// empty name gives the catalog's own ("My company").
func (t *Team) Create(owner UserID, address AddressID, name string, catalog *Catalog) ([]Event, error) {
	if name == "" {
		name = catalog.Labels.HomeTeam
	}
	name, err := cleanName("#/name", name, MaxTeamNameRunes)
	if err != nil {
		return nil, err
	}
	return []Event{TeamCreated{
		Name: name, Catalog: catalog.Name, CatalogVersion: catalog.Version, Plan: catalog.DefaultPlan(),
		Owner: owner, OwnerRole: catalog.OwnerRole().Key, OwnerAddress: address,
	}}, nil
}

// Rename changes the team's name.
func (t *Team) Rename(by Actor, name string, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionRenameTeam, now); err != nil {
		return nil, err
	}
	name, err := cleanName("#/name", name, MaxTeamNameRunes)
	if err != nil || name == t.name {
		return nil, err
	}
	return []Event{TeamRenamed{From: t.name, To: name}}, nil
}

// Delete ends the team. Its history stays.
func (t *Team) Delete(by Actor, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionDeleteTeam, now); err != nil {
		return nil, err
	}
	return []Event{TeamDeleted{}}, nil
}

// SetPlan moves the team to another plan. Going below the present number of
// members keeps them and blocks inviting. Only the operator sets plans: what
// was paid for is decided outside of Roster.
func (t *Team) SetPlan(by Actor, plan string, now time.Time) ([]Event, error) {
	if err := t.operator(by, now); err != nil {
		return nil, err
	}
	if _, ok := t.catalog.Plan(plan); !ok {
		return nil, invalid("#/plan", "This team's role catalog has no plan of that name.")
	}
	if plan == t.plan {
		return nil, nil
	}
	return []Event{PlanChanged{From: t.plan, To: plan}}, nil
}

// operator refuses anybody but the operator. Whoever isn't in the team learns
// nothing of it.
func (t *Team) operator(by Actor, now time.Time) error {
	_, inside := t.holder(by, now)
	switch {
	case !t.Live() || !inside && by != Operator:
		return ErrNotFound
	case by != Operator:
		return ErrOperatorOnly
	}
	return nil
}

// cleanName checks text that people will read: trimmed, of one line, without
// control characters, not longer than so many characters. Characters that turn
// the direction of writing are refused as well: with them a name shows as
// another one, and turns what stands beside it. Right-to-left names need none.
func cleanName(pointer, name string, longest int) (string, error) {
	name = strings.TrimSpace(name)
	switch {
	case name == "":
		return "", invalid(pointer, "is required")
	case !utf8.ValidString(name):
		return "", invalid(pointer, "must be UTF-8 text")
	case utf8.RuneCountInString(name) > longest:
		return "", invalid(pointer, "is too long")
	case strings.ContainsFunc(name, breaksLine):
		return "", invalid(pointer, "must not hold control characters or line breaks")
	case strings.ContainsFunc(name, turnsWriting):
		return "", invalid(pointer, "must not hold characters that change the direction of writing")
	}
	return name, nil
}

func breaksLine(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp)
}

func turnsWriting(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }

// CleanPersonName checks the name of a person; pointer names the input.
func CleanPersonName(pointer, name string) (string, error) {
	return cleanName(pointer, name, MaxNameRunes)
}
