package projections

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
)

// Every combination of filters gives what filtering the whole log by hand
// gives, in pages of any size, also when clocks run apart.
func TestAuditFilters(t *testing.T) {
	testAuditFilters(t)
}

// The same where different things have the same number: what comes of that is
// told apart by its texts, and pages are full all the same.
func TestAuditFiltersThatCollide(t *testing.T) {
	auditKeyMask = 7 // of which four numbers remain
	defer func() { auditKeyMask = math.MaxUint64 }()
	testAuditFilters(t)
}

// Numbers of targets that were made in the same second are neighbours, so that
// their entries share pages of an index; those of anything else are anywhere.
func TestAuditKeysOfWhatWasMadeTogether(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	moment := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli() &^ 1023 // where a second of 1,024 ms begins
	begins := func(target string) uint64 {
		return uint64(auditKey("team", keyOfNobody, "", target, "")) >> (64 - madeBits)
	}
	made := func(after int64) string {
		var id [16]byte
		binary.BigEndian.PutUint64(id[:], uint64(moment+after)<<16)
		binary.BigEndian.PutUint64(id[8:], random.Uint64())
		return domain.FormatID(domain.PrefixInvitation, id)
	}
	for after := range int64(1024) {
		if first, here := begins(made(0)), begins(made(after)); first != here {
			t.Fatalf("what was made %d ms after begins with %d instead of %d", after, here, first)
		}
	}
	if first, next := begins(made(0)), begins(made(1024)); next != (first+1)&(1<<madeBits-1) {
		t.Errorf("what was made in the next second begins with %d after %d", next, first)
	}
	// What a host product names says nothing of that, even where it looks alike.
	seen := map[uint64]bool{}
	for i := range 100 {
		seen[begins(fmt.Sprintf("inv_01m82c28x0fvd9jhwpd182bu%02d", i))] = true // u isn't used in ids
	}
	if len(seen) < 50 {
		t.Errorf("a hundred names have %d beginnings", len(seen))
	}
}

func testAuditFilters(t *testing.T) {
	w := newWorld(t)
	random := rand.New(rand.NewPCG(7, 7))
	ann := w.register("Ann", "ann@example.com")
	var users []domain.UserID
	team, other := w.team(ann, "Acme"), w.team(ann, "Other")
	for i := range 4 {
		user := w.register(fmt.Sprintf("User %d", i), fmt.Sprintf("user%d@example.com", i))
		w.join(team, ann, user)
		w.join(other, ann, user)
		users = append(users, user)
	}
	hostKey := domain.APIKeyID(eventstore.NewID(domain.PrefixAPIKey))
	w.commit(teamStream(team), by{}, domain.APIKeyCreated{Key: hostKey, Name: "host", Role: "ADMIN", Prefix: "rk_1", SecretHash: "00"})
	for i := range 700 { // more than clockBlock
		w.now = w.now.Add(time.Duration(random.IntN(5000)-2400) * time.Millisecond) // a node behind or ahead
		if i == 300 {
			w.now = w.now.Add(time.Minute) // and one well ahead for a while
		}
		if i == 330 {
			w.now = w.now.Add(-time.Minute)
		}
		on := team
		if random.IntN(4) == 0 {
			on = other
		}
		user, actor := pick(random, users), by{actor: domain.ByUser(pick(random, users))}
		events := []domain.Event{domain.RoleChanged{User: user, From: "MEMBER", To: "ADMIN"}}
		if random.IntN(3) == 0 {
			events = append(events, domain.PlanChanged{From: "starter", To: "growth"}, domain.PermissionsChanged{User: user})
		}
		w.commit(teamStream(on), actor, events...)
		if random.IntN(3) == 0 {
			w.commit(eventstore.Stream{Kind: eventstore.KindActivity, ID: eventstore.NewID("host")}, by{actor: domain.ByAPIKey(hostKey)}, domain.HostActionRecorded{
				Team: on, Action: pick(random, []string{"order.shipped", "order.edited"}), TargetType: "order",
				TargetID: pick(random, []string{"1", "2", string(users[0])}), OnBehalfOf: pick(random, append(users, "")),
			})
		}
	}
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		var all []AuditEntry
		if err := p.AuditExport(testContext(t), team, AuditFilter{}, func(e *AuditEntry) error { all = append(all, *e); return nil }); err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(all, func(a, b AuditEntry) int {
			return int(placeOf(b.Position, b.Index) - placeOf(a.Position, a.Index))
		}) {
			t.Fatal("an export isn't newest first")
		}
		random := rand.New(rand.NewPCG(8, 8))
		for range 200 {
			var filter AuditFilter
			if random.IntN(3) == 0 {
				filter.Actor = string(pick(random, append(users, domain.UserID(hostKey))))
			}
			if random.IntN(2) == 0 {
				filter.Member = string(pick(random, users))
			}
			if random.IntN(2) == 0 {
				filter.Target = string(pick(random, append(users, domain.UserID(team), "1", "2")))
			}
			for range random.IntN(6) {
				filter.Actions = append(filter.Actions, pick(random, []string{
					"role.changed", "plan.changed", "permissions.changed", "member.left", "order.shipped", "order.edited",
				}))
			}
			slices.Sort(filter.Actions)
			filter.Actions = slices.Compact(filter.Actions)
			if random.IntN(2) == 0 {
				filter.From = pick(random, all).At
			}
			if random.IntN(2) == 0 {
				filter.To = pick(random, all).At
			}
			var want []AuditEntry
			for _, entry := range all {
				if (filter.Actor == "" || entry.Actor.ID == filter.Actor) &&
					(filter.Member == "" || slices.Contains([]string{entry.Actor.ID, string(entry.OnBehalfOf.ID), entry.Target.ID}, filter.Member)) &&
					(filter.Target == "" || entry.Target.ID == filter.Target) &&
					(len(filter.Actions) == 0 || slices.Contains(filter.Actions, entry.Action)) &&
					!entry.At.Before(filter.From) && (filter.To.IsZero() || !entry.At.After(filter.To)) {
					want = append(want, entry)
				}
			}
			got := auditPages(t, p, team, filter, 1+random.IntN(PageLimit))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v (-want +got):\n%s", filter, diff)
			}
		}
		// Around the positions at which the clock is noted, every time is tried.
		for _, entry := range all {
			if off := (entry.Position + 20) % clockBlock; off > 40 {
				continue
			}
			for _, filter := range []AuditFilter{{From: entry.At}, {To: entry.At}} {
				want := 0
				for _, other := range all {
					if !other.At.Before(filter.From) && (filter.To.IsZero() || !other.At.After(filter.To)) {
						want++
					}
				}
				if got := auditPages(t, p, team, filter, PageLimit); len(got) != want {
					t.Fatalf("%+v found %d entries, want %d", filter, len(got), want)
				}
			}
		}
		// Filters that are hostile or of another team find nothing.
		for _, filter := range []AuditFilter{
			{Actor: "' OR 1=1 --"}, {Target: "x\x00y"}, {Actions: []string{"%", "_"}}, {Target: string(other)},
			{Member: "' OR 1=1 --"}, {Member: string(ann), Actor: string(users[0])},
			{From: w.now.Add(time.Hour)}, {To: epoch.Add(-time.Hour)},
		} {
			if got := auditPages(t, p, team, filter, 50); len(got) != 0 {
				t.Errorf("%+v found %+v", filter, got)
			}
		}
	})
}

func auditPages(t *testing.T, p *Projections, team domain.TeamID, filter AuditFilter, limit int) []AuditEntry {
	t.Helper()
	var got []AuditEntry
	filter.Limit = limit
	for {
		page, next, err := p.Audit(testContext(t), team, filter)
		if err != nil {
			t.Fatalf("%+v: %v", filter, err)
		}
		if len(page) > limit {
			t.Fatalf("a page of %d entries, with a limit of %d", len(page), limit)
		}
		got = append(got, page...)
		if next == (AuditKey{}) {
			return got
		}
		filter.After = next
	}
}
