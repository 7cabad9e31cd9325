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
)

// cluster is a private PostgreSQL server with its data in a temporary folder,
// reached by a socket in it.
type cluster struct {
	folder, programs, dsn string
	owner                 *syscall.SysProcAttr
}

// pgSettings make it as durable as Roster: a commit is answered when it is on
// disk. It has the memory of a database of this size, and so much room for its
// log that no checkpoint falls into a measurement.
const pgSettings = " -c listen_addresses= -c fsync=on -c synchronous_commit=on -c full_page_writes=on" +
	" -c shared_buffers=512MB -c effective_cache_size=2GB -c max_wal_size=4GB -c checkpoint_timeout=30min"

func startPostgres(ctx context.Context) (_ *cluster, err error) {
	c := &cluster{}
	if path, err := exec.LookPath("pg_ctl"); err == nil {
		c.programs = filepath.Dir(path)
	} else if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin"); len(found) > 0 { // Debian's, not on the path
		c.programs = found[len(found)-1]
	} else {
		return nil, errors.New("PostgreSQL isn't installed: install it with .ci/setup, or measure without the baseline by -baseline=false")
	}
	if c.folder, err = os.MkdirTemp("", "roster-load-pg-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(c.folder))
		}
	}()
	if err := c.disown(); err != nil {
		return nil, err
	}
	if err := c.run(ctx, "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"); err != nil {
		return nil, err
	}
	c.dsn = "host=" + c.folder + " user=postgres dbname=postgres"
	return c, c.run(ctx, "pg_ctl", "-w", "-l", filepath.Join(c.folder, "log"), "-o", "-k "+c.folder+pgSettings, "start")
}

// run runs one of PostgreSQL's programs on the folder.
func (c *cluster) run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.programs, program), append([]string{"-D", filepath.Join(c.folder, "data")}, args...)...)
	cmd.SysProcAttr, cmd.Dir = c.owner, c.folder
	// A file and not a pipe: the server inherits it and would keep it open.
	said, err := os.Create(filepath.Join(c.folder, program+".out"))
	if err != nil {
		return err
	}
	defer func() { _ = said.Close() }()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(said.Name())
		log, _ := os.ReadFile(filepath.Join(c.folder, "log"))
		return fmt.Errorf("PostgreSQL's %s: %w\n%s%s", program, err, text, log)
	}
	return nil
}

// stop ends the server and takes its folder away.
func (c *cluster) stop() error {
	if c == nil {
		return nil
	}
	return errors.Join(c.run(context.Background(), "pg_ctl", "-w", "-m", "fast", "stop"), os.RemoveAll(c.folder))
}

// disown hands the folder to the user postgres when this process is root, whom
// PostgreSQL refuses. Otherwise it is run as who runs this.
func (c *cluster) disown() error {
	// A group of its own: what interrupts this program must not end it first.
	c.owner = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("PostgreSQL doesn't run as root, and there is no user postgres to run it as: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return err
	}
	c.owner.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(c.folder, int(uid), int(gid))
}
