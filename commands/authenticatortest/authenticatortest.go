// Package authenticatortest is an authenticator with its browser, in software,
// for tests of passkeys: it makes ES256 keys and attests none of them.
package authenticatortest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
)

// Authenticator holds passkeys. Its fields are what a test may turn.
type Authenticator struct {
	Origin string // of the page that the browser shows

	RPID          string // what it signs for in place of what it is asked for; empty for that
	NotVerifying  bool   // it asks for no PIN or finger
	NotPresent    bool   // nobody touches it
	Counts        bool   // it counts its signatures in Count
	Count         uint32
	WithoutHandle bool // it doesn't say whose a passkey is

	passkeys []passkey
}

type passkey struct {
	id     []byte
	rp     string
	handle bytes
	key    *ecdsa.PrivateKey
}

// bytes are written as base64 without padding, as browsers do.
type bytes []byte

func (b bytes) MarshalText() ([]byte, error) {
	return []byte(base64.RawURLEncoding.EncodeToString(b)), nil
}

func (b *bytes) UnmarshalText(text []byte) (err error) {
	*b, err = base64.RawURLEncoding.DecodeString(string(text))
	return err
}

// descriptor names a passkey.
type descriptor struct {
	ID bytes `json:"id"`
}

// options are both those of creating and of using a passkey, as far as they
// matter here.
type options struct {
	PublicKey struct {
		Challenge bytes `json:"challenge"`
		RP        struct {
			ID string `json:"id"`
		} `json:"rp"`
		RPID string `json:"rpId"`
		User struct {
			ID bytes `json:"id"`
		} `json:"user"`
		Exclude []descriptor `json:"excludeCredentials"`
		Allow   []descriptor `json:"allowCredentials"`
	} `json:"publicKey"`
}

type answer struct {
	ID       bytes          `json:"id"`
	RawID    bytes          `json:"rawId"`
	Type     string         `json:"type"`
	Response map[string]any `json:"response"`
}

// ErrNone means that there is no passkey that could answer, or that the one to
// be made is there already.
var ErrNone = errors.New("authenticatortest: no passkey for these options")

// Flags of authenticator data.
const (
	flagPresent  = 1 << 0
	flagVerified = 1 << 2
	flagAttested = 1 << 6
)

// Create makes a passkey and gives what navigator.credentials.create would.
func (a *Authenticator) Create(given []byte) ([]byte, error) {
	var o options
	if err := json.Unmarshal(given, &o); err != nil {
		return nil, err
	}
	for _, there := range o.PublicKey.Exclude {
		if slices.ContainsFunc(a.passkeys, func(p passkey) bool { return slices.Equal(p.id, there.ID) }) {
			return nil, ErrNone
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id := make([]byte, 32)
	_, _ = rand.Read(id) // never fails
	made := passkey{id: id, rp: o.PublicKey.RP.ID, handle: o.PublicKey.User.ID, key: key}
	a.passkeys = append(a.passkeys, made)

	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, err
	}
	// A COSE key: {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: x, -3: y}.
	cose := []byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32}
	cose = append(cose, point[1:33]...)
	cose = append(cose, 0x22, 0x58, 32)
	cose = append(cose, point[33:]...)

	data := a.data(made.rp, flagAttested)
	data = append(data, make([]byte, 16)...) // of no known model
	data = binary.BigEndian.AppendUint16(data, uint16(len(id)))
	data = append(append(data, id...), cose...)
	// {"fmt": "none", "attStmt": {}, "authData": data}
	object := append([]byte{0xa3, 0x63}, "fmt"...)
	object = append(append(object, 0x64), "none"...)
	object = append(append(object, 0x67), "attStmt"...)
	object = append(append(object, 0xa0, 0x68), "authData"...)
	object = append(object, 0x58, byte(len(data)))
	object = append(object, data...)
	return json.Marshal(answer{ID: id, RawID: id, Type: "public-key", Response: map[string]any{
		"clientDataJSON": a.client("webauthn.create", o.PublicKey.Challenge), "attestationObject": bytes(object), "transports": []string{"internal"},
	}})
}

// Get uses a passkey and gives what navigator.credentials.get would: one of those
// that are allowed, or where none is named the last one made for the site.
func (a *Authenticator) Get(given []byte) ([]byte, error) {
	var o options
	if err := json.Unmarshal(given, &o); err != nil {
		return nil, err
	}
	for _, p := range slices.Backward(a.passkeys) {
		allowed := len(o.PublicKey.Allow) == 0 ||
			slices.ContainsFunc(o.PublicKey.Allow, func(d descriptor) bool { return slices.Equal(d.ID, p.id) })
		if !allowed || p.rp != o.PublicKey.RPID {
			continue
		}
		if a.Counts {
			a.Count++
		}
		data := a.data(p.rp, 0)
		client := a.client("webauthn.get", o.PublicKey.Challenge)
		hash := sha256.Sum256(client)
		digest := sha256.Sum256(append(slices.Clone(data), hash[:]...))
		signature, err := ecdsa.SignASN1(rand.Reader, p.key, digest[:])
		if err != nil {
			return nil, err
		}
		response := map[string]any{"clientDataJSON": client, "authenticatorData": bytes(data), "signature": bytes(signature)}
		if !a.WithoutHandle {
			response["userHandle"] = p.handle
		}
		return json.Marshal(answer{ID: p.id, RawID: p.id, Type: "public-key", Response: response})
	}
	return nil, ErrNone
}

// data is the authenticator data without what is attested.
func (a *Authenticator) data(rp string, flags byte) []byte {
	if a.RPID != "" {
		rp = a.RPID
	}
	if !a.NotPresent {
		flags |= flagPresent
	}
	if !a.NotVerifying {
		flags |= flagVerified
	}
	hash := sha256.Sum256([]byte(rp))
	return binary.BigEndian.AppendUint32(append(hash[:], flags), a.Count)
}

// client is what the browser says of the page.
func (a *Authenticator) client(kind string, challenge bytes) bytes {
	data, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.Origin, "crossOrigin": false})
	if err != nil {
		panic(err) // texts always encode
	}
	return data
}
