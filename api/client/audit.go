package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// AuditEvent is an entry of a team's audit log.
type AuditEvent struct {
	ID        string          `json:"id"`
	Position  uint64          `json:"position"`
	At        time.Time       `json:"at"`
	Action    string          `json:"action"`
	Actor     AuditActor      `json:"actor"`
	Target    AuditTarget     `json:"target"`
	Before    json.RawMessage `json:"before"` // null when there is nothing to say
	After     json.RawMessage `json:"after"`
	RequestID string          `json:"request_id"`

	// Of an action of the host's own.
	OnBehalfOf *AuditPerson    `json:"on_behalf_of"` // nil for nobody
	Detail     json.RawMessage `json:"detail"`       // null for none, and once it is erased
	OccurredAt *time.Time      `json:"occurred_at"`  // nil when the host didn't say
}

// AuditActor is who did it and from where. All but the id is empty once a
// person is erased.
type AuditActor struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	Name      string `json:"name"`
	Email     string `json:"email"`
	IP        string `json:"ip"`
	UserAgent string `json:"user_agent"`
}

// AuditPerson is a member as they were called then.
type AuditPerson struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

// AuditTarget is what something was done to.
type AuditTarget struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// AuditFilter chooses entries, in any combination; its zero value all.
type AuditFilter struct {
	Member   string // id of a user who did it, for whom or to whom it was done
	Actor    string // id of a user or an API key; or operator, or roster
	Actions  []string
	Target   string // id of what it was done to
	From, To time.Time
	PageSize int // how many are asked for at once, up to 200; 0: 50
}

// Audit yields the audit log of a team, newest first.
func (c *Client) Audit(ctx context.Context, team string, f AuditFilter) iter.Seq2[AuditEvent, error] {
	query := url.Values{}
	set(query, "member", f.Member)
	set(query, "actor", f.Actor)
	set(query, "action", strings.Join(f.Actions, ","))
	set(query, "target", f.Target)
	setTime(query, "from", f.From)
	setTime(query, "to", f.To)
	return list[AuditEvent](ctx, c, team, "/audit-events", query, f.PageSize)
}

// AuditRecord is something that happened in the host's own product.
type AuditRecord struct {
	Action string         `json:"action"` // not one of Roster's own
	Target AuditTarget    `json:"target"`
	Detail map[string]any `json:"detail,omitempty"`

	OccurredAt time.Time `json:"occurred_at,omitzero"`   // if that isn't now
	OnBehalfOf string    `json:"on_behalf_of,omitempty"` // with an API key: the user for whom the host acted
}

const (
	// One request holds up to so many records, and so many bytes of them, which
	// leaves room below the 1 MiB that Roster takes.
	recordsAtOnce = 1_000
	bytesAtOnce   = 960 << 10

	maxRecorded = 1 << 20
)

// RecordAudit writes into the audit log of a team and gives the position of the
// last record. Each request is written once, however often it has to be sent,
// and all of it or nothing. More than 1,000 records, or a megabyte of them, take
// several requests; after an error, the first of those may have been written.
func (c *Client) RecordAudit(ctx context.Context, team string, records ...AuditRecord) (position uint64, err error) {
	path, err := teamPath(team, "/audit-events")
	if err != nil {
		return 0, err
	}
	encoded := make([]json.RawMessage, len(records))
	for i := range records {
		if encoded[i], err = json.Marshal(&records[i]); err != nil {
			return 0, fmt.Errorf("client: record %d: %w", i, err)
		}
	}
	if len(encoded) == 1 {
		return c.record(ctx, path, encoded[0])
	}
	for len(encoded) > 0 {
		n, size := 0, 0
		for n < len(encoded) && n < recordsAtOnce && (n == 0 || size+len(encoded[n]) <= bytesAtOnce) {
			size += len(encoded[n]) + 1
			n++
		}
		body, err := json.Marshal(map[string][]json.RawMessage{"events": encoded[:n]})
		if err != nil {
			return position, err
		}
		at, err := c.record(ctx, path+"/batch", body)
		if err != nil {
			return position, err
		}
		position, encoded = max(position, at), encoded[n:]
	}
	return position, nil
}

func (c *Client) record(ctx context.Context, path string, body []byte) (uint64, error) {
	got, err := c.do(ctx, call{method: http.MethodPost, path: path, body: body, most: maxRecorded, key: rand.Text()}, nil)
	if err != nil {
		return 0, err
	}
	return got.position(), nil
}
