package projections

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"roster/domain"
)

// auditLabelCache remembers labels, which never change: one stands for what an
// event at one place said. It holds them as the tables do, sealed. Only when
// the tables are made anew may they differ from before, so that each belongs to
// a generation of the tables.
type auditLabelCache struct {
	labels     *otter.Cache[int64, cachedLabel]
	generation atomic.Int64
}

type cachedLabel struct {
	auditLabel
	generation int64
}

// cachedLabels is how many labels are remembered, about 400 bytes each.
const cachedLabels = 20_000

func newAuditLabelCache() *auditLabelCache {
	return &auditLabelCache{labels: otter.Must(&otter.Options[int64, cachedLabel]{MaximumSize: cachedLabels})}
}

// of puts the labels of entries into labels. The generation is what it was
// before the entries were read.
func (c *auditLabelCache) of(ctx context.Context, q querier, generation int64, found []auditFound, opened *openedLabels) error {
	var missing []int64
	labels := make(map[int64]*openedLabel, len(found))
	opened.labels = labels
	slab := make([]openedLabel, 0, len(found)) // a label each, as a rule
	for i := range found {
		for _, given := range [...]int64{found[i].actorLabel, found[i].behalfLabel, found[i].targetLabel} {
			if given == 0 || labels[given] != nil {
				continue
			}
			label, ok := c.labels.GetIfPresent(given)
			if !ok || label.generation != generation {
				missing = append(missing, given)
			}
			if len(slab) == cap(slab) {
				slab = make([]openedLabel, 0, len(found))
			}
			slab = append(slab, openedLabel{auditLabel: label.auditLabel})
			labels[given] = &slab[len(slab)-1]
		}
	}
	for some := range slices.Chunk(missing, labelsAtOnce) {
		if err := c.read(ctx, q, generation, some, labels); err != nil {
			return err
		}
	}
	return nil
}

// labelsAtOnce is how many are read by one statement, which always has so many
// arguments, so that it stays prepared.
const labelsAtOnce = 16

var labelsQuery = "SELECT given, name, email FROM audit_labels WHERE given IN (" + arguments(1, labelsAtOnce) + ")"

func (c *auditLabelCache) read(ctx context.Context, q querier, generation int64, some []int64, labels map[int64]*openedLabel) error {
	args := make([]any, labelsAtOnce)
	for i := range args {
		args[i] = some[min(i, len(some)-1)]
	}
	return q.query(ctx, labelsQuery, args, func(r row) error {
		var label auditLabel
		if err := r.scan(&label.Given, &label.Name, &label.Email); err != nil {
			return err
		}
		labels[label.Given].auditLabel = label
		c.labels.Set(label.Given, cachedLabel{label, generation})
		return nil
	})
}

// openedLabels opens the labels of one page, each of them once.
type openedLabels struct {
	opener Opener
	labels map[int64]*openedLabel
}

type openedLabel struct {
	auditLabel
	name, email             string // in plain
	nameOpened, emailOpened bool
}

// actor gives the name and the address of who did something.
func (l *openedLabels) actor(ctx context.Context, given int64, kind domain.ActorType, id string) (name, email string, err error) {
	label := l.labels[given]
	switch {
	case kind == domain.ActorSystem:
		return systemName(id), "", nil
	case label == nil:
		return "", "", nil
	case kind != domain.ActorUser:
		return label.Name, "", nil
	}
	if err := l.openName(ctx, label, nameContext, id); err != nil {
		return "", "", err
	}
	if !label.emailOpened {
		if label.email, err = open(ctx, l.opener, domain.Sealed(label.Email), emailContext(id)); err != nil {
			return "", "", fmt.Errorf("projections: opening %s: %w", emailContext(id), err)
		}
		label.emailOpened = true
	}
	return label.name, label.email, nil
}

// target gives the name of what something was done to.
func (l *openedLabels) target(ctx context.Context, given int64, kind, id string) (string, error) {
	label := l.labels[given]
	if label == nil {
		return "", nil
	}
	place := nameContext
	switch kind {
	case "member":
	case "invitation":
		place = emailContext // it goes by the address
	default:
		return label.Name, nil
	}
	err := l.openName(ctx, label, place, id)
	return label.name, err
}

func (l *openedLabels) openName(ctx context.Context, label *openedLabel, place func(string) string, id string) (err error) {
	if label.nameOpened {
		return nil
	}
	if label.name, err = open(ctx, l.opener, domain.Sealed(label.Name), place(id)); err != nil {
		return fmt.Errorf("projections: opening %s: %w", place(id), err)
	}
	label.nameOpened = true
	return nil
}
