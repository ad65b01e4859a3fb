package control

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/signing"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerCodeSigning(r *wire.Router) {
	wire.Handle(r, "CreateCodeSigningConfig", p.CreateCodeSigningConfig)
	wire.Handle(r, "GetCodeSigningConfig", p.GetCodeSigningConfig)
	wire.Handle(r, "UpdateCodeSigningConfig", p.UpdateCodeSigningConfig)
	wire.Handle(r, "DeleteCodeSigningConfig", p.DeleteCodeSigningConfig)
	wire.Handle(r, "ListCodeSigningConfigs", p.ListCodeSigningConfigs)
	wire.Handle(r, "ListFunctionsByCodeSigningConfig", p.ListFunctionsByCodeSigningConfig)
	wire.Handle(r, "PutFunctionCodeSigningConfig", p.PutFunctionCodeSigningConfig)
	wire.Handle(r, "GetFunctionCodeSigningConfig", p.GetFunctionCodeSigningConfig)
	wire.Handle(r, "DeleteFunctionCodeSigningConfig", p.DeleteFunctionCodeSigningConfig)
}

// errNoCodeSigningConfig is AWS's answer, without a Type, of the operations on
// code signing configurations themselves.
func errNoCodeSigningConfig(arn string) error {
	return wire.ResourceNotFound.Errorf("The Lambda code signing configuration %s can not be found.", arn).WithoutType()
}

// errCodeSigningConfigGone is AWS's answer where a function is to have one.
func errCodeSigningConfigGone(arn string) error {
	return wire.CodeSigningConfigNotFound.Errorf("The code signing configuration cannot be found. Check that the provided configuration is not deleted: %s.", arn)
}

// codeSigningID returns the ID in an ARN, empty for one of another account or
// region, which no row has. The wire layer has checked the ARN's form.
func codeSigningID(in lamina.Scope, arn string) string {
	id := arn[strings.LastIndexByte(arn, ':')+1:]
	if (lamina.CodeSigningConfig{Scope: in, ID: id}).ARN() != arn {
		return ""
	}
	return id
}

func codeSigningConfig(c lamina.CodeSigningConfig) *wire.CodeSigningConfig {
	return &wire.CodeSigningConfig{
		CodeSigningConfigId: c.ID, CodeSigningConfigArn: c.ARN(), Description: c.Description,
		AllowedPublishers:   &wire.AllowedPublishers{SigningProfileVersionArns: c.Publishers},
		CodeSigningPolicies: &wire.CodeSigningPolicies{UntrustedArtifactOnDeployment: &c.Policy},
		LastModified:        timestamp(c.Modified),
	}
}

// CreateCodeSigningConfig makes a configuration for functions to have. Whether
// the publishers exist is not asked, as at AWS.
func (p *Plane) CreateCodeSigningConfig(ctx context.Context, in *wire.CreateCodeSigningConfigRequest) (*wire.CreateCodeSigningConfigResponse, error) {
	if len(in.Tags) > p.limits.TagsPerResource {
		return nil, errTooManyTags
	}
	c := lamina.CodeSigningConfig{
		Scope: scope(ctx), ID: "csc-" + strings.ToLower(rand.Text()[:17]), Description: in.Description,
		Publishers: in.AllowedPublishers.SigningProfileVersionArns, Policy: lamina.SigningWarn, Modified: p.now(),
	}
	if in.CodeSigningPolicies != nil {
		set(&c.Policy, in.CodeSigningPolicies.UntrustedArtifactOnDeployment)
	}
	err := p.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.InsertCodeSigningConfig(ctx, c); err != nil {
			return err
		}
		return tx.SetTags(ctx, c.ARN(), in.Tags)
	})
	if err != nil {
		return nil, fmt.Errorf("create code signing config: %w", err)
	}
	return &wire.CreateCodeSigningConfigResponse{CodeSigningConfig: codeSigningConfig(c)}, nil
}

// GetCodeSigningConfig describes a configuration.
func (p *Plane) GetCodeSigningConfig(ctx context.Context, in *wire.GetCodeSigningConfigRequest) (*wire.GetCodeSigningConfigResponse, error) {
	var c lamina.CodeSigningConfig
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		c, err = tx.CodeSigningConfig(ctx, scope(ctx), codeSigningID(scope(ctx), in.CodeSigningConfigArn))
		return err
	})
	if missing(err) {
		return nil, errNoCodeSigningConfig(in.CodeSigningConfigArn)
	}
	if err != nil {
		return nil, fmt.Errorf("get code signing config: %w", err)
	}
	return &wire.GetCodeSigningConfigResponse{CodeSigningConfig: codeSigningConfig(c)}, nil
}

// UpdateCodeSigningConfig changes what is given, which may be nothing. Functions
// keep the code that they have.
func (p *Plane) UpdateCodeSigningConfig(ctx context.Context, in *wire.UpdateCodeSigningConfigRequest) (*wire.UpdateCodeSigningConfigResponse, error) {
	var c lamina.CodeSigningConfig
	err := p.store.Update(ctx, func(tx *store.Tx) (err error) {
		c, err = tx.LockCodeSigningConfig(ctx, scope(ctx), codeSigningID(scope(ctx), in.CodeSigningConfigArn))
		if err != nil {
			return err
		}
		if in.Description != nil {
			c.Description = in.Description
		}
		if in.AllowedPublishers != nil {
			c.Publishers = in.AllowedPublishers.SigningProfileVersionArns
		}
		if in.CodeSigningPolicies != nil {
			set(&c.Policy, in.CodeSigningPolicies.UntrustedArtifactOnDeployment)
		}
		c.Modified = p.now()
		return tx.PutCodeSigningConfig(ctx, c)
	})
	if missing(err) {
		return nil, errNoCodeSigningConfig(in.CodeSigningConfigArn)
	}
	if err != nil {
		return nil, fmt.Errorf("update code signing config: %w", err)
	}
	return &wire.UpdateCodeSigningConfigResponse{CodeSigningConfig: codeSigningConfig(c)}, nil
}

// DeleteCodeSigningConfig removes a configuration that no function has.
func (p *Plane) DeleteCodeSigningConfig(ctx context.Context, in *wire.DeleteCodeSigningConfigRequest) (*wire.DeleteCodeSigningConfigResponse, error) {
	err := p.store.Update(ctx, func(tx *store.Tx) error {
		c, err := tx.LockCodeSigningConfig(ctx, scope(ctx), codeSigningID(scope(ctx), in.CodeSigningConfigArn))
		if err != nil {
			return err
		}
		functions, err := tx.FunctionsSignedBy(ctx, c.Scope, c.ID, "", 1)
		if err != nil {
			return err
		}
		if len(functions) > 0 {
			return wire.ResourceConflict.Errorf("The code signing configuration %s cannot be deleted because functions have it, such as %s.", c.ARN(), functions[0])
		}
		return tx.DeleteCodeSigningConfig(ctx, c)
	})
	if missing(err) {
		return nil, errNoCodeSigningConfig(in.CodeSigningConfigArn)
	}
	if err != nil {
		return nil, fmt.Errorf("delete code signing config: %w", err)
	}
	return nil, nil
}

// ListCodeSigningConfigs lists the configurations of the account.
func (p *Plane) ListCodeSigningConfigs(ctx context.Context, in *wire.ListCodeSigningConfigsRequest) (*wire.ListCodeSigningConfigsResponse, error) {
	after, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxItems, p.limits.PageDefault, p.limits.PageDefault)
	var found []lamina.CodeSigningConfig
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.CodeSigningConfigs(ctx, scope(ctx), after[0], limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list code signing configs: %w", err)
	}
	found, more := page(found, limit)
	out := &wire.ListCodeSigningConfigsResponse{CodeSigningConfigs: make([]wire.CodeSigningConfig, 0, len(found))}
	for _, c := range found {
		out.CodeSigningConfigs = append(out.CodeSigningConfigs, *codeSigningConfig(c))
	}
	if more {
		out.NextMarker = marker(found[len(found)-1].ID)
	}
	return out, nil
}

// ListFunctionsByCodeSigningConfig lists the functions that have a configuration.
func (p *Plane) ListFunctionsByCodeSigningConfig(ctx context.Context, in *wire.ListFunctionsByCodeSigningConfigRequest) (*wire.ListFunctionsByCodeSigningConfigResponse, error) {
	after, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxItems, p.limits.PageDefault, p.limits.PageDefault)
	var found []string
	err = p.store.View(ctx, func(tx *store.Tx) error {
		c, err := tx.CodeSigningConfig(ctx, scope(ctx), codeSigningID(scope(ctx), in.CodeSigningConfigArn))
		if err != nil {
			return err
		}
		found, err = tx.FunctionsSignedBy(ctx, c.Scope, c.ID, after[0], limit+1)
		return err
	})
	if missing(err) {
		return nil, errNoCodeSigningConfig(in.CodeSigningConfigArn)
	}
	if err != nil {
		return nil, fmt.Errorf("list functions of code signing config: %w", err)
	}
	found, more := page(found, limit)
	out := &wire.ListFunctionsByCodeSigningConfigResponse{FunctionArns: make([]string, 0, len(found))}
	for _, name := range found {
		out.FunctionArns = append(out.FunctionArns, lamina.FunctionID{Scope: scope(ctx), Name: name}.ARN())
	}
	if more {
		out.NextMarker = marker(found[len(found)-1])
	}
	return out, nil
}

// PutFunctionCodeSigningConfig gives a function a configuration, which counts
// from the next deployment on. That the configuration is missing is said before
// that the function is (recorded).
func (p *Plane) PutFunctionCodeSigningConfig(ctx context.Context, in *wire.PutFunctionCodeSigningConfigRequest) (*wire.PutFunctionCodeSigningConfigResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	id := codeSigningID(ref.Scope, in.CodeSigningConfigArn)
	gone := func(err error) error {
		if missing(err) {
			return errCodeSigningConfigGone(in.CodeSigningConfigArn)
		}
		return err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.CodeSigningConfig(ctx, ref.Scope, id); err != nil {
			return gone(err)
		}
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
			return notFound(err, "Function not found: %s", ref.ARN())
		}
		latest, err := tx.FunctionVersion(ctx, ref.FunctionID, 0)
		if err != nil {
			return err
		}
		if latest.Config.PackageType == lamina.PackageImage {
			return errImageSigning
		}
		if _, err := tx.LockCodeSigningConfig(ctx, ref.Scope, id); err != nil {
			return gone(err)
		}
		return tx.SetFunctionCodeSigningConfig(ctx, ref.FunctionID, id)
	})
	if err != nil {
		return nil, fmt.Errorf("put code signing config of function %s: %w", ref.Name, err)
	}
	return &wire.PutFunctionCodeSigningConfigResponse{CodeSigningConfigArn: in.CodeSigningConfigArn, FunctionName: ref.Name}, nil
}

// errImageSigning is the answer to a code signing configuration for an image:
// AWS does not support it either.
var errImageSigning = wire.InvalidParameterValue.Errorf("Code signing is not supported for functions created with container images.")

// GetFunctionCodeSigningConfig tells the configuration of a function; the answer
// is empty when it has none.
func (p *Plane) GetFunctionCodeSigningConfig(ctx context.Context, in *wire.GetFunctionCodeSigningConfigRequest) (*wire.GetFunctionCodeSigningConfigResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	out := &wire.GetFunctionCodeSigningConfigResponse{}
	err = p.store.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.Function(ctx, ref.FunctionID); err != nil {
			return notFound(err, "Function not found: %s", ref.ARN())
		}
		c, err := tx.FunctionCodeSigningConfig(ctx, ref.FunctionID)
		if missing(err) {
			return nil
		}
		if err == nil {
			out.CodeSigningConfigArn, out.FunctionName = c.ARN(), ref.Name
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get code signing config of function %s: %w", ref.Name, err)
	}
	return out, nil
}

// DeleteFunctionCodeSigningConfig takes the configuration from a function, if it
// has one.
func (p *Plane) DeleteFunctionCodeSigningConfig(ctx context.Context, in *wire.DeleteFunctionCodeSigningConfigRequest) (*wire.NoContent, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
			return notFound(err, "Function not found: %s", ref.ARN())
		}
		return tx.DeleteFunctionCodeSigningConfig(ctx, ref.FunctionID)
	})
	if err != nil {
		return nil, fmt.Errorf("delete code signing config of function %s: %w", ref.Name, err)
	}
	return nil, nil
}

// signatureOf looks at the signature of an uploaded archive. What is wrong with
// one is a finding, no error. A nil upload, an image's, has none.
func (p *Plane) signatureOf(ctx context.Context, u wire.Upload) (lamina.Signature, error) {
	if u == nil {
		return lamina.Signature{}, nil
	}
	archive, err := lamina.ReadArchive(u, u.Size(), p.limits)
	if refused, ok := errors.AsType[*lamina.ArchiveError](err); ok {
		return lamina.Signature{}, p.refusal(refused)
	}
	if err != nil {
		return lamina.Signature{}, fmt.Errorf("read archive: %w", err)
	}
	s, err := signing.Verify(ctx, archive)
	switch {
	case errors.Is(err, signing.ErrUnsigned):
		return lamina.Signature{}, nil
	case errors.Is(err, signing.ErrAltered):
		p.log.LogAttrs(ctx, slog.LevelInfo, "signature refused", slog.String("request_id", wire.RequestID(ctx)), slog.Any("err", err))
		return lamina.Signature{Finding: lamina.SignatureAltered}, nil
	case err != nil:
		return lamina.Signature{}, err
	}
	var profiles []lamina.SigningProfile
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		profiles, err = tx.SigningProfiles(ctx, scope(ctx))
		return err
	})
	if err != nil {
		return lamina.Signature{}, fmt.Errorf("read signing profiles: %w", err)
	}
	return p.publisher(ctx, s, profiles)
}

// publisher finds the signing profile version that vouches for a signature: the
// newest of those that can.
func (p *Plane) publisher(ctx context.Context, s *signing.Signature, profiles []lamina.SigningProfile) (lamina.Signature, error) {
	out := lamina.Signature{Finding: lamina.SignatureForeign}
	var newest lamina.SigningProfile
	for _, profile := range profiles {
		certificate, err := x509.ParseCertificate(profile.Certificate)
		if err != nil {
			return lamina.Signature{}, fmt.Errorf("signing profile %s: %w", profile.ARN(), err)
		}
		expires, err := s.IssuedBy(certificate, p.now())
		switch {
		case errors.Is(err, signing.ErrExpired) && out.Finding == lamina.SignatureForeign:
			out.Finding = lamina.SignatureExpired
		case err != nil:
		case !profile.Revoked.IsZero() && out.Finding != lamina.SignatureValid:
			out.Finding = lamina.SignatureRevoked
		case profile.Revoked.IsZero() && (out.Finding != lamina.SignatureValid || profile.Created.After(newest.Created)):
			newest = profile
			out = lamina.Signature{
				Finding: lamina.SignatureValid, ProfileVersionARN: profile.ARN(), JobARN: signingJobARN(profile.Scope, s.ID()), Expires: expires,
			}
		}
	}
	if out.Finding != lamina.SignatureValid {
		p.log.LogAttrs(ctx, slog.LevelInfo, "signature not recognized", slog.String("request_id", wire.RequestID(ctx)),
			slog.String("finding", string(out.Finding)), slog.String("signer", s.Certificate.Subject.String()))
	}
	return out, nil
}

// signingJobARN names the act of signing with an identifier made from the signature.
func signingJobARN(in lamina.Scope, id [32]byte) string {
	id[6] = id[6]&0x0f | 0x80 // UUID version 8: made in a way of one's own
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("arn:%s:signer:%s:%s:/signing-jobs/%x-%x-%x-%x-%x", lamina.Partition, in.Region, in.Account, id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

// deployment is what a request is about to give to a function, in the eyes of
// the function's code signing configuration.
type deployment struct {
	config *lamina.CodeSigningConfig // nil: everything may come
	// warned says of what the policy Warn lets pass what was found.
	warned []string
}

// deploymentTo reads the configuration of a function that exists.
func deploymentTo(ctx context.Context, tx *store.Tx, id lamina.FunctionID) (*deployment, error) {
	c, err := tx.FunctionCodeSigningConfig(ctx, id)
	if missing(err) {
		return &deployment{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &deployment{config: &c}, nil
}

// deploymentWith reads the configuration that a function is to be created with,
// and keeps it from being deleted.
func deploymentWith(ctx context.Context, tx *store.Tx, in lamina.Scope, arn *string) (*deployment, error) {
	if arn == nil || *arn == "" {
		return &deployment{}, nil
	}
	c, err := tx.LockCodeSigningConfig(ctx, in, codeSigningID(in, *arn))
	if missing(err) {
		return nil, errCodeSigningConfigGone(*arn)
	}
	if err != nil {
		return nil, err
	}
	return &deployment{config: &c}, nil
}

// allow refuses code or a layer with a signature that the configuration keeps
// out. What is the function as the client named it, or the layer version's ARN.
// Altered archives are refused with any policy, as at AWS.
func (p *Plane) allow(ctx context.Context, tx *store.Tx, d *deployment, s lamina.Signature, what string) error {
	if d.config == nil {
		return nil
	}
	finding := d.config.Judge(s, p.now())
	if finding == lamina.SignatureValid {
		revoked, err := profileRevoked(ctx, tx, d.config.Scope, s.ProfileVersionARN)
		if err != nil {
			return err
		}
		if !revoked {
			return nil
		}
		finding = lamina.SignatureRevoked
	}
	if finding == lamina.SignatureAltered {
		return wire.InvalidCodeSignature.Errorf("The code signature failed the integrity check. If the integrity check fails, then Lambda blocks deployment, even if the code signing policy is set to WARN.")
	}
	if d.config.Policy != lamina.SigningEnforce {
		said := string(finding)
		if said == "" {
			said = "unsigned"
		}
		d.warned = append(d.warned, what+": "+said)
		return nil
	}
	switch finding {
	case lamina.SignatureExpired, lamina.SignatureRevoked:
		return wire.CodeVerificationFailed.Errorf("The code signature failed one or more of the validation checks for signature mismatch or expiry, and the code signing policy is set to ENFORCE. Lambda blocks the deployment.")
	default: // the text is AWS's, seen in the issues of aws-cdk and aws-sam-cli
		return wire.CodeVerificationFailed.Errorf("Lambda cannot deploy the function. The function or layer might be signed using a signature that the client is not configured to accept. Check the provided signature for %s.", what)
	}
}

func profileRevoked(ctx context.Context, tx *store.Tx, in lamina.Scope, arn string) (bool, error) {
	profiles, err := tx.SigningProfiles(ctx, in)
	if err != nil {
		return false, err
	}
	for _, profile := range profiles {
		if profile.ARN() == arn {
			return !profile.Revoked.IsZero(), nil
		}
	}
	return true, nil
}

// logWarned logs what was let pass, when it is deployed.
func (p *Plane) logWarned(ctx context.Context, function string, d *deployment) {
	if d == nil || len(d.warned) == 0 {
		return
	}
	p.log.LogAttrs(ctx, slog.LevelWarn, "code of no allowed publisher deployed",
		slog.String("request_id", wire.RequestID(ctx)), slog.String("function", function),
		slog.String("config", d.config.ARN()), slog.Any("findings", d.warned))
}

// inspectFor checks a zip against the rules, and against the code signing
// configuration of the function that it is for, and keeps nothing.
func (p *Plane) inspectFor(ctx context.Context, id lamina.FunctionID, name string, from source) (lamina.Code, error) {
	signature, err := p.signatureOf(ctx, from.archive)
	if err != nil {
		return lamina.Code{}, err
	}
	code := lamina.Code{Directory: from.directory}
	if from.directory == "" {
		if code, err = p.inspect(ctx, from.archive); err != nil {
			return lamina.Code{}, err
		}
	}
	err = p.store.View(ctx, func(tx *store.Tx) error {
		d, err := deploymentTo(ctx, tx, id)
		if err != nil {
			return err
		}
		return p.allow(ctx, tx, d, signature, name)
	})
	if err != nil {
		return lamina.Code{}, fmt.Errorf("verify code of function %s: %w", id.Name, err)
	}
	return signed(code, signature), nil
}

// signed puts into c who signed it.
func signed(c lamina.Code, s lamina.Signature) lamina.Code {
	c.SigningProfileVersionARN, c.SigningJobARN = s.ProfileVersionARN, s.JobARN
	return c
}

// mostSigningProfiles bounds the versions of signing profiles of an account and
// region: each is compared with each signature.
const mostSigningProfiles = 200

var signingProfileName = regexp.MustCompile(`^[a-zA-Z0-9_]{2,64}$`)

// AddSigningProfile registers a certificate under a name, as a new version when
// the name has others. The same certificate again is the version that it was.
// It is no Lambda operation: at AWS another service does it.
func (p *Plane) AddSigningProfile(ctx context.Context, name string, certificate []byte) (lamina.SigningProfile, error) {
	if !signingProfileName.MatchString(name) {
		return lamina.SigningProfile{}, wire.InvalidParameterValue.Errorf("Signing profile name %q: want 2 to 64 letters, digits and underscores.", name)
	}
	all, err := signing.ParseCertificates(certificate)
	if err != nil {
		return lamina.SigningProfile{}, wire.InvalidParameterValue.Errorf("Invalid certificate: %v.", err)
	}
	c := all[0]
	if err := signing.CheckCertificate(c); err != nil && !c.IsCA {
		return lamina.SigningProfile{}, wire.InvalidParameterValue.Errorf("Invalid certificate: %v.", err)
	}
	if p.now().After(c.NotAfter) {
		return lamina.SigningProfile{}, wire.InvalidParameterValue.Errorf("The certificate has expired at %s.", timestamp(c.NotAfter))
	}
	profile := lamina.SigningProfile{Scope: scope(ctx), Name: name, Version: rand.Text()[:10], Certificate: c.Raw, Created: p.now()}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.LockUsage(ctx, profile.Scope); err != nil {
			return err
		}
		have, err := tx.SigningProfiles(ctx, profile.Scope)
		if err != nil {
			return err
		}
		for _, h := range have {
			if h.Name == name && h.Revoked.IsZero() && string(h.Certificate) == string(c.Raw) {
				profile = h
				return nil
			}
		}
		if len(have) >= mostSigningProfiles {
			return wire.InvalidParameterValue.Errorf("The account has %d versions of signing profiles in this region, which is the limit.", len(have))
		}
		return tx.InsertSigningProfile(ctx, profile)
	})
	if err != nil {
		return lamina.SigningProfile{}, fmt.Errorf("add signing profile %s: %w", name, err)
	}
	return profile, nil
}

// SigningProfiles lists all versions of all signing profiles.
func (p *Plane) SigningProfiles(ctx context.Context) ([]lamina.SigningProfile, error) {
	var all []lamina.SigningProfile
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.SigningProfiles(ctx, scope(ctx))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list signing profiles: %w", err)
	}
	return all, nil
}

// RevokeSigningProfile revokes all versions of a signing profile for ever. What
// they signed stays where it is deployed and can't be deployed where it counts.
func (p *Plane) RevokeSigningProfile(ctx context.Context, name string) error {
	err := p.store.Update(ctx, func(tx *store.Tx) error {
		return tx.RevokeSigningProfile(ctx, scope(ctx), name, p.now())
	})
	if missing(err) {
		return wire.ResourceNotFound.Errorf("Signing profile not found: %s", name)
	}
	if err != nil {
		return fmt.Errorf("revoke signing profile %s: %w", name, err)
	}
	return nil
}
