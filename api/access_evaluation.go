package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"roster/commands"
	"roster/domain"
)

// judge makes every decision that the access API gives, alone, in a batch or
// in a search.
func (s *Server) judge(
	ctx context.Context, t *domain.Team, subject domain.Actor, permission domain.Permission, site domain.SiteID, at time.Time,
) (domain.Decision, error) {
	return s.commands.Can(ctx, t, subject, permission, site, at)
}

// mayAsk refuses unless the caller may ask what somebody may do: about
// themselves anybody may, about others whoever may list members and has the
// second factor that the team requires.
func (s *Server) mayAsk(ctx context.Context, t *domain.Team, by *commands.Caller, about domain.Actor, at time.Time) error {
	if about == by.Actor {
		return nil
	}
	if err := s.commands.Admit(ctx, *by, t, at); err != nil {
		return err
	}
	return may(t, *by, domain.ActionViewMembers, at)
}

// verdict is the answer to one question.
type verdict struct {
	decision domain.Decision
	fault    *Problem // instead: the question couldn't be answered
}

func (v *verdict) append(out []byte) []byte {
	if v.fault == nil {
		return appendDecision(out, &v.decision)
	}
	encoded, _ := json.Marshal(questionFault{v.fault.Status, v.fault.Code, v.fault.Detail, v.fault.Errors}) // plain texts
	out = append(append(out, `{"decision":false,"context":{"error":`...), encoded...)
	return append(out, "}}"...)
}

// outside is the decision for a team that the caller isn't in or that doesn't
// exist.
var outside = domain.Decision{Reason: domain.ReasonNotMember}

// evaluation answers one question.
func (s *Server) evaluation(ctx context.Context, by *commands.Caller, body, out []byte) ([]byte, error) {
	w := walk{text: string(body)}
	var q question
	q.read(&w)
	if err := w.finish(); err != nil {
		return nil, err
	}
	return s.evaluateOne(ctx, by, &q, out)
}

func (s *Server) evaluateOne(ctx context.Context, by *commands.Caller, q *question, out []byte) ([]byte, error) {
	if found := q.complete(by, whatIsDecided); found != nil {
		return nil, badQuestion("#", found...)
	}
	decision := outside
	_, err := s.commands.ViewOwnTeam(ctx, *by, q.team(), func(t *domain.Team, at time.Time) (err error) {
		if err := s.mayAsk(ctx, t, by, q.actor(), at); err != nil {
			return err
		}
		decision, err = s.judge(ctx, t, q.actor(), q.permission(), q.site(), at)
		return err
	})
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return nil, err
	}
	return appendDecision(out, &decision), nil
}

// semantic says how far a batch is answered.
type semantic string

const (
	executeAll          semantic = "execute_all"
	denyOnFirstDeny     semantic = "deny_on_first_deny"
	permitOnFirstPermit semantic = "permit_on_first_permit"
)

// batch is what a call asks beside its defaults.
type batch struct {
	list     string // of the questions, as it is written
	twice    bool   // there is another one
	semantic semantic
	fault    *FieldProblem
}

// read takes a member that belongs to no question. The list is only read once
// all defaults are known, since those may stand after it.
func (b *batch) read(w *walk, name string) {
	switch {
	case name != "evaluations" && name != "options":
		w.skip()
	case w.null():
	case name == "evaluations":
		b.twice = b.list != ""
		b.list = w.raw()
	case w.next() == '{':
		w.members(func(name string) {
			if name != "evaluations_semantic" {
				w.skip()
			} else if !w.null() {
				b.semantics(w)
			}
		})
	default:
		w.skip()
		b.fault = &FieldProblem{Pointer: "/options", Detail: "must be an object"}
	}
}

func (b *batch) semantics(w *walk) {
	if w.next() == '"' {
		switch b.semantic = semantic(w.string()); b.semantic {
		case executeAll, denyOnFirstDeny, permitOnFirstPermit:
			return
		}
	} else {
		w.skip()
	}
	b.fault = &FieldProblem{
		Pointer: "/options/evaluations_semantic",
		Detail:  fmt.Sprintf("must be one of %s, %s, %s", executeAll, denyOnFirstDeny, permitOnFirstPermit),
	}
}

// questions reads the list. A question takes whole from the defaults what it
// doesn't have itself.
func (b *batch) questions(defaults *question) ([]question, error) {
	if b.list == "" {
		return nil, nil
	}
	w := walk{text: b.list}
	switch {
	case b.twice:
		return nil, badQuestion("#", FieldProblem{Pointer: "/evaluations", Detail: "is given twice"})
	case w.next() != '[':
		return nil, badQuestion("#", FieldProblem{Pointer: "/evaluations", Detail: "must be a list"})
	}
	tooMany := false
	all := make([]question, 0, min(maxEvaluations, len(b.list)/64+1))
	w.items(func() {
		if tooMany = len(all) == maxEvaluations; tooMany {
			w.skip()
			return
		}
		all = append(all, question{})
		q := &all[len(all)-1]
		if w.next() != '{' {
			w.skip()
			q.noObject = true
			return
		}
		q.read(&w)
		q.inherit(defaults)
	})
	switch {
	case tooMany:
		p := newProblem(http.StatusRequestEntityTooLarge, codeBodyTooLarge, fmt.Sprintf("One call asks %d questions at most.", maxEvaluations))
		p.at("#/evaluations", fmt.Sprintf("must have at most %d items", maxEvaluations))
		return nil, p
	case b.fault != nil && len(all) > 0:
		return nil, badQuestion("#", *b.fault)
	}
	return all, nil
}

// evaluations answers a list of questions, or one when there is no list.
func (s *Server) evaluations(ctx context.Context, by *commands.Caller, body, out []byte) ([]byte, error) {
	w := walk{text: string(body)}
	var defaults question
	var b batch
	w.members(func(name string) {
		if !defaults.member(&w, name) {
			b.read(&w, name)
		}
	})
	if err := w.finish(); err != nil {
		return nil, err
	}
	questions, err := b.questions(&defaults)
	if err != nil {
		return nil, err
	}
	if len(questions) == 0 {
		return s.evaluateOne(ctx, by, &defaults, out)
	}
	verdicts, err := s.evaluateAll(ctx, by, questions)
	if err != nil {
		return nil, err
	}
	out = append(out, `{"evaluations":[`...)
	for i := range verdicts {
		if i > 0 {
			out = append(out, ',')
		}
		out = verdicts[i].append(out)
		if b.semantic == denyOnFirstDeny && !verdicts[i].decision.Allowed || b.semantic == permitOnFirstPermit && verdicts[i].decision.Allowed {
			break
		}
	}
	return append(out, "]}"...), nil
}

// evaluateAll answers every question. All that are about one team are answered
// in one look at it, so by one and the same state.
func (s *Server) evaluateAll(ctx context.Context, by *commands.Caller, questions []question) ([]verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout) // any number of teams may have to be loaded
	defer cancel()
	verdicts := make([]verdict, len(questions))
	byTeam := make([]int, 0, len(questions)) // indexes of the questions, those about one team together
	for i := range questions {
		if found := questions[i].complete(by, whatIsDecided); found != nil {
			verdicts[i].fault = badQuestion("#/evaluations/"+strconv.Itoa(i), found...)
			continue
		}
		byTeam = append(byTeam, i)
	}
	slices.SortStableFunc(byTeam, func(a, b int) int { return strings.Compare(questions[a].resource.team, questions[b].resource.team) })

	for len(byTeam) > 0 {
		team := questions[byTeam[0]].team()
		n := 1
		for n < len(byTeam) && questions[byTeam[n]].team() == team {
			n++
		}
		same := byTeam[:n]
		byTeam = byTeam[n:]
		_, err := s.commands.ViewOwnTeam(ctx, *by, team, func(t *domain.Team, at time.Time) error {
			var refusal error
			for _, i := range same {
				q := &questions[i]
				if err := s.mayAsk(ctx, t, by, q.actor(), at); err != nil {
					refusal = err
					verdicts[i] = verdict{fault: asProblem(err)}
					continue
				}
				decision, err := s.judge(ctx, t, q.actor(), q.permission(), q.site(), at)
				if err != nil {
					return err
				}
				verdicts[i] = verdict{decision: decision}
			}
			return refusal
		})
		switch {
		case err == nil, errors.Is(err, domain.ErrNotPermitted), errors.Is(err, domain.ErrTwoFactorRequired): // said with each question
		case errors.Is(err, domain.ErrNotFound):
			for _, i := range same {
				verdicts[i] = verdict{decision: outside}
			}
		default:
			return nil, err
		}
	}
	return verdicts, nil
}
