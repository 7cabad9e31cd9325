package main

import (
	"fmt"
	"sync"
	"testing"
)

// race runs one call of each, all at the same moment, and counts the answers
// by their status and code.
func race(t *testing.T, calls ...func() (*answer, error)) map[string]int {
	t.Helper()
	var (
		begin   = make(chan struct{})
		done    sync.WaitGroup
		mu      sync.Mutex
		results = map[string]int{}
	)
	for _, call := range calls {
		done.Go(func() {
			<-begin
			a, err := call()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Error(err)
			case a.status < 300:
				results["ok"]++
			default:
				results[fmt.Sprintf("%d %s", a.status, a.text("code"))]++
			}
		})
	}
	close(begin)
	done.Wait()
	return results
}

func times(n int, call func(i int) (*answer, error)) []func() (*answer, error) {
	calls := make([]func() (*answer, error), n)
	for i := range calls {
		calls[i] = func() (*answer, error) { return call(i) }
	}
	return calls
}

func TestSixtyFourInvitationsForTheLastSeat(t *testing.T) {
	c := newCompany(t) // 3 of 10 seats
	for i := range 6 {
		c.invite(c.owner, fmt.Sprintf("early%d@example.com", i), "MEMBER")
	}
	got := race(t, times(64, func(i int) (*answer, error) {
		by := []*client{c.owner, c.admin}[i%2]
		return by.try("POST", c.path("/invitations"), map[string]any{"email": fmt.Sprintf("late%d@example.com", i), "role": "MEMBER"})
	})...)
	if got["ok"] != 1 || got["409 seat_limit_reached"] != 63 {
		t.Errorf("got %v", got)
	}
	c.owner.get(c.path("")).is(200).same("seats", map[string]any{"limit": 10, "members": 3, "pending": 7})
}

func TestSixtyFourAcceptancesOfOneInvitation(t *testing.T) {
	c := newCompany(t)
	invitee, _ := c.signUp("invitee@example.com", "")
	_, token := c.invite(c.owner, "invitee@example.com", "MEMBER")
	got := race(t, times(64, func(int) (*answer, error) {
		return invitee.try("POST", "/v1/invitations/"+token+"/accept", map[string]any{})
	})...)
	if got["ok"] != 1 || got["410 invitation_used"] != 63 {
		t.Errorf("got %v", got)
	}
	c.owner.get(c.path("")).is(200).same("seats", map[string]any{"limit": 10, "members": 4, "pending": 0})
	if joined := c.owner.get(c.path("/audit-events?action=member.joined&target=" + invitee.id)).is(200).list("data"); len(joined) != 1 {
		t.Errorf("%d entries of one joining", len(joined))
	}
}

func TestManySignUpsByOneInvitationMakeOneAccount(t *testing.T) {
	c := newCompany(t)
	_, token := c.invite(c.owner, "new@example.com", "MEMBER")
	got := race(t, times(8, func(int) (*answer, error) {
		return c.anonymous().try("POST", "/v1/invitations/"+token+"/accept", map[string]any{"name": "N", "password": passphrase})
	})...)
	if got["ok"] != 1 {
		t.Errorf("got %v", got)
	}
	c.owner.get(c.path("")).is(200).same("seats.members", 4)
}

func TestManySignUpsWithOneAddressMakeOneAccount(t *testing.T) {
	s := startServer(t, "--catalog=distribu")
	got := race(t, times(8, func(int) (*answer, error) {
		return s.anonymous().try("POST", "/v1/users", map[string]any{"email": "one@example.com", "name": "One", "password": passphrase})
	})...)
	if got["ok"] != 1 || got["409 address_taken"] != 7 {
		t.Errorf("got %v", got)
	}
}

// The authority of whoever acts is decided in the same breath as what they
// do: an admin who is demoted or removed at the same moment either was an
// admin still when it was done, and the log shows that order, or is refused.
func TestActingWhileBeingDemoted(t *testing.T) {
	c := newCompany(t)
	for round := range 10 {
		victim := c.join(fmt.Sprintf("victim%d@example.com", round), "MEMBER")
		adminRole := c.path("/members/" + c.admin.id + "/role")
		got := race(t,
			func() (*answer, error) { return c.admin.try("DELETE", c.path("/members/"+victim.id), nil) },
			func() (*answer, error) { return c.owner.try("PUT", adminRole, map[string]any{"role": "MEMBER"}) },
			func() (*answer, error) {
				return c.owner.try("PUT", c.path("/members/"+victim.id+"/role"), map[string]any{"role": "ADMIN"})
			},
		)
		if got["ok"] == 0 {
			t.Fatalf("round %d: %v", round, got)
		}
		c.checkLog()
		// After the demotion was answered nothing more is possible.
		c.admin.post(c.path("/invitations"), map[string]any{"email": "x@example.com", "role": "MEMBER"}).refuses(403, "not_permitted")
		c.owner.put(adminRole, map[string]any{"role": "ADMIN"}).is(200)
		c.owner.call("DELETE", c.path("/members/"+victim.id), nil)
	}
}

// checkLog replays the audit log of a distribu company, oldest first, and
// fails where somebody did what their role at that moment didn't allow. It
// knows the product's page, not the program's rules.
func (c company) checkLog() {
	c.t.Helper()
	roles := map[string]string{}
	log := c.owner.get(c.path("/audit-events?limit=200")).is(200)
	entries := log.list("data")
	for i := len(entries) - 1; i >= 0; i-- {
		at := func(field string) string { return log.text(fmt.Sprintf("data.%d.%s", i, field)) }
		actor, target := at("actor.id"), at("target.id")
		switch action := at("action"); action {
		case "team.created":
			roles[actor] = "OWNER"
		case "member.joined":
			roles[target] = at("after.role")
		case "role.changed":
			if roles[actor] != "OWNER" {
				c.t.Fatalf("%s changed a role as %q", actor, roles[actor])
			}
			roles[target] = at("after.role")
		case "member.removed":
			if roles[actor] != "OWNER" && (roles[actor] != "ADMIN" || roles[target] != "MEMBER") {
				c.t.Fatalf("%q removed %q", roles[actor], roles[target])
			}
			delete(roles, target)
		case "member.invited":
			if roles[actor] != "OWNER" && roles[actor] != "ADMIN" {
				c.t.Fatalf("%q invited", roles[actor])
			}
		}
	}
}

func TestTransferAgainstDemotionAndRemoval(t *testing.T) {
	s := startServer(t, "--catalog=dzbuild")
	owner, team := s.signUp("olga@example.com", "")
	s.operator().put(team.path("/plan"), map[string]any{"plan": "enterprise"}).is(200)
	chosen := team.join("chosen@example.com", "admin")
	for range 10 {
		race(t,
			func() (*answer, error) {
				return s.operator().try("PUT", team.path("/owner"), map[string]any{"user_id": chosen.id})
			},
			func() (*answer, error) {
				return owner.try("PUT", team.path("/members/"+chosen.id+"/role"), map[string]any{"role": "operator"})
			},
			func() (*answer, error) { return owner.try("DELETE", team.path("/members/"+chosen.id), nil) },
			func() (*answer, error) {
				return chosen.try("DELETE", team.path("/members/"+owner.id), nil)
			},
		)
		// Whoever came first, there is one owner and it is one of the two.
		var owners []string
		for _, user := range []*client{owner, chosen} {
			members, err := user.try("GET", team.path("/members"), nil)
			if err != nil || members.status != 200 {
				continue
			}
			for i, role := range members.pluck("data", "role") {
				if role == "owner" {
					owners = append(owners, members.pluck("data", "user_id")[i])
				}
			}
			break
		}
		if len(owners) != 1 || (owners[0] != owner.id && owners[0] != chosen.id) {
			t.Fatalf("owners: %v", owners)
		}
		if owners[0] == chosen.id {
			owner, chosen = chosen, owner
		}
		if a := owner.get(team.path("/members/" + chosen.id)); a.status == 404 {
			_, token := team.invite(owner, chosen.email, "admin")
			chosen.post("/v1/invitations/"+token+"/accept", map[string]any{}).is(200)
		} else {
			owner.put(team.path("/members/"+chosen.id+"/role"), map[string]any{"role": "admin"}).is(200)
		}
	}
}
