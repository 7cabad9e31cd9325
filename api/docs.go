package api

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Strings and not an embed.FS, whose files are copied into memory when they
// are read: so what nobody looks at costs none.
var (
	//go:embed docs/index.html
	docsPage string
	//go:embed docs/docs.css
	docsStyle string
	//go:embed docs/styles.min.css
	viewerStyle string
	//go:embed docs/web-components.min.js
	viewerScript string
)

// docsVersion is that of the viewer; it is part of its address, so that a
// browser may keep it for good. See docs/README.md.
const docsVersion = "9.0.25"

// docsPolicy lets the page load what this server has, and nothing else. The
// viewer writes style attributes, hence unsafe-inline for styles alone.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docsRoutes serves the description of the interface and a page that shows
// it. The description is written when it is first asked for, by which time every
// operation is registered: most servers never are.
func (s *Server) docsRoutes() {
	for _, form := range []struct {
		path, contentType string
		write             func() ([]byte, error)
	}{
		{"/openapi.json", "application/json", func() ([]byte, error) { return json.Marshal(s.api.OpenAPI()) }},
		{"/openapi.yaml", "application/yaml", func() ([]byte, error) { return s.api.OpenAPI().YAML() }},
	} {
		written := sync.OnceValue(func() http.HandlerFunc {
			text, err := form.write()
			if err != nil {
				panic(err) // types of this program that can't be written as JSON
			}
			return static(form.contentType, "no-cache", tagOf(text), string(text))
		})
		s.router.Get(form.path, func(w http.ResponseWriter, r *http.Request) { written()(w, r) })
	}

	page := strings.ReplaceAll(docsPage, "{{version}}", docsVersion)
	show := static("text/html; charset=utf-8", "no-cache", tagOf([]byte(page)), page)
	s.router.Get("/docs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		show(w, r)
	})
	s.router.Get("/docs/docs.css", static("text/css; charset=utf-8", "no-cache", tagOf([]byte(docsStyle)), docsStyle))
	for _, file := range []struct{ name, contentType, content string }{
		{"styles.min.css", "text/css; charset=utf-8", viewerStyle},
		{"web-components.min.js", "text/javascript; charset=utf-8", viewerScript},
	} {
		s.router.Get("/docs/"+docsVersion+"/"+file.name,
			static(file.contentType, "public, max-age=31536000, immutable", `"`+docsVersion+`"`, file.content))
	}
}

func tagOf(content []byte) string {
	hash := sha256.Sum256(content)
	return `"` + hex.EncodeToString(hash[:16]) + `"`
}

// static serves something that stays the same as long as the process runs.
func static(contentType, cache, tag, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", cache)
		header.Set("Etag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		header.Set("Content-Type", contentType)
		_, _ = io.WriteString(w, content)
	}
}
