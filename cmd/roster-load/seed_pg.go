package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// newPostgres starts the baseline with the same people, teams and history.
func (b *bench) newPostgresAt(ctx context.Context, self string) (_ *target, err error) {
	b.progress("starting PostgreSQL")
	if b.cluster, err = startPostgres(ctx, b.folder); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, b.cluster.dsn)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	t := &target{name: "baseline", accounts: make([]account, b.accounts())}
	for i := range t.accounts {
		if t.accounts[i], err = pgAccount(ctx, conn, i); err != nil {
			return nil, err
		}
	}
	dsn := b.cluster.dsn
	t.hotTeam = func(ctx context.Context) (string, error) {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close(ctx) }()
		team, err := pgTeam(ctx, conn, t.accounts[0].user, nil)
		return team.String(), err
	}
	if b.wants("members", "audit") {
		b.progress("seeding PostgreSQL with %d members and %d audit entries", b.members, b.audit)
		if err := b.seedPostgres(ctx, conn, t); err != nil {
			return nil, err
		}
	}
	t.server, err = start(ctx, []string{dsnEnv + "=" + b.cluster.dsn}, self, baselinePG)
	return t, err
}

func pgAccount(ctx context.Context, conn *pgx.Conn, i int) (account, error) {
	user, token := uuid.NewString(), "ses_"+uuid.NewString()+uuid.NewString()
	hash := sha256.Sum256([]byte(token))
	_, err := conn.Exec(ctx, `INSERT INTO users VALUES ($1, $2, 'Ada Lovelace')`, user, fmt.Sprintf("owner-%d@example.com", i))
	if err == nil {
		_, err = conn.Exec(ctx, `INSERT INTO sessions VALUES ($1, $2, now() + interval '30 days')`, hash[:], user)
	}
	a := account{user: user, token: token}
	seats := limitedSeats
	for err == nil && len(a.teams) < teamsEach {
		var team uuid.UUID
		team, err = pgTeam(ctx, conn, user, &seats)
		a.teams = append(a.teams, team.String())
	}
	return a, err
}

func pgTeam(ctx context.Context, conn *pgx.Conn, owner string, seats *int) (uuid.UUID, error) {
	team := uuid.New()
	_, err := conn.Exec(ctx, `INSERT INTO teams VALUES ($1, 'Team', $2)`, team, seats)
	if err == nil {
		_, err = conn.Exec(ctx, `INSERT INTO members VALUES ($1, $2, 'owner', now())`, team, owner)
	}
	return team, err
}

// seedPostgres gives the first team the history that Roster's has.
func (b *bench) seedPostgres(ctx context.Context, conn *pgx.Conn, t *target) error {
	owner, team := uuid.MustParse(t.accounts[0].user), uuid.MustParse(t.accounts[0].teams[0])
	t.large = largeTeam{team: team.String(), token: t.accounts[0].token}
	people := make([]uuid.UUID, b.members)
	for i := range people {
		people[i] = uuid.Must(uuid.NewV7())
		if i < admins {
			t.large.actors = append(t.large.actors, people[i].String())
		}
	}
	changes := b.audit - 2*b.members
	const between = 300 * time.Microsecond
	begin := time.Now().Add(-time.Duration(b.audit) * between)
	at := func(entry int) time.Time { return begin.Add(time.Duration(entry) * between) }
	t.large.from, t.large.to = at(b.audit-singles), at(b.audit-singles/4)

	rows := func(n int, row func(i int) []any) pgx.CopyFromSource {
		return pgx.CopyFromSlice(n, func(i int) ([]any, error) { return row(i), nil })
	}
	type table struct {
		name    string
		columns []string
		rows    pgx.CopyFromSource
	}
	auditColumns := []string{"id", "team_id", "at", "action", "actor_id", "target_type", "target_id", "before", "after", "ip", "user_agent", "request_id"}
	for _, into := range []table{
		{"users", []string{"id", "email", "name"}, rows(b.members, func(i int) []any {
			return []any{people[i], fmt.Sprintf("member-%d@example.com", i), fmt.Sprintf("Member %d", i)}
		})},
		{"members", []string{"team_id", "user_id", "role", "joined_at"}, rows(b.members, func(i int) []any {
			return []any{team, people[i], string(seedRole(i, 0)), at(b.members + i)}
		})},
		{"audit_events", auditColumns, rows(b.audit, func(i int) []any {
			id := uuid.Must(uuid.NewV7())
			entry := []any{id, team, at(i), "member.invited", owner, "invitation", id, nil, `{"role":"member"}`, auditorIP, auditorAgent, id.String()}
			switch change := i - 2*b.members; {
			case change >= 0:
				others := b.members - admins
				by := change % admins
				if change < changes-singles {
					by = change / bulk % admins
				}
				member, round := admins+change%others, change/others
				entry[3], entry[4], entry[5], entry[6] = "role.changed", people[by], "member", people[member]
				entry[7], entry[8] = fmt.Sprintf(`{"role":%q}`, seedRole(member, round)), fmt.Sprintf(`{"role":%q}`, seedRole(member, round+1))
			case i >= b.members:
				entry[3], entry[4], entry[5], entry[6] = "member.joined", people[i-b.members], "member", people[i-b.members]
			}
			return entry
		})},
	} {
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{into.name}, into.columns, into.rows); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, "VACUUM ANALYZE")
	return err
}
