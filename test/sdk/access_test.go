package sdk

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/lamina-run/lamina/internal/testkit"
)

const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestLinkTampering(t *testing.T) {
	b := open(t)
	link := aws.ToString(b.layer("linked", archive(t, "n", "")).Content.Location)
	if status, _ := fetch(t, link); status != 200 {
		t.Fatalf("GET %s = %d; want 200", link, status)
	}
	change := func(f func(u *url.URL, q url.Values)) string {
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		f(u, q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	for name, bad := range map[string]string{
		"another signature": change(func(_ *url.URL, q url.Values) {
			q.Set("X-Amz-Signature", strings.Repeat("0", len(q.Get("X-Amz-Signature"))))
		}),
		"no signature":  change(func(_ *url.URL, q url.Values) { q.Del("X-Amz-Signature") }),
		"a longer life": change(func(_ *url.URL, q url.Values) { q.Set("X-Amz-Expires", "999999") }),
		"a later date":  change(func(_ *url.URL, q url.Values) { q.Set("X-Amz-Date", "20990101T000000Z") }),
		"another file":  change(func(u *url.URL, _ url.Values) { u.Path = u.Path[:len(u.Path)-4] + "0000" }),
		"a way out":     change(func(u *url.URL, _ url.Values) { u.Path = "/archives/../../../../etc/passwd" }),
	} {
		if status, body := fetch(t, bad); status < 400 || status > 499 {
			t.Errorf("link with %s: %d, %d bytes; want 4xx", name, status, len(body))
		}
	}
}

func TestSignatures(t *testing.T) {
	b := open(t)
	list := func(c aws.Config) error {
		_, err := lambda.NewFromConfig(c).ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
		return err
	}
	if err := list(b.Config()); err != nil {
		t.Fatalf("with the right keys: %v", err)
	}
	c := b.Config()
	c.Credentials = credentials.NewStaticCredentialsProvider(b.AccessKeyID, "wrong", "")
	wantCode(t, "a wrong secret", list(c), "InvalidSignatureException")
	c.Credentials = credentials.NewStaticCredentialsProvider("AKIAABSENT", "wrong", "")
	wantCode(t, "an unknown key", list(c), "UnrecognizedClientException")
	c.Credentials = aws.AnonymousCredentials{}
	if err := list(c); err == nil {
		t.Error("an unsigned request was answered")
	}

	signed := func(at time.Time, body string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL+"/2015-03-31/functions/absent/invocations", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		keys := aws.Credentials{AccessKeyID: b.AccessKeyID, SecretAccessKey: b.SecretAccessKey}
		if err := v4.NewSigner().SignHTTP(t.Context(), keys, req, emptySHA256, "lambda", region, at); err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := signed(time.Now(), ""); got != http.StatusNotFound {
		t.Errorf("a good signature: %d; want 404 of the absent function", got)
	}
	if got := signed(time.Now().Add(-time.Hour), ""); got != http.StatusForbidden {
		t.Errorf("a signature of an hour ago: %d; want 403", got)
	}
	if got := signed(time.Now(), "another body"); got != http.StatusForbidden {
		t.Errorf("a body that was not signed: %d; want 403", got)
	}
}

func TestRegionComesFromTheSignature(t *testing.T) {
	b := open(t)
	b.layer("home", archive(t, "n", ""))
	c := b.Config()
	c.Region = "us-west-2"
	away := desk{b.Server, lambda.NewFromConfig(c), t}
	if got := aws.ToString(away.layer("away", archive(t, "n", "")).LayerVersionArn); got != "arn:aws:lambda:us-west-2:"+testkit.Account+":layer:away:1" {
		t.Errorf("published %s; want a layer of us-west-2", got)
	}
	list, err := away.ListLayers(t.Context(), &lambda.ListLayersInput{})
	if err != nil || len(list.Layers) != 1 {
		t.Errorf("us-west-2 has %d layers, %v; want its own only", len(list.Layers), err)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	b := open(t)
	zip := archive(t, "python/kept.py", "")
	arn := *b.layer("kept", zip).LayerVersionArn
	b.function("kept", python(t, "1"), arn)
	b.publish("kept")
	link := aws.ToString(b.layer("kept", zip).Content.Location)
	b.Stop()
	b.Restart()
	got, err := b.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("kept"), Qualifier: aws.String("1")})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Layers) != 1 || aws.ToString(got.Layers[0].Arn) != arn {
		t.Errorf("layers after a restart: %+v; want %s", got.Layers, arn)
	}
	if status, body := fetch(t, link); status != 200 || len(body) != len(zip) {
		t.Errorf("a link made before the restart: %d, %d bytes; want 200, %d", status, len(body), len(zip))
	}
	if next := b.layer("kept", zip).Version; next != 3 {
		t.Errorf("next layer version %d; want 3", next)
	}
}
