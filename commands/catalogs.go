package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"roster/domain"
	"roster/domain/catalogs"
	"roster/eventstore"
)

// CatalogSource is a role catalog with the file that it was read from.
type CatalogSource struct {
	Catalog *domain.Catalog
	Source  []byte
}

// registry holds the role catalogs in force. Every version that was ever in
// force is in the event store, so that the past can be judged by it.
type registry struct {
	standard string // the catalog of a team that names none

	mu     sync.RWMutex
	inUse  map[string]*domain.Catalog
	source map[string]string
	past   map[string][]publication      // every version that was ever in force, in the order of their positions
	heads  map[string]*eventstore.Commit // the last commit of each catalog's stream
}

// publication is a version of a catalog with the event that put it in force.
type publication struct {
	catalog *domain.Catalog
	domain.Meta
}

// at is the version of a catalog that was in force at a moment; false when
// there was none.
func (r *registry) at(name string, moment Moment) (publication, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, published := range slices.Backward(r.past[name]) {
		if moment.covers(published.Position, published.At) {
			return published, true
		}
	}
	return publication{}, false
}

// first is the oldest version of a catalog; nil when there is none.
func (r *registry) first(name string) *domain.Catalog {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if published := r.past[name]; len(published) > 0 {
		return published[0].catalog
	}
	return nil
}

// Catalog is the role catalog of a name; nil when there is none.
func (r *registry) Catalog(name string) *domain.Catalog {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.inUse[name]
}

// choose finds the catalog that a new team asks for; empty means the
// standard one.
func (r *registry) choose(name string) (*domain.Catalog, error) {
	if name == "" {
		name = r.standard
	}
	if catalog := r.Catalog(name); catalog != nil {
		return catalog, nil
	}
	return nil, &domain.Error{
		Kind: domain.Invalid, Code: "invalid_field", Field: "#/catalog", Detail: "There is no role catalog of that name.",
	}
}

// StandardCatalog is what a new team follows that names no other.
func (s *Service) StandardCatalog() *domain.Catalog { return s.catalogs.Catalog(s.catalogs.standard) }

// load takes in the catalogs as the event store has them.
func (r *registry) load(ctx context.Context, store *eventstore.Store) error {
	commits, err := store.LoadKind(ctx, eventstore.KindCatalog)
	if err != nil {
		return unavailable(err)
	}
	for i := range commits {
		if err := r.take(&commits[i]); err != nil {
			return err
		}
	}
	return nil
}

// take folds one commit of a catalog's stream.
func (r *registry) take(commit *eventstore.Commit) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if head, ok := r.heads[commit.Stream.ID]; ok && head.Version >= commit.Version {
		return nil
	}
	for i, recorded := range commit.Events {
		published, ok := recorded.Event.(domain.CatalogPublished)
		if !ok {
			continue
		}
		catalog, err := catalogs.Parse(fmt.Sprintf("recorded catalog %s, version %d", published.Name, published.Version), []byte(published.Source))
		if err != nil {
			return err
		}
		r.inUse[published.Name], r.source[published.Name] = catalog, published.Source
		r.past[published.Name] = append(r.past[published.Name], publication{catalog: catalog, Meta: commit.Meta(i)})
	}
	r.heads[commit.Stream.ID] = commit
	return nil
}

// publish records the catalogs that this node was started with. A version that
// is recorded already must be the same, word for word; an older one gives way
// to what is in force.
func (s *Service) publish(ctx context.Context, sources []CatalogSource) error {
	if len(sources) == 0 {
		return errors.New("commands: at least one role catalog is required")
	}
	r := &registry{
		standard: sources[0].Catalog.Name,
		inUse:    map[string]*domain.Catalog{}, source: map[string]string{},
		past: map[string][]publication{}, heads: map[string]*eventstore.Commit{},
	}
	s.catalogs = r
	for _, wanted := range sources {
		for {
			if err := r.load(ctx, s.store); err != nil {
				return err
			}
			commit, err := s.publish1(ctx, wanted)
			if err != nil {
				return err
			}
			if commit == nil {
				break
			}
			if err := s.store.Append(ctx, commit); err == nil || !errors.Is(err, eventstore.ErrConflict) {
				if err != nil {
					return unavailable(err)
				}
			}
		}
	}
	return nil
}

// publish1 makes the commit that records a catalog; nil when it is recorded.
func (s *Service) publish1(ctx context.Context, wanted CatalogSource) (*eventstore.Commit, error) {
	name, version := wanted.Catalog.Name, wanted.Catalog.Version
	var head eventstore.Commit
	if last, ok := s.catalogs.heads[name]; ok {
		head = *last
		recorded := s.catalogs.Catalog(name).Version
		switch same := s.catalogs.source[name] == string(wanted.Source); {
		case same || recorded > version:
			return nil, nil
		case recorded == version:
			return nil, fmt.Errorf("role catalog %s: version %d is recorded with another content; raise its version to %d", name, version, version+1)
		}
	}
	return s.commit(ctx, Caller{Actor: domain.Roster}, eventstore.Stream{Kind: eventstore.KindCatalog, ID: name},
		head.Version, head.Hash, later(s.Now(), head.At),
		[]domain.Event{domain.CatalogPublished{Name: name, Version: version, Source: string(wanted.Source)}})
}
