package api

import (
	"testing"
	"time"

	"roster/domain"
)

// What the pages that links lead to are made of.

func TestAPreviewOfAnInvitationTellsEverything(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "unlimited"}, bearer(w.operator)).is(200)
	north := w.call("POST", team+"/sites", map[string]any{"name": "North"}, owner.auth()).is(201)
	gone := w.call("POST", team+"/sites", map[string]any{"name": "Gone"}, owner.auth()).is(201)
	invited := w.call("POST", team+"/invitations", map[string]any{
		"email": newEmail(), "role": "operator", "sites": []any{
			map[string]any{"site_id": north.text("id"), "role": "manager"}, map[string]any{"site_id": gone.text("id"), "role": "operator"},
		},
	}, owner.auth()).is(201)
	w.call("DELETE", team+"/sites/"+gone.text("id"), nil, owner.auth()).is(204)

	preview := w.call("GET", "/v1/invitations/"+tokenOf(invited), nil).is(200)
	sites, _ := preview.at("sites").([]any)
	if len(sites) != 1 || preview.text("sites", 0, "name") != "North" || preview.text("sites", 0, "role_name") != "Manager" ||
		preview.text("labels", "team") != "account" || preview.text("labels", "site") != "store" || preview.text("role_description") == "" {
		t.Errorf("the preview is %s", preview.raw)
	}
}

func TestTheHolderOfATransferSeesWhatItDoes(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "unlimited"}, bearer(w.operator)).is(200)
	chosen, other := w.join(owner, "manager"), w.join(owner, "admin")
	ask := func() (id, path string) {
		asked := w.call("POST", team+"/ownership-transfers", map[string]any{"user_id": chosen.id, "password": password}, owner.auth()).is(201)
		return asked.text("id"), "/v1/ownership-transfers/" + w.service.TransferToken(domain.TeamID(owner.team), domain.TransferID(asked.text("id")))
	}
	id, link := ask()
	for _, reader := range []struct {
		next string
		as   []with
	}{
		{"sign_in", nil}, {"confirm", []with{chosen.auth()}}, {"wrong_account", []with{other.auth()}}, {"wrong_account", []with{owner.auth()}},
	} {
		seen := w.call("GET", link, nil, reader.as...).is(200)
		if seen.text("next") != reader.next || seen.text("from", "user_id") != owner.id || seen.text("to", "email") != chosen.email ||
			seen.text("previous_owner_role_name") != "Admin" || seen.text("labels", "team") != "account" {
			t.Errorf("somebody who is to %s sees %s", reader.next, seen.raw)
		}
	}
	w.call("GET", link+"x", nil).is(404)

	w.call("DELETE", team+"/ownership-transfers/"+id, nil, owner.auth()).is(204)
	if ended := w.call("GET", link, nil).is(410, "transfer_ended"); ended.text("detail") != "The ownership transfer has been cancelled." {
		t.Errorf("cancelled: %s", ended.raw)
	}
	_, link = ask()
	w.clock.forward(30 * 24 * time.Hour)
	w.call("GET", link, nil).is(410, "transfer_expired")
	owner.token, chosen.token = w.signIn(owner).is(201).text("token"), w.signIn(chosen).is(201).text("token")
	_, link = ask()
	w.call("POST", link+"/confirm", nil, chosen.auth()).is(200)
	if ended := w.call("GET", link, nil).is(410, "transfer_ended"); ended.text("detail") != "The ownership transfer has been confirmed already." {
		t.Errorf("confirmed: %s", ended.raw)
	}
}

func TestALinkThatResetsAPasswordIsChecked(t *testing.T) {
	w := newWorld(t, options{})
	ada := w.signUp()
	after := w.position()
	w.askReset(ada.email).is(202)
	link := "/v1/password-resets/" + w.resetToken(after)
	if seen := w.call("GET", link, nil).is(200); seen.text("expires_at") == "" {
		t.Errorf("the link is %s", seen.raw)
	}
	w.call("GET", link+"x", nil).is(404)
	w.clock.forward(11 * time.Minute)
	w.call("GET", link, nil).is(410, "reset_expired")
	w.call("GET", "/v1/me", nil, ada.auth()).is(200) // looking has changed nothing
}

func TestTheOtherSessionsEnd(t *testing.T) {
	w := newWorld(t, options{})
	ada, stranger := w.signUp(), w.signUp()
	second := account{id: ada.id, token: w.signIn(ada).is(201).text("token")}
	third := account{id: ada.id, token: w.signIn(ada).is(201).text("token")}
	w.call("DELETE", "/v1/sessions", nil).is(401)
	w.call("DELETE", "/v1/sessions", nil, second.auth()).is(204)
	w.call("GET", "/v1/me", nil, ada.auth()).is(401)
	w.call("GET", "/v1/me", nil, third.auth()).is(401)
	w.call("GET", "/v1/me", nil, second.auth()).is(200)
	w.call("GET", "/v1/me", nil, stranger.auth()).is(200)
	w.call("DELETE", "/v1/sessions", nil, second.auth()).is(204) // none is fine too
}
