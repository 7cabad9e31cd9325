package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"roster/domain"
)

// walk goes through a JSON text from value to value, without copying, and finds
// out on the way whether it is valid. Products ask for a decision with every
// request of theirs, and decoding the question in the usual way would cost more
// than the decision.
//
// Once something is wrong, broken is set and nothing comes any more.
type walk struct {
	text   string
	at     int
	depth  int // of the objects and lists around what comes next
	broken bool
}

// maxDepth bounds how deep values may stand within one another. Roster reads
// three levels; the rest is for the properties of others.
const maxDepth = 100

// next is the first byte of what comes next; 0 at the end.
func (w *walk) next() byte {
	for ; w.at < len(w.text); w.at++ {
		switch c := w.text[w.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// finished tells whether the text was valid and nothing follows.
func (w *walk) finished() bool {
	w.next()
	return !w.broken && w.at == len(w.text)
}

func (w *walk) fail() {
	w.broken, w.at = true, len(w.text)
}

// take takes a byte that has to come next.
func (w *walk) take(c byte) {
	if w.next() != c || w.at == len(w.text) {
		w.fail()
		return
	}
	w.at++
}

// members calls read with the name of each member of the object that comes
// next; read has to take its value.
func (w *walk) members(read func(name string)) {
	w.list('{', '}', func() {
		name := w.string()
		w.take(':')
		if !w.broken {
			read(name)
		}
	})
}

// items calls read before each item of the list that comes next; read has to
// take it.
func (w *walk) items(read func()) { w.list('[', ']', read) }

func (w *walk) list(open, end byte, read func()) {
	w.take(open)
	if w.depth++; w.depth > maxDepth {
		w.fail()
	}
	if w.next() == end {
		w.at++
		w.depth--
		return
	}
	for !w.broken {
		read()
		if w.next() != ',' {
			w.take(end)
			w.depth--
			return
		}
		w.at++
	}
}

// null takes a null, if one comes next.
func (w *walk) null() bool {
	if w.next() != 'n' {
		return false
	}
	w.skip()
	return true
}

// string takes the text that has to come next.
func (w *walk) string() string {
	if w.next() != '"' {
		w.fail()
		return ""
	}
	start := w.at
	escaped := w.skipString()
	if w.broken {
		return ""
	}
	if !escaped {
		return w.text[start+1 : w.at-1]
	}
	var text string
	_ = json.Unmarshal([]byte(w.text[start:w.at]), &text) // it is valid
	return text
}

// raw takes whatever value comes next, and gives it as it is written.
func (w *walk) raw() string {
	w.next()
	start := w.at
	w.skip()
	return w.text[start:w.at]
}

// skip takes whatever value comes next.
func (w *walk) skip() {
	switch w.next() {
	case '"':
		w.skipString()
	case '{':
		w.members(func(string) { w.skip() })
	case '[':
		w.items(w.skip)
	case 't':
		w.literal("true")
	case 'f':
		w.literal("false")
	case 'n':
		w.literal("null")
	default:
		w.number()
	}
}

func (w *walk) literal(text string) {
	if !strings.HasPrefix(w.text[w.at:], text) {
		w.fail()
		return
	}
	w.at += len(text)
}

// skipString takes the text that comes next, and tells whether there are
// escapes in it.
func (w *walk) skipString() (escaped bool) {
	for w.at++; w.at < len(w.text); w.at++ {
		switch c := w.text[w.at]; {
		case c == '"':
			w.at++
			return escaped
		case c == '\\':
			escaped = true
			w.escape()
		case c < ' ':
			w.fail()
		}
	}
	w.fail()
	return escaped
}

// escape takes an escape up to its last byte.
func (w *walk) escape() {
	w.at++
	switch {
	case w.at == len(w.text):
	case w.text[w.at] == 'u':
		for range 4 {
			w.at++
			if w.at >= len(w.text) || !isHex(w.text[w.at]) {
				w.fail()
				return
			}
		}
	case strings.IndexByte(`"\/bfnrt`, w.text[w.at]) < 0:
		w.fail()
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// number takes the number that has to come next.
func (w *walk) number() {
	if w.sees("-") {
		w.at++
	}
	if w.sees("0") {
		w.at++
	} else {
		w.digits()
	}
	if w.sees(".") {
		w.at++
		w.digits()
	}
	if w.sees("eE") {
		w.at++
		if w.sees("+-") {
			w.at++
		}
		w.digits()
	}
}

// digits takes one digit or more.
func (w *walk) digits() {
	start := w.at
	for w.sees("0123456789") {
		w.at++
	}
	if w.at == start {
		w.fail()
	}
}

// sees tells whether one of these bytes comes next.
func (w *walk) sees(any string) bool {
	return w.at < len(w.text) && strings.IndexByte(any, w.text[w.at]) >= 0
}

// appendText adds a text as JSON, as encoding/json does when it leaves HTML
// alone. Next to nothing has to be escaped.
func appendText(out []byte, text string) []byte {
	if plain(text) {
		return append(append(append(out, '"'), text...), '"')
	}
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // texts can always be written
	return append(out, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
}

// plain tells whether a text is the same in JSON.
func plain(text string) bool {
	for len(text) >= 8 && plainASCII(text) {
		text = text[8:]
	}
	ascii := true
	for i := range len(text) {
		c := text[i]
		if c < ' ' || c == '"' || c == '\\' {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	// The two others are what JavaScript once took for the end of a line.
	return ascii || utf8.ValidString(text) && !strings.Contains(text, "\u2028") && !strings.Contains(text, "\u2029")
}

// plainASCII tells whether the first eight bytes of a text are ASCII that stands
// in JSON as it is. It looks at all of them at once: the highest bit of a byte is
// set where more was taken from it than it is. Such a byte may borrow from the
// next and make that one look wrong too, which changes nothing.
func plainASCII(text string) bool {
	const each = 0x0101010101010101 // a byte times this is eight of it
	eight := uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
		uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
	quote, backslash := eight^each*'"', eight^each*'\\' // a byte that is one of these is 0
	odd := eight | (eight - each*' ') | (quote - each) | (backslash - each)
	return odd&(each*0x80) == 0
}

// appendDecision adds an answer of the access API: whether, and why.
func appendDecision(out []byte, d *domain.Decision) []byte {
	out = append(out, `{"decision":`...)
	out = strconv.AppendBool(out, d.Allowed)
	out = append(out, `,"context":{"reason":`...)
	out = appendText(out, string(d.Reason))
	if d.Role != "" {
		out = appendText(append(out, `,"role":`...), string(d.Role))
	}
	if d.Site != "" {
		out = appendText(append(out, `,"site":`...), string(d.Site))
	}
	if d.Given.Event != "" {
		out = appendText(append(out, `,"event":`...), string(d.Given.Event))
	}
	if d.Given.Position != 0 {
		out = strconv.AppendUint(append(out, `,"position":`...), d.Given.Position, 10)
	}
	out = appendTime(out, `,"at":"`, d.Given.At)
	out = appendTime(out, `,"until":"`, d.Until)
	return append(out, "}}"...)
}

// appendTime adds a member that is a time, unless that is zero.
func appendTime(out []byte, member string, at time.Time) []byte {
	if at.IsZero() {
		return out
	}
	out = at.UTC().AppendFormat(append(out, member...), time.RFC3339Nano)
	return append(out, '"')
}
