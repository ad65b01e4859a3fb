package sdk_test

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

var functionCalls = map[string]func(c *client){
	"CreateFunction": func(c *client) {
		out := must[*lambda.CreateFunctionOutput](c)(c.CreateFunction(c.ctx, c.newFunction(c.name)))
		is(c, "FunctionArn", *out.FunctionArn, c.arn("function:"+c.name))
		is(c, "State", out.State, types.StatePending)
		_, err := c.CreateFunction(c.ctx, c.newFunction(c.name))
		c.conflict(err, "Function already exist: "+c.name)
		broken := c.newFunction("broken")
		broken.Code.ZipFile = []byte("no zip")
		_, err = c.CreateFunction(c.ctx, broken)
		c.invalid(err, "Could not unzip uploaded file. Please check your file, then try to upload again.")
		role := c.newFunction("role")
		role.Role = aws.String("no-arn")
		_, err = c.CreateFunction(c.ctx, role)
		c.refused(err, "ValidationException", `1 validation error detected: Value 'no-arn' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`)
	},
	"GetFunction": func(c *client) {
		out := must[*lambda.GetFunctionOutput](c)(c.GetFunction(c.ctx, &lambda.GetFunctionInput{FunctionName: c.function()}))
		is(c, "FunctionName", *out.Configuration.FunctionName, c.name)
		is(c, "RepositoryType", *out.Code.RepositoryType, "S3")
		_, err := c.GetFunction(c.ctx, &lambda.GetFunctionInput{FunctionName: absent})
		c.gone(err, "Function not found: "+c.arn("function:absent"))
		_, err = c.GetFunction(c.ctx, &lambda.GetFunctionInput{FunctionName: aws.String(c.name + ":1"), Qualifier: aws.String("2")})
		c.invalid(err, "The derived qualifier from the function name does not match the specified qualifier.")
	},
	"GetFunctionConfiguration": func(c *client) {
		out := must[*lambda.GetFunctionConfigurationOutput](c)(c.GetFunctionConfiguration(c.ctx, &lambda.GetFunctionConfigurationInput{FunctionName: c.function(), Qualifier: aws.String("$LATEST")}))
		is(c, "FunctionArn", *out.FunctionArn, c.arn("function:"+c.name+":$LATEST"))
		_, err := c.GetFunctionConfiguration(c.ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &c.name, Qualifier: aws.String("7")})
		c.gone(err, "Function not found: "+c.arn("function:"+c.name+":7"))
	},
	"UpdateFunctionCode": func(c *client) {
		out := must[*lambda.UpdateFunctionCodeOutput](c)(c.UpdateFunctionCode(c.ctx, &lambda.UpdateFunctionCodeInput{FunctionName: c.function(), ZipFile: c.zip, Publish: true}))
		is(c, "Version", *out.Version, "1")
		c.active()
		_, err := c.UpdateFunctionCode(c.ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &c.name, ZipFile: c.zip, RevisionId: aws.String("other")})
		typed[*types.PreconditionFailedException](c, err, "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id")
		_, err = c.UpdateFunctionCode(c.ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &c.name, ZipFile: []byte("no zip")})
		c.invalid(err, "")
		_, err = c.UpdateFunctionCode(c.ctx, &lambda.UpdateFunctionCodeInput{FunctionName: absent, ZipFile: c.zip})
		c.gone(err, "Function not found: "+c.arn("function:absent"))
	},
	"UpdateFunctionConfiguration": func(c *client) {
		out := must[*lambda.UpdateFunctionConfigurationOutput](c)(c.UpdateFunctionConfiguration(c.ctx, &lambda.UpdateFunctionConfigurationInput{
			FunctionName: c.function(), Description: aws.String("new"), Timeout: aws.Int32(7), Environment: &types.Environment{Variables: map[string]string{"AB": "b"}},
		}))
		is(c, "Description", *out.Description, "new")
		is(c, "Timeout", *out.Timeout, 7)
		is(c, "AB", out.Environment.Variables["AB"], "b")
		is(c, "LastUpdateStatus", out.LastUpdateStatus, types.LastUpdateStatusInProgress)
		c.active()
		_, err := c.UpdateFunctionConfiguration(c.ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: &c.name, Layers: []string{c.arn("layer:absent:1")}})
		c.invalid(err, "Layer version "+c.arn("layer:absent:1")+" does not exist.")
		_, err = c.UpdateFunctionConfiguration(c.ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: absent})
		c.gone(err, "")
	},
	"DeleteFunction": func(c *client) {
		name := c.published()
		_, err := c.DeleteFunction(c.ctx, &lambda.DeleteFunctionInput{FunctionName: name, Qualifier: aws.String("1")})
		c.conflict(err, "")
		_, err = c.DeleteFunction(c.ctx, &lambda.DeleteFunctionInput{FunctionName: name, Qualifier: aws.String("$LATEST")})
		c.invalid(err, "$LATEST version cannot be deleted without deleting the function.")
		out := must[*lambda.DeleteFunctionOutput](c)(c.DeleteFunction(c.ctx, &lambda.DeleteFunctionInput{FunctionName: name}))
		is(c, "StatusCode", out.StatusCode, 204)
		_, err = c.DeleteFunction(c.ctx, &lambda.DeleteFunctionInput{FunctionName: name})
		c.gone(err, "Function not found: "+c.arn("function:"+c.name))
	},
	"ListFunctions": func(c *client) {
		c.function()
		pages := lambda.NewListFunctionsPaginator(c.Client, &lambda.ListFunctionsInput{MaxItems: aws.Int32(2)})
		found := 0
		for pages.HasMorePages() {
			page := must[*lambda.ListFunctionsOutput](c)(pages.NextPage(c.ctx))
			for _, f := range page.Functions {
				if *f.FunctionName == c.name {
					found++
				}
			}
		}
		is(c, "entries of the function", found, 1)
		_, err := c.ListFunctions(c.ctx, &lambda.ListFunctionsInput{Marker: aws.String("no marker")})
		c.invalid(err, "Invalid marker: no marker")
	},
}

var versionCalls = map[string]func(c *client){
	"PublishVersion": func(c *client) {
		out := must[*lambda.PublishVersionOutput](c)(c.PublishVersion(c.ctx, &lambda.PublishVersionInput{FunctionName: c.function(), Description: aws.String("first")}))
		is(c, "Version", *out.Version, "1")
		is(c, "Description", *out.Description, "first")
		_, err := c.PublishVersion(c.ctx, &lambda.PublishVersionInput{FunctionName: &c.name, CodeSha256: aws.String("other")})
		c.invalid(err, "")
		_, err = c.PublishVersion(c.ctx, &lambda.PublishVersionInput{FunctionName: &c.name, RevisionId: aws.String("other")})
		typed[*types.PreconditionFailedException](c, err, "")
		_, err = c.PublishVersion(c.ctx, &lambda.PublishVersionInput{FunctionName: absent})
		c.gone(err, "Function not found: "+c.arn("function:absent"))
	},
	"ListVersionsByFunction": func(c *client) {
		out := must[*lambda.ListVersionsByFunctionOutput](c)(c.ListVersionsByFunction(c.ctx, &lambda.ListVersionsByFunctionInput{FunctionName: c.published()}))
		is(c, "versions", len(out.Versions), 2)
		_, err := c.ListVersionsByFunction(c.ctx, &lambda.ListVersionsByFunctionInput{FunctionName: absent})
		c.gone(err, "")
	},
	"CreateAlias": func(c *client) {
		name := c.published()
		_, err := c.CreateAlias(c.ctx, &lambda.CreateAliasInput{FunctionName: name, Name: aws.String("live"), FunctionVersion: aws.String("1")})
		c.conflict(err, "Alias already exists: "+c.arn("function:"+c.name+":live"))
		_, err = c.CreateAlias(c.ctx, &lambda.CreateAliasInput{FunctionName: name, Name: aws.String("beta"), FunctionVersion: aws.String("9")})
		c.gone(err, "Function not found: "+c.arn("function:"+c.name+":9"))
		_, err = c.CreateAlias(c.ctx, &lambda.CreateAliasInput{
			FunctionName: name, Name: aws.String("beta"), FunctionVersion: aws.String("1"),
			RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"1": 0.5}},
		})
		c.invalid(err, "")
	},
	"GetAlias": func(c *client) {
		out := must[*lambda.GetAliasOutput](c)(c.GetAlias(c.ctx, &lambda.GetAliasInput{FunctionName: c.published(), Name: aws.String("live")}))
		is(c, "FunctionVersion", *out.FunctionVersion, "1")
		_, err := c.GetAlias(c.ctx, &lambda.GetAliasInput{FunctionName: &c.name, Name: absent})
		c.gone(err, "Cannot find alias arn: "+c.arn("function:"+c.name+":absent"))
	},
	"UpdateAlias": func(c *client) {
		name := c.published()
		out := must[*lambda.UpdateAliasOutput](c)(c.UpdateAlias(c.ctx, &lambda.UpdateAliasInput{FunctionName: name, Name: aws.String("live"), Description: aws.String("new")}))
		is(c, "Description", *out.Description, "new")
		_, err := c.UpdateAlias(c.ctx, &lambda.UpdateAliasInput{FunctionName: name, Name: absent})
		c.gone(err, "Alias not found: "+c.arn("function:"+c.name+":absent"))
		_, err = c.UpdateAlias(c.ctx, &lambda.UpdateAliasInput{FunctionName: name, Name: aws.String("live"), RevisionId: aws.String("other")})
		typed[*types.PreconditionFailedException](c, err, "")
	},
	"DeleteAlias": func(c *client) {
		in := &lambda.DeleteAliasInput{FunctionName: c.published(), Name: aws.String("live")}
		must[*lambda.DeleteAliasOutput](c)(c.DeleteAlias(c.ctx, in))
		must[*lambda.DeleteAliasOutput](c)(c.DeleteAlias(c.ctx, in)) // again
		_, err := c.DeleteAlias(c.ctx, &lambda.DeleteAliasInput{FunctionName: aws.String("arn:aws:lambda:us-west-2:" + account + ":function:f"), Name: aws.String("live")})
		c.gone(err, "Functions from 'us-west-2' are not reachable in this region ('"+home+"')")
	},
	"ListAliases": func(c *client) {
		out := must[*lambda.ListAliasesOutput](c)(c.ListAliases(c.ctx, &lambda.ListAliasesInput{FunctionName: c.published(), FunctionVersion: aws.String("1")}))
		is(c, "aliases", len(out.Aliases), 1)
		_, err := c.ListAliases(c.ctx, &lambda.ListAliasesInput{FunctionName: absent})
		c.gone(err, "")
	},
}
