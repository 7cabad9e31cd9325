package projections

import (
	"encoding/json"

	"roster/domain"
)

// Description is what the audit log says of an event of a team beside who did
// it and when.
type Description struct {
	Action        string
	Target        AuditTarget // without the name
	Before, After json.RawMessage
}

// Describe gives what the audit log says of an event; false when it isn't
// entered there.
func Describe(event domain.Event, team domain.TeamID) (Description, bool) {
	entry, ok := auditEntryOf(event, string(team))
	return Description{
		Action: entry.action, Target: AuditTarget{Type: entry.targetType, ID: entry.target},
		Before: rawObject(entry.before), After: rawObject(entry.after),
	}, ok
}

func rawObject(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}
