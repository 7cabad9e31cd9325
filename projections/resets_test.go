package projections

import (
	"testing"

	"roster/domain"
	"roster/eventstore"
)

// A request to reset a password is nobody's to see, whoever asked for it.
func TestResetRequestsShowNowhere(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	team := w.team(ann, "Acme")
	w.signIn(ann)
	before := w.last
	request := eventstore.Stream{Kind: eventstore.KindActivity, ID: eventstore.NewID(domain.PrefixReset)}
	w.commit(request, by{actor: domain.Visitor},
		domain.PasswordResetRequested{User: ann, ExpiresAt: w.now.Add(domain.ResetLifetime)})
	all := w.commits()

	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, w.store.Vault())
		run, err := p.newRun(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		type shown struct {
			Members, Invitations tableRows
			Audit                []AuditEntry
		}
		look := func() shown {
			t.Helper()
			entries, _, err := p.Audit(testContext(t), team, AuditFilter{})
			if err != nil {
				t.Fatal(err)
			}
			return shown{dump(t, db, "members"), dump(t, db, "invitations"), entries}
		}
		if err := run.handle(testContext(t), all[:before]); err != nil {
			t.Fatal(err)
		}
		want := look()
		if len(want.Audit) != 2 {
			t.Errorf("the log has %d entries", len(want.Audit))
		}
		if err := run.handle(testContext(t), all[before:]); err != nil {
			t.Fatal(err)
		}
		same(t, "after the request", want, look())
	})
}
