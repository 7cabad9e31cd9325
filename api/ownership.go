package api

import (
	"context"
	"net/http"
	"time"

	"roster/domain"
)

type transferView struct {
	ID        domain.TransferID `json:"id"`
	UserID    domain.UserID     `json:"user_id" doc:"Who is to become the owner."`
	Status    string            `json:"status" enum:"pending"`
	ExpiresAt time.Time         `json:"expires_at"`
}

// viewOpenTransfers is the transfer that waits for its confirmation, as a list.
func viewOpenTransfers(t *domain.Team, at time.Time) []transferView {
	transfer, open := t.OpenTransfer(at)
	if !open {
		return nil
	}
	return []transferView{{ID: transfer.ID, UserID: transfer.To, Status: "pending", ExpiresAt: transfer.ExpiresAt}}
}

type requestTransferInput struct {
	TeamPath
	Body struct {
		UserID   domain.UserID `json:"user_id" minLength:"1" maxLength:"64"`
		Password string        `json:"password" minLength:"1" maxLength:"1000" doc:"The caller's own."`
	}
}

type TransferPath struct {
	TeamPath
	ID domain.TransferID `path:"id" maxLength:"64" doc:"Of the transfer."`
}

// transferPreviewView is what the holder of a link sees.
type transferPreviewView struct {
	Team                  teamNameView   `json:"team"`
	From                  nameView       `json:"from" doc:"The present owner."`
	To                    chosenView     `json:"to" doc:"Who was chosen, and alone can confirm."`
	PreviousOwnerRole     domain.RoleKey `json:"previous_owner_role" doc:"What the present owner becomes."`
	PreviousOwnerRoleName string         `json:"previous_owner_role_name"`
	Labels                labelsView     `json:"labels"`
	ExpiresAt             time.Time      `json:"expires_at"`
	Next                  string         `json:"next" enum:"sign_in,confirm,wrong_account" doc:"What to do next."`
}

type nameView struct {
	UserID domain.UserID `json:"user_id"`
	Name   string        `json:"name"`
}

type chosenView struct {
	nameView
	Email string `json:"email"`
}

type ownerInput struct {
	TeamPath
	Body struct {
		UserID domain.UserID `json:"user_id" minLength:"1" maxLength:"64" doc:"A member of the team."`
	}
}

func (s *Server) ownershipOperations() {
	answers(s, operation{
		id: "request-transfer", method: http.MethodPost, path: "/v1/teams/{team}/ownership-transfers", tag: tagOwnership,
		summary: "Ask a member to take over the ownership", about: "Nothing changes until they confirm it.",
		status: http.StatusCreated, access: signedIn, errors: []int{http.StatusTooManyRequests},
	}, s.requestTransfer)
	answers(s, operation{
		id: "list-transfers", method: http.MethodGet, path: "/v1/teams/{team}/ownership-transfers", tag: tagOwnership,
		summary: "The ownership transfer that is pending, if any", about: "For those who may transfer the ownership, and for the member who was chosen.",
		access: authenticated, reads: readsState,
	}, s.listTransfers)
	acts(s, operation{
		id: "cancel-transfer", method: http.MethodDelete, path: "/v1/teams/{team}/ownership-transfers/{id}", tag: tagOwnership,
		summary: "Cancel an ownership transfer", access: authenticated, errors: []int{http.StatusGone},
	}, s.cancelTransfer)
	answers(s, operation{
		id: "preview-transfer", method: http.MethodGet, path: "/v1/ownership-transfers/{token}", tag: tagOwnership,
		summary: "What a link gives the ownership of", about: "It changes nothing, however often it is opened.",
		access: maybeSignedIn, reads: readsState, errors: []int{http.StatusGone},
	}, s.previewTransfer)
	answers(s, operation{
		id: "confirm-transfer", method: http.MethodPost, path: "/v1/ownership-transfers/{token}/confirm", tag: tagOwnership,
		summary: "Become the owner", about: "By the member who was chosen, with the link that was sent to them.",
		access: signedIn, errors: []int{http.StatusGone},
	}, s.confirmTransfer)
	answers(s, operation{
		id: "set-owner", method: http.MethodPut, path: "/v1/teams/{team}/owner", tag: tagOwnership,
		summary: "Move the ownership at once", about: "With the operator token only.", access: authenticated,
	}, s.setOwner)
}

func (s *Server) requestTransfer(ctx context.Context, x *exchange, in *requestTransferInput) (transferView, error) {
	transfer, done, err := s.commands.RequestTransfer(ctx, x.caller, in.Team, in.Body.UserID, in.Body.Password)
	if err != nil {
		return transferView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return transferView{ID: transfer.ID, UserID: transfer.To, Status: transfer.Status, ExpiresAt: transfer.ExpiresAt}, nil
}

func (s *Server) listTransfers(ctx context.Context, x *exchange, in *TeamPath) (list[transferView], error) {
	var views []transferView
	done, err := s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, at time.Time) error {
		views = viewOpenTransfers(t, at)
		if len(views) > 0 && views[0].UserID == x.caller.User {
			return nil
		}
		return may(t, x.caller, domain.ActionTransferOwnership, at)
	})
	if err != nil {
		return list[transferView]{}, err
	}
	x.stands(done)
	return newList(views, ""), nil
}

func (s *Server) cancelTransfer(ctx context.Context, x *exchange, in *TransferPath) error {
	done, err := s.commands.CancelTransfer(ctx, x.caller, in.Team, in.ID)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}

func (s *Server) previewTransfer(ctx context.Context, x *exchange, in *TokenPath) (transferPreviewView, error) {
	preview, _, err := s.commands.PreviewTransfer(ctx, x.caller, in.Token)
	if err != nil {
		return transferPreviewView{}, err
	}
	return transferPreviewView{
		Team:              teamNameView{ID: preview.Team, Name: preview.TeamName},
		From:              nameView{preview.From.ID, preview.From.Name},
		To:                chosenView{nameView{preview.To.ID, preview.To.Name}, preview.To.Email},
		PreviousOwnerRole: preview.FromRole, PreviousOwnerRoleName: preview.FromRoleName,
		Labels: viewLabels(preview.Labels), ExpiresAt: preview.ExpiresAt, Next: preview.Next,
	}, nil
}

func (s *Server) confirmTransfer(ctx context.Context, x *exchange, in *TokenPath) (TeamRoleView, error) {
	team, done, err := s.commands.ConfirmTransfer(ctx, x.caller, in.Token)
	if err != nil {
		return TeamRoleView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return viewTeamRole(team), nil
}

func (s *Server) setOwner(ctx context.Context, x *exchange, in *ownerInput) (teamView, error) {
	done, err := s.commands.OperatorTransfer(ctx, x.caller, in.Team, in.Body.UserID)
	if err != nil {
		return teamView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.teamView(ctx, x, in.Team)
}
