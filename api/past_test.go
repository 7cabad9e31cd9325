package api

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// seen is a team as it was answered live, to be compared with what is said of
// it later.
type seen struct {
	position uint64
	at       time.Time
	what     map[string]any
}

// lists are what is remembered of a team.
var lists = []string{"", "/members?limit=200", "/invitations?status=all&limit=200", "/roles"}

// look reads everything there is of a team, at a moment if one is named.
func (w *world) look(by account, moment string) map[string]any {
	w.Helper()
	all := map[string]any{}
	for _, list := range lists {
		path := "/v1/teams/" + by.team + list
		if moment != "" {
			separator := "?"
			if strings.Contains(path, "?") {
				separator = "&"
			}
			path += separator + moment
		}
		r := w.call("GET", path, nil, by.auth()).is(200)
		all[list] = timeless(r.body)
	}
	return all
}

// timeless leaves out what only the present has.
func timeless(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range []string{"actions", "assignable", "assignable_for", "grantable", "delivery", "url", "last_sign_in_at", "two_factor", "page"} {
			delete(value, name)
		}
		for name := range value {
			value[name] = timeless(value[name])
		}
	case []any:
		for i := range value {
			value[i] = timeless(value[i])
		}
	}
	return value
}

// What is said of any past moment is what was answered then: for every write
// of a long and random history, by its position and by its time.
func TestPastIsWhatWasAnsweredThen(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "business"}, bearer(w.operator)).is(200)
	random := rand.New(rand.NewPCG(7, 11))
	pick := func(items []string) string { return items[random.IntN(len(items))] }

	var history []seen
	remember := func() {
		position := w.position()
		history = append(history, seen{position, w.clock.now(), w.look(owner, "")})
	}
	remember()

	roles := []string{"admin", "manager", "member", "viewer"}
	var members, sites, links, pending []string
	members = append(members, w.join(owner, "member").id)
	names := 0
	for range 120 {
		names++
		var r *reply
		switch random.IntN(14) {
		case 0, 1:
			r = w.call("POST", team+"/invitations", map[string]any{"email": newEmail(), "role": pick(roles), "name": "I"}, owner.auth())
			if r.status == 201 {
				links = append(links, r.text("url")[strings.LastIndex(r.text("url"), "/")+1:])
				pending = append(pending, r.text("id"))
			}
		case 2, 3:
			if len(links) > 0 {
				r = w.call("POST", "/v1/invitations/"+links[0]+"/accept", map[string]any{"name": fmt.Sprint("Member ", names), "password": password})
				links, pending = links[1:], pending[1:]
				if r.status == 200 {
					members = append(members, r.text("user", "id"))
				}
			}
		case 4:
			r = w.call("PUT", team+"/members/"+pick(members)+"/role", map[string]any{"role": pick(roles)}, owner.auth())
		case 5:
			r = w.call("PUT", team+"/members/"+pick(members)+"/permissions",
				map[string]any{"granted": []string{"billing:read"}, "revoked": []string{pick([]string{"members:read", "settings:read"})}}, owner.auth())
		case 6:
			r = w.call("POST", team+"/sites", map[string]any{"name": fmt.Sprint("Site ", names)}, owner.auth())
			if r.status == 201 {
				sites = append(sites, r.text("id"))
			}
		case 7:
			if len(sites) > 0 {
				r = w.call("PUT", team+"/members/"+pick(members)+"/sites",
					map[string]any{"sites": []any{map[string]any{"site_id": pick(sites), "role": pick(roles)}}}, owner.auth())
			}
		case 8:
			if len(members) > 1 {
				gone := pick(members)
				r = w.call("DELETE", team+"/members/"+gone, nil, owner.auth())
			}
		case 9:
			r = w.call("PATCH", team, map[string]any{"name": fmt.Sprint("Team ", names)}, owner.auth())
			w.call("PATCH", "/v1/me", map[string]any{"name": fmt.Sprint("Owner ", names)}, owner.auth()).is(200)
		case 10:
			if len(pending) > 1 && random.IntN(2) == 0 {
				r = w.call("DELETE", team+"/invitations/"+pending[0], nil, owner.auth())
				links, pending = links[1:], pending[1:]
			} else {
				w.clock.forward(30 * time.Hour) // invitations expire as well
				owner.token = w.call("POST", "/v1/sessions", map[string]any{"email": owner.email, "password": password}).is(201).text("token")
			}
		case 11:
			key := fmt.Sprint("role_", names)
			r = w.call("POST", team+"/roles", map[string]any{"key": key, "name": key, "level": 10, "permissions": []string{"orders:read"}}, owner.auth()).is(201)
			roles = append(roles, key)
		case 12:
			if own := roles[4:]; len(own) > 0 {
				r = w.call("PATCH", team+"/roles/"+pick(own), map[string]any{"level": 1 + random.IntN(50), "permissions": []string{"orders:read", "reports:read"}}, owner.auth()).is(200)
			}
		case 13:
			if own := roles[4:]; len(own) > 0 {
				r = w.call("DELETE", team+"/roles/"+own[0]+"?replacement=viewer", nil, owner.auth()).is(204)
				roles = append(roles[:4:4], own[1:]...)
			}
		}
		if r != nil && r.status >= 500 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		remember()
	}

	for i, then := range history {
		for _, moment := range []string{
			fmt.Sprint("at=", then.position),
			"as_of=" + url.QueryEscape(then.at.Format(time.RFC3339Nano)),
		} {
			if moment[:2] == "at" && i > 0 && then.position == history[i-1].position {
				continue // only the time has gone on
			}
			if diff := cmp.Diff(then.what, w.look(owner, moment)); diff != "" {
				t.Fatalf("step %d, %s (was answered, is said now):\n%s", i, moment, diff)
			}
		}
	}

	// The difference between two moments leads from one to the other, and
	// between equal moments there is none.
	for i := range history {
		path := fmt.Sprintf("%s/diff?from=%d&to=%d", team, history[i].position, history[i].position)
		if r := w.call("GET", path, nil, owner.auth()).is(200); len(r.body["changes"].([]any)) != 0 {
			t.Fatalf("from a moment to itself: %s", r.raw)
		}
	}
}

func steps(r *reply) (actions []string, decisive string) {
	for i := range r.at("steps").([]any) {
		actions = append(actions, r.text("steps", i, "action"))
		if r.at("steps", i, "decisive") == true {
			decisive += r.text("steps", i, "action")
		}
	}
	return actions, decisive
}

// Why somebody may do something, now and then, with the events behind it.
func TestExplain(t *testing.T) {
	w := newWorld(t, options{catalog: "tenants"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	vera := w.join(owner, "viewer")
	viewer := w.position()
	w.call("PUT", team+"/members/"+vera.id+"/role", map[string]any{"role": "manager"}, owner.auth()).is(200)
	manager := w.position()
	w.call("PUT", team+"/members/"+vera.id+"/permissions", map[string]any{"granted": []string{"settings:update"}, "revoked": []string{"trades:create"}}, owner.auth()).is(200)
	overridden := w.position()
	w.call("DELETE", team+"/members/"+vera.id, nil, owner.auth()).is(204)

	for _, c := range []struct {
		permission string
		at         uint64
		allowed    bool
		reason     string
		steps      string
		decisive   string
	}{
		{"trades:create", viewer, false, "not_in_role", "member.invited member.joined", "member.joined"},
		{"trades:create", manager, true, "role", "member.invited member.joined role.changed", "role.changed"},
		{"trades:create", overridden, false, "override_revoked", "member.invited member.joined role.changed permissions.changed", "permissions.changed"},
		{"settings:update", manager, false, "not_in_role", "member.invited member.joined role.changed", "role.changed"},
		{"settings:update", overridden, true, "override_granted", "member.invited member.joined role.changed permissions.changed", "permissions.changed"},
		{"settings:update", 0, false, "not_a_member", "member.invited member.joined role.changed permissions.changed member.removed", ""},
		{"no:such", overridden, false, "unknown_permission", "member.invited member.joined role.changed permissions.changed", ""},
	} {
		path := fmt.Sprintf("%s/explain?user=%s&permission=%s", team, vera.id, c.permission)
		if c.at > 0 {
			path += fmt.Sprint("&at=", c.at)
		}
		r := w.call("GET", path, nil, owner.auth()).is(200)
		actions, decisive := steps(r)
		if r.at("allowed") != c.allowed || r.text("reason") != c.reason || strings.Join(actions, " ") != c.steps || decisive != c.decisive {
			t.Errorf("%s at %d: %s", c.permission, c.at, r.raw)
		}
		if r.text("text") == "" || r.text("catalog", "name") != "tenants" || r.text("catalog", "event_id") == "" || r.text("user", "email") != vera.email {
			t.Errorf("%s at %d: %s", c.permission, c.at, r.raw)
		}
	}
	// The first event of a role says what it was before.
	r := w.call("GET", fmt.Sprintf("%s/explain?user=%s&permission=trades:create&at=%d", team, vera.id, manager), nil, owner.auth()).is(200)
	if r.text("steps", 2, "before", "role") != "viewer" || r.text("steps", 2, "actor", "id") != owner.id || r.text("steps", 2, "actor", "name") != "A Person" {
		t.Errorf("%s", r.raw)
	}
}

// Who may ask about whom, and what can't be asked.
func TestQuestionsAboutThePast(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "enterprise"}, bearer(w.operator)).is(200)
	operator, admin := w.join(owner, "operator"), w.join(owner, "admin")
	stranger := w.signUp()
	at := fmt.Sprint(w.position())
	future := url.QueryEscape(w.clock.now().Add(time.Hour).Format(time.RFC3339))
	explain := team + "/explain?permission=orders:ship&user="

	w.call("GET", explain+operator.id, nil, operator.auth()).is(200)
	w.call("GET", explain+owner.id, nil, operator.auth()).is(403, "not_permitted")
	w.call("GET", explain+operator.id, nil, admin.auth()).is(200)
	for _, path := range []string{
		team + "?at=" + at, team + "/members?at=" + at, team + "/members/" + owner.id + "?at=" + at, team + "/invitations?at=" + at,
		team + "/roles?at=" + at, team + "/diff?from=" + at, explain + owner.id + "&at=" + at,
	} {
		w.call("GET", path, nil, owner.auth()).is(200)
		w.call("GET", path, nil, stranger.auth()).is(404, "not_found")
		w.call("GET", path, nil).is(401)
	}
	for _, path := range []string{"/members?at=" + at, "/members/" + owner.id + "?at=" + at, "/invitations?at=" + at, "/diff?from=" + at} {
		w.call("GET", team+path, nil, operator.auth()).is(403, "not_permitted")
	}
	for path, name := range map[string]string{
		"/members?as_of=yesterday":            "as_of",
		"/members?as_of=" + future:            "as_of",
		"/members?at=99999999":                "at",
		"/members?at=1&as_of=2020-01-01":      "at",
		"/invitations?as_of=" + future:        "as_of",
		"/roles?as_of=2020-13-01":             "as_of",
		"?as_of=" + future:                    "as_of",
		"/diff?from=" + at + "&to=soon":       "to",
		"/diff?from=" + future:                "from",
		"/diff?from=" + at + "&to=2020-01-01": "to",
	} {
		r := w.call("GET", team+path, nil, owner.auth())
		if path == "/diff?from="+at+"&to=2020-01-01" {
			r.is(404) // the team didn't exist yet
			continue
		}
		if wantProblem(t, r.is(422)); !strings.Contains(string(r.raw), `"#/`+name+`"`) {
			t.Errorf("%s: %s", path, r.raw)
		}
	}
	w.call("GET", team+"/members?as_of=2020-01-01", nil, owner.auth()).is(404)
	w.call("GET", team+"/members?as_of="+w.clock.now().Format(time.DateOnly), nil, owner.auth()).is(200) // of today: now
}

func TestDiff(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "enterprise"}, bearer(w.operator)).is(200)
	max, mia := w.join(owner, "manager"), w.join(owner, "operator")
	site := w.call("POST", team+"/sites", map[string]any{"name": "Algiers"}, owner.auth()).is(201).text("id")
	from := w.position()
	w.call("PATCH", team, map[string]any{"name": "Renamed"}, owner.auth()).is(200)
	w.call("PUT", team+"/members/"+max.id+"/sites", map[string]any{"sites": []any{map[string]any{"site_id": site, "role": "manager"}}}, owner.auth()).is(200)
	w.call("DELETE", team+"/members/"+mia.id, nil, owner.auth()).is(204)
	invitation := w.call("POST", team+"/invitations", map[string]any{"email": "new@example.com", "role": "operator"}, owner.auth()).is(201)
	// What came and went leaves no difference.
	key := w.call("POST", team+"/api-keys", map[string]any{"name": "short", "role": "operator"}, owner.auth()).is(201).text("id")
	w.call("DELETE", team+"/api-keys/"+key, nil, owner.auth()).is(204)

	r := w.call("GET", fmt.Sprintf("%s/diff?from=%d", team, from), nil, owner.auth()).is(200)
	members := map[string]any{
		max.id: map[string]any{"kind": "member", "id": max.id, "name": "A Member", "change": "changed", "fields": []any{
			map[string]any{"field": "sites", "from": []any{}, "to": []any{map[string]any{"site_id": site, "role": "manager"}}},
		}},
		mia.id: map[string]any{"kind": "member", "id": mia.id, "name": "A Member", "change": "removed", "fields": []any{
			map[string]any{"field": "role", "from": "operator", "to": nil},
			map[string]any{"field": "sites", "from": []any{}, "to": nil},
			map[string]any{"field": "granted", "from": []any{}, "to": nil},
			map[string]any{"field": "revoked", "from": []any{}, "to": nil},
		}},
	}
	first, second := max.id, mia.id
	if second < first {
		first, second = second, first
	}
	want := []any{
		map[string]any{"kind": "team", "id": owner.team, "name": "Renamed", "change": "changed", "fields": []any{
			map[string]any{"field": "name", "from": "My store", "to": "Renamed"},
		}},
		members[first], members[second],
		map[string]any{"kind": "invitation", "id": invitation.text("id"), "name": "new@example.com", "change": "added", "fields": []any{
			map[string]any{"field": "role", "from": nil, "to": "operator"},
			map[string]any{"field": "sites", "from": nil, "to": []any{}},
			map[string]any{"field": "expires_at", "from": nil, "to": invitation.text("expires_at")},
		}},
	}
	// Each names the last event behind it.
	actions := map[string]string{owner.team: "team.renamed", max.id: "sites.changed", mia.id: "member.removed", invitation.text("id"): "member.invited"}
	for i := range want {
		change := r.at("changes", i).(map[string]any)
		event, _ := change["event"].(map[string]any)
		delete(change, "event")
		id := change["id"].(string)
		if event["action"] != actions[id] || event["actor"].(map[string]any)["id"] != owner.id {
			t.Errorf("%s %s: came about by %v", change["kind"], id, event)
			continue
		}
		entries := w.call("GET", fmt.Sprintf("%s/audit-events/%.0f", team, event["position"]), nil, owner.auth()).is(200)
		if entries.text("data", 0, "id") != event["event_id"] || entries.text("data", 0, "action") != actions[id] || len(entries.at("data").([]any)) != 1 {
			t.Errorf("the entry at %v is %s", event["position"], entries.raw)
		}
	}
	if diff := cmp.Diff(want, r.at("changes")); diff != "" {
		t.Error(diff)
	}
	wantProblem(t, w.call("GET", fmt.Sprintf("%s/diff?from=%d&to=%d", team, w.position(), from), nil, owner.auth()).is(422))
}

// What a person has lost by the removal of a site, and an invitation that was
// accepted, are explained by the events that did it.
func TestDifferencesNameEventsOfOtherThings(t *testing.T) {
	w := newWorld(t, options{catalog: "dzbuild"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "enterprise"}, bearer(w.operator)).is(200)
	site := w.call("POST", team+"/sites", map[string]any{"name": "Algiers"}, owner.auth()).is(201).text("id")
	max := w.join(owner, "manager")
	w.call("PUT", team+"/members/"+max.id+"/sites", map[string]any{"sites": []any{map[string]any{"site_id": site, "role": "manager"}}}, owner.auth()).is(200)
	invited := w.call("POST", team+"/invitations", map[string]any{"email": "late@example.com", "role": "operator"}, owner.auth()).is(201)
	from := w.position()
	w.call("DELETE", team+"/sites/"+site, nil, owner.auth()).is(204)
	token := invited.text("url")[strings.LastIndex(invited.text("url"), "/")+1:]
	w.call("POST", "/v1/invitations/"+token+"/accept", map[string]any{"name": "Late", "password": password}).is(200)

	got := map[string]string{}
	r := w.call("GET", fmt.Sprintf("%s/diff?from=%d", team, from), nil, owner.auth()).is(200)
	for i := range r.at("changes").([]any) {
		got[r.text("changes", i, "kind")+" "+r.text("changes", i, "change")] = r.text("changes", i, "event", "action")
	}
	want := map[string]string{
		"member added": "member.joined", "member changed": "site.removed", "invitation removed": "member.joined", "site removed": "site.removed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
