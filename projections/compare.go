package projections

import (
	"context"
	"fmt"
	"strings"
)

// maxSamples is how many differences of one model are named.
const maxSamples = 5

// compare compares the live tables of the model with those beside them, row
// for row, in one state of the database.
func (m *model) compare(ctx context.Context, q querier) (Report, error) {
	report := Report{Model: m.name}
	for _, s := range m.shapes {
		if err := s.compare(ctx, q, &report); err != nil {
			return Report{}, fmt.Errorf("table %s: %w", s.name, err)
		}
	}
	return report, nil
}

func (s *shape) compare(ctx context.Context, q querier, report *Report) error {
	var live, made, same int64
	if _, err := one(ctx, q, "SELECT count(*) FROM "+s.name, nil, &live); err != nil {
		return err
	}
	if _, err := one(ctx, q, "SELECT count(*) FROM "+s.name+shadowSuffix, nil, &made); err != nil {
		return err
	}
	if _, err := one(ctx, q, fmt.Sprintf("SELECT count(*) FROM %s%s n JOIN %s l ON %s WHERE NOT (%s)",
		s.name, shadowSuffix, s.name, s.matches(), s.differs()), nil, &same); err != nil {
		return err
	}
	report.Rows += made
	if live == same && made == same {
		return nil
	}
	for _, look := range []struct{ what, sql string }{
		{"missing", fmt.Sprintf("SELECT %s FROM %s%s n LEFT JOIN %s l ON %s WHERE l.%s IS NULL",
			s.keyText("n"), s.name, shadowSuffix, s.name, s.matches(), s.columns[0].name)},
		{"surplus", fmt.Sprintf("SELECT %s FROM %s l LEFT JOIN %s%s n ON %s WHERE n.%s IS NULL",
			s.keyText("l"), s.name, s.name, shadowSuffix, s.matches(), s.columns[0].name)},
		{"different", fmt.Sprintf("SELECT %s, %s FROM %s%s n JOIN %s l ON %s WHERE %s",
			s.keyText("n"), s.flags(), s.name, shadowSuffix, s.name, s.matches(), s.differs())},
	} {
		err := q.query(ctx, look.sql, nil, func(r row) error {
			report.Differences++
			if len(report.Samples) >= maxSamples {
				return nil
			}
			d, err := s.difference(r, look.what)
			report.Samples = append(report.Samples, d)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// matches says that two rows have the same key.
func (s *shape) matches() string {
	conditions := make([]string, s.keys)
	for i, name := range s.keyNames() {
		conditions[i] = fmt.Sprintf("l.%s = n.%s", name, name)
	}
	return strings.Join(conditions, " AND ")
}

// differs says that two rows of the same key are not the same.
func (s *shape) differs() string {
	conditions := []string{"1 = 0"}
	for _, name := range s.columnNames()[s.keys:] {
		conditions = append(conditions, fmt.Sprintf("l.%s <> n.%s", name, name))
	}
	return strings.Join(conditions, " OR ")
}

// flags says for every column beside the key whether it differs.
func (s *shape) flags() string {
	flags := make([]string, 0, len(s.columns))
	for _, name := range s.columnNames()[s.keys:] {
		flags = append(flags, fmt.Sprintf("CASE WHEN l.%s <> n.%s THEN 1 ELSE 0 END", name, name))
	}
	return strings.Join(flags, ", ")
}

func (s *shape) keyText(alias string) string {
	texts := make([]string, s.keys)
	for i, name := range s.keyNames() {
		texts[i] = fmt.Sprintf("CAST(%s.%s AS TEXT)", alias, name)
	}
	return strings.Join(texts, ", ")
}

// difference names the row.
func (s *shape) difference(r row, what string) (Difference, error) {
	keys := make([]string, s.keys)
	flags := make([]int64, len(s.columns)-s.keys)
	var dest []any
	for i := range keys {
		dest = append(dest, &keys[i])
	}
	if what == "different" {
		for i := range flags {
			dest = append(dest, &flags[i])
		}
	}
	if err := r.scan(dest...); err != nil {
		return Difference{}, err
	}
	d := Difference{Table: s.name, What: what}
	names := s.columnNames()
	for i := range keys {
		keys[i] = names[i] + "=" + keys[i]
	}
	d.Key = strings.Join(keys, " ")
	for i, flag := range flags {
		if flag != 0 {
			d.Columns = append(d.Columns, names[s.keys+i])
		}
	}
	return d, nil
}
