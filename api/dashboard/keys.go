package dashboard

import (
	"net/http"
	"strconv"
	"time"

	"github.com/a-h/templ"
)

// Key is an API key, without its secret.
type Key struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	Prefix    string    `json:"prefix"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy struct {
		Type string `json:"type"`
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"created_by"`
	ExpiresAt *time.Time `json:"expires_at"`
	Active    bool       `json:"active"`
	Secret    string     `json:"secret"` // of one that was just made
}

const keysPath = "/dashboard/settings/api-keys"

func (v *visit) keys() ([]Key, error) {
	var keys Page[Key]
	err := v.get(v.teamPath("/api-keys"), &keys)
	return keys.Data, err
}

func keysPage(v *visit) error {
	keys, err := v.keys()
	if err != nil {
		return err
	}
	roles, err := v.roles()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, keysView(v, keys, roles))
}

// keyRole is a role that a key may be given, or why it may not.
type keyRole struct {
	Role
	why string
}

// keyRoles are the roles as far as a key may have them: nobody makes a key that
// may do more than themselves.
func (v *visit) keyRoles() (all []keyRole, err error) {
	roles, err := v.roles()
	if err != nil {
		return nil, err
	}
	held, err := v.held(roles)
	if err != nil {
		return nil, err
	}
	own := roles.find(v.team.Role).Level
	for i, role := range roles {
		why := ""
		switch {
		case i == 0:
			why = "Keys can't own a " + v.catalog.Labels.Team + "."
		case role.Level > own || !held.all(role.Permissions):
			why = "It has more than your own role."
		}
		all = append(all, keyRole{role, why})
	}
	return all, nil
}

// held are permissions that somebody has.
type held map[string]bool

func (h held) all(permissions []string) bool {
	for _, permission := range permissions {
		if !h[permission] {
			return false
		}
	}
	return true
}

// held are the reader's own permissions: those of the role, with the overrides
// where the reader may know them.
func (v *visit) held(roles roleBook) (held, error) {
	has := held{}
	for _, permission := range roles.find(v.team.Role).Permissions {
		has[permission] = true
	}
	self, err := v.person(v.me.User.ID)
	if err != nil || self == nil {
		return has, err
	}
	for _, permission := range self.Overrides.Granted {
		has[permission] = true
	}
	for _, permission := range self.Overrides.Revoked {
		delete(has, permission)
	}
	return has, nil
}

// lifetimes are the ends that are offered for a key, in days.
var lifetimes = []int{7, 30, 90, 365}

func newKeyPage(v *visit) error {
	if !v.team.may("manage_api_keys") {
		return denied("Your role doesn't let you make API keys.")
	}
	roles, err := v.keyRoles()
	if err != nil {
		return err
	}
	form := v.form()
	form.Set("expires", "90")
	return v.show(http.StatusOK, newKeyView(v, roles, form))
}

// expiry reads when a key is to end; nil for never.
func expiry(form *Form, now time.Time) (*time.Time, error) {
	switch choice := form.Get("expires"); choice {
	case "never":
		return nil, nil
	case "date":
		day, err := time.Parse(time.DateOnly, form.Get("expires_at"))
		if err != nil {
			return nil, faulty("expires_at", "must be a date")
		}
		end := day.AddDate(0, 0, 1)
		return &end, nil
	default:
		days, err := strconv.Atoi(choice)
		if err != nil || days < 1 || days > 3650 {
			return nil, faulty("expires", "must be one of these")
		}
		end := now.Truncate(24*time.Hour).AddDate(0, 0, days+1) // the end of that day, so that a form posted twice says the same
		return &end, nil
	}
}

func createKey(v *visit) error {
	form := v.filled()
	var made Key
	end, err := expiry(form, v.now)
	if err == nil {
		want := map[string]any{"name": form.Get("name"), "role": form.Get("role")}
		if end != nil {
			want["expires_at"] = end
		}
		_, err = v.send(http.MethodPost, v.teamPath("/api-keys"), want, &made)
	}
	if err != nil {
		roles, unknown := v.keyRoles()
		if unknown != nil {
			return unknown
		}
		return v.again(err, form, func(form *Form) templ.Component { return newKeyView(v, roles, form) })
	}
	// Not a redirect: the secret is told in this answer and never again.
	return v.show(http.StatusOK, madeKeyView(v, made))
}

// key is the one that the page's path names.
func (v *visit) key() (*Key, error) {
	keys, err := v.keys()
	if err != nil {
		return nil, err
	}
	for i := range keys {
		if keys[i].ID == v.part("key") {
			return &keys[i], nil
		}
	}
	return nil, absent("There is no such API key, or it was revoked.")
}

func revokeKeyPage(v *visit) error {
	key, err := v.key()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, revokeKeyView(v, key, v.form()))
}

func revokeKey(v *visit) error {
	if _, err := v.send(http.MethodDelete, v.at("api-keys", v.part("key")), nil, nil); err != nil {
		return err
	}
	return v.done(keysPath, "The key was revoked.")
}
