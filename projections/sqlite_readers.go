package projections

import (
	"context"
	"errors"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// sqliteReaders are connections that read. The library has a pool, but that
// watches the context of each use in a goroutine of its own, which for a short
// query takes as long as the query. Here a query looks at its context before
// each row. What may go on for long without one sets an interrupt by itself;
// the longest that doesn't is a search that finds none of 100,000 members, some
// 50 ms.
type sqliteReaders chan *sqlite.Conn

func openSQLiteReaders(path string, n int) (readers sqliteReaders, err error) {
	readers = make(sqliteReaders, n)
	for made := range n {
		conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
		if err != nil {
			return nil, errors.Join(err, readers.close(made))
		}
		readers <- conn
		conn.SetBusyTimeout(sqliteBusy)
		if err := errors.Join(sqlitex.ExecuteTransient(conn, sqliteMap, nil), setCache(conn, sqliteReadCache)); err != nil {
			return nil, errors.Join(err, readers.close(made+1))
		}
	}
	return readers, nil
}

// sqliteBusy is how long a reader waits for what a writer doesn't let happen at
// the same time, which is next to nothing.
const sqliteBusy = 5 * time.Second

// take gives a connection, to be put back.
func (r sqliteReaders) take(ctx context.Context) (*sqlite.Conn, error) {
	select {
	case conn := <-r:
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r sqliteReaders) put(conn *sqlite.Conn) { r <- conn }

// close closes so many, as soon as nobody uses them any more.
func (r sqliteReaders) close(n int) (err error) {
	for range n {
		err = errors.Join(err, (<-r).Close())
	}
	return err
}
