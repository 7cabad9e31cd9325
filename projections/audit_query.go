package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"roster/domain"
)

// mostActions is how many actions a filter may name; more are not looked at.
const mostActions = 64

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
	sql, args := auditQuery(team, filter, limit+1)
	var rows []auditRow
	names := auditLabels{}
	err := p.db.read(ctx, func(q querier) error {
		err := q.query(ctx, sql, args, func(r row) error {
			rows = append(rows, auditRow{})
			a := &rows[len(rows)-1]
			return r.scan(&a.Place, &a.At, &a.ID, &a.Action, &a.ActorType, &a.ActorID, &a.TargetType, &a.TargetID,
				&a.Before, &a.After, &a.RequestID, &a.Origin, &a.CommitID)
		})
		if err != nil {
			return err
		}
		return names.read(ctx, q, rows)
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
		if entries[i], err = rows[i].entry(ctx, unsealed, names); err != nil {
			return nil, AuditKey{}, err
		}
	}
	return entries, next, nil
}

// auditQuery is the query for a page. It looks in the one index that has all
// of the filter in its key, or that of the target; several actions are several
// stretches of an index, merged.
func auditQuery(team domain.TeamID, filter AuditFilter, limit int) (string, []any) {
	var args []any
	arg := func(value any) string {
		args = append(args, value)
		return fmt.Sprintf("$%d", len(args))
	}
	common := " AND team_id = " + arg(string(team))
	if filter.After != (AuditKey{}) {
		common += " AND place < " + arg(placeOf(filter.After.Position, filter.After.Index))
	}
	if filter.Actor != "" {
		common += " AND actor_id = " + arg(filter.Actor)
	}
	if filter.Target != "" {
		common += " AND target_id = " + arg(filter.Target)
	}
	// Times bound the places at first, and are compared at last.
	if !filter.From.IsZero() {
		from := arg(ceilMicros(filter.From))
		common += ` AND place >= (COALESCE((SELECT position FROM audit_times WHERE clock < ` + from + `
			ORDER BY clock DESC, position DESC LIMIT 1), 0) + 1) * 65536 AND at >= ` + from
	}
	if !filter.To.IsZero() {
		to := arg(micros(filter.To))
		common += ` AND place < COALESCE((SELECT position FROM audit_times
			WHERE clock > ` + to + ` + COALESCE((SELECT lag FROM audit_clock), 0)
			ORDER BY clock, position LIMIT 1), 70368744177664) * 65536 AND at <= ` + to
	}
	end := " ORDER BY place DESC LIMIT " + arg(int64(limit))

	actions := filter.Actions[:min(len(filter.Actions), mostActions)]
	var branches []string
	branch := func(index string, number int64, more string) {
		branches = append(branches, fmt.Sprintf(`SELECT * FROM (SELECT place, at, id, action, actor_type, actor_id, target_type, target_id,
			before, after, request_id, origin, commit_id FROM audit WHERE %s = %s%s%s%s) AS b%d`,
			index, arg(number), common, more, end, len(branches)))
	}
	id := string(team)
	switch {
	case filter.Target != "":
		more := ""
		if len(actions) > 0 {
			list := make([]string, len(actions))
			for i, action := range actions {
				list[i] = arg(action)
			}
			more = " AND action IN (" + strings.Join(list, ", ") + ")"
		}
		branch("by_target", auditKey(id, "target", filter.Target), more)
	case filter.Actor != "" && len(actions) > 0:
		for _, action := range actions {
			branch("by_actor_action", auditKey(id, "both", filter.Actor, action), " AND action = "+arg(action))
		}
	case len(actions) > 0:
		for _, action := range actions {
			branch("by_action", auditKey(id, "action", action), " AND action = "+arg(action))
		}
	case filter.Actor != "":
		branch("by_actor", auditKey(id, "actor", filter.Actor), "")
	default:
		branch("by_team", auditKey(id), "")
	}
	if len(branches) == 1 {
		return branches[0], args
	}
	return strings.Join(branches, " UNION ALL ") + end, args
}

// ceilMicros is the first stored time that isn't before t.
func ceilMicros(t time.Time) int64 {
	at := t.UnixMicro()
	if time.UnixMicro(at).Before(t) {
		at++
	}
	return at
}

func (r *auditRow) entry(ctx context.Context, unsealed *unsealer, names auditLabels) (AuditEntry, error) {
	e := AuditEntry{
		ID: domain.EventID(r.ID), Position: positionOf(r.Place), Index: indexOf(r.Place), At: timeOf(r.At),
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
	actor := names.at(r.ActorID, r.Place)
	if e.Actor.Name, e.Actor.Email, err = unsealed.person(ctx, e.Actor.Type, r.ActorID, actor.Name, actor.Email); err != nil {
		return AuditEntry{}, err
	}
	target := names.at(r.TargetID, r.Place)
	switch r.TargetType {
	case "member":
		e.Target.Name, err = unsealed.text(ctx, target.Name, nameContext(r.TargetID))
	case "invitation":
		e.Target.Name, err = unsealed.text(ctx, target.Name, emailContext(r.TargetID))
	default:
		e.Target.Name = target.Name
	}
	if err != nil {
		return AuditEntry{}, err
	}
	origin, err := unsealed.text(ctx, r.Origin, r.CommitID+"/origin")
	if err != nil || origin == "" {
		return e, err
	}
	var from struct {
		IP        string `json:"ip"`
		UserAgent string `json:"user_agent"`
	}
	if err := json.Unmarshal([]byte(origin), &from); err != nil {
		return AuditEntry{}, fmt.Errorf("projections: the origin of %s is not JSON", r.CommitID)
	}
	e.Actor.IP, e.Actor.UserAgent = from.IP, from.UserAgent
	return e, nil
}

// auditLabels are the names that a page needs, for each id the version of
// every place asked for.
type auditLabels map[string]map[int64]auditName

// at is the name that id had at a place.
func (l auditLabels) at(id string, place int64) auditName {
	versions := l[id]
	if name, ok := versions[place]; ok {
		return name
	}
	return versions[anyPlace]
}

const anyPlace = -1

// read looks the names up: first as they are at the newest entry of the page
// that shows them, and where a name has changed within the page, as they were
// at every earlier one.
func (l auditLabels) read(ctx context.Context, q querier, rows []auditRow) error {
	var first, later []label
	newest := map[string]int64{}
	for i := range rows { // newest first
		for _, id := range []string{rows[i].ActorID, rows[i].TargetID} {
			if _, ok := newest[id]; !ok && id != "" {
				newest[id] = rows[i].Place
				first = append(first, label{id, rows[i].Place})
			}
		}
	}
	found, err := readLabels(ctx, q, first)
	if err != nil {
		return err
	}
	for wanted, name := range found {
		l[wanted.id] = map[int64]auditName{anyPlace: name}
	}
	for i := range rows {
		for _, id := range []string{rows[i].ActorID, rows[i].TargetID} {
			if versions, ok := l[id]; ok && rows[i].Place < versions[anyPlace].Since {
				if _, ok := versions[rows[i].Place]; !ok {
					versions[rows[i].Place] = auditName{}
					later = append(later, label{id, rows[i].Place})
				}
			}
		}
	}
	if found, err = readLabels(ctx, q, later); err != nil {
		return err
	}
	for wanted, name := range found {
		l[wanted.id][wanted.place] = name
	}
	return nil
}

// A label is asked for: the name of id at a place.
type label struct {
	id    string
	place int64
}

func readLabels(ctx context.Context, q querier, labels []label) (map[label]auditName, error) {
	if len(labels) == 0 {
		return nil, nil
	}
	// The number of rows is rounded up so that few different texts are
	// prepared.
	rows := 1 << bits.Len(uint(len(labels)-1))
	values := make([]string, rows)
	args := make([]any, 0, 2*rows)
	for i := range rows {
		values[i] = fmt.Sprintf("(CAST($%d AS TEXT), CAST($%d AS BIGINT))", 2*i+1, 2*i+2)
		wanted := labels[min(i, len(labels)-1)]
		args = append(args, wanted.id, wanted.place)
	}
	found := map[label]auditName{}
	err := q.query(ctx, `WITH wanted (id, place) AS (VALUES `+strings.Join(values, ", ")+`)
		SELECT w.id, w.place, n.since, n.name, n.email FROM wanted w JOIN audit_names n ON n.id = w.id
			AND n.since = (SELECT max(since) FROM audit_names WHERE id = w.id AND since <= w.place)`, args, func(r row) error {
		var wanted label
		var name auditName
		err := r.scan(&wanted.id, &wanted.place, &name.Since, &name.Name, &name.Email)
		found[wanted] = name
		return err
	})
	return found, err
}
