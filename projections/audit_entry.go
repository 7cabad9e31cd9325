package projections

import (
	"sync"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// auditEntry is what an event says in the audit log beside who did it and
// when.
type auditEntry struct {
	action             string
	targetType, target string
	before, after      string // JSON objects, or empty

	// Of what a host product did.
	host       bool
	content    string // sealed
	behalf     string // a user
	occurredAt string // microseconds, or empty

	// Of what ended by itself, whoever gave the command that put it on record.
	byItself bool
}

// auditEntryOf is the entry for an event of a team. It derives from the event
// alone. Personal data is not in it: names stand beside the ids when the log
// is read.
func auditEntryOf(event domain.Event, team string) (auditEntry, bool) {
	switch e := event.(type) {
	case domain.TeamCreated:
		after := object{{"name", e.Name}, {"catalog", e.Catalog}, {"owner", e.Owner}}
		if e.Plan != "" {
			after = append(after, field{"plan", e.Plan})
		}
		return about("team", team, "team.created", nil, after)
	case domain.TeamRenamed:
		return about("team", team, "team.renamed", object{{"name", e.From}}, object{{"name", e.To}})
	case domain.TeamDeleted:
		return about("team", team, "team.deleted", nil, nil)
	case domain.PlanChanged:
		return about("team", team, "plan.changed", object{{"plan", e.From}}, object{{"plan", e.To}})

	case domain.MemberInvited:
		return aboutInvitation(e.Invitation, "member.invited", nil,
			object{{"role", e.Role}, {"sites", grantObjects(e.Sites)}, {"expires_at", instant(e.ExpiresAt)}}.ending("access_expires_at", e.AccessExpiresAt))
	case domain.InvitationResent:
		return aboutInvitation(e.Invitation, "invitation.resent", nil, object{{"expires_at", instant(e.ExpiresAt)}})
	case domain.InvitationCancelled:
		return aboutInvitation(e.Invitation, "invitation.cancelled", pending, object{{"status", domain.StatusCancelled}})
	case domain.InvitationDeclined:
		return aboutInvitation(e.Invitation, "invitation.declined", pending, object{{"status", domain.StatusDeclined}})
	case domain.InvitationExpired:
		return aboutInvitation(e.Invitation, "invitation.expired", pending, object{{"status", domain.StatusExpired}})

	case domain.MemberJoined:
		after := object{{"role", e.Role}, {"sites", grantObjects(e.Sites)}}.ending("expires_at", e.ExpiresAt)
		if e.Invitation != "" {
			after = append(after, field{"invitation", e.Invitation})
		}
		return aboutMember(e.User, "member.joined", nil, after)
	case domain.RoleChanged:
		return aboutMember(e.User, "role.changed", object{{"role", e.From}}, object{{"role", e.To}})
	case domain.PermissionsChanged:
		return aboutMember(e.User, "permissions.changed", overridesObject(e.Before), overridesObject(e.After))
	case domain.SitesChanged:
		return aboutMember(e.User, "sites.changed", object{{"sites", grantObjects(e.Before)}}, object{{"sites", grantObjects(e.After)}})
	case domain.MemberRemoved:
		return aboutMember(e.User, "member.removed", object{{"role", e.Role}}, nil)
	case domain.MemberLeft:
		return aboutMember(e.User, "member.left", object{{"role", e.Role}}, nil)

	case domain.ExpiryChanged:
		return aboutMember(e.User, "expiry.changed", object{{"expires_at", orNull(e.Before)}}, object{{"expires_at", orNull(e.After)}})
	case domain.MemberExpired:
		return byItself(aboutMember(e.User, "member.expired", object{{"role", e.Role}, {"expires_at", instant(e.ExpiredAt)}}, nil))
	case domain.SitesExpired:
		return byItself(aboutMember(e.User, "sites.expired", object{{"sites", grantObjects(e.Sites)}}, nil))
	case domain.PermissionsExpired:
		return byItself(aboutMember(e.User, "permissions.expired", overridesObject(e.Overrides), nil))

	case domain.OwnershipTransferRequested:
		return aboutMember(e.To, "ownership.transfer_requested", nil,
			object{{"transfer", e.Transfer}, {"to", e.To}, {"expires_at", instant(e.ExpiresAt)}})
	case domain.OwnershipTransferCancelled:
		return about("ownership_transfer", string(e.Transfer), "ownership.transfer_cancelled", nil, nil)
	case domain.OwnershipTransferred:
		return aboutMember(e.To, "ownership.transferred",
			object{{"owner", e.From}, {"new_owner_role", e.ToRole}}.ending("new_owner_expires_at", e.ToExpiresAt), object{{"owner", e.To}, {"previous_owner_role", e.FromRole}})

	case domain.AccessReviewOpened:
		after := object{{"name", e.Name}, {"members", e.Members}}
		if e.Due != nil {
			after = append(after, field{"due", instant(*e.Due)})
		}
		return about("access_review", string(e.Review), "access_review.opened", nil, after)
	case domain.AccessReviewDecided:
		return aboutMember(e.User, "access_review."+string(e.Decision), nil, object{{"access_review", e.Review}})
	case domain.AccessReviewClosed:
		return about("access_review", string(e.Review), "access_review.closed", nil,
			object{{"kept", e.Kept}, {"removed", e.Removed}, {"left", e.Left}, {"undecided", e.Undecided}})

	case domain.RoleDefined:
		return about("role", string(e.Role.Key), "role.defined", nil, definitionObject(e.Role))
	case domain.RoleEdited:
		return about("role", string(e.After.Key), "role.edited", definitionObject(e.Before), definitionObject(e.After))
	case domain.RoleDeleted:
		after := object{}
		if e.Replacement != "" {
			after = append(after, field{"replacement", e.Replacement})
			after = append(after, field{"invitations", append([]domain.InvitationID{}, e.Invitations...)})
			after = append(after, field{"api_keys", append([]domain.APIKeyID{}, e.APIKeys...)})
		}
		return about("role", string(e.Role.Key), "role.deleted", definitionObject(e.Role), after)

	case domain.SiteAdded:
		return about("site", string(e.Site), "site.added", nil, object{{"name", e.Name}})
	case domain.SiteRenamed:
		return about("site", string(e.Site), "site.renamed", object{{"name", e.From}}, object{{"name", e.To}})
	case domain.SiteRemoved:
		return about("site", string(e.Site), "site.removed", object{{"name", e.Name}}, nil)

	case domain.APIKeyCreated:
		after := object{{"name", e.Name}, {"role", e.Role}, {"prefix", e.Prefix}}
		if e.ExpiresAt != nil {
			after = append(after, field{"expires_at", instant(*e.ExpiresAt)})
		}
		return about("api_key", string(e.Key), "api_key.created", nil, after)
	case domain.APIKeyRevoked:
		return about("api_key", string(e.Key), "api_key.revoked", object{{"name", e.Name}}, nil)

	case domain.TwoFactorPolicyChanged:
		return about("team", team, "two_factor_policy.changed", policyObject(e.Before), policyObject(e.After))
	}
	return auditEntry{}, false
}

// accountEntryOf is the entry for an event of an account, in the log of every
// team that its user is in: who answers for a team wants to know how its
// members sign in.
func accountEntryOf(event domain.Event, user domain.UserID) (auditEntry, bool) {
	switch e := event.(type) {
	case domain.TwoFactorEnabled:
		return aboutMember(user, "two_factor.enabled", nil, nil)
	case domain.TwoFactorDisabled:
		return aboutMember(user, "two_factor.disabled", nil, nil)
	case domain.PasskeyAdded:
		return about("passkey", string(e.Passkey), "passkey.added", nil, nil)
	case domain.PasskeyRemoved:
		return about("passkey", string(e.Passkey), "passkey.removed", nil, nil)
	case domain.PasskeyRefused:
		return about("passkey", string(e.Passkey), "passkey.refused", object{{"count", e.Last}}, object{{"count", e.Count}})
	case domain.RecoveryCodesRenewed:
		return aboutMember(user, "two_factor.recovery_codes_renewed", nil, nil)
	case domain.RecoveryCodeUsed:
		return aboutMember(user, "two_factor.recovery_code_used", nil, object{{"left", e.Left}})
	}
	return auditEntry{}, false
}

// auditActions are the actions by the kinds of events that the store lists in
// a commit's header.
var auditActions = sync.OnceValue(func() map[string]string {
	actions := map[string]string{}
	for kind, event := range eventstore.Kinds() {
		if entry, ok := auditEntryOf(event, ""); ok {
			actions[kind] = entry.action
		}
	}
	return actions
})

// AuditAction is the action under which an event of the kind is in the log of
// its team; empty for one that isn't.
func AuditAction(kind string) string { return auditActions()[kind] }

var pending = object{{"status", domain.StatusPending}}

func about(kind, id, action string, before, after object) (auditEntry, bool) {
	return auditEntry{action: action, targetType: kind, target: id, before: before.text(), after: after.text()}, true
}

func aboutMember(user domain.UserID, action string, before, after object) (auditEntry, bool) {
	return about("member", string(user), action, before, after)
}

// byItself marks an entry of what nobody did.
func byItself(entry auditEntry, ok bool) (auditEntry, bool) {
	entry.byItself = true
	return entry, ok
}

func aboutInvitation(id domain.InvitationID, action string, before, after object) (auditEntry, bool) {
	return about("invitation", string(id), action, before, after)
}

func grantObjects(grants []domain.SiteGrant) []object {
	objects := make([]object, len(grants))
	for i, grant := range grants {
		objects[i] = object{{"site_id", grant.Site}, {"role", grant.Role}}.ending("expires_at", grant.ExpiresAt)
	}
	return objects
}

func overridesObject(o domain.Overrides) object {
	overrides := object{{"granted", append([]domain.Permission{}, o.Granted...)}, {"revoked", append([]domain.Permission{}, o.Revoked...)}}
	if len(o.Expirations) > 0 {
		overrides = append(overrides, field{"expirations", o.Expirations})
	}
	return overrides
}

// ending adds when something ends, if it does.
func (o object) ending(name string, at time.Time) object {
	if !at.IsZero() {
		o = append(o, field{name, instant(at)})
	}
	return o
}

// orNull is a time, or null for none.
func orNull(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return instant(at)
}

func definitionObject(d domain.RoleDefinition) object {
	return object{
		{"name", d.Name}, {"description", d.Description}, {"level", d.Level},
		{"permissions", append([]domain.Permission{}, d.Permissions...)},
	}
}

func policyObject(p domain.TwoFactorPolicy) object {
	policy := object{{"required", p.Required}, {"grace_days", p.GraceDays}}
	if p.Required == domain.RequiredOfRoles {
		policy = append(policy, field{"roles", p.Roles})
	}
	return policy
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
