package commands

import (
	"context"
	"encoding/hex"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// openBuckets opens what is kept beside the events.
func (s *Service) openBuckets(ctx context.Context) error {
	answers, err := s.store.Bucket(ctx, eventstore.BucketConfig{Name: "ANSWERS", TTL: AnswerLifetime, MaxValue: maxAnswerBytes})
	if err != nil {
		return err
	}
	failures, err := s.store.Bucket(ctx, throttleBucket)
	if err != nil {
		return err
	}
	credentials, err := s.store.Bucket(ctx, sessionsBucket)
	if err != nil {
		return err
	}
	factors, err := s.store.Bucket(ctx, factorsBucket)
	if err != nil {
		return err
	}
	cached, err := credentials.Cached(ctx, sessionsInMemory)
	if err != nil {
		return err
	}
	s.answers, s.factors = answers, newRecords(factors, s.Now)
	s.throttle = newThrottle(failures, func(parts ...[]byte) string {
		mac := s.vault.MAC("sign-in throttle", parts...)
		return hex.EncodeToString(mac[:])
	}, s.Now)
	s.sessions = newSessions(cached, s.vault, s.Now)
	return nil
}

// Close ends what the service does in the background, once that is done. Who
// calls the service should have ended before.
func (s *Service) Close() {
	s.background.close()
	s.hostActions.journal.Close()
	s.sessions.bucket.Close()
}

// Follow keeps this node's aggregates current: it notes every commit of the
// event stream, from the end as it is now. ready is called once everything
// that existed then is taken account of. Follow returns when ctx ends or the
// stream can't be followed.
func (s *Service) Follow(ctx context.Context, ready func()) error {
	end, err := s.store.LastPosition(ctx)
	if err != nil {
		return unavailable(err)
	}
	// What was loaded before may lack what came between then and the end.
	if err := s.catalogs.load(ctx, s.store); err != nil {
		return err
	}
	s.teams.forget()
	s.users.forget()
	s.changes.begin(end)
	s.tail.advance(end)
	ready()
	var changes []Change
	return s.store.FollowRaw(ctx, end, func(_ context.Context, commits []eventstore.Message) error {
		changes = changes[:0]
		for i := range commits {
			if err := s.observe(&commits[i]); err != nil {
				return err
			}
			changes = changesOf(changes, &commits[i])
		}
		position := commits[len(commits)-1].Position
		// After the aggregates: whoever hears of a change finds it there. Before
		// the tail: whoever waited for a position finds its changes.
		s.changes.add(changes, position)
		s.tail.advance(position)
		return nil
	})
}

// register tells the other nodes what they have to wait for on this one.
func (s *Service) register() {
	s.nodes.Register(eventsMark, s.Wait, s.store.LastPosition)
	s.nodes.Register(sessionsMark, s.sessions.bucket.Reached, s.sessions.bucket.Last)
}

// observe takes account of one commit. A role catalog that this program can't
// read is an error: nobody must be judged by the one before it.
func (s *Service) observe(message *eventstore.Message) error {
	switch message.Stream.Kind {
	case eventstore.KindTeam:
		s.teams.observe(message.Stream.ID, message.Version)
	case eventstore.KindUser:
		s.users.observe(message.Stream.ID, message.Version)
	case eventstore.KindCatalog:
		commit, err := message.Decode()
		if err != nil {
			return err
		}
		if err := s.catalogs.take(&commit); err != nil {
			return err
		}
		s.teams.forget() // teams hold what their roles mean, so they are folded anew
	}
	return nil
}

// InvitationFacts is what a message about one link of an invitation says.
type InvitationFacts struct {
	Email, Name        domain.Sealed
	TeamName, RoleName string
	Sites              []SiteRole
	Labels             domain.Labels
	Inviter            string // the name of the user who invited; empty for an API key or an erased user
	ExpiresAt          time.Time
	Stands             bool // the invitation is pending with this link
}

// SiteRole is a role on a site, as names.
type SiteRole struct{ Site, Role string }

// InvitationFacts gives what a message about one link of an invitation says,
// by a state of the team that isn't older than the version.
func (s *Service) InvitationFacts(
	ctx context.Context, team domain.TeamID, version uint64, id domain.InvitationID, link int,
) (InvitationFacts, error) {
	s.teams.observe(string(team), version)
	var facts InvitationFacts
	var inviter domain.Actor
	err := s.teams.view(ctx, string(team), func(t *domain.Team, _, _ uint64) {
		invitation, ok := t.Invitation(id)
		if !ok || !t.Live() {
			return
		}
		roleName := func(key domain.RoleKey) string {
			if role, ok := t.Role(key); ok {
				return role.Name
			}
			return string(key)
		}
		facts = InvitationFacts{
			Email: invitation.Email, Name: invitation.Name,
			TeamName: t.Name(), RoleName: roleName(invitation.Role), Labels: t.Catalog().Labels, ExpiresAt: invitation.ExpiresAt,
			Stands: invitation.Link == link && invitation.StatusAt(s.Now()) == domain.StatusPending,
		}
		for _, grant := range invitation.Sites {
			if site, ok := t.Site(grant.Site); ok {
				facts.Sites = append(facts.Sites, SiteRole{site.Name, roleName(grant.Role)})
			}
		}
		inviter = invitation.InvitedBy
	})
	if err != nil || !facts.Stands || inviter.Type != domain.ActorUser {
		return facts, err
	}
	me, _, err := s.me(ctx, domain.UserID(inviter.ID))
	facts.Inviter = me.User.Name
	return facts, err
}
