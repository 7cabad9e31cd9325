package projections

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

// The write-ahead log is copied beside the one who writes, and begins anew
// although writing goes on. A reader holds neither up; what it still needs of
// the log stays there.
func TestTheWriteAheadLogIsCopiedAndBeginsAnew(t *testing.T) {
	ctx := testContext(t)
	db := sqliteFile(t)
	db.log.most = 50
	write := func(sql string, args ...any) {
		t.Helper()
		err := db.write(ctx, func(t transaction) error { return t.do(ctx, sql, args...) })
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func(q querier) (n int64) {
		t.Helper()
		if _, err := one(ctx, q, "SELECT count(*) FROM pages", nil, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	enough := errors.New("enough")
	page := strings.Repeat("x", 4000)
	write("CREATE TABLE pages (n BIGINT, text TEXT)")

	written := int64(0)
	insert := func() {
		t.Helper()
		write("INSERT INTO pages VALUES ($1, $2)", written, page)
		written++
	}
	anew := func() {
		t.Helper()
		for most := 0; ; {
			insert()
			pages, _, err := db.log.pages()
			if err != nil {
				t.Fatal(err)
			}
			if pages < most {
				return
			}
			most = pages
		}
	}
	for range 5 {
		anew()
	}
	err := db.read(ctx, func(q querier) error {
		return q.query(ctx, "SELECT n FROM pages", nil, func(row) error {
			for range 4 * db.log.most {
				insert()
			}
			return enough // of this reader, whose state is still the old one
		})
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	anew()
	err = db.read(ctx, func(q querier) error {
		if n := count(q); n != written {
			t.Errorf("%d rows of %d", n, written)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}

	// Somebody always reads, and nobody for long.
	reading, stop := context.WithCancel(ctx)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for reading.Err() == nil {
				// As short as a page of a list, however long the table gets.
				err := db.read(ctx, func(q querier) error {
					_, err := one(ctx, q, "SELECT n FROM pages LIMIT 1", nil, new(int64))
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 10 {
		anew()
	}
	stop()
	readers.Wait()
}
