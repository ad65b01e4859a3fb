package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina/stack/template"
)

// Bounds of what is packaged.
const (
	maxPackageFiles = 100_000
	maxPackageBytes = 1 << 30 // of the files of one folder
	maxNested       = 5       // templates in templates
	maxInline       = 51_200  // larger templates go through a bucket
)

// packaged are the properties that may name local files, and what they become.
var packaged = map[string]struct {
	property string
	become   func(p *packager, key string) any
	template bool
}{
	"AWS::Serverless::Function":     {property: "CodeUri", become: (*packager).uri},
	"AWS::Serverless::LayerVersion": {property: "ContentUri", become: (*packager).uri},
	"AWS::Lambda::Function":         {property: "Code", become: (*packager).location},
	"AWS::Lambda::LayerVersion":     {property: "Content", become: (*packager).location},
	"AWS::Serverless::Application":  {property: "Location", become: (*packager).url, template: true},
	"AWS::CloudFormation::Stack":    {property: "TemplateURL", become: (*packager).url, template: true},
}

// leftOut are names that never go into a zip: they change without the code
// changing.
var leftOut = []string{".git", ".aws-sam", "__pycache__", ".DS_Store"}

// packager uploads the local files that a template names.
type packager struct {
	api    *stackClient
	note   func(format string, args ...any)
	bucket string            // "" until something is uploaded
	done   map[string]string // keys by path
	read   []string          // files and folders that were read
}

func (p *packager) uri(key string) any { return "s3://" + p.bucket + "/" + key }

func (p *packager) location(key string) any {
	return map[string]any{"S3Bucket": p.bucket, "S3Key": key}
}

// url is understood wherever a template is read, whatever the server is called.
func (p *packager) url(key string) any {
	return "https://s3." + p.api.region + ".amazonaws.com/" + p.bucket + "/" + key
}

// template reads a template and returns it with local files replaced by where
// they are uploaded to, and the names of its parameters.
func (p *packager) template(ctx context.Context, path string, depth int) (text string, parameters []string, err error) {
	p.read = append(p.read, path)
	if depth > maxNested {
		return "", nil, fmt.Errorf("template %s: more than %d templates in each other", path, maxNested)
	}
	raw, err := readBounded(path, template.MaxBytes)
	if err != nil {
		return "", nil, fmt.Errorf("read the template: %w", err)
	}
	body, err := template.Parse(string(raw))
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", path, err)
	}
	order := template.Order(string(raw))
	declared, _ := body["Parameters"].(map[string]any)
	resources, _ := body["Resources"].(map[string]any)
	for _, id := range keysInOrder(resources, order("Resources")) {
		r, _ := resources[id].(map[string]any)
		typ, _ := r["Type"].(string)
		properties, _ := r["Properties"].(map[string]any)
		if err := p.replace(ctx, typ, properties, filepath.Dir(path), depth); err != nil {
			return "", nil, fmt.Errorf("resource %s: %w", id, err)
		}
	}
	globals, _ := body["Globals"].(map[string]any)
	function, _ := globals["Function"].(map[string]any)
	if err := p.replace(ctx, "AWS::Serverless::Function", function, filepath.Dir(path), depth); err != nil {
		return "", nil, fmt.Errorf("globals: %w", err)
	}
	var out bytes.Buffer
	if err := writeTemplate(&out, body, order); err != nil {
		return "", nil, fmt.Errorf("write template %s: %w", path, err)
	}
	return out.String(), keysInOrder(declared, order("Parameters")), nil
}

// replace uploads what one resource names.
func (p *packager) replace(ctx context.Context, typ string, properties map[string]any, dir string, depth int) error {
	of, ok := packaged[typ]
	named, isText := properties[of.property].(string)
	if !ok || !isText || named == "" || isRemote(named) {
		return nil
	}
	path := named
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, filepath.FromSlash(named))
	}
	key, done := p.done[path]
	if !done {
		var err error
		if of.template {
			key, err = p.nested(ctx, path, depth)
		} else {
			key, err = p.code(ctx, path)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", of.property, named, err)
		}
		p.done[path] = key
	}
	properties[of.property] = of.become(p, key)
	return nil
}

// isRemote reports whether a property names something that is no local file.
func isRemote(named string) bool {
	for _, scheme := range []string{"s3://", "http://", "https://"} {
		if len(named) >= len(scheme) && strings.EqualFold(named[:len(scheme)], scheme) {
			return true
		}
	}
	return strings.HasPrefix(named, "{{resolve:")
}

func (p *packager) nested(ctx context.Context, path string, depth int) (string, error) {
	text, _, err := p.template(ctx, path, depth+1)
	if err != nil {
		return "", err
	}
	return p.text(ctx, text)
}

// text uploads a template.
func (p *packager) text(ctx context.Context, text string) (string, error) {
	sum := sha256.Sum256([]byte(text))
	return p.upload(ctx, strings.NewReader(text), int64(len(text)), sum[:], ".template")
}

// code uploads a zip, or what it makes a zip of.
func (p *packager) code(ctx context.Context, path string) (string, error) {
	p.read = append(p.read, path)
	info, err := os.Stat(path)
	if err != nil {
		return "", bare(err)
	}
	var archive *os.File
	if !info.IsDir() && isZip(path) {
		if archive, err = os.Open(path); err != nil {
			return "", bare(err)
		}
		defer archive.Close()
	} else {
		if archive, err = os.CreateTemp("", "lamina-deploy-*.zip"); err != nil {
			return "", fmt.Errorf("make a zip: %w", err)
		}
		defer os.Remove(archive.Name())
		defer archive.Close()
		if err := zipTo(archive, path); err != nil {
			return "", err
		}
		if _, err := archive.Seek(0, io.SeekStart); err != nil {
			return "", fmt.Errorf("read the zip: %w", err)
		}
	}
	hash := sha256.New()
	size, err := io.Copy(hash, archive)
	if err != nil {
		return "", fmt.Errorf("read the zip: %w", err)
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("read the zip: %w", err)
	}
	return p.upload(ctx, archive, size, hash.Sum(nil), ".zip")
}

// upload puts bytes where their hash says, unless they are there.
func (p *packager) upload(ctx context.Context, body io.Reader, size int64, sum []byte, suffix string) (string, error) {
	if p.bucket == "" {
		if err := p.makeBucket(ctx); err != nil {
			return "", err
		}
	}
	key := hex.EncodeToString(sum) + suffix
	nothing := sha256.Sum256(nil)
	at := p.bucket + "/" + key
	if err := p.api.object(ctx, http.MethodHead, at, nil, 0, nothing[:]); err == nil {
		return key, nil
	} else if !isStatus(err, http.StatusNotFound) {
		return "", fmt.Errorf("look for %s: %w", at, err)
	}
	p.note("uploading %s (%s)", key, bytesText(size))
	if err := p.api.object(ctx, http.MethodPut, at, io.NopCloser(body), size, sum); err != nil {
		return "", fmt.Errorf("upload %s: %w", at, err)
	}
	return key, nil
}

// makeBucket has the bucket that all deployments of an account use.
func (p *packager) makeBucket(ctx context.Context) error {
	account, err := p.api.account(ctx)
	if err != nil {
		return fmt.Errorf("ask whose key this is: %w", err)
	}
	name := "lamina-deploy-" + account + "-" + p.api.region
	nothing := sha256.Sum256(nil)
	switch err := p.api.object(ctx, http.MethodHead, name, nil, 0, nothing[:]); {
	case err == nil:
	case isStatus(err, http.StatusNotFound):
		var body []byte
		if p.api.region != "us-east-1" {
			body = []byte(`<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>` + p.api.region + `</LocationConstraint></CreateBucketConfiguration>`)
		}
		sum := sha256.Sum256(body)
		err := p.api.object(ctx, http.MethodPut, name, bytes.NewReader(body), int64(len(body)), sum[:])
		if err != nil && !isStatus(err, http.StatusConflict) { // another deployment was quicker
			return fmt.Errorf("make bucket %s: %w", name, err)
		}
	default:
		return fmt.Errorf("look for bucket %s: %w", name, err)
	}
	p.bucket = name
	return nil
}

// bare is a file's error without what the caller says already.
func bare(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(body)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return body, err
}

// isZip reports whether a file begins as zips do.
func isZip(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && (string(magic[:]) == "PK\x03\x04" || string(magic[:]) == "PK\x05\x06")
}

// zipFile is a file on its way into a zip.
type zipFile struct {
	name string // in the zip
	path string
	info fs.FileInfo
}

// zipTo makes a zip of a folder or of one file. The same files make the same zip,
// whenever they were written and whoever owns them.
func zipTo(out io.Writer, path string) error {
	files, err := filesOf(path)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("there are no files in it")
	}
	w := zip.NewWriter(out)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		header.SetMode(0o644)
		if f.info.Mode()&0o111 != 0 {
			header.SetMode(0o755)
		}
		if err := zipOne(w, header, f.path); err != nil {
			return fmt.Errorf("zip %s: %w", f.name, bare(err))
		}
	}
	return w.Close()
}

func zipOne(w *zip.Writer, header *zip.FileHeader, path string) error {
	entry, err := w.CreateHeader(header)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(entry, f)
	return err
}

// filesOf lists what a zip of the path has, sorted by name. Symbolic links are
// followed.
func filesOf(path string) ([]zipFile, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, bare(err)
	}
	if !info.IsDir() {
		return []zipFile{{name: filepath.Base(path), path: path, info: info}}, nil
	}
	var out []zipFile
	var size int64
	var walk func(dir, name string, above []fs.FileInfo) error
	walk = func(dir, name string, above []fs.FileInfo) error {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if slices.Contains(leftOut, e.Name()) {
				continue
			}
			at, as := filepath.Join(dir, e.Name()), e.Name()
			if name != "" {
				as = name + "/" + e.Name()
			}
			info, err := os.Stat(at)
			if err != nil {
				return err
			}
			switch {
			case info.IsDir():
				if slices.ContainsFunc(above, func(one fs.FileInfo) bool { return os.SameFile(one, info) }) {
					return fmt.Errorf("%s leads to a folder that it is in", as)
				}
				if err := walk(at, as, append(slices.Clone(above), info)); err != nil {
					return err
				}
			case info.Mode().IsRegular():
				out = append(out, zipFile{name: as, path: at, info: info})
				if size += info.Size(); len(out) > maxPackageFiles || size > maxPackageBytes {
					return fmt.Errorf("it has more than %d files or %s", maxPackageFiles, bytesText(maxPackageBytes))
				}
			}
		}
		return nil
	}
	if err := walk(path, "", []fs.FileInfo{info}); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b zipFile) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GB"
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MB"
	case n >= 1<<10:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// keysInOrder returns the keys of m, those that order has as it has them.
func keysInOrder(m map[string]any, order []string) []string {
	out := make([]string, 0, len(m))
	for _, name := range order {
		if _, ok := m[name]; ok {
			out = append(out, name)
		}
	}
	rest := len(out)
	if rest == len(m) {
		return out
	}
	for name := range m {
		if !slices.Contains(order, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out[rest:])
	return out
}

// writeTemplate writes JSON in the order of the text that the template was read
// from: tags keep theirs.
func writeTemplate(out *bytes.Buffer, v any, order func(...string) []string, path ...string) error {
	switch v := v.(type) {
	case map[string]any:
		out.WriteByte('{')
		for i, name := range keysInOrder(v, order(path...)) {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeTemplate(out, name, order); err != nil {
				return err
			}
			out.WriteByte(':')
			if err := writeTemplate(out, v[name], order, append(slices.Clone(path), name)...); err != nil {
				return err
			}
		}
		out.WriteByte('}')
		return nil
	case []any:
		out.WriteByte('[')
		for i, one := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeTemplate(out, one, order, append(slices.Clone(path), strconv.Itoa(i))...); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		return nil
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1) // the line's end
	return nil
}
