package api

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"time"

	"roster/commands"
	"roster/domain"
)

const (
	// maxFound is how many results one page has, and how many one has that asks
	// for no number: most answers are whole that way.
	maxFound = 1_000
	// maxLooked bounds how many candidates are looked at for one page, during
	// which the team can't change: about a millisecond's worth. A page may have
	// few results, or none, and be followed by more.
	maxLooked = 5_000
)

// search is one of the three searches. It gives everything that could be a
// result and lies beyond a place, in order, each with its place.
type search struct {
	name       string
	need       needs
	about      func(q *question) domain.Actor // who the caller asks about
	candidates func(t *domain.Team, q *question, after int, now time.Time) iter.Seq2[int, candidate]
	append     func(out []byte, q *question, id string) []byte
}

// candidate is what could be a result, and the decision that tells whether it
// is one.
type candidate struct {
	id         string
	subject    domain.Actor
	permission domain.Permission
	site       domain.SiteID
}

// anybody is who a search for subjects is about.
func anybody(*question) domain.Actor { return domain.Actor{} }

var (
	subjectSearch = search{
		name: "subject", need: whoIsSearched, about: anybody, candidates: subjects,
		append: func(out []byte, q *question, id string) []byte {
			out = appendText(append(out, `{"type":`...), q.subject.kind)
			return append(appendText(append(out, `,"id":`...), id), '}')
		},
	}
	resourceSearch = search{
		name: "resource", need: whichSearched, about: (*question).actor, candidates: places,
		append: func(out []byte, q *question, id string) []byte {
			out = appendText(append(out, `{"type":`...), q.resource.kind)
			out = appendText(append(out, `,"id":`...), id)
			out = appendText(append(out, `,"properties":{"team":`...), q.resource.team)
			if id != q.resource.team {
				out = appendText(append(out, `,"site":`...), id)
			}
			return append(out, "}}"...)
		},
	}
	actionSearch = search{
		name: "action", need: actionSearched, about: (*question).actor, candidates: actions,
		append: func(out []byte, _ *question, id string) []byte {
			return append(appendText(append(out, `{"name":`...), id), '}')
		},
	}
)

// subjects are the members, or the API keys, of the team.
func subjects(t *domain.Team, q *question, after int, now time.Time) iter.Seq2[int, candidate] {
	permission := q.permission()
	as := func(id string) candidate {
		return candidate{id: id, subject: domain.Actor{Type: domain.ActorType(q.subject.kind), ID: id}, permission: permission, site: q.site()}
	}
	switch domain.ActorType(q.subject.kind) {
	case domain.ActorUser:
		return func(yield func(int, candidate) bool) {
			for place, member := range t.Members(after, now) {
				if !yield(place, as(string(member.User))) {
					return
				}
			}
		}
	case domain.ActorAPIKey:
		keys := t.APIKeys()
		slices.SortFunc(keys, func(a, b *domain.APIKey) int { return cmp.Compare(a.ID, b.ID) })
		return numbered(after, keys, func(key *domain.APIKey) candidate { return as(string(key.ID)) })
	case domain.ActorSystem:
	}
	return none
}

// places are where resources of the type can be. Roster doesn't know a
// product's resources one by one: what it decides holds for all of a type on a
// site, or in the team when the type belongs to no site. So that is what is
// found, under the id of the site or of the team.
func places(t *domain.Team, q *question, after int, _ time.Time) iter.Seq2[int, candidate] {
	found := candidate{id: q.resource.team, subject: q.actor(), permission: q.permission(), site: q.site()}
	resource, ok := t.Catalog().Resource(q.resource.kind)
	if !ok {
		return none
	}
	if !resource.Site || len(t.Sites()) == 0 {
		return numbered(after, []candidate{found}, func(c candidate) candidate { return c })
	}
	sites := t.Sites()
	if q.site() != "" {
		sites = slices.DeleteFunc(slices.Clone(sites), func(site *domain.Site) bool { return site.ID != q.site() })
	}
	return numbered(after, sites, func(site *domain.Site) candidate {
		found.id, found.site = string(site.ID), site.ID
		return found
	})
}

// actions are what can be done to resources of the type.
func actions(t *domain.Team, q *question, after int, _ time.Time) iter.Seq2[int, candidate] {
	resource, _ := t.Catalog().Resource(q.resource.kind)
	return numbered(after, resource.Actions, func(action string) candidate {
		return candidate{id: action, subject: q.actor(), permission: permissionOf(q.resource.kind, action), site: q.site()}
	})
}

func none(func(int, candidate) bool) {}

// numbered gives the items of a list with their numbers, from 1, as places.
func numbered[T any](after int, list []T, as func(T) candidate) iter.Seq2[int, candidate] {
	return func(yield func(int, candidate) bool) {
		for i := after; i < len(list); i++ {
			if !yield(i+1, as(list[i])) {
				return
			}
		}
	}
}

// wanted is the page that a search asks for.
type wanted struct {
	token string
	limit int // negative when it isn't given
	fault *FieldProblem
}

// read takes a member that belongs to no question.
func (p *wanted) read(w *walk, name string) {
	switch {
	case name != "page":
		w.skip()
	case w.null():
	case w.next() == '{':
		w.members(func(name string) { p.member(w, name) })
	default:
		w.skip()
		p.fault = &FieldProblem{Pointer: "/page", Detail: "must be an object"}
	}
}

func (p *wanted) member(w *walk, name string) {
	switch {
	case name != "token" && name != "limit":
		w.skip()
	case w.null():
	case name == "limit":
		limit, err := strconv.ParseUint(w.raw(), 10, 64)
		if err != nil {
			p.fault = &FieldProblem{Pointer: "/page/limit", Detail: "must be a whole number, 0 or more"}
		}
		p.limit = int(min(limit, maxFound))
	case w.next() == '"':
		p.token = w.string()
	default:
		w.skip()
		p.fault = &FieldProblem{Pointer: "/page/token", Detail: "must be text"}
	}
}

// searchCursor is where a page begins: beyond a place. The limit goes with it,
// for a next page that is asked for without one.
type searchCursor struct {
	After int `json:"a"`
	Limit int `json:"l"`
}

// found is a page of results.
type found struct {
	ids  []string
	last int  // place up to which everything was looked at
	more bool // there may be results beyond
}

// look goes through the candidates beyond a place. What is found is at most
// limit results.
func (s *search) look(
	t *domain.Team, q *question, after, limit int, now time.Time, judge func(candidate) (domain.Decision, error),
) (found, error) {
	out := found{last: after}
	looked := 0
	for place, c := range s.candidates(t, q, after, now) {
		if looked++; looked > maxLooked {
			out.more = true
			return out, nil
		}
		decision, err := judge(c)
		if err != nil {
			return out, err
		}
		if decision.Allowed {
			if len(out.ids) == limit {
				out.more = true
				return out, nil
			}
			out.ids = append(out.ids, c.id)
		}
		out.last = place
	}
	return out, nil
}

// searching answers a search with a page of results.
func (s *Server) searching(kind *search) answerer {
	return func(ctx context.Context, by *commands.Caller, body, out []byte) ([]byte, error) {
		w := walk{text: string(body)}
		var q question
		page := wanted{limit: -1}
		w.members(func(name string) {
			if !q.member(&w, name) {
				page.read(&w, name)
			}
		})
		if err := w.finish(); err != nil {
			return nil, err
		}
		faults := q.complete(by, kind.need)
		if page.fault != nil {
			faults = append(faults, *page.fault)
		}
		if faults != nil {
			return nil, badQuestion("#", faults...)
		}
		// The rest of what was asked makes no difference to what is found.
		bound := binding("search", kind.name, q.resource.team, q.resource.site, q.resource.kind, q.subject.kind, q.subject.id, q.action.kind)
		from := searchCursor{Limit: maxFound}
		if page.token != "" {
			if err := unseal(s, page.token, bound, &from); err != nil {
				p := newProblem(http.StatusBadRequest, codePageToken, "The token is not one of this search. Begin again without one.")
				p.at("#/page/token", "is not valid")
				return nil, p
			}
		}
		if page.limit >= 0 {
			from.Limit = page.limit
		}
		var results found
		_, err := s.commands.ViewOwnTeam(ctx, *by, q.team(), func(t *domain.Team, at time.Time) (err error) {
			if err := s.mayAsk(ctx, t, by, kind.about(&q), at); err != nil {
				return err
			}
			results, err = kind.look(t, &q, from.After, from.Limit, at, func(c candidate) (domain.Decision, error) {
				return s.judge(ctx, t, c.subject, c.permission, c.site, at)
			})
			return err
		})
		if err != nil && !errors.Is(err, domain.ErrNotFound) {
			return nil, err
		}
		next := ""
		if results.more {
			if next, err = seal(s, searchCursor{After: results.last, Limit: from.Limit}, bound); err != nil {
				return nil, err
			}
		}
		out = appendText(append(out, `{"page":{"next_token":`...), next)
		out = strconv.AppendInt(append(out, `,"count":`...), int64(len(results.ids)), 10)
		out = append(out, `},"results":[`...)
		for i, id := range results.ids {
			if i > 0 {
				out = append(out, ',')
			}
			out = kind.append(out, &q, id)
		}
		return append(out, "]}"...), nil
	}
}
