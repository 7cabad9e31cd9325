package api

import (
	"context"
	"net/http"
	"time"

	"roster/commands"
	"roster/domain"
)

type ReviewPath struct {
	TeamPath
	ID domain.ReviewID `path:"id" maxLength:"64" doc:"Of the access review."`
}

type openReviewInput struct {
	TeamPath
	Body struct {
		Name string     `json:"name,omitempty" maxLength:"400" example:"First quarter"`
		Due  *time.Time `json:"due,omitempty" maxLength:"64" doc:"For people to know; nothing happens then."`
	}
}

type listReviewsInput struct {
	TeamPath
	PageQuery
}

type getReviewInput struct {
	ReviewPath
	PageQuery
}

type decideInput struct {
	ReviewPath
	User domain.UserID `path:"user" maxLength:"64" doc:"Of the member."`
	Body struct {
		Decision domain.ReviewDecision `json:"decision" enum:"kept,removed" doc:"removed removes the member at once."`
		Note     string                `json:"note,omitempty" maxLength:"1000" doc:"Why; one line of at most 500 characters."`
	}
}

// reviewView is an access review and how far it has come.
type reviewView struct {
	ID       domain.ReviewID `json:"id"`
	Name     string          `json:"name"`
	Due      *time.Time      `json:"due"`
	Status   string          `json:"status" enum:"open,closed"`
	OpenedAt time.Time       `json:"opened_at"`
	OpenedBy personView      `json:"opened_by"`
	ClosedAt *time.Time      `json:"closed_at"`
	ClosedBy *personView     `json:"closed_by"`
	Progress progressView    `json:"progress"`
}

// progressView counts the members under review.
type progressView struct {
	Members   int `json:"members" doc:"When it was opened; the sum of the others."`
	Kept      int `json:"kept"`
	Removed   int `json:"removed"`
	Left      int `json:"left" doc:"Who left the team, or were removed otherwise, before anything was decided."`
	Undecided int `json:"undecided" doc:"Still to be decided on while it is open."`
}

// reviewPage is a review with a page of its people.
type reviewPage struct {
	reviewView
	Data []reviewedView `json:"data" nullable:"false" doc:"In the order of joining."`
	Page page           `json:"page"`
}

// reviewedView is what came of one person.
type reviewedView struct {
	User      personView     `json:"user"`
	Role      domain.RoleKey `json:"role,omitempty" doc:"Absent for one who isn't in the team any more."`
	Decision  string         `json:"decision" enum:"kept,removed,undecided,left,joined" doc:"left: left the team, or was removed otherwise, before anything was decided. joined: joined after the review was opened, and isn't part of it."`
	Note      string         `json:"note,omitempty"`
	DecidedBy *personView    `json:"decided_by"`
	DecidedAt *time.Time     `json:"decided_at"`
	EventID   domain.EventID `json:"event_id,omitempty" doc:"Of the decision, in the audit log."`
	LeftAt    *time.Time     `json:"left_at" doc:"When they left or were removed; null for one who is in the team."`
}

func (s *Server) reviewOperations() {
	const who = "For those who may read the audit log or remove members."
	answersOr(s, operation{
		id: "report-access", method: http.MethodGet, path: "/v1/teams/{team}/access-review", tag: tagReviews,
		summary: "Who has access, and how that came about",
		about: "Every member and every API key that works, now or at a past moment. " +
			"In CSV, a cell that a spreadsheet would take for a formula begins with an apostrophe; a file that can't be finished is cut off.",
		access: authenticated, reads: readsModel, unbounded: true, content: []string{"text/csv"},
	}, s.accessReport)
	answers(s, operation{
		id: "open-access-review", method: http.MethodPost, path: "/v1/teams/{team}/access-reviews", tag: tagReviews,
		summary: "Open an access review",
		about:   "Of the members as they are now, by somebody who may remove members. One is open at a time.",
		status:  http.StatusCreated, access: authenticated,
	}, s.openReview)
	answers(s, operation{
		id: "list-access-reviews", method: http.MethodGet, path: "/v1/teams/{team}/access-reviews", tag: tagReviews,
		summary: "List access reviews", about: "Newest first. " + who, access: authenticated, reads: readsState,
	}, s.listReviews)
	answers(s, operation{
		id: "get-access-review", method: http.MethodGet, path: "/v1/teams/{team}/access-reviews/{id}", tag: tagReviews,
		summary: "An access review, person by person",
		about:   "Of a closed one, as it was when it was closed. " + who, access: authenticated, reads: readsState,
	}, s.getReview)
	answers(s, operation{
		id: "decide-access", method: http.MethodPut, path: "/v1/teams/{team}/access-reviews/{id}/decisions/{user}", tag: tagReviews,
		summary: "Keep or remove a member",
		about: "`removed` removes the member in the same change, by the rules of removing. Nobody decides on themselves, and the owner can only be kept. " +
			"Refusals: `access_review_closed`, `not_reviewed`, `cannot_review_self`, and those of removing.",
		access: authenticated,
	}, s.decideReview)
	answers(s, operation{
		id: "close-access-review", method: http.MethodPost, path: "/v1/teams/{team}/access-reviews/{id}/close", tag: tagReviews,
		summary: "Close an access review", about: "Members of whom nothing was decided stay, and are on record as undecided.", access: authenticated,
	}, s.closeReview)
}

// naming finds out what an actor is called.
type naming func(context.Context, domain.Actor) (personView, error)

// namesNow gives the present names of whoever acts in a team.
func (s *Server) namesNow(x *exchange, team domain.TeamID) naming {
	return func(ctx context.Context, actor domain.Actor) (personView, error) {
		view := personView{Type: actor.Type, ID: actor.ID}
		var err error
		switch actor.Type {
		case domain.ActorUser:
			var person commands.Account
			person, err = s.commands.AccountNow(ctx, domain.UserID(actor.ID))
			view.Name, view.Email = person.Name, person.Email
		case domain.ActorAPIKey:
			_, err = s.commands.ViewTeam(ctx, x.caller, team, func(t *domain.Team, _ time.Time) error {
				if key, ok := t.APIKey(domain.APIKeyID(actor.ID)); ok {
					view.Name = key.Name
				}
				return nil
			})
		case domain.ActorSystem: // has no name
		}
		return view, err
	}
}

func viewReview(ctx context.Context, r *domain.Review, name naming) (view reviewView, err error) {
	view = reviewView{
		ID: r.ID, Name: r.Name, Due: r.Due, Status: "open", OpenedAt: r.Opened.At, ClosedAt: optional(r.Closed.At),
		Progress: progressView{Members: r.Members, Kept: r.Kept, Removed: r.Removed, Left: r.Left, Undecided: r.Undecided()},
	}
	if view.OpenedBy, err = name(ctx, r.Opened.By); err != nil || r.Open() {
		return view, err
	}
	by, err := name(ctx, r.Closed.By)
	view.Status, view.ClosedBy = "closed", &by
	return view, err
}

func (s *Server) viewReviewed(ctx context.Context, review domain.ReviewID, one domain.Reviewed, name naming) (reviewedView, error) {
	view := reviewedView{Role: one.Role, Decision: "undecided", LeftAt: optional(one.Left)}
	switch {
	case one.Joined:
		view.Decision = "joined"
	case one.Verdict.Decision != "":
		view.Decision = string(one.Verdict.Decision)
	case !one.Left.IsZero():
		view.Decision = "left"
	}
	var err error
	if view.User, err = name(ctx, domain.ByUser(one.User)); err != nil || one.Verdict.Decision == "" {
		return view, err
	}
	by, err := name(ctx, one.Verdict.Given.By)
	if err != nil {
		return view, err
	}
	view.DecidedBy, view.DecidedAt, view.EventID = &by, optional(one.Verdict.Given.At), one.Verdict.Given.Event
	view.Note, err = s.commands.Note(ctx, review, one.User, one.Verdict)
	return view, err
}

// mayReview refuses whoever may neither read the audit log nor remove members.
func mayReview(t *domain.Team, caller commands.Caller, at time.Time) error {
	if may(t, caller, domain.ActionRemoveMember, at) == nil {
		return nil
	}
	return may(t, caller, domain.ActionReadAudit, at)
}

func (s *Server) openReview(ctx context.Context, x *exchange, in *openReviewInput) (reviewView, error) {
	id, done, err := s.commands.OpenReview(ctx, x.caller, in.Team, in.Body.Name, in.Body.Due)
	if err != nil {
		return reviewView{}, err
	}
	return s.reviewNow(ctx, x, in.Team, id, done)
}

func (s *Server) closeReview(ctx context.Context, x *exchange, in *ReviewPath) (reviewView, error) {
	done, err := s.commands.CloseReview(ctx, x.caller, in.Team, in.ID)
	if err != nil {
		return reviewView{}, err
	}
	return s.reviewNow(ctx, x, in.Team, in.ID, done)
}

// reviewNow answers a change to a review.
func (s *Server) reviewNow(ctx context.Context, x *exchange, team domain.TeamID, id domain.ReviewID, done commands.Done) (reviewView, error) {
	s.wrote(x, x.caller.User, done)
	var review domain.Review
	_, err := s.commands.ViewTeam(ctx, x.caller, team, func(t *domain.Team, now time.Time) error {
		found, ok := t.Review(id)
		if !ok {
			return domain.ErrNotFound
		}
		review = t.Standing(found, now)
		return nil
	})
	if err != nil {
		return reviewView{}, err
	}
	return viewReview(ctx, &review, s.namesNow(x, team))
}

func (s *Server) listReviews(ctx context.Context, x *exchange, in *listReviewsInput) (list[reviewView], error) {
	var none list[reviewView]
	bound := binding("access reviews", string(in.Team))
	before, err := openPageToken[int](s, in.PageToken, bound) // how many older ones there are
	if err != nil {
		return none, err
	}
	var found []domain.Review // newest first
	done, err := s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, at time.Time) error {
		if err := mayReview(t, x.caller, at); err != nil {
			return err
		}
		reviews := t.Reviews()
		if before == 0 || before > len(reviews) {
			before = len(reviews)
		}
		found = found[:0]
		for len(found) < in.Limit && before > len(found) {
			found = append(found, t.Standing(reviews[before-len(found)-1], at))
		}
		before -= len(found)
		return nil
	})
	if err != nil {
		return none, err
	}
	x.stands(done)
	name := s.namesNow(x, in.Team)
	views := make([]reviewView, len(found))
	for i := range found {
		if views[i], err = viewReview(ctx, &found[i], name); err != nil {
			return none, err
		}
	}
	token, err := pageToken(s, before, bound)
	return newList(views, token), err
}

// reviewed is a page of the people of a review.
type reviewed struct {
	review domain.Review
	people []domain.Reviewed
	last   int // the place after which the next page begins; 0 for none
}

// read takes a page out of a team as it is, or was when the review was closed.
func (r *reviewed) read(t *domain.Team, now time.Time, id domain.ReviewID, after, limit int) error {
	found, ok := t.Review(id)
	if !ok {
		return domain.ErrNotFound
	}
	*r = reviewed{review: t.Standing(found, now)}
	place := 0
	for next, one := range t.UnderReview(after, now) {
		if len(r.people) == limit {
			r.last = place
			break
		}
		r.people, place = append(r.people, one), next
	}
	return nil
}

func (s *Server) getReview(ctx context.Context, x *exchange, in *getReviewInput) (reviewPage, error) {
	var none reviewPage
	bound := binding("access review", string(in.Team), string(in.ID))
	after, err := openPageToken[int](s, in.PageToken, bound)
	if err != nil {
		return none, err
	}
	var now reviewed
	done, err := s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, at time.Time) error {
		if err := mayReview(t, x.caller, at); err != nil {
			return err
		}
		return now.read(t, at, in.ID, after, in.Limit)
	})
	if err != nil {
		return none, err
	}
	name := s.namesNow(x, in.Team)
	if closed := now.review.Closed.Position; closed > 0 {
		then, err := s.commands.TeamAt(ctx, x.caller, in.Team, commands.Moment{Position: closed})
		if err != nil {
			return none, err
		}
		if err := now.read(then.Team, then.At, in.ID, after, in.Limit); err != nil {
			return none, err
		}
		name = func(ctx context.Context, actor domain.Actor) (personView, error) {
			return s.personThen(ctx, then, actor)
		}
	}
	x.stands(done)
	out := reviewPage{Data: make([]reviewedView, len(now.people))}
	if out.reviewView, err = viewReview(ctx, &now.review, name); err != nil {
		return none, err
	}
	for i, one := range now.people {
		if out.Data[i], err = s.viewReviewed(ctx, in.ID, one, name); err != nil {
			return none, err
		}
	}
	out.Page.NextToken, err = pageToken(s, now.last, bound)
	return out, err
}

func (s *Server) decideReview(ctx context.Context, x *exchange, in *decideInput) (reviewedView, error) {
	done, err := s.commands.DecideReview(ctx, x.caller, in.Team, in.ID, in.User, in.Body.Decision, in.Body.Note)
	if err != nil {
		return reviewedView{}, err
	}
	s.wrote(x, x.caller.User, done)
	var one domain.Reviewed
	_, err = s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, now time.Time) error {
		var ok bool
		if one, ok = t.Reviewed(in.User, now); !ok {
			return domain.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return reviewedView{}, err
	}
	return s.viewReviewed(ctx, in.ID, one, s.namesNow(x, in.Team))
}
