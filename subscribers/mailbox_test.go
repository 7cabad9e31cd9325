package subscribers

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	info, err := os.Stat(filepath.Join(folder, presentMbox))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
}

// sendAll sends messages with these subjects, one after another.
func sendAll(t *testing.T, box *Mailbox, subjects ...string) {
	t.Helper()
	for _, subject := range subjects {
		message := letterToAda
		message.Subject = subject
		if err := box.Send(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
}

// subjects lists what is in the mailbox, and looks whether each message can be
// got under its id.
func subjects(t *testing.T, box *Mailbox) (got []string) {
	t.Helper()
	list, err := box.List(MaxMailboxList)
	if err != nil {
		t.Fatal(err)
	}
	for _, summary := range list {
		mail, err := box.Get(summary.ID)
		if err != nil || mail.MailSummary != summary {
			t.Errorf("got %+v, %v for %+v", mail, err, summary)
		}
		got = append(got, summary.Subject)
	}
	return got
}

func wantSubjects(t *testing.T, box *Mailbox, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, subjects(t, box)); diff != "" {
		t.Error(diff)
	}
}

func TestMailboxIsBounded(t *testing.T) {
	folder := t.TempDir()
	box := openMailbox(t, folder)
	box.most = 3
	sendAll(t, box, "1", "2", "3")
	wantSubjects(t, box, "3", "2", "1")
	oldest, err := box.List(3)
	if err != nil {
		t.Fatal(err)
	}
	sendAll(t, box, "4", "5", "6")
	wantSubjects(t, box, "6", "5", "4", "3", "2", "1")
	early, err := box.view() // reads on, whatever is sent
	if err != nil {
		t.Fatal(err)
	}
	defer early.close()
	sendAll(t, box, "7")
	wantSubjects(t, box, "7", "6", "5", "4")
	if _, err := box.Get(oldest[0].ID); !errors.Is(err, ErrNoMail) {
		t.Errorf("the oldest is still there: %v", err)
	}
	n := 0
	for message, file := range early.newest() {
		if content, err := message.content(file); err != nil || len(content) == 0 {
			t.Errorf("got %q, %v", content, err)
		}
		n++
	}
	if n != 6 {
		t.Errorf("%d messages", n)
	}

	// The same after a restart, and the next file is begun by size.
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
	again := openMailbox(t, folder)
	wantSubjects(t, again, "7", "6", "5", "4")
	again.mostBytes = again.present.size + 10
	sendAll(t, again, "8")
	wantSubjects(t, again, "8", "7")
	again.mostBytes = 1 // even one that is too big for any file
	sendAll(t, again, "9")
	wantSubjects(t, again, "9", "8")
	if err := os.Truncate(filepath.Join(folder, presentMbox), 0); err != nil {
		t.Fatal(err)
	}
	sendAll(t, again, "10")
	wantSubjects(t, again, "10", "8")
	names, err := fs.Glob(os.DirFS(folder), "*")
	if err != nil || !slices.Equal(names, []string{presentMbox, previousMbox}) {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestMailboxIsReadWhileItIsWritten(t *testing.T) {
	box := openMailbox(t, t.TempDir())
	box.most = 7
	var senders, readers sync.WaitGroup
	stop := make(chan struct{})
	readers.Go(func() {
		for {
			list, err := box.List(MaxMailboxList)
			if err != nil {
				t.Error(err)
			}
			for _, summary := range list {
				if mail, err := box.Get(summary.ID); err == nil && (mail.MailSummary != summary || strings.TrimSpace(mail.Text) != letterToAda.Text) || err != nil && !errors.Is(err, ErrNoMail) {
					t.Errorf("got %+v, %v", mail, err)
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 4 {
		senders.Go(func() {
			for range 50 {
				if err := box.Send(t.Context(), letterToAda); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	close(stop)
	readers.Wait()
	if n := len(subjects(t, box)); n != 7+200%7 {
		t.Errorf("%d messages", n)
	}
}

func TestMailboxThatSomebodyTouched(t *testing.T) {
	folder := t.TempDir()
	box := openMailbox(t, folder)
	name, earlier := filepath.Join(folder, presentMbox), filepath.Join(folder, previousMbox)
	sendAll(t, box, "1", "2", "3")
	first, err := box.List(1)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(change func(file string) string) {
		t.Helper()
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(change(string(content))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A mail program has noted what was read, and brought a message of its own.
	edit(func(file string) string {
		file = strings.ReplaceAll(file, "\nSubject: ", "\nStatus: RO\nSubject: ")
		return "mine\n\n" + file + "From eve@example.com Tue Nov 25 14:05:00 2025\nSubject: 4\n\n\n"
	})
	wantSubjects(t, box, "3", "2", "1")
	sendAll(t, box, "5")
	wantSubjects(t, box, "5", "3", "2", "1")
	// Written anew beside the old file, as careful programs do, and as long as that.
	copied, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name+".new", copied, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
	sendAll(t, box, "5b")
	wantSubjects(t, box, "5b", "5", "3", "2", "1")
	// Emptied, deleted, and put aside as the earlier one.
	edit(func(string) string { return "" })
	wantSubjects(t, box)
	sendAll(t, box, "6")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	sendAll(t, box, "7")
	wantSubjects(t, box, "7")
	if err := os.Rename(name, earlier); err != nil {
		t.Fatal(err)
	}
	sendAll(t, box, "8")
	wantSubjects(t, box, "8", "7")
	edit(func(file string) string { return strings.ReplaceAll(file, "Subject: 8", "Subject: 9") })
	wantSubjects(t, box, "9", "7")
	// What was in the way of a place is not read for another.
	if err := os.WriteFile(earlier, bytes.Repeat([]byte("From x\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	wantSubjects(t, box, "9")
	if err := os.Remove(earlier); err != nil {
		t.Fatal(err)
	}
	wantSubjects(t, box, "9")
	for _, id := range []string{"", "notes", "../settings", "msg_", eventstore.NewID(mailboxPrefix), eventstore.NewID("evt"), first[0].ID} {
		if _, err := box.Get(id); !errors.Is(err, ErrNoMail) {
			t.Errorf("%q: got %v", id, err)
		}
	}
}

func TestMailboxWithMessagesThatCannotBeRead(t *testing.T) {
	folder := t.TempDir()
	var file []byte
	var ids []string
	for _, source := range []string{
		"",
		"no head",
		"Subject: cut off\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nHello",
		"Subject: =?nonsense?q?x?=\r\nDate: yesterday\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n" +
			"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--x\r\nContent-Type: text/html\r\n\r\n\xff<b>\r\n--x--\r\n",
	} {
		ids = append(ids, eventstore.NewID(mailboxPrefix))
		file = appendRecord(file, ids[len(ids)-1], time.Now(), []byte(source))
	}
	if err := os.WriteFile(filepath.Join(folder, presentMbox), file, 0o600); err != nil {
		t.Fatal(err)
	}
	box := openMailbox(t, folder)
	wantSubjects(t, box, "=?nonsense?q?x?=", "cut off", "(not a message)", "(not a message)")
	mail, err := box.Get(ids[3])
	if err != nil || mail.Text != "Hello" || mail.HTML != "\uFFFD<b>" || !mail.At.IsZero() {
		t.Errorf("got %+v, %v", mail, err)
	}
	if mail, err := box.Get(ids[2]); err != nil || mail.Text != "Hello" {
		t.Errorf("got %+v, %v", mail, err)
	}
	if mail, err := box.Get(ids[1]); err != nil || string(mail.Source) != "no head\r\n" {
		t.Errorf("got %+v, %v", mail, err)
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
