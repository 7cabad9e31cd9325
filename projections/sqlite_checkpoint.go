package projections

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// sqliteLog copies the pages of the write-ahead log into the file, on a
// connection of its own and beside the one that writes. Left to SQLite, one
// transaction in some hundred would do that for all, and take 20 ms and more,
// for which everybody waits who wants to read what they wrote.
//
// The log begins anew only when all of it was copied, and while the most of it
// is being copied, more comes. So the rest of it is copied once nobody writes.
// And it does so only when at that time nobody reads an earlier state. Where
// there is always somebody who does, it gets long, and then whoever writes waits
// a moment for those who read.
type sqliteLog struct {
	conn  *sqlite.Conn
	index *os.File // the log's index, as SQLite's documents describe it
	most  int      // pages since it was last copied, from which on that is due
	held  int      // pages that couldn't be copied then, since somebody reads an earlier state
	again int      // pages that the log has at the least before waiting for readers is tried again
	due   chan struct{}
	stop  context.CancelFunc
	ended sync.WaitGroup
}

// openSQLiteLog needs a file whose writer has begun to use it.
func openSQLiteLog(path string) (_ *sqliteLog, err error) {
	l := &sqliteLog{most: sqliteCheckpoint, due: make(chan struct{}, 1)}
	if l.conn, err = sqlite.OpenConn(path, sqlite.OpenReadWrite); err != nil {
		return nil, err
	}
	l.conn.SetBusyTimeout(sqliteAnew)
	if err = sqlitex.ExecuteTransient(l.conn, sqliteSync, nil); err == nil {
		l.index, err = os.Open(path + "-shm")
	}
	if err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	return l, nil
}

// start copies whenever it is due, until close. Alone runs a function while
// nobody writes, or not at all if its context has ended.
func (l *sqliteLog) start(alone func(context.Context, func())) {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.ended.Go(func() {
		for {
			select {
			case <-l.due:
			case <-ctx.Done():
				return
			}
			// What fails is tried again when it is due next. Until then the log
			// keeps what wasn't copied.
			_ = l.copy()
			alone(ctx, l.finish)
		}
	})
}

// copy copies what no reader of an earlier state is in the way of.
func (l *sqliteLog) copy() error {
	return sqlitex.ExecuteTransient(l.conn, "PRAGMA wal_checkpoint(PASSIVE)", nil)
}

const (
	// sqliteLong is how often most the log holds before it is made to begin anew.
	sqliteLong = 4

	// sqliteAnew is how long it waits for readers then: many times what reading a
	// page of a list takes, and less than anybody notices.
	sqliteAnew = 50 * time.Millisecond
)

// finish copies what is left. The caller has seen to it that nobody writes.
func (l *sqliteLog) finish() {
	_ = l.copy()
	all, copied, err := l.pages()
	if l.held = all - copied; err != nil || all < max(sqliteLong*l.most, l.again) {
		return
	}
	busy := true
	_ = sqlitex.ExecuteTransient(l.conn, "PRAGMA wal_checkpoint(RESTART)", &sqlitex.ExecOptions{
		ResultFunc: func(stmt *sqlite.Stmt) error { busy = stmt.ColumnInt(0) != 0; return nil },
	})
	if busy { // somebody reads for long
		l.again = 2 * all
		return
	}
	l.held, l.again = 0, 0
}

// wrote is called after each transaction, by the only one that writes.
func (l *sqliteLog) wrote() {
	if all, copied, err := l.pages(); err == nil && all-copied < l.held+l.most {
		return
	}
	select {
	case l.due <- struct{}{}:
	default: // it is known
	}
}

// pages is how many pages the log has, and how many of them were copied.
func (l *sqliteLog) pages() (all, copied int, err error) {
	const last, backfilled = 16, 96 // places in the index of two 32-bit numbers in the machine's own order
	var header [backfilled + 4]byte
	if _, err := l.index.ReadAt(header[:], 0); err != nil {
		return 0, 0, fmt.Errorf("projections: the index of the write-ahead log can't be read: %w", err)
	}
	return int(binary.NativeEndian.Uint32(header[last:])), int(binary.NativeEndian.Uint32(header[backfilled:])), nil
}

// close returns when nothing is being copied any more. The index is left open:
// closing any descriptor of a file gives up all locks that this process has on
// it, SQLite's among them.
func (l *sqliteLog) close() error {
	l.stop()
	l.ended.Wait()
	return l.conn.Close()
}
