package eventstore

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// plainForm reads the JSON of an event at a fraction of what the JSON decoder
// takes, as long as it is in the form in which events are written: the fields in
// their order, no white space, and only plain ASCII in texts. For anything else,
// lists and objects among it, it gives up, and the JSON decoder has the word:
// what both of them can read, they read alike.
type plainForm []plainField

type plainField struct {
	name string // with its quotes and the colon
	kind reflect.Kind
}

// plainTime marks the fields that are a time.Time.
const plainTime = reflect.Struct

// plainFormOf gives nil for a type whose JSON isn't that of its fields one by
// one.
func plainFormOf(event reflect.Type) plainForm {
	if event.Kind() != reflect.Struct || readsItself(event) {
		return nil
	}
	form := make(plainForm, event.NumField())
	for i := range form {
		field := event.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous || !field.IsExported() || name == "" || name == "-" || strings.Contains(options, "string") {
			return nil
		}
		form[i] = plainField{name: strconv.Quote(name) + ":", kind: field.Type.Kind()}
		if field.Type != reflect.TypeFor[time.Time]() && (form[i].kind == plainTime || readsItself(field.Type)) {
			form[i].kind = reflect.Invalid
		}
	}
	return form
}

func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// read fills an event that is empty. When it gives up, some of it is filled.
func (form plainForm) read(data []byte, event reflect.Value) bool {
	if form == nil {
		return false
	}
	s := scanner{rest: data}
	s.skip("{")
	comma := ""
	for i := range form {
		before := s.rest
		if !s.accept(comma) || !s.accept(form[i].name) {
			s.rest = before // the field is left out
			continue
		}
		if !s.plain(form[i].kind, event.Field(i)) {
			return false
		}
		comma = ","
	}
	s.skip("}")
	return !s.bad && len(s.rest) == 0
}

// plain reads a value into a field of this kind, if it is a plain one.
func (s *scanner) plain(kind reflect.Kind, into reflect.Value) bool {
	switch kind {
	case reflect.String:
		text, ok := s.plainText()
		into.SetString(string(text))
		return ok
	case plainTime:
		text, ok := s.plainText()
		at, _ := into.Addr().Interface().(*time.Time)
		return ok && at.UnmarshalText(text) == nil
	case reflect.Int:
		n, ok := s.plainNumber()
		into.SetInt(int64(n))
		return ok
	case reflect.Uint32:
		n, ok := s.plainNumber()
		into.SetUint(uint64(n))
		return ok
	case reflect.Bool:
		into.SetBool(s.accept("true"))
		return into.Bool() || s.accept("false")
	}
	return false
}

// plainText gives what stands between two quotes, if it stands for itself.
func (s *scanner) plainText() ([]byte, bool) {
	if !s.accept(`"`) {
		return nil, false
	}
	for i, c := range s.rest {
		if plainByte[c] || c == ' ' {
			continue
		}
		text := s.rest[:i]
		s.rest = s.rest[i+1:]
		return text, c == '"'
	}
	return nil, false
}

// plainNumber reads a number without a sign of at most nine digits, which fits
// any type.
func (s *scanner) plainNumber() (n uint32, ok bool) {
	digits := 0
	for digits < len(s.rest) && '0' <= s.rest[digits] && s.rest[digits] <= '9' {
		n = 10*n + uint32(s.rest[digits]-'0')
		digits++
	}
	if digits == 0 || digits > 9 || digits > 1 && s.rest[0] == '0' {
		return 0, false
	}
	s.rest = s.rest[digits:]
	return n, true
}
