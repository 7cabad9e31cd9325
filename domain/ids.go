package domain

import (
	"errors"
	"strings"
)

// Every id is a prefix and a UUIDv7 in TypeID form: 26 characters of
// lower-case Crockford base32. The prefix says what it names, and ids sort by
// the time of their making. An id is never reused.
type (
	UserID       string
	TeamID       string
	InvitationID string
	SiteID       string
	APIKeyID     string
	EventID      string
	SessionID    string
	TransferID   string
	PasskeyID    string
	ReviewID     string
)

// Prefixes of the ids, as API clients see them.
const (
	PrefixUser       = "user"
	PrefixTeam       = "team"
	PrefixInvitation = "inv"
	PrefixSite       = "site"
	PrefixAPIKey     = "key"
	PrefixEvent      = "evt"
	PrefixSession    = "ses"
	PrefixTransfer   = "trf"
	PrefixPasskey    = "pky"
	PrefixReview     = "rev"
	PrefixReset      = "rst" // of a request to reset a password
)

// AddressID stands for an e-mail address without revealing it: a keyed hash of
// the normalised address, in hexadecimal. Two spellings of one address have
// the same AddressID, which is how "one pending invitation per address" is
// decided without the address being known.
type AddressID string

// Sealed is personal data as ciphertext, readable only with the data key of
// the person concerned. The empty value means that nothing was given. Events
// and aggregates hold personal data in this form alone; opening one whose key
// has been destroyed gives nothing.
type Sealed string

const base32Alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// base32Values maps a character to its value plus one; zero marks a character
// that is not in the alphabet.
var base32Values = func() (values [256]byte) {
	for i := range len(base32Alphabet) {
		values[base32Alphabet[i]] = byte(i) + 1
	}
	return values
}()

const idSuffixLength = 26

// FormatID gives the TypeID form of a UUID: 128 bits as 26 base32 characters,
// the first of which carries only three bits.
func FormatID(prefix string, uuid [16]byte) string {
	buf := make([]byte, len(prefix)+1+idSuffixLength)
	n := copy(buf, prefix)
	buf[n] = '_'
	out := buf[n+1:]
	var acc uint64 // bits not yet written, and how many
	bits := 2      // two leading zero bits make 130, which is 26 × 5
	at := 0
	for _, b := range uuid {
		acc = acc<<8 | uint64(b)
		bits += 8
		for bits >= 5 {
			bits -= 5
			out[at] = base32Alphabet[acc>>bits&31]
			at++
		}
		acc &= 1<<bits - 1
	}
	return string(buf)
}

var errMalformedID = errors.New("domain: malformed id")

// ParseID reads an id of the given prefix back into its UUID.
func ParseID(prefix, id string) (uuid [16]byte, err error) {
	suffix, ok := strings.CutPrefix(id, prefix+"_")
	if !ok || len(suffix) != idSuffixLength || suffix[0] > '7' {
		return uuid, errMalformedID
	}
	var acc uint64
	bits := -2
	at := 0
	for i := range len(suffix) {
		value := base32Values[suffix[i]]
		if value == 0 {
			return uuid, errMalformedID
		}
		acc = acc<<5 | uint64(value-1)
		bits += 5
		if bits >= 8 {
			bits -= 8
			uuid[at] = byte(acc >> bits)
			at++
			acc &= 1<<bits - 1
		}
	}
	return uuid, nil
}

// ValidID tells whether id has the form that FormatID gives for the prefix.
func ValidID(prefix, id string) bool {
	_, err := ParseID(prefix, id)
	return err == nil
}
