package commands

import (
	"testing"
	"time"
)

func BenchmarkHashPassword(b *testing.B) {
	p := newPasswords()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.hash(b.Context(), "correct horse battery staple"); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkCheckPassword(b *testing.B) {
	p := newPasswords()
	for b.Loop() {
		if err := p.check("#/password", "correct horse battery staple"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignInThrottle(b *testing.B) {
	throttle, _ := throttleForTest(b)
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			if signIn(b, throttle, anna, home) != 0 {
				b.Fatal("throttled")
			}
		}
	})
	b.Run("refused", func(b *testing.B) {
		for guess(b, throttle, bertil, away) == 0 {
		}
		for b.Loop() {
			if guess(b, throttle, bertil, away) == 0 {
				b.Fatal("not throttled")
			}
		}
	})
}

func BenchmarkFindSession(b *testing.B) {
	one, _, _ := sessionsForTest(b)
	token := startSession(b, one, newUser()).Token
	mustFind(b, one, token)
	b.Run("1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := one.find(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := one.find(b.Context(), token); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkStartSession(b *testing.B) {
	one, _, clock := sessionsForTest(b)
	key, err := one.vault.NewKey(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := one.start(b.Context(), newUser(), key, "192.0.2.7", "Firefox"); err != nil {
			b.Fatal(err)
		}
		clock.forward(time.Microsecond)
	}
}

func BenchmarkListSessions(b *testing.B) {
	one, _, _ := sessionsForTest(b)
	user := newUser()
	for range 5 {
		startSession(b, one, user)
	}
	for b.Loop() {
		if list, err := one.list(b.Context(), user); err != nil || len(list) != 5 {
			b.Fatal(list, err)
		}
	}
}
