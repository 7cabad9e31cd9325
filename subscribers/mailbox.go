package subscribers

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// Mailbox is a Sender that sends nothing: it keeps every message as an .eml
// file in a folder, where ordinary mail programs open it and the page
// /dev/mailbox shows it. It is for development, where no mail server is
// configured. Files are not synced to disk.
//
// What comes out of it is as hostile as what people put into names. Its HTML
// belongs into a sandboxed document of its own, never into the markup of a
// page.
type Mailbox struct {
	folder *os.Root
	from   netmail.Address
	most   int // files

	mu      sync.Mutex
	names   []string      // without their extension, oldest first
	arrived chan struct{} // closed and replaced with each message
}

const (
	mailboxExtension = ".eml"
	mailboxPrefix    = "msg"

	// maxMailboxFiles bounds the folder: at about 6 KiB a message, 60 MiB.
	maxMailboxFiles = 10_000

	// MaxMailboxList is how many messages are listed at most.
	MaxMailboxList = 1000

	maxMailboxFile = 4 * maxBody
)

// ErrNoMail means that the mailbox has no such message, or no longer.
var ErrNoMail = errors.New("mailbox: there is no such message")

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
	Headers   []MailHeader // in the order of the file
	Text      string
	HTML      string
	Source    []byte // the file
}

// MailHeader is one header field, decoded.
type MailHeader struct{ Name, Value string }

// OpenMailbox opens the folder, which it makes if it isn't there, for messages
// from this sender.
func OpenMailbox(folder, from string) (*Mailbox, error) {
	sender, err := parseFrom(from)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("mailbox: making the folder for messages: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("mailbox: opening the folder for messages: %w", err)
	}
	box := &Mailbox{folder: root, from: sender, most: maxMailboxFiles, arrived: make(chan struct{})}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("mailbox: listing the folder for messages: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		id, isMail := strings.CutSuffix(name, mailboxExtension)
		switch {
		case isMail && domain.ValidID(mailboxPrefix, id):
			box.names = append(box.names, id) // sorted by name, which is by time
		case filepath.Ext(name) == ".part":
			_ = root.Remove(name) // left by a crash while it was written
		}
	}
	return box, nil
}

// Close ends the use of the folder.
func (b *Mailbox) Close() error { return b.folder.Close() }

// String names the mailbox, for the log.
func (b *Mailbox) String() string { return "mailbox in " + b.folder.Name() }

// Send keeps the message. When there are 10,000 the oldest makes room.
func (b *Mailbox) Send(ctx context.Context, message Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	composed, err := compose(message, b.from, time.Now())
	if err != nil {
		return err
	}
	var source bytes.Buffer
	if _, err := composed.WriteTo(&source); err != nil {
		return &DeliveryError{Permanent: true, Detail: "The message can't be written.", Cause: err}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	id := eventstore.NewID(mailboxPrefix)
	if err := b.write(id, source.Bytes()); err != nil {
		return &DeliveryError{Detail: "The mailbox folder can't be written to.", Cause: err}
	}
	b.names = append(b.names, id)
	close(b.arrived)
	b.arrived = make(chan struct{})
	for len(b.names) > b.most {
		if err := b.folder.Remove(b.names[0] + mailboxExtension); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &DeliveryError{Detail: "The mailbox folder can't be tidied.", Cause: err}
		}
		b.names = slices.Delete(b.names, 0, 1)
	}
	return nil
}

// Arrived is closed when the next message has arrived. Whoever waits for one
// asks for it before looking whether it is there.
func (b *Mailbox) Arrived() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.arrived
}

// write makes the file whole or not at all.
func (b *Mailbox) write(id string, source []byte) error {
	if err := b.folder.WriteFile(id+".part", source, 0o600); err != nil {
		return err
	}
	return b.folder.Rename(id+".part", id+mailboxExtension)
}

// List gives the newest messages, the newest first, at most MaxMailboxList.
func (b *Mailbox) List(limit int) ([]MailSummary, error) {
	limit = min(max(limit, 0), MaxMailboxList)
	b.mu.Lock()
	names := slices.Clone(b.names[max(0, len(b.names)-limit):])
	b.mu.Unlock()
	list := make([]MailSummary, 0, len(names))
	for _, id := range slices.Backward(names) {
		summary, err := b.summary(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted by hand, or to make room
		}
		if err != nil {
			return nil, fmt.Errorf("mailbox: reading %s: %w", id, err)
		}
		list = append(list, summary)
	}
	return list, nil
}

func (b *Mailbox) summary(id string) (MailSummary, error) {
	file, err := b.folder.Open(id + mailboxExtension)
	if err != nil {
		return MailSummary{}, err
	}
	defer file.Close()
	parsed, err := netmail.ReadMessage(io.LimitReader(file, maxMailboxFile))
	if err != nil {
		return MailSummary{ID: id, Subject: "(not a message)"}, nil // edited by hand
	}
	return summarise(id, parsed.Header), nil
}

func summarise(id string, header netmail.Header) MailSummary {
	at, _ := header.Date() // zero when it was edited by hand
	return MailSummary{
		ID: id, At: at.UTC(),
		From: decodeHeader(header.Get("From")), To: decodeHeader(header.Get("To")), Subject: decodeHeader(header.Get("Subject")),
	}
}

// Get gives one message.
func (b *Mailbox) Get(id string) (Mail, error) {
	if !domain.ValidID(mailboxPrefix, id) {
		return Mail{}, ErrNoMail
	}
	file, err := b.folder.Open(id + mailboxExtension)
	if errors.Is(err, fs.ErrNotExist) {
		return Mail{}, ErrNoMail
	}
	if err != nil {
		return Mail{}, fmt.Errorf("mailbox: opening %s: %w", id, err)
	}
	defer file.Close()
	source, err := io.ReadAll(io.LimitReader(file, maxMailboxFile))
	if err != nil {
		return Mail{}, fmt.Errorf("mailbox: reading %s: %w", id, err)
	}
	return parseMail(id, source)
}

func parseMail(id string, source []byte) (Mail, error) {
	parsed, err := netmail.ReadMessage(bytes.NewReader(source))
	if err != nil {
		return Mail{}, fmt.Errorf("mailbox: %s is not a message: %w", id, err)
	}
	message := Mail{
		MailSummary: summarise(id, parsed.Header),
		MessageID:   strings.Trim(parsed.Header.Get("Message-ID"), "<> "),
		Headers:     listHeaders(source),
		Source:      source,
	}
	err = message.take(parsed.Header.Get("Content-Type"), parsed.Header.Get("Content-Transfer-Encoding"), parsed.Body, 0)
	if err != nil {
		return Mail{}, fmt.Errorf("mailbox: %s can't be taken apart: %w", id, err)
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
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(string(content), "\uFFFD"), "\r\n", "\n")
	switch kind {
	case "text/plain":
		m.Text += text
	case "text/html":
		m.HTML += text
	}
	return nil
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
