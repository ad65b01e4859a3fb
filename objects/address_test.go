package objects_test

import (
	"testing"

	"github.com/lamina-run/lamina/objects"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	hosts := objects.Hosts{"lamina.example", "192.0.2.7"}
	for text, want := range map[string]objects.Location{
		"https://s3.amazonaws.com/b/k/x.json":                     {Bucket: "b", Key: "k/x.json"},
		"https://s3.eu-west-1.amazonaws.com/b/k":                  {Bucket: "b", Key: "k"},
		"https://s3-us-west-2.amazonaws.com/b/k":                  {Bucket: "b", Key: "k"},
		"https://s3.dualstack.us-east-1.amazonaws.com/b/k":        {Bucket: "b", Key: "k"},
		"https://my.bucket.s3.amazonaws.com/a%20b?versionId=3%2F": {Bucket: "my.bucket", Key: "a b", Version: "3/"},
		"https://b.s3.us-gov-east-1.amazonaws.com/k":              {Bucket: "b", Key: "k"},
		"https://s3.s3.amazonaws.com/k":                           {Bucket: "s3", Key: "k"},
		"https://b.s3-eu-central-1.amazonaws.com/k":               {Bucket: "b", Key: "k"},
		"https://s3.cn-north-1.amazonaws.com.cn/b/k":              {Bucket: "b", Key: "k"},
		"http://127.0.0.1:4566/b/k":                               {Bucket: "b", Key: "k"},
		"http://[::1]:4566/b/k":                                   {Bucket: "b", Key: "k"},
		"http://localhost:4566/b/k":                               {Bucket: "b", Key: "k"},
		"http://b.localhost:4566/k":                               {Bucket: "b", Key: "k"},
		"http://s3.localhost:4566/b/k":                            {Bucket: "b", Key: "k"},
		"http://b.s3.localhost:4566/k":                            {Bucket: "b", Key: "k"},
		"http://b.s3.eu-west-1.localhost:4566/k":                  {Bucket: "b", Key: "k"},
		"http://Lamina.Example/b/k":                               {Bucket: "b", Key: "k"},
		"http://b.c.lamina.example:80/k":                          {Bucket: "b.c", Key: "k"},
		"http://b.s3.lamina.example:80/k":                         {Bucket: "b", Key: "k"},
		"s3://b/k/l":                                              {Bucket: "b", Key: "k/l"},

		"https://s3.amazonaws.com/b":              {},
		"https://b.s3.amazonaws.com/":             {},
		"https://sqs.eu-west-1.amazonaws.com/b/k": {},
		"https://example.org/b/k":                 {},
		"https://notlamina.example/b/k":           {},
		"https://s3.amazonaws.com.evil.org/b/k":   {},
		"ftp://s3.amazonaws.com/b/k":              {},
		"b/k":                                     {},
		"http://%zz/":                             {},
	} {
		got, ok := hosts.ParseURL(text)
		if want != (objects.Location{}) && (!ok || got != want) || want == (objects.Location{}) && ok {
			t.Errorf("ParseURL(%s) = %+v, %v; want %+v", text, got, ok, want)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("https://b.s3.eu-west-1.amazonaws.com/k?versionId=1")
	f.Add("http://[::1]:1/b/k")
	f.Fuzz(func(t *testing.T, text string) {
		if at, ok := (objects.Hosts{"lamina.example"}).ParseURL(text); ok && (at.Bucket == "" || at.Key == "") {
			t.Errorf("ParseURL(%q) = %+v, true", text, at)
		}
	})
}
