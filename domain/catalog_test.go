package domain_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// small is a catalog with nothing wrong in it: what a file states, without a
// file.
func small() domain.CatalogSpec {
	seats := 3
	actions := map[string]string{}
	for _, name := range domain.ActionNames {
		actions[name] = "team:run"
	}
	return domain.CatalogSpec{
		Name: "small", Version: 1,
		Labels: domain.LabelsSpec{Product: "Small", Team: "team", Teams: "teams", Site: "shop", Sites: "shops", HomeTeam: "My team"},
		Resources: []domain.ResourceSpec{
			{Key: "team", Name: "Team", Actions: []string{"read", "run"}},
			{Key: "goods", Name: "Goods", Scope: "site", Actions: []string{"read", "sell"}},
		},
		Roles: []domain.RoleSpec{
			{Key: "clerk", Name: "Clerk", Description: "Sells.", Level: 1, Permissions: []string{"goods:*", "team:run"}},
			{Key: "boss", Name: "Boss", Description: "Owns it.", Level: 9, Owner: true, Permissions: []string{"*"}},
			{Key: "lead", Name: "Lead", Description: "Runs it.", Level: 5, Permissions: []string{"*"}, Except: []string{"goods:sell"}},
		},
		Plans: []domain.PlanSpec{{Key: "one", Name: "One", Seats: &seats}, {Key: "any", Name: "Any"}},
		Rules: domain.RulesSpec{
			InvitationLifetime: time.Hour, TransferLifetime: time.Hour,
			InviteReach: "up_to", AssignReach: "nobody", ChangeRoleReach: "below", RemoveReach: "everyone", OverrideReach: "everyone",
			Sites: true, Overrides: true, TransferBy: "owner", PreviousOwnerRole: "LEAD", UpgradeURL: "/upgrade",
		},
		Actions: actions,
	}
}

func TestNewCatalog(t *testing.T) {
	c, problems := domain.NewCatalog(small())
	if problems != nil {
		t.Fatal(problems)
	}
	var keys []role
	for _, r := range c.Roles {
		keys = append(keys, r.Key)
	}
	if !slices.Equal(keys, []role{"boss", "lead", "clerk"}) || c.OwnerRole().Key != "boss" || !c.OwnerRole().AllSites {
		t.Errorf("the roles are %v, from the highest to the lowest", keys)
	}
	lead, _ := c.Role("Lead") // upper and lower case are the same
	if got := c.Names(lead.Permissions); !slices.Equal(got, []domain.Permission{"team:read", "team:run", "goods:read"}) {
		t.Errorf("lead has %v", got)
	}
	if c.Rules.PreviousOwnerRole != "lead" || c.DefaultPlan() != "one" || len(c.Permissions()) != 4 || len(c.Resources()) != 2 {
		t.Errorf("%+v", c.Rules)
	}
	if index, ok := c.Index("goods:sell"); !ok || index != 3 {
		t.Errorf("goods:sell is at %d", index)
	}
	set, unknown := c.Set([]domain.Permission{"goods:sell", "no:such", "team:read", "no:such"})
	if got := c.Names(set); !slices.Equal(got, []domain.Permission{"team:read", "goods:sell"}) || len(unknown) != 2 {
		t.Errorf("%v, unknown %v", got, unknown)
	}
	if plan, ok := c.Plan("any"); !ok || plan.Seats != domain.NoLimit {
		t.Errorf("a plan without seats has no limit: %+v", plan)
	}
	for action, name := range domain.ActionNames {
		if domain.Action(action).String() != name || c.Actions[domain.Action(action)] != "team:run" {
			t.Errorf("action %d is %s", action, domain.Action(action))
		}
	}
}

// TestReaches are the two that no built-in catalog uses.
func TestReaches(t *testing.T) {
	c, problems := domain.NewCatalog(small())
	if problems != nil {
		t.Fatal(problems)
	}
	state := domain.NewTeam(team, shelf{"small": c})
	for i, event := range given(evs{domain.TeamCreated{Catalog: "small", Plan: "any", Owner: owner, OwnerRole: "boss"}},
		joined("lea", "lead"), joined("cleo", "clerk")) {
		state.Apply(event, meta(i+1, as(owner), t0))
	}
	for name, c := range map[string]struct {
		when command
		want string
	}{
		"everyone: a higher one is removed":               {remove(as("cleo"), "lea"), "ok"},
		"everyone: but not the owner":                     {remove(as("cleo"), owner), "perm"},
		"everyone: overrides of a higher one":             {setOverrides(as("cleo"), "lea", "goods:sell", ""), "ok"},
		"everyone: and of their own, but nothing is lent": {setOverrides(as("cleo"), "cleo", "team:read", ""), "rank"},
		"nobody: not even the owner assigns":              {changeRole(as(owner), "cleo", "lead"), "rank"},
		"up_to: a role of their own level":                {invite(as("lea"), "eve", "lead"), "ok"},
		"up_to: none above":                               {invite(as("cleo"), "eve", "lead"), "rank"},
	} {
		if got := outcome(c.when(state, now)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestNewCatalogReportsWhatIsWrong(t *testing.T) {
	many := func(n int, what string) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("%s%d", what, i))
		}
		return names
	}
	minus, millions := -1, 1_000_001
	for name, c := range map[string]struct {
		change func(*domain.CatalogSpec)
		want   string // the paths of the problems
	}{
		"name":             {func(s *domain.CatalogSpec) { s.Name = "a b" }, "name"},
		"name with a line": {func(s *domain.CatalogSpec) { s.Name = "small\n" }, "name"},
		"version":          {func(s *domain.CatalogSpec) { s.Version = 0 }, "version"},
		"labels":           {func(s *domain.CatalogSpec) { s.Labels = domain.LabelsSpec{} }, "labels.product labels.team labels.teams labels.home_team labels.site labels.sites"},
		"long label":       {func(s *domain.CatalogSpec) { s.Labels.Team = strings.Repeat("x", 61) }, "labels.team"},
		"no resources": {func(s *domain.CatalogSpec) {
			s.Resources = nil
			s.Roles, s.Actions = s.Roles[1:2], nil
			s.Roles[0].Permissions = nil
		}, "resources rules.previous_owner_role " + strings.TrimSpace(strings.Repeat("actions ", len(domain.ActionNames)-1))},
		"resource twice": {func(s *domain.CatalogSpec) { s.Resources[1].Key = "team" }, "resources[1].key resources[1].actions[0] roles[0].permissions[0] roles[2].except[0]"},
		"action twice":   {func(s *domain.CatalogSpec) { s.Resources[0].Actions[0] = "run" }, "resources[0].actions[1]"},
		"scope":          {func(s *domain.CatalogSpec) { s.Resources[0].Scope = "world" }, "resources[0].scope"},
		"no actions": {func(s *domain.CatalogSpec) {
			s.Resources = append(s.Resources, domain.ResourceSpec{Key: "x", Name: "X"})
		}, "resources[2].actions"},
		"too many permissions": {func(s *domain.CatalogSpec) {
			s.Resources[1].Actions = append(s.Resources[1].Actions, many(253, "a")...)
		}, "resources[1].actions[254]"},
		"role key":               {func(s *domain.CatalogSpec) { s.Roles[0].Key = "9lives" }, "roles[0].key"},
		"role twice":             {func(s *domain.CatalogSpec) { s.Roles[0].Key = "LEAD" }, "roles[2].key"},
		"no description":         {func(s *domain.CatalogSpec) { s.Roles[0].Description = " " }, "roles[0].description"},
		"level":                  {func(s *domain.CatalogSpec) { s.Roles[0].Level = 0 }, "roles[0].level"},
		"level of the owner's":   {func(s *domain.CatalogSpec) { s.Roles[2].Level = 9 }, "roles[2].level"},
		"permission":             {func(s *domain.CatalogSpec) { s.Roles[0].Permissions = []string{"goods:*", "x:*", "goods"} }, "roles[0].permissions[1] roles[0].permissions[2]"},
		"no owner":               {func(s *domain.CatalogSpec) { s.Roles[1].Owner = false }, "roles"},
		"two owners":             {func(s *domain.CatalogSpec) { s.Roles[2].Owner = true }, "roles[2].owner rules.previous_owner_role"},
		"plan twice":             {func(s *domain.CatalogSpec) { s.Plans[1].Key = "one" }, "plans[1].key"},
		"no seat for the owner":  {func(s *domain.CatalogSpec) { none := 0; s.Plans[0].Seats = &none; s.Rules.OwnerTakesSeat = true }, "plans[0].seats"},
		"a link that is none":    {func(s *domain.CatalogSpec) { s.Rules.UpgradeURL = "javascript:alert(1)" }, "rules.upgrade_url"},
		"negative seats":         {func(s *domain.CatalogSpec) { s.Plans[0].Seats = &minus }, "plans[0].seats"},
		"millions of seats":      {func(s *domain.CatalogSpec) { s.Plans[0].Seats = &millions }, "plans[0].seats"},
		"no lifetimes":           {func(s *domain.CatalogSpec) { s.Rules.InvitationLifetime, s.Rules.TransferLifetime = 0, 366*day }, "rules.invitation_lifetime rules.transfer_lifetime"},
		"reach":                  {func(s *domain.CatalogSpec) { s.Rules.RemoveReach = "far" }, "rules.remove_reach"},
		"inviting above":         {func(s *domain.CatalogSpec) { s.Rules.InviteReach = "everyone" }, "rules.invite_reach"},
		"assigning above":        {func(s *domain.CatalogSpec) { s.Rules.AssignReach = "everyone" }, "rules.assign_reach"},
		"transfer":               {func(s *domain.CatalogSpec) { s.Rules.TransferBy = "anyone" }, "rules.transfer_by"},
		"previous owner":         {func(s *domain.CatalogSpec) { s.Rules.PreviousOwnerRole = "boss" }, "rules.previous_owner_role"},
		"nowhere to upgrade":     {func(s *domain.CatalogSpec) { s.Rules.UpgradeURL = "" }, "rules.upgrade_url"},
		"sites switched off":     {func(s *domain.CatalogSpec) { s.Rules.Sites = false }, "rules.sites"},
		"an action of nobody's":  {func(s *domain.CatalogSpec) { s.Actions["fly"] = "team:run" }, "actions.fly"},
		"an action missing":      {func(s *domain.CatalogSpec) { delete(s.Actions, "invite") }, "actions"},
		"an action's permission": {func(s *domain.CatalogSpec) { s.Actions["invite"] = "team:fly" }, "actions.invite"},
		"too many roles and plans": {func(s *domain.CatalogSpec) {
			for _, key := range many(62, "r") {
				s.Roles = append(s.Roles, domain.RoleSpec{Key: key, Name: key, Description: "One.", Level: 1})
			}
			for _, key := range many(31, "p") {
				s.Plans = append(s.Plans, domain.PlanSpec{Key: key, Name: key})
			}
		}, "roles plans"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := small()
			c.change(&spec)
			built, problems := domain.NewCatalog(spec)
			var paths []string
			for _, problem := range problems {
				paths = append(paths, problem.Path)
				if problem.Detail == "" {
					t.Errorf("%s: what is wrong?", problem.Path)
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(paths, " ")); diff != "" || built != nil {
				t.Errorf("%s\n%v", diff, problems)
			}
		})
	}
}

func TestPermissionSets(t *testing.T) {
	var a, b domain.PermissionSet
	for _, i := range []int{0, 63, 64, 255} {
		a.Add(i)
	}
	b.Add(63)
	b.Add(100)
	list := func(s domain.PermissionSet) []int { return slices.Collect(s.All()) }
	if got := list(a); !slices.Equal(got, []int{0, 63, 64, 255}) {
		t.Errorf("all: %v", got)
	}
	if got := list(a.Union(b)); !slices.Equal(got, []int{0, 63, 64, 100, 255}) {
		t.Errorf("union: %v", got)
	}
	if got := list(a.Minus(b)); !slices.Equal(got, []int{0, 64, 255}) {
		t.Errorf("minus: %v", got)
	}
	if b.Within(a) || !b.Minus(a).Within(b) || !(domain.PermissionSet{}).Within(a) || !(domain.PermissionSet{}).Empty() || a.Empty() {
		t.Error("within or empty")
	}
	if !a.Has(255) || a.Has(254) || a.Has(1) {
		t.Error("has")
	}
	for i := range a.All() {
		if i == 63 {
			break // an early end is fine
		}
	}
}
