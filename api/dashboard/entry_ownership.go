package dashboard

import (
	"errors"
	"net/http"
	"time"

	"github.com/a-h/templ"
)

// Transfer is the transfer of an ownership as the holder of its link sees it.
type Transfer struct {
	Team struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"team"`
	From                  User      `json:"from"`
	To                    User      `json:"to"`
	PreviousOwnerRoleName string    `json:"previous_owner_role_name"`
	Labels                Labels    `json:"labels"`
	ExpiresAt             time.Time `json:"expires_at"`
	Next                  string    `json:"next"`
}

func (v *visit) transfer() (*Transfer, error) {
	if err := v.identify(); err != nil {
		return nil, err
	}
	transfer := new(Transfer)
	return transfer, v.get("/v1/ownership-transfers/"+v.token(), transfer)
}

func ownershipPage(v *visit) error {
	transfer, err := v.transfer()
	if err != nil {
		return v.transferRefused(err)
	}
	return v.show(http.StatusOK, ownershipView(v, v.form(), transfer))
}

// confirmOwnership makes the reader the owner.
func confirmOwnership(v *visit) error {
	transfer, err := v.transfer()
	if err != nil {
		return v.transferRefused(err)
	}
	if v.me == nil {
		return v.to("/ownership/" + v.token()) // which says to sign in
	}
	form := v.filled()
	_, err = v.send(http.MethodPost, "/v1/ownership-transfers/"+v.token()+"/confirm", nil, nil)
	problem, _ := errors.AsType[*Problem](err)
	switch {
	case problem != nil && dead(problem):
		return v.transferRefused(err)
	case err != nil:
		return v.again(err, form, func(form *Form) templ.Component { return ownershipView(v, form, transfer) })
	}
	return v.arrive(transfer.Team.ID, "You are the owner of "+isolated(transfer.Team.Name)+" now.")
}

// transferRefused says why a transfer can't be confirmed and what to do.
func (v *visit) transferRefused(err error) error {
	problem, ok := errors.AsType[*Problem](err)
	if !ok || !dead(problem) {
		return err
	}
	const ask = "If the ownership is to be yours, ask the owner to begin again."
	is := fate{"We don't know this link", "It may not have been copied whole. If you were asked again since, only the newest link works.", ask}
	switch problem.Code {
	case "transfer_expired":
		is = fate{"This transfer has expired", "It wasn't confirmed in time, and nothing has changed.", ask}
	case "transfer_ended":
		is = fate{"This transfer is over", problem.Detail, "If you confirmed it, you are the owner: the dashboard shows it. If it was cancelled, nothing has changed."}
	}
	return v.show(problem.Status, deadLink(v, is))
}
