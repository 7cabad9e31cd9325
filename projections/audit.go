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
// A log may have millions of entries and is read by any combination of person,
// action, target and time, newest first. For every combination an entry holds a
// number that stands for what is looked for (see auditKeys), and an index has
// that number and the entry's place; so a page is one stretch of one index,
// however rare what is looked for. Numbers because an index of texts is three
// times as large, and making it takes most of a rebuild.
var auditModel = &model{
	name:    "audit",
	version: 3,
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
		by_action BIGINT, by_target BIGINT, by_target_action BIGINT,
		by_actor BIGINT, by_actor_action BIGINT, by_actor_target BIGINT, by_actor_target_action BIGINT,
		by_behalf BIGINT, by_behalf_action BIGINT, by_behalf_target BIGINT, by_behalf_target_action BIGINT,
		at BIGINT, actor_label BIGINT, behalf_label BIGINT, target_label BIGINT, entry TEXT`,
		index{columns: "by_action, place"},
		index{columns: "by_target, place"},
		index{columns: "by_target_action, place"},
		index{columns: "by_actor, place"},
		index{columns: "by_actor_action, place"},
		index{columns: "by_actor_target, place"},
		index{columns: "by_actor_target_action, place"},
		index{columns: "by_behalf, place", where: onBehalf},
		index{columns: "by_behalf_action, place", where: onBehalf},
		index{columns: "by_behalf_target, place", where: onBehalf},
		index{columns: "by_behalf_target_action, place", where: onBehalf})

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

// onBehalf is true of entries of what was done on somebody's behalf. A query has
// to say it in these words to be answered from an index of those alone.
const onBehalf = "by_behalf <> 0"

// auditRow is an entry: the numbers by which it is found, the labels that were in
// use, and everything else, which nothing is looked for by, as one text: taking
// that apart costs less than fifteen columns.
type auditRow struct {
	auditKeys
	Place, At                            int64
	ActorLabel, BehalfLabel, TargetLabel int64
	Entry                                string // an auditText
}

func (r *auditRow) fields() []any {
	return []any{
		&r.ByTeam, &r.Place, &r.ByAction, &r.ByTarget, &r.ByTargetAction,
		&r.ByActor, &r.ByActorAction, &r.ByActorTarget, &r.ByActorTargetAction,
		&r.ByBehalf, &r.ByBehalfAction, &r.ByBehalfTarget, &r.ByBehalfTargetAction,
		&r.At, &r.ActorLabel, &r.BehalfLabel, &r.TargetLabel, &r.Entry,
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
	case domain.HostActionRecorded:
		return f.hostAction(ctx, c, i, e)
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
	case domain.MemberExpired:
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

// hostAction enters what the host product did.
func (f *auditFold) hostAction(ctx context.Context, c *eventstore.Commit, i int, e domain.HostActionRecorded) error {
	entry := auditEntry{
		action: e.Action, targetType: e.TargetType, target: e.TargetID,
		host: true, content: string(e.Content), behalf: string(e.OnBehalfOf), occurredAt: microsText(e.OccurredAt),
	}
	if e.By == nil {
		return f.enter(ctx, c, i, string(e.Team), entry)
	}
	cause := *c // as if the event had a commit of its own
	cause.Actor, cause.Origin, cause.RequestID = e.By.Actor, e.By.Origin, e.By.Request
	return f.enterAs(ctx, &cause, i, string(e.Team), string(c.Events[i].ID), entry)
}

// enter adds an entry to the log of a team.
func (f *auditFold) enter(ctx context.Context, c *eventstore.Commit, i int, team string, entry auditEntry) error {
	return f.enterAs(ctx, c, i, team, string(c.ID()), entry)
}

// enterAs is enter with the id that the origin is sealed for.
func (f *auditFold) enterAs(ctx context.Context, c *eventstore.Commit, i int, team, origin string, entry auditEntry) error {
	if entry.byItself {
		cause := *c
		cause.Actor, cause.Origin = domain.Roster, ""
		c = &cause
	}
	text := auditText{
		Team: team, ID: string(c.Events[i].ID), Action: entry.action, ActorType: string(c.Actor.Type), ActorID: c.Actor.ID,
		BehalfID: entry.behalf, TargetType: entry.targetType, TargetID: entry.target,
		Before: entry.before, After: entry.after, Content: entry.content, OccurredAt: entry.occurredAt,
		RequestID: c.RequestID, Origin: string(c.Origin),
	}
	if origin != text.ID {
		text.OriginID = origin
	}
	row := auditRow{
		auditKeys: keysOf(team, c.Actor.ID, entry.behalf, entry.target, entry.action),
		Place:     placeOf(c.Position, i), At: micros(c.At), Entry: text.pack(),
	}
	var err error
	if c.Actor.Type != domain.ActorSystem {
		if row.ActorLabel, err = f.labelOf(ctx, c.Actor.ID); err != nil {
			return err
		}
	}
	if row.BehalfLabel, err = f.labelWithin(ctx, entry.behalf, team); err != nil {
		return err
	}
	// What a host calls a target is for the host to say. The same id may be
	// something of another team.
	if hasLabel(entry.targetType) && !entry.host {
		if row.TargetLabel, err = f.labelOf(ctx, entry.target); err != nil {
			return err
		}
	}
	f.entries.add(row)
	return nil
}

// labelWithin is the label of a user while they are in the team. What somebody
// who has left is called today is none of the team's business.
func (f *auditFold) labelWithin(ctx context.Context, user, team string) (int64, error) {
	if user == "" {
		return 0, nil
	}
	subject, err := f.subjects.get(ctx, key{a: user})
	if err != nil || subject == nil || !slices.Contains(strings.Fields(subject.Teams), team) {
		return 0, err
	}
	return subject.Label, nil
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
