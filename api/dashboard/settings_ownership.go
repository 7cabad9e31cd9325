package dashboard

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/a-h/templ"
)

// heirs are the members who may become the owner, as many as fit the card.
type heirs struct {
	roles roleBook
	found []Member
	query string
	more  bool
}

const heirsShown = 20

func (v *visit) heirs() (*heirs, error) {
	s, err := v.settings()
	if err != nil {
		return nil, err
	}
	if why := v.whyNoTransfer(s); why != "" {
		return nil, denied(why)
	}
	h := &heirs{roles: s.roles, query: v.r.FormValue("query")}
	var members Page[Member]
	query := url.Values{"limit": {strconv.Itoa(heirsShown + 1)}, "query": {h.query}} // the owner may be one of them
	if err := v.get(v.teamPath("/members?"+query.Encode()), &members); err != nil {
		return nil, err
	}
	for _, member := range members.Data {
		if member.UserID != v.team.OwnerID {
			h.found = append(h.found, member)
		}
	}
	h.more = members.Page.NextToken != "" || len(h.found) > heirsShown
	h.found = h.found[:min(len(h.found), heirsShown)]
	return h, nil
}

func transferPage(v *visit) error {
	h, err := v.heirs()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, transferView(v, h, v.form()))
}

func requestTransfer(v *visit) error {
	form := v.filled()
	_, err := v.send(http.MethodPost, v.teamPath("/ownership-transfers"),
		map[string]any{"user_id": form.Get("user_id"), "password": form.Get("password")}, nil)
	if err != nil {
		h, unknown := v.heirs()
		if unknown != nil {
			return unknown
		}
		return v.again(err, form, func(form *Form) templ.Component { return transferView(v, h, form) })
	}
	return v.done("/dashboard/settings", "They were sent a link. You stay the owner until they confirm.")
}

func cancelTransferPage(v *visit) error {
	s, err := v.settings()
	if err != nil {
		return err
	}
	if s.transfer == nil || s.transfer.ID != v.part("id") {
		return absent("This transfer isn't pending any more.")
	}
	return v.show(http.StatusOK, cancelTransferView(v, s, v.form()))
}

func cancelTransfer(v *visit) error {
	if _, err := v.send(http.MethodDelete, v.at("ownership-transfers", v.part("id")), nil, nil); err != nil {
		return err
	}
	return v.done("/dashboard/settings", "The transfer was cancelled. Its link works no more.")
}

func leavePage(v *visit) error {
	if why := v.whyNoLeaving(); why != "" {
		return denied(why)
	}
	return v.show(http.StatusOK, leaveView(v, v.form()))
}

func leaveTeam(v *visit) error {
	form := v.filled()
	if _, err := v.send(http.MethodPost, v.teamPath("/leave"), nil, nil); err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return leaveView(v, form) })
	}
	return v.done("/dashboard", "You left.")
}

func deletePage(v *visit) error {
	if !v.team.may("delete_team") {
		return denied("Your role doesn't let you delete it.")
	}
	return v.show(http.StatusOK, deleteView(v, v.form()))
}

func deleteTeam(v *visit) error {
	form := v.filled()
	var err error
	if plainly(form.Get("name")) != plainly(v.team.Name) {
		err = faulty("name", "is not the name of this "+v.catalog.Labels.Team)
	} else {
		_, err = v.send(http.MethodDelete, v.teamPath(""), nil, nil)
	}
	if err != nil {
		return v.again(err, form, func(form *Form) templ.Component { return deleteView(v, form) })
	}
	return v.done("/dashboard", "It was deleted.")
}

// headcount is all members, with the owner even where the owner takes no seat.
func (v *visit) headcount() int {
	if v.catalog.Rules.OwnerTakesSeat {
		return v.team.Seats.Members
	}
	return v.team.Seats.Members + 1
}
