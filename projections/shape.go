package projections

import (
	"fmt"
	"strings"
)

// A shape is a table of a read model: its columns, its key and its indexes.
// The same shape makes the live table and the one that a rebuild fills beside
// it.
type shape struct {
	name    string
	columns []column
	keys    int // the first so many columns identify a row
	indexes []index
	journal bool // rows are only ever added
}

type column struct {
	name string
	text bool // TEXT; else BIGINT
}

// An index beside the one of the key.
type index struct {
	columns string
	where   string // of a partial index; may be empty
}

// newJournalShape is newShape for a table whose rows are only ever added.
func newJournalShape(name string, keys int, columns string, indexes ...index) *shape {
	s := newShape(name, keys, columns, indexes...)
	s.journal = true
	return s
}

// newShape reads the columns from a list such as "team_id TEXT, position
// BIGINT". The first keys of them are the key.
func newShape(name string, keys int, columns string, indexes ...index) *shape {
	s := &shape{name: name, keys: keys, indexes: indexes}
	for _, definition := range strings.Split(columns, ",") {
		words := strings.Fields(definition)
		if len(words) != 2 || (words[1] != "TEXT" && words[1] != "BIGINT") {
			panic(fmt.Sprintf("projections: table %s: %q is no column", name, definition))
		}
		s.columns = append(s.columns, column{name: words[0], text: words[1] == "TEXT"})
	}
	return s
}

func (s *shape) columnNames() []string {
	names := make([]string, len(s.columns))
	for i, column := range s.columns {
		names[i] = column.name
	}
	return names
}

func (s *shape) keyNames() []string { return s.columnNames()[:s.keys] }

// sqlTypes are the types of columns in one of the databases.
type sqlTypes struct {
	text   string // ordered by its bytes, so that both databases sort alike
	number string // of a row, which finds it without an index beside the table
}

// numbered tells whether rows are found by one number.
func (s *shape) numbered() bool { return s.keys == 1 && !s.columns[0].text }

// create is the statement that makes the table.
func (s *shape) create(suffix string, types sqlTypes) string {
	lines := make([]string, len(s.columns))
	for i, column := range s.columns {
		kind := "BIGINT NOT NULL"
		if column.text {
			kind = types.text + " NOT NULL"
		}
		if i == 0 && s.numbered() {
			kind = types.number + " PRIMARY KEY"
		}
		lines[i] = "\t" + column.name + " " + kind
	}
	return fmt.Sprintf("CREATE TABLE %s (\n%s\n)", s.name+suffix, strings.Join(lines, ",\n"))
}

// keyIndex are the statements that make the index of the key. Names of indexes
// are those of a generation of the table, since they stay with a table that is
// renamed.
func (s *shape) keyIndex(suffix string, generation int64) []string {
	if s.numbered() {
		return nil
	}
	return []string{fmt.Sprintf("CREATE UNIQUE INDEX %s_key_g%d ON %s (%s)",
		s.name, generation, s.name+suffix, strings.Join(s.keyNames(), ", "))}
}

// otherIndexes are the statements that make the indexes beside the key's.
func (s *shape) otherIndexes(suffix string, generation int64) []string {
	var statements []string
	for i, index := range s.indexes {
		statement := fmt.Sprintf("CREATE INDEX %s_%d_g%d ON %s (%s)", s.name, i+1, generation, s.name+suffix, index.columns)
		if index.where != "" {
			statement += " WHERE " + index.where
		}
		statements = append(statements, statement)
	}
	return statements
}

// tableSQL is the SQL of one table of a shape.
type tableSQL struct {
	shape   *shape
	table   string   // name in the database
	columns []string // their names
	inserts string   // INSERT INTO … VALUES, without the values
	replace string   // ON CONFLICT …, to be put behind the values
	add     string   // adds one row
	put     string   // adds or replaces one row
	addMany string   // adds rowsPerStatement rows
	putMany string   // adds or replaces so many rows
	remove  string   // removes the row of a key
	get     string   // gives the row of a key
}

func (s *shape) sql(suffix string) *tableSQL {
	t := &tableSQL{shape: s, table: s.name + suffix, columns: s.columnNames()}
	t.inserts = fmt.Sprintf("INSERT INTO %s (%s) VALUES ", t.table, strings.Join(t.columns, ", "))
	var sets []string
	for _, name := range t.columns[s.keys:] {
		sets = append(sets, name+" = excluded."+name)
	}
	t.replace = fmt.Sprintf(" ON CONFLICT (%s) DO UPDATE SET %s", strings.Join(s.keyNames(), ", "), strings.Join(sets, ", "))
	if len(sets) == 0 {
		t.replace = fmt.Sprintf(" ON CONFLICT (%s) DO NOTHING", strings.Join(s.keyNames(), ", "))
	}
	t.add = t.insert(1, false)
	t.put = t.insert(1, true)
	t.addMany = t.insert(rowsPerStatement, false)
	t.putMany = t.insert(rowsPerStatement, true)
	where := make([]string, s.keys)
	for i, name := range s.keyNames() {
		where[i] = fmt.Sprintf("%s = $%d", name, i+1)
	}
	key := strings.Join(where, " AND ")
	t.remove = fmt.Sprintf("DELETE FROM %s WHERE %s", t.table, key)
	t.get = fmt.Sprintf("SELECT %s FROM %s WHERE %s", strings.Join(t.columns, ", "), t.table, key)
	return t
}

// insert is the statement that adds (or replaces) so many rows at once.
func (t *tableSQL) insert(rows int, replace bool) string {
	var b strings.Builder
	b.WriteString(t.inserts)
	n := 0
	for i := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('(')
		for j := range t.columns {
			if j > 0 {
				b.WriteString(", ")
			}
			n++
			fmt.Fprintf(&b, "$%d", n)
		}
		b.WriteByte(')')
	}
	if replace {
		b.WriteString(t.replace)
	}
	return b.String()
}

// statement adds (or replaces) rows: one, or rowsPerStatement of them.
func (t *tableSQL) statement(rows int, replace bool) string {
	switch {
	case rows == 1 && replace:
		return t.put
	case rows == 1:
		return t.add
	case replace:
		return t.putMany
	}
	return t.addMany
}

// rowsPerStatement is how many rows one statement changes where a round trip
// costs more than a row.
const rowsPerStatement = 64
