package domain_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// until makes somebody's membership end.
func until(u user, at time.Time) evs { return evs{domain.ExpiryChanged{User: u, After: at}} }

func onSite(at time.Time, id domain.SiteID, r role) grant {
	return grant{Site: id, Role: r, ExpiresAt: at}
}

// passingOverrides are overrides that end, all at once.
func passingOverrides(at time.Time, granted, revoked string) domain.Overrides {
	o := overrides(granted, revoked)
	o.Expirations = map[domain.Permission]time.Time{}
	for _, p := range append(o.Granted, o.Revoked...) {
		o.Expirations[p] = at
	}
	return o
}

func override(by domain.Actor, u user, o domain.Overrides) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.SetOverrides(by, u, o, now) }
}

func inviteUntil(by domain.Actor, u user, r role, at time.Time, sites ...grant) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Invite(by, domain.NewInvitation{ID: inv(u), Address: address(u), Email: email(u), Role: r, Sites: sites, AccessExpiresAt: at}, now)
	}
}

func TestAccessThatEnds(t *testing.T) {
	friday := t0.Add(3 * day)
	before, later := friday.Add(-time.Microsecond), friday.Add(day)
	base := given(created("default"), plan("team"), site("north", "south"),
		joined("ann", "admin"), joined("bob", "member", grants("north", "member")...), joined("cid", "manager"))
	with := func(more ...evs) evs { return given(append([]evs{base}, more...)...) }
	bobEnds := with(until("bob", friday))
	bobExpired := domain.MemberExpired{User: "bob", Role: "member", ExpiredAt: friday}
	annEnds := with(until("ann", friday))
	sited := with(evs{domain.SitesChanged{User: "bob", After: []grant{onSite(friday, "north", "member"), {Site: "south", Role: "viewer"}}}})
	passing := passingOverrides(friday, "billing:read", "orders:read")
	overruled := with(evs{domain.PermissionsChanged{User: "bob", After: passing}})
	back := with(until("bob", friday), evs{domain.MemberInvited{
		Invitation: "inv-again", Address: address("bob"), Role: "viewer", ExpiresAt: friday.Add(7 * day), AccessExpiresAt: later,
		Sites: []grant{onSite(friday, "north", "viewer"), {Site: "south", Role: "viewer"}},
	}})
	acceptAgain := func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Accept("inv-again", "bob", address("bob"), now)
	}
	tooLong := *domain.ErrRankTooLow
	tooLong.Field = "#/expires_at"
	onField := func(pointer string) *domain.Error {
		e := tooLong
		e.Field = pointer
		return &e
	}
	wrong := func(pointer string) *domain.Error {
		return &domain.Error{Code: "invalid_field", Field: pointer}
	}
	check(t, []scenario{
		// Whose membership ends, and when.
		{"an end is set", base, now, setExpiry(as(owner), "bob", friday), evs{domain.ExpiryChanged{User: "bob", After: friday}}, nil},
		{"it is put off", bobEnds, now, setExpiry(as(owner), "bob", later), evs{domain.ExpiryChanged{User: "bob", Before: friday, After: later}}, nil},
		{"it is lifted", bobEnds, now, setExpiry(as(owner), "bob", time.Time{}), evs{domain.ExpiryChanged{User: "bob", Before: friday}}, nil},
		{"it is so already", bobEnds, now, setExpiry(as(owner), "bob", friday), nil, nil},
		{"not now", base, friday, setExpiry(as(owner), "bob", friday), nil, wrong("#/expires_at")},
		{"not further off than 10 years", base, now, setExpiry(as(owner), "bob", now.AddDate(10, 0, 0).Add(1)), nil, wrong("#/expires_at")},
		{"in 10 years", base, now, setExpiry(as(owner), "bob", now.AddDate(10, 0, 0)), evs{domain.ExpiryChanged{User: "bob", After: now.AddDate(10, 0, 0)}}, nil},
		{"the owner's never", base, now, setExpiry(as("ann"), owner, friday), nil, domain.ErrOwnerIsPermanent},
		{"not even by themselves", base, now, setExpiry(as(owner), owner, friday), nil, domain.ErrOwnerIsPermanent},
		{"nobody decides on themselves", base, now, setExpiry(as("ann"), "ann", friday), nil, domain.ErrCannotRemoveSelf},
		{"it takes what removing takes", base, now, setExpiry(as("cid"), "bob", friday), nil, domain.ErrNotPermitted},
		{"a stranger learns nothing", base, now, setExpiry(as("mallory"), "bob", friday), nil, domain.ErrNotFound},
		{"one whose membership has ended is nobody", bobEnds, friday, setExpiry(as(owner), "bob", later), nil, domain.ErrNotFound},
		{"nor do they set ends", annEnds, friday, setExpiry(as("ann"), "bob", later), nil, domain.ErrNotFound},

		// From that instant on they are no member.
		{"a role to the last", bobEnds, before, changeRole(as(owner), "bob", "viewer"), evs{domain.RoleChanged{User: "bob", From: "member", To: "viewer"}}, nil},
		{"and none after", bobEnds, friday, changeRole(as(owner), "bob", "viewer"), nil, domain.ErrNotFound},
		{"nobody to remove", bobEnds, friday, remove(as(owner), "bob"), nil, domain.ErrNotFound},
		{"nobody who leaves", bobEnds, friday, leave("bob"), nil, domain.ErrNotFound},
		{"nobody to become owner", bobEnds, friday, requestTransfer(as(owner), "bob"), nil, wrong("#/user_id")},
		{"nobody who confirms", with(requested("bob"), until("bob", t0.Add(day))), t0.Add(day), confirmTransfer("bob"), nil, domain.ErrTransferEnded},
		{"a transfer that ended so leaves room", with(requested("bob"), until("bob", t0.Add(day))), t0.Add(day), requestTransfer(as(owner), "ann"),
			evs{domain.OwnershipTransferRequested{Transfer: "trf-1", To: "ann", ExpiresAt: t0.Add(4 * day)}}, nil},
		{"invited again", bobEnds, friday, invite(as(owner), "bob", "viewer"),
			evs{domain.MemberInvited{Invitation: "inv-bob", Address: address("bob"), Email: email("bob"), Role: "viewer", Sites: []grant{}, ExpiresAt: friday.Add(7 * day)}}, nil},
		{"but not a moment sooner", bobEnds, before, invite(as(owner), "bob", "viewer"), nil, domain.ErrAlreadyMember},
		{"back, with the end on record and what still stands", back, friday, acceptAgain, evs{bobExpired, domain.MemberJoined{
			User: "bob", Invitation: "inv-again", Role: "viewer", Sites: grants("south", "viewer"), ExpiresAt: later,
		}}, nil},
		{"not a moment sooner either", back, before, acceptAgain, nil, domain.ErrAlreadyMember},
		{"the end is recorded", bobEnds, friday, lapse("bob"), evs{bobExpired}, nil},
		{"not before", bobEnds, before, lapse("bob"), nil, nil},
		{"and once", with(until("bob", friday), evs{bobExpired}), friday, lapse("bob"), nil, nil},
		{"a new owner stays for good", bobEnds, now, operatorTransfer(domain.Operator, "bob"), evs{domain.OwnershipTransferred{
			From: owner, To: "bob", FromRole: "admin", ToRole: "member", ToExpiresAt: friday,
		}}, nil},

		// Roles on sites and overrides.
		{"a role on a site to the last", sited, before, lapse("bob"), nil, nil},
		{"its end is recorded", sited, friday, lapse("bob"), evs{domain.SitesExpired{User: "bob", Sites: []grant{onSite(friday, "north", "member")}}}, nil},
		{"also by a change that leaves it out", sited, friday, setSites(as(owner), "bob"), evs{
			domain.SitesExpired{User: "bob", Sites: []grant{onSite(friday, "north", "member")}},
			domain.SitesChanged{User: "bob", Before: grants("south", "viewer"), After: []grant{}},
		}, nil},
		{"a role on a site with an end that is over", base, friday, setSites(as(owner), "bob", onSite(friday, "north", "member")), nil, wrong("#/sites")},
		{"overrides that end", base, now, override(as(owner), "bob", passing), evs{domain.PermissionsChanged{
			User: "bob", Before: domain.Overrides{Granted: []domain.Permission{}, Revoked: []domain.Permission{}}, After: passing,
		}}, nil},
		{"their end is recorded", overruled, friday, lapse("bob"), evs{domain.PermissionsExpired{User: "bob", Overrides: passing}}, nil},
		{"an end of what isn't overridden", base, now, override(as(owner), "bob", domain.Overrides{
			Granted: []domain.Permission{"billing:read"}, Expirations: map[domain.Permission]time.Time{"orders:read": friday},
		}), nil, wrong("#/expirations")},
		{"an override with an end that is over", base, friday, override(as(owner), "bob", passing), nil, wrong("#/expirations")},
		{"all of it on record when somebody is removed", with(until("bob", later), evs{domain.PermissionsChanged{User: "bob", After: passing}}), friday, remove(as(owner), "bob"),
			evs{domain.PermissionsExpired{User: "bob", Overrides: passing}, domain.MemberRemoved{User: "bob", Role: "member"}}, nil},

		// Invitations to access that ends.
		{"an invitation to it", base, now, inviteUntil(as(owner), "eve", "member", t0.Add(30*day)), evs{domain.MemberInvited{
			Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Role: "member", Sites: []grant{}, ExpiresAt: now.Add(7 * day), AccessExpiresAt: t0.Add(30 * day),
		}}, nil},
		{"never lasts longer", base, now, inviteUntil(as(owner), "eve", "member", friday), evs{domain.MemberInvited{
			Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Role: "member", Sites: []grant{}, ExpiresAt: friday, AccessExpiresAt: friday,
		}}, nil},
		{"with an end that is over", base, friday, inviteUntil(as(owner), "eve", "member", friday), nil, wrong("#/access_expires_at")},
		{"isn't sent again when the access is over", with(evs{domain.MemberInvited{Invitation: "inv-eve", Address: address("eve"), Role: "member", ExpiresAt: friday, AccessExpiresAt: friday}}),
			friday, resend(as(owner), "eve"), nil, domain.ErrInvitationExpired},

		// Nobody gives access that lasts longer than their own.
		{"as long as one's own", annEnds, now, inviteUntil(as("ann"), "eve", "member", friday), evs{domain.MemberInvited{
			Invitation: "inv-eve", Address: address("eve"), Email: email("eve"), Role: "member", Sites: []grant{}, ExpiresAt: friday, AccessExpiresAt: friday,
		}}, nil},
		{"not a moment longer", annEnds, now, inviteUntil(as("ann"), "eve", "member", friday.Add(1)), nil, onField("#/access_expires_at")},
		{"not for good", annEnds, now, invite(as("ann"), "eve", "member"), nil, onField("#/access_expires_at")},
		{"nor an end put off for too long", with(until("ann", friday), until("bob", before)), now, setExpiry(as("ann"), "bob", later), nil, onField("#/expires_at")},
		{"an end may be brought forward", annEnds, now, setExpiry(as("ann"), "bob", later), evs{domain.ExpiryChanged{User: "bob", After: later}}, nil},
		{"nor a higher role for good", annEnds, now, changeRole(as("ann"), "bob", "manager"), nil, onField("#/role")},
		{"a lower one is no gift", annEnds, now, changeRole(as("ann"), "bob", "viewer"), evs{domain.RoleChanged{User: "bob", From: "member", To: "viewer"}}, nil},
		{"a higher one for as long", with(until("ann", friday), until("bob", friday)), now, changeRole(as("ann"), "bob", "manager"), evs{domain.RoleChanged{User: "bob", From: "member", To: "manager"}}, nil},
		{"nor a role on a site", annEnds, now, setSites(as("ann"), "bob", grants("south", "member")...), nil, onField("#/sites")},
		{"nor an override", annEnds, now, setOverrides(as("ann"), "bob", "members:read", ""), nil, onField("#/expirations")},
		{"nor a key", annEnds, now, createKey(as("ann"), "k", "viewer"), nil, onField("#/expires_at")},
	})

	// Undo goes by what still can be.
	t.Run("undo", func(t *testing.T) {
		state := fold(with(until("bob", friday), evs{domain.ExpiryChanged{User: "bob", Before: friday, After: later}}))
		change := domain.ExpiryChanged{User: "bob", Before: friday, After: later}
		got, err := state.Undo(as(owner), change, now)
		if diff := cmp.Diff(evs{domain.ExpiryChanged{User: "bob", Before: later, After: friday}}, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if got, err := state.Undo(as(owner), change, friday); err == nil || got != nil {
			t.Errorf("an end in the past came back: %v", got)
		}
	})
}

// A key of somebody's whose access ends can't be used to outlast them.
func TestAKeyMadeByOneWhoseAccessEnds(t *testing.T) {
	friday := t0.Add(3 * day)
	state := fold(given(created("default"), plan("team"), joined("ann", "admin"), until("ann", friday)))
	events, err := state.CreateAPIKey(as("ann"), domain.NewAPIKey{ID: "k", Name: "k", Role: "admin", ExpiresAt: &friday}, now)
	if err != nil {
		t.Fatal(err)
	}
	state.Apply(events[0], meta(99, as("ann"), now))
	if _, err := invite(asKey("k"), "eve", "member")(state, now); !errors.Is(err, domain.ErrRankTooLow) {
		t.Errorf("the key invites for good: %v", err)
	}
	if _, err := inviteUntil(asKey("k"), "eve", "member", friday)(state, now); err != nil {
		t.Errorf("the key doesn't invite for as long as it lasts: %v", err)
	}
	// The end of another key is its own.
	ends := t0.Add(day)
	other := fold(given(created("default"), plan("team"), evs{domain.APIKeyCreated{Key: "k", Role: "admin", ExpiresAt: &ends}}))
	if _, err := invite(asKey("k"), "eve", "member")(other, now); err != nil {
		t.Error(err)
	}
}

func TestSeatsAreFreeAtTheInstant(t *testing.T) {
	friday := t0.Add(3 * day)
	events := given(created("default")) // free: 5 seats
	for _, u := range []user{"ann", "bob", "cid", "dan"} {
		events = given(events, joined(u, "member"))
	}
	state := fold(given(events, until("dan", friday)))
	if _, err := invite(as(owner), "eve", "member")(state, friday.Add(-time.Microsecond)); err == nil {
		t.Error("a seat too many")
	}
	if _, err := invite(as(owner), "eve", "member")(state, friday); err != nil {
		t.Error(err)
	}
	if got := state.Seats(friday).Members; got != 4 {
		t.Errorf("%d members take a seat", got)
	}
	var listed []user
	for _, m := range state.Members(0, friday) {
		listed = append(listed, m.User)
	}
	if diff := cmp.Diff([]user{owner, "ann", "bob", "cid"}, listed); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersSayUntilWhen(t *testing.T) {
	first, second, third := t0.Add(day), t0.Add(2*day), t0.Add(3*day)
	granted, revoked := passingOverrides(first, "billing:read", ""), passingOverrides(second, "", "orders:read")
	maps.Copy(granted.Expirations, revoked.Expirations)
	granted.Revoked = revoked.Revoked
	state := fold(given(created("default"), plan("team"), site("north", "south"), joined("bob", "member"), until("bob", third),
		evs{domain.SitesChanged{User: "bob", After: []grant{onSite(second, "north", "member"), {Site: "south", Role: "member"}}}},
		evs{domain.PermissionsChanged{User: "bob", After: granted}}))
	for _, c := range []struct {
		name       string
		permission domain.Permission
		site       domain.SiteID
		allowed    bool
		until      time.Time
	}{
		{"the membership", "team:read", "", true, third},
		{"the role on a site", "orders:update", "north", true, second},
		{"the membership, before the role on a site that doesn't end", "orders:update", "south", true, third},
		{"a permission granted", "billing:read", "", true, first},
		{"a permission revoked", "orders:read", "south", false, second},
		{"what isn't allowed anyway", "team:delete", "", false, time.Time{}},
	} {
		got := state.Can(as("bob"), c.permission, c.site, now)
		if got.Allowed != c.allowed || !got.Until.Equal(c.until) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { state.Can(as("bob"), "orders:update", "north", now) }); n > 0 {
		t.Errorf("a decision allocates %v times", n)
	}
}

// Who has gone by the end of a membership has left the review, on record or not.
func TestReviewsOfMembersWhoseAccessEnds(t *testing.T) {
	friday := t0.Add(3 * day)
	base := given(created("tenants"), joined("ann", "admin"), joined("bob", "member"), joined("cid", "member"), until("cid", t0.Add(time.Minute)), until("bob", friday))
	state := fold(base)
	events, err := openReview(as(owner), "", nil)(state, now)
	if diff := cmp.Diff(opened(3), events); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	state.Apply(events[0], meta(50, as(owner), now))
	for _, record := range []bool{false, true} {
		if record {
			for _, u := range []user{"bob", "cid"} {
				for i, event := range state.ExpireMember(u, friday) {
					state.Apply(event, meta(60+i, domain.Roster, friday.Add(time.Minute)))
				}
			}
		}
		if got := state.Standing(state.Reviews()[0], friday); got.Left != 1 || got.Undecided() != 2 {
			t.Errorf("recorded %t: %+v", record, got)
		}
		var gone []user
		for _, one := range state.UnderReview(0, friday) {
			if !one.Left.IsZero() {
				gone = append(gone, one.User)
				if !one.Left.Equal(friday) {
					t.Errorf("left at %v", one.Left)
				}
			}
		}
		if diff := cmp.Diff([]user{"bob"}, gone); diff != "" {
			t.Errorf("recorded %t: %s", record, diff)
		}
		if _, err := decide(as("ann"), "bob", domain.DecisionKept)(state, friday); err == nil {
			t.Error("somebody who is gone was kept")
		}
		closing, err := closeReview(as(owner))(state, friday)
		want := evs{domain.AccessReviewClosed{Review: "rev-1", Left: 1, Undecided: 2}}
		if diff := cmp.Diff(want, closing); err != nil || diff != "" {
			t.Errorf("recorded %t: %v %s", record, err, diff)
		}
	}
}

// What ended by itself differs between two moments without an event between.
func TestComparingGoesByTheTimes(t *testing.T) {
	friday := t0.Add(3 * day)
	state := fold(given(created("default"), plan("team"), site("north"), joined("ann", "admin"), joined("bob", "member"), until("bob", friday),
		evs{domain.SitesChanged{User: "ann", After: []grant{onSite(friday, "north", "member")}}}))
	got := domain.Compare(state, state, now, friday)
	if len(got) != 2 || got[0].ID != "ann" || got[0].Change != "changed" || got[1].ID != "bob" || got[1].Change != "removed" {
		t.Errorf("%+v", got)
	}
	if same := domain.Compare(state, state, now, friday.Add(-1)); len(same) != 0 {
		t.Errorf("%+v", same)
	}
}
