package dashboard

import (
	"encoding/json"
	"net/url"
	"strconv"
	"time"
)

// logEntry is an entry of the audit log.
type logEntry struct {
	ID         string          `json:"id"`
	Position   uint64          `json:"position"`
	At         time.Time       `json:"at"`
	Action     string          `json:"action"`
	Actor      logActor        `json:"actor"`
	Target     logTarget       `json:"target"`
	Before     json.RawMessage `json:"before"`
	After      json.RawMessage `json:"after"`
	RequestID  string          `json:"request_id"`
	OnBehalfOf *logActor       `json:"on_behalf_of"`
	Detail     json.RawMessage `json:"detail"`
	OccurredAt *time.Time      `json:"occurred_at"`
}

// logActor is who did it.
type logActor struct {
	Type      string `json:"type"` // user, api_key or system
	ID        string `json:"id"`
	Name      string `json:"name"`
	Email     string `json:"email"`
	IP        string `json:"ip"`
	UserAgent string `json:"user_agent"`
}

// called is the actor in a sentence. People who were erased have no name any
// more, and the system has none.
func (a logActor) called() string {
	switch {
	case a.Type == "system":
		switch a.ID {
		case "operator":
			return "The operator"
		case "roster":
			return "The system"
		case "invitee":
			return "The invited person"
		case "visitor":
			return "A visitor"
		}
		return capital(a.ID)
	case a.Name != "":
		return a.Name
	case a.Email != "":
		return a.Email
	case a.Type == "api_key":
		return "An API key"
	}
	return erased
}

// erased is what is called whose name is gone with their data.
const erased = "An erased person"

type logTarget struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// path is the page of an entry: of the change that it was a part of, with this
// part first.
func (e *logEntry) path() string { return entryPath(e.Position, e.ID) }

func entryPath(position uint64, event string) string {
	return "/dashboard/audit/" + strconv.FormatUint(position, 10) + "?event=" + url.QueryEscape(event)
}

// own tells whether the action is one of Roster's and not the host product's.
func (e *logEntry) own() bool { return sayings[e.Action] != "" }

// values reads what the entry says of before and after. What isn't an object
// has none.
func (e *logEntry) values() (before, after values) {
	_ = json.Unmarshal(e.Before, &before)
	_ = json.Unmarshal(e.After, &after)
	return before, after
}

// values are the members of an object of an entry.
type values map[string]any

func (v values) text(name string) string {
	text, _ := v[name].(string)
	return text
}

func (v values) number(name string) int {
	number, _ := v[name].(float64)
	return int(number)
}

// texts are the texts of a list.
func (v values) texts(name string) []string {
	items, _ := v[name].([]any)
	texts := make([]string, 0, len(items))
	for _, item := range items {
		if text, ok := item.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// moment is a time; false when there is none.
func (v values) moment(name string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, v.text(name))
	return at, err == nil
}

// grants are the roles on sites, by site.
func (v values) grants(name string) map[string]string {
	items, _ := v[name].([]any)
	grants := make(map[string]string, len(items))
	for _, item := range items {
		if grant, ok := item.(map[string]any); ok {
			grants[values(grant).text("site_id")] = values(grant).text("role")
		}
	}
	return grants
}
