package sdk_test

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

var one, nine = aws.Int64(1), aws.Int64(9)

var layerCalls = map[string]func(c *client){
	"PublishLayerVersion": func(c *client) {
		in := &lambda.PublishLayerVersionInput{LayerName: &c.name, Content: &types.LayerVersionContentInput{ZipFile: c.zip}, LicenseInfo: aws.String("MIT")}
		for n := range int64(2) {
			out := must[*lambda.PublishLayerVersionOutput](c)(c.PublishLayerVersion(c.ctx, in))
			is(c, "Version", out.Version, n+1)
			is(c, "LicenseInfo", *out.LicenseInfo, "MIT")
		}
		in.Content.ZipFile = []byte("no zip")
		_, err := c.PublishLayerVersion(c.ctx, in)
		c.invalid(err, "Could not unzip uploaded file. Please check your file, then try to upload again.")
	},
	"GetLayerVersion": func(c *client) {
		out := must[*lambda.GetLayerVersionOutput](c)(c.GetLayerVersion(c.ctx, &lambda.GetLayerVersionInput{LayerName: c.layer(), VersionNumber: one}))
		is(c, "LayerVersionArn", *out.LayerVersionArn, c.arn("layer:"+c.name+":1"))
		_, err := c.GetLayerVersion(c.ctx, &lambda.GetLayerVersionInput{LayerName: &c.name, VersionNumber: nine})
		c.gone(err, noSuchResource)
		_, err = c.GetLayerVersion(c.ctx, &lambda.GetLayerVersionInput{LayerName: &c.name, VersionNumber: aws.Int64(0)})
		c.invalid(err, "Layer Version Cannot be less than 1")
	},
	"GetLayerVersionByArn": func(c *client) {
		c.layer()
		out := must[*lambda.GetLayerVersionByArnOutput](c)(c.GetLayerVersionByArn(c.ctx, &lambda.GetLayerVersionByArnInput{Arn: aws.String(c.arn("layer:" + c.name + ":1"))}))
		is(c, "Version", out.Version, 1)
		_, err := c.GetLayerVersionByArn(c.ctx, &lambda.GetLayerVersionByArnInput{Arn: aws.String(c.arn("layer:" + c.name + ":9"))})
		c.gone(err, noSuchResource)
	},
	"ListLayers": func(c *client) {
		c.layer()
		found := 0
		pages := lambda.NewListLayersPaginator(c.Client, &lambda.ListLayersInput{CompatibleRuntime: types.RuntimePython312, MaxItems: aws.Int32(2)})
		for pages.HasMorePages() {
			for _, l := range must[*lambda.ListLayersOutput](c)(pages.NextPage(c.ctx)).Layers {
				if *l.LayerName == c.name {
					found++
				}
			}
		}
		is(c, "entries of the layer", found, 1)
		_, err := c.ListLayers(c.ctx, &lambda.ListLayersInput{MaxItems: aws.Int32(51)})
		c.refused(err, "ValidationException", "1 validation error detected: Value '51' at 'maxItems' failed to satisfy constraint: Member must have value less than or equal to 50")
	},
	"ListLayerVersions": func(c *client) {
		out := must[*lambda.ListLayerVersionsOutput](c)(c.ListLayerVersions(c.ctx, &lambda.ListLayerVersionsInput{LayerName: c.layer()}))
		is(c, "versions", len(out.LayerVersions), 1)
		out = must[*lambda.ListLayerVersionsOutput](c)(c.ListLayerVersions(c.ctx, &lambda.ListLayerVersionsInput{LayerName: absent}))
		is(c, "versions of an unknown layer", len(out.LayerVersions), 0)
		_, err := c.ListLayerVersions(c.ctx, &lambda.ListLayerVersionsInput{LayerName: &c.name, CompatibleArchitecture: "sparc"})
		c.refused(err, "ValidationException", "1 validation error detected: Value 'sparc' at 'compatibleArchitecture' failed to satisfy constraint: Member must satisfy enum value set: [x86_64, arm64]")
	},
	"DeleteLayerVersion": func(c *client) {
		in := &lambda.DeleteLayerVersionInput{LayerName: c.layer(), VersionNumber: one}
		must[*lambda.DeleteLayerVersionOutput](c)(c.DeleteLayerVersion(c.ctx, in))
		must[*lambda.DeleteLayerVersionOutput](c)(c.DeleteLayerVersion(c.ctx, in)) // again
		in.VersionNumber = aws.Int64(0)
		_, err := c.DeleteLayerVersion(c.ctx, in)
		c.invalid(err, "Layer Version Cannot be less than 1")
	},
	"AddLayerVersionPermission": func(c *client) {
		in := c.layerPermission()
		_, err := c.AddLayerVersionPermission(c.ctx, in)
		c.conflict(err, "")
		in.VersionNumber = nine
		_, err = c.AddLayerVersionPermission(c.ctx, in)
		c.gone(err, "")
	},
	"GetLayerVersionPolicy": func(c *client) {
		name := c.layer()
		_, err := c.GetLayerVersionPolicy(c.ctx, &lambda.GetLayerVersionPolicyInput{LayerName: name, VersionNumber: one})
		c.gone(err, "")
		c.layerPermission()
		out := must[*lambda.GetLayerVersionPolicyOutput](c)(c.GetLayerVersionPolicy(c.ctx, &lambda.GetLayerVersionPolicyInput{LayerName: name, VersionNumber: aws.Int64(2)}))
		is(c, "policy is given", *out.Policy != "", true)
	},
	"RemoveLayerVersionPermission": func(c *client) {
		c.layerPermission()
		in := &lambda.RemoveLayerVersionPermissionInput{LayerName: &c.name, VersionNumber: one, StatementId: aws.String("s")}
		must[*lambda.RemoveLayerVersionPermissionOutput](c)(c.RemoveLayerVersionPermission(c.ctx, in))
		_, err := c.RemoveLayerVersionPermission(c.ctx, in)
		c.gone(err, "")
	},
}

// layerPermission publishes a version of the layer and lets everyone use it.
func (c *client) layerPermission() *lambda.AddLayerVersionPermissionInput {
	c.t.Helper()
	c.layer()
	versions := must[*lambda.ListLayerVersionsOutput](c)(c.ListLayerVersions(c.ctx, &lambda.ListLayerVersionsInput{LayerName: &c.name}))
	in := &lambda.AddLayerVersionPermissionInput{
		LayerName: &c.name, VersionNumber: &versions.LayerVersions[0].Version, StatementId: aws.String("s"), Action: aws.String("lambda:GetLayerVersion"), Principal: aws.String("*"),
	}
	out := must[*lambda.AddLayerVersionPermissionOutput](c)(c.AddLayerVersionPermission(c.ctx, in))
	is(c, "statement is given", *out.Statement != "", true)
	return in
}
