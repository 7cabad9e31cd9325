package projections

import (
	"context"
	"fmt"
	"strings"

	"roster/eventstore"
)

// A fold is one read model being filled: it changes rows in memory as events
// come, and gives away what has changed to be written. Applying reads only rows
// that no earlier event has brought into memory.
type fold interface {
	apply(ctx context.Context, commit *eventstore.Commit) error
	parts() []part
}

// A part is one table of a fold.
type part interface {
	take() writes // gives what has changed since it was last asked
	forget()      // drops everything in memory, also what has changed
	changes() int // how many rows have changed
}

// writes are changes of one table, ready to be written. They may be written
// while the fold goes on.
type writes func(ctx context.Context, t transaction) error

// takeAll gives what has changed in any part.
func takeAll(f fold) writes {
	var all []writes
	for _, part := range f.parts() {
		if part.changes() > 0 {
			all = append(all, part.take())
		}
	}
	return func(ctx context.Context, t transaction) error {
		for _, write := range all {
			if err := write(ctx, t); err != nil {
				return err
			}
		}
		return nil
	}
}

// key identifies a row by one or two columns of text.
type key struct{ a, b string }

func (k key) args(columns int) []any {
	if columns == 1 {
		return []any{k.a}
	}
	return []any{k.a, k.b}
}

// columned is a struct with a field for each column of a table.
type columned[R any] interface {
	*R
	fields() []any // pointers to them, in the order of the shape
}

// stored is the row of a table that is found by its key.
type stored[R any] interface {
	columned[R]
	key() key
}

// A table is a part whose rows change. It remembers rows that were read or
// written lately; since whoever holds the checkpoint is the only one that
// writes to the table, they stay true until a transaction fails.
type table[R any, P stored[R]] struct {
	sql    *tableSQL
	reads  reader
	recent map[key]*slot[R] // used since the last turnover
	older  map[key]*slot[R] // not used since, dropped at the next one
	dirty  []*slot[R]
	wipes  []string        // first columns of keys whose rows are to be deleted
	gone   map[string]bool // first columns wiped since the last turnover
	before map[string]bool // and in the time before that
	most   int             // rows in recent that bring about a turnover
}

// slot is what is known of one key.
type slot[R any] struct {
	row     R
	exists  bool // the row exists, with what has been applied so far
	written bool // the database has a row of this key
	dirty   bool
}

// reader is the part of an engine that a fold uses.
type reader interface {
	read(ctx context.Context, f func(querier) error) error
}

func newTable[R any, P stored[R]](s *shape, in place) *table[R, P] {
	t := &table[R, P]{sql: s.sql(in.suffix), reads: in.reads, most: in.rows}
	t.forget()
	return t
}

// place is where a fold keeps its rows.
type place struct {
	reads  reader
	suffix string // of the names of the tables
	rows   int    // that each table keeps in memory, twice that at most
}

func (t *table[R, P]) forget() {
	t.recent, t.older = map[key]*slot[R]{}, nil
	t.gone, t.before = map[string]bool{}, nil
	t.dirty, t.wipes = nil, nil
}

func (t *table[R, P]) changes() int { return len(t.dirty) + len(t.wipes) }

// find gives the slot of a key, reading the row if it isn't in memory.
func (t *table[R, P]) find(ctx context.Context, k key) (*slot[R], error) {
	if s, ok := t.remembered(k); ok {
		return s, nil
	}
	s := &slot[R]{}
	err := t.reads.read(ctx, func(q querier) error {
		found, err := one(ctx, q, t.sql.get, k.args(t.sql.shape.keys), P(&s.row).fields()...)
		s.exists, s.written = found, found
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", t.sql.table, err)
	}
	if t.gone[k.a] || t.before[k.a] {
		s.exists = false // its deletion is still to be written
	}
	t.recent[k] = s
	return s, nil
}

func (t *table[R, P]) remembered(k key) (*slot[R], bool) {
	s, ok := t.recent[k]
	if !ok {
		if s, ok = t.older[k]; !ok {
			return nil, false
		}
		t.recent[k] = s
	}
	if s.exists && (t.gone[k.a] || t.before[k.a]) {
		s.exists = false
	}
	return s, true
}

// get gives the row of a key; nil when there is none. It must not be changed.
func (t *table[R, P]) get(ctx context.Context, k key) (*R, error) {
	s, err := t.find(ctx, k)
	if err != nil || !s.exists {
		return nil, err
	}
	return &s.row, nil
}

// change lets f change the row of a key, and tells whether there is one.
func (t *table[R, P]) change(ctx context.Context, k key, f func(*R)) (bool, error) {
	s, err := t.find(ctx, k)
	if err != nil || !s.exists {
		return false, err
	}
	f(&s.row)
	t.touch(s)
	return true, nil
}

// must is change for a row that has to be there.
func (t *table[R, P]) must(ctx context.Context, k key, f func(*R)) error {
	found, err := t.change(ctx, k, f)
	if err == nil && !found {
		err = t.lacks(k)
	}
	return err
}

// lacks is the error for a row that an event is about and that isn't there.
func (t *table[R, P]) lacks(k key) error {
	return fmt.Errorf("table %s has no row %s", t.sql.table, strings.TrimSpace(k.a+" "+k.b))
}

// insert adds a row whose key is new. Nothing is read: a row of the same key
// that isn't in memory makes the write fail.
func (t *table[R, P]) insert(row R) error {
	k := P(&row).key()
	s, ok := t.remembered(k)
	switch {
	case !ok:
		s = &slot[R]{}
		t.recent[k] = s
	case s.exists:
		return fmt.Errorf("table %s has a row %s already", t.sql.table, strings.TrimSpace(k.a+" "+k.b))
	}
	s.row, s.exists = row, true
	t.touch(s)
	return nil
}

// remove takes the row of a key away.
func (t *table[R, P]) remove(ctx context.Context, k key) error {
	s, err := t.find(ctx, k)
	if err != nil {
		return err
	}
	if !s.exists {
		return t.lacks(k)
	}
	s.exists = false
	t.touch(s)
	return nil
}

// wipe takes away every row whose key begins with this column. No row with it
// comes back.
func (t *table[R, P]) wipe(first string) {
	t.wipes = append(t.wipes, first)
	t.gone[first] = true
}

func (t *table[R, P]) touch(s *slot[R]) {
	if !s.dirty {
		s.dirty = true
		t.dirty = append(t.dirty, s)
	}
}

func (t *table[R, P]) take() writes {
	var add, put []R
	var remove []key
	for _, s := range t.dirty {
		switch {
		case s.exists && s.written:
			put = append(put, s.row)
		case s.exists:
			add = append(add, s.row)
		case s.written:
			remove = append(remove, P(&s.row).key())
		}
		s.written, s.dirty = s.exists, false
	}
	wipes := t.wipes
	t.dirty, t.wipes = t.dirty[:0], nil
	if len(t.recent) > t.most {
		t.older, t.recent = t.recent, map[key]*slot[R]{}
		t.before, t.gone = t.gone, map[string]bool{}
	}

	sql := t.sql
	return func(ctx context.Context, t transaction) error {
		for _, k := range remove {
			if err := t.do(ctx, sql.remove, k.args(sql.shape.keys)...); err != nil {
				return err
			}
		}
		if err := t.add(ctx, sql, rowsOf[R, P](add)); err != nil {
			return fmt.Errorf("adding to %s: %w", sql.table, err)
		}
		if err := t.put(ctx, sql, rowsOf[R, P](put)); err != nil {
			return fmt.Errorf("changing %s: %w", sql.table, err)
		}
		for _, first := range wipes {
			if err := t.do(ctx, fmt.Sprintf("DELETE FROM %s WHERE %s = $1", sql.table, sql.columns[0]), first); err != nil {
				return err
			}
		}
		return nil
	}
}

func rowsOf[R any, P columned[R]](rows []R) rowSource {
	return rowSource{len(rows), func(i int) []any { return P(&rows[i]).fields() }}
}

// A journal is a part whose rows are only ever added.
type journal[R any, P columned[R]] struct {
	sql  *tableSQL
	rows []R
}

func newJournal[R any, P columned[R]](s *shape, in place) *journal[R, P] {
	return &journal[R, P]{sql: s.sql(in.suffix)}
}

func (j *journal[R, P]) add(row R)    { j.rows = append(j.rows, row) }
func (j *journal[R, P]) changes() int { return len(j.rows) }
func (j *journal[R, P]) forget()      { j.rows = nil }

func (j *journal[R, P]) take() writes {
	rows, sql := j.rows, j.sql
	j.rows = nil
	return func(ctx context.Context, t transaction) error {
		if err := t.add(ctx, sql, rowsOf[R, P](rows)); err != nil {
			return fmt.Errorf("adding to %s: %w", sql.table, err)
		}
		return nil
	}
}
