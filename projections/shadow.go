package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"roster/eventstore"
)

// A shadow is read models being made anew in tables of their own, from the
// first commit on.
type shadow struct {
	p        *Projections
	folds    []*shadowFold
	position uint64 // up to which the stream has been applied

	chain   *eventstore.Chain // checked on the way; nil: not
	broken  []string
	decoded uint64 // the last position that was read
	damage  error  // why nothing after decoded can be applied

	progress Progress
	total    uint64 // for progress
}

type shadowFold struct {
	model      *model
	fold       fold
	generation int64 // that the tables have once they are live
	started    time.Time
}

const (
	shadowSuffix = "_rebuild"

	// shadowRows is how many rows of each table are remembered, twice that at
	// most: about 100 MiB when all are full.
	shadowRows = 50_000

	// shadowFlush is how many changed rows are written in one transaction.
	// With SQLite the live projector waits that long: about 30 ms.
	shadowFlush = 4000

	// stall is how long the stream may be silent before the end is reached.
	stall = 30 * time.Second

	// maxBroken is how many breaks are reported.
	maxBroken = 20
)

// newShadow makes empty tables beside the live ones, in place of any that a
// rebuild left behind.
func (p *Projections) newShadow(ctx context.Context, wanted []*model, progress Progress) (*shadow, error) {
	checkpoints, err := p.checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	s := &shadow{p: p, progress: progress}
	for _, m := range wanted {
		s.folds = append(s.folds, &shadowFold{
			model: m, fold: m.fold(p.opener, place{reads: p.db, suffix: shadowSuffix, rows: shadowRows}),
			generation: checkpoints[m.name].generation + 1, started: time.Now(),
		})
	}
	err = p.db.arrange(ctx, func(t transaction) error {
		if err := dropShadows(ctx, t); err != nil {
			return err
		}
		for _, f := range s.folds {
			for _, shape := range f.model.shapes {
				if err := t.do(ctx, shape.create(shadowSuffix, p.db.types())); err != nil {
					return err
				}
				if shape.journal {
					continue // rows are only added: every index is made afterwards
				}
				for _, sql := range shape.keyIndex(shadowSuffix, f.generation) {
					if err := t.do(ctx, sql); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("projections: making tables beside the live ones: %w", err)
	}
	return s, nil
}

func dropShadows(ctx context.Context, t transaction) error {
	for _, m := range models {
		for _, shape := range m.shapes {
			if err := t.do(ctx, "DROP TABLE IF EXISTS "+shape.name+shadowSuffix); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop removes the tables, also after ctx has ended.
func (s *shadow) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return s.p.db.arrange(ctx, func(t transaction) error { return dropShadows(ctx, t) })
}

// load reads the stream from the beginning up to the position that the live
// tables have reached, and makes what is needed to compare the two.
func (s *shadow) load(ctx context.Context, source Source) error {
	target, err := s.target(ctx)
	if err != nil {
		return err
	}
	s.total = target
	if err := s.read(ctx, source, target, true); err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	for _, f := range s.folds {
		for _, shape := range f.model.shapes {
			if shape.journal {
				if err := s.index(ctx, shape.keyIndex(shadowSuffix, f.generation)); err != nil {
					return err
				}
			}
			if err := s.p.db.analyze(ctx, shape.name+shadowSuffix); err != nil {
				return fmt.Errorf("projections: analyzing %s: %w", shape.name, err)
			}
		}
	}
	return s.approach(ctx, source)
}

// approach comes close to the live tables again, so that the next step, for
// which they wait, is short.
func (s *shadow) approach(ctx context.Context, source Source) error {
	target, err := s.target(ctx)
	if err != nil {
		return err
	}
	if err := s.read(ctx, source, target, true); err != nil {
		return err
	}
	return s.flush(ctx)
}

// indexAll makes the indexes that only readers need.
func (s *shadow) indexAll(ctx context.Context) error {
	for _, f := range s.folds {
		for _, shape := range f.model.shapes {
			if err := s.index(ctx, shape.otherIndexes(shadowSuffix, f.generation)); err != nil {
				return err
			}
		}
	}
	return nil
}

// index runs each statement on its own, so that the live projector gets its
// turn.
func (s *shadow) index(ctx context.Context, statements []string) error {
	for _, sql := range statements {
		if err := s.p.db.index(ctx, sql); err != nil {
			return fmt.Errorf("projections: making an index: %w", err)
		}
	}
	return nil
}

// target is the position that the live tables have reached by now.
func (s *shadow) target(ctx context.Context) (uint64, error) {
	checkpoints, err := s.p.checkpoints(ctx)
	if err != nil {
		return 0, err
	}
	return s.live(checkpoints)
}

// live is the position of the live tables.
func (s *shadow) live(checkpoints map[string]checkpoint) (uint64, error) {
	var target uint64
	for i, f := range s.folds {
		c := checkpoints[f.model.name]
		if c.generation+1 != f.generation {
			return 0, fmt.Errorf("projections: the tables of %s were made anew by another process meanwhile", f.model.name)
		}
		if i > 0 && c.position != target {
			return 0, errors.New("projections: the read models are filled up to different positions; let the projector catch up first, or rebuild them one by one")
		}
		target = c.position
	}
	return target, nil
}

// damaged is an error of the stream itself.
type damaged string

func (d damaged) Error() string { return "projections: " + string(d) }

// errReached ends following.
var errReached = errors.New("projections: reached")

// read applies the stream from where it is up to a position. With flushing, rows
// are written whenever there are enough of them. Decoding, applying and writing
// run side by side: a row that is still to be written is in memory meanwhile,
// since far more rows are remembered than wait to be written.
func (s *shadow) read(ctx context.Context, source Source, to uint64, flushing bool) error {
	if s.position >= to {
		return nil
	}
	last, err := source.LastPosition(ctx)
	if err != nil {
		return err
	}
	if last < to {
		return damaged(fmt.Sprintf("the tables are filled up to position %d, but the event store ends at %d: it isn't the one that they were filled from, or it has lost events", to, last))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(stall, func() {
		cancel(fmt.Errorf("projections: the event store has given nothing for %v", stall))
	})
	defer silent.Stop()

	batches := make(chan []eventstore.Commit, 2)
	followed := make(chan error, 1)
	go func() {
		defer close(batches)
		followed <- source.FollowRaw(ctx, s.position, func(ctx context.Context, messages []eventstore.Message) error {
			silent.Stop()
			commits, err := s.decode(messages, to)
			if len(commits) > 0 {
				select {
				case batches <- commits:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if err == nil && messages[len(messages)-1].Position >= to {
				err = errReached
			}
			if err == nil {
				silent.Reset(stall)
			}
			return err
		})
	}()
	sets := make(chan writes, 1)
	written := make(chan error, 1)
	go func() {
		var failed error
		for set := range sets {
			if failed == nil {
				if failed = s.p.db.write(ctx, func(t transaction) error { return set(ctx, t) }); failed != nil {
					cancel(failed)
				}
			}
		}
		written <- failed
	}()
	var failed error
	for commits := range batches {
		if failed != nil || ctx.Err() != nil {
			continue
		}
		if failed = s.apply(ctx, commits); failed != nil {
			cancel(failed)
		} else if flushing && s.changes() >= shadowFlush {
			sets <- s.take()
		}
	}
	close(sets)
	failed = cmp.Or(<-written, failed)
	err = <-followed
	switch {
	case failed != nil:
		return failed
	case errors.Is(err, errReached):
		s.position = to
		return s.damage
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	}
	return err
}

// decode gives the commits up to a position, and checks the chain. With a
// chain it goes on after damage, to find the rest of it, but gives no more
// commits.
func (s *shadow) decode(messages []eventstore.Message, to uint64) ([]eventstore.Commit, error) {
	commits := make([]eventstore.Commit, 0, len(messages))
	for i := range messages {
		m := &messages[i]
		if m.Position > to {
			break
		}
		if s.chain != nil {
			for _, fault := range s.chain.Add(m) {
				if len(s.broken) < maxBroken {
					s.broken = append(s.broken, fault.String())
				}
			}
		}
		commit, err := m.Decode()
		switch {
		case s.damage != nil:
		case m.Position != s.decoded+1:
			s.damage = damaged(fmt.Sprintf("positions %d to %d are missing from the event store", s.decoded+1, m.Position-1))
		case err != nil:
			s.damage = damaged(fmt.Sprintf("the commit at position %d can't be read: %v", m.Position, err))
		default:
			commits = append(commits, commit)
		}
		s.decoded = m.Position
		if s.damage != nil && s.chain == nil {
			return commits, s.damage
		}
	}
	return commits, nil
}

func (s *shadow) apply(ctx context.Context, commits []eventstore.Commit) error {
	for i := range commits {
		for _, f := range s.folds {
			if err := f.fold.apply(ctx, &commits[i]); err != nil {
				return &applyError{f.model.name, commits[i].Position, err}
			}
		}
	}
	s.position = commits[len(commits)-1].Position
	s.progress(min(s.position, s.total), s.total)
	return nil
}

func (s *shadow) changes() int {
	n := 0
	for _, f := range s.folds {
		for _, part := range f.fold.parts() {
			n += part.changes()
		}
	}
	return n
}

// take gives what has changed in all models.
func (s *shadow) take() writes {
	all := make([]writes, len(s.folds))
	for i, f := range s.folds {
		all[i] = takeAll(f.fold)
	}
	return func(ctx context.Context, t transaction) error {
		for i, write := range all {
			if err := write(ctx, t); err != nil {
				return fmt.Errorf("projections: %s: %w", s.folds[i].model.name, err)
			}
		}
		return nil
	}
}

// flush writes what has changed, in one transaction.
func (s *shadow) flush(ctx context.Context) error {
	if s.changes() == 0 {
		return nil
	}
	set := s.take()
	return s.p.db.write(ctx, func(t transaction) error { return set(ctx, t) })
}
