package commands

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"roster/domain"
	"roster/eventstore"
)

// However it reads, a watch gets every change that concerns it, in order and
// once, or is told that some are gone.
func TestAWatchMissesNothingSilently(t *testing.T) {
	t.Parallel()
	teams := []domain.TeamID{"team_a", "team_b", allTeams}
	rapid.Check(t, func(t *rapid.T) {
		c := newChanges(rapid.IntRange(1, 20).Draw(t, "kept"))
		var (
			log      []Change // all there ever were
			position uint64
			watches  []*Watch
			read     []uint64 // up to where each has read
		)
		concerns := func(w *Watch, change Change) bool {
			return w.team == allTeams || change.Team == w.team || change.Team == ""
		}
		look := func(i int) {
			w := watches[i]
			for more := true; more; {
				batch := w.Next(rapid.IntRange(1, 5).Draw(t, "most"))
				more = batch.More
				if batch.Lost {
					if len(batch.Changes) > 0 || batch.Position != position {
						t.Fatalf("lost, with %v, at %d of %d", batch.Changes, batch.Position, position)
					}
					read[i] = batch.Position
					continue
				}
				var want []Change
				for _, change := range log {
					if change.Position > read[i] && change.Position <= batch.Position && concerns(w, change) {
						want = append(want, change)
					}
				}
				if diff := cmp.Diff(want, batch.Changes); diff != "" {
					t.Fatalf("between %d and %d: %s", read[i], batch.Position, diff)
				}
				read[i] = batch.Position
			}
			if read[i] != position {
				t.Fatalf("read up to %d of %d", read[i], position)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				watches = append(watches, c.Watch(rapid.SampledFrom(teams).Draw(t, "team")))
				read = append(read, position)
			case 1:
				after := rapid.Uint64Range(0, position+2).Draw(t, "after")
				w := c.WatchAfter(rapid.SampledFrom(teams).Draw(t, "team"), after)
				if after > position && !w.lost {
					t.Fatalf("a watch after %d of %d", after, position)
				}
				watches, read = append(watches, w), append(read, after)
			case 2:
				if len(watches) > 0 {
					look(rapid.IntRange(0, len(watches)-1).Draw(t, "who"))
				}
			default:
				var batch []Change
				for range rapid.IntRange(1, 4).Draw(t, "commits") {
					position++
					for range rapid.IntRange(0, 3).Draw(t, "changes") {
						batch = append(batch, Change{Position: position, Team: rapid.SampledFrom(teams).Draw(t, "team")})
					}
				}
				for _, w := range watches { // as if they had read on before
					select {
					case <-w.woken:
					default:
					}
				}
				c.add(batch, position)
				log = append(log, batch...)
				for _, w := range watches {
					for _, change := range batch {
						if concerns(w, change) && len(w.woken) == 0 {
							t.Fatalf("a watch of %q isn't woken by %v", w.team, change)
						}
					}
				}
			}
		}
		for i := range watches {
			look(i)
			watches[i].Close()
		}
		if len(c.watches) > 0 {
			t.Fatalf("left over: %v", c.watches)
		}
	})
}

func TestWhatChangesATeamAndWhatDoesNot(t *testing.T) {
	t.Parallel()
	s := service(t)
	follow(t, s)
	owner := accountOn(t, s, "owner@example.com")
	w := s.Changes().Watch(allTeams)
	defer w.Close()
	settled := func() (changes []Change) {
		t.Helper()
		last := end(t, s.store)
		if err := s.Wait(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		batch := w.Next(1000)
		if batch.Lost || batch.More || batch.Position != last {
			t.Fatalf("got %+v, want all up to %d", batch, last)
		}
		return batch.Changes
	}
	settled()

	team := teamOf(t, s, owner, "distribu")
	if got := settled(); len(got) != 1 || got[0].Team != team || got[0].At.IsZero() || !got[0].Decisive || !cmp.Equal(got[0].Kinds, []string{"team_created"}) {
		t.Errorf("a team: %+v", got)
	}
	if _, err := s.RenameTeam(t.Context(), owner, team, "New"); err != nil {
		t.Fatal(err)
	}
	if got := settled(); len(got) != 1 || got[0].Team != team || got[0].Decisive {
		t.Errorf("its name: %+v", got)
	}
	// Of a person: nothing that a team decides by.
	signedIn(t, s, owner)
	if _, _, err := s.RenameMe(t.Context(), owner, "Another Name"); err != nil {
		t.Fatal(err)
	}
	accountOn(t, s, "other@example.com")
	if got := settled(); len(got) != 0 {
		t.Errorf("accounts: %+v", got)
	}
	// What became of messages is told to each team that they were about.
	delivery := func(team domain.TeamID) eventstore.Recorded {
		return eventstore.Recorded{
			ID:    domain.EventID(eventstore.NewID(domain.PrefixEvent)),
			Event: domain.InvitationDelivery{Team: team, Invitation: "inv_1", Link: 1, Status: domain.DeliverySent},
		}
	}
	err := s.store.Append(t.Context(), &eventstore.Commit{
		Stream: eventstore.Stream{Kind: eventstore.KindActivity, ID: "mail_1"}, Version: 1, At: s.Now(), Actor: domain.Roster,
		Events: []eventstore.Recorded{delivery("team_1"), delivery("team_2"), delivery("team_1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := settled(); len(got) != 2 || got[0].Team != "team_1" || got[1].Team != "team_2" || got[0].Decisive {
		t.Errorf("deliveries: %+v", got)
	}
	serviceOn(t, s.store, withCatalogs(edited(t, 1)))
	if got := settled(); len(got) != 1 || !got[0].Everything() || !got[0].Decisive {
		t.Errorf("a catalog: %+v", got)
	}
}

// An event of a person that isn't known to be harmless may change decisions.
func TestAnUnknownEventOfAPersonIsAChange(t *testing.T) {
	t.Parallel()
	for types, want := range map[string][]Change{
		"user_renamed.v1,email_verified.v1": nil,
		"user_renamed.v1,another_one.v1":    {{Position: 7, User: "user_1", Kinds: []string{"user_renamed", "another_one"}, Decisive: true}},
	} {
		message, err := eventstore.NewMessage("ev.user.user_1.0000000003", 7, nats.Header{"Roster-Types": {types}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, changesOf(nil, &message)); diff != "" {
			t.Errorf("%s: %s", types, diff)
		}
	}
}

// Whoever is told that changes are complete up to now has been told of every
// revocation that was acknowledged.
func TestChangesAreUpToDateOnlyWithWhatThisNodeAcknowledged(t *testing.T) {
	t.Parallel()
	s := service(t)
	ctx := t.Context()
	owner := accountOn(t, s, "owner@example.com")
	team := teamOf(t, s, owner, "distribu")
	by := member(t, s, owner, team, "member@example.com", "ADMIN")
	done, err := s.ChangeRole(ctx, owner, team, by.User, "MEMBER")
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is followed as yet.
	brief, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := s.UpToDate(brief); !errors.Is(err, ErrUnavailable) {
		t.Errorf("behind its own word: %v", err)
	}
	before := time.Now()
	follow(t, s)
	moment, err := s.UpToDate(ctx)
	if err != nil || moment.Before(before) {
		t.Errorf("following: %v, %v", moment, err)
	}
	if s.Position() < done.Position {
		t.Errorf("at %d, acknowledged %d", s.Position(), done.Position)
	}
	w := s.Changes().Watch(team)
	defer w.Close()
	for _, role := range []domain.RoleKey{"ADMIN", "MEMBER"} {
		done, err = s.ChangeRole(ctx, owner, team, by.User, role)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.UpToDate(ctx); err != nil {
			t.Fatal(err)
		}
		batch := w.Next(10)
		if len(batch.Changes) != 1 || batch.Changes[0].Position != done.Position {
			t.Errorf("read %+v after %d was acknowledged", batch, done.Position)
		}
	}
}
