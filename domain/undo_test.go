package domain_test

import (
	"testing"
	"time"

	"roster/domain"
)

func undo(by domain.Actor, event domain.Event) command {
	return func(t *domain.Team, now time.Time) ([]domain.Event, error) { return t.Undo(by, event, now) }
}

func TestUndo(t *testing.T) {
	base := given(created("default"), plan("business"), site("north"), joined("ada", "admin"), joined("vera", "viewer", grants("north", "viewer")...))
	renamed := domain.TeamRenamed{From: "Team", To: "Crew"}
	promoted := domain.RoleChanged{User: "vera", From: "viewer", To: "admin"}
	granted := domain.PermissionsChanged{User: "vera", Before: overrides("", ""), After: overrides("billing:read", "")}
	regranted := domain.SitesChanged{User: "vera", Before: grants("north", "viewer"), After: []grant{}}
	helper := custom("helper", 30, "team:read")
	edited := domain.RoleEdited{Before: helper, After: custom("helper", 40, "team:read")}
	planned := domain.PlanChanged{From: "free", To: "business"}
	check(t, []scenario{
		{"a name", given(base, evs{renamed}), now, undo(as(owner), renamed), evs{domain.TeamRenamed{From: "Crew", To: "Team"}}, nil},
		{"a role", given(base, evs{promoted}), now, undo(as(owner), promoted), changed("vera", "admin", "viewer"), nil},
		{"judged under today's rules", given(base, evs{promoted}), now, undo(as("ada"), promoted), nil, domain.ErrRankTooLow},
		{"by who may do it now", given(base, evs{promoted, domain.RoleChanged{User: "ada", From: "admin", To: "viewer"}}), now, undo(as("ada"), promoted), nil, domain.ErrNotPermitted},
		{"not once it was changed again", given(base, evs{promoted}, changed("vera", "admin", "member")), now, undo(as(owner), promoted), nil, domain.ErrChangedSince},
		{"not of one who is gone", given(base, evs{promoted}, removed("vera", "admin")), now, undo(as(owner), promoted), nil, domain.ErrChangedSince},
		{"overrides", given(base, evs{granted}), now, undo(as(owner), granted), evs{
			domain.PermissionsChanged{
				User:   "vera",
				Before: domain.Overrides{Granted: []domain.Permission{"billing:read"}, Revoked: []domain.Permission{}},
				After:  domain.Overrides{Granted: []domain.Permission{}, Revoked: []domain.Permission{}},
			},
		}, nil},
		{"overrides that were changed again", given(base, evs{granted}, overridden("vera", "", "")), now, undo(as(owner), granted), nil, domain.ErrChangedSince},
		{"sites", given(base, evs{regranted}), now, undo(as("ada"), regranted), evs{
			domain.SitesChanged{User: "vera", Before: []grant{}, After: grants("north", "viewer")},
		}, nil},
		{"an invitation", given(base, invited("eve", "viewer")), now, undo(as("ada"), invited("eve", "viewer")[0]), evs{domain.InvitationCancelled{Invitation: inv("eve")}}, nil},
		{"an invitation that was used", given(base, invited("eve", "viewer"), evs{domain.MemberJoined{User: "eve", Invitation: inv("eve"), Role: "viewer"}}), now,
			undo(as("ada"), invited("eve", "viewer")[0]), nil, domain.ErrInvitationUsed},
		{"a transfer", given(base, requested("ada")), now, undo(as(owner), requested("ada")[0]), evs{domain.OwnershipTransferCancelled{Transfer: requested("ada")[0].(domain.OwnershipTransferRequested).Transfer}}, nil},
		{"a site", base, now, undo(as(owner), site("north")[0]), evs{domain.SiteRemoved{Site: "north", Name: site("north")[0].(domain.SiteAdded).Name}}, nil},
		{"a key", given(base, key("k", "viewer")), now, undo(as(owner), key("k", "viewer")[0]), evs{domain.APIKeyRevoked{Key: "k", Name: key("k", "viewer")[0].(domain.APIKeyCreated).Name}}, nil},
		{"a role of the team's own", given(base, evs{domain.RoleDefined{Role: helper}}), now, undo(as(owner), domain.RoleDefined{Role: helper}), evs{domain.RoleDeleted{Role: helper}}, nil},
		{"its edit", given(base, evs{domain.RoleDefined{Role: helper}, edited}), now, undo(as(owner), edited), evs{domain.RoleEdited{Before: edited.After, After: helper}}, nil},
		{"a plan is the operator's", given(base), now, undo(as(owner), planned), nil, domain.ErrOperatorOnly},
		{"who turns it back", given(base), now, undo(domain.Operator, planned), evs{domain.PlanChanged{From: "business", To: "free"}}, nil},
		{"a removal can't be turned back", given(base, removed("vera", "viewer")), now, undo(as(owner), removed("vera", "viewer")[0]), nil, domain.ErrNotUndoable},
		{"a stranger learns nothing", given(base, removed("vera", "viewer")), now, undo(as("vera"), removed("vera", "viewer")[0]), nil, domain.ErrNotFound},
	})
}
