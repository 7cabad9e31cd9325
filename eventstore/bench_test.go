package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"roster/domain"
)

// BenchmarkAppend compares durable appends with a bare publish loop of
// nats.go to a stream with the same settings on the same server, with messages of
// the same size. "ratio" is the store's rate over the loop's.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openStore(b, embeddedConfig(b))
			bare := barePublisher(b, s)
			// In turns, so that both meet the same state of the disk, and enough
			// each time that all writers are busy.
			each := max(16*writers, b.N/20)
			var appending, publishing time.Duration
			heads := make([]*Commit, writers)
			streams := make([]Stream, writers)
			for i := range streams {
				streams[i] = newStream()
			}
			var done int64
			for done < int64(b.N) {
				appending += parallel(b, writers, each, func(ctx context.Context, writer int) error {
					c := renamed(streams[writer], heads[writer], "after")
					heads[writer] = c
					return s.Append(ctx, c)
				})
				publishing += parallel(b, writers, each, bare)
				done += int64(each)
			}
			b.ReportMetric(float64(done)/appending.Seconds(), "appends/s")
			b.ReportMetric(float64(done)/publishing.Seconds(), "bare/s")
			b.ReportMetric(publishing.Seconds()/appending.Seconds(), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// barePublisher publishes messages like those of the store, one subject each.
func barePublisher(b *testing.B, s *Store) func(context.Context, int) error {
	conn, err := s.connect("bare")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	config := streamConfig(1)
	config.Name, config.Subjects = "BARE", []string{"bare.>"}
	if _, err := js.CreateStream(b.Context(), config); err != nil {
		b.Fatal(err)
	}
	stream := newStream()
	r, err := kinds.encodeCommit(renamed(stream, nil, "after"))
	if err != nil {
		b.Fatal(err)
	}
	var n atomic.Uint64
	return func(ctx context.Context, _ int) error {
		msg := &nats.Msg{Subject: "bare." + stream.subject(n.Add(1)), Header: r.header, Data: r.payload}
		_, err := js.PublishMsg(ctx, msg)
		return err
	}
}

// parallel shares n calls among the writers and gives the time they took.
func parallel(b *testing.B, writers, n int, call func(context.Context, int) error) time.Duration {
	var left atomic.Int64
	left.Store(int64(n))
	start := time.Now()
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(b.Context(), writer); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(start)
}

// unsynced is a store on a server that doesn't wait for the disk, which makes
// filling it quick. Reading is the same.
func unsynced(b *testing.B) *Store {
	b.Helper()
	ns, err := server.NewServer(&server.Options{
		ServerName: "bench", DontListen: true, JetStream: true, StoreDir: b.TempDir(), NoLog: true, NoSigs: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	ns.Start()
	b.Cleanup(ns.WaitForShutdown)
	b.Cleanup(ns.Shutdown)
	return openStore(b, external(b, "in-process"), nats.InProcessServer(ns))
}

// BenchmarkLoad loads a whole stream from the server, cold.
func BenchmarkLoad(b *testing.B) {
	s := unsynced(b)
	for _, versions := range []int{10, 1000, 10_000, 100_000} {
		stream := newStream()
		extendFast(b, s, stream, versions)
		b.Run(fmt.Sprintf("versions=%d", versions), func(b *testing.B) {
			for b.Loop() {
				commits, err := s.Load(b.Context(), stream, 0)
				if err != nil || len(commits) != versions {
					b.Fatal(len(commits), err)
				}
			}
			b.ReportMetric(float64(versions)*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

// BenchmarkReplay reads everything from the first position on: messages, and
// commits. The server and the client share the processors.
func BenchmarkReplay(b *testing.B) {
	const commits = 100_000
	s := unsynced(b)
	for range 100 {
		extendFast(b, s, newStream(), commits/100)
	}
	count := func(b *testing.B, follow func(func(int) error) error) {
		for b.Loop() {
			left := commits
			err := follow(func(n int) error {
				if left -= n; left == 0 {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) {
				b.Fatal(err)
			}
		}
		b.ReportMetric(commits*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	}
	b.Run("raw", func(b *testing.B) {
		count(b, func(done func(int) error) error {
			return s.FollowRaw(b.Context(), 0, func(_ context.Context, m []Message) error { return done(len(m)) })
		})
	})
	b.Run("decoded", func(b *testing.B) {
		count(b, func(done func(int) error) error {
			return s.Follow(b.Context(), 0, func(_ context.Context, c []Commit) error { return done(len(c)) })
		})
	})
	b.Run("chain", func(b *testing.B) {
		count(b, func(done func(int) error) error {
			var chain Chain
			return s.FollowRaw(b.Context(), 0, func(_ context.Context, messages []Message) error {
				for i := range messages {
					if faults := chain.Add(&messages[i]); faults != nil {
						b.Fatal(faults)
					}
				}
				return done(len(messages))
			})
		})
	})
}

// BenchmarkDecode reads one stored commit of one small event.
func BenchmarkDecode(b *testing.B) {
	m := invitedMessage(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Decode(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkEncode makes the stored form of the same commit.
func BenchmarkEncode(b *testing.B) {
	c := invited()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := kinds.encodeCommit(c); err != nil {
			b.Fatal(err)
		}
	}
}

func invited() *Commit {
	c := renamed(newStream(), nil, "")
	c.Events[0].Event = domain.MemberInvited{
		Invitation: domain.InvitationID(NewID(domain.PrefixInvitation)),
		Address:    "6f1ed002ab5595859014ebf0951522d96f1ed002ab5595859014ebf0951522d9",
		Email:      "k1.7~c2VhbGVkIGFkZHJlc3Mgb2Ygc29tZWJvZHkgd2l0aCBhIG5vbmNl",
		Role:       "ADMIN",
		ExpiresAt:  testTime.Add(7 * 24 * time.Hour),
	}
	return c
}

func invitedMessage(b *testing.B) Message {
	r, err := kinds.encodeCommit(invited())
	if err != nil {
		b.Fatal(err)
	}
	m, err := newMessage(r.subject, 1, r.header, r.payload)
	if err != nil {
		b.Fatal(err)
	}
	return m
}
