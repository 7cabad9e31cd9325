package projections

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// postgresDB is a PostgreSQL database, shared with other processes.
type postgresDB struct {
	pool    *pgxpool.Pool
	channel string // that progress is announced on
	lock    int64  // advisory lock of the process that projects; the next two numbers are alone's and arrange's
}

const (
	postgresOldest = 130000 // server_version_num of the oldest version that is tried: 13
	postgresPool   = 16     // connections, unless the URL says pool_max_conns
	postgresFewest = 6      // a rebuild takes four at once
	connectTimeout = 5 * time.Second
	standbyPause   = time.Second // between two attempts to become the one that projects
	copyFrom       = 128         // rows from which on COPY is worth its own round trips
)

// Settings of every connection. What is committed here may be lost in a crash,
// as long as rows and checkpoint go together: it is made again from the events.
var postgresSettings = map[string]string{
	"application_name":   "roster",
	"synchronous_commit": "off",
	"jit":                "off", // pages are short; compiling them costs more than it gives
	"enable_bitmapscan":  "off", // a page is the end of a stretch of an index, in order; a bitmap would read all of the stretch and sort it
	"client_encoding":    "UTF8",
}

func openPostgres(ctx context.Context, rawURL string) (engine, error) {
	config, err := pgxpool.ParseConfig(rawURL)
	if err != nil {
		return nil, errors.New(`projections: the database URL can't be read; it has the form "postgres://user:password@host:5432/database" (special characters in the password are written as %40 and the like)`)
	}
	where := postgresPlace(config.ConnConfig)
	if parsed, err := url.Parse(rawURL); err != nil || parsed.Query().Get("pool_max_conns") == "" {
		config.MaxConns = postgresPool
	}
	config.MaxConns = max(config.MaxConns, postgresFewest)
	for name, value := range postgresSettings {
		if _, given := config.ConnConfig.RuntimeParams[name]; !given {
			config.ConnConfig.RuntimeParams[name] = value
		}
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, postgresError(where, err)
	}
	db := &postgresDB{pool: pool}
	if err := db.greet(ctx, where); err != nil {
		pool.Close()
		return nil, err
	}
	return db, nil
}

// greet makes sure that the server is one that can be worked with.
func (db *postgresDB) greet(ctx context.Context, where string) error {
	var (
		version                   int
		release, encoding, schema string
		readOnly, canCreate       bool
	)
	err := db.pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		current_setting('server_encoding'), COALESCE(current_schema(), ''), pg_is_in_recovery(),
		COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)`).
		Scan(&version, &release, &encoding, &schema, &readOnly, &canCreate)
	switch {
	case err != nil:
		return postgresError(where, err)
	case version < postgresOldest:
		return fmt.Errorf("projections: %s is PostgreSQL %s; version %d or newer is needed", where, release, postgresOldest/10000)
	case encoding != "UTF8":
		return fmt.Errorf("projections: the database at %s has the encoding %s; make one with UTF8 (createdb -E UTF8 -T template0)", where, encoding)
	case readOnly:
		return fmt.Errorf("projections: %s is a read replica; give the URL of the primary server", where)
	case schema == "":
		return fmt.Errorf("projections: no schema of the search path exists at %s; create it, or change search_path in the URL", where)
	case !canCreate:
		return fmt.Errorf("projections: this user may not create tables in schema %q at %s; grant it: GRANT CREATE ON SCHEMA %s TO …", schema, where, schema)
	}
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, "roster projections in "+schema)
	db.lock = int64(hash.Sum64() >> 2 << 1)
	db.channel = fmt.Sprintf("roster_%x", hash.Sum64())
	return nil
}

// postgresPlace names a server without user and password.
func postgresPlace(config *pgx.ConnConfig) string {
	return fmt.Sprintf("%s (database %s)", net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), config.Database)
}

// postgresError says what to do about an error of connecting. The text of
// pgx's own error names the user but never the password; it isn't repeated
// where the cause is known.
func postgresError(where string, err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "28P01", "28000":
			return fmt.Errorf("projections: PostgreSQL at %s refused the user or the password; check both in the database URL", where)
		case "3D000":
			return fmt.Errorf("projections: there is no such database at %s; make it with createdb", where)
		case "53300":
			return fmt.Errorf("projections: PostgreSQL at %s has no connection left; raise max_connections, or lower pool_max_conns in the database URL", where)
		}
		return fmt.Errorf("projections: PostgreSQL at %s answered %s: %s", where, refused.Code, refused.Message)
	}
	var failed *pgconn.ConnectError
	if errors.As(err, &failed) {
		cause := errors.Unwrap(failed)
		if network := (*net.OpError)(nil); errors.As(err, &network) {
			cause = network.Err
		}
		return fmt.Errorf("projections: PostgreSQL can't be reached at %s; is it running, and is the database URL right? (%w)", where, cause)
	}
	return fmt.Errorf("projections: PostgreSQL at %s: %w", where, err)
}

func (db *postgresDB) close() error {
	db.pool.Close()
	return nil
}

func (db *postgresDB) read(ctx context.Context, f func(querier) error) error {
	return db.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return f(postgresReader{conn.Conn()}) })
}

func (db *postgresDB) write(ctx context.Context, f func(transaction) error) error {
	return db.pool.AcquireFunc(ctx, func(pooled *pgxpool.Conn) (err error) {
		conn := pooled.Conn()
		defer func() {
			// Also after a panic: a connection must not go back to the pool with a
			// transaction open. The pool drops those that are closed.
			if !conn.IsClosed() && conn.PgConn().TxStatus() != idle {
				undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
				defer cancel()
				if _, undone := conn.Exec(undo, "ROLLBACK"); undone != nil {
					err = errors.Join(err, conn.Close(undo))
				}
			}
		}()
		t := &postgresTx{conn: conn, channel: db.channel, waiting: &pgx.Batch{}}
		t.waiting.Queue("BEGIN")
		if err := f(t); err != nil {
			return err
		}
		t.waiting.Queue("COMMIT")
		outcome, err := t.flush(ctx)
		if err == nil && outcome.String() != "COMMIT" {
			err = errors.New("projections: PostgreSQL rolled the transaction back")
		}
		return err
	})
}

// idle is the status of a connection outside of a transaction.
const idle = 'I'

// snapshot keeps the checkpoints locked while what prepare did is
// committed and the reading transaction begins.
func (db *postgresDB) snapshot(ctx context.Context, prepare func(transaction) error, look func(querier) error) error {
	guard, err := db.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = guard.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := guard.Exec(ctx, "LOCK TABLE projection_checkpoints IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return err
	}
	if err := db.write(ctx, prepare); err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// The first statement is what fixes the state that is seen.
		if _, err := tx.Exec(ctx, "SELECT 1"); err != nil {
			return err
		}
		if err := guard.Rollback(ctx); err != nil {
			return err
		}
		return look(postgresReader{tx})
	})
}

func (db *postgresDB) arrange(ctx context.Context, f func(transaction) error) error {
	return db.write(ctx, func(t transaction) error {
		// DROP and RENAME wait for every reader of a table, and every later
		// reader waits for them: rather give up than stand in the way for long.
		for _, sql := range []string{
			"SELECT pg_advisory_xact_lock(" + strconv.FormatInt(db.lock+2, 10) + ")",
			"SET LOCAL lock_timeout = '10s'",
		} {
			if _, err := t.exec(ctx, sql); err != nil {
				return err
			}
		}
		return f(t)
	})
}

func (db *postgresDB) index(ctx context.Context, sql string) error {
	return db.write(ctx, func(t transaction) error {
		if _, err := t.exec(ctx, "SET LOCAL maintenance_work_mem = '256MB'"); err != nil {
			return err
		}
		return t.do(ctx, sql)
	})
}

func (db *postgresDB) lead(ctx context.Context, look, work func(context.Context) error) error {
	// A connection of its own: the lock is the session's, and goes with it.
	config := db.pool.Config().ConnConfig
	for name, value := range map[string]string{
		// A node that vanished without a word must lose the lock soon.
		"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3",
	} {
		config.RuntimeParams[name] = value
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return postgresError(postgresPlace(config), err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		conn.Close(closing)
	}()
	if err := db.standBy(ctx, conn, look); err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		// Nothing is listened to here: it returns when the connection is
		// lost, and the lock with it.
		if _, err := conn.WaitForNotification(ctx); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("projections: the connection that holds the lock was lost: %w", err))
		}
	}()
	err = work(ctx)
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		err = cause
	}
	cancel(nil)
	<-watched
	return err
}

// standBy returns nil once this process holds the lock. It asks now and then
// and doesn't wait inside the server: a statement that waits keeps the server
// from tidying up every table.
func (db *postgresDB) standBy(ctx context.Context, conn *pgx.Conn, look func(context.Context) error) error {
	if _, err := conn.Exec(ctx, "LISTEN "+db.channel); err != nil {
		return err
	}
	for {
		mine := false
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", db.lock).Scan(&mine); err != nil {
			return err
		}
		if mine {
			_, err := conn.Exec(ctx, "UNLISTEN *")
			return err
		}
		if err := look(ctx); err != nil {
			return err
		}
		pause, cancel := context.WithTimeout(ctx, standbyPause)
		var err error
		for err == nil {
			if _, err = conn.WaitForNotification(pause); err == nil {
				err = look(pause)
			}
		}
		over := pause.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !over {
			return err
		}
	}
}

func (db *postgresDB) alone(ctx context.Context, f func(context.Context) error) error {
	return db.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		mine := false
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", db.lock+1).Scan(&mine); err != nil {
			return err
		}
		if !mine {
			return errBusy
		}
		defer func() {
			if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", db.lock+1); err != nil {
				conn.Conn().Close(context.WithoutCancel(ctx)) // which gives the lock up as well
			}
		}()
		return f(ctx)
	})
}

func (db *postgresDB) loading(context.Context, bool) error { return nil }

func (db *postgresDB) analyze(ctx context.Context, table string) error {
	_, err := db.pool.Exec(ctx, "ANALYZE "+table)
	return err
}

func (db *postgresDB) types() sqlTypes { return sqlTypes{text: `TEXT COLLATE "C"`, number: "BIGINT"} }

func (db *postgresDB) longestRest() time.Duration { return longestRestShared }

// postgresReader reads through a connection or a transaction.
type postgresReader struct {
	on interface {
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	}
}

func (r postgresReader) query(ctx context.Context, sql string, args []any, each func(row) error) error {
	rows, err := r.on.Query(ctx, sql, cleaned(args)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(postgresRow{rows}); err != nil {
			return err
		}
	}
	return rows.Err()
}

// cleaned gives the values of arguments, which may be pointers.
func cleaned(args []any) []any {
	values := make([]any, len(args))
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			values[i] = clean(arg)
		case *string:
			values[i] = clean(*arg)
		case int64:
			values[i] = arg
		case *int64:
			values[i] = *arg
		default:
			panic(fmt.Sprintf("projections: %T is no SQL argument", arg))
		}
	}
	return values
}

type postgresRow struct{ rows pgx.Rows }

func (r postgresRow) scan(dest ...any) error { return r.rows.Scan(dest...) }

// postgresTx is an open transaction. Statements are gathered and sent in one
// round trip, its BEGIN and its COMMIT with them.
type postgresTx struct {
	conn    *pgx.Conn
	channel string
	waiting *pgx.Batch
}

func (t *postgresTx) send(ctx context.Context) error {
	_, err := t.flush(ctx)
	return err
}

// flush sends what has been gathered and gives the outcome of the last
// statement.
func (t *postgresTx) flush(ctx context.Context) (outcome pgconn.CommandTag, err error) {
	n := t.waiting.Len()
	if n == 0 {
		return outcome, nil
	}
	results := t.conn.SendBatch(ctx, t.waiting)
	t.waiting = &pgx.Batch{}
	for range n {
		if outcome, err = results.Exec(); err != nil {
			results.Close() // which gives the same error again
			return outcome, err
		}
	}
	return outcome, results.Close()
}

func (t *postgresTx) query(ctx context.Context, sql string, args []any, each func(row) error) error {
	if err := t.send(ctx); err != nil {
		return err
	}
	return postgresReader{t.conn}.query(ctx, sql, args, each)
}

func (t *postgresTx) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	t.waiting.Queue(sql, cleaned(args)...)
	outcome, err := t.flush(ctx)
	return outcome.RowsAffected(), err
}

func (t *postgresTx) do(_ context.Context, sql string, args ...any) error {
	t.waiting.Queue(sql, cleaned(args)...)
	return nil
}

func (t *postgresTx) put(_ context.Context, table *tableSQL, rows rowSource) error {
	t.gather(table, rows, true)
	return nil
}

func (t *postgresTx) add(ctx context.Context, table *tableSQL, rows rowSource) error {
	if rows.len < copyFrom {
		t.gather(table, rows, false)
		return nil
	}
	if err := t.send(ctx); err != nil {
		return err
	}
	i := 0
	_, err := t.conn.CopyFrom(ctx, pgx.Identifier{table.table}, table.columns, pgx.CopyFromFunc(func() ([]any, error) {
		if i == rows.len {
			return nil, nil
		}
		i++
		return cleaned(rows.fields(i - 1)), nil
	}))
	return err
}

// gather queues rows as statements of 64 rows, and of one row for the rest: two
// texts a table, so that both stay prepared.
func (t *postgresTx) gather(table *tableSQL, rows rowSource, replace bool) {
	for i := 0; i < rows.len; {
		n := 1
		if rows.len-i >= rowsPerStatement {
			n = rowsPerStatement
		}
		args := make([]any, 0, n*len(table.columns))
		for range n {
			args = append(args, cleaned(rows.fields(i))...)
			i++
		}
		t.waiting.Queue(table.statement(n, replace), args...)
	}
}

func (t *postgresTx) announce(context.Context) error {
	t.waiting.Queue("SELECT pg_notify($1, '')", t.channel)
	return nil
}

func (t *postgresTx) tables(ctx context.Context) (map[string]bool, error) {
	return tableNames(ctx, t, "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
}
