package api

import "roster/domain"

// The structs of requests and answers of the access API are for its description
// alone; access_question.go and access_json.go read and write what they
// describe.

// open is an object of which nothing is read.
type open struct {
	_ struct{} `json:"-" additionalProperties:"true"`
}

type evaluationSubject struct {
	_          struct{} `json:"-" additionalProperties:"true"`
	Type       string   `json:"type" maxLength:"1024" doc:"user or api_key. Any other subject may do nothing." example:"user"`
	ID         string   `json:"id" maxLength:"1024" doc:"Of the user or the key."`
	Properties *open    `json:"properties,omitempty" doc:"Accepted and not read: what a subject may do is what Roster has recorded of it."`
}

type evaluationAction struct {
	_          struct{} `json:"-" additionalProperties:"true"`
	Name       string   `json:"name" maxLength:"1024" example:"update"`
	Properties *open    `json:"properties,omitempty" doc:"Accepted and not read."`
}

type evaluationResource struct {
	_          struct{}              `json:"-" additionalProperties:"true"`
	Type       string                `json:"type" maxLength:"1024" doc:"A resource of the team's role catalog." example:"orders"`
	ID         string                `json:"id,omitempty" maxLength:"1024" doc:"Required unless properties names the team. Roster decides for all resources of a type in one place alike. The id of a site or a team, as a resource search finds it, says where that is when the properties don't; any other id is the product's own and makes no difference."`
	Properties *evaluationProperties `json:"properties,omitempty"`
}

type evaluationProperties struct {
	_    struct{}      `json:"-" additionalProperties:"true"`
	Team domain.TeamID `json:"team,omitempty" maxLength:"1024" doc:"Where the resource is. May be left out by an API key, which asks about its own team."`
	Site domain.SiteID `json:"site,omitempty" maxLength:"1024" doc:"Where in the team, for resources that belong to a site."`
}

type evaluationRequest struct {
	_        struct{}           `json:"-" additionalProperties:"true"`
	Subject  evaluationSubject  `json:"subject"`
	Action   evaluationAction   `json:"action"`
	Resource evaluationResource `json:"resource"`
	Context  *open              `json:"context,omitempty" doc:"Accepted and not read."`
}

type evaluationItem struct {
	_        struct{}            `json:"-" additionalProperties:"true"`
	Subject  *evaluationSubject  `json:"subject,omitempty"`
	Action   *evaluationAction   `json:"action,omitempty"`
	Resource *evaluationResource `json:"resource,omitempty"`
	Context  *open               `json:"context,omitempty"`
}

type evaluationsRequest struct {
	_           struct{}            `json:"-" additionalProperties:"true"`
	Subject     *evaluationSubject  `json:"subject,omitempty"`
	Action      *evaluationAction   `json:"action,omitempty"`
	Resource    *evaluationResource `json:"resource,omitempty"`
	Context     *open               `json:"context,omitempty"`
	Evaluations []evaluationItem    `json:"evaluations,omitempty" maxItems:"1000" doc:"Each takes subject, action, resource and context from the top level, whole, where it has none of its own. Without any the top level is the one question."`
	Options     *evaluationOptions  `json:"options,omitempty"`
}

type evaluationOptions struct {
	_        struct{} `json:"-" additionalProperties:"true"`
	Semantic string   `json:"evaluations_semantic,omitempty" enum:"execute_all,deny_on_first_deny,permit_on_first_permit" doc:"Whether the answer ends with the first denial or permission. execute_all unless given."`
}

type searchPage struct {
	_     struct{} `json:"-" additionalProperties:"true"`
	Token string   `json:"token,omitempty" maxLength:"1024" doc:"next_token of the page before. It belongs to the search that it came with."`
	Limit int      `json:"limit,omitempty" minimum:"0" doc:"How many results, at most. Never more than 1,000, which is also what a first page has that asks for no number."`
}

type searchedSubject struct {
	_    struct{} `json:"-" additionalProperties:"true"`
	Type string   `json:"type" maxLength:"1024" example:"user"`
}

type subjectSearchRequest struct {
	_        struct{}           `json:"-" additionalProperties:"true"`
	Subject  searchedSubject    `json:"subject"`
	Action   evaluationAction   `json:"action"`
	Resource evaluationResource `json:"resource"`
	Context  *open              `json:"context,omitempty"`
	Page     *searchPage        `json:"page,omitempty"`
}

type searchedResource struct {
	_          struct{}              `json:"-" additionalProperties:"true"`
	Type       string                `json:"type" maxLength:"1024" example:"orders"`
	Properties *evaluationProperties `json:"properties,omitempty"`
}

type resourceSearchRequest struct {
	_        struct{}          `json:"-" additionalProperties:"true"`
	Subject  evaluationSubject `json:"subject"`
	Action   evaluationAction  `json:"action"`
	Resource searchedResource  `json:"resource"`
	Context  *open             `json:"context,omitempty"`
	Page     *searchPage       `json:"page,omitempty"`
}

type actionSearchRequest struct {
	_        struct{}           `json:"-" additionalProperties:"true"`
	Subject  evaluationSubject  `json:"subject"`
	Resource evaluationResource `json:"resource"`
	Context  *open              `json:"context,omitempty"`
	Page     *searchPage        `json:"page,omitempty"`
}

type evaluationAnswer struct {
	Decision bool            `json:"decision"`
	Context  decisionContext `json:"context"`
}

// decisionContext says why.
type decisionContext struct {
	Reason   domain.Reason  `json:"reason,omitempty" doc:"Such as role, site_grant, override_granted, override_revoked, not_in_role, not_a_member."`
	Role     domain.RoleKey `json:"role,omitempty" doc:"The role that was decisive."`
	Site     domain.SiteID  `json:"site,omitempty"`
	Event    domain.EventID `json:"event,omitempty" doc:"The event that gave it."`
	Position uint64         `json:"position,omitempty" doc:"Of that event."`
	At       string         `json:"at,omitempty" format:"date-time" doc:"When it did."`
	Until    string         `json:"until,omitempty" format:"date-time" doc:"When the decision turns into a denial by time alone. Without it, only an event can change it."`
	Error    *questionFault `json:"error,omitempty" doc:"Why a question of a batch couldn't be answered."`
}

// questionFault is what is wrong with one question of a batch.
type questionFault struct {
	Status  int            `json:"status" doc:"The status that the question alone would be answered with."`
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Errors  []FieldProblem `json:"errors,omitempty"`
}

type evaluationsAnswer struct {
	Evaluations []evaluationAnswer `json:"evaluations,omitempty" doc:"In the order of the questions. Absent when there was no list of questions: then the answer is that of a single evaluation."`
	Decision    bool               `json:"decision,omitempty"`
	Context     *decisionContext   `json:"context,omitempty"`
}

type searchPageAnswer struct {
	NextToken string `json:"next_token" doc:"For page.token; empty on the last page."`
	Count     int    `json:"count" doc:"How many results there are on this page. There may be none and more to follow."`
}

type searchAnswer[T any] struct {
	Page    searchPageAnswer `json:"page"`
	Results []T              `json:"results"`
}

type foundSubject struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type foundResource struct {
	Type       string               `json:"type"`
	ID         string               `json:"id" doc:"Of the site, or of the team for what belongs to no site."`
	Properties evaluationProperties `json:"properties"`
}

type foundAction struct {
	Name string `json:"name"`
}
