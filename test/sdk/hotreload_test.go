package sdk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// openHot starts a server that shows the directories below a new one.
func openHot(t *testing.T) (desk, string) {
	t.Helper()
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, testkit.Options{Region: region, Args: []string{"--hot-reload", root}})
	return desk{s, s.Lambda(), t}, root
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestHotReload: code and a layer run as they are on disk; published versions as
// they were.
func TestHotReload(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Overlay, testkit.Python)
	b, root := openHot(t)
	code, layer := root+"/code", root+"/layer"
	app := func(answer string) {
		put(t, code+"/app.py", "import lib, os\nruns = 0\ndef handler(e, c):\n    global runs\n    runs += 1\n    return '"+answer+" ' + lib.N + ' ' + str(runs)\n")
	}
	app("one")
	put(t, layer+"/python/lib.py", "N = 'a'\n")
	published, err := b.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String("hot"), Content: &types.LayerVersionContentInput{S3Bucket: aws.String("hot-reload"), S3Key: &layer},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.function("hot", python(t, "'zip'"), *published.LayerVersionArn)
	updated, err := b.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("hot"), S3Bucket: aws.String("hot-reload"), S3Key: &code})
	if err != nil {
		t.Fatal(err)
	}
	b.updated("hot")
	if updated.CodeSize != 0 || aws.ToString(updated.CodeSha256) != codeSHA256([]byte("hot-reload:"+code)) {
		t.Errorf("CodeSize %d, CodeSha256 %s; want 0 and one of the path", updated.CodeSize, aws.ToString(updated.CodeSha256))
	}
	want := func(name, payload string) {
		t.Helper()
		if got := string(b.invoke(name, "{}").Payload); got != `"`+payload+`"` {
			t.Errorf("%s = %s; want %q", name, got, payload)
		}
	}
	want("hot", "one a 1")
	want("hot", "one a 2") // the environment is kept while nothing changes
	app("two")
	want("hot", "two a 1")
	put(t, layer+"/python/lib.py", "N = 'b'\n")
	want("hot", "two b 1")
	want("hot", "two b 2")

	first := b.publish("hot")
	if aws.ToString(first.Version) != "1" || first.CodeSize == 0 || len(first.Layers) != 1 || first.Layers[0].CodeSize == 0 {
		t.Errorf("version %s, %d bytes, layers %+v; want archives", aws.ToString(first.Version), first.CodeSize, first.Layers)
	}
	if again := b.publish("hot"); aws.ToString(again.Version) != "1" {
		t.Errorf("PublishVersion of the same files = %s; want 1", aws.ToString(again.Version))
	}
	app("three")
	put(t, layer+"/python/lib.py", "N = 'c'\n")
	want("hot", "three c 1")
	want("hot:1", "two b 1")
	if second := b.publish("hot"); aws.ToString(second.Version) != "2" || aws.ToString(second.CodeSha256) == aws.ToString(first.CodeSha256) {
		t.Errorf("PublishVersion of other files = %s; want 2 with another digest", aws.ToString(second.Version))
	}

	if err := os.Rename(code, root+"/away"); err != nil {
		t.Fatal(err)
	}
	_, err = b.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("hot")})
	if e := wantError[*types.InvalidZipFileException](t, "Invoke without the directory", err); e != nil && !strings.Contains(e.ErrorMessage(), code) {
		t.Errorf("message = %s; want the directory in it", e.ErrorMessage())
	}
	want("hot:1", "two b 2")

	t.Run("read-only", func(t *testing.T) {
		put(t, root+"/writer/app.py", "def handler(e, c):\n    open('/var/task/new', 'w')\n")
		if _, err := b.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("hot"), S3Bucket: aws.String("hot-reload"), S3Key: aws.String(root + "/writer")}); err != nil {
			t.Fatal(err)
		}
		b.updated("hot")
		if got := string(b.invoke("hot", "{}").Payload); !strings.Contains(got, "Read-only file system") {
			t.Errorf("writing into the directory = %s; want Read-only file system", got)
		}
	})
}

// TestHotReloadIsAllowed: nothing but what the operator named is shown.
func TestHotReloadIsAllowed(t *testing.T) {
	b, root := openHot(t)
	if err := os.Symlink("/etc", root+"/etc"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"/etc", root + "/etc", root + "/../..", "relative", root + "/absent"} {
		_, err := b.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
			LayerName: aws.String("hot"), Content: &types.LayerVersionContentInput{S3Bucket: aws.String("hot-reload"), S3Key: &key},
		})
		wantError[*types.InvalidParameterValueException](t, key, err)
	}
	off := open2(t)
	_, err := off.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String("hot"), Content: &types.LayerVersionContentInput{S3Bucket: aws.String("hot-reload"), S3Key: &root},
	})
	if e := wantError[*types.InvalidParameterValueException](t, "hot reload that is off", err); e != nil && !strings.Contains(e.ErrorMessage(), "--hot-reload") {
		t.Errorf("message = %s; want the flag in it", e.ErrorMessage())
	}
}

// open2 starts another server for a test that has one.
func open2(t *testing.T) desk {
	t.Helper()
	s := testkit.Start(t, testkit.Options{Region: region})
	return desk{s, s.Lambda(), t}
}

// TestHotReloadInCreate: a function made, and published, from a directory at once.
func TestHotReloadInCreate(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	b, root := openHot(t)
	put(t, root+"/app.py", "def handler(e, c):\n    return 1\n")
	_, err := b.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("hot"), Role: aws.String(role), Handler: aws.String("app.handler"), Runtime: types.RuntimePython311,
		Code: &types.FunctionCode{S3Bucket: aws.String("hot-reload"), S3Key: &root}, Publish: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	quick := func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	}
	if err := lambda.NewFunctionActiveV2Waiter(b.Client, quick).Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("hot")}, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := string(b.invoke("hot:1", "{}").Payload); got != "1" {
		t.Errorf("hot:1 = %s; want 1", got)
	}
	put(t, root+"/app.py", "def handler(e, c):\n    return 22\n")
	for name, want := range map[string]string{"hot": "22", "hot:1": "1"} {
		if got := string(b.invoke(name, "{}").Payload); got != want {
			t.Errorf("%s = %s; want %s", name, got, want)
		}
	}
}
