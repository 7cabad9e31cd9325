package commands

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roster/domain"
	"roster/eventstore"
)

func TestTransferFacts(t *testing.T) {
	clock := newHandClock()
	s := service(t, withClock(clock), withCatalogs(builtin(t, "dzbuild")...))
	olga := accountOn(t, s, "olga@example.com")
	team := teamOf(t, s, olga, "dzbuild")
	if _, err := s.SetPlan(t.Context(), Caller{Actor: domain.Operator}, team, "unlimited"); err != nil {
		t.Fatal(err)
	}
	max := member(t, s, olga, team, "max@example.com", "manager")
	facts := func(id domain.TransferID) TransferFacts {
		t.Helper()
		facts, err := s.TransferFacts(t.Context(), team, versionOf(t, s, team), id)
		if err != nil {
			t.Fatal(err)
		}
		return facts
	}
	request := func() Transfer {
		t.Helper()
		transfer, _, err := s.RequestTransfer(t.Context(), olga, team, max.User, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		return transfer
	}

	first := request()
	catalog, err := s.catalogs.choose("dzbuild")
	if err != nil {
		t.Fatal(err)
	}
	want := TransferFacts{
		Email: "max@example.com", Name: "Name of max@example.com", Owner: "Name of olga@example.com", TeamName: "Heron & Sons",
		OwnerRole: "Owner", PreviousOwnerRole: "Admin", Labels: catalog.Labels, ExpiresAt: clock.now().Add(72 * time.Hour), Stands: true,
	}
	if diff := cmp.Diff(want, facts(first.ID)); diff != "" {
		t.Error(diff)
	}
	gone := func(what string, id domain.TransferID) {
		t.Helper()
		if got := facts(id); got.Stands || got.Email != "" || got.Owner != "" {
			t.Errorf("%s: %+v", what, got)
		}
	}
	gone("one that there never was", domain.TransferID(eventstore.NewID(domain.PrefixTransfer)))
	if _, err := s.CancelTransfer(t.Context(), olga, team, first.ID); err != nil {
		t.Fatal(err)
	}
	gone("a cancelled one", first.ID)

	second := request()
	gone("the one before", first.ID)
	clock.forward(72 * time.Hour)
	gone("an expired one", second.ID)

	third := request()
	if _, _, err := s.ConfirmTransfer(t.Context(), max, s.TransferToken(team, third.ID)); err != nil {
		t.Fatal(err)
	}
	gone("a confirmed one", third.ID)
}
