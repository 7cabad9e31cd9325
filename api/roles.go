package api

import (
	"context"
	"net/http"
	"time"

	"roster/commands"
	"roster/domain"
)

type roleView struct {
	Key         domain.RoleKey      `json:"key"`
	Name        string              `json:"name"`
	Level       int                 `json:"level" doc:"A higher level outranks a lower one."`
	Description string              `json:"description"`
	Permissions []domain.Permission `json:"permissions"`
	Custom      bool                `json:"custom" doc:"Whether the team defined it itself."`
	AllSites    bool                `json:"all_sites" doc:"It reaches every site without being granted there."`
	Assignable  bool                `json:"assignable" doc:"Whether the caller may give it to somebody."`
	For         []string            `json:"assignable_for" doc:"By what: invite, change_role, grant_sites."`
}

type RolePath struct {
	TeamPath
	Key domain.RoleKey `path:"role" maxLength:"40" doc:"Its key."`
}

type defineRoleInput struct {
	TeamPath
	Body struct {
		Key         domain.RoleKey   `json:"key,omitempty" maxLength:"40" doc:"Lower-case letters, digits and _; made of the name when it isn't given." example:"night_shift"`
		Name        string           `json:"name" minLength:"1" maxLength:"400" example:"Night shift"`
		Description string           `json:"description,omitempty" maxLength:"600" doc:"A sentence, shown where a role is picked."`
		Level       int              `json:"level" minimum:"1" maximum:"1000" doc:"Below your own."`
		Permissions []permissionText `json:"permissions" maxItems:"256" doc:"Of the role catalog, and among your own."`
	}
}

type editRoleInput struct {
	RolePath
	Body struct {
		Name        *string           `json:"name,omitempty" minLength:"1" maxLength:"400"`
		Description *string           `json:"description,omitempty" maxLength:"600"`
		Level       *int              `json:"level,omitempty" minimum:"1" maximum:"1000"`
		Permissions *[]permissionText `json:"permissions,omitempty" maxItems:"256" doc:"The whole set."`
	}
}

type deleteRoleInput struct {
	RolePath
	Replacement domain.RoleKey `query:"replacement" maxLength:"40" doc:"The role that those who have it get instead. Without it, a role in use is refused: role_in_use."`
}

func (s *Server) roleOperations() {
	answers(s, operation{
		id: "list-roles", method: http.MethodGet, path: "/v1/teams/{team}/roles", tag: tagRoles,
		summary: "The roles of a team", about: "Those of its role catalog and its own, from the highest level to the lowest.",
		access: authenticated, reads: readsState,
	}, s.listRoles)
	answers(s, operation{
		id: "define-role", method: http.MethodPost, path: "/v1/teams/{team}/roles", tag: tagRoles,
		summary: "Define a role of the team's own",
		about:   "Where the role catalog allows it. It ranks below the one who defines it and has nothing that they lack.",
		status:  http.StatusCreated, access: authenticated,
	}, s.defineRole)
	answers(s, operation{
		id: "edit-role", method: http.MethodPatch, path: "/v1/teams/{team}/roles/{role}", tag: tagRoles,
		summary: "Change what a role of the team's own means", about: "At once for everybody who has it.", access: authenticated,
	}, s.editRole)
	acts(s, operation{
		id: "delete-role", method: http.MethodDelete, path: "/v1/teams/{team}/roles/{role}", tag: tagRoles,
		summary: "Delete a role of the team's own",
		about:   "Whoever has it, by membership, on a site, by a pending invitation or as an API key, gets the replacement in the same change.",
		access:  authenticated,
	}, s.deleteRole)
}

func (s *Server) listRoles(ctx context.Context, x *exchange, in *TeamThenInput) (list[roleView], error) {
	moment, past, err := in.moment(s.commands.Now())
	if err != nil {
		return list[roleView]{}, err
	}
	if past {
		then, err := s.past(ctx, x, in.Team, moment, in.pointer())
		if err != nil {
			return list[roleView]{}, err
		}
		return newList(viewRoles(then.Team, x, then.At, true), ""), nil
	}
	var views []roleView
	done, err := s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, at time.Time) error {
		views = viewRoles(t, x, at, false)
		return nil
	})
	if err != nil {
		return list[roleView]{}, err
	}
	x.stands(done)
	return newList(views, ""), nil
}

// viewRoles shows the roles of a team to the caller; of the past, nobody may
// give anything.
func viewRoles(t *domain.Team, x *exchange, at time.Time, past bool) (views []roleView) {
	for _, role := range t.Roles() {
		if past {
			views = append(views, viewRole(t.Definition(role), role, nil))
			continue
		}
		views = append(views, viewRole(t.Definition(role), role, t.AssignableFor(x.caller.Actor, role, at)))
	}
	return views
}

func viewRole(definition domain.RoleDefinition, role *domain.Role, ways []string) roleView {
	return roleView{
		Key: definition.Key, Name: definition.Name, Level: definition.Level, Description: definition.Description,
		Permissions: listOf(definition.Permissions), Custom: role.Own, AllSites: role.AllSites,
		Assignable: domain.Assigned(ways), For: listOf(ways),
	}
}

func (s *Server) defineRole(ctx context.Context, x *exchange, in *defineRoleInput) (roleView, error) {
	role, done, err := s.commands.DefineRole(ctx, x.caller, in.Team, domain.RoleDefinition{
		Key: in.Body.Key, Name: in.Body.Name, Description: in.Body.Description, Level: in.Body.Level,
		Permissions: permissions(in.Body.Permissions),
	})
	if err != nil {
		return roleView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.roleNow(ctx, x, in.Team, role)
}

// roleNow answers a change to a role.
func (s *Server) roleNow(ctx context.Context, x *exchange, team domain.TeamID, role domain.RoleDefinition) (view roleView, err error) {
	_, err = s.commands.ViewTeam(ctx, x.caller, team, func(t *domain.Team, at time.Time) error {
		found, ok := t.Role(role.Key)
		if !ok { // deleted since
			view = viewRole(role, &domain.Role{Own: true}, nil)
			return nil
		}
		view = viewRole(t.Definition(found), found, t.AssignableFor(x.caller.Actor, found, at))
		return nil
	})
	return view, err
}

func (s *Server) editRole(ctx context.Context, x *exchange, in *editRoleInput) (roleView, error) {
	changes := commands.RoleChanges{Name: in.Body.Name, Description: in.Body.Description, Level: in.Body.Level}
	if in.Body.Permissions != nil {
		set := permissions(*in.Body.Permissions)
		changes.Permissions = &set
	}
	done, err := s.commands.EditRole(ctx, x.caller, in.Team, in.Key, changes)
	if err != nil {
		return roleView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.roleNow(ctx, x, in.Team, domain.RoleDefinition{Key: in.Key})
}

func (s *Server) deleteRole(ctx context.Context, x *exchange, in *deleteRoleInput) error {
	done, err := s.commands.DeleteRole(ctx, x.caller, in.Team, in.Key, in.Replacement)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}
