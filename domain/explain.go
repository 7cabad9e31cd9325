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

// EverySite, as the site of a story, stands for all sites that there are.
const EverySite SiteID = "*"

// Story picks out of a team's history what explains a user's access to a site
// or, with none named, to the team: how they came in (the invitation and its
// acceptance, or the making of the team), what gave the role that they have and
// says what it means where it is the team's own, the last change of their
// sites, of their overrides and of the end of their membership, what ended by
// itself, and how they left. What a later event replaced isn't
// told. The steps are in the order of time.
func Story(history iter.Seq2[Event, Meta], user UserID, site SiteID) []Step {
	return Stories(history, site, user)[user]
}

// Stories tells the stories of several users, or of everybody who was ever in
// the team when none is named, in one pass over the history.
func Stories(history iter.Seq2[Event, Meta], site SiteID, users ...UserID) map[UserID][]Step {
	s := stories{
		site: site, all: len(users) == 0, told: make(map[UserID]*story, len(users)),
		invitations: map[InvitationID]Step{}, roles: map[RoleKey]Step{}, gone: map[SiteID]bool{},
	}
	for _, user := range users {
		s.told[user] = &story{}
	}
	for event, meta := range history {
		s.tell(Step{meta, event})
	}
	out := make(map[UserID][]Step, len(s.told))
	for user, story := range s.told {
		out[user] = s.steps(story)
	}
	return out
}

// stories are what was told so far.
type stories struct {
	site SiteID
	all  bool // of everybody
	told map[UserID]*story

	invitations map[InvitationID]Step // that weren't accepted
	roles       map[RoleKey]Step      // of the team's own: what they mean
	gone        map[SiteID]bool
}

// story is what explains the access of one user.
type story struct {
	came, given, sites, overrides, expiry, end []Step

	role   RoleKey
	grants []SiteGrant
}

// of gives the story of a user; nil when nobody asks for it.
func (s *stories) of(user UserID) *story {
	told, ok := s.told[user]
	if !ok && s.all {
		told = &story{}
		s.told[user] = told
	}
	return told
}

func (s *stories) tell(step Step) {
	switch e := step.Event.(type) {
	case TeamCreated:
		if told := s.of(e.Owner); told != nil {
			*told = story{came: []Step{step}, role: e.OwnerRole}
		}
	case TeamDeleted:
		for _, told := range s.told {
			if len(told.came) > 0 {
				told.end = append(told.end, step)
			}
		}

	case MemberInvited:
		s.invitations[e.Invitation] = step
	case MemberJoined:
		came := []Step{step}
		if invited, ok := s.invitations[e.Invitation]; ok {
			came = []Step{invited, step}
			delete(s.invitations, e.Invitation)
		}
		if told := s.of(e.User); told != nil {
			*told = story{came: came, role: e.Role, grants: e.Sites}
		}
	case MemberRemoved:
		s.left(e.User, step)
	case MemberLeft:
		s.left(e.User, step)
	case MemberExpired:
		s.left(e.User, step)
	case ExpiryChanged:
		if told := s.of(e.User); told != nil {
			told.expiry = []Step{step}
		}

	case RoleChanged:
		s.gave(e.User, e.To, step)
	case OwnershipTransferred:
		s.gave(e.From, e.FromRole, step)
		if told := s.of(e.To); told != nil {
			// An owner has everything: what was given before is void.
			*told = story{came: told.came, given: []Step{step}}
		}
	case PermissionsChanged:
		if told := s.of(e.User); told != nil {
			told.overrides = []Step{step}
		}
	case SitesChanged:
		if told := s.of(e.User); told != nil {
			told.sites, told.grants = []Step{step}, e.After
		}
	case PermissionsExpired:
		if told := s.of(e.User); told != nil {
			told.overrides = append(told.overrides, step)
		}
	case SitesExpired:
		if told := s.of(e.User); told != nil {
			told.sites = append(told.sites, step)
			told.grants = slices.DeleteFunc(slices.Clone(told.grants), func(grant SiteGrant) bool {
				return slices.ContainsFunc(e.Sites, grant.equal)
			})
		}

	case RoleDefined:
		s.roles[e.Role.Key] = step
	case RoleEdited:
		s.roles[e.After.Key] = step
	case RoleDeleted:
		delete(s.roles, e.Role.Key)
	case SiteRemoved:
		s.gone[e.Site] = true
		if e.Site != s.site || s.site == "" {
			return
		}
		for _, told := range s.told { // once at most: ids of sites aren't used again
			if len(told.came) > 0 {
				told.sites = append(told.sites, step)
			}
		}
	}
}

func (s *stories) gave(user UserID, role RoleKey, step Step) {
	if told := s.of(user); told != nil {
		told.given, told.role = []Step{step}, role
	}
}

func (s *stories) left(user UserID, step Step) {
	if told := s.of(user); told != nil {
		told.end = []Step{step}
	}
}

// steps puts together what there is to tell of a story.
func (s *stories) steps(told *story) (steps []Step) {
	held := []RoleKey{told.role}
	for _, grant := range told.grants {
		here := grant.Site == s.site || s.site == EverySite && !s.gone[grant.Site]
		if here && !slices.Contains(held, grant.Role) {
			held = append(held, grant.Role)
		}
	}
	steps = slices.Concat(told.came, told.given)
	for _, key := range held {
		if meaning, ok := s.roles[key]; ok {
			steps = append(steps, meaning)
		}
	}
	steps = slices.Concat(steps, told.sites, told.overrides, told.expiry, told.end)
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.Meta.Position, b.Meta.Position) })
	return steps
}
