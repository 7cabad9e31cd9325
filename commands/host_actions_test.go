package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
)

// keyOf makes an API key of a team and gives it as a caller.
func keyOf(t testing.TB, s *Service, owner Caller, team domain.TeamID, role domain.RoleKey) Caller {
	t.Helper()
	key, _, err := s.CreateAPIKey(t.Context(), owner, team, APIKeyRequest{Name: "host", Role: role})
	if err != nil {
		t.Fatal(err)
	}
	by, err := s.Authenticate(t.Context(), key.Secret)
	if err != nil {
		t.Fatal(err)
	}
	by.IP, by.UserAgent = home, "a host"
	return by
}

func shipped(id string) domain.HostAction {
	return domain.HostAction{Action: "order.shipped", TargetType: "order", TargetID: id}
}

// hostCommits are the commits of host actions.
func hostCommits(t testing.TB, s *Service) (commits []eventstore.Commit) {
	t.Helper()
	for _, commit := range history(t, s.store) {
		if _, ok := commit.Events[0].Event.(domain.HostActionRecorded); ok {
			commits = append(commits, commit)
		}
	}
	return commits
}

func contentOf(t testing.TB, s *Service, event eventstore.Recorded) string {
	t.Helper()
	text, err := s.vault.Open(t.Context(), event.Event.(domain.HostActionRecorded).Content, string(event.ID)+"/content")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// One action is a commit by its own actor, outside of the team's history.
func TestHostActionAlone(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "anna@example.com")
	team := teamOf(t, s, owner, "default")
	by := keyOf(t, s, owner, team, "admin")
	by.RequestID = "req-1"
	want := shipped("42")
	want.TargetName, want.Detail, want.OnBehalfOf = "Anna's <order>", json.RawMessage(`{"to": "anna@example.com"}`), owner.User

	version := versionOf(t, s, team)
	recorded, done, err := s.RecordAction(t.Context(), by, team, want)
	if err != nil {
		t.Fatal(err)
	}
	commits := hostCommits(t, s)
	if len(commits) != 1 || len(commits[0].Events) != 1 {
		t.Fatalf("got %+v", commits)
	}
	commit := commits[0]
	if diff := cmp.Diff(RecordedAction{commit.ID(), commit.Position, commit.At}, recorded); diff != "" || done != (Done{commit.Position, version}) {
		t.Errorf("done %+v %s", done, diff)
	}
	event := commit.Events[0].Event.(domain.HostActionRecorded)
	if commit.Actor != by.Actor || commit.RequestID != "req-1" || commit.Stream.Kind != eventstore.KindActivity || event.By != nil {
		t.Errorf("the commit is %+v", commit)
	}
	if text := contentOf(t, s, commit.Events[0]); text != `{"name":"Anna's <order>","detail":{"to":"anna@example.com"}}` {
		t.Errorf("the content is %s", text)
	}
	if origin, err := s.vault.Open(t.Context(), commit.Origin, string(commit.ID())+"/origin"); err != nil || !strings.Contains(origin, home) {
		t.Errorf("the origin is %s, %v", origin, err)
	}
	if stored := string(must(json.Marshal(commit))); strings.Contains(stored, "nna") {
		t.Errorf("readable: %s", stored)
	}
	if got := versionOf(t, s, team); got != version {
		t.Errorf("the team went from version %d to %d", version, got)
	}

	// A version that the caller expects is that of the team.
	by.IfMatch = version + 1
	if _, _, err := s.RecordAction(t.Context(), by, team, want); !errors.Is(err, ErrVersionConflict) {
		t.Errorf("another version: %v", err)
	}
	by.IfMatch = version
	if _, _, err := s.RecordAction(t.Context(), by, team, want); err != nil {
		t.Error(err)
	}
	by.IfMatch = 0
	_, _, err = s.RecordAction(t.Context(), by, team, domain.HostAction{Action: "team.deleted"})
	wantField(t, err, "#/action")
	_, _, err = s.RecordAction(t.Context(), accountOn(t, s, "eve@example.com"), team, want)
	wantCode(t, err, "not_found")
	_, _, err = s.RecordAction(t.Context(), Caller{}, team, want)
	wantCode(t, err, "unauthenticated")
	if commits := hostCommits(t, s); len(commits) != 2 {
		t.Errorf("refusals left %d commits", len(commits)-2)
	}
}

// Actions that come at once share commits, and each says by itself who did it,
// from where and in which request.
func TestHostActionsAtOnce(t *testing.T) {
	t.Parallel()
	s := service(t)
	var callers []Caller
	var teams []domain.TeamID
	for i := range 4 {
		owner := accountOn(t, s, fmt.Sprintf("owner%d@example.com", i))
		team := teamOf(t, s, owner, "default")
		teams = append(teams, team)
		callers = append(callers, keyOf(t, s, owner, team, "admin"))
	}
	const each = 64
	var mu sync.Mutex
	made := map[domain.EventID]int{}
	ended := atOnce(t, each*len(callers), func(i int) error {
		by := callers[i%len(callers)]
		by.RequestID, by.IP = fmt.Sprint("req-", i), fmt.Sprint("192.0.2.", i)
		want := shipped(fmt.Sprint(i))
		want.TargetName = fmt.Sprint("Order ", i)
		recorded, _, err := s.RecordAction(t.Context(), by, teams[i%len(teams)], want)
		mu.Lock()
		defer mu.Unlock()
		made[recorded.ID] = i
		return err
	})
	if diff := cmp.Diff(map[string]int{"ok": each * len(callers)}, ended); diff != "" {
		t.Fatal(diff)
	}
	commits := hostCommits(t, s)
	for _, commit := range commits {
		for at, recorded := range commit.Events {
			i, ok := made[recorded.ID]
			if !ok {
				t.Fatalf("nobody was told of %s", recorded.ID)
			}
			delete(made, recorded.ID)
			event := recorded.Event.(domain.HostActionRecorded)
			actor, origin, request := commit.Actor, commit.Origin, commit.RequestID
			if event.By != nil {
				actor, origin, request = event.By.Actor, event.By.Origin, event.By.Request
			}
			if (event.By == nil) != (len(commit.Events) == 1) || actor != callers[i%4].Actor || event.Team != teams[i%4] || request != fmt.Sprint("req-", i) {
				t.Errorf("action %d is %+v by %v in %s", i, event, actor, request)
			}
			text, err := s.vault.Open(t.Context(), origin, string(recorded.ID)+"/origin")
			if err != nil || !strings.Contains(text, fmt.Sprintf(`"192.0.2.%d"`, i)) {
				t.Errorf("action %d, event %d of its commit, came from %s, %v", i, at, text, err)
			}
			if text := contentOf(t, s, recorded); text != fmt.Sprintf(`{"name":"Order %d"}`, i) {
				t.Errorf("the content of action %d is %s", i, text)
			}
		}
	}
	if len(made) > 0 || len(commits) > each {
		t.Errorf("%d actions are missing; %d commits for the rest", len(made), len(commits))
	}
}

// Many actions are all recorded, in order, in as many commits as they need and
// as one append; or none is.
func TestManyHostActions(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "anna@example.com")
	team := teamOf(t, s, owner, "default")
	by := keyOf(t, s, owner, team, "admin")
	wanted := make([]domain.HostAction, MaxHostActions)
	for i := range wanted {
		wanted[i] = shipped(fmt.Sprint(i))
		wanted[i].Detail = json.RawMessage(fmt.Sprintf(`{"i":%d,"text":%q}`, i, strings.Repeat("x", 900)))
	}
	recorded, done, err := s.RecordActions(t.Context(), by, team, wanted)
	if err != nil || len(recorded) != len(wanted) {
		t.Fatal(len(recorded), err)
	}
	commits := hostCommits(t, s)
	i := 0
	for n, commit := range commits {
		if commit.Actor != by.Actor || commit.Version != 1 || commit.Position != commits[0].Position+uint64(n) {
			t.Errorf("commit %+v", commit)
		}
		for _, event := range commit.Events {
			if (RecordedAction{event.ID, commit.Position, commit.At}) != recorded[i] || event.Event.(domain.HostActionRecorded).TargetID != fmt.Sprint(i) {
				t.Fatalf("action %d stands elsewhere", i)
			}
			i++
		}
	}
	if i != len(wanted) || len(commits) < 3 || done.Position != commits[len(commits)-1].Position || done.Version != versionOf(t, s, team) {
		t.Errorf("%d actions in %d commits, %+v", i, len(commits), done)
	}

	wanted[998].Action = "member.removed"
	_, _, err = s.RecordActions(t.Context(), by, team, wanted)
	wantField(t, err, "#/events/998/action")
	wanted[998] = shipped("998")
	wanted[3].TargetName = "two\nlines"
	_, _, err = s.RecordActions(t.Context(), by, team, wanted)
	wantField(t, err, "#/events/3/target/name")
	for _, n := range []int{0, MaxHostActions + 1} {
		_, _, err = s.RecordActions(t.Context(), by, team, make([]domain.HostAction, n))
		wantField(t, err, "#/events")
	}
	_, _, err = s.RecordActions(t.Context(), accountOn(t, s, "eve@example.com"), team, wanted)
	wantCode(t, err, "not_found")
	if after := hostCommits(t, s); len(after) != len(commits) {
		t.Errorf("refusals left %d commits", len(after)-len(commits))
	}
}

// Whatever callers send, their actions fit into commits.
func TestTheLargestHostActions(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "anna@example.com")
	team := teamOf(t, s, owner, "default")
	by := keyOf(t, s, owner, team, "admin")
	by.RequestID, by.UserAgent = strings.Repeat("r", 64), strings.Repeat("<\x01", 150)
	largest := domain.HostAction{
		Action: strings.Repeat("a", domain.MaxActionName), TargetType: strings.Repeat("t", domain.MaxTargetType), TargetID: strings.Repeat("<", domain.MaxTargetID),
		TargetName: strings.Repeat("\U0001F600", domain.MaxNameRunes), Detail: json.RawMessage(`{"a":"` + strings.Repeat("x", domain.MaxDetailBytes-8) + `"}`),
		OnBehalfOf: owner.User, OccurredAt: s.Now(),
	}
	quotes := largest
	quotes.TargetName = strings.Repeat(`"`, domain.MaxNameRunes)
	if diff := cmp.Diff(map[string]int{"ok": 300}, atOnce(t, 300, func(i int) error {
		_, _, err := s.RecordAction(t.Context(), by, team, []domain.HostAction{largest, quotes}[i%2])
		return err
	})); diff != "" {
		t.Error(diff)
	}
	if _, _, err := s.RecordActions(t.Context(), by, team, repeated(largest, 200)); err != nil {
		t.Error(err)
	}
	for _, commit := range hostCommits(t, s) {
		size := 0
		for _, event := range commit.Events {
			e := event.Event.(domain.HostActionRecorded)
			if estimate := hostActionSize(&e); e.By == nil && len(must(json.Marshal(e)))+100 > estimate {
				t.Fatalf("an event of %d bytes is taken for %d", len(must(json.Marshal(e))), estimate)
			}
			size += len(must(json.Marshal(e)))
		}
		if size > eventstore.MaxCommitBytes {
			t.Errorf("a commit of %d bytes", size)
		}
	}
}

func repeated(action domain.HostAction, n int) []domain.HostAction {
	all := make([]domain.HostAction, n)
	for i := range all {
		all[i] = action
	}
	return all
}

// What is said of a member goes when the member is erased; everything else is
// sealed under a key for the team's log, and a new one once that is destroyed.
func TestKeysOfHostActions(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "anna@example.com")
	team, other := teamOf(t, s, owner, "default"), teamOf(t, s, owner, "default")
	bob := member(t, s, owner, team, "bob@example.com", "member")
	by := keyOf(t, s, owner, team, "admin")
	record := func(by Caller, team domain.TeamID, target string) string {
		t.Helper()
		want := shipped(target)
		want.TargetName = "Somebody"
		if _, _, err := s.RecordAction(t.Context(), by, team, want); err != nil {
			t.Fatal(err)
		}
		commits := hostCommits(t, s)
		event := commits[len(commits)-1].Events[0]
		if text := contentOf(t, s, event); text != `{"name":"Somebody"}` {
			t.Fatalf("the content is %s", text)
		}
		return eventstore.DataKeyOf(event.Event.(domain.HostActionRecorded).Content)
	}
	ofTeam := record(by, team, "1")
	if again, elsewhere := record(by, team, "2"), record(owner, other, "1"); again != ofTeam || elsewhere == ofTeam || ofTeam == by.DataKey {
		t.Errorf("keys %s and %s in one team, %s in another", ofTeam, again, elsewhere)
	}
	var ofBob string
	if err := s.users.view(t.Context(), string(bob.User), func(u *domain.User, _, _ uint64) { ofBob = u.DataKey() }); err != nil {
		t.Fatal(err)
	}
	if key := record(by, team, string(bob.User)); key != ofBob {
		t.Errorf("of a member: %s", key)
	}
	if key := record(owner, other, string(bob.User)); key == ofBob {
		t.Error("another team seals under the key of somebody who isn't in it")
	}
	if _, err := s.RemoveMember(t.Context(), owner, team, bob.User); err != nil {
		t.Fatal(err)
	}
	if key := record(by, team, string(bob.User)); key != ofBob {
		t.Errorf("of a former member: %s", key)
	}
	if _, err := s.vault.Erase(t.Context(), ofBob, ofTeam); err != nil {
		t.Fatal(err)
	}
	renewed := record(by, team, "3")
	if renewed == ofTeam {
		t.Error("an erased key is used")
	}
	if key := record(by, team, string(bob.User)); key != renewed {
		t.Errorf("of somebody who was erased: %s, and the team has %s", key, renewed)
	}
}

// An attempt that dies anywhere has recorded all of its actions or none, and
// its repetition records them once.
func TestHostActionsSurviveDeath(t *testing.T) {
	t.Parallel()
	many := repeated(shipped("1"), 500)
	for i := range many {
		many[i].TargetID = fmt.Sprint(i)
		many[i].Detail = json.RawMessage(`{"text":"` + strings.Repeat("x", 900) + `"}`)
	}
	for name, wanted := range map[string][]domain.HostAction{"one": many[:1], "many": many} {
		t.Run(name, func(t *testing.T) {
			store, _ := storeIn(t, t.TempDir())
			s := serviceOn(t, store)
			owner := accountOn(t, s, "anna@example.com")
			team := teamOf(t, s, owner, "default")
			by := keyOf(t, s, owner, team, "admin")
			before := end(t, store)
			rounds := dieEverywhere(t, store, func(int) command {
				return func(ctx context.Context, s *Service) (any, error) {
					if len(wanted) == 1 {
						recorded, done, err := s.RecordAction(ctx, by, team, wanted[0])
						return []any{recorded, done}, err
					}
					recorded, done, err := s.RecordActions(ctx, by, team, wanted)
					return []any{recorded, done}, err
				}
			})
			wantTally(t, store, before, map[string]int{"domain.HostActionRecorded": rounds * len(wanted)})
		})
	}
}

// The journal is closed with the service, and refuses then.
func TestHostActionsAfterClosing(t *testing.T) {
	t.Parallel()
	s := service(t)
	owner := accountOn(t, s, "anna@example.com")
	team := teamOf(t, s, owner, "default")
	s.hostActions.journal.Close()
	if _, _, err := s.RecordAction(t.Context(), owner, team, shipped("1")); err == nil {
		t.Error("recorded all the same")
	}
}
