package projections

import (
	"strconv"
	"strings"
	"time"
)

// auditText is what an entry says, as texts. Before and After are JSON objects,
// or empty. Content is what a host product said, and Origin where it came from;
// both are sealed, for the places "<ID>/content" and "<OriginID>/origin".
type auditText struct {
	Team, ID, Action       string
	ActorType, ActorID     string
	BehalfID               string
	TargetType, TargetID   string
	Before, After, Content string
	OccurredAt             string // microseconds
	RequestID              string
	Origin, OriginID       string
}

func (t *auditText) fields() [15]*string {
	return [...]*string{
		&t.Team, &t.ID, &t.Action, &t.ActorType, &t.ActorID, &t.BehalfID, &t.TargetType, &t.TargetID,
		&t.Before, &t.After, &t.Content, &t.OccurredAt, &t.RequestID, &t.Origin, &t.OriginID,
	}
}

// fieldEnd is behind every field of a packed text. It is a control character,
// which neither ids nor JSON nor sealed text can hold.
const fieldEnd = "\x1f"

func (t *auditText) pack() string {
	size := 0
	for _, field := range t.fields() {
		size += len(*field) + len(fieldEnd)
	}
	var packed strings.Builder
	packed.Grow(size)
	for _, field := range t.fields() {
		packed.WriteString(strings.ReplaceAll(*field, fieldEnd, " ")) // so that nothing can shift the fields, whatever an event holds
		packed.WriteString(fieldEnd)
	}
	return packed.String()
}

// unpack takes a text apart again.
func (t *auditText) unpack(packed string) {
	for _, field := range t.fields() {
		end := strings.IndexByte(packed, fieldEnd[0])
		if end < 0 {
			*field, packed = packed, ""
			continue
		}
		*field, packed = packed[:end], packed[end+1:]
	}
}

// microsText is a time as it stands in a text; empty for none.
func microsText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(micros(t), 10)
}

func timeOfText(text string) time.Time {
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(at).UTC()
}
