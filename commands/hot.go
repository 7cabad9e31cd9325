package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"roster/domain"
	"roster/eventstore"
)

// folder is the state of an aggregate that events are folded into.
type folder interface {
	Apply(domain.Event, domain.Meta)
}

// hot keeps the aggregates of one kind that are in use in memory, bounded in
// number. Dropping one costs a load, nothing else.
type hot[S folder] struct {
	kind    eventstore.Kind
	fresh   func(id string) S
	clone   func(S) S // nil where commands don't come in crowds
	store   *eventstore.Store
	shared  bool // other nodes write to the store as well
	entries *otter.Cache[string, *entry[S]]

	// folded is told of all commits that are folded into an aggregate, in order;
	// nil when nobody wants to know.
	folded func(id string, commits []eventstore.Commit)
}

// entry is one aggregate in memory.
type entry[S folder] struct {
	// turn is held by the one command, or load, that works on the aggregate.
	// Rivals within the process queue here instead of at the event store,
	// where each of them would lose and try again.
	turn     sync.Mutex
	pipeline pipeline[S]

	mu       sync.RWMutex // guards what follows
	state    S
	version  uint64
	position uint64
	hash     eventstore.Hash
	last     time.Time // of the last commit

	// seen is the highest version that is known to exist, as the event stream
	// tells it; above version, the state is out of date.
	seen atomic.Uint64
}

func newHot[S folder](store *eventstore.Store, shared bool, kind eventstore.Kind, size int, fresh func(id string) S) *hot[S] {
	return &hot[S]{
		kind: kind, fresh: fresh, store: store, shared: shared,
		entries: otter.Must(&otter.Options[string, *entry[S]]{MaximumSize: size}),
	}
}

func (h *hot[S]) stream(id string) eventstore.Stream {
	return eventstore.Stream{Kind: h.kind, ID: id}
}

// observe notes that a version exists. It is called for every commit of the
// stream, so it does next to nothing; whoever looks at the aggregate next
// catches up.
func (h *hot[S]) observe(id string, version uint64) {
	e, ok := h.entries.GetIfPresent(id)
	if !ok {
		return
	}
	for seen := e.seen.Load(); seen < version; seen = e.seen.Load() {
		if e.seen.CompareAndSwap(seen, version) {
			return
		}
	}
}

// forget drops everything, so that the next use folds anew.
func (h *hot[S]) forget() { h.entries.InvalidateAll() }

// position is that of the aggregate's last commit that this node knows; zero
// when it isn't in memory.
func (h *hot[S]) position(id string) uint64 {
	e, ok := h.entries.GetIfPresent(id)
	if !ok {
		return 0
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.position
}

func (h *hot[S]) entry(id string) *entry[S] {
	if e, ok := h.entries.GetIfPresent(id); ok {
		return e
	}
	id = strings.Clone(id) // it may be a piece of a large request, which the cache must not hold on to
	e, _ := h.entries.ComputeIfAbsent(id, func() (*entry[S], bool) {
		return &entry[S]{state: h.fresh(id)}, false
	})
	return e
}

// view runs look with the aggregate as it is now, under a read lock: look must
// not keep it and must not wait for anything.
func (h *hot[S]) view(ctx context.Context, id string, look func(state S, version, position uint64)) error {
	e := h.entry(id)
	heard := e.seen.Load() // what comes after this needn't be in the answer
	known := func() bool {
		e.mu.RLock()
		defer e.mu.RUnlock()
		if !e.knows(heard) {
			return false
		}
		look(e.state, e.version, e.position)
		return true
	}
	if known() {
		return nil
	}
	if b := e.pipeline.beingStored(); b != nil {
		// Most likely it is this that was heard of.
		select {
		case <-b.ended:
		case <-ctx.Done():
			return unavailable(ctx.Err())
		}
		if known() {
			return nil
		}
	}
	var err error
	e.take()
	if !e.current() { // of many who wait, only the first has to load
		_, err = h.refresh(ctx, id, e, h.store.Load)
	}
	e.turn.Unlock()
	if err != nil {
		return err
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	look(e.state, e.version, e.position)
	return nil
}

// ask runs look like view. When look refuses and other nodes may have been at
// work, it is run once more with what the leader has: no refusal is given on
// the strength of a state that may be out of date.
func (h *hot[S]) ask(ctx context.Context, id string, look func(state S, version, position uint64) error) error {
	var refusal error
	var seen uint64
	once := func(state S, version, position uint64) { refusal, seen = look(state, version, position), version }
	if err := h.view(ctx, id, once); err != nil || refusal == nil || !h.shared {
		return cmp.Or(err, refusal)
	}
	e := h.entry(id)
	e.take()
	_, err := h.refresh(ctx, id, e, h.store.CatchUp)
	moved := e.version != seen // by that, or by a command that had the turn before
	e.turn.Unlock()
	if err == nil && moved {
		err = h.view(ctx, id, once)
	}
	return cmp.Or(err, refusal)
}

// refresh folds what has been added since the aggregate was last looked at,
// and gives it. The caller holds the turn.
func (h *hot[S]) refresh(
	ctx context.Context, id string, e *entry[S],
	load func(context.Context, eventstore.Stream, uint64) ([]eventstore.Commit, error),
) ([]eventstore.Commit, error) {
	if e.version == 0 {
		load = h.store.Load // all of it, for which CatchUp would ask one by one
	}
	commits, err := load(ctx, h.stream(id), e.version)
	e.mu.Lock()
	for i := range commits {
		e.fold(&commits[i])
	}
	e.mu.Unlock()
	if h.folded != nil && len(commits) > 0 {
		h.folded(id, commits)
	}
	if e.version == 0 {
		// There is no such aggregate, or it isn't known whether there is:
		// guesses at ids must not push out the aggregates that are in use.
		h.entries.Invalidate(id)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return commits, nil
}

// take takes the turn once nothing is on its way.
func (e *entry[S]) take() {
	e.turn.Lock()
	e.pipeline.drain()
}

// knows tells whether the state is loaded, and no older than a version. The
// caller holds the read lock or the turn.
func (e *entry[S]) knows(version uint64) bool { return e.version > 0 && e.version >= version }

// current tells whether the state is loaded and nothing newer was heard of.
// The caller holds the read lock or the turn.
func (e *entry[S]) current() bool { return e.knows(e.seen.Load()) }

// fold applies one commit. The caller holds the write lock.
func (e *entry[S]) fold(commit *eventstore.Commit) {
	for i := range commit.Events {
		e.state.Apply(commit.Events[i].Event, commit.Meta(i))
	}
	e.version, e.position, e.hash, e.last = commit.Version, commit.Position, commit.Hash, commit.At
}

// append stores commits of an aggregate, after those of others that change with
// it, and folds them.
func (h *hot[S]) append(ctx context.Context, id string, e *entry[S], also []*eventstore.Commit, commits ...*eventstore.Commit) error {
	if err := h.store.Append(ctx, append(also, commits...)...); err != nil {
		if errors.Is(err, eventstore.ErrUnsettled) {
			h.entries.Invalidate(id) // what is in memory can't be trusted any more
		}
		return err
	}
	e.mu.Lock()
	for _, commit := range commits {
		e.fold(commit)
	}
	e.mu.Unlock()
	if h.folded != nil {
		for _, commit := range commits {
			h.folded(id, []eventstore.Commit{*commit})
		}
	}
	// Should e have been dropped meanwhile, the one in its place has to learn of
	// this before the callers do.
	h.observe(id, commits[len(commits)-1].Version)
	return nil
}

// maxAttempts bounds how often a command that keeps losing against other
// nodes is decided again. Each loss means that somebody else got through.
const maxAttempts = 20

// decision is what a command makes of the present state: the events to append
// to the aggregate and, where other aggregates must change together with it,
// their commits.
type decision struct {
	events []domain.Event
	also   []*eventstore.Commit
}

// outcome is what became of a command. Commit is nil when there was nothing to
// do.
type outcome struct {
	Done
	commit *eventstore.Commit
}

// do is the way of every command: load, decide, append, and decide again when
// somebody was faster.
func do[S folder](
	ctx context.Context, s *Service, h *hot[S], id string, by Caller,
	decide func(state S, now time.Time) (decision, error),
) (outcome, error) {
	e := h.entry(id)
	out, b, err := inTurn(ctx, s, h, id, e, by, decide)
	if b == nil {
		return out, err
	}
	select {
	case <-b.ended:
	case <-ctx.Done():
		return outcome{}, unavailable(ctx.Err()) // it may be stored yet
	}
	switch {
	case b.err == nil:
	case errors.Is(b.err, eventstore.ErrUnsettled), errors.Is(b.err, eventstore.ErrClosed):
		return outcome{}, unavailable(b.err)
	default:
		// Nothing was stored, and perhaps because of another's commit alone.
		e.take()
		defer e.turn.Unlock()
		return alone(ctx, s, h, id, e, by, decide)
	}
	out.Done = Done{out.commit.Position, out.commit.Version}
	return out, s.settle(ctx, out.commit)
}

// inTurn carries out a command when it is its turn, or, when others wait as well,
// decides it and leaves its commit to a batch.
func inTurn[S folder](
	ctx context.Context, s *Service, h *hot[S], id string, e *entry[S], by Caller,
	decide func(state S, now time.Time) (decision, error),
) (outcome, *batch, error) {
	crowded := e.pipeline.enter(&e.turn)
	defer e.turn.Unlock()
	if ctx.Err() == nil && h.clone != nil && !h.shared && crowded {
		if b, commit := gather(ctx, s, h, id, e, by, decide); b != nil {
			return outcome{commit: commit}, b, nil
		}
	}
	e.pipeline.drain()
	out, err := alone(ctx, s, h, id, e, by, decide)
	return out, nil, err
}

// alone carries out a command while no other is at work on the aggregate. It
// appends on the strength of the state in memory without asking first, since the
// append itself fails when that is out of date; only before a refusal it makes
// sure. The caller has the turn, and nothing is on its way.
func alone[S folder](
	ctx context.Context, s *Service, h *hot[S], id string, e *entry[S], by Caller,
	decide func(state S, now time.Time) (decision, error),
) (outcome, error) {
	if err := ctx.Err(); err != nil { // the turn came too late
		return outcome{}, unavailable(err)
	}
	stream := h.stream(id)
	if !e.current() {
		news, err := h.refresh(ctx, id, e, h.store.Load)
		if ours := oursAmong(ctx, stream, news); ours != nil || err != nil {
			return s.again(ctx, ours, err)
		}
	}
	if earlier, err := s.earlier(ctx, stream); earlier != nil || err != nil {
		return s.again(ctx, earlier, err)
	}

	for range maxAttempts {
		now := later(s.Now(), e.last)
		decided, err := func() (decision, error) {
			e.mu.RLock()
			defer e.mu.RUnlock()
			return decide(e.state, now)
		}()
		if err == nil && by.IfMatch != 0 && by.IfMatch != e.version {
			err = ErrVersionConflict
		}
		if err != nil || len(decided.events) == 0 {
			news, failed := h.refresh(ctx, id, e, h.store.CatchUp)
			if failed != nil {
				return outcome{}, failed
			}
			if ours := oursAmong(ctx, stream, news); ours != nil {
				return s.again(ctx, ours, nil)
			}
			if len(news) > 0 {
				continue
			}
			if err == nil && h.kind == eventstore.KindTeam {
				// That it is so already is an acknowledgement as well.
				err = s.barrier(ctx, marks{eventsMark: e.position})
			}
			return outcome{Done: Done{e.position, e.version}}, err
		}

		commit, err := s.commit(ctx, by, stream, e.version, e.hash, now, decided.events)
		if err != nil {
			return outcome{}, err
		}
		// The others come first: whoever joins exists before they do.
		switch err = h.append(ctx, id, e, decided.also, commit); {
		case err == nil:
			e.pipeline.passed(commit)
			return outcome{Done: Done{commit.Position, commit.Version}, commit: commit}, s.settle(ctx, commit)
		case errors.Is(err, eventstore.ErrConflict):
			news, err := h.refresh(ctx, id, e, h.store.CatchUp)
			if ours := oursAmong(ctx, stream, news); ours != nil || err != nil {
				return s.again(ctx, ours, err)
			}
		default:
			return outcome{}, unavailable(err)
		}
	}
	return outcome{}, unavailable(fmt.Errorf("commands: lost %d times against other writers", maxAttempts))
}

// again is the outcome of a command that an earlier try of the same attempt
// has carried out.
func (s *Service) again(ctx context.Context, earlier *eventstore.Commit, err error) (outcome, error) {
	if err != nil {
		return outcome{}, err
	}
	return outcome{Done: Done{earlier.Position, earlier.Version}, commit: earlier}, s.settle(ctx, earlier)
}

// later gives the time of a commit: the clock, but never before the commit
// that it follows, whatever the clocks of the nodes say.
func later(now, last time.Time) time.Time {
	if now.Before(last) {
		return last
	}
	return now
}
