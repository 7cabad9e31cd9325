package projections

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"roster/domain"
	"roster/eventstore"
)

// Turning pages gives what was there when the first one was read, whatever is
// entered meanwhile.
func TestAuditPagesUnderInserts(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	team := w.team(ann, "Acme")
	change := func() {
		w.commit(teamStream(team), by{actor: domain.ByUser(ann)},
			domain.PlanChanged{From: "starter", To: "growth"}, domain.TeamRenamed{From: "Acme", To: fmt.Sprint(w.last)}, domain.PlanChanged{From: "growth", To: "starter"})
	}
	for range 12 {
		change()
	}
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		for _, filter := range []AuditFilter{
			{}, {Actor: string(ann)}, {Actions: []string{"plan.changed"}}, {Actions: []string{"plan.changed", "team.renamed"}},
			{Member: string(ann)}, {Target: string(team), From: epoch},
		} {
			for limit := 1; limit <= 9; limit += 4 {
				want := auditPages(t, p, team, filter, PageLimit)
				turning, got := filter, []AuditEntry(nil)
				turning.Limit = limit
				for n := 0; ; n++ {
					page, next, err := p.Audit(testContext(t), team, turning)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, page...)
					if n < 2 {
						change()
						wait(t, p, w.last)
					}
					if next == (AuditKey{}) {
						break
					}
					turning.After = next
				}
				same(t, fmt.Sprintf("pages of %d of %+v", limit, filter), want, got)
			}
		}
	})
}

// bigLog fills the read models with entries that take some four kilobytes each.
func bigLog(t *testing.T, w *world, p *Projections, entries int) domain.TeamID {
	ann := domain.UserID(eventstore.NewID(domain.PrefixUser))
	team := domain.TeamID(eventstore.NewID(domain.PrefixTeam))
	key, detail := w.newKey(), `{"name":"x","detail":{"text":"`+strings.Repeat("x", 2800)+`"}}`
	r := newRun(t, p)
	var batch []eventstore.Commit
	position := uint64(0)
	add := func(stream eventstore.Stream, events ...eventstore.Recorded) {
		position++
		batch = append(batch, eventstore.Commit{Stream: stream, Version: 1, Position: position, At: w.now, Actor: domain.ByUser(ann), Events: events})
	}
	event := func(e domain.Event) eventstore.Recorded {
		return eventstore.Recorded{ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)), Event: e}
	}
	add(userStream(ann), event(domain.UserRegistered{}))
	add(teamStream(team), event(domain.TeamCreated{Name: "Acme", Catalog: "distribu", Owner: ann, OwnerRole: "OWNER"}))
	for made := 0; made < entries; {
		events := make([]eventstore.Recorded, 250)
		for i := range events {
			recorded := event(nil)
			recorded.Event = domain.HostActionRecorded{
				Team: team, Action: "order.shipped", TargetType: "order", TargetID: fmt.Sprint(made),
				Content: w.seal(key, string(recorded.ID)+"/content", detail),
			}
			events[i], made = recorded, made+1
		}
		add(eventstore.Stream{Kind: eventstore.KindActivity, ID: "host"}, events...)
		if err := r.apply(testContext(t), batch, false); err != nil {
			t.Fatal(err)
		}
		batch = nil
	}
	return team
}

// An export holds a page in memory and not the log, and ends when its reader
// does.
func TestAuditExportIsStreamed(t *testing.T) {
	const entries = 20_000
	w := newWorld(t)
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		team := bigLog(t, w, p, entries)
		heap := func() uint64 {
			runtime.GC()
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			return stats.HeapAlloc
		}
		before, most := heap(), uint64(0)
		n, size := 0, 0
		err := p.AuditExport(testContext(t), team, AuditFilter{}, func(e *AuditEntry) error {
			n++
			size += len(e.Detail)
			if n%1999 == 0 {
				most = max(most, heap())
			}
			return nil
		})
		if err != nil || n != entries+1 || size < 50<<20 {
			t.Fatalf("%d entries of %d bytes, %v", n, size, err)
		}
		// A page of rows with what was opened of them is some 5 MiB, and SQLite's
		// own memory is on this heap too.
		if grown := int64(most) - int64(before); grown > 16<<20 {
			t.Errorf("the heap grew by %d bytes for an export of %d", grown, size)
		}

		stop, read := errors.New("enough"), 0
		err = p.AuditExport(testContext(t), team, AuditFilter{}, func(*AuditEntry) error {
			if read++; read == 700 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || read != 700 {
			t.Errorf("%d entries, %v", read, err)
		}
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		read = 0
		err = p.AuditExport(ctx, team, AuditFilter{}, func(*AuditEntry) error {
			if read++; read == 700 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || read != 2*exportPage {
			t.Errorf("%d entries after its context has ended at 700, %v", read, err)
		}
	})
}
