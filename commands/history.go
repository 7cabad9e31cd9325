package commands

import (
	"context"
	"errors"
	"iter"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"roster/domain"
	"roster/eventstore"
)

// Moment is a point in the past, named by a time or by a position in the event
// store. Only one of the two is set; neither means now.
type Moment struct {
	At       time.Time
	Position uint64
}

// covers tells whether something had happened by the moment.
func (m Moment) covers(position uint64, at time.Time) bool {
	if m.Position > 0 {
		return position <= m.Position
	}
	return !at.After(m.At)
}

// Past is a team as it was at a moment, judged by the role catalog that was in
// force then.
type Past struct {
	Team *domain.Team // nobody else's: it may be kept
	At   time.Time    // by which it is to be asked what had expired
	Done              // where the team stood

	// Catalog is the event that put the role catalog in force.
	Catalog domain.Meta

	moment   Moment
	catalogs catalogsThen
	commits  []eventstore.Commit // the history up to the moment
}

// fold makes the team of the history.
func (p *Past) fold(id domain.TeamID) *domain.Team {
	team := domain.NewTeam(id, p.catalogs)
	for event, meta := range p.History() {
		team.Apply(event, meta)
	}
	return team
}

// History goes through what had happened in the team by then.
func (p *Past) History() iter.Seq2[domain.Event, domain.Meta] {
	return func(yield func(domain.Event, domain.Meta) bool) {
		for i := range p.commits {
			for j, recorded := range p.commits[i].Events {
				if !yield(recorded.Event, p.commits[i].Meta(j)) {
					return
				}
			}
		}
	}
}

// historyCommits bounds the commits that are kept in memory for questions
// about the past: about 50 MiB.
const historyCommits = 50_000

var (
	errFuture = &domain.Error{Kind: domain.Invalid, Code: "invalid_field", Detail: "The moment lies in the future."}
	errBefore = &domain.Error{Kind: domain.NotFound, Code: "not_found", Detail: "The team didn't exist at that moment."}
)

// longHistory is from how many commits on the history of a team in use is kept
// before anybody asks about it. Reading as many takes some 5 ms, which a first
// question can wait; for 10,000 it takes more than 100.
const longHistory = 256

// timelines keeps the timelines of teams that were asked about lately, and the
// long ones of teams that are in use.
type timelines struct {
	store *eventstore.Store
	teams *otter.Cache[domain.TeamID, *timeline]

	long uint64 // longHistory, but for tests

	// soon reads a timeline up to a version, after it has returned.
	soon func(domain.TeamID, uint64)
}

// timeline is the commits of one team, as far as they were read.
type timeline struct {
	mu      sync.Mutex
	commits []eventstore.Commit // from version 1 on; only ever appended to
}

func newTimelines(store *eventstore.Store, soon func(domain.TeamID, uint64)) *timelines {
	return &timelines{store: store, soon: soon, long: longHistory, teams: otter.Must(&otter.Options[domain.TeamID, *timeline]{
		MaximumWeight: historyCommits,
		Weigher:       func(_ domain.TeamID, h *timeline) uint32 { return uint32(1 + len(h.commits)) },
	})}
}

// get gives the commits of a team up to a version at least. The result must not
// be changed.
func (h *timelines) get(ctx context.Context, team domain.TeamID, version uint64) ([]eventstore.Commit, error) {
	known := h.timeline(team)
	known.mu.Lock()
	defer known.mu.Unlock()
	if have := uint64(len(known.commits)); have < version {
		news, err := h.store.Load(ctx, eventstore.Stream{Kind: eventstore.KindTeam, ID: string(team)}, have)
		if err != nil {
			return nil, unavailable(err)
		}
		known.commits = append(known.commits, news...)
		h.weigh(team, known)
	}
	return known.commits, nil
}

// timeline gives the one timeline of a team that those who ask at the same time
// share.
func (h *timelines) timeline(team domain.TeamID) *timeline {
	if known, ok := h.teams.GetIfPresent(team); ok {
		return known
	}
	team = domain.TeamID(strings.Clone(string(team))) // see entry
	known, _ := h.teams.ComputeIfAbsent(team, func() (*timeline, bool) { return &timeline{}, false })
	return known
}

// weigh makes the cache take account of how long a timeline is now. The caller
// holds its lock.
func (h *timelines) weigh(team domain.TeamID, known *timeline) {
	h.teams.Set(domain.TeamID(strings.Clone(string(team))), known)
}

// follow takes the commits that were just folded into a team in memory, so that
// a long history isn't read a second time. It waits for nothing.
func (h *timelines) follow(id string, commits []eventstore.Commit) {
	team := domain.TeamID(id)
	first, last := commits[0].Version, commits[len(commits)-1].Version
	known, ok := h.teams.GetIfPresent(team)
	switch {
	case ok:
	case last < h.long:
		return
	case first == 1:
		known = h.timeline(team)
	case first <= h.long:
		h.soon(team, last)
		return
	default: // it had its chance, and was dropped for others
		return
	}
	if !known.mu.TryLock() {
		return // it is being read, and will be read on by the next question
	}
	defer known.mu.Unlock()
	have := uint64(len(known.commits))
	if have < first-1 || have >= last {
		return
	}
	known.commits = append(known.commits, commits[have-(first-1):]...)
	for i := have; i < last; i++ {
		known.commits[i].Stream = known.commits[0].Stream // not a piece of every request
	}
	if have == 0 || have/h.long < last/h.long { // not for each
		h.weigh(team, known)
	}
}

// TeamAt gives a team as it was at a moment. Whoever may look at the team now
// may ask; what they may see of it is for them to be asked by the team as it
// is now.
func (s *Service) TeamAt(ctx context.Context, by Caller, id domain.TeamID, moment Moment) (*Past, error) {
	done, err := s.ViewTeam(ctx, by, id, func(*domain.Team, time.Time) error { return nil })
	if err != nil {
		return nil, err
	}
	commits, err := s.timelines.get(ctx, id, done.Version)
	if err != nil {
		return nil, err
	}
	at := later(s.Now(), commits[len(commits)-1].At)
	if moment == (Moment{}) {
		moment.At = at
	} else if at, err = s.timeOf(ctx, moment); err != nil {
		return nil, err
	}
	// Positions rise with the version, and times never fall.
	n := sort.Search(len(commits), func(i int) bool { return !moment.covers(commits[i].Position, commits[i].At) })
	if n == 0 {
		return nil, errBefore
	}
	past := &Past{
		At: at, moment: moment, catalogs: catalogsThen{s.catalogs, moment}, commits: commits[:n],
		Done: Done{commits[n-1].Position, commits[n-1].Version},
	}
	past.Team = past.fold(id)
	if published, ok := s.catalogs.at(past.Team.Catalog().Name, moment); ok {
		past.Catalog = published.Meta
	}
	if !past.Team.Live() {
		return nil, errBefore
	}
	return past, nil
}

// timeOf is the time of a moment; a position has that of its commit.
func (s *Service) timeOf(ctx context.Context, moment Moment) (time.Time, error) {
	if moment.Position == 0 {
		if moment.At.After(s.Now()) {
			return time.Time{}, errFuture
		}
		return moment.At, nil
	}
	at, err := s.store.TimeAt(ctx, moment.Position)
	if errors.Is(err, eventstore.ErrMissing) {
		return time.Time{}, errFuture
	}
	if err != nil {
		return time.Time{}, unavailable(err)
	}
	return at, nil
}

// catalogsThen are the role catalogs as they were in force at a moment.
type catalogsThen struct {
	registry *registry
	moment   Moment
}

// Catalog implements domain.Catalogs. A team can't be older than its catalog
// but by the difference of two clocks; then it goes by the first version.
func (c catalogsThen) Catalog(name string) *domain.Catalog {
	if published, ok := c.registry.at(name, c.moment); ok {
		return published.catalog
	}
	return c.registry.first(name)
}

// AccountNow gives a person's name and address; nothing of one who has been
// erased.
func (s *Service) AccountNow(ctx context.Context, id domain.UserID) (Account, error) {
	me, _, err := s.me(ctx, id)
	if errors.Is(err, domain.ErrNotFound) {
		return Account{ID: id}, nil
	}
	return me.User, err
}

// AccountThen gives a person's name and address as they were at a moment;
// nothing of one who has been erased.
func (s *Service) AccountThen(ctx context.Context, id domain.UserID, past *Past) (Account, error) {
	var user domain.User
	var position uint64
	if err := s.users.view(ctx, string(id), func(u *domain.User, _, at uint64) { user, position = *u, at }); err != nil {
		return Account{}, err
	}
	if !user.Exists() {
		return Account{ID: id}, nil
	}
	if !past.moment.covers(position, user.ChangedAt()) {
		commits, err := s.store.Load(ctx, s.users.stream(string(id)), 0)
		if err != nil {
			return Account{}, unavailable(err)
		}
		then := domain.NewUser(id)
		for i := range commits {
			// Who registered by an invitation did so just before joining.
			if i > 0 && !past.moment.covers(commits[i].Position, commits[i].At) {
				break
			}
			for j, recorded := range commits[i].Events {
				then.Apply(recorded.Event, commits[i].Meta(j))
			}
		}
		user = *then
	}
	return s.account(ctx, &user)
}

// InviteeThen opens the address and the name of an invitation.
func (s *Service) InviteeThen(ctx context.Context, invitation *domain.Invitation) (email, name string, err error) {
	if email, err = s.open(ctx, invitation.Email, string(invitation.ID)+"/email"); err != nil {
		return "", "", err
	}
	name, err = s.open(ctx, invitation.Name, string(invitation.ID)+"/name")
	return email, name, err
}
