package control

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerFunctions(r *wire.Router) {
	wire.Handle(r, "CreateFunction", p.CreateFunction)
	wire.Handle(r, "GetFunction", p.GetFunction)
	wire.Handle(r, "GetFunctionConfiguration", p.GetFunctionConfiguration)
	wire.Handle(r, "UpdateFunctionCode", p.UpdateFunctionCode)
	wire.Handle(r, "UpdateFunctionConfiguration", p.UpdateFunctionConfiguration)
	wire.Handle(r, "DeleteFunction", p.DeleteFunction)
	wire.Handle(r, "ListFunctions", p.ListFunctions)
	wire.Handle(r, "Invoke", p.Invoke)
}

// The reasons that AWS gives while a function or an update is being prepared.
const (
	creatingReason = "The function is being created."
	creatingCode   = "Creating"
)

func pending() lamina.Status {
	return lamina.Status{State: lamina.StatePending, StateReason: creatingReason, StateReasonCode: creatingCode}
}

func updating() lamina.Status {
	return lamina.Status{
		State: lamina.StateActive, LastUpdate: lamina.UpdateInProgress, LastUpdateReason: creatingReason, LastUpdateReasonCode: creatingCode,
	}
}

// ownFunction resolves the name of a new function: bare, within the caller's
// account, and short enough.
func (p *Plane) ownFunction(ctx context.Context, name string) (lamina.FunctionID, error) {
	ref, err := resolve(ctx, name, nil)
	if wire.AccessDenied.Is(err) {
		return lamina.FunctionID{}, wire.AccessDenied.Null() // recorded: no message here
	}
	if err != nil {
		return lamina.FunctionID{}, err
	}
	if len(ref.Name) > p.limits.FunctionNameLength {
		return lamina.FunctionID{}, wire.InvalidParameterValue.Errorf("1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to %d", name, p.limits.FunctionNameLength)
	}
	return ref.FunctionID, nil
}

// CreateFunction makes a function, Pending until its archives are prepared.
func (p *Plane) CreateFunction(ctx context.Context, in *wire.CreateFunctionRequest) (*wire.FunctionConfiguration, error) {
	id, err := p.ownFunction(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	asked := settings{
		Runtime: in.Runtime, Role: &in.Role, Handler: in.Handler, Description: in.Description, KMSKeyARN: in.KMSKeyArn,
		Timeout: in.Timeout, MemorySize: in.MemorySize, VPC: in.VpcConfig, DeadLetter: in.DeadLetterConfig,
		Environment: in.Environment, Tracing: in.TracingConfig, Layers: in.Layers, FileSystems: in.FileSystemConfigs,
		Image: in.ImageConfig, EphemeralStorage: in.EphemeralStorage, SnapStart: in.SnapStart, Logging: in.LoggingConfig,
		CapacityProvider: in.CapacityProviderConfig, Durable: in.DurableConfig,
	}
	if err := p.checkCreate(in); err != nil {
		return nil, err
	}
	if err := checkPackage(value(in.PackageType), asked); err != nil {
		return nil, err
	}
	if err := p.check(ctx, id, asked); err != nil {
		return nil, err
	}
	if asked.foundVPC, err = p.findVPC(ctx, id.Region, nil, in.VpcConfig); err != nil {
		return nil, fmt.Errorf("create function %s: %w", id.Name, err)
	}
	from, release, err := p.fetch(ctx, in.Code.ZipFile, in.Code.S3Bucket, in.Code.S3Key, in.Code.S3ObjectVersion)
	if err != nil {
		return nil, err
	}
	defer release()
	signature, err := p.signatureOf(ctx, from.archive)
	if err != nil {
		return nil, err
	}
	code, err := p.newCode(ctx, from, in.Code.ImageUri)
	if err != nil {
		return nil, err
	}
	latest := lamina.Version{
		Function: id, Incarnation: newID(), RevisionID: newID(), LastModified: p.now(), Status: pending(),
		Code: signed(code, signature), Config: defaults(id),
	}
	set(&latest.Config.PackageType, in.PackageType)
	if in.Architectures != nil {
		latest.Config.Architectures = in.Architectures
	}
	published := value(in.Publish)
	var archives map[string]lamina.Code
	if published {
		if archives, err = p.archivesOf(ctx, code, in.Layers); err != nil {
			return nil, err
		}
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		v := latest
		var err error
		if asked.deployment, err = deploymentWith(ctx, tx, id.Scope, in.CodeSigningConfigArn); err != nil {
			return err
		}
		if err := p.allow(ctx, tx, asked.deployment, signature, in.FunctionName); err != nil {
			return err
		}
		if err := p.apply(ctx, tx, id, &v.Config, asked); err != nil {
			return err
		}
		if err := p.checkUnpacked(v); err != nil {
			return err
		}
		frozen, ok := v, true
		size := v.Code.CodeSize
		if published {
			if frozen, ok = v.WithArchives(archives); !ok {
				return errOtherDirectories
			}
			size += frozen.Code.CodeSize
		}
		if err := p.admit(ctx, tx, id.Scope, size); err != nil {
			return err
		}
		err = tx.InsertFunction(ctx, lamina.Function{ID: id, Incarnation: v.Incarnation, Created: v.LastModified}, v)
		if errors.Is(err, lamina.ErrExists) {
			return wire.ResourceConflict.Errorf("Function already exist: %s", id.Name) // sic
		}
		if err != nil {
			return err
		}
		if published {
			first := frozen.Freeze(1, nil, newID(), v.LastModified)
			first.Status = pending()
			if err := tx.InsertFunctionVersion(ctx, first); err != nil {
				return err
			}
		}
		if len(in.Tags) > 0 {
			if err := tx.SetTags(ctx, id.ARN(), in.Tags); err != nil {
				return err
			}
		}
		if c := asked.deployment.config; c != nil {
			if err := tx.SetFunctionCodeSigningConfig(ctx, id, c.ID); err != nil {
				return err
			}
		}
		latest = v
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("create function %s: %w", id.Name, err)
	}
	p.logWarned(ctx, id.Name, asked.deployment)
	p.prepareSoon()
	out := configuration(latest, id.ARN())
	if published {
		out.Version = ptr("1") // but the ARN stays unqualified (docs/quirks.md#create-publish)
	}
	return out, nil
}

// defaults is the configuration of a function whose request says nothing.
func defaults(id lamina.FunctionID) lamina.Config {
	return lamina.Config{
		PackageType: lamina.PackageZip, Timeout: 3, MemorySize: 128, EphemeralStorage: 512,
		Architectures: []string{"x86_64"}, TracingMode: "PassThrough", SnapStart: "None",
		Logging: lamina.Logging{Format: "Text", Group: "/aws/lambda/" + id.Name},
	}
}

// checkCreate refuses what only CreateFunction can ask for.
func (p *Plane) checkCreate(in *wire.CreateFunctionRequest) error {
	image := value(in.PackageType) == lamina.PackageImage
	if !image && (in.Runtime == nil || in.Handler == nil) {
		return wire.InvalidParameterValue.Errorf("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if in.TenancyConfig != nil {
		return wire.InvalidParameterValue.Errorf("Lamina does not offer tenant isolation: remove TenancyConfig from the request.")
	}
	if image && value(in.CodeSigningConfigArn) != "" {
		return errImageSigning
	}
	if len(in.Tags) > p.limits.TagsPerResource {
		return errTooManyTags
	}
	if in.PublishTo != nil {
		return errNoPublishTo
	}
	if image {
		return checkImage(in)
	}
	return checkSource(in.Code.ZipFile, in.Code.S3Bucket, in.Code.ImageUri)
}

// checkSource refuses requests that bring no zip, or more than one thing.
func checkSource(zip wire.Upload, bucket, image *string) error {
	if zip != nil && (bucket != nil || image != nil) {
		return wire.InvalidParameterValue.Errorf("Please do not provide other FunctionCode parameters when providing a ZipFile.")
	}
	if zip != nil || bucket != nil {
		return nil
	}
	return wire.InvalidParameterValue.Errorf("Please provide a source for function code.")
}

// found reads the version that a request names, or answers that there is none.
func (p *Plane) found(ctx context.Context, name string, qualifier *string) (reference, lamina.Version, error) {
	ref, err := resolve(ctx, name, qualifier)
	if err != nil {
		return reference{}, lamina.Version{}, err
	}
	var v lamina.Version
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		v, err = version(ctx, tx, ref)
		return err
	})
	if missing(err) {
		return reference{}, lamina.Version{}, errNoFunction(ref.arn())
	}
	if err != nil {
		return reference{}, lamina.Version{}, fmt.Errorf("get function %s: %w", ref.arn(), err)
	}
	return ref, v, nil
}

// GetFunction describes a version and links to its archive.
func (p *Plane) GetFunction(ctx context.Context, in *wire.GetFunctionRequest) (*wire.GetFunctionResponse, error) {
	ref, v, err := p.found(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	out := &wire.GetFunctionResponse{
		Configuration: configuration(v, ref.arn()),
		Code:          p.codeLocation(ctx, v.Code),
	}
	err = p.store.View(ctx, func(tx *store.Tx) error {
		f, err := tx.Function(ctx, ref.FunctionID)
		if err != nil {
			return err
		}
		if f.ReservedConcurrency != nil {
			out.Concurrency = &wire.Concurrency{ReservedConcurrentExecutions: f.ReservedConcurrency}
		}
		tags, err := tx.Tags(ctx, ref.ARN())
		if err != nil {
			return err
		}
		if len(tags) > 0 {
			out.Tags = tags
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("get function %s: %w", ref.arn(), notFound(err, "Function not found: %s", ref.arn()))
	}
	return out, nil
}

// GetFunctionConfiguration describes a version.
func (p *Plane) GetFunctionConfiguration(ctx context.Context, in *wire.GetFunctionConfigurationRequest) (*wire.FunctionConfiguration, error) {
	ref, v, err := p.found(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	return configuration(v, ref.arn()), nil
}

// errStale is AWS's answer to a RevisionId that is not the current one; api
// names the call that tells it.
func errStale(api string) error {
	return wire.PreconditionFailed.Errorf("The Revision Id provided does not match the latest Revision Id. Call the %s API to retrieve the latest Revision Id", api)
}

// errBusy is AWS's answer to a change while another one is under way.
func errBusy(v lamina.Version) error {
	const prefix = "The operation cannot be performed at this time. "
	if v.Status.State == lamina.StatePending {
		return wire.ResourceConflict.Errorf(prefix + "The function is currently in the following state: Pending")
	}
	return wire.ResourceConflict.Errorf(prefix+"An update is in progress for resource: %s", v.Function.ARN())
}

// settledVersion reports whether nothing is under way for the version.
func settledVersion(v lamina.Version) bool {
	return v.Status.State != lamina.StatePending && v.Status.LastUpdate != lamina.UpdateInProgress
}

// changeable refuses a change by a caller who saw another revision, and one while
// another is under way.
func changeable(v lamina.Version, revision *string) error {
	if revision != nil && *revision != v.RevisionID {
		return errStale("GetFunction/GetAlias")
	}
	if !settledVersion(v) {
		return errBusy(v)
	}
	return nil
}

// change locks a function, checks that $LATEST may be changed by a caller who
// saw revision, and has edit change it. The edited version is stored as one
// whose update is in progress, and published when publish says so, with the
// archives of the directories that it shows.
func (p *Plane) change(ctx context.Context, name string, revision *string, publish bool, archives map[string]lamina.Code, edit func(*store.Tx, *lamina.Version) error) (latest, published lamina.Version, err error) {
	ref, err := resolve(ctx, name, nil)
	if err != nil {
		return lamina.Version{}, lamina.Version{}, err
	}
	var before lamina.Version
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		f, err := tx.LockFunction(ctx, ref.FunctionID)
		if err != nil {
			return notFound(err, "Function not found: %s", ref.ARN())
		}
		before, err = tx.FunctionVersion(ctx, ref.FunctionID, 0)
		if err != nil {
			return err
		}
		if err := changeable(before, revision); err != nil {
			return err
		}
		latest = before
		if err := edit(tx, &latest); err != nil {
			return err
		}
		if err := p.checkUnpacked(latest); err != nil {
			return err
		}
		latest.RevisionID, latest.LastModified, latest.Status = newID(), p.now(), updating()
		if publish {
			frozen, ok := latest.WithArchives(archives)
			if !ok {
				return errOtherDirectories
			}
			published = frozen.Freeze(f.LastNumber+1, nil, newID(), latest.LastModified)
			published.Status = pending()
			if err := tx.InsertFunctionVersion(ctx, published); err != nil {
				return err
			}
		}
		return tx.PutFunctionVersion(ctx, latest)
	})
	if err != nil {
		return lamina.Version{}, lamina.Version{}, fmt.Errorf("update function %s: %w", ref.Name, err)
	}
	p.invoker.Retire(before)
	p.prepareSoon()
	return latest, published, nil
}

// UpdateFunctionCode replaces the archive or image of $LATEST.
func (p *Plane) UpdateFunctionCode(ctx context.Context, in *wire.UpdateFunctionCodeRequest) (*wire.FunctionConfiguration, error) {
	_, before, err := p.found(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if in.PublishTo != nil {
		return nil, errNoPublishTo
	}
	if err := checkNewCode(before.Config.PackageType, in); err != nil {
		return nil, err
	}
	from, release, err := p.fetch(ctx, in.ZipFile, in.S3Bucket, in.S3Key, in.S3ObjectVersion)
	if err != nil {
		return nil, err
	}
	defer release()
	if value(in.DryRun) {
		return p.dryUpdate(ctx, in, from)
	}
	signature, err := p.signatureOf(ctx, from.archive)
	if err != nil {
		return nil, err
	}
	code, err := p.newCode(ctx, from, in.ImageUri)
	if err != nil {
		return nil, err
	}
	var archives map[string]lamina.Code
	if value(in.Publish) {
		shown := before
		shown.Code = code
		if archives, err = p.archives(ctx, shown.Directories()); err != nil {
			return nil, err
		}
	}
	var d *deployment
	latest, published, err := p.change(ctx, in.FunctionName, in.RevisionId, value(in.Publish), archives, func(tx *store.Tx, v *lamina.Version) error {
		// Again, in case that the name has become another function's.
		if err := checkNewCode(v.Config.PackageType, in); err != nil {
			return err
		}
		added := code.CodeSize - v.Code.CodeSize
		if value(in.Publish) {
			added += max(code.CodeSize, archives[code.Directory].CodeSize)
		}
		if err := p.admit(ctx, tx, v.Function.Scope, added); err != nil {
			return err
		}
		var err error
		if d, err = deploymentTo(ctx, tx, v.Function); err != nil {
			return err
		}
		if err := p.allow(ctx, tx, d, signature, in.FunctionName); err != nil {
			return err
		}
		v.Code = signed(code, signature)
		if in.Architectures != nil {
			v.Config.Architectures = in.Architectures
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.logWarned(ctx, latest.Function.Name, d)
	if published.Number > 0 {
		return configuration(published, published.ARN()), nil
	}
	return configuration(latest, latest.Function.ARN()), nil
}

// dryUpdate validates an update and changes nothing.
func (p *Plane) dryUpdate(ctx context.Context, in *wire.UpdateFunctionCodeRequest, from source) (*wire.FunctionConfiguration, error) {
	ref, v, err := p.found(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if in.RevisionId != nil && *in.RevisionId != v.RevisionID {
		return nil, errStale("GetFunction/GetAlias")
	}
	if in.ImageUri != nil {
		v.Code, err = imageCode(*in.ImageUri)
	} else {
		v.Code, err = p.inspectFor(ctx, v.Function, in.FunctionName, from)
	}
	if err != nil {
		return nil, err
	}
	if in.Architectures != nil {
		v.Config.Architectures = in.Architectures
	}
	return configuration(v, ref.ARN()), nil
}

// UpdateFunctionConfiguration changes what is given of $LATEST's configuration.
func (p *Plane) UpdateFunctionConfiguration(ctx context.Context, in *wire.UpdateFunctionConfigurationRequest) (*wire.FunctionConfiguration, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	asked := settings{
		Runtime: in.Runtime, Role: in.Role, Handler: in.Handler, Description: in.Description, KMSKeyARN: in.KMSKeyArn,
		Timeout: in.Timeout, MemorySize: in.MemorySize, VPC: in.VpcConfig, DeadLetter: in.DeadLetterConfig,
		Environment: in.Environment, Tracing: in.TracingConfig, Layers: in.Layers, FileSystems: in.FileSystemConfigs,
		Image: in.ImageConfig, EphemeralStorage: in.EphemeralStorage, SnapStart: in.SnapStart, Logging: in.LoggingConfig,
		CapacityProvider: in.CapacityProviderConfig, Durable: in.DurableConfig,
	}
	if err := p.check(ctx, ref.FunctionID, asked); err != nil {
		return nil, err
	}
	if asked.foundVPC, err = p.findNewVPC(ctx, ref, in.RevisionId, in.VpcConfig); err != nil {
		return nil, fmt.Errorf("update function %s: %w", ref.Name, err)
	}
	var deadLetter *string // as it was
	latest, _, err := p.change(ctx, in.FunctionName, in.RevisionId, false, nil, func(tx *store.Tx, v *lamina.Version) error {
		if err := checkPackage(v.Config.PackageType, asked); err != nil {
			return err
		}
		deadLetter = v.Config.DeadLetterTarget
		var err error
		if asked.deployment, err = deploymentTo(ctx, tx, v.Function); err != nil {
			return err
		}
		return p.apply(ctx, tx, v.Function, &v.Config, asked)
	})
	if err != nil {
		return nil, err
	}
	p.logWarned(ctx, ref.Name, asked.deployment)
	if in.DeadLetterConfig != nil && in.DeadLetterConfig.TargetArn == nil {
		latest.Config.DeadLetterTarget = deadLetter // recorded: the removal shows only later
	}
	return configuration(latest, ref.ARN()), nil
}

// DeleteFunction removes a function, or one version of it.
func (p *Plane) DeleteFunction(ctx context.Context, in *wire.DeleteFunctionRequest) (*wire.DeleteFunctionResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	switch _, isNumber := lamina.ParseNumber(ref.Qualifier); {
	case ref.Qualifier == "":
		err = p.deleteFunction(ctx, ref.FunctionID)
	case ref.Qualifier == lamina.Latest:
		return nil, wire.InvalidParameterValue.Errorf("$LATEST version cannot be deleted without deleting the function.")
	case isNumber:
		err = p.deleteVersion(ctx, ref)
	case ref.Qualifier[0] == '$':
		return nil, errNoFunction(ref.ARN())
	default:
		return nil, wire.InvalidParameterValue.Errorf("Deletion of aliases is not currently supported.")
	}
	if err != nil {
		return nil, fmt.Errorf("delete function %s: %w", ref.arn(), err)
	}
	return &wire.DeleteFunctionResponse{}, nil
}

func (p *Plane) deleteFunction(ctx context.Context, id lamina.FunctionID) error {
	var gone []lamina.Version
	err := p.store.Update(ctx, func(tx *store.Tx) error {
		gone = nil
		if _, err := tx.LockFunction(ctx, id); err != nil {
			return notFound(err, "Function not found: %s", id.ARN())
		}
		for after := int64(-1); ; {
			versions, err := tx.FunctionVersions(ctx, id, after, p.limits.PageDefault)
			if err != nil {
				return err
			}
			if len(versions) == 0 {
				return tx.DeleteFunction(ctx, id)
			}
			gone = append(gone, versions...)
			after = versions[len(versions)-1].Number
		}
	})
	if err != nil {
		return err
	}
	for _, v := range gone {
		p.invoker.Retire(v)
	}
	p.provisionSoon()
	return nil
}

func (p *Plane) deleteVersion(ctx context.Context, ref reference) error {
	number, _ := lamina.ParseNumber(ref.Qualifier)
	var gone lamina.Version
	err := p.store.Update(ctx, func(tx *store.Tx) error {
		gone = lamina.Version{}
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
			return notFound(err, "Function not found: %s", ref.ARN())
		}
		aliases, err := tx.AliasesOf(ctx, ref.FunctionID, number)
		if err != nil {
			return err
		}
		if len(aliases) > 0 {
			return wire.ResourceConflict.Errorf("Version %d of function %s cannot be deleted because the following aliases reference it: %v", number, ref.Name, aliases)
		}
		v, err := tx.FunctionVersion(ctx, ref.FunctionID, number)
		if missing(err) {
			return nil // deleting what is not there succeeds, again and again
		}
		if err != nil {
			return err
		}
		gone = v
		_, err = tx.DeleteFunctionVersion(ctx, ref.FunctionID, number)
		return err
	})
	if err == nil && gone.Number > 0 {
		p.invoker.Retire(gone)
		p.provisionSoon()
	}
	return err
}

// ListFunctions lists $LATEST of each function, or every version.
func (p *Plane) ListFunctions(ctx context.Context, in *wire.ListFunctionsRequest) (*wire.ListFunctionsResponse, error) {
	after, err := place(in.Marker, 2)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxItems, p.limits.PageDefault, p.limits.PageDefault)
	all := in.FunctionVersion != nil
	var versions []lamina.Version
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		if !all {
			versions, err = tx.Functions(ctx, scope(ctx), after[0], limit+1)
			return err
		}
		number, convErr := strconv.ParseInt(after[1], 10, 64)
		if convErr != nil {
			number = -1 // no marker: from the first version of the first function
		}
		versions, err = tx.AllFunctionVersions(ctx, scope(ctx), after[0], number, limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list functions: %w", err)
	}
	versions, more := page(versions, limit)
	out := &wire.ListFunctionsResponse{Functions: make([]wire.FunctionConfiguration, 0, len(versions))}
	for _, v := range versions {
		arn := v.Function.ARN()
		if all {
			arn = v.ARN()
		}
		out.Functions = append(out.Functions, *listedConfiguration(v, arn))
	}
	if more {
		last := versions[len(versions)-1]
		out.NextMarker = marker(last.Function.Name, strconv.FormatInt(last.Number, 10))
	}
	return out, nil
}
