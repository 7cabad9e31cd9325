package api

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestPagesAreWholeAndInOrder(t *testing.T) {
	w := newWorld(t, options{catalog: "tenants"})
	owner := w.signUp()
	const count = 23
	var want []string
	for range count {
		r := w.call("POST", "/v1/teams/"+owner.team+"/invitations", map[string]any{"email": newEmail(), "role": "viewer"}, owner.auth()).is(201)
		want = append([]string{r.text("id")}, want...)
	}
	for _, limit := range []int{1, 5, 22, 23, 24, 200} {
		var got []string
		token := ""
		for {
			page := w.call("GET", fmt.Sprintf("/v1/teams/%s/invitations?limit=%d&page_token=%s", owner.team, limit, token), nil, owner.auth()).is(200)
			items, _ := page.at("data").([]any)
			for i := range items {
				got = append(got, page.text("data", i, "id"))
			}
			if token = page.text("page", "next_token"); token == "" {
				break
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("limit %d gives %d of %d in another order or number", limit, len(got), len(want))
		}
	}
}

func TestPageTokensBelongToTheirListAndFilters(t *testing.T) {
	w := newWorld(t, options{catalog: "tenants"})
	owner, other := w.signUp(), w.signUp()
	for range 3 {
		w.call("POST", "/v1/teams/"+owner.team+"/invitations", map[string]any{"email": newEmail(), "role": "viewer"}, owner.auth()).is(201)
	}
	list := func(path string, by account) *reply { return w.call("GET", "/v1/teams/"+path, nil, by.auth()) }
	token := list(owner.team+"/invitations?limit=1", owner).is(200).text("page", "next_token")
	list(owner.team+"/invitations?limit=2&page_token="+token, owner).is(200)
	for _, path := range []string{
		owner.team + "/invitations?status=all&page_token=",
		owner.team + "/audit-events?page_token=",
		owner.team + "/members?page_token=",
		other.team + "/invitations?page_token=",
	} {
		by := owner
		if strings.HasPrefix(path, other.team) {
			by = other
		}
		list(path+token, by).is(422, "invalid_page_token")
	}
	log := list(owner.team+"/audit-events?limit=1&action=member.invited", owner).is(200).text("page", "next_token")
	list(owner.team+"/audit-events?limit=1&action=member.invited&page_token="+log, owner).is(200)
	list(owner.team+"/audit-events?limit=1&action=member.invited,team.created&page_token="+log, owner).is(422, "invalid_page_token")
}

func FuzzPageToken(f *testing.F) {
	w := newWorld(f, options{catalog: "tenants"})
	owner := w.signUp()
	for range 2 {
		w.call("POST", "/v1/teams/"+owner.team+"/invitations", map[string]any{"email": newEmail(), "role": "viewer"}, owner.auth()).is(201)
	}
	good := w.call("GET", "/v1/teams/"+owner.team+"/invitations?limit=1", nil, owner.auth()).is(200).text("page", "next_token")
	for _, seed := range []string{"", "a", good, good[:len(good)-1], good + "A", strings.ToUpper(good), "'; DROP TABLE invitations; --", "AAAA", "%00", strings.Repeat("A", 600)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		w.TB = t
		r := w.call("GET", "/v1/teams/"+owner.team+"/invitations?limit=1&page_token="+url.QueryEscape(token), nil, owner.auth())
		if token == "" || token == good {
			r.is(200)
			return
		}
		r.is(422)
		wantProblem(t, r)
	})
}
