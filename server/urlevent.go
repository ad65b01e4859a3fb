package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
)

// urlEvent is a request to a function URL as the function gets it: payload format
// 2.0. Members that AWS leaves out when they are empty have omitzero.
type urlEvent struct {
	Version         string            `json:"version"`
	RouteKey        string            `json:"routeKey"`
	RawPath         string            `json:"rawPath"`
	RawQuery        string            `json:"rawQueryString"`
	Cookies         []string          `json:"cookies,omitzero"`
	Headers         map[string]string `json:"headers"`
	Query           map[string]string `json:"queryStringParameters,omitzero"`
	Context         urlContext        `json:"requestContext"`
	Body            *string           `json:"body,omitzero"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

type urlContext struct {
	AccountID      string         `json:"accountId"`
	APIID          string         `json:"apiId"`
	Authentication *struct{}      `json:"authentication"` // always null: client certificates
	Authorizer     *urlAuthorizer `json:"authorizer,omitzero"`
	DomainName     string         `json:"domainName"`
	DomainPrefix   string         `json:"domainPrefix"`
	HTTP           urlHTTP        `json:"http"`
	RequestID      string         `json:"requestId"`
	RouteKey       string         `json:"routeKey"`
	Stage          string         `json:"stage"`
	Time           string         `json:"time"`
	TimeEpoch      int64          `json:"timeEpoch"` // milliseconds
}

type urlAuthorizer struct {
	IAM urlCaller `json:"iam"`
}

type urlCaller struct {
	AccessKey       string  `json:"accessKey"`
	AccountID       string  `json:"accountId"`
	CallerID        string  `json:"callerId"`
	CognitoIdentity *string `json:"cognitoIdentity"`
	PrincipalOrgID  *string `json:"principalOrgId"`
	UserARN         string  `json:"userArn"`
	UserID          string  `json:"userId"`
}

type urlHTTP struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

const defaultRoute = "$default"

// arrival is a request at a function URL, as it came from the wire.
type arrival struct {
	url    lamina.FunctionURL
	domain string // the URL's host name, whichever way the request came
	path   string // below the URL, escaped as it was sent
	caller *identity.Caller
	id     string // of the request
	trace  string
	now    time.Time
}

// event is the JSON of the request that a function of the URL gets.
func (a arrival) event(req *http.Request, body []byte) ([]byte, error) {
	decoded, err := url.PathUnescape(a.path)
	if err != nil {
		decoded = a.path
	}
	e := urlEvent{
		Version: "2.0", RouteKey: defaultRoute, RawPath: a.path, RawQuery: req.URL.RawQuery,
		Cookies: cookiesOf(req.Header), Headers: a.headers(req), Query: queryOf(req.URL.RawQuery),
		Context: urlContext{
			AccountID: "anonymous", APIID: a.url.ID, DomainName: a.domain, DomainPrefix: a.url.ID,
			HTTP:      urlHTTP{Method: req.Method, Path: decoded, Protocol: req.Proto, SourceIP: sourceIP(req), UserAgent: req.UserAgent()},
			RequestID: a.id, RouteKey: defaultRoute, Stage: defaultRoute,
			Time: a.now.UTC().Format("02/Jan/2006:15:04:05 -0700"), TimeEpoch: a.now.UnixMilli(),
		},
	}
	if c := a.caller; c != nil {
		e.Context.AccountID = c.Account
		e.Context.Authorizer = &urlAuthorizer{IAM: urlCaller{
			AccessKey: c.AccessKeyID, AccountID: c.Account, CallerID: c.UserID, UserARN: c.ARN, UserID: c.UserID,
		}}
	}
	if len(body) > 0 {
		text := string(body)
		if e.IsBase64Encoded = !isText(req.Header.Get("Content-Type")) || !utf8.Valid(body); e.IsBase64Encoded {
			text = base64.StdEncoding.EncodeToString(body)
		}
		e.Body = &text
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// connectionHeaders are about the connection, and not for the other side.
var connectionHeaders = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// headers are the request's, names in lower case, values joined by commas. What
// says where the request came from is the connection's word, not the client's.
func (a arrival) headers(req *http.Request) map[string]string {
	out := make(map[string]string, len(req.Header)+5)
	for name, values := range req.Header {
		if !slices.Contains(connectionHeaders, name) {
			out[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	if cookies := req.Header["Cookie"]; len(cookies) > 0 {
		out["cookie"] = strings.Join(cookies, "; ")
	}
	if req.ContentLength >= 0 && req.Header.Get("Content-Length") == "" && (req.ContentLength > 0 || req.Method == http.MethodPost) {
		out["content-length"] = decimal(req.ContentLength)
	}
	out["host"] = req.Host
	out["x-amzn-trace-id"] = a.trace
	out["x-forwarded-for"] = sourceIP(req)
	out["x-forwarded-proto"], out["x-forwarded-port"] = "http", "80"
	if req.TLS != nil {
		out["x-forwarded-proto"], out["x-forwarded-port"] = "https", "443"
	}
	if _, port, err := net.SplitHostPort(req.Host); err == nil {
		out["x-forwarded-port"] = port
	}
	return out
}

func cookiesOf(h http.Header) []string {
	var all []string
	for _, line := range h["Cookie"] {
		for c := range strings.SplitSeq(line, ";") {
			if c = strings.TrimSpace(c); c != "" {
				all = append(all, c)
			}
		}
	}
	return all
}

// queryOf are the parameters of a query, the values of each joined by commas.
// What can't be decoded stays as it is.
func queryOf(raw string) map[string]string {
	var out map[string]string
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, value = unescaped(key), unescaped(value)
		if out == nil {
			out = map[string]string{}
		}
		if former, ok := out[key]; ok {
			value = former + "," + value
		}
		out[key] = value
	}
	return out
}

func unescaped(s string) string {
	if text, err := url.QueryUnescape(s); err == nil {
		return text
	}
	return s
}

func sourceIP(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}

// isText reports whether a body of the content type reaches the function as it
// is, if it is UTF-8. Forms don't (docs/quirks.md#function-urls).
func isText(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind, _, _ = strings.Cut(strings.ToLower(contentType), ";")
		kind = strings.TrimSpace(kind)
	}
	switch kind {
	case "application/json", "application/javascript", "application/xml", "application/graphql":
		return true
	}
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml")
}
