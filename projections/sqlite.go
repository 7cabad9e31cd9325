package projections

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// sqliteDB is a SQLite file in WAL mode: one connection that writes, and
// several that read beside it without waiting.
type sqliteDB struct {
	writer  *sqlite.Conn
	turn    chan struct{} // holds one token; whoever has it uses the writer
	readers sqliteReaders
	log     *sqliteLog
	busy    sync.Mutex // held by alone
}

const (
	// What a connection may keep in memory, in KiB: a reader, the writer, and
	// either while it loads or compares whole tables.
	sqliteReadCache    = 2 << 10
	sqliteCache        = 4 << 10
	sqliteLoadingCache = 64 << 10

	// The file is read as memory, up to 1 GiB of it: with a system call for every
	// page that isn't in a connection's own cache, a page of a long log takes
	// twice as long.
	sqliteMap = "PRAGMA mmap_size = 1073741824"

	// A power cut may undo the last transactions, never half of one: the
	// checkpoint goes back with the rows, and they are applied again.
	sqliteSync = "PRAGMA synchronous = NORMAL"

	// Pages in the write-ahead log before they are copied into the file: 4 MiB, and
	// 64 MiB while loading. Copying ends with the disk making them durable, and for
	// as long the event store's own commits queue behind it, so that four times
	// as many at once doubles the slowest hundredth of all commands.
	sqliteCheckpoint        = 1000
	sqliteLoadingCheckpoint = 16_000
)

func openSQLite(ctx context.Context, path string) (engine, error) {
	if path == "" {
		return nil, errors.New("projections: neither the URL of a PostgreSQL database nor the path of a SQLite file is given")
	}
	if err := writable(path); err != nil {
		return nil, err
	}
	writer, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenWAL)
	if err != nil {
		return nil, sqliteFileError(path, err)
	}
	db := &sqliteDB{writer: writer, turn: make(chan struct{}, 1)}
	db.turn <- struct{}{}
	for _, pragma := range []string{
		sqliteSync,
		"PRAGMA journal_size_limit = 67108864",
		sqliteMap,
		fmt.Sprintf("PRAGMA cache_size = -%d", sqliteCache),
		"PRAGMA wal_autocheckpoint = 0", // sqliteLog does it
	} {
		if err := sqlitex.ExecuteTransient(writer, pragma, nil); err != nil {
			return nil, errors.Join(sqliteFileError(path, err), writer.Close())
		}
	}
	if db.readers, err = openSQLiteReaders(path, max(4, min(16, 2*runtime.GOMAXPROCS(0)))); err != nil {
		return nil, errors.Join(sqliteFileError(path, err), writer.Close())
	}
	if db.log, err = openSQLiteLog(path); err != nil {
		return nil, errors.Join(sqliteFileError(path, err), db.readers.close(cap(db.readers)), writer.Close())
	}
	db.log.start(db.pause)
	return db, ctx.Err()
}

// writable finds out early, with a clear error, that the file can't be used.
func writable(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case err == nil:
		return file.Close()
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("projections: the folder %s doesn't exist; create it, or name another data folder", filepath.Dir(path))
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("projections: %s can't be written; give this user the right to write to it, or name another data folder", path)
	}
	return fmt.Errorf("projections: %s can't be opened: %w", path, err)
}

func sqliteFileError(path string, err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultNotADB, sqlite.ResultCorrupt:
		return fmt.Errorf("projections: %s is not a sound SQLite file; delete it (it holds nothing that is not made again from the events): %w", path, err)
	case sqlite.ResultReadOnly, sqlite.ResultCantOpen, sqlite.ResultPerm:
		return fmt.Errorf("projections: SQLite can't write %s and the files beside it; give this user the right to write in %s: %w", path, filepath.Dir(path), err)
	case sqlite.ResultFull:
		return fmt.Errorf("projections: the disk with %s is full; make room: %w", path, err)
	}
	return fmt.Errorf("projections: SQLite can't use %s: %w", path, err)
}

func (db *sqliteDB) close() error {
	stopped := db.log.close()
	<-db.turn // never given back: nobody writes any more
	return errors.Join(stopped, db.readers.close(cap(db.readers)), db.writer.Close(), db.log.index.Close())
}

func (db *sqliteDB) read(ctx context.Context, f func(querier) error) error {
	conn, err := db.readers.take(ctx)
	if err != nil {
		return err
	}
	defer db.readers.put(conn)
	return f(sqliteConn{conn})
}

// interrupted gives the reason of the context in place of SQLite's own word
// for it.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && sqlite.ErrCode(err).ToPrimary() == sqlite.ResultInterrupt {
		return ctx.Err()
	}
	return err
}

func (db *sqliteDB) write(ctx context.Context, f func(transaction) error) error {
	if err := db.takeTurn(ctx); err != nil {
		return err
	}
	defer db.endTurn()
	return db.transact(ctx, f)
}

func (db *sqliteDB) takeTurn(ctx context.Context) error {
	select {
	case <-db.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (db *sqliteDB) endTurn() { db.turn <- struct{}{} }

// pause runs f while nobody writes.
func (db *sqliteDB) pause(ctx context.Context, f func()) {
	if db.takeTurn(ctx) == nil {
		defer db.endTurn()
		f()
	}
}

// transact needs the turn.
func (db *sqliteDB) transact(ctx context.Context, f func(transaction) error) (err error) {
	db.writer.SetInterrupt(ctx.Done())
	defer db.writer.SetInterrupt(nil)
	conn := sqliteConn{db.writer}
	if _, err := conn.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return interrupted(ctx, err)
	}
	committed := false
	defer func() {
		// Also after a panic, so that the connection stays usable.
		if !committed && !db.writer.AutocommitEnabled() {
			db.writer.SetInterrupt(nil)
			if _, undo := conn.exec(context.WithoutCancel(ctx), "ROLLBACK"); undo != nil {
				err = errors.Join(err, undo)
			}
		}
	}()
	if err := f(conn); err != nil {
		return interrupted(ctx, err)
	}
	if _, err := conn.exec(ctx, "COMMIT"); err != nil {
		return interrupted(ctx, err)
	}
	committed = true
	db.log.wrote()
	return nil
}

// snapshot keeps the turn until the reading transaction has begun, so nobody
// in this process writes in between.
func (db *sqliteDB) snapshot(ctx context.Context, prepare func(transaction) error, look func(querier) error) error {
	return db.read(ctx, func(q querier) (err error) {
		reader := q.(sqliteConn)
		if err := setCache(reader.Conn, sqliteLoadingCache); err != nil {
			return err
		}
		reader.SetInterrupt(ctx.Done()) // comparing whole tables gives no rows for long
		defer func() {
			reader.SetInterrupt(nil)
			err = errors.Join(err, setCache(reader.Conn, sqliteReadCache))
		}()
		if err := db.takeTurn(ctx); err != nil {
			return err
		}
		err = db.transact(ctx, prepare)
		if err == nil {
			_, err = reader.exec(ctx, "BEGIN")
		}
		if err == nil { // a reading transaction begins with its first statement
			_, err = one(ctx, reader, "SELECT count(*) FROM sqlite_master", nil, new(int64))
		}
		db.endTurn()
		if err == nil {
			err = interrupted(ctx, look(reader))
		}
		if !reader.AutocommitEnabled() {
			reader.SetInterrupt(nil)
			_, undo := reader.exec(context.WithoutCancel(ctx), "ROLLBACK")
			err = errors.Join(err, undo)
		}
		return err
	})
}

func (db *sqliteDB) arrange(ctx context.Context, f func(transaction) error) error {
	return db.write(ctx, f)
}

func (db *sqliteDB) index(ctx context.Context, sql string) error {
	return db.write(ctx, func(t transaction) error { return t.do(ctx, sql) })
}

// lead works at once: the file belongs to one process.
func (db *sqliteDB) lead(ctx context.Context, _, work func(context.Context) error) error {
	return work(ctx)
}

func (db *sqliteDB) alone(ctx context.Context, f func(context.Context) error) error {
	if !db.busy.TryLock() {
		return errBusy
	}
	defer db.busy.Unlock()
	return f(ctx)
}

func (db *sqliteDB) loading(ctx context.Context, on bool) error {
	if err := db.takeTurn(ctx); err != nil {
		return err
	}
	defer db.endTurn()
	cache, checkpoint := sqliteCache, sqliteCheckpoint
	if on {
		cache, checkpoint = sqliteLoadingCache, sqliteLoadingCheckpoint
	}
	db.log.most = checkpoint
	return setCache(db.writer, cache)
}

func setCache(conn *sqlite.Conn, kib int) error {
	return sqlitex.ExecuteTransient(conn, fmt.Sprintf("PRAGMA cache_size = -%d", kib), nil)
}

// analyze does nothing: without statistics SQLite takes the index with the
// most columns given, which is what the queries here are made for.
func (db *sqliteDB) analyze(context.Context, string) error { return nil }

func (db *sqliteDB) types() sqlTypes { return sqlTypes{text: "TEXT", number: "INTEGER"} }

func (db *sqliteDB) longestRest() time.Duration { return longestRestAlone }

// sqliteConn is one connection, for statements and as an open transaction.
type sqliteConn struct{ *sqlite.Conn }

func (c sqliteConn) query(ctx context.Context, sql string, args []any, each func(row) error) (err error) {
	stmt, err := c.Prepare(sql)
	if err != nil {
		return err
	}
	for i := 1; i <= stmt.BindParamCount(); i++ {
		// SQLite numbers $1, $2, … by where they first stand in the text.
		n, err := strconv.Atoi(stmt.BindParamName(i)[1:])
		if err != nil || n < 1 || n > len(args) {
			return fmt.Errorf("projections: %q has no argument %s", sql, stmt.BindParamName(i))
		}
		bindValue(stmt, i, args[n-1])
	}
	more := true
	defer func() {
		// Also after a panic: a statement that stays open holds on to a state of
		// the file. The last step resets it by itself.
		if more {
			err = errors.Join(err, stmt.Reset())
		}
	}()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err = stmt.Step(); err != nil || !more {
			return err
		}
		if err := each(sqliteRow{stmt}); err != nil {
			return err
		}
	}
}

func (c sqliteConn) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	err := c.query(ctx, sql, args, func(row) error { return nil })
	return int64(c.Changes()), err
}

func (c sqliteConn) send(context.Context) error { return nil }

func (c sqliteConn) do(ctx context.Context, sql string, args ...any) error {
	_, err := c.exec(ctx, sql, args...)
	return err
}

func (c sqliteConn) put(_ context.Context, t *tableSQL, rows rowSource) error {
	return c.each(t.put, rows)
}

func (c sqliteConn) add(_ context.Context, t *tableSQL, rows rowSource) error {
	return c.each(t.add, rows)
}

// each runs a statement once for every row. In one process that is cheaper
// than a statement with many rows.
func (c sqliteConn) each(sql string, rows rowSource) error {
	stmt, err := c.Prepare(sql)
	if err != nil {
		return err
	}
	for i := range rows.len {
		for j, field := range rows.fields(i) {
			bindValue(stmt, j+1, field)
		}
		if _, err := stmt.Step(); err != nil {
			return err
		}
		if err := stmt.Reset(); err != nil {
			return err
		}
	}
	return nil
}

func (c sqliteConn) announce(context.Context) error { return nil }

func (c sqliteConn) tables(ctx context.Context) (map[string]bool, error) {
	return tableNames(ctx, c, "SELECT name FROM sqlite_master WHERE type = 'table'")
}

func tableNames(ctx context.Context, q querier, sql string) (map[string]bool, error) {
	names := map[string]bool{}
	err := q.query(ctx, sql, nil, func(r row) error {
		var name string
		if err := r.scan(&name); err != nil {
			return err
		}
		names[name] = true
		return nil
	})
	return names, err
}

func bindValue(stmt *sqlite.Stmt, at int, value any) {
	switch value := value.(type) {
	case *string:
		stmt.BindText(at, clean(*value))
	case *int64:
		stmt.BindInt64(at, *value)
	case string:
		stmt.BindText(at, clean(value))
	case int64:
		stmt.BindInt64(at, value)
	default:
		panic(fmt.Sprintf("projections: %T is no SQL argument", value))
	}
}

type sqliteRow struct{ stmt *sqlite.Stmt }

func (r sqliteRow) scan(dest ...any) error {
	for i, dest := range dest {
		switch dest := dest.(type) {
		case *string:
			*dest = r.stmt.ColumnText(i)
		case *int64:
			*dest = r.stmt.ColumnInt64(i)
		default:
			panic(fmt.Sprintf("projections: a column can't be scanned into %T", dest))
		}
	}
	return nil
}
