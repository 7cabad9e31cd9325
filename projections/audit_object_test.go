package projections

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roster/domain"
)

// mapOf is the object as a map, for encoding/json.
func mapOf(o object) map[string]any {
	m := map[string]any{}
	for _, f := range o {
		switch value := f.value.(type) {
		case object:
			m[f.name] = mapOf(value)
		case []object:
			list := make([]any, len(value))
			for i := range value {
				list[i] = mapOf(value[i])
			}
			m[f.name] = list
		default:
			m[f.name] = value
		}
	}
	return m
}

func objects(depth int) *rapid.Generator[object] {
	return rapid.Custom(func(t *rapid.T) object {
		o := object{}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z_]{1,8}`), 0, 12, rapid.ID).Draw(t, "names") {
			text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]*`), rapid.StringMatching(`[A-Z_]*`),
				rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
			values := []any{
				text, domain.RoleKey(text), rapid.Int().Draw(t, "number"), rapid.Uint32().Draw(t, "count"), rapid.Bool().Draw(t, "flag"), nil,
				[]domain.Permission{domain.Permission(text)}, []domain.Permission{}, map[domain.Permission]time.Time{"a:b": epoch},
			}
			if depth > 0 {
				values = append(values, objects(depth-1).Draw(t, "object"), rapid.SliceOfN(objects(depth-1), 0, 3).Draw(t, "objects"))
			}
			o = append(o, field{name, rapid.SampledFrom(values).Draw(t, "value")})
		}
		return o
	})
}

func TestObjectText(t *testing.T) {
	if text := object(nil).text(); text != "" {
		t.Errorf("nil has the text %q", text)
	}
	rapid.Check(t, func(t *rapid.T) {
		o := objects(2).Draw(t, "object")
		want, err := json.Marshal(mapOf(o))
		if err != nil {
			t.Fatal(err)
		}
		if got := o.text(); got != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
