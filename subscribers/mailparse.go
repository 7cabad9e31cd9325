package subscribers

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"time"
)

// MailSummary is a line of the mailbox's list.
type MailSummary struct {
	ID      string // "msg_" and 26 characters
	At      time.Time
	From    string
	To      string
	Subject string
}

// Mail is one message, taken apart.
type Mail struct {
	MailSummary
	MessageID string
	Headers   []MailHeader // in their order
	Text      string
	HTML      string
	Source    []byte // as it was written, with CRLF lines
}

// MailHeader is one header field, decoded.
type MailHeader struct{ Name, Value string }

// summaryOf reads the head of a message.
func summaryOf(id string, source []byte) MailSummary {
	parsed, err := netmail.ReadMessage(bytes.NewReader(source))
	if err != nil {
		return MailSummary{ID: id, Subject: "(not a message)"} // edited by hand
	}
	at, _ := parsed.Header.Date() // zero when it was edited by hand
	field := func(name string) string { return decodeHeader(parsed.Header.Get(name)) }
	return MailSummary{ID: id, At: at.UTC(), From: field("From"), To: field("To"), Subject: field("Subject")}
}

// parseMail takes a message apart. What it can't take apart it gives as far as
// it got, with an error.
func parseMail(id string, source []byte) (Mail, error) {
	message := Mail{MailSummary: summaryOf(id, source), Source: source}
	parsed, err := netmail.ReadMessage(bytes.NewReader(source))
	if err != nil {
		return message, fmt.Errorf("mailbox: %s is not a message: %w", id, err)
	}
	message.MessageID = strings.Trim(parsed.Header.Get("Message-ID"), "<> ")
	message.Headers = listHeaders(source)
	err = message.take(parsed.Header.Get("Content-Type"), parsed.Header.Get("Content-Transfer-Encoding"), parsed.Body, 0)
	if err != nil {
		return message, fmt.Errorf("mailbox: %s can't be taken apart: %w", id, err)
	}
	return message, nil
}

// take reads one part of the body, or the parts that it consists of. Depth
// bounds what somebody may have put into the folder.
func (m *Mail) take(contentType, encoding string, body io.Reader, depth int) error {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && depth < 4 {
		parts := multipart.NewReader(body, parameters["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := m.take(part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part, depth+1); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	content, err := io.ReadAll(body)
	text := strings.ReplaceAll(strings.ToValidUTF8(string(content), "\uFFFD"), "\r\n", "\n")
	switch kind {
	case "text/plain":
		m.Text += text
	case "text/html":
		m.HTML += text
	}
	return err
}

// listHeaders gives the header fields in the order of the file, unfolded and
// decoded.
func listHeaders(source []byte) (headers []MailHeader) {
	defer func() {
		for i := range headers {
			headers[i].Value = decodeHeader(headers[i].Value)
		}
	}()
	for line := range strings.SplitSeq(string(source), "\n") {
		line = strings.TrimSuffix(line, "\r")
		name, value, ok := strings.Cut(line, ":")
		switch {
		case line == "":
			return headers
		case (line[0] == ' ' || line[0] == '\t') && len(headers) > 0:
			headers[len(headers)-1].Value += " " + strings.TrimSpace(line)
		case ok:
			headers = append(headers, MailHeader{Name: name, Value: strings.TrimSpace(value)})
		}
	}
	return headers
}

func decodeHeader(value string) string {
	decoded, err := new(mime.WordDecoder).DecodeHeader(value)
	if err != nil {
		decoded = value
	}
	return strings.ToValidUTF8(decoded, "\uFFFD")
}
