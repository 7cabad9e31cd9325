package dashboard

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/a-h/templ"
)

func forgotPage(v *visit) error { return v.show(http.StatusOK, forgotForm(v, v.form())) }

// forgot has a link sent. What it answers doesn't tell who has an account.
func forgot(v *visit) error {
	form := v.filled()
	if _, err := v.send(http.MethodPost, "/v1/password-resets", map[string]any{"email": form.Get("email")}, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return forgotForm(v, form) })
	}
	return v.show(http.StatusOK, forgotSent(v, form.Get("email")))
}

// token is the secret part of the link that was opened, as a part of a path.
func (v *visit) token() string {
	token := v.part("token")
	if token == "" {
		token = v.r.FormValue("invite")
	}
	return url.PathEscape(token)
}

func resetPage(v *visit) error {
	token := v.token()
	if err := v.get("/v1/password-resets/"+token, nil); err != nil {
		return v.resetRefused(err)
	}
	return v.show(http.StatusOK, resetForm(v, v.form(), token))
}

func reset(v *visit) error {
	token, form := v.token(), v.filled()
	_, err := v.send(http.MethodPut, "/v1/password-resets/"+token, map[string]any{"new_password": form.Get("new_password")}, nil)
	if problem, ok := errors.AsType[*Problem](err); ok && (problem.Status == http.StatusGone || problem.Status == http.StatusNotFound) {
		return v.resetRefused(err)
	}
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return resetForm(v, form, token) })
	}
	return v.done("/signin", "Your password is changed. Sign in with the new one.")
}

// resetRefused says what to do about a link that works no more.
func (v *visit) resetRefused(err error) error {
	problem, ok := errors.AsType[*Problem](err)
	if !ok || problem.Status != http.StatusGone && problem.Status != http.StatusNotFound {
		return err
	}
	return v.show(problem.Status, resetDead(v, problem.Status == http.StatusGone))
}
