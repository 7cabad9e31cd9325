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
// team, for each sign-in and sign-out of its members and for each change to
// how they sign in. Entries are only
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
	shapes:  []*shape{auditShape, auditLabels, auditSubjects, auditTimes, auditClock},
	fold: func(_ Opener, in place) fold {
		return &auditFold{
			entries:  newJournal[auditRow](auditShape, in),
			labels:   newJournal[auditLabel](auditLabels, in),
			subjects: newTable[auditSubject](auditSubjects, in),
			times:    newJournal[auditTime](auditTimes, in),
			clock:    newTable[clockRow](auditClock, in),
		}
	},
}

var (
	// The key is the team's number and not its id, to keep it small.
	auditShape = newJournalShape("audit", 2, `by_team BIGINT, place BIGINT,
		by_actor BIGINT, by_action BIGINT, by_actor_action BIGINT, by_target BIGINT,
		at BIGINT, team_id TEXT, id TEXT, action TEXT, actor_type TEXT, actor_id TEXT, actor_label BIGINT,
		target_type TEXT, target_id TEXT, target_label BIGINT,
		before TEXT, after TEXT, request_id TEXT, origin TEXT, commit_id TEXT`,
		index{columns: "by_actor, place"},
		index{columns: "by_action, place"},
		index{columns: "by_actor_action, place"},
		// A target has few entries as a rule. Where one has many, the rest of
		// the filter is decided within the index.
		index{columns: "by_target, place, actor_id, action"})

	// auditLabels are the names of users, invitations, API keys, sites and teams,
	// each with the place of the event that gave it. An entry points at those
	// that were in use at its time, so that renaming oneself rewrites nothing.
	// Those of people are sealed.
	auditLabels = newJournalShape("audit_labels", 1, `given BIGINT, name TEXT, email TEXT`)

	// auditSubjects are whoever and whatever has a label, with the present one;
	// and for a user the sealed address and the teams, for the entries of what
	// they do in none of them. A team that is deleted is none any more.
	auditSubjects = newShape("audit_subjects", 1, `id TEXT, label BIGINT, email TEXT, teams TEXT`)

	// auditTimes tell how far the clock had come at some positions, and
	// auditClock how far it has come altogether; see clockRow.
	auditTimes = newJournalShape("audit_times", 1, `position BIGINT, clock BIGINT`, index{columns: "clock, position"})
	auditClock = newShape("audit_clock", 1, `id TEXT, clock BIGINT, lag BIGINT, block BIGINT`)
)

// auditRow is an entry. Before and After are JSON objects, or empty.
type auditRow struct {
	ByTeam, Place                              int64
	ByActor, ByAction, ByActorAction, ByTarget int64
	At                                         int64
	Team, ID, Action                           string
	ActorType, ActorID                         string
	ActorLabel                                 int64
	TargetType, TargetID                       string
	TargetLabel                                int64
	Before, After                              string
	RequestID                                  string
	Origin, CommitID                           string // sealed, for the commit
}

func (r *auditRow) fields() []any {
	return []any{
		&r.ByTeam, &r.Place, &r.ByActor, &r.ByAction, &r.ByActorAction, &r.ByTarget, &r.At, &r.Team, &r.ID, &r.Action,
		&r.ActorType, &r.ActorID, &r.ActorLabel, &r.TargetType, &r.TargetID, &r.TargetLabel, &r.Before, &r.After, &r.RequestID, &r.Origin, &r.CommitID,
	}
}

type auditLabel struct {
	Given       int64
	Name, Email string
}

func (r *auditLabel) fields() []any { return []any{&r.Given, &r.Name, &r.Email} }

// auditSubject is a row of audit_subjects. Teams are ids with spaces between.
type auditSubject struct {
	ID           string
	Label        int64
	Email, Teams string
}

func (r *auditSubject) key() key      { return key{a: r.ID} }
func (r *auditSubject) fields() []any { return []any{&r.ID, &r.Label, &r.Email, &r.Teams} }

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
	entries  *journal[auditRow, *auditRow]
	labels   *journal[auditLabel, *auditLabel]
	subjects *table[auditSubject, *auditSubject]
	times    *journal[auditTime, *auditTime]
	clock    *table[clockRow, *clockRow]
}

func (f *auditFold) parts() []part {
	return []part{f.entries, f.labels, f.subjects, f.times, f.clock}
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
		f.label(c, i, string(e.Name), string(e.Email))
		return f.subjects.insert(auditSubject{ID: id, Label: placeOf(c.Position, i), Email: string(e.Email)})
	case domain.UserRenamed:
		return f.relabel(ctx, c, i, id, string(e.Name))
	case domain.SessionStarted:
		return f.personal(ctx, c, i, e.User, auditEntry{action: "session.started", targetType: "session", target: string(e.Session)})
	case domain.SessionEnded:
		return f.personal(ctx, c, i, e.User, auditEntry{action: "session.ended", targetType: "session", target: string(e.Session)})
	}
	switch c.Stream.Kind {
	case eventstore.KindTeam:
	case eventstore.KindUser:
		if entry, ok := accountEntryOf(c.Events[i].Event, domain.UserID(id)); ok {
			return f.personal(ctx, c, i, domain.UserID(id), entry)
		}
		return nil
	default:
		return nil
	}
	if err := f.before(ctx, c, i); err != nil {
		return err
	}
	if entry, ok := auditEntryOf(c.Events[i].Event, id); ok {
		if err := f.enter(ctx, c, i, id, entry); err != nil {
			return err
		}
	}
	if _, deleted := c.Events[i].Event.(domain.TeamDeleted); deleted {
		return f.subjects.remove(ctx, key{a: id})
	}
	return nil
}

// before is what an event changes before its entry is made: the labels, and in
// whose log a sign-in is entered.
func (f *auditFold) before(ctx context.Context, c *eventstore.Commit, i int) error {
	id := c.Stream.ID
	switch e := c.Events[i].Event.(type) {
	case domain.TeamCreated:
		if err := f.subject(c, i, id, e.Name); err != nil {
			return err
		}
		return f.join(ctx, id, e.Owner)
	case domain.TeamRenamed:
		return f.relabel(ctx, c, i, id, e.To)
	case domain.MemberInvited:
		return f.subject(c, i, string(e.Invitation), string(e.Email))
	case domain.SiteAdded:
		return f.subject(c, i, string(e.Site), e.Name)
	case domain.SiteRenamed:
		return f.relabel(ctx, c, i, string(e.Site), e.To)
	case domain.APIKeyCreated:
		return f.subject(c, i, string(e.Key), e.Name)
	case domain.MemberJoined:
		return f.join(ctx, id, e.User)
	case domain.MemberRemoved:
		return f.part(ctx, id, e.User)
	case domain.MemberLeft:
		return f.part(ctx, id, e.User)
	}
	return nil
}

// label notes the name that the event at index i gives.
func (f *auditFold) label(c *eventstore.Commit, i int, name, email string) {
	f.labels.add(auditLabel{Given: placeOf(c.Position, i), Name: name, Email: email})
}

func (f *auditFold) subject(c *eventstore.Commit, i int, id, name string) error {
	f.label(c, i, name, "")
	return f.subjects.insert(auditSubject{ID: id, Label: placeOf(c.Position, i)})
}

func (f *auditFold) relabel(ctx context.Context, c *eventstore.Commit, i int, id, name string) error {
	return f.subjects.must(ctx, key{a: id}, func(s *auditSubject) {
		f.label(c, i, name, s.Email)
		s.Label = placeOf(c.Position, i)
	})
}

func (f *auditFold) join(ctx context.Context, team string, user domain.UserID) error {
	return f.subjects.must(ctx, key{a: string(user)}, func(s *auditSubject) { s.Teams = strings.TrimSpace(s.Teams + " " + team) })
}

func (f *auditFold) part(ctx context.Context, team string, user domain.UserID) error {
	return f.subjects.must(ctx, key{a: string(user)}, func(s *auditSubject) {
		s.Teams = strings.Join(slices.DeleteFunc(strings.Fields(s.Teams), func(other string) bool { return other == team }), " ")
	})
}

// personal enters what a user did in no team, such as a sign-in, in the log of
// every team that they are a member of.
func (f *auditFold) personal(ctx context.Context, c *eventstore.Commit, i int, user domain.UserID, entry auditEntry) error {
	member, err := f.subjects.get(ctx, key{a: string(user)})
	if err != nil {
		return err
	}
	if member == nil {
		return f.subjects.lacks(key{a: string(user)})
	}
	for _, team := range strings.Fields(member.Teams) {
		alive, err := f.subjects.get(ctx, key{a: team})
		if err != nil {
			return err
		}
		if alive == nil {
			continue
		}
		if err := f.enter(ctx, c, i, team, entry); err != nil {
			return err
		}
	}
	return nil
}

// enter adds an entry to the log of a team.
func (f *auditFold) enter(ctx context.Context, c *eventstore.Commit, i int, team string, entry auditEntry) error {
	row := auditRow{
		ByTeam: auditKey(team), Place: placeOf(c.Position, i),
		ByActor: auditKey(team, "actor", c.Actor.ID), ByAction: auditKey(team, "action", entry.action),
		ByActorAction: auditKey(team, "both", c.Actor.ID, entry.action), ByTarget: auditKey(team, "target", entry.target),
		At: micros(c.At), Team: team, ID: string(c.Events[i].ID), Action: entry.action,
		ActorType: string(c.Actor.Type), ActorID: c.Actor.ID, TargetType: entry.targetType, TargetID: entry.target,
		Before: entry.before, After: entry.after, RequestID: c.RequestID,
		Origin: string(c.Origin), CommitID: string(c.ID()),
	}
	var err error
	if c.Actor.Type != domain.ActorSystem {
		if row.ActorLabel, err = f.labelOf(ctx, c.Actor.ID); err != nil {
			return err
		}
	}
	if hasLabel(entry.targetType) {
		if row.TargetLabel, err = f.labelOf(ctx, entry.target); err != nil {
			return err
		}
	}
	f.entries.add(row)
	return nil
}

// labelOf is the present label of a subject; 0 when it has none.
func (f *auditFold) labelOf(ctx context.Context, id string) (int64, error) {
	subject, err := f.subjects.get(ctx, key{a: id})
	if err != nil || subject == nil {
		return 0, err
	}
	return subject.Label, nil
}

func hasLabel(targetType string) bool {
	switch targetType {
	case "team", "member", "invitation", "site", "api_key":
		return true
	}
	return false
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
