package console_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

const testLayer = "arn:aws:lambda:eu-central-1:111122223333:layer:geo"

// fakeLayers answers for one layer with some versions, whose text is all evil.
func fakeLayers(t testing.TB, archives shelf, zips ...[]byte) services {
	t.Helper()
	var sums []string
	for _, zip := range zips {
		sums = append(sums, archives.put(zip))
	}
	version := func(i int) map[string]any {
		return map[string]any{
			"LayerArn": testLayer, "LayerVersionArn": fmt.Sprint(testLayer, ":", i+1), "Version": i + 1, "Description": evil, "LicenseInfo": evil,
			"CreatedDate": "2026-01-02T03:04:05.000+0000", "CompatibleRuntimes": []string{"python3.12"}, "CompatibleArchitectures": []string{"x86_64"},
			"Content": map[string]any{"CodeSha256": sums[i], "CodeSize": len(zips[i])},
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-10-31/layers", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Get("Marker") == "" {
			writeJSON(w, map[string]any{"NextMarker": "more&more", "Layers": []any{map[string]any{"LayerName": "geo", "LayerArn": testLayer, "LatestMatchingVersion": version(0)}}})
			return
		}
		writeJSON(w, map[string]any{"Layers": []any{map[string]any{"LayerName": "last", "LayerArn": testLayer, "LatestMatchingVersion": version(0)}}})
	})
	mux.HandleFunc("GET /2018-10-31/layers/geo/versions", func(w http.ResponseWriter, _ *http.Request) {
		var all []any
		for i := range zips {
			all = append(all, version(len(zips)-1-i))
		}
		writeJSON(w, map[string]any{"LayerVersions": all})
	})
	mux.HandleFunc("GET /2018-10-31/layers/geo/versions/{version}", func(w http.ResponseWriter, req *http.Request) {
		for i := range zips {
			if req.PathValue("version") == fmt.Sprint(i+1) {
				writeJSON(w, version(i))
				return
			}
		}
		refuse(w, http.StatusNotFound, "ResourceNotFoundException", "The resource you requested does not exist. "+evil)
	})
	mux.HandleFunc("GET /2018-10-31/layers/geo/versions/{version}/policy", func(w http.ResponseWriter, _ *http.Request) {
		policy := `{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"lambda:GetLayerVersion"},
			{"Sid":"b","Effect":"Allow","Principal":"*","Action":"lambda:GetLayerVersion","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-abc"}}},
			{"Sid":"c","Effect":"Allow","Principal":"*","Action":` + jsonText(evil) + `}]}`
		writeJSON(w, map[string]string{"Policy": policy, "RevisionId": "r1"})
	})
	mux.HandleFunc("GET /2015-03-31/functions/", func(w http.ResponseWriter, req *http.Request) {
		q := req.URL.Query()
		if q.Get("FunctionVersion") != "ALL" {
			writeJSON(w, map[string]any{"Functions": []any{}})
			return
		}
		layers := []map[string]string{{"Arn": "arn:aws:lambda:eu-central-1:1:layer:other:1"}, {"Arn": testLayer + ":1"}}
		if q.Get("Marker") == "" {
			writeJSON(w, map[string]any{"NextMarker": "m", "Functions": []any{map[string]any{"FunctionName": "first", "Version": "$LATEST", "Runtime": evil, "Layers": layers}}})
			return
		}
		writeJSON(w, map[string]any{"Functions": []any{
			map[string]any{"FunctionName": "second", "Version": "7", "Layers": layers}, map[string]any{"FunctionName": "third", "Version": "8", "Layers": []map[string]string{{"Arn": testLayer + ":9"}}},
		}})
	})
	return services{"lambda": mux.ServeHTTP}
}

func jsonText(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TestLayerPages looks at every page about layers, of which each stored string is
// markup.
func TestLayerPages(t *testing.T) {
	t.Parallel()
	archives := shelf{}
	first := testkit.Zip(t, testkit.File{Name: "python/" + evil + ".py", Body: "1"}, testkit.File{Name: "python/gone.py", Body: "1"},
		testkit.File{Name: "bin/" + evil, Link: evil + ".target"}, testkit.File{Name: "python/\x1b[31m\u202Eyp.exe", Body: "1"})
	second := testkit.Zip(t, testkit.File{Name: "python/" + evil + ".py", Body: "two"}, testkit.File{Name: "python/new.py", Body: "1"}, testkit.File{Name: "bin/" + evil, Link: evil + ".target"})
	v := visitRooms(t, fakeLayers(t, archives, first, second), archives)

	page := v.get("layers", http.StatusOK)
	tame(t, "list", page)
	has(t, "list", page, `href="/_console/layers/geo"`, `marker=more%26more`, `href="/_console/layers/geo/versions/1"`)
	has(t, "second page", v.get("layers?marker=more%26more", http.StatusOK), ">last<", "First page")
	page = v.get("layers?search=LAST", http.StatusOK)
	if has(t, "search", page, ">last<"); strings.Contains(page, ">geo<") {
		t.Error("a search for last finds geo")
	}
	has(t, "search for nothing", v.get("layers?search=nothing", http.StatusOK), "No layer fits")

	page = v.get("layers/geo", http.StatusOK)
	tame(t, "layer", page)
	has(t, "layer", page, "Version 2</a>", fmt.Sprint(len(first), " bytes"), `<option selected>1</option>`)

	page = v.get("layers/geo/versions/1", http.StatusOK)
	tame(t, "version", page)
	name := html.EscapeString(evil)
	has(t, "version", page, name+".py<", name+".target", `data-copy="`+testLayer+`:1"`, "/opt/python/lib/python3.12/site-packages", `modules of python3.12`, `\x1b[31m\u202eyp.exe`, "symlink",
		`data-load="/_console/layers/geo/versions/1/checks"`, `data-load="/_console/layers/geo/versions/1/functions"`)
	has(t, "directory", v.get("layers/geo/versions/1?path=python", http.StatusOK), "gone.py")
	has(t, "missing directory", v.get("layers/geo/versions/1?path=nowhere", http.StatusOK), "no directory nowhere")
	page = v.get("layers/geo/versions/1/checks", http.StatusOK)
	tame(t, "checks", page)
	has(t, "checks", page, "<h1>", "leads to nothing")
	if page = v.get("layers/geo/versions/1/checks", http.StatusOK, "X-Console-Part", "1"); strings.Contains(page, "<html") || strings.Contains(page, "<h1>") {
		t.Errorf("a part of a page is a whole page:\n%s", page)
	}

	page = v.get("layers/geo/versions/1/functions", http.StatusOK)
	tame(t, "users", page)
	has(t, "users", page, "2 versions of functions have it", ">first<", ">second<", "1 version of a function has another version")
	has(t, "deletion", v.get("layers/geo/versions/1/delete", http.StatusOK), "never used again", "2 versions of functions have it", "Delete version 1")

	page = v.get("layers/geo/versions/1/policy", http.StatusOK)
	tame(t, "policy", page)
	has(t, "policy", page, "Account 123456789012", "All accounts of organization o-abc", "Everyone", `name="revision" value="r1"`)
	page = v.post("layers/geo/versions/1/policy", url.Values{"sid": {evil}, "who": {"account"}, "account": {"12"}}, http.StatusUnprocessableEntity)
	tame(t, "refused share", page)
	has(t, "refused share", page, "12 digits", `name="account" value="12"`)

	page = v.get("layers/geo/compare?from=1&to=2", http.StatusOK)
	tame(t, "comparison", page)
	has(t, "comparison", page, "1 added", "2 removed", "1 changed", name+".py<", "python/new.py", "python/gone.py")
	if page = v.get("layers/geo/compare?from=1&to=2&kind=added", http.StatusOK); strings.Contains(page, "gone.py") {
		t.Error("what was added has what was removed")
	}
	tame(t, "unknown version", v.get("layers/geo/versions/9", http.StatusNotFound))
	has(t, "archive", v.get("layers/geo/versions/1", http.StatusOK), "/download")
	clear(archives)
	page = v.get("layers/geo/versions/1", http.StatusOK)
	if has(t, "directory of the host", page, "directory of the server"); strings.Contains(page, "/download") {
		t.Error("what has no archive can be downloaded")
	}
	v.get("layers/geo/versions/1/download", http.StatusNotFound)
	has(t, "checks of a directory", v.get("layers/geo/versions/1/checks", http.StatusOK), "directory of the server")
	has(t, "comparison of a directory", v.get("layers/geo/compare?from=1&to=2", http.StatusOK), "directory of the server")

	for _, c := range []struct{ arn, want string }{
		{"nonsense" + evil, "looks like arn:aws"},
		{"arn:aws:lambda:eu-west-1:123456789012:layer:x:1", "Switch the region"},
		{"arn:aws:lambda:eu-central-1:123456789012:layer:x", "has to end in a number"},
		{testLayer + ":1", "geo version 1"},
	} {
		has(t, "opening "+c.arn, v.get("layers-arn?arn="+url.QueryEscape(c.arn), http.StatusOK), c.want)
	}
}

// TestLayerDownload fetches an archive, whole and in part, under a safe name.
func TestLayerDownload(t *testing.T) {
	t.Parallel()
	archives := shelf{}
	zip := testkit.Zip(t, testkit.File{Name: "a", Body: "1"})
	v := visitRooms(t, fakeLayers(t, archives, zip), archives)
	resp, err := v.http.Get(v.url + "layers/geo/versions/1/download")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != string(zip) {
		t.Errorf("download = %d bytes, %v; want the %d of the zip", len(got), err, len(zip))
	}
	h := resp.Header
	if got, want := h.Get("Content-Disposition"), `attachment; filename="geo-1.zip"`; got != want || h.Get("Content-Type") != "application/zip" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("download has %v; want %s", h, want)
	}
	if got := v.get("layers/geo/versions/1/download", http.StatusPartialContent, "Range", "bytes=0-1"); got != "PK" {
		t.Errorf("first two bytes = %q; want PK", got)
	}
}

// TestLargeTree shows an archive of many entries a page at a time, each of them once.
func TestLargeTree(t *testing.T) {
	t.Parallel()
	var files []testkit.Record
	for i := range 3000 {
		files = append(files, testkit.Record{Name: fmt.Sprintf("wide/%04d-%s.py", i, strings.Repeat("&", 60))})
		files = append(files, testkit.Record{Name: fmt.Sprintf("deep%s/%04d/f", strings.Repeat("/d", i%50), i)})
	}
	archives := shelf{}
	v := visitRooms(t, fakeLayers(t, archives, testkit.RawZip(files...)), archives)
	has(t, "top", v.get("layers/geo/versions/1", http.StatusOK), `href="/_console/layers/geo/versions/1?path=wide"`, "3000 files")
	seen, next := map[string]bool{}, "layers/geo/versions/1?path=wide"
	for pages := 0; next != ""; pages++ {
		page := v.get(next, http.StatusOK)
		_, tree, _ := strings.Cut(page, `id="tree"`)
		tree, rest, _ := strings.Cut(tree, "<h2")
		before := len(seen)
		for line := range strings.SplitSeq(tree, `<span class="mono wrap">`) {
			if name, _, ok := strings.Cut(line, "-&amp;"); ok {
				if seen[name] {
					t.Fatalf("%s is on two pages", name)
				}
				seen[name] = true
			}
		}
		if len(seen) == before || pages > 100 {
			t.Fatalf("page %s shows nothing new; %d are seen\n%.3000s", next, len(seen), rest)
		}
		next = ""
		if _, after, ok := strings.Cut(tree, `<a class="button" href="/_console/`); ok {
			next, _, _ = strings.Cut(after, "#files")
			next = strings.ReplaceAll(next, "&amp;", "&")
		}
	}
	if len(seen) != 3000 {
		t.Errorf("%d files are shown; want 3000", len(seen))
	}
}

// zeros is as many bytes as one wants, of which no two pieces are the same.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), z.left))
	for i := range p[:n] {
		p[i] = byte(z.left - int64(i))
	}
	z.left -= int64(n)
	return n, nil
}

// TestLayerUpload sends 40 MB through the console, which keeps no such thing in
// memory, and shows at the form what the API refuses. It measures the memory of the
// process, and so runs alone.
func TestLayerUpload(t *testing.T) {
	const size = 40 << 20
	var got struct {
		Description, LicenseInfo                    string
		CompatibleRuntimes, CompatibleArchitectures []string
	}
	var decoded int64
	var wrong error
	refusing := false
	s := services{"lambda": func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodPost {
			refuse(w, http.StatusForbidden, "AccessDeniedException", "no")
			return
		}
		if refusing {
			refuse(w, http.StatusForbidden, "AccessDeniedException", "User is not authorized to perform: lambda:PublishLayerVersion "+evil)
			return
		}
		head := make([]byte, 0, 4096)
		one := make([]byte, 1)
		for !strings.HasSuffix(string(head), `"ZipFile":"`) && len(head) < 4096 {
			if _, err := io.ReadFull(req.Body, one); err != nil {
				wrong = err
				break
			}
			head = append(head, one[0])
		}
		if wrong == nil {
			wrong = json.Unmarshal([]byte(string(head)+`"}}`), &got)
		}
		want := &zeros{size}
		text := base64.NewDecoder(base64.StdEncoding, &untilQuote{r: req.Body})
		a, b := make([]byte, 32<<10), make([]byte, 32<<10)
		for wrong == nil {
			n, err := io.ReadFull(text, a)
			_, _ = io.ReadFull(want, b[:n])
			if decoded += int64(n); !bytes.Equal(a[:n], b[:n]) {
				wrong = fmt.Errorf("other bytes before %d", decoded)
			}
			if err != nil {
				break
			}
		}
		w.WriteHeader(http.StatusCreated)
		writeJSON(w, map[string]any{"Version": 3})
	}}
	v := visitRooms(t, s, shelf{})
	form := url.Values{"name": {"geo"}, "description": {evil}, "license": {"MIT"}, "runtime": {"python3.12", "nodejs22.x"}, "architecture": {"arm64"}}
	page := v.get("layers-new", http.StatusOK)
	has(t, "form", page, `enctype="multipart/form-data"`, "data-upload", `value="python3.12"`, "nodejs12.x <span class=\"dim\">deprecated")

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v.upload("layers-new", form, &zeros{size}, http.StatusForbidden) // at the version's page, which nobody may see here
	runtime.ReadMemStats(&after)
	if wrong != nil || decoded != size {
		t.Fatalf("the API got %d bytes, %v; want %d", decoded, wrong, size)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > size/2 {
		t.Errorf("an upload of %d bytes allocates %d; want less than half", size, used)
	}
	if got.Description != evil || got.LicenseInfo != "MIT" || len(got.CompatibleRuntimes) != 2 || got.CompatibleArchitectures[0] != "arm64" {
		t.Errorf("the API got %+v; want what the form has", got)
	}

	refusing = true
	page = v.upload("layers-new", form, strings.NewReader("PK"), http.StatusForbidden)
	tame(t, "refusal", page)
	has(t, "refusal", page, "not authorized to perform: lambda:PublishLayerVersion", `role="alert"`, `name="name" value="geo"`, `value="python3.12" checked`, `value="arm64" checked`)
	has(t, "no zip", v.post("layers-new", form, http.StatusUnprocessableEntity), "Choose a zip", `value="python3.12" checked`)
	form.Set("bucket", "b")
	has(t, "both", v.upload("layers-new", form, strings.NewReader("PK"), http.StatusUnprocessableEntity), "not both", "<details open>")
	v.csrf = "another"
	has(t, "another session's form", v.upload("layers-new", form, strings.NewReader("PK"), http.StatusForbidden), "not from this session")
}

// TestStrangersUpload: nothing of a form is kept before somebody signed in.
func TestStrangersUpload(t *testing.T) {
	t.Parallel()
	v := visitRooms(t, services{}, shelf{})
	v.http = &http.Client{}
	for path, status := range map[string]int{"layers-new": http.StatusUnauthorized, "signin": http.StatusRequestEntityTooLarge} {
		read := &counted{Reader: io.MultiReader(strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"zip\"; filename=\"a\"\r\n\r\n"), &zeros{64 << 20})}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.url+path, read)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		resp, err := v.http.Do(req)
		if err != nil {
			continue // the server hung up, which is as good
		}
		resp.Body.Close()
		if n := read.n.Load(); resp.StatusCode != status || n > 8<<20 {
			t.Errorf("a stranger's upload to %s = %s after %d bytes; want %d long before the end", path, resp.Status, n, status)
		}
	}
}

// counted counts what is read.
type counted struct {
	io.Reader

	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// untilQuote ends where a JSON string does.
type untilQuote struct {
	r    io.Reader
	over bool
}

func (u *untilQuote) Read(p []byte) (int, error) {
	if u.over {
		return 0, io.EOF
	}
	n, err := u.r.Read(p)
	if i := bytes.IndexByte(p[:n], '"'); i >= 0 {
		n, u.over = i, true
		_, _ = io.Copy(io.Discard, u.r) // the rest of the document
	}
	return n, err
}
