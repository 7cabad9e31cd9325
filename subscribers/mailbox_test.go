package subscribers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"roster/eventstore"
)

func openMailbox(t *testing.T, folder string) *Mailbox {
	t.Helper()
	box, err := OpenMailbox(folder, "Roster <no-reply@teams.test>")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return box
}

func TestMailboxTellsOfArrivals(t *testing.T) {
	box := openMailbox(t, t.TempDir())
	for range 3 {
		arrived := box.Arrived()
		select {
		case <-arrived:
			t.Fatal("told of a message that isn't there")
		default:
		}
		if err := box.Send(t.Context(), letterToAda); err != nil {
			t.Fatal(err)
		}
		receive(t, arrived, "the arrival")
	}
}

func TestMailbox(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data", "mailbox")
	box := openMailbox(t, folder)
	for i := range 3 {
		message := letterToAda
		message.ID = fmt.Sprintf("evt_%d@teams.test", i)
		message.Subject = fmt.Sprintf("Grüße %d", i)
		if err := box.Send(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	list, err := box.List(2)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Subject != "Grüße 2" || list[1].Subject != "Grüße 1" || list[0].To != "<ada@example.com>" || list[0].At.IsZero() {
		t.Fatalf("got %+v", list)
	}
	mail, err := box.Get(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list[0], mail.MailSummary); diff != "" {
		t.Error(diff)
	}
	if mail.MessageID != "evt_2@teams.test" || strings.TrimSpace(mail.Text) != letterToAda.Text || strings.TrimSpace(mail.HTML) != letterToAda.HTML {
		t.Errorf("got %+v", mail)
	}
	headers := map[string]string{}
	for _, header := range mail.Headers {
		headers[header.Name] = header.Value
	}
	if headers["Subject"] != "Grüße 2" || headers["Auto-Submitted"] != "auto-generated" || headers["Message-ID"] != "<evt_2@teams.test>" {
		t.Errorf("headers %v", headers)
	}

	// It is still there when the folder is opened again, for ordinary tools too.
	again, err := openMailbox(t, folder).List(MaxMailboxList)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) != 3 || again[0] != list[0] {
		t.Errorf("got %+v", again)
	}
	info, err := os.Stat(filepath.Join(folder, list[0].ID+".eml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
}

func TestMailboxWithFilesThatSomebodyTouched(t *testing.T) {
	folder := t.TempDir()
	name := func(extension string) string {
		return filepath.Join(folder, eventstore.NewID(mailboxPrefix)+extension)
	}
	for path, content := range map[string]string{
		name(".eml"):                          "",
		name(".eml") + "x":                    "From: a@example.com\r\n\r\n",
		name(".part"):                         "half of a mess",
		filepath.Join(folder, "notes.eml"):    "From: a@example.com\r\n\r\nmine",
		filepath.Join(folder, "settings.txt"): "mine",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	odd := name(".eml")
	source := "Subject: =?nonsense?q?x?=\r\nDate: yesterday\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n" +
		"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--x\r\nContent-Type: text/html\r\n\r\n\xff<b>\r\n--x--\r\n"
	if err := os.WriteFile(odd, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	box := openMailbox(t, folder)
	list, err := box.List(10)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[1].Subject != "(not a message)" {
		t.Errorf("got %+v", list)
	}
	mail, err := box.Get(strings.TrimSuffix(filepath.Base(odd), ".eml"))
	if err != nil || mail.Text != "Hello" || mail.HTML != "\uFFFD<b>" || !mail.At.IsZero() {
		t.Errorf("got %+v, %v", mail, err)
	}
	left, err := filepath.Glob(filepath.Join(folder, "*.part"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	if err := os.Remove(odd); err != nil {
		t.Fatal(err)
	}
	if list, err := box.List(10); err != nil || len(list) != 1 {
		t.Errorf("got %+v, %v", list, err)
	}
	for _, id := range []string{"", "notes", "../settings", "msg_", eventstore.NewID(mailboxPrefix), eventstore.NewID("evt"), strings.TrimSuffix(filepath.Base(odd), ".eml")} {
		if _, err := box.Get(id); !errors.Is(err, ErrNoMail) {
			t.Errorf("%q: got %v", id, err)
		}
	}
}

func TestMailboxIsBounded(t *testing.T) {
	folder := t.TempDir()
	const most = MaxMailboxList + 50
	for range most {
		if err := os.WriteFile(filepath.Join(folder, eventstore.NewID(mailboxPrefix)+".eml"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	box := openMailbox(t, folder)
	box.most = most
	oldest := box.names[0]
	var senders sync.WaitGroup
	for range 20 {
		senders.Go(func() {
			if err := box.Send(t.Context(), letterToAda); err != nil {
				t.Error(err)
			}
		})
	}
	senders.Wait()
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != most || len(box.names) != most {
		t.Errorf("%d files, %d names, %v", len(files), len(box.names), err)
	}
	if _, err := box.Get(oldest); !errors.Is(err, ErrNoMail) {
		t.Errorf("the oldest is still there: %v", err)
	}
	if list, err := box.List(1 << 30); err != nil || len(list) != MaxMailboxList || list[19].Subject != letterToAda.Subject || list[20].Subject == letterToAda.Subject {
		t.Errorf("%d messages, %v", len(list), err)
	}
}

func TestMailboxFolderThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMailbox(filepath.Join(file, "mailbox"), "a@example.com"); err == nil || !strings.Contains(err.Error(), "making the folder for messages") {
		t.Errorf("got %v", err)
	}
	if _, err := OpenMailbox(t.TempDir(), "nobody"); err == nil {
		t.Error("a sender that is no address was accepted")
	}
	box := openMailbox(t, t.TempDir())
	if err := os.RemoveAll(box.folder.Name()); err != nil {
		t.Fatal(err)
	}
	if failure := asDelivery(t, box.Send(t.Context(), letterToAda)); failure.Permanent || failure.Detail != "The mailbox folder can't be written to." {
		t.Errorf("got %+v", failure)
	}
}

func FuzzParseMail(f *testing.F) {
	f.Add([]byte("Subject: x\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n"))
	f.Add([]byte("Content-Transfer-Encoding: base64\n\n!!!"))
	f.Fuzz(func(_ *testing.T, source []byte) {
		_, _ = parseMail("msg", source) // must not panic or run for ever
	})
}

func BenchmarkInvitationToMailbox(b *testing.B) {
	box, err := OpenMailbox(b.TempDir(), "Roster <no-reply@teams.test>")
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close()
	l := letter()
	b.ReportAllocs()
	for b.Loop() {
		message, err := l.Message("grace@example.com", letterTime)
		if err != nil {
			b.Fatal(err)
		}
		message.ID = "evt_1@teams.test"
		if err := box.Send(b.Context(), message); err != nil {
			b.Fatal(err)
		}
	}
}
