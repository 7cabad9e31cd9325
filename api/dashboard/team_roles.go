package dashboard

import "slices"

// roleBook are the roles of a team, from the highest level to the lowest.
type roleBook []Role

func (v *visit) roles() (roleBook, error) {
	var roles Page[Role]
	err := v.get(v.teamPath("/roles"), &roles)
	return roles.Data, err
}

// find is a role by its key. One that the team no longer has is called by it.
func (b roleBook) find(key string) Role {
	if i := slices.IndexFunc(b, func(role Role) bool { return role.Key == key }); i >= 0 {
		return b[i]
	}
	return Role{Key: key, Name: key}
}

func (b roleBook) name(key string) string { return b.find(key).Name }

// The ways of giving a role.
const (
	byInvitation = "invite"
	byRoleChange = "change_role"
	bySiteGrant  = "grant_sites"
)

// roleChoice is a role to be picked, or the reason why it can't be.
type roleChoice struct {
	Role
	Reason string
}

// choices are all roles, as far as the reader may give them in some way.
func (v *visit) choices(roles roleBook, way string) []roleChoice {
	own := roles.find(v.team.Role).Level
	choices := make([]roleChoice, len(roles))
	for i, role := range roles {
		choices[i].Role = role
		switch {
		case slices.Contains(role.For, way):
		case i == 0: // the highest is the owner's
			choices[i].Reason = "only by a transfer of ownership"
		case role.Level > own:
			choices[i].Reason = "above your own level"
		case role.Level == own:
			choices[i].Reason = "not below your own level"
		default:
			choices[i].Reason = "it has permissions that you don't have"
		}
	}
	return choices
}
