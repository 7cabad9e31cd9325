// Package domain holds the rules of Roster: what a team is, who may do what in
// it, and what happens when somebody tries.
//
// Everything here is pure. A decision is a method of [Team] or [User] that
// looks at the state and answers with the events to append, or with an
// [*Error]; a fold ([Team.Apply], [User.Apply]) turns events back into state
// and can't fail. Time, ids, tokens and sealed personal data come in as
// arguments, so the same inputs always give the same answer: that is what lets
// the past be folded again, and a refused append be decided again.
//
// Checks ([Team.Can]) and commands share one answer to "may this actor do
// this?", so they can't disagree.
package domain
