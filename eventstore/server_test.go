package eventstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestRestart(t *testing.T) {
	config := embeddedConfig(t)
	s, err := Open(testContext(t), config)
	if err != nil {
		t.Fatal(err)
	}
	stream := newStream()
	last := extend(t, s, stream, nil, 3)
	closeStore(t, s)
	if err := s.Append(testContext(t), renamed(stream, last, "x")); err == nil {
		t.Error("appended to a closed store")
	}

	s = openStore(t, config)
	got, err := s.Load(testContext(t), stream, 2)
	if diff := cmp.Diff([]Commit{*last}, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	last = extend(t, s, stream, last, 1)
	if last.Position != 4 {
		t.Errorf("position %d", last.Position)
	}
}

// The events of one installation can't be opened with the key of another.
func TestAnotherMasterKey(t *testing.T) {
	config := embeddedConfig(t)
	s, err := Open(testContext(t), config)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	other := config
	other.MasterKeyFile = external(t, "").MasterKeyFile
	if s, err := Open(testContext(t), other); err == nil || !strings.Contains(err.Error(), "master key") {
		closeStore(t, s)
		t.Errorf("%v", err)
	}
	openStore(t, config)
}

func TestFollowEndsWithTheStore(t *testing.T) {
	s, err := Open(testContext(t), embeddedConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	extend(t, s, newStream(), nil, 1)
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.Follow(testContext(t), 0, func(context.Context, []Commit) error {
			close(ready)
			return nil
		})
	}()
	await(t, ready)
	closeStore(t, s)
	if err := await(t, done); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestDataFolderInUse(t *testing.T) {
	config := embeddedConfig(t)
	openStore(t, config)
	_, err := Open(testContext(t), config)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), config.DataDir) ||
		!strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid(), ";")) {
		t.Errorf("%v", err)
	}
}

// A folder that can't be written is made of files in the place of folders:
// permissions don't stop a test that runs as root.
func TestDataFolderUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked, stored := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(locked, "LOCK"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stored, "nats"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inside := t.TempDir()
	if err := os.Mkdir(filepath.Join(inside, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(inside, "nats", "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{
		file:                      "can't be made",
		filepath.Join(file, "in"): "can't be made",
		locked:                    "can't be written",
		stored:                    "can't make the folder of the events",
		inside:                    "didn't start",
	} {
		_, err := Open(testContext(t), Config{DataDir: folder, Logger: quiet()})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), folder) {
			t.Errorf("%s: %v", folder, err)
		}
	}
	// A failed start leaves the folder free.
	if err := os.Remove(filepath.Join(inside, "nats", "jetstream")); err != nil {
		t.Fatal(err)
	}
	openStore(t, Config{DataDir: inside, Logger: quiet()})
}

func TestUnreachable(t *testing.T) {
	port := freePorts(t, 1)[0]
	for _, url := range []string{
		fmt.Sprintf("nats://127.0.0.1:%d", port),
		fmt.Sprintf("nats://roster:hunter2@127.0.0.1:%[1]d,hunter2@localhost:%[1]d", port),
	} {
		_, err := Open(testContext(t), external(t, url))
		if !errors.Is(err, nats.ErrNoServers) || !strings.Contains(err.Error(), fmt.Sprint("127.0.0.1:", port)) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
	if _, err := Open(testContext(t), Config{}); err == nil {
		t.Error("neither a URL nor a folder is needed")
	}
	if _, err := Open(testContext(t), Config{URL: "nats://127.0.0.1:1"}); err == nil || !strings.Contains(err.Error(), "master key") {
		t.Errorf("without a master key: %v", err)
	}
}

func TestStreamWithOtherSettings(t *testing.T) {
	for field, change := range map[string]func(*jetstream.StreamConfig){
		"Storage":              func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"Retention":            func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"MaxMsgsPerSubject":    func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 2 },
		"Discard":              func(c *jetstream.StreamConfig) { c.Discard, c.DiscardNewPerSubject = jetstream.DiscardOld, false },
		"DiscardNewPerSubject": func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = false },
		"DenyDelete":           func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"DenyPurge":            func(c *jetstream.StreamConfig) { c.DenyPurge = false },
		"AllowDirect":          func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"AllowAtomicPublish":   func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
		"Compression":          func(c *jetstream.StreamConfig) { c.Compression = jetstream.NoCompression },
		"MaxAge":               func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"MaxBytes":             func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 },
		"AllowRollup":          func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false },
		"AllowMsgTTL":          func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true },
		"Subjects":             func(c *jetstream.StreamConfig) { c.Subjects = []string{"ev.team.>"} },
		"PersistMode": func(c *jetstream.StreamConfig) {
			c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
		},
	} {
		// A server for each: one that has just deleted a stream can fail to
		// make another of that name.
		t.Run(field, func(t *testing.T) {
			ns := newTestServer(t)
			_, js := ns.connect()
			wrong := streamConfig(1)
			change(&wrong)
			if _, err := js.CreateStream(testContext(t), wrong); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(testContext(t), external(t, ns.ns.ClientURL())); err == nil || !strings.Contains(err.Error(), field+" is ") {
				t.Error(err)
			}
		})
	}
	// What doesn't matter may differ.
	ns := newTestServer(t)
	_, js := ns.connect()
	fine := streamConfig(1)
	fine.Description, fine.Metadata, fine.Duplicates = "mine", map[string]string{"a": "b"}, time.Minute
	if _, err := js.CreateStream(testContext(t), fine); err != nil {
		t.Fatal(err)
	}
	openStore(t, external(t, ns.ns.ClientURL()))
}

// TestMissing loses messages, as a failing disk does: before the stream is
// given the settings that forbid it.
func TestMissing(t *testing.T) {
	ns := newTestServer(t)
	_, js := ns.connect()
	loose := streamConfig(1)
	loose.DenyDelete = false
	stream, err := js.CreateStream(testContext(t), loose)
	if err != nil {
		t.Fatal(err)
	}
	a, b := newStream(), newStream()
	for _, id := range []Stream{a, b} {
		var last *Commit
		for range 3 {
			c := renamed(id, last, "x")
			r, err := kinds.encodeCommit(c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.PublishMsg(testContext(t), &nats.Msg{Subject: r.subject, Header: r.header, Data: r.payload}); err != nil {
				t.Fatal(err)
			}
			c.Hash, last = r.hash, c
		}
	}
	for _, position := range []uint64{2, 5} {
		if err := stream.DeleteMsg(testContext(t), position); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.UpdateStream(testContext(t), streamConfig(1)); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, external(t, ns.ns.ClientURL()))

	var got []uint64
	err = s.Follow(testContext(t), 0, func(_ context.Context, commits []Commit) error {
		for _, c := range commits {
			got = append(got, c.Position)
		}
		return nil
	})
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "position 2") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff([]uint64{1}, got); diff != "" {
		t.Error(diff)
	}

	var chain Chain
	var faults []string
	for _, m := range collected(t, s, 0, 4) {
		for _, fault := range chain.Add(&m) {
			faults = append(faults, fault.String())
		}
	}
	want := []string{
		"position 3, version 3 of team " + a.ID + ": positions 2 to 2 are missing before it",
		"position 3, version 3 of team " + a.ID + ": versions 2 to 2 are missing before it",
		"position 6, version 3 of team " + b.ID + ": positions 5 to 5 are missing before it",
		"position 6, version 3 of team " + b.ID + ": versions 2 to 2 are missing before it",
	}
	if diff := cmp.Diff(want, faults); diff != "" || chain.Position() != 6 {
		t.Error(diff)
	}
}
