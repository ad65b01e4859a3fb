package control

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerURLs(r *wire.Router) {
	wire.Handle(r, "CreateFunctionUrlConfig", p.CreateFunctionUrlConfig)
	wire.Handle(r, "GetFunctionUrlConfig", p.GetFunctionUrlConfig)
	wire.Handle(r, "UpdateFunctionUrlConfig", p.UpdateFunctionUrlConfig)
	wire.Handle(r, "DeleteFunctionUrlConfig", p.DeleteFunctionUrlConfig)
	wire.Handle(r, "ListFunctionUrlConfigs", p.ListFunctionUrlConfigs)
}

// located resolves whose URL a request is about: a function's or an alias's.
// Versions have none, whether the Qualifier or the name says so.
func located(ctx context.Context, name string, qualifier *string) (reference, error) {
	ref, err := resolve(ctx, name, qualifier)
	if err != nil {
		return reference{}, err
	}
	if strings.HasPrefix(ref.Qualifier, "$") || strings.Trim(ref.Qualifier, "0123456789") == "" && ref.Qualifier != "" {
		return reference{}, wire.Validation.Errorf(`1 validation error detected: Value '%s' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)`, ref.Qualifier)
	}
	return ref, nil
}

// The two answers about a missing URL: operations that need the function speak
// of it, the others of the URL.
const (
	noURLFunction = "Function does not exist"
	noURL         = "The resource you requested does not exist."
)

// lockLocated locks the function and sees that the alias exists.
func lockLocated(ctx context.Context, tx *store.Tx, ref reference) error {
	_, err := tx.LockFunction(ctx, ref.FunctionID)
	if err == nil {
		_, err = version(ctx, tx, ref)
	}
	return notFound(err, noURLFunction)
}

// newURLID returns 32 random letters and digits: a label of a host name.
func newURLID() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// urlTime writes times as function URLs show them: with nanoseconds, of which
// Lamina keeps the milliseconds.
func urlTime(t time.Time) string {
	return t.UTC().Truncate(time.Millisecond).Format("2006-01-02T15:04:05.000000000Z")
}

// cors reads CORS settings; without any member they are none.
func cors(c *wire.Cors) *lamina.CORS {
	if c == nil {
		return nil
	}
	out := lamina.CORS(*c)
	if out.AllowCredentials == nil && out.AllowHeaders == nil && out.AllowMethods == nil &&
		out.AllowOrigins == nil && out.ExposeHeaders == nil && out.MaxAge == nil {
		return nil
	}
	return &out
}

// functionURLConfig is a URL as single answers and lists show it.
func (p *Plane) functionURLConfig(ctx context.Context, u lamina.FunctionURL) wire.FunctionUrlConfig {
	return wire.FunctionUrlConfig{
		FunctionUrl: p.urlAddress(ctx, u), FunctionArn: u.ARN(), AuthType: u.AuthType, Cors: (*wire.Cors)(u.CORS),
		CreationTime: urlTime(u.Created), LastModifiedTime: urlTime(u.LastModified), InvokeMode: ptr(u.Mode()),
	}
}

// CreateFunctionUrlConfig gives a function or an alias a URL.
func (p *Plane) CreateFunctionUrlConfig(ctx context.Context, in *wire.CreateFunctionUrlConfigRequest) (*wire.CreateFunctionUrlConfigResponse, error) {
	ref, err := located(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	now := p.now()
	u := lamina.FunctionURL{
		Function: ref.FunctionID, Qualifier: ref.Qualifier, ID: newURLID(),
		AuthType: in.AuthType, InvokeMode: value(in.InvokeMode), CORS: cors(in.Cors), Created: now, LastModified: now,
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if err := lockLocated(ctx, tx, ref); err != nil {
			return err
		}
		err := tx.InsertFunctionURL(ctx, u)
		if errors.Is(err, lamina.ErrExists) {
			return wire.ResourceConflict.Errorf("Failed to create function url config for [functionArn = %s]. Error message:  FunctionUrlConfig exists for this Lambda function", u.ARN()) // sic: two blanks
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create url of %s: %w", ref.arn(), err)
	}
	c := p.functionURLConfig(ctx, u)
	return &wire.CreateFunctionUrlConfigResponse{
		FunctionUrl: c.FunctionUrl, FunctionArn: c.FunctionArn, AuthType: c.AuthType, Cors: c.Cors, CreationTime: c.CreationTime,
		InvokeMode: filled(u.InvokeMode), // recorded: no default here
	}, nil
}

// GetFunctionUrlConfig describes the URL of a function or an alias.
func (p *Plane) GetFunctionUrlConfig(ctx context.Context, in *wire.GetFunctionUrlConfigRequest) (*wire.GetFunctionUrlConfigResponse, error) {
	ref, err := located(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	var u lamina.FunctionURL
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		u, err = tx.FunctionURL(ctx, ref.FunctionID, ref.Qualifier)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get url of %s: %w", ref.arn(), notFound(err, noURL))
	}
	c := p.functionURLConfig(ctx, u)
	return &wire.GetFunctionUrlConfigResponse{
		FunctionUrl: c.FunctionUrl, FunctionArn: c.FunctionArn, AuthType: c.AuthType, Cors: c.Cors,
		CreationTime: c.CreationTime, LastModifiedTime: c.LastModifiedTime, InvokeMode: c.InvokeMode,
	}, nil
}

// UpdateFunctionUrlConfig changes the given settings of a URL; the address stays.
func (p *Plane) UpdateFunctionUrlConfig(ctx context.Context, in *wire.UpdateFunctionUrlConfigRequest) (*wire.UpdateFunctionUrlConfigResponse, error) {
	ref, err := located(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	var u lamina.FunctionURL
	err = p.store.Update(ctx, func(tx *store.Tx) (err error) {
		if err := lockLocated(ctx, tx, ref); err != nil {
			return err
		}
		if u, err = tx.FunctionURL(ctx, ref.FunctionID, ref.Qualifier); err != nil {
			return notFound(err, noURL)
		}
		set(&u.AuthType, in.AuthType)
		set(&u.InvokeMode, in.InvokeMode)
		if in.Cors != nil {
			u.CORS = cors(in.Cors)
		}
		u.LastModified = p.now()
		return tx.UpdateFunctionURL(ctx, u)
	})
	if err != nil {
		return nil, fmt.Errorf("update url of %s: %w", ref.arn(), err)
	}
	c := p.functionURLConfig(ctx, u)
	return &wire.UpdateFunctionUrlConfigResponse{
		FunctionUrl: c.FunctionUrl, FunctionArn: c.FunctionArn, AuthType: c.AuthType, Cors: c.Cors,
		CreationTime: c.CreationTime, LastModifiedTime: c.LastModifiedTime,
		InvokeMode: filled(u.InvokeMode), // recorded: no default here
	}, nil
}

// DeleteFunctionUrlConfig removes the URL of a function or an alias.
func (p *Plane) DeleteFunctionUrlConfig(ctx context.Context, in *wire.DeleteFunctionUrlConfigRequest) (*wire.NoContent, error) {
	ref, err := located(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
			return err
		}
		existed, err := tx.DeleteFunctionURL(ctx, ref.FunctionID, ref.Qualifier)
		if err == nil && !existed {
			err = lamina.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("delete url of %s: %w", ref.arn(), notFound(err, noURL))
	}
	return nil, nil
}

// ListFunctionUrlConfigs lists the URLs of a function and its aliases, by alias.
func (p *Plane) ListFunctionUrlConfigs(ctx context.Context, in *wire.ListFunctionUrlConfigsRequest) (*wire.ListFunctionUrlConfigsResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	from, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxItems, p.limits.PageDefault, p.limits.PageDefault)
	var found []lamina.FunctionURL
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		if _, err := version(ctx, tx, ref); err != nil {
			return err
		}
		found, err = tx.FunctionURLs(ctx, ref.FunctionID, from[0], limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list urls of %s: %w", ref.Name, notFound(err, noURLFunction))
	}
	out := &wire.ListFunctionUrlConfigsResponse{}
	if len(found) > limit {
		out.NextMarker = marker(found[limit].Qualifier)
	}
	found, _ = page(found, limit)
	out.FunctionUrlConfigs = make([]wire.FunctionUrlConfig, 0, len(found))
	for _, u := range found {
		out.FunctionUrlConfigs = append(out.FunctionUrlConfigs, p.functionURLConfig(ctx, u))
	}
	return out, nil
}
