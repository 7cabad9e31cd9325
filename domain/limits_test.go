package domain_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"roster/domain"
)

// What comes from outside is bounded.

func TestNames(t *testing.T) {
	state := fold(given(created("default"), site("north")))
	long := func(n int) string { return strings.Repeat("é", n) }
	for _, c := range []struct {
		name, given, want string // no want: it is refused
	}{
		{"plain", "Acme", "Acme"},
		{"trimmed", " \t Acme \n", "Acme"},
		{"of any script", "Ünïcode 株式会社 👩‍💻", "Ünïcode 株式会社 👩‍💻"},
		{"of 100 characters", long(100), long(100)},
		{"of 101", long(101), ""},
		{"empty", "", ""},
		{"of spaces", " \t\n\u00a0", ""},
		{"of two lines", "Acme\nBcc: eve@example.org", ""},
		{"with a carriage return", "Acme\rInc", ""},
		{"with a line separator", "Acme\u2028Inc", ""},
		{"with a paragraph separator", "Acme\u2029Inc", ""},
		{"with a control character", "Acme\x00Inc", ""},
		{"with another", "Acme\u0085Inc", ""},
		{"not UTF-8", "Acme\xff", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, err := rename(as(owner), c.given)(state, now)
			var refusal *domain.Error
			switch {
			case c.want != "" && (err != nil || len(events) != 1 || events[0] != domain.TeamRenamed{From: "Team", To: c.want}):
				t.Errorf("got %v, %v", events, err)
			case c.want == "" && (!errors.As(err, &refusal) || refusal.Kind != domain.Invalid || refusal.Field != "#/name" || events != nil):
				t.Errorf("got %v, %v", events, err)
			}
			if c.want == "" && c.given != "" {
				if strings.Contains(err.Error(), c.given) {
					t.Errorf("the refusal repeats the value: %v", err)
				}
				for what, do := range map[string]command{
					"a site": func(t *domain.Team, now time.Time) ([]domain.Event, error) {
						return t.AddSite(as(owner), "west", c.given+strings.Repeat("x", 100), now)
					},
					"a renamed site": func(t *domain.Team, now time.Time) ([]domain.Event, error) {
						return t.RenameSite(as(owner), "north", c.given+strings.Repeat("x", 100), now)
					},
					"a key": func(t *domain.Team, now time.Time) ([]domain.Event, error) {
						return t.CreateAPIKey(as(owner), domain.NewAPIKey{ID: "k", Role: "admin", Name: c.given + strings.Repeat("x", 100)}, now)
					},
				} {
					// Of spaces, or ending in a line break, it is a name with what follows.
					if strings.TrimSpace(c.given) == "" {
						continue
					}
					if events, err := do(state, now); !errors.As(err, &refusal) || refusal.Field != "#/name" || events != nil {
						t.Errorf("%s: %v, %v", what, events, err)
					}
				}
			}
		})
	}
	if _, err := domain.NewTeam(team, builtins).Create(owner, address(owner), long(101), builtins["default"]); err == nil {
		t.Error("a team is made with a name that is too long")
	}
	if name, err := domain.CleanPersonName("#/name", " "+long(200)+" "); err != nil || name != long(200) {
		t.Errorf("a person's name of 200 characters: %v", err)
	}
	if _, err := domain.CleanPersonName("#/name", long(201)); err == nil {
		t.Error("a person's name of 201 characters is taken")
	}
}

// A name that turns the direction of writing shows as another: "Anna\u202enimda"
// as "Annaadmin". Names that are written from right to left need no such thing.
func TestNamesThatTurnTheWriting(t *testing.T) {
	for _, r := range "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c" {
		for _, name := range []string{"Anna" + string(r) + "nimda", string(r) + "Anna", "Anna" + string(r)} {
			_, err := domain.CleanPersonName("#/name", name)
			var refusal *domain.Error
			if !errors.As(err, &refusal) || refusal.Field != "#/name" || !strings.Contains(refusal.Detail, "direction of writing") {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	for _, name := range []string{"\u05d3\u05df \u05db\u05d4\u05df", "\u0645\u062d\u0645\u062f Ali", "Zo\u00eb", "\U0001f469\u200d\U0001f680", "\u0915\u094d\u200c\u0937"} {
		if got, err := domain.CleanPersonName("#/name", name); err != nil || got != name {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}

func TestHowManyOfWhat(t *testing.T) {
	events := given(created("default"))
	for i := range domain.MaxSites - 1 {
		events = append(events, site(domain.SiteID(fmt.Sprintf("s%d", i)))...)
	}
	last := given(events, site("last"))
	check(t, []scenario{
		{"the last of the sites", events, now, addSite(as(owner), "last"), site("last"), nil},
		{"one more", last, now, addSite(as(owner), "more"), nil, domain.ErrTeamLimit},
		{"after one was removed", given(last, evs{domain.SiteRemoved{Site: "s7"}}), now, addSite(as(owner), "more"), site("more"), nil},
	})
	keys := created("default")
	for i := range domain.MaxAPIKeys - 1 {
		keys = given(keys, key(fmt.Sprintf("k%d", i), "admin"))
	}
	full := given(keys, key("last", "admin"))
	check(t, []scenario{
		{"the last of the keys", keys, now, createKey(as(owner), "last", "admin"), key("last", "admin"), nil},
		{"one more", full, now, createKey(as(owner), "more", "admin"), nil, domain.ErrTeamLimit},
		{"after one was revoked", given(full, evs{domain.APIKeyRevoked{Key: "k7"}}), now, createKey(as(owner), "more", "admin"), key("more", "admin"), nil},
	})
}

func TestAPIKeyDeadlines(t *testing.T) {
	until := func(at time.Time) command {
		return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
			return t.CreateAPIKey(as(owner), domain.NewAPIKey{
				ID: "k", Name: "Key", Role: "admin", Prefix: "rk_…abc", SecretHash: "hash", DataKey: "block.1", ExpiresAt: &at,
			}, now)
		}
	}
	later := now.Add(time.Microsecond)
	past := &domain.Error{Code: "invalid_field"}
	check(t, []scenario{
		{"in the future", created("default"), now, until(later), evs{domain.APIKeyCreated{
			Key: "k", Name: "Key", Role: "admin", Prefix: "rk_…abc", SecretHash: "hash", DataKey: "block.1", ExpiresAt: &later,
		}}, nil},
		{"now", created("default"), now, until(now), nil, past},
		{"in the past", created("default"), now, until(t0), nil, past},
		{"with a role that there isn't", created("default"), now, createKey(as(owner), "k", "boss"), nil, past},
		{"revoked twice", given(created("default"), key("k", "admin"), evs{domain.APIKeyRevoked{Key: "k"}}), now, revokeKey(as(owner), "k"), nil, domain.ErrNotFound},
		{"of a role beyond one's own", given(created("default"), key("k", "admin"), joined("max", "manager"), overridden("max", "api_keys:manage", "")), now,
			revokeKey(as("max"), "k"), nil, domain.ErrRankTooLow},
	})
}

// TestRefusals are what the HTTP interface makes of them: a kind, a stable
// code, and where the input is at fault.
func TestRefusals(t *testing.T) {
	state := fold(given(created("default"), plan("team"), site("north"), joined("ann", "admin"), joined("bob", "manager")))
	for _, c := range []struct {
		name  string
		when  command
		kind  domain.Kind
		code  string
		field string
	}{
		{"the owner's role", invite(as(owner), "eve", "owner"), domain.Forbidden, "role_not_assignable", "#/role"},
		{"an unknown role", changeRole(as(owner), "bob", "boss"), domain.Invalid, "invalid_field", "#/role"},
		{"an unknown site", setSites(as(owner), "bob", grants("west", "viewer")...), domain.Invalid, "invalid_field", "#/sites"},
		{"an unknown permission", setOverrides(as(owner), "bob", "no:such", ""), domain.Invalid, "invalid_field", "#/granted"},
		{"an unknown permission to revoke", setOverrides(as(owner), "bob", "", "no:such"), domain.Invalid, "invalid_field", "#/revoked"},
		{"a permission beyond one's own", setOverrides(as("ann"), "bob", "billing:read", ""), domain.Forbidden, "rank_too_low", "#/granted"},
		{"a taken name", addSite(as(owner), "north"), domain.Conflict, "name_taken", "#/name"},
		{"a transfer to a stranger", requestTransfer(as(owner), "eve"), domain.Invalid, "invalid_field", "#/user_id"},
		{"a member again", invite(as(owner), "ann", "admin"), domain.Conflict, "already_member", ""},
		{"no permission", invite(as("bob"), "eve", "viewer"), domain.Forbidden, "not_permitted", ""},
		{"a stranger", invite(as("eve"), "eve", "viewer"), domain.NotFound, "not_found", ""},
		{"an invitation that there isn't", accept("eve"), domain.NotFound, "not_found", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.when(state, now)
			var refusal *domain.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v", err)
			}
			if refusal.Kind != c.kind || refusal.Code != c.code || refusal.Field != c.field {
				t.Errorf("got %d %s at %q, want %d %s at %q", refusal.Kind, refusal.Code, refusal.Field, c.kind, c.code, c.field)
			}
			if !strings.HasPrefix(refusal.Error(), c.code+": ") || refusal.Detail == "" {
				t.Errorf("it reads %q", refusal.Error())
			}
		})
	}
	if other := errors.New("not_found"); errors.Is(other, domain.ErrNotFound) || domain.ErrNotFound.Is(other) {
		t.Error("a refusal is some other error")
	}
}
