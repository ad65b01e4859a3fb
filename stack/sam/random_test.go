package sam

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// randomTemplate makes a template that uses much of what the transform knows, the
// same one for the same seed. Few are wrong.
func randomTemplate(seed uint64) request {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 6))}
	g.wrong = g.IntN(4) == 0
	resources := map[string]any{"Queue": typed("AWS::SQS::Queue", nil), "Bucket": typed("AWS::S3::Bucket", nil)}
	if g.one(2) {
		resources["Bucket"] = g.bucket()
	}
	body := map[string]any{
		"Transform": "AWS::Serverless-2016-10-31",
		"Parameters": map[string]any{
			"Stage": map[string]any{"Type": "String", "Default": "prod"},
			"Size":  map[string]any{"Type": "Number", "Default": 256},
			"Key":   map[string]any{"Type": "String"},
			"Empty": map[string]any{"Type": "String", "Default": ""},
		},
		"Conditions": map[string]any{
			"IsProd":  map[string]any{"Fn::Equals": list(ref("Stage"), "prod")},
			"IsSmall": map[string]any{"Fn::Equals": list(ref("Size"), "128")},
		},
		"Mappings":  map[string]any{"Stages": map[string]any{"prod": map[string]any{"Type": "AllAtOnce", "Enabled": true, "No": false}}},
		"Resources": resources,
	}
	for i := range 1 + g.IntN(3) {
		resources[fmt.Sprintf("Fn%d", i)] = g.resource(functionType, g.function())
	}
	for i := range g.IntN(3) {
		resources[fmt.Sprintf("Layer%d", i)] = g.resource(layerType, g.layer())
	}
	if g.one(6) {
		resources["App"] = g.resource(applicationType, g.some(map[string]any{"Location": "https://example.com/t.yaml"},
			map[string]any{"Parameters": map[string]any{"A": ref("Stage")}, "Tags": g.tags(), "TimeoutInMinutes": 5, "NotificationARNs": list("arn:x")}))
	}
	if g.one(2) {
		body["Globals"] = g.globals()
	}
	body["Outputs"] = map[string]any{
		"A": map[string]any{"Value": ref("Fn0.Alias")},
		"B": map[string]any{"Value": sub("${Fn0.Version}-${Fn0.Alias.Arn}-${Layer0}-${Fn0}-${!Layer0}")},
		"C": map[string]any{"Value": getAtt("Fn0.Alias", "Arn")},
		"D": map[string]any{"Value": getAtt("Fn0", "Version.Version")},
		"E": map[string]any{"Value": ref("Layer0"), "Condition": "IsProd"},
		"F": map[string]any{"Value": map[string]any{"Fn::Sub": list("${Layer0.X} ${Y}", map[string]any{"Y": ref("Layer1")})}},
		"G": map[string]any{"Value": ref("Fn0.DestinationQueue")},
	}
	parameters := map[string]any{"Key": "some/key.zip"}
	if g.one(3) {
		parameters["Stage"] = "beta"
	}
	region := "us-east-1"
	if g.one(8) {
		region = "cn-north-1"
	}
	return request{Template: body, Parameters: parameters, Region: region}
}

type generator struct {
	*rand.Rand

	wrong bool // whether mistakes are made
}

func list(v ...any) []any { return append([]any{}, v...) }

func typed(typ string, properties map[string]any) map[string]any {
	out := map[string]any{"Type": typ}
	if properties != nil {
		out["Properties"] = properties
	}
	return out
}

func n(s string) json.Number { return json.Number(s) }

// one is true once in so many times.
func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

func (g *generator) of(choices ...any) any { return choices[g.IntN(len(choices))] }

// mistake returns the wrong value now and then, when the template is to have any.
func (g *generator) mistake(right any, wrong ...any) any {
	if g.wrong && g.one(12) {
		return g.of(wrong...)
	}
	return right
}

// some adds some of the optional members. The order is that of their names, so
// that a seed means one template.
func (g *generator) some(members, optional map[string]any) map[string]any {
	for _, name := range ordered(optional, nil) {
		if g.one(4) {
			members[name] = optional[name]
		}
	}
	return members
}

func (g *generator) tags() any {
	tags := g.some(map[string]any{}, map[string]any{
		"team": "a", "stage": ref("Stage"), "Empty": nil, "n": n("5"), "f": n("1.50"), "e": n("1e22"), "é\U0001f600": "ü\x7f\"\\\n", "yes": true,
	})
	return g.mistake(tags, map[string]any{"lambda:createdBy": "me", "x": "y"}, "text")
}

func (g *generator) condition(then, otherwise any) any {
	return map[string]any{"Fn::If": list(g.of("IsProd", "IsSmall"), then, otherwise)}
}

var noValue = map[string]any{"Ref": "AWS::NoValue"}

func (g *generator) resource(typ string, properties map[string]any) map[string]any {
	out := g.some(typed(typ, properties), map[string]any{
		"Metadata":            map[string]any{"SamResourceId": "x", "BuildMethod": "python3.12"},
		"DependsOn":           g.of("Queue", "Layer0", list("Queue", "Layer0"), list()),
		"DeletionPolicy":      g.of("Retain", "Delete"),
		"UpdateReplacePolicy": "Retain",
		"IgnoreGlobals":       g.mistake(g.of("*", list()), list("Nothing"), true, "x"),
		"UpdatePolicy":        map[string]any{"A": "b"},
		"CreationPolicy":      map[string]any{},
	})
	if g.one(3) {
		out["Condition"] = g.mistake("IsProd", list("x"))
	}
	return out
}

func (g *generator) uri() any {
	return g.mistake(g.of(
		"s3://bucket/key.zip", "s3://bucket/a/b?versionId=v%201", "S3://b//k?versionId=1&versionId=2", map[string]any{"Bucket": "b", "Key": "k"},
		map[string]any{"Bucket": ref("Stage"), "Key": ref("Key"), "Version": sub("${Stage}-${Size2}-${AWS::Region}")},
		map[string]any{"Bucket": ref("Bucket"), "Key": "k", "StorageMode": "x"},
	), "./src", "s3://bucket", map[string]any{"Bucket": "b"}, n("5"), "", "{{resolve:ssm:/a/b:1}}", list())
}

func (g *generator) function() map[string]any {
	p := map[string]any{}
	switch g.IntN(6) {
	case 0:
		p["InlineCode"] = g.of("print(1)", sub("${Stage}"))
	case 1:
		p["PackageType"] = "Image"
		p["ImageUri"] = g.mistake("1.dkr.ecr.us-east-1.amazonaws.com/a:b", "")
		g.some(p, map[string]any{"ImageConfig": map[string]any{"Command": list("a")}})
	default:
		p["CodeUri"] = g.uri()
	}
	if p["PackageType"] == nil || g.wrong && g.one(5) {
		p["Handler"], p["Runtime"] = "app.handler", g.of("python3.12", ref("Stage"))
		g.some(p, map[string]any{"Layers": g.of(list(ref("Layer0"), "arn:aws:lambda:us-east-1:1:layer:x:1"), list(getAtt("Layer1", "Arn")), g.condition(list(), noValue))})
	}
	g.some(p, map[string]any{
		"FunctionName": g.mistake(g.of("named", sub("${Stage}-x")), list()), "Description": g.of("says", ref("Stage"), sub("${Nothing}"), g.condition("a", "b")),
		"MemorySize": g.of(n("128"), n("0"), ref("Size"), n("1024.0")), "Timeout": g.of(n("3"), ref("Size")),
		"VpcConfig": g.of(map[string]any{"SubnetIds": list("subnet-1"), "SecurityGroupIds": list("sg-1")}, g.condition(map[string]any{"SubnetIds": list()}, noValue)),
		"Role":      g.mistake(g.of("arn:aws:iam::1:role/r", getAtt("Role", "Arn"), g.condition(noValue, "arn:x"), g.condition(ref("Key"), noValue), g.condition("a", "b"), g.condition(noValue, noValue)), list(), map[string]any{"Fn::If": list("IsProd")}),
		"Policies":  g.policies(), "RolePath": "/p/", "PermissionsBoundary": g.mistake("arn:b", n("1")),
		"AssumeRolePolicyDocument": map[string]any{"Version": "2012-10-17", "Statement": list()},
		"Environment":              g.mistake(g.of(map[string]any{"Variables": map[string]any{"A": "b", "C": ref("Stage"), "N": n("1")}}, map[string]any{"Variables": map[string]any{}}), "x", map[string]any{"a": "b", "c": "d"}),
		"Tags":                     g.tags(), "PropagateTags": g.mistake(g.of(true, false), "true"), "Tracing": g.of("Active", "PassThrough", "Disabled", ref("Stage"), ref("Key2")),
		"KmsKeyArn": "arn:k", "ReservedConcurrentExecutions": n("5"), "EphemeralStorage": map[string]any{"Size": n("1024")}, "FileSystemConfigs": list(map[string]any{"Arn": "a"}),
		"CodeSigningConfigArn": "arn:c", "Architectures": list(g.of("arm64", "x86_64")), "RuntimeManagementConfig": map[string]any{"UpdateRuntimeOn": "Auto"},
		"LoggingConfig": map[string]any{"LogFormat": "JSON"}, "RecursiveLoop": "Allow", "SourceKMSKeyArn": "arn:s", "PublishToLatestPublished": g.of(true, false),
		"SnapStart":       g.mistake(g.of(map[string]any{"ApplyOn": "PublishedVersions"}, map[string]any{"ApplyOn": "None"}, map[string]any{}), "x"),
		"DeadLetterQueue": g.mistake(g.of(map[string]any{"Type": "SQS", "TargetArn": getAtt("Queue", "Arn")}, map[string]any{"Type": "SNS", "TargetArn": "arn:t"}), map[string]any{"Type": "X", "TargetArn": "a"}, map[string]any{"Type": "SQS", "a": "b"}, "x", map[string]any{"Type": n("1"), "TargetArn": "a"}),
		"FunctionUrlConfig": g.mistake(g.of(map[string]any{"AuthType": "NONE", "Cors": map[string]any{"AllowOrigins": list("*"), "MaxAge": n("5"), "AllowCredentials": true}}, map[string]any{"AuthType": "AWS_IAM", "InvokeMode": "RESPONSE_STREAM"}, map[string]any{"AuthType": ref("Stage"), "Cors": g.condition(list(), noValue)}, g.condition(map[string]any{"AuthType": "NONE"}, noValue)),
			map[string]any{"AuthType": "OTHER"}, map[string]any{"AuthType": "NONE", "Cors": map[string]any{"Bad": "x"}}, map[string]any{"AuthType": "NONE", "Cors": map[string]any{"MaxAge": "x"}}, map[string]any{"AuthType": "NONE", "Cors": list("x")}, map[string]any{"Cors": "x", "InvokeMode": "y"}),
		"EventInvokeConfig": g.eventInvokeConfig(),
		"DurableConfig":     map[string]any{"ExecutionTimeout": n("5")},
		"Nothing":           nil,
	})
	delete(p, "Nothing")
	if g.one(2) {
		p["AutoPublishAlias"] = g.mistake(g.of("live", "my-ali_as", ref("Stage")), "12", "a b", ref("Queue"), list(), ref("Empty"))
		g.some(p, map[string]any{
			"AutoPublishAliasAllProperties": g.mistake(g.of(true, true, false), "x"), "AutoPublishCodeSha256": g.mistake(g.of("6b86b273ff34fce19d6b804eff5a3f57", ref("Stage"), "ab"), n("5"), ref("Size"), "!!"),
			"VersionDescription": "v", "ProvisionedConcurrencyConfig": map[string]any{"ProvisionedConcurrentExecutions": n("1")}, "VersionDeletionPolicy": g.mistake("Delete", "Snapshot"),
			"DeploymentPreference": g.deploymentPreference(),
		})
	} else if g.wrong {
		g.some(p, map[string]any{"ProvisionedConcurrencyConfig": map[string]any{"ProvisionedConcurrentExecutions": n("1")}, "VersionDeletionPolicy": "Delete"})
	}
	if g.wrong {
		if g.one(20) {
			p["Unknown"] = "x"
		}
		if g.one(20) {
			p["FunctionScalingConfig"] = map[string]any{"Min": n("1")}
		}
		if g.one(20) {
			p["TenancyConfig"] = map[string]any{"TenantIsolationMode": "PER_TENANT"}
		}
	}
	if g.one(2) {
		events := map[string]any{}
		for i := range g.IntN(4) {
			events[fmt.Sprintf("Ev%d", i)] = g.event()
		}
		p["Events"] = g.mistake(events, "x", list(), map[string]any{"a-b": map[string]any{"Type": "SQS", "Properties": map[string]any{"Queue": "q"}}, "c": map[string]any{"Type": "SQS", "Properties": map[string]any{"Queue": "q"}}})
	}
	if g.one(10) {
		p[g.of("Timeout", "Tags", "KmsKeyArn", "Layers").(string)] = nil
	}
	return p
}

func (g *generator) deploymentPreference() any {
	return g.mistake(g.some(map[string]any{"Type": g.of("AllAtOnce", "Linear10PercentEvery1Minute", "Custom", map[string]any{"Fn::FindInMap": list("Stages", "prod", "Type")}, ref("Stage"), g.condition("AllAtOnce", sub("AllAtOnce")))}, map[string]any{
		"Enabled": g.of(true, false, "false", ref("Stage"), map[string]any{"Fn::FindInMap": list("Stages", "prod", "No")}, map[string]any{"Fn::FindInMap": list("Stages", "beta", "No")}),
		"Alarms":  g.mistake(g.of(list("a", ref("Queue")), list(noValue), g.condition(list("a"), list()), noValue, list()), "x", map[string]any{"Fn::If": list("a")}),
		"Role":    g.of("arn:r", ""), "TriggerConfigurations": list(map[string]any{"TriggerName": "a"}),
		"PassthroughCondition": g.mistake(g.of(true, "true", "False"), "x", ref("Nothing")),
	}), map[string]any{"Enabled": true}, map[string]any{"Type": "AllAtOnce", "Hooks": "x"}, "x", map[string]any{"Type": "AllAtOnce", "Enabled": map[string]any{"Fn::FindInMap": list("a")}})
}

func (g *generator) destination() any {
	typ := g.of("SQS", "SNS", "EventBridge", "Lambda", "S3Bucket")
	to := map[string]any{"Type": g.mistake(typ, "Other", nil)}
	if (typ != "SQS" && typ != "SNS") || g.one(2) {
		to["Destination"] = g.mistake(g.of("arn:d", getAtt("Queue", "Arn"), ref("Stage")), nil)
	}
	if (typ == "SQS" || typ == "SNS") && g.one(2) {
		to["Destination"] = g.mistake(g.of(g.condition(noValue, "arn:q"), g.condition("arn:q", noValue), g.condition(noValue, noValue), g.condition("a", ref("Stage"))), map[string]any{"Fn::If": list("IsProd")})
	}
	return g.mistake(to, "x")
}

func (g *generator) eventInvokeConfig() any {
	return g.mistake(g.some(map[string]any{}, map[string]any{
		"MaximumEventAgeInSeconds": g.of(n("60"), ref("Size")), "MaximumRetryAttempts": n("0"),
		"DestinationConfig": g.mistake(g.some(map[string]any{"OnFailure": g.destination()}, map[string]any{"OnSuccess": g.destination()}), "x"),
	}), "x")
}

func (g *generator) policy() any {
	document := map[string]any{"Statement": list(allowOne("*", "s3:GetObject"))}
	template := g.template()
	return g.mistake(g.of(
		"AmazonS3FullAccess", "AWSLambdaBasicExecutionRole", "arn:aws:iam::1:policy/x", "NoSuchPolicy", ref("Stage"), document, template, template, template,
		map[string]any{"Version": "2012-10-17", "Statement": list(allowOne(ref("Queue"), "sqs:*"))},
		g.condition("AmazonS3FullAccess", "AWSLambdaExecute"), g.condition("AWSLambdaExecute", noValue), g.condition(document, noValue), g.condition(document, document),
		g.condition(template, noValue), g.condition(noValue, template), g.condition(ref("Key"), "AWSLambdaRole"),
	), map[string]any{"SQSPollerPolicy": map[string]any{}}, map[string]any{"SQSPollerPolicy": "x"}, map[string]any{"Nothing": map[string]any{}}, map[string]any{"A": n("1"), "B": n("2")}, g.condition("a", document), map[string]any{"Fn::If": list("a")})
}

func (g *generator) template() any {
	names := ordered(func() map[string]any {
		out := map[string]any{}
		for name := range policyTemplates() {
			out[name] = nil
		}
		return out
	}(), nil)
	name := names[g.IntN(len(names))]
	values := map[string]any{"Ignored": "x"}
	for _, p := range policyTemplates()[name].Parameters {
		values[p] = g.of("value", ref("Stage"), getAtt("Queue", "QueueName"), ref(p))
	}
	return map[string]any{name: values}
}

func (g *generator) policies() any {
	switch g.IntN(4) {
	case 0:
		return g.policy()
	case 1:
		return g.mistake(list(), n("5"), list(n("5")))
	}
	var out []any
	for range 1 + g.IntN(3) {
		out = append(out, g.policy())
	}
	return out
}

func (g *generator) event() any {
	p := map[string]any{}
	polls := func(required map[string]any) {
		for name, value := range required {
			p[name] = value
		}
		g.some(p, map[string]any{
			"BatchSize": g.mistake(g.of(n("10"), ref("Size")), "x", n("1.5")), "Enabled": g.mistake(g.of(true, false, ref("Stage")), "true"), "MaximumBatchingWindowInSeconds": n("5"),
			"FilterCriteria":        g.mistake(g.of(map[string]any{"Filters": list(map[string]any{"Pattern": "{}"})}, g.condition(map[string]any{}, noValue), map[string]any{}), map[string]any{"Filters": list(), "x": "y"}, map[string]any{"x": "y"}),
			"FunctionResponseTypes": list("ReportBatchItemFailures"), "ScalingConfig": map[string]any{"MaximumConcurrency": n("5")}, "KmsKeyArn": "arn:k", "MetricsConfig": map[string]any{"Metrics": list("EventCount")},
			"DestinationConfig": g.mistake(map[string]any{"OnFailure": g.some(map[string]any{"Destination": "arn:d"}, map[string]any{"Type": g.mistake(g.of("SQS", "SNS", "S3", "Kafka"), "X")})}, map[string]any{"OnFailure": "x"}, map[string]any{"x": "y", "z": "a"}),
		})
	}
	secrets := func(types ...any) any {
		return list(map[string]any{"Type": g.mistake(g.of(types...), "X", nil), "URI": g.mistake("arn:secret", nil)})
	}
	registry := g.mistake(g.of(
		map[string]any{"SchemaRegistryURI": "arn:aws:glue:us-east-1:1:registry/name", "EventRecordFormat": "JSON", "SchemaValidationConfigs": list()},
		map[string]any{"SchemaRegistryURI": sub("arn:${AWS::Partition}:glue:${AWS::Region}:1:registry/${Stage}"), "EventRecordFormat": "SOURCE", "SchemaValidationConfigs": list(map[string]any{"Attribute": "KEY"})},
		map[string]any{"SchemaRegistryURI": "https://r", "EventRecordFormat": "JSON", "SchemaValidationConfigs": list(), "AccessConfigs": list(map[string]any{"Type": "BASIC_AUTH", "URI": "arn:s"})},
	), map[string]any{"SchemaRegistryURI": "x", "EventRecordFormat": "X", "SchemaValidationConfigs": list()}, map[string]any{"SchemaRegistryURI": "x", "y": "z"},
		map[string]any{"SchemaRegistryURI": "https://r", "EventRecordFormat": "JSON", "SchemaValidationConfigs": "x"}, map[string]any{"SchemaRegistryURI": "https://r", "EventRecordFormat": "JSON", "SchemaValidationConfigs": list(), "AccessConfigs": list("x")})
	typ := g.of("SQS", "SQS", "Kinesis", "DynamoDB", "MSK", "MQ", "SelfManagedKafka", "DocumentDB", "S3", "S3", "S3", "AlexaSkill").(string)
	switch typ {
	case "SQS":
		polls(map[string]any{"Queue": g.mistake(g.of(getAtt("Queue", "Arn"), "arn:q"), nil)})
		g.some(p, map[string]any{"ProvisionedPollerConfig": map[string]any{"MinimumPollers": n("1")}})
		if g.wrong {
			g.some(p, map[string]any{"ConsumerGroupId": "x"})
		}
	case "Kinesis", "DynamoDB":
		polls(map[string]any{"Stream": "arn:s", "StartingPosition": g.mistake("LATEST", nil)})
		g.some(p, map[string]any{"BisectBatchOnFunctionError": true, "ParallelizationFactor": n("2"), "TumblingWindowInSeconds": n("5"), "MaximumRetryAttempts": n("3"), "MaximumRecordAgeInSeconds": n("60"), "StartingPositionTimestamp": n("1.5")})
	case "MSK":
		polls(map[string]any{"Stream": "arn:s", "StartingPosition": "LATEST", "Topics": list("t")})
		g.some(p, map[string]any{"ConsumerGroupId": "g", "SourceAccessConfigurations": secrets("CLIENT_CERTIFICATE_TLS_AUTH", "X"), "SchemaRegistryConfig": registry})
	case "MQ":
		polls(map[string]any{"Broker": ref("Broker"), "Queues": list("q"), "SourceAccessConfigurations": g.mistake(secrets("BASIC_AUTH"), list(), secrets("VIRTUAL_HOST"))})
		g.some(p, map[string]any{"SecretsManagerKmsKeyId": g.mistake("key", n("1")), "DynamicPolicyName": true})
	case "SelfManagedKafka":
		access := secrets("SASL_SCRAM_256_AUTH", "BASIC_AUTH", "IAM_AUTH", "SERVER_ROOT_CA_CERTIFICATE", "OAUTHBEARER_SCOPE").([]any)
		if g.one(2) {
			access = append(access, map[string]any{"Type": "VPC_SUBNET", "URI": "subnet:a"}, map[string]any{"Type": g.mistake("VPC_SECURITY_GROUP", "VPC_SUBNET", "BASIC_AUTH"), "URI": g.mistake("sg:a", n("5"))})
		}
		polls(map[string]any{"KafkaBootstrapServers": g.mistake(list("a:9092"), list()), "Topics": g.mistake(list("t"), list("a", "b"), list()), "SourceAccessConfigurations": g.mistake(access, list("x"), list())})
		g.some(p, map[string]any{"ConsumerGroupId": "g", "SecretsManagerKmsKeyId": "key", "SchemaRegistryConfig": registry, "StartingPosition": "LATEST"})
	case "DocumentDB":
		polls(map[string]any{"Cluster": "arn:c", "DatabaseName": "db", "SourceAccessConfigurations": secrets("BASIC_AUTH")})
		g.some(p, map[string]any{"CollectionName": "c", "FullDocument": "UpdateLookup", "SecretsManagerKmsKeyId": "key"})
	case "S3":
		p["Bucket"] = g.mistake(ref("Bucket"), "name", ref("Missing"), ref("Queue"), map[string]any{"Ref": n("1")})
		p["Events"] = g.mistake(g.of("s3:ObjectCreated:*", list("s3:ObjectCreated:Put", "s3:ObjectRemoved:*")), nil, n("1"))
		g.some(p, map[string]any{"Filter": map[string]any{"S3Key": map[string]any{"Rules": list(map[string]any{"Name": "prefix", "Value": ref("Stage")})}}})
	case "AlexaSkill":
		g.some(p, map[string]any{"SkillId": g.mistake("skill", n("1"))})
	}
	if g.wrong && g.one(15) {
		p["Unknown"] = "x"
	}
	out := map[string]any{"Type": g.mistake(typ, "Unknown", nil, n("1"))}
	if typ != "AlexaSkill" || len(p) > 0 {
		out["Properties"] = p
	}
	return out
}

func (g *generator) bucket() map[string]any {
	p := g.some(map[string]any{}, map[string]any{
		"BucketName": "b", "Tags": g.mistake(list(map[string]any{"Key": "a", "Value": "b"}), "x"), "VersioningConfiguration": map[string]any{"Status": "Enabled"},
		"NotificationConfiguration": g.mistake(g.of(map[string]any{"LambdaConfigurations": list(map[string]any{"Event": "e", "Function": "f"})}, map[string]any{}, map[string]any{"LambdaConfigurations": nil}), "x", map[string]any{"LambdaConfigurations": "x"}),
	})
	out := typed("AWS::S3::Bucket", p)
	return g.some(out, map[string]any{"DependsOn": g.of("Queue", list("Queue")), "DeletionPolicy": "Retain", "Condition": "IsSmall", "Metadata": map[string]any{"a": "b"}})
}

func (g *generator) layer() map[string]any {
	return g.some(map[string]any{"ContentUri": g.uri()}, map[string]any{
		"LayerName": g.mistake(g.of("named", ref("Stage"), sub("${Stage}-x"), sub("${Unknown}")), ref("Size"), list()), "Description": g.mistake("d", n("5")), "PublishLambdaVersion": g.of(true, false),
		"CompatibleArchitectures": g.mistake(g.of(list("arm64"), list(ref("Stage")), list()), list("mips"), "x"), "CompatibleRuntimes": list("python3.12", ref("Stage")),
		"LicenseInfo": g.of("MIT", ref("Key")), "RetentionPolicy": g.mistake(g.of("Retain", "delete", ref("Policy0")), "Other", ref("Stage"), sub("x")),
	})
}

func (g *generator) globals() any {
	f := g.function()
	for _, name := range []string{"Role", "Policies", "FunctionName", "Events", "InlineCode", "ImageUri", "PackageType", "ImageConfig", "Unknown", "AutoPublishCodeSha256", "VersionDescription"} {
		if !g.wrong || !g.one(15) {
			delete(f, name)
		}
	}
	for _, name := range ordered(f, nil) {
		if g.one(2) {
			delete(f, name)
		}
	}
	sections := map[string]any{"Function": g.mistake(f, "x")}
	g.some(sections, map[string]any{"LayerVersion": map[string]any{"PublishLambdaVersion": true}, "Api": map[string]any{"Name": "x"}})
	if g.wrong && g.one(15) {
		sections["Other"] = map[string]any{}
	}
	return g.mistake(sections, "x")
}
