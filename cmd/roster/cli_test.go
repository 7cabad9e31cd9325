package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOperatorCommands(t *testing.T) {
	c := newCompany(t)
	at := []string{"--server=" + c.url, "--operator-token=" + operatorToken}
	do := func(args ...string) string {
		t.Helper()
		out, errs, code := runCommand(t, append(append([]string{"team"}, args...), at...)...)
		if code != 0 {
			t.Fatalf("%v ended with %d: %s", args, code, errs)
		}
		return out
	}

	shown := do("show", c.id)
	for _, want := range []string{"Team of olga@example.com", "starter", "3 of 10", "ada@example.com", "ADMIN"} {
		if !strings.Contains(shown, want) {
			t.Errorf("team show doesn't say %q:\n%s", want, shown)
		}
	}
	var team teamView
	if err := json.Unmarshal([]byte(do("set-plan", c.id, "growth", "--json")), &team); err != nil || team.Plan != "growth" || *team.Seats.Limit != 50 {
		t.Errorf("%v %+v", err, team)
	}
	do("transfer-owner", c.id, c.member.id)
	if err := json.Unmarshal([]byte(do("show", c.id, "--json")), &team); err != nil {
		t.Fatal(err)
	}
	for _, member := range team.Members {
		if (member.Role == "OWNER") != (member.UserID == c.member.id) {
			t.Errorf("%+v", member)
		}
	}
	c.member.get(c.path("/audit-events?action=ownership.transferred")).is(200).same("data.0.actor.id", "operator")

	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"unknown plan":    {[]string{"set-plan", c.id, "platinum"}, "plan"},
		"unknown team":    {[]string{"show", "team_00000000000000000000000000"}, "not_found"},
		"not a member":    {[]string{"transfer-owner", c.id, "user_00000000000000000000000000"}, "must be a member"},
		"wrong token":     {[]string{"show", c.id, "--operator-token=wrong"}, "does not accept --operator-token"},
		"no server there": {[]string{"show", c.id, "--server=http://127.0.0.1:1"}, "--server http://127.0.0.1:1 can't be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"team", test.args[0]}, append(at, test.args[1:]...)...)
			_, errs, code := runCommand(t, args...)
			if code != 1 || !strings.Contains(errs, test.says) {
				t.Errorf("ended with %d: %s", code, errs)
			}
		})
	}
}

func TestRebuildAndVerify(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s := startServer(t, "--data="+data, "--catalog=distribu")
	owner, team := s.signUp("olga@example.com", "")
	team.join("ada@example.com", "ADMIN")
	last := owner.call("PATCH", team.path(""), map[string]any{"name": "Acme"}).is(200)
	owner.with("Roster-At-Least", last.position()).get(team.path("/audit-events")).is(200)

	if _, errs, code := runCommand(t, "verify", "--data="+data); code != 1 || !strings.Contains(errs, "in use") {
		t.Errorf("beside the running server verify ended with %d: %s", code, errs)
	}
	s.stop()

	out, errs, code := runCommand(t, "verify", "--data="+data)
	if code != 0 || !strings.Contains(out, "0 of them broken") {
		t.Errorf("verify ended with %d: %s%s", code, out, errs)
	}
	out, errs, code = runCommand(t, "rebuild", "--data="+data, "--json", "audit")
	var reports []struct {
		Model       string
		Rows        int
		Differences int
	}
	if err := json.Unmarshal([]byte(out), &reports); err != nil || code != 0 || len(reports) != 1 || reports[0].Rows == 0 || reports[0].Differences != 0 {
		t.Errorf("rebuild ended with %d: %s%s", code, out, errs)
	}
	if _, errs, code := runCommand(t, "rebuild", "--data="+data, "gossip"); code != 1 || !strings.Contains(errs, "gossip") {
		t.Errorf("rebuilding an unknown read model ended with %d: %s", code, errs)
	}

	// The read models can go: they are made anew.
	for _, file := range []string{"read-models.db", "read-models.db-wal", "read-models.db-shm"} {
		_ = os.Remove(filepath.Join(data, file))
	}
	s = startServer(t, "--data="+data, "--catalog=distribu")
	owner.server = s
	owner.with("Roster-At-Least", last.position()).get(team.path("/members")).is(200).same("data.1.email", "ada@example.com")
}

func TestServeRefusesToStart(t *testing.T) {
	inUse := filepath.Join(t.TempDir(), "data")
	startServer(t, "--data="+inUse)
	file := filepath.Join(t.TempDir(), "file")
	catalog := filepath.Join(t.TempDir(), "broken.yaml")
	for path, content := range map[string]string{file: "", catalog: "name: mine\nversion: one\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(key, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		flags []string
		says  []string
	}{
		"a data folder in use":          {[]string{"--data=" + inUse}, []string{"in use", inUse}},
		"a data folder that is a file":  {[]string{"--data=" + file}, []string{file}},
		"a catalog with an error":       {[]string{"--catalog=" + catalog}, []string{"broken.yaml:2", "version"}},
		"no such catalog":               {[]string{"--catalog=nonsense"}, []string{"--catalog", "nonsense"}},
		"NATS that isn't there":         {[]string{"--nats-url=nats://127.0.0.1:1", "--master-key-file=" + goodKey(t)}, []string{"127.0.0.1:1"}},
		"NATS without a master key":     {[]string{"--nats-url=nats://127.0.0.1:1"}, []string{"--master-key-file"}},
		"a master key that isn't one":   {[]string{"--master-key-file=" + key}, []string{key}},
		"PostgreSQL that isn't there":   {[]string{"--database-url=postgres://roster:hush@127.0.0.1:1/roster"}, []string{"127.0.0.1"}},
		"a database that isn't one":     {[]string{"--database-url=mysql://127.0.0.1/roster"}, []string{"postgres://"}},
		"an address that can't be used": {[]string{"--listen=256.0.0.1:80"}, []string{"--listen"}},
		"a base URL with a path":        {[]string{"--base-url=https://example.com/roster"}, []string{"--base-url"}},
		"a mail server without a form":  {[]string{"--smtp-url=mail.example.com"}, []string{"smtp://"}},
		"a guessable operator token":    {[]string{"--operator-token=secret"}, []string{"--operator-token", "32"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"serve", "--listen=127.0.0.1:0", "--data=" + filepath.Join(t.TempDir(), "data")}, test.flags...)
			out, errs, code := runCommand(t, args...)
			if code != 1 || out != "" {
				t.Errorf("ended with %d: %s%s", code, out, errs)
			}
			for _, want := range test.says {
				if !strings.Contains(errs, want) {
					t.Errorf("doesn't say %q: %s", want, errs)
				}
			}
			if strings.Contains(errs, "hush") {
				t.Errorf("says the password: %s", errs)
			}
		})
	}
}

func goodKey(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(file, []byte(masterKey), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCommandLine(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":            {[]string{"--help"}, 0, "Run the server"},
		"help of a part":  {[]string{"serve", "--help"}, 0, "$ROSTER_BASE_URL"},
		"nothing":         {nil, 2, "expected one of"},
		"unknown command": {[]string{"explode"}, 2, "unexpected argument explode"},
		"unknown flag":    {[]string{"serve", "--port=1"}, 2, "unknown flag --port"},
		"version":         {[]string{"version"}, 0, "dev"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := runCommand(t, test.args...)
			if code != test.code || !strings.Contains(out+errs, test.says) {
				t.Errorf("ended with %d: %s%s", code, out, errs)
			}
		})
	}
}
