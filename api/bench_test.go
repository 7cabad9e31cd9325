package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"roster/commands"
	"roster/domain"
)

// post is a request of a benchmark, over a real connection.
func post(b *testing.B, client *http.Client, url, token string, body []byte, want int) {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	r.Header["Content-Type"] = headerJSON
	r.Header["Authorization"] = []string{"Bearer " + token}
	answer, err := client.Do(r)
	if err != nil {
		b.Error(err)
		return
	}
	defer answer.Body.Close()
	if answer.StatusCode != want {
		text, _ := io.ReadAll(answer.Body)
		b.Errorf("%d: %s", answer.StatusCode, text)
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body)
}

// BenchmarkInvite is the whole way of an invitation, HTTP and fsync included,
// spread over teams or on one.
func BenchmarkInvite(b *testing.B) {
	w := newWorld(b, options{catalog: "tenants", quiet: true})
	var owners []account
	for range 64 {
		owners = append(owners, w.signUp())
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	for _, teams := range []int{64, 1} {
		for _, clients := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("teams=%d/clients=%d", teams, clients), func(b *testing.B) {
				var next atomic.Int64
				b.SetParallelism(max(1, clients/2)) // times GOMAXPROCS, which is 2 where this is measured
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						owner := owners[next.Add(1)%int64(teams)]
						body := fmt.Appendf(nil, `{"email":%q,"role":"viewer"}`, newEmail())
						post(b, client, w.http.URL+"/v1/teams/"+owner.team+"/invitations", owner.token, body, 201)
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			})
		}
	}
}

// BenchmarkCheck is a permission check over HTTP against an empty handler.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b, options{catalog: "dzbuild", quiet: true})
	owner := w.signUp()
	body := fmt.Appendf(nil, `{"subject":{"type":"user","id":%q},"action":{"name":"update"},"resource":{"type":"orders","id":"1","properties":{"team":%q}}}`, owner.id, owner.team)
	empty := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer empty.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	for _, target := range []struct{ name, url string }{{"empty", empty.URL}, {"check", w.http.URL + "/access/v1/evaluation"}} {
		b.Run(target.name, func(b *testing.B) {
			b.SetParallelism(8)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					post(b, client, target.url, owner.token, body, 200)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}

// BenchmarkServe is what this package alone costs, without a connection.
func BenchmarkServe(b *testing.B) {
	w := newWorld(b, options{catalog: "dzbuild", quiet: true})
	owner := w.signUp()
	evaluation := fmt.Sprintf(`{"subject":{"type":"user","id":%q},"action":{"name":"update"},"resource":{"type":"orders","id":"1","properties":{"team":%q}}}`, owner.id, owner.team)
	for _, test := range []struct{ name, method, path, body string }{
		{"not found", "GET", "/nowhere", ""},
		{"health", "GET", "/healthz", ""},
		{"check", "POST", evaluationPath, evaluation},
		{"hundred checks", "POST", evaluationsPath, `{"evaluations":[` + evaluation + strings.Repeat(","+evaluation, 99) + `]}`},
		{"who may", "POST", searchPath + "subject", evaluation},
		{"team", "GET", "/v1/teams/" + owner.team, ""},
		{"refused write", "POST", "/v1/teams/" + owner.team + "/invitations", `{"email":"x","role":"viewer"}`},
		{"members", "GET", "/v1/teams/" + owner.team + "/members", ""},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequestWithContext(b.Context(), test.method, test.path, nil)
			r.Header["Authorization"] = []string{"Bearer " + owner.token}
			out := discard{}
			for b.Loop() {
				if test.body != "" {
					r.Body, r.ContentLength = io.NopCloser(strings.NewReader(test.body)), int64(len(test.body))
				}
				clear(out)
				w.server.ServeHTTP(out, r)
			}
		})
	}
}

// BenchmarkServeInvite is an invitation without a connection, and without this
// package. What the processors did meanwhile is counted for all that an
// invitation brings about, the event store and the read models included.
func BenchmarkServeInvite(b *testing.B) {
	w := newWorld(b, options{catalog: "tenants", quiet: true})
	owner := w.signUp()
	r := httptest.NewRequestWithContext(b.Context(), "POST", "/v1/teams/"+owner.team+"/invitations", nil)
	r.Header["Content-Type"] = headerJSON
	r.Header["Authorization"] = []string{"Bearer " + owner.token}
	caller, err := w.service.Authenticate(b.Context(), owner.token)
	if err != nil {
		b.Fatal(err)
	}
	out := discard{}
	for _, test := range []struct {
		name string
		once func() error
	}{
		{"served", func() error {
			body := fmt.Sprintf(`{"email":%q,"role":"viewer"}`, newEmail())
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			clear(out)
			w.server.ServeHTTP(out, r)
			return nil
		}},
		{"command", func() error {
			_, _, err := w.service.Invite(b.Context(), caller, domain.TeamID(owner.team), commands.InviteRequest{Email: newEmail(), Role: "viewer"})
			return err
		}},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				if err := test.once(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs")
		})
	}
}

// discard is a writer that keeps nothing but the header.
type discard http.Header

func (d discard) Header() http.Header       { return http.Header(d) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// SetReadDeadline makes it like a connection.
func (discard) SetReadDeadline(time.Time) error { return nil }
