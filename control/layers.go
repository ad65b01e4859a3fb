package control

import (
	"context"
	"fmt"
	"strconv"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerLayers(r *wire.Router) {
	wire.Handle(r, "PublishLayerVersion", p.PublishLayerVersion)
	wire.Handle(r, "GetLayerVersion", p.GetLayerVersion)
	wire.Handle(r, "GetLayerVersionByArn", p.GetLayerVersionByArn)
	wire.Handle(r, "DeleteLayerVersion", p.DeleteLayerVersion)
	wire.Handle(r, "ListLayers", p.ListLayers)
	wire.Handle(r, "ListLayerVersions", p.ListLayerVersions)
}

// errNoLayer is AWS's answer where a layer version is missing; it names nothing.
var errNoLayer = wire.ResourceNotFound.Errorf("The resource you requested does not exist.")

// checkLayerNumber refuses numbers that no version has. It is no validation
// error at AWS (recorded).
func checkLayerNumber(n int64) error {
	if n < 1 {
		return wire.InvalidParameterValue.Errorf("Layer Version Cannot be less than 1")
	}
	return nil
}

// ownLayer reads LayerName and insists that the layer belongs to the caller, or
// that [Plane.Authorize] let the caller reach it.
func ownLayer(ctx context.Context, action, name string) (lamina.LayerID, error) {
	id, err := layerReference(ctx, name)
	if err != nil {
		return lamina.LayerID{}, err
	}
	in := scope(ctx)
	if id.Account != in.Account && !mayReach(ctx, id.ARN()) {
		return lamina.LayerID{}, wire.AccessDenied.Errorf("User: %s is not authorized to perform: lambda:%s on resource: %s because no resource-based policy allows the lambda:%s action",
			caller(ctx).ARN, action, id.ARN(), action)
	}
	if id.Region != in.Region {
		return lamina.LayerID{}, errNoLayer
	}
	return id, nil
}

// PublishLayerVersion makes a new version of a layer from a zip. Every call
// makes one, also for the same bytes, and numbers are never reused.
func (p *Plane) PublishLayerVersion(ctx context.Context, in *wire.PublishLayerVersionRequest) (*wire.PublishLayerVersionResponse, error) {
	id, err := ownLayer(ctx, "PublishLayerVersion", in.LayerName)
	if err != nil {
		return nil, err
	}
	if in.Content.ZipFile == nil && in.Content.S3Bucket == nil {
		return nil, wire.InvalidParameterValue.Errorf("Please provide a source for the layer version content.")
	}
	content, release, err := p.fetch(ctx, in.Content.ZipFile, in.Content.S3Bucket, in.Content.S3Key, in.Content.S3ObjectVersion)
	if err != nil {
		return nil, err
	}
	defer release()
	signature, err := p.signatureOf(ctx, content.archive)
	if err != nil {
		return nil, err
	}
	code, err := p.newCode(ctx, content, nil)
	if err != nil {
		return nil, err
	}
	v := lamina.LayerVersion{
		Layer: id, Digest: code.Digest, Directory: code.Directory, CodeSize: code.CodeSize, UnpackedSize: code.UnpackedSize,
		Description: value(in.Description), LicenseInfo: in.LicenseInfo,
		Runtimes: in.CompatibleRuntimes, Architectures: in.CompatibleArchitectures,
		Created: p.now(), Signature: signature,
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		var err error
		if v.Number, err = tx.NextLayerNumber(ctx, id); err != nil {
			return err
		}
		if err := p.admit(ctx, tx, id.Scope, v.CodeSize); err != nil {
			return err
		}
		return tx.InsertLayerVersion(ctx, v)
	})
	if err != nil {
		return nil, fmt.Errorf("publish layer %s: %w", id.Name, err)
	}
	p.prepareLayerSoon(v)
	return p.publishedLayer(ctx, v), nil
}

// GetLayerVersion describes one version and links to its archive.
func (p *Plane) GetLayerVersion(ctx context.Context, in *wire.GetLayerVersionRequest) (*wire.GetLayerVersionResponse, error) {
	if err := checkLayerNumber(in.VersionNumber); err != nil {
		return nil, err
	}
	id, err := ownLayer(ctx, "GetLayerVersion", in.LayerName)
	if err != nil {
		return nil, err
	}
	return p.layerVersion(ctx, id, in.VersionNumber)
}

// GetLayerVersionByArn is GetLayerVersion for a layer version ARN.
func (p *Plane) GetLayerVersionByArn(ctx context.Context, in *wire.GetLayerVersionByArnRequest) (*wire.GetLayerVersionResponse, error) {
	ref, ok := lamina.ParseLayerReference(in.Arn)
	if !ok {
		return nil, errNoLayer
	}
	if err := checkLayerNumber(ref.Version); err != nil {
		return nil, err
	}
	id, err := ownLayer(ctx, "GetLayerVersion", ref.ID(scope(ctx)).ARN())
	if err != nil {
		return nil, err
	}
	return p.layerVersion(ctx, id, ref.Version)
}

func (p *Plane) layerVersion(ctx context.Context, id lamina.LayerID, number int64) (*wire.GetLayerVersionResponse, error) {
	var v lamina.LayerVersion
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		v, err = tx.LayerVersion(ctx, id, number)
		return err
	})
	if missing(err) {
		return nil, errNoLayer
	}
	if err != nil {
		return nil, fmt.Errorf("get layer version %s: %w", id.VersionARN(number), err)
	}
	return (*wire.GetLayerVersionResponse)(p.publishedLayer(ctx, v)), nil
}

// DeleteLayerVersion removes a version from the series. Functions that have it
// keep it; a missing one is no error.
func (p *Plane) DeleteLayerVersion(ctx context.Context, in *wire.DeleteLayerVersionRequest) (*wire.NoContent, error) {
	if err := checkLayerNumber(in.VersionNumber); err != nil {
		return nil, err
	}
	id, err := ownLayer(ctx, "DeleteLayerVersion", in.LayerName)
	if err != nil {
		return nil, err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.DeleteLayerVersion(ctx, id, in.VersionNumber)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("delete layer version %s: %w", id.VersionARN(in.VersionNumber), err)
	}
	return nil, nil
}

// ListLayers lists, by name, each layer's newest version that fits the filters.
func (p *Plane) ListLayers(ctx context.Context, in *wire.ListLayersRequest) (*wire.ListLayersResponse, error) {
	after, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	limit := pageSize(in.MaxItems, p.limits.LayerPageDefault, p.limits.LayerPageDefault)
	var found []lamina.LayerVersion
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.Layers(ctx, scope(ctx), layerFilter(in.CompatibleRuntime, in.CompatibleArchitecture), after[0], limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	found, more := page(found, limit)
	out := &wire.ListLayersResponse{Layers: make([]wire.LayersListItem, 0, len(found))}
	for _, v := range found {
		item := layerItem(v)
		out.Layers = append(out.Layers, wire.LayersListItem{
			LayerName: &v.Layer.Name, LayerArn: ptr(v.Layer.ARN()), LatestMatchingVersion: &item,
		})
	}
	if more {
		out.NextMarker = marker(found[len(found)-1].Layer.Name)
	}
	return out, nil
}

// ListLayerVersions lists the versions of a layer that fit the filters, newest
// first. An unknown layer has none.
func (p *Plane) ListLayerVersions(ctx context.Context, in *wire.ListLayerVersionsRequest) (*wire.ListLayerVersionsResponse, error) {
	id, err := ownLayer(ctx, "ListLayerVersions", in.LayerName)
	if err != nil {
		return nil, err
	}
	before, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	number := int64(0)
	if before[0] != "" {
		if number, err = strconv.ParseInt(before[0], 10, 64); err != nil {
			return nil, wire.InvalidParameterValue.Errorf("Invalid marker: %s", *in.Marker)
		}
	}
	limit := pageSize(in.MaxItems, p.limits.LayerPageDefault, p.limits.LayerPageDefault)
	var found []lamina.LayerVersion
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.LayerVersions(ctx, id, layerFilter(in.CompatibleRuntime, in.CompatibleArchitecture), number, limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list versions of layer %s: %w", id.Name, err)
	}
	found, more := page(found, limit)
	out := &wire.ListLayerVersionsResponse{LayerVersions: make([]wire.LayerVersionsListItem, 0, len(found))}
	for _, v := range found {
		out.LayerVersions = append(out.LayerVersions, layerItem(v))
	}
	if more {
		out.NextMarker = marker(strconv.FormatInt(found[len(found)-1].Number, 10))
	}
	return out, nil
}

func layerFilter(runtime, architecture *string) store.LayerFilter {
	return store.LayerFilter{Runtime: value(runtime), Architecture: value(architecture)}
}

// pageSize is how many entries a page has: what the client asked for, at most
// most, or the default.
func pageSize(asked *int64, byDefault, most int) int {
	if asked == nil {
		return byDefault
	}
	return int(min(*asked, int64(most)))
}

// attach reads the layer versions that a function asks for, in AWS's order of
// checks: count, duplicates, region, existence. It locks them, so that their
// bytes stay while the function is written.
func (p *Plane) attach(ctx context.Context, tx *store.Tx, in lamina.Scope, arns []string, d *deployment) ([]lamina.AttachedLayer, error) {
	var attached []lamina.AttachedLayer
	for _, arn := range arns {
		ref, ok := lamina.ParseLayerReference(arn)
		if !ok {
			return nil, wire.InvalidParameterValue.Errorf("Layer version %s does not exist.", arn)
		}
		id := ref.ID(in)
		v, err := tx.LockLayerVersion(ctx, id, ref.Version)
		if missing(err) {
			return nil, wire.InvalidParameterValue.Errorf("Layer version %s does not exist.", arn)
		}
		if err != nil {
			return nil, fmt.Errorf("attach %s: %w", arn, err)
		}
		if err := p.allow(ctx, tx, d, v.Signature, v.ARN()); err != nil {
			return nil, err
		}
		attached = append(attached, lamina.AttachedLayer{
			ARN: v.ARN(), Digest: v.Digest, Directory: v.Directory, CodeSize: v.CodeSize, UnpackedSize: v.UnpackedSize,
			SigningProfileVersionARN: v.Signature.ProfileVersionARN, SigningJobARN: v.Signature.JobARN,
		})
	}
	return attached, nil
}

// checkLayers refuses lists that no function can have, and layers that the caller
// may not use, before anything is looked up.
func (p *Plane) checkLayers(ctx context.Context, in lamina.Scope, arns []string) error {
	if len(arns) > p.limits.LayersPerFunction {
		return wire.InvalidParameterValue.Errorf("Cannot reference more than %d layers.", p.limits.LayersPerFunction)
	}
	seen := map[lamina.LayerID]string{}
	for _, arn := range arns {
		ref, ok := lamina.ParseLayerReference(arn)
		if !ok {
			continue // answered as one that does not exist
		}
		id := ref.ID(in)
		if first, twice := seen[id]; twice {
			return wire.InvalidParameterValue.Errorf("Two different versions of the same layer are not allowed to be referenced in the same function. %s and %s are versions of the same layer.", first, arn)
		}
		seen[id] = arn
	}
	for _, arn := range arns {
		if ref, ok := lamina.ParseLayerReference(arn); ok && ref.Region != "" && ref.Region != in.Region {
			return wire.InvalidParameterValue.Errorf("Layers are not in the same region as the function. Layers are expected to be in region %s.", in.Region)
		}
	}
	c := caller(ctx)
	for _, arn := range arns {
		ref, ok := lamina.ParseLayerReference(arn)
		if id := ref.ID(in); ok && !(c.IsRoot() && id.Account == c.Account) {
			if err := p.permit(ctx, needLayer(id, ref.Version)); err != nil {
				return err
			}
		}
	}
	return nil
}
