package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// bench is one run.
type bench struct {
	options
	log    io.Writer // progress
	report report

	self    string // this program
	binary  string // of the server
	temp    string // folder of everything but PostgreSQL's
	cluster *cluster
}

func (b *bench) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(b.log, "roster-load: "+format+"\n", args...)
}

// accounts is how many users the scenarios need: one a client.
func (b *bench) accounts() int { return max(minAccounts, slices.Max(b.clients)) }

func (b *bench) run(ctx context.Context) (err error) {
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.temp, err = os.MkdirTemp("", "roster-load-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.temp)) }()
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := b.fresh(ctx); err != nil {
		return err
	}
	if !b.wants("check", "batch", "invite", "hot", "members", "audit", "lag") {
		return nil
	}
	roster, err := b.newRoster(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, roster.server.stop()) }()
	if b.wants("check", "batch") {
		if err := b.checks(ctx, roster); err != nil {
			return err
		}
	}
	if b.wants("members", "audit") {
		if err := b.seed(ctx, roster); err != nil {
			return err
		}
	}
	var baseline *target
	if b.baseline && b.wants("invite", "hot", "members", "audit") {
		defer func() { err = errors.Join(err, b.cluster.stop()) }()
		if baseline, err = b.newPostgres(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, baseline.server.stop()) }()
	}
	if err := b.pages(ctx, roster, baseline); err != nil {
		return err
	}
	if err := b.commands(ctx, roster, baseline); err != nil {
		return err
	}
	if b.wants("lag") {
		return b.visible(ctx, roster)
	}
	return nil
}

const (
	starts = 5 // how often the time of a start is taken
	idling = 10 * time.Second
	rate   = 500 // commands a second in the scenario lag
)

// fresh measures servers with an empty data folder.
func (b *bench) fresh(ctx context.Context) error {
	if b.wants("start") {
		b.progress("start: %d times", starts)
		var took []time.Duration
		for i := range starts {
			server, err := b.serveRoster(ctx, filepath.Join(b.temp, fmt.Sprintf("start-%d", i)))
			if err != nil {
				return err
			}
			took = append(took, server.took)
			if err := server.stop(); err != nil {
				return err
			}
		}
		slices.Sort(took)
		longest := took[starts-1]
		b.report.add(row{
			Scenario: "start until listening", Value: fmt.Sprintf("median %v, longest %v", took[starts/2].Round(time.Millisecond), longest.Round(time.Millisecond)),
			Aim: "< 2 s", Met: met(longest < 2*time.Second),
		})
	}
	if b.wants("memory") {
		b.progress("memory: %v of idling", idling)
		server, err := b.serveRoster(ctx, filepath.Join(b.temp, "idle"))
		if err != nil {
			return err
		}
		select {
		case <-time.After(idling):
		case <-ctx.Done():
		}
		used, err := server.memory()
		if err := errors.Join(err, ctx.Err(), server.stop()); err != nil {
			return err
		}
		b.report.add(row{
			Scenario: "memory of an idle server", Value: fmt.Sprintf("%.1f MiB", float64(used)/(1<<20)),
			Aim: "< 60 MiB", Met: met(used < 60<<20),
		})
	}
	return nil
}

// play measures one closed loop, once the server is done with what was before.
func (b *bench) play(ctx context.Context, scenario string, clients int, server *process, prepare func(context.Context, int) (step, error)) (*figures, error) {
	settled, err := server.settle(ctx)
	if err != nil {
		return nil, err
	}
	if settled > 2*time.Second {
		b.progress("(the server was busy for %v with what was before)", settled.Round(time.Second))
	}
	ctx, cancel := context.WithCancel(ctx) // ends the connections
	defer cancel()
	before, err := server.cpu()
	if err != nil {
		return nil, err
	}
	got, err := closedLoop(ctx, clients, b.warmUp, b.length, func(worker int) (step, error) { return prepare(ctx, worker) })
	if err := got.failed(scenario, err); err != nil {
		return nil, err
	}
	after, err := server.cpu()
	if err != nil {
		return nil, err
	}
	got.CPU = float64((after - before).Microseconds()) / float64(got.all)
	b.progress("%s, %d clients: %.0f/s, median %.0f µs, p99 %.0f µs; %.0f µs of processor time each",
		scenario, clients, got.PerSecond, got.P50, got.P99, got.CPU)
	return &got, nil
}

// compare plays a scenario against Roster and the baseline in turn, at every
// number of clients.
func (b *bench) compare(ctx context.Context, scenario string, roster, baseline *target, aim func(row) (string, *bool),
	prepare func(*target) (func(context.Context, int) (step, error), error),
) error {
	for _, clients := range b.clients {
		r := row{Scenario: scenario, Clients: clients}
		for _, side := range []struct {
			target *target
			into   **figures
		}{{roster, &r.Roster}, {baseline, &r.Baseline}} {
			if side.target == nil {
				continue
			}
			steps, err := prepare(side.target)
			if err != nil {
				return err
			}
			if *side.into, err = b.play(ctx, scenario+" ("+side.target.name+")", clients, side.target.server, steps); err != nil {
				return err
			}
		}
		r.Aim, r.Met = aim(r)
		b.report.add(r)
	}
	return nil
}

// checks measures permission checks, one in a call and a hundred, against
// handlers without anything behind.
func (b *bench) checks(ctx context.Context, roster *target) (err error) {
	bare, err := start(ctx, nil, b.self, baselineHTTP)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.stop()) }()
	who := func(worker int) account { return roster.accounts[worker%len(roster.accounts)] }
	token := func(worker int) string { return who(worker).token }
	bareToken := func(int) string { return mapToken }
	for _, c := range []struct {
		name, title, path, mapPath string
		body                       func(user, team string) string
		aim                        float64 // ratio at 16 clients
	}{
		{"check", "check", evaluationPath, mapPath, evaluation, 0.65},
		{"batch", fmt.Sprintf("%d checks in one call", batchSize), evaluationsPath, mapsPath, evaluations, 0},
	} {
		if !b.wants(c.name) {
			continue
		}
		question := func(worker int) string { return c.body(who(worker).user, who(worker).teams[0]) }
		bareQuestion := func(int) string { return c.body(mapUser, mapTeam) }
		for _, clients := range b.clients {
			empty, err := b.play(ctx, "empty handler", clients, bare, posts(bare.url, emptyPath, bareToken, bareQuestion))
			if err != nil {
				return err
			}
			mapped, err := b.play(ctx, "bare map", clients, bare, posts(bare.url, c.mapPath, bareToken, bareQuestion))
			if err != nil {
				return err
			}
			got, err := b.play(ctx, c.title, clients, roster.server, posts(roster.server.url, c.path, token, question))
			if err != nil {
				return err
			}
			check := row{Scenario: c.title + ", against an empty handler", Clients: clients, Roster: got, Baseline: empty}
			if clients == 16 && c.aim > 0 {
				check.Aim, check.Met = fmt.Sprintf("ratio ≥ %.2f", c.aim), met(ratio(got, empty) >= c.aim)
			}
			b.report.add(check)
			b.report.add(row{Scenario: "  (a bare map, against the same)", Clients: clients, Roster: mapped, Baseline: empty})
		}
	}
	return nil
}

// pages measures the two lists.
func (b *bench) pages(ctx context.Context, roster, baseline *target) error {
	aim := func(r row) (string, *bool) {
		if r.Clients != 64 || r.Baseline == nil {
			return "", nil
		}
		return "ratio ≥ 3", met(ratio(r.Roster, r.Baseline) >= 3)
	}
	if b.wants("members") {
		err := b.compare(ctx, fmt.Sprintf("50 of %d members", b.members), roster, baseline, aim,
			func(t *target) (func(context.Context, int) (step, error), error) {
				if len(t.large.pages) == 0 {
					if err := t.walk(ctx); err != nil {
						return nil, err
					}
				}
				return t.pages(func() string { return t.large.membersPath(t.large.pages[rand.IntN(pageWalk)]) }), nil
			})
		if err != nil {
			return err
		}
	}
	if b.wants("audit") {
		return b.compare(ctx, fmt.Sprintf("filtered 50 of %d audit entries", b.audit), roster, baseline, aim,
			func(t *target) (func(context.Context, int) (step, error), error) {
				return t.pages(func() string { return t.large.auditPath(t.large.actors[rand.IntN(admins)]) }), nil
			})
	}
	return nil
}

// commands measures invitations.
func (b *bench) commands(ctx context.Context, roster, baseline *target) error {
	aim := func(perSecond, p99 float64) func(row) (string, *bool) {
		return func(r row) (string, *bool) {
			switch r.Clients {
			case 1:
				return "median < 400 µs", met(r.Roster.P50 < 400)
			case 64:
				return fmt.Sprintf("≥ %.0f/s, p99 < %.0f ms", perSecond, p99), met(r.Roster.PerSecond >= perSecond && r.Roster.P99 < p99*1e3)
			}
			return "", nil
		}
	}
	if b.wants("invite") {
		err := b.compare(ctx, "invite, across teams", roster, baseline, aim(4000, 30),
			func(t *target) (func(context.Context, int) (step, error), error) { return t.acrossTeams, nil })
		if err != nil {
			return err
		}
	}
	if b.wants("hot") {
		return b.compare(ctx, "invite, one hot team", roster, baseline, aim(2500, 50),
			func(t *target) (func(context.Context, int) (step, error), error) { return t.hot(ctx) })
	}
	return nil
}

// visible measures how far the read models are behind the commands.
func (b *bench) visible(ctx context.Context, roster *target) error {
	if _, err := roster.server.settle(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	command, lag, err := roster.lag(ctx, rate, b.warmUp, b.length)
	if err != nil {
		return err
	}
	b.progress("acknowledged to visible: median %.0f µs, p99 %.0f µs", lag.P50, lag.P99)
	b.report.add(row{Scenario: fmt.Sprintf("invite, %d/s open loop", rate), Roster: &command})
	b.report.add(row{
		Scenario: "  from acknowledged to visible", Roster: &lag,
		Aim: "p99 < 10 ms", Met: met(lag.P99 < 10e3),
	})
	return nil
}
