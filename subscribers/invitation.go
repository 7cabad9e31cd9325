package subscribers

import (
	"embed"
	"fmt"
	htmltemplate "html/template"
	"strings"
	texttemplate "text/template"
	"time"

	"roster/domain"
)

// InvitationLetter is what the message of an invitation says. Names are
// written by people and may be anything.
type InvitationLetter struct {
	Labels    domain.Labels
	Inviter   string // empty when it was not a person, or one who has been erased
	Invitee   string // empty when the inviter gave no name
	Team      string
	Role      string
	Sites     []SiteRole
	Link      string
	ExpiresAt time.Time
}

// SiteRole is a role on one site, by their names.
type SiteRole struct {
	Site string
	Role string
}

// Bounds of what the message shows. A subject beyond 78 characters is cut off
// by most mail programs anyway.
const (
	maxNameInSubject = 40
	maxNameInText    = 200
	maxSitesShown    = 20
)

//go:embed templates/invitation.txt templates/invitation.html
var templates embed.FS

var (
	invitationText = texttemplate.Must(texttemplate.New("invitation.txt").Funcs(texttemplate.FuncMap{"isolate": isolate}).ParseFS(templates, "templates/invitation.txt"))
	invitationHTML = htmltemplate.Must(htmltemplate.ParseFS(templates, "templates/invitation.html"))
)

// letterView is the letter as the templates see it: every name one line of
// bounded length.
type letterView struct {
	Product, TeamLabel, SitesLabel string
	Inviter, Invitee, Team, Role   string
	Sites                          []SiteRole
	MoreSites                      int
	Link                           string
	ExpiresIn                      string // "in 7 days"
	ExpiresAt                      string // "Tuesday, 2 December 2025 at 14:05 UTC"
	Subject                        string
	To                             string
}

// Message writes the letter. The id is its Message-ID, now the moment from
// which the days until it expires are counted.
func (l *InvitationLetter) Message(id, to string, now time.Time) (Message, error) {
	name := func(text string) string { return clip(oneLine(text), maxNameInText) }
	view := letterView{
		Product: name(l.Labels.Product), TeamLabel: name(l.Labels.Team), SitesLabel: name(l.Labels.Sites),
		Inviter: name(l.Inviter), Invitee: name(l.Invitee), Team: name(l.Team), Role: name(l.Role),
		Link: l.Link, To: to, Subject: l.subject(),
		ExpiresIn: inWords(l.ExpiresAt.Sub(now)),
		ExpiresAt: l.ExpiresAt.UTC().Format("Monday, 2 January 2006 at 15:04 UTC"),
	}
	shown := l.Sites[:min(len(l.Sites), maxSitesShown)]
	view.MoreSites = len(l.Sites) - len(shown)
	for _, site := range shown {
		view.Sites = append(view.Sites, SiteRole{Site: name(site.Site), Role: name(site.Role)})
	}
	var text, html strings.Builder
	if err := invitationText.Execute(&text, view); err != nil {
		return Message{}, fmt.Errorf("invitation: writing the text: %w", err)
	}
	if err := invitationHTML.Execute(&html, view); err != nil {
		return Message{}, fmt.Errorf("invitation: writing the HTML: %w", err)
	}
	return Message{ID: id, To: to, Subject: view.Subject, Text: text.String(), HTML: html.String()}, nil
}

func (l *InvitationLetter) subject() string {
	short := func(text string) string { return isolate(clip(oneLine(text), maxNameInSubject)) }
	if inviter := short(l.Inviter); inviter != "" {
		return fmt.Sprintf("%s invited you to %s on %s", inviter, short(l.Team), short(l.Labels.Product))
	}
	return fmt.Sprintf("You are invited to %s on %s", short(l.Team), short(l.Labels.Product))
}

// inWords says how long there is: in days from two days on, in hours from two
// hours on, rounded down so that nobody comes too late.
func inWords(left time.Duration) string {
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
