package commands

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
)

func TestAPIKeyFromStartToEnd(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ctx := t.Context()
	owner := accountOn(t, s, "owner@example.com")
	team, foreign := teamOf(t, s, owner, "distribu"), teamOf(t, s, owner, "distribu")
	expires := clock.now().Add(time.Hour)
	key, _, err := s.CreateAPIKey(ctx, owner, team, APIKeyRequest{Name: " ci ", Role: "ADMIN", ExpiresAt: &expires})
	if err != nil {
		t.Fatal(err)
	}
	if key.Name != "ci" || !strings.HasPrefix(key.Prefix, "rk_…") || strings.Contains(key.Secret, key.Prefix[len("rk_…"):]+"x") {
		t.Errorf("the key is %+v", key)
	}
	by, err := s.Authenticate(ctx, key.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Caller{Actor: domain.ByAPIKey(key.ID), Team: team, DataKey: by.DataKey}, by); diff != "" || by.DataKey == "" {
		t.Error(diff)
	}

	// It acts in its team, as nobody in particular, and nowhere else.
	if _, err := s.RenameTeam(ctx, by, team, "Renamed by a key"); err != nil {
		wantCode(t, err, "not_permitted") // the role decides
	}
	if _, _, err := s.Invite(ctx, by, team, InviteRequest{Email: "x@example.com", Role: "MEMBER"}); err != nil {
		t.Error(err)
	}
	before := end(t, s.store)
	for what, err := range map[string]error{
		"looking":  look(s, by, foreign),
		"renaming": func() error { _, err := s.RenameTeam(ctx, by, foreign, "x"); return err }(),
		"inviting": func() error {
			_, _, err := s.Invite(ctx, by, foreign, InviteRequest{Email: "x@example.com", Role: "MEMBER"})
			return err
		}(),
		"another key": func() error {
			_, _, err := s.CreateAPIKey(ctx, by, foreign, APIKeyRequest{Name: "x", Role: "MEMBER"})
			return err
		}(),
	} {
		if !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s in another team: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"a team":     func() error { _, _, err := s.CreateTeam(ctx, by, "x", ""); return err }(),
		"an account": func() error { _, _, err := s.Me(ctx, by); return err }(),
		"sessions":   func() error { _, err := s.Sessions(ctx, by); return err }(),
		"a password": func() error { _, err := s.ChangePassword(ctx, by, "", passphrase); return err }(),
		"leaving":    func() error { _, err := s.Leave(ctx, by, team); return err }(),
	} {
		if !errors.Is(err, domain.ErrNotPermitted) {
			t.Errorf("a key and %s: %v", what, err)
		}
	}
	if after := end(t, s.store); after != before {
		t.Errorf("%d commits were appended", after-before)
	}

	clock.forward(time.Hour - time.Microsecond)
	if _, err := s.Authenticate(ctx, key.Secret); err != nil {
		t.Errorf("just before it ends: %v", err)
	}
	clock.forward(time.Microsecond)
	if _, err := s.Authenticate(ctx, key.Secret); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("at its end: %v", err)
	}
}

func TestAMutatedAPIKeyIsNoKey(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team, foreign := teamOf(t, s, owner, "distribu"), teamOf(t, s, owner, "distribu")
	create := func(team domain.TeamID) NewAPIKey {
		t.Helper()
		key, _, err := s.CreateAPIKey(t.Context(), owner, team, APIKeyRequest{Name: "one", Role: "MEMBER"})
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	key, second, theirs := create(team), create(team), create(foreign)
	secret := func(k NewAPIKey) string { return k.Secret[len(k.Secret)-43:] }
	mutants := map[string]string{
		"of another team":              apiKeyToken(foreign, key.ID, secret(key)),
		"with the id of another":       apiKeyToken(team, second.ID, secret(key)),
		"with the secret of another":   apiKeyToken(team, key.ID, secret(second)),
		"of another team's key":        apiKeyToken(team, theirs.ID, secret(theirs)),
		"of nobody's team":             apiKeyToken(domain.TeamID(eventstore.NewID("team")), key.ID, secret(key)),
		"of nobody":                    apiKeyToken(team, domain.APIKeyID(eventstore.NewID("key")), secret(key)),
		"longer":                       key.Secret + "A",
		"cut":                          key.Secret[:len(key.Secret)-1],
		"without its secret":           key.Secret[:len(key.Secret)-43],
		"its hash":                     hashSecret(key.Secret),
		"with its hash for the secret": apiKeyToken(team, key.ID, hashSecret(key.Secret)[:43]),
		"in upper case":                strings.ToUpper(key.Secret),
		"only a prefix":                apiKeyPrefix,
		"nothing":                      "",
		"with wild cards":              apiKeyPrefix + strings.Repeat("*", 52) + "_" + secret(key),
		"with dots":                    apiKeyPrefix + strings.Repeat(".", 52) + "_" + secret(key),
	}
	for i := range len(key.Secret) {
		c := byte('0')
		if key.Secret[i] == c {
			c = '1'
		}
		mutants[fmt.Sprint("with another character at ", i)] = key.Secret[:i] + string(c) + key.Secret[i+1:]
	}
	for what, mutant := range mutants {
		if by, err := s.Authenticate(t.Context(), mutant); !errors.Is(err, ErrUnauthenticated) || by != (Caller{}) {
			t.Errorf("%s: %+v, %v", what, by, err)
		}
	}
	if _, err := s.Authenticate(t.Context(), key.Secret); err != nil {
		t.Error(err)
	}
	// A key outlives whoever made it, but not its team.
	if _, err := s.DeleteTeam(t.Context(), owner, team); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), key.Secret); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("the key of a deleted team: %v", err)
	}
}

func TestOperatorToken(t *testing.T) {
	t.Parallel()
	s := service(t)
	none := serviceOn(t, s.store, func(c *Config) { c.OperatorToken = "" })
	by, err := s.Authenticate(t.Context(), operatorToken)
	if err != nil || by.Actor != domain.Operator || by.User != "" || by.DataKey == "" {
		t.Errorf("the operator is %+v, %v", by, err)
	}
	for _, wrong := range []string{
		"", operatorToken + "x", operatorToken[1:], operatorToken[:len(operatorToken)-1], strings.ToUpper(operatorToken), " " + operatorToken,
	} {
		if _, err := s.Authenticate(t.Context(), wrong); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	for _, token := range []string{"", operatorToken} {
		if _, err := none.Authenticate(t.Context(), token); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("without an operator, %q: %v", token, err)
		}
	}
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "distribu")
	if _, err := s.SetPlan(t.Context(), by, team, "scale"); err != nil {
		t.Error(err)
	}
	// The operator looks after teams and is in none.
	_, _, err = s.Invite(t.Context(), by, team, InviteRequest{Email: "x@example.com", Role: "MEMBER"})
	if err == nil {
		t.Error("the operator invites")
	}
}

func TestOwnershipLink(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := service(t, withClock(clock))
	ctx := t.Context()
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "default")
	heir := member(t, s, owner, team, "heir@example.com", "admin")
	other := member(t, s, owner, team, "other@example.com", "admin")

	_, _, err := s.RequestTransfer(ctx, owner, team, heir.User, "not the passphrase")
	wantCode(t, err, "wrong_password")
	_, _, err = s.RequestTransfer(ctx, other, team, heir.User, passphrase)
	if !errors.Is(err, domain.ErrNotPermitted) {
		t.Errorf("asked for by an admin: %v", err)
	}
	transfer, _, err := s.RequestTransfer(ctx, owner, team, heir.User, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	token := s.TransferToken(team, transfer.ID)
	for i := range len(token) {
		c := "A"
		if token[i] == 'A' {
			c = "B"
		}
		if _, _, err := s.ConfirmTransfer(ctx, heir, token[:i]+c+token[i+1:]); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("with another character at %d: %v", i, err)
		}
	}
	for _, wrong := range []string{"", token + "A", token[:40] + "\n" + token[40:], s.InvitationToken(team, domain.InvitationID("inv"+transfer.ID[3:]), 1)} {
		if _, _, err := s.ConfirmTransfer(ctx, heir, wrong); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	_, _, err = s.ConfirmTransfer(ctx, other, token)
	wantCode(t, err, "wrong_account")
	_, _, err = s.ConfirmTransfer(ctx, Caller{}, token)
	wantCode(t, err, "unauthenticated")
	ended := atOnce(t, 16, func(int) error {
		_, _, err := s.ConfirmTransfer(ctx, heir, token)
		return err
	})
	if diff := cmp.Diff(map[string]int{"ok": 1, "transfer_ended": 15}, ended); diff != "" {
		t.Error(diff)
	}
	lookAt(t, s, team, func(state *domain.Team) {
		if state.Owner() != heir.User {
			t.Errorf("the owner is %s", state.Owner())
		}
	})
}
