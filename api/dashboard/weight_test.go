package dashboard_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"testing"
)

// visitor is somebody without JavaScript: a client that follows redirects and
// keeps cookies.
func (s *site) visitor() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

// read gets a page or a file.
func (s *site) read(client *http.Client, path string) string {
	s.t.Helper()
	content, _ := s.weigh(client, path)
	return content
}

// weigh is read, and how many bytes travelled.
func (s *site) weigh(client *http.Client, path string) (content string, weight int) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "gzip") // and what comes is left as it is
	response, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %d %v", path, response.StatusCode, err)
	}
	if response.Header.Get("Content-Encoding") != "gzip" {
		return string(body), len(body)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text), len(body)
}

var loaded = regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`)

func TestFirstPageWeighsLessThan100kBWithAllThatItLoads(t *testing.T) {
	s := serve(t, "tenants") // which has no limit on members
	owner := s.signUp("Olga")
	for i := range 10 {
		s.join(owner, fmt.Sprintf("Member %d", i), "member", nil)
	}
	for range 40 {
		s.call("POST", "/v1/teams/"+owner.team+"/invitations", owner.token, map[string]any{"email": newEmail(), "role": "member"})
	}
	inside := s.visitor()
	response, err := inside.PostForm(s.url+"/signin", url.Values{"email": {owner.email}, "password": {password}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	for path, client := range map[string]*http.Client{"/signin": s.visitor(), "/dashboard/team": inside} {
		html, weight := s.weigh(client, path)
		files := loaded.FindAllStringSubmatch(html, -1)
		for _, file := range files {
			_, more := s.weigh(client, file[1])
			weight += more
		}
		if len(files) < 4 || weight >= 100_000 {
			t.Errorf("%s and the %d files that it loads have %d bytes", path, len(files), weight)
		}
		t.Logf("%s: %d bytes, %d of them HTML", path, weight, len(html))
	}
}
