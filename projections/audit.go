package projections

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"roster/domain"
	"roster/eventstore"
)

// auditModel is the audit log of every team: an entry for each event of the
// team, and for each sign-in and sign-out of its members. Entries are only
// ever added. Personal data stays sealed in its tables and is opened when it
// is read, so the key of an erased person takes it out of every log at once.
//
// A log may have millions of entries and is read by any combination of actor,
// action, target and time, newest first. For each combination that is worth
// it, an entry holds a number that stands for what is looked for (see
// auditKey), and an index has that number and the entry's place; so a page is
// one stretch of one index. Numbers because an index of texts is three times
// as large, and making it takes most of a rebuild.
var auditModel = &model{
	name:    "audit",
	version: 1,
	shapes:  []*shape{auditShape, auditNames, auditTimes, auditClock, auditTeams, auditUsers},
	fold: func(_ Opener, in place) fold {
		return &auditFold{
			entries: newJournal[auditRow](auditShape, in),
			names:   newJournal[auditName](auditNames, in),
			times:   newJournal[auditTime](auditTimes, in),
			clock:   newTable[clockRow](auditClock, in),
			teams:   newTable[auditTeam](auditTeams, in),
			users:   newTable[auditUser](auditUsers, in),
		}
	},
}

var (
	// The key is the team's number and not its id, to keep it small.
	auditShape = newJournalShape("audit", 2, `by_team BIGINT, place BIGINT,
		by_actor BIGINT, by_action BIGINT, by_actor_action BIGINT, by_target BIGINT,
		at BIGINT, team_id TEXT, id TEXT, action TEXT, actor_type TEXT, actor_id TEXT, target_type TEXT, target_id TEXT,
		before TEXT, after TEXT, request_id TEXT, origin TEXT, commit_id TEXT`,
		index{columns: "by_actor, place"},
		index{columns: "by_action, place"},
		index{columns: "by_actor_action, place"},
		// A target has few entries as a rule. Where one has many, the rest of
		// the filter is decided within the index.
		index{columns: "by_target, place, actor_id, action"})

	// auditNames are the names of users, invitations, API keys, sites and
	// teams, each from the place of the event that gave it: an entry shows the
	// name at its time, so that renaming oneself rewrites nothing. Those of
	// people are sealed.
	auditNames = newJournalShape("audit_names", 2, `id TEXT, since BIGINT, name TEXT, email TEXT`)

	// auditTimes tell how far the clock had come at some positions, and
	// auditClock how far it has come altogether; see clockRow.
	auditTimes = newJournalShape("audit_times", 1, `position BIGINT, clock BIGINT`, index{columns: "clock, position"})
	auditClock = newShape("audit_clock", 1, `id TEXT, clock BIGINT, lag BIGINT, block BIGINT`)

	auditTeams = newShape("audit_teams", 1, `team_id TEXT, position BIGINT`)        // that are not deleted
	auditUsers = newShape("audit_users", 1, `user_id TEXT, email TEXT, teams TEXT`) // the address is sealed; teams are ids with spaces between
)

// auditRow is an entry. Before and After are JSON objects, or empty.
type auditRow struct {
	ByTeam, Place                              int64
	ByActor, ByAction, ByActorAction, ByTarget int64
	At                                         int64
	Team, ID, Action                           string
	ActorType, ActorID                         string
	TargetType, TargetID                       string
	Before, After                              string
	RequestID                                  string
	Origin, CommitID                           string // sealed, for the commit
}

func (r *auditRow) fields() []any {
	return []any{
		&r.ByTeam, &r.Place, &r.ByActor, &r.ByAction, &r.ByActorAction, &r.ByTarget, &r.At, &r.Team, &r.ID, &r.Action,
		&r.ActorType, &r.ActorID, &r.TargetType, &r.TargetID, &r.Before, &r.After, &r.RequestID, &r.Origin, &r.CommitID,
	}
}

type auditName struct {
	ID          string
	Since       int64
	Name, Email string
}

func (r *auditName) fields() []any { return []any{&r.ID, &r.Since, &r.Name, &r.Email} }

type auditTeam struct {
	Team     string
	Position int64
}

func (r *auditTeam) key() key      { return key{a: r.Team} }
func (r *auditTeam) fields() []any { return []any{&r.Team, &r.Position} }

type auditUser struct{ User, Email, Teams string }

func (r *auditUser) key() key      { return key{a: r.User} }
func (r *auditUser) fields() []any { return []any{&r.User, &r.Email, &r.Teams} }

// auditKey is the number that stands for what is looked for in a team's log.
// Two things may have the same number, so a query compares the texts as well.
func auditKey(parts ...string) int64 {
	hash := uint64(14695981039346656037) // FNV-1a
	for _, part := range parts {
		for i := range len(part) {
			hash = (hash ^ uint64(part[i])) * 1099511628211
		}
		hash *= 1099511628211 // a zero byte, so that the bounds of the parts count
	}
	return int64(hash)
}

type auditFold struct {
	entries *journal[auditRow, *auditRow]
	names   *journal[auditName, *auditName]
	times   *journal[auditTime, *auditTime]
	clock   *table[clockRow, *clockRow]
	teams   *table[auditTeam, *auditTeam]
	users   *table[auditUser, *auditUser]
}

func (f *auditFold) parts() []part {
	return []part{f.entries, f.names, f.times, f.clock, f.teams, f.users}
}

func (f *auditFold) apply(ctx context.Context, c *eventstore.Commit) error {
	if err := f.tick(ctx, c); err != nil {
		return err
	}
	for i := range c.Events {
		if err := f.event(ctx, c, i); err != nil {
			return err
		}
	}
	return nil
}

func (f *auditFold) event(ctx context.Context, c *eventstore.Commit, i int) error {
	id := c.Stream.ID
	switch e := c.Events[i].Event.(type) {
	case domain.UserRegistered:
		f.name(c, i, id, string(e.Name), string(e.Email))
		return f.users.insert(auditUser{User: id, Email: string(e.Email)})
	case domain.UserRenamed:
		user, err := f.users.get(ctx, key{a: id})
		if err != nil {
			return err
		}
		if user == nil {
			return f.users.lacks(key{a: id})
		}
		f.name(c, i, id, string(e.Name), user.Email)
		return nil
	case domain.SessionStarted:
		return f.session(ctx, c, i, "session.started", e.User, e.Session)
	case domain.SessionEnded:
		return f.session(ctx, c, i, "session.ended", e.User, e.Session)
	}
	if c.Stream.Kind != eventstore.KindTeam {
		return nil
	}
	if err := f.membership(ctx, c, i); err != nil {
		return err
	}
	switch e := c.Events[i].Event.(type) {
	case domain.TeamCreated:
		f.name(c, i, id, e.Name, "")
	case domain.TeamRenamed:
		f.name(c, i, id, e.To, "")
	case domain.MemberInvited:
		f.name(c, i, string(e.Invitation), string(e.Email), "")
	case domain.SiteAdded:
		f.name(c, i, string(e.Site), e.Name, "")
	case domain.SiteRenamed:
		f.name(c, i, string(e.Site), e.To, "")
	case domain.APIKeyCreated:
		f.name(c, i, string(e.Key), e.Name, "")
	}
	if entry, ok := auditEntryOf(c.Events[i].Event, id); ok {
		f.enter(c, i, id, entry)
	}
	return nil
}

// membership keeps track of whose log a sign-in belongs to.
func (f *auditFold) membership(ctx context.Context, c *eventstore.Commit, i int) error {
	id := c.Stream.ID
	switch e := c.Events[i].Event.(type) {
	case domain.TeamCreated:
		if err := f.teams.insert(auditTeam{id, int64(c.Position)}); err != nil {
			return err
		}
		return f.join(ctx, id, e.Owner)
	case domain.TeamDeleted:
		return f.teams.remove(ctx, key{a: id})
	case domain.MemberJoined:
		return f.join(ctx, id, e.User)
	case domain.MemberRemoved:
		return f.part(ctx, id, e.User)
	case domain.MemberLeft:
		return f.part(ctx, id, e.User)
	}
	return nil
}

func (f *auditFold) join(ctx context.Context, team string, user domain.UserID) error {
	return f.users.must(ctx, key{a: string(user)}, func(u *auditUser) { u.Teams = strings.TrimSpace(u.Teams + " " + team) })
}

func (f *auditFold) part(ctx context.Context, team string, user domain.UserID) error {
	return f.users.must(ctx, key{a: string(user)}, func(u *auditUser) {
		u.Teams = strings.Join(slices.DeleteFunc(strings.Fields(u.Teams), func(other string) bool { return other == team }), " ")
	})
}

// session enters a sign-in or sign-out in the log of every team that the user
// is a member of.
func (f *auditFold) session(ctx context.Context, c *eventstore.Commit, i int, action string, user domain.UserID, session domain.SessionID) error {
	member, err := f.users.get(ctx, key{a: string(user)})
	if err != nil {
		return err
	}
	if member == nil {
		return f.users.lacks(key{a: string(user)})
	}
	for _, team := range strings.Fields(member.Teams) {
		alive, err := f.teams.get(ctx, key{a: team})
		if err != nil {
			return err
		}
		if alive != nil {
			f.enter(c, i, team, auditEntry{action: action, targetType: "session", target: string(session)})
		}
	}
	return nil
}

func (f *auditFold) name(c *eventstore.Commit, i int, id, name, email string) {
	f.names.add(auditName{ID: id, Since: placeOf(c.Position, i), Name: name, Email: email})
}

// enter adds an entry to the log of a team.
func (f *auditFold) enter(c *eventstore.Commit, i int, team string, entry auditEntry) {
	f.entries.add(auditRow{
		ByTeam: auditKey(team), Place: placeOf(c.Position, i),
		ByActor: auditKey(team, "actor", c.Actor.ID), ByAction: auditKey(team, "action", entry.action),
		ByActorAction: auditKey(team, "both", c.Actor.ID, entry.action), ByTarget: auditKey(team, "target", entry.target),
		At: micros(c.At), Team: team, ID: string(c.Events[i].ID), Action: entry.action,
		ActorType: string(c.Actor.Type), ActorID: c.Actor.ID, TargetType: entry.targetType, TargetID: entry.target,
		Before: entry.before, After: entry.after, RequestID: c.RequestID,
		Origin: string(c.Origin), CommitID: string(c.ID()),
	})
}

// Commit times are taken by many nodes before the order of commits is known,
// so they rise with the position nearly, but not strictly. To turn a span of
// time into a span of positions without looking at the entries, the fold keeps
// a clock, the latest time seen so far, and lag, the most that any commit was
// behind it; and it notes every 256 positions how far the clock is. No commit
// up to a note is later than its clock, and no commit from it on is earlier
// than its clock less the lag.
type clockRow struct {
	ID         string
	Clock, Lag int64
	Block      int64 // of 256 positions, that was noted last
}

func (r *clockRow) key() key      { return key{a: r.ID} }
func (r *clockRow) fields() []any { return []any{&r.ID, &r.Clock, &r.Lag, &r.Block} }

type auditTime struct{ Position, Clock int64 }

func (r *auditTime) fields() []any { return []any{&r.Position, &r.Clock} }

const (
	theClock   = "clock"
	clockBlock = 256 // positions from one note to the next
)

func (f *auditFold) tick(ctx context.Context, c *eventstore.Commit) error {
	at, block := micros(c.At), int64(c.Position/clockBlock)
	note := func(r *clockRow) {
		r.Clock = max(r.Clock, at)
		r.Lag = max(r.Lag, r.Clock-at)
		if r.Block != block {
			r.Block = block
			f.times.add(auditTime{int64(c.Position), r.Clock})
		}
	}
	found, err := f.clock.change(ctx, key{a: theClock}, note)
	if err != nil || found {
		return err
	}
	row := clockRow{ID: theClock, Block: -1}
	note(&row)
	if err := f.clock.insert(row); err != nil {
		return fmt.Errorf("starting the clock: %w", err)
	}
	return nil
}
