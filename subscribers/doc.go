// Package subscribers does what follows from events outside of Roster: it
// e-mails invitations and records what became of them, it e-mails the links
// that reset a password or move an ownership, and it records that invitations
// have expired.
//
// A [Router] runs any number of subscriptions over the event stream. Each has
// a durable consumer of its own in NATS, so that it goes on after a restart
// where it left off, any number of nodes share its work, and one that is slow
// or fails delays neither a command nor another subscription. A message is
// acknowledged only after it was handled; one that keeps failing is put into
// the poison queue, where it is seen and does not stand in the way.
//
// So a subscription is handed every event at least once, and sometimes twice.
// The [Mailer] gives every message an id that is derived from its event, by
// which a mailbox recognises the second copy.
package subscribers
