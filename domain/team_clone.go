package domain

import (
	"maps"
	"slices"
)

// Clone is a team in the same state that goes its own way from here on: what is
// folded into one of the two doesn't show in the other. It takes some 200 ns for
// each member and invitation.
func (t *Team) Clone() *Team {
	clone := *t
	clone.members = copied(t.members, (*Member).clone)
	clone.memberBy, clone.former = maps.Clone(t.memberBy), maps.Clone(t.former)
	clone.roll = t.roll.clone(clone.members)
	clone.invitations = copied(t.invitations, (*Invitation).clone)
	clone.pendingBy = maps.Clone(t.pendingBy)
	clone.memberEnds, clone.deadlines = slices.Clone(t.memberEnds), slices.Clone(t.deadlines)
	clone.sites, clone.siteBy = slices.Clone(t.sites), maps.Clone(t.siteBy)
	for i, site := range t.sites {
		copied := *site
		clone.sites[i] = &copied
		if t.siteBy[site.ID] == site {
			clone.siteBy[site.ID] = &copied
		}
	}
	clone.roles = slices.Clone(t.roles) // a role is replaced, never changed
	clone.keys = copied(t.keys, func(k *APIKey) APIKey { return *k })
	if t.transfer != nil {
		transfer := *t.transfer
		clone.transfer = &transfer
	}
	clone.reviews = slices.Clone(t.reviews)
	for i, review := range clone.reviews {
		clone.reviews[i] = review.clone()
	}
	return &clone
}

// copied copies a map with what its values point at, all of that in one piece of
// memory.
func copied[K comparable, V any](from map[K]*V, clone func(*V) V) map[K]*V {
	to, values := make(map[K]*V, len(from)), make([]V, 0, len(from))
	for key, value := range from {
		values = append(values, clone(value))
		to[key] = &values[len(values)-1]
	}
	return to
}

func (m *Member) clone() Member {
	clone := *m
	clone.Sites, clone.ends = slices.Clone(m.Sites), slices.Clone(m.ends)
	return clone
}

func (i *Invitation) clone() Invitation {
	clone := *i
	clone.Sites = slices.Clone(i.Sites)
	return clone
}

func (r *Review) clone() *Review {
	clone := *r
	clone.decisions, clone.departed = maps.Clone(r.decisions), slices.Clone(r.departed)
	return &clone
}

// clone is a roll of other members, who are the same people.
func (r *roll) clone(members map[UserID]*Member) roll {
	clone := *r
	clone.entries = slices.Clone(r.entries)
	for i, entry := range clone.entries {
		if entry.member != nil {
			clone.entries[i].member = members[entry.member.User]
		}
	}
	return clone
}
