package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"roster/commands"
	"roster/domain"
)

// freshness says what an operation reads, which is what Roster-At-Least waits
// for.
type freshness int

const (
	readsNothing freshness = iota // a write
	readsState                    // aggregates in memory
	readsModel                    // read models
)

// operation describes one operation: what the API description says of it and
// what gate does before it runs.
type operation struct {
	id      string // of the operation, in the description
	method  string
	path    string
	tag     string
	summary string
	about   string // more than the summary says; may be empty

	status    int         // of success; 0 for 200, or 204 without a body
	also      map[int]any // where there are several statuses of success: the body of each
	access    access
	reads     freshness
	errors    []int // statuses that follow from the operation alone; gate's own are added
	unbounded bool  // takes as long as it takes: an export
	oneFactor bool  // also for a member who lacks the second factor that the team requires
	body      int64 // bytes that a body may have; 0 for maxBody

	// content are the media types of an answer that isn't JSON.
	content []string

	parameters []parameter // of the path; filled in by register
}

// parameter is a part of the path and what it must look like.
type parameter struct {
	name   string
	prefix string // of the id; empty for a token
}

// idAfter says which ids stand behind a part of a path that ends in {id}.
var idAfter = map[string]string{
	"sessions":            domain.PrefixSession,
	"invitations":         domain.PrefixInvitation,
	"api-keys":            domain.PrefixAPIKey,
	"ownership-transfers": domain.PrefixTransfer,
	"passkeys":            domain.PrefixPasskey,
	"access-reviews":      domain.PrefixReview,
}

func (o *operation) pathParameters() (found []parameter) {
	parts := strings.Split(o.path, "/")
	for i, part := range parts {
		name, ok := strings.CutPrefix(part, "{")
		if !ok {
			continue
		}
		p := parameter{name: strings.TrimSuffix(name, "}")}
		switch p.name {
		case "team":
			p.prefix = domain.PrefixTeam
		case "user":
			p.prefix = domain.PrefixUser
		case "site":
			p.prefix = domain.PrefixSite
		case "id":
			p.prefix = idAfter[parts[i-1]]
		}
		found = append(found, p)
	}
	return found
}

// maxToken bounds a token in a path; an invitation's has 86 characters.
const maxToken = 200

// wellFormed tells whether a path's parameter could name anything at all.
// What couldn't is answered like what doesn't exist, so that no form of an id
// tells more than another.
func (p parameter) wellFormed(value string) bool {
	if p.prefix != "" {
		return domain.ValidID(p.prefix, value)
	}
	if value == "" || len(value) > maxToken {
		return false
	}
	for i := range len(value) {
		switch c := value[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

func (o *operation) write() bool { return o.method != http.MethodGet && o.reads == readsNothing }

// statusOf is the status of an answer, which may say it itself.
func (o *operation) statusOf(body any) int {
	if own, ok := body.(interface{ status() int }); ok {
		return own.status()
	}
	return cmp.Or(o.status, http.StatusOK)
}

// answers registers an operation that answers with a body. For huma it is one
// that writes its answer by itself. Huma would look up by reflection what is
// known here, choose among forms of JSON of which there is one, and not say how
// long the answer is.
func answers[I, T any](s *Server, o operation, handle func(context.Context, *exchange, *I) (T, error)) {
	described := s.describe(&o)
	s.describeAnswer(&described, reflect.TypeFor[T]())
	huma.Register(s.api, described, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		x := exchangeOf(ctx)
		view, err := handle(ctx, x, in)
		if err != nil {
			return nil, x.refuse(err)
		}
		var body any = view // so that it is put on the heap once
		out, err := encodeJSON(body)
		if err != nil {
			return nil, x.refuse(err)
		}
		status := o.statusOf(body)
		return &huma.StreamResponse{Body: func(huma.Context) { out.send(x, status) }}, nil
	})
}

// describeAnswer says what the body of an answer is, unless that has been said.
func (s *Server) describeAnswer(described *huma.Operation, body reflect.Type) {
	schema := s.api.OpenAPI().Components.Schemas.Schema(body, true, described.OperationID+"Response")
	success := described.Responses[strconv.Itoa(described.DefaultStatus)]
	if success.Content == nil {
		success.Content = map[string]*huma.MediaType{"application/json": {Schema: schema}}
	}
}

// acts registers an operation that answers without a body.
func acts[I any](s *Server, o operation, handle func(context.Context, *exchange, *I) error) {
	if o.status == 0 {
		o.status = http.StatusNoContent
	}
	huma.Register(s.api, s.describe(&o), func(ctx context.Context, in *I) (*struct{}, error) {
		x := exchangeOf(ctx)
		if err := handle(ctx, x, in); err != nil {
			return nil, x.refuse(err)
		}
		return nil, nil
	})
}

// streams registers an operation that writes its answer piece by piece. Until
// the first piece it may refuse.
func streams[I any](s *Server, o operation, handle func(context.Context, *exchange, *I) (func(huma.Context), error)) {
	huma.Register(s.api, s.describe(&o), func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		x := exchangeOf(ctx)
		body, err := handle(ctx, x, in)
		if err != nil {
			return nil, x.refuse(err)
		}
		return &huma.StreamResponse{Body: body}, nil
	})
}

// answersOr registers an operation that answers with a body or, where the
// caller asks for that, piece by piece like streams. handle gives one of them.
func answersOr[I, T any](s *Server, o operation, handle func(context.Context, *exchange, *I) (*T, func(huma.Context), error)) {
	described := s.describe(&o)
	registry := s.api.OpenAPI().Components.Schemas
	described.Responses[strconv.Itoa(http.StatusOK)].Content["application/json"] = &huma.MediaType{Schema: registry.Schema(reflect.TypeFor[T](), true, "")}
	huma.Register(s.api, described, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		x := exchangeOf(ctx)
		body, write, err := handle(ctx, x, in)
		if err != nil {
			return nil, x.refuse(err)
		}
		if body != nil {
			out, err := encodeJSON(body)
			if err != nil {
				return nil, x.refuse(err)
			}
			write = func(huma.Context) { out.send(x, http.StatusOK) }
		}
		return &huma.StreamResponse{Body: write}, nil
	})
}

// refuse makes any error the answer, and keeps what only the log may know.
func (x *exchange) refuse(err error) *Problem {
	p := asProblem(err)
	if p.Status >= http.StatusInternalServerError {
		x.failure = err
	}
	p.RequestID = x.id
	return p
}

// gate is what happens before the body is even read: who is it, could the
// path name anything, are they in the team, is what they want to read fresh
// enough. A write with an idempotency key is looked up as soon as it is known
// whose it is, so that a repetition gets its answer again even if the request
// itself has changed what the caller may see.
func (s *Server) gate(o *operation) func(huma.Context, func(huma.Context)) {
	team := slices.ContainsFunc(o.parameters, func(p parameter) bool { return p.name == "team" })
	return func(hctx huma.Context, next func(huma.Context)) {
		r, w := humachi.Unwrap(hctx)
		ctx := r.Context()
		if !o.unbounded {
			bounded, cancel := context.WithTimeout(ctx, requestTimeout)
			defer cancel()
			ctx = bounded
		}
		x := exchangeOf(ctx)
		run := func(ctx context.Context) {
			if err := s.admit(ctx, x, hctx, r, o, team); err != nil {
				writeProblem(w, r, x.refuse(err))
				return
			}
			next(huma.WithContext(hctx, ctx))
		}
		presented := s.credential(r)
		var err error
		if x.caller, err = s.caller(ctx, x, r, o.access, presented); err == nil {
			var key string
			if o.write() {
				key, err = idempotencyKey(r)
			}
			switch {
			case err != nil:
			case key != "":
				err = s.onlyOnce(ctx, x, r, presented.scope(), key, run)
			default:
				run(ctx)
			}
		}
		if err != nil {
			writeProblem(w, r, x.refuse(err))
		}
	}
}

// admit refuses what the path or the headers of a request rule out.
func (s *Server) admit(ctx context.Context, x *exchange, hctx huma.Context, r *http.Request, o *operation, team bool) (err error) {
	for _, p := range o.parameters {
		if !p.wellFormed(hctx.Param(p.name)) {
			return notFound()
		}
	}
	var in domain.TeamID
	if team {
		in = domain.TeamID(hctx.Param("team"))
		view := s.commands.ViewTeam
		if o.oneFactor {
			view = s.commands.ViewOwnTeam
		}
		_, err := view(ctx, x.caller, in, anyMember)
		if errors.Is(err, domain.ErrNotFound) && o.write() && commands.Recovering(ctx) {
			err = nil // it may have left or deleted the team; the command knows
		}
		if err != nil {
			return err
		}
	}
	if o.write() {
		if x.caller.IfMatch, err = parseIfMatch(r); err != nil {
			return err
		}
	}
	switch o.reads {
	case readsState:
		return s.freshState(ctx, r)
	case readsModel:
		return s.freshModel(ctx, x, r, in)
	case readsNothing:
	}
	return nil
}

// anyMember asks for nothing more than being in the team.
func anyMember(*domain.Team, time.Time) error { return nil }

// may refuses unless the caller may do an action of Roster's in the team. The
// operator may look at everything.
func may(t *domain.Team, caller commands.Caller, action domain.Action, at time.Time) error {
	if caller.Actor == domain.Operator || t.May(caller.Actor, action, at).Allowed {
		return nil
	}
	return domain.ErrNotPermitted
}

// describe makes the entry of an operation in the API description, and puts
// gate before it.
func (s *Server) describe(o *operation) huma.Operation {
	o.parameters = o.pathParameters()
	if o.body == 0 {
		o.body = maxBody
	} else {
		s.largeBodies[o.path[strings.LastIndexByte(o.path, '}')+1:]] = o.body
	}
	status := o.status
	if status == 0 {
		status = http.StatusOK
	}
	described := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Tags: []string{o.tag},
		Summary: o.summary, Description: o.about,
		DefaultStatus:                status,
		MaxBodyBytes:                 o.body + 1, // huma refuses a body that reaches the limit
		BodyReadTimeout:              requestTimeout,
		RejectUnknownQueryParameters: true,
		Middlewares:                  huma.Middlewares{s.gate(o)},
		Security:                     securityOf[o.access],
		Parameters:                   headerParameters(o),
		Responses: map[string]*huma.Response{
			strconv.Itoa(status): {Description: http.StatusText(status), Headers: answerHeaders(o)},
		},
	}
	if len(o.content) > 0 {
		content := map[string]*huma.MediaType{}
		for _, media := range o.content {
			content[media] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
		}
		described.Responses[strconv.Itoa(status)].Content = content
	}
	registry := s.api.OpenAPI().Components.Schemas
	for status, body := range o.also {
		described.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status), Headers: answerHeaders(o),
			Content: map[string]*huma.MediaType{"application/json": {Schema: registry.Schema(reflect.TypeOf(body), true, "")}},
		}
	}
	statuses := append([]int{http.StatusUnprocessableEntity, http.StatusServiceUnavailable}, o.errors...)
	if o.access >= signedIn {
		statuses = append(statuses, http.StatusUnauthorized, http.StatusForbidden)
	} else if o.access == maybeSignedIn {
		statuses = append(statuses, http.StatusUnauthorized)
	}
	if len(o.parameters) > 0 {
		statuses = append(statuses, http.StatusNotFound)
	}
	if o.write() {
		statuses = append(statuses, http.StatusForbidden, http.StatusConflict, http.StatusPreconditionFailed)
	}
	if o.method != http.MethodGet {
		statuses = append(statuses, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	slices.Sort(statuses)
	described.Errors = slices.Compact(statuses)
	return described
}
