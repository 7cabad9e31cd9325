package subscribers

import (
	"bytes"
	"mime"
	"strings"
	"time"
)

// writeSource writes what the mail library writes of a composed message, byte
// for byte, at a tenth of its work: for the dev mailbox, where that was most of
// what a message cost. Mail servers get the library's own. From is as the
// header has it; nobody must be able to foresee the boundary.
//
// The bodies are 8bit, as in no message to a mail server: the links can be
// found in the file, and no server is there to refuse a line for its length.
func writeSource(out *bytes.Buffer, m checkedMessage, from string, at time.Time, boundary string) {
	writeHeader(out, "Auto-Submitted", autoSubmitted)
	writeHeader(out, "Date", at.Format(time.RFC1123Z))
	writeHeader(out, "MIME-Version", "1.0")
	writeHeader(out, "Message-ID", "<"+m.ID+">")
	writeHeader(out, "Subject", mime.QEncoding.Encode("UTF-8", m.Subject))
	writeHeader(out, "X-Auto-Response-Suppress", suppressResponses)
	writeHeader(out, "From", from)
	writeHeader(out, "To", m.to.String())
	if m.HTML == "" {
		writePart(out, "text/plain", m.Text)
		return
	}
	out.WriteString("Content-Type: multipart/alternative;\r\n boundary=" + boundary + "\r\n\r\n--" + boundary + "\r\n")
	writePart(out, "text/plain", m.Text)
	out.WriteString("\r\n--" + boundary + "\r\n")
	writePart(out, "text/html", m.HTML)
	out.WriteString("\r\n--" + boundary + "--\r\n")
}

// headerWidth is where lines of the head are folded, if there is a space.
const headerWidth = 76

func writeHeader(out *bytes.Buffer, name, value string) {
	out.WriteString(name)
	out.WriteByte(':')
	left := headerWidth - 4 - len(name)
	for word := range strings.SplitSeq(value, " ") {
		if left-len(word) <= 1 {
			out.WriteString("\r\n")
			left = headerWidth - 3
		}
		out.WriteByte(' ')
		out.WriteString(word)
		left -= len(word) + 1
	}
	out.WriteString("\r\n")
}

func writePart(out *bytes.Buffer, kind, body string) {
	out.WriteString("Content-Transfer-Encoding: 8bit\r\nContent-Type: ")
	out.WriteString(kind)
	out.WriteString("; charset=UTF-8\r\n\r\n")
	out.WriteString(body)
}
