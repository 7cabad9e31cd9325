package api

import (
	"encoding/json"
	"net/http"
	"strconv"
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
	for _, field := range [...]struct {
		field   fields
		name    string
		content string
		mustBe  string
	}{
		{wholeField, "", "{", "must be an object"},
		{kindField, "/" + kind, e.kind, "must be text"},
		{idField, "/id", e.id, "must be text"},
		{propertiesField, "/properties", "{", "must be an object"},
		{teamField, "/properties/team", e.team, "must be text"},
		{siteField, "/properties/site", e.site, "must be text"},
	} {
		if looked&field.field == 0 {
			continue
		}
		detail := ""
		switch {
		case e.twice&field.field != 0:
			detail = "is given twice"
		case e.wrong&field.field != 0:
			detail = field.mustBe
		case e.wrong&wholeField != 0: // and there is nothing in it
		case required&field.field != 0 && field.content == "":
			detail = "is required"
		case len(field.content) > maxQuestionText && utf8.RuneCountInString(field.content) > maxQuestionText:
			detail = "must have at most " + strconv.Itoa(maxQuestionText) + " characters"
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
// site that it is about, or tells at place what is wrong with it.
//
// AuthZEN names a resource by type and id. What Roster decides by is the type
// and where the resource is, which the properties team and site say. Whoever
// sends those needs no id. Whoever sends an id alone may name a site or a team
// by it, as a resource search does; and an API key asks about its own team
// unless it says otherwise.
func (q *question) complete(by *commands.Caller, need needs, place string) (found []FieldProblem) {
	if q.noObject {
		return []FieldProblem{{Pointer: place, Detail: "must be an object"}}
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
	found = q.subject.faults(found, place+"/subject", "type", subject, propertiesField)
	if need&anAction != 0 {
		found = q.action.faults(found, place+"/action", "name", kindField, propertiesField)
	}
	found = q.resource.faults(found, place+"/resource", "type", resource, looked)
	found = q.context.faults(found, place+"/context", "", 0, 0)
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
		return []FieldProblem{{Pointer: place + "/resource/properties/team", Detail: "is required"}}
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

// members reads a body and calls more with each member that isn't one of a
// question.
func (q *question) members(body []byte, more func(w *walk, name string)) error {
	if !json.Valid(body) {
		return newProblem(http.StatusBadRequest, codeMalformedBody, "The body is not valid JSON.")
	}
	w := &walk{text: string(body)}
	if w.next() != '{' {
		return newProblem(http.StatusBadRequest, codeMalformedBody, "A JSON object is required as the body.")
	}
	w.members(func(name string) {
		if !q.member(w, name) {
			more(w, name)
		}
	})
	return nil
}

// skipped is for bodies of which nothing but the question matters.
func skipped(w *walk, _ string) { w.skip() }

// badQuestion answers for what is wrong with a question.
func badQuestion(found []FieldProblem) *Problem {
	p := newProblem(http.StatusBadRequest, codeInvalidField, fieldsAtFault)
	p.Errors = found
	return p
}
