package commands

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"roster/domain"
	"roster/eventstore"
)

// dying is the context of a process that dies when it has been looked at so
// many times. Everything that a command waits for looks at its context.
type dying struct {
	context.Context
	left *atomic.Int64
	die  context.CancelFunc
}

func dyingAfter(ctx context.Context, looks int) (dying, context.CancelFunc) {
	ctx, die := context.WithCancel(ctx)
	d := dying{ctx, &atomic.Int64{}, die}
	d.left.Store(int64(looks))
	return d, die
}

func (d dying) look() {
	if d.left.Add(-1) == 0 {
		d.die()
	}
}

func (d dying) Done() <-chan struct{} {
	d.look()
	return d.Context.Done()
}

func (d dying) Err() error {
	d.look()
	return d.Context.Err()
}

// command is a command as it is repeated: with the same request, by whichever
// service gets it.
type command func(ctx context.Context, s *Service) (result any, err error)

// maxRounds is more than any command looks at its context.
const maxRounds = 200

// dieEverywhere runs a command in a process that dies in the middle of it: at
// the first point, at the second, and so on until it gets through. After each
// death a process of a new start repeats the request, and gets through at the
// first try. prepare makes the command for each round.
func dieEverywhere(t *testing.T, store *eventstore.Store, prepare func(round int) command) (rounds int) {
	t.Helper()
	survived := false
	for round := 1; !survived; round++ {
		if round > maxRounds {
			t.Fatalf("not through after %d rounds", maxRounds)
		}
		run := prepare(round)
		key, request := fmt.Sprint("key ", round), sha256.Sum256(fmt.Append(nil, round))

		victim := serviceOn(t, store)
		ctx, attempt, answer, err := victim.Begin(t.Context(), "scope", key, request)
		if err != nil || answer != nil {
			t.Fatalf("round %d: the first try: %v, %v", round, answer, err)
		}
		deadly, die := dyingAfter(ctx, round)
		first, err := run(deadly, victim)
		die()
		switch {
		case err == nil:
			survived = true
		case !errors.Is(err, context.Canceled) && !errors.Is(err, ErrUnavailable):
			t.Fatalf("round %d: died with %v", round, err)
		}
		victim.Close()

		heir := serviceOn(t, store)
		ctx, repeated, answer, err := heir.Begin(t.Context(), "scope", key, request)
		if err != nil || answer != nil {
			t.Fatalf("round %d: the second try: %v, %v", round, answer, err)
		}
		second, err := run(ctx, heir)
		if err != nil {
			t.Fatalf("round %d: repeated: %v", round, err)
		}
		if survived {
			if diff := cmp.Diff(first, second, cmp.AllowUnexported(NewSession{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("round %d: the repetition answers otherwise:\n%s", round, diff)
			}
		}
		if err := repeated.Finish(t.Context(), Answer{Status: 201}); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := attempt.Finish(t.Context(), Answer{Status: 500}); !errors.Is(err, eventstore.ErrConflict) {
			t.Errorf("round %d: the dead one answered too: %v", round, err)
		}
		heir.Close()
		rounds = round
	}
	return rounds
}

// tally counts the events of each type and stream that came after a position.
func tally(t *testing.T, store *eventstore.Store, after uint64) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, commit := range history(t, store) {
		if commit.Position <= after {
			continue
		}
		for _, recorded := range commit.Events {
			counts[fmt.Sprintf("%T", recorded.Event)]++
		}
	}
	return counts
}

func wantTally(t *testing.T, store *eventstore.Store, after uint64, want map[string]int) {
	t.Helper()
	if diff := cmp.Diff(want, tally(t, store, after)); diff != "" {
		t.Errorf("what was written, want -, got +:\n%s", diff)
	}
}

func end(t testing.TB, store *eventstore.Store) uint64 {
	t.Helper()
	position, err := store.LastPosition(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return position
}

func TestRegisterSurvivesDeath(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	serviceOn(t, store)
	before := end(t, store)
	rounds := dieEverywhere(t, store, func(round int) command {
		return func(ctx context.Context, s *Service) (any, error) {
			registered, done, err := s.Register(ctx, Caller{IP: home}, Registration{
				Email: fmt.Sprintf("r%d@example.com", round), Name: "R", Password: passphrase,
			})
			if err == nil {
				by, err := s.Authenticate(t.Context(), registered.Session.Token)
				if err != nil || by.User != registered.User.ID {
					t.Errorf("round %d: the session is %v's: %v", round, by.User, err)
				}
			}
			return []any{registered, done}, err
		}
	})
	wantTally(t, store, before, map[string]int{
		"domain.AddressClaimed": rounds, "domain.UserRegistered": rounds,
		"domain.TeamCreated": rounds, "domain.SessionStarted": rounds,
	})
}

func TestCreateTeamSurvivesDeath(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	owner := accountOn(t, serviceOn(t, store), "owner@example.com")
	before := end(t, store)
	rounds := dieEverywhere(t, store, func(round int) command {
		return func(ctx context.Context, s *Service) (any, error) {
			team, done, err := s.CreateTeam(ctx, owner, fmt.Sprint("Team ", round), "")
			return []any{team, done}, err
		}
	})
	wantTally(t, store, before, map[string]int{"domain.TeamCreated": rounds})
}

func TestInviteSurvivesDeath(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store)
	owner := accountOn(t, s, "owner@example.com")
	before := end(t, store)
	rounds := dieEverywhere(t, store, func(round int) command {
		team := teamOf(t, s, owner, "tenants")
		return func(ctx context.Context, s *Service) (any, error) {
			invitation, done, err := s.Invite(ctx, owner, team, InviteRequest{Email: fmt.Sprintf("i%d@example.com", round), Role: "member"})
			return []any{invitation, done}, err
		}
	})
	wantTally(t, store, before, map[string]int{"domain.TeamCreated": rounds, "domain.MemberInvited": rounds})
}

func TestInviteAllSurvivesDeath(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store)
	owner := accountOn(t, s, "owner@example.com")
	before := end(t, store)
	rounds := dieEverywhere(t, store, func(round int) command {
		team := teamOf(t, s, owner, "tenants")
		return func(ctx context.Context, s *Service) (any, error) {
			wanted := make([]InviteRequest, 4)
			for i := range wanted {
				wanted[i] = InviteRequest{Email: fmt.Sprintf("i%d-%d@example.com", round, i), Role: "member"}
			}
			wanted[2].Role = "owner"
			invited, done := s.InviteAll(ctx, owner, team, wanted)
			for i, one := range invited {
				var refusal *domain.Error
				switch {
				case one.Err != nil && !errors.As(one.Err, &refusal):
					return nil, one.Err
				case (i == 2) != (one.Err != nil):
					t.Errorf("round %d: invitation %d: %v", round, i, one.Err)
				}
			}
			return []any{invited, done}, nil
		}
	})
	wantTally(t, store, before, map[string]int{"domain.TeamCreated": rounds, "domain.MemberInvited": 3 * rounds})
}

func TestCreateAPIKeySurvivesDeath(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store)
	owner := accountOn(t, s, "owner@example.com")
	before := end(t, store)
	rounds := dieEverywhere(t, store, func(round int) command {
		team := teamOf(t, s, owner, "tenants")
		return func(ctx context.Context, s *Service) (any, error) {
			key, done, err := s.CreateAPIKey(ctx, owner, team, APIKeyRequest{Name: fmt.Sprint("key ", round), Role: "member"})
			if err == nil {
				if by, err := s.Authenticate(t.Context(), key.Secret); err != nil || by.Actor != domain.ByAPIKey(key.ID) {
					t.Errorf("round %d: the key is %v: %v", round, by.Actor, err)
				}
			}
			return []any{key, done}, err
		}
	})
	wantTally(t, store, before, map[string]int{"domain.TeamCreated": rounds, "domain.APIKeyCreated": rounds})
}

func TestAcceptanceSurvivesDeath(t *testing.T) {
	t.Parallel()
	t.Run("as a new user", func(t *testing.T) {
		t.Parallel()
		store, _ := storeIn(t, t.TempDir())
		s := serviceOn(t, store)
		owner := accountOn(t, s, "owner@example.com")
		before := end(t, store)
		rounds := dieEverywhere(t, store, func(round int) command {
			team := teamOf(t, s, owner, "tenants")
			_, token := invite(t, s, owner, team, fmt.Sprintf("n%d@example.com", round), "member")
			return func(ctx context.Context, s *Service) (any, error) {
				accepted, done, err := s.AcceptInvitation(ctx, Caller{IP: home}, token, Acceptance{Name: "N", Password: passphrase})
				if err == nil {
					if by, err := s.Authenticate(t.Context(), accepted.Session.Token); err != nil || by.User != accepted.User.ID {
						t.Errorf("round %d: the session is %v's: %v", round, by.User, err)
					}
				}
				return []any{accepted, done}, err
			}
		})
		wantTally(t, store, before, map[string]int{
			"domain.MemberInvited": rounds, "domain.MemberJoined": rounds, "domain.SessionStarted": rounds,
			"domain.AddressClaimed": rounds, "domain.UserRegistered": rounds, "domain.TeamCreated": 2 * rounds, // theirs and their home
		})
	})
	t.Run("as a signed-in user", func(t *testing.T) {
		t.Parallel()
		store, _ := storeIn(t, t.TempDir())
		s := serviceOn(t, store)
		owner := accountOn(t, s, "owner@example.com")
		before := end(t, store)
		rounds := dieEverywhere(t, store, func(round int) command {
			team := teamOf(t, s, owner, "tenants")
			email := fmt.Sprintf("s%d@example.com", round)
			by := accountOn(t, s, email)
			_, token := invite(t, s, owner, team, email, "member")
			return func(ctx context.Context, s *Service) (any, error) {
				accepted, done, err := s.AcceptInvitation(ctx, by, token, Acceptance{})
				if err == nil && !accepted.User.Verified {
					t.Errorf("round %d: the address isn't verified", round)
				}
				return []any{accepted, done}, err
			}
		})
		wantTally(t, store, before, map[string]int{
			"domain.AddressClaimed": rounds, "domain.UserRegistered": rounds, "domain.TeamCreated": rounds,
			"domain.MemberInvited": rounds, "domain.MemberJoined": rounds, "domain.EmailVerified": rounds,
		})
	})
}

// What asks for the present password finds what it did even though that
// password, or the state that it was decided on, is no more.
func TestWhatAsksForThePasswordSurvivesDeath(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store)
	repeat := func(run command) (first, second any) {
		t.Helper()
		request := sha256.Sum256(nil)
		key := eventstore.NewID("key")
		for i, result := range []*any{&first, &second} {
			ctx, _, _, err := serviceOn(t, store).Begin(t.Context(), "scope", key, request)
			if err == nil {
				*result, err = run(ctx, serviceOn(t, store))
			}
			if err != nil {
				t.Fatalf("try %d: %v", i+1, err)
			}
		}
		return first, second
	}

	by := accountOn(t, s, "one@example.com")
	first, second := repeat(func(ctx context.Context, s *Service) (any, error) {
		done, err := s.ChangePassword(ctx, by, passphrase, "a different heron altogether")
		return done, err
	})
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error("a change of the password:", diff)
	}

	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "default")
	heir := member(t, s, owner, team, "heir@example.com", "admin")
	first, second = repeat(func(ctx context.Context, s *Service) (any, error) {
		transfer, _, err := s.RequestTransfer(ctx, owner, team, heir.User, passphrase)
		return transfer, err
	})
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error("a transfer:", diff)
	}

	invitation, _ := invite(t, s, owner, team, "late@example.com", "member")
	first, second = repeat(func(ctx context.Context, s *Service) (any, error) {
		resent, _, err := s.Resend(ctx, owner, team, invitation.ID)
		return resent, err
	})
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error("an invitation sent again:", diff)
	}
	history(t, store)
}

// A session that has ended doesn't come back when the request that made it is
// repeated because its answer was never kept.
func TestARepetitionRevivesNoSession(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	signIn := func(s *Service) SignedIn {
		t.Helper()
		ctx, _, _, err := s.Begin(t.Context(), "scope", "key", sha256.Sum256(nil))
		if err != nil {
			t.Fatal(err)
		}
		in, _, err := s.SignIn(ctx, Caller{IP: home}, "one@example.com", passphrase)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	s := serviceOn(t, store)
	accountOn(t, s, "one@example.com")
	first := signIn(s)
	by, err := s.Authenticate(t.Context(), first.Session.Token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SignOut(t.Context(), by); err != nil {
		t.Fatal(err)
	}
	again := serviceOn(t, store)
	if second := signIn(again); second.Session.Token != first.Session.Token {
		t.Error("the repetition answers otherwise")
	}
	if _, err := again.Authenticate(t.Context(), first.Session.Token); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("the session is back: %v", err)
	}
	history(t, store)
}

// A try that was taken for dead and isn't meets what the other one did.
func TestTwoTriesAtOnceWriteOnce(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s := serviceOn(t, store)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	before := end(t, store)
	const tries = 4
	services := make([]*Service, tries)
	for i := range services {
		services[i] = serviceOn(t, store)
	}
	ended := atOnce(t, tries, func(i int) error {
		ctx, _, _, err := services[i].Begin(t.Context(), "scope", "key", sha256.Sum256(nil))
		if err != nil {
			return err
		}
		if _, _, err = services[i].CreateAPIKey(ctx, owner, team, APIKeyRequest{Name: "one", Role: "member"}); err != nil {
			return err
		}
		_, _, err = services[i].Register(ctx, Caller{IP: home}, Registration{Email: "one@example.com", Name: "O", Password: passphrase})
		return err
	})
	if ended["ok"] != tries {
		t.Errorf("ended with %v", ended)
	}
	wantTally(t, store, before, map[string]int{
		"domain.APIKeyCreated": 1, "domain.AddressClaimed": 1, "domain.UserRegistered": 1,
		"domain.TeamCreated": 1, "domain.SessionStarted": 1,
	})
}

// The same, for each place at which the slower one may find out: its append
// fails, or it would refuse.
func TestTheSlowerTryFindsWhatTheOtherDid(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	slow, fast := serviceOn(t, store), serviceOn(t, store)
	owner := accountOn(t, slow, "owner@example.com")
	team := teamOf(t, slow, owner, "tenants")
	before := end(t, store)
	for name, refusal := range map[string]error{"appends": nil, "refuses": domain.ErrAlreadyInvited} {
		slowly, _ := begun(t, slow, "scope", name, "body")
		var done Done
		out, err := do(slowly, slow, slow.teams, string(team), owner, func(state *domain.Team, now time.Time) (decision, error) {
			if done.Version > 0 {
				t.Errorf("%s: decided again", name)
			}
			ctx, _ := begun(t, fast, "scope", name, "body")
			var err error
			if done, err = fast.RenameTeam(ctx, owner, team, name); err != nil {
				return decision{}, err
			}
			if refusal != nil {
				return decision{}, refusal
			}
			return decided(state.Rename(owner.Actor, name, now))
		})
		if err != nil || out.Done != done || out.commit == nil {
			t.Errorf("%s: %+v, %v, where the other had %+v", name, out, err, done)
		}
	}
	wantTally(t, store, before, map[string]int{"domain.TeamRenamed": 2})
}
