package dashboard_test

import (
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

// read gets a page or a file, as it travels.
func (s *site) read(client *http.Client, path string) string {
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
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %d %v", path, response.StatusCode, err)
	}
	return string(content)
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
		html := s.read(client, path)
		weight := len(html)
		files := loaded.FindAllStringSubmatch(html, -1)
		for _, file := range files {
			weight += len(s.read(client, file[1]))
		}
		if len(files) < 4 || weight >= 100_000 {
			t.Errorf("%s and the %d files that it loads have %d bytes", path, len(files), weight)
		}
		t.Logf("%s: %d bytes, %d of them HTML", path, weight, len(html))
	}
}
