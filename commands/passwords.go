package commands

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"roster/domain"
)

// Limits of a password. NIST SP 800-63B-4 asks for length and a list of the
// common ones instead of rules about kinds of characters, and for accepting
// long ones; the upper limits only keep a request from being work.
const (
	minPasswordLength = 12 // characters
	maxPasswordLength = 256
	maxPasswordBytes  = 1024
)

// The cost of a hash: the first of the equivalent settings for argon2id that
// OWASP recommends. It takes 46 MiB for some tens of milliseconds.
const (
	argonMemory  = 46 * 1024 // KiB
	argonTime    = 1
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonTag     = 32 // bytes
)

// Parameters up to here are accepted from a stored hash, so that old hashes
// stay usable after the cost is changed, and a damaged one can't take the
// machine's memory.
const (
	maxArgonMemory  = 256 * 1024 // KiB
	maxArgonTime    = 16
	maxArgonThreads = 16
	maxArgonBytes   = 64 // of salt or tag
)

// passwords judges, hashes and verifies passwords. Hashing is bounded to one
// hash a processor at once: more would not be faster, and each holds 46 MiB.
type passwords struct {
	common map[string]struct{}
	slots  chan struct{}
}

//go:embed common_passwords.txt
var commonPasswords string

func newPasswords() *passwords {
	p := &passwords{
		common: make(map[string]struct{}, 3300),
		slots:  make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	for line := range strings.Lines(commonPasswords) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			p.common[line] = struct{}{}
		}
	}
	return p
}

// normalPassword gives the one form of a password: what looks the same is the
// same, on whichever keyboard and system it is typed.
func normalPassword(password string) string { return norm.NFKC.String(password) }

// check refuses a password that may not be chosen, at the field that pointer
// names. The refusal doesn't repeat it.
func (p *passwords) check(pointer, password string) error {
	refuse := func(code, detail string) error {
		return &domain.Error{Kind: domain.Invalid, Code: code, Field: pointer, Detail: detail}
	}
	length := utf8.RuneCountInString(password)
	switch {
	case len(password) > maxPasswordBytes || length > maxPasswordLength:
		return refuse("invalid_field",
			fmt.Sprintf("must have at most %d characters and %d bytes", maxPasswordLength, maxPasswordBytes))
	case !utf8.ValidString(password):
		return refuse("invalid_field", "must be valid UTF-8")
	}
	// Letters written as a base and an accent count once.
	normal := normalPassword(password)
	if min(length, utf8.RuneCountInString(normal)) < minPasswordLength {
		return refuse("invalid_field", fmt.Sprintf("must have at least %d characters", minPasswordLength))
	}
	if p.tooCommon(strings.ToLower(normal)) {
		return refuse("password_too_common",
			"is one of the passwords that are tried first, or is made of them; choose one that nobody else would")
	}
	return nil
}

// tooCommon tells whether a password in lower case is on the list of common
// ones, or is what people make of those when they are asked for twelve
// characters: two of them in a row, or one of them, or a piece of up to four
// characters, again and again.
func (p *passwords) tooCommon(password string) bool {
	if p.listed(password) {
		return true
	}
	count := 0
	for at := range password {
		if at == 0 {
			continue
		}
		count++ // characters before at
		head, rest := password[:at], password[at:]
		if !p.listed(head) && count > 4 {
			continue
		}
		// The whole repeats its head when it equals itself moved by the head.
		if strings.HasPrefix(password, rest) || p.listed(head) && p.listed(rest) {
			return true
		}
	}
	return false
}

func (p *passwords) listed(password string) bool {
	_, ok := p.common[password]
	return ok
}

// hash gives what is stored of a password, in the PHC string format.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the program instead
	h := argonHash{memory: argonMemory, time: argonTime, threads: argonThreads, salt: salt}
	tag, err := p.derive(ctx, h, password, argonTag)
	if err != nil {
		return "", err
	}
	h.tag = tag
	return h.String(), nil
}

// verify tells whether a password is the one that was hashed. With an empty
// hash it answers no after the time that an answer takes, so that nobody can
// tell an unknown account from a wrong password.
func (p *passwords) verify(ctx context.Context, phc, password string) (bool, error) {
	h := nobodysHash
	if phc != "" && len(password) <= maxPasswordBytes {
		var err error
		if h, err = parseArgonHash(phc); err != nil {
			return false, err
		}
	}
	if len(password) > maxPasswordBytes { // could never have been chosen
		password = ""
	}
	tag, err := p.derive(ctx, h, password, len(h.tag))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(tag, h.tag) == 1, nil
}

// derive runs argon2id once it is its turn.
func (p *passwords) derive(ctx context.Context, h argonHash, password string, length int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// x/crypto takes 46 MiB anew for each hash, and the runtime hands them back
	// to the system by itself: about four minutes after the last hash (two of
	// its periodic collections) the process is as small as it was before.
	return argon2.IDKey([]byte(normalPassword(password)), h.salt, h.time, h.memory, h.threads, uint32(length)), nil
}

// argonHash is a hash with all that is needed to compute it again.
type argonHash struct {
	memory, time uint32
	threads      uint8
	salt, tag    []byte
}

// nobodysHash costs as much as any other. No password has it: its tag is not
// the output of argon2id but for a chance of one in 2^256.
var nobodysHash = argonHash{
	memory: argonMemory, time: argonTime, threads: argonThreads,
	salt: make([]byte, argonSalt), tag: make([]byte, argonTag),
}

func (h argonHash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.tag))
}

// errDamagedHash doesn't say what was found: it could be part of a secret.
var errDamagedHash = errors.New("commands: the stored password hash is damaged or of an unknown kind")

func parseArgonHash(phc string) (argonHash, error) {
	var h argonHash
	var version int
	fields := strings.Split(phc, "$") // "", kind, version, parameters, salt, tag
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" {
		return h, errDamagedHash
	}
	if _, err := fmt.Sscanf(fields[2]+" "+fields[3], "v=%d m=%d,t=%d,p=%d", &version, &h.memory, &h.time, &h.threads); err != nil {
		return h, errDamagedHash
	}
	var saltErr, tagErr error
	h.salt, saltErr = base64.RawStdEncoding.Strict().DecodeString(fields[4])
	h.tag, tagErr = base64.RawStdEncoding.Strict().DecodeString(fields[5])
	switch {
	case version != argon2.Version, saltErr != nil, tagErr != nil,
		len(h.salt) < 8 || len(h.salt) > maxArgonBytes, len(h.tag) < 16 || len(h.tag) > maxArgonBytes,
		h.threads < 1 || h.threads > maxArgonThreads, h.time < 1 || h.time > maxArgonTime,
		h.memory < 8*uint32(h.threads) || h.memory > maxArgonMemory,
		phc != h.String(): // Sscanf lets things pass at the end
		return h, errDamagedHash
	}
	return h, nil
}
