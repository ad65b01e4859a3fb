package server

import (
	"net/http"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

// NewAccount is the body of a request that makes an account or an organization.
type NewAccount struct {
	Name string
}

// handling has what answers a pattern serve it.
type handling func(pattern string, answer func(*http.Request) (any, error))

// operated refuses everybody but the operator.
func (o Internal) operated(handle handling) handling {
	return func(pattern string, answer func(*http.Request) (any, error)) {
		handle(pattern, func(req *http.Request) (any, error) {
			c, _ := identity.CallerOf(req.Context()) // handle saw to it that there is a root
			if c.Account != o.Operator || c.Session != nil {
				return nil, wire.AccessDenied.Errorf("User: %s is not authorized to perform this operation: it is for the root of the first account.", c.ARN)
			}
			return answer(req)
		})
	}
}

// handleAccounts serves accounts and organizations to the operator.
func (o Internal) handleAccounts(operator handling) {
	named := func(answer func(*http.Request, string) (any, error)) func(*http.Request) (any, error) {
		return func(req *http.Request) (any, error) {
			var in NewAccount
			if err := readInternal(req, "an account or organization", &in); err != nil {
				return nil, err
			}
			return answer(req, in.Name)
		}
	}
	operator("GET /_lamina/accounts", func(req *http.Request) (any, error) {
		all, err := o.Accounts.List(req.Context())
		return map[string]any{"Accounts": all}, err
	})
	operator("POST /_lamina/accounts", named(func(req *http.Request, name string) (any, error) {
		return o.Accounts.Create(req.Context(), name)
	}))
	operator("GET /_lamina/organizations", func(req *http.Request) (any, error) {
		all, err := o.Accounts.Organizations(req.Context())
		return map[string]any{"Organizations": all}, err
	})
	operator("POST /_lamina/organizations", named(func(req *http.Request, name string) (any, error) {
		return o.Accounts.CreateOrganization(req.Context(), name)
	}))
	const member = "/_lamina/organizations/{id}/accounts/{account}"
	operator("PUT "+member, func(req *http.Request) (any, error) {
		return struct{}{}, o.Accounts.Join(req.Context(), req.PathValue("id"), req.PathValue("account"))
	})
	operator("DELETE "+member, func(req *http.Request) (any, error) {
		return struct{}{}, o.Accounts.Leave(req.Context(), req.PathValue("id"), req.PathValue("account"))
	})
}
