package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"roster/domain"
	"roster/eventstore"
)

// MaxHostActions is how many actions of a host product are recorded at once.
const MaxHostActions = 1000

// RecordedAction is where an action of the host product stands in the log.
type RecordedAction struct {
	ID       domain.EventID
	Position uint64
	At       time.Time
}

// RecordAction enters an action of the host product in a team's audit log. It
// shares a commit with others that come at the same time, from whomever, so
// that a busy host costs the event store few commits. Under an idempotency key
// it gets one of its own, where a repetition finds it.
//
// Done has the version of the team, which recording doesn't change.
func (s *Service) RecordAction(ctx context.Context, by Caller, team domain.TeamID, want domain.HostAction) (RecordedAction, Done, error) {
	if attemptOf(ctx) != nil {
		recorded, done, err := s.recordActions(ctx, by, team, []domain.HostAction{want})
		if err != nil {
			return RecordedAction{}, Done{}, err
		}
		return recorded[0], done, nil
	}
	decided, done, err := s.decideActions(ctx, by, team, []domain.HostAction{want})
	if err != nil {
		return RecordedAction{}, Done{}, err
	}
	draft, err := s.actionsCommit(ctx, by, hostStream(ctx, 0), decided)
	if err != nil {
		return RecordedAction{}, Done{}, err
	}
	commit, err := s.hostActions.journal.Record(ctx, draft)
	if err != nil {
		return RecordedAction{}, Done{}, unavailable(err)
	}
	done.Position = commit.Position
	return RecordedAction{draft.ID(), commit.Position, commit.At}, done, nil
}

// RecordActions enters several actions, all or none.
func (s *Service) RecordActions(ctx context.Context, by Caller, team domain.TeamID, wanted []domain.HostAction) ([]RecordedAction, Done, error) {
	if len(wanted) == 0 || len(wanted) > MaxHostActions {
		return nil, Done{}, invalidField("#/events", fmt.Sprintf("must have 1 to %d entries", MaxHostActions))
	}
	recorded, done, err := s.recordActions(ctx, by, team, wanted)
	if located := (*actionRefusal)(nil); errors.As(err, &located) {
		err = located.among()
	}
	return recorded, done, err
}

// recordActions appends actions in commits of their own.
func (s *Service) recordActions(ctx context.Context, by Caller, team domain.TeamID, wanted []domain.HostAction) ([]RecordedAction, Done, error) {
	commits, err := s.earlierActions(ctx)
	if err != nil {
		return nil, Done{}, err
	}
	var done Done
	if commits == nil {
		var decided []decidedAction
		if decided, done, err = s.decideActions(ctx, by, team, wanted); err != nil {
			return nil, Done{}, err
		}
		commits, err = s.appendActions(ctx, by, decided)
	} else {
		err = s.teams.view(ctx, string(team), func(_ *domain.Team, version, _ uint64) { done.Version = version })
	}
	if err != nil {
		return nil, Done{}, err
	}
	var recorded []RecordedAction
	for _, commit := range commits {
		done.Position = commit.Position
		for _, event := range commit.Events {
			recorded = append(recorded, RecordedAction{event.ID, commit.Position, commit.At})
		}
	}
	return recorded, done, nil
}

// decidedAction is an action that may be recorded.
type decidedAction struct {
	event   domain.HostActionRecorded
	content domain.HostActionContent
	person  bool // it was done to somebody who is or was a member
}

// actionRefusal is why one of several actions can't be recorded.
type actionRefusal struct {
	index int
	err   error
}

func (e *actionRefusal) Error() string { return e.err.Error() }
func (e *actionRefusal) Unwrap() error { return e.err }

// among is the refusal with a pointer into the list that the action stood in.
func (e *actionRefusal) among() error {
	var refusal *domain.Error
	if !errors.As(e.err, &refusal) || refusal.Field == "" {
		return e.err
	}
	located := *refusal
	located.Field = fmt.Sprintf("#/events/%d/%s", e.index, strings.TrimPrefix(refusal.Field, "#/"))
	return &located
}

// decideActions decides by the team as it is now. The events are no part of the
// team's history, so that they never burden it; hence nothing keeps the
// permission from being taken away before they are appended. What was under way
// then had happened, and an audit log is where that belongs.
func (s *Service) decideActions(ctx context.Context, by Caller, team domain.TeamID, wanted []domain.HostAction) ([]decidedAction, Done, error) {
	decided := make([]decidedAction, len(wanted))
	done, err := s.ViewTeam(ctx, by, team, func(t *domain.Team, now time.Time) error {
		for i, want := range wanted {
			event, content, err := t.RecordHostAction(by.Actor, want, now)
			if err != nil {
				return &actionRefusal{i, err}
			}
			decided[i] = decidedAction{event, content, t.Knows(domain.UserID(want.TargetID))}
		}
		return nil
	})
	if err == nil && by.IfMatch != 0 && by.IfMatch != done.Version {
		err = ErrVersionConflict
	}
	return decided, done, err
}

// hostStream is the stream of one commit of actions.
func hostStream(ctx context.Context, index int) eventstore.Stream {
	return eventstore.Stream{Kind: eventstore.KindActivity, ID: newID(ctx, hostPrefix, fmt.Sprintf("host actions/%d", index))}
}

const (
	hostPrefix = "host"

	// maxHostCommit is how many bytes of events go into one commit, about. It
	// leaves room for what is only estimated.
	maxHostCommit = eventstore.MaxCommitBytes * 3 / 4
)

// size is how many bytes an action takes in a commit at most, with its content
// sealed: a name may hold what JSON escapes, and base64 takes a third more.
func (a *decidedAction) size() int {
	content := 2*len(a.content.Name) + len(a.content.Detail) + 100
	return hostActionSize(&a.event) + content + content/2
}

// hostActionSize is the same for one whose content is sealed, or that has none:
// the names of its fields and ids, and a target's id that may be escaped.
func hostActionSize(e *domain.HostActionRecorded) int {
	return 400 + len(e.Action) + len(e.TargetType) + 6*len(e.TargetID) + len(e.Content)
}

func draftSize(draft *eventstore.Commit) int {
	event := draft.Events[0].Event.(domain.HostActionRecorded)
	return hostActionSize(&event) + len(draft.Origin) + len(draft.RequestID) + len(draft.Actor.ID) + 100
}

// appendActions appends actions in as many commits as they need, as one.
func (s *Service) appendActions(ctx context.Context, by Caller, decided []decidedAction) ([]*eventstore.Commit, error) {
	var commits []*eventstore.Commit
	for from := 0; from < len(decided); {
		to, size := from, 0
		for to < len(decided) && (to == from || size+decided[to].size() <= maxHostCommit) {
			size += decided[to].size()
			to++
		}
		commit, err := s.actionsCommit(ctx, by, hostStream(ctx, len(commits)), decided[from:to])
		if err != nil {
			return nil, err
		}
		commits = append(commits, commit)
		from = to
	}
	err := s.store.Append(ctx, commits...)
	if errors.Is(err, eventstore.ErrConflict) {
		if ours, err := s.oursOfActions(ctx); ours != nil || err != nil {
			return ours, err
		}
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return commits, nil
}

// earlierActions finds the commits of a previous try of the same attempt.
func (s *Service) earlierActions(ctx context.Context) ([]*eventstore.Commit, error) {
	if attempt := attemptOf(ctx); attempt == nil || !attempt.recovering {
		return nil, nil
	}
	return s.oursOfActions(ctx)
}

func (s *Service) oursOfActions(ctx context.Context) (commits []*eventstore.Commit, err error) {
	for {
		commit, err := s.ours(ctx, hostStream(ctx, len(commits)))
		if commit == nil || err != nil {
			return commits, err
		}
		commits = append(commits, commit)
	}
}

// actionsCommit makes the commit of actions, with their content sealed.
func (s *Service) actionsCommit(ctx context.Context, by Caller, stream eventstore.Stream, decided []decidedAction) (*eventstore.Commit, error) {
	events := make([]domain.Event, len(decided))
	for i := range decided {
		events[i] = decided[i].event
	}
	commit, err := s.commit(ctx, by, stream, 0, eventstore.Hash{}, s.Now(), events)
	if err != nil {
		return nil, err
	}
	for i := range decided {
		a := &decided[i]
		if a.content.Empty() {
			continue
		}
		if a.event.Content, err = s.sealContent(ctx, a, commit.Events[i].ID); err != nil {
			return nil, unavailable(err)
		}
		commit.Events[i].Event = a.event
	}
	return commit, nil
}

// sealContent seals what the host says of an action. What it says of a member
// is sealed under that person's data key and goes with it. Everything else is
// sealed under a key for the team's log.
func (s *Service) sealContent(ctx context.Context, a *decidedAction, id domain.EventID) (domain.Sealed, error) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(a.content); err != nil {
		return "", err
	}
	text, place := strings.TrimSuffix(plain.String(), "\n"), string(id)+"/content"
	if a.person {
		var key string
		if err := s.users.view(ctx, a.event.TargetID, func(u *domain.User, _, _ uint64) { key = u.DataKey() }); err != nil {
			return "", err
		}
		// A person who was erased has no key any more.
		if sealed, err := s.vault.Seal(ctx, key, place, text); !errors.Is(err, eventstore.ErrErased) {
			return sealed, err
		}
	}
	for {
		key, err := s.hostActions.key(ctx, s.vault, a.event.Team)
		if err != nil {
			return "", err
		}
		sealed, err := s.vault.Seal(ctx, key, place, text)
		if !errors.Is(err, eventstore.ErrErased) {
			return sealed, err
		}
		s.hostActions.keys.Invalidate(a.event.Team)
	}
}

// hostActions is what recording them needs beside the service.
type hostActions struct {
	journal *eventstore.Journal[*eventstore.Commit]

	// keys are the data keys of the teams' logs. A process takes new ones when
	// it starts or has forgotten one: sealed text names its key, so none has to
	// be found again for reading.
	keys *otter.Cache[domain.TeamID, string]
}

// hostKeys is how many teams' keys are remembered, about 100 bytes each.
const hostKeys = 20_000

func newHostActions(store *eventstore.Store, logger *slog.Logger) *hostActions {
	return &hostActions{
		keys: otter.Must(&otter.Options[domain.TeamID, string]{MaximumSize: hostKeys}),
		journal: eventstore.NewJournal(eventstore.JournalConfig[*eventstore.Commit]{
			Append: store.Append, Prefix: hostPrefix, Size: draftSize, Commit: shareCommit, Logger: logger,
		}),
	}
}

func (h *hostActions) key(ctx context.Context, vault *eventstore.Vault, team domain.TeamID) (string, error) {
	if key, ok := h.keys.GetIfPresent(team); ok {
		return key, nil
	}
	key, err := vault.NewKey(ctx)
	if err == nil {
		h.keys.Set(team, key)
	}
	return key, err
}

// shareCommit puts commits of one action each into one. A commit has one actor,
// one origin and one request; of several, each event says its own.
func shareCommit(drafts []*eventstore.Commit) *eventstore.Commit {
	if len(drafts) == 1 {
		return drafts[0]
	}
	shared := &eventstore.Commit{Actor: domain.Roster}
	for _, draft := range drafts {
		if draft.At.After(shared.At) {
			shared.At = draft.At
		}
		event := draft.Events[0].Event.(domain.HostActionRecorded)
		event.By = &domain.HostActor{Actor: draft.Actor, Origin: draft.Origin, Request: draft.RequestID}
		shared.Events = append(shared.Events, eventstore.Recorded{ID: draft.Events[0].ID, Event: event})
	}
	return shared
}
