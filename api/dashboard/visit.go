package dashboard

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
)

// visit is one request for a page and what is known of its reader.
type visit struct {
	d *Dashboard
	w http.ResponseWriter
	r *http.Request

	now     time.Time
	me      *Me      // nil for somebody who isn't signed in
	team    *Team    // the active one; nil outside of teams
	catalog *Catalog // of that team
	sent    int      // writes made of the reader's form

	// position is how far what the page shows has come, at least; what changes
	// after it renews the page.
	position string
}

// page is how a page is made: it shows something or leads elsewhere. The error
// is a *Problem where the interface refused.
type page func(*visit) error

// open is for pages that anybody may see.
func (d *Dashboard) open(show page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{d: d, w: w, r: r, now: time.Now().UTC()}
		if err := show(v); err != nil {
			v.refuse(err)
		}
	}
}

// signedIn is for pages of somebody who is signed in; others are led to the
// sign-in and come back.
func (d *Dashboard) signedIn(show page) http.HandlerFunc {
	return d.open(func(v *visit) error {
		if err := v.identify(); err != nil {
			return err
		}
		if v.me == nil {
			return v.toSignIn()
		}
		return show(v)
	})
}

// inTeam is for pages about the reader's active team.
func (d *Dashboard) inTeam(show page) http.HandlerFunc {
	return d.signedIn(func(v *visit) error {
		if v.me.ActiveTeamID == "" {
			return v.to("/dashboard")
		}
		// The reader may have gone on to another team in another window.
		if about := v.r.PostFormValue(teamField); about != "" && about != v.me.ActiveTeamID {
			return &Problem{Status: http.StatusConflict, Code: "other_team",
				Detail: "Nothing was done: what you sent is not about the team that you are in now. Switch back to the other one and send it again."}
		}
		if v.me.active().TwoFactor.shutOut(v.now) {
			return v.show(http.StatusForbidden, secondFactorMissing(v))
		}
		if err := v.enterTeam(); err != nil {
			return err
		}
		return show(v)
	})
}

// enterTeam reads the active team and its catalog.
func (v *visit) enterTeam() error {
	v.team, v.catalog = new(Team), new(Catalog)
	if err := v.get("/v1/teams/"+v.me.ActiveTeamID, v.team); err != nil {
		return err
	}
	return v.get(v.teamPath("/catalog"), v.catalog)
}

// identify finds out who reads; nobody is no error.
func (v *visit) identify() error {
	if v.r.Header.Get("Cookie") == "" {
		return nil
	}
	var me Me
	header, err := v.send(http.MethodGet, "/v1/me", nil, &me)
	v.position = header.Get("Roster-Position")
	if problem, ok := errors.AsType[*Problem](err); ok && problem.Status == http.StatusUnauthorized {
		return nil
	}
	if err == nil {
		v.me = &me
	}
	return err
}

// teamPath is a path of the interface below the active team.
func (v *visit) teamPath(rest string) string { return "/v1/teams/" + v.team.ID + rest }

// at is a path of the interface below the active team, made of parts that may
// hold anything.
func (v *visit) at(parts ...string) string {
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return v.teamPath("/" + strings.Join(parts, "/"))
}

// part is a part of the page's path.
func (v *visit) part(name string) string { return chi.URLParam(v.r, name) }

// get asks the interface for something.
func (v *visit) get(path string, into any) error {
	_, err := v.send(http.MethodGet, path, nil, into)
	return err
}

// passed on from the reader's request, so that the interface sees who asks,
// from where, and that the page is its own.
var passedOn = []string{"Cookie", "User-Agent", "X-Forwarded-For", "Origin", "Sec-Fetch-Site"}

// send makes a request of the interface, in this process. What it refuses is a
// *Problem. A session that it gives or takes away goes to the reader's browser.
func (v *visit) send(method, path string, body, into any) (http.Header, error) {
	var content io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(v.r.Context(), method, path, content)
	if err != nil {
		return nil, err
	}
	for _, name := range passedOn {
		if values := v.r.Header.Values(name); len(values) > 0 {
			request.Header[name] = values
		}
	}
	request.Host, request.RemoteAddr = v.r.Host, v.r.RemoteAddr
	request.Header.Set("X-Request-Id", v.w.Header().Get("X-Request-Id"))
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if method != http.MethodGet {
		// A form that is posted twice, by an impatient hand or a reload, counts once.
		if once := v.r.PostFormValue(onceField); once != "" {
			v.sent++
			request.Header.Set("Idempotency-Key", fmt.Sprintf("%s-%d", once, v.sent))
		}
	}
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	v.d.api.ServeHTTP(answer, request)
	for _, cookie := range answer.header.Values("Set-Cookie") {
		v.w.Header().Add("Set-Cookie", cookie)
	}
	if answer.status >= http.StatusBadRequest {
		problem := &Problem{Status: answer.status, RetryAfter: answer.header.Get("Retry-After"), body: answer.body.Bytes()}
		// Facts of one name are of several types: a number of members, or who they are.
		if err := json.Unmarshal(problem.body, problem); err != nil && !isType[*json.UnmarshalTypeError](err) {
			return nil, err
		}
		return nil, problem
	}
	if into == nil || answer.body.Len() == 0 {
		return answer.header, nil
	}
	return answer.header, json.Unmarshal(answer.body.Bytes(), into)
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// recorder takes the answer to a request of a page.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header               { return r.header }
func (r *recorder) WriteHeader(status int)            { r.status = status }
func (r *recorder) Write(content []byte) (int, error) { return r.body.Write(content) }

// pagePolicy lets a page load what this server has, and nothing else: no inline
// script or style, no other origin. The images in data: are QR codes.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// show answers with a page.
func (v *visit) show(status int, content templ.Component) error {
	var html bytes.Buffer
	if err := content.Render(v.r.Context(), &html); err != nil {
		return err
	}
	header := v.w.Header()
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Vary", "Accept-Encoding")
	zip := strings.Contains(v.r.Header.Get("Accept-Encoding"), "gzip")
	if zip {
		header.Set("Content-Encoding", "gzip")
	}
	v.w.WriteHeader(status)
	// A reader who has gone is no failure of the page.
	if zip {
		_ = compressPage(v.w, html.Bytes())
	} else {
		_, _ = v.w.Write(html.Bytes())
	}
	return nil
}

// compressPage writes a page compressed. Pages hold secrets, such as the link of
// an invitation, beside what somebody may have put into their address, and the
// length of what is compressed tells how alike the two are (BREACH). So each
// gets a random length, by a file name in its header that means nothing, as
// Palacios and others propose in "Heal the Breach" (2022); besides, no foreign
// page can fetch one in its reader's name, since the cookie is SameSite.
func compressPage(w io.Writer, page []byte) error {
	return compress(w, strings.Repeat("x", rand.IntN(maxPadding+1)), page)
}

// compress writes content compressed, under a file name unless that is empty.
func compress(w io.Writer, name string, content []byte) error {
	writer, _ := zippers.Get().(*gzip.Writer)
	defer zippers.Put(writer)
	writer.Reset(w)
	writer.Name = name
	_, err := writer.Write(content)
	return errors.Join(err, writer.Close())
}

// maxPadding is the number of bytes that a page is made longer by at most.
const maxPadding = 100

var zippers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// again shows a form that was refused, with what is wrong with it. Any other
// error is passed on.
func (v *visit) again(err error, form *Form, show func(*Form) templ.Component) error {
	problem, ok := errors.AsType[*Problem](err)
	if !ok || problem.Status == http.StatusUnauthorized && v.me != nil || problem.Status >= http.StatusInternalServerError {
		return err
	}
	if problem.Status == http.StatusUnprocessableEntity && len(problem.Errors) > 0 {
		problem.Detail = "Some of this can't be taken as it is. See below."
	}
	if wait, err := strconv.Atoi(problem.RetryAfter); err == nil {
		problem.Detail = "Too many attempts. Try again " + distance(v.now.Add(time.Duration(wait)*time.Second), v.now) + "."
	}
	form.Problem = problem
	form.Once = newOnce() // the answer to the old one is this refusal
	return v.show(problem.Status, show(form))
}

// to leads to another page.
func (v *visit) to(path string) error {
	if v.r.Header.Get("HX-Request") == "" {
		http.Redirect(v.w, v.r, path, http.StatusSeeOther)
		return nil
	}
	// fetch would follow a redirect unseen, and the page would land in the dialog.
	v.w.Header().Set("HX-Redirect", path)
	v.w.WriteHeader(http.StatusNoContent)
	return nil
}

// done leads to another page after something was done, which that page says.
func (v *visit) done(path, note string) error {
	http.SetCookie(v.w, &http.Cookie{
		Name: noteCookie, Value: base64.RawURLEncoding.EncodeToString([]byte(note)), Path: "/", MaxAge: 30,
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return v.to(path)
}

const noteCookie = "roster_note"

// note is what was just done, told once. A request of a script, to renew a page
// or to search, leaves it to the page that the reader is led to.
func (v *visit) note() string {
	if v.r.Header.Get("HX-Request") != "" {
		return ""
	}
	cookie, err := v.r.Cookie(noteCookie)
	if err != nil || cookie.Value == "" {
		return ""
	}
	http.SetCookie(v.w, &http.Cookie{Name: noteCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	text, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		return ""
	}
	return string(text)
}

// toSignIn leads to the sign-in, and back afterwards.
func (v *visit) toSignIn() error {
	next := ""
	if v.r.Method == http.MethodGet && v.r.URL.Path != "/dashboard" {
		next = "?next=" + url.QueryEscape(v.r.URL.RequestURI())
	}
	return v.to("/signin" + next)
}

// next is where a sign-in leads: a page of this server, whatever the address
// bar says.
func (v *visit) next() string {
	next := v.r.FormValue("next")
	parsed, err := url.Parse(next)
	if err != nil || parsed.IsAbs() || parsed.Host != "" || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\t\r\n") {
		return "/dashboard"
	}
	return next
}

// refuse answers with a page that says what is wrong and what to do.
func (v *visit) refuse(err error) {
	problem, ok := errors.AsType[*Problem](err)
	switch {
	case !ok:
		problem = &Problem{Status: http.StatusInternalServerError, Code: "internal_error",
			Detail: "Something went wrong on our side.", RequestID: v.w.Header().Get("X-Request-Id")}
	case problem.Status == http.StatusUnauthorized:
		_ = v.toSignIn() // the session has ended while the page was made
		return
	}
	if problem.RetryAfter != "" {
		v.w.Header().Set("Retry-After", problem.RetryAfter)
	}
	if err := v.show(problem.Status, refusal(v, problem)); err != nil {
		http.Error(v.w, "Something went wrong on our side.", http.StatusInternalServerError)
	}
}

// Form is what was filled in, and what is wrong with it.
type Form struct {
	url.Values
	Problem *Problem
	Once    string
	Team    string // that it is about

	// Area begins the ids of the fields of a form that stands on a page itself,
	// so that they differ from those of a card in the dialog over it.
	Area string
}

// id is that of a field's control.
func (f *Form) id(field string) string { return "f-" + f.Area + field }

// onceField is the field of a form that makes posting it twice count once.
const onceField = "once"

// teamField is the field that tells which team a form is about.
const teamField = "about_team"

func newOnce() string { return uuid.NewString() }

// form is an empty form; filled has what was posted.
func (v *visit) form() *Form { return v.formOf(url.Values{}) }

func (v *visit) formOf(values url.Values) *Form {
	form := &Form{Values: values, Once: newOnce()}
	if v.team != nil {
		form.Team = v.team.ID
	}
	return form
}

func (v *visit) filled() *Form {
	_ = v.r.ParseForm() // what can't be read is empty, and the interface says what is missing
	return v.formOf(v.r.PostForm)
}

// Error is what is wrong with a field; empty when nothing is.
func (f *Form) Error(field string) string {
	if f.Problem == nil {
		return ""
	}
	for _, fault := range f.Problem.Errors {
		if fault.Pointer == "#/"+field {
			return fault.Detail
		}
	}
	return ""
}

// told is what a field says is wrong with it: nothing that the top of the form
// says already.
func (f *Form) told(field string) string {
	text := f.Error(field)
	if text != "" && text == f.Problem.Detail {
		return ""
	}
	return text
}

// Problem is why the interface refused.
type Problem struct {
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
	Errors    []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`

	// Of seat_limit_reached.
	Plan       string `json:"plan"`
	Limit      int    `json:"limit"`
	Members    int    `json:"members"`
	Pending    int    `json:"pending"`
	UpgradeURL string `json:"upgrade_url"`

	RetryAfter string `json:"-"`

	body []byte // the whole of it, for the facts of one page alone
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// absent is the refusal for a page that a team doesn't have.
func absent(detail string) error {
	return &Problem{Status: http.StatusNotFound, Code: "not_found", Detail: detail}
}

// denied is the refusal for a page that isn't for the reader.
func denied(detail string) error {
	return &Problem{Status: http.StatusForbidden, Code: "not_permitted", Detail: detail}
}

// faulty is the refusal of a form whose field the page itself finds at fault.
func faulty(field, detail string) *Problem {
	problem := &Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_field", Detail: "Look at the field below."}
	problem.Errors = append(problem.Errors, struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	}{"#/" + field, detail})
	return problem
}

// hasCode tells whether the interface refused for one reason.
func hasCode(err error, code string) bool {
	problem, ok := errors.AsType[*Problem](err)
	return ok && problem.Code == code
}
