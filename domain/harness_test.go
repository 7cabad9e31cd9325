package domain_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/domain/catalogs"
)

// TestMain gives the generated tests one seed, so that every run checks the
// same. -rapid.seed or RAPID_SEED choose another.
func TestMain(m *testing.M) {
	if seed := flag.Lookup("rapid.seed"); seed.Value.String() == "0" {
		if err := seed.Value.Set("1"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// shelf is the built-in catalogs by name.
type shelf map[string]*domain.Catalog

func (s shelf) Catalog(name string) *domain.Catalog { return s[name] }

var builtins = func() shelf {
	s := shelf{}
	for _, name := range catalogs.Names() {
		catalog, _, err := catalogs.Load(name)
		if err != nil {
			panic(err)
		}
		s[name] = catalog
	}
	return s
}()

var catalogNames = []string{"default", "distribu", "dzbuild", "tenants"}

// The given events happen at t0, the command an hour later unless its scenario
// says otherwise.
var (
	t0  = time.Date(2025, 3, 1, 9, 0, 0, 0, time.UTC)
	now = t0.Add(time.Hour)
)

const day = 24 * time.Hour

// team is where most tests happen; the owner is always "olga".
const (
	team  domain.TeamID = "team-1"
	owner domain.UserID = "olga"
)

type (
	user = domain.UserID
	role = domain.RoleKey
	evs  = []domain.Event
)

func as(u user) domain.Actor          { return domain.ByUser(u) }
func asKey(id string) domain.Actor    { return domain.ByAPIKey(domain.APIKeyID(id)) }
func address(u user) domain.AddressID { return domain.AddressID(u + "@example.org") }
func inv(u user) domain.InvitationID  { return domain.InvitationID("inv-" + u) }
func email(u user) domain.Sealed      { return domain.Sealed("sealed-" + u) }
func grants(g ...string) (out []grant) { // "north", "manager", "south", …
	for i := 0; i < len(g); i += 2 {
		out = append(out, grant{Site: domain.SiteID(g[i]), Role: role(g[i+1])})
	}
	return out
}

type grant = domain.SiteGrant

// ownerKey is the key of the owner's role.
func ownerKey(catalog string) role { return builtins[catalog].OwnerRole().Key }

// What may be given.

func given(parts ...evs) (all evs) {
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

func created(catalog string) evs {
	c := builtins[catalog]
	return evs{domain.TeamCreated{
		Name: "Team", Catalog: catalog, CatalogVersion: c.Version, Plan: c.DefaultPlan(),
		Owner: owner, OwnerRole: c.OwnerRole().Key, OwnerAddress: address(owner),
	}}
}

func plan(to string) evs { return evs{domain.PlanChanged{To: to}} }

func invited(u user, r role, sites ...grant) evs {
	return evs{domain.MemberInvited{
		Invitation: inv(u), Address: address(u), Email: email(u), Role: r, Sites: sites, ExpiresAt: t0.Add(7 * day),
	}}
}

func joined(u user, r role, sites ...grant) evs {
	return append(invited(u, r, sites...), domain.MemberJoined{User: u, Invitation: inv(u), Role: r, Sites: sites})
}

func changed(u user, from, to role) evs {
	return evs{domain.RoleChanged{User: u, From: from, To: to}}
}

func removed(u user, r role) evs { return evs{domain.MemberRemoved{User: u, Role: r}} }

func site(ids ...domain.SiteID) (all evs) {
	for _, id := range ids {
		all = append(all, domain.SiteAdded{Site: id, Name: string(id)})
	}
	return all
}

func overridden(u user, granted, revoked string) evs {
	return evs{domain.PermissionsChanged{User: u, After: overrides(granted, revoked)}}
}

func overrides(granted, revoked string) (o domain.Overrides) {
	if granted != "" {
		o.Granted = []domain.Permission{domain.Permission(granted)}
	}
	if revoked != "" {
		o.Revoked = []domain.Permission{domain.Permission(revoked)}
	}
	return o
}

func key(id string, r role) evs {
	return evs{domain.APIKeyCreated{Key: domain.APIKeyID(id), Name: id, Role: r}}
}

func requested(to user) evs {
	return evs{domain.OwnershipTransferRequested{Transfer: "trf-1", To: to, ExpiresAt: t0.Add(3 * day)}}
}

func opened(members int) evs {
	return evs{domain.AccessReviewOpened{Review: "rev-1", Members: members}}
}

func decided(u user, decision domain.ReviewDecision, note ...domain.Sealed) evs {
	return evs{domain.AccessReviewDecided{Review: "rev-1", User: u, Decision: decision, Note: append(note, "")[0]}}
}

func deleted() evs { return evs{domain.TeamDeleted{}} }

// fold makes a team of events that all happen at t0, numbered from 1.
func fold(events evs) *domain.Team {
	t := domain.NewTeam(team, builtins)
	for i, event := range events {
		t.Apply(event, meta(i+1, as(owner), t0))
	}
	return t
}

func meta(n int, by domain.Actor, at time.Time) domain.Meta {
	return domain.Meta{ID: domain.EventID(fmt.Sprintf("evt-%d", n)), Position: uint64(n), At: at, Actor: by}
}

// What may be done.

type command func(t *domain.Team, now time.Time) ([]domain.Event, error)

func invite(by domain.Actor, u user, r role, sites ...grant) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Invite(by, domain.NewInvitation{ID: inv(u), Address: address(u), Email: email(u), Role: r, Sites: sites}, now)
	}
}

func resend(by domain.Actor, u user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.Resend(by, inv(u), now) }
}

func cancel(by domain.Actor, u user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.Cancel(by, inv(u), now) }
}

func decline(u user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.Decline(inv(u), now) }
}

func accept(u user) command { return acceptAs(u, u) }

// acceptAs accepts the invitation of one with the address of the other.
func acceptAs(invited, u user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.Accept(inv(invited), u, address(u), now)
	}
}

func changeRole(by domain.Actor, u user, to role) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.ChangeRole(by, u, to, now) }
}

func setOverrides(by domain.Actor, u user, granted, revoked string) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.SetOverrides(by, u, overrides(granted, revoked), now)
	}
}

func setSites(by domain.Actor, u user, sites ...grant) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.SetSites(by, u, sites, now) }
}

func remove(by domain.Actor, u user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.Remove(by, u, now) }
}

func setExpiry(by domain.Actor, u user, at time.Time) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.SetExpiry(by, u, at, now) }
}

// lapse records what has ended by itself.
func lapse(u user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.ExpireMember(u, now), nil }
}

func leave(u user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.Leave(u, now) }
}

func requestTransfer(by domain.Actor, to user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.RequestTransfer(by, "trf-1", to, now)
	}
}

func cancelTransfer(by domain.Actor) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.CancelTransfer(by, "trf-1", now) }
}

func confirmTransfer(u user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.ConfirmTransfer("trf-1", u, now) }
}

func operatorTransfer(by domain.Actor, to user) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.OperatorTransfer(by, to, now) }
}

func setPlan(by domain.Actor, plan string) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.SetPlan(by, plan, now) }
}

func rename(by domain.Actor, name string) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.Rename(by, name, now) }
}

func deleteTeam(by domain.Actor) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.Delete(by, now) }
}

func addSite(by domain.Actor, id domain.SiteID) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.AddSite(by, id, string(id), now) }
}

func renameNorth(by domain.Actor, name string) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.RenameSite(by, "north", name, now)
	}
}

func removeSite(by domain.Actor, id domain.SiteID) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.RemoveSite(by, id, now) }
}

func createKey(by domain.Actor, id string, r role) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.CreateAPIKey(by, domain.NewAPIKey{ID: domain.APIKeyID(id), Name: id, Role: r}, now)
	}
}

func revokeKey(by domain.Actor, id string) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.RevokeAPIKey(by, domain.APIKeyID(id), now)
	}
}

// requireOf asks for two-factor sign-in, by somebody who has it.
func requireOf(by domain.Actor, policy domain.TwoFactorPolicy) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.SetTwoFactorPolicy(by, policy, true, now)
	}
}

func everyone(graceDays int) domain.TwoFactorPolicy {
	return domain.TwoFactorPolicy{Required: domain.RequiredOfEveryone, GraceDays: graceDays}
}

func ofRoles(graceDays int, roles ...role) domain.TwoFactorPolicy {
	return domain.TwoFactorPolicy{Required: domain.RequiredOfRoles, Roles: roles, GraceDays: graceDays}
}

var ofNobody = domain.TwoFactorPolicy{Required: domain.RequiredOfNobody}

func required(policy domain.TwoFactorPolicy) evs {
	return evs{domain.TwoFactorPolicyChanged{After: policy}}
}

func openReview(by domain.Actor, name string, due *time.Time) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.OpenReview(by, "rev-1", name, due, now)
	}
}

func decide(by domain.Actor, u user, decision domain.ReviewDecision, note ...domain.Sealed) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) {
		return t.DecideReview(by, "rev-1", u, decision, append(note, "")[0], now)
	}
}

func closeReview(by domain.Actor) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.CloseReview(by, "rev-1", now) }
}

// scenario is one line of a page: given what has happened, when somebody does
// something, then these events follow, or that refusal. Neither means that
// nothing had to be done.
type scenario struct {
	name  string
	given evs
	at    time.Time // now when zero
	when  command
	then  evs
	err   *domain.Error
}

func check(t *testing.T, scenarios []scenario) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if s.at.IsZero() {
				s.at = now
			}
			events, err := s.when(fold(s.given), s.at)
			if (s.err == nil) != (err == nil) || s.err != nil && !errors.Is(err, s.err) {
				t.Fatalf("got the error %v, want %v", err, s.err)
			}
			var refusal *domain.Error
			if errors.As(err, &refusal) && s.err.Field != "" && refusal.Field != s.err.Field {
				t.Errorf("the refusal is about %s, want %s", refusal.Field, s.err.Field)
			}
			if diff := cmp.Diff(s.then, events); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// play does one thing after the other, each a minute later, and demands that
// all of it is allowed.
func play(t *testing.T, events evs, steps ...command) *domain.Team {
	t.Helper()
	state := fold(events)
	at := now
	for i, step := range steps {
		caused, err := step(state, at)
		if err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
		for _, event := range caused {
			state.Apply(event, meta(len(events)+i+1, as(owner), at))
		}
		at = at.Add(time.Minute)
	}
	return state
}

// allowed tells whether somebody may do something now.
func allowed(t *domain.Team, by domain.Actor, permission domain.Permission, site ...domain.SiteID) bool {
	where := domain.SiteID("")
	if len(site) > 0 {
		where = site[0]
	}
	return t.Can(by, permission, where, now).Allowed
}
