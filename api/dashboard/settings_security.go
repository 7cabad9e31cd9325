package dashboard

import (
	"net/http"
	"strconv"

	"github.com/a-h/templ"
)

func policyPage(v *visit) error {
	s, err := v.settings()
	if err != nil {
		return err
	}
	if why := v.whyNoPolicy(s.policy); why != "" {
		return denied(why)
	}
	form := v.form()
	form.Set("required", s.policy.Required)
	form.Values["roles"] = s.policy.Roles
	form.Set("grace_days", strconv.Itoa(s.policy.GraceDays))
	if s.policy.Required == "nobody" {
		form.Set("grace_days", "7") // time to set it up, unless they say otherwise
	}
	return v.show(http.StatusOK, policyView(v, s, form))
}

func setPolicy(v *visit) error {
	form := v.filled()
	days, err := strconv.Atoi(form.Get("grace_days"))
	if err != nil {
		err = faulty("grace_days", "must be a whole number of days")
	} else {
		want := map[string]any{"required": form.Get("required"), "grace_days": days}
		if form.Get("required") == "roles" {
			want["roles"] = list(form.Values["roles"])
		}
		_, err = v.send(http.MethodPut, v.teamPath("/two-factor-policy"), want, nil)
	}
	if err != nil {
		s, unknown := v.settings()
		if unknown != nil {
			return unknown
		}
		return v.again(err, form, func(form *Form) templ.Component { return policyView(v, s, form) })
	}
	return v.done("/dashboard/settings", "What is required of whom was changed.")
}

// list is an empty list for none, which JSON would have as null.
func list(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}

// maxGraceDays is how long the interface lets members set up a second factor.
const maxGraceDays = 30

// withoutFactor says why nothing can be required any more: the plan took it
// away, and what is left is to lift it.
func withoutFactor(s *settings) string {
	if s.policy.Available {
		return ""
	}
	return "The plan doesn't include it."
}
