package stack

import (
	"os"
	"strings"
	"testing"
)

func TestObjectOf(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]object{
		"https://s3.amazonaws.com/b/a/k.yml":                             {"b", "a/k.yml", ""},
		"https://s3.eu-west-1.amazonaws.com/b/k":                         {"b", "k", ""},
		"https://s3-eu-west-1.amazonaws.com/b/k?versionId=v":             {"b", "k", "v"},
		"https://s3.dualstack.eu-west-1.amazonaws.com/b/k":               {"b", "k", ""},
		"https://b.s3.amazonaws.com/k":                                   {"b", "k", ""},
		"https://my.dotted.b.s3.eu-west-1.amazonaws.com/k%20l":           {"my.dotted.b", "k l", ""},
		"https://b.s3.dualstack.eu-west-1.amazonaws.com/k":               {"b", "k", ""},
		"https://b.s3.cn-north-1.amazonaws.com.cn/k":                     {"b", "k", ""},
		"https://cdk-hnb659fds-assets-1-r.s3.r.amazonaws.com/6f/2e.json": {"cdk-hnb659fds-assets-1-r", "6f/2e.json", ""},
		"http://lamina.example:9000/b/k":                                 {"b", "k", ""},
		"https://LAMINA.example/b/k":                                     {"b", "k", ""},
		"http://b.s3.lamina.example:9000/k":                              {"b", "k", ""},
		"http://b.s3.localhost:9000/k":                                   {"b", "k", ""},
		"http://b.localhost:9000/k":                                      {"b", "k", ""},
		"http://s3.localhost:9000/b/k":                                   {"b", "k", ""},
		"http://127.0.0.1:9000/b/k":                                      {"b", "k", ""},
		"http://[::1]:9000/b/k":                                          {"b", "k", ""},
	} {
		if got, err := objectOf(url, "lamina.example:9000"); err != nil || got != want {
			t.Errorf("objectOf(%s) = %v, %v; want %v", url, got, err, want)
		}
	}
	for _, url := range []string{
		"", "b/k", "s3://b/k", "file:///etc/passwd", "https://example.com/b/k", "https://ec2.amazonaws.com/b/k", "https://10.0.0.1/b/k", "https://s3.amazonaws.com.evil.example/b/k",
		"https://s3.amazonaws.com/b", "https://s3.amazonaws.com//k", "https://b.s3.amazonaws.com/", "https://evil.example.lamina.example.x/b/k", "http://" + strings.Repeat("x", 6000),
	} {
		if got, err := objectOf(url, "lamina.example:9000"); err == nil {
			t.Errorf("objectOf(%s) = %v; want an error", url, got)
		}
	}
}

func FuzzObjectOf(f *testing.F) {
	f.Add("https://b.s3.amazonaws.com/k?versionId=1", "h:1")
	f.Add("http://[::1%25lo]/b/k", "")
	f.Fuzz(func(t *testing.T, url, own string) {
		o, err := objectOf(url, own)
		if err == nil && (o.bucket == "" || o.key == "" || strings.Contains(o.bucket, "..") || strings.Contains(o.bucket, "/")) {
			t.Errorf("objectOf(%q) = %+v", url, o)
		}
	})
}

// TestOperationsAreDocumented holds docs/cloudformation.md to what there is.
func TestOperationsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/cloudformation.md")
	if err != nil {
		t.Fatal(err)
	}
	offered := (&api{}).operations()
	for name := range offered {
		if !strings.Contains(string(text), name) {
			t.Errorf("docs/cloudformation.md does not tell of %s", name)
		}
		if declined[name] != "" {
			t.Errorf("%s is offered and declined", name)
		}
	}
	if len(offered)+len(declined) != 90 {
		t.Errorf("%d operations are offered and %d declined; CloudFormation has 90", len(offered), len(declined))
	}
}
