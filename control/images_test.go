package control_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/wire"
)

const repository = "000000000000.dkr.ecr.eu-west-1.amazonaws.com/app"

func image(uri string) func(*wire.CreateFunctionRequest) {
	return func(in *wire.CreateFunctionRequest) {
		in.Runtime, in.Handler, in.PackageType, in.Code = nil, nil, ptr("Image"), &wire.FunctionCode{ImageUri: &uri}
	}
}

func TestImageFunction(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	digest := strings.Repeat("0a", 32)
	made := create(t, p, ctx, "img", image(repository+"@sha256:"+digest), func(in *wire.CreateFunctionRequest) {
		in.ImageConfig = &wire.ImageConfig{Command: []string{"app.handler"}}
	})
	if *made.CodeSha256 != digest || *made.PackageType != "Image" || made.Handler != nil || made.Runtime != nil || made.RuntimeVersionConfig != nil {
		t.Errorf("CreateFunction = %s, %s, %v, %v, %v; want the digest, Image, and no Handler, Runtime, RuntimeVersionConfig",
			*made.CodeSha256, *made.PackageType, made.Handler, made.Runtime, made.RuntimeVersionConfig)
	}
	if got := settled(t, p, ctx, "img"); *got.State != "Active" || got.ImageConfigResponse.ImageConfig.Command[0] != "app.handler" {
		t.Errorf("settled = %s, %v; want Active with its ImageConfig", *got.State, got.ImageConfigResponse)
	}
	updated, err := p.UpdateFunctionCode(ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "img", ImageUri: ptr(repository + ":v2")})
	if err != nil {
		t.Fatal(err)
	}
	settled(t, p, ctx, "img")
	fn, err := p.GetFunction(ctx, &wire.GetFunctionRequest{FunctionName: "img"})
	if err != nil {
		t.Fatal(err)
	}
	want := &wire.FunctionCodeLocation{
		RepositoryType: ptr("ECR"), ImageUri: ptr(repository + ":v2"), ResolvedImageUri: ptr(repository + "@sha256:" + *updated.CodeSha256),
	}
	if diff := cmp.Diff(want, fn.Code); diff != "" {
		t.Errorf("Code (-want +got):\n%s", diff)
	}
	published, err := p.PublishVersion(ctx, &wire.PublishVersionRequest{FunctionName: "img", CodeSha256: updated.CodeSha256})
	if err != nil || *published.Version != "1" {
		t.Errorf("PublishVersion with the image's CodeSha256 = %v, %v; want version 1", published, err)
	}
	removed, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "img", ImageConfig: &wire.ImageConfig{}})
	if err != nil || removed.ImageConfigResponse != nil {
		t.Errorf("UpdateFunctionConfiguration with an empty ImageConfig = %v, %v; want it removed", removed, err)
	}
}

func TestImageRefusals(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "img", image(repository+":v1"))
	create(t, p, ctx, "zip")
	settled(t, p, ctx, "img")
	settled(t, p, ctx, "zip")
	type request = wire.CreateFunctionRequest
	const brings = "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
	for name, c := range map[string]struct {
		edit func(*request)
		want string
	}{
		"a handler":   {func(in *request) { image(repository + ":v1")(in); in.Handler = ptr("h") }, brings},
		"a runtime":   {func(in *request) { image(repository + ":v1")(in); in.Runtime = ptr("python3.12") }, brings},
		"a layer":     {func(in *request) { image(repository + ":v1")(in); in.Layers = []string{"l"} }, brings},
		"no tag":      {image(repository), "Source image " + repository + " is not valid. Provide a valid source image."},
		"no registry": {image("app:v1"), "Source image app:v1 is not valid. Provide a valid source image."},
		"no image":    {func(in *request) { in.PackageType, in.Runtime, in.Handler = ptr("Image"), nil, nil }, "Please provide ImageUri when creating a function with packageType Image."},
		"SnapStart": {func(in *request) {
			image(repository + ":v1")(in)
			in.SnapStart = &wire.SnapStart{ApplyOn: ptr("PublishedVersions")}
		}, "ContainerImage is not supported for SnapStart enabled functions."},
		"of a zip":     {func(in *request) { in.Code = &wire.FunctionCode{ImageUri: ptr(repository + ":v1")} }, "Please provide a source for function code."},
		"zip and more": {func(in *request) { in.Code.ImageUri = ptr(repository + ":v1") }, "Please do not provide other FunctionCode parameters when providing a ZipFile."},
		"ImageConfig of a zip": {
			func(in *request) { in.ImageConfig = &wire.ImageConfig{Command: []string{"c"}} },
			"Please don't provide ImageConfig when the intended function PackageType is Zip.",
		},
		"zip without handler": {func(in *request) { in.Handler = nil }, "Runtime and Handler are mandatory parameters for functions created with deployment packages."},
	} {
		in := &request{FunctionName: "new", Runtime: ptr("python3.12"), Handler: ptr("a.b"), Role: "arn:aws:iam::000000000000:role/r", Code: &wire.FunctionCode{ZipFile: zipOf(t, name)}}
		c.edit(in)
		_, err := p.CreateFunction(ctx, in)
		wantException(t, name, err, wire.InvalidParameterValue, c.want)
	}
	_, err := p.UpdateFunctionCode(ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "zip", ImageUri: ptr(repository + ":v1")})
	wantException(t, "image for a zip", err, wire.InvalidParameterValue, "Please don't provide ImageUri when updating a function with packageType Zip.")
	_, err = p.UpdateFunctionCode(ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "img", ZipFile: zipOf(t, "x")})
	wantException(t, "zip for an image", err, wire.InvalidParameterValue, "Please provide ImageUri when updating a function with packageType Image.")
	_, err = p.UpdateFunctionCode(ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "absent", ImageUri: ptr(repository + ":v1")})
	wantException(t, "image for no function", err, wire.ResourceNotFound, "Function not found: arn:aws:lambda:eu-west-1:000000000000:function:absent")
	_, err = p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "img", Handler: ptr("a.b")})
	wantException(t, "handler for an image", err, wire.InvalidParameterValue, brings)
	if _, err := p.UpdateFunctionCode(ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "img", ImageUri: ptr(repository + ":v9"), DryRun: ptr(true)}); err != nil {
		t.Errorf("DryRun: %v", err)
	}
	if got, err := p.GetFunction(ctx, &wire.GetFunctionRequest{FunctionName: "img"}); err != nil || *got.Code.ImageUri != repository+":v1" {
		t.Errorf("image after DryRun = %v, %v; want v1", got, err)
	}
}
