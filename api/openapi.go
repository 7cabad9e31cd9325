package api

import (
	"encoding/json"
	"io"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
)

// Tags group the operations in the description.
const (
	tagAccounts    = "Accounts"
	tagSessions    = "Sessions"
	tagTwoFactor   = "Two-factor sign-in"
	tagTeams       = "Teams"
	tagMembers     = "Members"
	tagRoles       = "Roles"
	tagSites       = "Sites"
	tagInvitations = "Invitations"
	tagOwnership   = "Ownership"
	tagKeys        = "API keys"
	tagAudit       = "Audit log"
	tagAccess      = "Access checks"
	tagChanges     = "Changes"
	tagReviews     = "Access reviews"
)

const description = `Teams, members, roles, invitations, API keys and the audit log of a multi-tenant product.

**Credentials.** Send a session token or an API key as ` + "`Authorization: Bearer …`" + `; browsers use the session cookie.

**Positions.** Every write answers with ` + "`Roster-Position`" + `. A read with ` + "`Roster-At-Least`" + ` waits until it has seen that position.

**Writing safely.** ` + "`If-Match`" + ` with an ` + "`ETag`" + ` refuses to overwrite what somebody else has changed (412). ` + "`Idempotency-Key`" + ` makes a write repeatable for 24 hours: the same request gets the first answer again.

**Errors** are ` + "`application/problem+json`" + ` with a stable ` + "`code`" + `. Whatever belongs to a team that you are not in answers as if it didn't exist.`

func newAPI(s *Server) huma.API {
	humaErrors()
	config := huma.DefaultConfig("Roster", s.config.Version)
	config.Info.Description = description
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.Servers = []*huma.Server{{URL: s.link("")}}
	config.OpenAPIPath = "" // docsRoutes serves it, with a validator
	config.DocsPath = ""
	config.SchemasPath = ""
	config.CreateHooks = nil // no $schema in answers
	config.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		schemeBearer: {Type: "http", Scheme: "bearer", Description: "A session token, an API key (rk_…) or the operator token."},
		schemeCookie: {Type: "apiKey", In: "cookie", Name: s.cookieName, Description: "The session of a browser."},
	}
	config.Tags = []*huma.Tag{
		{Name: tagAccounts, Description: "Sign up, and one's own account."},
		{Name: tagSessions, Description: "Sign in and out."},
		{Name: tagTwoFactor, Description: "A second factor for one's own account, and who in a team must have one."},
		{Name: tagTeams, Description: "The tenant: everything else belongs to one."},
		{Name: tagMembers, Description: "Who is in a team, and as what."},
		{Name: tagRoles, Description: "What members may do: the roles of the role catalog, and a team's own."},
		{Name: tagSites, Description: "Parts of a team's business to which access is granted separately."},
		{Name: tagInvitations, Description: "Asking somebody to join. A link works once, for one address, until it expires."},
		{Name: tagOwnership, Description: "Every team has exactly one owner; ownership moves only by a transfer."},
		{Name: tagKeys, Description: "Keys that act for a team with a role."},
		{Name: tagAudit, Description: "Who did what, when and from where. It can't be edited."},
		{Name: tagAccess, Description: "May this subject do that? (OpenID AuthZEN 1.0)"},
		{Name: tagChanges, Description: "Hear at once what to read anew."},
		{Name: tagReviews, Description: "Who has access and how it came about, and going through it member by member."},
	}
	return humachi.New(s.router, config)
}

const (
	schemeBearer = "bearer"
	schemeCookie = "cookie"
)

var securityOf = map[access][]map[string][]string{
	anyone:        {},
	maybeSignedIn: {{}, {schemeBearer: {}}, {schemeCookie: {}}},
	signedIn:      {{schemeBearer: {}}, {schemeCookie: {}}},
	authenticated: {{schemeBearer: {}}, {schemeCookie: {}}},
}

// headerParameters describes the headers that gate reads.
func headerParameters(o *operation) []*huma.Param {
	text := func(longest int) *huma.Schema { return &huma.Schema{Type: huma.TypeString, MaxLength: &longest} }
	if o.write() {
		return []*huma.Param{
			{Name: "If-Match", In: "header", Schema: text(64), Description: "The ETag that the thing must still have; 412 when it hasn't."},
			{Name: "Idempotency-Key", In: "header", Schema: text(maxIdempotencyKey), Description: "Makes the write repeatable for 24 hours."},
		}
	}
	if o.reads == readsNothing {
		return nil
	}
	minimum := 0.0
	return []*huma.Param{{
		Name: "Roster-At-Least", In: "header", Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &minimum},
		Description: "Wait until this position is seen; 503 with Retry-After when that takes too long.",
	}}
}

// answerHeaders describes the headers that an answer carries.
func answerHeaders(o *operation) map[string]*huma.Param {
	headers := map[string]*huma.Param{
		"X-Request-Id": {Schema: &huma.Schema{Type: huma.TypeString}, Description: "What the log knows this request by."},
	}
	position := &huma.Schema{Type: huma.TypeInteger}
	if o.write() {
		headers["Roster-Position"] = &huma.Param{Schema: position, Description: "The position of the last event written."}
		headers["ETag"] = &huma.Param{Schema: &huma.Schema{Type: huma.TypeString}, Description: "The version of what was changed, for If-Match."}
	} else if o.reads != readsNothing {
		headers["Roster-Position"] = &huma.Param{Schema: position, Description: "The position up to which this answer takes account of everything."}
	}
	return headers
}

// jsonFormat is how huma writes problems and reads bodies. Answers go past it;
// see answers.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		out, err := encodeJSON(v)
		if err == nil {
			_, _ = w.Write(out.json) // a caller who has hung up is no failure of ours
			out.done()
		}
		return err
	},
	Unmarshal: json.Unmarshal,
}
