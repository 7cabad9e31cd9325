package commands

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"roster/domain"
	"roster/eventstore"
)

// crowd lets so many commands come to an aggregate before the first has its
// turn, and waits until all have ended.
func crowd(t *testing.T, s *Service, team domain.TeamID, n int, meanwhile func(), run func(i int) error) {
	t.Helper()
	e := s.teams.entry(string(team))
	e.turn.Lock()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := run(i); err != nil {
				t.Errorf("command %d: %v", i, err)
			}
		})
	}
	for e.pipeline.line.Load() < int32(n) {
		runtime.Gosched()
	}
	meanwhile()
	e.turn.Unlock()
	all.Wait()
}

func inviteNumber(t *testing.T, s *Service, by Caller, team domain.TeamID, i int) error {
	t.Helper()
	_, _, err := s.Invite(t.Context(), by, team, InviteRequest{Email: fmt.Sprintf("%d@example.com", i), Role: "member"})
	return err
}

// wantFolded checks that a team in memory is what its history makes of it.
func wantFolded(t *testing.T, s *Service, team domain.TeamID) {
	t.Helper()
	version, commits := versionOf(t, s, team), history(t, s.store)
	anew := domain.NewTeam(team, s.catalogs)
	for i := range commits {
		for j, recorded := range commits[i].Events {
			if commits[i].Stream == s.teams.stream(string(team)) {
				anew.Apply(recorded.Event, commits[i].Meta(j))
			}
		}
	}
	e := s.teams.entry(string(team))
	e.take()
	defer e.turn.Unlock()
	if e.version != version {
		t.Errorf("version %d is in memory, and %d stored", e.version, version)
	}
	if effects := domain.Effects(anew, e.state, s.Now()); len(effects) > 0 || len(pendingOf(anew)) != len(pendingOf(e.state)) {
		t.Errorf("in memory it is another: %v", effects)
	}
}

func pendingOf(team *domain.Team) []*domain.Invitation {
	return team.Invitations(func(i *domain.Invitation) bool { return i.Status == domain.StatusPending })
}

func TestCommandsThatComeTogetherShareAppends(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	const n = 2*eventstore.MaxAppend + 10
	before, after := end(t, s.store), versionOf(t, s, team)
	var mu sync.Mutex
	taken := map[Done]bool{}
	crowd(t, s, team, n, func() {}, func(i int) error {
		_, done, err := s.CreateAPIKey(t.Context(), owner, team, APIKeyRequest{Name: fmt.Sprint("key ", i), Role: "member"})
		mu.Lock()
		defer mu.Unlock()
		taken[done] = true
		return err
	})
	if len(taken) != n {
		t.Errorf("%d commands were acknowledged with %d different versions", n, len(taken))
	}
	for done := range taken {
		if done.Version <= after || done.Version > after+n || done.Position <= before {
			t.Errorf("acknowledged as %+v", done)
		}
	}
	wantFolded(t, s, team)

	e := s.teams.entry(string(team))
	if e.pipeline.version != e.version {
		t.Errorf("version %d was decided ahead of %d", e.pipeline.version, e.version)
	}
	// One that comes by itself goes past the state ahead, which stays in step.
	if _, err := s.RenameTeam(t.Context(), owner, team, "Other"); err != nil || e.pipeline.version != e.version {
		t.Errorf("version %d after %d, %v", e.pipeline.version, e.version, err)
	}
}

// Refusals are given on what is stored, and each of those that are in the way of
// one another gets one version.
func TestAmongCommandsThatComeTogetherOneWins(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	var mu sync.Mutex
	ended := map[string]int{}
	crowd(t, s, team, 60, func() {}, func(i int) error {
		err := inviteNumber(t, s, owner, team, i%3)
		mu.Lock()
		defer mu.Unlock()
		var refusal *domain.Error
		if errors.As(err, &refusal) {
			ended[refusal.Code]++
			return nil
		}
		ended["ok"]++
		return err
	})
	if ended["ok"] != 3 || ended[domain.ErrAlreadyInvited.Code] != 57 {
		t.Errorf("ended with %v", ended)
	}
	wantFolded(t, s, team)
}

// When a version is taken by another writer, nothing that was decided ahead of it
// is stored, and all is decided anew.
func TestWhatWasDecidedAheadInVainIsDecidedAnew(t *testing.T) {
	t.Parallel()
	store, _ := storeIn(t, t.TempDir())
	s, rival := serviceOn(t, store), serviceOn(t, store)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	lookAt(t, rival, team, func(*domain.Team) {})
	const n = 30
	before := versionOf(t, s, team)
	crowd(t, s, team, n, func() {
		if _, err := rival.RenameTeam(t.Context(), owner, team, "Rival"); err != nil {
			t.Error(err)
		}
	}, func(i int) error {
		return inviteNumber(t, s, owner, team, i)
	})
	if version := versionOf(t, s, team); version != before+n+1 {
		t.Errorf("version %d after %d", version, before)
	}
	lookAt(t, s, team, func(team *domain.Team) {
		if team.Name() != "Rival" {
			t.Errorf("its name is %s", team.Name())
		}
	})
	wantFolded(t, s, team)
}

// What isn't stored yet isn't seen, and who gives up waiting for it learns that
// it isn't known what became of it.
func TestWhatIsDecidedAheadIsNotSeen(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	lookAt(t, s, team, func(*domain.Team) {})
	e := s.teams.entry(string(team))
	p := &e.pipeline
	// As if an append were on its way.
	stuck := &batch{ended: make(chan struct{})}
	p.ahead, p.version, p.last = e.state.Clone(), e.version, e.last
	p.mu.Lock()
	p.storing = stuck
	p.mu.Unlock()

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, _, err := s.Invite(ctx, owner, team, InviteRequest{Email: "one@example.com", Role: "member"})
		ended <- err
	}()
	for p.latest() == stuck {
		runtime.Gosched()
	}
	lookAt(t, s, team, func(team *domain.Team) {
		if len(pendingOf(team)) != 0 {
			t.Error("an invitation that isn't stored was seen")
		}
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}

	gathered := p.latest()
	if p.end(nil) != gathered {
		t.Fatal("what has gathered isn't next")
	}
	s.teams.storeBatches(t.Context(), string(team), e)
	<-gathered.ended
	lookAt(t, s, team, func(team *domain.Team) {
		if len(pendingOf(team)) != 1 {
			t.Error("the invitation is stored, but not seen")
		}
	})
	wantFolded(t, s, team)
}

// A commit that can't be stored is the trouble of its own command alone.
func TestOneThatCantBeStoredIsInNobodysWay(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	lookAt(t, s, team, func(*domain.Team) {})
	const n, odd = 40, 17
	crowd(t, s, team, n, func() {}, func(i int) error {
		by := owner
		if i == odd {
			by.RequestID = strings.Repeat("x", 1000)
		}
		err := inviteNumber(t, s, by, team, i)
		if i == odd {
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("what can't be stored: %v", err)
			}
			return nil
		}
		return err
	})
	lookAt(t, s, team, func(team *domain.Team) {
		if pending := len(pendingOf(team)); pending != n-1 {
			t.Errorf("%d invitations of %d", pending, n-1)
		}
	})
	wantFolded(t, s, team)
}

// A state ahead isn't kept for long when nobody needs it.
func TestAStateAheadIsDropped(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "tenants")
	lookAt(t, s, team, func(*domain.Team) {})
	crowd(t, s, team, 10, func() {}, func(i int) error {
		_, err := s.RenameTeam(t.Context(), owner, team, fmt.Sprint("Team ", i))
		return err
	})
	e := s.teams.entry(string(team))
	p := &e.pipeline
	if again := e.rest(p.used.Add(aheadKept / 4)); again != aheadKept*3/4 || p.version == 0 {
		t.Errorf("after a quarter of the time version %d is kept, for %v more", p.version, again)
	}
	if again := e.rest(p.used.Add(aheadKept)); again != 0 || p.version != 0 || p.ahead != nil {
		t.Errorf("version %d is kept, for %v more", p.version, again)
	}
	if _, err := s.RenameTeam(t.Context(), owner, team, "Later"); err != nil {
		t.Error(err)
	}
	wantFolded(t, s, team)
}
