package commands

import (
	"context"
	"time"

	"roster/domain"
)

// Resets of a password have counters of their own beside those of sign-ins:
// asking for a reset is what somebody does whose sign-ins have just failed.
var (
	// A network may ask this often, whether or not the addresses have an
	// account; about twelve times an hour in the long run.
	resetNetworkAllowance = allowance{free: 20, longest: time.Hour, forgive: 5 * time.Minute}

	// An account gets three messages at once and two an hour in the long run,
	// so never more than five in an hour. What is beyond that is dropped, and
	// nobody is locked out by it: each of those messages has a link that works.
	resetMessageAllowance = allowance{free: 3, forgive: 30 * time.Minute}
)

// allowReset counts a request to reset a password against the network that it
// comes from. *Throttled means that it must not be looked at.
func (t *throttle) allowReset(ctx context.Context, ip string) error {
	key := "reset-" + t.networkKey(ip)
	return changeRecord(ctx, t.records, key, func(c *counter, now time.Time) (time.Duration, error) {
		if wait := c.wait(now); wait > 0 {
			return 0, &Throttled{RetryAfter: wait}
		}
		*c = c.failed(resetNetworkAllowance, now)
		return c.life(resetNetworkAllowance, now), nil
	})
}

// allowResetMessage counts a message against the account that gets it.
// *Throttled means that it must not be sent. Like failed sign-ins, what is
// asked for from a network that the account knows is counted apart, so that
// strangers don't use up what its owner may need.
func (t *throttle) allowResetMessage(ctx context.Context, address domain.AddressID, ip string) error {
	account, pair := t.accountKeys(address, ip)
	record, err := readRecord[accountRecord](ctx, t.records, account)
	if err != nil {
		return err
	}
	key := "reset-" + account
	if _, known := record.counter(pair, t.now()); known {
		key = "reset-k." + pair
	}
	return changeRecord(ctx, t.records, key, func(c *counter, now time.Time) (time.Duration, error) {
		*c = c.forgiven(resetMessageAllowance, now)
		if c.Failures >= resetMessageAllowance.free {
			next := time.UnixMicro(c.Since).Add(resetMessageAllowance.forgive)
			return 0, &Throttled{RetryAfter: next.Sub(now)}
		}
		c.Failures++
		return c.life(resetMessageAllowance, now), nil
	})
}

// proven makes a network known to an account whose owner has proven themselves
// from there, so that failures before don't keep them from signing in.
func (t *throttle) proven(ctx context.Context, address domain.AddressID, ip string) error {
	account, pair := t.accountKeys(address, ip)
	return changeRecord(ctx, t.records, account, func(r *accountRecord, now time.Time) (time.Duration, error) {
		r.succeeded(pair, now)
		return r.life(accountAllowance, now), nil
	})
}
