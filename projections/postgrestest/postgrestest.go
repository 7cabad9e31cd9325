// Package postgrestest gives tests a PostgreSQL of their own: a private server
// that is started once for each test program and ends with it, whatever way that
// ends, and on it an empty schema for each test.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// startTimeout is how long the server may take to answer. It takes about two
// seconds on an idle machine.
const startTimeout = time.Minute

var (
	once      sync.Once
	startErr  error
	socketDir string
	schemas   atomic.Int64

	// lifeline is held open as long as this process lives. The server's
	// supervisor reads it and ends the server at its end.
	lifeline *os.File
)

// Start gives the URL of a database as far as an empty schema of it, which is
// dropped when the test ends; a schema takes a tenth of the time of a database. A missing PostgreSQL fails the test; nothing is skipped.
func Start(tb testing.TB) string {
	tb.Helper()
	once.Do(func() { startErr = start() })
	if startErr != nil {
		tb.Fatalf("postgrestest: %v", startErr)
	}
	name := fmt.Sprintf("test_%d", schemas.Add(1))
	if err := run("CREATE SCHEMA " + name); err != nil {
		tb.Fatalf("postgrestest: %v", err)
	}
	tb.Cleanup(func() {
		if err := run("DROP SCHEMA " + name + " CASCADE"); err != nil {
			tb.Errorf("postgrestest: %v", err)
		}
	})
	return schemaURL(name)
}

func schemaURL(name string) string {
	query := url.Values{"host": {socketDir}, "user": {"postgres"}, "sslmode": {"disable"}, "search_path": {name}}
	return (&url.URL{Scheme: "postgres", Path: "/postgres", RawQuery: query.Encode()}).String()
}

func run(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, schemaURL("public"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// supervisor runs the server ($1 is postgres, $2 its folder, $3 the folder
// that is removed in the end) until its standard input ends.
const supervisor = `
"$1" -D "$2" </dev/null >"$3/log" 2>&1 &
server=$!
cat >/dev/null
kill -INT $server
wait $server
cd /
rm -rf "$3"
`

// settings make a server that forgets everything when the machine stops, and
// is fast in return.
const settings = `
listen_addresses = ''
unix_socket_directories = '%s'
max_connections = 200
shared_buffers = 256MB
max_wal_size = 4GB
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum_naptime = 10s
`

func start() (err error) {
	bin, err := binaries()
	if err != nil {
		return err
	}
	// Not in the test's own folder: the path of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "postgrestest")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && lifeline == nil {
			os.RemoveAll(dir)
		}
	}()
	attributes, err := unprivileged(dir)
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	// C is the plainest of all locales; what is tested must not depend on one.
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C", "-N")
	initdb.Dir, initdb.SysProcAttr = dir, attributes
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, output)
	}
	config, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(config, settings, dir)
	if err = errors.Join(err, config.Close()); err != nil {
		return err
	}

	reading, writing, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reading.Close()
	server := exec.Command("/bin/sh", "-c", supervisor, "sh", filepath.Join(bin, "postgres"), data, dir)
	server.Dir, server.SysProcAttr, server.Stdin = dir, attributes, reading
	if err := server.Start(); err != nil {
		return errors.Join(err, writing.Close())
	}
	lifeline, socketDir = writing, dir
	go func() { _ = server.Wait() }()
	return answering(dir)
}

// answering waits until the server takes connections.
func answering(dir string) error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		err := run("SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-retry.C:
		case <-deadline.C:
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			return fmt.Errorf("the server doesn't answer: %w\n%s", err, bytes.TrimSpace(log))
		}
	}
}

// binaries finds the folder of PostgreSQL's programs: where initdb in the PATH
// leads, or the newest of where Debian puts them.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			if _, err := os.Stat(filepath.Join(filepath.Dir(real), "postgres")); err == nil {
				return filepath.Dir(real), nil
			}
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed, and the tests need it: apt-get install postgresql (it need not be running)")
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// version reads 15 from /usr/lib/postgresql/15/bin/initdb.
func version(path string) int {
	number, _ := strconv.Atoi(strings.Split(path, "/")[4])
	return number
}

// unprivileged makes commands run as the user postgres when the tests run as
// root, as whom PostgreSQL refuses to start, and gives that user the folder.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	// A group of its own, so that an interrupt from the keyboard ends the test
	// program and the server in order.
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() != 0 {
		return attributes, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL doesn't run as root, and there is no user postgres to run it as: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes, os.Chown(dir, int(uid), int(gid))
}
