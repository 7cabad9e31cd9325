package subscribers

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/wneessen/go-mail"
)

// SMTP sends messages through a mail server, each over a connection of its
// own. It may be used from several goroutines.
type SMTP struct {
	host     string
	port     int
	from     netmail.Address
	user     string
	password string
	implicit bool // TLS from the first byte on
	policy   mail.TLSPolicy
	tls      *tls.Config
	timeout  time.Duration
}

// How long one attempt may take, from dialling to the server's last answer.
// RFC 5321 would wait minutes; whoever looks at a pending invitation won't.
const (
	defaultSMTPTimeout = 20 * time.Second
	longestSMTPTimeout = 5 * time.Minute
)

// smtpAtOnce makes eight connections at most. Mail servers begin to refuse above
// about ten from one sender.
const smtpAtOnce = 4

const smtpForm = "smtp://user:password@mail.example.com:587 or smtps://user:password@mail.example.com:465"

// NewSMTP reads the URL of a mail server. The form is
//
//	smtp://user:password@host:port?starttls=required&from=no-reply@example.com
//	smtps://user:password@host:port
//
// User and password may be absent, and so may the port: 587 for smtp and 465
// for smtps. The parameters are
//
//   - from: the sender, in place of the argument from.
//   - starttls: "required", "offered" (used if the server has it) or "off".
//     Required is what is meant when there is a password, unless the server is
//     on this machine; else offered.
//   - tls_ca: a file with the certificates to trust instead of the system's.
//   - timeout: for one attempt, such as 20s.
//
// An error never quotes the URL, since it holds a password.
func NewSMTP(rawURL, from string) (*SMTP, error) {
	parsed, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("smtp: the URL of the mail server can't be read; the form is %s, with special characters of the password written as %%40 and so on", smtpForm)
	}
	s := &SMTP{host: parsed.Hostname(), policy: mail.TLSOpportunistic, timeout: defaultSMTPTimeout}
	switch parsed.Scheme {
	case "smtp":
		s.port = 587
	case "smtps":
		s.port, s.implicit = 465, true
	default:
		return nil, fmt.Errorf("smtp: the URL of the mail server must start with smtp:// or smtps://; the form is %s", smtpForm)
	}
	if s.host == "" {
		return nil, fmt.Errorf("smtp: the URL of the mail server names no host; the form is %s", smtpForm)
	}
	if parsed.Path != "" && parsed.Path != "/" || parsed.Fragment != "" {
		return nil, fmt.Errorf("smtp: the URL of the mail server ends after host and port; the form is %s, with special characters of the password written as %%23 and so on", smtpForm)
	}
	if text := parsed.Port(); text != "" {
		if s.port, err = strconv.Atoi(text); err != nil || s.port < 1 || s.port > 65535 {
			return nil, errors.New("smtp: the port of the mail server must be 1 to 65535")
		}
	}
	s.user = parsed.User.Username()
	s.password, _ = parsed.User.Password()
	if (s.user == "") != (s.password == "") {
		return nil, fmt.Errorf("smtp: the URL of the mail server needs both user and password, or neither; the form is %s", smtpForm)
	}
	s.tls = &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12}
	if s.password != "" && !isLoopback(s.host) {
		s.policy = mail.TLSMandatory
	}
	if err := s.parameters(parsed.RawQuery, from); err != nil {
		return nil, err
	}
	if s.password != "" && !s.implicit && s.policy != mail.TLSMandatory && !isLoopback(s.host) {
		return nil, errors.New("smtp: the password would be sent unencrypted; leave starttls out or set it to required")
	}
	return s, nil
}

func (s *SMTP) parameters(query, from string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("smtp: the part of the mail server's URL after ? can't be read")
	}
	for name := range values {
		value := values.Get(name)
		switch name {
		case "from":
			from = value
		case "starttls":
			if s.implicit {
				return errors.New("smtp: starttls is for smtp://; smtps:// is encrypted from the start")
			}
			switch value {
			case "required":
				s.policy = mail.TLSMandatory
			case "offered":
				s.policy = mail.TLSOpportunistic
			case "off":
				s.policy = mail.NoTLS
			default:
				return errors.New(`smtp: starttls must be "required", "offered" or "off"`)
			}
		case "tls_ca":
			pem, err := os.ReadFile(value)
			if err != nil {
				return fmt.Errorf("smtp: reading tls_ca: %w", err)
			}
			s.tls.RootCAs = x509.NewCertPool()
			if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
				return errors.New("smtp: tls_ca holds no certificate in PEM form")
			}
		case "timeout":
			if s.timeout, err = time.ParseDuration(value); err != nil || s.timeout < time.Second || s.timeout > longestSMTPTimeout {
				return fmt.Errorf("smtp: timeout must be 1s to %s", longestSMTPTimeout)
			}
		default:
			return fmt.Errorf("smtp: unknown parameter %q; there are from, starttls, tls_ca and timeout", name)
		}
	}
	if from == "" {
		return errors.New("smtp: no from address; set ROSTER_MAIL_FROM, or add ?from=no-reply@example.com to the URL of the mail server")
	}
	s.from, err = parseFrom(from)
	return err
}

// String names the server, for the log.
func (s *SMTP) String() string {
	return "mail server " + net.JoinHostPort(s.host, strconv.Itoa(s.port))
}

// AtOnce is four.
func (s *SMTP) AtOnce() int { return smtpAtOnce }

// Send hands the message to the mail server.
func (s *SMTP) Send(ctx context.Context, message Message) error {
	composed, err := compose(message, s.from, time.Now())
	if err != nil {
		return err
	}
	attempt, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	client, done, err := s.client(attempt, message.To)
	if err != nil {
		return err
	}
	defer done()
	err = client.DialAndSendWithContext(attempt, composed)
	switch {
	case err == nil, composed.IsDelivered():
		return nil // the server has it, even if it failed to say goodbye
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return describe(attempt, err)
	}
}

// client makes a client for one message. The library's client changes while it
// signs in and forgets to close a connection whose greeting failed, so it is
// neither shared nor left to look after the connection: done closes it, and so
// does the end of ctx.
func (s *SMTP) client(ctx context.Context, to string) (client *mail.Client, done func(), err error) {
	var connection net.Conn
	done = func() {
		if connection != nil {
			_ = connection.Close() // closed already after a polite QUIT
		}
	}
	// Not under the context that the library gives: that one ends as soon as
	// the connection stands.
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		raw, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		connection = raw
		context.AfterFunc(ctx, func() { _ = raw.Close() })
		if !s.implicit {
			return raw, nil
		}
		encrypted := tls.Client(raw, s.tls)
		return encrypted, encrypted.HandshakeContext(ctx)
	}
	options := []mail.Option{
		mail.WithPort(s.port), mail.WithTimeout(s.timeout), mail.WithTLSConfig(s.tls), mail.WithTLSPolicy(s.policy),
		mail.WithDialContextFunc(dial),
		mail.WithoutNoop(), // the connection was made this instant
	}
	if s.implicit {
		options = append(options, mail.WithSSL())
	}
	if isASCII(to) {
		// Else it asks for SMTPUTF8 of every server that has it, and then the
		// next server on the way must have it too.
		options = append(options, mail.WithoutSMTPUTF8())
	}
	if s.user != "" {
		// PLAIN and LOGIN refuse to run unencrypted except to this machine.
		options = append(options, mail.WithUsername(s.user), mail.WithPassword(s.password),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthSCRAMSHA1,
				mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthCramMD5))
	}
	client, err = mail.NewClient(s.host, options...)
	if err != nil {
		return nil, nil, &DeliveryError{Permanent: true, Detail: "The mail server is not configured correctly.", Cause: err}
	}
	return client, done, nil
}

// describe tells what a failure means and whether trying again may help. The
// library calls everything permanent that doesn't begin with a 4, also a
// connection that broke; here only the server's own 5xx and what no second
// attempt can change are permanent.
func describe(ctx context.Context, err error) *DeliveryError {
	failure := &DeliveryError{Cause: err}
	var sent *mail.SendError
	var reply *textproto.Error
	var untrusted *tls.CertificateVerificationError
	var network *net.OpError
	switch {
	case errors.As(err, &sent) && sent.ErrorCode() != 0:
		code := strconv.Itoa(sent.ErrorCode())
		if enhanced := sent.EnhancedStatusCode(); enhanced != "" {
			code += " " + enhanced
		}
		what := "message"
		if sent.Reason == mail.ErrSMTPRcptTo {
			what = "address"
		}
		failure.Permanent = sent.ErrorCode() >= 500
		failure.Detail = fmt.Sprintf("The mail server refused the %s (%s).", what, code)
		if !failure.Permanent {
			failure.Detail = fmt.Sprintf("The mail server put the %s off (%s).", what, code)
		}
	case sent != nil && (sent.Reason == mail.ErrGetSender || sent.Reason == mail.ErrGetRcpts || sent.Reason == mail.ErrNoUnencoded):
		failure.Permanent = true
		failure.Detail = "The message can't be sent through this mail server."
	case errors.As(err, &reply):
		failure.Permanent = reply.Code >= 500
		failure.Detail = fmt.Sprintf("The mail server refused the connection or the sign-in (%d).", reply.Code)
	case errors.As(err, &untrusted):
		failure.Permanent = true
		failure.Detail = "The mail server's certificate can't be trusted."
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		failure.Detail = "The mail server didn't answer in time."
	case errors.As(err, &network) && network.Op == "dial":
		failure.Detail = "The mail server can't be reached."
	default:
		failure.Detail = "The connection to the mail server failed."
	}
	return failure
}

func isLoopback(host string) bool {
	ip := net.ParseIP(cmp.Or(host, "invalid"))
	return host == "localhost" || ip.IsLoopback()
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
