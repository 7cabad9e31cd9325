package eventstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"strings"
	"sync"

	"roster/domain"
)

// kind is one row of the table of events: a name that was ever written and
// how to read what was written under it.
type kind struct {
	name   string
	event  reflect.Type // what decode gives
	writes bool         // new events of this type are written under this name
	decode func([]byte) (domain.Event, error)
}

// kinds is the table of every name ever written. A row is never changed or
// removed, for the log holds its name for good, and each has a golden file in
// testdata that is never changed either. When the fields of an event change
// their meaning, the row becomes
//
//	retired("role_changed.v1", func(old roleChangedV1) domain.RoleChanged { … }),
//
// with the old struct kept beside its upcaster, and the next version gets a
// row of its own. A field that is only there when it means something, and whose
// absence means what it always meant, may be added to a row with omitzero: what
// was written stays byte for byte what it would be today. Upcasting happens here, so that nothing else ever sees an
// old form.
var kinds = newCodec(
	current[domain.TeamCreated]("team_created.v1"),
	current[domain.TeamRenamed]("team_renamed.v1"),
	current[domain.TeamDeleted]("team_deleted.v1"),
	current[domain.PlanChanged]("plan_changed.v1"),

	current[domain.MemberInvited]("member_invited.v1"),
	current[domain.InvitationResent]("invitation_resent.v1"),
	current[domain.InvitationCancelled]("invitation_cancelled.v1"),
	current[domain.InvitationDeclined]("invitation_declined.v1"),
	current[domain.InvitationExpired]("invitation_expired.v1"),
	current[domain.MemberJoined]("member_joined.v1"),

	current[domain.RoleChanged]("role_changed.v1"),
	current[domain.PermissionsChanged]("permissions_changed.v1"),
	current[domain.SitesChanged]("sites_changed.v1"),
	current[domain.MemberRemoved]("member_removed.v1"),
	current[domain.MemberLeft]("member_left.v1"),

	current[domain.ExpiryChanged]("expiry_changed.v1"),
	current[domain.MemberExpired]("member_expired.v1"),
	current[domain.SitesExpired]("sites_expired.v1"),
	current[domain.PermissionsExpired]("permissions_expired.v1"),

	current[domain.OwnershipTransferRequested]("ownership_transfer_requested.v1"),
	current[domain.OwnershipTransferCancelled]("ownership_transfer_cancelled.v1"),
	current[domain.OwnershipTransferred]("ownership_transferred.v1"),

	current[domain.AccessReviewOpened]("access_review_opened.v1"),
	current[domain.AccessReviewDecided]("access_review_decided.v1"),
	current[domain.AccessReviewClosed]("access_review_closed.v1"),

	current[domain.RoleDefined]("role_defined.v1"),
	current[domain.RoleEdited]("role_edited.v1"),
	current[domain.RoleDeleted]("role_deleted.v1"),
	current[domain.SiteAdded]("site_added.v1"),
	current[domain.SiteRenamed]("site_renamed.v1"),
	current[domain.SiteRemoved]("site_removed.v1"),

	current[domain.APIKeyCreated]("api_key_created.v1"),
	current[domain.APIKeyRevoked]("api_key_revoked.v1"),

	current[domain.TwoFactorPolicyChanged]("two_factor_policy_changed.v1"),

	current[domain.UserRegistered]("user_registered.v1"),
	current[domain.EmailVerified]("email_verified.v1"),
	current[domain.UserRenamed]("user_renamed.v1"),
	current[domain.PasswordChanged]("password_changed.v1"),
	current[domain.ActiveTeamChanged]("active_team_changed.v1"),

	current[domain.TwoFactorEnabled]("two_factor_enabled.v1"),
	current[domain.TwoFactorDisabled]("two_factor_disabled.v1"),
	current[domain.PasskeyAdded]("passkey_added.v1"),
	current[domain.PasskeyRemoved]("passkey_removed.v1"),
	current[domain.PasskeyUsed]("passkey_used.v1"),
	current[domain.PasskeyRefused]("passkey_refused.v1"),
	current[domain.RecoveryCodesRenewed]("recovery_codes_renewed.v1"),
	current[domain.RecoveryCodeUsed]("recovery_code_used.v1"),

	current[domain.AddressClaimed]("address_claimed.v1"),

	current[domain.SessionStarted]("session_started.v1"),
	current[domain.SessionEnded]("session_ended.v1"),
	current[domain.PasswordResetRequested]("password_reset_requested.v1"),
	current[domain.InvitationDelivery]("invitation_delivery.v1"),
	current[domain.HostActionRecorded]("host_action_recorded.v1"),

	current[domain.CatalogPublished]("catalog_published.v1"),
)

// current is a row for events that are still written under this name.
func current[E domain.Event](name string) kind {
	form := plainFormOf(reflect.TypeFor[E]())
	return kind{
		name:   name,
		event:  reflect.TypeFor[E](),
		writes: true,
		decode: func(data []byte) (domain.Event, error) {
			var event E
			if form.read(data, reflect.ValueOf(&event).Elem()) {
				return event, nil
			}
			event = *new(E)
			if err := unmarshal(data, &event); err != nil {
				return nil, err
			}
			return event, nil
		},
	}
}

// retired is a row for a name under which nothing is written any more: upcast
// turns what was written then into what it means today.
func retired[Old any, E domain.Event](name string, upcast func(Old) E) kind {
	return kind{
		name:  name,
		event: reflect.TypeFor[E](),
		decode: func(data []byte) (domain.Event, error) {
			var old Old
			if err := unmarshal(data, &old); err != nil {
				return nil, err
			}
			return upcast(old), nil
		},
	}
}

// codec is the table in the two forms in which it is looked up.
type codec struct {
	rows    []kind
	byName  map[string]*kind
	written map[reflect.Type]string
}

// newCodec panics on a table that contradicts itself: that is a mistake in
// this file, found by every test.
func newCodec(rows ...kind) *codec {
	c := &codec{rows: rows, byName: map[string]*kind{}, written: map[reflect.Type]string{}}
	for i := range rows {
		row := &rows[i]
		if _, twice := c.byName[row.name]; twice {
			panic("eventstore: two rows for " + row.name)
		}
		c.byName[row.name] = row
		if !row.writes {
			continue
		}
		if other, twice := c.written[row.event]; twice {
			panic("eventstore: " + row.name + " and " + other + " are both written for one event")
		}
		c.written[row.event] = row.name
	}
	return c
}

// Kinds yields every kind of event that was ever written, with an event of that
// kind without content.
func Kinds() iter.Seq2[string, domain.Event] {
	return func(yield func(string, domain.Event) bool) {
		for _, row := range kinds.rows {
			kind, _, _ := strings.Cut(row.name, ".v")
			if event, ok := reflect.Zero(row.event).Interface().(domain.Event); ok && !yield(kind, event) {
				return
			}
		}
	}
}

// encode gives the name under which the event is written and its content.
func (c *codec) encode(event domain.Event) (name string, data []byte, err error) {
	name, ok := c.written[reflect.TypeOf(event)]
	if !ok {
		return "", nil, fmt.Errorf("eventstore: no name to write %T under: add it to the table in codec.go", event)
	}
	data, err = json.Marshal(event)
	if err != nil {
		return "", nil, fmt.Errorf("eventstore: encoding %s: %w", name, err)
	}
	return name, data, nil
}

// decode reads an event. A name that is not in the table is an error: it was
// written by a newer version, and to pass over it would be to decide on half
// of the truth.
func (c *codec) decode(name, data []byte) (domain.Event, *kind, error) {
	row, ok := c.byName[string(name)]
	if !ok {
		return nil, nil, fmt.Errorf("unknown kind of event %q: it was written by another version of this program", name)
	}
	event, err := row.decode(data)
	if err != nil {
		return nil, nil, fmt.Errorf("event %s: %w", row.name, err)
	}
	return event, row, nil
}

// strictDecoder is a json.Decoder that is used again and again. It refuses
// unknown fields, which json.Unmarshal can't: a field that this version does
// not know may be what the decision hangs on.
type strictDecoder struct {
	decoder *json.Decoder
	rest    []byte
	offset  int64 // where the next value starts in the decoder's endless input
}

// Read gives the decoder the current value and nothing after it.
func (d *strictDecoder) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

var (
	strictDecoders = sync.Pool{New: func() any {
		d := &strictDecoder{}
		d.decoder = json.NewDecoder(d)
		d.decoder.DisallowUnknownFields()
		return d
	}}
	errTrailingData = errors.New("there is more after the value")
)

// largestPooled keeps a rare large event from holding on to its memory.
const largestPooled = 16 << 10

func unmarshal(data []byte, into any) error {
	d := strictDecoders.Get().(*strictDecoder)
	d.rest = data
	if err := d.decoder.Decode(into); err != nil {
		return err // the decoder stays broken after an error: not put back
	}
	d.offset += int64(len(data))
	if d.decoder.InputOffset() != d.offset {
		return errTrailingData
	}
	if len(data) <= largestPooled {
		d.rest = nil
		strictDecoders.Put(d)
	}
	return nil
}
