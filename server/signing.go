package server

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

// SigningService is the signing name of requests to Lamina itself.
const SigningService = "lamina"

// SigningProfiles keeps signing profiles. Its errors are exceptions, or say that
// something is broken.
type SigningProfiles interface {
	AddSigningProfile(ctx context.Context, name string, certificate []byte) (lamina.SigningProfile, error)
	SigningProfiles(ctx context.Context) ([]lamina.SigningProfile, error)
	RevokeSigningProfile(ctx context.Context, name string) error
}

// SigningProfile is one version of a signing profile as the endpoint shows it.
type SigningProfile struct {
	Name        string
	Version     string
	Arn         string
	Certificate string // PEM
	Created     time.Time
	Revoked     *time.Time `json:",omitzero"`
}

// NewSigningProfile is the body of a request that adds one.
type NewSigningProfile struct {
	Certificate string // PEM
}

// certificateBytes is more than any certificate with its issuers has.
const certificateBytes = 256 << 10

// Internal is what NewInternal serves.
type Internal struct {
	Profiles SigningProfiles
	Accounts *identity.Accounts
	Layers   PulledLayers
	// Operator is the account whose root may do what concerns other accounts.
	Operator string
	// Observed is what callers are told of functions and the machine.
	Observed Observed
	Log      *slog.Logger
}

// NewInternal serves what lamina's own verbs ask of a running server, of
// requests that the account's root signed for the service "lamina":
//
//	GET  /_lamina/signing-profiles
//	PUT  /_lamina/signing-profiles/{name}         NewSigningProfile
//	POST /_lamina/signing-profiles/{name}/revoke
//
// and, of the operator's:
//
//	GET    /_lamina/accounts
//	POST   /_lamina/accounts                       NewAccount
//	GET    /_lamina/organizations
//	POST   /_lamina/organizations                  NewAccount
//	PUT    /_lamina/organizations/{id}/accounts/{account}
//	DELETE /_lamina/organizations/{id}/accounts/{account}
//	GET    /_lamina/layers
//	PUT    /_lamina/layers/{arn}?{PulledLayer}     the zip
//	DELETE /_lamina/layers/{arn}
//
// and, of whoever may ask for cloudwatch:GetMetricData, about functions of the
// caller's account in the region that is signed for:
//
//	GET /_lamina/top?minutes=5                       Top
//	GET /_lamina/functions/{name}/metrics?from=&to=  FunctionMetrics
//	GET /_lamina/functions/{name}/cold-starts        ColdStarts
//	GET /_lamina/machine                             Machine, for the operator's account
func NewInternal(o Internal) http.Handler {
	mux := http.NewServeMux()
	profiles, log := o.Profiles, o.Log
	permitted := func(pattern string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			record := wire.RecordOf(req.Context())
			record.Operation, record.Mutates = pattern, req.Method != http.MethodGet
			record.Tell("name", req.PathValue("name"))
			out, err := answer(req)
			if err != nil {
				writeInternalError(w, req, log, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(out) // the client is gone
		})
	}
	handle := func(pattern string, answer func(*http.Request) (any, error)) {
		permitted(pattern, func(req *http.Request) (any, error) { return answerRoot(req, answer) })
	}
	handle("GET /_lamina/signing-profiles", func(req *http.Request) (any, error) {
		all, err := profiles.SigningProfiles(req.Context())
		out := make([]SigningProfile, 0, len(all))
		for _, p := range all {
			out = append(out, signingProfile(p))
		}
		return map[string]any{"SigningProfiles": out}, err
	})
	handle("PUT /_lamina/signing-profiles/{name}", func(req *http.Request) (any, error) {
		var in NewSigningProfile
		if err := readInternal(req, "a signing profile", &in); err != nil {
			return nil, err
		}
		p, err := profiles.AddSigningProfile(req.Context(), req.PathValue("name"), []byte(in.Certificate))
		return signingProfile(p), err
	})
	handle("POST /_lamina/signing-profiles/{name}/revoke", func(req *http.Request) (any, error) {
		return struct{}{}, profiles.RevokeSigningProfile(req.Context(), req.PathValue("name"))
	})
	o.handleAccounts(o.operated(handle))
	o.handleLayers(o.operated(handle))
	if o.Observed.Metrics != nil {
		o.handleObserved(permitted)
	}
	handle("/", func(req *http.Request) (any, error) {
		return nil, wire.UnknownOperation.Errorf("Lamina has no %s %s.", req.Method, req.URL.Path)
	})
	return mux
}

// readInternal reads a request's body as JSON.
func readInternal(req *http.Request, what string, in any) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, req.Body, certificateBytes))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return wire.RequestEntityTooLarge.Errorf("Request must be smaller than %d bytes", certificateBytes)
	}
	if err != nil {
		return err // the signature was wrong, or the client is gone
	}
	if err := json.Unmarshal(body, in); err != nil {
		return wire.Serialization.Errorf("The body is no JSON of %s: %v", what, err)
	}
	return nil
}

// answerRoot answers the account's root and nobody else: whose signature counts
// is not for those to say whose code is checked.
func answerRoot(req *http.Request, answer func(*http.Request) (any, error)) (any, error) {
	c, ok := identity.CallerOf(req.Context())
	if !ok || !c.IsRoot() {
		return nil, wire.AccessDenied.Errorf("User: %s is not authorized to perform this operation: it is for the account's root.", c.ARN)
	}
	return answer(req)
}

func signingProfile(p lamina.SigningProfile) SigningProfile {
	out := SigningProfile{
		Name: p.Name, Version: p.Version, Arn: p.ARN(), Created: p.Created,
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate})),
	}
	if !p.Revoked.IsZero() {
		out.Revoked = &p.Revoked
	}
	return out
}

func writeInternalError(w http.ResponseWriter, req *http.Request, log *slog.Logger, err error) {
	ex, ok := errors.AsType[*wire.Exception](err)
	if !ok {
		id := wire.RequestID(req.Context())
		log.LogAttrs(req.Context(), slog.LevelError, "request failed", slog.String("request_id", id), slog.String("path", req.URL.Path), slog.Any("err", err))
		ex = wire.Service.Errorf("Internal error; see the server's log for request %s.", id)
	}
	wire.WriteException(w, ex)
}
