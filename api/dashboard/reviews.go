package dashboard

import (
	"net/http"
	"net/url"
	"time"

	"github.com/a-h/templ"
	"github.com/go-chi/chi/v5"
)

// reviewRoutes are who has access, and the reviews of that.
func (d *Dashboard) reviewRoutes(router chi.Router) {
	router.Get("/dashboard/audit/reviews", d.inTeam(reviewsPage))
	router.Get("/dashboard/audit/reviews/new", d.inTeam(newReviewPage))
	router.Post("/dashboard/audit/reviews/new", d.inTeam(openReview))
	router.Get("/dashboard/audit/reviews/{review}", d.inTeam(reviewPage))
	router.Get("/dashboard/audit/reviews/{review}/people/{user}", d.inTeam(decidePage))
	router.Post("/dashboard/audit/reviews/{review}/people/{user}", d.inTeam(decideReview))
	router.Get("/dashboard/audit/reviews/{review}/close", d.inTeam(closePage))
	router.Post("/dashboard/audit/reviews/{review}/close", d.inTeam(closeReview))
}

// accessReview is an access review and how far it has come.
type accessReview struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Due      *time.Time `json:"due"`
	Status   string     `json:"status"`
	OpenedAt time.Time  `json:"opened_at"`
	OpenedBy logActor   `json:"opened_by"`
	ClosedAt *time.Time `json:"closed_at"`
	ClosedBy *logActor  `json:"closed_by"`
	Progress struct {
		Members   int `json:"members"`
		Kept      int `json:"kept"`
		Removed   int `json:"removed"`
		Left      int `json:"left"`
		Undecided int `json:"undecided"`
	} `json:"progress"`
}

func (r *accessReview) called() string {
	if r.Name == "" {
		return "Access review"
	}
	return r.Name
}

func (r *accessReview) path() string { return "/dashboard/audit/reviews/" + url.PathEscape(r.ID) }

func (r *accessReview) open() bool { return r.Status == "open" }

// personUnderReview is what came of one person.
type personUnderReview struct {
	User      logActor   `json:"user"`
	Role      string     `json:"role"`
	Decision  string     `json:"decision"`
	Note      string     `json:"note"`
	DecidedBy *logActor  `json:"decided_by"`
	DecidedAt *time.Time `json:"decided_at"`
}

// accessLine is what a member has access to and how that came about.
type accessLine struct {
	UserID    string       `json:"user_id"`
	Name      string       `json:"name"`
	Email     string       `json:"email"`
	RoleName  string       `json:"role_name"`
	Sites     []MemberSite `json:"sites"`
	Overrides Overrides    `json:"overrides"`
	LastSeen  *time.Time   `json:"last_sign_in_at"`
	Story     []struct {
		EventID  string    `json:"event_id"`
		Position uint64    `json:"position"`
		At       time.Time `json:"at"`
		Text     string    `json:"text"`
	} `json:"story"`
	Kept *struct {
		By logActor  `json:"by"`
		At time.Time `json:"at"`
	} `json:"kept"`
}

// keyLine is an API key that works.
type keyLine struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	RoleName  string     `json:"role_name"`
	Prefix    string     `json:"prefix"`
	CreatedAt time.Time  `json:"created_at"`
	CreatedBy logActor   `json:"created_by"`
	ExpiresAt *time.Time `json:"expires_at"`
}

type reviewsContent struct {
	reviews Page[accessReview]
	report  *accessReport // nil for a reader who may not have it
	tell    *teller
}

type accessReport struct {
	Page[accessLine]
	Keys []keyLine `json:"api_keys"`
}

func reviewsPage(v *visit) error {
	shown := &reviewsContent{}
	var err error
	if shown.tell, err = v.teller(); err != nil {
		return err
	}
	if err := v.get(v.teamPath("/access-reviews?limit=20"), &shown.reviews); err != nil {
		return err
	}
	if v.team.may("read_audit") {
		shown.report = &accessReport{}
		query := url.Values{"limit": {"50"}, "page_token": {v.r.FormValue("page_token")}}
		if err := v.get(v.teamPath("/access-review?"+query.Encode()), shown.report); err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, reviewsView(v, shown))
}

// running is the review that is open; nil when none is.
func (c *reviewsContent) running() *accessReview {
	if len(c.reviews.Data) > 0 && c.reviews.Data[0].open() {
		return &c.reviews.Data[0]
	}
	return nil
}

func newReviewPage(v *visit) error {
	return v.show(http.StatusOK, newReviewView(v, v.form()))
}

func openReview(v *visit) error {
	form := v.filled()
	body := map[string]any{"name": form.Get("name")}
	if due := form.Get("due"); due != "" {
		body["due"] = logFilter{Zone: form.Get("tz")}.moment(due, true)
	}
	var review accessReview
	if _, err := v.send(http.MethodPost, v.teamPath("/access-reviews"), body, &review); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return newReviewView(v, form) })
	}
	return v.done(review.path(), "The review is open. Go through the members and decide.")
}

// reviewContent is a review with a page of its people.
type reviewContent struct {
	accessReview
	Page[personUnderReview]
	tell *teller
}

func (v *visit) review() (*reviewContent, error) {
	shown := &reviewContent{}
	query := url.Values{"limit": {"100"}, "page_token": {v.r.URL.Query().Get("page_token")}}
	path := v.at("access-reviews", v.part("review")) + "?" + query.Encode()
	if err := v.get(path, &shown.accessReview); err != nil {
		return nil, err
	}
	if err := v.get(path, &shown.Page); err != nil {
		return nil, err
	}
	var err error
	shown.tell, err = v.teller()
	return shown, err
}

func reviewPage(v *visit) error {
	shown, err := v.review()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, reviewView(v, shown))
}

// decidable tells whether the reader may decide on somebody.
func (c *reviewContent) decidable(v *visit, p *personUnderReview) bool {
	return c.open() && v.team.may("remove_member") && p.User.ID != v.me.User.ID && (p.Decision == "undecided" || p.Decision == "kept")
}

// decisionPath is where is decided on a person.
func (r *accessReview) decisionPath(user string) string {
	return r.path() + "/people/" + url.PathEscape(user)
}

// underReview finds one person of a review.
func (v *visit) underReview() (review *accessReview, member *Member, err error) {
	review, member = &accessReview{}, &Member{}
	if err := v.get(v.at("access-reviews", v.part("review"))+"?limit=1", review); err != nil {
		return nil, nil, err
	}
	err = v.get(v.at("members", v.part("user")), member)
	return review, member, err
}

func decidePage(v *visit) error {
	review, member, err := v.underReview()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, decideView(v, review, member, v.form()))
}

func decideReview(v *visit) error {
	form := v.filled()
	review, member, err := v.underReview()
	if err != nil {
		return err
	}
	_, err = v.send(http.MethodPut, v.teamPath("/access-reviews/"+url.PathEscape(review.ID)+"/decisions/"+url.PathEscape(member.UserID)),
		map[string]any{"decision": form.Get("decision"), "note": form.Get("note")}, nil)
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return decideView(v, review, member, form) })
	}
	if form.Get("decision") == "removed" {
		return v.done(review.path(), "Removed. They have lost their access.")
	}
	return v.done(review.path(), "Kept, and on record.")
}

func closePage(v *visit) error {
	shown, err := v.review()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, closeReviewView(v, &shown.accessReview, v.form()))
}

func closeReview(v *visit) error {
	form := v.filled()
	shown, err := v.review()
	if err != nil {
		return err
	}
	if _, err := v.send(http.MethodPost, v.teamPath("/access-reviews/"+url.PathEscape(shown.ID)+"/close"), nil, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return closeReviewView(v, &shown.accessReview, form) })
	}
	return v.done(shown.path(), "The review is closed.")
}

// decisionTone is the colour of a decision.
func decisionTone(decision string) string {
	return map[string]string{"kept": "good", "removed": "bad", "undecided": "warn"}[decision]
}
