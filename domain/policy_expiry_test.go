package domain_test

import (
	"maps"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"roster/domain"
)

// What ends by itself, in the naive reading: all of it is folded as if nothing
// ended, and what has ended by the moment is taken out at last.

// ended is what has ended and isn't on record.
type ended struct {
	ends      map[user]time.Time
	roles     map[user]role
	grants    map[user][]grant
	overrides map[user]domain.Overrides
}

// over tells whether an end is reached; none never is.
func over(end, at time.Time) bool { return !end.IsZero() && !at.Before(end) }

// after tells whether one end is later than another.
func after(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || b.Before(a))
}

// first is the first of some ends.
func first(ends ...time.Time) (earliest time.Time) {
	for _, end := range ends {
		if after(earliest, end) {
			earliest = end
		}
	}
	return earliest
}

func (p *picture) endsAt(u user, at time.Time) {
	delete(p.ends, u)
	if !at.IsZero() {
		p.ends[u] = at
	}
}

// lapse takes out what has ended.
func (p *picture) lapse(gone func(user)) {
	p.unrecorded = ended{map[user]time.Time{}, map[user]role{}, map[user][]grant{}, map[user]domain.Overrides{}}
	for _, u := range folk {
		at, lapsed := p.at, over(p.ends[u], p.at)
		if lapsed {
			at = p.ends[u]
		}
		stay := []grant{}
		for _, g := range p.grants[u] {
			if over(g.ExpiresAt, at) {
				p.unrecorded.grants[u] = append(p.unrecorded.grants[u], g)
			} else {
				stay = append(stay, g)
			}
		}
		if _, any := p.grants[u]; any {
			p.grants[u] = stay
		}
		past := domain.Overrides{Expirations: map[domain.Permission]time.Time{}}
		for permission, end := range p.overrides[u].Expirations {
			if over(end, at) {
				past.Expirations[permission] = end
			}
		}
		for _, permission := range p.overrides[u].Granted {
			if _, is := past.Expirations[permission]; is {
				past.Granted = append(past.Granted, permission)
			}
		}
		for _, permission := range p.overrides[u].Revoked {
			if _, is := past.Expirations[permission]; is {
				past.Revoked = append(past.Revoked, permission)
			}
		}
		if len(past.Expirations) > 0 {
			p.unrecorded.overrides[u] = past
			p.overrides[u] = without(p.overrides[u], past)
		}
		if lapsed {
			p.unrecorded.ends[u], p.unrecorded.roles[u] = p.ends[u], p.roles[u]
			gone(u)
		}
	}
}

// without takes some overrides out of others.
func without(o, past domain.Overrides) domain.Overrides {
	in := func(list []domain.Permission) func(domain.Permission) bool {
		return func(p domain.Permission) bool { return slices.Contains(list, p) }
	}
	out := domain.Overrides{
		Granted:     slices.DeleteFunc(slices.Clone(o.Granted), in(past.Granted)),
		Revoked:     slices.DeleteFunc(slices.Clone(o.Revoked), in(past.Revoked)),
		Expirations: maps.Clone(o.Expirations),
	}
	for permission := range past.Expirations {
		delete(out.Expirations, permission)
	}
	return out
}

// sameOverrides compares them without the difference between none and nil.
var sameOverrides = cmp.Comparer(func(a, b domain.Overrides) bool {
	return slices.Equal(a.Granted, b.Granted) && slices.Equal(a.Revoked, b.Revoked) && maps.EqualFunc(a.Expirations, b.Expirations, time.Time.Equal)
})

func (p *picture) standing(grants []grant) (stay []grant) {
	for _, g := range grants {
		if !over(g.ExpiresAt, p.at) {
			stay = append(stay, g)
		}
	}
	return stay
}

// passing tells whether what an actor gives is bound by their own access.
func (p *picture) passing(by domain.Actor) bool {
	if by.Type == domain.ActorAPIKey {
		return p.keys[domain.APIKeyID(by.ID)].Passing
	}
	u := user(by.ID)
	return !p.ends[u].IsZero() || len(p.overrides[u].Expirations) > 0 ||
		slices.ContainsFunc(p.grants[u], func(g grant) bool { return !g.ExpiresAt.IsZero() })
}

// until is the picture just before the first of some ends, or for good, if
// nothing happens but that time passes; the present for one who isn't bound.
func (p *picture) until(by domain.Actor, ends ...time.Time) *picture {
	if !p.passing(by) {
		return p
	}
	end := first(ends...)
	if end.IsZero() {
		end = t0.AddDate(100, 0, 0)
	}
	return look(p.history, end.Add(-time.Nanosecond))
}

// mayBe tells whether something may be given such an end.
func (p *picture) mayBe(end time.Time) bool {
	return end.IsZero() || end.After(p.at) && !end.After(p.at.AddDate(10, 0, 0))
}

// higher tells whether a role has something that the other lacks.
func (p *picture) higher(to, from role) bool {
	if p.levels[to] > p.levels[from] || slices.Contains(p.allSites, to) && !slices.Contains(p.allSites, from) {
		return true
	}
	return slices.ContainsFunc(p.catalog.Permissions(), func(permission domain.Permission) bool {
		return p.inRole(to, permission) && !p.inRole(from, permission)
	})
}

func (p *picture) wrongExpiry(e domain.ExpiryChanged, by domain.Actor) string {
	r, member := p.roles[e.User]
	switch {
	case !member || e.User == p.owner || by == as(e.User):
		return "nobody, the owner, or themselves"
	case !e.Before.Equal(p.ends[e.User]) || e.Before.Equal(e.After) || !p.mayBe(e.After):
		return "not from what it was to another that can be"
	case !reaches(p.remove, p.level(by), p.levels[r]):
		return "beyond their level"
	}
	if after(e.After, e.Before) {
		if !p.gives(by, r, "<=", "") || !p.until(by, e.After).gives(by, r, "<=", "") {
			return "a role that isn't theirs to give for so long"
		}
		if wrong := p.needs(by, p.mayInvite); wrong != "" {
			return wrong
		}
	}
	return p.needs(by, p.mayRemove)
}

// wrongRecord holds a record of what has ended against what has.
func (p *picture) wrongRecord(event domain.Event) string {
	past := p.unrecorded
	switch e := event.(type) {
	case domain.MemberExpired:
		if len(past.grants[e.User]) > 0 || len(past.overrides[e.User].Expirations) > 0 {
			return "what had ended before isn't on record"
		}
		if end := past.ends[e.User]; end.IsZero() || !end.Equal(e.ExpiredAt) || past.roles[e.User] != e.Role {
			return "their membership hasn't ended, or that is on record"
		}
	case domain.SitesExpired:
		if len(e.Sites) == 0 || !slices.Equal(e.Sites, past.grants[e.User]) {
			return "that isn't what has ended"
		}
	case domain.PermissionsExpired:
		if len(e.Overrides.Expirations) == 0 || !cmp.Equal(e.Overrides, past.overrides[e.User], sameOverrides) {
			return "that isn't what has ended"
		}
	}
	return ""
}

// someEnd is mostly none, and sometimes one that can't be.
func (m *machine) someEnd(t *rapid.T) time.Time {
	if dice.Draw(t, "an end")%2 == 0 {
		return time.Time{}
	}
	return m.now.Add(pick(t, "end", []time.Duration{time.Hour, day, 2 * day, 3 * day, 9 * day, 30 * day, 30 * day, 0, -day, 11 * 366 * day}))
}

// until checks that an answer stands for as long as it says, if nothing happens
// but that time passes, and no longer when it is allowed.
func (m *machine) until(t *rapid.T, d domain.Decision, by domain.Actor, permission domain.Permission, where domain.SiteID) {
	last := d.Until.Add(-1)
	if d.Until.IsZero() {
		last = m.now.AddDate(200, 0, 0)
	}
	p := look(m.history, m.now)
	moments := []time.Time{last, m.now.Add(time.Hour), m.now.Add(day), m.now.Add(20 * day)}
	for _, end := range p.ends {
		moments = append(moments, end, end.Add(-1))
	}
	for _, at := range moments {
		if at.Before(m.now) || at.After(last) {
			continue
		}
		if then := m.team.Can(by, permission, where, at); then.Allowed != d.Allowed {
			t.Fatalf("%v has %s on %q: %+v became %+v at %v", by, permission, where, d, then, at)
		}
	}
	if d.Until.IsZero() {
		return
	}
	if !d.Until.After(m.now) {
		t.Fatalf("%+v has ended by %v", d, m.now)
	}
	if then := m.team.Can(by, permission, where, d.Until); d.Allowed && then.Allowed {
		t.Fatalf("%v has %s on %q: %+v, and still at the end", by, permission, where, d)
	}
}
