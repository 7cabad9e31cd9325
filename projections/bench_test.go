package projections

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// size is how much a benchmark works on: the value of an environment variable,
// or a number that keeps the whole set below a few minutes.
func size(b *testing.B, variable string, otherwise int) int {
	if text := os.Getenv(variable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatalf("%s: %v", variable, err)
		}
		return n
	}
	return otherwise
}

func benchBoth(b *testing.B, bench func(b *testing.B, backend backend)) {
	for _, backend := range backends {
		b.Run(backend.name, func(b *testing.B) { bench(b, backend) })
	}
}

// cpuTime is what this process has used of the processors: on a machine that is
// busy with other things it says more than the time that passed.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// busyTeams makes commits as teams of some 50 people make them: of 200, one
// makes the team; 49 register, invite, deliver, join; and the rest are sign-ins
// and changes of roles. Each group is to be appended in order.
func busyTeams(w *world, events int, each func([]*eventstore.Commit)) {
	random := rand.New(rand.NewPCG(1, 1))
	for n := 0; n < events; {
		var group []*eventstore.Commit
		do := func(stream eventstore.Stream, actor domain.UserID, event domain.Event) {
			group = append(group, w.prepare(stream, by{actor: domain.ByUser(actor), ip: "203.0.113.7", agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36", request: "req_01jd0000000000000000000000"}, event))
		}
		register := func(i int) domain.UserID {
			user := domain.UserID(eventstore.NewID(domain.PrefixUser))
			w.keys[user] = w.newKey()
			do(userStream(user), user, domain.UserRegistered{
				Address: "5f", Email: w.seal(w.keys[user], string(user)+"/email", fmt.Sprintf("someone%d@example.com", i)),
				Name: w.seal(w.keys[user], string(user)+"/name", fmt.Sprintf("Some One %d", i)), DataKey: w.keys[user],
			})
			return user
		}
		owner := register(0)
		team := domain.TeamID(eventstore.NewID(domain.PrefixTeam))
		stream := teamStream(team)
		do(stream, owner, domain.TeamCreated{Name: "Acme", Catalog: "distribu", CatalogVersion: 1, Plan: "starter", Owner: owner, OwnerRole: "OWNER"})
		users := []domain.UserID{owner}
		for i := 1; i < 50; i++ {
			id := domain.InvitationID(eventstore.NewID(domain.PrefixInvitation))
			key := w.newKey()
			do(stream, owner, domain.MemberInvited{
				Invitation: id, Address: "5f", Email: w.seal(key, string(id)+"/email", fmt.Sprintf("someone%d@example.com", i)), Role: "MEMBER", ExpiresAt: w.now.Add(time.Hour),
			})
			do(eventstore.Stream{Kind: eventstore.KindActivity, ID: string(id)}, owner, domain.InvitationDelivery{Team: team, Invitation: id, Link: 1, Status: domain.DeliverySent})
			user := register(i)
			do(stream, user, domain.MemberJoined{User: user, Invitation: id, Role: "MEMBER"})
			users = append(users, user)
			do(activityStream(user), user, domain.SessionStarted{User: user, Session: "ses_01jd0000000000000000000000"})
			if random.IntN(2) == 0 {
				do(stream, owner, domain.RoleChanged{User: user, From: "MEMBER", To: "ADMIN"})
			}
		}
		clear(w.heads) // so that a long stream isn't kept in memory
		n += len(group)
		each(group)
	}
}

// numbered gives commits positions, as if they had been appended.
func numbered(w *world, events int) []eventstore.Commit {
	var all []eventstore.Commit
	busyTeams(w, events, func(group []*eventstore.Commit) {
		for _, c := range group {
			all = append(all, *c)
			all[len(all)-1].Position = uint64(len(all))
		}
	})
	return all
}

// BenchmarkApply is the projector without the stream: batches as under load,
// and single commits as in quiet times.
func BenchmarkApply(b *testing.B) {
	w := newWorld(b)
	all := numbered(w, size(b, "ROSTER_BENCH_APPLY", 20_000))
	benchBoth(b, func(b *testing.B, backend backend) {
		for _, batch := range []int{1000, 1} {
			b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
				var took, used time.Duration
				var done int
				for b.Loop() {
					run := newRun(b, newProjections(b, openDatabase(b, backend.config(b)), w.store.Vault()))
					use := all[:min(len(all), 5000*batch)]
					began, before := time.Now(), cpuTime()
					for at := 0; at < len(use); at += batch {
						if err := run.apply(b.Context(), use[at:min(at+batch, len(use))], false); err != nil { // handle would rest between them
							b.Fatal(err)
						}
					}
					took += time.Since(began)
					used += cpuTime() - before
					done += len(use)
				}
				b.ReportMetric(float64(used.Microseconds())/float64(done), "cpu-µs/commit")
				b.ReportMetric(float64(done)/took.Seconds(), "commits/s")
			})
		}
	})
}

// appendTeams appends the commits of busy teams, many teams at a time.
func appendTeams(b *testing.B, w *world, events int) {
	next := make(chan []*eventstore.Commit)
	var writers sync.WaitGroup
	for range 64 {
		writers.Go(func() {
			for group := range next {
				if b.Failed() {
					continue
				}
				for _, c := range group {
					if c.Version > 1 {
						for _, before := range group {
							if before.Stream == c.Stream && before.Version == c.Version-1 {
								c.Previous = before.Hash
							}
						}
					}
					if err := w.store.Append(b.Context(), c); err != nil {
						b.Error(err)
						break
					}
				}
			}
		})
	}
	busyTeams(w, events, func(group []*eventstore.Commit) { next <- group })
	close(next)
	writers.Wait()
	last, err := w.store.LastPosition(b.Context())
	w.fatal(err)
	w.last = last
}

// BenchmarkRebuild makes every read model anew from a real event store, beside
// live tables, and compares the two.
func BenchmarkRebuild(b *testing.B) {
	w := newWorld(b)
	appendTeams(b, w, size(b, "ROSTER_BENCH_REBUILD", 50_000))
	benchBoth(b, func(b *testing.B, backend backend) {
		p := newProjections(b, openDatabase(b, backend.config(b)), w.store.Vault())
		stop := start(b, p, w.store)
		began := time.Now()
		if err := p.Wait(b.Context(), w.last); err != nil {
			b.Fatal(err)
		}
		caught := float64(w.last) / time.Since(began).Seconds()
		stop()
		before := cpuTime()
		for b.Loop() {
			began := time.Now()
			loaded := time.Duration(0)
			reports, err := p.Rebuild(b.Context(), w.store, nil, func(done, total uint64) {
				if done == total && loaded == 0 {
					loaded = time.Since(began)
				}
			})
			if err != nil {
				b.Fatal(err)
			}
			var rows int64
			for _, report := range reports {
				rows += report.Rows
				if report.Differences != 0 {
					b.Error(report)
				}
			}
			b.ReportMetric(float64(rows), "rows")
			b.ReportMetric(loaded.Seconds(), "loading-s")
		}
		b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1000/float64(b.N)/float64(w.last), "cpu-µs/commit")
		b.ReportMetric(caught, "caught-up/s")
		b.ReportMetric(float64(w.last)/(b.Elapsed().Seconds()/float64(b.N)), "commits/s")
	})
}

const (
	benchKey     domain.APIKeyID = "key_01jd0000000000000000000000"
	benchCatalog string          = "catalog"
	benchRare    int             = 20 // actions that are rare
)

// oneTeam is a team of many members and a long log, filled through the folds.
func oneTeam(b *testing.B, w *world, p *Projections, members, entries int) (domain.TeamID, []domain.UserID) {
	random := rand.New(rand.NewPCG(2, 2))
	r := newRun(b, p)
	var batch []eventstore.Commit
	position := uint64(0)
	flush := func() {
		if len(batch) > 0 {
			if err := r.apply(b.Context(), batch, false); err != nil {
				b.Fatal(err)
			}
			batch = nil
		}
	}
	doAs := func(stream eventstore.Stream, actor domain.Actor, key string, event domain.Event) {
		position++
		w.now = w.now.Add(time.Duration(random.IntN(2000)-900) * time.Millisecond)
		id := domain.EventID(eventstore.NewID(domain.PrefixEvent))
		if host, ok := event.(domain.HostActionRecorded); ok {
			host.Content = w.seal(key, string(id)+"/content", `{"name":"Order 1042","detail":{"carrier":"post","total":12.50}}`)
			event = host
		}
		batch = append(batch, eventstore.Commit{
			Stream: stream, Version: 1, Position: position, At: w.now, Actor: actor, RequestID: "req_01jd0000000000000000000000",
			Origin: w.seal(key, string(id)+"/origin", `{"ip":"203.0.113.7","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}`),
			Events: []eventstore.Recorded{{ID: id, Event: event}},
		})
		if len(batch) == 1000 {
			flush()
		}
	}
	do := func(stream eventstore.Stream, actor domain.UserID, event domain.Event) {
		doAs(stream, domain.ByUser(actor), w.keys[actor], event)
	}
	team := domain.TeamID(eventstore.NewID(domain.PrefixTeam))
	stream := teamStream(team)
	var users []domain.UserID
	for i := range members {
		user := domain.UserID(eventstore.NewID(domain.PrefixUser))
		w.keys[user] = w.newKey()
		do(userStream(user), user, domain.UserRegistered{
			Email: w.seal(w.keys[user], string(user)+"/email", fmt.Sprintf("someone%d@example.com", i)),
			Name:  w.seal(w.keys[user], string(user)+"/name", fmt.Sprintf("Some One %d", i)),
		})
		users = append(users, user)
		if i == 0 {
			do(stream, user, domain.TeamCreated{Name: "Acme", Catalog: "distribu", Owner: user, OwnerRole: "OWNER"})
			continue
		}
		id := domain.InvitationID(eventstore.NewID(domain.PrefixInvitation))
		do(stream, users[0], domain.MemberInvited{Invitation: id, Role: "MEMBER", ExpiresAt: w.now})
		do(stream, user, domain.MemberJoined{User: user, Invitation: id, Role: "MEMBER"})
	}
	hostKey := w.newKey()
	for n := range entries {
		actor, target := users[int(random.ExpFloat64()*10)%len(users)], pick(random, users)
		// The host acts for the same few people, on one thing that everything
		// hangs on and on many others; what is rare happens a few times.
		host := domain.HostActionRecorded{Team: team, Action: "order.shipped", TargetType: "catalog", TargetID: benchCatalog, OnBehalfOf: actor}
		if random.IntN(2) == 0 {
			host.Action, host.TargetType, host.TargetID = "order.edited", "order", fmt.Sprint(random.IntN(entries))
		}
		if n%(entries/benchRare) == entries/benchRare/2 {
			host.Action = "catalog.priced"
			host.TargetID, host.OnBehalfOf = benchCatalog, users[0]
		}
		switch n := random.IntN(100); {
		case host.Action == "catalog.priced", n < 40:
			doAs(eventstore.Stream{Kind: eventstore.KindActivity, ID: string(benchKey)}, domain.ByAPIKey(benchKey), hostKey, host)
		case n < 70:
			do(stream, actor, domain.RoleChanged{User: target, From: "MEMBER", To: "ADMIN"})
		case n < 99:
			do(stream, actor, domain.PermissionsChanged{User: target, After: domain.Overrides{Granted: []domain.Permission{"team:invite"}}})
		default:
			do(stream, actor, domain.PlanChanged{From: "starter", To: "growth"})
		}
	}
	flush()
	for _, m := range models {
		for _, s := range m.shapes {
			if err := p.db.analyze(b.Context(), s.name); err != nil {
				b.Fatal(err)
			}
		}
	}
	return team, users
}

func BenchmarkPages(b *testing.B) {
	benchBoth(b, func(b *testing.B, backend backend) {
		w := newWorld(b)
		p := newProjections(b, openDatabase(b, backend.config(b)), w.store.Vault())
		members, entries := size(b, "ROSTER_BENCH_MEMBERS", 20_000), size(b, "ROSTER_BENCH_AUDIT", 50_000)
		team, users := oneTeam(b, w, p, members, entries)
		half, _, err := p.Members(b.Context(), team, MembersFilter{Limit: 1, After: MemberKey{Position: uint64(members * 3 / 2)}})
		if err != nil {
			b.Fatal(err)
		}
		middle := half[0].User
		last := w.now
		var first time.Time
		if err := p.AuditExport(b.Context(), team, AuditFilter{Target: string(team), Actions: []string{"team.created"}}, func(e *AuditEntry) error {
			first = e.At
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		span := last.Sub(first)
		bench := func(name string, page func() (int, error)) {
			b.Run(name, func(b *testing.B) {
				n, err := 0, error(nil)
				var took []time.Duration
				before := cpuTime()
				for b.Loop() {
					began := time.Now()
					if n, err = page(); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
				}
				slices.Sort(took)
				b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs")
				b.ReportMetric(float64(n), "entries")
				b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "median-µs")
				b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "slowest-ms")
			})
			b.Run(name+"/parallel", func(b *testing.B) {
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := page(); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pages/s")
			})
		}
		ctx := context.WithoutCancel(b.Context())
		bench("members/middle", func() (int, error) {
			page, _, err := p.Members(ctx, team, MembersFilter{Limit: 50, After: MemberKey{Position: uint64(members * 3 / 2), User: middle}})
			return len(page), err
		})
		bench("members/query", func() (int, error) {
			page, _, err := p.Members(ctx, team, MembersFilter{Limit: 50, Query: "one 77"})
			return len(page), err
		})
		bench("member", func() (int, error) { _, err := p.Member(ctx, team, middle, time.Now()); return 1, err })
		actor, rare, target := string(users[3]), string(users[min(80, len(users)-1)]), string(users[len(users)/3])
		audit := func(name string, filter AuditFilter) {
			filter.Limit = 50
			bench("audit/"+name, func() (int, error) {
				page, _, err := p.Audit(ctx, team, filter)
				return len(page), err
			})
		}
		audit("all", AuditFilter{})
		audit("actor", AuditFilter{Actor: actor})
		audit("action", AuditFilter{Actions: []string{"permissions.changed"}})
		audit("actor+action", AuditFilter{Actor: actor, Actions: []string{"permissions.changed"}})
		audit("actor+rare-action", AuditFilter{Actor: actor, Actions: []string{"plan.changed"}})
		audit("actor+no-action", AuditFilter{Actor: actor, Actions: []string{"member.left"}})
		audit("target", AuditFilter{Target: target})
		audit("hot-target+rare-actor", AuditFilter{Target: string(team), Actor: rare})
		audit("target+action", AuditFilter{Target: target, Actions: []string{"role.changed"}})
		audit("time", AuditFilter{From: first.Add(span / 2), To: first.Add(span/2 + span/1000)})
		audit("narrow-time", AuditFilter{From: first.Add(span / 2), To: first.Add(span/2 + time.Second)})
		audit("old+actor+action", AuditFilter{Actor: actor, Actions: []string{"role.changed"}, To: first.Add(span / 3)})
		audit("all-four", AuditFilter{Actor: actor, Actions: []string{"role.changed"}, Target: target, From: first.Add(span / 3), To: first.Add(span * 2 / 3)})
		audit("host/hot-actor+hot-target", AuditFilter{Actor: string(benchKey), Target: benchCatalog})
		audit("host/hot-target+rare-action", AuditFilter{Target: benchCatalog, Actions: []string{"catalog.priced"}})
		audit("host/hot-actor+hot-target+rare-action", AuditFilter{Actor: string(benchKey), Target: benchCatalog, Actions: []string{"catalog.priced"}})
		audit("host/hot-actor+rare-target", AuditFilter{Actor: string(benchKey), Target: "17"})
		audit("member", AuditFilter{Member: actor})
		audit("member+rare-action", AuditFilter{Member: string(users[0]), Actions: []string{"catalog.priced"}})
		audit("member+target", AuditFilter{Member: actor, Target: benchCatalog})
		audit("member+target+no-action+time", AuditFilter{Member: actor, Target: benchCatalog, Actions: []string{"order.edited"}, From: first.Add(span / 3), To: first.Add(span * 2 / 3)})
		audit("member+three-actions+old", AuditFilter{Member: actor, Actions: []string{"role.changed", "order.shipped", "plan.changed"}, To: first.Add(span / 3)})
		many := make([]string, MaxActions)
		for i := range many {
			many[i] = fmt.Sprintf("order.%d", i)
		}
		copy(many, []string{"role.changed", "order.shipped", "plan.changed", "permissions.changed", "order.edited"})
		audit("many-actions", AuditFilter{Actions: many})
		audit("member+many-actions", AuditFilter{Member: actor, Actions: many})
		var deep AuditKey
		page, _, err := p.Audit(b.Context(), team, AuditFilter{To: first.Add(span / 2), Limit: 1})
		if err != nil || len(page) != 1 {
			b.Fatal(len(page), err)
		}
		deep = AuditKey{Position: page[0].Position}
		audit("deep", AuditFilter{After: deep})
		audit("deep+member+action", AuditFilter{Member: actor, Actions: []string{"role.changed"}, After: deep})
		audit("three-actions", AuditFilter{Actions: []string{"role.changed", "plan.changed", "permissions.changed"}})
	})
}

// BenchmarkLag is the time from the acknowledgement of an append to the rows
// being there, at 500 commits a second.
func BenchmarkLag(b *testing.B) {
	benchBoth(b, func(b *testing.B, backend backend) {
		w := newWorld(b)
		p := newProjections(b, openDatabase(b, backend.config(b)), w.store.Vault())
		start(b, p, w.store)
		user := w.register("Ann", "ann@example.com")
		w.team(user, "Acme")
		var lags []time.Duration
		var mu sync.Mutex
		var waiting sync.WaitGroup
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		for b.Loop() {
			w.signIn(user)
			position, acknowledged := w.last, time.Now()
			waiting.Go(func() {
				if err := p.Wait(context.Background(), position); err != nil {
					b.Error(err)
				}
				mu.Lock()
				lags = append(lags, time.Since(acknowledged))
				mu.Unlock()
			})
			<-ticker.C
		}
		waiting.Wait()
		slices.Sort(lags)
		for _, q := range []struct {
			name string
			at   float64
		}{{"p50-ms", .5}, {"p99-ms", .99}, {"max-ms", 1}} {
			lag := lags[min(len(lags)-1, int(q.at*float64(len(lags))))]
			b.ReportMetric(float64(lag.Microseconds())/1000, q.name)
		}
	})
}
