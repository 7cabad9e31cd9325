package commands

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

const (
	anna   = domain.AddressID("a11a")
	bertil = domain.AddressID("be47")
	home   = "192.0.2.7"
	away   = "198.51.100.9"
)

func testMAC(parts ...[]byte) string {
	mac := hmac.New(sha256.New, []byte("a key of these tests"))
	for _, part := range parts {
		fmt.Fprintf(mac, "%d.%s", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func openThrottle(t testing.TB, store *eventstore.Store, clock *handClock) *throttle {
	t.Helper()
	return newThrottle(bucketOf(t, store, throttleBucket), testMAC, clock.now)
}

func throttleForTest(t testing.TB) (*throttle, *handClock) {
	t.Helper()
	store, _ := storeIn(t, t.TempDir())
	clock := newHandClock()
	return openThrottle(t, store, clock), clock
}

// guess is an attempt with a wrong password. It gives how long to wait when it
// is refused, else 0.
func guess(t testing.TB, throttle *throttle, address domain.AddressID, ip string) time.Duration {
	t.Helper()
	_, err := throttle.begin(t.Context(), thePassword, address, ip)
	return refusedFor(t, err)
}

// signIn is an attempt with the right password.
func signIn(t testing.TB, throttle *throttle, address domain.AddressID, ip string) time.Duration {
	t.Helper()
	attempt, err := throttle.begin(t.Context(), thePassword, address, ip)
	if wait := refusedFor(t, err); wait > 0 {
		return wait
	}
	if err := attempt.succeeded(t.Context()); err != nil {
		t.Fatal(err)
	}
	return 0
}

func refusedFor(t testing.TB, err error) time.Duration {
	t.Helper()
	var throttled *Throttled
	switch {
	case errors.As(err, &throttled):
		if throttled.RetryAfter <= 0 {
			t.Fatalf("refused for %v", throttled.RetryAfter)
		}
		return throttled.RetryAfter
	case err != nil:
		t.Fatal(err)
	}
	return 0
}

func TestDelayGrowsAfterFiveFailures(t *testing.T) {
	throttle, clock := throttleForTest(t)
	for i := range 5 {
		if wait := guess(t, throttle, anna, fmt.Sprintf("192.0.2.%d", i)); wait != 0 {
			t.Fatalf("failure %d has to wait %v", i+1, wait)
		}
	}
	want := time.Second
	for i := range 14 {
		ip := fmt.Sprintf("198.51.100.%d", i)
		if wait := guess(t, throttle, anna, ip); wait != want {
			t.Fatalf("after %d failures the delay is %v, want %v", i+5, wait, want)
		}
		clock.forward(want - time.Microsecond)
		if wait := guess(t, throttle, anna, ip); wait != time.Microsecond {
			t.Fatalf("at the end of the delay %v remain: an attempt that was refused made it longer", wait)
		}
		clock.forward(time.Microsecond)
		if wait := guess(t, throttle, anna, ip); wait != 0 {
			t.Fatalf("after the delay %v remain", wait)
		}
		want = min(2*want, 15*time.Minute)
	}
	if want != 15*time.Minute {
		t.Errorf("the longest delay wasn't reached: %v", want)
	}
	if wait := guess(t, throttle, bertil, "203.0.113.1"); wait != 0 {
		t.Errorf("another account has to wait %v", wait)
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	throttle, clock := throttleForTest(t)
	for range 4 {
		guess(t, throttle, anna, away)
	}
	clock.forward(2 * accountAllowance.forgive)
	for i := range 3 {
		if wait := guess(t, throttle, anna, away); wait != 0 {
			t.Fatalf("after two of four were forgotten, failure %d has to wait %v", i+3, wait)
		}
	}
	if wait := guess(t, throttle, anna, away); wait == 0 {
		t.Fatal("no delay after five failures")
	}
}

func TestParallelGuessesDontSlipPast(t *testing.T) {
	store, _ := storeIn(t, t.TempDir())
	clock := newHandClock()
	nodes := []*throttle{openThrottle(t, store, clock), openThrottle(t, store, clock)}
	admitted := parallel(t, 100, func(i int) error {
		_, err := nodes[i%2].begin(t.Context(), thePassword, anna, fmt.Sprintf("192.0.2.%d", i))
		return err
	})
	if admitted != accountAllowance.free {
		t.Errorf("%d of 100 parallel guesses at an account were let through, want %d", admitted, accountAllowance.free)
	}
	admitted = parallel(t, 100, func(i int) error {
		_, err := nodes[i%2].begin(t.Context(), thePassword, domain.AddressID(fmt.Sprint(i)), "203.0.113.1")
		return err
	})
	if admitted != networkAllowance.free {
		t.Errorf("%d of 100 parallel guesses from a network were let through, want %d", admitted, networkAllowance.free)
	}
	admitted = parallel(t, 100, func(i int) error { return nodes[i%2].failedNetwork(t.Context(), "203.0.113.2") })
	if admitted != networkAllowance.free {
		t.Errorf("%d of 100 parallel probes from a network were answered, want %d", admitted, networkAllowance.free)
	}
	// Those who were refused because of their network left no failure behind
	// at the accounts that they tried.
	clock.forward(networkAllowance.longest)
	for i := range 100 {
		record, err := readRecord[accountRecord](t.Context(), nodes[0].records, "a."+testMAC([]byte("account"), fmt.Append(nil, i)))
		if err != nil {
			t.Fatal(err)
		}
		if admitted -= record.Strangers.Failures; admitted < 0 {
			t.Fatal("an attempt that wasn't admitted is counted")
		}
	}
	if admitted != 0 {
		t.Errorf("%d attempts aren't counted at their accounts", admitted)
	}
}

// parallel does n things at once and counts those that weren't throttled.
func parallel(t *testing.T, n int, try func(int) error) (admitted int) {
	t.Helper()
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = try(i) })
	}
	group.Wait()
	for _, err := range errs {
		if refusedFor(t, err) == 0 {
			admitted++
		}
	}
	return admitted
}

func TestFailuresSurviveARestart(t *testing.T) {
	dir, clock := t.TempDir(), newHandClock()
	store, closeStore := storeIn(t, dir)
	throttle := openThrottle(t, store, clock)
	for range 5 {
		guess(t, throttle, anna, away)
	}
	signIn(t, throttle, bertil, home)
	closeStore()

	store, _ = storeIn(t, dir)
	throttle = openThrottle(t, store, clock)
	if wait := guess(t, throttle, anna, home); wait != time.Second {
		t.Errorf("after a restart the delay is %v", wait)
	}
	for range 5 {
		guess(t, throttle, bertil, away)
	}
	if wait := signIn(t, throttle, bertil, home); wait != 0 {
		t.Errorf("after a restart the network isn't known: %v", wait)
	}
}

func TestStrangersDontDelayAKnownNetwork(t *testing.T) {
	throttle, clock := throttleForTest(t)
	if wait := signIn(t, throttle, anna, home); wait != 0 {
		t.Fatal(wait)
	}
	for range 30 { // from everywhere, until the delay is the longest
		clock.forward(guess(t, throttle, anna, away))
		guess(t, throttle, anna, away)
	}
	if wait := guess(t, throttle, anna, "203.0.113.1"); wait < 5*time.Minute {
		t.Fatalf("strangers wait only %v", wait)
	}
	for range 3 {
		if wait := signIn(t, throttle, anna, home); wait != 0 {
			t.Fatalf("the owner has to wait %v", wait)
		}
	}
	// Guessing from there is limited as anywhere, and a success ends that.
	for range 4 {
		guess(t, throttle, anna, home)
	}
	if wait := signIn(t, throttle, anna, home); wait != 0 {
		t.Fatalf("the owner has to wait %v after four mistakes", wait)
	}
	for i := range 5 {
		if wait := guess(t, throttle, anna, home); wait != 0 {
			t.Fatalf("mistake %d has to wait %v: the success didn't end the count", i+1, wait)
		}
	}
	if wait := guess(t, throttle, anna, home); wait != time.Second {
		t.Fatalf("the delay on a known network is %v", wait)
	}
	// Nor did the owner's success give strangers new guesses.
	if wait := guess(t, throttle, anna, "203.0.113.1"); wait < 5*time.Minute {
		t.Errorf("strangers wait only %v after the owner's success", wait)
	}
}

func TestOthersOnANetworkDontDelayThoseWhoItKnows(t *testing.T) {
	throttle, _ := throttleForTest(t)
	signIn(t, throttle, anna, home)
	for i := range 20 {
		if wait := guess(t, throttle, domain.AddressID(fmt.Sprint(i)), home); wait != 0 {
			t.Fatalf("failure %d on the network has to wait %v", i+1, wait)
		}
	}
	if wait := signIn(t, throttle, bertil, home); wait == 0 {
		t.Error("the network has no delay after twenty failures")
	}
	if err := throttle.checkNetwork(t.Context(), home); refusedFor(t, err) == 0 {
		t.Error("the network may open accounts after twenty failures")
	}
	if wait := signIn(t, throttle, anna, home); wait != 0 {
		t.Errorf("who signed in from there before has to wait %v", wait)
	}
	if wait := signIn(t, throttle, bertil, away); wait != 0 {
		t.Errorf("the account has to wait %v on another network", wait)
	}
	if err := throttle.checkNetwork(t.Context(), away); err != nil {
		t.Errorf("another network: %v", err)
	}
}

func TestRightPasswordsCountForNothing(t *testing.T) {
	throttle, clock := throttleForTest(t)
	for i := range 50 { // an office in the morning, each for the first time
		if wait := signIn(t, throttle, domain.AddressID(fmt.Sprint(i)), home); wait != 0 {
			t.Fatalf("sign-in %d has to wait %v", i+1, wait)
		}
	}
	for i := range 25 { // past the free failures, where each makes a delay
		clock.forward(guess(t, throttle, domain.AddressID(fmt.Sprint("x", i)), home))
	}
	before, err := readRecord[counter](t.Context(), throttle.records, throttle.networkKey(home))
	if err != nil {
		t.Fatal(err)
	}
	clock.forward(before.wait(clock.now()))
	for i := range 3 {
		if wait := signIn(t, throttle, domain.AddressID(fmt.Sprint("y", i)), home); wait != 0 {
			t.Fatalf("a right password made a delay of %v", wait)
		}
	}
}

func TestAnAttemptThatEndsInAnErrorCounts(t *testing.T) {
	throttle, _ := throttleForTest(t)
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		attempt, err := throttle.begin(ctx, thePassword, anna, away)
		if err != nil {
			t.Fatal(err)
		}
		cancel() // the client hangs up while the password is verified
		if err := attempt.succeeded(ctx); err == nil {
			t.Fatal("succeeded with a context that has ended")
		}
	}
	if wait := guess(t, throttle, anna, home); wait != time.Second {
		t.Errorf("the delay after five attempts that ended in an error is %v", wait)
	}
}

func TestWithoutTheBucketNobodyGuesses(t *testing.T) {
	store, closeStore := storeIn(t, t.TempDir())
	throttle := openThrottle(t, store, newHandClock())
	attempt, err := throttle.begin(t.Context(), thePassword, anna, home)
	if err != nil {
		t.Fatal(err)
	}
	closeStore()
	ctx, cancel := context.WithTimeout(t.Context(), natsTimeout)
	defer cancel()
	_, beginning := throttle.begin(ctx, thePassword, anna, home)
	for name, err := range map[string]error{
		"begin":         beginning,
		"succeeded":     attempt.succeeded(ctx),
		"checkNetwork":  throttle.checkNetwork(ctx, home),
		"failedNetwork": throttle.failedNetwork(ctx, home),
	} {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s without the bucket: %v", name, err)
		}
	}
}

func TestADamagedRecordRefuses(t *testing.T) {
	throttle, _ := throttleForTest(t)
	key := "a." + testMAC([]byte("account"), []byte(anna))
	if _, err := throttle.bucket.Put(t.Context(), key, []byte("{"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := throttle.begin(t.Context(), thePassword, anna, home); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestKnownNetworksAreLimited(t *testing.T) {
	throttle, clock := throttleForTest(t)
	for i := range maxKnownNetworks + 1 {
		signIn(t, throttle, anna, fmt.Sprintf("192.0.2.%d", i))
		clock.forward(time.Second)
	}
	shut := func() {
		t.Helper()
		for guess(t, throttle, anna, away) == 0 {
		}
	}
	shut()
	if wait := guess(t, throttle, anna, "192.0.2.0"); wait == 0 {
		t.Error("the ninth network didn't displace the first")
	}
	for i := 1; i <= maxKnownNetworks; i++ {
		if wait := signIn(t, throttle, anna, fmt.Sprintf("192.0.2.%d", i)); wait != 0 {
			t.Errorf("network %d isn't known: %v", i, wait)
		}
	}
	clock.forward(knownNetworkLifetime - time.Second)
	signIn(t, throttle, anna, "192.0.2.8")
	clock.forward(time.Second)
	shut()
	if wait := guess(t, throttle, anna, "192.0.2.1"); wait == 0 {
		t.Error("a network is known for longer than 30 days")
	}
	if wait := signIn(t, throttle, anna, "192.0.2.8"); wait != 0 {
		t.Errorf("a network that was used yesterday isn't known: %v", wait)
	}
}

func TestNetworks(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		{"2001:db8:1:2::1", "2001:DB8:1:2:0:0:0:2", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"", "@", true},
		{"", "192.0.2.1", false},
	} {
		if same := networkOf(test.a) == networkOf(test.b); same != test.same {
			t.Errorf("%q is %q, %q is %q", test.a, networkOf(test.a), test.b, networkOf(test.b))
		}
	}
}

func TestOneNetworkCantKeepAnAccountShut(t *testing.T) {
	throttle, clock := throttleForTest(t)
	end := clock.now().Add(48 * time.Hour)
	start := clock.now().Add(24 * time.Hour) // when the attacker's free failures are long used up
	var open time.Duration
	guesses := 0
	for clock.now().Before(end) {
		// The attacker takes every opening at the moment that it comes.
		wait := guess(t, throttle, anna, away)
		if wait == 0 {
			guesses++
			continue
		}
		// A stranger from elsewhere could get in once the account's own delay
		// is over.
		account, err := readRecord[accountRecord](t.Context(), throttle.records, "a."+testMAC([]byte("account"), []byte(anna)))
		if err != nil {
			t.Fatal(err)
		}
		if clock.now().After(start) {
			open += wait - account.Strangers.wait(clock.now())
		}
		clock.forward(wait)
	}
	if share := open.Seconds() / (24 * time.Hour).Seconds(); share < 0.2 {
		t.Errorf("an attacker on one network keeps an account shut %.0f%% of the time", 100-100*share)
	}
	if guesses > 200 {
		t.Errorf("an attacker on one network makes %d guesses in two days", guesses)
	}
}

func TestTheBucketHoldsNoPersonalData(t *testing.T) {
	throttle, _ := throttleForTest(t)
	signIn(t, throttle, anna, home)
	signIn(t, throttle, anna, "2001:db8:77:88::1")
	guess(t, throttle, bertil, away)
	keys := 0
	err := throttle.bucket.Scan(t.Context(), ">", func(key string, entry eventstore.Entry) error {
		keys++
		for _, secret := range []string{string(anna), string(bertil), home, away, "2001:db8:77:88"} {
			if strings.Contains(key, secret) || bytes.Contains(entry.Value, []byte(secret)) {
				t.Errorf("%s holds %s: %s", key, secret, entry.Value)
			}
		}
		if entry.ExpiresAt.IsZero() {
			t.Errorf("%s stays for good", key)
		}
		return nil
	})
	if err != nil || keys != 5 {
		t.Errorf("%d keys, %v", keys, err)
	}
}

func TestARecordOfManyNetworksFits(t *testing.T) {
	throttle, _ := throttleForTest(t)
	for i := range maxKnownNetworks {
		ip := fmt.Sprintf("192.0.2.%d", i)
		signIn(t, throttle, anna, ip)
		for guess(t, throttle, anna, ip) == 0 {
		}
	}
	entry, err := throttle.bucket.Get(t.Context(), "a."+testMAC([]byte("account"), []byte(anna)))
	if err != nil || len(entry.Value) > throttleBucket.MaxValue/2 {
		t.Errorf("the record has %d bytes, %v", len(entry.Value), err)
	}
}
