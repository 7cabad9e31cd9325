package domain_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// Two-factor sign-in "can be required of everyone, or of given roles, on the
// plans that allow it (unlimited and above)", with a time of grace.

func policyChanged(before, after domain.TwoFactorPolicy) evs {
	return evs{domain.TwoFactorPolicyChanged{Before: before, After: after}}
}

func TestTwoFactorPolicy(t *testing.T) {
	unlimited := given(account(), plan("unlimited"))
	week := given(unlimited, required(everyone(7)))
	wrong := &domain.Error{Code: "invalid_field"}
	none := domain.ErrTwoFactorNotAvailable
	check(t, []scenario{
		{"required of everyone", unlimited, now, requireOf(as(owner), everyone(7)), policyChanged(ofNobody, everyone(7)), nil},
		{"required of roles, in the catalog's order and each once", unlimited, now, requireOf(as(owner), ofRoles(0, "admin", "owner", "admin")),
			policyChanged(ofNobody, ofRoles(0, "owner", "admin")), nil},
		{"in whatever case they are written", unlimited, now, requireOf(as(owner), ofRoles(0, "Admin")), policyChanged(ofNobody, ofRoles(0, "admin")), nil},
		{"required of nobody any more", week, now, requireOf(as("ada"), ofNobody), policyChanged(everyone(7), ofNobody), nil},
		{"as it is already", week, now, requireOf(as(owner), everyone(7)), nil, nil},
		{"as nobody has asked for", unlimited, now, requireOf(as(owner), ofNobody), nil, nil},
		{"not by a manager", unlimited, now, requireOf(as("max"), everyone(7)), nil, domain.ErrNotPermitted},
		{"not by a stranger", unlimited, now, requireOf(as("eve"), everyone(7)), nil, domain.ErrNotFound},
		{"not by the operator", unlimited, now, requireOf(domain.Operator, everyone(7)), nil, domain.ErrNotFound},
		{"not on a plan below", given(account(), plan("pro")), now, requireOf(as(owner), everyone(7)), nil, none},
		{"though required of nobody on any plan", given(week, plan("pro")), now, requireOf(as(owner), ofNobody), policyChanged(everyone(7), ofNobody), nil},
		{"and on the plan above", given(account(), plan("enterprise")), now, requireOf(as(owner), everyone(0)), policyChanged(ofNobody, everyone(0)), nil},
		{"without plans where the catalog says so", created("tenants"), now, requireOf(as(owner), everyone(30)), policyChanged(ofNobody, everyone(30)), nil},
		{"and not where it doesn't", created("distribu"), now, requireOf(as(owner), everyone(7)), nil, none},
		{"a grace of more than 30 days", unlimited, now, requireOf(as(owner), everyone(31)), nil, wrong},
		{"a grace of less than none", unlimited, now, requireOf(as(owner), everyone(-1)), nil, wrong},
		{"of no roles", unlimited, now, requireOf(as(owner), ofRoles(7)), nil, wrong},
		{"of a role that there isn't", unlimited, now, requireOf(as(owner), ofRoles(7, "boss")), nil, wrong},
		{"of everyone and roles", unlimited, now, requireOf(as(owner), domain.TwoFactorPolicy{Required: "everyone", Roles: []role{"admin"}}), nil, wrong},
		{"of somebody", unlimited, now, requireOf(as(owner), domain.TwoFactorPolicy{Required: "somebody"}), nil, wrong},
	})
}

func TestTwoFactorRefusalNamesTheWayUp(t *testing.T) {
	refusal := func(events evs) map[string]any {
		_, err := requireOf(as(owner), everyone(7))(fold(events), now)
		var refused *domain.Error
		if !errors.As(err, &refused) || refused.Code != "two_factor_not_available" {
			t.Fatal(err)
		}
		return refused.Facts
	}
	if diff := cmp.Diff(map[string]any{"plan": "free", "upgrade_url": "/dashboard/subscribe"}, refusal(given(account(), plan("free")))); diff != "" {
		t.Error(diff)
	}
	if facts := refusal(created("distribu")); facts != nil {
		t.Errorf("no plan of distribu allows it, so none is named: %v", facts)
	}
}

func TestNobodyLocksThemselvesOutWithTwoFactor(t *testing.T) {
	state := fold(given(account(), plan("unlimited"), key("k", "admin")))
	without := func(by domain.Actor, policy domain.TwoFactorPolicy) error {
		_, err := state.SetTwoFactorPolicy(by, policy, false, now)
		return err
	}
	if err := without(as(owner), everyone(7)); !errors.Is(err, domain.ErrTwoFactorRequired) {
		t.Errorf("of everyone, by an owner without a second factor: %v", err)
	}
	if err := without(as("ada"), ofRoles(30, "admin")); !errors.Is(err, domain.ErrTwoFactorRequired) {
		t.Errorf("of admins, by an admin without: %v", err)
	}
	for by, policy := range map[domain.Actor]domain.TwoFactorPolicy{
		as("ada"): ofRoles(7, "manager"), as(owner): ofRoles(7, "admin"), asKey("k"): everyone(0),
	} {
		if err := without(by, policy); err != nil {
			t.Errorf("by %v, of others: %v", by, err)
		}
	}
}

// deadlineOf is in days after t0; -1 when nothing is required.
func deadlineOf(state *domain.Team, u user) float64 {
	deadline, required := state.TwoFactorDeadline(u, now)
	if !required {
		return -1
	}
	return deadline.Sub(t0).Hours() / 24
}

func TestTwoFactorGrace(t *testing.T) {
	type step struct {
		day   int
		event domain.Event
	}
	on := func(day int, events evs) (steps []step) {
		for _, event := range events {
			steps = append(steps, step{day, event})
		}
		return steps
	}
	for _, test := range []struct {
		name  string
		steps [][]step
		want  map[user]float64
		ends  float64 // of the whole policy; -1 when there is none
	}{
		{"counts from the beginning of the policy", [][]step{on(3, required(everyone(7)))}, map[user]float64{owner: 10, "ada": 10, "rita": 10}, 10},
		{"or from joining, if later", [][]step{on(3, required(everyone(7))), on(5, joined("eve", "operator"))}, map[user]float64{"eve": 12, "ada": 10}, 10},
		{"of roles", [][]step{on(3, required(ofRoles(7, "admin", "manager")))}, map[user]float64{"ada": 10, "max": 10, owner: -1, "rita": -1}, 10},
		{"or from being given the role", [][]step{on(3, required(ofRoles(7, "admin"))), on(6, changed("max", "manager", "admin"))},
			map[user]float64{"max": 13, "ada": 10}, 10},
		{"not again with another role that is covered", [][]step{on(3, required(ofRoles(7, "admin", "manager"))), on(6, changed("max", "manager", "admin"))},
			map[user]float64{"max": 10}, 10},
		{"ends with a role that isn't", [][]step{on(3, required(ofRoles(7, "admin"))), on(6, changed("ada", "admin", "manager"))}, map[user]float64{"ada": -1}, 10},
		{"can be none", [][]step{on(3, required(everyone(0)))}, map[user]float64{owner: 3}, 3},
		{"goes on when others are covered too", [][]step{on(3, required(ofRoles(7, "admin"))), on(6, required(everyone(7)))},
			map[user]float64{"ada": 10, "alf": 10, "max": 13, owner: 13}, 13},
		{"becomes shorter or longer without starting anew", [][]step{on(3, required(everyone(7))), on(6, required(everyone(1)))}, map[user]float64{"ada": 4}, 4},
		{"starts anew after the policy was lifted", [][]step{on(3, required(everyone(7))), on(6, required(ofNobody)), on(20, required(everyone(7)))},
			map[user]float64{"ada": 27}, 27},
		{"goes with the policy", [][]step{on(3, required(everyone(7))), on(6, required(ofNobody))}, map[user]float64{"ada": -1}, -1},
		{"stops on a plan that doesn't allow it", [][]step{on(3, required(everyone(7))), on(6, plan("pro"))}, map[user]float64{"ada": -1, owner: -1}, -1},
		{"and starts anew on one that does", [][]step{on(3, required(everyone(7))), on(6, plan("pro")), on(20, plan("enterprise"))}, map[user]float64{"ada": 27}, 27},
		{"isn't touched by a plan that allows it as well", [][]step{on(3, required(everyone(7))), on(6, plan("enterprise"))}, map[user]float64{"ada": 10}, 10},
		{"counts from the transfer for who becomes the owner", [][]step{on(3, required(ofRoles(7, "owner"))),
			on(6, evs{domain.OwnershipTransferred{From: owner, To: "ada", FromRole: "admin", ToRole: "admin"}})}, map[user]float64{"ada": 13, owner: -1}, 10},
		{"of nobody there is yet", [][]step{on(3, removed("rita", "read_only")), on(4, required(ofRoles(7, "read_only")))}, map[user]float64{"rita": -1, "ada": -1}, 11},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := fold(given(account(), plan("unlimited")))
			n := 100
			for _, steps := range test.steps {
				for _, s := range steps {
					n++
					state.Apply(s.event, meta(n, as(owner), t0.Add(time.Duration(s.day)*day)))
				}
			}
			for u, want := range test.want {
				if got := deadlineOf(state, u); got != want {
					t.Errorf("%s: day %v, want %v", u, got, want)
				}
				if want < 0 {
					if state.TwoFactorDue(u, t0.Add(1000*day)) {
						t.Errorf("%s is refused one day", u)
					}
					continue
				}
				at := t0.Add(time.Duration(want) * day)
				if state.TwoFactorDue(u, at.Add(-1)) || !state.TwoFactorDue(u, at) {
					t.Errorf("%s: the grace doesn't end at its end", u)
				}
			}
			ends, inForce := state.TwoFactorGraceEnds()
			if got := ends.Sub(t0).Hours() / 24; inForce != (test.ends >= 0) || inForce && got != test.ends {
				t.Errorf("the policy's grace ends on day %v, %t", got, inForce)
			}
		})
	}
}

func TestAPolicyThatThePlanSuspendsIsStillThere(t *testing.T) {
	state := fold(given(account(), plan("unlimited"), required(everyone(7)), plan("free")))
	if state.TwoFactorAvailable() || !cmp.Equal(state.TwoFactorPolicy(), everyone(7)) {
		t.Errorf("%+v, available %t", state.TwoFactorPolicy(), state.TwoFactorAvailable())
	}
}

func TestKeysAndStrangersNeedNoSecondFactor(t *testing.T) {
	state := fold(given(account(), plan("unlimited"), key("k", "admin"), required(everyone(0))))
	for _, u := range []user{"k", "eve", ""} {
		if state.TwoFactorDue(u, now) {
			t.Errorf("%q needs a second factor", u)
		}
	}
}

func TestADecisionWithoutTheSecondFactor(t *testing.T) {
	events := given(account(), plan("unlimited"), required(everyone(0)))
	state := fold(events)
	allowed := state.Can(as("ada"), "team:invite", "", now)
	got := state.WithoutSecondFactor(allowed)
	if !allowed.Allowed || got.Allowed || got.Reason != domain.ReasonTwoFactor || got.Role != "admin" || got.Given.Position != uint64(len(events)) {
		t.Errorf("%+v", got)
	}
	denied := state.Can(as("max"), "team:invite", "", now)
	if got := state.WithoutSecondFactor(denied); got != denied {
		t.Errorf("what is denied anyway is denied for its own reason: %+v", got)
	}
}

func TestTwoFactorDueCostsNoAllocation(t *testing.T) {
	state := fold(given(account(), plan("unlimited"), required(everyone(0))))
	if n := testing.AllocsPerRun(100, func() { state.TwoFactorDue("ada", now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
