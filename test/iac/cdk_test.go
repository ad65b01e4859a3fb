package iac

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestCDK bootstraps, deploys an application with a layer, a version that moves
// with the function, an alias, assets and two custom resources, deploys it again,
// changes it and destroys it.
func TestCDK(t *testing.T) {
	t.Parallel()
	b := open(t, "cdk")
	b.run("cdk", "bootstrap", "aws://"+testkit.Account+"/us-east-1")
	deploy := func(greeting string) (outputs map[string]string, said string) {
		said = b.run("cdk", "deploy", "--require-approval", "never", "--outputs-file", "outputs.json", "--progress", "events", "-c", "greeting="+greeting)
		text, err := os.ReadFile(filepath.Join(b.dir, "outputs.json"))
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]map[string]string
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		return all["Greeter"], said
	}
	out, _ := deploy("hello")
	if out["Shouted"] != "HELLO" {
		t.Errorf("the custom resource returned %q; want HELLO", out["Shouted"])
	}
	if !strings.HasSuffix(out["LayerArn"], ":1") || !strings.HasSuffix(out["AliasArn"], ":live") {
		t.Errorf("outputs = %v; want version 1 of the layer, and the alias", out)
	}
	if got, want := b.invoke(out["AliasArn"], `{"who": "Ada"}`), `{"text": "hello, Ada", "version": "1"}`; got != want {
		t.Errorf("first deployment answers %s; want %s", got, want)
	}

	before := b.events("Greeter")
	if _, said := deploy("hello"); !strings.Contains(said, "no changes") || b.events("Greeter") != before {
		t.Errorf("a second deployment changed something (%d events before, %d after), and said\n%s", before, b.events("Greeter"), said)
	}
	if said := b.run("cdk", "diff", "-c", "greeting=hello"); !strings.Contains(said, "no differences") {
		t.Errorf("cdk diff sees\n%s", said)
	}
	if said := b.run("cdk", "diff", "-c", "greeting=moin"); !strings.Contains(said, "moin") {
		t.Errorf("cdk diff does not see the new greeting:\n%s", said)
	}

	out, _ = deploy("moin")
	if out["Shouted"] != "MOIN" {
		t.Errorf("the custom resource returned %q after an update; want MOIN", out["Shouted"])
	}
	if got, want := b.invoke(out["AliasArn"], `{"who": "Ada"}`), `{"text": "moin, Ada", "version": "2"}`; got != want {
		t.Errorf("second deployment answers %s; want %s", got, want)
	}

	var put struct{ ETag string }
	b.aws(&put, "s3api", "put-object", "--bucket", out["Bucket"], "--key", "note", "--body", filepath.Join(b.dir, "cdk.json"))
	b.run("cdk", "destroy", "--force")
	var buckets []string
	b.aws(&buckets, "s3api", "list-buckets", "--query", "Buckets[].Name")
	for _, name := range buckets {
		if name == out["Bucket"] {
			t.Errorf("bucket %s is left, with its objects deleted automatically", name)
		}
	}
	b.nothingLeft("CDKToolkit")
}
