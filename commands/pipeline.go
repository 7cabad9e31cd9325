package commands

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"roster/eventstore"
)

// pipeline lets commands on one aggregate that come at the same time share an
// append. Alone, each would wait for the disk before the next is decided.
//
// While one append is on its way, the commands behind it are decided on the
// state as it will be, ahead of what is stored, and their commits gather; then
// they go together, with one version each. A command is acknowledged when its
// own commit is stored. If it can't be, whatever was decided on it is decided
// anew. Everybody else only ever sees what is stored.
type pipeline[S folder] struct {
	line atomic.Int32 // commands that wait for the turn

	// Whoever has the turn may use these.
	ahead   S         // none if version is 0
	version uint64    // of ahead
	last    time.Time // of the last commit in ahead
	used    time.Time // when a command was last decided on ahead

	mu        sync.Mutex
	gathering *batch
	storing   *batch
	void      bool // ahead holds commits that were not stored
}

// batch is the commits of one append.
type batch struct {
	commits []*eventstore.Commit
	ended   chan struct{} // closed when err is set
	err     error
}

// aheadKept is how long a state ahead is kept without being used: it takes as
// much memory as the aggregate, and making it as much time as a copy.
const aheadKept = 10 * time.Second

// enter takes the turn, and tells whether it is worth while to share an append:
// others wait behind, or are on their way.
func (p *pipeline[S]) enter(turn *sync.Mutex) (crowded bool) {
	p.line.Add(1)
	turn.Lock()
	return p.line.Add(-1) > 0 || p.latest() != nil
}

// latest is the batch that ends last of those on their way; nil when there is
// none.
func (p *pipeline[S]) latest() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gathering != nil {
		return p.gathering
	}
	return p.storing
}

// beingStored is the batch that is being stored; nil when none is.
func (p *pipeline[S]) beingStored() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.storing
}

// full tells whether no commit can be added before a batch has ended.
func (p *pipeline[S]) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gathering != nil && len(p.gathering.commits) == eventstore.MaxAppend
}

// drain returns when nothing is on its way. The caller has the turn, so that
// nothing new comes.
func (p *pipeline[S]) drain() {
	for b := p.latest(); b != nil; b = p.latest() {
		<-b.ended
	}
}

// reckon drops the state ahead if it is void. The caller has the turn, and nothing
// is on its way.
func (p *pipeline[S]) reckon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.void {
		p.void = false
		p.forget()
	}
}

// passed takes account of a commit that was stored past the state ahead. The
// caller has the turn, and nothing is on its way.
func (p *pipeline[S]) passed(commit *eventstore.Commit) {
	if p.reckon(); p.version > 0 && p.version == commit.Version-1 {
		p.fold(commit)
	}
}

// rest drops the state ahead if it wasn't used for long by now, and otherwise
// gives how long to wait before asking again.
func (e *entry[S]) rest(now time.Time) (again time.Duration) {
	e.take()
	defer e.turn.Unlock()
	p := &e.pipeline
	if unused := now.Sub(p.used); unused < aheadKept {
		return aheadKept - unused
	}
	p.forget()
	return 0
}

// restLater does that whenever it is due, until the state ahead is dropped.
func (e *entry[S]) restLater(in time.Duration) {
	time.AfterFunc(in, func() {
		if again := e.rest(time.Now()); again > 0 {
			e.restLater(again)
		}
	})
}

func (p *pipeline[S]) forget() {
	var none S
	p.ahead, p.version = none, 0
}

// fold takes a commit into the state ahead. That doesn't know the position of
// one that isn't stored yet; no rule asks for it.
func (p *pipeline[S]) fold(commit *eventstore.Commit) {
	for i := range commit.Events {
		p.ahead.Apply(commit.Events[i].Event, commit.Meta(i))
	}
	p.version, p.last = commit.Version, commit.At
}

// gather decides a command on the state ahead and adds its commit to a batch. It
// gives none for what a state ahead can't answer, which is refusals and that
// there is nothing to do, and for what changes other aggregates as well. The
// caller has the turn.
func gather[S folder](
	ctx context.Context, s *Service, h *hot[S], id string, e *entry[S], by Caller,
	decide func(state S, now time.Time) (decision, error),
) (*batch, *eventstore.Commit) {
	if Recovering(ctx) {
		return nil, nil // it may have been carried out already
	}
	p := &e.pipeline
	if p.full() {
		p.drain()
	}
	if p.latest() == nil {
		if !e.current() {
			return nil, nil // there is something to load
		}
		if p.reckon(); p.version != e.version {
			if p.version == 0 {
				e.restLater(aheadKept)
			}
			p.ahead, p.version, p.last = h.clone(e.state), e.version, e.last
		}
	}
	now := later(s.Now(), p.last)
	decided, err := decide(p.ahead, now)
	if err != nil || len(decided.events) == 0 || len(decided.also) > 0 || by.IfMatch != 0 && by.IfMatch != p.version {
		return nil, nil
	}
	commit, err := s.commit(ctx, by, h.stream(id), p.version, eventstore.Hash{}, now, decided.events)
	if err != nil {
		return nil, nil // alone tells
	}
	p.fold(commit)
	p.used = time.Now()
	return p.add(commit, func() { go h.storeBatches(context.WithoutCancel(ctx), id, e) }), commit
}

// add adds a commit to the batch that gathers, and starts storing if nothing is
// being stored. It gives none when what the commit was decided on is void.
func (p *pipeline[S]) add(commit *eventstore.Commit, start func()) *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.void {
		return nil
	}
	if p.gathering == nil {
		p.gathering = &batch{ended: make(chan struct{})}
	}
	b := p.gathering
	b.commits = append(b.commits, commit)
	if p.storing == nil {
		p.storing, p.gathering = b, nil
		start()
	}
	return b
}

// storeBatches stores one batch after the other until none has gathered.
func (h *hot[S]) storeBatches(ctx context.Context, id string, e *entry[S]) {
	for b := e.pipeline.storing; b != nil; {
		b = e.pipeline.end(h.storeBatch(ctx, id, e, b.commits))
	}
}

// end ends the batch that was being stored, and gives the next one. After an
// error there is none: what has gathered was decided on what isn't stored.
func (p *pipeline[S]) end(err error) (next *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.storing.end(err)
	next, p.gathering = p.gathering, nil
	if err != nil {
		p.void = true
		if next != nil {
			next.end(eventstore.ErrConflict)
		}
		next = nil
	}
	p.storing = next
	return next
}

func (b *batch) end(err error) {
	b.err = err
	close(b.ended)
}

// storeBatch stores commits that were decided ahead.
func (h *hot[S]) storeBatch(ctx context.Context, id string, e *entry[S], commits []*eventstore.Commit) error {
	e.mu.RLock()
	version, hash := e.version, e.hash
	e.mu.RUnlock()
	if commits[0].Version != version+1 {
		return eventstore.ErrConflict
	}
	commits[0].Previous = hash
	return h.append(ctx, id, e, nil, commits...)
}
