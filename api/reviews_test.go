package api

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// field are the values of a field of a list's items.
func (r *reply) field(path ...any) (values []string) {
	r.t.Helper()
	for i := range r.at("data").([]any) {
		values = append(values, fmt.Sprint(r.at(append([]any{"data", i}, path...)...)))
	}
	return values
}

// texts are the steps of the story of the nth member.
func (r *reply) texts(n int) (texts []string) {
	r.t.Helper()
	for i := range r.at("data", n, "story").([]any) {
		texts = append(texts, r.text("data", n, "story", i, "text"))
	}
	return texts
}

// An access review, from its opening to its closing.
func TestAccessReview(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "business"}, bearer(w.operator)).is(200)
	ada, bea, max, vera := w.join(owner, "admin"), w.join(owner, "admin"), w.join(owner, "manager"), w.join(owner, "viewer")
	stranger := w.signUp()
	reviews := team + "/access-reviews"

	wantProblem(t, w.call("POST", reviews, map[string]any{}, max.auth()).is(403, "not_permitted"))
	wantProblem(t, w.call("POST", reviews, map[string]any{"due": "2001-01-01T00:00:00Z"}, ada.auth()).is(422))
	w.call("POST", reviews, map[string]any{}, stranger.auth()).is(404)
	due := w.clock.now().Add(240 * time.Hour).Format(time.RFC3339)
	opening := func() *reply {
		return w.call("POST", reviews, map[string]any{"name": "First quarter", "due": due}, ada.auth(), header("Idempotency-Key", "q1"))
	}
	opened := opening().is(201)
	if again := opening().is(201); !bytes.Equal(again.raw, opened.raw) || opened.header.Get("Roster-Position") == "" {
		t.Error("the repetition differs")
	}
	wantProblem(t, w.call("POST", reviews, map[string]any{}, owner.auth()).is(409, "access_review_open"))
	id := opened.text("id")
	progress := func(members, kept, removed, left, undecided float64) map[string]any {
		return map[string]any{"members": members, "kept": kept, "removed": removed, "left": left, "undecided": undecided}
	}
	if diff := cmp.Diff(progress(5, 0, 0, 0, 5), opened.at("progress")); diff != "" || opened.text("status") != "open" || opened.text("opened_by", "id") != ada.id {
		t.Errorf("%s %s", diff, opened.raw)
	}
	eve := w.join(owner, "viewer")

	const note = "Works in the warehouse until June"
	decide := func(by account, user, decision string, changes ...with) *reply {
		return w.call("PUT", reviews+"/"+id+"/decisions/"+user, map[string]any{"decision": decision, "note": note}, append(changes, by.auth())...)
	}
	kept := decide(ada, max.id, "kept").is(200)
	if kept.text("decision") != "kept" || kept.text("note") != note || kept.text("decided_by", "name") != "A Member" || kept.text("user", "email") != max.email || kept.at("left_at") != nil {
		t.Errorf("%s", kept.raw)
	}
	wantProblem(t, decide(ada, ada.id, "kept").is(409, "cannot_review_self"))
	wantProblem(t, decide(ada, bea.id, "removed").is(403, "rank_too_low"))
	wantProblem(t, decide(ada, owner.id, "removed").is(409, "owner_is_permanent"))
	wantProblem(t, decide(ada, eve.id, "kept").is(409, "not_reviewed"))
	wantProblem(t, decide(max, vera.id, "kept").is(403, "not_permitted"))
	wantProblem(t, decide(ada, stranger.id, "kept").is(404))
	wantProblem(t, decide(ada, vera.id, "perhaps").is(422))
	decide(stranger, vera.id, "kept").is(404)
	decide(ada, owner.id, "kept").is(200)
	removed := decide(ada, vera.id, "removed", header("Idempotency-Key", "vera")).is(200)
	if again := decide(ada, vera.id, "removed", header("Idempotency-Key", "vera")).is(200); !bytes.Equal(again.raw, removed.raw) {
		t.Error("the repetition differs")
	}
	decide(ada, vera.id, "removed").is(200) // it is so already
	if removed.text("decision") != "removed" || removed.at("left_at") == nil || removed.at("role") != nil {
		t.Errorf("%s", removed.raw)
	}
	w.call("GET", team, nil, vera.auth()).is(404)
	w.call("DELETE", team+"/members/"+bea.id, nil, owner.auth()).is(204)

	look := func(query string) *reply { return w.call("GET", reviews+"/"+id+query, nil, owner.auth()).is(200) }
	want := []string{"kept", "undecided", "left", "kept", "removed", "joined"}
	r := look("")
	if got := r.field("decision"); !slices.Equal(got, want) || r.text("data", 1, "user", "id") != ada.id {
		t.Errorf("%v in %s", got, r.raw)
	}
	if diff := cmp.Diff(progress(5, 2, 1, 1, 1), r.at("progress")); diff != "" {
		t.Error(diff)
	}
	var paged []string
	for token := ""; ; {
		page := look("?limit=2&page_token=" + token)
		paged = append(paged, page.field("decision")...)
		if token = page.text("page", "next_token"); token == "" {
			break
		}
	}
	if !slices.Equal(paged, want) {
		t.Errorf("in pages: %v", paged)
	}
	w.call("GET", reviews+"/"+id, nil, max.auth()).is(403, "not_permitted")
	w.call("GET", reviews, nil, max.auth()).is(403, "not_permitted")
	w.call("GET", reviews+"/rev_"+strings.Repeat("0", 26), nil, owner.auth()).is(404)

	w.call("POST", reviews+"/"+id+"/close", nil, max.auth()).is(403, "not_permitted")
	closed := w.call("POST", reviews+"/"+id+"/close", nil, ada.auth()).is(200)
	w.call("POST", reviews+"/"+id+"/close", nil, ada.auth()).is(200)
	if closed.text("status") != "closed" || closed.text("closed_by", "id") != ada.id {
		t.Errorf("%s", closed.raw)
	}
	wantProblem(t, decide(owner, ada.id, "kept").is(409, "access_review_closed"))

	// What comes later changes nothing of it.
	w.call("DELETE", team+"/members/"+max.id, nil, owner.auth()).is(204)
	second := w.call("POST", reviews, map[string]any{}, owner.auth()).is(201)
	if r := look(""); !slices.Equal(r.field("decision"), want) || r.text("data", 3, "note") != note || r.at("data", 3, "left_at") != nil {
		t.Errorf("%s", r.raw)
	}
	list := w.call("GET", reviews+"?limit=1", nil, owner.auth()).is(200)
	older := w.call("GET", reviews+"?limit=1&page_token="+list.text("page", "next_token"), nil, owner.auth()).is(200)
	if list.text("data", 0, "id") != second.text("id") || older.text("data", 0, "id") != id || older.text("page", "next_token") != "" {
		t.Errorf("%s then %s", list.raw, older.raw)
	}

	log := w.call("GET", team+"/audit-events?action=access_review.opened,access_review.kept,access_review.removed,access_review.closed", nil, owner.auth()).is(200)
	actions := []string{"access_review.opened", "access_review.closed", "access_review.removed", "access_review.kept", "access_review.kept", "access_review.opened"}
	if got := log.field("action"); !slices.Equal(got, actions) || log.text("data", 2, "target", "id") != vera.id || log.text("data", 2, "actor", "id") != ada.id {
		t.Errorf("%v", got)
	}
	removal := w.call("GET", team+"/audit-events?action=member.removed&target="+vera.id, nil, owner.auth()).is(200)
	if removal.at("data", 0, "position") != log.at("data", 2, "position") {
		t.Error("the removal isn't in the commit of its decision")
	}
	if bytes.Contains(log.raw, []byte(note)) {
		t.Error("a note is in the audit log")
	}
}

// The report says of everybody what they have and how it came about, now and
// then.
func TestAccessReport(t *testing.T) {
	w := newWorld(t, options{catalog: "default"})
	owner := w.signUp()
	team := "/v1/teams/" + owner.team
	w.call("PUT", team+"/plan", map[string]any{"plan": "business"}, bearer(w.operator)).is(200)
	site := w.call("POST", team+"/sites", map[string]any{"name": "=North"}, owner.auth()).is(201).text("id")
	ada, vera := w.join(owner, "admin"), w.join(owner, "viewer")
	before := w.position()
	w.clock.forward(time.Hour)
	w.call("POST", "/v1/sessions", map[string]any{"email": vera.email, "password": password}).is(201)
	w.call("PUT", team+"/members/"+vera.id+"/role", map[string]any{"role": "manager"}, ada.auth()).is(200)
	w.call("PUT", team+"/members/"+vera.id+"/sites", map[string]any{"sites": []any{map[string]any{"site_id": site, "role": "manager"}}}, owner.auth()).is(200)
	w.call("PUT", team+"/members/"+vera.id+"/permissions", map[string]any{"granted": []string{"billing:read"}, "revoked": []string{"reports:read"}}, owner.auth()).is(200)
	w.call("PATCH", "/v1/me", map[string]any{"name": "=HYPERLINK(\"http://x\")"}, vera.auth()).is(200)
	expiry := w.clock.now().Add(time.Hour).Format(time.RFC3339)
	w.call("POST", team+"/api-keys", map[string]any{"name": "CI", "role": "member", "expires_at": expiry}, ada.auth()).is(201)
	review := w.call("POST", team+"/access-reviews", map[string]any{"name": "Q1"}, owner.auth()).is(201).text("id")
	w.call("PUT", team+"/access-reviews/"+review+"/decisions/"+vera.id, map[string]any{"decision": "kept"}, ada.auth()).is(200)
	gone := w.join(owner, "viewer")
	w.call("DELETE", team+"/members/"+gone.id, nil, owner.auth()).is(204)

	report := func(query string) *reply { return w.call("GET", team+"/access-review"+query, nil, owner.auth()) }
	r := report("").is(200)
	if got := r.field("user_id"); !slices.Equal(got, []string{owner.id, ada.id, vera.id}) {
		t.Errorf("%v", got)
	}
	hers := func(path ...any) any { return r.at(append([]any{"data", 2}, path...)...) }
	if hers("email") != vera.email || hers("role") != "manager" || hers("role_name") != "Manager" || hers("level") != 60.0 ||
		hers("sites", 0, "name") != "=North" || hers("overrides", "granted", 0) != "billing:read" || hers("last_sign_in_at") == nil ||
		hers("kept", "access_review_id") != review || hers("kept", "access_review_name") != "Q1" || hers("kept", "by", "id") != ada.id || hers("kept", "last") != true {
		t.Errorf("%s", r.raw)
	}
	want := []string{
		"Invited as Viewer by A Person.", "Joined as Viewer.", "Changed from Viewer to Manager by A Member.", "Put on =North as Manager by A Person.",
		"Overrides set by A Person: granted billing:read; revoked reports:read.",
	}
	if diff := cmp.Diff(want, r.texts(2)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"Made the team."}, r.texts(0)); diff != "" || r.at("data", 0, "kept") != nil {
		t.Errorf("%s %s", diff, r.raw)
	}
	if r.text("api_keys", 0, "name") != "CI" || r.text("api_keys", 0, "created_by", "name") != "A Member" || r.text("api_keys", 0, "role_name") != "Member" {
		t.Errorf("%s", r.raw)
	}
	// Each event of a story is an entry of the audit log.
	log := w.call("GET", team+"/audit-events?limit=200", nil, owner.auth()).is(200).field("id")
	for i := range want {
		if !slices.Contains(log, r.text("data", 2, "story", i, "event_id")) {
			t.Errorf("step %d isn't in the audit log", i)
		}
	}

	then := report(fmt.Sprint("?at=", before)).is(200)
	if then.text("data", 2, "name") != "A Member" || then.text("data", 2, "role") != "viewer" || len(then.at("data", 2, "sites").([]any)) != 0 ||
		len(then.at("api_keys").([]any)) != 0 || then.at("data", 2, "kept") != nil || len(then.texts(2)) != 2 {
		t.Errorf("%s", then.raw)
	}
	if first, last := then.text("data", 2, "last_sign_in_at"), r.text("data", 2, "last_sign_in_at"); first >= last {
		t.Errorf("signed in at %s then, and at %s now", first, last)
	}
	w.clock.forward(2 * time.Hour)
	if r := report("").is(200); len(r.at("api_keys").([]any)) != 0 {
		t.Errorf("a key works that has expired: %s", r.raw)
	}

	var paged []string
	for token := ""; ; {
		page := report("?limit=1&page_token=" + token).is(200)
		paged = append(paged, page.field("user_id")...)
		if token = page.text("page", "next_token"); token == "" {
			break
		}
	}
	if !slices.Equal(paged, r.field("user_id")) {
		t.Errorf("in pages: %v", paged)
	}

	sheet := report(fmt.Sprintf("?format=csv&at=%d", w.position())).is(200)
	if sheet.header.Get("Content-Type") != mediaCSV || !strings.Contains(sheet.header.Get("Content-Disposition"), ".csv") {
		t.Errorf("%v", sheet.header)
	}
	// At that position, which is that of an earlier time, the key still worked.
	for lines, sheet := range map[int]*reply{5: sheet, 4: report("?format=csv").is(200)} {
		rows, err := csv.NewReader(bytes.NewReader(sheet.raw)).ReadAll()
		if err != nil || len(rows) != lines || !slices.Equal(rows[0], reportColumns) {
			t.Fatalf("%v: %q", err, rows)
		}
		row := rows[3]
		for i, want := range []string{"member", vera.id, "'=HYPERLINK(\"http://x\")", vera.email, "manager", "Manager", "60", "'=North: Manager", "billing:read", "reports:read"} {
			if row[i] != want {
				t.Errorf("%s is %q, want %q", reportColumns[i], row[i], want)
			}
		}
		if story := row[14]; !strings.Contains(story, "Invited as Viewer by A Person. [evt_") || strings.Count(story, "[evt_") != 5 || row[16] != "A Member" || row[17] != "Q1" {
			t.Errorf("%q", row)
		}
	}

	w.call("GET", team+"/access-review", nil, vera.auth()).is(403, "not_permitted")
	w.call("GET", team+"/access-review", nil, w.signUp().auth()).is(404)
	wantProblem(t, report("?format=xml").is(422))
	wantProblem(t, report("?page_token=nonsense").is(422, "invalid_page_token"))
	wantProblem(t, report("?at=99999999").is(422))
	wantProblem(t, report("?as_of=2001-01-01").is(404))
}
