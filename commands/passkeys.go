package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"roster/domain"
)

// A ceremony is what WebAuthn calls the making or using of a passkey: this side
// gives options with a challenge, and the browser answers with what the
// authenticator signed. ceremonyLife is how long that may take.
const ceremonyLife = 5 * time.Minute

// Passkey is a passkey as its user sees it.
type Passkey struct {
	ID      domain.PasskeyID
	Name    string // empty once erased
	AddedAt time.Time
}

// Refusals of passkeys.
var (
	errNoPasskeys = &domain.Error{
		Kind: domain.Conflict, Code: "passkeys_not_available",
		Detail: "Passkeys belong to a domain name, and this server is reached by an IP address.",
	}
	errPasskeyNotStarted = &domain.Error{
		Kind: domain.Conflict, Code: "passkey_not_started",
		Detail: "No passkey is being added, or it took too long. Start anew.",
	}
	errPasskeyKnown = &domain.Error{
		Kind: domain.Conflict, Code: "passkey_known", Detail: "This passkey is there already.",
	}
	errNoPasskey         = &domain.Error{Kind: domain.Conflict, Code: "no_passkey", Detail: "This account has no passkey."}
	errNotThatCredential = invalidField("#/credential", "must be what the browser answered to the options of this request")
)

// newRelyingParty is this server as passkeys know it: by the domain of the base
// URL, whatever a request says. It is nil where there is none. A server on a
// loopback address, for trying things out, goes by localhost, which is the one
// name that browsers take without a certificate.
func newRelyingParty(baseURL string) *webauthn.WebAuthn {
	base, err := url.Parse(baseURL)
	if err != nil || base.Hostname() == "" {
		return nil
	}
	config := &webauthn.Config{
		RPID: base.Hostname(), RPDisplayName: "Roster", RPOrigins: []string{base.Scheme + "://" + base.Host},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			// So that it can sign in without an address, where the authenticator can.
			ResidentKey: protocol.ResidentKeyRequirementPreferred, UserVerification: protocol.VerificationPreferred,
		},
	}
	config.Timeouts.Login.Timeout, config.Timeouts.Registration.Timeout = ceremonyLife, ceremonyLife
	if ip := net.ParseIP(config.RPID); ip != nil && ip.IsLoopback() {
		local := *base
		local.Host = "localhost"
		if port := base.Port(); port != "" {
			local.Host += ":" + port
		}
		config.RPID, config.RPOrigins = "localhost", append(config.RPOrigins, local.Scheme+"://"+local.Host)
	}
	relying, err := webauthn.New(config)
	if err != nil {
		return nil
	}
	return relying
}

// credential is what is kept of a passkey, sealed: what signatures are checked
// by, and no more of what the authenticator told.
type credential struct {
	ID         []byte                            `json:"id"`
	PublicKey  []byte                            `json:"public_key"`
	Flags      protocol.AuthenticatorFlags       `json:"flags"`
	Transports []protocol.AuthenticatorTransport `json:"transports,omitempty"`
}

// maxCredential bounds that. An id has at most 1,023 bytes, and the longest public
// key of any algorithm that is offered 2,592.
const maxCredential = 8 << 10

// passkeyUser is a user as the library wants one.
type passkeyUser struct {
	handle      []byte
	name, label string
	credentials []webauthn.Credential
	ids         []domain.PasskeyID // of the credentials
}

func (u *passkeyUser) WebAuthnID() []byte                         { return u.handle }
func (u *passkeyUser) WebAuthnName() string                       { return u.name }
func (u *passkeyUser) WebAuthnDisplayName() string                { return u.label }
func (u *passkeyUser) WebAuthnCredentials() []webauthn.Credential { return u.credentials }

// id finds the passkey of a credential.
func (u *passkeyUser) id(rawID []byte) (domain.PasskeyID, bool) {
	for i := range u.credentials {
		if bytes.Equal(u.credentials[i].ID, rawID) {
			return u.ids[i], true
		}
	}
	return "", false
}

// passkeyUser opens the passkeys of a user. Those of an erased one are gone.
func (s *Service) passkeyUser(ctx context.Context, u *domain.User) (*passkeyUser, error) {
	uuid, err := domain.ParseID(domain.PrefixUser, string(u.ID()))
	if err != nil {
		return nil, err
	}
	out := &passkeyUser{handle: uuid[:]}
	for _, passkey := range u.Passkeys() {
		plain, err := s.open(ctx, passkey.Credential, passkeyPlace(u.ID(), passkey.ID))
		if err != nil {
			return nil, err
		}
		if plain == "" {
			continue
		}
		var known credential
		if err := json.Unmarshal([]byte(plain), &known); err != nil {
			return nil, fmt.Errorf("commands: passkey %s is damaged", passkey.ID) // the library's words may hold it
		}
		out.ids = append(out.ids, passkey.ID)
		out.credentials = append(out.credentials, webauthn.Credential{
			ID: known.ID, PublicKey: known.PublicKey, Transport: known.Transports, Flags: webauthn.NewCredentialFlags(known.Flags),
			Authenticator: webauthn.Authenticator{SignCount: passkey.Count},
		})
	}
	return out, nil
}

// passkeyPlace is where a passkey is sealed for.
func passkeyPlace(user domain.UserID, id domain.PasskeyID) string {
	return string(user) + "/" + string(id)
}

func namePlace(user domain.UserID, id domain.PasskeyID) string {
	return passkeyPlace(user, id) + "/name"
}

// addition is a passkey that is being added.
type addition struct {
	Session   webauthn.SessionData `json:"session"`
	ExpiresAt time.Time            `json:"expires_at"`
	UsedBy    domain.PasskeyID     `json:"used_by,omitempty"`
}

func (a *addition) open(now time.Time, id domain.PasskeyID) error {
	if a.Session.Challenge == "" || !now.Before(a.ExpiresAt) || a.UsedBy != "" && a.UsedBy != id {
		return errPasskeyNotStarted
	}
	return nil
}

func additionKey(user domain.UserID) string { return "passkey." + string(user) }

// StartPasskey begins to add a passkey, for whoever gives the password again: a
// borrowed session must not leave a way in behind. It gives the options for the
// browser, in JSON. Nothing changes until ConfirmPasskey is given the answer,
// which nobody has who hasn't seen these options.
func (s *Service) StartPasskey(ctx context.Context, by Caller, password string) (json.RawMessage, error) {
	if err := by.userOnly(); err != nil {
		return nil, err
	}
	if s.relying == nil {
		return nil, errNoPasskeys
	}
	var user domain.User
	if err := s.users.ask(ctx, string(by.User), func(u *domain.User, _, _ uint64) error {
		user = *u
		return u.MayAddPasskey()
	}); err != nil {
		return nil, err
	}
	if _, err := s.reauthenticate(ctx, by, "#/password", password); err != nil {
		return nil, err
	}
	owner, err := s.passkeyUser(ctx, &user)
	if err != nil {
		return nil, err
	}
	account, err := s.account(ctx, &user)
	if err != nil {
		return nil, err
	}
	catalog, err := s.catalogs.choose("")
	if err != nil {
		return nil, err
	}
	owner.name, owner.label = account.Email, account.Name
	options, session, err := s.relying.BeginRegistration(owner,
		webauthn.WithRegistrationRelyingPartyName(catalog.Labels.Product),
		webauthn.WithExclusions(webauthn.Credentials(owner.credentials).CredentialDescriptors()))
	if err != nil {
		return nil, errors.New("commands: a passkey can't be added to this account") // the library's words may hold its data
	}
	err = changeRecord(ctx, s.factors, additionKey(by.User), func(a *addition, now time.Time) (time.Duration, error) {
		*a = addition{Session: *session, ExpiresAt: now.Add(ceremonyLife)}
		return ceremonyLife, nil
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(options)
}

// ConfirmPasskey adds the passkey with which the browser has answered. The
// recovery codes are nil unless it is the account's first second factor; then
// they are told this once.
func (s *Service) ConfirmPasskey(ctx context.Context, by Caller, name string, answer []byte) (Passkey, []string, Done, error) {
	refused := func(err error) (Passkey, []string, Done, error) { return Passkey{}, nil, Done{}, err }
	if err := by.userOnly(); err != nil {
		return refused(err)
	}
	name, err := domain.CleanPersonName("#/name", name)
	if err != nil {
		return refused(err)
	}
	earlier, err := s.earlier(ctx, s.users.stream(string(by.User)))
	if err != nil {
		return refused(err)
	}
	want := domain.NewPasskey{ID: domain.PasskeyID(newID(ctx, domain.PrefixPasskey, "passkey"))}
	if earlier == nil { // else the answer has done its work
		if want, err = s.newPasskey(ctx, by, want.ID, name, answer); err != nil {
			return refused(err)
		}
	}
	codes, kept := s.newRecoveryCodes(ctx, by.User)
	out, err := do(ctx, s, s.users, string(by.User), by, func(u *domain.User, _ time.Time) (decision, error) {
		return decided(u.AddPasskey(want, kept))
	})
	if err != nil {
		return refused(err)
	}
	added := out.commit.Events[0].Event.(domain.PasskeyAdded)
	if added.RecoveryCodes == nil {
		codes = nil
	}
	return Passkey{ID: added.Passkey, Name: name, AddedAt: out.commit.At}, codes, out.Done, nil
}

// newPasskey checks the browser's answer to the options of StartPasskey, uses
// those up and gives the passkey, sealed.
func (s *Service) newPasskey(ctx context.Context, by Caller, id domain.PasskeyID, name string, answer []byte) (domain.NewPasskey, error) {
	none := domain.NewPasskey{}
	if s.relying == nil {
		return none, errNoPasskeys
	}
	pending, err := readRecord[addition](ctx, s.factors, additionKey(by.User))
	if err != nil {
		return none, err
	}
	if err := pending.open(s.Now(), id); err != nil {
		return none, err
	}
	var user domain.User
	if err := s.users.view(ctx, string(by.User), func(u *domain.User, _, _ uint64) { user = *u }); err != nil {
		return none, err
	}
	owner, err := s.passkeyUser(ctx, &user)
	if err != nil {
		return none, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return none, errNotThatCredential
	}
	made, err := s.relying.CreateCredential(owner, pending.Session, parsed)
	if err != nil {
		return none, errNotThatCredential
	}
	if _, known := owner.id(made.ID); known {
		return none, errPasskeyKnown
	}
	plain, err := json.Marshal(credential{
		ID: made.ID, PublicKey: made.PublicKey, Flags: made.Flags.ProtocolValue(), Transports: made.Transport,
	})
	if err != nil {
		return none, err
	}
	if len(plain) > maxCredential {
		return none, errNotThatCredential
	}
	err = changeRecord(ctx, s.factors, additionKey(by.User), func(a *addition, now time.Time) (time.Duration, error) {
		if a.Session.Challenge != pending.Session.Challenge {
			return 0, errPasskeyNotStarted
		}
		if err := a.open(now, id); err != nil {
			return 0, err
		}
		a.UsedBy = id
		return ceremonyLife, nil
	})
	if err != nil {
		return none, err
	}
	out := domain.NewPasskey{ID: id, Count: made.Authenticator.SignCount}
	if out.Credential, err = s.vault.Seal(ctx, by.DataKey, passkeyPlace(by.User, id), string(plain)); err != nil {
		return none, unavailable(err)
	}
	if out.Name, err = s.vault.Seal(ctx, by.DataKey, namePlace(by.User, id), name); err != nil {
		return none, unavailable(err)
	}
	return out, nil
}

// Passkeys lists the caller's own passkeys.
func (s *Service) Passkeys(ctx context.Context, by Caller) ([]Passkey, Done, error) {
	if err := by.userOnly(); err != nil {
		return nil, Done{}, err
	}
	var kept []domain.Passkey
	var done Done
	if err := s.users.view(ctx, string(by.User), func(u *domain.User, version, position uint64) {
		kept, done = u.Passkeys(), Done{position, version}
	}); err != nil {
		return nil, Done{}, err
	}
	list := make([]Passkey, len(kept))
	for i, passkey := range kept {
		name, err := s.open(ctx, passkey.Name, namePlace(by.User, passkey.ID))
		if err != nil {
			return nil, Done{}, err
		}
		list[i] = Passkey{ID: passkey.ID, Name: name, AddedAt: passkey.AddedAt}
	}
	return list, done, nil
}

// RemovePasskey removes a passkey, for whoever gives the password again, and
// ends the user's other sessions.
func (s *Service) RemovePasskey(ctx context.Context, by Caller, id domain.PasskeyID, password string) (Done, error) {
	return s.removeFactor(ctx, by, password, func(u *domain.User) ([]domain.Event, error) { return u.RemovePasskey(id) })
}
