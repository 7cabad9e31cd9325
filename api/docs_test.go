package api

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestTheDocsPageLoadsNothingFromElsewhere(t *testing.T) {
	w := newWorld(t, options{})
	page := w.call("GET", "/docs", nil).is(200)
	policy := page.header.Get("Content-Security-Policy")
	if strings.Contains(policy, "unsafe-eval") || strings.Contains(policy, "http") || strings.Contains(policy, "script-src 'self' '") {
		t.Errorf("the policy is %s", policy)
	}
	files := regexp.MustCompile(`(?:src|href|apiDescriptionUrl)="([^"]+)"`).FindAllStringSubmatch(string(page.raw), -1)
	if len(files) < 4 {
		t.Fatalf("the page loads %v", files)
	}
	for _, file := range files {
		switch path := file[1]; {
		case strings.HasPrefix(path, "data:"):
		case !strings.HasPrefix(path, "/"):
			t.Errorf("the page names %s", path)
		default:
			r := w.call("GET", path, nil).is(200)
			if tag := r.header.Get("Etag"); w.call("GET", path, nil, header("If-None-Match", tag)).status != 304 {
				t.Errorf("%s is sent again to who has it", path)
			}
		}
	}
	if strings.Contains(string(page.raw), "<script>") || strings.Contains(string(page.raw), "<style") {
		t.Error("the page has a script or style of its own, which its policy forbids")
	}
}

func TestTheViewerIsTheOneThatItsReadmeNames(t *testing.T) {
	readme, err := os.ReadFile("docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"styles.min.css": viewerStyle, "web-components.min.js": viewerScript} {
		hash := sha256.Sum256([]byte(content))
		if sum := hex.EncodeToString(hash[:]); !strings.Contains(string(readme), sum+"  "+name) {
			t.Errorf("%s has the sum %s", name, sum)
		}
	}
	if !strings.Contains(string(readme), docsVersion) {
		t.Errorf("the readme doesn't name version %s", docsVersion)
	}
}
