package commands

import (
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
)

// dead checks that a link does nothing any more, for nobody.
func dead(t *testing.T, s *Service, what, token, code string, holders ...Caller) {
	t.Helper()
	before := end(t, s.store)
	for _, by := range append(holders, Caller{IP: home}) {
		_, _, err := s.PreviewInvitation(t.Context(), by, token)
		wantLink(t, what+", looked at", err, code)
		_, _, err = s.AcceptInvitation(t.Context(), by, token, Acceptance{Name: "N", Password: passphrase})
		wantLink(t, what+", accepted", err, code)
		_, err = s.DeclineInvitation(t.Context(), by, token)
		wantLink(t, what+", declined", err, code)
	}
	if after := end(t, s.store); after != before {
		t.Errorf("%s: %d commits were appended", what, after-before)
	}
}

func wantLink(t *testing.T, what string, err error, code string) {
	t.Helper()
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestAMutatedLinkLeadsNowhere(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team, foreign := teamOf(t, s, owner, "tenants"), teamOf(t, s, owner, "tenants")
	invitation, token := invite(t, s, owner, team, "guest@example.com", "member")
	other, _ := invite(t, s, owner, team, "other@example.com", "member")
	elsewhere, _ := invite(t, s, owner, foreign, "guest@example.com", "member")
	guest := accountOn(t, s, "guest@example.com")
	before := end(t, s.store)

	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != invitationTokenBytes {
		t.Fatal(len(raw), err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	mutants := map[string]string{
		"empty": "", "cut": token[:len(token)-1], "longer": token + "A", "padded": token + "==", "twice": token + token,
		"in another alphabet":         base64.StdEncoding.EncodeToString(raw),
		"with a line break":           token[:40] + "\n" + token[40:],
		"without its proof":           encode(raw[:32]),
		"with an empty proof":         encode(append(raw[:32:32], make([]byte, 32)...)),
		"of another invitation":       encode(append(append(raw[:16:16], uuidOf(t, "inv", string(other.ID))...), raw[32:]...)),
		"of another team":             encode(append(append(uuidOf(t, "team", string(foreign)), raw[16:32]...), raw[32:]...)),
		"of a foreign invitation":     encode(append(append(raw[:16:16], uuidOf(t, "inv", string(elsewhere.ID))...), raw[32:]...)),
		"of a later link":             s.InvitationToken(team, invitation.ID, 2),
		"of an earlier link":          s.InvitationToken(team, invitation.ID, 0),
		"of an ownership transfer":    s.TransferToken(team, domain.TransferID("trf"+string(invitation.ID[3:]))),
		"with a stray bit at its end": token[:len(token)-1] + strayBit(token[len(token)-1]),
	}
	for i := range raw {
		for _, flip := range []byte{1, 0x80} {
			mutant := append([]byte(nil), raw...)
			mutant[i] ^= flip
			mutants[fmt.Sprintf("with byte %d changed by %#x", i, flip)] = encode(mutant)
		}
	}
	for what, mutant := range mutants {
		_, _, err := s.PreviewInvitation(t.Context(), Caller{}, mutant)
		wantLink(t, what, err, "not_found")
		_, _, err = s.AcceptInvitation(t.Context(), guest, mutant, Acceptance{})
		wantLink(t, what, err, "not_found")
		_, err = s.DeclineInvitation(t.Context(), guest, mutant)
		wantLink(t, what, err, "not_found")
	}
	for _, mutant := range []string{mutants["empty"], mutants["with byte 63 changed by 0x1"]} {
		_, _, err = s.AcceptInvitation(t.Context(), Caller{IP: home}, mutant, Acceptance{Name: "N", Password: passphrase})
		wantLink(t, "for somebody new", err, "not_found")
		_, err = s.DeclineInvitation(t.Context(), Caller{IP: home}, mutant)
		wantLink(t, "for somebody new", err, "not_found")
	}
	if after := end(t, s.store); after != before {
		t.Errorf("%d commits were appended", after-before)
	}
	if _, _, err := s.AcceptInvitation(t.Context(), guest, token, Acceptance{}); err != nil {
		t.Errorf("the link itself: %v", err)
	}
}

// strayBit gives a character that decodes to the same last byte: base64 leaves
// bits over.
func strayBit(last byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(alphabet) {
		if alphabet[i] == last {
			return string(alphabet[i^1])
		}
	}
	return "="
}

func uuidOf(t *testing.T, prefix, id string) []byte {
	t.Helper()
	uuid, err := domain.ParseID(prefix, id)
	if err != nil {
		t.Fatal(err)
	}
	return uuid[:]
}

func TestALinkDiesForGood(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ctx := t.Context()
	owner := accountOn(t, s, "owner@example.com")
	guest := accountOn(t, s, "guest@example.com")
	team := teamOf(t, s, owner, "tenants")
	again := func() (Invitation, string) { return invite(t, s, owner, team, "guest@example.com", "member") }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	invitation, first := again()
	resent, _, err := s.Resend(ctx, owner, team, invitation.ID)
	must(err)
	dead(t, s, "a link that was sent again", first, "not_found", guest)
	second := tokenOf(resent)
	_, err = s.Cancel(ctx, owner, team, invitation.ID)
	must(err)
	dead(t, s, "a cancelled invitation", second, "invitation_cancelled", guest)
	dead(t, s, "the link before", first, "not_found", guest)

	_, token := again()
	_, err = s.DeclineInvitation(ctx, Caller{IP: home}, token)
	must(err)
	dead(t, s, "a declined invitation", token, "invitation_declined", guest)

	// Nobody sweeps: the clock alone decides.
	invitation, token = again()
	clock.forward(invitation.ExpiresAt.Sub(clock.now()) - time.Microsecond)
	if _, _, err := s.PreviewInvitation(ctx, guest, token); err != nil {
		t.Errorf("just before the deadline: %v", err)
	}
	clock.forward(time.Microsecond)
	dead(t, s, "an expired invitation", token, "invitation_expired", guest)
	must(s.ExpireInvitation(ctx, team, invitation.ID))
	must(s.ExpireInvitation(ctx, team, invitation.ID))
	dead(t, s, "an invitation recorded as expired", token, "invitation_expired", guest)

	_, token = again()
	_, _, err = s.AcceptInvitation(ctx, guest, token, Acceptance{})
	must(err)
	dead(t, s, "an accepted invitation", token, "invitation_used", guest)
	_, err = s.RemoveMember(ctx, owner, team, guest.User)
	must(err)
	dead(t, s, "an accepted invitation after the removal", token, "invitation_used", guest)
	if err := look(s, guest, team); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("the removed member is in: %v", err)
	}

	_, token = again()
	_, err = s.DeleteTeam(ctx, owner, team)
	must(err)
	dead(t, s, "an invitation of a deleted team", token, "not_found", guest)
}

func TestAnInvitationIsForItsAddressAlone(t *testing.T) {
	t.Parallel()
	s := service(t)
	ctx := t.Context()
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "distribu")
	_, token := invite(t, s, owner, team, "Guest@Example.com", "MEMBER")
	next := func(by Caller) string {
		t.Helper()
		preview, _, err := s.PreviewInvitation(ctx, by, token)
		if err != nil {
			t.Fatal(err)
		}
		if preview.Email != "guest@example.com" || preview.Team != team || preview.Role != "MEMBER" {
			t.Errorf("it shows %+v", preview)
		}
		return preview.Next
	}
	stranger := accountOn(t, s, "stranger@example.com")
	if got := []string{next(Caller{}), next(stranger), next(owner)}; !cmp.Equal(got, []string{NextSignUp, NextWrongAccount, NextWrongAccount}) {
		t.Error("without an account:", got)
	}
	_, _, err := s.AcceptInvitation(ctx, stranger, token, Acceptance{})
	wantCode(t, err, "wrong_account")
	guest := accountOn(t, s, "guest@example.com")
	if got := []string{next(Caller{}), next(guest)}; !cmp.Equal(got, []string{NextSignIn, NextAccept}) {
		t.Error("with an account:", got)
	}
	_, _, err = s.AcceptInvitation(ctx, Caller{IP: home}, token, Acceptance{Name: "N", Password: passphrase})
	wantCode(t, err, "sign_in_required")
	accepted, _, err := s.AcceptInvitation(ctx, guest, token, Acceptance{Name: "ignored", Password: "ignored"})
	if err != nil || accepted.Team.Role != "MEMBER" || accepted.User.Name == "ignored" || accepted.Session != nil || !accepted.User.Verified {
		t.Errorf("accepted as %+v, %v", accepted, err)
	}
}

func TestAHundredAcceptancesMakeOneMember(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	owner := accountOn(t, a, "owner@example.com")
	team := teamOf(t, a, owner, "distribu")
	guest := accountOn(t, a, "guest@example.com")
	_, token := invite(t, a, owner, team, "guest@example.com", "MEMBER")
	_, fresh := invite(t, a, owner, team, "new@example.com", "MEMBER")

	ended := atOnce(t, 100, func(i int) error {
		_, _, err := []*Service{a, b}[i%2].AcceptInvitation(t.Context(), guest, token, Acceptance{})
		return err
	})
	if diff := cmp.Diff(map[string]int{"ok": 1, "invitation_used": 99}, ended); diff != "" {
		t.Error(diff)
	}
	// Each that gets as far hashes a password, so these are fewer.
	ended = atOnce(t, 12, func(i int) error {
		_, _, err := []*Service{a, b}[i%2].AcceptInvitation(t.Context(), Caller{IP: home}, fresh, Acceptance{Name: "N", Password: passphrase})
		return err
	})
	if ended["ok"] != 1 || ended["ok"]+ended["invitation_used"]+ended["sign_in_required"] != 12 {
		t.Error("new users:", ended)
	}
	joined := map[domain.UserID]int{}
	for _, commit := range history(t, a.store) {
		for _, recorded := range commit.Events {
			if event, ok := recorded.Event.(domain.MemberJoined); ok {
				joined[event.User]++
			}
		}
	}
	if len(joined) != 2 || joined[guest.User] != 1 {
		t.Errorf("joined: %v", joined)
	}
	for _, s := range []*Service{a, b} {
		lookAt(t, s, team, func(state *domain.Team) {
			if diff := cmp.Diff(domain.Seats{Limit: 10, Members: 3}, state.Seats(s.Now())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHomeTeamOfTheInvited(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	for catalog, want := range map[string]int{"tenants": 2, "distribu": 1, "default": 1} {
		team := teamOf(t, s, owner, catalog)
		role := domain.RoleKey("member")
		if catalog == "distribu" {
			role = "MEMBER"
		}
		_, token := invite(t, s, owner, team, catalog+"@example.com", role)
		before := end(t, s.store)
		accepted, done, err := s.AcceptInvitation(t.Context(), Caller{IP: home}, token, Acceptance{Name: "N", Password: passphrase})
		if err != nil {
			t.Fatal(err)
		}
		if accepted.Team.ID != team || accepted.Team.Role != role || !accepted.User.Verified || accepted.Session == nil {
			t.Errorf("%s: accepted as %+v", catalog, accepted)
		}
		if after := end(t, s.store); done.Position != after {
			t.Errorf("%s: answered with position %d, not %d", catalog, done.Position, after)
		}
		teams := map[domain.TeamID]domain.RoleKey{team: role}
		for _, commit := range history(t, s.store) {
			if created, ok := commit.Events[0].Event.(domain.TeamCreated); ok && commit.Position > before {
				teams[domain.TeamID(commit.Stream.ID)] = created.OwnerRole
				if created.Owner != accepted.User.ID || created.Catalog != catalog || created.Name == "" {
					t.Errorf("%s: the home team is %+v", catalog, created)
				}
			}
		}
		if len(teams) != want {
			t.Errorf("%s: the teams are %v", catalog, teams)
		}
		by, err := s.Authenticate(t.Context(), accepted.Session.Token)
		for team := range teams {
			if err := errors.Join(err, look(s, by, team)); err != nil {
				t.Errorf("%s: %v", catalog, err)
			}
		}
	}
	// Somebody who has an account gets no further team.
	guest := accountOn(t, s, "guest@example.com")
	team := teamOf(t, s, owner, "tenants")
	_, token := invite(t, s, owner, team, "guest@example.com", "member")
	if _, _, err := s.AcceptInvitation(t.Context(), guest, token, Acceptance{}); err != nil {
		t.Fatal(err)
	}
	for _, commit := range history(t, s.store) {
		if created, ok := commit.Events[0].Event.(domain.TeamCreated); ok && created.Owner == guest.User {
			t.Errorf("a team was made: %+v", created)
		}
	}
}

// The links of different services and purposes have nothing in common.
func TestLinksOfAnotherMasterKey(t *testing.T) {
	t.Parallel()
	a, b := service(t), service(t)
	team := domain.TeamID(eventstore.NewID(domain.PrefixTeam))
	id := domain.InvitationID(eventstore.NewID(domain.PrefixInvitation))
	if a.InvitationToken(team, id, 1) == b.InvitationToken(team, id, 1) {
		t.Error("links don't depend on the master key")
	}
	if a.InvitationToken("team_x", id, 1) != "" || a.InvitationToken(team, "inv_x", 1) != "" {
		t.Error("a link without an id")
	}
}
