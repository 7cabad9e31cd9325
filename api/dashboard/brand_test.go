package dashboard

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var property = regexp.MustCompile(`--([a-z-]+):\s*(#[0-9a-f]{6})`)

// Whatever colour a host sets, text in it and on it can be read: 4.5:1, as WCAG
// asks, on every ground of the light and of the dark pages.
func TestAnyAccentIsReadable(t *testing.T) {
	grounds := map[string][2]string{} // of base.css, light and dark
	for _, found := range regexp.MustCompile(`--(ground|sunken|raised|hover): light-dark\((#\w{6}), (#\w{6})\)`).FindAllStringSubmatch(baseStyle, -1) {
		grounds[found[1]] = [2]string{found[2], found[3]}
	}
	if len(grounds) != 4 {
		t.Fatalf("the grounds of base.css are %v", grounds)
	}
	rapid.Check(t, func(t *rapid.T) {
		accent := fmt.Sprintf("#%06x", rapid.IntRange(0, 0xffffff).Draw(t, "accent"))
		colours := map[string]colour{}
		for _, found := range property.FindAllStringSubmatch(Brand{Accent: accent}.style(), -1) {
			colours[found[1]], _ = parseColour(found[2])
		}
		readable := func(what string, text, ground colour) {
			t.Helper()
			if contrast := text.contrast(ground); contrast < 4.5 {
				t.Errorf("%s: %s has %.2f:1", what, accent, contrast)
			}
		}
		for name, pair := range grounds {
			light, _ := parseColour(pair[0])
			dark, _ := parseColour(pair[1])
			readable("text on the light "+name, colours["accent-on-light"], light)
			readable("text on the dark "+name, colours["accent-on-dark"], dark)
		}
		if colours["accent"].String() != accent {
			t.Errorf("%s became %s", accent, colours["accent"])
		}
		readable("text on a button", colours["accent-ink"], colours["accent"])
		readable("text on a button under the pointer", colours["accent-ink"], colours["accent"].towards(colours["accent-away"], 0.12))
	})
}

func TestLogoType(t *testing.T) {
	for picture, want := range map[string]string{
		`<svg xmlns="http://www.w3.org/2000/svg"/>`: "image/svg+xml",
		"\ufeff" + `<?xml version="1.0" encoding="latin1"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x"><svg:svg xmlns:svg="x">`: "image/svg+xml",
		"\x89PNG\r\n\x1a\n":              "image/png",
		"\x89PNG":                        "",
		"GIF89a":                         "",
		"<html><svg></svg>":              "",
		"":                               "",
		"alert(1)":                       "",
		strings.Repeat("<!-- -->", 1000): "",
	} {
		if got := logoType([]byte(picture)); got != want {
			t.Errorf("%.40q is %q", picture, got)
		}
	}
}
