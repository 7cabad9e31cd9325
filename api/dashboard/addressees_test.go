package dashboard

import (
	"fmt"
	"testing"
)

func TestAddressees(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      `[]`,
		" , ;\r\n\n":                            `[]`,
		"a@example.com":                         `[a@example.com|]`,
		"a@example.com, b@example.com;c@x\nd@x": `[a@example.com| b@example.com| c@x| d@x|]`,
		"Ada <a@x>":                             `[a@x|Ada]`,
		`"Lovelace, Ada" <a@x>, b@x`:            `[a@x|Lovelace, Ada b@x|]`,
		"a@x, A@X":                              `[a@x|]`,
		"<a@x>":                                 `[a@x|]`,
		"a <b <c@x>":                            `[c@x|a <b]`,
		"a <b":                                  `[a <b|]`,
		`"open, a@x`:                            `["open, a@x|]`,
	} {
		var got []string
		for _, one := range addressees(text) {
			got = append(got, one.email+"|"+one.name)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%q is read as %v, want %s", text, got, want)
		}
	}
}
