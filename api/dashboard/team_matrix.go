package dashboard

import (
	"net/http"
	"slices"
	"time"

	"github.com/a-h/templ"
)

// overrideMatrix is every permission of the catalog for one member: a row for
// each resource, a column for each of the four actions that most have, and one
// for all others.
type overrideMatrix struct {
	columns []string
	rows    []overrideRow
	changed *overridesChanged
}

type overrideRow struct {
	Resource
	cells []overrideCell // one for each column; without a permission where the resource lacks the action
	other []overrideCell // of actions that have no column
}

// overrideCell is one permission of one member.
type overrideCell struct {
	permission string
	action     string
	label      string
	byRole     bool   // the role in the team gives it
	bySite     bool   // the roles on sites decide
	site       string // what a site is called
	chosen     string // one of the three states
	grantable  bool   // the reader has it to give
	had        string // the state in force
}

// The three states of a cell.
const (
	cellInherited = ""
	cellGranted   = "grant"
	cellRevoked   = "revoke"
)

// mayInherit tells whether the reader may choose to have no override: to lift a
// revocation gives the permission back, which takes having it.
func (c *overrideCell) mayInherit() bool { return c.grantable || c.had != cellRevoked }

// mayGrant tells whether the reader may grant it, or leave it granted.
func (c *overrideCell) mayGrant() bool { return c.grantable || c.had == cellGranted }

// inheritedText is what it is without an override.
func (c *overrideCell) inheritedText() string {
	switch {
	case c.bySite:
		return "By " + c.site
	case c.byRole:
		return "Yes, by role"
	}
	return "No, by role"
}

// beside is what an override stands in for.
func (c *overrideCell) beside() string {
	switch {
	case c.bySite:
		return ""
	case c.byRole:
		return "(was yes)"
	}
	return "(was no)"
}

func overrideField(permission string) string { return "p_" + permission }

// overridden is the state of a permission in force.
func (m *memberData) overridden(permission string) string {
	switch {
	case slices.Contains(m.Overrides.Granted, permission):
		return cellGranted
	case slices.Contains(m.Overrides.Revoked, permission):
		return cellRevoked
	}
	return cellInherited
}

// fromSites tells whether what belongs to a site comes to this member from
// their roles on sites, and not from their role in the team.
func (m *memberData) fromSites() bool {
	return (len(m.sites) > 0 || len(m.Sites) > 0) && !m.roles.find(m.Role).AllSites
}

func (v *visit) matrix(m *memberData) *overrideMatrix {
	shared := map[string]int{}
	for _, resource := range v.catalog.Resources {
		for _, action := range resource.Actions {
			shared[action]++
		}
	}
	out := &overrideMatrix{}
	for _, action := range []string{"read", "create", "update", "delete"} {
		if shared[action] > 1 {
			out.columns = append(out.columns, action)
		}
	}
	role := m.roles.find(m.Role)
	cell := func(resource Resource, action string) overrideCell {
		permission := resource.Key + ":" + action
		c := overrideCell{
			permission: permission, action: action, label: resource.Name + ": " + plainAction(action),
			byRole: slices.Contains(role.Permissions, permission), bySite: resource.Site && m.fromSites(), site: v.catalog.Labels.Site,
			had: m.overridden(permission), grantable: slices.Contains(m.Grantable, permission),
		}
		if c.chosen = c.had; m.form.Has(overrideField(permission)) {
			c.chosen = m.form.Get(overrideField(permission))
		}
		return c
	}
	for _, resource := range v.catalog.Resources {
		row := overrideRow{Resource: resource}
		for _, action := range out.columns {
			if slices.Contains(resource.Actions, action) {
				row.cells = append(row.cells, cell(resource, action))
			} else {
				row.cells = append(row.cells, overrideCell{})
			}
		}
		for _, action := range resource.Actions {
			if !slices.Contains(out.columns, action) {
				row.other = append(row.other, cell(resource, action))
			}
		}
		out.rows = append(out.rows, row)
	}
	return out
}

// others tells whether any resource has actions without a column.
func (m *overrideMatrix) others() bool {
	return slices.ContainsFunc(m.rows, func(row overrideRow) bool { return len(row.other) > 0 })
}

func memberPermissionsPage(v *visit) error {
	return memberCard(v, "edit_permissions", memberPermissionsCard)
}

func memberPermissionsCard(v *visit, m *memberData) templ.Component {
	shown := v.matrix(m)
	// Who set them is told where it can be; the card is whole without.
	shown.changed, _ = v.overridesChange(m)
	return memberPermissionsView(v, m, shown)
}

// setMemberPermissions saves every cell as one change. A cell that the form lacks
// stays as it is.
func setMemberPermissions(v *visit) error {
	form := v.filled()
	m, err := v.member()
	if err != nil {
		return err
	}
	body := Overrides{Granted: []string{}, Revoked: []string{}, Expirations: map[string]time.Time{}}
	for _, resource := range v.catalog.Resources {
		for _, action := range resource.Actions {
			permission := resource.Key + ":" + action
			state := m.overridden(permission)
			if form.Has(overrideField(permission)) {
				state = form.Get(overrideField(permission))
			}
			switch state {
			case cellGranted:
				body.Granted = append(body.Granted, permission)
			case cellRevoked:
				body.Revoked = append(body.Revoked, permission)
			}
			// What stays ends when it would have.
			if end, ends := m.Overrides.Expirations[permission]; ends && state == m.overridden(permission) {
				body.Expirations[permission] = end
			}
		}
	}
	if _, err := v.send(http.MethodPut, v.memberPath("/permissions"), body, nil); err != nil {
		return v.memberAgain(err, form, memberPermissionsCard)
	}
	return v.done(v.backToTeam(), "The permissions of "+isolated(m.Name)+" were changed.")
}

// permissionName says a permission in words: "Orders: update".
func (v *visit) permissionName(permission string) string {
	for _, resource := range v.catalog.Resources {
		for _, action := range resource.Actions {
			if resource.Key+":"+action == permission {
				return resource.Name + ": " + plainAction(action)
			}
		}
	}
	return permission
}
