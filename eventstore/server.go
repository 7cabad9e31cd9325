package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// embedded is a NATS server inside this process. It listens nowhere: only
// connections made in the process reach it.
type embedded struct {
	server *server.Server
	lock   *os.File
}

// serverName is fixed, so that the folder can be moved to another machine.
const serverName = "roster"

// startServer starts the server on a data folder.
func startServer(folder string, log *slog.Logger) (*embedded, error) {
	lock, err := lockFolder(folder)
	if err != nil {
		return nil, err
	}
	e := &embedded{lock: lock}
	if err := e.start(filepath.Join(folder, "nats"), log); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return e, nil
}

func (e *embedded) start(storeDir string, log *slog.Logger) error {
	if err := os.MkdirAll(storeDir, 0o700); err != nil {
		return fmt.Errorf("eventstore: can't make the folder of the events: %w", err)
	}
	ns, err := server.NewServer(&server.Options{
		ServerName: serverName,
		DontListen: true,
		NoSigs:     true,
		NoLog:      true, // to standard error; SetLogger below takes its place
		JetStream:  true,
		StoreDir:   storeDir,
		SyncAlways: true, // an acknowledged commit survives a power cut
		Nkeys:      []*server.NkeyUser{{Nkey: serviceUser, Permissions: ServicePermissions()}},
		NoAuthUser: serviceUser,

		DisableJetStreamBanner: true,
	})
	if err != nil {
		return fmt.Errorf("eventstore: starting the NATS server in this process: %w", err)
	}
	logger := &serverLogger{log: log}
	ns.SetLoggerV2(logger, false, false, false)
	ns.Start() // returns: there is no listener to wait at
	if fatal := logger.first(); fatal != "" || !ns.ReadyForConnections(10*time.Second) || !ns.JetStreamEnabled() {
		ns.Shutdown()
		ns.WaitForShutdown()
		return fmt.Errorf("eventstore: the NATS server in this process didn't start on %s: %s", storeDir, fatal)
	}
	e.server = ns
	return nil
}

// stop ends the server, so that everything is on disk and the folder is free.
func (e *embedded) stop(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}()
	select {
	case <-done:
		return e.lock.Close()
	case <-ctx.Done():
		return fmt.Errorf("eventstore: the NATS server in this process is still stopping: %w", ctx.Err())
	}
}

// serviceUser is whoever connects in this process. It is no password's user, since
// the server warns of one that has none.
const serviceUser = "service"

// ServicePermissions is what a Roster process may do on a NATS server:
// everything but change, empty or delete the streams that hold the truth. The
// server in this process is set up with it, and an external one should be.
// Single commits are protected by the stream's own settings as well.
func ServicePermissions() *server.Permissions {
	var deny []string
	for _, stream := range []string{StreamName, "KEYS"} {
		for _, call := range []string{"STREAM.DELETE", "STREAM.UPDATE", "STREAM.PURGE"} {
			deny = append(deny, "$JS.API."+call+"."+stream)
		}
	}
	deny = append(deny, "$JS.API.STREAM.MSG.DELETE."+StreamName)
	return &server.Permissions{Publish: &server.SubjectPermission{Deny: deny}}
}

// lockFolder makes the folder and takes it for this process. The lock ends
// with the process, however that ends.
func lockFolder(folder string) (*os.File, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("eventstore: the data folder %s can't be made: %w; choose another folder or correct its permissions", folder, err)
	}
	path := filepath.Join(folder, "LOCK")
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("eventstore: the data folder %s can't be written: %w; choose another folder or correct its permissions", folder, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer lock.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("eventstore: the data folder %s can't be locked: %w; it must be on a file system that knows flock", folder, err)
		}
		return nil, fmt.Errorf("%w: %s is used by %s; stop it or choose another folder", ErrInUse, folder, holder(lock))
	}
	if err := writePID(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("eventstore: the data folder %s can't be written: %w", folder, err), lock.Close())
	}
	return lock, nil
}

func writePID(lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// holder names the process that wrote itself into the lock.
func holder(lock *os.File) string {
	text := make([]byte, 20)
	n, _ := lock.ReadAt(text, 0)
	if pid := strings.TrimSpace(string(text[:n])); pid != "" {
		return "process " + pid
	}
	return "another process"
}

// serverLogger passes on what the server says. Its notices are of little
// interest while it is part of another program.
type serverLogger struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string
}

func (l *serverLogger) first() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *serverLogger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = fmt.Sprintf(format, v...)
	}
}

func (l *serverLogger) Errorf(format string, v ...any) {
	l.log.Error(fmt.Sprintf(format, v...), "from", "nats-server")
}

func (l *serverLogger) Warnf(format string, v ...any) {
	l.log.Warn(fmt.Sprintf(format, v...), "from", "nats-server")
}

func (l *serverLogger) Noticef(format string, v ...any) {
	l.log.Debug(fmt.Sprintf(format, v...), "from", "nats-server")
}

func (l *serverLogger) Debugf(string, ...any) {}
func (l *serverLogger) Tracef(string, ...any) {}

// connect opens one connection to the server or cluster, wherever it is.
func (s *Store) connect(name string) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("roster " + name),
		nats.Timeout(5 * time.Second),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond), // per server, with jitter of 100 ms
		// While disconnected nothing is buffered: what can't be sent fails at
		// once and its caller decides, instead of being sent long after.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.log.Error("NATS connection", "connection", name, "error", err)
		}),
		nats.ReconnectHandler(func(*nats.Conn) { s.log.Info("NATS connection is back", "connection", name) }),
	}
	url := s.config.URL
	if s.embedded != nil {
		options = append(options, nats.InProcessServer(s.embedded.server), nats.ReconnectWait(10*time.Millisecond))
		url = ""
	} else if s.config.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(s.config.CredentialsFile))
	}
	conn, err := nats.Connect(url, append(options, s.options...)...)
	if err != nil {
		return nil, fmt.Errorf("eventstore: no NATS server at %s: %w; start it or correct the URL", redact(url), err)
	}
	return conn, nil
}

// redact takes user names, passwords and tokens out of a list of URLs.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, url := range list {
		if at := strings.LastIndexByte(url, '@'); at >= 0 {
			scheme, _, found := strings.Cut(url, "://")
			if !found {
				scheme = "nats"
			}
			list[i] = scheme + "://…@" + url[at+1:]
		}
	}
	return strings.Join(list, ",")
}
