package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire/query"
)

// Kind tells what a caller is.
type Kind string

// The kinds of callers, as aws:PrincipalType calls them.
const (
	KindRoot        Kind = "Account"
	KindUser        Kind = "User"
	KindAssumedRole Kind = "AssumedRole"
)

// Caller is who signed a request, and for which region and service. Its zero
// value is nobody.
type Caller struct {
	Account     string // twelve digits
	Region      string // of the credential scope
	Service     string // of the credential scope: lambda, sts, iam
	AccessKeyID string
	ARN         string // arn:aws:iam::<account>:root, of a user, or of an assumed role's session
	UserID      string // as GetCallerIdentity tells it; the account's number for root
	Kind        Kind
	Name        string   // of the user or the role
	Session     *Session // of temporary credentials, else nil. Shared: not to be changed

	// What the request says beside the signature, for condition keys.
	Source string // IP address of the client
	Agent  string // its User-Agent
	Secure bool   // over TLS, or without leaving the host
	Inside bool   // sent by a part of Lamina in the caller's name: aws:ViaAWSService
}

// IsRoot reports whether the caller is the root of its account.
func (c Caller) IsRoot() bool { return c.Kind == KindRoot }

// PrincipalARN is aws:PrincipalArn: of an assumed role it is the role's, not the
// session's.
func (c Caller) PrincipalARN() string {
	if c.Kind == KindAssumedRole {
		return c.Session.RoleARN
	}
	return c.ARN
}

type callerKey struct{}

// WithCaller returns a context that carries the caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns the caller that the context carries, if any.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// arnOf makes an ARN of IAM: of("123456789012", "user/ann").
func arnOf(account, resource string) string {
	return "arn:" + lamina.Partition + ":iam::" + account + ":" + resource
}

// callerFor is the caller whose key signed for a region and a service.
func callerFor(k Key, region, service string) Caller {
	c := Caller{Account: k.Account, Region: region, Service: service, AccessKeyID: k.ID, Session: k.Session}
	switch {
	case k.Session != nil && k.Session.RoleARN != "":
		c.Kind, c.Name = KindAssumedRole, k.Session.Role
		c.ARN, c.UserID = k.Session.arn(k.Account), k.Session.RoleID+":"+k.Session.Name
	case k.User != "":
		c.Kind, c.Name = KindUser, k.User
		c.ARN, c.UserID = arnOf(k.Account, "user"+k.UserPath+k.User), k.UserID
	default:
		c.Kind = KindRoot
		c.ARN, c.UserID = arnOf(k.Account, "root"), k.Account
	}
	return c
}

// s3Service is the signing name of S3.
const s3Service = "s3"

// CanonicalUser is the ID by which S3 knows an account.
func CanonicalUser(account string) string {
	sum := sha256.Sum256([]byte("canonical user " + account))
	return hex.EncodeToString(sum[:])
}

// ClaimedService returns the signing name that a request claims, or empty for one
// that claims none. It believes the credential scope without a proof, so it serves
// for the form of an answer and nothing else.
func ClaimedService(req *http.Request) string {
	if parts := strings.Split(claimedScope(req), "/"); len(parts) == 5 {
		return parts[3]
	}
	return ""
}

// claimedScope is the credential of a request as it stands there, or empty.
func claimedScope(req *http.Request) (scope string) {
	if h := req.Header["Authorization"]; len(h) > 0 {
		_, scope, _ = strings.Cut(h[0], "Credential=")
		scope, _, _ = strings.Cut(scope, ",")
	} else if strings.Contains(req.URL.RawQuery, "X-Amz-Credential=") {
		scope = req.URL.Query().Get("X-Amz-Credential")
	}
	return strings.TrimSpace(scope)
}

// QueryService returns the service whose query protocol a request speaks, or
// empty for a request of any other protocol. It believes the credential scope
// without a proof, so it serves for the form of an answer and nothing else.
func QueryService(req *http.Request) string {
	if parts := strings.Split(claimedScope(req), "/"); len(parts) == 5 {
		if query.Speaks(parts[3]) {
			return parts[3]
		}
		return ""
	}
	// Nothing signed, or nothing legible: the path and the body's type tell.
	if req.URL.Path != "/" || !strings.HasPrefix(req.Header.Get("Content-Type"), query.ContentType) {
		return ""
	}
	return "sts"
}
