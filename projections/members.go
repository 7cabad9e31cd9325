package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// membersModel is the members of teams and the teams of users. A member's row
// holds the person's name, address and last sign-in as well, so that a page is
// read from one table.
var membersModel = &model{
	name:    "members",
	version: 1,
	shapes:  []*shape{membersShape, membersTeams, membersPeople, membersSites, membersEnds},
	fold: func(opener Opener, in place) fold {
		return &membersFold{
			opener:  opener,
			members: newTable[memberRow](membersShape, in),
			teams:   newTable[teamRow](membersTeams, in),
			people:  newTable[personRow](membersPeople, in),
			sites:   newTable[siteRow](membersSites, in),
			ends:    newTable[endRow](membersEnds, in),
		}
	},
}

var (
	membersShape = newShape("members", 2, `team_id TEXT, user_id TEXT,
		position BIGINT, role TEXT, sites TEXT, overrides TEXT, joined_at BIGINT, expires_at BIGINT,
		email TEXT, name TEXT, verified BIGINT, signed_in_at BIGINT, search TEXT,
		two_factor BIGINT`,
		index{columns: "team_id, position, user_id"},
		index{columns: "user_id"})

	membersTeams = newShape("members_teams", 1, `team_id TEXT, name TEXT, catalog TEXT, plan TEXT, owner_role TEXT`)

	membersPeople = newShape("members_people", 1, `user_id TEXT, email TEXT, name TEXT, verified BIGINT, signed_in_at BIGINT, teams TEXT,
		app BIGINT, passkeys BIGINT`)

	membersSites = newShape("members_sites", 2, `team_id TEXT, site_id TEXT, name TEXT`)
)

// memberRow is a row of members. Sites and Overrides are JSON, or empty.
type memberRow struct {
	Team, User  string
	Position    int64
	Role        string
	Sites       string
	Overrides   string
	JoinedAt    int64
	ExpiresAt   int64 // when the membership ends by itself; 0 for never
	Email, Name string
	Verified    int64
	SignedInAt  int64
	Search      string // what a query is looked for in: lower-case, since LIKE knows only ASCII letters in SQLite
	TwoFactor   int64  // whether the person has a second factor
}

func (r *memberRow) key() key { return key{r.Team, r.User} }
func (r *memberRow) fields() []any {
	return []any{&r.Team, &r.User, &r.Position, &r.Role, &r.Sites, &r.Overrides, &r.JoinedAt, &r.ExpiresAt,
		&r.Email, &r.Name, &r.Verified, &r.SignedInAt, &r.Search, &r.TwoFactor}
}

// of takes over what is known of the person.
func (r *memberRow) of(p *personRow) {
	r.Email, r.Name, r.Verified, r.SignedInAt = p.Email, p.Name, p.Verified, p.SignedInAt
	r.Search = strings.ToLower(p.Name + "\n" + p.Email)
	r.TwoFactor = flag(p.App+p.Passkeys > 0)
}

type teamRow struct{ Team, Name, Catalog, Plan, OwnerRole string }

func (r *teamRow) key() key      { return key{a: r.Team} }
func (r *teamRow) fields() []any { return []any{&r.Team, &r.Name, &r.Catalog, &r.Plan, &r.OwnerRole} }

// personRow is a user. Teams are the ids of the teams, with spaces between.
type personRow struct {
	User, Email, Name    string
	Verified, SignedInAt int64
	Teams                string
	App, Passkeys        int64 // the second factors: whether there is an authenticator app, and how many passkeys
}

func (r *personRow) key() key { return key{a: r.User} }
func (r *personRow) fields() []any {
	return []any{&r.User, &r.Email, &r.Name, &r.Verified, &r.SignedInAt, &r.Teams, &r.App, &r.Passkeys}
}

type siteRow struct{ Team, Site, Name string }

func (r *siteRow) key() key      { return key{r.Team, r.Site} }
func (r *siteRow) fields() []any { return []any{&r.Team, &r.Site, &r.Name} }

type membersFold struct {
	opener  Opener
	members *table[memberRow, *memberRow]
	teams   *table[teamRow, *teamRow]
	people  *table[personRow, *personRow]
	sites   *table[siteRow, *siteRow]
	ends    *table[endRow, *endRow]
}

func (f *membersFold) parts() []part { return []part{f.members, f.teams, f.people, f.sites, f.ends} }

func (f *membersFold) apply(ctx context.Context, c *eventstore.Commit) error {
	for i := range c.Events {
		if err := f.event(ctx, c, i); err != nil {
			return err
		}
	}
	return nil
}

func (f *membersFold) event(ctx context.Context, c *eventstore.Commit, i int) error {
	id := c.Stream.ID
	switch e := c.Events[i].Event.(type) {
	case domain.TeamCreated:
		if err := f.teams.insert(teamRow{id, e.Name, e.Catalog, e.Plan, string(e.OwnerRole)}); err != nil {
			return err
		}
		return f.join(ctx, c, domain.MemberJoined{User: e.Owner, Role: e.OwnerRole})
	case domain.TeamRenamed:
		return f.teams.must(ctx, key{a: id}, func(t *teamRow) { t.Name = e.To })
	case domain.PlanChanged:
		return f.teams.must(ctx, key{a: id}, func(t *teamRow) { t.Plan = e.To })
	case domain.TeamDeleted:
		f.members.wipe(id)
		f.sites.wipe(id)
		f.ends.wipe(id)
		return f.teams.remove(ctx, key{a: id})

	case domain.MemberJoined:
		return f.join(ctx, c, e)
	case domain.MemberRemoved:
		return f.part(ctx, id, e.User)
	case domain.MemberLeft:
		return f.part(ctx, id, e.User)
	case domain.MemberExpired:
		return f.part(ctx, id, e.User)
	case domain.ExpiryChanged:
		return f.member(ctx, id, e.User, func(m *memberRow) { m.ExpiresAt = micros(e.After) })
	case domain.SitesExpired:
		return f.sitesExpired(ctx, id, e)
	case domain.PermissionsExpired:
		return f.permissionsExpired(ctx, id, e)
	case domain.RoleChanged:
		return f.member(ctx, id, e.User, func(m *memberRow) { m.Role = string(e.To) })
	case domain.PermissionsChanged:
		return f.member(ctx, id, e.User, func(m *memberRow) { m.Overrides = overridesText(e.After) })
	case domain.SitesChanged:
		return f.member(ctx, id, e.User, func(m *memberRow) { m.Sites = grantsText(e.After) })
	case domain.OwnershipTransferred:
		team, err := f.teams.get(ctx, key{a: id})
		if err != nil {
			return err
		}
		if team == nil {
			return f.teams.lacks(key{a: id})
		}
		if err := f.member(ctx, id, e.From, func(m *memberRow) { m.Role = string(e.FromRole) }); err != nil {
			return err
		}
		// An owner has everything, for good: overrides and grants of before are void.
		return f.member(ctx, id, e.To, func(m *memberRow) {
			m.Role, m.Overrides, m.Sites, m.ExpiresAt = team.OwnerRole, "", "", 0
		})

	case domain.SiteAdded:
		return f.sites.insert(siteRow{id, string(e.Site), e.Name})
	case domain.SiteRenamed:
		return f.sites.must(ctx, key{id, string(e.Site)}, func(s *siteRow) { s.Name = e.To })
	case domain.SiteRemoved:
		// Its grants stay in the rows of members and are passed over when
		// they are read: ids of sites are never used again.
		return f.sites.remove(ctx, key{id, string(e.Site)})

	case domain.UserRegistered:
		email, name, err := f.open(ctx, id, e.Email, e.Name)
		if err != nil {
			return err
		}
		return f.people.insert(personRow{User: id, Email: email, Name: name, Verified: flag(e.Verified)})
	case domain.EmailVerified:
		return f.person(ctx, id, func(p *personRow) { p.Verified = 1 })
	case domain.UserRenamed:
		_, name, err := f.open(ctx, id, "", e.Name)
		if err != nil {
			return err
		}
		return f.person(ctx, id, func(p *personRow) { p.Name = name })
	case domain.TwoFactorEnabled:
		return f.person(ctx, id, func(p *personRow) { p.App = 1 })
	case domain.TwoFactorDisabled:
		return f.person(ctx, id, func(p *personRow) { p.App = 0 })
	case domain.PasskeyAdded:
		return f.person(ctx, id, func(p *personRow) { p.Passkeys++ })
	case domain.PasskeyRemoved:
		return f.person(ctx, id, func(p *personRow) { p.Passkeys-- })
	case domain.SessionStarted:
		return f.person(ctx, string(e.User), func(p *personRow) { p.SignedInAt = max(p.SignedInAt, micros(c.At)) })
	}
	return nil
}

func (f *membersFold) open(ctx context.Context, user string, email, name domain.Sealed) (string, string, error) {
	plainEmail, err := open(ctx, f.opener, email, emailContext(user))
	if err != nil {
		return "", "", fmt.Errorf("opening the address of %s: %w", user, err)
	}
	plainName, err := open(ctx, f.opener, name, nameContext(user))
	if err != nil {
		return "", "", fmt.Errorf("opening the name of %s: %w", user, err)
	}
	return plainEmail, plainName, nil
}

func (f *membersFold) member(ctx context.Context, team string, user domain.UserID, change func(*memberRow)) error {
	var before, after memberRow
	if err := f.members.must(ctx, key{team, string(user)}, func(m *memberRow) {
		before = *m
		change(m)
		after = *m
	}); err != nil {
		return err
	}
	return f.reckon(ctx, &before, &after)
}

func (f *membersFold) join(ctx context.Context, c *eventstore.Commit, e domain.MemberJoined) error {
	m := memberRow{
		Team: c.Stream.ID, User: string(e.User), Position: int64(c.Position), JoinedAt: micros(c.At),
		Role: string(e.Role), Sites: grantsText(e.Sites), ExpiresAt: micros(e.ExpiresAt),
	}
	if err := f.people.must(ctx, key{a: m.User}, func(p *personRow) {
		p.Teams = strings.TrimSpace(p.Teams + " " + m.Team)
		m.of(p)
	}); err != nil {
		return err
	}
	if err := f.members.insert(m); err != nil {
		return err
	}
	return f.reckon(ctx, &memberRow{}, &m)
}

func (f *membersFold) part(ctx context.Context, team string, user domain.UserID) error {
	if err := f.member(ctx, team, user, func(m *memberRow) { m.Sites, m.Overrides, m.ExpiresAt = "", "", 0 }); err != nil {
		return err
	}
	if err := f.members.remove(ctx, key{team, string(user)}); err != nil {
		return err
	}
	return f.people.must(ctx, key{a: string(user)}, func(p *personRow) {
		p.Teams = strings.Join(slices.DeleteFunc(strings.Fields(p.Teams), func(other string) bool { return other == team }), " ")
	})
}

// person changes a user, and with it the user's row in every team. Teams that
// have been deleted are dropped from the list on the way.
func (f *membersFold) person(ctx context.Context, user string, change func(*personRow)) error {
	var person personRow
	if err := f.people.must(ctx, key{a: user}, func(p *personRow) { change(p); person = *p }); err != nil {
		return err
	}
	var teams []string
	for _, team := range strings.Fields(person.Teams) {
		found, err := f.members.change(ctx, key{team, user}, func(m *memberRow) { m.of(&person) })
		if err != nil {
			return err
		}
		if found {
			teams = append(teams, team)
		}
	}
	return f.people.must(ctx, key{a: user}, func(p *personRow) { p.Teams = strings.Join(teams, " ") })
}

// grantsText is JSON, in the order of the grants; empty when there are none.
func grantsText(grants []domain.SiteGrant) string {
	if len(grants) == 0 {
		return ""
	}
	return jsonText(grants)
}

func overridesText(o domain.Overrides) string {
	if len(o.Granted) == 0 && len(o.Revoked) == 0 {
		return ""
	}
	return jsonText(o)
}

// jsonText is for values that always can be JSON.
func jsonText(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("projections: %T as JSON: %v", value, err))
	}
	return string(text)
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

const memberColumns = `user_id, position, role, sites, overrides, joined_at, expires_at, email, name, verified, signed_in_at, two_factor`

// isMember is true of the rows of those who are members at the time that is a
// parameter. It is bound, never the database's own, so that what is decided and
// what is shown go by one clock.
const isMember = `(expires_at = 0 OR expires_at > $%d)`

// Members gives a page of the members of a team in the order in which they
// joined, and where the next page begins; the zero key when there is none.
func (p *Projections) Members(ctx context.Context, team domain.TeamID, filter MembersFilter) ([]Member, MemberKey, error) {
	limit := limited(filter.Limit)
	sql := `SELECT ` + memberColumns + ` FROM members WHERE team_id = $1 AND (position, user_id) > ($2, $3) AND ` + fmt.Sprintf(isMember, 4)
	args := []any{string(team), int64(min(filter.After.Position, math.MaxInt64)), string(filter.After.User), micros(filter.Now)}
	if filter.Query != "" {
		sql += ` AND search LIKE $5 ESCAPE '\'`
		args = append(args, "%"+likeEscapes.Replace(strings.ToLower(clean(filter.Query)))+"%")
	}
	sql += fmt.Sprintf(" ORDER BY position, user_id LIMIT %d", pageRows(limit+1))
	members, positions, err := p.members(ctx, team, filter.Now, limit+1, sql, args...)
	if err != nil {
		return nil, MemberKey{}, err
	}
	var next MemberKey
	if len(members) > limit {
		members = members[:limit]
		next = MemberKey{Position: positions[limit-1], User: members[limit-1].User}
	}
	return members, next, nil
}

// likeEscapes takes the meaning of the characters that LIKE gives one.
var likeEscapes = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// Member gives one member of a team; [domain.ErrNotFound] when there is no
// such member now.
func (p *Projections) Member(ctx context.Context, team domain.TeamID, user domain.UserID, now time.Time) (Member, error) {
	members, _, err := p.members(ctx, team, now, 1, `SELECT `+memberColumns+` FROM members
		WHERE team_id = $1 AND user_id = $2 AND `+fmt.Sprintf(isMember, 3), string(team), string(user), micros(now))
	if err != nil {
		return Member{}, err
	}
	if len(members) == 0 {
		return Member{}, domain.ErrNotFound
	}
	return members[0], nil
}

// SomeMembers gives those of the users who are members of a team now.
func (p *Projections) SomeMembers(ctx context.Context, team domain.TeamID, users []domain.UserID, now time.Time) (map[domain.UserID]Member, error) {
	found := make(map[domain.UserID]Member, len(users))
	for some := range slices.Chunk(users, PageLimit) {
		args, places := []any{string(team), micros(now)}, make([]string, len(some))
		for i, user := range some {
			args = append(args, string(user))
			places[i] = fmt.Sprintf("$%d", len(args))
		}
		members, _, err := p.members(ctx, team, now, len(some), `SELECT `+memberColumns+` FROM members
			WHERE team_id = $1 AND `+fmt.Sprintf(isMember, 2)+` AND user_id IN (`+strings.Join(places, ", ")+`)`, args...)
		if err != nil {
			return nil, err
		}
		for _, member := range members {
			found[member.User] = member
		}
	}
	return found, nil
}

// members runs a query for memberColumns, of so many rows about, and gives the
// positions beside the members.
func (p *Projections) members(ctx context.Context, team domain.TeamID, now time.Time, about int, sql string, args ...any) ([]Member, []uint64, error) {
	members, positions := make([]Member, 0, about), make([]uint64, 0, about)
	granted := map[int][]domain.SiteGrant{} // by the member's index
	names := map[domain.SiteID]string{}
	err := p.db.read(ctx, func(q querier) error {
		var m memberRow
		into := []any{&m.User, &m.Position, &m.Role, &m.Sites, &m.Overrides, &m.JoinedAt, &m.ExpiresAt, &m.Email, &m.Name, &m.Verified, &m.SignedInAt, &m.TwoFactor}
		err := q.query(ctx, sql, args, func(r row) error {
			if err := r.scan(into...); err != nil {
				return err
			}
			if m.Sites != "" {
				grants, err := grantsOf(m.Sites)
				if err != nil {
					return err
				}
				granted[len(members)] = grants
			}
			overrides, err := overridesOf(m.Overrides)
			members = append(members, Member{
				User: domain.UserID(m.User), Email: m.Email, Name: m.Name, EmailVerified: m.Verified != 0,
				Role: domain.RoleKey(m.Role), Sites: []MemberSite{}, Overrides: overrides.At(now),
				JoinedAt: timeOf(m.JoinedAt), LastSignInAt: timeOf(m.SignedInAt), ExpiresAt: timeOf(m.ExpiresAt), TwoFactor: m.TwoFactor != 0,
			})
			positions = append(positions, uint64(m.Position))
			return err
		})
		if err != nil || len(granted) == 0 {
			return err
		}
		return q.query(ctx, `SELECT site_id, name FROM members_sites WHERE team_id = $1`, []any{string(team)}, func(r row) error {
			var id, name string
			err := r.scan(&id, &name)
			names[domain.SiteID(id)] = name
			return err
		})
	})
	if err != nil {
		return nil, nil, fmt.Errorf("projections: reading members: %w", err)
	}
	for i, grants := range granted {
		for _, grant := range grants {
			if name, ok := names[grant.Site]; ok && !grant.Ended(now) {
				members[i].Sites = append(members[i].Sites, MemberSite{Site: grant.Site, Name: name, Role: grant.Role, ExpiresAt: grant.ExpiresAt})
			}
		}
	}
	return members, positions, nil
}

// overridesOf has no nil lists.
func overridesOf(text string) (domain.Overrides, error) {
	overrides := domain.Overrides{Granted: []domain.Permission{}, Revoked: []domain.Permission{}}
	if text == "" {
		return overrides, nil
	}
	if err := json.Unmarshal([]byte(text), &overrides); err != nil {
		return overrides, fmt.Errorf("projections: overrides in a row: %w", err)
	}
	return overrides, nil
}

func grantsOf(text string) ([]domain.SiteGrant, error) {
	grants := []domain.SiteGrant{}
	if text == "" {
		return grants, nil
	}
	if err := json.Unmarshal([]byte(text), &grants); err != nil {
		return nil, fmt.Errorf("projections: sites in a row: %w", err)
	}
	return grants, nil
}

// mostTeams is how many teams of one user are listed.
const mostTeams = "1000"

// TeamsOf gives the teams of a user in the order in which the user joined
// them.
func (p *Projections) TeamsOf(ctx context.Context, user domain.UserID, now time.Time) ([]Membership, error) {
	teams := []Membership{}
	err := p.db.read(ctx, func(q querier) error {
		return q.query(ctx, `SELECT t.team_id, t.name, t.catalog, t.plan, m.role, m.joined_at, m.expires_at
			FROM members m JOIN members_teams t ON t.team_id = m.team_id
			WHERE m.user_id = $1 AND `+fmt.Sprintf(isMember, 2)+` ORDER BY m.position, m.team_id LIMIT `+mostTeams,
			[]any{string(user), micros(now)}, func(r row) error {
				var id, name, catalog, plan, role string
				var joined, expires int64
				if err := r.scan(&id, &name, &catalog, &plan, &role, &joined, &expires); err != nil {
					return err
				}
				teams = append(teams, Membership{
					Team: domain.TeamID(id), Name: name, Catalog: catalog, Plan: plan,
					Role: domain.RoleKey(role), JoinedAt: timeOf(joined), ExpiresAt: timeOf(expires),
				})
				return nil
			})
	})
	if err != nil {
		return nil, fmt.Errorf("projections: reading the teams of a user: %w", err)
	}
	return teams, nil
}
