package projections

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"zombiezen.com/go/sqlite"
)

// sqliteFile is a new file, which the end of the test closes.
func sqliteFile(t *testing.T) *sqliteDB {
	t.Helper()
	engine, err := openSQLite(testContext(t), filepath.Join(t.TempDir(), "read-models.db"))
	if err != nil {
		t.Fatal(err)
	}
	db := engine.(*sqliteDB)
	t.Cleanup(func() {
		if err := db.close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// However a query ends, its connection is given back without an open statement,
// which would go on showing the file as it was then.
func TestReadersComeBackWithoutAnOpenStatement(t *testing.T) {
	db := sqliteFile(t)
	const three = "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3"
	stop := errors.New("enough")
	for _, test := range []struct {
		name string
		each func(cancel func()) error
		want error
	}{
		{"to its end", func(func()) error { return nil }, nil},
		{"with an error", func(func()) error { return stop }, stop},
		{"with its context", func(cancel func()) error { cancel(); return nil }, context.Canceled},
		{"in a panic", func(func()) error { panic(stop) }, stop},
	} {
		ctx, cancel := context.WithCancel(testContext(t))
		var used *sqlite.Conn
		err := func() (err error) {
			defer func() {
				if r := recover(); r != nil {
					err = r.(error)
				}
			}()
			return db.read(ctx, func(q querier) error {
				used = q.(sqliteConn).Conn
				return q.query(ctx, three, nil, func(row) error { return test.each(cancel) })
			})
		}()
		cancel()
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v instead of %v", test.name, err, test.want)
		}
		if open := used.CheckReset(); open != "" {
			t.Errorf("%s: left open: %s", test.name, open)
		}
		if n := len(db.readers); n != cap(db.readers) {
			t.Errorf("%s: %d of %d readers came back", test.name, n, cap(db.readers))
		}
	}
}
