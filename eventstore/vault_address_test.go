package eventstore

import (
	"errors"
	"net/mail"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNormaliseAddress(t *testing.T) {
	for given, want := range map[string]string{
		"ann@example.com":            "ann@example.com",
		"\tAnn.Smith@Example.COM \n": "ann.smith@example.com",
		"a+tag@b.co":                 "a+tag@b.co",
		"root@localhost":             "root@localhost",
		"o'neil!#$%&*/=?^_`{|}~@x.y": "o'neil!#$%&*/=?^_`{|}~@x.y",
		"MÜLLER@example.de":          "müller@example.de",
		"mu\u0308ller@example.de":    "müller@example.de", // decomposed
		"jo@xn--mller-kva.example":   "jo@xn--mller-kva.example",
		"jo@müller.example":          "jo@müller.example",
	} {
		if got, err := NormaliseAddress(given); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", given, got, err, want)
		}
	}
	for _, given := range []string{
		"", " ", "@", "ann", "ann@", "@example.com", "a@b@c", "a b@c.d", "a@b c.d",
		"Ann <ann@example.com>", "<ann@example.com>", "ann@example.com (Ann)", "ann@example.com, bob@example.com",
		`"ann"@example.com`, `"a b"@example.com`, `a\@b@example.com`,
		"ann@[127.0.0.1]", "ann@[IPv6:::1]", "ann@-a.b", "ann@a-.b", "ann@a..b", "ann@.b", "ann@b.", "ann@a_b.c",
		".ann@example.com", "ann.@example.com", "a..b@example.com",
		"ann@example.com\r\nBcc: eve@example.com", "ann\r\n@example.com", "ann\x00@example.com", "ann\u200b@example.com",
		"ann\u00a0@example.com", "ann\u2028@example.com", "\xff@example.com",
		"\u212aim@example.com", // Kelvin sign, which folds to k
		"\u0130da@example.com", // capital I with a dot, which folds to i and a dot
		"a\u037eb@example.com", // Greek question mark, which composes to a semicolon
		strings.Repeat("a", 65) + "@example.com",
		"a@" + strings.Repeat("b.", 126) + "com",
		"a@" + strings.Repeat("b", 64) + ".com",
		strings.Repeat("a", 100_000),
	} {
		got, err := NormaliseAddress(given)
		if !errors.Is(err, ErrAddress) {
			t.Errorf("%q was taken as %q", given, got)
		}
		if trimmed := strings.TrimSpace(given); err != nil && len(trimmed) > 1 && strings.Contains(err.Error(), trimmed) {
			t.Errorf("the error repeats %q: %v", given, err)
		}
	}
}

// checkNormalised is what holds for every address that is taken.
func checkNormalised(t interface{ Errorf(string, ...any) }, given string) {
	address, err := NormaliseAddress(given)
	if err != nil {
		return
	}
	if again, err := NormaliseAddress(address); err != nil || again != address {
		t.Errorf("%q gives %q, which gives %q, %v", given, address, again, err)
	}
	if len(address) > maxAddress || strings.ContainsAny(address, " \t\r\n\x00<>\"(),;:\\[]") || strings.Count(address, "@") != 1 {
		t.Errorf("%q gives %q", given, address)
	}
	if parsed, err := mail.ParseAddress(address); err != nil || parsed.Address != address || parsed.Name != "" {
		t.Errorf("%q gives %q, which is read as %v, %v", given, address, parsed, err)
	}
}

func TestNormaliseAddressIsStable(t *testing.T) {
	part := rapid.StringOfN(rapid.RuneFrom([]rune("aAzZ09._-+@'<>\"() \t\r\nüÜıİKſßΣς\u0308\u0301é\u200b")), 0, 12, -1)
	rapid.Check(t, func(r *rapid.T) {
		checkNormalised(r, part.Draw(r, "local")+"@"+part.Draw(r, "host"))
	})
}

func FuzzNormaliseAddress(f *testing.F) {
	f.Add("ann@example.com")
	f.Add("M\u00dcller <x@y.z>")
	f.Add("\u1e9e\u0345@\u1f80.x")
	f.Fuzz(func(t *testing.T, given string) { checkNormalised(t, given) })
}

func TestAddressID(t *testing.T) {
	v := &Vault{keys: keyring{master: testMaster}}
	ann := v.Address("ann@example.com")
	if len(ann) != 64 || strings.Trim(string(ann), "0123456789abcdef") != "" {
		t.Errorf("%q isn't 32 bytes in hexadecimal", ann)
	}
	if ann != v.Address(" ANN@Example.com ") {
		t.Error("two spellings of one address differ")
	}
	if ann == v.Address("anna@example.com") {
		t.Error("two addresses have one id")
	}
	if ann == (&Vault{}).Address("ann@example.com") {
		t.Error("the id doesn't depend on the master key")
	}
	if v.Address("Ann <ann@example.com>") == ann || v.Address("not an address") == v.Address("neither") {
		t.Error("what is no address has the id of one")
	}
}
