package dashboard

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/a-h/templ"
)

func signInPage(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	if v.me != nil {
		return v.to(v.next())
	}
	form := v.form()
	form.Set("email", v.r.FormValue("email"))
	if token, ok := strings.CutPrefix(v.next(), "/invite/"); ok {
		var invited Invited
		if v.get("/v1/invitations/"+url.PathEscape(token), &invited) == nil { // else its own page says what is wrong
			form.Set("email", invited.Email)
		}
	}
	return v.show(http.StatusOK, signInForm(v, form))
}

// signedInAnswer is what a sign-in answers: a session, whose cookie the visit
// has passed on, or a challenge for the second factor.
type signedInAnswer struct {
	TwoFactorRequired bool     `json:"two_factor_required"`
	Challenge         string   `json:"challenge"`
	Methods           []string `json:"methods"`
}

func signIn(v *visit) error {
	form := v.filled()
	var answer signedInAnswer
	_, err := v.send(http.MethodPost, "/v1/sessions", map[string]any{"email": form.Get("email"), "password": form.Get("password")}, &answer)
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return signInForm(v, form) })
	}
	if answer.TwoFactorRequired {
		v.keepChallenge(&challenge{token: answer.Challenge, methods: answer.Methods})
		return v.to("/signin/two-factor?next=" + url.QueryEscape(v.next()))
	}
	return v.to(v.next())
}

// signInByPasskey signs in by a passkey alone. The page's script began it.
func signInByPasskey(v *visit) error {
	form := v.filled()
	_, err := v.send(http.MethodPost, "/v1/sessions/passkey/confirm", map[string]any{
		"challenge": form.Get("challenge"), "credential": credential(form),
	}, nil)
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component {
			if form.Problem.Status != http.StatusTooManyRequests {
				form.Problem.Detail = "This passkey wasn't accepted. Try again, or sign in with the password."
			}
			return signInForm(v, form)
		})
	}
	return v.to(v.next())
}

// credential is what an authenticator answered, which the script put into the
// form; null when that is no JSON.
func credential(form *Form) json.RawMessage {
	if answer := json.RawMessage(form.Get("credential")); json.Valid(answer) {
		return answer
	}
	return json.RawMessage("null")
}

// challenge is a sign-in that lacks the second factor.
type challenge struct {
	token   string
	methods []string
}

func (c *challenge) by(method string) bool { return slices.Contains(c.methods, method) }

// challengeCookie has the challenge for as long as it lives, five minutes. It
// is in no address, where others could read it.
const challengeCookie = "roster_challenge"

func (v *visit) keepChallenge(c *challenge) {
	cookie := http.Cookie{
		Name: challengeCookie, Path: "/signin", MaxAge: 5 * 60,
		HttpOnly: true, Secure: v.d.config.Secure, SameSite: http.SameSiteStrictMode,
	}
	if c == nil {
		cookie.MaxAge = -1
	} else {
		cookie.Value = c.token + "." + strings.Join(c.methods, ".")
	}
	http.SetCookie(v.w, &cookie)
}

// challenged is the challenge that the browser has; nil when there is none.
func (v *visit) challenged() *challenge {
	cookie, err := v.r.Cookie(challengeCookie)
	if err != nil {
		return nil
	}
	parts := strings.Split(cookie.Value, ".")
	return &challenge{token: parts[0], methods: parts[1:]}
}

func (v *visit) signInAnew() error { return v.to("/signin?next=" + url.QueryEscape(v.next())) }

func twoFactorPage(v *visit) error {
	asked := v.challenged()
	if asked == nil {
		return v.signInAnew()
	}
	return v.show(http.StatusOK, twoFactorForm(v, v.form(), asked))
}

func twoFactor(v *visit) error {
	asked, form := v.challenged(), v.filled()
	if asked == nil {
		return v.signInAnew()
	}
	answer := map[string]any{"challenge": asked.token}
	if form.Has("credential") {
		answer["credential"] = credential(form)
	} else {
		answer["code"] = strings.TrimSpace(form.Get("code"))
	}
	_, err := v.send(http.MethodPost, "/v1/sessions/two-factor", answer, nil)
	problem, _ := errors.AsType[*Problem](err)
	switch {
	case problem != nil && problem.Code == "challenge_ended":
		v.keepChallenge(nil)
		return v.again(err, form, func(form *Form) templ.Component { return signInForm(v, form) })
	case err != nil:
		form.Del("code") // it is of no use any more
		return v.again(err, form, func(form *Form) templ.Component { return twoFactorForm(v, form, asked) })
	}
	v.keepChallenge(nil)
	return v.to(v.next())
}

// twoFactorOptions gives the script what a passkey has to answer. It can't ask
// by itself, since it doesn't see the challenge.
func twoFactorOptions(v *visit) error {
	asked := v.challenged()
	if asked == nil {
		asked = &challenge{token: "none"} // is refused like one that has ended
	}
	var options json.RawMessage
	_, err := v.send(http.MethodPost, "/v1/sessions/two-factor/passkey", map[string]any{"challenge": asked.token}, &options)
	status := http.StatusOK
	if problem, ok := errors.AsType[*Problem](err); ok {
		status = problem.Status
		if options, err = json.Marshal(map[string]any{"detail": problem.Detail}); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/json")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(options) // a reader who has gone is no failure of the page
	return nil
}

// signOut ends the session; one that has ended already is fine too. It may lead
// on, to what can't be done as who one was.
func signOut(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	if v.me != nil {
		if _, err := v.send(http.MethodDelete, "/v1/sessions/current", nil, nil); err != nil {
			return err
		}
	}
	if v.r.PostFormValue("next") != "" {
		return v.to(v.next())
	}
	return v.to("/signin")
}
