package networks_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/networks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var signedAt = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// The forms of EC2's answers, shortened to two members more than are read.
const (
	groupsAnswer = `<?xml version="1.0" encoding="UTF-8"?>
<DescribeSecurityGroupsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>
    <securityGroupInfo>
        <item>
            <ownerId>123456789012</ownerId>
            <groupId>sg-1</groupId>
            <groupName>web</groupName>
            <vpcId>vpc-1</vpcId>
            <ipPermissions>
                <item><ipProtocol>-1</ipProtocol><groups><item><userId>123456789012</userId><groupId>sg-9</groupId><vpcId>vpc-9</vpcId></item></groups></item>
            </ipPermissions>
        </item>
        <item><ownerId>123456789012</ownerId><groupId>sg-2</groupId><groupName>db</groupName><vpcId>vpc-2</vpcId><ipPermissions/></item>
    </securityGroupInfo>
</DescribeSecurityGroupsResponse>`
	subnetsAnswer = `<?xml version="1.0" encoding="UTF-8"?>
<DescribeSubnetsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>7a62c49f-347e-4fc4-9331-6e8eEXAMPLE</requestId>
    <subnetSet>
        <item><subnetId>subnet-b</subnetId><state>available</state><vpcId>vpc-1</vpcId><cidrBlock>10.0.1.0/24</cidrBlock></item>
        <item><subnetId>subnet-a</subnetId><state>available</state><vpcId>vpc-2</vpcId><cidrBlock>10.0.0.0/24</cidrBlock></item>
    </subnetSet>
</DescribeSubnetsResponse>`
)

func refuse(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>ea966190-f9aa-478e-9ede-example</RequestID></Response>`, code, message)
	}
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// fakeEC2 checks signatures as EC2 does, and answers what the test says.
func fakeEC2(t *testing.T, path string, answer http.HandlerFunc) *networks.EC2 {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the form: %v", err)
		}
		again := r.Clone(r.Context())
		again.URL.Host, again.URL.Scheme = r.Host, "http"
		again.Header = http.Header{"Content-Type": r.Header["Content-Type"]}
		sum := sha256.Sum256(body)
		key := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}
		err = v4.NewSigner().SignHTTP(r.Context(), key, again, hex.EncodeToString(sum[:]), "ec2", "eu-west-1", signedAt)
		if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); err != nil || got != want {
			t.Errorf("Authorization = %s, %v; want %s", got, err, want)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	e, err := networks.New(networks.Options{Endpoint: server.URL + path, AccessKeyID: "AKID", SecretAccessKey: "SECRET", Now: func() time.Time { return signedAt }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestVPCs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, answer string
		ask          func(*networks.EC2, context.Context, string, []string) ([]string, error)
		ids          []string
		form         url.Values
		want         []string
	}{
		"groups, in the order of the request": {
			"", groupsAnswer, (*networks.EC2).SecurityGroups,
			[]string{"sg-2", "sg-1"},
			url.Values{"Action": {"DescribeSecurityGroups"}, "Version": {"2016-11-15"}, "GroupId.1": {"sg-2"}, "GroupId.2": {"sg-1"}},
			[]string{"vpc-2", "vpc-1"},
		},
		"subnets, the same twice is asked about once": {
			"", subnetsAnswer, (*networks.EC2).Subnets,
			[]string{"subnet-a", "subnet-b", "subnet-a"},
			url.Values{"Action": {"DescribeSubnets"}, "Version": {"2016-11-15"}, "SubnetId.1": {"subnet-a"}, "SubnetId.2": {"subnet-b"}},
			[]string{"vpc-2", "vpc-1", "vpc-2"},
		},
		"an endpoint below a path": {
			"/ec2/", subnetsAnswer, (*networks.EC2).Subnets,
			[]string{"subnet-a"},
			url.Values{"Action": {"DescribeSubnets"}, "Version": {"2016-11-15"}, "SubnetId.1": {"subnet-a"}},
			[]string{"vpc-2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := fakeEC2(t, c.path, func(w http.ResponseWriter, r *http.Request) {
				if want := "/" + strings.TrimPrefix(c.path, "/"); r.Method != http.MethodPost || r.RequestURI != want {
					t.Errorf("request = %s %s; want POST %s", r.Method, r.RequestURI, want)
				}
				if err := r.ParseForm(); err != nil || !cmp.Equal(r.PostForm, c.form) {
					t.Errorf("form = %v, %v; want %v", r.PostForm, err, c.form)
				}
				fmt.Fprint(w, c.answer)
			})
			got, err := c.ask(e, t.Context(), "eu-west-1", c.ids)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("VPCs of %v = %v, %v; want %v", c.ids, got, err, c.want)
			}
		})
	}
}

func TestNothingIsAskedAboutNothing(t *testing.T) {
	t.Parallel()
	e := fakeEC2(t, "", func(http.ResponseWriter, *http.Request) { t.Error("EC2 was asked, and would describe everything") })
	if got, err := e.Subnets(t.Context(), "eu-west-1", nil); got != nil || err != nil {
		t.Errorf("Subnets() = %v, %v; want nothing", got, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   lamina.NetworkError
	}{
		"no such subnet": {
			refuse(400, "InvalidSubnetID.NotFound", "The subnet ID 'subnet-a' does not exist"),
			lamina.NetworkError{Code: "InvalidSubnetID.NotFound", Message: "The subnet ID 'subnet-a' does not exist"},
		},
		"its words, whatever they are": {refuse(400, "InvalidSubnetID.Malformed", "Invalid id: &quot;x&quot;"), lamina.NetworkError{Code: "InvalidSubnetID.Malformed", Message: `Invalid id: "x"`}},
		"a subnet that is left out": {
			say(`<DescribeSubnetsResponse><subnetSet/></DescribeSubnetsResponse>`),
			lamina.NetworkError{Code: "InvalidSubnetID.NotFound", Message: "The subnet ID 'subnet-a' does not exist"},
		},
		"a key that EC2 does not know": {refuse(401, "AuthFailure", "AWS was not able to validate the provided access credentials"), lamina.NetworkError{Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials"}},
		"too many requests":            {refuse(503, "RequestLimitExceeded", "Request limit exceeded."), lamina.NetworkError{Code: "RequestLimitExceeded", Message: "Request limit exceeded."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			e := fakeEC2(t, "", func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				c.answer(w, r)
			})
			_, err := e.Subnets(t.Context(), "eu-west-1", []string{"subnet-a"})
			c.want.Action = "DescribeSubnets"
			got, ok := errors.AsType[*lamina.NetworkError](err)
			if !ok || *got != c.want {
				t.Errorf("Subnets = %v; want %+v", err, c.want)
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("asked %d times; want once", n)
			}
		})
	}
}

func TestTroublesOfEC2AreTriedOnceMore(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	e := fakeEC2(t, "", func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			refuse(500, "InternalError", "An internal error has occurred")(w, r)
			return
		}
		fmt.Fprint(w, subnetsAnswer)
	})
	got, err := e.Subnets(t.Context(), "eu-west-1", []string{"subnet-b"})
	if err != nil || !slices.Equal(got, []string{"vpc-1"}) {
		t.Errorf("Subnets = %v, %v; want vpc-1", got, err)
	}
}

// Troubles are not the client's: none of these may be a refusal.
func TestTroublesAreNoRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		asked  int32
		is     error
	}{
		"EC2 stays in trouble":        {refuse(503, "Unavailable", "The service is unavailable"), 2, nil},
		"not EC2":                     {http.NotFound, 1, nil},
		"not EC2, but content":        {say("<html><body>Welcome</body></html>"), 1, nil},
		"an answer to something else": {say(groupsAnswer), 1, nil},
		"no XML":                      {say("{}"), 1, nil},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusTemporaryRedirect)
		}, 1, nil},
		"an endless answer": {func(w http.ResponseWriter, _ *http.Request) {
			filler := []byte("<!--" + strings.Repeat(" ", 1<<20) + "-->")
			for range 9 {
				if _, err := w.Write(filler); err != nil {
					return
				}
			}
		}, 1, lamina.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			e := fakeEC2(t, "", func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				c.answer(w, r)
			})
			got, err := e.Subnets(t.Context(), "eu-west-1", []string{"subnet-a"})
			if _, refused := errors.AsType[*lamina.NetworkError](err); err == nil || refused || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("Subnets = %v, %v; want an error that is no refusal", got, err)
			}
			if n := asked.Load(); n != c.asked {
				t.Errorf("asked %d times; want %d", n, c.asked)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	e, err := networks.New(networks.Options{Endpoint: server.URL, AccessKeyID: "AKID", SecretAccessKey: "SECRET", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if got, err := e.Subnets(t.Context(), "eu-west-1", []string{"subnet-a"}); err == nil {
		t.Errorf("Subnets = %v; want an error", got)
	}
}

func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	gaveUp := errors.New("the client went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	e := fakeEC2(t, "", func(_ http.ResponseWriter, r *http.Request) {
		cancel(gaveUp)
		<-r.Context().Done()
	})
	if got, err := e.Subnets(ctx, "eu-west-1", []string{"subnet-a"}); !errors.Is(err, gaveUp) {
		t.Errorf("Subnets = %v, %v; want %v", got, err, gaveUp)
	}
}

func TestParseEndpoint(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "127.0.0.1:5000", "ftp://host", "http://", "http://host/?a=b", "http://user:secret@host", "http://[::1"} {
		if u, err := networks.ParseEndpoint(wrong); err == nil {
			t.Errorf("ParseEndpoint(%q) = %v; want an error", wrong, u)
		}
		if _, err := networks.New(networks.Options{Endpoint: wrong}); err == nil {
			t.Errorf("New with %q: want an error", wrong)
		}
	}
}
