package domain

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Difference is one thing of a team that is not as it was: added, removed or
// changed.
type Difference struct {
	Kind   string // "team", "member", "invitation", "site", "api_key", "role"
	ID     string
	Change string // "added", "removed", "changed"
	Fields []FieldDifference
}

// FieldDifference is what a field was and is. Either is nil where the thing
// wasn't, or isn't any more. Values are text, numbers, lists of permissions or
// of [SiteGrant].
type FieldDifference struct {
	Field    string
	From, To any
}

// Compare lists what differs between two states of a team, each looked at by
// its own time: what had expired then had ended. The order is that of kinds
// and ids, so the same two states always give the same list.
func Compare(before, after *Team, beforeAt, afterAt time.Time) []Difference {
	older, newer := before.facts(beforeAt), after.facts(afterAt)
	var differences []Difference
	for key, was := range older {
		is, still := newer[key]
		if fields := compareFields(was, is); len(fields) > 0 {
			change := "changed"
			if !still {
				change = "removed"
			}
			differences = append(differences, Difference{Kind: key.kind, ID: key.id, Change: change, Fields: fields})
		}
	}
	for key, is := range newer {
		if _, existed := older[key]; !existed {
			differences = append(differences, Difference{Kind: key.kind, ID: key.id, Change: "added", Fields: compareFields(nil, is)})
		}
	}
	slices.SortFunc(differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(slices.Index(kindsOfFacts, a.Kind), slices.Index(kindsOfFacts, b.Kind)), cmp.Compare(a.ID, b.ID))
	})
	return differences
}

// kindsOfFacts are the kinds in the order in which they are listed.
var kindsOfFacts = []string{"team", "role", "member", "invitation", "site", "api_key"}

type factKey struct{ kind, id string }

// fact is one thing of a team as fields that can be compared.
type fact []factField

type factField struct {
	name  string
	value any
}

// facts are everything that a team consists of at a moment.
func (t *Team) facts(at time.Time) map[factKey]fact {
	facts := map[factKey]fact{}
	if !t.Live() {
		return facts
	}
	facts[factKey{"team", string(t.id)}] = fact{{"name", t.name}, {"plan", t.plan}, {"owner", string(t.owner)}}
	for _, role := range t.Roles() {
		facts[factKey{"role", string(role.Key)}] = fact{
			{"name", role.Name}, {"description", role.Description}, {"level", role.Level}, {"permissions", t.catalog.Names(role.Permissions)},
		}
	}
	for _, member := range t.Members(0, at) {
		overrides := t.Overrides(member)
		facts[factKey{"member", string(member.User)}] = fact{
			{"role", string(member.Role)}, {"sites", sortedBySite(member.grants())}, {"granted", overrides.Granted}, {"revoked", overrides.Revoked},
			{"expires_at", orNothing(member.ExpiresAt)}, {"expirations", overrides.Expirations},
		}
	}
	for id, invitation := range t.invitations {
		if invitation.StatusAt(at) == StatusPending {
			facts[factKey{"invitation", string(id)}] = fact{
				{"role", string(invitation.Role)}, {"sites", invitation.Sites}, {"expires_at", invitation.ExpiresAt},
				{"access_expires_at", orNothing(invitation.AccessExpiresAt)},
			}
		}
	}
	for _, site := range t.sites {
		facts[factKey{"site", string(site.ID)}] = fact{{"name", site.Name}}
	}
	for id, key := range t.keys {
		if key.Active(at) {
			facts[factKey{"api_key", string(id)}] = fact{{"name", key.Name}, {"role", string(key.Role)}}
		}
	}
	return facts
}

// orNothing is a time, or nil for none.
func orNothing(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at
}

// sortedBySite gives grants in the order of the sites' ids.
func sortedBySite(grants []SiteGrant) []SiteGrant {
	return slices.SortedFunc(slices.Values(grants), func(a, b SiteGrant) int { return cmp.Compare(a.Site, b.Site) })
}

// compareFields lists the fields that differ. Of two facts of one kind both
// have the same fields; nil stands for a fact that isn't there.
func compareFields(was, is fact) (fields []FieldDifference) {
	value := func(f fact, i int) any {
		if f == nil {
			return nil
		}
		return f[i].value
	}
	for i := range max(len(was), len(is)) {
		from, to := value(was, i), value(is, i)
		if was != nil && is != nil && equalValues(from, to) || nothing(from) && nothing(to) {
			continue
		}
		name := ""
		if was != nil {
			name = was[i].name
		} else {
			name = is[i].name
		}
		fields = append(fields, FieldDifference{Field: name, From: from, To: to})
	}
	return fields
}

// nothing tells whether a field that most things don't have isn't there.
func nothing(value any) bool {
	expirations, ok := value.(map[Permission]time.Time)
	return value == nil || ok && len(expirations) == 0
}

func equalValues(a, b any) bool {
	switch a := a.(type) {
	case []Permission:
		return slices.Equal(a, b.([]Permission))
	case []SiteGrant:
		return sameGrants(a, b.([]SiteGrant))
	case map[Permission]time.Time:
		return maps.EqualFunc(a, b.(map[Permission]time.Time), time.Time.Equal)
	case time.Time:
		other, ok := b.(time.Time)
		return ok && a.Equal(other)
	}
	return a == b
}
