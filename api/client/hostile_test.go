package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"roster/api/client"
)

// endless writes something again and again until the reader has enough, which
// is soon.
func endless(t *testing.T, w io.Writer, text string) {
	for sent := 0; ; sent += len(text) {
		if sent > 64<<20 {
			t.Errorf("%d bytes were taken", sent)
			return
		}
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

// Whatever a server answers, a client reads so much of it and no more, and
// says that it is wrong.
func TestHostileAnswers(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"another form": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"decision":"yes","data":1,"evaluations":{}}`)
		},
		"deep":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("[", 10_000)) },
		"endless": func(w http.ResponseWriter, _ *http.Request) { endless(t, w, strings.Repeat(" ", 64<<10)) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "{")
		},
		"another address": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"endless problem": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"code":"`)
			endless(t, w, strings.Repeat("x", 64<<10))
		},
		"a problem that isn't one": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"code":["x"]}`)
		},
		"a problem for the log": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprintf(w, `{"code":"x\nlevel=ERROR","detail":"\u001b[31m%s","errors":[%s{}]}`, strings.Repeat("x", 10_000), strings.Repeat(`{"pointer":"\r"},`, 1000))
		},
		"the past": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Roster-Position", "6")
			fmt.Fprint(w, `{"decision":true,"data":[],"evaluations":[{"decision":true}]}`)
		},
		"no position": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"decision":true,"data":[],"evaluations":[{"decision":true}]}`)
		},
		"too few answers, pages without end": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Roster-Position", "7")
			fmt.Fprint(w, `{"decision":"?","data":[],"page":{"next_token":"again"},"evaluations":[]}`)
		},
	}
	for name, handler := range answers {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					t.Error("the client was sent elsewhere")
				}
				handler(w, r)
			}))
			defer server.Close()
			c, err := client.New(server.URL, "token", client.WithAttempts(1))
			if err != nil {
				t.Fatal(err)
			}
			ctx := client.AtLeast(t.Context(), 7)
			q := client.Question{Team: "team_1", Subject: "user_1", Permission: "orders:update"}
			_, one := c.Check(ctx, q)
			_, all := c.CheckAll(ctx, []client.Question{q})
			errs := []error{one, all}
			for member, err := range c.Members(ctx, "team_1", client.MembersQuery{}) {
				if err == nil {
					t.Errorf("got %+v", member)
				}
				errs = append(errs, err)
			}
			if len(errs) != 3 {
				t.Errorf("the list ended well: %v", errs)
			}
			for _, err := range errs {
				switch {
				case err == nil:
					t.Error("it passes")
				case name == "endless" && !strings.Contains(err.Error(), "too large"):
					t.Error(err)
				case len(err.Error()) > 120_000 || strings.ContainsAny(err.Error(), "\n\r\x1b"):
					t.Errorf("%.200q… of %d bytes", err, len(err.Error()))
				}
				var refusal *client.Error
				if strings.Contains(name, "problem") && (!errors.As(err, &refusal) || refusal.Status != http.StatusConflict || len(refusal.Fields) > 50) {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// Nor does a stream of changes take more than it should, and a cache never
// takes it for one that works.
func TestHostileStreams(t *testing.T) {
	event := func(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }
	for name, test := range map[string]struct{ stream, want string }{
		"a line without end":        {strings.Repeat("x", 200<<10), "token too long"},
		"data without end":          {"event: change\n" + strings.Repeat("data: x\n", 1000), "several lines"},
		"no JSON":                   {event("position", "<"), "invalid character"},
		"a change of nothing":       {event("change", `{"position":1}`), "neither of a team"},
		"a negative position":       {event("position", `{"position":-1}`), "cannot unmarshal"},
		"an end for a reason":       {event("end", `{"reason":"so\nsays\u001bthe server"}`), "so says the server"},
		"an answer that just stops": {"retry: 1\n\n: nothing\n\n", "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, test.stream)
			}))
			defer server.Close()
			wantInterrupted(t, server.URL, test.want)
		})
	}
	t.Run("no stream", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, event("position", `{"position":1}`))
		}))
		defer server.Close()
		wantInterrupted(t, server.URL, "no stream of events")
	})
	t.Run("nobody there", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		server.Close()
		wantInterrupted(t, server.URL, "refused")
	})
}

func wantInterrupted(t *testing.T, url, why string) {
	t.Helper()
	c, err := client.New(url, "token")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := client.NewCache(c, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	for {
		err := cache.Stats().Err
		if err != nil && strings.Contains(err.Error(), why) {
			return
		}
		runtime.Gosched()
		if err == nil || !strings.Contains(err.Error(), "hasn't begun") {
			t.Fatalf("interrupted by %v, want %s", err, why)
		}
	}
}
