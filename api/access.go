package api

import (
	"bytes"
	"context"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"roster/commands"
)

// The access API is OpenID AuthZEN 1.0 (Authorization API 1.0 of the OpenID
// Foundation). Where that specification and the rest of this interface differ,
// it prevails here: a request that isn't as it must be is answered with 400,
// whatever is wrong with it, fields that are not known are ignored, and
// X-Request-ID comes back as it was sent.
const (
	accessPath        = "/access/v1"
	evaluationPath    = accessPath + "/evaluation"
	evaluationsPath   = accessPath + "/evaluations"
	searchPath        = accessPath + "/search/"
	configurationPath = "/.well-known/authzen-configuration"
)

func isAccess(path string) bool {
	return strings.HasPrefix(path, accessPath) || path == configurationPath
}

const aboutAsking = "Whoever is in the team may ask about themselves, and about others who may list members. The operator may ask about every team. " +
	"A team that doesn't exist answers like one that the caller is not in. " +
	"A request that isn't as it must be is answered with 400, as AuthZEN has it, and fields that aren't known are ignored."

func (s *Server) accessOperations() {
	s.ask(operation{
		id: "evaluate-access", path: evaluationPath,
		summary: "May this subject do that?",
		about:   "The answer to a denial is 200 with `decision: false` and the reason. " + aboutAsking,
	}, s.evaluation, evaluationRequest{}, evaluationAnswer{})
	s.ask(operation{
		id: "evaluate-access-batch", path: evaluationsPath, body: maxEvaluationsBody,
		summary: "Up to 1,000 such questions",
		about: "All questions about one team are decided by one and the same state of it. " +
			"A question that can't be answered is denied, with the error in its context; the others are answered all the same. " + aboutAsking,
	}, s.evaluations, evaluationsRequest{}, evaluationsAnswer{})
	s.ask(operation{
		id: "search-subjects", path: searchPath + "subject",
		summary: "Who may do that?",
		about:   "The members, or the API keys, of the resource's team. " + aboutAsking,
	}, s.searching(&subjectSearch), subjectSearchRequest{}, searchAnswer[foundSubject]{})
	s.ask(operation{
		id: "search-resources", path: searchPath + "resource",
		summary: "On what may this subject do that?",
		about: "Roster decides for all resources of a type in one place alike. So the results are the sites on which the subject may do it, " +
			"each as a resource of that type with the id of the site; for a type that belongs to no site, and in a team without sites, " +
			"there is at most one result, with the id of the team. " + aboutAsking,
	}, s.searching(&resourceSearch), resourceSearchRequest{}, searchAnswer[foundResource]{})
	s.ask(operation{
		id: "search-actions", path: searchPath + "action",
		summary: "What may this subject do to that?",
		about:   aboutAsking,
	}, s.searching(&actionSearch), actionSearchRequest{}, searchAnswer[foundAction]{})

	answers(s, operation{
		id: "access-configuration", method: http.MethodGet, path: configurationPath, tag: tagAccess,
		summary: "Where the access API is",
		about:   "The metadata of a policy decision point, as AuthZEN describes them.",
		access:  anyone,
	}, s.accessConfiguration)
}

// answerer answers a question. It is given the body of the request, and adds
// its answer to out.
type answerer func(ctx context.Context, by *commands.Caller, body, out []byte) ([]byte, error)

// ask registers a question. It doesn't go through huma: products ask with
// every request of theirs, so the body is read once and checked by hand.
func (s *Server) ask(o operation, answer answerer, question, answered any) {
	o.method, o.tag, o.access, o.reads = http.MethodPost, tagAccess, authenticated, readsState
	s.describeQuestion(&o, question, answered)
	s.router.Post(o.path, func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		b, _ := questionBuffers.Get().(*questionBuffer)
		out, position, err := s.answer(x, r, b, answer)
		if err != nil {
			writeProblem(w, r, x.refuseQuestion(err))
			return
		}
		header := x.Header()
		header["Content-Type"] = headerJSON
		x.position[0] = strconv.FormatUint(position, 10)
		header["Roster-Position"] = x.position[:]
		_, _ = x.Write(out) // a caller who has hung up is no failure of ours
		b.put(out)
	})
}

func (s *Server) answer(x *exchange, r *http.Request, b *questionBuffer, answer answerer) ([]byte, uint64, error) {
	ctx := r.Context()
	var err error
	if x.caller, err = s.identify(ctx, x, authenticated, s.credential(r)); err != nil {
		return nil, 0, err
	}
	if !isPlainJSON(r.Header.Get("Content-Type")) {
		return nil, 0, humaProblem(http.StatusUnsupportedMediaType, "", nil)
	}
	if err := s.freshState(ctx, r); err != nil {
		return nil, 0, err
	}
	if err := readBodyInto(&b.body, r); err != nil {
		return nil, 0, err
	}
	// Before the answer, which takes account of everything up to here.
	position := s.commands.Position()
	out, err := answer(ctx, &x.caller, b.body.Bytes(), b.out[:0])
	return append(out, '\n'), position, err
}

// questionBuffer is what a question and its answer are held in.
type questionBuffer struct {
	body bytes.Buffer
	out  []byte
}

var questionBuffers = sync.Pool{New: func() any { return &questionBuffer{} }}

// put gives the buffer back, with the space that the answer took.
func (b *questionBuffer) put(out []byte) {
	if cap(out) > maxPooledBuffer || b.body.Cap() > maxPooledBuffer {
		return
	}
	b.body.Reset()
	b.out = out
	questionBuffers.Put(b)
}

// isPlainJSON tells whether a content type is the one that AuthZEN has; one
// that isn't given is taken for it.
func isPlainJSON(contentType string) bool {
	return contentType == headerJSON[0] || isJSON(contentType) && !strings.Contains(contentType, "+")
}

// refuseQuestion is refuse for the access API.
func (x *exchange) refuseQuestion(err error) *Problem {
	p := x.refuse(err)
	if p.Status == http.StatusUnprocessableEntity || p.Status == http.StatusUnsupportedMediaType {
		p.Status, p.Title = http.StatusBadRequest, statusText(http.StatusBadRequest)
	}
	return p
}

var headerJSON = []string{"application/json"}

// describeQuestion adds the operation to the description by hand.
func (s *Server) describeQuestion(o *operation, question, answered any) {
	described := s.describe(o)
	described.Middlewares = nil
	registry := s.api.OpenAPI().Components.Schemas
	schemaOf := func(v any) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{"application/json": {Schema: registry.Schema(reflect.TypeOf(v), true, "")}}
	}
	described.RequestBody = &huma.RequestBody{Required: true, Content: schemaOf(question)}
	described.Responses["200"].Content = schemaOf(answered)
	problem := registry.Schema(reflect.TypeFor[Problem](), true, "")
	described.Errors = append(slices.DeleteFunc(described.Errors, func(status int) bool {
		return status == http.StatusUnprocessableEntity || status == http.StatusUnsupportedMediaType
	}), http.StatusBadRequest)
	for _, status := range described.Errors {
		described.Responses[statusLabel(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
		}
	}
	s.api.OpenAPI().AddOperation(&described)
}

// accessConfiguration says where the access API is. The names are AuthZEN's.
type accessConfiguration struct {
	Point       string `json:"policy_decision_point" doc:"The base URL."`
	Evaluation  string `json:"access_evaluation_endpoint"`
	Evaluations string `json:"access_evaluations_endpoint"`
	Subjects    string `json:"search_subject_endpoint"`
	Resources   string `json:"search_resource_endpoint"`
	Actions     string `json:"search_action_endpoint"`
}

// configurationLifetime is how long the configuration may be kept. It changes
// only when an operator gives Roster another base URL.
const configurationLifetime = time.Hour

func (s *Server) accessConfiguration(_ context.Context, x *exchange, _ *struct{}) (accessConfiguration, error) {
	x.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(configurationLifetime.Seconds())))
	return accessConfiguration{
		Point:       s.link(""),
		Evaluation:  s.link(evaluationPath),
		Evaluations: s.link(evaluationsPath),
		Subjects:    s.link(searchPath + "subject"),
		Resources:   s.link(searchPath + "resource"),
		Actions:     s.link(searchPath + "action"),
	}, nil
}
