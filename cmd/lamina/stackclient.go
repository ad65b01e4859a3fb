package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/server"
)

// stackServer says which server a verb talks to, and as whom.
type stackServer struct {
	Endpoint        string `env:"LAMINA_ENDPOINT,AWS_ENDPOINT_URL" placeholder:"URL" help:"Server to talk to; the one that runs on --data without it."`
	AccessKeyID     string `env:"LAMINA_ACCESS_KEY_ID,AWS_ACCESS_KEY_ID" placeholder:"ID" help:"Access key for --endpoint; the root key of --data without it."`
	SecretAccessKey string `env:"LAMINA_SECRET_ACCESS_KEY,AWS_SECRET_ACCESS_KEY" placeholder:"KEY" help:"Secret of the access key."`
	SessionToken    string `env:"LAMINA_SESSION_TOKEN,AWS_SESSION_TOKEN" placeholder:"TOKEN" help:"Token of the access key, when it is a session's."`
	CABundle        string `env:"LAMINA_CA_BUNDLE,AWS_CA_BUNDLE" placeholder:"FILE" help:"Certificates in PEM that --endpoint is trusted with."`
	Data            string `env:"LAMINA_DATA" default:"${data}" type:"path" help:"Data directory of the running server."`
	Region          string `env:"LAMINA_REGION,AWS_REGION" default:"us-east-1" help:"Region to work in."`
}

// client signs with the given key, else as the account's root.
func (s *stackServer) client() (*stackClient, error) {
	c := &stackClient{region: s.Region, http: &http.Client{}}
	if s.Endpoint == "" {
		api, err := (&runningServer{Data: s.Data, Region: s.Region}).client()
		if err != nil {
			return nil, err
		}
		c.endpoint, c.key = api.endpoint, api.key
		return c, nil
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, hint(fmt.Errorf("--endpoint %s is no address of a server", s.Endpoint), "give one like http://127.0.0.1:9900")
	}
	c.endpoint = strings.TrimSuffix(s.Endpoint, "/")
	c.key = aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken}
	if s.AccessKeyID == "" {
		key, err := identity.LoadCredentials((&settings{Data: s.Data}).file(keyFile))
		if err != nil {
			return nil, hint(fmt.Errorf("read the root key: %w", err), "give --access-key-id and --secret-access-key, or the --data of the server")
		}
		c.key = aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey}
	}
	if s.CABundle != "" {
		text, err := os.ReadFile(s.CABundle)
		if err != nil {
			return nil, fmt.Errorf("read --ca-bundle: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--ca-bundle %s has no certificates", s.CABundle)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		c.http.Transport = transport
	}
	return c, nil
}

// api is client for the operations of Lambda alone.
func (s *stackServer) api() (*apiClient, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	return &apiClient{endpoint: c.endpoint, region: c.region, key: c.key, http: c.http}, nil
}

// explain adds what helps when there is no server.
func (s *stackServer) explain(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok && s.Endpoint == "" {
		return hint(err, "start the server first: lamina serve --data %s", s.Data)
	}
	return err
}

// stackClient sends signed requests of several services to one endpoint.
type stackClient struct {
	endpoint string
	region   string
	key      aws.Credentials
	http     *http.Client
}

// answerTime bounds one request but for uploads, whose time is their size's.
const answerTime = time.Minute

// maxAnswer bounds what an answer may have, in bytes.
const maxAnswer = 64 << 20

// send signs a request and returns the body of an answer that is a success. Sum
// is the hash of the request's body.
func (c *stackClient) send(ctx context.Context, service string, req *http.Request, sum []byte) ([]byte, error) {
	digest := hex.EncodeToString(sum)
	if service == "s3" || service == server.SigningService {
		req.Header.Set("X-Amz-Content-Sha256", digest)
	}
	err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" }).SignHTTP(ctx, c.key, req, digest, service, c.region, time.Now())
	if err != nil {
		return nil, fmt.Errorf("sign request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode < 300 {
		return body, nil
	}
	refused := &apiError{Status: resp.StatusCode, Code: resp.Header.Get("X-Amzn-Errortype"), Text: resp.Status}
	var query struct { // of the query protocol, or of S3
		Code    string
		Message string
		Error   struct{ Code, Message string }
	}
	var other struct {
		Type    string `json:"__type"`
		Message string // also matches message
	}
	switch {
	case xml.Unmarshal(body, &query) == nil:
		if query.Error.Code != "" {
			query.Code, query.Message = query.Error.Code, query.Error.Message
		}
		refused.Code, refused.Text = query.Code, query.Message
	case json.Unmarshal(body, &other) == nil:
		refused.Code, refused.Text = cmp.Or(other.Type[strings.LastIndexByte(other.Type, '#')+1:], refused.Code), other.Message
	}
	return nil, refused
}

// query does an operation of a service that speaks the query protocol, and reads
// the answer into out unless that is nil.
func (c *stackClient) query(ctx context.Context, service, version, operation string, in url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	form := url.Values{"Action": {operation}, "Version": {version}}
	for name, value := range in {
		form[name] = value
	}
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint+"/", strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	sum := sha256.Sum256([]byte(body))
	answer, err := c.send(ctx, service, req, sum[:])
	if err != nil || out == nil {
		return err
	}
	if err := xml.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", operation, err)
	}
	return nil
}

// stacks does an operation of CloudFormation.
func (c *stackClient) stacks(ctx context.Context, operation string, in url.Values, out any) error {
	return c.query(ctx, "cloudformation", "2010-05-15", operation, in, out)
}

// account returns the number of the account that the key is of.
func (c *stackClient) account(ctx context.Context) (string, error) {
	var out struct {
		Account string `xml:"GetCallerIdentityResult>Account"`
	}
	err := c.query(ctx, "sts", "2011-06-15", "GetCallerIdentity", nil, &out)
	return out.Account, err
}

// logs does an operation of CloudWatch Logs.
func (c *stackClient) logs(ctx context.Context, operation string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Logs_20140328."+operation)
	sum := sha256.Sum256(body)
	answer, err := c.send(ctx, "logs", req, sum[:])
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// object does one request about a bucket or an object.
func (c *stackClient) object(ctx context.Context, method, path string, body io.Reader, size int64, sum []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+"/"+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.ContentLength = size
	_, err = c.send(ctx, "s3", req, sum)
	return err
}

// isStatus reports whether an answer has one of the statuses.
func isStatus(err error, statuses ...int) bool {
	refused, ok := errors.AsType[*apiError](err)
	for _, status := range statuses {
		if ok && refused.Status == status {
			return true
		}
	}
	return false
}
