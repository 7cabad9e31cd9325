package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// killCycles is how often the server is killed under load.
const killCycles = 50

// TestKillUnderLoad kills the server with SIGKILL while it works, starts it
// again and again, and then counts: every command that was acknowledged is
// there exactly once, one that wasn't is settled by repeating it under its
// idempotency key, and the read models equal ones built anew.
func TestKillUnderLoad(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "roster")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data := filepath.Join(t.TempDir(), "data")
	process := startProcess(t, binary, data)
	owner, team := process.signUp("olga@example.com", "default")
	process.operator().put(team.path("/plan"), map[string]any{"plan": "business"}).is(200)

	const writers = 8
	var acknowledged, doubtful sync.Map // address → idempotency key
	for cycle := range killCycles {
		var acks atomic.Int64
		enough := make(chan struct{})
		var work sync.WaitGroup
		for writer := range writers {
			work.Go(func() {
				for n := 0; ; n++ {
					email := fmt.Sprintf("c%dw%dn%d@example.com", cycle, writer, n)
					a, err := owner.with("Idempotency-Key", email).try("POST", team.path("/invitations"), map[string]any{"email": email, "role": "member"})
					if err != nil {
						doubtful.Store(email, email)
						return // the server is gone
					}
					if a.status != 201 {
						t.Errorf("%s: %s", email, a.body)
						return
					}
					acknowledged.Store(email, a.text("id"))
					if acks.Add(1) == int64(5+7*(cycle%9)) {
						close(enough)
					}
				}
			})
		}
		<-enough
		process.kill()
		work.Wait()
		if t.Failed() {
			t.FailNow()
		}
		process = startProcess(t, binary, data)
		owner.server = process.server
		team.owner = owner
		// What was in doubt is settled by asking again.
		doubtful.Range(func(key, _ any) bool {
			email := key.(string)
			a := owner.with("Idempotency-Key", email).post(team.path("/invitations"), map[string]any{"email": email, "role": "member"}).is(201)
			acknowledged.Store(email, a.text("id"))
			doubtful.Delete(key)
			return true
		})
	}

	last := owner.put(team.path("/members/"+owner.id+"/role"), map[string]any{"role": "member"})
	last.refuses(409, "owner_is_permanent") // a refusal changes nothing
	seen := map[string]string{}
	for token := ""; ; {
		page := owner.get(team.path("/invitations?limit=200" + token)).is(200)
		ids, emails := page.pluck("data", "id"), page.pluck("data", "email")
		for i, email := range emails {
			if seen[email] != "" {
				t.Fatalf("%s is invited twice", email)
			}
			seen[email] = ids[i]
		}
		next := page.text("page.next_token")
		if next == "" {
			break
		}
		token = "&page_token=" + next
	}
	count := 0
	acknowledged.Range(func(email, id any) bool {
		count++
		if seen[email.(string)] != id.(string) {
			t.Errorf("%s was acknowledged as %s and is there as %q", email, id, seen[email.(string)])
		}
		return true
	})
	if len(seen) != count || count < killCycles*5 {
		t.Errorf("%d invitations are there, %d were acknowledged", len(seen), count)
	}
	process.kill()

	out, errs, code := runCommand(t, "verify", "--data="+data, "--json")
	var verified struct {
		Sound bool `json:"sound"`
	}
	if err := json.Unmarshal([]byte(out), &verified); err != nil || code != 0 || !verified.Sound {
		t.Errorf("verify ended with %d: %s%s", code, out, errs)
	}
	t.Logf("%d acknowledged commands over %d kills", count, killCycles)
}

// process is a server in a process of its own.
type process struct {
	*server
	command *exec.Cmd
}

func startProcess(t *testing.T, binary, data string, flags ...string) *process {
	t.Helper()
	args := append([]string{"serve", "--listen=127.0.0.1:0", "--data=" + data, "--operator-token=" + operatorToken, "--log-level=error"}, flags...)
	command := exec.CommandContext(t.Context(), binary, args...)
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{command: command}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("the first line is %q (%v)", line, err)
	}
	p.server = &server{t: t, url: url}
	return p
}

// kill ends the process without giving it a chance to do anything about it.
func (p *process) kill() {
	if p.command.ProcessState == nil {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
	}
}
