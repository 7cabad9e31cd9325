package api

import (
	"context"
	"fmt"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// large gives the account's team so many members more and so many changes of
// their roles, by ten admins, each a commit of its own.
func (w *world) large(owner account, members, changes int) (admins []domain.UserID) {
	w.Helper()
	ctx, vault := context.Background(), w.store.Vault()
	fatal := func(err error) {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
	}
	stream := eventstore.Stream{Kind: eventstore.KindTeam, ID: owner.team}
	history, err := w.store.Load(ctx, stream, 0)
	fatal(err)
	head := history[len(history)-1]
	keys := map[domain.UserID]string{}
	commit := func(stream eventstore.Stream, by domain.UserID, events ...domain.Event) *eventstore.Commit {
		c := &eventstore.Commit{Stream: stream, Version: 1, At: w.clock.now(), Actor: domain.ByUser(by), RequestID: eventstore.NewID("req")}
		if stream.ID == owner.team {
			c.Version, c.Previous = head.Version+1, head.Hash
		}
		for _, event := range events {
			c.Events = append(c.Events, eventstore.Recorded{ID: domain.EventID(eventstore.NewID(domain.PrefixEvent)), Event: event})
		}
		c.Origin, err = vault.Seal(ctx, keys[by], string(c.ID())+"/origin",
			`{"ip":"203.0.113.7","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}`)
		fatal(err)
		fatal(w.store.Append(ctx, c))
		if stream.ID == owner.team {
			head = *c
		}
		return c
	}
	var users []domain.UserID
	for i := range members {
		user := domain.UserID(eventstore.NewID(domain.PrefixUser))
		keys[user], err = vault.NewKey(ctx)
		fatal(err)
		email := fmt.Sprintf("member-%d@example.com", i)
		registered := domain.UserRegistered{Address: vault.Address(email), DataKey: keys[user]}
		registered.Email, err = vault.Seal(ctx, keys[user], string(user)+"/email", email)
		fatal(err)
		registered.Name, err = vault.Seal(ctx, keys[user], string(user)+"/name", fmt.Sprint("Member ", i))
		fatal(err)
		commit(eventstore.Stream{Kind: eventstore.KindUser, ID: string(user)}, user, registered)
		role := domain.RoleKey("member")
		if i < 10 {
			role, admins = "admin", append(admins, user)
		}
		invitation := domain.InvitationID(eventstore.NewID(domain.PrefixInvitation))
		commit(stream, user, domain.MemberInvited{Invitation: invitation, Address: registered.Address, Email: registered.Email, Role: role, ExpiresAt: w.clock.now()},
			domain.MemberJoined{User: user, Invitation: invitation, Role: role})
		users = append(users, user)
	}
	for i := range changes {
		roles := [2]domain.RoleKey{"member", "viewer"}
		commit(stream, admins[i%10], domain.RoleChanged{User: users[10+i%(members-10)], From: roles[i%2], To: roles[1-i%2]})
	}
	fatal(w.models.Wait(ctx, head.Position))
	return admins
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

// BenchmarkPages are the two long lists without a connection: 50 members, and
// 50 entries of the audit log.
func BenchmarkPages(b *testing.B) {
	w := newWorld(b, options{catalog: "default", quiet: true})
	owner := w.signUp()
	admins := w.large(owner, 500, 2000)
	team := "/v1/teams/" + owner.team
	for _, test := range []struct{ name, path string }{
		{"members", team + "/members?limit=50"},
		{"audit", team + "/audit-events?limit=50&action=role.changed&from=2020-01-01T00:00:00Z&to=2099-01-01&actor=" + string(admins[3])},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequestWithContext(b.Context(), "GET", test.path, nil)
			r.Header["Authorization"] = []string{"Bearer " + owner.token}
			out := discard{}
			before := cpuTime()
			for b.Loop() {
				clear(out)
				w.server.ServeHTTP(out, r)
			}
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs")
		})
	}
}
