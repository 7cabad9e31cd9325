package client

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// Member is a member of a team.
type Member struct {
	UserID        string       `json:"user_id"`
	Email         string       `json:"email"`
	Name          string       `json:"name"`
	EmailVerified bool         `json:"email_verified"`
	Role          string       `json:"role"`
	Sites         []MemberSite `json:"sites"`
	Overrides     Overrides    `json:"overrides"`
	JoinedAt      time.Time    `json:"joined_at"`
	LastSignInAt  *time.Time   `json:"last_sign_in_at"` // nil for one who never signed in
	TwoFactor     *bool        `json:"two_factor"`      // nil unless the caller may manage the team's security
}

// MemberSite is a member's role on a site.
type MemberSite struct {
	SiteID string `json:"site_id"`
	Name   string `json:"name"`
	Role   string `json:"role"`
}

// Overrides are permissions that a member has beyond the role, or not in spite
// of it.
type Overrides struct {
	Granted []string `json:"granted"`
	Revoked []string `json:"revoked"`
}

// MembersQuery chooses members; its zero value all of them, as they are now.
type MembersQuery struct {
	Text     string    // a part of the name or the address
	AsOf     time.Time // a past moment
	PageSize int       // how many are asked for at once, up to 200; 0: 50
}

// Members yields the members of a team in the order of joining.
func (c *Client) Members(ctx context.Context, team string, q MembersQuery) iter.Seq2[Member, error] {
	query := url.Values{}
	set(query, "query", q.Text)
	setTime(query, "as_of", q.AsOf)
	return list[Member](ctx, c, team, "/members", query, q.PageSize)
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func setTime(query url.Values, name string, at time.Time) {
	if !at.IsZero() {
		query.Set(name, at.UTC().Format(time.RFC3339Nano))
	}
}
