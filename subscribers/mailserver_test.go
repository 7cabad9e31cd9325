package subscribers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// mailServer is a real SMTP server in this process that keeps what it gets.
type mailServer struct {
	address string

	// Set before it is used. Refuse answers RCPT for the nth message that is
	// tried, counted from 1; Deliver runs before DATA is accepted.
	refuse   func(attempt int, to string) error
	deliver  func()
	user     string
	password string

	mu       sync.Mutex
	attempts int
	got      []received
	arrived  chan struct{} // one element for each message
}

type received struct {
	from, to string
	utf8     bool
	source   []byte
}

func (r received) parse(t *testing.T) Mail {
	t.Helper()
	if _, err := netmail.ReadMessage(bytes.NewReader(r.source)); err != nil {
		t.Fatalf("net/mail can't read the message: %v", err)
	}
	message, err := parseMail("msg", r.source)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// startMailServer listens on a free port until the test ends. With a TLS
// configuration it offers STARTTLS, or TLS from the start if implicit.
func startMailServer(t *testing.T, m *mailServer, config *tls.Config, implicit bool) *mailServer {
	t.Helper()
	m.arrived = make(chan struct{}, 10_000)
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{server: m}, nil }))
	server.Domain = "mail.test"
	server.TLSConfig = config
	server.EnableSMTPUTF8 = true
	server.AllowInsecureAuth = true
	server.ErrorLog = log.New(io.Discard, "", 0)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = listener.Addr().String()
	if implicit {
		listener = tls.NewListener(listener, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = listener.Close() // of its own: Serve may not have begun
		_ = server.Close()
		<-done
	})
	return m
}

func (m *mailServer) messages() []received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]received(nil), m.got...)
}

func (m *mailServer) tried() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.attempts
}

type mailSession struct {
	server  *mailServer
	signed  bool
	current received
}

func (s *mailSession) AuthMechanisms() []string {
	if s.server.user == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.server.user || password != s.server.password {
			return smtp.ErrAuthFailed
		}
		s.signed = true
		return nil
	}), nil
}

func (s *mailSession) Mail(from string, options *smtp.MailOptions) error {
	if s.server.user != "" && !s.signed {
		return smtp.ErrAuthRequired
	}
	s.current = received{from: from, utf8: options.UTF8}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.server.mu.Lock()
	s.server.attempts++
	attempt := s.server.attempts
	s.server.mu.Unlock()
	s.current.to = to
	if s.server.refuse != nil {
		return s.server.refuse(attempt, to)
	}
	return nil
}

func (s *mailSession) Data(body io.Reader) error {
	source, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if s.server.deliver != nil {
		s.server.deliver()
	}
	s.current.source = source
	s.server.mu.Lock()
	s.server.got = append(s.server.got, s.current)
	s.server.mu.Unlock()
	s.server.arrived <- struct{}{}
	return nil
}

func (s *mailSession) Reset()        {}
func (s *mailSession) Logout() error { return nil }

func refusal(code int, enhanced smtp.EnhancedCode, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}

// certificate makes one for 127.0.0.1 and a file to trust it by.
func certificate(t *testing.T) (config *tls.Config, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}

// asDelivery gives the DeliveryError that is wanted.
func asDelivery(t *testing.T, err error) *DeliveryError {
	t.Helper()
	var failure *DeliveryError
	if !errors.As(err, &failure) {
		t.Fatalf("got %v, want a DeliveryError", err)
	}
	return failure
}
