package projections

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// One entry for each event of a team, and nothing for what is no entry.
func TestAuditEntries(t *testing.T) {
	w := newWorld(t)
	ann := w.register("Ann", "ann@example.com")
	bob := w.register("Bob", "bob@example.com")
	team := w.team(ann, "Acme")
	stream := teamStream(team)
	asAnn := by{actor: domain.ByUser(ann), ip: "203.0.113.9", agent: "Mozilla/5.0 <x>", request: "req-1"}
	actor := AuditActor{Type: domain.ActorUser, ID: string(ann), Name: "Ann", Email: "ann@example.com", IP: "203.0.113.9", UserAgent: "Mozilla/5.0 <x>"}
	key := domain.APIKeyID(eventstore.NewID(domain.PrefixAPIKey))
	site := domain.SiteID(eventstore.NewID(domain.PrefixSite))
	transfer := domain.TransferID(eventstore.NewID(domain.PrefixTransfer))
	invitation := w.invite(team, ann, "Bobby", "bob@example.com")
	at := w.last
	expires := time.Date(2026, 5, 1, 0, 0, 0, 123456000, time.UTC)
	member := AuditTarget{Type: "member", ID: string(bob), Name: "Bob"}
	asked := AuditTarget{Type: "invitation", ID: string(invitation), Name: "bob@example.com"}
	ofTeam := func(name string) AuditTarget { return AuditTarget{Type: "team", ID: string(team), Name: name} }
	ofSite := func(name string) AuditTarget { return AuditTarget{Type: "site", ID: string(site), Name: name} }
	ofKey := AuditTarget{Type: "api_key", ID: string(key), Name: "deploy"}

	cases := []struct {
		event         domain.Event
		action        string
		target        AuditTarget
		before, after string
	}{
		{domain.TeamRenamed{From: "Acme", To: "Acme & Co"}, "team.renamed", ofTeam("Acme & Co"), `{"name":"Acme"}`, `{"name":"Acme \u0026 Co"}`},
		{domain.PlanChanged{From: "starter", To: "growth"}, "plan.changed", ofTeam("Acme & Co"), `{"plan":"starter"}`, `{"plan":"growth"}`},
		{domain.InvitationResent{Invitation: invitation, Link: 2, ExpiresAt: expires}, "invitation.resent", asked, ``, `{"expires_at":"2026-05-01T00:00:00.123456Z"}`},
		{domain.InvitationCancelled{Invitation: invitation}, "invitation.cancelled", asked, `{"status":"pending"}`, `{"status":"cancelled"}`},
		{domain.InvitationDeclined{Invitation: invitation}, "invitation.declined", asked, `{"status":"pending"}`, `{"status":"declined"}`},
		{domain.InvitationExpired{Invitation: invitation}, "invitation.expired", asked, `{"status":"pending"}`, `{"status":"expired"}`},
		{domain.SiteAdded{Site: site, Name: "East"}, "site.added", ofSite("East"), ``, `{"name":"East"}`},
		{domain.MemberJoined{User: bob, Invitation: invitation, Role: "MEMBER", Sites: []domain.SiteGrant{{Site: site, Role: "ADMIN"}}}, "member.joined", member, ``,
			fmt.Sprintf(`{"invitation":%q,"role":"MEMBER","sites":[{"role":"ADMIN","site_id":%q}]}`, invitation, site)},
		{domain.RoleChanged{User: bob, From: "MEMBER", To: "ADMIN"}, "role.changed", member, `{"role":"MEMBER"}`, `{"role":"ADMIN"}`},
		{domain.PermissionsChanged{User: bob, After: domain.Overrides{Granted: []domain.Permission{"team:invite"}}}, "permissions.changed", member,
			`{"granted":[],"revoked":[]}`, `{"granted":["team:invite"],"revoked":[]}`},
		{domain.SitesChanged{User: bob, After: []domain.SiteGrant{{Site: site, Role: "MEMBER"}}}, "sites.changed", member,
			`{"sites":[]}`, fmt.Sprintf(`{"sites":[{"role":"MEMBER","site_id":%q}]}`, site)},
		{domain.SiteRenamed{Site: site, From: "East", To: "Orient"}, "site.renamed", ofSite("Orient"), `{"name":"East"}`, `{"name":"Orient"}`},
		{domain.SiteRemoved{Site: site, Name: "Orient"}, "site.removed", ofSite("Orient"), `{"name":"Orient"}`, ``},
		{domain.OwnershipTransferRequested{Transfer: transfer, To: bob, ExpiresAt: expires}, "ownership.transfer_requested", member, ``,
			fmt.Sprintf(`{"expires_at":"2026-05-01T00:00:00.123456Z","to":%q,"transfer":%q}`, bob, transfer)},
		{domain.OwnershipTransferCancelled{Transfer: transfer}, "ownership.transfer_cancelled", AuditTarget{Type: "ownership_transfer", ID: string(transfer)}, ``, ``},
		{domain.OwnershipTransferred{From: ann, To: bob, FromRole: "ADMIN", ToRole: "MEMBER"}, "ownership.transferred", member,
			fmt.Sprintf(`{"new_owner_role":"MEMBER","owner":%q}`, ann), fmt.Sprintf(`{"owner":%q,"previous_owner_role":"ADMIN"}`, bob)},
		{domain.APIKeyCreated{Key: key, Name: "deploy", Role: "ADMIN", Prefix: "rk_1", SecretHash: "5ec7e7", ExpiresAt: &expires}, "api_key.created", ofKey, ``,
			`{"expires_at":"2026-05-01T00:00:00.123456Z","name":"deploy","prefix":"rk_1","role":"ADMIN"}`},
		{domain.APIKeyRevoked{Key: key, Name: "deploy"}, "api_key.revoked", ofKey, `{"name":"deploy"}`, ``},
		{domain.TwoFactorPolicyChanged{
			Before: domain.TwoFactorPolicy{Required: domain.RequiredOfNobody},
			After:  domain.TwoFactorPolicy{Required: domain.RequiredOfRoles, Roles: []domain.RoleKey{"OWNER", "ADMIN"}, GraceDays: 7},
		}, "two_factor_policy.changed", ofTeam("Acme & Co"), `{"grace_days":0,"required":"nobody"}`, `{"grace_days":7,"required":"roles","roles":["OWNER","ADMIN"]}`},
		{domain.MemberLeft{User: bob, Role: "MEMBER"}, "member.left", member, `{"role":"MEMBER"}`, ``},
		{domain.MemberJoined{User: bob, Invitation: invitation, Role: "MEMBER"}, "member.joined", member, ``, fmt.Sprintf(`{"invitation":%q,"role":"MEMBER","sites":[]}`, invitation)},
		{domain.MemberRemoved{User: bob, Role: "MEMBER"}, "member.removed", member, `{"role":"MEMBER"}`, ``},
		{domain.TeamDeleted{}, "team.deleted", ofTeam("Acme & Co"), ``, ``},
	}
	var want []AuditEntry
	for _, c := range cases {
		commit := w.commit(stream, asAnn, c.event)
		want = append(want, AuditEntry{
			ID: commit.ID(), Position: commit.Position, At: commit.At, Action: c.action, Actor: actor, Target: c.target,
			Before: raw(c.before), After: raw(c.after), RequestID: "req-1",
		})
	}
	w.signIn(bob)                  // who is in no team any more
	w.rename(ann, "Somebody Else") // which changes no entry
	w.deliver(team, invitation, 1, domain.DeliverySent, "")
	slices.Reverse(want)

	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		entries, next, err := p.Audit(testContext(t), team, AuditFilter{})
		if err != nil || next != (AuditKey{}) {
			t.Fatal(err, next)
		}
		got := slices.DeleteFunc(slices.Clone(entries), func(e AuditEntry) bool { return e.Position <= at })
		same(t, "entries", want, got)

		first := entries[len(got):]
		if len(first) != 2 || first[0].Action != "member.invited" || first[1].Action != "team.created" {
			t.Fatalf("the first entries are %+v", first)
		}
		same(t, "invited", asked, first[0].Target)
		same(t, "created", ofTeam("Acme"), first[1].Target)
		same(t, "created", fmt.Sprintf(`{"catalog":"distribu","name":"Acme","owner":%q,"plan":"starter"}`, ann), string(first[1].After))
		if backend.name == "SQLite" {
			for _, entry := range entries {
				for _, object := range []json.RawMessage{entry.Before, entry.After} {
					if object != nil && !json.Valid(object) {
						t.Errorf("%s: %s is no JSON", entry.Action, object)
					}
				}
			}
		}
	})
}

func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// Sign-ins stand in the log of every team that the user is in at the time.
func TestAuditOfSessions(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com")
	one, two, gone := w.team(ann, "One"), w.team(ann, "Two"), w.team(ann, "Gone")
	w.signIn(bob)
	w.join(one, ann, bob)
	w.join(gone, ann, bob)
	w.signIn(bob)
	w.commit(teamStream(gone), by{}, domain.TeamDeleted{})
	w.join(two, ann, bob)
	session := w.signIn(bob)
	in := w.last
	w.commit(teamStream(one), by{}, domain.MemberRemoved{User: bob, Role: "MEMBER"})
	w.commit(activityStream(bob), by{actor: domain.ByUser(bob)}, domain.SessionEnded{User: bob, Session: session})
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		for team, want := range map[domain.TeamID][]string{
			one: {"session.started", "session.started"}, two: {"session.ended", "session.started"}, gone: {"session.started"},
		} {
			entries, _, err := p.Audit(testContext(t), team, AuditFilter{Actions: []string{"session.started", "session.ended"}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, entry := range entries {
				got = append(got, entry.Action)
				if entry.Position == in {
					same(t, "target", AuditTarget{Type: "session", ID: string(session)}, entry.Target)
					same(t, "actor", AuditActor{
						Type: domain.ActorUser, ID: string(bob), Name: "Bob", Email: "bob@example.com", IP: "203.0.113.7", UserAgent: "Mozilla/5.0",
					}, entry.Actor)
				}
			}
			same(t, "actions", want, got)
		}
	})
}

// What a user changes about their own sign-in stands in the log of every team
// that they are in at the time, and nothing of what it was changed to.
func TestAuditOfTwoFactor(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com")
	one, two := w.team(ann, "One"), w.team(ann, "Two")
	w.join(one, ann, bob)
	asBob := by{actor: domain.ByUser(bob), ip: "203.0.113.9", agent: "Mozilla/5.0 <x>", request: "req-1"}
	codes := []domain.RecoveryHash{"ha5h"}
	var want []AuditEntry
	for _, c := range []struct {
		event         domain.Event
		action, after string
	}{
		{domain.TwoFactorEnabled{Secret: w.seal(w.newKey(), "p", "secret"), RecoveryCodes: codes}, "two_factor.enabled", ""},
		{domain.RecoveryCodeUsed{RecoveryCode: "ha5h", Left: 9}, "two_factor.recovery_code_used", `{"left":9}`},
		{domain.PasskeyAdded{Passkey: "pky_1", Name: "n", Credential: "c", Count: 3}, "passkey.added", ""},
		{domain.PasskeyRefused{Passkey: "pky_1", Count: 4, Last: 5}, "passkey.refused", `{"count":4}`},
		{domain.PasskeyRemoved{Passkey: "pky_1"}, "passkey.removed", ""},
		{domain.RecoveryCodesRenewed{RecoveryCodes: codes}, "two_factor.recovery_codes_renewed", ""},
		{domain.TwoFactorDisabled{}, "two_factor.disabled", ""},
	} {
		commit := w.commit(userStream(bob), asBob, c.event)
		target := AuditTarget{Type: "member", ID: string(bob), Name: "Bob"}
		before := ""
		if strings.HasPrefix(c.action, "passkey.") {
			target = AuditTarget{Type: "passkey", ID: "pky_1"}
		}
		if c.action == "passkey.refused" {
			before = `{"count":5}`
		}
		want = append(want, AuditEntry{
			ID: commit.ID(), Position: commit.Position, At: commit.At, Action: c.action, RequestID: "req-1", Before: raw(before), After: raw(c.after),
			Actor:  AuditActor{Type: domain.ActorUser, ID: string(bob), Name: "Bob", Email: "bob@example.com", IP: "203.0.113.9", UserAgent: "Mozilla/5.0 <x>"},
			Target: target,
		})
	}
	w.join(two, ann, bob)
	w.commit(userStream(bob), asBob, domain.PasskeyUsed{Passkey: "pky_1", Count: 9}) // its session is entered
	w.commit(userStream(bob), asBob, domain.ActiveTeamChanged{Team: two})            // no entry
	slices.Reverse(want)
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		for team, want := range map[domain.TeamID][]AuditEntry{one: want, two: {}} {
			entries, _, err := p.Audit(testContext(t), team, AuditFilter{Actor: string(bob)})
			if err != nil {
				t.Fatal(err)
			}
			same(t, "entries", want, slices.DeleteFunc(entries, func(e AuditEntry) bool { return e.Action == "member.joined" }))
		}
	})
}

// What a host product did is shown as it said, by whom and from where it said
// so, and never with a name that Roster knows and the team doesn't.
func TestAuditOfHostActions(t *testing.T) {
	w := newWorld(t)
	ann, bob, eve := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com"), w.register("Eve", "eve@example.com")
	team, other := w.team(ann, "Acme"), w.team(eve, "Other")
	w.join(team, ann, bob)
	key, contentKey := domain.APIKeyID(eventstore.NewID(domain.PrefixAPIKey)), w.newKey()
	w.commit(teamStream(team), by{actor: domain.ByUser(ann)}, domain.APIKeyCreated{Key: key, Name: "shop", Role: "ADMIN", Prefix: "rk_1", SecretHash: "00"})
	stream := eventstore.Stream{Kind: eventstore.KindActivity, ID: eventstore.NewID("host")}
	record := func(by by, events ...domain.HostActionRecorded) *eventstore.Commit {
		c := w.prepare(stream, by, make([]domain.Event, len(events))...)
		for i, e := range events {
			place := string(c.Events[i].ID)
			e.Team, e.Action = team, "order.shipped"
			if e.Content != "" {
				e.Content = w.seal(contentKey, place+"/content", string(e.Content))
			}
			if e.By != nil {
				e.By.Origin = w.seal(w.keys[ann], place+"/origin", `{"ip":"192.0.2.1","user_agent":"shop/1"}`)
			}
			c.Events[i].Event = e
		}
		w.fatal(w.store.Append(testContext(t), c))
		w.last = c.Position
		return c
	}
	occurred := epoch.Add(-time.Hour)
	content := domain.Sealed(`{"name":"Order <42>","detail":{"total":12.50}}`)
	alone := record(by{actor: domain.ByUser(ann), ip: "203.0.113.9", agent: "Mozilla", request: "req-1"},
		domain.HostActionRecorded{TargetType: "order", TargetID: "42", Content: content, OccurredAt: occurred})
	w.rename(bob, "Robert")
	ofShop := func(request string) *domain.HostActor {
		return &domain.HostActor{Actor: domain.ByAPIKey(key), Request: request}
	}
	together := record(by{},
		domain.HostActionRecorded{TargetType: "member", TargetID: string(eve), OnBehalfOf: bob, By: ofShop("req-2")},
		domain.HostActionRecorded{TargetType: "team", TargetID: string(other), OnBehalfOf: eve, By: ofShop("req-3")},
		domain.HostActionRecorded{TargetType: "member", TargetID: string(bob), Content: content, By: &domain.HostActor{Actor: domain.ByUser(bob), Request: "req-4"}})
	w.commit(teamStream(team), by{}, domain.MemberRemoved{User: bob, Role: "MEMBER"})
	gone := record(by{}, domain.HostActionRecorded{TargetType: "order", TargetID: "1", OnBehalfOf: bob, By: ofShop("req-5")})

	shop := AuditActor{Type: domain.ActorAPIKey, ID: string(key), Name: "shop", IP: "192.0.2.1", UserAgent: "shop/1"}
	entry := func(c *eventstore.Commit, i int, actor AuditActor, target AuditTarget, request string) AuditEntry {
		return AuditEntry{ID: c.Events[i].ID, Position: c.Position, Index: i, At: c.At, Action: "order.shipped", Actor: actor, Target: target, RequestID: request}
	}
	want := []AuditEntry{
		entry(gone, 0, shop, AuditTarget{Type: "order", ID: "1"}, "req-5"),
		entry(together, 2, AuditActor{Type: domain.ActorUser, ID: string(bob), Name: "Robert", Email: "bob@example.com", IP: "192.0.2.1", UserAgent: "shop/1"},
			AuditTarget{Type: "member", ID: string(bob), Name: "Order <42>"}, "req-4"),
		entry(together, 1, shop, AuditTarget{Type: "team", ID: string(other)}, "req-3"),
		entry(together, 0, shop, AuditTarget{Type: "member", ID: string(eve)}, "req-2"),
		entry(alone, 0, AuditActor{Type: domain.ActorUser, ID: string(ann), Name: "Ann", Email: "ann@example.com", IP: "203.0.113.9", UserAgent: "Mozilla"},
			AuditTarget{Type: "order", ID: "42", Name: "Order <42>"}, "req-1"),
	}
	want[0].OnBehalfOf = AuditPerson{ID: bob}
	want[1].Detail = raw(`{"total":12.50}`)
	want[2].OnBehalfOf = AuditPerson{ID: eve}
	want[3].OnBehalfOf = AuditPerson{ID: bob, Name: "Robert", Email: "bob@example.com"}
	want[4].Detail, want[4].OccurredAt = raw(`{"total":12.50}`), occurred
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		for range 2 { // with labels from the table, and from memory
			entries, _, err := p.Audit(testContext(t), team, AuditFilter{Actions: []string{"order.shipped"}})
			if err != nil {
				t.Fatal(err)
			}
			same(t, "entries", want, entries)
		}
		if entries, _, err := p.Audit(testContext(t), other, AuditFilter{}); err != nil || len(entries) != 1 {
			t.Errorf("the other team has %d entries, %v", len(entries), err)
		}
	})

	// Who is erased is out of the log at once, and so is what was sealed apart.
	_, err := w.store.Vault().Erase(testContext(t), w.keys[bob], contentKey)
	w.fatal(err)
	for i := range want {
		want[i].Detail = nil
		if want[i].Target.Name != "" {
			want[i].Target.Name = ""
		}
		if want[i].OnBehalfOf.ID == bob {
			want[i].OnBehalfOf = AuditPerson{ID: bob}
		}
	}
	want[1].Actor.Name, want[1].Actor.Email = "", ""
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		entries, _, err := p.Audit(testContext(t), team, AuditFilter{Actions: []string{"order.shipped"}})
		if err != nil {
			t.Fatal(err)
		}
		same(t, "entries after erasure", want, entries)
	})
}

// An entry shows the name at its time, also where it changes within a page.
func TestAuditNamesAreOfTheirTime(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.register("Ann", "ann@example.com"), w.register("Bob", "bob@example.com")
	team := w.team(ann, "Acme")
	w.join(team, ann, bob)
	var want []string
	for i := range 5 {
		name := fmt.Sprintf("Bob %d", i)
		w.rename(bob, name)
		for range 2 {
			w.commit(teamStream(team), by{actor: domain.ByUser(bob)}, domain.RoleChanged{User: bob, From: "MEMBER", To: "ADMIN"})
			want = append(want, name+" "+name+" bob@example.com")
		}
	}
	slices.Reverse(want)
	onBoth(t, func(t *testing.T, backend backend) {
		p := newProjections(t, openDatabase(t, backend.config(t)), w.store.Vault())
		start(t, p, w.store)
		wait(t, p, w.last)
		entries, _, err := p.Audit(testContext(t), team, AuditFilter{Actions: []string{"role.changed"}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, entry := range entries {
			got = append(got, entry.Actor.Name+" "+entry.Target.Name+" "+entry.Actor.Email)
		}
		same(t, "names", want, got)
	})
}

// What is in no table can't leak from one.
func TestAuditTablesHoldNoPersonalData(t *testing.T) {
	s := simulate(t, 3, 200)
	onBoth(t, func(t *testing.T, backend backend) {
		db := openDatabase(t, backend.config(t))
		p := newProjections(t, db, s.store.Vault())
		start(t, p, s.store)
		wait(t, p, s.last)
		for _, name := range []string{"audit", "invitations"} {
			text := fmt.Sprint(dump(t, db, name))
			for _, secret := range []string{"@example.com", "198.51.100.1", "203.0.113.7", "Mozilla"} {
				if i := indexIn(text, secret); i >= 0 {
					t.Errorf("the tables of %s hold %q: …%s…", name, secret, text[max(0, i-80):i+40])
				}
			}
		}
	})
}

func TestParseOrigin(t *testing.T) {
	for origin, want := range map[string][2]string{
		``:                                      {},
		`{"ip":"203.0.113.7","user_agent":"x"}`: {"203.0.113.7", "x"},
		`{"ip":"","user_agent":""}`:             {},
		`{"ip":"::1","user_agent":"a \"b\" \\ é <c>"}`: {"::1", `a "b" \ é <c>`},
		`{"user_agent":"x","ip":"1"}`:                  {"1", "x"},
		`{"ip":"1"}`:                                   {"1", ""},
		`{"ip":"1","user_agent":"x","more":"y"}`:       {"1", "x"},
	} {
		ip, agent, err := parseOrigin(origin)
		if err != nil || ip != want[0] || agent != want[1] {
			t.Errorf("%s: %q, %q, %v", origin, ip, agent, err)
		}
	}
	if _, _, err := parseOrigin("nonsense"); err == nil {
		t.Error("nonsense was taken")
	}
}

// A host product can take none of the names that Roster gives to its entries.
func TestActionsOfEventsAreReserved(t *testing.T) {
	s := simulate(t, 5, 400)
	for _, c := range s.commits() {
		for _, recorded := range c.Events {
			entry, ok := auditEntryOf(recorded.Event, "team")
			if ok && !slices.Contains(domain.AuditActions, entry.action) {
				t.Errorf("%s isn't among domain.AuditActions", entry.action)
			}
		}
	}
}
