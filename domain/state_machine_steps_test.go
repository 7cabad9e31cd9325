package domain_test

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"roster/domain"
)

// step thinks up a command, gives it and records what comes of it.
type step func(t *rapid.T, m *machine, by domain.Actor) (evs, error)

// dice is evenly spread from 0 to 1023. The library's own integers are mostly
// small, which would leave most of the commands out.
var dice = rapid.Custom(func(t *rapid.T) (n int) {
	for range 10 {
		n <<= 1
		if rapid.Bool().Draw(t, "") {
			n++
		}
	}
	return n
})

func pick[T any](t *rapid.T, name string, from []T) T { return from[dice.Draw(t, name)%len(from)] }

func (m *machine) someRole(t *rapid.T) role {
	if dice.Draw(t, "any role")%8 == 0 {
		return m.catalog.OwnerRole().Key
	}
	return pick(t, "role", m.catalog.Roles[1:]).Key
}

func (m *machine) someInvitation(t *rapid.T) domain.InvitationID {
	if len(m.open) > 0 && dice.Draw(t, "any invitation")%4 > 0 {
		return pick(t, "open invitation", m.open)
	}
	return pick(t, "invitation", m.invitations)
}

// someSite is nearly always one that there is.
func (m *machine) someSite(t *rapid.T) domain.SiteID {
	if sites := m.team.Sites(); len(sites) > 0 && dice.Draw(t, "any site")%16 > 0 {
		return pick(t, "site", sites).ID
	}
	return pick(t, "site", m.sites)
}

func (m *machine) someGrants(t *rapid.T) (some []grant) {
	if len(m.team.Sites()) == 0 && dice.Draw(t, "any site")%16 > 0 {
		return nil
	}
	for range dice.Draw(t, "sites") % 3 {
		some = append(some, grant{Site: m.someSite(t), Role: m.someRole(t), ExpiresAt: m.someEnd(t)})
	}
	return some
}

// someReview is nearly always the last one.
func (m *machine) someReview(t *rapid.T) domain.ReviewID {
	if dice.Draw(t, "any review")%8 > 0 {
		return m.reviews[len(m.reviews)-1]
	}
	return pick(t, "review", m.reviews)
}

func (m *machine) somePermissions(t *rapid.T, name string) []domain.Permission {
	return rapid.SliceOfN(rapid.SampledFrom(m.catalog.Permissions()), 0, 5).Draw(t, name)
}

// fresh makes an id that wasn't there before.
func fresh[T ~string](m *machine, prefix string) T {
	m.ids++
	return T(fmt.Sprintf("%s-%d", prefix, m.ids))
}

// steps are commands by an actor's authority.
var steps = map[string]step{
	"invite": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		u := pick(t, "whom", folk)
		return m.team.Invite(by, domain.NewInvitation{
			ID: fresh[domain.InvitationID](m, "inv"), Address: address(u), Email: email(u), Role: m.someRole(t), Sites: m.someGrants(t),
			AccessExpiresAt: m.someEnd(t),
		}, m.now)
	},
	"resend": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.Resend(by, m.someInvitation(t), m.now)
	},
	"cancel": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.Cancel(by, m.someInvitation(t), m.now)
	},
	"change role": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.ChangeRole(by, pick(t, "whom", folk), m.someRole(t), m.now)
	},
	"set overrides": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		want := domain.Overrides{Granted: m.somePermissions(t, "granted"), Revoked: m.somePermissions(t, "revoked")}
		for _, permission := range append(want.Granted, want.Revoked...) {
			if end := m.someEnd(t); !end.IsZero() {
				if want.Expirations == nil {
					want.Expirations = map[domain.Permission]time.Time{}
				}
				want.Expirations[permission] = end
			}
		}
		return m.team.SetOverrides(by, pick(t, "whom", folk), want, m.now)
	},
	"set sites": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.SetSites(by, pick(t, "whom", folk), m.someGrants(t), m.now)
	},
	"set expiry": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.SetExpiry(by, pick(t, "whom", folk), m.someEnd(t), m.now)
	},
	"remove": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.Remove(by, pick(t, "whom", folk), m.now)
	},
	"rename": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.Rename(by, pick(t, "name", []string{"Team", "Other", " ", "a\nb"}), m.now)
	},
	"add site": func(_ *rapid.T, m *machine, by domain.Actor) (evs, error) {
		id := fresh[domain.SiteID](m, "site")
		return m.team.AddSite(by, id, string(id), m.now)
	},
	"rename site": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.RenameSite(by, m.someSite(t), pick(t, "name", []string{"North", "South"}), m.now)
	},
	"remove site": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.RemoveSite(by, m.someSite(t), m.now)
	},
	"create key": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		want := domain.NewAPIKey{ID: fresh[domain.APIKeyID](m, "key"), Name: "Key", Role: m.someRole(t)}
		if rapid.Bool().Draw(t, "expires") {
			at := m.now.Add(time.Duration(rapid.IntRange(-1, 5).Draw(t, "days")) * day)
			want.ExpiresAt = &at
		}
		return m.team.CreateAPIKey(by, want, m.now)
	},
	"revoke key": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.RevokeAPIKey(by, pick(t, "key", m.keys), m.now)
	},
	"request transfer": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.RequestTransfer(by, fresh[domain.TransferID](m, "trf"), pick(t, "whom", folk), m.now)
	},
	"cancel transfer": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.CancelTransfer(by, pick(t, "transfer", m.transfers), m.now)
	},
	"open review": func(_ *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.OpenReview(by, fresh[domain.ReviewID](m, "rev"), "", nil, m.now)
	},
	"decide": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		decision := pick(t, "decision", []domain.ReviewDecision{domain.DecisionKept, domain.DecisionKept, domain.DecisionRemoved})
		return m.team.DecideReview(by, m.someReview(t), pick(t, "whom", folk), decision, "", m.now)
	},
	"close review": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.CloseReview(by, m.someReview(t), m.now)
	},
	"set plan": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		plans := []string{"none"}
		for _, plan := range m.catalog.Plans {
			plans = append(plans, plan.Key)
		}
		return m.team.SetPlan(by, pick(t, "plan", plans), m.now)
	},
	"operator's transfer": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		return m.team.OperatorTransfer(by, pick(t, "whom", folk), m.now)
	},
	"require two-factor": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		var some []role
		for range dice.Draw(t, "roles") % 3 {
			some = append(some, m.someRole(t))
		}
		policy := pick(t, "policy", []domain.TwoFactorPolicy{ofNobody, everyone(0), everyone(3), ofRoles(2, some...), ofRoles(0, some...)})
		return m.team.SetTwoFactorPolicy(by, policy, true, m.now)
	},
	"delete": func(t *rapid.T, m *machine, by domain.Actor) (evs, error) {
		if dice.Draw(t, "really") > 100 { // else there is little left to try
			return nil, nil
		}
		return m.team.Delete(by, m.now)
	},
}

func (m *machine) actor(t *rapid.T) domain.Actor {
	switch n := dice.Draw(t, "actor") % 10; {
	case n < 5:
		return as(m.team.Owner()) // whose commands get furthest
	case n < 8:
		return as(pick(t, "user", folk))
	case n < 9:
		return asKey(string(pick(t, "key", m.keys)))
	}
	return pick(t, "system", []domain.Actor{domain.Operator, domain.Operator, domain.Roster, domain.Invitee})
}

// own are the commands that somebody gives in their own name.
func (m *machine) own() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"accept": func(t *rapid.T) {
			id, u := m.someInvitation(t), pick(t, "user", folk)
			if i, ok := m.team.Invitation(id); ok && rapid.Bool().Draw(t, "theirs") {
				u = folk[slices.IndexFunc(folk, func(u user) bool { return address(u) == i.Address })]
			}
			events, err := m.team.Accept(id, u, address(u), m.now)
			m.record(t, as(u), events, err)
		},
		"decline": func(t *rapid.T) {
			events, err := m.team.Decline(m.someInvitation(t), m.now)
			m.record(t, domain.Invitee, events, err)
		},
		"leave": func(t *rapid.T) {
			u := pick(t, "user", folk)
			events, err := m.team.Leave(u, m.now)
			m.record(t, as(u), events, err)
		},
		"confirm transfer": func(t *rapid.T) {
			u := pick(t, "user", folk)
			if transfer := m.team.Transfer(); transfer != nil && dice.Draw(t, "chosen")%2 == 0 {
				u = transfer.To
			}
			events, err := m.team.ConfirmTransfer(m.transfers[len(m.transfers)-1], u, m.now)
			m.record(t, as(u), events, err)
		},
		"expire": func(t *rapid.T) {
			m.record(t, domain.Roster, m.team.Expire(m.someInvitation(t), m.now), nil)
		},
		"lapse": func(t *rapid.T) {
			u := pick(t, "user", folk)
			if past := look(m.history, m.now).unrecorded; dice.Draw(t, "due")%4 > 0 {
				for _, other := range folk {
					if past.ends[other] != (time.Time{}) || len(past.grants[other]) > 0 || len(past.overrides[other].Expirations) > 0 {
						u = other
					}
				}
			}
			m.record(t, domain.Roster, m.team.ExpireMember(u, m.now), nil)
		},
		"time passes": func(t *rapid.T) {
			m.now = m.now.Add(pick(t, "time", []time.Duration{time.Microsecond, time.Hour, day, 3 * day, 7 * day}))
		},
	}
}
