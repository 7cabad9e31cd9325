package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

// maxPage bounds a page. The largest that Roster gives is 200 members with a
// thousand sites each.
const maxPage = 32 << 20

// list yields the items of a list, page after page. After an error nothing
// follows.
func list[T any](ctx context.Context, c *Client, team, rest string, query url.Values, size int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		path, err := teamPath(team, rest)
		if err != nil {
			yield(none, err)
			return
		}
		query := maps.Clone(query)
		if size > 0 {
			query.Set("limit", strconv.Itoa(size))
		}
		for {
			var page struct {
				Data []T `json:"data"`
				Page struct {
					NextToken string `json:"next_token"`
				} `json:"page"`
			}
			if _, err := c.do(ctx, call{method: http.MethodGet, path: path, query: query, most: maxPage, reads: true}, &page); err != nil {
				yield(none, err)
				return
			}
			for _, item := range page.Data {
				if !yield(item, nil) {
					return
				}
			}
			switch next := page.Page.NextToken; {
			case next == "":
				return
			case next == query.Get("page_token"):
				yield(none, fmt.Errorf("client: %s: %w", path, errSamePage))
				return
			default:
				query.Set("page_token", next)
			}
		}
	}
}

var errSamePage = errors.New("the next page is the same again")
