package api

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"roster/commands"
	"roster/domain"
)

type reportInput struct {
	TeamPath
	PageQuery
	MomentQuery
	Format string `query:"format" enum:"json,csv" default:"json" doc:"CSV holds the whole team; limit and page_token are for JSON."`
}

// report is who had access at a moment. The API keys are on every page.
type report struct {
	AsOf     time.Time       `json:"as_of"`
	Position uint64          `json:"position" doc:"Of the team's last event by then."`
	Data     []accessView    `json:"data" nullable:"false" doc:"The members, in the order of joining."`
	APIKeys  []keyAccessView `json:"api_keys" nullable:"false" doc:"The API keys that worked, the oldest first."`
	Page     page            `json:"page"`
}

// accessView is what a member has access to and how that came about.
type accessView struct {
	UserID       domain.UserID    `json:"user_id"`
	Name         string           `json:"name"`
	Email        string           `json:"email"`
	Role         domain.RoleKey   `json:"role"`
	RoleName     string           `json:"role_name"`
	Level        int              `json:"level"`
	Sites        []memberSiteView `json:"sites"`
	Overrides    overridesView    `json:"overrides"`
	JoinedAt     time.Time        `json:"joined_at"`
	LastSignInAt *time.Time       `json:"last_sign_in_at" doc:"By then; null for one who hadn't signed in."`
	ExpiresAt    *time.Time       `json:"expires_at" doc:"When the membership ends by itself; null for never."`
	Story        []storyView      `json:"story" doc:"How it came about: the events behind it, the oldest first."`
	Kept         *keptView        `json:"kept" doc:"The last time that an access review kept this member; null when none has since they joined."`
}

// storyView is one event of how an access came about.
type storyView struct {
	EventID  domain.EventID `json:"event_id" doc:"In the audit log."`
	Position uint64         `json:"position"`
	At       time.Time      `json:"at"`
	Text     string         `json:"text" example:"Invited as Admin by Olga."`
}

type keptView struct {
	ReviewID domain.ReviewID `json:"access_review_id"`
	Name     string          `json:"access_review_name"`
	By       personView      `json:"by"`
	At       time.Time       `json:"at"`
	EventID  domain.EventID  `json:"event_id"`
	Last     bool            `json:"last" doc:"Whether that was the last review that was opened."`
}

type keyAccessView struct {
	ID        domain.APIKeyID `json:"id"`
	Name      string          `json:"name"`
	Role      domain.RoleKey  `json:"role"`
	RoleName  string          `json:"role_name"`
	Level     int             `json:"level"`
	Prefix    string          `json:"prefix"`
	CreatedAt time.Time       `json:"created_at"`
	CreatedBy personView      `json:"created_by"`
	ExpiresAt *time.Time      `json:"expires_at" doc:"Null for a key that doesn't expire."`
}

// reportPiece is how many members a report looks up at a time.
const reportPiece = 200

// reporter puts the lines of one report together.
type reporter struct {
	*Server
	then    *commands.Past
	present bool // so that names and sign-ins stand in the read model
	people  map[domain.Actor]personView
}

func (s *Server) accessReport(ctx context.Context, x *exchange, in *reportInput) (*report, func(huma.Context), error) {
	if err := s.permitted(ctx, x, in.Team, domain.ActionReadAudit); err != nil {
		return nil, nil, err
	}
	moment, past, err := in.moment(s.commands.Now())
	if err != nil {
		return nil, nil, err
	}
	bound := binding("access review", string(in.Team), in.binds())
	after, err := openPageToken[int](s, in.PageToken, bound)
	if err != nil {
		return nil, nil, err
	}
	then, err := s.past(ctx, x, in.Team, moment, in.pointer())
	if err != nil {
		return nil, nil, err
	}
	r := &reporter{s, then, !past, map[domain.Actor]personView{}}
	if in.Format == "csv" {
		return nil, s.download(x, "access-review-"+string(in.Team)+".csv", mediaCSV, func(pause func() error) error {
			return r.writeCSV(ctx, csv.NewWriter(x), pause)
		}), nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout) // which only the CSV may exceed
	defer cancel()
	out := &report{AsOf: then.At, Position: then.Position}
	var members []*domain.Member
	last, more := 0, false
	for place, member := range then.Team.Members(after, then.At) {
		if more = len(members) == in.Limit; more {
			break
		}
		members, last = append(members, member), place
	}
	if !more {
		last = 0
	}
	users := make([]domain.UserID, len(members))
	for i, member := range members {
		users[i] = member.User
	}
	stories := map[domain.UserID][]domain.Step{}
	if len(users) > 0 {
		stories = domain.Stories(then.History(), domain.EverySite, users...)
	}
	if out.Data, err = r.members(ctx, members, stories); err != nil {
		return nil, nil, err
	}
	if out.APIKeys, err = r.keys(ctx); err != nil {
		return nil, nil, err
	}
	out.Page.NextToken, err = pageToken(s, last, bound)
	return out, nil, err
}

// members are the lines of some members.
func (r *reporter) members(ctx context.Context, members []*domain.Member, stories map[domain.UserID][]domain.Step) ([]accessView, error) {
	shown, err := r.shown(ctx, members)
	if err != nil {
		return nil, err
	}
	views := make([]accessView, len(members))
	for i, member := range members {
		m := &shown[i]
		views[i] = accessView{
			UserID: m.UserID, Name: m.Name, Email: m.Email, Role: m.Role, Sites: m.Sites, Overrides: m.Overrides,
			JoinedAt: m.JoinedAt, LastSignInAt: m.LastSignInAt, ExpiresAt: m.ExpiresAt, Story: []storyView{},
		}
		views[i].RoleName, views[i].Level = r.role(m.Role)
		for _, step := range stories[member.User] {
			by, err := r.person(ctx, step.Meta.Actor)
			if err != nil {
				return nil, err
			}
			views[i].Story = append(views[i].Story, storyView{
				EventID: step.Meta.ID, Position: step.Meta.Position, At: step.Meta.At, Text: r.text(step.Event, member.User, called(by)),
			})
		}
		if views[i].Kept, err = r.kept(ctx, member.Kept); err != nil {
			return nil, err
		}
	}
	return views, nil
}

// shown are members with their names and last sign-ins. Those of the present
// are looked up together.
func (r *reporter) shown(ctx context.Context, members []*domain.Member) ([]memberView, error) {
	views := make([]memberView, len(members))
	users := make([]domain.UserID, len(members))
	for i, member := range members {
		users[i] = member.User
	}
	known, err := r.known(ctx, users)
	if err != nil {
		return nil, err
	}
	for i, member := range members {
		if now, ok := known[member.User]; ok {
			views[i] = memberOf(r.then.Team, member, now.Account)
			views[i].LastSignInAt = now.signedIn
			continue
		}
		person, err := r.commands.AccountThen(ctx, member.User, r.then)
		if err != nil {
			return nil, err
		}
		if views[i], err = r.viewMemberThen(ctx, r.then, member, person); err != nil {
			return nil, err
		}
	}
	return views, nil
}

type known struct {
	commands.Account
	signedIn *time.Time
}

// known is what the read model has of users, in a report of the present.
func (r *reporter) known(ctx context.Context, users []domain.UserID) (map[domain.UserID]known, error) {
	if !r.present {
		return nil, nil
	}
	rows, err := r.projections.SomeMembers(ctx, r.then.Team.ID(), users, r.then.At)
	if err != nil {
		return nil, err
	}
	found := make(map[domain.UserID]known, len(rows))
	for id, m := range rows {
		found[id] = known{commands.Account{ID: id, Email: m.Email, Name: m.Name, Verified: m.EmailVerified}, optional(m.LastSignInAt)}
	}
	return found, nil
}

func (r *reporter) kept(ctx context.Context, kept *domain.Kept) (*keptView, error) {
	if kept == nil {
		return nil, nil
	}
	by, err := r.person(ctx, kept.Given.By)
	if err != nil {
		return nil, err
	}
	view := &keptView{ReviewID: kept.Review, By: by, At: kept.Given.At, EventID: kept.Given.Event}
	if review, ok := r.then.Team.Review(kept.Review); ok {
		view.Name = review.Name
	}
	reviews := r.then.Team.Reviews()
	view.Last = reviews[len(reviews)-1].ID == kept.Review
	return view, nil
}

// keys are the lines of the API keys that worked.
func (r *reporter) keys(ctx context.Context) ([]keyAccessView, error) {
	views := []keyAccessView{}
	for _, key := range r.then.Team.APIKeys() {
		if !key.Active(r.then.At) {
			continue
		}
		by, err := r.person(ctx, key.CreatedBy)
		if err != nil {
			return nil, err
		}
		view := keyAccessView{
			ID: key.ID, Name: key.Name, Role: key.Role, Prefix: key.Prefix,
			CreatedAt: key.CreatedAt, CreatedBy: by, ExpiresAt: key.ExpiresAt,
		}
		view.RoleName, view.Level = r.role(key.Role)
		views = append(views, view)
	}
	slices.SortFunc(views, func(a, b keyAccessView) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return views, nil
}

// person is an actor as they were called then. A few people are behind most of
// a history.
func (r *reporter) person(ctx context.Context, actor domain.Actor) (personView, error) {
	if person, ok := r.people[actor]; ok {
		return person, nil
	}
	person, err := r.personThen(ctx, r.then, actor)
	if err == nil {
		r.people[actor] = person
	}
	return person, err
}

func (r *reporter) role(key domain.RoleKey) (name string, level int) {
	if role, ok := r.then.Team.Role(key); ok {
		return role.Name, role.Level
	}
	return string(key), 0 // dropped from the catalog
}

func (r *reporter) roleName(key domain.RoleKey) string {
	name, _ := r.role(key)
	return name
}

// called is what an actor is called in a sentence.
func called(p personView) string {
	if p.Type == domain.ActorSystem {
		return "the " + p.ID
	}
	return cmp.Or(p.Name, p.ID) // the id once erased
}

// text says in a sentence what an event did for a member's access.
func (r *reporter) text(event domain.Event, user domain.UserID, by string) string {
	switch e := event.(type) {
	case domain.TeamCreated:
		return "Made the team."
	case domain.MemberInvited:
		return fmt.Sprintf("Invited as %s%s%s by %s.", r.roleName(e.Role), r.onSites(e.Sites), untilText(e.AccessExpiresAt), by)
	case domain.MemberJoined:
		return fmt.Sprintf("Joined as %s%s%s.", r.roleName(e.Role), r.onSites(e.Sites), untilText(e.ExpiresAt))
	case domain.RoleChanged:
		return fmt.Sprintf("Changed from %s to %s by %s.", r.roleName(e.From), r.roleName(e.To), by)
	case domain.OwnershipTransferred:
		if e.To == user {
			return "Took over the ownership."
		}
		return fmt.Sprintf("Gave up the ownership and became %s.", r.roleName(e.FromRole))
	case domain.SitesChanged:
		if len(e.After) == 0 {
			return fmt.Sprintf("Taken off every site by %s.", by)
		}
		return fmt.Sprintf("Put%s by %s.", r.onSites(e.After), by)
	case domain.PermissionsChanged:
		return fmt.Sprintf("Overrides set by %s: granted %s; revoked %s.", by, permissionList(e.After.Granted, e.After.Expirations), permissionList(e.After.Revoked, e.After.Expirations))
	case domain.ExpiryChanged:
		if e.After.IsZero() {
			return fmt.Sprintf("Membership made lasting by %s.", by)
		}
		return fmt.Sprintf("Membership limited by %s%s.", by, untilText(e.After))
	case domain.SitesExpired:
		return fmt.Sprintf("Access ended by itself:%s.", r.onSites(e.Sites))
	case domain.PermissionsExpired:
		return fmt.Sprintf("Overrides ended by themselves: granted %s; revoked %s.",
			permissionList(e.Overrides.Granted, e.Overrides.Expirations), permissionList(e.Overrides.Revoked, e.Overrides.Expirations))
	case domain.RoleDefined:
		return fmt.Sprintf("%s was defined by %s.", r.roleName(e.Role.Key), by)
	case domain.RoleEdited:
		return fmt.Sprintf("%s was changed by %s.", r.roleName(e.After.Key), by)
	}
	return ""
}

// onSites is " on North as Manager and on South as Viewer".
func (r *reporter) onSites(grants []domain.SiteGrant) string {
	parts := make([]string, len(grants))
	for i, grant := range grants {
		name := string(grant.Site)
		if site, ok := r.then.Team.Site(grant.Site); ok {
			name = site.Name
		}
		parts[i] = " on " + name + " as " + r.roleName(grant.Role) + untilText(grant.ExpiresAt)
	}
	return strings.Join(parts, " and")
}

// untilText is " until 2026-01-31T12:00:00Z"; nothing for what doesn't end.
func untilText(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " until " + instantText(&at)
}

func permissionList(permissions []domain.Permission, ends map[domain.Permission]time.Time) string {
	if len(permissions) == 0 {
		return "nothing"
	}
	return strings.Join(withEnds(permissions, ends), ", ")
}

// withEnds are permissions with when they end.
func withEnds(permissions []domain.Permission, ends map[domain.Permission]time.Time) []string {
	texts := make([]string, len(permissions))
	for i, permission := range permissions {
		texts[i] = string(permission) + untilText(ends[permission])
	}
	return texts
}

var reportColumns = []string{
	"kind", "id", "name", "email", "role", "role_name", "level", "sites", "granted", "revoked", "since", "last_sign_in_at",
	"created_by", "expires_at", "story", "kept_at", "kept_by", "kept_in",
}

// writeCSV writes the whole report: a row for each member and for each API key.
func (r *reporter) writeCSV(ctx context.Context, w *csv.Writer, pause func() error) error {
	if err := w.Write(reportColumns); err != nil {
		return err
	}
	stories := domain.Stories(r.then.History(), domain.EverySite)
	piece := make([]*domain.Member, 0, reportPiece)
	flush := func() error {
		views, err := r.members(ctx, piece, stories)
		if err != nil {
			return err
		}
		for i := range views {
			if err := writeHarmless(w, r.memberRow(&views[i])); err != nil {
				return err
			}
		}
		piece = piece[:0]
		if w.Flush(); w.Error() != nil {
			return w.Error()
		}
		return pause()
	}
	for _, member := range r.then.Team.Members(0, r.then.At) {
		if piece = append(piece, member); len(piece) < reportPiece {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return err
	}
	keys, err := r.keys(ctx)
	if err != nil {
		return err
	}
	for i := range keys {
		if err := writeHarmless(w, keyRow(&keys[i])); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

func (r *reporter) memberRow(m *accessView) []string {
	sites, story := make([]string, len(m.Sites)), make([]string, len(m.Story))
	for i, site := range m.Sites {
		sites[i] = site.Name + ": " + r.roleName(site.Role)
		if site.ExpiresAt != nil {
			sites[i] += untilText(*site.ExpiresAt)
		}
	}
	for i, step := range m.Story {
		story[i] = instantText(&step.At) + " " + step.Text + " [" + string(step.EventID) + "]"
	}
	row := []string{
		"member", string(m.UserID), m.Name, m.Email, string(m.Role), m.RoleName, strconv.Itoa(m.Level), strings.Join(sites, "; "),
		strings.Join(withEnds(m.Overrides.Granted, m.Overrides.Expirations), " "), strings.Join(withEnds(m.Overrides.Revoked, m.Overrides.Expirations), " "),
		instantText(&m.JoinedAt), instantText(m.LastSignInAt),
		"", instantText(m.ExpiresAt), strings.Join(story, " "), "", "", "",
	}
	if m.Kept != nil {
		copy(row[len(row)-3:], []string{instantText(&m.Kept.At), called(m.Kept.By), cmp.Or(m.Kept.Name, string(m.Kept.ReviewID))})
	}
	return row
}

func keyRow(k *keyAccessView) []string {
	return []string{
		"api_key", string(k.ID), k.Name, "", string(k.Role), k.RoleName, strconv.Itoa(k.Level), "", "", "", instantText(&k.CreatedAt), "",
		called(k.CreatedBy), instantText(k.ExpiresAt), "", "", "", "",
	}
}

// instantText is a time in a cell; none for none.
func instantText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
