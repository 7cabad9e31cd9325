package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"go.yaml.in/yaml/v3"

	"roster/domain/catalogs"
)

const (
	operatorToken = "operator-token-of-a-server-that-nobody-else-reaches"
	planLimited   = "limited" // what a new team gets: seats are counted and don't run out
	planUnlimited = "unlimited"
	limitedSeats  = 1_000_000
)

// build makes the server's binary, unless one was given.
func (b *bench) build(ctx context.Context) error {
	if b.serverBin != "" {
		b.binary = b.serverBin
		return nil
	}
	b.progress("building the server")
	b.binary = filepath.Join(b.temp, "roster")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "roster/cmd/roster").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build roster/cmd/roster: %w\n%s", err, out)
	}
	return nil
}

// catalog writes the role catalog of the run: the default one with plans that
// don't run out of seats.
func (b *bench) catalog() (string, error) {
	source, _ := catalogs.Builtin("default")
	var catalog map[string]any
	if err := yaml.Unmarshal(source, &catalog); err != nil {
		return "", err
	}
	catalog["name"] = "load"
	catalog["plans"] = []map[string]any{
		{"key": planLimited, "name": "Limited", "seats": limitedSeats},
		{"key": planUnlimited, "name": "Unlimited"},
	}
	text, err := yaml.Marshal(catalog)
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.temp, "load.yaml")
	return path, os.WriteFile(path, text, 0o600)
}

// serveRoster starts the server on a data folder.
func (b *bench) serveRoster(ctx context.Context, data string) (*process, error) {
	catalog, err := b.catalog()
	if err != nil {
		return nil, err
	}
	return start(ctx, nil, b.binary, "serve", "--listen", "127.0.0.1:0", "--data", data,
		"--catalog", catalog, "--operator-token", operatorToken)
}

// newRoster starts a server and signs up whom the scenarios need.
func (b *bench) newRoster(ctx context.Context) (*target, error) {
	server, err := b.serveRoster(ctx, filepath.Join(b.temp, "data"))
	if err != nil {
		return nil, err
	}
	b.progress("signing up %d users with %d teams each", b.accounts(), teamsEach)
	t := &target{name: "roster", server: server, accounts: make([]account, b.accounts())}
	errs := make([]error, len(t.accounts))
	var group sync.WaitGroup
	for i := range t.accounts {
		group.Go(func() { t.accounts[i], errs[i] = signUp(ctx, server.url, i) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, server.stop())
	}
	t.hotTeam = func(ctx context.Context) (string, error) {
		team, err := newTeam(ctx, t.server.url, t.accounts[0].token, "Hot")
		if err != nil {
			return "", err
		}
		err = call(ctx, t.server.url, "PUT", "/v1/teams/"+team+"/plan", operatorToken, map[string]string{"plan": planUnlimited}, nil)
		return team, err
	}
	return t, nil
}

func signUp(ctx context.Context, base string, i int) (account, error) {
	var made struct {
		User    struct{ ID string }
		Team    struct{ ID string }
		Session struct{ Token string }
	}
	err := call(ctx, base, "POST", "/v1/users", "", map[string]string{
		"email": fmt.Sprintf("owner-%d@example.com", i), "name": "Ada Lovelace", "password": "a pass phrase of the load",
	}, &made)
	if err != nil {
		return account{}, err
	}
	a := account{user: made.User.ID, token: made.Session.Token, teams: []string{made.Team.ID}}
	for len(a.teams) < teamsEach {
		team, err := newTeam(ctx, base, a.token, fmt.Sprintf("Team %d", len(a.teams)+1))
		if err != nil {
			return account{}, err
		}
		a.teams = append(a.teams, team)
	}
	return a, nil
}

func newTeam(ctx context.Context, base, token, name string) (string, error) {
	var made struct{ ID string }
	err := call(ctx, base, "POST", "/v1/teams", token, map[string]string{"name": name}, &made)
	return made.ID, err
}

// catchUp waits until the read models have reached a position. A server that is
// behind answers 503 after a while.
func (t *target) catchUp(ctx context.Context, position uint64) error {
	c, err := dial(ctx, t.server.url)
	for err == nil {
		_, err = c.send("GET", t.large.membersPath(""), t.large.token, "", fmt.Sprint(position))
		var refusal *refused
		if !errors.As(err, &refusal) || refusal.status != http.StatusServiceUnavailable {
			break
		}
		err = nil
	}
	return err
}
