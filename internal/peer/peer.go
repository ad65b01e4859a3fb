// Package peer reaches another AWS service, or what speaks like one, at an
// endpoint that the operator named. It signs, bounds waiting, and follows no
// redirect; what is said in requests and answers is its users'.
package peer

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// connectLimit bounds a connection's making, and its TLS handshake.
const connectLimit = 5 * time.Second

// Options say where the service is. All fields but Proxy and Plain are required.
type Options struct {
	Service         string // as signatures name it: "s3"
	Endpoint        string // an http or https URL
	AccessKeyID     string
	SecretAccessKey string
	Now             func() time.Time
	Proxy           func(*http.Request) (*url.URL, error) // nil for none

	// Answer is how long the service may take until the first byte.
	Answer time.Duration
	// Plain is for S3: paths are signed as they are sent, and bodies are not
	// decompressed on the way.
	Plain bool
}

// Client is a service at its endpoint. It is safe for concurrent use.
type Client struct {
	service  string
	endpoint *url.URL
	key      aws.Credentials
	signer   *v4.Signer
	http     *http.Client
	now      func() time.Time
}

// New returns a client that has not asked anything yet.
func New(o Options) (*Client, error) {
	endpoint, err := ParseEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if endpoint.Path == "" {
		endpoint.Path = "/" // as it is signed
	}
	return &Client{
		service:  o.Service,
		endpoint: endpoint,
		key:      aws.Credentials{AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey},
		signer:   v4.NewSigner(func(s *v4.SignerOptions) { s.DisableURIPathEscaping = o.Plain }),
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                 o.Proxy,
				DialContext:           (&net.Dialer{Timeout: connectLimit}).DialContext,
				TLSHandshakeTimeout:   connectLimit,
				ResponseHeaderTimeout: o.Answer,
				IdleConnTimeout:       30 * time.Second,
				DisableCompression:    o.Plain,
			},
			// The signature is for this host and region.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		now: o.Now,
	}, nil
}

// ParseEndpoint reads the URL of an endpoint: a scheme, a host, perhaps a path.
func ParseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("endpoint %q: want http://HOST:PORT or https://HOST", text)
	}
	return u, nil
}

// Endpoint returns a copy of the endpoint, whose path is not empty.
func (c *Client) Endpoint() *url.URL {
	u := *c.endpoint
	return &u
}

// Do signs a request, whose body has the given SHA-256 in hexadecimal, for a
// region and sends it. The caller closes the body of the response.
func (c *Client) Do(req *http.Request, sha256, region string) (*http.Response, error) {
	if err := c.signer.SignHTTP(req.Context(), c.key, req, sha256, c.service, region, c.now()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return c.http.Do(req)
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }
