package subscribers

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

var letterToAda = Message{ID: "evt_1@teams.test", To: "ada@example.com", Subject: "Grüße", Text: "Hello\nAda", HTML: "<p>Hello Ada</p>"}

func newSMTP(t *testing.T, rawURL string) *SMTP {
	t.Helper()
	sender, err := NewSMTP(rawURL, "Roster <no-reply@teams.test>")
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

func TestSMTPDelivers(t *testing.T) {
	config, ca := certificate(t)
	trust := "&tls_ca=" + url.QueryEscape(ca)
	for _, test := range []struct {
		name     string
		server   *mailServer
		tls      bool
		implicit bool
		scheme   string
		userinfo string
		query    string
	}{
		{name: "plain", server: &mailServer{}, scheme: "smtp"},
		{name: "offered STARTTLS", server: &mailServer{}, tls: true, scheme: "smtp", query: trust},
		{name: "required STARTTLS and password", server: &mailServer{user: "u", password: "p@ss"}, tls: true, scheme: "smtp", userinfo: "u:p%40ss@", query: "&starttls=required" + trust},
		{name: "TLS from the start and password", server: &mailServer{user: "u", password: "p"}, tls: true, implicit: true, scheme: "smtps", userinfo: "u:p@", query: trust},
		{name: "password to this machine", server: &mailServer{user: "u", password: "p"}, scheme: "smtp", userinfo: "u:p@"},
	} {
		t.Run(test.name, func(t *testing.T) {
			serverTLS := config
			if !test.tls {
				serverTLS = nil
			}
			server := startMailServer(t, test.server, serverTLS, test.implicit)
			sender := newSMTP(t, test.scheme+"://"+test.userinfo+server.address+"?timeout=20s"+test.query)
			if err := sender.Send(t.Context(), letterToAda); err != nil {
				t.Fatalf("%v: %v", err, errors.Unwrap(err))
			}
			got := server.messages()
			if len(got) != 1 || got[0].from != "no-reply@teams.test" || got[0].to != "ada@example.com" || got[0].utf8 {
				t.Fatalf("got %+v", got)
			}
			message := got[0].parse(t)
			if message.MessageID != letterToAda.ID || message.Subject != letterToAda.Subject || message.From != `"Roster" <no-reply@teams.test>` ||
				message.To != "<ada@example.com>" || message.At.IsZero() || strings.TrimSpace(message.Text) != letterToAda.Text || strings.TrimSpace(message.HTML) != letterToAda.HTML {
				t.Errorf("got %+v", message)
			}
		})
	}
}

func TestSMTPAsksForUTF8OnlyWhenNeeded(t *testing.T) {
	server := startMailServer(t, &mailServer{}, nil, false)
	message := letterToAda
	message.To = "jürgen@example.com"
	if err := newSMTP(t, "smtp://"+server.address).Send(t.Context(), message); err != nil {
		t.Fatalf("%v: %v", err, errors.Unwrap(err))
	}
	if got := server.messages(); len(got) != 1 || !got[0].utf8 || got[0].to != message.To {
		t.Errorf("got %+v", got)
	}
}

func TestSMTPFailures(t *testing.T) {
	secretAddress := "ada@example.com"
	gone, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	config, _ := certificate(t)
	for _, test := range []struct {
		name      string
		server    *mailServer
		tls       bool
		url       func(address string) string
		to        string
		permanent bool
		detail    string
	}{
		{name: "unknown address", permanent: true, detail: "The mail server refused the address (550 5.1.1).",
			server: &mailServer{refuse: func(_ int, to string) error {
				return refusal(550, smtp.EnhancedCode{5, 1, 1}, "<"+to+">: no such user")
			}}},
		{name: "full mailbox", detail: "The mail server put the address off (452 4.2.2).",
			server: &mailServer{refuse: func(int, string) error { return refusal(452, smtp.EnhancedCode{4, 2, 2}, "full") }}},
		{name: "shutting down", detail: "The mail server put the address off (421 4.3.2).",
			server: &mailServer{refuse: func(int, string) error { return refusal(421, smtp.EnhancedCode{4, 3, 2}, "bye") }}},
		{name: "wrong password", permanent: true, detail: "The mail server refused the connection or the sign-in (535).",
			server: &mailServer{user: "u", password: "right"}, url: func(address string) string { return "smtp://u:wrong@" + address }},
		{name: "untrusted certificate", permanent: true, detail: "The mail server's certificate can't be trusted.", tls: true, server: &mailServer{}},
		{name: "no server", detail: "The mail server can't be reached.",
			server: &mailServer{}, url: func(string) string { return "smtp://" + nobody }},
		{name: "no STARTTLS", detail: "The connection to the mail server failed.",
			server: &mailServer{}, url: func(address string) string { return "smtp://" + address + "?starttls=required" }},
		{name: "header in the address", permanent: true, detail: "The address is not one that mail can be sent to.",
			server: &mailServer{}, to: "ada@example.com\r\nBcc: eve@example.com"},
		{name: "name in the address", permanent: true, detail: "The address is not one that mail can be sent to.",
			server: &mailServer{}, to: "Ada <ada@example.com>"},
		{name: "two addresses", permanent: true, detail: "The address is not one that mail can be sent to.",
			server: &mailServer{}, to: "ada@example.com, eve@example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			serverTLS := config
			if !test.tls {
				serverTLS = nil
			}
			server := startMailServer(t, test.server, serverTLS, false)
			rawURL := "smtp://" + server.address
			if test.url != nil {
				rawURL = test.url(server.address)
			}
			message := letterToAda
			if test.to != "" {
				message.To = test.to
			}
			failure := asDelivery(t, newSMTP(t, rawURL).Send(t.Context(), message))
			if failure.Permanent != test.permanent || failure.Detail != test.detail {
				t.Errorf("got permanent=%v %q (%v)", failure.Permanent, failure.Detail, failure.Cause)
			}
			if strings.Contains(failure.Error(), secretAddress) {
				t.Errorf("the error holds the address: %v", failure)
			}
			if got := server.messages(); len(got) != 0 {
				t.Errorf("the server has %d messages", len(got))
			}
		})
	}
}

func TestSMTPServerThatSaysNothing(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	sender := newSMTP(t, "smtp://"+listener.Addr().String()+"?timeout=1s")
	failure := asDelivery(t, sender.Send(t.Context(), letterToAda))
	if failure.Permanent || failure.Detail != "The mail server didn't answer in time." {
		t.Errorf("got %+v", failure)
	}
	// The end of the caller's context is not the server's fault.
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := listener.Accept() // of the first attempt
		if err == nil {
			defer conn.Close()
		}
		conn, err = listener.Accept()
		if err == nil {
			defer conn.Close()
		}
		cancel()
	}()
	if err := newSMTP(t, "smtp://"+listener.Addr().String()).Send(ctx, letterToAda); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSMTPURLs(t *testing.T) {
	const password = "s3cret#pass"
	for _, test := range []struct{ url, from, want string }{
		{"smtp://user:" + password + "@mail.example.com", "a@example.com", "can't be read|ends after host"},
		{"smtp://user:%zz" + url.QueryEscape(password) + "@mail.example.com", "a@example.com", "can't be read"},
		{"http://user:s3cret@mail.example.com", "a@example.com", "must start with smtp://"},
		{"mail.example.com:25", "a@example.com", "can't be read|must start with smtp://"},
		{"smtp://", "a@example.com", "names no host"},
		{"smtp://mail.example.com:99999", "a@example.com", "port"},
		{"smtp://user@mail.example.com", "a@example.com", "both user and password"},
		{"smtp://mail.example.com/inbox", "a@example.com", "ends after host and port"},
		{"smtp://mail.example.com?starttls=maybe", "a@example.com", "starttls must be"},
		{"smtps://mail.example.com?starttls=required", "a@example.com", "smtps:// is encrypted"},
		{"smtp://user:s3cret@mail.example.com?starttls=off", "a@example.com", "unencrypted"},
		{"smtp://user:s3cret@mail.example.com?starttls=offered", "a@example.com", "unencrypted"},
		{"smtp://mail.example.com?password=s3cret", "a@example.com", "unknown parameter"},
		{"smtp://mail.example.com?timeout=1ms", "a@example.com", "timeout must be"},
		{"smtp://mail.example.com?tls_ca=/does/not/exist", "a@example.com", "tls_ca"},
		{"smtp://mail.example.com", "", "no from address"},
		{"smtp://mail.example.com", "nobody", "is not of the form"},
		{"smtp://mail.example.com?from=nobody", "a@example.com", "is not of the form"},
	} {
		_, err := NewSMTP(test.url, test.from)
		if err == nil {
			t.Errorf("%s: no error", test.url)
			continue
		}
		found := false
		for want := range strings.SplitSeq(test.want, "|") {
			found = found || strings.Contains(err.Error(), want)
		}
		if !found {
			t.Errorf("%s: got %q, want %q", test.url, err, test.want)
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error holds the password: %v", test.url, err)
		}
	}
	sender := newSMTP(t, "smtp://user:s3cret@mail.example.com?from=Ann+%3Cann@example.com%3E")
	if sender.String() != "mail server mail.example.com:587" || sender.from.Address != "ann@example.com" || sender.from.Name != "Ann" {
		t.Errorf("got %v, from %v", sender, sender.from)
	}
}

func TestDefaultFrom(t *testing.T) {
	for base, want := range map[string]string{
		"https://teams.example.com":    "no-reply@teams.example.com",
		"https://teams.example.com:80": "no-reply@teams.example.com",
		"http://127.0.0.1:8080":        "no-reply@localhost",
		"http://[::1]:8080":            "no-reply@localhost",
		"http://localhost:8080":        "no-reply@localhost",
		"":                             "no-reply@localhost",
	} {
		if got := DefaultFrom(base); got != want {
			t.Errorf("%s: got %s", base, got)
		}
	}
}
