package subscribers

import (
	"bytes"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func resetLetter() ResetLetter {
	return ResetLetter{Labels: labels, Name: "Grace Hopper", Link: "https://teams.test/reset/AAAA_bbbb-1", ExpiresAt: letterTime.Add(10 * time.Minute)}
}

func transferLetter() TransferLetter {
	return TransferLetter{
		Labels: labels, Name: "Grace Hopper", Owner: "Ada Lovelace", Team: "Acme", OwnerRole: "Owner", NextRole: "Admin",
		Link: "https://teams.test/ownership/AAAA_bbbb-1", ExpiresAt: letterTime.Add(3 * 24 * time.Hour),
	}
}

func sentReset(t *testing.T, l ResetLetter) (Mail, []byte) {
	t.Helper()
	message, err := l.Message("grace@example.com", letterTime.Add(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return delivered(t, message)
}

func sentTransfer(t *testing.T, l TransferLetter) (Mail, []byte) {
	t.Helper()
	message, err := l.Message("grace@example.com", letterTime.Add(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return delivered(t, message)
}

func TestResetLetter(t *testing.T) {
	message, _ := sentReset(t, resetLetter())
	want := `Hello Grace Hopper,

somebody, most likely you, asked to reset the password of your account on Distribu, grace@example.com.

To choose a new one, open this link:

https://teams.test/reset/AAAA_bbbb-1

It works once and expires in 10 minutes,
on Tuesday, 25 November 2025 at 14:15 UTC.
A new password signs you out everywhere.

If it wasn't you, you can ignore this message: your password stays as it is.
Don't pass the link on.
`
	if diff := cmp.Diff(want, message.Text); diff != "" {
		t.Error(diff)
	}
	if message.Subject != "Reset your password on Distribu" {
		t.Errorf("subject %q", message.Subject)
	}
	wantInHTML(t, message.HTML, `href="https://teams.test/reset/AAAA_bbbb-1"`, "Grace Hopper", "Distribu", "grace@example.com", "in 10 minutes",
		"25 November 2025 at 14:15 UTC", "Choose a new password")
}

func TestTransferLetter(t *testing.T) {
	message, _ := sentTransfer(t, transferLetter())
	want := `Hello Grace Hopper,

Ada Lovelace asks you to become the owner of the company Acme on Distribu.

If you confirm it, your role becomes Owner, and that of the present owner Admin.
Until then nothing changes.

To look at it and confirm it, open this link:

https://teams.test/ownership/AAAA_bbbb-1

It works once, only for grace@example.com, and expires in 3 days,
on Friday, 28 November 2025 at 14:05 UTC.

If you don't want to be the owner you can ignore this message: nothing
happens unless you confirm it.
`
	if diff := cmp.Diff(want, message.Text); diff != "" {
		t.Error(diff)
	}
	if message.Subject != "Ada Lovelace asks you to take over Acme on Distribu" {
		t.Errorf("subject %q", message.Subject)
	}
	wantInHTML(t, message.HTML, `href="https://teams.test/ownership/AAAA_bbbb-1"`, "Grace Hopper", "Ada Lovelace", "company", "Acme", "Owner", "Admin",
		"in 3 days", "28 November 2025 at 14:05 UTC", "Look at the transfer")
}

func wantInHTML(t *testing.T, html string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(html, part) {
			t.Errorf("the HTML lacks %q", part)
		}
	}
	for _, wrong := range []string{"<img", "<script", "src=", "url("} {
		if strings.Contains(html, wrong) {
			t.Errorf("the HTML needs something from elsewhere: %q", wrong)
		}
	}
	for _, once := range []string{"<!doctype html>", "<html", "</html>", "<title>", "<body", "</body>"} {
		if strings.Count(html, once) != 1 {
			t.Errorf("the HTML has %d of %q", strings.Count(html, once), once)
		}
	}
}

func TestLettersWithoutNames(t *testing.T) {
	reset, transfer := resetLetter(), transferLetter()
	reset.Name, transfer.Name, transfer.Owner = "", "", ""
	message, _ := sentReset(t, reset)
	for _, body := range []string{message.Text, message.HTML} {
		if !strings.Contains(body, "Hello,") {
			t.Errorf("got %s", body)
		}
	}
	message, _ = sentTransfer(t, transfer)
	if message.Subject != "You are asked to take over Acme on Distribu" {
		t.Errorf("subject %q", message.Subject)
	}
	for _, body := range []string{message.Text, message.HTML} {
		if !strings.Contains(body, "Hello,") || !strings.Contains(body, "You are asked to become the owner") {
			t.Errorf("got %s", body)
		}
	}
}

// TestHostileNamesInOtherLetters plays the names of the invitation's test
// through the other messages.
func TestHostileNamesInOtherLetters(t *testing.T) {
	for kind, write := range map[string]func(t *testing.T, name string) (Mail, []byte){
		"reset": func(t *testing.T, name string) (Mail, []byte) {
			l := resetLetter()
			l.Name, l.Labels.Product = name, name
			return sentReset(t, l)
		},
		"transfer": func(t *testing.T, name string) (Mail, []byte) {
			l := transferLetter()
			l.Name, l.Owner, l.Team, l.OwnerRole, l.NextRole, l.Labels.Product, l.Labels.Team = name, name, name, name, name, name, name
			return sentTransfer(t, l)
		},
	} {
		plain, source := write(t, "Ada")
		plainHeaders, plainTags, links := headerNames(source), tag.FindAllString(plain.HTML, -1), strings.Count(plain.HTML, "https://teams.test/")
		for name, text := range hostileNames {
			t.Run(kind+"/"+name, func(t *testing.T) {
				message, source := write(t, text)
				if _, err := netmail.ReadMessage(bytes.NewReader(source)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(plainHeaders, headerNames(source)); diff != "" {
					t.Errorf("headers: %s", diff)
				}
				tags := tag.FindAllString(message.HTML, -1)
				if blank := strings.TrimSpace(text) == ""; blank && len(tags) > len(plainTags) || !blank && !cmp.Equal(plainTags, tags) {
					t.Errorf("tags: %s", cmp.Diff(plainTags, tags))
				}
				if strings.ContainsFunc(message.Subject, func(r rune) bool { return r < ' ' || r == 0x7f || 0x202A <= r && r <= 0x202E }) || strings.Contains(message.Subject, "=?") {
					t.Errorf("subject %q", message.Subject)
				}
				for line := range strings.SplitSeq(string(source), "\r\n") {
					if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
						t.Errorf("a line of %d bytes: %.100q", len(line), line)
					}
				}
				if strings.Count(message.HTML, "https://teams.test/") != links {
					t.Errorf("the links are not as they were: %s", message.HTML)
				}
				if len(message.HTML) > 20_000 || len(message.Text) > 6_000 {
					t.Errorf("%d and %d bytes", len(message.HTML), len(message.Text))
				}
			})
		}
	}
}

func headerNames(source []byte) (names []string) {
	for _, header := range listHeaders(source) {
		names = append(names, header.Name)
	}
	return names
}
