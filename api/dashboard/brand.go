package dashboard

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Brand is how a host makes the pages its own.
type Brand struct {
	Name   string // of the product, on every page
	Accent string // the one colour of buttons and links, as #rrggbb
	Logo   []byte // an SVG or PNG picture; none shows the first letter of the name
}

const defaultAccent = "#3b5bdb"

func (b Brand) filled() Brand {
	b.Name = cmp.Or(b.Name, "Roster")
	b.Accent = cmp.Or(b.Accent, defaultAccent)
	return b
}

// maxBrandName keeps the name on the one line that the side bar has for it.
const maxBrandName = 60

// CheckName says what is wrong with the name of a brand.
func CheckName(name string) error {
	if utf8.RuneCountInString(name) > maxBrandName || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("must have at most %d characters, on one line", maxBrandName)
	}
	return nil
}

// CheckAccent says what is wrong with the accent of a brand.
func CheckAccent(accent string) error {
	if _, ok := parseColour(accent); !ok {
		return errors.New("must be a colour of the form #rrggbb, such as #3b5bdb")
	}
	return nil
}

// MaxLogo bounds a logo in bytes: it is shown 24 pixels wide, on every page.
const MaxLogo = 256 << 10

// CheckLogo says what is wrong with the logo of a brand.
func CheckLogo(picture []byte) error {
	switch {
	case len(picture) > MaxLogo:
		return fmt.Errorf("must have at most %d KiB", MaxLogo>>10)
	case logoType(picture) == "":
		return errors.New("must be an SVG or PNG picture")
	}
	return nil
}

// logoType is the media type of a picture, by what is in it; empty for what is
// neither SVG nor PNG.
func logoType(picture []byte) string {
	if bytes.HasPrefix(picture, []byte("\x89PNG\r\n\x1a\n")) {
		return "image/png"
	}
	decoder := xml.NewDecoder(bytes.NewReader(picture))
	decoder.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // the root has a Latin name
	for {
		switch token, err := decoder.RawToken(); token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "svg" {
				return "image/svg+xml"
			}
			return ""
		default:
			if err != nil {
				return ""
			}
		}
	}
}

// colour is red, green and blue from 0 to 1.
type colour [3]float64

func parseColour(text string) (c colour, ok bool) {
	if len(text) != 7 || text[0] != '#' {
		return c, false
	}
	for i := range c {
		part, err := strconv.ParseUint(text[1+2*i:3+2*i], 16, 8)
		if err != nil {
			return c, false
		}
		c[i] = float64(part) / 255
	}
	return c, true
}

func (c colour) String() string {
	return fmt.Sprintf("#%02x%02x%02x", int(math.Round(c[0]*255)), int(math.Round(c[1]*255)), int(math.Round(c[2]*255)))
}

// luminance is the relative luminance of WCAG 2.
func (c colour) luminance() float64 {
	linear := func(part float64) float64 {
		if part <= 0.04045 {
			return part / 12.92
		}
		return math.Pow((part+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}

// contrast is the contrast ratio of WCAG 2, from 1 to 21.
func (c colour) contrast(other colour) float64 {
	a, b := c.luminance(), other.luminance()
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

// towards mixes in some of another colour.
func (c colour) towards(other colour, part float64) colour {
	for i := range c {
		c[i] += (other[i] - c[i]) * part
	}
	return c
}

var (
	white     = colour{1, 1, 1}
	black     = colour{}
	lightBack = colour{0.96, 0.965, 0.975} // the darker ground of the light pages, --sunken
	darkBack  = colour{0.15, 0.16, 0.185}  // the lighter ground of the dark pages, --hover
)

// readable is the colour itself or, where it lacks contrast to read text on a
// ground, the nearest of its shades towards another that has it: 4.5:1 as WCAG
// asks, and a little more, since grounds are tinted.
func (c colour) readable(ground, towards colour) colour {
	const enough = 4.8
	shade := c
	for part := 0.0; part <= 1 && shade.contrast(ground) < enough; part += 0.02 {
		shade = c.towards(towards, part)
	}
	return shade
}

// style are the custom properties that the brand sets.
func (b Brand) style() string {
	accent, ok := parseColour(b.Accent)
	if !ok {
		accent, _ = parseColour(defaultAccent)
	}
	ink, away := white, black // on the accent, and where its shades lead without losing contrast
	if accent.contrast(white) < 4.5 {
		ink, away = black, white // every colour has 4.5:1 to one of the two
	}
	return fmt.Sprintf(":root{--accent:%s;--accent-ink:%s;--accent-away:%s;--accent-on-light:%s;--accent-on-dark:%s}\n",
		accent, ink, away, accent.readable(lightBack, black), accent.readable(darkBack, white))
}
