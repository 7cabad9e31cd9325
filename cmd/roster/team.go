package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// teamCommand is what an operator does to a team of a running server.
type teamCommand struct {
	Show          teamShow     `cmd:"" help:"Show a team with its seats and members."`
	SetPlan       teamSetPlan  `cmd:"" help:"Move a team to another plan."`
	TransferOwner teamTransfer `cmd:"" help:"Make a member the owner of a team."`
}

// operator reaches a running server with the operator's token.
type operator struct {
	Server string `help:"Where the server is reached." env:"ROSTER_SERVER" default:"http://localhost:8080"`
	Token  string `name:"operator-token" help:"The operator token that the server was started with." env:"ROSTER_OPERATOR_TOKEN" required:""`
	JSON   bool   `help:"Print JSON."`
}

const (
	operatorTimeout = 30 * time.Second
	maxAnswer       = 8 << 20
)

// problem is the part of an error answer that a person needs.
type problem struct {
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Errors []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`
}

func (p problem) Error() string {
	text := p.Detail
	for _, field := range p.Errors {
		text += fmt.Sprintf(" %s %s.", strings.TrimPrefix(field.Pointer, "#/"), strings.TrimSuffix(field.Detail, "."))
	}
	return fmt.Sprintf("%s (%s)", text, p.Code)
}

// call asks the server. least, when not zero, is a position that the answer
// must take account of; the position of a write is returned.
func (o *operator) call(ctx context.Context, method, path string, body, answer any, least uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, operatorTimeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(o.Server, "/")+path, content)
	if err != nil {
		return 0, fmt.Errorf("--server %s: %w", o.Server, err)
	}
	request.Header.Set("Authorization", "Bearer "+o.Token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if least != 0 {
		request.Header.Set("Roster-At-Least", strconv.FormatUint(least, 10))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("the server at --server %s can't be reached: %w", o.Server, errors.Unwrap(err))
	}
	defer response.Body.Close()
	content = io.LimitReader(response.Body, maxAnswer)
	if response.StatusCode >= 400 {
		var refused problem
		if err := json.NewDecoder(content).Decode(&refused); err != nil || refused.Code == "" {
			return 0, fmt.Errorf("the server at --server %s answered %s; is it Roster?", o.Server, response.Status)
		}
		if response.StatusCode == http.StatusUnauthorized {
			return 0, errors.New("the server does not accept --operator-token")
		}
		return 0, refused
	}
	if answer != nil {
		if err := json.NewDecoder(content).Decode(answer); err != nil {
			return 0, fmt.Errorf("the server's answer can't be read: %w", err)
		}
	}
	position, _ := strconv.ParseUint(response.Header.Get("Roster-Position"), 10, 64)
	return position, nil
}

type teamView struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Catalog string `json:"catalog"`
	Plan    string `json:"plan,omitempty"`
	Seats   struct {
		Limit   *int `json:"limit"`
		Members int  `json:"members"`
		Pending int  `json:"pending"`
	} `json:"seats"`
	Members []memberView `json:"members"`
}

type memberView struct {
	UserID       string  `json:"user_id"`
	Email        string  `json:"email"`
	Name         string  `json:"name"`
	Role         string  `json:"role"`
	JoinedAt     string  `json:"joined_at"`
	LastSignInAt *string `json:"last_sign_in_at"`
}

// team reads a team with all of its members.
func (o *operator) team(ctx context.Context, id string, least uint64) (teamView, error) {
	var team teamView
	path := "/v1/teams/" + url.PathEscape(id)
	if _, err := o.call(ctx, http.MethodGet, path, nil, &team, least); err != nil {
		return team, err
	}
	for token := ""; ; {
		var page struct {
			Data []memberView `json:"data"`
			Page struct {
				NextToken string `json:"next_token"`
			} `json:"page"`
		}
		query := "?limit=200"
		if token != "" {
			query += "&page_token=" + url.QueryEscape(token)
		}
		if _, err := o.call(ctx, http.MethodGet, path+"/members"+query, nil, &page, least); err != nil {
			return team, err
		}
		team.Members = append(team.Members, page.Data...)
		if token = page.Page.NextToken; token == "" {
			return team, nil
		}
	}
}

func (o *operator) print(out *output, team teamView) error {
	if o.JSON {
		return out.json(team)
	}
	limit := "no limit"
	if team.Seats.Limit != nil {
		limit = "of " + strconv.Itoa(*team.Seats.Limit)
	}
	_, _ = fmt.Fprintf(out.stdout, "%s  %s\ncatalog %s, plan %s, seats %d %s (%d members, %d pending)\n\n",
		team.ID, team.Name, team.Catalog, cmp.Or(team.Plan, "none"),
		team.Seats.Members+team.Seats.Pending, limit, team.Seats.Members, team.Seats.Pending)
	rows := make([][]string, len(team.Members))
	for i, member := range team.Members {
		last := "never"
		if member.LastSignInAt != nil {
			last = *member.LastSignInAt
		}
		rows[i] = []string{member.UserID, member.Name, member.Email, member.Role, member.JoinedAt, last}
	}
	return out.table([]string{"USER", "NAME", "E-MAIL", "ROLE", "JOINED", "LAST SIGN-IN"}, rows)
}

type teamShow struct {
	operator
	Team string `arg:"" help:"Id of the team."`
}

// Run shows the team.
func (c *teamShow) Run(ctx context.Context, out *output) error {
	team, err := c.team(ctx, c.Team, 0)
	if err != nil {
		return err
	}
	return c.print(out, team)
}

type teamSetPlan struct {
	operator
	Team string `arg:"" help:"Id of the team."`
	Plan string `arg:"" help:"Key of the plan in the team's role catalog."`
}

// Run moves the team to the plan and shows it.
func (c *teamSetPlan) Run(ctx context.Context, out *output) error {
	return c.change(ctx, out, c.Team, "/plan", map[string]string{"plan": c.Plan})
}

type teamTransfer struct {
	operator
	Team string `arg:"" help:"Id of the team."`
	User string `arg:"" help:"Id of the member who becomes the owner."`
}

// Run makes the member the owner and shows the team.
func (c *teamTransfer) Run(ctx context.Context, out *output) error {
	return c.change(ctx, out, c.Team, "/owner", map[string]string{"user_id": c.User})
}

func (o *operator) change(ctx context.Context, out *output, id, what string, body any) error {
	position, err := o.call(ctx, http.MethodPut, "/v1/teams/"+url.PathEscape(id)+what, body, nil, 0)
	if err != nil {
		return err
	}
	team, err := o.team(ctx, id, position)
	if err != nil {
		return err
	}
	return o.print(out, team)
}
