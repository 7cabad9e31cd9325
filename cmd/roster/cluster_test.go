package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"roster/eventstore"
	"roster/projections/postgrestest"
)

// natsCluster is three nats-server processes.
type natsCluster struct {
	t        *testing.T
	url      string
	binary   string
	files    []string
	commands []*exec.Cmd
}

const natsNode = `
server_name: node%d
listen: 127.0.0.1:%d
jetstream: {store_dir: %q, sync_interval: always}
cluster: {name: test, listen: "127.0.0.1:%d", routes: [%s]}
`

func startNATS(t *testing.T) *natsCluster {
	t.Helper()
	c := &natsCluster{t: t, binary: filepath.Join(t.TempDir(), "nats-server"), commands: make([]*exec.Cmd, 3)}
	// The server that the embedded store is made of, as a program.
	build := exec.CommandContext(t.Context(), "go", "build", "-o", c.binary, "github.com/nats-io/nats-server/v2")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ports := freePorts(t, 6)
	var routes, urls []string
	for i := range 3 {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[3+i]))
	}
	c.url = strings.Join(urls, ",")
	for i := range 3 {
		dir := t.TempDir()
		file := filepath.Join(dir, "nats.conf")
		text := fmt.Sprintf(natsNode, i+1, ports[i], dir, ports[3+i], strings.Join(routes, ","))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.files = append(c.files, file)
		t.Cleanup(func() { c.kill(i) })
		c.start(i)
	}
	return c
}

// start runs one node and waits until it listens.
func (c *natsCluster) start(node int) {
	c.t.Helper()
	// Not the test's own context: that ends before the servers are stopped.
	command := exec.CommandContext(context.Background(), c.binary, "-c", c.files[node])
	stderr, err := command.StderrPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.commands[node] = command
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Server is ready") {
			go func() { // keep the pipe empty
				for lines.Scan() {
				}
			}()
			return
		}
	}
	c.t.Fatalf("NATS node %d did not start", node)
}

// stop takes a node down as an operator does, who replaces it.
func (c *natsCluster) stop(node int) {
	c.t.Helper()
	if err := c.commands[node].Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	_ = c.commands[node].Wait()
	c.commands[node] = nil
}

func (c *natsCluster) kill(node int) {
	if command := c.commands[node]; command != nil {
		_ = command.Process.Kill()
		_ = command.Wait()
		c.commands[node] = nil
	}
}

func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all are held until all are chosen
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// startPair runs two nodes of Roster on one NATS cluster and one PostgreSQL.
func startPair(t *testing.T, cluster *natsCluster, flags ...string) (*server, *server) {
	t.Helper()
	flags = append([]string{
		"--nats-url=" + cluster.url, "--nats-replicas=3", "--master-key-file=" + goodKey(t),
		"--database-url=" + postgrestest.Start(t), "--catalog=distribu",
	}, flags...)
	return startServer(t, flags...), startServer(t, flags...)
}

// on is the same person calling another node.
func (c *client) on(s *server) *client {
	out := *c
	out.server = s
	return &out
}

func TestTwoNodesOnOneStore(t *testing.T) {
	cluster := startNATS(t)
	a, b := startPair(t, cluster)
	owner, team := a.signUp("olga@example.com", "")

	t.Run("a write on one node is read on the other", func(*testing.T) {
		renamed := owner.call("PATCH", team.path(""), map[string]any{"name": "Acme & Sons"}).is(200)
		owner.on(b).with("Roster-At-Least", renamed.position()).get("/v1/me").is(200).same("teams.0.name", "Acme & Sons")
	})

	admin := team.join("ada@example.com", "ADMIN")
	t.Run("what is taken on one node is gone on the other when it is acknowledged", func(*testing.T) {
		for range 30 {
			admin.on(b).get(team.path("/invitations")).is(200)
			owner.put(team.path("/members/"+admin.id+"/role"), map[string]any{"role": "MEMBER"}).is(200)
			admin.on(b).get(team.path("/invitations")).refuses(403, "not_permitted")
			owner.on(b).put(team.path("/members/"+admin.id+"/role"), map[string]any{"role": "ADMIN"}).is(200)
			admin.get(team.path("/invitations")).is(200)
		}
	})

	t.Run("no decision at the position of a revocation or beyond allows what was taken", func(*testing.T) {
		for range 15 {
			owner.on(b).wantAccess(team, "user", admin.id, true)
			taken := owner.put(team.path("/members/"+admin.id+"/role"), map[string]any{"role": "MEMBER"}).is(200)
			for _, s := range []*server{a, b} {
				owner.on(s).with("Roster-At-Least", taken.position()).wantAccess(team, "user", admin.id, false)
				owner.on(s).wantAccess(team, "user", admin.id, false) // it was acknowledged
			}
			given := owner.on(b).put(team.path("/members/"+admin.id+"/role"), map[string]any{"role": "ADMIN"}).is(200)
			owner.with("Roster-At-Least", given.position()).wantAccess(team, "user", admin.id, true)
			owner.on(b).with("Roster-At-Least", given.position()).wantAccess(team, "user", admin.id, true)
		}
		// A position that doesn't exist yet is not made up.
		owner.with("Roster-At-Least", "1000000").post("/access/v1/search/action", map[string]any{
			"subject": map[string]any{"type": "user", "id": owner.id}, "resource": map[string]any{"type": "team", "properties": map[string]any{"team": team.id}},
		}).refuses(503, "read_model_behind")
	})

	t.Run("a session that is ended on one node is ended on the other", func(*testing.T) {
		for range 20 {
			session := a.anonymous().post("/v1/sessions", map[string]any{"email": "ada@example.com", "password": passphrase}).is(201)
			ada := &client{server: b, token: session.text("token")}
			ada.get("/v1/me").is(200)
			ada.on(a).delete("/v1/sessions/current").is(204)
			ada.get("/v1/me").refuses(401, "unauthenticated")
		}
	})

	t.Run("a revoked API key is dead on the other node", func(*testing.T) {
		for range 20 {
			made := owner.post(team.path("/api-keys"), map[string]any{"name": "CI", "role": "MEMBER"}).is(201)
			key := &client{server: b, token: made.text("secret")}
			key.get(team.path("/members")).is(200)
			owner.delete(team.path("/api-keys/" + made.text("id"))).is(204)
			key.get(team.path("/members")).refuses(401, "unauthenticated")
		}
	})

	t.Run("sixty-four invitations for the last seat, on both nodes", func(t *testing.T) {
		for i := range 7 {
			team.invite(owner, fmt.Sprintf("early%d@example.com", i), "MEMBER")
		}
		got := race(t, times(64, func(i int) (*answer, error) {
			by := owner.on([]*server{a, b}[i%2])
			return by.try("POST", team.path("/invitations"), map[string]any{"email": fmt.Sprintf("late%d@example.com", i), "role": "MEMBER"})
		})...)
		if got["ok"] != 1 || got["409 seat_limit_reached"] != 63 {
			t.Errorf("got %v", got)
		}
	})

	t.Run("an idempotency key is one for all nodes", func(t *testing.T) {
		a.operator().put(team.path("/plan"), map[string]any{"plan": "growth"}).is(200)
		body := map[string]any{"email": "once@example.com", "role": "MEMBER"}
		first := owner.with("Idempotency-Key", "k1").post(team.path("/invitations"), body).is(201)
		again := owner.on(b).with("Idempotency-Key", "k1").post(team.path("/invitations"), body).is(201)
		if string(first.body) != string(again.body) || first.position() != again.position() {
			t.Errorf("first %s\nagain %s", first.body, again.body)
		}
	})

	t.Run("the NATS node that leads may be taken down", func(t *testing.T) {
		cluster.stop(leader(t, a))
		for i, s := range []*server{a, b} {
			settled(t, owner.on(s), team, fmt.Sprintf("during%d@example.com", i))
		}
		seen := map[string]int{}
		// On the node that wrote last, which sees its own write and all before it.
		for _, email := range owner.on(b).get(team.path("/invitations?limit=200")).is(200).pluck("data", "email") {
			seen[email]++
		}
		for i := range 2 {
			if email := fmt.Sprintf("during%d@example.com", i); seen[email] != 1 {
				t.Errorf("%s is invited %d times", email, seen[email])
			}
		}
	})
}

// leader is the NATS node through which every commit goes.
func leader(t *testing.T, s *server) int {
	t.Helper()
	stream, err := s.app.store.JetStream().Stream(t.Context(), eventstore.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	var node int
	if _, err := fmt.Sscanf(stream.CachedInfo().Cluster.Leader, "node%d", &node); err != nil {
		t.Fatal(err)
	}
	return node - 1
}

// settled repeats a command under one idempotency key until it is answered:
// while a NATS node is replaced, the answer may be that it isn't known yet.
// Each of these answers takes a while, so a few are enough.
func settled(t *testing.T, by *client, team team, email string) {
	t.Helper()
	for range 20 {
		a, err := by.with("Idempotency-Key", email).try("POST", team.path("/invitations"), map[string]any{"email": email, "role": "MEMBER"})
		if err != nil {
			t.Fatal(err)
		}
		if a.status == 201 {
			return
		}
		if a.status != 503 && a.text("code") != "request_in_flight" {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	t.Fatalf("%s was never settled", email)
}
