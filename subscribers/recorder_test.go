package subscribers

import (
	"fmt"
	"log/slog"
	"testing"

	"roster/domain"
)

func outcome(n int) Outcome {
	return Outcome{
		Delivery:  domain.InvitationDelivery{Team: "team_1", Invitation: domain.InvitationID(fmt.Sprintf("inv_%d", n)), Link: 1, Status: domain.DeliverySent},
		Causation: domain.EventID(fmt.Sprintf("evt_%d", n)), RequestID: fmt.Sprintf("req_%d", n),
	}
}

var quiet = slog.New(slog.DiscardHandler)

// A commit names the cause of an outcome unless it holds several that have
// different ones.
func TestRecorderNamesTheCause(t *testing.T) {
	recorder := newRecorder(nil, Clock{}, quiet)
	defer recorder.Close()
	again := outcome(1)
	again.Delivery.Link = 2
	for _, c := range []struct {
		outcomes         []Outcome
		causation        domain.EventID
		request, invited string
	}{
		{[]Outcome{outcome(1)}, "evt_1", "req_1", "inv_1"},
		{[]Outcome{outcome(1), again}, "evt_1", "req_1", "inv_1 inv_1"},
		{[]Outcome{outcome(1), outcome(2)}, "", "", "inv_1 inv_2"},
	} {
		commit := recorder.commit(c.outcomes)
		invited := ""
		for i, event := range commit.Events {
			if i > 0 {
				invited += " "
			}
			invited += string(event.Event.(domain.InvitationDelivery).Invitation)
		}
		if commit.Causation != c.causation || commit.RequestID != c.request || invited != c.invited || commit.Actor != domain.Roster || commit.At.IsZero() {
			t.Errorf("%d outcomes: %+v", len(c.outcomes), commit)
		}
	}
}
