package api

import (
	"context"
	"net/http"
	"time"

	"roster/domain"
)

type TeamPath struct {
	Team domain.TeamID `path:"team" maxLength:"64" doc:"Of the team."`
}

// seatsView is how full a team is.
type seatsView struct {
	Limit   *int `json:"limit" doc:"Null for no limit."`
	Members int  `json:"members" doc:"Members that take a seat."`
	Pending int  `json:"pending" doc:"Pending invitations, which take one too."`
}

type teamView struct {
	ID        domain.TeamID  `json:"id"`
	Name      string         `json:"name"`
	Catalog   string         `json:"catalog"`
	Plan      string         `json:"plan" doc:"Empty in a catalog without plans."`
	Role      domain.RoleKey `json:"role" doc:"Of the caller; empty for the operator."`
	OwnerID   domain.UserID  `json:"owner_id"`
	Seats     seatsView      `json:"seats"`
	CreatedAt time.Time      `json:"created_at"`
	Actions   []string       `json:"actions" doc:"What the caller may do in the team now: view_members, invite, change_role and so on."`
}

// TeamThenInput asks for a team as it is, or as it was.
type TeamThenInput struct {
	TeamPath
	MomentQuery
}

type createTeamInput struct {
	Body struct {
		Name    string `json:"name" minLength:"1" maxLength:"400"`
		Catalog string `json:"catalog,omitempty" maxLength:"40" doc:"Any role catalog that the server has, built in or given; its standard one when empty."`
	}
}

type renameTeamInput struct {
	TeamPath
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"400"`
	}
}

type planInput struct {
	TeamPath
	Body struct {
		Plan string `json:"plan" minLength:"1" maxLength:"40"`
	}
}

func (s *Server) teamOperations() {
	answers(s, operation{
		id: "create-team", method: http.MethodPost, path: "/v1/teams", tag: tagTeams,
		summary: "Create a team", about: "The caller becomes its owner.",
		status: http.StatusCreated, access: signedIn,
	}, s.createTeam)
	answers(s, operation{
		id: "get-team", method: http.MethodGet, path: "/v1/teams/{team}", tag: tagTeams,
		summary: "A team and its seats", access: authenticated, reads: readsState,
	}, s.getTeam)
	answers(s, operation{
		id: "rename-team", method: http.MethodPatch, path: "/v1/teams/{team}", tag: tagTeams,
		summary: "Rename a team", access: authenticated,
	}, s.renameTeam)
	acts(s, operation{
		id: "delete-team", method: http.MethodDelete, path: "/v1/teams/{team}", tag: tagTeams,
		summary: "Delete a team", about: "It is gone for everybody at once; its history stays.", access: authenticated,
	}, s.deleteTeam)
	answers(s, operation{
		id: "set-plan", method: http.MethodPut, path: "/v1/teams/{team}/plan", tag: tagTeams,
		summary: "Move a team to another plan",
		about:   "With the operator token only. A plan with fewer seats than there are members keeps them and blocks inviting.",
		access:  authenticated,
	}, s.setPlan)
}

func (s *Server) createTeam(ctx context.Context, x *exchange, in *createTeamInput) (teamView, error) {
	team, done, err := s.commands.CreateTeam(ctx, x.caller, in.Body.Name, in.Body.Catalog)
	if err != nil {
		return teamView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.teamView(ctx, x, team.ID)
}

func (s *Server) teamView(ctx context.Context, x *exchange, team domain.TeamID) (view teamView, err error) {
	_, err = s.commands.ViewTeam(ctx, x.caller, team, func(t *domain.Team, at time.Time) error {
		view = viewTeam(t, x, at)
		return nil
	})
	return view, err
}

func viewTeam(t *domain.Team, x *exchange, at time.Time) teamView {
	seats := t.Seats(at)
	view := teamView{
		ID: t.ID(), Name: t.Name(), Catalog: t.Catalog().Name, Plan: t.PlanKey(), OwnerID: t.Owner(),
		Seats:     seatsView{Members: seats.Members, Pending: seats.Pending},
		CreatedAt: t.CreatedAt(), Actions: []string{},
	}
	for action, name := range domain.ActionNames {
		if may(t, x.caller, domain.Action(action), at) == nil {
			view.Actions = append(view.Actions, name)
		}
	}
	if seats.Limit != domain.NoLimit {
		view.Seats.Limit = &seats.Limit
	}
	if member, ok := t.Member(x.caller.User, at); ok {
		view.Role = member.Role
	} else if key, ok := t.APIKey(domain.APIKeyID(x.caller.Actor.ID)); ok {
		view.Role = key.Role
	}
	return view
}

func (s *Server) getTeam(ctx context.Context, x *exchange, in *TeamThenInput) (view teamView, err error) {
	moment, past, err := in.moment(s.commands.Now())
	if err != nil {
		return teamView{}, err
	}
	if past {
		if err := s.permitted(ctx, x, in.Team, domain.ActionViewTeam); err != nil {
			return teamView{}, err
		}
		then, err := s.past(ctx, x, in.Team, moment, in.pointer())
		if err != nil {
			return teamView{}, err
		}
		return viewTeam(then.Team, x, then.At), nil
	}
	done, err := s.commands.ViewTeam(ctx, x.caller, in.Team, func(t *domain.Team, at time.Time) error {
		view = viewTeam(t, x, at)
		return may(t, x.caller, domain.ActionViewTeam, at)
	})
	if err != nil {
		return teamView{}, err
	}
	x.stands(done)
	return view, nil
}

func (s *Server) renameTeam(ctx context.Context, x *exchange, in *renameTeamInput) (teamView, error) {
	done, err := s.commands.RenameTeam(ctx, x.caller, in.Team, in.Body.Name)
	if err != nil {
		return teamView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.teamView(ctx, x, in.Team)
}

func (s *Server) deleteTeam(ctx context.Context, x *exchange, in *TeamPath) error {
	done, err := s.commands.DeleteTeam(ctx, x.caller, in.Team)
	if err == nil {
		s.wrote(x, x.caller.User, done)
	}
	return err
}

func (s *Server) setPlan(ctx context.Context, x *exchange, in *planInput) (teamView, error) {
	done, err := s.commands.SetPlan(ctx, x.caller, in.Team, in.Body.Plan)
	if err != nil {
		return teamView{}, err
	}
	s.wrote(x, x.caller.User, done)
	return s.teamView(ctx, x, in.Team)
}
