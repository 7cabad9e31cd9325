package eventstore

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
)

// The flag writes the golden files that are missing. A file that is there is
// never written again: it is what the log of somebody holds.
var writeGolden = flag.Bool("golden", false, "write the golden files that are missing")

// nightShift is a role of a team's own.
var nightShift = domain.RoleDefinition{
	Key: "night_shift", Name: "Night shift", Description: "Works while others sleep.", Level: 3,
	Permissions: []domain.Permission{"orders:read", "orders:update"},
}

// samples is, for every row of the table of kinds, the event that its golden
// file holds. Every field of every event is set. A row that is retired keeps
// its golden file and shows here what the file means today.
var samples = map[string]domain.Event{
	"team_created.v1": domain.TeamCreated{
		Name: "Acme <Ltd> & Söhne", Catalog: "distribu", CatalogVersion: 3, Plan: "PRO", Owner: sampleUser, OwnerRole: "OWNER", OwnerAddress: sampleAddress,
	},
	"team_renamed.v1": domain.TeamRenamed{From: "Acme", To: "Acme \"2\"\n"},
	"team_deleted.v1": domain.TeamDeleted{},
	"plan_changed.v1": domain.PlanChanged{From: "FREE", To: "PRO"},

	"member_invited.v1": domain.MemberInvited{
		Invitation: sampleInvitation, Address: sampleAddress, Email: "kb.1~ZW1haWw", Name: "kb.1~bmFtZQ",
		Role: "ADMIN", Sites: sampleGrants, ExpiresAt: sampleTime,
	},
	"invitation_resent.v1":    domain.InvitationResent{Invitation: sampleInvitation, Link: 2, ExpiresAt: sampleTime},
	"invitation_cancelled.v1": domain.InvitationCancelled{Invitation: sampleInvitation},
	"invitation_declined.v1":  domain.InvitationDeclined{Invitation: sampleInvitation},
	"invitation_expired.v1":   domain.InvitationExpired{Invitation: sampleInvitation},
	"member_joined.v1": domain.MemberJoined{
		User: sampleUser, Invitation: sampleInvitation, Role: "ADMIN", Sites: sampleGrants,
	},

	"role_changed.v1": domain.RoleChanged{User: sampleUser, From: "ADMIN", To: "READ_ONLY"},
	"permissions_changed.v1": domain.PermissionsChanged{
		User:   sampleUser,
		Before: domain.Overrides{Granted: []domain.Permission{"orders:read"}, Revoked: []domain.Permission{"users:invite"}},
		After:  domain.Overrides{Granted: []domain.Permission{"orders:read", "orders:update"}, Revoked: []domain.Permission{}},
	},
	"sites_changed.v1":  domain.SitesChanged{User: sampleUser, Before: []domain.SiteGrant{}, After: sampleGrants},
	"member_removed.v1": domain.MemberRemoved{User: sampleUser, Role: "ADMIN"},
	"member_left.v1":    domain.MemberLeft{User: sampleUser, Role: "ADMIN"},

	"expiry_changed.v1":      domain.ExpiryChanged{User: sampleUser, Before: sampleTime, After: sampleTime.Add(time.Hour)},
	"member_expired.v1":      domain.MemberExpired{User: sampleUser, Role: "ADMIN", ExpiredAt: sampleTime},
	"sites_expired.v1":       domain.SitesExpired{User: sampleUser, Sites: passingGrants},
	"permissions_expired.v1": domain.PermissionsExpired{User: sampleUser, Overrides: passingOverrides},

	"ownership_transfer_requested.v1": domain.OwnershipTransferRequested{
		Transfer: sampleTransfer, To: sampleUser, ExpiresAt: sampleTime,
	},
	"ownership_transfer_cancelled.v1": domain.OwnershipTransferCancelled{Transfer: sampleTransfer},
	"ownership_transferred.v1": domain.OwnershipTransferred{
		Transfer: sampleTransfer, From: sampleUser, To: sampleOther, FromRole: "ADMIN", ToRole: "EDITOR",
	},

	"access_review_opened.v1":  domain.AccessReviewOpened{Review: sampleReview, Name: "First quarter", Due: &sampleTime, Members: 12},
	"access_review_decided.v1": domain.AccessReviewDecided{Review: sampleReview, User: sampleUser, Decision: domain.DecisionKept, Note: "kb.3~bm90ZQ"},
	"access_review_closed.v1":  domain.AccessReviewClosed{Review: sampleReview, Kept: 7, Removed: 2, Left: 1, Undecided: 3},

	"role_defined.v1": domain.RoleDefined{Role: nightShift},
	"role_edited.v1": domain.RoleEdited{
		Before: nightShift,
		After:  domain.RoleDefinition{Key: "night_shift", Name: "Nights", Description: "Works at night.", Level: 2, Permissions: []domain.Permission{"orders:read"}},
	},
	"role_deleted.v1": domain.RoleDeleted{
		Role: nightShift, Replacement: "viewer", Invitations: []domain.InvitationID{"inv_00000000000000000000000001"},
		APIKeys: []domain.APIKeyID{"key_00000000000000000000000001"},
	},
	"site_added.v1":   domain.SiteAdded{Site: sampleSite, Name: "North"},
	"site_renamed.v1": domain.SiteRenamed{Site: sampleSite, From: "North", To: "South"},
	"site_removed.v1": domain.SiteRemoved{Site: sampleSite, Name: "South"},

	"api_key_created.v1": domain.APIKeyCreated{
		Key: sampleKey, Name: "CI", Role: "EDITOR", Prefix: "rk_01", SecretHash: string(sampleAddress), DataKey: "kb.2", ExpiresAt: &sampleTime,
	},
	"api_key_revoked.v1": domain.APIKeyRevoked{Key: sampleKey, Name: "CI"},

	"two_factor_policy_changed.v1": domain.TwoFactorPolicyChanged{
		Before: domain.TwoFactorPolicy{Required: domain.RequiredOfRoles, Roles: []domain.RoleKey{"OWNER", "ADMIN"}, GraceDays: 7},
		After:  domain.TwoFactorPolicy{Required: domain.RequiredOfRoles, Roles: []domain.RoleKey{"ADMIN"}, GraceDays: 30},
	},

	"user_registered.v1": domain.UserRegistered{
		Address: sampleAddress, Email: "kb.3~ZW1haWw", Name: "kb.3~bmFtZQ", PasswordHash: "kb.3~aGFzaA", DataKey: "kb.3", Verified: true,
	},
	"email_verified.v1":      domain.EmailVerified{},
	"user_renamed.v1":        domain.UserRenamed{Name: "kb.3~bmFtZQ"},
	"password_changed.v1":    domain.PasswordChanged{PasswordHash: "kb.3~aGFzaA"},
	"active_team_changed.v1": domain.ActiveTeamChanged{Team: sampleTeam},

	"two_factor_enabled.v1": domain.TwoFactorEnabled{
		Secret: "kb.3~c2VjcmV0", RecoveryCodes: []domain.RecoveryHash{domain.RecoveryHash(sampleAddress), "00ff"},
	},
	"passkey_added.v1": domain.PasskeyAdded{
		Passkey: samplePasskey, Name: "kb.3~bmFtZQ", Credential: "kb.3~Y3JlZA", Count: 7, RecoveryCodes: []domain.RecoveryHash{"00ff"},
	},
	"passkey_removed.v1":        domain.PasskeyRemoved{Passkey: samplePasskey},
	"passkey_used.v1":           domain.PasskeyUsed{Passkey: samplePasskey, Count: 8},
	"passkey_refused.v1":        domain.PasskeyRefused{Passkey: samplePasskey, Count: 7, Last: 8},
	"two_factor_disabled.v1":    domain.TwoFactorDisabled{},
	"recovery_codes_renewed.v1": domain.RecoveryCodesRenewed{RecoveryCodes: []domain.RecoveryHash{domain.RecoveryHash(sampleAddress)}},
	"recovery_code_used.v1":     domain.RecoveryCodeUsed{RecoveryCode: domain.RecoveryHash(sampleAddress), Left: 9},

	"address_claimed.v1": domain.AddressClaimed{User: sampleUser},

	"session_started.v1":          domain.SessionStarted{User: sampleUser, Session: sampleSession},
	"session_ended.v1":            domain.SessionEnded{User: sampleUser, Session: sampleSession},
	"password_reset_requested.v1": domain.PasswordResetRequested{User: sampleUser, ExpiresAt: sampleTime},
	"invitation_delivery.v1": domain.InvitationDelivery{
		Team: sampleTeam, Invitation: sampleInvitation, Link: 2, Status: domain.DeliveryFailed, Detail: "550 no such user",
	},
	"host_action_recorded.v1": domain.HostActionRecorded{
		Team: sampleTeam, Action: "order.shipped", TargetType: "order", TargetID: "A-42", Content: "kb.4~Y29udGVudA",
		OnBehalfOf: sampleUser, OccurredAt: sampleTime,
		By: &domain.HostActor{Actor: domain.ByAPIKey(sampleKey), Origin: "kb.2~b3JpZ2lu", Request: "req-42"},
	},

	"catalog_published.v1": domain.CatalogPublished{Name: "distribu", Version: 3, Source: "name: distribu\n"},
}

const (
	sampleUser       domain.UserID       = "user_01kjwzz7d2e5fsn1hm6yr4t8pa"
	sampleOther      domain.UserID       = "user_01kjwzz7d2e5fsn1hm6yr4t8pb"
	sampleTeam       domain.TeamID       = "team_01kjwzz7d2e5fsn1hm6yr4t8pc"
	sampleInvitation domain.InvitationID = "inv_01kjwzz7d2e5fsn1hm6yr4t8pd"
	sampleSite       domain.SiteID       = "site_01kjwzz7d2e5fsn1hm6yr4t8pe"
	sampleKey        domain.APIKeyID     = "key_01kjwzz7d2e5fsn1hm6yr4t8pf"
	sampleSession    domain.SessionID    = "ses_01kjwzz7d2e5fsn1hm6yr4t8pg"
	sampleTransfer   domain.TransferID   = "trf_01kjwzz7d2e5fsn1hm6yr4t8ph"
	samplePasskey    domain.PasskeyID    = "pky_01kjwzz7d2e5fsn1hm6yr4t8pm"
	sampleReview     domain.ReviewID     = "rev_01kjwzz7d2e5fsn1hm6yr4t8pm"
	sampleEvent      domain.EventID      = "evt_01kjwzz7d2e5fsn1hm6yr4t8pj"
	sampleNext       domain.EventID      = "evt_01kjwzz7d2e5fsn1hm6yr4t8pk"
	sampleAddress    domain.AddressID    = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

var (
	sampleTime   = time.Date(2026, 3, 4, 5, 6, 7, 890120000, time.UTC)
	sampleGrants = []domain.SiteGrant{{Site: sampleSite, Role: "EDITOR"}}
)

// golden reads a golden file, after writing it if it is missing and that was
// asked for.
func golden(t *testing.T, name string, content func() []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *writeGolden {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			_, err = file.Write(content())
			err = errors.Join(err, file.Close())
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test ./eventstore -golden once after adding a row", err)
	}
	return want
}

// passingGrants and passingOverrides end by themselves.
var (
	passingGrants    = []domain.SiteGrant{{Site: sampleSite, Role: "EDITOR", ExpiresAt: sampleTime}}
	passingOverrides = domain.Overrides{
		Granted: []domain.Permission{"orders:read"}, Revoked: []domain.Permission{"users:invite"},
		Expirations: map[domain.Permission]time.Time{"users:invite": sampleTime, "orders:read": sampleTime.Add(time.Hour)},
	}
)

// laterSamples are events with the fields that their row got later, which stand
// in golden files of their own.
var laterSamples = map[string]domain.Event{
	"member_invited.v1": domain.MemberInvited{
		Invitation: sampleInvitation, Address: sampleAddress, Email: "kb.1~ZW1haWw", Role: "ADMIN", Sites: passingGrants,
		ExpiresAt: sampleTime, AccessExpiresAt: sampleTime,
	},
	"member_joined.v1": domain.MemberJoined{
		User: sampleUser, Invitation: sampleInvitation, Role: "ADMIN", Sites: passingGrants, ExpiresAt: sampleTime,
	},
	"permissions_changed.v1": domain.PermissionsChanged{User: sampleUser, Before: passingOverrides, After: passingOverrides},
	"sites_changed.v1":       domain.SitesChanged{User: sampleUser, Before: passingGrants, After: passingGrants},
	"api_key_created.v1": domain.APIKeyCreated{
		Key: sampleKey, Name: "CI", Role: "EDITOR", Prefix: "rk_01", SecretHash: string(sampleAddress), DataKey: "kb.2", ExpiresAt: &sampleTime, Passing: true,
	},
	"ownership_transferred.v1": domain.OwnershipTransferred{
		From: sampleUser, To: sampleOther, FromRole: "ADMIN", ToRole: "EDITOR", ToExpiresAt: sampleTime,
	},
}

// goldenEvent holds an event against its golden file.
func goldenEvent(t *testing.T, row *kind, file string, sample domain.Event) {
	t.Helper()
	name, encoded, err := kinds.encode(sample)
	if err != nil {
		t.Fatal(err)
	}
	data := golden(t, file, func() []byte { return encoded })
	if row.writes && (name != row.name || !bytes.Equal(encoded, data)) {
		t.Errorf("%s is written as %s %s and was %s: what is stored can't change, give the new form a row of its own",
			row.name, name, encoded, data)
	}
	got, _, err := kinds.decode([]byte(row.name), data)
	if diff := cmp.Diff(sample, got); err != nil || diff != "" {
		t.Errorf("%s: %v %s", row.name, err, diff)
	}
}

func TestGoldenEvents(t *testing.T) {
	for _, row := range kinds.rows {
		sample, ok := samples[row.name]
		if !ok {
			t.Errorf("%s has no sample", row.name)
			continue
		}
		goldenEvent(t, &row, row.name+".json", sample)
		later, ok := laterSamples[row.name]
		if !ok {
			later = sample
		} else {
			goldenEvent(t, &row, strings.TrimSuffix(row.name, ".v1")+".later.json", later)
		}
		allSet(t, row.name, reflect.ValueOf(sample), reflect.ValueOf(later))
	}
	files, err := filepath.Glob("testdata/*.v*.json")
	if err != nil || len(files) != len(kinds.rows) || len(samples) != len(kinds.rows) {
		t.Errorf("%d golden files and %d samples for %d rows, %v", len(files), len(samples), len(kinds.rows), err)
	}
}

// allSet wants a sample, or the later one, to use every field, so that a field
// that loses its name is noticed.
func allSet(t *testing.T, name string, value, later reflect.Value) {
	t.Helper()
	for i := range value.NumField() {
		field, added := value.Field(i), later.Field(i)
		if field.IsZero() && added.IsZero() {
			t.Errorf("the sample of %s doesn't set %s", name, value.Type().Field(i).Name)
		}
		if field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[time.Time]() {
			allSet(t, name, field, added)
		}
	}
}

// Every event of the domain has a row: those without can't be written.
func TestEveryEventHasARow(t *testing.T) {
	source, err := os.ReadFile("../domain/events.go")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for event := range kinds.written {
		rows[event.Name()] = true
	}
	for line := range strings.Lines(string(source)) {
		name, ok := strings.CutPrefix(line, "func (")
		if name, _, found := strings.Cut(name, ") isEvent()"); ok && found && !rows[name] {
			t.Errorf("domain.%s has no row in codec.go", name)
		}
	}
}

// TestUpcast reads an old form through a row that is retired.
func TestUpcast(t *testing.T) {
	type roleChangedV0 struct {
		User domain.UserID  `json:"user"`
		To   domain.RoleKey `json:"to"`
	}
	c := newCodec(
		retired("role_changed.v0", func(old roleChangedV0) domain.RoleChanged {
			return domain.RoleChanged{User: old.User, From: "UNKNOWN", To: old.To}
		}),
		current[domain.RoleChanged]("role_changed.v1"),
	)
	got, _, err := c.decode([]byte("role_changed.v0"), []byte(`{"user":"u","to":"ADMIN"}`))
	if want := (domain.RoleChanged{User: "u", From: "UNKNOWN", To: "ADMIN"}); err != nil || got != domain.Event(want) {
		t.Errorf("%v, %v", got, err)
	}
	if name, _, err := c.encode(got); err != nil || name != "role_changed.v1" {
		t.Errorf("written as %s, %v", name, err)
	}
	if _, _, err := c.decode([]byte("role_changed.v0"), []byte(`{"user":"u","from":"x","to":"ADMIN"}`)); err == nil {
		t.Error("the old form had no such field")
	}
}

func TestContradictoryTable(t *testing.T) {
	for name, rows := range map[string][]kind{
		"one name twice":  {current[domain.TeamDeleted]("a.v1"), current[domain.EmailVerified]("a.v1")},
		"one event twice": {current[domain.TeamDeleted]("a.v1"), current[domain.TeamDeleted]("a.v2")},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was accepted", name)
				}
			}()
			newCodec(rows...)
		}()
	}
}
