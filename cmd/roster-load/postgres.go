package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// cluster is a private PostgreSQL server with its data in a temporary folder,
// reached by a socket in it. It is as durable as Roster: a commit is answered
// when it is on disk (fsync and synchronous_commit are on, as by default).
type cluster struct {
	folder string
	dsn    string
	cmd    *exec.Cmd
	done   chan struct{}
	errs   *tail
}

// settings give the database the memory that one of its size would have, and
// keep its checkpoints from falling into every measurement.
var pgSettings = []string{
	"listen_addresses=", "fsync=on", "synchronous_commit=on", "full_page_writes=on",
	"shared_buffers=512MB", "effective_cache_size=2GB", "max_wal_size=4GB", "max_connections=100",
}

// pgUnready bounds how long a new server may take to answer.
const pgUnready = time.Minute

func startPostgres(ctx context.Context, parent string) (_ *cluster, err error) {
	initdb, err := pgProgram("initdb")
	if err != nil {
		return nil, err
	}
	server, err := pgProgram("postgres")
	if err != nil {
		return nil, err
	}
	c := &cluster{done: make(chan struct{}), errs: &tail{}}
	if c.folder, err = os.MkdirTemp(parent, "roster-load-pg-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	owner, err := pgOwner(c.folder)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(c.folder, "data")
	setUp := exec.CommandContext(ctx, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
	setUp.SysProcAttr, setUp.Dir = owner, c.folder
	if out, err := setUp.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	args := []string{"-D", data, "-k", c.folder}
	for _, setting := range pgSettings {
		args = append(args, "-c", setting)
	}
	c.cmd = exec.Command(server, args...)
	c.cmd.SysProcAttr, c.cmd.Dir, c.cmd.Stderr = owner, c.folder, c.errs
	if err := c.cmd.Start(); err != nil {
		c.cmd = nil
		return nil, err
	}
	go func() { _ = c.cmd.Wait(); close(c.done) }()

	c.dsn = "host=" + c.folder + " user=postgres dbname=postgres"
	ctx, cancel := context.WithTimeout(ctx, pgUnready)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.dsn)
		if err == nil {
			defer func() { _ = conn.Close(ctx) }()
			_, err = conn.Exec(ctx, pgSchema)
			return c, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-c.done:
			return nil, errors.Join(errors.New("PostgreSQL ended"), c.errs.err())
		case <-ctx.Done():
			return nil, errors.Join(err, c.errs.err())
		}
	}
}

// stop ends the server and takes its folder away.
func (c *cluster) stop() error {
	if c == nil {
		return nil
	}
	if c.cmd != nil {
		_ = c.cmd.Process.Signal(syscall.SIGINT) // its fast shutdown
		<-c.done
	}
	return os.RemoveAll(c.folder)
}

// pgProgram finds a program of PostgreSQL, which Debian doesn't put on the path.
func pgProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return "", fmt.Errorf("PostgreSQL's %s isn't installed: install it with .ci/setup, or measure without the baseline by -postgres=false", name)
	}
	return found[len(found)-1], nil
}

// pgOwner hands the folder to an unprivileged user when this process is root,
// whom PostgreSQL refuses.
func pgOwner(folder string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(folder, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
