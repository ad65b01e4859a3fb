package identity

import (
	"context"
	"net/http"
	"strings"

	"github.com/lamina-run/lamina"
)

// Caller is who signed a request, and for which region and service.
type Caller struct {
	Account     string // twelve digits
	Region      string // of the credential scope
	Service     string // of the credential scope: lambda, sts, iam
	AccessKeyID string
	ARN         string // arn:aws:iam::<account>:root, or of a user
	UserID      string // as GetCallerIdentity tells it; the account's number for root
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

// callerFor is the caller whose key signed for a region and a service.
func callerFor(k Key, region, service string) Caller {
	c := Caller{
		Account: k.Account, Region: region, Service: service, AccessKeyID: k.ID,
		ARN: "arn:" + lamina.Partition + ":iam::" + k.Account + ":root", UserID: k.Account,
	}
	if k.User != "" {
		c.ARN = "arn:" + lamina.Partition + ":iam::" + k.Account + ":user/" + k.User
		c.UserID = k.ID // users have no identifier of their own yet
	}
	return c
}

// QueryService returns the service whose query protocol a request speaks, or
// empty for a request of any other protocol. It believes the credential scope
// without a proof, so it serves for the form of an answer and nothing else.
func QueryService(req *http.Request) string {
	scope := ""
	if h := req.Header["Authorization"]; len(h) > 0 {
		_, scope, _ = strings.Cut(h[0], "Credential=")
		scope, _, _ = strings.Cut(scope, ",")
	} else if strings.Contains(req.URL.RawQuery, "X-Amz-Credential=") {
		scope = req.URL.Query().Get("X-Amz-Credential")
	}
	if parts := strings.Split(strings.TrimSpace(scope), "/"); len(parts) == 5 {
		if _, ok := namespaces[parts[3]]; ok {
			return parts[3]
		}
		return ""
	}
	// Nothing signed, or nothing legible: the path and the body's type tell.
	if req.URL.Path != "/" || !strings.HasPrefix(req.Header.Get("Content-Type"), formType) {
		return ""
	}
	return "sts"
}
