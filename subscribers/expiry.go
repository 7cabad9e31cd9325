package subscribers

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"roster/domain"
)

// DueInvitation is one whose deadline has passed without that being recorded.
type DueInvitation struct {
	Team       domain.TeamID
	Invitation domain.InvitationID
}

// DueMember is one of whose access something has ended by itself without that
// being recorded.
type DueMember struct {
	Team domain.TeamID
	User domain.UserID
}

// Expiry records what has ended by its time: invitations, or access of members.
// Nothing depends on it: what ends by itself has ended from that instant on,
// whether or not this has run. It is for the audit log, and may run on every
// node at once.
type Expiry[D comparable] struct {
	What string // is recorded, for the log

	// Due lists what has ended before now, at most limit.
	Due func(ctx context.Context, now time.Time, limit int) ([]D, error)

	// Expire records one of it. It does nothing when that is done already.
	Expire func(context.Context, D) error

	Every  time.Duration // between rounds; 0 means a minute
	Clock  Clock
	Logger *slog.Logger // nil means slog.Default()
}

const (
	defaultExpiryInterval = time.Minute
	expiryBatch           = 200

	// maxExpiryRound bounds what one round remembers. What is left comes in
	// the next.
	maxExpiryRound = 5000
)

// Run records at once and then round after round, until ctx ends. What fails
// is logged and tried again in the next round.
func (e *Expiry[D]) Run(ctx context.Context) error {
	clock, every, logger := e.Clock.orReal(), e.Every, e.Logger
	if every <= 0 {
		every = defaultExpiryInterval
	}
	if logger == nil {
		logger = slog.Default()
	}
	for {
		recorded, err := e.round(ctx, clock.Now())
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			logger.Error("recording what has expired failed; it is tried again", "what", e.What, "recorded", recorded, "in", every, "error", err)
		} else if recorded > 0 {
			logger.Info("recorded what has expired", "what", e.What, "recorded", recorded)
		}
		if clock.wait(ctx, jitter(every)) != nil {
			return nil
		}
	}
}

// round records what is due. What was dealt with comes again
// when it couldn't be recorded, or while the list lags behind, so each page is
// asked for with room for those; they don't keep the others from their turn.
func (e *Expiry[D]) round(ctx context.Context, now time.Time) (recorded int, err error) {
	seen := map[D]bool{}
	for len(seen) < maxExpiryRound {
		limit := expiryBatch + len(seen)
		page, listing := e.Due(ctx, now, limit)
		if listing != nil {
			return recorded, errors.Join(err, listing)
		}
		before := len(seen)
		for _, due := range page {
			if seen[due] {
				continue
			}
			seen[due] = true
			failure := e.Expire(ctx, due)
			switch {
			case ctx.Err() != nil:
				return recorded, ctx.Err()
			case failure == nil:
				recorded++
			case err == nil:
				err = failure // one stands for all
			}
		}
		if len(page) < limit || len(seen) == before {
			break
		}
	}
	return recorded, err
}
