package domain_test

import (
	"slices"
	"time"

	"roster/domain"
)

// A second, naive reading of the product pages, which the generated tests hold
// against the first. It looks through the whole history for every answer and
// shares no code with the domain but the lists of permissions in the catalogs,
// which have tests of their own.

// policy is what the pages say, by hand.
type policy struct {
	levels   map[role]int
	allSites []role
	limits   map[string]int // of the plans; none means no limit
	onSites  []string       // resources that belong to a site
	// factorPlans are the plans on which a team may require two-factor sign-in;
	// the empty one stands for there being none.
	factorPlans []string

	mayInvite, mayRename, mayDelete, mayChange, mayRemove, mayOverride, mayGrant, maySites, mayKeys, mayTransfer, mayRequire domain.Permission

	assign, change, remove, override string // "<" below one's own level, "<=" up to it, "" never

	ownerTakesSeat, leaving, operatorTransfers bool
	previousOwner                              role
}

var fiveRoles = map[role]int{"owner": 5, "admin": 4, "manager": 3, "member": 2, "viewer": 1}

var policies = map[string]policy{
	"distribu": {
		levels:    map[role]int{"OWNER": 3, "ADMIN": 2, "MEMBER": 1},
		limits:    map[string]int{"starter": 10, "growth": 50, "scale": 500},
		mayInvite: "team:invite", mayRename: "company:update", mayDelete: "company:delete", mayChange: "team:change_role",
		mayRemove: "team:remove", mayKeys: "api_keys:create", mayTransfer: "company:transfer", mayRequire: "company:update",
		assign: "<", change: "<", remove: "<",
		ownerTakesSeat: true, operatorTransfers: true, previousOwner: "ADMIN",
	},
	"dzbuild": {
		levels:    map[role]int{"owner": 5, "admin": 4, "manager": 3, "operator": 2, "read_only": 1},
		allSites:  []role{"owner", "admin"},
		limits:    map[string]int{"free": 0, "pro": 1, "unlimited": 3, "enterprise": 10},
		onSites:   []string{"dashboards", "products", "orders", "customers", "settings", "shipping_rates", "payment_methods", "reports"},
		mayInvite: "team:invite", mayRename: "account:update", mayDelete: "account:delete", mayChange: "team:change_role",
		mayRemove: "team:remove", mayGrant: "team:change_role", maySites: "stores:manage", mayKeys: "api_keys:manage", mayTransfer: "ownership:transfer",
		mayRequire: "account:update", factorPlans: []string{"unlimited", "enterprise"},
		assign: "<=", change: "<=", remove: "<=",
		previousOwner: "admin",
	},
	"tenants": {
		levels:    fiveRoles,
		mayInvite: "team:create", mayRename: "tenant:update", mayDelete: "tenant:delete", mayChange: "team:update",
		mayRemove: "team:delete", mayOverride: "team:update", mayKeys: "integrations:update", mayTransfer: "ownership:transfer",
		mayRequire: "settings:update", factorPlans: []string{""},
		assign: "<", change: "<", remove: "<=", override: "<",
		ownerTakesSeat: true, leaving: true, previousOwner: "admin",
	},
	"default": {
		levels:    fiveRoles,
		allSites:  []role{"owner", "admin"},
		limits:    map[string]int{"free": 5, "team": 50},
		onSites:   []string{"documents", "products", "orders", "customers", "reports"},
		mayInvite: "members:invite", mayRename: "team:update", mayDelete: "team:delete", mayChange: "members:change_role",
		mayRemove: "members:remove", mayOverride: "members:set_permissions", mayGrant: "members:grant_projects",
		maySites: "projects:manage", mayKeys: "api_keys:manage", mayTransfer: "ownership:transfer",
		mayRequire: "security:manage", factorPlans: []string{"free", "team", "business"},
		assign: "<=", change: "<", remove: "<", override: "<",
		ownerTakesSeat: true, leaving: true, previousOwner: "admin",
	},
}

func reaches(reach string, own, other int) bool {
	return reach == "<" && other < own || reach == "<=" && other <= own
}

// happened is one event of a history.
type happened struct {
	event domain.Event
	by    domain.Actor
	at    time.Time
}

// picture is what a history comes to at a moment.
type picture struct {
	policy
	history     []happened
	ends        map[user]time.Time // of memberships
	unrecorded  ended              // what has ended by now and isn't on record
	catalog     *domain.Catalog
	at          time.Time
	live        bool
	plan        string
	owner       user
	roles       map[user]role
	overrides   map[user]domain.Overrides
	grants      map[user][]grant
	sites       []domain.SiteID
	invitations map[domain.InvitationID]*naiveInvitation
	keys        map[domain.APIKeyID]domain.APIKeyCreated
	transfer    *domain.OwnershipTransferRequested // while it is open
	required    domain.TwoFactorPolicy
	makers      map[domain.APIKeyID]domain.Actor
	review      *naiveReview // while it is open
}

// naiveReview is the members when it was opened, and what was decided.
type naiveReview struct {
	id        domain.ReviewID
	members   map[user]bool // true for those who are still there
	decisions map[user]domain.ReviewDecision
}

type naiveInvitation struct {
	domain.MemberInvited
	expires time.Time
	link    int
	ended   bool // accepted, declined or cancelled
	expired bool // that was recorded
}

func look(history []happened, at time.Time) *picture {
	p := &picture{
		history: history, ends: map[user]time.Time{}, at: at, required: ofNobody, roles: map[user]role{}, overrides: map[user]domain.Overrides{}, grants: map[user][]grant{},
		invitations: map[domain.InvitationID]*naiveInvitation{}, keys: map[domain.APIKeyID]domain.APIKeyCreated{},
		makers: map[domain.APIKeyID]domain.Actor{},
	}
	gone := func(u user) {
		if p.review != nil && p.review.members[u] {
			p.review.members[u] = false
		}
		delete(p.roles, u)
		delete(p.overrides, u)
		delete(p.grants, u)
		delete(p.ends, u)
		if p.transfer != nil && p.transfer.To == u {
			p.transfer = nil
		}
	}
	for _, h := range history {
		switch e := h.event.(type) {
		case domain.TeamCreated:
			p.live, p.plan, p.owner, p.policy, p.catalog = true, e.Plan, e.Owner, policies[e.Catalog], builtins[e.Catalog]
			p.roles[e.Owner] = e.OwnerRole
		case domain.TeamDeleted:
			p.live = false
		case domain.PlanChanged:
			p.plan = e.To
		case domain.MemberInvited:
			p.invitations[e.Invitation] = &naiveInvitation{MemberInvited: e, expires: e.ExpiresAt, link: 1}
		case domain.InvitationResent:
			i := p.invitations[e.Invitation]
			i.expires, i.link, i.expired = e.ExpiresAt, e.Link, false
		case domain.InvitationCancelled:
			p.invitations[e.Invitation].ended = true
		case domain.InvitationDeclined:
			p.invitations[e.Invitation].ended = true
		case domain.InvitationExpired:
			p.invitations[e.Invitation].expired = true
		case domain.MemberJoined:
			p.invitations[e.Invitation].ended = true
			p.roles[e.User] = e.Role
			p.endsAt(e.User, e.ExpiresAt)
			for _, g := range e.Sites {
				if slices.Contains(p.sites, g.Site) {
					p.grants[e.User] = append(p.grants[e.User], g)
				}
			}
		case domain.RoleChanged:
			p.roles[e.User] = e.To
		case domain.PermissionsChanged:
			p.overrides[e.User] = e.After
		case domain.SitesChanged:
			p.grants[e.User] = slices.Clone(e.After)
		case domain.MemberRemoved:
			gone(e.User)
		case domain.MemberLeft:
			gone(e.User)
		case domain.ExpiryChanged:
			p.endsAt(e.User, e.After)
		case domain.MemberExpired:
			gone(e.User)
		case domain.SitesExpired:
			p.grants[e.User] = slices.DeleteFunc(p.grants[e.User], func(g grant) bool { return slices.Contains(e.Sites, g) })
		case domain.PermissionsExpired:
			p.overrides[e.User] = without(p.overrides[e.User], e.Overrides)
		case domain.OwnershipTransferRequested:
			p.transfer = &e
		case domain.OwnershipTransferCancelled:
			p.transfer = nil
		case domain.OwnershipTransferred:
			p.roles[e.From], p.roles[e.To] = e.FromRole, p.roles[p.owner]
			p.owner, p.transfer = e.To, nil
			delete(p.overrides, e.To)
			delete(p.grants, e.To)
			delete(p.ends, e.To)
		case domain.SiteAdded:
			p.sites = append(p.sites, e.Site)
		case domain.SiteRemoved:
			p.sites = slices.DeleteFunc(p.sites, func(s domain.SiteID) bool { return s == e.Site })
			for u := range p.grants {
				p.grants[u] = slices.DeleteFunc(p.grants[u], func(g grant) bool { return g.Site == e.Site })
			}
		case domain.APIKeyCreated:
			p.keys[e.Key], p.makers[e.Key] = e, h.by
		case domain.APIKeyRevoked:
			delete(p.keys, e.Key)
		case domain.TwoFactorPolicyChanged:
			p.required = e.After
		case domain.AccessReviewOpened:
			p.review = &naiveReview{e.Review, map[user]bool{}, map[user]domain.ReviewDecision{}}
			for u := range p.roles {
				if !over(p.ends[u], h.at) {
					p.review.members[u] = true
				}
			}
		case domain.AccessReviewDecided:
			p.review.decisions[e.User] = e.Decision
		case domain.AccessReviewClosed:
			p.review = nil
		}
	}
	p.lapse(gone)
	if p.transfer != nil && !at.Before(p.transfer.ExpiresAt) {
		p.transfer = nil
	}
	return p
}

func (p *picture) pending(i *naiveInvitation) bool {
	return !i.ended && !i.expired && p.at.Before(i.expires)
}

func (p *picture) pendingCount() (n int) {
	for _, i := range p.invitations {
		if p.pending(i) {
			n++
		}
	}
	return n
}

// used is how many seats are taken.
func (p *picture) used() int {
	n := len(p.roles) + p.pendingCount()
	if !p.ownerTakesSeat {
		n--
	}
	return n
}

// room tells whether the seats that are taken and so many more fit the plan.
func (p *picture) room(more int) bool {
	limit, limited := p.limits[p.plan]
	return !limited || p.used()+more <= limit
}

// role finds what an actor goes by.
func (p *picture) role(by domain.Actor) (role, bool) {
	if !p.live {
		return "", false
	}
	if by.Type == domain.ActorUser {
		r, ok := p.roles[user(by.ID)]
		return r, ok
	}
	if key, ok := p.keys[domain.APIKeyID(by.ID)]; ok && by.Type == domain.ActorAPIKey {
		return key.Role, key.ExpiresAt == nil || p.at.Before(*key.ExpiresAt)
	}
	return "", false
}

func (p *picture) inRole(r role, permission domain.Permission) bool {
	for _, role := range p.catalog.Roles {
		if role.Key == r {
			return slices.Contains(p.catalog.Names(role.Permissions), permission)
		}
	}
	return false
}

// can is whether an actor has a permission, on a site where one is named.
func (p *picture) can(by domain.Actor, permission domain.Permission, on domain.SiteID) bool {
	r, ok := p.role(by)
	if !ok || !slices.Contains(p.catalog.Permissions(), permission) || on != "" && !slices.Contains(p.sites, on) {
		return false
	}
	if by.Type == domain.ActorAPIKey {
		return p.inRole(r, permission)
	}
	if p.aboutASite(permission) && !p.everySite(by) {
		if r, ok = p.roleOn(by, on); !ok {
			return false
		}
	}
	o := p.overrides[user(by.ID)]
	return !slices.Contains(o.Revoked, permission) && (slices.Contains(o.Granted, permission) || p.inRole(r, permission))
}

func (p *picture) aboutASite(permission domain.Permission) bool {
	return slices.ContainsFunc(p.onSites, func(resource string) bool {
		return len(permission) > len(resource) && string(permission[:len(resource)+1]) == resource+":"
	})
}

// everySite tells whether an actor's role covers every site.
func (p *picture) everySite(by domain.Actor) bool {
	r, _ := p.role(by)
	return by.Type == domain.ActorAPIKey || len(p.sites) == 0 || slices.Contains(p.allSites, r)
}

func (p *picture) roleOn(by domain.Actor, on domain.SiteID) (role, bool) {
	for _, g := range p.grants[user(by.ID)] {
		if g.Site == on && on != "" {
			return g.Role, true
		}
	}
	return "", false
}

// has is whether an actor has a permission everywhere, and so may give it.
func (p *picture) has(by domain.Actor, permission domain.Permission) bool {
	if !p.aboutASite(permission) || p.everySite(by) {
		return p.can(by, permission, "")
	}
	for _, s := range p.sites {
		if !p.can(by, permission, s) {
			return false
		}
	}
	return true
}

func (p *picture) level(by domain.Actor) int {
	r, _ := p.role(by)
	return p.levels[r]
}

// gives is whether an actor may give a role, and on a site when one is named.
func (p *picture) gives(by domain.Actor, r role, reach string, on domain.SiteID) bool {
	level, ok := p.levels[r]
	if !ok || r == p.roles[p.owner] || !reaches(reach, p.level(by), level) {
		return false
	}
	if on == "" || p.everySite(by) {
		return on == "" || slices.Contains(p.sites, on)
	}
	here, ok := p.roleOn(by, on)
	return ok && reaches(reach, p.levels[here], level)
}

// deadline is from when on a member needs a second factor: the time of grace
// after the last moment at which none was required of them.
func deadline(history []happened, u user, at time.Time) (time.Time, bool) {
	var start time.Time
	covered := false
	for i, h := range history {
		before := covered
		if covered = look(history[:i+1], h.at).covers(u); covered && !before {
			start = h.at
		}
	}
	p := look(history, at)
	return start.Add(time.Duration(p.required.GraceDays) * day), p.covers(u)
}

// covers tells whether a second factor is required of a member at some time.
func (p *picture) covers(u user) bool {
	r, ok := p.roles[u]
	if !ok || !slices.Contains(p.factorPlans, p.plan) {
		return false
	}
	return p.required.Required == domain.RequiredOfEveryone ||
		p.required.Required == domain.RequiredOfRoles && slices.Contains(p.required.Roles, r)
}
