package catalogs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"roster/domain"
	"roster/domain/catalogs"
)

// small is about the least that a catalog can be. Its line numbers are in the
// messages below.
const small = `name: small
version: 1
labels: {product: P, team: team, teams: teams, home_team: Mine}
resources:
  - key: team
    name: Team
    actions: [read, manage]
  - {key: orders, name: Orders, actions: [read]}
roles:
  - key: owner
    name: Owner
    description: Everything.
    level: 2
    owner: true
    permissions: ["*"]
  - key: member
    name: Member
    description: Something.
    level: 1
    permissions:
      - team:read
      - orders:*
rules:
  invitation_lifetime: 168h
  transfer_lifetime: 72h
  invite_reach: up_to
  assign_reach: below
  change_role_reach: below
  remove_reach: everyone
  override_reach: nobody
  transfer_by: owner
  previous_owner_role: member
actions:
  {view_team: team:read, rename_team: team:manage, delete_team: team:manage, view_members: team:read,
   invite: team:manage, change_role: team:manage, remove_member: team:manage, set_overrides: team:manage,
   grant_sites: team:manage, manage_sites: team:manage, define_roles: team:manage,
   transfer_ownership: team:manage, manage_api_keys: team:manage, manage_webhooks: team:manage,
   read_audit: team:manage, record_audit: team:manage}
`

func TestSmallCatalog(t *testing.T) {
	for name, source := range map[string]string{
		"as it is":          small,
		"with a BOM":        "\uFEFF" + small,
		"with CRLF":         strings.ReplaceAll(small, "\n", "\r\n"),
		"after ---":         "---\n" + small,
		"a folded text":     strings.Replace(small, "Something.", ">\n      Some\n      thing.", 1),
		"a number as text":  strings.Replace(small, "Something.", "42", 1),
		"an empty list":     small + "plans: []\n",
		"a version in hexa": strings.Replace(small, "version: 1", "version: 0x10", 1),
	} {
		if _, err := catalogs.Parse("my.yaml", []byte(source)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A catalog from before there was such an action, of which every version is kept
// for good, gives it to those who may delete the team.
func TestSecurityIsForThoseWhoMayDelete(t *testing.T) {
	catalog, err := catalogs.Parse("my.yaml", []byte(strings.Replace(small, "view_team: team:read", "view_team: orders:read", 1)))
	if err != nil || catalog.Actions[domain.ActionManageSecurity] != "team:manage" {
		t.Errorf("%v, %v", catalog.Actions, err)
	}
}

func TestErrorsNameFileLineAndField(t *testing.T) {
	const reaches = `must be "below", "up_to", "everyone" or "nobody"`
	beforeActions, _, _ := strings.Cut(small, "actions:\n")
	tests := []struct {
		name     string
		old, new string // what is replaced in the small catalog; everything when old is empty
		want     string // one message a line, each after "my.yaml:"
	}{
		{"empty", "", "", "1: is empty; default.yaml of Roster shows what a role catalog looks like"},
		{"comments only", "", "# nothing\n", "1: is empty; default.yaml of Roster shows what a role catalog looks like"},
		{"no mapping", "", "\n- a\n", "2: must have the fields name, version, labels, resources, roles, plans, rules, actions"},
		{"null", "", "~", "1: has no value; give it one or leave it out"},
		{"two documents", "roles:\n", "---\nroles:\n", `9: must hold one catalog, so no second "---"`},
		{"a broken second document", "roles:\n", "---\nroles: a: b\n", "10: is not YAML: mapping values are not allowed in this context"},
		{"tab", "version: 1", "version:\n\t- 1", "3: is not YAML: found character that cannot start any token"},
		{"unclosed list", "actions: [read]}", "actions: [read", "8: is not YAML here or below: did not find expected ',' or ']'"},
		{"null at the end", "", "---", "1: has no value; give it one or leave it out"},
		{"unclosed at the end", "", "\na: {", "2: is not YAML here or below: did not find expected node content"},
		{"wrong indent", "    name: Member", "   name: Member", "10: is not YAML here or below: did not find expected '-' indicator"},
		{"first line", "name: small", "name: a: b", "1: is not YAML: mapping values are not allowed in this context"},
		{"not UTF-8", "Something.", "Some\xffthing.", "18: is not text in UTF-8"},
		{"binary", "Something.", "Some\x00thing.", "18: is not text in UTF-8"},
		{"unknown anchor", "level: 1", "level: *one", "19: is not YAML: unknown anchor 'one' referenced"},

		{"unknown field", "    level: 1\n", "    levle: 1\n", "" +
			"16: roles[1].level: must be from 1 to 1000\n" +
			"19: roles[1].levle: is no field here; known are key, name, description, level, owner, all_sites, permissions, except"},
		{"unknown section", "rules:\n", "extra: {a: [b, {c: d}]}\nrules:\n", "23: extra: is no field here; known are name, version, labels, resources, roles, plans, rules, actions"},
		{"merge key", "    level: 1\n", "    level: 1\n    <<: {owner: true}\n", `20: roles[1]."<<": is no name: a name has letters, digits, _ and -, at most 60`},
		{"field twice", "    level: 1\n", "    level: 1\n    level: 2\n", "20: roles[1].level: is there already, in line 19"},
		{"hostile name", "    level: 1\n", "    level: 1\n    \"\\e[2J\": 1\n", `20: roles[1]."\x1b[2J": is no name: a name has letters, digits, _ and -, at most 60`},
		{"list as name", "    level: 1\n", "    level: 1\n    ? [a]\n    : 1\n", `20: roles[1]."": is no name: a name has letters, digits, _ and -, at most 60`},
		{"anchor", "level: 1", "level: &one 1", "19: roles[1].level: must be written out: anchors (&) and aliases (*) are not read"},
		{"alias", "    permissions: [\"*\"]\n", "    permissions: &all [\"*\"]\n    except: *all\n", "" +
			"15: roles[0].permissions: must be written out: anchors (&) and aliases (*) are not read\n" +
			"16: roles[0].except: must be written out: anchors (&) and aliases (*) are not read"},
		{"tag", "level: 1", "level: !!int 1", "19: roles[1].level: must have no tag (!)"},
		{"no value", "    level: 1\n", "    level:\n", "19: roles[1].level: has no value; give it one or leave it out"},
		{"no whole number", "version: 1", "version: 1.5", "2: version: must be a whole number"},
		{"too large a number", "version: 1", "version: 99999999999999999999", "2: version: must be a whole number"},
		{"list for a number", "version: 1", "version: [1]", "2: version: must be a whole number"},
		{"yes for true", "owner: true", "owner: yes", "14: roles[0].owner: must be true or false"},
		{"no duration", "168h", "7d", "24: rules.invitation_lifetime: must be a duration in hours or smaller units: 168h (7 days), 90m"},
		{"number for a duration", "168h", "168", "24: rules.invitation_lifetime: must be a duration in hours or smaller units: 168h (7 days), 90m"},
		{"list for text", "name: Member", "name: [Member]", "17: roles[1].name: must be text"},
		{"two lines of text", "Something.", `"Some\nthing."`, "18: roles[1].description: must be one line, without control characters"},
		{"very long text", "Something.", strings.Repeat("x", 1001), "18: roles[1].description: is longer than 1000 bytes"},
		{"text for a list", "actions: [read, manage]", "actions: read", "7: resources[0].actions: must be a list"},
		{"text for a section", "rules:\n", "plans:\n  - free\nrules:\n  upgrade_url: /plans\n", "24: plans[0]: must have the fields key, name, seats, two_factor"},
		{"too long a list", "[\"*\"]", "[" + strings.Repeat("team:read,", 257) + "]", "15: roles[0].permissions: has more than 256 items"},
		{"text for a table", "", beforeActions + "actions: all\n", "33: actions: must have lines of the form name: text"},

		{"bad key", "name: small", "name: my catalog", "1: name: must start with a letter and hold only letters, digits and _, at most 40"},
		{"no version", "version: 1\n", "", "1: version: must be 1 or more, and higher than before with every change"},
		{"missing label", "team: team, ", "", "3: labels.team: is required"},
		{"long label", "product: P", "product: " + strings.Repeat("p", 61), "3: labels.product: is longer than 60 bytes"},
		{"site labels", "rules:\n", "rules:\n  sites: true\n", "3: labels.site: is required\n3: labels.sites: is required"},
		{"no resources", "", strings.Replace(small, small[strings.Index(small, "resources:"):strings.Index(small, "roles:")], "", 1),
			"1: resources: at least one resource is required"},
		{"resource twice", "key: orders", "key: team", "" +
			`8: resources[1].key: "team" is defined twice` + "\n" +
			`8: resources[1].actions[0]: "team:read" is defined twice` + "\n" +
			`22: roles[1].permissions[1]: "orders:*" is no permission of the resources above`},
		{"bad scope", "name: Orders", "name: Orders, scope: world", `8: resources[1].scope: must be "team" or "site"`},
		{"site without sites", "name: Orders", "name: Orders, scope: site", "23: rules.sites: must be true, since a resource above belongs to a site"},
		{"no actions", "actions: [read]", "actions: []", "8: resources[1].actions: at least one action is required"},
		{"bad action", "actions: [read]", "actions: [read, 2nd]", "8: resources[1].actions[1]: must start with a letter and hold only letters, digits and _, at most 40"},
		{"unknown permission", "- team:read", "- team:raed", `21: roles[1].permissions[0]: "team:raed" is no permission of the resources above`},
		{"unknown exception", "    permissions:\n", "    except: [x]\n    permissions:\n", `20: roles[1].except[0]: "x" is no permission of the resources above`},
		{"role twice", "key: member", "key: OWNER", "" +
			`16: roles[1].key: "OWNER" is defined twice (upper and lower case are the same)` + "\n" +
			"32: rules.previous_owner_role: must be a role above that isn't the owner's"},
		{"no description", "    description: Something.\n", "", "16: roles[1].description: is required"},
		{"level too high", "    level: 1\n", "    level: 2000\n", "" +
			"19: roles[1].level: must be from 1 to 1000\n" +
			"19: roles[1].level: must be below the owner's level 2"},
		{"two owners", "    level: 1\n", "    level: 1\n    owner: true\n", "" +
			`20: roles[1].owner: exactly one role is the owner's; "owner" is already` + "\n" +
			"33: rules.previous_owner_role: must be a role above that isn't the owner's"},
		{"no owner", "    owner: true\n", "", "9: roles: exactly one role must have owner: true"},
		{"no seats", "rules:\n", "plans: [{key: free, name: Free, seats: -1}]\nrules:\n  upgrade_url: /plans\n", "23: plans[0].seats: must be from 0 to 1000000; leave it out for no limit"},
		{"no upgrade", "rules:\n", "plans: [{key: free, name: Free}]\nrules:\n", "24: rules.upgrade_url: is required where there are plans: a path such as /dashboard/subscribe, or an http(s) URL"},
		{"plan twice", "rules:\n", "plans:\n- {key: a, name: A}\n- {key: a, name: ''}\nrules:\n  upgrade_url: /plans\n", "" +
			`25: plans[1].key: "a" is defined twice` + "\n25: plans[1].name: is required"},
		{"short lifetime", "72h", "59s", "25: rules.transfer_lifetime: must be from 1m to 8760h"},
		{"bad reach", "remove_reach: everyone", "remove_reach: all", "29: rules.remove_reach: " + reaches},
		{"no reach", "  remove_reach: everyone\n", "", "23: rules.remove_reach: " + reaches},
		{"inviting everyone", "invite_reach: up_to", "invite_reach: everyone", `26: rules.invite_reach: can't be "everyone": nobody grants a role above their own`},
		{"assigning everyone", "assign_reach: below", "assign_reach: everyone", `27: rules.assign_reach: can't be "everyone": nobody grants a role above their own`},
		{"two-factor where the plans say it", "rules:\n", "plans: [{key: free, name: Free}]\nrules:\n  upgrade_url: /plans\n  two_factor: true\n",
			"26: rules.two_factor: is for a catalog without plans; each plan has a two_factor of its own"},
		{"bad transfer", "transfer_by: owner", "transfer_by: anyone", `31: rules.transfer_by: must be "owner" or "operator"`},
		{"unknown action", "{view_team: team:read,", "{view_team: team:read, fly: team:read,", "34: actions.fly: is none of Roster's actions: view_team, " +
			"rename_team, delete_team, view_members, invite, change_role, remove_member, set_overrides, grant_sites, manage_sites, " +
			"define_roles, transfer_ownership, manage_api_keys, manage_webhooks, read_audit, record_audit, manage_security"},
		{"missing action", ", record_audit: team:manage", "", "33: actions: record_audit is required"},
		{"optional action by an unknown permission", "record_audit: team:manage", "record_audit: team:manage, manage_security: team:fly",
			`38: actions.manage_security: "team:fly" is no permission of the resources above`},
		{"the action that an optional one is like is unknown", "delete_team: team:manage", "delete_team: team:fly",
			`34: actions.delete_team: "team:fly" is no permission of the resources above`},
		{"action by an unknown permission", "read_audit: team:manage", "read_audit: team:fly", `38: actions.read_audit: "team:fly" is no permission of the resources above`},

		{"what only follows is left out", "    level: 2\n    owner: true\n", "    level: 2\n    owner: 1\n", "14: roles[0].owner: must be true or false"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source := test.new
			if test.old != "" {
				if source = strings.Replace(small, test.old, test.new, 1); source == small {
					t.Fatalf("%q isn't in the small catalog", test.old)
				}
			}
			checkErrors(t, source, test.want)
		})
	}
}

// checkErrors compares the messages; each line of want lacks "my.yaml:".
func checkErrors(t *testing.T, source, want string) {
	t.Helper()
	catalog, err := catalogs.Parse("my.yaml", []byte(source))
	if err == nil {
		t.Fatal("no error")
	}
	if catalog != nil {
		t.Error("a catalog beside the error")
	}
	if want = "my.yaml:" + strings.ReplaceAll(want, "\n", "\nmy.yaml:"); err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var first *catalogs.Error
	if !errors.As(err, &first) || first.File != "my.yaml" || first.Line < 1 {
		t.Errorf("errors.As finds %+v", first)
	}
}

func TestAllProblemsAtOnceByLine(t *testing.T) {
	source := strings.NewReplacer(
		"version: 1", "version: 0",
		"product: P, ", "",
		"name: Orders", "colour: red",
		"level: 1", "level: one",
		"- orders:*", "- order:*",
		"168h", "a week",
		"nobody", "no one",
		"record_audit: team:manage", "record_audit: audit:record",
	).Replace(small)
	checkErrors(t, source, ""+
		"2: version: must be 1 or more, and higher than before with every change\n"+
		"3: labels.product: is required\n"+
		"8: resources[1].colour: is no field here; known are key, name, scope, actions\n"+
		"8: resources[1].name: is required\n"+
		"19: roles[1].level: must be a whole number\n"+
		`22: roles[1].permissions[1]: "order:*" is no permission of the resources above`+"\n"+
		"24: rules.invitation_lifetime: must be a duration in hours or smaller units: 168h (7 days), 90m\n"+
		`30: rules.override_reach: must be "below", "up_to", "everyone" or "nobody"`+"\n"+
		`38: actions.record_audit: "audit:record" is no permission of the resources above`)
}

// One slip in the resources or roles isn't followed by complaints about
// everything that builds on them.
func TestConsequencesAreLeftOut(t *testing.T) {
	for old, test := range map[string]struct{ new, want string }{
		"\nresources:": {"\nresuorces:", "" +
			"1: resources: at least one resource is required\n" +
			"4: resuorces: is no field here; known are name, version, labels, resources, roles, plans, rules, actions"},
		"    actions:": {"    acitons:", "" +
			"5: resources[0].actions: at least one action is required\n" +
			"7: resources[0].acitons: is no field here; known are key, name, scope, actions"},
		"    actions: [read, manage]": {"    actions: read", "7: resources[0].actions: must be a list"},
		"  - key: team":               {"  - key: [team]", "5: resources[0].key: must be text"},
		"  - key: member":             {"  - key: {}", "16: roles[1].key: must be text"},
		"owner: true":                 {"owner: 1", "14: roles[0].owner: must be true or false"},
		"labels: {product: P, team: team, teams: teams, home_team: Mine}": {"labels: P", "3: labels: must have the fields product, team, teams, site, sites, home_team"},
	} {
		t.Run(test.new, func(t *testing.T) { checkErrors(t, strings.Replace(small, old, test.new, 1), test.want) })
	}
}

func TestErrorsAreFewAndShort(t *testing.T) {
	_, err := catalogs.Parse("my.yaml", []byte(strings.Repeat("- :\n", 10)+strings.Repeat("x", 300)))
	if err == nil {
		t.Fatal("no error")
	}
	var source strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&source, "field%d: 1\n", i)
	}
	_, err = catalogs.Parse("my.yaml", []byte(source.String()))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 101 || !strings.HasPrefix(lines[100], "my.yaml: and ") || !strings.HasSuffix(lines[100], " more problems") {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

// Files that are small and cost a careless reader much.
func TestHostileFiles(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 8), c-1)
	}
	// 100 roles of 200 unknown permissions each and 15,000 unknown fields.
	problems := "roles:\n" + strings.Repeat("- permissions: ["+strings.Repeat("a:b,", 200)+"]\n", 100)
	for i := range 15_000 {
		problems += fmt.Sprintf("x%d: 1\n", i)
	}
	for name, source := range map[string]string{
		"problems":     problems,
		"aliases":      bomb,
		"deep lists":   "roles: " + strings.Repeat("[", 100_000),
		"deep tables":  strings.Repeat("{roles: ", 9_000) + strings.Repeat("}", 9_000),
		"deep items":   "roles:\n" + strings.Repeat("- ", 9_000),
		"self":         "roles: &a [*a]",
		"many items":   small + "plans:\n" + strings.Repeat("- x\n", 60_000),
		"many fields":  strings.Repeat("x:\n", 80_000),
		"many docs":    strings.Repeat("---\n", 60_000),
		"one long key": strings.Repeat("k", 200_000) + ": 1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := catalogs.Parse("my.yaml", []byte(source))
			if err == nil {
				t.Fatal("no error")
			}
			if len(err.Error()) > 20_000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	for _, name := range catalogs.Names() {
		source, _ := catalogs.Builtin(name)
		f.Add(source)
	}
	for _, seed := range []string{
		"", "~", "[]", "a: &a [*a]", "<<: {name: x}", "roles: [{level: 9999999999999999999}]", "\uFEFFname: x",
		"actions: {view_team: }", "actions: {? [a] : b}", "rules: {invitation_lifetime: -1h}", "plans: [{seats: 0x7fffffffffffffff}]",
		"resources: [{key: a, actions: [a, a, \"a:b\"]}]", "name: !!binary aGk=", "--- |\n a\n---\n", "%YAML 1.1\n---\nname: x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		catalog, err := catalogs.Parse("f.yaml", source)
		if (catalog == nil) == (err == nil) {
			t.Fatalf("catalog %v, error %v", catalog, err)
		}
		if err == nil {
			if owner := catalog.OwnerRole(); owner == nil || catalog.Roles[0] != owner {
				t.Fatalf("the owner's role is %v, the highest is %v", owner, catalog.Roles[0])
			}
			return
		}
		// Each problem is one line that starts with the file and a line in it.
		count := 1 + strings.Count(string(source), "\n")
		for line := range strings.SplitSeq(err.Error(), "\n") {
			var number int
			if _, scan := fmt.Sscanf(line, "f.yaml:%d:", &number); scan != nil && !strings.HasPrefix(line, "f.yaml: and ") {
				t.Fatalf("%q doesn't start with the file and line", line)
			}
			if number > count {
				t.Fatalf("%q: the file has %d lines", line, count)
			}
			if strings.ContainsFunc(line, unicode.IsControl) {
				t.Fatalf("%q has a control character", line)
			}
		}
	})
}
