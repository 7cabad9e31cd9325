package dashboard

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The style sheets of the areas are joined into one, so a class that two of them
// define would make one area's pages look by the other's rules.
func TestAreasDontShareClasses(t *testing.T) {
	comment, rule, class := regexp.MustCompile(`(?s)/\*.*?\*/`), regexp.MustCompile(`([^{}]+)\{`), regexp.MustCompile(`^\.([a-z][\w-]*)`)
	classes := func(sheet string) map[string]bool {
		found := map[string]bool{}
		for _, selectors := range rule.FindAllStringSubmatch(comment.ReplaceAllString(sheet, ""), -1) {
			for _, selector := range regexp.MustCompile(`,\s*`).Split(selectors[1], -1) {
				if begins := class.FindStringSubmatch(regexp.MustCompile(`^\s+`).ReplaceAllString(selector, "")); begins != nil {
					found[begins[1]] = true
				}
			}
		}
		return found
	}
	base, of := classes(baseStyle), map[string]string{}
	for area, sheet := range map[string]string{"entry": entryStyle, "account": accountStyle, "team": teamStyle, "audit": auditStyle, "settings": settingsStyle} {
		for name := range classes(sheet) {
			if other, taken := of[name]; taken && !base[name] {
				t.Errorf(".%s is of the areas %s and %s", name, other, area)
			}
			of[name] = area
		}
	}
	if len(of) < 100 {
		t.Errorf("only %d classes were found", len(of))
	}
}

// Every icon that a template shows is drawn.
func TestIconsAreDrawn(t *testing.T) {
	drawn := map[string]bool{}
	for _, name := range regexp.MustCompile(`id=\\"i-([a-z]+)\\"`).FindAllStringSubmatch(source(t, "parts_templ.go"), -1) {
		drawn[name[1]] = true
	}
	shown := regexp.MustCompile(`@icon\("([a-z]+)"\)|@empty\("([a-z]+)"`)
	for _, file := range templates(t) {
		for _, use := range shown.FindAllStringSubmatch(source(t, file), -1) {
			if name := use[1] + use[2]; !drawn[name] {
				t.Errorf("%s shows the icon %s, which isn't drawn", file, name)
			}
		}
	}
	if len(drawn) < 20 {
		t.Errorf("%d icons were found", len(drawn))
	}
}

func templates(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.templ")
	if err != nil || len(files) == 0 {
		t.Fatal("no templates: ", err)
	}
	return files
}

func source(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
