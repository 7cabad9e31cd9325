package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/commands"
	"roster/domain"
	"roster/domain/catalogs"
	"roster/eventstore"
)

// sent is an event of a stream.
type sent struct {
	id, event string
	data      map[string]any
}

func (e sent) position() uint64 {
	n, _ := e.data["position"].(float64)
	return uint64(n)
}

// stream is an open stream of changes as its reader sees it.
type stream struct {
	t      testing.TB
	answer *http.Response
	lines  *bufio.Scanner
	end    context.CancelFunc
}

// try opens a stream, or is refused.
func (w *world) try(path string, changes ...with) *stream {
	w.Helper()
	ctx, end := context.WithCancel(context.Background())
	w.Cleanup(end)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.http.URL+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	for _, change := range changes {
		change(r)
	}
	answer, err := w.http.Client().Do(r)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { answer.Body.Close() })
	return &stream{t: w.TB, answer: answer, lines: bufio.NewScanner(answer.Body), end: end}
}

// watch opens a stream and waits until it has begun.
func (w *world) watch(path string, changes ...with) *stream {
	w.Helper()
	s := w.try(path, changes...)
	if s.answer.StatusCode != http.StatusOK || s.answer.Header.Get("Content-Type") != "text/event-stream" {
		w.Fatalf("%s answers %d %s", path, s.answer.StatusCode, s.answer.Header.Get("Content-Type"))
	}
	return s
}

// next gives the next event; false when there is none any more.
func (s *stream) next() (sent, bool) {
	s.t.Helper()
	var e sent
	for s.lines.Scan() {
		field, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				s.t.Fatal(err)
			}
		case "":
			if e.event != "" {
				return e, true
			}
		}
	}
	return e, false
}

// until gives the events before the first of the name, and that one, but for
// those that only say how far it is.
func (s *stream) until(event string) (before []sent, found sent) {
	s.t.Helper()
	for {
		e, ok := s.next()
		switch {
		case !ok:
			s.t.Fatalf("the stream ended without %s, after %v", event, before)
		case e.event == event:
			return before, e
		case e.event != "position":
			before = append(before, e)
		}
	}
}

// upTo gives what is sent until everything up to the position is.
func (s *stream) upTo(position uint64) (all []sent) {
	s.t.Helper()
	for {
		e, ok := s.next()
		switch {
		case !ok:
			s.t.Fatalf("the stream ended before %d, after %v", position, all)
		case e.event == "position" && e.position() >= position:
			return all
		case e.event != "position":
			all = append(all, e)
		}
	}
}

// wantEnd checks that the stream ends for the reason, before another change.
func (s *stream) wantEnd(reason string) {
	s.t.Helper()
	before, end := s.until("end")
	if len(before) > 0 || end.data["reason"] != reason {
		s.t.Errorf("it ended with %v after %v, want %s", end.data, before, reason)
	}
	if e, ok := s.next(); ok {
		s.t.Errorf("after the end comes %v", e)
	}
}

// whatWasDone lists what changes say was done.
func whatWasDone(events []sent) (found []string) {
	for _, e := range events {
		list, ok := e.data["actions"].([]any)
		if e.event != "change" || !ok {
			found = append(found, e.event)
			continue
		}
		for _, action := range list {
			found = append(found, fmt.Sprint(action))
		}
	}
	return found
}

func TestAStreamTellsWhatChangesInTheTeam(t *testing.T) {
	w := newWorld(t, options{})
	owner, other := w.signUp(), w.signUp()
	s := w.watch("/v1/teams/"+owner.team+"/changes", owner.auth())
	begin, err := strconv.ParseUint(s.answer.Header.Get("Roster-Position"), 10, 64)
	if err != nil || begin == 0 {
		t.Fatalf("it begins at %q", s.answer.Header.Get("Roster-Position"))
	}
	if e, _ := s.next(); e.event != "position" || e.position() < begin || e.id != fmt.Sprint(e.position()) || e.data["open_ms"] == nil {
		t.Errorf("it begins with %+v", e)
	}
	member := w.join(owner, "MEMBER")
	w.call("PATCH", "/v1/teams/"+other.team, map[string]any{"name": "Not this one"}, other.auth()).is(200)
	changed := w.call("PUT", "/v1/teams/"+owner.team+"/members/"+member.id+"/role", map[string]any{"role": "ADMIN"}, owner.auth()).is(200)
	all := s.upTo(changed.position())
	if diff := cmp.Diff([]string{"member.invited", "member.joined", "role.changed"}, whatWasDone(all)); diff != "" {
		t.Error(diff)
	}
	last := all[len(all)-1]
	if last.position() != changed.position() || last.id != fmt.Sprint(changed.position()) || last.data["team"] != owner.team {
		t.Errorf("the last is %+v", last)
	}
	if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(last.data["at"])); err != nil || time.Since(at) > time.Minute {
		t.Errorf("at %v", last.data["at"])
	}
}

func TestOnlyWhoMayReadTheAuditLogHearsWhatWasDone(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	member := w.join(owner, "member")
	path := "/v1/teams/" + owner.team + "/changes"
	s := w.watch(path, member.auth())
	s.until("position")
	rename := func(name string) *reply {
		return w.call("PATCH", "/v1/teams/"+owner.team, map[string]any{"name": name}, owner.auth()).is(200)
	}
	role := func(role string) {
		w.call("PUT", "/v1/teams/"+owner.team+"/members/"+member.id+"/role", map[string]any{"role": role}, owner.auth()).is(200)
	}
	for _, e := range s.upTo(rename("One").position()) {
		if _, told := e.data["actions"]; told || e.event != "change" || e.data["team"] != owner.team {
			t.Errorf("a member hears %v", e)
		}
	}
	role("admin")
	if got := whatWasDone(s.upTo(rename("Two").position())); !slices.Equal(got, []string{"role.changed", "team.renamed"}) {
		t.Errorf("an admin hears %v", got)
	}
	role("member")
	if got := whatWasDone(s.upTo(rename("Three").position())); !slices.Equal(got, []string{"change", "change"}) {
		t.Errorf("who was an admin hears %v", got)
	}
}

func TestTheOperatorHearsOfEveryTeam(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	s := w.watch("/v1/changes", bearer(w.operator))
	s.until("position")
	a, b := w.signUp(), w.signUp()
	var teams []string
	for _, e := range s.upTo(w.position()) {
		teams = append(teams, fmt.Sprint(e.data["team"]))
	}
	if !slices.Equal(teams, []string{a.team, b.team}) {
		t.Errorf("heard of %v", teams)
	}

	key := w.call("POST", "/v1/teams/"+a.team+"/api-keys", map[string]any{"name": "Key", "role": "admin"}, a.auth()).is(201).text("secret")
	for _, by := range []with{a.auth(), bearer(key)} {
		w.call("GET", "/v1/changes", nil, by).is(403, "not_permitted")
	}
	w.watch("/v1/teams/"+a.team+"/changes", bearer(key))
	w.watch("/v1/teams/"+a.team+"/changes", bearer(w.operator))
	w.call("GET", "/v1/teams/"+a.team+"/changes", nil, b.auth()).is(404, "not_found")
}

func TestAStreamGoesOnWhereItEnded(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	path := "/v1/teams/" + owner.team + "/changes"
	rename := func(name string) uint64 {
		return w.call("PATCH", "/v1/teams/"+owner.team, map[string]any{"name": name}, owner.auth()).is(200).position()
	}
	one, two, three := rename("One"), rename("Two"), rename("Three")
	for _, s := range []*stream{
		w.watch(path, owner.auth(), header("Last-Event-ID", fmt.Sprint(one))),
		w.watch(path+"?after="+fmt.Sprint(one), owner.auth()),
		w.watch(path+"?after="+fmt.Sprint(three), owner.auth(), header("Last-Event-ID", fmt.Sprint(one))),
	} {
		var got []uint64
		for _, e := range s.upTo(three) {
			got = append(got, e.position())
		}
		if !slices.Equal(got, []uint64{two, three}) {
			t.Errorf("after %d came %v, want %d and %d", one, got, two, three)
		}
		s.end()
	}
	// This node began to follow when the catalogs were there.
	s := w.watch(path+"?after=0", owner.auth())
	if before, e := s.until("reset"); len(before) > 0 || e.data["reason"] != "missed" || e.position() < three || e.id != fmt.Sprint(e.position()) {
		t.Errorf("after 0 comes %v, %v", before, e)
	}
	four := rename("Four")
	if got := s.upTo(four); len(got) != 1 || got[0].position() != four {
		t.Errorf("after the reset comes %v", got)
	}
	for _, bad := range []string{"x", "-1", "18446744073709551616"} {
		if r := w.call("GET", path+"?after="+bad, nil, owner.auth()).is(422, "invalid_field"); r.text("errors", 0, "pointer") != "#/after" {
			t.Errorf("%s", r.raw)
		}
		w.call("GET", path, nil, owner.auth(), header("Last-Event-ID", bad)).is(422, "invalid_field")
	}
}

// A position that isn't there yet is waited for, since another node may be
// ahead. One that never comes can't be of this log.
func TestAStreamAfterAPositionThatNeverCame(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	ahead := w.position() + 1000
	s := w.watch(fmt.Sprintf("/v1/teams/%s/changes?after=%d", owner.team, ahead), owner.auth())
	if _, e := s.until("reset"); e.data["reason"] != "missed" || e.position() >= ahead {
		t.Errorf("got %v", e)
	}
}

func TestANewRoleCatalogResetsEveryStream(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	streams := []*stream{
		w.watch("/v1/teams/"+owner.team+"/changes", owner.auth()),
		w.watch("/v1/changes", bearer(w.operator)),
	}
	for _, s := range streams {
		s.upTo(w.position())
	}
	source, _ := catalogs.Builtin("default")
	text := regexp.MustCompile(`\nversion: \d+\n`).ReplaceAll(source, []byte("\nversion: 1000\n"))
	catalog, err := catalogs.Parse("default", text)
	if err != nil {
		t.Fatal(err)
	}
	other, err := commands.New(t.Context(), commands.Config{Store: w.store, Catalogs: []commands.CatalogSource{{Catalog: catalog, Source: text}}})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, s := range streams {
		before, e := s.until("reset")
		if len(before) > 0 || e.data["reason"] != "role_catalog" || e.position() != w.position() || e.id != fmt.Sprint(e.position()) {
			t.Errorf("heard %v, then %v", before, e)
		}
	}
}

// What ends the right to read ends the stream, before anything that came after.
func TestAnOpenStreamClosesWithTheRightToReadIt(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	for _, test := range []struct {
		name   string
		role   string
		end    func(member account, key string)
		reason string
		byKey  bool
	}{
		{name: "the member is removed", reason: "not_found", end: func(member account, _ string) {
			w.call("DELETE", team+"/members/"+member.id, nil, owner.auth()).is(204)
		}},
		{name: "the member leaves", reason: "not_found", end: func(member account, _ string) {
			w.call("POST", team+"/leave", nil, member.auth()).is(204)
		}},
		{name: "the permission is revoked", reason: "not_permitted", end: func(member account, _ string) {
			w.call("PUT", team+"/members/"+member.id+"/permissions", map[string]any{"granted": []string{}, "revoked": []string{"team:read"}}, owner.auth()).is(200)
			w.call("GET", team+"/changes", nil, member.auth()).is(403, "not_permitted")
		}},
		{name: "the session ends", reason: "unauthenticated", end: func(member account, _ string) {
			w.call("DELETE", "/v1/sessions/current", nil, member.auth()).is(204)
		}},
		{name: "the key is revoked", reason: "unauthenticated", byKey: true, end: func(_ account, id string) {
			w.call("DELETE", team+"/api-keys/"+id, nil, owner.auth()).is(204)
		}},
		{name: "the team is deleted", reason: "not_found", end: func(account, string) {
			w.call("DELETE", team, nil, owner.auth()).is(204)
		}},
	} {
		t.Run(test.name, func(*testing.T) {
			member := w.join(owner, "admin")
			made := w.call("POST", team+"/api-keys", map[string]any{"name": test.name, "role": "member"}, owner.auth()).is(201)
			auth := member.auth()
			if test.byKey {
				auth = bearer(made.text("secret"))
			}
			s := w.watch(team+"/changes", auth)
			s.upTo(made.position())
			test.end(member, made.text("id"))
			w.call("PATCH", team, map[string]any{"name": "They mustn't hear of this"}, owner.auth())
			s.wantEnd(test.reason)
		})
	}
}

func TestAStreamDoesNotKeepASessionAlive(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	s := w.watch("/v1/teams/"+owner.team+"/changes", owner.auth())
	for range 4 { // the session is idle all the while
		w.clock.forward(5 * time.Hour)
		s.until("position")
	}
	w.clock.forward(5 * time.Hour)
	s.wantEnd("unauthenticated")
}

// A commit may concern several teams. Who goes on after its id has all of it.
func TestOnlyTheLastChangeOfACommitHasAnID(t *testing.T) {
	w := newWorld(t, options{})
	s := w.watch("/v1/changes", bearer(w.operator))
	s.until("position")
	delivery := func(team domain.TeamID) eventstore.Recorded {
		return eventstore.Recorded{
			ID:    domain.EventID(eventstore.NewID(domain.PrefixEvent)),
			Event: domain.InvitationDelivery{Team: team, Invitation: "inv_1", Link: 1, Status: domain.DeliverySent},
		}
	}
	commit := &eventstore.Commit{
		Stream: eventstore.Stream{Kind: eventstore.KindActivity, ID: "mail_1"}, Version: 1, At: time.Now(), Actor: domain.Roster,
		Events: []eventstore.Recorded{delivery("team_1"), delivery("team_2")},
	}
	if err := w.store.Append(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	got := s.upTo(commit.Position)
	if len(got) != 2 || got[0].id != "" || got[1].id != fmt.Sprint(commit.Position) || got[0].position() != commit.Position {
		t.Errorf("got %v", got)
	}
}

// A change about a person is a change of the teams that the person is in, and
// nobody else hears of the person.
func TestAChangeAboutAPersonConcernsTheirTeams(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner, stranger := w.signUp(), w.signUp()
	member := w.join(owner, "member")
	changes := []commands.Change{{Position: 90, User: domain.UserID(stranger.id)}, {Position: 91, User: domain.UserID(member.id)}}
	for team, want := range map[string]string{
		"":         `"user":"` + stranger.id + `","position":90`,
		owner.team: `"team":"` + owner.team + `","position":91`,
	} {
		caller, err := w.service.Authenticate(t.Context(), w.operator)
		if err != nil {
			t.Fatal(err)
		}
		c := &changeStream{server: w.server, x: &exchange{caller: caller}, team: domain.TeamID(team), token: w.operator}
		view, err := c.mayRead(t.Context(), changes)
		if err != nil {
			t.Fatal(err)
		}
		for i := range changes {
			c.change(&changes[i], view, true)
		}
		if got := c.out.String(); !strings.Contains(got, want) || strings.Contains(got, stranger.id) != (team == "") {
			t.Errorf("watching %q gives\n%s", team, got)
		}
	}
}
