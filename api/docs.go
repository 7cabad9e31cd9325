package api

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed docs/index.html docs/docs.css docs/styles.min.css docs/web-components.min.js
var docsFiles embed.FS

// docsVersion is that of the viewer; it is part of its address, so that a
// browser may keep it for good. See docs/README.md.
const docsVersion = "9.0.25"

// docsPolicy lets the page load what this server has, and nothing else. The
// viewer writes style attributes, hence unsafe-inline for styles alone.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docsRoutes serves the description of the interface and a page that shows
// it. Every operation must be registered by now.
func (s *Server) docsRoutes() {
	openAPI := s.api.OpenAPI()
	asJSON, err := json.Marshal(openAPI)
	if err != nil {
		panic(err) // types of this program that can't be written as JSON
	}
	asYAML, err := openAPI.YAML()
	if err != nil {
		panic(err)
	}
	s.router.Get("/openapi.json", static("application/json", "no-cache", asJSON))
	s.router.Get("/openapi.yaml", static("application/yaml", "no-cache", asYAML))

	page := s.docsFile("index.html")
	page = []byte(strings.ReplaceAll(string(page), "{{version}}", docsVersion))
	show := static("text/html; charset=utf-8", "no-cache", page)
	s.router.Get("/docs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		show(w, r)
	})
	for name, contentType := range map[string]string{
		"docs.css":              "text/css; charset=utf-8",
		"styles.min.css":        "text/css; charset=utf-8",
		"web-components.min.js": "text/javascript; charset=utf-8",
	} {
		s.router.Get("/docs/"+docsVersion+"/"+name, static(contentType, "public, max-age=31536000, immutable", s.docsFile(name)))
	}
	s.router.Get("/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/docs", http.StatusFound) })
}

func (s *Server) docsFile(name string) []byte {
	content, err := fs.ReadFile(docsFiles, "docs/"+name)
	if err != nil {
		panic(err) // embedded, so it is there
	}
	return content
}

// static serves something that stays the same as long as the process runs.
func static(contentType, cache string, content []byte) http.HandlerFunc {
	hash := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(hash[:16]) + `"`
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", cache)
		header.Set("Etag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		header.Set("Content-Type", contentType)
		_, _ = w.Write(content)
	}
}
