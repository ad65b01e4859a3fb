package identity

import (
	"context"
	"log/slog"
	"net/http"
)

// NewSTS returns the Security Token Service, as far as it goes: GetCallerIdentity.
// Its requests are authenticated and carry their caller.
func NewSTS(log *slog.Logger) http.Handler {
	return &queryService{
		name: "sts", version: stsVersion, log: log,
		actions: map[string]action{"GetCallerIdentity": getCallerIdentity},
		later: map[string]bool{
			"AssumeRole": true, "AssumeRoleWithSAML": true, "AssumeRoleWithWebIdentity": true, "GetAccessKeyInfo": true,
			"GetFederationToken": true, "GetSessionToken": true, "DecodeAuthorizationMessage": true,
		},
	}
}

func getCallerIdentity(_ context.Context, c Caller, _ form) (any, error) {
	return struct {
		Arn     string
		UserID  string `xml:"UserId"`
		Account string
	}{c.ARN, c.UserID, c.Account}, nil
}
