package projections

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"roster/projections/postgrestest"
)

// Whatever keeps a database from being used, the error says what to do and
// doesn't give the password away.
func TestOpenErrors(t *testing.T) {
	url := postgrestest.Start(t)
	replaced := func(old, new string) string { return strings.Replace(url, old, new, 1) }
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"nothing given":     {Config{}, "neither the URL"},
		"not a URL":         {Config{URL: "postgres://user:s3cret@host:port/db"}, "has the form"},
		"nobody listens":    {Config{URL: "postgres://user:s3cret@127.0.0.1:1/db"}, "is it running"},
		"no such host":      {Config{URL: "postgres://user:s3cret@nowhere.invalid/db"}, "is it running"},
		"no such database":  {Config{URL: replaced("/postgres?", "/nothing?")}, "createdb"},
		"no such user":      {Config{URL: replaced("user=postgres", "user=eve&password=s3cret")}, "refused the user"},
		"no such schema":    {Config{URL: replaced("search_path=", "search_path=no")}, "no schema of the search path"},
		"folder missing":    {Config{Path: filepath.Join(t.TempDir(), "none", "views.db")}, "create it"},
		"path is a folder":  {Config{Path: t.TempDir()}, "can't be opened"},
		"not a SQLite file": {Config{Path: garbage}, "delete it"},
	} {
		db, err := Open(testContext(t), c.config)
		if err == nil {
			db.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Everything that goes into a table comes out as it was, or as it can be
// stored.
func TestTextRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		newProjections(t, db, nil)
		for _, text := range append(names, "", " ", `"`, "$1", "a;b", strings.Repeat("long ", 10_000)) {
			var got string
			err := db.read(testContext(t), func(q querier) error {
				_, err := one(t.Context(), q, "SELECT CAST($1 AS TEXT)", []any{text}, &got)
				return err
			})
			if err != nil || got != clean(text) {
				t.Errorf("%q came out as %q, %v", text, got, err)
			}
		}
	})
}

// A transaction that fails, panics or is given up leaves nothing, and the next
// one works.
func TestFailedTransactions(t *testing.T) {
	boom := errors.New("boom")
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		newProjections(t, db, nil)
		insert := func(t transaction) error {
			row := siteRow{"team_1", "site_1", "East"}
			return t.add(context.Background(), membersSites.sql(""), rowSource{1, func(int) []any { return row.fields() }})
		}
		for name, fail := range map[string]func() error{
			"an error": func() error {
				return db.write(testContext(t), func(t transaction) error { return errors.Join(insert(t), t.send(context.Background()), boom) })
			},
			"a panic": func() (err error) {
				defer func() { err = recover().(error) }()
				return db.write(testContext(t), func(t transaction) error {
					if err := insert(t); err != nil {
						return err
					}
					panic(boom)
				})
			},
			"given up": func() error {
				ctx, cancel := context.WithCancelCause(testContext(t))
				err := db.write(ctx, func(t transaction) error {
					err := insert(t)
					cancel(boom)
					return errors.Join(err, t.send(ctx))
				})
				if err != nil {
					return errors.Join(err, context.Cause(ctx))
				}
				return nil
			},
			"a wrong statement": func() error {
				err := db.write(testContext(t), func(t transaction) error {
					return errors.Join(insert(t), t.do(context.Background(), "SELECT nonsense FROM nowhere"))
				})
				if err != nil {
					return errors.Join(err, boom)
				}
				return nil
			},
		} {
			if err := fail(); !errors.Is(err, boom) {
				t.Errorf("%s: %v", name, err)
			}
			if rows := dumpTable(t, db, membersSites); len(rows) != 0 {
				t.Errorf("%s left %v", name, rows)
			}
		}
		if err := db.write(testContext(t), insert); err != nil {
			t.Error(err)
		}
		// Nothing is taken twice, by one row or by many at once.
		if err := db.write(testContext(t), insert); err == nil {
			t.Error("the same key went in twice")
		}
		many := make([]siteRow, 2*copyFrom)
		if err := db.write(testContext(t), func(tx transaction) error {
			return tx.add(testContext(t), membersSites.sql(""), rowSource{len(many), func(i int) []any { return many[i].fields() }})
		}); err == nil {
			t.Error("many of the same key went in")
		}
		if rows := dumpTable(t, db, membersSites); len(rows) != 1 {
			t.Errorf("there are %d rows", len(rows))
		}
	})
}
