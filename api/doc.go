// Package api is the HTTP interface of Roster: JSON under /v1, permission
// checks under /access/v1, the description of all of it at /openapi.json and
// /docs, and health, metrics and the mailbox of development.
//
// A request goes through the middleware (middleware.go), which knows nothing
// of what it asks for, and then through the gate of its operation
// (operation.go): who is it, was this write answered before, are they in the
// team, is what they want to read fresh enough. Whoever isn't in a team gets
// the same answer for everything in it as for what doesn't exist, whatever
// else is wrong with the request. Only then is the body read and checked
// against the description, and the operation's own few lines call one command
// or one query.
//
// An operation is described where it is registered, one file for each area
// (teams.go, invitations.go, …); the description, the checks of its input and
// the tests that replay everything against another team follow from that. So
// adding one takes an entry and a method.
//
// Access checks (access.go) go by a shorter way, since products ask for one with
// every request of theirs: their bodies are read and their answers written by
// hand, and only the description is made as for the others.
//
// Refusals come from the domain as errors with a kind and a code; problem.go
// turns the few kinds into statuses. Anything else is a bare 500 whose reason
// goes to the log under the request id, and nowhere else.
package api
