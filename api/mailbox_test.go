package api

import (
	"strings"
	"testing"
	"time"
)

func TestMailboxShowsHostileMessagesHarmlessly(t *testing.T) {
	w := newWorld(t, options{})
	hostile := `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	w.mailbox.mails = []Mail{{
		MailSummary: MailSummary{ID: "m1", At: time.Unix(1, 0), From: "roster@example.com", To: hostile, Subject: hostile},
		Headers:     []MailHeader{{Name: "Subject", Value: hostile}},
		Text:        hostile, HTML: "<p>" + hostile + "</p>", Source: []byte("Subject: x\r\n\r\n" + hostile),
	}}
	for path, policy := range map[string]string{
		"/dev/mailbox":           "default-src 'none'; style-src 'self'; frame-src 'self'",
		"/dev/mailbox/m1":        "default-src 'none'; style-src 'self'; frame-src 'self'",
		"/dev/mailbox/m1/html":   "sandbox allow-popups",
		"/dev/mailbox/m1/source": "default-src 'none'",
	} {
		r := w.call("GET", path, nil).is(200)
		if got := r.header.Get("Content-Security-Policy"); !strings.HasPrefix(got, policy) || strings.Contains(got, "script-src") {
			t.Errorf("%s: Content-Security-Policy is %s", path, got)
		}
		if strings.HasPrefix(r.header.Get("Content-Type"), "text/html") && !strings.HasSuffix(path, "/html") && strings.Contains(string(r.raw), "<script>") {
			t.Errorf("%s holds the tag as it came", path)
		}
	}
	if r := w.call("GET", "/dev/mailbox/m1/source", nil); !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") {
		t.Errorf("the source is %s", r.header.Get("Content-Type"))
	}
	list := w.call("GET", "/dev/mailbox.json", nil).is(200)
	if list.text("data", 0, "subject") != hostile || list.text("data", 0, "text") != hostile {
		t.Error("the JSON differs")
	}
	for _, path := range []string{"/dev/mailbox/none", "/dev/mailbox/..%2f..%2fetc%2fpasswd"} {
		if r := w.call("GET", path, nil); r.status != 404 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s answers %d", path, r.status)
		}
	}
	for _, path := range []string{"/dev/mailbox/none/source", "/dev/mailbox/none/html", "/dev/mailbox/..%2f..%2fetc%2fpasswd/source"} {
		wantProblem(t, w.call("GET", path, nil).is(404, "not_found"))
	}
}

func TestThereIsNoMailboxUnlessAskedFor(t *testing.T) {
	w := newWorld(t, options{})
	config := w.server.config
	config.Mailbox = nil
	w.http.Config.Handler = New(config)
	w.call("GET", "/dev/mailbox", nil).is(404)
	w.call("GET", "/dev/mailbox.json", nil).is(404)
}
