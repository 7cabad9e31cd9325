package domain

import (
	"cmp"
	"iter"
	"slices"
)

// Step is one event in how somebody came to what they may do.
type Step struct {
	Meta  Meta
	Event Event
}

// Story picks out of a team's history what explains a user's access to a site
// or, with none named, to the team: how they came in (the invitation and its
// acceptance, or the making of the team), what gave the role that they have and
// says what it means where it is the team's own, the last change of their sites and of their overrides, and how they left.
// What a later event replaced isn't told. The steps are in the order of time.
func Story(history iter.Seq2[Event, Meta], user UserID, site SiteID) []Step {
	var came, role, sites, overrides, end []Step
	invitations := map[InvitationID]Step{}
	roles := map[RoleKey]Step{} // of the team's own: what they mean
	held := map[RoleKey]bool{}
	anew := func(key RoleKey, steps ...Step) {
		came, role, sites, overrides, end = steps, nil, nil, nil, nil
		held = map[RoleKey]bool{key: true}
	}
	for event, meta := range history {
		step := Step{meta, event}
		switch e := event.(type) {
		case TeamCreated:
			if e.Owner == user {
				anew(e.OwnerRole, step)
			}
		case MemberInvited:
			invitations[e.Invitation] = step
		case MemberJoined:
			if e.User != user {
				continue
			}
			if invited, ok := invitations[e.Invitation]; ok {
				anew(e.Role, invited, step)
			} else {
				anew(e.Role, step)
			}
		case RoleDefined:
			roles[e.Role.Key] = step
		case RoleEdited:
			roles[e.After.Key] = step
		case RoleDeleted:
			delete(roles, e.Role.Key)
		case RoleChanged:
			if e.User == user {
				role, held = []Step{step}, map[RoleKey]bool{e.To: true}
			}
		case OwnershipTransferred:
			if e.To == user {
				role, sites, overrides = []Step{step}, nil, nil
			} else if e.From == user {
				role, held = []Step{step}, map[RoleKey]bool{e.FromRole: true}
			}
		case SitesChanged:
			if e.User == user {
				sites = []Step{step}
				for _, grant := range e.After {
					held[grant.Role] = held[grant.Role] || grant.Site == site
				}
			}
		case SiteRemoved:
			if site != "" && e.Site == site {
				sites = append(sites, step)
			}
		case PermissionsChanged:
			if e.User == user {
				overrides = []Step{step}
			}
		case MemberRemoved:
			if e.User == user {
				end = []Step{step}
			}
		case MemberLeft:
			if e.User == user {
				end = []Step{step}
			}
		case TeamDeleted:
			end = append(end, step)
		}
	}
	for key, step := range roles {
		if held[key] {
			role = append(role, step)
		}
	}
	var story []Step
	for _, steps := range [][]Step{came, role, sites, overrides, end} {
		story = append(story, steps...)
	}
	sortSteps(story)
	return story
}

func sortSteps(steps []Step) {
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.Meta.Position, b.Meta.Position) })
}
