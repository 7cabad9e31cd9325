package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed baseline_seed.sql
var pgSeed string

// newPostgres starts the baseline with people, teams and history like Roster's.
// Without the scenarios that need it, the large team is as small as can be.
func (b *bench) newPostgres(ctx context.Context) (_ *target, err error) {
	members, audit := b.members, b.audit
	if !b.wants("members", "audit") {
		members, audit = admins+1, 2*(admins+1)+singles
	}
	b.progress("starting PostgreSQL with %d members and %d audit entries", members, audit)
	if b.cluster, err = startPostgres(ctx); err != nil {
		return nil, err
	}
	seed := strings.NewReplacer("{accounts}", fmt.Sprint(b.accounts()), "{teams}", fmt.Sprint(teamsEach),
		"{seats}", fmt.Sprint(limitedSeats), "{members}", fmt.Sprint(members), "{audit}", fmt.Sprint(audit),
		"{admins}", fmt.Sprint(admins), "{singles}", fmt.Sprint(singles), "{bulk}", fmt.Sprint(bulk), "{agent}", auditorAgent)
	for _, sql := range []string{pgSchema, seed.Replace(pgSeed), "VACUUM ANALYZE"} {
		if err := b.cluster.exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	id := func(kind, n int) string { return fmt.Sprintf("%08x-0000-7000-8000-%012x", kind, n) }
	t := &target{name: "baseline", accounts: make([]account, b.accounts())}
	for i := range t.accounts {
		t.accounts[i] = account{user: id(1, i), token: fmt.Sprintf("token-%d", i)}
		for n := range teamsEach {
			t.accounts[i].teams = append(t.accounts[i].teams, id(2, i*teamsEach+n))
		}
	}
	at := func(entry int) time.Time {
		return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(entry) * 300 * time.Microsecond)
	}
	t.large = largeTeam{team: id(2, 0), token: t.accounts[0].token, from: at(audit - singles), to: at(audit - singles/4)}
	for i := range admins {
		t.large.actors = append(t.large.actors, id(3, i))
	}
	hot := 0
	t.hotTeam = func(ctx context.Context) (string, error) {
		hot++
		team := id(5, hot)
		return team, b.cluster.exec(ctx, fmt.Sprintf(`INSERT INTO teams VALUES ('%s', 'Hot', NULL);
			INSERT INTO members VALUES ('%[1]s', '%[2]s', 'owner', now())`, team, id(1, 0)))
	}
	t.server, err = start(ctx, []string{dsnEnv + "=" + b.cluster.dsn}, b.self, baselinePG)
	return t, err
}

// exec runs statements of its own trust, without arguments.
func (c *cluster) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, c.dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}
