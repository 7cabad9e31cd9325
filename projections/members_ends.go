package projections

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"roster/domain"
)

// membersEnds is what of members' access ends by itself and when: a row for
// each role on a site, and one for the first of the membership and the
// overrides. A row stays until its end is recorded, so that the ends that are
// due are found without looking at anybody else.
var membersEnds = newShape("members_ends", 2, `team_id TEXT, subject TEXT, user_id TEXT, site_id TEXT, ends_at BIGINT`,
	index{columns: "ends_at, team_id, subject"})

// endRow is a row of members_ends. Subject is the user and the site; Site is
// empty for what is on none.
type endRow struct {
	Team, Subject, User, Site string
	EndsAt                    int64
}

func (r *endRow) key() key      { return key{r.Team, r.Subject} }
func (r *endRow) fields() []any { return []any{&r.Team, &r.Subject, &r.User, &r.Site, &r.EndsAt} }

// endsOf are the ends of a member's access by their subjects.
func endsOf(m *memberRow) (map[string]endRow, error) {
	ends := map[string]endRow{}
	add := func(site string, at int64) {
		subject := m.User + " " + site
		if row, ok := ends[subject]; at > 0 && (!ok || at < row.EndsAt) {
			ends[subject] = endRow{m.Team, subject, m.User, site, at}
		}
	}
	add("", m.ExpiresAt)
	if strings.Contains(m.Sites, `"expires_at"`) { // few have any, and reading JSON costs something
		grants, err := grantsOf(m.Sites)
		if err != nil {
			return nil, err
		}
		for _, grant := range grants {
			add(string(grant.Site), micros(grant.ExpiresAt))
		}
	}
	if strings.Contains(m.Overrides, `"expirations"`) {
		overrides, err := overridesOf(m.Overrides)
		if err != nil {
			return nil, err
		}
		for _, at := range overrides.Expirations {
			add("", micros(at))
		}
	}
	return ends, nil
}

// reckon brings the ends up to date with a change of a member.
func (f *membersFold) reckon(ctx context.Context, before, after *memberRow) error {
	if before.ExpiresAt == after.ExpiresAt && before.Sites == after.Sites && before.Overrides == after.Overrides {
		return nil
	}
	old, err := endsOf(before)
	if err != nil {
		return err
	}
	ends, err := endsOf(after)
	if err != nil {
		return err
	}
	for subject, row := range ends {
		was, there := old[subject]
		switch {
		case !there:
			err = f.ends.insert(row)
		case was != row:
			err = f.ends.must(ctx, row.key(), func(r *endRow) { *r = row })
		}
		if err != nil {
			return err
		}
	}
	for subject, row := range old {
		if _, still := ends[subject]; still {
			continue
		}
		if err := f.ends.remove(ctx, row.key()); err != nil {
			return err
		}
	}
	return nil
}

// sitesExpired takes away roles on sites that have ended.
func (f *membersFold) sitesExpired(ctx context.Context, team string, e domain.SitesExpired) error {
	var malformed error
	err := f.member(ctx, team, e.User, func(m *memberRow) {
		var grants []domain.SiteGrant
		grants, malformed = grantsOf(m.Sites)
		m.Sites = grantsText(slices.DeleteFunc(grants, func(grant domain.SiteGrant) bool {
			return slices.ContainsFunc(e.Sites, func(past domain.SiteGrant) bool {
				return past.Site == grant.Site && past.ExpiresAt.Equal(grant.ExpiresAt)
			})
		}))
	})
	return cmp.Or(malformed, err)
}

// permissionsExpired takes away overrides that have ended.
func (f *membersFold) permissionsExpired(ctx context.Context, team string, e domain.PermissionsExpired) error {
	var malformed error
	err := f.member(ctx, team, e.User, func(m *memberRow) {
		var overrides domain.Overrides
		overrides, malformed = overridesOf(m.Overrides)
		past := func(permission domain.Permission) bool {
			at, ended := e.Overrides.Expirations[permission]
			return ended && overrides.Expirations[permission].Equal(at)
		}
		granted, revoked := slices.DeleteFunc(overrides.Granted, past), slices.DeleteFunc(overrides.Revoked, past)
		for permission := range e.Overrides.Expirations {
			if past(permission) {
				delete(overrides.Expirations, permission)
			}
		}
		if len(overrides.Expirations) == 0 {
			overrides.Expirations = nil
		}
		overrides.Granted, overrides.Revoked = granted, revoked
		m.Overrides = overridesText(overrides)
	})
	return cmp.Or(malformed, err)
}

// DueMembers lists members of any team of whose access something has ended by
// now without that being recorded, the longest due first, at most limit of
// them and at most 1,000.
func (p *Projections) DueMembers(ctx context.Context, now time.Time, limit int) ([]DueMember, error) {
	due := []DueMember{}
	err := p.db.read(ctx, func(q querier) error {
		// A site that was removed took its grants along, whose rows are left.
		return q.query(ctx, `SELECT e.team_id, e.user_id FROM members_ends e
			WHERE e.ends_at <= $1 AND (e.site_id = '' OR EXISTS (
				SELECT 1 FROM members_sites s WHERE s.team_id = e.team_id AND s.site_id = e.site_id))
			GROUP BY e.team_id, e.user_id ORDER BY MIN(e.ends_at), e.team_id, e.user_id LIMIT $2`,
			[]any{micros(now), int64(min(max(limit, 1), 1000))}, func(r row) error {
				var team, user string
				err := r.scan(&team, &user)
				due = append(due, DueMember{domain.TeamID(team), domain.UserID(user)})
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("projections: reading due members: %w", err)
	}
	return due, nil
}
