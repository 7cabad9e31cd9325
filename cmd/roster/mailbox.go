package main

import (
	"errors"

	"roster/api"
	"roster/subscribers"
)

// shownMailbox lets the HTTP interface show the dev mailbox.
type shownMailbox struct{ box *subscribers.Mailbox }

// List gives the newest messages.
func (m shownMailbox) List(limit int) ([]api.MailSummary, error) {
	found, err := m.box.List(limit)
	mails := make([]api.MailSummary, len(found))
	for i, one := range found {
		mails[i] = api.MailSummary(one)
	}
	return mails, err
}

// Get gives one message.
func (m shownMailbox) Get(id string) (api.Mail, error) {
	mail, err := m.box.Get(id)
	if errors.Is(err, subscribers.ErrNoMail) {
		err = api.ErrNoMail
	}
	shown := api.Mail{MailSummary: api.MailSummary(mail.MailSummary), Text: mail.Text, HTML: mail.HTML, Source: mail.Source}
	for _, header := range mail.Headers {
		shown.Headers = append(shown.Headers, api.MailHeader(header))
	}
	return shown, err
}
