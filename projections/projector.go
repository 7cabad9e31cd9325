package projections

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"roster/eventstore"
)

const (
	// cachedRows is how many rows of each table the projector remembers, twice
	// that at most: about 20 MiB when all are full.
	cachedRows = 10_000

	// After a transaction the projector rests, for five times as long as the
	// transaction took within these limits, unless somebody waits for it. A
	// transaction costs as much as some ten commits in it, and commits of one team
	// change the same pages; so when commits gather, the busier the machine is, the
	// less of it projecting takes. What comes alone isn't held up at all, and no
	// reader sees the difference, since each waits for what was done to what they
	// read. But a reader in another process can't end the rest, so that it is
	// always short where there may be any. At 2,500 invitations a second, a
	// longest rest of 100 ms lets a third more of them through than one of 4 ms;
	// longer gains little, and makes transactions of more than 30 ms, for whose end
	// a reader may have to wait.
	restForWork       = 5
	shortestRest      = 4 * time.Millisecond
	longestRestAlone  = 100 * time.Millisecond
	longestRestShared = shortestRest

	// After a failure the projector tries again, sooner at first.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// errFenced means that somebody else has moved a checkpoint: another projector
// or a rebuild. What is in memory is out of date.
var errFenced = errors.New("projections: a checkpoint was moved by another process")

// applyError is a commit that can't be applied to a read model.
type applyError struct {
	model    string
	position uint64
	err      error
}

func (e *applyError) Error() string {
	return fmt.Sprintf("projections: %s can't apply the commit at position %d: %v", e.model, e.position, e.err)
}

func (e *applyError) Unwrap() error { return e.err }

// Run fills the read models from the source until ctx ends, and then returns
// nil. With PostgreSQL one process fills them and the others stand by, ready to
// take over within about a second.
//
// What goes wrong shows in State and in the log and is tried again: a database
// that is back, or a read model that was rebuilt, needs no restart. A commit
// that can't be applied stops all read models just before it.
func (p *Projections) Run(ctx context.Context, source Source) error {
	pause := firstRetry
	for {
		before := p.Position()
		err := p.db.lead(ctx, p.look, func(ctx context.Context) error { return p.project(ctx, source) })
		p.setProjecting(false)
		if ctx.Err() != nil {
			return nil
		}
		if p.Position() > before {
			pause = firstRetry
		}
		p.fail(err)
		retry := time.NewTimer(pause)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil
		}
		pause = min(2*pause, lastRetry)
	}
}

// look learns from the database how far another process has come.
func (p *Projections) look(ctx context.Context) error {
	checkpoints, err := p.checkpoints(ctx)
	if err != nil {
		return err
	}
	p.progress.advance(lowest(checkpoints))
	p.succeed()
	return nil
}

func (p *Projections) setProjecting(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.projecting = on
}

func (p *Projections) succeed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		p.log.Info("projecting goes on", "position", p.progress.at())
	}
	p.failure = nil
}

func (p *Projections) fail(err error) {
	failure := Failure{Text: "the event store or the database has stopped answering", Since: time.Now()}
	if err != nil {
		failure.Text = err.Error()
	}
	var apply *applyError
	if errors.As(err, &apply) {
		failure.Model, failure.Position = apply.model, apply.position
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.failure; old != nil && old.Text == failure.Text {
		return // known, and logged
	}
	p.failure = &failure
	p.log.Error("projecting has stopped", "model", failure.Model, "position", failure.Position, "reason", failure.Text)
}

// project fills the read models, as the only one to do so.
func (p *Projections) project(ctx context.Context, source Source) error {
	if err := p.ensure(ctx, false); err != nil {
		return err
	}
	p.setProjecting(true)
	for {
		run, err := p.newRun(ctx)
		if err != nil {
			return err
		}
		p.progress.advance(run.position())
		if err := source.Follow(ctx, run.position(), run.handle); !errors.Is(err, errFenced) {
			return err
		}
		p.log.Info("reading the checkpoints again: a read model was rebuilt, or another process projects")
	}
}

// A run is a stretch of projecting from what the checkpoints say.
type run struct {
	p     *Projections
	folds []*running
}

// running is a read model that is being filled.
type running struct {
	model      *model
	fold       fold
	position   uint64 // applied and committed
	generation int64
}

func (p *Projections) newRun(ctx context.Context) (*run, error) {
	checkpoints, err := p.checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	r := &run{p: p}
	for _, m := range models {
		c := checkpoints[m.name]
		r.folds = append(r.folds, &running{
			model: m, fold: m.fold(p.opener, place{reads: p.db, rows: cachedRows}),
			position: c.position, generation: c.generation,
		})
	}
	return r, nil
}

// position is where the model that is furthest behind stands.
func (r *run) position() uint64 {
	position := r.folds[0].position
	for _, f := range r.folds {
		position = min(position, f.position)
	}
	return position
}

// handle applies commits in one transaction or, if that fails, one by one up
// to the one that can't be applied.
func (r *run) handle(ctx context.Context, commits []eventstore.Commit) error {
	began := time.Now()
	err := r.apply(ctx, commits, false)
	if err != nil && !errors.Is(err, errFenced) && ctx.Err() == nil {
		for i := range commits {
			if err = r.apply(ctx, commits[i:i+1], true); err != nil {
				break
			}
		}
	}
	if err != nil && ctx.Err() == nil && r.fenced(ctx) {
		return errFenced // rows of a later state were looked at
	}
	if err != nil {
		return err
	}
	r.p.succeed()
	if len(commits) < eventstore.MostFollowed { // else more is there
		r.p.progress.rest(ctx, min(max(shortestRest, restForWork*time.Since(began)), r.p.db.longestRest()))
	}
	return nil
}

// fenced tells whether the checkpoints have moved.
func (r *run) fenced(ctx context.Context) bool {
	checkpoints, err := r.p.checkpoints(ctx)
	if err != nil {
		return false
	}
	for _, f := range r.folds {
		if c := checkpoints[f.model.name]; c.position != f.position || c.generation != f.generation {
			return true
		}
	}
	return false
}

// apply writes rows and checkpoints in one transaction, if the checkpoints are
// still what they were. If blame is set, the commits are one, and an error
// says which model can't apply it, for a few more round trips.
func (r *run) apply(ctx context.Context, commits []eventstore.Commit, blame bool) (err error) {
	defer func() {
		if err != nil {
			r.forget()
		}
	}()
	last := commits[len(commits)-1].Position
	var moving []*running
	for _, f := range r.folds {
		if f.position >= last {
			continue
		}
		moving = append(moving, f)
		for i := range commits {
			if commits[i].Position <= f.position {
				continue
			}
			if err := f.fold.apply(ctx, &commits[i]); err != nil {
				return &applyError{f.model.name, commits[i].Position, err}
			}
		}
	}
	if len(moving) == 0 {
		return nil
	}
	changed := make([]writes, len(moving))
	for i, f := range moving {
		changed[i] = takeAll(f.fold)
	}
	err = r.p.db.write(ctx, func(t transaction) error {
		// The checkpoints come first: whoever else is about to move them
		// waits here, before either holds a lock on a row or a table.
		if err := moveCheckpoints(ctx, t, moving, last); err != nil {
			return err
		}
		for i, f := range moving {
			err := changed[i](ctx, t)
			if err == nil && blame {
				err = t.send(ctx)
			}
			if err != nil && blame {
				err = &applyError{f.model.name, last, err}
			}
			if err != nil {
				return err
			}
		}
		return t.announce(ctx)
	})
	if err != nil {
		return err
	}
	for _, f := range moving {
		f.position = last
	}
	r.p.progress.advance(r.position())
	return nil
}

func (r *run) forget() {
	for _, f := range r.folds {
		for _, part := range f.fold.parts() {
			part.forget()
		}
	}
}

// moveCheckpoints compares and sets the checkpoints of models. It asks each of
// the few rows: for conditions with OR between, SQLite would make a temporary
// table, which takes a tenth of a small transaction.
func moveCheckpoints(ctx context.Context, t transaction, moving []*running, to uint64) error {
	args := []any{int64(to)}
	conditions := make([]string, len(moving))
	for i, f := range moving {
		n := len(args)
		conditions[i] = fmt.Sprintf("WHEN $%d THEN position = $%d AND generation = $%d", n+1, n+2, n+3)
		args = append(args, f.model.name, int64(f.position), f.generation)
	}
	changed, err := t.exec(ctx, "UPDATE projection_checkpoints SET position = $1 WHERE CASE model "+strings.Join(conditions, " ")+" ELSE FALSE END", args...)
	if err != nil {
		return err
	}
	if changed != int64(len(moving)) {
		return errFenced
	}
	return nil
}
