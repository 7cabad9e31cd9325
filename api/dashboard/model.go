package dashboard

import (
	"slices"
	"time"
)

// What the interface answers with, as far as the pages show it.

// Me is the reader.
type Me struct {
	User         User         `json:"user"`
	TwoFactor    TwoFactor    `json:"two_factor"`
	Teams        []Membership `json:"teams"`
	ActiveTeamID string       `json:"active_team_id"`
}

// active is the membership in the active team.
func (m *Me) active() *Membership {
	for i := range m.Teams {
		if m.Teams[i].ID == m.ActiveTeamID {
			return &m.Teams[i]
		}
	}
	return &Membership{}
}

// User is somebody with an account.
type User struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
}

// TwoFactor is how the reader's account is protected beyond its password.
type TwoFactor struct {
	Enabled           bool `json:"enabled"`
	TOTP              bool `json:"totp"`
	Passkeys          int  `json:"passkeys"`
	RecoveryCodesLeft int  `json:"recovery_codes_left"`
}

// Membership is one of the reader's teams.
type Membership struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Role      string `json:"role"`
	Catalog   string `json:"catalog"`
	TwoFactor Duty   `json:"two_factor"`
}

// Duty is what a team asks of a member's sign-in.
type Duty struct {
	Required bool       `json:"required"`
	Deadline *time.Time `json:"deadline"`
	Met      bool       `json:"met"`
}

// shutOut tells whether a second factor is missing by now.
func (d Duty) shutOut(now time.Time) bool {
	return d.Required && !d.Met && (d.Deadline == nil || !now.Before(*d.Deadline))
}

// Team is the active team.
type Team struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Plan      string    `json:"plan"`
	Role      string    `json:"role"`
	OwnerID   string    `json:"owner_id"`
	Seats     Seats     `json:"seats"`
	CreatedAt time.Time `json:"created_at"`
	Actions   []string  `json:"actions"`
}

// may tells whether the reader may do one of Roster's own actions.
func (t *Team) may(action string) bool { return slices.Contains(t.Actions, action) }

// Seats is how full a team is.
type Seats struct {
	Limit   *int `json:"limit"`
	Members int  `json:"members"`
	Pending int  `json:"pending"`
}

// Catalog is the role catalog of the team.
type Catalog struct {
	Labels Labels `json:"labels"`
	Rules  struct {
		Sites             bool   `json:"sites"`
		Overrides         bool   `json:"overrides"`
		CustomRoles       bool   `json:"custom_roles"`
		Leaving           bool   `json:"leaving"`
		OwnerTakesSeat    bool   `json:"owner_takes_seat"`
		TransferBy        string `json:"transfer_by"`
		PreviousOwnerRole string `json:"previous_owner_role"`
		UpgradeURL        string `json:"upgrade_url"`
	} `json:"rules"`
	Resources []Resource `json:"resources"`
	Plans     []Plan     `json:"plans"`
}

// Labels are the words of a catalog.
type Labels struct {
	Product string `json:"product"`
	Team    string `json:"team"`
	Teams   string `json:"teams"`
	Site    string `json:"site"`
	Sites   string `json:"sites"`
}

// Resource is what permissions are about.
type Resource struct {
	Key     string   `json:"key"`
	Name    string   `json:"name"`
	Site    bool     `json:"site"`
	Actions []string `json:"actions"`
}

// Plan caps the seats.
type Plan struct {
	Key       string `json:"key"`
	Name      string `json:"name"`
	Seats     *int   `json:"seats"`
	TwoFactor bool   `json:"two_factor"`
}

// Page is one page of a list.
type Page[T any] struct {
	Data []T `json:"data"`
	Page struct {
		NextToken string `json:"next_token"`
	} `json:"page"`
}

// Role is a role that the team knows.
type Role struct {
	Key         string   `json:"key"`
	Name        string   `json:"name"`
	Level       int      `json:"level"`
	Description string   `json:"description"`
	Permissions []string `json:"permissions"`
	Custom      bool     `json:"custom"`
	AllSites    bool     `json:"all_sites"`
	Assignable  bool     `json:"assignable"`
	For         []string `json:"assignable_for"` // the ways in which the reader may give it
}

// Member is a member as the reader sees them.
type Member struct {
	UserID       string       `json:"user_id"`
	Email        string       `json:"email"`
	Name         string       `json:"name"`
	Role         string       `json:"role"`
	Sites        []MemberSite `json:"sites"`
	Overrides    Overrides    `json:"overrides"`
	JoinedAt     time.Time    `json:"joined_at"`
	LastSignInAt *time.Time   `json:"last_sign_in_at"`
	ExpiresAt    *time.Time   `json:"expires_at"`
	Actions      []string     `json:"actions"`
	Grantable    []string     `json:"grantable"` // what the reader may grant them
}

// MemberSite is a member's role on a site.
type MemberSite struct {
	SiteID    string     `json:"site_id"`
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// Overrides are the permissions granted to and revoked from a member.
type Overrides struct {
	Granted []string `json:"granted"`
	Revoked []string `json:"revoked"`

	Expirations map[string]time.Time `json:"expirations,omitempty"`
}
