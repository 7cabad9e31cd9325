package commands

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// InviteRequest is who is invited, and as what.
type InviteRequest struct {
	Email string
	Name  string // optional
	Role  domain.RoleKey
	Sites []domain.SiteGrant

	AccessExpiresAt time.Time // when the membership is to end; zero for never
}

// Invitation is an invitation as those who may invite see it.
type Invitation struct {
	ID        domain.InvitationID
	Email     string
	Name      string
	Role      domain.RoleKey
	Sites     []domain.SiteGrant
	Status    domain.InvitationStatus
	ExpiresAt time.Time
	CreatedAt time.Time
	InvitedBy domain.Actor
	URL       string

	AccessExpiresAt time.Time // when the membership is to end; zero for never
}

// Invite asks an address to join a team.
func (s *Service) Invite(ctx context.Context, by Caller, team domain.TeamID, want InviteRequest) (Invitation, Done, error) {
	email, err := eventstore.NormaliseAddress(want.Email)
	if err != nil {
		return Invitation{}, Done{}, invalidField("#/email", "must be an e-mail address")
	}
	name := strings.TrimSpace(want.Name)
	if name != "" {
		if name, err = domain.CleanPersonName("#/name", name); err != nil {
			return Invitation{}, Done{}, err
		}
	}
	new := domain.NewInvitation{
		ID: domain.InvitationID(newID(ctx, domain.PrefixInvitation, "invitation/"+email)), Address: s.vault.Address(email),
		Role: want.Role, Sites: storedGrants(want.Sites), AccessExpiresAt: stored(want.AccessExpiresAt),
	}
	// The keys come out of a pool, so a refused invitation wastes nothing that
	// was written for it.
	dataKey, err := s.vault.NewKey(ctx)
	if err != nil {
		return Invitation{}, Done{}, unavailable(err)
	}
	if new.Email, err = s.vault.Seal(ctx, dataKey, string(new.ID)+"/email", email); err != nil {
		return Invitation{}, Done{}, unavailable(err)
	}
	if name != "" {
		if new.Name, err = s.vault.Seal(ctx, dataKey, string(new.ID)+"/name", name); err != nil {
			return Invitation{}, Done{}, unavailable(err)
		}
	}
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Invite(by.Actor, new, now)
	})
	if err != nil {
		return Invitation{}, Done{}, err
	}
	invited := out.commit.Events[0].Event.(domain.MemberInvited)
	return Invitation{
		ID: invited.Invitation, Email: email, Name: name, Role: invited.Role, Sites: invited.Sites,
		Status: domain.StatusPending, ExpiresAt: invited.ExpiresAt, CreatedAt: out.commit.At,
		InvitedBy: out.commit.Actor, URL: s.InvitationURL(team, invited.Invitation, 1),
		AccessExpiresAt: invited.AccessExpiresAt,
	}, out.Done, nil
}

// Invited is the answer to one of several invitations.
type Invited struct {
	Invitation Invitation
	Err        error
}

// InviteAll sends several invitations and answers for each by itself; one that
// is refused doesn't hold up the rest.
func (s *Service) InviteAll(ctx context.Context, by Caller, team domain.TeamID, wanted []InviteRequest) ([]Invited, Done) {
	results := make([]Invited, len(wanted))
	var last Done
	for i, want := range wanted {
		invitation, done, err := s.Invite(part(ctx, i), by, team, want)
		results[i] = Invited{invitation, err}
		if done.Position > last.Position {
			last = done
		}
		if by.IfMatch != 0 && done.Version != 0 {
			by.IfMatch = done.Version // the one before is no rival
		}
	}
	return results, last
}

// Resend makes a new link with a new deadline; the old link is dead.
func (s *Service) Resend(ctx context.Context, by Caller, team domain.TeamID, id domain.InvitationID) (Invitation, Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Resend(by.Actor, id, now)
	})
	if err != nil {
		return Invitation{}, Done{}, err
	}
	var invitation domain.Invitation
	if err := s.teams.view(ctx, string(team), func(t *domain.Team, _, _ uint64) {
		if found, ok := t.Invitation(id); ok {
			invitation = *found
		}
	}); err != nil {
		return Invitation{}, Done{}, err
	}
	resent := out.commit.Events[0].Event.(domain.InvitationResent)
	email, name, err := s.invitee(ctx, &invitation)
	return Invitation{
		ID: id, Email: email, Name: name, Role: invitation.Role, Sites: invitation.Sites,
		Status: domain.StatusPending, ExpiresAt: resent.ExpiresAt, CreatedAt: invitation.InvitedAt,
		InvitedBy: invitation.InvitedBy, URL: s.InvitationURL(team, id, resent.Link),
		AccessExpiresAt: invitation.AccessExpiresAt,
	}, out.Done, err
}

// invitee opens who an invitation was sent to.
func (s *Service) invitee(ctx context.Context, invitation *domain.Invitation) (email, name string, err error) {
	if email, err = s.open(ctx, invitation.Email, string(invitation.ID)+"/email"); err != nil {
		return "", "", err
	}
	name, err = s.open(ctx, invitation.Name, string(invitation.ID)+"/name")
	return email, name, err
}

// Cancel withdraws a pending invitation.
func (s *Service) Cancel(ctx context.Context, by Caller, team domain.TeamID, id domain.InvitationID) (Done, error) {
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Cancel(by.Actor, id, now)
	})
	return out.Done, err
}

// ExpireInvitation records that an invitation has expired, if it has and if
// that isn't recorded yet.
func (s *Service) ExpireInvitation(ctx context.Context, team domain.TeamID, id domain.InvitationID) error {
	_, err := do(ctx, s, s.teams, string(team), Caller{Actor: domain.Roster}, func(t *domain.Team, now time.Time) (decision, error) {
		return decision{events: t.Expire(id, now)}, nil
	})
	return err
}

// InvitationToken is the secret part of an invitation's link. It isn't stored
// anywhere: it names the team and the invitation and proves itself by a keyed
// hash over them and the version of the link.
func (s *Service) InvitationToken(team domain.TeamID, id domain.InvitationID, link int) string {
	teamUUID, err := domain.ParseID(domain.PrefixTeam, string(team))
	invitationUUID, err2 := domain.ParseID(domain.PrefixInvitation, string(id))
	if err != nil || err2 != nil {
		return ""
	}
	mac := s.invitationMAC(teamUUID, invitationUUID, link)
	token := make([]byte, 0, invitationTokenBytes)
	token = append(token, teamUUID[:]...)
	token = append(token, invitationUUID[:]...)
	return base64.RawURLEncoding.EncodeToString(append(token, mac[:]...))
}

const invitationTokenBytes = 16 + 16 + 32

func (s *Service) invitationMAC(team, invitation [16]byte, link int) [32]byte {
	var version [8]byte
	binary.BigEndian.PutUint64(version[:], uint64(link))
	return s.vault.MAC("invitation link", team[:], invitation[:], version[:])
}

// InvitationURL is the link of an invitation, as it is mailed and as it is
// shown to those who may invite.
func (s *Service) InvitationURL(team domain.TeamID, id domain.InvitationID, link int) string {
	return s.baseURL + "/invite/" + s.InvitationToken(team, id, link)
}

// ticket is what the token of an invitation says, once it has proved itself.
type ticket struct {
	team       domain.TeamID
	invitation domain.InvitationID
	mac        [32]byte
	teamUUID   [16]byte
	inviteUUID [16]byte
}

func readTicket(token string) (ticket, bool) {
	// The decoder passes over line breaks, so the length counts as well.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != invitationTokenBytes || len(token) != base64.RawURLEncoding.EncodedLen(len(raw)) {
		return ticket{}, false
	}
	var t ticket
	copy(t.teamUUID[:], raw)
	copy(t.inviteUUID[:], raw[16:])
	copy(t.mac[:], raw[32:])
	t.team = domain.TeamID(domain.FormatID(domain.PrefixTeam, t.teamUUID))
	t.invitation = domain.InvitationID(domain.FormatID(domain.PrefixInvitation, t.inviteUUID))
	return t, true
}

// proven tells whether the ticket is that of the link that works now.
func (s *Service) proven(t *domain.Team, ticket ticket) bool {
	invitation, ok := t.Invitation(ticket.invitation)
	if !ok || !t.Live() {
		return false
	}
	mac := s.invitationMAC(ticket.teamUUID, ticket.inviteUUID, invitation.Link)
	return subtle.ConstantTimeCompare(mac[:], ticket.mac[:]) == 1
}
