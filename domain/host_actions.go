package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// AuditActions are the names under which Roster's own events stand in audit
// logs. A host product can use none of them, nor any other name whose first
// part is one of theirs: there is no "member.banned" that isn't Roster's.
var AuditActions = []string{
	"team.created", "team.renamed", "team.deleted", "plan.changed",
	"member.invited", "invitation.resent", "invitation.cancelled", "invitation.declined", "invitation.expired", "member.joined",
	"role.changed", "permissions.changed", "sites.changed", "member.removed", "member.left",
	"expiry.changed", "member.expired", "sites.expired", "permissions.expired",
	"ownership.transfer_requested", "ownership.transfer_cancelled", "ownership.transferred",
	"access_review.opened", "access_review.kept", "access_review.removed", "access_review.closed",
	"site.added", "site.renamed", "site.removed",
	"api_key.created", "api_key.revoked", "webhook.created", "webhook.changed", "webhook.deleted",
	"role.defined", "role.edited", "role.deleted",
	"two_factor.enabled", "two_factor.disabled", "two_factor.recovery_code_used", "two_factor.recovery_codes_renewed",
	"two_factor_policy.changed", "passkey.added", "passkey.removed", "passkey.refused", "session.started", "session.ended",
}

// reservedParts begin names that are kept free for Roster although none of its
// actions begins so today.
var reservedParts = []string{"roster", "user", "password", "catalog"}

// ReservedAction tells whether a name of an action is Roster's own.
func ReservedAction(name string) bool {
	first := firstPart(name)
	return slices.Contains(reservedParts, first) ||
		slices.ContainsFunc(AuditActions, func(own string) bool { return firstPart(own) == first })
}

// nameSeparators are between the parts of an action's name.
const nameSeparators = ".:/-"

func firstPart(name string) string {
	if i := strings.IndexAny(name, nameSeparators); i >= 0 {
		return name[:i]
	}
	return name
}

// Limits on what a host product may record of one action.
const (
	MaxActionName  = 64 // characters
	MaxTargetType  = 40
	MaxTargetID    = 200
	MaxDetailBytes = 4 << 10 // of JSON without white space
	MaxDetailDepth = 8

	// A host's clock may be ahead a little. How long ago something happened
	// isn't limited, so that an older log can be brought along; the order of the
	// log and its time filter go by when it was recorded all the same.
	hostClockAhead = 5 * time.Minute
)

// HostAction is something that the host product did in a team and wants in the
// team's audit log. Name and Detail may tell of people, so they are sealed
// before they are stored; Action and the target's type and id are not.
type HostAction struct {
	Action     string
	TargetType string
	TargetID   string
	TargetName string          // may be empty
	Detail     json.RawMessage // a JSON object, or nothing
	OnBehalfOf UserID          // of whoever made the host do it; may be empty
	OccurredAt time.Time       // zero: when it is recorded
}

// RecordHostAction decides whether an action of the host product goes into the
// team's audit log. The event is no part of the team's own history, and its
// content is still to be sealed: it comes beside it, cleaned.
//
// The actor is whoever presents the credential. A host that uses an API key may
// add for whom it acts, who must be or have been a member; anybody else acts
// for themselves alone.
func (t *Team) RecordHostAction(by Actor, want HostAction, now time.Time) (HostActionRecorded, HostActionContent, error) {
	event, content := HostActionRecorded{Team: t.id}, HostActionContent{}
	if _, err := t.permitted(by, ActionRecordAudit, now); err != nil {
		return event, content, err
	}
	if err := want.check(now); err != nil {
		return event, content, err
	}
	event.Action, event.TargetType, event.TargetID = want.Action, want.TargetType, want.TargetID
	event.OccurredAt = want.OccurredAt.UTC().Truncate(time.Microsecond)
	if want.OnBehalfOf != "" {
		switch {
		case by.Type != ActorAPIKey:
			return event, content, invalid("#/on_behalf_of", "is for API keys: a signed-in user acts for nobody else")
		case !t.Knows(want.OnBehalfOf):
			return event, content, invalid("#/on_behalf_of", "must be the id of a member of this team, or of a former one")
		}
		event.OnBehalfOf = want.OnBehalfOf
	}
	var err error
	if want.TargetName != "" {
		if content.Name, err = cleanName("#/target/name", want.TargetName, MaxNameRunes); err != nil {
			return event, content, err
		}
	}
	content.Detail, err = cleanDetail(want.Detail)
	return event, content, err
}

// check refuses what is malformed whatever the team.
func (a *HostAction) check(now time.Time) error {
	switch {
	case !isName(a.Action, MaxActionName):
		return invalid("#/action", "must be lower-case letters, digits and _ in parts that . - : or / separate, such as order.shipped, at most 64 characters")
	case ReservedAction(a.Action):
		return invalid("#/action", "begins like Roster's own actions: put the name of your product in front, as in shop.order.shipped")
	case !isName(a.TargetType, MaxTargetType):
		return invalid("#/target/type", "must be lower-case letters, digits and _ in parts that . - : or / separate, at most 40 characters")
	case !isTargetID(a.TargetID):
		return invalid("#/target/id", "must be 1 to 200 visible ASCII characters")
	case a.OccurredAt.After(now.Add(hostClockAhead)):
		return invalid("#/occurred_at", "must not lie in the future")
	case !a.OccurredAt.IsZero() && a.OccurredAt.Year() < 1970:
		return invalid("#/occurred_at", "must not lie before 1970")
	}
	return nil
}

// isName tells whether a name is one or more parts of lower-case letters, digits
// and _, the first beginning with a letter. Names that differ only in their case
// would pass for one another.
func isName(name string, longest int) bool {
	if name == "" || len(name) > longest || !isLower(name[0]) || isSeparator(name[len(name)-1]) {
		return false
	}
	for i := range len(name) {
		if !isNameByte(name[i]) && (!isSeparator(name[i]) || isSeparator(name[i-1])) {
			return false
		}
	}
	return true
}

func isLower(c byte) bool     { return c >= 'a' && c <= 'z' }
func isNameByte(c byte) bool  { return isLower(c) || c >= '0' && c <= '9' || c == '_' }
func isSeparator(c byte) bool { return strings.IndexByte(nameSeparators, c) >= 0 }

func isTargetID(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return id != "" && len(id) <= MaxTargetID
}

// HostActionContent is the part of a host's action that is sealed.
type HostActionContent struct {
	Name   string          `json:"name,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

// Empty tells whether there is nothing to seal.
func (c *HostActionContent) Empty() bool { return c.Name == "" && len(c.Detail) == 0 }

// cleanDetail checks a detail and takes its white space out. Two members of one
// name are refused: readers of the log would differ about which one counts.
func cleanDetail(detail json.RawMessage) (json.RawMessage, error) {
	if len(detail) == 0 || string(detail) == "null" {
		return nil, nil
	}
	var compact bytes.Buffer
	if !utf8.Valid(detail) || json.Compact(&compact, detail) != nil || compact.Bytes()[0] != '{' {
		return nil, invalid("#/detail", "must be a JSON object")
	}
	if compact.Len() > MaxDetailBytes {
		return nil, invalid("#/detail", "has more than 4,096 bytes")
	}
	if err := checkObject(compact.Bytes()); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// checkObject walks through valid JSON.
func checkObject(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	type level struct {
		names map[string]bool // of an object; nil in a list
		value bool            // what comes next is a member's value and not its name
	}
	var open []level
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return invalid("#/detail", "must be a JSON object")
		}
		if delimiter, ok := token.(json.Delim); ok && (delimiter == '}' || delimiter == ']') {
			open = open[:len(open)-1]
			continue
		}
		if len(open) > 0 {
			inside := &open[len(open)-1]
			if name, ok := token.(string); ok && inside.names != nil && !inside.value {
				if inside.names[name] {
					return invalid("#/detail", "has two members of one name")
				}
				inside.names[name], inside.value = true, true
				continue
			}
			inside.value = false
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		}
		if len(open) > MaxDetailDepth {
			return invalid("#/detail", "is nested more than 8 levels deep")
		}
	}
}
