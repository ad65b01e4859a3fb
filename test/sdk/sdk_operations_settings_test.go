package sdk_test

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// permission lets S3 invoke the function of this test.
func (c *client) permission() *lambda.AddPermissionInput {
	c.t.Helper()
	in := &lambda.AddPermissionInput{FunctionName: c.function(), StatementId: aws.String("s"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("s3.amazonaws.com")}
	out := must[*lambda.AddPermissionOutput](c)(c.AddPermission(c.ctx, in))
	is(c, "statement is given", *out.Statement != "", true)
	return in
}

var permissionCalls = map[string]func(c *client){
	"AddPermission": func(c *client) {
		in := c.permission()
		_, err := c.AddPermission(c.ctx, in)
		c.conflict(err, "The statement id (s) provided already exists. Please provide a new statement id, or remove the existing statement.")
		in.FunctionName = absent
		_, err = c.AddPermission(c.ctx, in)
		c.gone(err, "Function not found: "+c.arn("function:absent"))
	},
	"GetPolicy": func(c *client) {
		_, err := c.GetPolicy(c.ctx, &lambda.GetPolicyInput{FunctionName: &c.name})
		c.gone(err, noSuchResource)
		c.permission()
		out := must[*lambda.GetPolicyOutput](c)(c.GetPolicy(c.ctx, &lambda.GetPolicyInput{FunctionName: &c.name}))
		is(c, "policy is given", *out.Policy != "" && *out.RevisionId != "", true)
	},
	"RemovePermission": func(c *client) {
		c.permission()
		in := &lambda.RemovePermissionInput{FunctionName: &c.name, StatementId: aws.String("s")}
		must[*lambda.RemovePermissionOutput](c)(c.RemovePermission(c.ctx, in))
		_, err := c.RemovePermission(c.ctx, in)
		c.gone(err, "")
	},
	"TagResource": func(c *client) {
		c.function()
		arn := aws.String(c.arn("function:" + c.name))
		must[*lambda.TagResourceOutput](c)(c.TagResource(c.ctx, &lambda.TagResourceInput{Resource: arn, Tags: map[string]string{"a": "b"}}))
		_, err := c.TagResource(c.ctx, &lambda.TagResourceInput{Resource: aws.String(c.arn("function:absent")), Tags: map[string]string{"a": "b"}})
		c.gone(err, "Function not found: "+c.arn("function:absent"))
	},
	"UntagResource": func(c *client) {
		c.function()
		must[*lambda.UntagResourceOutput](c)(c.UntagResource(c.ctx, &lambda.UntagResourceInput{Resource: aws.String(c.arn("function:" + c.name)), TagKeys: []string{"a", "b"}}))
		_, err := c.UntagResource(c.ctx, &lambda.UntagResourceInput{Resource: aws.String(c.arn("function:absent")), TagKeys: []string{"a"}})
		c.gone(err, "")
	},
	"ListTags": func(c *client) {
		in := c.newFunction(c.name)
		in.Tags = map[string]string{"a": "b"}
		must[*lambda.CreateFunctionOutput](c)(c.CreateFunction(c.ctx, in))
		out := must[*lambda.ListTagsOutput](c)(c.ListTags(c.ctx, &lambda.ListTagsInput{Resource: aws.String(c.arn("function:" + c.name))}))
		is(c, "a", out.Tags["a"], "b")
		_, err := c.ListTags(c.ctx, &lambda.ListTagsInput{Resource: aws.String(c.arn("function:absent"))})
		c.gone(err, "")
	},
}

var concurrencyCalls = map[string]func(c *client){
	"PutFunctionConcurrency": func(c *client) {
		in := &lambda.PutFunctionConcurrencyInput{FunctionName: c.function(), ReservedConcurrentExecutions: aws.Int32(0)}
		out := must[*lambda.PutFunctionConcurrencyOutput](c)(c.PutFunctionConcurrency(c.ctx, in))
		is(c, "ReservedConcurrentExecutions", *out.ReservedConcurrentExecutions, 0)
		_, err := c.Invoke(c.ctx, &lambda.InvokeInput{FunctionName: &c.name})
		typed[*types.TooManyRequestsException](c, err, "Rate Exceeded.")
		in.ReservedConcurrentExecutions = aws.Int32(1000)
		_, err = c.PutFunctionConcurrency(c.ctx, in)
		c.invalid(err, "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].")
		in.FunctionName = absent
		_, err = c.PutFunctionConcurrency(c.ctx, in)
		c.gone(err, "Function not found: "+c.arn("function:absent:$LATEST"))
	},
	"GetFunctionConcurrency": func(c *client) {
		out := must[*lambda.GetFunctionConcurrencyOutput](c)(c.GetFunctionConcurrency(c.ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: c.function()}))
		is(c, "ReservedConcurrentExecutions", out.ReservedConcurrentExecutions, nil)
		_, err := c.GetFunctionConcurrency(c.ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: absent})
		c.gone(err, "Function not found: "+c.arn("function:absent"))
	},
	"DeleteFunctionConcurrency": func(c *client) {
		must[*lambda.DeleteFunctionConcurrencyOutput](c)(c.DeleteFunctionConcurrency(c.ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: c.function()}))
		_, err := c.DeleteFunctionConcurrency(c.ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: absent})
		c.gone(err, "")
	},
	"PutProvisionedConcurrencyConfig": func(c *client) {
		c.provisioned()
		_, err := c.PutProvisionedConcurrencyConfig(c.ctx, &lambda.PutProvisionedConcurrencyConfigInput{FunctionName: &c.name, Qualifier: aws.String("$LATEST"), ProvisionedConcurrentExecutions: aws.Int32(1)})
		c.invalid(err, "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
		_, err = c.PutProvisionedConcurrencyConfig(c.ctx, &lambda.PutProvisionedConcurrencyConfigInput{FunctionName: &c.name, Qualifier: aws.String("9"), ProvisionedConcurrentExecutions: aws.Int32(1)})
		c.gone(err, "Function not found: "+c.arn("function:"+c.name+":9"))
	},
	"GetProvisionedConcurrencyConfig": func(c *client) {
		c.provisioned()
		out := must[*lambda.GetProvisionedConcurrencyConfigOutput](c)(c.GetProvisionedConcurrencyConfig(c.ctx, &lambda.GetProvisionedConcurrencyConfigInput{FunctionName: &c.name, Qualifier: aws.String("live")}))
		is(c, "RequestedProvisionedConcurrentExecutions", *out.RequestedProvisionedConcurrentExecutions, 2)
		_, err := c.GetProvisionedConcurrencyConfig(c.ctx, &lambda.GetProvisionedConcurrencyConfigInput{FunctionName: &c.name, Qualifier: aws.String("1")})
		typed[*types.ProvisionedConcurrencyConfigNotFoundException](c, err, "No Provisioned Concurrency Config found for this function")
	},
	"DeleteProvisionedConcurrencyConfig": func(c *client) {
		c.provisioned()
		in := &lambda.DeleteProvisionedConcurrencyConfigInput{FunctionName: &c.name, Qualifier: aws.String("live")}
		must[*lambda.DeleteProvisionedConcurrencyConfigOutput](c)(c.DeleteProvisionedConcurrencyConfig(c.ctx, in))
		in.Qualifier = aws.String("$LATEST")
		_, err := c.DeleteProvisionedConcurrencyConfig(c.ctx, in)
		c.invalid(err, "The function resource provided must be an alias or a published version.")
	},
	"ListProvisionedConcurrencyConfigs": func(c *client) {
		c.provisioned()
		out := must[*lambda.ListProvisionedConcurrencyConfigsOutput](c)(c.ListProvisionedConcurrencyConfigs(c.ctx, &lambda.ListProvisionedConcurrencyConfigsInput{FunctionName: &c.name}))
		is(c, "configs", len(out.ProvisionedConcurrencyConfigs), 1)
		_, err := c.ListProvisionedConcurrencyConfigs(c.ctx, &lambda.ListProvisionedConcurrencyConfigsInput{FunctionName: absent})
		c.gone(err, "Function not found: "+c.arn("function:absent"))
	},
	"GetAccountSettings": func(c *client) {
		out := must[*lambda.GetAccountSettingsOutput](c)(c.GetAccountSettings(c.ctx, &lambda.GetAccountSettingsInput{}))
		is(c, "TotalCodeSize", out.AccountLimit.TotalCodeSize, 80530636800)
	},
}

// provisioned makes a function whose alias live has provisioned concurrency.
func (c *client) provisioned() {
	c.t.Helper()
	out := must[*lambda.PutProvisionedConcurrencyConfigOutput](c)(c.PutProvisionedConcurrencyConfig(c.ctx, &lambda.PutProvisionedConcurrencyConfigInput{
		FunctionName: c.published(), Qualifier: aws.String("live"), ProvisionedConcurrentExecutions: aws.Int32(2),
	}))
	is(c, "Status", out.Status, types.ProvisionedConcurrencyStatusEnumInProgress)
}

// eventInvokeConfig gives the function of this test one.
func (c *client) eventInvokeConfig() {
	c.t.Helper()
	out := must[*lambda.PutFunctionEventInvokeConfigOutput](c)(c.PutFunctionEventInvokeConfig(c.ctx, &lambda.PutFunctionEventInvokeConfigInput{
		FunctionName: c.function(), MaximumRetryAttempts: aws.Int32(1),
	}))
	is(c, "MaximumRetryAttempts", *out.MaximumRetryAttempts, 1)
	is(c, "FunctionArn", *out.FunctionArn, c.arn("function:"+c.name+":$LATEST"))
}

var eventInvokeCalls = map[string]func(c *client){
	"PutFunctionEventInvokeConfig": func(c *client) {
		c.eventInvokeConfig()
		_, err := c.PutFunctionEventInvokeConfig(c.ctx, &lambda.PutFunctionEventInvokeConfigInput{FunctionName: &c.name})
		c.invalid(err, "You must specify at least one of error handling or destination setting.")
		_, err = c.PutFunctionEventInvokeConfig(c.ctx, &lambda.PutFunctionEventInvokeConfigInput{FunctionName: absent, MaximumRetryAttempts: aws.Int32(1)})
		c.gone(err, "The function doesn't exist.")
	},
	"UpdateFunctionEventInvokeConfig": func(c *client) {
		c.eventInvokeConfig()
		out := must[*lambda.UpdateFunctionEventInvokeConfigOutput](c)(c.UpdateFunctionEventInvokeConfig(c.ctx, &lambda.UpdateFunctionEventInvokeConfigInput{FunctionName: &c.name, MaximumEventAgeInSeconds: aws.Int32(60)}))
		is(c, "MaximumRetryAttempts", *out.MaximumRetryAttempts, 1)
		is(c, "MaximumEventAgeInSeconds", *out.MaximumEventAgeInSeconds, 60)
		_, err := c.UpdateFunctionEventInvokeConfig(c.ctx, &lambda.UpdateFunctionEventInvokeConfigInput{FunctionName: absent, MaximumEventAgeInSeconds: aws.Int32(60)})
		c.gone(err, "The function doesn't exist.")
	},
	"GetFunctionEventInvokeConfig": func(c *client) {
		c.eventInvokeConfig()
		must[*lambda.GetFunctionEventInvokeConfigOutput](c)(c.GetFunctionEventInvokeConfig(c.ctx, &lambda.GetFunctionEventInvokeConfigInput{FunctionName: &c.name}))
		_, err := c.GetFunctionEventInvokeConfig(c.ctx, &lambda.GetFunctionEventInvokeConfigInput{FunctionName: absent})
		c.gone(err, "The function "+c.arn("function:absent:$LATEST")+" doesn't have an EventInvokeConfig")
	},
	"DeleteFunctionEventInvokeConfig": func(c *client) {
		c.eventInvokeConfig()
		in := &lambda.DeleteFunctionEventInvokeConfigInput{FunctionName: &c.name}
		must[*lambda.DeleteFunctionEventInvokeConfigOutput](c)(c.DeleteFunctionEventInvokeConfig(c.ctx, in))
		_, err := c.DeleteFunctionEventInvokeConfig(c.ctx, in)
		c.gone(err, "The function "+c.arn("function:"+c.name+":$LATEST")+" doesn't have an EventInvokeConfig")
	},
	"ListFunctionEventInvokeConfigs": func(c *client) {
		c.eventInvokeConfig()
		out := must[*lambda.ListFunctionEventInvokeConfigsOutput](c)(c.ListFunctionEventInvokeConfigs(c.ctx, &lambda.ListFunctionEventInvokeConfigsInput{FunctionName: &c.name}))
		is(c, "configs", len(out.FunctionEventInvokeConfigs), 1)
		_, err := c.ListFunctionEventInvokeConfigs(c.ctx, &lambda.ListFunctionEventInvokeConfigsInput{FunctionName: absent})
		c.gone(err, "The function doesn't exist.")
	},
}

// url gives the function of this test one.
func (c *client) url() *lambda.CreateFunctionUrlConfigInput {
	c.t.Helper()
	in := &lambda.CreateFunctionUrlConfigInput{FunctionName: c.function(), AuthType: types.FunctionUrlAuthTypeNone}
	out := must[*lambda.CreateFunctionUrlConfigOutput](c)(c.CreateFunctionUrlConfig(c.ctx, in))
	is(c, "AuthType", out.AuthType, types.FunctionUrlAuthTypeNone)
	is(c, "URL is given", *out.FunctionUrl != "", true)
	return in
}

var urlCalls = map[string]func(c *client){
	"CreateFunctionUrlConfig": func(c *client) {
		in := c.url()
		_, err := c.CreateFunctionUrlConfig(c.ctx, in)
		c.conflict(err, "Failed to create function url config for [functionArn = "+c.arn("function:"+c.name)+"]. Error message:  FunctionUrlConfig exists for this Lambda function")
		in.FunctionName = absent
		_, err = c.CreateFunctionUrlConfig(c.ctx, in)
		c.gone(err, "Function does not exist")
	},
	"GetFunctionUrlConfig": func(c *client) {
		c.url()
		out := must[*lambda.GetFunctionUrlConfigOutput](c)(c.GetFunctionUrlConfig(c.ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: &c.name}))
		is(c, "InvokeMode", out.InvokeMode, types.InvokeModeBuffered)
		_, err := c.GetFunctionUrlConfig(c.ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: absent})
		c.gone(err, noSuchResource)
	},
	"UpdateFunctionUrlConfig": func(c *client) {
		c.url()
		out := must[*lambda.UpdateFunctionUrlConfigOutput](c)(c.UpdateFunctionUrlConfig(c.ctx, &lambda.UpdateFunctionUrlConfigInput{FunctionName: &c.name, AuthType: types.FunctionUrlAuthTypeAwsIam}))
		is(c, "AuthType", out.AuthType, types.FunctionUrlAuthTypeAwsIam)
		_, err := c.UpdateFunctionUrlConfig(c.ctx, &lambda.UpdateFunctionUrlConfigInput{FunctionName: absent})
		c.gone(err, "Function does not exist")
	},
	"DeleteFunctionUrlConfig": func(c *client) {
		c.url()
		in := &lambda.DeleteFunctionUrlConfigInput{FunctionName: &c.name}
		must[*lambda.DeleteFunctionUrlConfigOutput](c)(c.DeleteFunctionUrlConfig(c.ctx, in))
		_, err := c.DeleteFunctionUrlConfig(c.ctx, in)
		c.gone(err, noSuchResource)
	},
	"ListFunctionUrlConfigs": func(c *client) {
		c.url()
		out := must[*lambda.ListFunctionUrlConfigsOutput](c)(c.ListFunctionUrlConfigs(c.ctx, &lambda.ListFunctionUrlConfigsInput{FunctionName: &c.name}))
		is(c, "URLs", len(out.FunctionUrlConfigs), 1)
		_, err := c.ListFunctionUrlConfigs(c.ctx, &lambda.ListFunctionUrlConfigsInput{FunctionName: absent})
		c.gone(err, "Function does not exist")
	},
}

var settingCalls = map[string]func(c *client){
	"GetFunctionRecursionConfig": func(c *client) {
		out := must[*lambda.GetFunctionRecursionConfigOutput](c)(c.GetFunctionRecursionConfig(c.ctx, &lambda.GetFunctionRecursionConfigInput{FunctionName: c.function()}))
		is(c, "RecursiveLoop", out.RecursiveLoop, types.RecursiveLoopTerminate)
		_, err := c.GetFunctionRecursionConfig(c.ctx, &lambda.GetFunctionRecursionConfigInput{FunctionName: absent})
		c.gone(err, "")
	},
	"PutFunctionRecursionConfig": func(c *client) {
		out := must[*lambda.PutFunctionRecursionConfigOutput](c)(c.PutFunctionRecursionConfig(c.ctx, &lambda.PutFunctionRecursionConfigInput{FunctionName: c.function(), RecursiveLoop: types.RecursiveLoopAllow}))
		is(c, "RecursiveLoop", out.RecursiveLoop, types.RecursiveLoopAllow)
		_, err := c.PutFunctionRecursionConfig(c.ctx, &lambda.PutFunctionRecursionConfigInput{FunctionName: &c.name, RecursiveLoop: "Perhaps"})
		c.refused(err, "ValidationException", "1 validation error detected: Value 'Perhaps' at 'recursiveLoop' failed to satisfy constraint: Member must satisfy enum value set: [Terminate, Allow]")
	},
	"GetRuntimeManagementConfig": func(c *client) {
		out := must[*lambda.GetRuntimeManagementConfigOutput](c)(c.GetRuntimeManagementConfig(c.ctx, &lambda.GetRuntimeManagementConfigInput{FunctionName: c.function()}))
		is(c, "UpdateRuntimeOn", out.UpdateRuntimeOn, types.UpdateRuntimeOnAuto)
		_, err := c.GetRuntimeManagementConfig(c.ctx, &lambda.GetRuntimeManagementConfigInput{FunctionName: absent})
		c.gone(err, "")
	},
	"PutRuntimeManagementConfig": func(c *client) {
		out := must[*lambda.PutRuntimeManagementConfigOutput](c)(c.PutRuntimeManagementConfig(c.ctx, &lambda.PutRuntimeManagementConfigInput{FunctionName: c.function(), UpdateRuntimeOn: types.UpdateRuntimeOnFunctionUpdate}))
		is(c, "UpdateRuntimeOn", out.UpdateRuntimeOn, types.UpdateRuntimeOnFunctionUpdate)
		_, err := c.PutRuntimeManagementConfig(c.ctx, &lambda.PutRuntimeManagementConfigInput{FunctionName: &c.name, UpdateRuntimeOn: types.UpdateRuntimeOnManual})
		c.invalid(err, "")
	},
	"GetFunctionScalingConfig": func(c *client) {
		_, err := c.GetFunctionScalingConfig(c.ctx, &lambda.GetFunctionScalingConfigInput{FunctionName: c.published(), Qualifier: aws.String("1")})
		c.invalid(err, "")
		_, err = c.GetFunctionScalingConfig(c.ctx, &lambda.GetFunctionScalingConfigInput{FunctionName: absent, Qualifier: aws.String("1")})
		c.gone(err, "")
	},
	"PutFunctionScalingConfig": func(c *client) {
		_, err := c.PutFunctionScalingConfig(c.ctx, &lambda.PutFunctionScalingConfigInput{FunctionName: c.published(), Qualifier: aws.String("1")})
		c.invalid(err, "")
		_, err = c.PutFunctionScalingConfig(c.ctx, &lambda.PutFunctionScalingConfigInput{FunctionName: absent, Qualifier: aws.String("1")})
		c.gone(err, "")
	},
}
