package sdk_test

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const (
	noMapping = "00000000-0000-4000-8000-000000000000"
	noSigning = "arn:aws:lambda:" + home + ":" + account + ":code-signing-config:csc-00000000000000000"
)

func (c *client) mapping() (*lambda.CreateEventSourceMappingInput, *string) {
	c.t.Helper()
	in := &lambda.CreateEventSourceMappingInput{FunctionName: c.function(), EventSourceArn: aws.String("arn:aws:sqs:" + home + ":" + account + ":" + c.name)}
	out := must[*lambda.CreateEventSourceMappingOutput](c)(c.CreateEventSourceMapping(c.ctx, in))
	is(c, "State", *out.State, "Creating")
	is(c, "BatchSize", *out.BatchSize, 10)
	c.until(out.UUID, "Enabled")
	return in, out.UUID
}

// until waits until a mapping has a state.
func (c *client) until(uuid *string, state string) {
	c.t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-poll.C {
		out := must[*lambda.GetEventSourceMappingOutput](c)(c.GetEventSourceMapping(c.ctx, &lambda.GetEventSourceMappingInput{UUID: uuid}))
		if *out.State == state {
			return
		}
	}
	c.t.Fatalf("mapping %s is not %s", *uuid, state)
}

var mappingCalls = map[string]func(c *client){
	"CreateEventSourceMapping": func(c *client) {
		in, _ := c.mapping()
		_, err := c.CreateEventSourceMapping(c.ctx, in)
		c.conflict(err, "")
		in.FunctionName = absent
		_, err = c.CreateEventSourceMapping(c.ctx, in)
		c.invalid(err, "Function does not exist")
		in.EventSourceArn = nil
		_, err = c.CreateEventSourceMapping(c.ctx, in)
		c.invalid(err, "Unrecognized event source.")
	},
	"GetEventSourceMapping": func(c *client) {
		_, uuid := c.mapping()
		out := must[*lambda.GetEventSourceMappingOutput](c)(c.GetEventSourceMapping(c.ctx, &lambda.GetEventSourceMappingInput{UUID: uuid}))
		is(c, "FunctionArn", *out.FunctionArn, c.arn("function:"+c.name))
		is(c, "LastModified is given", !out.LastModified.IsZero(), true)
		_, err := c.GetEventSourceMapping(c.ctx, &lambda.GetEventSourceMappingInput{UUID: aws.String(noMapping)})
		c.gone(err, noSuchResource)
	},
	"UpdateEventSourceMapping": func(c *client) {
		_, uuid := c.mapping()
		out := must[*lambda.UpdateEventSourceMappingOutput](c)(c.UpdateEventSourceMapping(c.ctx, &lambda.UpdateEventSourceMappingInput{UUID: uuid, BatchSize: aws.Int32(5)}))
		is(c, "BatchSize", *out.BatchSize, 5)
		_, err := c.UpdateEventSourceMapping(c.ctx, &lambda.UpdateEventSourceMappingInput{UUID: aws.String(noMapping)})
		c.gone(err, noSuchResource)
	},
	"DeleteEventSourceMapping": func(c *client) {
		_, uuid := c.mapping()
		out := must[*lambda.DeleteEventSourceMappingOutput](c)(c.DeleteEventSourceMapping(c.ctx, &lambda.DeleteEventSourceMappingInput{UUID: uuid}))
		is(c, "State", *out.State, "Deleting")
		_, err := c.DeleteEventSourceMapping(c.ctx, &lambda.DeleteEventSourceMappingInput{UUID: aws.String(noMapping)})
		c.gone(err, noSuchResource)
	},
	"ListEventSourceMappings": func(c *client) {
		c.mapping()
		out := must[*lambda.ListEventSourceMappingsOutput](c)(c.ListEventSourceMappings(c.ctx, &lambda.ListEventSourceMappingsInput{FunctionName: &c.name}))
		is(c, "mappings", len(out.EventSourceMappings), 1)
		_, err := c.ListEventSourceMappings(c.ctx, &lambda.ListEventSourceMappingsInput{Marker: aws.String("no marker")})
		c.invalid(err, "Invalid marker: no marker")
	},
}

func (c *client) signing() *string {
	c.t.Helper()
	out := must[*lambda.CreateCodeSigningConfigOutput](c)(c.CreateCodeSigningConfig(c.ctx, &lambda.CreateCodeSigningConfigInput{
		Description:         &c.name,
		AllowedPublishers:   &types.AllowedPublishers{SigningProfileVersionArns: []string{"arn:aws:signer:" + home + ":" + account + ":/signing-profiles/app/abcdefghij"}},
		CodeSigningPolicies: &types.CodeSigningPolicies{UntrustedArtifactOnDeployment: types.CodeSigningPolicyWarn},
	}))
	is(c, "Description", *out.CodeSigningConfig.Description, c.name)
	return out.CodeSigningConfig.CodeSigningConfigArn
}

const signingGone = "The Lambda code signing configuration " + noSigning + " can not be found."

var signingCalls = map[string]func(c *client){
	"CreateCodeSigningConfig": func(c *client) {
		c.signing()
		_, err := c.CreateCodeSigningConfig(c.ctx, &lambda.CreateCodeSigningConfigInput{AllowedPublishers: &types.AllowedPublishers{SigningProfileVersionArns: []string{}}})
		c.refused(err, "ValidationException", "1 validation error detected: Value '[]' at 'allowedPublishers.signingProfileVersionArns' failed to satisfy constraint: Member must have length greater than or equal to 1")
	},
	"GetCodeSigningConfig": func(c *client) {
		out := must[*lambda.GetCodeSigningConfigOutput](c)(c.GetCodeSigningConfig(c.ctx, &lambda.GetCodeSigningConfigInput{CodeSigningConfigArn: c.signing()}))
		is(c, "Description", *out.CodeSigningConfig.Description, c.name)
		_, err := c.GetCodeSigningConfig(c.ctx, &lambda.GetCodeSigningConfigInput{CodeSigningConfigArn: aws.String(noSigning)})
		c.gone(err, signingGone)
	},
	"UpdateCodeSigningConfig": func(c *client) {
		out := must[*lambda.UpdateCodeSigningConfigOutput](c)(c.UpdateCodeSigningConfig(c.ctx, &lambda.UpdateCodeSigningConfigInput{CodeSigningConfigArn: c.signing(), Description: aws.String("new")}))
		is(c, "Description", *out.CodeSigningConfig.Description, "new")
		_, err := c.UpdateCodeSigningConfig(c.ctx, &lambda.UpdateCodeSigningConfigInput{CodeSigningConfigArn: aws.String(noSigning)})
		c.gone(err, signingGone)
	},
	"DeleteCodeSigningConfig": func(c *client) {
		must[*lambda.DeleteCodeSigningConfigOutput](c)(c.DeleteCodeSigningConfig(c.ctx, &lambda.DeleteCodeSigningConfigInput{CodeSigningConfigArn: c.signing()}))
		_, err := c.DeleteCodeSigningConfig(c.ctx, &lambda.DeleteCodeSigningConfigInput{CodeSigningConfigArn: aws.String(noSigning)})
		c.gone(err, signingGone)
	},
	"ListCodeSigningConfigs": func(c *client) {
		c.signing()
		found := 0
		pages := lambda.NewListCodeSigningConfigsPaginator(c.Client, &lambda.ListCodeSigningConfigsInput{MaxItems: aws.Int32(2)})
		for pages.HasMorePages() {
			for _, s := range must[*lambda.ListCodeSigningConfigsOutput](c)(pages.NextPage(c.ctx)).CodeSigningConfigs {
				if aws.ToString(s.Description) == c.name {
					found++
				}
			}
		}
		is(c, "entries of the config", found, 1)
		_, err := c.ListCodeSigningConfigs(c.ctx, &lambda.ListCodeSigningConfigsInput{Marker: aws.String("no marker")})
		c.invalid(err, "Invalid marker: no marker")
	},
	"PutFunctionCodeSigningConfig": func(c *client) {
		c.signedFunction()
		_, err := c.PutFunctionCodeSigningConfig(c.ctx, &lambda.PutFunctionCodeSigningConfigInput{FunctionName: &c.name, CodeSigningConfigArn: aws.String(noSigning)})
		typed[*types.CodeSigningConfigNotFoundException](c, err, "The code signing configuration cannot be found. Check that the provided configuration is not deleted: "+noSigning+".")
		_, err = c.PutFunctionCodeSigningConfig(c.ctx, &lambda.PutFunctionCodeSigningConfigInput{FunctionName: absent, CodeSigningConfigArn: c.signing()})
		c.gone(err, "")
	},
	"GetFunctionCodeSigningConfig": func(c *client) {
		arn := c.signedFunction()
		out := must[*lambda.GetFunctionCodeSigningConfigOutput](c)(c.GetFunctionCodeSigningConfig(c.ctx, &lambda.GetFunctionCodeSigningConfigInput{FunctionName: &c.name}))
		is(c, "CodeSigningConfigArn", *out.CodeSigningConfigArn, *arn)
		_, err := c.GetFunctionCodeSigningConfig(c.ctx, &lambda.GetFunctionCodeSigningConfigInput{FunctionName: absent})
		c.gone(err, "Function not found: "+c.arn("function:absent"))
	},
	"DeleteFunctionCodeSigningConfig": func(c *client) {
		c.signedFunction()
		must[*lambda.DeleteFunctionCodeSigningConfigOutput](c)(c.DeleteFunctionCodeSigningConfig(c.ctx, &lambda.DeleteFunctionCodeSigningConfigInput{FunctionName: &c.name}))
		_, err := c.DeleteFunctionCodeSigningConfig(c.ctx, &lambda.DeleteFunctionCodeSigningConfigInput{FunctionName: absent})
		c.gone(err, "")
	},
	"ListFunctionsByCodeSigningConfig": func(c *client) {
		out := must[*lambda.ListFunctionsByCodeSigningConfigOutput](c)(c.ListFunctionsByCodeSigningConfig(c.ctx, &lambda.ListFunctionsByCodeSigningConfigInput{CodeSigningConfigArn: c.signedFunction()}))
		is(c, "functions", len(out.FunctionArns), 1)
		_, err := c.ListFunctionsByCodeSigningConfig(c.ctx, &lambda.ListFunctionsByCodeSigningConfigInput{CodeSigningConfigArn: aws.String(noSigning)})
		c.gone(err, signingGone)
	},
}

// signedFunction makes a function that has a config.
func (c *client) signedFunction() *string {
	c.t.Helper()
	arn := c.signing()
	must[*lambda.PutFunctionCodeSigningConfigOutput](c)(c.PutFunctionCodeSigningConfig(c.ctx, &lambda.PutFunctionCodeSigningConfigInput{FunctionName: c.function(), CodeSigningConfigArn: arn}))
	return arn
}
