package main

import (
	"context"
	"fmt"
	"net/http"
)

// userCommand is what an operator does to a user of a running server.
type userCommand struct {
	ResetTwoFactor userResetTwoFactor `cmd:"" help:"Take every second factor from somebody who has lost them all, and end their sessions. The password alone signs in then: make sure of the person first."`
}

type userResetTwoFactor struct {
	operator
	User string `arg:"" help:"E-mail address or id of the user."`
}

// Run takes the second factors away and shows whose they were.
func (c *userResetTwoFactor) Run(ctx context.Context, out *output) error {
	var reset struct {
		User struct {
			ID    string `json:"id"`
			Email string `json:"email"`
			Name  string `json:"name"`
		} `json:"user"`
	}
	if _, err := c.call(ctx, http.MethodPost, "/v1/two-factor-resets", map[string]string{"user": c.User}, &reset, 0); err != nil {
		return err
	}
	if c.JSON {
		return out.json(reset)
	}
	_, err := fmt.Fprintf(out.stdout, "%s  %s <%s>\nno second factor any more, and all sessions have ended\n", reset.User.ID, reset.User.Name, reset.User.Email)
	return err
}
