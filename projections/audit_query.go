package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	rows := make([]auditShown, 0, min(limit, PageLimit)+1)
	err := p.db.read(ctx, func(q querier) error {
		return q.query(ctx, sql, args, func(r row) error {
			rows = append(rows, auditShown{})
			a := &rows[len(rows)-1]
			return r.scan(&a.Place, &a.At, &a.ID, &a.Action, &a.ActorType, &a.ActorID, &a.TargetType, &a.TargetID,
				&a.Before, &a.After, &a.RequestID, &a.Origin, &a.CommitID, &a.actorName, &a.actorEmail, &a.targetName)
		})
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
		if entries[i], err = rows[i].entry(ctx, unsealed); err != nil {
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
	most := fmt.Sprintf(" LIMIT %d", pageRows(limit))
	end := " ORDER BY place DESC" + most

	actions := filter.Actions[:min(len(filter.Actions), mostActions)]
	var branches []string
	branch := func(index string, number int64, more string) {
		branches = append(branches, fmt.Sprintf(`SELECT * FROM (SELECT place, at, id, action, actor_type, actor_id, actor_label,
			target_type, target_id, target_label, before, after, request_id, origin, commit_id FROM audit WHERE %s = %s%s%s%s) AS b%d`,
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
	return `SELECT e.place, e.at, e.id, e.action, e.actor_type, e.actor_id, e.target_type, e.target_id, e.before, e.after,
		e.request_id, e.origin, e.commit_id, COALESCE(a.name, ''), COALESCE(a.email, ''), COALESCE(t.name, '')
		FROM (` + strings.Join(branches, " UNION ALL ") + `) AS e
		LEFT JOIN audit_labels a ON a.given = e.actor_label LEFT JOIN audit_labels t ON t.given = e.target_label
		ORDER BY e.place DESC` + most, args
}

// ceilMicros is the first stored time that isn't before t.
func ceilMicros(t time.Time) int64 {
	at := t.UnixMicro()
	if time.UnixMicro(at).Before(t) {
		at++
	}
	return at
}

// auditShown is an entry with the names that it points at.
type auditShown struct {
	auditRow
	actorName, actorEmail, targetName string
}

func (r *auditShown) entry(ctx context.Context, unsealed *unsealer) (AuditEntry, error) {
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
	if e.Actor.Name, e.Actor.Email, err = unsealed.person(ctx, e.Actor.Type, r.ActorID, r.actorName, r.actorEmail); err != nil {
		return AuditEntry{}, err
	}
	switch r.TargetType {
	case "member":
		e.Target.Name, err = unsealed.text(ctx, r.targetName, nameContext(r.TargetID))
	case "invitation":
		e.Target.Name, err = unsealed.text(ctx, r.targetName, emailContext(r.TargetID))
	default:
		e.Target.Name = r.targetName
	}
	if err != nil {
		return AuditEntry{}, err
	}
	origin, err := open(ctx, unsealed.opener, domain.Sealed(r.Origin), r.CommitID+"/origin")
	if err != nil {
		return AuditEntry{}, fmt.Errorf("projections: opening the origin of %s: %w", r.CommitID, err)
	}
	if e.Actor.IP, e.Actor.UserAgent, err = parseOrigin(origin); err != nil {
		return AuditEntry{}, fmt.Errorf("projections: the origin of %s: %w", r.CommitID, err)
	}
	return e, nil
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
