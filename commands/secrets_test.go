package commands

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"roster/domain"
	"roster/eventstore"
)

// syncBuffer takes the log of many goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}

// planted are secrets and personal data under names that a failure may print.
type planted map[string]string

// in looks for each of them, as it is and as it may be encoded.
func (p planted) in(t *testing.T, where string, data []byte) {
	t.Helper()
	data = bytes.ToLower(data)
	for what, secret := range p {
		for form, text := range map[string]string{
			"":              secret,
			" in hex":       hex.EncodeToString([]byte(secret)),
			" in base64":    strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "="),
			" in URL form":  base64.RawURLEncoding.EncodeToString([]byte(secret)),
			" as JSON text": strings.Trim(string(must(json.Marshal(secret))), `"`),
		} {
			if bytes.Contains(data, bytes.ToLower([]byte(text))) {
				t.Errorf("%s%s is readable in %s", what, form, where)
			}
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// Nobody who reads what is stored, or the log, learns anything that is secret
// or personal.
func TestPlantedSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := &syncBuffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store, err := eventstore.Open(t.Context(), eventstore.Config{DataDir: dir, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	closeStore := sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), natsTimeout)
		defer cancel()
		if err := store.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(closeStore)
	s := serviceOn(t, store, func(c *Config) { c.Logger = logger })
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	secrets := planted{
		"a password": "Planted-password-one", "a new password": "Planted-password-two",
		"a wrong password": "Planted-password-wrong", "a password of an invited": "Planted-password-three",
		"an address": "planted-owner@example.com", "the address of an invited": "planted-guest@example.com",
		"an address that is taken": "planted-owner@", "an unknown address": "planted-nobody@example.com",
		"a name": "Plantadora Owner", "a new name": "Plantadora Renamed", "the name of an invited": "Plantadora Guest",
		"a name on an invitation": "Plantadora Invited",
		"an IP address":           "203.0.113.217", "an IPv6 address": "2001:db8:beef:cafe::217",
		"a user agent": "Plantzilla/217.0 (Amiga)", "the operator token": operatorToken,
		"a note of a review": "Plantador works until June",
		"an idempotency key": "planted-idempotency-key", "its scope": "planted-scope",
	}
	from := Caller{IP: secrets["an IP address"], UserAgent: secrets["a user agent"], RequestID: "req-1"}
	register := Registration{Email: secrets["an address"], Name: secrets["a name"], Password: secrets["a password"], Catalog: "default"}
	attempt, kept, answer, err := s.Begin(ctx, secrets["its scope"], secrets["an idempotency key"], request(register.Password))
	if err != nil || answer != nil {
		t.Fatal(answer, err)
	}
	registered, _, err := s.Register(attempt, from, register)
	check(err)
	secrets["a session token"] = registered.Session.Token
	secrets["the secret of a session"] = registered.Session.Token[len(registered.Session.Token)-secretLength:]
	check(kept.Finish(ctx, Answer{Status: 201, Header: map[string]string{"Set-Cookie": registered.Session.Token}, Body: []byte(register.Email)}))
	_, _, err = s.Register(ctx, from, register)
	wantCode(t, err, "address_taken")

	owner, err := s.Authenticate(ctx, registered.Session.Token)
	check(err)
	owner.IP, owner.UserAgent = secrets["an IPv6 address"], secrets["a user agent"]
	team := registered.Team.ID
	for _, wrong := range []string{secrets["an address"], secrets["an unknown address"]} {
		_, _, err = s.SignIn(ctx, from, wrong, secrets["a wrong password"])
		wantCode(t, err, "invalid_credentials")
		planted{"it": wrong, "the password": secrets["a wrong password"]}.in(t, "a refusal", fmt.Append(nil, err))
	}
	in, _, err := s.SignIn(ctx, from, secrets["an address"], secrets["a password"])
	check(err)
	secrets["another session token"] = in.Session.Token
	_, _, err = s.RenameMe(ctx, owner, secrets["a new name"])
	check(err)
	_, err = s.ChangePassword(ctx, owner, secrets["a password"], secrets["a new password"])
	check(err)

	invitation, _, err := s.Invite(ctx, owner, team, InviteRequest{
		Email: secrets["the address of an invited"], Name: secrets["a name on an invitation"], Role: "admin",
	})
	check(err)
	secrets["an invitation link"] = tokenOf(invitation)
	resent, _, err := s.Resend(ctx, owner, team, invitation.ID)
	check(err)
	secrets["a later link"] = tokenOf(resent)
	accepted, _, err := s.AcceptInvitation(ctx, from, tokenOf(resent), Acceptance{
		Name: secrets["the name of an invited"], Password: secrets["a password of an invited"],
	})
	check(err)
	secrets["the session token of an invited"] = accepted.Session.Token
	declined, token := invite(t, s, owner, team, "x"+secrets["an unknown address"], "member")
	_, err = s.DeclineInvitation(ctx, from, token)
	check(err)
	_, err = s.Cancel(ctx, owner, team, declined.ID)
	wantCode(t, err, "invitation_declined")

	key, _, err := s.CreateAPIKey(ctx, owner, team, APIKeyRequest{Name: "k", Role: "member"})
	check(err)
	secrets["an API key"] = key.Secret
	secrets["the secret of an API key"] = key.Secret[len(key.Secret)-secretLength:]
	_, err = s.Authenticate(ctx, key.Secret)
	check(err)
	_, err = s.RevokeAPIKey(ctx, owner, team, key.ID)
	check(err)
	review, _, err := s.OpenReview(ctx, owner, team, "Q1", nil)
	check(err)
	_, err = s.DecideReview(ctx, owner, team, review, accepted.User.ID, domain.DecisionKept, secrets["a note of a review"])
	check(err)
	_, err = s.CloseReview(ctx, owner, team, review)
	check(err)
	transfer, _, err := s.RequestTransfer(ctx, owner, team, accepted.User.ID, secrets["a new password"])
	check(err)
	secrets["an ownership link"] = s.TransferToken(team, transfer.ID)
	heir, err := s.Authenticate(ctx, accepted.Session.Token)
	check(err)
	_, _, err = s.ConfirmTransfer(ctx, heir, secrets["an ownership link"])
	check(err)
	operator, err := s.Authenticate(ctx, operatorToken)
	check(err)
	operator.IP, operator.UserAgent = from.IP, from.UserAgent
	_, err = s.SetPlan(ctx, operator, team, "team")
	check(err)
	_, err = s.SignOut(ctx, heir)
	check(err)

	abandoned, err := s.EnrolTwoFactor(ctx, owner)
	check(err)
	secrets["the secret of an app that was never confirmed"] = abandoned.Secret
	enrolment, err := s.EnrolTwoFactor(ctx, owner)
	check(err)
	secrets["the secret of an app"] = enrolment.Secret
	codes, _, err := s.ConfirmTwoFactor(ctx, owner, codeAt(t, enrolment.Secret, s.Now()))
	check(err)
	for _, code := range []string{codeAt(t, enrolment.Secret, s.Now().Add(30*time.Second)), codes[0]} {
		half, _, err := s.SignIn(ctx, from, secrets["an address"], secrets["a new password"])
		check(err)
		secrets["a challenge answered by "+code[:4]] = half.Challenge.Token
		in, _, err := s.SignInTwoFactor(ctx, from, half.Challenge.Token, code)
		check(err)
		secrets["a session by two factors and "+code[:4]] = in.Session.Token
		_, err = s.EndSession(ctx, owner, in.Session.ID)
		check(err)
	}
	for i, code := range codes {
		secrets[fmt.Sprint("recovery code ", i)] = code
		secrets[fmt.Sprint("plain recovery code ", i)] = strings.ReplaceAll(code, "-", "")
	}
	asked, _, err := s.SignIn(ctx, from, secrets["an address"], secrets["a new password"])
	check(err)
	secrets["a challenge that wasn't answered"] = asked.Challenge.Token

	// All of it can be read by whom it is for.
	if list, err := s.Sessions(ctx, owner); err != nil || len(list) != 1 || list[0].IP != from.IP || list[0].UserAgent != from.UserAgent {
		t.Errorf("the owner's sessions are %+v, %v", list, err)
	}

	messages := map[string]int{}
	for _, commit := range history(t, store) {
		secrets.in(t, "a commit of "+string(commit.Stream.Kind), must(json.Marshal(commit)))
		if commit.Actor != domain.Roster && commit.Origin == "" && commit.RequestID != "" {
			t.Errorf("position %d doesn't say where it came from", commit.Position)
		}
	}
	for name := range store.JetStream().StreamNames(ctx).Name() {
		stream, err := store.JetStream().Stream(ctx, name)
		check(err)
		info, err := stream.Info(ctx)
		check(err)
		for at := info.State.FirstSeq; at <= info.State.LastSeq; at++ {
			message, err := stream.GetMsg(ctx, at)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			check(err)
			messages[name]++
			secrets.in(t, fmt.Sprintf("message %d of %s", at, name), fmt.Append(message.Data, message.Subject, message.Header))
		}
	}
	for _, name := range []string{"EVENTS", "KEYS", "KV_SESSIONS", "KV_THROTTLE", "KV_ANSWERS", "KV_TWO_FACTOR"} {
		if messages[name] == 0 {
			t.Errorf("nothing was looked at in %s, but %v", name, messages)
		}
	}
	secrets.in(t, "the log", log.Bytes())
	closeStore()
	files := 0
	check(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files++
		secrets.in(t, path, append(data, path...))
		return err
	}))
	if files < 10 {
		t.Errorf("only %d files were looked at", files)
	}
}
