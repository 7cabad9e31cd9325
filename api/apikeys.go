package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"roster/commands"
	"roster/domain"
)

// KeyView is an API key, without its secret.
type KeyView struct {
	ID        domain.APIKeyID `json:"id"`
	Name      string          `json:"name"`
	Role      domain.RoleKey  `json:"role"`
	Prefix    string          `json:"prefix" doc:"What is shown of the secret, to tell keys apart."`
	CreatedAt time.Time       `json:"created_at"`
	CreatedBy personView      `json:"created_by"`
	ExpiresAt *time.Time      `json:"expires_at" doc:"Null for a key that doesn't expire."`
	Active    bool            `json:"active" doc:"False from expires_at on."`
}

type newKeyView struct {
	KeyView
	Secret string `json:"secret" doc:"For Authorization: Bearer. It is told once."`
}

type createKeyInput struct {
	TeamPath
	Body struct {
		Name      string         `json:"name" minLength:"1" maxLength:"400"`
		Role      domain.RoleKey `json:"role" minLength:"1" maxLength:"40" doc:"At most what the caller may do."`
		ExpiresAt *time.Time     `json:"expires_at,omitempty" maxLength:"64"`
	}
}

type KeyPath struct {
	TeamPath
	ID domain.APIKeyID `path:"id" maxLength:"64" doc:"Of the key."`
}

func (s *Server) keyOperations() {
	answers(s, operation{
		id: "create-api-key", method: http.MethodPost, path: "/v1/teams/{team}/api-keys", tag: tagKeys,
		summary: "Create an API key", about: "It belongs to the team and outlives the membership of whoever made it.",
		status: http.StatusCreated, access: authenticated,
	}, s.createKey)
	answers(s, operation{
		id: "list-api-keys", method: http.MethodGet, path: "/v1/teams/{team}/api-keys", tag: tagKeys,
		summary: "List API keys", about: "Newest first, without those that were revoked.", access: authenticated, reads: readsState,
	}, s.listKeys)
	acts(s, operation{
		id: "revoke-api-key", method: http.MethodDelete, path: "/v1/teams/{team}/api-keys/{id}", tag: tagKeys,
		summary: "Revoke an API key", about: "It ends at once, on every node.", access: authenticated,
	}, s.revokeKey)
}

func (s *Server) createKey(ctx context.Context, x *exchange, in *createKeyInput) (newKeyView, error) {
	key, done, err := s.commands.CreateAPIKey(ctx, x.caller, in.Team, commands.APIKeyRequest{
		Name: in.Body.Name, Role: in.Body.Role, ExpiresAt: in.Body.ExpiresAt,
	})
	if err != nil {
		return newKeyView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return newKeyView{
		KeyView: KeyView{
			ID: key.ID, Name: key.Name, Role: key.Role, Prefix: key.Prefix, CreatedAt: key.CreatedAt,
			CreatedBy: personView{Type: key.CreatedBy.Type, ID: key.CreatedBy.ID}, ExpiresAt: key.ExpiresAt, Active: true,
		},
		Secret: key.Secret,
	}, nil
}

func (s *Server) listKeys(ctx context.Context, x *exchange, in *TeamPath) (list[KeyView], error) {
	var views []KeyView
	done, err := s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, at time.Time) error {
		if err := may(t, x.caller, domain.ActionManageAPIKeys, at); err != nil {
			return err
		}
		for _, key := range t.APIKeys() {
			views = append(views, KeyView{
				ID: key.ID, Name: key.Name, Role: key.Role, Prefix: key.Prefix, CreatedAt: key.CreatedAt,
				CreatedBy: personView{Type: key.CreatedBy.Type, ID: key.CreatedBy.ID},
				ExpiresAt: key.ExpiresAt, Active: key.Active(at),
			})
		}
		return nil
	})
	if err != nil {
		return list[KeyView]{}, err
	}
	name := s.namesNow(x, in.Team)
	for i := range views {
		by := &views[i].CreatedBy
		person, err := name(ctx, domain.Actor{Type: by.Type, ID: by.ID})
		if err != nil {
			return list[KeyView]{}, err
		}
		by.Name = person.Name // and not the address: the caller may be one who can't list members
	}
	slices.SortFunc(views, func(a, b KeyView) int { return cmp.Compare(b.ID, a.ID) })
	x.stands(done)
	return newList(views, ""), nil
}

func (s *Server) revokeKey(ctx context.Context, x *exchange, in *KeyPath) error {
	done, err := s.commands.RevokeAPIKey(ctx, x.caller, in.Team, in.ID)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}
