package commands

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"roster/domain"
)

func TestPasswordsThatMayBeChosen(t *testing.T) {
	p := newPasswords()
	for _, password := range []string{
		"correct horse battery staple",
		"wvumjrsbqxta",                 // one kind of character is enough
		"            7",                // spaces count
		"Tr0ub4dor&3xyz",               //
		"пароль-никто-не",              // characters, not bytes
		"\u00e9\u00e8xjwqvkzpyb",       // twelve, some composed
		strings.Repeat("wq8ßk∂3x", 16), // 128
		strings.Repeat("wq8ßk∂3x", 32), // 256
		"dragonfly over the lake",
	} {
		if err := p.check("#/password", password); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	}
}

func TestPasswordsThatAreRefused(t *testing.T) {
	p := newPasswords()
	for _, test := range []struct{ password, code string }{
		{"", "invalid_field"},
		{"wvumjrsbqxt", "invalid_field"},                            // eleven
		{"wvumjrsbqe\u0301\u0301", "invalid_field"},                 // twelve code points, eleven characters
		{"\ufdfa", "invalid_field"},                                 // one that stands for eighteen
		{strings.Repeat("wq8zk+3x", 32) + "y", "invalid_field"},     // 257
		{strings.Repeat("w\U0001F600\u20ac", 150), "invalid_field"}, // 450
		{"wvumjrsbqx\xff\xfetq", "invalid_field"},                   // not text
		{"administrator", "password_too_common"},                    // on the list
		{"Administrator", "password_too_common"},                    // whatever the case
		{"\uff41dministrator", "password_too_common"},               // whatever the width
		{"1q2w3e4r5t6y", "password_too_common"},                     // on the list
		{"password1234", "password_too_common"},                     // two of the list
		{"Password123456", "password_too_common"},                   //
		{"iloveyoudragon", "password_too_common"},                   //
		{"qwertyqwerty", "password_too_common"},                     //
		{"passwordpasswordpassword", "password_too_common"},         // one again and again
		{"123456789012345", "password_too_common"},                  // and cut off
		{"111111111111111111", "password_too_common"},               //
		{"zzzzzzzzzzzzz", "password_too_common"},                    // a short piece again and again
		{"x9x9x9x9x9x9", "password_too_common"},                     //
		{"ßéßéßéßéßéßé", "password_too_common"},                     //
		{strings.Repeat("123456789", 28), "password_too_common"},    //
	} {
		err := p.check("#/new_password", test.password)
		var refusal *domain.Error
		if !errors.As(err, &refusal) {
			t.Errorf("%q: got %v, want %s", test.password, err, test.code)
			continue
		}
		if refusal.Code != test.code || refusal.Kind != domain.Invalid || refusal.Field != "#/new_password" {
			t.Errorf("%q: got %+v, want %s", test.password, refusal, test.code)
		}
		if test.password != "" && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(test.password)) {
			t.Errorf("the refusal repeats the password: %v", err)
		}
	}
}

func TestCommonestPasswordsAreRefused(t *testing.T) {
	p := newPasswords()
	if len(p.common) < 3000 {
		t.Fatalf("the list has only %d entries", len(p.common))
	}
	long := 0
	for password := range p.common {
		if len(password) >= minPasswordLength {
			long++
		}
		if password != strings.ToLower(password) || normalPassword(password) != password {
			t.Errorf("%q isn't in the form in which passwords are looked up", password)
		}
		for _, chosen := range []string{password, strings.ToUpper(password)} {
			if p.check("", chosen) == nil {
				t.Errorf("%q is accepted", chosen)
			}
		}
	}
	if long < 300 {
		t.Errorf("only %d entries are long enough to matter by themselves", long)
	}
}

func TestHashAndVerify(t *testing.T) {
	p := newPasswords()
	ctx := t.Context()
	const password = "caf\u00e9 au lait, s'il vous pla\u00eet"
	first, err := p.hash(ctx, password)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.hash(ctx, password)
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Error("two hashes of a password are equal: the salt isn't random")
	}
	if !strings.HasPrefix(first, "$argon2id$v=19$m=47104,t=1,p=1$") {
		t.Errorf("unexpected parameters: %s", first)
	}
	for _, test := range []struct {
		hash, password string
		want           bool
	}{
		{first, password, true},
		{second, password, true},
		{first, "cafe\u0301 au lait, s'il vous plai\u0302t", true}, // the same, typed on another system
		{first, "cafe au lait, s'il vous plait", false},
		{first, "", false},
		{first, strings.Repeat("x", maxPasswordBytes+1), false},
		{"", password, false}, // nobody's
		{"", "", false},
		// From the test vectors of the reference implementation, with other
		// parameters than ours: the string names them.
		{"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password", true},
		{"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "Password", false},
	} {
		got, err := p.verify(ctx, test.hash, test.password)
		if err != nil || got != test.want {
			t.Errorf("verify(%q, %q) = %v, %v", test.hash, test.password, got, err)
		}
	}
}

// The answer for an unknown account must take as long as for a wrong password.
func TestNobodysHashCostsTheSame(t *testing.T) {
	hash, err := newPasswords().hash(t.Context(), "wvumjrsbqxta")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := parseArgonHash(hash)
	if err != nil {
		t.Fatal(err)
	}
	if n := nobodysHash; n.memory != ours.memory || n.time != ours.time || n.threads != ours.threads ||
		len(n.salt) != len(ours.salt) || len(n.tag) != len(ours.tag) {
		t.Errorf("nobody's hash is %v, a real one %v", n, ours)
	}
}

func TestDamagedHashesAreRefused(t *testing.T) {
	const salt, tag = "c29tZXNhbHRzb21lc2FsdA", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
	good := "$argon2id$v=19$m=4096,t=3,p=2$" + salt + "$" + tag
	if _, err := parseArgonHash(good); err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{
		"x", "$", "$$$$$", good + "$", " " + good, good + " ", good[1:], strings.ToUpper(good),
		"$argon2i$v=19$m=4096,t=3,p=2$" + salt + "$" + tag,
		"$argon2id$v=16$m=4096,t=3,p=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=4096,t=3,p=2,x=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=4096,t=3$" + salt + "$" + tag,
		"$argon2id$v=19$m=04096,t=3,p=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=-1,t=3,p=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=0,t=3,p=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=15,t=3,p=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=262145,t=3,p=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=99999999999999,t=3,p=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=4096,t=0,p=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=4096,t=17,p=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=4096,t=3,p=0$" + salt + "$" + tag,
		"$argon2id$v=19$m=4096,t=3,p=17$" + salt + "$" + tag,
		"$argon2id$v=19$m=4096,t=3,p=300$" + salt + "$" + tag,
		"$argon2id$v=19$m=4096,t=3,p=2$$" + tag,
		"$argon2id$v=19$m=4096,t=3,p=2$" + salt + "$",
		"$argon2id$v=19$m=4096,t=3,p=2$" + salt + "$AAAA",
		"$argon2id$v=19$m=4096,t=3,p=2$" + salt + "$" + strings.Repeat("A", 200),
		"$argon2id$v=19$m=4096,t=3,p=2$" + salt + "=$" + tag,
	} {
		if _, err := parseArgonHash(hash); !errors.Is(err, errDamagedHash) {
			t.Errorf("%q: got %v", hash, err)
		}
	}
}

func TestHashingIsBounded(t *testing.T) {
	p := newPasswords()
	if cap(p.slots) != runtime.GOMAXPROCS(0) {
		t.Errorf("%d hashes at once on %d processors", cap(p.slots), runtime.GOMAXPROCS(0))
	}
	for range cap(p.slots) {
		p.slots <- struct{}{} // a hash that goes on
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := p.hash(ctx, "wvumjrsbqxta")
		result <- err
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("a hash that waits for its turn: %v", err)
	}
	if _, err := p.verify(ctx, "", "wvumjrsbqxta"); !errors.Is(err, context.Canceled) {
		t.Errorf("verify with a context that has ended: %v", err)
	}
	for range cap(p.slots) {
		<-p.slots
	}
	if _, err := p.hash(t.Context(), "wvumjrsbqxta"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if len(p.slots) != 0 {
		t.Error("a turn isn't given back")
	}
}

func FuzzParseArgonHash(f *testing.F) {
	f.Add(nobodysHash.String())
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, phc string) {
		h, err := parseArgonHash(phc)
		if err != nil {
			return
		}
		if h.String() != phc || h.memory > maxArgonMemory || h.time > maxArgonTime || h.threads > maxArgonThreads || h.threads == 0 {
			t.Errorf("%q gives %v", phc, h)
		}
	})
}

func FuzzCheckPassword(f *testing.F) {
	p := newPasswords()
	f.Add("passwordpassword")
	f.Add("\u00e9\u00e8xjwqvkzpyb")
	f.Fuzz(func(t *testing.T, password string) {
		if p.check("#/password", password) != nil {
			return
		}
		if len(password) > maxPasswordBytes || len([]rune(password)) < minPasswordLength {
			t.Errorf("%q is accepted", password)
		}
	})
}
