package projections

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
)

// object is a small JSON object. Its text is byte for byte what encoding/json
// makes of a map, which is what the entries of earlier releases were made from,
// at a fraction of the price.
type object []field

type field struct {
	name  string // plain
	value any
}

// text is empty for nil. The fields are in order of the alphabet.
func (o object) text() string {
	if o == nil {
		return ""
	}
	return string(o.append(make([]byte, 0, 256)))
}

func (o object) append(buf []byte) []byte {
	var few [8]field // on the stack
	sorted := append(few[:0], o...)
	slices.SortFunc(sorted, func(a, b field) int { return cmp.Compare(a.name, b.name) })
	buf = append(buf, '{')
	for i, f := range sorted {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(append(append(buf, '"'), f.name...), `":`...)
		buf = appendJSON(buf, f.value)
	}
	return append(buf, '}')
}

func appendJSON(buf []byte, value any) []byte {
	switch value := value.(type) {
	case object:
		return value.append(buf)
	case []object:
		buf = append(buf, '[')
		for i, o := range value {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = o.append(buf)
		}
		return append(buf, ']')
	case int:
		return strconv.AppendInt(buf, int64(value), 10)
	}
	if of := reflect.ValueOf(value); of.Kind() == reflect.String && plainJSON(of.String()) {
		return append(append(append(buf, '"'), of.String()...), '"')
	}
	return append(buf, jsonText(value)...)
}

// plainJSON tells whether encoding/json writes a text as it is.
func plainJSON(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
