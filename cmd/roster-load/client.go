package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// requestTimeout is longer than any server here takes over an answer.
const requestTimeout = time.Minute

// client is one keep-alive connection with one request at a time. It is not
// net/http's, which hands each request to two goroutines and costs the shared
// cores more than some of what is measured.
type client struct {
	host   string
	conn   net.Conn
	in     *bufio.Reader
	out    []byte
	body   bytes.Buffer
	forget func() bool // what ends the connection with its context
}

// answer is what came back. Body is good until the next request.
type answer struct {
	position string // Roster-Position
	body     []byte
}

// refused is an answer that isn't a success.
type refused struct {
	request, body string
	status        int
}

func (r *refused) Error() string {
	return fmt.Sprintf("%s was answered with %d: %s", r.request, r.status, r.body)
}

// dial connects to a base URL. The connection ends with ctx.
func dial(ctx context.Context, base string) (*client, error) {
	host := strings.TrimPrefix(base, "http://")
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	c := &client{host: host, conn: conn, in: bufio.NewReader(conn)}
	c.forget = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return c, nil
}

func (c *client) close() {
	c.forget()
	_ = c.conn.Close()
}

// send makes a request with a JSON body, which may be empty. Position is for
// Roster-At-Least, unless it is empty. An answer outside 2xx is a *refused.
func (c *client) send(method, path, token, body, position string) (answer, error) {
	c.out = fmt.Appendf(c.out[:0], "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", method, path, c.host, token)
	if position != "" {
		c.out = fmt.Appendf(c.out, "Roster-At-Least: %s\r\n", position)
	}
	if body != "" {
		c.out = fmt.Appendf(c.out, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	c.out = append(append(c.out, "\r\n"...), body...)

	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return answer{}, err
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return answer{}, err
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return answer{}, err
	}
	c.body.Reset()
	if _, err := c.body.ReadFrom(response.Body); err != nil {
		return answer{}, err
	}
	if err := response.Body.Close(); err != nil {
		return answer{}, err
	}
	if response.StatusCode/100 != 2 {
		start := c.body.Bytes()[:min(c.body.Len(), 300)]
		return answer{}, &refused{request: method + " " + path, body: string(start), status: response.StatusCode}
	}
	return answer{response.Header.Get("Roster-Position"), c.body.Bytes()}, nil
}

// call is one request on a connection of its own, for what is not measured.
// The answer is read into result unless that is nil.
func call(ctx context.Context, base, method, path, token string, body, result any) error {
	text := ""
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = string(encoded)
	}
	c, err := dial(ctx, base)
	if err != nil {
		return err
	}
	defer c.close()
	got, err := c.send(method, path, token, text, "")
	if err == nil && result != nil {
		err = json.Unmarshal(got.body, result)
	}
	return err
}
