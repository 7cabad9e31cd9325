package dashboard_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// A review goes through the members: kept with a note, removed at once, left
// undecided; and what came of it is on record.
func TestAccessReview(t *testing.T) {
	h := busy(t)
	b := h.browse().signIn(h.ada).open("/dashboard/audit").press("Access reviews").
		sees("No review yet", "Who has access", "Grace Murray", "Invited as Operator", "API keys that work", "Shop").looks("reviews")
	b.press("Start a review").fill("Name", "Autumn").press("Start").sees("Autumn", "0 of 3 decided", "Somebody else decides on you").looks("review")

	b.press("Decide on Grace Murray").sees("Keep or remove").write("Note", "Runs the night shift").looks("review-decide").press("Keep").
		sees("1 of 3 decided", "Runs the night shift")
	b.press("Decide on <script>").press("Remove").sees("2 of 3 decided")
	b.press("Finish").sees("1 member is still undecided").press("Finish").sees("· closed").looks("review-closed")
	if text := b.text(); strings.Contains(text, "Decide on") {
		t.Errorf("a closed review can be decided on:\n%s", text)
	}
	b.open("/dashboard/audit/reviews").sees("Closed", "2 of 3", "Start a review")
	b.open("/dashboard/audit").sees("Ada Lovelace reviewed Grace Murray’s access and kept it", "closed the access review")
	// Who may not review has no page of it.
	h.browse().enter(h.grace, "/dashboard/audit/reviews").sees("Not permitted")
}

// write types into the field with a label that is still empty.
func (b *tab) write(label, text string) *tab {
	b.t.Helper()
	b.do(chromedp.WaitVisible(labelled(label)), chromedp.SendKeys(labelled(label), text))
	return b
}
