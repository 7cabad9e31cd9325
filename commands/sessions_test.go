package commands

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"roster/domain"
	"roster/eventstore"
)

// sessionNode is a node's view of the sessions.
func sessionNode(t testing.TB, store *eventstore.Store, clock *handClock) *sessions {
	t.Helper()
	cached, err := bucketOf(t, store, sessionsBucket).Cached(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cached.Close)
	return newSessions(cached, store.Vault(), clock.now)
}

// sessionsForTest gives two nodes on one store.
func sessionsForTest(t testing.TB) (one, two *sessions, clock *handClock) {
	t.Helper()
	store, _ := storeIn(t, t.TempDir())
	clock = newHandClock()
	return sessionNode(t, store, clock), sessionNode(t, store, clock), clock
}

func newUser() domain.UserID { return domain.UserID(eventstore.NewID(domain.PrefixUser)) }

func startSession(t testing.TB, s *sessions, user domain.UserID) NewSession {
	t.Helper()
	key, err := s.vault.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.start(t.Context(), user, key, "192.0.2.7", "Firefox on a train")
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// mustFind gives the session of a token that is expected to be valid.
func mustFind(t testing.TB, s *sessions, token string) *sessionRecord {
	t.Helper()
	record, err := s.find(t.Context(), token)
	if err != nil {
		t.Fatalf("a valid token: %v", err)
	}
	return record
}

func wantNone(t testing.TB, s *sessions, token string) {
	t.Helper()
	if _, err := s.find(t.Context(), token); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("a token without a session: %v", err)
	}
}

// revisionOf is the latest revision of a session's record.
func revisionOf(t testing.TB, s *sessions, token string) uint64 {
	t.Helper()
	key, _, _ := sessionKey(token)
	entry, err := s.bucket.Bucket.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return entry.Revision
}

func TestSessionFromStartToEnd(t *testing.T) {
	one, two, clock := sessionsForTest(t)
	user := newUser()
	started := startSession(t, one, user)
	if !strings.HasPrefix(started.Token, "rs_"+string(user[5:])+"_") || len(started.Token) != 73 {
		t.Errorf("the token has an unexpected form, of %d characters", len(started.Token))
	}
	if want := clock.now().Add(30 * 24 * time.Hour); !started.ExpiresAt.Equal(want) {
		t.Errorf("it expires at %v, want %v", started.ExpiresAt, want)
	}
	for _, node := range []*sessions{one, two, one} {
		record := mustFind(t, node, started.Token)
		if record.ID != started.ID || record.User != user || record.DataKey == "" || !record.CreatedAt.Equal(clock.now()) {
			t.Errorf("unexpected record: %+v", record)
		}
	}
	list, err := two.list(t.Context(), user)
	if err != nil || len(list) != 1 {
		t.Fatalf("list: %v, %v", list, err)
	}
	want := Session{
		ID: started.ID, CreatedAt: clock.now(), LastSeenAt: clock.now(), ExpiresAt: started.ExpiresAt,
		IP: "192.0.2.7", UserAgent: "Firefox on a train",
	}
	if list[0] != want {
		t.Errorf("listed as %+v", list[0])
	}

	revision, err := one.end(t.Context(), user, started.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantNone(t, one, started.Token)
	if err := two.bucket.Reached(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	wantNone(t, two, started.Token)
	if list, err := one.list(t.Context(), user); err != nil || len(list) != 0 {
		t.Errorf("after the end: %v, %v", list, err)
	}
	if _, err := one.end(t.Context(), user, started.ID); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("ended twice: %v", err)
	}
}

func TestSessionsOfOthersCantBeEnded(t *testing.T) {
	one, _, _ := sessionsForTest(t)
	anna, bertil := newUser(), newUser()
	session := startSession(t, one, anna)
	if _, err := one.end(t.Context(), bertil, session.ID); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	for _, user := range []domain.UserID{"", "*", ">", "user_*", domain.UserID(session.Token)} {
		if _, _, err := one.endAll(t.Context(), user, ""); err == nil {
			t.Errorf("%q is taken for the id of a user", user)
		}
		if _, err := one.start(t.Context(), user+"_______________________________", "", "", ""); err == nil {
			t.Errorf("%q can start a session", user)
		}
	}
	mustFind(t, one, session.Token)
}

func TestEndAll(t *testing.T) {
	one, two, _ := sessionsForTest(t)
	anna, bertil := newUser(), newUser()
	var mine []NewSession
	for range 4 {
		mine = append(mine, startSession(t, one, anna))
	}
	other := startSession(t, one, bertil)
	for _, session := range mine { // into the other node's cache
		mustFind(t, two, session.Token)
	}
	ended, revision, err := one.endAll(t.Context(), anna, mine[2].ID)
	if err != nil || len(ended) != 3 {
		t.Fatalf("ended %v, %v", ended, err)
	}
	if err := two.bucket.Reached(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	for _, node := range []*sessions{one, two} {
		for i, session := range mine {
			if i == 2 {
				mustFind(t, node, session.Token)
			} else {
				wantNone(t, node, session.Token)
			}
		}
		mustFind(t, node, other.Token)
	}
	if ended, revision, err := one.endAll(t.Context(), anna, mine[2].ID); len(ended) != 0 || revision != 0 || err != nil {
		t.Errorf("nothing to end: %v, %d, %v", ended, revision, err)
	}
	if ended, _, err := one.endAll(t.Context(), anna, ""); len(ended) != 1 || err != nil {
		t.Errorf("without an exception: %v, %v", ended, err)
	}
}

func TestSessionEndsWhenIdle(t *testing.T) {
	one, two, clock := sessionsForTest(t)
	session := startSession(t, one, newUser())
	for range 5 { // in use
		clock.forward(sessionIdle - time.Second)
		mustFind(t, one, session.Token)
	}
	clock.forward(sessionIdle)
	wantNone(t, one, session.Token)
	wantNone(t, two, session.Token)
}

func TestSessionEndsAfterThirtyDays(t *testing.T) {
	one, two, clock := sessionsForTest(t)
	session := startSession(t, one, newUser())
	for clock.now().Add(12 * time.Hour).Before(session.ExpiresAt) {
		clock.forward(12 * time.Hour)
		mustFind(t, two, session.Token)
	}
	clock.forward(session.ExpiresAt.Sub(clock.now()) - time.Microsecond)
	mustFind(t, one, session.Token)
	clock.forward(time.Microsecond)
	wantNone(t, one, session.Token)
	wantNone(t, two, session.Token)
	if list, err := one.list(t.Context(), session.user(t)); err != nil || len(list) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
}

// user is whose session it is, as the token says.
func (n NewSession) user(t testing.TB) domain.UserID {
	key, _, ok := sessionKey(n.Token)
	if !ok {
		t.Fatal("not a token")
	}
	return domain.UserID(key[:len("user_")+idSuffix])
}

func TestUseIsWrittenDownRarely(t *testing.T) {
	one, two, clock := sessionsForTest(t)
	session := startSession(t, one, newUser())
	first := revisionOf(t, one, session.Token)
	clock.forward(sessionTouch - time.Microsecond)
	mustFind(t, one, session.Token)
	mustFind(t, two, session.Token)
	if revisionOf(t, one, session.Token) != first {
		t.Fatal("the use was written down within five minutes")
	}
	clock.forward(time.Microsecond)
	if seen := mustFind(t, one, session.Token).LastSeenAt; !seen.Equal(clock.now()) {
		t.Errorf("last seen %v, want %v", seen, clock.now())
	}
	second := revisionOf(t, one, session.Token)
	if second == first {
		t.Fatal("the use wasn't written down after five minutes")
	}
	if err := two.bucket.Reached(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		mustFind(t, one, session.Token)
		mustFind(t, two, session.Token)
	}
	if revisionOf(t, one, session.Token) != second {
		t.Error("the use was written down again at once")
	}
}

func TestUseOnTwoNodesAtOnce(t *testing.T) {
	one, two, clock := sessionsForTest(t)
	session := startSession(t, one, newUser())
	for range 3 {
		clock.forward(sessionTouch)
		parallel(t, 64, func(i int) error {
			_, err := []*sessions{one, two}[i%2].find(t.Context(), session.Token)
			return err
		})
	}
	if seen := mustFind(t, one, session.Token).LastSeenAt; !seen.Equal(clock.now()) {
		t.Errorf("last seen %v, want %v", seen, clock.now())
	}
}

// A session that was ended doesn't come back because its use is written down
// at the same moment.
func TestAnEndWinsOverUse(t *testing.T) {
	one, two, clock := sessionsForTest(t)
	session := startSession(t, one, newUser())
	key, hash, _ := sessionKey(session.Token)
	mustFind(t, one, session.Token)
	read, _ := one.decoded.GetIfPresent(hash)
	if _, err := two.end(t.Context(), session.user(t), session.ID); err != nil {
		t.Fatal(err)
	}
	// This node goes on with what it read before the end.
	if _, err := one.used(t.Context(), key, read, clock.now()); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("got %v", err)
	}
	if _, err := one.bucket.Bucket.Get(t.Context(), key); !errors.Is(err, eventstore.ErrNoKey) {
		t.Errorf("the session is back: %v", err)
	}

	// And in any order.
	for range 50 {
		session := startSession(t, one, newUser())
		key, _, _ := sessionKey(session.Token)
		mustFind(t, one, session.Token)
		clock.forward(sessionTouch)
		parallel(t, 2, func(i int) error {
			if i == 0 {
				_, err := two.end(t.Context(), session.user(t), session.ID)
				return err
			}
			_, _ = one.find(t.Context(), session.Token) // either answer is right
			return nil
		})
		if _, err := one.bucket.Bucket.Get(t.Context(), key); !errors.Is(err, eventstore.ErrNoKey) {
			t.Fatalf("the session is back: %v", err)
		}
	}
}

func TestUseOfASessionSurvivesLostWrites(t *testing.T) {
	one, _, clock := sessionsForTest(t)
	session := startSession(t, one, newUser())
	key, hash, _ := sessionKey(session.Token)
	mustFind(t, one, session.Token)
	read, _ := one.decoded.GetIfPresent(hash)
	clock.forward(sessionTouch)
	ended, cancel := context.WithCancel(t.Context())
	cancel() // nothing can be written
	if _, err := one.used(ended, key, read, clock.now()); err != nil {
		t.Errorf("got %v", err)
	}
	mustFind(t, one, session.Token)
}

func TestSessionsSurviveARestart(t *testing.T) {
	dir, clock := t.TempDir(), newHandClock()
	store, closeStore := storeIn(t, dir)
	node := sessionNode(t, store, clock)
	session := startSession(t, node, newUser())
	gone := startSession(t, node, session.user(t))
	if _, err := node.end(t.Context(), session.user(t), gone.ID); err != nil {
		t.Fatal(err)
	}
	node.bucket.Close()
	closeStore()

	store, _ = storeIn(t, dir)
	node = sessionNode(t, store, clock)
	mustFind(t, node, session.Token)
	wantNone(t, node, gone.Token)
	list, err := node.list(t.Context(), session.user(t))
	if err != nil || len(list) != 1 || list[0].IP != "192.0.2.7" {
		t.Errorf("listed %v, %v", list, err)
	}
}

func TestMalformedTokensAreNotLookedUp(t *testing.T) {
	store, closeStore := storeIn(t, t.TempDir())
	node := sessionNode(t, store, newHandClock())
	token := startSession(t, node, newUser()).Token
	node.bucket.Close()
	closeStore() // whatever is looked up from here on fails
	for _, token := range []string{
		"", "rs_", token[1:], token[:72], token + "A", "rk" + token[2:], strings.ToUpper(token),
		token[:28] + "." + token[29:], token[:29] + "." + token[30:],
		token[:3] + "8" + token[4:], token[:3] + strings.Repeat("u", 26) + token[29:], token[:3] + strings.Repeat("*", 26) + token[29:],
		token[:72] + "=", token[:72] + "*", token[:72] + ">", token[:72] + "\n", token[:71] + "é",
		strings.Repeat("rs_", 10_000),
	} {
		wantNone(t, node, token)
	}
	// One that could be valid is looked up, and not being able to is no answer.
	ctx, cancel := context.WithTimeout(t.Context(), natsTimeout)
	defer cancel()
	if _, err := node.find(ctx, token); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a valid token without the bucket: %v", err)
	}
}

func TestAlteredTokensFindNothing(t *testing.T) {
	one, _, _ := sessionsForTest(t)
	session, other := startSession(t, one, newUser()), startSession(t, one, newUser())
	for i := 3; i < len(session.Token); i++ {
		altered := []byte(session.Token)
		if altered[i]++; altered[i] == session.Token[i] {
			continue
		}
		wantNone(t, one, string(altered))
	}
	wantNone(t, one, other.Token[:30]+session.Token[30:]) // another's secret under one's own name
	mustFind(t, one, session.Token)
}

func TestTheBucketHoldsNoToken(t *testing.T) {
	one, _, _ := sessionsForTest(t)
	session := startSession(t, one, newUser())
	err := one.bucket.Scan(t.Context(), ">", func(key string, entry eventstore.Entry) error {
		for _, secret := range []string{session.Token, session.Token[30:], "192.0.2.7", "Firefox"} {
			if strings.Contains(key, secret) || bytes.Contains(entry.Value, []byte(secret)) {
				t.Errorf("%s holds %s: %s", key, secret, entry.Value)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhereASessionStartedIsErasedWithItsUser(t *testing.T) {
	one, _, _ := sessionsForTest(t)
	session := startSession(t, one, newUser())
	if _, err := one.vault.Erase(t.Context(), mustFind(t, one, session.Token).DataKey); err != nil {
		t.Fatal(err)
	}
	list, err := one.list(t.Context(), session.user(t))
	if err != nil || len(list) != 1 || list[0].IP != "" || list[0].UserAgent != "" {
		t.Errorf("listed %+v, %v", list, err)
	}
}

func TestLongUserAgentsAreCut(t *testing.T) {
	one, _, _ := sessionsForTest(t)
	key, err := one.vault.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	session, err := one.start(t.Context(), newUser(), key, "2001:db8::1", "x"+strings.Repeat("é", 100_000)+"\xff")
	if err != nil {
		t.Fatal(err)
	}
	list, err := one.list(t.Context(), session.user(t))
	if err != nil || len(list) != 1 || list[0].UserAgent != "x"+strings.Repeat("é", 255) {
		t.Errorf("listed %+v, %v", list, err)
	}
}

func TestANewSessionDisplacesTheLeastUsed(t *testing.T) {
	one, _, clock := sessionsForTest(t)
	user := newUser()
	var all []NewSession
	for range maxSessions {
		all = append(all, startSession(t, one, user))
		clock.forward(time.Second)
	}
	clock.forward(sessionTouch)
	mustFind(t, one, all[0].Token) // the oldest, but in use
	last := startSession(t, one, user)
	if len(last.displaced) != 1 || last.displaced[0] != all[1].ID {
		t.Errorf("it displaced %v", last.displaced)
	}
	wantNone(t, one, all[1].Token)
	for _, session := range append(all[2:], all[0], last) {
		mustFind(t, one, session.Token)
	}
}

func TestARepeatedAttemptGetsTheSameSession(t *testing.T) {
	one, two, clock := sessionsForTest(t)
	user := newUser()
	key, err := one.vault.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	attempt := func(secret byte) context.Context {
		return context.WithValue(t.Context(), attemptKey{},
			&Attempt{service: &Service{vault: one.vault}, secret: []byte{secret}, started: clock.now()})
	}
	var sessions []NewSession
	for _, ctx := range []context.Context{attempt(1), attempt(1), attempt(2), t.Context(), t.Context()} {
		session, err := two.start(ctx, user, key, "192.0.2.7", "")
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, session)
		clock.forward(time.Second)
	}
	if a, b := sessions[0], sessions[1]; a.ID != b.ID || a.Token != b.Token || a.ExpiresAt != b.ExpiresAt {
		t.Errorf("the repetition got another session: %v, %v", a.ID, b.ID)
	}
	seen := map[string]bool{}
	for _, session := range sessions[1:] {
		if seen[session.Token] || seen[string(session.ID)] {
			t.Error("two authentications got one session")
		}
		seen[session.Token], seen[string(session.ID)] = true, true
		mustFind(t, one, session.Token)
	}
}

func TestADamagedSessionIsAnError(t *testing.T) {
	one, _, _ := sessionsForTest(t)
	session := startSession(t, one, newUser())
	key, _, _ := sessionKey(session.Token)
	if _, err := one.bucket.Put(t.Context(), key, []byte("{"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := one.find(t.Context(), session.Token); err == nil || errors.Is(err, ErrUnauthenticated) {
		t.Errorf("got %v", err)
	}
}

func FuzzSessionKey(f *testing.F) {
	f.Add("rs_" + strings.Repeat("0", 26) + "_" + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, token string) {
		key, _, ok := sessionKey(token)
		if !ok {
			return
		}
		if len(key) != 96 || strings.ContainsAny(key, "*> ") || strings.Count(key, ".") != 1 ||
			!domain.ValidID(domain.PrefixUser, key[:31]) {
			t.Errorf("%q gives the key %q", token, key)
		}
	})
}
