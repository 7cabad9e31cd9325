package dashboard_test

import (
	"strings"
	"testing"
	"time"
)

// letters waits until the mailbox has so many messages.
func (s *site) letters(n int) {
	s.t.Helper()
	for end := time.Now().Add(patience); len(s.call("GET", "/dev/mailbox.json", "", nil)["data"].([]any)) < n; {
		if time.Now().After(end) {
			s.t.Fatalf("there are fewer than %d messages", n)
		}
	}
}

func TestMailbox(t *testing.T) {
	s := serve(t, "tenants")
	ada := s.signUp("Ada Lovelace")
	b := s.browse().open("/dev/mailbox").sees("No message yet", "Invite somebody").looks("mailbox-empty")
	before := len(s.call("GET", "/dev/mailbox.json", "", nil)["data"].([]any))
	for _, email := range []string{"grace@example.com", "brewster@example.com"} {
		s.call("POST", "/v1/teams/"+ada.team+"/invitations", ada.token, map[string]any{"email": email, "role": "member", "name": hostile(200)})
	}
	s.letters(before + 2)
	b.open("/dev/mailbox").sees("grace@example.com", "brewster@example.com", "No message chosen").looks("mailbox")
	b.fill("Search by address or subject", "grace@\n").sees("grace@example.com").seesNot("brewster@example.com")
	b.press("grace@example.com").sees("From", "To", "Message", "Source").looks("mailbox-message")
	// The message itself is in a frame of its own that can run nothing.
	if sandbox := eval[string](b, `document.querySelector("iframe").getAttribute("sandbox")`); strings.Contains(sandbox, "allow-scripts") || strings.Contains(sandbox, "allow-same-origin") {
		t.Errorf("the frame allows %s", sandbox)
	}
	b.press("Text").sees("/invite/").looks("mailbox-text")
	b.press("Headers").sees("Message-ID").looks("mailbox-headers")
	if at := b.at(); !strings.Contains(at, "q=grace") {
		t.Errorf("the search is forgotten in %s", at)
	}
	b.press("Source").sees("Content-Type: multipart")
	b.open("/dev/mailbox?q=nobody").sees("Nothing found").looks("mailbox-nothing")
	b.open("/dev/mailbox/none").sees("Not found")
}
