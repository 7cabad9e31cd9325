package dashboard_test

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "", "folder to write a picture of every page to")

// axe finds what keeps people with disabilities from using a page. See
// testdata/README.md.
//
//go:embed testdata/axe.min.js
var axe string

// looks checks a page as it is now: accessible in light and dark, whole at the
// width of a phone. With -screenshots it also keeps pictures of it.
func (b *tab) looks(name string) *tab {
	b.t.Helper()
	for _, scheme := range []string{"dark", "light"} {
		b.scheme(scheme)
		violations := eval[[]string](b, axe+`;
			axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.flatMap(v =>
			v.nodes.map(n => v.id + ": " + n.html.slice(0, 200) + " " + n.failureSummary.replace(/\s+/g, " "))))`)
		for _, violation := range violations {
			b.t.Errorf("%s, %s: %s", name, scheme, violation)
		}
	}
	for _, width := range []int64{1280, 390} {
		b.do(chromedp.EmulateViewport(width, 800))
		if *screenshots != "" {
			b.picture(fmt.Sprintf("%s-%d", name, width))
		}
	}
	if *screenshots != "" {
		b.do(chromedp.EmulateViewport(1280, 800))
		b.scheme("dark")
		b.picture(name + "-dark")
		b.scheme("light")
	}
	b.do(chromedp.EmulateViewport(360, 800))
	if wide := eval[string](b, `[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !e.closest(".table, nav, pre, .unseen, .skip, [popover]") &&
		e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120)).slice(0, 3).join("\n")`); wide != "" {
		b.t.Errorf("%s is wider than a phone:\n%s", name, wide)
	}
	b.do(chromedp.EmulateViewport(1280, 800))
	return b
}

func (b *tab) picture(name string) {
	b.t.Helper()
	b.run(`scrollTo(0, 0)`) // what is fixed on the screen is drawn where it stands
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(*screenshots, strings.ReplaceAll(name, "/", "-")+".png")
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
