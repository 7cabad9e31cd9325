package domain_test

import (
	"fmt"
	"testing"
	"time"

	"roster/domain"
)

// large is the history of a team of so many members, each with a role on the
// first of the sites, and as many pending invitations as a tenth of them.
func large(members, sites int) evs {
	events := given(created("default"), plan("business"))
	for i := range sites {
		events = append(events, domain.SiteAdded{Site: domain.SiteID(fmt.Sprintf("site_%026d", i)), Name: fmt.Sprint(i)})
	}
	onFirst := grants(fmt.Sprintf("site_%026d", 0), "manager")
	for i := range members - 1 {
		u := user(fmt.Sprintf("user_%026d", i))
		invitation := domain.MemberInvited{
			Invitation: inv(u), Address: address(u), Role: "member", Sites: onFirst, ExpiresAt: t0.Add(7*day + time.Duration(i)),
		}
		events = append(events, invitation, domain.MemberJoined{User: u, Invitation: inv(u), Role: "member", Sites: onFirst})
		if i%10 == 0 {
			invitation.Invitation, invitation.Address = inv(u+"x"), address(u+"x")
			events = append(events, invitation)
		}
	}
	return events
}

// BenchmarkCan aims for less than 300 ns and no allocation.
func BenchmarkCan(b *testing.B) {
	for _, members := range []int{5, 100_000} {
		state := fold(large(members, 3))
		someone := as(user(fmt.Sprintf("user_%026d", members/2)))
		for _, c := range []struct {
			name       string
			by         domain.Actor
			permission domain.Permission
			site       domain.SiteID
		}{
			{"role", someone, "members:read", ""},
			{"site", someone, "orders:delete", domain.SiteID(fmt.Sprintf("site_%026d", 0))},
			{"stranger", as("mallory"), "members:read", ""},
		} {
			b.Run(fmt.Sprintf("members=%d/%s", members, c.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					state.Can(c.by, c.permission, c.site, now)
				}
			})
		}
	}
}

// BenchmarkCanOnTheLastOfManySites is the longest search for a site.
func BenchmarkCanOnTheLastOfManySites(b *testing.B) {
	events := large(5, domain.MaxSites)
	all := make([]grant, domain.MaxSites)
	for i := range all {
		all[i] = grant{Site: domain.SiteID(fmt.Sprintf("site_%026d", i)), Role: "member"}
	}
	someone := user(fmt.Sprintf("user_%026d", 2))
	state := fold(append(events, domain.SitesChanged{User: someone, After: all}))
	b.ReportAllocs()
	for b.Loop() {
		state.Can(as(someone), "orders:read", all[len(all)-1].Site, now)
	}
}

// BenchmarkFold is a cold load without its I/O.
func BenchmarkFold(b *testing.B) {
	for _, members := range []int{1_000, 100_000} {
		events := large(members, 3)
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				state := domain.NewTeam(team, builtins)
				m := meta(1, as(owner), t0)
				for _, event := range events {
					state.Apply(event, m)
				}
			}
			b.ReportMetric(float64(len(events))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkInvite decides one more invitation in a team of many.
func BenchmarkInvite(b *testing.B) {
	for _, members := range []int{5, 100_000} {
		state := fold(large(members, 3))
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := invite(as(owner), "eve", "member")(state, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
