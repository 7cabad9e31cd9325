package projections

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
)

// Config says where the tables are.
type Config struct {
	// URL of a PostgreSQL database ("postgres://…"). Empty means SQLite.
	URL string

	// Path of the SQLite file; it is made if absent. Only used without URL.
	Path string

	Logger *slog.Logger // nil means slog.Default()
}

// Database is where the tables are: a SQLite file or a PostgreSQL database.
// It is safe for concurrent use.
type Database struct {
	engine
	logger *slog.Logger
}

// Open opens the database. Its errors say what to do about them and never
// hold the password of the URL.
func Open(ctx context.Context, config Config) (*Database, error) {
	logger := config.Logger
	if logger == nil {
		logger = slog.Default()
	}
	var (
		opened engine
		err    error
	)
	if config.URL != "" {
		opened, err = openPostgres(ctx, config.URL)
	} else {
		opened, err = openSQLite(ctx, config.Path)
	}
	if err != nil {
		return nil, err
	}
	return &Database{engine: opened, logger: logger}, nil
}

// Close ends every connection.
func (d *Database) Close() error { return d.close() }

// An engine is one of the two databases. SQL text is the same for both: $n in
// ascending order, TEXT and BIGINT columns that are never NULL, times as
// microseconds. Arguments are string and int64, scanned values *string and
// *int64.
type engine interface {
	// read runs f on a connection that only reads. Each statement sees what
	// was committed before it.
	read(ctx context.Context, f func(querier) error) error

	// write runs f in one transaction and commits it unless f fails.
	write(ctx context.Context, f func(transaction) error) error

	// snapshot runs prepare in a transaction of its own and, with no
	// checkpoint moving in between, begins a reading transaction that sees
	// what prepare committed, in which it runs look.
	snapshot(ctx context.Context, prepare func(transaction) error, look func(querier) error) error

	// arrange is write for making and dropping tables: no other process does
	// the same at the same time.
	arrange(ctx context.Context, f func(transaction) error) error

	// index runs one statement that makes an index.
	index(ctx context.Context, sql string) error

	// lead runs work while this is the one process that projects into this
	// database. Until then it stands by, calling look whenever the process
	// that does has announced progress, and now and then besides.
	lead(ctx context.Context, look, work func(context.Context) error) error

	// alone runs f unless it is running already, here or in another process
	// on the same database; then it is errBusy.
	alone(ctx context.Context, f func(context.Context) error) error

	// loading is called with true before and with false after many rows are
	// written to tables that nobody else uses yet.
	loading(ctx context.Context, on bool) error

	// analyze brings the planner's statistics of a table up to date.
	analyze(ctx context.Context, table string) error

	// types are the types of columns.
	types() sqlTypes

	// longestRest is how long the projector may rest at most while nobody in
	// this process waits for it.
	longestRest() time.Duration

	close() error
}

// A querier reads.
type querier interface {
	// query calls each for every row. The row is only valid in the call.
	query(ctx context.Context, sql string, args []any, each func(row) error) error
}

// A row is one row of a result.
type row interface {
	// scan copies the columns to where dest points: *string or *int64.
	scan(dest ...any) error
}

// A transaction changes tables. What do, put and add
// change is kept in order but may be sent to the database together, so that an
// error of one may show only in a later call.
type transaction interface {
	querier
	exec(ctx context.Context, sql string, args ...any) (changed int64, err error)

	// send makes sure that everything so far has reached the database.
	send(ctx context.Context) error

	// do is exec for statements whose outcome isn't asked for.
	do(ctx context.Context, sql string, args ...any) error
	put(ctx context.Context, t *tableSQL, rows rowSource) error // insert, or replace the row of the same key
	add(ctx context.Context, t *tableSQL, rows rowSource) error // insert rows whose keys are new

	// announce tells the other processes on this database of progress, once
	// the transaction is committed.
	announce(ctx context.Context) error

	// tables lists the tables that there are.
	tables(ctx context.Context) (map[string]bool, error)
}

// rowSource is a number of rows. fields gives pointers to the columns of a row
// and is called once for each, in order.
type rowSource struct {
	len    int
	fields func(i int) []any
}

var errBusy = errors.New("projections: a rebuild or a verification is running already; wait until it has ended")

// clean makes text storable in both databases: PostgreSQL takes neither NUL
// nor anything that isn't UTF-8.
func clean(text string) string {
	if strings.IndexByte(text, 0) < 0 && utf8.ValidString(text) {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// one runs a query that gives at most one row and tells whether it did.
func one(ctx context.Context, q querier, sql string, args []any, dest ...any) (bool, error) {
	found := false
	err := q.query(ctx, sql, args, func(r row) error {
		found = true
		return r.scan(dest...)
	})
	return found, err
}
