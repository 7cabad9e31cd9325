package projections

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"roster/domain"
	"roster/eventstore"
)

func (w *world) deliver(team domain.TeamID, id domain.InvitationID, link int, status domain.DeliveryStatus, detail string) time.Time {
	w.t.Helper()
	w.commit(eventstore.Stream{Kind: eventstore.KindActivity, ID: string(id)}, by{},
		domain.InvitationDelivery{Team: team, Invitation: id, Link: link, Status: status, Detail: detail})
	return w.now
}

func TestInvitationsShowWhatBecameOfThem(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	bob := w.register("Bob", "bob@example.com")
	team := w.team(ann, "Acme")
	stream := teamStream(team)
	key := domain.APIKeyID(eventstore.NewID(domain.PrefixAPIKey))
	w.commit(stream, by{actor: domain.ByUser(ann)}, domain.APIKeyCreated{Key: key, Name: "deploy", Role: "ADMIN", Prefix: "rk_1", SecretHash: "00"})

	type invited struct {
		id domain.InvitationID
		at time.Time
	}
	invite := func(name, email string) invited {
		id := w.invite(team, ann, name, email)
		return invited{id, w.now}
	}
	queued, sent, failed := invite("Carl", "carl@example.com"), invite("", "dora@example.com"), invite("", "emil@example.com")
	w.deliver(team, sent.id, 1, domain.DeliverySent, "")
	sentAt := w.now
	w.deliver(team, failed.id, 1, domain.DeliveryFailed, "no such mailbox")
	failedAt := w.now
	resent := invite("", "fay@example.com")
	w.deliver(team, resent.id, 1, domain.DeliveryFailed, "mailbox full")
	expires := w.now.Add(9 * 24 * time.Hour)
	w.commit(stream, by{}, domain.InvitationResent{Invitation: resent.id, Link: 2, ExpiresAt: expires})
	w.deliver(team, resent.id, 1, domain.DeliverySent, "") // of the link before: too late
	accepted := invite("", "bob@example.com")
	w.commit(stream, by{actor: domain.ByUser(bob)}, domain.MemberJoined{User: bob, Invitation: accepted.id, Role: "MEMBER"})
	acceptedAt := w.now
	cancelled, declined, expired := invite("", "g@example.com"), invite("", "h@example.com"), invite("", "i@example.com")
	w.commit(stream, by{}, domain.InvitationCancelled{Invitation: cancelled.id})
	cancelledAt := w.now
	w.commit(stream, by{}, domain.InvitationDeclined{Invitation: declined.id})
	declinedAt := w.now
	w.commit(stream, by{}, domain.InvitationExpired{Invitation: expired.id})
	expiredAt := w.now
	w.rename(ann, "Anna")
	byKey := domain.InvitationID(eventstore.NewID(domain.PrefixInvitation))
	w.commit(stream, by{actor: domain.ByAPIKey(key)}, domain.MemberInvited{
		Invitation: byKey, Address: "aa", Role: "ADMIN", Sites: []domain.SiteGrant{{Site: "site_1", Role: "MEMBER"}}, ExpiresAt: w.now.Add(time.Hour),
	})
	byKeyAt := w.now
	now := w.now

	lifetime := 7*24*time.Hour - time.Second // a commit is a second after the time that invite takes
	anna := Person{Type: domain.ActorUser, ID: string(ann), Name: "Anna", Email: "ann@example.com"}
	row := func(i invited, email string, status domain.InvitationStatus) Invitation {
		return Invitation{
			ID: i.id, Team: team, Email: email, Role: "MEMBER", Sites: []domain.SiteGrant{}, Status: status, Link: 1,
			InvitedBy: anna, InvitedAt: i.at, ExpiresAt: i.at.Add(lifetime), Delivery: Delivery{Status: domain.DeliveryQueued},
		}
	}
	wantQueued := row(queued, "carl@example.com", domain.StatusPending)
	wantQueued.Name = "Carl"
	wantSent := row(sent, "dora@example.com", domain.StatusPending)
	wantSent.Delivery = Delivery{Status: domain.DeliverySent, At: sentAt}
	wantFailed := row(failed, "emil@example.com", domain.StatusPending)
	wantFailed.Delivery = Delivery{Status: domain.DeliveryFailed, Detail: "no such mailbox", At: failedAt}
	wantResent := row(resent, "fay@example.com", domain.StatusPending)
	wantResent.Link, wantResent.ExpiresAt = 2, expires
	wantAccepted := row(accepted, "bob@example.com", domain.StatusAccepted)
	wantAccepted.EndedAt = acceptedAt
	wantCancelled := row(cancelled, "g@example.com", domain.StatusCancelled)
	wantCancelled.EndedAt = cancelledAt
	wantDeclined := row(declined, "h@example.com", domain.StatusDeclined)
	wantDeclined.EndedAt = declinedAt
	wantExpired := row(expired, "i@example.com", domain.StatusExpired)
	wantExpired.EndedAt = expiredAt
	wantByKey := Invitation{
		ID: byKey, Team: team, Role: "ADMIN", Sites: []domain.SiteGrant{{Site: "site_1", Role: "MEMBER"}}, Status: domain.StatusPending, Link: 1,
		InvitedBy: Person{Type: domain.ActorAPIKey, ID: string(key), Name: "deploy"}, InvitedAt: byKeyAt,
		ExpiresAt: byKeyAt.Add(time.Hour - time.Second), Delivery: Delivery{Status: domain.DeliveryQueued},
	}

	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		for _, c := range []struct {
			status domain.InvitationStatus
			now    time.Time
			want   []Invitation
		}{
			{domain.StatusPending, now, []Invitation{wantByKey, wantResent, wantFailed, wantSent, wantQueued}},
			{domain.StatusAccepted, now, []Invitation{wantAccepted}},
			{domain.StatusCancelled, now, []Invitation{wantCancelled}},
			{domain.StatusDeclined, now, []Invitation{wantDeclined}},
			{domain.StatusExpired, now, []Invitation{wantExpired}},
			{"", now, []Invitation{wantByKey, wantExpired, wantDeclined, wantCancelled, wantAccepted, wantResent, wantFailed, wantSent, wantQueued}},
		} {
			got, _, err := p.Invitations(testContext(t), team, InvitationsFilter{Status: c.status, Now: c.now})
			if err != nil {
				t.Fatal(err)
			}
			same(t, fmt.Sprintf("status %q", c.status), c.want, got)
		}

		// Time alone makes them expire, whether it is recorded or not.
		later := expires
		got, _, err := p.Invitations(testContext(t), team, InvitationsFilter{Status: domain.StatusExpired, Now: later})
		if err != nil {
			t.Fatal(err)
		}
		ids := cmp.Transformer("id", func(i Invitation) string { return string(i.ID) + " " + string(i.Status) })
		if diff := cmp.Diff([]Invitation{
			{ID: byKey, Status: "expired"}, {ID: expired.id, Status: "expired"}, {ID: resent.id, Status: "expired"},
			{ID: failed.id, Status: "expired"}, {ID: sent.id, Status: "expired"}, {ID: queued.id, Status: "expired"},
		}, got, ids); diff != "" {
			t.Error(diff)
		}
		if got, _, err = p.Invitations(testContext(t), team, InvitationsFilter{Status: domain.StatusPending, Now: later}); err != nil || len(got) != 0 {
			t.Errorf("pending at the end: %v, %v", got, err)
		}
		due, err := p.DueInvitations(testContext(t), queued.at.Add(lifetime), 10)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "due", []DueInvitation{{team, byKey}, {team, queued.id}}, due)
		if due, err = p.DueInvitations(testContext(t), later, 3); err != nil || len(due) != 3 {
			t.Errorf("three of those that are due: %v, %v", due, err)
		}

		one, err := p.Invitation(testContext(t), team, resent.id, now)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "one", wantResent, one)
		if one, err = p.Invitation(testContext(t), team, resent.id, later); err != nil || one.Status != domain.StatusExpired {
			t.Errorf("one, later: %v, %v", one.Status, err)
		}
		if _, err := p.Invitation(testContext(t), "team_other", resent.id, now); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("as another team's: %v", err)
		}
	})
}

func TestInvitationsOfADeletedTeamAreGone(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	team := w.team(ann, "Acme")
	id := w.invite(team, ann, "", "bob@example.com")
	invited := w.last
	w.commit(teamStream(team), by{}, domain.TeamDeleted{})
	deleted := w.last
	w.deliver(team, id, 1, domain.DeliverySent, "") // the message was on its way
	all := w.commits()
	onBoth(t, func(t *testing.T, backend backend) {
		// In one batch, in two, and with a restart in between.
		for _, cuts := range [][]uint64{{w.last}, {invited, w.last}, {deleted, w.last}, {invited, deleted, w.last}} {
			p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
			at := uint64(0)
			for _, cut := range cuts {
				run, err := p.newRun(testContext(t))
				if err != nil {
					t.Fatal(err)
				}
				if err := run.handle(testContext(t), all[at:cut]); err != nil {
					t.Fatal(err)
				}
				at = cut
			}
			got, _, err := p.Invitations(testContext(t), team, InvitationsFilter{Now: w.now})
			if err != nil || len(got) != 0 {
				t.Errorf("cut at %v: %v, %v", cuts, got, err)
			}
			if due, err := p.DueInvitations(testContext(t), w.now.Add(1000*time.Hour), 10); err != nil || len(due) != 0 {
				t.Errorf("cut at %v: due: %v, %v", cuts, due, err)
			}
		}
	})
}

func TestInvitationPages(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	team := w.team(ann, "Acme")
	var want []domain.InvitationID // newest first
	for i := range 17 {
		id := w.invite(team, ann, "", fmt.Sprintf("guest%d@example.com", i))
		want = append([]domain.InvitationID{id}, want...)
	}
	before := w.last
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, before)
		for _, status := range []domain.InvitationStatus{"", domain.StatusPending} {
			var got []domain.InvitationID
			filter := InvitationsFilter{Status: status, Now: epoch, Limit: 5}
			for {
				page, next, err := p.Invitations(testContext(t), team, filter)
				if err != nil {
					t.Fatal(err)
				}
				for _, invitation := range page {
					if invitation.InvitedAt.Before(epoch.Add(time.Hour)) {
						got = append(got, invitation.ID)
					}
				}
				if next == (InvitationKey{}) {
					break
				}
				filter.After = next
				w.now = epoch.Add(2 * time.Hour)
				w.invite(team, ann, "", "late@example.com") // newer than the page: not in it
				wait(t, p, w.last)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("status %q: %s", status, diff)
			}
		}
	})
}
