package domain_test

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"roster/domain"
)

// told goes through events as a history, numbered from 1, and counts them.
func told(events evs, looks *int) iter.Seq2[domain.Event, domain.Meta] {
	return func(yield func(domain.Event, domain.Meta) bool) {
		for i, event := range events {
			*looks++
			if !yield(event, meta(i+1, as(owner), t0)) {
				return
			}
		}
	}
}

// numbers are the events of a story.
func numbers(steps []domain.Step) string {
	var text []string
	for _, step := range steps {
		text = append(text, strings.TrimPrefix(string(step.Meta.ID), "evt-"))
	}
	return strings.Join(text, " ")
}

func TestStories(t *testing.T) {
	base := given(created("default"), plan("business"), // 1, 2
		site("north", "south"),               // 3, 4
		defined("picker", 10, "orders:read"), // 5
		defined("packer", 10, "orders:read"), // 6
		joined("ann", "picker"),              // 7, 8
		joined("bob", "viewer", grants("north", "picker", "south", "packer")...), // 9, 10
		joined("cay", "viewer"), changed("cay", "viewer", "member"), changed("cay", "member", "admin"), // 11 to 14
		overridden("cay", "billing:read", ""), overridden("cay", "", ""), // 15, 16
		evs{domain.RoleEdited{Before: custom("packer", 10), After: custom("packer", 9)}}, // 17
		joined("dan", "viewer"), removed("dan", "viewer"), joined("dan", "member"), // 18 to 22
		evs{domain.SiteRemoved{Site: "south"}},                                       // 23
		evs{domain.OwnershipTransferred{From: owner, To: "cay", FromRole: "picker"}}, // 24
		evs{domain.SitesChanged{User: "ann", After: grants("north", "viewer")}},      // 25
		joined("eve", "viewer"), evs{domain.MemberLeft{User: "eve", Role: "viewer"}}, // 26 to 28
	)
	for _, c := range []struct {
		user user
		site domain.SiteID
		want string
	}{
		{owner, "", "1 5 24"},
		{"ann", "", "5 7 8 25"},
		{"bob", "", "9 10"},
		{"bob", "north", "5 9 10"},
		{"bob", "south", "9 10 17 23"},
		{"bob", domain.EverySite, "5 9 10"},
		{"cay", "", "11 12 24"},
		{"dan", "", "21 22"},
		{"eve", "", "26 27 28"},
		{"nobody", "", ""},
	} {
		looks := 0
		if got := numbers(domain.Story(told(base, &looks), c.user, c.site)); got != c.want {
			t.Errorf("the story of %s on %q is %s, want %s", c.user, c.site, got, c.want)
		}
		if got := numbers(domain.Stories(told(base, &looks), c.site)[c.user]); got != c.want {
			t.Errorf("among all, the story of %s on %q is %s, want %s", c.user, c.site, got, c.want)
		}
		if looks != 2*len(base) {
			t.Errorf("%d looks at %d events", looks, len(base))
		}
	}
}

// naiveStory looks for each part of a story through the whole history.
func naiveStory(history []happened, u user) string {
	last := func(from int, wanted func(domain.Event) bool) int {
		for i := len(history) - 1; i >= from; i-- {
			if wanted(history[i].event) {
				return i
			}
		}
		return -1
	}
	var invitation domain.InvitationID
	came := last(0, func(event domain.Event) bool {
		switch e := event.(type) {
		case domain.TeamCreated:
			return e.Owner == u
		case domain.MemberJoined:
			invitation = e.Invitation
			return e.User == u
		}
		return false
	})
	if came < 0 {
		return ""
	}
	crowned := last(came, func(event domain.Event) bool {
		e, ok := event.(domain.OwnershipTransferred)
		return ok && e.To == u
	})
	found := []int{came}
	if _, joined := history[came].event.(domain.MemberJoined); joined {
		found = append(found, last(0, func(event domain.Event) bool {
			e, ok := event.(domain.MemberInvited)
			return ok && e.Invitation == invitation
		}))
	}
	overridden := last(max(came, crowned), func(event domain.Event) bool {
		e, ok := event.(domain.PermissionsChanged)
		return ok && e.User == u
	})
	sited := last(max(came, crowned), func(event domain.Event) bool {
		e, ok := event.(domain.SitesChanged)
		return ok && e.User == u
	})
	for i := range history { // all that has ended since
		switch e := history[i].event.(type) {
		case domain.PermissionsExpired:
			if e.User == u && i > max(came, crowned, overridden) {
				found = append(found, i)
			}
		case domain.SitesExpired:
			if e.User == u && i > max(came, crowned, sited) {
				found = append(found, i)
			}
		}
	}
	found = append(found,
		last(came+1, func(event domain.Event) bool {
			switch e := event.(type) {
			case domain.RoleChanged:
				return e.User == u
			case domain.OwnershipTransferred:
				return e.From == u || e.To == u
			}
			return false
		}),
		overridden, sited,
		last(max(came, crowned), func(event domain.Event) bool {
			e, ok := event.(domain.ExpiryChanged)
			return ok && e.User == u
		}),
		last(came, func(event domain.Event) bool {
			switch e := event.(type) {
			case domain.MemberRemoved:
				return e.User == u
			case domain.MemberLeft:
				return e.User == u
			case domain.MemberExpired:
				return e.User == u
			}
			return false
		}),
		last(came, func(event domain.Event) bool { _, ok := event.(domain.TeamDeleted); return ok }),
	)
	found = slices.DeleteFunc(found, func(i int) bool { return i < 0 })
	slices.Sort(found)
	var text []string
	for _, i := range found {
		text = append(text, fmt.Sprint(i+1))
	}
	return strings.Join(text, " ")
}

// Whatever happened, one pass over the history tells of everybody what a look
// for each of them finds.
func TestStoriesAreThoseOfEachMember(t *testing.T) {
	for _, catalog := range catalogNames {
		t.Run(catalog, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := newMachine(t, catalog)
				m.populate(t)
				own := m.own()
				for range 40 {
					name := pick(t, "command", repertoire)
					if act, ok := own[name]; ok {
						act(t)
						continue
					}
					by := m.actor(t)
					events, err := steps[name](t, m, by)
					m.record(t, by, events, err)
				}
				var events evs
				for _, h := range m.history {
					events = append(events, h.event)
				}
				looks := 0
				all := domain.Stories(told(events, &looks), "")
				if looks != len(events) {
					t.Fatalf("%d looks at %d events", looks, len(events))
				}
				for _, u := range folk {
					want := naiveStory(m.history, u)
					if got := numbers(all[u]); got != want {
						t.Fatalf("the story of %s is %s, want %s\n%v", u, got, want, m.written)
					}
					if diff := cmp.Diff(all[u], domain.Story(told(events, &looks), u, "")); diff != "" {
						t.Fatalf("alone, the story of %s is another: %s", u, diff)
					}
				}
			})
		})
	}
}

// BenchmarkStories is 10,000 members with a history of 40,000 events.
func BenchmarkStories(b *testing.B) {
	events := created("default")
	for i := range 10_000 {
		u := user(fmt.Sprint("u", i))
		events = append(append(append(events, joined(u, "viewer")...), changed(u, "viewer", "member")...), overridden(u, "billing:read", "")...)
	}
	looks := 0
	for b.Loop() {
		if got := domain.Stories(told(events, &looks), domain.EverySite); len(got) != 10_001 {
			b.Fatal(len(got))
		}
	}
}
