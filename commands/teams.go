package commands

import (
	"context"
	"errors"
	"slices"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// onTeam runs a command on a team: whoever isn't in it learns nothing of it, and
// whoever lacks the second factor that it requires does nothing in it.
func (s *Service) onTeam(
	ctx context.Context, by Caller, id domain.TeamID,
	decide func(t *domain.Team, now time.Time) ([]domain.Event, error),
) (outcome, error) {
	return s.onOwnTeam(ctx, by, id, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		if err := s.Admit(ctx, by, t, now); err != nil {
			return nil, err
		}
		return decide(t, now)
	})
}

// onOwnTeam is onTeam for what a member may do without the second factor.
func (s *Service) onOwnTeam(
	ctx context.Context, by Caller, id domain.TeamID,
	decide func(t *domain.Team, now time.Time) ([]domain.Event, error),
) (outcome, error) {
	if by.Anonymous() {
		return outcome{}, ErrUnauthenticated
	}
	if !domain.ValidID(domain.PrefixTeam, string(id)) {
		return outcome{}, domain.ErrNotFound
	}
	return do(ctx, s, s.teams, string(id), by, func(t *domain.Team, now time.Time) (decision, error) {
		if !t.Live() || !inTeam(t, by, now) {
			return decision{}, domain.ErrNotFound
		}
		return decided(decide(t, now))
	})
}

// CreateTeam makes a team whose owner is the caller.
func (s *Service) CreateTeam(ctx context.Context, by Caller, name, catalogName string) (TeamRole, Done, error) {
	if err := by.userOnly(); err != nil {
		return TeamRole{}, Done{}, err
	}
	stream := s.teams.stream(newID(ctx, domain.PrefixTeam, "team"))
	team, err := s.earlier(ctx, stream)
	if err == nil && team == nil {
		team, err = s.openTeam(ctx, by, name, catalogName, stream)
	}
	if err != nil {
		return TeamRole{}, Done{}, err
	}
	return createdTeam(team), Done{team.Position, team.Version}, nil
}

// openTeam appends a team and gives its commit. It doesn't go through do, as
// there is nothing to load of a team that is new.
func (s *Service) openTeam(ctx context.Context, by Caller, name, catalogName string, stream eventstore.Stream) (*eventstore.Commit, error) {
	if name == "" {
		return nil, invalidField("#/name", "is required")
	}
	catalog, err := s.catalogs.choose(catalogName)
	if err != nil {
		return nil, err
	}
	address, err := s.addressOf(ctx, by.User)
	if err != nil {
		return nil, err
	}
	events, err := domain.NewTeam(domain.TeamID(stream.ID), s.catalogs).Create(by.User, address, name, catalog)
	if err != nil {
		return nil, err
	}
	commit, err := s.commit(ctx, by, stream, 0, eventstore.Hash{}, s.Now(), events)
	if err != nil {
		return nil, err
	}
	err = s.store.Append(ctx, commit)
	if errors.Is(err, eventstore.ErrConflict) {
		if ours, err := s.ours(ctx, stream); ours != nil || err != nil {
			return ours, err
		}
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return commit, nil
}

// RenameTeam changes a team's name.
func (s *Service) RenameTeam(ctx context.Context, by Caller, team domain.TeamID, name string) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Rename(by.Actor, name, now)
	})
	return out.Done, err
}

// DeleteTeam ends a team. Its history stays.
func (s *Service) DeleteTeam(ctx context.Context, by Caller, team domain.TeamID) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Delete(by.Actor, now)
	})
	return out.Done, err
}

// SetPlan moves a team to another plan; only the operator may.
func (s *Service) SetPlan(ctx context.Context, by Caller, team domain.TeamID, plan string) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.SetPlan(by.Actor, plan, now)
	})
	return out.Done, err
}

// OperatorTransfer moves the ownership of a team to one of its members at
// once; only the operator may.
func (s *Service) OperatorTransfer(ctx context.Context, by Caller, team domain.TeamID, to domain.UserID) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.OperatorTransfer(by.Actor, to, now)
	})
	return out.Done, err
}

// ChangeRole gives a member another role.
func (s *Service) ChangeRole(ctx context.Context, by Caller, team domain.TeamID, user domain.UserID, role domain.RoleKey) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.ChangeRole(by.Actor, user, role, now)
	})
	return out.Done, err
}

// SetExpiry says when a membership ends by itself; never with the zero time.
func (s *Service) SetExpiry(ctx context.Context, by Caller, team domain.TeamID, user domain.UserID, at time.Time) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.SetExpiry(by.Actor, user, stored(at), now)
	})
	return out.Done, err
}

// ExpireMember records what of a member's access has ended by itself, if any of
// that isn't recorded yet.
func (s *Service) ExpireMember(ctx context.Context, team domain.TeamID, user domain.UserID) error {
	_, err := do(ctx, s, s.teams, string(team), Caller{Actor: domain.Roster}, func(t *domain.Team, now time.Time) (decision, error) {
		return decision{events: t.ExpireMember(user, now)}, nil
	})
	return err
}

// stored is a time that somebody gives, in the form in which events have it.
func stored(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.UTC().Truncate(time.Microsecond)
}

// storedGrants are grants with their ends as events have them.
func storedGrants(grants []domain.SiteGrant) []domain.SiteGrant {
	out := slices.Clone(grants)
	for i := range out {
		out[i].ExpiresAt = stored(out[i].ExpiresAt)
	}
	return out
}

// SetOverrides replaces a member's overrides.
func (s *Service) SetOverrides(ctx context.Context, by Caller, team domain.TeamID, user domain.UserID, overrides domain.Overrides) (Done, error) {
	ends := make(map[domain.Permission]time.Time, len(overrides.Expirations))
	for permission, at := range overrides.Expirations {
		ends[permission] = stored(at)
	}
	overrides.Expirations = ends
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.SetOverrides(by.Actor, user, overrides, now)
	})
	return out.Done, err
}

// SetSites replaces a member's roles on sites.
func (s *Service) SetSites(ctx context.Context, by Caller, team domain.TeamID, user domain.UserID, sites []domain.SiteGrant) (Done, error) {
	sites = storedGrants(sites)
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.SetSites(by.Actor, user, sites, now)
	})
	return out.Done, err
}

// RemoveMember ends somebody's membership.
func (s *Service) RemoveMember(ctx context.Context, by Caller, team domain.TeamID, user domain.UserID) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Remove(by.Actor, user, now)
	})
	return out.Done, err
}

// Leave ends the caller's own membership.
func (s *Service) Leave(ctx context.Context, by Caller, team domain.TeamID) (Done, error) {
	if err := by.userOnly(); err != nil {
		return Done{}, err
	}
	out, err := s.onOwnTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Leave(by.User, now)
	})
	return out.Done, err
}

// AddSite adds a site to a team.
func (s *Service) AddSite(ctx context.Context, by Caller, team domain.TeamID, name string) (domain.Site, Done, error) {
	id := domain.SiteID(newID(ctx, domain.PrefixSite, "site"))
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.AddSite(by.Actor, id, name, now)
	})
	if err != nil {
		return domain.Site{}, Done{}, err
	}
	added := out.commit.Events[0].Event.(domain.SiteAdded)
	return domain.Site{ID: added.Site, Name: added.Name, AddedAt: out.commit.At}, out.Done, nil
}

// RenameSite changes a site's name.
func (s *Service) RenameSite(ctx context.Context, by Caller, team domain.TeamID, site domain.SiteID, name string) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.RenameSite(by.Actor, site, name, now)
	})
	return out.Done, err
}

// RemoveSite removes a site with every grant on it.
func (s *Service) RemoveSite(ctx context.Context, by Caller, team domain.TeamID, site domain.SiteID) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.RemoveSite(by.Actor, site, now)
	})
	return out.Done, err
}

// APIKeyRequest is what is asked for when a key is made.
type APIKeyRequest struct {
	Name      string
	Role      domain.RoleKey
	ExpiresAt *time.Time
}

// NewAPIKey is a key that was just made. Secret is shown this once.
type NewAPIKey struct {
	ID        domain.APIKeyID
	Name      string
	Role      domain.RoleKey
	Prefix    string
	CreatedAt time.Time
	CreatedBy domain.Actor
	ExpiresAt *time.Time
	Secret    string
}

// shownOfKey is how much of an API key is kept readable, so that people can
// tell keys apart: the prefix and the end of the key's id.
const shownOfKey = 6

// CreateAPIKey makes an API key of a team.
func (s *Service) CreateAPIKey(ctx context.Context, by Caller, team domain.TeamID, want APIKeyRequest) (NewAPIKey, Done, error) {
	if !domain.ValidID(domain.PrefixTeam, string(team)) {
		return NewAPIKey{}, Done{}, domain.ErrNotFound
	}
	id := domain.APIKeyID(newID(ctx, domain.PrefixAPIKey, "key"))
	secret := apiKeyToken(team, id, newSecret(ctx, "key"))
	dataKey, err := s.vault.NewKey(ctx)
	if err != nil {
		return NewAPIKey{}, Done{}, unavailable(err)
	}
	if want.ExpiresAt != nil {
		utc := want.ExpiresAt.UTC().Truncate(time.Microsecond)
		want.ExpiresAt = &utc
	}
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.CreateAPIKey(by.Actor, domain.NewAPIKey{
			ID: id, Name: want.Name, Role: want.Role, ExpiresAt: want.ExpiresAt,
			Prefix:     apiKeyPrefix + "…" + string(id[len(id)-shownOfKey:]),
			SecretHash: hashSecret(secret), DataKey: dataKey,
		}, now)
	})
	if err != nil {
		return NewAPIKey{}, Done{}, err
	}
	created := out.commit.Events[0].Event.(domain.APIKeyCreated)
	return NewAPIKey{
		ID: created.Key, Name: created.Name, Role: created.Role, Prefix: created.Prefix, Secret: secret,
		CreatedAt: out.commit.At, CreatedBy: out.commit.Actor, ExpiresAt: created.ExpiresAt,
	}, out.Done, nil
}

// RevokeAPIKey ends an API key at once.
func (s *Service) RevokeAPIKey(ctx context.Context, by Caller, team domain.TeamID, key domain.APIKeyID) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.RevokeAPIKey(by.Actor, key, now)
	})
	return out.Done, err
}
