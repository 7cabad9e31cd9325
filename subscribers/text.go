package subscribers

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// oneLine makes text fit for a header or for the middle of a sentence: no
// control characters, no line or paragraph separators, none of the invisible
// characters that reorder the text around them (a name could otherwise make
// "admin@example.com" read backwards), no runs of white space.
func oneLine(text string) string {
	if isPlain(text) {
		return text
	}
	var out strings.Builder
	space := false
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r), r == '\u2028', r == '\u2029':
			space = true
			continue
		case '\u202A' <= r && r <= '\u202E', '\u2066' <= r && r <= '\u2069', r == '\u200E', r == '\u200F', r == '\u061C', r == '\uFEFF':
			continue
		}
		if space && out.Len() > 0 {
			out.WriteByte(' ')
		}
		space = false
		out.WriteRune(r)
	}
	return out.String()
}

// isPlain tells whether text is ASCII that oneLine would leave as it is, which
// most names are.
func isPlain(text string) bool {
	space := true // at the beginning there is none either
	for i := range len(text) {
		b := text[i]
		if b < ' ' || b > '~' || b == ' ' && space {
			return false
		}
		space = b == ' '
	}
	return !space || text == ""
}

// clip shortens text to at most limit characters, the last an ellipsis, and
// does not leave half a character behind: marks and joiners at the cut go too.
func clip(text string, limit int) string {
	if len(text) <= limit || utf8.RuneCountInString(text) <= limit {
		return text
	}
	runes := []rune(text)
	end := limit - 1
	for end > 0 && (isJoined(runes[end]) || runes[end-1] == zeroWidthJoiner) {
		end--
	}
	if end == 0 {
		end = limit - 1 // nothing but marks; better half of them than nothing
	}
	return strings.TrimSpace(string(runes[:end])) + "…"
}

const zeroWidthJoiner = '\u200D'

// isJoined tells whether r belongs to the character before it.
func isJoined(r rune) bool {
	return r == zeroWidthJoiner || unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) ||
		'\U0001F3FB' <= r && r <= '\U0001F3FF' // skin tones
}

// firstRightToLeft is where the blocks of such scripts begin.
const firstRightToLeft = '\u0590'

// isolate wraps a name that is written from right to left, so that it doesn't
// turn around the plain text on either side.
func isolate(name string) string {
	for _, r := range name {
		if r >= firstRightToLeft && unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko, unicode.Adlam) {
			return "\u2068" + name + "\u2069"
		}
	}
	return name
}
