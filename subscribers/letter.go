package subscribers

import (
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"strconv"
	"strings"
	"sync"
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

	mu       sync.RWMutex
	outlines map[string]*outlines // by the shape of a letter
}

// outlines are those of both forms.
type outlines struct{ text, html *outline }

// maxOutlines bounds what is kept of one kind. Invitations have some hundred
// shapes: with and without either name, and with up to 20 sites.
const maxOutlines = 1000

// newLetterTemplate reads templates/<kind>.txt and .html. The latter is put
// together from the parts that all messages share.
func newLetterTemplate(kind string) *letterTemplate {
	return &letterTemplate{
		kind:     kind,
		text:     texttemplate.Must(texttemplate.New(kind+".txt").Option("missingkey=error").ParseFS(templates, "templates/"+kind+".txt")),
		html:     htmltemplate.Must(htmltemplate.New(kind+".html").Option("missingkey=error").ParseFS(templates, "templates/"+kind+".html", "templates/parts.html")),
		outlines: map[string]*outlines{},
	}
}

// letterView is what a message says: names and other values under the names
// that the templates have for them, and sites. Those of one kind of message are
// always in the same order. Every name is one line of bounded length.
type letterView struct {
	to, subject, link string

	names  []string
	values []string // in the order of the names
	sites  int      // how many pairs of a site and a role stand after the values with names
}

// newLetterView begins with what all messages say. The action is what stands
// on the button: what the link is for.
func newLetterView(product, subject, to, link, action string, expiresAt, now time.Time) *letterView {
	v := &letterView{to: to, subject: subject, link: link, names: make([]string, 0, 16), values: make([]string, 0, 16)}
	v.add("Product", nameInText(product))
	v.add("Subject", subject)
	v.add("To", to)
	v.add("Link", link)
	v.add("Action", action)
	v.add("ExpiresIn", inWords(expiresAt.Sub(now)))
	v.add("ExpiresAt", expiresAt.UTC().Format("Monday, 2 January 2006 at 15:04 UTC"))
	return v
}

func (v *letterView) add(name, value string) {
	v.names = append(v.names, name)
	v.values = append(v.values, value)
}

// addSites comes last. There are more than those by so many.
func (v *letterView) addSites(sites []SiteRole, more int) {
	text := ""
	if more > 0 {
		text = strconv.Itoa(more)
	}
	v.add("MoreSites", text)
	for _, site := range sites {
		v.values = append(v.values, nameInText(site.Site), nameInText(site.Role))
	}
	v.sites = len(sites)
}

// shape tells which values there are at all. Messages of one shape differ in
// nothing but their values.
func (v *letterView) shape() []byte {
	shape := make([]byte, 0, 64)
	for _, value := range v.values {
		there := byte('0')
		if value != "" {
			there = '1'
		}
		shape = append(shape, there)
	}
	return shape
}

// data is the view for a template, with something else in place of each value
// that there is.
func (v *letterView) data(instead func(value int) string) map[string]any {
	show := func(value int) string {
		if v.values[value] == "" {
			return ""
		}
		return instead(value)
	}
	data := map[string]any{}
	for i, name := range v.names {
		data[name] = show(i)
	}
	sites := make([]SiteRole, v.sites)
	for i := range sites {
		at := len(v.names) + 2*i
		sites[i] = SiteRole{Site: show(at), Role: show(at + 1)}
	}
	data["Sites"] = sites
	return data
}

// write fills in what the message says.
func (t *letterTemplate) write(v *letterView) (Message, error) {
	if !strings.HasPrefix(v.link, "https://") && !strings.HasPrefix(v.link, "http://") {
		return Message{}, fmt.Errorf("writing the message %s: its link is not one of the web", t.kind)
	}
	outlines, err := t.outlinesOf(v)
	if err != nil {
		return Message{}, fmt.Errorf("writing the message %s: %w", t.kind, err)
	}
	values := make([]string, len(v.values))
	for i, value := range v.values {
		values[i] = isolate(value)
	}
	text := outlines.text.fill(values)
	for i, value := range v.values {
		values[i] = escapeHTML(value)
	}
	return Message{To: v.to, Subject: v.subject, Text: text, HTML: outlines.html.fill(values)}, nil
}

// outlinesOf gives the outlines for a message of this shape.
func (t *letterTemplate) outlinesOf(v *letterView) (*outlines, error) {
	shape := v.shape()
	t.mu.RLock()
	known := t.outlines[string(shape)]
	t.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	made, err := t.outline(v)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.outlines) >= maxOutlines {
		clear(t.outlines)
	}
	t.outlines[string(shape)] = made
	return made, nil
}

// outline executes the templates with marks in place of the values. Then it
// makes sure that nothing in the HTML needs other care than escapeHTML takes,
// such as a value within a script would.
func (t *letterTemplate) outline(v *letterView) (*outlines, error) {
	text, err := execute(t.text, v.data(mark))
	if err != nil {
		return nil, err
	}
	html, err := execute(t.html, v.data(mark))
	if err != nil {
		return nil, err
	}
	made := &outlines{}
	if made.text, err = newOutline(text); err != nil {
		return nil, err
	}
	if made.html, err = newOutline(html); err != nil {
		return nil, err
	}
	hostile := func(value int) string {
		if value < len(v.names) && v.names[value] == "Link" {
			return "https://teams.example.com/-_.~%20?a=b"
		}
		return "\x00" + `<a b="c" d='e'>&amp;/* -->+` + strconv.Itoa(value)
	}
	if html, err = execute(t.html, v.data(hostile)); err != nil {
		return nil, err
	}
	values := make([]string, len(v.values))
	for i := range values {
		values[i] = escapeHTML(hostile(i))
	}
	if made.html.fill(values) != html {
		return nil, errors.New("a value of the template stands neither between tags nor in quotes")
	}
	return made, nil
}

func execute(template interface {
	Execute(out io.Writer, data any) error
}, data any) (string, error) {
	var out strings.Builder
	err := template.Execute(&out, data)
	return out.String(), err
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
