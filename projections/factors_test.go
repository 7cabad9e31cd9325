package projections

import (
	"testing"

	"roster/domain"
)

func TestWhoHasASecondFactor(t *testing.T) {
	w := newWorld(t)
	ann, bob, eve := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com"), w.register("Eve", "eve@example.com")
	type step struct {
		user  domain.UserID
		event domain.Event
		want  string // who has one then
		at    uint64
	}
	steps := []step{
		{ann, domain.TwoFactorEnabled{Secret: "s", RecoveryCodes: []domain.RecoveryHash{"h"}}, "ann", 0},
		{bob, domain.PasskeyAdded{Passkey: "pky_1", Name: "n", Credential: "c"}, "ann bob", 0},
		{bob, domain.PasskeyAdded{Passkey: "pky_2", Name: "n", Credential: "c"}, "ann bob", 0},
		{bob, domain.PasskeyRemoved{Passkey: "pky_1"}, "ann bob", 0},
		{ann, domain.PasskeyAdded{Passkey: "pky_3", Name: "n", Credential: "c"}, "ann bob", 0},
		{ann, domain.TwoFactorDisabled{}, "ann bob", 0},
		{bob, domain.TwoFactorDisabled{}, "ann bob", 0}, // of one who had no app
		{bob, domain.PasskeyRemoved{Passkey: "pky_2"}, "ann", 0},
		{ann, domain.PasskeyRemoved{Passkey: "pky_3"}, "", 0},
		{ann, domain.TwoFactorEnabled{Secret: "s", RecoveryCodes: []domain.RecoveryHash{"h"}}, "ann", 0},
	}
	for i := range steps {
		w.commit(userStream(steps[i].user), by{actor: domain.ByUser(steps[i].user)}, steps[i].event)
		steps[i].at = w.last
	}
	all := w.commits()
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		run, err := p.newRun(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		after := uint64(0)
		for _, step := range steps {
			w.fatal(run.handle(testContext(t), all[after:step.at]))
			after = step.at
			have, err := p.WithSecondFactor(testContext(t), []domain.UserID{ann, bob, eve, "user_none"})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, who := range []struct {
				id   domain.UserID
				name string
			}{{ann, "ann"}, {bob, "bob"}, {eve, "eve"}} {
				if have[who.id] {
					if got != "" {
						got += " "
					}
					got += who.name
				}
			}
			if got != step.want || len(have) > 2 {
				t.Errorf("after %T of %s: %q, want %q", step.event, step.user, got, step.want)
			}
		}
		if none, err := p.WithSecondFactor(testContext(t), nil); err != nil || len(none) != 0 {
			t.Errorf("of nobody: %v, %v", none, err)
		}
	})
}
