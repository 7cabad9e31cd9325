package domain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"roster/domain"
)

// Who may do what to whom: every actor, target and action of a catalog, in
// grids that are written by hand from the product's page.
//
// A grid is "== action", a line of actors and a line for each target. An actor
// is a role, "k." and a role for an API key, "stranger", or "OPS" for the
// operator. A target is a role for another member with it, "self", "stranger",
// or a role or permission that is given; "a,b>c,d" is every pair, "*" every
// role. Nothing may be left out.
//
//	ok    it is done              same  there is nothing to do    .  there is no such case
//	np    not_permitted           rank  rank_too_low              role  role_not_assignable
//	owner owner_required
//	perm  owner_is_permanent      self  cannot_remove_self        leave leaving_not_allowed
//	404   not_found               422   invalid_field             op    operator_only
//	plan  two_factor_not_available
var codes = map[string]string{
	"np": "not_permitted", "rank": "rank_too_low", "role": "role_not_assignable", "perm": "owner_is_permanent", "owner": "owner_required",
	"self": "cannot_remove_self", "leave": "leaving_not_allowed", "404": "not_found", "422": "invalid_field", "op": "operator_only",
	"plan": "two_factor_not_available",
}

// outcome is the word of the legend for what came out.
func outcome(events []domain.Event, err error) string {
	var refusal *domain.Error
	switch {
	case err == nil && len(events) > 0:
		return "ok"
	case err == nil:
		return "same"
	case !errors.As(err, &refusal):
		return err.Error()
	}
	for word, code := range codes {
		if code == refusal.Code {
			return word
		}
	}
	return refusal.Code
}

// crowd is a team with, for each role but the owner's, a member named after it
// and a key, and what the action needs: another member for each role (its name
// doubled), a key to be revoked, or an invitation.
func crowd(catalog string, action string) *domain.Team {
	events := given(created(catalog), plan(map[string]string{
		"default": "team", "distribu": "starter", "dzbuild": "enterprise",
	}[catalog]))
	if builtins[catalog].Rules.Sites {
		events = given(events, site("north", "south"))
	}
	for _, r := range builtins[catalog].Roles[1:] {
		events = given(events, joined(user(r.Key), r.Key), key("k."+string(r.Key), r.Key), key("spare."+string(r.Key), r.Key))
		switch action {
		case "resend", "cancel":
			events = given(events, invited("p."+user(r.Key), r.Key))
		case "invite":
		default:
			events = given(events, joined(user(r.Key+r.Key), r.Key))
		}
	}
	return fold(events)
}

// actions are what the grids are about: how to do it to a target, with
// something given.
var actions = map[string]func(by domain.Actor, target user, with string) command{
	"invite": func(by domain.Actor, _ user, with string) command { return invite(by, "eve", role(with)) },
	"resend": func(by domain.Actor, _ user, with string) command { return resend(by, "p."+user(with)) },
	"cancel": func(by domain.Actor, _ user, with string) command { return cancel(by, "p."+user(with)) },
	"change_role": func(by domain.Actor, target user, with string) command {
		return changeRole(by, target, role(with))
	},
	"remove": func(by domain.Actor, target user, _ string) command { return remove(by, target) },
	"overrides": func(by domain.Actor, target user, with string) command {
		if permission, revoke := strings.CutPrefix(with, "-"); revoke {
			return setOverrides(by, target, "", permission)
		}
		return setOverrides(by, target, with[1:], "")
	},
	"sites": func(by domain.Actor, target user, with string) command {
		return setSites(by, target, grants("north", with)...)
	},
	"create_key":        func(by domain.Actor, _ user, with string) command { return createKey(by, "new", role(with)) },
	"revoke_key":        func(by domain.Actor, _ user, with string) command { return revokeKey(by, "spare."+with) },
	"rename":            func(by domain.Actor, _ user, _ string) command { return rename(by, "Other") },
	"delete":            func(by domain.Actor, _ user, _ string) command { return deleteTeam(by) },
	"set_plan":          func(by domain.Actor, _ user, with string) command { return setPlan(by, with) },
	"request_transfer":  func(by domain.Actor, target user, _ string) command { return requestTransfer(by, target) },
	"operator_transfer": func(by domain.Actor, target user, _ string) command { return operatorTransfer(by, target) },
	"leave":             func(_ domain.Actor, target user, _ string) command { return leave(target) },
	"add_site":          func(by domain.Actor, _ user, _ string) command { return addSite(by, "west") },
	"rename_site":       func(by domain.Actor, _ user, _ string) command { return renameNorth(by, "West") },
	"remove_site":       func(by domain.Actor, _ user, _ string) command { return removeSite(by, "north") },
	"require_factor":    func(by domain.Actor, _ user, _ string) command { return requireOf(by, everyone(7)) },
}

// aboutMembers are the actions whose grid has a line for each target.
var aboutMembers = []string{"change_role", "remove", "overrides", "sites", "request_transfer", "operator_transfer"}

// matrix holds the grids of a catalog against its decisions.
func matrix(t *testing.T, catalog, table string) {
	t.Helper()
	roles := []string{}
	for _, r := range builtins[catalog].Roles {
		roles = append(roles, string(r.Key))
	}
	actors := slices.Clone(roles)
	for _, r := range roles[1:] {
		actors = append(actors, "k."+r)
	}
	actors = append(actors, "stranger", "OPS")

	seen := map[string]bool{}
	for grid := range strings.SplitSeq(table, "==") {
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(grid), "\n"), func(line string) bool { return strings.TrimSpace(line) == "" })
		if len(lines) == 0 {
			continue
		}
		heading := strings.Fields(lines[0])
		action := heading[0]
		if !slices.Equal(heading[1:], actors) {
			t.Fatalf("%s is about the actors %v, want %v", action, heading[1:], actors)
		}
		seen[action] = true
		t.Run(action, func(t *testing.T) { checkGrid(t, crowd(catalog, action), action, roles, actors, lines[1:]) })
	}
	for action := range actions {
		if !seen[action] {
			t.Errorf("there is no grid of %s", action)
		}
	}
}

func checkGrid(t *testing.T, state *domain.Team, action string, roles, actors, lines []string) {
	cases := map[string]int{}
	members, withs := map[string]bool{}, map[string]bool{}
	for _, line := range lines {
		cells := strings.Fields(line)
		if len(cells) != 1+len(actors) {
			t.Errorf("%q has %d cells, want %d", line, len(cells)-1, len(actors))
			continue
		}
		targets, given, pairs := strings.Cut(cells[0], ">")
		if !pairs && !slices.Contains(aboutMembers, action) {
			targets, given = "", targets // a line for each thing that is given
		}
		for target := range strings.SplitSeq(targets, ",") {
			for with := range strings.SplitSeq(strings.Replace(given, "*", strings.Join(roles, ","), 1), ",") {
				cases[target+">"+with]++
				members[target], withs[with] = true, true
				for i, actor := range actors {
					by, whom, exists := people(roles, actor, target)
					got := "."
					if exists {
						got = outcome(actions[action](by, whom, with)(state, now))
					}
					if got != cells[1+i] {
						t.Errorf("%s by %s, %s: %s, want %s", action, actor, target+">"+with, got, cells[1+i])
					}
				}
			}
		}
	}
	if slices.Contains(aboutMembers, action) {
		for _, target := range append([]string{"self", "stranger"}, roles...) {
			if !members[target] {
				t.Errorf("no line is about %s", target)
			}
		}
	}
	switch action {
	case "invite", "change_role", "create_key", "resend", "cancel", "revoke_key":
		for i, r := range roles {
			if exists := i > 0 || !slices.Contains([]string{"resend", "cancel", "revoke_key"}, action); exists && !withs[r] {
				t.Errorf("no line is about the role %s", r)
			}
		}
	}
	for target := range members {
		for with := range withs {
			if times := cases[target+">"+with]; times != 1 {
				t.Errorf("%s is there %d times", target+">"+with, times)
			}
		}
	}
}

// people finds who an actor and a target are in a crowd, and whether there is
// such a case.
func people(roles []string, actor, target string) (by domain.Actor, whom user, exists bool) {
	name := func(r string) user {
		if r == roles[0] {
			return owner
		}
		return user(r)
	}
	self := user("")
	switch r, isKey := strings.CutPrefix(actor, "k."); {
	case isKey:
		by = asKey("k." + r)
	case actor == "OPS":
		by = domain.Operator
	case actor == "stranger":
		self, by = "mallory", as("mallory")
	default:
		self, by = name(actor), as(name(actor))
	}
	switch target {
	case "self":
		return by, self, self != ""
	case "stranger":
		return by, "nobody", true
	case "", roles[0]:
		return by, name(roles[0]), true
	}
	return by, user(target + target), true
}
