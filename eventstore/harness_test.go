package eventstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"roster/domain"
)

// testTimeout bounds everything that a test waits for.
const testTimeout = 30 * time.Second

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// await gives what comes out of the channel, or nothing once it is closed.
func await[T any](t testing.TB, c <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-c:
	case <-testContext(t).Done():
		t.Fatal("waited in vain")
	}
	return value
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// backend is where the conformance suite runs.
type backend struct {
	name    string
	config  Config
	servers []*server.Server // where the store's connections may be; known after opening
}

// embeddedConfig is a fresh data folder.
func embeddedConfig(t testing.TB) Config {
	return Config{DataDir: t.TempDir(), Logger: quiet()}
}

// external is a store on a server elsewhere, with a master key of its own.
func external(t testing.TB, url string) Config {
	t.Helper()
	config := Config{URL: url, MasterKeyFile: filepath.Join(t.TempDir(), "key"), Replicas: 1, Logger: quiet()}
	if _, err := LoadMasterKey(config.MasterKeyFile, true); err != nil {
		t.Fatal(err)
	}
	return config
}

// openStore opens a store and closes it at the end of the test.
func openStore(t testing.TB, config Config, options ...nats.Option) *Store {
	t.Helper()
	store, err := open(testContext(t), config, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, store) })
	return store
}

func closeStore(t testing.TB, store *Store) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), testTimeout)
	defer cancel()
	if err := store.Close(ctx); err != nil {
		t.Error(err)
	}
}

// cluster is three real servers on ports of 127.0.0.1. Its accounts don't see
// each other's streams. Each has a user "service-<account>", who may do what a
// Roster process may, and "operator-<account>", who may do everything.
type cluster struct {
	servers   []*server.Server
	masterKey string // the file
}

const clusterConfig = `
server_name: node%d
listen: 127.0.0.1:-1
jetstream: {store_dir: %q, sync_interval: always}
cluster: {name: test, listen: "127.0.0.1:%d", routes: [%s]}
accounts: {%s}
`

// The accounts of the cluster: one for each thing that needs a stream EVENTS
// of its own.
var clusterAccounts = []string{"suite", "mismatch"}

func startCluster(t testing.TB) *cluster {
	t.Helper()
	ports := freePorts(t, 3)
	var routes, accounts []string
	for _, port := range ports {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	deny := strings.Join(ServicePermissions().Publish.Deny, `","`)
	for _, name := range clusterAccounts {
		accounts = append(accounts, fmt.Sprintf(`%[1]s: {jetstream: enabled, users: [
			{user: "operator-%[1]s", password: secret},
			{user: "service-%[1]s", password: secret, permissions: {publish: {deny: [%[2]q]}}}]}`,
			name, deny))
	}
	c := &cluster{masterKey: external(t, "").MasterKeyFile}
	for i, port := range ports {
		dir := t.TempDir()
		file := filepath.Join(dir, "nats.conf")
		text := fmt.Sprintf(clusterConfig, i+1, dir, port, strings.Join(routes, ","), strings.Join(accounts, ","))
		text = strings.ReplaceAll(text, `\"`, `"`)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		options, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Fatal(err)
		}
		options.NoSigs, options.NoLog = true, true
		ns, err := server.NewServer(options)
		if err != nil {
			t.Fatal(err)
		}
		c.servers = append(c.servers, ns)
		go ns.Start()
		t.Cleanup(ns.WaitForShutdown)
		t.Cleanup(ns.Shutdown)
	}
	for _, ns := range c.servers {
		if !ns.ReadyForConnections(testTimeout) {
			t.Fatal("a server of the cluster didn't start")
		}
	}
	return c
}

func freePorts(t testing.TB, n int) []int {
	var ports []int
	for range n {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all are held until all are chosen
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// url is that of the cluster for a user of an account, beginning with the
// given server.
func (c *cluster) url(user string, first int) string {
	var urls []string
	for i := range c.servers {
		ns := c.servers[(first+i)%len(c.servers)]
		urls = append(urls, fmt.Sprintf("nats://%s:secret@%s", user, ns.Addr()))
	}
	return strings.Join(urls, ",")
}

// config is a store on the cluster. All stores of one account share its keys.
func (c *cluster) config(account string) Config {
	return Config{URL: c.url("service-"+account, 0), MasterKeyFile: c.masterKey, Replicas: 3, Logger: quiet()}
}

// faults breaks connections on purpose. Each fault happens once.
type faults struct {
	mu      sync.Mutex
	onWrite func(chunk []byte) bool // tells whether to drop what is written and the connection
	onRead  func(chunk []byte) bool // the same of what is read
	keep    bool                    // the connection survives, only the chunk is lost
}

// loseAck drops the next acknowledgement of an append with the connection, and
// calls then just before.
func (f *faults) loseAck(then func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onRead = func(chunk []byte) bool {
		if !bytes.Contains(chunk, []byte(`"stream":"EVENTS"`)) {
			return false
		}
		then()
		return true
	}
}

// muteAck drops the next acknowledgement of an append and nothing else. The
// channel is closed then.
func (f *faults) muteAck() <-chan struct{} {
	lost := make(chan struct{})
	f.loseAck(func() { close(lost) })
	f.mu.Lock()
	f.keep = true
	f.mu.Unlock()
	return lost
}

// loseMessage drops the next message that holds the text, on its way to the
// server.
func (f *faults) loseMessage(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onWrite = func(chunk []byte) bool { return bytes.Contains(chunk, []byte(text)) }
}

// strikes tells whether the fault happens to this chunk, and whether it takes
// the connection with it.
func (f *faults) strikes(fault *func([]byte) bool, chunk []byte) (lost, closes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *fault == nil || !(*fault)(chunk) {
		return false, false
	}
	closes = !f.keep
	*fault, f.keep = nil, false
	return true, closes
}

// struck tells whether every fault has happened.
func (f *faults) struck() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.onRead == nil && f.onWrite == nil
}

// option makes a store's connections go through the faults.
func (f *faults) option(config Config) nats.Option {
	return func(o *nats.Options) error {
		if config.URL != "" {
			o.CustomDialer = f
		} else {
			o.InProcessServer = faultyServer{o.InProcessServer, f}
		}
		return nil
	}
}

// Dial implements nats.CustomDialer.
func (f *faults) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return &faultyConn{conn, f}, err
}

type faultyServer struct {
	nats.InProcessConnProvider
	faults *faults
}

func (s faultyServer) InProcessConn() (net.Conn, error) {
	conn, err := s.InProcessConnProvider.InProcessConn()
	return &faultyConn{conn, s.faults}, err
}

type faultyConn struct {
	net.Conn
	faults *faults
}

func (c *faultyConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		lost, closes := c.faults.strikes(&c.faults.onRead, p[:n])
		switch {
		case !lost:
			return n, err
		case closes:
			c.Close()
			return 0, io.ErrUnexpectedEOF
		}
	}
}

func (c *faultyConn) Write(p []byte) (int, error) {
	if lost, _ := c.faults.strikes(&c.faults.onWrite, p); lost {
		c.Close()
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(p)
}

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 890123000, time.UTC)

func newEventID() domain.EventID { return domain.EventID(NewID(domain.PrefixEvent)) }

func newStream() Stream { return Stream{Kind: KindTeam, ID: NewID(domain.PrefixTeam)} }

// renamed is a commit of one event, following the previous one.
func renamed(stream Stream, previous *Commit, to string) *Commit {
	c := &Commit{
		Stream: stream, Version: 1, At: testTime,
		Actor:  domain.ByUser(domain.UserID(NewID(domain.PrefixUser))),
		Origin: "k1.7~c2VhbGVk", RequestID: "req-1",
		Events: []Recorded{{ID: newEventID(), Event: domain.TeamRenamed{From: "before", To: to}}},
	}
	if previous != nil {
		c.Version, c.Previous = previous.Version+1, previous.Hash
	}
	return c
}

// extend appends n commits to a stream, one after the other, and gives the
// last one.
func extend(t testing.TB, s *Store, stream Stream, last *Commit, n int) *Commit {
	t.Helper()
	for range n {
		c := renamed(stream, last, fmt.Sprint("name ", n))
		if err := s.Append(testContext(t), c); err != nil {
			t.Fatal(err)
		}
		last = c
	}
	return last
}

// extendFast does the same with a new stream, without waiting for each
// acknowledgement: one connection keeps the order.
func extendFast(t testing.TB, s *Store, stream Stream, n int) (last *Commit) {
	t.Helper()
	const window = 256
	// An append may have been settled by the reading connection while the
	// writing one was still coming back.
	if connected := s.write.StatusChanged(nats.CONNECTED); !s.write.IsConnected() {
		await(t, connected)
	}
	var asked []*asked
	settle := func(down int) {
		for len(asked) > down {
			answer, err := asked[0].next(testContext(t), nil)
			if err != nil || bytes.Contains(answer.Data, []byte(`"error"`)) {
				t.Fatal(err, string(answer.Data))
			}
			asked[0].done()
			asked = asked[1:]
		}
	}
	for range n {
		c := renamed(stream, last, "after")
		r, err := kinds.encodeCommit(c)
		if err != nil {
			t.Fatal(err)
		}
		request, err := s.acks.ask(&nats.Msg{Subject: r.subject, Header: r.header, Data: r.payload}, 1)
		if err != nil {
			t.Fatal(err)
		}
		c.Hash, last = r.hash, c
		asked = append(asked, request)
		settle(window)
	}
	settle(0)
	return last
}
