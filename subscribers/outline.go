package subscribers

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// outline is one form, plain text or HTML, of the messages of one shape: what
// stands in all of them, and the places of their values in between. Writing a
// message along an outline takes a tenth of executing its template, and gives
// the same.
type outline struct {
	pieces []piece
	end    string
	length int // of everything but the values
}

// piece is fixed text and the index of the value that follows it.
type piece struct {
	before string
	value  int
}

// mark stands for a value while a template is executed for its outline. It has
// only letters and digits, which are the same everywhere in HTML.
func mark(value int) string { return fmt.Sprintf("7value%dmark7", value) }

var marks = regexp.MustCompile(`7value(\d+)mark7`)

// newOutline takes apart what a template has made of marks.
func newOutline(executed string) (*outline, error) {
	o := &outline{}
	at := 0
	for _, found := range marks.FindAllStringSubmatchIndex(executed, -1) {
		value, err := strconv.Atoi(executed[found[2]:found[3]])
		if err != nil {
			return nil, err
		}
		o.pieces = append(o.pieces, piece{before: executed[at:found[0]], value: value})
		o.length += found[0] - at
		at = found[1]
	}
	o.end = executed[at:]
	o.length += len(o.end)
	return o, nil
}

// fill writes the message with these values.
func (o *outline) fill(values []string) string {
	length := o.length
	for _, piece := range o.pieces {
		length += len(values[piece.value])
	}
	var out strings.Builder
	out.Grow(length)
	for _, piece := range o.pieces {
		out.WriteString(piece.before)
		out.WriteString(values[piece.value])
	}
	out.WriteString(o.end)
	return out.String()
}

// escapeHTML is what html/template does to text between tags and to an
// attribute in quotes.
var escapeHTML = strings.NewReplacer("\x00", "\uFFFD", `"`, "&#34;", "&", "&amp;", "'", "&#39;", "+", "&#43;", "<", "&lt;", ">", "&gt;").Replace
