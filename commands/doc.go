// Package commands is every use case that changes something: sign up, invite,
// accept, change a role, and so on. Each is one method of [Service].
//
// All of them go the same way, which is in one helper: load the aggregate,
// let the domain decide, append what it decided, and, when somebody else was
// faster, look at the new state and decide again. A refusal is never given on
// the strength of a state that may be out of date.
package commands
