package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"roster/domain"
)

// jsonBuffer is what an answer is put together in, to be used again.
type jsonBuffer struct{ json []byte }

var jsonBuffers = sync.Pool{New: func() any { return &jsonBuffer{} }}

// maxPooledBuffer keeps one large answer from holding memory for good.
const maxPooledBuffer = 64 << 10

func newJSONBuffer() *jsonBuffer {
	out, _ := jsonBuffers.Get().(*jsonBuffer)
	out.json = out.json[:0]
	return out
}

// done gives the buffer back.
func (out *jsonBuffer) done() {
	if cap(out.json) <= maxPooledBuffer {
		jsonBuffers.Put(out)
	}
}

func (out *jsonBuffer) Write(p []byte) (int, error) {
	out.json = append(out.json, p...)
	return len(p), nil
}

// encodeJSON is an answer's body as JSON, to be given back when it is written.
func encodeJSON(body any) (*jsonBuffer, error) {
	if page, ok := body.(auditPage); ok {
		return page.jsonBuffer, nil
	}
	out := newJSONBuffer()
	var byHand bool
	if out.json, byHand = appendBody(out.json, body); byHand {
		return out, nil
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		out.done()
		return nil, err
	}
	return out, nil
}

// heldBack is how much of an answer net/http holds back to find its length. Of
// a longer one it sends the length of each piece, which takes it and the caller
// more work, unless the whole length is given.
const heldBack = 2 << 10

// send answers with the JSON, in one piece. A caller who has hung up is no
// failure of ours.
func (out *jsonBuffer) send(x *exchange, status int) {
	header := x.Header()
	header["Content-Type"] = headerJSON
	if len(out.json) > heldBack {
		x.length[0] = strconv.Itoa(len(out.json))
		header["Content-Length"] = x.length[:]
	}
	x.WriteHeader(status)
	_, _ = x.Write(out.json)
	out.done()
}

// The two long lists, members and the audit log, are asked for again and again,
// and with encoding/json writing a page takes a quarter of its time. So their
// JSON is put together by hand. A test compares it with what encoding/json
// gives for the same views.

// appendBody appends an answer's body, if it is one of these lists.
func appendBody(b []byte, body any) ([]byte, bool) {
	switch body := body.(type) {
	case list[memberView]:
		return appendList(b, body, appendMember), true
	case list[auditView]:
		return appendList(b, body, appendEntry), true
	}
	return b, false
}

func appendList[T any](b []byte, l list[T], item func([]byte, *T) []byte) []byte {
	b = append(b, `{"data":`...)
	b = appendItems(b, l.Data, item)
	return appendPage(b, l.Page.NextToken)
}

// appendPage appends what stands in a list behind its items.
func appendPage(b []byte, nextToken string) []byte {
	b = appendText(append(b, `,"page":{"next_token":`...), nextToken)
	return append(b, '}', '}', '\n')
}

func appendItems[T any](b []byte, items []T, item func([]byte, *T) []byte) []byte {
	if items == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = item(b, &items[i])
	}
	return append(b, ']')
}

func appendTexts[T ~string](b []byte, texts []T) []byte {
	return appendItems(b, texts, func(b []byte, text *T) []byte { return appendText(b, string(*text)) })
}

func appendMember(b []byte, m *memberView) []byte {
	b = appendText(append(b, `{"user_id":`...), string(m.UserID))
	b = appendText(append(b, `,"email":`...), m.Email)
	b = appendText(append(b, `,"name":`...), m.Name)
	b = strconv.AppendBool(append(b, `,"email_verified":`...), m.EmailVerified)
	b = appendText(append(b, `,"role":`...), string(m.Role))
	b = appendItems(append(b, `,"sites":`...), m.Sites, appendMemberSite)
	b = appendTexts(append(b, `,"overrides":{"granted":`...), m.Overrides.Granted)
	b = appendTexts(append(b, `,"revoked":`...), m.Overrides.Revoked)
	b = appendExpirations(b, m.Overrides.Expirations)
	b = appendMoment(append(b, `},"joined_at":`...), &m.JoinedAt)
	b = appendMoment(append(b, `,"last_sign_in_at":`...), m.LastSignInAt)
	if m.TwoFactor != nil {
		b = strconv.AppendBool(append(b, `,"two_factor":`...), *m.TwoFactor)
	}
	b = appendMoment(append(b, `,"expires_at":`...), m.ExpiresAt)
	b = appendTexts(append(b, `,"actions":`...), m.Actions)
	if len(m.Grantable) > 0 {
		b = appendTexts(append(b, `,"grantable":`...), m.Grantable)
	}
	return append(b, '}')
}

func appendMemberSite(b []byte, s *memberSiteView) []byte {
	b = appendText(append(b, `{"site_id":`...), string(s.SiteID))
	b = appendText(append(b, `,"name":`...), s.Name)
	b = appendText(append(b, `,"role":`...), string(s.Role))
	if s.ExpiresAt != nil {
		b = appendMoment(append(b, `,"expires_at":`...), s.ExpiresAt)
	}
	return append(b, '}')
}

// appendExpirations appends when overrides end, in the order of their names.
func appendExpirations(b []byte, ends map[domain.Permission]time.Time) []byte {
	if len(ends) == 0 {
		return b
	}
	b = append(b, `,"expirations":`...)
	separator := byte('{')
	for _, permission := range slices.Sorted(maps.Keys(ends)) {
		at := ends[permission]
		b = appendText(append(b, separator), string(permission))
		b = appendMoment(append(b, ':'), &at)
		separator = ','
	}
	return append(b, '}')
}

func appendEntry(b []byte, e *auditView) []byte {
	b = appendText(append(b, `{"id":`...), string(e.ID))
	b = strconv.AppendUint(append(b, `,"position":`...), e.Position, 10)
	b = appendMoment(append(b, `,"at":`...), &e.At)
	b = appendText(append(b, `,"action":`...), e.Action)
	b = appendText(append(b, `,"actor":{"type":`...), string(e.Actor.Type))
	b = appendText(append(b, `,"id":`...), e.Actor.ID)
	b = appendText(append(b, `,"name":`...), e.Actor.Name)
	b = appendText(append(b, `,"email":`...), e.Actor.Email)
	b = appendText(append(b, `,"ip":`...), e.Actor.IP)
	b = appendText(append(b, `,"user_agent":`...), e.Actor.UserAgent)
	b = appendText(append(b, `},"target":{"type":`...), e.Target.Type)
	b = appendText(append(b, `,"id":`...), e.Target.ID)
	b = appendText(append(b, `,"name":`...), e.Target.Name)
	b = appendRaw(append(b, `},"before":`...), e.Before)
	b = appendRaw(append(b, `,"after":`...), e.After)
	b = appendText(append(b, `,"request_id":`...), e.RequestID)
	b = append(b, `,"on_behalf_of":`...)
	if person := e.OnBehalfOf; person != nil {
		b = appendText(append(b, `{"id":`...), string(person.ID))
		b = appendText(append(b, `,"name":`...), person.Name)
		b = appendText(append(b, `,"email":`...), person.Email)
		b = append(b, '}')
	} else {
		b = append(b, "null"...)
	}
	b = appendRaw(append(b, `,"detail":`...), e.Detail)
	b = appendMoment(append(b, `,"occurred_at":`...), e.OccurredAt)
	return append(b, '}')
}

// appendRaw appends JSON that has no white space, as what is stored has none.
func appendRaw(b []byte, raw json.RawMessage) []byte {
	if raw == nil {
		return append(b, "null"...)
	}
	return append(b, raw...)
}

// appendMoment appends a time of the years that RFC 3339 has, or null.
func appendMoment(b []byte, t *time.Time) []byte {
	if t == nil {
		return append(b, "null"...)
	}
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}
