package domain

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Problem is one thing wrong with a catalog. Path leads to the field
// ("roles[2].permissions[0]"), so that whoever read the file can add the line.
type Problem struct {
	Path   string
	Detail string
}

var (
	keyPattern  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,39}$`)
	linkPattern = regexp.MustCompile(`^(/|https?://)[^/\s]\S*$`)
	reaches     = []Reach{ReachBelow, ReachEqual, ReachNone, ReachAny}
)

const (
	maxRoles  = 64
	maxLevel  = 1000
	maxPlans  = 32
	maxSeats  = 1_000_000
	maxLabel  = 60
	maxPhrase = 300
	maxExpiry = 365 * 24 * time.Hour
)

// NewCatalog checks what a catalog file states and compiles it. It reports
// every problem it finds, not just the first.
func NewCatalog(spec CatalogSpec) (*Catalog, []Problem) {
	b := &catalogBuilder{
		catalog: &Catalog{
			Name:    spec.Name,
			Version: spec.Version,
			Actions: map[Action]Permission{},
			index:   map[Permission]int{},
		},
	}
	b.identity(spec)
	b.resources(spec.Resources)
	b.roles(spec.Roles)
	b.plans(spec.Plans)
	b.rules(spec.Rules)
	b.actions(spec.Actions)
	if len(b.problems) > 0 {
		return nil, b.problems
	}
	return b.catalog, nil
}

type catalogBuilder struct {
	catalog  *Catalog
	problems []Problem
}

func (b *catalogBuilder) problem(path, format string, args ...any) {
	b.problems = append(b.problems, Problem{Path: path, Detail: fmt.Sprintf(format, args...)})
}

func (b *catalogBuilder) key(path, key string) {
	if !keyPattern.MatchString(key) {
		b.problem(path, "must start with a letter and hold only letters, digits and _, at most 40")
	}
}

func (b *catalogBuilder) text(path, text string, longest int) {
	if strings.TrimSpace(text) == "" {
		b.problem(path, "is required")
	} else if len(text) > longest {
		b.problem(path, "is longer than %d bytes", longest)
	}
}

func (b *catalogBuilder) identity(spec CatalogSpec) {
	b.key("name", spec.Name)
	if spec.Version < 1 {
		b.problem("version", "must be 1 or more, and higher than before with every change")
	}
	labels := spec.Labels
	b.text("labels.product", labels.Product, maxLabel)
	b.text("labels.team", labels.Team, maxLabel)
	b.text("labels.teams", labels.Teams, maxLabel)
	b.text("labels.home_team", labels.HomeTeam, maxLabel)
	if spec.Rules.Sites {
		b.text("labels.site", labels.Site, maxLabel)
		b.text("labels.sites", labels.Sites, maxLabel)
	}
	b.catalog.Labels = Labels(labels)
}

func (b *catalogBuilder) resources(specs []ResourceSpec) {
	if len(specs) == 0 {
		b.problem("resources", "at least one resource is required")
	}
	seen := map[string]bool{}
	for i, spec := range specs {
		path := fmt.Sprintf("resources[%d]", i)
		b.key(path+".key", spec.Key)
		if seen[spec.Key] {
			b.problem(path+".key", "%q is defined twice", spec.Key)
		}
		seen[spec.Key] = true
		b.text(path+".name", spec.Name, maxLabel)
		if spec.Scope != "" && spec.Scope != "team" && spec.Scope != "site" {
			b.problem(path+".scope", `must be "team" or "site"`)
		}
		if len(spec.Actions) == 0 {
			b.problem(path+".actions", "at least one action is required")
		}
		for j, action := range spec.Actions {
			at := fmt.Sprintf("%s.actions[%d]", path, j)
			b.key(at, action)
			permission := Permission(spec.Key + ":" + action)
			if _, twice := b.catalog.index[permission]; twice {
				b.problem(at, "%q is defined twice", permission)
				continue
			}
			index := len(b.catalog.permissions)
			if index == MaxPermissions {
				b.problem(at, "a catalog has at most %d permissions", MaxPermissions)
				return
			}
			b.catalog.index[permission] = index
			b.catalog.permissions = append(b.catalog.permissions, permission)
			if spec.Scope == "site" {
				b.catalog.scoped.Add(index)
			}
		}
		b.catalog.resources = append(b.catalog.resources, Resource{
			Key: spec.Key, Name: spec.Name, Site: spec.Scope == "site", Actions: slices.Clone(spec.Actions),
		})
	}
}

// expand reads a list of permissions with "*" and "orders:*".
func (b *catalogBuilder) expand(path string, patterns []string) (set PermissionSet) {
	for i, pattern := range patterns {
		found := false
		for index, permission := range b.catalog.permissions {
			resource, _, _ := strings.Cut(string(permission), ":")
			if pattern == "*" || pattern == string(permission) || pattern == resource+":*" {
				set.Add(index)
				found = true
			}
		}
		if !found {
			b.problem(fmt.Sprintf("%s[%d]", path, i), "%q is no permission of the resources above", pattern)
		}
	}
	return set
}

func (b *catalogBuilder) roles(specs []RoleSpec) {
	if len(specs) > maxRoles {
		b.problem("roles", "a catalog has at most %d roles", maxRoles)
	}
	seen := map[string]bool{}
	for i, spec := range specs {
		path := fmt.Sprintf("roles[%d]", i)
		b.key(path+".key", spec.Key)
		if fold := strings.ToLower(spec.Key); seen[fold] {
			b.problem(path+".key", "%q is defined twice (upper and lower case are the same)", spec.Key)
		} else {
			seen[fold] = true
		}
		b.text(path+".name", spec.Name, maxLabel)
		b.text(path+".description", spec.Description, maxPhrase)
		if spec.Level < 1 || spec.Level > maxLevel {
			b.problem(path+".level", "must be from 1 to %d", maxLevel)
		}
		role := &Role{
			Key: RoleKey(spec.Key), Name: spec.Name, Description: spec.Description, Level: spec.Level,
			Owner: spec.Owner, AllSites: spec.AllSites || spec.Owner,
			Permissions: b.expand(path+".permissions", spec.Permissions).Minus(b.expand(path+".except", spec.Except)),
		}
		b.catalog.Roles = append(b.catalog.Roles, role)
		if spec.Owner {
			if b.catalog.owner != nil {
				b.problem(path+".owner", "exactly one role is the owner's; %q is already", b.catalog.owner.Key)
			}
			b.catalog.owner = role
		}
	}
	if b.catalog.owner == nil {
		b.problem("roles", "exactly one role must have owner: true")
		return
	}
	for i, role := range b.catalog.Roles {
		if valid := b.catalog.owner.Level >= 1; valid && !role.Owner && role.Level >= b.catalog.owner.Level {
			b.problem(fmt.Sprintf("roles[%d].level", i), "must be below the owner's level %d", b.catalog.owner.Level)
		}
	}
	slices.SortStableFunc(b.catalog.Roles, func(x, y *Role) int { return y.Level - x.Level })
}

func (b *catalogBuilder) plans(specs []PlanSpec) {
	if len(specs) > maxPlans {
		b.problem("plans", "a catalog has at most %d plans", maxPlans)
	}
	for i, spec := range specs {
		path := fmt.Sprintf("plans[%d]", i)
		b.key(path+".key", spec.Key)
		if _, twice := b.catalog.Plan(spec.Key); twice {
			b.problem(path+".key", "%q is defined twice", spec.Key)
		}
		b.text(path+".name", spec.Name, maxLabel)
		seats := NoLimit
		if spec.Seats != nil {
			seats = *spec.Seats
			if seats < 0 || seats > maxSeats {
				b.problem(path+".seats", "must be from 0 to %d; leave it out for no limit", maxSeats)
			}
		}
		b.catalog.Plans = append(b.catalog.Plans, &Plan{Key: spec.Key, Name: spec.Name, Seats: seats, TwoFactor: spec.TwoFactor})
	}
}

func (b *catalogBuilder) rules(spec RulesSpec) {
	b.lifetime("rules.invitation_lifetime", spec.InvitationLifetime)
	b.lifetime("rules.transfer_lifetime", spec.TransferLifetime)
	rules := Rules{
		InvitationLifetime: spec.InvitationLifetime,
		TransferLifetime:   spec.TransferLifetime,
		InviteReach:        b.reach("rules.invite_reach", spec.InviteReach),
		AssignReach:        b.reach("rules.assign_reach", spec.AssignReach),
		ChangeRoleReach:    b.reach("rules.change_role_reach", spec.ChangeRoleReach),
		RemoveReach:        b.reach("rules.remove_reach", spec.RemoveReach),
		OverrideReach:      b.reach("rules.override_reach", spec.OverrideReach),
		Sites:              spec.Sites,
		Overrides:          spec.Overrides,
		CustomRoles:        spec.CustomRoles,
		Leaving:            spec.Leaving,
		TwoFactor:          spec.TwoFactor,
		TransferBy:         TransferBy(spec.TransferBy),
		OwnerTakesSeat:     spec.OwnerTakesSeat,
		HomeTeamForInvited: spec.HomeTeamForInvited,
		UpgradeURL:         spec.UpgradeURL,
	}
	// Inviting and assigning hand out a role, so "everyone" would let people
	// grant more than they have.
	const tooFar = `can't be "everyone": nobody grants a role above their own`
	if rules.InviteReach == ReachAny {
		b.problem("rules.invite_reach", tooFar)
	}
	if rules.AssignReach == ReachAny {
		b.problem("rules.assign_reach", tooFar)
	}
	if rules.TransferBy != TransferByOwner && rules.TransferBy != TransferByOperator {
		b.problem("rules.transfer_by", `must be "owner" or "operator"`)
	}
	if role, ok := b.catalog.Role(RoleKey(spec.PreviousOwnerRole)); !ok || role.Owner {
		b.problem("rules.previous_owner_role", "must be a role above that isn't the owner's")
	} else {
		rules.PreviousOwnerRole = role.Key
	}
	if len(b.catalog.Plans) > 0 && !linkPattern.MatchString(rules.UpgradeURL) {
		b.problem("rules.upgrade_url", "is required where there are plans: a path such as /dashboard/subscribe, or an http(s) URL")
	}
	if len(b.catalog.Plans) > 0 && rules.TwoFactor {
		b.problem("rules.two_factor", "is for a catalog without plans; each plan has a two_factor of its own")
	}
	for i, plan := range b.catalog.Plans {
		if rules.OwnerTakesSeat && plan.Seats == 0 {
			b.problem(fmt.Sprintf("plans[%d].seats", i), "must be 1 or more where the owner takes a seat")
		}
	}
	if !rules.Sites && !b.catalog.scoped.Empty() {
		b.problem("rules.sites", "must be true, since a resource above belongs to a site")
	}
	b.catalog.Rules = rules
}

func (b *catalogBuilder) lifetime(path string, lifetime time.Duration) {
	if lifetime < time.Minute || lifetime > maxExpiry {
		b.problem(path, "must be from 1m to %dh", int(maxExpiry/time.Hour))
	}
}

func (b *catalogBuilder) reach(path, value string) Reach {
	if !slices.Contains(reaches, Reach(value)) {
		b.problem(path, `must be "below", "up_to", "everyone" or "nobody"`)
	}
	return Reach(value)
}

func (b *catalogBuilder) actions(specs map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		if !slices.Contains(ActionNames[:], name) {
			b.problem("actions."+name, "is none of Roster's actions: %s", strings.Join(ActionNames[:], ", "))
		}
	}
	for action, name := range ActionNames {
		permission, ok := specs[name]
		index, known := b.catalog.index[Permission(permission)]
		_, optional := actionDefaults[Action(action)]
		switch {
		case !ok && optional:
		case !ok:
			b.problem("actions", "%s is required", name)
		case !known:
			b.problem("actions."+name, "%q is no permission of the resources above", permission)
		default:
			b.catalog.Actions[Action(action)] = Permission(permission)
			b.catalog.actionIndex[action] = index
		}
	}
	for action, like := range actionDefaults {
		if _, stated := specs[action.String()]; !stated {
			b.catalog.Actions[action], b.catalog.actionIndex[action] = b.catalog.Actions[like], b.catalog.actionIndex[like]
		}
	}
}
