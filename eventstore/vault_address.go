package eventstore

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrAddress means that a text is no e-mail address that Roster takes. What
// wraps it says why in words that may be shown, without repeating the text.
var ErrAddress = errors.New("not a usable e-mail address")

// Lengths in bytes: what SMTP can carry (RFC 5321, 4.5.3.1).
const (
	maxAddress      = 254
	maxAddressLocal = 64
)

// NormaliseAddress gives the one form of an e-mail address, under which it is
// stored, compared and written to: without surrounding white space, in lower
// case, in Unicode's composed form (NFC). It takes name@domain and nothing
// else: no display name, no comment, no quoted name, no domain in brackets, so
// that it can stand in a header and on a page as it is.
func NormaliseAddress(email string) (string, error) {
	// Folding can make a text longer, by less than three times. The bound
	// also keeps the work small.
	if len(email) > 4*maxAddress {
		return "", badAddress("it is longer than %d bytes", maxAddress)
	}
	if !utf8.ValidString(email) {
		return "", badAddress("it isn't UTF-8")
	}
	trimmed := strings.TrimSpace(email)
	if err := foldsToASCII(trimmed); err != nil {
		return "", err
	}
	// Lower case of composed text can be decomposed again.
	address := norm.NFC.String(strings.ToLower(norm.NFC.String(trimmed)))
	if len(address) > maxAddress {
		return "", badAddress("it is longer than %d bytes", maxAddress)
	}
	for _, r := range address {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return "", badAddress("it has a space or a character that can't be printed")
		}
	}
	local, host, ok := strings.Cut(address, "@")
	switch {
	case !ok || local == "" || host == "":
		return "", badAddress("it must have the form name@domain")
	case strings.Contains(host, "@"):
		return "", badAddress("it has more than one @")
	case len(local) > maxAddressLocal:
		return "", badAddress("what is before the @ is longer than %d bytes", maxAddressLocal)
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsAny(label, "[]_:") {
			return "", badAddress("what is after the @ isn't a domain name")
		}
	}
	// The last word has the parser of headers: what it reads must be the
	// address and nothing beside it.
	if parsed, err := mail.ParseAddress(address); err != nil || parsed.Name != "" || parsed.Address != address {
		return "", badAddress("it has a character that needs quoting, or a dot where none may be")
	}
	return address, nil
}

// foldsToASCII refuses letters outside ASCII that folding would turn into
// ASCII ones, such as the Kelvin sign for k: a look-alike that becomes
// somebody else's address.
func foldsToASCII(text string) error {
	for _, r := range text {
		if r < utf8.RuneSelf {
			continue
		}
		for _, folded := range norm.NFC.String(strings.ToLower(norm.NFC.String(string(r)))) {
			if folded < utf8.RuneSelf {
				return badAddress("it has a character that looks like another one")
			}
		}
	}
	return nil
}

func badAddress(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrAddress}, args...)...)
}
