package catalogs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/domain/catalogs"
)

func TestEveryBuiltinLoads(t *testing.T) {
	names := catalogs.Names()
	if diff := cmp.Diff([]string{"default", "distribu", "dzbuild", "tenants"}, names); diff != "" {
		t.Fatal(diff)
	}
	for _, name := range names {
		catalog, source, err := catalogs.Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if catalog.Name != name || catalog.Version != 2 {
			t.Errorf("%s calls itself %s version %d", name, catalog.Name, catalog.Version)
		}
		if text, ok := catalogs.Builtin(name); !ok || !bytes.Equal(text, source) {
			t.Errorf("%s: Load gives another source than Builtin", name)
		}
		for _, role := range catalog.Roles {
			if text := role.Description; strings.Count(text, ".") != 1 || !strings.HasSuffix(text, ".") {
				t.Errorf("%s: the description of %s isn't one sentence: %s", name, role.Key, text)
			}
		}
	}
	for _, name := range []string{"", "Default", "default.yaml", "../catalogs/default", "load.go"} {
		if _, ok := catalogs.Builtin(name); ok {
			t.Errorf("%q is a built-in catalog", name)
		}
	}
}

func TestRoles(t *testing.T) {
	type role struct {
		Key      domain.RoleKey
		Name     string
		Level    int
		Owner    bool
		AllSites bool
	}
	want := map[string][]role{
		"distribu": {{"OWNER", "Owner", 3, true, true}, {"ADMIN", "Admin", 2, false, false}, {"MEMBER", "Member", 1, false, false}},
		"dzbuild": {
			{"owner", "Owner", 5, true, true}, {"admin", "Admin", 4, false, true}, {"manager", "Manager", 3, false, false},
			{"operator", "Operator", 2, false, false}, {"read_only", "Read-only", 1, false, false},
		},
		"tenants": {
			{"owner", "Owner", 5, true, true}, {"admin", "Admin", 4, false, false}, {"manager", "Manager", 3, false, false},
			{"member", "Member", 2, false, false}, {"viewer", "Viewer", 1, false, false},
		},
		"default": {
			{"owner", "Owner", 100, true, true}, {"admin", "Admin", 80, false, true}, {"manager", "Manager", 60, false, false},
			{"member", "Member", 40, false, false}, {"viewer", "Viewer", 20, false, false},
		},
	}
	for name, want := range want {
		var got []role
		for _, r := range load(t, name).Roles {
			got = append(got, role{r.Key, r.Name, r.Level, r.Owner, r.AllSites})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestPlans(t *testing.T) {
	want := map[string][]*domain.Plan{
		"distribu": {
			{Key: "starter", Name: "Starter", Seats: 10},
			{Key: "growth", Name: "Growth", Seats: 50},
			{Key: "scale", Name: "Scale", Seats: 500},
		},
		"dzbuild": {
			{Key: "free", Name: "Free", Seats: 0},
			{Key: "pro", Name: "Pro", Seats: 1},
			{Key: "unlimited", Name: "Unlimited", Seats: 3, TwoFactor: true},
			{Key: "enterprise", Name: "Enterprise", Seats: 10, TwoFactor: true},
		},
		"tenants": nil,
		"default": {
			{Key: "free", Name: "Free", Seats: 5, TwoFactor: true},
			{Key: "team", Name: "Team", Seats: 50, TwoFactor: true},
			{Key: "business", Name: "Business", Seats: domain.NoLimit, TwoFactor: true},
		},
	}
	for name, want := range want {
		if diff := cmp.Diff(want, load(t, name).Plans); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, plan := range map[string]string{"distribu": "starter", "dzbuild": "free", "tenants": "", "default": "free"} {
		if got := load(t, name).DefaultPlan(); got != plan {
			t.Errorf("%s: a new team gets %q, want %q", name, got, plan)
		}
	}
}

func TestRules(t *testing.T) {
	const week, threeDays = 7 * 24 * time.Hour, 3 * 24 * time.Hour
	want := map[string]domain.Rules{
		"distribu": {
			InvitationLifetime: week, TransferLifetime: threeDays,
			InviteReach: domain.ReachEqual, AssignReach: domain.ReachBelow, ChangeRoleReach: domain.ReachBelow,
			RemoveReach: domain.ReachBelow, OverrideReach: domain.ReachNone,
			TransferBy: domain.TransferByOperator, PreviousOwnerRole: "ADMIN",
			OwnerTakesSeat: true, UpgradeURL: "/dashboard/subscribe",
		},
		"dzbuild": {
			InvitationLifetime: week, TransferLifetime: threeDays,
			InviteReach: domain.ReachEqual, AssignReach: domain.ReachEqual, ChangeRoleReach: domain.ReachEqual,
			RemoveReach: domain.ReachEqual, OverrideReach: domain.ReachNone,
			Sites:      true,
			TransferBy: domain.TransferByOwner, PreviousOwnerRole: "admin",
			UpgradeURL: "/dashboard/subscribe",
		},
		"tenants": {
			InvitationLifetime: week, TransferLifetime: threeDays,
			InviteReach: domain.ReachEqual, AssignReach: domain.ReachBelow, ChangeRoleReach: domain.ReachBelow,
			RemoveReach: domain.ReachEqual, OverrideReach: domain.ReachBelow,
			Overrides: true, CustomRoles: true, Leaving: true, TwoFactor: true,
			TransferBy: domain.TransferByOwner, PreviousOwnerRole: "admin",
			OwnerTakesSeat: true, HomeTeamForInvited: true,
		},
		"default": {
			InvitationLifetime: week, TransferLifetime: threeDays,
			InviteReach: domain.ReachEqual, AssignReach: domain.ReachEqual, ChangeRoleReach: domain.ReachBelow,
			RemoveReach: domain.ReachBelow, OverrideReach: domain.ReachBelow,
			Sites: true, Overrides: true, CustomRoles: true, Leaving: true,
			TransferBy: domain.TransferByOwner, PreviousOwnerRole: "admin",
			OwnerTakesSeat: true, UpgradeURL: "/dashboard/subscribe",
		},
	}
	for name, want := range want {
		if diff := cmp.Diff(want, load(t, name).Rules); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestLabelsAndSites(t *testing.T) {
	want := map[string]struct {
		labels domain.Labels
		sites  []string // resources that belong to a site
	}{
		"distribu": {labels: domain.Labels{Product: "Distribu", Team: "company", Teams: "companies", HomeTeam: "My company"}},
		"dzbuild": {
			labels: domain.Labels{Product: "DZBuild", Team: "account", Teams: "accounts", Site: "store", Sites: "stores", HomeTeam: "My store"},
			sites:  []string{"dashboards", "products", "orders", "customers", "settings", "shipping_rates", "payment_methods", "reports"},
		},
		"tenants": {labels: domain.Labels{Product: "Tenants", Team: "tenant", Teams: "tenants", HomeTeam: "My tenant"}},
		"default": {
			labels: domain.Labels{Product: "Roster", Team: "team", Teams: "teams", Site: "project", Sites: "projects", HomeTeam: "My team"},
			sites:  []string{"documents", "products", "orders", "customers", "reports"},
		},
	}
	for name, want := range want {
		catalog := load(t, name)
		if diff := cmp.Diff(want.labels, catalog.Labels); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		var sites []string
		for _, resource := range catalog.Resources() {
			if resource.Site {
				sites = append(sites, resource.Key)
			}
		}
		if !slices.Equal(sites, want.sites) {
			t.Errorf("%s: %v belong to a site, want %v", name, sites, want.sites)
		}
	}
}

func TestLoadFile(t *testing.T) {
	folder := t.TempDir()
	write := func(name string, source []byte) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, source, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	source, _ := catalogs.Builtin("default")
	mine := bytes.Replace(source, []byte("name: default"), []byte("name: mine"), 1)
	catalog, text, err := catalogs.Load(write("mine.yaml", mine))
	if err != nil {
		t.Fatal(err)
	}
	if catalog.Name != "mine" || !bytes.Equal(text, mine) {
		t.Errorf("got the catalog %s and %d bytes, want mine and %d", catalog.Name, len(text), len(mine))
	}

	full := write("full.yaml", append(mine, bytes.Repeat([]byte("#"), catalogs.MaxSize-len(mine))...))
	if _, _, err := catalogs.Load(full); err != nil {
		t.Errorf("a file of exactly MaxSize: %v", err)
	}
	const neither = " is neither built in (default, distribu, dzbuild, tenants) nor a file that can be read: "
	large := write("large.yaml", make([]byte, catalogs.MaxSize+1))
	wrong := write("wrong.yaml", bytes.Replace(mine, []byte("level: 60"), []byte("level: 6000"), 1))
	for path, want := range map[string]string{
		folder:                            `role catalog "` + folder + `"` + neither + "it is a directory",
		filepath.Join(folder, "none.yml"): `role catalog "` + folder + `/none.yml"` + neither + "open " + folder + "/none.yml: no such file or directory",
		"":                                `role catalog ""` + neither + "open : no such file or directory",
		large:                             large + ":1: is larger than 256 KiB, the most that a role catalog may be",
		wrong: wrong + ":87: roles[2].level: must be from 1 to 1000\n" +
			wrong + ":87: roles[2].level: must be below the owner's level 100",
	} {
		if _, _, err := catalogs.Load(path); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}
