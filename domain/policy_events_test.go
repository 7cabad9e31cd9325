package domain_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// wrong says what is wrong with an event by this actor in the state just
// before it; nothing when it was permitted and keeps the rules.
func (p *picture) wrong(event domain.Event, by domain.Actor) string {
	if !p.live {
		return "there is no team"
	}
	switch e := event.(type) {
	case domain.TeamRenamed:
		return p.needs(by, p.mayRename)
	case domain.TeamDeleted:
		return p.needs(by, p.mayDelete)
	case domain.PlanChanged:
		if by != domain.Operator || e.From != p.plan {
			return "only the operator sets plans"
		}
	case domain.MemberInvited:
		return p.wrongInvitation(e, by)
	case domain.InvitationResent:
		return p.wrongResend(e, by)
	case domain.InvitationCancelled:
		if i, ok := p.invitations[e.Invitation]; !ok || !p.pending(i) {
			return "not pending"
		}
		return p.needs(by, p.mayInvite)
	case domain.InvitationDeclined:
		if i, ok := p.invitations[e.Invitation]; !ok || !p.pending(i) {
			return "not pending"
		}
	case domain.InvitationExpired:
		if i, ok := p.invitations[e.Invitation]; !ok || i.ended || i.expired || p.at.Before(i.expires) || by != domain.Roster {
			return "not expired, or recorded already"
		}
	case domain.MemberJoined:
		return p.wrongJoin(e)
	case domain.ExpiryChanged:
		return p.wrongExpiry(e, by)
	case domain.MemberExpired, domain.SitesExpired, domain.PermissionsExpired:
		return p.wrongRecord(event)
	case domain.APIKeyCreated:
		return p.wrongKey(e, by)
	case domain.APIKeyRevoked:
		key, ok := p.keys[e.Key]
		if !ok || p.levels[key.Role] > p.level(by) {
			return "no such key, or beyond them"
		}
		return p.needs(by, p.mayKeys)
	case domain.SiteAdded, domain.SiteRenamed, domain.SiteRemoved:
		return p.needs(by, p.maySites)
	case domain.TwoFactorPolicyChanged:
		if e.After.Required != domain.RequiredOfNobody && !slices.Contains(p.factorPlans, p.plan) {
			return "not on this plan"
		}
		if cmp.Equal(e.Before, e.After) || !cmp.Equal(e.Before, p.required) {
			return "not from what it was to another"
		}
		return p.needs(by, p.mayRequire)
	case domain.OwnershipTransferRequested:
		_, member := p.roles[e.To]
		if p.operatorTransfers || by != as(p.owner) || e.To == p.owner || !member || p.transfer != nil || !e.ExpiresAt.Equal(p.at.Add(3*day)) {
			return "not the owner's to ask for now"
		}
		return p.needs(by, p.mayTransfer)
	case domain.OwnershipTransferCancelled:
		if p.transfer == nil {
			return "not open"
		}
		return p.needs(by, p.mayTransfer)
	case domain.OwnershipTransferred:
		confirmed := p.transfer != nil && p.transfer.Transfer == e.Transfer && p.transfer.To == e.To && by == as(e.To)
		if byOperator := e.Transfer == "" && by == domain.Operator; !byOperator && !confirmed {
			return "neither confirmed nor by the operator"
		}
		if e.From != p.owner || e.To == p.owner || e.FromRole != p.previousOwner || e.ToRole == "" || e.ToRole != p.roles[e.To] || !e.ToExpiresAt.Equal(p.ends[e.To]) {
			return "not from the owner to a member"
		}
	case domain.AccessReviewOpened:
		if p.review != nil || e.Members != len(p.roles) {
			return "one is open, or it isn't of all members"
		}
		return p.needs(by, p.mayRemove)
	case domain.AccessReviewDecided:
		if p.review == nil || p.review.id != e.Review || !p.review.members[e.User] {
			return "not under review"
		}
		if by == as(e.User) || by.Type == domain.ActorAPIKey && p.makers[domain.APIKeyID(by.ID)] == as(e.User) {
			return "themselves"
		}
		return p.needs(by, p.mayRemove)
	case domain.AccessReviewClosed:
		return p.wrongClosing(e, by)
	default:
		return p.wrongAboutMember(event, by)
	}
	return ""
}

// wrongClosing counts what the members have come to.
func (p *picture) wrongClosing(e domain.AccessReviewClosed, by domain.Actor) string {
	if p.review == nil || p.review.id != e.Review {
		return "not open"
	}
	want := domain.AccessReviewClosed{Review: e.Review}
	for u, there := range p.review.members {
		switch decision := p.review.decisions[u]; {
		case decision == domain.DecisionKept:
			want.Kept++
		case decision == domain.DecisionRemoved:
			want.Removed++
		case there:
			want.Undecided++
		default:
			want.Left++
		}
	}
	if want != e {
		return fmt.Sprintf("the numbers are %+v", want)
	}
	return p.needs(by, p.mayRemove)
}

func (p *picture) needs(by domain.Actor, permission domain.Permission) string {
	if permission == "" {
		return "there is no such thing in this catalog"
	}
	if !p.can(by, permission, "") {
		return "without " + string(permission)
	}
	return ""
}

// invited tells whether an address has a pending invitation but this one.
func (p *picture) invited(address domain.AddressID, except domain.InvitationID) bool {
	for id, i := range p.invitations {
		if id != except && i.Address == address && p.pending(i) {
			return true
		}
	}
	return false
}

func (p *picture) member(a domain.AddressID) bool {
	for u := range p.roles {
		if address(u) == a {
			return true
		}
	}
	return false
}

func (p *picture) wrongInvitation(e domain.MemberInvited, by domain.Actor) string {
	seen := map[domain.SiteID]bool{}
	for _, g := range e.Sites {
		if seen[g.Site] || !p.gives(by, g.Role, "<=", g.Site) || !p.until(by, g.ExpiresAt, e.AccessExpiresAt).gives(by, g.Role, "<=", g.Site) || !p.mayBe(g.ExpiresAt) {
			return "a role on a site that isn't theirs to give"
		}
		seen[g.Site] = true
	}
	switch {
	case !p.mayBe(e.AccessExpiresAt) || !p.until(by, e.AccessExpiresAt).gives(by, e.Role, "<=", ""):
		return "for longer than is theirs to give"
	case !p.gives(by, e.Role, "<=", ""):
		return "a role that isn't theirs to give"
	case p.member(e.Address):
		return "a member already"
	case p.invited(e.Address, e.Invitation):
		return "invited already"
	case !p.room(1):
		return "no seat"
	case !e.ExpiresAt.Equal(first(p.at.Add(7*day), e.AccessExpiresAt)):
		return "not for 7 days, or longer than the access"
	}
	return p.needs(by, p.mayInvite)
}

func (p *picture) wrongResend(e domain.InvitationResent, by domain.Actor) string {
	i, ok := p.invitations[e.Invitation]
	if !ok || i.ended {
		return "ended"
	}
	more := 1
	if p.pending(i) {
		more = 0
	}
	for _, g := range i.Sites {
		if !slices.Contains(p.sites, g.Site) || over(g.ExpiresAt, p.at) {
			continue
		}
		if !p.gives(by, g.Role, "<=", g.Site) || !p.until(by, g.ExpiresAt, i.AccessExpiresAt).gives(by, g.Role, "<=", g.Site) {
			return "a role on a site that isn't theirs to give"
		}
	}
	switch {
	case over(i.AccessExpiresAt, p.at) || !p.until(by, i.AccessExpiresAt).gives(by, i.Role, "<=", ""):
		return "for longer than is theirs to give"
	case !p.gives(by, i.Role, "<=", ""):
		return "a role that isn't theirs to give"
	case p.member(i.Address) || p.invited(i.Address, e.Invitation):
		return "a member or invited already"
	case !p.room(more):
		return "no seat"
	case e.Link != i.link+1 || !e.ExpiresAt.Equal(first(p.at.Add(7*day), i.AccessExpiresAt)):
		return "no new link"
	}
	return p.needs(by, p.mayInvite)
}

func (p *picture) wrongJoin(e domain.MemberJoined) string {
	i, ok := p.invitations[e.Invitation]
	_, member := p.roles[e.User]
	switch {
	case !ok || !p.pending(i):
		return "not pending"
	case address(e.User) != i.Address:
		return "another address"
	case member:
		return "a member already"
	case p.unrecorded.ends[e.User] != time.Time{}:
		return "the end of their last membership isn't on record"
	case e.Role != i.Role || !e.ExpiresAt.Equal(i.AccessExpiresAt) || !slices.Equal(e.Sites, p.standing(i.Sites)):
		return "not with what it carried"
	case !p.room(0):
		return "no seat"
	}
	return ""
}

func (p *picture) wrongKey(e domain.APIKeyCreated, by domain.Actor) string {
	if !p.gives(by, e.Role, "<=", "") || e.ExpiresAt != nil && !p.at.Before(*e.ExpiresAt) {
		return "a role that isn't theirs to give, or in the past"
	}
	var end time.Time
	if e.ExpiresAt != nil {
		end = *e.ExpiresAt
	}
	then := p.until(by, end)
	if e.Passing != p.passing(by) {
		return "bound, or not, as its maker"
	}
	if !then.gives(by, e.Role, "<=", "") {
		return "for longer than is theirs to give"
	}
	for _, permission := range p.catalog.Permissions() {
		if p.inRole(e.Role, permission) && (!p.has(by, permission) || !then.has(by, permission)) {
			return "more than they have: " + string(permission)
		}
	}
	return p.needs(by, p.mayKeys)
}

func (p *picture) wrongAboutMember(event domain.Event, by domain.Actor) string {
	var target user
	var from role
	var reach string
	var needs domain.Permission
	switch e := event.(type) {
	case domain.RoleChanged:
		target, from, reach, needs = e.User, e.From, p.change, p.mayChange
		if !p.gives(by, e.To, p.assign, "") || e.To == e.From {
			return "a role that isn't theirs to give"
		}
		if p.higher(e.To, e.From) && !p.until(by, p.ends[target]).gives(by, e.To, p.assign, "") {
			return "for longer than is theirs to give"
		}
	case domain.MemberRemoved:
		target, from, reach, needs = e.User, e.Role, p.remove, p.mayRemove
		if by == as(target) {
			return "themselves"
		}
	case domain.MemberLeft:
		if role, ok := p.roles[e.User]; by != as(e.User) || !p.leaving || e.User == p.owner || !ok || role != e.Role {
			return "not theirs to leave"
		}
		return ""
	case domain.PermissionsChanged:
		target, reach, needs = e.User, p.override, p.mayOverride
		old := p.overrides[target]
		for _, permission := range p.catalog.Permissions() {
			was, is := old.Expirations[permission], e.After.Expirations[permission]
			granted := slices.Contains(e.After.Granted, permission)
			gained := granted && (!slices.Contains(old.Granted, permission) || after(is, was))
			lifted := slices.Contains(old.Revoked, permission) && (!slices.Contains(e.After.Revoked, permission) || after(was, is))
			if (gained || lifted) && !p.has(by, permission) {
				return "gives " + string(permission) + ", which they lack"
			}
			if gained && !p.until(by, is, p.ends[target]).has(by, permission) || lifted && !granted && !p.until(by, p.ends[target]).has(by, permission) {
				return "gives " + string(permission) + " for longer than they have it"
			}
			if !is.Equal(was) && !p.mayBe(is) || !is.IsZero() && !granted && !slices.Contains(e.After.Revoked, permission) {
				return "an end that can't be"
			}
		}
		if len(p.unrecorded.overrides[target].Expirations) > 0 {
			return "what has ended isn't on record"
		}
		if !cmp.Equal(e.Before, old, sameOverrides) {
			return "the state before is wrong"
		}
	case domain.SitesChanged:
		target, reach, needs = e.User, p.change, p.mayGrant
		seen := map[domain.SiteID]bool{}
		for _, g := range e.After {
			kept := slices.ContainsFunc(p.grants[target], func(old grant) bool {
				return old.Site == g.Site && old.Role == g.Role && !after(g.ExpiresAt, old.ExpiresAt)
			})
			theirs := p.gives(by, g.Role, p.assign, g.Site) && p.until(by, g.ExpiresAt, p.ends[target]).gives(by, g.Role, p.assign, g.Site)
			if seen[g.Site] || !slices.Contains(p.sites, g.Site) || !kept && !theirs {
				return "a role on a site that isn't theirs to give"
			}
			if !p.mayBe(g.ExpiresAt) && !slices.Contains(p.grants[target], g) {
				return "an end that can't be"
			}
			seen[g.Site] = true
		}
		if len(p.unrecorded.grants[target]) > 0 {
			return "what has ended isn't on record"
		}
		if !slices.Equal(e.Before, p.grants[target]) {
			return "the state before is wrong"
		}
	default:
		return "an event that no command gives"
	}
	present, ok := p.roles[target]
	switch {
	case !ok || from != "" && from != present:
		return "not a member with that role"
	case target == p.owner:
		return "the owner"
	case !reaches(reach, p.level(by), p.levels[present]):
		return "beyond their level"
	}
	return p.needs(by, needs)
}
