package dashboard

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/a-h/templ"
)

// The second factors of the reader's account.

// startAuthenticator begins to set up an authenticator app. Nothing changes
// until its first code is confirmed.
func startAuthenticator(v *visit) error {
	var enrolment struct {
		Secret string `json:"secret"`
		QR     string `json:"qr_svg"`
	}
	if _, err := v.send(http.MethodPost, "/v1/me/two-factor", map[string]any{}, &enrolment); err != nil {
		return err
	}
	form := v.form()
	form.Set("secret", enrolment.Secret)
	form.Set("qr", base64.StdEncoding.EncodeToString([]byte(enrolment.QR)))
	return v.show(http.StatusOK, authenticatorForm(v, form))
}

// confirmAuthenticator turns it on. The form has brought along what was told
// once, so that a wrong code isn't the end of it.
func confirmAuthenticator(v *visit) error {
	form := v.filled()
	if _, err := base64.StdEncoding.DecodeString(form.Get("qr")); err != nil {
		return v.to("/dashboard/account")
	}
	var codes recoveryCodes
	_, err := v.send(http.MethodPost, "/v1/me/two-factor/confirm", map[string]any{"code": strings.ReplaceAll(form.Get("code"), " ", "")}, &codes)
	if err != nil {
		form.Del("code") // it is of no use any more
		return v.again(err, form, func(form *Form) templ.Component { return authenticatorForm(v, form) })
	}
	return v.show(http.StatusOK, codesView(v, "Your authenticator app is set up.", codes.Codes))
}

// recoveryCodes are told once.
type recoveryCodes struct {
	Codes []string `json:"recovery_codes"`
}

// inFours makes a secret that is typed readable.
func inFours(secret string) string {
	var out strings.Builder
	for i, r := range secret {
		if i > 0 && i%4 == 0 {
			out.WriteByte(' ')
		}
		out.WriteRune(r)
	}
	return out.String()
}

// asDownload is text as an address that a browser saves.
func asDownload(text string) templ.SafeURL {
	return templ.SafeURL("data:text/plain;charset=utf-8," + url.PathEscape(text))
}

func removeAuthenticatorPage(v *visit) error {
	return v.show(http.StatusOK, removeAuthenticatorForm(v, v.form()))
}

func removeAuthenticator(v *visit) error {
	form := v.filled()
	if _, err := v.send(http.MethodDelete, "/v1/me/two-factor", map[string]any{"password": form.Get("password")}, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return removeAuthenticatorForm(v, form) })
	}
	return v.done("/dashboard/account", "The authenticator app is removed, and you are signed out everywhere else.")
}

func renewCodesPage(v *visit) error { return v.show(http.StatusOK, renewCodesForm(v, v.form())) }

func renewCodes(v *visit) error {
	form := v.filled()
	var codes recoveryCodes
	_, err := v.send(http.MethodPost, "/v1/me/two-factor/recovery-codes", map[string]any{"password": form.Get("password")}, &codes)
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return renewCodesForm(v, form) })
	}
	return v.show(http.StatusOK, codesView(v, "You have new recovery codes. Those of before work no more.", codes.Codes))
}

func newPasskeyPage(v *visit) error {
	form := v.form()
	form.Set("name", device(v.r.UserAgent()).words)
	return v.show(http.StatusOK, passkeyForm(v, form))
}

// addPasskey adds what the page's script has had the browser make.
func addPasskey(v *visit) error {
	form := v.filled()
	var added recoveryCodes
	_, err := v.send(http.MethodPost, "/v1/me/passkeys/confirm", map[string]any{"name": form.Get("name"), "credential": credential(form)}, &added)
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return passkeyForm(v, form) })
	}
	if len(added.Codes) > 0 {
		return v.show(http.StatusOK, codesView(v, "Your passkey is added.", added.Codes))
	}
	return v.done("/dashboard/account", "Your passkey is added.")
}

// passkey is the one that the address names; a *Problem when there is none.
func (v *visit) passkey() (*Passkey, error) {
	var passkeys Page[Passkey]
	if err := v.get("/v1/me/passkeys", &passkeys); err != nil {
		return nil, err
	}
	for i := range passkeys.Data {
		if passkeys.Data[i].ID == v.part("id") {
			return &passkeys.Data[i], nil
		}
	}
	return nil, absent("There is no such passkey. It may have been removed already.")
}

func removePasskeyPage(v *visit) error {
	passkey, err := v.passkey()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, removePasskeyForm(v, v.form(), passkey))
}

func removePasskey(v *visit) error {
	passkey, err := v.passkey()
	if err != nil {
		return err
	}
	form := v.filled()
	if _, err := v.send(http.MethodDelete, "/v1/me/passkeys/"+passkey.ID, map[string]any{"password": form.Get("password")}, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return removePasskeyForm(v, form, passkey) })
	}
	return v.done("/dashboard/account", "The passkey is removed, and you are signed out everywhere else.")
}

// codesText is what is kept of recovery codes.
func codesText(v *visit, codes []string) string {
	return "Recovery codes of " + v.me.User.Email + " for " + v.d.config.Brand.Name + "\n\n" + strings.Join(codes, "\n") + "\n"
}
