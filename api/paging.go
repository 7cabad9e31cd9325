package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// PageQuery is how a list is paged.
type PageQuery struct {
	Limit     int    `query:"limit" default:"50" minimum:"1" maximum:"200" doc:"How many items, at most."`
	PageToken string `query:"page_token" maxLength:"1024" doc:"From next_token of the page before. It belongs to the filters it came with."`
}

// page is what follows a page.
type page struct {
	NextToken string `json:"next_token" doc:"For page_token; empty on the last page." maxLength:"1024"`
}

// list is a page of items.
type list[T any] struct {
	Data []T  `json:"data" nullable:"false"`
	Page page `json:"page"`
}

func newList[T any](items []T, next string) list[T] {
	if items == nil {
		items = []T{}
	}
	return list[T]{Data: items, Page: page{NextToken: next}}
}

// cursorPurpose separates page tokens from whatever else is sealed.
const cursorPurpose = "page"

// binding says what a page token belongs to: the list, the team and the
// filters. It is authenticated with the token, so that one from another list
// doesn't open. Lengths keep the parts apart.
func binding(parts ...string) string {
	var bound strings.Builder
	for _, part := range parts {
		bound.WriteString(strconv.Itoa(len(part)))
		bound.WriteByte(':')
		bound.WriteString(part)
	}
	return bound.String()
}

// pageToken seals the key at which the next page begins. The zero key is the
// end of the list.
func pageToken[K comparable](s *Server, key K, bound string) (string, error) {
	if key == *new(K) {
		return "", nil
	}
	return seal(s, key, bound)
}

func seal(s *Server, key any, bound string) (string, error) {
	plain, err := json.Marshal(key)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.commands.SealOpaque(cursorPurpose, plain, bound)), nil
}

// unseal opens what seal has sealed.
func unseal(s *Server, token, bound string, key any) error {
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return err
	}
	plain, err := s.commands.OpenOpaque(cursorPurpose, sealed, bound)
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, key)
}

// openPageToken opens a page token again; an empty one is the beginning.
func openPageToken[K comparable](s *Server, token, bound string) (key K, err error) {
	if token == "" {
		return key, nil
	}
	if err := unseal(s, token, bound, &key); err != nil {
		return key, newProblem(http.StatusUnprocessableEntity, codePageToken,
			"The page token is not one of this list with these filters. Begin again without one.").
			in("query", "page_token", "is not valid")
	}
	return key, nil
}
