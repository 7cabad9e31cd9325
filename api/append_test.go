package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// encoded is what encoding/json makes of a body.
func encoded(t interface{ Fatal(...any) }, body any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// anyText is text of every sort that JSON escapes, and that it doesn't.
var anyText = rapid.OneOf(
	rapid.String(), rapid.StringMatching(`[a-z0-9_@. -]{0,40}`),
	rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	rapid.SampledFrom([]string{"", "<script>&", "\u2028\u2029\u2027\u202a", "\x00\x1f\x7f", "\b\f\n\r\t\"\\/", "é\xff\xe2\x80", "\xed\xa0\x80", "\U0001F600"}),
)

// fill sets everything in a value to something that it can be.
func fill(t *rapid.T, value reflect.Value) {
	switch value.Interface().(type) {
	case time.Time:
		at := time.UnixMicro(rapid.Int64Range(0, 253402300799999999).Draw(t, "time")).UTC()
		value.Set(reflect.ValueOf(at))
		return
	case json.RawMessage:
		if rapid.Bool().Draw(t, "raw") {
			raw := bytes.TrimSuffix(encoded(t, map[string]any{anyText.Draw(t, "key"): []any{anyText.Draw(t, "text"), 1.5, nil}}), []byte("\n"))
			value.Set(reflect.ValueOf(json.RawMessage(raw)))
		}
		return
	}
	switch value.Kind() {
	case reflect.String:
		value.SetString(anyText.Draw(t, "text"))
	case reflect.Bool:
		value.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Uint64:
		value.SetUint(rapid.Uint64().Draw(t, "number"))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "pointer") {
			value.Set(reflect.New(value.Type().Elem()))
			fill(t, value.Elem())
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 3).Draw(t, "items"); n >= 0 {
			value.Set(reflect.MakeSlice(value.Type(), n, n))
			for i := range n {
				fill(t, value.Index(i))
			}
		}
	case reflect.Map:
		value.Set(reflect.MakeMap(value.Type()))
		for range rapid.IntRange(0, 3).Draw(t, "entries") {
			key, of := reflect.New(value.Type().Key()).Elem(), reflect.New(value.Type().Elem()).Elem()
			key.SetString(rapid.StringMatching(`[a-z_]{1,8}:[a-z<"]{1,4}`).Draw(t, "permission"))
			fill(t, of)
			value.SetMapIndex(key, of)
		}
	case reflect.Struct:
		for i := range value.NumField() {
			fill(t, value.Field(i))
		}
	default:
		t.Fatalf("%s can't be filled", value.Type())
	}
}

// What is put together by hand is what encoding/json gives.
func TestListsAreWrittenAsEncodingJSONWrites(t *testing.T) {
	check := func(t *rapid.T, body any) {
		got, ok := appendBody([]byte("before"), body)
		if want := append([]byte("before"), encoded(t, body)...); !ok || !bytes.Equal(want, got) {
			t.Fatalf("%+v\nwant %s\ngot  %s", body, want, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var members list[memberView]
		fill(t, reflect.ValueOf(&members).Elem())
		check(t, members)
		var entries list[auditView]
		fill(t, reflect.ValueOf(&entries).Elem())
		check(t, entries)
	})
	if _, ok := appendBody(nil, list[roleView]{}); ok {
		t.Error("another list is taken for one of these")
	}
}

// Every rune, and every byte that is none.
func TestAppendText(t *testing.T) {
	var all strings.Builder
	for r := rune(0); r <= utf8.MaxRune; r++ {
		all.WriteRune(r)
	}
	for b := range 256 {
		all.WriteByte(byte(b))
	}
	if !bytes.Equal(encoded(t, all.String()), append(appendText(nil, all.String()), '\n')) {
		t.Error("some text is written otherwise")
	}
}

// Every byte at every place, since eight are looked at together.
func TestAppendTextLooksAtEveryByte(t *testing.T) {
	for at := range 20 {
		for c := range 256 {
			text := []byte("an ordinary text, 20")
			text[at] = byte(c)
			if got, want := string(appendText(nil, string(text)))+"\n", string(encoded(t, string(text))); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
}

// A page of the audit log, which is written as it is read, is the list that its
// description says; and a page says how long it is, as does its HEAD.
func TestAPageOfTheLogIsAList(t *testing.T) {
	w := newWorld(t, options{})
	owner := w.signUp()
	for range 5 {
		w.call("POST", "/v1/teams/"+owner.team+"/invitations", map[string]any{"email": newEmail(), "role": "MEMBER"}, owner.auth()).is(201)
	}
	log := "/v1/teams/" + owner.team + "/audit-events"
	for query, entries := range map[string]int{"?limit=50": 7, "?limit=5": 5, "?limit=1": 1, "?action=member.left": 0} {
		answer := w.call("GET", log+query, nil, owner.auth()).is(200)
		var page list[auditView]
		if err := json.Unmarshal(answer.raw, &page); err != nil || len(page.Data) != entries {
			t.Fatalf("%s has %d entries (%v), want %d: %s", query, len(page.Data), err, entries, answer.raw)
		}
		if more := page.Page.NextToken != ""; more != (entries == 5 || entries == 1) {
			t.Errorf("%s has the token %q", query, page.Page.NextToken)
		}
		if want := encoded(t, page); !bytes.Equal(want, answer.raw) {
			t.Errorf("%s\nwant %s\ngot  %s", query, want, answer.raw)
		}
		if length := answer.header.Get("Content-Length"); length != strconv.Itoa(len(answer.raw)) {
			t.Errorf("%s: the length is %q, of %d", query, length, len(answer.raw))
		}
	}
	head := w.call("HEAD", log+"?limit=50", nil, owner.auth())
	if whole := w.call("GET", log+"?limit=50", nil, owner.auth()); head.header.Get("Content-Length") != strconv.Itoa(len(whole.raw)) {
		t.Errorf("HEAD says %q", head.header.Get("Content-Length"))
	}
}
