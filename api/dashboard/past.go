package dashboard

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// sliderSteps is how finely the slider divides the life of a team.
const sliderSteps = 1000

// thenPage is a team at a moment.
type thenPage struct {
	slider      slider
	tell        *teller // with the names of now
	then        *teller // with the names of that time
	members     Page[Member]
	invitations Page[thenInvitation]
	roles       roleBook
	changes     []difference
}

// thenInvitation is an invitation that was pending.
type thenInvitation struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	ExpiresAt time.Time `json:"expires_at"`
	InvitedBy logActor  `json:"invited_by"`
}

// difference is one thing that isn't as it was.
type difference struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Name   string `json:"name"`
	Change string `json:"change"` // added, removed or changed
	Fields []struct {
		Field string `json:"field"`
		From  any    `json:"from"`
		To    any    `json:"to"`
	} `json:"fields"`
	Event *struct {
		EventID  string    `json:"event_id"`
		Position uint64    `json:"position"`
		At       time.Time `json:"at"`
		Actor    logActor  `json:"actor"`
	} `json:"event"`
}

// slider is a moment in the life of a team, and those at which it changed.
type slider struct {
	from, to time.Time // the team's life
	at       time.Time
	now      bool        // the moment is the present
	changes  []time.Time // the latest first
}

func pastPath(at time.Time) string {
	return "/dashboard/audit/past?as_of=" + url.QueryEscape(at.UTC().Format(time.RFC3339Nano))
}

// place is where on the slider a time is.
func (s *slider) place(at time.Time) int {
	life := s.to.Sub(s.from)
	if life <= 0 {
		return sliderSteps
	}
	return int(max(0, min(sliderSteps, float64(at.Sub(s.from))/float64(life)*sliderSteps)))
}

// earlier is right before the last change by then; zero when that was the first.
// later is right after the next one.
func (s *slider) earlier() time.Time {
	for _, at := range s.changes {
		if at.Before(s.at) && at.After(s.from) {
			return at
		}
	}
	if s.from.Before(s.at) {
		return s.from
	}
	return time.Time{}
}

func (s *slider) later() (later time.Time) {
	for _, at := range s.changes {
		if !at.After(s.at) {
			break
		}
		later = at
	}
	return later
}

// field is the moment as a field for a date and a time shows it, in UTC.
func (s *slider) field() string { return s.at.UTC().Format("2006-01-02T15:04:05") }

// readSlider reads which moment is asked for: by the address bar, by the field
// or, where it was moved, by the slider.
func (v *visit) readSlider() (s slider, moved bool, err error) {
	s = slider{from: v.team.CreatedAt, to: v.now, at: v.now, now: true}
	if s.from.After(s.to) {
		s.from = s.to
	}
	if place := v.r.FormValue("place"); place != "" && place != v.r.FormValue("was") {
		step, err := strconv.Atoi(place)
		if err == nil && step >= 0 && step < sliderSteps {
			s.at, s.now = s.from.Add(time.Duration(float64(s.to.Sub(s.from))*float64(step)/sliderSteps)), false
		}
		return s, true, nil
	}
	text := v.r.FormValue("as_of")
	if text == "" {
		return s, false, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		at, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if layout == time.DateOnly { // the end of the day, as the interface has it
			at = at.AddDate(0, 0, 1).Add(-time.Microsecond)
		}
		switch {
		case at.Before(s.from):
			s.at, s.now = s.from, false
		case at.Before(s.to):
			s.at, s.now = at.UTC(), false
		}
		return s, layout != time.RFC3339, nil
	}
	return s, false, &Problem{Status: http.StatusUnprocessableEntity, Detail: "That is not a time. Write it like 2026-01-31T12:00:00Z."}
}

func pastPage(v *visit) error {
	s, moved, err := v.readSlider()
	if err != nil {
		return err
	}
	if moved && v.r.Header.Get("HX-Request") == "" {
		if s.now {
			return v.to("/dashboard/audit/past")
		}
		return v.to(pastPath(s.at))
	}
	shown := &thenPage{slider: s}
	if err := v.lookBack(shown); err != nil {
		return err
	}
	return v.show(http.StatusOK, thenView(v, shown))
}

// lookBack reads the team as it was.
func (v *visit) lookBack(shown *thenPage) error {
	s := &shown.slider
	query := url.Values{}
	if !s.now {
		query.Set("as_of", s.at.Format(time.RFC3339Nano))
	}
	var roles Page[Role]
	for path, into := range map[string]any{"/members?limit=200": &shown.members, "/invitations?limit=200": &shown.invitations, "/roles?": &roles} {
		if err := v.get(v.teamPath(path+"&"+query.Encode()), into); err != nil {
			return err
		}
	}
	shown.roles = roles.Data
	var log Page[logEntry]
	if err := v.get(v.teamPath("/audit-events?limit=200&action="+strings.Join(teamActions, ",")), &log); err != nil {
		return err
	}
	for _, entry := range log.Data {
		if len(s.changes) == 0 || !s.changes[len(s.changes)-1].Equal(entry.At) {
			s.changes = append(s.changes, entry.At)
		}
	}
	var err error
	if shown.tell, err = v.teller(log.Data...); err != nil {
		return err
	}
	then := *shown.tell
	then.roles = map[string]string{}
	for _, role := range shown.roles {
		then.roles[role.Key] = role.Name
	}
	shown.then = &then
	if s.now {
		return nil
	}
	var compared struct {
		Changes []difference `json:"changes"`
	}
	err = v.get(v.teamPath("/diff?from="+url.QueryEscape(s.at.Format(time.RFC3339Nano))), &compared)
	if problem, ok := errors.AsType[*Problem](err); ok && problem.Status == http.StatusNotFound {
		return nil
	}
	shown.changes = compared.Changes
	slices.SortStableFunc(shown.changes, func(a, b difference) int { return cmp.Compare(b.position(), a.position()) })
	return err
}

// teamActions are those that change a team, as far as the slider marks them. A
// filter takes at most 32.
var teamActions = []string{
	"team.created", "team.renamed", "plan.changed", "member.invited", "invitation.cancelled", "invitation.declined", "invitation.expired",
	"member.joined", "role.changed", "permissions.changed", "sites.changed", "member.removed", "member.left",
	"expiry.changed", "member.expired", "sites.expired", "permissions.expired", "ownership.transferred",
	"role.defined", "role.edited", "role.deleted", "site.added", "site.renamed", "site.removed", "api_key.created", "api_key.revoked",
}

func (d *difference) position() uint64 {
	if d.Event == nil {
		return 0
	}
	return d.Event.Position
}

// path is the entry behind a difference; where time alone was behind it, what
// the log has about the thing.
func (d *difference) path() string {
	if d.Event == nil {
		return logFilter{Target: d.ID}.path()
	}
	return entryPath(d.Event.Position, d.Event.EventID)
}

// kind is what the thing is, in words.
func (t *teller) kind(kind string) string {
	switch kind {
	case "team":
		return capital(t.labels.team)
	case "site":
		return capital(cmp.Or(t.labels.site, kind))
	case "api_key":
		return "API key"
	}
	return capital(kind)
}

// fields are what differs, as before and after.
func (t *teller) fields(d *difference) []change {
	if d.Kind == "role" && d.Change == "removed" {
		return nil // all that it was
	}
	before, after := values{}, values{}
	for _, field := range d.Fields {
		if (field.Field == "name" && d.Change != "changed") || saysNothing(field.From) && saysNothing(field.To) {
			continue // is the heading; is nothing
		}
		before[field.Field], after[field.Field] = field.From, field.To
	}
	changes := t.compare(before, after)
	return slices.DeleteFunc(changes, func(c change) bool { return !c.differs })
}

// saysNothing tells whether a value says nothing.
func saysNothing(value any) bool {
	list, ok := value.([]any)
	return value == nil || ok && len(list) == 0
}

// called is what the thing is called, or its key where it has no name.
func (d *difference) called() string { return cmp.Or(d.Name, d.ID) }

func (d *difference) tone() string {
	return map[string]string{"added": "good", "removed": "bad", "changed": "warn"}[d.Change]
}

// jumps makes a link to another moment that changes what stands below the
// slider, where there is JavaScript.
func jumps(path string) templ.Attributes {
	return templ.Attributes{"href": path, "hx-get": path, "hx-target": "#then", "hx-select": "#then", "hx-swap": "outerHTML", "hx-push-url": "true"}
}

// countThen is how many there are, as far as they were read.
func countThen(n int, more bool) string {
	if more {
		return fmt.Sprintf("The first %d", n)
	}
	return fmt.Sprint(n)
}

// orErased is a name, or what is said of one that was erased.
func orErased(name string) string { return cmp.Or(name, erased) }

func (p *thenPage) whyPath(user string) string {
	path := whyPath(user)
	if !p.slider.now {
		path += "?as_of=" + url.QueryEscape(p.slider.at.UTC().Format(time.RFC3339Nano))
	}
	return path
}
