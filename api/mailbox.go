package api

import (
	"errors"
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

// mailPolicy: a message is hostile, so nothing in it may run, load or reach this
// origin. Its links open in a new tab.
const mailPolicy = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"

// openLinksOutside makes the links of a message leave its frame, in which
// nothing may be shown.
const openLinksOutside = `<!doctype html><base target="_blank">`

// mailboxRoutes are what the pages of the mailbox, in package dashboard, are made
// from.
func (s *Server) mailboxRoutes() {
	s.router.Get("/dev/mailbox.json", s.mailboxJSON)
	s.router.Get("/dev/mailbox/{id}/html", s.mailboxHTML)
	s.router.Get("/dev/mailbox/{id}/source", s.mailboxSource)
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
