package dashboard

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/a-h/templ"
)

// htmxConfig: its style sheet would be an inline one, and a refresh of the page
// must not close what its reader has opened.
const htmxConfig = `{"includeIndicatorCSS":false,"morphIgnore":["data-htmx-powered","open"]}`

// inSheet makes a link to a page with a card open that card in a dialog over
// the page, where there is JavaScript.
func inSheet(path string) templ.Attributes {
	return templ.Attributes{
		"href": path, "hx-get": path, "hx-target": "#sheet", "hx-select": "#card", "hx-swap": "innerHTML",
	}
}

// posts makes a form on a card post to a path and, where there is JavaScript,
// shows a refusal in its place, be that the page or a dialog.
func posts(path string) templ.Attributes {
	return templ.Attributes{
		"method": "post", "action": path, "hx-post": path,
		"hx-target": "closest [data-frame]", "hx-select": "#card", "hx-swap": "innerHTML",
	}
}

// entry is one line of the side bar.
type entry struct{ path, name, icon string }

// entries are those of the side bar that lead the reader somewhere.
func (v *visit) entries() (entries []entry) {
	add := func(shown bool, path, name, icon string) {
		if shown {
			entries = append(entries, entry{path, name, icon})
		}
	}
	add(v.team.may("view_members"), "/dashboard/team", "Team", "team")
	add(v.catalog.Rules.Sites, "/dashboard/settings/sites", capital(v.catalog.Labels.Sites), "site")
	add(true, "/dashboard/settings/roles", "Roles", "role")
	add(v.team.may("read_audit"), "/dashboard/audit", "Audit log", "audit")
	add(v.team.may("manage_api_keys"), "/dashboard/settings/api-keys", "API keys", "key")
	add(len(v.catalog.Plans) > 0, "/dashboard/subscribe", "Plan", "plan")
	add(true, "/dashboard/settings", "Settings", "settings")
	return entries
}

// live is the stream that renews an open page, and ended where it leads when
// its reader may no longer follow it.
func (v *visit) live() string {
	if v.team == nil || v.r.Method != http.MethodGet {
		return "" // a form that was refused must not be replaced under its reader's hands
	}
	return v.teamPath("/changes?after=" + v.position)
}

func (v *visit) ended() string {
	if v.team == nil {
		return ""
	}
	return "/dashboard?ended=" + v.team.ID
}

// initial is the first letter or digit of a name.
func initial(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	if r, _ := utf8.DecodeRuneInString(strings.TrimSpace(name)); r != utf8.RuneError {
		return string(r)
	}
	return "?"
}

// tint is which of the eight colours of avatars an id gets, always the same.
func tint(id string) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(id))
	return fmt.Sprint(hash.Sum32() % 8)
}

// capital makes a word begin a line.
func capital(word string) string {
	first, size := utf8.DecodeRuneInString(word)
	return string(unicode.ToUpper(first)) + word[size:]
}

// sentence makes one of what the interface says of a field.
func sentence(text string) string {
	text = capital(strings.TrimSuffix(text, "."))
	return text + "."
}

// isolated keeps the direction of a name from what is around it, in text
// without markup.
func isolated(name string) string { return "\u2068" + name + "\u2069" }

// fieldLayout is how a field for a date and a time has its value.
const fieldLayout = "2006-01-02T15:04"

// momentIn reads such a field: in UTC, or as the script sends it. An empty one
// is no moment.
func momentIn(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = fieldMoment(text)
	}
	if err != nil {
		return nil, errors.New("must be a date and a time")
	}
	at = at.UTC()
	return &at, nil
}

// fieldMoment reads what such a field sends by itself.
func fieldMoment(text string) (time.Time, error) {
	at, err := time.Parse(fieldLayout, text)
	if err != nil {
		return time.Parse(fieldLayout+":05", text)
	}
	return at, nil
}

// localField is what was sent of such a field, as its value.
func localField(text string) string {
	if at, err := momentIn(text); err == nil && at != nil {
		return at.Format(fieldLayout)
	}
	return ""
}

// count is a number with its word.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// distance says how far off a time is, in its largest unit.
func distance(at, now time.Time) string {
	gap := at.Sub(now)
	ahead := gap > 0
	gap = gap.Abs()
	var text string
	switch {
	case gap < time.Minute:
		if ahead {
			return "in less than a minute"
		}
		return "just now"
	case gap < time.Hour:
		text = count(int(gap/time.Minute), "minute", "minutes")
	case gap < 48*time.Hour:
		text = count(int((gap+30*time.Minute)/time.Hour), "hour", "hours")
	case gap < 60*24*time.Hour:
		text = count(int((gap+12*time.Hour)/(24*time.Hour)), "day", "days")
	default:
		text = count(int(gap/(30*24*time.Hour)), "month", "months")
	}
	if ahead {
		return "in " + text
	}
	return text + " ago"
}

func refusalTitle(problem *Problem) string {
	switch {
	case problem.Status == http.StatusNotFound:
		return "Not found"
	case problem.Status == http.StatusForbidden:
		return "Not permitted"
	case problem.Status == http.StatusTooManyRequests:
		return "Too many attempts"
	case problem.Status == http.StatusServiceUnavailable:
		return "Not available just now"
	case problem.Status >= http.StatusInternalServerError:
		return "Something went wrong"
	}
	return "That didn't work"
}

// plainAction is an action in words: "read_own" is "read own".
func plainAction(action string) string { return strings.ReplaceAll(action, "_", " ") }
