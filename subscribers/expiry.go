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

// Expiry records that invitations have expired. Nothing depends on it: an
// invitation is expired from its deadline on, whether or not this has run. It
// is for the audit log, and may run on every node at once.
type Expiry struct {
	// Due lists invitations whose deadline was before now, at most limit.
	Due func(ctx context.Context, now time.Time, limit int) ([]DueInvitation, error)

	// Expire records one of them. It does nothing when that is done already.
	Expire func(context.Context, domain.TeamID, domain.InvitationID) error

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
func (e *Expiry) Run(ctx context.Context) error {
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
			logger.Error("recording expired invitations failed; it is tried again", "recorded", recorded, "in", every, "error", err)
		} else if recorded > 0 {
			logger.Info("recorded expired invitations", "recorded", recorded)
		}
		if clock.wait(ctx, jitter(every)) != nil {
			return nil
		}
	}
}

// round records what is due. An invitation that was dealt with comes again
// when it couldn't be recorded, or while the list lags behind, so each page is
// asked for with room for those; they don't keep the others from their turn.
func (e *Expiry) round(ctx context.Context, now time.Time) (recorded int, err error) {
	seen := map[DueInvitation]bool{}
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
			failure := e.Expire(ctx, due.Team, due.Invitation)
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
