package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
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
	return p.auditPage(ctx, team, filter, limited(filter.Limit))
}

// AuditExport calls each for every entry that the filter lets through, newest
// first, in constant memory. It begins after the key of the filter, if that is
// set; the limit is not looked at. The slices of an entry may be kept.
func (p *Projections) AuditExport(ctx context.Context, team domain.TeamID, filter AuditFilter, each func(AuditEntry) error) error {
	for {
		entries, next, err := p.auditPage(ctx, team, filter, exportPage)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := each(entry); err != nil {
				return err
			}
		}
		if next == (AuditKey{}) {
			return nil
		}
		filter.After = next
	}
}

func (p *Projections) auditPage(ctx context.Context, team domain.TeamID, filter AuditFilter, limit int) ([]AuditEntry, AuditKey, error) {
	if len(filter.Actions) > MaxActions {
		return nil, AuditKey{}, fmt.Errorf("projections: a filter names %d actions, more than %d", len(filter.Actions), MaxActions)
	}
	search := auditSearch{team: string(team), filter: filter, rows: make([]auditRow, 0, min(limit, PageLimit)+1)}
	labels := map[int64]auditLabel{}
	err := p.db.read(ctx, func(q querier) error {
		if err := search.read(ctx, q, limit+1); err != nil {
			return err
		}
		return p.labels.of(ctx, q, search.rows, labels)
	})
	if err != nil {
		return nil, AuditKey{}, fmt.Errorf("projections: reading the audit log: %w", err)
	}
	rows := search.rows
	var next AuditKey
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1].Place
		next = AuditKey{Position: positionOf(last), Index: indexOf(last)}
	}
	entries := make([]AuditEntry, len(rows))
	unsealed := newUnsealer(p.opener)
	for i := range rows {
		if entries[i], err = rows[i].entry(ctx, unsealed, labels); err != nil {
			return nil, AuditKey{}, err
		}
	}
	return entries, next, nil
}

// auditSearch looks for entries. What the database is asked for are numbers,
// places and times alone. Whether an entry's texts are what was looked for is
// seen here: PostgreSQL can't know that they follow from the number, and with a
// condition on them expects few rows and reads the whole stretch.
type auditSearch struct {
	team   string
	filter AuditFilter
	rows   []auditRow // found
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
		if err != nil || len(s.rows) >= wanted || n < ask {
			s.rows = s.rows[:min(len(s.rows), wanted)]
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
	err = q.query(ctx, sql, args, func(r row) error {
		n++
		s.rows = append(s.rows, auditRow{})
		a := &s.rows[len(s.rows)-1]
		err := r.scan(&a.Place, &a.At, &a.OccurredAt, &a.Team, &a.ID, &a.Action, &a.ActorType, &a.ActorID, &a.ActorLabel, &a.BehalfID, &a.BehalfLabel,
			&a.TargetType, &a.TargetID, &a.TargetLabel, &a.Before, &a.After, &a.Content, &a.RequestID, &a.Origin, &a.OriginID)
		last = a.Place
		if err == nil && !s.wants(a) {
			s.rows = s.rows[:len(s.rows)-1]
		}
		return err
	})
	return n, last, err
}

const auditColumns = `place, at, occurred_at, team_id, id, action, actor_type, actor_id, actor_label, behalf_id, behalf_label,
	target_type, target_id, target_label, before, after, content, request_id, origin, origin_id`

// wants tells whether an entry is what is looked for.
func (s *auditSearch) wants(r *auditRow) bool {
	f := &s.filter
	return r.Team == s.team &&
		(f.Actor == "" || r.ActorID == f.Actor) &&
		(f.Target == "" || r.TargetID == f.Target) &&
		(f.Member == "" || r.ActorID == f.Member || r.BehalfID == f.Member || r.TargetID == f.Member) &&
		(len(f.Actions) == 0 || slices.Contains(f.Actions, r.Action))
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
	var position int64
	if !s.filter.From.IsZero() {
		within.from = ceilMicros(s.filter.From)
		found, err := one(ctx, q, `SELECT position FROM audit_times WHERE clock < $1
			ORDER BY clock DESC, position DESC LIMIT 1`, []any{within.from}, &position)
		if err != nil {
			return within, err
		}
		if found {
			within.first = placeOf(uint64(position)+1, 0)
		}
	}
	if !s.filter.To.IsZero() {
		within.to = micros(s.filter.To)
		found, err := one(ctx, q, `SELECT position FROM audit_times
			WHERE clock > $1 + COALESCE((SELECT lag FROM audit_clock), 0) ORDER BY clock, position LIMIT 1`, []any{within.to}, &position)
		if err != nil {
			return within, err
		}
		if found {
			within.end = min(within.end, placeOf(uint64(position), 0))
		}
	}
	return within, nil
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

// entry is the row as it is shown.
func (r *auditRow) entry(ctx context.Context, unsealed *unsealer, labels map[int64]auditLabel) (AuditEntry, error) {
	e := AuditEntry{
		ID: domain.EventID(r.ID), Position: positionOf(r.Place), Index: indexOf(r.Place), At: timeOf(r.At), OccurredAt: timeOf(r.OccurredAt),
		Action: r.Action, RequestID: r.RequestID,
		Actor:  AuditActor{Type: domain.ActorType(r.ActorType), ID: r.ActorID},
		Target: AuditTarget{Type: r.TargetType, ID: r.TargetID},
	}
	if r.Before != "" {
		e.Before = json.RawMessage(r.Before)
	}
	if r.After != "" {
		e.After = json.RawMessage(r.After)
	}
	var err error
	actor := labels[r.ActorLabel]
	if e.Actor.Name, e.Actor.Email, err = unsealed.person(ctx, e.Actor.Type, r.ActorID, actor.Name, actor.Email); err != nil {
		return AuditEntry{}, err
	}
	if r.BehalfID != "" {
		behalf := labels[r.BehalfLabel]
		e.OnBehalfOf.ID = domain.UserID(r.BehalfID)
		if e.OnBehalfOf.Name, e.OnBehalfOf.Email, err = unsealed.person(ctx, domain.ActorUser, r.BehalfID, behalf.Name, behalf.Email); err != nil {
			return AuditEntry{}, err
		}
	}
	if err := r.named(ctx, unsealed, labels[r.TargetLabel], &e); err != nil {
		return AuditEntry{}, err
	}
	origin, err := open(ctx, unsealed.opener, domain.Sealed(r.Origin), r.OriginID+"/origin")
	if err != nil {
		return AuditEntry{}, fmt.Errorf("projections: opening the origin of %s: %w", r.OriginID, err)
	}
	if e.Actor.IP, e.Actor.UserAgent, err = parseOrigin(origin); err != nil {
		return AuditEntry{}, fmt.Errorf("projections: the origin of %s: %w", r.OriginID, err)
	}
	return e, nil
}

// named adds what the target is called, and a host's detail.
func (r *auditRow) named(ctx context.Context, unsealed *unsealer, label auditLabel, e *AuditEntry) (err error) {
	switch {
	case r.Content != "":
		text, err := open(ctx, unsealed.opener, domain.Sealed(r.Content), r.ID+"/content")
		if err != nil {
			return fmt.Errorf("projections: opening the content of %s: %w", r.ID, err)
		}
		var content domain.HostActionContent
		if text == "" { // erased
			return nil
		}
		if err := json.Unmarshal([]byte(text), &content); err != nil {
			return fmt.Errorf("projections: the content of %s is not JSON", r.ID)
		}
		e.Target.Name, e.Detail = content.Name, content.Detail
	case r.TargetLabel == 0:
	case r.TargetType == "member":
		e.Target.Name, err = unsealed.text(ctx, label.Name, nameContext(r.TargetID))
	case r.TargetType == "invitation":
		e.Target.Name, err = unsealed.text(ctx, label.Name, emailContext(r.TargetID))
	default:
		e.Target.Name = label.Name
	}
	return err
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
