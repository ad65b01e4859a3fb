package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/lamina-run/lamina"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets/*
var assetFiles embed.FS

// page is what a template is given.
type page struct {
	Title string
	// Room is which part of the console it is, as the navigation marks it: overview,
	// layers, functions, stacks or logs.
	Room string
	// Trail leads here: the pages above, outermost first.
	Trail []link
	Data  any

	// The rest is filled in by show.
	Note      *note
	CSRF      string
	Nonce     string
	Theme     string // light, dark, or empty for what the browser prefers
	Region    string
	Account   string
	Principal string // ARN; empty before the sign-in
	Here      string // path and query of this page
	// Part says that a script asked for the content only, to put it into a page that
	// is there: see the behaviours load and refresh of console.js.
	Part bool
}

// link leads to a page.
type link struct{ Text, Path string }

// templates are the layout with each page of the folder, by the page's name.
var templates = mustTemplates()

func mustTemplates() map[string]*template.Template {
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	all := map[string]*template.Template{}
	for _, name := range names {
		base := strings.TrimSuffix(path.Base(name), ".html")
		if base == "layout" || strings.HasSuffix(base, "parts") {
			continue
		}
		all[base] = template.Must(template.New(base).Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/*parts.html", name))
	}
	return all
}

// functions are what templates can call beside the standard ones.
var functions = template.FuncMap{
	"at":         func(parts ...string) string { return at(parts...) },
	"asset":      assetPath,
	"bytes":      bytesText,
	"when":       whenText,
	"number":     numberText,
	"change":     changeText,
	"join":       strings.Join,
	"dict":       dict,
	"regions":    func() []string { return regions },
	"printable":  printable,
	"deprecated": lamina.RuntimeDeprecated,
}

// regions are offered where one is asked for; any other can be typed.
var regions = strings.Fields("us-east-1 us-east-2 us-west-1 us-west-2 ca-central-1 sa-east-1 eu-central-1 eu-central-2 eu-west-1 eu-west-2 eu-west-3 " +
	"eu-north-1 eu-south-1 eu-south-2 me-central-1 me-south-1 il-central-1 af-south-1 ap-east-1 ap-south-1 ap-south-2 ap-northeast-1 ap-northeast-2 " +
	"ap-northeast-3 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4")

// at is the path of a page: at("layers", name) escapes the name.
func at(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = url.PathEscape(p)
	}
	return Path + strings.Join(escaped, "/")
}

// dict gives a part of a template more than one argument: dict "name" value …
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict has %d arguments", len(pairs))
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict name %v is no string", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// bytesText tells a size as people read it: 1.5 MB. Lambda's limits count in
// powers of 1024.
func bytesText(n int64) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	}
}

// changeText tells by how much a size changed: +1.5 MB.
func changeText(n int64) string {
	switch {
	case n > 0:
		return "+" + bytesText(n)
	case n < 0:
		return "−" + bytesText(-n)
	}
	return "±0"
}

// numberText groups digits: 1,234,567.
func numberText(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// printable is a name that somebody stored, such as a file's in a zip, with
// escapes for what can't be seen or would turn the text around it.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
		return strings.Trim(strconv.Quote(name), `"`)
	}
	return name
}

// escapedBytes is about how many bytes a text has in a page.
func escapedBytes(text string) int {
	n := len(text)
	for i := range len(text) {
		switch text[i] {
		case '"', '\'', '&', '<', '>', '+', 0:
			n += 4
		}
	}
	return n
}

// cutText is the beginning of a text that has at most so many bytes in a page, and
// whether that is not all of it.
func cutText(text string, most int) (string, bool) {
	if escapedBytes(text) <= most {
		return text, false
	}
	text = text[:min(len(text), most)]
	for escapedBytes(text) > most {
		text = text[:len(text)*3/4]
	}
	return strings.ToValidUTF8(text, ""), true
}

// whenText tells a time of the API, in UTC.
func whenText(text string) string {
	for _, layout := range []string{"2006-01-02T15:04:05.999-0700", time.RFC3339Nano} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC().Format("2006-01-02 15:04:05 UTC")
		}
	}
	return text
}

// show answers a page. A template that fails panics; nothing of it is sent then.
func (v *visit) show(status int, name string, p page) {
	t, ok := templates[name]
	if !ok {
		panic("console: no template " + name)
	}
	layout := "layout"
	if v.isPart() {
		layout, p.Part = "content", true
	} else {
		p.Note = v.takeNote()
	}
	p.CSRF, p.Nonce, p.Theme = v.session.CSRF, v.nonce, v.theme()
	p.Region, p.Account, p.Principal, p.Here = v.session.Region, v.caller.Account, v.caller.ARN, v.req.URL.RequestURI()
	var out bytes.Buffer
	if err := t.ExecuteTemplate(&out, layout, p); err != nil {
		panic(fmt.Errorf("console: page %s: %w", name, err))
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(out.Bytes()) // a browser that left is no news
}

// isPart reports whether a script asked for the content of a page only.
func (v *visit) isPart() bool { return v.req.Header.Get("X-Console-Part") != "" }

// ok answers a page with status 200.
func (v *visit) ok(name string, p page) error {
	v.show(http.StatusOK, name, p)
	return nil
}

// done leaves a note and leads to a page, after a form did its work.
func (v *visit) done(to, format string, args ...any) error {
	v.leave(note{Text: fmt.Sprintf(format, args...)})
	http.Redirect(v.w, v.req, to, http.StatusSeeOther)
	return nil
}

// notDone leads back to a page with the reason why a form did not do its work; an
// error that is no refusal stays one.
func (v *visit) notDone(to string, err error) error {
	r, ok := err.(*refusal) //nolint:errorlint // a wrapped one has more to say
	if !ok {
		return err
	}
	v.leave(note{Text: r.Message + " (" + r.Code + ")", Bad: true})
	http.Redirect(v.w, v.req, to, http.StatusSeeOther)
	return nil
}

func (v *visit) theme() string {
	c, err := v.req.Cookie(themeCookie)
	if err != nil || c.Value != "light" && c.Value != "dark" {
		return ""
	}
	return c.Value
}

// assetHashes are the first hex digits of each asset's SHA-256, so that browsers
// may keep an asset for ever.
var assetHashes = func() map[string]string {
	hashes := map[string]string{}
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		text, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(text)
		hashes[e.Name()] = hex.EncodeToString(sum[:6])
	}
	return hashes
}()

// assetPath is where a page finds an asset.
func assetPath(name string) (string, error) {
	hash, ok := assetHashes[name]
	if !ok {
		return "", fmt.Errorf("no asset %s", name)
	}
	return Path + "assets/" + name + "?" + hash, nil
}

// assetHandler serves the embedded scripts, styles and pictures.
func assetHandler() http.Handler {
	assets, err := fs.Sub(assetFiles, "assets")
	if err != nil {
		panic(err)
	}
	files := http.FileServerFS(assets)
	return http.StripPrefix(Path+"assets/", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		hash, ok := assetHashes[req.URL.Path]
		if !ok {
			http.NotFound(w, req)
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox") // for a picture that is opened as a page
		if req.URL.RawQuery == hash {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		files.ServeHTTP(w, req)
	}))
}
