package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"roster/domain"
	"roster/eventstore"
)

// reportsWithoutTimes compares reports but for how long they took.
var reportsWithoutTimes = cmpopts.IgnoreFields(Report{}, "Duration", "Rows")

func TestRebuildGivesTheSameRows(t *testing.T) {
	s := simulate(t, 11, 300)
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, s.store.Vault())
		start(t, p, s.store)
		wait(t, p, s.last)
		want := dump(t, db)
		rows := int64(0)
		for _, table := range want {
			rows += int64(len(table))
		}
		for _, names := range [][]string{nil, {"audit"}, {"members", "invitations"}} {
			var calls, last uint64
			reports, err := p.Rebuild(testContext(t), s.store, names, func(done, total uint64) {
				if done < last || done > total || total == 0 {
					t.Errorf("progress went from %d to %d of %d", last, done, total)
				}
				calls, last = calls+1, done
			})
			if err != nil {
				t.Fatal(err)
			}
			var expected []Report
			for _, m := range models {
				if names == nil || strings.Contains(strings.Join(names, " "), m.name) {
					expected = append(expected, Report{Model: m.name, Position: s.last})
				}
			}
			if diff := cmp.Diff(expected, reports, reportsWithoutTimes); diff != "" {
				t.Errorf("rebuilding %v (-want +got):\n%s", names, diff)
			}
			if names == nil {
				total := int64(0)
				for _, report := range reports {
					total += report.Rows
				}
				if total != rows {
					t.Errorf("the reports count %d rows, there are %d", total, rows)
				}
			}
			if calls == 0 || last < s.last {
				t.Errorf("progress was called %d times, up to %d of %d", calls, last, s.last)
			}
			same(t, fmt.Sprintf("rebuilding %v", names), want, dump(t, db))
		}
		// The projector goes on with the new tables.
		for range 30 {
			s.step()
		}
		wait(t, p, s.last)
		verifySound(t, p, s)
	})
}

func verifySound(t *testing.T, p *Projections, s *simulation) {
	t.Helper()
	v, err := p.Verify(testContext(t), s.store, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Sound() || v.Commits < s.last || len(v.Reports) != len(models) {
		t.Errorf("%+v, want %d commits", v, s.last)
	}
}

// While commits arrive and are projected, by this process or another, tables
// are rebuilt and verified again and again.
func TestRebuildWhileCommitsArrive(t *testing.T) {
	onBoth(t, func(t *testing.T, backend backend) {
		s := simulate(t, 12, 200)
		config := backend.config(t)
		db := openDatabase(t, config)
		p := newProjections(t, db, s.store.Vault())
		start(t, p, s.store)
		rebuilding := p
		if backend.name == "PostgreSQL" {
			rebuilding = newProjections(t, openDatabase(t, config), s.store.Vault())
		}
		ctx, cancel := context.WithCancel(testContext(t))
		var group sync.WaitGroup
		group.Go(func() {
			defer cancel()
			for range 3 {
				reports, err := rebuilding.Rebuild(testContext(t), s.store, nil, nil)
				if err != nil {
					t.Error(err)
					return
				}
				for _, report := range reports {
					if report.Differences != 0 {
						t.Errorf("%+v", report)
					}
				}
				v, err := rebuilding.Verify(testContext(t), s.store, nil)
				if err != nil || !v.Sound() {
					t.Errorf("%+v, %v", v, err)
					return
				}
			}
		})
		for ctx.Err() == nil {
			s.step()
			wait(t, p, s.last)
		}
		group.Wait()
		want := openDatabase(t, backend.config(t))
		if err := newRun(t, newProjections(t, want, s.store.Vault())).handle(testContext(t), s.commits()); err != nil {
			t.Fatal(err)
		}
		same(t, "rows", dump(t, want), dump(t, db))
		if state := p.State(); state.Failure != nil {
			t.Errorf("%+v", state.Failure)
		}
	})
}

// Rows changed by hand are found and named, without their content, and a
// rebuild mends them.
func TestVerifyFindsWhatWasTamperedWith(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com")
	team := w.team(ann, "Acme")
	w.join(team, ann, bob)
	id := w.invite(team, ann, "", "carl@example.com")
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		want := dump(t, db)
		key := fmt.Sprintf("team_id=%s user_id=%s", team, bob)
		for _, c := range []struct {
			tamper string
			model  string
			want   []Difference
		}{
			{"UPDATE members SET role = 'OWNER', name = 'Eve' WHERE user_id = '" + string(bob) + "'", "members",
				[]Difference{{Table: "members", Key: key, What: "different", Columns: []string{"role", "name"}}}},
			{"DELETE FROM members WHERE user_id = '" + string(bob) + "'", "members",
				[]Difference{{Table: "members", Key: key, What: "missing"}}},
			{"INSERT INTO members_sites (team_id, site_id, name) VALUES ('" + string(team) + "', 'site_x', 'East')", "members",
				[]Difference{{Table: "members_sites", Key: fmt.Sprintf("team_id=%s site_id=site_x", team), What: "surplus"}}},
			{"UPDATE invitations SET status = 'cancelled'", "invitations", []Difference{
				{Table: "invitations", Key: fmt.Sprintf("team_id=%s invitation_id=%s", team, id), What: "different", Columns: []string{"status"}},
			}},
			{"DELETE FROM audit WHERE entry LIKE '%member.invited%'", "audit", nil},
		} {
			if err := db.write(testContext(t), func(t transaction) error { return t.do(context.Background(), c.tamper) }); err != nil {
				t.Fatal(err)
			}
			v, err := p.Verify(testContext(t), w.store, nil)
			if err != nil {
				t.Fatal(err)
			}
			if v.Sound() {
				t.Errorf("%s: sound", c.tamper)
			}
			for _, report := range v.Reports {
				if (report.Differences > 0) != (report.Model == c.model) {
					t.Errorf("%s: %+v", c.tamper, report)
				}
				if report.Model != c.model {
					continue
				}
				some := report.Samples
				if c.model == "invitations" { // the accepted one differs as well
					some = slices.DeleteFunc(some, func(d Difference) bool { return !strings.Contains(d.Key, string(id)) })
				}
				if c.want != nil {
					same(t, c.tamper, c.want, some)
				} else if report.Differences != 2 {
					t.Errorf("%s: %+v", c.tamper, report)
				}
				if text := fmt.Sprint(report); strings.Contains(text, "example.com") || strings.Contains(text, "Bob") || strings.Contains(text, "Eve") {
					t.Errorf("the report holds personal data: %s", text)
				}
			}
			reports, err := p.Rebuild(testContext(t), w.store, []string{c.model}, nil)
			if err != nil || len(reports) != 1 || reports[0].Differences == 0 {
				t.Errorf("%s: rebuilding: %+v, %v", c.tamper, reports, err)
			}
			same(t, c.tamper+", mended", want, dump(t, db))
		}
	})
}

// What the projector remembers of rows that a rebuild has mended is forgotten.
func TestRebuildReachesTheProjectorsMemory(t *testing.T) {
	onBoth(t, func(t *testing.T, backend backend) {
		w := newWorld(t)
		ann := w.register("Ann", "ann@example.com")
		team := w.team(ann, "Acme")
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, w.store.Vault())
		stop := start(t, p, w.store)
		wait(t, p, w.last)
		stop()
		if err := db.write(testContext(t), func(t transaction) error { return t.do(context.Background(), "UPDATE members SET role = 'MEMBER'") }); err != nil {
			t.Fatal(err)
		}
		start(t, p, w.store)
		w.rename(ann, "Anna") // the row is read, with the wrong role
		wait(t, p, w.last)
		if reports, err := p.Rebuild(testContext(t), w.store, []string{"members"}, nil); err != nil || reports[0].Differences != 1 {
			t.Fatal(reports, err)
		}
		w.rename(ann, "Annie") // and written again
		wait(t, p, w.last)
		if member, err := p.Member(testContext(t), team, ann, w.now); err != nil || member.Role != "OWNER" || member.Name != "Annie" {
			t.Errorf("%+v, %v", member, err)
		}
	})
}

// Labels of audit entries are remembered, but not beyond the tables that they
// were read from.
func TestRebuildReachesRememberedLabels(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	team := w.team(ann, "Acme")
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		elsewhere := newProjections(t, db, w.store.Vault()) // another process, which doesn't project
		name := func(p *Projections) string {
			entries, _, err := p.Audit(testContext(t), team, AuditFilter{})
			if err != nil || len(entries) != 1 {
				t.Fatal(entries, err)
			}
			return entries[0].Target.Name
		}
		if err := db.write(testContext(t), func(t transaction) error {
			return t.do(context.Background(), "UPDATE audit_labels SET name = 'Wrong' WHERE name = 'Acme'")
		}); err != nil {
			t.Fatal(err)
		}
		if name(p) != "Wrong" || name(elsewhere) != "Wrong" {
			t.Fatal("the label isn't what the table has")
		}
		if _, err := p.Rebuild(testContext(t), w.store, []string{"audit"}, nil); err != nil {
			t.Fatal(err)
		}
		if got := name(p); got != "Acme" {
			t.Errorf("after a rebuild the team is called %s", got)
		}
		if err := elsewhere.look(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if got := name(elsewhere); got != "Acme" {
			t.Errorf("in another process it is called %s", got)
		}
	})
}

func TestRebuildRefuses(t *testing.T) {
	s := simulate(t, 13, 40)
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, s.store.Vault())
		start(t, p, s.store)
		wait(t, p, s.last)
		if _, err := p.Rebuild(testContext(t), s.store, []string{"nonsense"}, nil); err == nil || !strings.Contains(err.Error(), "members, invitations, audit") {
			t.Errorf("an unknown name: %v", err)
		}
		err := db.alone(testContext(t), func(ctx context.Context) error {
			_, err := p.Rebuild(ctx, s.store, nil, nil)
			return err
		})
		if !errors.Is(err, errBusy) {
			t.Errorf("two at a time: %v", err)
		}

		// Given up half-way, it leaves nothing behind and can be done again.
		want := dump(t, db)
		ctx, cancel := context.WithCancel(testContext(t))
		if _, err := p.Rebuild(ctx, s.store, nil, func(uint64, uint64) { cancel() }); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		same(t, "after giving up", want, dump(t, db))
		err = db.write(testContext(t), func(tx transaction) error {
			tables, err := tx.tables(testContext(t))
			for name := range tables {
				if strings.HasSuffix(name, shadowSuffix) {
					t.Errorf("table %s is left", name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		verifySound(t, p, s)
	})
}

// A store that isn't the one that the tables were filled from is no ground to
// throw them away.
func TestRebuildFromAnotherStore(t *testing.T) {
	s, other := simulate(t, 14, 60), simulate(t, 15, 5)
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, s.store.Vault())
		start(t, p, s.store)
		wait(t, p, s.last)
		want := dump(t, db)
		if _, err := p.Rebuild(testContext(t), other.store, nil, nil); err == nil || !strings.Contains(err.Error(), "lost events") {
			t.Errorf("rebuilding: %v", err)
		}
		v, err := p.Verify(testContext(t), other.store, nil)
		if err != nil || v.Sound() {
			t.Errorf("verifying: %+v, %v", v, err)
		}
		same(t, "rows", want, dump(t, db))
	})
}

// cutting gives a stream in which a commit is missing, as a leader with a
// damaged disk does.
type cutting struct {
	Source
	missing uint64
}

func (c cutting) FollowRaw(ctx context.Context, after uint64, handle func(context.Context, []eventstore.Message) error) error {
	return c.Source.FollowRaw(ctx, after, func(ctx context.Context, messages []eventstore.Message) error {
		var rest []eventstore.Message
		for _, m := range messages {
			if m.Position != c.missing {
				rest = append(rest, m)
			}
		}
		if len(rest) == 0 {
			return nil
		}
		return handle(ctx, rest)
	})
}

func TestLostEventsAreFound(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	team := w.team(ann, "Acme")
	w.commit(teamStream(team), by{}, domain.TeamRenamed{From: "Acme", To: "Two"})
	missing := w.last
	w.commit(teamStream(team), by{}, domain.TeamRenamed{From: "Two", To: "Three"})
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		damaged := cutting{w.store, missing}
		v, err := p.Verify(testContext(t), damaged, nil)
		if err != nil || v.Sound() {
			t.Fatalf("%+v, %v", v, err)
		}
		text := strings.Join(v.Broken, "\n")
		for _, part := range []string{fmt.Sprintf("positions %d to %d are missing", missing, missing), "versions 2 to 2 are missing", string(team)} {
			if !strings.Contains(text, part) {
				t.Errorf("%q is not in:\n%s", part, text)
			}
		}
		if _, err := p.Rebuild(testContext(t), damaged, nil, nil); err == nil || !strings.Contains(err.Error(), "missing") {
			t.Errorf("rebuilding: %v", err)
		}
	})
}

// A read model that is still catching up can't be compared together with those
// that aren't.
func TestRebuildOfUnevenModels(t *testing.T) {
	s := simulate(t, 16, 60)
	all := s.commits()
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		if err := newRun(t, newProjections(t, db, s.store.Vault())).handle(testContext(t), all); err != nil {
			t.Fatal(err)
		}
		if err := db.write(testContext(t), func(t transaction) error { return t.do(context.Background(), "DROP TABLE audit_times") }); err != nil {
			t.Fatal(err)
		}
		p := newProjections(t, db, s.store.Vault()) // which makes the tables of audit anew
		if _, err := p.Rebuild(testContext(t), s.store, nil, nil); err == nil || !strings.Contains(err.Error(), "one by one") {
			t.Errorf("all: %v", err)
		}
		if _, err := p.Verify(testContext(t), s.store, nil); err == nil || !strings.Contains(err.Error(), "catch up") {
			t.Errorf("verifying: %v", err)
		}
		for name, position := range map[string]uint64{"members": s.last, "audit": 0} {
			reports, err := p.Rebuild(testContext(t), s.store, []string{name, name}, nil)
			if err != nil || len(reports) != 1 || reports[0].Position != position {
				t.Errorf("%s: %+v, %v", name, reports, err)
			}
		}
	})
}
