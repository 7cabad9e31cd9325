package api

import (
	"strings"
	"testing"
	"time"

	"roster/domain"
)

// What links lead to when their time is over; the tests of the pages have no
// clock of their own.
func TestPagesOfLinksThatHaveExpired(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "unlimited"}, bearer(w.operator)).is(200)
	chosen := w.join(owner, "manager")
	invited := w.call("POST", team+"/invitations", map[string]any{"email": newEmail(), "role": "operator"}, owner.auth()).is(201)
	asked := w.call("POST", team+"/ownership-transfers", map[string]any{"user_id": chosen.id, "password": password}, owner.auth()).is(201)
	after := w.position()
	w.askReset(owner.email).is(202)

	pages := []struct{ path, open, over, next string }{
		{"/invite/" + tokenOf(invited), "You are invited to join", "This invitation has expired", "Ask whoever invited you"},
		{"/signup?invite=" + tokenOf(invited), "You are invited to join", "This invitation has expired", "Ask whoever invited you"},
		{"/ownership/" + w.service.TransferToken(domain.TeamID(owner.team), domain.TransferID(asked.text("id"))),
			"Take over the ownership", "This transfer has expired", "ask the owner to begin again"},
		{"/reset/" + w.resetToken(after), "Choose a new password", "This link works no more", "Send a new link"},
	}
	for _, page := range pages {
		if shown := w.call("GET", page.path, nil).is(200); !strings.Contains(string(shown.raw), page.open) {
			t.Errorf("%s doesn't say %q: %s", page.path, page.open, shown.raw)
		}
	}
	w.clock.forward(8 * 24 * time.Hour)
	for _, page := range pages {
		shown := string(w.call("GET", page.path, nil).is(410).raw)
		if !strings.Contains(shown, page.over) || !strings.Contains(shown, page.next) {
			t.Errorf("%s doesn't say %q: %s", page.path, page.over, shown)
		}
	}
}
