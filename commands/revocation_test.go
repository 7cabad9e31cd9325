package commands

import (
	"context"
	"sync"
	"testing"

	"roster/domain"
)

// slowNode is a node that reaches nothing before the test allows it.
type slowNode struct {
	asked chan mark

	mu      sync.Mutex
	armed   bool
	reached marks
	changed chan struct{}
}

type mark struct {
	name     string
	position uint64
}

func newSlowNode(t *testing.T, s *Service) *slowNode {
	t.Helper()
	n := &slowNode{asked: make(chan mark, 100), reached: marks{}, changed: make(chan struct{})}
	nodes := standingNodes(s.store)
	nodes.Register(eventsMark, n.wait(eventsMark), s.store.LastPosition)
	nodes.Register(sessionsMark, n.wait(sessionsMark), s.sessions.bucket.Last)
	if err := nodes.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), natsTimeout)
		defer cancel()
		if err := nodes.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	n.mu.Lock()
	n.armed = true
	n.mu.Unlock()
	return n
}

func (n *slowNode) wait(name string) func(context.Context, uint64) error {
	return func(ctx context.Context, position uint64) error {
		for {
			n.mu.Lock()
			there, changed := !n.armed || n.reached[name] >= position, n.changed
			n.mu.Unlock()
			if there {
				return nil
			}
			select {
			case n.asked <- mark{name, position}:
			default:
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (n *slowNode) reach(m mark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reached[m.name] = max(n.reached[m.name], m.position)
	close(n.changed)
	n.changed = make(chan struct{})
}

// waitedFor runs a command and gives the names of the marks that it waited for
// this node to reach.
func (n *slowNode) waitedFor(t *testing.T, what string, run func() error) (names []string) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- run() }()
	for {
		select {
		case m := <-n.asked:
			n.mu.Lock()
			repeated := n.reached[m.name] >= m.position
			n.mu.Unlock()
			if repeated {
				continue
			}
			names = append(names, m.name)
			select {
			case err := <-done:
				t.Errorf("%s: answered %v too early", what, err)
				return names
			default:
			}
			n.reach(m)
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			return names
		}
	}
}

// A command that took something from somebody is acknowledged when every node
// knows, not before; one that only gave something waits for nobody.
func TestARevocationWaitsForEveryNode(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := nodeOn(t, store, withCatalogs(builtin(t, "default")...))
	slow := newSlowNode(t, s)
	ctx := t.Context()
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "")
	operator := Caller{Actor: domain.Operator}
	just := func(_ Done, err error) error { return err }

	// What is made along the way, each by a command that waits for nobody.
	var site domain.Site
	var key NewAPIKey
	var transfer Transfer
	var invitation Invitation
	var passkey Passkey
	var by, other Caller
	guest := accountOn(t, s, "guest@example.com")
	inviting := func() (err error) {
		invitation, _, err = s.Invite(ctx, owner, team, InviteRequest{Email: "guest@example.com", Role: "admin"})
		return err
	}
	joining := func() error {
		_, _, err := s.AcceptInvitation(ctx, guest, tokenOf(invitation), Acceptance{})
		return err
	}
	const events, sessions, nobody = eventsMark, sessionsMark, ""
	for _, step := range []struct {
		what  string
		waits string
		run   func() error
	}{
		{"a plan", events, func() error { return just(s.SetPlan(ctx, operator, team, "business")) }},
		{"a second factor", events, func() error { enable(t, s, owner); return nil }},
		{"a two-factor policy", events, func() error { return just(s.SetTwoFactorPolicy(ctx, owner, team, everyone(30))) }},
		{"a passkey", events, func() error { passkey, _ = addPasskey(t, s, owner, newDevice()); return nil }},
		{"the end of a passkey", events, func() error { return just(s.RemovePasskey(ctx, owner, passkey.ID, passphrase)) }},
		{"the end of the second factor", events, func() error { return just(s.DisableTwoFactor(ctx, owner, passphrase)) }},
		{"a name", nobody, func() error { return just(s.RenameTeam(ctx, owner, team, "Other")) }},
		{"a site", nobody, func() (err error) { site, _, err = s.AddSite(ctx, owner, team, "Site"); return err }},
		{"a key", nobody, func() (err error) {
			key, _, err = s.CreateAPIKey(ctx, owner, team, APIKeyRequest{Name: "k", Role: "member"})
			return err
		}},
		{"an invitation", nobody, inviting},
		{"a new link", events, func() (err error) { invitation, _, err = s.Resend(ctx, owner, team, invitation.ID); return err }},
		{"a cancellation", events, func() error { return just(s.Cancel(ctx, owner, team, invitation.ID)) }},
		{"another invitation", nobody, inviting},
		{"a refusal of it", events, func() error { return just(s.DeclineInvitation(ctx, guest, tokenOf(invitation))) }},
		{"a third invitation", nobody, inviting},
		{"joining", nobody, joining},
		{"a role", events, func() error { return just(s.ChangeRole(ctx, owner, team, guest.User, "member")) }},
		{"the sites of a member", events, func() error {
			return just(s.SetSites(ctx, owner, team, guest.User, []domain.SiteGrant{{Site: site.ID, Role: "viewer"}}))
		}},
		{"the permissions of a member", events, func() error {
			return just(s.SetOverrides(ctx, owner, team, guest.User, domain.Overrides{Revoked: []domain.Permission{"orders:read"}}))
		}},
		{"the end of a site", events, func() error { return just(s.RemoveSite(ctx, owner, team, site.ID)) }},
		{"the end of a key", events, func() error { return just(s.RevokeAPIKey(ctx, owner, team, key.ID)) }},
		{"asking for a transfer", nobody, func() (err error) {
			transfer, _, err = s.RequestTransfer(ctx, owner, team, guest.User, passphrase)
			return err
		}},
		{"a transfer", events, func() error {
			_, _, err := s.ConfirmTransfer(ctx, guest, s.TransferToken(team, transfer.ID))
			return err
		}},
		{"a removal", events, func() error { return just(s.RemoveMember(ctx, guest, team, owner.User)) }},
		{"the end of a team", events, func() error { return just(s.DeleteTeam(ctx, guest, team)) }},

		{"a session", nobody, func() error { by, _ = signedIn(t, s, owner); other, _ = signedIn(t, s, owner); return nil }},
		{"the end of a session", sessions, func() error { return just(s.EndSession(ctx, by, other.Session)) }},
		{"another session", nobody, func() error { other, _ = signedIn(t, s, owner); return nil }},
		{"a password", events + sessions, func() error { return just(s.ChangePassword(ctx, by, passphrase, "an entirely different passphrase")) }},
	} {
		waited := ""
		for _, name := range slow.waitedFor(t, step.what, step.run) {
			waited += name
		}
		if waited != step.waits {
			t.Errorf("%s: waited for %q, not %q", step.what, waited, step.waits)
		}
	}
}

// That it is so already is an acknowledgement as well, and so is that an
// earlier try of the same request has done it.
func TestRepeatedRevocationsWaitToo(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	dead := serviceOn(t, store)
	owner := accountOn(t, dead, "owner@example.com")
	team := teamOf(t, dead, owner, "tenants")
	plain := member(t, dead, owner, team, "plain@example.com", "manager")
	change := func(ctx context.Context, s *Service) error {
		_, err := s.ChangeRole(ctx, owner, team, plain.User, "viewer")
		return err
	}
	first, _ := begun(t, dead, "scope", "key", "body")
	if err := change(first, dead); err != nil {
		t.Fatal(err)
	}

	s := nodeOn(t, store)
	again, _ := begun(t, s, "scope", "key", "body")
	slow := newSlowNode(t, s)
	for what, ctx := range map[string]context.Context{"repeated": again, "asked for anew": t.Context()} {
		slow.mu.Lock()
		slow.reached = marks{}
		slow.mu.Unlock()
		if waited := slow.waitedFor(t, what, func() error { return change(ctx, s) }); len(waited) != 1 || waited[0] != eventsMark {
			t.Errorf("%s: waited for %q", what, waited)
		}
	}
	wantTally(t, store, 0, map[string]int{
		"domain.CatalogPublished": 3, "domain.AddressClaimed": 2, "domain.UserRegistered": 2, "domain.TeamCreated": 1,
		"domain.MemberInvited": 1, "domain.MemberJoined": 1, "domain.EmailVerified": 1, "domain.RoleChanged": 1,
	})
}
