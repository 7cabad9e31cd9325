package client_test

import (
	"testing"
	"time"

	"roster/api/client"
)

func TestRealBatch(t *testing.T) {
	w := newWorld(t)
	owner, other := w.signUp(), w.signUp()
	member := w.join(owner, "manager")
	cache := w.cache(w.client(""), long)
	var qs []client.Question
	for _, who := range []string{owner.id, member.id, other.id} {
		for _, p := range []string{"orders:update", "billing:read", "no:such"} {
			qs = append(qs, client.Question{Team: owner.team, Subject: who, Permission: p}, client.Question{Team: other.team, Subject: who, Permission: p})
		}
	}
	for round := range 3 {
		all, err := cache.CheckAll(t.Context(), qs)
		if err != nil {
			t.Fatal(err)
		}
		for i, q := range qs {
			if d := w.check(w.client(""), q); d.Allowed != all[i].Allowed || d.Reason != all[i].Reason || all[i].AsOf == 0 {
				t.Errorf("%+v: %+v, %+v", q, d, all[i])
			}
		}
		stats := cache.Stats()
		t.Logf("%+v", stats)
		if round == 1 {
			w.reached(cache, w.role(owner, member, "read_only"))
		}
	}
	var many []client.Question
	for range 2500 {
		many = append(many, qs[0])
	}
	if all, err := w.client("").CheckAll(client.AtLeast(t.Context(), 5), many); err != nil || len(all) != 2500 || !all[2499].Allowed {
		t.Error(err)
	}
	if all, err := w.client("").CheckAll(t.Context(), []client.Question{{Team: owner.team, Permission: "a:b"}, qs[0]}); err != nil || all[0].Err == nil || !all[1].Allowed {
		t.Errorf("%+v %+v %v", all, all[0].Err, err)
	}
	// a key that expires
	made := w.must("POST", "/v1/teams/"+owner.team+"/api-keys", owner.token, map[string]any{"name": "K", "role": "admin", "expires_at": time.Now().Add(time.Hour)})
	w.reached(cache, made.position)
	q := client.Question{Team: owner.team, Subject: made.text("id"), Permission: "orders:update"}
	w.wants(cache, q, true, false)
	w.wants(cache, q, true, true)
	if d := w.check(cache, q); d.Until.IsZero() {
		t.Errorf("%+v", d)
	}
}
