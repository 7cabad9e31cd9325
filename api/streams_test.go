package api

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAStreamEndsWithTheServerAndInItsTime(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	path := "/v1/teams/" + owner.team + "/changes"
	w.server.streams.life = time.Millisecond
	w.watch(path, owner.auth()).wantEnd("renew")

	w = newWorld(t, options{})
	owner = w.signUp()
	s := w.watch("/v1/teams/"+owner.team+"/changes", owner.auth())
	s.until("position")
	if err := w.http.Config.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantEnd("shutdown")
}

// A stream lasts longer than any other answer may take.
func TestAStreamOutlivesTheWriteTimeout(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	server := w.server.HTTPServer()
	server.WriteTimeout = streamBeat / 4
	w.server.streams.beat = streamBeat
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	w.http.URL = "http://" + listener.Addr().String()
	s := w.watch("/v1/teams/"+owner.team+"/changes", owner.auth())
	for range 3 {
		s.until("position")
	}
	s.end()
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	serving.Wait()
}

func TestOpenStreamsAreLimited(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	member := w.join(owner, "member")
	path := "/v1/teams/" + owner.team + "/changes"
	w.server.streams.most, w.server.streams.mostOfReader = 3, 2
	first := w.watch(path, owner.auth())
	w.watch(path, owner.auth())
	refused := w.call("GET", path, nil, owner.auth()).is(429, "too_many_streams")
	if refused.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.watch(path, member.auth())
	w.call("GET", path, nil, member.auth()).is(503, "too_many_streams")
	metrics := string(w.call("GET", "/metrics", nil).is(200).raw)
	if !strings.Contains(metrics, "roster_change_streams_open 3") {
		t.Error("the metrics don't count three open streams")
	}
	first.end()
	for w.try(path, member.auth()).answer.StatusCode != http.StatusOK {
		continue // until the server has noticed
	}
	metrics = string(w.call("GET", "/metrics", nil).is(200).raw)
	if !strings.Contains(metrics, `roster_change_streams_ended_total{reason="gone"} 1`) {
		t.Error("the metrics don't say that a reader has gone")
	}
	if strings.Contains(metrics, `request_duration_seconds_count{method="GET",route="/v1/teams/{team}/changes",status="200"}`) {
		t.Error("a stream counts as a slow request")
	}
}

func TestHeadOpensNoStream(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	r := w.call("HEAD", "/v1/teams/"+owner.team+"/changes", nil, owner.auth()).is(200)
	if r.header.Get("Content-Type") != "text/event-stream" || r.header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("%v", r.header)
	}
}

// pipes is a listener of connections that hold nothing back: what one end
// writes waits until the other reads it.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A reader who takes nothing holds nobody up and is cut off.
func TestASlowReaderIsCutOff(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	w.server.streams.patience = 200 * time.Millisecond
	server := w.server.HTTPServer()
	listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	slow, theirs := net.Pipe()
	listener.conns <- theirs
	if _, err := fmt.Fprintf(slow, "GET /v1/teams/%s/changes HTTP/1.1\r\nHost: roster\r\nAuthorization: Bearer %s\r\n\r\n", owner.team, owner.token); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	quick := w.watch("/v1/teams/"+owner.team+"/changes", owner.auth())
	quick.until("position")
	for i := range 20 {
		renamed := w.call("PATCH", "/v1/teams/"+owner.team, map[string]any{"name": fmt.Sprint("Name ", i)}, owner.auth()).is(200)
		if got := quick.upTo(renamed.position()); len(got) != 1 {
			t.Errorf("the quick reader got %v", got)
		}
	}
	// The server reads one byte ahead of the next request; the second is
	// waited for until the connection is closed.
	if _, err := slow.Write([]byte("GET")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("writing to the slow reader's connection: %v", err)
	}
	quick.end()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	serving.Wait()
}
