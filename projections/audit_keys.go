package projections

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strings"

	"roster/domain"
)

// auditKeys are the numbers by which an entry is found, one for each
// combination of what a team's log can be filtered by, as the columns by_… have
// them. Whoever something was done on behalf of is looked for like the actor;
// those numbers are 0 where it was on nobody's.
//
// A number is the beginning of a SHA-256. A host product chooses the names of
// its actions and the ids of its targets, and with a weaker hash it could
// choose some that fill the stretches of another team's log. Two things may
// have the same number all the same, so the texts are compared as well.
//
// Most entries are about what was made a moment ago, such as an invitation. So
// where the target's id says when it was made, the number begins with that:
// entries that come together change the same few pages of an index, instead of
// one each, and a tenth less is written to the disk.
type auditKeys struct {
	ByTeam                                                         int64
	ByAction                                                       int64
	ByTarget, ByTargetAction                                       int64
	ByActor, ByActorAction, ByActorTarget, ByActorTargetAction     int64
	ByBehalf, ByBehalfAction, ByBehalfTarget, ByBehalfTargetAction int64
}

// Whom a key is about, if anybody.
const (
	keyOfNobody = ""
	keyOfActor  = "actor"
	keyOfBehalf = "behalf"
)

func keysOf(team, actor, behalf, target, action string) auditKeys {
	k := auditKeys{
		ByTeam:              auditKey(team, keyOfNobody, "", "", ""),
		ByAction:            auditKey(team, keyOfNobody, "", "", action),
		ByTarget:            auditKey(team, keyOfNobody, "", target, ""),
		ByTargetAction:      auditKey(team, keyOfNobody, "", target, action),
		ByActor:             auditKey(team, keyOfActor, actor, "", ""),
		ByActorAction:       auditKey(team, keyOfActor, actor, "", action),
		ByActorTarget:       auditKey(team, keyOfActor, actor, target, ""),
		ByActorTargetAction: auditKey(team, keyOfActor, actor, target, action),
	}
	if behalf != "" {
		k.ByBehalf = auditKey(team, keyOfBehalf, behalf, "", "")
		k.ByBehalfAction = auditKey(team, keyOfBehalf, behalf, "", action)
		k.ByBehalfTarget = auditKey(team, keyOfBehalf, behalf, target, "")
		k.ByBehalfTargetAction = auditKey(team, keyOfBehalf, behalf, target, action)
	}
	return k
}

// auditKey is the number of one combination; it is never 0. What isn't looked
// for is empty.
func auditKey(team, of, who, target, action string) int64 {
	var buffer [256]byte // on the stack, unless a target's id is very long
	text := buffer[:0]
	for _, part := range [...]string{team, of, who, target, action} {
		text = append(append(text, part...), 0)
	}
	sum := sha256.Sum256(text)
	number := binary.LittleEndian.Uint64(sum[:])
	if made, ok := madeAround(target); ok {
		number = made<<(64-madeBits) | number>>madeBits
	}
	return int64(number&auditKeyMask | 1)
}

// madeBits are enough to gather what comes together in a thousandth of an index.
// They leave 54 bits of the hash, too many for finding an id that shares a
// number with another's.
const madeBits = 10

// madeAround is the second, of some quarter of an hour, in which something was
// made, if its id has the form of Roster's.
func madeAround(id string) (second uint64, ok bool) {
	prefix, _, _ := strings.Cut(id, "_")
	uuid, err := domain.ParseID(prefix, id)
	if err != nil {
		return 0, false
	}
	milliseconds := binary.BigEndian.Uint64(uuid[:]) >> 16 // as a UUIDv7 begins
	return milliseconds >> 10 & (1<<madeBits - 1), true
}

// auditKeyMask leaves all of a number; tests make numbers that often are the
// same for different things.
var auditKeyMask uint64 = math.MaxUint64

// auditColumn is the column that has the number of such a combination.
func auditColumn(of string, target, action bool) string {
	column := "by"
	if of != keyOfNobody {
		column += "_" + of
	}
	if target {
		column += "_target"
	}
	if action {
		column += "_action"
	}
	if column == "by" {
		return "by_team"
	}
	return column
}
