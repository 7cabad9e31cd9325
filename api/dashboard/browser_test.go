package dashboard_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// The tests of the pages use the program as a person does: the built binary in
// a folder of its own, and pages in a browser.

var (
	program string          // the built binary
	chrome  context.Context // of the one browser that all tests share
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "roster-pages")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	program = filepath.Join(folder, "roster")
	build := exec.Command("go", "build", "-o", program, "roster/cmd/roster")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v\n%s", err, out))
	}
	flags := []chromedp.ExecAllocatorOption{
		chromedp.NoSandbox, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.UserDataDir(filepath.Join(folder, "browser")),
	}
	if path, err := exec.LookPath("chromium"); err == nil {
		flags = append(flags, chromedp.ExecPath(path))
	}
	var end context.CancelFunc
	chrome, end = chromedp.NewContext(context.Background(), chromedp.WithAllocatorOptions(flags...))
	defer end()
	if err := chromedp.Do(chrome, chromedp.Navigate("about:blank")); err != nil {
		panic(fmt.Sprintf("the tests of the pages need Chromium (make setup installs it): %v", err))
	}
	return m.Run()
}

// site is a running server.
type site struct {
	t   testing.TB
	url string
}

// operatorToken lets tests set plans.
const operatorToken = "operator-of-the-tests-of-the-pages"

// serve starts a server whose teams follow a catalog.
func serve(t testing.TB, catalog string, flags ...string) *site {
	t.Helper()
	flags = append([]string{"serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--catalog", catalog, "--operator-token", operatorToken}, flags...)
	command := exec.Command(program, flags...)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			t.Errorf("the server ended with %v:\n%s", err, said.String())
		}
	})
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(first), "listening on ")
	if err != nil || !ok {
		t.Fatalf("%q %v\n%s", first, err, said.String())
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return &site{t: t, url: url}
}

// call asks the HTTP interface, to bring about what a page is to show.
func (s *site) call(method, path, token string, body any) map[string]any {
	s.t.Helper()
	var content io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, content)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 400 {
		s.t.Fatalf("%s %s: %d %v\n%s", method, path, response.StatusCode, err, text)
	}
	var answer map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			s.t.Fatal(err)
		}
	}
	return answer
}

const password = "a long pass phrase"

// person is somebody with an account.
type person struct{ id, email, name, token, team string }

var people atomic.Int64

func newEmail() string { return fmt.Sprintf("person%d@example.com", people.Add(1)) }

// signUp opens an account with a team of its own.
func (s *site) signUp(name string) person {
	s.t.Helper()
	email := newEmail()
	answer := s.call("POST", "/v1/users", "", map[string]any{"email": email, "name": name, "password": password})
	return person{
		id: field(answer, "user", "id"), email: email, name: name,
		token: field(answer, "session", "token"), team: field(answer, "team", "id"),
	}
}

// join makes somebody new a member of a team; extra goes into the invitation.
func (s *site) join(inviter person, name, role string, extra map[string]any) person {
	s.t.Helper()
	email := newEmail()
	body := map[string]any{"email": email, "role": role}
	for key, value := range extra {
		body[key] = value
	}
	invitation := s.call("POST", "/v1/teams/"+inviter.team+"/invitations", inviter.token, body)
	link := field(invitation, "url")
	answer := s.call("POST", "/v1/invitations/"+link[strings.LastIndexByte(link, '/')+1:]+"/accept", "", map[string]any{"name": name, "password": password})
	return person{
		id: field(answer, "user", "id"), email: email, name: name,
		token: field(answer, "session", "token"), team: inviter.team,
	}
}

// plan moves a team to a plan, as the operator.
func (s *site) plan(team, plan string) {
	s.t.Helper()
	s.call("PUT", "/v1/teams/"+team+"/plan", operatorToken, map[string]any{"plan": plan})
}

// field is a text inside of an answer.
func field(answer map[string]any, path ...string) string {
	var value any = answer
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	text, _ := value.(string)
	return text
}

// tab is a browser of its own, with nobody's cookies, showing pages of a site.
type tab struct {
	t    testing.TB
	site *site
	ctx  context.Context
}

// patience is how long a tab waits for what must come; it comes within
// milliseconds unless the machine is busy.
const patience = 30 * time.Second

func (s *site) browse() *tab {
	s.t.Helper()
	// A script that throws and a policy that a page breaks fail the test.
	faults := func(event any) {
		switch event := event.(type) {
		case *runtime.EventExceptionThrown:
			// Of the pages' own scripts: what axe leaves behind when a page goes is
			// no fault of the page.
			details := event.ExceptionDetails
			what := details.URL + " " + details.Text
			if details.Exception != nil {
				what += " " + details.Exception.Description
			}
			if strings.Contains(what, "/assets/") {
				s.t.Errorf("a script threw: %s", what)
			}
		case *cdplog.EventEntryAdded:
			if event.Entry.Source == "security" {
				s.t.Errorf("%s", event.Entry.Text)
			}
		}
	}
	ctx, end := chromedp.NewContext(chrome, chromedp.WithNewBrowserContext(), chromedp.WithListener(faults))
	s.t.Cleanup(end)
	b := &tab{t: s.t, site: s, ctx: ctx}
	// The tab lives as long as the context of the first thing that it does, so
	// that one has no time limit.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 800)); err != nil {
		s.t.Fatal(err)
	}
	b.scheme("light")
	return b
}

// signIn lets somebody in through the page.
func (b *tab) signIn(who person) *tab {
	b.t.Helper()
	b.open("/signin").fill("E-mail", who.email).fill("Password", password).press("Sign in")
	b.until("to be signed in", `document.querySelector("[popovertarget=account]")`)
	return b
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for _, action := range actions {
		if err := chromedp.Do(ctx, action); err != nil {
			b.t.Fatalf("%v\nat %s\n%s", err, b.at(), b.text())
		}
	}
}

// open goes to a page. Where an open one is to lead on by itself, since its
// reader may not follow its team any more, a test waits for that first: in the
// same moment either could win.
func (b *tab) open(path string) *tab {
	b.t.Helper()
	b.do(chromedp.Navigate(b.site.url + path))
	return b
}

// at is the path and query in the address bar.
func (b *tab) at() string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	location, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	return strings.TrimPrefix(location, b.site.url)
}

// text is what the page says.
func (b *tab) text() string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

// shown is a JavaScript expression for the first element of a selector that a
// person sees and whose text or accessible name is, or begins with, a text.
func shown(selector, text string) chromedp.JSPath {
	return chromedp.JSPath(fmt.Sprintf(`(() => {
		const wanted = %q;
		const top = document.querySelector("dialog[open]") ?? document;
		const name = e => (e.getAttribute("aria-label") ?? e.innerText ?? "").trim().replace(/\s+/g, " ");
		const ready = e => { // what htmx is to act on, once it knows of it
			const acts = e.closest("[hx-get], [hx-post]");
			return !acts || !window.htmx || acts.hasAttribute("data-htmx-powered");
		};
		const all = [...top.querySelectorAll(%q)].filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && ready(e));
		return all.find(e => name(e) === wanted) ?? all.find(e => name(e).startsWith(wanted)) ?? null;
	})()`, text, selector))
}

// labelled is the control that a label names.
func labelled(label string) chromedp.JSPath {
	return chromedp.JSPath(fmt.Sprintf(`(() => {
		const top = document.querySelector("dialog[open]") ?? document;
		const label = [...top.querySelectorAll("label")].find(l => l.innerText.trim().startsWith(%q));
		return label?.control ?? top.querySelector("[aria-label=" + CSS.escape(%q) + "]");
	})()`, label, label))
}

// fill writes into the field with a label, in place of what it had.
func (b *tab) fill(label, text string) *tab {
	b.t.Helper()
	b.do(chromedp.WaitVisible(labelled(label)))
	b.run(string(labelled(label)) + `.value = ""`) // chromedp.Clear leaves passwords as they are, and knows no empty textarea
	b.do(chromedp.SendKeys(labelled(label), text))
	return b
}

// choose picks an option of the select with a label.
func (b *tab) choose(label, value string) *tab {
	b.t.Helper()
	b.do(chromedp.WaitVisible(labelled(label)))
	// chromedp.SetValue knows no empty value.
	b.run(fmt.Sprintf(`{ const control = %s; control.value = %q; control.dispatchEvent(new Event("change", {bubbles: true})); }`, labelled(label), value))
	return b
}

// press presses the button or follows the link of that name.
func (b *tab) press(name string) *tab {
	b.t.Helper()
	target := shown(`button, a[href], input[type="submit"], summary`, name)
	b.do(chromedp.WaitVisible(target), chromedp.Click(target))
	return b
}

// tick ticks the box, or chooses the radio button, with a label.
func (b *tab) tick(label string) *tab {
	b.t.Helper()
	b.do(chromedp.WaitVisible(labelled(label)), chromedp.Click(labelled(label)))
	return b
}

// sees waits until the page says something.
func (b *tab) sees(texts ...string) *tab {
	b.t.Helper()
	for _, text := range texts {
		b.until("to see "+text, fmt.Sprintf(`document.body.innerText.replace(/\s+/g, " ").includes(%q)`, text))
	}
	return b
}

// seesNot waits until the page no longer says something.
func (b *tab) seesNot(texts ...string) *tab {
	b.t.Helper()
	for _, text := range texts {
		b.until("not to see "+text, fmt.Sprintf(`!document.body.innerText.replace(/\s+/g, " ").includes(%q)`, text))
	}
	return b
}

// until waits for a condition, in whatever page is there.
func (b *tab) until(what, condition string) {
	b.t.Helper()
	path := chromedp.JSPath(fmt.Sprintf(`(document.readyState === "complete" && (%s)) ? document.body : null`, condition))
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.WaitReady(path)); err != nil {
		b.t.Fatalf("waited %s: %v\nat %s\n%s", what, err, b.at(), b.text())
	}
}

// run evaluates something for its effect.
func (b *tab) run(script string) {
	b.t.Helper()
	b.do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		return chromedp.Evaluate[chromedp.Void](script)(ctx, t)
	})
}

// eval gives the value of an expression, waiting for a promise.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.200s: %v", expression[max(0, len(expression)-200):], err)
	}
	return value
}

// scheme makes the pages light or dark.
func (b *tab) scheme(name string) {
	b.t.Helper()
	b.do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		//nolint:misspell // the names of CSS
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return chromedp.Void{}, err
	})
}

// hostile is a name of a length that makes trouble: markup, letters that are
// read from the right, an emoji, and no place to break a line.
func hostile(length int) string {
	name := []rune("<script>alert(1)</script> \u05d0\u05d1\u05d2 \U0001f4a5 " + strings.Repeat("x", length))
	return string(name[:length])
}

// noScripts switches JavaScript off.
func (b *tab) noScripts() *tab {
	b.t.Helper()
	b.do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return chromedp.Void{}, err
	})
	return b
}
