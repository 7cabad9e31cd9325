package commands

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// Change says that something is not as it was: a team, or what is decided
// about a person in every team. With neither it is a role catalog, and so
// perhaps everything.
type Change struct {
	Position uint64
	At       time.Time
	Team     domain.TeamID
	User     domain.UserID
	Kinds    []string // of the events, as their stored names without the version
	Decisive bool     // somebody may be allowed more or less than before
}

// Everything tells whether no team and no person is exempt.
func (c *Change) Everything() bool { return c.Team == "" && c.User == "" }

// changesKept is how many changes a reader may be behind: at 5,000 commits a
// second, which is what one stream takes in, more than six seconds. They take
// about 200 bytes each.
const changesKept = 1 << 15

// Changes are the latest changes that this node has followed, for any number
// of readers at once. Nothing is copied for a reader and nobody waits for one:
// who reads too slowly finds that changes are gone, and is told so.
type Changes struct {
	mu   sync.RWMutex
	ring []Change
	// The changes first to end-1, counted from the beginning, are in the ring.
	first, end uint64
	from       uint64 // no change after this position is missing
	position   uint64 // to which the event stream was followed
	watches    map[domain.TeamID]map[*Watch]struct{}
}

func newChanges(size int) *Changes {
	return &Changes{ring: make([]Change, size), watches: map[domain.TeamID]map[*Watch]struct{}{}}
}

// begin starts anew behind a position. What was kept is forgotten.
func (c *Changes) begin(position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first, c.end = c.end+1, c.end+1 // a gap, by which readers notice
	c.from, c.position = position, position
}

// add takes changes up to a position.
func (c *Changes) add(changes []Change, position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, change := range changes {
		size := uint64(len(c.ring))
		if c.end-c.first == size {
			c.from = c.ring[c.first%size].Position
			c.first++
		}
		c.ring[c.end%size] = change
		c.end++
		switch {
		case change.Team != "":
			wake(c.watches[change.Team])
		default:
			for _, watches := range c.watches {
				wake(watches)
			}
		}
	}
	if len(changes) > 0 {
		wake(c.watches[allTeams])
	}
	c.position = position
}

func wake(watches map[*Watch]struct{}) {
	for w := range watches {
		select {
		case w.woken <- struct{}{}:
		default:
		}
	}
}

// allTeams stands for every team.
const allTeams domain.TeamID = ""

// Watch reads changes, of one team or of all. It belongs to one goroutine.
type Watch struct {
	changes *Changes
	team    domain.TeamID
	next    uint64 // the change to look at next
	lost    bool
	woken   chan struct{}
}

// Watch begins to read from now on. An empty team means all of them.
func (c *Changes) Watch(team domain.TeamID) *Watch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watch(team, c.end)
}

// WatchAfter begins to read behind a position. When what came next is gone, or
// there is no such position, the first batch says that changes were lost.
func (c *Changes) WatchAfter(team domain.TeamID, after uint64) *Watch {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := sort.Search(int(c.end-c.first), func(i int) bool {
		return c.ring[(c.first+uint64(i))%uint64(len(c.ring))].Position > after
	})
	w := c.watch(team, c.first+uint64(held))
	w.lost = after < c.from || after > c.position
	return w
}

func (c *Changes) watch(team domain.TeamID, next uint64) *Watch {
	w := &Watch{changes: c, team: team, next: next, woken: make(chan struct{}, 1)}
	if c.watches[team] == nil {
		c.watches[team] = map[*Watch]struct{}{}
	}
	c.watches[team][w] = struct{}{}
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	c := w.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watches[w.team], w)
	if len(c.watches[w.team]) == 0 {
		delete(c.watches, w.team)
	}
}

// Woken has something to receive when there may be a change to read.
func (w *Watch) Woken() <-chan struct{} { return w.woken }

// Batch is what a watch reads at once.
type Batch struct {
	Changes  []Change // in their order
	Position uint64   // everything up to here was read
	Lost     bool     // changes before Position are gone; there are none in this batch
	More     bool     // there is more to read at once
}

// Next gives what there is, without waiting: about so many changes at most,
// and never a part of a commit. Of a change about a person, a watch of one team
// can't tell whether it concerns that team.
func (w *Watch) Next(most int) Batch {
	c := w.changes
	c.mu.RLock()
	defer c.mu.RUnlock()
	if w.lost || w.next < c.first {
		w.lost, w.next = false, c.end
		return Batch{Position: c.position, Lost: true}
	}
	batch := Batch{Position: c.position}
	for ; w.next < c.end; w.next++ {
		change := &c.ring[w.next%uint64(len(c.ring))]
		if n := len(batch.Changes); n >= most && change.Position != batch.Changes[n-1].Position {
			batch.Position, batch.More = change.Position-1, true
			break
		}
		if w.team == allTeams || change.Team == w.team || change.Team == "" {
			batch.Changes = append(batch.Changes, *change)
		}
	}
	return batch
}

// Changes are the changes that this node follows.
func (s *Service) Changes() *Changes { return s.changes }

// Position is how far this node's aggregates take account of the event stream
// at the least.
func (s *Service) Position() uint64 {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	return s.tail.position
}

// UpToDate returns once Changes has every revocation that any node has
// acknowledged before the moment that it answers with, which is about now; or
// with ErrUnavailable when that can't be known.
func (s *Service) UpToDate(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, servingWait)
	defer cancel()
	for {
		moment := time.Now()
		if s.nodes.Serving() {
			// Other nodes don't acknowledge before this one knows. What this one
			// acknowledges it knows before it has followed to it.
			if err := s.Wait(ctx, s.acknowledged.Load()); err != nil {
				return time.Time{}, unavailable(err)
			}
			return moment, nil
		}
		if err := s.nodes.AwaitServing(ctx); err != nil {
			return time.Time{}, unavailable(err)
		}
	}
}

// acknowledges notes the position of a revocation that is about to be
// acknowledged.
func (s *Service) acknowledges(position uint64) {
	for known := s.acknowledged.Load(); known < position; known = s.acknowledged.Load() {
		if s.acknowledged.CompareAndSwap(known, position) {
			return
		}
	}
}

// decisiveKinds are the kinds of events after which somebody may be allowed
// more or less.
var decisiveKinds = sync.OnceValue(func() map[string]bool {
	kinds := map[string]bool{}
	for kind, event := range eventstore.Kinds() {
		kinds[kind] = kinds[kind] || domain.Decisive(event)
	}
	return kinds
})

// decisive tells whether a kind is one of them, as is one that isn't known.
func decisive(kind string) bool {
	is, known := decisiveKinds()[kind]
	return is || !known
}

// changesOf appends what a commit changes.
func changesOf(changes []Change, message *eventstore.Message) []Change {
	change := Change{Position: message.Position}
	switch message.Stream.Kind {
	case eventstore.KindTeam:
		change.Team = domain.TeamID(message.Stream.ID)
	case eventstore.KindUser:
		change.User = domain.UserID(message.Stream.ID)
	case eventstore.KindCatalog:
	case eventstore.KindActivity:
		if message.HasKind("invitation_delivery") {
			changes = deliveries(changes, message)
		}
		return changes
	default:
		return changes
	}
	change.At, change.Kinds = message.At(), message.Kinds()
	change.Decisive = slices.ContainsFunc(change.Kinds, decisive)
	if change.User != "" && !change.Decisive {
		return changes // concerns nobody but that person
	}
	return append(changes, change)
}

// deliveries appends the teams whose invitations a commit says the delivery of.
func deliveries(changes []Change, message *eventstore.Message) []Change {
	commit, err := message.Decode()
	if err != nil {
		return changes // the read models stop at it and say so; no decision depends on it
	}
	told := map[domain.TeamID]bool{}
	for _, recorded := range commit.Events {
		if delivery, ok := recorded.Event.(domain.InvitationDelivery); ok && !told[delivery.Team] {
			told[delivery.Team] = true
			changes = append(changes, Change{
				Position: commit.Position, At: commit.At, Team: delivery.Team, Kinds: []string{"invitation_delivery"},
			})
		}
	}
	return changes
}
