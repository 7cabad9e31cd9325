package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"roster/eventstore"
)

// Rebuild makes read models anew from the first commit on, beside the live
// ones, which go on being read and filled. When it has caught up with them it
// compares the two row for row at one position, and then the new tables take
// the place of the live ones. No name means all. The reports say what was
// wrong with the tables that were replaced.
//
// It may run in another process than the one that projects, with PostgreSQL;
// one at a time.
func (p *Projections) Rebuild(ctx context.Context, source Source, names []string, progress Progress) ([]Report, error) {
	wanted := models
	if len(names) > 0 {
		wanted = nil
		for _, name := range names {
			m := modelNamed(name)
			if m == nil {
				return nil, fmt.Errorf("projections: there is no read model %q; there are %s", name, strings.Join(p.Models(), ", "))
			}
			if !slices.Contains(wanted, m) {
				wanted = append(wanted, m)
			}
		}
	}
	var reports []Report
	err := p.besides(ctx, source, wanted, nil, progress, func(s *shadow) error {
		// Comparing needs no index beside the keys'.
		both, joint := errgroup.WithContext(ctx)
		both.Go(func() error { return s.indexAll(joint) })
		both.Go(func() (err error) {
			reports, err = s.compare(joint, source)
			return err
		})
		if err := both.Wait(); err != nil {
			return err
		}
		if err := s.approach(ctx, source); err != nil {
			return err
		}
		return s.swap(ctx, source)
	}, func(*shadow) {})
	if err == nil {
		_, err = p.checkpoints(ctx) // by which what is remembered of the old tables is out of date
	}
	return reports, err
}

// Verify makes every read model anew beside the live one and compares the two
// row for row, as Rebuild does, but leaves the live tables as they are. On the
// way it checks that the stream has no gap and that every hash is right.
func (p *Projections) Verify(ctx context.Context, source Source, progress Progress) (*Verification, error) {
	v := &Verification{}
	chain := &eventstore.Chain{}
	err := p.besides(ctx, source, models, chain, progress, func(s *shadow) error {
		var err error
		v.Reports, err = s.compare(ctx, source)
		return err
	}, func(s *shadow) { v.Commits, v.Broken = s.decoded, s.broken })
	var damage damaged
	if errors.As(err, &damage) {
		v.Broken = append(v.Broken, damage.Error())
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// besides runs use with tables filled beside the live ones, and after in any
// case.
func (p *Projections) besides(ctx context.Context, source Source, wanted []*model, chain *eventstore.Chain, progress Progress, use func(*shadow) error, after func(*shadow)) error {
	return p.db.alone(ctx, func(ctx context.Context) (err error) {
		s, err := p.newShadow(ctx, wanted, progress)
		if err != nil {
			return err
		}
		s.chain = chain
		defer func() { after(s) }()
		defer func() { err = errors.Join(err, s.drop(ctx)) }()
		if err := p.db.loading(ctx, true); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.db.loading(context.WithoutCancel(ctx), false)) }()
		if err := s.load(ctx, source); err != nil {
			return err
		}
		return use(s)
	})
}

// compare catches up with the live tables and compares, at one position of
// both, while the live ones go on.
func (s *shadow) compare(ctx context.Context, source Source) ([]Report, error) {
	for {
		reports, err := s.compareOnce(ctx, source)
		if !errors.Is(err, errMoved) {
			return reports, err
		}
	}
}

// errMoved means that the live tables were written to by a process that
// doesn't share the locks of this one.
var errMoved = errors.New("projections: the checkpoint moved")

func (s *shadow) compareOnce(ctx context.Context, source Source) ([]Report, error) {
	var reports []Report
	err := s.p.db.snapshot(ctx, func(t transaction) error {
		checkpoints, err := readCheckpoints(ctx, t)
		if err != nil {
			return err
		}
		target, err := s.live(checkpoints)
		if err != nil {
			return err
		}
		if err := s.read(ctx, source, target, false); err != nil {
			return err
		}
		return s.take()(ctx, t)
	}, func(q querier) error {
		checkpoints, err := readCheckpoints(ctx, q)
		if err != nil {
			return err
		}
		for _, f := range s.folds {
			at := checkpoints[f.model.name].position
			if at != s.position {
				return errMoved
			}
			report, err := f.model.compare(ctx, q)
			if err != nil {
				return fmt.Errorf("projections: comparing %s: %w", f.model.name, err)
			}
			report.Position, report.Duration = at, time.Since(f.started)
			reports = append(reports, report)
		}
		return nil
	})
	return reports, err
}

// swapTries is how often the live tables are asked for. With PostgreSQL they
// can only be dropped when no long query is reading them.
const swapTries = 5

// swap puts the new tables in the place of the live ones, at the position that
// those have reached by then.
func (s *shadow) swap(ctx context.Context, source Source) error {
	var err error
	for range swapTries {
		taken := false
		err = s.p.db.arrange(ctx, func(t transaction) error {
			if err := s.takeLive(ctx, t); err != nil {
				return err
			}
			taken = true
			return s.replaceLive(ctx, t, source)
		})
		if err == nil {
			s.p.log.Info("read models were rebuilt", "position", s.position)
			return nil
		}
		if taken || ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("projections: putting the new tables in place: %w", err)
}

// takeLive drops the live tables. From here on nobody else moves their
// checkpoints, and whoever reads them waits.
func (s *shadow) takeLive(ctx context.Context, t transaction) error {
	for _, f := range s.folds {
		changed, err := t.exec(ctx, "UPDATE projection_checkpoints SET generation = $1 WHERE model = $2 AND generation = $3",
			f.generation, f.model.name, f.generation-1)
		if err != nil {
			return err
		}
		if changed != 1 {
			return fmt.Errorf("the tables of %s were made anew by another process meanwhile", f.model.name)
		}
		for _, shape := range f.model.shapes {
			if err := t.do(ctx, "DROP TABLE "+shape.name); err != nil {
				return err
			}
		}
	}
	return t.send(ctx)
}

// replaceLive catches up with the tables that were dropped and takes their
// names.
func (s *shadow) replaceLive(ctx context.Context, t transaction, source Source) error {
	checkpoints, err := readCheckpoints(ctx, t)
	if err != nil {
		return err
	}
	target := s.position
	for _, f := range s.folds {
		target = max(target, checkpoints[f.model.name].position)
	}
	if err := s.read(ctx, source, target, false); err != nil {
		return err
	}
	if err := s.take()(ctx, t); err != nil {
		return err
	}
	for _, f := range s.folds {
		for _, shape := range f.model.shapes {
			if err := t.do(ctx, fmt.Sprintf("ALTER TABLE %s%s RENAME TO %s", shape.name, shadowSuffix, shape.name)); err != nil {
				return err
			}
		}
		if err := t.do(ctx, "UPDATE projection_checkpoints SET position = $1 WHERE model = $2", int64(target), f.model.name); err != nil {
			return err
		}
	}
	return t.announce(ctx)
}
