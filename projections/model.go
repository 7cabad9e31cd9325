package projections

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// A model is one read model.
type model struct {
	name   string
	shapes []*shape
	// version is raised when the same events lead to other rows than before,
	// so that tables that an earlier release filled are made anew. A changed
	// shape does that by itself.
	version int
	fold    func(opener Opener, in place) fold
}

// models are all read models.
var models = []*model{membersModel, invitationsModel, auditModel}

func modelNamed(name string) *model {
	for _, m := range models {
		if m.name == name {
			return m
		}
	}
	return nil
}

// layout stands for the tables and their meaning: tables of another layout
// can't be used.
func (m *model) layout() string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%s %d\n", m.name, m.version)
	for _, s := range m.shapes {
		fmt.Fprintln(hash, s.create("", sqlTypes{}), s.keyIndex("", 0), s.otherIndexes("", 0))
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// An event's place orders events: the position of its commit and, below, its
// index within the commit.
func placeOf(position uint64, index int) int64 { return int64(position)<<indexBits | int64(index) }

func positionOf(place int64) uint64 { return uint64(place >> indexBits) }
func indexOf(place int64) int       { return int(place & (1<<indexBits - 1)) }

// indexBits leaves room for 65,536 events a commit, of which there are at most
// 1,000, and for 140 million million positions.
const indexBits = 16

// micros is how times are stored; 0 stands for no time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// open opens sealed text; what has been erased is empty.
func open(ctx context.Context, opener Opener, sealed domain.Sealed, context string) (string, error) {
	if sealed == "" {
		return "", nil
	}
	text, err := opener.Open(ctx, sealed, context)
	if errors.Is(err, eventstore.ErrErased) {
		return "", nil
	}
	return clean(text), err // what is remembered is what is stored
}

func emailContext(id string) string { return id + "/email" }
func nameContext(id string) string  { return id + "/name" }

// limited brings the limit of a page into its bounds.
func limited(limit int) int {
	if limit < 1 || limit > PageLimit {
		return PageLimit
	}
	return limit
}

// pageRows is how many rows a query is asked for to get so many: the LIMIT is
// part of its text, since SQLite prepares a statement anew whenever the value
// of a parameter there changes, and few different texts keep few statements
// prepared.
func pageRows(wanted int) int {
	for _, rows := range []int{1, 11, 26, 51, 101, PageLimit + 1} {
		if wanted <= rows {
			return rows
		}
	}
	return exportPage + 1
}
