package subscribers

import (
	"context"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wneessen/go-mail"
)

// Message is one e-mail to one recipient.
type Message struct {
	// ID is the Message-ID without its angle brackets. A message that is sent
	// again after a crash has the same one.
	ID string

	To      string // the bare address
	Subject string
	Text    string
	HTML    string
}

// Sender delivers messages.
type Sender interface {
	// Send hands over a message. One that could not be handed over comes back
	// as a [*DeliveryError]; any other error means that ctx ended.
	Send(ctx context.Context, message Message) error

	// AtOnce is how many messages it sends at once, of invitations and of all
	// others each.
	AtOnce() int
}

// DeliveryError says why a message was not delivered.
type DeliveryError struct {
	// Permanent: sending it again would fail again.
	Permanent bool

	// Detail is a sentence for whoever made us send it. It never holds
	// the address or anything that the mail server wrote, since servers like
	// to repeat the address.
	Detail string

	Cause error // for errors.Is and errors.As; not part of the text, for the same reason
}

func (e *DeliveryError) Error() string { return "mail: " + e.Detail }

// Unwrap gives the cause.
func (e *DeliveryError) Unwrap() error { return e.Cause }

// Bounds of what is sent. RFC 5321 allows an address 254 characters and
// RFC 5322 a line 998; a body is far below the megabytes that servers take.
const (
	maxAddress = 254
	maxSubject = 900
	maxBody    = 256 << 10
	maxMailID  = 200
)

// checkedMessage can be sent as it stands.
type checkedMessage struct {
	Message // with a subject of one line
	to      *netmail.Address
}

// check refuses what can't be sent as it stands rather than have something else
// sent.
func check(message Message) (checkedMessage, error) {
	to, err := parseAddress(message.To)
	if err != nil {
		return checkedMessage{}, &DeliveryError{Permanent: true, Detail: "The address is not one that mail can be sent to.", Cause: err}
	}
	if message.ID == "" || len(message.ID) > maxMailID || strings.ContainsFunc(message.ID, notInMailID) {
		return checkedMessage{}, &DeliveryError{Permanent: true, Detail: "The message has no usable id."}
	}
	if len(message.Subject) > maxSubject || len(message.Text) > maxBody || len(message.HTML) > maxBody {
		return checkedMessage{}, &DeliveryError{Permanent: true, Detail: "The message is too long."}
	}
	// Plain ASCII is written as it is, and "=?" would begin an encoded word.
	message.Subject = strings.ReplaceAll(oneLine(message.Subject), "=?", "= ?")
	return checkedMessage{Message: message, to: to}, nil
}

// RFC 3834: no out-of-office answers to a machine.
const (
	autoSubmitted     = "auto-generated"
	suppressResponses = "All"
)

// compose turns a message into MIME: a multipart/alternative of plain text and
// HTML, in quoted-printable unless the options say otherwise.
func compose(message Message, from netmail.Address, at time.Time, options ...mail.MsgOption) (*mail.Msg, error) {
	checked, err := check(message)
	if err != nil {
		return nil, err
	}
	out := mail.NewMsg(append(options, mail.WithNoDefaultUserAgent())...)
	out.FromMailAddress(&from)
	out.AddToMailAddress(checked.to)
	out.Subject(checked.Subject)
	out.SetDateWithValue(at)
	out.SetMessageIDWithValue(message.ID)
	out.SetGenHeader("Auto-Submitted", autoSubmitted)
	out.SetGenHeader("X-Auto-Response-Suppress", suppressResponses)
	out.SetBodyString(mail.TypeTextPlain, message.Text)
	if message.HTML != "" {
		out.AddAlternativeString(mail.TypeTextHTML, message.HTML)
	}
	return out, nil
}

// notInMailID marks what may not stand between the angle brackets of a
// Message-ID.
func notInMailID(r rune) bool {
	return r <= ' ' || r >= utf8.RuneSelf-1 || strings.ContainsRune("<>()\"\\,;", r)
}

// parseAddress reads a bare address: no display name, no comment, no fold.
func parseAddress(text string) (*netmail.Address, error) {
	if len(text) > maxAddress || !utf8.ValidString(text) {
		return nil, fmt.Errorf("mail: an address is valid UTF-8 of at most %d bytes", maxAddress)
	}
	parsed, err := netmail.ParseAddress(text)
	if err != nil {
		// The parser's words quote the address.
		return nil, fmt.Errorf("mail: not an address of the form name@example.com")
	}
	if parsed.Name != "" || parsed.Address != text {
		return nil, fmt.Errorf("mail: an address without a name or a comment is wanted")
	}
	return parsed, nil
}

// parseFrom reads the sender of all messages: an address, with or without a
// name.
func parseFrom(text string) (netmail.Address, error) {
	parsed, err := netmail.ParseAddress(text)
	if err != nil || len(text) > 2*maxAddress {
		return netmail.Address{}, fmt.Errorf("mail: the from address %q is not of the form no-reply@example.com or Roster <no-reply@example.com>", text)
	}
	parsed.Name = oneLine(parsed.Name)
	return *parsed, nil
}

// DefaultFrom is the sender when none is configured: no-reply at the host of
// the base URL, or at localhost when that is an IP address.
func DefaultFrom(baseURL string) string {
	host := "localhost"
	if parsed, err := url.Parse(baseURL); err == nil && net.ParseIP(parsed.Hostname()) == nil {
		if _, err := parseAddress("no-reply@" + parsed.Hostname()); err == nil {
			host = parsed.Hostname()
		}
	}
	return "no-reply@" + host
}
