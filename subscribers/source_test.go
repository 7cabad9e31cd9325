package subscribers

import (
	"bytes"
	netmail "net/mail"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wneessen/go-mail"
	"pgregory.net/rapid"
)

var boundaries = regexp.MustCompile(`boundary=(\S+)`)

// TestMailboxGetsWhatServersGet compares what the mailbox writes with what the
// mail library does, but for the encoding of the bodies.
func TestMailboxGetsWhatServersGet(t *testing.T) {
	names := []string{"", "Ada", "Grüße aus Köln", "a=b", "=?UTF-8?q?x?=", "Ada Lovelace (née Byron), Countess \"Ada\" of Lovelace", strings.Repeat("word ", 20), strings.Repeat("ü", 60)}
	for _, name := range hostileNames {
		names = append(names, name)
	}
	name := rapid.SampledFrom(names)
	subject := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(name, 0, 3).Draw(t, "names"), " ")
	}).Filter(func(subject string) bool { return len(subject) <= maxSubject })
	at := rapid.Map(rapid.Int64Range(0, 1<<32), func(s int64) time.Time { return time.Unix(s, 0) })
	rapid.Check(t, func(t *rapid.T) {
		from := netmail.Address{Name: oneLine(name.Draw(t, "from")), Address: "no-reply@teams.test"}
		message := Message{
			ID:      rapid.StringMatching(`[a-z_0-9]{1,90}@teams\.test`).Draw(t, "id"),
			To:      rapid.SampledFrom([]string{"grace@example.com", "o'hara+x@example.com", "jürgen&co@example.com", strings.Repeat("x", 60) + "@" + strings.Repeat("y", 60) + ".test"}).Draw(t, "to"),
			Subject: subject.Draw(t, "subject"), Text: name.Draw(t, "text"), HTML: name.Draw(t, "html"),
		}
		sameSource(t, message, from, at.Draw(t, "at"))
	})
	for width := range 2 * headerWidth {
		message := letterToAda
		message.Subject = strings.Repeat("x", width) + " y " + strings.Repeat("z", width)
		sameSource(t, message, netmail.Address{Address: "no-reply@teams.test"}, letterTime)
	}
}

func sameSource(t rapid.TB, message Message, from netmail.Address, at time.Time) {
	t.Helper()
	composed, err := compose(message, from, at, mail.WithEncoding(mail.NoEncoding))
	if err != nil {
		t.Fatal(err)
	}
	var want, got bytes.Buffer
	if _, err := composed.WriteTo(&want); err != nil {
		t.Fatal(err)
	}
	boundary := ""
	if found := boundaries.FindSubmatch(want.Bytes()); found != nil {
		boundary = string(found[1])
	}
	checked, err := check(message)
	if err != nil {
		t.Fatal(err)
	}
	writeSource(&got, checked, from.String(), at, boundary)
	if diff := cmp.Diff(want.String(), got.String()); diff != "" {
		t.Fatal(diff)
	}
}
