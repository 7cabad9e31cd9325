package dashboard_test

import "testing"

// Somebody who has never seen the product signs up, builds a team and finds it
// all in the audit log, by nothing but the pages, with the words of each catalog.
func TestFromSignUpToAuditLog(t *testing.T) {
	for _, row := range []struct {
		catalog, team, teamName, plan string
		invited, changed              string // roles, by their names
		stores                        bool
	}{
		{catalog: "distribu", team: "Company", teamName: "Acme", invited: "Member", changed: "Admin"},
		{catalog: "dzbuild", team: "Account", teamName: "Acme", plan: "unlimited", invited: "Operator", changed: "Manager", stores: true},
		{catalog: "tenants", team: "Tenant", teamName: "Acme", invited: "Viewer", changed: "Manager"},
	} {
		t.Run(row.catalog, func(t *testing.T) {
			s := serve(t, row.catalog)
			olga, grace := newEmail(), newEmail()
			b := s.browse().open("/").press("Open an account")
			b.fill("Your name", "Olga").fill("E-mail", olga).fill("Password", password).fill(row.team+" name", row.teamName).press("Open account")
			b.sees("Invite people", row.teamName, "Olga")
			if row.plan != "" {
				me := s.call("POST", "/v1/sessions", "", map[string]any{"email": olga, "password": password})
				s.plan(field(me, "active_team_id"), row.plan)
				b.open("/dashboard/team").sees("0 of 3")
			}
			if row.stores {
				b.press("Stores").press("Add store").fill("Name", "North").press("Add store").sees("North")
				b.open("/dashboard/team").choose("North", "operator")
			}
			b.fill("E-mail addresses", grace).tick(row.invited).press("Send invitation")
			b.sees("is on its way", "Pending invitations", grace, "in 7 days", "Sent")

			// The invited person follows the link of the message in another browser.
			link := s.mailed(grace, "/invite/")
			if row.catalog == "tenants" {
				link = "/signup?invite=" + link[len("/invite/"):]
			}
			other := s.browse().open(link).sees(row.teamName, row.invited)
			other.fill("Your name", "Grace").fill("Password", password).press("Open account and join").sees("You have joined")

			b.sees("Grace") // without a reload
			b.press("Role of Grace").press(row.changed).sees("is \u2068" + row.changed + "\u2069 now")
			b.press("Audit log").sees("Everything that happened", "changed Grace’s role from "+row.invited+" to "+row.changed, "joined as "+row.invited, "invited "+grace)
			b.press("Your account").press("Sign out").sees("Sign in to")
			b.open("/dashboard/audit").sees("Sign in to").fill("E-mail", olga).fill("Password", password).press("Sign in").sees("Everything that happened")
		})
	}
}
