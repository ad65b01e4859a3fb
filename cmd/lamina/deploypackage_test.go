package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
)

// fakeStorage is the little of S3 and STS that packaging uses.
type fakeStorage struct {
	mu      sync.Mutex
	objects map[string][]byte // by path; buckets have a nil body
	puts    []string
}

func (f *fakeStorage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	switch r.Method {
	case http.MethodPost:
		io.WriteString(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	case http.MethodPut:
		f.puts = append(f.puts, r.URL.Path)
		f.objects[r.URL.Path] = body
	case http.MethodHead:
		if _, ok := f.objects[r.URL.Path]; !ok {
			w.WriteHeader(http.StatusNotFound)
		}
	}
}

func TestPackage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("src/app.py", "def handler(event, context): pass\n", 0o600)
	write("src/bin/tool", "#!/bin/sh\n", 0o700)
	write("src/__pycache__/app.pyc", "x", 0o600)
	write("src/.git/HEAD", "x", 0o600)
	write("one.py", "x = 1\n", 0o644)
	if err := os.Symlink("../one.py", filepath.Join(dir, "src/linked.py")); err != nil {
		t.Fatal(err)
	}
	var ready bytes.Buffer
	if err := zipTo(&ready, filepath.Join(dir, "one.py")); err != nil {
		t.Fatal(err)
	}
	write("ready.zip", ready.String(), 0o644)
	write("nested/inner.yaml", "Resources: {F: {Type: AWS::Lambda::Function, Properties: {Code: ../one.py}}}", 0o644)
	write("template.yaml", strings.Join([]string{
		"Parameters: {B: {Type: String}, A: {Type: String}}",
		"Globals: {Function: {CodeUri: src}}",
		"Resources:",
		"  Z: {Type: AWS::Serverless::Function, Properties: {Tags: {z: 1.50, a: <&>}, CodeUri: src/}}",
		"  B: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: ./ready.zip}}",
		"  C: {Type: AWS::Lambda::Function, Properties: {Code: one.py}}",
		"  D: {Type: AWS::Lambda::Function, Properties: {Code: {ZipFile: !Sub '${A}'}}}",
		"  E: {Type: AWS::Serverless::Function, Properties: {CodeUri: s3://bucket/key}}",
		"  F: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: nested/inner.yaml}}",
		"  G: {Type: AWS::Lambda::LayerVersion, Properties: {Content: {S3Bucket: b, S3Key: k}}}",
		"  H: {Type: AWS::Serverless::Application, Properties: {Location: https://example.com/t.yaml}}",
	}, "\n"), 0o644)

	storage := &fakeStorage{objects: map[string][]byte{}}
	s := httptest.NewServer(storage)
	t.Cleanup(s.Close)
	pack := func() (string, []string, *packager) {
		t.Helper()
		p := &packager{
			api:  &stackClient{endpoint: s.URL, region: "eu-west-1", http: s.Client(), key: aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}},
			note: func(string, ...any) {}, done: map[string]string{},
		}
		text, parameters, err := p.template(t.Context(), filepath.Join(dir, "template.yaml"), 0)
		if err != nil {
			t.Fatal(err)
		}
		return text, parameters, p
	}
	text, parameters, p := pack()
	const bucket = "lamina-deploy-111122223333-eu-west-1"
	keyOf := func(path string) string {
		var out bytes.Buffer
		if err := zipTo(&out, filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(out.Bytes())
		return hex.EncodeToString(sum[:]) + ".zip"
	}
	inner := `{"Resources":{"F":{"Type":"AWS::Lambda::Function","Properties":{"Code":{"S3Bucket":"` + bucket + `","S3Key":"` + keyOf("one.py") + `"}}}}}`
	innerSum := sha256.Sum256([]byte(inner))
	want := strings.NewReplacer("SRC", "s3://"+bucket+"/"+keyOf("src"), "READY", "s3://"+bucket+"/"+keyOf("one.py"), "ONE", `{"S3Bucket":"`+bucket+`","S3Key":"`+keyOf("one.py")+`"}`,
		"INNER", "https://s3.eu-west-1.amazonaws.com/"+bucket+"/"+hex.EncodeToString(innerSum[:])+".template").Replace(
		`{"Parameters":{"B":{"Type":"String"},"A":{"Type":"String"}},"Globals":{"Function":{"CodeUri":"SRC"}},"Resources":{` +
			`"Z":{"Type":"AWS::Serverless::Function","Properties":{"Tags":{"z":1.50,"a":"<&>"},"CodeUri":"SRC"}},` +
			`"B":{"Type":"AWS::Serverless::LayerVersion","Properties":{"ContentUri":"READY"}},` +
			`"C":{"Type":"AWS::Lambda::Function","Properties":{"Code":ONE}},` +
			`"D":{"Type":"AWS::Lambda::Function","Properties":{"Code":{"ZipFile":{"Fn::Sub":"${A}"}}}},` +
			`"E":{"Type":"AWS::Serverless::Function","Properties":{"CodeUri":"s3://bucket/key"}},` +
			`"F":{"Type":"AWS::CloudFormation::Stack","Properties":{"TemplateURL":"INNER"}},` +
			`"G":{"Type":"AWS::Lambda::LayerVersion","Properties":{"Content":{"S3Bucket":"b","S3Key":"k"}}},` +
			`"H":{"Type":"AWS::Serverless::Application","Properties":{"Location":"https://example.com/t.yaml"}}}}`)
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("template (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"B", "A"}, parameters); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	if string(storage.objects["/"+bucket+"/"+hex.EncodeToString(innerSum[:])+".template"]) != inner {
		t.Errorf("the nested template is not where its hash says")
	}

	code := storage.objects["/"+bucket+"/"+keyOf("src")]
	r, err := zip.NewReader(bytes.NewReader(code), int64(len(code)))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range r.File {
		files = append(files, f.Name+" "+f.Mode().String())
	}
	if diff := cmp.Diff([]string{"app.py -rw-r--r--", "bin/tool -rwxr-xr-x", "linked.py -rw-r--r--"}, files); diff != "" {
		t.Errorf("files of the zip (-want +got):\n%s", diff)
	}

	// Later, the same files are the same zip, and nothing is uploaded again.
	before := len(storage.puts)
	if err := os.Chtimes(filepath.Join(dir, "src/app.py"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	again, _, _ := pack()
	if again != text || len(storage.puts) != before {
		t.Errorf("the second time made %s, and uploaded %v; want the first's and nothing", again, storage.puts[before:])
	}

	// What watching compares.
	was := fingerprint(p.read)
	write("src/new.py", "", 0o600)
	if got := differences(was, fingerprint(p.read)); len(got) != 1 || !strings.HasSuffix(got[0], "src/new.py") {
		t.Errorf("differences = %v; want src/new.py", got)
	}
	write("src/__pycache__/more.pyc", "", 0o600)
	if got := differences(was, fingerprint(p.read)); len(got) != 1 {
		t.Errorf("differences = %v; want no more than before", got)
	}
	if !slices.Contains(p.read, filepath.Join(dir, "nested/inner.yaml")) {
		t.Errorf("read = %v; want the nested template in it", p.read)
	}
}

func TestPackageRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, folder := range map[string]string{"empty": "empty", "loop": "loop/in"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := os.Symlink("..", filepath.Join(dir, "loop/in/out")); err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]string{
		"absent": "resource F: CodeUri absent: no such file or directory", "empty": "CodeUri empty: there are no files in it",
		"loop": "in/out leads to a folder that it is in",
	} {
		path := filepath.Join(dir, code+".yaml")
		if err := os.WriteFile(path, []byte("Resources: {F: {Type: AWS::Serverless::Function, Properties: {CodeUri: "+code+"}}}"), 0o644); err != nil {
			t.Fatal(err)
		}
		p := &packager{api: &stackClient{}, note: t.Logf, done: map[string]string{}}
		if _, _, err := p.template(t.Context(), path, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: template = %v; want %q", code, err, want)
		}
	}
}
