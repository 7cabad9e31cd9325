package domain

import (
	"strings"
	"time"
)

// RoleKey names a role in its catalog ("ADMIN", "read_only").
type RoleKey string

// Catalog is a role catalog: what the roles of a team mean, what the plans
// allow and which rules differ from product to product. It is data, read from
// a versioned file; nothing in the code names a particular one.
//
// A Catalog is built by [NewCatalog] and is immutable afterwards.
type Catalog struct {
	Name    string
	Version int // raised with every change; recorded in the event store when first used

	Labels  Labels
	Rules   Rules
	Roles   []*Role // from the highest level to the lowest
	Plans   []*Plan // in the order of the file; the first is what a new team gets; none means no limit
	Actions map[Action]Permission

	resources   []Resource
	permissions []Permission
	scoped      PermissionSet // permissions of resources that belong to a site
	index       map[Permission]int
	actionIndex [actionCount]int
	owner       *Role
}

// Labels are the product's own words, for pages and messages.
type Labels struct {
	Product  string
	Team     string // what a team is called: "company", "account", "tenant"
	Teams    string
	Site     string // what a site is called: "store"; empty in a catalog without sites
	Sites    string
	HomeTeam string // the name of a team made at sign-up when none was given
}

// Role is a named set of permissions. Level orders roles: higher outranks
// lower.
type Role struct {
	Key         RoleKey
	Name        string
	Description string
	Level       int
	Owner       bool // the one role that only ownership transfer gives
	AllSites    bool // reaches every site without a grant
	Permissions PermissionSet

	Own   bool  // defined by the team itself, not by the catalog
	Given Given // by which event, if so
}

// Resource is what permissions are about.
type Resource struct {
	Key     string
	Name    string
	Site    bool // belongs to a site, so that access comes from the grant on that site
	Actions []string
}

// Plan caps the number of seats.
type Plan struct {
	Key       string
	Name      string
	Seats     int  // most members plus pending invitations; NoLimit for any number
	TwoFactor bool // a team may require two-factor sign-in
}

// NoLimit is a number of seats that never runs out.
const NoLimit = -1

// Reach says how far up somebody's authority goes, relative to their own level.
type Reach string

const (
	ReachBelow Reach = "below"    // only levels below their own
	ReachEqual Reach = "up_to"    // their own level and below
	ReachNone  Reach = "nobody"   // not at all
	ReachAny   Reach = "everyone" // any level; the owner stays out of reach all the same
)

func (r Reach) covers(own, other int) bool {
	switch r {
	case ReachBelow:
		return other < own
	case ReachEqual:
		return other <= own
	case ReachAny:
		return true
	}
	return false
}

// TransferBy says who moves ownership.
type TransferBy string

const (
	TransferByOwner    TransferBy = "owner"    // the owner asks, the new owner confirms
	TransferByOperator TransferBy = "operator" // only the operator's command line
)

// Rules are where products differ. The rules that hold for every catalog are
// in the code of Team.
type Rules struct {
	InvitationLifetime time.Duration
	TransferLifetime   time.Duration

	InviteReach     Reach // roles that one may invite as
	AssignReach     Reach // roles that one may change a member's role to
	ChangeRoleReach Reach // members whose role one may change
	RemoveReach     Reach // members whom one may remove
	OverrideReach   Reach // members whose overrides one may change

	Sites       bool
	Overrides   bool
	CustomRoles bool
	Leaving     bool
	TwoFactor   bool // in a catalog without plans: a team may require two-factor sign-in

	TransferBy         TransferBy
	PreviousOwnerRole  RoleKey // what a transfer makes of the old owner
	OwnerTakesSeat     bool
	HomeTeamForInvited bool // one who signs up by an invitation gets a team of their own too

	UpgradeURL string // a path below the base URL, or an absolute URL; empty when there are no plans
}

// Action is something that Roster itself does to a team. The catalog says
// which permission it takes.
type Action int

const (
	ActionViewTeam Action = iota
	ActionRenameTeam
	ActionDeleteTeam
	ActionViewMembers
	ActionInvite // invite, resend, cancel, and see the pending invitations
	ActionChangeRole
	ActionRemoveMember
	ActionSetOverrides
	ActionGrantSites
	ActionManageSites
	ActionDefineRoles
	ActionTransferOwnership
	ActionManageAPIKeys
	ActionManageWebhooks
	ActionReadAudit
	ActionRecordAudit
	ActionManageSecurity // say of whom two-factor sign-in is required
	actionCount
)

// ActionNames are the names of Roster's own actions in catalog files.
var ActionNames = [actionCount]string{
	ActionViewTeam:          "view_team",
	ActionRenameTeam:        "rename_team",
	ActionDeleteTeam:        "delete_team",
	ActionViewMembers:       "view_members",
	ActionInvite:            "invite",
	ActionChangeRole:        "change_role",
	ActionRemoveMember:      "remove_member",
	ActionSetOverrides:      "set_overrides",
	ActionGrantSites:        "grant_sites",
	ActionManageSites:       "manage_sites",
	ActionDefineRoles:       "define_roles",
	ActionTransferOwnership: "transfer_ownership",
	ActionManageAPIKeys:     "manage_api_keys",
	ActionManageWebhooks:    "manage_webhooks",
	ActionReadAudit:         "read_audit",
	ActionRecordAudit:       "record_audit",
	ActionManageSecurity:    "manage_security",
}

// actionDefaults are the actions that a catalog may leave out, each with the
// one whose permission it then takes: they came later, and the catalogs of
// before stay readable.
var actionDefaults = map[Action]Action{
	ActionManageSecurity: ActionDeleteTeam,
}

func (a Action) String() string { return ActionNames[a] }

// CatalogSpec is a catalog as its file states it, before it is checked. The
// struct tags are the names in the file.
type CatalogSpec struct {
	Name      string            `yaml:"name"`
	Version   int               `yaml:"version"`
	Labels    LabelsSpec        `yaml:"labels"`
	Resources []ResourceSpec    `yaml:"resources"`
	Roles     []RoleSpec        `yaml:"roles"`
	Plans     []PlanSpec        `yaml:"plans"`
	Rules     RulesSpec         `yaml:"rules"`
	Actions   map[string]string `yaml:"actions"`
}

// LabelsSpec is the labels section of a catalog file.
type LabelsSpec struct {
	Product  string `yaml:"product"`
	Team     string `yaml:"team"`
	Teams    string `yaml:"teams"`
	Site     string `yaml:"site"`
	Sites    string `yaml:"sites"`
	HomeTeam string `yaml:"home_team"`
}

// ResourceSpec is one resource of a catalog file.
type ResourceSpec struct {
	Key     string   `yaml:"key"`
	Name    string   `yaml:"name"`
	Scope   string   `yaml:"scope"` // "team" (what is meant when absent) or "site"
	Actions []string `yaml:"actions"`
}

// RoleSpec is one role of a catalog file. Permissions may use "orders:*" for
// every action of a resource and "*" for everything; Except takes some away
// again.
type RoleSpec struct {
	Key         string   `yaml:"key"`
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	Level       int      `yaml:"level"`
	Owner       bool     `yaml:"owner"`
	AllSites    bool     `yaml:"all_sites"`
	Permissions []string `yaml:"permissions"`
	Except      []string `yaml:"except"`
}

// PlanSpec is one plan of a catalog file. A plan without seats has no limit.
type PlanSpec struct {
	Key       string `yaml:"key"`
	Name      string `yaml:"name"`
	Seats     *int   `yaml:"seats"`
	TwoFactor bool   `yaml:"two_factor"` // a team may require two-factor sign-in
}

// RulesSpec is the rules section of a catalog file; see [Rules].
type RulesSpec struct {
	InvitationLifetime time.Duration `yaml:"invitation_lifetime"`
	TransferLifetime   time.Duration `yaml:"transfer_lifetime"`
	InviteReach        string        `yaml:"invite_reach"`
	AssignReach        string        `yaml:"assign_reach"`
	ChangeRoleReach    string        `yaml:"change_role_reach"`
	RemoveReach        string        `yaml:"remove_reach"`
	OverrideReach      string        `yaml:"override_reach"`
	Sites              bool          `yaml:"sites"`
	Overrides          bool          `yaml:"overrides"`
	CustomRoles        bool          `yaml:"custom_roles"`
	Leaving            bool          `yaml:"leaving"`
	TwoFactor          bool          `yaml:"two_factor"`
	TransferBy         string        `yaml:"transfer_by"`
	PreviousOwnerRole  string        `yaml:"previous_owner_role"`
	OwnerTakesSeat     bool          `yaml:"owner_takes_seat"`
	HomeTeamForInvited bool          `yaml:"home_team_for_invited"`
	UpgradeURL         string        `yaml:"upgrade_url"`
}

// Role finds a role by its key; upper and lower case are the same.
func (c *Catalog) Role(key RoleKey) (*Role, bool) {
	for _, role := range c.Roles {
		if role.Key == key {
			return role, true
		}
	}
	for _, role := range c.Roles {
		if strings.EqualFold(string(role.Key), string(key)) {
			return role, true
		}
	}
	return nil, false
}

// OwnerRole is the one role that only ownership transfer gives.
func (c *Catalog) OwnerRole() *Role { return c.owner }

// Plan finds a plan by its key.
func (c *Catalog) Plan(key string) (*Plan, bool) {
	for _, plan := range c.Plans {
		if plan.Key == key {
			return plan, true
		}
	}
	return nil, false
}

// DefaultPlan is the key of the plan that a new team gets; empty in a catalog
// without plans.
func (c *Catalog) DefaultPlan() string {
	if len(c.Plans) == 0 {
		return ""
	}
	return c.Plans[0].Key
}

// Permissions lists every permission of the catalog, in the order of its file.
// The slice must not be changed.
func (c *Catalog) Permissions() []Permission { return c.permissions }

// Resources lists the resources in the order of the file. The slice must not
// be changed.
func (c *Catalog) Resources() []Resource { return c.resources }

// Resource finds a resource by its key.
func (c *Catalog) Resource(key string) (Resource, bool) {
	for _, resource := range c.resources {
		if resource.Key == key {
			return resource, true
		}
	}
	return Resource{}, false
}

// Index gives a permission's place in this catalog's permission sets.
func (c *Catalog) Index(permission Permission) (int, bool) {
	index, ok := c.index[permission]
	return index, ok
}

// Names lists the permissions of a set, in the catalog's order.
func (c *Catalog) Names(set PermissionSet) []Permission {
	names := []Permission{}
	for index := range set.All() {
		names = append(names, c.permissions[index])
	}
	return names
}

// Set collects permissions into a set. The second result lists those that the
// catalog doesn't have.
func (c *Catalog) Set(permissions []Permission) (set PermissionSet, unknown []Permission) {
	for _, permission := range permissions {
		if index, ok := c.index[permission]; ok {
			set.Add(index)
		} else {
			unknown = append(unknown, permission)
		}
	}
	return set, unknown
}
