package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"rsc.io/qr"

	"roster/commands"
	"roster/domain"
)

// twoFactorView is how an account is protected beyond its password.
type twoFactorView struct {
	Enabled           bool `json:"enabled" doc:"The password alone doesn't sign in."`
	TOTP              bool `json:"totp" doc:"By the codes of an authenticator app."`
	Passkeys          int  `json:"passkeys" doc:"How many there are."`
	RecoveryCodesLeft int  `json:"recovery_codes_left"`
}

func viewTwoFactor(t commands.TwoFactor) twoFactorView {
	return twoFactorView{Enabled: t.On, TOTP: t.App, Passkeys: t.Passkeys, RecoveryCodesLeft: t.RecoveryCodesLeft}
}

type enrolmentView struct {
	Secret     string `json:"secret" doc:"To be typed into an authenticator app, in base32. It is told once."`
	OTPAuthURL string `json:"otpauth_url" doc:"The same as a link."`
	QRSVG      string `json:"qr_svg" doc:"The link as a QR code: an SVG image without styles or scripts."`
}

type codeInput struct {
	Body struct {
		Code string `json:"code" minLength:"1" maxLength:"40" example:"123456"`
	}
}

type passwordInput struct {
	Body struct {
		Password string `json:"password" minLength:"1" maxLength:"1000" doc:"One's own, once more."`
	}
}

type resetTwoFactorInput struct {
	Body struct {
		User string `json:"user" minLength:"1" maxLength:"320" doc:"The id or the e-mail address." example:"ada@example.com"`
	}
}

type resetTwoFactorView struct {
	User userView `json:"user"`
}

type recoveryCodesView struct {
	RecoveryCodes []string `json:"recovery_codes" doc:"Each signs in once in place of the second factor. They are told this once."`
}

// policyView is of whom a team requires a second factor.
type policyView struct {
	Required  domain.RequiredOf `json:"required" enum:"nobody,everyone,roles"`
	Roles     []domain.RoleKey  `json:"roles" doc:"From the highest; empty unless required is roles."`
	GraceDays int               `json:"grace_days"`
	EndsAt    *time.Time        `json:"ends_at" doc:"When the grace ends for those who were members when it began; null when nothing is required now."`
	Available bool              `json:"available" doc:"The plan, or where there are none the role catalog, lets the team require it."`
	Suspended bool              `json:"suspended" doc:"It is required of somebody, but the plan doesn't allow that any more. It comes back with the plan, with the grace from its beginning."`
}

// roleText is the key of a role as a caller gives it.
type roleText string

// Schema describes it.
func (roleText) Schema(huma.Registry) *huma.Schema {
	longest := 40
	s := &huma.Schema{Type: huma.TypeString, MaxLength: &longest}
	s.PrecomputeMessages()
	return s
}

type policyInput struct {
	TeamPath
	Body struct {
		Required  domain.RequiredOf `json:"required" enum:"nobody,everyone,roles"`
		Roles     []roleText        `json:"roles,omitempty" maxItems:"64" doc:"Keys of the team's role catalog; only with required roles."`
		GraceDays int               `json:"grace_days,omitempty" minimum:"0" maximum:"30" doc:"How long members have to set a second factor up."`
	}
}

func (s *Server) twoFactorOperations() {
	answers(s, operation{
		id: "start-two-factor", method: http.MethodPost, path: "/v1/me/two-factor", tag: tagTwoFactor,
		summary: "Begin to set up an authenticator app",
		about:   "Nothing changes until the first code is confirmed, within 15 minutes.",
		access:  signedIn,
	}, s.startTwoFactor)
	answers(s, operation{
		id: "confirm-two-factor", method: http.MethodPost, path: "/v1/me/two-factor/confirm", tag: tagTwoFactor,
		summary: "Turn two-factor sign-in on",
		about:   "With a code of the authenticator app. Answers with ten recovery codes, which are told this once.",
		access:  signedIn,
	}, s.confirmTwoFactor)
	acts(s, operation{
		id: "remove-two-factor", method: http.MethodDelete, path: "/v1/me/two-factor", tag: tagTwoFactor,
		summary: "Remove the authenticator app",
		about:   "Passkeys stay. Ends the other sessions. A wrong password counts as a failed sign-in.",
		access:  signedIn, errors: []int{http.StatusTooManyRequests},
	}, s.removeTwoFactor)
	answers(s, operation{
		id: "renew-recovery-codes", method: http.MethodPost, path: "/v1/me/two-factor/recovery-codes", tag: tagTwoFactor,
		summary: "Replace the recovery codes",
		about:   "Those of before work no more. A wrong password counts as a failed sign-in.",
		access:  signedIn, errors: []int{http.StatusTooManyRequests},
	}, s.renewRecoveryCodes)
	answers(s, operation{
		id: "reset-two-factor", method: http.MethodPost, path: "/v1/two-factor-resets", tag: tagTwoFactor,
		summary: "Take every second factor from somebody who has lost them",
		about: "With the operator token only. The authenticator app, the passkeys and the recovery codes are gone, all sessions of the user end, " +
			"and the password alone signs in: make sure of the person first. Recorded as `two_factor.disabled` in every team of theirs.",
		access: authenticated, errors: []int{http.StatusNotFound},
	}, s.resetTwoFactor)
	answers(s, operation{
		id: "get-two-factor-policy", method: http.MethodGet, path: "/v1/teams/{team}/two-factor-policy", tag: tagTwoFactor,
		summary: "Of whom a team requires two-factor sign-in", access: authenticated, reads: readsState,
	}, s.getPolicy)
	answers(s, operation{
		id: "set-two-factor-policy", method: http.MethodPut, path: "/v1/teams/{team}/two-factor-policy", tag: tagTwoFactor,
		summary: "Require two-factor sign-in of everyone, of roles or of nobody",
		about: "On the plans that allow it, else `two_factor_not_available` with the way to upgrade. Members whom it is new to have `grace_days` to set it up. " +
			"After that, without it they can do nothing in the team but leave: `two_factor_required` with the `enroll_url`, and access checks deny with that reason. " +
			"Whoever sets it needs a second factor themselves, where it is required of them too. API keys aren't concerned.",
		access: authenticated,
	}, s.setPolicy)
}

func (s *Server) startTwoFactor(ctx context.Context, x *exchange, _ *emptyInput) (enrolmentView, error) {
	enrolment, err := s.commands.EnrolTwoFactor(ctx, x.caller)
	if err != nil {
		return enrolmentView{}, err
	}
	image, err := qrImage(enrolment.URL)
	return enrolmentView{Secret: enrolment.Secret, OTPAuthURL: enrolment.URL, QRSVG: image}, err
}

// quietZone is the margin that a QR code must have, in modules.
const quietZone = 4

// qrImage draws text as a QR code, in black on white whatever is around it.
func qrImage(text string) (string, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", fmt.Errorf("api: this doesn't fit a QR code of any size: %d bytes", len(text)) // the library's words may hold it
	}
	size := code.Size + 2*quietZone
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", from+quietZone, y+quietZone, x-from, x-from)
			}
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges" role="img" aria-label="QR code">`+
		`<path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="%s"/></svg>`, size, size, size, size, path.String()), nil
}

func (s *Server) confirmTwoFactor(ctx context.Context, x *exchange, in *codeInput) (recoveryCodesView, error) {
	codes, done, err := s.commands.ConfirmTwoFactor(ctx, x.caller, in.Body.Code)
	if err != nil {
		return recoveryCodesView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return recoveryCodesView{RecoveryCodes: codes}, nil
}

func (s *Server) removeTwoFactor(ctx context.Context, x *exchange, in *passwordInput) error {
	done, err := s.commands.DisableTwoFactor(ctx, x.caller, in.Body.Password)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}

func (s *Server) renewRecoveryCodes(ctx context.Context, x *exchange, in *passwordInput) (recoveryCodesView, error) {
	codes, done, err := s.commands.RenewRecoveryCodes(ctx, x.caller, in.Body.Password)
	if err != nil {
		return recoveryCodesView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return recoveryCodesView{RecoveryCodes: codes}, nil
}

func (s *Server) resetTwoFactor(ctx context.Context, x *exchange, in *resetTwoFactorInput) (resetTwoFactorView, error) {
	user, done, err := s.commands.ResetTwoFactor(ctx, x.caller, in.Body.User)
	if err != nil {
		return resetTwoFactorView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return resetTwoFactorView{User: viewUser(user)}, nil
}

func viewPolicy(t *domain.Team) policyView {
	policy := t.TwoFactorPolicy()
	view := policyView{
		Required: policy.Required, Roles: listOf(policy.Roles), GraceDays: policy.GraceDays, Available: t.TwoFactorAvailable(),
	}
	if ends, inForce := t.TwoFactorGraceEnds(); inForce {
		view.EndsAt = &ends
	}
	view.Suspended = policy.Required != domain.RequiredOfNobody && !view.Available
	return view
}

func (s *Server) getPolicy(ctx context.Context, x *exchange, in *TeamPath) (view policyView, err error) {
	done, err := s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, at time.Time) error {
		view = viewPolicy(t)
		return may(t, x.caller, domain.ActionViewTeam, at)
	})
	if err != nil {
		return policyView{}, err
	}
	x.stands(done)
	return view, nil
}

func (s *Server) setPolicy(ctx context.Context, x *exchange, in *policyInput) (view policyView, err error) {
	want := domain.TwoFactorPolicy{Required: in.Body.Required, GraceDays: in.Body.GraceDays}
	for _, role := range in.Body.Roles {
		want.Roles = append(want.Roles, domain.RoleKey(role))
	}
	done, err := s.commands.SetTwoFactorPolicy(ctx, x.caller, in.Team, want)
	if err != nil {
		return policyView{}, err
	}
	s.wrote(x, x.caller.User, done)
	_, err = s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, _ time.Time) error {
		view = viewPolicy(t)
		return nil
	})
	return view, err
}
