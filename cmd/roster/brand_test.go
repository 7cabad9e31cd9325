package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"roster/api/dashboard"
)

func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What is wrong with how the pages are to look is said by its flag, before
// anything is started.
func TestBrandIsChecked(t *testing.T) {
	svg := `<svg xmlns="http://www.w3.org/2000/svg"/>`
	for name, test := range map[string]struct{ flag, says string }{
		"a colour by its name":        {"--brand-accent=red", "--brand-accent must be a colour of the form #rrggbb"},
		"a short colour":              {"--brand-accent=#fff", "--brand-accent must be a colour of the form #rrggbb"},
		"a style sheet as a colour":   {"--brand-accent=#fff}*{}", "--brand-accent must be a colour of the form #rrggbb"},
		"a name of 61 characters":     {"--brand-name=" + strings.Repeat("n", 61), "--brand-name must have at most 60 characters"},
		"a logo that isn't there":     {"--brand-logo=/no/such/file", "--brand-logo can't be read"},
		"a folder as a logo":          {"--brand-logo=" + t.TempDir(), "--brand-logo can't be read"},
		"a page as a logo":            {"--brand-logo=" + file(t, "logo.svg", []byte("<html><svg/></html>")), "--brand-logo must be an SVG or PNG picture"},
		"an empty logo":               {"--brand-logo=" + file(t, "empty.png", nil), "--brand-logo must be an SVG or PNG picture"},
		"a logo of too many bytes":    {"--brand-logo=" + file(t, "big.svg", append([]byte(svg), bytes.Repeat([]byte(" "), dashboard.MaxLogo)...)), "--brand-logo must have at most 256 KiB"},
		"a path to change plans at":   {"--billing-url=/billing", "--billing-url must be a whole address"},
		"a script to change plans at": {"--billing-url=javascript:alert(1)", "--billing-url must be a whole address"},
		"a password in that address":  {"--billing-url=https://a:b@example.com", "--billing-url must be a whole address"},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			command := parseServe(t, "--listen=127.0.0.1:0", "--data="+data, test.flag)
			app, err := start(t.Context(), command, slog.New(slog.DiscardHandler))
			if err == nil {
				_ = app.stop(t.Context())
				t.Fatal("was accepted")
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("said %q", err)
			}
			if _, err := os.Stat(data); err == nil {
				t.Error("the data folder was made all the same")
			}
		})
	}
}

// The pages have the host's name, colour and logo; the logo is a picture and
// nothing else, whatever is in it.
func TestBrandIsOnThePages(t *testing.T) {
	svg := `<?xml version="1.0"?><!-- ours --><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`
	get := func(url string) (http.Header, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v", url, response.StatusCode, err)
		}
		return response.Header, string(body)
	}
	for kind, logo := range map[string]string{"image/svg+xml": svg, "image/png": "\x89PNG\r\n\x1a\n<svg/>"} {
		s := startServer(t, "--brand-name=Ferns & <b>Co</b>", "--brand-accent=#0a7f5a", "--brand-logo="+file(t, "logo", []byte(logo)))
		_, page := get(s.url + "/signin")
		if !strings.Contains(page, "Sign in to Ferns &amp; &lt;b&gt;Co&lt;/b&gt;") {
			t.Error(page)
		}
		header, content := get(s.url + regexp.MustCompile(`/assets/\w+/logo`).FindString(page))
		policy := header.Get("Content-Security-Policy")
		if content != logo || header.Get("Content-Type") != kind || header.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "sandbox") || strings.Contains(policy, "script-src") {
			t.Errorf("%v", header)
		}
		if _, style := get(s.url + regexp.MustCompile(`/assets/\w+/brand.css`).FindString(page)); !strings.Contains(style, "--accent:#0a7f5a") {
			t.Error(style)
		}
	}
	if _, page := get(startServer(t, "--catalog=dzbuild").url + "/signin"); !strings.Contains(page, "Sign in to DZBuild") {
		t.Errorf("without a name, that of the role catalog is on the pages:\n%s", page)
	}
}

// Whoever starts Roster for the first time is led to the dashboard.
func TestWelcomeNamesTheDashboard(t *testing.T) {
	s := startServer(t)
	text := (&serveCommand{}).welcome(s.app)
	if first, _, _ := strings.Cut(strings.TrimSpace(text), "\n"); !strings.HasSuffix(first, s.url+"/dashboard") {
		t.Error(text)
	}
}
