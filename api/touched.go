package api

import (
	"context"
	"slices"
	"time"

	"roster/commands"
	"roster/domain"
	"roster/projections"
)

// eventView is an event and who brought it about.
type eventView struct {
	EventID  domain.EventID `json:"event_id"`
	Position uint64         `json:"position"`
	At       time.Time      `json:"at"`
	Action   string         `json:"action" doc:"As in the audit log."`
	Actor    personView     `json:"actor"`
}

func (s *Server) viewEvent(ctx context.Context, past *commands.Past, step domain.Step) (*eventView, error) {
	said, _ := projections.Describe(step.Event, past.Team.ID())
	actor, err := s.personThen(ctx, past, step.Meta.Actor)
	return &eventView{EventID: step.Meta.ID, Position: step.Meta.Position, At: step.Meta.At, Action: said.Action, Actor: actor}, err
}

// touched has the last event that changed each thing of a team.
type touched map[[2]string]domain.Step // by kind and id, as in a difference

// lastTouched reads the history up to a moment, from after a position on.
func lastTouched(past *commands.Past, after uint64) touched {
	last := touched{}
	for event, meta := range past.History() {
		if meta.Position > after {
			last.note(domain.Step{Meta: meta, Event: event}, past.Team.ID())
		}
	}
	return last
}

// everySites is the key under which the last removal of a site is kept: it took
// the site from everybody who had it.
var everySites = [2]string{"sites", ""}

func (t touched) note(step domain.Step, team domain.TeamID) {
	switch e := step.Event.(type) {
	case domain.AccessReviewDecided, domain.OwnershipTransferRequested, domain.TwoFactorPolicyChanged:
		return // changes nothing that is compared
	case domain.MemberJoined:
		t[[2]string{"invitation", string(e.Invitation)}] = step
	case domain.OwnershipTransferred:
		t[[2]string{"team", string(team)}] = step
		t[[2]string{"member", string(e.From)}] = step
	case domain.RoleDeleted:
		for _, id := range e.Invitations {
			t[[2]string{"invitation", string(id)}] = step
		}
		for _, id := range e.APIKeys {
			t[[2]string{"api_key", string(id)}] = step
		}
	case domain.SiteRemoved:
		t[everySites] = step
	}
	if said, ok := projections.Describe(step.Event, team); ok {
		t[[2]string{said.Target.Type, said.Target.ID}] = step
	}
}

// behind finds the last event behind a difference.
func (t touched) behind(d domain.Difference) (domain.Step, bool) {
	step, ok := t[[2]string{d.Kind, d.ID}]
	if !ok && slices.ContainsFunc(d.Fields, func(f domain.FieldDifference) bool { return f.Field == "sites" }) {
		step, ok = t[everySites]
	}
	return step, ok
}
