package projections

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"roster/domain"
)

// membersFactors is what second factors people have. It has a row for those who
// ever had one.
var membersFactors = newShape("members_factors", 1, `user_id TEXT, app BIGINT, passkeys BIGINT`)

// factorRow is a row of members_factors: whether there is an authenticator app,
// and how many passkeys.
type factorRow struct {
	User          string
	App, Passkeys int64
}

func (r *factorRow) key() key      { return key{a: r.User} }
func (r *factorRow) fields() []any { return []any{&r.User, &r.App, &r.Passkeys} }

// factor changes what second factors a user has.
func (f *membersFold) factor(ctx context.Context, user string, event domain.Event) error {
	change := func(r *factorRow) {
		switch event.(type) {
		case domain.TwoFactorEnabled:
			r.App = 1
		case domain.TwoFactorDisabled:
			r.App = 0
		case domain.PasskeyAdded:
			r.Passkeys++
		case domain.PasskeyRemoved:
			r.Passkeys--
		}
	}
	found, err := f.factors.change(ctx, key{a: user}, change)
	if err != nil || found {
		return err
	}
	row := factorRow{User: user}
	change(&row)
	return f.factors.insert(row)
}

// WithSecondFactor gives those of the users who have a second factor.
func (p *Projections) WithSecondFactor(ctx context.Context, users []domain.UserID) (map[domain.UserID]bool, error) {
	found := map[domain.UserID]bool{}
	err := p.db.read(ctx, func(q querier) error {
		for some := range slices.Chunk(users, PageLimit) {
			args, places := make([]any, len(some)), make([]string, len(some))
			for i, user := range some {
				args[i], places[i] = string(user), fmt.Sprintf("$%d", i+1)
			}
			err := q.query(ctx, `SELECT user_id FROM members_factors WHERE app + passkeys > 0 AND user_id IN (`+strings.Join(places, ", ")+`)`,
				args, func(r row) error {
					var user string
					err := r.scan(&user)
					found[domain.UserID(user)] = true
					return err
				})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("projections: reading second factors: %w", err)
	}
	return found, nil
}
