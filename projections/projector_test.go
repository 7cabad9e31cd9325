package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
)

// However the stream is cut into batches, whenever the process is killed and
// whatever transaction fails, the rows are the same.
func TestRowsDependOnTheStreamAlone(t *testing.T) {
	s := simulate(t, 1, 350)
	all := s.commits()
	var want tableRows // of both databases
	onBoth(t, func(t *testing.T, backend backend) {
		whole := openDatabase(t, backend.config(t))
		run := newRun(t, newProjections(t, whole, s.store.Vault()))
		if err := run.handle(testContext(t), all); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = dump(t, whole)
			for name, rows := range want {
				if len(rows) == 0 {
					t.Errorf("the simulation leaves table %s empty", name)
				}
			}
		}
		same(t, "in one batch", want, dump(t, whole))

		t.Run("replayed twice", func(t *testing.T) {
			for range 2 { // by the same projector, and by one that reads what is there
				if err := run.handle(testContext(t), all); err != nil {
					t.Fatal(err)
				}
				run = newRun(t, newProjections(t, whole, s.store.Vault()))
			}
			same(t, "rows", want, dump(t, whole))
		})
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("cut at random %d", seed), func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 2))
				db := openDatabase(t, backend.config(t))
				failing := &failing{engine: db.engine, random: random}
				db.engine = failing
				run := newRun(t, newProjections(t, db, s.store.Vault()))
				failing.on = true
				for at := 0; at < len(all); {
					n := min(1+random.IntN(40), len(all)-at)
					err := run.apply(testContext(t), all[at:at+n], false)
					if err != nil && !errors.Is(err, errInjected) {
						t.Fatal(err)
					}
					if err == nil {
						at += n
					}
					if random.IntN(8) == 0 { // killed
						run = newRun(t, newProjections(t, db, s.store.Vault()))
					}
				}
				same(t, "rows", want, dump(t, db))
			})
		}
	})
}

func newRun(t testing.TB, p *Projections) *run {
	t.Helper()
	run, err := p.newRun(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// failing makes transactions of a real database fail after their work was
// done and before they are committed.
type failing struct {
	engine
	random *rand.Rand
	on     bool
}

var errInjected = errors.New("injected")

func (f *failing) write(ctx context.Context, work func(transaction) error) error {
	return f.engine.write(ctx, func(t transaction) error {
		if err := work(t); err != nil {
			return err
		}
		if f.on && f.random.IntN(4) == 0 {
			return errors.Join(errInjected, t.send(ctx))
		}
		return nil
	})
}

// Rows that are dropped from memory are read again when they are needed.
func TestRowsSurviveTurnover(t *testing.T) {
	s := simulate(t, 2, 250)
	all := s.commits()
	onBoth(t, func(t *testing.T, backend backend) {
		want := openDatabase(t, backend.config(t))
		if err := newRun(t, newProjections(t, want, s.store.Vault())).handle(testContext(t), all); err != nil {
			t.Fatal(err)
		}
		for _, batch := range []int{2, 3, 7, 20} {
			db := openDatabase(t, backend.config(t))
			p := newProjections(t, db, s.store.Vault())
			run := newRun(t, p)
			for at := 0; at < len(all); at += batch {
				if at%(10*batch) == 0 { // nothing is remembered
					run = newRun(t, p)
				}
				for _, f := range run.folds { // or hardly anything
					if at%(10*batch) == 0 {
						f.fold = f.model.fold(p.opener, place{reads: p.db, rows: 1})
					}
				}
				if err := run.handle(testContext(t), all[at:min(at+batch, len(all))]); err != nil {
					t.Fatal(err)
				}
			}
			same(t, fmt.Sprintf("rows, in batches of %d", batch), dump(t, want), dump(t, db))
		}
	})
}

// Two projectors on one database take turns at best: no commit is applied
// twice or passed over.
func TestTwoProjectorsAreFenced(t *testing.T) {
	s := simulate(t, 4, 150)
	all := s.commits()
	onBoth(t, func(t *testing.T, backend backend) {
		config := backend.config(t)
		want := openDatabase(t, backend.config(t))
		if err := newRun(t, newProjections(t, want, s.store.Vault())).handle(testContext(t), all); err != nil {
			t.Fatal(err)
		}
		dbs := []*Database{openDatabase(t, config), openDatabase(t, config)}
		var fenced sync.Map
		var group sync.WaitGroup
		for i, db := range dbs {
			p := newProjections(t, db, s.store.Vault())
			group.Go(func() {
				// Not through Run, whose lock keeps the second one away.
				for range 10_000 {
					run := newRun(t, p)
					at := run.position()
					for at < s.last {
						n := min(at+7, s.last)
						err := run.handle(testContext(t), all[at:n])
						if errors.Is(err, errFenced) {
							fenced.Store(i, true)
							break
						}
						if err != nil {
							t.Error(err)
							return
						}
						at = n
					}
					if at >= s.last {
						return
					}
				}
				t.Error("no end")
			})
		}
		group.Wait()
		same(t, "rows", dump(t, want), dump(t, dbs[0]))
		count := 0
		fenced.Range(func(any, any) bool { count++; return true })
		if count == 0 {
			t.Log("neither was ever fenced")
		}

		// One that was left behind notices, without writing anything.
		old := newRun(t, newProjections(t, dbs[0], s.store.Vault()))
		w := s.world
		w.signIn(s.users[0])
		commits := w.commits()[s.last-1:]
		if err := newRun(t, newProjections(t, dbs[1], s.store.Vault())).handle(testContext(t), commits); err != nil {
			t.Fatal(err)
		}
		before := dump(t, dbs[0])
		if err := old.handle(testContext(t), commits); !errors.Is(err, errFenced) {
			t.Errorf("the one left behind: %v", err)
		}
		same(t, "rows after the one left behind", before, dump(t, dbs[0]))
		all = w.commits()
	})
}

// A commit that can't be applied stops everything just before it, visibly, and
// things go on when the cause is gone.
func TestPoisonStopsVisibly(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	team := w.team(ann, "Acme")
	for range 10 {
		w.signIn(ann)
	}
	good := w.last
	w.commit(teamStream(team), by{}, domain.RoleChanged{User: "user_nobody", From: "MEMBER", To: "ADMIN"})
	poison := w.last
	w.signIn(ann)
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, w.store.Vault())
		start(t, p, w.store)
		wait(t, p, good)
		failure := waitForFailure(t, p)
		if failure.Model != "members" || failure.Position != poison || !strings.Contains(failure.Text, "user_nobody") || failure.Since.IsZero() {
			t.Errorf("the failure is %+v", failure)
		}
		if state := p.State(); state.Position != good {
			t.Errorf("position %d, want %d, just before the poison", state.Position, good)
		}
		if rows := dumpTable(t, db, auditShape); len(rows) != int(good-1) { // without the registration
			t.Errorf("%d entries are in the log, want those of the %d commits before", len(rows), good-1)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := p.Wait(short, poison); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for the poison: %v", err)
		}

		// What is missing appears; the next attempt succeeds.
		err := db.write(testContext(t), func(tx transaction) error {
			row := memberRow{Team: string(team), User: "user_nobody"}
			return tx.put(testContext(t), membersShape.sql(""), rowSource{1, func(int) []any { return row.fields() }})
		})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, p, w.last)
		if state := p.State(); state.Failure != nil {
			t.Errorf("still failing: %+v", state.Failure)
		}
	})
}

// waitForFailure waits for one, driven by the projector's own retries.
func waitForFailure(t testing.TB, p *Projections) *Failure {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	ctx := testContext(t)
	for {
		if failure := p.State().Failure; failure != nil {
			return failure
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("nothing has failed")
		}
	}
}

// What the database refuses is blamed on the commit too.
func TestRefusedRowsAreBlamed(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	team := w.team(ann, "Acme")
	id := w.invite(team, ann, "", "bob@example.com")
	event := domain.MemberInvited{Invitation: id, Address: "aa", Role: "MEMBER", ExpiresAt: w.now} // a second time
	w.commit(teamStream(team), by{}, event)
	twice := w.last
	all := w.commits()
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		if err := newRun(t, p).handle(testContext(t), all[:twice-1]); err != nil {
			t.Fatal(err)
		}
		err := newRun(t, p).handle(testContext(t), all[twice-1:]) // which remembers no rows
		var apply *applyError
		if !errors.As(err, &apply) || apply.model != "invitations" || apply.position != twice {
			t.Errorf("got %v", err)
		}
	})
}

// A node that stands by hears of progress, and takes over when the one that
// projects goes away.
func TestStandbyTakesOver(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	config := backends[1].config(t)
	first := newProjections(t, openDatabase(t, config), w.store.Vault())
	second := newProjections(t, openDatabase(t, config), w.store.Vault())
	stop := start(t, first, w.store)
	wait(t, first, w.last)
	start(t, second, w.store)
	for range 20 {
		w.signIn(ann)
		wait(t, second, w.last)
	}
	if second.State().Projecting || !first.State().Projecting {
		t.Fatalf("first %+v, second %+v", first.State(), second.State())
	}
	stop()
	w.signIn(ann)
	wait(t, second, w.last)
	if !second.State().Projecting || first.State().Projecting {
		t.Fatalf("after the first stopped: first %+v, second %+v", first.State(), second.State())
	}
}

// The server ends the connection that holds the lock: whoever projects then,
// nothing is lost or done twice.
func TestLostLockIsFoundAgain(t *testing.T) {
	s := simulate(t, 5, 60)
	config := backends[1].config(t)
	config.URL += "&application_name=lost-lock"
	db := openDatabase(t, config)
	p := newProjections(t, db, s.store.Vault())
	start(t, p, s.store)
	wait(t, p, s.last)
	pool := db.engine.(*postgresDB).pool
	for range 3 {
		if _, err := pool.Exec(testContext(t), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE application_name = 'lost-lock' AND pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			s.step()
		}
		wait(t, p, s.last)
	}
	fresh := openDatabase(t, backends[1].config(t))
	if err := newRun(t, newProjections(t, fresh, s.store.Vault())).handle(testContext(t), s.commits()); err != nil {
		t.Fatal(err)
	}
	same(t, "rows", dump(t, fresh), dump(t, db))
}

// A read model whose tables are missing, or were made by another release, is
// filled again by itself while the others keep what they have.
func TestMissingTablesComeBack(t *testing.T) {
	s := simulate(t, 6, 80)
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, s.store.Vault())
		stop := start(t, p, s.store)
		wait(t, p, s.last)
		stop()
		want := dump(t, db)
		for _, damage := range []string{
			"DROP TABLE members_sites",
			"UPDATE projection_checkpoints SET layout = 'old' WHERE model = 'audit'",
			"DELETE FROM projection_checkpoints WHERE model = 'invitations'",
			"DROP TABLE projection_checkpoints",
		} {
			if err := db.write(testContext(t), func(t transaction) error { return t.do(context.Background(), damage) }); err != nil {
				t.Fatal(err)
			}
			p := newProjections(t, db, s.store.Vault())
			if p.Position() != 0 {
				t.Errorf("%s: the position is %d", damage, p.Position())
			}
			stop := start(t, p, s.store)
			wait(t, p, s.last)
			stop()
			if diff := cmp.Diff(want, dump(t, db)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", damage, diff)
			}
		}
	})
}

// Models at different positions each take from a batch what they lack.
func TestUnevenModels(t *testing.T) {
	s := simulate(t, 7, 80)
	all := s.commits()
	onBoth(t, func(t *testing.T, backend backend) {
		want := openDatabase(t, backend.config(t))
		if err := newRun(t, newProjections(t, want, s.store.Vault())).handle(testContext(t), all); err != nil {
			t.Fatal(err)
		}
		db := openDatabase(t, backend.config(t))
		if err := newRun(t, newProjections(t, db, s.store.Vault())).handle(testContext(t), all[:50]); err != nil {
			t.Fatal(err)
		}
		if err := db.write(testContext(t), func(t transaction) error { return t.do(context.Background(), "DROP TABLE audit_clock") }); err != nil {
			t.Fatal(err)
		}
		run := newRun(t, newProjections(t, db, s.store.Vault()))
		for _, cut := range [][2]int{{0, 20}, {20, len(all)}} {
			if err := run.handle(testContext(t), all[cut[0]:cut[1]]); err != nil {
				t.Fatal(err)
			}
		}
		same(t, "rows", dump(t, want), dump(t, db))
	})
}

// Commits appear while the projector runs, from many writers; every position
// can be waited for by many.
func TestWaitUnderLoad(t *testing.T) {
	w := newWorld(t)
	var users []domain.UserID
	for i := range 8 {
		users = append(users, w.register("Ann", fmt.Sprintf("ann%d@example.com", i)))
	}
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, w.store.Vault())
		start(t, p, w.store)
		var group sync.WaitGroup
		var prepared [][]*eventstore.Commit
		for _, user := range users {
			var mine []*eventstore.Commit
			for i := range 25 {
				mine = append(mine, &eventstore.Commit{
					Stream: activityStream(user), At: epoch.Add(time.Duration(i) * time.Second), Actor: domain.ByUser(user),
					Events: []eventstore.Recorded{{ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)), Event: domain.SessionStarted{User: user, Session: "ses_1"}}},
				})
			}
			prepared = append(prepared, mine)
		}
		heads := map[domain.UserID]*eventstore.Commit{}
		for _, user := range users {
			heads[user] = w.heads[activityStream(user)]
		}
		for i, user := range users {
			head := heads[user]
			group.Go(func() {
				for _, c := range prepared[i] {
					c.Version = 1
					if head != nil {
						c.Version, c.Previous = head.Version+1, head.Hash
					}
					if err := w.store.Append(testContext(t), c); err != nil {
						t.Error(err)
						return
					}
					head = c
					if err := p.Wait(testContext(t), c.Position); err != nil {
						t.Error(err)
						return
					}
					if p.Position() < c.Position {
						t.Error("waited in vain")
					}
				}
			})
		}
		group.Wait()
		for i, user := range users {
			last := prepared[i][len(prepared[i])-1]
			w.heads[activityStream(user)] = last
			w.last = max(w.last, last.Position)
		}
		if n := len(p.progress.waiting); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}
