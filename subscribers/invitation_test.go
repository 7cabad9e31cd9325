package subscribers

import (
	"bytes"
	netmail "net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

var (
	letterTime = time.Date(2025, 11, 25, 14, 5, 0, 0, time.UTC)
	labels     = domain.Labels{Product: "Distribu", Team: "company", Teams: "companies", Site: "store", Sites: "Stores"}
)

func letter() InvitationLetter {
	return InvitationLetter{
		Labels: labels, Inviter: "Ada Lovelace", Invitee: "Grace Hopper", Team: "Acme", Role: "Admin",
		Link: "https://teams.test/invite/AAAA_bbbb-1", ExpiresAt: letterTime.Add(7 * 24 * time.Hour),
	}
}

// sent is the letter as its recipient gets it.
func sent(t *testing.T, l InvitationLetter) (Mail, []byte) {
	t.Helper()
	message, err := l.Message("grace@example.com", letterTime.Add(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return delivered(t, message)
}

// delivered is a message as its recipient gets it, and as it was on its way.
func delivered(t *testing.T, message Message) (Mail, []byte) {
	t.Helper()
	message.ID = "evt_1@teams.test"
	composed, err := compose(message, netmail.Address{Name: "Roster", Address: "no-reply@teams.test"}, letterTime)
	if err != nil {
		t.Fatal(err)
	}
	var source bytes.Buffer
	if _, err := composed.WriteTo(&source); err != nil {
		t.Fatal(err)
	}
	parsed, err := parseMail("msg", source.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return parsed, source.Bytes()
}

func TestInvitationLetter(t *testing.T) {
	message, _ := sent(t, letter())
	want := `Hello Grace Hopper,

Ada Lovelace has invited you to join the company Acme on Distribu as Admin.

To accept, open this link:

https://teams.test/invite/AAAA_bbbb-1

It works once, only for grace@example.com, and expires in 7 days,
on Tuesday, 2 December 2025 at 14:05 UTC.

If you didn't expect this invitation you can ignore this message: nothing
happens unless you accept.
`
	if diff := cmp.Diff(want, message.Text); diff != "" {
		t.Error(diff)
	}
	if message.Subject != "Ada Lovelace invited you to Acme on Distribu" {
		t.Errorf("subject %q", message.Subject)
	}
	for _, part := range []string{`href="https://teams.test/invite/AAAA_bbbb-1"`, "Ada Lovelace", "Grace Hopper", "company", "Acme", "Admin", "in 7 days", "Tuesday, 2 December 2025 at 14:05 UTC"} {
		if !strings.Contains(message.HTML, part) {
			t.Errorf("the HTML lacks %q", part)
		}
	}
	for _, wrong := range []string{"<img", "<script", "src=", "url("} {
		if strings.Contains(message.HTML, wrong) {
			t.Errorf("the HTML needs something from elsewhere: %q", wrong)
		}
	}
}

func TestInvitationLetterWithoutNamesAndWithSites(t *testing.T) {
	l := letter()
	l.Inviter, l.Invitee = "", ""
	for range maxSitesShown + 3 {
		l.Sites = append(l.Sites, SiteRole{Site: "Paris", Role: "Manager"})
	}
	message, _ := sent(t, l)
	if message.Subject != "You are invited to Acme on Distribu" {
		t.Errorf("subject %q", message.Subject)
	}
	for _, body := range []string{message.Text, message.HTML} {
		if !strings.Contains(body, "You are invited to join the company") || !strings.Contains(body, "Stores:") ||
			strings.Count(body, "Paris") != maxSitesShown || !strings.Contains(body, "and 3 more") {
			t.Errorf("got %s", body)
		}
	}
}

var tag = regexp.MustCompile(`</?[a-zA-Z!][^\s>]*`)

// hostileNames are what people may call themselves and their teams.
var hostileNames = map[string]string{
	"CRLF header":        "Eve\r\nBcc: everyone@example.com",
	"CRLF body":          "Eve\r\n\r\n<h1>Your account is locked</h1>",
	"bare LF":            "Eve\nContent-Type: text/html",
	"bare CR":            "Eve\rX-Injected: 1",
	"line separators":    "Eve\u2028X-Injected: 1\u2029Y: 2\u0085Z: 3",
	"NUL and escapes":    "Eve\x00\x1b[31m\x7f",
	"script":             `<script>alert(1)</script>`,
	"attribute":          `"><img src=x onerror=alert(1)>`,
	"entity":             "&lt;b&gt;&amp;",
	"template":           "{{.Link}}{{template \"x\"}}",
	"comment":            "--><style>*{display:none}</style><!--",
	"encoded word":       "=?utf-8?q?=0D=0ABcc:_eve@example.com?=",
	"boundary":           "--=_boundary\r\nContent-Type: text/html",
	"right to left":      "שלום עולם",
	"bidi override":      "\u202Emoc.elpmaxe@nimda\u202C",
	"emoji":              strings.Repeat("👩‍👩‍👧‍👦", 30),
	"200 characters":     strings.Repeat("ü", 200),
	"a very long word":   strings.Repeat("x", 5000),
	"combining marks":    "e" + strings.Repeat("\u0301", 500),
	"invalid UTF-8":      "Eve\xff\xfe",
	"nothing but spaces": "   ",
	"dot line":           "Eve\r\n.\r\nQUIT",
	"percent":            "%s%n%d",
}

func TestHostileNamesMakeNoHeaderAndNoTag(t *testing.T) {
	plain, source := sent(t, letter())
	plainTags := tag.FindAllString(plain.HTML, -1)
	var plainHeaders []string
	for _, header := range listHeaders(source) {
		plainHeaders = append(plainHeaders, header.Name)
	}
	for name, text := range hostileNames {
		t.Run(name, func(t *testing.T) {
			l := letter()
			l.Inviter, l.Invitee, l.Team, l.Role = text, text, text, text
			l.Labels.Product = text
			message, source := sent(t, l)
			if _, err := netmail.ReadMessage(bytes.NewReader(source)); err != nil {
				t.Fatal(err)
			}
			var headers []string
			for _, header := range listHeaders(source) {
				headers = append(headers, header.Name)
			}
			if diff := cmp.Diff(plainHeaders, headers); diff != "" {
				t.Errorf("headers: %s", diff)
			}
			tags := tag.FindAllString(message.HTML, -1)
			if strings.TrimSpace(text) == "" { // the inviter's <strong> goes with the inviter
				tags, plainTags := slices.Clone(tags), slices.Clone(plainTags)
				if len(tags) > len(plainTags) {
					t.Errorf("more tags: %v", tags)
				}
			} else if diff := cmp.Diff(plainTags, tags); diff != "" {
				t.Errorf("tags: %s", diff)
			}
			if strings.ContainsFunc(message.Subject, func(r rune) bool { return r < ' ' || r == 0x7f || 0x202A <= r && r <= 0x202E }) {
				t.Errorf("subject %q", message.Subject)
			}
			if n := utf8.RuneCountInString(message.Subject); n > 3*maxNameInSubject+40 {
				t.Errorf("a subject of %d characters", n)
			}
			if strings.Contains(message.Subject, "=?") {
				t.Errorf("subject %q", message.Subject)
			}
			for line := range strings.SplitSeq(string(source), "\r\n") {
				if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
					t.Errorf("a line of %d bytes: %.100q", len(line), line)
				}
			}
			if strings.Count(message.HTML, "https://teams.test/invite/AAAA_bbbb-1") != 3 {
				t.Errorf("the links are not as they were: %s", message.HTML)
			}
			if len(message.HTML) > 20_000 || len(message.Text) > 6_000 {
				t.Errorf("%d and %d bytes", len(message.HTML), len(message.Text))
			}
		})
	}
}

func TestClipKeepsCharactersWhole(t *testing.T) {
	for _, test := range []struct {
		in    string
		limit int
		want  string
	}{
		{"short", 10, "short"},
		{"exactly ten", 11, "exactly ten"},
		{"one word more", 9, "one word…"},
		{"abc👩‍👩‍👧‍👦", 5, "abc…"},
		{"abcde\u0301\u0302f", 7, "abcd…"},
		{"ab👍🏽cd", 4, "ab…"},
		{"e\u0301\u0301\u0301\u0301", 3, "e\u0301…"},
	} {
		if got := clip(test.in, test.limit); got != test.want {
			t.Errorf("clip(%q, %d) = %q, want %q", test.in, test.limit, got, test.want)
		}
	}
}

func TestExpiryInWords(t *testing.T) {
	for left, want := range map[time.Duration]string{
		7 * 24 * time.Hour:                "in 7 days",
		7*24*time.Hour - 30*time.Second:   "in 7 days",
		7*24*time.Hour - 10*time.Minute:   "in 6 days",
		48 * time.Hour:                    "in 2 days",
		47 * time.Hour:                    "in 47 hours",
		2 * time.Hour:                     "in 2 hours",
		119*time.Minute - 1*time.Second:   "in less than two hours",
		time.Hour:                         "in less than two hours",
		time.Hour - time.Second:           "in 60 minutes",
		10 * time.Minute:                  "in 10 minutes",
		10*time.Minute - 2*time.Second:    "in 10 minutes",
		9*time.Minute + 20*time.Second:    "in 9 minutes",
		2*time.Minute - 40*time.Second:    "in less than two minutes",
		-time.Hour:                        "in less than two minutes",
		365 * 24 * time.Hour:              "in 365 days",
		3*24*time.Hour + 23*time.Hour + 1: "in 3 days",
	} {
		if got := inWords(left); got != want {
			t.Errorf("%s: got %q, want %q", left, got, want)
		}
	}
}

func FuzzInvitationLetter(f *testing.F) {
	f.Add("Ada", "Acme\r\nBcc: x@example.com", "<b>", "Distribu")
	plain := letter()
	reference, err := plain.Message("grace@example.com", letterTime)
	if err != nil {
		f.Fatal(err)
	}
	want := len(tag.FindAllString(reference.HTML, -1))
	f.Fuzz(func(t *testing.T, inviter, team, role, product string) {
		l := letter()
		l.Inviter, l.Team, l.Role, l.Labels.Product = inviter, team, role, product
		message, source := sent(t, l)
		if got := len(tag.FindAllString(message.HTML, -1)); got > want {
			t.Errorf("%d tags, not %d: %s", got, want, message.HTML)
		}
		if strings.Count(string(source), "\r\nBcc:") > 0 || strings.ContainsAny(message.Subject, "\r\n") {
			t.Errorf("header injected: %s", source)
		}
	})
}
