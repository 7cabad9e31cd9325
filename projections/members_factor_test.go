package projections

import (
	"testing"

	"roster/domain"
)

// Whether a member has a second factor stands in every team of theirs, whether
// they joined before it was set up or after.
func TestMembersShowWhoHasASecondFactor(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com")
	before := w.team(ann, "Before")
	w.join(before, ann, bob)
	var after domain.TeamID
	codes := []domain.RecoveryHash{"h"}
	steps := []struct {
		what  string
		event domain.Event // of Bob's
		want  bool
		at    uint64
	}{
		{"an app", domain.TwoFactorEnabled{Secret: "s", RecoveryCodes: codes}, true, 0},
		{"a passkey beside it", domain.PasskeyAdded{Passkey: "pky_1", Name: "n", Credential: "c"}, true, 0},
		{"another", domain.PasskeyAdded{Passkey: "pky_2", Name: "n", Credential: "c"}, true, 0},
		{"the app removed", domain.TwoFactorDisabled{}, true, 0},
		{"a passkey removed", domain.PasskeyRemoved{Passkey: "pky_1"}, true, 0},
		{"two-factor sign-in off, for one without an app", domain.TwoFactorDisabled{}, true, 0},
		{"the last one removed", domain.PasskeyRemoved{Passkey: "pky_2"}, false, 0},
		{"an app again", domain.TwoFactorEnabled{Secret: "s", RecoveryCodes: codes}, true, 0},
	}
	for i := range steps {
		if i == 2 {
			after = w.team(ann, "After")
			w.join(after, ann, bob)
		}
		w.commit(userStream(bob), by{actor: domain.ByUser(bob)}, steps[i].event)
		steps[i].at = w.last
	}
	all := w.commits()
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		run, err := p.newRun(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		from := uint64(0)
		for i, step := range steps {
			w.fatal(run.handle(testContext(t), all[from:step.at]))
			from = step.at
			for _, team := range []domain.TeamID{before, after} {
				if team == after && i < 2 {
					continue
				}
				members, _, err := p.Members(testContext(t), team, MembersFilter{})
				if err != nil || len(members) != 2 {
					t.Fatal(members, err)
				}
				if members[0].TwoFactor || members[1].TwoFactor != step.want {
					t.Errorf("%s: %+v", step.what, members)
				}
			}
		}
	})
}
