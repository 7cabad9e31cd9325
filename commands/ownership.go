package commands

import (
	"context"
	"encoding/base64"
	"time"

	"roster/domain"
)

// Transfer is a request to move the ownership of a team.
type Transfer struct {
	ID        domain.TransferID
	To        domain.UserID
	Status    string
	ExpiresAt time.Time
}

// RequestTransfer asks a member to take over the ownership. The owner proves
// the password again, since a borrowed session must not give a team away.
func (s *Service) RequestTransfer(ctx context.Context, by Caller, team domain.TeamID, to domain.UserID, password string) (Transfer, Done, error) {
	if err := by.userOnly(); err != nil {
		return Transfer{}, Done{}, err
	}
	if !domain.ValidID(domain.PrefixTeam, string(team)) {
		return Transfer{}, Done{}, domain.ErrNotFound
	}
	earlier, err := s.earlier(ctx, s.teams.stream(string(team)))
	if err == nil && earlier == nil {
		err = s.mayRequestTransfer(ctx, by, team, to, password)
	}
	if err != nil {
		return Transfer{}, Done{}, err
	}
	id := domain.TransferID(newID(ctx, domain.PrefixTransfer, "transfer"))
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.RequestTransfer(by.Actor, id, to, now)
	})
	if err != nil {
		return Transfer{}, Done{}, err
	}
	requested := out.commit.Events[0].Event.(domain.OwnershipTransferRequested)
	return Transfer{ID: requested.Transfer, To: requested.To, Status: "pending", ExpiresAt: requested.ExpiresAt}, out.Done, nil
}

// mayRequestTransfer checks the password. A request that would be refused
// anyway costs no password check, and who isn't in the team learns nothing from
// the order of the two.
func (s *Service) mayRequestTransfer(ctx context.Context, by Caller, team domain.TeamID, to domain.UserID, password string) error {
	if _, err := s.ViewTeam(ctx, by, team, func(t *domain.Team, now time.Time) error {
		_, err := t.RequestTransfer(by.Actor, "", to, now)
		return err
	}); err != nil {
		return err
	}
	_, err := s.reauthenticate(ctx, by, "#/password", password)
	return err
}

// CancelTransfer withdraws a pending transfer.
func (s *Service) CancelTransfer(ctx context.Context, by Caller, team domain.TeamID, id domain.TransferID) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.CancelTransfer(by.Actor, id, now)
	})
	return out.Done, err
}

// TransferPreview is what the holder of a link sees before confirming.
type TransferPreview struct {
	Team         domain.TeamID
	TeamName     string
	Labels       domain.Labels
	From, To     Account
	FromRole     domain.RoleKey // what the present owner becomes
	FromRoleName string
	ExpiresAt    time.Time
	Next         string
}

// PreviewTransfer shows an ownership transfer to the holder of its link. It
// changes nothing.
func (s *Service) PreviewTransfer(ctx context.Context, by Caller, token string) (TransferPreview, Done, error) {
	team, id, ok := s.readTransferToken(token)
	if !ok {
		return TransferPreview{}, Done{}, domain.ErrNotFound
	}
	var preview TransferPreview
	var from, to domain.UserID
	var done Done
	err := s.teams.ask(ctx, string(team), func(t *domain.Team, version, position uint64) error {
		transfer, err := t.Confirmable(id, s.Now())
		if err != nil {
			return err
		}
		from, to, done = t.Owner(), transfer.To, Done{position, version}
		preview = TransferPreview{
			Team: t.ID(), TeamName: t.Name(), Labels: t.Catalog().Labels, ExpiresAt: transfer.ExpiresAt,
			FromRole: t.Catalog().Rules.PreviousOwnerRole,
		}
		preview.FromRoleName = string(preview.FromRole)
		if role, ok := t.Role(preview.FromRole); ok {
			preview.FromRoleName = role.Name
		}
		return nil
	})
	if err != nil {
		return TransferPreview{}, done, err
	}
	owner, _, err := s.me(ctx, from)
	if err != nil {
		return TransferPreview{}, done, err
	}
	chosen, _, err := s.me(ctx, to)
	if err != nil {
		return TransferPreview{}, done, err
	}
	preview.From, preview.To = owner.User, chosen.User
	switch by.User {
	case "":
		preview.Next = NextSignIn
	case to:
		preview.Next = NextConfirm
	default:
		preview.Next = NextWrongAccount
	}
	return preview, done, nil
}

// ConfirmTransfer makes the caller the owner, if they are the member who was
// chosen and hold the link that was sent to them.
func (s *Service) ConfirmTransfer(ctx context.Context, by Caller, token string) (TeamRole, Done, error) {
	if err := by.userOnly(); err != nil {
		return TeamRole{}, Done{}, err
	}
	team, transfer, ok := s.readTransferToken(token)
	if !ok {
		return TeamRole{}, Done{}, domain.ErrNotFound
	}
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.ConfirmTransfer(transfer, by.User, now)
	})
	if err != nil {
		return TeamRole{}, Done{}, err
	}
	role, err := s.teamRole(ctx, team, by.User)
	return role, out.Done, err
}

// TransferToken is the secret part of the link that confirms a transfer, made
// like that of an invitation.
func (s *Service) TransferToken(team domain.TeamID, id domain.TransferID) string {
	teamUUID, err := domain.ParseID(domain.PrefixTeam, string(team))
	transferUUID, err2 := domain.ParseID(domain.PrefixTransfer, string(id))
	if err != nil || err2 != nil {
		return ""
	}
	mac := s.vault.MAC("ownership link", teamUUID[:], transferUUID[:])
	token := append(teamUUID[:], transferUUID[:]...)
	return base64.RawURLEncoding.EncodeToString(append(token, mac[:]...))
}

func (s *Service) readTransferToken(token string) (domain.TeamID, domain.TransferID, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != invitationTokenBytes {
		return "", "", false
	}
	team := domain.TeamID(domain.FormatID(domain.PrefixTeam, [16]byte(raw[:16])))
	transfer := domain.TransferID(domain.FormatID(domain.PrefixTransfer, [16]byte(raw[16:32])))
	return team, transfer, sameText(token, s.TransferToken(team, transfer))
}
