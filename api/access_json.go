package api

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"roster/domain"
)

// walk goes through a JSON text that [json.Valid] has found valid, from value
// to value and without copying. Products ask for a decision with every request
// of theirs, and decoding the question in the usual way would cost more than
// the decision.
type walk struct {
	text string
	at   int
}

// next is the first byte of what comes next.
func (w *walk) next() byte {
	for w.at < len(w.text) {
		switch c := w.text[w.at]; c {
		case ' ', '\t', '\r', '\n':
			w.at++
		default:
			return c
		}
	}
	return 0 // never: something always comes before the end of a valid text
}

// members calls read with the name of each member of the object that comes
// next; read has to take its value.
func (w *walk) members(read func(name string)) {
	for w.open(); w.more('}'); {
		name := w.string()
		w.next()
		w.at++ // the colon
		read(name)
	}
}

// items calls read before each item of the list that comes next; read has to
// take it, and says whether to go on.
func (w *walk) items(read func() bool) {
	for w.open(); w.more(']'); {
		if !read() {
			return
		}
	}
}

func (w *walk) open() {
	w.next()
	w.at++
}

// more tells whether there is a further member or item, and takes the comma
// before it, or else the end.
func (w *walk) more(end byte) bool {
	switch w.next() {
	case end:
		w.at++
		return false
	case ',':
		w.at++
	}
	return true
}

// null takes a null, if one comes next.
func (w *walk) null() bool {
	if w.next() != 'n' {
		return false
	}
	w.skip()
	return true
}

// string takes the text that comes next.
func (w *walk) string() string {
	raw := w.raw()
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var text string
	_ = json.Unmarshal([]byte(raw), &text) // it is valid
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
	case '{', '[':
		for depth := 0; ; {
			switch w.text[w.at] {
			case '"':
				w.skipString()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if w.at++; depth == 0 {
				return
			}
		}
	default: // a number, true, false or null
		for w.at < len(w.text) && strings.IndexByte(",]} \t\r\n", w.text[w.at]) < 0 {
			w.at++
		}
	}
}

func (w *walk) skipString() {
	for w.at++; ; w.at++ {
		switch w.text[w.at] {
		case '"':
			w.at++
			return
		case '\\':
			w.at++
		}
	}
}

// appendText adds a text as JSON. Nearly all are ids and names out of role
// catalogs, in which nothing has to be escaped.
func appendText(out []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(text) // texts can always be written
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, text...)
	return append(out, '"')
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
