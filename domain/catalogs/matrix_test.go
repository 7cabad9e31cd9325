package catalogs_test

import (
	"slices"
	"strings"
	"testing"

	"roster/domain"
	"roster/domain/catalogs"
)

// The tables below are written from the pages of the products, not computed:
// they are what a change of a catalog file is held against. A line is a
// permission and, for each role of the heading, "yes" or "-". A line that
// starts with # quotes the page; "permission" may be several, joined by
// commas, that belong to one row of the page.

func load(t *testing.T, name string) *domain.Catalog {
	t.Helper()
	catalog, _, err := catalogs.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

// rows splits a table into its lines of words, without the comments.
func rows(table string) (rows [][]string) {
	for line := range strings.Lines(table) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			rows = append(rows, words)
		}
	}
	return rows
}

func has(t *testing.T, catalog *domain.Catalog, role, permission string) bool {
	t.Helper()
	found, ok := catalog.Role(domain.RoleKey(role))
	if !ok {
		t.Fatalf("%s has no role %s", catalog.Name, role)
	}
	index, ok := catalog.Index(domain.Permission(permission))
	if !ok {
		t.Fatalf("%s has no permission %s", catalog.Name, permission)
	}
	return found.Permissions.Has(index)
}

func want(t *testing.T, word string) bool {
	t.Helper()
	if word != "yes" && word != "-" {
		t.Fatalf("%q in the table is neither yes nor -", word)
	}
	return word == "yes"
}

// checkMatrix holds a table against a catalog and demands a line for each of
// its permissions and a column for each of its roles.
func checkMatrix(t *testing.T, name, table string) {
	t.Helper()
	catalog := load(t, name)
	lines := rows(table)
	roles := lines[0][1:]
	if len(roles) != len(catalog.Roles) {
		t.Errorf("the table has %d roles, the catalog %d", len(roles), len(catalog.Roles))
	}
	var seen []domain.Permission
	for _, line := range lines[1:] {
		for permission := range strings.SplitSeq(line[0], ",") {
			seen = append(seen, domain.Permission(permission))
			for i, role := range roles {
				if got := has(t, catalog, role, permission); got != want(t, line[1+i]) {
					t.Errorf("%s has %s: %t", role, permission, got)
				}
			}
		}
	}
	all := slices.Sorted(slices.Values(catalog.Permissions()))
	slices.Sort(seen)
	if !slices.Equal(seen, all) {
		t.Errorf("the table is about\n%v\nthe catalog about\n%v", seen, all)
	}
}

// checkActions holds a table of Roster's own actions against a catalog: who
// gets what through the mapping of actions to permissions.
func checkActions(t *testing.T, name, table string) {
	t.Helper()
	catalog := load(t, name)
	lines := rows(table)
	roles := lines[0][1:]
	var seen []string
	for _, line := range lines[1:] {
		action := slices.Index(domain.ActionNames[:], line[0])
		if action < 0 {
			t.Fatalf("there is no action %s", line[0])
		}
		seen = append(seen, line[0])
		for i, role := range roles {
			permission := catalog.Actions[domain.Action(action)]
			if got := has(t, catalog, role, string(permission)); got != want(t, line[1+i]) {
				t.Errorf("%s may %s: %t", role, line[0], got)
			}
		}
	}
	slices.Sort(seen)
	if all := slices.Sorted(slices.Values(domain.ActionNames[:])); !slices.Equal(seen, all) {
		t.Errorf("the table is about %v, Roster's actions are %v", seen, all)
	}
}

func TestDistribuMatrix(t *testing.T) {
	checkMatrix(t, "distribu", `
	permission                                 OWNER ADMIN MEMBER
	# Sign into the dashboard
	dashboard:read                             yes   yes   yes
	# View inventory, customers, orders
	inventory:read,customers:read,orders:read  yes   yes   yes
	# Create / edit products
	products:read,products:create              yes   yes   yes
	products:update                            yes   yes   yes
	# Place and manage orders
	orders:create,orders:update,orders:delete  yes   yes   yes
	# Invite new members
	team:invite                                yes   yes   -
	# Remove members
	team:remove                                yes   yes   -
	# Change a member's role
	team:change_role                           yes   -     -
	# Create / revoke API keys
	api_keys:create,api_keys:revoke            yes   yes   -
	# Configure webhooks
	webhooks:update                            yes   yes   -
	# Manage billing & subscription
	billing:read,billing:update                yes   -     -
	# Delete the company
	company:delete                             yes   -     -

	# Not in the matrix of the page. Everyone sees the Team page and the company.
	team:read,company:read                     yes   yes   yes
	# "contact support": nobody moves ownership by a permission
	company:transfer                           -     -     -
	company:update                             yes   -     -
	audit:read,audit:record                    yes   yes   -
	# The page lets everyone view these, and nobody in particular change them.
	inventory:update,products:delete           yes   yes   -
	customers:create,customers:update          yes   yes   -
	customers:delete                           yes   yes   -
	`)
	checkActions(t, "distribu", `
	action              OWNER ADMIN MEMBER
	view_team           yes   yes   yes
	rename_team         yes   -     -
	delete_team         yes   -     -
	view_members        yes   yes   yes
	invite              yes   yes   -
	change_role         yes   -     -
	remove_member       yes   yes   -
	set_overrides       yes   -     -
	grant_sites         yes   -     -
	manage_sites        yes   -     -
	define_roles        yes   -     -
	transfer_ownership  -     -     -
	manage_api_keys     yes   yes   -
	manage_webhooks     yes   yes   -
	read_audit          yes   yes   -
	record_audit        yes   yes   -
	manage_security     yes   -     -
	`)
}

func TestDZBuildMatrix(t *testing.T) {
	checkMatrix(t, "dzbuild", `
	permission                                        owner admin manager operator read_only
	# Manager: products + orders + customers
	products:read                                     yes   yes   yes     -        yes
	products:create,products:update,products:delete   yes   yes   yes     -        -
	customers:read                                    yes   yes   yes     -        yes
	customers:create,customers:update                 yes   yes   yes     -        -
	customers:delete                                  yes   yes   yes     -        -
	orders:create,orders:update,orders:delete         yes   yes   yes     -        -
	# Operator: orders only; call-confirm, mark shipped, mark delivered
	orders:read                                       yes   yes   yes     yes      yes
	orders:confirm,orders:ship,orders:deliver         yes   yes   yes     yes      -
	# Manager: cannot change settings, shipping rates, or payment methods
	settings:read                                     yes   yes   -       -        yes
	settings:update                                   yes   yes   -       -        -
	shipping_rates:read                               yes   yes   -       -        yes
	shipping_rates:create,shipping_rates:update       yes   yes   -       -        -
	shipping_rates:delete                             yes   yes   -       -        -
	payment_methods:read                              yes   yes   -       -        yes
	payment_methods:create,payment_methods:update     yes   yes   -       -        -
	payment_methods:delete                            yes   yes   -       -        -
	# Read-only: read all dashboards and reports; cannot change anything
	dashboards:read,reports:read                      yes   yes   -       -        yes
	team:read                                         yes   yes   -       -        yes
	# Admin: everything except billing and ownership transfer
	billing:read,billing:update                       yes   -     -       -        -
	ownership:transfer                                yes   -     -       -        -
	team:invite,team:change_role,team:remove          yes   yes   -       -        -

	# Not on the page.
	account:read                                      yes   yes   yes     yes      yes
	account:update                                    yes   yes   -       -        -
	account:delete                                    yes   -     -       -        -
	stores:manage,api_keys:manage,webhooks:manage     yes   yes   -       -        -
	audit:read,audit:record                           yes   yes   -       -        -
	`)
	checkActions(t, "dzbuild", `
	action              owner admin manager operator read_only
	view_team           yes   yes   yes     yes      yes
	rename_team         yes   yes   -       -        -
	delete_team         yes   -     -       -        -
	view_members        yes   yes   -       -        yes
	invite              yes   yes   -       -        -
	change_role         yes   yes   -       -        -
	remove_member       yes   yes   -       -        -
	set_overrides       yes   yes   -       -        -
	grant_sites         yes   yes   -       -        -
	manage_sites        yes   yes   -       -        -
	define_roles        yes   yes   -       -        -
	transfer_ownership  yes   -     -       -        -
	manage_api_keys     yes   yes   -       -        -
	manage_webhooks     yes   yes   -       -        -
	read_audit          yes   yes   -       -        -
	record_audit        yes   yes   -       -        -
	manage_security     yes   yes   -       -        -
	`)
}

func TestTenantsMatrix(t *testing.T) {
	checkMatrix(t, "tenants", `
	permission                         owner admin manager member viewer
	# Create offers
	trade_offers:create                yes   yes   yes     yes    -
	# Place trades
	trades:create                      yes   yes   yes     yes    -
	# View own trades
	trades:read_own                    yes   yes   yes     yes    yes
	# View all tenant trades
	trades:read                        yes   yes   yes     -      yes
	# Manage team members
	team:create,team:update            yes   yes   -       -      -
	team:delete                        yes   yes   -       -      -
	# Change roles (what a role means)
	roles:define                       yes   -     -       -      -
	# Chat in trades
	chat:write                         yes   yes   yes     yes    -
	chat:read                          yes   yes   yes     yes    yes
	# Manage settings
	settings:update                    yes   yes   -       -      -
	# Manage integrations
	integrations:read                  yes   yes   -       -      -
	integrations:create                yes   yes   -       -      -
	integrations:update                yes   yes   -       -      -
	integrations:delete                yes   yes   -       -      -
	# Delete tenant
	tenant:delete                      yes   -     -       -      -

	# Role descriptions. Manager: manage trades and offers, handle disputes.
	# Member: can only see their own trades and offers.
	trades:update,trades:delete        yes   yes   yes     -      -
	trade_offers:update                yes   yes   yes     -      -
	trade_offers:delete                yes   yes   yes     -      -
	trade_offers:read                  yes   yes   yes     -      yes
	trade_offers:read_own              yes   yes   yes     yes    yes
	disputes:handle                    yes   yes   yes     -      -
	# Admin: cannot delete the tenant or change the owner.
	ownership:transfer                 yes   -     -       -      -
	tenant:read                        yes   yes   yes     yes    yes
	tenant:update                      yes   yes   -       -      -
	# Viewer: wallet deposits and withdrawals are hidden.
	wallet:read,wallet:create          yes   yes   yes     yes    -
	wallet:update,wallet:delete        yes   yes   -       -      -
	# "giving a Member role the ability to view reports"
	reports:read                       yes   yes   yes     -      yes
	settings:read                      yes   yes   yes     -      yes
	team:read                          yes   yes   yes     yes    yes
	audit:read,audit:record            yes   yes   -       -      -
	`)
	checkActions(t, "tenants", `
	action              owner admin manager member viewer
	view_team           yes   yes   yes     yes    yes
	rename_team         yes   yes   -       -      -
	delete_team         yes   -     -       -      -
	view_members        yes   yes   yes     yes    yes
	invite              yes   yes   -       -      -
	change_role         yes   yes   -       -      -
	remove_member       yes   yes   -       -      -
	set_overrides       yes   yes   -       -      -
	grant_sites         yes   yes   -       -      -
	manage_sites        yes   yes   -       -      -
	define_roles        yes   -     -       -      -
	transfer_ownership  yes   -     -       -      -
	manage_api_keys     yes   yes   -       -      -
	manage_webhooks     yes   yes   -       -      -
	read_audit          yes   yes   -       -      -
	record_audit        yes   yes   -       -      -
	manage_security     yes   yes   -       -      -
	`)
}

// The dialog "Edit Member Permissions": the actions of each resource, and which
// of Read, Create, Update and Delete each role has.
func TestTenantsOverrideDialog(t *testing.T) {
	table := rows(`
	resource      actions                    owner admin manager member viewer
	tenant        read,update,delete         R-UD  R-U-  R---    R---   R---
	integrations  read,create,update,delete  RCUD  RCUD  ----    ----   ----
	trade_offers  read,create,update,delete  RCUD  RCUD  RCUD    -C--   R---
	trades        read,create,update,delete  RCUD  RCUD  RCUD    -C--   R---
	wallet        read,create,update,delete  RCUD  RCUD  RC--    RC--   ----
	team          read,create,update,delete  RCUD  RCUD  R---    R---   R---
	settings      read,update                R-U-  R-U-  R---    ----   R---
	reports       read                       R---  R---  R---    ----   R---
	`)
	actions := []string{"read", "create", "update", "delete"}
	catalog := load(t, "tenants")
	for i, row := range table[1:] {
		// The dialog's resources come first and in its order, each with the
		// dialog's actions before any other.
		resource := catalog.Resources()[i]
		if resource.Key != row[0] {
			t.Errorf("resource %d is %s, want %s", i, resource.Key, row[0])
			continue
		}
		dialog := strings.Split(row[1], ",")
		if own := resource.Actions[:min(len(dialog), len(resource.Actions))]; !slices.Equal(own, dialog) {
			t.Errorf("%s has the actions %v first, want %v", row[0], own, dialog)
		}
		for _, other := range resource.Actions[min(len(dialog), len(resource.Actions)):] {
			if slices.Contains(actions, other) {
				t.Errorf("%s has the action %s, which the dialog hasn't", row[0], other)
			}
		}
		for j, role := range table[0][2:] {
			got := ""
			for k, action := range actions {
				if slices.Contains(resource.Actions, action) && has(t, catalog, role, row[0]+":"+action) {
					got += "RCUD"[k : k+1]
				} else {
					got += "-"
				}
			}
			if got != row[2+j] {
				t.Errorf("%s has %s of %s, want %s", role, got, row[0], row[2+j])
			}
		}
	}
}

func TestDefaultMatrix(t *testing.T) {
	checkMatrix(t, "default", `
	permission                                     owner admin manager member viewer
	team:read,members:read                         yes   yes   yes     yes    yes
	team:update                                    yes   yes   -       -      -
	team:delete,roles:define,ownership:transfer    yes   -     -       -      -
	billing:read,billing:update                    yes   -     -       -      -
	members:invite,members:change_role             yes   yes   -       -      -
	members:set_permissions                        yes   yes   -       -      -
	members:grant_projects,members:remove          yes   yes   -       -      -
	projects:manage,api_keys:manage                yes   yes   -       -      -
	webhooks:manage,audit:read,audit:record        yes   yes   -       -      -
	security:manage                                yes   yes   -       -      -
	settings:read                                  yes   yes   yes     -      -
	settings:update                                yes   yes   -       -      -
	documents:read,products:read,orders:read       yes   yes   yes     yes    yes
	customers:read,reports:read                    yes   yes   yes     yes    yes
	documents:create,documents:update              yes   yes   yes     yes    -
	orders:create,orders:update                    yes   yes   yes     yes    -
	customers:create,customers:update              yes   yes   yes     yes    -
	products:create,products:update                yes   yes   yes     -      -
	documents:delete,products:delete               yes   yes   yes     -      -
	orders:delete,customers:delete                 yes   yes   yes     -      -
	`)
	checkActions(t, "default", `
	action              owner admin manager member viewer
	view_team           yes   yes   yes     yes    yes
	rename_team         yes   yes   -       -      -
	delete_team         yes   -     -       -      -
	view_members        yes   yes   yes     yes    yes
	invite              yes   yes   -       -      -
	change_role         yes   yes   -       -      -
	remove_member       yes   yes   -       -      -
	set_overrides       yes   yes   -       -      -
	grant_sites         yes   yes   -       -      -
	manage_sites        yes   yes   -       -      -
	define_roles        yes   -     -       -      -
	transfer_ownership  yes   -     -       -      -
	manage_api_keys     yes   yes   -       -      -
	manage_webhooks     yes   yes   -       -      -
	read_audit          yes   yes   -       -      -
	record_audit        yes   yes   -       -      -
	manage_security     yes   yes   -       -      -
	`)
}
