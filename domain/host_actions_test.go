package domain_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// Actions of the host product: who may record them, and what they may be.
func TestHostActions(t *testing.T) {
	state := fold(given(created("default"), joined("ann", "admin"), joined("bob", "viewer"), joined("gone", "viewer"), removed("gone", "viewer"),
		key("shop", "admin"), key("reader", "viewer"), key("old", "admin"), evs{domain.APIKeyRevoked{Key: "old"}}))
	good := domain.HostAction{Action: "order.shipped", TargetType: "order", TargetID: "A-42"}
	recorded := domain.HostActionRecorded{Team: team, Action: "order.shipped", TargetType: "order", TargetID: "A-42"}
	with := func(change func(*domain.HostAction)) domain.HostAction {
		want := good
		change(&want)
		return want
	}
	action := func(name string) domain.HostAction { return with(func(a *domain.HostAction) { a.Action = name }) }
	detail := func(text string) domain.HostAction {
		return with(func(a *domain.HostAction) { a.Detail = json.RawMessage(text) })
	}
	behalf := func(u user) domain.HostAction { return with(func(a *domain.HostAction) { a.OnBehalfOf = u }) }
	at := func(at time.Time) domain.HostAction { return with(func(a *domain.HostAction) { a.OccurredAt = at }) }
	nested := func(levels int) string {
		return strings.Repeat(`{"a":`, levels-1) + `{}` + strings.Repeat(`}`, levels-1)
	}

	for _, c := range []struct {
		name  string
		by    domain.Actor
		want  domain.HostAction
		code  string // of the refusal, if any
		field string
	}{
		{"by the owner", as(owner), good, "", ""},
		{"by an admin", as("ann"), good, "", ""},
		{"by a key", asKey("shop"), good, "", ""},
		{"by a member without the permission", as("bob"), good, "not_permitted", ""},
		{"by a key without it", asKey("reader"), good, "not_permitted", ""},
		{"by a revoked key", asKey("old"), good, "not_found", ""},
		{"by somebody who was removed", as("gone"), good, "not_found", ""},
		{"by a stranger", as("eve"), good, "not_found", ""},
		{"by the operator", domain.Operator, good, "not_found", ""},
		{"a stranger learns nothing of what is wrong", as("eve"), action("team.deleted"), "not_found", ""},

		{"a name of one part", as(owner), action("shipped"), "", ""},
		{"with other separators", as(owner), action("shop/orders:bulk-ship.v2"), "", ""},
		{"64 characters", as(owner), action(strings.Repeat("a", 64)), "", ""},
		{"65 characters", as(owner), action(strings.Repeat("a", 65)), "invalid_field", "#/action"},
		{"no name", as(owner), action(""), "invalid_field", "#/action"},
		{"in capitals", as(owner), action("Order.Shipped"), "invalid_field", "#/action"},
		{"with a space", as(owner), action("order shipped"), "invalid_field", "#/action"},
		{"with a comma", as(owner), action("order,shipped"), "invalid_field", "#/action"},
		{"with a letter that looks like another", as(owner), action("tеam.deleted"), "invalid_field", "#/action"},
		{"with an empty part", as(owner), action("order..shipped"), "invalid_field", "#/action"},
		{"beginning with a separator", as(owner), action(".team.deleted"), "invalid_field", "#/action"},
		{"ending in one", as(owner), action("order."), "invalid_field", "#/action"},
		{"Roster's own", as(owner), action("member.removed"), "invalid_field", "#/action"},
		{"like Roster's own", as(owner), action("member.banned"), "invalid_field", "#/action"},
		{"like Roster's own, with another separator", as(owner), action("two_factor:enabled"), "invalid_field", "#/action"},
		{"a first part of Roster's alone", as(owner), action("session"), "invalid_field", "#/action"},
		{"kept free for Roster", as(owner), action("user.merged"), "invalid_field", "#/action"},
		{"only beginning like one of them", as(owner), action("teamwork.started"), "", ""},

		{"no type", as(owner), with(func(a *domain.HostAction) { a.TargetType = "" }), "invalid_field", "#/target/type"},
		{"a type in capitals", as(owner), with(func(a *domain.HostAction) { a.TargetType = "Order" }), "invalid_field", "#/target/type"},
		{"no id", as(owner), with(func(a *domain.HostAction) { a.TargetID = "" }), "invalid_field", "#/target/id"},
		{"an id of two lines", as(owner), with(func(a *domain.HostAction) { a.TargetID = "1\n2" }), "invalid_field", "#/target/id"},
		{"an id beyond ASCII", as(owner), with(func(a *domain.HostAction) { a.TargetID = "é" }), "invalid_field", "#/target/id"},
		{"an id of 201 characters", as(owner), with(func(a *domain.HostAction) { a.TargetID = strings.Repeat("x", 201) }), "invalid_field", "#/target/id"},
		{"a name of two lines", as(owner), with(func(a *domain.HostAction) { a.TargetName = "a\nb" }), "invalid_field", "#/target/name"},
		{"a name of 201 characters", as(owner), with(func(a *domain.HostAction) { a.TargetName = strings.Repeat("é", 201) }), "invalid_field", "#/target/name"},

		{"a detail that is a list", as(owner), detail(`[1]`), "invalid_field", "#/detail"},
		{"a detail that is text", as(owner), detail(`"x"`), "invalid_field", "#/detail"},
		{"a detail that isn't JSON", as(owner), detail(`{"a":`), "invalid_field", "#/detail"},
		{"a detail that isn't UTF-8", as(owner), detail("{\"a\":\"\xff\"}"), "invalid_field", "#/detail"},
		{"a detail of 4,096 bytes", as(owner), detail(`{"a":"` + strings.Repeat("x", 4096-8) + `"}`), "", ""},
		{"one byte more", as(owner), detail(`{"a":"` + strings.Repeat("x", 4096-7) + `"}`), "invalid_field", "#/detail"},
		{"white space doesn't count", as(owner), detail(`{` + strings.Repeat(" ", 4096) + `}`), "", ""},
		{"eight levels", as(owner), detail(nested(8)), "", ""},
		{"nine", as(owner), detail(nested(9)), "invalid_field", "#/detail"},
		{"nine, of lists", as(owner), detail(`{"a":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`), "invalid_field", "#/detail"},
		{"two members of one name", as(owner), detail(`{"a":1,"b":{"a":2},"a":3}`), "invalid_field", "#/detail"},
		{"two members of one name, inside", as(owner), detail(`{"a":[{"b":1,"b":2}]}`), "invalid_field", "#/detail"},
		{"two members of one name, written differently", as(owner), detail(`{"a":1,"\u0061":2}`), "invalid_field", "#/detail"},
		{"one name in several objects, and as a value", as(owner), detail(`{"a":"a","b":["a","a"],"c":{"a":"b"}}`), "", ""},

		{"on behalf of a member", asKey("shop"), behalf("bob"), "", ""},
		{"on behalf of a former member", asKey("shop"), behalf("gone"), "", ""},
		{"on behalf of a stranger", asKey("shop"), behalf("eve"), "invalid_field", "#/on_behalf_of"},
		{"on behalf of a key", asKey("shop"), behalf("reader"), "invalid_field", "#/on_behalf_of"},
		{"a user on behalf of another", as(owner), behalf("bob"), "invalid_field", "#/on_behalf_of"},

		{"a while ago", as(owner), at(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)), "", ""},
		{"before 1970", as(owner), at(time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)), "invalid_field", "#/occurred_at"},
		{"by a clock that is ahead", as(owner), at(now.Add(5 * time.Minute)), "", ""},
		{"in the future", as(owner), at(now.Add(5*time.Minute + time.Microsecond)), "invalid_field", "#/occurred_at"},
	} {
		t.Run(c.name, func(t *testing.T) {
			event, _, err := state.RecordHostAction(c.by, c.want, now)
			if c.code == "" {
				want := recorded
				want.Action, want.OnBehalfOf, want.OccurredAt = c.want.Action, c.want.OnBehalfOf, c.want.OccurredAt
				if diff := cmp.Diff(want, event); err != nil || diff != "" {
					t.Errorf("%v %s", err, diff)
				}
				return
			}
			var refusal *domain.Error
			if !errors.As(err, &refusal) || refusal.Code != c.code || refusal.Field != c.field {
				t.Errorf("got %#v", err)
			}
		})
	}
}

// What is sealed is cleaned, and the numbers in it stay as they were written.
func TestHostActionContent(t *testing.T) {
	state := fold(created("default"))
	event, content, err := state.RecordHostAction(as(owner), domain.HostAction{
		Action: "order.shipped", TargetType: "order", TargetID: "1", TargetName: "  Order <1> ",
		Detail: json.RawMessage(` { "total" : 12.50, "id" : 12345678901234567890 } `), OccurredAt: now.In(time.FixedZone("", 3600)).Add(time.Nanosecond),
	}, now)
	want := domain.HostActionContent{Name: "Order <1>", Detail: json.RawMessage(`{"total":12.50,"id":12345678901234567890}`)}
	if diff := cmp.Diff(want, content); err != nil || diff != "" || content.Empty() {
		t.Errorf("%v %s", err, diff)
	}
	if event.OccurredAt != now.UTC() || event.Content != "" {
		t.Errorf("the event is %+v", event)
	}
	for _, nothing := range []string{"", "null"} {
		if _, content, err := state.RecordHostAction(as(owner), domain.HostAction{
			Action: "order.shipped", TargetType: "order", TargetID: "1", Detail: json.RawMessage(nothing),
		}, now); err != nil || !content.Empty() {
			t.Errorf("%q: %+v, %v", nothing, content, err)
		}
	}
}

func TestEveryActionOfRostersIsReserved(t *testing.T) {
	for _, action := range domain.AuditActions {
		if !domain.ReservedAction(action) {
			t.Error(action)
		}
	}
}
