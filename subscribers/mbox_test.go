package subscribers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roster/eventstore"
)

// separators are the lines by which mail programs divide the file.
var separators = regexp.MustCompile(`(?m)^From .*\n`)

func TestMailboxFileIsForOrdinaryPrograms(t *testing.T) {
	folder := t.TempDir()
	box := openMailbox(t, folder)
	hostile := letterToAda
	hostile.Text = "From msg_00000000000000000000000000+0000001@mailbox Tue Nov 25 14:05:00 2025\nFrom\n>From a\n>>From b\n> From c\nfrom d\n\nFrom e"
	hostile.HTML = "<pre>\nFrom f\n</pre>"
	for range 2 {
		if err := box.Send(t.Context(), hostile); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(filepath.Join(folder, presentMbox))
	if err != nil {
		t.Fatal(err)
	}
	list, err := box.List(MaxMailboxList)
	if err != nil || len(list) != 2 {
		t.Fatalf("got %+v, %v", list, err)
	}
	found := separators.FindAllString(string(file), -1)
	for i, line := range found {
		want := fmt.Sprintf("From %s+%07d@mailbox %s\n", list[1-i].ID, len(file)/2, list[1-i].At.Format(time.ANSIC))
		if line != want {
			t.Errorf("got %q, want %q", line, want)
		}
	}
	if len(found) != 2 || !bytes.HasSuffix(file, []byte("\n\n")) || bytes.Contains(file, []byte("\r")) || bytes.Count(file, []byte("\n>>From a\n")) != 2 {
		t.Errorf("got %s", file)
	}
	mail, err := box.Get(list[0].ID)
	if err != nil || mail.Text != hostile.Text || strings.TrimSpace(mail.HTML) != hostile.HTML {
		t.Errorf("got %+v, %v", mail, err)
	}
	if bytes.Count(mail.Source, []byte("\n")) != bytes.Count(mail.Source, []byte("\r\n")) || !bytes.Contains(mail.Source, []byte("\r\nFrom f\r\n")) {
		t.Errorf("the source is not as it was written: %q", mail.Source)
	}
}

func TestMailboxGivesBackExactlyWhatItKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`>{0,3}(From |From|)[a> \r]{0,3}`), 1, 10).Draw(t, "lines")
		source := []byte(strings.Join(lines, "\r\n") + "\r\n")
		id := eventstore.NewID(mailboxPrefix)
		file := appendRecord([]byte("From somebody else\n\n"), id, time.Unix(0, 0), source)
		messages, end, err := scanMbox(bytes.NewReader(file))
		if err != nil || len(messages) != 1 || end != int64(len(file)) {
			t.Fatalf("%d messages up to %d of %q, %v", len(messages), end, file, err)
		}
		content, err := messages[0].content(bytes.NewReader(file))
		if got := unquoted(content); err != nil || !bytes.Equal(got, source) {
			t.Fatalf("got %q, %v of %q", got, err, source)
		}
	})
}

func TestMailboxSeparatorsBeginALine(t *testing.T) {
	id := eventstore.NewID(mailboxPrefix)
	long := strings.Repeat("x", 64<<10) + string(appendRecord(nil, id, time.Now(), []byte("y")))
	file := appendRecord(nil, id, time.Now(), []byte(long))
	if messages, _, err := scanMbox(bytes.NewReader(file)); err != nil || len(messages) != 1 || messages[0].length != int64(len(file)) {
		t.Errorf("got %+v, %v", messages, err)
	}
}

func TestMailboxAfterACrash(t *testing.T) {
	folder := t.TempDir()
	box := openMailbox(t, folder)
	sendAll(t, box, "1", "2")
	name := filepath.Join(folder, presentMbox)
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	sendAll(t, box, "3")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for end := before.Size(); end <= int64(len(whole)); end++ {
		for _, tail := range []string{"", "\x00\x00"} { // some file systems lengthen a file before they fill it
			if err := os.WriteFile(name, append(bytes.Clone(whole[:end]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			again, err := OpenMailbox(folder, "a@example.com")
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"4", "3", "2", "1"}
			if end < int64(len(whole)) {
				want = []string{"4", "2", "1"}
			}
			sendAll(t, again, "4")
			wantSubjects(t, again, want...)
			file, err := os.ReadFile(name)
			if err != nil || len(separators.FindAll(file, -1)) != len(want) || !bytes.HasPrefix(file, whole[:before.Size()]) {
				t.Errorf("cut at %d: %s, %v", end, file, err)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Fatalf("cut at %d of %d, then %q", end, len(whole), tail)
			}
		}
	}
}

func TestMailboxAfterAWriteThatFailed(t *testing.T) {
	box := openMailbox(t, t.TempDir())
	sendAll(t, box, "1")
	// Half of a message is there, and couldn't be taken away again.
	if _, err := box.present.file.WriteString(separatorStart + eventstore.NewID(mailboxPrefix) + "+0000999@mailbox Tue\nSubject: half"); err != nil {
		t.Fatal(err)
	}
	sendAll(t, box, "2")
	wantSubjects(t, box, "2", "1")
}
