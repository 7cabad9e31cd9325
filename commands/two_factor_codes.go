package commands

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"roster/domain"
	"roster/eventstore"
)

// What authenticator apps compute their codes by: the values of RFC 6238 that
// every app knows. Some ignore the others that a link may ask for.
const (
	totpPeriod    = 30 * time.Second
	totpSecret    = 20 // bytes: as many as SHA-1 gives
	totpDigits    = otp.DigitsSix
	totpAlgorithm = otp.AlgorithmSHA1

	// totpTolerance is by how many steps a clock may be off, either way.
	totpTolerance = 1

	// stepLife is how long it is remembered that a code was used: much longer
	// than one is accepted, for nodes whose clocks differ.
	stepLife = 30 * time.Minute
)

// matchingStep finds the step of time that a code of an authenticator app is of.
func matchingStep(secret, given string, now time.Time) (step uint64, ok bool, err error) {
	last := uint64(now.Unix())/uint64(totpPeriod/time.Second) + totpTolerance
	for at := last - 2*totpTolerance; at <= last; at++ {
		right, err := hotp.GenerateCodeCustom(secret, at, hotp.ValidateOpts{Digits: totpDigits, Algorithm: totpAlgorithm})
		if err != nil {
			return 0, false, errors.New("commands: the secret of an authenticator app is damaged") // the library's words may hold it
		}
		if subtle.ConstantTimeCompare([]byte(right), []byte(given)) == 1 {
			step, ok = at, true
		}
	}
	return step, ok, nil
}

// appCode gives the six digits of an authenticator app as they are compared;
// false for what is no such code.
func appCode(given string) (string, bool) {
	digits := strings.ReplaceAll(given, " ", "")
	if len(digits) != totpDigits.Length() || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	return digits, true
}

// useStep takes the code of a step of time, once for each user whatever the
// node. by names what it is used for.
func (s *Service) useStep(ctx context.Context, user domain.UserID, step uint64, by string) error {
	ok, err := s.useOnce(ctx, fmt.Sprintf("step.%s.%d", user, step), by, stepLife)
	if err == nil && !ok {
		err = errWrongCode
	}
	return err
}

// useOnce notes that something is used, and by what; false when it was used
// before. The repetition of an attempt knows its own use again.
func (s *Service) useOnce(ctx context.Context, key, by string, life time.Duration) (ok bool, err error) {
	_, err = s.factors.bucket.Create(ctx, key, []byte(by), life)
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, eventstore.ErrExists):
		return false, unavailable(err)
	}
	used, err := s.factors.bucket.Get(ctx, key)
	if err != nil && !errors.Is(err, eventstore.ErrNoKey) {
		return false, unavailable(err)
	}
	return err == nil && string(used.Value) == by, nil
}

// A recovery code is 80 bits, as 16 characters of the alphabet of ids in groups
// of four. That alphabet has nothing that looks like something else.
const recoveryBytes = 10

var recoveryEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz")

// newRecoveryCodes makes recovery codes of a user: as they are told, once, and
// as they are kept.
func (s *Service) newRecoveryCodes(ctx context.Context, user domain.UserID) (codes []string, kept []domain.RecoveryHash) {
	for i := range domain.RecoveryCodes {
		random := newSecretBytes(ctx, fmt.Sprintf("recovery code %d", i))
		text := recoveryEncoding.EncodeToString(random[:recoveryBytes])
		codes = append(codes, text[:4]+"-"+text[4:8]+"-"+text[8:12]+"-"+text[12:])
		kept = append(kept, s.recoveryHash(user, text))
	}
	return codes, kept
}

// recoveryHash is what is kept of a recovery code.
func (s *Service) recoveryHash(user domain.UserID, code string) domain.RecoveryHash {
	mac := s.vault.MAC("recovery code", []byte(user), []byte(code))
	return domain.RecoveryHash(hex.EncodeToString(mac[:]))
}

// normalRecoveryCode undoes what people do to a code when they type it.
var normalRecoveryCode = strings.NewReplacer("-", "", " ", "", "o", "0", "i", "1", "l", "1")
