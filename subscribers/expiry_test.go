package subscribers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"roster/domain"
)

// due is a list of expired invitations, which may lag behind.
type due struct {
	pending  []DueInvitation
	done     map[DueInvitation]int
	stuck    map[DueInvitation]bool
	lagging  bool
	limits   []int
	listFail error
}

func (d *due) list(_ context.Context, _ time.Time, limit int) ([]DueInvitation, error) {
	d.limits = append(d.limits, limit)
	var page []DueInvitation
	for _, one := range d.pending {
		if (d.lagging || d.done[one] == 0) && len(page) < limit {
			page = append(page, one)
		}
	}
	return page, d.listFail
}

func (d *due) expire(_ context.Context, one DueInvitation) error {
	if d.stuck[one] {
		return errors.New("stuck")
	}
	d.done[one]++
	return nil
}

func newDue(n int) *due {
	d := &due{done: map[DueInvitation]int{}, stuck: map[DueInvitation]bool{}}
	for i := range n {
		d.pending = append(d.pending, DueInvitation{"team_1", domain.InvitationID(fmt.Sprintf("inv_%04d", i))})
	}
	return d
}

func TestExpiryRound(t *testing.T) {
	for _, test := range []struct {
		name           string
		pending, stuck int
		lagging        bool
	}{
		{"nothing", 0, 0, false},
		{"a few", 3, 0, false},
		{"exactly a page", expiryBatch, 0, false},
		{"several pages", 3*expiryBatch + 7, 0, false},
		{"more stuck than a page holds", 3 * expiryBatch, expiryBatch + 50, false},
		{"the list lags behind", 3*expiryBatch + 7, 0, true},
		{"all are stuck", 2 * expiryBatch, 2 * expiryBatch, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDue(test.pending)
			d.lagging = test.lagging
			for _, one := range d.pending[:test.stuck] {
				d.stuck[one] = true
			}
			expiry := &Expiry[DueInvitation]{Due: d.list, Expire: d.expire}
			recorded, err := expiry.round(t.Context(), letterTime)
			if recorded != test.pending-test.stuck || (err != nil) != (test.stuck > 0) {
				t.Errorf("recorded %d, %v", recorded, err)
			}
			for one, times := range d.done {
				if times != 1 {
					t.Errorf("%v was recorded %d times", one, times)
				}
			}
		})
	}
}

func TestExpiryIsBounded(t *testing.T) {
	d := newDue(maxExpiryRound + 2000)
	d.lagging = true
	recorded, err := (&Expiry[DueInvitation]{Due: d.list, Expire: d.expire}).round(t.Context(), letterTime)
	if err != nil || recorded < maxExpiryRound || recorded > 2*maxExpiryRound || slices.Max(d.limits) > 2*maxExpiryRound {
		t.Errorf("recorded %d, %v, up to %d asked for", recorded, err, slices.Max(d.limits))
	}
}

func TestExpiryRunsUntilItIsStopped(t *testing.T) {
	d := newDue(1)
	d.listFail = errors.New("the database is away")
	ctx, cancel := context.WithCancel(t.Context())
	var log bytes.Buffer
	var waits []time.Duration
	clock := Clock{
		Now: func() time.Time { return letterTime },
		After: func(wait time.Duration) <-chan time.Time {
			waits = append(waits, wait)
			switch len(waits) {
			case 1:
				d.listFail = nil
			case 2:
				cancel()
				return nil
			}
			ready := make(chan time.Time, 1)
			ready <- letterTime
			return ready
		},
	}
	expiry := &Expiry[DueInvitation]{Due: d.list, Expire: d.expire, Clock: clock, Every: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := expiry.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if d.done[d.pending[0]] != 1 || len(waits) != 2 || !strings.Contains(log.String(), "the database is away") {
		t.Errorf("done %v, waits %v, log %s", d.done, waits, log.String())
	}
	for _, wait := range waits {
		if wait < 8*time.Second || wait > 12*time.Second {
			t.Errorf("waited %s", wait)
		}
	}
}
