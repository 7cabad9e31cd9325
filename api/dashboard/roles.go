package dashboard

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/a-h/templ"
)

const rolesPath = "/dashboard/settings/roles"

func rolesPage(v *visit) error {
	roles, err := v.roles()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, rolesView(v, roles))
}

// defines tells whether the reader may define roles here.
func (v *visit) defines() bool { return v.catalog.Rules.CustomRoles && v.team.may("define_roles") }

func (r *Role) can(permission string) bool { return slices.Contains(r.Permissions, permission) }

// roleForm is what the form of a role needs to be shown.
type roleForm struct {
	roles roleBook
	held  held // by the reader, who gives nothing else
	level int  // of the reader, who defines below it
	role  *Role
}

// roleForm reads that; key is empty for a new role.
func (v *visit) roleForm(key string) (*roleForm, error) {
	if !v.defines() {
		return nil, denied("Your role doesn't let you define roles.")
	}
	roles, err := v.roles()
	if err != nil {
		return nil, err
	}
	f := &roleForm{roles: roles, level: roles.find(v.team.Role).Level}
	if f.held, err = v.held(roles); err != nil || key == "" {
		return f, err
	}
	for i := range roles {
		if roles[i].Key == key && roles[i].Custom {
			f.role = &roles[i]
			return f, nil
		}
	}
	return nil, absent("There is no such role of your own.")
}

// given fills a form with what a role means.
func (f *Form) given(role *Role) {
	f.Set("level", strconv.Itoa(role.Level))
	f.Values["permissions"] = role.Permissions
}

func newRolePage(v *visit) error {
	f, err := v.roleForm("")
	if err != nil {
		return err
	}
	form := v.form()
	for i := range f.roles {
		if f.roles[i].Key == v.r.FormValue("from") && i > 0 {
			form.given(&f.roles[i])
			form.Set("level", strconv.Itoa(min(f.roles[i].Level, f.level-1)))
		}
	}
	return v.show(http.StatusOK, newRoleView(v, f, form))
}

// meaning is what the form says that a role is to mean.
func (f *Form) meaning() (map[string]any, error) {
	level, err := strconv.Atoi(f.Get("level"))
	if err != nil {
		return nil, faulty("level", "must be a whole number")
	}
	return map[string]any{
		"name": f.Get("name"), "description": f.Get("description"), "level": level, "permissions": list(f.Values["permissions"]),
	}, nil
}

func defineRole(v *visit) error {
	form := v.filled()
	want, err := form.meaning()
	if err == nil {
		_, err = v.send(http.MethodPost, v.teamPath("/roles"), want, nil)
	}
	if err != nil {
		f, unknown := v.roleForm("")
		if unknown != nil {
			return unknown
		}
		return v.again(err, form, func(form *Form) templ.Component { return newRoleView(v, f, form) })
	}
	return v.done(rolesPath, "The role was defined. It can be given to members now.")
}

func editRolePage(v *visit) error {
	f, err := v.roleForm(v.part("role"))
	if err != nil {
		return err
	}
	form := v.form()
	form.given(f.role)
	form.Set("name", f.role.Name)
	form.Set("description", f.role.Description)
	return v.show(http.StatusOK, editRoleView(v, f, form))
}

// Effects are who would gain and lose what by a change.
type Effects struct {
	Total   int      `json:"total"`
	Effects []Effect `json:"effects"`
}

// Effect is what one member or API key would gain and lose.
type Effect struct {
	Who struct {
		Type string `json:"type"`
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"who"`
	SiteID   string   `json:"site_id"`
	SiteName string   `json:"site_name"`
	Gained   []string `json:"gained"`
	Lost     []string `json:"lost"`
}

// The steps of editing a role: what it would do is shown before it is done.
const (
	stepEdit = "edit"
	stepSave = "save"
)

func editRole(v *visit) error {
	form := v.filled()
	f, err := v.roleForm(v.part("role"))
	if err != nil {
		return err
	}
	step := form.Get("step")
	if step == stepEdit {
		return v.show(http.StatusOK, editRoleView(v, f, form))
	}
	want, err := form.meaning()
	if err == nil && step == stepSave {
		if _, err = v.send(http.MethodPatch, v.at("roles", f.role.Key), want, nil); err == nil {
			return v.done(rolesPath, "The role was changed, for everybody who has it.")
		}
	}
	var effects Effects
	if err == nil {
		ask := map[string]any{"edit_role": map[string]any{"key": f.role.Key, "level": want["level"], "permissions": want["permissions"]}}
		_, err = v.send(http.MethodPost, v.teamPath("/what-if"), ask, &effects)
	}
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return editRoleView(v, f, form) })
	}
	return v.show(http.StatusOK, previewRoleView(v, f, effects, form))
}

// roleUse is who has a role that is to be deleted.
type roleUse struct {
	role    *Role
	roles   roleBook
	members []Member // the first of them
	more    int      // how many members there are beside those
	invited int
	keys    int
}

func (u *roleUse) any() bool { return len(u.members)+u.more+u.invited+u.keys > 0 }

const holdersNamed = 8

func (v *visit) roleUse() (*roleUse, error) {
	f, err := v.roleForm(v.part("role"))
	if err != nil {
		return nil, err
	}
	use := &roleUse{role: f.role, roles: f.roles}
	_, err = v.send(http.MethodPost, v.teamPath("/what-if"), map[string]any{"delete_role": map[string]any{"key": f.role.Key}}, nil)
	if !hasCode(err, "role_in_use") {
		return use, err
	}
	problem, _ := errors.AsType[*Problem](err)
	var holders struct {
		Holders     int      `json:"holders"`
		Members     []string `json:"members"`
		Invitations []string `json:"invitations"`
		Keys        []string `json:"api_keys"`
	}
	if err := json.Unmarshal(problem.body, &holders); err != nil {
		return nil, err
	}
	use.invited, use.keys = len(holders.Invitations), len(holders.Keys)
	for _, id := range holders.Members[:min(len(holders.Members), holdersNamed)] {
		member, err := v.person(id)
		if err != nil {
			return nil, err
		}
		if member != nil {
			use.members = append(use.members, *member)
		}
	}
	use.more = holders.Holders - use.invited - use.keys - len(use.members)
	return use, nil
}

func deleteRolePage(v *visit) error {
	use, err := v.roleUse()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, deleteRoleView(v, use, v.form()))
}

func deleteRole(v *visit) error {
	form := v.filled()
	use, err := v.roleUse()
	if err != nil {
		return err
	}
	path := v.at("roles", use.role.Key)
	if replacement := form.Get("replacement"); replacement != "" {
		path += "?replacement=" + url.QueryEscape(replacement)
	}
	if _, err := v.send(http.MethodDelete, path, nil, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return deleteRoleView(v, use, form) })
	}
	return v.done(rolesPath, "The role was deleted.")
}

// has tells whether a field that may be given several times has a value.
func (f *Form) has(field, value string) bool { return slices.Contains(f.Values[field], value) }
