package main

import (
	"slices"
	"strings"
	"testing"
)

// TestOwnershipTransferByMail is the transfer of the catalog dzbuild: the owner
// asks, the one who was chosen confirms by the link in a message.
func TestOwnershipTransferByMail(t *testing.T) {
	s := startServer(t, "--catalog=dzbuild")
	owner, account := s.signUp("olga@example.com", "")
	s.operator().put(account.path("/plan"), map[string]any{"plan": "unlimited"}).is(200)
	admin, max := account.join("ada@example.com", "admin"), account.join("max@example.com", "manager")
	const about = "olga asks you to take over"

	ask := func(by *client, password string) *answer {
		return by.post(account.path("/ownership-transfers"), map[string]any{"user_id": max.id, "password": password})
	}
	confirm := func(by *client, token string) *answer {
		return by.post("/v1/ownership-transfers/"+token+"/confirm", nil)
	}
	ask(owner, "not the owner's password").refuses(403, "wrong_password")
	ask(admin, passphrase).refuses(403, "not_permitted")
	first := ask(owner, passphrase).is(201).same("status", "pending").same("user_id", max.id)

	sent := s.letters("max@example.com", about, 1)[0]
	cancelled := sent.token(t, s.app.baseURL, "/ownership/")
	for _, part := range []string{"Hello max,", "the account Team of olga@example.com on DZBuild", "your role becomes Owner", "that of the present owner Admin", "in 3 days"} {
		if !strings.Contains(sent.Text, part) {
			t.Errorf("the message lacks %q: %s", part, sent.Text)
		}
	}
	if !strings.HasPrefix(sent.id(), "evt_") {
		t.Errorf("the message's id is %q", sent.id())
	}

	// Nobody but the one who was chosen confirms it, and not what was cancelled.
	s.anonymous().post("/v1/ownership-transfers/"+cancelled+"/confirm", nil).refuses(401, "unauthenticated")
	for _, by := range []*client{owner, admin} {
		confirm(by, cancelled).refuses(403, "wrong_account")
	}
	stranger, _ := s.signUp("eve@example.com", "")
	confirm(stranger, cancelled).refuses(404, "not_found")
	confirm(max, cancelled[1:]).refuses(404, "not_found")
	confirm(max, strings.ToLower(cancelled)).refuses(404, "not_found")
	ask(owner, passphrase).refuses(409, "transfer_pending")
	owner.delete(account.path("/ownership-transfers/" + first.text("id"))).is(204)
	confirm(max, cancelled).refuses(410, "transfer_ended")
	account.owner.get(account.path("/members/"+max.id)).is(200).same("role", "manager")

	ask(owner, passphrase).is(201)
	letters := s.letters("max@example.com", about, 2)
	token := letters[len(letters)-1].token(t, s.app.baseURL, "/ownership/")
	if len(letters) != 2 || token == cancelled || letters[0].id() == letters[1].id() {
		t.Errorf("got %+v", letters)
	}
	confirm(max, cancelled).refuses(404, "not_found")
	confirm(owner, token).refuses(403, "wrong_account")
	got := race(t, times(32, func(int) (*answer, error) {
		return max.try("POST", "/v1/ownership-transfers/"+token+"/confirm", nil)
	})...)
	if got["ok"] != 1 || got["410 transfer_ended"] != 31 {
		t.Errorf("32 confirmations of one transfer: %v", got)
	}

	owner.get(account.path("/members/"+owner.id)).is(200).same("role", "admin")
	max.get(account.path("/members/"+max.id)).is(200).same("role", "owner")
	owner.delete(account.path("/members/"+max.id)).refuses(409, "owner_is_permanent")
	ask(owner, passphrase).refuses(403, "not_permitted")
	actions := max.get(account.path("/audit-events?action=ownership.transfer_requested,ownership.transfer_cancelled,ownership.transferred")).is(200)
	want := []string{"ownership.transferred", "ownership.transfer_requested", "ownership.transfer_cancelled", "ownership.transfer_requested"}
	if got := actions.pluck("data", "action"); !slices.Equal(got, want) {
		t.Errorf("the log has %v", got)
	}
	// Only one person was ever asked.
	for _, other := range []string{"olga@example.com", "ada@example.com", "eve@example.com"} {
		if all := s.letters(other, about, 0); len(all) != 0 {
			t.Errorf("%s was asked too", other)
		}
	}
}
