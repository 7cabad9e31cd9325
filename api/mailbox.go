package api

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
)

// Mailbox holds messages that were written instead of sent.
type Mailbox interface {
	List(limit int) ([]MailSummary, error) // newest first
	Get(id string) (Mail, error)           // ErrNoMail when there is none of that id
}

// ErrNoMail means that the mailbox has no message of an id.
var ErrNoMail = errors.New("api: no such message")

// MailSummary is a message in the list.
type MailSummary struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Subject string    `json:"subject"`
}

// Mail is one message.
type Mail struct {
	MailSummary
	Headers []MailHeader `json:"headers"`
	Text    string       `json:"text"`
	HTML    string       `json:"html"`
	Source  []byte       `json:"-"`
}

// MailHeader is one line of a message's head.
type MailHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const maxMails = 200

//go:embed mailbox.html
var mailboxPage string

//go:embed mailbox.css
var mailboxStyle []byte

var mailboxTemplate = template.Must(template.New("mailbox").Parse(mailboxPage))

const (
	mailboxPolicy = "default-src 'none'; style-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	// A message is hostile: nothing in it may run, load or reach this origin.
	// Its links open in a new tab.
	mailPolicy = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)

// openLinksOutside makes the links of a message leave its frame, in which
// nothing may be shown.
const openLinksOutside = `<!doctype html><base target="_blank">`

func (s *Server) mailboxRoutes() {
	s.router.Get("/dev/mailbox", s.mailboxList)
	s.router.Get("/dev/mailbox.json", s.mailboxJSON)
	s.router.Get("/dev/mailbox/style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(mailboxStyle)
	})
	s.router.Get("/dev/mailbox/{id}", s.mailboxMessage)
	s.router.Get("/dev/mailbox/{id}/html", s.mailboxHTML)
	s.router.Get("/dev/mailbox/{id}/source", s.mailboxSource)
}

func (s *Server) mailboxList(w http.ResponseWriter, r *http.Request) {
	mails, err := s.config.Mailbox.List(maxMails)
	if err != nil {
		s.mailFailed(w, r, err)
		return
	}
	s.mailboxShow(w, r, map[string]any{"Mails": mails})
}

func (s *Server) mailboxJSON(w http.ResponseWriter, r *http.Request) {
	mails, err := s.config.Mailbox.List(maxMails)
	if err != nil {
		s.mailFailed(w, r, err)
		return
	}
	full := make([]Mail, 0, len(mails))
	for _, summary := range mails {
		mail, err := s.config.Mailbox.Get(summary.ID)
		switch {
		case errors.Is(err, ErrNoMail): // has just been dropped for newer ones
		case err != nil:
			s.mailFailed(w, r, err)
			return
		default:
			full = append(full, mail)
		}
	}
	w.Header()["Content-Type"] = headerJSON
	_ = jsonFormat.Marshal(w, newList(full, ""))
}

func (s *Server) mailboxMessage(w http.ResponseWriter, r *http.Request) {
	if mail, ok := s.mail(w, r); ok {
		s.mailboxShow(w, r, map[string]any{"Mail": &mail})
	}
}

func (s *Server) mailboxHTML(w http.ResponseWriter, r *http.Request) {
	if mail, ok := s.mail(w, r); ok {
		w.Header().Set("Content-Security-Policy", mailPolicy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(openLinksOutside + mail.HTML))
	}
}

func (s *Server) mailboxSource(w http.ResponseWriter, r *http.Request) {
	if mail, ok := s.mail(w, r); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(mail.Source)
	}
}

func (s *Server) mail(w http.ResponseWriter, r *http.Request) (Mail, bool) {
	mail, err := s.config.Mailbox.Get(chi.URLParam(r, "id"))
	if err != nil {
		s.mailFailed(w, r, err)
		return Mail{}, false
	}
	return mail, true
}

func (s *Server) mailFailed(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrNoMail) {
		err = notFound()
	}
	writeProblem(w, r, exchangeOf(r.Context()).refuse(err))
}

func (s *Server) mailboxShow(w http.ResponseWriter, r *http.Request, data map[string]any) {
	var page bytes.Buffer
	if err := mailboxTemplate.Execute(&page, data); err != nil {
		s.mailFailed(w, r, err)
		return
	}
	w.Header().Set("Content-Security-Policy", mailboxPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes())
}
