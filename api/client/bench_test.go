package client_test

import (
	"fmt"
	"testing"

	"roster/api/client"
)

// BenchmarkCheck is one question: over HTTP, and from a cache that holds 10,000
// answers, beside looking the question up in a plain map.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	owner := w.signUp()
	c := w.client("")
	cache := w.cache(c, long)
	questions := make([]client.Question, 10_000)
	plain := map[client.Question]client.Decision{}
	for i := range questions {
		questions[i] = client.Question{Team: owner.team, Subject: owner.id, Permission: fmt.Sprintf("orders:update%d", i)}
		d, err := cache.Check(b.Context(), questions[i])
		if err != nil {
			b.Fatal(err)
		}
		plain[questions[i]] = d
	}
	b.Run("http", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Check(b.Context(), questions[0]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("http/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Check(b.Context(), questions[0]); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("cache", func(b *testing.B) {
		b.ReportAllocs()
		ctx := b.Context()
		for i := 0; b.Loop(); i++ {
			if _, err := cache.Check(ctx, questions[i%len(questions)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cache/parallel", func(b *testing.B) {
		b.ReportAllocs()
		ctx := b.Context()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, err := cache.Check(ctx, questions[i%len(questions)]); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("map", func(b *testing.B) {
		b.ReportAllocs()
		allowed := 0
		for i := 0; b.Loop(); i++ {
			if plain[questions[i%len(questions)]].Allowed {
				allowed++
			}
		}
	})
	if stats := cache.Stats(); stats.Misses > uint64(len(questions)) {
		b.Errorf("%+v", stats)
	}
}
