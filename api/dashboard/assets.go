package dashboard

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/go-chi/chi/v5"
)

// Strings and not an embed.FS, whose files are copied into memory when they are
// read: so what nobody looks at costs none.
var (
	//go:embed assets/base.css
	baseStyle string
	//go:embed assets/entry.css
	entryStyle string
	//go:embed assets/account.css
	accountStyle string
	//go:embed assets/team.css
	teamStyle string
	//go:embed assets/audit.css
	auditStyle string
	//go:embed assets/settings.css
	settingsStyle string
	//go:embed assets/base.js
	baseScript string
	//go:embed assets/passkeys.js
	passkeysScript string
	//go:embed assets/audit.js
	auditScript string
	//go:embed assets/tour.js
	tourScript string
	//go:embed assets/htmx.min.js
	htmx string
)

// asset is a file that pages load. Its address has its content's hash, so that
// a browser may keep it for good.
type asset struct {
	path, contentType, policy, content string
	zipped                             func() string // compressed when it is first asked for
}

func newAsset(name, contentType, content string) asset {
	hash := sha256.Sum256([]byte(content))
	return asset{
		path: "/assets/" + hex.EncodeToString(hash[:8]) + "/" + name, contentType: contentType,
		content: content, zipped: sync.OnceValue(func() string { return zip(content) }),
	}
}

func zip(content string) string {
	var zipped strings.Builder
	_ = compress(&zipped, "", []byte(content)) // a Builder takes everything
	return zipped.String()
}

// ServeHTTP answers with the file, compressed for who takes that.
func (a asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	header.Set("Content-Type", a.contentType)
	header.Set("Vary", "Accept-Encoding")
	if a.policy != "" {
		header.Set("Content-Security-Policy", a.policy)
	}
	content := a.content
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		header.Set("Content-Encoding", "gzip")
		content = a.zipped()
	}
	_, _ = io.WriteString(w, content)
}

// assets are the files of the pages.
type assets struct{ style, brand, script, htmx, logo asset }

func newAssets(brand Brand) *assets {
	a := &assets{
		style:  newAsset("dashboard.css", "text/css; charset=utf-8", baseStyle+entryStyle+accountStyle+teamStyle+auditStyle+settingsStyle),
		brand:  newAsset("brand.css", "text/css; charset=utf-8", brand.style()),
		script: newAsset("dashboard.js", "text/javascript; charset=utf-8", baseScript+passkeysScript+auditScript+tourScript),
		htmx:   newAsset("htmx.js", "text/javascript; charset=utf-8", htmx),
	}
	if len(brand.Logo) > 0 {
		a.logo = newAsset("logo", logoType(brand.Logo), string(brand.Logo))
		// An SVG may hold scripts. In an img it runs none; opened by itself it
		// is nothing but a picture either.
		a.logo.policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
	}
	return a
}

func (a *assets) routes(router chi.Router) {
	for _, file := range []asset{a.style, a.brand, a.script, a.htmx, a.logo} {
		if file.path == "" {
			continue
		}
		router.Method(http.MethodGet, file.path, file)
	}
}
