package projections

import (
	"context"
	"slices"

	"github.com/maypok86/otter/v2"
)

// auditLabelCache remembers labels, which never change: one stands for what an
// event at one place said, for good. It holds them as the tables do, sealed.
type auditLabelCache struct {
	labels *otter.Cache[int64, auditLabel]
}

// cachedLabels is how many labels are remembered, about 400 bytes each.
const cachedLabels = 20_000

func newAuditLabelCache() *auditLabelCache {
	return &auditLabelCache{otter.Must(&otter.Options[int64, auditLabel]{MaximumSize: cachedLabels})}
}

// of puts the labels of some rows into found.
func (c *auditLabelCache) of(ctx context.Context, q querier, rows []auditRow, found map[int64]auditLabel) error {
	var missing []int64
	for i := range rows {
		for _, given := range [...]int64{rows[i].ActorLabel, rows[i].BehalfLabel, rows[i].TargetLabel} {
			if _, ok := found[given]; ok || given == 0 {
				continue
			}
			label, ok := c.labels.GetIfPresent(given)
			if !ok {
				missing = append(missing, given)
			}
			found[given] = label
		}
	}
	for some := range slices.Chunk(missing, labelsAtOnce) {
		if err := c.read(ctx, q, some, found); err != nil {
			return err
		}
	}
	return nil
}

// labelsAtOnce is how many are read by one statement, which always has so many
// arguments, so that it stays prepared.
const labelsAtOnce = 16

var labelsQuery = "SELECT given, name, email FROM audit_labels WHERE given IN (" + arguments(1, labelsAtOnce) + ")"

func (c *auditLabelCache) read(ctx context.Context, q querier, some []int64, found map[int64]auditLabel) error {
	args := make([]any, labelsAtOnce)
	for i := range args {
		args[i] = some[min(i, len(some)-1)]
	}
	return q.query(ctx, labelsQuery, args, func(r row) error {
		var label auditLabel
		if err := r.scan(&label.Given, &label.Name, &label.Email); err != nil {
			return err
		}
		found[label.Given] = label
		c.labels.Set(label.Given, label)
		return nil
	})
}
