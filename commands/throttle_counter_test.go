package commands

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever happens to a counter, its delay and its memory are bounded.
func TestCounterIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom([]allowance{accountAllowance, networkAllowance}).Draw(t, "allowance")
		now := newHandClock().now()
		var c counter
		type open struct{ was, became counter }
		var attempts []open
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				if c.wait(now) == 0 {
					was := c
					c = c.failed(a, now)
					attempts = append(attempts, open{was, c})
				}
			case 1:
				if n := len(attempts); n > 0 {
					c = c.takenBack(attempts[n-1].was, attempts[n-1].became)
					attempts = attempts[:n-1]
				}
			case 2:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "time")))
			}
			switch {
			case c.Failures < 0 || c.Failures > a.most():
				t.Fatalf("%d failures", c.Failures)
			case c.wait(now) > a.longest:
				t.Fatalf("a delay of %v", c.wait(now))
			case c.Failures == a.most() && a.delay(c.Failures) != a.longest:
				t.Fatalf("the longest delay isn't reached")
			}
			if later := now.Add(c.life(a, now)); c.forgiven(a, later).Failures != 0 || c.wait(later) != 0 {
				t.Fatalf("%+v still counts when it is forgotten", c)
			}
		}
	})
}
