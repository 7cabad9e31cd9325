package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"roster/domain"
)

// MaxActions is how many actions a filter may name.
const MaxActions = 32

// exportPage is how many entries an export holds in memory at a time: of the
// largest that there may be, some 10 KiB each, five megabytes.
const exportPage = 500

// Audit gives a page of the log of a team, newest first, and where the next
// page begins; the zero key when there is none.
func (p *Projections) Audit(ctx context.Context, team domain.TeamID, filter AuditFilter) ([]AuditEntry, AuditKey, error) {
	entries := []AuditEntry{}
	next, err := p.AuditEach(ctx, team, filter, func(entry *AuditEntry) error {
		entries = append(entries, *entry)
		return nil
	})
	return entries, next, err
}

// AuditEach is Audit with each entry handed to each, which must not keep it,
// though it may keep what it holds.
func (p *Projections) AuditEach(ctx context.Context, team domain.TeamID, filter AuditFilter, each func(*AuditEntry) error) (AuditKey, error) {
	return p.auditPage(ctx, team, filter, limited(filter.Limit), each)
}

// AuditExport hands every entry that the filter lets through to each, newest
// first, in constant memory. It begins after the key of the filter, if that is
// set; the limit is not looked at.
func (p *Projections) AuditExport(ctx context.Context, team domain.TeamID, filter AuditFilter, each func(*AuditEntry) error) error {
	for {
		next, err := p.auditPage(ctx, team, filter, exportPage, each)
		if err != nil || next == (AuditKey{}) {
			return err
		}
		filter.After = next
	}
}

func (p *Projections) auditPage(ctx context.Context, team domain.TeamID, filter AuditFilter, limit int, each func(*AuditEntry) error) (next AuditKey, err error) {
	if len(filter.Actions) > MaxActions {
		return next, fmt.Errorf("projections: a filter names %d actions, more than %d", len(filter.Actions), MaxActions)
	}
	search := searches.Get().(*auditSearch)
	search.team, search.filter = string(team), filter
	defer search.done()
	labels := openedLabels{opener: p.opener}
	generation := p.labels.generation.Load()
	err = p.db.read(ctx, func(q querier) error {
		if err := search.read(ctx, q, limit+1); err != nil {
			return err
		}
		return p.labels.of(ctx, q, generation, search.found, &labels)
	})
	if err != nil {
		return next, fmt.Errorf("projections: reading the audit log: %w", err)
	}
	found := search.found
	if len(found) > limit {
		found = found[:limit]
		last := found[limit-1].place
		next = AuditKey{Position: positionOf(last), Index: indexOf(last)}
	}
	size := 0
	for i := range found {
		size += len(found[i].Before) + len(found[i].After)
	}
	said := make([]byte, 0, size) // Before and After of all of them
	var entry AuditEntry
	for i := range found {
		entry = AuditEntry{}
		entry.Before, said = cut(said, found[i].Before)
		entry.After, said = cut(said, found[i].After)
		if err := found[i].show(ctx, &labels, &entry); err != nil {
			return AuditKey{}, err
		}
		if err := each(&entry); err != nil {
			return AuditKey{}, err
		}
	}
	return next, nil
}

// auditSearch looks for entries. What the database is asked for are numbers,
// places and times alone. Whether an entry's texts are what was looked for is
// seen here: PostgreSQL can't know that they follow from the number, and with a
// condition on them expects few rows and reads the whole stretch.
type auditSearch struct {
	team   string
	filter AuditFilter
	found  []auditFound
}

// searches that are over, to be used again.
var searches = sync.Pool{New: func() any { return &auditSearch{} }}

// done puts a search back without what it found.
func (s *auditSearch) done() {
	clear(s.found)
	*s = auditSearch{found: s.found[:0]}
	if cap(s.found) <= 2*PageLimit { // not those of exports
		searches.Put(s)
	}
}

// auditFound is an entry as it is read.
type auditFound struct {
	place, at                            int64
	actorLabel, behalfLabel, targetLabel int64
	auditText
}

// read finds the newest entries, so many at most.
func (s *auditSearch) read(ctx context.Context, q querier, wanted int) error {
	within, err := s.span(ctx, q)
	if err != nil {
		return err
	}
	numbers := s.numbers()
	for ask := pageRows(wanted); ; ask = pageRows(min(2*ask, exportPage)) {
		read := s.stretch
		if len(numbers) > 1 {
			read = s.merged
		}
		n, last, err := read(ctx, q, numbers, within, ask)
		if err != nil || len(s.found) >= wanted || n < ask {
			s.found = s.found[:min(len(s.found), wanted)]
			return err
		}
		within.end = last // some were others with the same number
	}
}

// stretch reads entries with one number. It gives how many there were and the
// last one's place.
func (s *auditSearch) stretch(ctx context.Context, q querier, numbers []auditNumber, within span, limit int) (n int, last int64, err error) {
	where, args := numbers[0].where(within, nil)
	return s.take(ctx, q, "SELECT "+auditColumns+" FROM audit WHERE "+where+newest(limit), args)
}

// merged does the same with several numbers. Each stretch gives its newest
// places, from the index alone if no time is asked for, and of all of those the
// newest are read.
func (s *auditSearch) merged(ctx context.Context, q querier, numbers []auditNumber, within span, limit int) (n int, last int64, err error) {
	var args []any
	stretches := make([]string, len(numbers))
	for i, number := range numbers {
		var where string
		where, args = number.where(within, args)
		stretches[i] = fmt.Sprintf("SELECT place FROM (SELECT place FROM audit WHERE %s%s) AS s%d", where, newest(limit), i)
	}
	// An entry may stand in two stretches.
	places := []any{auditKey(s.team, keyOfNobody, "", "", "")}
	err = q.query(ctx, "SELECT place FROM ("+strings.Join(stretches, " UNION ")+") AS u"+newest(limit), args, func(r row) error {
		n++
		err := r.scan(&last)
		places = append(places, last)
		return err
	})
	if err != nil || n == 0 {
		return n, last, err
	}
	for len(places) <= limit { // so that few texts stay prepared
		places = append(places, last)
	}
	_, _, err = s.take(ctx, q, "SELECT "+auditColumns+" FROM audit WHERE by_team = $1 AND place IN ("+arguments(2, limit)+") ORDER BY place DESC", places)
	return n, last, err
}

// take adds the entries of a query that are what is looked for.
func (s *auditSearch) take(ctx context.Context, q querier, sql string, args []any) (n int, last int64, err error) {
	var e auditFound
	var packed string
	into := []any{&e.place, &e.at, &e.actorLabel, &e.behalfLabel, &e.targetLabel, &packed}
	err = q.query(ctx, sql, args, func(r row) error {
		if err := r.scan(into...); err != nil {
			return err
		}
		n, last = n+1, e.place
		if e.unpack(packed); s.wants(&e) {
			s.found = append(s.found, e)
		}
		return nil
	})
	return n, last, err
}

const auditColumns = "place, at, actor_label, behalf_label, target_label, entry"

// wants tells whether an entry is what is looked for.
func (s *auditSearch) wants(e *auditFound) bool {
	f := &s.filter
	return e.Team == s.team &&
		(f.Actor == "" || e.ActorID == f.Actor) &&
		(f.Target == "" || e.TargetID == f.Target) &&
		(f.Member == "" || e.ActorID == f.Member || e.BehalfID == f.Member || e.TargetID == f.Member) &&
		(len(f.Actions) == 0 || slices.Contains(f.Actions, e.Action))
}

// span is a stretch of places, from the first on and before the end, and of
// times, if they aren't 0.
type span struct{ first, end, from, to int64 }

// span turns the times of the filter into places; see auditTimes. No entry
// outside of them has such a time, and only few at their ends have another.
func (s *auditSearch) span(ctx context.Context, q querier) (span, error) {
	within := span{first: 0, end: math.MaxInt64}
	if s.filter.After != (AuditKey{}) {
		within.end = placeOf(s.filter.After.Position, s.filter.After.Index)
	}
	if s.filter.From.IsZero() && s.filter.To.IsZero() {
		return within, nil
	}
	const never = math.MaxInt64 / 2 // later than any time there is, with any lag
	from, to := int64(math.MinInt64), int64(never)
	if !s.filter.From.IsZero() {
		from = ceilMicros(s.filter.From)
		within.from = from
	}
	if !s.filter.To.IsZero() {
		to = micros(s.filter.To)
		within.to = to
	}
	var before, after int64
	_, err := one(ctx, q, `SELECT
		COALESCE((SELECT position FROM audit_times WHERE clock < $1 ORDER BY clock DESC, position DESC LIMIT 1), -1),
		COALESCE((SELECT position FROM audit_times WHERE clock > $2 + COALESCE((SELECT lag FROM audit_clock), 0)
			ORDER BY clock, position LIMIT 1), -1)`, []any{from, to}, &before, &after)
	if before >= 0 {
		within.first = placeOf(uint64(before)+1, 0)
	}
	if after >= 0 {
		within.end = min(within.end, placeOf(uint64(after), 0))
	}
	return within, err
}

// auditNumber is a number and the column that holds it.
type auditNumber struct {
	column string
	number int64
}

// numbers are those of what is looked for: one, or several for several actions
// and for a member, who may be actor or target.
func (s *auditSearch) numbers() (numbers []auditNumber) {
	add := func(of, who, target string) {
		for _, action := range padded(s.filter.Actions) {
			numbers = append(numbers, auditNumber{auditColumn(of, target != "", action != ""), auditKey(s.team, of, who, target, action)})
		}
	}
	member, actor, target := s.filter.Member, s.filter.Actor, s.filter.Target
	switch {
	case member == "" && actor == "":
		add(keyOfNobody, "", target)
	case member == "" || member == actor:
		add(keyOfActor, actor, target)
	case actor != "": // who is on the other end
		if target == "" || target == member {
			add(keyOfActor, actor, member)
		}
		if target != member {
			// Of several keys that act for a member, entries of the others are
			// read in vain: not worth an index.
			add(keyOfBehalf, member, target)
		}
	case target == member:
		add(keyOfNobody, "", member) // with what the member did to themselves
	default:
		if target == "" {
			add(keyOfNobody, "", member)
		}
		add(keyOfActor, member, target)
		add(keyOfBehalf, member, target)
	}
	return numbers
}

// padded makes the number of actions a power of two, with one that there isn't,
// since each number of them is a text of its own that stays prepared. No action
// stands for any.
func padded(actions []string) []string {
	if len(actions) == 0 {
		return []string{""}
	}
	n := 1
	for n < len(actions) {
		n *= 2
	}
	return append(slices.Clone(actions), slices.Repeat([]string{"-"}, n-len(actions))...)
}

// where is the condition for entries with the number, with its arguments behind
// those that there are.
func (n auditNumber) where(within span, args []any) (string, []any) {
	condition := ""
	add := func(test string, value int64) {
		args = append(args, value)
		condition += fmt.Sprintf("%s $%d", test, len(args))
	}
	add(n.column+" =", n.number)
	add(" AND place >=", within.first)
	add(" AND place <", within.end)
	if within.from != 0 {
		add(" AND at >=", within.from)
	}
	if within.to != 0 {
		add(" AND at <=", within.to)
	}
	if strings.HasPrefix(n.column, "by_"+keyOfBehalf) {
		condition += " AND " + onBehalf
	}
	return condition, args
}

func newest(limit int) string { return fmt.Sprintf(" ORDER BY place DESC LIMIT %d", limit) }

// arguments are the names of so many arguments, from one on.
func arguments(from, n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("$%d", from+i)
	}
	return strings.Join(names, ", ")
}

// ceilMicros is the first stored time that isn't before t.
func ceilMicros(t time.Time) int64 {
	at := t.UnixMicro()
	if time.UnixMicro(at).Before(t) {
		at++
	}
	return at
}

// cut puts a text into a buffer that has space for it, and gives it as JSON.
func cut(buffer []byte, text string) (json.RawMessage, []byte) {
	if text == "" {
		return nil, buffer
	}
	start := len(buffer)
	buffer = append(buffer, text...)
	return buffer[start:len(buffer):len(buffer)], buffer
}

// show makes the entry that people see, with everything opened; Before and After
// are in it already.
func (r *auditFound) show(ctx context.Context, labels *openedLabels, e *AuditEntry) (err error) {
	e.ID, e.Position, e.Index, e.At = domain.EventID(r.ID), positionOf(r.place), indexOf(r.place), timeOf(r.at)
	e.Action, e.RequestID = r.Action, r.RequestID
	e.Actor.Type, e.Actor.ID = domain.ActorType(r.ActorType), r.ActorID
	if e.Actor.Name, e.Actor.Email, err = labels.actor(ctx, r.actorLabel, e.Actor.Type, r.ActorID); err != nil {
		return err
	}
	e.Target.Type, e.Target.ID = r.TargetType, r.TargetID
	if e.Target.Name, err = labels.target(ctx, r.targetLabel, r.TargetType, r.TargetID); err != nil {
		return err
	}
	if r.Content != "" || r.BehalfID != "" || r.OccurredAt != "" {
		if err := r.showHost(ctx, labels, e); err != nil {
			return err
		}
	}
	place := r.ID + "/origin"
	if r.OriginID != "" {
		place = r.OriginID + "/origin"
	}
	origin, err := open(ctx, labels.opener, domain.Sealed(r.Origin), place)
	if err != nil {
		return fmt.Errorf("projections: opening the origin of %s: %w", r.ID, err)
	}
	if e.Actor.IP, e.Actor.UserAgent, err = parseOrigin(origin); err != nil {
		return fmt.Errorf("projections: the origin of %s: %w", r.ID, err)
	}
	return nil
}

// showHost adds what only entries of a host product have.
func (r *auditFound) showHost(ctx context.Context, labels *openedLabels, e *AuditEntry) (err error) {
	e.OccurredAt = timeOfText(r.OccurredAt)
	if r.BehalfID != "" {
		e.OnBehalfOf.ID = domain.UserID(r.BehalfID)
		if e.OnBehalfOf.Name, e.OnBehalfOf.Email, err = labels.actor(ctx, r.behalfLabel, domain.ActorUser, r.BehalfID); err != nil {
			return err
		}
	}
	text, err := open(ctx, labels.opener, domain.Sealed(r.Content), r.ID+"/content")
	if err != nil {
		return fmt.Errorf("projections: opening the content of %s: %w", r.ID, err)
	}
	if text == "" { // none, or erased
		return nil
	}
	var content domain.HostActionContent
	if err := json.Unmarshal([]byte(text), &content); err != nil {
		return fmt.Errorf("projections: the content of %s is not JSON", r.ID)
	}
	e.Target.Name, e.Detail = content.Name, content.Detail
	return nil
}

// parseOrigin reads {"ip":"…","user_agent":"…"}. There is one of them for every
// entry of a page, so the usual form is read without the JSON decoder.
func parseOrigin(origin string) (ip, userAgent string, err error) {
	if origin == "" {
		return "", "", nil
	}
	if rest, ok := strings.CutPrefix(origin, `{"ip":"`); ok && !strings.Contains(origin, `\`) {
		if ip, rest, ok := strings.Cut(rest, `","user_agent":"`); ok {
			if userAgent, ok := strings.CutSuffix(rest, `"}`); ok && !strings.Contains(ip, `"`) && !strings.Contains(userAgent, `"`) {
				return ip, userAgent, nil
			}
		}
	}
	var from struct {
		IP        string `json:"ip"`
		UserAgent string `json:"user_agent"`
	}
	if err := json.Unmarshal([]byte(origin), &from); err != nil {
		return "", "", errors.New("it is not JSON")
	}
	return from.IP, from.UserAgent, nil
}
