package subscribers

import (
	htmltemplate "html/template"
	"strings"
	"testing"
	texttemplate "text/template"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// executed is a message as the templates themselves make it.
func executed(t *testing.T, of *letterTemplate, v *letterView) (text, html string) {
	t.Helper()
	text, err := execute(of.text, v.data(func(i int) string { return isolate(v.values[i]) }))
	if err != nil {
		t.Fatal(err)
	}
	html, err = execute(of.html, v.data(func(i int) string { return v.values[i] }))
	if err != nil {
		t.Fatal(err)
	}
	return text, html
}

func TestLettersAreWhatTheirTemplatesMake(t *testing.T) {
	names := []string{"", "Ada", "+1 <b>'\"&amp;", "7value3mark7"}
	for _, name := range hostileNames {
		names = append(names, name)
	}
	name := func(t *rapid.T, label string) string { return rapid.SampledFrom(names).Draw(t, label) }
	rapid.Check(t, func(rt *rapid.T) {
		invitation, reset, transfer := letter(), resetLetter(), transferLetter()
		invitation.Inviter, invitation.Invitee = name(rt, "inviter"), name(rt, "invitee")
		invitation.Team, invitation.Role, invitation.Labels.Product = name(rt, "team"), name(rt, "role"), name(rt, "product")
		for range rapid.IntRange(0, maxSitesShown+2).Draw(rt, "sites") {
			invitation.Sites = append(invitation.Sites, SiteRole{Site: name(rt, "site"), Role: name(rt, "role on it")})
		}
		reset.Name = name(rt, "name")
		transfer.Name, transfer.Owner, transfer.Team, transfer.NextRole = reset.Name, invitation.Inviter, invitation.Team, invitation.Role
		to := rapid.SampledFrom([]string{"grace@example.com", "o'hara+x@example.com", "jürgen&co@example.com"}).Draw(rt, "to")
		for _, one := range []struct {
			template *letterTemplate
			view     *letterView
		}{
			{invitationTemplate, invitation.view(to, letterTime)}, {resetTemplate, reset.view(to, letterTime)}, {transferTemplate, transfer.view(to, letterTime)},
		} {
			message, err := one.template.write(one.view)
			if err != nil {
				t.Fatal(err)
			}
			text, html := executed(t, one.template, one.view)
			if message.Text != text || message.HTML != html {
				t.Fatalf("%s: %s %s", one.template.kind, cmp.Diff(text, message.Text), cmp.Diff(html, message.HTML))
			}
		}
	})
}

// TestTemplateWithAValueInADangerousPlace puts a name where escaping it is not
// enough, or not of the right kind.
func TestTemplateWithAValueInADangerousPlace(t *testing.T) {
	for _, html := range []string{
		"<a title={{.Team}}>", `<a href="{{.Team}}">`, "<script>x = {{.Team}}</script>", `<p style="width: {{.Team}}">`, `<p onclick="{{.Team}}">`,
	} {
		of := &letterTemplate{
			kind: "test", text: texttemplate.Must(texttemplate.New("test").Parse("")),
			html: htmltemplate.Must(htmltemplate.New("test").Parse(html)), outlines: map[string]*outlines{},
		}
		l := letter()
		if message, err := of.write(l.view("grace@example.com", letterTime)); err == nil || !strings.Contains(err.Error(), "neither between tags nor in quotes") {
			t.Errorf("%s: got %q, %v", html, message.HTML, err)
		}
	}
}

func TestLetterLinksAreOfTheWeb(t *testing.T) {
	for _, link := range []string{"", "javascript:alert(1)", "//teams.test/x", "data:text/html,x"} {
		l := resetLetter()
		l.Link = link
		if message, err := l.Message("grace@example.com", letterTime); err == nil {
			t.Errorf("%q: got %s", link, message.HTML)
		}
	}
}

func TestLetterOutlinesAreBounded(t *testing.T) {
	of := newLetterTemplate("reset")
	for n := range 2 * maxOutlines {
		view := newLetterView("", "", "", "https://teams.test", "", letterTime, letterTime)
		view.add("Name", "Ada")
		for bit := range 12 {
			view.add(strings.Repeat("x", bit+1), strings.Repeat("y", n>>bit&1))
		}
		if _, err := of.write(view); err != nil {
			t.Fatal(err)
		}
	}
	if len(of.outlines) == 0 || len(of.outlines) > maxOutlines {
		t.Errorf("%d outlines", len(of.outlines))
	}
}

func TestNamesInALine(t *testing.T) {
	texts := []string{""}
	for from := 0; len(texts[from]) < 5; from++ { // every text of up to five of these
		for _, next := range []string{" ", "a", "~", "\t", "\x7f"} {
			texts = append(texts, texts[from]+next)
		}
	}
	for _, text := range texts {
		want := strings.Join(strings.Fields(strings.ReplaceAll(text, "\x7f", " ")), " ")
		if got := oneLine(text); got != want {
			t.Fatalf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestNamesFromRightToLeft(t *testing.T) {
	for r := rune(1); r <= unicode.MaxRune; r++ {
		backwards := unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko, unicode.Adlam)
		name := "Ada " + string(r)
		if want := "\u2068" + name + "\u2069"; backwards && isolate(name) != want || !backwards && isolate(name) != name {
			t.Fatalf("%q: got %q", name, isolate(name))
		}
	}
}

func BenchmarkLetter(b *testing.B) {
	l := letter()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Message("grace@example.com", letterTime.Add(time.Second)); err != nil {
			b.Fatal(err)
		}
	}
}
