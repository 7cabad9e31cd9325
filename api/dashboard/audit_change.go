package dashboard

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// change is one field of what an entry says was before and is after.
type change struct {
	field         string
	before, after []piece
	differs       bool
}

// piece is a part of a value: a line of a list, or all of it.
type piece struct {
	text  string
	note  string     // beside the text: the role on a site, say
	at    *time.Time // instead of the text
	code  bool       // an id or a permission
	fresh bool       // is on this side alone
}

// fieldNames are the fields of entries and differences in words. Others are
// read as they are.
var fieldNames = map[string]string{
	"expires_at": "Ends", "access_expires_at": "Access ends", "new_owner_role": "New owner was", "previous_owner_role": "Old owner is now",
	"required": "Two-factor sign-in of", "grace_days": "Days to set it up", "api_keys": "API keys", "expirations": "Last days",
	"new_owner_expires_at": "New owner’s membership ended",
}

// changes are the fields of an entry, those that differ first.
func (t *teller) changes(e *logEntry) []change {
	before, after := e.values()
	return t.compare(before, after)
}

func (t *teller) compare(before, after values) (changes []change) {
	fields := maps.Clone(before)
	if fields == nil {
		fields = values{}
	}
	maps.Copy(fields, after)
	for field := range fields {
		was, had := before[field]
		is, has := after[field]
		c := change{field: t.field(field), before: t.pieces(field, was), after: t.pieces(field, is)}
		c.differs = had != has || fmt.Sprint(was) != fmt.Sprint(is)
		mark(c.before, c.after)
		mark(c.after, c.before)
		changes = append(changes, c)
	}
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(-compareBools(a.differs, b.differs), cmp.Compare(a.field, b.field))
	})
	return changes
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// mark marks the pieces that the other side doesn't have.
func mark(pieces, others []piece) {
	for i := range pieces {
		pieces[i].fresh = !slices.ContainsFunc(others, func(p piece) bool {
			return p.text == pieces[i].text && p.note == pieces[i].note && sameTime(p.at, pieces[i].at)
		})
	}
}

func sameTime(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }

func (t *teller) field(name string) string {
	if name == "sites" {
		return capital(cmp.Or(t.labels.sites, "sites"))
	}
	return cmp.Or(fieldNames[name], inWords(name))
}

// pieces are the parts of a value as it is shown; none for nothing.
func (t *teller) pieces(field string, value any) []piece {
	switch value := value.(type) {
	case nil:
		return nil
	case string:
		switch {
		case value == "":
			return nil
		case field == "role" || field == "new_owner_role" || field == "previous_owner_role" || field == "replacement":
			return []piece{{text: t.role(value)}}
		case field == "plan" || field == "status" || field == "required":
			return []piece{{text: inWords(value)}}
		case field == "name" || field == "description":
			return []piece{{text: value}}
		}
		if at, err := time.Parse(time.RFC3339, value); err == nil {
			return []piece{{at: &at}}
		}
		return []piece{{text: value, code: true}}
	case float64:
		return []piece{{text: fmt.Sprint(value)}}
	case []any:
		pieces := []piece{}
		for _, item := range value {
			pieces = append(pieces, t.item(field, item))
		}
		return pieces
	case map[string]any:
		pieces := []piece{}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			p := t.item(field, value[key])
			p.text, p.note, p.code = key, cmp.Or(p.note, p.text), true
			pieces = append(pieces, p)
		}
		return pieces
	}
	return []piece{{text: rawText(value), code: true}}
}

// item is a line of a list.
func (t *teller) item(field string, value any) piece {
	switch value := value.(type) {
	case string:
		if field == "roles" {
			return piece{text: t.role(value)}
		}
		if at, err := time.Parse(time.RFC3339, value); err == nil {
			return piece{note: "until " + at.UTC().Format("2 Jan 2006, 15:04 UTC")}
		}
		return piece{text: value, code: true}
	case map[string]any:
		if grant := values(value); field == "sites" {
			note := t.role(grant.text("role"))
			if at, ok := grant.moment("expires_at"); ok {
				note += " until " + at.UTC().Format("2 Jan 2006, 15:04 UTC")
			}
			return piece{text: t.place(grant.text("site_id")), note: note}
		}
	}
	return piece{text: rawText(value), code: true}
}

func rawText(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// indented is JSON for people to read, as it was recorded. What would turn the
// direction of the text around is written as its code.
func indented(raw json.RawMessage) string {
	var text bytes.Buffer
	if len(raw) == 0 || string(raw) == "null" || json.Indent(&text, raw, "", "  ") != nil {
		return ""
	}
	var shown strings.Builder
	for _, r := range text.String() {
		if turnsAround(r) {
			fmt.Fprintf(&shown, `\u%04x`, r)
			continue
		}
		shown.WriteRune(r)
	}
	return shown.String()
}

// turnsAround tells whether a character changes the direction of the text that
// follows.
func turnsAround(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }

// straight leaves out of a sentence what would turn it around, where the names
// in it can't be kept apart.
func straight(text string) string {
	return strings.Map(func(r rune) rune {
		if turnsAround(r) {
			return -1
		}
		return r
	}, text)
}
