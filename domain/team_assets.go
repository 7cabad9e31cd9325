package domain

import "time"

// AddSite adds a part of the business to which access is granted separately.
func (t *Team) AddSite(by Actor, id SiteID, name string, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionManageSites, now); err != nil {
		return nil, err
	}
	if !t.catalog.Rules.Sites {
		return nil, ErrNotPermitted.saying("This team's role catalog has no sites.")
	}
	name, err := t.siteName(name, "")
	if err != nil {
		return nil, err
	}
	if len(t.sites) >= MaxSites {
		return nil, ErrTeamLimit.with(map[string]any{"limit": MaxSites})
	}
	return []Event{SiteAdded{Site: id, Name: name}}, nil
}

// siteName checks a name for a site: two sites of one team with the same name
// couldn't be told apart.
func (t *Team) siteName(name string, except SiteID) (string, error) {
	name, err := cleanName("#/name", name, MaxNameRunes)
	if err != nil {
		return "", err
	}
	for _, site := range t.sites {
		if site.Name == name && site.ID != except {
			return "", ErrNameTaken.on("#/name")
		}
	}
	return name, nil
}

// RenameSite changes a site's name.
func (t *Team) RenameSite(by Actor, id SiteID, name string, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionManageSites, now); err != nil {
		return nil, err
	}
	site, ok := t.Site(id)
	if !ok {
		return nil, ErrNotFound
	}
	name, err := t.siteName(name, id)
	if err != nil || name == site.Name {
		return nil, err
	}
	return []Event{SiteRenamed{Site: id, From: site.Name, To: name}}, nil
}

// RemoveSite removes a site and with it every grant on it.
func (t *Team) RemoveSite(by Actor, id SiteID, now time.Time) ([]Event, error) {
	if _, err := t.permitted(by, ActionManageSites, now); err != nil {
		return nil, err
	}
	site, ok := t.Site(id)
	if !ok {
		return nil, ErrNotFound
	}
	return []Event{SiteRemoved{Site: id, Name: site.Name}}, nil
}

// NewAPIKey is what is asked for when a key is made. SecretHash is the SHA-256
// of the secret in hexadecimal; Prefix is the part of the secret that is shown
// so that people can tell keys apart.
type NewAPIKey struct {
	ID         APIKeyID
	Name       string
	Role       RoleKey
	Prefix     string
	SecretHash string
	DataKey    string
	ExpiresAt  *time.Time
}

// CreateAPIKey makes a key that acts for the team with a role, on every site.
// Nobody makes a key that could do more than themselves.
func (t *Team) CreateAPIKey(by Actor, want NewAPIKey, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionManageAPIKeys, now)
	if err != nil {
		return nil, err
	}
	name, err := cleanName("#/name", want.Name, MaxNameRunes)
	if err != nil {
		return nil, err
	}
	role, err := t.assignable(who, want.Role, ReachEqual, "#/role")
	if err != nil {
		return nil, err
	}
	if !role.Permissions.Within(who.held) {
		return nil, ErrRankTooLow.on("#/role")
	}
	end := time.Time{}
	if want.ExpiresAt != nil {
		if end = *want.ExpiresAt; !end.After(now) {
			return nil, invalid("#/expires_at", "must lie in the future")
		}
	}
	if err := t.lasts(by, end, now, "#/expires_at", func(who authority) error {
		if !role.Permissions.Within(who.held) {
			return ErrRankTooLow
		}
		_, err := t.assignable(who, want.Role, ReachEqual, "")
		return err
	}); err != nil {
		return nil, err
	}
	if t.activeKeys(now) >= MaxAPIKeys {
		return nil, ErrTeamLimit.with(map[string]any{"limit": MaxAPIKeys})
	}
	return []Event{APIKeyCreated{
		Key: want.ID, Name: name, Role: role.Key, Prefix: want.Prefix,
		SecretHash: want.SecretHash, DataKey: want.DataKey, ExpiresAt: want.ExpiresAt,
		Passing: t.passing(by, now),
	}}, nil
}

func (t *Team) activeKeys(now time.Time) int {
	active := 0
	for _, key := range t.keys {
		if key.Active(now) {
			active++
		}
	}
	return active
}

// RevokeAPIKey ends a key at once.
func (t *Team) RevokeAPIKey(by Actor, id APIKeyID, now time.Time) ([]Event, error) {
	who, err := t.permitted(by, ActionManageAPIKeys, now)
	if err != nil {
		return nil, err
	}
	key, ok := t.keys[id]
	if !ok || key.Revoked {
		return nil, ErrNotFound
	}
	if role, ok := t.Role(key.Role); ok && !ReachEqual.covers(who.role.Level, role.Level) {
		return nil, ErrRankTooLow
	}
	return []Event{APIKeyRevoked{Key: id, Name: key.Name}}, nil
}
