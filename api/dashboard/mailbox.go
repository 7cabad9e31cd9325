package dashboard

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"
)

// mailboxRoutes are the dev mailbox: the messages that were written instead of
// sent.
func (d *Dashboard) mailboxRoutes(router chi.Router) {
	router.Get("/dev/mailbox", d.open(mailboxPage))
	router.Get("/dev/mailbox/{id}", d.open(mailboxPage))
}

// letter is a message.
type letter struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Headers []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"headers"`
	Text string `json:"text"`
	HTML string `json:"html"`
}

// mailboxContent is the messages that are looked for, and the one that is open.
type mailboxContent struct {
	letters []letter
	total   int
	open    *letter
	query   string
	view    string // html, text or headers
}

// mailboxPolicy is stricter than that of other pages: a message is hostile, and
// this page needs no script.
const mailboxPolicy = "default-src 'none'; style-src 'self'; frame-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func mailboxPage(v *visit) error {
	var box Page[letter]
	if err := v.get("/dev/mailbox.json", &box); err != nil {
		return err
	}
	shown := &mailboxContent{query: strings.TrimSpace(v.r.FormValue("q")), view: v.r.FormValue("view"), total: len(box.Data)}
	id := v.part("id")
	for i := range box.Data {
		l := &box.Data[i]
		l.From, l.To = bare(l.From), bare(l.To)
		if l.ID == id {
			shown.open = l
		}
		if shown.query == "" || holdsText(shown.query, l.To, l.From, l.Subject) {
			shown.letters = append(shown.letters, *l)
		}
	}
	if id != "" && shown.open == nil {
		return &Problem{Status: http.StatusNotFound, Detail: "There is no such message. The mailbox keeps the newest alone."}
	}
	if shown.open != nil {
		shown.view = shown.open.viewOf(shown.view)
	}
	return v.showMailbox(mailboxView(v, shown))
}

// showMailbox answers with a page without scripts.
func (v *visit) showMailbox(content templ.Component) error {
	var html bytes.Buffer
	if err := content.Render(v.r.Context(), &html); err != nil {
		return err
	}
	v.w.Header().Set("Content-Security-Policy", mailboxPolicy)
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = v.w.Write(html.Bytes()) // a reader who has gone is no failure of the page
	return nil
}

// holdsText tells whether a text is in any of the others, in any case.
func holdsText(part string, texts ...string) bool {
	for _, text := range texts {
		if strings.Contains(strings.ToLower(text), strings.ToLower(part)) {
			return true
		}
	}
	return false
}

// bare is an address without the brackets, where no name is before them.
func bare(address string) string {
	inside, opened := strings.CutPrefix(address, "<")
	inside, closed := strings.CutSuffix(inside, ">")
	if !opened || !closed {
		return address
	}
	return inside
}

// viewOf is the view that is asked for, or the best that there is.
func (l *letter) viewOf(view string) string {
	switch {
	case view == "headers" || view == "text" || view == "html" && l.HTML != "":
		return view
	case l.HTML != "":
		return "html"
	}
	return "text"
}

// subject is never empty, since it is a link.
func (l *letter) subject() string {
	if strings.TrimSpace(l.Subject) == "" {
		return "(no subject)"
	}
	return l.Subject
}

// path is the page of a message, with what was looked for.
func (c *mailboxContent) path(l *letter, view string) string {
	query := url.Values{}
	if c.query != "" {
		query.Set("q", c.query)
	}
	if view != "" {
		query.Set("view", view)
	}
	path := "/dev/mailbox"
	if l != nil {
		path += "/" + url.PathEscape(l.ID)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return path
}

// views are the ways to look at a message.
func (l *letter) views() (views []filterOption) {
	if l.HTML != "" {
		views = append(views, filterOption{"html", "Message"})
	}
	return append(views, filterOption{"text", "Text"}, filterOption{"headers", "Headers"})
}

// opens is the path below a message.
func (l *letter) opens(part string) string {
	return "/dev/mailbox/" + url.PathEscape(l.ID) + "/" + part
}
