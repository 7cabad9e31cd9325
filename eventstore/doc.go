// Package eventstore keeps the truth of Roster in NATS JetStream: in a server
// inside the process by default, or in a cluster given by URL. Everything else
// (read models, caches) can be thrown away and made again from it.
//
// # Commits
//
// A [Commit] is one or more events of one aggregate that happened together,
// with who did it, when, and why. It is one message of the stream EVENTS, on a
// subject that no other ever has:
//
//	ev.<kind>.<id>.<version>    ev.team.team_01kjwzz7d2e5fsn1hm6yr4t8pc.0000000042
//
// The stream takes one message a subject, refuses a second one, and refuses to
// delete or purge. So "one commit a version" and "what is written stays" are
// kept by the server, for every client. A commit's place in the stream is its
// Position, the only order there is between streams.
//
// # Writing
//
// [Store.Append] stores one commit, or several of different streams as a whole.
// A commit that was acknowledged is on disk: the server syncs before it answers
// (an external one must be configured to: sync_interval: always). When an
// acknowledgement is lost, Append asks the leader of the stream what became of
// the commit; the caller hears of it only when time runs out meanwhile.
//
// # Reading
//
// [Store.Load] gives the history of one aggregate, cold; [Store.CatchUp] what
// came after a version. Both end at the leader, so that neither is ever stale.
// [Store.Follow] gives everything in order of position, from any position on
// and for as long as one likes; [Store.FollowRaw] the same without decoding.
//
// # Stored form
//
// The payload of a message is JSON and holds everything about a commit; headers
// repeat what helps to choose without parsing. The table in codec.go lists the
// name and version of every event ever written, and how each is read today.
// What can't be read is an error, never an event left out.
//
// Each commit holds the hash of the one before it in its stream and is stored
// with its own, over its subject and its exact payload. [Chain] checks that, and
// that no version and no position is missing.
//
// # Personal data
//
// Events hold personal data only sealed by the [Vault]. Erasing a person
// destroys the data key and leaves every commit, and every hash, as it is.
package eventstore
