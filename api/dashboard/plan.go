package dashboard

import (
	"fmt"
	"net/http"
)

// planName is what a plan of the team's catalog is called.
func (v *visit) planName(key string) string {
	for _, plan := range v.catalog.Plans {
		if plan.Key == key {
			return plan.Name
		}
	}
	return key
}

// offer is a plan as it stands beside the others.
type offer struct {
	Plan
	current bool
	best    bool // the smallest that has room for everybody
	over    int  // how many more there are than fit
	used    int
}

// offers are the plans, from the smallest, and where the present use fits.
func (v *visit) offers() (offers []offer) {
	used := v.team.Seats.Members + v.team.Seats.Pending
	found := false
	for _, plan := range v.catalog.Plans {
		o := offer{Plan: plan, current: plan.Key == v.team.Plan, used: used}
		if plan.Seats != nil {
			o.over = max(0, used-*plan.Seats)
		}
		if !found && o.over == 0 {
			o.best, found = true, true
		}
		offers = append(offers, o)
	}
	return offers
}

// next is the plan that a tour leads to: the one after the present one, else
// that itself.
func next(offers []offer) string {
	for i := range offers {
		if offers[i].current && i+1 < len(offers) {
			return offers[i+1].Key
		}
	}
	if len(offers) == 0 {
		return ""
	}
	return offers[len(offers)-1].Key
}

// seats is how many a plan has, in words.
func (v *visit) seats(plan Plan) string {
	switch {
	case plan.Seats == nil:
		return "Any number of members"
	case v.catalog.Rules.OwnerTakesSeat:
		return count(*plan.Seats, "member", "members") + ", with the owner"
	case *plan.Seats == 0:
		return "The owner only"
	}
	return count(*plan.Seats, "member", "members") + " besides the owner"
}

// fit says how the present use fits a plan.
func (o offer) fit() string {
	switch {
	case o.over > 0:
		return fmt.Sprintf("%d too many: nobody is removed, but nobody can be invited", o.over)
	case o.Seats == nil:
		return "You fit, whoever joins"
	case o.used == *o.Seats:
		return "You fit, with no seat free"
	}
	return fmt.Sprintf("You fit, with %s free", count(*o.Seats-o.used, "seat", "seats"))
}

// billing is where the host changes a plan; empty where its operator does.
func (v *visit) billing(plan string) string {
	if v.d.config.BillingURL == nil {
		return ""
	}
	address := *v.d.config.BillingURL
	query := address.Query()
	query.Set("team", v.team.ID)
	query.Set("plan", plan)
	address.RawQuery = query.Encode()
	return address.String()
}

// command is what the operator changes a plan by.
func (v *visit) command(plan string) string {
	return "roster team set-plan " + v.team.ID + " " + plan
}

func planPage(v *visit) error {
	if len(v.catalog.Plans) == 0 {
		return v.show(http.StatusOK, noPlansView(v))
	}
	return v.show(http.StatusOK, planView(v, v.offers()))
}

func planChangePage(v *visit) error {
	for _, o := range v.offers() {
		if o.Key == v.part("plan") {
			return v.show(http.StatusOK, planChangeView(v, o))
		}
	}
	return absent("There is no such plan.")
}
