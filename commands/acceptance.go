package commands

import (
	"context"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// What the holder of a link has to do next.
const (
	NextSignUp       = "sign_up"
	NextSignIn       = "sign_in"
	NextAccept       = "accept"
	NextConfirm      = "confirm" // an ownership transfer
	NextWrongAccount = "wrong_account"
)

// Preview is what the holder of a link sees before accepting.
type Preview struct {
	Team      domain.TeamID
	TeamName  string
	Email     string
	Name      string
	Labels    domain.Labels
	Role      domain.RoleKey
	RoleName  string
	RoleAbout string // in a sentence
	Sites     []PreviewSite
	ExpiresAt time.Time
	Next      string

	AccessExpiresAt time.Time // when the membership is to end; zero for never
}

// PreviewSite is a site that comes with an invitation, and the role on it.
type PreviewSite struct {
	ID       domain.SiteID
	Name     string
	Role     domain.RoleKey
	RoleName string
}

// PreviewInvitation shows an invitation to the holder of its link. It changes
// nothing, since programs that scan mail open every link.
func (s *Service) PreviewInvitation(ctx context.Context, by Caller, token string) (Preview, Done, error) {
	invitation, preview, done, err := s.openInvitation(ctx, token)
	if err != nil {
		return Preview{}, done, err
	}
	if by.User == "" {
		owner, err := s.owner(ctx, invitation.Address)
		if err != nil {
			return Preview{}, done, err
		}
		preview.Next = NextSignUp
		if owner != "" {
			preview.Next = NextSignIn
		}
		return preview, done, nil
	}
	address, err := s.addressOf(ctx, by.User)
	if err != nil {
		return Preview{}, done, err
	}
	preview.Next = NextWrongAccount
	if address == invitation.Address {
		preview.Next = NextAccept
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
		preview = Preview{
			Team: t.ID(), TeamName: t.Name(), Labels: t.Catalog().Labels,
			Role: found.Role, RoleName: string(found.Role), ExpiresAt: found.ExpiresAt, AccessExpiresAt: found.AccessExpiresAt,
		}
		if role, ok := t.Role(found.Role); ok {
			preview.RoleName, preview.RoleAbout = role.Name, role.Description
		}
		for _, grant := range found.Sites {
			site, ok := t.Site(grant.Site)
			if !ok {
				continue // it was removed since
			}
			shown := PreviewSite{ID: grant.Site, Name: site.Name, Role: grant.Role, RoleName: string(grant.Role)}
			if role, ok := t.Role(grant.Role); ok {
				shown.RoleName = role.Name
			}
			preview.Sites = append(preview.Sites, shown)
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
	verified, err := do(ctx, s, s.users, string(by.User), unpinned(by), func(u *domain.User, _ time.Time) (decision, error) {
		return decision{events: u.VerifyEmail()}, nil
	})
	if err != nil {
		return Accepted{}, Done{}, err
	}
	accepted, err := s.accepted(ctx, ticket.team, by.User)
	return accepted, Done{max(out.Position, verified.Position), out.Version}, err
}

// accepted is a user who has joined a team.
func (s *Service) accepted(ctx context.Context, id domain.TeamID, user domain.UserID) (Accepted, error) {
	me, _, err := s.me(ctx, user)
	if err != nil {
		return Accepted{}, err
	}
	team, err := s.teamRole(ctx, id, user)
	return Accepted{Team: team, User: me.User}, err
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

// joinAsNew makes the holder of a link a member by a new account, and signs
// them in.
func (s *Service) joinAsNew(ctx context.Context, by Caller, ticket ticket, token string, given Acceptance) (Accepted, Done, error) {
	joined, err := s.earlier(ctx, s.teams.stream(string(ticket.team)))
	if err == nil && joined == nil {
		joined, err = s.openAccountAndJoin(ctx, by, ticket, token, given)
	}
	if err != nil {
		return Accepted{}, Done{}, err
	}
	var user domain.UserID
	for _, recorded := range joined.Events {
		if event, ok := recorded.Event.(domain.MemberJoined); ok {
			user = event.User
		}
	}
	session, err := s.startSession(ctx, by.as(user), passwordAlone)
	if err != nil {
		return Accepted{}, Done{}, err
	}
	accepted, err := s.accepted(ctx, ticket.team, user)
	accepted.Session = &session
	return accepted, Done{session.done.Position, joined.Version}, err
}

// openAccountAndJoin opens an account for the invited address and makes it a
// member, all or nothing. It gives the commit of the team.
func (s *Service) openAccountAndJoin(
	ctx context.Context, by Caller, ticket ticket, token string, given Acceptance,
) (*eventstore.Commit, error) {
	invitation, preview, _, err := s.openInvitation(ctx, token)
	if err != nil {
		return nil, err
	}
	if err := s.unclaimed(ctx, invitation.Address); err != nil {
		return nil, err
	}
	p, err := s.newPerson(ctx, by, preview.Email, given.Name, given.Password)
	if err != nil {
		return nil, err
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
	return out.commit, err
}

// unclaimed refuses an address that has an account.
func (s *Service) unclaimed(ctx context.Context, address domain.AddressID) error {
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
		if member, ok := t.Member(user, s.Now()); ok {
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
	} else if err := by.userOnly(); err != nil {
		return Done{}, err // a key is nobody who could be invited
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
