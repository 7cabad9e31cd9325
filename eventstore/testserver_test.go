package eventstore

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// testServer is a NATS server of one test.
type testServer struct {
	t   testing.TB
	dir string
	ns  *server.Server
}

// startTestServer gives a connection to a server of its own, which keeps its
// data in a folder of the test. benchmarks use it too.
func startTestServer(t testing.TB) (*nats.Conn, jetstream.JetStream) {
	return newTestServer(t).connect()
}

func newTestServer(t testing.TB) *testServer {
	t.Helper()
	dir := t.TempDir()
	ns, err := server.NewServer(&server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: dir, SyncAlways: true, NoLog: true, NoSigs: true,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server didn't start")
	}
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	return &testServer{t: t, dir: dir, ns: ns}
}

// connect gives another connection, over TCP.
func (s *testServer) connect(options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	s.t.Helper()
	return connectTo(s.t, s.ns.ClientURL(), options...)
}

func connectTo(t testing.TB, url string, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(url, append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.ErrorHandler(nil),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// testProxy stands between a client and a server, and can be cut: what passes
// then goes nowhere, as behind a broken switch, until the client is cut off
// for good or the proxy is mended.
type testProxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newTestProxy(t testing.TB, target string) *testProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &testProxy{listener: listener, target: target}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.disconnect()
		wg.Wait()
	})
	return p
}

func (p *testProxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *testProxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	if p.cut {
		client.Close()
	}
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(client, server) })
	wg.Go(func() { p.copy(server, client) })
	wg.Wait()
}

func (p *testProxy) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		cut := p.cut
		p.mu.Unlock()
		if cut {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// setCut swallows everything from now on, or no more.
func (p *testProxy) setCut(cut bool) {
	p.mu.Lock()
	p.cut = cut
	p.mu.Unlock()
}

// disconnect ends what is connected now.
func (p *testProxy) disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

func (p *testProxy) isCut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut
}
