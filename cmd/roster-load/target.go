package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// target is what a scenario is played against: Roster, or the baseline, which
// answers to the same paths.
type target struct {
	name     string
	server   *process
	accounts []account
	hotTeam  func(ctx context.Context) (string, error) // a new team without a limit, of accounts[0]
	large    largeTeam
}

// account is a signed-in user with teams of their own.
type account struct {
	user, token string
	teams       []string
}

// largeTeam is the one with many members and a long audit log.
type largeTeam struct {
	team, token string
	actors      []string  // who changed roles
	from, to    time.Time // when each of them did it more often than a page has entries
	pages       []string  // page tokens of the members list
}

const (
	teamsEach   = 8   // that each client invites to in turn
	minAccounts = 16  // enough teams for the open loop
	lagWorkers  = 128 // of the open loop, so that they are held up by a lag above 250 ms at 500 a second only
	pageSize    = 50
	batchSize   = 100 // questions of a batch
	pageWalk    = 40  // pages of the members list that are asked for, at random
)

// people numbers those who are invited, so that none is invited twice.
var people atomic.Int64

func inviteBody() string {
	return fmt.Sprintf(`{"email":"person-%d@example.com","name":"Grace Hopper","role":"member"}`, people.Add(1))
}

func invitationsPath(team string) string { return "/v1/teams/" + team + "/invitations" }

// acrossTeams invites to the client's own teams in turn.
func (t *target) acrossTeams(ctx context.Context, worker int) (step, error) {
	c, err := dial(ctx, t.server.url)
	who := t.accounts[worker%len(t.accounts)]
	turn := 0
	return func(context.Context) error {
		turn++
		_, err := c.send("POST", invitationsPath(who.teams[turn%len(who.teams)]), who.token, inviteBody(), "")
		return err
	}, err
}

// hot invites to one new team, whichever the client.
func (t *target) hot(ctx context.Context) (func(context.Context, int) (step, error), error) {
	team, err := t.hotTeam(ctx)
	return func(ctx context.Context, _ int) (step, error) {
		c, err := dial(ctx, t.server.url)
		return func(context.Context) error {
			_, err := c.send("POST", invitationsPath(team), t.accounts[0].token, inviteBody(), "")
			return err
		}, err
	}, err
}

// posts sends the same question over and over.
func posts(base, path string, token, body func(worker int) string) func(context.Context, int) (step, error) {
	return func(ctx context.Context, worker int) (step, error) {
		c, err := dial(ctx, base)
		token, body := token(worker), body(worker)
		return func(context.Context) error {
			_, err := c.send("POST", path, token, body, "")
			return err
		}, err
	}
}

// evaluation asks whether a user may do something in their team.
func evaluation(user, team string) string {
	return fmt.Sprintf(`{"subject":{"type":"user","id":%q},"action":{"name":"update"},"resource":{"type":"documents","properties":{"team":%q}}}`, user, team)
}

// evaluations asks batchSize such questions at once.
func evaluations(user, team string) string {
	var body strings.Builder
	fmt.Fprintf(&body, `{"subject":{"type":"user","id":%q},"evaluations":[`, user)
	for i := range batchSize {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"action":{"name":%q},"resource":{"type":%q,"id":"%d","properties":{"team":%q}}}`,
			[]string{"read", "create", "update", "delete"}[i%4], []string{"documents", "orders", "customers"}[i%3], i, team)
	}
	return body.String() + "]}"
}

// pages asks for pages, which must be full, at the paths that next gives.
func (t *target) pages(next func() string) func(context.Context, int) (step, error) {
	return func(ctx context.Context, _ int) (step, error) {
		c, err := dial(ctx, t.server.url)
		if err != nil {
			return nil, err
		}
		path := next()
		got, err := c.send("GET", path, t.large.token, "", "")
		if err != nil {
			return nil, err
		}
		var list page
		if err := json.Unmarshal(got.body, &list); err != nil {
			return nil, err
		}
		if len(list.Data) != pageSize {
			return nil, fmt.Errorf("%s: %s has %d entries instead of %d", t.name, path, len(list.Data), pageSize)
		}
		return func(context.Context) error {
			_, err := c.send("GET", next(), t.large.token, "", "")
			return err
		}, nil
	}
}

// page is a list as far as the load looks into it.
type page struct {
	Data []struct {
		ID string `json:"id"`
	} `json:"data"`
	Page struct {
		NextToken string `json:"next_token"`
	} `json:"page"`
}

func (l *largeTeam) membersPath(token string) string {
	return fmt.Sprintf("/v1/teams/%s/members?limit=%d&page_token=%s", l.team, pageSize, url.QueryEscape(token))
}

func (l *largeTeam) auditPath(actor string) string {
	query := url.Values{
		"limit": {fmt.Sprint(pageSize)}, "actor": {actor}, "action": {"role.changed"},
		"from": {l.from.UTC().Format(time.RFC3339Nano)}, "to": {l.to.UTC().Format(time.RFC3339Nano)},
	}
	return "/v1/teams/" + l.team + "/audit-events?" + query.Encode()
}

// walk goes through the members list from the beginning and keeps the tokens
// of its pages.
func (t *target) walk(ctx context.Context) error {
	token := ""
	for range pageWalk {
		t.large.pages = append(t.large.pages, token)
		var list page
		if err := call(ctx, t.server.url, "GET", t.large.membersPath(token), t.large.token, nil, &list); err != nil {
			return err
		}
		token = list.Page.NextToken
	}
	return nil
}

// lag invites rate times a second and asks, right after each acknowledgement,
// for the newest invitation as of that command. It gives how long the commands
// took, and how long from the acknowledgement until the invitation was seen in
// the list.
func (t *target) lag(ctx context.Context, rate int, warmUp, length time.Duration) (command, visible figures, err error) {
	workers := min(lagWorkers, len(t.accounts)*teamsEach)
	clients := make([]*client, workers)
	commands, lags := make([]*recorder, workers), make([]*recorder, workers)
	for i := range workers {
		if clients[i], err = dial(ctx, t.server.url); err != nil {
			return command, visible, err
		}
		commands[i], lags[i] = newRecorder(), newRecorder()
	}
	from := time.Now().Add(warmUp)
	err = openLoop(ctx, rate, workers, warmUp+length, func(_ context.Context, worker int, late time.Duration) error {
		c, who := clients[worker], t.accounts[worker%len(t.accounts)]
		path := invitationsPath(who.teams[worker/len(t.accounts)])
		begin := time.Now()
		acked, err := c.send("POST", path, who.token, inviteBody(), "")
		if err != nil {
			return err
		}
		ack := time.Now()
		var invited struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(acked.body, &invited); err != nil {
			return err
		}
		got, err := c.send("GET", path+"?limit=1", who.token, "", acked.position)
		if err != nil {
			return err
		}
		seen := time.Now()
		var list page
		if err := json.Unmarshal(got.body, &list); err != nil {
			return err
		}
		if len(list.Data) != 1 || list.Data[0].ID != invited.ID {
			return fmt.Errorf("the list as of position %s doesn't begin with invitation %s", acked.position, invited.ID)
		}
		if begin.After(from) {
			commands[worker].record(ack.Sub(begin) + late)
			lags[worker].record(seen.Sub(ack) + late)
		}
		return nil
	})
	if err != nil {
		return command, visible, err
	}
	command, _ = merged(commands, length)
	visible, _ = merged(lags, length)
	return command, visible, nil
}
