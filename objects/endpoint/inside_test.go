package endpoint_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/identity"
)

// TestInside is how other parts of the server, such as stacks, use S3.
func TestInside(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	root := identity.Caller{Account: account, Kind: identity.KindRoot, ARN: "arn:aws:iam::" + account + ":root", UserID: account, Region: region}
	bob := identity.Caller{Account: account, Kind: identity.KindUser, Name: "bob", UserID: "AIDABOB" + account, ARN: "arn:aws:iam::" + account + ":user/bob", Region: region}
	for _, c := range []struct {
		caller       identity.Caller
		method, path string
		body, want   string
	}{
		{root, "PUT", "/inside-bucket", "", "200 "},
		{root, "PUT", "/inside-bucket?tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>", "204 "},
		{root, "PUT", "/inside-bucket/k", "text", "200 "},
		{root, "GET", "/inside-bucket/k", "", "200 text"},
		{bob, "GET", "/inside-bucket/k", "", "403 AccessDenied"},
		{root, "DELETE", "/inside-bucket", "", "409 BucketNotEmpty"},
		{root, "DELETE", "/inside-bucket/k", "", "204 "},
		{root, "DELETE", "/inside-bucket", "", "204 "},
		{root, "GET", "/inside-bucket/k", "", "404 NoSuchBucket"},
	} {
		req, err := http.NewRequestWithContext(identity.WithCaller(t.Context(), c.caller), c.method, "http://inside"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.server.Do("s3", req)
		if err != nil {
			t.Fatalf("%s %s: %v", c.method, c.path, err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if status, part, _ := strings.Cut(c.want, " "); err != nil || !strings.HasPrefix(resp.Status, status) || !strings.Contains(string(text), part) {
			t.Errorf("%s %s = %s %s, %v; want %s", c.method, c.path, resp.Status, text, err, c.want)
		}
	}
}
