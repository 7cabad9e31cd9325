package client

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told is a follower that writes down what it is told.
type told struct {
	at   uint64
	said []string
	late bool
}

func (f *told) position() uint64      { return f.at }
func (f *told) begin(position uint64) { f.said = append(f.said, fmt.Sprint("begin ", position)) }
func (f *told) interrupted(err error) { f.said = append(f.said, err.Error()) }
func (f *told) changed(team, user string, position uint64) {
	f.said = append(f.said, fmt.Sprint("changed ", team, user, " ", position))
}

func (f *told) complete(position uint64, moment time.Time) bool {
	f.said = append(f.said, fmt.Sprint("complete ", position, " ", moment.Sub(noon)))
	return !f.late
}

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func TestWhatAStreamTells(t *testing.T) {
	lines := func(text ...string) string { return strings.Join(text, "\n") + "\n" }
	change := lines("id: 7", "event: change", `data: {"team":"team_1","position":7,"actions":["role.changed"]}`, "")
	position := lines("id: 8", "event: position", `data: {"position":8,"open_ms":400}`, "")
	for name, test := range map[string]struct {
		begun, late bool
		text        string
		want        []string
		err         string
	}{
		"from the beginning":             {text: change + position + change, want: []string{"begin 8", "complete 8 400ms", "changed team_1 7"}},
		"going on":                       {begun: true, text: change + position, want: []string{"changed team_1 7", "complete 8 400ms"}},
		"a person":                       {begun: true, text: lines("event:change", `data:{"user":"user_1","position":9}`, ""), want: []string{"changed user_1 9"}},
		"nobody is allowed more or less": {begun: true, text: lines("event: change", `data: {"team":"team_1","position":9,"decisions":false}`, ""), want: nil},
		"somebody may be":                {begun: true, text: lines("event: change", `data: {"team":"team_1","position":9,"decisions":true}`, ""), want: []string{"changed team_1 9"}},
		"a reset":                        {begun: true, text: lines("event: reset", `data: {"position":9}`, "") + change, want: []string{"begin 9", "changed team_1 7"}},
		"what it doesn't know":           {begun: true, text: lines(": comment", "retry: 1", "event: news", "data: <", "", "other: x", ""), want: nil},
		"a moment in the future":         {begun: true, text: lines("event: position", `data: {"position":8,"open_ms":9223372036854775807}`, ""), want: []string{"complete 8 1s"}},
		"a moment before it all":         {begun: true, text: lines("event: position", `data: {"position":8,"open_ms":-9223372036854775808}`, ""), want: []string{"complete 8 0s"}},
		"too late":                       {begun: true, late: true, text: position, want: []string{"complete 8 400ms"}, err: errBehind.Error()},
		"the end":                        {begun: true, text: lines("event: end", `data: {"reason":"renew"}`, ""), err: "client: the server has ended the stream: renew"},
		"an event that is cut":           {begun: true, text: strings.TrimSuffix(change, "\n"), want: nil},
		"a change of two at once":        {begun: true, text: lines("event: change", `data: {"team":"t","user":"u","position":1}`, ""), err: "client: a change is neither of a team nor of a person"},
	} {
		t.Run(name, func(t *testing.T) {
			to := &told{late: test.late}
			s := &reading{to: to, sent: noon, now: func() time.Time { return noon.Add(time.Second) }, begun: test.begun}
			var failed string
			for line := range strings.SplitSeq(strings.TrimSuffix(test.text, "\n"), "\n") {
				if err := s.line(line); err != nil {
					failed = err.Error()
					break
				}
			}
			if diff := cmp.Diff(test.want, to.said); diff != "" || failed != test.err {
				t.Errorf("failed with %q: %s", failed, diff)
			}
		})
	}
}

// following is a cache that a test tells what is heard, and that goes by a
// clock which stands still.
func following(at uint64) (*Cache, *time.Time) {
	now := noon
	c := &Cache{staleness: time.Minute, capacity: 100, moved: make(chan struct{}), now: func() time.Time { return now }}
	c.begin(at)
	c.complete(at, now)
	return c, &now
}

func TestWhichAnswersAreGood(t *testing.T) {
	q := Question{Team: "team_1", Subject: "user_1", Permission: "orders:update"}
	for name, test := range map[string]struct {
		asOf, least uint64
		hear        func(*Cache, *time.Time)
		good        bool
	}{
		"nothing happened":               {asOf: 10, good: true},
		"from before the beginning":      {asOf: 9},
		"its team changed":               {asOf: 10, hear: func(c *Cache, _ *time.Time) { c.changed("team_1", "", 11) }},
		"another team changed":           {asOf: 10, good: true, hear: func(c *Cache, _ *time.Time) { c.changed("team_2", "", 11) }},
		"its subject changed":            {asOf: 10, hear: func(c *Cache, _ *time.Time) { c.changed("", "user_1", 11) }},
		"another person changed":         {asOf: 10, good: true, hear: func(c *Cache, _ *time.Time) { c.changed("", "user_2", 11) }},
		"it knows of the change":         {asOf: 11, good: true, hear: func(c *Cache, _ *time.Time) { c.changed("team_1", "", 11) }},
		"a change heard of late":         {asOf: 11, hear: func(c *Cache, _ *time.Time) { c.changed("team_1", "", 12); c.changed("team_1", "", 11) }},
		"everything was reset":           {asOf: 10, hear: func(c *Cache, _ *time.Time) { c.begin(11); c.complete(11, noon) }},
		"reset to an earlier position":   {asOf: 10, hear: func(c *Cache, _ *time.Time) { c.begin(5); c.complete(5, noon) }},
		"the stream is cut":              {asOf: 10, hear: func(c *Cache, _ *time.Time) { c.interrupted(errClosed) }},
		"a minute has nearly passed":     {asOf: 10, good: true, hear: func(_ *Cache, now *time.Time) { *now = noon.Add(time.Minute - 1) }},
		"a minute has passed":            {asOf: 10, hear: func(_ *Cache, now *time.Time) { *now = noon.Add(time.Minute) }},
		"a minute, but it was confirmed": {asOf: 10, good: true, hear: func(c *Cache, now *time.Time) { *now = noon.Add(time.Minute); c.complete(10, noon.Add(1)) }},
		"it is asked for what it has":    {asOf: 12, least: 12, good: true},
		"it is asked for later":          {asOf: 10, least: 11},
		"all up to then was heard":       {asOf: 10, least: 11, good: true, hear: func(c *Cache, _ *time.Time) { c.complete(11, noon) }},
	} {
		t.Run(name, func(t *testing.T) {
			c, now := following(10)
			c.era.Load().shard(&q).put(&q, &Decision{Allowed: true, AsOf: test.asOf})
			if test.hear != nil {
				test.hear(c, now)
			}
			if _, good := c.held(&q, test.least); good != test.good {
				t.Errorf("good is %v", good)
			}
		})
	}
}

func TestAnAnswerThatTimeMayChange(t *testing.T) {
	sent := time.Now()
	for name, test := range map[string]struct {
		ahead time.Duration // of the server's clock
		until time.Duration // from now
		keep  bool
		left  time.Duration
	}{
		"in a minute":             {until: time.Minute, keep: true, left: 59 * time.Second},
		"a clock an hour ahead":   {ahead: time.Hour, until: time.Minute, keep: true, left: 59 * time.Second},
		"a clock an hour behind":  {ahead: -time.Hour, until: time.Minute, keep: true, left: 59 * time.Second},
		"within a second":         {until: time.Second},
		"already over":            {until: -time.Second},
		"in a minute, half spent": {until: time.Minute / 2, keep: true, left: 29 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			server := sent.Add(test.ahead).Truncate(time.Second)
			got := &answer{sent: sent, header: http.Header{"Date": {server.UTC().Format(http.TimeFormat)}, "Roster-Position": {"12"}}}
			v := verdict{Decision: true, Context: verdictContext{Until: server.Add(test.until)}}
			d := v.decision(got)
			if d.keep != test.keep || test.keep && d.expires.Sub(sent) != test.left {
				t.Errorf("keep %v, expires in %v", d.keep, d.expires.Sub(sent))
			}
			if !test.keep {
				return
			}
			c, now := following(10)
			q := question(1)
			c.era.Load().shard(&q).put(&q, &d)
			for _, late := range []bool{false, true} {
				if *now = d.expires.Add(-1); late {
					*now = d.expires
				}
				c.complete(12, *now)
				if _, good := c.held(&q, 0); good == late {
					t.Errorf("at the end of its time: late %v, good %v", late, good)
				}
			}
		})
	}
	v := verdict{Context: verdictContext{Until: sent.Add(time.Hour)}}
	if v.decision(&answer{sent: sent, header: http.Header{"Roster-Position": {"12"}}}).keep {
		t.Error("kept without knowing the server's time")
	}
	if (&verdict{}).decision(&answer{header: http.Header{}}).keep {
		t.Error("kept without a position")
	}
}
