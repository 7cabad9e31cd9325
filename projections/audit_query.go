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

// exportPage is how many entries an export holds in memory at a time.
const exportPage = 1000

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
	sql, args := auditQuery(team, filter, limit+1)
	rows := make([]auditRow, 0, min(limit, PageLimit)+1)
	labels := map[int64]auditLabel{}
	err := p.db.read(ctx, func(q querier) error {
		err := q.query(ctx, sql, args, func(r row) error {
			rows = append(rows, auditRow{})
			a := &rows[len(rows)-1]
			return r.scan(&a.Place, &a.At, &a.OccurredAt, &a.ID, &a.Action, &a.ActorType, &a.ActorID, &a.ActorLabel, &a.BehalfID, &a.BehalfLabel,
				&a.TargetType, &a.TargetID, &a.TargetLabel, &a.Before, &a.After, &a.Content, &a.RequestID, &a.Origin, &a.OriginID)
		})
		if err != nil {
			return err
		}
		return p.labels.of(ctx, q, rows, labels)
	})
	if err != nil {
		return nil, AuditKey{}, fmt.Errorf("projections: reading the audit log: %w", err)
	}
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

const auditColumns = `place, at, occurred_at, id, action, actor_type, actor_id, actor_label, behalf_id, behalf_label,
	target_type, target_id, target_label, before, after, content, request_id, origin, origin_id`

// auditQuery is the query for a page. It reads one stretch of the index that
// has all of the filter in its number. Several actions, or a member who may be
// actor or target, are several stretches, merged.
func auditQuery(team domain.TeamID, filter AuditFilter, limit int) (string, []any) {
	s := &auditSearch{team: string(team), target: filter.Target, actions: padded(filter.Actions)}
	s.most = fmt.Sprintf(" ORDER BY place DESC LIMIT %d", pageRows(limit))
	s.bounds(filter)
	switch member, actor := filter.Member, filter.Actor; {
	case member == "" && actor == "":
		s.stretch(keyOfNobody, "", s.target)
	case member == "":
		s.stretch(keyOfActor, actor, s.target)
	default:
		if actor != "" { // of little use together, and not worth an index
			s.common += " AND actor_id = " + s.arg(actor)
		}
		// What was done to the member takes in what the member did to themselves.
		if s.target == "" || s.target == member {
			s.stretch(keyOfNobody, "", member)
		}
		if s.target != member {
			s.stretch(keyOfActor, member, s.target)
			s.stretch(keyOfBehalf, member, s.target)
		}
	}
	if len(s.stretches) == 1 {
		return "SELECT " + auditColumns + " FROM audit WHERE " + s.stretches[0] + s.most, s.args
	}
	// Each gives the newest places that it has, without an entry that another
	// gives too, and then so many of them all are read.
	places := make([]string, len(s.stretches))
	for i, where := range s.stretches {
		places[i] = fmt.Sprintf("SELECT place FROM (SELECT place FROM audit WHERE %s%s) AS s%d", where, s.most, i)
	}
	return "SELECT " + auditColumns + " FROM audit WHERE by_team = " + s.arg(auditKey(s.team, keyOfNobody, "", "", "")) +
		" AND team_id = " + s.arg(s.team) + " AND place IN (SELECT place FROM (" + strings.Join(places, " UNION ") + ") AS u" + s.most + ")" + s.most, s.args
}

// auditSearch is a query being put together.
type auditSearch struct {
	team, target string
	actions      []string
	most         string // newest first, and how many
	common       string // conditions of every stretch
	stretches    []string
	args         []any
}

func (s *auditSearch) arg(value any) string {
	s.args = append(s.args, value)
	return fmt.Sprintf("$%d", len(s.args))
}

// bounds are there in any case, unbounded where the filter has none, which
// keeps the texts few: each stays prepared. Times bound the places at first,
// and are compared at last.
func (s *auditSearch) bounds(filter AuditFilter) {
	before, from, to := int64(math.MaxInt64), int64(math.MinInt64), int64(math.MaxInt64/2)
	if filter.After != (AuditKey{}) {
		before = placeOf(filter.After.Position, filter.After.Index)
	}
	if !filter.From.IsZero() {
		from = ceilMicros(filter.From)
	}
	if !filter.To.IsZero() {
		to = micros(filter.To)
	}
	earliest, latest, last := s.arg(from), s.arg(to), s.arg(before)
	s.common = " AND team_id = " + s.arg(s.team) +
		` AND place >= (COALESCE((SELECT position FROM audit_times WHERE clock < ` + earliest + `
			ORDER BY clock DESC, position DESC LIMIT 1), 0) + 1) * 65536 AND at >= ` + earliest + `
		AND place < (SELECT CASE WHEN latest < ` + last + ` THEN latest ELSE ` + last + ` END FROM (SELECT COALESCE(
			(SELECT position FROM audit_times WHERE clock > ` + latest + ` + COALESCE((SELECT lag FROM audit_clock), 0)
				ORDER BY clock, position LIMIT 1), 70368744177664) * 65536 AS latest) AS b) AND at <= ` + latest
}

// stretch adds what is found under the numbers of somebody, who may be nobody,
// a target, which may be none, and each of the actions.
func (s *auditSearch) stretch(of, who, target string) {
	more := s.common
	if of == keyOfActor {
		more += " AND actor_id = " + s.arg(who)
	}
	if of == keyOfBehalf {
		more += " AND " + onBehalf + " AND behalf_id = " + s.arg(who)
	}
	if target != "" {
		more += " AND target_id = " + s.arg(target)
	}
	column := auditColumn(of, target != "", len(s.actions) > 0)
	add := func(action, more string) {
		s.stretches = append(s.stretches, column+" = "+s.arg(auditKey(s.team, of, who, target, action))+more)
	}
	if len(s.actions) == 0 {
		add("", more)
	}
	for _, action := range s.actions {
		add(action, more+" AND action = "+s.arg(action))
	}
}

// padded makes the number of actions a power of two, with names that no action
// has, to keep the texts few.
func padded(actions []string) []string {
	n := 1
	for n < len(actions) {
		n *= 2
	}
	out := slices.Clone(actions)
	for len(out) > 0 && len(out) < n {
		out = append(out, "")
	}
	return out
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
