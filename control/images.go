package control

import (
	"context"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// Functions of PackageType Image are kept, checked and shown as AWS does. Nothing
// pulls images yet: Invoke says so.

// checkImage refuses a new function of PackageType Image that brings something
// other than an image, or settings that images bring themselves.
func checkImage(in *wire.CreateFunctionRequest) error {
	if in.Handler != nil || in.Runtime != nil || len(in.Layers) > 0 {
		return errImageSettings
	}
	if in.Code.ImageUri == nil || in.Code.ZipFile != nil || in.Code.S3Bucket != nil {
		return wire.InvalidParameterValue.Errorf("Please provide ImageUri when creating a function with packageType Image.")
	}
	return nil
}

// errImageSettings is AWS's answer to what a container image brings itself.
var errImageSettings = wire.InvalidParameterValue.Errorf("Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.")

// newCode makes the bytes of a zip durable, or reads an ImageUri.
func (p *Plane) newCode(ctx context.Context, from source, image *string) (lamina.Code, error) {
	switch {
	case image != nil:
		return imageCode(*image)
	case from.directory != "":
		return lamina.Code{Directory: from.directory}, nil
	}
	return p.keep(ctx, from.archive)
}

// imageCode reads an ImageUri.
func imageCode(uri string) (lamina.Code, error) {
	c, ok := lamina.ImageCode(uri)
	if !ok {
		return lamina.Code{}, wire.InvalidParameterValue.Errorf("Source image %s is not valid. Provide a valid source image.", uri)
	}
	return c, nil
}

// checkPackage refuses settings that functions of the package type don't have.
func checkPackage(packageType string, s settings) error {
	if packageType == lamina.PackageImage {
		if s.Handler != nil || s.Runtime != nil || len(s.Layers) > 0 {
			return errImageSettings
		}
		return nil
	}
	if s.Image != nil && imageOf(*s.Image) != nil {
		return wire.InvalidParameterValue.Errorf("Please don't provide ImageConfig when the intended function PackageType is Zip.")
	}
	return nil
}

// checkNewCode refuses code that does not go with the function's package type,
// and none at all.
func checkNewCode(packageType string, in *wire.UpdateFunctionCodeRequest) error {
	switch {
	case packageType != lamina.PackageImage && in.ImageUri != nil:
		return wire.InvalidParameterValue.Errorf("Please don't provide ImageUri when updating a function with packageType Zip.")
	case packageType != lamina.PackageImage:
		return checkSource(in.ZipFile, in.S3Bucket, nil)
	case in.ImageUri == nil || in.ZipFile != nil || in.S3Bucket != nil:
		return wire.InvalidParameterValue.Errorf("Please provide ImageUri when updating a function with packageType Image.")
	}
	return nil
}

// codeLocation says where the code of a version is.
func (p *Plane) codeLocation(ctx context.Context, c lamina.Code) *wire.FunctionCodeLocation {
	if c.ImageURI != "" {
		return &wire.FunctionCodeLocation{RepositoryType: ptr("ECR"), ImageUri: &c.ImageURI, ResolvedImageUri: ptr(c.ResolvedImageURI())}
	}
	return &wire.FunctionCodeLocation{RepositoryType: ptr("S3"), Location: ptr(p.location(ctx, c.Digest, c.Directory))}
}
