package api

import (
	"fmt"
	"net/http"
	"unicode/utf8"

	"roster/commands"
	"roster/domain"
)

// Bounds of what is asked.
const (
	// maxQuestionText bounds a type, a name or an id in a question. Roster's own
	// are shorter; a product's ids may be whatever it likes, such as URLs.
	maxQuestionText = 1024
	// maxEvaluations is how many questions one call may ask, and
	// maxEvaluationsBody a body that holds them at a kilobyte each.
	maxEvaluations     = 1_000
	maxEvaluationsBody = 1 << 20
)

// question is what is asked for one decision, or for one search.
type question struct {
	subject, action, resource, context entity

	noObject bool // it is something else
}

// entity is a subject, an action, a resource or a context as it was asked
// about: what Roster goes by of it, and what is wrong with it. Whether that
// matters depends on what is asked.
type entity struct {
	given, wrong, twice fields

	kind       string // the type; the name of an action
	id         string
	team, site string // among the properties
}

// fields is a set of the fields of an entity.
type fields uint8

const (
	wholeField fields = 1 << iota // the entity itself
	kindField
	idField
	propertiesField
	teamField
	siteField
)

// set notes that a field is there, and tells whether it is of the right type.
// A null is as good as nothing. A field that is there twice might be read one
// way here and the other way by whoever has passed the question on, so it is
// an error.
func (e *entity) set(w *walk, field fields, first byte) bool {
	if w.null() {
		return false
	}
	if e.given&field != 0 {
		e.twice |= field
	}
	e.given |= field
	if w.next() != first {
		e.wrong |= field
		w.skip()
		return false
	}
	return true
}

func (e *entity) text(w *walk, field fields, into *string) {
	if e.set(w, field, '"') {
		*into = w.string()
	}
}

// read takes an entity whose kind has the given name.
func (e *entity) read(w *walk, kind string) {
	twice := e.given&wholeField != 0
	*e = entity{}
	if !e.set(w, wholeField, '{') {
		return
	}
	if twice {
		e.twice |= wholeField
	}
	w.members(func(name string) {
		switch name {
		case kind:
			e.text(w, kindField, &e.kind)
		case "id":
			e.text(w, idField, &e.id)
		case "properties":
			if e.set(w, propertiesField, '{') {
				e.properties(w)
			}
		default:
			w.skip()
		}
	})
}

func (e *entity) properties(w *walk) {
	w.members(func(name string) {
		switch name {
		case "team":
			e.text(w, teamField, &e.team)
		case "site":
			e.text(w, siteField, &e.site)
		default:
			w.skip()
		}
	})
}

// member takes a member of a question, and tells whether it is one.
func (q *question) member(w *walk, name string) bool {
	switch name {
	case "subject":
		q.subject.read(w, "type")
	case "action":
		q.action.read(w, "name")
	case "resource":
		q.resource.read(w, "type")
	case "context":
		q.context.read(w, "")
	default:
		return false
	}
	return true
}

// read takes a question of which nothing else matters.
func (q *question) read(w *walk) {
	w.members(func(name string) {
		if !q.member(w, name) {
			w.skip()
		}
	})
}

// inherit takes whole what the question doesn't have itself.
func (q *question) inherit(defaults *question) {
	for _, part := range [...]struct{ own, from *entity }{
		{&q.subject, &defaults.subject}, {&q.action, &defaults.action},
		{&q.resource, &defaults.resource}, {&q.context, &defaults.context},
	} {
		if part.own.given == 0 {
			*part.own = *part.from
		}
	}
}

// faults adds what is wrong with an entity at a place: fields that are required
// and missing, and fields that are looked at and not as they must be.
func (e *entity) faults(found []FieldProblem, at, kind string, required, looked fields) []FieldProblem {
	if e.given&wholeField == 0 {
		if required != 0 {
			found = append(found, FieldProblem{Pointer: at, Detail: "is required"})
		}
		return found
	}
	looked |= required | wholeField
	if (e.wrong|e.twice)&looked == 0 && len(e.kind)+len(e.id)+len(e.team)+len(e.site) <= maxQuestionText &&
		(e.kind != "" || required&kindField == 0) && (e.id != "" || required&idField == 0) {
		return found // as nearly always
	}
	for _, field := range [...]struct {
		field fields
		name  string
		text  string
	}{
		{wholeField, "", "{"},
		{kindField, kind, e.kind},
		{idField, "/id", e.id},
		{propertiesField, "/properties", "{"},
		{teamField, "/properties/team", e.team},
		{siteField, "/properties/site", e.site},
	} {
		detail := ""
		switch {
		case looked&field.field == 0:
		case e.twice&field.field != 0:
			detail = "is given twice"
		case e.wrong&field.field != 0 && field.text == "{":
			detail = "must be an object"
		case e.wrong&field.field != 0:
			detail = "must be text"
		case e.wrong&wholeField != 0: // and there is nothing in it
		case required&field.field != 0 && field.text == "":
			detail = "is required"
		case len(field.text) > maxQuestionText && utf8.RuneCountInString(field.text) > maxQuestionText:
			detail = fmt.Sprintf("must have at most %d characters", maxQuestionText)
		}
		if detail != "" {
			found = append(found, FieldProblem{Pointer: at + field.name, Detail: detail})
		}
	}
	return found
}

// needs says which parts of a question have to be complete.
type needs uint8

const (
	aSubject       needs = 1 << iota // who; otherwise their type is enough
	anAction                         // what they would do
	aResource                        // to what; otherwise its type is enough
	whatIsDecided  = aSubject | anAction | aResource
	whoIsSearched  = anAction | aResource
	whichSearched  = aSubject | anAction
	actionSearched = aSubject | aResource
)

// complete makes a question ready to be answered: it finds the team and the
// site that it is about, or tells what is wrong with it.
//
// AuthZEN names a resource by type and id. What Roster decides by is the type
// and where the resource is, which the properties team and site say. Whoever
// sends those needs no id. Whoever sends an id alone may name a site or a team
// by it, as a resource search does; and an API key asks about its own team
// unless it says otherwise.
func (q *question) complete(by *commands.Caller, need needs) (found []FieldProblem) {
	if q.noObject {
		return []FieldProblem{{Detail: "must be an object"}}
	}
	subject, resource, looked := kindField, kindField, propertiesField|teamField|siteField
	if need&aSubject != 0 {
		subject |= idField
	}
	if need&aResource != 0 {
		looked |= idField
		if q.resource.given&teamField == 0 {
			resource |= idField
		}
	}
	found = q.subject.faults(found, "/subject", "/type", subject, propertiesField)
	if need&anAction != 0 {
		found = q.action.faults(found, "/action", "/name", kindField, propertiesField)
	}
	found = q.resource.faults(found, "/resource", "/type", resource, looked)
	found = q.context.faults(found, "/context", "", 0, 0)
	if found != nil {
		return found
	}
	// What is searched for is ignored, should it be there.
	r := &q.resource
	if need&aSubject == 0 {
		q.subject.id = ""
	}
	if need&anAction == 0 {
		q.action.kind = ""
	}
	if need&aResource == 0 {
		r.id = ""
	}
	switch {
	case r.team != "":
	case domain.ValidID(domain.PrefixTeam, r.id):
		r.team = r.id
	case by.Team != "":
		r.team = string(by.Team)
	default:
		return []FieldProblem{{Pointer: "/resource/properties/team", Detail: "is required"}}
	}
	if r.site == "" && domain.ValidID(domain.PrefixSite, r.id) {
		r.site = r.id
	}
	return nil
}

func (q *question) actor() domain.Actor {
	return domain.Actor{Type: domain.ActorType(q.subject.kind), ID: q.subject.id}
}

func (q *question) team() domain.TeamID { return domain.TeamID(q.resource.team) }
func (q *question) site() domain.SiteID { return domain.SiteID(q.resource.site) }

func permissionOf(resource, action string) domain.Permission {
	return domain.Permission(resource + ":" + action)
}

func (q *question) permission() domain.Permission {
	return permissionOf(q.resource.kind, q.action.kind)
}

// finish refuses a body that wasn't a JSON object and nothing else.
func (w *walk) finish() error {
	if !w.finished() {
		return newProblem(http.StatusBadRequest, codeMalformedBody, "A valid JSON object is required as the body.")
	}
	return nil
}

// badQuestion answers for what is wrong with a question at a place.
func badQuestion(place string, found ...FieldProblem) *Problem {
	p := newProblem(http.StatusBadRequest, codeInvalidField, fieldsAtFault)
	for _, fault := range found {
		p.at(place+fault.Pointer, fault.Detail)
	}
	return p
}
