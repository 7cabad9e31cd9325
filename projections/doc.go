// Package projections keeps what people look at: lists of members, of
// invitations, of a user's teams, and the audit log. They are tables in SQLite
// or PostgreSQL, filled from the ordered stream of commits and from nothing
// else, so that any of them can be dropped at any time and comes back.
//
//   - One file for each read model (members.go, invitations.go, audit.go): its
//     tables, how an event changes them, and the queries that read them.
//   - projector.go follows the stream and writes rows and checkpoint in one
//     transaction; progress.go lets a reader wait for a position.
//   - rebuild.go makes a read model anew beside the live one, compares the two
//     row for row and swaps them.
//   - database.go, sqlite.go, postgres.go are the two databases behind one
//     small interface; the SQL text is the same for both.
//
// A read model owns its tables alone. What it needs to know of others (the
// names of people, say) it keeps in a table of its own, so that it can be
// rebuilt without touching another.
package projections
