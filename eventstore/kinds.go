package eventstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"roster/domain"
)

// DataKeyOf tells which data key a text is sealed under; empty for no text.
func DataKeyOf(sealed domain.Sealed) string {
	key, _, _ := strings.Cut(string(sealed), "~")
	return key
}

// LoadKind gives every commit of every stream of a kind, stream by stream in
// order of version. It is for kinds of which there are few, such as catalogs.
func (s *Store) LoadKind(ctx context.Context, kind Kind) ([]Commit, error) {
	if err := (Stream{Kind: kind, ID: "any"}).check(); err != nil {
		return nil, err
	}
	page, complete, err := s.page(ctx, []string{subjectPrefix + string(kind) + ".*.*"})
	if err != nil {
		return nil, err
	}
	if !complete {
		return nil, fmt.Errorf("eventstore: loading all of kind %s: the answer broke off, or there are more than %d commits", kind, pageSize)
	}
	heads := map[string]uint64{}
	for i := range page {
		heads[page[i].Stream.ID] = max(heads[page[i].Stream.ID], page[i].Version)
	}
	var commits []Commit
	for _, id := range slices.Sorted(maps.Keys(heads)) {
		stream, err := s.Load(ctx, Stream{Kind: kind, ID: id}, 0)
		if err != nil {
			return nil, err
		}
		commits = append(commits, stream...)
	}
	return commits, nil
}
