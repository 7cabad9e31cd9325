package domain

import (
	"slices"
	"time"
)

// RequiredOf says of which members a team requires two-factor sign-in.
type RequiredOf string

const (
	RequiredOfNobody   RequiredOf = "nobody"
	RequiredOfEveryone RequiredOf = "everyone"
	RequiredOfRoles    RequiredOf = "roles" // those who have one of the roles
)

// TwoFactorPolicy is what a team requires.
type TwoFactorPolicy struct {
	Required RequiredOf `json:"required"`
	Roles    []RoleKey  `json:"roles,omitempty"` // from the highest; only with RequiredOfRoles
	// GraceDays is how long members have to set up a second factor. Until then
	// they work as before.
	GraceDays int `json:"grace_days"`
}

// MaxGraceDays bounds the time in which a requirement isn't one yet.
const MaxGraceDays = 30

func (p TwoFactorPolicy) equal(other TwoFactorPolicy) bool {
	return p.Required == other.Required && p.GraceDays == other.GraceDays && slices.Equal(p.Roles, other.Roles)
}

func (p TwoFactorPolicy) covers(role RoleKey) bool {
	switch p.Required {
	case RequiredOfEveryone:
		return true
	case RequiredOfRoles:
		return slices.Contains(p.Roles, role)
	case RequiredOfNobody:
	}
	return false
}

// twoFactorRule is a team's policy, with the event that gave it.
type twoFactorRule struct {
	TwoFactorPolicy
	given Given
	began time.Time // when it last came to cover somebody by itself or by the plan
}

// TwoFactorPolicy is what the team requires, in force or not.
func (t *Team) TwoFactorPolicy() TwoFactorPolicy { return t.twoFactor.TwoFactorPolicy }

// TwoFactorAvailable tells whether the team's plan, or where there are none its
// catalog, lets it require two-factor sign-in. A policy that was made on another
// plan stays recorded and comes into force again with the plan.
func (t *Team) TwoFactorAvailable() bool {
	if plan := t.planInForce(); plan != nil {
		return plan.TwoFactor
	}
	return t.catalog.Rules.TwoFactor
}

// requiresFactor tells whether a second factor is required of those who have a
// role, sooner or later.
func (t *Team) requiresFactor(role RoleKey) bool {
	return t.twoFactor.covers(role) && t.TwoFactorAvailable()
}

// cover notes from when on a second factor is required of a member: from this
// moment, unless it was required already.
func (t *Team) cover(member *Member, at time.Time) {
	switch {
	case !t.requiresFactor(member.Role):
		member.factorSince = time.Time{}
	case member.factorSince.IsZero():
		member.factorSince = at
	}
}

// coverAll does so for everybody, after a change of the policy or the plan. A
// stricter policy gives time to those whom it is new to, and to nobody else.
func (t *Team) coverAll(at time.Time) {
	covered, anew := 0, 0
	for _, member := range t.members {
		if ended(member.ExpiresAt, at) {
			continue
		}
		before := member.factorSince.IsZero()
		t.cover(member, at)
		if !member.factorSince.IsZero() {
			covered++
			if before {
				anew++
			}
		}
	}
	if anew > 0 || covered == 0 {
		t.twoFactor.began = at
	}
}

func (t *Team) grace() time.Duration { return time.Duration(t.twoFactor.GraceDays) * 24 * time.Hour }

// TwoFactorGraceEnds is when the policy's time of grace is over for everybody
// who was a member when it began; false when nothing is required of anybody.
func (t *Team) TwoFactorGraceEnds() (time.Time, bool) {
	if t.twoFactor.Required == RequiredOfNobody || !t.TwoFactorAvailable() {
		return time.Time{}, false
	}
	return t.twoFactor.began.Add(t.grace()), true
}

// TwoFactorDeadline is from when on a member may do nothing in the team without
// a second factor; false when none is required of them. Their time of grace
// counts from when the policy came to cover them: its beginning, or when they
// joined or were given the role.
func (t *Team) TwoFactorDeadline(user UserID, now time.Time) (time.Time, bool) {
	member, ok := t.member(user, now)
	if !ok || member.factorSince.IsZero() {
		return time.Time{}, false
	}
	return member.factorSince.Add(t.grace()), true
}

// TwoFactorDue tells whether a member may do nothing in the team without a
// second factor. It allocates nothing.
func (t *Team) TwoFactorDue(user UserID, now time.Time) bool {
	if t.twoFactor.Required == RequiredOfNobody {
		return false
	}
	deadline, required := t.TwoFactorDeadline(user, now)
	return required && !now.Before(deadline)
}

// WithoutSecondFactor is a decision about a member who should have a second
// factor by now and has none: what was allowed is denied, by the policy.
func (t *Team) WithoutSecondFactor(decision Decision) Decision {
	if !decision.Allowed {
		return decision
	}
	return Decision{Reason: ReasonTwoFactor, Role: decision.Role, Site: decision.Site, Given: t.twoFactor.given}
}

// SetTwoFactorPolicy says of whom two-factor sign-in is required. hasFactor
// tells whether the one who says it has a second factor: nobody locks
// themselves out.
func (t *Team) SetTwoFactorPolicy(by Actor, want TwoFactorPolicy, hasFactor bool, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionManageSecurity, now); err != nil {
		return nil, err
	}
	want, err := t.cleanTwoFactorPolicy(want)
	if err != nil {
		return nil, err
	}
	if want.Required != RequiredOfNobody {
		if err := t.twoFactorAvailable(); err != nil {
			return nil, err
		}
		if who, _ := t.holder(by, now); who.member != nil && want.covers(who.member.Role) && !hasFactor {
			return nil, ErrTwoFactorRequired.saying("This would be required of you as well. Set up two-factor sign-in for your own account first.")
		}
	}
	if want.equal(t.twoFactor.TwoFactorPolicy) {
		return nil, nil
	}
	return []Event{TwoFactorPolicyChanged{Before: t.twoFactor.TwoFactorPolicy, After: want}}, nil
}

// twoFactorAvailable refuses where the team can't require anything. The refusal
// names the way up only where it leads somewhere.
func (t *Team) twoFactorAvailable() error {
	if t.TwoFactorAvailable() {
		return nil
	}
	if slices.ContainsFunc(t.catalog.Plans, func(plan *Plan) bool { return plan.TwoFactor }) {
		return ErrTwoFactorNotAvailable.saying("The plan doesn't let a team require two-factor sign-in. Upgrade it.").
			with(map[string]any{"plan": t.plan, "upgrade_url": t.catalog.Rules.UpgradeURL})
	}
	return ErrTwoFactorNotAvailable
}

// cleanTwoFactorPolicy checks a policy and gives the one form of it.
func (t *Team) cleanTwoFactorPolicy(want TwoFactorPolicy) (TwoFactorPolicy, error) {
	if want.GraceDays < 0 || want.GraceDays > MaxGraceDays {
		return want, invalid("#/grace_days", "must be from 0 to 30")
	}
	switch want.Required {
	case RequiredOfNobody, RequiredOfEveryone:
		if len(want.Roles) > 0 {
			return want, invalid("#/roles", `is only for required "roles"`)
		}
		want.Roles = nil
		return want, nil
	case RequiredOfRoles:
	default:
		return want, invalid("#/required", `must be "nobody", "everyone" or "roles"`)
	}
	if len(want.Roles) == 0 {
		return want, invalid("#/roles", "must name a role")
	}
	asked := map[RoleKey]bool{}
	for _, key := range want.Roles {
		role, ok := t.Role(key)
		if !ok {
			return want, invalid("#/roles", "names a role that this team's role catalog doesn't have")
		}
		asked[role.Key] = true
	}
	want.Roles = nil
	for _, role := range t.Roles() { // one order, and each once
		if asked[role.Key] {
			want.Roles = append(want.Roles, role.Key)
		}
	}
	return want, nil
}
