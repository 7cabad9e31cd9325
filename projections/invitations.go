package projections

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// invitationsModel is the invitations of teams, whatever became of them, with
// the fate of the message that carries the link. Personal data stays sealed in
// its tables and is opened when it is read.
var invitationsModel = &model{
	name:    "invitations",
	version: 1,
	shapes:  []*shape{invitationsShape, invitationsNames},
	fold: func(_ Opener, in place) fold {
		return &invitationsFold{
			invitations: newTable[invitationRow](invitationsShape, in),
			names:       newTable[nameRow](invitationsNames, in),
		}
	},
}

var (
	invitationsShape = newShape("invitations", 2, `team_id TEXT, invitation_id TEXT,
		position BIGINT, email TEXT, name TEXT, role TEXT, sites TEXT, status TEXT, link BIGINT,
		inviter_type TEXT, inviter_id TEXT, invited_at BIGINT, expires_at BIGINT, ended_at BIGINT, access_expires_at BIGINT,
		delivery TEXT, delivery_detail TEXT, delivery_at BIGINT`,
		index{columns: "team_id, position, invitation_id"},
		index{columns: "team_id, status, position, invitation_id"},
		index{columns: "expires_at, invitation_id", where: "status = 'pending'"})

	// invitationsNames are the names of those who invite: sealed for users,
	// plain for API keys.
	invitationsNames = newShape("invitations_names", 1, `id TEXT, name TEXT, email TEXT`)
)

type invitationRow struct {
	Team, ID                 string
	Position                 int64
	Email, Name              string // sealed
	Role, Sites, Status      string
	Link                     int64
	InviterType, InviterID   string
	InvitedAt, ExpiresAt     int64
	EndedAt, AccessExpiresAt int64
	Delivery, DeliveryDetail string
	DeliveryAt               int64
}

func (r *invitationRow) key() key { return key{r.Team, r.ID} }
func (r *invitationRow) fields() []any {
	return []any{
		&r.Team, &r.ID, &r.Position, &r.Email, &r.Name, &r.Role, &r.Sites, &r.Status, &r.Link,
		&r.InviterType, &r.InviterID, &r.InvitedAt, &r.ExpiresAt, &r.EndedAt, &r.AccessExpiresAt, &r.Delivery, &r.DeliveryDetail, &r.DeliveryAt,
	}
}

// nameRow is the name of a user (sealed, with the address) or of an API key.
type nameRow struct{ ID, Name, Email string }

func (r *nameRow) key() key      { return key{a: r.ID} }
func (r *nameRow) fields() []any { return []any{&r.ID, &r.Name, &r.Email} }

type invitationsFold struct {
	invitations *table[invitationRow, *invitationRow]
	names       *table[nameRow, *nameRow]
}

func (f *invitationsFold) parts() []part { return []part{f.invitations, f.names} }

func (f *invitationsFold) apply(ctx context.Context, c *eventstore.Commit) error {
	for i := range c.Events {
		if err := f.event(ctx, c, i); err != nil {
			return err
		}
	}
	return nil
}

func (f *invitationsFold) event(ctx context.Context, c *eventstore.Commit, i int) error {
	id := c.Stream.ID
	switch e := c.Events[i].Event.(type) {
	case domain.MemberInvited:
		return f.invitations.insert(invitationRow{
			Team: id, ID: string(e.Invitation), Position: int64(c.Position), Email: string(e.Email), Name: string(e.Name),
			Role: string(e.Role), Sites: grantsText(e.Sites), Status: string(domain.StatusPending), Link: 1,
			InviterType: string(c.Actor.Type), InviterID: c.Actor.ID, InvitedAt: micros(c.At), ExpiresAt: micros(e.ExpiresAt),
			AccessExpiresAt: micros(e.AccessExpiresAt),
			Delivery:        string(domain.DeliveryQueued),
		})
	case domain.InvitationResent:
		return f.invitations.must(ctx, key{id, string(e.Invitation)}, func(r *invitationRow) {
			r.Status, r.EndedAt = string(domain.StatusPending), 0
			r.Link, r.ExpiresAt = int64(e.Link), micros(e.ExpiresAt)
			r.Delivery, r.DeliveryDetail, r.DeliveryAt = string(domain.DeliveryQueued), "", 0
		})
	case domain.InvitationCancelled:
		return f.end(ctx, c, e.Invitation, domain.StatusCancelled)
	case domain.InvitationDeclined:
		return f.end(ctx, c, e.Invitation, domain.StatusDeclined)
	case domain.InvitationExpired:
		return f.end(ctx, c, e.Invitation, domain.StatusExpired)
	case domain.MemberJoined:
		return f.end(ctx, c, e.Invitation, domain.StatusAccepted)
	case domain.RoleDeleted:
		return f.reassign(ctx, id, e)
	case domain.TeamDeleted:
		f.invitations.wipe(id)

	case domain.InvitationDelivery:
		// It may come after the team is gone, or after the link was replaced.
		_, err := f.invitations.change(ctx, key{string(e.Team), string(e.Invitation)}, func(r *invitationRow) {
			if r.Link == int64(e.Link) {
				r.Delivery, r.DeliveryDetail, r.DeliveryAt = string(e.Status), e.Detail, micros(c.At)
			}
		})
		return err

	case domain.UserRegistered:
		return f.names.insert(nameRow{id, string(e.Name), string(e.Email)})
	case domain.UserRenamed:
		return f.names.must(ctx, key{a: id}, func(r *nameRow) { r.Name = string(e.Name) })
	case domain.APIKeyCreated:
		return f.names.insert(nameRow{ID: string(e.Key), Name: e.Name})
	}
	return nil
}

// reassign gives the invitations that had a deleted role its replacement.
func (f *invitationsFold) reassign(ctx context.Context, team string, e domain.RoleDeleted) error {
	for _, invitation := range e.Invitations {
		var malformed error
		err := f.invitations.must(ctx, key{team, string(invitation)}, func(r *invitationRow) {
			if r.Role == string(e.Role.Key) {
				r.Role = string(e.Replacement)
			}
			var grants []domain.SiteGrant
			grants, malformed = grantsOf(r.Sites)
			for i := range grants {
				if grants[i].Role == e.Role.Key {
					grants[i].Role = e.Replacement
				}
			}
			r.Sites = grantsText(grants)
		})
		if err := cmp.Or(err, malformed); err != nil {
			return err
		}
	}
	return nil
}

func (f *invitationsFold) end(ctx context.Context, c *eventstore.Commit, id domain.InvitationID, status domain.InvitationStatus) error {
	return f.invitations.must(ctx, key{c.Stream.ID, string(id)}, func(r *invitationRow) {
		r.Status, r.EndedAt = string(status), micros(c.At)
	})
}

const invitationColumns = `i.team_id, i.invitation_id, i.position, i.email, i.name, i.role, i.sites, i.status, i.link,
	i.inviter_type, i.inviter_id, i.invited_at, i.expires_at, i.ended_at, i.access_expires_at, i.delivery, i.delivery_detail, i.delivery_at,
	COALESCE(n.name, ''), COALESCE(n.email, '')`

// Invitations gives a page of the invitations of a team, newest first, and
// where the next page begins; the zero key when there is none.
func (p *Projections) Invitations(ctx context.Context, team domain.TeamID, filter InvitationsFilter) ([]Invitation, InvitationKey, error) {
	limit := limited(filter.Limit)
	before := InvitationKey{Position: math.MaxInt64}
	if filter.After != (InvitationKey{}) {
		before = filter.After
	}
	args := []any{string(team), int64(min(before.Position, math.MaxInt64)), string(before.Invitation)}

	most := fmt.Sprintf(" LIMIT %d", pageRows(limit+1))

	// Each branch reads its own stretch of an index in order, so a page costs
	// the same however many invitations have another status.
	var branches []string
	branch := func(condition string) {
		branches = append(branches, `SELECT * FROM (SELECT * FROM invitations
			WHERE team_id = $1 AND (position, invitation_id) < ($2, $3)`+condition+`
			ORDER BY position DESC, invitation_id DESC`+most+`) AS b`+fmt.Sprint(len(branches)))
	}
	switch filter.Status {
	case "":
		branch(``)
	case domain.StatusPending:
		branch(` AND status = 'pending' AND expires_at > $4`)
		args = append(args, micros(filter.Now))
	case domain.StatusExpired:
		branch(` AND status = 'pending' AND expires_at <= $4`)
		branch(` AND status = 'expired'`)
		args = append(args, micros(filter.Now))
	default:
		branch(` AND status = $4`)
		args = append(args, string(filter.Status))
	}
	sql := `SELECT ` + invitationColumns + ` FROM (` + strings.Join(branches, ` UNION ALL `) + `) AS i
		LEFT JOIN invitations_names n ON n.id = i.inviter_id ORDER BY i.position DESC, i.invitation_id DESC` + most
	invitations, positions, err := p.invitations(ctx, filter.Now, sql, args...)
	if err != nil {
		return nil, InvitationKey{}, err
	}
	var next InvitationKey
	if len(invitations) > limit {
		invitations = invitations[:limit]
		next = InvitationKey{Position: positions[limit-1], Invitation: invitations[limit-1].ID}
	}
	return invitations, next, nil
}

// Invitation gives one invitation of a team; [domain.ErrNotFound] when there
// is none. Now decides whether it has expired.
func (p *Projections) Invitation(ctx context.Context, team domain.TeamID, id domain.InvitationID, now time.Time) (Invitation, error) {
	invitations, _, err := p.invitations(ctx, now, `SELECT `+invitationColumns+` FROM invitations i
		LEFT JOIN invitations_names n ON n.id = i.inviter_id WHERE i.team_id = $1 AND i.invitation_id = $2`, string(team), string(id))
	if err != nil {
		return Invitation{}, err
	}
	if len(invitations) == 0 {
		return Invitation{}, domain.ErrNotFound
	}
	return invitations[0], nil
}

// invitations runs a query for invitationColumns.
func (p *Projections) invitations(ctx context.Context, now time.Time, sql string, args ...any) ([]Invitation, []uint64, error) {
	var (
		rows  []invitationRow
		names []nameRow
	)
	err := p.db.read(ctx, func(q querier) error {
		return q.query(ctx, sql, args, func(r row) error {
			rows = append(rows, invitationRow{})
			names = append(names, nameRow{})
			name := &names[len(names)-1]
			return r.scan(append(rows[len(rows)-1].fields(), &name.Name, &name.Email)...)
		})
	})
	if err != nil {
		return nil, nil, fmt.Errorf("projections: reading invitations: %w", err)
	}
	invitations := make([]Invitation, len(rows))
	positions := make([]uint64, len(rows))
	unsealed := newUnsealer(p.opener)
	for i := range rows {
		positions[i] = uint64(rows[i].Position)
		if invitations[i], err = rows[i].invitation(ctx, unsealed, now); err != nil {
			return nil, nil, err
		}
		by := &invitations[i].InvitedBy
		if by.Name, by.Email, err = unsealed.person(ctx, by.Type, by.ID, names[i].Name, names[i].Email); err != nil {
			return nil, nil, err
		}
	}
	return invitations, positions, nil
}

func (r *invitationRow) invitation(ctx context.Context, unsealed *unsealer, now time.Time) (Invitation, error) {
	email, err := unsealed.text(ctx, r.Email, emailContext(r.ID))
	if err != nil {
		return Invitation{}, err
	}
	name, err := unsealed.text(ctx, r.Name, nameContext(r.ID))
	if err != nil {
		return Invitation{}, err
	}
	sites, err := grantsOf(r.Sites)
	if err != nil {
		return Invitation{}, err
	}
	i := Invitation{
		ID: domain.InvitationID(r.ID), Team: domain.TeamID(r.Team), Email: email, Name: name,
		Role: domain.RoleKey(r.Role), Sites: sites, Status: domain.InvitationStatus(r.Status), Link: int(r.Link),
		InvitedBy: Person{Type: domain.ActorType(r.InviterType), ID: r.InviterID},
		InvitedAt: timeOf(r.InvitedAt), ExpiresAt: timeOf(r.ExpiresAt), EndedAt: timeOf(r.EndedAt), AccessExpiresAt: timeOf(r.AccessExpiresAt),
		Delivery: Delivery{Status: domain.DeliveryStatus(r.Delivery), Detail: r.DeliveryDetail, At: timeOf(r.DeliveryAt)},
	}
	if i.Status == domain.StatusPending && micros(now) >= r.ExpiresAt {
		i.Status = domain.StatusExpired
	}
	return i, nil
}

// DueInvitations lists invitations of any team whose time has come by now and
// whose end is not recorded, the longest due first, at most limit of them and at most 1,000.
func (p *Projections) DueInvitations(ctx context.Context, now time.Time, limit int) ([]DueInvitation, error) {
	due := []DueInvitation{}
	err := p.db.read(ctx, func(q querier) error {
		return q.query(ctx, `SELECT team_id, invitation_id FROM invitations
			WHERE status = 'pending' AND expires_at <= $1 ORDER BY expires_at, invitation_id LIMIT $2`,
			[]any{micros(now), int64(min(max(limit, 1), 1000))}, func(r row) error {
				var team, id string
				err := r.scan(&team, &id)
				due = append(due, DueInvitation{domain.TeamID(team), domain.InvitationID(id)})
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("projections: reading due invitations: %w", err)
	}
	return due, nil
}
