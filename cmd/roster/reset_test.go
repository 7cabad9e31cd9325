package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// letter is a message as /dev/mailbox.json shows it.
type letter struct {
	To, Subject, Text, HTML string
	Headers                 []struct{ Name, Value string }
}

// id is what a mailbox tells copies of the message by.
func (l letter) id() string {
	for _, header := range l.Headers {
		if strings.EqualFold(header.Name, "Message-ID") {
			return strings.Trim(header.Value, "<>")
		}
	}
	return ""
}

// token is the last part of the message's link to a page.
func (l letter) token(t *testing.T, base, page string) string {
	t.Helper()
	for line := range strings.Lines(l.Text) {
		if token, ok := strings.CutPrefix(strings.TrimSpace(line), base+page); ok {
			if strings.Count(l.HTML, `href="`+base+page+token+`"`) != 2 {
				t.Errorf("the HTML has other links: %s", l.HTML)
			}
			return token
		}
	}
	t.Fatalf("no link to %s in %s", page, l.Text)
	return ""
}

// letters waits until somebody has so many messages with these words in the
// subject and gives them, the oldest first.
func (s *server) letters(to, words string, count int) []letter {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for {
		arrived := s.app.mailbox.Arrived()
		var box struct{ Data []letter }
		if err := json.Unmarshal(s.anonymous().get("/dev/mailbox.json").is(200).body, &box); err != nil {
			s.t.Fatal(err)
		}
		var found []letter
		for i := range box.Data {
			if l := box.Data[len(box.Data)-1-i]; strings.Trim(l.To, "<>") == to && strings.Contains(l.Subject, words) {
				found = append(found, l)
			}
		}
		if len(found) >= count {
			return found
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			s.t.Fatalf("%s has %d messages about %q, not %d", to, len(found), words, count)
		}
	}
}

func TestPasswordReset(t *testing.T) {
	flags := []string{"--data=" + filepath.Join(t.TempDir(), "data"), "--catalog=dzbuild"}
	s := startServer(t, flags...)
	ada, _ := s.signUp("ada@example.com", "")
	elsewhere := s.anonymous().post("/v1/sessions", map[string]any{"email": "ada@example.com", "password": passphrase}).is(201).text("token")
	grace, _ := s.signUp("grace@example.com", "")
	const fresh = "another horse, another battery"

	ask := func(email string) *answer {
		return s.anonymous().post("/v1/password-resets", map[string]any{"email": email}).is(202)
	}
	if known, unknown := ask(" Ada@example.com"), ask("nobody@example.com"); string(known.body) != string(unknown.body) {
		t.Errorf("%s of an account, %s of none", known.body, unknown.body)
	}
	sent := s.letters("ada@example.com", "Reset your password on DZBuild", 1)[0]
	token := sent.token(t, s.app.baseURL, "/reset/")
	if !strings.HasPrefix(sent.id(), "evt_") {
		t.Errorf("the message's id is %q", sent.id())
	}
	if !strings.Contains(sent.Text, "Hello ada,") || !strings.Contains(sent.Text, "in 10 minutes") {
		t.Errorf("the message says %s", sent.Text)
	}

	// The link doesn't depend on the process that sent it.
	s.stop()
	s = startServer(t, flags...)
	ada.server, grace.server = s, s
	reset := "/v1/password-resets/" + token
	s.anonymous().put(reset, map[string]any{"new_password": "short"}).refuses(422, "invalid_field")
	got := race(t, times(32, func(int) (*answer, error) {
		return s.anonymous().try("PUT", reset, map[string]any{"new_password": fresh})
	})...)
	if got["ok"] != 1 || got["404 not_found"] != 31 {
		t.Errorf("32 uses of one link: %v", got)
	}

	for _, token := range []string{ada.token, elsewhere} {
		(&client{server: s, token: token}).get("/v1/me").refuses(401, "unauthenticated")
	}
	grace.get("/v1/me").is(200)
	signIn := func(password string) *answer {
		return s.anonymous().post("/v1/sessions", map[string]any{"email": "ada@example.com", "password": password})
	}
	signIn(passphrase).refuses(401, "invalid_credentials")
	signIn(fresh).is(201).same("user.email_verified", true).same("user.id", ada.id)

	// The message that comes next is the first since the one above.
	ask("ada@example.com")
	if all := s.letters("ada@example.com", "Reset", 2); len(all) != 2 || all[1].token(t, s.app.baseURL, "/reset/") == token {
		t.Errorf("%d messages", len(all))
	}
	if all := s.letters("nobody@example.com", "", 0); len(all) != 0 {
		t.Errorf("nobody got %d messages", len(all))
	}
}
