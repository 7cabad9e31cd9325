package commands

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// throttleBucket is where failed attempts are counted. What is written has a
// shorter life of its own; see throttle.
var throttleBucket = eventstore.BucketConfig{Name: "THROTTLE", TTL: knownNetworkLifetime, MaxValue: 4 << 10}

// throttle slows down the guessing of passwords. It counts failed attempts
// per account and per network in a bucket that all nodes share, and once there
// are too many, each further one has to wait twice as long as the one before.
//
// An attempt is counted as failed before the password is looked at, and taken
// back when it was right. So guesses made in parallel, an attempt that ends in
// an error and a node that dies over it are all counted; and when the bucket
// can't be written nobody gets to guess. An attempt that is refused isn't
// counted: it makes nobody wait longer.
//
// Strangers can't lock anybody out. An account knows the networks from which
// its password was given right lately. Each of them has a counter of its own,
// and neither what fails elsewhere nor what fails for other accounts on the
// same network matters there. From a network that is new to the account, its
// owner may have to wait for strangers' failures, 15 minutes at most; and one
// network alone can't use up every opening, since its own failures are
// forgiven more slowly than those openings come.
//
// Codes of a second factor are guessed by who has the password, and are counted
// apart: a right password must not forgive wrong codes. Until the second factor
// is right too, the password makes no network known.
//
// Requests to reset a password are counted beside that; see
// resetNetworkAllowance.
//
// The bucket holds keyed hashes in place of addresses and networks. Records go
// by themselves: counters when all is forgiven, networks after 30 days.
type throttle struct {
	*records
	mac func(parts ...[]byte) string // its output can be part of a key
}

// newThrottle counts in a bucket. mac must be the same on every node, and its
// output must consist of letters, digits, - and _.
func newThrottle(bucket *eventstore.Bucket, mac func(parts ...[]byte) string, now func() time.Time) *throttle {
	return &throttle{records: newRecords(bucket, now), mac: mac}
}

const (
	knownNetworkLifetime = 30 * 24 * time.Hour
	maxKnownNetworks     = 8
)

// allowance is how much failing is allowed.
type allowance struct {
	free    int           // failures before there is any delay
	longest time.Duration // no delay is longer
	forgive time.Duration // one failure is forgotten each time this goes by
}

var (
	// An account is one person's: five failures are many. An attacker with any
	// number of networks gets 96 guesses a day at one account.
	accountAllowance = allowance{free: 5, longest: 15 * time.Minute, forgive: time.Hour}

	// A code has six digits, of which three work at a time. Nobody gets here
	// without the password, so strangers keep nobody waiting; who has it gets 24
	// guesses a day.
	codeAllowance = allowance{free: 5, longest: time.Hour, forgive: time.Hour}

	// A network may be an office, a school or a provider's customers behind
	// one address. Only failures from people who are new to it count here. It
	// gets 72 guesses a day in the long run, over all accounts: fewer than one
	// account has openings for strangers, which is why one network can't use
	// up all of those.
	networkAllowance = allowance{free: 20, longest: time.Hour, forgive: 20 * time.Minute}
)

const firstDelay = time.Second

// delay is how long to wait after the given number of failures.
func (a allowance) delay(failures int) time.Duration {
	switch doublings := failures - a.free; {
	case doublings < 0:
		return 0
	case doublings >= 16: // 18 hours
		return a.longest
	default:
		return min(firstDelay<<doublings, a.longest)
	}
}

// most is the number of failures from which more make no difference, so that
// forgiving has an end.
func (a allowance) most() int {
	n := a.free
	for a.delay(n) < a.longest {
		n++
	}
	return n
}

// counter counts failures. Times are in microseconds since 1970.
type counter struct {
	Failures int   `json:"failures,omitempty"`
	Since    int64 `json:"since,omitempty"` // forgiving is reckoned from here
	Until    int64 `json:"until,omitempty"` // no attempt before this
}

// forgiven is the counter as it is now, after what time has forgiven.
func (c counter) forgiven(a allowance, now time.Time) counter {
	times := max(0, (now.UnixMicro()-c.Since)/a.forgive.Microseconds())
	c.Since += times * a.forgive.Microseconds()
	if c.Failures -= int(min(times, int64(c.Failures))); c.Failures == 0 {
		c.Since = now.UnixMicro()
	}
	return c
}

// wait is how long to wait before the next attempt.
func (c counter) wait(now time.Time) time.Duration {
	return time.Duration(max(0, c.Until-now.UnixMicro())) * time.Microsecond
}

// failed is the counter after one more failure.
func (c counter) failed(a allowance, now time.Time) counter {
	c = c.forgiven(a, now)
	c.Failures = min(c.Failures+1, a.most())
	c.Until = 0
	if delay := a.delay(c.Failures); delay > 0 {
		c.Until = now.Add(delay).UnixMicro()
	}
	return c
}

// takenBack is the counter without a failure that turned out to be none. The
// delay that it made ends, unless another failure has made one since.
func (c counter) takenBack(was, became counter) counter {
	c.Failures = max(0, c.Failures-1)
	if c.Until == became.Until {
		c.Until = was.Until
	}
	return c
}

// life is how long a counter has to be remembered.
func (c counter) life(a allowance, now time.Time) time.Duration {
	return c.wait(now) + time.Duration(c.Failures)*a.forgive + time.Minute
}

// accountRecord is what the bucket holds of an account.
type accountRecord struct {
	Strangers counter        `json:"strangers"` // on all networks that aren't known
	Known     []knownNetwork `json:"known,omitempty"`
}

// knownNetwork is one from which the password was right.
type knownNetwork struct {
	Network   string `json:"network"` // a hash of account and network
	Succeeded int64  `json:"succeeded"`
	counter
}

func (k *knownNetwork) expired(now time.Time) bool {
	return now.Sub(time.UnixMicro(k.Succeeded)) >= knownNetworkLifetime
}

// counter is the one that counts attempts from a network.
func (r *accountRecord) counter(network string, now time.Time) (_ *counter, known bool) {
	for i := range r.Known {
		if k := &r.Known[i]; k.Network == network && !k.expired(now) {
			return &k.counter, true
		}
	}
	return &r.Strangers, false
}

// succeeded makes a network known.
func (r *accountRecord) succeeded(network string, now time.Time) {
	r.Known = slices.DeleteFunc(r.Known, func(k knownNetwork) bool { return k.Network == network || k.expired(now) })
	if extra := len(r.Known) - (maxKnownNetworks - 1); extra > 0 {
		r.Known = r.Known[extra:] // the first are those longest not used
	}
	r.Known = append(r.Known, knownNetwork{Network: network, Succeeded: now.UnixMicro()})
}

func (r *accountRecord) life(a allowance, now time.Time) time.Duration {
	life := r.Strangers.life(a, now)
	for i := range r.Known {
		life = max(life, time.UnixMicro(r.Known[i].Succeeded).Add(knownNetworkLifetime).Sub(now))
	}
	return life
}

// Throttled refuses an attempt because too many have failed.
type Throttled struct {
	RetryAfter time.Duration // more than 0
}

func (t *Throttled) Error() string {
	return fmt.Sprintf("commands: too many failed attempts, the next is possible in %v", t.RetryAfter)
}

// secretKind is what is guessed at an account. Each has counters of its own.
type secretKind struct {
	prefix    string // of the key of its record
	allowance allowance
}

var (
	thePassword = secretKind{"", accountAllowance}
	theCode     = secretKind{"code-", codeAllowance}
)

// signInAttempt is one attempt, which counts as failed until succeeded.
type signInAttempt struct {
	throttle         *throttle
	secret           secretKind
	account, network string // keys
	pair             string // hash of both
	known            bool

	// The counters before and after this attempt.
	accountWas, accountBecame counter
	networkWas, networkBecame counter
}

// begin counts an attempt to sign in before it is made. *Throttled means that
// it must not be made now, ErrUnavailable that it couldn't be counted.
func (t *throttle) begin(ctx context.Context, what secretKind, address domain.AddressID, ip string) (*signInAttempt, error) {
	account, pair := t.accountKeys(address, ip)
	a := &signInAttempt{throttle: t, secret: what, account: what.prefix + account, network: t.networkKey(ip), pair: pair}
	onNetwork, err := readRecord[counter](ctx, t.records, a.network)
	if err != nil {
		return nil, err
	}
	err = changeRecord(ctx, t.records, a.account, func(r *accountRecord, now time.Time) (time.Duration, error) {
		var c *counter
		c, a.known = r.counter(a.pair, now)
		wait := c.wait(now)
		if !a.known {
			wait = max(wait, onNetwork.wait(now))
		}
		if wait > 0 {
			return 0, &Throttled{RetryAfter: wait}
		}
		a.accountWas, a.accountBecame = *c, c.failed(what.allowance, now)
		*c = a.accountBecame
		return r.life(what.allowance, now), nil
	})
	if err != nil || a.known {
		return a, err
	}
	a.networkWas, a.networkBecame, err = t.countNetwork(ctx, a.network)
	if throttled := (*Throttled)(nil); errors.As(err, &throttled) {
		// Rivals on the network were quicker. This attempt isn't made, so the
		// account has no failure more.
		if err := a.takeBackAccount(ctx, false); err != nil {
			return nil, err
		}
	}
	return a, err
}

// succeeded takes the attempt back, as it was no failure, and makes its
// network one that the account knows.
func (a *signInAttempt) succeeded(ctx context.Context) error { return a.end(ctx, true) }

// passed takes the attempt back, and no more.
func (a *signInAttempt) passed(ctx context.Context) error { return a.end(ctx, false) }

func (a *signInAttempt) end(ctx context.Context, succeeded bool) error {
	if err := a.takeBackAccount(ctx, succeeded); err != nil || a.known {
		return err
	}
	return changeRecord(ctx, a.throttle.records, a.network, func(c *counter, now time.Time) (time.Duration, error) {
		*c = c.takenBack(a.networkWas, a.networkBecame)
		return c.life(networkAllowance, now), nil
	})
}

func (a *signInAttempt) takeBackAccount(ctx context.Context, succeeded bool) error {
	return changeRecord(ctx, a.throttle.records, a.account, func(r *accountRecord, now time.Time) (time.Duration, error) {
		// The network may have become known meanwhile, or be known no more.
		if c, known := r.counter(a.pair, now); known == a.known {
			*c = c.takenBack(a.accountWas, a.accountBecame)
		} else if known {
			r.Strangers = r.Strangers.takenBack(a.accountWas, a.accountBecame)
		}
		if succeeded {
			r.succeeded(a.pair, now) // with a counter that starts anew
		}
		return r.life(a.secret.allowance, now), nil
	})
}

// checkNetwork refuses with *Throttled what a network must not do now.
func (t *throttle) checkNetwork(ctx context.Context, ip string) error {
	c, err := readRecord[counter](ctx, t.records, t.networkKey(ip))
	if err != nil {
		return err
	}
	if wait := c.wait(t.now()); wait > 0 {
		return &Throttled{RetryAfter: wait}
	}
	return nil
}

// failedNetwork counts a failure that belongs to no account, as an attempt to
// find out who has one. *Throttled means that the network has had its share:
// the caller must then give that answer in place of what it found, or requests
// made in parallel would find out more.
func (t *throttle) failedNetwork(ctx context.Context, ip string) error {
	_, _, err := t.countNetwork(ctx, t.networkKey(ip))
	return err
}

func (t *throttle) countNetwork(ctx context.Context, key string) (was, became counter, err error) {
	err = changeRecord(ctx, t.records, key, func(c *counter, now time.Time) (time.Duration, error) {
		if wait := c.wait(now); wait > 0 {
			return 0, &Throttled{RetryAfter: wait}
		}
		was, became = *c, c.failed(networkAllowance, now)
		*c = became
		return c.life(networkAllowance, now), nil
	})
	return was, became, err
}

func (t *throttle) networkKey(ip string) string {
	return "n." + t.mac([]byte("network"), []byte(networkOf(ip)))
}

// accountKeys gives the key of an account's record, and the hash under which
// the record has a network.
func (t *throttle) accountKeys(address domain.AddressID, ip string) (account, pair string) {
	return "a." + t.mac([]byte("account"), []byte(address)),
		t.mac([]byte("pair"), []byte(address), []byte(networkOf(ip)))
}

// networkOf is the part of an IP address that stands for one place: all of an
// IPv4 address, and the first 64 bits of an IPv6 one, since whoever has one of
// those has all. What isn't an address is a network of its own.
func networkOf(ip string) string {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	if address = address.Unmap().WithZone(""); address.Is4() {
		return address.String()
	}
	return netip.PrefixFrom(address, 64).Masked().String()
}
