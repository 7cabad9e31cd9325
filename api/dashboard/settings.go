package dashboard

import (
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"
)

// settingsRoutes are what is set up once: roles, sites, keys, the plan and the team itself.
func (d *Dashboard) settingsRoutes(router chi.Router) {
	at := func(path string, show, act page) {
		router.Get(path, d.inTeam(show))
		if act != nil {
			router.Post(path, d.inTeam(act))
		}
	}
	at("/dashboard/settings", settingsPage, renameTeam)
	at("/dashboard/settings/two-factor", policyPage, setPolicy)
	at("/dashboard/settings/ownership", transferPage, requestTransfer)
	at("/dashboard/settings/ownership/{id}/cancel", cancelTransferPage, cancelTransfer)
	at("/dashboard/settings/leave", leavePage, leaveTeam)
	at("/dashboard/settings/delete", deletePage, deleteTeam)

	at("/dashboard/settings/roles", rolesPage, nil)
	at("/dashboard/settings/roles/new", newRolePage, defineRole)
	at("/dashboard/settings/roles/{role}/edit", editRolePage, editRole)
	at("/dashboard/settings/roles/{role}/delete", deleteRolePage, deleteRole)

	at("/dashboard/settings/sites", sitesPage, nil)
	at("/dashboard/settings/sites/new", newSitePage, addSite)
	at("/dashboard/settings/sites/{site}/rename", renameSitePage, renameSite)
	at("/dashboard/settings/sites/{site}/remove", removeSitePage, removeSite)

	at("/dashboard/settings/api-keys", keysPage, nil)
	at("/dashboard/settings/api-keys/new", newKeyPage, createKey)
	at("/dashboard/settings/api-keys/{key}/revoke", revokeKeyPage, revokeKey)

	at("/dashboard/subscribe", planPage, nil)
	at("/dashboard/subscribe/{plan}", planChangePage, nil)
}

// owns tells whether the reader is the owner of the active team.
func (v *visit) owns() bool { return v.team.OwnerID == v.me.User.ID }

// person is a member, as far as the reader may know of them; nil for one who
// isn't there.
func (v *visit) person(id string) (*Member, error) {
	if !v.team.may("view_members") {
		if id == v.me.User.ID {
			return &Member{UserID: id, Name: v.me.User.Name, Email: v.me.User.Email, Role: v.team.Role}, nil
		}
		return nil, nil
	}
	member := new(Member)
	err := v.get(v.at("members", id), member)
	if hasCode(err, "not_found") {
		return nil, nil
	}
	return member, err
}

// settings are what the page of that name shows.
type settings struct {
	owner    *Member // nil when the reader may not know
	policy   Policy
	roles    roleBook
	transfer *PendingTransfer // pending; nil for none, or when the reader may not know
	heir     *Member          // whom it is to
}

// Policy is of whom a team requires a second factor.
type Policy struct {
	Required  string     `json:"required"`
	Roles     []string   `json:"roles"`
	GraceDays int        `json:"grace_days"`
	EndsAt    *time.Time `json:"ends_at"`
	Available bool       `json:"available"`
	Suspended bool       `json:"suspended"`
}

// PendingTransfer is an ownership transfer that waits for its confirmation.
type PendingTransfer struct {
	ID        string    `json:"id"`
	UserID    string    `json:"user_id"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (v *visit) settings() (s *settings, err error) {
	s = new(settings)
	if s.owner, err = v.person(v.team.OwnerID); err != nil {
		return nil, err
	}
	if s.roles, err = v.roles(); err != nil {
		return nil, err
	}
	if err := v.get(v.teamPath("/two-factor-policy"), &s.policy); err != nil {
		return nil, err
	}
	var pending Page[PendingTransfer]
	switch err := v.get(v.teamPath("/ownership-transfers"), &pending); {
	case hasCode(err, "not_permitted"):
	case err != nil:
		return nil, err
	case len(pending.Data) > 0:
		s.transfer = &pending.Data[0]
		if s.heir, err = v.person(s.transfer.UserID); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func settingsPage(v *visit) error {
	s, err := v.settings()
	if err != nil {
		return err
	}
	form := v.form()
	form.Set("name", v.team.Name)
	return v.show(http.StatusOK, settingsView(v, s, form))
}

func renameTeam(v *visit) error {
	form := v.filled()
	if _, err := v.send(http.MethodPatch, v.teamPath(""), map[string]any{"name": form.Get("name")}, nil); err != nil {
		s, unknown := v.settings()
		if unknown != nil {
			return unknown
		}
		return v.again(err, form, func(form *Form) templ.Component { return settingsView(v, s, form) })
	}
	return v.done("/dashboard/settings", "The name was changed.")
}

// requirement is a policy in words.
func (s *settings) requirement() string {
	switch s.policy.Required {
	case "everyone":
		return "Everyone signs in with a second factor."
	case "roles":
		return "Those who are " + either(roleNames(s.roles, s.policy.Roles)) + " sign in with a second factor."
	}
	return "Nobody has to sign in with a second factor."
}

func roleNames(roles roleBook, keys []string) (names []string) {
	for _, key := range keys {
		names = append(names, roles.name(key))
	}
	return names
}

// either joins names: "Owner, Admin or Manager".
func either(names []string) string { return joined(names, "or") }

func joined(names []string, word string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " " + word + " " + names[last]
}

// whyNoPolicy says why the reader can't change of whom a second factor is
// required; empty when they can.
func (v *visit) whyNoPolicy(policy Policy) string {
	var with []string
	for _, plan := range v.catalog.Plans {
		if plan.TwoFactor {
			with = append(with, plan.Name)
		}
	}
	switch {
	case !v.team.may("manage_security"):
		return "Your role doesn't let you change this."
	case policy.Available || policy.Suspended:
		return ""
	case len(with) > 0:
		return "The plan " + v.planName(v.team.Plan) + " doesn't include it; " + joined(with, "and") + " " + agree(len(with), "does", "do") + "."
	}
	return "It can't be required in " + v.catalog.Labels.Product + ". Members can still turn it on for themselves."
}

func agree(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// whyNoTransfer says why the reader can't ask somebody to take over.
func (v *visit) whyNoTransfer(s *settings) string {
	switch {
	case v.catalog.Rules.TransferBy != "owner":
		return "Ownership is moved by support alone, to keep your " + v.catalog.Labels.Team + " safe. Contact support to hand it over."
	case !v.owns():
		return "Only the owner can hand it over."
	case s.transfer != nil:
		return "Cancel the pending transfer first."
	}
	return ""
}

func (v *visit) whyNoLeaving() string {
	switch {
	case v.owns() && v.catalog.Rules.TransferBy != "owner":
		return "The owner can't leave."
	case v.owns():
		return "The owner can't leave. Hand over the ownership first."
	case !v.catalog.Rules.Leaving:
		return "Members can't leave by themselves. Ask somebody who may remove members."
	}
	return ""
}

// plainly is a name as somebody can type it: without what can't be seen, and
// with single spaces.
func plainly(name string) string {
	visible := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, name)
	return strings.Join(strings.Fields(visible), " ")
}
