package subscribers

import (
	"embed"
	"fmt"
	htmltemplate "html/template"
	"strings"
	texttemplate "text/template"
	"time"
)

// Bounds of what a message shows. A subject beyond 78 characters is cut off
// by most mail programs anyway.
const (
	maxNameInSubject = 40
	maxNameInText    = 200
)

//go:embed templates
var templates embed.FS

// letterTemplate is the two forms of one kind of message.
type letterTemplate struct {
	kind string
	text *texttemplate.Template
	html *htmltemplate.Template
}

// newLetterTemplate reads templates/<kind>.txt and .html. The latter is put
// together from the parts that all messages share.
func newLetterTemplate(kind string) letterTemplate {
	return letterTemplate{
		kind: kind,
		text: texttemplate.Must(texttemplate.New(kind+".txt").Funcs(texttemplate.FuncMap{"isolate": isolate}).ParseFS(templates, "templates/"+kind+".txt")),
		html: htmltemplate.Must(htmltemplate.New(kind+".html").ParseFS(templates, "templates/"+kind+".html", "templates/parts.html")),
	}
}

// write fills in what the message says.
func (t letterTemplate) write(subject, to string, view any) (Message, error) {
	var text, html strings.Builder
	if err := t.text.Execute(&text, view); err != nil {
		return Message{}, fmt.Errorf("writing the text of the message %s: %w", t.kind, err)
	}
	if err := t.html.Execute(&html, view); err != nil {
		return Message{}, fmt.Errorf("writing the HTML of the message %s: %w", t.kind, err)
	}
	return Message{To: to, Subject: subject, Text: text.String(), HTML: html.String()}, nil
}

// letterView is what the templates of every message see. Every name is one
// line of bounded length.
type letterView struct {
	Product   string
	Subject   string
	To        string
	Link      string
	Action    string // on the button: what the link is for
	ExpiresIn string // "in 7 days"
	ExpiresAt string // "Tuesday, 2 December 2025 at 14:05 UTC"
}

// expires fills in the end of a link's life, as it is now.
func (v *letterView) expires(at, now time.Time) {
	v.ExpiresIn, v.ExpiresAt = inWords(at.Sub(now)), at.UTC().Format("Monday, 2 January 2006 at 15:04 UTC")
}

// nameInText is a name as the body of a message shows it.
func nameInText(name string) string { return clip(oneLine(name), maxNameInText) }

// nameInSubject is a name as the subject shows it.
func nameInSubject(name string) string { return isolate(clip(oneLine(name), maxNameInSubject)) }

// inWords says how long there is: in days from two days on, in hours from two
// hours on, rounded down so that nobody comes too late; in the last hour in
// minutes.
func inWords(left time.Duration) string {
	if left < time.Hour {
		if minutes := left.Round(time.Minute) / time.Minute; minutes >= 2 {
			return fmt.Sprintf("in %d minutes", minutes)
		}
		return "in less than two minutes"
	}
	left += time.Minute // sending takes a moment, and 7 days are 7 days all the same
	switch {
	case left >= 48*time.Hour:
		return fmt.Sprintf("in %d days", left/(24*time.Hour))
	case left >= 2*time.Hour:
		return fmt.Sprintf("in %d hours", left/time.Hour)
	default:
		return "in less than two hours"
	}
}
