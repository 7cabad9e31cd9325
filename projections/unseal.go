package projections

import (
	"context"
	"fmt"

	"roster/domain"
)

// An unsealer opens the sealed texts of one page, each of them once.
type unsealer struct {
	opener Opener
	opened map[string]string // by sealed text
}

func newUnsealer(opener Opener) *unsealer {
	return &unsealer{opener: opener, opened: map[string]string{}}
}

// text opens sealed text; what has been erased is empty.
func (u *unsealer) text(ctx context.Context, sealed, context string) (string, error) {
	if sealed == "" {
		return "", nil
	}
	if text, ok := u.opened[sealed]; ok {
		return text, nil
	}
	text, err := open(ctx, u.opener, domain.Sealed(sealed), context)
	if err != nil {
		return "", fmt.Errorf("projections: opening %s: %w", context, err)
	}
	u.opened[sealed] = text
	return text, nil
}

// person gives the name and the address of who did something from the stored
// ones, which are sealed for users and plain for API keys.
func (u *unsealer) person(ctx context.Context, kind domain.ActorType, id, name, email string) (string, string, error) {
	switch kind {
	case domain.ActorUser:
		name, err := u.text(ctx, name, nameContext(id))
		if err != nil {
			return "", "", err
		}
		email, err := u.text(ctx, email, emailContext(id))
		return name, email, err
	case domain.ActorSystem:
		return systemName(id), "", nil
	}
	return name, "", nil
}

// systemName is what the faces of the system are called.
func systemName(id string) string {
	switch id {
	case domain.Operator.ID:
		return "Operator"
	case domain.Roster.ID:
		return "Roster"
	}
	return ""
}
