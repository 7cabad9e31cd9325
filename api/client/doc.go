// Package client lets a Go program ask Roster for decisions, members and the
// audit log, and record what its own users do.
//
// [Client.Check] asks the server. A [Cache] answers from memory, which takes
// about as long as looking into a map, and is kept current by the server's
// stream of changes: a revocation is in force within milliseconds as a rule,
// and within the staleness that the caller chose whatever happens.
//
// The package depends on the standard library alone.
package client
