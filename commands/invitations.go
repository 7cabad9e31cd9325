package commands

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
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
		Role: want.Role, Sites: want.Sites,
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
	}
	return results, last
}

// Resend makes a new link with a new deadline; the old link is dead.
func (s *Service) Resend(ctx context.Context, by Caller, team domain.TeamID, id domain.InvitationID) (Invitation, Done, error) {
	var invitation domain.Invitation
	out, err := s.onTeam(ctx, by, team, func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		if found, ok := t.Invitation(id); ok {
			invitation = *found
		}
		return t.Resend(by.Actor, id, now)
	})
	if err != nil {
		return Invitation{}, Done{}, err
	}
	resent := out.commit.Events[0].Event.(domain.InvitationResent)
	email, name, err := s.invitee(ctx, &invitation)
	return Invitation{
		ID: id, Email: email, Name: name, Role: invitation.Role, Sites: invitation.Sites,
		Status: domain.StatusPending, ExpiresAt: resent.ExpiresAt, CreatedAt: invitation.InvitedAt,
		InvitedBy: invitation.InvitedBy, URL: s.InvitationURL(team, id, resent.Link),
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
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != invitationTokenBytes {
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

// What the holder of a link has to do next.
const (
	NextSignUp       = "sign_up"
	NextSignIn       = "sign_in"
	NextAccept       = "accept"
	NextWrongAccount = "wrong_account"
)

// Preview is what the holder of a link sees before accepting.
type Preview struct {
	Team      domain.TeamID
	TeamName  string
	Email     string
	Name      string
	Role      domain.RoleKey
	RoleName  string
	ExpiresAt time.Time
	Next      string
}

// PreviewInvitation shows an invitation to the holder of its link. It changes
// nothing, since programs that scan mail open every link.
func (s *Service) PreviewInvitation(ctx context.Context, by Caller, token string) (Preview, Done, error) {
	invitation, preview, done, err := s.openInvitation(ctx, token)
	if err != nil {
		return Preview{}, done, err
	}
	switch {
	case by.User == "":
		owner, err := s.owner(ctx, invitation.Address)
		if err != nil {
			return Preview{}, done, err
		}
		preview.Next = NextSignUp
		if owner != "" {
			preview.Next = NextSignIn
		}
	default:
		address, err := s.addressOf(ctx, by.User)
		if err != nil {
			return Preview{}, done, err
		}
		preview.Next = NextWrongAccount
		if address == invitation.Address {
			preview.Next = NextAccept
		}
	}
	return preview, done, nil
}

// addressOf is the address of a user; empty for nobody.
func (s *Service) addressOf(ctx context.Context, user domain.UserID) (address domain.AddressID, err error) {
	if user == "" {
		return "", nil
	}
	err = s.users.view(ctx, string(user), func(u *domain.User, _, _ uint64) { address = u.Address() })
	return address, err
}

// openInvitation finds the invitation of a token. When it can't be accepted
// any more it comes with the refusal that says why.
func (s *Service) openInvitation(ctx context.Context, token string) (domain.Invitation, Preview, Done, error) {
	ticket, ok := readTicket(token)
	if !ok {
		return domain.Invitation{}, Preview{}, Done{}, domain.ErrNotFound
	}
	var invitation domain.Invitation
	var preview Preview
	var done Done
	refused := s.teams.ask(ctx, string(ticket.team), func(t *domain.Team, version, position uint64) error {
		if !s.proven(t, ticket) {
			return domain.ErrNotFound
		}
		found, _ := t.Invitation(ticket.invitation)
		invitation, done = *found, Done{position, version}
		preview = Preview{Team: t.ID(), TeamName: t.Name(), Role: found.Role, RoleName: string(found.Role), ExpiresAt: found.ExpiresAt}
		if role, ok := t.Role(found.Role); ok {
			preview.RoleName = role.Name
		}
		// Asked with the right address, only the state can refuse.
		_, err := t.Acceptable(ticket.invitation, found.Address, s.Now())
		return err
	})
	if invitation.ID == "" {
		return domain.Invitation{}, Preview{}, done, refused
	}
	var err error
	if preview.Email, preview.Name, err = s.invitee(ctx, &invitation); err != nil {
		return domain.Invitation{}, Preview{}, done, err
	}
	return invitation, preview, done, refused
}

// Acceptance is what somebody new gives to accept an invitation; empty for a
// user who is signed in.
type Acceptance struct {
	Name     string
	Password string
}

// Accepted is somebody who has joined a team. Session is nil for a user who
// was signed in already.
type Accepted struct {
	Team    TeamRole
	User    Account
	Session *NewSession
}

// ErrSignInRequired means that the invited address has an account, which must
// be signed in to accept.
var ErrSignInRequired = &domain.Error{
	Kind: domain.Unauthenticated, Code: "sign_in_required", Detail: "This address has an account. Sign in, then accept.",
}

// AcceptInvitation makes the holder of a link a member: the signed-in user, or
// a new one for whom an account is opened in the same breath. The team, the
// address and the role come from the invitation alone.
func (s *Service) AcceptInvitation(ctx context.Context, by Caller, token string, given Acceptance) (Accepted, Done, error) {
	ticket, ok := readTicket(token)
	if !ok {
		return Accepted{}, Done{}, domain.ErrNotFound
	}
	if by.Anonymous() {
		return s.joinAsNew(ctx, by, ticket, token, given)
	}
	if err := by.userOnly(); err != nil {
		return Accepted{}, Done{}, err
	}
	address, err := s.addressOf(ctx, by.User)
	if err != nil {
		return Accepted{}, Done{}, err
	}
	out, err := s.join(ctx, by, ticket, func(t *domain.Team, now time.Time) (decision, error) {
		return decided(t.Accept(ticket.invitation, by.User, address, now))
	})
	if err != nil {
		return Accepted{}, Done{}, err
	}
	// Whoever holds the link receives mail at the address.
	if _, err := do(ctx, s, s.users, string(by.User), unpinned(by), func(u *domain.User, _ time.Time) (decision, error) {
		return decision{events: u.VerifyEmail()}, nil
	}); err != nil {
		return Accepted{}, Done{}, err
	}
	me, _, err := s.me(ctx, by.User)
	if err != nil {
		return Accepted{}, Done{}, err
	}
	team, err := s.teamRole(ctx, ticket.team, by.User)
	return Accepted{Team: team, User: me.User}, out.Done, err
}

// unpinned is the caller without an expected version, which was meant for
// another aggregate.
func unpinned(by Caller) Caller {
	by.IfMatch = 0
	return by
}

// join appends to the team of a ticket what the holder decides, provided that
// the ticket still holds.
func (s *Service) join(
	ctx context.Context, by Caller, ticket ticket, decide func(*domain.Team, time.Time) (decision, error),
) (outcome, error) {
	return do(ctx, s, s.teams, string(ticket.team), by, func(t *domain.Team, now time.Time) (decision, error) {
		if !s.proven(t, ticket) {
			return decision{}, domain.ErrNotFound
		}
		return decide(t, now)
	})
}

// joinAsNew opens an account for the invited address and makes it a member,
// all or nothing.
func (s *Service) joinAsNew(ctx context.Context, by Caller, ticket ticket, token string, given Acceptance) (Accepted, Done, error) {
	invitation, preview, _, err := s.openInvitation(ctx, token)
	if err != nil && !repeats(ctx, err) {
		return Accepted{}, Done{}, err
	}
	if err := s.unclaimed(ctx, invitation.Address); err != nil {
		return Accepted{}, Done{}, err
	}
	p, err := s.newPerson(ctx, by, preview.Email, given.Name, given.Password)
	if err != nil {
		return Accepted{}, Done{}, err
	}
	p.registered.Verified = true // they hold the link that was sent to the address
	by = p.asCaller(by)

	tries := 0
	out, err := s.join(ctx, by, ticket, func(t *domain.Team, now time.Time) (decision, error) {
		if tries++; tries > 1 {
			// Somebody was faster: perhaps with this very address.
			if err := s.unclaimed(ctx, p.registered.Address); err != nil {
				return decision{}, err
			}
		}
		events, err := t.Accept(ticket.invitation, p.id, p.registered.Address, now)
		if err != nil {
			return decision{}, err
		}
		also, err := s.registration(ctx, by, p, now)
		if err != nil {
			return decision{}, err
		}
		if t.Catalog().Rules.HomeTeamForInvited {
			home, err := s.homeTeam(ctx, by, p, t.Catalog(), now)
			if err != nil {
				return decision{}, err
			}
			also = append(also, home)
		}
		return decision{events: events, also: also}, nil
	})
	if err != nil {
		return Accepted{}, Done{}, err
	}
	session, err := s.startSession(ctx, by)
	if err != nil {
		return Accepted{}, Done{}, err
	}
	team, err := s.teamRole(ctx, ticket.team, p.id)
	return Accepted{Team: team, User: p.account(), Session: &session}, out.Done, err
}

// unclaimed refuses an address that has an account, unless this is a
// repetition of the attempt that may have made it.
func (s *Service) unclaimed(ctx context.Context, address domain.AddressID) error {
	if attempt := attemptOf(ctx); attempt != nil && attempt.recovering {
		return nil
	}
	owner, err := s.owner(ctx, address)
	if err == nil && owner != "" {
		err = ErrSignInRequired
	}
	return err
}

// homeTeam is the team of their own that somebody gets who signed up by an
// invitation, where the catalog says so.
func (s *Service) homeTeam(ctx context.Context, by Caller, p person, catalog *domain.Catalog, now time.Time) (*eventstore.Commit, error) {
	id := domain.TeamID(newID(ctx, domain.PrefixTeam, "home"))
	events, err := domain.NewTeam(id, s.catalogs).Create(p.id, p.registered.Address, "", catalog)
	if err != nil {
		return nil, err
	}
	return s.commit(ctx, by, s.teams.stream(string(id)), 0, eventstore.Hash{}, now, events)
}

// teamRole is a team as one of its members has it.
func (s *Service) teamRole(ctx context.Context, id domain.TeamID, user domain.UserID) (TeamRole, error) {
	var role TeamRole
	err := s.teams.view(ctx, string(id), func(t *domain.Team, _, _ uint64) {
		role = TeamRole{ID: id, Name: t.Name(), Catalog: t.Catalog().Name, Plan: t.PlanKey()}
		if member, ok := t.Member(user); ok {
			role.Role = member.Role
		}
	})
	return role, err
}

// DeclineInvitation refuses an invitation, for whoever holds its link.
func (s *Service) DeclineInvitation(ctx context.Context, by Caller, token string) (Done, error) {
	ticket, ok := readTicket(token)
	if !ok {
		return Done{}, domain.ErrNotFound
	}
	if by.Anonymous() {
		by.Actor = domain.Invitee
		if invitation, _, _, err := s.openInvitation(ctx, token); err == nil {
			by.DataKey = eventstore.DataKeyOf(invitation.Email)
		}
	}
	address, err := s.addressOf(ctx, by.User)
	if err != nil {
		return Done{}, err
	}
	out, err := s.join(ctx, by, ticket, func(t *domain.Team, now time.Time) (decision, error) {
		// Signed in as somebody else, one isn't the person who was asked.
		if invitation, _ := t.Invitation(ticket.invitation); by.User != "" && invitation.Address != address {
			return decision{}, domain.ErrWrongAccount
		}
		return decided(t.Decline(ticket.invitation, now))
	})
	return out.Done, err
}

// repeats tells whether a refusal may only mean that an earlier try of the
// same attempt got through.
func repeats(ctx context.Context, err error) bool {
	attempt := attemptOf(ctx)
	return attempt != nil && attempt.recovering && errors.Is(err, domain.ErrInvitationUsed)
}
